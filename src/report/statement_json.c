/* statement_json: the Energy Statement for programs: docs/statement.schema.json. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "report/statement.h"
#include "report/words.h"

static json_t *count_of(size_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? wt_json_text(text) : json_null();
}

static json_t *joules_json(const struct wt_joules *joules)
{
    json_t *o = json_object();
    if (!o || wt_json_set_joules(o, joules) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *joules_or_null(const struct wt_joules *joules)
{
    return joules->provenance == WT_PROV_UNKNOWN ? json_null() : joules_json(joules);
}

static json_t *runs_json(const struct wt_statement *s)
{
    char first[32], last[32];
    json_t *races =
        json_pack("{s:o,s:o,s:o,s:o,s:o}", "count", count_of(s->races), "trials",
                  count_of(s->raced), "finished", count_of(s->raced_finished), "stopped",
                  count_of(s->raced_stopped), "failed", count_of(s->raced_failed));
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:s,s:o,s:o}", "races",
                     races, "count", count_of(s->run_count), "done", count_of(s->done), "failed",
                     count_of(s->failed), "unstarted", count_of(s->unstarted), "incomplete",
                     count_of(s->incomplete), "running", count_of(s->running), "sweeps",
                     count_of(s->sweeps), "in_sweeps", count_of(s->swept), "trials",
                     count_of(s->trials), "nodes", count_of(s->nodes), "first",
                     wt_time_text(first, sizeof(first), s->first_unix_ns), "last",
                     wt_time_text(last, sizeof(last), s->last_unix_ns), "failed_energy",
                     joules_or_null(&s->failed_energy), "incomplete_energy",
                     joules_or_null(&s->incomplete_energy));
}

static json_t *hardware_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->device_count; i++) {
        const struct wt_statement_device *d = &s->devices[i];
        json_array_append_new(list, json_pack("{s:o,s:s,s:o,s:b}", "name", wt_json_text(d->name),
                                              "kind", wt_device_kind_name(d->kind), "count",
                                              count_of(d->count), "is_modeled", d->is_modeled));
    }
    return list;
}

static json_t *hosts_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->run_count; i++)
        if (wt_statement_is_new_host(s, i))
            json_array_append_new(list,
                                  json_pack("{s:o,s:o}", "name", wt_json_text(s->runs[i].host),
                                            "system", text_or_null(s->runs[i].system)));
    return list;
}

static json_t *energy_json(const struct wt_statement *s)
{
    json_t *parts = json_array(), *host = json_null();
    for (size_t i = 0; i < s->part_count; i++) {
        const struct wt_statement_part *p = &s->parts[i];
        json_t *o = joules_json(&p->energy);
        wt_json_put(o, "method", json_string(wt_provenance_name(p->method)));
        wt_json_put(o, "runs", count_of(p->runs));
        json_array_append_new(parts, o);
    }
    if (s->host_runs)
        host = json_pack("{s:f,s:o}", "energy_j", s->host_j, "runs", count_of(s->host_runs));
    return json_pack("{s:b,s:o,s:o,s:o,s:o,s:o}", "is_whole", s->is_whole, "total",
                     joules_json(&s->total), "by_provenance", parts, "host_given", host, "sum",
                     joules_json(&s->sum), "modeled_beside", joules_or_null(&s->modeled));
}

static json_t *missing_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->missing_count; i++)
        json_array_append_new(list, json_pack("{s:s,s:o}", "what", s->missing[i].what, "text",
                                              wt_json_text(s->missing[i].text)));
    return list;
}

static json_t *unknown_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    char why[300];
    for (size_t i = 0; i < s->unknown_count; i++) {
        const struct wt_run *run = &s->runs[s->unknown[i]];
        wt_statement_why(run, why, sizeof(why));
        json_array_append_new(
            list, json_pack("{s:o,s:o}", "run", wt_json_text(run->id), "why", wt_json_text(why)));
    }
    return list;
}

static json_t *gaps_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->run_count; i++)
        for (size_t k = 0; k < s->runs[i].gap_count; k++) {
            const struct wt_run_gap *gap = &s->runs[i].gaps[k];
            if (wt_gap_is_said(&s->runs[i], k))
                json_array_append_new(
                    list, json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "run", wt_json_text(s->runs[i].id),
                                    "device", wt_json_text(gap->device_id), "from_s",
                                    wt_json_number(gap->from_s), "to_s", wt_json_number(gap->to_s),
                                    "bound_j", wt_json_number(gap->bound_j), "why",
                                    wt_json_text(gap->why)));
        }
    return list;
}

static json_t *carbon_json(const struct wt_statement *s)
{
    const struct wt_region *r = &s->region;
    if (!s->has_region || isnan(r->carbon_g))
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:b}", "g_per_kwh", wt_json_number(r->carbon_g), "source",
                     text_or_null(r->source), "date", text_or_null(r->date), "is_catalogue",
                     r->is_catalogue);
}

static json_t *region_json(const struct wt_statement *s)
{
    const struct wt_region *r = &s->region;
    if (!s->has_region || (!r->id[0] && !r->name[0]))
        return json_null();
    return json_pack("{s:o,s:o,s:o}", "id", text_or_null(r->id), "name", text_or_null(r->name),
                     "country", text_or_null(r->country));
}

static json_t *list_json(const struct wt_statement *s)
{
    json_t *list = json_array();
    static const char *const states[] = {"running", "done", "incomplete"};
    char when[32];
    for (size_t i = 0; i < s->run_count; i++) {
        const struct wt_run *run = &s->runs[i];
        json_t *o = json_pack(
            "{s:o,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id", wt_json_text(run->id), "start",
            wt_time_text(when, sizeof(when), run->start_unix_ns), "state", states[run->state],
            "exit", run->state == WT_RUN_DONE ? json_integer(run->exit_code) : json_null(),
            "wall_s", wt_json_number(run->wall_s), "host", wt_json_text(run->host), "group",
            text_or_null(run->group), "label", text_or_null(run->label), "command",
            wt_json_text(run->command), "host_w",
            run->host_w > 0 ? wt_json_number(run->host_w) : json_null(), "total",
            joules_json(&run->total));
        json_array_append_new(list, o);
    }
    return list;
}

char *wt_statement_to_json(const struct wt_statement *statement)
{
    const struct wt_statement *s = statement;
    char title[120];
    wt_text(title, sizeof(title), "%s%s: %s", wt_statement_mark(s),
            s->kind == WT_STATEMENT_REAL ? "Energy statement" : "energy statement", s->tag);
    json_t *doc =
        json_pack("{s:s,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "wattune", s->version, "title",
                  wt_json_text(title), "tag", wt_json_text(s->tag), "kind",
                  wt_statement_kind_name(s->kind), "origin", text_or_null(s->origin), "runs",
                  runs_json(s), "hardware", hardware_json(s), "hosts", hosts_json(s), "time",
                  json_pack("{s:f,s:f}", "wall_s", s->wall_s, "gpu_hours", s->gpu_hours), "energy",
                  energy_json(s));
    if (!doc)
        return NULL;
    int rc = wt_json_put(doc, "not_measured", missing_json(s));
    rc |= wt_json_put(doc, "unknown", unknown_json(s));
    rc |= wt_json_put(doc, "gaps", gaps_json(s));
    rc |= wt_json_put(doc, "pue", wt_json_number(s->pue));
    rc |= wt_json_put(doc, "pue_source",
                      s->pue_source[0] ? wt_json_text(s->pue_source) : json_null());
    rc |= wt_json_put(doc, "region", region_json(s));
    rc |= wt_json_put(doc, "carbon", carbon_json(s));
    rc |= wt_json_put(doc, "facility_kwh", wt_json_estimate(&s->facility_kwh));
    rc |= wt_json_put(doc, "co2e_g", wt_json_estimate(&s->co2_g));
    rc |= wt_json_put(doc, "list", list_json(s));
    if (rc) {
        json_decref(doc);
        return NULL;
    }
    return wt_json_dump(doc);
}
