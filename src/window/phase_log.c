/* phase_log: see phase_log.h. */
#include "window/phase_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/sensor.h"

#define BLOCK        256 /* ticks placed together */
#define ROWS_DEFAULT 8192
#define SPANS_MOST   (1u << 20)
#define OPEN_MOST    64
/* A tick placed no better than this makes no row: 3 ms of a 5 ms phase say nothing. */
#define PLACED_NS (3 * WT_NS_PER_MS)
/* Counters that tick faster are read at some tick or other: a read is as good as a tick. */
#define FAST_NS (8 * WT_NS_PER_MS)
/* Where a counter may see only a part of the time, its ticks must be explained this well. */
#define EXPLAINED_SHARE 0.08
/* Rows of one program that are enough to be solved without those of the next. */
#define OWN_ROWS 200
/* At least this share of a phase must lie in ticks that made rows. */
#define COVERED_SHARE 0.5
/* At a power limit: share of the phase's distance from the mean power, and of its own. From
 * bench/phases. */
#define CAPPED_SHARE 0.1
#define CAPPED_OWN   0.008
/* A lattice is off as a whole, which no residual shows: share of the phase's distance from the mean
 * power, for each part of a slice that the lattice may be off. From bench/phases. */
#define PLACED_SHARE 1.0

struct phase {
    char name[32];
    uint64_t count;
    int64_t wall_ns, own_ns;
    uint64_t slices; /* of own_ns */
};

/* What the solved blocks of one device add up to. */
struct sum {
    double energy_j, half2_j2; /* where it could be told apart */
    double joint_j, joint2_j2; /* with the others of its group, kept at the group's root */
    double span_s;             /* inside rows */
    double bare_j, bare_s;     /* of energy_j and span_s: ticks with nothing else in them */
    bool is_there, is_inseparable;
    unsigned group; /* parent in a forest of groups */
};

struct device {
    const struct wt_device_info *info;
    const char *why; /* static text: why its energy is not told apart; NULL: it is */
    int64_t period_ns;
    double gain;
    bool is_partial; /* the counter may see a part of the time only */

    struct wt_meter_tick ticks[BLOCK + 1];
    size_t tick_count;

    double *tick_s, *tick_j; /* rows, owned */
    /* Columns, owned; NULL: the phase has not come up yet. */
    double *phase_s[WT_PHASES_MOST], *shape_s[WT_PHASES_MOST * WT_PHASE_SHAPES];
    double *pause_s;                     /* of the rest: in pauses longer than a tick */
    size_t row_count, solved;            /* rows waiting; rows done with */
    size_t cuts;                         /* of the log, that rows have come to */
    struct sum sums[WT_PHASES_MOST + 1]; /* the last is the rest */
    double half_s, rows_added;           /* sum of how well rows are placed; rows so far */
    double residual_j2, sum_j, sum_s;    /* over solved rows */
    bool is_capped;
};

struct wt_phase_log {
    struct device *devices; /* owned */
    size_t device_count, rows;
    struct phase phases[WT_PHASES_MOST];
    unsigned phase_count;

    bool has_pid, has_others;
    uint32_t pid, first_pid; /* followed now; followed when another marked beside it */
    struct {                 /* begun by other programs, which are counted only */
        uint32_t pid;
        unsigned phase;
        int64_t begin_ns;
    } others[OPEN_MOST];
    size_t others_count;
    struct {
        unsigned phase;
        int64_t begin_ns;
    } open[OPEN_MOST]; /* the stack of phases at work, outermost first */
    size_t open_count;
    int64_t *cut_ns; /* owned; when another program was followed from then on */
    size_t cut_count, cut_room;
    uint64_t unmatched;
    int64_t t_ns;              /* up to here time has been given to phases */
    int64_t first_ns, last_ns; /* of the phases */

    struct wt_phase_span *spans; /* owned; in order of time, none over another */
    size_t span_count, span_room;
    int64_t dropped_ns; /* spans before this are gone: too many waited */
    int64_t before_ns;  /* end of the last span that is no longer kept, or begin of the first */
    bool is_out_of_memory;
};

int wt_phase_log_new(struct wt_phase_log **ret_log, const struct wt_device_info *const *infos,
                     size_t count, const struct wt_phase_log_options *options, struct wt_error *err)
{
    struct wt_phase_log *log = calloc(1, sizeof(*log));
    if (log)
        log->devices = calloc(count ? count : 1, sizeof(*log->devices));
    if (!log || !log->devices) {
        free(log);
        return wt_fail(err, WT_E_NOMEM, "no memory for phases");
    }
    log->rows = options && options->rows ? options->rows : ROWS_DEFAULT;
    log->first_ns = INT64_MAX;
    log->t_ns = log->last_ns = log->dropped_ns = INT64_MIN;
    log->device_count = count;
    for (size_t i = 0; i < count; i++) {
        struct device *d = &log->devices[i];
        const struct wt_sensor_traits *t = &infos[i]->traits;
        d->info = infos[i];
        d->period_ns = t->energy_period_ns;
        d->gain = t->gain_ppm * 1e-6;
        d->is_partial = t->energy_window_ns == 0 && t->power_window_ns > 0 &&
                        t->power_window_ns < t->power_period_ns;
        d->why = infos[i]->is_part                  ? "it is part of another device"
                 : !(infos[i]->can & WT_CAN_ENERGY) ? "it has no energy counter"
                 : wt_traits_sees_part(t)           ? "its counter sees only a part of the time"
                                                    : NULL;
        for (unsigned p = 0; p <= WT_PHASES_MOST; p++)
            d->sums[p].group = p;
    }
    *ret_log = log;
    return 0;
}

