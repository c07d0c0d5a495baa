/* race: the formulas against references of plain loops, who goes on and who is stopped, and
 * recorded curves that are not what they should be. */
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

#include "plan/race.h"

static unsigned long long rng;

static double uniform(void)
{
    unsigned long long z = (rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static bool is_near(double a, double b, double share)
{
    return fabs(a - b) <= share * fmax(fabs(a), fabs(b));
}

static struct wt_race_options options_of(enum wt_race_rule rule)
{
    struct wt_race_options o;
    wt_race_options_init(&o, 80);
    o.rule = rule;
    o.first_share = 0.125;
    o.eta = 2;
    o.epoch_steps = 10;
    return o;
}

/* ---- the formulas ---- */

static void training_speed_is_the_papers_sums(void **state)
{
    (void)state;
    double epochs[40];
    rng = 1;
    for (size_t n = 1; n <= 40; n++) {
        for (size_t i = 0; i < n; i++)
            epochs[i] = 1 + uniform();
        struct wt_race_options o = options_of(WT_RACE_TSE);
        double tse = 0, tse_e = 0, tse_ema = 0;
        o.epochs = 3;
        for (size_t t = 1; t <= n; t++) { /* T is n */
            tse += epochs[t - 1];
            if (t + 3 > n)
                tse_e += epochs[t - 1];
            tse_ema += pow(0.999, (double)(n - t)) * epochs[t - 1];
        }
        assert_true(is_near(wt_race_score(&o, epochs, n), tse, 1e-12));
        o.rule = WT_RACE_TSE_E;
        assert_true(is_near(wt_race_score(&o, epochs, n), tse_e, 1e-12));
        o.rule = WT_RACE_TSE_EMA;
        assert_true(is_near(wt_race_score(&o, epochs, n), tse_ema, 1e-12));
        o.rule = WT_RACE_ASHA;
        assert_true(is_near(wt_race_score(&o, epochs, n), epochs[n - 1], 1e-12));
        o.rule = WT_RACE_FORECAST;
        double fall = n > 1 && epochs[n - 1] < epochs[n - 2] ? epochs[n - 2] - epochs[n - 1] : 0;
        assert_true(is_near(wt_race_score(&o, epochs, n), epochs[n - 1] - fall, 1e-12));
        assert_true(isinf(wt_race_score(&o, epochs, 0)));
    }
}

struct bs {
    double b1, b2, b3;
};

static double curve_at(struct bs b, size_t k)
{
    return 1 / (b.b1 + b.b2 * (double)k) + b.b3;
}

static double squares_of(struct bs b, const double *y, size_t n)
{
    double sum = 0;
    for (size_t k = 1; k <= n; k++)
        sum += (curve_at(b, k) - y[k - 1]) * (curve_at(b, k) - y[k - 1]);
    return sum;
}

/* The score by the formulas: mean over k > burn-in of d1 / sqrt(d2), of losses `scale` times as
 * high. */
static double score_of(struct bs b, double scale, size_t n, size_t burn_in)
{
    double sum = 0;
    for (size_t k = burn_in + 1; k <= n; k++) {
        double d1 = -b.b2 / pow(b.b1 + b.b2 * (double)k, 2);
        double d2 = -d1 * 2 * b.b2 / (b.b1 + b.b2 * (double)k);
        sum += scale * d1 / sqrt(scale * d2);
    }
    return sum / (double)(n - burn_in);
}

/* Least squares by trying: a grid of 9 x 9 x 9 about the best so far, which then shrinks. */
static struct bs search_all(const double *y, size_t n)
{
    struct bs best = {1, 0.5, 0.5};
    double least = squares_of(best, y, n);
    struct bs width = {2, 2, 0.5};
    for (int turn = 0; turn < 400; turn++) {
        struct bs middle = best;
        for (int i = 0; i < 729; i++) {
            struct bs b = {fmax(0, middle.b1 + width.b1 * (i % 9 - 4) / 4),
                           fmax(0, middle.b2 + width.b2 * (i / 9 % 9 - 4) / 4),
                           fmax(0, middle.b3 + width.b3 * (i / 81 - 4) / 4)};
            double squares = b.b1 + b.b2 > 1e-6 ? squares_of(b, y, n) : INFINITY;
            if (squares < least) {
                least = squares;
                best = b;
            }
        }
        if (memcmp(&middle, &best, sizeof(best)) == 0) {
            width.b1 *= 0.7;
            width.b2 *= 0.7;
            width.b3 *= 0.7;
        }
    }
    return best;
}

static void a_fit_finds_the_curve_that_losses_were_made_of(void **state)
{
    (void)state;
    static const struct bs made[] = {
        {1.2, 0.3, 0.4}, {0.9, 0.05, 0}, {1.1, 2, 0.5}, {3, 1, 0.7}, {1.4, 0.02, 0.1}};
    for (size_t i = 0; i < WT_COUNTOF(made); i++) {
        double losses[30], scale = 7 / curve_at(made[i], 1);
        for (size_t k = 1; k <= 30; k++)
            losses[k - 1] = scale * curve_at(made[i], k);
        struct wt_race_fit fit;
        assert_int_equal(wt_race_fit(&fit, losses, 30, NULL), 0);
        /* The fit is of the losses over their highest, the first. */
        double by = curve_at(made[i], 1);
        assert_true(is_near(fit.scale, 7, 1e-12));
        assert_true(fit.rms < 1e-6);
        assert_true(is_near(fit.b1, made[i].b1 * by, 1e-3));
        assert_true(is_near(fit.b2, made[i].b2 * by, 1e-3));
        assert_true(fabs(fit.b3 - made[i].b3 / by) < 1e-3);
        struct wt_race_options o = options_of(WT_RACE_LCGA);
        struct bs b = {made[i].b1 * by, made[i].b2 * by, made[i].b3 / by};
        assert_true(is_near(wt_race_score(&o, losses, 30), score_of(b, 7, 30, 2), 2e-3));
    }
}

static void lcga_of_noisy_losses_is_what_trying_all_finds(void **state)
{
    (void)state;
    rng = 7;
    for (int turn = 0; turn < 6; turn++) {
        struct bs b = {0.8 + uniform(), 0.05 + uniform(), 0.6 * uniform()};
        double losses[20], y[20], scale = 0;
        for (size_t k = 1; k <= 20; k++) {
            losses[k - 1] = 6 * curve_at(b, k) * (1 + 0.04 * (uniform() - 0.5));
            scale = fmax(scale, losses[k - 1]);
        }
        for (size_t k = 0; k < 20; k++)
            y[k] = losses[k] / scale;
        struct bs tried = search_all(y, 20);
        struct wt_race_fit fit;
        assert_int_equal(wt_race_fit(&fit, losses, 20, NULL), 0);
        assert_true(fit.b1 >= 0 && fit.b2 >= 0 && fit.b3 >= 0);
        struct bs fitted = {fit.b1, fit.b2, fit.b3};
        assert_true(squares_of(fitted, y, 20) <= squares_of(tried, y, 20) * (1 + 1e-6));
        assert_true(is_near(fit.rms, sqrt(squares_of(fitted, y, 20) / 20), 1e-9));
        struct wt_race_options o = options_of(WT_RACE_LCGA);
        assert_true(is_near(wt_race_score(&o, losses, 20), score_of(tried, scale, 20, 2), 0.01));
        o.epoch_cut = 20;
        o.burn_in = 5;
        assert_true(is_near(wt_race_score(&o, losses, 20), score_of(fitted, scale, 20, 5), 1e-9));
    }
}

static void a_curve_that_does_not_fall_or_is_too_short_has_no_score(void **state)
{
    (void)state;
    struct wt_race_options o = options_of(WT_RACE_LCGA);
    static const double flat[] = {5, 5, 5, 5, 5, 5}, rising[] = {5, 5.1, 5.3, 5.6, 6, 7},
                        falling[] = {5, 4, 3.5, 3.2, 3.1, 3}, negative[] = {3, 2, 1, 0, -1, -2};
    assert_true(isinf(wt_race_score(&o, flat, 6)));
    assert_true(isinf(wt_race_score(&o, rising, 6)));
    assert_true(isinf(wt_race_score(&o, negative, 6)));
    assert_true(isfinite(wt_race_score(&o, falling, 6)));
    assert_true(isinf(wt_race_score(&o, falling, 4))); /* burn-in 2 and three more */
    struct wt_race_fit fit;
    assert_int_equal(wt_race_fit(&fit, falling, 2, NULL), WT_E_USAGE);
    assert_int_equal(wt_race_fit(&fit, negative, 6, NULL), WT_E_USAGE);
}

static void rules_have_names_both_ways(void **state)
{
    (void)state;
    enum wt_race_rule rule;
    for (int i = 0; i < WT_RACE_RULES; i++) {
        assert_int_equal(wt_race_rule_from_name(wt_race_rule_name((enum wt_race_rule)i), &rule), 0);
        assert_int_equal(rule, i);
    }
    assert_int_equal(wt_race_rule_from_name("best", &rule), WT_E_NOTFOUND);
    assert_null(wt_race_rule_name((enum wt_race_rule)99));
}

/* ---- who goes on ---- */

/* Runs one turn of a trial whose loss at a step is fn's. Returns whose turn it was; SIZE_MAX: done.
 */
static size_t turn_of(struct wt_race *race, double (*fn)(size_t trial, double step), double length)
{
    size_t trial;
    double until;
    if (wt_race_next(race, &trial, &until) != WT_RACE_RUN)
        return SIZE_MAX;
    while (wt_race_trial(race, trial)->state == WT_RACE_RUNNING) {
        double step = wt_race_trial(race, trial)->step + 10;
        if (step > length) {
            wt_race_ended(race, trial);
            break;
        }
        assert_int_equal(wt_race_tell(race, trial, step, fn(trial, step), 2 * step, NULL), 0);
    }
    return trial;
}

/* Trial 0 is the best from the start, 7 the worst. */
static double in_order(size_t trial, double step)
{
    return 2 + (double)trial + 10 / step;
}

static struct wt_race *race_of(enum wt_race_rule rule, size_t count)
{
    struct wt_race_options o = options_of(rule);
    struct wt_race *race;
    assert_int_equal(wt_race_new(&race, &o, count, NULL), 0);
    return race;
}

static void half_of_a_round_goes_on(void **state)
{
    (void)state;
    /* Rungs 10, 20, 40, 80: of 8 trials 4, 2 and 1 are run beyond. */
    static const double want[] = {80, 40, 20, 20, 10, 10, 10, 10};
    for (int rule = 0; rule < WT_RACE_ASHA; rule++) { /* lcga knows nothing so early: by loss */
        struct wt_race *race = race_of((enum wt_race_rule)rule, 8);
        const double *rungs;
        assert_int_equal(wt_race_rungs(race, &rungs), 4);
        assert_true(rungs[0] == 10 && rungs[3] == 80);
        while (turn_of(race, in_order, 1000) != SIZE_MAX)
            ;
        for (size_t i = 0; i < 8; i++) {
            const struct wt_race_trial *t = wt_race_trial(race, i);
            assert_true(t->step == want[i]);
            assert_true(t->energy_j == 2 * want[i]);
            assert_int_equal(t->state, i ? WT_RACE_PAUSED : WT_RACE_FINISHED);
        }
        assert_int_equal(wt_race_winner(race), 0);
        assert_null(wt_race_trial(race, 8));
        wt_race_free(race);
    }
}

static double worst_first(size_t trial, double step)
{
    return in_order(7 - trial, step);
}

static void asha_goes_on_before_all_have_come(void **state)
{
    (void)state;
    struct wt_race *race = race_of(WT_RACE_ASHA, 8);
    assert_int_equal(turn_of(race, worst_first, 1000), 0);
    assert_int_equal(turn_of(race, worst_first, 1000), 1);
    assert_int_equal(turn_of(race, worst_first, 1000), 1); /* the better half of two */
    assert_true(wt_race_trial(race, 1)->step == 20);
    while (turn_of(race, worst_first, 1000) != SIZE_MAX)
        ;
    assert_int_equal(wt_race_winner(race), 7);
    wt_race_free(race);
    race = race_of(WT_RACE_TSE, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(turn_of(race, worst_first, 1000), i);
    assert_int_equal(turn_of(race, worst_first, 1000), 4); /* the first of the better half */
    wt_race_free(race);
}

/* Trial 3 began badly, and is the best now. */
static double late(size_t trial, double step)
{
    return trial == 3 ? (step < 40 ? 100 - step : 1) : in_order(trial, step);
}

static void the_lowest_loss_of_a_rung_goes_on_by_any_rule(void **state)
{
    (void)state;
    for (int rule = 0; rule < WT_RACE_RULES; rule++) {
        struct wt_race_options o = options_of((enum wt_race_rule)rule);
        struct wt_race *race;
        o.first_share = 0.5;
        o.eta = 8;
        assert_int_equal(wt_race_new(&race, &o, 8, NULL), 0);
        while (turn_of(race, late, 1000) != SIZE_MAX)
            ;
        assert_int_equal(wt_race_winner(race), 3);
        wt_race_free(race);
    }
}

static void a_race_of_three_by_asha_is_run_to_an_end(void **state)
{
    (void)state;
    struct wt_race_options o = options_of(WT_RACE_ASHA);
    struct wt_race *race;
    o.eta = 4; /* not one of three is a quarter */
    assert_int_equal(wt_race_new(&race, &o, 3, NULL), 0);
    while (turn_of(race, in_order, 1000) != SIZE_MAX)
        ;
    assert_int_equal(wt_race_winner(race), 0);
    assert_true(wt_race_trial(race, 1)->step == 10);
    wt_race_free(race);
}

/* The better half breaks down after the first rung. */
static double breaking(size_t trial, double step)
{
    return trial < 4 && step > 10 ? NAN : in_order(trial, step);
}

static void others_take_the_place_of_the_diverged(void **state)
{
    (void)state;
    for (int rule = 0; rule < WT_RACE_RULES; rule++) {
        struct wt_race *race = race_of((enum wt_race_rule)rule, 8);
        while (turn_of(race, breaking, 1000) != SIZE_MAX)
            ;
        assert_int_equal(wt_race_winner(race), 4);
        for (size_t i = 0; i < 4; i++)
            if (wt_race_trial(race, i)->state != WT_RACE_PAUSED) {
                assert_int_equal(wt_race_trial(race, i)->state, WT_RACE_DIVERGED);
                assert_true(isnan(wt_race_trial(race, i)->loss));
                assert_true(wt_race_trial(race, i)->step == 20);
            }
        wt_race_free(race);
    }
}

static double never(size_t trial, double step)
{
    (void)trial;
    (void)step;
    return INFINITY;
}

static void where_all_diverge_nobody_wins(void **state)
{
    (void)state;
    for (int rule = 0; rule < WT_RACE_RULES; rule++) {
        struct wt_race *race = race_of((enum wt_race_rule)rule, 4);
        size_t turns = 0;
        while (turn_of(race, never, 1000) != SIZE_MAX)
            turns++;
        assert_int_equal(turns, 4);
        assert_true(wt_race_winner(race) == SIZE_MAX);
        wt_race_free(race);
    }
}

static void a_stopped_trial_can_be_resumed(void **state)
{
    (void)state;
    struct wt_race *race = race_of(WT_RACE_TSE_E, 8);
    assert_int_equal(wt_race_resume(race, 6, NULL), WT_E_STATE);
    while (turn_of(race, in_order, 1000) != SIZE_MAX)
        ;
    assert_int_equal(wt_race_resume(race, 6, NULL), 0);
    assert_int_equal(turn_of(race, in_order, 1000), 6);
    assert_int_equal(wt_race_trial(race, 6)->state, WT_RACE_FINISHED);
    assert_true(turn_of(race, in_order, 1000) == SIZE_MAX);
    assert_int_equal(wt_race_resume(race, 0, NULL), WT_E_STATE);
    assert_int_equal(wt_race_resume(race, 8, NULL), WT_E_STATE);
    wt_race_free(race);
}

static void trials_that_end_before_any_rung_are_told_apart_by_their_last_loss(void **state)
{
    (void)state;
    for (int rule = 0; rule < WT_RACE_LCGA; rule++) {
        struct wt_race_options o = options_of((enum wt_race_rule)rule);
        struct wt_race *race;
        o.first_share = 0.5;
        assert_int_equal(wt_race_new(&race, &o, 4, NULL), 0);
        while (turn_of(race, worst_first, 30) != SIZE_MAX)
            ;
        assert_int_equal(wt_race_winner(race), 3);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(wt_race_trial(race, i)->state, WT_RACE_FINISHED);
        wt_race_free(race);
    }
    struct wt_race *race = race_of(WT_RACE_ASHA, 2);
    assert_int_equal(turn_of(race, in_order, 5), 0); /* it told of nothing */
    assert_int_equal(wt_race_trial(race, 0)->state, WT_RACE_DIVERGED);
    wt_race_free(race);
}

static void several_run_at_once_and_a_round_is_waited_for(void **state)
{
    (void)state;
    size_t trial;
    double until;
    struct wt_race *race = race_of(WT_RACE_TSE, 2);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_RUN);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_RUN);
    assert_int_equal(trial, 1);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_WAIT);
    assert_int_equal(wt_race_tell(race, 1, 10, 2, NAN, NULL), 0);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_WAIT);
    assert_int_equal(wt_race_tell(race, 0, 10, 3, NAN, NULL), 0);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_RUN);
    assert_int_equal(trial, 1);
    assert_true(until == 20);
    /* Told of a step beyond two rungs: it is there. */
    assert_int_equal(wt_race_tell(race, 1, 45, 1, NAN, NULL), 0);
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_RUN);
    assert_int_equal(trial, 1);
    assert_true(until == 80);
    wt_race_free(race);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct wt_race *race = NULL;
    struct wt_error err;
    struct wt_race_options bad[10];
    for (size_t i = 0; i < WT_COUNTOF(bad); i++)
        bad[i] = options_of(WT_RACE_TSE);
    bad[0].step_max = 0;
    bad[1].first_share = 0;
    bad[2].first_share = 1.5;
    bad[3].eta = 1;
    bad[4].epoch_steps = -1;
    bad[5].epoch_steps = 1e-9;
    bad[6].epochs = 0;
    bad[7].decay = NAN;
    bad[8].rule = (enum wt_race_rule)77;
    bad[9].step_max = INFINITY;
    for (size_t i = 0; i < WT_COUNTOF(bad); i++)
        assert_int_equal(wt_race_new(&race, &bad[i], 4, &err), WT_E_USAGE);
    struct wt_race_options o = options_of(WT_RACE_TSE);
    assert_int_equal(wt_race_new(&race, &o, 1, &err), WT_E_USAGE);
    assert_null(race);

    race = race_of(WT_RACE_TSE, 2);
    size_t trial;
    double until;
    assert_int_equal(wt_race_tell(race, 0, 1, 1, NAN, &err), WT_E_USAGE); /* not running */
    assert_int_equal(wt_race_next(race, &trial, &until), WT_RACE_RUN);
    assert_int_equal(wt_race_tell(race, 0, 1, 1, NAN, &err), 0);
    assert_int_equal(wt_race_tell(race, 0, 1, 1, NAN, &err), WT_E_USAGE); /* twice */
    assert_int_equal(wt_race_tell(race, 0, NAN, 1, NAN, &err), WT_E_USAGE);
    assert_int_equal(wt_race_tell(race, 2, 1, 1, NAN, &err), WT_E_USAGE);
    wt_race_ended(race, 5);
    wt_race_free(race);
    wt_race_free(NULL);
}

