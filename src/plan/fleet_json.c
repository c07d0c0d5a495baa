/* fleet_json: a replay's document. The form is stable: docs/json.md, "A fleet". */
#include <jansson.h>
#include <math.h>

#include "plan/fleet.h"
#include "plan/signal.h"
#include "record/record.h"

#define USERS_MAX 100

/* One field after another; what fails makes the whole fail. */
struct fields {
    json_t *o;
    bool is_bad;
};

static void put(struct fields *f, const char *key, json_t *value)
{
    f->is_bad |= wt_json_put(f->o, key, value) < 0;
}

static void put_number(struct fields *f, const char *key, double value)
{
    put(f, key, wt_json_number(value));
}

static void put_count(struct fields *f, const char *key, int64_t value)
{
    put(f, key, json_integer(value));
}

/* The object, or NULL. */
static json_t *close_fields(struct fields *f)
{
    if (!f->is_bad)
        return f->o;
    json_decref(f->o);
    return NULL;
}

static json_t *text_or_null(const char *text)
{
    return *text ? wt_json_text(text) : json_null();
}

static json_t *moment_json(const struct wt_trace *t, int64_t t_s)
{
    char buf[32];
    return t->is_dated ? json_string(wt_moment_text(buf, sizeof(buf), t_s)) : json_null();
}

static json_t *trace_json(const struct wt_fleet_result *r)
{
    const struct wt_trace *t = r->trace;
    const struct wt_trace_counts *c = &t->counts;
    struct fields f = {.o = json_object()};
    put(&f, "source", wt_json_text(t->name));
    put(&f, "form", json_string(t->form == WT_TRACE_SWF ? "swf" : "sacct"));
    put_count(&f, "jobs", (json_int_t)r->jobs);
    put_count(&f, "never_ran", (json_int_t)c->never_ran);
    put_count(&f, "running", (json_int_t)c->running);
    put_count(&f, "unknown_run", (json_int_t)c->unknown_run);
    put_count(&f, "unknown_size", (json_int_t)c->unknown_size);
    put_count(&f, "unknown_submit", (json_int_t)c->unknown_submit);
    put_count(&f, "too_large", (json_int_t)r->too_large);
    put_count(&f, "steps", (json_int_t)c->steps);
    put_count(&f, "unknown_asked", (json_int_t)c->unknown_asked);
    put_count(&f, "over_asked", (json_int_t)c->over_asked);
    put_number(&f, "recorded_wait_median_s", r->recorded_wait_s[0]);
    put_number(&f, "recorded_wait_mean_s", r->recorded_wait_s[1]);
    return close_fields(&f);
}

static json_t *cluster_json(const struct wt_fleet_result *r)
{
    const struct wt_fleet_cluster *c = &r->cluster;
    struct fields f = {.o = json_object()};
    put_count(&f, "nodes", c->nodes);
    put(&f, "node_processors",
        r->trace->form == WT_TRACE_SWF ? json_integer(c->node_processors) : json_null());
    put(&f, "node_gpus", c->node_gpus ? json_integer(c->node_gpus) : json_null());
    put(&f, "is_shared", json_boolean(c->is_shared));
    put_number(&f, "busy_w", c->busy_w);
    put_number(&f, "idle_w", c->idle_w);
    put_number(&f, "host_w", c->host_w);
    put_number(&f, "card_w", r->card_w);
    put_number(&f, "card_limit_w", r->reference_w);
    put(&f, "emulation", text_or_null(r->emulation));
    return close_fields(&f);
}

static json_t *estimate_json(const struct wt_estimate *e)
{
    struct fields f = {.o = json_object()};
    put_number(&f, "value", e->value);
    put_number(&f, "low", e->low);
    put_number(&f, "high", e->high);
    return close_fields(&f);
}

static void put_of(struct fields *f, const struct wt_fleet_rule *rule)
{
    static const char *const words[] = {"all", "partition", "queue", "user"};
    put(f, "of", json_string(words[rule->of]));
    put(f, "name", rule->of == WT_FLEET_ALL ? json_null() : wt_json_text(rule->name));
}

static json_t *policy_json(const struct wt_fleet_result *r)
{
    const struct wt_fleet_policy *p = &r->policy;
    struct fields f = {.o = json_object()};
    json_t *caps = json_array(), *shifts = json_array();
    for (size_t i = 0; i < p->cap_count; i++) {
        struct fields cap = {.o = json_object()};
        put_of(&cap, &p->caps[i]);
        put_number(&cap, "cap_w", p->caps[i].cap_w);
        put(&cap, "time_ratio", estimate_json(&r->caps[i].time_ratio));
        put(&cap, "energy_ratio", estimate_json(&r->caps[i].energy_ratio));
        put_number(&cap, "card_w", r->caps[i].card_w);
        put_number(&cap, "node_w", r->caps[i].node_w);
        f.is_bad |= json_array_append_new(caps, close_fields(&cap)) < 0;
    }
    for (size_t i = 0; i < p->shift_count; i++) {
        struct fields shift = {.o = json_object()};
        put_of(&shift, &p->shifts[i]);
        put_count(&shift, "span_s", p->shifts[i].span_s);
        f.is_bad |= json_array_append_new(shifts, close_fields(&shift)) < 0;
    }
    put(&f, "caps", caps);
    put(&f, "shifts", shifts);
    put(&f, "objective",
        p->shift_count ? json_string(wt_objective_name(p->objective)) : json_null());
    put_number(&f, "rebound", p->rebound);
    return close_fields(&f);
}

