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

static size_t plan_points(const struct sweep_options *o, struct point *points, size_t max)
{
    size_t count = 1;
    for (size_t s = 0; s < o->set_count; s++) {
        if (o->sets[s].count > max / count)
            return 0;
        count *= o->sets[s].count;
    }
    for (size_t i = 0; i < count; i++) {
        size_t rest = i, used = 0;
        for (size_t s = 0; s < o->set_count; s++) {
            char text[48];
            points[i].values[s] = o->sets[s].values[rest % o->sets[s].count];
            rest /= o->sets[s].count;
            int n = snprintf(
                points[i].label + used, sizeof(points[i].label) - used, "%s%s%s%s",
                used ? ", " : "", o->set_count > 1 ? wt_knob_name(o->sets[s].knob) : "",
                o->set_count > 1 ? "=" : "",
                wt_knob_value_text(text, sizeof(text), o->sets[s].knob, points[i].values[s]));
            used += n > 0 && (size_t)n < sizeof(points[i].label) - used ? (size_t)n : 0;
        }
    }
    return count;
}

/* Half a unit away counts as the same; a name is the same or another. */
static bool is_same(enum wt_knob knob, int64_t a, int64_t b)
{
    return wt_knob_is_named(knob) ? a == b : llabs(a - b) < 500;
}

/* The default setting where it is among the points, else the highest (of names the first in their
 * own order, "performance"): what the others are compared with. */
static size_t find_reference(const struct sweep_options *o, const struct point *points,
                             size_t count, const int64_t *defaults)
{
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_default = true, is_higher = true;
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

void cli_plan_order(size_t *order, size_t points, unsigned repeats, uint64_t seed)
{
    for (unsigned r = 0; r < repeats; r++) {
        size_t *round = order + (size_t)r * points;
        for (size_t i = 0; i < points; i++)
            round[i] = i;
        for (size_t i = points; i > 1; i--) {
            size_t j = (size_t)(next_random(&seed) % i);
            size_t keep = round[i - 1];
            round[i - 1] = round[j];
            round[j] = keep;
        }
    }
}

/* Without a knob there is one point: as the machine is. */
static int plan_as_is(struct sweep_options *o, const struct wt_error *why, struct point *points,
                      size_t *ret_count, size_t *ret_reference)
{
    cli_note("%s", why->text);
    cli_note("measuring the present setting alone");
    o->set_count = 0;
    snprintf(points[0].label, sizeof(points[0].label), "as is");
    *ret_count = 1;
    *ret_reference = 0;
    return -1;
}

int cli_plan(struct sweep_options *o, struct point *points, size_t *ret_count,
             size_t *ret_reference)
{
    struct wt_error err = {0};
    struct wt_knob_info info;
    int64_t defaults[MAX_SETS] = {0};
    char text[48], range[200];
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
        if (rc < 0 && o->is_measure_only)
            return plan_as_is(o, &err, points, ret_count, ret_reference);
        if (rc < 0 || plan_auto(&o->sets[0], &info, &err) < 0)
            return cli_fail("sweep", &err);
        o->set_count = 1;
    }
    for (size_t s = 0; s < o->set_count; s++) {
        int rc = find_knob(&o->bed, o->sets[s].knob, &info, &err);
        if (rc < 0 && o->is_measure_only)
            return plan_as_is(o, &err, points, ret_count, ret_reference);
        if (rc < 0)
            return cli_fail("sweep", &err);
        defaults[s] = info.def;
        if (!info.is_settable && o->is_measure_only) {
            cli_note("%s cannot be set: %s", wt_knob_name(o->sets[s].knob), info.why_not);
            if (info.fix[0])
                cli_note("  try: %s", info.fix);
            cli_note("measuring the present setting alone");
            o->set_count = 0;
            snprintf(points[0].label, sizeof(points[0].label), "%s (as is)",
                     wt_knob_value_text(text, sizeof(text), info.knob, info.current));
            *ret_count = 1;
            *ret_reference = 0;
            return -1;
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
    *ret_count = plan_points(o, points, MAX_POINTS);
    if (!*ret_count)
        return cli_usage("sweep", "--set: more than %d combinations", MAX_POINTS);
    *ret_reference = find_reference(o, points, *ret_count, defaults);
    return -1;
}
