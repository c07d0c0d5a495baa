/* wattune data: what the catalogue holds, with its sources, and whether a user's own tables are
 * right. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void print_help(void)
{
    fputs("usage: wattune data list gpus|regions|instances|pue|cpus [PATTERN] [OPTION...]\n"
          "       wattune data check [FILE|DIR]... [OPTION...]\n\n"
          "list shows rows of the catalogue, built-in ones and those of your own, with the\n"
          "source of each number. PATTERN is a part of an id or name, or with * and ? all\n"
          "of one. check tells of all that is wrong with tables of your own\n"
          "(wattune-data(1)); without a file, those of the folder that is read by default.\n\n"
          "  --data DIR  tables of your own, beside the built-in ones (default:\n"
          "              $XDG_CONFIG_HOME/wattune/data, else ~/.config/wattune/data)\n"
          "  --json      one JSON document on stdout\n"
          "  --help      this text\n\n"
          "Exit code: 0, 1 failure or a table with errors, 2 usage, 3 not permitted, 4 no\n"
          "such file, folder or row.\n",
          stdout);
}

const char *cli_data_folder(const char *given, char *buf, size_t size)
{
    if (given)
        return given;
    return wt_catalogue_folder(buf, size) ? buf : NULL;
}

static int list_rows(const char *table, const char *pattern, const char *given, bool is_json)
{
    enum wt_data kind;
    char folder[4096], *text;
    struct wt_catalogue *catalogue = NULL;
    struct wt_error err = {0};
    size_t shown = 1;
    if (!wt_data_named(table, &kind))
        return cli_usage("data", "\"%s\" is not gpus, regions, instances, pue or cpus", table);
    int rc = wt_catalogue_open(&catalogue, cli_data_folder(given, folder, sizeof(folder)), &err);
    int code = CLI_OK;
    if (rc == 0 && is_json) {
        rc = wt_catalogue_to_json(catalogue, kind, pattern, &text, &err);
        code = rc == 0 ? cli_print_json("data", text) : CLI_OK;
    } else if (rc == 0) {
        struct wt_term term;
        wt_term_init(&term, stdout);
        rc = wt_report_catalogue(&term, catalogue, kind, pattern, &shown, &err);
    }
    wt_catalogue_close(catalogue);
    if (rc < 0)
        return cli_fail("data", &err);
    if (!shown) {
        cli_note("none of the %s is like \"%s\"", table, pattern ? pattern : "");
        return CLI_NO_SENSOR;
    }
    return code;
}

static int check_tables(const char *const *paths, size_t count, const char *given, bool is_json)
{
    char folder[4096] = "";
    struct wt_data_check check;
    struct wt_error err = {0};
    const char *usual = cli_data_folder(given, folder, sizeof(folder));
    if (!count && !usual) {
        cli_note("no tables of your own: %s is not there%s",
                 *folder ? folder : "~/.config/wattune/data",
                 "; name files or a folder to check others");
        return CLI_NO_SENSOR;
    }
    if (!count) {
        paths = &usual;
        count = 1;
    }
    if (wt_data_check(&check, paths, count, &err) < 0)
        return cli_fail("data", &err);
    int code = check.errors ? CLI_FAILURE : CLI_OK;
    if (is_json) {
        int printed = cli_print_json("data", wt_data_check_to_json(&check));
        code = printed == CLI_OK ? code : printed;
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_data_check(&term, &check);
    }
    wt_data_check_done(&check);
    return code;
}

int cmd_data(int argc, char **argv)
{
    enum { DATA = 256, JSON, HELP };
    static const struct option options[] = {
        {"data", required_argument, NULL, DATA},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    const char *folder = NULL;
    bool is_json = false;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        switch (c) {
        case DATA:
            folder = optarg;
            break;
        case JSON:
            is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("data");
        }
    int left = argc - optind;
    char **words = argv + optind;
    if (left >= 1 && strcmp(words[0], "list") == 0) {
        if (left < 2 || left > 3)
            return cli_usage("data", "list: which table is wanted, and up to one pattern: gpus, "
                                     "regions, instances, pue or cpus");
        return list_rows(words[1], left > 2 ? words[2] : NULL, folder, is_json);
    }
    if (left >= 1 && strcmp(words[0], "check") == 0) {
        if (folder && left > 1)
            return cli_usage("data", "check: --data or files, one of them");
        return check_tables((const char *const *)words + 1, (size_t)left - 1, folder, is_json);
    }
    return cli_usage("data", "list or check is wanted: wattune data list gpus");
}