static void put_spread(struct fields *f, const char *key, const struct wt_fleet_spread *s)
{
    struct fields spread = {.o = json_object()};
    put_number(&spread, "median", s->median);
    put_number(&spread, "mean", s->mean);
    put_number(&spread, "p95", s->p95);
    put(f, key, close_fields(&spread));
}

static const char *provenance_of(const struct wt_fleet_case *c)
{
    return wt_provenance_name(isnan(c->jobs_kwh) ? WT_PROV_UNKNOWN : WT_PROV_MODELED);
}

static json_t *case_json(const struct wt_fleet_result *r, const struct wt_fleet_case *c)
{
    struct fields f = {.o = json_object()};
    put(&f, "caps", json_boolean(c->has_caps));
    put(&f, "shifts", json_boolean(c->has_shifts));
    put(&f, "provenance", json_string(provenance_of(c)));
    put_number(&f, "jobs_kwh", c->jobs_kwh);
    put_number(&f, "jobs_low_kwh", c->jobs_low_kwh);
    put_number(&f, "jobs_high_kwh", c->jobs_high_kwh);
    put_number(&f, "idle_kwh", c->idle_kwh);
    put_number(&f, "energy_kwh", c->energy_kwh);
    put_number(&f, "facility_kwh", c->facility_kwh);
    put_number(&f, "carbon_g", c->carbon_g);
    put_number(&f, "cost", c->cost);
    put_number(&f, "forecast_share", c->forecast_share);
    put_spread(&f, "wait_s", &c->wait_s);
    put_spread(&f, "bounded_slowdown", &c->slowdown);
    put_number(&f, "chosen_wait_s", c->chosen_s);
    put(&f, "start", moment_json(r->trace, c->start_s));
    put(&f, "end", moment_json(r->trace, c->end_s));
    put_count(&f, "makespan_s", c->end_s - c->start_s);
    put_number(&f, "utilisation", c->utilisation);
    put_number(&f, "node_hours", c->node_hours);
    put_count(&f, "jobs", (json_int_t)c->jobs);
    put_count(&f, "capped", (json_int_t)c->capped);
    put_count(&f, "shifted", (json_int_t)c->shifted);
    put_count(&f, "added", (json_int_t)c->added);
    put_count(&f, "over_limit", (json_int_t)c->over_limit);
    put_count(&f, "unplanned", (json_int_t)c->unplanned);
    put_count(&f, "queue_max", (json_int_t)c->queue_max);
    return close_fields(&f);
}

static json_t *saving_json(const struct wt_fleet_case *a, const struct wt_fleet_case *b)
{
    struct fields f = {.o = json_object()};
    put_number(&f, "jobs_kwh", a->jobs_kwh - b->jobs_kwh);
    put_number(&f, "energy_kwh", a->energy_kwh - b->energy_kwh);
    put_number(&f, "facility_kwh", a->facility_kwh - b->facility_kwh);
    put_number(&f, "carbon_g", a->carbon_g - b->carbon_g);
    put_number(&f, "cost", a->cost - b->cost);
    put_number(&f, "wait_mean_s", a->wait_s.mean - b->wait_s.mean);
    return close_fields(&f);
}

static json_t *groups_json(const struct wt_fleet_group *groups, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < count; i++) {
        const struct wt_fleet_group *g = &groups[i];
        struct fields f = {.o = json_object()};
        put(&f, "name", text_or_null(g->name));
        put_count(&f, "jobs", (json_int_t)g->jobs);
        put_count(&f, "slowed", (json_int_t)g->slowed);
        put_number(&f, "wait_before_s", g->wait_s[0]);
        put_number(&f, "wait_after_s", g->wait_s[1]);
        put_number(&f, "turnaround_before_s", g->turnaround_s[0]);
        put_number(&f, "turnaround_after_s", g->turnaround_s[1]);
        if (json_array_append_new(all, close_fields(&f)) < 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

char *wt_fleet_to_json(const struct wt_fleet_result *r)
{
    const struct wt_fleet_case *base = &r->cases[0], *last = &r->cases[r->case_count - 1];
    struct fields f = {.o = json_object()};
    json_t *cases = json_array(), *signals = json_array(), *notes = json_array();
    put(&f, "wattune", json_string(WATTUNE_VERSION));
    put(&f, "trace", trace_json(r));
    put(&f, "cluster", cluster_json(r));
    put(&f, "policy", policy_json(r));
    put(&f, "baseline", case_json(r, base));
    put(&f, "result", case_json(r, last));
    put(&f, "saving", saving_json(base, last));
    for (size_t i = 1; i < r->case_count; i++)
        f.is_bad |= json_array_append_new(cases, case_json(r, &r->cases[i])) < 0;
    put(&f, "cases", cases);
    put_count(&f, "slowed", (json_int_t)r->slowed);
    put_count(&f, "quickened", (json_int_t)r->quickened);
    put(&f, "classes_of", json_string(r->classes_of == WT_FLEET_QUEUE ? "queue" : "partition"));
    put(&f, "classes", groups_json(r->classes, r->class_count));
    put(&f, "users", groups_json(r->users, r->user_count < USERS_MAX ? r->user_count : USERS_MAX));
    put_count(&f, "user_count", (json_int_t)r->user_count);
    f.is_bad |= !signals || wt_place_signals_json(signals, &r->place) < 0;
    put(&f, "signals", signals);
    for (size_t i = 0; i < r->note_count; i++)
        f.is_bad |= json_array_append_new(notes, wt_json_text(r->notes[i].text)) < 0;
    put(&f, "notes", notes);
    json_t *o = close_fields(&f);
    return o ? wt_json_dump(o) : NULL;
}
