/* search: few probes, the choice among them, ties and constraints, and the replay of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/search.h"

/* A table of measured points that a search is told from. */
struct table {
    double setting[16], time_s[16], energy_j[16];
    size_t count;
};

/* BERT-base on SQuAD, batch 32, V100 and A40 (bench/power-traces), relative to the highest limit.
 */
static const struct table v100 = {{100, 125, 150, 175, 200, 225, 250},
                                  {206.7, 157.8, 128.1, 111.9, 106.3, 102.5, 100},
                                  {20543, 19198, 18742, 19061, 20315, 21774, 22800},
                                  7};
static const struct table a40 = {{100, 125, 150, 175, 200, 225, 250, 275, 300},
                                 {406.8, 261.9, 174.4, 127.2, 113.0, 106.4, 102.8, 100.4, 100},
                                 {43094, 32200, 25365, 21253, 21333, 22348, 23870, 25232, 26700},
                                 9};

static struct wt_search_options options_of(void)
{
    struct wt_search_options o = {.axis_count = 1, .noise = NAN};
    wt_goal_init(&o.goal);
    snprintf(o.axes[0].name, sizeof(o.axes[0].name), "power");
    snprintf(o.axes[0].unit, sizeof(o.axes[0].unit), "W");
    o.axes[0].form = WT_AXIS_POWER;
    return o;
}

static struct wt_search *begin(const struct wt_search_options *o, const struct table *t,
                               size_t readings_max)
{
    struct wt_candidate candidates[16] = {0};
    struct wt_search *search;
    struct wt_error err = {0};
    for (size_t i = 0; i < t->count; i++) {
        candidates[i].values[0] = t->setting[i];
        candidates[i].readings_max = readings_max;
    }
    if (wt_search_new(&search, o, candidates, t->count, t->count - 1, &err) < 0)
        fail_msg("%s", err.text);
    return search;
}

