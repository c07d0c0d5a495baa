/* segments: the cheapest way to run some steps of work in several pieces, when each interruption
 * takes steps of its own and a piece has a least length.
 *
 * What a plan has done by step t is its progress p: steps run, less one checkpoint for every
 * interruption. The exact answer is a table over t and p, of a year at five minutes and two weeks
 * of work 424 million states. Few of them matter: for any price x of progress, the cheapest plan of
 * cost - x p is found in one pass over t without p (Lagrange), and bounds every state from below:
 * what came before costs at least f_x(t) + x p, what comes after at least b_y(t) + y (work - p).
 * States whose bound is above a plan that is at hand are left out, and the table is made of the
 * others: exact, whatever the prices are. Where a plan at hand has the bound's very cost, there is
 * no table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define PRICES     8
#define CELLS_MAX  (400u << 20)
#define PASSES_MAX 60

struct finder {
    const double *cost;
    size_t n, work, checkpoint, length; /* length: of the shortest piece */
    double *sum;                        /* n + 1: cost of the steps before; of known ones */
    double scale;                       /* of those sums, for what rounding may take */
    uint32_t *unknown;                  /* n + 1: how many of them cannot be run */
    double best;                        /* of the plan at hand */
    struct wt_segment *segments;        /* that plan, when it was found here */
    size_t count;
};

/* ---- one price ---- */

/* A plan as a pass sees it: what it costs and how far it gets. */
struct sight {
    double value; /* cost - price * progress */
    double cost;
    int64_t progress;
};

static const struct sight nowhere = {INFINITY, INFINITY, 0};

/* The cheapest plan at a price. ring: room for length + 1 sights. decisions: n + 1, or NULL; 1: the
 * piece ends here, 2: its shortest part does, 4: and it is the first. */
static struct sight pass(const struct finder *f, double price, struct sight *ring,
                         unsigned char *decisions)
{
    struct sight off = nowhere, run = nowhere;
    double length_gain = price * (double)f->length, pause = price * (double)f->checkpoint;
    for (size_t t = 0, slot = 0; t <= f->n; t++) {
        unsigned char d = 0;
        if (t >= f->length && f->unknown[t] == f->unknown[t - f->length]) {
            const struct sight *before = &ring[slot]; /* the step before the piece is idle */
            bool is_first = t == f->length || !(before->value + pause < 0);
            double piece = f->sum[t] - f->sum[t - f->length];
            struct sight jump = {piece - length_gain, piece, (int64_t)f->length};
            if (!is_first) {
                jump.value += before->value + pause;
                jump.cost += before->cost;
                jump.progress += before->progress - (int64_t)f->checkpoint;
            }
            if (jump.value < run.value) {
                run = jump;
                d |= is_first ? 2 | 4 : 2;
            }
        }
        if (run.value < off.value) {
            off = run;
            d |= 1;
        }
        if (decisions)
            decisions[t] = d;
        ring[slot] = off;
        slot = slot == f->length ? 0 : slot + 1;
        if (t < f->n) {
            run.value += f->cost[t] - price;
            run.cost += f->cost[t];
            run.progress++;
        }
    }
    return off;
}

static void reverse(struct wt_segment *s, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct wt_segment swap = s[i];
        s[i] = s[count - 1 - i];
        s[count - 1 - i] = swap;
    }
}

/* The pieces of the plan that a pass found, in order: of n steps at most n / (length + 1) + 1. */
static size_t follow(const struct finder *f, const unsigned char *decisions,
                     struct wt_segment *segments)
{
    size_t count = 0;
    for (size_t t = f->n;;) {
        while (!(decisions[t] & 1))
            t--;
        int64_t end = (int64_t)t;
        while (!(decisions[t] & 2))
            t--;
        bool is_first = decisions[t] & 4;
        t -= f->length;
        segments[count++] = (struct wt_segment){(int64_t)t, end};
        if (is_first)
            break;
        t--;
    }
    reverse(segments, count);
    return count;
}

/* ---- a plan at hand ---- */

static int64_t length_of(const struct wt_segment *s)
{
    return s->end_s - s->start_s;
}

