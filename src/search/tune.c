/* tune: a search on a job that runs - when to set, when to measure, when to look again.
 *
 * A measurement of a candidate is two readings of the same amount of work, one after the other, so
 * that the spread is known from the first one on. How much work that is, is found at the reference:
 * what it does in half a window. Work and not time is what is equal: a slow setting is measured for
 * longer. Both ends of a reading are marks of the job, so that no part of a step is counted whose
 * other part is not.
 *
 * While the choice is held, the same amount of work is measured over and over. When two in a row
 * are off what the search found by more than noise explains, the load has changed. The next search
 * comes when holding has lasted HOLD_FACTOR times as long as the last search took, so that a load
 * that changes all the time is not searched all the time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/search.h"
#include "wattune/tune.h"

#define WINDOW_NS     (4 * WT_NS_PER_S)
#define SETTLE_NS     (1 * WT_NS_PER_S)
#define TICK_NS       (300 * WT_NS_PER_MS) /* until the sensors have seen a window's end */
#define READINGS      2
#define REPEATS       2
#define CHANGE_LEAST  0.05 /* of time or energy, before the load counts as another */
#define CHANGE_NOISES 5
#define HOLD_FACTOR   5
#define STALL_FACTOR  3 /* times the expected length without a mark: the job does something else */
#define STALL_NS      (30 * WT_NS_PER_S)

enum step { STEP_START, STEP_SETTLE, STEP_MEASURE, STEP_READ };

struct reading {
    uint64_t window, work;
    int64_t span_ns;
};

struct wt_tune {
    struct wt_tune_options options;
    struct wt_tune_ops ops;
    struct wt_search **searches; /* owned; of all groups together, then of each; NULL: not begun */
    struct wt_search *search;    /* the one under way, or the last */
    enum wt_tune_stage stage;
    enum step step;
    size_t *held; /* owned; the candidate of each group */
    size_t group; /* searched now; SIZE_MAX: all together */
    size_t candidate;
    bool is_set; /* something was applied */

    uint64_t marks, unit; /* unit 0: not known yet */
    int64_t settled_ns, read_ns, last_mark_ns;
    struct reading readings[READINGS];
    size_t reading_count;
    bool is_open;
    uint64_t window, window_work;
    int64_t window_ns;

    int64_t search_ns, held_ns;          /* since when */
    double spent_s, spent_j, spent_work; /* of the search so far: measured windows alone */
    double searched_s, extra_j;
    unsigned search_count;
    double noise;                  /* of one reading, by the last search */
    double expected_s, expected_j; /* of the choice, a unit */
    unsigned off_count;
    double rest_j, rest_s;
};

static void say(struct wt_tune *t, const char *fmt, ...) WT_PRINTF(2, 3);
static void say(struct wt_tune *t, const char *fmt, ...)
{
    char text[400];
    va_list args;
    if (!t->ops.say)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    t->ops.say(t->ops.data, text);
}

/* ---- windows ---- */

static void give_up_window(struct wt_tune *t)
{
    if (t->is_open)
        t->ops.cancel(t->ops.data, t->window);
    t->is_open = false;
    for (size_t i = 0; i < t->reading_count; i++)
        t->ops.cancel(t->ops.data, t->readings[i].window);
    t->reading_count = 0;
}

static void open_window(struct wt_tune *t, int64_t t_ns, uint64_t work)
{
    t->is_open = t->ops.begin(t->ops.data, t_ns, &t->window) == 0;
    t->window_ns = t_ns;
    t->window_work = work;
}

static void settle(struct wt_tune *t, int64_t now_ns)
{
    give_up_window(t);
    t->step = STEP_SETTLE;
    t->settled_ns = now_ns + t->options.settle_ns;
    t->last_mark_ns = now_ns;
}

/* ---- setting ---- */

