/* sweep: what is chosen when something else than energy is made small, or within limits; what
 * parameters of the command need; runs that are off, and runs that were made cold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>

#include "runs.h"
#include "wattune/report.h"

/* 100, 150, 200 W and the default of a V100-like card. */
static const struct runs_spec v100[] = {
    {.cap_w = 100, .wall_s = 52.6, .power_w = 99, .bound = 0.012},
    {.cap_w = 150, .wall_s = 43.4, .power_w = 149, .bound = 0.012},
    {.cap_w = 200, .wall_s = 40.6, .power_w = 186, .bound = 0.012},
    {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.012},
};

struct bench {
    struct wt_run runs[32];
    size_t count;
    struct wt_sweep sweep;
};

static void fill(struct bench *b, unsigned repeats)
{
    *b = (struct bench){0};
    for (unsigned r = 0; r < repeats; r++)
        for (size_t i = 0; i < WT_COUNTOF(v100); i++) {
            struct runs_spec spec = v100[i];
            spec.repeat = r;
            b->runs[b->count++] = runs_make(&spec);
        }
}

static struct wt_sweep_plan plan_for(enum wt_objective objective)
{
    struct wt_sweep_plan plan = {.command = "train", .repeats = 3, .repeats_max = 3};
    plan.precision = NAN;
    wt_goal_init(&plan.goal);
    plan.goal.objective = objective;
    return plan;
}

static void make(struct bench *b, const char *reference, const struct wt_sweep_plan *plan)
{
    struct wt_error err = {0};
    if (wt_sweep_make_by(&b->sweep, b->runs, b->count, reference, plan, &err) < 0)
        fail_msg("%s", err.text);
}

static void empty(struct bench *b)
{
    wt_sweep_done(&b->sweep);
    for (size_t i = 0; i < b->count; i++)
        wt_run_done(&b->runs[i]);
}

static const char *warning(const struct wt_sweep *sweep, const char *part)
{
    for (size_t i = 0; i < sweep->warning_count; i++)
        if (strstr(sweep->warnings[i], part))
            return sweep->warnings[i];
    return NULL;
}

static void scale(struct wt_run *run, double time, double energy)
{
    run->wall_s *= time;
    run->devices[0].energy.energy_j *= energy;
    run->devices[0].energy.low_j *= energy;
    run->devices[0].energy.high_j *= energy;
    run->total = run->devices[0].energy;
}

/* ---- goals ---- */

static void of_energy_the_value_is_the_energy(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, 3);
    make(&b, NULL, NULL);
    for (size_t i = 0; i < 4; i++) {
        const struct wt_sweep_row *r = &b.sweep.rows[i];
        assert_near(r->value_ratio.value, r->energy_ratio.value, 1e-12);
        assert_near(r->value_ratio.low, r->energy_ratio.low, 1e-12);
        assert_near(r->value_ratio.high, r->energy_ratio.high, 1e-12);
        assert_near(r->value.value, r->energy_j.value, 1e-9);
        assert_true(r->is_admissible);
    }
    assert_near(b.sweep.value_spread, b.sweep.spread, 1e-12);
    empty(&b);
}

