/* sweep_plan: what the runs of a sweep keep of it, whether it can go on, and how long it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>

#include "runs.h"
#include "wattune/sweep.h"

static void add_axis(struct wt_sweep_plan *plan, const char *name, bool is_param, const char *a,
                     const char *b)
{
    struct wt_sweep_axis *axis = &plan->axes[plan->axis_count++];
    wt_text(axis->name, sizeof(axis->name), "%s", name);
    axis->is_param = is_param;
    axis->values = calloc(2, sizeof(*axis->values));
    axis->values[0] = strdup(a);
    axis->values[1] = strdup(b);
    axis->value_count = 2;
}

static struct wt_sweep_plan whole_plan(void)
{
    struct wt_sweep_plan plan = {.command = "train --batch '{batch}'",
                                 .reference = "power=250 W, batch=8",
                                 .seed = INT64_MAX,
                                 .repeats = 2,
                                 .repeats_max = 10,
                                 .precision = 0.01,
                                 .settle_s = 90};
    wt_goal_init(&plan.goal);
    plan.goal.objective = WT_OBJECTIVE_ETA;
    plan.goal.eta = 0.3;
    plan.goal.eta_power_w = 500;
    plan.goal.slowdown_max = 0.05;
    plan.goal.host_w = 120;
    add_axis(&plan, "power", false, "150", "250");
    add_axis(&plan, "batch", true, "8", "\xc3\xa4");
    plan.axes[1].needs = calloc(2, sizeof(*plan.axes[1].needs));
    plan.axes[1].needs[0] = 3;
    plan.axes[1].needs[1] = 3.4;
    return plan;
}

static void a_plan_comes_back_as_it_was(void **state)
{
    (void)state;
    struct wt_sweep_plan plan = whole_plan(), back;
    char *text = wt_sweep_plan_to_json(&plan);
    assert_non_null(text);
    assert_int_equal(wt_sweep_plan_from_json(&back, text, NULL), 0);
    assert_string_equal(back.command, plan.command);
    assert_string_equal(back.reference, plan.reference);
    assert_true(back.seed == plan.seed);
    assert_int_equal(back.repeats, 2);
    assert_int_equal(back.repeats_max, 10);
    assert_near(back.precision, 0.01, 0);
    assert_near(back.settle_s, 90, 0);
    assert_int_equal(back.goal.objective, WT_OBJECTIVE_ETA);
    assert_near(back.goal.eta, 0.3, 0);
    assert_near(back.goal.eta_power_w, 500, 0);
    assert_near(back.goal.slowdown_max, 0.05, 0);
    assert_near(back.goal.host_w, 120, 0);
    assert_true(isnan(back.goal.power_max_w));
    assert_int_equal(back.axis_count, 2);
    assert_string_equal(back.axes[0].values[1], "250");
    assert_null(back.axes[0].needs);
    assert_string_equal(back.axes[1].values[1], "\xc3\xa4");
    assert_near(back.axes[1].needs[1], 3.4, 0);
    assert_int_equal(wt_sweep_plan_check(&plan, &back, NULL), 0);
    wt_sweep_plan_done(&back);
    wt_sweep_plan_done(&plan);
    free(text);
}

static void what_is_no_plan_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "[]",
        "{}",
        "{\"command\": \"x\"}",
        "{\"command\": \"x\", \"axes\": [{}]}",
        "{\"command\": \"x\", \"axes\": [{\"name\": \"a\", \"values\": []}]}",
        "{\"command\": \"x\", \"axes\": [{\"name\": \"a\", \"values\": [\"1\", 2]}]}",
        "{\"command\": \"x\", \"axes\": [{\"name\": \"a\", \"values\": [\"1\"], \"needs\": [0]}]}",
        "{\"command\": \"x\", \"axes\": [1, 2, 3, 4, 5]}",
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_sweep_plan plan;
        struct wt_error err = {0};
        if (wt_sweep_plan_from_json(&plan, rows[i], &err) != WT_E_FORMAT)
            fail_msg("%s was taken", rows[i]);
    }
}

static void what_differs_is_said(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_sweep_plan stored = whole_plan(), now = whole_plan();
    now.goal.objective = WT_OBJECTIVE_ENERGY; /* what is made of the runs may be another */
    now.repeats = 7;
    now.seed = 1;
    assert_int_equal(wt_sweep_plan_check(&stored, &now, &err), 0);

    free(now.axes[0].values[0]);
    now.axes[0].values[0] = strdup("140");
    assert_int_equal(wt_sweep_plan_check(&stored, &now, &err), WT_E_CHANGED);
    assert_non_null(strstr(err.text, "power=150,250; batch=8,"));
    assert_non_null(strstr(err.text, "power=140,250; batch=8,"));

    wt_text(now.command, sizeof(now.command), "train --fast");
    assert_int_equal(wt_sweep_plan_check(&stored, &now, &err), WT_E_CHANGED);
    assert_non_null(strstr(err.text, "train --batch '{batch}'"));
    assert_non_null(strstr(err.text, "train --fast"));
    wt_sweep_plan_done(&stored);
    wt_sweep_plan_done(&now);
}

/* ---- how long ---- */

static struct wt_run run_of(const char *group, const char *label, const char *command,
                            double wall_s)
{
    struct wt_run run = {.state = WT_RUN_DONE, .wall_s = wall_s};
    wt_text(run.group, sizeof(run.group), "%s", group);
    wt_text(run.label, sizeof(run.label), "%s", label);
    wt_text(run.command, sizeof(run.command), "%s", command);
    return run;
}

