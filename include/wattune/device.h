/* The devices of this machine: what can be read, what can be set, and why not.
 *
 * A set of devices belongs to the thread that opened it (owner thread), except where said. */
#ifndef WATTUNE_DEVICE_H
#define WATTUNE_DEVICE_H

#include "wattune/ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_devices;

/* What a sensor is like: decides how a window is read off it and how wide its bound is.
 * A 0 period means "unknown": the window then assumes the worst of its kind.
 * Sources: docs/sensors.md, by generation; `wattune probe` replaces them by measured ones. */
struct wt_sensor_traits {
    int64_t energy_period_ns;   /* the counter is refreshed this often */
    uint64_t energy_quantum_uj; /* and moves in such steps */
    uint64_t energy_range_uj; /* what the hardware counts to before it starts anew (the source adds
                                 that up if it is read in time); 0: unknown, or practically never */
    int64_t energy_window_ns; /* and sees this long of each power_period_ns, or all of the time
                                 when it is no shorter; 0: unknown, all or as the power reading */
    int64_t power_period_ns;  /* the power reading is refreshed this often */
    int64_t power_window_ns;  /* and is the mean over this long before the refresh */
    int64_t power_delay_ns;   /* and shows up this late */
    uint32_t gain_ppm;        /* proportional error of the sensor, two-sided, 95 % */
    uint32_t offset_mw;       /* additive error of the sensor, two-sided, 95 % */
    bool is_power_averaged;   /* the plain reading is a running mean longer than its period */
    /* Of a model (WT_MODELED): the truth may be lower than what it says by this share and this
     * much, and higher by that. One-sided, and no errors that average out: they add up as they
     * stand. Where any is set they are used, and gain and offset hold the wider side. */
    uint32_t model_low_ppm, model_high_ppm;
    uint32_t model_low_mw, model_high_mw;
};

enum {
    WT_CAN_ENERGY = 1u << 0,
    WT_CAN_POWER = 1u << 1,
    WT_CAN_STATUS = 1u << 2,
    WT_CAN_PLAIN =
        1u << 3, /* the vendor's plain power reading, where WT_CAN_POWER is another one */
};

struct wt_device_info {
    char id[96];      /* stable: GPU UUID, "cpu-package-0", ... */
    char name[96];    /* what people call it */
    char source[16];  /* the sensor that reads it: "nvml", "rapl", "amdgpu", "ipmi", "model", ... */
    char driver[80];  /* driver version, or "" */
    char via[16];     /* of several ways to read it, the one taken ("perf", "powercap"), or "" */
    char address[24]; /* PCI address, "0000:c1:00.0", or "" */
    enum wt_device_kind kind;
    unsigned index;   /* within its kind, as the vendor's tools number it */
    unsigned can;     /* WT_CAN_* */
    bool is_emulated; /* every reading is WT_EMULATED */
    bool is_modeled;  /* no sensor: every power is estimated, and WT_MODELED */
    bool is_part;     /* inside another listed device (MIG instance, core domain): not in sums */
    char part_of[96]; /* that device's id, or "" */
    bool has_memory;  /* a processor whose energy includes its memory's */
    bool is_counted;  /* in the total of this set, where each joule is to be once: not a part, not
                         what a node's meter sees already, and modeled only where nothing is
                         measured (docs/sensors.md) */
    int64_t poll_ns;  /* not read more often than this; 0: as often as is asked */
    uint64_t power_max_mw; /* the most it can draw: bounds what a gap hides; 0: unknown, or told by
                              its status */
    uint64_t mem_bytes;    /* 0: unknown */
    struct wt_sensor_traits traits;
    char probed[24]; /* the day `wattune probe` found the traits; "": published or assumed */
};

