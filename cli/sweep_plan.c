/* sweep_plan: which settings, against which one, in which order. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

/* The first device with this knob decides range and default; the lease checks each one's own. */
static int find_knob(const struct cli_bed *bed, enum wt_knob knob, struct wt_knob_info *ret_info,
                     struct wt_error *err)
{
    struct wt_error why = {0};
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++) {
        int rc = cli_knob(bed, i, knob, ret_info, &why, err);
        if (rc != WT_E_UNSUPPORTED)
            return rc;
    }
    cli_no_knob(knob, &why, err);
    if (!why.fix[0] && wt_knob_kind(knob) == WT_DEVICE_GPU)
        snprintf(err->fix, sizeof(err->fix),
                 "`wattune doctor` says what can be set; `--emulate v100-pcie-32gb` tries it "
                 "without a GPU");
    return WT_E_UNSUPPORTED;
}

/* The paper's caps were 100, 150, 200 and 250 W on 250 W cards: 40, 60, 80 and 100 %. */
static int plan_auto(struct cli_setting *set, const struct wt_knob_info *info, struct wt_error *err)
{
    char whole[48], least[48];
    set->knob = WT_KNOB_POWER;
    set->values = calloc(4, sizeof(*set->values));
    if (!set->values)
        return err->code = WT_E_NOMEM;
    for (unsigned percent = 40; percent <= 100; percent += 20) {
        int64_t value = info->def * percent / 100;
        if (value < info->min) {
            cli_note("power=auto: %u %% of %s is below what this card takes; %s instead", percent,
                     wt_knob_value_text(whole, sizeof(whole), info->knob, info->def),
                     wt_knob_value_text(least, sizeof(least), info->knob, info->min));
            value = info->min;
        }
        if (value > info->max) /* a policy's ceiling may lie below the default */
            value = info->max;
        int64_t typed = wt_knob_from_user(round(wt_knob_to_user(value)));
        if (!set->count || typed > set->values[set->count - 1])
            set->values[set->count++] = typed;
    }
    return 0;
}

/* "150 W", "power=150 W, clock=900 MHz", "batch=16", "power=150 W, batch=16". */
static bool name_point(const struct sweep_options *o, struct point *point)
{
    size_t used = 0, axes = o->set_count + o->param_count;
    for (size_t i = 0; i < axes; i++) {
        const struct cli_param *param = i < o->set_count ? NULL : &o->params[i - o->set_count];
        char text[64];
        if (param)
            snprintf(text, sizeof(text), "%s", param->values[point->params[i - o->set_count]]);
        else
            wt_knob_value_text(text, sizeof(text), o->sets[i].knob, point->values[i]);
        const char *name = param ? param->name : axes > 1 ? wt_knob_name(o->sets[i].knob) : "";
        int n = snprintf(point->label + used, sizeof(point->label) - used, "%s%s%s%s",
                         used ? ", " : "", name, name[0] ? "=" : "", text);
        if (n < 0 || (size_t)n >= sizeof(point->label) - used)
            return false;
        used += (size_t)n;
    }
    return true;
}

static size_t count_of(const struct sweep_options *o, size_t axis)
{
    return axis < o->set_count ? o->sets[axis].count : o->params[axis - o->set_count].count;
}

/* All combinations, the first axis fastest. Returns an exit code, or -1 to go on. */
static int plan_points(const struct sweep_options *o, struct point *points, size_t *ret_count)
{
    size_t count = 1, axes = o->set_count + o->param_count;
    for (size_t a = 0; a < axes; a++) {
        if (count_of(o, a) > MAX_POINTS / count)
            return cli_usage("sweep", "%s: more than %d combinations",
                             o->set_count ? "--set" : "--param", MAX_POINTS);
        count *= count_of(o, a);
    }
    for (size_t i = 0; i < count; i++) {
        size_t rest = i;
        for (size_t a = 0; a < axes; a++) {
            size_t at = rest % count_of(o, a);
            rest /= count_of(o, a);
            if (a < o->set_count)
                points[i].values[a] = o->sets[a].values[at];
            else
                points[i].params[a - o->set_count] = at;
        }
        if (!name_point(o, &points[i]))
            return cli_usage("sweep",
                             "a setting's name, \"%s...\", is longer than %zu bytes: "
                             "shorter values, or fewer parameters",
                             points[i].label, sizeof(points[i].label) - 1);
    }
    *ret_count = count;
    return -1;
}

