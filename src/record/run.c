/* run: one run's record in memory and as the stable JSON document (docs/json.md).
 *
 * A number that is not known is null in the document, never 0; an energy says its provenance. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "record/record.h"

static const char *const state_names[] = {
    [WT_RUN_RUNNING] = "running", [WT_RUN_DONE] = "done", [WT_RUN_INCOMPLETE] = "incomplete"};

void wt_plain_enter(struct wt_plain *plain)
{
    locale_t base = duplocale(uselocale((locale_t)0));
    plain->mine = base ? newlocale(LC_NUMERIC_MASK, "C", base) : (locale_t)0;
    if (base && !plain->mine)
        freelocale(base);
    plain->old = plain->mine ? uselocale(plain->mine) : (locale_t)0;
}

void wt_plain_leave(struct wt_plain *plain)
{
    if (!plain->mine)
        return;
    uselocale(plain->old);
    freelocale(plain->mine);
}

const char *wt_time_text(char *buf, size_t size, int64_t unix_ns)
{
    time_t t = (time_t)(unix_ns / WT_NS_PER_S);
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        wt_text(buf, size, "?");
    return buf;
}

/* ---- in memory ---- */

static void describe_system(char *buf, size_t size)
{
    char text[4096], cpu[96] = "";
    /* Only the first processor is wanted, and the whole file is long on a large machine. */
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(text, sizeof(text), f)) {
        char *colon = strchr(text, ':');
        if (strncmp(text, "model name", 10) == 0 && colon) {
            colon += 1 + strspn(colon + 1, " \t");
            wt_text(cpu, sizeof(cpu), "%.*s, ", (int)strcspn(colon, "\n"), colon);
            break;
        }
    }
    if (f)
        fclose(f);
    struct utsname name;
    struct sysinfo info;
    if (uname(&name) < 0 || sysinfo(&info) < 0)
        return;
    wt_text(buf, size, "%s%ld processors, %.0f GiB, %s %.40s %s", cpu,
            sysconf(_SC_NPROCESSORS_ONLN), (double)info.totalram * info.mem_unit / 0x1p30,
            name.sysname, name.release, name.machine);
}

void wt_run_stamp(struct wt_run *run)
{
    if (!run->start_unix_ns)
        run->start_unix_ns = wt_clock_unix_ns();
    if (!run->id[0]) {
        /* Sorts by time, down to the millisecond; the random part keeps ranks of one job apart. */
        uint16_t random = 0;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
            random = (uint16_t)(getpid() ^ (run->start_unix_ns / 1000));
        time_t t = (time_t)(run->start_unix_ns / WT_NS_PER_S);
        struct tm tm = {0};
        gmtime_r(&t, &tm);
        char date[24];
        strftime(date, sizeof(date), "%Y%m%d-%H%M%S", &tm);
        wt_text(run->id, sizeof(run->id), "%s-%03d%04x", date,
                (int)(run->start_unix_ns / WT_NS_PER_MS % 1000), random);
    }
    if (!run->host[0] && gethostname(run->host, sizeof(run->host)) < 0)
        run->host[0] = '\0';
    run->host[sizeof(run->host) - 1] = '\0';
    if (!run->system[0])
        describe_system(run->system, sizeof(run->system));
    if (!run->version[0])
        wt_text(run->version, sizeof(run->version), "%s", wt_version());
}

void wt_run_done(struct wt_run *run)
{
    for (size_t i = 0; i < run->device_count; i++)
        free(run->devices[i].attribution.shares);
    free(run->devices);
    free(run->settings);
    free(run->params);
    free(run->plan);
    free(run->gaps);
    free(run->phases);
    free(run->points);
    free(run->values);
    memset(run, 0, sizeof(*run));
}

void wt_runs_free(struct wt_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wt_run_done(&runs[i]);
    free(runs);
}

/* Room for one more element; the array doubles, so its room need not be stored: it is the next
 * power of two. */
static int append(void **array, size_t *count, size_t size, const void *element)
{
    if ((*count & (*count - 1)) == 0) {
        void *more = reallocarray(*array, *count ? *count * 2 : 1, size);
        if (!more)
            return WT_E_NOMEM;
        *array = more;
    }
    memcpy((char *)*array + *count * size, element, size);
    (*count)++;
    return 0;
}

