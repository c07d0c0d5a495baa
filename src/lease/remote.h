/* remote: a lease that wattuned keeps for this process. Same promises as one of our own; the daemon
 * does what journal and guardian do otherwise. */
#ifndef WT_LEASE_REMOTE_H
#define WT_LEASE_REMOTE_H

#include "lease/lease.h"

struct wt_remote;

/* Errors: WT_E_NOTFOUND (no daemon answers: the caller does it himself), WT_E_MIXED (it serves
 * emulated devices and these are real, or the other way round), and those of wt_client_open. */
int wt_remote_open(struct wt_remote **ret_remote, struct wt_ctx *ctx,
                   const struct wt_lease_ops *ops, const char *socket, int64_t deadline_ns,
                   struct wt_error *err);
/* Does not release: the end of the connection does. */
void wt_remote_free(struct wt_remote *remote);
/* What wattuned says of a claim. */
struct wt_remote_claim {
    int64_t effective; /* on the device: another's may be stricter */
    int64_t enforced;
    int64_t hold_ns; /* it ends by itself after this; 0: no end */
};
int wt_remote_set(struct wt_remote *remote, size_t device, enum wt_knob knob, int64_t value,
                  struct wt_remote_claim *ret_claim, struct wt_error *err);
/* It said that it was stopped; waits so long for that. remote may be NULL. */
bool wt_remote_has_stopped(struct wt_remote *remote, int64_t wait_ns);
int wt_remote_restore(struct wt_remote *remote, struct wt_error *err);

#endif
