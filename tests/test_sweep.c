/* sweep: what the table says, what it does not dare to say, and what it chooses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>

#include "runs.h"
#include "wattune/sweep.h"

/* A V100-like sweep: 100, 150, 200 W and the default, three repeats each. */
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

static void fill(struct bench *bench, const struct runs_spec *specs, size_t count, unsigned repeats)
{
    bench->count = 0;
    memset(&bench->sweep, 0, sizeof(bench->sweep));
    for (unsigned r = 0; r < repeats; r++)
        for (size_t i = 0; i < count; i++) {
            struct runs_spec spec = specs[i];
            spec.repeat = r;
            bench->runs[bench->count++] = runs_make(&spec);
        }
}

static void make(struct bench *bench, const char *reference)
{
    struct wt_error err = {0};
    if (wt_sweep_make(&bench->sweep, bench->runs, bench->count, reference, &err) < 0)
        fail_msg("%s", err.text);
}

static void empty(struct bench *bench)
{
    wt_sweep_done(&bench->sweep);
    for (size_t i = 0; i < bench->count; i++)
        wt_run_done(&bench->runs[i]);
}

static bool has_warning(const struct wt_sweep *sweep, const char *part)
{
    for (size_t i = 0; i < sweep->warning_count; i++)
        if (strstr(sweep->warnings[i], part))
            return true;
    return false;
}

static void rows_come_in_order_with_ratios_to_the_reference(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    make(&b, "power=250 W");
    const struct wt_sweep *s = &b.sweep;
    assert_int_equal(s->row_count, 4);
    assert_string_equal(s->knob, "power");
    assert_string_equal(s->unit, "W");
    assert_string_equal(s->rows[0].label, "100 W");
    assert_int_equal(s->reference, 3);
    assert_near(s->rows[3].energy_ratio.value, 1, 0);
    assert_near(s->rows[3].energy_ratio.low, 1, 0);
    assert_int_equal(s->rows[1].repeats, 3);
    assert_near(s->rows[1].time_ratio.value, 43.4 / 40.0, 1e-9);
    assert_near(s->rows[1].energy_ratio.value, 43.4 * 149 / 8000, 1e-9);
    assert_true(s->rows[1].energy_ratio.low < s->rows[1].energy_ratio.value);
    assert_true(s->rows[1].time_ratio.high > s->rows[1].time_ratio.value);
    assert_int_equal(s->rows[1].provenance, WT_PROV_EMULATED);
    empty(&b);
}

static void nodes_are_named_and_where_they_hide_a_setting_it_is_said(void **state)
{
    (void)state;
    struct bench b;
    /* Two repeats: one node each, and n2 draws 10 % more. */
    fill(&b, v100, 4, 2);
    for (size_t i = 0; i < b.count; i++)
        strcpy(b.runs[i].host, b.runs[i].repeat ? "n2" : "n1");
    make(&b, "power=250 W");
    assert_true(has_warning(&b.sweep, "the runs were made on 2 nodes: n1 (4 runs), n2 (4)"));
    assert_false(has_warning(&b.sweep, "compared within nodes"));
    assert_false(has_warning(&b.sweep, "none of its runs was on a node"));
    empty(&b);
    /* 100 W never met the reference. */
    fill(&b, v100, 4, 2);
    for (size_t i = 0; i < b.count; i++)
        strcpy(b.runs[i].host, i % 4 == 0 ? "n2" : "n1");
    make(&b, "power=250 W");
    assert_true(has_warning(&b.sweep, "100 W: none of its runs was on a node with a run at the "
                                      "reference"));
    assert_false(has_warning(&b.sweep, "150 W: none"));
    empty(&b);
    /* 150 W on n2 but for once, the reference the other way round; n2 draws 10 % more. */
    const struct runs_spec two[] = {v100[1], v100[3]};
    fill(&b, two, 2, 8);
    for (size_t i = 0; i < b.count; i++) {
        bool is_n2 = (i % 2 == 0) == (b.runs[i].repeat > 0);
        strcpy(b.runs[i].host, is_n2 ? "n2" : "n1");
        b.runs[i].total.energy_j *= is_n2 ? 1.1 : 1;
    }
    make(&b, "power=250 W");
    assert_true(has_warning(&b.sweep, "150 W: compared within nodes its energy is 0.808 of the "
                                      "reference's, not 0.86"));
    empty(&b);
}

