/* command: a program of the user's that prints watts or joules, for what no other source can read
 * (a PDU, a smart plug, a BMC by Redfish).
 *
 * SPEC is [KIND[/NAME]@]PERIOD:COMMAND. Once a period the command is run by sh, and the last line
 * of its stdout that is not empty is a number and a unit. Watts are the power now; joules and
 * watt-hours are a counter, whose falls are resets. It runs on this machine whatever --sysroot
 * says: what it prints is live.
 *
 * Its first run is awaited while the set is opened, and a command that does not work is a mistake
 * on the command line: who names a sensor wants it, and would rather know before the job than
 * after. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/command.h"
#include "sensor/gauge.h"
#include "sensor/program.h"
#include "sensor/slow.h"

#define PERIOD_MIN_NS   (100 * WT_NS_PER_MS)
#define PERIOD_MAX_NS   (3600 * WT_NS_PER_S)
#define DEADLINE_MIN_NS (10 * WT_NS_PER_S)
#define EXPECTED        "a number and a unit: W, mW, kW, J, kJ, Wh or kWh"

/* Nobody has said how good it is; so much is assumed of any meter here. */
#define GAIN_PPM 50000

/* ---- words ---- */

/* "2", "2s", "500ms", "5m", "1h". */
static int parse_period(const char *text, int64_t *ret_ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    char number[32];
    size_t n = strspn(text, "0123456789.");
    double value, ns = 1e9;
    wt_text(number, sizeof(number), "%.*s", (int)n, text);
    if (n >= sizeof(number) || wt_text_to_double(number, &value) < 0)
        return WT_E_FORMAT;
    bool is_known = !text[n];
    for (size_t i = 0; i < WT_COUNTOF(units) && !is_known; i++)
        if (strcmp(text + n, units[i].unit) == 0) {
            ns = units[i].ns;
            is_known = true;
        }
    if (!is_known)
        return WT_E_FORMAT;
    ns *= value;
    if (!(ns >= (double)PERIOD_MIN_NS) || ns > (double)PERIOD_MAX_NS)
        return WT_E_RANGE;
    *ret_ns = (int64_t)ns;
    return 0;
}

static bool is_kind(const char *text, enum wt_device_kind *ret_kind)
{
    for (int k = WT_DEVICE_GPU; k <= WT_DEVICE_NODE; k++)
        if (strcmp(text, wt_device_kind_name((enum wt_device_kind)k)) == 0) {
            *ret_kind = (enum wt_device_kind)k;
            return true;
        }
    return false;
}

static int fail_spec(const char *spec, const char *why, struct wt_error *err)
{
    wt_fail(err, WT_E_USAGE, "--sensor-command \"%.120s\": %s", spec, why);
    wt_fix(err,
           "it is [KIND[/NAME]@]PERIOD:COMMAND, as in 2s:./read-pdu or gpu/riser@500ms:./meter");
    return WT_E_USAGE;
}

int wt_command_parse(const char *spec, struct wt_command_spec *ret_spec, struct wt_error *err)
{
    static const char name_letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    struct wt_command_spec s = {.kind = WT_DEVICE_NODE};
    size_t head = strcspn(spec, ":");
    char text[96], period[32];
    if (!spec[head])
        return fail_spec(spec, "there is no colon between a period and a command", err);
    s.command = spec + head + 1;
    if (!s.command[strspn(s.command, " \t")])
        return fail_spec(spec, "there is no command", err);
    if (head >= sizeof(text))
        return fail_spec(spec, "what is before the colon is too long", err);
    wt_text(text, sizeof(text), "%.*s", (int)head, spec);
    char *at = strchr(text, '@');
    wt_text(period, sizeof(period), "%s", at ? at + 1 : text);
    if (at) {
        *at = '\0';
        char *name = strchr(text, '/');
        if (name) {
            *name++ = '\0';
            if (!*name || strlen(name) >= sizeof(s.name) || name[strspn(name, name_letters)])
                return fail_spec(spec, "a name is up to 32 letters, digits, '.', '_' and '-'", err);
            wt_text(s.name, sizeof(s.name), "%s", name);
        }
        if (!is_kind(text, &s.kind))
            return fail_spec(spec, "the kind is none of node, gpu, cpu, dram", err);
    }
    int rc = parse_period(period, &s.period_ns);
    if (rc == WT_E_RANGE)
        return fail_spec(spec, "the period must be between 100ms and 1h", err);
    if (rc < 0)
        return fail_spec(spec, "the period is no time such as 500ms, 2s or 1m", err);
    *ret_spec = s;
    return 0;
}

