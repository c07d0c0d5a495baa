/* sweep: the same work at several settings, and which of them to take.
 *
 * How the intervals come about. A run's bound holds errors of two kinds. The sensor's gain and
 * offset are the same in every run on that device: repeats do not shrink them. In a ratio of two
 * settings they cancel, the gain of each device as far as its share of the energy is the same in
 * both, the offset as far as the mean power is; what is left is
 *     gain x |share - share of the reference|  and  offset x |1/power - 1/power of the reference|.
 * The rest of the bound (update period, gaps) is taken as independent from run to run and shrinks
 * with repeats; a model's, which has neither, does not. The spread of the repeats comes on top:
 * Student's t on the relative spread pooled over all settings (with three repeats a setting, its
 * own spread alone is a poor estimate), or the setting's own where that is larger. The kinds are
 * independent of each other and add in quadrature; devices, whose errors may be the same error, add
 * plainly. The user's host_w is a given number: it has no error here, nor has what a parameter
 * needs.
 *
 * What is made small (a goal's value) is computed for each run, so that its spread is that of the
 * runs: time and energy of one run go together. It is linear in the energy, and the bound of the
 * energy is in it by the share of the value that follows the energy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "search/sweep.h"

enum { MAX_DEVICES = 64 };

struct sides {
    double below, above;
};

/* What a row's runs add up to. */
struct tally {
    const char *label; /* of the runs */
    size_t first;      /* index of the first run with it, used to keep the order of appearance */
    size_t count;
    double time, energy, power; /* means; time and energy as wt_sweep_values() says */
    double value;               /* of the goal, mean */
    double value_share;         /* of it, what follows the energy */
    double time_sd, energy_sd, power_sd, value_sd; /* relative, of one run; NaN with fewer than 2 */
    /* Of the bound of the mean energy, relative to it: what shrinks with repeats, what of a model
     * does not, and gain and offset, which are never more than the bound itself. */
    struct sides own, model, common;
    double work; /* mean units of work a run */
    double need; /* times one run */
    struct {
        const char *id;
        double share, gain, offset_w;
    } devices[MAX_DEVICES];
    size_t device_count;
};

struct pool {
    double time_sd, energy_sd, power_sd, value_sd; /* relative */
    size_t freedom;
};

/* ---- words ---- */

int wt_sweep_warn(struct wt_sweep *sweep, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = wt_texts_add(&sweep->warnings, &sweep->warning_count, fmt, args);
    va_end(args);
    return rc;
}

/* "150 W" or "power=150 W" in its parts; the knob is "" in the first. False for a label that is not
 * one setting with a number. */
static bool split_label(const char *label, char *ret_knob, size_t size, double *ret_value,
                        const char **ret_rest, char *ret_unit, size_t unit_size)
{
    const char *equals = strchr(label, '='), *value = equals ? equals + 1 : label;
    if (equals == label || strchr(value, '=') || strchr(value, ','))
        return false;
    char number[32];
    size_t length = strcspn(value, " ");
    if (length >= sizeof(number))
        return false;
    wt_text(number, sizeof(number), "%.*s", (int)length, value);
    if (wt_text_to_double(number, ret_value) < 0)
        return false;
    const char *unit = value + length + strspn(value + length, " ");
    wt_text(ret_knob, size, "%.*s", equals ? (int)(equals - label) : 0, label);
    wt_text(ret_unit, unit_size, "%.*s", (int)strcspn(unit, " "), unit);
    *ret_rest = value;
    return true;
}

/* The one knob that was set in all runs, "" when there are several or none. */
static const char *knob_set(const struct wt_sweep *sweep)
{
    const char *knob = "";
    for (size_t i = 0; i < sweep->run_count; i++)
        for (size_t k = 0; k < sweep->runs[i].setting_count; k++) {
            const char *name = wt_knob_name(sweep->runs[i].settings[k].knob);
            if (!name || (knob[0] && strcmp(knob, name) != 0))
                return "";
            knob = name;
        }
    return knob;
}

/* A knob whose values are names, when it is the one that was set in all runs and is what the labels
 * say: "performance", and for a preference a number, too. */
static bool find_named_knob(struct wt_sweep *sweep)
{
    enum wt_knob knob;
    char text[48];
    const char *name = knob_set(sweep);
    if (wt_knob_from_name(name, &knob) < 0 || !wt_knob_is_named(knob))
        return false;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (run->setting_count &&
            strcmp(run->label,
                   wt_knob_value_text(text, sizeof(text), knob, run->settings[0].requested)) != 0)
            return false;
    }
    wt_text(sweep->knob, sizeof(sweep->knob), "%s", name);
    return true;
}

static bool is_number(const char *text)
{
    double value;
    return wt_text_to_double(text, &value) == 0;
}

static bool is_all_numbers(const struct wt_sweep_axis *axis)
{
    for (size_t i = 0; i < axis->value_count; i++)
        if (!is_number(axis->values[i]))
            return false;
    return true;
}

/* The one thing that was varied, when it is a parameter of the command; else NULL. */
static const struct wt_sweep_axis *the_param(const struct wt_sweep *sweep)
{
    return sweep->plan.axis_count == 1 && sweep->plan.axes[0].is_param ? &sweep->plan.axes[0]
                                                                       : NULL;
}