static void the_lowest_energy_is_chosen_and_said_in_a_sentence(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    make(&b, "power=250 W");
    /* 100 W: 0.651 of the energy; nothing overlaps it. */
    assert_int_equal(b.sweep.choice, 0);
    assert_true(b.sweep.is_saving_real);
    assert_non_null(strstr(b.sweep.advice, "On the emulated v100-pcie-32gb: cap at 100 W: 34.9 % "
                                           "less energy ["));
    assert_non_null(strstr(b.sweep.advice, "for 31.5 % more time ["));
    assert_non_null(strstr(b.sweep.advice, "The saving vanishes where the rest of the node"));
    /* E0 - E over t - t0. */
    assert_near(b.sweep.breakeven_w, (8000 - 52.6 * 99) / 12.6, 0.5);
    empty(&b);
}

static void where_intervals_overlap_the_faster_one_is_chosen(void **state)
{
    (void)state;
    static const struct runs_spec specs[] = {
        {.cap_w = 140, .wall_s = 46.0, .power_w = 139.0, .bound = 0.012},
        {.cap_w = 150, .wall_s = 43.4, .power_w = 147.5, .bound = 0.012},
        {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.012},
    };
    struct bench b;
    fill(&b, specs, 3, 3);
    make(&b, "power=250 W");
    assert_true(b.sweep.rows[0].energy_ratio.value < b.sweep.rows[1].energy_ratio.value);
    assert_true(b.sweep.rows[1].is_overlapping_best);
    assert_false(b.sweep.rows[2].is_overlapping_best);
    assert_int_equal(b.sweep.choice, 1);
    empty(&b);
}

static void a_saving_within_its_interval_is_none(void **state)
{
    (void)state;
    static const struct runs_spec specs[] = {
        {.cap_w = 225, .wall_s = 40.05, .power_w = 199.2, .bound = 0.012},
        {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.012},
    };
    struct bench b;
    fill(&b, specs, 2, 3);
    make(&b, "power=250 W");
    assert_int_equal(b.sweep.choice, b.sweep.reference);
    assert_false(b.sweep.is_saving_real);
    assert_non_null(strstr(b.sweep.advice, "keep 250 W"));
    assert_true(isnan(b.sweep.breakeven_w));
    assert_true(has_warning(&b.sweep, "225 W did not bind"));
    empty(&b);
}

static void a_faster_setting_without_a_saving_is_not_chosen(void **state)
{
    (void)state;
    /* Single runs have no interval of time: a hair faster would look certain. */
    static const struct runs_spec specs[] = {
        {.cap_w = 150, .wall_s = 39.999, .power_w = 199.999, .bound = 0.03},
        {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.03},
    };
    struct bench b;
    fill(&b, specs, 2, 1);
    make(&b, "power=250 W");
    assert_true(b.sweep.rows[0].time_ratio.high < 1);
    assert_true(b.sweep.rows[0].is_overlapping_best);
    assert_int_equal(b.sweep.choice, b.sweep.reference);
    assert_false(b.sweep.is_saving_real);
    assert_non_null(strstr(b.sweep.advice, "keep 250 W"));
    assert_string_equal(b.sweep.apply, "");
    empty(&b);
}

