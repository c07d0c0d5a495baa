/* race: what the files of `wattune race` share. race.c replays recorded curves, race_live.c races
 * commands, race_trial.c is one of them, race_options.c reads the command line. */
#ifndef WT_CLI_RACE_H
#define WT_CLI_RACE_H

#include "measure.h"
#include "params.h"
#include "pattern.h"
#include "steps.h"

#define RACE_AGAIN_MAX 16

struct race_options {
    bool is_json;
    const char *loss; /* column, or the name of a value; NULL: "loss" */
    struct wt_race_options race;
    double tolerance;
    /* of recorded curves */
    const char *replay; /* NULL: commands are raced */
    size_t draw, races;
    uint64_t seed;
    /* of commands */
    struct cli_bed bed;
    struct cli_param params[CLI_PARAMS_MAX + 1]; /* the last is {trial}, ours */
    size_t param_count;
    const char *trials; /* a file of parameters */
    const char *progress, *loss_pattern, *loss_file;
    const char *folder, *tag;
    const char *again[RACE_AGAIN_MAX];
    size_t again_count;
    unsigned at_once;
    int64_t grace_ns;
    int end_signal; /* by which a trial is told to end */
    bool is_end, is_resume, is_to_the_end, is_without_store, is_dry_run;
    char **command;                        /* borrowed */
    const char *given_live, *given_replay; /* an option that is of one of the two only; NULL */
};

/* -1: go on; otherwise the exit code. race_options_done() in any case. */
int race_parse(int argc, char **argv, struct race_options *o);
void race_options_done(struct race_options *o);
/* Commands, side by side. argv: the whole command line, for the record. Returns the exit code. */
int race_live(struct race_options *o, char **argv);

/* ---- race_trial.c: one training, its process and what it says of itself ---- */

/* Where losses are read. */
struct race_source {
    const char *loss;                      /* a door's value, or a column */
    struct cli_pattern *progress, *wanted; /* of stdout; NULL: not given */
};

/* A file that grows: its new lines. */
struct race_follow {
    int fd; /* -1: not there yet */
    uint64_t inode;
    int64_t at;
    char line[4096];
    size_t used;
    bool is_cut;                  /* the line is longer */
    int step_column, loss_column; /* of a CSV; -1: not seen */
};

enum race_process {
    RACE_NONE, /* none was started, or it has ended */
    RACE_RUNS,
    RACE_STOPPED, /* by SIGSTOP */
    RACE_ENDING,  /* asked to end */
};

/* What a process tells first of a step. */
enum race_order { RACE_ORDER_UNKNOWN, RACE_STEP_FIRST, RACE_LOSS_FIRST };

struct race_point {
    double step, loss;
    double run_s;    /* how long it had run by then, without what was run again */
    double energy_j; /* likewise, from its start; NaN: not known (yet) */
};

struct race_trial {
    char name[64];           /* also of its files */
    char phase[32];          /* of its phase and its losses in the run, which have shorter names */
    char **command, **again; /* owned: filled in; for a later process of it */
    size_t choice[CLI_PARAMS_MAX + 1];
    char log[4096], curve[4096];
    char *loss_file; /* owned; NULL: none */
    const struct race_source *source;
    struct cli_child child;
    enum race_process process;
    int log_fd;
    int64_t deadline_ns;     /* of one that is asked to end */
    bool is_killed, is_over; /* is_over: it ended by itself, exit_code says how */
    int exit_code;
    unsigned lives; /* processes that were started */
    struct wt_doorkeeper *keeper;
    struct race_follow out, csv;
    struct cli_steps steps; /* of this process */
    double base;            /* steps before this process, which counts from 0 */
    double step, loss;      /* as last said; loss NaN: none */
    bool has_new_loss;
    enum race_order order;
    bool has_step, has_loss; /* that its process has told any */
    bool has_said;           /* numbers of steps as the process says them: */
    double first_said, last_said, epochs_steps;
    struct race_point *points; /* owned: step by step, each above the last */
    size_t count, room, told;
    size_t known;    /* of the points: from the race that is resumed */
    bool has_run_on; /* in a race that was cut, after its curve was saved: of that nothing is known
                      */
    bool is_skipped; /* some of its steps were run then: its curve's energy is not known from there
                      */
    size_t slot;     /* SIZE_MAX: none yet */
    bool is_due;     /* it is to run, and waits for its slot */
    bool is_resting; /* it is at a rung, and runs on until somebody else does */
    /* What it took, stretch by stretch in which it ran. */
    double run_s;           /* before the open one */
    struct wt_joules spent; /* likewise */
    struct wt_joules here;  /* of this run alone: one that is resumed has spent more */
    bool has_spent, has_here;
    int64_t since_ns; /* the open one's start; 0: none is open */
    uint64_t window;
    bool has_window, is_window_over; /* over: its energy has not been asked for yet */
    int64_t over_ns;
    double window_s;    /* how long that stretch was */
    size_t window_from; /* its first point */
    /* What was run again, because a process had to begin before the end of the curve: it is spent,
     * and no part of the curve. */
    struct {
        double before, at;          /* steps: of an earlier process, and of this one among them;
                                       before 0: it is beyond; at NaN: it has not said any */
        double until_s;             /* by run_s: it had only come to known points by then */
        double steps, run_s, run_j; /* so far */
    } twice;
};

