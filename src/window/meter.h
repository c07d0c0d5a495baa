/* meter: the internal door to the public meter, so that tests may stand in for the devices. */
#ifndef WT_WINDOW_METER_H
#define WT_WINDOW_METER_H

#include "sampler/sampler.h"
#include "wattune/meter.h"

/* wt_meter_new over any devices: infos are borrowed until wt_meter_free; read and devices as in
 * wt_sampler_options. */
int wt_meter_new_over(struct wt_meter **ret_meter, struct wt_ctx *ctx,
                      const struct wt_device_info *const *infos, size_t count, wt_sampler_read read,
                      void *devices, const struct wt_meter_options *options, struct wt_error *err);

#endif
