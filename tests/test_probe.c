/* The probe: what recordings of the device model show, held against the profiles they came from;
 * and what is kept of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "probe_sim.h"
#include "sensor/nvml.h"
#include "sensor/probed.h"
#include "trees.h"
#include "window/probe_fit.h"

#define MS 1e-3

static struct wt_probe_result probe(const struct probe_sim *sim)
{
    struct wt_probe_trace trace;
    struct wt_device_info info;
    struct wt_probe_result r;
    struct wt_error err;
    probe_sim_run(sim, &trace);
    probe_sim_info(sim, &info);
    if (wt_probe_analyse(&trace, &info, &r, &err) < 0)
        fail_msg("%s", err.text);
    wt_probe_trace_done(&trace);
    return r;
}

static void near(const char *profile, const char *what, const struct wt_probed *found, double truth)
{
    if (!found->is_known)
        fail_msg("%s: %s was not told: %s", profile, what, found->why);
    if (fabs(found->value / truth - 1) > 0.1)
        fail_msg("%s: %s is %.4g, found %.4g", profile, what, truth, found->value);
    assert_true(found->low <= found->value && found->value <= found->high);
}

static double s_of(int64_t ns)
{
    return (double)ns * 1e-9;
}

static void period_window_and_delay_of_every_generation_are_found_within_a_tenth(void **state)
{
    (void)state;
    const struct wt_profile *p;
    for (size_t i = 0; (p = wt_profile_at(i)); i++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            struct probe_sim sim = {
                .profile = p, .seconds = 15, .seed = seed, .jitter_ms = 0.5, .edge_ms = 0.2};
            struct wt_probe_result r = probe(&sim);
            const struct wt_probe_sensor *power = &r.sensors[WT_PROBE_POWER];
            near(p->name, "period", &power->period_s, s_of(p->power_period_ns));
            near(p->name, "delay", &power->delay_s, s_of(p->power_delay_ns));
            if (p->power_rise_ns)
                near(p->name, "rise", &power->rise_s, s_of(p->power_rise_ns));
            else
                near(p->name, "window", &power->window_s, s_of(p->power_window_ns));
            const struct wt_probe_sensor *energy = &r.sensors[WT_PROBE_ENERGY];
            assert_int_equal(energy->is_there, p->counter != WT_COUNTER_NONE);
            if (energy->is_there) {
                near(p->name, "counter's period", &energy->period_s, s_of(p->counter_period_ns));
                near(p->name, "counter's step", &energy->quantum, p->counter_quantum_mj * 1e-3);
                assert_int_equal(r.traits.energy_window_ns, r.traits.energy_period_ns);
            }
            for (size_t k = 0; k < WT_PROBE_STREAMS; k++)
                if (r.sensors[k].faults)
                    fail_msg("%s: sound, and called: %s", p->name, r.sensors[k].fault);
        }
}

static void the_plain_reading_is_told_to_be_a_running_mean_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *profile;
        bool has_no_instant;
        enum wt_probe_plain want;
    } rows[] = {
        {"v100-pcie-32gb", false, WT_PROBE_PLAIN_INSTANT},
        {"a100-pcie-80gb", false, WT_PROBE_PLAIN_INSTANT},
        {"t4", true, WT_PROBE_PLAIN_INSTANT},
        {"a40", false, WT_PROBE_PLAIN_AVERAGE},
        {"a40", true, WT_PROBE_PLAIN_AVERAGE},
        {"h100-sxm-80gb", false, WT_PROBE_PLAIN_AVERAGE},
        {"h100-sxm-80gb", true, WT_PROBE_PLAIN_AVERAGE},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_profile *p = wt_profile_find(rows[i].profile);
        struct probe_sim sim = {.profile = p,
                                .seconds = 15,
                                .seed = 5,
                                .edge_ms = 0.1,
                                .has_no_instant = rows[i].has_no_instant};
        struct wt_probe_result r = probe(&sim);
        assert_int_equal(r.plain, rows[i].want);
        if (rows[i].want == WT_PROBE_PLAIN_AVERAGE) {
            const struct wt_probe_sensor *plain =
                &r.sensors[rows[i].has_no_instant ? WT_PROBE_POWER : WT_PROBE_PLAIN];
            near(p->name, "length of the mean", &plain->window_s, s_of(p->average_ns));
            near(p->name, "its delay", &plain->delay_s, s_of(p->average_delay_ns));
            assert_int_equal(r.traits.is_power_averaged, rows[i].has_no_instant);
        }
    }
}

static void a_counter_that_adds_up_part_time_readings_is_seen_through(void **state)
{
    (void)state;
    struct wt_profile p = *wt_profile_find("a100-pcie-80gb");
    p.counter = WT_COUNTER_SAMPLED;
    struct probe_sim sim = {.profile = &p, .seconds = 15, .seed = 7, .edge_ms = 0.1};
    struct wt_probe_result r = probe(&sim);
    near(p.name, "what the counter sees", &r.sensors[WT_PROBE_ENERGY].window_s,
         s_of(p.power_window_ns));
    assert_true(r.traits.energy_window_ns < r.traits.energy_period_ns / 2);
}

static void slow_polling_widens_the_intervals_and_still_finds_them(void **state)
{
    (void)state;
    struct probe_sim sim = {.profile = wt_profile_find("a40"),
                            .seconds = 20,
                            .seed = 4,
                            .poll_ms = 5,
                            .jitter_ms = 3,
                            .edge_ms = 1};
    struct wt_probe_result slow = probe(&sim);
    sim.poll_ms = 1;
    sim.jitter_ms = 0.1;
    struct wt_probe_result quick = probe(&sim);
    const struct wt_probed *a = &slow.sensors[WT_PROBE_POWER].window_s;
    const struct wt_probed *b = &quick.sensors[WT_PROBE_POWER].window_s;
    near("a40", "window", a, 0.1);
    assert_true(a->high - a->low > b->high - b->low);
}

static void frozen_jumping_and_negative_sensors_are_found_in_every_generation(void **state)
{
    (void)state;
    const struct wt_profile *p;
    for (size_t i = 0; (p = wt_profile_at(i)); i++) {
        const struct {
            struct probe_sim sim;
            unsigned stream, want;
        } rows[] = {
            {{.frozen_power_s = 3}, WT_PROBE_POWER, WT_PROBE_FROZEN},
            {{.frozen_energy_s = 3}, WT_PROBE_ENERGY, WT_PROBE_FROZEN},
            {{.frozen_energy_s = 0.001}, WT_PROBE_ENERGY, WT_PROBE_FROZEN},
            {{.reset_s = 3}, WT_PROBE_ENERGY, WT_PROBE_NEGATIVE},
            {{.jump_s = 3}, WT_PROBE_ENERGY, WT_PROBE_JUMPED},
            {{.failing_s = 3}, WT_PROBE_POWER, WT_PROBE_FAILING},
        };
        for (size_t k = 0; k < WT_COUNTOF(rows); k++) {
            struct probe_sim sim = rows[k].sim;
            if (rows[k].stream == WT_PROBE_ENERGY && p->counter == WT_COUNTER_NONE)
                continue;
            sim.profile = p;
            sim.seconds = 6;
            sim.seed = 10 + k;
            sim.edge_ms = 0.1;
            struct wt_probe_result r = probe(&sim);
            const struct wt_probe_sensor *s = &r.sensors[rows[k].stream];
            if (s->faults != rows[k].want)
                fail_msg("%s, row %zu: faults %x, not %x (%s)", p->name, k, s->faults, rows[k].want,
                         s->fault);
            assert_true(*s->fault);
            unsigned kept = rows[k].stream == WT_PROBE_ENERGY
                                ? WT_PROBE_FOUND_ENERGY_PERIOD | WT_PROBE_FOUND_ENERGY_WINDOW
                                : WT_PROBE_FOUND_POWER_PERIOD | WT_PROBE_FOUND_POWER_SHAPE;
            assert_int_equal(r.found & kept, 0);
            assert_int_equal(r.ratio.is_known && rows[k].want != WT_PROBE_FAILING, 0);
        }
    }
}

static void without_a_load_only_the_counter_is_told(void **state)
{
    (void)state;
    struct probe_sim sim = {
        .profile = wt_profile_find("v100-pcie-32gb"), .seconds = 5, .seed = 2, .is_idle = true};
    struct wt_probe_result r = probe(&sim);
    struct wt_error err;
    near("idle", "counter's period", &r.sensors[WT_PROBE_ENERGY].period_s, 0.1);
    assert_false(r.sensors[WT_PROBE_POWER].period_s.is_known);
    assert_false(r.sensors[WT_PROBE_POWER].window_s.is_known);
    assert_int_equal(r.sensors[WT_PROBE_POWER].faults, 0);
    assert_int_equal(r.plain, WT_PROBE_PLAIN_UNKNOWN);
    assert_int_equal(wt_probe_store(NULL, &r, NULL, 0, &err), WT_E_STATE);
}

static void counter_and_power_are_compared(void **state)
{
    (void)state;
    struct wt_profile p = *wt_profile_find("t4");
    p.gain_low = p.gain_high = 1;
    p.offset_low_w = p.offset_high_w = 0;
    struct probe_sim sim = {.profile = &p, .seconds = 10, .seed = 3, .edge_ms = 0.1};
    struct wt_probe_trace trace;
    struct wt_device_info info;
    struct wt_probe_result r;
    probe_sim_info(&sim, &info);
    for (int is_off = 0; is_off < 2; is_off++) {
        probe_sim_run(&sim, &trace);
        for (size_t i = 0; is_off && i < trace.series[WT_PROBE_ENERGY].count; i++)
            trace.series[WT_PROBE_ENERGY].runs[i].value += /* 20 % more */
                (trace.series[WT_PROBE_ENERGY].runs[i].value -
                 trace.series[WT_PROBE_ENERGY].runs[0].value) /
                5;
        assert_int_equal(wt_probe_analyse(&trace, &info, &r, NULL), 0);
        assert_true(r.ratio.is_known);
        assert_true(fabs(r.ratio.value - (is_off ? 1.2 : 1)) < 0.02);
        assert_int_equal(r.is_ratio_within, !is_off);
        wt_probe_trace_done(&trace);
    }
}

