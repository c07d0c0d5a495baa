/* tune: a job in virtual time, whose clock and power follow what is set - when it is measured, what
 * it costs, and what becomes of jobs that end, stall or change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/tune.h"

#define LIMITS       7
#define GROUPS       4
#define CHANGES      4096
#define WINDOWS      4096
#define TICK_STEP_NS (100 * WT_NS_PER_MS)

/* Steps of one kind of work at each limit: BERT on a V100 (bench/power-traces), and something that
 * draws little at any limit. */
static const double limits[LIMITS] = {100, 125, 150, 175, 200, 225, 250};
static const double bert_time[LIMITS] = {2.067, 1.578, 1.281, 1.119, 1.063, 1.025, 1.0};
static const double bert_power[LIMITS] = {99.4, 121.7, 146.3, 170.3, 191.1, 212.4, 228};
static const double light_time[LIMITS] = {1, 1, 1, 1, 1, 1, 1};
static const double light_power[LIMITS] = {95, 95, 95, 95, 95, 95, 95};

struct job {
    int64_t now_ns, step_ns; /* step_ns: of a step at the highest limit */
    const double *time, *power;
    size_t groups;
    size_t held[GROUPS]; /* limit of each GPU */
    double slow[GROUPS]; /* work of each GPU, relative: the slowest makes the step */
    double noise;
    uint64_t rng, steps;
    int64_t step_end_ns;
    double rest_w;
    size_t denied; /* a limit that cannot be set; LIMITS: none */
    bool is_blind; /* no energy is read */

    struct {
        int64_t t_ns;
        double watts;
    } changes[CHANGES];
    size_t change_count;
    struct {
        int64_t from_ns, to_ns;
        bool is_open;
    } windows[WINDOWS];
    size_t window_count, open_count;
    size_t applies;
    char said[2000];
};

