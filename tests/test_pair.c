/* pair: B against A, whether the difference is real, and what may not be compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "runs.h"
#include "wattune/report.h"

enum { MOST = 5 };

static struct wt_run a[MOST], b[MOST];
static struct wt_pair pair;
static unsigned made;

/* So many repeats each of 40 s at 200 W, and of that times these. The GPU is the same. */
static void fill(unsigned repeats, double time, double power)
{
    made = repeats;
    for (unsigned i = 0; i < repeats; i++) {
        struct runs_spec spec = {
            .wall_s = 40, .power_w = 200, .bound = 0.0105, .repeat = i, .is_real = true};
        a[i] = runs_make(&spec);
        spec.wall_s *= time;
        spec.power_w *= power;
        b[i] = runs_make(&spec);
        wt_text(a[i].id, sizeof(a[i].id), "a-%u", i);
        wt_text(b[i].id, sizeof(b[i].id), "b-%u", i);
    }
}

static int setup(void **state)
{
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    wt_pair_done(&pair);
    for (unsigned i = 0; i < made; i++) {
        wt_run_done(&a[i]);
        wt_run_done(&b[i]);
    }
    made = 0;
    return 0;
}

static void make(void)
{
    struct wt_error err = {0};
    if (wt_pair_make(&pair, a, made, b, made, &err) < 0)
        fail_msg("%s", err.text);
}

static void refused(int code, const char *part)
{
    struct wt_error err = {0};
    assert_int_equal(wt_pair_make(&pair, a, made, b, made, &err), code);
    if (!strstr(err.text, part))
        fail_msg("no \"%s\" in: %s", part, err.text);
}

static bool is_noted(const char *part)
{
    for (size_t i = 0; i < pair.note_count; i++)
        if (strstr(pair.notes[i], part))
            return true;
    return false;
}

static void a_large_difference_is_real(void **state)
{
    (void)state;
    fill(3, 1.2, 0.7);
    make();
    const struct wt_pair_figure *energy = &pair.figures[WT_PAIR_ENERGY],
                                *time = &pair.figures[WT_PAIR_TIME];
    assert_int_equal(energy->verdict, WT_PAIR_LOWER);
    assert_near(energy->ratio.value, 0.84, 1e-9);
    assert_true(energy->ratio.low < 0.84 && energy->ratio.high > 0.84 && energy->ratio.high < 1);
    assert_int_equal(time->verdict, WT_PAIR_HIGHER);
    assert_near(time->ratio.value, 1.2, 1e-9);
    assert_int_equal(pair.figures[WT_PAIR_POWER].verdict, WT_PAIR_LOWER);
    assert_near(pair.figures[WT_PAIR_PER_WORK].ratio.value, 0.84, 1e-9);
    assert_near(pair.figures[WT_PAIR_PER_WORK].b.value, energy->b.value / 512000, 1e-9);
    assert_non_null(strstr(pair.sentence, "B takes 16.0 % less energy"));
    assert_non_null(strstr(pair.sentence, "B takes 20.0 % more time"));
    assert_int_equal(energy->repeats, 0);
}

/* The same arithmetic, as its rows are those of a sweep. */
static void its_intervals_are_those_of_a_sweep(void **state)
{
    (void)state;
    fill(3, 1.2, 0.7);
    make();
    struct wt_run all[2 * MOST];
    struct wt_sweep sweep;
    for (unsigned i = 0; i < 3; i++) {
        all[i] = a[i];
        all[3 + i] = b[i];
        wt_text(all[3 + i].label, sizeof(all[0].label), "power=150 W");
        wt_text(all[i].label, sizeof(all[0].label), "power=250 W");
    }
    assert_int_equal(wt_sweep_make(&sweep, all, 6, "power=250 W", NULL), 0);
    assert_near(pair.figures[WT_PAIR_ENERGY].ratio.high, sweep.rows[0].energy_ratio.high, 1e-12);
    assert_near(pair.figures[WT_PAIR_TIME].ratio.low, sweep.rows[0].time_ratio.low, 1e-12);
    wt_sweep_done(&sweep);
}

static void a_small_difference_needs_more_repeats(void **state)
{
    (void)state;
    fill(3, 1.003, 1);
    make();
    const struct wt_pair_figure *energy = &pair.figures[WT_PAIR_ENERGY];
    char text[64];
    assert_int_equal(energy->verdict, WT_PAIR_ALIKE);
    assert_true(energy->ratio.low < 1 && energy->ratio.high > 1);
    assert_true(energy->repeats > 3);
    assert_int_equal(energy->repeats,
                     wt_repeats_for(pair.sweep.spread, pair.sweep.rows[1].run_bound,
                                    pair.sweep.rows[1].shared_bound, 2,
                                    fabs(1 / energy->ratio.value - 1)));
    assert_non_null(strstr(pair.sentence, "cannot be told apart"));
    wt_text(text, sizeof(text), "About %u repeats of each", energy->repeats);
    assert_non_null(strstr(pair.sentence, text));
}

