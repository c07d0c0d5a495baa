/* wattune runs: the stored runs, and one of them in detail. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "sweep.h"

static void print_help(void)
{
    fputs("usage: wattune runs [OPTION...] [ID|last]\n\n"
          "Lists the stored runs, newest first; with the id of one (its beginning is\n"
          "enough) or \"last\", shows that one in detail. A run whose Wattune was killed is\n"
          "\"incomplete\".\n\n"
          "  --tag NAME    only runs with this tag\n"
          "  --sweep ID    only the runs of this sweep; \"last\": of the newest\n"
          "  --sum GROUP   what a job of many ranks took on all its nodes: slurm-JOB.STEP\n"
          "  --limit N     at most this many (default 20; 0: all)\n"
          "  --forget      remove that run, or all with --tag or --sweep, from the store\n"
          "  --json        one JSON document on stdout; of a single run with its trace\n"
          "  --help        this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such run.\n",
          stdout);
}

static int show_one(struct wt_store *store, const char *id, bool is_json)
{
    struct wt_run run;
    struct wt_error err = {0};
    if (wt_store_load(store, id, &run, &err) < 0)
        return cli_fail("runs", &err);
    int code = CLI_OK;
    if (is_json) {
        code = cli_print_json("runs", wt_run_to_json_full(&run));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_run(&term, &run, true);
    }
    wt_run_done(&run);
    return code;
}

/* The runs that a list would show, or that one. */
static int forget(struct wt_store *store, const char *id, const char *tag, const char *sweep)
{
    struct wt_run one = {0}, *runs = NULL;
    size_t count = 0;
    struct wt_error err = {0};
    char group[40];
    if (sweep && cli_sweep_group(store, "--sweep", sweep, group, sizeof(group), &err) < 0)
        return cli_fail("runs", &err);
    int rc = id ? wt_store_load(store, id, &one, &err)
                : wt_store_list(store, tag, sweep ? group : NULL, 0, &runs, &count, &err);
    if (rc == 0 && !id && !count) {
        snprintf(err.text, sizeof(err.text), "no stored run has this %s", tag ? "tag" : "sweep");
        snprintf(err.fix, sizeof(err.fix), "`wattune runs` lists what is stored");
        rc = err.code = WT_E_NOTFOUND;
    }
    if (rc == 0)
        rc = wt_store_forget(store, id ? &one : runs, id ? 1 : count, &err);
    int code = rc < 0 ? cli_fail("runs", &err) : CLI_OK;
    if (rc == 0 && id)
        printf("forgotten: run %s (%.60s)\n", one.id, one.command);
    else if (rc == 0)
        printf("forgotten: %zu run%s\n", count, count > 1 ? "s" : "");
    wt_run_done(&one);
    wt_runs_free(runs, count);
    return code;
}

/* Whole, or a failure that says what is missing. */
static int show_sum(struct wt_store *store, const char *group, bool is_json)
{
    struct wt_run *runs = NULL;
    struct wt_run_sum sum = {0};
    size_t count = 0;
    struct wt_error err = {0};
    if (wt_store_list(store, NULL, group, 0, &runs, &count, &err) < 0)
        return cli_fail("runs", &err);
    int code = CLI_OK;
    if (wt_run_sum_make(&sum, runs, count, NULL, &err) < 0) {
        snprintf(err.fix, sizeof(err.fix), "`wattune runs` lists what is stored");
        code = cli_fail("runs", &err);
    } else if (is_json) {
        code = cli_print_json("runs", wt_run_sum_to_json(&sum, runs));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_sum(&term, &sum, runs);
    }
    if (code == CLI_OK && !sum.is_whole)
        code = CLI_FAILURE;
    wt_run_sum_done(&sum);
    wt_runs_free(runs, count);
    return code;
}

static int print_json(const struct wt_run *runs, size_t count)
{
    int code = CLI_OK;
    fputs("{\"runs\": [", stdout);
    for (size_t i = 0; i < count; i++) {
        char *text = wt_run_to_json(&runs[i]);
        if (!text)
            code = CLI_FAILURE;
        else
            printf("%s\n%s", i ? "," : "", text);
        free(text);
    }
    fputs("]}\n", stdout);
    return code;
}

static int show_list(struct wt_store *store, const char *tag, const char *sweep, size_t limit,
                     bool is_json)
{
    struct wt_run *runs;
    size_t count;
    struct wt_error err = {0};
    char group[40];
    int code = CLI_OK;
    if (sweep && cli_sweep_group(store, "--sweep", sweep, group, sizeof(group), &err) < 0)
        return cli_fail("runs", &err);
    /* One more than is shown tells whether there are more. */
    if (wt_store_list(store, tag, sweep ? group : NULL, limit ? limit + 1 : 0, &runs, &count,
                      &err) < 0)
        return cli_fail("runs", &err);
    size_t shown = limit && count > limit ? limit : count;
    if (is_json) {
        code = print_json(runs, shown);
    } else if (!count && (tag || sweep)) {
        cli_note("no stored run has this %s", tag ? "tag" : "sweep");
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_runs(&term, runs, shown);
    }
    if (shown < count)
        cli_note("there are more: --limit 0 lists all");
    wt_runs_free(runs, count);
    return code;
}

int cmd_runs(int argc, char **argv)
{
    enum { TAG = 256, SWEEP, SUM, LIMIT, FORGET, JSON, HELP };
    static const struct option options[] = {
        {"tag", required_argument, NULL, TAG}, {"sweep", required_argument, NULL, SWEEP},
        {"sum", required_argument, NULL, SUM}, {"limit", required_argument, NULL, LIMIT},
        {"forget", no_argument, NULL, FORGET}, {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},     {0},
    };
    const char *tag = NULL, *sweep = NULL, *sum = NULL;
    size_t limit = 20;
    bool is_limited = false, is_to_forget = false, is_json = false;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        char *end;
        switch (c) {
        case TAG:
            tag = optarg;
            break;
        case SWEEP:
            sweep = optarg;
            break;
        case SUM:
            sum = optarg;
            break;
        case LIMIT:
            limit = strtoul(optarg, &end, 10);
            if (optarg[0] < '0' || optarg[0] > '9' || *end || limit > 1000000)
                return cli_usage("runs", "--limit %s: a number from 0 to 1000000 is wanted",
                                 optarg);
            is_limited = true;
            break;
        case FORGET:
            is_to_forget = true;
            break;
        case JSON:
            is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("runs");
        }
    }
    if (argc - optind > 1)
        return cli_usage("runs", "one run at a time: \"%s\" is too much", argv[optind + 1]);
    if (optind < argc && (tag || sweep))
        return cli_usage("runs", "%s is for the list, not for one run", tag ? "--tag" : "--sweep");
    if (sum && (optind < argc || tag || sweep))
        return cli_usage("runs", "--sum stands alone");
    if (is_to_forget && (sum || is_json || is_limited))
        return cli_usage("runs", "--forget: not with %s",
                         sum       ? "--sum"
                         : is_json ? "--json"
                                   : "--limit");
    if (is_to_forget && optind == argc && !tag && !sweep)
        return cli_usage("runs", "--forget: which? A run's id, --tag NAME or --sweep ID");
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    if (wt_store_open(&store, NULL, &err) < 0)
        return cli_fail("runs", &err);
    const char *id = optind < argc ? argv[optind] : NULL;
    int code = is_to_forget ? forget(store, id, tag, sweep)
               : sum        ? show_sum(store, sum, is_json)
               : id         ? show_one(store, id, is_json)
                            : show_list(store, tag, sweep, limit, is_json);
    wt_store_close(store);
    return code;
}
