/* amdgpu: AMD GPUs by what their kernel driver shows in /sys, and the energy counter of ROCm SMI
 * where that library is installed.
 *
 * What counts: a card of its own. An APU's power is that of the whole processor, cores included, so
 * it is a part of the processor's package, whose counter has it. Of the two dies of an MI250 only
 * one has a sensor, and it sees both: the other is a part of it. The energy counter of some cards
 * stands still (MI100, until the next boot): one that does not move is not taken.
 *
 * power1_average is the firmware's mean, over a time that is not published; power1_input is the
 * present value. A driver has the one, the other or both.
 *
 * Source: Documentation/gpu/amdgpu/thermal of Linux and amdgpu_pm.c (which files there are, who has
 * vddnb), aldebaran_ppt.c (the second die's limit reads 0); dies: ROCm/rocm_smi_lib 160; a counter
 * that stands still: ROCm/amdsmi 38. */
#include <stdlib.h>
#include <string.h>

#include "sensor/drm.h"
#include "sensor/rocm.h"

#define VENDOR_AMD    0x1002u
#define COUNTER_NS    (100 * WT_NS_PER_MS) /* a counter that is alive moves within */
#define COUNTER_AT_MW 1000                 /* and must, from this power on */

struct gpu {
    const struct wt_drm_card *card;
    struct wt_device_info info;
    struct wt_gauge gauge;
    bool is_apu, is_second_die, has_second_die, has_counter;
    uint64_t first_uj;
    double step_uj;
};

static const char *name_of(unsigned device)
{
    static const struct {
        unsigned device;
        const char *name;
    } rows[] = {
        {0x738c, "AMD Instinct MI100"},        {0x7408, "AMD Instinct MI250X"},
        {0x740c, "AMD Instinct MI250X/MI250"}, {0x740f, "AMD Instinct MI210"},
        {0x74a0, "AMD Instinct MI300A"},       {0x74a1, "AMD Instinct MI300X"},
        {0x74a5, "AMD Instinct MI325X"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].device == device)
            return rows[i].name;
    return NULL;
}

/* ---- what a card is ---- */

static void identify(const struct wt_ctx *ctx, const struct gpu *gpus, size_t i,
                     struct wt_device_info *info)
{
    const struct wt_drm_card *c = gpus[i].card;
    char path[160], text[96];
    const char *known = name_of(c->device), *place = *c->pci ? c->pci : c->card;
    info->kind = WT_DEVICE_GPU;
    info->index = (unsigned)i;
    wt_text(info->address, sizeof(info->address), "%s", c->pci);
    wt_text(path, sizeof(path), "%s/unique_id", c->dir);
    bool has_id = wt_fs_read(ctx, path, text, sizeof(text), NULL) == 0 && *text &&
                  strspn(text, "0123456789abcdefABCDEF") == strlen(text) &&
                  strspn(text, "0") != strlen(text);
    wt_text(info->id, sizeof(info->id), "GPU-%s", has_id ? text : place);
    for (size_t k = 0; k < i; k++)
        if (strcmp(gpus[k].info.id, info->id) == 0)
            wt_text(info->id, sizeof(info->id), "GPU-%s", place);

    wt_text(path, sizeof(path), "%s/product_name", c->dir);
    if (wt_fs_read(ctx, path, text, sizeof(text), NULL) == 0 && *text)
        wt_text(info->name, sizeof(info->name), "%s", text);
    else if (known)
        wt_text(info->name, sizeof(info->name), "%s", known);
    else
        wt_text(info->name, sizeof(info->name), "AMD GPU 0x%04x", c->device);
    if (wt_fs_read(ctx, "/sys/module/amdgpu/version", info->driver, sizeof(info->driver), NULL) < 0)
        info->driver[0] = '\0';
    wt_text(path, sizeof(path), "%s/mem_info_vram_total", c->dir);
    if (wt_fs_read_u64(ctx, path, &info->mem_bytes, NULL) < 0)
        info->mem_bytes = 0;
    wt_text(info->via, sizeof(info->via), "hwmon");
    /* Neither gain nor period is published. */
    info->traits.gain_ppm = 50000;
}