static void runs_that_were_not_repeated_prove_nothing(void **state)
{
    (void)state;
    fill(1, 1.2, 0.7);
    make();
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].verdict, WT_PAIR_UNPROVEN);
    assert_int_equal(pair.figures[WT_PAIR_TIME].verdict, WT_PAIR_UNPROVEN);
    assert_true(isnan(pair.figures[WT_PAIR_TIME].ratio.high));
    assert_null(strstr(pair.sentence, "is real"));
    assert_true(is_noted("A and B ran once each"));
    assert_false(is_noted("each setting"));
    wt_pair_done(&pair);
    for (unsigned i = 0; i < made; i++)
        wt_run_done(&b[i]), b[i] = (struct wt_run){0};
    const struct runs_spec same = {
        .wall_s = 40, .power_w = 200.2, .bound = 0.0105, .is_real = true};
    b[0] = runs_make(&same);
    make();
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].verdict, WT_PAIR_ALIKE);
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].repeats, 0);
    assert_non_null(strstr(pair.sentence, "how many repeats would tell is not known"));
}

/* Seeded, so that it is the same each time. */
static double gauss(uint64_t *io_seed)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        *io_seed = *io_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        sum += (double)(*io_seed >> 11) * 0x1p-53;
    }
    return sum;
}

/* How many of 400 pairs, three runs each whose times and powers spread by 1 %, are told to differ
 * in energy when B takes so much more. */
static unsigned told_of_400(double ratio)
{
    unsigned told = 0;
    uint64_t seed = 20220710;
    fill(3, 1, 1);
    for (int n = 0; n < 400; n++) {
        for (unsigned i = 0; i < 6; i++) {
            struct wt_run *run = i < 3 ? &a[i] : &b[i - 3];
            double j = 8000 * (1 + 0.01 * gauss(&seed)) * (i < 3 ? 1 : ratio);
            run->wall_s = 40 * (1 + 0.01 * gauss(&seed));
            run->devices[0].energy = (struct wt_joules){j, j * 0.99, j * 1.01, WT_PROV_COUNTER};
            run->total = run->devices[0].energy;
        }
        make();
        enum wt_pair_verdict verdict = pair.figures[WT_PAIR_ENERGY].verdict;
        told += verdict == WT_PAIR_LOWER || verdict == WT_PAIR_HIGHER;
        wt_pair_done(&pair);
    }
    return told;
}

static void no_difference_is_seldom_told(void **state)
{
    (void)state;
    unsigned told = told_of_400(1);
    print_message("of 400 pairs without a difference %u are told to have one\n", told);
    assert_in_range(told, 1, 400 / 20);
}

static void a_difference_of_five_spreads_is_mostly_told(void **state)
{
    (void)state;
    unsigned told = told_of_400(1.05);
    print_message("of 400 pairs with a difference of 5 %% %u are told to have one\n", told);
    assert_in_range(told, 340, 400);
}

static void other_boards_do_not_cancel(void **state)
{
    (void)state;
    fill(3, 1, 0.985);
    make();
    double same = pair.figures[WT_PAIR_ENERGY].ratio.high;
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].verdict, WT_PAIR_LOWER);
    assert_false(is_noted("different devices"));
    wt_pair_done(&pair);
    for (unsigned i = 0; i < made; i++)
        wt_text(b[i].devices[0].id, sizeof(b[i].devices[0].id), "GPU-other");
    make();
    assert_true(pair.figures[WT_PAIR_ENERGY].ratio.high > same + 0.015); /* 1 % of each */
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].verdict, WT_PAIR_ALIKE);
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].repeats, 0);
    assert_non_null(strstr(pair.sentence, "as the sensors' own error stays"));
    assert_true(is_noted("different devices"));
}

/* Each package is number 0 of its own host. */
static void a_package_of_another_host_is_another(void **state)
{
    (void)state;
    fill(3, 1, 0.985);
    for (unsigned i = 0; i < made; i++) {
        wt_text(a[i].devices[0].id, sizeof(a[i].devices[0].id), "cpu-package-0");
        wt_text(b[i].devices[0].id, sizeof(b[i].devices[0].id), "cpu-package-0");
        wt_text(b[i].host, sizeof(b[i].host), "node08");
    }
    make();
    assert_true(is_noted("different devices"));
    assert_int_equal(pair.figures[WT_PAIR_ENERGY].verdict, WT_PAIR_ALIKE);
    assert_string_equal(b[0].devices[0].id, "cpu-package-0");
}

