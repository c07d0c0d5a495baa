/* Tuning: a search while the job runs, without restarting it.
 *
 * The job tells of its work (steps, tokens); a candidate is set, left to settle, and measured over
 * windows of equal work that begin and end at the job's own marks. When the search is done the
 * choice is held and watched: when time or energy of the same work changes, it looks again.
 *
 * What is set and measured goes through the operations given; a test turns its own clock. */
#ifndef WATTUNE_TUNE_H
#define WATTUNE_TUNE_H

#include "wattune/search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All return 0 or an error code; data is the first argument of each. */
struct wt_tune_ops {
    void *data;
    /* Sets a candidate on the devices of a group. A candidate that cannot be set is left out. */
    int (*apply)(void *data, size_t group, size_t candidate, struct wt_error *err);
    /* A window of energy begins and ends at moments a little past. */
    int (*begin)(void *data, int64_t t_ns, uint64_t *ret_window);
    int (*end)(void *data, uint64_t window, int64_t t_ns);
    void (*cancel)(void *data, uint64_t window);
    /* Energy in it of the devices that are tuned, and of what else is measured of the node (NaN:
     * nothing is). The window is done with; after an error it is cancelled. */
    int (*read)(void *data, uint64_t window, double *ret_energy_j, double *ret_rest_j,
                struct wt_error *err);
    /* Something a user wants to know; may be NULL. */
    void (*say)(void *data, const char *text);
};

struct wt_tune_options {
    struct wt_search_options search; /* readings_each, repeats_max, is_confirmed are set here */
    const struct wt_candidate *candidates; /* borrowed until wt_tune_free */
    size_t count, reference;
    size_t start;          /* what was best before; SIZE_MAX: not known */
    size_t groups;         /* devices set apart (one GPU each); 1: all alike */
    int64_t window_ns;     /* least length of one measurement; 0: 4 s */
    int64_t settle_ns;     /* after a setting, before it; 0: 1 s */
    bool is_host_measured; /* read tells of the rest of the node, and the goal counts it */
};

struct wt_tune;
/* Errors: those of wt_search_new. Applies nothing yet. */
WT_API int wt_tune_new(struct wt_tune **ret_tune, const struct wt_tune_options *options,
                       const struct wt_tune_ops *ops, struct wt_error *err);
WT_API void wt_tune_free(struct wt_tune *tune);

/* The job had done this much of its work at t_ns; both rise. Threads: one thread, as all of these.
 */
WT_API void wt_tune_mark(struct wt_tune *tune, int64_t t_ns, uint64_t work);
/* Call it a few times a second, after the marks up to now_ns. */
WT_API void wt_tune_tick(struct wt_tune *tune, int64_t now_ns);
/* The job has ended: a window that is open is given up. */
WT_API void wt_tune_end(struct wt_tune *tune);

enum wt_tune_stage {
    WT_TUNE_WAITING, /* for the job's first marks */
    WT_TUNE_SEARCHING,
    WT_TUNE_HOLDING,
};
struct wt_tune_state {
    enum wt_tune_stage stage;
    size_t candidate;  /* set now, in all groups when searching; SIZE_MAX: nothing yet */
    size_t measured;   /* different candidates measured in this search */
    unsigned searches; /* finished */
    double searched_s; /* time spent in searches, one under way too */
    double extra_j;   /* energy their work took beyond what the choice takes for it; NaN: unknown */
    bool groups_done; /* each group was searched by itself */
    double held_s, held_j; /* time and energy of a unit as it is held; 0: not known */
    uint64_t unit;         /* work of one measurement: what times and energies are of */
};
WT_API void wt_tune_state(const struct wt_tune *tune, struct wt_tune_state *ret_state);
/* The candidate a group is held at. */
WT_API size_t wt_tune_group(const struct wt_tune *tune, size_t group);
/* The latest search of a group, or of all together (SIZE_MAX), also one under way. Times and
 * energies are of `unit` of work. Errors: WT_E_STATE (not even its reference was measured: the job
 * ended before), WT_E_NOMEM. */
WT_API int wt_tune_result(const struct wt_tune *tune, size_t group,
                          struct wt_search_result *ret_result, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