static void a_lattice_is_found_though_changes_are_missing(void **state)
{
    (void)state;
    static const struct {
        double period;
        unsigned skip, count; /* of each so many ticks one did not show; changes */
        double shake;
        bool want;
        const char *why;
    } rows[] = {
        {0.1, 0, 40, 0, true, "every tick shows"},
        {0.02, 3, 300, 0.0004, true, "a third is missing"},
        {0.1, 0, 5, 0, false, "too few"},
        {0.1, 0, 60, 0.09, false, "no regular times"},
        {0.001, 0, 300, 0, false, "as often as it is read"},
    };
    for (size_t r = 0; r < WT_COUNTOF(rows); r++) {
        struct wt_probe_change changes[400];
        unsigned seed = 9;
        size_t n = 0;
        for (unsigned tick = 1; n < rows[r].count; tick++)
            if (!rows[r].skip || tick * tick % rows[r].skip)
                changes[n++] = (struct wt_probe_change){
                    .t_s = 5 + tick * rows[r].period +
                           rows[r].shake * ((double)(rand_r(&seed) % 1000) / 1000 - 0.5),
                    .half_s = 0.0005};
        struct wt_probe_lattice lattice;
        const char *why;
        assert_int_equal(wt_probe_lattice_find(changes, n, &lattice, &why), 0);
        if (lattice.is_known != rows[r].want)
            fail_msg("%s: %s", rows[r].why, why ? why : "found one");
        if (rows[r].want) {
            assert_true(lattice.low_s <= rows[r].period && lattice.high_s >= rows[r].period);
            assert_true(fabs(lattice.period_s / rows[r].period - 1) < 0.001);
        } else {
            assert_non_null(why);
        }
    }
}

