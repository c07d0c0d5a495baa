/* A setting that is always put back.
 *
 * Where wattuned answers, it keeps the lease: it decides who may set what, and several leases may
 * stand on one knob, of which the strictest holds. Otherwise this process does it. Either way the
 * value found goes to a journal on disk (fsync, directory too) before the first change. Without the
 * daemon a guardian process outside the workload's process group puts it back when the owner dies,
 * even by SIGKILL; what neither did, wt_lease_recover() does from the journal. */
#ifndef WATTUNE_LEASE_H
#define WATTUNE_LEASE_H

#include "wattune/device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_lease;

struct wt_lease_options {
    const char
        *state_dir;     /* journal; NULL: /var/lib/wattune for root, else $XDG_STATE_HOME/wattune.
                         * Emulated devices keep theirs inside the emulation's directory, always. */
    int64_t hold_ns;    /* after this the guardian puts back even when the owner lives but no
                         * longer does anything; 0: for as long as the owner lives */
    const char *socket; /* wattuned's; NULL: $WATTUNE_SOCKET, else the one of these devices; "none":
                         * without the daemon */
    bool is_without_guardian; /* tests only */
    bool is_dry_run;          /* wt_lease_recover: say what would be done, change nothing */
};

/* Opens the journal, puts back what dead owners left in it (as wt_lease_recover; what cannot be put
 * back is logged, and refuses a set of that knob), and starts the guardian. Sets nothing. Where the
 * state directory is not there yet, the first set that the device may take makes it and does all
 * that, with the errors below. The
 * devices are borrowed until wt_lease_close. A fork() of the owner may close the lease, which then
 * changes nothing; an exec of the owner without wt_lease_close ends it, and the guardian restores.
 * Errors: WT_E_IO, WT_E_DENIED, WT_E_FULL, WT_E_FORMAT (the journal is a newer Wattune's, or
 * none), WT_E_NOTFOUND (no guardian program, no $HOME), WT_E_TIMEOUT. Threads: owner thread. */
WT_API int wt_lease_open(struct wt_lease **ret_lease, struct wt_ctx *ctx,
                         struct wt_devices *devices, const struct wt_lease_options *options,
                         struct wt_error *err);

/* Sets one knob of one device: journals the value found (once a knob and device), sets, reads back.
 * *ret_enforced (may be NULL) is what the device says it obeys.
 * Errors: WT_E_RANGE (names the range), WT_E_DENIED, WT_E_UNSUPPORTED, WT_E_GONE, WT_E_BUSY
 * (another living lease holds this knob of this device), WT_E_CHANGED (someone else set it after
 * us: left to them, no longer held), WT_E_STATE (did not take, or past hold_ns), WT_E_FULL,
 * WT_E_IO. A locked clock cannot be read back from NVML: "not locked" is then taken as found, and
 * a change by someone else goes unseen. */
WT_API int wt_lease_set(struct wt_lease *lease, size_t device, enum wt_knob knob, int64_t value,
                        int64_t *ret_enforced, struct wt_error *err);

/* What has become of a setting of this lease. */
struct wt_lease_hold {
    bool is_lost;    /* no longer in force, and it stays lost until it is set again */
    bool is_own_end; /* lost as was asked for: after hold_ns */
    int64_t seen_ns; /* CLOCK_MONOTONIC: until when it is known to have been in force. When its time
                      * ends it, that is when; else the last look that found it so */
    int64_t span_ns; /* how long after it was set it ends by itself: by hold_ns, or since wattuned's
                      * policy lets it be held no longer; 0: it does not */
    char why[160];   /* it was lost, "wattuned was stopped"; "" */
};
/* Looks whether what was set is still on the device, and if not, why. A device that cannot be read
 * is taken to be as it was; a setting that cannot be read back (a locked clock) goes by its time
 * and by what wattuned says alone. Errors: WT_E_NOTFOUND (this lease did not set it). Threads:
 * owner thread. */
WT_API int wt_lease_look(struct wt_lease *lease, size_t device, enum wt_knob knob,
                         struct wt_lease_hold *ret_hold, struct wt_error *err);

/* Puts everything back that this lease changed, keeps the lease open. A value that is no longer
 * what we wrote was changed by someone else: it stays, WT_E_CHANGED. One device that refuses does
 * not stop the others; its record stays in the journal. Returns the first error; the context's
 * log is told of the others. */
WT_API int wt_lease_restore(struct wt_lease *lease, struct wt_error *err);

/* Restores, stops the guardian, frees. What a device refused to take back stays in the journal, and
 * the guardian goes on trying for a minute. Returns wt_lease_restore's result; lease may be NULL.
 */
WT_API int wt_lease_close(struct wt_lease *lease, struct wt_error *err);

/* Puts back what dead owners left in the journal. Calls fn (may be NULL) for each record: rc 0 put
 * back, WT_E_BUSY its owner lives (left alone), or why not. *ret_restored counts those put back.
 * Returns the first error of a record; WT_E_BUSY is none. Open the devices with no choice of GPUs
 * and without $CUDA_VISIBLE_DEVICES, so that none is missed. */
typedef void (*wt_recover_fn)(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                              int64_t written, int rc, const char *text);
WT_API int wt_lease_recover(struct wt_ctx *ctx, struct wt_devices *devices,
                            const struct wt_lease_options *options, wt_recover_fn fn, void *data,
                            size_t *ret_restored, struct wt_error *err);

/* As wt_devices_knob, of what a lease of this process may set: where wattuned answers, settable is
 * what its policy allows, and min and max are the policy's. Threads: owner thread. */
WT_API int wt_lease_knob(struct wt_ctx *ctx, struct wt_devices *devices, size_t device,
                         enum wt_knob knob, struct wt_knob_info *ret_info, struct wt_error *err);

/* What wattuned lets this process set, put into the findings of wt_survey() about settings that it
 * could not change by itself. Without a daemon nothing is changed. Threads: owner thread. */
WT_API void wt_lease_survey(struct wt_ctx *ctx, struct wt_devices *devices,
                            struct wt_finding *findings, size_t count);

#ifdef __cplusplus
}
#endif
#endif
