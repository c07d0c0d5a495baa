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
/* One device of a window up to now, at the cost of one: what wt_meter_peek says of it. Errors:
 * WT_E_NOTFOUND. Threads: any thread. */
int wt_meter_peek_device(struct wt_meter *meter, uint64_t window, size_t device,
                         struct wt_window_device *ret_device, struct wt_error *err);
/* Waits (at most wait_ns) until the samples of all devices cover this moment, so that the results
 * of many windows wait once. Threads: any thread. */
void wt_meter_wait(struct wt_meter *meter, int64_t t_ns, int64_t wait_ns);

/* A move of a device's counter: it lay after lo_ns and not after hi_ns, and up to it the counter
 * had counted cum_j since the meter began. */
struct wt_meter_tick {
    int64_t lo_ns, hi_ns;
    double cum_j;
    bool is_gap; /* of the time since the move before nothing is known */
};

/* From now on every move of the counters is caught as finely as can be. Threads: any thread. */
void wt_meter_follow(struct wt_meter *meter);
/* Copies the moves of a device's counter whose hi_ns lies after after_ns, oldest first, at most
 * max; returns how many. Moves are kept for a minute at least. Threads: any thread. */
size_t wt_meter_ticks(struct wt_meter *meter, size_t device, int64_t after_ns,
                      struct wt_meter_tick *ticks, size_t max);
/* Is the device held back by its power limit, as far as its last status tells? */
bool wt_meter_is_capped(struct wt_meter *meter, size_t device);
size_t wt_meter_device_count(const struct wt_meter *meter);
/* Borrowed until wt_meter_free. */
const struct wt_device_info *wt_meter_device_info(const struct wt_meter *meter, size_t device);

#endif
