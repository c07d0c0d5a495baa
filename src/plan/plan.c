/* plan: when one job runs. What a second costs changes only where a signal does, so that the least
 * is found exactly: a whole job begins or ends at a change, and one that may be cut for nothing
 * takes the cheapest seconds. What interruptions cost is for segments.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define STEP_S      300 /* of segments: of the clock, so that they begin at round times */
#define STEP_FINE_S 60
#define STEPS_MAX   4000000
#define RATES_MAX   4000000 /* 90 bytes each at most; 456 years of hours */

/* The objective of a kWh of the job: constant from at_s[i] to at_s[i + 1]. */
struct rates {
    size_t count;
    int64_t *at_s;    /* count + 1 */
    double *rate;     /* NaN: not known */
    double *sum;      /* count + 1: of rate times seconds before; not known is 0 */
    int64_t *unknown; /* count + 1: seconds before that are not known */
};

static void rates_done(struct rates *r)
{
    free(r->at_s);
    free(r->rate);
    free(r->sum);
    free(r->unknown);
}

double wt_place_rate(const struct wt_place *place, enum wt_objective objective,
                     size_t io_rows[WT_SIGNAL_KINDS], int64_t t_s, int64_t *ret_until_s)
{
    double rate = 1;
    *ret_until_s = INT64_MAX;
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        bool is_needed = k == WT_SIGNAL_PUE ||
                         (k == WT_SIGNAL_CARBON && objective == WT_OBJECTIVE_CARBON) ||
                         (k == WT_SIGNAL_PRICE && objective == WT_OBJECTIVE_COST);
        double value;
        int64_t until_s;
        if (!is_needed || !place->signals[k])
            continue;
        wt_signal_next(place->signals[k], &io_rows[k], t_s, &value, &until_s);
        rate *= value;
        if (until_s < *ret_until_s)
            *ret_until_s = until_s;
    }
    return rate;
}

static int make_rates(struct rates *r, const struct wt_job *job, const struct wt_place *place,
                      struct wt_error *err)
{
    size_t rows[WT_SIGNAL_KINDS] = {0}, room = 0;
    int64_t t_s = job->start_s;
    for (;;) {
        if (r->count + 2 > room) {
            room = room ? 2 * room : 1024;
            int64_t *at_s = reallocarray(r->at_s, room, sizeof(*at_s));
            r->at_s = at_s ? at_s : r->at_s;
            double *rate = reallocarray(r->rate, room, sizeof(*rate));
            r->rate = rate ? rate : r->rate;
            double *sum = reallocarray(r->sum, room, sizeof(*sum));
            r->sum = sum ? sum : r->sum;
            int64_t *unknown = reallocarray(r->unknown, room, sizeof(*unknown));
            r->unknown = unknown ? unknown : r->unknown;
            if (!at_s || !rate || !sum || !unknown)
                return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
            if (!r->count) {
                r->sum[0] = 0;
                r->unknown[0] = 0;
            }
        }
        r->at_s[r->count] = t_s;
        if (t_s >= job->deadline_s)
            return 0;
        if (r->count == RATES_MAX) {
            wt_fail(err, WT_E_RANGE, "the signals change more than %d times before the deadline",
                    RATES_MAX);
            wt_fix(err, "an earlier --deadline");
            return WT_E_RANGE;
        }
        int64_t until_s;
        double rate = wt_place_rate(place, job->objective, rows, t_s, &until_s);
        if (until_s > job->deadline_s)
            until_s = job->deadline_s;
        size_t i = r->count++;
        bool is_known = !isnan(rate);
        r->rate[i] = rate;
        r->sum[i + 1] = r->sum[i] + (is_known ? rate * (double)(until_s - t_s) : 0);
        r->unknown[i + 1] = r->unknown[i] + (is_known ? 0 : until_s - t_s);
        t_s = until_s;
    }
}

/* Cost of the time before t_s, and how much of it is not known. *io_row rises with t_s. */
static double before(const struct rates *r, size_t *io_row, int64_t t_s, int64_t *ret_unknown_s)
{
    size_t i = *io_row;
    while (i + 1 < r->count && r->at_s[i + 1] <= t_s)
        i++;
    *io_row = i;
    bool is_known = !isnan(r->rate[i]);
    *ret_unknown_s = r->unknown[i] + (is_known ? 0 : t_s - r->at_s[i]);
    return r->sum[i] + (is_known ? r->rate[i] * (double)(t_s - r->at_s[i]) : 0);
}

static bool is_less(double a, double b)
{
    return isinf(b) ? a < b : a < b - 1e-12 * fabs(b);
}

