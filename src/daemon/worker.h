/* worker: one thread for each device, which alone calls its driver. A call that hangs keeps that
 * thread and nobody else; when it comes back the thread goes on where it was, so that what hung and
 * what is tried again never overtake each other. */
#ifndef WT_DAEMON_WORKER_H
#define WT_DAEMON_WORKER_H

#include "daemon/jobs.h"

struct wt_workers;

/* Devices, opened anew by each thread for itself. */
struct wt_worker_source {
    /* The device of this id, as seen by the calling thread alone. *ret_index is its place in ops.
     * May hang. Errors: those of wt_devices_open, WT_E_GONE. */
    int (*open)(void *data, const char *id, struct wt_lease_ops *ret_ops, size_t *ret_index,
                void **ret_handle, struct wt_error *err);
    void (*close)(void *data, void *handle);
    void *data;
};

struct wt_workers_options {
    const struct wt_ctx *ctx;
    const char *const *ids; /* copied */
    size_t count;
    struct wt_worker_source source;
    const char *state_dir; /* of the journal, for WT_JOB_RECOVER */
};

/* Errors: WT_E_NOMEM, WT_E_IO. */
int wt_workers_new(struct wt_workers **ret_workers, const struct wt_workers_options *options,
                   struct wt_error *err);
/* Waits for jobs under way for at most patience_ns; threads that hang are left behind, and with
 * them what they use. False: some were, and the jobs they are at must stay, too. */
bool wt_workers_free(struct wt_workers *workers, int64_t patience_ns);
/* Readable when a job is done. */
int wt_workers_fd(const struct wt_workers *workers);
/* The job is the worker's until wt_workers_take gives it back. */
void wt_workers_give(struct wt_workers *workers, struct wt_device_job *job);
/* One job that is done; NULL: none. */
struct wt_device_job *wt_workers_take(struct wt_workers *workers);
/* Since when the device's thread has been at its present job, or has had one to begin; 0: it has
 * none. */
int64_t wt_workers_busy_since_ns(const struct wt_workers *workers, uint32_t device);

/* The machine's own devices, below this context. Its threads have endless patience with NVML: a
 * call that is given up could be carried out later, after what was restored. */
struct wt_worker_source wt_worker_source_devices(struct wt_ctx *ctx);

#endif
