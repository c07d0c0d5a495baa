/* series: see series.h; docs/measurement.md derives what is computed here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/sensor.h"
#include "window/series.h"

#define MS             WT_NS_PER_MS
#define PERIOD_UNKNOWN (100 * MS)
/* No device of a node draws this; a reading that needs it is garbage. */
#define POWER_ABSURD_W 20000.0
/* A move known to this is a fine one, or to an eighth of a period. */
#define FINE_NS (5 * MS)
/* What part-time sight does beyond what the readings themselves show: a load in step with the
 * sensor, a share of the energy when all but a moment is unseen; and the spread of the variance
 * estimate. Both from bench/windows. */
#define LOCKED_SHARE 0.004
#define BLIND_SPREAD 1.5
/* Polls and refreshes of a power reading slip against each other: one is missed or seen twice. */
#define SLIP_SHARE 0.0005
/* Under a running mean no change shorter than it is seen: an end is off by this share of it. */
#define SMEAR_SHARE 0.0625
/* How much of a span's uncertainty is left once a step in it has been placed. From bench/windows.
 */
#define SPLIT_SHARE 0.3
/* How far two clocks drift apart; and a counter's true period from what it is said to be. */
#define DRIFT_PPM   100
#define NOMINAL_PPM 1000
/* A counter is coarse when at this power a step takes longer than polls tell by; and less than that
 * nothing draws that somebody puts a meter to. */
#define STEP_COARSE_W 10.0
#define STEP_LEAST_W  1.0
/* The statistics of the load are taken over at least this many spans around a window. */
#define CONTEXT 24
/* A power reading that has been the same for so long, and for so many of its periods, while the
 * counter stood: a load may be steady, but not to the last digit. */
#define STILL_NS      WT_NS_PER_S
#define STILL_PERIODS 10

static const char stood_still[] = "the counter stood still";
static const char caught_up[] = "the counter stood still, and caught up";

/* ---- traits ---- */

static void set_band(const struct wt_sensor_traits *sensor, struct wt_series_traits *t)
{
    t->is_constant = sensor->is_constant;
    t->band_low = sensor->model_low_ppm * 1e-6;
    t->band_low_w = sensor->model_low_mw * 1e-3;
    t->band_high = sensor->model_high_ppm * 1e-6;
    t->band_high_w = sensor->model_high_mw * 1e-3;
    if (t->band_low + t->band_low_w + t->band_high + t->band_high_w > 0)
        t->gain = t->offset_w = 0;
}

void wt_series_traits_counter(const struct wt_sensor_traits *sensor, struct wt_series_traits *t)
{
    *t = (struct wt_series_traits){
        .is_counter = true,
        .period_ns = sensor->energy_period_ns,
        .quantum_uj = sensor->energy_quantum_uj,
        .gain = sensor->gain_ppm * 1e-6,
        .offset_w = sensor->offset_mw * 1e-3,
    };
    set_band(sensor, t);
    int64_t seen_ns = sensor->energy_window_ns, unit_ns = sensor->power_period_ns;
    if (wt_traits_sees_part(sensor)) {
        if (unit_ns <= 0)
            unit_ns = sensor->energy_period_ns;
        /* It adds up part-time readings. The last of them was refreshed some time within a period
         * before the move, and stands for the time around its window. */
        t->unit_ns = unit_ns;
        t->seen_ns = seen_ns;
        t->shift_ns = -seen_ns / 2;
        t->shift_half_ns = unit_ns / 2;
    } else if (seen_ns == 0 && !sensor->is_power_averaged && sensor->power_window_ns > 0 &&
               sensor->power_window_ns < unit_ns) {
        /* Whether it does is not published: the bound holds for both. */
        t->unit_ns = unit_ns;
        t->seen_ns = sensor->power_window_ns;
        t->shift_ns = -sensor->power_window_ns / 4;
        t->shift_half_ns = unit_ns / 2;
    }
}

void wt_series_traits_power(const struct wt_sensor_traits *sensor, struct wt_series_traits *t)
{
    int64_t period_ns = sensor->power_period_ns > 0 ? sensor->power_period_ns : PERIOD_UNKNOWN;
    int64_t window_ns = sensor->power_window_ns > 0 ? sensor->power_window_ns : period_ns;
    *t = (struct wt_series_traits){
        .period_ns = period_ns,
        .unit_ns = period_ns,
        .seen_ns = window_ns,
        /* What is read was refreshed half a period ago in the mean, and is the mean over a window
         * before that. */
        .shift_ns = -(period_ns + window_ns) / 2 - sensor->power_delay_ns,
        .shift_half_ns = period_ns / 2 + sensor->power_delay_ns / 4,
        /* A delay longer than the window is a slow rise, and blurs as a mean over twice it. */
        .smear_ns = (window_ns > period_ns ? window_ns - period_ns : 0) +
                    (sensor->power_delay_ns > window_ns ? 2 * sensor->power_delay_ns : 0),
        .gain = sensor->gain_ppm * 1e-6,
        .offset_w = sensor->offset_mw * 1e-3,
    };
    set_band(sensor, t);
}

/* ---- filling ---- */

void wt_series_init(struct wt_series *s, const struct wt_series_traits *traits, size_t limit)
{
    *s = (struct wt_series){.traits = *traits, .limit = limit};
    s->tick_ns = (double)traits->period_ns;
    s->tick_ppm = NOMINAL_PPM;
    s->value_w = NAN;
}

void wt_series_done(struct wt_series *s)
{
    free(s->knots);
    s->knots = NULL;
    s->count = s->room = 0;
    for (size_t i = 0; i < WT_SERIES_WORDS; i++) {
        free(s->words[i]);
        s->words[i] = NULL;
    }
}

static int64_t period_of(const struct wt_series *s)
{
    return s->traits.period_ns > 0 ? s->traits.period_ns : PERIOD_UNKNOWN;
}

