/* probe: what a recording of a device's sensors shows. The recording itself is probe_record.c's,
 * the fitting probe_fit.c's; docs/probe.md explains the method. Pure. */
#include "wattune/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "window/probe_fit.h"

/* Nothing read for this many usual polls, and this long: what is seen then is no change. */
#define GAP_POLLS 8
#define GAP_NS    (5 * WT_NS_PER_MS)
/* A change placed worse than this many times the median is not used for the period. */
#define WIDE 3
/* A sensor that stood still for so long, or for so many of its periods, is frozen. */
#define FROZEN_S       1.0
#define FROZEN_PERIODS 10
#define FROZEN_EDGES   4
#define FROZEN_MANY    10
#define LAG_S          0.1 /* a reading may be this late */
#define PERIOD_S       0.1 /* of a sensor whose period is not known: none is slower */
/* Boards overshoot their limit; not by this. */
#define JUMP_FACTOR  2.0
#define ANY_LIMIT_W  20000.0
#define FAULTY_SHARE 0.05
#define FAILING_S    0.5

/* ---- recordings ---- */

static bool grow(void **io_list, size_t count, size_t *io_room, size_t size)
{
    if (count < *io_room)
        return true;
    size_t room = *io_room ? *io_room * 2 : 64;
    void *more = realloc(*io_list, room * size);
    if (!more)
        return false;
    *io_list = more;
    *io_room = room;
    return true;
}

int wt_probe_series_append(struct wt_probe_series *s, const struct wt_probe_run *run)
{
    struct wt_probe_run *last = s->count ? &s->runs[s->count - 1] : NULL;
    if (last && !run->is_after_gap && last->value == run->value) {
        last->last_before_ns = run->last_before_ns;
        last->last_after_ns = run->last_after_ns;
        return 0;
    }
    void *list = s->runs;
    if (!grow(&list, s->count, &s->room, sizeof(*s->runs)))
        return WT_E_NOMEM;
    s->runs = list;
    s->runs[s->count++] = *run;
    return 0;
}

int wt_probe_series_add(struct wt_probe_series *s, int64_t before_ns, int64_t after_ns,
                        uint64_t value)
{
    struct wt_probe_run *last = s->count ? &s->runs[s->count - 1] : NULL;
    bool is_gap = false;
    s->reads++;
    if (last) {
        int64_t since_ns = before_ns - last->last_before_ns;
        is_gap = s->poll_ns && since_ns > GAP_NS && since_ns > GAP_POLLS * s->poll_ns;
        if (!is_gap)
            s->poll_ns = s->poll_ns ? s->poll_ns + (since_ns - s->poll_ns) / 16 : since_ns;
    }
    return wt_probe_series_append(
        s, &(struct wt_probe_run){value, before_ns, after_ns, before_ns, after_ns, is_gap});
}

void wt_probe_series_fail(struct wt_probe_series *s, int64_t t_ns)
{
    s->failures++;
    s->t_failed_ns = t_ns;
}

void wt_probe_series_done(struct wt_probe_series *s)
{
    free(s->runs);
    *s = (struct wt_probe_series){0};
}

int wt_probe_trace_edge(struct wt_probe_trace *trace, int64_t lo_ns, int64_t hi_ns, bool is_on)
{
    void *list = trace->edges;
    if (!grow(&list, trace->edge_count, &trace->edge_room, sizeof(*trace->edges)))
        return WT_E_NOMEM;
    trace->edges = list;
    trace->edges[trace->edge_count++] = (struct wt_probe_edge){lo_ns, hi_ns, is_on};
    return 0;
}

void wt_probe_trace_done(struct wt_probe_trace *trace)
{
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++)
        wt_probe_series_done(&trace->series[i]);
    free(trace->edges);
    *trace = (struct wt_probe_trace){0};
}

/* ---- numbers ---- */

static struct wt_probed known(double value, double low, double high)
{
    return (struct wt_probed){.is_known = true, .value = value, .low = low, .high = high};
}

