/* phases: a step's parts are told apart under a tick longer than the step, with the truth inside
 * the interval, and what cannot be told apart is called so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "window/phases.h"

static uint64_t seed;

static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

#define MAX_SPANS 20000
#define MAX_TICKS 2000

struct scene {
    struct wt_phase_span spans[MAX_SPANS];
    size_t span_count;
    int64_t tick_ns[MAX_TICKS + 1];
    double tick_j[MAX_TICKS];
    size_t ticks;
    double truth_j[8];
};

/* Steps of phases with these lengths (each varying by `vary`) and powers, a gap of `rest_ms` at
 * rest_w between steps; a counter that ticks every 100 ms, its ticks placed with an error of up to
 * `place_ms`. */
static struct scene *make_scene(unsigned phases, const double *ms, const double *w, double vary,
                                double rest_ms, double rest_w, double seconds, double place_ms)
{
    struct scene *sc = calloc(1, sizeof(*sc));
    assert_non_null(sc);
    double t = 0, next_tick = 0.1, energy = 0, tick_energy = 0;
    while (t < seconds) {
        double step_scale = 1 + vary * (2 * uniform() - 1);
        for (unsigned p = 0; p <= phases; p++) {
            /* The whole step stretches together or each phase by itself, as vary's sign says. */
            double own = vary >= 0 ? 1 + vary * (2 * uniform() - 1) : step_scale;
            double length = (p < phases ? ms[p] : rest_ms) * 1e-3 * own;
            double power = p < phases ? w[p] : rest_w;
            double end = t + length;
            if (p < phases && sc->span_count < MAX_SPANS)
                sc->spans[sc->span_count++] =
                    (struct wt_phase_span){(int64_t)(t * 1e9), (int64_t)(end * 1e9), p};
            while (next_tick <= end && sc->ticks < MAX_TICKS) {
                energy += power * (next_tick - t);
                sc->truth_j[p] += power * (next_tick - t);
                t = next_tick;
                sc->tick_j[sc->ticks] = energy - tick_energy;
                tick_energy = energy;
                sc->tick_ns[++sc->ticks] =
                    (int64_t)((next_tick + place_ms * 1e-3 * (2 * uniform() - 1)) * 1e9);
                next_tick += 0.1;
            }
            energy += power * (end - t);
            if (sc->ticks < MAX_TICKS)
                sc->truth_j[p] += power * (end - t);
            t = end;
        }
    }
    return sc;
}

static void three_short_phases_are_told_apart_under_a_100_ms_counter(void **state)
{
    (void)state;
    static const double ms[] = {8, 17, 5}, w[] = {180, 240, 110};
    unsigned inside = 0, fits_seen = 0;
    for (unsigned trial = 0; trial < 60; trial++) {
        seed = 1000 + trial;
        struct scene *sc = make_scene(3, ms, w, 0.02, 1, 60, 60, 0.5);
        struct wt_phase_fit fits[4];
        struct wt_error err;
        assert_int_equal(wt_phases_fit(sc->tick_ns, sc->tick_j, sc->ticks, sc->spans,
                                       sc->span_count, 3, 0, fits, &err),
                         0);
        for (unsigned p = 0; p < 3; p++) {
            assert_true(fits[p].is_separable);
            assert_true(fabs(fits[p].power_w / w[p] - 1) < 0.05);
            inside += fits[p].low_w <= w[p] && w[p] <= fits[p].high_w;
            fits_seen++;
        }
        free(sc);
    }
    assert_true(inside >= fits_seen * 90 / 100);
}

/* Its one tick fits whatever its power is said to be, and leaves nothing to see the error by. */
static void a_phase_of_one_tick_is_no_better_known_than_the_tick(void **state)
{
    (void)state;
    static const double ms[] = {8, 17, 5}, w[] = {180, 240, 110};
    unsigned inside = 0;
    for (unsigned trial = 0; trial < 40; trial++) {
        seed = 900 + trial;
        struct scene *sc = make_scene(3, ms, w, 0.02, 0.6, 60, 30, 0);
        for (size_t k = 0; k < sc->ticks; k++)
            sc->tick_j[k] += uniform() - 0.5; /* steps differ in what they draw */
        struct wt_phase_span *lone = &sc->spans[sc->span_count / 2 - sc->span_count / 2 % 3 + 1];
        lone->phase = 3;
        double truth_j = 240 * (double)(lone->end_ns - lone->begin_ns) * 1e-9;
        struct wt_phase_fit fits[5];
        assert_int_equal(wt_phases_fit(sc->tick_ns, sc->tick_j, sc->ticks, sc->spans,
                                       sc->span_count, 4, 0, fits, NULL),
                         0);
        inside += fits[3].is_separable && fits[3].low_j <= truth_j && truth_j <= fits[3].high_j;
        free(sc);
    }
    assert_true(inside >= 36); /* of 40, at 95 % */
}

static void phases_in_fixed_proportion_are_not_separable(void **state)
{
    (void)state;
    /* Both phases within one tick always in the same share: ticks on step boundaries. */
    struct wt_phase_span spans[400];
    int64_t tick_ns[101];
    double tick_j[100];
    tick_ns[0] = 0;
    for (int k = 0; k < 100; k++) {
        int64_t length = 100000000 + (k * 7919) % 20000000; /* the ticks themselves vary */
        int64_t a = length / 4, b = length / 2;
        spans[2 * k] = (struct wt_phase_span){tick_ns[k], tick_ns[k] + a, 0};
        spans[2 * k + 1] = (struct wt_phase_span){tick_ns[k] + a, tick_ns[k] + a + b, 1};
        tick_j[k] = ((double)a * 200 + (double)b * 100 + (double)(length - a - b) * 50) * 1e-9;
        tick_ns[k + 1] = tick_ns[k] + length;
    }
    struct wt_phase_fit fits[3];
    assert_int_equal(wt_phases_fit(tick_ns, tick_j, 100, spans, 200, 2, 0, fits, NULL), 0);
    double total = 0;
    for (int k = 0; k < 100; k++)
        total += tick_j[k];
    for (int p = 0; p < 3; p++) {
        assert_false(fits[p].is_separable);
        assert_true(isnan(fits[p].energy_j));
        assert_int_equal(fits[p].group, fits[0].group);
        assert_true(fabs(fits[p].joint_j / total - 1) < 1e-6);
    }
}

