/* battery: what a battery gives while it discharges, which is then the whole machine.
 *
 * While a charger is plugged in the battery sees nothing of the machine, or a part of it; then
 * there is no reading, and a machine that is on its charger when the set is opened has no such
 * device. Batteries of one machine take turns or share, so they are one device and its power their
 * sum. Drivers differ in the sign of what discharges: the size counts. A battery of a mouse or a
 * headset (scope Device) is none of the machine's.
 *
 * The kernel keeps what the firmware said for a second; how often the firmware measures is
 * published by none. Source: Documentation/power/power_supply_class.rst and
 * Documentation/ABI/testing/sysfs-class-power. */
#include <stdlib.h>
#include <string.h>

#include "sensor/gauge.h"

#define SUPPLIES     "/sys/class/power_supply"
#define SUPPLIES_MAX 8
#define ON_MAINS     "on mains: the battery does not see the node"

struct supplies {
    char batteries[SUPPLIES_MAX][64], mains[SUPPLIES_MAX][64];
    size_t battery_count, mains_count;
};

static int read_text(const struct wt_ctx *ctx, const char *supply, const char *file, char *buf,
                     size_t size, struct wt_error *err)
{
    char path[160];
    wt_text(path, sizeof(path), SUPPLIES "/%s/%s", supply, file);
    return wt_fs_read(ctx, path, buf, size, err);
}

/* The size of a number, whatever its sign. */
static int read_size(const struct wt_ctx *ctx, const char *supply, const char *file,
                     uint64_t *ret_size, struct wt_error *err)
{
    char path[160];
    int64_t value;
    wt_text(path, sizeof(path), SUPPLIES "/%s/%s", supply, file);
    int rc = wt_fs_read_i64(ctx, path, &value, err);
    if (rc == 0)
        *ret_size = (uint64_t)(value < 0 ? -value : value);
    return rc;
}

static int read_battery(const struct wt_ctx *ctx, const char *name, uint64_t *ret_mw,
                        struct wt_error *err)
{
    uint64_t uw = 0, ua = 0, uv = 0;
    int rc = read_size(ctx, name, "power_now", &uw, err);
    if (rc == 0) {
        *ret_mw = uw / 1000;
        return 0;
    }
    if (rc != WT_E_NOTFOUND && rc != WT_E_GONE)
        return rc;
    rc = read_size(ctx, name, "current_now", &ua, err);
    if (rc == 0)
        rc = read_size(ctx, name, "voltage_now", &uv, err);
    if (rc < 0)
        return rc;
    /* uA times uV is pW. */
    unsigned __int128 mw = (unsigned __int128)ua * uv / 1000000000u;
    if (mw > UINT32_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s" SUPPLIES "/%s: a power out of all proportion",
                       wt_fs_root(ctx), name);
    *ret_mw = (uint64_t)mw;
    return 0;
}

static int read_node(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_mw,
                     struct wt_error *err)
{
    const struct supplies *s = gauge->counter_data;
    char text[64];
    uint64_t sum_mw = 0;
    bool is_discharging = false;
    for (size_t i = 0; i < s->mains_count; i++)
        if (read_text(ctx, s->mains[i], "online", text, sizeof(text), NULL) == 0 &&
            strcmp(text, "1") == 0)
            return wt_fail(err, WT_E_STATE, ON_MAINS);
    for (size_t i = 0; i < s->battery_count; i++) {
        uint64_t mw = 0;
        int rc = read_text(ctx, s->batteries[i], "status", text, sizeof(text), err);
        if (rc == 0 && strcmp(text, "Discharging") != 0)
            continue;
        if (rc == 0)
            rc = read_battery(ctx, s->batteries[i], &mw, err);
        if (rc < 0)
            return rc;
        is_discharging = true;
        sum_mw += mw;
    }
    if (!is_discharging)
        return wt_fail(err, WT_E_STATE, ON_MAINS);
    /* A machine that runs draws something: the firmware has not measured since the charger went. */
    if (!sum_mw)
        return wt_fail(err, WT_E_STATE, "the battery says 0 W, which is no reading of it");
    *ret_mw = sum_mw;
    return 0;
}

/* Sorts what is there into batteries of the machine and chargers. */
static int look(const struct wt_ctx *ctx, struct supplies *s)
{
    char **names = NULL, type[32], scope[32];
    size_t count = 0;
    int rc = wt_fs_list(ctx, SUPPLIES, &names, &count, NULL);
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) >= sizeof(s->mains[0]) ||
            read_text(ctx, names[i], "type", type, sizeof(type), NULL) < 0)
            continue;
        if (read_text(ctx, names[i], "scope", scope, sizeof(scope), NULL) == 0 &&
            strcmp(scope, "Device") == 0)
            continue;
        if (strcmp(type, "Battery") == 0 && s->battery_count < SUPPLIES_MAX)
            wt_text(s->batteries[s->battery_count++], sizeof(s->batteries[0]), "%s", names[i]);
        else if (strcmp(type, "Mains") == 0 && s->mains_count < SUPPLIES_MAX)
            wt_text(s->mains[s->mains_count++], sizeof(s->mains[0]), "%s", names[i]);
    }
    wt_fs_list_free(names, count);
    return rc == WT_E_NOMEM ? rc : 0;
}

static int add_node(struct wt_gauges *g, struct supplies *s, struct wt_findings *notes)
{
    struct wt_device_info info = {
        .kind = WT_DEVICE_NODE,
        .id = "node-battery",
        .name = "node on its battery",
        .poll_ns = WT_NS_PER_S,
        /* Neither the period nor the gain is published: both are assumed. */
        .traits = {.power_period_ns = 5 * WT_NS_PER_S, .gain_ppm = 50000, .offset_mw = 100},
    };
    struct wt_gauge gauge = {.wattage = read_node, .counter_data = s};
    struct wt_error why = {0};
    uint64_t mw;
    if (read_node(g->ctx, &gauge, &mw, &why) == WT_E_STATE)
        return wt_findings_add(notes, WT_FINDING_MISSING, "battery", "", "node power",
                               "unplug the charger, or measure at the wall with --sensor-command",
                               "%s", why.text);
    return wt_gauges_add(g, &info, &gauge, NULL, NULL, notes);
}

static void free_data(struct wt_gauges *g)
{
    free(g->data);
}

static int battery_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                        const struct wt_devices_options *options, struct wt_findings *notes,
                        struct wt_error *err)
{
    (void)options;
    struct wt_gauges *g;
    int rc = wt_gauges_new(&g, ctx, &wt_battery_ops, err);
    if (rc < 0)
        return rc;
    struct supplies *s = calloc(1, sizeof(*s));
    g->data = s;
    g->free_data = free_data;
    rc = s ? look(ctx, s) : WT_E_NOMEM;
    if (rc == 0 && s->battery_count)
        rc = add_node(g, s, notes);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for batteries");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_battery_ops = {
    .name = "battery",
    .open = battery_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
