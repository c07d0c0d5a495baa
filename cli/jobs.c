/* wattune jobs: the energy of Slurm's jobs, as `wattune serve` keeps it: listed, summed, as JSON or
 * CSV, and told to Slurm (jobs_sacct.c). */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs.h"

struct jobs_options {
    const char *store;
    struct wt_job_filter filter;
    enum wt_job_by by;
    bool is_json, is_csv, has_steps, is_sacct, is_forced, is_dry;
    size_t limit;
};

static void print_help(void)
{
    fputs("usage: wattune jobs [OPTION...]\n\n"
          "Lists the energy of Slurm's jobs, or sums it. `wattune serve` measures and keeps\n"
          "it.\n\n"
          "  --store WHERE      a file, or postgresql://... of a cluster (default\n"
          "                     " WT_JOB_STORE_FILE ")\n"
          "  --by WHAT          job (default), user, account, partition, model, node or\n"
          "                     none\n"
          "  --user NAME        only jobs of this user\n"
          "  --account NAME     of this account\n"
          "  --partition NAME   of this partition\n"
          "  --model NAME       of this language model\n"
          "  --node NAME        what was on this node\n"
          "  --cluster NAME     of this cluster\n"
          "  --job N            this job\n"
          "  --since TIME       what ended later: 2026-11-01, 2026-11-01T12:00 (UTC), or 7d\n"
          "                     ago\n"
          "  --until TIME       what began before\n"
          "  --steps            the steps of jobs, which are inside them\n"
          "  --limit N          at most so many, the latest (default 50; 0: all)\n"
          "  --json             one JSON document on stdout\n"
          "  --csv              a line each, with a head\n"
          "  --sacct            write the energy of ended jobs into Slurm's AdminComment\n"
          "  --force            with --sacct: also over what others wrote there\n"
          "  --dry-run          with --sacct: only say what it would do\n"
          "  --help             this text\n\n"
          "Exit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such store.\n",
          stdout);
}

/* ---- options ---- */

/* A day or a minute in UTC, or so long ago. */
static int parse_time(const char *text, int64_t *ret_ns)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    int64_t span_ns;
    struct wt_error err;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {.tm_mday = 1};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        const char *end = strptime(text, forms[i], &tm);
#pragma GCC diagnostic pop
        if (!end || (strcmp(end, "") != 0 && strcmp(end, "Z") != 0))
            continue;
        *ret_ns = (int64_t)timegm(&tm) * 1000000000;
        return *ret_ns > 0 ? 0 : WT_E_FORMAT;
    }
    if (cli_duration_parse(NULL, text, &span_ns, &err) < 0)
        return WT_E_FORMAT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret_ns = (int64_t)now.tv_sec * 1000000000 - span_ns;
    return *ret_ns > 0 ? 0 : WT_E_FORMAT;
}

static int parse_number(const char *text, unsigned long max, unsigned long *ret_value)
{
    char *end;
    *ret_value = strtoul(text, &end, 10);
    return text[0] < '0' || text[0] > '9' || *end || *ret_value > max ? WT_E_FORMAT : 0;
}

