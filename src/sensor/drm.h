/* drm: the graphics cards of a machine as /sys/class/drm shows them, in the order of the PCI bus.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_DRM_H
#define WT_SENSOR_DRM_H

#include "sensor/sensor.h"

struct wt_drm_card {
    char card[16];       /* "card0" */
    char pci[24];        /* "0000:c1:00.0", or "" */
    char driver[24];     /* that has the card, or "" */
    char dir[64];        /* "/sys/class/drm/card0/device" */
    char hwmon[96];      /* the folder of its sensors, or "" */
    char hwmon_name[16]; /* and what that calls itself */
    uint64_t bdf;        /* domain << 32 | bus << 8 | device << 3 | function; order is the bus's */
    unsigned vendor, device;
};

/* The cards of one maker. hwmon_names: what a folder of sensors may be called, ends with NULL. What
 * cannot be read goes to notes (may be NULL) under source. Owned: free(). Errors: WT_E_NOMEM. */
int wt_drm_find(const struct wt_ctx *ctx, unsigned vendor, const char *const *hwmon_names,
                const char *source, struct wt_drm_card **ret_cards, size_t *ret_count,
                struct wt_findings *notes);
/* "DIR/NAME" into buf; true when it can be read. */
bool wt_drm_has(const struct wt_ctx *ctx, const char *dir, const char *name, char *buf,
                size_t size);

#endif
