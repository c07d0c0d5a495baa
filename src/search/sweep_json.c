/* sweep_json: a sweep's document. Its form is stable: docs/json.md. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "record/record.h"
#include "search/sweep.h"

static json_t *params_json(const struct wt_run *run)
{
    json_t *all = json_object();
    for (size_t i = 0; i < run->param_count; i++)
        json_object_set_new(all, run->params[i].name, wt_json_text(run->params[i].value));
    return all;
}

static json_t *told_json(const struct wt_sweep *sweep, size_t row)
{
    struct wt_sweep_told told;
    json_t *all = json_object();
    wt_sweep_told_names(sweep, &told);
    for (size_t i = 0; i < told.count; i++)
        json_object_set_new(all, told.names[i],
                            wt_json_number(wt_sweep_told(sweep, row, told.names[i])));
    return all;
}

static json_t *row_json(const struct wt_sweep *sweep, size_t i)
{
    const struct wt_sweep_row *row = &sweep->rows[i];
    return json_pack(
        "{s:o, s:o, s:b, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:b, s:o, s:o,"
        " s:o, s:b, s:i, s:o, s:o}",
        "label", wt_json_text(row->label), "setting", wt_json_number(row->setting), "is_reference",
        row->is_reference, "is_choice", !sweep->is_pair && i == sweep->choice, "repeats",
        (int)row->repeats, "time_s", wt_json_estimate(&row->time_s), "energy_j",
        wt_json_estimate(&row->energy_j), "power_w", wt_json_estimate(&row->power_w), "time_ratio",
        wt_json_estimate(&row->time_ratio), "energy_ratio", wt_json_estimate(&row->energy_ratio),
        "power_ratio", wt_json_estimate(&row->power_ratio), "j_per_work",
        wt_json_estimate(&row->j_per_work), "work_per_s", wt_json_estimate(&row->work_per_s),
        "provenance", wt_provenance_name(row->provenance), "is_binding",
        row->is_binding_known ? json_boolean(row->is_binding) : json_null(), "is_overlapping_best",
        row->is_overlapping_best, "value", wt_json_estimate(&row->value), "value_ratio",
        wt_json_estimate(&row->value_ratio), "need",
        sweep->is_to_target ? json_real(row->need) : json_null(), "is_admissible",
        row->is_admissible, "outliers", (int)row->outlier_count, "params",
        params_json(&sweep->runs[row->first_run]), "told", told_json(sweep, i));
}

static json_t *outlier_json(const struct wt_sweep *sweep, const struct wt_sweep_outlier *o)
{
    const struct wt_run *run = &sweep->runs[o->run];
    return json_pack("{s:o, s:o, s:i, s:s, s:o, s:o, s:o, s:o, s:b}", "run", wt_json_text(run->id),
                     "label", wt_json_text(run->label), "repeat", (int)run->repeat, "what",
                     o->is_time ? "time" : "energy", "value", wt_json_number(o->value), "median",
                     wt_json_number(o->median), "ratio", wt_json_number(o->value / o->median),
                     "score", wt_json_number(o->score), "is_pair", o->is_pair);
}

static json_t *failure_json(const struct wt_sweep *sweep, const struct wt_sweep_failure *f)
{
    json_t *runs = json_array();
    for (size_t i = 0; i < sweep->run_count; i++)
        if (strcmp(sweep->runs[i].label, sweep->runs[f->last_run].label) == 0)
            json_array_append_new(runs, wt_json_text(sweep->runs[i].id));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "label", wt_json_text(f->label), "params",
                     params_json(&sweep->runs[f->last_run]), "runs", runs, "exit_code",
                     f->exit_code ? json_integer(f->exit_code) : json_null(), "why",
                     wt_json_text(f->why));
}

/* {"batch": {"8": 3, "16": 3.4}}; null when nothing was given. */
static json_t *needs_json(const struct wt_sweep *sweep)
{
    if (!sweep->is_to_target)
        return json_null();
    json_t *all = json_object();
    for (size_t i = 0; i < sweep->plan.axis_count; i++) {
        const struct wt_sweep_axis *axis = &sweep->plan.axes[i];
        json_t *one = axis->needs ? json_object() : NULL;
        for (size_t k = 0; one && k < axis->value_count; k++)
            json_object_set_new(one, axis->values[k], wt_json_number(axis->needs[k]));
        if (one)
            json_object_set_new(all, axis->name, one);
    }
    return all;
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? wt_json_text(text) : json_null();
}