static int check(const struct jobs_options *o)
{
    if (o->is_json && o->is_csv)
        return cli_usage("jobs", "--json or --csv, not both");
    if (o->has_steps && o->by != WT_JOB_BY_JOB)
        return cli_usage("jobs", "--steps is for the list of jobs: steps are inside them and are "
                                 "never summed");
    if (o->is_sacct && (o->is_json || o->is_csv || o->has_steps || o->by != WT_JOB_BY_JOB))
        return cli_usage("jobs",
                         "--sacct writes jobs, and goes with none of --by, --steps, --json, "
                         "--csv");
    if ((o->is_forced || o->is_dry) && !o->is_sacct)
        return cli_usage("jobs", "%s is for --sacct", o->is_forced ? "--force" : "--dry-run");
    return -1;
}

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct jobs_options *o)
{
    enum {
        STORE = 256,
        BY,
        USER,
        ACCOUNT,
        PARTITION,
        MODEL,
        NODE,
        CLUSTER,
        JOB,
        SINCE,
        UNTIL,
        STEPS,
        LIMIT,
        JSON,
        CSV,
        SACCT,
        FORCE,
        DRY_RUN,
        HELP
    };
    static const struct option options[] = {
        {"store", required_argument, NULL, STORE},
        {"by", required_argument, NULL, BY},
        {"user", required_argument, NULL, USER},
        {"account", required_argument, NULL, ACCOUNT},
        {"partition", required_argument, NULL, PARTITION},
        {"model", required_argument, NULL, MODEL},
        {"node", required_argument, NULL, NODE},
        {"cluster", required_argument, NULL, CLUSTER},
        {"job", required_argument, NULL, JOB},
        {"since", required_argument, NULL, SINCE},
        {"until", required_argument, NULL, UNTIL},
        {"steps", no_argument, NULL, STEPS},
        {"limit", required_argument, NULL, LIMIT},
        {"json", no_argument, NULL, JSON},
        {"csv", no_argument, NULL, CSV},
        {"sacct", no_argument, NULL, SACCT},
        {"force", no_argument, NULL, FORCE},
        {"dry-run", no_argument, NULL, DRY_RUN},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    unsigned long number;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case STORE:
            o->store = optarg;
            break;
        case BY:
            if (wt_job_by_from_name(optarg, &o->by) < 0)
                return cli_usage(
                    "jobs", "--by %s: job, user, account, partition, model, node or none", optarg);
            break;
        case USER:
            o->filter.user = optarg;
            break;
        case ACCOUNT:
            o->filter.account = optarg;
            break;
        case PARTITION:
            o->filter.partition = optarg;
            break;
        case MODEL:
            o->filter.model = optarg;
            break;
        case NODE:
            o->filter.node = optarg;
            break;
        case CLUSTER:
            o->filter.cluster = optarg;
            break;
        case JOB:
            if (parse_number(optarg, UINT32_MAX, &number) < 0 || number == 0)
                return cli_usage("jobs", "--job %s: a job's number is wanted", optarg);
            o->filter.job = (uint32_t)number;
            break;
        case SINCE:
        case UNTIL:
            if (parse_time(optarg, c == SINCE ? &o->filter.since_ns : &o->filter.until_ns) < 0)
                return cli_usage(
                    "jobs",
                    "--%s %s: a time like 2026-11-01 or 2026-11-01T12:00 (UTC), or how "
                    "long ago, like 7d",
                    c == SINCE ? "since" : "until", optarg);
            break;
        case STEPS:
            o->has_steps = true;
            break;
        case LIMIT:
            if (parse_number(optarg, 100000000, &number) < 0)
                return cli_usage("jobs", "--limit %s: a number from 0 to 100000000 is wanted",
                                 optarg);
            o->limit = number;
            break;
        case JSON:
            o->is_json = true;
            break;
        case CSV:
            o->is_csv = true;
            break;
        case SACCT:
            o->is_sacct = true;
            break;
        case FORCE:
            o->is_forced = true;
            break;
        case DRY_RUN:
            o->is_dry = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("jobs");
        }
    }
    if (optind < argc)
        return cli_usage("jobs", "\"%s\" is too much (a job is --job N)", argv[optind]);
    return check(o);
}

/* ---- CSV ---- */

/* RFC 4180; what a spreadsheet would take for a formula is made text. */
static void print_field(const char *text, bool is_last)
{
    bool is_formula = text[0] && strchr("=+-@\t", text[0]);
    if (is_formula || strpbrk(text, ",\"\n\r")) {
        putchar('"');
        if (is_formula)
            putchar('\'');
        for (const char *c = text; *c; c++) {
            if (*c == '"')
                putchar('"');
            putchar(*c);
        }
        putchar('"');
    } else {
        fputs(text, stdout);
    }
    putchar(is_last ? '\n' : ',');
}

static void print_number(double value, bool is_known)
{
    if (is_known && isfinite(value))
        printf("%.6f", value);
    putchar(',');
}