static void a_saving_comes_with_the_command_that_applies_it(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    make(&b, "power=250 W");
    assert_string_equal(b.sweep.apply, "wattune set --emulate v100-pcie-32gb power=100 -- CMD");
    empty(&b);
    struct runs_spec specs[2] = {v100[1], v100[3]};
    specs[0].is_real = specs[1].is_real = true;
    fill(&b, specs, 2, 3);
    struct wt_run_setting clock = {.knob = WT_KNOB_CLOCK, .requested = wt_knob_from_user(900)};
    for (size_t i = 0; i < b.count; i++) /* two GPUs, two knobs: each knob once */
        for (size_t k = 0; k < 2; k++) {
            struct wt_run_setting power = b.runs[i].settings[0];
            assert_int_equal(wt_run_add_setting(&b.runs[i], &clock), 0);
            assert_int_equal(wt_run_add_setting(&b.runs[i], &power), 0);
        }
    make(&b, "power=250 W");
    assert_string_equal(b.sweep.apply, "wattune set power=150 clock=900 -- CMD");
    for (size_t i = 0; i < b.count; i++)
        b.runs[i].setting_count = 0;
    wt_sweep_done(&b.sweep);
    make(&b, "power=250 W");
    assert_true(b.sweep.is_saving_real);
    assert_string_equal(b.sweep.apply, ""); /* nothing of a device was set */
    empty(&b);
}

static void the_gain_widens_joules_but_not_ratios(void **state)
{
    (void)state;
    struct bench narrow, wide;
    struct runs_spec specs[4];
    memcpy(specs, v100, sizeof(specs));
    fill(&narrow, specs, 4, 3);
    for (size_t i = 0; i < 4; i++)
        /* the same remainder, in quadrature, on a gain of 5 % */
        specs[i].bound = sqrt(0.012 * 0.012 - 0.01 * 0.01 + 0.05 * 0.05);
    fill(&wide, specs, 4, 3);
    for (size_t i = 0; i < wide.count; i++)
        wide.runs[i].devices[0].gain_ppm = 50000;
    make(&narrow, "power=250 W");
    make(&wide, "power=250 W");
    const struct wt_sweep_row *n = &narrow.sweep.rows[1], *w = &wide.sweep.rows[1];
    assert_near(w->energy_ratio.low, n->energy_ratio.low, 1e-9);
    assert_near(w->energy_ratio.high, n->energy_ratio.high, 1e-9);
    assert_true(w->energy_j.high - w->energy_j.low > 2 * (n->energy_j.high - n->energy_j.low));
    empty(&narrow);
    empty(&wide);
}

/* One bound for one run, wherever it is shown, and no repeat makes a model better. */
static void a_models_bound_is_the_runs_own_however_often_it_is_repeated(void **state)
{
    (void)state;
    struct bench b;
    for (unsigned repeats = 1; repeats <= 4; repeats += 3) {
        fill(&b, v100, 2, repeats);
        for (size_t i = 0; i < b.count; i++) {
            struct wt_run_device *d = &b.runs[i].devices[0];
            d->energy.provenance = b.runs[i].total.provenance = WT_PROV_MODELED;
            d->energy.low_j = 0.2 * d->energy.energy_j;
            d->energy.high_j = 2.5 * d->energy.energy_j;
            d->gain_ppm = 1400000;
        }
        make(&b, NULL);
        const struct wt_sweep_row *row = &b.sweep.rows[0];
        assert_near(row->energy_j.low, 0.2 * row->energy_j.value, 0.1);
        assert_near(row->energy_j.high, 2.5 * row->energy_j.value, 0.1);
        assert_near(row->power_w.low, 0.2 * row->power_w.value, 0.01);
        empty(&b);
    }
}

static void the_gain_stays_as_far_as_shares_differ(void **state)
{
    (void)state;
    struct bench b;
    struct runs_spec specs[4];
    memcpy(specs, v100, sizeof(specs));
    for (size_t i = 0; i < 4; i++)
        specs[i].is_with_cpu = true; /* a constant 60 W: its share rises as the GPU's falls */
    fill(&b, specs, 4, 1);
    for (size_t i = 0; i < b.count; i++) /* bounds of nothing but the gains, 1 % and 0.5 % */
        for (size_t d = 0; d < 2; d++) {
            struct wt_joules *j = &b.runs[i].devices[d].energy;
            double gain_j = (d ? 0.005 : 0.01) * j->energy_j;
            j->low_j = j->energy_j - gain_j;
            j->high_j = j->energy_j + gain_j;
        }
    make(&b, "power=250 W");
    const struct wt_estimate *r = &b.sweep.rows[0].energy_ratio;
    double left = (0.01 + 0.005) * (200.0 / 260 - 99.0 / 159);
    assert_near(r->high / r->value - 1, left, 1e-9);
    assert_near(1 - r->low / r->value, left, 1e-9);
    empty(&b);
}

