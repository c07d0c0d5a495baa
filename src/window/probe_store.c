/* probe_store: what a probe found, as JSON and on disk. docs/json.md describes the document. */
#include <jansson.h>
#include <stdlib.h>

#include "base/base.h"
#include "sensor/probed.h"
#include "wattune/probe.h"

static json_t *probed_to_json(const struct wt_probed *p)
{
    if (!p->is_known)
        return json_pack("{s:n, s:n, s:n, s:s}", "value", "low", "high", "why", p->why);
    return json_pack("{s:o, s:o, s:o}", "value", wt_json_number(p->value), "low",
                     wt_json_number(p->low), "high", wt_json_number(p->high));
}

static json_t *faults_to_json(unsigned faults)
{
    static const struct {
        unsigned fault;
        const char *name;
    } rows[] = {
        {WT_PROBE_FROZEN, "frozen"},
        {WT_PROBE_JUMPED, "jumped"},
        {WT_PROBE_NEGATIVE, "negative"},
        {WT_PROBE_FAILING, "failing"},
    };
    json_t *list = json_array();
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (faults & rows[i].fault)
            json_array_append_new(list, json_string(rows[i].name));
    return list;
}

static json_t *sensor_to_json(const struct wt_probe_sensor *s, bool is_counter)
{
    static const char *const shapes[] = {
        [WT_PROBE_SHAPE_UNKNOWN] = "unknown",
        [WT_PROBE_SHAPE_WINDOW] = "window",
        [WT_PROBE_SHAPE_RISE] = "rise",
    };
    if (!s->is_there)
        return json_null();
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:o}",
                     "period_s", probed_to_json(&s->period_s), "shape", shapes[s->shape],
                     "window_s", probed_to_json(&s->window_s), "delay_s",
                     probed_to_json(&s->delay_s), "rise_s", probed_to_json(&s->rise_s),
                     is_counter ? "step_j" : "step_w", probed_to_json(&s->quantum), "idle_w",
                     wt_json_number(s->low_w), "load_w", wt_json_number(s->high_w), "fit",
                     wt_json_number(s->fit), "faults", faults_to_json(s->faults), "fault", s->fault,
                     "reads", (json_int_t)s->reads, "failures", (json_int_t)s->failures, "changes",
                     (json_int_t)s->changes, "poll_s", wt_json_number(s->poll_s));
}

static json_t *result_to_json(const struct wt_probe_result *r)
{
    static const char *const plain[] = {
        [WT_PROBE_PLAIN_UNKNOWN] = "unknown",
        [WT_PROBE_PLAIN_INSTANT] = "instant",
        [WT_PROBE_PLAIN_AVERAGE] = "average",
    };
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:s, s:b, s:o, s:o, s:o, s:s, s:o, s:o}",
                     "id", r->id, "name", r->name, "source", r->source, "driver", r->driver,
                     "is_emulated", (int)r->is_emulated, "date", r->date, "seconds",
                     wt_json_number(r->seconds), "load", r->load, "is_loaded", (int)r->is_loaded,
                     "power", sensor_to_json(&r->sensors[WT_PROBE_POWER], false), "plain",
                     sensor_to_json(&r->sensors[WT_PROBE_PLAIN], false), "counter",
                     sensor_to_json(&r->sensors[WT_PROBE_ENERGY], true), "plain_is",
                     plain[r->plain], "counter_to_power", probed_to_json(&r->ratio), "agrees",
                     r->ratio.is_known ? json_boolean(r->is_ratio_within) : json_null());
}

char *wt_probe_to_json(const struct wt_probe_result *results, size_t count)
{
    json_t *devices = json_array();
    bool is_emulated = false;
    for (size_t i = 0; i < count; i++) {
        is_emulated |= results[i].is_emulated;
        if (json_array_append_new(devices, result_to_json(&results[i])) < 0) {
            json_decref(devices);
            return NULL;
        }
    }
    json_t *root = json_pack("{s:s, s:b, s:o}", "wattune", wt_version(), "is_emulated",
                             (int)is_emulated, "devices", devices);
    return root ? wt_json_dump(root) : NULL;
}

int wt_probe_store(struct wt_ctx *ctx, const struct wt_probe_result *r, char *ret_path, size_t size,
                   struct wt_error *err)
{
    if (!r->is_loaded)
        return wt_fail(err, WT_E_STATE, "%s: no load ran, so it is not kept", r->id);
    if (!r->found)
        return wt_fail(err, WT_E_STATE, "%s: nothing was found that could be kept", r->id);
    struct wt_device_info info = {.is_emulated = r->is_emulated};
    wt_text(info.id, sizeof(info.id), "%s", r->id);
    wt_text(info.name, sizeof(info.name), "%s", r->name);
    wt_text(info.driver, sizeof(info.driver), "%s", r->driver);
    struct wt_probed_traits probed = {
        .traits = r->traits,
        .has_energy_period = r->found & WT_PROBE_FOUND_ENERGY_PERIOD,
        .has_energy_quantum = r->found & WT_PROBE_FOUND_ENERGY_QUANTUM,
        .has_energy_window = r->found & WT_PROBE_FOUND_ENERGY_WINDOW,
        .has_power_period = r->found & WT_PROBE_FOUND_POWER_PERIOD,
        .has_power_shape = r->found & WT_PROBE_FOUND_POWER_SHAPE,
    };
    json_t *details = result_to_json(r);
    if (!details)
        return wt_fail(err, WT_E_NOMEM, "no memory for what was found");
    return wt_traits_save(ctx, &info, r->date, &probed, details, ret_path, size, err);
}