static void the_choice_follows_what_is_made_small(void **state)
{
    (void)state;
    static const struct {
        enum wt_objective objective;
        double price_kwh, price_hour, eta;
        const char *choice, *words;
    } rows[] = {
        {WT_OBJECTIVE_CARBON, 0, 0, 0, "100 W", "% lower carbon ["},
        {WT_OBJECTIVE_EDP, 0, 0, 0, "100 W", "14.4 % lower energy-delay product ["},
        {WT_OBJECTIVE_COST, 0.3, 0, 0, "100 W", "% lower cost ["},
        {WT_OBJECTIVE_COST, 0.3, 2, 0, "250 W", "lowers the cost by what"},
        {WT_OBJECTIVE_ETA, 0, 0, 1, "100 W", "% lower weighed energy and time ["},
        {WT_OBJECTIVE_ETA, 0, 0, 0.5, "150 W", "% lower weighed energy and time ["},
        {WT_OBJECTIVE_ETA, 0, 0, 0, "250 W", "lowers the weighed energy and time by what"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bench b;
        struct wt_sweep_plan plan = plan_for(rows[i].objective);
        plan.goal.price_kwh = rows[i].price_kwh;
        plan.goal.price_hour = rows[i].price_hour;
        plan.goal.eta = rows[i].eta;
        plan.goal.eta_power_w = 250;
        plan.goal.carbon_g_kwh = 350;
        fill(&b, 3);
        make(&b, NULL, &plan);
        const char *choice = b.sweep.rows[b.sweep.choice].label;
        if (strcmp(choice, rows[i].choice) != 0 || !strstr(b.sweep.advice, rows[i].words))
            fail_msg("row %zu: %s; %s", i, choice, b.sweep.advice);
        empty(&b);
    }
}

static void a_value_is_of_the_runs_and_has_its_own_spread(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_EDP);
    fill(&b, 3);
    make(&b, NULL, &plan);
    const struct wt_sweep_row *r = &b.sweep.rows[1];
    assert_near(r->value_ratio.value, 43.4 * 43.4 * 149 / (40.0 * 40 * 200), 1e-4);
    assert_near(r->value.value, r->time_s.value * r->energy_j.value, 1e-6);
    /* Energies wobble half as much as times, and along with them: three times the spread. */
    assert_near(b.sweep.value_spread / b.sweep.spread, 3, 0.02);
    empty(&b);
}

static void where_the_advantage_vanishes_the_values_are_equal(void **state)
{
    (void)state;
    static const enum wt_objective rows[] = {WT_OBJECTIVE_ENERGY, WT_OBJECTIVE_EDP,
                                             WT_OBJECTIVE_COST, WT_OBJECTIVE_ETA};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bench b;
        struct wt_sweep_plan plan = plan_for(rows[i]);
        plan.goal.price_kwh = 0.3;
        plan.goal.price_hour = 0.001;
        plan.goal.eta_power_w = 250;
        plan.goal.eta = 0.9;
        fill(&b, 3);
        make(&b, NULL, &plan);
        const struct wt_sweep_row *c = &b.sweep.rows[b.sweep.choice], *ref = &b.sweep.rows[3];
        assert_true(b.sweep.is_saving_real);
        assert_true(b.sweep.breakeven_w > 0);
        struct wt_goal goal = plan.goal;
        goal.host_w = b.sweep.breakeven_w;
        /* The means of products are not the products of means, by the square of the spread. */
        assert_near(wt_goal_value(&goal, c->time_s.value, c->energy_j.value) /
                        wt_goal_value(&goal, ref->time_s.value, ref->energy_j.value),
                    1, 1e-4);
        empty(&b);
    }
}

static void a_limit_of_time_rules_out_the_lowest(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    plan.goal.slowdown_max = 0.1;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_string_equal(b.sweep.rows[b.sweep.choice].label, "150 W");
    assert_false(b.sweep.rows[0].is_admissible);
    assert_true(b.sweep.rows[1].is_admissible);
    const char *said = warning(&b.sweep, "--max-slowdown 10% rules it out");
    if (!said || !strstr(said, "100 W has the lowest energy, but takes 31.5 % more time"))
        fail_msg("%s", said ? said : "nothing was said");
    empty(&b);
    /* The reference is within any. */
    plan.goal.slowdown_max = 0;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_int_equal(b.sweep.choice, b.sweep.reference);
    assert_non_null(strstr(b.sweep.advice, "no other setting keeps within the limits"));
    empty(&b);
}

static void a_limit_that_the_mean_keeps_and_the_interval_does_not_is_said(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    plan.goal.slowdown_max = 0.0851;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_string_equal(b.sweep.rows[b.sweep.choice].label, "150 W");
    assert_non_null(warning(&b.sweep, "is likely, not certain"));
    empty(&b);
}

