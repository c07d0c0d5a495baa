/* A curve: time and energy of one piece of work against one setting of one device, from few probes.
 *
 * Physics gives the form (a GPU's clock, voltage and cap), the probes pick among its forms, and
 * what is left between them is interpolated. Below the lowest probe and above the highest there is
 * no answer: a cap that is too low costs energy, and nothing above it tells where that begins. */
#ifndef WATTUNE_CURVE_H
#define WATTUNE_CURVE_H

#include "wattune/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is varied along a curve, and so its form. */
enum wt_axis {
    WT_AXIS_POWER, /* a limit of power, W: binds where the load would draw more */
    WT_AXIS_CLOCK, /* a clock of the compute units, MHz */
    WT_AXIS_OTHER, /* anything else with a number (batch size): smooth, and no more is known */
};

struct wt_curve_point {
    double setting;          /* above 0 */
    double time_s, energy_j; /* of the same work at each point; above 0 */
    double noise;            /* relative standard deviation of either, of this point; above 0 */
};

struct wt_curve_value {
    struct wt_estimate time_s, energy_j, power_w;
    bool is_probed; /* a probe was there: the estimate leans on it */
};

struct wt_curve;
/* Fits a curve; one point makes one with wide intervals. Points may repeat a setting.
 * Errors: WT_E_USAGE (no point, or a number that is not above 0), WT_E_NOMEM.
 * Threads: any thread; a curve does not change. */
WT_API int wt_curve_new(struct wt_curve **ret_curve, enum wt_axis axis,
                        const struct wt_curve_point *points, size_t count, struct wt_error *err);
WT_API void wt_curve_free(struct wt_curve *curve);

/* Time, energy and power at a setting, with 95 % intervals. Errors: WT_E_RANGE (below the lowest
 * probe or above the highest). */
WT_API int wt_curve_at(const struct wt_curve *curve, double setting,
                       struct wt_curve_value *ret_value);

/* What the probes say of the device's limits. */
struct wt_curve_facts {
    double load_w;   /* mean power of the highest probe: higher caps change nothing */
    bool has_floor;  /* a probe below takes more energy than the one above it, beyond the noise: */
    double floor;    /* below this setting the setting costs energy; NaN: not seen */
    bool is_binding; /* any probe is slower or draws less than the highest, beyond the noise */
};
WT_API void wt_curve_facts(const struct wt_curve *curve, struct wt_curve_facts *ret_facts);

#ifdef __cplusplus
}
#endif
#endif
