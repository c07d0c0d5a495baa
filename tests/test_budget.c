/* The steps and layers of a power budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "wattune/budget.h"

#define NOW  INT64_C(1790000000) /* 2026-09-21 14:13:20 */
#define HOUR INT64_C(3600)

static void rules_are_read_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
        enum wt_signal_kind kind;
        bool is_above;
        double limit, share;
    } rows[] = {
        {"60%:carbon>400", 0, WT_SIGNAL_CARBON, true, 400, 0.6},
        {"500W:price<0.1", 0, WT_SIGNAL_PRICE, false, 0.1, 0.5},
        {"0.25kW:pue>1.4", 0, WT_SIGNAL_PUE, true, 1.4, 0.25},
        {"0%:price>-5", 0, WT_SIGNAL_PRICE, true, -5, 0},
        {"100%:carbon>1", 0, WT_SIGNAL_CARBON, true, 1, 1},
        {"2kW:carbon>1", WT_E_USAGE, 0, false, 0, 0},   /* above the total */
        {"101%:carbon>1", WT_E_USAGE, 0, false, 0, 0},  /* likewise */
        {"-1%:carbon>1", WT_E_USAGE, 0, false, 0, 0},   /* below nothing */
        {"60:carbon>400", WT_E_USAGE, 0, false, 0, 0},  /* of what */
        {"60%:carbon=400", WT_E_USAGE, 0, false, 0, 0}, /* neither above nor below */
        {"60%:wind>400", WT_E_USAGE, 0, false, 0, 0},   /* no such signal */
        {"60%:carbon>", WT_E_USAGE, 0, false, 0, 0},    /* than what */
        {"60%:carbon>4x", WT_E_USAGE, 0, false, 0, 0},  /* not a number */
        {"1e9MW:carbon>1", WT_E_USAGE, 0, false, 0, 0}, /* above it by far */
        {"0x10W:carbon>1", WT_E_USAGE, 0, false, 0, 0}, /* no decimal */
        {"60%:carbon>inf", WT_E_USAGE, 0, false, 0, 0}, /* no limit */
        {"60%carbon>400", WT_E_USAGE, 0, false, 0, 0},  /* no colon */
        {"nan%:carbon>4", WT_E_USAGE, 0, false, 0, 0},  /* not a number */
        {"", WT_E_USAGE, 0, false, 0, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_budget_rule rule;
        struct wt_error err = {0};
        assert_int_equal(wt_budget_rule_parse(&rule, rows[i].text, 1000, &err), rows[i].want);
        if (rows[i].want < 0)
            continue;
        assert_int_equal(rule.kind, rows[i].kind);
        assert_int_equal(rule.is_above, rows[i].is_above);
        assert_true(fabs(rule.limit - rows[i].limit) < 1e-12);
        assert_true(fabs(rule.share - rows[i].share) < 1e-12);
    }
}

static void a_level_is_a_share_of_the_total(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int want;
        double share;
    } rows[] = {{"60%", 0, 0.6},          {"0%", 0, 0},
                {"250W", 0, 0.25},        {"0.5kW", 0, 0.5},
                {"0.001MW", 0, 1},        {"60", WT_E_USAGE, 0},
                {"%", WT_E_USAGE, 0},     {"kW", WT_E_USAGE, 0},
                {"1,5kW", WT_E_USAGE, 0}, {"-1W", WT_E_USAGE, 0},
                {"101%", WT_E_USAGE, 0},  {"2kW", WT_E_USAGE, 0},
                {"", WT_E_USAGE, 0},      {"6 %", WT_E_USAGE, 0}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        double share = -1;
        if (wt_budget_level_parse(&share, rows[i].text, 1000, &err) != rows[i].want ||
            (rows[i].want == 0 && fabs(share - rows[i].share) > 1e-12))
            fail_msg("%s: %g: %s", rows[i].text, share, err.text);
    }
}

/* A series of quarter hours from the hour of NOW on. NaN: not known. */
static struct wt_signal *series(const double *values, size_t count)
{
    char path[] = "/tmp/wattune-budget-XXXXXX", when[32];
    struct wt_signal *signal;
    struct wt_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "time,gco2_per_kwh\n");
    for (size_t i = 0; i < count; i++) {
        wt_moment_text(when, sizeof(when), NOW / HOUR * HOUR + (int64_t)i * 900);
        if (isnan(values[i]))
            dprintf(fd, "%s,\n", when);
        else
            dprintf(fd, "%s,%g\n", when, values[i]);
    }
    close(fd);
    if (wt_signal_read(&signal, WT_SIGNAL_CARBON, path, &err) < 0)
        fail_msg("%s", err.text);
    unlink(path);
    return signal;
}

