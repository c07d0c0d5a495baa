/* remarks: what a search's result rests on and does not say by itself - ties, floors, caps that do
 * not bind, what was assumed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/search.h"

static int warn(struct wt_search_result *r, const char *fmt, ...) WT_PRINTF(2, 3);
static int warn(struct wt_search_result *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = wt_texts_add(&r->warnings, &r->warning_count, fmt, args);
    va_end(args);
    return rc;
}

static int warn_of_ties(struct wt_search_result *r)
{
    char best[96], list[400] = "", one[96];
    size_t tied = 0;
    wt_search_words(r, r->points[r->best].values, best, sizeof(best));
    for (size_t i = 0; i < r->point_count; i++) {
        if (!r->points[i].is_tied)
            continue;
        size_t used = strlen(list);
        wt_search_words(r, r->points[i].values, one, sizeof(one));
        wt_text(list + used, sizeof(list) - used, "%s%s", tied++ ? " and " : "", one);
    }
    if (!tied)
        return 0;
    if (r->choice == r->best)
        return warn(r, "tie: %s cannot be told from %s by %s; %s is the faster%s", list, best,
                    wt_goal_words(&r->goal), best,
                    r->is_saving_real || r->choice == r->reference ? " and is chosen" : "");
    wt_search_words(r, r->points[r->choice].values, one, sizeof(one));
    return warn(r, "tie: %s cannot be told from %s, the lowest, by %s; %s, the fastest, is chosen",
                list, best, wt_goal_words(&r->goal), one);
}

static int warn_of_device(struct wt_search_result *r)
{
    const struct wt_search_point *ref = &r->points[r->reference];
    if (r->axis_count != 1)
        return 0;
    if (r->axes[0].form == WT_AXIS_POWER && r->point_count > 1 && !r->facts.is_binding)
        return warn(r,
                    "no limit that was tried held the load back, which draws %.0f W on average: a "
                    "limit above that changes nothing; a clock lock does (--set clock=...)",
                    r->facts.load_w);
    if (!r->facts.has_floor || !(r->goal.objective == WT_OBJECTIVE_ENERGY))
        return 0;
    for (size_t i = 0; i < r->point_count; i++) {
        const struct wt_search_point *p = &r->points[i];
        if (p->values[0] < r->facts.floor && p->energy_j.low > ref->energy_j.high)
            return warn(r,
                        "below %g %s a lower setting costs energy: at %g %s %.2f times the "
                        "energy of %g %s",
                        r->facts.floor, r->axes[0].unit, p->values[0], r->axes[0].unit,
                        p->energy_j.value / ref->energy_j.value, ref->values[0], r->axes[0].unit);
    }
    return 0;
}

static int warn_of_edge(struct wt_search_result *r, const struct wt_candidate *candidates,
                        const bool *is_dropped, size_t count)
{
    const struct wt_search_point *choice = &r->points[r->choice];
    bool is_lowest = true;
    if (r->axis_count != 1 || r->axes[0].form == WT_AXIS_OTHER || r->point_count < 2 ||
        r->choice == r->reference || r->goal.objective == WT_OBJECTIVE_TIME)
        return 0;
    for (size_t i = 0; i < count; i++)
        is_lowest &= is_dropped[i] || candidates[i].values[0] >= choice->values[0];
    return is_lowest ? warn(r, "%g %s is the lowest that was offered: a lower one may be better",
                            choice->values[0], r->axes[0].unit)
                     : 0;
}

static int warn_of_host(struct wt_search_result *r)
{
    char alone[96], node[96];
    if (r->goal.host_w <= 0 || r->choice_gpu_only == r->choice)
        return 0;
    wt_search_words(r, r->points[r->choice_gpu_only].values, alone, sizeof(alone));
    wt_search_words(r, r->points[r->choice].values, node, sizeof(node));
    return warn(r,
                "the rest of the node changes the answer: of those measured, %s for the devices "
                "alone, %s with %.0f W of the rest",
                alone, node, r->goal.host_w);
}

static int warn_of_rest(struct wt_search_result *r, const bool *is_dropped, size_t count)
{
    size_t dropped = 0;
    for (size_t i = 0; i < count; i++)
        dropped += is_dropped[i];
    if (dropped && warn(r, "%zu of %zu settings could not be set or measured", dropped, count) < 0)
        return WT_E_NOMEM;
    if (!r->points[r->choice].is_admissible &&
        warn(r, "no setting that was measured keeps within the limits asked for") < 0)
        return WT_E_NOMEM;
    if (!r->is_noise_known)
        return warn(r,
                    "each setting was read once, so the spread is not known: %.1f %% is assumed "
                    "for one reading",
                    r->noise * 100);
    return 0;
}

int wt_search_warn(struct wt_search_result *result, const struct wt_candidate *candidates,
                   const bool *is_dropped, size_t count, struct wt_error *err)
{
    if (warn_of_ties(result) < 0 || warn_of_device(result) < 0 ||
        warn_of_edge(result, candidates, is_dropped, count) < 0 || warn_of_host(result) < 0 ||
        warn_of_rest(result, is_dropped, count) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a search's warnings");
    return 0;
}
