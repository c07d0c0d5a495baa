/* The device model: physics and sensors of the emulated GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "emulator/model.h"

#define MS WT_NS_PER_MS
#define S  WT_NS_PER_S

static struct wt_model one, two;

static const struct wt_profile *profile(const char *name)
{
    const struct wt_profile *p = wt_profile_find(name);
    assert_non_null(p);
    return p;
}

/* FP32-bound work and memory-bound work of so long at full speed. */
static struct wt_emu_kernel compute(const struct wt_profile *p, double ns)
{
    return (struct wt_emu_kernel){p->fp32_flops_s * p->fp32_share * ns * 1e-9, 0, WT_EMU_FP32};
}

static struct wt_emu_kernel memory(const struct wt_profile *p, double ns)
{
    return (struct wt_emu_kernel){0, p->mem_bytes_s * p->mem_share * ns * 1e-9, WT_EMU_FP32};
}

/* Runs the load again and again until t_ns has passed; returns how many were finished. */
static uint64_t keep_busy(struct wt_model *m, const struct wt_profile *p,
                          const struct wt_emu_kernel *kernels, size_t count, int64_t gap_ns,
                          int64_t t_ns)
{
    uint64_t before = m->done_count;
    while (m->t_ns < t_ns) {
        if (m->load_tail - m->load_head < 2)
            assert_int_equal(wt_model_submit(m, p, m->load_tail, kernels, count, gap_ns, NULL), 0);
        int64_t due = wt_model_next_ns(m, p);
        wt_model_advance(m, p, due < t_ns ? due : t_ns);
    }
    return m->done_count - before;
}

/* Mean power over span_ns of such work at a limit, once warm. */
static double mean_power_w(struct wt_model *m, const struct wt_profile *p, double limit_w,
                           const struct wt_emu_kernel *kernels, size_t count, double *ret_rate)
{
    wt_model_init(m, p, 0, 3);
    wt_model_set_contexts(m, p, 1);
    assert_int_equal(wt_model_set_limit(m, p, (uint64_t)(limit_w * 1e3), NULL), 0);
    keep_busy(m, p, kernels, count, 0, 2 * S);
    double from_j = wt_model_energy_j(m);
    int64_t from_ns = m->t_ns;
    uint64_t loads = keep_busy(m, p, kernels, count, 0, from_ns + 4 * S);
    double span_s = (double)(m->t_ns - from_ns) * 1e-9;
    if (ret_rate)
        *ret_rate = (double)loads / span_s;
    return (wt_model_energy_j(m) - from_j) / span_s;
}

static void energy_is_the_integral_of_power_and_nothing_runs_backwards(void **state)
{
    (void)state;
    for (size_t i = 0; wt_profile_at(i); i++) {
        const struct wt_profile *p = wt_profile_at(i);
        struct wt_emu_kernel kernels[] = {compute(p, 2e6), memory(p, 1e6), compute(p, 3e5)};
        wt_model_init(&one, p, 77, 5);
        wt_fj sum = 0;
        uint64_t counter = 0, last_counter = 0, last_uj = 0;
        wt_model_counter(&one, p, &last_counter);
        for (int n = 0; n < 40000; n++) {
            if (n % 997 == 0)
                assert_int_equal(
                    wt_model_submit(&one, p, (uint64_t)n, kernels, 3, (n % 5) * MS, NULL), 0);
            if (n == 11000)
                assert_int_equal(wt_model_set_limit(&one, p, p->limit_min_mw, NULL), 0);
            /* Power only changes at the model's own events: walk from one to the next. */
            wt_fj before = one.energy_fj;
            int64_t from = one.t_ns;
            uint64_t power_uw = wt_model_power_true_uw(&one);
            wt_model_advance(&one, p, from + 1);
            sum += (wt_fj)power_uw * (uint64_t)(one.t_ns - from);
            assert_true(one.energy_fj - before == (wt_fj)power_uw);
            wt_model_advance(&one, p, from + 100000);
            sum += one.energy_fj - before - (wt_fj)power_uw;
            assert_true(wt_model_energy_uj(&one) >= last_uj);
            last_uj = wt_model_energy_uj(&one);
            if (wt_model_counter(&one, p, &counter)) {
                assert_true(counter >= last_counter);
                last_counter = counter;
            }
            int64_t was = one.t_ns;
            wt_model_advance(&one, p, was - 50);
            assert_int_equal(one.t_ns, was);
        }
        assert_true(sum == one.energy_fj);
    }
}