json_t *wt_sweep_json(const struct wt_sweep *sweep)
{
    const struct wt_sweep_row *choice = &sweep->rows[sweep->choice];
    struct wt_goal goal = sweep->plan.goal;
    goal.host_w = isnan(sweep->host_w) ? 0 : sweep->host_w;
    json_t *rows = json_array(), *warnings = json_array(), *runs = json_array();
    json_t *outliers = json_array(), *failed = json_array();
    bool is_broken = !rows || !warnings || !runs || !outliers || !failed;
    for (size_t i = 0; i < sweep->row_count; i++)
        is_broken |= json_array_append_new(rows, row_json(sweep, i)) < 0;
    for (size_t i = 0; i < sweep->warning_count; i++)
        is_broken |= json_array_append_new(warnings, wt_json_text(sweep->warnings[i])) < 0;
    for (size_t i = 0; i < sweep->run_count; i++)
        is_broken |= json_array_append_new(runs, wt_json_text(sweep->runs[i].id)) < 0;
    for (size_t i = 0; i < sweep->outlier_count; i++)
        is_broken |= json_array_append_new(outliers, outlier_json(sweep, &sweep->outliers[i])) < 0;
    for (size_t i = 0; i < sweep->failure_count; i++)
        is_broken |= json_array_append_new(failed, failure_json(sweep, &sweep->failures[i])) < 0;
    if (is_broken) {
        json_decref(rows);
        json_decref(warnings);
        json_decref(runs);
        json_decref(outliers);
        json_decref(failed);
        return NULL;
    }
    return json_pack(
        "{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o,"
        " s:{s:o, s:o, s:o, s:o, s:o, s:b, s:b}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o,"
        " s:o, s:o, s:o}",
        "wattune", wt_version(), "group", text_or_null(sweep->group), "emulated",
        sweep->is_emulated, "emulation", text_or_null(sweep->emulation), "command",
        wt_json_text(sweep->title), "machine", wt_json_text(sweep->machine), "knob",
        text_or_null(sweep->knob), "unit", text_or_null(sweep->unit), "work_unit",
        text_or_null(sweep->work_unit), "host_w", wt_json_number(sweep->host_w), "is_per_work",
        sweep->is_per_work, "rows", rows, "reference",
        wt_json_text(sweep->rows[sweep->reference].label), "choice", "label",
        wt_json_text(choice->label), "setting", wt_json_number(choice->setting), "energy_ratio",
        wt_json_estimate(&choice->energy_ratio), "time_ratio",
        wt_json_estimate(&choice->time_ratio), "value_ratio",
        wt_json_estimate(&choice->value_ratio), "is_saving_real", sweep->is_saving_real,
        "is_admissible", choice->is_admissible, "breakeven_host_w",
        wt_json_number(sweep->breakeven_w), "advice", wt_json_text(sweep->advice), "apply",
        text_or_null(sweep->apply), "warnings", warnings, "runs", runs, "spread",
        wt_json_number(sweep->spread), "precision", wt_json_number(sweep->precision),
        "repeats_for_1_percent", (int)wt_sweep_repeats_for(sweep, 0.01), "goal",
        wt_goal_json(&goal), "needs", needs_json(sweep), "outliers", outliers, "failed", failed);
}

char *wt_sweep_to_json(const struct wt_sweep *sweep)
{
    json_t *doc = wt_sweep_json(sweep);
    return doc ? wt_json_dump(doc) : NULL;
}
