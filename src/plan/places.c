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
        if (!wt_signal_meets_forecast(place->signals[k], r->job.deadline_s))
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

static int note_forecasts(struct wt_plan_result *r, struct wt_error *err)
{
    char where[64];
    int rc = 0;
    for (size_t i = 0; i < r->count; i++)
        for (int k = 0; rc == 0 && k < WT_SIGNAL_KINDS; k++)
            if (r->places[i].signals[k] && !is_told_before(r, i, k))
                rc = wt_signal_note_forecast(&r->notes, &r->note_count, r->places[i].signals[k],
                                             of_places(r, i, k, where, sizeof(where)),
                                             r->job.deadline_s, err);
    return rc;
}

static int note_place(struct wt_plan_result *r, size_t at, struct wt_error *err)
{
    const struct wt_place *place = &r->places[at];
    struct wt_segment window = {r->job.start_s, r->job.deadline_s};
    char where[64];
    int rc = 0;
    for (int k = 0; rc == 0 && k < WT_SIGNAL_KINDS; k++)
        if (place->signals[k] && !is_told_before(r, at, k))
            rc = wt_signal_note(&r->notes, &r->note_count, place->signals[k],
                                of_places(r, at, k, where, sizeof(where)), &window,
                                "to the deadline", err);
    if (rc == 0 && isnan(wt_plan_objective(&r->plans[at].baseline, r->job.objective)))
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

/* Of a prediction: power and time, and by what factor that leaves every sum open. Both are taken
 * as independent, as predict takes them. */
static int note_prediction(struct wt_plan_result *r, struct wt_error *err)
{
    const struct wt_plan_power *p = &r->power;
    bool has_power = p->provenance != WT_PROV_UNKNOWN, has_time = p->time_high_s > 0;
    char power[80] = "", time[160] = "", span[3][48];
    double low = 0, high = 0; /* logarithms */
    if (has_power) {
        wt_text(power, sizeof(power), "%.4g W [%.4g, %.4g]", r->job.power_w, p->low_w, p->high_w);
        low = log(r->job.power_w / p->low_w);
        high = log(p->high_w / r->job.power_w);
    }
    if (has_time) {
        wt_text(time, sizeof(time), "%s [%s, %s]",
                wt_span_text(span[0], sizeof(span[0]), r->job.duration_s),
                wt_span_text(span[1], sizeof(span[1]), (int64_t)p->time_low_s),
                wt_span_text(span[2], sizeof(span[2]), (int64_t)ceil(p->time_high_s)));
        low = hypot(low, log((double)r->job.duration_s / p->time_low_s));
        high = hypot(high, log(p->time_high_s / (double)r->job.duration_s));
    }
    int rc = WT_NOTE(r, err,
                     "%s predicted and not measured, for %s: %s%s%s (95 %%). So every sum here may "
                     "be %.2g to %.2g times what it says",
                     !has_time    ? "the power is"
                     : !has_power ? "the time is"
                                  : "power and time are",
                     p->prediction, power, has_power && has_time ? " for " : "", time, exp(-low),
                     exp(high));
    if (rc == 0 && has_power && !(p->host_w > 0))
        rc = WT_NOTE(r, err,
                     "that is the power of its devices; the rest of the node is not in it "
                     "(wattune predict --host-watts)");
    if (rc == 0 && p->is_too_large)
        rc = WT_NOTE(r, err, "%s: by the prediction it does not fit into the devices' memory",
                     p->prediction);
    return rc;
}

/* A job whose time is known within bounds may be late. */
static int note_late(struct wt_plan_result *r, struct wt_error *err)
{
    const struct wt_job *job = &r->job;
    int64_t most_s = r->power.time_high_s > 0 ? (int64_t)ceil(r->power.time_high_s) : 0;
    int64_t late_s = r->plans[r->best].sum.end_s + most_s - job->duration_s - job->deadline_s;
    char most[48], late[48], planned[48];
    if (most_s <= job->duration_s || late_s <= 0)
        return 0;
    wt_span_text(most, sizeof(most), most_s);
    wt_span_text(late, sizeof(late), late_s);
    wt_span_text(planned, sizeof(planned), job->duration_s);
    if (most_s > job->deadline_s - job->start_s)
        return WT_NOTE(r, err,
                       "WARNING: it may take up to %s, which is longer than there is before the "
                       "deadline: by this plan it then ends %s late",
                       most, late);
    bool is_long = most_s >= 172800;
    int64_t unit_s = is_long ? 3600 : 60;
    return WT_NOTE(r, err,
                   "WARNING: it may take up to %s where %s are planned, and by this plan it then "
                   "ends %s after the deadline: --duration %lld%s plans for that",
                   most, planned, late, (long long)((most_s + unit_s - 1) / unit_s),
                   is_long ? "h" : "min");
}

static int note_power(struct wt_plan_result *r, struct wt_error *err)
{
    const struct wt_plan_power *p = &r->power;
    if (*p->prediction) {
        int rc = note_prediction(r, err);
        return rc < 0 ? rc : note_late(r, err);
    }
    if (p->provenance == WT_PROV_UNKNOWN)
        return 0;
    return WT_NOTE(
        r, err,
        "the power is that of run %s: %.4g W [%.4g, %.4g], %s; every energy here is as wide",
        p->run_id, r->job.power_w, p->low_w, p->high_w, wt_provenance_name(p->provenance));
}

static int add_notes(struct wt_plan_result *r, struct wt_error *err)
{
    const struct wt_plan *best = &r->plans[r->best];
    int rc = note_power(r, err);
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
        rc = WT_NOTE(r, err, "%s the job's own energy is counted, and not the facility's",
                     without == r->count ? "no PUE is given:" : "some places have no PUE: there");
    if (rc == 0 && best->count > 1 && r->job.checkpoint_s) {
        char span[48];
        rc = WT_NOTE(r, err, "%zu interruption%s %s more, counted in", best->count - 1,
                     best->count == 2 ? " takes" : "s take",
                     wt_span_text(span, sizeof(span), best->sum.run_s - r->job.duration_s));
    }
    size_t earning = r->job.objective == WT_OBJECTIVE_COST ? earning_stops(r, r->best) : 0;
    if (rc == 0 && earning)
        rc = WT_NOTE(
            r, err,
            "%zu of the interruptions %s by drawing longer at a negative price: that energy "
            "does no work",
            earning, earning == 1 ? "earns" : "earn");
    return rc;
}

int wt_plan_places(struct wt_plan_result *ret_result, const struct wt_job *job,
                   const struct wt_plan_power *power, const struct wt_place *places, size_t count,
                   struct wt_error *err)
{
    struct wt_plan_result r = {.job = *job, .saving = NAN};
    int rc = 0;
    r.power = power ? *power
                    : (struct wt_plan_power){
                          .low_w = NAN, .high_w = NAN, .time_low_s = NAN, .time_high_s = NAN};
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