/* The truth of two states, bit for bit. */
static void assert_same_truth(const struct wt_model *a, const struct wt_model *b)
{
    assert_int_equal(a->t_ns, b->t_ns);
    assert_true(a->energy_fj == b->energy_fj);
    assert_int_equal(a->power_uw, b->power_uw);
    assert_true(a->busy_ns == b->busy_ns);
    assert_true(a->temp_c == b->temp_c);
    assert_true(a->drive_khz == b->drive_khz);
    assert_int_equal(a->counter_mj, b->counter_mj);
    assert_int_equal(a->done_count, b->done_count);
    for (size_t i = 0; i < WT_MODEL_DONE; i++) {
        assert_int_equal(a->done[i].t_done_ns, b->done[i].t_done_ns);
        assert_true(a->done[i].energy_fj == b->done[i].energy_fj);
    }
}

static void many_small_advances_end_where_one_long_one_does(void **state)
{
    (void)state;
    for (size_t i = 0; wt_profile_at(i); i++) {
        const struct wt_profile *p = wt_profile_at(i);
        struct wt_emu_kernel kernels[] = {compute(p, 7e6), memory(p, 4e6)};
        wt_model_init(&one, p, 0, 9);
        wt_model_init(&two, p, 0, 9);
        uint64_t dice = 1;
        for (int n = 0; n < 60; n++) {
            int64_t to = one.t_ns + 37 * MS + n;
            if (n == 20) {
                wt_model_set_limit(&one, p, p->limit_min_mw, NULL);
                wt_model_set_limit(&two, p, p->limit_min_mw, NULL);
            }
            if (n < 45) {
                wt_model_submit(&one, p, (uint64_t)n, kernels, 2, n % 3 * MS, NULL);
                wt_model_submit(&two, p, (uint64_t)n, kernels, 2, n % 3 * MS, NULL);
            }
            wt_model_advance(&one, p, to);
            while (two.t_ns < to) {
                dice = dice * 6364136223846793005u + 1442695040888963407u;
                int64_t next = two.t_ns + 1 + (int64_t)((dice >> 33) % 90000);
                uint64_t mw;
                wt_model_advance(&two, p, next < to ? next : to);
                wt_model_power_plain(&two, p, two.t_ns, &mw); /* looking changes nothing */
            }
            assert_same_truth(&one, &two);
        }
        /* And through a long rest, where one leaps and the other walks. */
        int64_t end = one.t_ns + 1200 * S;
        wt_model_advance(&one, p, end);
        while (two.t_ns < end)
            wt_model_advance(&two, p, two.t_ns + 333 * MS < end ? two.t_ns + 333 * MS : end);
        assert_same_truth(&one, &two);
        uint64_t a = 0, b = 1;
        assert_true(wt_model_power_plain(&one, p, end, &a));
        assert_true(wt_model_power_plain(&two, p, end, &b));
        assert_int_equal(a, b);
    }
}

static void a_seed_decides_everything_and_another_seed_another_device(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("a100-pcie-80gb");
    struct wt_emu_kernel kernel = compute(p, 5e6);
    wt_model_init(&one, p, 5, 42);
    wt_model_init(&two, p, 5, 42);
    keep_busy(&one, p, &kernel, 1, 0, S);
    keep_busy(&two, p, &kernel, 1, 0, S);
    assert_memory_equal(&one, &two, sizeof(one));
    wt_model_init(&two, p, 5, 43);
    keep_busy(&two, p, &kernel, 1, 0, S);
    assert_true(one.gain != two.gain);
    assert_true(one.counter_mj != two.counter_mj);
    assert_true(one.energy_fj == two.energy_fj); /* the seed is the sensor's, not the physics' */
}

static void a_limit_is_obeyed_in_the_mean(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double limit_w;
        double low;
        const char *why;
    } table[] = {
        {"v100-pcie-32gb", 100, 0.90, "the lowest limit"},
        {"v100-pcie-32gb", 150, 0.90, "the middle"},
        {"v100-pcie-32gb", 225, 0.90, "hardly below what it wants"},
        {"v100-sxm2-32gb", 200, 0.90, "the other board"},
        {"a40", 200, 0.90, "above its floor"},
        {"a100-pcie-80gb", 175, 0.90, ""},
        {"h100-sxm-80gb", 300, 0.90, ""},
        {"t4", 62, 0.90, "a narrow range"},
        {"k80", 110, 0.90, ""},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        const struct wt_profile *p = profile(table[i].name);
        struct wt_emu_kernel kernels[] = {compute(p, 3e6), memory(p, 5e5), compute(p, 1e6)};
        double w = mean_power_w(&one, p, table[i].limit_w, kernels, 3, NULL);
        struct wt_model_status status;
        wt_model_status(&one, p, &status);
        if (w > table[i].limit_w * 1.005 || w < table[i].limit_w * table[i].low)
            fail_msg("%s at %.0f W draws %.1f W (%s)", table[i].name, table[i].limit_w, w,
                     table[i].why);
        assert_true(status.throttle & WT_MODEL_THROTTLE_POWER_CAP);
    }
}

