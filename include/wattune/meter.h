/* The meter: samples devices in the background and reads the energy of windows off the samples.
 *
 * A window's two ends are only noted when they happen (begin and end never wait for a sensor); its
 * energy is interpolated on the series of sensor ticks when the result is asked for. */
#ifndef WATTUNE_METER_H
#define WATTUNE_METER_H

#include "wattune/device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_meter;

struct wt_meter_options {
    int64_t period_ns;  /* polling period; 0: 100 ms, finer near the ends of windows */
    double confidence;  /* of the bounds; 0: 0.95 */
    int64_t history_ns; /* ticks are kept for this long; 0: 1 h. Around the ends of windows still
                           wanted they are kept for as long as that takes, thinned in between */
};

/* Starts one sampling thread a source over the devices, and one that looks after them. The devices
 * are borrowed until wt_meter_free and must not be read by others meanwhile. Errors: WT_E_NOMEM,
 * WT_E_STATE (no device to sample is not an error: windows then hold time only). Threads: owner
 * thread. */
WT_API int wt_meter_new(struct wt_meter **ret_meter, struct wt_ctx *ctx, struct wt_devices *devices,
                        const struct wt_meter_options *options, struct wt_error *err);
/* Stops the threads and frees; open windows are lost. */
WT_API void wt_meter_free(struct wt_meter *meter);

/* A window is a pair of times and an amount of work; ids are never reused within a meter.
 * Windows may overlap and nest. Threads: any thread; under 1 us, and some 10 us where a counter is
 * so slow to read (NVIDIA's on Hopper) that it is read at a window's edges: its thread is woken. */
WT_API int wt_meter_begin(struct wt_meter *meter, const char *name, uint64_t *ret_window);
WT_API int wt_meter_end(struct wt_meter *meter, uint64_t window);
/* The same at a moment that has passed (a mark of the program, heard of a little later); what the
 * meter has forgotten by then is a gap. A moment to come counts as now. */
WT_API int wt_meter_begin_at(struct wt_meter *meter, const char *name, int64_t t_ns,
                             uint64_t *ret_window);
WT_API int wt_meter_end_at(struct wt_meter *meter, uint64_t window, int64_t t_ns);
WT_API int wt_meter_cancel(struct wt_meter *meter, uint64_t window);

/* Energy of one device in one window. */
struct wt_window_device {
    size_t device; /* index in the devices */
    struct wt_joules energy;
    enum wt_provenance method; /* WT_PROV_COUNTER or _SAMPLED (energy.provenance says emulated) */
    double mean_w;             /* NaN when the energy is unknown */
    double max_w; /* highest power reading seen, or the mean where that is more; NaN when
                     there is none, or it disagrees with the mean */
    /* The same window by the other method, where the device has both: a cross-check. */
    struct wt_joules check;
    bool is_check_off; /* the two intervals do not meet: said in note, never averaged */
    char note[160];    /* why it is unknown, or what widened it; "" */
};

/* A span in which a device could not be read. */
struct wt_window_gap {
    size_t device;
    int64_t from_ns, to_ns;
    double bound_j; /* the most that may have been drawn unseen; INFINITY when unknown */
    char why[120];
};

struct wt_window_result {
    char name[64];
    int64_t begin_ns, end_ns;
    struct wt_window_device *devices; /* owned */
    size_t device_count;
    struct wt_window_gap *gaps; /* owned */
    size_t gap_count;
    struct wt_joules total;    /* over the devices that are counted (wt_device_info.is_counted) */
    char weakest[96];          /* the id of the device whose provenance the total has */
    bool has_estimate;         /* some of the node is not measured, and a model stands in for it: */
    struct wt_joules estimate; /* the total and what is modeled beside it */
};

/* Waits (at most wait_ns) until the samples cover the end of the window, then fills the result.
 * Errors: WT_E_STATE (still open or cancelled), WT_E_NOTFOUND, WT_E_NOMEM. After it the window is
 * forgotten. Threads: any thread. */
WT_API int wt_meter_result(struct wt_meter *meter, uint64_t window, int64_t wait_ns,
                           struct wt_window_result *ret_result, struct wt_error *err);
/* The energies so far of a window that goes on, up to now: never waits, and the window stays open.
 * Errors: WT_E_NOTFOUND, WT_E_NOMEM. Threads: any thread. */
WT_API int wt_meter_peek(struct wt_meter *meter, uint64_t window,
                         struct wt_window_result *ret_result, struct wt_error *err);
WT_API void wt_window_result_done(struct wt_window_result *result);

/* One point of the trace for plots and live views. */
struct wt_trace_point {
    int64_t t_ns;
    size_t device;
    double power_w; /* NaN: not readable then */
    double temp_c;  /* NaN: unknown */
    double clock_mhz;
    double limit_w;
    uint64_t throttle;   /* WT_THROTTLE_* */
    int64_t t_status_ns; /* when all but the power was read; INT64_MIN: never */
};
/* Called from sampling threads, at most once a polling period a device. Set before the first
 * window; fn must not block. */
typedef void (*wt_trace_fn)(void *data, const struct wt_trace_point *point);
WT_API void wt_meter_on_trace(struct wt_meter *meter, wt_trace_fn fn, void *data);

/* The latest power of a device, NaN when unknown. Threads: any thread. */
WT_API double wt_meter_power_w(struct wt_meter *meter, size_t device);

/* The latest status of a device, which is read about once a second; false: none was read since
 * since_ns. Threads: any thread. */
WT_API bool wt_meter_status(struct wt_meter *meter, size_t device, int64_t since_ns,
                            struct wt_status *ret_status);

/* What devices say of their state (limits, clocks) is read anew with the next poll: something was
 * set, and what was read before does not hold any more. Threads: any thread. */
WT_API void wt_meter_refresh(struct wt_meter *meter);

/* What measuring cost: CPU seconds of the sampling threads so far, reads done, reads that failed.
 */
struct wt_meter_cost {
    double cpu_s;
    double wall_s;
    uint64_t reads, failures;
};
WT_API void wt_meter_cost(struct wt_meter *meter, struct wt_meter_cost *ret_cost);

#ifdef __cplusplus
}
#endif
#endif