static void a_limit_of_power_may_rule_out_the_reference(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_TIME);
    plan.goal.power_max_w = 190;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_string_equal(b.sweep.rows[b.sweep.choice].label, "200 W");
    assert_false(b.sweep.is_saving_real); /* it is slower, and the fastest that is allowed */
    assert_true(isnan(b.sweep.breakeven_w));
    assert_non_null(strstr(b.sweep.advice, "the fastest of what draws 190 W at most, with"));
    assert_null(strstr(b.sweep.advice, "vanishes"));
    assert_non_null(strstr(b.sweep.apply, "power=200"));
    empty(&b);
    /* host_w is no device's power. */
    plan.goal.objective = WT_OBJECTIVE_ENERGY;
    plan.goal.power_max_w = 150;
    plan.goal.host_w = 100;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_true(b.sweep.rows[1].is_admissible);
    assert_near(b.sweep.rows[1].power_w.value, 249, 0.5);
    assert_near(b.sweep.host_w, 100, 0);
    empty(&b);
    plan.goal.power_max_w = 90;
    fill(&b, 3);
    make(&b, NULL, &plan);
    assert_string_equal(b.sweep.rows[b.sweep.choice].label, "100 W");
    assert_non_null(warning(&b.sweep, "no setting that was measured draws 90 W or less"));
    assert_non_null(strstr(b.sweep.advice, "it draws least"));
    assert_string_equal(b.sweep.apply, "");
    empty(&b);
}

static void precision_is_that_of_what_is_made_small(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_EDP);
    fill(&b, 3);
    make(&b, NULL, &plan);
    double edp = b.sweep.precision;
    unsigned repeats = wt_sweep_repeats_for(&b.sweep, 0.01);
    wt_sweep_want(&b.sweep, 0.5);
    assert_non_null(warning(&b.sweep, "energy-delay product ratios are known to"));
    empty(&b);
    fill(&b, 3);
    make(&b, NULL, NULL);
    assert_true(edp > 1.5 * b.sweep.precision);
    assert_true(repeats > wt_sweep_repeats_for(&b.sweep, 0.01));
    empty(&b);
}

/* ---- parameters ---- */

static struct wt_sweep_axis *add_axis(struct wt_sweep_plan *plan, const char *name, bool is_param,
                                      const char *const *values, size_t count)
{
    struct wt_sweep_axis *axis = &plan->axes[plan->axis_count++];
    wt_text(axis->name, sizeof(axis->name), "%s", name);
    axis->is_param = is_param;
    axis->values = calloc(count, sizeof(*axis->values));
    for (size_t i = 0; i < count; i++)
        axis->values[i] = strdup(values[i]);
    axis->value_count = count;
    return axis;
}

/* As is: no setting, one parameter. */
static void add_param_run(struct bench *b, const char *name, const char *value, double wall_s,
                          uint64_t tokens, unsigned repeat)
{
    struct runs_spec spec = {
        .wall_s = wall_s, .power_w = 200, .bound = 0.012, .repeat = repeat, .tokens = tokens};
    struct wt_run run = runs_make(&spec);
    struct wt_run_param param = {0};
    wt_text(param.name, sizeof(param.name), "%s", name);
    wt_text(param.value, sizeof(param.value), "%s", value);
    wt_text(run.label, sizeof(run.label), "%s=%s", name, value);
    assert_int_equal(wt_run_add_param(&run, &param), 0);
    b->runs[b->count++] = run;
}

static void a_parameter_is_what_was_varied(void **state)
{
    (void)state;
    static const char *const values[] = {"8", "32", "16"};
    static const double wall_s[] = {40, 25, 30};
    struct bench b = {0};
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    add_axis(&plan, "batch", true, values, 3);
    for (unsigned r = 0; r < 3; r++)
        for (size_t i = 0; i < 3; i++)
            add_param_run(&b, "batch", values[i], wall_s[i], 0, r);
    make(&b, "batch=8", &plan);
    assert_string_equal(b.sweep.knob, "batch");
    assert_string_equal(b.sweep.unit, "");
    assert_string_equal(b.sweep.title, "train");
    assert_string_equal(b.sweep.rows[0].label, "8");
    assert_string_equal(b.sweep.rows[2].label, "32"); /* numbers in their order */
    assert_near(b.sweep.rows[2].setting, 32, 0);
    assert_int_equal(b.sweep.choice, 2);
    assert_non_null(strstr(b.sweep.advice, "use batch=32: "));
    assert_string_equal(b.sweep.apply, ""); /* no device's setting */
    empty(&b);
    wt_sweep_plan_done(&plan);
}

