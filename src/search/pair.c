/* pair: two groups of runs against each other. They are made a sweep of two settings, so that all
 * arithmetic of intervals is the sweep's (see the head of sweep.c); here is what it means.
 *
 * On different boards the gain of their sensors does not cancel, and no repeats shrink it. Sensors
 * that are not numbered world-wide ("cpu-package-0") are another one on another host. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "search/pair.h"

const char *wt_pair_verdict_name(enum wt_pair_verdict verdict)
{
    static const char *const names[] = {"alike", "lower", "higher", "unproven"};
    return names[verdict];
}

/* ---- notes ---- */

static int note(struct wt_pair *p, const char *fmt, ...) WT_PRINTF(2, 3);
static int note(struct wt_pair *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int rc = wt_texts_add(&p->notes, &p->note_count, fmt, args);
    va_end(args);
    return rc;
}

/* ---- may they be compared? ---- */

/* "": of this machine, measured or modeled. */
static const char *kind_of(const struct wt_run *run)
{
    return run->is_emulated ? "emulated" : run->is_replayed ? "replayed" : "";
}

static int check_runs(const struct wt_pair *p, struct wt_error *err)
{
    const struct wt_run *first = &p->runs[0];
    size_t count = p->a_count + p->b_count;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->runs[i].id, p->runs[k].id) == 0)
                return wt_fail(err, WT_E_USAGE, "run %s is there twice", p->runs[i].id);
    for (size_t i = 1; i < count; i++) {
        const char *kind = kind_of(first), *other = kind_of(&p->runs[i]);
        if (strcmp(kind, other) == 0)
            continue;
        return wt_fail(err, WT_E_MIXED, "run %s is %s%s, run %s is %s%s: they cannot be compared",
                       first->id, kind[0] ? "" : "not ", kind[0] ? kind : other, p->runs[i].id,
                       other[0] ? "" : "not ", other[0] ? other : kind);
    }
    return 0;
}

/* The kind of work of the runs that count; NULL: of some it is not known. */
static int check_work(struct wt_pair *p, struct wt_error *err)
{
    const struct wt_run *known = NULL, *unknown = NULL;
    for (size_t i = 0; i < p->a_count + p->b_count; i++) {
        const struct wt_run *run = &p->runs[i];
        if (!wt_sweep_is_usable(run))
            continue;
        if (!run->work.is_known || !run->work.count) {
            unknown = run;
            continue;
        }
        if (known && strcmp(known->work.unit, run->work.unit) != 0) {
            wt_fail(err, WT_E_USAGE, "run %s did %s, run %s did %s: their energies do not compare",
                    known->id, known->work.unit, run->id, run->work.unit);
            wt_fix(err, "count both in one unit: wattune run --work UNIT=N");
            return WT_E_USAGE;
        }
        known = run;
    }
    if (!unknown)
        return 0;
    return known ? note(p,
                        "run %s told of no work, and %s did: whether they did the same amount is "
                        "not known, and it is taken so",
                        unknown->id, known->id)
                 : note(p, "no run told of its work: each is taken to have done the same amount");
}

/* A side of which nothing counts, and why not. */
static int check_side(const struct wt_run *runs, size_t count, const char *side,
                      struct wt_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (wt_sweep_is_usable(&runs[i]))
            return 0;
    const struct wt_run *run = &runs[0];
    const struct wt_run_setting *lost = wt_run_lost(run);
    char why[240];
    if (run->state != WT_RUN_DONE)
        wt_text(why, sizeof(why), "%s",
                run->state == WT_RUN_RUNNING ? "is still running" : "was cut short");
    else if (run->exit_code)
        wt_text(why, sizeof(why), "failed with exit code %d", run->exit_code);
    else if (lost)
        wt_text(why, sizeof(why), "had its %s for a part of the time only (%s)",
                wt_knob_name(lost->knob), lost->lost);
    else
        wt_text(why, sizeof(why), "has no known energy");
    wt_fail(err, WT_E_USAGE, "no run of %s ended well with a known energy: %s %s%s", side, run->id,
            why, count > 1 ? ", and so on" : "");
    wt_fix(err, "`wattune runs %s` shows it", run->id);
    return WT_E_USAGE;
}

/* ---- as a sweep ---- */

static bool is_one_host(const struct wt_pair *p)
{
    for (size_t i = 1; i < p->a_count + p->b_count; i++)
        if (strcmp(p->runs[i].host, p->runs[0].host) != 0)
            return false;
    return true;
}

/* Devices of its own for a run, named with their host. */
static int name_devices(struct wt_run *run)
{
    struct wt_run_device *own = calloc(run->device_count ? run->device_count : 1, sizeof(*own));
    if (!own)
        return WT_E_NOMEM;
    for (size_t i = 0; i < run->device_count; i++) {
        own[i] = run->devices[i];
        wt_text(own[i].id, sizeof(own[i].id), "%.40s/%.54s", run->host, run->devices[i].id);
    }
    run->devices = own;
    return 0;
}

