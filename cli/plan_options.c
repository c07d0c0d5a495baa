/* plan_options: the options that `wattune plan` and `wattune submit` share, and the plan they ask
 * for. */
#include "plan_options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char cli_plan_help[] =
    "  --signal KIND[@REGION]=WHAT  carbon (g a kWh), pue or price (of a kWh): a CSV\n"
    "                     of time,gco2_per_kwh (pue, price_per_kwh) with ISO 8601 UTC\n"
    "                     times, a table by month and hour, a number, or pue=paper;\n"
    "                     or a live feed: carbon=electricitymaps:DE,\n"
    "                     carbon=ukcarbon[:13], carbon=watttime:CAISO_NORTH,\n"
    "                     price=entsoe:10Y1001A1001A82H (repeatable). Without @REGION\n"
    "                     it holds everywhere; the first region is where the job\n"
    "                     would run now\n"
    "  --power POWER      what the job draws: 800W, 1.2kW, 2MW\n"
    "  --duration TIME    how long it takes: 90min, 8h, 14d, 2w\n"
    "  --run ID           a stored run instead: its mean power and its time (`wattune\n"
    "                     runs`)\n"
    "  --prediction FILE  or a prediction: what `wattune predict --json` wrote; - is\n"
    "                     stdin\n"
    "  --start TIME       not before: 2020-07-01, 2020-07-01T06:00Z (default: now)\n"
    "  --deadline TIME    done by: a time, or so long after the start (2d)\n"
    "  --interruptible    the job may stop and go on later\n"
    "  --checkpoint-cost TIME  each interruption takes so much longer (default 0)\n"
    "  --min-segment TIME once it runs it runs so long at least (default 0)\n"
    "  --objective WHAT   energy (of the facility), carbon or cost. Default: carbon\n"
    "                     where there is a signal of it, else cost, else energy\n"
    "  --save-signal KIND[@REGION]=FILE  keep a series as a CSV (repeatable)\n"
    "  --feed-max-age TIME  how old what a feed said may be when it is down (default\n"
    "                     1d)\n"
    "  --feed-timeout TIME  of one feed, all its requests together (default 15s)\n";

static bool is_plain(const char *text, double *ret_value)
{
    char *end;
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    *ret_value = strtod(text, &end);
    return !*end && isfinite(*ret_value);
}

/* KIND[@REGION]=WHAT into its parts; region "" is everywhere. Returns an exit code, or -1. */
static int split(const struct cli_plan *o, const char *option, const char *text,
                 enum wt_signal_kind *ret_kind, char region[32], const char **ret_what)
{
    char name[64];
    const char *eq = strchr(text, '=');
    if (!eq || !eq[1] || (size_t)(eq - text) >= sizeof(name))
        return cli_usage(o->command, "%s %s: is not KIND=FILE or KIND@REGION=FILE", option, text);
    snprintf(name, sizeof(name), "%.*s", (int)(eq - text), text);
    char *at = strchr(name, '@');
    if (at)
        *at++ = '\0';
    if (wt_signal_kind_from_name(name, ret_kind) < 0)
        return cli_usage(o->command, "%s %s: \"%s\" is not carbon, pue or price", option, text,
                         name);
    if (at && (!*at || strlen(at) >= sizeof(o->places[0].region)))
        return cli_usage(o->command, "%s %s: a region is a word of up to %zu characters", option,
                         text, sizeof(o->places[0].region) - 1);
    snprintf(region, 32, "%s", at ? at : "");
    *ret_what = eq + 1;
    return -1;
}

/* Where a region is among the places; place_count: nowhere. */
static size_t place_of(const struct cli_plan *o, const char *region)
{
    size_t i = 0;
    while (i < o->place_count && strcmp(o->places[i].region, region) != 0)
        i++;
    return i;
}

/* Names the option. A file or a library that is not there is no missing sensor. */
int cli_plan_file_failed(const char *command, const char *option, const struct wt_error *err)
{
    struct wt_error named = *err;
    snprintf(named.text, sizeof(named.text), "%s: %.440s", option,
             err->text[0] ? err->text : wt_strerror(err->code));
    int code = cli_fail(command, &named);
    return err->code == WT_E_NOTFOUND || err->code == WT_E_UNSUPPORTED ? CLI_FAILURE : code;
}

/* WHAT of --signal KIND=WHAT: a number, a built-in table, a feed, a file. Returns an exit code, or
 * -1. */