/* A process for it, which writes to its log. cuda: for CUDA_VISIBLE_DEVICES; NULL: as ours. Errors:
 * those of cli_child_start, WT_E_IO. */
int race_trial_start(struct race_trial *t, bool is_end, const char *cuda, struct wt_error *err);
void race_trial_stop(struct race_trial *t);
void race_trial_go_on(struct race_trial *t);
/* That signal, and SIGKILL after so long. */
void race_trial_end(struct race_trial *t, int number, int64_t grace_ns);
/* Whether it has ended, and what is due with one that is asked to. True: it did not, and is killed.
 */
bool race_trial_look(struct race_trial *t);
/* Takes what it has said since the last call; marks of work go to fn. */
void race_trial_hear(struct race_trial *t, void (*fn)(void *data, const struct wt_mark *mark),
                     void *data);
/* The next cell of a CSV's line, cut out of it, without the blanks and quotes around it. */
char *race_cell(char **io_line);
/* How long it has run. */
double race_trial_run_s(const struct race_trial *t);
/* Its process has ended or stops: where it came to no new point, all was run again. */
void race_trial_close_again(struct race_trial *t);
/* Its curve as a file, as `wattune race --replay` reads it, with a remark ("failed", "unfinished",
 * NULL: none) above, and whether it goes on; without energies where one is not known. Errors:
 * WT_E_NOMEM, those of wt_file_write(). */
int race_trial_save(const struct race_trial *t, const char *remark, bool is_going_on,
                    struct wt_error *err);
/* The curve of a race that is resumed. Errors: WT_E_FORMAT, WT_E_NOMEM, WT_E_IO. */
int race_trial_read(struct race_trial *t, struct wt_error *err);
void race_trial_done(struct race_trial *t);

/* ---- a race of commands as a whole ---- */

#define RACE_DEVICES_MAX 64

enum race_stage { RACE_ON, RACE_VERIFYING, RACE_LEAVING };

struct race_slot {
    size_t trial; /* SIZE_MAX: free */
    size_t devices[RACE_DEVICES_MAX];
    size_t device_count;
    char cuda[RACE_DEVICES_MAX * 48]; /* "": as ours */
};

struct race_live {
    struct race_options *o;
    struct cli_measure m;
    struct race_source source;
    struct race_trial *trials; /* owned */
    size_t count;
    struct wt_race *race;
    struct race_slot *slots; /* owned */
    size_t slot_count;
    enum race_stage stage;
    bool is_decided;
    int asked;
    size_t failed;
    struct wt_raced_trial *raced; /* owned */
    struct wt_mark *marks;        /* owned: for the run */
    size_t mark_count, mark_room;
    int64_t shown_ns, saved_ns;
    bool is_line_open, is_tty;
    char folder[4000];
    int folder_fd;       /* locked: one race at a time is in it */
    int keeper_fd;       /* of race_keeper.c; -1: none */
    struct wt_error err; /* why it was given up; code 0: it was not */
};

/* For the run that is measured: marks of the program, or ours. */
void race_mark(void *live, const struct wt_mark *mark);
void race_clear_line(struct race_live *l);

/* ---- race_keeper.c: what is left running when we are killed ---- */

/* Starts it; before any thread. Without one (-1) the kernel ends what it can. */
int race_keeper_start(void);
/* This process group runs; or has ended. */
void race_keeper_tell(int fd, pid_t group, bool is_there);

/* ---- race_setup.c: before it begins ---- */

/* Trials and the race, from the options. Returns an exit code (also when that was all, --dry-run),
 * or -1. */
int race_setup(struct race_live *l);
/* The folder, made or as a race left it. Returns an exit code, or -1. */
int race_open_folder(struct race_live *l);
/* Of a race that never began nothing keeps the next one out. */
void race_forget_folder(const struct race_live *l);
/* Once devices are open: what runs at once, and where. Returns an exit code, or -1. */
int race_make_slots(struct race_live *l);

/* ---- race_energy.c: what each stretch took in which a trial ran ---- */

void race_stretch_open(struct race_live *l, struct race_trial *t);
void race_stretch_close(struct race_live *l, struct race_trial *t);
/* Its energy, into the trial, its points and its file, as soon as samples cover its end, or now. */
void race_stretch_collect(struct race_live *l, struct race_trial *t, bool is_now);
/* All of them, now. */
void race_collect_all(struct race_live *l);
/* Phases of the run have their trials' energies: a trial has one, wherever it is told. */
void race_fill_phases(const struct race_live *l, struct wt_run *run);
/* The trial's curve, with the energy so far of a stretch that goes on. */
void race_save(struct race_live *l, const struct race_trial *t);

#endif
