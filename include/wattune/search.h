/* A search: which setting serves a goal best, found by measuring few of them.
 *
 * It asks and is told: wt_search_next() says which candidate to measure, wt_search_tell() what came
 * of it, until it is done. Where the measurements come from (a running job, repeated runs, a file)
 * is not its business, so that a replay tests what a job gets. */
#ifndef WATTUNE_SEARCH_H
#define WATTUNE_SEARCH_H

#include "wattune/curve.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is made small. E is the energy of the devices and of the rest of the node, T the time. */
enum wt_objective {
    WT_OBJECTIVE_ENERGY, /* E */
    WT_OBJECTIVE_EDP,    /* E T, energy-delay product */
    WT_OBJECTIVE_TIME,   /* T: of use with power_max_w */
    WT_OBJECTIVE_COST,   /* electricity and machine hours */
    WT_OBJECTIVE_CARBON, /* g CO2e of the electricity: where nothing but energy emits, as energy */
    WT_OBJECTIVE_ETA,    /* eta E + (1 - eta) P T, P the highest power: Zeus (NSDI'23), eq. 2 */
};
/* "energy", ...; NULL for none. */
WT_API const char *wt_objective_name(enum wt_objective objective);
/* 0 or WT_E_NOTFOUND. */
WT_API int wt_objective_from_name(const char *name, enum wt_objective *ret_objective);

struct wt_goal {
    enum wt_objective objective;
    double host_w;                /* power of the rest of the node, W; 0: GPU alone */
    double slowdown_max;          /* share of time more than at the reference: 0.05; NaN: any */
    double power_max_w;           /* mean power of the devices; NaN: any */
    double price_kwh, price_hour; /* COST: of a kWh, of an hour of the machine, one currency */
    double carbon_g_kwh;          /* CARBON */
    double eta, eta_power_w;      /* ETA: 0 to 1, and P */
};
/* No constraint, no host, eta one half. */
WT_API void wt_goal_init(struct wt_goal *goal);
/* The number that is made small, in J, J s, s, currency or g. energy_j is of the devices alone.
 * Threads: any thread. */
WT_API double wt_goal_value(const struct wt_goal *goal, double time_s, double energy_j);

#define WT_SEARCH_AXES 4

struct wt_search_axis {
    char name[32]; /* "power", "clock", or of a parameter */
    char unit[16]; /* "W", "MHz", "" */
    enum wt_axis form;
    char *const *words; /* borrowed; of an axis of words: value 1 is the first of them, and there is
                           nothing between two, so that all are measured. NULL: of numbers */
    size_t word_count;
};

struct wt_search_options {
    struct wt_search_axis axes[WT_SEARCH_AXES];
    size_t axis_count;
    struct wt_goal goal;
    size_t probes_max;  /* different candidates measured, the reference among them; 0: 4 of a limit
                           of power (6 when confirmed and there are more than nine), 6 of anything
                           else, all words, and as much for each axis */
    size_t repeats_max; /* how often a candidate is measured again; 0: never */
    double noise;       /* relative standard deviation of one reading; NaN: not known (0.2 % until
                           repeats tell) */
    double offset_w;    /* constant error of the power sensors, two-sided, 95 %: it does not cancel
                           between settings that draw differently, nor shrink with repeats */
    double tolerance;   /* a candidate that promises to save less than this share, times its time
                           relative to the reference, is not measured; 0: 0.4 % */
    size_t readings_each; /* told each time a candidate is measured; 0: 1 */
    bool is_confirmed;    /* the choice and the reference are measured at two times at least */
};

struct wt_candidate {
    double values[WT_SEARCH_AXES];
    size_t readings_max; /* how often it can be measured; 0: as often as asked */
};

struct wt_search;
/* The reference is the candidate that all ratios are against, and is measured first.
 * Errors: WT_E_USAGE (no candidate, two alike, a value that is not above 0), WT_E_NOMEM. */