static void add_status(struct wt_gauge *gauge, size_t *used, unsigned bit, const char *path,
                       uint32_t mul, uint32_t div)
{
    gauge->status[*used].bit = bit;
    wt_text(gauge->status[*used].file.path, sizeof(gauge->status[*used].file.path), "%s", path);
    gauge->status[*used].file.mul = mul;
    gauge->status[*used].file.div = div;
    ++*used;
}

/* The hottest place, else the edge, else what there is. */
static bool find_temp(const struct wt_ctx *ctx, const char *hwmon, char *buf, size_t size)
{
    static const char *const labels[] = {"junction", "edge"};
    char path[176], name[24], text[32];
    for (size_t i = 0; i < WT_COUNTOF(labels); i++)
        for (unsigned n = 1; n <= 3; n++) {
            wt_text(path, sizeof(path), "%s/temp%u_label", hwmon, n);
            wt_text(name, sizeof(name), "temp%u_input", n);
            if (wt_fs_read(ctx, path, text, sizeof(text), NULL) == 0 &&
                strcmp(text, labels[i]) == 0 && wt_drm_has(ctx, hwmon, name, buf, size))
                return true;
        }
    return wt_drm_has(ctx, hwmon, "temp1_input", buf, size);
}

static void find_status(const struct wt_ctx *ctx, const struct wt_drm_card *c,
                        struct wt_gauge *gauge)
{
    char path[176];
    size_t used = 0;
    if (find_temp(ctx, c->hwmon, path, sizeof(path)))
        add_status(gauge, &used, WT_HAS_TEMP, path, 1, 1);
    if (wt_drm_has(ctx, c->hwmon, "freq1_input", path, sizeof(path)))
        add_status(gauge, &used, WT_HAS_CLOCK, path, 1, 1000);
    if (wt_drm_has(ctx, c->hwmon, "freq2_input", path, sizeof(path)))
        add_status(gauge, &used, WT_HAS_MEMCLOCK, path, 1, 1000);
    if (wt_drm_has(ctx, c->hwmon, "power1_cap", path, sizeof(path)))
        add_status(gauge, &used, WT_HAS_LIMIT, path, 1, 1000);
    if (wt_drm_has(ctx, c->dir, "gpu_busy_percent", path, sizeof(path)))
        add_status(gauge, &used, WT_HAS_UTIL, path, 10000, 1);
    if (wt_drm_has(ctx, c->dir, "mem_info_vram_used", path, sizeof(path))) {
        add_status(gauge, &used, WT_HAS_MEM, path, 1, 1);
        wt_text(gauge->mem_total.path, sizeof(gauge->mem_total.path), "%s/mem_info_vram_total",
                c->dir);
    }
}

/* The first of the two that can be read, else the first that is there and says why not. */
static void find_power(const struct wt_ctx *ctx, const struct wt_drm_card *c, struct gpu *gpu)
{
    static const char *const names[] = {"power1_average", "power1_input"};
    char *path = gpu->gauge.power.path;
    size_t size = sizeof(gpu->gauge.power.path);
    gpu->gauge.power.div = 1000;
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        if (wt_drm_has(ctx, c->hwmon, names[i], path, size)) {
            gpu->info.traits.is_power_averaged = i == 0;
            return;
        }
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        uint64_t uw;
        wt_text(path, size, "%s/%s", c->hwmon, names[i]);
        if (wt_fs_read_u64(ctx, path, &uw, NULL) != WT_E_NOTFOUND)
            return;
    }
    path[0] = '\0';
}

static void look_at(const struct wt_ctx *ctx, struct gpu *gpus, size_t i)
{
    struct gpu *gpu = &gpus[i];
    const struct wt_drm_card *c = gpu->card;
    char path[176], text[32];
    uint64_t value;
    identify(ctx, gpus, i, &gpu->info);
    if (!*c->hwmon)
        return;
    find_status(ctx, c, &gpu->gauge);
    find_power(ctx, c, gpu);
    /* The northbridge's voltage: what only processors have. */
    wt_text(path, sizeof(path), "%s/in1_label", c->hwmon);
    gpu->is_apu =
        wt_fs_read(ctx, path, text, sizeof(text), NULL) == 0 && strcmp(text, "vddnb") == 0;
    if (c->device != 0x7408 && c->device != 0x740c)
        return;
    wt_text(path, sizeof(path), "%s/power1_cap", c->hwmon);
    int rc = wt_fs_read_u64(ctx, path, &value, NULL);
    if (rc < 0 && *gpu->gauge.power.path)
        rc = wt_gauge_file_read(ctx, &gpu->gauge.power, &value, NULL);
    gpu->is_second_die = rc < 0 ? !*gpu->gauge.power.path : value == 0;
}