#define APPEND(run, what, element)                                                                 \
    append((void **)&(run)->what##s, &(run)->what##_count, sizeof(*(run)->what##s), element)

int wt_run_add_setting(struct wt_run *run, const struct wt_run_setting *setting)
{
    return APPEND(run, setting, setting);
}

const struct wt_run_setting *wt_run_lost(const struct wt_run *run)
{
    for (size_t i = 0; i < run->setting_count; i++)
        if (run->settings[i].lost[0])
            return &run->settings[i];
    return NULL;
}

int wt_run_add_param(struct wt_run *run, const struct wt_run_param *param)
{
    return APPEND(run, param, param);
}

int wt_run_set_plan(struct wt_run *run, const char *plan)
{
    json_t *doc = json_loads(plan, 0, NULL);
    json_decref(doc);
    if (!doc)
        return WT_E_FORMAT;
    char *copy = strdup(plan);
    if (!copy)
        return WT_E_NOMEM;
    free(run->plan);
    run->plan = copy;
    return 0;
}

int wt_run_add_phase(struct wt_run *run, const struct wt_run_phase *phase)
{
    return APPEND(run, phase, phase);
}

/* A point closer to the one before it than this share of the time since the start tells a plot
 * nothing. */
static bool is_too_close(double t_s, double before_s)
{
    return t_s - before_s < t_s / 4000.0;
}

int wt_run_add_point(struct wt_run *run, const struct wt_run_point *point)
{
    /* Devices take turns, so the one before of the same device is near the end. */
    for (size_t i = run->point_count; i-- > 0;)
        if (run->points[i].device == point->device) {
            if (is_too_close(point->t_s, run->points[i].t_s))
                return 0;
            break;
        }
    return APPEND(run, point, point);
}

/* The last value of this name before `end`; SIZE_MAX: none. */
static size_t find_last(const struct wt_run *run, const char *name, size_t end)
{
    for (size_t i = end; i-- > 0;)
        if (strcmp(run->values[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

int wt_run_add_value(struct wt_run *run, const struct wt_run_value *value)
{
    size_t last = find_last(run, value->name, run->value_count);
    size_t before = last == SIZE_MAX ? last : find_last(run, value->name, last);
    if (before == SIZE_MAX || !is_too_close(run->values[last].t_s, run->values[before].t_s))
        return APPEND(run, value, value);
    /* That one is only there because it was the last. */
    run->values[last] = *value;
    if (run->stored.values > last)
        run->stored.values = last;
    return 0;
}

static struct wt_joules shared_out(const struct wt_joules *energy, uint64_t count)
{
    if (!count || energy->provenance == WT_PROV_UNKNOWN)
        return (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    double n = (double)count;
    return (struct wt_joules){energy->energy_j / n, energy->low_j / n, energy->high_j / n,
                              energy->provenance};
}

struct wt_joules wt_run_j_per_work(const struct wt_run *run)
{
    return shared_out(&run->total, run->work.is_known ? run->work.count : 0);
}

bool wt_run_phase_has_inner(const struct wt_run_phase *phase)
{
    return phase->own_s > 0 && phase->own_s < 0.99 * phase->wall_s;
}

struct wt_joules wt_run_phase_j_per_work(const struct wt_run_phase *phase)
{
    return shared_out(&phase->energy, wt_run_phase_has_inner(phase) ? 0 : phase->work);
}

/* ---- as JSON ---- */

json_t *wt_json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *copy = strdup(text);
    if (!copy)
        return NULL;
    for (char *p = copy; *p;) {
        size_t n = wt_utf8_length(p, SIZE_MAX);
        if (!n)
            *p = '?';
        p += n ? n : 1;
    }
    value = json_string(copy);
    free(copy);
    return value;
}

/* Collects failures (all of them are out of memory), so that a document reads like one. */
struct builder {
    json_t *object;
    bool is_broken;
};

static void put(struct builder *b, const char *key, json_t *value)
{
    if (json_object_set_new(b->object, key, value) < 0)
        b->is_broken = true;
}

static void put_text(struct builder *b, const char *key, const char *text)
{
    put(b, key, wt_json_text(text));
}

static void put_text_or_null(struct builder *b, const char *key, const char *text)
{
    put(b, key, text[0] ? wt_json_text(text) : json_null());
}

static void put_number(struct builder *b, const char *key, double value)
{
    put(b, key, wt_json_number(value));
}

static void put_count(struct builder *b, const char *key, uint64_t count)
{
    put(b, key, json_integer((json_int_t)count));
}

static struct builder build(void)
{
    json_t *object = json_object();
    return (struct builder){object, !object};
}

/* Into an array; a broken part breaks the whole. */
static void add(struct builder *whole, json_t *array, struct builder *part)
{
    if (part->is_broken) {
        json_decref(part->object);
        whole->is_broken = true;
    } else if (json_array_append_new(array, part->object) < 0) {
        whole->is_broken = true;
    }
}

static double j_of(uint64_t uj)
{
    return (double)uj * 1e-6;
}

/* Microjoules are written as joules with six decimals, and a double has room for 9 GJ of them. */
static void put_attribution(struct builder *device, const struct wt_run_device *d)
{
    if (!d->attribution.is_known) {
        put(device, "attribution", json_null());
        put_text_or_null(device, "attribution_note", d->attribution.note);
        return;
    }
    struct builder b = build();
    json_t *rows = json_array();
    put_text(&b, "rule", d->attribution.rule);
    put_number(&b, "idle_j", j_of(d->attribution.idle_uj));
    put_number(&b, "residual_j", j_of(d->attribution.residual_uj));
    for (size_t i = 0; i < d->attribution.share_count; i++) {
        const struct wt_run_share *share = &d->attribution.shares[i];
        struct builder row = build();
        put(&row, "pid", share->pid ? json_integer(share->pid) : json_null());
        put_text(&row, "name", share->name);
        put(&row, "is_ours", json_boolean(share->is_ours));
        put_number(&row, "energy_j", j_of(share->energy_uj));
        add(&b, rows, &row);
    }
    put(&b, "processes", rows);
    device->is_broken |= b.is_broken;
    put(device, "attribution", b.object);
    put_text_or_null(device, "attribution_note", d->attribution.note);
}

static void put_joules(struct builder *b, const char *key, const struct wt_joules *joules)
{
    struct builder part = build();
    if (!part.is_broken && wt_json_set_joules(part.object, joules) < 0)
        part.is_broken = true;
    b->is_broken |= part.is_broken;
    put(b, key, part.object);
}

static json_t *devices_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        struct builder b = build();
        put_text(&b, "id", d->id);
        put_text(&b, "name", d->name);
        put_text(&b, "kind", wt_device_kind_name(d->kind));
        put_text(&b, "source", d->source);
        put_text_or_null(&b, "driver", d->driver);
        put(&b, "index", d->index < 0 ? json_null() : json_integer(d->index));
        put(&b, "is_part", json_boolean(d->is_part));
        put_text_or_null(&b, "part_of", d->part_of);
        put(&b, "is_modeled", json_boolean(d->is_modeled));
        put(&b, "has_sensor", json_boolean(d->has_sensor));
        put(&b, "is_counted", json_boolean(d->is_counted));
        if (!b.is_broken && wt_json_set_joules(b.object, &d->energy) < 0)
            b.is_broken = true;
        put_text(&b, "method", wt_provenance_name(d->method));
        bool is_known = d->energy.provenance != WT_PROV_UNKNOWN;
        put_number(&b, "mean_w", is_known ? d->mean_w : NAN);
        put_number(&b, "max_w", d->max_w);
        put_count(&b, "gain_ppm", d->gain_ppm);
        put_count(&b, "offset_mw", d->offset_mw);
        if (d->check.provenance != WT_PROV_UNKNOWN) {
            struct builder check = build();
            if (!check.is_broken && wt_json_set_joules(check.object, &d->check) < 0)
                check.is_broken = true;
            put(&check, "agrees", json_boolean(!d->is_check_off));
            b.is_broken |= check.is_broken;
            put(&b, "check", check.object);
        } else {
            put(&b, "check", json_null());
        }
        put_text_or_null(&b, "note", d->note);
        put_attribution(&b, d);
        add(whole, array, &b);
    }
    return array;
}

/* A number in the knob's unit; a name where the knob has names, or the value is no number. */
static void put_setting(struct builder *b, const char *key, enum wt_knob knob, int64_t value)
{
    char text[48];
    if (wt_knob_is_named(knob) || value < 0)
        put_text(b, key, wt_knob_value_text(text, sizeof(text), knob, value));
    else
        put_number(b, key, wt_knob_to_user(value));
}

static json_t *settings_json(struct builder *whole, const struct wt_run *run)
{
    struct builder all = build();
    for (size_t i = 0; i < run->setting_count && !all.is_broken; i++) {
        const struct wt_run_setting *s = &run->settings[i];
        const char *knob = wt_knob_name(s->knob);
        if (!knob)
            continue;
        json_t *list = json_object_get(all.object, knob);
        if (!list) {
            put(&all, knob, json_array());
            list = json_object_get(all.object, knob);
        }
        struct builder b = build();
        put_text(&b, "device", s->device_id);
        put_text(&b, "unit", wt_knob_unit(s->knob));
        put_setting(&b, "found", s->knob, s->found);
        put_setting(&b, "requested", s->knob, s->requested);
        put_setting(&b, "enforced", s->knob, s->enforced);
        put_number(&b, "held_s", s->lost[0] ? s->held_s : (double)NAN);
        put_text_or_null(&b, "lost", s->lost);
        add(&all, list, &b);
    }
    whole->is_broken |= all.is_broken;
    return all.object;
}

static json_t *params_json(struct builder *whole, const struct wt_run *run)
{
    struct builder b = build();
    for (size_t i = 0; i < run->param_count; i++)
        put_text(&b, run->params[i].name, run->params[i].value);
    whole->is_broken |= b.is_broken;
    return b.object;
}

static json_t *race_json(struct builder *whole, const struct wt_run *run)
{
    struct builder b = build();
    put_count(&b, "trials", run->race.trials);
    put_count(&b, "finished", run->race.finished);
    put_count(&b, "stopped", run->race.stopped);
    put_count(&b, "failed", run->race.failed);
    put_text_or_null(&b, "winner", run->race.winner);
    put_number(&b, "loss", run->race.winner[0] ? run->race.loss : (double)NAN);
    put_number(&b, "saved_j", run->race.saved_j);
    put_number(&b, "saving", run->race.saving);
    put_text(&b, "provenance", wt_provenance_name(run->race.provenance));
    put(&b, "is_verified", json_boolean(run->race.is_verified));
    put_text(&b, "folder", run->race.folder);
    whole->is_broken |= b.is_broken;
    return b.object;
}

static json_t *gaps_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->gap_count; i++) {
        const struct wt_run_gap *g = &run->gaps[i];
        struct builder b = build();
        put_text(&b, "device", g->device_id);
        put_number(&b, "from_s", g->from_s);
        put_number(&b, "to_s", g->to_s);
        put_number(&b, "bound_j", g->bound_j);
        put_text(&b, "why", g->why);
        add(whole, array, &b);
    }
    return array;
}

static json_t *phases_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->phase_count; i++) {
        const struct wt_run_phase *p = &run->phases[i];
        struct builder b = build();
        put_text(&b, "name", p->name);
        put_count(&b, "count", p->count);
        put_number(&b, "wall_s", p->wall_s);
        put_number(&b, "own_s", p->own_s > 0 ? p->own_s : (double)NAN);
        if (!b.is_broken && wt_json_set_joules(b.object, &p->energy) < 0)
            b.is_broken = true;
        bool is_known = p->energy.provenance != WT_PROV_UNKNOWN;
        put_number(&b, "mean_w", is_known ? p->mean_w : (double)NAN);
        put(&b, "is_separable", json_boolean(p->is_separable));
        if (p->joint.provenance != WT_PROV_UNKNOWN) {
            put_joules(&b, "joint", &p->joint);
            put_text_or_null(&b, "with", p->with);
        } else {
            put(&b, "joint", json_null());
        }
        put(&b, "work", p->work ? json_integer((json_int_t)p->work) : json_null());
        put_number(&b, "j_per_work", wt_run_phase_j_per_work(p).energy_j);
        add(whole, array, &b);
    }
    return array;
}

