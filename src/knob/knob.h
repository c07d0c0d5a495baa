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
     * whether there is one. Then "not locked", the driver's state after start, is assumed, unless
     * the caller's own journal knows of a lock of ours; putting back means clearing the lock; and
     * whether someone else changed it meanwhile cannot be known either. A caller says so. */
    bool is_read;
};

struct wt_knob_ops {
    enum wt_knob knob;
    /* Whose devices have it: one source's, whatever their kind, or those of one kind, whoever reads
     * them (a CPU's frequency is set the same way whether RAPL is readable or not). */
    const struct wt_source_ops *source; /* NULL: of any */
    enum wt_device_kind kind;           /* with source NULL */
    /* All required. Errors as for the functions below. */
    int (*describe)(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    struct wt_knob_info *ret_info, struct wt_error *err);
    int (*snapshot)(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    struct wt_knob_found *ret_found, struct wt_error *err);
    int (*set)(struct wt_devices *devices, size_t i, enum wt_knob knob, int64_t value,
               int64_t *ret_enforced, struct wt_error *err);
    int (*restore)(struct wt_devices *devices, size_t i, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err);
};

extern const struct wt_knob_ops wt_nvml_knobs[3];

/* The value now. Call it again after wt_knob_set for the value as written: a device may round.
 * Errors: WT_E_UNSUPPORTED (no such knob on this device), WT_E_GONE, WT_E_DENIED, WT_E_TIMEOUT. */
int wt_knob_snapshot(struct wt_devices *devices, size_t i, enum wt_knob knob,
                     struct wt_knob_found *ret_found, struct wt_error *err);
/* Sets and reads back. *ret_enforced (may be NULL) is what the device says it obeys; the value
 * where it cannot tell. A clock of 0 clears the lock. Errors: besides, WT_E_RANGE (names the
 * range; nothing was set), WT_E_STATE (did not take: reads back more than 1 W off). After
 * WT_E_TIMEOUT the driver may still carry it out when it comes round: the journal's record stays.
 */
int wt_knob_set(struct wt_devices *devices, size_t i, enum wt_knob knob, int64_t value,
                int64_t *ret_enforced, struct wt_error *err);
/* Puts back what was found, and checks it where the device can tell. Errors: as wt_knob_set. */
int wt_knob_restore(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    const struct wt_knob_found *found, struct wt_error *err);

#endif
