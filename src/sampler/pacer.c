/* pacer: see pacer.h. */
#include "sampler/pacer.h"

#define TICK_UNKNOWN_NS (100 * WT_NS_PER_MS)
/* A crystal is off by tens of ppm; over this long the phase stays good to well below a step. */
#define FRESH_NS (2 * WT_NS_PER_S)

/* A counter that is slow to read: from which time a read is slow, and how many more slow reads than
 * quick ones it takes. */
#define SLOW_NS    WT_NS_PER_MS
#define SLOW_LEAST 8
#define SLOW_MOST  16
/* Between edges its bursts, of about three reads, may take this share of the time, within limits.
 */
#define RARE_SHARE    1000 /* a thousandth */
#define RARE_READS    3
#define RARE_LEAST_NS (2 * WT_NS_PER_S)
#define RARE_MOST_NS  (16 * WT_NS_PER_S)
/* Not found again for so long, the phase is lost. */
#define RARE_LOST_NS (40 * WT_NS_PER_S)
/* Four edges within this, and it is read as if it were cheap for a while: that costs no more. */
#define RARE_BUSY_NS  WT_NS_PER_S
#define RARE_DENSE_NS (2 * WT_NS_PER_S)
#define DRIFT_PPM     100
#define VAIN_MOST     5
#define APART_MOST    2 /* so often a single read is put off: then it is read as it comes */

void wt_pacer_init(struct wt_pacer *p, int64_t tick_ns, bool is_counter)
{
    *p = (struct wt_pacer){.tick_ns = tick_ns > 0 ? tick_ns : TICK_UNKNOWN_NS,
                           .is_counter = is_counter,
                           .ref_ns = INT64_MIN,
                           .ref_lo_ns = INT64_MIN,
                           .cover_ns = INT64_MIN,
                           .point_ns = INT64_MAX,
                           .retry_ns = INT64_MIN,
                           .point_done_ns = INT64_MIN,
                           .dense_until_ns = INT64_MIN,
                           .sought_ns = INT64_MIN};
    p->step_ns = p->tick_ns / 50;
    if (p->step_ns < WT_NS_PER_MS / 2)
        p->step_ns = WT_NS_PER_MS / 2;
    if (p->step_ns > 2 * WT_NS_PER_MS)
        p->step_ns = 2 * WT_NS_PER_MS;
    p->least_step_ns = p->step_ns;
}

/* Where counters move every few polls anyway (RAPL, 1 ms) there is no phase worth finding. */
static bool is_fast(const struct wt_pacer *p)
{
    return p->tick_ns <= 4 * p->step_ns;
}

static void seek(struct wt_pacer *p, int64_t now_ns, int64_t after_ns)
{
    int64_t from_ns = after_ns;
    if (p->ref_ns != INT64_MIN && after_ns - p->ref_ns < 10 * FRESH_NS && after_ns >= p->ref_ns) {
        /* A step before the earliest moment of the move that is due. */
        int64_t n = (after_ns - p->ref_ns + p->tick_ns - 1) / p->tick_ns;
        from_ns = p->ref_lo_ns + n * p->tick_ns - p->step_ns;
    }
    /* Bursts that begin at the same place in every tick would bound it by the same two polls each
     * time; begun a little elsewhere each time, together they say where it is. */
    if (p->is_following)
        from_ns -= (int64_t)(p->bursts++ % 8) * p->step_ns / 8;
    p->is_seeking = true;
    p->seen = 0;
    p->after_ns = after_ns;
    p->from_ns = from_ns > now_ns ? from_ns : now_ns;
    p->until_ns = p->from_ns + p->tick_ns * 5 / 2;
}

/* The first moment at which the move that follows t is surely over, and *ret_from_ns from when on
 * it may happen. */
static int64_t move_after(const struct wt_pacer *p, int64_t t_ns, int64_t *ret_from_ns)
{
    int64_t away_ns = t_ns > p->ref_ns ? t_ns - p->ref_ns : 0;
    int64_t margin_ns = p->cost_ns / 2 + away_ns / (1000000 / DRIFT_PPM);
    int64_t lo_ns = p->ref_lo_ns - margin_ns, hi_ns = p->ref_ns + margin_ns;
    int64_t n = t_ns > lo_ns ? (t_ns - lo_ns + p->tick_ns - 1) / p->tick_ns : 0;
    *ret_from_ns = lo_ns + n * p->tick_ns;
    return hi_ns + n * p->tick_ns;
}

/* The first moment from t on at which a read does not meet a move: what it shows would be of before
 * or of after, nobody knows. */
static int64_t apart_from_moves(const struct wt_pacer *p, int64_t t_ns)
{
    int64_t from_ns;
    int64_t over_ns = move_after(p, t_ns - p->tick_ns, &from_ns);
    if (t_ns >= from_ns && t_ns < over_ns)
        return over_ns;
    over_ns = move_after(p, t_ns, &from_ns);
    return t_ns + p->cost_ns > from_ns ? over_ns : t_ns;
}

