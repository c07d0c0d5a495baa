/* wattune plan: when, and at which of several places, one job takes the least facility energy,
 * carbon or money. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plan.h"

#define PLACES_MAX  64
#define SIGNALS_MAX 128

struct plan_options {
    struct wt_job job;
    struct wt_plan_power power;
    struct wt_place places[PLACES_MAX];
    size_t place_count;
    struct wt_signal *signals[SIGNALS_MAX]; /* owned */
    size_t signal_count;
    const char *run, *deadline;
    bool has_objective, has_start, has_checkpoint, has_segment_min, is_json;
};

static void print_help(void)
{
    fputs(
        "usage: wattune plan --signal KIND=FILE... --power W --duration TIME --deadline TIME\n"
        "       wattune plan --jobs TRACE [--cap WATTS] [--shift TIME] ...\n\n"
        "When one job is best run: the start, or the pieces, with the least facility energy, "
        "carbon\n"
        "or cost, against starting now; and where, with signals of several regions.\n\n"
        "  --signal KIND[@REGION]=WHAT  carbon (g a kWh), pue or price (of a kWh): a CSV of\n"
        "                     time,gco2_per_kwh (pue, price_per_kwh) with ISO 8601 UTC times, a\n"
        "                     table by month and hour, a number, or pue=paper (repeatable).\n"
        "                     Without @REGION it holds everywhere; the first region is where\n"
        "                     the job would run now\n"
        "  --power POWER      what the job draws: 800W, 1.2kW, 2MW\n"
        "  --duration TIME    how long it takes: 90min, 8h, 14d, 2w\n"
        "  --run ID           a stored run instead: its mean power and its time (`wattune runs`)\n"
        "  --start TIME       not before: 2020-07-01, 2020-07-01T06:00Z (default: now)\n"
        "  --deadline TIME    done by: a time, or so long after the start (2d)\n"
        "  --interruptible    the job may stop and go on later\n"
        "  --checkpoint-cost TIME  each interruption takes so much longer (default 0)\n"
        "  --min-segment TIME once it runs it runs so long at least (default 0)\n"
        "  --objective WHAT   energy (of the facility), carbon or cost. Default: carbon where\n"
        "                     there is a signal of it, else cost, else energy\n"
        "  --json             one JSON document on stdout\n"
        "  --help             this text\n",
        stdout);
    plan_jobs_help();
    fputs("\nExit code: 0, 1 failure, 2 usage, 3 not permitted, 4 no such run.\n", stdout);
}

static bool is_plain(const char *text, double *ret_value)
{
    char *end;
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    *ret_value = strtod(text, &end);
    return !*end && isfinite(*ret_value);
}

int plan_signal_open(enum wt_signal_kind kind, const char *what, struct wt_signal **ret_signal)
{
    double value;
    struct wt_error err = {0};
    int rc = is_plain(what, &value)       ? wt_signal_constant(ret_signal, kind, value, &err)
             : strcmp(what, "paper") == 0 ? wt_signal_builtin(ret_signal, kind, "paper", &err)
                                          : wt_signal_read(ret_signal, kind, what, &err);
    if (rc < 0) { /* a file that is not there is no missing sensor */
        int code = cli_fail("plan", &err);
        return rc == WT_E_NOTFOUND ? CLI_FAILURE : code;
    }
    return -1;
}

/* KIND[@REGION]=WHAT. Returns an exit code, or -1. */
static int add_signal(struct plan_options *o, const char *text)
{
    enum wt_signal_kind kind;
    char name[64];
    const char *eq = strchr(text, '='), *at;
    if (!eq || !eq[1] || (size_t)(eq - text) >= sizeof(name))
        return cli_usage("plan", "--signal %s: is not KIND=FILE or KIND@REGION=FILE", text);
    snprintf(name, sizeof(name), "%.*s", (int)(eq - text), text);
    at = strchr(name, '@');
    const char *region = at ? at + 1 : "";
    if (at)
        name[at - name] = '\0';
    if (wt_signal_kind_from_name(name, &kind) < 0)
        return cli_usage("plan", "--signal %s: \"%s\" is not carbon, pue or price", text, name);
    size_t i = 0;
    while (i < o->place_count && strcmp(o->places[i].region, region) != 0)
        i++;
    if (at && (!*region || strlen(region) >= sizeof(o->places[0].region)))
        return cli_usage("plan", "--signal %s: a region is a word of up to %zu characters", text,
                         sizeof(o->places[0].region) - 1);
    if (i == PLACES_MAX)
        return cli_usage("plan", "--signal %s: more than %d regions", text, PLACES_MAX);
    if (o->signal_count == SIGNALS_MAX)
        return cli_usage("plan", "--signal %s: more than %d signals", text, SIGNALS_MAX);
    if (i == o->place_count) {
        snprintf(o->places[i].region, sizeof(o->places[i].region), "%s", region);
        o->place_count++;
    }
    if (o->places[i].signals[kind])
        return cli_usage("plan", "--signal %s: this signal is given twice", text);
    struct wt_signal *signal;
    int code = plan_signal_open(kind, eq + 1, &signal);
    if (code >= 0)
        return code;
    o->signals[o->signal_count++] = signal;
    o->places[i].signals[kind] = signal;
    return -1;
}