static double random_unit(struct job *j)
{
    uint64_t z = (j->rng += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53 * 2 - 1;
}

static double step_share(const struct job *j)
{
    double slowest = 0;
    for (size_t g = 0; g < j->groups; g++)
        slowest = fmax(slowest, j->slow[g] * j->time[j->held[g]]);
    return slowest;
}

/* A GPU that waits for the slowest draws less meanwhile. */
static void note_power(struct job *j)
{
    double watts = 0, whole = step_share(j);
    for (size_t g = 0; g < j->groups; g++) {
        double busy = j->slow[g] * j->time[j->held[g]] / whole;
        watts += busy * j->power[j->held[g]] + (1 - busy) * 60;
    }
    assert_true(j->change_count < CHANGES);
    j->changes[j->change_count].t_ns = j->now_ns;
    j->changes[j->change_count++].watts = watts;
}

static double joules(const struct job *j, int64_t from_ns, int64_t to_ns)
{
    double sum = 0;
    for (size_t i = 0; i < j->change_count; i++) {
        int64_t a = j->changes[i].t_ns;
        int64_t b = i + 1 < j->change_count ? j->changes[i + 1].t_ns : to_ns;
        a = a < from_ns ? from_ns : a;
        b = b > to_ns ? to_ns : b;
        if (b > a)
            sum += j->changes[i].watts * wt_s_from_ns(b - a);
    }
    return sum;
}

static int apply(void *data, size_t group, size_t candidate, struct wt_error *err)
{
    struct job *j = data;
    if (candidate == j->denied)
        return wt_fail(err, WT_E_DENIED, "not this one");
    j->held[group] = candidate;
    j->applies++;
    note_power(j);
    return 0;
}

/* One group is all GPUs. */
static int apply_all(void *data, size_t group, size_t candidate, struct wt_error *err)
{
    struct job *j = data;
    (void)group;
    if (candidate == j->denied)
        return wt_fail(err, WT_E_DENIED, "not this one");
    for (size_t g = 0; g < j->groups; g++)
        j->held[g] = candidate;
    j->applies++;
    note_power(j);
    return 0;
}

static int begin(void *data, int64_t t_ns, uint64_t *ret_window)
{
    struct job *j = data;
    assert_true(j->window_count < WINDOWS);
    j->windows[j->window_count].from_ns = t_ns;
    j->windows[j->window_count].is_open = true;
    *ret_window = j->window_count++;
    j->open_count++;
    return 0;
}

static int end(void *data, uint64_t window, int64_t t_ns)
{
    struct job *j = data;
    j->windows[window].to_ns = t_ns;
    return 0;
}

static void cancel(void *data, uint64_t window)
{
    struct job *j = data;
    assert_true(j->windows[window].is_open);
    j->windows[window].is_open = false;
    j->open_count--;
}

static int read_window(void *data, uint64_t window, double *ret_energy_j, double *ret_rest_j,
                       struct wt_error *err)
{
    struct job *j = data;
    int64_t from_ns = j->windows[window].from_ns, to_ns = j->windows[window].to_ns;
    assert_true(to_ns > from_ns && to_ns <= j->now_ns);
    if (j->is_blind)
        return wt_fail(err, WT_E_GONE, "the card fell off the bus");
    cancel(data, window);
    *ret_energy_j = joules(j, from_ns, to_ns) * (1 + j->noise * random_unit(j));
    *ret_rest_j = j->rest_w > 0 ? j->rest_w * wt_s_from_ns(to_ns - from_ns) : (double)NAN;
    return 0;
}

static void say(void *data, const char *text)
{
    struct job *j = data;
    size_t used = strlen(j->said);
    wt_text(j->said + used, sizeof(j->said) - used, "%s\n", text);
}

struct rig {
    struct job job;
    struct wt_tune *tune;
    struct wt_candidate candidates[LIMITS];
};

static struct rig *rig_new(struct wt_tune_options *options, size_t gpus, bool is_per_gpu)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct wt_error err = {0};
    r->job = (struct job){.step_ns = 40 * WT_NS_PER_MS,
                          .time = bert_time,
                          .power = bert_power,
                          .groups = gpus,
                          .noise = 0.002,
                          .rng = 7,
                          .denied = LIMITS};
    for (size_t g = 0; g < GROUPS; g++) {
        r->job.held[g] = LIMITS - 1;
        r->job.slow[g] = 1;
    }
    note_power(&r->job);
    for (size_t i = 0; i < LIMITS; i++)
        r->candidates[i].values[0] = limits[i];
    options->candidates = r->candidates;
    options->count = LIMITS;
    options->reference = LIMITS - 1;
    options->groups = is_per_gpu ? gpus : 1;
    const struct wt_tune_ops ops = {.data = &r->job,
                                    .apply = is_per_gpu ? apply : apply_all,
                                    .begin = begin,
                                    .end = end,
                                    .cancel = cancel,
                                    .read = read_window,
                                    .say = say};
    if (wt_tune_new(&r->tune, options, &ops, &err) < 0)
        fail_msg("%s", err.text);
    return r;
}

static void rig_free(struct rig *r)
{
    wt_tune_end(r->tune);
    assert_int_equal(r->job.open_count, 0); /* no window is left behind */
    wt_tune_free(r->tune);
    free(r);
}

static struct wt_tune_options options_of(void)
{
    struct wt_tune_options o = {.start = SIZE_MAX};
    o.search.axis_count = 1;
    o.search.noise = NAN;
    snprintf(o.search.axes[0].name, sizeof(o.search.axes[0].name), "power");
    snprintf(o.search.axes[0].unit, sizeof(o.search.axes[0].unit), "W");
    o.search.axes[0].form = WT_AXIS_POWER;
    wt_goal_init(&o.search.goal);
    return o;
}

/* Lets the job run for so long: steps at their times, marks told in order, a tick ten times a
 * second. A job that `is_silent` works and tells nothing. */
static void go_on(struct rig *r, double seconds, bool is_silent)
{
    struct job *j = &r->job;
    int64_t until_ns = j->now_ns + (int64_t)(seconds * 1e9);
    int64_t tick_ns = j->now_ns + TICK_STEP_NS;
    while (j->now_ns < until_ns) {
        int64_t length =
            (int64_t)((double)j->step_ns * step_share(j) * (1 + j->noise * random_unit(j)));
        if (j->step_end_ns <= j->now_ns)
            j->step_end_ns = j->now_ns + length;
        if (j->step_end_ns <= tick_ns) {
            j->now_ns = j->step_end_ns;
            j->steps++;
            if (!is_silent)
                wt_tune_mark(r->tune, j->now_ns, j->steps);
        } else {
            j->now_ns = tick_ns;
            tick_ns += TICK_STEP_NS;
            wt_tune_tick(r->tune, j->now_ns);
        }
    }
}