static void a_forecast_goes_by_the_newest_sweep_of_the_command(void **state)
{
    (void)state;
    struct wt_sweep_point points[] = {
        {.label = "150 W", .command = "train"},
        {.label = "200 W", .command = "train"},
        {.label = "250 W", .command = "train"},
    };
    /* Newest first. */
    struct wt_run runs[] = {
        run_of("other", "150 W", "train --more", 1), run_of("new", "150 W", "train", 12),
        run_of("new", "150 W", "train", 14),         run_of("new", "250 W", "train", 10),
        run_of("new", "250 W", "train", 1),          run_of("old", "200 W", "train", 99),
    };
    runs[4].exit_code = 1; /* it counts for nothing */
    struct wt_sweep_forecast f = wt_sweep_forecast(points, 3, runs, WT_COUNTOF(runs), "");
    assert_string_equal(f.group, "new");
    assert_int_equal(f.run_count, 3);
    assert_near(points[0].expected_s, 13, 1e-9);
    assert_int_equal(points[0].expected_from, 2);
    assert_near(points[2].expected_s, 10, 1e-9);
    assert_int_equal(points[1].expected_from, 0); /* not run there: as its command at others */
    assert_near(points[1].expected_s, 12, 1e-9);
    assert_near(f.run_s, (13 + 12 + 10) / 3.0, 1e-9);
}

static void a_forecast_of_parameters_goes_by_each_command(void **state)
{
    (void)state;
    struct wt_sweep_point points[] = {
        {.label = "batch=8", .command = "train 8"},
        {.label = "batch=16", .command = "train 16"},
        {.label = "batch=32", .command = "train 32"},
    };
    /* By themselves, not in a sweep. */
    struct wt_run runs[] = {run_of("", "", "train 8", 10), run_of("", "", "train 16", 20)};
    struct wt_sweep_forecast f = wt_sweep_forecast(points, 3, runs, 2, "");
    assert_string_equal(f.group, "");
    assert_int_equal(f.run_count, 2);
    assert_near(points[0].expected_s, 10, 1e-9);
    assert_near(points[1].expected_s, 20, 1e-9);
    assert_near(points[2].expected_s, 15, 1e-9); /* the mean of the others */
}

static void without_a_run_of_it_nothing_is_known(void **state)
{
    (void)state;
    struct wt_sweep_point points[] = {{.label = "150 W", .command = "train"}};
    struct wt_run runs[] = {run_of("g", "150 W", "train", 10), run_of("g", "150 W", "train", 10)};
    wt_text(runs[0].emulation, sizeof(runs[0].emulation), "v100-pcie-32gb");
    runs[1].state = WT_RUN_INCOMPLETE;
    struct wt_sweep_forecast f = wt_sweep_forecast(points, 1, runs, 2, "");
    assert_true(isnan(f.run_s) && isnan(points[0].expected_s));
    assert_int_equal(f.run_count, 0);
    f = wt_sweep_forecast(points, 1, runs, 2, "v100-pcie-32gb");
    assert_near(f.run_s, 10, 1e-9);
}

static void a_dry_run_has_its_document(void **state)
{
    (void)state;
    struct wt_sweep_plan plan = whole_plan();
    struct wt_sweep_point points[] = {
        {.label = "150 W", .command = "train", .expected_s = 12, .expected_from = 1},
        {.label = "250 W", .command = "train", .expected_s = 10, .is_reference = true},
    };
    struct wt_sweep_step steps[] = {{0, 0, true},  {1, 0, false}, {1, 1, false},
                                    {0, 1, false}, {0, 2, false}, {1, 2, false}};
    struct wt_sweep_forecast f = {.run_s = 11, .run_count = 1, .group = "g"};
    char *text = wt_sweep_dry_to_json(&plan, points, 2, steps, 6, &f, "");
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    assert_true(json_is_true(json_object_get(doc, "dry_run")));
    assert_int_equal(json_integer_value(json_object_get(doc, "runs")), 3);
    assert_int_equal(json_integer_value(json_object_get(doc, "runs_max")), 5);
    assert_near(json_number_value(json_object_get(doc, "expected_s")), 32, 1e-9);
    assert_near(json_number_value(json_object_get(doc, "expected_max_s")), 54, 1e-9);
    json_t *order = json_object_get(doc, "order");
    assert_int_equal(json_array_size(order), 6);
    assert_string_equal(json_string_value(json_object_get(json_array_get(order, 1), "label")),
                        "250 W");
    assert_true(json_is_true(json_object_get(json_array_get(order, 0), "is_stored")));
    assert_int_equal(json_array_size(json_object_get(doc, "settings")), 2);
    json_decref(doc);
    free(text);
    points[0].expected_s = points[1].expected_s = NAN;
    text = wt_sweep_dry_to_json(&plan, points, 2, steps, 6, &f, "v100-pcie-32gb");
    doc = json_loads(text, 0, NULL);
    assert_true(json_is_null(json_object_get(doc, "expected_s")));
    json_decref(doc);
    free(text);
    wt_sweep_plan_done(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_plan_is_refused_and_leaves_nothing),
        cmocka_unit_test(what_differs_is_said),
        cmocka_unit_test(a_forecast_goes_by_the_newest_sweep_of_the_command),
        cmocka_unit_test(a_forecast_of_parameters_goes_by_each_command),
        cmocka_unit_test(without_a_run_of_it_nothing_is_known),
        cmocka_unit_test(a_dry_run_has_its_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