static struct wt_search_result result_of(const struct wt_search *search)
{
    struct wt_search_result r;
    struct wt_error err = {0};
    if (wt_search_result(search, &r, &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

/* Tells it what it asks for from the table, to the end. */
static struct wt_search_result run(const struct wt_search_options *o, const struct table *t)
{
    struct wt_search *search = begin(o, t, 1);
    size_t next;
    while (wt_search_next(search, &next, NULL))
        assert_int_equal(wt_search_tell(search, next, t->time_s[next], t->energy_j[next], NULL), 0);
    struct wt_search_result r = result_of(search);
    wt_search_free(search);
    return r;
}

static double chosen(const struct wt_search_result *r)
{
    return r->points[r->choice].values[0];
}

static bool warns(const struct wt_search_result *r, const char *text)
{
    for (size_t i = 0; i < r->warning_count; i++)
        if (strstr(r->warnings[i], text))
            return true;
    return false;
}

static void four_probes_find_the_best_of_a_sweep(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_search_result r = run(&o, &v100);
    assert_true(r.point_count <= 4);
    assert_true(chosen(&r) == 150);
    assert_true(r.is_saving_real);
    assert_true(r.order[0] == v100.count - 1); /* the reference first */
    wt_search_result_done(&r);
    r = run(&o, &a40);
    assert_true(r.point_count <= 4);
    assert_true(chosen(&r) == 175 || chosen(&r) == 200);
    wt_search_result_done(&r);
}

static void a_slow_down_is_kept_within_its_limit(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    o.goal.slowdown_max = 0.05;
    struct wt_search_result r = run(&o, &v100);
    assert_true(chosen(&r) == 225); /* 200 W takes 6.3 % longer */
    assert_true(r.point_count <= 4);
    wt_search_result_done(&r);
    o.goal.slowdown_max = 0;
    r = run(&o, &v100);
    assert_true(r.choice == r.reference);
    assert_false(r.is_saving_real);
    wt_search_result_done(&r);
}

static void a_limit_of_mean_power_holds_and_time_is_made_small_under_it(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    o.goal.objective = WT_OBJECTIVE_TIME;
    o.goal.power_max_w = 180;
    struct wt_search_result r = run(&o, &v100);
    const struct wt_search_point *p = &r.points[r.choice];
    assert_true(p->energy_j.value / p->time_s.value <= 180);
    assert_true(p->values[0] == 175);
    wt_search_result_done(&r);
    o.goal.power_max_w = 20; /* nothing is that low */
    r = run(&o, &v100);
    assert_true(warns(&r, "keeps within the limits"));
    assert_true(r.choice == r.reference); /* nothing is changed for nothing */
    char text[600];
    const struct wt_search_story story = {.provenance = WT_PROV_REPLAYED, .searched_s = NAN};
    assert_non_null(strstr(wt_search_advice(&r, &story, text, sizeof(text)), "keeps within"));
    wt_search_result_done(&r);
}

static void the_rest_of_the_node_moves_the_choice(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    o.goal.host_w = 300;
    struct wt_search_result r = run(&o, &v100);
    assert_true(chosen(&r) >= 200);
    wt_search_result_done(&r);
}

/* The paper's inference points: T 2.14 / 1.227, E 0.890 / 0.758 of 250 W, whose mean is about
 * 243 W. Derived in the notes on the paper: 23.4 and 259 W. */
static void the_papers_inference_savings_vanish_where_they_should(void **state)
{
    (void)state;
    static const struct table paper = {{100, 150, 200, 250},
                                       {214, 122.7, 108.2, 100},
                                       {0.890 * 24300, 0.758 * 24300, 0.880 * 24300, 24300},
                                       4};
    const struct wt_search_options o = options_of();
    struct wt_search *search = begin(&o, &paper, 1);
    for (size_t i = 0; i < paper.count; i++)
        wt_search_tell(search, i, paper.time_s[i], paper.energy_j[i], NULL);
    struct wt_search_result r = result_of(search);
    for (size_t i = 0; i < r.point_count; i++) {
        const struct wt_search_point *p = &r.points[i];
        if (p->values[0] == 100)
            assert_true(fabs(p->breakeven_w - 23.4) < 2);
        else if (p->values[0] == 150)
            assert_true(fabs(p->breakeven_w - 259) < 2);
        else if (p->values[0] == 250)
            assert_true(isnan(p->breakeven_w));
    }
    assert_true(chosen(&r) == 150);
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void each_objective_makes_its_own_number_small(void **state)
{
    (void)state;
    struct wt_goal g;
    wt_goal_init(&g);
    g.host_w = 50;
    assert_true(wt_goal_value(&g, 10, 1000) == 1500);
    g.objective = WT_OBJECTIVE_EDP;
    assert_true(wt_goal_value(&g, 10, 1000) == 15000);
    g.objective = WT_OBJECTIVE_TIME;
    assert_true(wt_goal_value(&g, 10, 1000) == 10);
    g.objective = WT_OBJECTIVE_COST;
    g.price_kwh = 0.36;
    g.price_hour = 3.6;
    assert_true(fabs(wt_goal_value(&g, 10, 1000) - (1500 / 1e7 + 0.01)) < 1e-12);
    g.objective = WT_OBJECTIVE_CARBON;
    g.carbon_g_kwh = 360;
    assert_true(fabs(wt_goal_value(&g, 10, 1000) - 0.15) < 1e-12);
    g.objective = WT_OBJECTIVE_ETA;
    g.eta = 0.25;
    g.eta_power_w = 250;
    assert_true(wt_goal_value(&g, 10, 1000) == 0.25 * 1500 + 0.75 * 2500);
    enum wt_objective back;
    for (int i = 0; wt_objective_name((enum wt_objective)i); i++) {
        assert_int_equal(wt_objective_from_name(wt_objective_name((enum wt_objective)i), &back), 0);
        assert_int_equal(back, i);
    }
    assert_int_equal(wt_objective_from_name("joy", &back), WT_E_NOTFOUND);
}

static void overlapping_intervals_are_a_tie_and_the_faster_is_chosen(void **state)
{
    (void)state;
    static const struct table flat = {{150, 200, 250}, {120, 105, 100}, {18000, 18050, 22800}, 3};
    struct wt_search_options o = options_of();
    o.noise = 0.01;
    struct wt_search *search = begin(&o, &flat, 1);
    for (size_t i = 0; i < flat.count; i++)
        wt_search_tell(search, i, flat.time_s[i], flat.energy_j[i], NULL);
    struct wt_search_result r = result_of(search);
    assert_true(chosen(&r) == 200);
    assert_true(r.points[r.choice].is_tied || r.best == r.choice);
    assert_true(warns(&r, "tie: "));
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void what_saves_nothing_certain_leaves_the_reference(void **state)
{
    (void)state;
    static const struct table noise = {
        {150, 200, 250}, {100.4, 99.8, 100}, {12040, 12090, 12000}, 3};
    struct wt_search_options o = options_of();
    o.noise = 0.01;
    struct wt_search_result r = run(&o, &noise);
    assert_true(r.choice == r.reference);
    assert_false(r.is_saving_real);
    char text[600];
    const struct wt_search_story story = {.provenance = WT_PROV_REPLAYED, .searched_s = NAN};
    assert_non_null(strstr(wt_search_advice(&r, &story, text, sizeof(text)), "keep 250 W"));
    wt_search_result_done(&r);
}

static void a_limit_that_does_not_bind_is_said_and_costs_few_probes(void **state)
{
    (void)state;
    static const struct table ncf = {{100, 125, 150, 175, 200, 225, 250},
                                     {100, 100, 100, 100, 100, 100, 100},
                                     {3800, 3801, 3799, 3800, 3802, 3798, 3800},
                                     7};
    const struct wt_search_options o = options_of();
    struct wt_search_result r = run(&o, &ncf);
    assert_true(r.point_count <= 3);
    assert_true(r.choice == r.reference);
    if (r.point_count > 1)
        assert_true(warns(&r, "clock lock"));
    wt_search_result_done(&r);
}

static void below_the_floor_the_cost_is_said(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_search *search = begin(&o, &a40, 1);
    for (size_t i = 0; i < a40.count; i++)
        wt_search_tell(search, i, a40.time_s[i], a40.energy_j[i], NULL);
    struct wt_search_result r = result_of(search);
    assert_true(warns(&r, "costs energy"));
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void repeats_go_only_where_they_may_change_the_choice(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    o.repeats_max = 3;
    struct wt_search *search = begin(&o, &v100, 8);
    size_t next, readings = 0;
    while (wt_search_next(search, &next, NULL) && readings++ < 50)
        wt_search_tell(search, next, v100.time_s[next], v100.energy_j[next], NULL);
    assert_true(readings <= 5); /* clear without a repeat, or with one */
    wt_search_free(search);

    /* Two that differ by 2 % under 2 % of noise: worth telling apart. */
    static const struct table near = {{150, 200, 250}, {120, 105, 100}, {18000, 18400, 22800}, 3};
    o.noise = 0.02;
    search = begin(&o, &near, 8);
    for (size_t i = 0; i < near.count; i++)
        wt_search_tell(search, i, near.time_s[i], near.energy_j[i], NULL);
    for (readings = 3; wt_search_next(search, &next, NULL) && readings < 50; readings++)
        wt_search_tell(search, next, near.time_s[next], near.energy_j[next], NULL);
    assert_true(readings > 3 && readings < 50);
    struct wt_search_result r = result_of(search);
    for (size_t i = 0; i < r.point_count; i++)
        assert_true(r.points[i].readings <= 4); /* repeats_max and the first */
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void the_choice_and_the_reference_are_confirmed_with_time_between(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    o.repeats_max = 2;
    o.is_confirmed = true;
    struct wt_search *search = begin(&o, &v100, 0);
    size_t next, last = SIZE_MAX;
    while (wt_search_next(search, &next, NULL)) {
        assert_true(next != last);
        last = next;
        wt_search_tell(search, next, v100.time_s[next], v100.energy_j[next], NULL);
    }
    struct wt_search_result r = result_of(search);
    assert_true(r.points[r.choice].readings >= 2);
    assert_true(r.points[r.reference].readings >= 2);
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void what_cannot_be_measured_is_left_out(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_search *search = begin(&o, &v100, 1);
    size_t next;
    while (wt_search_next(search, &next, NULL))
        if (next == 2) /* 150 W */
            wt_search_drop(search, next);
        else
            wt_search_tell(search, next, v100.time_s[next], v100.energy_j[next], NULL);
    struct wt_search_result r = result_of(search);
    assert_true(chosen(&r) != 150);
    wt_search_result_done(&r);
    wt_search_free(search);
    /* Not even the reference. */
    search = begin(&o, &v100, 1);
    wt_search_drop(search, v100.count - 1);
    assert_false(wt_search_next(search, &next, NULL));
    assert_int_equal(wt_search_result(search, &r, NULL), WT_E_STATE);
    wt_search_free(search);
}

static void what_was_best_before_is_measured_second_and_not_trusted(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_search *search = begin(&o, &v100, 1);
    size_t order[16], count = 0;
    wt_search_start_at(search, 4); /* 200 W, which is not best */
    while (wt_search_next(search, &order[count], NULL)) {
        wt_search_tell(search, order[count], v100.time_s[order[count]], v100.energy_j[order[count]],
                       NULL);
        count++;
    }
    assert_true(order[0] == 6 && order[1] == 4);
    struct wt_search_result r = result_of(search);
    assert_true(chosen(&r) == 150 || chosen(&r) == 175);
    wt_search_result_done(&r);
    wt_search_again(search, 2);
    assert_int_equal(wt_search_measured(search), 0);
    assert_true(wt_search_next(search, &order[0], NULL) && order[0] == 6);
    wt_search_free(search);
}

static void two_knobs_are_searched_together(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    struct wt_candidate candidates[35] = {0};
    struct wt_search *search;
    size_t n = 0, next, best = 0;
    double time_s[35], energy_j[35];
    o.axis_count = 2;
    snprintf(o.axes[1].name, sizeof(o.axes[1].name), "batch");
    o.axes[1].form = WT_AXIS_OTHER;
    for (size_t b = 0; b < 5; b++)
        for (size_t i = 0; i < v100.count; i++, n++) {
            static const double by_batch[] = {1.4, 1.1, 1.0, 1.05, 1.2};
            candidates[n].values[0] = v100.setting[i];
            candidates[n].values[1] = (double)(8 << b);
            time_s[n] = v100.time_s[i] * by_batch[b];
            energy_j[n] = v100.energy_j[i] * by_batch[b];
            if (energy_j[n] < energy_j[best])
                best = n;
        }
    assert_int_equal(wt_search_new(&search, &o, candidates, n, 6, NULL), 0);
    while (wt_search_next(search, &next, NULL))
        wt_search_tell(search, next, time_s[next], energy_j[next], NULL);
    struct wt_search_result r = result_of(search);
    assert_true(r.point_count <= 9); /* of 35 */
    assert_true(energy_j[r.points[r.choice].candidate] <= energy_j[best] * 1.02);
    wt_search_result_done(&r);
    wt_search_free(search);
}

static void a_search_needs_settings_above_nothing_and_each_once(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_candidate c[2] = {{.values = {100}}, {.values = {100}}};
    struct wt_search *search;
    struct wt_error err = {0};
    assert_int_equal(wt_search_new(&search, &o, c, 0, 0, &err), WT_E_USAGE);
    assert_int_equal(wt_search_new(&search, &o, c, 2, 0, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "twice"));
    c[1].values[0] = -5;
    assert_int_equal(wt_search_new(&search, &o, c, 2, 0, &err), WT_E_USAGE);
    c[1].values[0] = 150;
    assert_int_equal(wt_search_new(&search, &o, c, 2, 1, &err), 0);
    assert_int_equal(wt_search_tell(search, 0, 0, 5, &err), WT_E_USAGE);
    assert_int_equal(wt_search_tell(search, 7, 1, 5, &err), WT_E_USAGE);
    wt_search_free(search);
    wt_search_free(NULL);
}

/* ---- files ---- */

static int read_bytes(const char *text, size_t size, struct wt_replay *r, struct wt_error *err)
{
    char path[] = "/tmp/wattune-replay-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
    int rc = wt_replay_read(r, path, err);
    unlink(path);
    return rc;
}

static int read_text(const char *text, struct wt_replay *r, struct wt_error *err)
{
    return read_bytes(text, strlen(text), r, err);
}

static void a_replay_reads_settings_in_any_order_of_columns(void **state)
{
    (void)state;
    struct wt_replay r;
    struct wt_error err = {0};
    assert_int_equal(read_text("# points\n\nenergy_j, time_s ,power_w,clock_mhz\r\n"
                               "900,10,150,1000\n800,11,100,1000\n950,9,150,1200\n"
                               "905,10.1,150,1000\n",
                               &r, &err),
                     0);
    assert_int_equal(r.axis_count, 2);
    assert_string_equal(r.axes[0].name, "power");
    assert_string_equal(r.axes[1].unit, "MHz");
    assert_int_equal(r.count, 3);
    assert_int_equal(r.row_count, 4);
    assert_int_equal(r.candidates[0].readings_max, 2);
    assert_int_equal(r.reference, 2); /* highest of both */
    wt_replay_done(&r);
    assert_int_equal(read_text("batch,time_s,energy_j,epochs\n8,10,1000,3\n16,8,900,4\n", &r, &err),
                     0);
    assert_true(r.rows[1].time_s == 32 && r.rows[1].energy_j == 3600);
    assert_int_equal(r.reference, 0);
    wt_replay_done(&r);
}

/* Nothing is changed for what may be no better, and the table says what the sentence says. */
static void modeled_points_are_said_to_be_and_no_repeat_betters_them(void **state)
{
    (void)state;
    struct wt_search_options o = options_of();
    for (int repeats = 2; repeats <= 4; repeats++) {
        char text[2000] = "# wattune 0.1.0, python3 t.py '{batch}', modeled\n"
                          "batch,time_s,energy_j,energy_bound_j,is_reference\n";
        for (int i = 0; i < repeats; i++)
            strcat(text, "16,2,3.0,1.5,1\n64,1.3,2.0,1.0,0\n");
        struct wt_replay r;
        struct wt_error err = {0};
        struct wt_search_result result;
        char advice[700];
        assert_int_equal(read_text(text, &r, &err), 0);
        assert_true(r.is_modeled);
        assert_true(r.note_count > 0);
        assert_non_null(strstr(r.notes[0], "modeled"));
        assert_int_equal(wt_replay_search(&r, &o, &result, &err), 0);
        assert_int_equal(result.choice, result.reference);
        assert_false(result.is_saving_real);
        const struct wt_search_story story = {
            .provenance = WT_PROV_REPLAYED, .searched_s = NAN, .extra_j = NAN};
        assert_non_null(
            strstr(wt_search_advice(&result, &story, advice, sizeof(advice)), "keep batch 16: "));
        wt_search_result_done(&result);
        wt_replay_done(&r);
    }
}

static void a_replay_compares_the_same_work_with_the_same_reference(void **state)
{
    (void)state;
    struct wt_replay r;
    struct wt_error err = {0};
    struct wt_search_result result;
    struct wt_search_options o = options_of();
    /* As a sweep writes them: the larger batch does four times the work in a run. */
    static const char text[] =
        "batch,time_s,energy_j,energy_bound_j,sensor_offset_w,work,work_unit,is_reference\n"
        "32,1.40,278,2.78,0,400,tokens,0\n8,0.45,78,0.78,0,100,tokens,1\n"
        "32,1.40,278,2.78,0,400,tokens,0\n8,0.45,78,0.78,0,100,tokens,1\n";
    assert_int_equal(read_text(text, &r, &err), 0);
    assert_string_equal(r.work_unit, "tokens");
    assert_true(r.candidates[r.reference].values[0] == 8);
    assert_int_equal(wt_replay_search(&r, &o, &result, &err), 0);
    assert_true(result.points[result.choice].values[0] == 32);
    assert_true(fabs(result.energy_ratio.value - 278.0 / 4 / 78) < 0.01);
    /* 1 % a reading, though the two of each are alike. */
    assert_true(result.energy_ratio.high / result.energy_ratio.value > 1.0099);
    assert_int_equal(r.note_count, 1);
    assert_non_null(strstr(r.notes[0], "different amounts of work"));
    wt_search_result_done(&result);
    wt_replay_done(&r);
    assert_int_equal(read_text("batch,time_s,energy_j\n32,1.4,278\n8,0.45,78\n", &r, &err), 0);
    assert_int_equal(r.note_count, 3);
    assert_non_null(strstr(r.notes[0], "no column says how much work"));
    assert_non_null(strstr(r.notes[1], "is the reference"));
    assert_non_null(strstr(r.notes[2], "not the error of their sensors"));
    wt_replay_done(&r);
}

static void a_replay_reads_every_word_and_names_it(void **state)
{
    (void)state;
    struct wt_replay r;
    struct wt_error err = {0};
    struct wt_search_result result;
    struct wt_search_options o = options_of();
    char text[700];
    const struct wt_search_story story = {
        .provenance = WT_PROV_REPLAYED, .searched_s = NAN, .extra_j = NAN};
    assert_int_equal(read_text("dtype,time_s,energy_j,energy_bound_j,is_reference\n"
                               "bf16,5,500,1,0\nfp32,10,1000,1,1\nfp16,6,600,1,0\n"
                               "tf32,7,700,1,0\nbf16,5,501,1,0\nfp32,10,1001,1,1\n",
                               &r, &err),
                     0);
    assert_int_equal(r.count, 4);
    assert_int_equal(r.axes[0].word_count, 4);
    assert_int_equal(r.candidates[0].readings_max, 2);
    assert_int_equal(r.reference, 1);
    assert_int_equal(wt_replay_search(&r, &o, &result, &err), 0);
    assert_int_equal(result.point_count, 4);
    wt_search_advice(&result, &story, text, sizeof(text));
    assert_non_null(strstr(text, "use dtype bf16: 50.0 % less energy"));
    char *doc_text = wt_search_to_json(&result, &story);
    json_t *doc = json_loads(doc_text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(doc, "choice"), "dtype")),
                        "bf16");
    json_decref(doc);
    free(doc_text);
    wt_search_result_done(&result);
    wt_replay_done(&r);
    /* Beside numbers: the best word at the best number. */
    assert_int_equal(
        read_text("dtype,batch,time_s,energy_j,energy_bound_j,work,is_reference\n"
                  "fp32,8,10,1000,1,100,1\nfp32,16,18,1800,1,200,0\nfp32,32,35,3500,1,400,0\n"
                  "bf16,8,5,500,1,100,0\nbf16,16,8,800,1,200,0\nbf16,32,15,1500,1,400,0\n",
                  &r, &err),
        0);
    assert_true(r.axes[0].words && !r.axes[1].words);
    assert_int_equal(wt_replay_search(&r, &o, &result, &err), 0);
    wt_search_words(&result, result.points[result.choice].values, text, sizeof(text));
    assert_string_equal(text, "dtype bf16, batch 32");
    wt_search_result_done(&result);
    wt_replay_done(&r);
    /* One that is no number makes words of all, wherever it stands, and that is said. */
    static const char *const mixed[] = {"auto,3,300\n8,1,100\n16,2,200\n8.0,1,101\n",
                                        "8,1,100\n16,2,200\nauto,3,300\n8.0,1,101\n",
                                        "8,1,100\n8.0,1,101\n16,2,200\nauto,3,300\n"};
    for (size_t i = 0; i < WT_COUNTOF(mixed); i++) {
        wt_text(text, sizeof(text), "batch,time_s,energy_j\n%s", mixed[i]);
        assert_int_equal(read_text(text, &r, &err), 0);
        assert_int_equal(r.count, 3);
        for (size_t k = 0; k < 3; k++) {
            const char *word = r.axes[0].words[(size_t)r.candidates[k].values[0] - 1];
            assert_int_equal(r.candidates[k].readings_max, strcmp(word, "8") == 0 ? 2 : 1);
        }
        assert_non_null(strstr(r.notes[1], "batch are taken as words: \"auto\", in line "));
        wt_replay_done(&r);
    }
}

static void what_is_wrong_with_a_replay_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "empty"},
        {"# only this\n", "empty"},
        {"power_w,time_s,energy_j\n", "no rows"},
        {"100,1,2\n", "not names of columns"},
        {"power_w,time_s\n100,1\n", "lacks energy_j"},
        {"power_w,energy_j\n100,1\n", "lacks time_s"},
        {"time_s,energy_j\n1,1\n", "column of settings"},
        {"power_w,time_s,time_s,energy_j\n", ":1: the column time_s is there twice"},
        {"# title\npower_w,time_s,power_w,energy_j\n", ":2: the column power_w is there twice"},
        {"power_w,time_s,energy_j,is_reference\n100,1,2,1\n100,1,2,1\n150,1,2,0\n150,1,2,1\n",
         ":5: is_reference is 1 as in line 2,"},
        {"power_w,time_s,energy_j\n100,1\n", ":2: 2 fields"},
        {"power_w,time_s,energy_j\n100,1,2,3\n", ":2: more than"},
        {"power_w,time_s,energy_j\n#\n100,x,2\n", ":3: time_s is \"x\""},
        {"power_w,time_s,energy_j\n100,nan,2\n", "above 0"},
        {"power_w,time_s,energy_j\n-100,1,2\n", "above 0"},
        {"power_w,time_s,energy_j\n100,0,2\n", "above 0"},
        {"power_w,time_s,energy_j\n100,1,\n", "energy_j is \"\""},
        {"dtype,time_s,energy_j\nfp32,1,2\n,1,2\n", ":3: dtype is \"\""},
        {"dtype,time_s,energy_j\n"
         "0123456789012345678901234567890123456789012345678901234567890x,1,2\n",
         "60 characters at most"},
        {"a,b,c,d,e,time_s,energy_j\n", "more than 4 columns"},
        {"\xef\xbb\xbf\"Power_W\",\"TIME_S\",energy_j\n100,1,\n", ":2: energy_j is"},
    };
    for (size_t i = 0; i < WT_COUNTOF(bad); i++) {
        struct wt_replay r;
        struct wt_error err = {0};
        if (read_text(bad[i].text, &r, &err) != WT_E_FORMAT || !strstr(err.text, bad[i].says))
            fail_msg("%s: says \"%s\", not \"%s\"", bad[i].text, err.text, bad[i].says);
    }
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } binary[] = {
#define BYTES(text) text, sizeof(text) - 1
        {BYTES("\xff\xfep\0o\0w\0\n\0"), ":1: it is UTF-16"},
        {BYTES("\0p\0o\0w\0\n"), ":1: it is UTF-16"},
        {BYTES("power_w,time_s,energy_j\n100,1,2\0003\n"), ":2: it holds NUL bytes"},
        {BYTES("power_w,time_s,energy_j\n100,1,2\n\0\0\0"), ":3: it holds NUL bytes"},
#undef BYTES
    };
    for (size_t i = 0; i < WT_COUNTOF(binary); i++) {
        struct wt_replay r;
        struct wt_error err = {0};
        if (read_bytes(binary[i].bytes, binary[i].size, &r, &err) != WT_E_FORMAT ||
            !strstr(err.text, binary[i].says))
            fail_msg("%zu: says \"%s\", not \"%s\"", i, err.text, binary[i].says);
    }
    struct wt_replay r;
    struct wt_error err = {0};
    assert_int_equal(wt_replay_read(&r, "/nowhere/at.csv", &err), WT_E_NOTFOUND);
}

static void its_document_holds_every_reading_and_the_choice(void **state)
{
    (void)state;
    const struct wt_search_options o = options_of();
    struct wt_search_result r = run(&o, &v100);
    const char *remarks[] = {"a remark"};
    const struct wt_search_story story = {.provenance = WT_PROV_REPLAYED,
                                          .source = "f.csv",
                                          .searched_s = NAN,
                                          .extra_j = NAN,
                                          .remarks = remarks,
                                          .remark_count = 1};
    char *text = wt_search_to_json(&r, &story);
    assert_non_null(text);
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    json_t *probes = json_object_get(doc, "probes");
    assert_int_equal(json_array_size(probes), r.reading_count);
    assert_true(json_number_value(json_object_get(json_array_get(probes, 0), "power_w")) == 250);
    json_t *choice = json_object_get(doc, "choice");
    assert_true(json_number_value(json_object_get(choice, "power_w")) == 150);
    double ratio = json_number_value(json_object_get(choice, "energy_ratio"));
    assert_true(fabs(ratio - 18742.0 / 22800) < 0.005);
    assert_true(json_array_size(json_object_get(doc, "curve")) >= 5);
    assert_true(json_array_size(json_object_get(doc, "warnings")) >= 2);
    assert_true(json_is_null(json_object_get(doc, "searched_s")));
    json_decref(doc);
    free(text);
    wt_search_result_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_probes_find_the_best_of_a_sweep),
        cmocka_unit_test(a_slow_down_is_kept_within_its_limit),
        cmocka_unit_test(a_limit_of_mean_power_holds_and_time_is_made_small_under_it),
        cmocka_unit_test(the_rest_of_the_node_moves_the_choice),
        cmocka_unit_test(the_papers_inference_savings_vanish_where_they_should),
        cmocka_unit_test(each_objective_makes_its_own_number_small),
        cmocka_unit_test(overlapping_intervals_are_a_tie_and_the_faster_is_chosen),
        cmocka_unit_test(what_saves_nothing_certain_leaves_the_reference),
        cmocka_unit_test(a_limit_that_does_not_bind_is_said_and_costs_few_probes),
        cmocka_unit_test(below_the_floor_the_cost_is_said),
        cmocka_unit_test(repeats_go_only_where_they_may_change_the_choice),
        cmocka_unit_test(the_choice_and_the_reference_are_confirmed_with_time_between),
        cmocka_unit_test(what_cannot_be_measured_is_left_out),
        cmocka_unit_test(what_was_best_before_is_measured_second_and_not_trusted),
        cmocka_unit_test(two_knobs_are_searched_together),
        cmocka_unit_test(a_search_needs_settings_above_nothing_and_each_once),
        cmocka_unit_test(a_replay_reads_settings_in_any_order_of_columns),
        cmocka_unit_test(modeled_points_are_said_to_be_and_no_repeat_betters_them),
        cmocka_unit_test(a_replay_compares_the_same_work_with_the_same_reference),
        cmocka_unit_test(a_replay_reads_every_word_and_names_it),
        cmocka_unit_test(what_is_wrong_with_a_replay_is_named_with_its_line),
        cmocka_unit_test(its_document_holds_every_reading_and_the_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