/* Each change a period after the last, with an error of its own: near ones are a period apart, far
 * ones on no lattice. */
static void changes_of_a_timer_that_is_set_anew_walk(void **state)
{
    (void)state;
    struct wt_probe_change changes[200];
    struct wt_probe_lattice lattice;
    const char *why;
    unsigned seed = 11;
    double t_s = 5;
    for (size_t i = 0; i < WT_COUNTOF(changes); i++) {
        t_s += 0.1 + 0.0012 * ((double)(rand_r(&seed) % 1000) / 1000 - 0.5) +
               (i % 40 == 9 ? 0.004 : 0);
        changes[i] = (struct wt_probe_change){.t_s = t_s, .half_s = 0.0005};
    }
    assert_int_equal(wt_probe_lattice_find(changes, WT_COUNTOF(changes), &lattice, &why), 0);
    assert_true(lattice.is_known && lattice.is_walking);
    assert_true(lattice.low_s <= 0.1001 && lattice.high_s >= 0.1);
    for (size_t i = 0; i < WT_COUNTOF(changes); i++)
        changes[i].t_s =
            5 + 0.1 * (double)i + 0.001 * ((double)(rand_r(&seed) % 1000) / 1000 - 0.5);
    assert_int_equal(wt_probe_lattice_find(changes, WT_COUNTOF(changes), &lattice, &why), 0);
    assert_true(lattice.is_known && !lattice.is_walking);
}