static struct wt_probed unknown(const char *why)
{
    struct wt_probed p = {.value = NAN, .low = NAN, .high = NAN};
    wt_text(p.why, sizeof(p.why), "%s", why ? why : "not looked for");
    return p;
}

/* What the analysis of one device works on; times in seconds since the recording began. */
struct work {
    const struct wt_probe_trace *trace;
    const struct wt_device_info *info;
    int64_t t0_ns, t1_ns;
    double *edges_s; /* owned */
    double edge_half_s;
    struct wt_probe_lattice lattices[WT_PROBE_STREAMS];
    struct wt_probe_fit fits[WT_PROBE_STREAMS];
};

static double seconds_of(const struct work *w, int64_t t_ns)
{
    return (double)(t_ns - w->t0_ns) * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add_fault(struct wt_probe_sensor *sensor, unsigned fault, const char *fmt, ...)
    WT_PRINTF(3, 4);
static void add_fault(struct wt_probe_sensor *sensor, unsigned fault, const char *fmt, ...)
{
    if (!sensor->faults) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(sensor->fault, sizeof(sensor->fault), fmt, args);
        va_end(args);
    }
    sensor->faults |= fault;
}

/* ---- period ---- */

/* The moment between run i-1 and run i at which the value changed. */
static struct wt_probe_change change_at(const struct work *w, const struct wt_probe_run *runs,
                                        size_t i)
{
    double lo = seconds_of(w, runs[i - 1].last_before_ns);
    double hi = seconds_of(w, runs[i].first_after_ns);
    return (struct wt_probe_change){.t_s = (lo + hi) / 2, .half_s = (hi - lo) / 2};
}

static bool is_change(const struct wt_probe_run *runs, size_t i)
{
    return i > 0 && !runs[i].is_after_gap;
}

static int find_period(struct work *w, unsigned stream, struct wt_probe_sensor *sensor)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    struct wt_probe_change *changes = calloc(s->count + 1, sizeof(*changes));
    double *halves = calloc(s->count + 1, sizeof(*halves));
    const char *why = NULL;
    int rc = WT_E_NOMEM;
    if (!changes || !halves)
        goto out;
    size_t count = 0, kept = 0;
    for (size_t i = 1; i < s->count; i++)
        if (is_change(s->runs, i)) {
            changes[count] = change_at(w, s->runs, i);
            halves[count] = changes[count].half_s;
            count++;
        }
    sensor->changes = count;
    qsort(halves, count, sizeof(*halves), compare_doubles);
    for (size_t i = 0; i < count; i++)
        if (changes[i].half_s <= WIDE * halves[count / 2])
            changes[kept++] = changes[i];
    struct wt_probe_lattice *l = &w->lattices[stream];
    rc = wt_probe_lattice_find(changes, kept, l, &why);
    if (rc < 0)
        goto out;
    sensor->period_s = l->is_known ? known(l->period_s, l->low_s, l->high_s) : unknown(why);
    /* Steady power gives the same reading again and again: what then changes now and then is the
     * temperature, not the sensor. A counter always moves. */
    if (l->is_known && stream != WT_PROBE_ENERGY && !w->trace->edge_count) {
        char text[100];
        wt_text(text, sizeof(text), "no load ran; by itself it changed every %.3g ms",
                l->period_s * 1e3);
        sensor->period_s = unknown(text);
        l->is_known = false;
    }
out:
    free(changes);
    free(halves);
    return rc;
}

/* ---- window and delay ---- */

/* The readings as points in time: of each tick of the lattice the value that was seen, also where
 * it did not change; without a lattice each change by itself. A counter's points are the power of
 * each step of one tick. Returns how many. */
