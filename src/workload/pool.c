/* The pool: workers wait a moment spinning (the next piece of a step usually comes at once) and
 * then sleep, so that a pause between steps costs no energy. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "workload/pool.h"

#define SPINS 4000 /* about 50 us: more than a small piece, less than a step */

struct wt_pool {
    unsigned threads;
    unsigned started; /* workers that exist */
    pthread_t *workers;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    atomic_uint round; /* goes up with each job; workers wait for it to change */
    bool is_ending;    /* under lock */
    /* The job. Written before round goes up, read after. */
    wt_pool_fn fn;
    void *data;
    size_t count, piece;
    atomic_size_t next;
    atomic_uint busy; /* workers not yet finished with this round */
    bool is_pinned;
    cpu_set_t before; /* where the caller might run before it was bound */
};

struct worker {
    struct wt_pool *pool;
    unsigned index;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_pieces(struct wt_pool *pool, unsigned thread)
{
    for (;;) {
        size_t from = atomic_fetch_add(&pool->next, pool->piece);
        if (from >= pool->count)
            return;
        size_t left = pool->count - from;
        pool->fn(pool->data, from, from + (left < pool->piece ? left : pool->piece), thread);
    }
}

static void *work(void *arg)
{
    struct worker self = *(struct worker *)arg;
    free(arg);
    struct wt_pool *pool = self.pool;
    unsigned seen = 0;
    for (;;) {
        for (unsigned i = 0; i < SPINS && atomic_load(&pool->round) == seen; i++)
            relax();
        if (atomic_load(&pool->round) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->round) == seen)
                pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = atomic_load(&pool->round);
        if (pool->is_ending)
            return NULL;
        take_pieces(pool, self.index);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

int wt_pool_new(struct wt_pool **ret_pool, unsigned threads, struct wt_error *err)
{
    struct wt_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return wt_fail(err, WT_E_NOMEM, "no memory for a pool of threads");
    int rc = 0;
    pool->threads = threads ? threads : 1;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = calloc(pool->threads, sizeof(*pool->workers));
    if (!pool->workers) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %u threads", pool->threads);
        goto out;
    }
    for (unsigned i = 1; i < pool->threads; i++) {
        struct worker *worker = malloc(sizeof(*worker));
        if (!worker) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for %u threads", pool->threads);
            goto out;
        }
        *worker = (struct worker){pool, i};
        int errnum = pthread_create(&pool->workers[pool->started], NULL, work, worker);
        if (errnum) {
            free(worker);
            rc = wt_fail_errno(err, errnum, "starting thread %u of %u", i + 1, pool->threads);
            goto out;
        }
        pool->started++;
    }
    *ret_pool = pool;
    pool = NULL;
out:
    wt_pool_free(pool);
    return rc;
}

/* Whether another hardware thread of the same core, one that may be used, comes first: "0,64" or
 * "0-1" of 64 or 1. */
static bool is_second_of_its_core(unsigned cpu, const cpu_set_t *allowed, const char *root)
{
    char path[4096];
    FILE *f =
        fopen(wt_text(path, sizeof(path),
                      "%s/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", root, cpu),
              "re");
    bool is_second = false;
    unsigned from, to;
    while (f && fscanf(f, "%u", &from) == 1) {
        int mark = fgetc(f);
        to = from;
        if (mark == '-' && fscanf(f, "%u", &to) == 1)
            mark = fgetc(f);
        for (unsigned other = from; other <= to && other < cpu; other++)
            is_second |= CPU_ISSET(other, allowed);
        if (mark != ',')
            break;
    }
    if (f)
        fclose(f);
    return is_second;
}

unsigned wt_pool_choose(unsigned *ret_cpus, unsigned count, const cpu_set_t *allowed,
                        const char *root)
{
    unsigned chosen = 0;
    for (int round = 0; round < 2; round++) /* every core before a second thread of any */
        for (unsigned cpu = 0; cpu < CPU_SETSIZE && chosen < count; cpu++)
            if (CPU_ISSET(cpu, allowed) && is_second_of_its_core(cpu, allowed, root) == round)
                ret_cpus[chosen++] = cpu;
    return chosen;
}

static int allowed_cpus(cpu_set_t *ret_allowed, unsigned threads, struct wt_error *err)
{
    if (sched_getaffinity(0, sizeof(*ret_allowed), ret_allowed) < 0)
        return wt_fail_errno(err, errno, "asking which CPUs this process may use");
    if ((unsigned)CPU_COUNT(ret_allowed) >= threads)
        return 0;
    return wt_fail(err, WT_E_USAGE, "%u threads cannot be bound to %d CPUs", threads,
                   CPU_COUNT(ret_allowed));
}

int wt_pool_can_pin(unsigned threads, struct wt_error *err)
{
    cpu_set_t allowed;
    return allowed_cpus(&allowed, threads, err);
}

int wt_pool_pin(struct wt_pool *pool, struct wt_error *err)
{
    cpu_set_t allowed;
    int rc = allowed_cpus(&allowed, pool->threads, err);
    if (rc < 0)
        return rc;
    unsigned cpus[CPU_SETSIZE], count = wt_pool_choose(cpus, pool->threads, &allowed, "");
    for (unsigned i = 0; i < count; i++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpus[i], &one);
        pthread_t thread = i == 0 ? pthread_self() : pool->workers[i - 1];
        int errnum = pthread_setaffinity_np(thread, sizeof(one), &one);
        if (errnum)
            return wt_fail_errno(err, errnum, "binding thread %u to CPU %u", i, cpus[i]);
        if (i == 0) {
            pool->is_pinned = true;
            pool->before = allowed;
        }
    }
    return 0;
}

static void announce(struct wt_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->round, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void wt_pool_free(struct wt_pool *pool)
{
    if (!pool)
        return;
    pool->is_ending = true;
    announce(pool);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i], NULL);
    if (pool->is_pinned)
        pthread_setaffinity_np(pthread_self(), sizeof(pool->before), &pool->before);
    free(pool->workers);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void wt_pool_run(struct wt_pool *pool, size_t count, size_t piece, wt_pool_fn fn, void *data)
{
    if (count == 0)
        return;
    if (pool->started == 0 || count <= piece) {
        fn(data, 0, count, 0);
        return;
    }
    pool->fn = fn;
    pool->data = data;
    pool->count = count;
    pool->piece = piece;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->started);
    announce(pool);
    take_pieces(pool, 0);
    for (unsigned i = 0; i < SPINS && atomic_load(&pool->busy) > 0; i++)
        relax();
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->busy) > 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
