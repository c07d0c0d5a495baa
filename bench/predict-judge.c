/* Predictions against measured boards: each board predicted from its catalogue row, with its own
 * measurements left out, and again after one calibration run at its highest limit; then absolute
 * decode against published measurements.
 *
 *     build/bench/predict-judge bench/power-traces [OTHER.csv GPU]    (exit 1: outside a bar)
 *
 * With a file in the traces' form and the name of its GPU in the catalogue, that board is judged
 * too.
 *
 * Bars: relative time (limits of 60 % of the highest and up) and relative energy (all limits) of
 * BERT training off by 10 % at most at the median; after the calibration 5 % and 4 %. Calibrated by
 * a run of another batch, 95 % within the bounds that wt_predict() gives a doubted run. Energy per
 * token of decoding within 30 % at the median. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator-trace.h"
#include "emulator/physics.h"
#include "predict/device.h"
#include "wattune/predict.h"

#define ERRORS 2048

struct errors {
    double time[ERRORS], energy[ERRORS];
    unsigned times, energies;
};

static struct wt_catalogue *catalogue;

static void die(const struct wt_error *err)
{
    fprintf(stderr, "predict-judge: %s\n", err->text);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, unsigned count, double share)
{
    if (!count)
        return NAN;
    qsort(values, count, sizeof(*values), by_value);
    return values[(unsigned)lround(share * (count - 1))];
}

/* The sequence lengths are assumed: the traces do not give them. */
static struct wt_work bert(const struct trace_group *g)
{
    struct wt_work work = {.kind = WT_WORK_TRAIN, .dtype = WT_F32, .batch = g->batch};
    struct wt_error err;
    if (wt_work_find("bert-base", &work, &err) < 0)
        die(&err);
    work.seq = strcmp(g->dataset, "squad") == 0 ? 384 : 128;
    return work;
}

static void scale(struct wt_profile *p, double speed, double power)
{
    p->fp32_share *= speed;
    p->mem_share *= speed;
    p->launch_ns /= speed;
    p->busy_w *= power;
    p->fp32_w *= power;
    p->memory_w *= power;
}

static struct wt_steady steady_at(const struct wt_profile *p, const struct wt_work_ops *ops,
                                  double limit_w)
{
    const struct wt_steady_load load = {ops->kernels, ops->count, 0};
    struct wt_steady s;
    struct wt_error err;
    if (wt_physics_steady(p, &load, limit_w, 0, &s, &err) < 0)
        die(&err);
    return s;
}

/* As wt_predict() is calibrated; on a profile that must not have seen the board. Returns what the
 * powers of work were multiplied by. */
static double calibrate(struct wt_profile *p, const struct wt_work_ops *ops, double limit_w,
                        double power_w)
{
    double all = 1;
    for (int i = 0; i < 30; i++) {
        struct wt_steady s = steady_at(p, ops, limit_w);
        double rest_w = p->base_w + p->leak_w + p->tree_w;
        double power = (power_w - rest_w) / (s.power_w - rest_w);
        if (s.is_capped && power > 1)
            break; /* the limit decides, and tells nothing of the board */
        scale(p, 1, power);
        all *= power;
        if (fabs(power - 1) < 1e-4)
            break;
    }
    return all;
}

/* What BERT drew of what a profile, which was fitted without it, gives: for predict/device.c. */
static void print_factor(const struct trace_group *groups, int found, const char *profile)
{
    double factors[TRACE_GROUPS];
    unsigned count = 0;
    for (int i = 0; i < found; i++) {
        const struct trace_group *g = &groups[i];
        struct wt_profile p = *wt_profile_find(profile);
        struct wt_work_ops ops;
        struct wt_error err;
        if (!trace_is_judge(g))
            continue;
        struct wt_work work = bert(g);
        if (wt_work_ops(&work, &ops, &err) < 0)
            die(&err);
        factors[count++] =
            calibrate(&p, &ops, g->limit_w[g->limits - 1], g->power_w[g->limits - 1]);
        wt_work_ops_done(&ops);
    }
    printf("  of the profile %s BERT draws %.3f of the power of work at the median\n", profile,
           quantile(factors, count, 0.5));
}