static size_t make_points(const struct work *w, unsigned stream, struct wt_probe_point *points,
                          size_t room)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    const struct wt_probe_lattice *l = &w->lattices[stream];
    size_t count = 0;
    double limit_w = w->trace->limit_w > 0 ? w->trace->limit_w : ANY_LIMIT_W;
    int64_t last_tick = INT64_MIN, energy_tick = INT64_MIN;
    for (size_t i = 0; i < s->count && count < room; i++) {
        const struct wt_probe_run *r = &s->runs[i];
        if (!l->is_known || (l->is_walking && stream != WT_PROBE_ENERGY)) {
            if (stream != WT_PROBE_ENERGY && is_change(s->runs, i))
                points[count++] =
                    (struct wt_probe_point){change_at(w, s->runs, i).t_s, (double)r->value * 1e-3};
            continue;
        }
        /* Ticks whose value this run surely is: seen after one and before the next. */
        double from = (seconds_of(w, r->first_before_ns) - l->phase_s) / l->period_s;
        double to = (seconds_of(w, r->last_after_ns) - l->phase_s) / l->period_s;
        double margin = fmin(l->tolerance_s / l->period_s, 0.3);
        int64_t first = (int64_t)ceil(from - 1 + margin), last = (int64_t)floor(to - margin);
        if (first <= last_tick)
            first = last_tick + 1;
        if (stream == WT_PROBE_ENERGY) {
            if (last < first)
                continue;
            const struct wt_probe_run *old = i ? &s->runs[i - 1] : NULL;
            if (old && is_change(s->runs, i) && energy_tick == first - 1 && r->value > old->value) {
                double power_w = (double)(r->value - old->value) * 1e-6 / l->period_s;
                if (power_w < JUMP_FACTOR * limit_w)
                    points[count++] =
                        (struct wt_probe_point){l->phase_s + (double)first * l->period_s, power_w};
            }
            last_tick = energy_tick = last;
            continue;
        }
        for (int64_t n = first; n <= last && count < room; n++)
            points[count++] = (struct wt_probe_point){l->phase_s + (double)n * l->period_s,
                                                      (double)r->value * 1e-3};
        if (last > last_tick)
            last_tick = last;
    }
    return count;
}

static int find_shape(struct work *w, unsigned stream, struct wt_probe_sensor *sensor)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    const struct wt_probe_lattice *l = &w->lattices[stream];
    struct wt_probe_fit *fit = &w->fits[stream];
    double span = seconds_of(w, w->t1_ns);
    size_t room = s->count + (l->is_known ? (size_t)(span / l->period_s) : 0) + 2;
    struct wt_probe_point *points = calloc(room, sizeof(*points));
    if (!points)
        return WT_E_NOMEM;
    size_t count = make_points(w, stream, points, room);
    struct wt_probe_load load = {w->edges_s, w->trace->edge_count};
    /* A lattice's ticks are placed by many changes; an edge only by itself, but there are many. */
    bool is_placed = l->is_known && (!l->is_walking || stream == WT_PROBE_ENERGY);
    double blur = w->edge_half_s + (is_placed ? l->tolerance_s : (double)s->poll_ns * 1e-9) / 2;
    int rc = stream == WT_PROBE_ENERGY && !l->is_known
                 ? 0
                 : wt_probe_fit(points, count, &load, blur, fit);
    free(points);
    if (rc < 0)
        return rc;
    if (!fit->is_known) {
        sensor->window_s = sensor->delay_s = sensor->rise_s =
            unknown(fit->why ? fit->why : "its period is not known");
        return 0;
    }
    sensor->fit = fit->share;
    sensor->low_w = fit->low;
    sensor->high_w = fit->high;
    sensor->shape = fit->shape;
    sensor->delay_s = known(fit->delay_s, fit->delay_low_s, fit->delay_high_s);
    if (fit->shape == WT_PROBE_SHAPE_RISE) {
        sensor->rise_s = known(fit->window_s, fit->window_low_s, fit->window_high_s);
        sensor->window_s = known(2 * fit->window_s, 2 * fit->window_low_s, 2 * fit->window_high_s);
    } else {
        sensor->rise_s = unknown("follows the load at once");
        sensor->window_s = known(fit->window_s, fit->window_low_s, fit->window_high_s);
    }
    if (sensor->window_s.high - sensor->window_s.low > sensor->window_s.value)
        sensor->window_s = unknown("too short to be told beside the rest");
    return 0;
}

/* ---- the step ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Steps that a power of two divides a joule into, as RAPL's do, are no whole microjoules: the
 * counter then shows them cut off. 0: none fits. */
