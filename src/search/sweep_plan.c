/* sweep_plan: what the runs of a sweep have in common, as the text that each of them keeps; whether
 * a sweep can go on; and how long one will take. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "search/sweep.h"

/* ---- as JSON ---- */

static json_t *axis_json(const struct wt_sweep_axis *axis)
{
    json_t *values = json_array(), *needs = axis->needs ? json_array() : json_null();
    for (size_t i = 0; i < axis->value_count; i++) {
        json_array_append_new(values, wt_json_text(axis->values[i]));
        if (axis->needs)
            json_array_append_new(needs, wt_json_number(axis->needs[i]));
    }
    bool is_whole = json_array_size(values) == axis->value_count &&
                    (!axis->needs || json_array_size(needs) == axis->value_count);
    json_t *doc = json_pack("{s:o, s:b, s:o, s:o}", "name", wt_json_text(axis->name), "is_param",
                            axis->is_param, "values", values, "needs", needs);
    if (is_whole)
        return doc;
    json_decref(doc);
    return NULL;
}

static json_t *plan_json(const struct wt_sweep_plan *plan)
{
    json_t *axes = json_array();
    for (size_t i = 0; i < plan->axis_count; i++)
        json_array_append_new(axes, axis_json(&plan->axes[i]));
    if (json_array_size(axes) != plan->axis_count) {
        json_decref(axes);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o, s:I, s:i, s:i, s:o, s:o, s:o}", "command",
                     wt_json_text(plan->command), "axes", axes, "reference",
                     plan->reference[0] ? wt_json_text(plan->reference) : json_null(), "seed",
                     (json_int_t)plan->seed, "repeats", (int)plan->repeats, "repeats_max",
                     (int)plan->repeats_max, "precision", wt_json_number(plan->precision),
                     "settle_s", wt_json_number(plan->settle_s), "goal", wt_goal_json(&plan->goal));
}

char *wt_sweep_plan_to_json(const struct wt_sweep_plan *plan)
{
    json_t *doc = plan_json(plan);
    char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    return text;
}

/* ---- out of JSON ---- */

static double number_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double number_or(const json_t *object, const char *key, double other)
{
    double value = number_at(object, key);
    return isnan(value) ? other : value;
}

static unsigned count_at(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 && value < 1000000 ? (unsigned)value : 0;
}

static void read_goal(struct wt_goal *goal, const json_t *doc)
{
    const char *name = json_string_value(json_object_get(doc, "objective"));
    wt_goal_init(goal);
    if (name)
        wt_objective_from_name(name, &goal->objective); /* one that is not known is energy */
    goal->slowdown_max = number_at(doc, "max_slowdown");
    goal->power_max_w = number_at(doc, "max_power_w");
    goal->host_w = number_or(doc, "host_w", 0);
    goal->price_kwh = number_or(doc, "price_kwh", 0);
    goal->price_hour = number_or(doc, "price_hour", 0);
    goal->carbon_g_kwh = number_or(doc, "carbon_g_per_kwh", 0);
    goal->eta = number_or(doc, "eta", goal->eta);
    goal->eta_power_w = number_or(doc, "eta_power_w", 0);
}

/* True when it is an axis; what was read so far is freed by wt_sweep_plan_done(). */
static bool read_axis(struct wt_sweep_axis *axis, const json_t *doc)
{
    const char *name = json_string_value(json_object_get(doc, "name")), *text;
    const json_t *values = json_object_get(doc, "values"), *needs = json_object_get(doc, "needs");
    size_t count = json_array_size(values);
    if (!name || !count)
        return false;
    wt_text(axis->name, sizeof(axis->name), "%s", name);
    axis->is_param = json_is_true(json_object_get(doc, "is_param"));
    axis->values = calloc(count, sizeof(*axis->values));
    for (; axis->values && axis->value_count < count; axis->value_count++) {
        text = json_string_value(json_array_get(values, axis->value_count));
        if (!text || !(axis->values[axis->value_count] = strdup(text)))
            break;
    }
    if (axis->value_count < count || !json_is_array(needs))
        return axis->value_count == count;
    axis->needs = calloc(count, sizeof(*axis->needs));
    for (size_t i = 0; axis->needs && i < count; i++) {
        axis->needs[i] = json_number_value(json_array_get(needs, i));
        if (!(axis->needs[i] > 0))
            return false;
    }
    return axis->needs != NULL;
}