static int take_signal(struct cli_plan *o, size_t place, enum wt_signal_kind kind, const char *what)
{
    struct wt_signal *signal;
    struct wt_error err = {0};
    double value;
    int rc = is_plain(what, &value)       ? wt_signal_constant(&signal, kind, value, &err)
             : strcmp(what, "paper") == 0 ? wt_signal_builtin(&signal, kind, "paper", &err)
             : wt_signal_is_feed(what)    ? wt_signal_fetch(&signal, kind, what, &o->feed, &err)
                                          : wt_signal_read(&signal, kind, what, &err);
    if (rc == WT_E_NOTFOUND && !err.fix[0] && strchr(what, ':') && !strchr(what, '/'))
        snprintf(err.fix, sizeof(err.fix),
                 "a file, a number, or a live feed: electricitymaps:ZONE, ukcarbon[:REGION], "
                 "watttime:REGION, entsoe:ZONE");
    if (rc < 0)
        return cli_plan_file_failed(o->command, "--signal", &err);
    o->signals[o->signal_count++] = signal;
    o->places[place].signals[kind] = signal;
    return -1;
}

/* Takes a --signal: a feed is asked when all options are known. Returns an exit code, or -1. */
static int add_signal(struct cli_plan *o, const char *text)
{
    enum wt_signal_kind kind;
    char region[32];
    const char *what;
    int code = split(o, "--signal", text, &kind, region, &what);
    if (code >= 0)
        return code;
    size_t i = place_of(o, region);
    if (i == CLI_PLACES_MAX)
        return cli_usage(o->command, "--signal %s: more than %d regions", text, CLI_PLACES_MAX);
    if (o->signal_count + o->feed_count == CLI_SIGNALS_MAX)
        return cli_usage(o->command, "--signal %s: more than %d signals", text, CLI_SIGNALS_MAX);
    if (i == o->place_count) {
        snprintf(o->places[i].region, sizeof(o->places[i].region), "%s", region);
        o->place_count++;
    }
    bool is_there = o->places[i].signals[kind] != NULL;
    for (size_t f = 0; f < o->feed_count; f++)
        is_there |= o->feeds[f].place == i && o->feeds[f].kind == kind;
    if (is_there)
        return cli_usage(o->command, "--signal %s: this signal is given twice", text);
    if (!wt_signal_is_feed(what))
        return take_signal(o, i, kind, what);
    o->feeds[o->feed_count].place = i;
    o->feeds[o->feed_count].kind = kind;
    o->feeds[o->feed_count++].source = what;
    return -1;
}

int cli_plan_read_feeds(struct cli_plan *o)
{
    int code = -1;
    for (size_t i = 0; code < 0 && i < o->feed_count; i++)
        code = take_signal(o, o->feeds[i].place, o->feeds[i].kind, o->feeds[i].source);
    for (size_t i = 0; code < 0 && i < o->save_count; i++) {
        struct wt_error err = {0};
        enum wt_signal_kind kind;
        char region[32];
        const char *path;
        code = split(o, "--save-signal", o->saves[i], &kind, region, &path);
        if (code >= 0)
            break;
        size_t at = place_of(o, region);
        if (at == o->place_count || !o->places[at].signals[kind])
            code =
                cli_usage(o->command, "--save-signal %s: there is no such --signal", o->saves[i]);
        else if (wt_signal_save(o->places[at].signals[kind], path, &err) < 0)
            code = err.code == WT_E_UNSUPPORTED
                       ? cli_usage(o->command, "--save-signal %s: %s", o->saves[i], err.text)
                       : cli_plan_file_failed(o->command, "--save-signal", &err);
    }
    return code;
}

bool cli_plan_power(const char *text, bool may_be_none, double *ret_w)
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
    return (value > 0 || may_be_none) && value <= 1e12;
}

/* A duration in whole seconds. */
int cli_plan_seconds(const char *command, const char *option, const char *text, bool may_be_none,
                     int64_t *ret_s)
{
    struct wt_error err = {0};
    double number;
    int64_t ns;
    if (cli_duration_parse(option, text, &ns, &err) < 0) {
        if (cli_number_parse(text, strlen(text), &number))
            return cli_usage(command, "%s %s: give a unit: %sh, %smin or %ss", option, text, text,
                             text, text);
        return cli_usage(command, "%s %s: is no duration, such as 5min, 8h or 14d", option, text);
    }
    *ret_s = (ns + 500000000) / 1000000000;
    if (!*ret_s && !may_be_none)
        return cli_usage(command, "%s %s: a second at least", option, text);
    return -1;
}

