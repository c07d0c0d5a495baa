/* curve: what few probes say of a whole curve, how sure they are, and where they say nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "curve/curve.h"

/* BERT-base on SQuAD, batch 32, on an A40 (bench/power-traces): limit, s an epoch against 300 W, W.
 */
static const double a40[][3] = {
    {100, 4.068, 106}, {125, 2.619, 123}, {150, 1.744, 145}, {175, 1.272, 167}, {200, 1.130, 189},
    {225, 1.064, 210}, {250, 1.028, 232}, {275, 1.004, 251}, {300, 1.000, 267},
};

static struct wt_curve_point probe(size_t i)
{
    return (struct wt_curve_point){a40[i][0], a40[i][1] * 100, a40[i][1] * 100 * a40[i][2], 0.003};
}

static struct wt_curve *curve_of(enum wt_axis axis, const struct wt_curve_point *points,
                                 size_t count)
{
    struct wt_error err = {0};
    struct wt_curve *curve;
    if (wt_curve_new(&curve, axis, points, count, &err) < 0)
        fail_msg("%s", err.text);
    return curve;
}

static void it_passes_through_its_probes(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {probe(8), probe(4), probe(2)};
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 3);
    for (size_t i = 0; i < 3; i++) {
        struct wt_curve_value v;
        assert_int_equal(wt_curve_at(curve, points[i].setting, &v), 0);
        assert_true(v.is_probed);
        assert_true(fabs(v.energy_j.value / points[i].energy_j - 1) < 0.005);
        assert_true(fabs(v.time_s.value / points[i].time_s - 1) < 0.005);
        assert_true(v.energy_j.low <= points[i].energy_j && points[i].energy_j <= v.energy_j.high);
    }
    wt_curve_free(curve);
}

static void between_probes_the_interval_holds_what_was_measured(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {probe(8), probe(4), probe(1)};
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 3);
    size_t held = 0, asked = 0;
    for (size_t i = 1; i <= 8; i++) {
        struct wt_curve_value v;
        double energy_j = a40[i][1] * 100 * a40[i][2];
        assert_int_equal(wt_curve_at(curve, a40[i][0], &v), 0);
        assert_true(v.energy_j.low <= v.energy_j.value && v.energy_j.value <= v.energy_j.high);
        assert_true(fabs(v.power_w.value * v.time_s.value / v.energy_j.value - 1) < 0.01);
        asked++;
        held += v.energy_j.low <= energy_j && energy_j <= v.energy_j.high;
    }
    assert_true(held >= asked - 1);
    wt_curve_free(curve);
}

static void beyond_the_probes_there_is_no_answer(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {probe(7), probe(4)};
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 2);
    struct wt_curve_value v;
    assert_int_equal(wt_curve_at(curve, 175, &v), WT_E_RANGE);
    assert_int_equal(wt_curve_at(curve, 300, &v), WT_E_RANGE);
    assert_int_equal(wt_curve_at(curve, 250, &v), 0);
    wt_curve_free(curve);
}

static void a_floor_is_known_where_it_was_seen_and_not_before(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {probe(8), probe(4), probe(2)};
    struct wt_curve_facts f;
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 2);
    wt_curve_facts(curve, &f);
    assert_false(f.has_floor);
    assert_true(isnan(f.floor));
    assert_true(f.is_binding);
    assert_true(fabs(f.load_w - 267) < 1);
    wt_curve_free(curve);
    curve = curve_of(WT_AXIS_POWER, points, 3); /* 150 W takes more than 200 W */
    wt_curve_facts(curve, &f);
    assert_true(f.has_floor);
    assert_true(f.floor == 200);
    wt_curve_free(curve);
}

static void limits_above_the_load_do_not_bind(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {{250, 100, 3800, 0.003}, {100, 100.2, 3805, 0.003}};
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 2);
    struct wt_curve_facts f;
    struct wt_curve_value v;
    wt_curve_facts(curve, &f);
    assert_false(f.is_binding);
    assert_int_equal(wt_curve_at(curve, 150, &v), 0);
    assert_true(fabs(v.energy_j.value / 3800 - 1) < 0.01);
    wt_curve_free(curve);
}