/* "2 runs with power=150 W", of its first. */
static void describe(char *buf, size_t size, const struct wt_run *runs, size_t count)
{
    char value[64];
    const char *lead = " with ";
    if (count == 1)
        wt_text(buf, size, "%s", runs->id);
    else
        wt_text(buf, size, "%zu runs from %s on", count, runs->id);
    for (size_t i = 0; i < runs->setting_count; i++) {
        const struct wt_run_setting *set = &runs->settings[i];
        bool is_told = false; /* the same on another device */
        for (size_t k = 0; k < i && !is_told; k++)
            is_told =
                runs->settings[k].knob == set->knob && runs->settings[k].enforced == set->enforced;
        size_t used = strlen(buf);
        if (is_told)
            continue;
        wt_text(buf + used, size - used, "%s%s=%s", lead, wt_knob_name(set->knob),
                wt_knob_value_text(value, sizeof(value), set->knob, set->enforced));
        lead = ", ";
    }
    for (size_t i = 0; i < runs->param_count; i++) {
        size_t used = strlen(buf);
        wt_text(buf + used, size - used, "%s%s=%s", lead, runs->params[i].name,
                runs->params[i].value);
        lead = ", ";
    }
}

static int take(struct wt_pair *p, const struct wt_run *runs, size_t count, const char *label)
{
    describe(p->what[*label == 'B'], sizeof(p->what[0]), runs, count);
    for (size_t i = 0; i < count; i++) {
        struct wt_run *run = &p->runs[p->a_count + p->b_count];
        *run = runs[i];
        wt_text(run->label, sizeof(run->label), "%s", label);
        run->group[0] = '\0';
        run->repeat = (unsigned)i;
        run->is_reference = *label == 'A';
        run->plan = NULL;
        if (!wt_run_lost(run)) {
            run->settings = NULL; /* whatever was set is what is compared */
            run->setting_count = 0;
        }
        run->params = NULL;
        run->param_count = 0;
        p->a_count += *label == 'A';
        p->b_count += *label == 'B';
    }
    return 0;
}

static void tell_origin(struct wt_pair *p)
{
    p->is_emulated = p->runs[0].is_emulated;
    p->is_replayed = p->runs[0].is_replayed && !p->is_emulated;
    for (size_t i = 0; i < p->a_count + p->b_count; i++)
        wt_run_add_origin(&p->runs[i], p->origin, sizeof(p->origin));
}

/* ---- what it means ---- */

static void judge(struct wt_pair *p, enum wt_pair_what what, double spread, double run_bound,
                  double shared_bound)
{
    struct wt_pair_figure *f = &p->figures[what];
    const struct wt_sweep *s = &p->sweep;
    unsigned had =
        s->rows[0].repeats < s->rows[1].repeats ? s->rows[0].repeats : s->rows[1].repeats;
    bool is_spread_known = !isnan(spread);
    if (isnan(f->ratio.value))
        return;
    f->verdict = f->ratio.high < 1  ? WT_PAIR_LOWER
                 : f->ratio.low > 1 ? WT_PAIR_HIGHER
                                    : WT_PAIR_ALIKE;
    if (!is_spread_known && what == WT_PAIR_TIME)
        f->ratio.low = f->ratio.high = NAN;
    if (!is_spread_known && f->verdict != WT_PAIR_ALIKE)
        f->verdict = WT_PAIR_UNPROVEN;
    if (f->verdict != WT_PAIR_ALIKE || !is_spread_known)
        return;
    /* The half width at which the interval of this ratio leaves 1 out. */
    unsigned n = wt_repeats_for(spread, run_bound, shared_bound, 2, fabs(1 / f->ratio.value - 1));
    f->repeats = n && n <= had ? had + 1 : n;
}

/* A run that is alone on its side has the interval that it has everywhere else. */
static struct wt_estimate energy_of(const struct wt_pair *p, const struct wt_sweep_row *row,
                                    size_t first)
{
    const struct wt_joules *total = &p->runs[first].total;
    if ((first ? p->b_count : p->a_count) > 1 || !isnan(p->sweep.host_w))
        return row->energy_j;
    return (struct wt_estimate){total->energy_j, total->low_j, total->high_j};
}