static double shape[40][3];

static double random_loss(size_t trial, double step)
{
    return step > shape[trial][2] ? NAN : shape[trial][0] + shape[trial][1] / step;
}

static void any_race_ends_with_a_finished_winner_if_one_can_finish(void **state)
{
    (void)state;
    rng = 3;
    for (int turn = 0; turn < 2000; turn++) {
        struct wt_race_options o = options_of((enum wt_race_rule)(turn % WT_RACE_RULES));
        struct wt_race *race;
        size_t count = 2 + (size_t)(uniform() * 20), turns = 0;
        bool can_finish = false;
        o.first_share = 0.05 + 0.9 * uniform();
        o.eta = 1.1 + 3 * uniform();
        for (size_t i = 0; i < count; i++) {
            shape[i][0] = uniform();
            shape[i][1] = 10 * uniform();
            shape[i][2] = uniform() < 0.5 ? 80 * uniform() : 1000;
            can_finish |= shape[i][2] >= 80;
        }
        assert_int_equal(wt_race_new(&race, &o, count, NULL), 0);
        while (turn_of(race, random_loss, 1000) != SIZE_MAX)
            assert_true(++turns < 1000);
        size_t winner = wt_race_winner(race);
        assert_int_equal(winner != SIZE_MAX, can_finish);
        for (size_t i = 0; i < count; i++)
            assert_int_not_equal(wt_race_trial(race, i)->state, WT_RACE_RUNNING);
        wt_race_free(race);
    }
}