static bool is_first_of_name(const struct wt_run *run, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(run->values[i].name, run->values[at].name) == 0)
            return false;
    return true;
}

/* Each named value in short: enough to see that a loss fell. */
static json_t *values_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->value_count; i++) {
        if (!is_first_of_name(run, i))
            continue;
        const char *name = run->values[i].name;
        double last = NAN, min = INFINITY, max = -INFINITY;
        uint64_t count = 0;
        for (size_t k = i; k < run->value_count; k++) {
            if (strcmp(run->values[k].name, name) != 0)
                continue;
            count++;
            last = run->values[k].value;
            min = fmin(min, last);
            max = fmax(max, last);
        }
        struct builder b = build();
        put_text(&b, "name", name);
        put_count(&b, "count", count);
        put_number(&b, "first", run->values[i].value);
        put_number(&b, "last", last);
        put_number(&b, "min", min);
        put_number(&b, "max", max);
        add(whole, array, &b);
    }
    return array;
}

static void push(struct builder *whole, json_t *array, double value)
{
    if (json_array_append_new(array, wt_json_number(value)) < 0)
        whole->is_broken = true;
}

/* Columns, because a row for each point names its fields over and over. */
static json_t *trace_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    size_t count = run->device_count; /* of a run that was cut short the points are all there is */
    for (size_t i = 0; i < run->point_count; i++)
        count = run->points[i].device >= count ? run->points[i].device + 1 : count;
    for (size_t d = 0; d < count; d++) {
        struct builder b = build();
        json_t *t = json_array(), *power = json_array(), *temp = json_array();
        json_t *clock = json_array(), *limit = json_array(), *throttle = json_array();
        for (size_t i = 0; i < run->point_count; i++) {
            const struct wt_run_point *p = &run->points[i];
            if (p->device != d)
                continue;
            push(&b, t, p->t_s);
            push(&b, power, p->power_w);
            push(&b, temp, p->temp_c);
            push(&b, clock, p->clock_mhz);
            push(&b, limit, p->limit_w);
            if (json_array_append_new(throttle, json_integer((json_int_t)p->throttle)) < 0)
                b.is_broken = true;
        }
        put_text_or_null(&b, "device", d < run->device_count ? run->devices[d].id : "");
        put(&b, "t_s", t);
        put(&b, "power_w", power);
        put(&b, "temp_c", temp);
        put(&b, "clock_mhz", clock);
        put(&b, "limit_w", limit);
        put(&b, "throttle", throttle);
        add(whole, array, &b);
    }
    return array;
}