static void a_limit_that_does_not_bind_changes_nothing(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("v100-pcie-32gb");
    struct wt_emu_kernel kernel = memory(p, 3e6);
    wt_model_init(&one, p, 0, 1);
    wt_model_init(&two, p, 0, 1);
    wt_model_set_limit(&two, p, 190000, NULL);
    keep_busy(&one, p, &kernel, 1, 0, 5 * S);
    keep_busy(&two, p, &kernel, 1, 0, 5 * S);
    assert_same_truth(&one, &two);
}

static void under_its_floor_an_a40_overshoots_and_wastes(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("a40");
    struct wt_emu_kernel kernels[] = {compute(p, 3e6), memory(p, 1e6)};
    kernels[0].bytes = memory(p, 1.2e6).bytes; /* as a convolution reads while it multiplies */
    double rate_full, rate_mid, rate_low;
    double w_full = mean_power_w(&one, p, 300, kernels, 2, &rate_full);
    double w_mid = mean_power_w(&one, p, 200, kernels, 2, &rate_mid);
    double w_low = mean_power_w(&one, p, 100, kernels, 2, &rate_low);
    struct wt_model_status status;
    wt_model_status(&one, p, &status);
    assert_true(status.duty_ppm < 1000000);
    assert_true(w_low > 100.0 && w_low < 125.0);
    assert_true(w_mid / rate_mid < w_full / rate_full);       /* a limit saves... */
    assert_true(w_low / rate_low > 1.2 * w_full / rate_full); /* ...until it costs */
}

static void memory_bound_work_hardly_slows_but_draws_less_at_a_lower_clock(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("v100-pcie-32gb");
    struct wt_emu_kernel kernels[] = {memory(p, 2e6), compute(p, 2e6)};
    double rate[2][2], w[2][2];
    for (int k = 0; k < 2; k++)
        for (int is_locked = 0; is_locked < 2; is_locked++) {
            wt_model_init(&one, p, 0, 1);
            if (is_locked)
                assert_int_equal(wt_model_set_clock_lock(&one, p, 930000, 930000, NULL), 0);
            keep_busy(&one, p, &kernels[k], 1, 0, S);
            double from_j = wt_model_energy_j(&one);
            rate[k][is_locked] = (double)keep_busy(&one, p, &kernels[k], 1, 0, 4 * S) / 3;
            w[k][is_locked] = (wt_model_energy_j(&one) - from_j) / 3;
            if (is_locked)
                assert_int_equal(one.clock_khz, 930000);
        }
    assert_true(rate[0][1] > 0.95 * rate[0][0]);
    assert_true(w[0][1] < 0.90 * w[0][0]);
    assert_true(rate[1][1] < 0.70 * rate[1][0]);
    assert_true(rate[1][1] > 0.66 * rate[1][0]); /* 930 / 1380 and no worse */
}

static void idle_costs_what_it_costs(void **state)
{
    (void)state;
    for (size_t i = 0; wt_profile_at(i); i++) {
        const struct wt_profile *p = wt_profile_at(i);
        struct wt_model_status status;
        wt_model_init(&one, p, 0, 1);
        wt_model_advance(&one, p, 100 * S);
        double cold_w = wt_model_energy_j(&one) / 100;
        assert_true(fabs(cold_w - p->idle_w) < 0.05 * p->idle_w);
        wt_model_status(&one, p, &status);
        assert_int_equal(status.pstate, 8);
        assert_int_equal(status.clock_khz, p->clock_idle_khz);

        wt_model_set_contexts(&one, p, 1);
        wt_model_advance(&one, p, 200 * S);
        wt_model_status(&one, p, &status);
        assert_int_equal(status.pstate, 0);
        assert_true((double)one.power_uw * 1e-6 > cold_w);
        assert_int_equal(status.util_ppm, 0);

        wt_model_set_contexts(&one, p, 0);
        wt_model_advance(&one, p, 30 * 86400 * S); /* a month: fast, and it does not drift */
        assert_true(fabs((double)one.power_uw * 1e-6 - p->idle_w) < 0.05 * p->idle_w);
        assert_true(one.temp_c > p->ambient_c && one.temp_c < p->ambient_c + 15);
    }
}