static void words_are_in_the_order_of_the_plan(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"fp32", "bf16", "amp"};
    struct bench b = {0};
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    add_axis(&plan, "dtype", true, dtypes, 3);
    for (unsigned r = 0; r < 3; r++)
        for (size_t i = 0; i < 3; i++)
            add_param_run(&b, "dtype", dtypes[(i + r + 1) % 3], 40, 0, r);
    make(&b, "dtype=fp32", &plan);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(b.sweep.rows[i].label, dtypes[i]);
        assert_true(isnan(b.sweep.rows[i].setting));
    }
    empty(&b);
    wt_sweep_plan_done(&plan);

    /* Beside a setting of the device: the first axis, then the second. */
    static const char *const caps[] = {"250", "150"};
    b = (struct bench){0};
    plan = plan_for(WT_OBJECTIVE_ENERGY);
    add_axis(&plan, "power", false, caps, 2);
    add_axis(&plan, "dtype", true, dtypes, 2);
    for (size_t i = 0; i < 4; i++) {
        struct runs_spec spec = v100[i < 2 ? 3 : 1];
        struct wt_run run = runs_make(&spec);
        wt_text(run.label, sizeof(run.label), "power=%.0f W, dtype=%s", spec.cap_w,
                dtypes[1 - i % 2]);
        b.runs[b.count++] = run;
    }
    make(&b, "power=250 W, dtype=fp32", &plan);
    assert_string_equal(b.sweep.rows[0].label, "power=150 W, dtype=fp32");
    assert_string_equal(b.sweep.rows[1].label, "power=150 W, dtype=bf16");
    assert_string_equal(b.sweep.rows[2].label, "power=250 W, dtype=fp32");
    empty(&b);
    wt_sweep_plan_done(&plan);
}

static void what_a_value_needs_multiplies_time_and_energy(void **state)
{
    (void)state;
    static const char *const values[] = {"8", "32"};
    struct bench b = {0};
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    struct wt_sweep_axis *axis = add_axis(&plan, "batch", true, values, 2);
    axis->needs = calloc(2, sizeof(*axis->needs));
    axis->needs[0] = 3;
    axis->needs[1] = 6;
    for (unsigned r = 0; r < 3; r++) {
        add_param_run(&b, "batch", "8", 40, 0, r);
        add_param_run(&b, "batch", "32", 25, 0, r);
    }
    make(&b, "batch=8", &plan);
    const struct wt_sweep_row *small = &b.sweep.rows[0], *large = &b.sweep.rows[1];
    assert_true(b.sweep.is_to_target);
    assert_near(small->time_s.value, 3 * 40, 0.1);
    assert_near(large->energy_j.value, 6 * 25 * 200, 10);
    assert_near(large->time_ratio.value, 2 * 25 / 40.0, 1e-9);
    assert_near(large->energy_ratio.value, 2 * 25 / 40.0, 1e-9);
    /* A run's own figures are what they were. */
    assert_near(large->power_w.value, 200, 0.5);
    assert_near(large->j_per_work.value, 25 * 200 / 512000.0, 1e-5);
    assert_near(large->work_per_s.value, 512000 / 25.0, 50);
    assert_int_equal(b.sweep.choice, 0); /* faster a run, and slower to the target */
    assert_non_null(warning(&b.sweep, "times what it needs (batch 8:3, 32:6)"));
    char *text = wt_sweep_to_json(&b.sweep);
    json_t *doc = json_loads(text, 0, NULL);
    json_t *needs = json_object_get(json_object_get(doc, "needs"), "batch");
    assert_near(json_number_value(json_object_get(needs, "32")), 6, 0);
    json_t *row = json_array_get(json_object_get(doc, "rows"), 1);
    assert_near(json_number_value(json_object_get(row, "need")), 6, 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(row, "params"), "batch")),
                        "32");
    json_decref(doc);
    free(text);
    empty(&b);

    /* Runs that did different amounts of work: to the target all are of the reference's. */
    b = (struct bench){0};
    for (unsigned r = 0; r < 3; r++) {
        add_param_run(&b, "batch", "8", 40, 512000, r);
        add_param_run(&b, "batch", "32", 100, 4 * 512000, r);
    }
    make(&b, "batch=8", &plan);
    large = &b.sweep.rows[1];
    assert_true(b.sweep.is_per_work);
    assert_near(large->time_s.value, 6 * 25, 0.1);
    assert_near(large->time_ratio.value, 2 * 25 / 40.0, 1e-9);
    assert_near(b.sweep.rows[0].time_s.value, 3 * 40, 0.1);
    assert_near(large->j_per_work.value, 25 * 200 / 512000.0, 1e-5);
    empty(&b);
    wt_sweep_plan_done(&plan);
}