/* ---- what belongs to what ---- */

static bool is_free_first_die(const struct gpu *gpu, unsigned device)
{
    return !gpu->is_second_die && !gpu->has_second_die && gpu->card->device == device;
}

/* The other die lies beside it on the bus: before it, or else behind it. */
static void find_families(struct gpu *gpus, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct gpu *gpu = &gpus[i], *first = NULL;
        if (!gpu->is_second_die)
            continue;
        if (i && is_free_first_die(gpu - 1, gpu->card->device))
            first = gpu - 1;
        else if (i + 1 < count && is_free_first_die(gpu + 1, gpu->card->device))
            first = gpu + 1;
        gpu->info.is_part = true;
        /* What reads 0 there is no reading. */
        gpu->gauge.power.path[0] = '\0';
        if (!first)
            continue;
        first->has_second_die = true;
        wt_text(gpu->info.part_of, sizeof(gpu->info.part_of), "%s", first->info.id);
    }
    for (size_t i = 0; i < count; i++)
        if (gpus[i].is_apu) {
            gpus[i].info.is_part = true;
            wt_text(gpus[i].info.part_of, sizeof(gpus[i].info.part_of), "cpu-package-0");
        }
}

/* ---- the counters ---- */

static void take_counter(struct gpu *gpu, struct wt_rocm *rocm)
{
    gpu->gauge.counter = wt_rocm_gauge_uj;
    gpu->gauge.counter_data = rocm;
    gpu->info.traits.energy_quantum_uj = (uint64_t)gpu->step_uj + 1;
    wt_text(gpu->info.via, sizeof(gpu->info.via), "rocm-smi");
}

static int note_counter(const struct wt_ctx *ctx, const struct gpu *gpu, const struct wt_error *err,
                        struct wt_findings *notes)
{
    uint64_t mw = 0;
    if (err)
        return wt_findings_add_error(notes, "amdgpu", gpu->info.id, "energy counter", err);
    struct wt_gauge_file power = gpu->gauge.power;
    if (*power.path)
        (void)wt_gauge_file_read(ctx, &power, &mw, NULL);
    wt_fs_drop(&power.keep);
    if (mw >= COUNTER_AT_MW)
        return wt_findings_add(notes, WT_FINDING_BROKEN, "amdgpu", gpu->info.id, "energy counter",
                               "power is read instead; a reboot is said to bring the counter back",
                               "it stands still while power reads %.0f W: left out",
                               wt_w_from_mw(mw));
    return wt_findings_add(notes, WT_FINDING_MISSING, "amdgpu", gpu->info.id, "energy counter", "",
                           "it did not move within %d ms: left out",
                           (int)(COUNTER_NS / WT_NS_PER_MS));
}

/* Takes those counters that move. */
static int try_counters(const struct wt_ctx *ctx, struct wt_rocm *rocm, struct gpu *gpus,
                        size_t count, struct wt_findings *notes)
{
    int rc = 0;
    bool is_any = false;
    struct wt_error why;
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct gpu *gpu = &gpus[i];
        if (gpu->info.is_part || wt_rocm_find(rocm, gpu->card->bdf, &gpu->gauge.counter_index) < 0)
            continue;
        gpu->has_counter = wt_rocm_energy(rocm, gpu->gauge.counter_index, &gpu->first_uj,
                                          &gpu->step_uj, &why) == 0;
        if (!gpu->has_counter)
            rc = note_counter(ctx, gpu, &why, notes);
        is_any |= gpu->has_counter;
    }
    if (is_any && rc == 0)
        ctx->clock.sleep_until_ns(ctx->clock.data, wt_ctx_now_ns(ctx) + COUNTER_NS);
    for (size_t i = 0; i < count && rc == 0; i++) {
        struct gpu *gpu = &gpus[i];
        uint64_t uj;
        if (!gpu->has_counter)
            continue;
        int read = wt_rocm_energy(rocm, gpu->gauge.counter_index, &uj, NULL, &why);
        if (read == 0 && uj > gpu->first_uj)
            take_counter(gpu, rocm);
        else
            rc = note_counter(ctx, gpu, read < 0 ? &why : NULL, notes);
    }
    return rc;
}

