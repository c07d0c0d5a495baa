/* sweep: what the files of `wattune sweep` share - its options, its plan, its progress line. */
#ifndef WT_CLI_SWEEP_H
#define WT_CLI_SWEEP_H

#include "goal.h"
#include "measure.h"
#include "params.h"

#define MAX_AXES   WT_SWEEP_AXES
#define MAX_POINTS CLI_PARAM_VALUES_MAX

#define SWEEP_SBATCH_MAX 32

struct sweep_options {
    struct cli_bed bed;
    struct cli_setting sets[MAX_AXES];
    size_t set_count;
    struct cli_param params[MAX_AXES];
    size_t param_count;
    bool is_auto;
    const char *tag, *report, *csv, *progress;
    char work_unit[32];
    uint64_t work_per_step;
    struct wt_goal goal;
    unsigned repeats, repeats_max; /* 0: not given */
    double precision;              /* NaN: not asked for */
    int64_t settle_ns;
    bool has_seed;
    uint64_t seed;
    const char *resume; /* a group, or "last"; NULL: a new sweep */
    int resume_at;      /* where in argv --resume ends */
    struct {
        bool is_asked;
        const char *folder, *task;            /* NULL: not given */
        const char *sbatch[SWEEP_SBATCH_MAX]; /* each an option of sbatch's */
        size_t sbatch_count;
        unsigned resubmit;
        bool has_resubmit;
    } slurm;
    bool is_json, is_measure_only, is_output_shown, is_without_store, is_dry_run;
};

/* Whether the runs are made on other machines: nothing here is asked what it can do. */
static inline bool cli_sweep_is_elsewhere(const struct sweep_options *o)
{
    return o->slurm.is_asked || o->slurm.task;
}

/* One setting: a value for each knob and each parameter. */
struct point {
    int64_t values[MAX_AXES];
    size_t params[MAX_AXES]; /* which of each parameter's values */
    char label[64];
    char **command;  /* owned: CMD with its parameters filled in */
    unsigned failed; /* runs made here in which CMD failed, since one that went well */
    bool is_left_out;
};

/* What is stored of a sweep that goes on. */
struct sweep_stored {
    char group[40];
    struct wt_run *runs; /* owned; whole, oldest first */
    size_t run_count;
    struct wt_sweep_plan plan;
};

struct progress {
    bool is_tty, has_nodes;
    size_t done, total;
    const char *label;
    int label_width; /* of the longest */
    int64_t begun_ns;
    double spent_s; /* in finished runs */
    struct cli_measure *measure;
    size_t drawn_step;
};

/* All of one sweep. */
struct sweep_job {
    struct sweep_options o;
    struct cli_measure m;
    bool is_measuring;
    struct wt_lease *lease;
    struct point *points; /* owned */
    size_t point_count, reference;
    struct wt_sweep_plan plan;
    char *plan_text;             /* owned; as the runs keep it */
    struct wt_sweep_step *steps; /* owned */
    size_t step_count;
    struct sweep_stored stored;
    char group[40];
    struct wt_run *runs; /* owned: the stored ones, then those made here */
    size_t run_count;
    struct progress progress;
    int asked;
    int failed;                /* runs, but not those of settings that were left out */
    int lost;                  /* of them, in which what was set did not hold */
    struct sweep_slurm *slurm; /* owned, sweep_slurm.c; NULL: it runs here */
};

/* ---- sweep.c ---- */

/* Sets what a point says on this machine; run may be NULL. Errors: those of cli_apply. */
int cli_sweep_apply(const struct sweep_job *job, const struct point *point, struct wt_run *run,
                    struct wt_error *err);
/* A run whose setting did not hold throughout is no measurement of it: that is said, and in the
 * store it is one that was cut short. */
bool cli_sweep_is_lost(struct sweep_job *job, struct wt_run *run);
/* What a run is of, before it is made. Errors: WT_E_NOMEM. */
int cli_sweep_tell_run(const struct sweep_job *job, const struct wt_sweep_step *step,
                       struct wt_run *run, struct wt_error *err);
/* After a round: are the ratios known as well as was asked for? */
bool cli_sweep_is_precise_enough(const struct sweep_job *job);
/* The end of what a command wrote into a file, from an offset on, to stderr. */
void cli_sweep_show_log_end(int fd, off_t from);

/* ---- sweep_options.c ---- */

/* Fills from the command line; CMD is what stands from optind on. Returns an exit code, or -1 to go
 * on. */
int cli_sweep_parse(int argc, char **argv, struct sweep_options *o);
void cli_sweep_options_done(struct sweep_options *o);

/* ---- sweep_plan.c ---- */

