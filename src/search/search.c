/* search: which candidate to measure next, and which to take.
 *
 * Along one axis a curve (src/curve) is fitted to what is known; every way the curve may go says
 * what an unmeasured candidate may save below the best that was measured. The candidate with the
 * largest expected saving for the time it takes is measured next, until none promises more than the
 * tolerance. Slow settings are thus measured only where they may win. With several axes it goes
 * along one after the other through the best so far, until no axis promises anything. Of words no
 * curve says anything: all of them are measured.
 *
 * The choice is always a candidate that was measured. Where the 95 % intervals of candidates
 * overlap that of the best, they are tied, and the fastest of them is chosen. The intervals hold
 * the spread of the readings and the constant error of the power sensors; their gain cancels, as
 * all readings are of the same devices. Readings are repeated only where that may change the choice
 * by more than the tolerance, or to confirm it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "curve/curve.h"
#include "search/sweep.h"

#define NOISE_UNKNOWN   0.002
#define NOISE_UNKNOWN_N 2 /* how many degrees of freedom it is worth against repeats */
#define NOISE_GIVEN_N   10
#define TOLERANCE_FEW   0.004 /* a limit of power: a handful of settings */
#define TOLERANCE_MANY  0.002 /* a clock: many, and each near the next */
#define BUDGET_SHARE    0.5   /* of the full sweep's time, for what promises little */
#define PROMISES_MUCH   5     /* times the tolerance */
#define FEW             3     /* so many are measured whatever their time */
#define LIMITS_FEW      9     /* as the published sweeps have: then four are enough */

#define NOTHING_YET 50 /* logarithm of a value that anything is below */

/* Between a nanojoule and the output of the sun in a microsecond: products of such numbers are
 * numbers. */
static bool is_sane(double value)
{
    return value >= 1e-9 && value <= 1e20;
}

struct reading {
    size_t candidate;
    double time_s, energy_j;
    double bound; /* of the energy's logarithm, 95 %; of this reading alone */
};

struct wt_search {
    struct wt_search_options options;
    struct wt_candidate *candidates; /* owned */
    bool *is_dropped;                /* owned */
    size_t count, reference, start;
    struct reading *readings; /* owned */
    size_t reading_count, reading_room;
    size_t axis; /* along which it looked last */
};

/* What the readings of one candidate come to; logarithms. */
struct tally {
    size_t count;
    double log_t, log_e, t_sd, e_sd;
    double bound2;   /* sum of the squares of its readings' bounds */
    double bound_sd; /* what they leave in the mean */
};

/* A sensor's constant error is a larger share of a smaller power: what is left of it in the ratio
 * of two energies, in standard deviations. */
static double offset_sd(const struct wt_search *s, const struct tally *a, const struct tally *b)
{
    return s->options.offset_w / WT_Z95 * fabs(exp(a->log_t - a->log_e) - exp(b->log_t - b->log_e));
}

static bool is_measured(const struct tally *t)
{
    return t->count > 0;
}

/* ---- what is known ---- */

/* *ret_wider: by how much an interval from so few repeats is wider than from many (Student's t). */
static double noise_of(const struct wt_search *s, const struct tally *tallies, bool *ret_is_known,
                       double *ret_wider)
{
    bool is_given = !isnan(s->options.noise);
    double prior = is_given ? s->options.noise : NOISE_UNKNOWN;
    double weight = is_given ? NOISE_GIVEN_N : NOISE_UNKNOWN_N;
    double sum = prior * prior * weight, repeats = 0;
    for (size_t i = 0; i < s->reading_count; i++) {
        const struct reading *r = &s->readings[i];
        const struct tally *t = &tallies[r->candidate];
        if (t->count < 2)
            continue;
        double off_t = log(r->time_s) - t->log_t, off_e = log(r->energy_j) - t->log_e;
        sum += fmax(off_t * off_t, off_e * off_e);
        repeats += 1 - 1 / (double)t->count;
    }
    *ret_is_known = is_given || repeats >= 1;
    *ret_wider = repeats >= 1 ? wt_student_t((size_t)(weight + repeats)) / WT_Z95 : 1;
    return sqrt(sum / (weight + repeats));
}