void wt_phase_log_free(struct wt_phase_log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < log->device_count; i++) {
        free(log->devices[i].tick_s);
        free(log->devices[i].tick_j);
        for (unsigned p = 0; p < WT_PHASES_MOST; p++)
            free(log->devices[i].phase_s[p]);
        for (unsigned p = 0; p < WT_PHASES_MOST * WT_PHASE_SHAPES; p++)
            free(log->devices[i].shape_s[p]);
        free(log->devices[i].pause_s);
    }
    free(log->devices);
    free(log->spans);
    free(log->cut_ns);
    free(log);
}

int64_t wt_phase_log_first_ns(const struct wt_phase_log *log)
{
    return log->first_ns;
}

/* ---- marks ---- */

/* Programs that name every step anew would have phases without end: those beyond what can be told
 * apart share the last place. */
static unsigned find_phase(struct wt_phase_log *log, const char *name)
{
    for (unsigned p = 0; p < log->phase_count; p++)
        if (strcmp(log->phases[p].name, name) == 0)
            return p;
    if (log->phase_count == WT_PHASES_MOST)
        return WT_PHASES_MOST - 1;
    bool is_last = log->phase_count == WT_PHASES_MOST - 1;
    wt_text(log->phases[log->phase_count].name, sizeof(log->phases[0].name), "%s",
            is_last ? "(others)" : name);
    return log->phase_count++;
}

/* Time up to t goes to the innermost open phase. */
static void spend(struct wt_phase_log *log, int64_t t_ns)
{
    int64_t from_ns = log->t_ns;
    if (t_ns <= from_ns)
        return;
    log->t_ns = t_ns;
    if (!log->open_count)
        return;
    unsigned phase = log->open[log->open_count - 1].phase;
    log->phases[phase].own_ns += t_ns - from_ns;
    if (t_ns > log->last_ns)
        log->last_ns = t_ns;
    if (log->span_count) {
        struct wt_phase_span *last = &log->spans[log->span_count - 1];
        if (last->phase == phase && last->end_ns == from_ns) {
            last->end_ns = t_ns;
            return;
        }
    }
    if (log->span_count == SPANS_MOST) {
        /* A device that no longer ticks must not fill the memory. */
        size_t half = SPANS_MOST / 2;
        log->dropped_ns = log->before_ns = log->spans[half - 1].end_ns;
        memmove(log->spans, log->spans + half, (log->span_count - half) * sizeof(*log->spans));
        log->span_count -= half;
    }
    if (log->span_count == log->span_room) {
        size_t room = log->span_room ? log->span_room * 2 : 1024;
        struct wt_phase_span *more = realloc(log->spans, room * sizeof(*more));
        if (!more) {
            log->is_out_of_memory = true;
            return;
        }
        log->spans = more;
        log->span_room = room;
    }
    log->phases[phase].slices++;
    log->spans[log->span_count++] =
        (struct wt_phase_span){.begin_ns = from_ns, .end_ns = t_ns, .phase = phase};
}

/* Programs beside the one that is followed: how often and how long, no more. */
static void count_other(struct wt_phase_log *log, const struct wt_mark *mark)
{
    if (!log->has_others)
        log->first_pid = log->pid;
    log->has_others = true;
    unsigned phase = find_phase(log, mark->name);
    if (mark->kind == WT_MARK_BEGIN) {
        if (log->others_count == OPEN_MOST) {
            log->unmatched++;
            return;
        }
        log->others[log->others_count].pid = mark->pid;
        log->others[log->others_count].phase = phase;
        log->others[log->others_count++].begin_ns = mark->t_ns;
        return;
    }
    for (size_t i = log->others_count; i-- > 0;)
        if (log->others[i].pid == mark->pid && log->others[i].phase == phase) {
            log->phases[phase].count++;
            log->phases[phase].wall_ns += mark->t_ns - log->others[i].begin_ns;
            memmove(&log->others[i], &log->others[i + 1],
                    (--log->others_count - i) * sizeof(log->others[0]));
            return;
        }
    log->unmatched++;
}

/* The i-th open one is over, by its end or with its program; what had no end is not counted. */
static void close_open(struct wt_phase_log *log, size_t i, int64_t t_ns, unsigned count)
{
    struct phase *phase = &log->phases[log->open[i].phase];
    phase->count += count;
    phase->wall_ns += t_ns - log->open[i].begin_ns;
    memmove(&log->open[i], &log->open[i + 1], (log->open_count - i - 1) * sizeof(log->open[0]));
    log->open_count--;
}

/* Nobody's phases have the energy, and this program marks: its have it from now on. */
static void follow(struct wt_phase_log *log, const struct wt_mark *mark)
{
    log->has_pid = true;
    log->pid = mark->pid;
    if (log->first_ns == INT64_MAX)
        return;
    spend(log, mark->t_ns);
    if (log->cut_count == log->cut_room) {
        size_t room = log->cut_room ? 2 * log->cut_room : 16;
        int64_t *more = realloc(log->cut_ns, room * sizeof(*more));
        if (!more) {
            log->is_out_of_memory = true;
            return;
        }
        log->cut_ns = more;
        log->cut_room = room;
    }
    log->cut_ns[log->cut_count++] = mark->t_ns;
    size_t kept = 0;
    for (size_t i = 0; i < log->others_count; i++)
        if (log->others[i].pid == mark->pid) {
            log->open[log->open_count].phase = log->others[i].phase;
            log->open[log->open_count++].begin_ns = log->others[i].begin_ns;
        } else
            log->others[kept++] = log->others[i];
    log->others_count = kept;
}

