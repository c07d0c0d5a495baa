/* probe_fit: the period of a lattice of times, and how readings follow a load.
 *
 * A reading is taken to be the mean of the power over a window that ended some delay before the
 * reading was published, and the power to follow the load either at once or exponentially. What a
 * reading should then be is linear in the idle level, the step, and a slow drift (heat), so only
 * window, delay and time constant are searched for: on a coarse grid first, because the squared
 * error has many hollows, then by descent from the best of its points. The intervals are of the
 * profile likelihood: how far one number can go, the others following, before the error has grown
 * by what chance allows. */
#include "window/probe_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return count ? values[count / 2] : NAN;
}

/* ---- the lattice ---- */

#define CHANGES_MIN 6
#define SPLITS_MAX  6 /* the shortest distance seen may be so many periods */
/* Changes are uniformly between the polls that enclose them, so a lattice leaves half / sqrt(3). */
#define WALK_FACTOR 2

/* Improves a period on distances that are whole multiples of it, near ones first: the far ones
 * only tell how many periods they are once it is well known. Returns the share that fits. */
static double refine(const double *distances, size_t count, double tolerance, double *io_period)
{
    static const double reach[] = {2, 8, 32, 128, 1e9};
    for (size_t r = 0; r < WT_COUNTOF(reach); r++) {
        double top = 0, bottom = 0;
        for (size_t i = 0; i < count; i++) {
            double n = round(distances[i] / *io_period);
            if (n < 1 || n > reach[r] || fabs(distances[i] - n * *io_period) > tolerance)
                continue;
            top += n * distances[i];
            bottom += n * n;
        }
        if (bottom > 0)
            *io_period = top / bottom;
    }
    size_t fits = 0;
    for (size_t i = 0; i < count; i++) {
        double n = round(distances[i] / *io_period);
        fits += n >= 1 && fabs(distances[i] - n * *io_period) <= tolerance;
    }
    return (double)fits / (double)count;
}

/* The shortest distance that is seen again and again. */
static double shortest(const double *sorted, size_t count, double tolerance)
{
    size_t enough = count / 30 > 2 ? count / 30 : 2;
    for (size_t i = 0, j = 0; i < count; i++) {
        double sum = 0;
        for (j = i; j < count && sorted[j] <= sorted[i] + tolerance; j++)
            sum += sorted[j];
        if (j - i >= enough)
            return sum / (double)(j - i);
    }
    return sorted[0];
}

struct line {
    double slope, at_zero, slope_error, residual;
};

static bool fit_line(const struct wt_probe_change *changes, size_t count, double trim,
                     struct line *io_line)
{
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0, rr = 0;
    struct line old = *io_line;
    for (size_t i = 0; i < count; i++) {
        double x = (double)changes[i].tick, y = changes[i].t_s;
        if (fabs(y - old.at_zero - old.slope * x) > trim)
            continue;
        n++, sx += x, sy += y;
    }
    if (n < 3)
        return false;
    double mx = sx / n, my = sy / n;
    for (size_t i = 0; i < count; i++) {
        double x = (double)changes[i].tick, y = changes[i].t_s;
        if (fabs(y - old.at_zero - old.slope * x) > trim)
            continue;
        sxx += (x - mx) * (x - mx);
        sxy += (x - mx) * (y - my);
    }
    if (sxx <= 0)
        return false;
    io_line->slope = sxy / sxx;
    io_line->at_zero = my - io_line->slope * mx;
    for (size_t i = 0; i < count; i++) {
        double r = changes[i].t_s - io_line->at_zero - io_line->slope * (double)changes[i].tick;
        if (fabs(changes[i].t_s - old.at_zero - old.slope * (double)changes[i].tick) <= trim)
            rr += r * r;
    }
    io_line->residual = sqrt(rr / (n - 2));
    io_line->slope_error = io_line->residual / sqrt(sxx);
    return true;
}