static void a_step_that_is_no_whole_microjoule_is_told(void **state)
{
    (void)state;
    struct wt_probe_trace trace = {0};
    struct wt_device_info info = {.kind = WT_DEVICE_CPU};
    struct wt_probe_result r;
    unsigned seed = 3;
    uint64_t units = 1000;
    for (int64_t t_ns = 0; t_ns < WT_NS_PER_S; t_ns += 200000) {
        if (t_ns % 1000000 == 0)
            units += 200 + (unsigned)rand_r(&seed) % 300;
        assert_int_equal(wt_probe_series_add(&trace.series[WT_PROBE_ENERGY], t_ns, t_ns + 2000,
                                             (uint64_t)((double)units * 1e6 / 16384)),
                         0);
    }
    assert_int_equal(wt_probe_analyse(&trace, &info, &r, NULL), 0);
    near("rapl", "period", &r.sensors[WT_PROBE_ENERGY].period_s, 1 * MS);
    assert_true(fabs(r.sensors[WT_PROBE_ENERGY].quantum.value * 1e6 - 61.035) < 0.01);
    assert_int_equal(r.traits.energy_quantum_uj, 61);
    wt_probe_trace_done(&trace);
}

static char folder[64];
static struct wt_ctx *ctx;

/* ---- real cards ---- */

/* Recorded with `wattune probe --trace` (bench/real-card). Nobody knows what these sensors are like
 * but by such recordings: held here is what several ways of looking agree on, and that the code
 * goes on finding it. */
static void real_cards_are_told_as_they_were_recorded(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        bool is_window_told; /* the H200 was polled every 15 ms only, by the code of that day */
    } rows[] = {{"h100-probe.trace", true}, {"h200-probe.trace", false}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char path[512];
        struct wt_probe_trace trace;
        struct wt_device_info info;
        struct wt_probe_result r;
        struct wt_error err;
        wt_text(path, sizeof(path), "%s/card/%s", WT_TEST_DATA, rows[i].file);
        if (wt_probe_trace_read(path, &trace, &info, &err) < 0)
            fail_msg("%s", err.text);
        assert_string_equal(info.driver, "580.159.04");
        wt_nvml_traits(WT_NVML_ARCH_HOPPER, 9, 0, info.driver, WT_NVML_POWER_FIELD, &info.traits);
        assert_int_equal(wt_probe_analyse(&trace, &info, &r, &err), 0);
        const struct wt_probe_sensor *power = &r.sensors[WT_PROBE_POWER];
        const struct wt_probe_sensor *energy = &r.sensors[WT_PROBE_ENERGY];
        near(rows[i].file, "power's period", &power->period_s, 100 * MS);
        near(rows[i].file, "counter's period", &energy->period_s, 100 * MS);
        near(rows[i].file, "counter's step", &energy->quantum, 1e-3);
        near(rows[i].file, "mean of the plain reading", &r.sensors[WT_PROBE_PLAIN].window_s, 1);
        assert_int_equal(r.plain, WT_PROBE_PLAIN_AVERAGE);
        /* The counter sees all of the time, the instant reading a part. */
        assert_true(energy->window_s.is_known && energy->window_s.low > 85 * MS);
        assert_int_equal(r.traits.energy_window_ns, r.traits.energy_period_ns);
        assert_int_equal(power->window_s.is_known, rows[i].is_window_told);
        if (rows[i].is_window_told) {
            assert_true(power->window_s.high < 40 * MS && power->window_s.low > 15 * MS);
            assert_true(power->fit > 0.998); /* 0.992 with its readings put on a lattice */
        }
        assert_true(r.ratio.is_known && r.is_ratio_within && fabs(r.ratio.value - 1) < 0.01);
        for (size_t k = 0; k < WT_PROBE_STREAMS; k++)
            if (r.sensors[k].faults)
                fail_msg("%s: sound, and called: %s", rows[i].file, r.sensors[k].fault);
        wt_probe_trace_done(&trace);
    }
}

