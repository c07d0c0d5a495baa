/* accounts: what the files of a node's accounts share.
 *
 *   scan.c      the facts folder: which jobs and steps there are
 *   split.c     whose the joules of a span were
 *   accounts.c  the tick, rows, what a restart finds
 *   told.c      texts for users, files for dcgm-exporter
 *
 * A device's energy since the accounts began is D. All of it is in places: one of each job and one
 * of nobody, in whole microjoules, at every moment. D comes from a window of the device's over all
 * of the time (its base); the energy of a GPU's holders from windows of their own (segments: spans
 * in which the holders were the same), and what the two disagree by is nobody's. */
#ifndef WT_JOBS_ACCOUNTS_H
#define WT_JOBS_ACCOUNTS_H

#include <pthread.h>

#include "jobs/jobs.h"

/* What the accounts ask of a meter, and of the clock that Slurm's times are of. */
struct wt_accounts_meter {
    int (*begin_at)(void *data, int64_t t_ns, uint64_t *ret_window);
    int (*end_at)(void *data, uint64_t window, int64_t t_ns);
    int (*cancel)(void *data, uint64_t window);
    /* Until samples cover this moment, and a quarter of a second at most. */
    void (*wait)(void *data, int64_t t_ns);
    /* As far as the samples go: never waits. */
    int (*result)(void *data, uint64_t window, struct wt_window_result *ret, struct wt_error *err);
    int (*peek)(void *data, uint64_t window, size_t device, struct wt_window_device *ret,
                struct wt_error *err);
    void *data;
    int64_t (*unix_ns)(void *data);
    char boot[64];   /* names this start of the machine */
    int64_t boot_ns; /* when it was, CLOCK_REALTIME */
};

/* One device of a job, a step or nobody. */
struct place {
    uint64_t acc_uj;                  /* of D */
    uint64_t before_uj;               /* what that was at the last tick, of a GPU */
    double low_uj, high_uj;           /* of what is closed; of host devices of all */
    double open_low_uj, open_high_uj; /* of the segment that goes on */
    enum wt_provenance weakest;       /* of what is known */
    bool is_known, is_shared, is_unbounded;
    bool is_here;     /* it has this device at all */
    uint64_t edge_uj; /* host devices: the most in one tick, which its ends may be off by */
    int64_t gap_ns;
    int64_t open_gap_ns; /* since when it is not known, which its window may still tell */
    int64_t known_ns;    /* of a step's GPU: up to here it was known, monotonic; 0: never */
    uint64_t carry_uj, carry_low_uj, carry_high_uj; /* from before this program's start */
    bool has_carry;
    uint64_t gap_uj; /* the most that the gap hid */
    char note[160];
};

struct step {
    struct step *next;
    char name[24];
    int64_t begin_ns, end_ns;
    struct wt_step_cpu cpu;
    bool has_cpu_time, is_new, is_taken, is_ended, is_closed, is_final, is_unwritten;
    unsigned missed; /* ticks for which slurmstepd was not there */
    uint64_t cpu_ns, delta_ns;
    struct place *places; /* owned; one a device */
    uint64_t window;      /* over its GPUs; 0: none */
    unsigned gpus[WT_JOB_FACTS_GPUS];
    size_t gpu_count;
    uint64_t ino;
    int64_t mtime_ns;
    bool is_seen;
};

struct job {
    struct job *next;
    struct wt_job_facts facts; /* job 0: nobody */
    int64_t from_ns;           /* monotonic: measured from here */
    int64_t end_ns;            /* CLOCK_REALTIME; 0: it runs */
    int64_t told_end_ns; /* what its file says of that, while the folder is read; 0: nothing */
    /* is_taken: what the store knew of it is in its places; is_moved: which devices it holds is
     * told only now; is_closed: its end has been split; is_final: the store has its last rows
     * already */
    bool is_new, is_taken, is_moved, is_ended, is_closed, is_final, is_unwritten;
    uint64_t delta_ns;    /* CPU time of its steps since the last tick */
    struct step *steps;   /* owned */
    struct place *places; /* owned; one a device */
    char note[160];
    uint64_t ino;
    int64_t mtime_ns;
    bool is_seen;
};

/* Of a GPU: since when its holders are the same. */
struct segment {
    uint64_t window;
    int64_t begin_ns;
    struct job **holders; /* owned; none: nobody's */
    size_t count;
    uint64_t given_uj;      /* to each */
    double low_uj, high_uj; /* of all of it, as far as it was known last */
    int64_t known_ns;       /* up to here it was known; 0: never */
    enum wt_provenance provenance;
};

struct device {
    const struct wt_device_info *info;
    uint64_t power_max_mw; /* 0: unknown */
    bool is_split;         /* a row at all: no part of another */
    uint64_t device_uj, idle_uj, jobs_uj;
    uint64_t base;            /* window */
    uint64_t base_uj;         /* of base windows that have ended */
    double under_uj, over_uj; /* how far the bounds of the base were from D at most */
    bool is_lost;             /* it was not known, and what it drew then is still to come */
    bool is_anew;             /* this tick its base was given up: what was unknown stays so */
    int64_t known_ns;         /* up to here the base was known, monotonic */
    enum wt_provenance provenance;
    struct segment segment;
    bool was_shared;                    /* by several in some of this tick */
    uint64_t fresh_uj;                  /* of this tick, not yet given */
    double fresh_low_uj, fresh_high_uj; /* bounds of what there was of it */
};