/* Half a unit away counts as the same; a name is the same or another. */
static bool is_same(enum wt_knob knob, int64_t a, int64_t b)
{
    return wt_knob_is_named(knob) ? a == b : llabs(a - b) < 500;
}

/* The default setting where it is among the points, else the highest (of names the first in their
 * own order, "performance"), with the first value of each parameter: what the others are compared
 * with. */
static size_t find_reference(const struct sweep_options *o, const struct point *points,
                             size_t count, const int64_t *defaults)
{
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_default = true, is_higher = true, is_first = true;
        for (size_t k = 0; k < o->param_count; k++)
            is_first &= points[i].params[k] == 0;
        if (!is_first)
            continue;
        for (size_t s = 0; s < o->set_count; s++) {
            int64_t value = points[i].values[s], other = points[best].values[s];
            is_default &= is_same(o->sets[s].knob, value, defaults[s]);
            is_higher &= wt_knob_is_named(o->sets[s].knob) ? value <= other : value >= other;
        }
        if (is_default)
            return i;
        if (is_higher)
            best = i;
    }
    return best;
}

/* splitmix64: a shuffle that a seed repeats on any machine. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void cli_plan_order(struct wt_sweep_step *steps, size_t points, unsigned repeats, uint64_t seed)
{
    for (unsigned r = 0; r < repeats; r++) {
        struct wt_sweep_step *round = steps + (size_t)r * points;
        for (size_t i = 0; i < points; i++)
            round[i] = (struct wt_sweep_step){.point = i, .repeat = r};
        for (size_t i = points; i > 1; i--) {
            size_t j = (size_t)(next_random(&seed) % i);
            size_t keep = round[i - 1].point;
            round[i - 1].point = round[j].point;
            round[j].point = keep;
        }
    }
}

/* Without a knob that may be set there is one point, as the machine is, or the parameters alone. */
static int plan_as_is(struct sweep_options *o, const char *label, struct point *points,
                      size_t *ret_count, size_t *ret_reference)
{
    o->set_count = 0;
    *ret_reference = 0;
    if (o->param_count) {
        cli_note("measuring at the present setting alone");
        return plan_points(o, points, ret_count);
    }
    cli_note("measuring the present setting alone");
    snprintf(points[0].label, sizeof(points[0].label), "%s", label);
    *ret_count = 1;
    return -1;
}

static int plan(struct sweep_options *o, struct point *points, size_t *ret_count,
                size_t *ret_reference)
{
    struct wt_error err = {0};
    struct wt_knob_info info;
    int64_t defaults[MAX_AXES] = {0};
    char text[48], range[200], label[64];
    if (cli_sweep_is_elsewhere(o)) {
        /* What a node's devices take is said there; no default is known, so that the highest is the
         * reference: the same here and there. */
        for (size_t s = 0; s < MAX_AXES; s++)
            defaults[s] = INT64_MIN / 2;
        int code = plan_points(o, points, ret_count);
        if (code < 0)
            *ret_reference = find_reference(o, points, *ret_count, defaults);
        return code;
    }
    if (!wt_devices_count(o->bed.devices)) {
        snprintf(err.text, sizeof(err.text), "no device here can be measured or set");
        snprintf(err.fix, sizeof(err.fix),
                 "`wattune doctor` says why; --emulate v100-pcie-32gb does "
                 "without a GPU");
        cli_fail("sweep", &err);
        return CLI_NO_SENSOR;
    }
    if (o->is_auto) {
        int rc = find_knob(&o->bed, WT_KNOB_POWER, &info, &err);
        if (rc < 0 && o->is_measure_only) {
            cli_note("%s", err.text);
            return plan_as_is(o, "as is", points, ret_count, ret_reference);
        }
        if (rc < 0 || plan_auto(&o->sets[0], &info, &err) < 0)
            return cli_fail("sweep", &err);
        o->set_count = 1;
    }
    for (size_t s = 0; s < o->set_count; s++) {
        int rc = find_knob(&o->bed, o->sets[s].knob, &info, &err);
        if (rc < 0 && o->is_measure_only) {
            cli_note("%s", err.text);
            return plan_as_is(o, "as is", points, ret_count, ret_reference);
        }
        if (rc < 0)
            return cli_fail("sweep", &err);
        defaults[s] = info.def;
        if (!info.is_settable && o->is_measure_only) {
            cli_note("%s cannot be set: %s", wt_knob_name(o->sets[s].knob), info.why_not);
            if (info.fix[0])
                cli_note("  try: %s", info.fix);
            snprintf(label, sizeof(label), "%s (as is)",
                     wt_knob_value_text(text, sizeof(text), info.knob, info.current));
            return plan_as_is(o, label, points, ret_count, ret_reference);
        }
        if (!info.is_settable) {
            snprintf(err.text, sizeof(err.text), "%s cannot be set: %.200s",
                     wt_knob_name(o->sets[s].knob), info.why_not);
            snprintf(err.fix, sizeof(err.fix), "%.200s%s--measure-only", info.fix,
                     info.fix[0] ? "; or " : "");
            err.code = WT_E_DENIED;
            return cli_fail("sweep", &err);
        }
        for (size_t v = 0; v < o->sets[s].count; v++) {
            int64_t value = o->sets[s].values[v];
            if (!wt_knob_takes(&info, value))
                return cli_usage("sweep", "--set %s=%s: this device takes %s",
                                 wt_knob_name(o->sets[s].knob),
                                 wt_knob_value_typed(text, sizeof(text), info.knob, value),
                                 wt_knob_range_text(range, sizeof(range), &info));
        }
    }
    int code = plan_points(o, points, ret_count);
    if (code < 0)
        *ret_reference = find_reference(o, points, *ret_count, defaults);
    return code;
}