static json_t *series_json(struct builder *whole, const struct wt_run *run)
{
    json_t *array = json_array();
    for (size_t i = 0; i < run->value_count; i++) {
        if (!is_first_of_name(run, i))
            continue;
        struct builder b = build();
        json_t *t = json_array(), *value = json_array();
        for (size_t k = i; k < run->value_count; k++)
            if (strcmp(run->values[k].name, run->values[i].name) == 0) {
                push(&b, t, run->values[k].t_s);
                push(&b, value, run->values[k].value);
            }
        put_text(&b, "name", run->values[i].name);
        put(&b, "t_s", t);
        put(&b, "value", value);
        add(whole, array, &b);
    }
    return array;
}

json_t *wt_run_json(const struct wt_run *run, bool is_full)
{
    char when[32];
    struct builder b = build();
    put_text(&b, "wattune", run->version);
    put_text(&b, "id", run->id);
    put_text(&b, "state", state_names[run->state]);
    put(&b, "emulated", json_boolean(run->is_emulated));
    put_text_or_null(&b, "emulation", run->emulation);
    put(&b, "replayed", json_boolean(run->is_replayed));
    put_text_or_null(&b, "recording", run->recording);
    put_text_or_null(&b, "recording_title", run->recording_title);
    put_text(&b, "command", run->command);
    put_text(&b, "start", wt_time_text(when, sizeof(when), run->start_unix_ns));
    put_count(&b, "start_unix_ns", (uint64_t)run->start_unix_ns);
    put_number(&b, "wall_s", run->wall_s);
    bool is_ended = run->state == WT_RUN_DONE;
    put(&b, "exit", is_ended ? json_integer(run->exit_code) : json_null());
    put(&b, "devices", devices_json(&b, run));

    struct builder total = build();
    if (!total.is_broken && wt_json_set_joules(total.object, &run->total) < 0)
        total.is_broken = true;
    bool is_known = run->total.provenance != WT_PROV_UNKNOWN && run->wall_s > 0;
    put_number(&total, "mean_w", is_known ? run->total.energy_j / run->wall_s : NAN);
    put_text_or_null(&total, "weakest", run->weakest);
    b.is_broken |= total.is_broken;
    put(&b, "total", total.object);
    if (run->has_estimate) {
        struct builder estimate = build();
        if (!estimate.is_broken && wt_json_set_joules(estimate.object, &run->estimate) < 0)
            estimate.is_broken = true;
        b.is_broken |= estimate.is_broken;
        put(&b, "with_modeled", estimate.object);
    }

    if (run->work.is_known) {
        struct wt_joules per = wt_run_j_per_work(run);
        struct builder work = build();
        put_text(&work, "unit", run->work.unit);
        put_count(&work, "count", run->work.count);
        put_count(&work, "steps", run->work.steps);
        put_number(&work, "j_per", per.energy_j);
        put_number(&work, "j_per_low", per.low_j);
        put_number(&work, "j_per_high", per.high_j);
        put_number(&work, "per_s", run->wall_s > 0 ? (double)run->work.count / run->wall_s : NAN);
        b.is_broken |= work.is_broken;
        put(&b, "work", work.object);
    } else {
        put(&b, "work", json_null());
    }
    put(&b, "phases", phases_json(&b, run));
    put_text_or_null(&b, "phases_note", run->phases_note);
    struct wt_node_check node = wt_run_node_check(run);
    if (node.node != SIZE_MAX) {
        struct builder check = build();
        put_text(&check, "device", run->devices[node.node].id);
        put_joules(&check, "node", &run->devices[node.node].energy);
        put_joules(&check, "parts", &node.parts);
        put_joules(&check, "rest", &node.rest);
        put(&check, "agrees", json_boolean(!node.is_off));
        b.is_broken |= check.is_broken;
        put(&b, "node_check", check.object);
    } else {
        put(&b, "node_check", json_null());
    }
    put(&b, "values", values_json(&b, run));
    put(&b, "settings", settings_json(&b, run));
    put(&b, "params", params_json(&b, run));
    put(&b, "gaps", gaps_json(&b, run));
    put_text_or_null(&b, "group", run->group);
    put_text_or_null(&b, "label", run->label);
    put_count(&b, "repeat", run->repeat);
    put(&b, "is_reference", json_boolean(run->is_reference));
    put(&b, "plan", run->plan ? json_loads(run->plan, 0, NULL) : json_null());
    put(&b, "race", run->race.trials ? race_json(&b, run) : json_null());
    put_text_or_null(&b, "tag", run->tag);
    put_number(&b, "host_w", run->host_w > 0 ? run->host_w : NAN);
    put_text(&b, "host", run->host);
    if (run->node.count) {
        struct builder part = build();
        put_count(&part, "index", run->node.index);
        put_count(&part, "ranks", run->node.count);
        put(&part, "of_nodes", run->node.nodes ? json_integer(run->node.nodes) : json_null());
        put_count(&part, "of_ranks", run->node.ranks);
        b.is_broken |= part.is_broken;
        put(&b, "node", part.object);
    } else {
        put(&b, "node", json_null());
    }
    put_text(&b, "system", run->system);

    struct builder cost = build();
    put_number(&cost, "cpu_s", run->cost.cpu_s);
    put_number(&cost, "wall_s", run->cost.wall_s);
    put_count(&cost, "reads", run->cost.reads);
    put_count(&cost, "failures", run->cost.failures);
    b.is_broken |= cost.is_broken;
    put(&b, "own_cost", cost.object);

    if (is_full) {
        put(&b, "trace", trace_json(&b, run));
        put(&b, "series", series_json(&b, run));
    }
    if (b.is_broken) {
        json_decref(b.object);
        return NULL;
    }
    return b.object;
}

