/* measure: one command's run, measured from before its start to after its end, written to the store
 * as it goes. What `run` does once and `sweep` does for every setting. */
#ifndef WT_CLI_MEASURE_H
#define WT_CLI_MEASURE_H

#include <pthread.h>

#include "cli.h"

struct cli_measure {
    struct cli_bed *bed;
    struct wt_meter *meter;
    struct wt_store *store; /* NULL: there is none, measuring goes on */
    struct wt_lease *lease; /* borrowed: of the run's settings, which are looked after; NULL */
    bool is_output_hidden;  /* the child's stdout and stderr go to log_fd */
    bool is_stdout_moved;   /* the child's stdout goes to our stderr */
    int log_fd;
    bool is_quiet;    /* no remarks on what was not counted; they are made once in any case */
    const char *door; /* the folder of doors, where ranks agreed on one; NULL: one of our own */
    /* Who uses it and is still running; NULL: nobody. May say so in the run. */
    unsigned (*count_others)(void *data, struct wt_run *run);
    void *others_data;
    unsigned others;             /* of them, when the command had ended */
    const char *progress, *mark; /* patterns for a tap on its stdout (tap.h); NULL: none */
    const char *work_unit; /* with work_per_step: what each step is worth; NULL: told by doors */
    uint64_t work_per_step;
    /* What others do meanwhile, each may be NULL; data is their first argument. Called by the
     * thread that runs cli_measure_run: on_tick about ten times a second while the child runs,
     * after the points and marks since the last; on_end before the run is stored for the last time.
     */
    void *data;
    void (*on_tick)(void *data, const struct wt_run *run, double elapsed_s);
    void (*on_point)(void *data, const struct wt_trace_point *point);
    /* So many steps, or units of work where no step was told, were done at t_ns. */
    void (*on_work)(void *data, int64_t t_ns, uint64_t done, bool is_steps);
    void (*on_end)(void *data, struct wt_run *run);

    /* Points come from the sampling threads and wait here for the thread that owns the run. */
    pthread_mutex_t lock;
    struct wt_trace_point *pending;
    size_t pending_count, pending_room;
};

/* Starts the meter and opens the store; a store that cannot be opened is said and done without.
 * Call after cli_bed_open. */
int cli_measure_open(struct cli_measure *m, struct cli_bed *bed, bool is_without_store,
                     int64_t period_ns, struct wt_error *err);
void cli_measure_close(struct cli_measure *m);

/* Runs argv and fills run (label, tag, group, repeat and settings may be filled before). The child
 * that could not be started is an error (WT_E_NOTFOUND, WT_E_DENIED); one that failed is not, and
 * nor is what goes wrong with measuring one that ran: that is said, and the energy unknown.
 * *ret_asked (may be NULL) is the terminating signal that we received meanwhile, or 0. */
int cli_measure_run(struct cli_measure *m, char **argv, struct wt_run *run, int *ret_asked,
                    struct wt_error *err);

/* What is measured, where it is not one command: data is the first argument of each. */
struct cli_task {
    void *data;
    /* Errors: those of cli_measure_run's command. */
    int (*start)(void *data, struct wt_error *err);
    /* Attends to it until t_ns (monotonic). True: it is over. */
    bool (*wait)(void *data, int64_t until_ns);
    /* After it is over, before the last look; may be NULL. */
    void (*finish)(void *data);
    int (*exit_code)(void *data);
    /* The marks since the last call, for fn; may be NULL. */
    void (*drain)(void *data, void (*fn)(void *tally, const struct wt_mark *mark), void *tally);
};
/* The same of a task; argv is what is said of it. progress and mark are not looked at. */
int cli_measure_task(struct cli_measure *m, const struct cli_task *task, char **argv,
                     struct wt_run *run, struct wt_error *err);

/* Applies one value of a knob to every device that has it, writing what was done into run (may be
 * NULL). */
int cli_apply(struct cli_bed *bed, struct wt_lease *lease, enum wt_knob knob, int64_t value,
              struct wt_run *run, struct wt_error *err);

/* Programs that use NVTX load the library that a variable names, at their first range: names ours.
 * step (may be NULL): the range that counts a step. Errors: those of wt_helper_path. */
int cli_inject_nvtx(const char *step, struct wt_error *err);

/* argv as a shell would need it. */
void cli_command_text(char *buf, size_t size, char **argv);

#endif