/* The one knob all labels speak of, when there is one. A label without a number is a default. */
static void find_knob(struct wt_sweep *sweep)
{
    if (the_param(sweep)) {
        wt_text(sweep->knob, sizeof(sweep->knob), "%s", the_param(sweep)->name);
        return;
    }
    if (find_named_knob(sweep))
        return;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const char *label = sweep->runs[i].label, *rest;
        char knob[32], unit[16];
        double value;
        bool is_one = split_label(label, knob, sizeof(knob), &value, &rest, unit, sizeof(unit));
        if (!is_one && !strchr(label, '=') && !strchr(label, ','))
            continue;
        if (is_one && !knob[0])
            wt_text(knob, sizeof(knob), "%s", knob_set(sweep));
        if (!is_one || (sweep->knob[0] && strcmp(sweep->knob, knob) != 0)) {
            sweep->knob[0] = sweep->unit[0] = '\0';
            return;
        }
        wt_text(sweep->knob, sizeof(sweep->knob), "%s", knob);
        wt_text(sweep->unit, sizeof(sweep->unit), "%s", unit);
    }
}

const char *wt_sweep_label_words(const char *label)
{
    return label[0] ? label : "default";
}

/* "2 x Tesla V100 (driver 535.1), Xeon ... on host". */
static void describe_machine(struct wt_sweep *sweep)
{
    const struct wt_run *run = &sweep->runs[0];
    size_t used = 0;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        size_t same = 0;
        bool is_first = true;
        for (size_t k = 0; k < run->device_count; k++)
            if (strcmp(run->devices[k].name, d->name) == 0) {
                same++;
                is_first &= k >= i;
            }
        if (!is_first || !d->is_counted)
            continue;
        char count[24] = "", driver[100] = "";
        if (same > 1)
            wt_text(count, sizeof(count), "%zu x ", same);
        if (d->driver[0])
            wt_text(driver, sizeof(driver), " (driver %s)", d->driver);
        wt_text(sweep->machine + used, sizeof(sweep->machine) - used, "%s%s%s%s", used ? ", " : "",
                count, d->name, driver);
        used = strlen(sweep->machine);
    }
}

/* ---- numbers ---- */

bool wt_sweep_is_usable(const struct wt_run *run)
{
    return run->state == WT_RUN_DONE && run->exit_code == 0 && run->wall_s > 0 &&
           run->total.provenance != WT_PROV_UNKNOWN && run->total.energy_j > 0 &&
           !wt_run_lost(run); /* the energy of some other setting, in part */
}

/* What is left of one side of a device's bound when gain and offset are taken out of it. */
static double rest_of(const struct wt_run_device *d, double wall_s, double half_j)
{
    double gain_j = d->energy.energy_j * d->gain_ppm * 1e-6;
    double offset_j = d->offset_mw * 1e-3 * wall_s;
    return sqrt(fmax(0, half_j * half_j - gain_j * gain_j - offset_j * offset_j));
}

struct run_energy {
    double j;                        /* with the host's share */
    struct sides own, model, common; /* J, as in a tally */
};
static void add_sides(struct sides *to, double below, double above)
{
    to->below += below;
    to->above += above;
}
static struct run_energy energy_of(const struct wt_sweep *sweep, const struct wt_run *run)
{
    struct run_energy e = {0};
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (!d->is_counted || d->energy.provenance == WT_PROV_UNKNOWN)
            continue;
        double below = d->energy.energy_j - d->energy.low_j;
        double above = d->energy.high_j - d->energy.energy_j;
        double rest_below = rest_of(d, run->wall_s, below);
        double rest_above = rest_of(d, run->wall_s, above);
        add_sides(d->energy.provenance == WT_PROV_MODELED ? &e.model : &e.own, rest_below,
                  rest_above);
        add_sides(&e.common, sqrt(fmax(0, below * below - rest_below * rest_below)),
                  sqrt(fmax(0, above * above - rest_above * rest_above)));
    }
    e.j = run->total.energy_j + (isnan(sweep->host_w) ? 0 : sweep->host_w * run->wall_s);
    return e;
}

/* What the parameters of a run need, times the work of one run. */
static double need_of(const struct wt_sweep *sweep, const struct wt_run *run)
{
    double need = 1;
    for (size_t i = 0; i < sweep->plan.axis_count; i++) {
        const struct wt_sweep_axis *axis = &sweep->plan.axes[i];
        for (size_t k = 0; axis->needs && k < run->param_count; k++)
            for (size_t v = 0; v < axis->value_count; v++)
                if (strcmp(run->params[k].name, axis->name) == 0 &&
                    strcmp(run->params[k].value, axis->values[v]) == 0)
                    need *= axis->needs[v];
    }
    return need;
}

/* What a run is divided by. */
static double units_of(const struct wt_sweep *sweep, const struct wt_run *run)
{
    return (sweep->is_per_work ? (double)run->work.count : 1.0) / need_of(sweep, run);
}

void wt_sweep_values(const struct wt_sweep *sweep, const struct wt_run *run, double *ret_time,
                     double *ret_energy)
{
    double units = units_of(sweep, run);
    *ret_energy = energy_of(sweep, run).j / units;
    *ret_time = run->wall_s / units;
}

/* The wider side of what gain and offset leave of a run's bound. */
static double widest(const struct run_energy *e)
{
    return fmax(e->own.below + e->model.below, e->own.above + e->model.above);
}

double wt_sweep_bound_of(const struct wt_sweep *sweep, const struct wt_run *run)
{
    const struct run_energy e = energy_of(sweep, run);
    return widest(&e) / e.j;
}

double wt_sweep_run_bound_j(const struct wt_sweep *sweep, size_t run, double *ret_offset_w)
{
    const struct wt_run *r = &sweep->runs[run];
    const struct run_energy e = energy_of(sweep, r);
    double offset_w = 0;
    for (size_t i = 0; i < r->device_count; i++)
        if (r->devices[i].is_counted)
            offset_w += r->devices[i].offset_mw * 1e-3;
    if (ret_offset_w)
        *ret_offset_w = offset_w;
    return widest(&e);
}