char *wt_run_to_json(const struct wt_run *run)
{
    json_t *doc = wt_run_json(run, false);
    return doc ? wt_json_dump(doc) : NULL;
}

char *wt_run_to_json_full(const struct wt_run *run)
{
    json_t *doc = wt_run_json(run, true);
    return doc ? wt_json_dump(doc) : NULL;
}

/* ---- out of JSON ---- */

static void get_text(const json_t *object, const char *key, char *buf, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    wt_text(buf, size, "%s", text ? text : "");
}

#define GET_TEXT(object, key, field) get_text(object, key, field, sizeof(field))

static double get_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static uint64_t get_count(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

static int64_t get_setting(const json_t *object, const char *key, enum wt_knob knob)
{
    const char *name = json_string_value(json_object_get(object, key));
    int64_t parsed;
    if (name)
        return wt_knob_value_parse(knob, name, &parsed) == 0 ? parsed : 0;
    double value = get_number(object, key);
    return fabs(value) < 1e15 ? wt_knob_from_user(value) : 0;
}

static struct wt_joules get_joules(const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "provenance"));
    struct wt_joules j = {get_number(object, "energy_j"), get_number(object, "low_j"),
                          get_number(object, "high_j"),
                          name ? wt_provenance_from_name(name) : WT_PROV_UNKNOWN};
    if (isnan(j.energy_j))
        j.provenance = WT_PROV_UNKNOWN;
    return j;
}