static void fill(struct wt_pair *p)
{
    const struct wt_sweep *s = &p->sweep;
    const struct wt_sweep_row *a = &s->rows[s->reference], *b = &s->rows[!s->reference];
    struct wt_pair_figure *f = p->figures;
    struct wt_estimate of_a = energy_of(p, a, 0), of_b = energy_of(p, b, p->a_count);
    f[WT_PAIR_TIME] = (struct wt_pair_figure){a->time_s, b->time_s, b->time_ratio, 0, 0};
    f[WT_PAIR_ENERGY] = (struct wt_pair_figure){of_a, of_b, b->energy_ratio, 0, 0};
    f[WT_PAIR_POWER] = (struct wt_pair_figure){a->power_w, b->power_w, b->power_ratio, 0, 0};
    f[WT_PAIR_PER_WORK] = f[WT_PAIR_ENERGY];
    f[WT_PAIR_PER_WORK].a = a->j_per_work;
    f[WT_PAIR_PER_WORK].b = b->j_per_work;
    /* Of the same amount of work the ratio of energies is that per unit. */
    if (isnan(a->j_per_work.value) || isnan(b->j_per_work.value) || !s->work_unit[0])
        f[WT_PAIR_PER_WORK].ratio = f[WT_PAIR_PER_WORK].a = f[WT_PAIR_PER_WORK].b =
            (struct wt_estimate){NAN, NAN, NAN};
    judge(p, WT_PAIR_TIME, s->time_spread, 0, 0);
    judge(p, WT_PAIR_ENERGY, s->spread, b->run_bound, b->shared_bound);
    judge(p, WT_PAIR_POWER, s->power_spread, b->run_bound, b->shared_bound);
    judge(p, WT_PAIR_PER_WORK, s->spread, b->run_bound, b->shared_bound);
}

/* "takes 24.1 % less energy than A [23.2, 25.0]" of one figure. */
static void say_figure(const struct wt_pair *p, enum wt_pair_what what, char *buf, size_t size)
{
    static const struct {
        const char *lower, *higher, *name;
    } words[] = {{"less time", "more time", "time"}, {"less energy", "more energy", "energy"}};
    const struct wt_pair_figure *f = &p->figures[what];
    double share = fabs(f->ratio.value - 1) * 100;
    const char *way = f->ratio.value < 1 ? words[what].lower : words[what].higher;
    double one = fabs(f->ratio.low - 1) * 100, other = fabs(f->ratio.high - 1) * 100;
    const char *per = p->sweep.is_per_work ? " for the same work" : "";
    char interval[64] = "";
    if (!isnan(one))
        wt_text(interval, sizeof(interval), " [%.1f, %.1f]", fmin(one, other), fmax(one, other));
    switch (f->verdict) {
    case WT_PAIR_LOWER:
    case WT_PAIR_HIGHER:
        wt_text(buf, size, "B takes %.1f %% %s%s%s than A, and the difference is real.", share, way,
                interval, per);
        return;
    case WT_PAIR_UNPROVEN:
        wt_text(buf, size,
                "B took %.1f %% %s%s%s than A; whether that is more than two runs of the same "
                "differ by is not known, as nothing was repeated.",
                share, way, interval, per);
        return;
    default:
        break;
    }
    char more[200] = " Nothing was repeated, so how many repeats would tell is not known.";
    if (f->repeats)
        wt_text(more, sizeof(more),
                " About %u repeats of each would tell a difference of this size.", f->repeats);
    else if (!isnan(p->sweep.spread))
        wt_text(more, sizeof(more),
                " No number of repeats up to 1000 would tell a difference of "
                "this size%s.",
                what == WT_PAIR_ENERGY && p->sweep.rows[!p->sweep.reference].shared_bound > 0.002
                    ? ", as the sensors' own error stays"
                    : "");
    wt_text(buf, size,
            "By %s A and B cannot be told apart: B/A is %.3f, and its interval [%.3f, %.3f] "
            "holds 1.%s",
            words[what].name, f->ratio.value, f->ratio.low, f->ratio.high, more);
}

static bool is_device_shared(const struct wt_pair *p)
{
    for (size_t i = 0; i < p->a_count; i++)
        for (size_t k = p->a_count; k < p->a_count + p->b_count; k++)
            if (wt_runs_share_device(&p->runs[i], &p->runs[k]))
                return true;
    return false;
}