static void the_offset_stays_as_far_as_powers_differ(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 1);
    for (size_t i = 0; i < b.count; i++) { /* a bound of nothing but an offset of 2 W */
        struct wt_run_device *d = &b.runs[i].devices[0];
        d->gain_ppm = 0;
        d->offset_mw = 2000;
        d->energy.low_j = d->energy.energy_j - 2 * b.runs[i].wall_s;
        d->energy.high_j = d->energy.energy_j + 2 * b.runs[i].wall_s;
    }
    make(&b, "power=250 W");
    const struct wt_sweep_row *row = &b.sweep.rows[0];
    assert_near(row->energy_j.high / row->energy_j.value - 1, 2.0 / 99, 1e-9);
    assert_near(row->energy_ratio.high / row->energy_ratio.value - 1, 2.0 / 99 - 2.0 / 200, 1e-9);
    empty(&b);
}

static void failed_runs_are_named_and_left_out(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    b.runs[1].exit_code = 137;                                            /* 150 W */
    b.runs[5].state = WT_RUN_INCOMPLETE;                                  /* 150 W */
    b.runs[9].total = (struct wt_joules){NAN, NAN, NAN, WT_PROV_UNKNOWN}; /* 150 W */
    b.runs[0].exit_code = 1;                                              /* 100 W */
    make(&b, "power=250 W");
    assert_int_equal(b.sweep.row_count, 3);
    assert_string_equal(b.sweep.rows[0].label, "100 W");
    assert_int_equal(b.sweep.rows[0].repeats, 2);
    assert_true(has_warning(&b.sweep, "power=150 W, run 1 (20260921-133300-1500a1b) ended with "
                                      "exit code 137"));
    assert_true(has_warning(&b.sweep, "was cut short"));
    assert_true(has_warning(&b.sweep, "has no known energy"));
    assert_true(has_warning(&b.sweep, "power=150 W: no run succeeded"));
    assert_int_equal(b.sweep.failure_count, 1);
    assert_string_equal(b.sweep.failures[0].label, "150 W");
    assert_int_equal(b.sweep.failures[0].exit_code, 137);
    empty(&b);
}

/* One word for all its runs, and the same in the document. */
static void a_setting_that_only_failed_is_told_with_its_exit_code(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 2);
    b.runs[1].exit_code = b.runs[5].exit_code = 4; /* 150 W */
    make(&b, "power=250 W");
    assert_true(has_warning(&b.sweep, "power=150 W: its 2 runs ended with exit code 4 (the last"));
    assert_false(has_warning(&b.sweep, "power=150 W, run 1"));
    char *text = wt_sweep_to_json(&b.sweep);
    json_t *doc = json_loads(text, 0, NULL);
    free(text);
    json_t *failed = json_object_get(doc, "failed");
    assert_int_equal(json_array_size(failed), 1);
    failed = json_array_get(failed, 0);
    assert_string_equal(json_string_value(json_object_get(failed, "label")), "150 W");
    assert_int_equal(json_integer_value(json_object_get(failed, "exit_code")), 4);
    assert_int_equal(json_array_size(json_object_get(failed, "runs")), 2);
    json_decref(doc);
    empty(&b);
}

static void without_a_usable_reference_there_is_no_table(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    fill(&b, v100, 4, 1);
    b.runs[3].exit_code = 1;
    assert_int_equal(wt_sweep_make(&b.sweep, b.runs, b.count, "power=250 W", &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "power=250 W"));
    assert_int_equal(wt_sweep_make(&b.sweep, b.runs, 0, NULL, &err), WT_E_USAGE);
    empty(&b);
}

