/* peer: who is at the other end of a connection, as the kernel says; and the Slurm jobs that root
 * has told of. Nothing that a client says about itself is believed. */
#ifndef WT_DAEMON_PEER_H
#define WT_DAEMON_PEER_H

#include "lease/lease.h"

#define WT_PEER_GROUPS 256

struct wt_peer {
    struct wt_owner owner; /* pid 0: of a pid namespace that cannot be seen from here */
    uint32_t uid, gid;
    uint32_t groups[WT_PEER_GROUPS];
    size_t group_count;
    int pidfd; /* -1: none */
};
/* Its user alone, which costs next to nothing. Errors: WT_E_IO. */
int wt_peer_uid(int socket, uint32_t *ret_uid, struct wt_error *err);
/* Errors: WT_E_IO, WT_E_NOTFOUND (it has ended already). */
int wt_peer_of(int socket, const struct wt_owner *self, struct wt_peer *ret_peer,
               struct wt_error *err);
void wt_peer_done(struct wt_peer *peer);

/* For each device the minor number of its node (/dev/nvidiaN), by /proc/driver/nvidia; -1: none. */
void wt_peer_nodes(const struct wt_ctx *ctx, const char (*ids)[96], size_t count, int *ret_minors);
/* A bit for each device whose node belongs to this user, who is not root. */
uint64_t wt_peer_node_devices(const struct wt_ctx *ctx, const int *minors, size_t count,
                              uint32_t uid);

/* ---- allocations: which Slurm job has which devices ---- */

#define WT_ALLOCATIONS 1024

struct wt_allocation {
    uint32_t job, uid;
    uint64_t devices;
    int64_t begun_ns; /* CLOCK_MONOTONIC of the telling, or of our start */
};
struct wt_allocations {
    char path[4352]; /* kept there, so that a restart knows them; "": nowhere */
    struct wt_allocation list[WT_ALLOCATIONS];
    size_t count;
};
/* Reads what is kept; ids name the devices. What cannot be read is as if it were not there. */
void wt_allocations_load(struct wt_allocations *all, const char *path, const char (*ids)[96],
                         size_t count);
const struct wt_allocation *wt_allocations_find(const struct wt_allocations *all, uint32_t job);
/* Errors: WT_E_FULL, WT_E_IO (it holds all the same, until the daemon ends). */
int wt_allocations_set(struct wt_allocations *all, const struct wt_allocation *allocation,
                       const char (*ids)[96], size_t count, struct wt_error *err);
/* Whether there was one. */
bool wt_allocations_remove(struct wt_allocations *all, uint32_t job, const char (*ids)[96],
                           size_t count);

#endif