WT_API int wt_search_new(struct wt_search **ret_search, const struct wt_search_options *options,
                         const struct wt_candidate *candidates, size_t count, size_t reference,
                         struct wt_error *err);
WT_API void wt_search_free(struct wt_search *search);

/* How many of so many candidates it measures at most, the reference among them. */
WT_API size_t wt_search_most(const struct wt_search_options *options, size_t count);

/* Which candidate to measure next; false: enough is known. *ret_why (may be NULL): why, a borrowed
 * static text. Threads: one thread at a time, as all of these. */
WT_API bool wt_search_next(struct wt_search *search, size_t *ret_candidate, const char **ret_why);
/* What measuring it gave, the same work each time. A reading that failed is not told: the candidate
 * is then withdrawn by wt_search_drop(). Errors: WT_E_USAGE (not above 0), WT_E_NOMEM. */
WT_API int wt_search_tell(struct wt_search *search, size_t candidate, double time_s,
                          double energy_j, struct wt_error *err);
/* The same, of an energy that may be off by bound_j (95 %), whatever the other readings are off by.
 * Errors: also WT_E_USAGE (bound_j negative). */
WT_API int wt_search_tell_within(struct wt_search *search, size_t candidate, double time_s,
                                 double energy_j, double bound_j, struct wt_error *err);
/* The rest of the node as it is measured meanwhile, W: counts from now on. */
WT_API void wt_search_host(struct wt_search *search, double host_w);
/* It cannot be set or measured: it is asked for no more. */
WT_API void wt_search_drop(struct wt_search *search, size_t candidate);
/* What it found may not hold any more (another phase, a neighbour): all readings are forgotten, the
 * candidates stay. Beginning with `start` (SIZE_MAX: none) after the reference. */
WT_API void wt_search_again(struct wt_search *search, size_t start);
/* A candidate that was best before, for the same load or one like it: measured right after the
 * reference. */
WT_API void wt_search_start_at(struct wt_search *search, size_t start);

/* One candidate as far as it is known. */
struct wt_search_point {
    size_t candidate;
    double values[WT_SEARCH_AXES];
    size_t readings;                     /* 0: a point of the curve between probes */
    struct wt_estimate time_s, energy_j; /* of the devices */
    struct wt_estimate value;            /* of the goal */
    double breakeven_w; /* rest of the node at which it saves no energy against the reference; NaN:
                           it saves none for certain, or at any */
    bool is_admissible; /* within the constraints */
    bool is_tied;       /* with the best: the intervals overlap */
    bool is_reference, is_choice;
};

struct wt_search_result {
    struct wt_search_axis axes[WT_SEARCH_AXES];
    size_t axis_count;
    struct wt_goal goal;
    struct wt_search_point *points; /* owned; measured candidates, in order of first reading */
    size_t point_count;
    struct wt_search_point *curve; /* owned; along the last axis through the choice, between the
                                      lowest and the highest probe; of one axis only candidates */
    size_t curve_count;
    size_t choice, reference; /* indices in points */
    bool is_saving_real; /* the choice's value lies below the reference's, beyond the intervals */
    size_t best;         /* lowest value, ties aside */
    size_t choice_gpu_only; /* what the choice were with no rest of the node */
    size_t *order;          /* owned; candidates in the order they were measured, repeats too */
    double *order_time_s, *order_energy_j; /* owned; what each reading was */
    size_t reading_count;
    struct wt_estimate time_ratio, energy_ratio, value_ratio; /* of the choice */
    double noise;                                             /* of one reading, relative */
    bool is_noise_known;
    struct wt_curve_facts facts; /* of the curve */
    char **warnings;             /* owned */
    size_t warning_count;
};
/* How many different candidates were measured. */
WT_API size_t wt_search_measured(const struct wt_search *search);
/* What is known so far; needs the reference and nothing else.
 * Errors: WT_E_STATE (the reference was not measured), WT_E_NOMEM. */
