/* probe_fit: numbers out of changes - the period of a lattice of times, and the window and delay
 * with which readings follow a load. Pure; times in seconds. Internal. */
#ifndef WT_WINDOW_PROBE_FIT_H
#define WT_WINDOW_PROBE_FIT_H

#include "wattune/probe.h"

/* Adds a run as a whole, after those that are there; of the same value and without a gap between it
 * goes on from the last. Errors: WT_E_NOMEM. */
int wt_probe_series_append(struct wt_probe_series *series, const struct wt_probe_run *run);

/* A change that lay within half_s of t_s, and the number of its tick once the lattice is known. */
struct wt_probe_change {
    double t_s, half_s;
    int64_t tick;
};

struct wt_probe_lattice {
    bool is_known;
    double period_s, low_s, high_s;
    double phase_s;     /* tick n is at phase + n period */
    double tolerance_s; /* how well one change is placed */
    /* Each change comes a period after the last one, whenever that was, as of a timer that is set
     * anew: near changes are a period apart, far ones on no lattice. NVIDIA's driver 580 renews its
     * power readings so. */
    bool is_walking;
};
/* Ticks are numbered and the lattice found from changes of which any number may be missing.
 * ret_why: static text, when it is not known. Errors: WT_E_NOMEM. */
int wt_probe_lattice_find(struct wt_probe_change *changes, size_t count,
                          struct wt_probe_lattice *ret_lattice, const char **ret_why);

/* One reading that was published at t_s. */
struct wt_probe_point {
    double t_s, value;
};

/* The load as 0 and 1, edges ascending, 0 before the first. */
struct wt_probe_load {
    const double *edges_s;
    size_t count;
};

struct wt_probe_fit {
    bool is_known;
    const char *why;
    enum wt_probe_shape shape;
    double window_s, window_low_s, window_high_s; /* of a rise: its time constant */
    double delay_s, delay_low_s, delay_high_s;
    double low, high;  /* readings without and with the load */
    double share;      /* explained */
    double residual;   /* root mean square */
    double step_error; /* of high - low, two-sided 95 % */
};
/* blur_s: how well the points and edges are placed in time. Errors: WT_E_NOMEM. */
int wt_probe_fit(struct wt_probe_point *points, size_t count, const struct wt_probe_load *load,
                 double blur_s, struct wt_probe_fit *ret_fit);

#endif