static void repeats_of_a_setting_narrow_it(void **state)
{
    (void)state;
    struct wt_curve_point points[9];
    struct wt_curve_value once, often;
    for (size_t i = 0; i < 9; i++) {
        points[i] = probe(4);
        points[i].noise = 0.01;
    }
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 1);
    assert_int_equal(wt_curve_at(curve, 200, &once), 0);
    wt_curve_free(curve);
    curve = curve_of(WT_AXIS_POWER, points, 9);
    assert_int_equal(wt_curve_at(curve, 200, &often), 0);
    wt_curve_free(curve);
    double wide = once.energy_j.high / once.energy_j.low - 1;
    assert_true(often.energy_j.high / often.energy_j.low - 1 < wide / 2);
}

static void all_ways_weigh_one_and_guess_further_than_answers_go(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {probe(8), probe(4)};
    static struct wt_curve_way ways[WT_CURVE_WAYS];
    struct wt_curve *curve = curve_of(WT_AXIS_POWER, points, 2);
    double t_sd, e_sd, sum = 0;
    size_t count = wt_curve_guess(curve, 100, ways, WT_CURVE_WAYS, &t_sd, &e_sd);
    assert_true(count > 1);
    for (size_t i = 0; i < count; i++) {
        sum += ways[i].weight;
        assert_true(isfinite(ways[i].log_time) && isfinite(ways[i].log_energy));
        assert_true(ways[i].log_time > log(points[1].time_s)); /* slower than at twice the limit */
    }
    assert_true(fabs(sum - 1) < 1e-9);
    wt_curve_free(curve);
}

static void other_numbers_have_a_smooth_curve_without_a_form(void **state)
{
    (void)state;
    const struct wt_curve_point points[] = {
        {8, 120, 9000, 0.003}, {16, 100, 7800, 0.003}, {64, 95, 8200, 0.003}};
    struct wt_curve *curve = curve_of(WT_AXIS_OTHER, points, 3);
    struct wt_curve_value v;
    assert_int_equal(wt_curve_at(curve, 16, &v), 0);
    assert_true(fabs(v.energy_j.value / 7800 - 1) < 0.01);
    assert_int_equal(wt_curve_at(curve, 32, &v), 0);
    assert_true(v.energy_j.low < 7800 && v.energy_j.high > 8200);
    wt_curve_free(curve);
}

static void what_is_no_probe_is_refused(void **state)
{
    (void)state;
    static const struct wt_curve_point bad[] = {
        {0, 1, 1, 0.01},     {100, 0, 1, 0.01},        {100, 1, -1, 0.01}, {100, 1, 1, 0},
        {100, NAN, 1, 0.01}, {100, 1, INFINITY, 0.01}, {NAN, 1, 1, 0.01},
    };
    struct wt_curve *curve;
    struct wt_error err = {0};
    assert_int_equal(wt_curve_new(&curve, WT_AXIS_POWER, NULL, 0, &err), WT_E_USAGE);
    for (size_t i = 0; i < WT_COUNTOF(bad); i++)
        assert_int_equal(wt_curve_new(&curve, WT_AXIS_POWER, &bad[i], 1, &err), WT_E_USAGE);
    wt_curve_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_passes_through_its_probes),
        cmocka_unit_test(between_probes_the_interval_holds_what_was_measured),
        cmocka_unit_test(beyond_the_probes_there_is_no_answer),
        cmocka_unit_test(a_floor_is_known_where_it_was_seen_and_not_before),
        cmocka_unit_test(limits_above_the_load_do_not_bind),
        cmocka_unit_test(repeats_of_a_setting_narrow_it),
        cmocka_unit_test(all_ways_weigh_one_and_guess_further_than_answers_go),
        cmocka_unit_test(other_numbers_have_a_smooth_curve_without_a_form),
        cmocka_unit_test(what_is_no_probe_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
