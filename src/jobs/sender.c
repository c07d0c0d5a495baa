/* sender: a thread that brings the rows of a node's file to the central store. A row is marked as
 * sent only after its commit was answered; a commit whose answer was lost is sent again and changes
 * nothing, since the store takes a row only with a higher seq. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jobs/postgres.h"

#define BATCH         500
#define LOOK_NS       (10 * WT_NS_PER_S) /* where nobody wakes it */
#define PAUSE_NS      (WT_NS_PER_S / 2)  /* after the first failure, then twice as long each time */
#define PAUSE_MOST_NS (30 * WT_NS_PER_S)

struct wt_job_sender {
    char *store, *central; /* owned */
    void *file, *server;   /* the thread's; server NULL: not connected */
    unsigned failures, seed;
    atomic_bool stop;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool is_awake;
    char name[256], problem[200];
    size_t unsent;
    int64_t sent_ns;
};

static void tell(struct wt_job_sender *s, const char *problem, size_t unsent, bool is_sent)
{
    pthread_mutex_lock(&s->lock);
    wt_text(s->problem, sizeof(s->problem), "%s", problem);
    s->unsent = unsent;
    if (is_sent)
        s->sent_ns = wt_clock_unix_ns();
    pthread_mutex_unlock(&s->lock);
}

/* Sends one batch. *ret_is_more: it was a full one. */
static int send_batch(struct wt_job_sender *s, bool *ret_is_more, struct wt_error *err)
{
    struct wt_job_row *rows = NULL;
    size_t count = 0, left = 0;
    *ret_is_more = false;
    int rc = wt_job_sqlite_unsent(s->file, BATCH, &rows, &count, err);
    if (rc == 0 && count > 0) {
        if (!s->server)
            rc = wt_pg_open(&s->server, s->central, true, &s->stop, err);
        if (rc == 0)
            rc = wt_job_postgres.write(s->server, rows, count, err);
        if (rc == 0)
            rc = wt_job_sqlite_sent(s->file, rows, count, err);
    }
    free(rows);
    if (rc == 0 && (rc = wt_job_sqlite_count_unsent(s->file, &left, err)) == 0)
        tell(s, "", left, count > 0);
    *ret_is_more = rc == 0 && left > 0;
    return rc;
}

static void disconnect(struct wt_job_sender *s)
{
    if (s->server)
        wt_job_postgres.close(s->server);
    s->server = NULL;
}

/* Until something is new, it is time, or the end. */
static void doze(struct wt_job_sender *s, int64_t span_ns, bool is_woken)
{
    int64_t t_ns = wt_clock_now_ns() + span_ns;
    struct timespec until = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                             .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
    pthread_mutex_lock(&s->lock);
    while (!atomic_load(&s->stop) && !(is_woken && s->is_awake) &&
           pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
        ;
    s->is_awake = false;
    pthread_mutex_unlock(&s->lock);
}

/* Twice as long after each failure, and never the same for all nodes of a cluster. */
static int64_t pause_ns(struct wt_job_sender *s)
{
    int64_t ns = PAUSE_NS << (s->failures < 6 ? s->failures : 6);
    if (ns > PAUSE_MOST_NS)
        ns = PAUSE_MOST_NS;
    return ns / 2 + ns / 2 * (rand_r(&s->seed) % 1000) / 1000;
}

static void *sender_main(void *data)
{
    struct wt_job_sender *s = data;
    while (!atomic_load(&s->stop)) {
        struct wt_error err = {0};
        bool is_more;
        int rc = send_batch(s, &is_more, &err);
        if (rc < 0) {
            size_t left = 0;
            disconnect(s); /* whatever it was: the next try begins anew */
            wt_job_sqlite_count_unsent(s->file, &left, NULL);
            if (!atomic_load(&s->stop))
                tell(s, err.text, left, false);
            doze(s, pause_ns(s), false);
            s->failures++;
            continue;
        }
        s->failures = 0;
        if (is_more)
            continue;
        disconnect(s); /* hundreds of nodes must not hold what a server has a hundred of */
        doze(s, LOOK_NS, true);
    }
    disconnect(s);
    return NULL;
}

int wt_job_sender_new(struct wt_job_sender **ret_sender, const char *store, const char *central,
                      struct wt_error *err)
{
    if (!wt_job_is_postgres(central)) {
        wt_fail(err, WT_E_USAGE, "a central store is a PostgreSQL");
        wt_fix(err, "postgresql://USER@HOST/DATABASE");
        return WT_E_USAGE;
    }
    struct wt_job_sender *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory to send jobs");
    pthread_mutex_init(&s->lock, NULL);
    wt_cond_init(&s->wake);
    atomic_init(&s->stop, false);
    s->seed = (unsigned)(wt_clock_now_ns() ^ (intptr_t)s);
    s->store = strdup(store ? store : WT_JOB_STORE_FILE);
    s->central = strdup(central);
    int rc = s->store && s->central ? 0 : wt_fail(err, WT_E_NOMEM, "no memory to send jobs");
    if (rc == 0)
        rc = wt_pg_check(central, s->name, sizeof(s->name), err);
    if (rc == 0)
        rc = wt_job_sqlite.open(&s->file, s->store, true, err);
    if (rc == 0) {
        s->has_thread = wt_thread_start(&s->thread, sender_main, s) == 0;
        if (!s->has_thread)
            rc = wt_fail(err, WT_E_NOMEM, "no thread to send jobs");
    }
    if (rc < 0) {
        wt_job_sender_free(s);
        return rc;
    }
    *ret_sender = s;
    return 0;
}

void wt_job_sender_free(struct wt_job_sender *s)
{
    if (!s)
        return;
    if (s->has_thread) {
        atomic_store(&s->stop, true);
        pthread_mutex_lock(&s->lock);
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    wt_job_sqlite.close(s->file);
    if (s->central)
        explicit_bzero(s->central, strlen(s->central));
    free(s->central);
    free(s->store);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

void wt_job_sender_wake(struct wt_job_sender *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_awake = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void wt_job_sender_status(struct wt_job_sender *s, struct wt_accounts_status *ret_status)
{
    pthread_mutex_lock(&s->lock);
    wt_text(ret_status->central, sizeof(ret_status->central), "%s", s->name);
    wt_text(ret_status->central_problem, sizeof(ret_status->central_problem), "%s", s->problem);
    ret_status->unsent = s->unsent;
    ret_status->sent_ns = s->sent_ns;
    pthread_mutex_unlock(&s->lock);
}