/* Owned: free(). NULL: no memory. */
static struct tally *tallies_of(const struct wt_search *s, double *ret_noise, bool *ret_is_known)
{
    struct tally *tallies = calloc(s->count, sizeof(*tallies));
    if (!tallies)
        return NULL;
    for (size_t i = 0; i < s->reading_count; i++) {
        struct tally *t = &tallies[s->readings[i].candidate];
        t->count++;
        t->log_t += log(s->readings[i].time_s);
        t->log_e += log(s->readings[i].energy_j);
        t->bound2 += s->readings[i].bound * s->readings[i].bound;
    }
    for (size_t i = 0; i < s->count; i++)
        if (tallies[i].count) {
            tallies[i].log_t /= (double)tallies[i].count;
            tallies[i].log_e /= (double)tallies[i].count;
        }
    double wider;
    *ret_noise = noise_of(s, tallies, ret_is_known, &wider);
    for (size_t i = 0; i < s->count; i++) {
        if (!tallies[i].count)
            continue;
        double n = (double)tallies[i].count;
        tallies[i].t_sd = wider * *ret_noise / sqrt(n);
        tallies[i].bound_sd = sqrt(tallies[i].bound2) / n / WT_Z95;
        tallies[i].e_sd = hypot(tallies[i].t_sd, tallies[i].bound_sd);
    }
    return tallies;
}

/* Logarithm of the goal's value and its standard deviation. */
static double log_value(const struct wt_goal *goal, const struct tally *t, double *ret_sd)
{
    const double step = 1e-4;
    double at = log(wt_goal_value(goal, exp(t->log_t), exp(t->log_e)));
    double by_t = (log(wt_goal_value(goal, exp(t->log_t + step), exp(t->log_e))) - at) / step;
    double by_e = (log(wt_goal_value(goal, exp(t->log_t), exp(t->log_e + step))) - at) / step;
    *ret_sd = hypot(by_t * t->t_sd, by_e * t->e_sd);
    return at;
}

/* By how much a candidate is within the constraints, in logarithms; negative: it is not. */
static double room_of(const struct wt_goal *goal, double log_t, double log_e, double reference_t)
{
    double room = INFINITY;
    if (!isnan(goal->slowdown_max))
        room = log1p(goal->slowdown_max) - (log_t - reference_t);
    if (!isnan(goal->power_max_w))
        room = fmin(room, log(goal->power_max_w) - (log_e - log_t));
    return room;
}

/* The reference is within any slow-down by definition. */
static bool is_admissible(const struct wt_search *s, const struct tally *tallies, size_t i,
                          const struct wt_goal *goal)
{
    return room_of(goal, tallies[i].log_t, tallies[i].log_e, tallies[s->reference].log_t) >= 0;
}

/* The lowest value that was measured and is allowed; where nothing is, the reference. */
static size_t best_of(const struct wt_search *s, const struct tally *tallies,
                      const struct wt_goal *goal)
{
    size_t best = SIZE_MAX;
    double lowest = INFINITY, sd;
    for (size_t i = 0; i < s->count; i++) {
        if (!is_measured(&tallies[i]) || !is_admissible(s, tallies, i, goal))
            continue;
        double value = log_value(goal, &tallies[i], &sd);
        if (value < lowest) {
            lowest = value;
            best = i;
        }
    }
    return best == SIZE_MAX ? s->reference : best;
}

/* ---- a line: the candidates that differ from one along one axis only ---- */

static bool is_on_line(const struct wt_search *s, size_t through, size_t axis, size_t i)
{
    for (size_t a = 0; a < s->options.axis_count; a++)
        if (a != axis && s->candidates[i].values[a] != s->candidates[through].values[a])
            return false;
    return true;
}

