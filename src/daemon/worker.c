/* worker: see worker.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/worker.h"

struct worker {
    struct wt_workers *all;
    char id[96];
    pthread_t thread;
    bool is_started, is_over; /* under lock */
    pthread_cond_t has_job;
    struct wt_device_job *first, **last;
    _Atomic int64_t busy_since_ns;
    /* the thread's own */
    struct wt_lease_ops ops;
    size_t index;
    void *handle;
};

struct wt_workers {
    const struct wt_ctx *ctx;
    struct wt_worker_source source;
    char state_dir[4096];
    pthread_mutex_t lock;
    pthread_cond_t is_over;
    bool is_ending;
    int fd;
    struct wt_device_job *done, **done_last;
    size_t count;
    struct worker workers[];
};

/* ---- the thread ---- */

/* A value is ours when it reads as one of them. Whoever was stopped halfway leaves a device whose
 * parts differ: then both are. */
static bool is_value_ours(const struct wt_device_job *job, int64_t value)
{
    for (size_t i = 0; i < job->ours_count; i++)
        if (wt_knob_reads_as(job->knob, job->ours[i], value, job->step))
            return true;
    return false;
}

static int read_knob(struct worker *w, struct wt_device_job *job)
{
    return w->ops.read(w->ops.data, w->index, job->knob, &job->info, &job->is_blind, &job->err);
}

static int fail_changed(const struct worker *w, struct wt_device_job *job)
{
    char now[48];
    int rc = wt_fail(&job->err, WT_E_CHANGED, "%s of %s: someone else made it %s; left as it is",
                     wt_knob_name(job->knob), w->id,
                     wt_knob_value_text(now, sizeof(now), job->knob, job->info.current));
    wt_fix(&job->err, "set it with the vendor's tool to what it should be");
    return rc;
}

static int check_ours(const struct worker *w, struct wt_device_job *job)
{
    const struct wt_knob_info *info = &job->info;
    if (!job->is_blind && (!is_value_ours(job, info->current) ||
                           (info->is_mixed && !is_value_ours(job, info->mixed_with))))
        return fail_changed(w, job);
    return 0;
}

static int move_to(struct worker *w, struct wt_device_job *job)
{
    const struct wt_knob_info *info = &job->info;
    int rc = read_knob(w, job);
    if (rc < 0)
        return rc;
    if (!job->is_blind && info->current == job->value && !info->is_mixed)
        return 0;
    rc = check_ours(w, job);
    if (rc < 0)
        return rc;
    rc = job->kind == WT_JOB_RESTORE
             ? w->ops.restore(w->ops.data, w->index, job->knob, job->value, &job->err)
             : w->ops.set(w->ops.data, w->index, job->knob, job->value, &job->err);
    if (rc == 0)
        rc = read_knob(w, job);
    if (rc < 0)
        return rc;
    if (job->is_blind)
        job->info.current = job->info.enforced = job->value;
    int64_t worst =
        info->is_mixed && wt_knob_reads_as(job->knob, job->value, info->current, job->step)
            ? info->mixed_with
            : info->current;
    char want[48], is[48];
    if (!job->is_blind && !wt_knob_reads_as(job->knob, job->value, worst, job->step))
        return wt_fail(&job->err, WT_E_STATE, "%s of %s: set to %s, but it reads %s",
                       wt_knob_name(job->knob), w->id,
                       wt_knob_value_text(want, sizeof(want), job->knob, job->value),
                       wt_knob_value_text(is, sizeof(is), job->knob, worst));
    return 0;
}

static int recover(struct worker *w, struct wt_device_job *job)
{
    struct wt_restorer who = {.ctx = w->all->ctx, .ops = w->ops, .is_daemon = true};
    int rc = wt_owner_self(&who.self, &job->err);
    if (rc == 0)
        rc = wt_journal_open(&who.journal, w->all->ctx, w->all->state_dir, NULL, &job->err);
    if (rc < 0)
        return rc;
    rc = wt_restore_device(&who, w->id, job->knob, &job->err);
    wt_restore_done(&who);
    wt_journal_close(who.journal);
    return rc;
}

