/* knob: what can be set. A knob is one row of the table in registry.c.
 *
 * Nothing here is public but the description (wt_devices_knob): only the lease stage sets, after
 * the value found is safely in its journal.
 *
 * Internal to the library. Knows base and sensor. */
#ifndef WT_KNOB_KNOB_H
#define WT_KNOB_KNOB_H

#include "sensor/sensor.h"

/* What a setting was before: enough to put it back. */
struct wt_knob_found {
    int64_t value; /* as set, in the knob's unit; 0 of a clock: not locked */
    /* The device told it. False for locked clocks: NVML sets and clears a lock but cannot say
     * whether there is one, and amdgpu says that levels were chosen but not which. Then "not
     * locked", the driver's state after start, is assumed, unless the caller's own journal knows of
     * a lock of ours; putting back means clearing the lock; and whether someone else changed it
     * meanwhile cannot be known either. A caller says so. */
    bool is_read;
};

/* A device to a knob. */
struct wt_knob_at {
    struct wt_devices *devices; /* of a set, or NULL in a test of a knob that is made of files */
    size_t i;
    const struct wt_ctx *ctx;
    const struct wt_device_info *info;
};

struct wt_knob_ops {
    enum wt_knob knob;
    /* It is made of the kernel's files. Then an emulated device has it only where those files are
     * the emulation's own: below a sysroot. */
    bool is_files;
    /* All required. */
    /* Whose devices have it. One source's (NVML's calls need its handles), or those of one kind,
     * whoever reads them: a CPU's frequency is set the same way whether RAPL is readable or not. */
    bool (*has)(const struct wt_device_info *info);
    /* Errors of these as for the functions below. Fills all but knob and, where they do not
     * apply, what is 0. */
    int (*describe)(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_info *ret_info,
                    struct wt_error *err);
    int (*snapshot)(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_found *ret_found,
                    struct wt_error *err);
    int (*set)(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t *ret_enforced,
               struct wt_error *err);
    int (*restore)(const struct wt_knob_at *at, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err);
};

extern const struct wt_knob_ops wt_nvml_knobs[3], wt_amdgpu_knobs[3], wt_intel_gpu_knobs[1],
    wt_powercap_knobs[2], wt_cpufreq_knobs[3];

/* Whether Wattune knows such a knob of such a device; then it may still not have it. */
bool wt_knob_is_known(struct wt_devices *devices, size_t i, enum wt_knob knob);

/* ---- files.c: knobs that are files of the kernel ---- */

/* More than any card's power limit, in uW: a file that holds more is damaged. */
#define WT_KNOB_MOST_UW UINT64_C(100000000000)

/* Fills is_settable, why_not and fix by whether this process may write the file. Writes nothing. */
void wt_knob_say_rights(const struct wt_ctx *ctx, const char *path, struct wt_knob_info *info);
/* Writes, and tells a refusal with what to do about it. Errors: as wt_fs_write; WT_E_DENIED only
 * where wt_knob_say_rights says so, too: what the kernel refuses to one who may write is
 * WT_E_STATE. */
int wt_knob_write(const struct wt_ctx *ctx, const char *path, const char *text,
                  struct wt_error *err);
/* Writes a power limit to a file in microwatts and reads it back; *ret_now_mw is rounded up, as a
 * driver keeps multiples of its own unit. Errors: besides, WT_E_STATE (reads a step off or more).
 */
int wt_knob_write_power(const struct wt_knob_at *at, enum wt_knob knob, const char *path,
                        int64_t mw, int64_t step_mw, int64_t *ret_now_mw, struct wt_error *err);
/* A power limit that is not taken: WT_E_RANGE, with the range. */
int wt_knob_fail_power_range(const struct wt_knob_at *at, const struct wt_knob_info *info,
                             int64_t mw, struct wt_error *err);

/* The value now. Call it again after wt_knob_set for the value as written: a device may round.
 * Errors: WT_E_UNSUPPORTED (no such knob on this device), WT_E_GONE, WT_E_DENIED, WT_E_TIMEOUT. */
int wt_knob_snapshot(struct wt_devices *devices, size_t i, enum wt_knob knob,
                     struct wt_knob_found *ret_found, struct wt_error *err);
/* Sets and reads back. *ret_enforced (may be NULL) is what the device says it obeys; the value
 * where it cannot tell. A clock of 0 clears the lock. Errors: besides, WT_E_RANGE (names the
 * range; nothing was set), WT_E_STATE (did not take: a step off or more, or refused by the
 * firmware), WT_E_BUSY (another setting forbids it now). Of a device with parts some may be set
 * after an error. After WT_E_TIMEOUT the driver may still carry it out when it comes round: the
 * journal's record stays. */
int wt_knob_set(struct wt_devices *devices, size_t i, enum wt_knob knob, int64_t value,
                int64_t *ret_enforced, struct wt_error *err);
/* Puts back what was found, and checks it where the device can tell. Errors: as wt_knob_set. */
int wt_knob_restore(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    const struct wt_knob_found *found, struct wt_error *err);

#endif