static int parse_objective(const char *command, const char *text, enum wt_objective *ret_objective)
{
    if (wt_objective_from_name(text, ret_objective) < 0 ||
        (*ret_objective != WT_OBJECTIVE_ENERGY && *ret_objective != WT_OBJECTIVE_CARBON &&
         *ret_objective != WT_OBJECTIVE_COST))
        return cli_usage(command, "--objective %s: is not energy, carbon or cost", text);
    return -1;
}

enum wt_objective cli_plan_objective_of(const struct wt_place *place)
{
    return place->signals[WT_SIGNAL_CARBON]  ? WT_OBJECTIVE_CARBON
           : place->signals[WT_SIGNAL_PRICE] ? WT_OBJECTIVE_COST
                                             : WT_OBJECTIVE_ENERGY;
}

int cli_plan_option(int c, const char *arg, struct cli_plan *o)
{
    struct wt_error err = {0};
    const char *path = arg ? strchr(arg, '=') : NULL; /* of PLAN_SAVE */
    int code = -1;
    switch (c) {
    case PLAN_SIGNAL:
        code = add_signal(o, arg);
        break;
    case PLAN_POWER:
        if (o->job.power_w > 0)
            code = cli_usage(o->command, "--power %s: is given twice", arg);
        else if (!cli_plan_power(arg, false, &o->job.power_w))
            code = cli_usage(o->command, "--power %s: is no power, such as 800W or 1.2kW", arg);
        break;
    case PLAN_DURATION:
        code = cli_plan_seconds(o->command, "--duration", arg, false, &o->job.duration_s);
        break;
    case PLAN_RUN:
        o->run = arg;
        break;
    case PLAN_PREDICTION:
        o->prediction = arg;
        break;
    case PLAN_START:
        o->has_start = true;
        if (strcmp(arg, "now") == 0)
            o->job.start_s = (int64_t)time(NULL);
        else if (wt_moment_parse(arg, &o->job.start_s) < 0)
            code = cli_usage(o->command, "--start %s: is no time, such as 2020-07-01T06:00Z", arg);
        break;
    case PLAN_DEADLINE:
        o->deadline = arg;
        break;
    case PLAN_INTERRUPTIBLE:
        o->job.is_interruptible = true;
        break;
    case PLAN_CHECKPOINT:
        o->has_checkpoint = true;
        code = cli_plan_seconds(o->command, "--checkpoint-cost", arg, true, &o->job.checkpoint_s);
        break;
    case PLAN_SEGMENT:
        o->has_segment_min = true;
        code = cli_plan_seconds(o->command, "--min-segment", arg, true, &o->job.segment_min_s);
        break;
    case PLAN_OBJECTIVE:
        o->has_objective = true;
        code = parse_objective(o->command, arg, &o->job.objective);
        break;
    case PLAN_SAVE:
        if (o->save_count == CLI_SIGNALS_MAX)
            code = cli_usage(o->command, "--save-signal %s: more than %d of them", arg,
                             CLI_SIGNALS_MAX);
        else if (path && cli_output_name("--save-signal", path + 1, &err) < 0)
            code = cli_fail(o->command, &err);
        else
            o->saves[o->save_count++] = arg;
        break;
    case PLAN_MAX_AGE:
        code = cli_plan_seconds(o->command, "--feed-max-age", arg, true, &o->feed.max_age_s);
        break;
    case PLAN_TIMEOUT:
        code = cli_plan_seconds(o->command, "--feed-timeout", arg, false, &o->feed.timeout_ms);
        o->feed.timeout_ms *= 1000;
        break;
    default:
        return CLI_OTHER;
    }
    return code;
}

