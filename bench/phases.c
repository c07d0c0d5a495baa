/* phases: are forward, backward and optimizer told apart under a counter that ticks every 100 ms?
 *
 *     build/bench/phases [TRIALS [SECONDS [SEED]]]
 *
 * The emulator's device model runs on virtual time under training steps of 8, 17 and 5 ms whose
 * powers differ, with 0.2 to 1.5 ms of waiting after each step; the meter's own series and pacer
 * poll its counter as `wattune run` does, and the phase log solves for each phase. Prints for each
 * profile and phase the true mean power, the error at the median and at worst over the trials, the
 * half width of the interval and the share of trials with the truth inside. Then the same with
 * steps in lock with the counter, which no arithmetic can take apart. Exit code 1 when an error is
 * over 5 %, the truth is outside in more than 8 % of the cases, or phases in lock are told apart.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/model.h"
#include "sampler/pacer.h"
#include "sensor/nvml.h"
#include "window/phase_log.h"
#include "window/series.h"

#define MS     WT_NS_PER_MS
#define PHASES 3

static uint64_t dice;

static double draw(void)
{
    dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = dice;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static const struct {
    const char *name;
    double span_s, compute; /* share of compute against memory traffic */
} steps[PHASES] = {
    {"forward", 10.6e-3, 0.7}, {"backward", 16.75e-3, 1.0}, {"optimizer", 5e-3, 0.0}};

/* A kernel of about this long at full clocks. */
static struct wt_emu_kernel kernel(const struct wt_profile *p, double span_s, double compute)
{
    bool has_tensor = p->tensor_flops_s > 0;
    double flops_s =
        has_tensor ? p->tensor_flops_s * p->tensor_share : p->fp32_flops_s * p->fp32_share;
    return (struct wt_emu_kernel){
        .flops = span_s * compute * flops_s,
        .bytes = span_s * (1 - 0.9 * compute) * p->mem_bytes_s * p->mem_share,
        .engine = has_tensor ? WT_EMU_TENSOR : WT_EMU_FP32,
    };
}

struct bench {
    struct wt_model *m;
    const struct wt_profile *p;
    struct wt_series series;
    struct wt_pacer pacer;
    struct wt_phase_log *log;
    int64_t taken_ns; /* ticks up to here are in the log */
    double truth_j[PHASES], truth_s[PHASES];
};

static void poll(struct bench *b, int64_t t_ns)
{
    uint64_t mj;
    int64_t after_ns = t_ns + 20000 + (int64_t)(draw() * 40000); /* as a vendor's call takes */
    wt_model_counter(b->m, b->p, &mj);
    wt_series_add_energy(&b->series, t_ns, after_ns, mj * 1000);
    wt_pacer_saw(&b->pacer, t_ns, after_ns, true, mj * 1000);
}

static void mark(struct bench *b, enum wt_mark_kind kind, int phase, int64_t t_ns)
{
    struct wt_mark mark = {.t_ns = t_ns, .pid = 1, .kind = kind};
    wt_text(mark.name, sizeof(mark.name), "%s", steps[phase].name);
    wt_phase_log_mark(b->log, &mark);
}

static void hand_over(struct bench *b, int64_t now_ns)
{
    wt_phase_log_known(b->log, now_ns);
    size_t i = b->series.count;
    while (i > 0 && b->series.knots[i - 1].hi_ns > b->taken_ns)
        i--;
    for (; i < b->series.count; i++) {
        const struct wt_knot *k = &b->series.knots[i];
        struct wt_meter_tick tick = {k->lo_ns, k->hi_ns, k->cum_j, i == 0};
        wt_phase_log_tick(b->log, 0, &tick);
        b->taken_ns = k->hi_ns;
    }
}

/* Trains for so long. is_locked: each step takes a quarter of the counter's period, to the
 * nanosecond. */