static int fit_line(const struct wt_search *s, const struct tally *tallies, size_t through,
                    size_t axis, struct wt_curve **ret_curve, struct wt_error *err)
{
    struct wt_curve_point *points = calloc(s->count, sizeof(*points));
    size_t count = 0;
    if (!points)
        return wt_fail(err, WT_E_NOMEM, "no memory for a search");
    for (size_t i = 0; i < s->count; i++)
        if (is_measured(&tallies[i]) && is_on_line(s, through, axis, i))
            points[count++] =
                (struct wt_curve_point){s->candidates[i].values[axis], exp(tallies[i].log_t),
                                        exp(tallies[i].log_e), tallies[i].t_sd};
    int rc = wt_curve_new(ret_curve, s->options.axes[axis].form, points, count, err);
    free(points);
    return rc;
}

/* ---- what to measure next ---- */

static double bell(double x)
{
    return exp(-x * x / 2) / sqrt(2 * M_PI);
}

static double below(double x)
{
    return erfc(-x / M_SQRT2) / 2;
}

/* Saving that a candidate may bring below `best`, as a share of it, times how likely it is allowed;
 * and the time it takes: of one point a curve may go many ways, in some of which that is for ever,
 * so it is the geometric mean then. */
static double promise(const struct wt_search *s, const struct tally *tallies,
                      const struct wt_curve *curve, double setting, double best,
                      struct wt_curve_way *ways, bool is_one_point, double *ret_time_s)
{
    struct tally rest = {0};
    size_t count = wt_curve_guess(curve, setting, ways, WT_CURVE_WAYS, &rest.t_sd, &rest.e_sd);
    double sum = 0, time_s = 0, log_time = 0, weight = 0;
    double reference_t = tallies[s->reference].log_t;
    for (size_t i = 0; i < count; i++) {
        double sd;
        rest.log_t = ways[i].log_time;
        rest.log_e = ways[i].log_energy;
        double gain = best - log_value(&s->options.goal, &rest, &sd);
        double room = room_of(&s->options.goal, rest.log_t, rest.log_e, reference_t);
        sd = fmax(sd, 1e-6);
        sum += ways[i].weight * (gain * below(gain / sd) + sd * bell(gain / sd)) *
               (isinf(room) ? 1 : below(room / fmax(rest.t_sd, 1e-6)));
        time_s += ways[i].weight * exp(ways[i].log_time);
        log_time += ways[i].weight * ways[i].log_time;
        weight += ways[i].weight;
    }
    *ret_time_s = is_one_point && weight > 0 ? exp(log_time / weight) : time_s;
    return sum;
}

static double tolerance_of(const struct wt_search *s)
{
    if (s->options.tolerance > 0)
        return s->options.tolerance;
    return s->options.axes[0].form == WT_AXIS_POWER ? TOLERANCE_FEW : TOLERANCE_MANY;
}

struct offer {
    size_t candidate;
    double gain, time_s;
};

/* Along words: whichever was not measured. */
static size_t look_along_words(const struct wt_search *s, const struct tally *tallies, size_t best,
                               size_t axis)
{
    for (size_t i = 0; i < s->count; i++)
        if (is_on_line(s, best, axis, i) && !is_measured(&tallies[i]) && !s->is_dropped[i])
            return i;
    return SIZE_MAX;
}

/* The unmeasured candidate on a line that promises most; SIZE_MAX: none promises enough for the
 * time it takes. */
