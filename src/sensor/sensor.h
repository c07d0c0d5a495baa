/* sensor: what can be read. A source is one row of the table in registry.c.
 *
 * Internal to the library. Knows base only. */
#ifndef WT_SENSOR_SENSOR_H
#define WT_SENSOR_SENSOR_H

#include "base/base.h"
#include "wattune/device.h"

/* ---- finding.c: a growing list of doctor's lines ---- */

struct wt_findings {
    struct wt_finding *list; /* owned: free() */
    size_t count, room;
};
/* Appends one line, texts cut to their room; fix may be NULL. Errors: WT_E_NOMEM. */
int wt_findings_add(struct wt_findings *findings, enum wt_finding_kind kind, const char *source,
                    const char *device, const char *what, const char *fix, const char *fmt, ...)
    WT_PRINTF(7, 8);
/* The same out of a failure's story: kind by its code, value and fix by its texts. */
int wt_findings_add_error(struct wt_findings *findings, const char *source, const char *device,
                          const char *what, const struct wt_error *err);
/* Takes out what was said of a source's device. */
void wt_findings_drop(struct wt_findings *findings, const char *source, const char *device);
/* Denied, missing or broken, by what the user can do about it. */
enum wt_finding_kind wt_finding_kind_of(int code);
void wt_findings_done(struct wt_findings *findings);

/* ---- traits.c: what a counter's traits say of its sight ---- */

/* Is the counter known to see only a part of the time, or known to see all of it? Where its window
 * is not known, neither. The periods were measured one by one and may differ by a little where they
 * are the same in truth. */
bool wt_traits_sees_part(const struct wt_sensor_traits *traits);
bool wt_traits_sees_all(const struct wt_sensor_traits *traits);

/* ---- a source ---- */

/* Beside WT_READ_POWER, of the model of a processor alone: a window has just ended, and what there
 * is since the last reading is wanted now, though it be little. */
#define WT_READ_BRIEF (1u << 16)

struct wt_source_ops;

/* What every source begins with. */
struct wt_source {
    const struct wt_source_ops *ops;
    struct wt_device_info *devices; /* owned by the source */
    size_t count;
    bool is_emulated; /* then no other source is opened */
};

struct wt_source_ops {
    const char *name;
    bool is_gpu;             /* left in when only GPUs are asked for */
    const char *visible_env; /* of GPUs: the variable that lists those a program sees, or NULL */
    /* Required. Probes and opens all of the source's devices. What is there but cannot be read, and
     * what is missing, goes to notes with its reason and fix. No device is success with count 0
     * and a note; an error means that the source itself does not work, and is no failure of the
     * set. */
    int (*open)(struct wt_source **ret_source, struct wt_ctx *ctx,
                const struct wt_devices_options *options, struct wt_findings *notes,
                struct wt_error *err);
    /* Required. See wt_devices_read. ret_reading is cleared before the call. Must allow different
     * devices to be read from different threads. */
    int (*read)(struct wt_source *source, size_t k, unsigned what, struct wt_reading *ret_reading,
                struct wt_error *err);
    /* Optional. See wt_devices_processes. */
    int (*processes)(struct wt_source *source, size_t k, struct wt_device_process *procs,
                     size_t max, size_t *ret_count, struct wt_error *err);
    /* Required. Frees the source. A call of read that never came back must stay harmless: what it
     * uses is freed when it returns, or never. */
    void (*close)(struct wt_source *source);
};

extern const struct wt_source_ops wt_nvml_ops, wt_amdgpu_ops, wt_intel_gpu_ops, wt_rapl_ops,
    wt_command_ops, wt_cray_ops, wt_ipmi_source, wt_hwmon_ops, wt_battery_ops;

/* ---- total.c ---- */

/* Sets is_counted of each device, so that the sum of those counts each joule of the node once.
 * has_left_out: there are more GPUs, which the user did not choose. */
void wt_total_choose(struct wt_device_info *const *infos, size_t count, bool has_left_out);
/* Is it the meter of one socket's module (CPU, memory and GPU), of which a node may have several?
 */
bool wt_total_is_module(const struct wt_device_info *info);

/* ---- registry.c ---- */

/* The source behind a device, and its number there. False past the end. */
bool wt_devices_locate(const struct wt_devices *devices, size_t i, struct wt_source **ret_source,
                       size_t *ret_k);
/* The context it was opened with. */
struct wt_ctx *wt_devices_ctx(const struct wt_devices *devices);
/* What was noted while opening. Borrowed until wt_devices_free. */
const struct wt_findings *wt_devices_notes(const struct wt_devices *devices);

/* ---- select.c ---- */

/* Marks in keep[] which of these GPUs a list names: indices, UUIDs, beginnings of UUIDs; a MIG
 * instance brings the GPU it is part of (that is where the sensor is), a GPU its instances.
 * is_env: the list is $CUDA_VISIBLE_DEVICES, where CUDA's rule holds: the first entry that names
 * nothing ends the list, and none of it is an error. Where GPUs of several makers have one index,
 * the first of them is meant. Errors: WT_E_NOTFOUND, WT_E_USAGE. */
int wt_gpu_select(const struct wt_device_info *gpus, size_t count, const char *list, bool is_env,
                  bool *keep, struct wt_error *err);

#endif
