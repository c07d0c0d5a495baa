/* deadline: a vendor call that may hang, made on a thread of its own.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_DEADLINE_H
#define WT_SENSOR_DEADLINE_H

#include "base/base.h"

/* Runs run(job) on another thread and returns what it returns, with *ret_abandoned false. When it
 * has not come back after timeout_ns, returns WT_E_TIMEOUT with *ret_abandoned true, and the job
 * belongs to that thread, which calls drop(job) should the call ever return: the thread is never
 * cancelled, for it may hold the vendor's locks. Otherwise the job still belongs to the caller.
 * INT64_MAX: no deadline, so run is called on this very thread, which is the caller's to lose.
 * All signals are blocked in the other thread. Errors: besides, WT_E_NOMEM (no thread; run was not
 * called). Threads: any thread. */
int wt_deadline_run(int (*run)(void *job), void (*drop)(void *job), void *job, int64_t timeout_ns,
                    bool *ret_abandoned);

#endif
