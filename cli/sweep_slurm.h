/* sweep_slurm: what the three files of `wattune sweep --slurm` share.
 *
 *   sweep_slurm.c     its options, a sweep that goes on, and the loop
 *   sweep_submit.c    job arrays: submitted, noted in the folder, cancelled
 *   sweep_collect.c   what the folder and Slurm say of a task, and what follows from it */
#ifndef WT_CLI_SWEEP_SLURM_H
#define WT_CLI_SWEEP_SLURM_H

#include "sweep.h"
#include "sweep_folder.h"

#define SWEEP_ASK_NS INT64_C(1000000000) /* Slurm, at first; seldom when it has taken long */

enum task_state {
    TASK_NEW,    /* to be submitted */
    TASK_SENT,   /* Slurm has it */
    TASK_DONE,   /* its run is here */
    TASK_FAILED, /* and is not tried again by this sweep */
};

/* What Slurm says of one. */
enum task_word { WORD_UNKNOWN, WORD_WAITS, WORD_RUNS, WORD_LOST, WORD_OVER };

struct task {
    enum task_state state;
    enum task_word word;
    unsigned job;      /* the array that it was submitted in last; 0: none */
    unsigned again;    /* times that we submitted it again */
    unsigned restarts; /* times that Slurm began it again, in this array */
    int64_t over_ns;   /* since then it is not at work, and left no word; 0: no */
    bool is_left;      /* from before a resume, and not seen at work since: is just sent again */
    char slurm[24];    /* "NODE_FAIL" */
    char node[64];
};

struct sweep_slurm {
    struct wt_store *store;
    struct sweep_folder folder;
    char parent[3500];
    struct task *tasks;        /* owned; of each step */
    size_t limit;              /* steps that are wanted so far: whole rounds */
    char *jobs;                /* owned; the folder's file */
    char model[512];           /* of the devices that count so far; "": none do */
    struct sweep_word *before; /* owned; of a sweep that goes on, what was there already */
    size_t before_count;
    int64_t begun_ns, next_ask_ns, delay_ns;
    bool is_giving_up, is_cancelled, is_deaf; /* deaf: it was said that Slurm does not answer */
    bool is_stricter_told, is_cancel_told;
};

static inline bool is_of(const struct sweep_slurm *s, size_t i, enum task_state state)
{
    return s->tasks[i].state == state;
}

/* ---- sweep_submit.c ---- */

/* Which array each task is in, by the folder's list of them. */
void cli_sweep_read_jobs(const struct sweep_job *job);
/* What each task runs, into the folder. Errors: those of cli_folder_write(), WT_E_NOMEM. */
int cli_sweep_write_script(const struct sweep_job *job, int argc, char **argv,
                           struct wt_error *err);
/* What is to be submitted, as one array; nothing where nothing is. Errors: WT_E_RANGE, WT_E_IO,
 * WT_E_NOMEM, those of cli_slurm_run() and cli_folder_write(). */
int cli_sweep_submit(struct sweep_job *job, struct wt_error *err);
/* scancel of an array or of one of its tasks. What is over already is no error. Errors: WT_E_IO,
 * those of cli_slurm_run(). */
int cli_sweep_cancel(const char *id, bool is_waiting_only, struct wt_error *err);
/* scancel of what has not begun: the rest would fail too. is_cancelled when it is. */
void cli_sweep_cancel_waiting(struct sweep_job *job);
/* What was not submitted yet is not any more. */
void cli_sweep_drop_new(struct sweep_slurm *s);

/* ---- sweep_collect.c ---- */

/* Of a sweep that goes on: the runs that ended while nobody waited, into the store. Those on other
 * models than the first stay where they are. Errors: those of wt_store_list() and
 * wt_store_begin(). */
int cli_sweep_keep_all(struct sweep_slurm *s, const char *group, struct wt_error *err);
/* Into the folder: takes each task that has ended by itself. */
void cli_sweep_look(struct sweep_job *job);
/* Slurm, what it says of each task. */
void cli_sweep_ask(struct sweep_job *job);
/* What is over for Slurm, and has left no word for long enough. */
void cli_sweep_judge(struct sweep_job *job);
/* The arrays that tasks are still in, each once, owned; NULL: no memory. */
unsigned *cli_sweep_arrays_of(const struct sweep_slurm *s, bool is_unknown_only, size_t *ret_count);
/* "12,15" of them, owned; NULL: tasks are in none, or no memory. */
char *cli_sweep_list_jobs(const struct sweep_slurm *s, bool is_unknown_only);

#endif
