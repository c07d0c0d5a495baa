/* curve: time and power of one load against a cap or a clock, from few probes.
 *
 * The form. A GPU at clock x (1: its highest under this load) has voltage V(x) = max(vmin, a + (1 -
 * a) x), the load takes 1 / speed(x) of its time, 1 / speed = m + (1 - m) / x, where m is the share
 * that does not depend on the clock (memory, launches), and draws
 *     p(x) = s + (1 - s) speed(x) V(x)^2        of its power at x = 1.
 * At vmin the law is a straight line with an offset s: from there on a lower clock saves nothing
 * but still takes longer, which is the floor below which a cap costs energy. A cap c below the
 * load's power q brings the mean to (q^-n + c^-n)^(-1/n): power within a step goes up and down, the
 * cap takes off the peaks first, and n says how sharply.
 *
 * The fit. (s, vmin, a, m) and n are not solved for but tried on a grid that spans what GPUs do;
 * each combination, a way the curve may go, weighs as much as it agrees with the probes. What is
 * left of the probes goes into a Gaussian process with a short reach and no smoothness (a card may
 * change its memory clock or voltage between two settings), so that the curve passes through them
 * as closely as their noise allows. No number here was fitted to one card; the form
 * and the span of s, a and vmin are those of the measured V100 and A40 curves
 * (docs/measured.md, "The curve"), widened. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "curve/curve.h"

#define POINTS_MAX 64
#define FORM_SD    0.03 /* how far a form may be off a real curve, relative */
#define REST_SD    0.03 /* of what a form leaves */
#define REST_REACH 0.2  /* of it, in the logarithm of the setting */
#define FREE_SD    0.5  /* the same where there is no form */
#define FREE_REACH 0.7
#define Z95        1.96

struct shape {
    double s, vmin, a, m;
};

/* One way: a shape and how the setting meets it. */
struct way {
    struct shape shape;
    double knee; /* POWER: n; CLOCK: the share of the highest setting above which nothing changes */
    double full_w;           /* POWER: q */
    double level_t, level_p; /* logarithms of time and power at x = 1, by all probes */
    double weight;
};

struct wt_curve {
    enum wt_axis axis;
    struct wt_curve_point points[POINTS_MAX]; /* one a setting, repeats brought together; rising */
    size_t count;
    struct way *ways; /* owned; the heaviest first */
    size_t way_count;
    double sd, reach;
    double chol[POINTS_MAX][POINTS_MAX]; /* of the residual's covariance with the noise */
    double *rests; /* owned; for each way and point what the way leaves of time, then of power */
};

/* ---- the form ---- */

static double volts(const struct shape *h, double x)
{
    return fmax(h->vmin, h->a + (1 - h->a) * x);
}

static double speed(const struct shape *h, double x)
{
    return 1 / (h->m + (1 - h->m) / x);
}

static double power(const struct shape *h, double x)
{
    double v = volts(h, x);
    return h->s + (1 - h->s) * speed(h, x) * v * v;
}

/* The clock at which the load draws this share of its full power; the form rises with x. */
static double clock_of(const struct shape *h, double share)
{
    double low = 0.02, high = 1;
    if (share >= 1)
        return 1;
    for (int i = 0; i < 24; i++) {
        double x = (low + high) / 2;
        if (power(h, x) < share)
            low = x;
        else
            high = x;
    }
    return (low + high) / 2;
}

/* Logarithms of time and power by a way, up to its levels. */
static void say(const struct wt_curve *curve, const struct way *w, double setting, double *ret_t,
                double *ret_p)
{
    double x = 1;
    *ret_t = *ret_p = 0;
    switch (curve->axis) {
    case WT_AXIS_POWER: {
        double share = pow(1 + pow(w->full_w / setting, w->knee), -1 / w->knee);
        x = clock_of(&w->shape, share);
        break;
    }
    case WT_AXIS_CLOCK: {
        double top = curve->points[curve->count - 1].setting * w->knee;
        x = fmin(1, setting / top);
        break;
    }
    case WT_AXIS_OTHER:
        return;
    }
    *ret_t = -log(speed(&w->shape, x));
    *ret_p = log(power(&w->shape, x));
}

/* ---- the ways there are ---- */

static const double statics[] = {0.05, 0.1, 0.15, 0.22, 0.3, 0.4, 0.55, 0.75};
static const double floors[] = {0.6, 0.7, 0.78, 0.85, 0.92};
static const double slopes[] = {-2, -1.2, -0.6, -0.1, 0.3};
static const double memories[] = {0, 0.15, 0.35, 0.6, 0.85};
static const double knees[] = {5, 8, 14, 30};
static const double clock_knees[] = {1, 0.95, 0.9, 0.82, 0.72, 0.6};