/* ---- recorded curves ---- */

static int read_text(struct wt_race_curve *ret, const char *text, struct wt_error *err)
{
    bool has_energy;
    FILE *in = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    assert_non_null(in);
    int rc = wt_race_curve_parse(ret, &has_energy, in, "loss", "a.csv", err);
    fclose(in);
    return rc;
}

static void a_file_that_is_no_curve_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"# nothing\n", "a.csv: it is empty"},
        {"step,loss\n", "a header and no rows"},
        {"step,accuracy\n1,2\n", "the header lacks loss"},
        {"loss\n2\n", "the header lacks step"},
        {"step,loss,loss\n1,2,3\n", ":1: the column loss is there twice"},
        {"1,2\n2,1\n", "the header lacks step"},
        {"step,loss\n1,5\n1,4\n", "a.csv:3: step 1 after step 1"},
        {"step,loss\n5,5\n\n# c\n4,4\n", "a.csv:5: step 4 after step 5"},
        {"step,loss\n0,5\n", "step 0 after step 0"},
        {"step,loss\nnan,5\n", "\"nan\" is no number"},
        {"step,loss\n1,\n", "a.csv:2: \"\" is no number"},
        {"step,loss\n1,5 W\n", "\"5 W\" is no number"},
        {"step,loss\n1,5,6\n", "3 fields where the header has 2"},
        {"step,loss\n1\n", "1 fields where the header has 2"},
        {"step,loss,energy_j\n1,5,-1\n", "energy_j is -1"},
        {"step,loss,energy_j\n1,5,9\n2,4,8\n", "a.csv:3: energy_j is 8 after 9"},
    };
    for (size_t i = 0; i < WT_COUNTOF(cases); i++) {
        struct wt_race_curve curve;
        struct wt_error err = {0};
        assert_int_equal(read_text(&curve, cases[i].text, &err), WT_E_FORMAT);
        if (!strstr(err.text, cases[i].said))
            fail_msg("%s: said %s", cases[i].said, err.text);
    }
}

