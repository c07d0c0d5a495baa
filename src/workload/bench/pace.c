/* What a training run decides by numbers alone: when it waits for the device, and when it is given
 * up. */
#include <math.h>

#include "base/base.h"
#include "workload/bench/bench.h"

/* On a GPU steps are queued, and reading a loss waits for them: often enough to be seen, to stop in
 * time when training breaks down and when its time is up, but not each time. */
#define WAIT_EVERY_NS (50 * WT_NS_PER_MS)

bool bench_pace_is_due(struct bench_pace *p, int64_t now_ns, int64_t end_ns)
{
    p->queued++;
    int64_t ahead_ns = (int64_t)p->queued * p->step_ns; /* what the device has to do since then */
    return p->step_ns == 0 || ahead_ns >= WAIT_EVERY_NS || now_ns - p->from_ns >= WAIT_EVERY_NS ||
           (end_ns > 0 && p->from_ns + ahead_ns >= end_ns);
}

void bench_pace_waited(struct bench_pace *p, int64_t now_ns)
{
    if (p->queued)
        p->step_ns = (now_ns - p->from_ns) / p->queued;
    if (p->step_ns < 1)
        p->step_ns = 1;
    p->queued = 0;
    p->from_ns = now_ns;
}

/* A model that knows its text begins with a small loss, and twice that is no catastrophe; worse
 * than twice guessing is one. */
bool bench_is_diverging(double first, double smooth, double choices)
{
    return smooth > 2 * fmax(first, log(choices));
}
