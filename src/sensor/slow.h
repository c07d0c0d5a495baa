/* slow: a number that takes its time to get (a BMC, a program), asked for in the background.
 *
 * Reading never waits: it hands out the last answer, as a sensor does that is renewed once in a
 * period, and has the next one asked for when it is due. So a BMC that hangs holds nobody up, and
 * stopping does not wait for it.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_SLOW_H
#define WT_SENSOR_SLOW_H

#include "base/base.h"

struct wt_slow;

/* Asks once, and takes as long as it takes; should come back when stop_fd can be read. Called from
 * one thread, never twice at a time. */
typedef int (*wt_slow_ask)(void *data, int stop_fd, uint64_t *ret_value, struct wt_error *err);

/* Asks for the first time and waits for that, at most for deadline_ns. data belongs to it from now
 * on, also when this fails: drop(data) is called when nobody asks any more. Errors: those of ask,
 * WT_E_TIMEOUT, WT_E_NOMEM. */
int wt_slow_open(struct wt_slow **ret_slow, const struct wt_ctx *ctx, wt_slow_ask ask,
                 void (*drop)(void *data), void *data, int64_t period_ns, int64_t deadline_ns,
                 struct wt_error *err);
/* The last answer. Errors: its own; WT_E_TIMEOUT when it is older than two periods and twice what
 * one took. Threads: any thread. */
int wt_slow_read(struct wt_slow *slow, const struct wt_ctx *ctx, uint64_t *ret_value,
                 struct wt_error *err);
/* How long the first one took. */
int64_t wt_slow_took_ns(const struct wt_slow *slow);
/* Returns when nobody asks any more, or leaves behind who does not come back. */
void wt_slow_close(struct wt_slow *slow);
/* Waits until what is being asked has been answered. For tests. */
void wt_slow_settle(struct wt_slow *slow);

#endif
