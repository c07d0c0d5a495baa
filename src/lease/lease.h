/* lease: what its files share, and the seam where tests put devices of their own.
 *
 * lease.c (the interface), restore.c (putting back, by whomever), stack.c (claims), guardian.c
 * (starting and ending the guardian), guardian_main.c (the guardian itself), devices.c (the real
 * devices behind the seam), journal.c and owner.c (see journal.h). */
#ifndef WT_LEASE_LEASE_H
#define WT_LEASE_LEASE_H

#include "base/base.h"
#include "lease/journal.h"
#include "wattune/lease.h"

/* What a lease does to devices, and nothing more. All functions are required. */
struct wt_lease_ops {
    size_t (*count)(void *data);
    /* Stable id; borrowed. */
    const char *(*id)(void *data, size_t i, bool *ret_is_emulated);
    /* *ret_is_blind: the device cannot tell this setting, current is what it is after a start. */
    int (*read)(void *data, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
                bool *ret_is_blind, struct wt_error *err);
    int (*set)(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err);
    /* Puts back a value that read gave as current. */
    int (*restore)(void *data, size_t i, enum wt_knob knob, int64_t value, struct wt_error *err);
    void *data;
};

/* ---- devices.c ---- */

/* devices is borrowed for as long as the ops are used. */
struct wt_lease_ops wt_lease_ops_devices(struct wt_devices *devices);
/* The directory of the journal for these devices, absolute, not made yet. Errors: WT_E_STATE
 * (emulated devices without $WATTUNE_EMULATION), WT_E_NOTFOUND (no $HOME). */
int wt_lease_state_dir(const struct wt_ctx *ctx, struct wt_devices *devices, const char *wanted,
                       char *buf, size_t size, struct wt_error *err);

/* ---- lease.c ---- */

/* wt_lease_open over any devices; guardian: the program to watch over it, NULL: none. */
int wt_lease_open_on(struct wt_lease **ret_lease, struct wt_ctx *ctx,
                     const struct wt_lease_ops *ops, const char *dir, const char *guardian,
                     int64_t hold_ns, const struct wt_journal_trace *trace, struct wt_error *err);

/* ---- restore.c ---- */

/* Who asks, and thereby whose entries are his to put back. */
struct wt_restorer {
    const struct wt_ctx *ctx;
    struct wt_journal *journal;
    struct wt_lease_ops ops;
    struct wt_owner self;
    const struct wt_owner *watched; /* a guardian's: entries of this owner too, alive or not */
    bool is_dry;                    /* look, change nothing */
    bool is_daemon;                 /* claims are its table's, not wt_restore_all's */
};

/* Whether a value is one that this entry's owner left on the device. */
bool wt_lease_is_ours(const struct wt_lease_record *r, int64_t current);
/* The device of the entry's id, or -1. */
int64_t wt_lease_find_device(const struct wt_lease_ops *ops, const struct wt_lease_record *r);
/* Puts one entry back and closes it in the journal. The restorer owns the entry, so that nobody
 * else acts on it. is_memory: the journal does not answer; put back from this record all the same.
 * Errors: WT_E_CHANGED (left as it is, closed), and those of the device: the entry stays open. */
int wt_restore_entry(const struct wt_restorer *who, struct wt_lease_record *r,
                     struct wt_error *err);
/* After the last entry: brings what was noted to the disk. */
void wt_restore_done(const struct wt_restorer *who);
/* Makes the restorer the owner of the entry if it may be: WT_E_BUSY, its owner lives;
 * WT_E_NOTFOUND, it was closed meanwhile. *r becomes the entry as it is now. */
int wt_restore_claim(const struct wt_restorer *who, struct wt_lease_record *r,
                     struct wt_error *err);
/* Leaves the entry to nobody: anyone may restore it. */
void wt_restore_disown(const struct wt_restorer *who, struct wt_lease_record *r);
/* All entries (lease 0) or those of one lease. is_disowning: what could not be put back is left to
 * anyone; else it stays the restorer's, for a next try. *ret_left counts entries still open that
 * were this restorer's to close. Returns the first error of an entry; WT_E_BUSY is none. */
int wt_restore_all(const struct wt_restorer *who, uint64_t lease, bool is_disowning,
                   wt_recover_fn fn, void *data, size_t *ret_restored, size_t *ret_left,
                   struct wt_error *err);

/* Puts back what dead owners - claims apart - left of one knob of one device. 0: nothing of theirs
 * is left. Errors: WT_E_BUSY (one lives), and those of the device. */
int wt_restore_device(const struct wt_restorer *who, const char *device, enum wt_knob knob,
                      struct wt_error *err);
/* The two stories of an entry that is not put back. Return WT_E_GONE and WT_E_CHANGED. */
int wt_restore_fail_gone(const struct wt_lease_record *r, struct wt_error *err);
int wt_restore_fail_changed(const struct wt_restorer *who, const struct wt_lease_record *r,
                            int64_t current, struct wt_error *err);

/* ---- stack.c: claims, of which several may stand on one knob of one device ---- */

/* Whether claims on this knob may overlap: it has an order, and the least is the strictest. */
bool wt_lease_is_stackable(enum wt_knob knob);
/* The stricter of two values; a clock of 0, not locked, is the least strict. */
int64_t wt_lease_stricter(enum wt_knob knob, int64_t a, int64_t b);
/* Ends all claims on the slot's knob and device whose clients are gone: the device gets the
 * strictest of those that stay, or what was found. fn is told of each. Errors: WT_E_BUSY (a daemon
 * answers for them, they live, or another restorer is at it), WT_E_NOTFOUND, WT_E_CHANGED (closed,
 * left as it is), and those of the device: they stay open, *ret_left of them. */
int wt_restore_stack(const struct wt_restorer *who, const struct wt_lease_record *slot,
                     wt_recover_fn fn, void *data, size_t *ret_ended, size_t *ret_left,
                     struct wt_error *err);

/* ---- guardian.c ---- */

struct wt_guardian {
    int socket; /* our end; -1: none */
};
/* Returns once the guardian watches. sysroot and nvml_library are the context's. */
int wt_guardian_start(struct wt_guardian *ret_guardian, const struct wt_ctx *ctx,
                      const char *program, const char *dir, uint64_t lease,
                      const struct wt_owner *owner, int64_t deadline_ns, struct wt_error *err);
/* is_released: everything is back, the guardian may go; else it goes on with the restoring. */
void wt_guardian_stop(struct wt_guardian *guardian, bool is_released);
#define WT_GUARDIAN_PROGRAM "wattune-guardian"
#define WT_GUARDIAN_FD      3

#endif