int wt_probe_lattice_find(struct wt_probe_change *changes, size_t count,
                          struct wt_probe_lattice *ret_lattice, const char **ret_why)
{
    *ret_lattice = (struct wt_probe_lattice){0};
    *ret_why = NULL;
    if (count < CHANGES_MIN) {
        *ret_why = "changed too seldom";
        return 0;
    }
    double *distances = calloc(2 * count, sizeof(*distances));
    if (!distances)
        return WT_E_NOMEM;
    double *sorted = distances + count;
    for (size_t i = 0; i < count; i++)
        sorted[i] = changes[i].half_s;
    double half = median_of(sorted, count), tolerance = 2.2 * half;
    size_t n = count - 1;
    for (size_t i = 0; i < n; i++)
        sorted[i] = distances[i] = changes[i + 1].t_s - changes[i].t_s;
    if (median_of(sorted, n) < 2 * tolerance) {
        *ret_why = "changes about as often as it can be read";
        goto out;
    }
    double base = shortest(sorted, n, tolerance), period = base, share = 0;
    double first_share = 0;
    for (int k = 1; k <= SPLITS_MAX && share < 0.9; k++) {
        double split = base / k;
        if (k > 1 && split < 3 * tolerance)
            break;
        share = refine(distances, n, tolerance, &split);
        if (k == 1)
            first_share = share;
        if (k == 1 || share >= 0.9)
            period = split;
    }
    if (share < 0.9 && first_share < 0.6) {
        *ret_why = "does not change at regular times";
        goto out;
    }
    changes[0].tick = 0;
    for (size_t i = 0; i < n; i++)
        changes[i + 1].tick = changes[i].tick + (int64_t)llround(distances[i] / period);
    struct line line = {.slope = period, .at_zero = changes[0].t_s};
    if (!fit_line(changes, count, INFINITY, &line)) {
        *ret_why = "changed too seldom";
        goto out;
    }
    fit_line(changes, count, 3 * fmax(line.residual, half), &line);
    double span = (double)(changes[count - 1].tick - changes[0].tick);
    double error = 1.96 * line.slope_error + half / span;
    /* Errors that add up along the way: their share of the slope does not shrink as those of a
     * lattice do. */
    bool is_walking = line.residual > WALK_FACTOR * half;
    if (is_walking)
        error = 1.96 * line.residual / sqrt(span);
    *ret_lattice = (struct wt_probe_lattice){
        .is_known = true,
        .period_s = line.slope,
        .low_s = line.slope - error,
        .high_s = line.slope + error,
        .phase_s = line.at_zero,
        .tolerance_s = fmax(half, line.residual),
        .is_walking = is_walking,
    };
out:
    free(distances);
    return 0;
}

/* ---- readings against the load ---- */

#define POINTS_MAX 2000
#define POINTS_MIN 16
#define EDGES_MIN  6
#define DRIFTS     3
#define LAG_MAX_S  1.6
#define WINDOW_MAX 2.0
#define WINDOW_MIN 0.0005
#define FIT_MIN    0.8
/* A model that leaves less than this share of the step unexplained needs no further number. */
#define GOOD_ENOUGH 0.015
#define STARTS      6

struct shape {
    double window, delay, rise;
};

struct problem {
    struct wt_probe_point *points;
    size_t count;
    const struct wt_probe_load *load;
    double *on_s;  /* time with the load before each edge */
    double *state; /* the exponential's state at each edge, for state_rise */
    double state_rise;
    double *drift;  /* an orthonormal base of slow drifts, DRIFTS x count */
    double *value;  /* readings without what drift explains */
    double *follow; /* scratch: what readings should be */
    double total;   /* squares of value */
    double slack;   /* a delay may come out this negative */
};

struct outcome {
    double squares, step;
};

static void set_rise(struct problem *p, double rise)
{
    if (rise == p->state_rise)
        return;
    double state = 0;
    for (size_t i = 0; i < p->load->count; i++) {
        if (i && rise > 0) {
            double keep = exp(-(p->load->edges_s[i] - p->load->edges_s[i - 1]) / rise);
            double goal = i % 2 ? 1 : 0; /* on from an even edge to an odd one */
            state = goal + (state - goal) * keep;
        }
        p->state[i] = state;
    }
    p->state_rise = rise;
}

/* The integral of the followed load up to t. The exponential x obeys rise x' = load - x, so its
 * integral is the load's less rise x. */
static double followed(const struct problem *p, double t, double rise)
{
    const double *edges = p->load->edges_s;
    size_t lo = 0, hi = p->load->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (edges[mid] <= t)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return 0;
    double since = t - edges[lo - 1], goal = lo % 2 ? 1 : 0;
    double sum = p->on_s[lo - 1] + goal * since;
    if (rise > 0)
        sum -= rise * (goal + (p->state[lo - 1] - goal) * exp(-since / rise));
    return sum;
}