static void judge_group(const struct wt_profile *profile, const struct trace_group *g,
                        bool is_calibrated, struct errors *errors, bool is_printed)
{
    struct wt_work work = bert(g);
    struct wt_work_ops ops;
    struct wt_error err;
    struct wt_profile p = *profile;
    unsigned top = g->limits - 1;
    if (wt_work_ops(&work, &ops, &err) < 0)
        die(&err);
    if (is_calibrated)
        calibrate(&p, &ops, g->limit_w[top], g->power_w[top]);
    struct wt_steady best = steady_at(&p, &ops, g->limit_w[top]);
    if (is_printed)
        printf("  %-12s batch %4u %s:", g->dataset, g->batch, is_calibrated ? "calibrated" : "row");
    for (unsigned i = 0; i < top; i++) {
        struct wt_steady s = steady_at(&p, &ops, g->limit_w[i]);
        double time = s.pass_ns / best.pass_ns, energy = time * s.power_w / best.power_w;
        double had_time = g->time_s[i] / g->time_s[top];
        double had_energy = had_time * g->power_w[i] / g->power_w[top];
        if (is_printed)
            printf(" %.0f W %+.0f/%+.0f %%", g->limit_w[i], 100 * (time / had_time - 1),
                   100 * (energy / had_energy - 1));
        if (errors->times >= ERRORS || errors->energies >= ERRORS)
            continue;
        if (g->limit_w[i] >= 0.6 * g->limit_w[top])
            errors->time[errors->times++] = fabs(time / had_time - 1);
        errors->energy[errors->energies++] = fabs(energy / had_energy - 1);
    }
    if (is_printed)
        printf("\n");
    wt_work_ops_done(&ops);
}

/* Calibrated by a run of another batch: each batch of a dataset at the highest limit, by each
 * other. An epoch is the same sequences at any batch. */
static bool judge_batches(const struct wt_profile *profile, const struct trace_group *groups,
                          int found)
{
    static struct errors errors;
    double powers[ERRORS];
    errors = (struct errors){.times = 0};
    for (int i = 0; i < found * found; i++) {
        const struct trace_group *g[2] = {&groups[i / found], &groups[i % found]};
        struct wt_profile p = *profile;
        struct wt_steady s[2];
        struct wt_error err;
        if (g[0] == g[1] || !trace_is_judge(g[0]) || !trace_is_judge(g[1]) ||
            strcmp(g[0]->dataset, g[1]->dataset) != 0 || errors.times >= ERRORS)
            continue;
        double had_time = 1, had_power = 1, time = 1;
        for (int k = 0; k < 2; k++) {
            struct wt_work work = bert(g[k]);
            struct wt_work_ops ops;
            unsigned top = g[k]->limits - 1;
            if (wt_work_ops(&work, &ops, &err) < 0)
                die(&err);
            if (k == 0)
                calibrate(&p, &ops, g[k]->limit_w[top], g[k]->power_w[top]);
            s[k] = steady_at(&p, &ops, g[k]->limit_w[top]);
            time = s[k].pass_ns / g[k]->batch / time;
            had_time = g[k]->time_s[top] / had_time;
            had_power = g[k]->power_w[top] / had_power;
            wt_work_ops_done(&ops);
        }
        /* As a factor, either way. */
        double power = s[1].power_w / s[0].power_w;
        errors.energy[errors.energies++] = exp(fabs(log(time * power / had_time / had_power)));
        powers[errors.times] = exp(fabs(log(power / had_power)));
        errors.time[errors.times++] = exp(fabs(log(time / had_time)));
    }
    double time = quantile(errors.time, errors.times, 0.95),
           power = quantile(powers, errors.times, 0.95);
    printf("  => by a run of another batch (%u pairs): time off by a factor of %.2f at the median, "
           "%.2f "
           "at 95 %% (bar 2.4); power %.2f at 95 %% (bar 1.4); energy %.2f at 95 %%\n",
           errors.times, quantile(errors.time, errors.times, 0.5), time, power,
           quantile(errors.energy, errors.energies, 0.95));
    return time <= 2.4 && power <= 1.4;
}