/* The share of time that the sensor sees: bursts placed after its window go unseen. */
static void the_sensor_sees_its_share_of_time(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t period_ms, window_ms;
        const char *why;
    } table[] = {
        {"v100-pcie-32gb", 20, 10, "half"},
        {"a100-pcie-80gb", 100, 25, "a quarter"},
        {"h100-sxm-80gb", 100, 25, "a quarter"},
        {"a40", 100, 100, "all"},
        {"t4", 100, 100, "all"},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        const struct wt_profile *p = profile(table[i].name);
        int64_t period = table[i].period_ms * MS, window = table[i].window_ms * MS;
        wt_model_init(&one, p, 0, 11);
        wt_model_set_contexts(&one, p, 1);
        wt_model_advance(&one, p, 40 * S);
        double rest_w = (double)one.power_uw * 1e-6 * one.gain + one.offset_w;

        /* A short burst at each offset from the next publication. */
        unsigned seen = 0, places = 40;
        for (unsigned k = 0; k < places; k++) {
            struct wt_emu_kernel burst = compute(p, (double)period / 200);
            int64_t publish = one.t_publish_ns;
            wt_model_advance(&one, p, publish + period * k / places);
            assert_int_equal(wt_model_submit(&one, p, k, &burst, 1, 0, NULL), 0);
            wt_model_advance(&one, p, publish + period + p->power_delay_ns);
            uint64_t mw = 0;
            assert_true(wt_model_power_instant(&one, p, one.t_ns, &mw));
            seen += (double)mw * 1e-3 > rest_w + 0.05;
            wt_model_advance(&one, p, one.t_ns + 2 * period);
        }
        double share = (double)seen / places, want = (double)window / (double)period;
        if (fabs(share - want) > 0.051)
            fail_msg("%s sees %.2f of time, not %.2f (%s)", table[i].name, share, want,
                     table[i].why);
    }
}

/* A step of power: what each reading shows after it. */
static void readings_follow_a_step_as_their_generation_does(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool is_plain_slow;
        double after_s, low, high; /* share of the step the plain reading shows */
        const char *why;
    } table[] = {
        {"v100-pcie-32gb", false, 0.10, 0.98, 1.02, "instant within two periods"},
        {"a100-pcie-80gb", false, 0.30, 0.98, 1.02, "instant, even on Ampere: it is GA100"},
        {"a40", true, 0.59, 0.30, 0.60, "half of a 1 s mean, late"},
        {"a40", true, 1.50, 0.98, 1.02, "all of it"},
        {"h100-sxm-80gb", true, 0.50, 0.30, 0.60, "half of a 1 s mean"},
        {"h100-sxm-80gb", true, 1.50, 0.98, 1.02, "all of it"},
        {"k80", false, 0.20, 0.45, 0.75, "a slow rise"},
        {"k80", false, 1.50, 0.98, 1.02, "all of it"},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        const struct wt_profile *p = profile(table[i].name);
        struct wt_emu_kernel kernel = memory(p, 4e9);
        wt_model_init(&one, p, 0, 4);
        wt_model_set_contexts(&one, p, 1);
        wt_model_advance(&one, p, 60 * S);
        uint64_t low_mw = 0, mw = 0;
        assert_true(wt_model_power_plain(&one, p, one.t_ns, &low_mw));
        wt_model_submit(&one, p, 1, &kernel, 1, 0, NULL);
        int64_t from = one.t_ns;
        double high_w = (double)one.power_uw * 1e-6 * one.gain + one.offset_w;
        wt_model_advance(&one, p, from + (int64_t)(table[i].after_s * 1e9));
        assert_true(wt_model_power_plain(&one, p, one.t_ns, &mw));
        double share = ((double)mw - (double)low_mw) / (high_w * 1e3 - (double)low_mw);
        if (share < table[i].low || share > table[i].high)
            fail_msg("%s shows %.2f of a step after %.2f s (%s)", table[i].name, share,
                     table[i].after_s, table[i].why);
        assert_int_equal(p->plain == WT_PLAIN_AVERAGE, table[i].is_plain_slow);
        uint64_t average;
        assert_int_equal(wt_model_power_average(&one, p, one.t_ns, &average),
                         table[i].is_plain_slow);
    }
}

