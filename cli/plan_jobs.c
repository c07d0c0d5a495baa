/* wattune plan --jobs: a cluster's recorded jobs replayed with and without a policy. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_options.h"

struct fleet_options {
    const char *jobs, *curve;
    struct wt_fleet_cluster cluster;
    struct wt_fleet_policy policy;
    struct cli_plan plan; /* signals, objective and start */
    bool is_json;
};

void plan_jobs_help(void)
{
    fputs("\nThe jobs of a cluster instead of one: replayed as they were, and under a policy.\n\n"
          "  --jobs TRACE       a .swf file (Standard Workload Format), or what sacct -P\n"
          "                     prints\n"
          "  --nodes N          of the cluster (default: what the file's header says)\n"
          "  --node-processors N  of an SWF trace, a node (default: by its header, else 1)\n"
          "  --node-gpus N      cards of a node\n"
          "  --shared           jobs share nodes, by processor (SWF) or GPU (sacct);\n"
          "                     without it a job has whole nodes\n"
          "  --busy-power POWER what a node with a job draws, without a cap\n"
          "  --host-watts W     or all of it but the cards, which draw what the curve says\n"
          "  --idle-power POWER what a node without a job draws\n"
          "  --curve FILE.csv   power_w,time_s,energy_j of one card at several caps, as of\n"
          "                     `wattune tune --replay`\n"
          "  --cap [WHO=]WATTS  cards of these jobs are capped: WHO is a partition,\n"
          "                     queue:NAME (of sacct: a QOS) or user:NAME; without it all\n"
          "                     (repeatable; the last that holds for a job does)\n"
          "  --shift [WHO=]TIME these jobs may start so much later, when the signal is best\n"
          "                     (repeatable)\n"
          "  --rebound PCT      of the energy that capped jobs save, how much more such\n"
          "                     jobs take up again (default 0)\n"
          "  with --signal (of one place), --objective, --save-signal, --feed-max-age,\n"
          "  --feed-timeout, --json; --start moves the first job there\n",
          stdout);
}

/* ---- options ---- */

/* A whole number from 1 on. Returns an exit code, or -1. */
static int parse_count(const char *option, const char *text, int64_t max, int64_t *ret_count)
{
    char *end;
    long long value = strtoll(text, &end, 10);
    if (!strchr("0123456789", *text) || !*text || *end || value < 1 || value > max)
        return cli_usage("plan", "%s %s: is no whole number from 1 to %lld", option, text,
                         (long long)max);
    *ret_count = value;
    return -1;
}

static int parse_watts(const char *option, const char *text, bool may_be_none, double *ret_w)
{
    if (!cli_plan_power(text, may_be_none, ret_w))
        return cli_usage("plan", "%s %s: is no power, such as 800W or 1.2kW", option, text);
    return -1;
}

/* [WHO=]VALUE: fills who a rule is of. Returns an exit code, or -1. */
static int parse_rule(const char *option, const char *text, struct wt_fleet_rule *rules,
                      size_t *io_count, struct wt_fleet_rule **ret_rule, const char **ret_value)
{
    static const struct {
        const char *word;
        enum wt_fleet_of of;
    } kinds[] = {{"queue:", WT_FLEET_QUEUE},
                 {"qos:", WT_FLEET_QUEUE},
                 {"user:", WT_FLEET_USER},
                 {"partition:", WT_FLEET_PARTITION}};
    const char *eq = strrchr(text, '=');
    if (*io_count == WT_FLEET_RULES)
        return cli_usage("plan", "%s %s: more than %d", option, text, WT_FLEET_RULES);
    struct wt_fleet_rule *rule = &rules[*io_count];
    *rule = (struct wt_fleet_rule){.of = WT_FLEET_ALL};
    *ret_rule = rule;
    *ret_value = eq ? eq + 1 : text;
    if (eq) {
        const char *name = text;
        rule->of = WT_FLEET_PARTITION;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
            if (strncmp(text, kinds[i].word, strlen(kinds[i].word)) == 0) {
                rule->of = kinds[i].of;
                name += strlen(kinds[i].word);
                break;
            }
        if ((size_t)(eq - name) >= sizeof(rule->name))
            return cli_usage("plan", "%s %s: a name is up to %zu characters long", option, text,
                             sizeof(rule->name) - 1);
        snprintf(rule->name, sizeof(rule->name), "%.*s", (int)(eq - name), name);
    }
    ++*io_count;
    return -1;
}