static size_t look_along(const struct wt_search *s, const struct tally *tallies, size_t best,
                         size_t axis)
{
    struct wt_curve *curve = NULL;
    struct wt_curve_way *ways = calloc(WT_CURVE_WAYS, sizeof(*ways));
    struct offer *offers = calloc(s->count, sizeof(*offers));
    size_t count = 0, measured = 0, found = SIZE_MAX;
    double most = 0, sd, reference_s = exp(tallies[s->reference].log_t), spent_s = 0, all_s = 0;
    if (!ways || !offers || fit_line(s, tallies, best, axis, &curve, NULL) < 0)
        goto out;
    bool is_allowed = is_admissible(s, tallies, best, &s->options.goal);
    /* Nothing allowed yet: whatever is, is a gain. */
    double level = is_allowed ? log_value(&s->options.goal, &tallies[best], &sd) : NOTHING_YET;
    for (size_t i = 0; i < s->count; i++)
        measured += is_on_line(s, best, axis, i) && is_measured(&tallies[i]);
    for (size_t i = 0; i < s->count; i++) {
        if (!is_on_line(s, best, axis, i))
            continue;
        if (is_measured(&tallies[i])) {
            spent_s += exp(tallies[i].log_t);
            all_s += exp(tallies[i].log_t);
        } else if (!s->is_dropped[i]) {
            struct offer *o = &offers[count++];
            o->candidate = i;
            o->gain = promise(s, tallies, curve, s->candidates[i].values[axis], level, ways,
                              measured == 1, &o->time_s);
            all_s += o->time_s;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct offer *o = &offers[i];
        double least = tolerance_of(s) * o->time_s / reference_s;
        if (measured >= FEW && !s->options.probes_max && spent_s + o->time_s > BUDGET_SHARE * all_s)
            least *= PROMISES_MUCH;
        if (o->gain > fmax(least, most)) {
            most = o->gain;
            found = o->candidate;
        }
    }
out:
    wt_curve_free(curve);
    free(ways);
    free(offers);
    return found;
}

size_t wt_search_most(const struct wt_search_options *options, size_t count)
{
    size_t most = 0;
    bool is_wide = options->is_confirmed && count > LIMITS_FEW;
    if (options->probes_max)
        return options->probes_max;
    for (size_t a = 0; a < options->axis_count; a++)
        most += (options->axes[a].words                               ? options->axes[a].word_count
                 : options->axes[a].form == WT_AXIS_POWER && !is_wide ? 4u
                                                                      : 6u) -
                (a ? 1u : 0u);
    return most;
}

/* ---- what is chosen ---- */

/* Where a curve goes through what was measured, it lends each candidate what its neighbours say. */
static void smooth(const struct wt_search *s, struct tally *tallies, const struct wt_curve *curve,
                   size_t through, size_t axis)
{
    for (size_t i = 0; i < s->count; i++) {
        struct wt_curve_value v;
        if (!is_measured(&tallies[i]) || !is_on_line(s, through, axis, i) ||
            wt_curve_at(curve, s->candidates[i].values[axis], &v) < 0)
            continue;
        tallies[i].log_t = log(v.time_s.value);
        tallies[i].log_e = log(v.energy_j.value);
        tallies[i].t_sd = log(v.time_s.high / v.time_s.low) / (2 * WT_Z95);
        /* What its sensors are off by no neighbour makes less. */
        tallies[i].e_sd =
            hypot(log(v.energy_j.high / v.energy_j.low) / (2 * WT_Z95), tallies[i].bound_sd);
    }
}

/* A tally with what the sensors' constant error may be beside the reference. */
static struct tally shown(const struct wt_search *s, const struct tally *t,
                          const struct tally *reference)
{
    struct tally wide = *t;
    wide.e_sd = hypot(t->e_sd, offset_sd(s, t, reference));
    return wide;
}

/* Whether the intervals of two overlap, as they are shown. */
static bool is_tied(const struct wt_search *s, const struct wt_goal *goal, const struct tally *a,
                    const struct tally *b, const struct tally *reference)
{
    struct tally shown_a = shown(s, a, reference), shown_b = shown(s, b, reference);
    double sd_a, sd_b;
    double va = log_value(goal, &shown_a, &sd_a), vb = log_value(goal, &shown_b, &sd_b);
    return fabs(va - vb) <= WT_Z95 * (sd_a + sd_b);
}

/* The fastest of those that cannot be told from the best. */
static size_t choice_of(const struct wt_search *s, const struct tally *tallies,
                        const struct wt_goal *goal, size_t *ret_best)
{
    size_t best = best_of(s, tallies, goal), choice = best;
    *ret_best = best;
    if (!is_admissible(s, tallies, best, goal))
        return best;
    for (size_t i = 0; i < s->count; i++)
        if (is_measured(&tallies[i]) && is_admissible(s, tallies, i, goal) &&
            is_tied(s, goal, &tallies[i], &tallies[best], &tallies[s->reference]) &&
            tallies[i].log_t < tallies[choice].log_t)
            choice = i;
    /* Equal in time too, as far as can be told: then the reference, which needs no setting. */
    size_t ref = s->reference;
    if (choice != ref && is_tied(s, goal, &tallies[ref], &tallies[best], &tallies[ref]) &&
        is_admissible(s, tallies, ref, goal) &&
        tallies[ref].log_t - tallies[choice].log_t <
            WT_Z95 * (tallies[ref].t_sd + tallies[choice].t_sd))
        choice = ref;
    return choice;
}

/* ---- repeats ---- */

/* At how many times it was measured. */
static size_t visits_of(const struct wt_search *s, const struct tally *t)
{
    size_t each = s->options.readings_each ? s->options.readings_each : 1;
    return (t->count + each - 1) / each;
}

static bool may_repeat(const struct wt_search *s, const struct tally *tallies, size_t i)
{
    size_t most = s->candidates[i].readings_max;
    return !s->is_dropped[i] && visits_of(s, &tallies[i]) <= s->options.repeats_max &&
           (!most || tallies[i].count < most);
}

static bool needs_confirming(const struct wt_search *s, const struct tally *tallies, size_t i)
{
    return visits_of(s, &tallies[i]) < 2 && may_repeat(s, tallies, i);
}

static size_t fewer_of(const struct wt_search *s, const struct tally *tallies, size_t a, size_t b)
{
    bool may_a = may_repeat(s, tallies, a), may_b = may_repeat(s, tallies, b);
    if (!may_a || !may_b)
        return may_a ? a : may_b ? b : SIZE_MAX;
    return tallies[a].count <= tallies[b].count ? a : b;
}

static size_t repeat_of(const struct wt_search *s, const struct tally *tallies,
                        const char **ret_why)
{
    double sd;
    const struct wt_goal *goal = &s->options.goal;
    size_t best, choice = choice_of(s, tallies, goal, &best);
    if (s->options.is_confirmed) {
        /* First the one that was not measured just now: drift shows only with time between. */
        size_t last = s->readings[s->reading_count - 1].candidate;
        size_t two[2] = {s->reference, choice};
        *ret_why = "to confirm the choice";
        for (int i = 0; i < 2; i++)
            if (two[i] != last && needs_confirming(s, tallies, two[i]))
                return two[i];
        if (choice != last || choice != s->reference)
            for (int i = 0; i < 2; i++)
                if (needs_confirming(s, tallies, two[i]))
                    return two[i];
    }
    *ret_why = "to tell it from another";
    double gain = log_value(goal, &tallies[choice], &sd) - log_value(goal, &tallies[best], &sd);
    return best != choice && gain > tolerance_of(s) ? fewer_of(s, tallies, best, choice) : SIZE_MAX;
}

bool wt_search_next(struct wt_search *search, size_t *ret_candidate, const char **ret_why)
{
    struct wt_search *s = search;
    const char *why = "the reference";
    size_t next = SIZE_MAX, measured = 0;
    double noise;
    bool is_known;
    struct tally *tallies = tallies_of(s, &noise, &is_known);
    if (!tallies)
        return false;
    for (size_t i = 0; i < s->count; i++)
        measured += is_measured(&tallies[i]);
    if (!is_measured(&tallies[s->reference])) {
        next = s->is_dropped[s->reference] ? SIZE_MAX : s->reference;
        goto out;
    }
    if (s->start < s->count && !is_measured(&tallies[s->start]) && !s->is_dropped[s->start]) {
        why = "it was best before";
        next = s->start;
        goto out;
    }
    if (measured < wt_search_most(&s->options, s->count)) {
        size_t best = best_of(s, tallies, &s->options.goal);
        why = "it promises most";
        for (size_t k = 0; next == SIZE_MAX && k < s->options.axis_count; k++) {
            size_t axis = (s->axis + k) % s->options.axis_count;
            next = s->options.axes[axis].words ? look_along_words(s, tallies, best, axis)
                                               : look_along(s, tallies, best, axis);
            if (next != SIZE_MAX)
                s->axis = axis;
        }
    }
    if (next == SIZE_MAX)
        next = repeat_of(s, tallies, &why);
out:
    free(tallies);
    if (ret_why)
        *ret_why = why;
    if (next == SIZE_MAX)
        return false;
    *ret_candidate = next;
    return true;
}

/* ---- being told ---- */

int wt_search_tell(struct wt_search *search, size_t candidate, double time_s, double energy_j,
                   struct wt_error *err)
{
    return wt_search_tell_within(search, candidate, time_s, energy_j, 0, err);
}

int wt_search_tell_within(struct wt_search *search, size_t candidate, double time_s,
                          double energy_j, double bound_j, struct wt_error *err)
{
    struct wt_search *s = search;
    if (candidate >= s->count || !is_sane(time_s) || !is_sane(energy_j))
        return wt_fail(err, WT_E_USAGE,
                       "a reading of %g s and %g J: each must be above 0, and of this world",
                       time_s, energy_j);
    if (!(bound_j >= 0) || !isfinite(bound_j))
        return wt_fail(err, WT_E_USAGE, "a reading that may be off by %g J", bound_j);
    if (s->reading_count == s->reading_room) {
        size_t room = s->reading_room ? 2 * s->reading_room : 16;
        struct reading *more = reallocarray(s->readings, room, sizeof(*more));
        if (!more)
            return wt_fail(err, WT_E_NOMEM, "no memory for a search of %zu readings", room);
        s->readings = more;
        s->reading_room = room;
    }
    s->readings[s->reading_count++] =
        (struct reading){candidate, time_s, energy_j, log1p(bound_j / energy_j)};
    return 0;
}

size_t wt_search_measured(const struct wt_search *search)
{
    size_t count = 0;
    for (size_t i = 0; i < search->reading_count; i++) {
        bool is_new = true;
        for (size_t k = 0; k < i; k++)
            is_new &= search->readings[k].candidate != search->readings[i].candidate;
        count += is_new;
    }
    return count;
}

void wt_search_drop(struct wt_search *search, size_t candidate)
{
    if (candidate < search->count)
        search->is_dropped[candidate] = true;
}

void wt_search_host(struct wt_search *search, double host_w)
{
    search->options.goal.host_w = host_w;
}

void wt_search_start_at(struct wt_search *search, size_t start)
{
    search->start = start;
}

void wt_search_again(struct wt_search *search, size_t start)
{
    search->reading_count = 0;
    search->axis = 0;
    search->start = start;
}

int wt_search_new(struct wt_search **ret_search, const struct wt_search_options *options,
                  const struct wt_candidate *candidates, size_t count, size_t reference,
                  struct wt_error *err)
{
    if (!count || reference >= count || !options->axis_count ||
        options->axis_count > WT_SEARCH_AXES)
        return wt_fail(err, WT_E_USAGE, "a search without a candidate");
    for (size_t i = 0; i < count; i++)
        for (size_t a = 0; a < options->axis_count; a++)
            if (!is_sane(candidates[i].values[a]))
                return wt_fail(err, WT_E_USAGE, "%s=%g: a setting to search must be above 0",
                               options->axes[a].name, candidates[i].values[a]);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            bool is_same = true;
            for (size_t a = 0; a < options->axis_count; a++)
                is_same &= candidates[i].values[a] == candidates[k].values[a];
            if (is_same)
                return wt_fail(err, WT_E_USAGE, "the setting %s=%g is there twice",
                               options->axes[0].name, candidates[i].values[0]);
        }
    struct wt_search *s = calloc(1, sizeof(*s));
    if (s) {
        s->candidates = calloc(count, sizeof(*s->candidates));
        s->is_dropped = calloc(count, sizeof(*s->is_dropped));
    }
    if (!s || !s->candidates || !s->is_dropped) {
        wt_search_free(s);
        return wt_fail(err, WT_E_NOMEM, "no memory for a search of %zu settings", count);
    }
    memcpy(s->candidates, candidates, count * sizeof(*candidates));
    s->options = *options;
    s->count = count;
    s->reference = reference;
    s->start = SIZE_MAX;
    *ret_search = s;
    return 0;
}

