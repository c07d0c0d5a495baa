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

#define WT_PHASES_MOST  64
#define WT_PHASE_SHAPES 1

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
    double residual_j; /* root mean square of what the fit leaves of a tick; the same in all */
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
/* The integral over a span of length_s from its begin to at_s. */
static inline double wt_phase_shape_s(unsigned order, double at_s, double length_s)
{
    double x = 2 * at_s / length_s - 1;
    return length_s / 4 * (order == 1 ? x * x - 1 : x * x * x - x);
}

/* The same from rows: phase_s[phase][tick] are the seconds of each phase in each tick, and tick_s
 * how long each tick was. Ticks need not follow on each other.
 *
 * Power drifts within a phase (a controller at work, a kernel that ends), always the same way, and
 * a tick that ends inside a phase then takes more or less than its share: without more the fit is
 * off by several per cent and does not know it. shape_s, when not NULL, are columns for a power
 * that leans and bends from the begin of a span to its end: shape_s[phase * WT_PHASE_SHAPES + order
 * - 1] holds for each tick the integral of Legendre's polynomial of that order over the parts of
 * the spans that lie in it (wt_phase_shape_s). They are used where there are ticks enough. */
int wt_phases_fit_rows(const double *tick_s, const double *tick_j, const double *const *phase_s,
                       const double *const *shape_s, size_t count, unsigned phases,
                       uint32_t gain_ppm, struct wt_phase_fit *ret_fits, struct wt_error *err);

#endif