static void print_utc(int64_t unix_ns)
{
    time_t t = (time_t)(unix_ns / 1000000000);
    struct tm tm;
    char text[40];
    if (unix_ns > 0 && gmtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        fputs(text, stdout);
    putchar(',');
}

static void print_csv(const struct wt_job_sum *sums, size_t count, enum wt_job_by by)
{
    bool is_jobs = by == WT_JOB_BY_JOB;
    printf("%s,%sbegin,end,jobs,nodes,node_s,energy_j,low_j,high_j,provenance,idle,unknown,running,"
           "lost,gap_s\n",
           wt_job_by_name(by), is_jobs ? "cluster,user,account,partition,name,model," : "");
    for (size_t i = 0; i < count; i++) {
        const struct wt_job_sum *s = &sums[i];
        bool is_known = s->energy.provenance != WT_PROV_UNKNOWN;
        print_field(s->key, false);
        if (is_jobs) {
            print_field(s->first->cluster, false);
            print_field(s->first->user, false);
            print_field(s->first->account, false);
            print_field(s->first->partition, false);
            print_field(s->first->name, false);
            print_field(s->first->model, false);
        }
        print_utc(s->begin_ns);
        print_utc(s->running ? 0 : s->end_ns);
        printf("%zu,%zu,", s->jobs, s->nodes);
        print_number(s->node_s, true);
        print_number(s->energy.energy_j, is_known);
        print_number(s->energy.low_j, is_known);
        print_number(s->energy.high_j, is_known);
        printf("%s,%d,%zu,%zu,%zu,%.3f\n", wt_provenance_name(s->energy.provenance), s->is_idle,
               s->unknown, s->running, s->lost, s->gap_s);
    }
}

/* ---- the command ---- */

static int compare_begin(const void *one, const void *other)
{
    const struct wt_job_sum *a = one, *b = other;
    if (a->begin_ns != b->begin_ns)
        return a->begin_ns < b->begin_ns ? -1 : 1;
    return strcmp(a->key, b->key);
}

static int compare_energy(const void *one, const void *other)
{
    const struct wt_job_sum *a = one, *b = other;
    if (a->energy.energy_j != b->energy.energy_j)
        return a->energy.energy_j > b->energy.energy_j ? -1 : 1;
    return strcmp(a->key, b->key);
}

static int show(const struct jobs_options *o, const char *store, struct wt_job_sum *sums,
                size_t count, const struct wt_job_row *rows, size_t row_count)
{
    /* Jobs as they came, sums by what they drew. */
    if (count)
        qsort(sums, count, sizeof(*sums), o->by == WT_JOB_BY_JOB ? compare_begin : compare_energy);
    size_t left_out = o->limit && count > o->limit ? count - o->limit : 0;
    size_t shown = count - left_out;
    const char *more = "there are more: --limit 0 lists all"; /* how many was not asked for */
    if (o->by == WT_JOB_BY_JOB)
        sums += left_out;
    if (o->is_json) {
        int code =
            cli_print_json("jobs", wt_job_sums_to_json(sums, shown, rows, row_count, o->by, store));
        if (left_out)
            cli_note("%s", more);
        return code;
    }
    if (o->is_csv) {
        print_csv(sums, shown, o->by);
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_jobs(&term, sums, shown, o->by);
    }
    if (left_out)
        cli_note("%s", more);
    return CLI_OK;
}

int cmd_jobs(int argc, char **argv)
{
    struct jobs_options o = {.limit = 50};
    struct wt_job_store *store = NULL;
    struct wt_job_row *rows = NULL;
    struct wt_job_sum *sums = NULL;
    struct wt_error err = {0};
    size_t row_count = 0, count = 0;
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    o.filter.has_steps = o.has_steps;
    o.filter.has_idle = (o.by == WT_JOB_BY_NODE || o.by == WT_JOB_BY_NONE) && !o.filter.user &&
                        !o.filter.account && !o.filter.partition && !o.filter.model &&
                        !o.filter.job;
    if (o.by == WT_JOB_BY_JOB && o.limit && !o.is_sacct)
        o.filter.latest = o.limit + 1;
    if (wt_job_store_open(&store, o.store, false, &err) < 0)
        return cli_fail("jobs", &err);
    if (wt_job_store_list(store, &o.filter, &rows, &row_count, &err) < 0 ||
        wt_job_sums(rows, row_count, o.by, o.has_steps, &sums, &count, &err) < 0)
        code = cli_fail("jobs", &err);
    else if (o.is_sacct)
        code = cli_jobs_sacct(sums, count, o.is_forced, o.is_dry);
    else
        code = show(&o, wt_job_store_name(store), sums, count, rows, row_count);
    free(sums);
    free(rows);
    wt_job_store_close(store);
    return code;
}