static struct wt_budget plain(void)
{
    struct wt_budget b = {.licensed_w = 1000,
                          .total_w = 1000,
                          .unknown_share = 1,
                          .now_s = NOW,
                          .until_s = NOW + 2 * HOUR,
                          .step_s = 900};
    b.rules[b.rule_count++] = (struct wt_budget_rule){WT_SIGNAL_CARBON, true, 400, 0.6};
    b.rules[b.rule_count++] = (struct wt_budget_rule){WT_SIGNAL_CARBON, true, 500, 0.2};
    return b;
}

static struct wt_budget_plan make(const struct wt_budget *b, struct wt_signal *signal)
{
    struct wt_place place = {.signals = {signal}};
    struct wt_budget_plan plan;
    struct wt_error err = {0};
    if (wt_budget_make(&plan, b, &place, &err) < 0)
        fail_msg("%s", err.text);
    return plan;
}

static void the_lowest_level_of_a_step_holds_in_all_of_it(void **state)
{
    (void)state;
    /* 14:00 to 15:00 high, then 15 minutes higher, then low. Now is 14:13:20. */
    const double values[] = {450, 450, 450, 450, 550, 300, 300, 300, 300, 300};
    struct wt_signal *signal = series(values, WT_COUNTOF(values));
    struct wt_budget b = plain();
    b.step_s = HOUR;
    struct wt_budget_plan plan = make(&b, signal);
    assert_int_equal(plan.step_count, 3);
    assert_int_equal(plan.steps[0].start_s, NOW);
    assert_int_equal(plan.steps[0].end_s % HOUR, 0);
    assert_int_equal(plan.steps[0].watts, 600);
    assert_int_equal(plan.steps[1].watts, 200);
    assert_true(fabs(plan.steps[1].value[WT_SIGNAL_CARBON] - 550) < 1e-9);
    assert_int_equal(plan.steps[2].watts, 1000);
    wt_budget_plan_done(&plan);
    wt_signal_free(signal);
}

static void what_is_set_aside_is_in_layers_of_fixed_height(void **state)
{
    (void)state;
    const double values[] = {450, 450, 550, 550, 450, 300, 450, 550, 300, 300};
    struct wt_signal *signal = series(values, WT_COUNTOF(values));
    struct wt_budget b = plain();
    struct wt_budget_plan plan = make(&b, signal);
    int64_t hour = NOW / HOUR * HOUR;
    assert_int_equal(plan.layer_count, 2);
    assert_int_equal(plan.layers[0].below_w, 0);
    assert_int_equal(plan.layers[0].up_to_w, 400);
    assert_int_equal(plan.layers[0].start_s, NOW);
    assert_int_equal(plan.layers[0].end_s, hour + 5 * 900);
    assert_int_equal(plan.layers[1].below_w, 400);
    assert_int_equal(plan.layers[1].up_to_w, 800);
    assert_int_equal(plan.layers[1].start_s, hour + 2 * 900);
    assert_int_equal(plan.layers[1].end_s, hour + 4 * 900);
    wt_budget_plan_done(&plan);
    wt_signal_free(signal);
}

/* What Slurm adds up for a job from now to any moment is never more than the most that is set aside
 * at a moment of it, and now it is exact. */
static void no_time_is_charged_more_than_its_worst_moment(void **state)
{
    (void)state;
    srand(20261126);
    for (int trial = 0; trial < 400; trial++) {
        double values[24];
        for (size_t i = 0; i < WT_COUNTOF(values); i++)
            values[i] = 200 + rand() % 500;
        struct wt_signal *signal = series(values, WT_COUNTOF(values));
        struct wt_budget b = plain();
        b.until_s = NOW + 4 * HOUR;
        b.licensed_w = trial % 2 ? 1000 : 1300;
        if (trial % 3 == 0) {
            b.is_following = true;
            b.followed = WT_SIGNAL_CARBON;
            b.follow_limit = 300;
            b.floor_share = trial % 5 ? 0 : 0.5;
        }
        struct wt_budget_plan plan = make(&b, signal);
        uint64_t worst = 0;
        for (size_t k = 0; k < plan.step_count; k++) {
            const struct wt_budget_step *s = &plan.steps[k];
            uint64_t aside = b.licensed_w - s->watts, sum = 0, at_once = 0;
            worst = aside > worst ? aside : worst;
            for (size_t i = 0; i < plan.layer_count; i++) {
                const struct wt_budget_layer *l = &plan.layers[i];
                bool is_met = l->start_s < s->end_s;
                sum += is_met ? l->up_to_w - l->below_w : 0;
                at_once +=
                    l->start_s <= s->start_s && l->end_s > s->start_s ? l->up_to_w - l->below_w : 0;
            }
            assert_true(sum <= worst);
            assert_true(at_once <= aside);
            if (k == 0)
                assert_int_equal(at_once, aside);
        }
        wt_budget_plan_done(&plan);
        wt_signal_free(signal);
    }
}