static int add_cap(struct fleet_options *o, const char *text)
{
    struct wt_fleet_rule *rule;
    const char *value;
    int code = parse_rule("--cap", text, o->policy.caps, &o->policy.cap_count, &rule, &value);
    if (code < 0 && !cli_plan_power(value, false, &rule->cap_w))
        code = cli_usage("plan", "--cap %s: is no power, such as 150 or gpu=150W", text);
    return code;
}

static int add_shift(struct fleet_options *o, const char *text)
{
    struct wt_fleet_rule *rule;
    const char *value;
    int code = parse_rule("--shift", text, o->policy.shifts, &o->policy.shift_count, &rule, &value);
    return code < 0 ? cli_plan_seconds("plan", "--shift", value, true, &rule->span_s) : code;
}

static int parse_rebound(struct fleet_options *o, const char *text)
{
    size_t digits = strspn(text, ".0123456789");
    double value;
    if (!cli_number_parse(text, digits, &value) ||
        (text[digits] && strcmp(text + digits, "%") != 0) || value > 100)
        return cli_usage("plan", "--rebound %s: is no percentage from 0 to 100", text);
    o->policy.rebound = value / 100;
    return -1;
}

enum {
    JOBS = 256,
    NODES,
    NODE_PROCESSORS,
    NODE_GPUS,
    SHARED,
    BUSY,
    HOST,
    IDLE,
    CURVE,
    CAP,
    SHIFT,
    REBOUND,
    JSON
};

/* Those of the machine. */
static int parse_cluster(struct fleet_options *o, int c)
{
    int64_t count;
    int code = -1;
    switch (c) {
    case NODES:
        return parse_count("--nodes", optarg, 100000000, &o->cluster.nodes);
    case NODE_PROCESSORS:
        return parse_count("--node-processors", optarg, 100000, &o->cluster.node_processors);
    case NODE_GPUS:
        code = parse_count("--node-gpus", optarg, 1000, &count);
        if (code < 0)
            o->cluster.node_gpus = (unsigned)count;
        return code;
    case SHARED:
        o->cluster.is_shared = true;
        return -1;
    case BUSY:
        return parse_watts("--busy-power", optarg, false, &o->cluster.busy_w);
    case HOST:
        return parse_watts("--host-watts", optarg, true, &o->cluster.host_w);
    case IDLE:
        return parse_watts("--idle-power", optarg, true, &o->cluster.idle_w);
    default:
        o->curve = optarg;
        return -1;
    }
}

/* Of a plan's own options those that a trace of jobs has, too. name: for messages. */
static int parse_plan_option(struct fleet_options *o, int c, const char *name)
{
    static const int of_one_job[] = {PLAN_POWER,      PLAN_DURATION, PLAN_RUN,
                                     PLAN_PREDICTION, PLAN_DEADLINE, PLAN_INTERRUPTIBLE,
                                     PLAN_CHECKPOINT, PLAN_SEGMENT};
    for (size_t i = 0; i < sizeof(of_one_job) / sizeof(*of_one_job); i++)
        if (c == of_one_job[i])
            return cli_usage("plan", "--%s is of one job, and --jobs has its own", name);
    int code = cli_plan_option(c, optarg, &o->plan);
    return code == CLI_OTHER ? cli_bad_option("plan") : code;
}

static int parse_option(struct fleet_options *o, int c, const char *name)
{
    switch (c) {
    case JOBS:
        if (o->jobs)
            return cli_usage("plan", "--jobs %s: there is one trace already", optarg);
        o->jobs = optarg;
        return -1;
    case CAP:
        return add_cap(o, optarg);
    case SHIFT:
        return add_shift(o, optarg);
    case REBOUND:
        return parse_rebound(o, optarg);
    case JSON:
        o->is_json = true;
        return -1;
    case NODES:
    case NODE_PROCESSORS:
    case NODE_GPUS:
    case SHARED:
    case BUSY:
    case HOST:
    case IDLE:
    case CURVE:
        return parse_cluster(o, c);
    default:
        return parse_plan_option(o, c, name);
    }
}

