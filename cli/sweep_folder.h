/* sweep_folder: what a sweep by Slurm keeps in a folder that its nodes see too.
 *
 *   plan                 as its runs keep it (sweep.h)
 *   job.sh               what each task of the array runs
 *   jobs                 a line "JOB TASKS" for each array that was submitted
 *   JOB_TASK.log         what a task wrote
 *   TASK-JOB-RESTART/    of each time that a task began: its own store, and at its end "ended"
 *   lock                 held by the one that collects
 *
 * A store for each task, not one for all: nobody's lock is waited for on a file system over the
 * network, and a node that died holds none. */
#ifndef WT_CLI_SWEEP_FOLDER_H
#define WT_CLI_SWEEP_FOLDER_H

#include "cli.h"

struct sweep_folder {
    char path[3600];
    int lock_fd; /* -1: not held */
};

/* What a task left when it ended by itself. */
struct sweep_word {
    unsigned step, job, restart;
    int code; /* its exit code, or one of these: */
    char node[64];
};
enum {
    SWEEP_WORD_NONE = -1,     /* it has begun, and not ended by itself */
    SWEEP_WORD_TOO_OFTEN = -2 /* it was lost so often that it was not begun again */
};

/* Where the folders of all sweeps are: `given`, or beside the store. Absolute. Errors:
 * WT_E_NOTFOUND, WT_E_IO, WT_E_DENIED, WT_E_USAGE (Slurm reads something else in its path). */
int cli_folder_parent(const char *given, const struct wt_store *store, char *buf, size_t size,
                      struct wt_error *err);
/* The newest of them, "" where there is none. */
void cli_folder_newest(const char *parent, char *buf, size_t size);
/* Makes one, or opens the one there is, and holds its lock. Errors: WT_E_NOTFOUND (is_new false),
 * WT_E_BUSY, WT_E_IO, WT_E_DENIED, WT_E_FULL. */
int cli_folder_open(struct sweep_folder *folder, const char *parent, const char *group, bool is_new,
                    struct wt_error *err);
void cli_folder_close(struct sweep_folder *folder);
/* A file in it, whole or as it was. Errors: as above. */
int cli_folder_write(const struct sweep_folder *folder, const char *name, const char *text,
                     struct wt_error *err);
/* The whole of one, owned; NULL: there is none. */
char *cli_folder_read(const struct sweep_folder *folder, const char *name);
/* The folder of one time that a task began; a copy into buf. */
void cli_folder_try(const char *folder, const struct sweep_word *word, char *buf, size_t size);
/* All of its tries, in no order, owned: free(). NULL with a count of 0 where there are none. How
 * each ended is not read. */
struct sweep_word *cli_folder_words(const struct sweep_folder *folder, size_t *ret_count);
/* How a try ended, "CODE NODE" in its folder. */
void cli_folder_read_word(const struct sweep_folder *folder, struct sweep_word *word);
/* Says in its folder how a try ended. Errors: as of cli_folder_write. */
int cli_folder_tell(const char *folder, const struct sweep_word *word, struct wt_error *err);
/* How long after its end a task's word may not be seen yet: a file system over the network is asked
 * now and then only. */
int64_t cli_folder_delay_ns(const struct sweep_folder *folder);

#endif
