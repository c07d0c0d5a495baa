/* The device model's equations, without state: pace and power of a kernel at a clock, and the
 * steady state that a load comes to when it is run over and over. model.c plays them through time;
 * predictions take the steady state. docs/emulator-model.md has the equations. */
#ifndef WT_EMULATOR_PHYSICS_H
#define WT_EMULATOR_PHYSICS_H

#include "emulator/model.h"

/* How long a whole kernel takes, and how busy it keeps the device meanwhile. */
struct wt_pace {
    double span_ns, launch_ns;
    double busy;    /* share of the time with it at work */
    double compute; /* its compute time at the peak, of its time */
    double memory;  /* the same of memory */
};

/* Relative to that at the highest clock; f likewise. */
double wt_physics_voltage(const struct wt_profile *p, double f);
/* On the engines that there are: without tensor cores on FP32's. */
void wt_physics_kernel(const struct wt_profile *p, const struct wt_emu_kernel *kernel,
                       struct wt_model_kernel *ret_kernel);
/* At clock f (relative), duty and relative memory clock. */
struct wt_pace wt_physics_pace(const struct wt_profile *p, const struct wt_model_kernel *k,
                               double f, double duty, double mem);
/* W, at working clocks; k NULL: no kernel is at work. */
double wt_physics_power(const struct wt_profile *p, const struct wt_model_kernel *k,
                        const struct wt_pace *pace, double f, double temp_c);
/* What the controller holds the mean power at, W. */
double wt_physics_aim(const struct wt_profile *p, double limit_w, double f);

/* ---- the steady state ---- */

struct wt_steady_load {
    const struct wt_emu_kernel *kernels;
    size_t count;
    double gap_ns; /* between passes: the host's, or the network's */
};

struct wt_steady {
    double pass_ns; /* over all kernels, with the gap */
    double power_w; /* mean */
    double f, duty; /* the clock, relative to the highest; below 1: it gates */
    double temp_c;
    /* Of the pass, the time in which each decides; their sum is 1. */
    double compute_share, memory_share, launch_share, gap_share;
    bool is_capped, is_hot; /* held back by the limit, by heat */
};

/* Over and over, long enough to be warm. limit_w 0: the profile's own; clock_khz 0: not locked.
 * What a limit does to steps far longer than the controller's time constant, whose parts draw
 * unlike power, is taken at their mean. Errors: WT_E_USAGE (nothing to run), WT_E_RANGE (limit or
 * clock out of the profile's), WT_E_NOMEM. */
int wt_physics_steady(const struct wt_profile *p, const struct wt_steady_load *load, double limit_w,
                      uint32_t clock_khz, struct wt_steady *ret_steady, struct wt_error *err);

#endif