static void a_curve_ends_where_its_loss_is_no_number(void **state)
{
    (void)state;
    struct wt_race_curve curve;
    assert_int_equal(
        read_text(&curve, "\xef\xbb\xbfstep, other, Loss\n1,x,5\n2,y,NaN\n3,z,4\n", NULL), 0);
    assert_int_equal(curve.count, 2);
    assert_true(curve.is_diverged);
    assert_true(curve.costs[1] == 2);
    wt_race_curve_done(&curve);
    assert_int_equal(read_text(&curve, "step,loss\n1,5\n2,-inf\n", NULL), 0);
    assert_true(curve.is_diverged);
    wt_race_curve_done(&curve);
}

/* A fresh folder with these files, NULL at the end; name, text, name, text. */
static void folder_of(char *folder, size_t size, const char *const *files)
{
    snprintf(folder, size, "/tmp/wattune-race-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (; *files; files += 2) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder, files[0]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(files[1], f);
        fclose(f);
    }
}

static int read_folder(struct wt_race_curves *ret, const char *const *files, struct wt_error *err)
{
    char folder[64];
    folder_of(folder, sizeof(folder), files);
    int rc = wt_race_curves_read(ret, folder, NULL, err);
    assert_int_equal(wt_fs_remove_tree(folder, NULL), 0);
    return rc;
}