/* A program is gone; the phases it was in went with it. */
static void leave(struct wt_phase_log *log, const struct wt_mark *mark)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->others_count; i++)
        if (log->others[i].pid == mark->pid)
            log->phases[log->others[i].phase].wall_ns += mark->t_ns - log->others[i].begin_ns;
        else
            log->others[kept++] = log->others[i];
    log->others_count = kept;
    if (!log->has_pid || mark->pid != log->pid)
        return;
    spend(log, mark->t_ns);
    while (log->open_count)
        close_open(log, log->open_count - 1, log->t_ns, 0);
    log->has_pid = false;
}

void wt_phase_log_mark(struct wt_phase_log *log, const struct wt_mark *mark)
{
    if (mark->kind == WT_MARK_GONE)
        leave(log, mark);
    if (mark->kind != WT_MARK_BEGIN && mark->kind != WT_MARK_END)
        return;
    if (!log->has_pid)
        follow(log, mark);
    if (mark->pid != log->pid) {
        count_other(log, mark);
        return;
    }
    if (mark->kind == WT_MARK_BEGIN) {
        if (log->first_ns == INT64_MAX)
            log->first_ns = log->before_ns = log->t_ns = mark->t_ns;
        spend(log, mark->t_ns);
        if (log->open_count == OPEN_MOST) {
            log->unmatched++;
            return;
        }
        unsigned phase = find_phase(log, mark->name);
        log->open[log->open_count].phase = phase;
        log->open[log->open_count++].begin_ns = mark->t_ns;
        return;
    }
    bool is_last = log->phase_count == WT_PHASES_MOST;
    size_t i = log->open_count;
    while (i > 0) {
        const char *name = log->phases[log->open[i - 1].phase].name;
        if (strcmp(name, mark->name) == 0 || (is_last && strcmp(name, "(others)") == 0))
            break;
        i--;
    }
    if (i == 0) {
        log->unmatched++;
        return;
    }
    spend(log, mark->t_ns);
    close_open(log, i - 1, mark->t_ns, 1);
}

void wt_phase_log_known(struct wt_phase_log *log, int64_t now_ns)
{
    if (log->first_ns != INT64_MAX)
        spend(log, now_ns);
}

/* ---- placing ticks ---- */

/* How wide a band of lattices with this period goes through all moves, and where; < 0: none. */
static double band(const struct wt_meter_tick *t, const double *n, size_t count, double period_ns,
                   double *ret_ns)
{
    double low = -INFINITY, high = INFINITY;
    for (size_t i = 0; i < count; i++) {
        low = fmax(low, (double)(t[i].lo_ns - t[0].hi_ns) - n[i] * period_ns);
        high = fmin(high, (double)(t[i].hi_ns - t[0].hi_ns) - n[i] * period_ns);
    }
    *ret_ns = (low + high) / 2;
    return high - low;
}

static void place_plainly(const struct wt_meter_tick *t, size_t count, int64_t period_ns,
                          int64_t *ret_ns, int64_t *ret_half_ns)
{
    for (size_t i = 0; i < count; i++) {
        int64_t lo_ns = t[i].lo_ns;
        if (period_ns > 0 && t[i].hi_ns - lo_ns > period_ns)
            lo_ns = t[i].hi_ns - period_ns;
        ret_half_ns[i] = (t[i].hi_ns - lo_ns + 1) / 2;
        ret_ns[i] = lo_ns + (t[i].hi_ns - lo_ns) / 2;
    }
}

static void place(const struct wt_meter_tick *t, size_t count, int64_t period_ns, int64_t *ret_ns,
                  int64_t *ret_half_ns)
{
    double n[BLOCK + 1], low = (double)period_ns * 0.99, high = (double)period_ns * 1.01, at_ns = 0;
    if (count < 8 || count > BLOCK + 1) {
        place_plainly(t, count, period_ns, ret_ns, ret_half_ns);
        return;
    }
    n[0] = 0;
    for (size_t i = 1; i < count; i++) {
        double away_ns = (double)(t[i].lo_ns - t[i - 1].lo_ns + t[i].hi_ns - t[i - 1].hi_ns) / 2;
        n[i] = n[i - 1] + fmax(1, round(away_ns / (double)period_ns));
    }
    /* The width of the band is concave in the period: its top by thirds. */
    for (int i = 0; i < 80; i++) {
        double a = low + (high - low) / 3, b = high - (high - low) / 3;
        if (band(t, n, count, a, &at_ns) < band(t, n, count, b, &at_ns))
            low = a;
        else
            high = b;
    }
    double period = (low + high) / 2, width_ns = band(t, n, count, period, &at_ns);
    if (width_ns < 0) {
        /* It jitters, or was set anew in between. */
        size_t half = count / 2;
        place(t, half, period_ns, ret_ns, ret_half_ns);
        place(t + half, count - half, period_ns, ret_ns + half, ret_half_ns + half);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ret_ns[i] = t[0].hi_ns + (int64_t)llround(at_ns + n[i] * period);
        ret_half_ns[i] = (int64_t)(width_ns / 2) + 1;
    }
}