struct found {
    double cost; /* rate times seconds; INFINITY: none */
    struct wt_segment *segments;
    size_t count;
};

/* The whole job in one piece: its start or its end is a change of rate, or the window's. */
static int find_whole(const struct rates *r, const struct wt_job *job, struct found *ret_found,
                      struct wt_error *err)
{
    double best = INFINITY;
    int64_t best_s = 0;
    for (int side = 0; side < 2; side++) {
        size_t from = 0, to = 0;
        for (size_t i = 0; i <= r->count; i++) {
            int64_t start_s = r->at_s[i] - (side ? job->duration_s : 0), unknown[2];
            if (start_s < job->start_s || start_s + job->duration_s > job->deadline_s)
                continue;
            double cost = -before(r, &from, start_s, &unknown[0]);
            cost += before(r, &to, start_s + job->duration_s, &unknown[1]);
            if (unknown[0] == unknown[1] &&
                (is_less(cost, best) || (start_s < best_s && !is_less(best, cost)))) {
                best = cost;
                best_s = start_s;
            }
        }
    }
    *ret_found = (struct found){.cost = best};
    if (isinf(best))
        return 0;
    ret_found->segments = calloc(1, sizeof(*ret_found->segments));
    if (!ret_found->segments)
        return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    ret_found->segments[0] = (struct wt_segment){best_s, best_s + job->duration_s};
    ret_found->count = 1;
    return 0;
}

/* Rate times seconds of segments, which lie in the window and in order. Added up piece by piece:
 * the difference of two sums has lost digits. */
static double cost_of(const struct rates *r, const struct wt_segment *s, size_t count)
{
    double cost = 0;
    size_t row = 0;
    for (size_t i = 0; i < count; i++)
        for (int64_t t_s = s[i].start_s; t_s < s[i].end_s;) {
            while (r->at_s[row + 1] <= t_s)
                row++;
            int64_t until_s = r->at_s[row + 1] < s[i].end_s ? r->at_s[row + 1] : s[i].end_s;
            cost += r->rate[row] * (double)(until_s - t_s);
            t_s = until_s;
        }
    return cost;
}

struct piece {
    double rate;
    int64_t span_s;
};

/* The highest rate that is needed when the cheapest seconds are taken. Reorders the pieces. */
static double dearest_of(struct piece *p, size_t count, int64_t need_s)
{
    size_t low = 0, high = count;
    while (high - low > 1) {
        double a = p[low].rate, b = p[low + (high - low) / 2].rate, c = p[high - 1].rate;
        double pivot = fmax(fmin(a, b), fmin(fmax(a, b), c));
        size_t less = low, i = low, more = high; /* [low, less) < pivot, [more, high) > pivot */
        int64_t less_s = 0, equal_s = 0;
        while (i < more) {
            struct piece swap = p[i];
            if (swap.rate < pivot) {
                less_s += swap.span_s;
                p[i++] = p[less];
                p[less++] = swap;
            } else if (swap.rate > pivot) {
                p[i] = p[--more];
                p[more] = swap;
            } else {
                equal_s += swap.span_s;
                i++;
            }
        }
        if (need_s <= less_s) {
            high = less;
        } else if (need_s <= less_s + equal_s) {
            return pivot;
        } else {
            need_s -= less_s + equal_s;
            low = more;
        }
    }
    return p[low].rate;
}

/* A time at the dearest rate that is needed, of which not all is: as long as it lasts. */
struct spare {
    struct wt_segment span;
    bool has_earlier, has_later; /* cheaper seconds right before it, right after it */
};

static int64_t span_of(const struct wt_segment *s)
{
    return s->end_s - s->start_s;
}

/* In which order spares are taken for the fewest pieces: those that join two, of them the shortest
 * first; those beside one; those apart, each a piece more, the longest first. Of equals the
 * earliest. */
static int by_joints(const void *a, const void *b)
{
    const struct spare *x = a, *y = b;
    int joints[] = {x->has_earlier + x->has_later, y->has_earlier + y->has_later};
    int64_t more_s = span_of(&x->span) - span_of(&y->span);
    if (joints[0] != joints[1])
        return joints[1] - joints[0];
    if (joints[0] != 1 && more_s)
        return (more_s < 0) == (joints[0] == 2) ? -1 : 1;
    return x->span.start_s < y->span.start_s ? -1 : 1;
}

static int by_start(const void *a, const void *b)
{
    const struct wt_segment *x = a, *y = b;
    return x->start_s < y->start_s ? -1 : x->start_s > y->start_s;
}