void wt_search_free(struct wt_search *search)
{
    if (!search)
        return;
    free(search->candidates);
    free(search->is_dropped);
    free(search->readings);
    free(search);
}

/* ---- the result ---- */

static struct wt_estimate estimate_of(double log_mean, double sd)
{
    return (struct wt_estimate){exp(log_mean), exp(log_mean - WT_Z95 * sd),
                                exp(log_mean + WT_Z95 * sd)};
}

static struct wt_search_point point_of(const struct wt_search *s, size_t i, const struct tally *t,
                                       const struct tally *reference)
{
    const struct wt_goal *goal = &s->options.goal;
    struct tally wide = shown(s, t, reference);
    t = &wide;
    double sd, value = log_value(goal, t, &sd);
    struct wt_search_point p = {.candidate = i,
                                .readings = t->count,
                                .time_s = estimate_of(t->log_t, t->t_sd),
                                .energy_j = estimate_of(t->log_e, t->e_sd),
                                .value = estimate_of(value, sd),
                                .is_admissible =
                                    room_of(goal, t->log_t, t->log_e, reference->log_t) >= 0,
                                .is_reference = i == s->reference,
                                .breakeven_w = NAN};
    memcpy(p.values, s->candidates[i].values, sizeof(p.values));
    double saved_j = exp(reference->log_e) - exp(t->log_e);
    double longer_s = exp(t->log_t) - exp(reference->log_t);
    double unsure = WT_Z95 * hypot(t->e_sd, reference->e_sd);
    double unsure_t = WT_Z95 * hypot(t->t_sd, reference->t_sd);
    if (saved_j > exp(reference->log_e) * unsure && t->log_t - reference->log_t > unsure_t)
        p.breakeven_w = saved_j / longer_s;
    return p;
}

