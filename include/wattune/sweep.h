/* A sweep: the same work at several settings, compared with the default one. */
#ifndef WATTUNE_SWEEP_H
#define WATTUNE_SWEEP_H

#include "wattune/run.h"
#include "wattune/search.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WT_SWEEP_AXES 4

/* What is varied: a setting of the devices, or a parameter of the command. */
struct wt_sweep_axis {
    char name[32]; /* of the knob or the parameter */
    bool is_param;
    char **values; /* owned, each too; as typed and in that order */
    size_t value_count;
    double *needs; /* owned; of a parameter, how much of the work each value needs (epochs to the
                      same loss, say); NULL: all the same */
};

/* What the runs of a sweep have in common. Each keeps it as text (wt_run.plan), so that the sweep
 * can go on after an interruption, and its table be made again as it was. */
struct wt_sweep_plan {
    char command[1024]; /* {NAME} where a parameter goes */
    struct wt_sweep_axis axes[WT_SWEEP_AXES];
    size_t axis_count;
    char reference[64]; /* label of the setting that the others are compared with; "": not told */
    uint64_t seed;      /* of the order; below 2^63 */
    unsigned repeats, repeats_max;
    double precision; /* NaN: not asked for */
    double settle_s;  /* 0: not asked for */
    struct wt_goal goal;
};

/* Owned by the caller: free(). NULL only when out of memory. */
WT_API char *wt_sweep_plan_to_json(const struct wt_sweep_plan *plan);
/* Errors: WT_E_FORMAT, WT_E_NOMEM. */
WT_API int wt_sweep_plan_from_json(struct wt_sweep_plan *ret_plan, const char *text,
                                   struct wt_error *err);
/* Empties a plan; it may be zeroed memory. */
WT_API void wt_sweep_plan_done(struct wt_sweep_plan *plan);
/* Whether a sweep of one plan can go on with the other: command, settings and parameters alike.
 * Says into err what differs and returns WT_E_CHANGED where not; what is made of the runs (the
 * goal, the needs) and how often they are repeated may differ. */
WT_API int wt_sweep_plan_check(const struct wt_sweep_plan *stored, const struct wt_sweep_plan *now,
                               struct wt_error *err);

/* One setting of a plan. */
struct wt_sweep_point {
    char label[64];
    char command[1024]; /* with its parameters filled in: as a run of it is recorded */
    bool is_reference;
    double expected_s;    /* of one run; NaN: not known */
    size_t expected_from; /* by how many stored runs of this very setting; 0: by the others */
};

/* How long a plan may take. */
struct wt_sweep_forecast {
    double run_s; /* mean over the settings; NaN: nothing is known */
    size_t run_count;
    char group[40]; /* the sweep they are of, or "" */
};

/* Fills expected_s from runs of the same commands: those of the newest sweep that has any, or the
 * newest that belong to none. emulation: only runs on it count; "" is real devices. A setting that
 * did not run is taken to last as its command did at others, or else as the mean of the others.
 * runs newest first. */
WT_API struct wt_sweep_forecast wt_sweep_forecast(struct wt_sweep_point *points, size_t count,
                                                  const struct wt_run *runs, size_t run_count,
                                                  const char *emulation);

/* One run of a plan, in its order. */
struct wt_sweep_step {
    size_t point;
    unsigned repeat;
    bool is_stored; /* made before, and counts */
};

/* `wattune sweep --dry-run --json`. steps are all there may be; those from repeats on only happen
 * when the precision asks for them. Owned by the caller: free(). */
WT_API char *wt_sweep_dry_to_json(const struct wt_sweep_plan *plan,
                                  const struct wt_sweep_point *points, size_t point_count,
                                  const struct wt_sweep_step *steps, size_t step_count,
                                  const struct wt_sweep_forecast *forecast, const char *emulation);

struct wt_sweep_row {
    char label[64];    /* "150 W" */
    double setting;    /* in the user's unit, for plots; NaN for none */
    bool is_reference; /* the default setting all ratios are against */
    unsigned repeats;
    size_t first_run;                             /* index in runs of the first usable one */
    struct wt_estimate time_s, energy_j, power_w; /* a run; with host_w the energy includes it */
    struct wt_estimate time_ratio, energy_ratio, power_ratio; /* against the reference */
    struct wt_estimate j_per_work, work_per_s;                /* NaN without work */
    struct wt_estimate value, value_ratio; /* of what is made small; of energy, energy */
    double need;                           /* times the work of one run; 1: not given */
    bool is_admissible;                    /* within the goal's limits */
    unsigned outlier_count;
    enum wt_provenance provenance;
    bool is_binding;          /* the device said that the setting held it back, or drew up to it */
    bool is_binding_known;    /* the trace could tell */
    bool is_overlapping_best; /* admissible, and cannot be told apart from the best by value */
    double run_bound;    /* of one run's value, relative: what repeats shrink besides the spread */
    double shared_bound; /* of the value's ratio: what they do not shrink */
};

