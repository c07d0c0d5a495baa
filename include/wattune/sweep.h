/* A sweep: the same work at several settings, compared with the default one. */
#ifndef WATTUNE_SWEEP_H
#define WATTUNE_SWEEP_H

#include "wattune/run.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_sweep_row {
    char label[64];    /* "150 W" */
    double setting;    /* in the user's unit, for plots; NaN for none */
    bool is_reference; /* the default setting all ratios are against */
    unsigned repeats;
    size_t first_run;                             /* index in runs of the first usable one */
    struct wt_estimate time_s, energy_j, power_w; /* a run; with host_w the energy includes it */
    struct wt_estimate time_ratio, energy_ratio, power_ratio; /* against the reference */
    struct wt_estimate j_per_work, work_per_s;                /* NaN without work */
    enum wt_provenance provenance;
    bool is_binding;          /* the device said that the setting held it back, or drew up to it */
    bool is_binding_known;    /* the trace could tell */
    bool is_overlapping_best; /* cannot be told apart from the best by energy */
    double run_bound;    /* of one run's energy, relative: what repeats shrink besides the spread */
    double shared_bound; /* of the energy ratio: what they do not shrink */
};

struct wt_sweep {
    char group[40];
    char title[256];    /* the command */
    char knob[32];      /* "power" */
    char unit[16];      /* "W" */
    char work_unit[32]; /* "tokens", or "" */
    char machine[256];  /* device names, driver */
    bool is_emulated;
    char emulation[64];        /* profile, "" when real or not known */
    double host_w;             /* rest of the node, from the runs; NaN: not given, GPU only */
    double breakeven_w;        /* rest of the node at which the choice saves nothing; NaN: none */
    bool is_per_work;          /* the runs did different amounts of work: ratios are per unit */
    struct wt_sweep_row *rows; /* owned, in order of setting */
    size_t row_count;
    size_t reference, choice; /* row indices */
    bool is_saving_real;      /* the choice's energy interval lies below 1 */
    double spread;            /* of one run's energy, relative; NaN: nothing was repeated */
    double precision;         /* widest half of the energy ratios that matter; NaN: none */
    char advice[640];         /* the sentence */
    char apply[256];          /* "wattune set power=150 -- CMD"; "" where there is no saving, or
                                 what was varied is no setting of a device */
    char **warnings;          /* owned */
    size_t warning_count;
    struct wt_run *runs; /* borrowed: what the rows were made from */
    size_t run_count;
};

/* Makes the table from runs of one group; runs are borrowed until wt_sweep_done. Runs that failed
 * (exit code not 0, not done, energy unknown) are left out of the rows and named in warnings.
 * reference_label NULL: the label of the runs marked is_reference, else the highest setting.
 * When every run has the same host_w, energies include host_w x time.
 * The choice is the lowest energy; where intervals overlap, the fastest among them; the reference
 * where no saving is certain.
 * Errors: WT_E_USAGE (no usable run at the reference), WT_E_MIXED, WT_E_NOMEM. */
WT_API int wt_sweep_make(struct wt_sweep *ret_sweep, struct wt_run *runs, size_t count,
                         const char *reference_label, struct wt_error *err);
/* How many repeats of each setting would bring the half width of every energy ratio that matters
 * down to this share (0.01 is 1 %); 0: no number of them would. A row matters that may be the one
 * to choose: whose interval reaches below the best's upper end, or below 1. */
WT_API unsigned wt_sweep_repeats_for(const struct wt_sweep *sweep, double precision);
/* The arithmetic of it, for two settings among `settings`, all repeated alike: spread of one run,
 * bound of one run, and what repeats do not shrink, all relative. */
WT_API unsigned wt_repeats_for(double spread, double run_bound, double shared_bound,
                               size_t settings, double precision);
/* Adds to the warnings whether this precision was reached, and what it would take. */
WT_API int wt_sweep_want(struct wt_sweep *sweep, double precision);

/* Has a device come to rest under its load? Over the last half of what it did, but 10 s at least,
 * temperature and clock must not drift by more than their noise, or than 1 K and 0.5 %. */
struct wt_settling {
    bool is_known; /* the trace is long enough, and has a temperature or a clock */
    bool is_settled;
    double temp_drift_k, clock_drift; /* over the time looked at; NaN: not readable */
};
/* points of several devices, t_s rising. Threads: any thread. */
WT_API struct wt_settling wt_settling_of(const struct wt_run_point *points, size_t count);
WT_API void wt_sweep_done(struct wt_sweep *sweep);
/* Owned by the caller: free(). */
WT_API char *wt_sweep_to_json(const struct wt_sweep *sweep);

#ifdef __cplusplus
}
#endif
#endif