int wt_command_value(const char *line, struct wt_command_value *ret_value, struct wt_error *err)
{
    static const struct {
        const char *name;
        bool is_energy;
        double scale; /* to mW or uJ */
    } units[] = {
        {"W", false, 1e3}, {"mW", false, 1},    {"kW", false, 1e6},    {"J", true, 1e6},
        {"kJ", true, 1e9}, {"Wh", true, 3.6e9}, {"kWh", true, 3.6e12},
    };
    char number[48];
    double value = 0;
    line += strspn(line, " \t");
    size_t n = strspn(line, "0123456789.+-eE");
    const char *unit = line + n + strspn(line + n, " \t");
    size_t unit_n = strcspn(unit, " \t\r");
    wt_text(number, sizeof(number), "%.*s", (int)n, line);
    bool is_number = n && n < sizeof(number) && wt_text_to_double(number, &value) == 0 &&
                     isfinite(value) && !unit[unit_n + strspn(unit + unit_n, " \t\r")];
    size_t at = WT_COUNTOF(units);
    for (size_t i = 0; i < WT_COUNTOF(units); i++)
        if (strlen(units[i].name) == unit_n && strncmp(unit, units[i].name, unit_n) == 0)
            at = i;
    if (!is_number || at == WT_COUNTOF(units))
        return wt_fail(err, WT_E_FORMAT, "printed \"%.60s\"%s; expected is " EXPECTED, line,
                       is_number && !unit_n ? ", a number without a unit" : "");
    double scaled = value * units[at].scale;
    if (scaled < 0 || scaled >= 9e18)
        return wt_fail(err, WT_E_FORMAT, "printed \"%.60s\", which is %s", line,
                       scaled < 0 ? "below zero" : "out of all proportion");
    const char *point = strchr(number, '.');
    size_t decimals = point ? strspn(point + 1, "0123456789") : 0;
    *ret_value = (struct wt_command_value){
        .is_energy = units[at].is_energy,
        .value = (uint64_t)llround(scaled),
        .step = (uint64_t)llround(units[at].scale * pow(10, -(double)decimals)),
    };
    return 0;
}

/* ---- running ---- */

/* What the thread that asks needs. */
struct command {
    char *text; /* owned */
    int64_t deadline_ns;
    bool has_first; /* then what it printed first is what it has to print */
    struct wt_command_value first;
};

static void drop(void *data)
{
    struct command *c = data;
    free(c->text);
    free(c);
}