static void a_recording_is_the_same_after_a_file(void **state)
{
    (void)state;
    struct probe_sim sim = {.profile = wt_profile_find("a100-pcie-80gb"),
                            .seconds = 6,
                            .seed = 5,
                            .jitter_ms = 0.5,
                            .edge_ms = 0.2};
    struct wt_probe_trace trace, back;
    struct wt_device_info info, info_back;
    struct wt_probe_result r, again;
    char path[128];
    struct wt_error err;
    probe_sim_run(&sim, &trace);
    probe_sim_info(&sim, &info);
    wt_text(path, sizeof(path), "%s/a.trace", folder);
    assert_int_equal(wt_probe_trace_write(&trace, &info, path, &err), 0);
    assert_int_equal(wt_probe_trace_read(path, &back, &info_back, &err), 0);
    assert_string_equal(info_back.name, info.name);
    info_back.traits = info.traits;
    assert_int_equal(wt_probe_analyse(&trace, &info, &r, NULL), 0);
    assert_int_equal(wt_probe_analyse(&back, &info_back, &again, NULL), 0);
    for (size_t k = 0; k < WT_PROBE_STREAMS; k++) {
        assert_int_equal(back.series[k].count, trace.series[k].count);
        assert_int_equal(r.sensors[k].is_there, again.sensors[k].is_there);
        if (r.sensors[k].period_s.is_known)
            near("file", "period", &again.sensors[k].period_s, r.sensors[k].period_s.value);
        if (r.sensors[k].window_s.is_known)
            near("file", "window", &again.sensors[k].window_s, r.sensors[k].window_s.value);
    }
    wt_probe_trace_done(&trace);
    wt_probe_trace_done(&back);
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "nothing"},
        {"something else\n", "another file"},
        {"wattune-trace 1\nedge 1 5 4\n", "an edge that ends before it begins"},
        {"wattune-trace 1\npower 0 1 2 3\n", "half a line"},
        {"wattune-trace 1\nvolts 0 1 2 3 4 5\n", "no such stream"},
        {"wattune-trace 1\nenergy 0 5 4 5 6 7\n", "a call that ends before it begins"},
        {"wattune-trace 1\nlimit lots\n", "no number"},
        {"wattune-trace 1\npower 0 5 6 7 8 1\npower 0 1 2 3 4 2\n", "a run before the last one"},
        {"wattune-trace 1\npower 0 5 9 6 7 1\n", "the last look over before the first"},
        {"wattune-trace 1\npower 0 -5 6 7 8 1\n", "a time before the beginning"},
        {"wattune-trace 1\npower 0 5 6 7 9223372036854775807 1\n", "in three hundred years"},
        {"wattune-trace 1\nedge 1 -9223372036854775807 4\n", "three hundred years ago"},
        {"wattune-trace 1\nedge 1 7 8\nedge 0 3 4\n", "an edge before the last one"},
    };
    for (size_t i = 0; i < WT_COUNTOF(bad); i++) {
        tree_put("", path, bad[i].text);
        if (wt_probe_trace_read(path, &back, &info_back, &err) != WT_E_FORMAT)
            fail_msg("%s was taken", bad[i].why);
    }
}

