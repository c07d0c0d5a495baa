/* The probe: what the sensors at hand are like, found out by watching them while the load changes.
 *
 * A sensor is polled quickly and what it shows is kept with the times of each call. When a value
 * changes tells the period; how the values follow a load whose edges are known tells the averaging
 * window and the delay. Emulated sensors are probed in the same way: nothing is looked up. */
#ifndef WATTUNE_PROBE_H
#define WATTUNE_PROBE_H

#include "wattune/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what was seen ---- */

/* One value and how long it was seen, by the starts and ends of the calls that returned it. */
struct wt_probe_run {
    uint64_t value; /* mW, or uJ of a counter */
    int64_t first_before_ns, first_after_ns, last_before_ns, last_after_ns;
    bool is_after_gap; /* nothing was read for long before it: its start is no change */
};

/* Everything one reading of a device has shown. */
struct wt_probe_series {
    struct wt_probe_run *runs; /* owned */
    size_t count, room;
    uint64_t reads, failures;
    int64_t t_failed_ns; /* the last read that failed; 0: none */
    int64_t poll_ns;     /* the usual time between two calls, smoothed */
};

/* Notes one reading; times ascend. Errors: WT_E_NOMEM. Threads: one thread a series. */
WT_API int wt_probe_series_add(struct wt_probe_series *series, int64_t before_ns, int64_t after_ns,
                               uint64_t value);
WT_API void wt_probe_series_fail(struct wt_probe_series *series, int64_t t_ns);
WT_API void wt_probe_series_done(struct wt_probe_series *series);

/* The load went on or off at some time between these. */
struct wt_probe_edge {
    int64_t lo_ns, hi_ns;
    bool is_on;
};

enum { WT_PROBE_POWER, WT_PROBE_PLAIN, WT_PROBE_ENERGY, WT_PROBE_STREAMS };

/* One device's recording. Power is the reading that windows use; plain is what plain power.draw
 * shows, where that is another one. */
struct wt_probe_trace {
    struct wt_probe_series series[WT_PROBE_STREAMS];
    struct wt_probe_edge
        *edges; /* owned; ascending, on and off in turn; the device was idle before */
    size_t edge_count, edge_room;
    double limit_w; /* the power limit; 0: unknown */
};

WT_API int wt_probe_trace_edge(struct wt_probe_trace *trace, int64_t lo_ns, int64_t hi_ns,
                               bool is_on);
WT_API void wt_probe_trace_done(struct wt_probe_trace *trace);

/* A recording as a text file (src/window/probe_trace.c has the form), and back. It names the model
 * and the driver, not the board. Reading fills what a probe knows of the device but its traits.
 * Errors: WT_E_DENIED, WT_E_IO, WT_E_FULL, WT_E_NOTFOUND, WT_E_FORMAT, WT_E_NOMEM. */
WT_API int wt_probe_trace_write(const struct wt_probe_trace *trace,
                                const struct wt_device_info *info, const char *path,
                                struct wt_error *err);
WT_API int wt_probe_trace_read(const char *path, struct wt_probe_trace *ret_trace,
                               struct wt_device_info *ret_info, struct wt_error *err);

/* ---- what follows from it ---- */

/* A number with its 95 % interval, or why it could not be told. */
struct wt_probed {
    bool is_known;
    double value, low, high; /* NaN while not known */
    char why[100];           /* when it is not */
};

/* What is wrong with a sensor, or'ed. */
enum {
    WT_PROBE_FROZEN = 1u << 0,   /* stood still while the load changed, or energy was drawn */
    WT_PROBE_JUMPED = 1u << 1,   /* power beyond what the board can draw */
    WT_PROBE_NEGATIVE = 1u << 2, /* the counter ran backwards */
    WT_PROBE_FAILING = 1u << 3,  /* reads failed */
};

enum wt_probe_shape {
    WT_PROBE_SHAPE_UNKNOWN,
    WT_PROBE_SHAPE_WINDOW, /* the mean over a window */
    WT_PROBE_SHAPE_RISE,   /* follows the load exponentially: window_s is twice the time constant,
                              the running mean that lags as much */
};