double wt_sweep_run_need(const struct wt_sweep *sweep, size_t run)
{
    return need_of(sweep, &sweep->runs[run]);
}

static void tally_devices(struct tally *tally, const struct wt_run *run, double energy)
{
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (!d->is_counted)
            continue;
        size_t k = 0;
        while (k < tally->device_count && strcmp(tally->devices[k].id, d->id) != 0)
            k++;
        if (k == MAX_DEVICES)
            continue;
        if (k == tally->device_count) {
            tally->devices[k].id = d->id;
            tally->devices[k].share = tally->devices[k].offset_w = 0;
            tally->device_count++;
        }
        /* A device that only some of the runs are on weighs by them. */
        tally->devices[k].share += d->energy.energy_j / energy / (double)tally->count;
        tally->devices[k].gain = d->gain_ppm * 1e-6;
        tally->devices[k].offset_w += d->offset_mw * 1e-3 / (double)tally->count;
    }
}

/* Means, spreads and bounds of the usable runs with this label; count 0 when there are none. */
static void tally_label(struct tally *tally, const struct wt_sweep *sweep, const char *label)
{
    *tally = (struct tally){.label = label, .first = SIZE_MAX};
    const struct wt_goal goal = wt_sweep_goal(sweep);
    struct sides own2 = {0};
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (!wt_sweep_is_usable(run) || strcmp(run->label, label) != 0)
            continue;
        const struct run_energy e = energy_of(sweep, run);
        double energy = e.j, units = units_of(sweep, run);
        if (tally->first == SIZE_MAX)
            tally->first = i;
        tally->count++;
        tally->need = need_of(sweep, run);
        tally->time += run->wall_s / units;
        tally->energy += energy / units;
        tally->value += wt_goal_value(&goal, run->wall_s / units, energy / units);
        tally->power += energy / run->wall_s;
        tally->work += run->work.is_known ? (double)run->work.count : NAN;
        add_sides(&own2, pow(e.own.below / units, 2), pow(e.own.above / units, 2));
        add_sides(&tally->model, e.model.below / units, e.model.above / units);
        add_sides(&tally->common, e.common.below / units, e.common.above / units);
    }
    if (!tally->count)
        return;
    double n = (double)tally->count;
    tally->time /= n;
    tally->energy /= n;
    tally->power /= n;
    tally->value /= n;
    tally->work /= n;
    tally->value_share =
        1 - wt_goal_value(&goal, tally->time, 0) / wt_goal_value(&goal, tally->time, tally->energy);
    double all = n * tally->energy;
    tally->own = (struct sides){sqrt(own2.below) / all, sqrt(own2.above) / all};
    tally->model = (struct sides){tally->model.below / all, tally->model.above / all};
    tally->common = (struct sides){tally->common.below / all, tally->common.above / all};

    double time2 = 0, energy2 = 0, power2 = 0, value2 = 0;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (!wt_sweep_is_usable(run) || strcmp(run->label, label) != 0)
            continue;
        double energy = energy_of(sweep, run).j, units = units_of(sweep, run);
        time2 += pow(run->wall_s / units / tally->time - 1, 2);
        energy2 += pow(energy / units / tally->energy - 1, 2);
        power2 += pow(energy / run->wall_s / tally->power - 1, 2);
        value2 +=
            pow(wt_goal_value(&goal, run->wall_s / units, energy / units) / tally->value - 1, 2);
        tally_devices(tally, run, energy);
    }
    tally->time_sd = n > 1 ? sqrt(time2 / (n - 1)) : NAN;
    tally->energy_sd = n > 1 ? sqrt(energy2 / (n - 1)) : NAN;
    tally->power_sd = n > 1 ? sqrt(power2 / (n - 1)) : NAN;
    tally->value_sd = n > 1 ? sqrt(value2 / (n - 1)) : NAN;
}

static struct pool pool_of(const struct tally *tallies, size_t count)
{
    struct pool pool = {0};
    for (size_t i = 0; i < count; i++) {
        if (tallies[i].count < 2)
            continue;
        double freedom = (double)tallies[i].count - 1;
        pool.time_sd += freedom * tallies[i].time_sd * tallies[i].time_sd;
        pool.energy_sd += freedom * tallies[i].energy_sd * tallies[i].energy_sd;
        pool.power_sd += freedom * tallies[i].power_sd * tallies[i].power_sd;
        pool.value_sd += freedom * tallies[i].value_sd * tallies[i].value_sd;
        pool.freedom += tallies[i].count - 1;
    }
    if (pool.freedom) {
        pool.time_sd = sqrt(pool.time_sd / (double)pool.freedom);
        pool.energy_sd = sqrt(pool.energy_sd / (double)pool.freedom);
        pool.power_sd = sqrt(pool.power_sd / (double)pool.freedom);
        pool.value_sd = sqrt(pool.value_sd / (double)pool.freedom);
    }
    return pool;
}

/* Relative half width of a mean from the spread alone; 0 where nothing was repeated. */
static double spread_of(const struct pool *pool, double pooled_sd, double own_sd, size_t count)
{
    if (!pool->freedom)
        return 0;
    double sd = isnan(own_sd) ? pooled_sd : fmax(own_sd, pooled_sd);
    return wt_student_t(pool->freedom) * sd / sqrt((double)count);
}

/* Relative error of a row's energy by gain and offset. */
static double shared_error(const struct tally *tally)
{
    double error = 0;
    for (size_t i = 0; i < tally->device_count; i++)
        error += hypot(tally->devices[i].gain * tally->devices[i].share,
                       tally->devices[i].offset_w / tally->power);
    return error;
}

