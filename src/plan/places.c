/* places: one job planned at several places, and what that rests on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

/* " of DE"; of a signal that other places share too " of DE and others", and of one that holds
 * everywhere "". */
static const char *of_places(const struct wt_plan_result *r, size_t place, int kind, char *buf,
                             size_t size)
{
    size_t sharing = 0;
    for (size_t i = 0; i < r->count; i++)
        sharing += r->places[i].signals[kind] == r->places[place].signals[kind];
    const char *region = r->places[place].region;
    if (!*region || (sharing == r->count && sharing > 1))
        return wt_text(buf, size, "%s", "");
    return wt_text(buf, size, " of %s%s", region, sharing > 1 ? " and others" : "");
}

/* Whether a place before this one has the very signal. */
static bool is_told_before(const struct wt_plan_result *r, size_t place, int kind)
{
    bool is_told = false;
    for (size_t i = 0; i < place; i++)
        is_told |= r->places[i].signals[kind] == r->places[place].signals[kind];
    return is_told;
}

/* A forecast that the job's time before the deadline may meet, made now or by an earlier plan. */
static bool meets_forecast(const struct wt_signal *s, const struct wt_job *job)
{
    return s && s->forecast.from_s < s->forecast.to_s && s->forecast.from_s < job->deadline_s;
}

/* Makes a place's signals reach the deadline, and remembers how. */
static int forecast(struct wt_plan_result *r, const struct wt_place *place, struct wt_error *err)
{
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        struct wt_signal_forecast f = {0};
        if (!place->signals[k])
            continue;
        int rc = wt_signal_forecast(place->signals[k], r->job.deadline_s, &f, err);
        if (rc < 0)
            return rc;
        if (!meets_forecast(place->signals[k], &r->job))
            continue;
        struct wt_plan_forecast *all =
            reallocarray(r->forecasts, r->forecast_count + 1, sizeof(*all));
        if (!all)
            return wt_fail(err, WT_E_NOMEM, "no memory for a plan");
        r->forecasts = all;
        struct wt_plan_forecast *to = &all[r->forecast_count++];
        *to = (struct wt_plan_forecast){.kind = (enum wt_signal_kind)k,
                                        .forecast = place->signals[k]->forecast};
        memcpy(to->region, place->region, sizeof(to->region));
    }
    return 0;
}

static int note_forecast(struct wt_plan_result *r, size_t place, int kind, struct wt_error *err)
{
    const struct wt_signal_forecast *f = &r->places[place].signals[kind]->forecast;
    char from[32], error[120], over[112], where[64], share[24] = "";
    if (f->weeks)
        wt_text(over, sizeof(over),
                "week in the %u weeks before and what is left of the last hours' distance from it",
                f->weeks);
    else
        wt_text(over, sizeof(over), "day in the days before");
    if (!isnan(f->relative)) /* of a series of zeros there is none */
        wt_text(share, sizeof(share), " (%.0f %%)", 100 * f->relative);
    if (f->trials)
        wt_text(error, sizeof(error),
                "made so from %zu earlier moments it was off by %.3g%s on average", f->trials,
                f->mean_abs, share);
    else
        wt_text(error, sizeof(error), "how wrong that is cannot be told from so short a series");
    return WT_NOTE(r, err, "%s%s is a forecast from %s on, the mean of the same hour of the %s: %s",
                   wt_signal_kind_name((enum wt_signal_kind)kind),
                   of_places(r, place, kind, where, sizeof(where)),
                   wt_moment_text(from, sizeof(from), f->from_s), over, error);
}

static int note_forecasts(struct wt_plan_result *r, struct wt_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->count; i++)
        for (int k = 0; rc == 0 && k < WT_SIGNAL_KINDS; k++)
            if (meets_forecast(r->places[i].signals[k], &r->job) && !is_told_before(r, i, k))
                rc = note_forecast(r, i, k, err);
    return rc;
}

/* Seconds of the window in which a signal is not known. */
static int64_t unknown_of(const struct wt_signal *s, const struct wt_job *job)
{
    int64_t unknown_s = 0, until_s;
    size_t row = 0;
    for (int64_t t_s = job->start_s; t_s < job->deadline_s; t_s = until_s) {
        double value;
        enum wt_signal_state state = wt_signal_next(s, &row, t_s, &value, &until_s);
        if (until_s > job->deadline_s)
            until_s = job->deadline_s;
        unknown_s += state == WT_SIGNAL_UNKNOWN ? until_s - t_s : 0;
    }
    return unknown_s;
}

