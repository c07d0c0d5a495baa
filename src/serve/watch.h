/* watch: something is looked at every so often by a thread of its own, since the look may hang (a
 * daemon, a driver). And the two things that are: what wattuned holds, and who uses the GPUs.
 *
 * Internal to the library. */
#ifndef WT_SERVE_WATCH_H
#define WT_SERVE_WATCH_H

#include "base/base.h"
#include "wattune/live.h"

struct wt_watch;

/* look(data) is called now and every period_ns after it has returned. drop(data) is called once
 * neither the thread nor the caller needs it any more. On failure it has been called. Errors:
 * WT_E_NOMEM. */
int wt_watch_start(struct wt_watch **ret_watch, void (*look)(void *data), void (*drop)(void *data),
                   void *data, int64_t period_ns);
/* Waits a little for a look that goes on, then leaves it behind. */
void wt_watch_stop(struct wt_watch *watch);

/* ---- leases.c ---- */

struct wt_lease_watch;

int wt_lease_watch_new(struct wt_lease_watch **ret_watch, const struct wt_ctx *ctx,
                       bool is_emulated, struct wt_error *err);
void wt_lease_watch_free(struct wt_lease_watch *watch);
/* Fills what a state says of wattuned; titles are the ids of the devices. Errors: WT_E_NOMEM. */
int wt_lease_watch_copy(struct wt_lease_watch *watch, struct wt_live_state *state);

/* ---- processes.c ---- */

struct wt_process_watch;

/* ctx and devices: borrowed until it is freed. */
int wt_process_watch_new(struct wt_process_watch **ret_watch, const struct wt_ctx *ctx,
                         struct wt_devices *devices, struct wt_error *err);
void wt_process_watch_free(struct wt_process_watch *watch);
/* Fills what a state says of processes. Errors: WT_E_NOMEM. */
int wt_process_watch_copy(struct wt_process_watch *watch, struct wt_live_state *state);

/* The name of a user, or the number. Asks the system's databases, which may take long. */
const char *wt_user_name(uint32_t uid, char *buf, size_t size);

#endif