/* What gain and offset can still do to a ratio: see the head of this file. A device that only one
 * of the two has counts with its whole share. */
static double shared_error_of_ratio(const struct tally *a, const struct tally *b)
{
    double error = 0;
    for (size_t i = 0; i < a->device_count; i++) {
        double share = 0, offset = 0;
        for (size_t k = 0; k < b->device_count; k++)
            if (strcmp(a->devices[i].id, b->devices[k].id) == 0) {
                share = b->devices[k].share;
                offset = b->devices[k].offset_w / b->power;
            }
        error += hypot(a->devices[i].gain * (a->devices[i].share - share),
                       a->devices[i].offset_w / a->power - offset);
    }
    for (size_t k = 0; k < b->device_count; k++) {
        bool is_shared = false;
        for (size_t i = 0; i < a->device_count; i++)
            is_shared |= strcmp(a->devices[i].id, b->devices[k].id) == 0;
        if (!is_shared)
            error +=
                hypot(b->devices[k].gain * b->devices[k].share, b->devices[k].offset_w / b->power);
    }
    return error;
}

/* Independent relative errors add in quadrature. */
static double together(double a, double b, double c)
{
    return sqrt(a * a + b * b + c * c);
}

/* A mean's bound but for gain and offset, `share` of which is in what is asked for. */
static struct sides bound_of(const struct tally *tally, double spread, double share)
{
    return (struct sides){together(spread, share * tally->own.below, share * tally->model.below),
                          together(spread, share * tally->own.above, share * tally->model.above)};
}

/* Of what cannot be below zero. */
static struct wt_estimate estimate(double value, double below, double above)
{
    return (struct wt_estimate){value, value * (1 - fmin(below, 1)), value * (1 + above)};
}

/* The goal's value, and its ratio to the reference's. */
static void fill_value(struct wt_sweep_row *row, const struct tally *tally,
                       const struct tally *reference, const struct pool *pool,
                       const struct wt_sweep *sweep)
{
    const struct wt_goal goal = wt_sweep_goal(sweep);
    double share = tally->value_share, share0 = reference->value_share;
    const struct sides own =
        bound_of(tally, spread_of(pool, pool->value_sd, tally->value_sd, tally->count), share);
    row->value = estimate(wt_goal_value(&goal, row->time_s.value, row->energy_j.value),
                          hypot(own.below, share * tally->common.below),
                          hypot(own.above, share * tally->common.above));
    if (tally == reference) {
        row->value_ratio = (struct wt_estimate){1, 1, 1};
        return;
    }
    const struct sides own0 = bound_of(
        reference, spread_of(pool, pool->value_sd, reference->value_sd, reference->count), share0);
    /* Where the energy weighs differently in the two, the reference's error does not cancel. */
    double left = shared_error_of_ratio(tally, reference) * share +
                  shared_error(reference) * fabs(share - share0);
    row->run_bound = fmax(tally->own.below, tally->own.above) * sqrt((double)tally->count) * share;
    row->shared_bound = hypot(left, fmax(tally->model.below, tally->model.above) * share);
    row->value_ratio =
        estimate(tally->value / reference->value, together(own.below, own0.above, left),
                 together(own.above, own0.below, left));
}

static void fill_row(struct wt_sweep_row *row, const struct tally *tally,
                     const struct tally *reference, const struct pool *pool,
                     const struct wt_sweep *sweep)
{
    /* To the same target all are of the same work: that of a run at the reference, so many times.
     */
    double units = !sweep->is_per_work ? 1.0 : sweep->is_to_target ? reference->work : tally->work;
    double time = spread_of(pool, pool->time_sd, tally->time_sd, tally->count);
    double energy = spread_of(pool, pool->energy_sd, tally->energy_sd, tally->count);
    double power = spread_of(pool, pool->power_sd, tally->power_sd, tally->count);
    const struct sides own = bound_of(tally, energy, 1), own_w = bound_of(tally, power, 1);
    double below = hypot(own.below, tally->common.below);
    double above = hypot(own.above, tally->common.above);
    row->need = tally->need;
    row->time_s = estimate(tally->time * units, time, time);
    row->energy_j = estimate(tally->energy * units, below, above);
    row->power_w = estimate(tally->power, hypot(own_w.below, tally->common.below),
                            hypot(own_w.above, tally->common.above));
    row->j_per_work = row->work_per_s = (struct wt_estimate){NAN, NAN, NAN};
    if (!isnan(tally->work) && tally->work > 0) {
        double per = (sweep->is_per_work ? 1.0 : tally->work) * tally->need;
        row->j_per_work = estimate(tally->energy / per, below, above);
        row->work_per_s = estimate(per / tally->time, time, time);
    }
    fill_value(row, tally, reference, pool, sweep);
    if (tally == reference) {
        row->time_ratio = row->energy_ratio = row->power_ratio = (struct wt_estimate){1, 1, 1};
        return;
    }
    double time0 = spread_of(pool, pool->time_sd, reference->time_sd, reference->count);
    double energy0 = spread_of(pool, pool->energy_sd, reference->energy_sd, reference->count);
    double power0 = spread_of(pool, pool->power_sd, reference->power_sd, reference->count);
    const struct sides own0 = bound_of(reference, energy0, 1),
                       own0_w = bound_of(reference, power0, 1);
    double left = shared_error_of_ratio(tally, reference);
    row->time_ratio =
        estimate(tally->time / reference->time, hypot(time, time0), hypot(time, time0));
    row->energy_ratio =
        estimate(tally->energy / reference->energy, together(own.below, own0.above, left),
                 together(own.above, own0.below, left));
    row->power_ratio =
        estimate(tally->power / reference->power, together(own_w.below, own0_w.above, left),
                 together(own_w.above, own0_w.below, left));
}