/* One reading of a device. */
struct wt_probe_sensor {
    bool is_there; /* the device has it */
    uint64_t reads, failures, changes;
    double poll_s; /* time between two polls */
    struct wt_probed period_s;
    enum wt_probe_shape shape;
    struct wt_probed window_s, delay_s;
    struct wt_probed rise_s;  /* time constant, of WT_PROBE_SHAPE_RISE */
    struct wt_probed quantum; /* the step: W of power, J of a counter */
    double low_w, high_w;     /* what it shows without and with the load; NaN: not known */
    double fit;               /* share of the reading's variation that the load explains; NaN */
    unsigned faults;          /* WT_PROBE_* */
    char fault[160];          /* the first of them in words */
};

enum wt_probe_plain {
    WT_PROBE_PLAIN_UNKNOWN,
    WT_PROBE_PLAIN_INSTANT,
    WT_PROBE_PLAIN_AVERAGE, /* a running mean of about 1 s */
};

/* Parts of the traits. */
enum {
    WT_PROBE_FOUND_ENERGY_PERIOD = 1u << 0,
    WT_PROBE_FOUND_ENERGY_QUANTUM = 1u << 1,
    WT_PROBE_FOUND_ENERGY_WINDOW = 1u << 2,
    WT_PROBE_FOUND_POWER_PERIOD = 1u << 3,
    WT_PROBE_FOUND_POWER_SHAPE = 1u << 4, /* window, delay, and whether it is a running mean */
};

struct wt_probe_result {
    char id[96], name[96], driver[80], source[16];
    bool is_emulated;
    char load[160]; /* what ran, or why nothing did */
    bool is_loaded;
    double seconds;
    char date[24]; /* the day, UTC: "2026-01-31" */
    struct wt_probe_sensor sensors[WT_PROBE_STREAMS];
    enum wt_probe_plain plain; /* what nvidia-smi's power.draw is */
    /* The counter's joules over those of the power reading, and whether that is 1 within their
     * interval and the sensors' gain. */
    struct wt_probed ratio;
    bool is_ratio_within;
    /* What windows will use: what was found in place of what was assumed; and the bits of which it
     * is. */
    struct wt_sensor_traits traits, traits_before;
    unsigned found; /* WT_PROBE_FOUND_* */
};

/* Works out what a recording shows. Pure. Errors: WT_E_NOMEM. */
WT_API int wt_probe_analyse(const struct wt_probe_trace *trace, const struct wt_device_info *info,
                            struct wt_probe_result *ret_result, struct wt_error *err);

/* Owned by the caller: free(). NULL only without memory. */
WT_API char *wt_probe_to_json(const struct wt_probe_result *results, size_t count);

/* Keeps what was found for the devices of later runs: by id below $XDG_DATA_HOME/wattune/sensors,
 * of an emulated device in its emulation, with which it goes. ret_path (may be NULL) receives
 * where. Errors: WT_E_STATE (no load ran, nothing was found, or the sensors are
 * faulty: nothing to keep),
 * WT_E_DENIED, WT_E_IO, WT_E_FULL, WT_E_NOTFOUND (no folder to keep it in). */
WT_API int wt_probe_store(struct wt_ctx *ctx, const struct wt_probe_result *result, char *ret_path,
                          size_t size, struct wt_error *err);

/* ---- recording ---- */

struct wt_probe;

/* Polls one device on a thread of its own until wt_probe_finish. The devices are borrowed until
 * then. Errors: WT_E_UNSUPPORTED (neither power nor energy can be read, or it is modeled or
 * recorded), WT_E_NOMEM. */
WT_API int wt_probe_start(struct wt_probe **ret_probe, struct wt_ctx *ctx,
                          struct wt_devices *devices, size_t device, struct wt_error *err);
/* The load went on or off between these times. Threads: one thread. */
WT_API int wt_probe_edge(struct wt_probe *probe, int64_t lo_ns, int64_t hi_ns, bool is_on);
/* Ends polling and analyses. Frees the probe, whatever it returns. load and is_loaded go into the
 * result; trace_path (may be NULL) is where the recording is written. trace_err (may be NULL) says
 * why that failed, as wt_probe_trace_write does, and costs nothing of the result; it is left alone
 * otherwise. Errors: WT_E_TIMEOUT (a read never came back), WT_E_NOMEM. */
WT_API int wt_probe_finish(struct wt_probe *probe, const char *load, bool is_loaded,
                           const char *trace_path, struct wt_probe_result *ret_result,
                           struct wt_error *trace_err, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