static void a_folder_without_two_curves_is_refused(void **state)
{
    (void)state;
    struct wt_race_curves curves;
    struct wt_error err = {0};
    static const char *const none[] = {"README.md", "no curve", NULL};
    static const char *const one[] = {"a.csv", "step,loss\n1,2\n", NULL};
    assert_int_equal(wt_race_curves_read(&curves, "/nonexistent/race", NULL, &err), WT_E_NOTFOUND);
    assert_int_equal(read_folder(&curves, none, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "no .csv file"));
    assert_non_null(strstr(err.fix, "step,loss"));
    assert_int_equal(read_folder(&curves, one, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "one curve"));
}

static void energies_that_not_all_have_are_used_of_none(void **state)
{
    (void)state;
    struct wt_race_curves curves;
    static const char *const mixed[] = {"a.csv", "step,loss,energy_j\n1,2,30\n5,1,90\n", "b.csv",
                                        "step,loss\n1,2\n4,1\n", NULL};
    assert_int_equal(read_folder(&curves, mixed, NULL), 0);
    assert_false(curves.has_energy);
    assert_int_equal(curves.lacking, 1);
    assert_int_equal(curves.lacks, 1);
    assert_true(fabs(curves.curves[0].costs[1] - 5) < 1e-12);
    assert_true(fabs(curves.curves[1].costs[1] - 4) < 1e-12);
    wt_race_curves_done(&curves);
}