static void train(struct bench *b, double seconds, bool is_locked)
{
    int64_t t_ns = b->m->t_ns, end_ns = t_ns + (int64_t)(seconds * 1e9), grid_ns = t_ns,
            poll_ns = t_ns;
    int64_t next_ns = t_ns + 50 * MS, begin_ns = t_ns, step_ns = t_ns, lock_ns = 25 * MS;
    double begin_j = 0, scale = is_locked ? 0.6 : 1;
    int phase = -1, upcoming = 0;
    uint64_t id = 0;
    while (t_ns < end_ns) {
        int64_t work_ns = phase >= 0 ? wt_model_load_due_ns(b->m, b->p, id) : next_ns;
        t_ns = poll_ns < work_ns ? poll_ns : work_ns;
        wt_model_advance(b->m, b->p, t_ns);
        if (t_ns == poll_ns) {
            if (t_ns >= grid_ns)
                grid_ns += 100 * MS;
            poll(b, t_ns);
            hand_over(b, t_ns);
            struct wt_model_status status;
            wt_model_status(b->m, b->p, &status);
            if (status.throttle & WT_MODEL_THROTTLE_POWER_CAP)
                wt_phase_log_capped(b->log, 0);
            poll_ns = wt_pacer_next_ns(&b->pacer, t_ns);
            if (grid_ns < poll_ns)
                poll_ns = grid_ns;
            poll_ns += (int64_t)(draw() * 100000); /* a wake-up is late */
        }
        int64_t done_ns;
        if (phase >= 0 && wt_model_load_done(b->m, id, &done_ns) == 1) {
            mark(b, WT_MARK_END, phase, t_ns);
            b->truth_j[phase] += wt_model_energy_j(b->m) - begin_j;
            b->truth_s[phase] += wt_s_from_ns(t_ns - begin_ns);
            upcoming = (phase + 1) % PHASES;
            next_ns = upcoming    ? t_ns + 20000 + (int64_t)(draw() * 30000)
                      : is_locked ? step_ns + lock_ns
                                  : t_ns + (int64_t)((0.2 + 1.3 * draw()) * MS);
            phase = -1;
        }
        if (phase < 0 && t_ns >= next_ns) {
            phase = upcoming;
            if (phase == 0)
                step_ns = t_ns;
            begin_ns = t_ns;
            begin_j = wt_model_energy_j(b->m);
            mark(b, WT_MARK_BEGIN, phase, t_ns);
            struct wt_emu_kernel k =
                kernel(b->p, scale * steps[phase].span_s, steps[phase].compute);
            wt_model_submit(b->m, b->p, ++id, &k, 1, 0, NULL);
        }
    }
    hand_over(b, t_ns);
}

