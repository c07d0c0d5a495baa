/* A race: many trainings of which one is wanted, and the hopeless are stopped early by their
 * losses.
 *
 * It asks and is told, without clocks and processes: wt_race_next() says which trial runs to which
 * step, wt_race_tell() what it reported on the way. At rungs, each eta times as far as the one
 * before, the trials are ranked by a rule and one in eta goes on. A stopped trial is paused and can
 * be resumed. docs/race.md has the formulas and what they are worth. */
#ifndef WATTUNE_RACE_H
#define WATTUNE_RACE_H

#include "wattune/run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* By what trials are ranked at a rung. The lowest is the best. */
enum wt_race_rule {
    WT_RACE_TSE,      /* "tse": sum over the epochs of the mean loss (Ru et al., NeurIPS'21) */
    WT_RACE_TSE_E,    /* "tse-e": of the last epochs */
    WT_RACE_TSE_EMA,  /* "tse-ema": of all, older ones weighing less */
    WT_RACE_LCGA,     /* "lcga": gradients of a fitted curve (Zhao et al., IPDPSW'22) */
    WT_RACE_ASHA,     /* "asha": the last loss, and no waiting for others (Li et al., MLSys'20) */
    WT_RACE_FORECAST, /* "forecast": the mean loss of the next epoch if it falls on as it did */
};
#define WT_RACE_RULES 6
/* "tse", ...; NULL for none. Threads: any thread. */
WT_API const char *wt_race_rule_name(enum wt_race_rule rule);
/* 0 or WT_E_NOTFOUND. Threads: any thread. */
WT_API int wt_race_rule_from_name(const char *name, enum wt_race_rule *ret_rule);

struct wt_race_options {
    enum wt_race_rule rule;
    double step_max;    /* of a whole trial, in steps */
    double first_share; /* of step_max: the first rung */
    double eta;         /* one in eta goes on, and a rung is eta times as far as the one before */
    double epoch_steps; /* steps whose mean loss is one term; 0: an eighth of the first rung */
    unsigned epochs;    /* TSE-E: how many of the last */
    double decay;       /* TSE-EMA: weight of an epoch against the next */
    unsigned burn_in;   /* LCGA: epochs at the start that do not count */
    unsigned epoch_cut; /* LCGA: epochs that are fitted at most, the first ones; 0: all */
};
/* The defaults, for trials of step_max steps. Threads: any thread. */
WT_API void wt_race_options_init(struct wt_race_options *options, double step_max);

/* LCGA's curve: loss(k) = 1 / (b1 + b2 k) + b3 of the k-th epoch (from 1), all b >= 0, fitted by
 * least squares to the losses over the highest of them. */
struct wt_race_fit {
    double b1, b2, b3; /* b1 is infinite where the losses do not fall */
    double scale;      /* the highest loss */
    double rms;        /* what the fit leaves, of the normalized losses */
};
/* losses[0..count) are means of epochs, above 0. Errors: WT_E_USAGE (fewer than three, one not
 * above 0 or not finite). Threads: any thread. */
WT_API int wt_race_fit(struct wt_race_fit *ret_fit, const double *losses, size_t count,
                       struct wt_error *err);
/* What a rule makes of the mean losses of so many epochs; the lowest is the best. LCGA of fewer
 * than burn_in + 3 epochs is infinite: nothing is known. Threads: any thread. */
WT_API double wt_race_score(const struct wt_race_options *options, const double *epochs,
                            size_t count);

enum wt_race_state {
    WT_RACE_WAITING,  /* not begun */
    WT_RACE_RUNNING,  /* asked for, and not there yet */
    WT_RACE_PAUSED,   /* at a rung: stopped, unless it is asked for again */
    WT_RACE_FINISHED, /* at step_max, or ended by itself */
    WT_RACE_DIVERGED, /* told a loss that is no number, or ended without one */
};
/* "waiting", ... Threads: any thread. */
WT_API const char *wt_race_state_name(enum wt_race_state state);

struct wt_race_trial {
    enum wt_race_state state;
    size_t rungs;    /* reached */
    double step;     /* last told; 0: none */
    double loss;     /* last told; NaN: none */
    double energy_j; /* last told, from its start; NaN: not known */
    double score;    /* at the last rung reached; infinite: none */
};

struct wt_race;
/* Errors: WT_E_USAGE (fewer than two trials, an option that cannot be), WT_E_NOMEM.
 * Threads: one thread at a time, as all of these. */