static double binary_step_uj(const struct wt_probe_series *s)
{
    for (int bits = 8; bits <= 18; bits++) {
        double step = 1e6 / (double)(1 << bits);
        size_t fits = 0, all = 0;
        for (size_t i = 1; i < s->count; i++) {
            if (s->runs[i].value <= s->runs[i - 1].value)
                continue;
            double d = (double)(s->runs[i].value - s->runs[i - 1].value);
            all++;
            fits += fabs(d - round(d / step) * step) <= 1.0;
        }
        if (all >= 20 && step > 3.5 && fits == all)
            return step;
    }
    return 0;
}

static void find_quantum(struct wt_probe_sensor *sensor, const struct wt_probe_series *s,
                         bool is_energy)
{
    uint64_t common = 0;
    size_t count = 0;
    for (size_t i = 1; i < s->count; i++) {
        uint64_t a = s->runs[i - 1].value, b = s->runs[i].value;
        if (a == b || (is_energy && b < a))
            continue;
        common = gcd(common, a > b ? a - b : b - a);
        count++;
    }
    double unit = is_energy ? 1e-6 : 1e-3;
    if (count < 8) {
        sensor->quantum = unknown("changed too seldom");
        return;
    }
    double step = (double)common;
    if (is_energy && common == 1 && binary_step_uj(s) > 0)
        step = binary_step_uj(s);
    /* That all of n steps were multiples of 2 by chance has a probability of 1/2^n. */
    sensor->quantum = known(step * unit, step * unit, step * unit);
}

/* ---- faults ---- */

/* Did the load change between these times in a way that a power reading must show? A pulse may lie
 * between two looks of a sensor that sees a part of the time, but a pulse and a pause each longer
 * than a look and a period cannot, nor can many short ones. Returns the number of changes, 0: no.
 */
static size_t must_show(const struct work *w, double from, double to, double period)
{
    size_t edges = 0;
    bool has_long[2] = {false, false};
    double on_s = 0;
    for (size_t i = 0; i < w->trace->edge_count; i++) {
        double a = w->edges_s[i];
        double b = i + 1 < w->trace->edge_count ? w->edges_s[i + 1] : to;
        edges += a > from && a < to;
        a = fmax(a, from);
        b = fmin(b, to - LAG_S);
        if (b <= a)
            continue;
        on_s += i % 2 ? 0 : b - a;
        has_long[i % 2] |= b - a >= 2 * period;
    }
    double share = on_s / (to - from);
    bool is_sure = (edges >= FROZEN_EDGES && has_long[0] && has_long[1]) ||
                   (edges >= FROZEN_MANY && share > 0.2 && share < 0.8);
    return is_sure ? edges : 0;
}

static void find_frozen(const struct work *w, unsigned stream, struct wt_probe_sensor *sensor)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    double least = FROZEN_S;
    if (sensor->period_s.is_known)
        least = fmax(least, FROZEN_PERIODS * sensor->period_s.value);
    for (size_t i = 0; i < s->count; i++) {
        const struct wt_probe_run *r = &s->runs[i];
        int64_t from_ns = r->first_after_ns, to_ns = r->last_before_ns;
        /* Through a gap in polling the value may have stood still all the same. */
        while (i + 1 < s->count && s->runs[i + 1].value == r->value)
            to_ns = s->runs[++i].last_before_ns;
        double stood = (double)(to_ns - from_ns) * 1e-9;
        if (stood < least)
            continue;
        size_t edges = must_show(w, seconds_of(w, from_ns), seconds_of(w, to_ns),
                                 sensor->period_s.is_known ? sensor->period_s.value : PERIOD_S);
        if (stream == WT_PROBE_ENERGY)
            add_fault(sensor, WT_PROBE_FROZEN, "stood still for %.1f s from %.1f s on", stood,
                      seconds_of(w, from_ns));
        else if (edges)
            add_fault(sensor, WT_PROBE_FROZEN,
                      "stood still for %.1f s from %.1f s on, while the load changed %zu times",
                      stood, seconds_of(w, from_ns), edges);
    }
}