static void the_plan_that_the_runs_keep_decides(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    plan.goal.slowdown_max = 0.1;
    char *text = wt_sweep_plan_to_json(&plan);
    fill(&b, 3);
    for (size_t i = 0; i < b.count; i++)
        assert_int_equal(wt_run_set_plan(&b.runs[i], text), 0);
    make(&b, NULL, NULL);
    assert_string_equal(b.sweep.rows[b.sweep.choice].label, "150 W");
    empty(&b);
    free(text);
}

/* A sweep that ended before the reference had run: the highest that did run is another. */
static void without_the_plans_reference_nothing_is_compared(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    wt_text(plan.reference, sizeof(plan.reference), "power=300 W");
    char *text = wt_sweep_plan_to_json(&plan);
    fill(&b, 3);
    for (size_t i = 0; i < b.count; i++) {
        assert_int_equal(wt_run_set_plan(&b.runs[i], text), 0);
        b.runs[i].is_reference = false;
    }
    assert_int_equal(wt_sweep_make_by(&b.sweep, b.runs, b.count, NULL, NULL, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "reference setting (power=300 W)"));
    empty(&b);
    free(text);
}

/* ---- runs that are off ---- */

static void a_run_that_is_off_is_said_and_counts(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, 3);
    scale(&b.runs[5], 1.2, 1.2); /* 150 W, the second */
    make(&b, NULL, NULL);
    const struct wt_sweep_row *row = &b.sweep.rows[1];
    assert_int_equal(row->repeats, 3);
    assert_near(row->time_s.value, 43.4 * (1 + 1.004 * 1.2 + 0.997) / 3, 0.1);
    assert_int_equal(row->outlier_count, 1);
    assert_int_equal(b.sweep.outlier_count, 2); /* its time and its energy */
    assert_int_equal(b.sweep.outliers[0].run, 5);
    assert_true(b.sweep.outliers[0].is_time);
    assert_false(b.sweep.outliers[0].is_pair);
    assert_near(b.sweep.outliers[0].value / b.sweep.outliers[0].median, 1.2, 0.01);
    assert_true(b.sweep.outliers[0].score > 5);
    const char *said = warning(&b.sweep, "is an outlier");
    assert_non_null(said);
    if (!strstr(said, "power=150 W, run 2 is an outlier") || !strstr(said, "% longer and ") ||
        !strstr(said, "wattune report 20260921-133301-1500a1b") || !strstr(said, "--repeats"))
        fail_msg("%s", said);
    char *text = wt_sweep_to_json(&b.sweep);
    json_t *doc = json_loads(text, 0, NULL);
    json_t *o = json_array_get(json_object_get(doc, "outliers"), 1);
    assert_string_equal(json_string_value(json_object_get(o, "run")), "20260921-133301-1500a1b");
    assert_string_equal(json_string_value(json_object_get(o, "label")), "power=150 W");
    assert_string_equal(json_string_value(json_object_get(o, "what")), "energy");
    assert_near(json_number_value(json_object_get(o, "ratio")), 1.2, 0.01);
    json_decref(doc);
    free(text);
    empty(&b);
}

static void runs_that_agree_have_no_outlier(void **state)
{
    (void)state;
    for (unsigned repeats = 1; repeats <= 5; repeats++) {
        struct bench b;
        fill(&b, repeats);
        make(&b, NULL, NULL);
        assert_int_equal(b.sweep.outlier_count, 0);
        assert_null(warning(&b.sweep, "outlier"));
        empty(&b);
    }
    /* A small difference among runs that agree to the last digit matters to nobody. */
    struct bench b;
    fill(&b, 3);
    for (size_t i = 4; i < b.count; i++) {
        wt_run_done(&b.runs[i]);
        b.runs[i] = runs_make(&v100[i % 4]);
    }
    scale(&b.runs[4], 1.015, 1.015);
    make(&b, NULL, NULL);
    assert_int_equal(b.sweep.outlier_count, 0);
    scale(&b.runs[4], 1.02, 1.02);
    wt_sweep_done(&b.sweep);
    make(&b, NULL, NULL);
    assert_int_equal(b.sweep.outlier_count, 2);
    empty(&b);
}

