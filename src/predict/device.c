/* device: see device.h.
 *
 * Two boards were measured under limits, a V100 and an A40 (docs/emulator-model.md), and what they
 * have in common is all that is known of others: a board of 2n watts is taken to spend on each
 * thing twice what one of n watts does. What its row says itself goes before that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "predict/device.h"

/* The profiles that were calibrated, on workloads other than language models. work: what BERT
 * training drew on these boards of the power of work that they give (bench/predict-judge). */
static const struct {
    const char *profile;
    double work;
} calibrated[] = {{"v100-pcie-32gb", 0.926}, {"a40", 1.189}};

static double work_of(const struct wt_profile *p)
{
    for (size_t i = 0; i < WT_COUNTOF(calibrated); i++)
        if (strcmp(calibrated[i].profile, p->name) == 0)
            return calibrated[i].work;
    return 1;
}

bool wt_device_is_calibrated(const struct wt_profile *p)
{
    for (size_t i = 0; i < WT_COUNTOF(calibrated); i++)
        if (strcmp(calibrated[i].profile, p->name) == 0)
            return true;
    return false;
}

static bool is_stacked(const struct wt_gpu *gpu)
{
    return strncmp(gpu->memory, "HBM", 3) == 0;
}

double wt_device_memory_share(const struct wt_gpu *gpu)
{
    return fmin(gpu->memory_reached_gb_s / gpu->memory_gb_s, 0.95);
}

/* Means over the sources, of powers as shares of the highest limit. */
static void take_sources(struct wt_profile *p, const struct wt_profile *const *sources,
                         size_t count)
{
    double n = (double)count;
    for (size_t i = 0; i < count; i++) {
        const struct wt_profile *s = sources[i];
        double w = s->limit_max_mw * 1e-3 * n, work = work_of(s);
        p->base_w += s->base_w / w;
        p->leak_w += s->leak_w / w;
        p->tree_w += s->tree_w / w;
        p->busy_w += work * s->busy_w / w;
        p->fp32_w += work * s->fp32_w / w;
        p->tensor_w += work * s->tensor_w / w;
        p->memory_w += work * s->memory_w / w;
        p->fp32_share += s->fp32_share / n;
        p->tensor_share += s->tensor_share / n;
        p->mem_share += s->mem_share / n;
        p->overlap_lost += s->overlap_lost / n;
        p->mem_sm_share += s->mem_sm_share / n;
        p->mem_sm_knee += s->mem_sm_knee / n;
        p->v_min += s->v_min / n;
        p->f_knee += s->f_knee / n;
        p->cap_share_low += s->cap_share_low / n;
        p->cap_share += s->cap_share / n;
        p->duty_min += s->duty_min / n;
        p->launch_ns += s->launch_ns / n;
        p->leak_per_k += s->leak_per_k / n;
        p->leak_ref_c += s->leak_ref_c / n;
    }
}

static int check_row(const struct wt_gpu *gpu, struct wt_error *err)
{
    const struct {
        double value;
        const char *name;
    } cells[] = {{gpu->tdp_w, "TDP"},
                 {gpu->clock_max_mhz, "highest clock"},
                 {gpu->memory_gb_s, "memory bandwidth"},
                 {gpu->fp32_tflop_s, "FP32 peak"}};
    for (size_t i = 0; i < WT_COUNTOF(cells); i++)
        if (!(cells[i].value > 0))
            return wt_fail(err, WT_E_NOTFOUND, "%s: its %s is not in the catalogue", gpu->name,
                           cells[i].name);
    return 0;
}