static int append(struct wt_series *s, const struct wt_knot *knot)
{
    if (s->count == s->room) {
        size_t room = s->room ? s->room * 2 : 256;
        struct wt_knot *more = realloc(s->knots, room * sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        s->knots = more;
        s->room = room;
    }
    s->knots[s->count++] = *knot;
    return 0;
}

static int32_t clip_half(int64_t ns)
{
    return ns > INT32_MAX ? INT32_MAX : (int32_t)ns;
}

/* How far the phase may be off so long after a move that was caught. A counter that is quick to
 * read is caught again every few seconds, and to a millisecond. */
static int64_t drift_ns(const struct wt_series *s, double away_ns)
{
    double ppm = s->is_slow && s->tick_ppm > DRIFT_PPM ? s->tick_ppm : DRIFT_PPM;
    return (int64_t)(fabs(away_ns) * ppm * 1e-6);
}

/* Places a move as well as is known: anywhere between the reads, no longer ago than a period, and
 * at the instant that the phase says when it is known. */
static void place(const struct wt_series *s, struct wt_knot *k, bool is_first)
{
    int64_t lo_ns = k->lo_ns, hi_ns = k->hi_ns;
    /* A slow read, or the first, may show what was there when it began. */
    bool is_early = s->is_slow || is_first;
    int64_t shown_ns = is_early ? k->before_ns : hi_ns;
    if (s->traits.period_ns > 0 && shown_ns - lo_ns > s->traits.period_ns)
        lo_ns = shown_ns - s->traits.period_ns;
    int64_t x_ns = lo_ns + (hi_ns - lo_ns) / 2;
    int64_t half_ns = (hi_ns - lo_ns + 1) / 2;
    if (s->has_ref && s->traits.period_ns > 0) {
        /* The last move at or before hi, by the phase. */
        double away_ns = (double)(hi_ns - s->ref_ns);
        int64_t off_ns = s->ref_half_ns + drift_ns(s, away_ns);
        int64_t early_ns = s->is_slow ? off_ns : s->ref_half_ns;
        int64_t by_phase_ns =
            s->ref_ns + (int64_t)(floor((away_ns + (double)early_ns) / s->tick_ns) * s->tick_ns);
        if (by_phase_ns >= lo_ns - off_ns && off_ns < half_ns) {
            x_ns = by_phase_ns;
            half_ns = off_ns;
            /* Such a read that met a move shows what was before it or after it. */
            if (is_early && k->before_ns < x_ns + half_ns &&
                k->lo_ns < x_ns - s->traits.period_ns) {
                x_ns -= s->traits.period_ns / 2;
                half_ns += s->traits.period_ns / 2;
            }
        }
    }
    k->x_ns = x_ns + s->traits.shift_ns;
    k->half_ns = clip_half(half_ns);
}

/* Two slow reads bound a move by 10 ms or so; what the bursts before say of it bounds it too. */
static void narrow(const struct wt_series *s, int64_t *x_ns, int64_t *half_ns)
{
    double n = round((double)(*x_ns - s->ref_ns) / s->tick_ns);
    int64_t by_phase_ns = s->ref_ns + (int64_t)(n * s->tick_ns);
    int64_t phase_half_ns = s->ref_half_ns + drift_ns(s, n * s->tick_ns) + MS / 10;
    int64_t lo_ns = *x_ns - *half_ns, hi_ns = *x_ns + *half_ns;
    if (by_phase_ns - phase_half_ns > lo_ns)
        lo_ns = by_phase_ns - phase_half_ns;
    if (by_phase_ns + phase_half_ns < hi_ns)
        hi_ns = by_phase_ns + phase_half_ns;
    if (hi_ns <= lo_ns)
        return; /* it is not where it was */
    *x_ns = lo_ns + (hi_ns - lo_ns) / 2;
    *half_ns = (hi_ns - lo_ns + 1) / 2;
}

/* A move caught finely fixes the phase, and with an older one the period. */
static void learn_phase(struct wt_series *s, int64_t lo_ns, int64_t hi_ns)
{
    int64_t fine_ns = s->traits.period_ns / 8;
    if (fine_ns > FINE_NS && !s->is_slow)
        fine_ns = FINE_NS;
    if (fine_ns < MS || hi_ns - lo_ns > fine_ns)
        return;
    int64_t x_ns = lo_ns + (hi_ns - lo_ns) / 2;
    int64_t half_ns = (hi_ns - lo_ns + 1) / 2;
    bool was_known = s->has_ref;
    if (was_known && s->is_slow)
        narrow(s, &x_ns, &half_ns);
    if (was_known) {
        double n = round((double)(x_ns - s->first_ref_ns) / s->tick_ns);
        double off_ns = (double)(x_ns - s->first_ref_ns) - n * s->tick_ns;
        double ppm =
            1e6 * (double)(s->first_half_ns + half_ns) / fmax(1, (double)(x_ns - s->first_ref_ns));
        if (fabs(off_ns) > 2.0 * (double)fine_ns) {
            s->first_ref_ns = x_ns; /* not where it was: the counter was restarted, or it jitters */
            s->first_half_ns = half_ns;
        } else if (n >= 20 && ppm < s->tick_ppm) {
            s->tick_ns = (double)(x_ns - s->first_ref_ns) / n;
            s->tick_ppm = ppm;
        }
        if (fabs(s->tick_ns / (double)s->traits.period_ns - 1) > 0.02) {
            s->tick_ns = (double)s->traits.period_ns;
            s->tick_ppm = NOMINAL_PPM;
        }
    } else {
        s->first_ref_ns = x_ns;
        s->first_half_ns = half_ns;
        s->has_ref = true;
    }
    s->ref_ns = x_ns;
    s->ref_half_ns = half_ns;
    /* The moves shortly before were placed without this. Not on the spot of another, which may be
     * wrong by a period: the power between the two would be anything. */
    size_t from = s->count > 16 ? s->count - 16 : 0;
    for (size_t i = from; i < s->count; i++) {
        struct wt_knot k = s->knots[i];
        place(s, &k, i == 0);
        if (k.half_ns < s->knots[i].half_ns &&
            (i == 0 || k.x_ns >= s->knots[i - 1].x_ns + period_of(s) / 4) &&
            (i + 1 == s->count || k.x_ns <= s->knots[i + 1].x_ns - period_of(s) / 4))
            s->knots[i] = k;
    }
}

static double last_power_w(const struct wt_series *s)
{
    if (!s->traits.is_counter)
        return s->value_w;
    for (size_t i = s->count; i-- > 1;) {
        const struct wt_knot *k = &s->knots[i];
        if (k->kind != WT_KNOT_GAP && k->x_ns > k[-1].x_ns)
            return (k->cum_j - k[-1].cum_j) / wt_s_from_ns(k->x_ns - k[-1].x_ns);
    }
    return s->value_w;
}

/* The most that can be drawn in a span. */
static double bound_j(const struct wt_series *s, int64_t span_ns)
{
    return s->power_max_w > 0 ? s->power_max_w * wt_s_from_ns(span_ns) : INFINITY;
}

/* A knot after a span of which nothing is known but how long it was. */
static int append_gap(struct wt_series *s, struct wt_knot *knot, const char *why)
{
    const struct wt_knot *last = &s->knots[s->count - 1];
    int64_t span_ns = knot->x_ns - last->x_ns;
    double most_j = bound_j(s, span_ns);
    double w = last_power_w(s);
    double guess_j = isnan(w) ? 0 : fmin(w * wt_s_from_ns(span_ns), most_j);
    knot->kind = WT_KNOT_GAP;
    knot->why = why;
    knot->cum_j = last->cum_j + guess_j;
    knot->slack_low_j = last->slack_low_j + guess_j;
    knot->slack_high_j = last->slack_high_j + (isfinite(most_j) ? most_j - guess_j : 0);
    knot->unbounded = last->unbounded + (isfinite(most_j) ? 0 : 1);
    return append(s, knot);
}

static bool is_plausible(const struct wt_series *s, double energy_j, int64_t span_ns)
{
    /* A counter may catch up on a period at once. */
    double most_w = s->power_max_w > 0 ? 3 * s->power_max_w + 50 : POWER_ABSURD_W;
    return energy_j <= most_w * wt_s_from_ns(span_ns + period_of(s));
}

static void keep_value(struct wt_series *s, int64_t before_ns, int64_t after_ns, uint64_t uj)
{
    s->has_value = true;
    s->value_uj = uj;
    s->t_same_ns = before_ns;
    s->t_read_ns = after_ns;
    s->is_broken = false;
    s->has_suspect = false;
}

static int64_t step_ns(const struct wt_series *s);

/* Polls saw the counter stand still for longer than its period and its step explain, at the power
 * that its next move shows: it hung for a while and then caught up. What it shows is right as a
 * whole, and says nothing of when. */
static bool did_hang(const struct wt_series *s, const struct wt_knot *last, double energy_j,
                     int64_t span_ns)
{
    double still_s = wt_s_from_ns(s->t_same_ns - last->hi_ns), span_s = wt_s_from_ns(span_ns);
    double step_s = energy_j > 0 ? wt_j_from_uj(s->traits.quantum_uj) * span_s / energy_j : 0;
    return still_s > 3 * (wt_s_from_ns(period_of(s)) + step_s);
}

/* While nothing was read a counter may have begun anew at 0 and gone further since than it was
 * before: not to be told from one that went on, unless it shows more than could be drawn since. */
static bool may_be_reset(const struct wt_series *s, uint64_t uj, int64_t span_ns)
{
    double most_w = s->power_max_w > 0 ? s->power_max_w : POWER_ABSURD_W;
    return wt_j_from_uj(uj) <= most_w * wt_s_from_ns(span_ns);
}

/* A read that took long (we were descheduled in it) bounds the move it saw and the next one alike,
 * so that both may be placed on one spot, and the power between them would be anything. Moves
 * cannot be that near: the two become one knot that is less sure of its place. */
static bool fold(struct wt_series *s, const struct wt_knot *knot, double energy_j)
{
    struct wt_knot *last = &s->knots[s->count - 1];
    if (knot->x_ns >= last->x_ns + period_of(s) / 4 || last->kind == WT_KNOT_GAP)
        return false;
    if (s->count == 1) { /* where the series begins: the move before was a period earlier */
        last->x_ns = knot->x_ns - period_of(s);
        last->half_ns = clip_half(period_of(s) / 2);
        return false;
    }
    int64_t apart_ns = llabs(knot->x_ns - last->x_ns);
    int64_t half_ns = knot->half_ns > last->half_ns ? knot->half_ns : last->half_ns;
    last->cum_j += energy_j;
    last->hi_ns = knot->hi_ns;
    if (knot->x_ns > last->x_ns)
        last->x_ns = knot->x_ns;
    last->half_ns = clip_half(half_ns > apart_ns ? half_ns : apart_ns);
    if (knot->max_mw > last->max_mw)
        last->max_mw = knot->max_mw;
    return true;
}

/* What the power readings say of the long span that ends with this knot. False: it is none, or they
 * say nothing. A counter that stood still while nobody looked, or was set anew, shows too little.
 */
static bool ask_shape(const struct wt_series *s, const struct wt_knot *knot,
                      struct wt_span *ret_span)
{
    const struct wt_knot *last = &s->knots[s->count - 1];
    if (!s->is_slow || !s->shape || knot->x_ns - last->x_ns <= 5 * period_of(s) / 2)
        return false;
    wt_series_span(s->shape, last->x_ns, knot->x_ns, 1.96, ret_span);
    return ret_span->is_known;
}

int wt_series_add_energy(struct wt_series *s, int64_t before_ns, int64_t after_ns, uint64_t uj)
{
    if (!s->has_value) {
        struct wt_knot first = {
            .lo_ns = before_ns - period_of(s), .hi_ns = after_ns, .before_ns = before_ns};
        place(s, &first, true);
        int rc = append(s, &first);
        if (rc == 0)
            keep_value(s, before_ns, after_ns, uj);
        return rc;
    }
    if (uj == s->value_uj) {
        s->t_same_ns = before_ns;
        s->t_read_ns = after_ns;
        s->has_suspect = false;
        /* With no read in between that saw the move, a break that ends with the same value is
         * none. */
        s->is_broken = false;
        return 0;
    }

    struct wt_knot knot = {
        .lo_ns = s->t_same_ns, .hi_ns = after_ns, .max_mw = s->max_mw, .before_ns = before_ns};
    const struct wt_knot *last = &s->knots[s->count - 1];
    bool is_forward =
        uj > s->value_uj && is_plausible(s, wt_j_from_uj(uj - s->value_uj), after_ns - last->hi_ns);
    if (!is_forward) {
        /* Backwards, or further than the device can have gone. One such reading is garbage; when
         * the next goes on from it, the counter was set anew and the span between is lost. */
        bool goes_on =
            s->has_suspect && uj >= s->suspect_uj &&
            is_plausible(s, wt_j_from_uj(uj - s->suspect_uj), after_ns - s->t_suspect_ns);
        if (!goes_on) {
            s->has_suspect = true;
            s->suspect_uj = uj;
            s->t_suspect_ns = before_ns;
            s->garbage_count++;
            return 0;
        }
        s->garbage_count--;
        s->reset_count++;
        s->has_ref = false;
        place(s, &knot, false);
        if (knot.x_ns <= last->x_ns)
            knot.x_ns = last->x_ns + 1;
        int rc = append_gap(s, &knot, "the counter jumped or was reset");
        if (rc == 0) {
            keep_value(s, before_ns, after_ns, uj);
            s->max_mw = 0;
        }
        return rc;
    }

    double energy_j = wt_j_from_uj(uj - s->value_uj);
    int64_t span_ns = after_ns - last->hi_ns;
    bool is_long = span_ns > 5 * period_of(s) && span_ns > WT_NS_PER_S;
    /* Of one that is read rarely, polls must have seen it stand. */
    if (s->is_slow && s->t_same_ns - last->hi_ns < WT_NS_PER_S)
        is_long = false;
    bool was_frozen = is_long && !s->is_broken && span_ns > step_ns(s) &&
                      energy_j < 0.5 * last_power_w(s) * wt_s_from_ns(span_ns);
    bool has_hung = did_hang(s, last, energy_j, span_ns);
    if (!s->is_broken && !was_frozen && !has_hung)
        learn_phase(s, knot.lo_ns, knot.hi_ns);
    place(s, &knot, false);
    if (!s->is_broken && !was_frozen && !has_hung && fold(s, &knot, energy_j)) {
        keep_value(s, before_ns, after_ns, uj);
        s->max_mw = 0;
        return 0;
    }
    last = &s->knots[s->count - 1];
    if (knot.x_ns <= last->x_ns)
        knot.x_ns = last->x_ns + 1;
    int rc;
    struct wt_span by_power;
    bool has_shape = !s->is_broken && !has_hung && ask_shape(s, &knot, &by_power);
    if (was_frozen) {
        rc = append_gap(s, &knot, stood_still);
    } else if (s->is_broken && may_be_reset(s, uj, span_ns)) {
        rc = append_gap(s, &knot, "the counter may have begun anew while it could not be read");
    } else {
        knot.cum_j = last->cum_j + energy_j;
        knot.slack_low_j = last->slack_low_j;
        knot.slack_high_j = last->slack_high_j;
        knot.unbounded = last->unbounded;
        /* Where the two contradict each other it may be either: the counter stood still, or the
         * load kept in step with a power reading that sees a part of the time. */
        bool is_less = has_shape && energy_j * (1 + s->traits.gain) < by_power.low_j;
        bool is_more = has_shape && energy_j * (1 - s->traits.gain) > by_power.high_j;
        if (is_less)
            knot.slack_high_j += by_power.high_j - energy_j;
        if (is_more)
            knot.slack_low_j += energy_j - by_power.low_j;
        knot.is_contested = is_less || is_more;
        if (s->is_broken) {
            knot.kind = WT_KNOT_UNREAD;
            knot.why = s->why;
        } else if (has_hung) {
            knot.kind = WT_KNOT_UNREAD;
            knot.why = caught_up;
            /* It began to hang some time before the last move that was seen, which is too small. */
            if (s->count > 1 && last->kind == WT_KNOT_PLAIN) {
                knot.max_mw = last->max_mw > knot.max_mw ? last->max_mw : knot.max_mw;
                knot.is_contested = last->is_contested;
                s->count--;
            }
        }
        rc = append(s, &knot);
    }
    if (rc == 0) {
        keep_value(s, before_ns, after_ns, uj);
        s->max_mw = 0;
    }
    return rc;
}

int wt_series_add_power(struct wt_series *s, int64_t before_ns, int64_t after_ns, double w)
{
    int64_t t_ns = before_ns + (after_ns - before_ns) / 2;
    if (!(w >= 0) || w > (s->power_max_w > 0 ? 3 * s->power_max_w + 50 : POWER_ABSURD_W)) {
        s->garbage_count++;
        wt_series_add_failure(s, "the power reading was absurd");
        return 0;
    }
    struct wt_knot knot = {.lo_ns = before_ns, .hi_ns = after_ns, .max_mw = s->max_mw};
    int rc;
    if (!s->has_value) {
        knot.x_ns = t_ns + s->traits.shift_ns;
        rc = append(s, &knot);
    } else {
        const struct wt_knot *last = &s->knots[s->count - 1];
        int64_t mid_ns = s->t_read_ns + (t_ns - s->t_read_ns) / 2;
        knot.x_ns = mid_ns + s->traits.shift_ns;
        if (knot.x_ns <= last->x_ns)
            return 0;
        if (s->is_broken) {
            knot.x_ns = t_ns + s->traits.shift_ns;
            rc = append_gap(s, &knot, s->why);
        } else {
            knot.cum_j = last->cum_j + s->value_w * wt_s_from_ns(knot.x_ns - last->x_ns);
            knot.slack_low_j = last->slack_low_j;
            knot.slack_high_j = last->slack_high_j;
            knot.unbounded = last->unbounded;
            rc = append(s, &knot);
        }
    }
    if (rc < 0)
        return rc;
    s->has_value = true;
    s->value_w = w;
    s->t_read_ns = t_ns;
    s->is_broken = false;
    s->max_mw = (uint32_t)llround(w * 1e3);
    return 0;
}

void wt_series_add_failure(struct wt_series *s, const char *why)
{
    s->is_broken = true;
    s->why = "it could not be read";
    for (size_t i = 0; i < WT_SERIES_WORDS; i++) {
        if (!s->words[i])
            s->words[i] = strdup(why);
        if (s->words[i] && strcmp(s->words[i], why) == 0) {
            s->why = s->words[i];
            return;
        }
    }
}

void wt_series_note_power(struct wt_series *s, double w)
{
    if (!(w >= 0) || w > POWER_ABSURD_W)
        return;
    s->value_w = w;
    uint32_t mw = (uint32_t)llround(w * 1e3);
    if (mw > s->max_mw)
        s->max_mw = mw;
}

void wt_series_note_limit(struct wt_series *s, double w)
{
    /* Caps are overshot for a while; a lowered limit does not undo what was drawn before. */
    if (w > 0 && w < POWER_ABSURD_W && 1.2 * w > s->power_max_w)
        s->power_max_w = 1.2 * w;
}

bool wt_series_is_full(const struct wt_series *s)
{
    return s->count >= s->limit;
}

void wt_series_thin(struct wt_series *s, const int64_t *edges_ns, size_t edge_count,
                    int64_t keep_ns, int64_t margin_ns)
{
    size_t kept = 0, e = 0;
    uint32_t max_mw = 0;
    bool is_contested = false;
    int64_t before_ns = s->count ? s->knots[0].x_ns : 0;
    for (size_t i = 0; i < s->count; i++) {
        struct wt_knot k = s->knots[i];
        int64_t next_ns = i + 1 < s->count ? s->knots[i + 1].x_ns : k.x_ns;
        /* Both ends of a span are near where the span is: it may be a long one. */
        while (e < edge_count && edges_ns[e] + margin_ns < before_ns)
            e++;
        bool is_near = e < edge_count && edges_ns[e] - margin_ns <= next_ns;
        before_ns = k.x_ns;
        /* Before the first edge nothing is asked for any more. Gaps are kept as they are, with the
         * knot they begin at. */
        bool is_past = edge_count ? k.x_ns < edges_ns[0] - margin_ns : true;
        bool is_gap =
            k.kind != WT_KNOT_PLAIN || (i + 1 < s->count && s->knots[i + 1].kind != WT_KNOT_PLAIN);
        bool is_young = k.x_ns >= keep_ns || i + 2 >= s->count;
        if (k.max_mw > max_mw)
            max_mw = k.max_mw;
        is_contested |= k.is_contested;
        if (!is_young && !is_near && (is_past || (!is_gap && i % 2)))
            continue;
        k.max_mw = max_mw;
        k.is_contested = is_contested;
        max_mw = 0;
        is_contested = false;
        s->knots[kept++] = k;
    }
    s->count = kept;
    if (s->count > s->limit / 8 * 7)
        s->limit *= 2; /* what is left is all wanted */
}

/* ---- reading off ---- */

static double span_w(const struct wt_series *s, size_t i)
{
    const struct wt_knot *k = &s->knots[i];
    return (k->cum_j - k[-1].cum_j) / wt_s_from_ns(k->x_ns - k[-1].x_ns);
}

static bool is_plain(const struct wt_series *s, size_t i)
{
    return i > 0 && i < s->count && s->knots[i].kind == WT_KNOT_PLAIN;
}

/* The first knot at or after t; count when there is none. The span before it holds t. */
static size_t find(const struct wt_series *s, int64_t t_ns)
{
    size_t lo = 0, hi = s->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->knots[mid].x_ns < t_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* How the load varies from span to span, as the series shows it. */
struct variation {
    double length_s; /* mean span */
    double slow_w2;  /* from changes that last: half the mean square of one, a span */
    double fast_w2;  /* from changes shorter than a span: variance of a span's mean */
    double unit_s;   /* the sensor looks once in this long ... */
    double blind;    /* ... and not for this share of it */
};

/* So long that something was read rarely: a move and a half is what polls at the counter's own pace
 * leave now and then. */
static bool is_long(const struct wt_series *s, int64_t span_ns)
{
    return s->is_slow && s->shape && span_ns > 5 * period_of(s) / 2;
}

static bool is_long_span(const struct wt_series *s, size_t i)
{
    return is_plain(s, i) && is_long(s, s->knots[i].x_ns - s->knots[i - 1].x_ns);
}

static void see(const struct wt_series *s, struct variation *v)
{
    v->unit_s = wt_s_from_ns(s->traits.unit_ns);
    if (!s->traits.is_counter && v->length_s > v->unit_s)
        v->unit_s = v->length_s; /* refreshes between two polls are never read */
    double seen_s = wt_s_from_ns(s->traits.seen_ns);
    v->blind = seen_s > 0 && seen_s < v->unit_s ? 1 - seen_s / v->unit_s : 0;
}

static void vary(const struct wt_series *s, size_t from, size_t to, struct variation *v)
{
    if (to - from < CONTEXT) {
        size_t more = (CONTEXT - (to - from)) / 2 + 1;
        from = from > more + 1 ? from - more : 1;
        to = to + more < s->count ? to + more : s->count;
    }
    double one = 0, two = 0, length = 0;
    size_t ones = 0, twos = 0, lengths = 0;
    for (size_t i = from > 0 ? from : 1; i < to; i++) {
        if (!is_plain(s, i))
            continue;
        length += wt_s_from_ns(s->knots[i].x_ns - s->knots[i - 1].x_ns);
        lengths++;
        double w = span_w(s, i);
        if (is_plain(s, i + 1)) {
            double d = span_w(s, i + 1) - w;
            one += d * d;
            ones++;
            if (is_plain(s, i + 2)) {
                d = span_w(s, i + 2) - w;
                two += d * d;
                twos++;
            }
        }
    }
    v->length_s = lengths ? length / (double)lengths : wt_s_from_ns(period_of(s));
    double gamma1 = ones ? one / (2 * (double)ones) : 0;
    double gamma2 = twos ? two / (2 * (double)twos) : gamma1;
    see(s, v);
    double w = v->unit_s > 0 && v->length_s < 1.5 * v->unit_s ? 1 - v->blind : 1;
    v->slow_w2 = fmax(0, gamma2 - gamma1);
    v->fast_w2 = fmax(0, gamma1 - v->slow_w2 * (1 - w / 3));
}

/* Cumulative energy at a time, and how wrong it may be. */
struct point {
    double cum_j, slack_low_j, slack_high_j;
    int64_t from_here, to_here; /* unbounded gaps before it, when a window begins, or ends, here */
    double less_j, more_j; /* within a span that was measured as a whole: cum_j may be this much
                              less or more, and nothing is known of which */
    double var_j2;
    double step_j; /* deviation from a step in power near by: the two ends of a window around a
                      piece of work err the same way, so these add up */
    double gap_s;  /* of what was asked, unknown: before the first knot or after the last */
    const char *why;
    bool is_known;
    int unseen;      /* beyond a few knots, where anything may have been drawn: 1 after the last, -1
                        before the first */
    bool is_in_step; /* after the last move of a coarse counter: less than a step since then */
};

/* How far beyond the knots the nearest power is taken to go on: two moves and a half, or polls
 * where they are further apart. */
static int64_t reach_ns(const struct wt_series *s)
{
    int64_t usual_ns = period_of(s);
    for (size_t i = s->count; i-- > 1 && i + 4 > s->count;)
        if (is_plain(s, i) && s->knots[i].x_ns - s->knots[i - 1].x_ns > usual_ns)
            usual_ns = s->knots[i].x_ns - s->knots[i - 1].x_ns;
    if (usual_ns > WT_NS_PER_S && usual_ns > period_of(s))
        usual_ns = period_of(s) > WT_NS_PER_S ? period_of(s) : WT_NS_PER_S;
    return 5 * usual_ns / 2 + llabs(s->traits.shift_ns) + s->traits.smear_ns;
}

/* Power to assume beyond the knots, at the near end (i = 1) or the far (i = count - 1). */
static double outer_w(const struct wt_series *s, size_t i, bool is_end)
{
    if (is_end && !isnan(s->value_w))
        return s->value_w;
    if (is_plain(s, i))
        return span_w(s, i);
    return s->value_w;
}

/* By how much power readings around these times differ; NaN: there are none. */
static double range_w(const struct wt_series *power, int64_t from_ns, int64_t to_ns)
{
    double least = INFINITY, most = -INFINITY;
    int64_t reach_ns = 2 * period_of(power);
    for (size_t i = find(power, from_ns - reach_ns); i < power->count; i++) {
        if (i > 0 && power->knots[i - 1].x_ns > to_ns + reach_ns)
            break;
        if (!is_plain(power, i))
            continue;
        least = fmin(least, span_w(power, i));
        most = fmax(most, span_w(power, i));
    }
    return most >= least ? most - least : NAN;
}

/* The same, or where nothing was read all that there may be: without a limit, anything. */
static double range_most_w(const struct wt_series *s, int64_t from_ns, int64_t to_ns)
{
    double w = range_w(s->shape, from_ns, to_ns);
    if (!isnan(w))
        return w;
    return s->power_max_w > 0 ? s->power_max_w : INFINITY;
}

/* The largest step in power next to span i. */
static double step_w2(const struct wt_series *s, size_t i)
{
    double most = 0;
    if (is_long_span(s, i - 1) || is_long_span(s, i) || is_long_span(s, i + 1))
        most = range_most_w(s, s->knots[i - 1].x_ns, s->knots[i].x_ns);
    for (size_t k = i > 1 ? i - 1 : 1; k <= i; k++)
        if (is_plain(s, k) && is_plain(s, k + 1))
            most = fmax(most, fabs(span_w(s, k + 1) - span_w(s, k)));
    if (is_plain(s, i - 1) && is_plain(s, i + 1))
        most = fmax(most, fabs(span_w(s, i + 1) - span_w(s, i - 1)));
    return most * most;
}

#define KNOTS_FEW  5 /* before so many are known, so little is known of how power varies */
#define KNOTS_STEP 3 /* they show one step */

/* Energy of the first part f of span i, when the span's power lies between those of its neighbours:
 * then one step within it, at the only place that fits, explains all three. NaN: it does not. */
static double split(const struct wt_series *s, size_t i, double f, const struct variation *v)
{
    if (is_long_span(s, i - 1) || is_long_span(s, i) || is_long_span(s, i + 1))
        return NAN; /* what is a neighbour's mean to its next 100 ms? */
    if (!is_plain(s, i - 1) || !is_plain(s, i + 1) || s->traits.smear_ns > 0 ||
        (!s->traits.is_counter && v->blind > 0.1))
        return NAN;
    double before = span_w(s, i - 1), after = span_w(s, i + 1), w = span_w(s, i);
    double u = (after - w) / (after - before); /* the share before the step */
    if (!(u > 0 && u < 1))
        return NAN;
    double length_s = wt_s_from_ns(s->knots[i].x_ns - s->knots[i - 1].x_ns);
    return length_s * (f < u ? before * f : before * u + after * (f - u));
}

/* How long a counter may stand without a fault: of a coarse one (a meter that shows tenths of a
 * kWh) a step takes longer than any period, and down to STEP_LEAST_W it is only not full yet. 0:
 * its step is no matter. */
static int64_t step_ns(const struct wt_series *s)
{
    double step_j = wt_j_from_uj(s->traits.quantum_uj);
    if (!s->traits.is_counter || step_j / STEP_COARSE_W < wt_s_from_ns(reach_ns(s)))
        return 0;
    return (int64_t)fmin(step_j / STEP_LEAST_W * 1e9, 86400e9);
}

/* A counter that has been polled for long since it last moved. */
static bool stands_still(const struct wt_series *s)
{
    int64_t most_ns = reach_ns(s), by_step_ns = step_ns(s);
    if (most_ns < by_step_ns)
        most_ns = by_step_ns;
    return s->traits.is_counter && s->t_same_ns - s->knots[s->count - 1].hi_ns > most_ns;
}

/* The last move before a counter hung for good is too small by an unknown part. */
static void add_missing(const struct wt_series *s, struct point *p)
{
    const struct wt_knot *b = &s->knots[s->count - 1];
    if (s->count < 2 || b->kind != WT_KNOT_PLAIN)
        return;
    double most_j = bound_j(s, b->x_ns - b[-1].x_ns);
    p->why = "the sensor stands still";
    p->more_j = isfinite(most_j) ? fmax(0, most_j - (b->cum_j - b[-1].cum_j)) : 0;
    p->to_here += isfinite(most_j) ? 0 : 1;
}

/* Energy by the power readings, and the variance of that. False: it is not known. */
static bool shape_j(const struct wt_series *s, int64_t from_ns, int64_t to_ns, double *ret_j,
                    double *ret_var_j2)
{
    struct wt_span span;
    *ret_j = *ret_var_j2 = 0;
    if (from_ns >= to_ns)
        return true;
    wt_series_span(s->shape, from_ns, to_ns, 1.96, &span);
    if (!span.is_known)
        return false;
    *ret_j = span.energy_j;
    double half_j = fmax(span.high_j - span.energy_j, span.energy_j - span.low_j) / 1.96;
    *ret_var_j2 = half_j * half_j;
    return true;
}

/* Within a long span: its energy is spread as the power readings say. */
static struct point at_by_shape(const struct wt_series *s, size_t i, int64_t t_ns)
{
    const struct wt_knot *a = &s->knots[i - 1], *b = &s->knots[i];
    double energy_j = b->cum_j - a->cum_j;
    double f = (double)(t_ns - a->x_ns) / (double)(b->x_ns - a->x_ns);
    struct point p = {.is_known = true, .from_here = a->unbounded, .to_here = b->unbounded};
    double first_j, second_j, first_j2, second_j2;
    if (!shape_j(s, a->x_ns, t_ns, &first_j, &first_j2) ||
        !shape_j(s, t_ns, b->x_ns, &second_j, &second_j2) || !(first_j + second_j > 0)) {
        p.cum_j = a->cum_j + f * energy_j;
        p.slack_low_j = a->slack_low_j + f * (b->slack_low_j - a->slack_low_j);
        p.slack_high_j = a->slack_high_j + f * (b->slack_high_j - a->slack_high_j);
        p.less_j = f * energy_j;
        p.more_j = (1 - f) * energy_j;
        p.why = "the counter was read rarely, and power could not be read";
        return p;
    }
    /* So is what power says it may have had less, or more. */
    double first = first_j / (first_j + second_j);
    p.slack_low_j = a->slack_low_j + first * (b->slack_low_j - a->slack_low_j);
    p.slack_high_j = a->slack_high_j + first * (b->slack_high_j - a->slack_high_j);
    /* The shorter part by power, the other is what remains: so both have its error. */
    double share = energy_j / (first_j + second_j), var_j2 = fmin(first_j2, second_j2);
    p.cum_j = a->cum_j + share * first_j;
    double near_s = (f < 0.5 ? a : b)->half_ns * 1e-9;
    double w = energy_j / wt_s_from_ns(b->x_ns - a->x_ns);
    double range = range_most_w(s, t_ns, t_ns);
    p.var_j2 = share * share * var_j2 + (w + range) * (w + range) * near_s * near_s / 3;
    return p;
}

static struct point at(const struct wt_series *s, int64_t t_ns, const struct variation *v)
{
    struct point p = {.is_known = true};
    size_t i = find(s, t_ns);
    if (i > 0 && i < s->count) {
        const struct wt_knot *a = &s->knots[i - 1], *b = &s->knots[i];
        double length_s = wt_s_from_ns(b->x_ns - a->x_ns);
        double f = wt_s_from_ns(t_ns - a->x_ns) / length_s, g = 1 - f;
        double energy_j = b->cum_j - a->cum_j, w = energy_j / length_s;
        p.cum_j = a->cum_j + f * energy_j;
        p.from_here = a->unbounded;
        p.to_here = b->unbounded;
        p.slack_low_j = a->slack_low_j + f * (b->slack_low_j - a->slack_low_j);
        p.slack_high_j = a->slack_high_j + f * (b->slack_high_j - a->slack_high_j);
        if (b->kind == WT_KNOT_UNREAD) {
            /* All of it may lie on either side. */
            p.less_j = f * energy_j;
            p.more_j = g * energy_j;
            p.why = b->why;
            return p;
        }
        if (is_long_span(s, i))
            return at_by_shape(s, i, t_ns);
        double half_s = g * a->half_ns * 1e-9 + f * b->half_ns * 1e-9;
        p.var_j2 = w * w * half_s * half_s / 3;
        if (i + 1 == s->count && stands_still(s))
            add_missing(s, &p);
        if (b->kind == WT_KNOT_PLAIN) {
            double split_j = split(s, i, f, v);
            bool is_split = !isnan(split_j);
            if (is_split)
                p.cum_j = a->cum_j + split_j;
            p.step_j = f * g * length_s * sqrt((step_w2(s, i) + v->slow_w2) / 3) *
                       (is_split ? SPLIT_SHARE : 1);
            p.var_j2 += f * g * length_s * length_s * v->fast_w2;
        }
        return p;
    }

    /* Beyond the knots: the nearest power is taken to go on, for a period or two at most. */
    bool is_end = i == s->count;
    const struct wt_knot *k = &s->knots[is_end ? s->count - 1 : 0];
    int64_t span_ns = is_end ? t_ns - k->x_ns : k->x_ns - t_ns;
    double span_s = wt_s_from_ns(span_ns);
    double w = outer_w(s, is_end ? s->count - 1 : 1, is_end);
    if (is_end && !s->is_broken && span_ns <= step_ns(s) && !stands_still(s)) {
        double step_j = wt_j_from_uj(s->traits.quantum_uj);
        double guess_j = isnan(w) ? step_j / 2 : fmin(w * span_s, step_j);
        p.cum_j = k->cum_j + guess_j;
        p.from_here = p.to_here = k->unbounded;
        p.slack_low_j = k->slack_low_j;
        p.slack_high_j = k->slack_high_j;
        p.less_j = guess_j;
        p.more_j = step_j - guess_j;
        p.is_in_step = true;
        return p;
    }
    double tail_j, tail_j2;
    if (is_end && is_long(s, span_ns + period_of(s)) && !s->is_broken && !stands_still(s) &&
        shape_j(s, k->x_ns, t_ns, &tail_j, &tail_j2)) {
        double end_s = k->half_ns * 1e-9;
        p.why = "it has not been read to the end, which is by power";
        p.cum_j = k->cum_j + tail_j;
        p.from_here = p.to_here = k->unbounded;
        p.slack_low_j = k->slack_low_j;
        p.slack_high_j = k->slack_high_j;
        p.var_j2 = tail_j2 + (isnan(w) ? 0 : w * w * end_s * end_s / 3);
        return p;
    }
    if (isnan(w)) {
        p.is_known = span_ns == 0;
        w = 0;
    }
    p.cum_j = k->cum_j + (is_end ? w : -w) * span_s;
    p.from_here = p.to_here = k->unbounded;
    p.slack_low_j = k->slack_low_j;
    p.slack_high_j = k->slack_high_j;
    double step = fmax(step_w2(s, is_end ? s->count - 1 : 1) + 2 * v->slow_w2, 0.04 * w * w);
    double half_s = k->half_ns * 1e-9;
    int64_t near_ns = reach_ns(s);
    bool is_still = is_end && stands_still(s);
    bool is_near = span_ns <= near_ns && !is_still && !(is_end && s->is_broken);
    /* After a move or two nothing says how far the load steps: from nothing to the most it may. A
     * run shorter than the counter's period began after the last move that was seen. Where the most
     * is not known that is no bound, and a step that was seen has to do. */
    bool is_few = s->count < (s->power_max_w > 0 ? KNOTS_FEW : KNOTS_STEP) && span_ns > 0;
    if (is_near && !is_few) {
        p.var_j2 = w * w * half_s * half_s / 3 + span_s * span_s * step / 3;
        return p;
    }
    double most_j = bound_j(s, span_ns), guess_j = fmin(w * span_s, most_j);
    double rest_j = isfinite(most_j) ? most_j - guess_j : 0;
    if (!isfinite(most_j)) {
        p.to_here += is_end;
        p.from_here -= !is_end;
    }
    /* What goes before the first knot is subtracted. */
    if (is_near) {
        p.cum_j = k->cum_j + (is_end ? guess_j : -guess_j);
        p.less_j = is_end ? guess_j : rest_j;
        p.more_j = is_end ? rest_j : guess_j;
        p.var_j2 = w * w * half_s * half_s / 3;
        p.unseen = is_end ? 1 : -1;
        p.why = s->traits.is_counter ? "too few of its moves have been seen" : "too few readings";
        return p;
    }
    p.gap_s = span_s;
    p.why = s->is_broken && is_end ? s->why
            : is_end               ? "the sensor stands still"
                                   : "it was not read from the start";
    p.slack_low_j += is_end ? guess_j : -guess_j;
    p.slack_high_j += is_end ? rest_j : -rest_j;
    if (is_still)
        add_missing(s, &p);
    return p;
}

/* Does a gap inside the window widen it? Their time, and the last one's reason. */
static double gaps_s(const struct wt_series *s, int64_t from_ns, int64_t to_ns, const char **why)
{
    double sum_s = 0;
    for (size_t i = find(s, from_ns); i < s->count; i++) {
        if (i == 0)
            continue;
        const struct wt_knot *a = &s->knots[i - 1], *b = &s->knots[i];
        if (a->x_ns >= to_ns)
            break;
        if (b->kind != WT_KNOT_GAP)
            continue;
        int64_t lo = a->x_ns > from_ns ? a->x_ns : from_ns;
        int64_t hi = b->x_ns < to_ns ? b->x_ns : to_ns;
        sum_s += wt_s_from_ns(hi - lo);
        *why = b->why;
    }
    return sum_s;
}

/* Are there spans in the window that power readings contradict? And by how much they say more, or
 * less, of these. */
static bool is_contested(const struct wt_series *s, int64_t from_ns, int64_t to_ns,
                         double *ret_more_j, double *ret_less_j)
{
    bool is_any = false;
    *ret_more_j = *ret_less_j = 0;
    for (size_t i = find(s, from_ns + 1); i < s->count; i++) {
        const struct wt_knot *k = &s->knots[i];
        if (k->is_contested && i > 0) {
            is_any = true;
            *ret_more_j += k->slack_high_j - k[-1].slack_high_j;
            *ret_less_j += k->slack_low_j - k[-1].slack_low_j;
        }
        if (k->x_ns >= to_ns)
            break;
    }
    return is_any;
}

static double max_w(const struct wt_series *s, int64_t from_ns, int64_t to_ns)
{
    uint32_t most_mw = 0;
    size_t i = find(s, from_ns);
    for (; i < s->count; i++) {
        if (s->knots[i].max_mw > most_mw)
            most_mw = s->knots[i].max_mw;
        if (s->knots[i].x_ns >= to_ns)
            break;
    }
    if (i == s->count && s->max_mw > most_mw)
        most_mw = s->max_mw;
    return most_mw ? most_mw * 1e-3 : NAN;
}

/* Power that never changes, with its band. */
static void spread_constant(const struct wt_series *s, double span_s, struct wt_span *ret_span)
{
    double energy_j = s->value_w * span_s;
    *ret_span = (struct wt_span){
        .is_known = true,
        .energy_j = energy_j,
        .low_j = fmax(0, energy_j * (1 - s->traits.band_low) - s->traits.band_low_w * span_s),
        .high_j = energy_j * (1 + s->traits.band_high) + s->traits.band_high_w * span_s,
        .max_w = s->value_w,
    };
}

/* A coarse counter that did not move: anything up to a step. */
static void spread_step(const struct wt_series *s, double span_s, struct wt_span *ret_span)
{
    double step_j = wt_j_from_uj(s->traits.quantum_uj), w = last_power_w(s);
    ret_span->is_known = true;
    ret_span->energy_j = isnan(w) ? step_j / 2 : fmin(w * span_s, step_j);
    ret_span->low_j = 0;
    ret_span->high_j = step_j * (1 + s->traits.gain);
    ret_span->why = "the counter did not move: less than a step of it";
}

void wt_series_span(const struct wt_series *s, int64_t from_ns, int64_t to_ns, double z,
                    struct wt_span *ret_span)
{
    *ret_span = (struct wt_span){
        .energy_j = NAN, .low_j = NAN, .high_j = NAN, .max_w = NAN, .why = "it was never read"};
    if (!s->count) {
        if (s->is_broken)
            ret_span->why = s->why;
        return;
    }
    if (s->traits.is_constant) {
        spread_constant(s, wt_s_from_ns(to_ns - from_ns), ret_span);
        return;
    }
    struct variation v;
    size_t first = find(s, from_ns), last = find(s, to_ns);
    vary(s, first, last, &v);
    if (s->is_slow && s->shape && s->shape->count > CONTEXT / 4) {
        /* Few of its own spans are alike enough to be compared. */
        struct variation by_power;
        vary(s->shape, find(s->shape, from_ns), find(s->shape, to_ns), &by_power);
        v.slow_w2 = by_power.slow_w2;
        v.fast_w2 = by_power.fast_w2;
    }
    struct point b = at(s, from_ns, &v), e = at(s, to_ns, &v);
    double span_s = wt_s_from_ns(to_ns - from_ns), energy_j = e.cum_j - b.cum_j;
    ret_span->max_w = max_w(s, from_ns, to_ns);

    if (b.is_in_step && e.is_in_step) {
        spread_step(s, wt_s_from_ns(to_ns - from_ns), ret_span);
        return;
    }
    double step_j = b.step_j + e.step_j;
    double var_j2 = b.var_j2 + e.var_j2 + step_j * step_j;
    if (first == last && first > 0 && first < s->count && !is_long_span(s, first)) {
        /* Within one span: what it drew on the whole, at whatever moment. */
        double length_s = wt_s_from_ns(s->knots[first].x_ns - s->knots[first - 1].x_ns);
        double f = span_s / length_s;
        double inside = span_s * span_s * (1 - f) *
                        ((step_w2(s, first) + 2 * v.slow_w2) / 4 + v.fast_w2 / (f + 0.1));
        var_j2 = fmin(var_j2, inside);
    }
    /* Part-time sight. Changes that last are late or early by at most the blind part of a unit;
     * of shorter ones the seen part is a sample. */
    if (v.blind > 0) {
        var_j2 += BLIND_SPREAD * span_s / v.length_s *
                  (v.blind * v.blind * v.unit_s * v.unit_s / 6 * v.slow_w2 +
                   v.blind * v.length_s * v.length_s * v.fast_w2);
        double locked_j = LOCKED_SHARE * v.blind * energy_j;
        var_j2 += locked_j * locked_j;
    }
    /* One common shift of all times. */
    if (s->traits.shift_half_ns > 0) {
        int64_t d_ns = s->traits.shift_half_ns;
        double later_j = at(s, to_ns + d_ns, &v).cum_j - at(s, from_ns + d_ns, &v).cum_j;
        double earlier_j = at(s, to_ns - d_ns, &v).cum_j - at(s, from_ns - d_ns, &v).cum_j;
        double off_j = fmax(fabs(later_j - energy_j), fabs(earlier_j - energy_j));
        var_j2 += off_j * off_j / 3;
    }
    /* A running mean blurs each end: by what it changes around it, and by what it cannot show. */
    if (s->traits.smear_ns > 0) {
        int64_t d_ns = s->traits.smear_ns / 2;
        double d_s = wt_s_from_ns(d_ns), blur_j = 0, unseen_j = 0;
        const int64_t ends_ns[] = {from_ns, to_ns};
        for (int i = 0; i < 2; i++) {
            double mid_j = at(s, ends_ns[i], &v).cum_j;
            double after_w = (at(s, ends_ns[i] + d_ns, &v).cum_j - mid_j) / d_s;
            double before_w = (mid_j - at(s, ends_ns[i] - d_ns, &v).cum_j) / d_s;
            blur_j += d_s / 4 * fabs(after_w - before_w);
            unseen_j = fmax(unseen_j, SMEAR_SHARE * d_s * (after_w + before_w));
        }
        var_j2 += blur_j * blur_j + 2 * unseen_j * unseen_j;
    }
    if (!s->traits.is_counter)
        var_j2 += SLIP_SHARE * SLIP_SHARE * energy_j * energy_j;
    double quantum_j = wt_j_from_uj(s->traits.quantum_uj);
    var_j2 += quantum_j * quantum_j / 6;

    double gap_s = gaps_s(s, from_ns, to_ns, &b.why) + b.gap_s + e.gap_s;
    double slack_low_j = fmax(0, e.slack_low_j - b.slack_low_j) + e.less_j + b.more_j;
    double slack_high_j = fmax(0, e.slack_high_j - b.slack_high_j) + e.more_j + b.less_j;
    if (b.unseen && b.unseen == e.unseen) { /* what lies between it and the knots is not in it */
        bool is_after = b.unseen > 0;
        slack_low_j = fmax(0, is_after ? e.less_j - b.less_j : b.more_j - e.more_j);
        slack_high_j = fmax(0, is_after ? e.more_j - b.more_j : b.less_j - e.less_j);
    }
    double gain_j = s->traits.gain * energy_j, offset_j = s->traits.offset_w * span_s;
    double share = z / 1.96;
    double half_j = sqrt(z * z * var_j2 + share * share * (gain_j * gain_j + offset_j * offset_j));

    ret_span->why = e.why ? e.why : b.why;
    ret_span->is_contested =
        is_contested(s, from_ns, to_ns, &ret_span->contested_more_j, &ret_span->contested_less_j);
    if (!ret_span->why && !ret_span->is_contested && first == last && is_long_span(s, first))
        ret_span->why = "it was not read in between, which is by power";
    ret_span->has_holes = ret_span->why;
    if (!ret_span->why && ret_span->is_contested)
        ret_span->why = "the power readings contradict it, and it may be either";
    ret_span->is_known = b.is_known && e.is_known && gap_s <= 0.5 * span_s &&
                         e.to_here <= b.from_here && isfinite(half_j);
    if (!ret_span->is_known) {
        if (!ret_span->why)
            ret_span->why = "too few readings";
        return;
    }
    double band_low_j = s->traits.band_low * energy_j + s->traits.band_low_w * span_s;
    double band_high_j = s->traits.band_high * energy_j + s->traits.band_high_w * span_s;
    ret_span->energy_j = fmax(0, energy_j);
    ret_span->low_j = fmax(0, energy_j - slack_low_j - half_j - band_low_j);
    ret_span->high_j = ret_span->energy_j + slack_high_j + half_j + band_high_j;
    if (ret_span->low_j > ret_span->energy_j)
        ret_span->low_j = ret_span->energy_j;
}

bool wt_span_is_by_power(const struct wt_span *by_counter, struct wt_span *by_power)
{
    if (!by_power->is_known)
        return false;
    /* Where the two contradict each other outside of the holes, it may be as the counter says. */
    double low_j = fmax(0, by_power->low_j - by_counter->contested_more_j);
    double high_j = by_power->high_j + by_counter->contested_less_j;
    bool is_narrower = high_j - low_j < by_counter->high_j - by_counter->low_j;
    if (by_counter->is_known && !(by_counter->has_holes && is_narrower))
        return false;
    by_power->low_j = low_j;
    by_power->high_j = high_j;
    return true;
}

/* Where a counter stood: between knot i and the one before it, or after its last. */
static bool stood(const struct wt_series *s, size_t i, int64_t *ret_from_ns, int64_t *ret_to_ns)
{
    if (i == 0 || (i == s->count && !stands_still(s)) ||
        (i < s->count && s->knots[i].why != stood_still && s->knots[i].why != caught_up))
        return false;
    *ret_from_ns = s->knots[i - 1].x_ns;
    *ret_to_ns = i < s->count ? s->knots[i].x_ns : INT64_MAX;
    return true;
}

/* How long of the window, and at what energy, power read the same for too long, of a time in which
 * the counter stood. */
static void add_still(const struct wt_series *power, int64_t stood_ns, int64_t moved_ns,
                      int64_t from_ns, int64_t to_ns, double *io_s, double *io_j)
{
    int64_t least_ns = STILL_PERIODS * period_of(power);
    if (least_ns < STILL_NS)
        least_ns = STILL_NS;
    for (size_t i = find(power, stood_ns) + 1; i < power->count;) {
        double w = span_w(power, i);
        int64_t start_ns = power->knots[i - 1].x_ns, end_ns;
        do
            end_ns = power->knots[i++].x_ns;
        while (i < power->count && end_ns < moved_ns &&
               fabs(span_w(power, i) - w) < 1e-4 + 1e-6 * w);
        bool is_last = i == power->count && !power->is_broken;
        if (end_ns > moved_ns)
            end_ns = moved_ns;
        if (w > 0 && end_ns - start_ns >= least_ns) {
            int64_t lo = start_ns > from_ns ? start_ns : from_ns;
            int64_t hi = end_ns < to_ns && !is_last ? end_ns : to_ns; /* it goes on */
            if (hi > moved_ns)
                hi = moved_ns;
            *io_s += hi > lo ? wt_s_from_ns(hi - lo) : 0;
            *io_j += hi > lo ? w * wt_s_from_ns(hi - lo) : 0;
        }
        if (end_ns >= moved_ns)
            return;
    }
}

bool wt_series_doubt(const struct wt_series *counter, const struct wt_series *power,
                     int64_t from_ns, int64_t to_ns, struct wt_span *io_by_power)
{
    double still_s = 0, still_j = 0;
    int64_t stood_ns, moved_ns;
    if (!counter->count || !power->count || power->traits.is_constant)
        return false;
    for (size_t i = find(counter, from_ns); i <= counter->count; i++) {
        if (stood(counter, i, &stood_ns, &moved_ns))
            add_still(power, stood_ns, moved_ns, from_ns, to_ns, &still_s, &still_j);
        if (i < counter->count && counter->knots[i].x_ns >= to_ns)
            break;
    }
    if (!(still_s > 0) || !io_by_power->is_known)
        return false;
    io_by_power->why = "its power stood still too";
    io_by_power->has_holes = true;
    io_by_power->is_known =
        power->power_max_w > 0 && still_s <= 0.5 * wt_s_from_ns(to_ns - from_ns);
    io_by_power->low_j = fmax(0, io_by_power->low_j - still_j);
    io_by_power->high_j += fmax(0, power->power_max_w * still_s - still_j);
    return true;
}

double wt_series_power_w(const struct wt_series *s)
{
    return s->is_broken ? NAN : last_power_w(s);
}

int64_t wt_series_covered_ns(const struct wt_series *s)
{
    return s->count ? s->knots[s->count - 1].x_ns : INT64_MIN;
}

int64_t wt_series_cover_ns(const struct wt_series *s, int64_t t_ns)
{
    return t_ns - s->traits.shift_ns;
}

void wt_series_gaps(const struct wt_series *s, int64_t from_ns, int64_t to_ns,
                    void (*fn)(void *data, int64_t from_ns, int64_t to_ns, double bound_j,
                               const char *why),
                    void *data)
{
    if (!s->count) {
        fn(data, from_ns, to_ns, bound_j(s, to_ns - from_ns),
           s->is_broken ? s->why : "it was never read");
        return;
    }
    if (s->traits.is_constant)
        return;
    int64_t near_ns = reach_ns(s), by_step_ns = step_ns(s);
    int64_t start_ns = s->knots[0].x_ns, end_ns = s->knots[s->count - 1].x_ns;
    if (start_ns - from_ns > near_ns)
        fn(data, from_ns, start_ns, bound_j(s, start_ns - from_ns),
           "it was not read from the start");
    for (size_t i = find(s, from_ns); i < s->count; i++) {
        if (i == 0)
            continue;
        const struct wt_knot *a = &s->knots[i - 1], *b = &s->knots[i];
        if (a->x_ns >= to_ns)
            break;
        if (b->kind == WT_KNOT_PLAIN)
            continue;
        int64_t lo = a->x_ns > from_ns ? a->x_ns : from_ns;
        int64_t hi = b->x_ns < to_ns ? b->x_ns : to_ns;
        double most_j = bound_j(s, hi - lo);
        if (b->kind == WT_KNOT_UNREAD)
            most_j = fmin(most_j, b->cum_j - a->cum_j);
        fn(data, lo, hi, most_j, b->why);
    }
    bool is_dark = s->is_broken && end_ns < to_ns;
    if (is_long(s, to_ns - end_ns) && !is_dark && !stands_still(s))
        return; /* not read yet */
    if (to_ns - end_ns > (near_ns > by_step_ns ? near_ns : by_step_ns) || is_dark) {
        int64_t lo = end_ns > from_ns ? end_ns : from_ns;
        fn(data, lo, to_ns, bound_j(s, to_ns - lo),
           s->is_broken ? s->why : "the sensor stands still");
    }
}