int wt_sweep_plan_from_json(struct wt_sweep_plan *ret_plan, const char *text, struct wt_error *err)
{
    struct wt_sweep_plan plan = {0};
    json_t *doc = json_loads(text, 0, NULL);
    const json_t *axes = json_object_get(doc, "axes");
    const char *command = json_string_value(json_object_get(doc, "command"));
    bool is_one = command && json_is_array(axes) && json_array_size(axes) <= WT_SWEEP_AXES;
    wt_text(plan.command, sizeof(plan.command), "%s", command ? command : "");
    const char *reference = json_string_value(json_object_get(doc, "reference"));
    wt_text(plan.reference, sizeof(plan.reference), "%s", reference ? reference : "");
    plan.seed = (uint64_t)json_integer_value(json_object_get(doc, "seed"));
    plan.repeats = count_at(doc, "repeats");
    plan.repeats_max = count_at(doc, "repeats_max");
    plan.precision = number_at(doc, "precision");
    plan.settle_s = number_or(doc, "settle_s", 0);
    read_goal(&plan.goal, json_object_get(doc, "goal"));
    for (; is_one && plan.axis_count < json_array_size(axes); plan.axis_count++)
        is_one = read_axis(&plan.axes[plan.axis_count], json_array_get(axes, plan.axis_count));
    json_decref(doc);
    if (!is_one) {
        wt_sweep_plan_done(&plan);
        return wt_fail(err, WT_E_FORMAT, "what a run keeps of its sweep's plan is no plan");
    }
    *ret_plan = plan;
    return 0;
}

void wt_sweep_plan_done(struct wt_sweep_plan *plan)
{
    for (size_t i = 0; i < WT_SWEEP_AXES; i++) {
        for (size_t k = 0; k < plan->axes[i].value_count; k++)
            free(plan->axes[i].values[k]);
        free(plan->axes[i].values);
        free(plan->axes[i].needs);
    }
    memset(plan, 0, sizeof(*plan));
}

/* ---- going on ---- */

/* "power=100,150; batch=8,16", as far as it goes. */
static void axes_text(const struct wt_sweep_plan *plan, char *buf, size_t size)
{
    wt_text(buf, size, "%s", plan->axis_count ? "" : "none");
    for (size_t i = 0; i < plan->axis_count; i++) {
        const struct wt_sweep_axis *axis = &plan->axes[i];
        for (size_t k = 0; k < axis->value_count; k++) {
            size_t used = strlen(buf);
            wt_text(buf + used, size - used, "%s%s%s%s", i && !k ? "; " : "", k ? "," : axis->name,
                    k ? "" : "=", axis->values[k]);
        }
    }
}

static bool is_same_axis(const struct wt_sweep_axis *a, const struct wt_sweep_axis *b)
{
    bool is_same = strcmp(a->name, b->name) == 0 && a->is_param == b->is_param &&
                   a->value_count == b->value_count;
    for (size_t i = 0; is_same && i < a->value_count; i++)
        is_same = strcmp(a->values[i], b->values[i]) == 0;
    return is_same;
}

int wt_sweep_plan_check(const struct wt_sweep_plan *stored, const struct wt_sweep_plan *now,
                        struct wt_error *err)
{
    bool is_same = stored->axis_count == now->axis_count;
    for (size_t i = 0; is_same && i < now->axis_count; i++)
        is_same = is_same_axis(&stored->axes[i], &now->axes[i]);
    if (strcmp(stored->command, now->command) != 0)
        return wt_fail(err, WT_E_CHANGED, "its command was `%.180s`, and now it is `%.180s`",
                       stored->command, now->command);
    if (!is_same) {
        char before[180], after[180];
        axes_text(stored, before, sizeof(before));
        axes_text(now, after, sizeof(after));
        return wt_fail(err, WT_E_CHANGED, "its settings were %s, and now they are %s", before,
                       after);
    }
    return 0;
}

/* ---- how long ---- */

static bool is_done(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && run->exit_code == 0 && run->wall_s > 0;
}

static bool is_of(const struct wt_run *run, const struct wt_sweep_point *point,
                  const char *emulation)
{
    return is_done(run) && strcmp(run->command, point->command) == 0 &&
           strcmp(run->emulation, emulation) == 0;
}

/* The newest run of any of these commands: its sweep is the one to go by. */
static const struct wt_run *newest_of(const struct wt_sweep_point *points, size_t count,
                                      const struct wt_run *runs, size_t run_count,
                                      const char *emulation)
{
    for (size_t i = 0; i < run_count; i++)
        for (size_t k = 0; k < count; k++)
            if (is_of(&runs[i], &points[k], emulation))
                return &runs[i];
    return NULL;
}

/* Mean time of the runs of a point in a sweep, at its setting or at any; NaN where there are none.
 */