/* Fills the plan's points, or one point with the present setting when settings may not be changed
 * and that was allowed. Returns an exit code, or -1 to go on. */
int cli_plan(struct sweep_options *o, char **command, struct point *points, size_t *ret_count,
             size_t *ret_reference);
void cli_points_free(struct point *points, size_t count);
/* The plan as its runs keep it; wt_sweep_plan_done(). Errors: WT_E_NOMEM. */
int cli_plan_tell(const struct sweep_options *o, char **command, struct wt_sweep_plan *ret_plan,
                  struct wt_error *err);
/* Every round holds each setting once, in an order of its own: drift (a warming card, a neighbour)
 * falls on all settings alike. steps has points x repeats elements; the order of the first rounds
 * is the same with more of them. */
void cli_plan_order(struct wt_sweep_step *steps, size_t points, unsigned repeats, uint64_t seed);

/* ---- sweep_resume.c ---- */

/* The group that `name` is: that of the newest sweep where it is "last". option: who asks, for the
 * error. Errors: WT_E_NOTFOUND, those of wt_store_list(). */
int cli_sweep_group(struct wt_store *store, const char *option, const char *name, char *buf,
                    size_t size, struct wt_error *err);
/* Finds the sweep that `name`, a group or "last", is and takes its seed. Errors: WT_E_NOTFOUND,
 * WT_E_CHANGED (the seed is another), WT_E_BUSY (it is still running), those of wt_store_open(). */
int cli_resume_find(struct sweep_options *o, const char *name, struct sweep_stored *ret_stored,
                    struct wt_error *err);
/* Takes the seed of a sweep that goes on. Errors: WT_E_CHANGED. */
int cli_resume_seed(struct sweep_options *o, const struct sweep_stored *stored,
                    struct wt_error *err);
/* Whether it was begun as this one; says what differs. Errors: WT_E_CHANGED. */
int cli_resume_check(const struct sweep_options *o, const struct sweep_stored *stored,
                     const struct wt_sweep_plan *plan, struct wt_error *err);
void cli_resume_done(struct sweep_stored *stored);
/* Marks what is stored and counts; returns how many are. */
size_t cli_resume_mark(const struct sweep_stored *stored, const struct point *points,
                       struct wt_sweep_step *steps, size_t step_count);
/* Says how to go on; why: "go on with it". argv as the sweep got it. */
void cli_resume_tell(const struct sweep_options *o, const char *group, const char *why, int argc,
                     char **argv);

/* ---- sweep_dry.c ---- */

/* --dry-run: the plan and how long it will take, on stdout. Returns an exit code. */
int cli_sweep_dry(const struct sweep_options *o, const struct wt_sweep_plan *plan,
                  const struct point *points, size_t point_count, size_t reference,
                  const struct wt_sweep_step *steps, size_t step_count,
                  const struct sweep_stored *stored);

/* ---- sweep_slurm.c ---- */

/* --sbatch-option: one that does not undo ours. Returns an exit code, or -1. */
int cli_sweep_sbatch_option(struct sweep_options *o, const char *text);
/* Whether the options go with --slurm and --slurm-task. Returns an exit code, or -1. */
int cli_sweep_slurm_check(struct sweep_options *o);
/* Before the plan: the store and, of a sweep that goes on, its folder and what came of it. Errors:
 * those of wt_store_open() and cli_resume_find(), WT_E_BUSY (another collects it). */
int cli_sweep_slurm_open(struct sweep_job *job, struct wt_error *err);
/* Submits, waits, collects. argv as the sweep got it. Returns an exit code, or -1 to go on. */
int cli_sweep_slurm_run(struct sweep_job *job, int argc, char **argv);
void cli_sweep_slurm_close(struct sweep_job *job);

/* ---- sweep_submit.c ---- */

/* --dry-run: what sbatch would be given, on stdout; nothing where all runs are stored. */
void cli_sweep_slurm_dry(const struct sweep_job *job);

/* ---- sweep_task.c ---- */

/* --slurm-task: one run, in a job. Returns an exit code. */
int cli_sweep_task(struct sweep_job *job);

/* ---- sweep_csv.c ---- */

/* --csv FILE. Says what went wrong; 0 or -1. */
int cli_sweep_write_csv(const char *path, const struct wt_sweep *sweep);

/* ---- sweep_progress.c ---- */

/* For cli_measure.on_tick; data is the progress. Draws on a terminal, else nothing. */
void cli_progress_draw(void *data, const struct wt_run *run, double elapsed_s);
/* A run is over: a line of its own where there is no terminal. */
void cli_progress_done(struct progress *p, const struct wt_run *run);
/* Wipes the line, so that something else can be said. */
void cli_progress_clear(const struct progress *p);

#endif