static void find_jumps(const struct work *w, unsigned stream, struct wt_probe_sensor *sensor)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    double limit_w = JUMP_FACTOR * (w->trace->limit_w > 0 ? w->trace->limit_w : ANY_LIMIT_W);
    if (stream != WT_PROBE_ENERGY) {
        for (size_t i = 0; i < s->count; i++)
            if ((double)s->runs[i].value * 1e-3 > limit_w)
                add_fault(sensor, WT_PROBE_JUMPED, "%.0f W at %.1f s, beyond what the board draws",
                          (double)s->runs[i].value * 1e-3,
                          seconds_of(w, s->runs[i].first_before_ns));
        return;
    }
    /* What a tick adds was drawn since the tick before, which the run before began with. */
    double period = sensor->period_s.is_known ? sensor->period_s.value
                                              : (double)w->info->traits.energy_period_ns * 1e-9;
    for (size_t i = 1; i < s->count; i++) {
        const struct wt_probe_run *old = &s->runs[i - 1], *r = &s->runs[i];
        double at = seconds_of(w, r->first_before_ns);
        if (r->value < old->value) {
            add_fault(sensor, WT_PROBE_NEGATIVE, "ran backwards by %.6g J at %.1f s",
                      (double)(old->value - r->value) * 1e-6, at);
            continue;
        }
        double span = (double)(r->first_after_ns - old->first_before_ns) * 1e-9 + 2 * period;
        double energy_j = (double)(r->value - old->value) * 1e-6;
        if (energy_j > limit_w * span)
            add_fault(sensor, WT_PROBE_JUMPED,
                      "jumped by %.6g J at %.1f s, more than the board can draw", energy_j, at);
    }
}

/* ---- counter against power ---- */

/* Joules of the power readings between two times: the levels that were fitted and the load, which
 * is known better in time than any reading; without a fit each reading holds until the next. */
static double integrated_j(const struct work *w, unsigned stream, double from, double to,
                           double *ret_error_j)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    const struct wt_probe_lattice *l = &w->lattices[stream];
    const struct wt_probe_fit *fit = &w->fits[stream];
    double sum = 0, low = INFINITY, high = 0, lag = l->is_known ? l->period_s / 2 : 0;
    if (fit->is_known)
        lag =
            fit->delay_s + (fit->shape == WT_PROBE_SHAPE_RISE ? fit->window_s : fit->window_s / 2);
    for (size_t i = 0; i < s->count; i++) {
        double a = seconds_of(w, s->runs[i].first_before_ns) - lag;
        double b = i + 1 < s->count ? seconds_of(w, s->runs[i + 1].first_before_ns) - lag : to;
        double value = (double)s->runs[i].value * 1e-3;
        low = fmin(low, value), high = fmax(high, value);
        a = i ? fmax(a, from) : from;
        b = fmin(b, to);
        if (b > a)
            sum += value * (b - a);
    }
    double period = l->is_known ? l->period_s : 0.1;
    double window = fit->is_known ? fit->window_s : period;
    double swing = high > low ? high - low : 0;
    /* Both ends, and what a sensor that looks away for a part of the time may miss: the load is not
     * in step with it, so it errs like a coin. */
    double missed = window < period ? sqrt(1 - window / period) : 0;
    *ret_error_j = swing * (period + lag / 2 + window / 2) +
                   swing * missed * period * sqrt((to - from) / period);
    return sum;
}

