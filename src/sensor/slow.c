/* slow: see slow.h. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sensor/slow.h"

#define CLOSE_NS  WT_NS_PER_S /* to come back in, once told to stop */
#define MARGIN_NS WT_NS_PER_S
#define TOLD_NS   (50 * WT_NS_PER_MS) /* between two looks at whether to go on waiting */

/* Shared by its owner and its thread; who goes last frees it. */
struct wt_slow {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    wt_slow_ask ask;
    void (*drop)(void *data);
    void *data;
    int stop_fd;
    int64_t period_ns, first_took_ns;
    /* Under lock: */
    unsigned refs;
    bool is_wanted, is_stopping, is_ended;
    bool has_answer, is_new; /* is_new: not read yet */
    int rc;
    uint64_t value;
    struct wt_error why;
    int64_t took_ns;
    int64_t t_wanted_ns, t_answer_ns; /* by the context's clock, which the thread does not know */
};

static void unref(struct wt_slow *s)
{
    pthread_mutex_lock(&s->lock);
    bool is_last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (!is_last)
        return;
    s->drop(s->data);
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void *slow_main(void *data)
{
    struct wt_slow *s = data;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->is_wanted && !s->is_stopping)
            pthread_cond_wait(&s->changed, &s->lock);
        if (s->is_stopping)
            break;
        pthread_mutex_unlock(&s->lock);
        struct wt_error why = {0};
        uint64_t value = 0;
        int64_t t_ns = wt_clock_now_ns();
        int rc = s->ask(s->data, s->stop_fd, &value, &why);
        pthread_mutex_lock(&s->lock);
        s->took_ns = wt_clock_now_ns() - t_ns;
        s->rc = rc;
        s->value = value;
        s->why = why;
        s->has_answer = s->is_new = true;
        s->is_wanted = false;
        pthread_cond_broadcast(&s->changed);
    }
    s->is_ended = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    unref(s);
    return NULL;
}

/* Waits until *flag, at most for span_ns. With the lock held. */
static bool await(struct wt_slow *s, const bool *flag, int64_t span_ns)
{
    int64_t end_ns = wt_clock_now_ns() + span_ns;
    struct timespec end = {.tv_sec = (time_t)(end_ns / WT_NS_PER_S),
                           .tv_nsec = (long)(end_ns % WT_NS_PER_S)};
    int waited = 0;
    while (!*flag && waited == 0)
        waited = pthread_cond_timedwait(&s->changed, &s->lock, &end);
    return *flag;
}

/* Waits for the first answer. Errors: WT_E_TIMEOUT, WT_E_STATE. With the lock held. */
static int await_first(struct wt_slow *s, int64_t deadline_ns, const struct wt_slow_wait *wait)
{
    int64_t begin_ns = wt_clock_now_ns(), waited_ns;
    bool is_told = wait && wait->fn;
    while ((waited_ns = wt_clock_now_ns() - begin_ns) < deadline_ns) {
        int64_t left_ns = deadline_ns - waited_ns;
        if (await(s, &s->has_answer, is_told && left_ns > TOLD_NS ? TOLD_NS : left_ns))
            return 0;
        pthread_mutex_unlock(&s->lock);
        bool is_going_on =
            !is_told || wait->fn(wait->data, wait->what, wt_clock_now_ns() - begin_ns);
        pthread_mutex_lock(&s->lock);
        if (!is_going_on)
            return WT_E_STATE;
    }
    return s->has_answer ? 0 : WT_E_TIMEOUT;
}

int wt_slow_open(struct wt_slow **ret_slow, const struct wt_ctx *ctx, wt_slow_ask ask,
                 void (*drop)(void *data), void *data, int64_t period_ns, int64_t deadline_ns,
                 const struct wt_slow_wait *wait, struct wt_error *err)
{
    struct wt_slow *s = calloc(1, sizeof(*s));
    if (!s) {
        drop(data);
        return wt_fail(err, WT_E_NOMEM, "no memory for a slow sensor");
    }
    s->ask = ask;
    s->drop = drop;
    s->data = data;
    s->period_ns = period_ns;
    s->refs = 2;
    s->is_wanted = true;
    s->t_wanted_ns = wt_ctx_now_ns(ctx);
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->lock, NULL);
    wt_cond_init(&s->changed);
    if (s->stop_fd < 0 || wt_thread_start(&s->thread, slow_main, s)) {
        s->refs = 1;
        unref(s);
        return wt_fail(err, WT_E_NOMEM, "no thread for a slow sensor");
    }
    pthread_mutex_lock(&s->lock);
    int rc = await_first(s, deadline_ns, wait);
    bool is_there = rc == 0;
    if (is_there)
        rc = s->rc;
    if (is_there && rc < 0 && err)
        *err = s->why;
    s->first_took_ns = s->took_ns;
    pthread_mutex_unlock(&s->lock);
    if (!is_there && rc == WT_E_STATE)
        wt_fail(err, rc, "stopped while it was waited for");
    else if (!is_there)
        wt_fail(err, rc, "no answer in %.3g s", wt_s_from_ns(deadline_ns));
    if (rc < 0)
        wt_slow_close(s);
    else
        *ret_slow = s;
    return rc;
}

int wt_slow_read(struct wt_slow *s, const struct wt_ctx *ctx, uint64_t *ret_value,
                 struct wt_error *err)
{
    int64_t now_ns = wt_ctx_now_ns(ctx);
    pthread_mutex_lock(&s->lock);
    if (s->is_new)
        s->t_answer_ns = s->t_wanted_ns + s->took_ns;
    s->is_new = false;
    if (!s->is_wanted && now_ns - s->t_wanted_ns >= s->period_ns - s->period_ns / 50) {
        s->is_wanted = true;
        s->t_wanted_ns = now_ns;
        pthread_cond_broadcast(&s->changed);
    }
    int64_t age_ns = now_ns - s->t_answer_ns;
    int rc = s->rc;
    if (rc < 0 && err)
        *err = s->why;
    else if (rc == 0 && age_ns > 2 * s->period_ns + 2 * s->took_ns + MARGIN_NS)
        rc = wt_fail(err, WT_E_TIMEOUT, "no answer for %.0f s", wt_s_from_ns(age_ns));
    else if (rc == 0)
        *ret_value = s->value;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int64_t wt_slow_took_ns(const struct wt_slow *s)
{
    return s->first_took_ns;
}

void wt_slow_settle(struct wt_slow *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->is_wanted)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void wt_slow_close(struct wt_slow *s)
{
    if (!s)
        return;
    uint64_t one = 1;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    if (write(s->stop_fd, &one, sizeof(one)) < 0)
        s->is_stopping = true; /* full: it can be read all the same */
    pthread_cond_broadcast(&s->changed);
    bool is_ended = await(s, &s->is_ended, CLOSE_NS);
    pthread_t thread = s->thread;
    pthread_mutex_unlock(&s->lock);
    if (is_ended)
        pthread_join(thread, NULL);
    else
        pthread_detach(thread);
    unref(s);
}