static enum wt_device_kind kind_from_name(const char *name)
{
    for (int k = WT_DEVICE_GPU; k <= WT_DEVICE_NODE; k++)
        if (strcmp(name, wt_device_kind_name((enum wt_device_kind)k)) == 0)
            return (enum wt_device_kind)k;
    return WT_DEVICE_NODE;
}

static uint64_t get_uj(const json_t *object, const char *key)
{
    double energy_j = get_number(object, key);
    return energy_j > 0 && energy_j < 1e12 ? (uint64_t)llround(energy_j * 1e6) : 0;
}

static int attribution_from_json(struct wt_run_device *d, const json_t *o)
{
    const json_t *object = json_object_get(o, "attribution"), *rows;
    size_t i;
    json_t *row;
    GET_TEXT(o, "attribution_note", d->attribution.note);
    if (!json_is_object(object))
        return 0;
    d->attribution.is_known = true;
    GET_TEXT(object, "rule", d->attribution.rule);
    d->attribution.idle_uj = get_uj(object, "idle_j");
    d->attribution.residual_uj = get_uj(object, "residual_j");
    rows = json_object_get(object, "processes");
    d->attribution.shares = calloc(json_array_size(rows) + 1, sizeof(*d->attribution.shares));
    if (!d->attribution.shares)
        return WT_E_NOMEM;
    json_array_foreach(rows, i, row)
    {
        struct wt_run_share *share = &d->attribution.shares[d->attribution.share_count++];
        share->pid = (uint32_t)get_count(row, "pid");
        GET_TEXT(row, "name", share->name);
        share->is_ours = json_is_true(json_object_get(row, "is_ours"));
        share->energy_uj = get_uj(row, "energy_j");
    }
    return 0;
}