static struct wt_tune_state state_of(const struct rig *r)
{
    struct wt_tune_state s;
    wt_tune_state(r->tune, &s);
    return s;
}

static void it_ends_at_the_best_and_holds_it(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 90, false);
    struct wt_tune_state s = state_of(r);
    assert_int_equal(s.stage, WT_TUNE_HOLDING);
    assert_true(limits[r->job.held[0]] == 150);
    assert_true(s.searched_s < 60);
    assert_true(s.measured <= 4);
    struct wt_search_result result;
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), 0);
    assert_true(fabs(result.time_ratio.value - 1.281) < 0.01);
    assert_true(fabs(result.energy_ratio.value - 1.281 * 146.3 / 228) < 0.01);
    assert_true(result.is_noise_known);
    wt_search_result_done(&result);
    /* What the search costs a job of half an hour, against the best from the start. */
    double best_j = 0.040 * 1.281 * 146.3;
    double extra = joules(&r->job, 0, r->job.now_ns) - best_j * (double)r->job.steps;
    assert_true(extra < 0.02 * 146.3 * 1800);
    rig_free(r);
}

static void what_is_measured_is_the_same_work_each_time(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 60, false);
    struct wt_search_result result;
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), 0);
    uint64_t unit = state_of(r).unit;
    for (size_t i = 0; i < result.reading_count; i++) {
        double t = bert_time[result.order[i]] * 0.040 * (double)unit;
        assert_true(fabs(result.order_time_s[i] / t - 1) < 0.02);
    }
    wt_search_result_done(&result);
    rig_free(r);
}

static void steps_longer_than_a_window_are_measured_whole(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    r->job.step_ns = 9 * WT_NS_PER_S;
    go_on(r, 400, false);
    assert_int_equal(state_of(r).stage, WT_TUNE_HOLDING);
    assert_int_equal(state_of(r).unit, 1);
    assert_true(limits[r->job.held[0]] == 150);
    rig_free(r);
}

static void a_job_that_ends_before_the_reference_has_no_answer(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    struct wt_search_result result;
    go_on(r, 3, false);
    wt_tune_end(r->tune);
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), WT_E_STATE);
    rig_free(r);
}

static void a_job_that_ends_in_a_probe_has_the_best_so_far(void **state)
{
    (void)state;
    for (double seconds = 6; seconds < 50; seconds += 3.7) {
        struct wt_tune_options o = options_of();
        struct rig *r = rig_new(&o, 1, false);
        struct wt_search_result result;
        go_on(r, seconds, false);
        wt_tune_end(r->tune);
        assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), 0);
        const struct wt_search_point *c = &result.points[result.choice];
        assert_true(c->energy_j.value <= result.points[result.reference].energy_j.value * 1.01);
        wt_search_result_done(&result);
        rig_free(r);
    }
}

static void a_silent_job_is_left_alone(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 60, true);
    assert_int_equal(state_of(r).stage, WT_TUNE_WAITING);
    assert_int_equal(r->job.applies, 0);
    rig_free(r);
}

static void a_stall_in_a_probe_is_measured_again(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 9, false);
    uint64_t before = r->job.window_count;
    go_on(r, 120, true); /* a checkpoint, an evaluation: nothing is told */
    assert_int_equal(r->job.window_count, before);
    go_on(r, 80, false);
    assert_int_equal(state_of(r).stage, WT_TUNE_HOLDING);
    assert_true(limits[r->job.held[0]] == 150);
    rig_free(r);
}

static void another_load_is_noticed_and_searched_again(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 60, false);
    assert_int_equal(state_of(r).searches, 1);
    go_on(r, 600, false);
    assert_int_equal(state_of(r).searches, 1); /* noise is no other load */
    r->job.time = light_time;
    r->job.power = light_power;
    note_power(&r->job);
    go_on(r, 120, false);
    assert_int_equal(state_of(r).searches, 2);
    assert_non_null(strstr(r->job.said, "looking again"));
    assert_true(limits[r->job.held[0]] == 250); /* where no limit saves, none is kept */
    rig_free(r);
}