/* A long one, a short one that ends as the best, one that diverges. */
static const char *const unlike[] = {
    "long.csv",  "step,loss,energy_j\n1,9,1\n2,8,2\n3,7,3\n4,6,4\n5,5,5\n6,4,6\n7,3.5,7\n8,3,8\n",
    "short.csv", "step,loss,energy_j\n1,5,10\n2,2,20\n",
    "wild.csv",  "step,loss,energy_j\n1,6,1\n2,7,2\n3,nan,3\n4,1,4\n",
    NULL};

static void curves_of_different_length_race_to_their_own_ends(void **state)
{
    (void)state;
    struct wt_race_curves curves;
    assert_int_equal(read_folder(&curves, unlike, NULL), 0);
    assert_int_equal(curves.count, 3);
    assert_true(curves.has_energy);
    for (int rule = 0; rule < WT_RACE_RULES; rule++)
        for (uint64_t seed = 1; seed < 20; seed++) {
            struct wt_race_options o = options_of((enum wt_race_rule)rule);
            struct wt_race_replayed r;
            o.epoch_steps = 0;
            assert_int_equal(wt_race_replay(&r, &curves, &o, 0, seed, NULL), 0);
            assert_int_equal(r.best, 1);
            assert_int_equal(r.winner, 1);
            assert_true(r.regret == 0);
            assert_true(r.full == 8 + 20 + 3);
            assert_true(r.rungs[r.rung_count - 1] == 8); /* the longest is a whole trial */
            double spent = 0;
            for (size_t i = 0; i < r.count; i++)
                spent += r.trials[i].energy_j;
            assert_true(is_near(spent, r.spent, 1e-12) && r.spent <= r.full);
            wt_race_replayed_done(&r);
        }
    wt_race_curves_done(&curves);
}