static void run(const struct wt_profile *p, uint64_t seed, double seconds, bool is_calibrated,
                bool is_locked, struct wt_phases_result *ret_result, struct bench *ret_truth)
{
    struct bench b = {.m = malloc(sizeof(*b.m)), .p = p, .taken_ns = INT64_MIN};
    struct wt_device_info info = {.can = WT_CAN_ENERGY, .is_emulated = true};
    const struct wt_device_info *infos[] = {&info};
    struct wt_series_traits traits;
    struct wt_error err;
    if (!b.m)
        abort();
    wt_text(info.name, sizeof(info.name), "%s", p->title);
    wt_nvml_traits(p->nvml_arch, (int)p->cc_major, (int)p->cc_minor, "535.183.01",
                   WT_NVML_POWER_FIELD, &info.traits);
    if (is_calibrated)
        info.traits.gain_ppm = info.traits.offset_mw = 0;
    wt_model_init(b.m, p, 1000 * MS, seed);
    wt_model_set_contexts(b.m, p, 1);
    wt_series_traits_counter(&info.traits, &traits);
    wt_series_init(&b.series, &traits, 1u << 20);
    wt_series_note_limit(&b.series, p->limit_max_mw * 1e-3);
    wt_pacer_init(&b.pacer, info.traits.energy_period_ns, true);
    wt_pacer_follow(&b.pacer, b.m->t_ns);
    if (wt_phase_log_new(&b.log, infos, 1, NULL, &err) < 0)
        abort();
    train(&b, seconds, is_locked);
    if (wt_phase_log_result(b.log, ret_result, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    wt_phase_log_free(b.log);
    wt_series_done(&b.series);
    free(b.m);
    b.m = NULL;
    *ret_truth = b;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rows of one profile; true when a bar is missed. */
static bool bench_profile(const struct wt_profile *sold, int trials, double seconds,
                          bool is_calibrated, bool is_free)
{
    struct wt_profile profile = *sold, *p = &profile;
    double *errors = calloc((size_t)trials * PHASES, sizeof(*errors));
    double power[PHASES] = {0}, width[PHASES] = {0}, span[PHASES] = {0};
    int inside[PHASES] = {0}, told[PHASES] = {0}, locked_told = 0;
    bool is_bad = false;
    if (!errors)
        abort();
    if (is_free)
        p->limit_default_mw = p->limit_max_mw = 2000000;
    if (is_calibrated) {
        p->gain_low = p->gain_high = 1;
        p->offset_low_w = p->offset_high_w = 0;
    }
    for (int t = 0; t < trials; t++) {
        struct wt_phases_result r;
        struct bench truth;
        run(p, (uint64_t)(t + 1) * 7919, seconds, is_calibrated, false, &r, &truth);
        for (int k = 0; k < PHASES; k++) {
            const struct wt_phase_energy *e = &r.phases[k];
            double *error = &errors[k * trials + t];
            power[k] += truth.truth_j[k] / truth.truth_s[k] / trials;
            span[k] += truth.truth_s[k] / (double)e->count / trials;
            *error = INFINITY;
            if (!e->is_separable)
                continue;
            told[k]++;
            *error = fabs(e->energy.energy_j / truth.truth_j[k] - 1);
            width[k] += (e->energy.high_j - e->energy.low_j) / 2 / e->energy.energy_j;
            inside[k] +=
                e->energy.low_j <= truth.truth_j[k] && truth.truth_j[k] <= e->energy.high_j;
        }
        if (r.note[0] && t == 0)
            printf("  %s\n", r.note);
        wt_phases_result_done(&r);
        if (t >= 3)
            continue;
        run(p, (uint64_t)(t + 1) * 104729, seconds, is_calibrated, true, &r, &truth);
        for (int k = 0; k < PHASES; k++)
            locked_told += r.phases[k].is_separable;
        wt_phases_result_done(&r);
    }
    for (int k = 0; k < PHASES; k++) {
        double *e = &errors[k * trials];
        qsort(e, (size_t)trials, sizeof(*e), compare);
        printf("%-16s %-10s %7.2f %8.1f %8.2f%% %8.2f%% %8.2f%% %4d/%d\n", k ? "" : p->name,
               steps[k].name, span[k] * 1e3, power[k], 100 * e[trials / 2], 100 * e[trials - 1],
               100 * width[k] / (told[k] ? told[k] : 1), inside[k], trials);
        is_bad |= (is_calibrated && is_free && e[trials - 1] > 0.05) || inside[k] < 0.92 * trials;
    }
    if (locked_told)
        printf("%-16s in lock with the counter: TOLD APART, which cannot be\n", "");
    free(errors);
    return is_bad || locked_told;
}

int main(int argc, char **argv)
{
    static const char *const profiles[] = {"v100-pcie-32gb", "a100-pcie-80gb", "a40",
                                           "h100-sxm-80gb"};
    int trials = argc > 1 ? atoi(argv[1]) : 20;
    double seconds = argc > 2 ? atof(argv[2]) : 60;
    dice = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    bool is_bad = trials < 1;
    for (int i = 0; i < 3; i++) {
        bool is_calibrated = i < 2, is_free = i != 1;
        printf("%d trials of %.0f s, counter of 100 ms, boards %s, %s\n", trials, seconds,
               is_calibrated ? "calibrated (gain 1)" : "as sold (gain unknown to 5 %)",
               is_free ? "no power limit in the way" : "at their power limit");
        printf("%-16s %-10s %7s %8s %9s %9s %9s %8s\n", "", "phase", "ms", "true W", "err med",
               "err worst", "interval", "inside");
        for (size_t k = 0; k < WT_COUNTOF(profiles); k++)
            is_bad |= bench_profile(wt_profile_find(profiles[k]), trials, seconds, is_calibrated,
                                    is_free);
    }
    return is_bad;
}
