/* Realistic runs for the tests of record, search and report: a BERT training on one GPU, with a
 * trace, a falling loss and tokens. Figures are made up here, close to a V100's. */
#ifndef TESTS_RUNS_H
#define TESTS_RUNS_H

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "wattune/run.h"

/* cmocka's own takes floats. */
#define assert_near(a, b, eps)                                                                     \
    do {                                                                                           \
        double near_a = (a), near_b = (b);                                                         \
        if (!(fabs(near_a - near_b) <= (eps)))                                                     \
            fail_msg("%s is %.12g, not %.12g", #a, near_a, near_b);                                \
    } while (0)

struct runs_spec {
    double cap_w;    /* 0: nothing was set */
    double wall_s;   /* of the first repeat */
    double power_w;  /* mean of the GPU */
    double bound;    /* relative half width of the energy's interval, gain included */
    unsigned repeat; /* repeats differ by a fixed pattern of half a percent */
    bool is_real, is_with_cpu;
    uint64_t tokens; /* 0: 512000 */
};

static inline void runs_add_device(struct wt_run *run, enum wt_device_kind kind, const char *id,
                                   const char *name, double energy_j, double bound)
{
    struct wt_run_device *more =
        realloc(run->devices, (run->device_count + 1) * sizeof(*run->devices));
    if (!more)
        abort();
    run->devices = more;
    struct wt_run_device *d = &run->devices[run->device_count++];
    memset(d, 0, sizeof(*d));
    d->is_counted = d->has_sensor = true;
    wt_text(d->id, sizeof(d->id), "%s", id);
    wt_text(d->name, sizeof(d->name), "%s", name);
    wt_text(d->source, sizeof(d->source), "%s", kind == WT_DEVICE_GPU ? "nvml" : "rapl");
    wt_text(d->driver, sizeof(d->driver), "%s", kind == WT_DEVICE_GPU ? "535.183.01" : "");
    d->kind = kind;
    d->method = WT_PROV_COUNTER;
    d->energy = (struct wt_joules){energy_j, energy_j * (1 - bound), energy_j * (1 + bound),
                                   run->is_emulated ? WT_PROV_EMULATED : WT_PROV_COUNTER};
    d->check = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN};
    d->gain_ppm = kind == WT_DEVICE_GPU ? 10000 : 5000;
    d->mean_w = energy_j / run->wall_s;
    d->max_w = d->mean_w * 1.06;
}

/* The run is to be emptied with wt_run_done(). */
static inline struct wt_run runs_make(const struct runs_spec *spec)
{
    static const double wobble[] = {0, 0.004, -0.003, 0.002, -0.005};
    struct wt_run run = {0};
    double w = wobble[spec->repeat % 5], limit = spec->cap_w > 0 ? spec->cap_w : 250;
    run.state = WT_RUN_DONE;
    run.repeat = spec->repeat;
    run.is_emulated = !spec->is_real;
    run.wall_s = spec->wall_s * (1 + w);
    run.start_unix_ns =
        INT64_C(1790000000123000000) + (int64_t)(spec->repeat * 100 + (unsigned)limit) * 1000000000;
    wt_text(run.id, sizeof(run.id), "20260921-1333%02u-%03.0f0a1b", spec->repeat, limit);
    wt_text(run.group, sizeof(run.group), "20260921-133200-000beef");
    if (spec->cap_w > 0)
        wt_text(run.label, sizeof(run.label), "power=%.0f W", spec->cap_w);
    wt_text(run.host, sizeof(run.host), "node07");
    wt_text(run.system, sizeof(run.system), "2 processors, 24 GiB, Linux 6.1.0 x86_64");
    wt_text(run.version, sizeof(run.version), "0.1.0");
    wt_text(run.command, sizeof(run.command),
            "wattune bench train bert-base --device emu --steps 100 --data 'bible.txt'");
    if (run.is_emulated)
        wt_text(run.emulation, sizeof(run.emulation), "v100-pcie-32gb");

    double energy = spec->power_w * spec->wall_s * (1 + w / 2);
    runs_add_device(&run, WT_DEVICE_GPU, "GPU-5bd3f6f2-1c3e-4d5f-8a90-000000000001",
                    "Tesla V100-PCIE-32GB", energy, spec->bound);
    run.total = run.devices[0].energy;
    if (spec->is_with_cpu) {
        runs_add_device(&run, WT_DEVICE_CPU, "cpu-package-0", "Xeon Gold 6248", 60 * run.wall_s,
                        spec->bound);
        if (wt_joules_add(&run.total, &run.total, &run.devices[1].energy) < 0)
            abort();
    }
    wt_text(run.weakest, sizeof(run.weakest), "%s", run.devices[0].id);
    run.work.is_known = true;
    run.work.count = spec->tokens ? spec->tokens : 512000;
    run.work.steps = 100;
    wt_text(run.work.unit, sizeof(run.work.unit), "tokens");
    if (spec->cap_w > 0) {
        struct wt_run_setting s = {.knob = WT_KNOB_POWER, .found = 250000};
        s.requested = s.enforced = wt_knob_from_user(spec->cap_w);
        wt_text(s.device_id, sizeof(s.device_id), "%s", run.devices[0].id);
        if (wt_run_add_setting(&run, &s) < 0)
            abort();
    }
    for (int i = 0; i <= 100; i++) {
        double t = run.wall_s * i / 100;
        bool is_busy = i > 3 && i < 98, is_held = is_busy && spec->power_w > 0.96 * limit;
        struct wt_run_point p = {
            .t_s = t,
            .power_w = is_busy ? spec->power_w * (1 + 0.02 * sin(i)) : 38 + i % 3,
            .temp_c = 45 + 15 * (1 - exp(-t / 20)),
            .clock_mhz = is_busy ? 1380 * spec->power_w / 250 : 135,
            .limit_w = limit,
            .throttle = !is_busy  ? WT_THROTTLE_IDLE
                        : is_held ? WT_THROTTLE_POWER_CAP
                                  : 0,
        };
        struct wt_run_value v = {.t_s = t, .name = "loss", .value = 3 + 7.3 * exp(-i / 25.0)};
        if (wt_run_add_point(&run, &p) < 0 || wt_run_add_value(&run, &v) < 0)
            abort();
    }
    struct wt_run_phase phases[] = {
        {.name = "forward", .count = 100, .wall_s = run.wall_s * 0.31},
        {.name = "backward", .count = 100, .wall_s = run.wall_s * 0.58},
        {.name = "optimizer", .count = 100, .wall_s = run.wall_s * 0.08},
    };
    for (size_t i = 0; i < WT_COUNTOF(phases); i++)
        if (wt_run_add_phase(&run, &phases[i]) < 0)
            abort();
    run.cost = (struct wt_meter_cost){0.004, run.wall_s, 1200, 0};
    return run;
}

#endif