static void a_load_that_changes_all_the_time_is_not_searched_all_the_time(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    for (int i = 0; i < 60; i++) {
        r->job.time = i % 2 ? bert_time : light_time;
        r->job.power = i % 2 ? bert_power : light_power;
        note_power(&r->job);
        go_on(r, 30, false);
    }
    struct wt_tune_state s = state_of(r);
    assert_true(s.searched_s < 0.25 * 60 * 30);
    rig_free(r);
}

static void a_setting_that_is_refused_is_left_out(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    r->job.denied = 2; /* 150 W */
    go_on(r, 90, false);
    assert_int_equal(state_of(r).stage, WT_TUNE_HOLDING);
    assert_true(limits[r->job.held[0]] == 125 || limits[r->job.held[0]] == 175);
    rig_free(r);
}

static void energy_that_cannot_be_read_finds_nothing(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 1, false);
    struct wt_search_result result;
    r->job.is_blind = true;
    go_on(r, 60, false);
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), WT_E_STATE);
    assert_true(limits[r->job.held[0]] == 250);
    assert_non_null(strstr(r->job.said, "fell off"));
    rig_free(r);
}

static void the_measured_rest_of_the_node_counts(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    o.is_host_measured = true;
    struct rig *r = rig_new(&o, 1, false);
    r->job.rest_w = 400;
    go_on(r, 90, false);
    struct wt_search_result result;
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), 0);
    assert_true(fabs(result.goal.host_w - 400) < 1);
    assert_true(limits[r->job.held[0]] >= 200);
    wt_search_result_done(&result);
    rig_free(r);
}

static void what_was_best_before_is_tried_right_after_the_reference(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    o.start = 2;
    struct rig *r = rig_new(&o, 1, false);
    go_on(r, 90, false);
    struct wt_search_result result;
    assert_int_equal(wt_tune_result(r->tune, SIZE_MAX, &result, NULL), 0);
    assert_int_equal(result.points[1].candidate, 2);
    wt_search_result_done(&result);
    rig_free(r);
}

/* One of four has a third more to do and makes the step; the others may be slower for nothing. */
static void each_gpu_its_own_keeps_the_slowest_from_being_capped_more(void **state)
{
    (void)state;
    struct wt_tune_options o = options_of();
    struct rig *r = rig_new(&o, 4, true);
    r->job.slow[2] = 1.33;
    go_on(r, 300, false);
    assert_int_equal(state_of(r).stage, WT_TUNE_HOLDING);
    for (size_t g = 0; g < 4; g++) {
        assert_int_equal(wt_tune_group(r->tune, g), r->job.held[g]);
        assert_true(r->job.held[g] <= r->job.held[2]);
    }
    assert_true(r->job.held[0] < r->job.held[2]);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_at_the_best_and_holds_it),
        cmocka_unit_test(what_is_measured_is_the_same_work_each_time),
        cmocka_unit_test(steps_longer_than_a_window_are_measured_whole),
        cmocka_unit_test(a_job_that_ends_before_the_reference_has_no_answer),
        cmocka_unit_test(a_job_that_ends_in_a_probe_has_the_best_so_far),
        cmocka_unit_test(a_silent_job_is_left_alone),
        cmocka_unit_test(a_stall_in_a_probe_is_measured_again),
        cmocka_unit_test(another_load_is_noticed_and_searched_again),
        cmocka_unit_test(a_load_that_changes_all_the_time_is_not_searched_all_the_time),
        cmocka_unit_test(a_setting_that_is_refused_is_left_out),
        cmocka_unit_test(energy_that_cannot_be_read_finds_nothing),
        cmocka_unit_test(the_measured_rest_of_the_node_counts),
        cmocka_unit_test(what_was_best_before_is_tried_right_after_the_reference),
        cmocka_unit_test(each_gpu_its_own_keeps_the_slowest_from_being_capped_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