static int devices_from_json(struct wt_run *run, const json_t *array)
{
    size_t i;
    json_t *o;
    json_array_foreach(array, i, o)
    {
        struct wt_run_device d = {0};
        char word[32];
        GET_TEXT(o, "id", d.id);
        GET_TEXT(o, "name", d.name);
        GET_TEXT(o, "source", d.source);
        GET_TEXT(o, "driver", d.driver);
        GET_TEXT(o, "note", d.note);
        GET_TEXT(o, "kind", word);
        d.kind = kind_from_name(word);
        const json_t *index = json_object_get(o, "index");
        d.index = json_is_integer(index) ? (int)json_integer_value(index) : -1;
        d.is_part = json_is_true(json_object_get(o, "is_part"));
        const json_t *counted = json_object_get(o, "is_counted"); /* older runs: all but parts */
        d.is_counted = counted ? json_is_true(counted) : !d.is_part;
        d.energy = get_joules(o);
        GET_TEXT(o, "part_of", d.part_of);
        const json_t *modeled = json_object_get(o, "is_modeled"); /* older runs: by its energy */
        d.is_modeled = modeled ? json_is_true(modeled) : d.energy.provenance == WT_PROV_MODELED;
        d.has_sensor = !json_is_false(json_object_get(o, "has_sensor"));
        GET_TEXT(o, "method", word);
        d.method = wt_provenance_from_name(word);
        d.mean_w = get_number(o, "mean_w");
        d.max_w = get_number(o, "max_w");
        d.gain_ppm = (uint32_t)get_count(o, "gain_ppm");
        d.offset_mw = (uint32_t)get_count(o, "offset_mw");
        const json_t *check = json_object_get(o, "check");
        d.check = get_joules(check);
        d.is_check_off = json_is_false(json_object_get(check, "agrees"));
        if (attribution_from_json(&d, o) < 0 || APPEND(run, device, &d) < 0) {
            free(d.attribution.shares);
            return WT_E_NOMEM;
        }
    }
    return 0;
}

static int settings_from_json(struct wt_run *run, json_t *object)
{
    const char *name;
    json_t *list, *o;
    size_t i;
    json_object_foreach(object, name, list)
    {
        struct wt_run_setting s = {0};
        if (wt_knob_from_name(name, &s.knob) < 0)
            continue;
        json_array_foreach(list, i, o)
        {
            GET_TEXT(o, "device", s.device_id);
            s.found = get_setting(o, "found", s.knob);
            s.requested = get_setting(o, "requested", s.knob);
            s.enforced = get_setting(o, "enforced", s.knob);
            s.held_s = get_number(o, "held_s");
            GET_TEXT(o, "lost", s.lost);
            if (APPEND(run, setting, &s) < 0)
                return WT_E_NOMEM;
        }
    }
    return 0;
}

static int params_from_json(struct wt_run *run, json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        struct wt_run_param p = {0};
        wt_text(p.name, sizeof(p.name), "%s", name);
        GET_TEXT(object, name, p.value);
        if (APPEND(run, param, &p) < 0)
            return WT_E_NOMEM;
    }
    return 0;
}

static int plan_from_json(struct wt_run *run, const json_t *plan)
{
    if (json_is_object(plan) && !(run->plan = json_dumps(plan, JSON_COMPACT)))
        return WT_E_NOMEM;
    return 0;
}

static int lists_from_json(struct wt_run *run, const json_t *doc)
{
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(doc, "gaps"), i, o)
    {
        struct wt_run_gap g = {.from_s = get_number(o, "from_s"),
                               .to_s = get_number(o, "to_s"),
                               .bound_j = get_number(o, "bound_j")};
        if (isnan(g.bound_j))
            g.bound_j = INFINITY;
        GET_TEXT(o, "device", g.device_id);
        GET_TEXT(o, "why", g.why);
        if (APPEND(run, gap, &g) < 0)
            return WT_E_NOMEM;
    }
    json_array_foreach(json_object_get(doc, "phases"), i, o)
    {
        struct wt_run_phase p = {.count = get_count(o, "count"), .wall_s = get_number(o, "wall_s")};
        GET_TEXT(o, "name", p.name);
        p.own_s = get_number(o, "own_s");
        if (isnan(p.own_s))
            p.own_s = 0;
        p.energy = get_joules(o);
        p.mean_w = get_number(o, "mean_w");
        p.is_separable = json_is_true(json_object_get(o, "is_separable"));
        p.joint = get_joules(json_object_get(o, "joint"));
        GET_TEXT(o, "with", p.with);
        p.work = get_count(o, "work");
        if (APPEND(run, phase, &p) < 0)
            return WT_E_NOMEM;
    }
    return 0;
}