/* Sets a candidate in the groups that are searched now. */
static int apply(struct wt_tune *t, size_t candidate, struct wt_error *err)
{
    size_t first = t->group == SIZE_MAX ? 0 : t->group;
    size_t last = t->group == SIZE_MAX ? t->options.groups : t->group + 1;
    for (size_t g = first; g < last; g++) {
        if (t->is_set && t->held[g] == candidate)
            continue;
        int rc = t->ops.apply(t->ops.data, g, candidate, err);
        if (rc < 0)
            return rc;
        t->held[g] = candidate;
    }
    t->is_set = true;
    t->candidate = candidate;
    return 0;
}

static void end_search(struct wt_tune *t, int64_t now_ns);

/* Sets what the search asks for next; ends it when it asks for nothing. */
static void go_on(struct wt_tune *t, int64_t now_ns)
{
    size_t next;
    struct wt_error err = {0};
    while (wt_search_next(t->search, &next, NULL)) {
        bool is_there = t->is_set && t->candidate == next && t->step == STEP_READ;
        if (apply(t, next, &err) == 0) {
            if (is_there) { /* it has settled long ago */
                give_up_window(t);
                t->step = STEP_SETTLE;
                t->settled_ns = now_ns;
                t->last_mark_ns = now_ns;
            } else {
                settle(t, now_ns);
            }
            return;
        }
        say(t, "a setting is left out: %s", err.text);
        wt_search_drop(t->search, next);
    }
    end_search(t, now_ns);
}

static int begin_search(struct wt_tune *t, size_t group, size_t start, size_t reference,
                        struct wt_error *err)
{
    struct wt_search *search;
    int rc = wt_search_new(&search, &t->options.search, t->options.candidates, t->options.count,
                           reference, err);
    if (rc < 0)
        return rc;
    struct wt_search **at = &t->searches[group == SIZE_MAX ? 0 : group + 1];
    wt_search_free(*at);
    t->search = *at = search;
    wt_search_start_at(search, start);
    if (t->options.is_host_measured && t->rest_s > 0)
        wt_search_host(search, t->rest_j / t->rest_s);
    t->group = group;
    t->stage = WT_TUNE_SEARCHING;
    return 0;
}

/* ---- the end of a search ---- */

static void hold(struct wt_tune *t, int64_t now_ns)
{
    t->stage = WT_TUNE_HOLDING;
    t->held_ns = now_ns;
    t->off_count = 0;
    t->search_count++;
    t->searched_s += wt_s_from_ns(now_ns - t->search_ns);
    settle(t, now_ns);
}

/* The result of one search is applied; with groups apart the next group is searched, from where all
 * together were best. */
static void end_search(struct wt_tune *t, int64_t now_ns)
{
    struct wt_search_result r;
    struct wt_error err = {0};
    size_t choice = t->options.reference;
    if (wt_search_result(t->search, &r, &err) == 0) {
        const struct wt_search_point *p = &r.points[r.choice];
        choice = p->candidate;
        t->expected_s = p->time_s.value;
        t->expected_j = p->energy_j.value;
        t->noise = r.noise;
        wt_search_result_done(&r);
    }
    if (apply(t, choice, &err) < 0)
        say(t, "the choice could not be set: %s", err.text);
    size_t next = t->group == SIZE_MAX ? 0 : t->group + 1;
    if (t->options.groups > 1 && next < t->options.groups) {
        if (begin_search(t, next, SIZE_MAX, t->held[next], &err) == 0) {
            go_on(t, now_ns);
            return;
        }
        say(t, "%s", err.text);
    }
    if (t->spent_work > 0 && t->expected_j > 0)
        t->extra_j = (isnan(t->extra_j) ? 0 : t->extra_j) + t->spent_j -
                     t->expected_j * t->spent_work / (double)t->unit;
    t->spent_s = t->spent_j = t->spent_work = 0;
    hold(t, now_ns);
}

/* ---- measured ---- */

static bool is_off(double value, double expected, double noise)
{
    double off = fabs(log(value / expected));
    return off > fmax(CHANGE_LEAST, CHANGE_NOISES * noise);
}

