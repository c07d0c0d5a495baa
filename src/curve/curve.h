/* curve: what a search may ask of a curve besides: guesses beyond the probes, to choose the next
 * one by. They are no answers and are never shown. Internal to the library. */
#ifndef WT_CURVE_CURVE_H
#define WT_CURVE_CURVE_H

#include "base/base.h"
#include "wattune/curve.h"

/* One way the curve may go at a setting: natural logarithms of time and energy, and how much this
 * way weighs (all ways of a curve add up to 1). */
struct wt_curve_way {
    double weight, log_time, log_energy;
};
/* Up to `max` ways, the heaviest kept; every setting of a curve has the same ways in the same
 * order. *ret_time_sd and *ret_energy_sd: what is uncertain of each way besides. Returns the count.
 */
size_t wt_curve_guess(const struct wt_curve *curve, double setting, struct wt_curve_way *ways,
                      size_t max, double *ret_time_sd, double *ret_energy_sd);
#define WT_CURVE_WAYS 512

#endif
