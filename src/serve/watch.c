/* watch: see watch.h. */
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "serve/watch.h"

#define STOP_NS (300 * WT_NS_PER_MS)

/* Shared with the thread; freed by whoever leaves last. */
struct wt_watch {
    void (*look)(void *data);
    void (*drop)(void *data);
    void *data;
    int64_t period_ns;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool is_stopping;
    atomic_uint refs;
};

static void unref(struct wt_watch *w)
{
    if (atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    w->drop(w->data);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->stop);
    free(w);
}

static void *watch_main(void *data)
{
    struct wt_watch *w = data;
    pthread_mutex_lock(&w->lock);
    while (!w->is_stopping) {
        pthread_mutex_unlock(&w->lock);
        w->look(w->data);
        int64_t t_ns = wt_clock_now_ns() + w->period_ns;
        struct timespec ts = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                              .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
        pthread_mutex_lock(&w->lock);
        while (!w->is_stopping && pthread_cond_timedwait(&w->stop, &w->lock, &ts) == 0)
            ;
    }
    pthread_mutex_unlock(&w->lock);
    unref(w);
    return NULL;
}

int wt_watch_start(struct wt_watch **ret_watch, void (*look)(void *data), void (*drop)(void *data),
                   void *data, int64_t period_ns)
{
    struct wt_watch *w = calloc(1, sizeof(*w));
    if (!w) {
        drop(data);
        return WT_E_NOMEM;
    }
    w->look = look;
    w->drop = drop;
    w->data = data;
    w->period_ns = period_ns;
    pthread_mutex_init(&w->lock, NULL);
    wt_cond_init(&w->stop);
    atomic_init(&w->refs, 2);
    bool is_started = wt_thread_start(&w->thread, watch_main, w) == 0;
    if (!is_started) {
        atomic_store(&w->refs, 1);
        unref(w);
        return WT_E_NOMEM;
    }
    *ret_watch = w;
    return 0;
}

void wt_watch_stop(struct wt_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    pthread_cond_signal(&w->stop);
    pthread_mutex_unlock(&w->lock);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t t_ns = until.tv_nsec + STOP_NS;
    until.tv_sec += (time_t)(t_ns / WT_NS_PER_S);
    until.tv_nsec = (long)(t_ns % WT_NS_PER_S);
    if (pthread_timedjoin_np(w->thread, NULL, &until) != 0)
        pthread_detach(w->thread);
    unref(w);
}

const char *wt_user_name(uint32_t uid, char *buf, size_t size)
{
    struct passwd entry, *found = NULL;
    char text[4096];
    if (getpwuid_r((uid_t)uid, &entry, text, sizeof(text), &found) == 0 && found)
        return wt_text(buf, size, "%s", found->pw_name);
    return wt_text(buf, size, "%u", uid);
}