/* Single reads: at once if there was an edge, and after the first move from t on. */
static void want_points(struct wt_pacer *p, int64_t now_ns, int64_t t_ns, bool is_edge)
{
    int64_t from_ns, done_ns = move_after(p, t_ns, &from_ns);
    if (done_ns > p->point_done_ns)
        p->point_done_ns = done_ns;
    int64_t at_ns = is_edge ? apart_from_moves(p, now_ns) : done_ns > now_ns ? done_ns : now_ns;
    if (at_ns < p->point_ns)
        p->point_ns = at_ns;
}

void wt_pacer_allow_rare(struct wt_pacer *p)
{
    p->may_be_rare = p->is_counter && !is_fast(p);
}

bool wt_pacer_is_slow(const struct wt_pacer *p)
{
    return p->may_be_rare && p->slow_score >= SLOW_LEAST;
}

bool wt_pacer_is_rare(const struct wt_pacer *p, int64_t now_ns)
{
    return wt_pacer_is_slow(p) && !p->is_following && p->ref_ns != INT64_MIN &&
           now_ns - p->ref_ns < RARE_LOST_NS && now_ns >= p->dense_until_ns;
}

bool wt_pacer_grid(struct wt_pacer *p, int64_t now_ns, bool may_seek)
{
    if (!wt_pacer_is_slow(p) || p->is_following)
        return true;
    int64_t rest_ns = RARE_READS * RARE_SHARE * p->cost_ns;
    if (rest_ns < RARE_LEAST_NS)
        rest_ns = RARE_LEAST_NS;
    if (rest_ns > RARE_MOST_NS)
        rest_ns = RARE_MOST_NS;
    bool is_stale = p->ref_ns == INT64_MIN || now_ns - p->ref_ns >= rest_ns;
    /* One that stands still is looked for less and less often. */
    bool is_tired = p->sought_ns != INT64_MIN && now_ns - p->sought_ns < FRESH_NS << p->vain_count;
    if (may_seek && !p->is_seeking && is_stale && !is_tired) {
        p->sought_ns = now_ns;
        seek(p, now_ns, now_ns);
    }
    /* While another is sought, reads of this one would only be in the way. */
    if (!may_seek && !p->is_seeking && now_ns >= p->dense_until_ns)
        return false;
    return !wt_pacer_is_rare(p, now_ns);
}

void wt_pacer_keep_apart(struct wt_pacer *p, int64_t now_ns)
{
    if (now_ns < p->point_ns || !wt_pacer_is_rare(p, now_ns))
        return;
    if (p->apart_count >= APART_MOST)
        return;
    int64_t apart_ns = apart_from_moves(p, now_ns);
    if (apart_ns > now_ns) { /* else it stays due */
        p->point_ns = apart_ns;
        p->apart_count++;
    }
}

static bool is_point_due(const struct wt_pacer *p, int64_t now_ns)
{
    return now_ns >= p->point_ns && now_ns >= p->retry_ns;
}

bool wt_pacer_is_due(const struct wt_pacer *p, int64_t now_ns)
{
    return (p->is_seeking && now_ns >= p->from_ns) || is_point_due(p, now_ns);
}

static void note_edge(struct wt_pacer *p, int64_t now_ns)
{
    unsigned n = WT_COUNTOF(p->edges_ns);
    p->edges_ns[p->edge_count++ % n] = now_ns;
    if (p->edge_count >= n && now_ns - p->edges_ns[p->edge_count % n] < RARE_BUSY_NS)
        p->dense_until_ns = now_ns + RARE_DENSE_NS;
}

void wt_pacer_edge(struct wt_pacer *p, int64_t now_ns)
{
    if (wt_pacer_is_slow(p))
        note_edge(p, now_ns);
    if (wt_pacer_is_rare(p, now_ns)) {
        want_points(p, now_ns, now_ns, true);
        return;
    }
    if (wt_pacer_is_slow(p) && !p->is_following)
        return; /* the grid sees to it, one device after the other */
    if (!p->is_counter || is_fast(p) || p->is_seeking)
        return;
    bool is_stale = p->ref_ns == INT64_MIN || now_ns - p->ref_ns > FRESH_NS;
    /* A counter that stands still or cannot be read is not chased by every edge. */
    bool is_tired = p->sought_ns != INT64_MIN && now_ns - p->sought_ns < FRESH_NS;
    if (is_stale && !is_tired) {
        p->sought_ns = now_ns;
        seek(p, now_ns, now_ns);
    }
}