static void of_two_runs_it_is_both(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, 2);
    scale(&b.runs[6], 1.3, 1); /* 200 W, the second: its time alone */
    make(&b, NULL, NULL);
    assert_int_equal(b.sweep.outlier_count, 2);
    assert_true(b.sweep.outliers[0].is_pair);
    assert_int_equal(b.sweep.rows[2].outlier_count, 2);
    size_t said = 0;
    for (size_t i = 0; i < b.sweep.warning_count; i++)
        said += strstr(b.sweep.warnings[i], "one of its two runs is an outlier") != NULL;
    assert_int_equal(said, 1);
    empty(&b);
}

/* Normally distributed, by Box and Muller's way, from splitmix64. */
static double draw(uint64_t *state)
{
    double u[2];
    for (size_t i = 0; i < 2; i++) {
        uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        u[i] = ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
    }
    return sqrt(-2 * log(u[0])) * cos(2 * M_PI * u[1]);
}

/* What src/search/outliers.c says of its threshold. */
static void few_are_found_where_there_is_none_and_most_where_there_is(void **state)
{
    (void)state;
    enum { SWEEPS = 1000 };
    struct bench b;
    uint64_t dice = 1;
    unsigned false_ones = 0, found = 0;
    fill(&b, 3);
    for (unsigned i = 0; i < 2 * SWEEPS; i++) {
        bool is_off = i >= SWEEPS;
        for (size_t k = 0; k < b.count; k++)
            b.runs[k].wall_s = v100[k % 4].wall_s * exp(0.03 * draw(&dice));
        if (is_off)
            b.runs[5].wall_s = v100[1].wall_s * exp(0.3);
        make(&b, NULL, NULL);
        bool is_found = false;
        for (size_t k = 0; k < b.sweep.outlier_count; k++)
            is_found |= b.sweep.outliers[k].run == 5;
        false_ones += !is_off && b.sweep.outlier_count;
        found += is_off && is_found;
        wt_sweep_done(&b.sweep);
    }
    if (false_ones > SWEEPS * 35 / 1000 || found < SWEEPS * 80 / 100)
        fail_msg("%u false ones, %u found of %d", false_ones, found, SWEEPS);
    empty(&b);
}

/* ---- warming up ---- */

static void set_temperature(struct wt_run *run, double from_c, double to_c)
{
    for (size_t i = 0; i < run->point_count; i++)
        run->points[i].temp_c =
            from_c + (to_c - from_c) * (double)i / (double)(run->point_count - 1);
}

static void a_first_run_that_was_cold_is_said(void **state)
{
    (void)state;
    static const struct {
        double from_c, to_c; /* of the first run; the others are at 60 */
        const char *says;    /* NULL: nothing */
    } rows[] = {
        {60, 60, NULL},
        {57, 57, NULL},
        {45, 45, "cooler than in any later run"},
        {40, 60, "were still warming up (temperature +"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bench b;
        fill(&b, 3);
        for (size_t k = 0; k < b.count; k++)
            set_temperature(&b.runs[k], 60, 60);
        set_temperature(&b.runs[0], rows[i].from_c, rows[i].to_c);
        make(&b, NULL, NULL);
        const char *said = warning(&b.sweep, "the first run (power=100 W, run 1)");
        if (!said != !rows[i].says || (said && !strstr(said, rows[i].says)))
            fail_msg("row %zu: %s", i, said ? said : "nothing was said");
        if (said)
            assert_non_null(strstr(said, "--settle 2m"));
        empty(&b);
    }
}

/* What drifts in every run does not set the first apart. */
static void a_drift_in_every_run_is_not_the_beginnings(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, 3);
    for (size_t k = 0; k < b.count; k++)
        set_temperature(&b.runs[k], 40, 60);
    make(&b, NULL, NULL);
    assert_null(warning(&b.sweep, "the first run"));
    empty(&b);
}

static void a_first_run_that_is_off_may_be_the_warm_up(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, 3);
    for (size_t k = 0; k < b.count; k++)
        set_temperature(&b.runs[k], 60, 60);
    scale(&b.runs[0], 1.2, 1.1);
    make(&b, NULL, NULL);
    assert_non_null(warning(&b.sweep, "it may be the warm-up; --settle"));
    empty(&b);
}