static void a_reading_is_not_seen_before_its_delay(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("a100-pcie-80gb");
    struct wt_emu_kernel kernel = compute(p, 1e9);
    uint64_t before = 0, at = 0, after = 0;
    wt_model_init(&one, p, 0, 2);
    wt_model_advance(&one, p, 10 * S);
    wt_model_submit(&one, p, 1, &kernel, 1, 0, NULL);
    int64_t publish = one.t_publish_ns + p->power_period_ns;
    wt_model_advance(&one, p, publish);
    wt_model_power_instant(&one, p, publish - p->power_period_ns + p->power_delay_ns, &before);
    assert_true(wt_model_power_instant(&one, p, publish + p->power_delay_ns - 1, &at));
    assert_true(wt_model_power_instant(&one, p, publish + p->power_delay_ns, &after));
    assert_int_equal(at, before);
    assert_true(after != at);
}

static void the_counter_moves_in_its_period_and_counts_with_the_sensors_gain(void **state)
{
    (void)state;
    static const char *const table[] = {"v100-pcie-32gb", "a40", "a100-pcie-80gb", "h100-sxm-80gb",
                                        "t4"};
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        const struct wt_profile *p = profile(table[i]);
        struct wt_emu_kernel kernels[] = {compute(p, 4e6), memory(p, 3e6)};
        uint64_t mj = 0, last = 0, first = 0, moves = 0;
        int64_t moved_ns = 0;
        wt_model_init(&one, p, 0, 8);
        keep_busy(&one, p, kernels, 2, 0, 2 * S);
        wt_fj from_fj = 0;
        int64_t from_ns = 0;
        assert_true(wt_model_counter(&one, p, &last));
        while (one.t_ns < 12 * S) {
            keep_busy(&one, p, kernels, 2, 0, one.t_ns + MS);
            assert_true(wt_model_counter(&one, p, &mj));
            assert_int_equal(mj % p->counter_quantum_mj, 0);
            if (mj == last)
                continue;
            if (moved_ns) {
                int64_t span = one.t_ns - moved_ns;
                assert_true(llabs(span - p->counter_period_ns) <= MS);
            } else {
                from_fj = one.energy_fj;
                from_ns = one.t_ns;
                first = mj;
            }
            moved_ns = one.t_ns;
            last = mj;
            moves++;
        }
        assert_true(moves > 90);
        /* Read a millisecond late at most at either end of about 10 s. */
        keep_busy(&one, p, kernels, 2, 0, moved_ns);
        double true_j = wt_j_from_fj(one.energy_fj - from_fj), span = (double)(one.t_ns - from_ns);
        double want_j = true_j * one.gain + one.offset_w * span * 1e-9;
        assert_true(fabs((double)(last - first) * 1e-3 / want_j - 1) < 0.012);
    }
    uint64_t mj;
    wt_model_init(&one, profile("k80"), 0, 1);
    assert_false(wt_model_counter(&one, profile("k80"), &mj));
}