static void following_keeps_what_is_emitted_an_hour(void **state)
{
    (void)state;
    static const struct {
        double value, floor;
        uint64_t want;
    } rows[] = {{300, 0, 1000},  {250, 0, 1000}, {500, 0, 600},  {330, 0, 900}, {1e6, 0, 0},
                {1e6, 0.3, 300}, {600, 0, 500},  {-50, 0, 1000}, {0, 0, 1000}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_signal *signal;
        struct wt_error err = {0};
        struct wt_budget b = plain();
        b.rule_count = 0;
        b.is_following = true;
        b.followed = WT_SIGNAL_PRICE;
        b.follow_limit = 300;
        b.floor_share = rows[i].floor;
        assert_int_equal(wt_signal_constant(&signal, WT_SIGNAL_PRICE, rows[i].value, &err), 0);
        struct wt_place place = {.signals = {[WT_SIGNAL_PRICE] = signal}};
        struct wt_budget_plan plan;
        assert_int_equal(wt_budget_make(&plan, &b, &place, &err), 0);
        assert_int_equal(plan.steps[0].watts, rows[i].want);
        wt_budget_plan_done(&plan);
        wt_signal_free(signal);
    }
}

static void what_is_not_known_is_said_and_has_its_level(void **state)
{
    (void)state;
    const double values[] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 300, 300, 300};
    struct wt_signal *signal = series(values, WT_COUNTOF(values));
    struct wt_budget b = plain();
    b.until_s = NOW + HOUR;
    for (int i = 0; i < 2; i++) {
        b.unknown_share = i ? 0.5 : 1;
        struct wt_budget_plan plan = make(&b, signal);
        assert_true(plan.steps[0].is_unknown);
        assert_true(isnan(plan.steps[0].value[WT_SIGNAL_CARBON]));
        assert_int_equal(plan.steps[0].watts, i ? 500 : 1000);
        assert_int_equal(plan.note_count, 1);
        assert_non_null(strstr(plan.notes[0].text, i ? "500 W" : "1000 W"));
        wt_budget_plan_done(&plan);
    }
    wt_signal_free(signal);
}

static void beyond_a_series_that_is_too_short_nothing_is_known(void **state)
{
    (void)state;
    const double values[] = {450, 450, 450};
    struct wt_signal *signal = series(values, WT_COUNTOF(values));
    struct wt_budget b = plain();
    struct wt_budget_plan plan = make(&b, signal);
    assert_int_equal(plan.steps[0].watts, 600);
    assert_true(plan.steps[plan.step_count - 1].is_unknown);
    assert_int_equal(plan.note_count, 2);
    assert_non_null(strstr(plan.notes[0].text, "cannot be forecast"));
    wt_budget_plan_done(&plan);
    wt_signal_free(signal);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct wt_place none = {.region = ""};
    struct wt_budget_plan plan;
    struct wt_error err = {0};
    struct wt_budget b = plain();
    assert_int_equal(wt_budget_make(&plan, &b, &none, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "--signal carbon="));
    b.total_w = 1001;
    assert_int_equal(wt_budget_make(&plan, &b, &none, &err), WT_E_USAGE);
    b = plain();
    b.step_s = 1;
    assert_int_equal(wt_budget_make(&plan, &b, &none, &err), WT_E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_read_or_refused),
        cmocka_unit_test(a_level_is_a_share_of_the_total),
        cmocka_unit_test(the_lowest_level_of_a_step_holds_in_all_of_it),
        cmocka_unit_test(what_is_set_aside_is_in_layers_of_fixed_height),
        cmocka_unit_test(no_time_is_charged_more_than_its_worst_moment),
        cmocka_unit_test(following_keeps_what_is_emitted_an_hour),
        cmocka_unit_test(what_is_not_known_is_said_and_has_its_level),
        cmocka_unit_test(beyond_a_series_that_is_too_short_nothing_is_known),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
