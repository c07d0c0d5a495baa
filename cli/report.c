/* wattune report: a stored run or sweep as one HTML file, or as JSON; or two groups of runs against
 * each other. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define DEFAULT_FILE "wattune-report.html"

static void print_help(void)
{
    fputs("usage: wattune report [OPTION...] [ID|SWEEP|last]\n"
          "       wattune report [OPTION...] A[,A2...] B[,B2...]\n\n"
          "Writes a stored run, or a sweep with all its runs, as one HTML file that needs\n"
          "nothing else: tables, plots, the machine, where each figure comes from. \"last\"\n"
          "(the default) is the newest run, or the sweep it belongs to.\n\n"
          "With two runs, or two groups of repeats (ids with commas between), compares B\n"
          "with A on the terminal: time, energy, power, energy per unit of work, and\n"
          "whether the difference is real; and as HTML with -o. Runs of a sweep may be\n"
          "named, too.\n\n"
          "  -o, --output FILE  where to (default " DEFAULT_FILE "; - is stdout)\n"
          "  --json             the same as one JSON document on stdout; then no file,\n"
          "                     unless -o names one\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such run.\n",
          stdout);
}

struct report_options {
    const char *what, *with; /* with: what is compared with it; NULL: nothing */
    const char *output;
    bool is_json;
};

/* The document on stdout when asked for, the file otherwise or besides. Frees text. */
static int deliver(const struct report_options *o, char *text, const struct wt_sweep *sweep,
                   const struct wt_run *runs, size_t count)
{
    struct wt_error err = {0};
    int code = CLI_OK;
    if (o->is_json)
        code = cli_print_json("report", text);
    else
        free(text);
    if (o->is_json && !o->output)
        return code;
    bool is_stdout = o->output && strcmp(o->output, "-") == 0;
    const char *path = is_stdout ? "/dev/stdout" : o->output ? o->output : DEFAULT_FILE;
    if (wt_report_html(path, sweep, runs, count, &err) < 0) {
        code = cli_fail("report", &err);
        return code == CLI_NO_SENSOR ? CLI_FAILURE
                                     : code; /* a folder that is not there is no run */
    }
    if (!is_stdout)
        fprintf(stderr, "report: %s\n", path);
    return code;
}

static int report_sweep(struct wt_store *store, const char *group, const struct report_options *o)
{
    struct wt_error err = {0};
    struct wt_run *runs = NULL;
    size_t count = 0;
    if (wt_store_list(store, NULL, group, 0, &runs, &count, &err) < 0)
        return cli_fail("report", &err);
    int code = CLI_OK;
    /* The list has heads only, newest first; the plots need whole runs, in the order made. */
    struct wt_run *whole = calloc(count, sizeof(*whole));
    size_t loaded = 0;
    if (!whole) {
        cli_note("no memory for a sweep of %zu runs", count);
        code = CLI_FAILURE;
    }
    for (; code == CLI_OK && loaded < count; loaded++)
        if (wt_store_load(store, runs[count - 1 - loaded].id, &whole[loaded], &err) < 0) {
            code = cli_fail("report", &err);
            break;
        }
    struct wt_sweep sweep;
    if (code == CLI_OK && wt_sweep_make(&sweep, whole, loaded, NULL, &err) < 0) {
        code = cli_fail("report", &err);
    } else if (code == CLI_OK) {
        code = deliver(o, o->is_json ? wt_sweep_to_json(&sweep) : NULL, &sweep, NULL, 0);
        wt_sweep_done(&sweep);
    }
    wt_runs_free(whole, loaded);
    wt_runs_free(runs, count);
    return code;
}

static int report(struct wt_store *store, const struct report_options *o)
{
    struct wt_error err = {0};
    struct wt_run *runs = NULL, run;
    size_t count = 0;
    if (wt_store_list(store, NULL, o->what, 1, &runs, &count, &err) < 0)
        return cli_fail("report", &err);
    wt_runs_free(runs, count);
    if (count)
        return report_sweep(store, o->what, o);
    if (wt_store_load(store, o->what, &run, &err) < 0)
        return cli_fail("report", &err);
    int code;
    if (strcmp(o->what, "last") == 0 && run.group[0])
        code = report_sweep(store, run.group, o);
    else
        code = deliver(o, o->is_json ? wt_run_to_json_full(&run) : NULL, NULL, &run, 1);
    wt_run_done(&run);
    return code;
}

