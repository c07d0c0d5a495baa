/* cray: the node controller's counters on HPE Cray machines, /sys/cray/pm_counters.
 *
 * Each file is a value, a unit and, from version 3 on, a time: "212 W 1697200123 us". The set is
 * renewed as a whole, about ten times a second, and `freshness` moves with it: a reading counts
 * only when that was the same before and after. `startup` and `version` do not change while a node
 * runs, and `generation` counts changes of power caps, so neither says anything of a reading: a
 * controller that starts anew sets its counters to 0, which the window sees as a reset.
 *
 * power and energy are the whole node with its accelerators; the loss of the rectifiers in the
 * cabinet is not in them. cpu_ is all processors together, memory_ all memory. accelN_ are
 * modules with a GPU or two; whatever reads GPUs themselves reads the same joules, so they are
 * listed as parts of the node and never summed.
 *
 * Source: HPE, docs-csm, operations/power_management/User_Access_to_Compute_Node_Power_Data.md. */
#include <string.h>

#include "sensor/gauge.h"

#define PM "/sys/cray/pm_counters"

static bool is_there(const struct wt_ctx *ctx, const char *name)
{
    char path[96], text[64];
    wt_text(path, sizeof(path), PM "/%s", name);
    return wt_fs_read(ctx, path, text, sizeof(text), NULL) != WT_E_NOTFOUND;
}

/* stem: "", "cpu_", "accel0_". */
static int add(struct wt_gauges *g, const char *stem, const struct wt_device_info *what,
               int64_t period_ns, struct wt_findings *notes)
{
    char energy[48], power[48];
    wt_text(energy, sizeof(energy), "%senergy", stem);
    wt_text(power, sizeof(power), "%spower", stem);
    struct wt_device_info info = *what;
    struct wt_gauge gauge = {
        .energy = {.mul = 1000000, .has_tail = true},
        .power = {.mul = 1000, .has_tail = true},
    };
    if (is_there(g->ctx, energy))
        wt_text(gauge.energy.path, sizeof(gauge.energy.path), PM "/%s", energy);
    if (is_there(g->ctx, power))
        wt_text(gauge.power.path, sizeof(gauge.power.path), PM "/%s", power);
    if (!gauge.energy.path[0] && !gauge.power.path[0])
        return 0;
    if (is_there(g->ctx, "freshness"))
        wt_text(gauge.freshness.path, sizeof(gauge.freshness.path), PM "/freshness");
    /* The period is the controller's; the gain is assumed. */
    info.traits = (struct wt_sensor_traits){.energy_period_ns = period_ns,
                                            .energy_quantum_uj = 1000000,
                                            .power_period_ns = period_ns,
                                            .gain_ppm = 50000,
                                            .offset_mw = 500};
    return wt_gauges_add(g, &info, &gauge,
                         "pm_counters are for everybody to read: ask who runs the "
                         "machine why these are not",
                         NULL, notes);
}

static int add_node(struct wt_gauges *g, int64_t period_ns, struct wt_findings *notes)
{
    struct wt_device_info info = {
        .kind = WT_DEVICE_NODE, .id = "node-cray", .name = "node (pm_counters)"};
    return add(g, "", &info, period_ns, notes);
}

/* The processors together, or each where they are only counted apart. */
static int add_cpus(struct wt_gauges *g, int64_t period_ns, struct wt_findings *notes)
{
    struct wt_device_info info = {
        .kind = WT_DEVICE_CPU, .id = "cpu-package-0", .name = "all CPUs (pm_counters)"};
    if (is_there(g->ctx, "cpu_energy") || is_there(g->ctx, "cpu_power"))
        return add(g, "cpu_", &info, period_ns, notes);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < 16; i++) {
        char stem[16];
        wt_text(stem, sizeof(stem), "cpu%u_", i);
        info.index = i;
        wt_text(info.id, sizeof(info.id), "cpu-package-%u", i);
        wt_text(info.name, sizeof(info.name), "CPU %u (pm_counters)", i);
        rc = add(g, stem, &info, period_ns, notes);
    }
    return rc;
}

static int add_accels(struct wt_gauges *g, int64_t period_ns, struct wt_findings *notes)
{
    struct wt_device_info info = {.kind = WT_DEVICE_GPU,
                                  .id = "cray-accel",
                                  .name = "accelerator (pm_counters)",
                                  .is_part = true,
                                  .part_of = "node-cray"};
    int rc = add(g, "accel_", &info, period_ns, notes);
    for (unsigned i = 0; rc == 0 && i < 16; i++) {
        char stem[16];
        wt_text(stem, sizeof(stem), "accel%u_", i);
        info.index = i;
        wt_text(info.id, sizeof(info.id), "cray-accel%u", i);
        wt_text(info.name, sizeof(info.name), "accelerator %u (pm_counters)", i);
        rc = add(g, stem, &info, period_ns, notes);
    }
    return rc;
}

static int cray_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                     const struct wt_devices_options *options, struct wt_findings *notes,
                     struct wt_error *err)
{
    (void)options;
    struct wt_gauges *g;
    int rc = wt_gauges_new(&g, ctx, &wt_cray_ops, err);
    if (rc < 0)
        return rc;
    struct wt_gauge_file scan = {.path = PM "/raw_scan_hz", .has_tail = true};
    uint64_t hz = 0;
    if (wt_gauge_file_read(ctx, &scan, &hz, NULL) < 0 || hz < 1 || hz > 1000)
        hz = 10;
    int64_t period_ns = WT_NS_PER_S / (int64_t)hz;
    static const struct wt_device_info memory = {
        .kind = WT_DEVICE_DRAM, .id = "dram-package-0", .name = "all memory (pm_counters)"};
    rc = add_node(g, period_ns, notes);
    if (rc == 0)
        rc = add_cpus(g, period_ns, notes);
    if (rc == 0)
        rc = add(g, "memory_", &memory, period_ns, notes);
    if (rc == 0)
        rc = add_accels(g, period_ns, notes);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for pm_counters");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_cray_ops = {
    .name = "cray",
    .open = cray_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