int wt_run_from_json(struct wt_run *ret_run, const json_t *doc, struct wt_error *err)
{
    if (!json_is_object(doc))
        return wt_fail(err, WT_E_FORMAT, "a run's document is no JSON object");
    struct wt_run run = {0};
    char word[32];
    GET_TEXT(doc, "wattune", run.version);
    GET_TEXT(doc, "id", run.id);
    GET_TEXT(doc, "state", word);
    run.state = strcmp(word, state_names[WT_RUN_DONE]) == 0 ? WT_RUN_DONE : WT_RUN_INCOMPLETE;
    run.is_emulated = json_is_true(json_object_get(doc, "emulated"));
    GET_TEXT(doc, "emulation", run.emulation);
    run.is_replayed = json_is_true(json_object_get(doc, "replayed"));
    GET_TEXT(doc, "recording", run.recording);
    GET_TEXT(doc, "recording_title", run.recording_title);
    GET_TEXT(doc, "command", run.command);
    run.start_unix_ns = (int64_t)get_count(doc, "start_unix_ns");
    run.wall_s = get_number(doc, "wall_s");
    run.exit_code = (int)json_integer_value(json_object_get(doc, "exit"));
    GET_TEXT(doc, "group", run.group);
    GET_TEXT(doc, "label", run.label);
    run.repeat = (unsigned)get_count(doc, "repeat");
    run.is_reference = json_is_true(json_object_get(doc, "is_reference"));
    const json_t *race = json_object_get(doc, "race");
    if (json_is_object(race)) {
        run.race.trials = (unsigned)get_count(race, "trials");
        run.race.finished = (unsigned)get_count(race, "finished");
        run.race.stopped = (unsigned)get_count(race, "stopped");
        run.race.failed = (unsigned)get_count(race, "failed");
        GET_TEXT(race, "winner", run.race.winner);
        run.race.loss = get_number(race, "loss");
        run.race.saved_j = get_number(race, "saved_j");
        run.race.saving = get_number(race, "saving");
        const char *name = json_string_value(json_object_get(race, "provenance"));
        run.race.provenance = name ? wt_provenance_from_name(name) : WT_PROV_UNKNOWN;
        run.race.is_verified = json_is_true(json_object_get(race, "is_verified"));
        GET_TEXT(race, "folder", run.race.folder);
    }
    GET_TEXT(doc, "tag", run.tag);
    run.host_w = get_number(doc, "host_w");
    if (isnan(run.host_w))
        run.host_w = 0;
    GET_TEXT(doc, "host", run.host);
    const json_t *node = json_object_get(doc, "node");
    run.node.index = (unsigned)get_count(node, "index");
    run.node.count = (unsigned)get_count(node, "ranks");
    run.node.nodes = (unsigned)get_count(node, "of_nodes");
    run.node.ranks = (unsigned)get_count(node, "of_ranks");
    GET_TEXT(doc, "system", run.system);
    const json_t *total = json_object_get(doc, "total");
    run.total = get_joules(total);
    GET_TEXT(total, "weakest", run.weakest);
    const json_t *estimate = json_object_get(doc, "with_modeled");
    run.has_estimate = estimate != NULL;
    if (estimate)
        run.estimate = get_joules(estimate);
    const json_t *work = json_object_get(doc, "work");
    if (json_is_object(work)) {
        run.work.is_known = true;
        GET_TEXT(work, "unit", run.work.unit);
        run.work.count = get_count(work, "count");
        run.work.steps = get_count(work, "steps");
    }
    GET_TEXT(doc, "phases_note", run.phases_note);
    const json_t *cost = json_object_get(doc, "own_cost");
    run.cost.cpu_s = get_number(cost, "cpu_s");
    run.cost.wall_s = get_number(cost, "wall_s");
    run.cost.reads = get_count(cost, "reads");
    run.cost.failures = get_count(cost, "failures");
    if (devices_from_json(&run, json_object_get(doc, "devices")) < 0 ||
        settings_from_json(&run, json_object_get(doc, "settings")) < 0 ||
        params_from_json(&run, json_object_get(doc, "params")) < 0 ||
        plan_from_json(&run, json_object_get(doc, "plan")) < 0 || lists_from_json(&run, doc) < 0) {
        wt_run_done(&run);
        return wt_fail(err, WT_E_NOMEM, "no memory for a stored run");
    }
    *ret_run = run;
    return 0;
}

void wt_run_add_origin(const struct wt_run *run, char *io_list, size_t size)
{
    const char *name = run->is_emulated        ? run->emulation
                       : !run->is_replayed     ? ""
                       : *run->recording_title ? run->recording_title
                                               : run->recording;
    size_t used = strlen(io_list);
    if (*name && !strstr(io_list, name))
        wt_text(io_list + used, size - used, "%s%s", used ? ", " : "", name);
}

bool wt_runs_share_device(const struct wt_run *a, const struct wt_run *b)
{
    for (size_t i = 0; i < a->device_count; i++)
        for (size_t k = 0; k < b->device_count; k++)
            if (a->devices[i].is_counted && b->devices[k].is_counted &&
                strcmp(a->devices[i].id, b->devices[k].id) == 0)
                return true;
    return false;
}