static size_t index_in(const struct wt_search_result *r, size_t candidate)
{
    for (size_t i = 0; i < r->point_count; i++)
        if (r->points[i].candidate == candidate)
            return i;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const struct wt_search_point *x = a, *y = b;
    for (size_t i = 0; i < WT_SEARCH_AXES; i++)
        if (x->values[i] != y->values[i])
            return x->values[i] < y->values[i] ? -1 : 1;
    return 0;
}

static void fill_curve(const struct wt_search *s, const struct tally *tallies,
                       const struct wt_curve *curve, size_t through, size_t axis,
                       struct wt_search_result *r)
{
    for (size_t i = 0; i < s->count; i++) {
        struct wt_curve_value v;
        if (!is_on_line(s, through, axis, i) ||
            wt_curve_at(curve, s->candidates[i].values[axis], &v) < 0)
            continue;
        struct tally t = {.count = tallies[i].count,
                          .log_t = log(v.time_s.value),
                          .log_e = log(v.energy_j.value),
                          .t_sd = log(v.time_s.high / v.time_s.low) / (2 * WT_Z95),
                          .e_sd = log(v.energy_j.high / v.energy_j.low) / (2 * WT_Z95)};
        r->curve[r->curve_count++] = point_of(s, i, &t, &tallies[s->reference]);
    }
    qsort(r->curve, r->curve_count, sizeof(*r->curve), by_value);
}

