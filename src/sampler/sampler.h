/* sampler: when devices are read. One thread a source, absolute deadlines, its own cost measured.
 *
 * Readings go to a sink, from the thread that read them. What a reading means is the window's
 * business. A vendor call that does not come back takes its own device with it and nothing else: a
 * supervisor moves the other devices of its thread to a new one, and stopping leaves the hung
 * thread behind, which frees what is its own should the call ever return.
 *
 * Internal to the library. */
#ifndef WT_SAMPLER_SAMPLER_H
#define WT_SAMPLER_SAMPLER_H

#include "base/base.h"
#include "wattune/device.h"

struct wt_sampler;

/* In a sink's what: the counter is slow to read, and may be read rarely. */
#define WT_READ_SLOW (1u << 17)

/* A reading of device i is in; or rc < 0 and err says why a part of it is not. Called from the
 * sampling threads, for one device never from two at once. is_grid: one of the regular polls. */
typedef void (*wt_sampler_sink)(void *data, size_t device, unsigned what, bool is_grid,
                                const struct wt_reading *reading, int rc,
                                const struct wt_error *err);

/* Where readings come from: wt_devices_read, or a test's double. */
typedef int (*wt_sampler_read)(void *devices, size_t device, unsigned what,
                               struct wt_reading *ret_reading, struct wt_error *err);

struct wt_sampler_options {
    int64_t period_ns;    /* 0: 100 ms */
    int64_t hang_ns;      /* a read out for longer is hung; 0: 500 ms */
    int64_t stop_ns;      /* how long stopping waits for a read; 0: 300 ms */
    wt_sampler_read read; /* never NULL */
    void *devices;        /* handed to read */
    wt_sampler_sink sink; /* never NULL */
    void *sink_data;      /* not touched after wt_sampler_free */
};

/* infos: borrowed during the call. Errors: WT_E_NOMEM. */
int wt_sampler_new(struct wt_sampler **ret_sampler, struct wt_ctx *ctx,
                   const struct wt_device_info *const *infos, size_t count,
                   const struct wt_sampler_options *options, struct wt_error *err);
void wt_sampler_free(struct wt_sampler *sampler);

/* How often a counter must be polled at least, and is, whatever was asked for: twice in the time in
 * which it wraps at full power. range_uj 0: it does not wrap. power_max_mw 0: not known, then more
 * than any device draws. */
int64_t wt_sampler_period_ns(int64_t asked_ns, uint64_t range_uj, uint64_t power_max_mw);

/* May this device's counter be read rarely, should its reads be slow? Only of one that is known to
 * see all of the time can a long span be taken as a whole; what goes on in it must be seen by power
 * readings of a known pace; one that wraps is read as often as that asks, and one with a pace of
 * its own not when an edge does. */
bool wt_sampler_may_be_rare(const struct wt_device_info *info);

/* A window began or ended at t_ns: a store, no more; only where a counter is so slow that it is
 * read rarely, its thread is woken to read it. Threads: any thread. */
void wt_sampler_edge(struct wt_sampler *sampler, int64_t t_ns);
/* Somebody waits until this device has been read for times up to t_ns: takes effect with the next
 * wt_sampler_wake. Threads: any thread. */
void wt_sampler_cover(struct wt_sampler *sampler, size_t device, int64_t t_ns);
/* From now on every move of every counter is caught finely. Threads: any thread. */
void wt_sampler_follow(struct wt_sampler *sampler);
/* What devices say of their state (limits, clocks) is read with the next poll, not when it is due:
 * something was set. Threads: any thread. */
void wt_sampler_refresh(struct wt_sampler *sampler);
/* Has the threads look at what was asked for now, not at their next poll. Threads: any thread. */
void wt_sampler_wake(struct wt_sampler *sampler);

/* Since when the process has run without a stop (Ctrl-Z, SIGSTOP, a suspended machine) of more than
 * the options' hang_ns; INT64_MIN: always. Threads: any thread. */
int64_t wt_sampler_runs_since_ns(const struct wt_sampler *sampler);

struct wt_sampler_cost {
    int64_t cpu_ns;
    uint64_t reads, failures;
    unsigned hung; /* devices whose read is out at this moment and overdue */
};
void wt_sampler_cost(struct wt_sampler *sampler, struct wt_sampler_cost *ret_cost);

#endif