static struct outcome try(struct problem *p, const struct shape *s)
{
    set_rise(p, s->rise);
    double dot[DRIFTS] = {0};
    for (size_t i = 0; i < p->count; i++) {
        double to = p->points[i].t_s - s->delay;
        p->follow[i] =
            (followed(p, to, s->rise) - followed(p, to - s->window, s->rise)) / s->window;
        for (int d = 0; d < DRIFTS; d++)
            dot[d] += p->follow[i] * p->drift[(size_t)d * p->count + i];
    }
    double vf = 0, ff = 0;
    for (size_t i = 0; i < p->count; i++) {
        double f = p->follow[i];
        for (int d = 0; d < DRIFTS; d++)
            f -= dot[d] * p->drift[(size_t)d * p->count + i];
        p->follow[i] = f;
        vf += f * p->value[i];
        ff += f * f;
    }
    struct outcome o = {p->total, 0};
    if (ff > 1e-9 * (double)p->count) {
        o.step = vf / ff;
        o.squares = fmax(p->total - o.step * vf, 0);
    }
    if (o.step < 0)
        o.squares = p->total;
    return o;
}

static bool is_allowed(const struct problem *p, const struct shape *s)
{
    return s->window >= WINDOW_MIN && s->window <= WINDOW_MAX && s->delay >= -p->slack &&
           s->delay <= LAG_MAX_S && s->rise >= 0 && s->rise <= WINDOW_MAX;
}

enum { FREE_WINDOW = 1, FREE_DELAY = 2, FREE_RISE = 4 };

/* Walks downhill along the free numbers, and along pairs that keep the mean lag. */
static double descend(struct problem *p, struct shape *io_shape, unsigned is_free, double reach)
{
    static const struct {
        double window, delay, rise;
        unsigned needs;
    } ways[] = {
        {1, 0, 0, FREE_WINDOW},
        {0, 1, 0, FREE_DELAY},
        {0, 0, 1, FREE_RISE},
        {1, -0.5, 0, FREE_WINDOW | FREE_DELAY},
        {0, -1, 1, FREE_DELAY | FREE_RISE},
        {1, 0, -0.5, FREE_WINDOW | FREE_RISE},
    };
    double best = try(p, io_shape).squares;
    double step = reach * fmax(io_shape->window + io_shape->rise, 0.004);
    for (; step > 5e-6; step /= 2)
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t w = 0; w < WT_COUNTOF(ways); w++)
                for (int sign = -1; sign <= 1; sign += 2) {
                    if ((ways[w].needs & is_free) != ways[w].needs)
                        continue;
                    struct shape s = *io_shape;
                    s.window += sign * step * ways[w].window;
                    s.delay += sign * step * ways[w].delay;
                    s.rise += sign * step * ways[w].rise;
                    if (!is_allowed(p, &s))
                        continue;
                    double squares = try(p, &s).squares;
                    if (squares < best * (1 - 1e-9)) {
                        best = squares;
                        *io_shape = s;
                        moved = true;
                    }
                }
        }
    return best;
}

static void keep_start(struct shape *starts, double *squares, const struct shape *s, double q)
{
    if (q >= squares[STARTS - 1])
        return;
    size_t at = STARTS - 1;
    for (; at > 0 && squares[at - 1] > q; at--) {
        squares[at] = squares[at - 1];
        starts[at] = starts[at - 1];
    }
    squares[at] = q;
    starts[at] = *s;
}

static double search(struct problem *p, const double *rises, size_t rise_count,
                     struct shape *ret_shape)
{
    struct shape starts[STARTS] = {{0}};
    double squares[STARTS];
    for (size_t i = 0; i < STARTS; i++)
        squares[i] = INFINITY;
    for (size_t r = 0; r < rise_count; r++)
        for (double window = 0.002; window <= WINDOW_MAX; window *= rises[r] > 0 ? 1.8 : 1.3)
            for (double lag = 0; lag <= LAG_MAX_S; lag += fmax(0.002, 0.06 * lag)) {
                struct shape s = {window, lag - window / 2 - rises[r], rises[r]};
                if (is_allowed(p, &s))
                    keep_start(starts, squares, &s, try(p, &s).squares);
            }
    unsigned is_free = FREE_WINDOW | FREE_DELAY | (rises[0] > 0 ? FREE_RISE : 0);
    double best = INFINITY;
    for (size_t i = 0; i < STARTS && isfinite(squares[i]); i++) {
        double q = descend(p, &starts[i], is_free, 0.25);
        if (q < best) {
            best = q;
            *ret_shape = starts[i];
        }
    }
    return best;
}

