/* Users: whose joules a device's were. Looks every second at which processes use it, and splits
 * what it drew meanwhile: docs/attribution.md has the rules. */
#ifndef WATTUNE_USERS_H
#define WATTUNE_USERS_H

#include "wattune/run.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_users;

/* The processes of the run are those that job_pid has started, and theirs (0: this process).
 * Starts a thread, as asking a driver may hang. ctx and devices are borrowed until wt_users_free.
 * Errors: WT_E_NOMEM. Threads: one thread at a time. */
WT_API int wt_users_new(struct wt_users **ret_users, struct wt_ctx *ctx, struct wt_devices *devices,
                        uint32_t job_pid, struct wt_error *err);
WT_API void wt_users_free(struct wt_users *users);
/* About once a second: so_far is wt_meter_peek's. The run's points tell what the devices draw when
 * idle. */
WT_API void wt_users_span(struct wt_users *users, const struct wt_window_result *so_far,
                          const struct wt_run *run);
/* After wt_run_set_window: writes who used what into the run's devices. Errors: WT_E_NOMEM. */
WT_API int wt_users_finish(struct wt_users *users, struct wt_run *run, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