bool plan_power_parse(const char *text, double *ret_w)
{
    size_t digits = strspn(text, ".0123456789");
    const char *end = text + digits + strspn(text + digits, " ");
    double value;
    if (!cli_number_parse(text, digits, &value))
        return false;
    if (strcmp(end, "kW") == 0)
        value *= 1e3;
    else if (strcmp(end, "MW") == 0)
        value *= 1e6;
    else if (*end && strcmp(end, "W") != 0)
        return false;
    *ret_w = value;
    return value > 0 && value <= 1e12;
}

/* A duration in whole seconds. */
int plan_seconds_parse(const char *option, const char *text, bool may_be_none, int64_t *ret_s)
{
    struct wt_error err = {0};
    int64_t ns;
    if (cli_duration_parse(text, &ns, &err) < 0)
        return cli_usage("plan", "%s %s: is no duration, such as 5min, 8h or 14d", option, text);
    *ret_s = (ns + 500000000) / 1000000000;
    if (!*ret_s && !may_be_none)
        return cli_usage("plan", "%s %s: a second at least", option, text);
    return -1;
}

int plan_objective_parse(const char *text, enum wt_objective *ret_objective)
{
    if (wt_objective_from_name(text, ret_objective) < 0 ||
        (*ret_objective != WT_OBJECTIVE_ENERGY && *ret_objective != WT_OBJECTIVE_CARBON &&
         *ret_objective != WT_OBJECTIVE_COST))
        return cli_usage("plan", "--objective %s: is not energy, carbon or cost", text);
    return -1;
}

enum wt_objective plan_objective_of(const struct wt_place *place)
{
    return place->signals[WT_SIGNAL_CARBON]  ? WT_OBJECTIVE_CARBON
           : place->signals[WT_SIGNAL_PRICE] ? WT_OBJECTIVE_COST
                                             : WT_OBJECTIVE_ENERGY;
}

static int parse(int argc, char **argv, struct plan_options *o)
{
    enum {
        SIGNAL = 256,
        POWER,
        DURATION,
        RUN,
        START,
        DEADLINE,
        INTERRUPTIBLE,
        CHECKPOINT,
        SEGMENT,
        OBJECTIVE,
        JSON,
        HELP
    };
    static const struct option options[] = {
        {"signal", required_argument, NULL, SIGNAL},
        {"power", required_argument, NULL, POWER},
        {"duration", required_argument, NULL, DURATION},
        {"run", required_argument, NULL, RUN},
        {"start", required_argument, NULL, START},
        {"deadline", required_argument, NULL, DEADLINE},
        {"interruptible", no_argument, NULL, INTERRUPTIBLE},
        {"checkpoint-cost", required_argument, NULL, CHECKPOINT},
        {"min-segment", required_argument, NULL, SEGMENT},
        {"objective", required_argument, NULL, OBJECTIVE},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        code = -1;
        switch (c) {
        case SIGNAL:
            code = add_signal(o, optarg);
            break;
        case POWER:
            if (!plan_power_parse(optarg, &o->job.power_w))
                code = cli_usage("plan", "--power %s: is no power, such as 800W or 1.2kW", optarg);
            break;
        case DURATION:
            code = plan_seconds_parse("--duration", optarg, false, &o->job.duration_s);
            break;
        case RUN:
            o->run = optarg;
            break;
        case START:
            o->has_start = true;
            if (strcmp(optarg, "now") == 0)
                o->job.start_s = (int64_t)time(NULL);
            else if (wt_moment_parse(optarg, &o->job.start_s) < 0)
                code =
                    cli_usage("plan", "--start %s: is no time, such as 2020-07-01T06:00Z", optarg);
            break;
        case DEADLINE:
            o->deadline = optarg;
            break;
        case INTERRUPTIBLE:
            o->job.is_interruptible = true;
            break;
        case CHECKPOINT:
            o->has_checkpoint = true;
            code = plan_seconds_parse("--checkpoint-cost", optarg, true, &o->job.checkpoint_s);
            break;
        case SEGMENT:
            o->has_segment_min = true;
            code = plan_seconds_parse("--min-segment", optarg, true, &o->job.segment_min_s);
            break;
        case OBJECTIVE:
            o->has_objective = true;
            code = plan_objective_parse(optarg, &o->job.objective);
            break;
        case JSON:
            o->is_json = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("plan");
        }
        if (code >= 0)
            return code;
    }
    if (optind < argc)
        return cli_usage("plan", "no command is run: %s", argv[optind]);
    if (!o->signal_count)
        return cli_usage("plan", "nothing to plan by: --signal carbon=FILE, pue= or price=");
    if (!o->job.is_interruptible && (o->has_checkpoint || o->has_segment_min))
        return cli_usage("plan", "%s goes with --interruptible",
                         o->has_checkpoint ? "--checkpoint-cost" : "--min-segment");
    if (!o->deadline)
        return cli_usage("plan", "until when may it take: --deadline 2d, or a time");
    if (!o->run && (!(o->job.power_w > 0) || !o->job.duration_s))
        return cli_usage("plan", "what is the job: --power and --duration, or --run");
    if (!o->has_start)
        o->job.start_s = (int64_t)time(NULL);
    if (wt_moment_parse(o->deadline, &o->job.deadline_s) < 0) {
        int64_t span_s;
        code = plan_seconds_parse("--deadline", o->deadline, false, &span_s);
        if (code >= 0)
            return code;
        o->job.deadline_s = o->job.start_s + span_s;
    }
    return -1;
}