static bool judge_board(const char *path, const char *name, const char *other)
{
    static struct trace_group groups[TRACE_GROUPS];
    const struct wt_profile *sources[2];
    struct wt_gpu gpu;
    struct wt_profile profile;
    struct wt_error err;
    size_t count = 0;
    bool is_met = true;
    int found = trace_read(path, groups);
    if (found < 0)
        exit(1);
    if (wt_gpu_find(catalogue, name, &gpu, &err) < 0)
        die(&err);
    if (other)
        sources[count++] = wt_profile_find(other);
    if (wt_device_from_row(&gpu, sources, count, &profile, &err) < 0)
        die(&err);
    printf("\nBERT-base on the %s, from its row%s%s (time/energy off at each limit)\n", gpu.name,
           other ? " and what is known of the " : " and both calibrated boards",
           other ? other : "");
    for (int is_calibrated = 0; is_calibrated < 2; is_calibrated++) {
        static struct errors errors;
        errors = (struct errors){.times = 0};
        for (int i = 0; i < found; i++)
            if (trace_is_judge(&groups[i]) && groups[i].limits > 1)
                judge_group(&profile, &groups[i], is_calibrated, &errors, true);
        double time = quantile(errors.time, errors.times, 0.5),
               energy = quantile(errors.energy, errors.energies, 0.5);
        double time_bar = is_calibrated ? 0.05 : 0.10, energy_bar = is_calibrated ? 0.04 : 0.10;
        printf("  => %s: relative time off %.1f %% at the median (bar %.0f), %.1f %% at 95 %%; "
               "energy %.1f %% (bar %.0f), %.1f %%\n",
               is_calibrated ? "after one run at the top" : "from the row alone", 100 * time,
               100 * time_bar, 100 * quantile(errors.time, errors.times, 0.95), 100 * energy,
               100 * energy_bar, 100 * quantile(errors.energy, errors.energies, 0.95));
        is_met &= time <= time_bar && energy <= energy_bar;
    }
    is_met &= judge_batches(&profile, groups, found);
    if (other)
        print_factor(groups, found, gpu.profile);
    return is_met;
}

/* ML.ENERGY leaderboard v3 (December 2025), lm-arena-chat, bf16: whole GPUs by NVML, J a token
 * made, reading the prompts included; median time between tokens. */
static const struct point {
    const char *model, *gpu;
    unsigned devices, batch;
    double power_w, j_per_token, token_ms;
} points[] = {
    {"llama-3.1-8b", "h100-sxm", 1, 8, 486, .455, 7.3},
    {"llama-3.1-8b", "h100-sxm", 1, 16, 513, .263, 7.9},
    {"llama-3.1-8b", "h100-sxm", 1, 32, 560, .165, 8.9},
    {"llama-3.1-8b", "h100-sxm", 1, 64, 610, .119, 11.5},
    {"llama-3.1-8b", "h100-sxm", 1, 128, 669, .0951, 16.5},
    {"llama-3.1-8b", "h100-sxm", 1, 255, 691, .0766, 26.1},
    {"llama-3.1-8b", "h100-sxm", 1, 511, 688, .0702, 47.4},
    {"llama-3.1-8b", "b200-sxm", 1, 8, 639, .391, 4.6},
    {"llama-3.1-8b", "b200-sxm", 1, 32, 576, .151, 6.3},
    {"llama-3.1-8b", "b200-sxm", 1, 128, 449, .0983, 26.7},
    {"llama-3.1-8b", "b200-sxm", 1, 511, 577, .0602, 50.2},
    {"qwen3-8b", "h100-sxm", 1, 8, 427, .444, 8.2},
    {"qwen3-8b", "h100-sxm", 1, 32, 478, .163, 10.6},
    {"qwen3-8b", "h100-sxm", 1, 128, 573, .0966, 20.7},
    {"qwen3-8b", "h100-sxm", 1, 255, 633, .0820, 31.4},
    {"qwen3-8b", "h100-sxm", 1, 474, 616, .0721, 47.2},
    {"qwen3-32b", "h100-sxm", 1, 8, 538, 1.726, 25.2},
    {"qwen3-32b", "h100-sxm", 1, 16, 566, .961, 26.4},
    {"qwen3-32b", "h100-sxm", 1, 29, 599, .624, 28.8},
    {"qwen3-32b", "b200-sxm", 1, 8, 860, 1.545, 14.1},
    {"qwen3-32b", "b200-sxm", 1, 32, 849, .474, 16.8},
    {"qwen3-32b", "b200-sxm", 1, 128, 976, .209, 24.7},
    {"qwen3-32b", "b200-sxm", 1, 383, 972, .141, 50.2},
    {"llama-3.1-70b", "h100-sxm", 4, 8, 1765, 3.759, 16.6},
    {"llama-3.1-70b", "h100-sxm", 4, 32, 1794, 1.207, 20.0},
    {"llama-3.1-70b", "h100-sxm", 4, 128, 2184, .563, 27.9},
    {"llama-3.1-70b", "h100-sxm", 4, 511, 2493, .421, 73.9},
    {"llama-3.1-70b", "b200-sxm", 2, 8, 1698, 3.569, 16.4},
    {"llama-3.1-70b", "b200-sxm", 2, 128, 1913, .481, 27.3},
    {"llama-3.1-70b", "b200-sxm", 2, 511, 1932, .271, 63.7},
};