int wt_device_from_row(const struct wt_gpu *gpu, const struct wt_profile *const *sources,
                       size_t count, struct wt_profile *ret_profile, struct wt_error *err)
{
    const struct wt_profile *all[WT_COUNTOF(calibrated)];
    struct wt_profile p = {0};
    int rc = check_row(gpu, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; !count && i < WT_COUNTOF(calibrated); i++)
        all[i] = wt_profile_find(calibrated[i].profile);
    take_sources(&p, count ? sources : all, count ? count : WT_COUNTOF(calibrated));

    double max_w = gpu->limit_max_w > 0 ? gpu->limit_max_w : gpu->tdp_w;
    double min_w = gpu->limit_min_w > 0 ? gpu->limit_min_w : max_w / 2;
    double low_w = p.base_w + p.leak_w + p.tree_w; /* without work, as a share */
    p.base_w *= gpu->tdp_w;
    p.leak_w *= gpu->tdp_w;
    p.tree_w *= gpu->tdp_w;
    p.busy_w *= gpu->tdp_w;
    p.fp32_w *= gpu->tdp_w;
    p.tensor_w *= gpu->tdp_w;
    p.memory_w *= gpu->tdp_w;
    /* A program's context wakes clocks that rest when the board does: assumed, 8 % of the TDP. */
    if (gpu->idle_w > 0)
        p.base_w = fmax(0, gpu->idle_w + 0.08 * gpu->tdp_w - p.leak_w - p.tree_w);
    p.idle_w = gpu->idle_w > 0 ? gpu->idle_w : low_w * gpu->tdp_w / 2;
    p.title = p.board = p.name = "of the catalogue";
    p.clock_max_khz = (uint32_t)(gpu->clock_max_mhz * 1e3);
    p.clock_min_khz = p.clock_max_khz / 8;
    p.clock_step_khz = 15000;
    p.memclock_khz[0] = 1000000;
    p.limit_max_mw = (uint32_t)(max_w * 1e3);
    p.limit_min_mw = (uint32_t)(min_w * 1e3);
    p.limit_default_mw = (uint32_t)(fmin(gpu->tdp_w, max_w) * 1e3);
    p.fp32_flops_s = gpu->fp32_tflop_s * 1e12;
    p.tensor_flops_s = gpu->bf16_tflop_s > 0 ? gpu->bf16_tflop_s * 1e12 : 0;
    p.tf32_flops_s = gpu->tf32_tflop_s > 0 ? gpu->tf32_tflop_s * 1e12 : 0;
    p.mem_bytes_s = gpu->memory_gb_s * 1e9;
    if (gpu->memory_reached_gb_s > 0)
        p.mem_share = wt_device_memory_share(gpu);
    /* Boards with GDDR memory gate below their base clock, as the A40 does; with stacked memory
     * they go far below it, as the V100 does. One board of each was seen. */
    p.floor_share = is_stacked(gpu)           ? 0.30
                    : gpu->clock_base_mhz > 0 ? gpu->clock_base_mhz / gpu->clock_max_mhz
                                              : 0.6;
    p.ambient_c = 30;
    p.kelvin_per_w = 45 / gpu->tdp_w; /* assumed: 75 C at the TDP */
    p.heat_tau_s = 30;
    p.slowdown_c = 90;
    *ret_profile = p;
    return 0;
}

/* One way, of what vendors state for both together; known in general, and not looked up again. */
double wt_device_link_bytes_s(const struct wt_gpu *gpu)
{
    static const struct {
        const char *arch;
        double nvlink_gb_s, pcie_gb_s;
    } rows[] = {{"Pascal", 80, 12},     {"Volta", 150, 12}, {"Turing", 50, 12},
                {"Ampere", 300, 25},    {"Ada", 25, 25},    {"Hopper", 450, 50},
                {"Blackwell", 900, 50}, {"CDNA2", 200, 25}, {"CDNA3", 448, 50}};
    bool is_linked = strstr(gpu->id, "sxm") || strcmp(gpu->id, "gh200") == 0 ||
                     strncmp(gpu->arch, "CDNA", 4) == 0;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (strcmp(rows[i].arch, gpu->arch) == 0)
            return 1e9 * (is_linked ? rows[i].nvlink_gb_s : rows[i].pcie_gb_s);
    return 12e9;
}