/* Where each of three runs has another board, each board's offset is a third's. */
static void an_offset_weighs_by_its_runs(void **state)
{
    (void)state;
    fill(3, 1, 1);
    for (unsigned i = 0; i < made; i++) {
        a[i].devices[0].offset_mw = b[i].devices[0].offset_mw = 2000;
        wt_text(b[i].devices[0].id, sizeof(b[i].devices[0].id), "GPU-other");
    }
    make();
    double one = pair.sweep.rows[1].shared_bound;
    wt_pair_done(&pair);
    for (unsigned i = 0; i < made; i++)
        wt_text(b[i].devices[0].id, sizeof(b[i].devices[0].id), "GPU-other-%u", i);
    make();
    assert_near(pair.sweep.rows[1].shared_bound, one, 1e-4);
}

static void different_amounts_are_compared_per_unit(void **state)
{
    (void)state;
    fill(3, 1, 1);
    for (unsigned i = 0; i < made; i++)
        b[i].work.count *= 2;
    make();
    assert_true(pair.sweep.is_per_work);
    assert_near(pair.figures[WT_PAIR_ENERGY].ratio.value, 0.5, 1e-9);
    assert_non_null(strstr(pair.sentence, "for the same work"));
    assert_true(is_noted("ratios are per unit of it (tokens)"));
}

static void what_does_not_compare_is_refused(void **state)
{
    (void)state;
    fill(2, 1, 1);
    a[1].is_emulated = true;
    refused(WT_E_MIXED, "run a-0 is not emulated, run a-1 is emulated");
    a[1].is_emulated = false;
    b[0].is_replayed = true;
    refused(WT_E_MIXED, "run a-0 is not replayed, run b-0 is replayed");
    b[0].is_replayed = false;
    wt_text(b[1].work.unit, sizeof(b[1].work.unit), "images");
    refused(WT_E_USAGE, "did tokens, run b-1 did images");
    wt_text(b[1].work.unit, sizeof(b[1].work.unit), "tokens");
    wt_text(b[1].id, sizeof(b[1].id), "a-0");
    refused(WT_E_USAGE, "run a-0 is there twice");
    wt_text(b[1].id, sizeof(b[1].id), "b-1");
    b[0].exit_code = b[1].exit_code = 3;
    refused(WT_E_USAGE, "no run of B ended well with a known energy: b-0 failed with exit code 3");
    b[0].exit_code = b[1].exit_code = 0;
    a[0].state = a[1].state = WT_RUN_INCOMPLETE;
    refused(WT_E_USAGE, "no run of A ended well with a known energy: a-0 was cut short");
    assert_int_equal(wt_pair_make(&pair, a, 0, b, 1, NULL), WT_E_USAGE);
}

static void what_it_rests_on_is_noted(void **state)
{
    (void)state;
    fill(3, 1.2, 0.7);
    b[2].exit_code = 1;
    b[0].work.is_known = false;
    wt_text(b[0].command, sizeof(b[0].command), "another");
    a[0].host_w = 100;
    make();
    assert_true(is_noted("b-2) ended with exit code 1"));
    assert_true(is_noted("run b-0 told of no work, and b-1 did"));
    assert_true(is_noted("they are of different commands"));
    assert_true(is_noted("not given alike"));
    assert_true(isnan(pair.figures[WT_PAIR_PER_WORK].ratio.value));
    wt_pair_done(&pair);
    for (unsigned i = 0; i < made; i++)
        a[i].host_w = b[i].host_w = 100;
    make();
    assert_true(is_noted("energies have 100 W of the rest of the node"));
    assert_near(pair.figures[WT_PAIR_POWER].a.value, 300, 2);
}

static void estimates_are_called_so_and_are_never_negative(void **state)
{
    (void)state;
    fill(1, 1.2, 0.7);
    struct wt_run *runs[] = {&a[0], &b[0]};
    for (size_t i = 0; i < 2; i++) {
        struct wt_joules *energy = &runs[i]->devices[0].energy;
        runs[i]->devices[0].is_modeled = true;
        energy->provenance = WT_PROV_MODELED;
        energy->low_j = 0.2 * energy->energy_j;
        energy->high_j = 2.5 * energy->energy_j;
        runs[i]->total = *energy;
    }
    const struct wt_run_setting set = {
        .knob = WT_KNOB_POWER, .device_id = "gpu", .requested = 150000, .enforced = 150000};
    assert_int_equal(wt_run_add_setting(&b[0], &set), 0);
    make();
    assert_true(is_noted("energies and powers of both are modeled"));
    assert_true(is_noted("B is b-0 with power=150 W"));
    assert_near(pair.figures[WT_PAIR_ENERGY].a.low, a[0].total.low_j, 1e-9);
    assert_near(pair.figures[WT_PAIR_ENERGY].b.high, b[0].total.high_j, 1e-9);
    for (size_t i = 0; i < WT_PAIR_FIGURES; i++)
        assert_false(pair.figures[i].a.low < 0 || pair.figures[i].ratio.low < 0);
    for (size_t i = 0; i < pair.sweep.row_count; i++)
        assert_true(pair.sweep.rows[i].energy_j.low >= 0);
    /* The page says the same, and recommends nothing. */
    char page[] = "/tmp/wattune-pair-XXXXXX", *text = NULL;
    size_t size;
    struct wt_error err = {0};
    int fd = mkstemp(page);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(wt_report_html(page, &pair.sweep, NULL, 0, &err), 0);
    assert_int_equal(wt_file_read(page, 1 << 24, &text, &size, &err), 0);
    assert_null(strstr(text, "recommended"));
    assert_null(strstr(text, "--repeats"));
    assert_non_null(strstr(text, "energies and powers of both are modeled"));
    free(text);
    unlink(page);
}