/* How far one number can be moved before the error, the others following, exceeds the limit. */
static double profile(struct problem *p, const struct shape *best, unsigned which, int sign,
                      unsigned is_free, double limit)
{
    double at = which == FREE_WINDOW  ? best->window
                : which == FREE_DELAY ? best->delay
                                      : best->rise;
    double inside = 0, outside = 0;
    double move = 0.01 * (best->window + best->rise);
    for (int i = 0; i < 24; i++) {
        double by = outside > 0 ? (inside + outside) / 2 : move;
        if (outside > 0 && outside - inside < 0.02 * outside)
            break;
        struct shape s = *best;
        double *number = which == FREE_WINDOW  ? &s.window
                         : which == FREE_DELAY ? &s.delay
                                               : &s.rise;
        *number += sign * by;
        /* The others begin where the mean lag is kept. */
        if (which == FREE_WINDOW)
            s.delay -= sign * by / 2;
        if (which == FREE_RISE)
            s.delay -= sign * by;
        if (s.delay < -p->slack)
            s.delay = -p->slack;
        if (!is_allowed(p, &s) || descend(p, &s, is_free & ~which, 0.05) > limit) {
            outside = by;
        } else {
            inside = by;
            move *= 2;
        }
    }
    return at + sign * (outside > 0 ? outside : inside);
}

/* Constant, slope and curvature in time, made orthonormal; and what they leave of the readings. */
static void set_drift(struct problem *p)
{
    double from = p->points[0].t_s, span = fmax(p->points[p->count - 1].t_s - from, 1e-9);
    for (int d = 0; d < DRIFTS; d++) {
        double *base = p->drift + (size_t)d * p->count;
        for (size_t i = 0; i < p->count; i++)
            base[i] = pow((p->points[i].t_s - from) / span, d);
        for (int e = 0; e < d; e++) {
            const double *other = p->drift + (size_t)e * p->count;
            double dot = 0;
            for (size_t i = 0; i < p->count; i++)
                dot += base[i] * other[i];
            for (size_t i = 0; i < p->count; i++)
                base[i] -= dot * other[i];
        }
        double norm = 0;
        for (size_t i = 0; i < p->count; i++)
            norm += base[i] * base[i];
        norm = sqrt(norm);
        for (size_t i = 0; i < p->count; i++)
            base[i] = norm > 1e-12 ? base[i] / norm : 0;
    }
    for (size_t i = 0; i < p->count; i++)
        p->value[i] = p->points[i].value;
    for (int d = 0; d < DRIFTS; d++) {
        const double *base = p->drift + (size_t)d * p->count;
        double dot = 0;
        for (size_t i = 0; i < p->count; i++)
            dot += p->value[i] * base[i];
        for (size_t i = 0; i < p->count; i++)
            p->value[i] -= dot * base[i];
    }
    p->total = 0;
    for (size_t i = 0; i < p->count; i++)
        p->total += p->value[i] * p->value[i];
}

/* Leaves out readings far beside the model: reads that the machine held up, garbage. */
static bool drop_outliers(struct problem *p, const struct shape *s)
{
    struct outcome o = try(p, s);
    double *off = p->follow, *sorted = p->drift; /* made anew below */
    for (size_t i = 0; i < p->count; i++)
        sorted[i] = off[i] = fabs(p->value[i] - o.step * p->follow[i]);
    double limit = fmax(9 * median_of(sorted, p->count), 0.1 * o.step);
    size_t far = 0, kept = 0;
    for (size_t i = 0; i < p->count; i++)
        far += off[i] > limit;
    if (far && far <= p->count / 5) { /* more of them are no outliers */
        for (size_t i = 0; i < p->count; i++)
            if (off[i] <= limit)
                p->points[kept++] = p->points[i];
        p->count = kept;
    }
    set_drift(p);
    return kept > 0;
}