static int tell_notes(struct wt_pair *p)
{
    const struct wt_sweep *s = &p->sweep;
    const struct wt_run *other = NULL;
    bool is_host_given = false;
    int rc = note(p, "A is %s; B is %s", p->what[0], p->what[1]);
    if (s->rows[0].provenance == WT_PROV_MODELED || s->rows[1].provenance == WT_PROV_MODELED)
        rc |= note(p,
                   "energies and powers of %s are modeled: estimated from load, and not "
                   "measured, within the bands in which the truth is expected",
                   s->rows[0].provenance != s->rows[1].provenance
                       ? s->rows[s->reference].provenance == WT_PROV_MODELED ? "A" : "B"
                       : "both");
    for (size_t i = 0; i < p->a_count + p->b_count; i++) {
        is_host_given |= p->runs[i].host_w > 0;
        if (strcmp(p->runs[i].command, p->runs[0].command) != 0)
            other = &p->runs[i];
    }
    if (other)
        rc |= note(p, "they are of different commands: %.200s; %.200s", p->runs[0].command,
                   other->command);
    if (!is_device_shared(p))
        rc |= note(p, "A and B ran on different devices: what their sensors are off by does not "
                      "cancel, and is in the intervals");
    if (isnan(s->spread))
        rc |= note(p, "A and B ran once each: the intervals hold the error of the measurement, not "
                      "the spread between runs; three runs of each would show it");
    if (!isnan(s->host_w))
        rc |= note(p, "energies have %.4g W of the rest of the node in them, as it was given",
                   s->host_w);
    else if (is_host_given)
        rc |= note(p, "the rest of the node was not given alike for all: it is left out");
    for (size_t i = 0; i < s->warning_count; i++)
        if (strncmp(s->warnings[i], "each setting ran once", 21) != 0) /* said above */
            rc |= note(p, "%s", s->warnings[i]);
    return rc < 0 ? WT_E_NOMEM : 0;
}

/* A page says them in place of the sweep's, most of which they hold. */
static int give_notes(struct wt_pair *p)
{
    struct wt_sweep *s = &p->sweep;
    char **warnings = calloc(p->note_count + 1, sizeof(*warnings));
    if (!warnings)
        return WT_E_NOMEM;
    for (size_t i = 0; i < s->warning_count; i++)
        free(s->warnings[i]);
    free(s->warnings);
    s->warnings = warnings;
    for (s->warning_count = 0; s->warning_count < p->note_count; s->warning_count++)
        if (!(warnings[s->warning_count] = strdup(p->notes[s->warning_count])))
            return WT_E_NOMEM;
    return 0;
}

/* ---- making it ---- */

static int make(struct wt_pair *p, struct wt_error *err)
{
    int rc = check_runs(p, err);
    if (rc == 0)
        rc = check_side(p->runs, p->a_count, "A", err);
    if (rc == 0)
        rc = check_side(p->runs + p->a_count, p->b_count, "B", err);
    if (rc == 0)
        rc = check_work(p, err);
    if (rc == 0)
        rc = wt_sweep_make(&p->sweep, p->runs, p->a_count + p->b_count, "A", err);
    if (rc < 0)
        return rc;
    char time[400], energy[480];
    fill(p);
    say_figure(p, WT_PAIR_ENERGY, energy, sizeof(energy));
    say_figure(p, WT_PAIR_TIME, time, sizeof(time));
    wt_text(p->sentence, sizeof(p->sentence), "%s %s", energy, time);
    if (tell_notes(p) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a comparison");
    /* What a page made of the sweep says. */
    wt_text(p->sweep.advice, sizeof(p->sweep.advice), "%s", p->sentence);
    p->sweep.apply[0] = '\0';
    p->sweep.is_pair = true;
    if (give_notes(p) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a comparison");
    if (p->is_emulated)
        wt_text(p->sweep.emulation, sizeof(p->sweep.emulation), "%.63s", p->origin);
    return 0;
}

int wt_pair_make(struct wt_pair *ret_pair, const struct wt_run *a, size_t a_count,
                 const struct wt_run *b, size_t b_count, struct wt_error *err)
{
    struct wt_pair p = {0};
    struct wt_plain plain;
    if (!a_count || !b_count)
        return wt_fail(err, WT_E_USAGE, "a comparison needs a run on each side");
    p.runs = calloc(a_count + b_count, sizeof(*p.runs));
    if (!p.runs)
        return wt_fail(err, WT_E_NOMEM, "no memory to compare %zu runs", a_count + b_count);
    take(&p, a, a_count, "A");
    take(&p, b, b_count, "B");
    tell_origin(&p);
    int rc = 0;
    p.has_own_devices = !is_one_host(&p);
    for (size_t i = 0; p.has_own_devices && i < a_count + b_count; i++)
        if (name_devices(&p.runs[i]) < 0) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory to compare %zu runs", a_count + b_count);
            for (; i < a_count + b_count; i++)
                p.runs[i].devices = NULL; /* the caller's */
        }
    wt_plain_enter(&plain);
    if (rc == 0)
        rc = make(&p, err);
    wt_plain_leave(&plain);
    if (rc < 0)
        wt_pair_done(&p);
    else
        *ret_pair = p;
    return rc;
}

void wt_pair_done(struct wt_pair *pair)
{
    for (size_t i = 0; pair->has_own_devices && i < pair->a_count + pair->b_count; i++)
        free(pair->runs[i].devices);
    for (size_t i = 0; i < pair->note_count; i++)
        free(pair->notes[i]);
    free(pair->notes);
    wt_sweep_done(&pair->sweep);
    free(pair->runs);
    *pair = (struct wt_pair){0};
}