void wt_phase_log_place(const struct wt_meter_tick *ticks, size_t count, int64_t period_ns,
                        int64_t *ret_ns, int64_t *ret_half_ns)
{
    if (period_ns <= FAST_NS)
        place_plainly(ticks, count, period_ns, ret_ns, ret_half_ns);
    else
        place(ticks, count, period_ns, ret_ns, ret_half_ns);
}

/* ---- rows ---- */

static unsigned root_of(struct device *d, unsigned p)
{
    while (d->sums[p].group != p)
        p = d->sums[p].group;
    return p;
}

/* p and q may be the rest, which is WT_PHASES_MOST here. */
static void join(struct device *d, unsigned p, unsigned q)
{
    p = root_of(d, p);
    q = root_of(d, q);
    if (p == q)
        return;
    d->sums[q].group = p;
    d->sums[p].joint_j += d->sums[q].joint_j;
    d->sums[p].joint2_j2 += d->sums[q].joint2_j2;
}

static void shift(double *column, size_t kept, size_t count)
{
    if (!column)
        return;
    memmove(column, column + count, kept * sizeof(double));
    memset(column + kept, 0, count * sizeof(double));
}

/* Solves the first count rows and forgets them. */
static void solve_rows(struct wt_phase_log *log, struct device *d, size_t count)
{
    struct wt_phase_fit fits[WT_PHASES_MOST + 2];
    const double *columns[WT_PHASES_MOST + 1], *shapes[(WT_PHASES_MOST + 1) * WT_PHASE_SHAPES];
    struct wt_error err;
    unsigned phases = log->phase_count, known = phases;
    if (!count || d->why)
        return;
    double *zeros = calloc(count, sizeof(*zeros));
    if (!zeros) {
        log->is_out_of_memory = true;
        return;
    }
    for (unsigned p = 0; p < phases; p++) {
        columns[p] = d->phase_s[p] ? d->phase_s[p] : zeros;
        for (unsigned o = p * WT_PHASE_SHAPES; o < (p + 1) * WT_PHASE_SHAPES; o++)
            shapes[o] = d->shape_s[o] ? d->shape_s[o] : zeros;
    }
    if (d->pause_s) {
        columns[known] = d->pause_s;
        for (unsigned o = known * WT_PHASE_SHAPES; o < (known + 1) * WT_PHASE_SHAPES; o++)
            shapes[o] = zeros;
        known++;
    }
    int rc = wt_phases_fit_rows(d->tick_s, d->tick_j, columns, shapes, count, known, 0, fits, &err);
    free(zeros);
    if (rc < 0 && d->solved == 0)
        d->why = rc == WT_E_RANGE         ? "too few of its ticks fell into the phases"
                 : rc == WT_E_UNSUPPORTED ? "liblapack.so.3 is not here (install liblapack3)"
                                          : "the equations could not be solved";
    if (rc < 0)
        return;
    for (size_t k = 0; k < count; k++) {
        d->sum_j += d->tick_j[k];
        d->sum_s += d->tick_s[k];
    }
    d->residual_j2 += fits[0].residual_j * fits[0].residual_j * (double)count;
    for (unsigned i = 0; i <= known; i++) {
        struct sum *sum = &d->sums[i < phases ? i : WT_PHASES_MOST];
        if (!(fits[i].span_s > 1e-6))
            continue;
        sum->is_there = true;
        sum->span_s += fits[i].span_s;
        if (fits[i].is_separable) {
            double half_j = fits[i].high_j - fits[i].energy_j;
            sum->energy_j += fits[i].energy_j;
            sum->half2_j2 += half_j * half_j;
            continue;
        }
        sum->is_inseparable = true;
        bool is_first = true;
        for (unsigned k = 0; k < i; k++)
            if (!fits[k].is_separable && fits[k].span_s > 1e-6 && fits[k].group == fits[i].group) {
                join(d, k < phases ? k : WT_PHASES_MOST, i < phases ? i : WT_PHASES_MOST);
                is_first = false;
                break;
            }
        if (is_first) {
            double half_j = fits[i].joint_high_j - fits[i].joint_j;
            struct sum *root = &d->sums[root_of(d, i < phases ? i : WT_PHASES_MOST)];
            root->joint_j += fits[i].joint_j;
            root->joint2_j2 += half_j * half_j;
        }
    }
    d->solved += count;
    d->row_count -= count;
    memmove(d->tick_s, d->tick_s + count, d->row_count * sizeof(double));
    memmove(d->tick_j, d->tick_j + count, d->row_count * sizeof(double));
    for (unsigned p = 0; p < phases; p++) {
        shift(d->phase_s[p], d->row_count, count);
        for (unsigned o = p * WT_PHASE_SHAPES; o < (p + 1) * WT_PHASE_SHAPES; o++)
            shift(d->shape_s[o], d->row_count, count);
    }
    shift(d->pause_s, d->row_count, count);
}

static bool has_column(double **column, size_t room)
{
    if (!*column)
        *column = calloc(room, sizeof(double));
    return *column != NULL;
}