/* Of one value, after a gap or not. */
static void a_run_of_the_same_value_again_takes_none_away(void **state)
{
    (void)state;
    struct wt_probe_trace trace;
    struct wt_device_info info;
    char path[128];
    tree_put(folder, "/again.trace",
             "wattune-trace 1\npower 0 0 1 10 11 7\npower 0 20 21 30 31 7\n"
             "power 1 400 401 500 501 7\npower 0 510 511 510 511 8\n");
    wt_text(path, sizeof(path), "%s/again.trace", folder);
    assert_int_equal(wt_probe_trace_read(path, &trace, &info, NULL), 0);
    const struct wt_probe_series *s = &trace.series[WT_PROBE_POWER];
    assert_int_equal(s->count, 3);
    assert_int_equal(s->runs[0].first_before_ns, 0);
    assert_int_equal(s->runs[0].last_after_ns, 31);
    assert_int_equal(s->runs[1].first_before_ns, 400);
    assert_true(s->runs[1].is_after_gap);
    assert_int_equal(s->reads, 7);
    wt_probe_trace_done(&trace);
}

/* ---- what is kept ---- */

static int setup(void **state)
{
    (void)state;
    tree_new(folder, sizeof(folder));
    tree_put(folder, "/etc/machine-id", "0123456789abcdef\n");
    setenv("XDG_DATA_HOME", folder, 1);
    setenv("WATTUNE_EMULATION", folder, 1);
    struct wt_ctx_options options = {.sysroot = folder};
    return wt_ctx_new(&ctx, &options, NULL);
}

static int teardown(void **state)
{
    (void)state;
    wt_ctx_free(ctx);
    return wt_fs_remove_tree(folder, NULL);
}

static struct wt_device_info device(const char *id, bool is_emulated)
{
    struct wt_device_info info = {.is_emulated = is_emulated,
                                  .driver = "550.1",
                                  .traits = {.energy_period_ns = 5, .power_delay_ns = 6}};
    wt_text(info.id, sizeof(info.id), "%s", id);
    return info;
}

static struct wt_probe_result result(const char *id, bool is_emulated)
{
    struct wt_probe_result r = {.is_loaded = true,
                                .is_emulated = is_emulated,
                                .driver = "550.1",
                                .date = "2026-01-31",
                                .found = WT_PROBE_FOUND_ENERGY_PERIOD,
                                .traits = {.energy_period_ns = 100000001, .power_delay_ns = 7}};
    wt_text(r.id, sizeof(r.id), "%s", id);
    return r;
}

static void what_was_found_is_used_and_the_rest_left_alone(void **state)
{
    (void)state;
    static const char *const ids[] = {"GPU-1", "cpu-package-0"};
    for (size_t i = 0; i < WT_COUNTOF(ids); i++) {
        char path[4200], date[24] = "";
        struct wt_device_info info = device(ids[i], false);
        struct wt_probe_result r = result(ids[i], false);
        assert_int_equal(wt_traits_load(ctx, &info, &info.traits, date, sizeof(date), NULL),
                         WT_E_NOTFOUND);
        assert_int_equal(wt_probe_store(ctx, &r, path, sizeof(path), NULL), 0);
        assert_int_equal(wt_traits_load(ctx, &info, &info.traits, date, sizeof(date), NULL), 0);
        assert_int_equal(info.traits.energy_period_ns, 100000001);
        assert_int_equal(info.traits.power_delay_ns, 6); /* was not found */
        assert_string_equal(date, "2026-01-31");
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0077, 0);
    }
}

static void another_machine_of_the_same_home_has_processors_of_its_own(void **state)
{
    (void)state;
    char date[24];
    struct wt_device_info info = device("cpu-package-0", false);
    struct wt_probe_result r = result("cpu-package-0", false);
    assert_int_equal(wt_probe_store(ctx, &r, NULL, 0, NULL), 0);
    tree_put(folder, "/etc/machine-id", "another\n");
    assert_int_equal(wt_traits_load(ctx, &info, &info.traits, date, sizeof(date), NULL),
                     WT_E_NOTFOUND);
    tree_remove(folder, "/etc/machine-id");
    assert_int_equal(wt_probe_store(ctx, &r, NULL, 0, NULL), WT_E_NOTFOUND);
}