static void solve(struct problem *p, double blur_s, struct wt_probe_fit *fit)
{
    static const double at_once[] = {0}, slowly[] = {0.003, 0.01, 0.03, 0.1, 0.3};
    struct shape best = {0}, slow = {0};
    double squares = search(p, at_once, 1, &best);
    if (drop_outliers(p, &best))
        squares = search(p, at_once, 1, &best);
    struct outcome o = try(p, &best);
    unsigned is_free = FREE_WINDOW | FREE_DELAY;
    double residual = sqrt(squares / (double)p->count);
    if (o.step > 0 && residual > GOOD_ENOUGH * o.step) {
        double slow_squares = search(p, slowly, WT_COUNTOF(slowly), &slow);
        if (slow_squares < 0.6 * squares) {
            squares = slow_squares;
            best = slow;
            is_free |= FREE_RISE;
        }
    }
    o = try(p, &best);
    fit->share = p->total > 0 ? 1 - squares / p->total : 0;
    if (o.step <= 0 || fit->share < FIT_MIN) {
        fit->why = "does not follow the load";
        return;
    }
    fit->is_known = true;
    fit->residual = sqrt(squares / (double)p->count);

    /* Readings that lie between the levels are those that tell of window and delay. */
    double inner = 0, mean_follow = 0, mean_value = 0, squared = 0;
    for (size_t i = 0; i < p->count; i++) {
        double to = p->points[i].t_s - best.delay;
        double f =
            (followed(p, to, best.rise) - followed(p, to - best.window, best.rise)) / best.window;
        inner += f > 0.02 && f < 0.98;
        mean_follow += f / (double)p->count;
        mean_value += p->points[i].value / (double)p->count;
        squared += p->follow[i] * p->follow[i];
    }
    fit->low = mean_value - o.step * mean_follow;
    fit->high = fit->low + o.step;
    fit->step_error = 1.96 * fit->residual / sqrt(fmax(squared, 1e-9));
    double limit =
        squares * (1 + 3.84 / fmax(inner - 4, 3)) + 1e-12 * o.step * o.step * (double)p->count;
    bool is_rise = best.rise > best.window;
    fit->shape = is_rise ? WT_PROBE_SHAPE_RISE : WT_PROBE_SHAPE_WINDOW;
    unsigned width = is_rise ? FREE_RISE : FREE_WINDOW;
    fit->window_s = is_rise ? best.rise : best.window;
    fit->window_low_s = profile(p, &best, width, -1, is_free, limit) - blur_s;
    fit->window_high_s = profile(p, &best, width, 1, is_free, limit) + blur_s;
    if (fit->window_low_s < 0)
        fit->window_low_s = 0;
    /* Behind an exponential a short window is no more than a delay of half of it. */
    double more = is_rise ? best.window / 2 : 0;
    fit->delay_s = fmax(best.delay + more, 0);
    fit->delay_low_s = fmax(profile(p, &best, FREE_DELAY, -1, is_free, limit) + more - blur_s, 0);
    fit->delay_high_s =
        fmax(profile(p, &best, FREE_DELAY, 1, is_free, limit) + more + blur_s, fit->delay_s);
    if (fit->delay_low_s > fit->delay_s)
        fit->delay_low_s = fit->delay_s;
}

int wt_probe_fit(struct wt_probe_point *points, size_t count, const struct wt_probe_load *load,
                 double blur_s, struct wt_probe_fit *ret_fit)
{
    *ret_fit = (struct wt_probe_fit){0};
    if (load->count < EDGES_MIN) {
        ret_fit->why = "no load ran";
        return 0;
    }
    if (count < POINTS_MIN) {
        ret_fit->why = "too few readings";
        return 0;
    }
    size_t stride = count / POINTS_MAX + 1, kept = 0;
    for (size_t i = 0; i < count; i += stride)
        points[kept++] = points[i];
    struct problem p = {
        .points = points, .count = kept, .load = load, .state_rise = -1, .slack = blur_s};
    double *room = calloc(2 * load->count + (DRIFTS + 2) * kept, sizeof(*room));
    if (!room)
        return WT_E_NOMEM;
    p.on_s = room;
    p.state = p.on_s + load->count;
    p.drift = p.state + load->count;
    p.value = p.drift + DRIFTS * kept;
    p.follow = p.value + kept;
    for (size_t i = 1; i < load->count; i++)
        p.on_s[i] = p.on_s[i - 1] + (i % 2 ? load->edges_s[i] - load->edges_s[i - 1] : 0);
    set_drift(&p);
    solve(&p, blur_s, ret_fit);
    free(room);
    return 0;
}
