/* window: what a measured window puts into a run's record. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"

static bool can_measure(const struct wt_device_info *info)
{
    return (info->can & (WT_CAN_ENERGY | WT_CAN_POWER)) != 0;
}

/* A part that no sensor sees by itself: that its energy is not known is how it is made, and neither
 * a gap nor news. */
static bool is_blind_part(const struct wt_device_info *info)
{
    return info && info->is_part && !can_measure(info);
}

int wt_run_set_window(struct wt_run *run, const struct wt_devices *devices,
                      const struct wt_window_result *result)
{
    struct wt_run_device *list = calloc(result->device_count + 1, sizeof(*list));
    struct wt_run_gap *gaps = calloc(result->gap_count + 1, sizeof(*gaps));
    if (!list || !gaps) {
        free(list);
        free(gaps);
        return WT_E_NOMEM;
    }
    for (size_t i = 0; i < result->device_count; i++) {
        const struct wt_window_device *from = &result->devices[i];
        const struct wt_device_info *info = wt_devices_info(devices, from->device);
        struct wt_run_device *to = &list[i];
        if (info) {
            wt_text(to->id, sizeof(to->id), "%s", info->id);
            wt_text(to->name, sizeof(to->name), "%s", info->name);
            wt_text(to->source, sizeof(to->source), "%s", info->source);
            wt_text(to->driver, sizeof(to->driver), "%s", info->driver);
            to->kind = info->kind;
            to->index = (int)info->index;
            to->is_part = info->is_part;
            wt_text(to->part_of, sizeof(to->part_of), "%s", info->part_of);
            to->is_modeled = info->is_modeled;
            to->has_sensor = can_measure(info);
            to->is_counted = info->is_counted;
            to->gain_ppm = info->traits.gain_ppm;
            to->offset_mw = info->traits.offset_mw;
            run->is_emulated |= info->is_emulated;
        }
        run->is_replayed |= from->energy.provenance == WT_PROV_REPLAYED;
        to->energy = from->energy;
        to->check = from->check;
        to->method = from->method;
        to->is_check_off = from->is_check_off;
        to->mean_w = from->mean_w;
        to->max_w = from->max_w;
        if (!is_blind_part(info))
            wt_text(to->note, sizeof(to->note), "%s", from->note);
    }
    size_t gap_count = 0;
    for (size_t i = 0; i < result->gap_count; i++) {
        const struct wt_window_gap *from = &result->gaps[i];
        const struct wt_device_info *info = wt_devices_info(devices, from->device);
        if (is_blind_part(info))
            continue;
        struct wt_run_gap *to = &gaps[gap_count++];
        wt_text(to->device_id, sizeof(to->device_id), "%s", info ? info->id : "");
        to->from_s = wt_s_from_ns(from->from_ns - result->begin_ns);
        to->to_s = wt_s_from_ns(from->to_ns - result->begin_ns);
        to->bound_j = from->bound_j;
        wt_text(to->why, sizeof(to->why), "%s", from->why);
    }
    for (size_t i = 0; i < run->device_count; i++)
        free(run->devices[i].attribution.shares);
    free(run->devices);
    free(run->gaps);
    run->devices = list;
    run->device_count = result->device_count;
    run->gaps = gaps;
    run->gap_count = gap_count;
    run->wall_s = wt_s_from_ns(result->end_ns - result->begin_ns);
    run->total = result->total;
    run->has_estimate = result->has_estimate;
    run->estimate = result->estimate;
    wt_text(run->weakest, sizeof(run->weakest), "%s", result->weakest);
    return 0;
}

int wt_run_set_phases(struct wt_run *run, const struct wt_phases_result *result)
{
    free(run->phases);
    run->phases = NULL;
    run->phase_count = 0;
    wt_text(run->phases_note, sizeof(run->phases_note), "%s", result->note);
    for (size_t i = 0; i < result->count; i++) {
        const struct wt_phase_energy *from = &result->phases[i];
        struct wt_run_phase phase = {
            .count = from->count,
            .wall_s = from->wall_s,
            .own_s = from->own_s,
            .energy = from->energy,
            .mean_w = from->mean_w,
            .is_separable = from->is_separable,
            .joint = from->joint,
        };
        wt_text(phase.name, sizeof(phase.name), "%s", from->name[0] ? from->name : "(rest)");
        wt_text(phase.with, sizeof(phase.with), "%s", from->with);
        if (wt_run_add_phase(run, &phase) < 0)
            return WT_E_NOMEM;
    }
    return 0;
}

struct wt_node_check wt_run_node_check(const struct wt_run *run)
{
    struct wt_node_check check = {.node = SIZE_MAX,
                                  .parts = {0, 0, 0, WT_PROV_COUNTER},
                                  .rest = {NAN, NAN, NAN, WT_PROV_UNKNOWN}};
    bool has_parts = false;
    for (size_t i = 0; i < run->device_count; i++) {
        const struct wt_run_device *d = &run->devices[i];
        if (d->energy.provenance == WT_PROV_UNKNOWN || d->energy.provenance == WT_PROV_MODELED)
            continue;
        /* Of parts only psys contains what is summed: a rail or a module need not. */
        if (d->kind == WT_DEVICE_NODE && d->is_part && strcmp(d->id, "node-psys") != 0)
            continue;
        if (d->kind == WT_DEVICE_NODE) {
            /* A meter of the whole node before one of a part of it (psys). */
            if (check.node == SIZE_MAX || (run->devices[check.node].is_part && !d->is_part))
                check.node = i;
        } else if (!d->is_part) {
            if (has_parts && wt_joules_add(&check.parts, &check.parts, &d->energy) < 0)
                break;
            if (!has_parts)
                check.parts = d->energy;
            has_parts = true;
        }
    }
    if (!has_parts)
        check.node = SIZE_MAX;
    if (check.node == SIZE_MAX)
        return check;
    const struct wt_joules *node = &run->devices[check.node].energy;
    check.is_off = check.parts.low_j > node->high_j;
    check.rest = (struct wt_joules){
        node->energy_j - check.parts.energy_j, node->low_j - check.parts.high_j,
        node->high_j - check.parts.low_j,
        node->provenance < check.parts.provenance ? node->provenance : check.parts.provenance};
    return check;
}

int wt_meter_result_json(struct wt_meter *meter, const struct wt_devices *devices, uint64_t window,
                         int64_t wait_ns, char **ret_json, struct wt_error *err)
{
    struct wt_window_result result;
    struct wt_run run = {0};
    int rc = wt_meter_result(meter, window, wait_ns, &result, err);
    if (rc < 0)
        return rc;
    rc = wt_run_set_window(&run, devices, &result);
    json_t *doc = rc == 0 ? wt_run_json(&run, false) : NULL;
    /* A window is no run: what only a run has would read as if it were known. */
    json_t *part = json_object();
    static const char *const kept[] = {"wall_s", "devices", "total", "with_modeled", "gaps"};
    for (size_t i = 0; doc && part && i < WT_COUNTOF(kept); i++)
        if (json_object_get(doc, kept[i]))
            json_object_set(part, kept[i], json_object_get(doc, kept[i]));
    if (part)
        json_object_set_new(part, "name", wt_json_text(result.name));
    json_decref(doc);
    *ret_json = part ? wt_json_dump(part) : NULL;
    wt_window_result_done(&result);
    wt_run_done(&run);
    return *ret_json ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a window's result");
}