WT_API int wt_race_new(struct wt_race **ret_race, const struct wt_race_options *options,
                       size_t count, struct wt_error *err);
WT_API void wt_race_free(struct wt_race *race);

enum wt_race_turn {
    WT_RACE_RUN,  /* let *ret_trial run to *ret_step; others may run meanwhile */
    WT_RACE_WAIT, /* nothing can be decided before a running one is at its rung */
    WT_RACE_DONE, /* nobody else is worth running */
};
/* Which trial runs next, begun or resumed, and to which step. Those that are paused when it is done
 * are the stopped ones. */
WT_API enum wt_race_turn wt_race_next(struct wt_race *race, size_t *ret_trial, double *ret_step);
/* A trial's loss at a step; energy_j from its start, NaN where it is not known. A loss that is not
 * finite ends it as diverged. Errors: WT_E_USAGE (no such trial, one that is not running, a step
 * that is not above the last), WT_E_NOMEM. */
WT_API int wt_race_tell(struct wt_race *race, size_t trial, double step, double loss,
                        double energy_j, struct wt_error *err);
/* It ended by itself, before it was where it was asked to run to: its last loss is its final one.
 * Does nothing to one that is not running. */
WT_API void wt_race_ended(struct wt_race *race, size_t trial);
/* A paused one is to run to its end whatever the others do. Errors: WT_E_STATE (not paused). */
WT_API int wt_race_resume(struct wt_race *race, size_t trial, struct wt_error *err);
/* Borrowed until free; NULL: no such trial. */
WT_API const struct wt_race_trial *wt_race_trial(const struct wt_race *race, size_t trial);
/* The finished one with the lowest last loss; SIZE_MAX: none has finished. */
WT_API size_t wt_race_winner(const struct wt_race *race);
/* The steps of the rungs, step_max last; how many. Borrowed until free. */
WT_API size_t wt_race_rungs(const struct wt_race *race, const double **ret_steps);

/* ---- recorded curves ---- */

struct wt_race_curve {
    char name[64];                  /* of the file, without .csv */
    double *steps, *losses, *costs; /* owned; costs: J from the start, or steps */
    size_t count;
    bool is_diverged;              /* its last loss is no number */
    bool is_failed;                /* it says so: it ended there, and cannot win */
    bool is_unfinished;            /* it says so: a race stopped it where it ends */
    enum wt_provenance provenance; /* of its costs in J, as the file says; WT_PROV_UNKNOWN: not */
};
struct wt_race_curves {
    struct wt_race_curve *curves; /* owned; in the order of their names */
    size_t count;
    bool has_energy;               /* costs are J; else each step costs the same */
    size_t lacking, lacks;         /* curves without energy_j beside others that have it, which
                                      then is not used; one of them */
    enum wt_provenance provenance; /* of the energies, the weakest; WT_PROV_UNKNOWN: not said */
    char column[32];               /* which loss */
    double gap_steps;              /* the widest mean distance between two points of a curve */
};
/* Reads every *.csv of a folder: a header with step, the loss column (NULL: "loss") and, where it
 * was measured, energy_j from the start; other columns, lines that begin with # and empty ones are
 * left out. What comes after a loss of nan or inf is, too. Where a curve lacks energy_j (a race
 * that was killed does not know what was drawn last), each step costs the same. Errors:
 * WT_E_NOTFOUND (no folder, or no curve in it), WT_E_DENIED, WT_E_IO, WT_E_FORMAT (names file and
 * line; a single curve), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_race_curves_read(struct wt_race_curves *ret_curves, const char *folder,
                               const char *column, struct wt_error *err);
WT_API void wt_race_curves_done(struct wt_race_curves *curves);

/* What one race on recorded curves came to. */
struct wt_race_replayed {
    size_t *order;                /* owned; the curves that took part, in the order they began */
    struct wt_race_trial *trials; /* owned; in that order; energy_j: cost */
    size_t count;
    double *rungs; /* owned; steps */
    size_t rung_count;
    size_t winner, best; /* curves: the survivor, and the one with the lowest final loss */
    double spent, full;  /* cost of the race, and of running all to their end */
    double regret; /* how far the survivor's final loss lies above the best one's, over its size */
};
/* A race of `draw` of the curves (0: all), chosen and put in order by the seed. A whole trial is
 * the longest of them, whatever options->step_max says; epoch_steps of 0 is the curves' gap_steps.
 * Errors: WT_E_USAGE (draw of 1 or more than there are), WT_E_STATE (none of them has a final
 * loss), WT_E_NOMEM. Threads: any thread. */
