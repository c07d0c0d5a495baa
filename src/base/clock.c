/* clock: monotonic time for everything measured; wall time only to say when a run was. */
#include <errno.h>
#include <time.h>

#include "base/base.h"

static int64_t read_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

int64_t wt_clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t wt_clock_unix_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

int64_t wt_clock_thread_cpu_ns(void)
{
    return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

void wt_clock_sleep_until_ns(int64_t t_ns)
{
    if (t_ns < 0)
        return;
    struct timespec ts = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                          .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}