/* Bits of wt_status.has. */
enum {
    WT_HAS_TEMP = 1u << 0,
    WT_HAS_CLOCK = 1u << 1,
    WT_HAS_MEMCLOCK = 1u << 2,
    WT_HAS_UTIL = 1u << 3,
    WT_HAS_MEMUTIL = 1u << 4,
    WT_HAS_MEM = 1u << 5,
    WT_HAS_LIMIT = 1u << 6,
    WT_HAS_THROTTLE = 1u << 7,
    WT_HAS_PCIE = 1u << 8,
    WT_HAS_POWER_AVERAGE = 1u << 9,
};

/* Slow-changing facts; a field counts only when its bit is in `has`. */
struct wt_status {
    unsigned has;
    int32_t temp_mc;
    uint32_t clock_khz, memclock_khz;
    uint32_t util_ppm, memutil_ppm;
    uint64_t mem_used_bytes, mem_total_bytes;
    uint64_t power_limit_mw; /* enforced now */
    uint64_t throttle;       /* WT_THROTTLE_* */
    uint64_t pcie_tx_bytes_s, pcie_rx_bytes_s;
    uint64_t power_average_mw; /* the 1 s mean where the device has one of its own */
};

/* Why clocks are below maximum (NVML clocks event reasons, reduced to what changes a decision). */
enum {
    WT_THROTTLE_IDLE = 1u << 0,
    WT_THROTTLE_POWER_CAP = 1u << 1,
    WT_THROTTLE_THERMAL = 1u << 2,
    WT_THROTTLE_POWER_BRAKE = 1u << 3,
    WT_THROTTLE_LOCKED_CLOCK = 1u << 4,
    WT_THROTTLE_OTHER = 1u << 5,
};

/* What to read, or'ed. */
enum {
    WT_READ_ENERGY = 1u << 0,
    WT_READ_POWER = 1u << 1,
    WT_READ_STATUS = 1u << 2,
    WT_READ_PLAIN = 1u << 3, /* what the vendor's own tool shows; may be a running mean */
};

struct wt_reading {
    int64_t t_before_ns, t_after_ns; /* the vendor's call lay between these */
    struct wt_energy energy;         /* .state WT_ABSENT: not asked for, or failed */
    struct wt_power power;
    struct wt_power plain;
    struct wt_status status;
};

struct wt_devices_options {
    const char *gpus; /* comma list of indices or UUIDs (a unique beginning is enough);
                       * NULL: $CUDA_VISIBLE_DEVICES when set (of AMD GPUs $ROCR_VISIBLE_DEVICES),
                       * else all */
    bool is_gpu_only; /* leave CPU, DRAM and node sensors out */
    /* Programs that print watts or joules, as `--sensor-command` takes them (docs/sensors.md).
     * Copied. */
    const char *const *commands;
    size_t command_count;
};

/* Finds and opens every device that can be read; their traits are those that `wattune probe` has
 * found and kept, where it has. An emulated device shuts out all real ones.
 * No device at all is success with a count of 0. Errors: WT_E_NOTFOUND (a GPU named in options
 * that is not there), WT_E_USAGE (options->gpus is no list), WT_E_NOMEM. */
WT_API int wt_devices_open(struct wt_devices **ret_devices, struct wt_ctx *ctx,
                           const struct wt_devices_options *options, struct wt_error *err);
WT_API void wt_devices_free(struct wt_devices *devices);
WT_API size_t wt_devices_count(const struct wt_devices *devices);
/* Borrowed until wt_devices_free. NULL past the end. */
WT_API const struct wt_device_info *wt_devices_info(const struct wt_devices *devices, size_t i);

/* Reads one device. Fills what could be read and returns 0 when all that was asked for was; a part
 * that failed has state WT_ABSENT (or its bit is missing) and its error is returned.
 * Errors: WT_E_DENIED, WT_E_GONE, WT_E_UNSUPPORTED, WT_E_FORMAT, WT_E_TIMEOUT. Different devices
 * of one set may be read from different threads when their source says so (sources lock). */
WT_API int wt_devices_read(struct wt_devices *devices, size_t i, unsigned what,
                           struct wt_reading *ret_reading, struct wt_error *err);