/* Takes so many seconds of the spares: adds segments to s, in any order. */
static size_t take_spares(struct spare *spares, size_t count, int64_t left_s, struct wt_segment *s)
{
    size_t taken = 0;
    qsort(spares, count, sizeof(*spares), by_joints);
    for (size_t i = 0; i < count && left_s > 0; i++) {
        struct spare at = spares[i];
        bool is_apart = !at.has_earlier && !at.has_later;
        /* One apart that holds all that is left is the last one: then the earliest such. */
        for (size_t k = i + 1; is_apart && k < count && span_of(&spares[k].span) >= left_s; k++)
            if (spares[k].span.start_s < at.span.start_s)
                at = spares[k];
        if (span_of(&at.span) > left_s && at.has_later && !at.has_earlier)
            at.span.start_s = at.span.end_s - left_s;
        else if (span_of(&at.span) > left_s)
            at.span.end_s = at.span.start_s + left_s;
        left_s -= span_of(&at.span);
        s[taken++] = at.span;
    }
    return taken;
}

/* Those that touch made one. */
static size_t join(struct wt_segment *s, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (kept && s[kept - 1].end_s == s[i].start_s)
            s[kept - 1].end_s = s[i].end_s;
        else
            s[kept++] = s[i];
    return kept;
}

/* The cheapest seconds: all that are below the dearest rate needed, and at that rate those that
 * make the fewest pieces. */
static int find_free(const struct rates *r, const struct wt_job *job, struct found *ret_found,
                     struct wt_error *err)
{
    struct piece *pieces = calloc(r->count, sizeof(*pieces));
    struct spare *spares = calloc(r->count, sizeof(*spares));
    struct wt_segment *s = calloc(r->count, sizeof(*s));
    size_t known = 0, count = 0, spare_count = 0;
    int64_t known_s = 0, left_s = job->duration_s;
    int rc = pieces && spares && s ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    *ret_found = (struct found){.cost = INFINITY};
    for (size_t i = 0; rc == 0 && i < r->count; i++)
        if (!isnan(r->rate[i])) {
            pieces[known++] = (struct piece){r->rate[i], r->at_s[i + 1] - r->at_s[i]};
            known_s += pieces[known - 1].span_s;
        }
    if (rc < 0 || known_s < job->duration_s)
        goto out;
    double dearest = dearest_of(pieces, known, job->duration_s);
    for (size_t i = 0; i < r->count; i++) {
        struct wt_segment span = {r->at_s[i], r->at_s[i + 1]};
        if (!(r->rate[i] <= dearest))
            continue;
        if (r->rate[i] < dearest) {
            left_s -= span_of(&span);
            s[count++] = span;
            continue;
        }
        if (!spare_count || spares[spare_count - 1].span.end_s != span.start_s)
            spares[spare_count++] =
                (struct spare){.span = span, .has_earlier = i && r->rate[i - 1] < dearest};
        spares[spare_count - 1].span.end_s = span.end_s;
        spares[spare_count - 1].has_later = i + 1 < r->count && r->rate[i + 1] < dearest;
    }
    count = join(s, count);
    count += take_spares(spares, spare_count, left_s, &s[count]);
    qsort(s, count, sizeof(*s), by_start);
    count = join(s, count);
    *ret_found = (struct found){cost_of(r, s, count), s, count};
    s = NULL;
out:
    free(pieces);
    free(spares);
    free(s);
    return rc;
}

static int64_t round_up(int64_t value, int64_t step)
{
    return (value + step - 1) / step * step;
}