static void a_loss_below_zero_is_no_gain_on_the_best(void **state)
{
    (void)state;
    /* The lower one begins the worse, and all rungs but the first come too late for it. */
    static const char *const below[] = {"a.csv", "step,loss\n1,1\n10,-1\n", "b.csv",
                                        "step,loss\n1,9\n10,-2\n", NULL};
    struct wt_race_curves curves;
    struct wt_race_replayed r;
    struct wt_race_options o = options_of(WT_RACE_TSE);
    o.epoch_steps = 0;
    o.first_share = 0.1;
    assert_int_equal(read_folder(&curves, below, NULL), 0);
    assert_int_equal(wt_race_replay(&r, &curves, &o, 0, 1, NULL), 0);
    assert_int_equal(r.winner, 0);
    assert_int_equal(r.best, 1);
    assert_true(is_near(r.regret, 0.5, 1e-12));
    wt_race_replayed_done(&r);
    wt_race_curves_done(&curves);
}

static void where_every_curve_diverges_there_is_no_winner(void **state)
{
    (void)state;
    static const char *const wild[] = {"a.csv", "step,loss\n1,nan\n", "b.csv",
                                       "step,loss\n1,3\n2,inf\n", NULL};
    struct wt_race_curves curves;
    struct wt_race_replayed r;
    struct wt_error err = {0};
    struct wt_race_options o = options_of(WT_RACE_TSE);
    assert_int_equal(read_folder(&curves, wild, NULL), 0);
    assert_int_equal(wt_race_replay(&r, &curves, &o, 0, 1, &err), WT_E_STATE);
    assert_non_null(strstr(err.text, "all 2 trials diverged"));
    assert_int_equal(wt_race_replay(&r, &curves, &o, 3, 1, &err), WT_E_USAGE);
    assert_int_equal(wt_race_replay(&r, &curves, &o, 1, 1, &err), WT_E_USAGE);
    wt_race_curves_done(&curves);
}

