/* probed: what `wattune probe` has found of a device, kept from run to run.
 *
 * One file a device below $XDG_DATA_HOME/wattune/sensors, by UUID. A device whose id is no UUID
 * ("cpu-package-0") is one machine's, and homes are shared between machines: the file's name then
 * has a digest of /etc/machine-id. What was found of an emulated device lies in its emulation's
 * directory and goes with it. Internal. */
#ifndef WT_SENSOR_PROBED_H
#define WT_SENSOR_PROBED_H

#include "base/base.h"
#include "wattune/device.h"

/* Puts what was kept into the traits; what was not found then is left as it is. ret_date: the day.
 * Nothing is changed when it fails. Errors: WT_E_NOTFOUND (nothing is kept), WT_E_FORMAT (damaged),
 * WT_E_CHANGED (made with another driver), WT_E_MIXED (of an emulated device, or the other way
 * round), WT_E_DENIED, WT_E_IO. */
int wt_traits_load(const struct wt_ctx *ctx, const struct wt_device_info *info,
                   struct wt_sensor_traits *io_traits, char *ret_date, size_t date_size,
                   struct wt_error *err);

/* Which of the traits are worth keeping: they become keys of the file. */
struct wt_probed_traits {
    struct wt_sensor_traits traits;
    bool has_energy_period, has_energy_quantum, has_energy_window, has_power_period,
        has_power_shape;
};
/* Replaces what is kept of a device, in one step. info: id, driver, is_emulated. details goes into
 * the file for people to read, and is freed in any case. Errors: WT_E_NOTFOUND (no folder to keep
 * it in), WT_E_DENIED, WT_E_FULL, WT_E_IO, WT_E_NOMEM. */
int wt_traits_save(const struct wt_ctx *ctx, const struct wt_device_info *info, const char *date,
                   const struct wt_probed_traits *probed, json_t *details, char *ret_path,
                   size_t size, struct wt_error *err);

#endif