/* Only where there is something that it could read. */
static int open_counters(struct wt_gauges *g, struct gpu *gpus, size_t count,
                         struct wt_findings *notes)
{
    struct wt_rocm *rocm;
    struct wt_error why;
    bool is_any = false;
    for (size_t i = 0; i < count; i++)
        is_any |= !gpus[i].info.is_part;
    if (!is_any)
        return 0;
    int rc = wt_rocm_open(&rocm, g->ctx, &why);
    if (rc == WT_E_NOMEM)
        return rc;
    if (rc < 0) {
        const char *own = getenv("WATTUNE_ROCM_SMI");
        bool is_asked = !*g->ctx->sysroot || (own && *own);
        return is_asked ? wt_findings_add_error(notes, "amdgpu", "", "energy counters", &why) : 0;
    }
    g->data = rocm;
    return try_counters(g->ctx, rocm, gpus, count, notes);
}

static void free_rocm(struct wt_gauges *g)
{
    wt_rocm_close(g->data);
}

/* ---- the source ---- */

static int note_bare(const struct gpu *gpu, struct wt_findings *notes)
{
    const struct wt_drm_card *c = gpu->card;
    if (*c->driver && strcmp(c->driver, "amdgpu") != 0)
        return wt_findings_add(notes, WT_FINDING_MISSING, "amdgpu", gpu->info.id, "power",
                               "sensors come with the driver amdgpu alone", "%s is driven by %s",
                               c->card, c->driver);
    if (*c->hwmon)
        return wt_findings_add(notes, WT_FINDING_MISSING, "amdgpu", gpu->info.id, "power",
                               "in a virtual machine, measure on its host",
                               "%s has neither power1_average nor power1_input", c->hwmon);
    return wt_findings_add(notes, WT_FINDING_MISSING, "amdgpu", gpu->info.id, "power",
                           "in a virtual machine, measure on its host; in a container, mount the "
                           "host's /sys",
                           "%s/hwmon shows no sensors of amdgpu", c->dir);
}

static int add_gpu(struct wt_gauges *g, const struct gpu *gpu, struct wt_findings *notes)
{
    bool is_bare = !*gpu->gauge.power.path && !gpu->gauge.counter;
    if (is_bare && !gpu->is_second_die)
        return note_bare(gpu, notes);
    return wt_gauges_add(g, &gpu->info, &gpu->gauge,
                         "the card may be asleep or being reset, where newer drivers refuse: start "
                         "work on it first",
                         NULL, notes);
}

static int amdgpu_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                       const struct wt_devices_options *options, struct wt_findings *notes,
                       struct wt_error *err)
{
    (void)options;
    static const char *const hwmon_names[] = {"amdgpu", NULL};
    struct wt_gauges *g;
    struct wt_drm_card *cards = NULL;
    struct gpu *gpus = NULL;
    size_t count = 0;
    int rc = wt_gauges_new(&g, ctx, &wt_amdgpu_ops, err);
    if (rc < 0)
        return rc;
    g->free_data = free_rocm;
    rc = wt_drm_find(ctx, VENDOR_AMD, hwmon_names, "amdgpu", &cards, &count, notes);
    if (rc == 0 && !(gpus = calloc(count + 1, sizeof(*gpus))))
        rc = WT_E_NOMEM;
    for (size_t i = 0; i < count && rc == 0; i++) {
        gpus[i].card = &cards[i];
        look_at(ctx, gpus, i);
    }
    if (rc == 0) {
        find_families(gpus, count);
        rc = open_counters(g, gpus, count, notes);
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_gpu(g, &gpus[i], notes);
    free(gpus);
    free(cards);
    if (rc < 0) {
        wt_gauges_close(&g->source);
        return wt_fail(err, rc, "no memory for the AMD GPUs");
    }
    *ret_source = &g->source;
    return 0;
}

const struct wt_source_ops wt_amdgpu_ops = {
    .name = "amdgpu",
    .is_gpu = true,
    .visible_env = "ROCR_VISIBLE_DEVICES",
    .open = amdgpu_open,
    .read = wt_gauges_read,
    .close = wt_gauges_close,
};
