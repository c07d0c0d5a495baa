/* easy: first come, first served with EASY backfilling (Lifka 1995), for a million jobs.
 *
 * Two questions are asked at every event, and neither may look at all of the queue or of what runs:
 * - When does the head of the queue have room? Running jobs stand in a treap by the end they asked
 *   for, with sums of widths: one walk down.
 * - Which is the first waiting job of at most so many units that asked for at most so long? Widths
 *   have ranks; a Fenwick tree over the ranks holds at each of its nodes a tree of minima of the
 *   time asked for, over the jobs of its ranks in order of arrival. A prefix of ranks is a few such
 *   nodes, most of which say no at their root. At a full machine what waits is narrow and long or
 *   wide and short, so that one tree of both minima would be walked to its leaves each time. */
#include <stdlib.h>
#include <string.h>

#include "plan/easy.h"

#define NONE UINT32_MAX

/* ---- what waits ---- */

struct minima {             /* of the jobs of some ranks, in order of arrival */
    int32_t *min;           /* 2 * leaves; min[1] is the root; INT32_MAX: none waits */
    uint32_t *jobs;         /* of the leaves */
    uint32_t leaves, count; /* leaves: a power of two */
};

struct waiting {
    int32_t *widths; /* different ones, rising: rank r has widths[r - 1] */
    uint32_t ranks;
    uint32_t *rank_of; /* of each job */
    size_t *places_at; /* of each job: its leaves in the trees of its rank, in places */
    uint32_t *places;
    struct minima *trees; /* of the Fenwick nodes 1 to ranks */
    int32_t *pool_min;
    uint32_t *pool_jobs;
};

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* How many ranks have at most this width. */
static uint32_t ranks_within(const struct waiting *w, int64_t width)
{
    uint32_t low = 0, high = w->ranks;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (w->widths[middle] <= width)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void waiting_done(struct waiting *w)
{
    free(w->widths);
    free(w->rank_of);
    free(w->places_at);
    free(w->places);
    free(w->trees);
    free(w->pool_min);
    free(w->pool_jobs);
}

static int find_ranks(struct waiting *w, const struct wt_easy_job *jobs, size_t count)
{
    w->widths = malloc((count + 1) * sizeof(*w->widths));
    w->rank_of = malloc((count + 1) * sizeof(*w->rank_of));
    w->places_at = malloc((count + 1) * sizeof(*w->places_at));
    if (!w->widths || !w->rank_of || !w->places_at)
        return WT_E_NOMEM;
    for (size_t i = 0; i < count; i++)
        w->widths[i] = jobs[i].width;
    qsort(w->widths, count, sizeof(*w->widths), by_value);
    for (size_t i = 0; i < count; i++)
        if (!w->ranks || w->widths[i] != w->widths[w->ranks - 1])
            w->widths[w->ranks++] = w->widths[i];
    for (size_t i = 0; i < count; i++)
        w->rank_of[i] = ranks_within(w, jobs[i].width);
    return 0;
}

/* Room for the trees, and the leaves of each job in them. */
static int waiting_init(struct waiting *w, const struct wt_easy_job *jobs, size_t count)
{
    if (find_ranks(w, jobs, count) < 0)
        return WT_E_NOMEM;
    w->trees = calloc(w->ranks + 1, sizeof(*w->trees));
    if (!w->trees)
        return WT_E_NOMEM;
    size_t places = 0, mins = 0, leaf = 0, min = 0;
    for (size_t i = 0; i < count; i++) {
        w->places_at[i] = places;
        for (uint32_t f = w->rank_of[i]; f <= w->ranks; f += f & -f, places++)
            w->trees[f].count++;
    }
    for (uint32_t f = 1; f <= w->ranks; f++) {
        w->trees[f].leaves = 1;
        while (w->trees[f].leaves < w->trees[f].count)
            w->trees[f].leaves *= 2;
        mins += 2 * (size_t)w->trees[f].leaves;
    }
    w->places = malloc((places + 1) * sizeof(*w->places));
    w->pool_jobs = malloc((places + 1) * sizeof(*w->pool_jobs));
    w->pool_min = malloc((mins + 1) * sizeof(*w->pool_min));
    if (!w->places || !w->pool_jobs || !w->pool_min)
        return WT_E_NOMEM;
    for (size_t i = 0; i < mins; i++)
        w->pool_min[i] = INT32_MAX;
    for (uint32_t f = 1; f <= w->ranks; f++) {
        w->trees[f].min = w->pool_min + min;
        w->trees[f].jobs = w->pool_jobs + leaf;
        min += 2 * (size_t)w->trees[f].leaves;
        leaf += w->trees[f].count;
        w->trees[f].count = 0;
    }
    places = 0;
    for (size_t i = 0; i < count; i++)
        for (uint32_t f = w->rank_of[i]; f <= w->ranks; f += f & -f) {
            struct minima *tree = &w->trees[f];
            w->places[places++] = tree->count;
            tree->jobs[tree->count++] = (uint32_t)i;
        }
    return 0;
}

/* asked_s INT32_MAX: waits no longer. */
static void waiting_set(struct waiting *w, size_t job, int32_t asked_s)
{
    const uint32_t *place = w->places + w->places_at[job];
    for (uint32_t f = w->rank_of[job]; f <= w->ranks; f += f & -f, place++) {
        struct minima *tree = &w->trees[f];
        uint32_t at = tree->leaves + *place;
        tree->min[at] = asked_s;
        while (at > 1) {
            int32_t a = tree->min[at], b = tree->min[at ^ 1], least = a < b ? a : b;
            at /= 2;
            if (tree->min[at] == least)
                break;
            tree->min[at] = least;
        }
    }
}

/* The first that waits, has at most `width` and asked for at most asked_s; NONE. */
static uint32_t waiting_first(const struct waiting *w, int64_t width, int64_t asked_s)
{
    int32_t limit_s = asked_s < INT32_MAX ? (int32_t)asked_s : INT32_MAX - 1;
    uint32_t first = NONE;
    for (uint32_t f = ranks_within(w, width); f; f &= f - 1) {
        const struct minima *tree = &w->trees[f];
        uint32_t at = 1;
        if (tree->min[1] > limit_s)
            continue;
        while (at < tree->leaves)
            at = 2 * at + (tree->min[2 * at] > limit_s);
        uint32_t job = tree->jobs[at - tree->leaves];
        if (job < first)
            first = job;
    }
    return first;
}

/* ---- what runs: by the end that was asked for ---- */

struct runner {
    int64_t end_s; /* asked for */
    int64_t sum;   /* of widths, here and below */
    uint32_t job, priority, left, right;
    int32_t width;
};

struct running {
    struct runner *all;                /* [0]: none, of sum 0 */
    uint32_t root, count, room, spare; /* spare: a list by left */
    uint32_t dice;
    /* by the end that comes: a binary heap */
    struct ending {
        int64_t end_s;
        uint32_t job, runner;
    } * heap;
    size_t heap_count, heap_room;
};

static bool is_before(const struct runner *a, const struct runner *b)
{
    return a->end_s < b->end_s || (a->end_s == b->end_s && a->job < b->job);
}

static void add_up(struct runner *all, uint32_t at)
{
    all[at].sum = all[all[at].left].sum + all[all[at].right].sum + all[at].width;
}

/* What stands before `key` and what does not. */
static void split(struct runner *all, uint32_t at, const struct runner *key, uint32_t *ret_left,
                  uint32_t *ret_right)
{
    if (!at) {
        *ret_left = *ret_right = 0;
        return;
    }
    uint32_t part;
    if (is_before(&all[at], key)) {
        split(all, all[at].right, key, &part, ret_right);
        all[at].right = part;
        *ret_left = at;
    } else {
        split(all, all[at].left, key, ret_left, &part);
        all[at].left = part;
        *ret_right = at;
    }
    add_up(all, at);
}

static uint32_t merge(struct runner *all, uint32_t left, uint32_t right)
{
    if (!left || !right)
        return left | right;
    if (all[left].priority > all[right].priority) {
        all[left].right = merge(all, all[left].right, right);
        add_up(all, left);
        return left;
    }
    all[right].left = merge(all, left, all[right].left);
    add_up(all, right);
    return right;
}

static void put_runner(struct runner *all, uint32_t *io_at, uint32_t new)
{
    while (*io_at && all[*io_at].priority >= all[new].priority) {
        all[*io_at].sum += all[new].width;
        io_at = is_before(&all[new], &all[*io_at]) ? &all[*io_at].left : &all[*io_at].right;
    }
    split(all, *io_at, &all[new], &all[new].left, &all[new].right);
    add_up(all, new);
    *io_at = new;
}

static void take_runner(struct runner *all, uint32_t *io_at, uint32_t old)
{
    while (*io_at != old) {
        all[*io_at].sum -= all[old].width;
        io_at = is_before(&all[old], &all[*io_at]) ? &all[*io_at].left : &all[*io_at].right;
    }
    *io_at = merge(all, all[old].left, all[old].right);
}

/* When `need` units more are free, by what was asked for, and how many are by then. */
static int64_t time_of(const struct running *r, int64_t need, int64_t *ret_freed)
{
    const struct runner *all = r->all;
    int64_t before = 0, end_s = INT64_MAX;
    for (uint32_t at = r->root; at;) {
        int64_t here = before + all[all[at].left].sum + all[at].width;
        if (here >= need) {
            end_s = all[at].end_s;
            at = all[at].left;
        } else {
            before = here;
            at = all[at].right;
        }
    }
    *ret_freed = 0;
    for (uint32_t at = r->root; at;) /* and those that end in the same second */
        if (all[at].end_s <= end_s) {
            *ret_freed += all[all[at].left].sum + all[at].width;
            at = all[at].right;
        } else {
            at = all[at].left;
        }
    return end_s;
}

static bool ends_before(const struct ending *a, const struct ending *b)
{
    return a->end_s < b->end_s || (a->end_s == b->end_s && a->job < b->job);
}

static void heap_push(struct running *r, struct ending new)
{
    size_t at = r->heap_count++;
    while (at && ends_before(&new, &r->heap[(at - 1) / 2])) {
        r->heap[at] = r->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->heap[at] = new;
}

static struct ending heap_pop(struct running *r)
{
    struct ending top = r->heap[0], last = r->heap[--r->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < r->heap_count; at = child) {
        if (child + 1 < r->heap_count && ends_before(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (!ends_before(&r->heap[child], &last))
            break;
        r->heap[at] = r->heap[child];
    }
    r->heap[at] = last;
    return top;
}

/* Room for one more. */
static int running_grow(struct running *r)
{
    if (!r->spare && r->count + 1 >= r->room) {
        uint32_t room = r->room ? 2 * r->room : 256;
        struct runner *all = reallocarray(r->all, room, sizeof(*all));
        if (!all)
            return WT_E_NOMEM;
        r->all = all;
        r->room = room;
        memset(&all[0], 0, sizeof(all[0]));
    }
    if (r->heap_count == r->heap_room) {
        size_t room = r->heap_room ? 2 * r->heap_room : 256;
        struct ending *heap = reallocarray(r->heap, room, sizeof(*heap));
        if (!heap)
            return WT_E_NOMEM;
        r->heap = heap;
        r->heap_room = room;
    }
    return 0;
}

/* ---- the machine ---- */

struct machine {
    const struct wt_easy_job *jobs;
    size_t count;
    int64_t *starts_s; /* INT64_MIN: not started */
    int64_t free;
    struct waiting waiting;
    struct running running;
    size_t released, head, queued, queue_max;
};

static int start(struct machine *m, size_t job, int64_t now_s)
{
    struct running *r = &m->running;
    const struct wt_easy_job *j = &m->jobs[job];
    if (running_grow(r) < 0)
        return WT_E_NOMEM;
    uint32_t at = r->spare ? r->spare : ++r->count;
    if (r->spare)
        r->spare = r->all[at].left;
    r->dice = r->dice * 1664525u + 1013904223u;
    r->all[at] = (struct runner){.end_s = now_s + j->asked_s,
                                 .job = (uint32_t)job,
                                 .priority = r->dice ^ (r->dice >> 15),
                                 .width = j->width};
    put_runner(r->all, &r->root, at);
    heap_push(r, (struct ending){now_s + j->run_s, (uint32_t)job, at});
    m->starts_s[job] = now_s;
    m->free -= j->width;
    return 0;
}

static int start_waiting(struct machine *m, size_t job, int64_t now_s)
{
    waiting_set(&m->waiting, job, INT32_MAX);
    m->queued--;
    return start(m, job, now_s);
}

/* A job comes: it starts at once where nobody waits and there is room, as most do on a machine that
 * is not full, or it waits. */
static int arrive(struct machine *m, size_t job, int64_t now_s)
{
    if (!m->queued && m->jobs[job].width <= m->free)
        return start(m, job, now_s);
    waiting_set(&m->waiting, job, m->jobs[job].asked_s);
    m->queued++;
    return 0;
}

static void end_first(struct machine *m)
{
    struct running *r = &m->running;
    struct ending e = heap_pop(r);
    take_runner(r->all, &r->root, e.runner);
    r->all[e.runner].left = r->spare;
    r->spare = e.runner;
    m->free += m->jobs[e.job].width;
}

/* Starts what may start now. */
static int pass(struct machine *m, int64_t now_s)
{
    for (;; m->head++) {
        while (m->head < m->released && m->starts_s[m->head] != INT64_MIN)
            m->head++;
        if (m->head == m->released)
            return 0;
        if (m->jobs[m->head].width > m->free)
            break;
        if (start_waiting(m, m->head, now_s) < 0)
            return WT_E_NOMEM;
    }
    if (!m->free || m->queued < 2)
        return 0;
    int64_t need = m->jobs[m->head].width - m->free, freed;
    int64_t reserved_s = time_of(&m->running, need, &freed);
    int64_t spare = freed - need; /* units that the head leaves then */
    for (;;) {
        uint32_t job = waiting_first(&m->waiting, m->free, reserved_s - now_s);
        uint32_t other = waiting_first(&m->waiting, spare < m->free ? spare : m->free, INT64_MAX);
        if (other < job)
            job = other;
        if (job == NONE)
            return 0;
        if (now_s + m->jobs[job].asked_s > reserved_s)
            spare -= m->jobs[job].width;
        if (start_waiting(m, job, now_s) < 0)
            return WT_E_NOMEM;
    }
}

static int run(struct machine *m)
{
    while (m->released < m->count || m->running.heap_count) {
        int64_t now_s = INT64_MAX;
        if (m->released < m->count)
            now_s = m->jobs[m->released].release_s;
        if (m->running.heap_count && m->running.heap[0].end_s < now_s)
            now_s = m->running.heap[0].end_s;
        while (m->running.heap_count && m->running.heap[0].end_s == now_s)
            end_first(m);
        /* Those that wait go first: whoever comes now stands behind them. */
        if (m->queued && pass(m, now_s) < 0)
            return WT_E_NOMEM;
        for (; m->released < m->count && m->jobs[m->released].release_s == now_s; m->released++)
            if (arrive(m, m->released, now_s) < 0)
                return WT_E_NOMEM;
        if (m->queued && pass(m, now_s) < 0)
            return WT_E_NOMEM;
        if (m->queued > m->queue_max)
            m->queue_max = m->queued;
    }
    return 0;
}

int wt_easy_run(const struct wt_easy_job *jobs, size_t count, int64_t width, int64_t *starts_s,
                size_t *ret_queue_max, struct wt_error *err)
{
    struct machine m = {.jobs = jobs, .count = count, .starts_s = starts_s, .free = width};
    if (count >= NONE / 2)
        return wt_fail(err, WT_E_RANGE, "a replay of %zu jobs", count);
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].width > width)
            return wt_fail(err, WT_E_RANGE, "a job of %d units on a machine of %lld", jobs[i].width,
                           (long long)width);
        starts_s[i] = INT64_MIN;
    }
    int rc = waiting_init(&m.waiting, jobs, count);
    if (rc == 0)
        rc = run(&m);
    if (rc < 0)
        wt_fail(err, rc, "no memory for a replay of %zu jobs", count);
    else
        *ret_queue_max = m.queue_max;
    waiting_done(&m.waiting);
    free(m.running.all);
    free(m.running.heap);
    return rc;
}
