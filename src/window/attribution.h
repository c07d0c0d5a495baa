/* attribution: whose joules were they?
 *
 * A device's energy over a span is split into an idle row, a row for each process (or job, or
 * container: whoever has a weight), and a residual. The rows add up to the device exactly, in whole
 * microjoules, whatever the weights: what nobody can be shown to have used is residual, never
 * spread.
 *
 * The rules, named in every report:
 *   exclusive  one user had the device to himself: all of it is his, idle included.
 *   by share   idle power x span is the idle row (the device would have drawn it anyway); the rest
 *              goes by weight: GPU utilisation time (nvmlDeviceGetProcessUtilization) or CPU time
 *              (cgroup cpu.stat, /proc/PID/stat) against all such time on the device.
 *   part       MIG instances and other slices have no sensor of their own: the whole device is
 * split by slices held x time, and said to be. */
#ifndef WT_WINDOW_ATTRIBUTION_H
#define WT_WINDOW_ATTRIBUTION_H

#include "base/base.h"

enum wt_share_rule { WT_SHARE_EXCLUSIVE, WT_SHARE_BY_WEIGHT, WT_SHARE_PART };

/* "exclusive", "by share", "part". */
const char *wt_share_rule_name(enum wt_share_rule rule);

struct wt_share {
    uint32_t pid;
    char name[64];
    uint64_t weight; /* ns of utilisation, CPU time or slices x time, on this device in this span */
    uint64_t energy_uj; /* out */
};

struct wt_attribution {
    enum wt_share_rule rule;
    uint64_t device_uj; /* == idle_uj + sum of the shares' energy_uj + residual_uj */
    uint64_t idle_uj;
    uint64_t residual_uj;
};

/* Splits device_uj. idle_uj: idle power x span, cut to what there is. weight_total: all such time
 * on the device, also that of processes not listed (0 or less than the listed sum: the listed sum).
 * Rule EXCLUSIVE needs exactly one share; with none or several it becomes BY_WEIGHT.
 * Threads: any thread. */
void wt_attribute(enum wt_share_rule rule, uint64_t device_uj, uint64_t idle_uj,
                  uint64_t weight_total, struct wt_share *shares, size_t count,
                  struct wt_attribution *ret_attribution);

/* A device's energy over many spans, split as it comes. Processes come and go, and the device may
 * be lost for a while: at every moment the rows add up to the device, to the microjoule. */
#define WT_LEDGER_ROWS 128

struct wt_ledger {
    uint64_t device_uj; /* == idle_uj + residual_uj + sum of the rows' energy_uj */
    uint64_t idle_uj, residual_uj;
    struct wt_share rows[WT_LEDGER_ROWS]; /* the last gathers all that find no place of their own */
    size_t row_count;
    bool is_lost; /* the energy so far could not be told: what comes next is nobody's */
};
/* The device has drawn upto_uj since the begin; what is new is split by these shares (energy_uj in
 * them is written). A total that goes backwards (a better estimate) waits until it is passed. */
void wt_ledger_span(struct wt_ledger *ledger, uint64_t upto_uj, uint64_t idle_uj,
                    uint64_t weight_total, struct wt_share *shares, size_t count);
/* The energy so far is not known. */
void wt_ledger_lost(struct wt_ledger *ledger);
/* The device has drawn total_uj in all, whatever was thought meanwhile: what is new is split by the
 * shares, what was too much is taken back, from the residual first, then the idle row, then the
 * rows alike. */
void wt_ledger_close(struct wt_ledger *ledger, uint64_t total_uj, uint64_t idle_uj,
                     uint64_t weight_total, struct wt_share *shares, size_t count);

/* CPU time in ns that a process has used (user and system, its own and that of children it has
 * reaped). Errors: WT_E_GONE (no such process), WT_E_FORMAT. */
int wt_process_cpu_ns(const struct wt_ctx *ctx, uint32_t pid, uint64_t *ret_ns, char *name,
                      size_t name_size, struct wt_error *err);
/* Processes, however many there are. Empty: all 0. */
struct wt_pids {
    uint32_t *at; /* owned: free() */
    size_t count, room;
};
/* Adds the children of a process; of one that has ended none. Errors: WT_E_NOMEM, WT_E_DENIED,
 * WT_E_IO, WT_E_FORMAT; WT_E_RANGE: more than anything but a loop would have. */
int wt_process_children(const struct wt_ctx *ctx, uint32_t pid, struct wt_pids *io_pids,
                        struct wt_error *err);
/* CPU time in ns of a cgroup (v2 cpu.stat usage_usec; path as in /proc/PID/cgroup).
 * Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_FORMAT. */
int wt_cgroup_cpu_ns(const struct wt_ctx *ctx, const char *cgroup, uint64_t *ret_ns,
                     struct wt_error *err);
/* CPU time in ns that all CPUs have been busy since boot (/proc/stat: all but idle, iowait, and the
 * guest times that user time holds already). */
int wt_busy_cpu_ns(const struct wt_ctx *ctx, uint64_t *ret_ns, struct wt_error *err);

#endif