/* Whether the options go together; then the feeds are asked. */
static int check(struct fleet_options *o)
{
    if (!isnan(o->cluster.busy_w) && !isnan(o->cluster.host_w))
        return cli_usage("plan", "--busy-power holds what --host-watts tells: one of them");
    if (o->policy.rebound > 0 && !o->policy.cap_count)
        return cli_usage("plan", "--rebound goes with --cap");
    for (size_t i = 0; i < o->plan.place_count; i++)
        if (*o->plan.places[i].region)
            return cli_usage("plan",
                             "--signal ...@%s: with --jobs there is one place, and no region",
                             o->plan.places[i].region);
    int code = cli_plan_read_feeds(&o->plan);
    o->policy.objective =
        o->plan.has_objective ? o->plan.job.objective : cli_plan_objective_of(&o->plan.places[0]);
    return code;
}

static int parse(int argc, char **argv, struct fleet_options *o)
{
    static const struct option options[] = {
        PLAN_OPTIONS,
        {"jobs", required_argument, NULL, JOBS},
        {"nodes", required_argument, NULL, NODES},
        {"node-processors", required_argument, NULL, NODE_PROCESSORS},
        {"node-gpus", required_argument, NULL, NODE_GPUS},
        {"shared", no_argument, NULL, SHARED},
        {"busy-power", required_argument, NULL, BUSY},
        {"host-watts", required_argument, NULL, HOST},
        {"idle-power", required_argument, NULL, IDLE},
        {"curve", required_argument, NULL, CURVE},
        {"cap", required_argument, NULL, CAP},
        {"shift", required_argument, NULL, SHIFT},
        {"rebound", required_argument, NULL, REBOUND},
        {"json", no_argument, NULL, JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c, at = 0;
    while ((c = getopt_long(argc, argv, "+h", options, &at)) != -1) {
        if (c == 'h') {
            plan_jobs_help();
            return CLI_OK;
        }
        int code = parse_option(o, c, options[at].name);
        if (code >= 0)
            return code;
    }
    if (optind < argc)
        return cli_usage("plan", "no command is run: %s", argv[optind]);
    return check(o);
}

/* A file that is not there is no missing sensor. */
static int fail(const struct wt_error *err, int rc)
{
    int code = cli_fail("plan", err);
    return rc == WT_E_NOTFOUND ? CLI_FAILURE : code;
}

static int replay(struct fleet_options *o, struct wt_trace *trace)
{
    struct wt_fleet_result result;
    struct wt_error err = {0};
    int code = CLI_OK;
    if (o->plan.has_start)
        wt_trace_move(trace, o->plan.job.start_s);
    int rc = wt_fleet_replay(&result, trace, &o->cluster, &o->policy, &o->plan.places[0], &err);
    if (rc < 0)
        return fail(&err, rc);
    if (o->is_json) {
        code = cli_print_json("plan", wt_fleet_to_json(&result));
    } else {
        struct wt_term term;
        wt_term_init(&term, stdout);
        wt_report_fleet(&term, &result);
    }
    wt_fleet_result_done(&result);
    return code;
}

int cmd_plan_jobs(int argc, char **argv)
{
    struct fleet_options o = {.cluster = {.idle_w = NAN, .busy_w = NAN, .host_w = NAN},
                              .plan = CLI_PLAN_INIT("plan")};
    struct wt_fleet_curve *curve = NULL;
    struct wt_trace trace = {0};
    struct wt_error err = {0};
    int code = parse(argc, argv, &o);
    if (code < 0 && o.curve && wt_fleet_curve_read(&curve, o.curve, &err) < 0)
        code = cli_plan_file_failed("plan", "--curve", &err);
    o.cluster.curve = curve;
    if (code < 0 && wt_trace_read(&trace, o.jobs, &err) < 0)
        code = cli_plan_file_failed("plan", "--jobs", &err);
    if (code < 0)
        code = replay(&o, &trace);
    wt_trace_done(&trace);
    wt_fleet_curve_free(curve);
    cli_plan_done(&o.plan);
    return code;
}