/* Signals without a region hold in every region that has none of its own. */
static void settle_places(struct plan_options *o)
{
    size_t common = 0;
    while (common < o->place_count && *o->places[common].region)
        common++;
    if (common == o->place_count || o->place_count == 1)
        return;
    struct wt_place all = o->places[common];
    memmove(&o->places[common], &o->places[common + 1],
            (--o->place_count - common) * sizeof(*o->places));
    for (size_t i = 0; i < o->place_count; i++)
        for (int k = 0; k < WT_SIGNAL_KINDS; k++)
            if (!o->places[i].signals[k])
                o->places[i].signals[k] = all.signals[k];
}

/* Power and time of a stored run, where they were not given. Returns an exit code, or -1. */
static int take_run(struct plan_options *o)
{
    struct wt_error err = {0};
    struct wt_store *store;
    struct wt_run run;
    if (wt_store_open(&store, NULL, &err) < 0)
        return cli_fail("plan", &err);
    int rc = wt_store_load(store, o->run, &run, &err);
    wt_store_close(store);
    if (rc < 0)
        return cli_fail("plan", &err);
    int code = -1;
    if (run.state != WT_RUN_DONE || !(run.wall_s > 0)) {
        code = cli_usage("plan", "--run %s: did not end, so its time is not known", run.id);
    } else if (!(o->job.power_w > 0)) {
        if (run.total.provenance == WT_PROV_UNKNOWN || !(run.total.energy_j > 0)) {
            code = cli_usage("plan", "--run %s: its energy is not known; give --power", run.id);
        } else {
            o->job.power_w = run.total.energy_j / run.wall_s + run.host_w;
            o->power.low_w = run.total.low_j / run.wall_s + run.host_w;
            o->power.high_w = run.total.high_j / run.wall_s + run.host_w;
            o->power.provenance = run.total.provenance;
        }
    }
    if (run.is_emulated && (!o->job.duration_s || o->power.provenance != WT_PROV_UNKNOWN))
        snprintf(o->power.emulation, sizeof(o->power.emulation), "%s", run.emulation);
    snprintf(o->power.run_id, sizeof(o->power.run_id), "%s", run.id);
    if (!o->job.duration_s)
        o->job.duration_s = (int64_t)ceil(run.wall_s);
    if (code < 0 && run.exit_code)
        cli_note("run %s failed (exit code %d after %.3g s): the plan is of a job like it", run.id,
                 run.exit_code, run.wall_s);
    wt_run_done(&run);
    return code;
}

static int plan(struct plan_options *o)
{
    struct wt_plan_result result;
    struct wt_error err = {0};
    if (!o->has_objective)
        o->job.objective = plan_objective_of(&o->places[0]);
    if (wt_plan_places(&result, &o->job, &o->power, o->places, o->place_count, &err) < 0)
        return cli_fail("plan", &err);
    int code = CLI_OK;
    if (o->is_json) {
        code = cli_print_json("plan", wt_plan_to_json(&result));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_plan(&term, &result);
    }
    wt_plan_result_done(&result);
    return code;
}

int cmd_plan(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--jobs") == 0 || strncmp(argv[i], "--jobs=", 7) == 0)
            return cmd_plan_jobs(argc, argv);
    struct plan_options o = {.power = {.low_w = NAN, .high_w = NAN}};
    int code = parse(argc, argv, &o);
    if (code < 0)
        settle_places(&o);
    if (code < 0 && o.run)
        code = take_run(&o);
    if (code < 0)
        code = plan(&o);
    for (size_t i = 0; i < o.signal_count; i++)
        wt_signal_free(o.signals[i]);
    return code;
}
