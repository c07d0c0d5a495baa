/* easy: the scheduler of a replay. Internal to the library. */
#ifndef WT_PLAN_EASY_H
#define WT_PLAN_EASY_H

#include "base/base.h"

struct wt_easy_job {
    int64_t release_s; /* may start from then on; the jobs stand in this order */
    int32_t run_s;     /* 1 or more; known to nobody before the end */
    int32_t asked_s;   /* run_s or more: what the scheduler plans with */
    int32_t width;     /* 1 or more */
};

/* First come, first served on `width` alike units, with EASY backfilling: the first job that does
 * not fit has a reservation at the earliest time by which running jobs that take all they asked for
 * leave it room; a later job may start before it when it ends by then, or needs none of that room.
 * Writes each job's start. n jobs of k different widths take O(n log n log k).
 * Errors: WT_E_RANGE (a job wider than all there is), WT_E_NOMEM. Threads: any thread. */
int wt_easy_run(const struct wt_easy_job *jobs, size_t count, int64_t width, int64_t *starts_s,
                size_t *ret_queue_max, struct wt_error *err);

#endif
