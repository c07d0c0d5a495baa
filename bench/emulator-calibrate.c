/* Fits a device profile's power and clock cells on measured curves of training, BERT rows left out.
 *
 *     build/bench/emulator-calibrate bench/power-traces v100 [SWEEPS]     (or a40)
 *
 * Prints the cells to write into emulator/profiles.c and how well each workload is met. What the
 * networks of the traces cost in operations is not recorded, so each workload has unknowns of its
 * own: the shares of its full-speed step that are bound by FP32 work and by memory (the rest is the
 * host's). For ResNet-50 these are known roughly and held: its 24.6 GFLOP an image at the measured
 * images a second make about two thirds of the step FP32-bound, and from batch 32 up the host does
 * not hold it back. All unknowns go through the real model (emulator/model.c) with its controller;
 * the search is a coordinate descent (steps grow on
 * success and shrink on failure) with chance directions between. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "emulator-trace.h"

#define STEP_NS 80e6 /* a step at full clock, about what these workloads have */
#define PAIRS   32   /* of an FP32-bound and a memory-bound kernel, in turn */

struct cell {
    const char *name;
    size_t offset; /* of a double in struct wt_profile */
    double low, high, step;
};
#define CELL(member, low, high, step)                                                              \
    {                                                                                              \
#member, offsetof(struct wt_profile, member), low, high, step                              \
    }

static const struct cell v100_cells[] = {
    CELL(base_w, 5, 30, 2),
    CELL(tree_w, 2, 40, 2),
    CELL(busy_w, 0, 140, 5),
    CELL(fp32_w, 60, 260, 8),
    CELL(cap_share_low, 0.94, 1.0, 0.005),
    CELL(memory_w, 15, 120, 5),
    CELL(v_min, 0.55, 0.95, 0.02),
    CELL(f_knee, 0.3, 0.9, 0.03),
    CELL(cap_share, 0.85, 1.0, 0.01),
    CELL(mem_sm_share, 0, 0.6, 0.03),
    CELL(mem_sm_knee, 0.1, 0.95, 0.05),
    CELL(floor_share, 0.15, 0.85, 0.03),
    CELL(leak_w, 4, 30, 1),
};
static const struct cell a40_cells[] = {
    CELL(base_w, 20, 80, 2),
    CELL(tree_w, 2, 40, 2),
    CELL(busy_w, 0, 140, 5),
    CELL(fp32_w, 60, 260, 8),
    CELL(cap_share_low, 0.94, 1.0, 0.005),
    CELL(memory_w, 15, 140, 5),
    CELL(cap_share, 0.85, 1.0, 0.01),
    CELL(mem_sm_share, 0, 0.6, 0.03),
    CELL(mem_sm_knee, 0.1, 0.95, 0.05),
    CELL(floor_share, 0.15, 0.85, 0.03),
    CELL(leak_w, 4, 30, 1),
    CELL(duty_min, 0.1, 1.0, 0.04),
};

/* Which rows are fitted. */
static const struct {
    const char *file, *network, *optimizer;
    unsigned batch;
    double fp32_share; /* known roughly, or -1 */
    bool is_hostless;
} picks[] = {
    {"v100", "resnet50", "adadelta", 32, 0.65, true},
    {"v100", "resnet50", "adadelta", 64, 0.67, true},
    {"v100", "resnet50", "adadelta", 128, 0.67, true},
    {"v100", "resnet50", "adadelta", 16, -1, false},
    {"v100", "deepspeech2", "adamw", 8, -1, false},
    {"v100", "deepspeech2", "adamw", 16, -1, false},
    {"v100", "deepspeech2", "adamw", 32, -1, false},
    {"v100", "deepspeech2", "adamw", 64, -1, false},
    {"v100", "shufflenetv2", "adam", 512, -1, false},
    {"v100", "shufflenetv2", "adam", 2048, -1, false},
    {"v100", "shufflenetv2", "adam", 64, -1, false},
    {"v100", "ncf", "adam", 1024, -1, false},
    {"a40", "resnet50", "adadelta", 32, -1, true},
    {"a40", "resnet50", "adadelta", 64, -1, true},
    {"a40", "resnet50", "adadelta", 128, -1, true},
    {"a40", "resnet50", "adadelta", 16, -1, false},
    {"a40", "deepspeech2", "adamw", 8, -1, false},
    {"a40", "deepspeech2", "adamw", 32, -1, false},
    {"a40", "deepspeech2", "adamw", 64, -1, false},
    {"a40", "shufflenetv2", "adadelta", 512, -1, false},
    {"a40", "shufflenetv2", "adadelta", 2048, -1, false},
    {"a40", "shufflenetv2", "adadelta", 256, -1, false},
    {"a40", "ncf", "adam", 1024, -1, false},
};

