/* wattune: one command; each subcommand is a file of its own beside this one. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
#define COMMAND(name, what) {#name, cmd_##name, what},
#include "commands.inc"
#undef COMMAND
    {NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
    fputs("wattune - measure the energy of training and running language models, find the\n"
          "settings that lower it, apply them safely, and prove the saving\n\n"
          "usage: wattune COMMAND [OPTION...] [-- CMD...]\n\n",
          out);
    for (size_t i = 0; commands[i].name; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].what);
    fputs("\n  --help     this text; `wattune COMMAND --help` for a command's options\n"
          "  --version  the version\n\n"
          "Start with `wattune doctor`, then `wattune run -- YOUR COMMAND`.\n",
          out);
}

/* A full disk is no success. */
static int all_written(const char *name, int code)
{
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLI_OK) {
        fprintf(stderr, "%s: writing to stdout%s%s\n", name, errno ? ": " : " failed",
                errno ? strerror(errno) : ""); /* an earlier write's reason is gone */
        return CLI_FAILURE;
    }
    return code;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* numbers keep their decimal point in every locale */
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return all_written("wattune", CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("wattune %s\n", wt_version());
        return all_written("wattune", CLI_OK);
    }
    for (size_t i = 0; commands[i].name; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            /* getopt speaks in the name of argv[0]. */
            char name[32];
            snprintf(name, sizeof(name), "wattune %s", commands[i].name);
            argv[1] = name;
            return all_written(name, commands[i].run(argc - 1, argv + 1));
        }
    fprintf(stderr, "wattune: there is no command \"%s\"; `wattune --help` lists them\n", argv[1]);
    return CLI_USAGE;
}