/* The load's power without a cap, from what it draws at the highest one. */
static double full_power(double cap, double mean, double n)
{
    double share = fmin(mean / cap, 0.97); /* above: it is held back, by how much is not known */
    return cap * pow(pow(share, -n) - 1, -1 / n);
}

static int make_ways(struct wt_curve *curve)
{
    const double *knee_list = curve->axis == WT_AXIS_POWER ? knees : clock_knees;
    size_t knee_count = curve->axis == WT_AXIS_POWER ? WT_COUNTOF(knees) : WT_COUNTOF(clock_knees);
    size_t room = WT_COUNTOF(statics) * WT_COUNTOF(floors) * WT_COUNTOF(slopes) *
                  WT_COUNTOF(memories) * knee_count;
    const struct wt_curve_point *top = &curve->points[curve->count - 1];
    if (curve->axis == WT_AXIS_OTHER)
        room = 1;
    curve->ways = calloc(room, sizeof(*curve->ways));
    if (!curve->ways)
        return WT_E_NOMEM;
    if (curve->axis == WT_AXIS_OTHER) {
        curve->way_count = 1;
        return 0;
    }
    for (size_t i = 0; i < room; i++) {
        struct way *w = &curve->ways[i];
        size_t k = i;
        w->shape.s = statics[k % WT_COUNTOF(statics)];
        k /= WT_COUNTOF(statics);
        w->shape.vmin = floors[k % WT_COUNTOF(floors)];
        k /= WT_COUNTOF(floors);
        w->shape.a = slopes[k % WT_COUNTOF(slopes)];
        k /= WT_COUNTOF(slopes);
        w->shape.m = memories[k % WT_COUNTOF(memories)];
        k /= WT_COUNTOF(memories);
        w->knee = knee_list[k];
        if (curve->axis == WT_AXIS_POWER)
            w->full_w = full_power(top->setting, top->energy_j / top->time_s, w->knee);
    }
    curve->way_count = room;
    return 0;
}

static int by_weight(const void *a, const void *b)
{
    const struct way *x = a, *y = b;
    return (x->weight < y->weight) - (x->weight > y->weight);
}

/* Weighs each way by the probes. Its levels are those that suit the probes best; what it says of
 * their differences is held against them. */
static void weigh(struct wt_curve *curve)
{
    double best = INFINITY, sum = 0;
    for (size_t i = 0; i < curve->way_count; i++) {
        struct way *w = &curve->ways[i];
        double t[POINTS_MAX] = {0}, p[POINTS_MAX] = {0}, precision = 0, mean_t = 0, mean_p = 0,
               off = 0;
        for (size_t k = 0; k < curve->count; k++) {
            const struct wt_curve_point *point = &curve->points[k];
            double weight = 1 / (FORM_SD * FORM_SD + point->noise * point->noise);
            say(curve, w, point->setting, &t[k], &p[k]);
            t[k] = log(point->time_s) - t[k];
            p[k] = log(point->energy_j / point->time_s) - p[k];
            mean_t += weight * t[k];
            mean_p += weight * p[k];
            precision += weight;
        }
        w->level_t = mean_t / precision;
        w->level_p = mean_p / precision;
        for (size_t k = 0; k < curve->count; k++) {
            double noise = curve->points[k].noise, weight = 1 / (FORM_SD * FORM_SD + noise * noise);
            off += weight * ((t[k] - w->level_t) * (t[k] - w->level_t) +
                             (p[k] - w->level_p) * (p[k] - w->level_p));
        }
        w->weight = off;
        best = fmin(best, off);
    }
    for (size_t i = 0; i < curve->way_count; i++) {
        struct way *w = &curve->ways[i];
        w->weight = exp(-(w->weight - best) / 2);
        sum += w->weight;
    }
    for (size_t i = 0; i < curve->way_count; i++)
        curve->ways[i].weight /= sum;
    qsort(curve->ways, curve->way_count, sizeof(*curve->ways), by_weight);
    /* The tail changes nothing and costs time. */
    size_t keep = 0;
    for (sum = 0; keep < curve->way_count && keep < WT_CURVE_WAYS && sum < 0.999; keep++)
        sum += curve->ways[keep].weight;
    curve->way_count = keep;
    for (size_t i = 0; i < keep; i++)
        curve->ways[i].weight /= sum;
}

/* ---- what the ways leave ---- */

/* What a way leaves of a point: time, then power. */
static double *rest_of(const struct wt_curve *curve, size_t way, size_t point)
{
    return &curve->rests[(way * curve->count + point) * 2];
}

static double likeness(const struct wt_curve *curve, double a, double b)
{
    double apart = (log(a) - log(b)) / curve->reach;
    return curve->sd * curve->sd * exp(-fabs(apart));
}