/* A process that uses a device, as the vendor reports it. */
struct wt_device_process {
    uint32_t pid;
    uint64_t mem_bytes; /* 0: unknown */
    uint32_t busy_ppm;  /* share of the last second or so in which its work was on the device;
                           UINT32_MAX: unknown */
};
/* Writes up to max processes, sets *ret_count to how many there are. */
WT_API int wt_devices_processes(struct wt_devices *devices, size_t i,
                                struct wt_device_process *procs, size_t max, size_t *ret_count,
                                struct wt_error *err);

/* One setting of one device. Values in the knob's integer unit (see enum wt_knob). */
struct wt_knob_info {
    enum wt_knob knob;
    int64_t min, max, step;
    uint64_t values;  /* of names: bit N for value N that exists here, and from WT_EPP_RAW on all up
                         to max; 0: numbers */
    int64_t def;      /* the vendor's default; what a lease puts back is what it found */
    int64_t current;  /* as set */
    int64_t enforced; /* as the device says it obeys, equal to current where it cannot tell */
    bool
        is_lockable; /* a clock that is locked; the device cannot say whether it is: current is 0 */
    /* The device's parts (a processor's cores) hold different values: another of them. */
    bool is_mixed;
    int64_t mixed_with;
    bool is_lost;      /* what is there now is more than one value says, so it could not be put
                          back: set only by a lease that itself made it so */
    bool is_settable;  /* by this process, now */
    char why_not[240]; /* when not settable: the reason */
    char fix[240];     /* and what would change it (a command, a capability) */
};
/* What it takes, in words: "100 to 250 W", "performance, powersave". Returns buf. */
WT_API const char *wt_knob_range_text(char *buf, size_t size, const struct wt_knob_info *info);
/* Whether it takes this value, rights aside. */
WT_API bool wt_knob_takes(const struct wt_knob_info *info, int64_t value);
/* Errors: WT_E_UNSUPPORTED (no such knob on this device, with the reason), WT_E_GONE, WT_E_DENIED,
 * WT_E_FORMAT. */
WT_API int wt_devices_knob(struct wt_devices *devices, size_t i, enum wt_knob knob,
                           struct wt_knob_info *ret_info, struct wt_error *err);

/* One line of `wattune doctor`. */
enum wt_finding_kind { WT_FINDING_OK, WT_FINDING_MISSING, WT_FINDING_DENIED, WT_FINDING_BROKEN };
struct wt_finding {
    enum wt_finding_kind kind;
    char source[16]; /* "nvml", "rapl", "knob", "store", ... */
    char device[96]; /* id or "" */
    char what[64];   /* "energy counter", "power limit" */
    char value[320]; /* present value, or the reason it is missing */
    char fix[240];   /* the exact command, capability or group; "" when nothing helps or needs to */
    bool is_part;    /* of a device that is inside another listed one */
};
/* Looks at everything and changes nothing: the devices of an open set, read once, what was missing
 * when it was opened, their knobs, and where runs are kept. A setting counts as settable when the
 * vendor's rule about rights is met; whether the driver agrees is only known by setting it.
 * Errors: WT_E_NOMEM. The array is owned by the caller: free(). Threads: owner thread. */
WT_API int wt_survey(struct wt_ctx *ctx, struct wt_devices *devices,
                     struct wt_finding **ret_findings, size_t *ret_count, struct wt_error *err);
/* How many devices, parts of others aside, had energy or power read in a survey, of how many it is
 * estimated, and how many settings may be changed of how many there are. Threads: any thread. */
struct wt_survey_sum {
    size_t measurable, modeled, settable, knobs;
};
WT_API struct wt_survey_sum wt_survey_sum(const struct wt_finding *findings, size_t count);
/* {"is_emulated":..,"measurable":..,"modeled":..,"settable":..,"devices":[..],"findings":[..]},
 * owned by the caller: free(). NULL only without memory. */
WT_API char *wt_survey_to_json(const struct wt_devices *devices, const struct wt_finding *findings,
                               size_t count);

#ifdef __cplusplus
}
#endif
#endif