void wt_pacer_cover(struct wt_pacer *p, int64_t now_ns, int64_t t_ns)
{
    if (t_ns <= p->cover_ns)
        return;
    p->cover_ns = t_ns;
    if (wt_pacer_is_rare(p, now_ns)) {
        want_points(p, now_ns, t_ns, false);
        return;
    }
    seek(p, now_ns, t_ns);
}

void wt_pacer_follow(struct wt_pacer *p, int64_t now_ns)
{
    if (!p->is_counter || is_fast(p) || p->is_following)
        return;
    p->is_following = true;
    if (!p->is_seeking)
        seek(p, now_ns, now_ns);
}

void wt_pacer_saw(struct wt_pacer *p, int64_t t_before_ns, int64_t t_after_ns, bool is_read,
                  uint64_t energy_uj)
{
    if (p->is_seeking && t_before_ns >= p->from_ns)
        p->seen++;
    /* A slow vendor call makes a burst coarser, by no more than it must: NVIDIA's counters take 3
     * ms to read, now and then 16, and with steps of ten times that no move was ever caught. */
    int64_t cost_ns = t_after_ns - t_before_ns;
    if (is_read)
        p->cost_ns = p->cost_ns ? p->cost_ns + (cost_ns - p->cost_ns) / 8 : cost_ns;
    if (is_read && p->may_be_rare) {
        if (cost_ns >= SLOW_NS)
            p->slow_score += p->slow_score < SLOW_MOST;
        else
            p->slow_score -= p->slow_score > 0;
    }
    bool was_point = t_before_ns >= p->point_ns;
    if (is_read && was_point) {
        p->point_ns = t_before_ns >= p->point_done_ns ? INT64_MAX : p->point_done_ns;
        p->apart_count = 0;
    } else if (p->point_ns != INT64_MAX && t_after_ns - p->point_ns > 2 * p->tick_ns) {
        p->point_ns = INT64_MAX; /* it cannot be read */
        p->apart_count = 0;
    }
    p->step_ns = p->cost_ns + p->cost_ns / 2;
    if (p->step_ns > p->tick_ns / 10)
        p->step_ns = p->tick_ns / 10;
    if (p->step_ns < p->least_step_ns)
        p->step_ns = p->least_step_ns;
    p->retry_ns = was_point && !is_read ? t_after_ns + p->step_ns : INT64_MIN;
    if (!p->is_counter || is_fast(p)) {
        /* Two reads past the wanted time enclose it. */
        if (p->is_seeking && t_before_ns >= p->after_ns && p->seen >= 2)
            p->is_seeking = false;
    } else if (is_read) {
        bool is_moved = p->has_value && energy_uj != p->value;
        bool is_fine = t_after_ns - p->t_same_ns <= 2 * p->step_ns + 2 * cost_ns;
        /* A slow one has moved since it was read last, whenever that was: that is not what its
         * search is for. */
        bool is_late = wt_pacer_is_slow(p) && !p->is_following && !is_fine;
        if (is_moved && is_fine) {
            p->vain_count = 0;
            p->ref_ns = t_after_ns;
            p->ref_lo_ns = p->t_same_ns;
        } else if (is_moved && p->is_seeking && p->seen == 1 && !is_late) {
            p->ref_ns = INT64_MIN; /* the burst came too late: it is not where it was taken to be */
        }
        if (is_moved && !is_late && p->is_seeking && t_before_ns >= p->after_ns)
            p->is_seeking = false;
        p->has_value = true;
        p->value = energy_uj;
        p->t_same_ns = t_before_ns;
    }
    bool is_in_vain = p->is_seeking && t_after_ns >= p->until_ns;
    if (is_in_vain) {
        p->is_seeking = false;
        p->vain_count += p->vain_count < VAIN_MOST;
    }
    /* A counter that stands still is not worth a burst without end. */
    if (p->is_following && !p->is_seeking)
        seek(p, t_after_ns, t_after_ns + (is_in_vain ? WT_NS_PER_S : p->tick_ns / 2));
    if (is_in_vain && p->is_following)
        p->from_ns = p->after_ns;
}

static int64_t next_of_burst(const struct wt_pacer *p, int64_t now_ns)
{
    if (!p->is_seeking)
        return INT64_MAX;
    if (now_ns < p->from_ns)
        return p->from_ns;
    /* A poll of the grid that happens to come in between does not move the burst. */
    if (p->is_following)
        return p->from_ns + ((now_ns - p->from_ns) / p->step_ns + 1) * p->step_ns;
    return now_ns + p->step_ns;
}

int64_t wt_pacer_next_ns(const struct wt_pacer *p, int64_t now_ns)
{
    int64_t next_ns = next_of_burst(p, now_ns);
    int64_t point_ns = p->point_ns > p->retry_ns ? p->point_ns : p->retry_ns;
    return point_ns < next_ns ? point_ns : next_ns;
}