/* The longest time in the window that one row of a series stands for, where it is far longer than
 * others do: a hole in the file, more likely than an hour that lasted days. False: there is none.
 */
static bool find_hole(const struct wt_signal *s, const struct wt_job *job,
                      struct wt_segment *ret_hole)
{
    int64_t end_s = wt_signal_info(s).end_s, longest_s = 0;
    size_t spans = 0;
    if (s->form != WT_SIGNAL_SERIES)
        return false;
    for (size_t i = 0; i + 1 < s->count && s->at_s[i + 1] <= end_s; i++, spans++)
        if (s->at_s[i + 1] - s->at_s[i] > longest_s && s->at_s[i + 1] > job->start_s &&
            s->at_s[i] < job->deadline_s && !isnan(s->values[i])) {
            longest_s = s->at_s[i + 1] - s->at_s[i];
            *ret_hole = (struct wt_segment){s->at_s[i], s->at_s[i + 1]};
        }
    return spans >= 10 && longest_s / 5 > (s->at_s[spans] - s->at_s[0]) / (int64_t)spans;
}

/* Where a live feed's values come from, how old they are, and whose forecast they hold. */
static int note_feed(struct wt_plan_result *r, const struct wt_signal *s, const char *where,
                     struct wt_error *err)
{
    char at[32], from[32], forecast[120] = "";
    const char *kind = wt_signal_kind_name(s->kind);
    if (s->service_s != INT64_MAX)
        wt_text(forecast, sizeof(forecast),
                "; from %s on it is the service's own forecast, used before Wattune's",
                wt_moment_text(from, sizeof(from), s->service_s));
    int rc = WT_NOTE(r, err, "%s%s is from %s, read at %s%s%s%s", kind, where, s->name,
                     wt_moment_text(at, sizeof(at), s->fetched_s), forecast,
                     *s->feed_word ? "; " : "", s->feed_word);
    if (rc == 0 && *s->feed_remark)
        rc = WT_NOTE(r, err, "%s%s: %s", s->name, s->is_stale ? " does not answer" : "",
                     s->feed_remark);
    return rc;
}

static int note_place(struct wt_plan_result *r, size_t at, struct wt_error *err)
{
    const struct wt_place *place = &r->places[at];
    const struct wt_plan *plan = &r->plans[at];
    char where[64], span[48], window[48];
    int rc = 0;
    for (int k = 0; rc == 0 && k < WT_SIGNAL_KINDS; k++) {
        if (!place->signals[k] || is_told_before(r, at, k))
            continue;
        of_places(r, at, k, where, sizeof(where));
        if (place->signals[k]->is_builtin)
            rc = WT_NOTE(r, err,
                         "%s=%s is of another centre, monthly means of 2020 (data/README.md)",
                         wt_signal_kind_name((enum wt_signal_kind)k), place->signals[k]->name);
        if (rc == 0 && place->signals[k]->fetched_s)
            rc = note_feed(r, place->signals[k], where, err);
        if (rc < 0)
            break;
        struct wt_segment hole;
        char from[32], to[32];
        if (find_hole(place->signals[k], &r->job, &hole))
            rc =
                WT_NOTE(r, err, "%s%s has no row between %s and %s: one value stands for all of it",
                        wt_signal_kind_name((enum wt_signal_kind)k), where,
                        wt_moment_text(from, sizeof(from), hole.start_s),
                        wt_moment_text(to, sizeof(to), hole.end_s));
        if (rc < 0)
            break;
        int64_t unknown_s = unknown_of(place->signals[k], &r->job);
        if (unknown_s)
            rc = WT_NOTE(r, err, "%s%s is not known for %s of the %s to the deadline (%s)",
                         wt_signal_kind_name((enum wt_signal_kind)k), where,
                         wt_span_text(span, sizeof(span), unknown_s),
                         wt_span_text(window, sizeof(window), r->job.deadline_s - r->job.start_s),
                         place->signals[k]->name);
    }
    if (rc == 0 && isnan(wt_plan_objective(&plan->baseline, r->job.objective)))
        rc = WT_NOTE(r, err,
                     "what starting now takes%s%s is not known: its signals are not, so long",
                     *place->region ? " in " : "", place->region);
    return rc;
}