struct wt_accounts {
    struct wt_ctx *ctx;
    struct wt_accounts_meter meter;
    struct device *devices; /* owned */
    size_t count;
    char facts_dir[512], mapping_dir[512], node[64], cluster[64];
    int64_t note_ns, noted_ns, tick_ns, base_begin_ns, pruned_ns;
    int64_t split_unix_ns; /* when it was last split, CLOCK_REALTIME */
    int64_t keep_ns;
    uint64_t busy_ns, busy_delta_ns;
    bool has_busy, has_cpu, has_nvml;
    struct job *jobs, nobody;
    bool is_nobody_written; /* the store has rows of nobody's with this begin */
    void *store;
    int lock_fd; /* says that the store is ours; -1: none */
    struct wt_job_sender *sender;
    bool has_facts, has_begun;
    bool is_ready; /* the last tick knew of all that there is, and has split it */
    uint64_t ended;
    struct wt_error first; /* of this tick */
    char problem[200];
    bool is_mapping_stale;
    struct { /* files that are done and could not be removed */
        char name[48];
        uint64_t ino;
        int64_t mtime_ns;
    } done[64];
    size_t done_count;

    pthread_mutex_t lock; /* of what others may ask for */
    struct {
        struct wt_job_row *rows;
        size_t row_count, row_room;
        struct wt_account_device *devices;
        struct wt_accounts_status status;
    } shown;
};

/* wt_accounts_new over any meter; infos are borrowed, power_max_mw (may be NULL) is what they do
 * not say of themselves. meter is copied. */
int wt_accounts_new_over(struct wt_accounts **ret_accounts, struct wt_ctx *ctx,
                         const struct wt_device_info *const *infos, const uint64_t *power_max_mw,
                         size_t count, const struct wt_accounts_meter *meter,
                         const struct wt_accounts_options *options, struct wt_error *err);

/* Keeps the first thing of a tick that went wrong. Returns rc. */
int wt_accounts_trouble(struct wt_accounts *a, int rc, const struct wt_error *err);

/* ---- scan.c ---- */

/* Brings the lists of jobs and steps up to date: new ones are is_new, ended ones have end_ns and
 * is_ended. Errors: WT_E_NOMEM; files that are wrong are trouble. */
int wt_accounts_scan(struct wt_accounts *a, struct wt_error *err);
/* Removes a fact file, if it still is the one that was read, and writes a text beside it. */
void wt_accounts_forget(struct wt_accounts *a, const char *name, uint64_t ino, int64_t mtime_ns);
/* The plugin need not wait for us any more. */
void wt_accounts_hide(const struct wt_accounts *a);
/* A file for everybody to read, written beside and renamed. Unlike wt_file_replace: of any umask,
 * under a name beside that no reader of the folder lists, and not synced, as it lies in memory. */
int wt_accounts_write(const char *fresh, const char *path, const char *text, struct wt_error *err);
/* What was drawn, for the user; nothing where the file of that name is another job's by now. */
void wt_accounts_leave_text(struct wt_accounts *a, const char *name, uint64_t ino, int64_t mtime_ns,
                            const char *text);
struct job *wt_accounts_job_new(struct wt_accounts *a);
void wt_accounts_job_free(struct job *job);
void wt_accounts_step_free(struct step *step);
/* The id that Slurm told of a GPU with this number; NULL: none. */
const char *wt_accounts_id_of(const struct job *job, unsigned gpu);
/* Whether a job, or its step (NULL: the job), was given this device: a GPU, by its id where that is
 * told, else by its number. */
bool wt_accounts_holds(const struct wt_accounts *a, const struct job *job, const struct step *step,
                       size_t device);

/* ---- split.c ---- */

/* Monotonic of a time of Slurm's. */
int64_t wt_accounts_mono_ns(const struct wt_accounts *a, int64_t unix_ns);
/* Begins windows; from then on D counts. */
int wt_accounts_split_begin(struct wt_accounts *a, struct wt_error *err);
/* All that was drawn since the last call, by what scan has found. */
int wt_accounts_split(struct wt_accounts *a, struct wt_error *err);
/* What nobody holds is closed up to the last split: his rows can end there. */
int wt_accounts_split_turn(struct wt_accounts *a, struct wt_error *err);
void wt_accounts_split_end(struct wt_accounts *a);
/* What a place holds as a row: energy, bounds, provenance, rule, note. */
void wt_accounts_fill(const struct wt_accounts *a, size_t device, const struct place *place,
                      bool is_nobody, struct wt_job_row *row);

/* ---- told.c ---- */

/* A few lines for the user: rows are those of one job or step. Returns buf. */
char *wt_accounts_text(char *buf, size_t size, const struct wt_job_row *rows, size_t count);
/* Files for dcgm-exporter, when who holds a GPU has changed. */
void wt_accounts_map(struct wt_accounts *a);
void wt_accounts_unmap(struct wt_accounts *a);

#endif
