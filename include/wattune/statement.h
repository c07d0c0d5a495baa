/* An Energy Statement for a paper or a model card: what all runs with a tag took, failed ones too,
 * with provenance and bounds, and what was not measured. */
#ifndef WATTUNE_STATEMENT_H
#define WATTUNE_STATEMENT_H

#include "wattune/catalogue.h"
#include "wattune/run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the runs are from: never more than one of these in a statement. */
enum wt_statement_kind { WT_STATEMENT_REAL, WT_STATEMENT_EMULATED, WT_STATEMENT_REPLAYED };

struct wt_statement_options {
    double pue;                     /* of the data centre, 1 or more; NaN: not given */
    const char *pue_source;         /* who says so, borrowed for the call; NULL or "": the user */
    const struct wt_region *region; /* borrowed for the call; NULL: not given */
    const char *training_type;      /* likewise, of a model card: "pre-training"; NULL */
};

struct wt_statement_device { /* of one name, on all hosts */
    char name[96];
    enum wt_device_kind kind;
    size_t count; /* of each host the most that one run had, summed */
    bool is_modeled;
};

struct wt_statement_part { /* of the total: one way of reading */
    enum wt_provenance provenance, method;
    struct wt_joules energy;
    size_t runs;
    size_t last_run; /* which was added last */
};

struct wt_statement_text { /* owned words of one fact, and what it is about for programs */
    const char *what;      /* static: "cpu", "dram", "gpu", "node", "device", "beside", ... */
    char text[480];
};

struct wt_statement {
    char tag[64], version[16];
    enum wt_statement_kind kind;
    char origin[240];          /* emulated profiles, recordings; "" of real runs */
    const struct wt_run *runs; /* borrowed, oldest first as they were given */
    size_t run_count, done, failed, incomplete, running;
    size_t unstarted; /* whose command was not there, or no program: they are in no figure */
    size_t sweeps, swept, trials; /* sweeps, runs of one, and runs with parameters */
    /* Of races, each once however often it was resumed: the trainings in them, and of these what
     * came to its end, was stopped by its race, failed or diverged. */
    size_t races, raced, raced_finished, raced_stopped, raced_failed;
    size_t nodes; /* runs that are a node's part of a job of many ranks */
    struct wt_joules failed_energy, incomplete_energy; /* what is known of it; unknown: nothing */
    int64_t first_unix_ns, last_unix_ns;
    double wall_s, gpu_hours;            /* summed over the runs */
    struct wt_statement_device *devices; /* owned */
    size_t device_count;
    struct wt_statement_part *parts; /* owned; strongest first */
    size_t part_count;
    struct wt_joules total; /* of the devices that are counted, as far as it is known */
    bool is_whole; /* every run has ended, and the energy of each of its counted devices is known */
    size_t *unknown; /* owned; indices of runs of which some is not known */
    size_t unknown_count;
    double host_j;            /* rest of the node as the users gave it: host_w times the time */
    size_t host_runs;         /* of so many runs */
    struct wt_joules sum;     /* total and host_j */
    struct wt_joules modeled; /* of devices without a sensor, beside the total; unknown: none */
    struct wt_statement_text *missing; /* owned: what no sensor saw, or is not counted */
    size_t missing_count;
    size_t gap_count;     /* in all runs */
    double gap_j;         /* the most drawn unseen in them; infinite: not known of one */
    double pue;           /* NaN: not given */
    char pue_source[400]; /* "": the user's own number */
    bool has_region;
    struct wt_region region;
    struct wt_estimate facility_kwh; /* sum times PUE; NaN without one */
    struct wt_estimate co2_g;        /* of that, or without a PUE of the sum; NaN: no factor */
    char training_type[64];
};

/* Sums them up. runs (heads will do), oldest first, are borrowed until wt_statement_done(). Errors:
 * WT_E_NOTFOUND (no run), WT_E_MIXED (emulated, replayed and real ones together: names them),
 * WT_E_RANGE (PUE), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_statement_make(struct wt_statement *ret_statement, const struct wt_run *runs,
                             size_t count, const struct wt_statement_options *options,
                             struct wt_error *err);
WT_API void wt_statement_done(struct wt_statement *statement);

/* Documents, each owned by the caller: free(). NULL: no memory. Threads: any thread. */
WT_API char *wt_statement_to_markdown(const struct wt_statement *statement);
/* To be \input in a document; needs no package, and uses LaTeX's own commands only. */
WT_API char *wt_statement_to_latex(const struct wt_statement *statement);
/* docs/statement.schema.json. */
WT_API char *wt_statement_to_json(const struct wt_statement *statement);
/* The co2_eq_emissions block of a Hugging Face model card, YAML, in g CO2e. Errors: WT_E_STATE (no
 * carbon factor, or no known energy), WT_E_NOMEM. */
WT_API int wt_statement_to_model_card(const struct wt_statement *statement, char **ret_text,
                                      struct wt_error *err);
/* A row a run under the columns of CodeCarbon's emissions.csv; what is not known is empty. As
 * there, energies have the PUE in them. */
WT_API char *wt_statement_to_codecarbon(const struct wt_statement *statement);

#ifdef __cplusplus
}
#endif
#endif