struct work {
    const struct trace_group *group;
    double fp32_known;
    bool is_hostless, is_light;
    double share[2], step[2]; /* FP32-bound, memory-bound */
    double cost, time_rms, power_rms;
};

static struct wt_model model;

/* One workload at all its limits; the cost is what is minimised. */
static void measure(struct work *w, const struct wt_profile *p)
{
    struct wt_emu_kernel kernels[2 * PAIRS];
    double fp32_ns = STEP_NS * w->share[0] / PAIRS, memory_ns = STEP_NS * w->share[1] / PAIRS;
    double flops_ns = p->fp32_flops_s * p->fp32_share * 1e-9;
    double bytes_ns = p->mem_bytes_s * p->mem_share * 1e-9;
    double host = fmax(1 - w->share[0] - w->share[1], 0);
    const struct trace_group *g = w->group;
    double log_off[TRACE_LIMITS], mean = 0;

    for (int i = 0; i < PAIRS; i++) {
        /* Even a bound kernel uses something of the other: a convolution reads, a norm computes. */
        kernels[2 * i] = (struct wt_emu_kernel){fp32_ns * flops_ns / (1 + 0.25 * p->overlap_lost),
                                                fp32_ns * 0.25 * bytes_ns, WT_EMU_FP32};
        kernels[2 * i + 1] = (struct wt_emu_kernel){
            memory_ns * 0.05 * flops_ns, memory_ns * bytes_ns / (1 + 0.05 * p->overlap_lost),
            WT_EMU_FP32};
    }
    w->cost = w->time_rms = w->power_rms = 0;
    for (unsigned i = 0; i < g->limits; i++) {
        struct trace_point point = trace_run(&model, p, g->limit_w[i], kernels, 2 * PAIRS,
                                             (int64_t)(host * STEP_NS), 300000000, 700000000);
        log_off[i] = log(point.time_s / g->time_s[i]);
        mean += log_off[i] / g->limits;
        double off = point.power_w / g->power_w[i] - 1;
        w->power_rms += off * off / g->limits;
        w->cost +=
            (sqrt(1 + off * off / (0.02 * 0.02)) - 1); /* long tails: one measurement a row */
    }
    for (unsigned i = 0; i < g->limits; i++) {
        double off = log_off[i] - mean;
        w->time_rms += off * off / g->limits;
        w->cost += (sqrt(1 + off * off / (0.02 * 0.02)) - 1);
    }
    if (w->is_light)
        w->cost += pow(w->power_rms / (0.03 * 0.03), 0.5) * 20; /* pins the power at rest */
    w->time_rms = sqrt(w->time_rms);
    w->power_rms = sqrt(w->power_rms);
    if (w->fp32_known >= 0)
        w->cost += 2 * pow((w->share[0] - w->fp32_known) / 0.05, 2);
}

static double *value_of(struct wt_profile *p, const struct cell *cell)
{
    return (double *)((char *)p + cell->offset);
}

static double measure_all(struct work *works, size_t count, const struct wt_profile *p)
{
    double cost = 0;
    for (size_t i = 0; i < count; i++) {
        measure(&works[i], p);
        cost += works[i].cost;
    }
    return cost;
}

static void fit_shares(struct work *w, const struct wt_profile *p)
{
    for (int k = 0; k < 2; k++)
        for (int sign = 1; sign >= -1; sign -= 2) {
            struct work tried = *w;
            tried.share[k] += sign * w->step[k];
            if (w->is_hostless)
                tried.share[1 - k] = 1 - tried.share[k];
            if (tried.share[0] < 0.01 || tried.share[1] < 0.01 ||
                tried.share[0] + tried.share[1] > 1.000001)
                continue;
            measure(&tried, p);
            if (tried.cost < w->cost) {
                *w = tried;
                w->step[k] *= 1.5;
                break;
            }
            if (sign < 0)
                w->step[k] = fmax(w->step[k] * 0.6, 0.002);
        }
}

