/* json: a prediction as the run that was not made. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/predict.h"

static struct wt_joules joules(const struct wt_estimate *e, double share)
{
    return (struct wt_joules){e->value * share, e->low * share, e->high * share, WT_PROV_MODELED};
}

static int fill_devices(struct wt_run *run, const struct wt_predict_job *job)
{
    const struct wt_prediction *each = &job->parts[0].each;
    run->devices = calloc(each->devices, sizeof(*run->devices));
    if (!run->devices)
        return WT_E_NOMEM;
    run->device_count = each->devices;
    for (unsigned i = 0; i < each->devices; i++) {
        struct wt_run_device *d = &run->devices[i];
        wt_text(d->id, sizeof(d->id), "%s-%u", each->gpu.id, i);
        wt_text(d->name, sizeof(d->name), "%s", each->gpu.name);
        wt_text(d->source, sizeof(d->source), "predict");
        d->kind = WT_DEVICE_GPU;
        d->index = (int)i;
        d->is_modeled = d->is_counted = true;
        d->energy = joules(&job->energy_j, 1.0 / each->devices);
        d->check = (struct wt_joules){.provenance = WT_PROV_UNKNOWN};
        d->method = WT_PROV_MODELED;
        d->mean_w = job->power_w.value / each->devices;
        d->max_w = NAN;
    }
    return 0;
}

static int fill_run(struct wt_run *run, const struct wt_predict_job *job)
{
    const struct wt_prediction *each = &job->parts[0].each;
    int rc = fill_devices(run, job);
    run->wall_s = job->time_s.value;
    run->host_w = job->site.host_w > 0 ? job->site.host_w : 0;
    run->state = WT_RUN_DONE;
    run->total = joules(&job->energy_j, 1);
    wt_text(run->weakest, sizeof(run->weakest), "%s", each->gpu.name);
    wt_text(run->work.unit, sizeof(run->work.unit), "tokens");
    run->work.count = job->tokens;
    run->work.is_known = true;
    for (unsigned i = 0; rc == 0 && i < each->devices; i++) {
        struct wt_run_setting set = {.knob = WT_KNOB_POWER};
        memcpy(set.device_id, run->devices[i].id, sizeof(set.device_id));
        set.found = set.requested = set.enforced = llround(each->limit_w * 1e3);
        rc = wt_run_add_setting(run, &set);
    }
    for (size_t i = 0; rc == 0 && i < job->part_count; i++) {
        const struct wt_predict_part *p = &job->parts[i];
        struct wt_run_phase phase = {.count = (uint64_t)llround(p->passes),
                                     .wall_s = p->passes * p->each.pass_s.value,
                                     .own_s = p->passes * p->each.pass_s.value,
                                     .mean_w = p->each.power_w.value,
                                     .is_separable = true,
                                     .energy = joules(&p->each.energy_j, p->passes),
                                     .joint = {.provenance = WT_PROV_UNKNOWN}};
        wt_text(phase.name, sizeof(phase.name), "%s", p->name);
        rc = wt_run_add_phase(run, &phase);
    }
    return rc;
}

static json_t *part_json(const struct wt_predict_part *p)
{
    const struct wt_prediction *r = &p->each;
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:s, s:{s:o, s:o, s:o, s:o, s:o}, s:b, s:o, s:o, s:o, s:o}",
        "name", p->name, "passes", wt_json_number(p->passes), "pass_s",
        wt_json_estimate(&r->pass_s), "pass_j", wt_json_estimate(&r->energy_j), "power_w",
        wt_json_estimate(&r->power_w), "limited_by", wt_prediction_limit(r), "time_shares",
        "compute", wt_json_number(r->compute_share), "memory", wt_json_number(r->memory_share),
        "launch", wt_json_number(r->launch_share), "link", wt_json_number(r->link_share), "host",
        wt_json_number(r->host_share), "is_capped", r->is_capped, "fits",
        r->is_fit_known ? json_boolean(r->fits) : json_null(), "clock_mhz",
        wt_json_number(r->clock_mhz), "memory_gb", wt_json_number(r->memory_gb), "flops",
        wt_json_number(r->flops));
}

static void put_site(json_t *j, const struct wt_predict_site *site)
{
    const struct {
        const char *key, *source_key, *source;
        double value;
    } rows[] = {{"pue", "pue_source", site->pue_source, site->pue},
                {"carbon_g_per_kwh", "carbon_source", site->carbon_source, site->carbon_g_per_kwh}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        json_object_set_new(j, rows[i].key, wt_json_number(rows[i].value));
        json_object_set_new(j, rows[i].source_key,
                            *rows[i].source ? json_string(rows[i].source) : json_null());
    }
}

static json_t *prediction_json(const struct wt_predict_job *job)
{
    const struct wt_prediction *each = &job->parts[0].each;
    const char *model = each->work.is_decoder ? each->work.decoder.name : each->work.model.name;
    json_t *parts = json_array();
    for (size_t i = 0; i < job->part_count; i++)
        json_array_append_new(parts, part_json(&job->parts[i]));
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:I, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
        model, "dtype", wt_prediction_dtype(each), "gpu", each->gpu.id, "gpus",
        (json_int_t)each->devices, "basis", wt_predict_basis_name(each->basis), "parameters",
        (json_int_t)wt_work_parameters(&each->work), "limit_w", wt_json_number(each->limit_w),
        "time_s", wt_json_estimate(&job->time_s), "power_w", wt_json_estimate(&job->power_w),
        "tokens_per_s", wt_json_estimate(&job->tokens_per_s), "j_per_token",
        wt_json_estimate(&job->j_per_token), "facility_kwh", wt_json_estimate(&job->facility_kwh),
        "carbon_g", wt_json_estimate(&job->carbon_g), "cost", wt_json_estimate(&job->cost), "parts",
        parts);
    put_site(j, &job->site);
    json_object_set_new(j, "gpu_row",
                        json_string(*each->gpu.origin ? each->gpu.origin : "built-in"));
    if (j && each->measured[0])
        json_object_set_new(j, "calibrated_by", json_string(each->measured));
    if (j && each->measured_on[0])
        json_object_set_new(j, "calibrated_on", json_string(each->measured_on));
    if (j && each->emulation[0])
        json_object_set_new(j, "calibrated_on_emulated", json_string(each->emulation));
    if (j && each->measured[0])
        json_object_set_new(j, "calibration_doubt",
                            each->doubt[0] ? json_string(each->doubt) : json_null());
    return j;
}

char *wt_predict_job_to_json(const struct wt_predict_job *job)
{
    struct wt_run run = {0};
    char *text = fill_run(&run, job) == 0 ? wt_run_to_json(&run) : NULL, *whole = NULL;
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *more = j ? prediction_json(job) : NULL;
    if (j) { /* it never began */
        json_object_set_new(j, "start", json_null());
        json_object_set_new(j, "start_unix_ns", json_null());
        json_object_set_new(j, "wattune", json_string(WATTUNE_VERSION));
    }
    if (more && json_object_set_new(j, "prediction", more) == 0)
        whole = wt_json_dump(json_incref(j));
    json_decref(j);
    free(text);
    wt_run_done(&run);
    return whole;
}