/* Segments on whole steps of the clock. Replaces what was found where that costs more. */
static int find_segments(const struct rates *r, const struct wt_job *job, struct found *io_found,
                         struct wt_error *err)
{
    int64_t step_s =
        job->duration_s % STEP_S || job->checkpoint_s % STEP_S || job->segment_min_s % STEP_S
            ? STEP_FINE_S
            : STEP_S;
    int64_t first_s = -wt_floor_div(-job->start_s, step_s) * step_s;
    int64_t steps = wt_floor_div(job->deadline_s - first_s, step_s), work_s;
    if (steps > STEPS_MAX) {
        wt_fail(err, WT_E_RANGE, "a plan of %lld steps of %lld s", (long long)steps,
                (long long)step_s);
        wt_fix(err, "an earlier --deadline, or durations in multiples of 5 minutes");
        return WT_E_RANGE;
    }
    work_s = round_up(job->duration_s, step_s);
    if (steps < work_s / step_s)
        return 0;
    double *cost = calloc((size_t)steps, sizeof(*cost));
    if (!cost)
        return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    size_t row = 0;
    int64_t unknown_s, unknown_before_s;
    double sum_before = before(r, &row, first_s, &unknown_before_s);
    for (int64_t i = 0; i < steps; i++) {
        size_t begin = row;
        double sum = before(r, &row, first_s + (i + 1) * step_s, &unknown_s);
        /* A step within one span by its rate: the difference of two sums has lost digits. */
        bool is_one = r->at_s[begin + 1] >= first_s + (i + 1) * step_s;
        cost[i] = unknown_s > unknown_before_s ? INFINITY
                  : is_one                     ? r->rate[begin] * (double)step_s
                                               : sum - sum_before;
        sum_before = sum;
        unknown_before_s = unknown_s;
    }
    struct wt_segment *segments;
    size_t count;
    /* For less than rounding nothing is interrupted. */
    double best = io_found->cost;
    if (!isinf(best))
        best -= 1e-12 * fabs(best);
    int rc = wt_segments_find(cost, (size_t)steps, (size_t)(work_s / step_s),
                              (size_t)(round_up(job->checkpoint_s, step_s) / step_s),
                              (size_t)(round_up(job->segment_min_s, step_s) / step_s), &best,
                              &segments, &count, err);
    free(cost);
    if (rc < 0 || !count)
        return rc;
    /* What rounding up to whole steps was too much is cut from the ends, the last first: under a
     * step for the work and each checkpoint, as far as segments keep their length. */
    int64_t total_s = 0;
    for (size_t i = 0; i < count; i++) {
        segments[i].start_s = first_s + segments[i].start_s * step_s;
        segments[i].end_s = first_s + segments[i].end_s * step_s;
        total_s += segments[i].end_s - segments[i].start_s;
    }
    int64_t over_s = total_s - job->duration_s - (int64_t)(count - 1) * job->checkpoint_s;
    int64_t least_s =
        job->segment_min_s > job->checkpoint_s ? job->segment_min_s : job->checkpoint_s + 1;
    for (size_t i = count; i-- > 0 && over_s > 0;) {
        int64_t spare_s = segments[i].end_s - segments[i].start_s - least_s;
        int64_t cut_s = spare_s < over_s ? spare_s : over_s;
        segments[i].end_s -= cut_s > 0 ? cut_s : 0;
        over_s -= cut_s > 0 ? cut_s : 0;
    }
    /* At a negative price what was cut had been earned: one piece may be cheaper after all. */
    best = cost_of(r, segments, count);
    if (io_found->count && !is_less(best, cost_of(r, io_found->segments, io_found->count))) {
        free(segments);
        return 0;
    }
    free(io_found->segments);
    *io_found = (struct found){best, segments, count};
    return 0;
}

/* ---- what a plan takes ---- */

struct wt_plan_sum wt_plan_value(const struct wt_segment *segments, size_t count, double power_w,
                                 const struct wt_place *place)
{
    struct wt_plan_sum sum = {0};
    size_t rows[WT_SIGNAL_KINDS] = {0};
    double pue_s = 0, carbon_s = 0, price_s = 0, forecast_s = 0;
    for (size_t i = 0; i < count; i++) {
        sum.run_s += segments[i].end_s - segments[i].start_s;
        for (int64_t t_s = segments[i].start_s; t_s < segments[i].end_s;) {
            double values[WT_SIGNAL_KINDS];
            int64_t next_s = segments[i].end_s;
            bool is_forecast = false;
            for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
                int64_t until_s;
                values[k] = NAN;
                if (!place->signals[k])
                    continue;
                is_forecast |= wt_signal_next(place->signals[k], &rows[k], t_s, &values[k],
                                              &until_s) == WT_SIGNAL_FORECAST;
                if (until_s < next_s)
                    next_s = until_s;
            }
            double span = (double)(next_s - t_s);
            double pue = place->signals[WT_SIGNAL_PUE] ? values[WT_SIGNAL_PUE] : 1;
            pue_s += values[WT_SIGNAL_PUE] * span;
            carbon_s += pue * values[WT_SIGNAL_CARBON] * span;
            price_s += pue * values[WT_SIGNAL_PRICE] * span;
            forecast_s += is_forecast ? span : 0;
            t_s = next_s;
        }
    }
    if (count) {
        sum.start_s = segments[0].start_s;
        sum.end_s = segments[count - 1].end_s;
    }
    double kwh_each = power_w / 3.6e6; /* of a second */
    sum.energy_kwh = (double)sum.run_s * kwh_each;
    sum.facility_kwh = pue_s * kwh_each;
    sum.carbon_g = carbon_s * kwh_each;
    sum.cost = price_s * kwh_each;
    sum.forecast_share = sum.run_s ? forecast_s / (double)sum.run_s : 0;
    return sum;
}