/* The choice, or the reference where that may be no better: no reason to change anything. */
static size_t choice_told(const struct wt_search *s, const struct tally *tallies,
                          const struct wt_goal *goal, size_t *ret_best)
{
    size_t choice = choice_of(s, tallies, goal, ret_best), ref = s->reference;
    const struct tally c = shown(s, &tallies[choice], &tallies[ref]);
    double sd_c, sd_ref,
        value = log_value(goal, &c, &sd_c) - log_value(goal, &tallies[ref], &sd_ref);
    bool is_better = value + WT_Z95 * hypot(sd_c, sd_ref) < 0;
    return is_better || !is_admissible(s, tallies, ref, goal) ? choice : ref;
}

static void fill(const struct wt_search *s, struct tally *tallies, const struct wt_curve *curve,
                 size_t through, size_t axis, struct wt_search_result *r)
{
    const struct wt_goal *goal = &s->options.goal;
    struct wt_goal alone = *goal;
    alone.host_w = 0;
    /* What was read, in order; a candidate's point stands where it was read first. */
    for (size_t i = 0; i < s->reading_count; i++) {
        size_t c = s->readings[i].candidate;
        r->order[i] = c;
        r->order_time_s[i] = s->readings[i].time_s;
        r->order_energy_j[i] = s->readings[i].energy_j;
        bool is_new = true;
        for (size_t k = 0; k < i; k++)
            is_new &= s->readings[k].candidate != c;
        if (is_new)
            r->points[r->point_count++] = point_of(s, c, &tallies[c], &tallies[s->reference]);
    }
    r->reading_count = s->reading_count;
    size_t best, choice = choice_told(s, tallies, goal, &best), ignored;
    r->best = index_in(r, best);
    r->choice = index_in(r, choice);
    r->reference = index_in(r, s->reference);
    r->choice_gpu_only = index_in(r, choice_told(s, tallies, &alone, &ignored));
    r->points[r->choice].is_choice = true;
    for (size_t i = 0; i < r->point_count; i++) {
        struct wt_search_point *p = &r->points[i];
        p->is_tied =
            p->candidate != best && p->is_admissible &&
            is_tied(s, goal, &tallies[p->candidate], &tallies[best], &tallies[s->reference]);
    }
    const struct tally *ref = &tallies[s->reference];
    const struct tally chosen = shown(s, &tallies[choice], ref), *c = &chosen;
    double sd_c, sd_ref, value = log_value(goal, c, &sd_c) - log_value(goal, ref, &sd_ref);
    bool is_ref = choice == s->reference;
    r->time_ratio = estimate_of(c->log_t - ref->log_t, is_ref ? 0 : hypot(c->t_sd, ref->t_sd));
    r->energy_ratio = estimate_of(c->log_e - ref->log_e, is_ref ? 0 : hypot(c->e_sd, ref->e_sd));
    r->value_ratio = estimate_of(value, is_ref ? 0 : hypot(sd_c, sd_ref));
    r->is_saving_real = !is_ref && r->value_ratio.high < 1;
    if (curve) {
        fill_curve(s, tallies, curve, through, axis, r);
        wt_curve_facts(curve, &r->facts);
    }
}

