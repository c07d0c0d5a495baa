/* When and where to run: signals (carbon intensity, PUE, price) and the plan of one job on them.
 *
 * Times are seconds since 1970, UTC. A value that is not known is a state and never 0: nothing is
 * planned there. What lies beyond the end of a series is a forecast, and is said to be one. */
#ifndef WATTUNE_PLAN_H
#define WATTUNE_PLAN_H

#include "wattune/run.h"
#include "wattune/search.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- signals ---- */

enum wt_signal_kind {
    WT_SIGNAL_CARBON, /* "carbon": gco2_per_kwh, of the grid */
    WT_SIGNAL_PUE,    /* "pue": facility energy over the job's */
    WT_SIGNAL_PRICE   /* "price": price_per_kwh, may be negative */
};
#define WT_SIGNAL_KINDS 3
/* "carbon", ...; NULL for none. */
WT_API const char *wt_signal_kind_name(enum wt_signal_kind kind);
/* 0 or WT_E_NOTFOUND. */
WT_API int wt_signal_kind_from_name(const char *name, enum wt_signal_kind *ret_kind);
/* The column of a file that holds it: "gco2_per_kwh", ... */
WT_API const char *wt_signal_kind_column(enum wt_signal_kind kind);

enum wt_signal_form {
    WT_SIGNAL_SERIES,  /* rows of time and value, each held until the next */
    WT_SIGNAL_TABLE,   /* by month and hour of the day, UTC; every year alike */
    WT_SIGNAL_CONSTANT /* one number */
};
enum wt_signal_state { WT_SIGNAL_UNKNOWN, WT_SIGNAL_GIVEN, WT_SIGNAL_FORECAST };

struct wt_signal;
/* Reads a CSV; the header says which form it has:
 *   time,COLUMN            a series: ISO 8601, rising; two rows at least; the last row is held as
 *                          long as the one before it
 *   month,COLUMN           a table: 1 to 12
 *   hour,COLUMN            0 to 23
 *   month,hour,COLUMN
 *   month,0,1,...,23       the same, 12 x 24
 * Other columns, lines that begin with # and empty lines are left out; an empty value is not known.
 * Of a series that was saved the lines "# forecast: TIME" (from then on it is a service's
 * forecast),
 * "# fetched: TIME" and "# word: TEXT" before the header hold.
 * Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_IO, WT_E_FORMAT (names file and line), WT_E_NOMEM. */
WT_API int wt_signal_read(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *path,
                          struct wt_error *err);
/* Errors: WT_E_RANGE, WT_E_NOMEM. */
WT_API int wt_signal_constant(struct wt_signal **ret_signal, enum wt_signal_kind kind, double value,
                              struct wt_error *err);
/* One of data/: "paper", the PUE that the paper gives. Errors: WT_E_NOTFOUND, WT_E_NOMEM. */
WT_API int wt_signal_builtin(struct wt_signal **ret_signal, enum wt_signal_kind kind,
                             const char *name, struct wt_error *err);
WT_API void wt_signal_free(struct wt_signal *signal);
/* Writes a series as a file that wt_signal_read reads, without what wt_signal_forecast added; a
 * service's forecast stays one. Errors: WT_E_UNSUPPORTED (a table or a
 * number), WT_E_DENIED, WT_E_NOTFOUND (the folder), WT_E_FULL, WT_E_IO. */
WT_API int wt_signal_save(const struct wt_signal *signal, const char *path, struct wt_error *err);

/* ---- live feeds ---- */

/* Whether a source is FEED or FEED:ZONE of a service there is: electricitymaps, ukcarbon, watttime,
 * entsoe. Threads: any thread. */