static void emulated_and_real_runs_are_not_compared(void **state)
{
    (void)state;
    struct bench b;
    struct wt_error err = {0};
    struct runs_spec specs[2] = {v100[1], v100[3]};
    specs[0].is_real = true;
    fill(&b, specs, 2, 1);
    assert_int_equal(wt_sweep_make(&b.sweep, b.runs, b.count, NULL, &err), WT_E_MIXED);
    empty(&b);
}

static void runs_of_different_work_are_compared_per_unit(void **state)
{
    (void)state;
    struct runs_spec specs[2] = {v100[1], v100[3]};
    struct bench b;
    /* Both ran for 40 s; the capped one got 40/43.4 as far. */
    specs[0].wall_s = 40;
    specs[0].tokens = 471889;
    fill(&b, specs, 2, 3);
    make(&b, NULL);
    assert_true(b.sweep.is_per_work);
    assert_near(b.sweep.rows[0].time_ratio.value, 1.085, 1e-4);
    assert_near(b.sweep.rows[0].energy_ratio.value, 1.085 * 149 / 200, 1e-4);
    assert_near(b.sweep.rows[0].time_s.value, 40, 0.05);
    assert_true(has_warning(&b.sweep, "ratios are per unit of it (tokens)"));
    empty(&b);
}

static void the_rest_of_the_node_counts_when_given(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    for (size_t i = 0; i < b.count; i++)
        b.runs[i].host_w = 300;
    make(&b, "power=250 W");
    double e100 = 52.6 * (99 + 300), e150 = 43.4 * (149 + 300), e0 = 40.0 * 500;
    assert_near(b.sweep.rows[0].energy_ratio.value, e100 / e0, 1e-4);
    assert_near(b.sweep.rows[1].energy_ratio.value, e150 / e0, 1e-4);
    assert_int_not_equal(b.sweep.choice, 0);
    assert_non_null(strstr(b.sweep.advice, "counted with 300 W"));
    /* The break-even power does not depend on what was counted. */
    size_t c = b.sweep.choice;
    double want = (8000 - v100[c].wall_s * v100[c].power_w) / (v100[c].wall_s - 40);
    assert_near(b.sweep.breakeven_w, want, want * 0.01);
    empty(&b);
}

static void one_run_each_says_that_spread_is_not_known(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 1);
    make(&b, NULL);
    assert_int_equal(b.sweep.reference, 3); /* the highest setting */
    assert_true(has_warning(&b.sweep, "each setting ran once"));
    assert_near(b.sweep.rows[0].time_ratio.low, b.sweep.rows[0].time_ratio.high, 0);
    empty(&b);
}

static void labels_say_the_setting_in_several_ways(void **state)
{
    (void)state;
    static const struct {
        const char *low, *high, *knob, *unit, *row, *advice;
    } rows[] = {
        {"power=150 W", "power=250 W", "power", "W", "150 W", "cap at 150 W: "},
        {"150 W", "250 W", "power", "W", "150 W", "cap at 150 W: "},
        {"150 W", "250 W (as is)", "power", "W", "150 W", "cap at 150 W: "},
        {"power=150 W", "default", "power", "W", "150 W", "cap at 150 W: "},
        {"batch=16", "batch=8", "batch", "", "16", "use batch=16: "},
        {"power=150 W, clock=900 MHz", "default", "", "", "power=150 W, clock=900 MHz",
         "use power=150 W, clock=900 MHz: "},
    };
    struct runs_spec specs[2] = {v100[1], v100[3]};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bench b;
        fill(&b, specs, 2, 3);
        for (size_t k = 0; k < b.count; k++) {
            bool is_low = b.runs[k].settings[0].requested == 150000;
            wt_text(b.runs[k].label, sizeof(b.runs[k].label), "%s",
                    is_low ? rows[i].low : rows[i].high);
        }
        make(&b, rows[i].high);
        const struct wt_sweep_row *row = &b.sweep.rows[b.sweep.choice];
        assert_string_equal(b.sweep.knob, rows[i].knob);
        assert_string_equal(b.sweep.unit, rows[i].unit);
        assert_string_equal(row->label, rows[i].row);
        if (!strstr(b.sweep.advice, rows[i].advice))
            fail_msg("%s: %s", rows[i].low, b.sweep.advice);
        empty(&b);
    }
}

