/* plan_json: a plan's document. The form is stable: docs/json.md. */
#include <jansson.h>
#include <math.h>

#include "plan/signal.h"
#include "record/record.h"

static json_t *time_json(int64_t t_s)
{
    char buf[32];
    return json_string(wt_moment_text(buf, sizeof(buf), t_s));
}

static json_t *text_or_null(const char *text)
{
    return *text ? wt_json_text(text) : json_null();
}

static int put_sum(json_t *o, const struct wt_plan_sum *sum)
{
    return wt_json_put(o, "run_s", json_integer(sum->run_s)) < 0 ||
                   wt_json_put(o, "energy_kwh", wt_json_number(sum->energy_kwh)) < 0 ||
                   wt_json_put(o, "facility_kwh", wt_json_number(sum->facility_kwh)) < 0 ||
                   wt_json_put(o, "carbon_g", wt_json_number(sum->carbon_g)) < 0 ||
                   wt_json_put(o, "cost", wt_json_number(sum->cost)) < 0 ||
                   wt_json_put(o, "forecast_share", wt_json_number(sum->forecast_share)) < 0
               ? -1
               : 0;
}

static json_t *segments_json(const struct wt_segment *segments, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < count; i++) {
        json_t *o = json_object();
        if (wt_json_put(o, "start", time_json(segments[i].start_s)) < 0 ||
            wt_json_put(o, "end", time_json(segments[i].end_s)) < 0) {
            json_decref(o);
            json_decref(all);
            return NULL;
        }
        json_array_append_new(all, o);
    }
    return all;
}

static json_t *baseline_json(const struct wt_plan_result *r, size_t place)
{
    const struct wt_plan_sum *sum = &r->plans[place].baseline;
    struct wt_segment now = {sum->start_s, sum->end_s};
    json_t *o = json_object();
    if (wt_json_put(o, "region", text_or_null(r->places[place].region)) < 0 ||
        wt_json_put(o, "segments", segments_json(&now, 1)) < 0 || put_sum(o, sum) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *saving_json(const struct wt_plan_sum *now, const struct wt_plan_sum *sum,
                           double share)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "share", wt_json_number(share), "facility_kwh",
                     wt_json_number(now->facility_kwh - sum->facility_kwh), "carbon_g",
                     wt_json_number(now->carbon_g - sum->carbon_g), "cost",
                     wt_json_number(now->cost - sum->cost));
}

/* The fields of one place; its baseline is that of another where it is compared with that. */
static int put_place(json_t *o, const struct wt_plan_result *r, size_t at, size_t baseline,
                     double saving)
{
    const struct wt_plan *plan = &r->plans[at];
    return wt_json_put(o, "region", text_or_null(r->places[at].region)) < 0 ||
                   wt_json_put(o, "segments", segments_json(plan->segments, plan->count)) < 0 ||
                   put_sum(o, &plan->sum) < 0 ||
                   wt_json_put(o, "baseline", baseline_json(r, baseline)) < 0 ||
                   wt_json_put(o, "saving",
                               saving_json(&r->plans[baseline].baseline, &plan->sum, saving)) < 0
               ? -1
               : 0;
}

static json_t *regions_json(const struct wt_plan_result *r)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < r->count; i++) {
        json_t *o = json_object();
        if (put_place(o, r, i, i, r->plans[i].saving) < 0) {
            json_decref(o);
            json_decref(all);
            return NULL;
        }
        json_array_append_new(all, o);
    }
    return all;
}

int wt_place_signals_json(json_t *all, const struct wt_place *place)
{
    static const char *const forms[] = {[WT_SIGNAL_SERIES] = "series",
                                        [WT_SIGNAL_TABLE] = "table",
                                        [WT_SIGNAL_CONSTANT] = "constant"};
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        if (!place->signals[k])
            continue;
        struct wt_signal_info info = wt_signal_info(place->signals[k]);
        bool is_series = info.form == WT_SIGNAL_SERIES;
        json_t *o = json_object();
        if (wt_json_put(o, "region", text_or_null(place->region)) < 0 ||
            wt_json_put(o, "signal", json_string(wt_signal_kind_name(info.kind))) < 0 ||
            wt_json_put(o, "source", wt_json_text(info.name)) < 0 ||
            wt_json_put(o, "form", json_string(forms[info.form])) < 0 ||
            wt_json_put(o, "start", is_series ? time_json(info.begin_s) : json_null()) < 0 ||
            wt_json_put(o, "end", is_series ? time_json(info.end_s) : json_null()) < 0 ||
            wt_json_put(o, "fetched", info.fetched_s ? time_json(info.fetched_s) : json_null()) <
                0 ||
            wt_json_put(o, "forecast_from",
                        info.service_s != INT64_MAX ? time_json(info.service_s) : json_null()) <
                0 ||
            wt_json_put(o, "is_stale", json_boolean(info.is_stale)) < 0) {
            json_decref(o);
            return -1;
        }
        if (json_array_append_new(all, o) < 0)
            return -1;
    }
    return 0;
}