static double mean_of(const struct wt_sweep_point *point, const struct wt_run *runs,
                      size_t run_count, const char *group, const char *emulation, bool is_any,
                      size_t *ret_count)
{
    double sum_s = 0;
    *ret_count = 0;
    for (size_t i = 0; i < run_count; i++) {
        if (strcmp(runs[i].group, group) != 0 || !is_of(&runs[i], point, emulation) ||
            (!is_any && strcmp(runs[i].label, point->label) != 0))
            continue;
        sum_s += runs[i].wall_s;
        ++*ret_count;
    }
    return *ret_count ? sum_s / (double)*ret_count : (double)NAN;
}

struct wt_sweep_forecast wt_sweep_forecast(struct wt_sweep_point *points, size_t count,
                                           const struct wt_run *runs, size_t run_count,
                                           const char *emulation)
{
    struct wt_sweep_forecast f = {.run_s = NAN};
    const struct wt_run *newest = newest_of(points, count, runs, run_count, emulation);
    double known_s = 0, sum_s = 0;
    size_t known = 0;
    if (newest)
        wt_text(f.group, sizeof(f.group), "%s", newest->group);
    for (size_t k = 0; k < count; k++) {
        struct wt_sweep_point *p = &points[k];
        size_t any;
        p->expected_s = mean_of(p, runs, run_count, f.group, emulation, false, &p->expected_from);
        double any_s = mean_of(p, runs, run_count, f.group, emulation, true, &any);
        if (!p->expected_from)
            p->expected_s = any_s;
        known += any > 0;
        known_s += any ? p->expected_s : 0;
    }
    for (size_t k = 0; k < count && known; k++) {
        if (isnan(points[k].expected_s))
            points[k].expected_s = known_s / (double)known;
        sum_s += points[k].expected_s;
    }
    for (size_t i = 0; i < run_count; i++)
        for (size_t k = 0; k < count; k++)
            if (strcmp(runs[i].group, f.group) == 0 && is_of(&runs[i], &points[k], emulation)) {
                f.run_count++;
                break;
            }
    f.run_s = known ? sum_s / (double)count : (double)NAN;
    return f;
}

/* ---- the plan as a document ---- */

static double steps_s(const struct wt_sweep_point *points, const struct wt_sweep_step *steps,
                      size_t count, unsigned repeats, size_t *ret_count)
{
    double sum_s = 0;
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (steps[i].is_stored || steps[i].repeat >= repeats)
            continue;
        sum_s += points[steps[i].point].expected_s;
        ++*ret_count;
    }
    return sum_s;
}

static json_t *point_json(const struct wt_sweep_point *p)
{
    return json_pack("{s:o, s:o, s:b, s:o, s:i}", "label", wt_json_text(p->label), "command",
                     wt_json_text(p->command), "is_reference", p->is_reference, "expected_s",
                     wt_json_number(p->expected_s), "expected_from", (int)p->expected_from);
}

char *wt_sweep_dry_to_json(const struct wt_sweep_plan *plan, const struct wt_sweep_point *points,
                           size_t point_count, const struct wt_sweep_step *steps, size_t step_count,
                           const struct wt_sweep_forecast *forecast, const char *emulation)
{
    json_t *doc = plan_json(plan), *settings = json_array(), *order = json_array();
    size_t least, most;
    double least_s = steps_s(points, steps, step_count, plan->repeats, &least);
    double most_s = steps_s(points, steps, step_count, plan->repeats_max, &most);
    for (size_t i = 0; i < point_count; i++)
        json_array_append_new(settings, point_json(&points[i]));
    for (size_t i = 0; i < step_count; i++)
        json_array_append_new(
            order, json_pack("{s:o, s:i, s:b}", "label", wt_json_text(points[steps[i].point].label),
                             "repeat", (int)steps[i].repeat, "is_stored", steps[i].is_stored));
    json_t *more = json_pack(
        "{s:s, s:b, s:b, s:o, s:o, s:o, s:i, s:i, s:o, s:o, s:{s:i, s:o}}", "wattune", wt_version(),
        "dry_run", 1, "emulated", emulation[0] != '\0', "emulation",
        emulation[0] ? wt_json_text(emulation) : json_null(), "settings", settings, "order", order,
        "runs", (int)least, "runs_max", (int)most, "expected_s", wt_json_number(least_s),
        "expected_max_s", wt_json_number(most_s), "expected_from", "runs", (int)forecast->run_count,
        "group", forecast->group[0] ? wt_json_text(forecast->group) : json_null());
    int rc = doc && more && json_array_size(settings) == point_count &&
                     json_array_size(order) == step_count
                 ? json_object_update(doc, more)
                 : -1;
    json_decref(more);
    if (rc == 0)
        return wt_json_dump(doc);
    json_decref(doc);
    return NULL;
}