int wt_search_result(const struct wt_search *search, struct wt_search_result *ret_result,
                     struct wt_error *err)
{
    const struct wt_search *s = search;
    struct wt_search_result r = {
        .axis_count = s->options.axis_count, .goal = s->options.goal, .facts.floor = NAN};
    struct wt_curve *curve = NULL;
    memcpy(r.axes, s->options.axes, sizeof(r.axes));
    struct tally *tallies = tallies_of(s, &r.noise, &r.is_noise_known);
    if (!tallies)
        return wt_fail(err, WT_E_NOMEM, "no memory for a search's result");
    int rc = 0;
    if (!is_measured(&tallies[s->reference]))
        rc = wt_fail(err, WT_E_STATE, "the reference setting was not measured");
    r.points = calloc(s->count, sizeof(*r.points));
    r.curve = calloc(s->count, sizeof(*r.curve));
    r.order = calloc(s->reading_count + 1, sizeof(*r.order));
    r.order_time_s = calloc(s->reading_count + 1, sizeof(*r.order_time_s));
    r.order_energy_j = calloc(s->reading_count + 1, sizeof(*r.order_energy_j));
    if (rc == 0 && (!r.points || !r.curve || !r.order || !r.order_time_s || !r.order_energy_j))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a search's result");
    size_t through = 0;
    if (rc == 0) {
        through = best_of(s, tallies, &s->options.goal);
        if (!s->options.axes[s->axis].words)
            rc = fit_line(s, tallies, through, s->axis, &curve, err);
    }
    if (rc == 0) {
        if (curve)
            smooth(s, tallies, curve, through, s->axis);
        fill(s, tallies, curve, through, s->axis, &r);
        rc = wt_search_warn(&r, s->candidates, s->is_dropped, s->count, err);
    }
    wt_curve_free(curve);
    free(tallies);
    if (rc < 0)
        wt_search_result_done(&r);
    else
        *ret_result = r;
    return rc;
}

void wt_search_result_done(struct wt_search_result *result)
{
    for (size_t i = 0; i < result->warning_count; i++)
        free(result->warnings[i]);
    free(result->warnings);
    free(result->points);
    free(result->curve);
    free(result->order);
    free(result->order_time_s);
    free(result->order_energy_j);
    memset(result, 0, sizeof(*result));
}
