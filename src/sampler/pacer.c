/* pacer: see pacer.h. */
#include "sampler/pacer.h"

#define TICK_UNKNOWN_NS (100 * WT_NS_PER_MS)
/* A crystal is off by tens of ppm; over this long the phase stays good to well below a step. */
#define FRESH_NS (2 * WT_NS_PER_S)

void wt_pacer_init(struct wt_pacer *p, int64_t tick_ns, bool is_counter)
{
    *p = (struct wt_pacer){.tick_ns = tick_ns > 0 ? tick_ns : TICK_UNKNOWN_NS,
                           .is_counter = is_counter,
                           .ref_ns = INT64_MIN,
                           .ref_lo_ns = INT64_MIN,
                           .cover_ns = INT64_MIN,
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

void wt_pacer_edge(struct wt_pacer *p, int64_t now_ns)
{
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
    p->step_ns = p->cost_ns + p->cost_ns / 2;
    if (p->step_ns > p->tick_ns / 10)
        p->step_ns = p->tick_ns / 10;
    if (p->step_ns < p->least_step_ns)
        p->step_ns = p->least_step_ns;
    if (!p->is_counter || is_fast(p)) {
        /* Two reads past the wanted time enclose it. */
        if (p->is_seeking && t_before_ns >= p->after_ns && p->seen >= 2)
            p->is_seeking = false;
    } else if (is_read) {
        bool is_moved = p->has_value && energy_uj != p->value;
        if (is_moved && t_after_ns - p->t_same_ns <= 2 * p->step_ns + 2 * cost_ns) {
            p->ref_ns = t_after_ns;
            p->ref_lo_ns = p->t_same_ns;
        } else if (is_moved && p->is_seeking && p->seen == 1) {
            p->ref_ns = INT64_MIN; /* the burst came too late: it is not where it was taken to be */
        }
        if (is_moved && p->is_seeking && t_before_ns >= p->after_ns)
            p->is_seeking = false;
        p->has_value = true;
        p->value = energy_uj;
        p->t_same_ns = t_before_ns;
    }
    bool is_in_vain = p->is_seeking && t_after_ns >= p->until_ns;
    if (is_in_vain)
        p->is_seeking = false;
    /* A counter that stands still is not worth a burst without end. */
    if (p->is_following && !p->is_seeking)
        seek(p, t_after_ns, t_after_ns + (is_in_vain ? WT_NS_PER_S : p->tick_ns / 2));
    if (is_in_vain && p->is_following)
        p->from_ns = p->after_ns;
}

int64_t wt_pacer_next_ns(const struct wt_pacer *p, int64_t now_ns)
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