WT_API int wt_race_replay(struct wt_race_replayed *ret_replayed,
                          const struct wt_race_curves *curves,
                          const struct wt_race_options *options, size_t draw, uint64_t seed,
                          struct wt_error *err);
WT_API void wt_race_replayed_done(struct wt_race_replayed *replayed);

/* The risk and the saving, over many such races. */
struct wt_race_risk {
    size_t races;
    double tolerance;                     /* share of the best one's final loss */
    double won_share;                     /* of races the best one survived */
    double near_share;                    /* it, or one within the tolerance */
    double saving, saving_min;            /* 1 - spent / full: of all races, of the worst */
    double regret, regret_95, regret_max; /* mean, 95th percentile, highest */
};
/* Seeds seed, seed + 1, ... Errors: as wt_race_replay. Threads: any thread. */
WT_API int wt_race_judge(struct wt_race_risk *ret_risk, const struct wt_race_curves *curves,
                         const struct wt_race_options *options, size_t draw, uint64_t seed,
                         size_t races, double tolerance, struct wt_error *err);

/* The stable document (docs/json.md, "A race"), owned by the caller: free(). NULL: no memory. risk
 * may be NULL: it is not known, as all curves were in the race. */
WT_API char *wt_race_to_json(const struct wt_race_curves *curves,
                             const struct wt_race_options *options,
                             const struct wt_race_replayed *replayed,
                             const struct wt_race_risk *risk, const char *folder);

/* ---- a race of commands ---- */

/* One of them. */
struct wt_raced_trial {
    char name[64];
    enum wt_race_state state; /* when the race was decided */
    size_t rungs;
    double step, loss, score; /* likewise; NaN, infinite: none */
    char command[256];        /* as a shell would need it; cut where it is longer */
    double run_s;             /* how long it ran until then */
    struct wt_joules energy;  /* likewise: of the node, or of its GPUs where several ran at once */
    double step_j;            /* J a step, by its curve from its first point on; NaN: not known */
    double again;             /* steps that were run a second time, as its process was gone: the
                                 race was resumed. Not in step */
    double again_j;           /* J of them and of starting again: in energy; NaN: not known */
    bool has_run_on;          /* in a race that was cut, after its curve was last saved: what it ran
                                 then is not known, and in none of these */
    unsigned processes;       /* that were started for it */
    int exit_code;            /* of one that ended by itself; -1: none did */
    /* Of a stopped one that was run to its end afterwards, else NaN: */
    double final_loss, full_j; /* full_j: of one training, without again_j */
};

struct wt_raced {
    struct wt_race_options options;
    char loss[32];                 /* which */
    struct wt_raced_trial *trials; /* borrowed */
    size_t count;
    const double *rungs; /* borrowed; steps */
    size_t rung_count;
    const struct wt_run *run; /* borrowed: all of it, measured; NULL: it was not */
    const char *folder;       /* borrowed: logs and curves */
    bool is_resumed;          /* some of it was run before, and is not in run */
    bool is_cut;              /* ended before it was decided */
    bool is_verified;         /* the stopped ones were run to their ends afterwards */
    /* Filled by wt_raced_sum_up(): */
    enum wt_provenance provenance; /* of the trials' energies, the weakest */
    size_t winner, best;      /* SIZE_MAX: none; best: lowest final loss, known when verified */
    double regret;            /* of the winner against it, over its size; NaN: not known */
    double steps, steps_full; /* that were run, and if none had been stopped */
    double steps_again;       /* of steps: a second time */
    double spent_j, saved_j;  /* J; NaN: not known. saved_j is measured when verified, else
                                 each stopped trial's step_j times the steps that it lacks; less
                                 what was run a second time */
    size_t stopped;           /* trials */
    double saving;            /* saved_j over both together; NaN */
};
WT_API void wt_raced_sum_up(struct wt_raced *raced);
/* The stable document (docs/json.md, "A race of commands"), owned by the caller: free(). NULL: no
 * memory. */
WT_API char *wt_raced_to_json(const struct wt_raced *raced);

#ifdef __cplusplus
}
#endif
#endif