static void what_does_not_hold_any_more_is_not_used(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        {"", WT_E_FORMAT},
        {"{", WT_E_FORMAT},
        {"[]", WT_E_FORMAT},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false}",
         WT_E_FORMAT},
        {"{\"version\":2,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{}}",
         WT_E_FORMAT},
        {"{\"version\":1,\"id\":\"GPU-2\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{}}",
         WT_E_FORMAT},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{\"energy_period_ns\":-1}}",
         WT_E_FORMAT},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{\"power_window_ns\":\"7\"}}",
         WT_E_FORMAT},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"535.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{\"energy_period_ns\":9}}",
         WT_E_CHANGED},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":true,"
         "\"traits\":{\"energy_period_ns\":9}}",
         WT_E_MIXED},
        {"{\"version\":1,\"id\":\"GPU-1\",\"driver\":\"550.1\",\"date\":\"x\",\"is_emulated\":"
         "false,"
         "\"traits\":{\"energy_period_ns\":9}}",
         0},
    };
    char path[4200];
    struct wt_device_info info = device("GPU-1", false);
    struct wt_probe_result r = result("GPU-1", false);
    assert_int_equal(wt_probe_store(ctx, &r, path, sizeof(path), NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        tree_put("", path, rows[i].text);
        struct wt_sensor_traits traits = info.traits;
        char date[24] = "";
        struct wt_error err = {0};
        int rc = wt_traits_load(ctx, &info, &traits, date, sizeof(date), &err);
        if (rc != rows[i].want)
            fail_msg("row %zu: %s", i, err.text);
        assert_int_equal(traits.energy_period_ns, rc == 0 ? 9 : 5);
        assert_int_equal(*err.fix != '\0', rc < 0);
    }
    /* One that cannot even be opened, by root neither: a link to itself. */
    struct wt_sensor_traits traits = info.traits;
    char date[24] = "";
    struct wt_error err = {0};
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(path, path), 0);
    assert_true(wt_traits_load(ctx, &info, &traits, date, sizeof(date), &err) < 0);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.fix, "wattune probe"));
    assert_int_equal(unlink(path), 0);
}

static void an_emulated_device_and_a_real_one_share_nothing(void **state)
{
    (void)state;
    char date[24];
    struct wt_probe_result r = result("GPU-1", true);
    struct wt_device_info real = device("GPU-1", false), emulated = device("GPU-1", true);
    assert_int_equal(wt_probe_store(ctx, &r, NULL, 0, NULL), 0);
    assert_int_equal(wt_traits_load(ctx, &real, &real.traits, date, sizeof(date), NULL),
                     WT_E_NOTFOUND);
    assert_int_equal(wt_traits_load(ctx, &emulated, &emulated.traits, date, sizeof(date), NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(period_window_and_delay_of_every_generation_are_found_within_a_tenth),
        cmocka_unit_test(the_plain_reading_is_told_to_be_a_running_mean_or_not),
        cmocka_unit_test(a_counter_that_adds_up_part_time_readings_is_seen_through),
        cmocka_unit_test(slow_polling_widens_the_intervals_and_still_finds_them),
        cmocka_unit_test(frozen_jumping_and_negative_sensors_are_found_in_every_generation),
        cmocka_unit_test(without_a_load_only_the_counter_is_told),
        cmocka_unit_test(counter_and_power_are_compared),
        cmocka_unit_test(a_lattice_is_found_though_changes_are_missing),
        cmocka_unit_test(changes_of_a_timer_that_is_set_anew_walk),
        cmocka_unit_test(a_step_that_is_no_whole_microjoule_is_told),
        cmocka_unit_test(real_cards_are_told_as_they_were_recorded),
        cmocka_unit_test_setup_teardown(a_recording_is_the_same_after_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_of_the_same_value_again_takes_none_away, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_found_is_used_and_the_rest_left_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_machine_of_the_same_home_has_processors_of_its_own,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_hold_any_more_is_not_used, setup, teardown),
        cmocka_unit_test_setup_teardown(an_emulated_device_and_a_real_one_share_nothing, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