/* Solves (L L') y = b in place, L the Cholesky factor of the points' covariance. */
static void solve(const struct wt_curve *curve, double *b)
{
    for (size_t i = 0; i < curve->count; i++) {
        for (size_t k = 0; k < i; k++)
            b[i] -= curve->chol[i][k] * b[k];
        b[i] /= curve->chol[i][i];
    }
    for (size_t i = curve->count; i-- > 0;) {
        for (size_t k = i + 1; k < curve->count; k++)
            b[i] -= curve->chol[k][i] * b[k];
        b[i] /= curve->chol[i][i];
    }
}

static int fit_rests(struct wt_curve *curve)
{
    curve->rests = calloc(curve->way_count * curve->count, 2 * sizeof(*curve->rests));
    if (!curve->rests)
        return WT_E_NOMEM;
    for (size_t i = 0; i < curve->count; i++) {
        const struct wt_curve_point *point = &curve->points[i];
        for (size_t k = 0; k <= i; k++) {
            double sum = likeness(curve, point->setting, curve->points[k].setting);
            if (i == k)
                sum += point->noise * point->noise;
            for (size_t j = 0; j < k; j++)
                sum -= curve->chol[i][j] * curve->chol[k][j];
            curve->chol[i][k] = i == k ? sqrt(fmax(sum, 1e-12)) : sum / curve->chol[k][k];
        }
        for (size_t w = 0; w < curve->way_count; w++) {
            double t, p, *rest = rest_of(curve, w, i);
            say(curve, &curve->ways[w], point->setting, &t, &p);
            rest[0] = log(point->time_s) - t - curve->ways[w].level_t;
            rest[1] = log(point->energy_j / point->time_s) - p - curve->ways[w].level_p;
        }
    }
    return 0;
}

/* How much of each point's residual is left at a setting. Returns the variance there. */
static double reach_of(const struct wt_curve *curve, double setting, double *ret_parts)
{
    double variance = curve->sd * curve->sd;
    for (size_t i = 0; i < curve->count; i++)
        ret_parts[i] = likeness(curve, setting, curve->points[i].setting);
    solve(curve, ret_parts);
    for (size_t i = 0; i < curve->count; i++)
        variance -= ret_parts[i] * likeness(curve, setting, curve->points[i].setting);
    return fmax(variance, 0);
}

/* ---- the whole ---- */

static int by_setting(const void *a, const void *b)
{
    const struct wt_curve_point *x = a, *y = b;
    return (x->setting > y->setting) - (x->setting < y->setting);
}

/* Repeats of a setting become one point, each weighed by its noise. */
static int take_points(struct wt_curve *curve, const struct wt_curve_point *points, size_t count,
                       struct wt_error *err)
{
    if (!count)
        return wt_fail(err, WT_E_USAGE, "a curve without a probe");
    struct wt_curve_point *sorted = malloc(count * sizeof(*sorted));
    if (!sorted)
        return wt_fail(err, WT_E_NOMEM, "no memory for a curve of %zu probes", count);
    memcpy(sorted, points, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_setting);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count;) {
        double weight = 0, log_t = 0, log_e = 0;
        size_t k = i;
        for (; k < count && sorted[k].setting <= sorted[i].setting; k++) {
            const struct wt_curve_point *p = &sorted[k];
            if (!(p->setting > 0 && p->time_s > 0 && p->energy_j > 0 && p->noise > 0) ||
                !isfinite(p->setting + p->time_s + p->energy_j + p->noise)) {
                rc =
                    wt_fail(err, WT_E_USAGE, "a probe of %g s and %g J at %g: each must be above 0",
                            p->time_s, p->energy_j, p->setting);
                break;
            }
            double w = 1 / (p->noise * p->noise);
            weight += w;
            log_t += w * log(p->time_s);
            log_e += w * log(p->energy_j);
        }
        if (rc == 0 && curve->count == POINTS_MAX)
            rc = wt_fail(err, WT_E_USAGE, "a curve of more than %d settings", POINTS_MAX);
        if (rc == 0)
            curve->points[curve->count++] = (struct wt_curve_point){.setting = sorted[i].setting,
                                                                    .time_s = exp(log_t / weight),
                                                                    .energy_j = exp(log_e / weight),
                                                                    .noise = 1 / sqrt(weight)};
        i = k;
    }
    free(sorted);
    return rc;
}

