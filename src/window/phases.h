/* phases: the mean power of phases much shorter than a sensor's tick.
 *
 * Forward takes 8 ms and a counter ticks every 100 ms, but each tick holds a different share of
 * each phase, and many ticks make a system of equations: joules of tick k = sum over phases of
 * (power of the phase x seconds of it in tick k). Solved by least squares (LAPACK, opened at run
 * time), with intervals from the residuals. Phases that never vary against each other cannot be
 * told apart by any arithmetic, and are called so. */
#ifndef WT_WINDOW_PHASES_H
#define WT_WINDOW_PHASES_H

#include "base/base.h"

/* One stretch of one phase; phases are numbered from 0 by the caller. */
struct wt_phase_span {
    int64_t begin_ns, end_ns;
    unsigned phase;
};

/* What was found for one phase. */
struct wt_phase_fit {
    double power_w, low_w, high_w;  /* mean power, 95 % */
    double energy_j, low_j, high_j; /* of all its spans inside the ticks */
    double span_s;                  /* seconds of it inside the ticks */
    bool is_separable;              /* false: the numbers above are NaN */
    unsigned group; /* phases that cannot be told apart share one; its joint energy is in `joint` */
    double joint_j, joint_low_j, joint_high_j; /* NaN when separable */
};

/* Fits phases 0..phases-1 and, as phase number `phases`, the rest of the time that no span covers.
 * ret_fits has phases + 1 elements.
 * tick_ns: count + 1 times (rising), tick_j: count energies between them. spans: any order, may not
 * overlap each other. gain_ppm widens the intervals by the sensor's own proportional error.
 * Errors: WT_E_UNSUPPORTED (liblapack.so.3 is missing; says which package), WT_E_RANGE (fewer than
 * 3 x (phases + 1) ticks), WT_E_FORMAT (times run backwards), WT_E_NOMEM. Threads: any thread. */
int wt_phases_fit(const int64_t *tick_ns, const double *tick_j, size_t count,
                  const struct wt_phase_span *spans, size_t span_count, unsigned phases,
                  uint32_t gain_ppm, struct wt_phase_fit *ret_fits, struct wt_error *err);

#endif