/* How many interruptions of a plan take their time where that is paid for. */
static size_t earning_stops(const struct wt_plan_result *r, size_t place)
{
    const struct wt_plan *plan = &r->plans[place];
    size_t stops = 0;
    for (size_t i = 1; i < plan->count; i++) {
        struct wt_segment again = {plan->segments[i].start_s,
                                   plan->segments[i].start_s + r->job.checkpoint_s};
        stops += wt_plan_value(&again, 1, r->job.power_w, &r->places[place]).cost < 0;
    }
    return stops;
}

static int add_notes(struct wt_plan_result *r, struct wt_error *err)
{
    const struct wt_plan *best = &r->plans[r->best];
    int rc = 0;
    if (r->power.provenance != WT_PROV_UNKNOWN)
        rc = WT_NOTE(
            r, err,
            "the power is that of run %s: %.4g W [%.4g, %.4g], %s; every energy here is as wide",
            r->power.run_id, r->job.power_w, r->power.low_w, r->power.high_w,
            wt_provenance_name(r->power.provenance));
    if (rc == 0)
        rc = note_forecasts(r, err);
    for (size_t i = 0; rc == 0 && i < r->count; i++)
        rc = note_place(r, i, err);
    if (rc == 0 && best->sum.forecast_share > 0)
        rc = WT_NOTE(r, err, "%.0f %% of the plan's time rests on a forecast",
                     fmax(1, 100 * best->sum.forecast_share));
    size_t without = 0;
    for (size_t i = 0; i < r->count; i++)
        without += !r->places[i].signals[WT_SIGNAL_PUE];
    if (rc == 0 && without)
        rc = WT_NOTE(r, err, "%s: there the job's own energy is counted, and not the facility's",
                     without == r->count ? "no PUE is given" : "some places have no PUE");
    if (rc == 0 && best->count > 1 && r->job.checkpoint_s) {
        char span[48];
        rc = WT_NOTE(r, err, "%zu interruptions take %s more, counted in", best->count - 1,
                     wt_span_text(span, sizeof(span), best->sum.run_s - r->job.duration_s));
    }
    size_t earning = r->job.objective == WT_OBJECTIVE_COST ? earning_stops(r, r->best) : 0;
    if (rc == 0 && earning)
        rc = WT_NOTE(
            r, err,
            "%zu of the interruptions earn by drawing longer at a negative price: that energy "
            "does no work",
            earning);
    return rc;
}

int wt_plan_places(struct wt_plan_result *ret_result, const struct wt_job *job,
                   const struct wt_plan_power *power, const struct wt_place *places, size_t count,
                   struct wt_error *err)
{
    struct wt_plan_result r = {.job = *job, .saving = NAN};
    int rc = 0;
    r.power = power ? *power : (struct wt_plan_power){.low_w = NAN, .high_w = NAN};
    if (!count)
        return wt_fail(err, WT_E_USAGE, "no signals to plan on");
    r.places = calloc(count, sizeof(*r.places));
    r.plans = calloc(count, sizeof(*r.plans));
    if (!r.places || !r.plans)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a plan");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        r.places[i] = places[i];
        rc = forecast(&r, &places[i], err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = wt_plan_make(&r.plans[i], job, &places[i], err);
        if (rc < 0)
            break;
        r.count++;
        if (i && wt_plan_objective(&r.plans[i].sum, job->objective) <
                     wt_plan_objective(&r.plans[r.best].sum, job->objective))
            r.best = i;
    }
    if (rc == 0) {
        double now = wt_plan_objective(&r.plans[0].baseline, job->objective);
        if (fabs(now) > 0)
            r.saving = (now - wt_plan_objective(&r.plans[r.best].sum, job->objective)) / fabs(now);
        rc = add_notes(&r, err);
    }
    if (rc < 0)
        wt_plan_result_done(&r);
    else
        *ret_result = r;
    return rc;
}

void wt_plan_result_done(struct wt_plan_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        wt_plan_done(&result->plans[i]);
    free(result->places);
    free(result->plans);
    free(result->forecasts);
    free(result->notes);
    memset(result, 0, sizeof(*result));
}