double wt_plan_objective(const struct wt_plan_sum *sum, enum wt_objective objective)
{
    return objective == WT_OBJECTIVE_CARBON ? sum->carbon_g
           : objective == WT_OBJECTIVE_COST ? sum->cost
                                            : sum->facility_kwh;
}

static int check(const struct wt_job *job, const struct wt_place *place, struct wt_error *err)
{
    static const struct {
        enum wt_objective objective;
        enum wt_signal_kind kind;
    } needs[] = {{WT_OBJECTIVE_ENERGY, WT_SIGNAL_PUE},
                 {WT_OBJECTIVE_CARBON, WT_SIGNAL_CARBON},
                 {WT_OBJECTIVE_COST, WT_SIGNAL_PRICE}};
    size_t i = 0;
    while (i < WT_COUNTOF(needs) && needs[i].objective != job->objective)
        i++;
    if (i == WT_COUNTOF(needs))
        return wt_fail(err, WT_E_USAGE, "a plan is for energy, carbon or cost, not %s",
                       wt_objective_name(job->objective));
    if (!place->signals[needs[i].kind]) {
        wt_fail(err, WT_E_USAGE, "the least %s: there is no signal of %s%s%s",
                wt_objective_name(job->objective), wt_signal_kind_name(needs[i].kind),
                *place->region ? " for " : "", place->region);
        wt_fix(err, "--signal %s%s%s=FILE", wt_signal_kind_name(needs[i].kind),
               *place->region ? "@" : "", place->region);
        return WT_E_USAGE;
    }
    if (!(job->power_w > 0) || !isfinite(job->power_w) || job->duration_s <= 0 ||
        job->checkpoint_s < 0 || job->segment_min_s < 0)
        return wt_fail(err, WT_E_USAGE, "a job needs a power and a duration above 0");
    char buf[2][48];
    if (job->deadline_s <= job->start_s)
        return wt_fail(err, WT_E_RANGE, "the deadline %s is not after the start %s",
                       wt_moment_text(buf[0], sizeof(buf[0]), job->deadline_s),
                       wt_moment_text(buf[1], sizeof(buf[1]), job->start_s));
    if (job->deadline_s - job->start_s < job->duration_s)
        return wt_fail(err, WT_E_RANGE, "a job of %s does not fit into the %s before the deadline",
                       wt_span_text(buf[0], sizeof(buf[0]), job->duration_s),
                       wt_span_text(buf[1], sizeof(buf[1]), job->deadline_s - job->start_s));
    return 0;
}

int wt_plan_make(struct wt_plan *ret_plan, const struct wt_job *job, const struct wt_place *place,
                 struct wt_error *err)
{
    struct rates r = {0};
    struct found found = {.cost = INFINITY};
    struct wt_segment now = {job->start_s, job->start_s + job->duration_s};
    struct wt_plan plan = {.saving = NAN};
    int rc = check(job, place, err);
    if (rc == 0)
        rc = make_rates(&r, job, place, err);
    bool is_free = job->is_interruptible && !job->checkpoint_s && !job->segment_min_s;
    if (rc == 0)
        rc = is_free ? find_free(&r, job, &found, err) : find_whole(&r, job, &found, err);
    if (rc == 0 && job->is_interruptible && !is_free)
        rc = find_segments(&r, job, &found, err);
    if (rc == 0 && isinf(found.cost)) {
        char from[32], to[32];
        wt_fail(err, WT_E_RANGE,
                "%s%sbetween %s and %s the signals are not known for as long as the "
                "job takes",
                place->region, *place->region ? ": " : "",
                wt_moment_text(from, sizeof(from), job->start_s),
                wt_moment_text(to, sizeof(to), job->deadline_s));
        wt_fix(err, "files that hold those times, or another --start");
        rc = WT_E_RANGE;
    }
    if (rc == 0) {
        plan.segments = found.segments;
        plan.count = found.count;
        found.segments = NULL;
        plan.sum = wt_plan_value(plan.segments, plan.count, job->power_w, place);
        plan.baseline = wt_plan_value(&now, 1, job->power_w, place);
        double base = wt_plan_objective(&plan.baseline, job->objective);
        if (fabs(base) > 0)
            plan.saving = (base - wt_plan_objective(&plan.sum, job->objective)) / fabs(base);
        *ret_plan = plan;
    }
    free(found.segments);
    rates_done(&r);
    return rc;
}

void wt_plan_done(struct wt_plan *plan)
{
    free(plan->segments);
    memset(plan, 0, sizeof(*plan));
}