static int64_t progress_of(const struct finder *f, const struct wt_segment *s, size_t count)
{
    int64_t progress = -(int64_t)(f->checkpoint * (count - 1));
    for (size_t i = 0; i < count; i++)
        progress += length_of(&s[i]);
    return progress;
}

static double cost_of(const struct finder *f, const struct wt_segment *s, size_t count)
{
    double cost = 0;
    for (size_t i = 0; i < count; i++)
        cost += f->sum[s[i].end_s] - f->sum[s[i].start_s];
    return cost;
}

static void drop(struct wt_segment *s, size_t *io_count, size_t at)
{
    memmove(&s[at], &s[at + 1], (--*io_count - at) * sizeof(*s));
}

/* Takes steps off until the plan does no more than it must: those that cost most for what they do.
 * False: it cannot. */
static bool shrink(const struct finder *f, struct wt_segment *s, size_t *io_count, int64_t excess)
{
    for (size_t budget = 4000000; excess > 0;) {
        double most = -INFINITY;
        size_t at = SIZE_MAX;
        int what = 0;
        if (budget < *io_count)
            return false;
        budget -= *io_count;
        for (size_t i = 0; i < *io_count; i++) {
            if (length_of(&s[i]) > (int64_t)f->length) {
                double head = f->cost[s[i].start_s], tail = f->cost[s[i].end_s - 1];
                if (head > most || tail > most) {
                    at = i;
                    what = head > tail ? 1 : 2;
                    most = head > tail ? head : tail;
                }
            }
            int64_t gain = length_of(&s[i]) - (int64_t)f->checkpoint;
            if (*io_count > 1 && gain <= excess) {
                double each = (f->sum[s[i].end_s] - f->sum[s[i].start_s]) / (double)gain;
                if (each > most) {
                    at = i;
                    what = 3;
                    most = each;
                }
            }
        }
        if (at == SIZE_MAX)
            return false;
        if (what == 3) {
            excess -= length_of(&s[at]) - (int64_t)f->checkpoint;
            drop(s, io_count, at);
        } else {
            s[at].start_s += what == 1;
            s[at].end_s -= what == 2;
            excess--;
        }
    }
    return true;
}

/* Adds steps at the ends of pieces until the plan does what it must, the cheapest first. */
static bool grow(const struct finder *f, struct wt_segment *s, size_t *io_count, int64_t lack)
{
    for (size_t budget = 4000000; lack > 0;) {
        double least = INFINITY;
        size_t at = SIZE_MAX;
        bool is_head = false;
        if (budget < *io_count)
            return false;
        budget -= *io_count;
        for (size_t i = 0; i < *io_count; i++)
            for (int side = 0; side < 2; side++) {
                int64_t step = side ? s[i].end_s : s[i].start_s - 1, gain = 1;
                if (step < 0 || step >= (int64_t)f->n)
                    continue;
                if (side && i + 1 < *io_count && s[i + 1].start_s == step + 1)
                    gain += (int64_t)f->checkpoint;
                if (!side && i && s[i - 1].end_s == step)
                    gain += (int64_t)f->checkpoint;
                if (gain <= lack && f->cost[step] / (double)gain < least) {
                    least = f->cost[step] / (double)gain;
                    at = i;
                    is_head = !side;
                }
            }
        if (at == SIZE_MAX)
            return false;
        lack--;
        if (is_head)
            s[at].start_s--;
        else
            s[at].end_s++;
        size_t joint = is_head ? at : at + 1; /* the later of two that may touch now */
        if (joint && joint < *io_count && s[joint - 1].end_s == s[joint].start_s) {
            s[joint - 1].end_s = s[joint].end_s;
            drop(s, io_count, joint);
            lack -= (int64_t)f->checkpoint;
        }
    }
    return lack == 0;
}

