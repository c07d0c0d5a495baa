/* thread: threads and condition variables as all of the library wants them. */
#include <pthread.h>
#include <signal.h>

#include "base/base.h"

int wt_thread_start(pthread_t *ret_thread, void *(*run)(void *data), void *data)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(ret_thread, NULL, run, data);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc ? WT_E_NOMEM : 0;
}

void wt_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}
