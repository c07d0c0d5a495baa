/* budget: the steps of a power budget that follows signals, and the layers that are set aside for
 * it. Knows nothing of Slurm but how it counts (wattune/budget.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"
#include "wattune/budget.h"

#define STEPS_MAX 1000
#define GRAIN     20 /* of --follow: twentieths, 5 % */

int wt_budget_level_parse(double *ret_share, const char *text, double total_w, struct wt_error *err)
{
    static const struct {
        const char *unit;
        double watts; /* 0: hundredths of the total */
    } units[] = {{"%", 0}, {"kW", 1e3}, {"MW", 1e6}, {"W", 1}};
    size_t len = strlen(text);
    for (size_t i = 0; i < WT_COUNTOF(units); i++) {
        char digits[32];
        double value;
        size_t tail = strlen(units[i].unit);
        if (len <= tail || len - tail >= sizeof(digits) ||
            strcmp(text + len - tail, units[i].unit) != 0)
            continue;
        wt_text(digits, sizeof(digits), "%.*s", (int)(len - tail), text);
        if (wt_text_to_double(digits, &value) < 0 || value < 0)
            break;
        double share = units[i].watts > 0 ? value * units[i].watts / total_w : value / 100;
        if (!(share <= 1))
            return wt_fail(err, WT_E_USAGE, "\"%.80s\": is more than the total of %.0f W", text,
                           total_w);
        *ret_share = share;
        return 0;
    }
    return wt_fail(err, WT_E_USAGE, "\"%.80s\": is no level, such as 60%% or 12kW", text);
}

int wt_budget_rule_parse(struct wt_budget_rule *ret_rule, const char *text, double total_w,
                         struct wt_error *err)
{
    struct wt_budget_rule rule = {0};
    const char *colon = strchr(text, ':'), *at = colon ? colon + 1 : "";
    char level[40], name[16];
    size_t len = strcspn(at, "<>");
    if (!colon || (size_t)(colon - text) >= sizeof(level) || !at[len] || len >= sizeof(name))
        goto bad;
    wt_text(level, sizeof(level), "%.*s", (int)(colon - text), text);
    wt_text(name, sizeof(name), "%.*s", (int)len, at);
    rule.is_above = at[len] == '>';
    if (wt_signal_kind_from_name(name, &rule.kind) < 0 ||
        wt_text_to_double(at + len + 1, &rule.limit) < 0)
        goto bad;
    int rc = wt_budget_level_parse(&rule.share, level, total_w, err);
    if (rc < 0)
        return rc;
    *ret_rule = rule;
    return 0;
bad:
    return wt_fail(err, WT_E_USAGE, "\"%.80s\": is not LEVEL:SIGNAL>N, such as 60%%:carbon>400",
                   text);
}

static bool is_counted(const struct wt_budget *b, enum wt_signal_kind kind)
{
    bool is = b->is_following && b->followed == kind;
    for (size_t i = 0; i < b->rule_count; i++)
        is |= b->rules[i].kind == kind;
    return is;
}

/* The share that one value allows. */
static double share_of(const struct wt_budget *b, enum wt_signal_kind kind, double value)
{
    double share = 1;
    for (size_t i = 0; i < b->rule_count; i++) {
        const struct wt_budget_rule *r = &b->rules[i];
        if (r->kind == kind && (r->is_above ? value > r->limit : value < r->limit))
            share = fmin(share, r->share);
    }
    if (b->is_following && b->followed == kind && value > b->follow_limit) {
        /* 0.6 x 20 may come out as 11.999... */
        double followed = floor(b->follow_limit / value * GRAIN + 1e-9) / GRAIN;
        share = fmin(share, fmax(followed, b->floor_share));
    }
    return share;
}

static uint64_t watts_of(const struct wt_budget *b, double share)
{
    return (uint64_t)floor((double)b->total_w * share + 1e-6);
}

/* The least that holds anywhere in a step. */
static void fill_step(const struct wt_budget *b, const struct wt_place *place,
                      struct wt_budget_step *step)
{
    double least = 1;
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        double worst = 2;
        step->value[k] = NAN;
        if (!place->signals[k] || !is_counted(b, (enum wt_signal_kind)k))
            continue;
        for (int64_t t = step->start_s, until; t < step->end_s; t = until) {
            double value = NAN, share = b->unknown_share;
            enum wt_signal_state state = wt_signal_at(place->signals[k], t, &value, &until);
            if (state == WT_SIGNAL_UNKNOWN)
                step->is_unknown = true;
            else
                share = share_of(b, (enum wt_signal_kind)k, value);
            step->is_forecast |= state == WT_SIGNAL_FORECAST;
            if (share < worst) {
                worst = share;
                step->value[k] = state == WT_SIGNAL_UNKNOWN ? NAN : value;
            }
            if (until <= t)
                break;
        }
        least = fmin(least, worst);
    }
    step->watts = watts_of(b, least);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Heights at which what is set aside is cut: of all levels that the budget may ever have, so that
 * they stay while its signals move. */
