/* A folder that stands for a machine, a clock turned by hand, and the devices found there. */
#ifndef TESTS_SENSOR_BED_H
#define TESTS_SENSOR_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/sensor.h"

struct sensor_bed {
    char root[40];
    int64_t now_ns;
    struct wt_clock clock;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_devices_options options;
    struct wt_error err;
};

static inline int64_t bed_now(void *data)
{
    return ((struct sensor_bed *)data)->now_ns;
}

static inline void bed_sleep(void *data, int64_t t_ns)
{
    ((struct sensor_bed *)data)->now_ns = t_ns;
}

/* Writes a file of the machine, with its folders. */
static inline void bed_put(const struct sensor_bed *bed, const char *path, const char *text)
{
    char full[512];
    wt_text(full, sizeof(full), "%s%s", bed->root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(full, 0755, NULL), 0);
    full[strlen(full)] = '/';
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline void bed_init(struct sensor_bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("WATTUNE_NVML");
    wt_text(bed->root, sizeof(bed->root), "/tmp/wt-sensor-XXXXXX");
    assert_non_null(mkdtemp(bed->root));
    bed->now_ns = 1000 * WT_NS_PER_S;
    bed->clock = (struct wt_clock){bed_now, bed_sleep, bed};
    struct wt_ctx_options options = {.sysroot = bed->root, .clock = &bed->clock};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, &bed->err), 0);
}

static inline void bed_open(struct sensor_bed *bed)
{
    if (wt_devices_open(&bed->devices, bed->ctx, &bed->options, &bed->err) < 0)
        fail_msg("%s", bed->err.text);
}

static inline void bed_done(struct sensor_bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    assert_int_equal(wt_fs_remove_tree(bed->root, &bed->err), 0);
}

/* SIZE_MAX: there is none of this id. */
static inline size_t bed_find(const struct sensor_bed *bed, const char *id)
{
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++)
        if (strcmp(wt_devices_info(bed->devices, i)->id, id) == 0)
            return i;
    return SIZE_MAX;
}

static inline const struct wt_device_info *bed_device(const struct sensor_bed *bed, const char *id)
{
    size_t i = bed_find(bed, id);
    if (i == SIZE_MAX)
        fail_msg("there is no device %s", id);
    return wt_devices_info(bed->devices, i);
}

static inline int bed_read(struct sensor_bed *bed, const char *id, unsigned what,
                           struct wt_reading *ret_reading)
{
    (void)bed_device(bed, id);
    memset(&bed->err, 0, sizeof(bed->err));
    return wt_devices_read(bed->devices, bed_find(bed, id), what, ret_reading, &bed->err);
}

static inline uint64_t bed_mw(struct sensor_bed *bed, const char *id)
{
    struct wt_reading r;
    if (bed_read(bed, id, WT_READ_POWER, &r) < 0)
        fail_msg("%s: %s", id, bed->err.text);
    assert_int_equal(r.power.state, WT_LIVE);
    return r.power.mw;
}

static inline uint64_t bed_uj(struct sensor_bed *bed, const char *id)
{
    struct wt_reading r;
    if (bed_read(bed, id, WT_READ_ENERGY, &r) < 0)
        fail_msg("%s: %s", id, bed->err.text);
    assert_int_equal(r.energy.state, WT_LIVE);
    return r.energy.uj;
}

/* The first note of a source; NULL: it has none. */
static inline const struct wt_finding *bed_note(const struct sensor_bed *bed, const char *source)
{
    const struct wt_findings *notes = wt_devices_notes(bed->devices);
    for (size_t i = 0; i < notes->count; i++)
        if (strcmp(notes->list[i].source, source) == 0)
            return &notes->list[i];
    return NULL;
}

#define assert_says(text, part)                                                                    \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("\"%s\" does not say \"%s\"", (text), (part));                                \
    } while (0)

#endif