static void the_real_curves_are_a_hundred_and_a_seed_is_a_race(void **state)
{
    (void)state;
    struct wt_race_curves curves;
    struct wt_race_options o;
    struct wt_race_replayed a, b;
    struct wt_race_risk risk, one;
    assert_int_equal(wt_race_curves_read(&curves, WT_TEST_DATA "/race", NULL, NULL), 0);
    assert_int_equal(curves.count, 100);
    assert_false(curves.has_energy);
    wt_race_options_init(&o, 0);
    assert_int_equal(wt_race_replay(&a, &curves, &o, 24, 5, NULL), 0);
    assert_int_equal(wt_race_replay(&b, &curves, &o, 24, 5, NULL), 0);
    assert_int_equal(a.count, 24);
    assert_memory_equal(a.order, b.order, a.count * sizeof(*a.order));
    assert_true(a.spent == b.spent && a.winner == b.winner);
    for (size_t i = 0; i < a.count; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(a.order[i] != a.order[k]);
    wt_race_replayed_done(&b);
    assert_int_equal(wt_race_replay(&b, &curves, &o, 24, 6, NULL), 0);
    assert_memory_not_equal(a.order, b.order, a.count * sizeof(*a.order));
    /* A risk is what its races came to. */
    assert_int_equal(wt_race_judge(&risk, &curves, &o, 24, 5, 2, 0.01, NULL), 0);
    assert_true(is_near(risk.saving, 1 - (a.spent + b.spent) / (a.full + b.full), 1e-12));
    assert_true(is_near(risk.regret, (a.regret + b.regret) / 2, 1e-12));
    assert_true(risk.regret_max == fmax(a.regret, b.regret));
    assert_int_equal(wt_race_judge(&one, &curves, &o, 24, 5, 0, 0.01, NULL), WT_E_USAGE);
    wt_race_replayed_done(&a);
    wt_race_replayed_done(&b);
    wt_race_curves_done(&curves);
}

static void without_rungs_all_are_run_and_the_best_wins(void **state)
{
    (void)state;
    struct wt_race_curves curves;
    struct wt_race_options o;
    struct wt_race_risk risk;
    assert_int_equal(wt_race_curves_read(&curves, WT_TEST_DATA "/race", "train_loss", NULL), 0);
    wt_race_options_init(&o, 0);
    o.first_share = 1;
    assert_int_equal(wt_race_judge(&risk, &curves, &o, 20, 1, 20, 0.01, NULL), 0);
    assert_true(risk.won_share == 1 && risk.near_share == 1);
    assert_true(risk.saving == 0 && risk.regret_max == 0);
    wt_race_curves_done(&curves);
}

/* Two of ten steps, 1 J each; the stopped one came to 4, and 3 were run again for 5 J. */
static void what_was_run_again_is_spent_and_taken_off_what_was_saved(void **state)
{
    (void)state;
    struct wt_raced_trial trials[2] = {
        {.state = WT_RACE_FINISHED, .step = 10, .loss = 1, .energy = {10, 9, 11, WT_PROV_SAMPLED}},
        {.state = WT_RACE_PAUSED, .step = 4, .loss = 2, .energy = {9, 8, 10, WT_PROV_SAMPLED}},
    };
    trials[1].again = 3;
    trials[1].again_j = 5;
    trials[1].step_j = 1;
    trials[0].final_loss = trials[0].full_j = NAN;
    trials[1].final_loss = 2;
    trials[1].full_j = 10; /* of one training */
    struct wt_raced raced = {.trials = trials, .count = 2};
    wt_race_options_init(&raced.options, 10);
    for (int i = 0; i < 2; i++) {
        raced.is_verified = i == 1;
        wt_raced_sum_up(&raced);
        assert_true(raced.steps == 17 && raced.steps_again == 3 && raced.steps_full == 20);
        assert_true(raced.spent_j == 19 && raced.saved_j == 1);
        assert_true(fabs(raced.saving - 1.0 / 20) < 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_speed_is_the_papers_sums),
        cmocka_unit_test(a_fit_finds_the_curve_that_losses_were_made_of),
        cmocka_unit_test(lcga_of_noisy_losses_is_what_trying_all_finds),
        cmocka_unit_test(a_curve_that_does_not_fall_or_is_too_short_has_no_score),
        cmocka_unit_test(rules_have_names_both_ways),
        cmocka_unit_test(half_of_a_round_goes_on),
        cmocka_unit_test(asha_goes_on_before_all_have_come),
        cmocka_unit_test(the_lowest_loss_of_a_rung_goes_on_by_any_rule),
        cmocka_unit_test(a_race_of_three_by_asha_is_run_to_an_end),
        cmocka_unit_test(others_take_the_place_of_the_diverged),
        cmocka_unit_test(where_all_diverge_nobody_wins),
        cmocka_unit_test(a_stopped_trial_can_be_resumed),
        cmocka_unit_test(trials_that_end_before_any_rung_are_told_apart_by_their_last_loss),
        cmocka_unit_test(several_run_at_once_and_a_round_is_waited_for),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(any_race_ends_with_a_finished_winner_if_one_can_finish),
        cmocka_unit_test(a_file_that_is_no_curve_is_refused_with_its_line),
        cmocka_unit_test(a_curve_ends_where_its_loss_is_no_number),
        cmocka_unit_test(a_folder_without_two_curves_is_refused),
        cmocka_unit_test(energies_that_not_all_have_are_used_of_none),
        cmocka_unit_test(curves_of_different_length_race_to_their_own_ends),
        cmocka_unit_test(a_loss_below_zero_is_no_gain_on_the_best),
        cmocka_unit_test(where_every_curve_diverges_there_is_no_winner),
        cmocka_unit_test(the_real_curves_are_a_hundred_and_a_seed_is_a_race),
        cmocka_unit_test(without_rungs_all_are_run_and_the_best_wins),
        cmocka_unit_test(what_was_run_again_is_spent_and_taken_off_what_was_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
