/* intel_gpu: Intel's graphics cards by the sensors of the drivers i915 and xe.
 *
 * They have an energy counter and no power. Below it is a register of 32 bits, which the driver
 * adds up in 64, but only when somebody reads: two reads within a wrap, or one of them is lost
 * (2^32 steps of 2^-14 J are 17 minutes at 250 W). So the counter that is read here never wraps,
 * and the range of the register is what it has to be read within.
 *
 * xe tells the card's energy (energy1) from that of its chip alone (energy2), which is a part of
 * it; where the card's is missing, the chip's is all there is. Graphics inside a processor have no
 * such folder: their energy is the package's (its domain uncore).
 *
 * Source: Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon and -xe-hwmon, i915_hwmon.c and
 * xe_hwmon.c of Linux. */
#include <stdlib.h>
#include <string.h>

#include "sensor/drm.h"
#include "sensor/gauge.h"

#define VENDOR_INTEL 0x8086u

/* The register's unit is read by the driver and not shown; 2^-14 J is what its text reckons with.
 */
#define STEP_UJ  UINT64_C(61)
#define RANGE_UJ UINT64_C(262144000000)

static void put_path(struct wt_gauge_file *file, const char *dir, const char *name)
{
    wt_text(file->path, sizeof(file->path), "%s/%s", dir, name);
}

static void find_status(const struct wt_ctx *ctx, const struct wt_drm_card *c, bool is_chip,
                        struct wt_gauge *gauge)
{
    char path[176], clocks[64];
    size_t used = 0;
    if (wt_drm_has(ctx, c->hwmon, "temp2_input", path, sizeof(path)) ||
        wt_drm_has(ctx, c->hwmon, "temp1_input", path, sizeof(path))) {
        gauge->status[used].bit = WT_HAS_TEMP;
        wt_text(gauge->status[used++].file.path, sizeof(gauge->status[0].file.path), "%s", path);
    }
    /* Reads 0 where the limit is off. */
    if (wt_drm_has(ctx, c->hwmon, is_chip ? "power2_max" : "power1_max", path, sizeof(path))) {
        gauge->status[used].bit = WT_HAS_LIMIT;
        gauge->status[used].file.div = 1000;
        wt_text(gauge->status[used++].file.path, sizeof(gauge->status[0].file.path), "%s", path);
    }
    wt_text(clocks, sizeof(clocks), "/sys/class/drm/%s", c->card);
    if (wt_drm_has(ctx, clocks, "gt_act_freq_mhz", path, sizeof(path))) {
        gauge->status[used].bit = WT_HAS_CLOCK;
        gauge->status[used].file.mul = 1000;
        wt_text(gauge->status[used++].file.path, sizeof(gauge->status[0].file.path), "%s", path);
    }
}

/* Names by device number. Source: the tables of Intel's compute-runtime
 * (shared/source/dll/devices) and https://dgpu-docs.intel.com/devices/hardware-table.html. */
static void name_card(unsigned device, char *buf, size_t size)
{
    static const struct {
        unsigned device;
        const char *name;
    } rows[] = {
        {0x4905, "Iris Xe MAX"},
        {0x5690, "Arc A770M"},
        {0x5691, "Arc A730M"},
        {0x5692, "Arc A550M"},
        {0x5693, "Arc A370M"},
        {0x5694, "Arc A350M"},
        {0x56a0, "Arc A770"},
        {0x56a1, "Arc A750"},
        {0x56a2, "Arc A580"},
        {0x56a5, "Arc A380"},
        {0x56a6, "Arc A310"},
        {0x56c0, "Data Center GPU Flex 170"},
        {0x56c1, "Data Center GPU Flex 140"},
        {0x0b69, "Data Center GPU Max 1450"},
        {0x0bd5, "Data Center GPU Max 1550"},
        {0x0bd6, "Data Center GPU Max 1550"},
        {0x0bd9, "Data Center GPU Max 1100"},
        {0x0bda, "Data Center GPU Max 1100"},
        {0x0bdb, "Data Center GPU Max 1100"},
        {0xe20b, "Arc B580"},
        {0xe20c, "Arc B570"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].device == device) {
            wt_text(buf, size, "Intel %s", rows[i].name);
            return;
        }
    wt_text(buf, size, "Intel GPU 0x%04x", device);
}