static void the_document_has_the_same_figures(void **state)
{
    (void)state;
    fill(3, 1.2, 0.7);
    make();
    char *text = wt_pair_to_json(&pair);
    assert_non_null(text);
    json_t *doc = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(doc);
    static const char *const names[] = {"time_s", "energy_j", "power_w", "j_per_work"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        const json_t *f = json_object_get(doc, names[i]);
        const json_t *high = json_object_get(json_object_get(f, "ratio"), "high");
        assert_near(json_number_value(high), pair.figures[i].ratio.high, 1e-9);
        assert_string_equal(json_string_value(json_object_get(f, "verdict")),
                            wt_pair_verdict_name(pair.figures[i].verdict));
    }
    assert_string_equal(json_string_value(json_object_get(doc, "sentence")), pair.sentence);
    json_decref(doc);
}

static char *printed_at(unsigned width)
{
    char *text = NULL;
    size_t size = 0;
    struct wt_term term = {.out = open_memstream(&text, &size), .width = width};
    assert_non_null(term.out);
    wt_report_pair(&term, &pair);
    fclose(term.out);
    return text;
}

static void a_narrow_window_keeps_ratio_and_verdict(void **state)
{
    (void)state;
    fill(3, 1.2, 0.7);
    make();
    for (unsigned width = 60; width <= 120; width += 20) {
        char *text = printed_at(width);
        assert_non_null(strstr(text, "0.840 ["));
        assert_non_null(strstr(text, "B lower"));
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= width);
        free(text);
    }
}

static void what_is_modeled_is_never_without_its_band(void **state)
{
    (void)state;
    fill(3, 2, 1);
    for (unsigned i = 0; i < made; i++) {
        struct wt_run *runs[] = {&a[i], &b[i]};
        for (size_t k = 0; k < WT_COUNTOF(runs); k++) {
            double e = runs[k]->total.energy_j;
            runs[k]->devices[0].is_modeled = true;
            runs[k]->devices[0].method = WT_PROV_MODELED;
            runs[k]->total = runs[k]->devices[0].energy =
                (struct wt_joules){e, 0.25 * e, 2 * e, WT_PROV_MODELED};
        }
    }
    make();
    static const struct {
        unsigned width;
        const char *energy, *power;
    } wants[] = {
        {120, "8.0 kJ [2.0, 16.0]  16 kJ [4, 32]", "200 W [50, 400]  200 W [50, 400]"},
        {86, "2.0 to 16.0 kJ  4 to 32 kJ", "50 to 400 W  50 to 400 W"},
    };
    for (size_t i = 0; i < WT_COUNTOF(wants); i++) {
        char *text = printed_at(wants[i].width), *from = text, *to = text;
        for (; *from; from++) /* columns are not what this is about */
            if (*from != ' ' || to == text || to[-1] != ' ' || to < text + 2 || to[-2] != ' ')
                *to++ = *from;
        *to = '\0';
        if (!strstr(text, wants[i].energy) || !strstr(text, wants[i].power))
            fail_msg("at %u columns:\n%s", wants[i].width, text);
        free(text);
    }
    assert_true(is_noted("energies and powers of both are modeled"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_modeled_is_never_without_its_band),
        TEST(a_large_difference_is_real),
        TEST(its_intervals_are_those_of_a_sweep),
        TEST(a_small_difference_needs_more_repeats),
        TEST(runs_that_were_not_repeated_prove_nothing),
        TEST(no_difference_is_seldom_told),
        TEST(a_difference_of_five_spreads_is_mostly_told),
        TEST(other_boards_do_not_cancel),
        TEST(a_package_of_another_host_is_another),
        TEST(an_offset_weighs_by_its_runs),
        TEST(different_amounts_are_compared_per_unit),
        TEST(what_does_not_compare_is_refused),
        TEST(what_it_rests_on_is_noted),
        TEST(estimates_are_called_so_and_are_never_negative),
        TEST(the_document_has_the_same_figures),
        TEST(a_narrow_window_keeps_ratio_and_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
