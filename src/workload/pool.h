/* Threads that share out a range of work. The caller works too, so one thread is no thread.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_POOL_H
#define WT_WORKLOAD_POOL_H

#include <sched.h>
#include <stddef.h>

#include "wattune/error.h"

struct wt_pool;

/* from..to of the range; thread is 0 (the caller) to threads-1, for scratch memory. */
typedef void (*wt_pool_fn)(void *data, size_t from, size_t to, unsigned thread);

/* threads >= 1. Errors: WT_E_NOMEM, WT_E_BUSY (no more threads). */
int wt_pool_new(struct wt_pool **ret_pool, unsigned threads, struct wt_error *err);
void wt_pool_free(struct wt_pool *pool);
/* Binds the caller and each worker to a CPU of its own, a core each as long as there are cores; the
 * caller is set free again by wt_pool_free. Errors: WT_E_USAGE (fewer CPUs than threads),
 * WT_E_DENIED. */
int wt_pool_pin(struct wt_pool *pool, struct wt_error *err);
/* Whether that many could be: before they are started. Errors: those of wt_pool_pin. */
int wt_pool_can_pin(unsigned threads, struct wt_error *err);
/* The CPUs that wt_pool_pin takes, the caller's first: of those allowed one of each core, then the
 * others. root: "", or the folder of a recorded machine. Returns how many, at most count. */
unsigned wt_pool_choose(unsigned *ret_cpus, unsigned count, const cpu_set_t *allowed,
                        const char *root);
/* Runs fn over 0..count in pieces of `piece` (the last may be smaller), each by whoever is free;
 * returns when all are done. Threads: owner thread, not from inside fn. */
void wt_pool_run(struct wt_pool *pool, size_t count, size_t piece, wt_pool_fn fn, void *data);

#endif
