/* embed: a build-time program that turns files into C arrays: the page's style and scripts, and the
 * catalogues of data/.
 *
 * usage: embed OUTPUT HEADER NAME FILE [NAME FILE]...
 * Each becomes wt_asset_NAME[], ended by a NUL byte; HEADER declares them. */
#include <stdio.h>
#include <stdlib.h>

static int embed(FILE *out, const char *name, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in) {
        perror(path);
        return -1;
    }
    fprintf(out, "const char wt_asset_%s[] = {", name);
    unsigned long n = 0;
    for (int c; (c = getc(in)) != EOF; n++)
        fprintf(out, "%s%d,", n % 20 ? "" : "\n", c < 128 ? c : c - 256);
    fputs("0};\n", out);
    int rc = ferror(in) ? -1 : 0;
    fclose(in);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc % 2 == 0) {
        fputs("usage: embed OUTPUT HEADER NAME FILE [NAME FILE]...\n", stderr);
        return EXIT_FAILURE;
    }
    FILE *out = fopen(argv[1], "w");
    if (!out) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    fprintf(out, "#include \"%s\"\n", argv[2]);
    int rc = 0;
    for (int i = 3; i + 1 < argc && rc == 0; i += 2)
        rc = embed(out, argv[i], argv[i + 1]);
    if (fclose(out) != 0)
        rc = -1;
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