/* The first span that ends after t. */
static size_t first_span(const struct wt_phase_log *log, int64_t t_ns)
{
    size_t low = 0, high = log->span_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->spans[middle].end_ns <= t_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A tick, placed to within half, with no phase in it is no equation: it says by itself what the
 * rest drew, which between two trainings is another power than between two steps. */
static bool is_all_rest(const struct wt_phase_log *log, int64_t from_ns, int64_t to_ns,
                        int64_t half_ns)
{
    size_t next = first_span(log, from_ns - half_ns);
    return next == log->span_count || log->spans[next].begin_ns >= to_ns + half_ns;
}

/* Seconds of a tick that lie in pauses longer than it: what a GPU draws there is not what it draws
 * in the gap between two kernels. */
static double pause_s(const struct wt_phase_log *log, int64_t from_ns, int64_t to_ns)
{
    int64_t sum_ns = 0;
    size_t at = first_span(log, from_ns);
    int64_t begin_ns = at ? log->spans[at - 1].end_ns : log->before_ns;
    for (; begin_ns < to_ns; at++) {
        int64_t end_ns = at < log->span_count ? log->spans[at].begin_ns : log->t_ns;
        if (end_ns - begin_ns > to_ns - from_ns && end_ns > from_ns)
            sum_ns += (end_ns < to_ns ? end_ns : to_ns) - (begin_ns > from_ns ? begin_ns : from_ns);
        if (at == log->span_count)
            break;
        begin_ns = log->spans[at].end_ns;
    }
    return wt_s_from_ns(sum_ns);
}

/* Two blocks are waited for before one is solved, so that the last is never a small one. Another
 * program's phases may draw something else: it has blocks of its own where there are rows enough.
 */
static bool add_row(struct wt_phase_log *log, struct device *d, int64_t from_ns, int64_t to_ns,
                    double energy_j)
{
    size_t room = 2 * log->rows;
    bool is_cut = false;
    for (; d->cuts < log->cut_count && log->cut_ns[d->cuts] <= from_ns; d->cuts++)
        is_cut = true;
    if (is_cut && d->row_count >= OWN_ROWS)
        solve_rows(log, d, d->row_count);
    if (!d->tick_s)
        d->tick_s = calloc(room, sizeof(double));
    if (!d->tick_j)
        d->tick_j = calloc(room, sizeof(double));
    if (!d->tick_s || !d->tick_j)
        return false;
    if (d->row_count == room)
        solve_rows(log, d, log->rows);
    if (d->row_count == room)
        return true; /* it cannot be solved: why is known */
    size_t row = d->row_count, at = first_span(log, from_ns);
    for (; at < log->span_count && log->spans[at].begin_ns < to_ns; at++) {
        const struct wt_phase_span *span = &log->spans[at];
        int64_t a_ns = span->begin_ns > from_ns ? span->begin_ns : from_ns;
        int64_t b_ns = span->end_ns < to_ns ? span->end_ns : to_ns;
        double **column = &d->phase_s[span->phase];
        if (!has_column(column, room))
            return false;
        double length_s = wt_s_from_ns(span->end_ns - span->begin_ns);
        double a = wt_s_from_ns(a_ns - span->begin_ns), b = wt_s_from_ns(b_ns - span->begin_ns);
        (*column)[row] += b - a;
        for (unsigned order = 1; order <= WT_PHASE_SHAPES; order++) {
            double **shape = &d->shape_s[span->phase * WT_PHASE_SHAPES + order - 1];
            if (!has_column(shape, room))
                return false;
            (*shape)[row] +=
                wt_phase_shape_s(order, b, length_s) - wt_phase_shape_s(order, a, length_s);
        }
    }
    double in_pauses_s = pause_s(log, from_ns, to_ns);
    if (in_pauses_s > 0 && !has_column(&d->pause_s, room))
        return false;
    if (in_pauses_s > 0)
        d->pause_s[row] = in_pauses_s;
    d->tick_s[row] = wt_s_from_ns(to_ns - from_ns);
    d->tick_j[row] = energy_j;
    d->row_count++;
    return true;
}

/* Ticks up to now become rows; the last stays, as the begin of the next. */
static void settle(struct wt_phase_log *log, struct device *d)
{
    int64_t at_ns[BLOCK + 1], half_ns[BLOCK + 1];
    size_t count = d->tick_count;
    if (count < 2 || d->why)
        return;
    int64_t fine_ns = d->period_ns > 0 && d->period_ns <= FAST_NS ? FAST_NS : PLACED_NS;
    for (size_t from = 0; from + 1 < count;) {
        /* A stretch without a gap. */
        size_t to = from + 1;
        while (to < count && !d->ticks[to].is_gap)
            to++;
        wt_phase_log_place(d->ticks + from, to - from, d->period_ns, at_ns, half_ns);
        for (size_t k = 0; k + 1 < to - from; k++) {
            double energy_j = d->ticks[from + k + 1].cum_j - d->ticks[from + k].cum_j;
            bool is_inside = at_ns[k] >= log->first_ns && at_ns[k] >= log->dropped_ns &&
                             at_ns[k + 1] <= log->t_ns && at_ns[k + 1] > at_ns[k];
            bool is_fine = half_ns[k] <= fine_ns && half_ns[k + 1] <= fine_ns;
            if (is_inside && is_fine && is_all_rest(log, at_ns[k], at_ns[k + 1], half_ns[k])) {
                struct sum *rest = &d->sums[WT_PHASES_MOST];
                rest->is_there = true;
                rest->energy_j += energy_j;
                rest->bare_j += energy_j;
                rest->span_s += wt_s_from_ns(at_ns[k + 1] - at_ns[k]);
                rest->bare_s += wt_s_from_ns(at_ns[k + 1] - at_ns[k]);
                continue;
            }
            if (is_inside && is_fine) {
                d->half_s += wt_s_from_ns(half_ns[k] + half_ns[k + 1]) / 2;
                d->rows_added++;
            }
            if (is_inside && is_fine && !add_row(log, d, at_ns[k], at_ns[k + 1], energy_j))
                log->is_out_of_memory = true;
        }
        from = to;
    }
    d->ticks[0] = d->ticks[count - 1];
    d->ticks[0].is_gap = false;
    d->tick_count = 1;
}

/* Spans that every device is done with. */
static void forget_spans(struct wt_phase_log *log)
{
    int64_t done_ns = INT64_MAX;
    for (size_t i = 0; i < log->device_count; i++) {
        const struct device *d = &log->devices[i];
        if (d->why)
            continue;
        int64_t t_ns = d->tick_count ? d->ticks[0].lo_ns - 2 * d->period_ns : INT64_MIN;
        done_ns = t_ns < done_ns ? t_ns : done_ns;
    }
    size_t gone = 0;
    while (gone < log->span_count && log->spans[gone].end_ns < done_ns)
        gone++;
    if (gone < 1024 && gone < log->span_count)
        return;
    if (gone)
        log->before_ns = log->spans[gone - 1].end_ns;
    memmove(log->spans, log->spans + gone, (log->span_count - gone) * sizeof(*log->spans));
    log->span_count -= gone;
}

void wt_phase_log_tick(struct wt_phase_log *log, size_t device, const struct wt_meter_tick *tick)
{
    struct device *d = &log->devices[device];
    if (d->why)
        return;
    if (d->tick_count == BLOCK + 1) {
        settle(log, d);
        forget_spans(log);
    }
    d->ticks[d->tick_count++] = *tick;
}

void wt_phase_log_capped(struct wt_phase_log *log, size_t device)
{
    log->devices[device].is_capped = true;
}

/* ---- the result ---- */

/* One phase's or group's energy over all devices. */
struct part {
    double energy_j, half_j;
    bool is_known, is_separable;
};

static bool is_told(const struct device *d)
{
    return !d->why && d->solved > 0;
}

static void note(char *buf, size_t size, const char *fmt, ...) WT_PRINTF(3, 4);
static void note(char *buf, size_t size, const char *fmt, ...)
{
    size_t used = strlen(buf);
    if (used && used + 2 < size) {
        memcpy(buf + used, "; ", 3);
        used += 2;
    }
    va_list args;
    va_start(args, fmt);
    vsnprintf(buf + used, size - used, fmt, args);
    va_end(args);
}

/* Column of the i-th row of the result. */
static unsigned column_of(const struct wt_phase_log *log, size_t i)
{
    return i < log->phase_count ? (unsigned)i : WT_PHASES_MOST;
}

/* Groups over all devices: not told apart on one of them is not told apart. The sums of every
 * device are brought to the same groups. */
static void agree_on_groups(struct wt_phase_log *log)
{
    for (size_t i = 0; i < log->device_count; i++)
        for (size_t k = 0; k < log->device_count; k++) {
            if (!is_told(&log->devices[i]) || !is_told(&log->devices[k]))
                continue;
            for (unsigned p = 0; p <= WT_PHASES_MOST; p++) {
                if (!log->devices[i].sums[p].is_inseparable)
                    continue;
                log->devices[k].sums[p].is_inseparable = true;
                join(&log->devices[k], p, root_of(&log->devices[i], p));
            }
        }
}

/* Seconds of a row of the result: of a phase, or of the rest since the first began. */
static double own_s_of(const struct wt_phase_log *log, size_t row)
{
    if (row < log->phase_count)
        return wt_s_from_ns(log->phases[row].own_ns);
    int64_t rest_ns = log->t_ns - log->first_ns;
    for (size_t p = 0; p < log->phase_count; p++)
        rest_ns -= log->phases[p].own_ns;
    return wt_s_from_ns(rest_ns > 0 ? rest_ns : 0);
}

static struct part part_of(struct wt_phase_log *log, size_t row)
{
    struct part part = {.is_known = false, .is_separable = true};
    unsigned p = column_of(log, row);
    for (size_t i = 0; i < log->device_count; i++) {
        struct device *d = &log->devices[i];
        struct sum *own = &d->sums[p];
        if (!is_told(d))
            continue;
        part.is_known = true;
        double energy_j = 0, half2_j2 = 0, span_s = 0, own_s = 0, half_j = 0;
        double bare_j = own->bare_j, bare_s = own->bare_s;
        uint64_t slices = row < log->phase_count ? log->phases[row].slices : 0;
        size_t members = 1;
        if (!own->is_inseparable) {
            energy_j = own->energy_j;
            half2_j2 = own->half2_j2;
            span_s = own->span_s;
            own_s = own_s_of(log, row);
        } else {
            members = 0;
            bare_j = bare_s = 0;
            slices = 0;
            unsigned root = root_of(d, p);
            energy_j = d->sums[root].joint_j;
            half2_j2 = d->sums[root].joint2_j2;
            for (size_t k = 0; k <= log->phase_count; k++) {
                struct sum *other = &d->sums[column_of(log, k)];
                if (root_of(d, column_of(log, k)) != root)
                    continue;
                energy_j += other->energy_j;
                half2_j2 += other->half2_j2;
                span_s += other->span_s;
                own_s += own_s_of(log, k);
                bare_j += other->bare_j;
                bare_s += other->bare_s;
                slices += k < log->phase_count ? log->phases[k].slices : 0;
                members++;
            }
        }
        if (!own->is_there)
            part.is_known = false;
        if (span_s < COVERED_SHARE * own_s) {
            part.is_known = false;
            continue;
        }
        /* What lay outside the rows, at both ends and in gaps, drew the same power. */
        double scale = span_s > 0 ? own_s / span_s : 1;
        energy_j *= scale;
        double away_j = fabs(energy_j - bare_j - d->sum_j / d->sum_s * (own_s - bare_s));
        if (own_s > 0)
            half_j += PLACED_SHARE * away_j * d->half_s / d->rows_added * (double)slices / own_s;
        if (d->is_capped)
            half_j += CAPPED_SHARE * away_j + CAPPED_OWN * (energy_j - bare_j);
        half_j += scale * sqrt(half2_j2) + d->gain * fabs(energy_j) +
                  d->info->traits.offset_mw * 1e-3 * own_s;
        /* Alone, and a block in which it was not measured is a small part of the whole. */
        bool is_measured = members == 1 && (!own->is_inseparable || half_j <= energy_j);
        part.is_separable &= is_measured;
        part.energy_j += energy_j;
        part.half_j += half_j;
    }
    return part;
}

static void name_companions(struct wt_phase_log *log, size_t row, char *buf, size_t size)
{
    unsigned p = column_of(log, row);
    for (size_t k = 0; k <= log->phase_count; k++) {
        unsigned q = column_of(log, k);
        bool is_companion = false;
        for (size_t i = 0; i < log->device_count; i++)
            if (is_told(&log->devices[i]))
                is_companion |= q != p && log->devices[i].sums[q].is_inseparable &&
                                root_of(&log->devices[i], q) == root_of(&log->devices[i], p);
        if (!is_companion)
            continue;
        size_t used = strlen(buf);
        wt_text(buf + used, size - used, "%s%s", used ? ", " : "",
                k < log->phase_count ? log->phases[k].name : "the rest");
    }
}

static struct wt_joules joules_of(const struct part *part, enum wt_provenance provenance)
{
    if (!part->is_known)
        return (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    double energy_j = fmax(0, part->energy_j);
    return (struct wt_joules){energy_j, fmax(0, part->energy_j - part->half_j),
                              fmax(energy_j, part->energy_j + part->half_j), provenance};
}

static void fill_counts(const struct phase *phase, struct wt_phase_energy *out)
{
    const struct wt_joules unknown = {NAN, NAN, NAN, WT_PROV_UNKNOWN};
    *out = (struct wt_phase_energy){
        .count = phase->count,
        .wall_s = wt_s_from_ns(phase->wall_ns),
        .own_s = wt_s_from_ns(phase->own_ns),
        .energy = unknown,
        .mean_w = NAN,
        .joint = unknown,
    };
    memcpy(out->name, phase->name, sizeof(out->name));
}

int wt_phase_log_counts(const struct wt_phase_log *log, struct wt_phases_result *ret_result,
                        struct wt_error *err)
{
    struct wt_phases_result r = {.count = log->phase_count};
    r.phases = calloc(r.count + 1, sizeof(*r.phases));
    if (!r.phases)
        return wt_fail(err, WT_E_NOMEM, "no memory for phases");
    for (size_t i = 0; i < r.count; i++)
        fill_counts(&log->phases[i], &r.phases[i]);
    *ret_result = r;
    return 0;
}

int wt_phase_log_result(struct wt_phase_log *log, struct wt_phases_result *ret_result,
                        struct wt_error *err)
{
    struct wt_phases_result r = {0};
    enum wt_provenance provenance = WT_PROV_COUNTER;
    bool is_any = false, is_all = true;
    if (!log->phase_count) {
        *ret_result = r;
        return 0;
    }
    for (size_t i = 0; i < log->device_count; i++) {
        struct device *d = &log->devices[i];
        settle(log, d);
        solve_rows(log, d, d->row_count);
        if (!d->why && !d->solved)
            d->why = "too few of its ticks fell into the phases";
        double mean_j = d->solved ? d->sum_j / (double)d->solved : 0;
        if (!d->why && d->is_partial &&
            sqrt(d->residual_j2 / (double)d->solved) > EXPLAINED_SHARE * mean_j)
            d->why = "its counter does not follow the phases: it sees only a part of the time, or "
                     "what they drew has changed (another load, another limit)";
        if (d->why && !d->info->is_part) {
            is_all = false;
            note(r.note, sizeof(r.note), "%s: %s", d->info->name, d->why);
        }
        if (is_told(d)) {
            is_any = true;
            if (d->is_capped)
                note(r.note, sizeof(r.note), "%s ran into its power limit: wider", d->info->name);
            provenance = d->info->is_emulated ? WT_PROV_EMULATED : provenance;
        }
    }
    if (log->has_others)
        note(r.note, sizeof(r.note),
             "several programs marked at a time: the energy of phases follows one, process %u",
             log->first_pid);
    if (log->unmatched)
        note(r.note, sizeof(r.note), "%llu marks had no partner",
             (unsigned long long)log->unmatched);
    agree_on_groups(log);
    r.phases = calloc(log->phase_count + 1, sizeof(*r.phases));
    if (!r.phases || log->is_out_of_memory) {
        free(r.phases);
        return wt_fail(err, WT_E_NOMEM, "no memory for phases");
    }
    for (size_t i = 0; i <= log->phase_count; i++) {
        struct wt_phase_energy *out = &r.phases[r.count];
        struct part part = part_of(log, i);
        part.is_known &= is_all; /* what is left of a sum without its largest part tells nothing */
        bool is_rest = i == log->phase_count, is_there = false;
        double own_s = own_s_of(log, i);
        for (size_t k = 0; is_rest && k < log->device_count; k++)
            is_there |= log->devices[k].sums[WT_PHASES_MOST].is_there;
        if (is_rest && (!is_any || !is_all || !is_there))
            continue;
        *out = (struct wt_phase_energy){.own_s = own_s, .wall_s = own_s, .mean_w = NAN};
        if (!is_rest)
            fill_counts(&log->phases[i], out);
        const struct part none = {0};
        out->is_separable = part.is_known && part.is_separable;
        out->energy = joules_of(out->is_separable ? &part : &none, provenance);
        out->joint = joules_of(part.is_known && !part.is_separable ? &part : &none, provenance);
        if (out->is_separable && out->own_s > 0)
            out->mean_w = out->energy.energy_j / out->own_s;
        if (part.is_known && !part.is_separable)
            name_companions(log, i, out->with, sizeof(out->with));
        r.count++;
    }
    *ret_result = r;
    return 0;
}

void wt_phases_result_done(struct wt_phases_result *result)
{
    free(result->phases);
    result->phases = NULL;
    result->count = 0;
}

/* ---- over a meter ---- */

struct wt_phases {
    struct wt_meter *meter;
    struct wt_phase_log *log;
    int64_t *after_ns; /* owned; one a device: moves up to here were taken */
    size_t count;
    bool is_following;
};

int wt_phases_new(struct wt_phases **ret_phases, struct wt_meter *meter, struct wt_error *err)
{
    size_t count = wt_meter_device_count(meter);
    struct wt_phases *p = calloc(1, sizeof(*p));
    const struct wt_device_info **infos = calloc(count ? count : 1, sizeof(*infos));
    int rc = 0;
    if (p)
        p->after_ns = calloc(count ? count : 1, sizeof(*p->after_ns));
    if (!p || !infos || !p->after_ns) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for phases");
        goto out;
    }
    p->meter = meter;
    p->count = count;
    for (size_t i = 0; i < count; i++) {
        infos[i] = wt_meter_device_info(meter, i);
        p->after_ns[i] = INT64_MIN;
    }
    rc = wt_phase_log_new(&p->log, infos, count, NULL, err);
    if (rc < 0)
        goto out;
    *ret_phases = p;
    p = NULL;
out:
    free(infos);
    wt_phases_free(p);
    return rc;
}

void wt_phases_free(struct wt_phases *phases)
{
    if (!phases)
        return;
    wt_phase_log_free(phases->log);
    free(phases->after_ns);
    free(phases);
}

void wt_phases_mark(struct wt_phases *phases, const struct wt_mark *mark)
{
    wt_phase_log_mark(phases->log, mark);
}

static void take_ticks(struct wt_phases *p, int64_t until_ns)
{
    struct wt_meter_tick ticks[64];
    int64_t first_ns = wt_phase_log_first_ns(p->log);
    for (size_t i = 0; i < p->count; i++) {
        /* Before the first phase there is nothing to tell apart. */
        if (p->after_ns[i] < first_ns - WT_NS_PER_S)
            p->after_ns[i] = first_ns - WT_NS_PER_S;
        for (;;) {
            size_t count = wt_meter_ticks(p->meter, i, p->after_ns[i], ticks, WT_COUNTOF(ticks));
            size_t k = 0;
            for (; k < count && ticks[k].hi_ns <= until_ns; k++) {
                wt_phase_log_tick(p->log, i, &ticks[k]);
                p->after_ns[i] = ticks[k].hi_ns;
            }
            if (k < WT_COUNTOF(ticks))
                break;
        }
    }
}

void wt_phases_advance(struct wt_phases *p, int64_t now_ns)
{
    if (wt_phase_log_first_ns(p->log) == INT64_MAX)
        return;
    if (!p->is_following) {
        p->is_following = true;
        wt_meter_follow(p->meter);
    }
    for (size_t i = 0; i < p->count; i++)
        if (wt_meter_is_capped(p->meter, i))
            wt_phase_log_capped(p->log, i);
    wt_phase_log_known(p->log, now_ns);
    take_ticks(p, now_ns);
}

int wt_phases_counts(const struct wt_phases *phases, struct wt_phases_result *ret_result,
                     struct wt_error *err)
{
    return wt_phase_log_counts(phases->log, ret_result, err);
}

int wt_phases_result(struct wt_phases *phases, struct wt_phases_result *ret_result,
                     struct wt_error *err)
{
    if (wt_phase_log_first_ns(phases->log) != INT64_MAX)
        take_ticks(phases, INT64_MAX);
    return wt_phase_log_result(phases->log, ret_result, err);
}
