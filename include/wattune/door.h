/* The door: how a measured program tells Wattune of its work - steps, tokens, phases.
 *
 * `wattune run` makes a private directory and names it in $WATTUNE_DOOR. A program that wants to
 * report opens the door and gets a ring of marks in shared memory: marking is a clock read and a
 * store, never a system call, and what was marked survives the program's death. Without
 * $WATTUNE_DOOR the door opens too and marks go nowhere, so programs need no special case. */
#ifndef WATTUNE_DOOR_H
#define WATTUNE_DOOR_H

#include "wattune/types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_door;

enum wt_mark_kind {
    WT_MARK_WORK = 1,  /* count more units of work are done (tokens, samples) */
    WT_MARK_STEP = 2,  /* count steps are done */
    WT_MARK_BEGIN = 3, /* a phase begins */
    WT_MARK_END = 4,   /* it ends */
    WT_MARK_VALUE = 5, /* a number of the run, such as the loss; count holds the bits of a double */
    WT_MARK_GONE = 6,  /* told by the keeper, never marked: the program has ended, or left */
};

/* Program's side. Errors: WT_E_IO, WT_E_NOMEM. */
WT_API int wt_door_open(struct wt_door **ret_door, struct wt_error *err);
WT_API void wt_door_close(struct wt_door *door);
/* name: "tokens", "forward", "loss"; at most 31 bytes. Marks are lost and counted when the reader
 * falls behind by a whole ring. Work and steps beyond WT_MARK_COUNT_MAX, as a negative number made
 * unsigned is, are no count: whoever measures leaves them out and says so. Threads: one thread a
 * door. */
#define WT_MARK_COUNT_MAX INT64_MAX
WT_API void wt_door_mark(struct wt_door *door, enum wt_mark_kind kind, const char *name,
                         uint64_t count);
/* a + b of two counts, at most WT_MARK_COUNT_MAX: one that went round would look like any other.
 * Threads: any thread. */
WT_API uint64_t wt_mark_sum(uint64_t a, uint64_t b);
WT_API void wt_door_value(struct wt_door *door, const char *name, double value);

/* Measuring side: owns the directory. */
struct wt_doorkeeper;
struct wt_mark {
    int64_t t_ns;
    uint32_t pid;
    enum wt_mark_kind kind;
    uint64_t count;
    char name[32];
    uint32_t rank; /* 1 + the local rank that a launcher gave the program; 0: none */
};
/* Makes the directory below dir (NULL: $XDG_RUNTIME_DIR or /tmp), 0700. Errors: WT_E_USAGE: its
 * path would be too long; WT_E_DENIED, WT_E_FULL, WT_E_IO, WT_E_NOMEM. */
WT_API int wt_doorkeeper_new(struct wt_doorkeeper **ret_keeper, const char *dir,
                             struct wt_error *err);
/* The same in a directory of this user's alone (0700) that several programs agreed on; made where
 * it is not there, and removed with the keeper. Errors: WT_E_DENIED: it is somebody else's, or open
 * to others; WT_E_NOTFOUND: what it lies in is not there, or it is no directory;
 * WT_E_USAGE: the path is too long; WT_E_FULL, WT_E_IO, WT_E_NOMEM. */
WT_API int wt_doorkeeper_share(struct wt_doorkeeper **ret_keeper, const char *path,
                               struct wt_error *err);
WT_API void wt_doorkeeper_free(struct wt_doorkeeper *keeper); /* removes the directory */
/* Path for $WATTUNE_DOOR. Borrowed until free. */
WT_API const char *wt_doorkeeper_path(const struct wt_doorkeeper *keeper);
/* Calls fn for every mark not yet seen, oldest first a program, and then with WT_MARK_GONE for each
 * program that ended, also when it was killed, or closed its doors (of an older library no end is
 * known). Returns how many marks, or an error. Adds
 * to *ret_lost (may be NULL) the marks that were overwritten before they could be read, and one for
 * each file in the directory that is no door or has stopped being one; such a file is never looked
 * at again. Threads: owner thread. */
WT_API int wt_doorkeeper_drain(struct wt_doorkeeper *keeper,
                               void (*fn)(void *data, const struct wt_mark *mark), void *data,
                               uint64_t *ret_lost, struct wt_error *err);
/* Marks so far that were not handed over, as their work or steps were no count (wt_door_mark).
 * Threads: owner thread. */
WT_API uint64_t wt_doorkeeper_refused(const struct wt_doorkeeper *keeper);

#ifdef __cplusplus
}
#endif
#endif