/* ---- facts about a row's runs ---- */

/* Held back: the device gave the setting as its reason, or drew up to the limit, in at least one
 * of twenty of its busy readings. Not asked where nothing of the device was set (parameters). */
static void find_binding(struct wt_sweep_row *row, const struct wt_sweep *sweep, const char *label)
{
    const uint64_t reasons = WT_THROTTLE_POWER_CAP | WT_THROTTLE_LOCKED_CLOCK;
    size_t busy = 0, held = 0;
    bool has_setting = false;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (!wt_sweep_is_usable(run) || strcmp(run->label, label) != 0)
            continue;
        has_setting = has_setting || run->setting_count > 0;
        for (size_t k = 0; k < run->point_count; k++) {
            const struct wt_run_point *p = &run->points[k];
            if ((p->throttle & WT_THROTTLE_IDLE) || isnan(p->limit_w) || isnan(p->power_w))
                continue;
            busy++;
            held += (p->throttle & reasons) || p->power_w >= 0.97 * p->limit_w;
        }
    }
    row->is_binding_known = has_setting && busy > 0;
    row->is_binding = has_setting && busy > 0 && held * 20 >= busy;
}

/* For the plots' axis: the number in the label, else what was set, else the limit the trace saw. */
static double find_setting(const struct wt_sweep *sweep, const char *label, const char **ret_rest)
{
    char knob[32], unit[16];
    double value;
    *ret_rest = wt_sweep_label_words(label);
    enum wt_knob named;
    if (wt_knob_from_name(sweep->knob, &named) == 0 && wt_knob_is_named(named))
        return NAN;
    const struct wt_sweep_axis *param = the_param(sweep);
    size_t length = param ? strlen(param->name) : 0;
    if (param && strncmp(label, param->name, length) == 0 && label[length] == '=') {
        *ret_rest = label + length + 1;
        if (!is_all_numbers(param) || wt_text_to_double(*ret_rest, &value) < 0)
            return NAN;
        return value;
    }
    if (sweep->unit[0] || sweep->knob[0])
        if (split_label(label, knob, sizeof(knob), &value, ret_rest, unit, sizeof(unit)))
            return value;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (strcmp(run->label, label) != 0 || !wt_sweep_is_usable(run))
            continue;
        for (size_t k = 0; k < run->setting_count; k++) {
            const char *name = wt_knob_name(run->settings[k].knob);
            if (name && strcmp(name, sweep->knob) == 0)
                return wt_knob_to_user(run->settings[k].enforced);
        }
        if (strcmp(sweep->knob, "power") == 0 && run->point_count)
            return run->points[run->point_count - 1].limit_w;
    }
    return NAN;
}

static enum wt_provenance weakest_provenance(const struct wt_sweep *sweep, const char *label)
{
    enum wt_provenance weakest = WT_PROV_COUNTER;
    for (size_t i = 0; i < sweep->run_count; i++)
        if (wt_sweep_is_usable(&sweep->runs[i]) && strcmp(sweep->runs[i].label, label) == 0 &&
            sweep->runs[i].total.provenance < weakest)
            weakest = sweep->runs[i].total.provenance;
    return weakest;
}

/* ---- warnings ---- */

/* Whether another took the place of a run that does not count: a sweep that went on. */
static const char *again_words(const struct wt_sweep *sweep, size_t at)
{
    const struct wt_run *run = &sweep->runs[at];
    for (size_t i = at + 1; i < sweep->run_count; i++)
        if (sweep->runs[i].repeat == run->repeat && wt_sweep_is_usable(&sweep->runs[i]) &&
            strcmp(sweep->runs[i].label, run->label) == 0)
            return "; it was run again";
    return "";
}

/* Settings of which nothing is left have no row. */
static int find_failures(struct wt_sweep *sweep)
{
    sweep->failures = calloc(sweep->run_count, sizeof(*sweep->failures));
    if (!sweep->failures)
        return WT_E_NOMEM;
    for (size_t i = 0; i < sweep->run_count; i++) {
        struct wt_sweep_failure f = {0};
        size_t exits = 0, same = 0;
        bool is_first = true, is_any = false;
        const char *label = sweep->runs[i].label, *words;
        for (size_t k = 0; k < sweep->run_count; k++) {
            const struct wt_run *run = &sweep->runs[k];
            if (strcmp(run->label, label) != 0)
                continue;
            is_first &= k >= i;
            is_any |= wt_sweep_is_usable(run) || run->state == WT_RUN_RUNNING;
            f.run_count++;
            f.last_run = k;
            if (run->state != WT_RUN_DONE || run->exit_code == 0)
                continue;
            exits++;
            same = run->exit_code == f.exit_code ? same + 1 : 1;
            f.exit_code = run->exit_code;
        }
        if (!is_first || is_any)
            continue;
        f.is_by_exit = exits && exits == f.run_count;
        if (exits && f.run_count == 1)
            wt_text(f.why, sizeof(f.why), "its one run ended with exit code %d", f.exit_code);
        else if (f.is_by_exit)
            wt_text(f.why, sizeof(f.why), "its %zu runs %sended with exit code %d", exits,
                    same < exits ? "failed, the last " : "", f.exit_code);
        else
            wt_text(f.why, sizeof(f.why), "no run succeeded");
        find_setting(sweep, label, &words);
        wt_text(f.label, sizeof(f.label), "%s", words);
        sweep->failures[sweep->failure_count++] = f;
    }
    return 0;
}