static void compare(const struct work *w, struct wt_probe_result *result)
{
    struct wt_probe_sensor *energy = &result->sensors[WT_PROBE_ENERGY];
    struct wt_probe_sensor *power = &result->sensors[WT_PROBE_POWER];
    const struct wt_probe_series *s = &w->trace->series[WT_PROBE_ENERGY];
    result->ratio = unknown("");
    if (!energy->is_there || !power->is_there) {
        result->ratio = unknown("only one of the two is there");
        return;
    }
    if (((energy->faults | power->faults) & ~(unsigned)WT_PROBE_FAILING) || s->count < 8) {
        result->ratio =
            unknown(s->count < 8 ? "the counter moved too seldom" : "one of the two is faulty");
        return;
    }
    size_t first = 1, last = s->count - 1;
    double from = change_at(w, s->runs, first).t_s, to = change_at(w, s->runs, last).t_s;
    double counter_j = (double)(s->runs[last].value - s->runs[first].value) * 1e-6, error_j;
    double power_j = integrated_j(w, WT_PROBE_POWER, from, to, &error_j);
    if (power_j <= 0 || counter_j <= 0 || to - from < 1) {
        result->ratio = unknown("too short");
        return;
    }
    double ratio = counter_j / power_j, share = error_j / power_j;
    result->ratio = known(ratio, ratio * (1 - share), ratio * (1 + share));
    double gain = w->info->traits.gain_ppm * 1e-6;
    result->is_ratio_within = result->ratio.low <= 1 + gain && result->ratio.high >= 1 - gain;
}

/* ---- all of it ---- */

static int look_at(struct work *w, unsigned stream, struct wt_probe_sensor *sensor)
{
    const struct wt_probe_series *s = &w->trace->series[stream];
    *sensor = (struct wt_probe_sensor){
        .is_there = s->reads + s->failures > 0,
        .reads = s->reads,
        .failures = s->failures,
        .poll_s = (double)s->poll_ns * 1e-9,
        .low_w = NAN,
        .high_w = NAN,
        .fit = NAN,
    };
    sensor->period_s = sensor->window_s = sensor->delay_s = sensor->rise_s = sensor->quantum =
        unknown(sensor->is_there ? "not one read succeeded" : "there is no such reading");
    if (!s->reads) {
        if (s->failures)
            add_fault(sensor, WT_PROBE_FAILING, "none of %llu reads succeeded",
                      (unsigned long long)s->failures);
        return 0;
    }
    int rc = find_period(w, stream, sensor);
    if (rc == 0)
        rc = find_shape(w, stream, sensor);
    if (rc < 0)
        return rc;
    find_quantum(sensor, s, stream == WT_PROBE_ENERGY);
    find_jumps(w, stream, sensor);
    find_frozen(w, stream, sensor);
    double silent = (double)(s->t_failed_ns - s->runs[s->count - 1].last_after_ns) * 1e-9;
    if (s->failures && silent > FAILING_S)
        add_fault(sensor, WT_PROBE_FAILING, "could not be read any more for the last %.1f s",
                  silent);
    else if ((double)s->failures > FAULTY_SHARE * (double)(s->reads + s->failures))
        add_fault(sensor, WT_PROBE_FAILING, "%.0f of %.0f reads failed", (double)s->failures,
                  (double)s->reads + (double)s->failures);
    return 0;
}

static int64_t ns_of(const struct wt_probed *p)
{
    return (int64_t)llround(p->value * 1e9);
}

/* A number that is not known, or of a sensor that is faulty, leaves what was assumed. */
static void set_traits(struct wt_probe_result *r)
{
    const struct wt_probe_sensor *power = &r->sensors[WT_PROBE_POWER];
    const struct wt_probe_sensor *energy = &r->sensors[WT_PROBE_ENERGY];
    struct wt_sensor_traits *t = &r->traits;
    if (power->period_s.is_known && !power->faults) {
        t->power_period_ns = ns_of(&power->period_s);
        r->found |= WT_PROBE_FOUND_POWER_PERIOD;
        /* The two belong together: one with the other assumed would misplace both. */
        if (power->window_s.is_known && power->delay_s.is_known) {
            t->power_window_ns = ns_of(&power->window_s);
            t->power_delay_ns = ns_of(&power->delay_s);
            t->is_power_averaged = t->power_window_ns > 2 * t->power_period_ns;
            r->found |= WT_PROBE_FOUND_POWER_SHAPE;
        }
    }
    if (energy->quantum.is_known && !energy->faults && energy->quantum.value >= 1e-6) {
        t->energy_quantum_uj = (uint64_t)llround(energy->quantum.value * 1e6);
        r->found |= WT_PROBE_FOUND_ENERGY_QUANTUM;
    }
    if (energy->period_s.is_known && !energy->faults) {
        t->energy_period_ns = ns_of(&energy->period_s);
        r->found |= WT_PROBE_FOUND_ENERGY_PERIOD;
        /* A window as long as the period leaves nothing out. One that is clearly shorter says how
         * long is seen of each reading that the counter adds up. */
        if (energy->window_s.is_known) {
            t->energy_window_ns = energy->window_s.high >= 0.95 * energy->period_s.value
                                      ? t->energy_period_ns
                                      : ns_of(&energy->window_s);
            r->found |= WT_PROBE_FOUND_ENERGY_WINDOW;
        }
    }
}