/* Of a chat the collection gives no lengths here; assumed: prompts of 256 tokens, answers of 512.
 */
#define PROMPT 256
#define ANSWER 512

static bool judge_decode(void)
{
    double off[sizeof(points) / sizeof(*points)];
    size_t count = sizeof(points) / sizeof(*points), within = 0;
    printf("\nDecoding (prompts of %d tokens, answers of %d: assumed)\n", PROMPT, ANSWER);
    printf("  model          GPU       n  batch   J/token measured predicted   off     ms measured "
           "predicted     W measured predicted  limited by\n");
    for (size_t i = 0; i < count; i++) {
        const struct point *m = &points[i];
        struct wt_gpu gpu;
        struct wt_work work = {.dtype = WT_BF16, .batch = m->batch};
        struct wt_prediction decode, prefill;
        struct wt_error err;
        const struct wt_predict_options o = {.devices = m->devices};
        if (wt_gpu_find(catalogue, m->gpu, &gpu, &err) < 0 ||
            wt_work_find(m->model, &work, &err) < 0)
            die(&err);
        work.kind = WT_WORK_DECODE;
        work.seq = PROMPT + ANSWER / 2;
        if (wt_predict(&decode, &gpu, &work, &o, &err) < 0)
            die(&err);
        work.kind = WT_WORK_PREFILL;
        work.seq = PROMPT;
        work.batch = 1;
        if (wt_predict(&prefill, &gpu, &work, &o, &err) < 0)
            die(&err);
        /* A sequence's prompt once, then its answer; others decode on meanwhile. */
        double token_j = decode.energy_j.value / m->batch + prefill.energy_j.value / ANSWER;
        double low_j = decode.energy_j.low / m->batch + prefill.energy_j.low / ANSWER;
        double high_j = decode.energy_j.high / m->batch + prefill.energy_j.high / ANSWER;
        within += low_j <= m->j_per_token && m->j_per_token <= high_j;
        double step_s = decode.pass_s.value + prefill.pass_s.value * m->batch / ANSWER;
        off[i] = fabs(token_j / m->j_per_token - 1);
        printf("  %-14s %-9s %u  %5u           %.4f   %.4f %+5.0f %%         %5.1f     %5.1f"
               "           %5.0f     %5.0f  %s\n",
               m->model, m->gpu, m->devices, m->batch, m->j_per_token, token_j,
               100 * (token_j / m->j_per_token - 1), m->token_ms, step_s * 1e3, m->power_w,
               token_j * m->batch / step_s, wt_prediction_limit(&decode));
    }
    double median = quantile(off, (unsigned)count, 0.5);
    printf("  => energy per token off %.0f %% at the median (bar 30), %.0f %% at 95 %%; %zu of %zu "
           "within the 95 %% bounds\n",
           100 * median, 100 * quantile(off, (unsigned)count, 0.95), within, count);
    return median <= 0.30;
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "bench/power-traces";
    char path[512];
    struct wt_error err;
    if (wt_catalogue_open(&catalogue, NULL, &err) < 0)
        die(&err);
    snprintf(path, sizeof(path), "%s/summary_power_v100.csv", dir);
    bool is_met = judge_board(path, "v100-pcie", "a40");
    snprintf(path, sizeof(path), "%s/summary_power_a40.csv", dir);
    is_met &= judge_board(path, "a40", "v100-pcie-32gb");
    if (argc > 3)
        is_met &= judge_board(argv[2], argv[3], NULL);
    is_met &= judge_decode();
    wt_catalogue_close(catalogue);
    printf("\n%s\n", is_met ? "within the bars" : "OUTSIDE a bar");
    return is_met ? 0 : 1;
}