static size_t cut_heights(const struct wt_budget *b, uint64_t *heights)
{
    size_t n = 0, kept = 0;
    heights[n++] = b->licensed_w - watts_of(b, 1);
    heights[n++] = b->licensed_w - watts_of(b, b->unknown_share);
    for (size_t i = 0; i < b->rule_count; i++)
        heights[n++] = b->licensed_w - watts_of(b, b->rules[i].share);
    for (int i = 0; b->is_following && i < GRAIN; i++)
        heights[n++] = b->licensed_w - watts_of(b, fmax((double)i / GRAIN, b->floor_share));
    qsort(heights, n, sizeof(*heights), compare);
    for (size_t i = 0; i < n; i++)
        if (heights[i] > (kept ? heights[kept - 1] : 0))
            heights[kept++] = heights[i];
    return kept;
}

static int put_layers(const struct wt_budget *b, struct wt_budget_plan *plan)
{
    uint64_t heights[WT_BUDGET_RULES + GRAIN + 2], below = 0;
    size_t count = cut_heights(b, heights);
    plan->layers = calloc(count ? count : 1, sizeof(*plan->layers));
    if (!plan->layers)
        return WT_E_NOMEM;
    for (size_t h = 0; h < count; below = heights[h++]) {
        struct wt_budget_layer layer = {.below_w = below, .up_to_w = heights[h]};
        bool is_open = false;
        for (size_t i = 0; i < plan->step_count; i++) {
            const struct wt_budget_step *s = &plan->steps[i];
            bool is_aside = b->licensed_w - s->watts >= heights[h];
            if (is_open && !is_aside)
                break;
            if (!is_open && is_aside)
                layer.start_s = s->start_s;
            is_open |= is_aside;
            if (is_aside)
                layer.end_s = s->end_s;
        }
        if (is_open)
            plan->layers[plan->layer_count++] = layer;
    }
    return 0;
}

static int look_ahead(const struct wt_budget *b, const struct wt_place *place,
                      struct wt_budget_plan *plan, struct wt_error *err)
{
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        enum wt_signal_kind kind = (enum wt_signal_kind)k;
        struct wt_signal_forecast f = {0};
        struct wt_error why = {0};
        char until[32];
        if (!is_counted(b, kind))
            continue;
        if (!place->signals[k])
            return wt_fail(err, WT_E_USAGE, "a level goes by %s, and there is no --signal %s=",
                           wt_signal_kind_name(kind), wt_signal_kind_name(kind));
        int64_t end_s = wt_signal_info(place->signals[k]).end_s;
        int rc = wt_signal_forecast(place->signals[k], b->until_s, &f, &why);
        if (rc == WT_E_NOMEM)
            return wt_fail(err, rc, "no memory for a forecast");
        if (rc < 0)
            rc = WT_NOTE(plan, NULL, "%s is not known from %s on, and cannot be forecast: %s",
                         wt_signal_kind_name(kind), wt_moment_text(until, sizeof(until), end_s),
                         why.text);
        else if (f.to_s > f.from_s && f.trials)
            rc =
                WT_NOTE(plan, NULL, "%s from %s on is a forecast; such were off by %.3g on average",
                        wt_signal_kind_name(kind), wt_moment_text(until, sizeof(until), f.from_s),
                        f.mean_abs);
        else if (f.to_s > f.from_s)
            rc = WT_NOTE(plan, NULL, "%s from %s on is a forecast, and how good it is is not known",
                         wt_signal_kind_name(kind), wt_moment_text(until, sizeof(until), f.from_s));
        if (rc < 0)
            return wt_fail(err, WT_E_NOMEM, "no memory for a budget");
    }
    return 0;
}

int wt_budget_make(struct wt_budget_plan *ret_plan, const struct wt_budget *b,
                   const struct wt_place *place, struct wt_error *err)
{
    struct wt_budget_plan plan = {0};
    if (b->total_w > b->licensed_w)
        return wt_fail(err, WT_E_USAGE,
                       "a total of %llu W is more than the %llu W that there are licences of",
                       (unsigned long long)b->total_w, (unsigned long long)b->licensed_w);
    if (b->step_s <= 0 || b->until_s <= b->now_s ||
        (b->until_s - b->now_s) / b->step_s >= STEPS_MAX)
        return wt_fail(err, WT_E_RANGE, "more than %d steps: longer ones, or a nearer horizon",
                       STEPS_MAX);
    int rc = look_ahead(b, place, &plan, err);
    if (rc < 0)
        goto out;
    rc = wt_fail(err, WT_E_NOMEM, "no memory for a budget");
    plan.steps = calloc(STEPS_MAX + 2, sizeof(*plan.steps));
    if (!plan.steps)
        goto out;
    for (int64_t t = b->now_s; t < b->until_s;) {
        struct wt_budget_step *step = &plan.steps[plan.step_count++];
        step->start_s = t;
        step->end_s = t = (wt_floor_div(t, b->step_s) + 1) * b->step_s;
        fill_step(b, place, step);
    }
    bool is_unknown = false;
    for (size_t i = 0; i < plan.step_count; i++)
        is_unknown |= plan.steps[i].is_unknown;
    if ((is_unknown && WT_NOTE(&plan, NULL, "where a signal is not known the budget is %llu W",
                               (unsigned long long)watts_of(b, b->unknown_share)) < 0) ||
        put_layers(b, &plan) < 0)
        goto out;
    *ret_plan = plan;
    plan = (struct wt_budget_plan){0};
    if (err)
        *err = (struct wt_error){0};
    rc = 0;
out:
    wt_budget_plan_done(&plan);
    return rc;
}

void wt_budget_plan_done(struct wt_budget_plan *plan)
{
    free(plan->steps);
    free(plan->layers);
    free(plan->notes);
    *plan = (struct wt_budget_plan){0};
}