/* ---- B against A ---- */

#define SIDE_MOST 200

/* One side: the runs that ids with commas between name. Owned: wt_runs_free(). */
static int load_side(struct wt_store *store, const char *list, struct wt_run **ret_runs,
                     size_t *ret_count)
{
    struct wt_error err = {0};
    struct wt_run *runs = calloc(SIDE_MOST, sizeof(*runs));
    size_t count = 0;
    int code = CLI_OK;
    if (!runs) {
        cli_note("no memory for the runs to compare");
        return CLI_FAILURE;
    }
    for (const char *at = list; code == CLI_OK; at += strcspn(at, ",") + 1) {
        char id[64];
        size_t length = strcspn(at, ","), swept = 0;
        struct wt_run *of_sweep = NULL;
        snprintf(id, sizeof(id), "%.*s", (int)length, at);
        if (!length || length >= sizeof(id))
            code = cli_usage("report", "\"%s\": ids with commas between are wanted", list);
        else if (count == SIDE_MOST)
            code = cli_usage("report", "more than %d runs on a side", SIDE_MOST);
        else if (wt_store_list(store, NULL, id, 1, &of_sweep, &swept, &err) < 0)
            code = cli_fail("report", &err);
        else if (swept)
            code = cli_usage("report",
                             "%s is a sweep: name runs of it; `wattune runs --sweep %s` "
                             "lists them",
                             id, id);
        else if (wt_store_load(store, id, &runs[count], &err) < 0)
            code = cli_fail("report", &err);
        else
            count++;
        wt_runs_free(of_sweep, swept);
        if (!at[length])
            break;
    }
    *ret_runs = runs;
    *ret_count = count;
    return code;
}

static int deliver_pair(const struct report_options *o, const struct wt_pair *pair)
{
    struct report_options page = *o;
    int code = CLI_OK;
    if (o->is_json) {
        code = cli_print_json("report", wt_pair_to_json(pair));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_pair(&term, pair);
    }
    page.is_json = false;
    return code == CLI_OK && o->output ? deliver(&page, NULL, &pair->sweep, NULL, 0) : code;
}

static int compare(struct wt_store *store, const struct report_options *o)
{
    struct wt_error err = {0};
    struct wt_run *a = NULL, *b = NULL;
    size_t a_count = 0, b_count = 0;
    struct wt_pair pair;
    int code = load_side(store, o->what, &a, &a_count);
    if (code == CLI_OK)
        code = load_side(store, o->with, &b, &b_count);
    if (code == CLI_OK && wt_pair_make(&pair, a, a_count, b, b_count, &err) < 0) {
        code = cli_fail("report", &err);
    } else if (code == CLI_OK) {
        code = deliver_pair(o, &pair);
        wt_pair_done(&pair);
    }
    wt_runs_free(a, a_count);
    wt_runs_free(b, b_count);
    return code;
}

int cmd_report(int argc, char **argv)
{
    enum { JSON = 256, HELP };
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct report_options o = {.what = "last"};
    for (int c; (c = getopt_long(argc, argv, "o:h", options, NULL)) != -1;)
        switch (c) {
        case 'o':
            o.output = optarg;
            break;
        case JSON:
            o.is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("report");
        }
    if (argc - optind > 2)
        return cli_usage("report",
                         "one run or sweep, or two to compare: \"%s\" is too much; repeats go "
                         "together with commas, A,A2 B,B2",
                         argv[optind + 2]);
    if (optind < argc)
        o.what = argv[optind];
    if (argc - optind == 2)
        o.with = argv[optind + 1];
    if (!o.what[0] || (o.with && !o.with[0]))
        return cli_usage("report", "an empty id names no run");
    if (o.output && strcmp(o.output, "-") == 0 && (o.with || o.is_json))
        return cli_usage("report", "-o -: stdout is for the %s here; name a file",
                         o.is_json ? "JSON" : "comparison");
    if (!o.with && strchr(o.what, ','))
        return cli_usage("report", "%s is a group of runs: with which other is it to be compared",
                         o.what);
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    if (wt_store_open(&store, NULL, &err) < 0)
        return cli_fail("report", &err);
    int code = o.with ? compare(store, &o) : report(store, &o);
    wt_store_close(store);
    return code;
}
