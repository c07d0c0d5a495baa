/* pair_json: the document of a comparison. Its form is stable: docs/json.md. */
#include <jansson.h>
#include <math.h>

#include "record/record.h"
#include "search/pair.h"

static json_t *figure_json(const struct wt_pair_figure *f)
{
    if (isnan(f->ratio.value))
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:s,s:b,s:o}", "a", wt_json_estimate(&f->a), "b",
                     wt_json_estimate(&f->b), "ratio", wt_json_estimate(&f->ratio), "verdict",
                     wt_pair_verdict_name(f->verdict), "is_real",
                     f->verdict == WT_PAIR_LOWER || f->verdict == WT_PAIR_HIGHER, "repeats_needed",
                     f->repeats ? json_integer(f->repeats) : json_null());
}

static json_t *side_json(const struct wt_pair *p, bool is_b)
{
    const struct wt_sweep *s = &p->sweep;
    const struct wt_sweep_row *row = &s->rows[is_b ? !s->reference : s->reference];
    json_t *ids = json_array();
    size_t from = is_b ? p->a_count : 0, to = is_b ? p->a_count + p->b_count : p->a_count;
    for (size_t i = from; i < to; i++)
        json_array_append_new(ids, wt_json_text(p->runs[i].id));
    return json_pack("{s:o,s:i,s:o,s:s}", "runs", ids, "counted", (int)row->repeats, "command",
                     wt_json_text(p->runs[from].command), "provenance",
                     wt_provenance_name(row->provenance));
}

char *wt_pair_to_json(const struct wt_pair *pair)
{
    const struct wt_sweep *s = &pair->sweep;
    json_t *notes = json_array();
    for (size_t i = 0; i < pair->note_count; i++)
        json_array_append_new(notes, wt_json_text(pair->notes[i]));
    json_t *doc = json_pack(
        "{s:s,s:b,s:b,s:o,s:o,s:o,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "wattune",
        wt_version(), "emulated", pair->is_emulated, "replayed", pair->is_replayed, "origin",
        pair->origin[0] ? wt_json_text(pair->origin) : json_null(), "a", side_json(pair, false),
        "b", side_json(pair, true), "is_per_work", s->is_per_work, "work_unit",
        s->work_unit[0] ? wt_json_text(s->work_unit) : json_null(), "host_w",
        wt_json_number(s->host_w), "time_s", figure_json(&pair->figures[WT_PAIR_TIME]), "energy_j",
        figure_json(&pair->figures[WT_PAIR_ENERGY]), "power_w",
        figure_json(&pair->figures[WT_PAIR_POWER]), "j_per_work",
        figure_json(&pair->figures[WT_PAIR_PER_WORK]), "spread", wt_json_number(s->spread),
        "sentence", wt_json_text(pair->sentence), "notes", notes);
    return doc ? wt_json_dump(doc) : NULL;
}
