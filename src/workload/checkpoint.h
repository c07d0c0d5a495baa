/* Checkpoints: a model's folder (hub.h) with the optimizer's moments and where training stood, so
 * that it goes on as if it had not stopped. Other programs may read the weights from it.
 *
 * Internal to the workload. Threads: as the model's. */
#ifndef WT_WORKLOAD_CHECKPOINT_H
#define WT_WORKLOAD_CHECKPOINT_H

#include <sys/types.h>
#include <time.h>

#include "workload/model.h"

/* Which checkpoint a folder holds; all 0: none. */
struct wt_checkpoint_stamp {
    dev_t device;
    ino_t inode;
    struct timespec written;
};

/* position: where in the text training stood, as JSON that only the caller understands. classes:
 * what a classifier's are called; NULL: LABEL_0 and so on. The folder is written under another name
 * and takes its place whole; one that is there is replaced, and is complete until then (on a file
 * system that cannot exchange two folders it is for a moment only there as FOLDER.PID.old; where it
 * cannot be replaced it comes back). What processes that are no more have left beside it,
 * FOLDER.PID.new and FOLDER.PID.old, is removed first, but for what holds other files, and what is
 * whole where the folder itself is no checkpoint. io_stamp (may be NULL): of the one that may be
 * there, all 0 for none, then of this; ret_note (may be NULL): of code 0, or why the one from
 * before, which lies beside the new one then, could not be removed. Errors: WT_E_USAGE (position is
 * no JSON object; the folder is there and no checkpoint), WT_E_STATE (another checkpoint is there),
 * WT_E_NOMEM, the system's and the backend's. */
int wt_checkpoint_save(const char *folder, struct wt_model *model, const char *position,
                       char *const *classes, struct wt_checkpoint_stamp *io_stamp,
                       struct wt_error *ret_note, struct wt_error *err);
/* *ret_position is owned: free(); ret_stamp may be NULL. The model is changed only if all of it can
 * be read. Errors: WT_E_NOTFOUND, WT_E_FORMAT (damaged; of another model: says where they differ;
 * weights that are not those it was left with), WT_E_NOMEM. */
int wt_checkpoint_load(const char *folder, struct wt_model *model, char **ret_position,
                       struct wt_checkpoint_stamp *ret_stamp, struct wt_error *err);

#endif