int wt_curve_new(struct wt_curve **ret_curve, enum wt_axis axis,
                 const struct wt_curve_point *points, size_t count, struct wt_error *err)
{
    struct wt_curve *curve = calloc(1, sizeof(*curve));
    if (!curve)
        return wt_fail(err, WT_E_NOMEM, "no memory for a curve");
    curve->axis = axis;
    curve->sd = axis == WT_AXIS_OTHER ? FREE_SD : REST_SD;
    curve->reach = axis == WT_AXIS_OTHER ? FREE_REACH : REST_REACH;
    int rc = take_points(curve, points, count, err);
    if (rc == 0 && (rc = make_ways(curve)) < 0)
        wt_fail(err, rc, "no memory for a curve");
    if (rc < 0) {
        wt_curve_free(curve);
        return rc;
    }
    weigh(curve);
    if (fit_rests(curve) < 0) {
        wt_curve_free(curve);
        return wt_fail(err, WT_E_NOMEM, "no memory for a curve");
    }
    *ret_curve = curve;
    return 0;
}

void wt_curve_free(struct wt_curve *curve)
{
    if (curve) {
        free(curve->ways);
        free(curve->rests);
    }
    free(curve);
}

size_t wt_curve_guess(const struct wt_curve *curve, double setting, struct wt_curve_way *ways,
                      size_t max, double *ret_time_sd, double *ret_energy_sd)
{
    double parts[POINTS_MAX], t, p;
    double sd = sqrt(reach_of(curve, setting, parts));
    size_t count = curve->way_count < max ? curve->way_count : max;
    for (size_t i = 0; i < count; i++) {
        const struct way *w = &curve->ways[i];
        say(curve, w, setting, &t, &p);
        t += w->level_t;
        p += w->level_p;
        for (size_t k = 0; k < curve->count; k++) {
            t += parts[k] * rest_of(curve, i, k)[0];
            p += parts[k] * rest_of(curve, i, k)[1];
        }
        ways[i] = (struct wt_curve_way){w->weight, t, t + p};
    }
    *ret_time_sd = *ret_energy_sd = sd;
    return count;
}

static struct wt_estimate estimate_of(double log_mean, double variance)
{
    double half = Z95 * sqrt(variance);
    return (struct wt_estimate){exp(log_mean), exp(log_mean - half), exp(log_mean + half)};
}

int wt_curve_at(const struct wt_curve *curve, double setting, struct wt_curve_value *ret_value)
{
    const struct wt_curve_point *low = &curve->points[0], *high = &curve->points[curve->count - 1];
    if (!(setting >= low->setting && setting <= high->setting))
        return WT_E_RANGE;
    struct wt_curve_way *ways = calloc(WT_CURVE_WAYS, sizeof(*ways));
    if (!ways)
        return WT_E_NOMEM;
    double t_sd, e_sd, mean[3] = {0}, square[3] = {0};
    size_t count = wt_curve_guess(curve, setting, ways, WT_CURVE_WAYS, &t_sd, &e_sd);
    for (size_t i = 0; i < count; i++) {
        double of[3] = {ways[i].log_time, ways[i].log_energy,
                        ways[i].log_energy - ways[i].log_time};
        for (int k = 0; k < 3; k++) {
            mean[k] += ways[i].weight * of[k];
            square[k] += ways[i].weight * of[k] * of[k];
        }
    }
    free(ways);
    double rest[3] = {t_sd * t_sd, e_sd * e_sd, e_sd * e_sd};
    struct wt_estimate *to[3] = {&ret_value->time_s, &ret_value->energy_j, &ret_value->power_w};
    for (int k = 0; k < 3; k++)
        *to[k] = estimate_of(mean[k], fmax(0, square[k] - mean[k] * mean[k]) + rest[k]);
    ret_value->is_probed = false;
    for (size_t i = 0; i < curve->count; i++)
        ret_value->is_probed |= fabs(curve->points[i].setting - setting) < 1e-9 * setting;
    return 0;
}

void wt_curve_facts(const struct wt_curve *curve, struct wt_curve_facts *ret_facts)
{
    const struct wt_curve_point *top = &curve->points[curve->count - 1];
    struct wt_curve_facts f = {.load_w = top->energy_j / top->time_s, .floor = NAN};
    size_t best = 0;
    for (size_t i = 0; i < curve->count; i++) {
        const struct wt_curve_point *p = &curve->points[i];
        double noise = Z95 * hypot(p->noise, top->noise);
        f.is_binding |= fabs(log(p->time_s / top->time_s)) > noise ||
                        fabs(log(p->energy_j / top->energy_j)) > noise;
        if (p->energy_j < curve->points[best].energy_j)
            best = i;
    }
    for (size_t i = 0; i < best; i++) {
        const struct wt_curve_point *p = &curve->points[i], *b = &curve->points[best];
        if (log(p->energy_j / b->energy_j) > Z95 * hypot(p->noise, b->noise))
            f.has_floor = true;
    }
    if (f.has_floor)
        f.floor = curve->points[best].setting;
    *ret_facts = f;
}