static void a_marked_reference_wins_over_the_highest(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 1);
    b.runs[2].is_reference = true;
    make(&b, NULL);
    assert_int_equal(b.sweep.reference, 2);
    empty(&b);
}

static void intervals_cover_the_truth_as_often_as_they_say(void **state)
{
    (void)state;
    /* 2000 sweeps of three repeats with a normal spread of 1 %: the ratio's interval should hold
     * the true ratio in about 95 %, and must in at least 93 %. A fixed generator: no luck. */
    uint64_t seed = 42;
    size_t held = 0, tries = 2000;
    for (size_t k = 0; k < tries; k++) {
        struct bench b;
        struct runs_spec specs[2] = {v100[1], v100[3]};
        specs[0].bound = specs[1].bound = 0.01; /* the gain and nothing else */
        fill(&b, specs, 2, 3);
        for (size_t i = 0; i < b.count; i++) {
            double sum = -6; /* of twelve uniform numbers: normal enough */
            for (int n = 0; n < 12; n++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                sum += (double)(seed >> 11) * 0x1p-53;
            }
            double e = (b.runs[i].label[6] == '1' ? 750 : 1000) * (1 + 0.01 * sum);
            b.runs[i].total = b.runs[i].devices[0].energy =
                (struct wt_joules){e, e * 0.99, e * 1.01, WT_PROV_EMULATED};
        }
        make(&b, NULL);
        const struct wt_estimate *r = &b.sweep.rows[0].energy_ratio;
        held += r->low <= 0.75 && r->high >= 0.75;
        empty(&b);
    }
    assert_in_range(held, tries * 93 / 100, tries * 995 / 1000);
}

static void the_document_holds_the_table(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 4, 3);
    b.runs[0].exit_code = 1;
    make(&b, NULL);
    char *text = wt_sweep_to_json(&b.sweep);
    assert_non_null(text);
    json_t *doc = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(doc);
    assert_true(json_is_true(json_object_get(doc, "emulated")));
    json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 4);
    json_t *ratio = json_object_get(json_array_get(rows, 1), "energy_ratio");
    assert_true(json_is_number(json_object_get(ratio, "low")));
    assert_true(json_is_null(json_object_get(doc, "host_w")));
    assert_int_equal(json_array_size(json_object_get(doc, "runs")), 12);
    assert_true(json_array_size(json_object_get(doc, "warnings")) >= 1);
    json_t *choice = json_object_get(doc, "choice");
    assert_string_equal(json_string_value(json_object_get(choice, "label")), "100 W");
    assert_true(json_is_number(json_object_get(doc, "breakeven_host_w")));
    assert_non_null(json_string_value(json_object_get(doc, "advice")));
    assert_string_equal(json_string_value(json_object_get(doc, "apply")), b.sweep.apply);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(json_is_true(json_object_get(json_array_get(rows, i), "is_choice")),
                         i == b.sweep.choice);
    json_decref(doc);
    empty(&b);
}