/* The plan of a pass made one that does exactly the work; kept when it is the best so far. */
static int repair(struct finder *f, double price, struct sight *ring, unsigned char *decisions,
                  struct wt_error *err)
{
    struct wt_segment *s = calloc(f->n / (f->length + 1) + 1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    pass(f, price, ring, decisions);
    size_t count = follow(f, decisions, s);
    int64_t progress = progress_of(f, s, count), work = (int64_t)f->work;
    bool is_whole = progress >= work ? shrink(f, s, &count, progress - work)
                                     : grow(f, s, &count, work - progress);
    double cost = is_whole ? cost_of(f, s, count) : INFINITY;
    if (cost < f->best) {
        free(f->segments);
        f->segments = s;
        f->count = count;
        f->best = cost;
    } else {
        free(s);
    }
    return 0;
}

/* ---- the table ---- */

struct range {
    uint32_t low, width; /* of progress; calloc makes them empty */
};

struct bounds {
    double prices[PRICES];   /* [0] the best one */
    struct range *off, *run; /* n + 1 each: what progress may be part of a better plan */
};

static struct range narrow(const double *before, const double *after, const double *prices,
                           double work, double best)
{
    /* before[i] + after[j] + prices[j] * work + (prices[i] - prices[j]) * p <= best */
    double low = 0, high = work;
    for (size_t k = 1; k < 2 * PRICES; k++) {
        size_t i = k < PRICES ? k : 0, j = k < PRICES ? 0 : k - PRICES;
        double room = best - before[i] - after[j] - prices[j] * work;
        double slope = prices[i] - prices[j];
        if (slope > 0)
            high = fmin(high, floor(room / slope + 1e-9));
        else if (slope < 0)
            low = fmax(low, ceil(room / slope - 1e-9));
    }
    if (low > high)
        return (struct range){0, 0};
    return (struct range){(uint32_t)low, (uint32_t)(high - low) + 1};
}

enum { ALIVE_OFF = 1, ALIVE_RUN = 2 };

/* Which steps may see a better plan off or running at all, by the best price alone: few. */
static int find_alive(const struct finder *f, double price, double best, unsigned char *alive,
                      struct wt_error *err)
{
    size_t n = f->n, length = f->length;
    double *off = malloc((n + 1) * sizeof(*off)), *run = malloc((n + 1) * sizeof(*run));
    int rc = off && run ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a plan's bounds");
    double gain = price * (double)length, pause = price * (double)f->checkpoint;
    double now_off = INFINITY, now_run = INFINITY;
    for (size_t t = 0; rc == 0 && t <= n; t++) {
        if (t >= length && f->unknown[t] == f->unknown[t - length]) {
            double from = t > length ? off[t - length - 1] + pause : 0;
            double jump = f->sum[t] - f->sum[t - length] - gain + (from < 0 ? from : 0);
            now_run = jump < now_run ? jump : now_run;
        }
        now_off = now_run < now_off ? now_run : now_off;
        run[t] = now_run;
        off[t] = now_off;
        now_run += (t < n ? f->cost[t] : 0) - price;
    }
    /* Backward: now_off is the least from here to the end when the job is off and has run, now_run
     * when it runs. run[t] has been used when it takes its place there. */
    double least = best - price * (double)f->work;
    now_off = 0;
    now_run = INFINITY;
    for (size_t t = n + 1; rc == 0 && t-- > 0;) {
        size_t over = t + 1 + length;
        if (over <= n && f->unknown[over] == f->unknown[t + 1]) {
            double jump = pause + f->sum[over] - f->sum[t + 1] - gain + run[over];
            now_off = jump < now_off ? jump : now_off;
        }
        double on = now_run + (t < n ? f->cost[t] : INFINITY) - price;
        now_run = now_off < on ? now_off : on;
        alive[t] = (unsigned char)((off[t] + now_off <= least ? ALIVE_OFF : 0) |
                                   (run[t] + now_run <= least ? ALIVE_RUN : 0));
        run[t] = now_run;
    }
    free(off);
    free(run);
    return rc;
}

/* All prices at once, over the steps at which a better plan may run: forward first, which is kept,
 * then backward. */
static int make_bounds(const struct finder *f, struct bounds *b, double best, struct wt_error *err)
{
    size_t n = f->n, length = f->length, count = 0, kept = 0;
    unsigned char *alive = malloc(n + 1);
    uint32_t *index = malloc((n + 1) * sizeof(*index)); /* how many of the steps so far are kept */
    double(*off)[PRICES] = NULL, (*run)[PRICES] = NULL;
    double(*later)[PRICES] = calloc(length + 2, sizeof(*later));
    int rc = alive && index && later ? find_alive(f, b->prices[0], best, alive, err)
                                     : wt_fail(err, WT_E_NOMEM, "no memory for a plan's bounds");
    for (size_t t = 0; rc == 0 && t <= n; t++)
        count += (alive[t] & ALIVE_RUN) != 0;
    if (rc == 0) {
        off = malloc((count + 1) * sizeof(*off));
        run = malloc((count + 1) * sizeof(*run));
        if (!off || !run)
            rc = wt_fail(err, WT_E_NOMEM, "no memory for a plan's bounds");
    }
    if (rc < 0)
        goto out;
    double gain[PRICES], pause[PRICES], now_off[PRICES], now_run[PRICES];
    for (size_t i = 0; i < PRICES; i++) {
        gain[i] = b->prices[i] * (double)length;
        pause[i] = b->prices[i] * (double)f->checkpoint;
        off[0][i] = now_off[i] = now_run[i] = INFINITY;
    }
    /* off[k], run[k] are of the kth step that is kept; off[0] of none. */
    for (size_t t = 0; t <= n; t++) {
        if (alive[t] & ALIVE_RUN) {
            if (t == 0 || !(alive[t - 1] & ALIVE_RUN))
                for (size_t i = 0; i < PRICES; i++)
                    now_run[i] = INFINITY;
            if (t >= length && f->unknown[t] == f->unknown[t - length]) {
                double piece = f->sum[t] - f->sum[t - length];
                const double *before = off[t > length ? index[t - length - 1] : 0];
                for (size_t i = 0; i < PRICES; i++) {
                    double from = before[i] + pause[i];
                    double jump = piece - gain[i] + (from < 0 ? from : 0);
                    now_run[i] = jump < now_run[i] ? jump : now_run[i];
                }
            }
            double step = t < n ? f->cost[t] : 0;
            kept++;
            for (size_t i = 0; i < PRICES; i++) {
                now_off[i] = now_run[i] < now_off[i] ? now_run[i] : now_off[i];
                run[kept][i] = now_run[i];
                off[kept][i] = now_off[i];
                now_run[i] += step - b->prices[i];
            }
        }
        index[t] = (uint32_t)kept;
    }
    for (size_t i = 0; i < PRICES; i++) {
        now_off[i] = 0;
        now_run[i] = INFINITY;
    }
    /* later[t % (length + 2)]: now_run of the steps to come, where it is kept. */
    for (size_t t = n + 1; t-- > 0;) {
        size_t over = t + 1 + length;
        bool may_begin = over <= n && (alive[over] & ALIVE_RUN);
        if (may_begin && f->unknown[over] == f->unknown[t + 1]) {
            const double *then = later[over % (length + 2)];
            double piece = f->sum[over] - f->sum[t + 1];
            for (size_t i = 0; i < PRICES; i++) {
                double jump = pause[i] + piece - gain[i] + then[i];
                now_off[i] = jump < now_off[i] ? jump : now_off[i];
            }
        }
        if (alive[t] & ALIVE_RUN) {
            double *here = later[t % (length + 2)];
            bool goes_on = t < n && (alive[t + 1] & ALIVE_RUN);
            for (size_t i = 0; i < PRICES; i++) {
                double on = goes_on ? now_run[i] + f->cost[t] - b->prices[i] : INFINITY;
                now_run[i] = now_off[i] < on ? now_off[i] : on;
                here[i] = now_run[i];
            }
            b->run[t] = narrow(run[index[t]], now_run, b->prices, (double)f->work, best);
        }
        if ((alive[t] & ALIVE_OFF) && ((alive[t] & ALIVE_RUN) || may_begin))
            b->off[t] = narrow(off[index[t]], now_off, b->prices, (double)f->work, best);
    }
out:
    free(alive);
    free(index);
    free(off);
    free(run);
    free(later);
    return rc;
}

/* The states (t, p) of which decisions are kept: p in range, at offset. */
struct row {
    struct range stop, jump;
    size_t stop_at, jump_at;
    bool has_first, is_first_taken;
};

static bool is_in(struct range r, int64_t p)
{
    return p >= r.low && p < (int64_t)r.low + r.width;
}

/* What a and b moved by shift have in common. */
static struct range both(struct range a, struct range b, int64_t shift)
{
    int64_t low = (int64_t)b.low + shift, high = low + b.width;
    low = low > a.low ? low : a.low;
    high = high < (int64_t)a.low + a.width ? high : (int64_t)a.low + a.width;
    return high > low ? (struct range){(uint32_t)low, (uint32_t)(high - low)}
                      : (struct range){0, 0};
}

/* Walks back from the end; the pieces replace the plan at hand. */
static int take_table(struct finder *f, const struct row *rows, const unsigned char *cells,
                      struct wt_error *err)
{
    struct wt_segment *s = calloc(f->n / (f->length + 1) + 1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    size_t count = 0;
    int64_t p = (int64_t)f->work;
    for (size_t t = f->n;;) {
        while (!is_in(rows[t].stop, p) || !cells[rows[t].stop_at + (size_t)(p - rows[t].stop.low)])
            t--;
        int64_t end = (int64_t)t;
        bool is_first;
        for (;; t--, p--) {
            is_first = p == (int64_t)f->length && rows[t].is_first_taken;
            if (is_first ||
                (is_in(rows[t].jump, p) && cells[rows[t].jump_at + (size_t)(p - rows[t].jump.low)]))
                break;
        }
        t -= f->length;
        p -= (int64_t)f->length - (int64_t)f->checkpoint;
        s[count++] = (struct wt_segment){(int64_t)t, end};
        if (is_first)
            break;
        t--;
    }
    reverse(s, count);
    free(f->segments);
    f->segments = s;
    f->count = count;
    return 0;
}

static int make_table(struct finder *f, const struct bounds *b, struct wt_error *err)
{
    size_t n = f->n, length = f->length, cells_count = 0, pending_room = 1;
    int64_t shift = (int64_t)length - (int64_t)f->checkpoint;
    struct row *rows = calloc(n + 1, sizeof(*rows));
    unsigned char *cells = NULL;
    double *off = malloc((f->work + 1) * sizeof(*off)),
           *run = malloc((n + f->work + 1) * sizeof(*run));
    double *pending = NULL;
    int rc = rows && off && run ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a plan's table");
    for (size_t t = 0; rc == 0 && t <= n; t++) {
        if (!b->run[t].width)
            continue;
        rows[t].stop = both(b->off[t], b->run[t], 0);
        if (t >= length && f->unknown[t] == f->unknown[t - length]) {
            if (t > length)
                rows[t].jump = both(b->run[t], b->off[t - length - 1], shift);
            rows[t].has_first = is_in(b->run[t], (int64_t)length);
        }
        rows[t].stop_at = cells_count;
        rows[t].jump_at = cells_count + rows[t].stop.width;
        cells_count = rows[t].jump_at + rows[t].jump.width;
        if (rows[t].jump.width > pending_room)
            pending_room = rows[t].jump.width;
        if (cells_count > CELLS_MAX || pending_room * (length + 1) > CELLS_MAX / 8) {
            rc = wt_fail(err, WT_E_RANGE, "a plan of more than %u million states", CELLS_MAX >> 20);
            wt_fix(err, "a shorter time to --deadline, or durations in multiples of 5 minutes");
        }
    }
    if (rc == 0) {
        cells = calloc(cells_count + 1, 1);
        pending = malloc(pending_room * (length + 1) * sizeof(*pending));
        if (!cells || !pending)
            rc = wt_fail(err, WT_E_NOMEM, "no memory for a plan's table");
    }
    if (rc < 0)
        goto out;
    for (size_t p = 0; p <= f->work; p++)
        off[p] = INFINITY;
    for (size_t q = 0; q < n + f->work + 1; q++)
        run[q] = INFINITY;
    /* run[n + p - t]: the least of being at (t, p) while running, less the cost of the steps before
     * t. So kept it needs no change while it runs. pending: what was off[] when a shortest piece
     * began, until it is over. */
    bool is_used = false;
    for (size_t t = 0, slot = 0; t <= n; t++, slot = slot == length ? 0 : slot + 1) {
        struct row *row = &rows[t];
        size_t base = n - t;
        double *begun = &pending[slot * pending_room];
        if (is_used && t && isinf(f->cost[t - 1])) { /* what ran, ran into what is not known */
            for (size_t q = 0; q < n + f->work + 1; q++)
                run[q] = INFINITY;
            is_used = false;
        }
        is_used |= row->jump.width || row->has_first;
        if (row->jump.width) {
            unsigned char *cell = &cells[row->jump_at];
            double *to = &run[base + row->jump.low];
            double before = f->sum[t - length];
            for (size_t k = 0, w = row->jump.width; k < w; k++) {
                double jump = begun[k] - before;
                cell[k] = jump < to[k];
                to[k] = jump < to[k] ? jump : to[k];
            }
        }
        if (row->has_first && -f->sum[t - length] < run[base + length]) {
            run[base + length] = -f->sum[t - length];
            row->is_first_taken = true;
        }
        if (row->stop.width) {
            unsigned char *cell = &cells[row->stop_at];
            const double *from = &run[base + row->stop.low];
            double *to = &off[row->stop.low], before = f->sum[t];
            for (size_t k = 0, w = row->stop.width; k < w; k++) {
                double stop = from[k] + before;
                cell[k] = stop < to[k];
                to[k] = stop < to[k] ? stop : to[k];
            }
        }
        size_t over = t + 1 + length; /* the shortest piece after an idle step */
        if (over <= n && rows[over].jump.width)
            memcpy(begun, &off[(int64_t)rows[over].jump.low - shift],
                   rows[over].jump.width * sizeof(*begun));
    }
    if (off[f->work] < f->best) {
        f->best = off[f->work];
        rc = take_table(f, rows, cells, err);
    }
out:
    free(rows);
    free(cells);
    free(off);
    free(run);
    free(pending);
    return rc;
}

/* ---- all of it ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* About what the dearest step costs when the cheapest are taken: from a sample. */
static double guess_price(const struct finder *f)
{
    double sample[1024] = {0};
    size_t count = 0, apart = f->n / WT_COUNTOF(sample) + 1;
    for (size_t t = 0; t < f->n; t += apart)
        sample[count++] = f->cost[t];
    qsort(sample, count, sizeof(*sample), by_size);
    return sample[(size_t)((double)(count - 1) * (double)f->work / (double)f->n)];
}

/* The price at which the bound is highest: two passes see plans that do too little and too much,
 * and the price at which those are worth the same is looked at next. */
static int search_price(struct finder *f, struct bounds *b, double *ret_bound, struct wt_error *err)
{
    struct sight *ring = calloc(f->length + 1, sizeof(*ring));
    unsigned char *decisions = calloc(f->n + 1, 1);
    int rc = ring && decisions ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a plan's bounds");
    double largest = 1, sum = 0, squares = 0;
    size_t known = 0;
    for (size_t t = 0; t < f->n; t++)
        if (!isinf(f->cost[t])) {
            largest = fmax(largest, fabs(f->cost[t]));
            sum += f->cost[t];
            squares += f->cost[t] * f->cost[t];
            known++;
        }
    if (rc < 0)
        goto out;
    double work = (double)f->work, low_price = -4 * largest * (double)f->n, high_price = -low_price;
    struct sight low = pass(f, low_price, ring, NULL), high = pass(f, high_price, ring, NULL);
    *ret_bound = INFINITY;
    if (!known || isinf(low.value) || high.progress < (int64_t)f->work)
        goto out; /* there is no plan */
    if (low.progress > (int64_t)f->work) {
        high = low;
        high_price = low_price;
    }
    double mean = sum / (double)known, price = mean, bound = -INFINITY;
    double spread = sqrt(fmax(squares / (double)known - mean * mean, 0)) + 1e-6 * largest;
    double guess = guess_price(f);
    for (int side = -1; side <= 1 && !isinf(guess); side += 2) { /* begin near it */
        double near = guess + 0.15 * side * spread;
        struct sight s = pass(f, near, ring, NULL);
        bound = fmax(bound, s.value + near * work);
        if (s.progress <= (int64_t)f->work && s.progress > low.progress) {
            low = s;
            low_price = near;
        } else if (s.progress > (int64_t)f->work && s.progress < high.progress) {
            high = s;
            high_price = near;
        }
    }
    for (int i = 0; i < PASSES_MAX && low.progress < high.progress; i++) {
        price = (high.cost - low.cost) / (double)(high.progress - low.progress);
        struct sight s = pass(f, price, ring, NULL);
        bound = fmax(bound, s.value + price * work);
        double ends = low.cost - price * (double)low.progress;
        if (s.value >= ends - 1e-13 * fabs(ends))
            break;
        if (s.progress <= (int64_t)f->work) {
            low = s;
            low_price = price;
        } else {
            high = s;
            high_price = price;
        }
    }
    *ret_bound = bound;
    b->prices[0] = price;
    static const double apart[PRICES - 1] = {-0.02, 0.02, -0.1, 0.1, -0.4, 0.4, 1.5};
    for (size_t i = 1; i < PRICES; i++)
        b->prices[i] = price + apart[i - 1] * spread;
    rc = repair(f, low_price, ring, decisions, err);
    if (rc == 0)
        rc = repair(f, high_price, ring, decisions, err);
out:
    free(ring);
    free(decisions);
    return rc;
}

int wt_segments_find(const double *cost, size_t n, size_t work, size_t checkpoint,
                     size_t segment_min, double *io_best, struct wt_segment **ret_segments,
                     size_t *ret_count, struct wt_error *err)
{
    struct finder f = {
        .cost = cost, .n = n, .work = work, .checkpoint = checkpoint, .best = *io_best};
    struct bounds b = {0};
    f.length = segment_min > checkpoint ? segment_min : checkpoint + 1;
    *ret_segments = NULL;
    *ret_count = 0;
    if (work < f.length || n < work)
        return 0;
    if (n > UINT32_MAX / 4)
        return wt_fail(err, WT_E_RANGE, "a plan of more than a billion steps");
    f.sum = calloc(n + 1, sizeof(*f.sum));
    f.unknown = calloc(n + 1, sizeof(*f.unknown));
    b.off = calloc(n + 1, sizeof(*b.off));
    b.run = calloc(n + 1, sizeof(*b.run));
    int rc = f.sum && f.unknown && b.off && b.run
                 ? 0
                 : wt_fail(err, WT_E_NOMEM, "no memory for a plan of %zu steps", n);
    double bound = INFINITY;
    if (rc == 0) {
        for (size_t t = 0; t < n; t++) {
            bool is_known = !isinf(cost[t]);
            f.sum[t + 1] = f.sum[t] + (is_known ? cost[t] : 0);
            f.unknown[t + 1] = f.unknown[t] + !is_known;
            f.scale += is_known ? fabs(cost[t]) : 0;
        }
        rc = search_price(&f, &b, &bound, err);
    }
    bool is_proven = !isinf(f.best) && f.best - bound <= 1e-15 * f.scale + 1e-13 * fabs(f.best);
    if (rc == 0 && bound < INFINITY && !is_proven) {
        rc = make_bounds(&f, &b, f.best + 1e-11 * f.scale, err);
        if (rc == 0)
            rc = make_table(&f, &b, err);
    }
    if (rc == 0 && f.segments) {
        *ret_segments = f.segments;
        *ret_count = f.count;
        *io_best = f.best;
        f.segments = NULL;
    }
    free(f.segments);
    free(f.sum);
    free(f.unknown);
    free(b.off);
    free(b.run);
    return rc;
}