/* A run that is far from the others at its setting. It counts all the same. */
struct wt_sweep_outlier {
    size_t run;           /* index in runs */
    bool is_time;         /* its time; else its energy */
    bool is_pair;         /* of two runs: which of them is off cannot be told */
    double value, median; /* s or J, per unit of work where is_per_work */
    double score;         /* distance in standard deviations of a run, robustly estimated */
};

/* A setting of which no run counts, so that it has no row. */
struct wt_sweep_failure {
    char label[64];
    size_t run_count, last_run; /* index in runs */
    int exit_code;              /* of the last that ended by itself; 0: none failed so */
    bool is_by_exit;            /* so ended all of them: nothing else is to be said of each */
    char why[120];              /* "its 2 runs ended with exit code 4" */
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
    bool is_pair;              /* of two groups of runs (pair.h): nothing is recommended */
    double host_w;             /* rest of the node, from the runs; NaN: not given, GPU only */
    double breakeven_w;        /* rest of the node at which the choice gains nothing; NaN: none */
    bool is_per_work;          /* the runs did different amounts of work: ratios are per unit */
    bool is_to_target;         /* times and energies are multiplied by each row's need */
    struct wt_sweep_plan plan; /* owned; without axes when the runs keep none, but with a goal */
    struct wt_sweep_row *rows; /* owned, in order of setting */
    size_t row_count;
    size_t reference, choice; /* row indices */
    bool is_saving_real; /* the choice is not the reference, is admissible, and the interval of its
                            value's ratio lies below 1 */
    double spread;       /* of one run's energy, relative; NaN: nothing was repeated */
    double value_spread; /* of one run's value */
    double time_spread, power_spread;  /* likewise of its time and mean power */
    double precision;                  /* widest half of the value ratios that matter; NaN: none */
    struct wt_sweep_outlier *outliers; /* owned */
    size_t outlier_count;
    struct wt_sweep_failure *failures; /* owned, in order of their first runs */
    size_t failure_count;
    char advice[840]; /* the sentence */
    char apply[1400]; /* "wattune set power=150 -- CMD"; "" where nothing is to be changed,
                         or what was varied is no setting of a device */
    char **warnings;  /* owned */
    size_t warning_count;
    struct wt_run *runs; /* borrowed: what the rows were made from */
    size_t run_count;
};

/* Makes the table from runs of one group, oldest first; runs are borrowed until wt_sweep_done. Runs
 * that failed (exit code not 0, not done, energy unknown) are left out of the rows and named in
 * warnings; a setting of which none is left is in failures. reference_label NULL: the label of the
 * runs marked is_reference, else the highest setting. The goal and the needs are those of the
 * newest plan that the runs keep; without any it is energy, and where every run has the same
 * host_w, energies include host_w x time. The choice is the lowest value of the goal within its
 * limits; where intervals overlap, the fastest among them; the reference where it is within the
 * limits and nothing is lower for certain; what draws least where nothing is within the limits.
 * Errors: WT_E_USAGE (no usable run at the reference), WT_E_MIXED, WT_E_NOMEM. */
WT_API int wt_sweep_make(struct wt_sweep *ret_sweep, struct wt_run *runs, size_t count,
                         const char *reference_label, struct wt_error *err);
/* The same with another plan's goal and needs. */
WT_API int wt_sweep_make_by(struct wt_sweep *ret_sweep, struct wt_run *runs, size_t count,
                            const char *reference_label, const struct wt_sweep_plan *plan,
                            struct wt_error *err);

/* How far the energy of one run may be off by itself (95 %), in J: what repeats shrink.
 * *ret_offset_w (may be NULL): what its sensors may be off by in all runs alike. The gain, which
 * cancels between settings on the same devices, is in neither. */
WT_API double wt_sweep_run_bound_j(const struct wt_sweep *sweep, size_t run, double *ret_offset_w);
/* How often the work of this run is needed to the target; 1 where nothing was given. */
WT_API double wt_sweep_run_need(const struct wt_sweep *sweep, size_t run);

/* Numbers that the runs told of themselves ("loss", "MFU"), in order of first appearance. */
#define WT_SWEEP_TOLD_MAX 8
struct wt_sweep_told {
    char names[WT_SWEEP_TOLD_MAX][32];
    size_t count;
};
WT_API void wt_sweep_told_names(const struct wt_sweep *sweep, struct wt_sweep_told *ret_told);
/* The mean over a row's runs of what each told last; NaN: none told it. */
WT_API double wt_sweep_told(const struct wt_sweep *sweep, size_t row, const char *name);
/* How many repeats of each setting would bring the half width of every value ratio that matters
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