/* All that is to be said of this run is said of its setting. */
static bool is_told_of(const struct wt_sweep *sweep, const struct wt_run *run)
{
    for (size_t i = 0; i < sweep->failure_count; i++) {
        const struct wt_sweep_failure *f = &sweep->failures[i];
        if (strcmp(sweep->runs[f->last_run].label, run->label) == 0)
            return f->is_by_exit;
    }
    return false;
}

static int warn_of_failed_runs(struct wt_sweep *sweep)
{
    int rc = 0;
    for (size_t i = 0; i < sweep->run_count && rc == 0; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (wt_sweep_is_usable(run) || is_told_of(sweep, run))
            continue;
        const char *label = wt_sweep_label_words(run->label);
        if (run->state == WT_RUN_RUNNING)
            rc = wt_sweep_warn(sweep, "%s, run %u (%s) is still running and is left out", label,
                               run->repeat + 1, run->id);
        else if (run->state == WT_RUN_INCOMPLETE)
            rc = wt_sweep_warn(sweep, "%s, run %u (%s) was cut short and is left out%s", label,
                               run->repeat + 1, run->id, again_words(sweep, i));
        else if (run->exit_code != 0)
            rc = wt_sweep_warn(sweep, "%s, run %u (%s) ended with exit code %d and is left out%s",
                               label, run->repeat + 1, run->id, run->exit_code,
                               again_words(sweep, i));
        else
            rc = wt_sweep_warn(sweep, "%s, run %u (%s) has no known energy and is left out", label,
                               run->repeat + 1, run->id);
    }
    for (size_t i = 0; i < sweep->failure_count && rc == 0; i++) {
        const struct wt_sweep_failure *f = &sweep->failures[i];
        const struct wt_run *last = &sweep->runs[f->last_run];
        rc = wt_sweep_warn(sweep, "%s: %s (%s%s), so the table has no line for it",
                           wt_sweep_label_words(last->label), f->why,
                           f->run_count > 1 ? "the last is " : "", last->id);
    }
    return rc;
}

/* By what the rows are multiplied: "batch 8:3, 16:3.4". */
static int warn_of_needs(struct wt_sweep *sweep)
{
    char list[240] = "";
    for (size_t i = 0; i < sweep->plan.axis_count; i++) {
        const struct wt_sweep_axis *axis = &sweep->plan.axes[i];
        for (size_t k = 0; axis->needs && k < axis->value_count; k++) {
            size_t used = strlen(list);
            wt_text(list + used, sizeof(list) - used, "%s%s%s%s:%g", used ? ", " : "",
                    k ? "" : axis->name, k ? "" : " ", axis->values[k], axis->needs[k]);
        }
    }
    return wt_sweep_warn(sweep,
                         "times and energies are to the target: those of a run%s, times what "
                         "it needs (%s)",
                         sweep->is_per_work ? " with the work of one at the reference" : "", list);
}

static int warn_of_comparison(struct wt_sweep *sweep, const struct pool *pool)
{
    int rc = 0;
    char list[160] = "";
    size_t idle = 0;
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        if (row->is_reference || !row->is_binding_known || row->is_binding)
            continue;
        size_t used = strlen(list);
        wt_text(list + used, sizeof(list) - used, "%s%s", idle ? "; " : "", row->label);
        idle++;
    }
    if (idle)
        rc = wt_sweep_warn(
            sweep, "%s did not bind: the device never ran into %s, so nothing changed there", list,
            idle > 1 ? "them" : "it");
    if (rc == 0 && !pool->freedom)
        rc = wt_sweep_warn(
            sweep, "each setting ran once: the intervals hold the error of the measurement, "
                   "not the spread between runs; --repeats 3 shows it");
    if (rc == 0 && sweep->is_per_work)
        rc = wt_sweep_warn(sweep,
                           "the runs did different amounts of work: ratios are per unit of it (%s)",
                           sweep->work_unit);
    if (rc == 0 && sweep->is_to_target)
        rc = warn_of_needs(sweep);
    if (rc == 0)
        rc = wt_sweep_warn_of_nodes(sweep);
    for (size_t i = 0; i < sweep->run_count && rc == 0; i++)
        for (size_t k = 0; k < sweep->runs[i].device_count && rc == 0; k++)
            if (sweep->runs[i].devices[k].is_check_off)
                rc = wt_sweep_warn(sweep, "%s, run %u: counter and integrated power of %s disagree",
                                   wt_sweep_label_words(sweep->runs[i].label),
                                   sweep->runs[i].repeat + 1, sweep->runs[i].devices[k].id);
    return rc;
}

/* ---- making it ---- */

