/* scribe: see scribe.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/scribe.h"

struct wt_scribe {
    const struct wt_ctx *ctx;
    struct wt_journal *journal; /* the thread's, once it runs */
    struct wt_owner self;
    int lock_fd, fd;
    _Atomic uint64_t generation;
    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock;
    pthread_cond_t has_job;
    bool is_ending;
    struct wt_journal_job *first, **last, *done, **done_last;
};

/* Somebody outside the daemon about this knob: an open entry, or one since the generation. */
static int check_first(struct wt_scribe *s, struct wt_journal_job *job)
{
    size_t count;
    const struct wt_lease_record *mine = &job->records[0];
    const struct wt_lease_record *entries = wt_journal_entries(s->journal, &count);
    for (size_t i = 0; i < count; i++) {
        const struct wt_lease_record *e = &entries[i];
        if (e->is_claim || e->knob != mine->knob || strcmp(e->device, mine->device) != 0)
            continue;
        if (wt_lease_is_open(e)) {
            enum wt_owner_life life = wt_owner_life(&e->owner, &s->self);
            if (life == WT_OWNER_DEAD)
                return wt_fail(&job->err, WT_E_STATE, "%s of %s: left by process %u",
                               wt_knob_name(e->knob), e->device, e->owner.pid);
            if (life == WT_OWNER_ALIVE) {
                char set[48];
                int rc = wt_fail(&job->err, WT_E_BUSY,
                                 "%s of %s: held by process %u (%s), which set it to %s without "
                                 "wattuned",
                                 wt_knob_name(e->knob), e->device, e->owner.pid, e->owner.name,
                                 wt_knob_value_text(set, sizeof(set), e->knob, e->requested));
                wt_fix(&job->err, "wait for process %u to end, or use another device",
                       e->owner.pid);
                return rc;
            }
        } else if (e->sequence >= job->generation) {
            return wt_fail(&job->err, WT_E_CHANGED, "%s of %s: changed meanwhile",
                           wt_knob_name(e->knob), e->device);
        }
    }
    return 0;
}

static void write_job(struct wt_scribe *s, struct wt_journal_job *job)
{
    job->rc = job->is_first ? check_first(s, job) : 0;
    for (size_t i = 0; i < job->count && job->rc == 0; i++)
        job->rc = wt_journal_append(s->journal, &job->records[i], false, &job->err);
}

/* All that had gathered, under one lock and with one sync. */
static void write_all(struct wt_scribe *s, struct wt_journal_job *jobs)
{
    struct wt_error err = {0};
    bool is_durable = false;
    int rc = wt_journal_lock(s->journal, &err);
    for (struct wt_journal_job *job = jobs; job; job = job->next) {
        job->err = (struct wt_error){0};
        if (rc < 0) {
            job->rc = rc;
            job->err = err;
            continue;
        }
        write_job(s, job);
        is_durable |= job->is_durable && job->rc == 0;
    }
    if (rc < 0)
        return;
    int synced = is_durable ? wt_journal_flush(s->journal, &err) : 0;
    for (struct wt_journal_job *job = jobs; job && synced < 0; job = job->next)
        if (job->is_durable && job->rc == 0) {
            job->rc = synced;
            job->err = err;
        }
    atomic_store(&s->generation, wt_journal_totals(s->journal).next_sequence);
    wt_journal_unlock(s->journal);
}

static void *work(void *data)
{
    struct wt_scribe *s = data;
    pthread_mutex_lock(&s->lock);
    while (!s->is_ending || s->first) {
        struct wt_journal_job *jobs = s->first;
        if (!jobs) {
            pthread_cond_wait(&s->has_job, &s->lock);
            continue;
        }
        s->first = NULL;
        s->last = &s->first;
        pthread_mutex_unlock(&s->lock);
        write_all(s, jobs);
        pthread_mutex_lock(&s->lock);
        *s->done_last = jobs;
        while (*s->done_last)
            s->done_last = &(*s->done_last)->next;
        uint64_t one = 1;
        if (write(s->fd, &one, sizeof(one)) < 0) {
            /* The counter is full, so it is readable. */
        }
    }
    pthread_mutex_unlock(&s->lock);
    struct wt_error err = {0};
    if (wt_journal_sync(s->journal, &err) < 0)
        wt_log(s->ctx, WT_LOG_WARN, "lease", "%s", err.text);
    return NULL;
}