static enum wt_probe_plain judge_plain(const struct wt_probe_result *r)
{
    const struct wt_probe_sensor *s = &r->sensors[WT_PROBE_PLAIN];
    if (!s->is_there)
        s = &r->sensors[WT_PROBE_POWER];
    if (!s->window_s.is_known || s->shape != WT_PROBE_SHAPE_WINDOW || s->faults)
        return WT_PROBE_PLAIN_UNKNOWN;
    if (s->window_s.low > 0.5)
        return WT_PROBE_PLAIN_AVERAGE;
    return s->window_s.high < 0.5 ? WT_PROBE_PLAIN_INSTANT : WT_PROBE_PLAIN_UNKNOWN;
}

int wt_probe_analyse(const struct wt_probe_trace *trace, const struct wt_device_info *info,
                     struct wt_probe_result *ret_result, struct wt_error *err)
{
    struct work w = {.trace = trace, .info = info, .t0_ns = INT64_MAX, .t1_ns = INT64_MIN};
    struct wt_probe_result r = {
        .is_emulated = info->is_emulated,
        .is_loaded = trace->edge_count > 0,
        .traits = info->traits,
        .traits_before = info->traits,
    };
    wt_text(r.id, sizeof(r.id), "%s", info->id);
    wt_text(r.name, sizeof(r.name), "%s", info->name);
    wt_text(r.driver, sizeof(r.driver), "%s", info->driver);
    wt_text(r.source, sizeof(r.source), "%s", info->source);
    for (size_t i = 0; i < WT_PROBE_STREAMS; i++) {
        const struct wt_probe_series *s = &trace->series[i];
        if (s->count && s->runs[0].first_before_ns < w.t0_ns)
            w.t0_ns = s->runs[0].first_before_ns;
        if (s->count && s->runs[s->count - 1].last_after_ns > w.t1_ns)
            w.t1_ns = s->runs[s->count - 1].last_after_ns;
    }
    if (w.t1_ns < w.t0_ns)
        w.t0_ns = w.t1_ns = 0;
    r.seconds = seconds_of(&w, w.t1_ns);
    w.edges_s = calloc(2 * trace->edge_count + 1, sizeof(*w.edges_s));
    int rc = w.edges_s ? 0 : WT_E_NOMEM;
    if (rc == 0 && trace->edge_count) {
        double *halves = w.edges_s + trace->edge_count;
        for (size_t i = 0; i < trace->edge_count; i++) {
            const struct wt_probe_edge *e = &trace->edges[i];
            w.edges_s[i] = (seconds_of(&w, e->lo_ns) + seconds_of(&w, e->hi_ns)) / 2;
            halves[i] = (double)(e->hi_ns - e->lo_ns) * 0.5e-9;
        }
        qsort(halves, trace->edge_count, sizeof(*halves), compare_doubles);
        w.edge_half_s = halves[trace->edge_count / 2];
    }
    for (unsigned i = 0; rc == 0 && i < WT_PROBE_STREAMS; i++)
        rc = look_at(&w, i, &r.sensors[i]);
    free(w.edges_s);
    if (rc < 0)
        return wt_fail(err, rc, "no memory to work out what %s shows", info->id);
    compare(&w, &r);
    r.plain = judge_plain(&r);
    set_traits(&r);
    *ret_result = r;
    return 0;
}