WT_API bool wt_signal_is_feed(const char *source);
struct wt_feed_options {
    int64_t now_s;      /* 0: the clock's */
    int64_t max_age_s;  /* how old a kept series may be; 0: none is used; -1: a day */
    int64_t timeout_ms; /* of all requests together; 0: 15 s */
};
/* Reads a service (wattune-plan(1), LIVE FEEDS): its values and its own forecast; keys from the
 * environment. One that was read in the last five minutes is not asked again; of one that does not
 * answer the series that is kept is given, with a note in plans. options may be NULL.
 * Errors: WT_E_USAGE (no such zone, kind or URL), WT_E_DENIED (key), WT_E_NOTFOUND (the service has
 * no such values), WT_E_UNSUPPORTED (a library is not here), WT_E_BUSY, WT_E_IO, WT_E_TIMEOUT,
 * WT_E_FORMAT, WT_E_NOMEM. Threads: owner thread. */
WT_API int wt_signal_fetch(struct wt_signal **ret_signal, enum wt_signal_kind kind,
                           const char *source, const struct wt_feed_options *options,
                           struct wt_error *err);

struct wt_signal_info {
    enum wt_signal_kind kind;
    enum wt_signal_form form;
    const char *name;       /* file; borrowed until the signal is freed */
    int64_t begin_s, end_s; /* of what is given; INT64_MIN and MAX of tables and constants */
    int64_t fetched_s;      /* when a live feed was read; 0: it is none */
    int64_t service_s;      /* from when on it is the feed's own forecast; INT64_MAX: none is */
    bool is_stale;          /* the feed did not answer; it is what it said at fetched_s */
};
WT_API struct wt_signal_info wt_signal_info(const struct wt_signal *signal);
/* What it is at a moment, and until when (may be NULL). Threads: any thread, but not beside
 * wt_signal_forecast. */
WT_API enum wt_signal_state wt_signal_at(const struct wt_signal *signal, int64_t t_s,
                                         double *ret_value, int64_t *ret_until_s);

/* How a series was made longer. */
struct wt_signal_forecast {
    int64_t from_s, to_s;
    unsigned weeks;  /* of history it is the mean of: by hour of the week; 0: by hour of the day */
    double memory;   /* of what the last hours were off that mean, how much is left after a day */
    size_t trials;   /* how often it was tried on the series itself; 0: history is too short */
    double mean_abs; /* error of an hour's value in those, in the signal's unit; NaN without */
    double relative; /* the same over the mean value */
    double bias;     /* mean error, forecast less what came */
};
/* Makes a series reach until_s: beyond its end the mean of the same hour of the week in its last
 * four weeks, and what the last hours were above it, fading. The error is that of the same forecast
 * made at earlier moments of the series, as far ahead. Nothing (ret zeroed) where it reaches so
 * far, or is no series. Errors: WT_E_RANGE: farther ahead than half of the history, or that is
 * under a day; WT_E_NOMEM. Threads: owner thread. */
WT_API int wt_signal_forecast(struct wt_signal *signal, int64_t until_s,
                              struct wt_signal_forecast *ret_forecast, struct wt_error *err);
/* A copy of a series that ends at end_s, as it was known then. Errors: WT_E_RANGE, WT_E_NOMEM. */
WT_API int wt_signal_cut(struct wt_signal **ret_signal, const struct wt_signal *signal,
                         int64_t end_s, struct wt_error *err);

/* "2020-07-01", "2020-07-01T06:30Z", "2020-07-01 06:30:00+02:00"; without a zone UTC.
 * Errors: WT_E_FORMAT. */
WT_API int wt_moment_parse(const char *text, int64_t *ret_s);
/* "2020-07-01T06:30:00Z". Returns buf. */
WT_API const char *wt_moment_text(char *buf, size_t size, int64_t t_s);

/* ---- the plan of one job ---- */

struct wt_job {
    enum wt_objective objective; /* ENERGY (of the facility), CARBON or COST */
    double power_w;              /* mean, while it runs */
    int64_t duration_s;          /* of its work */
    int64_t start_s, deadline_s; /* not before, done by */
    bool is_interruptible;       /* may stop and go on later */
    int64_t checkpoint_s;        /* each interruption takes so much longer, at the same power */
    int64_t segment_min_s;       /* runs so long at least once it runs */
};

struct wt_place {
    char region[32];                            /* "" where there is only one */
    struct wt_signal *signals[WT_SIGNAL_KINDS]; /* borrowed; NULL: not given */
};