static json_t *signals_json(const struct wt_plan_result *r)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < r->count; i++)
        if (wt_place_signals_json(all, &r->places[i]) < 0) {
            json_decref(all);
            return NULL;
        }
    return all;
}

static json_t *forecasts_json(const struct wt_plan_result *r)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < r->forecast_count; i++) {
        const struct wt_signal_forecast *f = &r->forecasts[i].forecast;
        json_t *o = json_object();
        if (wt_json_put(o, "region", text_or_null(r->forecasts[i].region)) < 0 ||
            wt_json_put(o, "signal", json_string(wt_signal_kind_name(r->forecasts[i].kind))) < 0 ||
            wt_json_put(o, "start", time_json(f->from_s)) < 0 ||
            wt_json_put(o, "end", time_json(f->to_s)) < 0 ||
            wt_json_put(o, "method", json_string(f->weeks ? "hour of week" : "hour of day")) < 0 ||
            wt_json_put(o, "weeks", f->weeks ? json_integer(f->weeks) : json_null()) < 0 ||
            wt_json_put(o, "memory", wt_json_number(f->memory)) < 0 ||
            wt_json_put(o, "trials", json_integer((json_int_t)f->trials)) < 0 ||
            wt_json_put(o, "mean_abs_error", wt_json_number(f->mean_abs)) < 0 ||
            wt_json_put(o, "relative_error", wt_json_number(f->relative)) < 0 ||
            wt_json_put(o, "bias", wt_json_number(f->bias)) < 0) {
            json_decref(o);
            json_decref(all);
            return NULL;
        }
        json_array_append_new(all, o);
    }
    return all;
}

static json_t *notes_json(const struct wt_plan_result *r)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < r->note_count; i++)
        json_array_append_new(all, wt_json_text(r->notes[i].text));
    return all;
}

/* 0 is none, as NaN is. */
static json_t *time_bound(double time_s)
{
    return time_s > 0 ? wt_json_number(time_s) : json_null();
}

static json_t *job_json(const struct wt_plan_result *r)
{
    const struct wt_job *job = &r->job;
    bool is_given = r->power.provenance == WT_PROV_UNKNOWN;
    json_t *o = json_object();
    if (wt_json_put(o, "power_w", wt_json_number(job->power_w)) < 0 ||
        wt_json_put(o, "power_low_w", wt_json_number(r->power.low_w)) < 0 ||
        wt_json_put(o, "power_high_w", wt_json_number(r->power.high_w)) < 0 ||
        wt_json_put(o, "provenance",
                    json_string(is_given ? "given" : wt_provenance_name(r->power.provenance))) <
            0 ||
        wt_json_put(o, "run", text_or_null(r->power.run_id)) < 0 ||
        wt_json_put(o, "prediction", text_or_null(r->power.prediction)) < 0 ||
        wt_json_put(o, "emulation", text_or_null(r->power.emulation)) < 0 ||
        wt_json_put(o, "duration_s", json_integer(job->duration_s)) < 0 ||
        wt_json_put(o, "duration_low_s", time_bound(r->power.time_low_s)) < 0 ||
        wt_json_put(o, "duration_high_s", time_bound(r->power.time_high_s)) < 0 ||
        wt_json_put(o, "start", time_json(job->start_s)) < 0 ||
        wt_json_put(o, "deadline", time_json(job->deadline_s)) < 0 ||
        wt_json_put(o, "is_interruptible", json_boolean(job->is_interruptible)) < 0 ||
        wt_json_put(o, "checkpoint_s", json_integer(job->checkpoint_s)) < 0 ||
        wt_json_put(o, "segment_min_s", json_integer(job->segment_min_s)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *wt_plan_to_json(const struct wt_plan_result *r)
{
    json_t *o = json_object();
    if (wt_json_put(o, "wattune", json_string(WATTUNE_VERSION)) < 0 ||
        wt_json_put(o, "objective", json_string(wt_objective_name(r->job.objective))) < 0 ||
        wt_json_put(o, "job", job_json(r)) < 0 || put_place(o, r, r->best, 0, r->saving) < 0 ||
        wt_json_put(o, "regions", regions_json(r)) < 0 ||
        wt_json_put(o, "signals", signals_json(r)) < 0 ||
        wt_json_put(o, "forecasts", forecasts_json(r)) < 0 ||
        wt_json_put(o, "notes", notes_json(r)) < 0) {
        json_decref(o);
        return NULL;
    }
    return wt_json_dump(o);
}
