/* sweep_json: a sweep's document. Its form is stable: docs/json.md. */
#include <jansson.h>
#include <math.h>

#include "record/record.h"
#include "search/sweep.h"

static json_t *estimate_json(const struct wt_estimate *e)
{
    if (isnan(e->value))
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "value", wt_json_number(e->value), "low",
                     wt_json_number(e->low), "high", wt_json_number(e->high));
}

static json_t *row_json(const struct wt_sweep *sweep, size_t i)
{
    const struct wt_sweep_row *row = &sweep->rows[i];
    return json_pack(
        "{s:o, s:o, s:b, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:b}", "label",
        wt_json_text(row->label), "setting", wt_json_number(row->setting), "is_reference",
        row->is_reference, "is_choice", i == sweep->choice, "repeats", (int)row->repeats, "time_s",
        estimate_json(&row->time_s), "energy_j", estimate_json(&row->energy_j), "power_w",
        estimate_json(&row->power_w), "time_ratio", estimate_json(&row->time_ratio), "energy_ratio",
        estimate_json(&row->energy_ratio), "power_ratio", estimate_json(&row->power_ratio),
        "j_per_work", estimate_json(&row->j_per_work), "work_per_s",
        estimate_json(&row->work_per_s), "provenance", wt_provenance_name(row->provenance),
        "is_binding", row->is_binding_known ? json_boolean(row->is_binding) : json_null(),
        "is_overlapping_best", row->is_overlapping_best);
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? wt_json_text(text) : json_null();
}

json_t *wt_sweep_json(const struct wt_sweep *sweep)
{
    const struct wt_sweep_row *choice = &sweep->rows[sweep->choice];
    json_t *rows = json_array(), *warnings = json_array(), *runs = json_array();
    bool is_broken = !rows || !warnings || !runs;
    for (size_t i = 0; i < sweep->row_count; i++)
        is_broken |= json_array_append_new(rows, row_json(sweep, i)) < 0;
    for (size_t i = 0; i < sweep->warning_count; i++)
        is_broken |= json_array_append_new(warnings, wt_json_text(sweep->warnings[i])) < 0;
    for (size_t i = 0; i < sweep->run_count; i++)
        is_broken |= json_array_append_new(runs, wt_json_text(sweep->runs[i].id)) < 0;
    if (is_broken) {
        json_decref(rows);
        json_decref(warnings);
        json_decref(runs);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o,"
                     " s:{s:o, s:o, s:o, s:o, s:b}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}",
                     "wattune", wt_version(), "group", text_or_null(sweep->group), "emulated",
                     sweep->is_emulated, "emulation", text_or_null(sweep->emulation), "command",
                     wt_json_text(sweep->title), "machine", wt_json_text(sweep->machine), "knob",
                     text_or_null(sweep->knob), "unit", text_or_null(sweep->unit), "work_unit",
                     text_or_null(sweep->work_unit), "host_w", wt_json_number(sweep->host_w),
                     "is_per_work", sweep->is_per_work, "rows", rows, "reference",
                     wt_json_text(sweep->rows[sweep->reference].label), "choice", "label",
                     wt_json_text(choice->label), "setting", wt_json_number(choice->setting),
                     "energy_ratio", estimate_json(&choice->energy_ratio), "time_ratio",
                     estimate_json(&choice->time_ratio), "is_saving_real", sweep->is_saving_real,
                     "breakeven_host_w", wt_json_number(sweep->breakeven_w), "advice",
                     wt_json_text(sweep->advice), "apply", text_or_null(sweep->apply), "warnings",
                     warnings, "runs", runs, "spread", wt_json_number(sweep->spread), "precision",
                     wt_json_number(sweep->precision), "repeats_for_1_percent",
                     (int)wt_sweep_repeats_for(sweep, 0.01));
}

char *wt_sweep_to_json(const struct wt_sweep *sweep)
{
    json_t *doc = wt_sweep_json(sweep);
    return doc ? wt_json_dump(doc) : NULL;
}