struct wt_segment {
    int64_t start_s, end_s;
};

struct wt_plan_sum {
    int64_t start_s, end_s, run_s;
    double energy_kwh;     /* of the job */
    double facility_kwh;   /* NaN: no PUE is given */
    double carbon_g, cost; /* of the facility's energy, or without a PUE of the job's; NaN: no such
                              signal is given, or it is not known there */
    double forecast_share; /* of its time, with a signal that is forecast */
};

struct wt_plan {
    struct wt_segment *segments; /* owned, in order */
    size_t count;
    struct wt_plan_sum sum, baseline; /* baseline: the same job, run at job.start_s at once */
    double saving;                    /* share of the objective; NaN: baseline not known or 0 */
};
/* The least objective there is:
 * - not interruptible: over every second of start;
 * - interruptible without checkpoint_s and segment_min_s: over every choice of seconds;
 * - else over segments of whole steps of 5 minutes of the clock (1 minute where a duration is no
 *   multiple of 5), each longer than a checkpoint; one piece, to the second, where that is no
 * dearer. Of equals in one piece the earliest, of those that are free to stop one with the fewest
 * interruptions. Errors: WT_E_USAGE, WT_E_RANGE (does not fit before the deadline; a signal is not
 * known anywhere long enough; too many steps, or changes of the signals), WT_E_NOMEM.
 * Threads: any thread. */
WT_API int wt_plan_make(struct wt_plan *ret_plan, const struct wt_job *job,
                        const struct wt_place *place, struct wt_error *err);
WT_API void wt_plan_done(struct wt_plan *plan);
/* What segments take on signals, also on others than they were planned on. */
WT_API struct wt_plan_sum wt_plan_value(const struct wt_segment *segments, size_t count,
                                        double power_w, const struct wt_place *place);
/* The number that is made small. */
WT_API double wt_plan_objective(const struct wt_plan_sum *sum, enum wt_objective objective);

/* ---- places side by side ---- */

struct wt_plan_power {    /* where the power comes from, and the duration */
    double low_w, high_w; /* NaN: as given */
    double time_low_s;    /* of a predicted duration; NaN or 0: as given */
    double time_high_s;
    enum wt_provenance provenance; /* of the power; WT_PROV_UNKNOWN: as given */
    char run_id[40];
    char prediction[256]; /* of what, whose power or time it is; "": none */
    double host_w;        /* rest of the node that is in a predicted power */
    bool is_too_large;    /* by the prediction it does not fit into its devices' memory */
    char emulation[64];   /* of the run whose power, or at least time, it is; "": none */
};

struct wt_plan_note {
    char text[800];
};

struct wt_plan_result {
    struct wt_job job;
    struct wt_plan_power power;
    struct wt_place *places; /* owned; the first is where it would run now */
    struct wt_plan *plans;   /* owned, one a place */
    size_t count, best;
    double saving; /* of the best place against now at the first one */
    struct wt_plan_forecast {
        char region[32];
        enum wt_signal_kind kind;
        struct wt_signal_forecast forecast;
    } * forecasts; /* owned */
    size_t forecast_count;
    struct wt_plan_note *notes; /* owned: what it rests on */
    size_t note_count;
};
/* Plans at each place and takes the least. Signals that end before the deadline are made longer by
 * wt_signal_forecast, and stay so; forecasts[] has those that the time before the deadline meets,
 * also where an earlier plan made them, for each place that has the signal. power may be NULL.
 * Errors: as wt_plan_make, wt_signal_forecast. */
WT_API int wt_plan_places(struct wt_plan_result *ret_result, const struct wt_job *job,
                          const struct wt_plan_power *power, const struct wt_place *places,
                          size_t count, struct wt_error *err);
WT_API void wt_plan_result_done(struct wt_plan_result *result);
/* The stable document (docs/json.md), owned by the caller: free(). NULL: no memory. */
WT_API char *wt_plan_to_json(const struct wt_plan_result *result);

#ifdef __cplusplus
}
#endif
#endif