static void a_third_phase_stays_separable_beside_two_that_are_not(void **state)
{
    (void)state;
    /* Phase 0 is always followed by as long a phase 1; phase 2 comes and goes. */
    static struct wt_phase_span spans[3000];
    size_t count = 0;
    int64_t tick_ns[301];
    double tick_j[300];
    seed = 7;
    tick_ns[0] = 0;
    for (int k = 0; k < 300; k++) {
        int64_t t = tick_ns[k], end = t + 100000000;
        int64_t half = (int64_t)((0.1 + 0.2 * uniform()) * 1e8),
                own = (int64_t)(0.3 * uniform() * 1e8);
        spans[count++] = (struct wt_phase_span){t, t + half, 0};
        spans[count++] = (struct wt_phase_span){t + half, t + 2 * half, 1};
        spans[count++] = (struct wt_phase_span){t + 2 * half, t + 2 * half + own, 2};
        tick_j[k] = ((double)half * 300 + (double)half * 100 + (double)own * 150 +
                     (double)(end - t - 2 * half - own) * 40) *
                    1e-9;
        tick_ns[k + 1] = end;
    }
    struct wt_phase_fit fits[4];
    assert_int_equal(wt_phases_fit(tick_ns, tick_j, 300, spans, count, 3, 0, fits, NULL), 0);
    assert_false(fits[0].is_separable);
    assert_false(fits[1].is_separable);
    assert_int_equal(fits[0].group, fits[1].group);
    assert_true(fits[2].is_separable);
    assert_true(fabs(fits[2].power_w - 150) < 1e-3);
    assert_true(fits[3].is_separable);
    assert_true(fabs(fits[3].power_w - 40) < 1e-3);
    double joint = 0;
    for (size_t s = 0; s < count; s++)
        if (spans[s].phase < 2)
            joint +=
                (double)(spans[s].end_ns - spans[s].begin_ns) * 1e-9 * (spans[s].phase ? 100 : 300);
    assert_true(fabs(fits[0].joint_j / joint - 1) < 1e-6);
}

static void the_parts_add_up_to_the_whole(void **state)
{
    (void)state;
    static const double ms[] = {8, 17, 5}, w[] = {180, 240, 110};
    seed = 3;
    struct scene *sc = make_scene(3, ms, w, 0.05, 2, 60, 30, 0);
    struct wt_phase_fit fits[4];
    assert_int_equal(wt_phases_fit(sc->tick_ns, sc->tick_j, sc->ticks, sc->spans, sc->span_count, 3,
                                   0, fits, NULL),
                     0);
    double sum = 0, total = 0;
    for (int p = 0; p < 4; p++)
        sum += fits[p].energy_j;
    for (size_t k = 0; k < sc->ticks; k++)
        total += sc->tick_j[k];
    assert_true(fabs(sum / total - 1) < 1e-3);
    free(sc);
}

static void the_sensors_gain_widens_every_interval(void **state)
{
    (void)state;
    static const double ms[] = {8, 17}, w[] = {180, 240};
    seed = 5;
    struct scene *sc = make_scene(2, ms, w, 0.05, 2, 60, 30, 0);
    struct wt_phase_fit plain[3], wide[3];
    wt_phases_fit(sc->tick_ns, sc->tick_j, sc->ticks, sc->spans, sc->span_count, 2, 0, plain, NULL);
    wt_phases_fit(sc->tick_ns, sc->tick_j, sc->ticks, sc->spans, sc->span_count, 2, 50000, wide,
                  NULL);
    for (int p = 0; p < 2; p++) {
        assert_true(wide[p].low_w < plain[p].low_w - 0.049 * w[p]);
        assert_true(wide[p].high_w > plain[p].high_w + 0.049 * w[p]);
    }
    free(sc);
}

static void too_few_ticks_and_bad_times_are_refused(void **state)
{
    (void)state;
    int64_t t[] = {0, 10, 20, 30, 40, 50, 45, 70};
    double j[] = {1, 1, 1, 1, 1, 1, 1};
    struct wt_phase_fit fits[2];
    struct wt_phase_span span = {0, 5, 0};
    assert_int_equal(wt_phases_fit(t, j, 5, &span, 1, 1, 0, fits, NULL), WT_E_RANGE);
    assert_int_equal(wt_phases_fit(t, j, 7, &span, 1, 1, 0, fits, NULL), WT_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_short_phases_are_told_apart_under_a_100_ms_counter),
        cmocka_unit_test(a_phase_of_one_tick_is_no_better_known_than_the_tick),
        cmocka_unit_test(phases_in_fixed_proportion_are_not_separable),
        cmocka_unit_test(a_third_phase_stays_separable_beside_two_that_are_not),
        cmocka_unit_test(the_parts_add_up_to_the_whole),
        cmocka_unit_test(the_sensors_gain_widens_every_interval),
        cmocka_unit_test(too_few_ticks_and_bad_times_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
