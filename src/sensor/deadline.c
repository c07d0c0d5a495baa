/* deadline: see deadline.h. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "sensor/deadline.h"

/* Shared by the two threads; the one that comes last frees it. */
struct call {
    pthread_mutex_t lock;
    pthread_cond_t is_back;
    bool is_done, is_abandoned;
    int rc;
    int (*run)(void *job);
    void (*drop)(void *job);
    void *job;
};

static void call_free(struct call *call)
{
    pthread_cond_destroy(&call->is_back);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

static void *run_call(void *data)
{
    struct call *call = data;
    int rc = call->run(call->job);

    pthread_mutex_lock(&call->lock);
    call->rc = rc;
    call->is_done = true;
    bool is_abandoned = call->is_abandoned;
    if (!is_abandoned)
        pthread_cond_signal(&call->is_back);
    pthread_mutex_unlock(&call->lock);
    if (is_abandoned) {
        call->drop(call->job);
        call_free(call);
    }
    return NULL;
}

int wt_deadline_run(int (*run)(void *job), void (*drop)(void *job), void *job, int64_t timeout_ns,
                    bool *ret_abandoned)
{
    *ret_abandoned = false;
    if (timeout_ns == INT64_MAX)
        return run(job);
    struct call *call = calloc(1, sizeof(*call));
    if (!call)
        return WT_E_NOMEM;
    call->run = run;
    call->drop = drop;
    call->job = job;
    pthread_mutex_init(&call->lock, NULL);
    wt_cond_init(&call->is_back);

    pthread_t thread;
    if (wt_thread_start(&thread, run_call, call) < 0) {
        call_free(call);
        return WT_E_NOMEM;
    }

    int64_t end_ns = wt_clock_now_ns() + timeout_ns;
    struct timespec end = {.tv_sec = (time_t)(end_ns / WT_NS_PER_S),
                           .tv_nsec = (long)(end_ns % WT_NS_PER_S)};
    pthread_mutex_lock(&call->lock);
    int waited = 0;
    while (!call->is_done && waited == 0)
        waited = pthread_cond_timedwait(&call->is_back, &call->lock, &end);
    bool is_done = call->is_done;
    call->is_abandoned = !is_done;
    int rc = is_done ? call->rc : WT_E_TIMEOUT;
    pthread_mutex_unlock(&call->lock);
    if (!is_done) {
        *ret_abandoned = true;
        pthread_detach(thread);
        return rc;
    }
    pthread_join(thread, NULL);
    call_free(call);
    return rc;
}