static void the_repeats_for_a_precision_are_as_few_as_will_do(void **state)
{
    (void)state;
    static const struct {
        double spread, run_bound, shared, precision;
        size_t settings;
        unsigned want;
        const char *why;
    } rows[] = {
        {0, 0, 0, 0.01, 2, 2, "without any error two are enough"},
        {0.001, 0, 0, 0.01, 2, 2, "a small spread too"},
        {0, 0.02, 0, 0.01, 2, 8, "2 x 0.02^2 / 8 is 0.01^2"},
        {0, 0, 0.011, 0.01, 2, 0, "what repeats do not shrink stays"},
        {0.01, 0, 0, 0.01, 1000, 8, "2 x (1.96 x 0.01)^2 / 8 is under 0.01^2"},
        {1, 0, 0, 0.0001, 2, 0, "more than a thousand is no answer"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (wt_repeats_for(rows[i].spread, rows[i].run_bound, rows[i].shared, rows[i].settings,
                           rows[i].precision) != rows[i].want)
            fail_msg("%s", rows[i].why);
}

static void precision_is_that_of_the_settings_in_question(void **state)
{
    (void)state;
    struct wt_run runs[6];
    for (unsigned r = 0; r < 2; r++) {
        runs[r] = runs_make(&(struct runs_spec){
            .cap_w = 250, .wall_s = 40, .power_w = 240, .bound = 0.012, .repeat = r});
        runs[2 + r] = runs_make(&(struct runs_spec){
            .cap_w = 200, .wall_s = 41, .power_w = 199, .bound = 0.012, .repeat = r});
        /* Far more than the reference, and badly measured: nobody asks how much exactly. */
        runs[4 + r] = runs_make(&(struct runs_spec){
            .cap_w = 100, .wall_s = 400, .power_w = 99, .bound = 0.3, .repeat = r});
    }
    struct wt_sweep sweep;
    assert_int_equal(wt_sweep_make(&sweep, runs, 6, "power=250 W", NULL), 0);
    size_t row = 0;
    while (sweep.rows[row].setting != 200)
        row++;
    const struct wt_estimate *e = &sweep.rows[row].energy_ratio;
    assert_near(sweep.precision, (e->high - e->low) / 2 / e->value, 1e-12);
    unsigned needed = wt_sweep_repeats_for(&sweep, sweep.precision / 3);
    assert_true(needed > 2);
    assert_int_equal(wt_sweep_want(&sweep, sweep.precision / 3), 0);
    assert_non_null(strstr(sweep.warnings[sweep.warning_count - 1], "not reached"));
    assert_int_equal(wt_sweep_want(&sweep, sweep.precision * 2), 0);
    assert_non_null(strstr(sweep.warnings[sweep.warning_count - 1], "was reached"));
    wt_sweep_done(&sweep);
    for (size_t i = 0; i < 6; i++)
        wt_run_done(&runs[i]);
}

static void a_device_has_settled_when_it_drifts_no_more(void **state)
{
    (void)state;
    static const struct {
        double span_s, tau_s, rise_k, clock_fall, noise_k;
        bool is_known, is_settled;
        const char *why;
    } rows[] = {
        {60, 20, 0, 0, 0.5, true, true, "steady"},
        {5, 20, 0, 0, 0.5, false, false, "too short to say"},
        {60, 60, 30, 0, 0.5, true, false, "still warming"},
        {600, 60, 30, 0, 0.5, true, true, "warmed long ago"},
        {60, 60, 0.5, 0, 0.2, true, true, "less than a sensor resolves"},
        {60, 60, 0, 0.05, 0.2, true, false, "the clock still falls"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        size_t count = (size_t)(rows[i].span_s * 4);
        struct wt_run_point *points = calloc(count, sizeof(*points));
        assert_non_null(points);
        for (size_t k = 0; k < count; k++) {
            double t = (double)k / 4, grown = 1 - exp(-t / rows[i].tau_s);
            points[k] = (struct wt_run_point){
                .t_s = t,
                .power_w = 200,
                .temp_c =
                    round(50 + rows[i].rise_k * grown + rows[i].noise_k * sin((double)k * 37)),
                .clock_mhz = 1380 * (1 - rows[i].clock_fall * grown),
                .limit_w = 250,
            };
            if (k % 8 == 0) { /* between two runs: says nothing */
                points[k].throttle = WT_THROTTLE_IDLE;
                points[k].clock_mhz = 135;
            }
        }
        struct wt_settling s = wt_settling_of(points, count);
        if (s.is_known != rows[i].is_known || s.is_settled != rows[i].is_settled)
            fail_msg("%s: known %d, settled %d, %+.2f K", rows[i].why, s.is_known, s.is_settled,
                     s.temp_drift_k);
        free(points);
    }
}

static void tell(struct wt_run *run, const char *name, double t_s, double value)
{
    struct wt_run_value told = {.t_s = t_s, .value = value};
    snprintf(told.name, sizeof(told.name), "%s", name);
    assert_int_equal(wt_run_add_value(run, &told), 0);
}

static void what_runs_tell_of_themselves_stands_beside_their_energy(void **state)
{
    (void)state;
    struct bench b;
    fill(&b, v100, 2, 2);
    for (size_t i = 0; i < b.count; i++) {
        tell(&b.runs[i], "score", 1, 9);
        tell(&b.runs[i], "score", 20, 2 + (double)i); /* 100 W: 2 and 4; 150 W: 3 and 5 */
    }
    tell(&b.runs[1], "MFU", 20, 0.5);
    make(&b, "power=150 W");
    struct wt_sweep_told told;
    wt_sweep_told_names(&b.sweep, &told);
    assert_int_equal(told.count, 3); /* the runs have a loss besides */
    assert_string_equal(told.names[1], "score");
    assert_string_equal(told.names[2], "MFU");
    assert_near(wt_sweep_told(&b.sweep, 0, "score"), 3, 1e-12);
    assert_near(wt_sweep_told(&b.sweep, 1, "score"), 4, 1e-12);
    assert_true(isnan(wt_sweep_told(&b.sweep, 0, "MFU")));
    assert_near(wt_sweep_told(&b.sweep, 1, "MFU"), 0.5, 1e-12);
    /* Of the runs that the row is of: one whose energy is not known is none. */
    b.runs[2].total.provenance = WT_PROV_UNKNOWN;
    wt_sweep_done(&b.sweep);
    make(&b, "power=150 W");
    assert_near(wt_sweep_told(&b.sweep, 0, "score"), 2, 1e-12);
    empty(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_in_order_with_ratios_to_the_reference),
        cmocka_unit_test(nodes_are_named_and_where_they_hide_a_setting_it_is_said),
        cmocka_unit_test(the_lowest_energy_is_chosen_and_said_in_a_sentence),
        cmocka_unit_test(where_intervals_overlap_the_faster_one_is_chosen),
        cmocka_unit_test(a_saving_within_its_interval_is_none),
        cmocka_unit_test(a_faster_setting_without_a_saving_is_not_chosen),
        cmocka_unit_test(a_saving_comes_with_the_command_that_applies_it),
        cmocka_unit_test(the_gain_widens_joules_but_not_ratios),
        cmocka_unit_test(a_models_bound_is_the_runs_own_however_often_it_is_repeated),
        cmocka_unit_test(the_gain_stays_as_far_as_shares_differ),
        cmocka_unit_test(the_offset_stays_as_far_as_powers_differ),
        cmocka_unit_test(failed_runs_are_named_and_left_out),
        cmocka_unit_test(a_setting_that_only_failed_is_told_with_its_exit_code),
        cmocka_unit_test(without_a_usable_reference_there_is_no_table),
        cmocka_unit_test(emulated_and_real_runs_are_not_compared),
        cmocka_unit_test(runs_of_different_work_are_compared_per_unit),
        cmocka_unit_test(the_rest_of_the_node_counts_when_given),
        cmocka_unit_test(one_run_each_says_that_spread_is_not_known),
        cmocka_unit_test(labels_say_the_setting_in_several_ways),
        cmocka_unit_test(a_marked_reference_wins_over_the_highest),
        cmocka_unit_test(intervals_cover_the_truth_as_often_as_they_say),
        cmocka_unit_test(the_document_holds_the_table),
        cmocka_unit_test(the_repeats_for_a_precision_are_as_few_as_will_do),
        cmocka_unit_test(precision_is_that_of_the_settings_in_question),
        cmocka_unit_test(a_device_has_settled_when_it_drifts_no_more),
        cmocka_unit_test(what_runs_tell_of_themselves_stands_beside_their_energy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