int main(int argc, char **argv)
{
    static struct trace_group groups[TRACE_GROUPS];
    static struct work works[WT_COUNTOF(picks)], tried[WT_COUNTOF(picks)];
    char path[512];
    size_t count = 0;

    if (argc < 3 || (strcmp(argv[2], "v100") != 0 && strcmp(argv[2], "a40") != 0)) {
        fprintf(stderr, "usage: %s DIR v100|a40 [SWEEPS]\n", argv[0]);
        return 2;
    }
    bool is_v100 = strcmp(argv[2], "v100") == 0;
    struct wt_profile p = *wt_profile_find(is_v100 ? "v100-pcie-32gb" : "a40");
    const struct cell *cells = is_v100 ? v100_cells : a40_cells;
    size_t cell_count = is_v100 ? WT_COUNTOF(v100_cells) : WT_COUNTOF(a40_cells);
    int sweeps = argc > 3 ? atoi(argv[3]) : 60;

    snprintf(path, sizeof(path), "%s/summary_power_%s.csv", argv[1], argv[2]);
    int group_count = trace_read(path, groups);
    if (group_count < 0)
        return 1;
    for (size_t k = 0; k < WT_COUNTOF(picks); k++)
        for (int i = 0; i < group_count; i++)
            if (!trace_is_judge(&groups[i]) && strcmp(picks[k].file, argv[2]) == 0 &&
                strcmp(picks[k].network, groups[i].network) == 0 &&
                strcmp(picks[k].optimizer, groups[i].optimizer) == 0 &&
                picks[k].batch == groups[i].batch) {
                struct work *w = &works[count++];
                bool is_light = groups[i].power_w[0] < 90 && strcmp(picks[k].network, "ncf") == 0;
                *w = (struct work){.group = &groups[i],
                                   .fp32_known = picks[k].fp32_share,
                                   .is_hostless = picks[k].is_hostless,
                                   .is_light = is_light,
                                   .share = {is_light ? 0.02 : 0.6, is_light ? 0.02 : 0.35},
                                   .step = {0.04, 0.04}};
                if (w->is_hostless)
                    w->share[1] = 1 - w->share[0];
            }

    uint64_t dice = 1;
    double steps[16];
    for (size_t i = 0; i < cell_count; i++)
        steps[i] = cells[i].step;
    double cost = measure_all(works, count, &p);
    for (int sweep = 0; sweep < sweeps; sweep++) {
        for (size_t i = 0; i < count; i++)
            fit_shares(&works[i], &p);
        cost = 0;
        for (size_t i = 0; i < count; i++)
            cost += works[i].cost;
        for (size_t i = 0; i < cell_count; i++) {
            bool is_better = false;
            for (int sign = 1; sign >= -1 && !is_better; sign -= 2) {
                struct wt_profile q = p;
                double value = *value_of(&p, &cells[i]) + sign * steps[i];
                *value_of(&q, &cells[i]) = fmin(fmax(value, cells[i].low), cells[i].high);
                memcpy(tried, works, sizeof(works));
                double now = measure_all(tried, count, &q);
                if (now < cost) {
                    cost = now;
                    p = q;
                    memcpy(works, tried, sizeof(works));
                    is_better = true;
                }
            }
            steps[i] *= is_better ? 1.4 : 0.6;
            steps[i] = fmax(steps[i], cells[i].step * 0.02);
        }
        /* The cells pull on one another: steps along chance directions get past the corners. */
        for (int k = 0; k < 16; k++) {
            struct wt_profile q = p;
            for (size_t i = 0; i < cell_count; i++) {
                dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
                double off = (double)(dice >> 33) / (double)(1u << 30) - 1;
                double value = *value_of(&p, &cells[i]) + off * cells[i].step * (k % 4 + 1) * 0.5;
                *value_of(&q, &cells[i]) = fmin(fmax(value, cells[i].low), cells[i].high);
            }
            memcpy(tried, works, sizeof(works));
            for (size_t i = 0; i < count; i++) {
                measure(&tried[i], &q);
                fit_shares(&tried[i], &q);
            }
            double now = 0;
            for (size_t i = 0; i < count; i++)
                now += tried[i].cost;
            if (now < cost) {
                cost = now;
                p = q;
                memcpy(works, tried, sizeof(works));
            }
        }
        fprintf(stderr, "sweep %d: cost %.2f\n", sweep + 1, cost);
    }

    printf("%s\n", p.board);
    for (size_t i = 0; i < cell_count; i++)
        printf("  .%s = %.3g\n", cells[i].name, *value_of(&p, &cells[i]));
    printf("  at rest, full clock: %.1f W\n", p.base_w + p.leak_w + p.tree_w);
    printf("  %-14s %5s  %5s %6s  %8s %8s\n", "workload", "batch", "fp32", "memory", "time rms",
           "power rms");
    for (size_t i = 0; i < count; i++)
        printf("  %-14s %5u  %5.2f %6.2f  %7.1f%% %8.1f%%\n", works[i].group->network,
               works[i].group->batch, works[i].share[0], works[i].share[1], 100 * works[i].time_rms,
               100 * works[i].power_rms);
    return 0;
}