/* What holds for all runs: emulated or real, the host's share, the kind of work. */
static int read_common(struct wt_sweep *sweep, struct wt_error *err)
{
    const struct wt_run *first = &sweep->runs[0];
    wt_text(sweep->group, sizeof(sweep->group), "%s", first->group);
    wt_text(sweep->title, sizeof(sweep->title), "%.255s", first->command);
    wt_text(sweep->emulation, sizeof(sweep->emulation), "%s", first->emulation);
    sweep->is_emulated = first->is_emulated;
    bool has_plan = sweep->plan.command[0] != '\0';
    double host_w = has_plan ? sweep->plan.goal.host_w : first->host_w;
    sweep->host_w = host_w > 0 ? host_w : (double)NAN;
    if (has_plan)
        wt_text(sweep->title, sizeof(sweep->title), "%.255s", sweep->plan.command);
    for (size_t i = 0; i < sweep->plan.axis_count; i++)
        sweep->is_to_target |= sweep->plan.axes[i].needs != NULL;
    bool is_work_known = true;
    uint64_t least = UINT64_MAX, most = 0;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (run->is_emulated != sweep->is_emulated)
            return wt_fail(err, WT_E_MIXED, "run %s is %s, run %s is %s: they cannot be compared",
                           first->id, first->is_emulated ? "emulated" : "not emulated", run->id,
                           run->is_emulated ? "emulated" : "not emulated");
        if (!has_plan && !(run->host_w == first->host_w))
            sweep->host_w = NAN;
        if (!wt_sweep_is_usable(run))
            continue;
        is_work_known &= run->work.is_known && run->work.count > 0;
        if (!sweep->work_unit[0])
            wt_text(sweep->work_unit, sizeof(sweep->work_unit), "%s", run->work.unit);
        is_work_known &= strcmp(sweep->work_unit, run->work.unit) == 0;
        least = run->work.count < least ? run->work.count : least;
        most = run->work.count > most ? run->work.count : most;
    }
    if (!is_work_known)
        sweep->work_unit[0] = '\0';
    /* A step more or less at the end of a run is no different work. */
    sweep->is_per_work = is_work_known && (double)most > 1.001 * (double)least;
    return 0;
}

static const char *find_reference(const struct wt_sweep *sweep)
{
    const char *best = NULL, *rest;
    double highest = -INFINITY;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (run->is_reference)
            return run->label;
        char knob[32], unit[16];
        double value;
        if (split_label(run->label, knob, sizeof(knob), &value, &rest, unit, sizeof(unit)) &&
            value > highest) {
            highest = value;
            best = run->label;
        }
    }
    /* None of its runs is there, as the sweep ended before: another would be another comparison. */
    if (sweep->plan.reference[0])
        return sweep->plan.reference;
    return best ? best : sweep->runs[0].label;
}

/* What the next setting in a label, "power=150 W, dtype=bf16", is sorted by: its number, or where
 * it has words its place in the plan; *text moves behind it. A part with neither comes first. */
static double next_rank(const struct wt_sweep *sweep, size_t part, const char **text)
{
    size_t length = strcspn(*text, ",");
    const char *equals = memchr(*text, '=', length);
    const char *from = equals ? equals + 1 : *text;
    from += strspn(from, " ");
    size_t rest = (size_t)(*text + length - from);
    const struct wt_sweep_axis *axis =
        part < sweep->plan.axis_count ? &sweep->plan.axes[part] : NULL;
    char number[32] = "";
    double value = -INFINITY;
    size_t digits = strcspn(from, " ,");
    if (axis && !is_all_numbers(axis)) {
        for (size_t i = 0; i < axis->value_count; i++)
            if (strlen(axis->values[i]) == rest && strncmp(axis->values[i], from, rest) == 0)
                value = (double)i;
    } else if (digits < sizeof(number)) {
        wt_text(number, sizeof(number), "%.*s", (int)digits, from);
        if (wt_text_to_double(number, &value) < 0)
            value = -INFINITY;
    }
    *text += length + ((*text)[length] == ',');
    return value;
}

/* The number of a name, where names were varied; else 0. */
static int64_t name_number(const struct wt_sweep *sweep, const struct tally *tally)
{
    enum wt_knob knob;
    const struct wt_run *run = &sweep->runs[tally->first];
    return wt_knob_from_name(sweep->knob, &knob) == 0 && wt_knob_is_named(knob) &&
                   run->setting_count
               ? run->settings[0].requested
               : 0;
}

/* By the setting; settings of several knobs by the first, then the second. */
static bool is_before(const struct wt_sweep *sweep, const struct wt_sweep_row *a,
                      const struct tally *ta, const struct wt_sweep_row *b, const struct tally *tb)
{
    if (name_number(sweep, ta) != name_number(sweep, tb))
        return name_number(sweep, ta) < name_number(sweep, tb);
    if (isnan(a->setting) != isnan(b->setting))
        return isnan(a->setting);
    if (!isnan(a->setting) && a->setting != b->setting)
        return a->setting < b->setting;
    const char *la = a->label, *lb = b->label;
    for (size_t part = 0; isnan(a->setting) && (*la || *lb); part++) {
        double na = next_rank(sweep, part, &la), nb = next_rank(sweep, part, &lb);
        if (na < nb || na > nb)
            return na < nb;
    }
    return ta->first < tb->first;
}

/* Puts rows in order of setting; there are few. */
static void sort_rows(const struct wt_sweep *sweep, struct wt_sweep_row *rows,
                      struct tally *tallies, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i;
             k > 0 && is_before(sweep, &rows[k], &tallies[k], &rows[k - 1], &tallies[k - 1]); k--) {
            struct wt_sweep_row row = rows[k];
            struct tally tally = tallies[k];
            rows[k] = rows[k - 1];
            tallies[k] = tallies[k - 1];
            rows[k - 1] = row;
            tallies[k - 1] = tally;
        }
}

/* Why a run that ended well has no energy, by what is counted and not known; "" when none is so. */
static void tell_unknown(const struct wt_sweep *sweep, const char *label, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (strcmp(run->label, label) != 0 || run->exit_code != 0 ||
            run->total.provenance != WT_PROV_UNKNOWN)
            continue;
        wt_text(buf, size, "no device here can be measured (wattune doctor)");
        for (size_t k = run->device_count; k-- > 0;) {
            const struct wt_run_device *d = &run->devices[k];
            if (d->is_counted && d->energy.provenance == WT_PROV_UNKNOWN)
                wt_text(buf, size, "%.90s: %.160s", d->name, *d->note ? d->note : "unknown");
        }
        return;
    }
}