int cli_plan(struct sweep_options *o, char **command, struct point *points, size_t *ret_count,
             size_t *ret_reference)
{
    struct wt_error err = {0};
    int code = plan(o, points, ret_count, ret_reference);
    if (code >= 0)
        return code;
    if (cli_goal_power(&o->goal, &o->bed, &err) < 0)
        return cli_fail("sweep", &err);
    for (size_t i = 0; i < *ret_count; i++)
        if (!(points[i].command =
                  cli_params_fill(o->params, o->param_count, command, points[i].params))) {
            err.code = WT_E_NOMEM;
            return cli_fail("sweep", &err);
        }
    return -1;
}

void cli_points_free(struct point *points, size_t count)
{
    for (size_t i = 0; points && i < count; i++)
        cli_params_free(points[i].command);
    free(points);
}

/* ---- as the runs keep it ---- */

static bool tell_set(struct wt_sweep_axis *axis, const struct cli_setting *set)
{
    char text[48];
    snprintf(axis->name, sizeof(axis->name), "%s", wt_knob_name(set->knob));
    axis->values = calloc(set->count, sizeof(*axis->values));
    for (; axis->values && axis->value_count < set->count; axis->value_count++)
        if (!(axis->values[axis->value_count] = strdup(wt_knob_value_typed(
                  text, sizeof(text), set->knob, set->values[axis->value_count]))))
            break;
    return axis->value_count == set->count;
}

static bool tell_param(struct wt_sweep_axis *axis, const struct cli_param *param)
{
    snprintf(axis->name, sizeof(axis->name), "%s", param->name);
    axis->is_param = true;
    axis->values = calloc(param->count, sizeof(*axis->values));
    for (; axis->values && axis->value_count < param->count; axis->value_count++)
        if (!(axis->values[axis->value_count] = strdup(param->values[axis->value_count])))
            break;
    if (axis->value_count < param->count || !param->needs)
        return axis->value_count == param->count;
    axis->needs = calloc(param->count, sizeof(*axis->needs));
    if (axis->needs)
        memcpy(axis->needs, param->needs, param->count * sizeof(*axis->needs));
    return axis->needs != NULL;
}

int cli_plan_tell(const struct sweep_options *o, char **command, struct wt_sweep_plan *ret_plan,
                  struct wt_error *err)
{
    struct wt_sweep_plan p = {.seed = o->seed,
                              .repeats = o->repeats,
                              .repeats_max = o->repeats_max,
                              .precision = o->precision,
                              .settle_s = (double)o->settle_ns * 1e-9,
                              .goal = o->goal};
    bool is_whole = true;
    cli_command_text(p.command, sizeof(p.command), command);
    for (size_t s = 0; s < o->set_count; s++)
        is_whole &= tell_set(&p.axes[p.axis_count++], &o->sets[s]);
    for (size_t k = 0; k < o->param_count; k++)
        is_whole &= tell_param(&p.axes[p.axis_count++], &o->params[k]);
    if (!is_whole) {
        wt_sweep_plan_done(&p);
        return err->code = WT_E_NOMEM;
    }
    *ret_plan = p;
    return 0;
}
