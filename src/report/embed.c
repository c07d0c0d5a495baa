/* embed: a build-time program that turns files into C arrays, for the page's style and scripts.
 *
 * usage: embed OUTPUT NAME FILE [NAME FILE]...
 * Each becomes wt_asset_NAME[], ended by a NUL byte. */
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
    if (argc < 4 || argc % 2) {
        fputs("usage: embed OUTPUT NAME FILE [NAME FILE]...\n", stderr);
        return EXIT_FAILURE;
    }
    FILE *out = fopen(argv[1], "w");
    if (!out) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    fputs("#include \"report/assets.h\"\n", out);
    int rc = 0;
    for (int i = 2; i + 1 < argc && rc == 0; i += 2)
        rc = embed(out, argv[i], argv[i + 1]);
    if (fclose(out) != 0)
        rc = -1;
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