/* The load is another: what is held may be wrong by now. */
static void look_again(struct wt_tune *t, int64_t now_ns)
{
    struct wt_error err = {0};
    double search_s = t->searched_s / t->search_count;
    if (wt_s_from_ns(now_ns - t->held_ns) < HOLD_FACTOR * search_s)
        return;
    say(t, "the load has changed (the same work takes other time or energy): looking again");
    size_t start = t->held[0];
    t->unit = 0;
    t->search_ns = now_ns;
    t->off_count = 0;
    if (begin_search(t, SIZE_MAX, start, t->options.reference, &err) == 0)
        go_on(t, now_ns);
    else
        say(t, "%s", err.text);
}

static void take(struct wt_tune *t, int64_t now_ns)
{
    double time_s[READINGS], energy_j[READINGS];
    size_t count = 0;
    for (size_t i = 0; i < t->reading_count; i++) {
        const struct reading *r = &t->readings[i];
        struct wt_error err = {0};
        double joules, rest = NAN, share = (double)t->unit / (double)r->work;
        int rc = t->ops.read(t->ops.data, r->window, &joules, &rest, &err);
        if (rc < 0 || !(joules > 0)) {
            if (rc < 0)
                t->ops.cancel(t->ops.data, r->window);
            say(t, "a measurement failed: %s", rc < 0 ? err.text : "no energy");
            continue;
        }
        double span_s = wt_s_from_ns(r->span_ns);
        if (!isnan(rest)) {
            t->rest_j += rest;
            t->rest_s += span_s;
        }
        t->spent_s += span_s;
        t->spent_j += joules;
        t->spent_work += (double)r->work;
        time_s[count] = span_s * share;
        energy_j[count++] = joules * share;
    }
    t->reading_count = 0;
    if (t->stage == WT_TUNE_SEARCHING) {
        if (t->options.is_host_measured && t->rest_s > 0)
            wt_search_host(t->search, t->rest_j / t->rest_s);
        for (size_t i = 0; i < count; i++)
            wt_search_tell(t->search, t->candidate, time_s[i], energy_j[i], NULL);
        if (!count)
            wt_search_drop(t->search, t->candidate);
        go_on(t, now_ns);
        return;
    }
    t->spent_s = t->spent_j = t->spent_work = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_other = is_off(time_s[i], t->expected_s, t->noise) ||
                        is_off(energy_j[i], t->expected_j, t->noise);
        t->off_count = is_other ? t->off_count + 1 : 0;
    }
    t->step = STEP_SETTLE;
    t->settled_ns = now_ns;
    if (t->off_count >= 2 * READINGS)
        look_again(t, now_ns);
}

/* ---- being told ---- */

void wt_tune_mark(struct wt_tune *tune, int64_t t_ns, uint64_t work)
{
    struct wt_tune *t = tune;
    t->marks++;
    t->last_mark_ns = t_ns;
    if (t->stage == WT_TUNE_WAITING || t->step == STEP_READ || t_ns < t->settled_ns)
        return;
    if (t->step == STEP_SETTLE) {
        t->step = STEP_MEASURE;
        open_window(t, t_ns, work);
        return;
    }
    if (t->step != STEP_MEASURE || work <= t->window_work)
        return;
    uint64_t done = work - t->window_work;
    if (t->unit ? done < t->unit : t_ns - t->window_ns < t->options.window_ns / READINGS)
        return;
    if (!t->unit)
        t->unit = done;
    if (!t->is_open || t->ops.end(t->ops.data, t->window, t_ns) < 0) {
        settle(t, t_ns);
        return;
    }
    t->is_open = false;
    t->readings[t->reading_count++] = (struct reading){t->window, done, t_ns - t->window_ns};
    if (t->reading_count < READINGS) {
        open_window(t, t_ns, work);
        return;
    }
    t->step = STEP_READ;
    t->read_ns = t_ns + TICK_NS;
}

/* A job that says nothing for long is saving a checkpoint, evaluating, or stuck: what a window over
 * that would show is not the work that others are compared by. */
static void watch_for_stall(struct wt_tune *t, int64_t now_ns)
{
    int64_t expected = t->options.window_ns;
    if (t->expected_s > 0)
        expected = (int64_t)(t->expected_s * READINGS * 1e9);
    if (t->step != STEP_MEASURE || now_ns - t->last_mark_ns < STALL_FACTOR * expected + STALL_NS)
        return;
    give_up_window(t);
    t->step = STEP_SETTLE; /* measures this candidate again once the job goes on */
    t->settled_ns = now_ns;
}