static int add_card(struct wt_gauges *g, const struct wt_drm_card *c, unsigned index,
                    struct wt_findings *notes)
{
    const char *place = *c->pci ? c->pci : c->card;
    char path[176], fix[240], card[64];
    struct wt_device_info info = {
        .kind = WT_DEVICE_GPU,
        .index = index,
        /* Period and gain are not published. */
        .traits = {.energy_quantum_uj = STEP_UJ, .energy_range_uj = RANGE_UJ, .gain_ppm = 50000}};
    wt_text(info.id, sizeof(info.id), "GPU-%s", place);
    name_card(c->device, card, sizeof(card));
    wt_text(info.name, sizeof(info.name), "%s", card);
    wt_text(info.via, sizeof(info.via), "%s", c->hwmon_name);
    wt_text(info.address, sizeof(info.address), "%s", c->pci);
    if (!*c->hwmon)
        /* Also what every processor with graphics inside has. */
        return strcmp(c->driver, "i915") == 0 || strcmp(c->driver, "xe") == 0
                   ? 0
                   : wt_findings_add(
                         notes, WT_FINDING_MISSING, "intel_gpu", info.id, "energy counter",
                         "sensors come with the drivers i915 and xe alone", "%s is driven by %s",
                         c->card, *c->driver ? c->driver : "no driver that is known");

    bool has_card = false, is_added = false;
    for (unsigned channel = 1; channel <= 2; channel++) {
        struct wt_gauge gauge = {0};
        char name[24];
        struct wt_error why;
        uint64_t uj;
        wt_text(name, sizeof(name), "energy%u_input", channel);
        put_path(&gauge.energy, c->hwmon, name);
        if (wt_gauge_file_read(g->ctx, &gauge.energy, &uj, &why) == WT_E_NOTFOUND)
            continue;
        find_status(g->ctx, c, channel == 2, &gauge);
        if (has_card) {
            info.is_part = true;
            wt_text(info.part_of, sizeof(info.part_of), "GPU-%s", place);
            wt_text(info.id, sizeof(info.id), "GPU-%s-chip", place);
            wt_text(info.name, sizeof(info.name), "chip of %s", card);
        }
        has_card = true;
        wt_text(path, sizeof(path), "%s%s", wt_fs_root(g->ctx), gauge.energy.path);
        wt_text(fix, sizeof(fix), "sudo chmod a+r %s", path);
        int rc = wt_gauges_add(g, &info, &gauge, fix, &is_added, notes);
        if (rc < 0)
            return rc;
    }
    if (has_card)
        return 0;
    return wt_findings_add(notes, WT_FINDING_MISSING, "intel_gpu", info.id, "energy counter",
                           "i915 has it from Linux 6.2 on, xe from 6.8", "%s has no energy1_input",
                           c->hwmon);
}

static int intel_gpu_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                          const struct wt_devices_options *options, struct wt_findings *notes,
                          struct wt_error *err)
{
    (void)options;
    static const char *const hwmon_names[] = {"i915", "xe", NULL};
    struct wt_gauges *g;
    struct wt_drm_card *cards = NULL;
    size_t count = 0;
    int rc = wt_gauges_new(&g, ctx, &wt_intel_gpu_ops, err);
    if (rc < 0)
        return rc;
    /* What cannot be read of a card was said when AMD's were looked for. */
    rc = wt_drm_find(ctx, VENDOR_INTEL, hwmon_names, "intel_gpu", &cards, &count, NULL);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_card(g, &cards[i], (unsigned)i, notes);
    free(cards);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for the Intel GPUs");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_intel_gpu_ops = {
    .name = "intel_gpu",
    .is_gpu = true,
    .open = intel_gpu_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