static void loads_end_when_said_and_their_energies_add_up(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("v100-pcie-32gb");
    struct wt_emu_kernel kernels[] = {compute(p, 20e6), memory(p, 5e6)};
    int64_t done_ns = 0, last_ns = 0;
    wt_model_init(&one, p, 0, 1);
    assert_int_equal(wt_model_next_ns(&one, p), INT64_MAX);
    assert_int_equal(wt_model_load_done(&one, 100, &done_ns), WT_E_NOTFOUND);
    wt_fj sum = 0;
    for (uint64_t id = 100; id < 110; id++)
        assert_int_equal(wt_model_submit(&one, p, id, kernels, 2, 3 * MS, NULL), 0);
    assert_int_equal(wt_model_load_done(&one, 109, &done_ns), 0);
    int64_t due = wt_model_load_due_ns(&one, p, 100);
    for (uint64_t id = 100; id < 110; id++) {
        while (wt_model_load_done(&one, id, &done_ns) == 0)
            wt_model_advance(&one, p, wt_model_load_due_ns(&one, p, id));
        assert_int_equal(wt_model_load_done(&one, id, &done_ns), 1);
        assert_true(done_ns > last_ns);
        if (id == 100)
            assert_true(llabs(done_ns - due) < 3 * MS);
        last_ns = done_ns;
        sum += wt_model_load_find(&one, id)->energy_fj;
    }
    assert_true(sum == one.energy_fj); /* the first began at 0 and the last has just ended */
    assert_int_equal(one.t_ns, last_ns);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    const struct wt_profile *p = profile("v100-pcie-32gb");
    struct wt_emu_kernel good = compute(p, 1e6), bad = {NAN, 0, WT_EMU_FP32};
    static struct wt_emu_kernel many[WT_MODEL_KERNELS + 1];
    struct wt_error err;
    wt_model_init(&one, p, 0, 1);
    wt_model_init(&two, p, 0, 1);
    assert_int_equal(wt_model_submit(&one, p, 1, &bad, 1, 0, &err), WT_E_USAGE);
    assert_int_equal(wt_model_submit(&one, p, 1, &good, 1, -1, &err), WT_E_USAGE);
    assert_int_equal(wt_model_submit(&one, p, 1, NULL, 0, 0, &err), WT_E_USAGE);
    assert_int_equal(wt_model_submit(&one, p, 1, many, WT_MODEL_KERNELS + 1, 0, &err), WT_E_FULL);
    assert_int_equal(wt_model_set_limit(&one, p, 99999, &err), WT_E_RANGE);
    assert_int_equal(wt_model_set_limit(&one, p, 250001, &err), WT_E_RANGE);
    assert_int_equal(wt_model_set_clock_lock(&one, p, 900000, 800000, &err), WT_E_RANGE);
    assert_int_equal(wt_model_set_memclock_lock(&one, p, 1, &err), WT_E_RANGE);
    assert_memory_equal(&one, &two, sizeof(one));
    for (int i = 0; i < WT_MODEL_LOADS; i++)
        assert_int_equal(wt_model_submit(&one, p, (uint64_t)i, &good, 1, 0, &err), 0);
    assert_int_equal(wt_model_submit(&one, p, 999, &good, 1, 0, &err), WT_E_FULL);
    assert_null(wt_profile_find("v100"));
}

static void profiles_are_whole(void **state)
{
    (void)state;
    const char *const *names = wt_profile_names();
    size_t count = 0;
    for (; wt_profile_at(count); count++) {
        const struct wt_profile *p = wt_profile_at(count);
        assert_string_equal(p->name, names[count]);
        assert_ptr_equal(wt_profile_find(p->name), p);
        assert_true(p->limit_min_mw <= p->limit_default_mw);
        assert_true(p->limit_default_mw <= p->limit_max_mw);
        assert_true(p->base_w + p->leak_w + p->tree_w < p->limit_min_mw * 1e-3);
        assert_true(p->idle_w < p->base_w + p->leak_w + p->tree_w);
        assert_true(p->gain_low < p->gain_high && p->offset_low_w < p->offset_high_w);
        assert_true(p->v_min > 0 && p->v_min < 1 && p->f_knee > 0 && p->f_knee < 1);
        assert_true(p->average_ns <= (WT_MODEL_SAMPLES - 8) * p->power_period_ns);
        assert_int_equal(wt_profile_clock_khz(p, 0), p->clock_max_khz / 1000 * 1000);
        assert_true(p->memclock_khz[0] > 0 && p->memclock_idle_khz > 0);
    }
    assert_null(names[count]);
    const struct wt_profile *v100 = profile("v100-pcie-32gb");
    assert_int_equal(wt_profile_clock_khz(v100, 1), 1372000); /* as NVML shows 1372.5 */
    assert_int_equal(wt_profile_clock_round_khz(v100, 1371000), 1365000);
    assert_int_equal(wt_profile_clock_round_khz(v100, 1), 135000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(energy_is_the_integral_of_power_and_nothing_runs_backwards),
        cmocka_unit_test(many_small_advances_end_where_one_long_one_does),
        cmocka_unit_test(a_seed_decides_everything_and_another_seed_another_device),
        cmocka_unit_test(a_limit_is_obeyed_in_the_mean),
        cmocka_unit_test(a_limit_that_does_not_bind_changes_nothing),
        cmocka_unit_test(under_its_floor_an_a40_overshoots_and_wastes),
        cmocka_unit_test(memory_bound_work_hardly_slows_but_draws_less_at_a_lower_clock),
        cmocka_unit_test(idle_costs_what_it_costs),
        cmocka_unit_test(the_sensor_sees_its_share_of_time),
        cmocka_unit_test(readings_follow_a_step_as_their_generation_does),
        cmocka_unit_test(a_reading_is_not_seen_before_its_delay),
        cmocka_unit_test(the_counter_moves_in_its_period_and_counts_with_the_sensors_gain),
        cmocka_unit_test(loads_end_when_said_and_their_energies_add_up),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(profiles_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