/* Devices cool down while a sweep is interrupted. */
static void the_first_run_after_a_pause_is_a_beginning_too(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_ENERGY);
    plan.settle_s = 60;
    fill(&b, 3);
    int64_t t_ns = b.runs[0].start_unix_ns;
    for (size_t k = 0; k < b.count; k++) {
        set_temperature(&b.runs[k], 60, 60);
        t_ns += k == 5 ? INT64_C(3600000000000) : INT64_C(60000000000);
        b.runs[k].start_unix_ns = t_ns;
    }
    set_temperature(&b.runs[5], 40, 40);
    make(&b, NULL, &plan);
    const char *said = warning(&b.sweep, "the first run after a pause (power=150 W, run 2)");
    assert_non_null(said);
    assert_non_null(strstr(said, "a longer --settle"));
    empty(&b);
}

/* ---- shown ---- */

static char *table_of(const struct wt_sweep *sweep, unsigned width)
{
    char *text = NULL;
    size_t size = 0;
    struct wt_term term = {.out = open_memstream(&text, &size), .is_utf8 = true, .width = width};
    wt_report_sweep(&term, sweep);
    fclose(term.out);
    return text;
}

static void the_table_marks_what_is_off_and_what_is_ruled_out(void **state)
{
    (void)state;
    struct bench b;
    struct wt_sweep_plan plan = plan_for(WT_OBJECTIVE_EDP);
    plan.goal.slowdown_max = 0.2;
    fill(&b, 3);
    scale(&b.runs[6], 1.1, 1.1); /* 200 W */
    make(&b, NULL, &plan);
    char *wide = table_of(&b.sweep, 200), *narrow = table_of(&b.sweep, 60);
    assert_non_null(strstr(wide, "rel. edp"));
    assert_non_null(strstr(wide, "3, 1 off"));
    assert_non_null(strstr(wide, "ruled out"));
    assert_non_null(strstr(wide, "  !  200 W")); /* where the words have no room, too */
    assert_non_null(strstr(narrow, "  !  200 W"));
    free(wide);
    free(narrow);
    empty(&b);
    fill(&b, 3);
    make(&b, NULL, NULL);
    wide = table_of(&b.sweep, 200);
    assert_null(strstr(wide, "rel. e "));
    assert_null(strstr(wide, "off"));
    free(wide);
    empty(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_energy_the_value_is_the_energy),
        cmocka_unit_test(the_choice_follows_what_is_made_small),
        cmocka_unit_test(a_value_is_of_the_runs_and_has_its_own_spread),
        cmocka_unit_test(where_the_advantage_vanishes_the_values_are_equal),
        cmocka_unit_test(a_limit_of_time_rules_out_the_lowest),
        cmocka_unit_test(a_limit_that_the_mean_keeps_and_the_interval_does_not_is_said),
        cmocka_unit_test(a_limit_of_power_may_rule_out_the_reference),
        cmocka_unit_test(precision_is_that_of_what_is_made_small),
        cmocka_unit_test(a_parameter_is_what_was_varied),
        cmocka_unit_test(words_are_in_the_order_of_the_plan),
        cmocka_unit_test(what_a_value_needs_multiplies_time_and_energy),
        cmocka_unit_test(the_plan_that_the_runs_keep_decides),
        cmocka_unit_test(without_the_plans_reference_nothing_is_compared),
        cmocka_unit_test(a_run_that_is_off_is_said_and_counts),
        cmocka_unit_test(runs_that_agree_have_no_outlier),
        cmocka_unit_test(of_two_runs_it_is_both),
        cmocka_unit_test(few_are_found_where_there_is_none_and_most_where_there_is),
        cmocka_unit_test(a_first_run_that_was_cold_is_said),
        cmocka_unit_test(a_drift_in_every_run_is_not_the_beginnings),
        cmocka_unit_test(a_first_run_that_is_off_may_be_the_warm_up),
        cmocka_unit_test(the_first_run_after_a_pause_is_a_beginning_too),
        cmocka_unit_test(the_table_marks_what_is_off_and_what_is_ruled_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