WT_API int wt_search_result(const struct wt_search *search, struct wt_search_result *ret_result,
                            struct wt_error *err);
WT_API void wt_search_result_done(struct wt_search_result *result);
/* Where a search's numbers come from; texts are borrowed, NULL for none. */
struct wt_search_story {
    enum wt_provenance provenance; /* WT_PROV_REPLAYED of a file */
    const char *source;            /* the file, or the command */
    const char *machine;           /* device names */
    const char *emulation;         /* profile */
    const char *work_unit;         /* time and energy are of one of these; NULL: of one run */
    const char *run_id;            /* of the run it was part of */
    double searched_s;             /* how long it took; NaN: nothing was run */
    double extra_j;                /* energy its probes took beyond the choice's; NaN */
    const char *const *remarks;    /* more warnings */
    size_t remark_count;
};
/* The stable document (docs/json.md, "A search"), owned by the caller: free(). NULL: no memory. */
WT_API char *wt_search_to_json(const struct wt_search_result *result,
                               const struct wt_search_story *story);
/* "150 W", "power 150 W, clock 1200 MHz". Returns buf. */
WT_API const char *wt_search_words(const struct wt_search_result *result, const double *values,
                                   char *buf, size_t size);
/* What it comes to, as a sentence or two. Returns buf. */
WT_API const char *wt_search_advice(const struct wt_search_result *result,
                                    const struct wt_search_story *story, char *buf, size_t size);

/* Recorded points, to search without a device. */
struct wt_replay {
    struct wt_search_axis axes[WT_SEARCH_AXES];
    size_t axis_count;
    char **words[WT_SEARCH_AXES]; /* owned; what the axes borrow, and as much of what turned out to
                                     be numbers */
    size_t word_counts[WT_SEARCH_AXES];
    struct wt_candidate *candidates; /* owned; a setting each, readings_max its rows */
    size_t count, reference; /* as is_reference says; else the highest limit and clock, and of other
                                columns the first row's */
    struct wt_replay_row {
        size_t candidate;
        double time_s, energy_j; /* of the same work in all rows, where the file says how much each
                                    did */
        double bound_j;          /* that energy_j may be off by, each row by itself */
        double work;             /* 0: not said */
    } * rows;                    /* owned, in the order of the file */
    size_t row_count;
    char work_unit[32]; /* "tokens", or "" */
    double offset_w;    /* what the sensors may be off by in all rows alike */
    bool is_modeled;    /* the title says that the energies were estimated, and not measured */
    char **notes;       /* owned; what the file does not say, and what its work made of the rows */
    size_t note_count;
    char
        emulation[64]; /* profile: `wattune sweep --csv` wrote it of an emulated device; "": none */
};
/* Reads a CSV: a header of the columns time_s, energy_j and one to four of settings, in any order;
 * power_w is a limit of power, clock_mhz a clock, any other name a parameter. Its values are
 * numbers above 0; where one is not, all are words, and a note says so unless none is a number. A
 * column `epochs` says how often time and energy are needed to reach the target, `work` (in
 * `work_unit`) how much a row did, `energy_bound_j` and `sensor_offset_w` what its energy may be
 * off by, `is_reference` (1 or 0) what to compare with. Lines that begin with # and empty ones are
 * left out. Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_IO, WT_E_FORMAT (names the line and column),
 * WT_E_NOMEM. */
WT_API int wt_replay_read(struct wt_replay *ret_replay, const char *path, struct wt_error *err);
WT_API void wt_replay_done(struct wt_replay *replay);
/* Searches them: tells the search each row it asks for, in the order of the file. Errors: those of
 * wt_search_new, wt_search_tell, wt_search_result. options->axes are taken from the replay, whose
 * words the result borrows. */
WT_API int wt_replay_search(const struct wt_replay *replay, const struct wt_search_options *options,
                            struct wt_search_result *ret_result, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