static void close_device(struct worker *w)
{
    if (w->handle)
        w->all->source.close(w->all->source.data, w->handle);
    w->handle = NULL;
}

static void do_job(struct worker *w, struct wt_device_job *job)
{
    job->err = (struct wt_error){0};
    job->rc = 0;
    if (!w->handle)
        job->rc = w->all->source.open(w->all->source.data, w->id, &w->ops, &w->index, &w->handle,
                                      &job->err);
    if (job->rc < 0)
        return;
    switch (job->kind) {
    case WT_JOB_READ:
        job->rc = read_knob(w, job);
        break;
    case WT_JOB_LOOK:
        job->rc = read_knob(w, job);
        if (job->rc == 0)
            job->rc = check_ours(w, job);
        break;
    case WT_JOB_SET:
    case WT_JOB_RESTORE:
        job->rc = move_to(w, job);
        break;
    case WT_JOB_RECOVER:
        job->rc = recover(w, job);
        break;
    }
    /* A driver that was loaded anew, or a device that came back, is found by looking again. */
    if (job->rc == WT_E_GONE || job->rc == WT_E_TIMEOUT || job->rc == WT_E_IO)
        close_device(w);
}

static void *work(void *data)
{
    struct worker *w = data;
    struct wt_workers *all = w->all;
    pthread_mutex_lock(&all->lock);
    while (!all->is_ending || w->first) {
        struct wt_device_job *job = w->first;
        if (!job) {
            pthread_cond_wait(&w->has_job, &all->lock);
            continue;
        }
        w->first = job->next;
        if (!w->first)
            w->last = &w->first;
        pthread_mutex_unlock(&all->lock);
        atomic_store(&w->busy_since_ns, wt_clock_now_ns());
        do_job(w, job);
        pthread_mutex_lock(&all->lock);
        atomic_store(&w->busy_since_ns, w->first ? wt_clock_now_ns() : 0);
        job->next = NULL;
        *all->done_last = job;
        all->done_last = &job->next;
        uint64_t one = 1;
        if (write(all->fd, &one, sizeof(one)) < 0) {
            /* The counter is full, so it is readable. */
        }
    }
    pthread_mutex_unlock(&all->lock);
    close_device(w);
    pthread_mutex_lock(&all->lock);
    w->is_over = true;
    pthread_cond_broadcast(&all->is_over);
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

/* ---- the loop's side ---- */

int wt_workers_new(struct wt_workers **ret_workers, const struct wt_workers_options *options,
                   struct wt_error *err)
{
    struct wt_workers *all = calloc(1, sizeof(*all) + options->count * sizeof(all->workers[0]));
    if (!all)
        return wt_fail(err, WT_E_NOMEM, "no memory for the devices' threads");
    int rc = 0;
    all->ctx = options->ctx;
    all->source = options->source;
    wt_text(all->state_dir, sizeof(all->state_dir), "%s", options->state_dir);
    pthread_mutex_init(&all->lock, NULL);
    wt_cond_init(&all->is_over);
    all->done_last = &all->done;
    all->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (all->fd < 0)
        rc = wt_fail_errno(err, errno, "eventfd");
    for (size_t i = 0; i < options->count; i++) {
        struct worker *w = &all->workers[all->count++];
        w->all = all;
        w->last = &w->first;
        wt_text(w->id, sizeof(w->id), "%s", options->ids[i]);
        pthread_cond_init(&w->has_job, NULL);
        if (rc == 0 && wt_thread_start(&w->thread, work, w) < 0)
            rc = wt_fail(err, WT_E_NOMEM, "no thread for %s", w->id);
        else
            w->is_started = rc == 0;
    }
    if (rc < 0) {
        wt_workers_free(all, 0);
        return rc;
    }
    *ret_workers = all;
    return 0;
}

bool wt_workers_free(struct wt_workers *all, int64_t patience_ns)
{
    if (!all)
        return true;
    int64_t end_ns = wt_clock_now_ns() + patience_ns;
    struct timespec end = {.tv_sec = (time_t)(end_ns / WT_NS_PER_S),
                           .tv_nsec = (long)(end_ns % WT_NS_PER_S)};
    bool is_left = false;
    pthread_mutex_lock(&all->lock);
    all->is_ending = true;
    for (size_t i = 0; i < all->count; i++)
        pthread_cond_signal(&all->workers[i].has_job);
    for (size_t i = 0; i < all->count; i++) {
        struct worker *w = &all->workers[i];
        int waited = 0;
        while (w->is_started && !w->is_over && waited == 0)
            waited = pthread_cond_timedwait(&all->is_over, &all->lock, &end);
        is_left |= w->is_started && !w->is_over;
    }
    pthread_mutex_unlock(&all->lock);
    if (is_left)
        return false; /* the thread may come back and need all this */
    for (size_t i = 0; i < all->count; i++) {
        if (all->workers[i].is_started)
            pthread_join(all->workers[i].thread, NULL);
        pthread_cond_destroy(&all->workers[i].has_job);
    }
    pthread_cond_destroy(&all->is_over);
    pthread_mutex_destroy(&all->lock);
    if (all->fd >= 0)
        close(all->fd);
    free(all);
    return true;
}

int wt_workers_fd(const struct wt_workers *all)
{
    return all->fd;
}

void wt_workers_give(struct wt_workers *all, struct wt_device_job *job)
{
    struct worker *w = &all->workers[job->device];
    pthread_mutex_lock(&all->lock);
    job->next = NULL;
    *w->last = job;
    w->last = &job->next;
    if (!atomic_load(&w->busy_since_ns))
        atomic_store(&w->busy_since_ns, wt_clock_now_ns());
    pthread_cond_signal(&w->has_job);
    pthread_mutex_unlock(&all->lock);
}

struct wt_device_job *wt_workers_take(struct wt_workers *all)
{
    pthread_mutex_lock(&all->lock);
    struct wt_device_job *job = all->done;
    if (job) {
        all->done = job->next;
        if (!all->done)
            all->done_last = &all->done;
    } else {
        uint64_t count;
        if (read(all->fd, &count, sizeof(count)) < 0) {
            /* was not set */
        }
    }
    pthread_mutex_unlock(&all->lock);
    return job;
}

int64_t wt_workers_busy_since_ns(const struct wt_workers *all, uint32_t device)
{
    return atomic_load(&all->workers[device].busy_since_ns);
}

/* ---- the machine's devices ---- */

static int open_devices(void *data, const char *id, struct wt_lease_ops *ret_ops, size_t *ret_index,
                        void **ret_handle, struct wt_error *err)
{
    struct wt_ctx *ctx = data;
    struct wt_devices *devices = NULL;
    /* A GPU is opened alone; other devices come with their whole kind. */
    bool is_gpu = strncmp(id, "GPU-", 4) == 0;
    struct wt_devices_options options = {.gpus = is_gpu ? id : NULL, .is_gpu_only = is_gpu};
    int rc = wt_devices_open(&devices, ctx, &options, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < wt_devices_count(devices); i++)
        if (strcmp(wt_devices_info(devices, i)->id, id) == 0) {
            *ret_ops = wt_lease_ops_devices(devices);
            *ret_index = i;
            *ret_handle = devices;
            return 0;
        }
    wt_devices_free(devices);
    return wt_fail(err, WT_E_GONE, "%s is no longer among the devices", id);
}

static void close_devices(void *data, void *handle)
{
    (void)data;
    wt_devices_free(handle);
}

struct wt_worker_source wt_worker_source_devices(struct wt_ctx *ctx)
{
    return (struct wt_worker_source){open_devices, close_devices, ctx};
}