static int make(struct wt_sweep *sweep, const char *reference_label, struct tally *tallies,
                struct wt_error *err)
{
    int rc = read_common(sweep, err);
    if (rc < 0)
        return rc;
    find_knob(sweep);
    describe_machine(sweep);
    if (!reference_label)
        reference_label = find_reference(sweep);

    for (size_t i = 0; i < sweep->run_count; i++) {
        const char *label = sweep->runs[i].label;
        bool is_new = true;
        for (size_t k = 0; k < sweep->row_count; k++)
            is_new &= strcmp(tallies[k].label, label) != 0;
        if (!is_new)
            continue;
        struct tally *tally = &tallies[sweep->row_count];
        tally_label(tally, sweep, label);
        if (!tally->count)
            continue;
        struct wt_sweep_row *row = &sweep->rows[sweep->row_count++];
        const char *words;
        row->setting = find_setting(sweep, label, &words);
        wt_text(row->label, sizeof(row->label), "%s", words);
        row->repeats = (unsigned)tally->count;
        row->first_run = tally->first;
        row->provenance = weakest_provenance(sweep, label);
        row->is_reference = strcmp(label, reference_label) == 0;
        find_binding(row, sweep, label);
    }
    sort_rows(sweep, sweep->rows, tallies, sweep->row_count);

    sweep->reference = SIZE_MAX;
    for (size_t i = 0; i < sweep->row_count; i++)
        if (sweep->rows[i].is_reference)
            sweep->reference = i;
    if (sweep->reference == SIZE_MAX) {
        char why[320];
        tell_unknown(sweep, reference_label, why, sizeof(why));
        wt_fail(err, WT_E_USAGE,
                "no run at the reference setting (%s) ended well with a known energy%s%s",
                wt_sweep_label_words(reference_label), *why ? ": " : "", why);
        if (!*why)
            wt_fix(err, "look at its runs: wattune runs");
        return WT_E_USAGE;
    }
    struct pool pool = pool_of(tallies, sweep->row_count);
    for (size_t i = 0; i < sweep->row_count; i++)
        fill_row(&sweep->rows[i], &tallies[i], &tallies[sweep->reference], &pool, sweep);
    /* A cap may hold a device back some way below it: lower power is proof enough. */
    for (size_t i = 0; i < sweep->row_count; i++)
        sweep->rows[i].is_binding |=
            sweep->rows[i].is_binding_known && sweep->rows[i].power_ratio.high < 1;
    sweep->spread = pool.freedom ? pool.energy_sd : (double)NAN;
    sweep->value_spread = pool.freedom ? pool.value_sd : (double)NAN;
    sweep->time_spread = pool.freedom ? pool.time_sd : (double)NAN;
    sweep->power_spread = pool.freedom ? pool.power_sd : (double)NAN;
    wt_sweep_choose(sweep);
    wt_sweep_advise(sweep);
    if (find_failures(sweep) < 0 || warn_of_failed_runs(sweep) < 0 ||
        wt_sweep_warn_of_limits(sweep) < 0 || warn_of_comparison(sweep, &pool) < 0 ||
        wt_sweep_find_outliers(sweep) < 0 || wt_sweep_warn_of_warmup(sweep) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a sweep's warnings");
    return 0;
}

/* A plan of its own for the sweep: the one that was given, or the newest that the runs keep. One
 * that cannot be read (a newer version's) is as none. */
static int take_plan(struct wt_sweep *sweep, const struct wt_sweep_plan *plan)
{
    char *text = plan ? wt_sweep_plan_to_json(plan) : NULL;
    const char *kept = text;
    if (plan && !text)
        return WT_E_NOMEM;
    for (size_t i = sweep->run_count; !kept && i-- > 0;)
        kept = sweep->runs[i].plan;
    int rc = kept ? wt_sweep_plan_from_json(&sweep->plan, kept, NULL) : WT_E_NOTFOUND;
    free(text);
    if (rc < 0)
        wt_goal_init(&sweep->plan.goal);
    return plan ? rc : 0;
}

int wt_sweep_make_by(struct wt_sweep *ret_sweep, struct wt_run *runs, size_t count,
                     const char *reference_label, const struct wt_sweep_plan *plan,
                     struct wt_error *err)
{
    if (!count)
        return wt_fail(err, WT_E_USAGE, "a sweep without a run");
    struct wt_sweep sweep = {.runs = runs, .run_count = count};
    sweep.rows = calloc(count, sizeof(*sweep.rows));
    struct tally *tallies = calloc(count, sizeof(*tallies));
    struct wt_plain plain;
    wt_plain_enter(&plain);
    int rc;
    if (sweep.rows && tallies && take_plan(&sweep, plan) == 0)
        rc = make(&sweep, reference_label, tallies, err);
    else
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a sweep of %zu runs", count);
    wt_plain_leave(&plain);
    free(tallies);
    if (rc < 0)
        wt_sweep_done(&sweep);
    else
        *ret_sweep = sweep;
    return rc;
}

int wt_sweep_make(struct wt_sweep *ret_sweep, struct wt_run *runs, size_t count,
                  const char *reference_label, struct wt_error *err)
{
    return wt_sweep_make_by(ret_sweep, runs, count, reference_label, NULL, err);
}

void wt_sweep_done(struct wt_sweep *sweep)
{
    for (size_t i = 0; i < sweep->warning_count; i++)
        free(sweep->warnings[i]);
    free(sweep->warnings);
    free(sweep->outliers);
    free(sweep->failures);
    free(sweep->rows);
    wt_sweep_plan_done(&sweep->plan);
    memset(sweep, 0, sizeof(*sweep));
}