/* One daemon for a directory. The lock is not inherited and ends with the process. Whether it is
 * held can be asked (F_OFD_GETLK) without taking it: a guardian that asked with a lock of its own
 * would keep a daemon from starting. */
static int take_lock(struct wt_scribe *s, struct wt_error *err)
{
    char path[4352];
    wt_text(path, sizeof(path), "%s/%s", wt_journal_dir(s->journal), WT_JOURNAL_DAEMON);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return wt_fail_errno(err, errno, "%s", path);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(s->lock_fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = wt_fail(err, WT_E_BUSY, "%s: another wattuned runs", path);
    wt_fix(err, "stop that one first: systemctl stop wattuned");
    return rc;
}

int wt_scribe_new(struct wt_scribe **ret_scribe, const struct wt_ctx *ctx, const char *dir,
                  struct wt_error *err)
{
    struct wt_scribe *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for the journal's thread");
    s->ctx = ctx;
    s->lock_fd = s->fd = -1;
    s->last = &s->first;
    s->done_last = &s->done;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->has_job, NULL);
    int rc = wt_owner_self(&s->self, err);
    if (rc == 0)
        rc = wt_journal_open(&s->journal, ctx, dir, NULL, err);
    if (rc == 0)
        rc = take_lock(s, err);
    if (rc == 0 && (s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        rc = wt_fail_errno(err, errno, "eventfd");
    if (rc < 0) {
        wt_scribe_free(s);
        return rc;
    }
    *ret_scribe = s;
    return 0;
}

void wt_scribe_free(struct wt_scribe *s)
{
    if (!s)
        return;
    if (s->is_started) {
        pthread_mutex_lock(&s->lock);
        s->is_ending = true;
        pthread_cond_signal(&s->has_job);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    wt_journal_close(s->journal);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->fd >= 0)
        close(s->fd);
    pthread_cond_destroy(&s->has_job);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int wt_scribe_start(struct wt_scribe *s, struct wt_error *err)
{
    s->is_started = wt_thread_start(&s->thread, work, s) == 0;
    return s->is_started ? 0 : wt_fail(err, WT_E_NOMEM, "no thread for the journal");
}

int wt_scribe_read(struct wt_scribe *s, struct wt_lease_record **ret_records, size_t *ret_count,
                   struct wt_error *err)
{
    int rc = wt_journal_lock(s->journal, err);
    if (rc < 0)
        return rc;
    size_t count, n = 0;
    const struct wt_lease_record *entries = wt_journal_entries(s->journal, &count);
    struct wt_lease_record *records = calloc(count + 1, sizeof(*records));
    for (size_t i = 0; records && i < count; i++)
        if (entries[i].is_claim && wt_lease_is_open(&entries[i]) &&
            entries[i].owner.machine == s->self.machine)
            records[n++] = entries[i];
    atomic_store(&s->generation, wt_journal_totals(s->journal).next_sequence);
    wt_journal_unlock(s->journal);
    if (!records)
        return wt_fail(err, WT_E_NOMEM, "no memory for the claims in the journal");
    *ret_records = records;
    *ret_count = n;
    return 0;
}

uint64_t wt_scribe_generation(const struct wt_scribe *s)
{
    return atomic_load(&s->generation);
}

int wt_scribe_fd(const struct wt_scribe *s)
{
    return s->fd;
}

void wt_scribe_give(struct wt_scribe *s, struct wt_journal_job *job)
{
    pthread_mutex_lock(&s->lock);
    job->next = NULL;
    *s->last = job;
    s->last = &job->next;
    pthread_cond_signal(&s->has_job);
    pthread_mutex_unlock(&s->lock);
}

struct wt_journal_job *wt_scribe_take(struct wt_scribe *s)
{
    pthread_mutex_lock(&s->lock);
    struct wt_journal_job *job = s->done;
    if (job) {
        s->done = job->next;
        if (!s->done)
            s->done_last = &s->done;
    } else {
        uint64_t count;
        if (read(s->fd, &count, sizeof(count)) < 0) {
            /* was not set */
        }
    }
    pthread_mutex_unlock(&s->lock);
    return job;
}