void wt_tune_tick(struct wt_tune *tune, int64_t now_ns)
{
    struct wt_tune *t = tune;
    switch (t->stage) {
    case WT_TUNE_WAITING:
        /* Two marks: it works, and not for the first time. */
        if (t->marks >= 2) {
            t->stage = WT_TUNE_SEARCHING;
            t->search_ns = now_ns;
            go_on(t, now_ns);
        }
        return;
    case WT_TUNE_SEARCHING:
    case WT_TUNE_HOLDING:
        if (t->step == STEP_READ && now_ns >= t->read_ns)
            take(t, now_ns);
        else
            watch_for_stall(t, now_ns);
        return;
    }
}

void wt_tune_end(struct wt_tune *tune)
{
    give_up_window(tune);
}

/* ---- the whole ---- */

int wt_tune_new(struct wt_tune **ret_tune, const struct wt_tune_options *options,
                const struct wt_tune_ops *ops, struct wt_error *err)
{
    struct wt_tune *t = calloc(1, sizeof(*t));
    if (!t)
        return wt_fail(err, WT_E_NOMEM, "no memory to tune");
    t->options = *options;
    t->ops = *ops;
    if (!t->options.groups)
        t->options.groups = 1;
    if (!t->options.window_ns)
        t->options.window_ns = WINDOW_NS;
    if (!t->options.settle_ns)
        t->options.settle_ns = SETTLE_NS;
    t->options.search.readings_each = READINGS;
    t->options.search.repeats_max = REPEATS;
    t->options.search.is_confirmed = true;
    t->candidate = SIZE_MAX;
    t->extra_j = NAN;
    t->held = calloc(t->options.groups, sizeof(*t->held));
    t->searches = calloc(t->options.groups + 1, sizeof(*t->searches));
    int rc = t->held && t->searches
                 ? begin_search(t, SIZE_MAX, options->start, options->reference, err)
                 : wt_fail(err, WT_E_NOMEM, "no memory to tune");
    if (rc < 0) {
        wt_tune_free(t);
        return rc;
    }
    t->stage = WT_TUNE_WAITING;
    *ret_tune = t;
    return 0;
}

void wt_tune_free(struct wt_tune *tune)
{
    if (!tune)
        return;
    for (size_t i = 0; tune->searches && i <= tune->options.groups; i++)
        wt_search_free(tune->searches[i]);
    free(tune->searches);
    free(tune->held);
    free(tune);
}

/* Of a search that is not at its end, as far as its last mark. */
static double under_way_s(const struct wt_tune *t)
{
    bool is_one = t->stage == WT_TUNE_SEARCHING && t->last_mark_ns > t->search_ns;
    return is_one ? wt_s_from_ns(t->last_mark_ns - t->search_ns) : 0;
}

void wt_tune_state(const struct wt_tune *tune, struct wt_tune_state *ret_state)
{
    *ret_state = (struct wt_tune_state){.stage = tune->stage,
                                        .candidate = tune->candidate,
                                        .searches = tune->search_count,
                                        .searched_s = tune->searched_s + under_way_s(tune),
                                        .extra_j = tune->extra_j,
                                        .groups_done = tune->options.groups > 1 &&
                                                       tune->stage == WT_TUNE_HOLDING,
                                        .held_s = tune->expected_s,
                                        .held_j = tune->expected_j,
                                        .measured = wt_search_measured(tune->search),
                                        .unit = tune->unit};
}

size_t wt_tune_group(const struct wt_tune *tune, size_t group)
{
    return tune->held[group];
}

int wt_tune_result(const struct wt_tune *tune, size_t group, struct wt_search_result *ret_result,
                   struct wt_error *err)
{
    const struct wt_search *search = tune->searches[group == SIZE_MAX ? 0 : group + 1];
    if (!search)
        return wt_fail(err, WT_E_STATE, "the job ended before this was searched");
    return wt_search_result(search, ret_result, err);
}