int cli_plan_check(struct cli_plan *o)
{
    if (!o->signal_count && !o->feed_count)
        return cli_usage(o->command, "nothing to plan by: --signal carbon=FILE, pue= or price=");
    if (!o->job.is_interruptible && (o->has_checkpoint || o->has_segment_min))
        return cli_usage(o->command, "%s goes with --interruptible",
                         o->has_checkpoint ? "--checkpoint-cost" : "--min-segment");
    if (!o->deadline)
        return cli_usage(o->command, "until when may it take: --deadline 2d, or a time");
    if (o->run && o->prediction)
        return cli_usage(o->command, "--run and --prediction: the job is one of them");
    if (!o->run && !o->prediction && (!(o->job.power_w > 0) || !o->job.duration_s))
        return cli_usage(o->command,
                         "what is the job: --power and --duration, --run or --prediction");
    if (!o->has_start)
        o->job.start_s = (int64_t)time(NULL);
    if (wt_moment_parse(o->deadline, &o->job.deadline_s) < 0) {
        struct wt_error err = {0};
        int64_t span_ns;
        if (cli_duration_parse(NULL, o->deadline, &span_ns, &err) < 0)
            return cli_usage(o->command,
                             "--deadline %s: is no time, such as 2020-07-01T06:00Z, and no "
                             "duration after the start, such as 2d",
                             o->deadline);
        int64_t span_s;
        int code = cli_plan_seconds(o->command, "--deadline", o->deadline, false, &span_s);
        if (code >= 0)
            return code;
        o->job.deadline_s = o->job.start_s + span_s;
    }
    return cli_plan_read_feeds(o);
}

/* Signals without a region hold in every region that has none of its own. */
static void settle_places(struct cli_plan *o)
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
static int take_run(struct cli_plan *o)
{
    struct wt_error err = {0};
    struct wt_store *store;
    struct wt_run run;
    if (wt_store_open(&store, NULL, &err) < 0)
        return cli_fail(o->command, &err);
    int rc = wt_store_load(store, o->run, &run, &err);
    wt_store_close(store);
    if (rc < 0)
        return cli_fail(o->command, &err);
    int code = -1;
    if (run.state != WT_RUN_DONE || !(run.wall_s > 0)) {
        code = cli_usage(o->command, "--run %s: did not end, so its time is not known", run.id);
    } else if (!(o->job.power_w > 0)) {
        if (run.total.provenance == WT_PROV_UNKNOWN || !(run.total.energy_j > 0)) {
            code = cli_usage(o->command, "--run %s: its energy is not known; give --power", run.id);
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
    if (code < 0 && run.exit_code) {
        char after[40];
        cli_note("run %s failed (exit code %d after %s): the plan is of a job like it", run.id,
                 run.exit_code, wt_format_seconds(after, sizeof(after), run.wall_s));
    }
    wt_run_done(&run);
    return code;
}

/* Power and time of a prediction, where they were not given. Returns an exit code, or -1. */
static int take_prediction(struct cli_plan *o)
{
    struct wt_error err = {0};
    struct wt_predicted p;
    bool has_power = o->job.power_w > 0, has_time = o->job.duration_s > 0;
    if (wt_predicted_read(&p, o->prediction, &err) < 0)
        return cli_plan_file_failed(o->command, "--prediction", &err);
    if (has_power && has_time)
        return -1; /* nothing of it is used */
    if (!has_time && p.time_s.value < 1)
        return cli_usage(o->command,
                         "--prediction %s: it takes %.3g s; of one pass? `wattune predict "
                         "--tokens N` is of a whole job",
                         o->prediction, p.time_s.value);
    if (!has_power) {
        o->job.power_w = p.power_w.value;
        o->power.low_w = p.power_w.low;
        o->power.high_w = p.power_w.high;
        o->power.provenance = WT_PROV_MODELED;
        o->power.host_w = p.host_w;
    }
    if (!has_time) {
        o->job.duration_s = (int64_t)ceil(p.time_s.value);
        o->power.time_low_s = p.time_s.low;
        o->power.time_high_s = p.time_s.high;
    }
    o->power.is_too_large = !p.fits;
    snprintf(o->power.emulation, sizeof(o->power.emulation), "%s", p.emulation);
    snprintf(o->power.prediction, sizeof(o->power.prediction), "%s%s%s%s", p.what,
             *p.emulation ? ", calibrated on an EMULATED " : "", p.emulation,
             p.is_doubted ? ", by a doubtful run" : "");
    return -1;
}

int cli_plan_make(struct cli_plan *o, struct wt_plan_result *ret_result)
{
    struct wt_error err = {0};
    settle_places(o);
    int code = o->run ? take_run(o) : o->prediction ? take_prediction(o) : -1;
    if (code >= 0)
        return code;
    if (!o->has_objective)
        o->job.objective = cli_plan_objective_of(&o->places[0]);
    if (wt_plan_places(ret_result, &o->job, &o->power, o->places, o->place_count, &err) < 0)
        return cli_fail(o->command, &err);
    return -1;
}

void cli_plan_done(struct cli_plan *o)
{
    for (size_t i = 0; i < o->signal_count; i++)
        wt_signal_free(o->signals[i]);
}
