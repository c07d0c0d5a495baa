/* wattune plan: when, and at which of several places, one job takes the least facility energy,
 * carbon or money. */
#include <math.h>
#include <stdio.h>

#include <string.h>

#include "plan_options.h"

static void print_help(void)
{
    fputs("usage: wattune plan --signal KIND=FILE... --power W --duration TIME\n"
          "                    --deadline TIME\n"
          "       wattune plan --signal KIND=FILE... --run ID | --prediction FILE\n"
          "                    --deadline TIME\n"
          "       wattune plan --jobs TRACE [--cap WATTS] [--shift TIME] ...\n\n"
          "When one job is best run: the start, or the pieces, with the least facility\n"
          "energy, carbon or cost, against starting now; and where, with signals of several\n"
          "regions.\n\n",
          stdout);
    fputs(cli_plan_help, stdout);
    fputs("  --json             one JSON document on stdout\n"
          "  --help             this text\n",
          stdout);
    plan_jobs_help();
    fputs("\nExit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such run.\n", stdout);
}

static int parse(int argc, char **argv, struct cli_plan *o, bool *ret_is_json)
{
    enum { JSON = 256, HELP };
    static const struct option options[] = {
        PLAN_OPTIONS,
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        int code = cli_plan_option(c, optarg, o);
        if (code >= 0)
            return code;
        if (code != CLI_OTHER)
            continue;
        if (c == JSON) {
            *ret_is_json = true;
        } else if (c == HELP || c == 'h') {
            print_help();
            return CLI_OK;
        } else {
            return cli_bad_option("plan");
        }
    }
    if (optind < argc)
        return cli_usage("plan", "no command is run: %s", argv[optind]);
    return cli_plan_check(o);
}

int cmd_plan(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--jobs") == 0 || strncmp(argv[i], "--jobs=", 7) == 0)
            return cmd_plan_jobs(argc, argv);
    struct cli_plan o = CLI_PLAN_INIT("plan");
    struct wt_plan_result result;
    bool is_json = false;
    int code = parse(argc, argv, &o, &is_json);
    if (code < 0)
        code = cli_plan_make(&o, &result);
    if (code < 0) {
        code = CLI_OK;
        if (is_json) {
            code = cli_print_json("plan", wt_plan_to_json(&result));
        } else {
            struct wt_term term;
            wt_term_init(&term, stdout);
            wt_report_plan(&term, &result);
        }
        wt_plan_result_done(&result);
    }
    cli_plan_done(&o);
    return code;
}
