/* Phases: what forward, backward, optimizer drew, though each is far shorter than a sensor's tick.
 *
 * The marks of a program say when each phase was at work, the meter when its counters moved; from
 * many moves the mean power of each phase is solved for, with an interval. Phases that cannot be
 * told apart are said to be so, and share what they drew together. */
#ifndef WATTUNE_PHASES_H
#define WATTUNE_PHASES_H

#include "wattune/door.h"
#include "wattune/meter.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_phases;

struct wt_phase_energy {
    char name[32]; /* "" is the time between first and last mark that no phase covers */
    uint64_t count;
    double wall_s;           /* of all its spans, nested ones in it too */
    double own_s;            /* without the phases nested in it: what the energy is of */
    struct wt_joules energy; /* of own_s; WT_PROV_UNKNOWN when it cannot be told */
    double mean_w;
    bool is_separable;
    struct wt_joules joint; /* when it is not: with the phases named in `with` */
    char with[160];         /* "backward, optimizer" */
};

struct wt_phases_result {
    struct wt_phase_energy *phases; /* owned; in order of appearance */
    size_t count;
    char note[240]; /* the devices whose energy could not be told apart, and why (then that of no
                       phase is known); ranks not looked at; "" */
};

/* Memory does not grow with the length of the run. The meter is borrowed until wt_phases_free.
 * Threads: one thread at a time. */
WT_API int wt_phases_new(struct wt_phases **ret_phases, struct wt_meter *meter,
                         struct wt_error *err);
WT_API void wt_phases_free(struct wt_phases *phases);
/* Takes BEGIN, END and GONE and leaves other marks alone. Of several programs at a time all are
 * counted, and the energy follows the first that marks until it is gone: ranks of a job do the same
 * at the same time. Phases may nest: time counts for the innermost. A program that is gone has left
 * its phases. */
WT_API void wt_phases_mark(struct wt_phases *phases, const struct wt_mark *mark);
/* All marks up to now_ns have been handed over. Call it a few times a second. */
WT_API void wt_phases_advance(struct wt_phases *phases, int64_t now_ns);
/* After the last mark and the result of the window. No phase at all is a count of 0. Errors:
 * WT_E_NOMEM. */
WT_API int wt_phases_result(struct wt_phases *phases, struct wt_phases_result *ret_result,
                            struct wt_error *err);
/* Counts and times so far, energies unknown; nothing changes. Errors: WT_E_NOMEM. */
WT_API int wt_phases_counts(const struct wt_phases *phases, struct wt_phases_result *ret_result,
                            struct wt_error *err);
WT_API void wt_phases_result_done(struct wt_phases_result *result);

#ifdef __cplusplus
}
#endif
#endif