/* The last line that is not empty; cuts the text. */
static const char *last_line(char *text)
{
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int judge(struct command *c, struct wt_program_result *result, uint64_t *ret_value,
                 struct wt_error *err)
{
    struct wt_command_value value;
    const char *line = last_line(result->out);
    if (result->code)
        return wt_fail(err, WT_E_IO, "exit code %d%s%.120s", result->code,
                       *result->error ? ": " : "", result->error);
    if (!*line)
        return wt_fail(err, WT_E_FORMAT, "printed nothing%s%.120s; expected is " EXPECTED,
                       *result->error ? ", and said " : "", result->error);
    int rc = wt_command_value(line, &value, err);
    if (rc < 0)
        return rc;
    if (c->has_first && c->first.is_energy != value.is_energy)
        return wt_fail(err, WT_E_FORMAT, "printed \"%.60s\", and %s before", line,
                       c->first.is_energy ? "an energy" : "a power");
    c->first = c->has_first ? c->first : value;
    c->has_first = true;
    *ret_value = value.value;
    return 0;
}

static int ask(void *data, int stop_fd, uint64_t *ret_value, struct wt_error *err)
{
    struct command *c = data;
    struct wt_program_result *result = malloc(sizeof(*result));
    const char *const args[] = {"sh", "-c", c->text, NULL};
    struct wt_error why = {0};
    if (!result)
        return wt_fail(err, WT_E_NOMEM, "no memory for what a command prints");
    int rc = wt_program_run(args, stop_fd, c->deadline_ns, result, &why);
    if (rc == 0)
        rc = judge(c, result, ret_value, &why);
    free(result);
    if (rc < 0)
        wt_fail(err, rc, "`%.120s`: %s", c->text, why.text);
    return rc;
}

/* ---- the source ---- */

static int read_slow(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_value,
                     struct wt_error *err)
{
    return wt_slow_read(gauge->counter_data, ctx, ret_value, err);
}

static void free_data(struct wt_gauges *g)
{
    for (size_t k = 0; k < g->source.count; k++)
        wt_slow_close(g->list[k]->counter_data);
}

static void describe(const struct wt_gauges *g, const struct wt_command_spec *s,
                     struct wt_device_info *info)
{
    const char *kind = wt_device_kind_name(s->kind);
    unsigned same = 0;
    for (size_t k = 0; k < g->source.count; k++)
        same += g->source.devices[k].kind == s->kind;
    info->kind = s->kind;
    info->index = same;
    if (*s->name)
        wt_text(info->id, sizeof(info->id), "%s-%s", kind, s->name);
    else
        wt_text(info->id, sizeof(info->id), same ? "%s-command-%u" : "%s-command", kind, same);
    if (*s->name)
        wt_text(info->name, sizeof(info->name), "%s", s->name);
    else
        wt_text(info->name, sizeof(info->name), "%s by %.60s", kind, s->command);
}

static int add(struct wt_gauges *g, const char *spec, struct wt_findings *notes,
               struct wt_error *err)
{
    struct wt_command_spec s;
    struct wt_error why = {0};
    struct wt_slow *slow = NULL;
    int rc = wt_command_parse(spec, &s, err);
    if (rc < 0)
        return rc;
    struct wt_device_info info = {0};
    describe(g, &s, &info);
    for (size_t k = 0; k < g->source.count; k++)
        if (strcmp(g->source.devices[k].id, info.id) == 0)
            return fail_spec(spec, "there is a sensor of this name already", err);

    struct command *c = calloc(1, sizeof(*c));
    if (!c || !(c->text = strdup(s.command))) {
        free(c);
        return wt_fail(err, WT_E_NOMEM, "no memory for a sensor command");
    }
    c->deadline_ns = s.period_ns > DEADLINE_MIN_NS ? s.period_ns : DEADLINE_MIN_NS;
    rc = wt_slow_open(&slow, g->ctx, ask, drop, c, s.period_ns, c->deadline_ns + WT_NS_PER_S, &why);
    if (rc < 0) {
        rc = rc == WT_E_NOMEM ? rc : WT_E_USAGE;
        wt_fail(err, rc, "--sensor-command: %s", why.text);
        wt_fix(err, "its last line on stdout must be " EXPECTED);
        return rc;
    }
    /* Nobody asks before the next read. */
    struct wt_command_value first = c->first;
    struct wt_gauge gauge = {.counter_data = slow};
    info.traits.gain_ppm = GAIN_PPM;
    if (first.is_energy) {
        gauge.counter = read_slow;
        info.traits.energy_period_ns = s.period_ns;
        info.traits.energy_quantum_uj = first.step;
    } else {
        gauge.wattage = read_slow;
        info.traits.power_period_ns = s.period_ns;
        info.traits.power_delay_ns = wt_slow_took_ns(slow) / 2;
        info.traits.offset_mw = (uint32_t)((first.step + 1) / 2);
    }
    bool is_added;
    size_t noted = notes->count;
    rc = wt_gauges_add(g, &info, &gauge, NULL, &is_added, notes);
    if (rc == 0 && !is_added && notes->count > noted) {
        rc = wt_fail(err, WT_E_USAGE, "--sensor-command `%.120s`: %s", s.command,
                     notes->list[notes->count - 1].value);
    }
    if (rc < 0)
        wt_slow_close(slow);
    return rc;
}

static int command_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                        const struct wt_devices_options *options, struct wt_findings *notes,
                        struct wt_error *err)
{
    struct wt_gauges *g;
    int rc = wt_gauges_new(&g, ctx, &wt_command_ops, err);
    if (rc < 0)
        return rc;
    g->state = WT_LIVE;
    g->free_data = free_data;
    for (size_t i = 0; rc == 0 && i < options->command_count; i++)
        rc = add(g, options->commands[i], notes, err);
    if (rc < 0)
        wt_gauges_close(&g->source);
    else
        *ret_source = &g->source;
    return rc;
}

const struct wt_source_ops wt_command_ops = {
    .name = "command",
    .open = command_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
