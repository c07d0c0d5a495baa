/* A bed for a test: a folder that stands for a machine's /, a clock turned by hand, and the devices
 * found there. What a test has beside it stands in a struct of its own around this one. */
#ifndef WT_TESTS_BED_H
#define WT_TESTS_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sensor/sensor.h"
#include "trees.h"

struct bed {
    char root[64];
    int64_t now_ns;
    struct wt_clock clock; /* emptied before bed_renew(): the system's */
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_devices_options options; /* for bed_open() */
    struct wt_error err;
};

static inline int64_t bed_now(void *data)
{
    return ((struct bed *)data)->now_ns;
}

static inline void bed_sleep(void *data, int64_t t_ns)
{
    ((struct bed *)data)->now_ns = t_ns;
}

static inline void bed_put(const struct bed *bed, const char *path, const char *text)
{
    tree_put(bed->root, path, text);
}

static inline void bed_put_line(const struct bed *bed, const char *path, const char *text)
{
    tree_put_line(bed->root, path, text);
}

static inline void bed_close(struct bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    bed->devices = NULL;
    bed->ctx = NULL;
}

/* Closes all, and makes the context as another program would: only then is a manifest read. */
static inline int bed_renew(struct bed *bed)
{
    bed_close(bed);
    struct wt_ctx_options options = {.sysroot = bed->root,
                                     .clock = bed->clock.now_ns ? &bed->clock : NULL};
    return wt_ctx_new(&bed->ctx, &options, &bed->err);
}

/* An empty machine and its context. */
static inline void bed_init(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("WATTUNE_NVML");
    unsetenv("WATTUNE_ROCM_SMI");
    tree_new(bed->root, sizeof(bed->root));
    bed->now_ns = 1000 * WT_NS_PER_S;
    bed->clock = (struct wt_clock){bed_now, bed_sleep, bed};
    assert_int_equal(bed_renew(bed), 0);
}

/* Looks for the devices of what is there by now. */
static inline void bed_open(struct bed *bed)
{
    if (wt_devices_open(&bed->devices, bed->ctx, &bed->options, &bed->err) < 0)
        fail_msg("%s", bed->err.text);
}

static inline void bed_done(struct bed *bed)
{
    bed_close(bed);
    tree_done(bed->root);
}

/* SIZE_MAX: there is none of this id. */
static inline size_t bed_find(const struct bed *bed, const char *id)
{
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++)
        if (strcmp(wt_devices_info(bed->devices, i)->id, id) == 0)
            return i;
    return SIZE_MAX;
}

static inline size_t bed_index(const struct bed *bed, const char *id)
{
    size_t i = bed_find(bed, id);
    if (i == SIZE_MAX)
        fail_msg("there is no device %s", id);
    return i;
}

static inline const struct wt_device_info *bed_device(const struct bed *bed, const char *id)
{
    return wt_devices_info(bed->devices, bed_index(bed, id));
}

static inline int bed_read(struct bed *bed, const char *id, unsigned what,
                           struct wt_reading *ret_reading)
{
    memset(&bed->err, 0, sizeof(bed->err));
    return wt_devices_read(bed->devices, bed_index(bed, id), what, ret_reading, &bed->err);
}

static inline uint64_t bed_mw(struct bed *bed, const char *id)
{
    struct wt_reading r;
    if (bed_read(bed, id, WT_READ_POWER, &r) < 0)
        fail_msg("%s: %s", id, bed->err.text);
    assert_int_equal(r.power.state, WT_LIVE);
    return r.power.mw;
}

static inline uint64_t bed_uj(struct bed *bed, const char *id)
{
    struct wt_reading r;
    if (bed_read(bed, id, WT_READ_ENERGY, &r) < 0)
        fail_msg("%s: %s", id, bed->err.text);
    assert_int_equal(r.energy.state, WT_LIVE);
    return r.energy.uj;
}

/* The first note of a source about this; what NULL: about anything. NULL: there is none. */
static inline const struct wt_finding *bed_note(const struct bed *bed, const char *source,
                                                const char *what)
{
    const struct wt_findings *notes = wt_devices_notes(bed->devices);
    for (size_t i = 0; i < notes->count; i++)
        if (strcmp(notes->list[i].source, source) == 0 &&
            (!what || strcmp(notes->list[i].what, what) == 0))
            return &notes->list[i];
    return NULL;
}

#define assert_says(text, part)                                                                    \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("\"%s\" does not say \"%s\"", (text), (part));                                \
    } while (0)

#endif
