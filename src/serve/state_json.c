/* state_json: a state as the page reads it. null is what is not known; energies are objects of
 * energy_j, low_j, high_j and provenance, as everywhere. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/base.h"
#include "wattune/live.h"

static json_t *joules(const struct wt_joules *j)
{
    json_t *object = json_object();
    if (object && wt_json_set_joules(object, j) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* One decimal is what a sparkline shows. */
static json_t *history(const struct wt_live_device *d)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < WT_LIVE_HISTORY; i++) {
        double w = (double)d->history_w[i];
        if (json_array_append_new(list, wt_json_number(round(w * 10) / 10)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

struct field {
    const char *key;
    json_t *value;
};

/* An object of fields, which it takes in any case. NULL: no memory. */
static json_t *object_of(const struct field *fields, size_t count)
{
    json_t *object = json_object();
    bool ok = object;
    for (size_t i = 0; i < count; i++)
        if (!object || wt_json_put(object, fields[i].key, fields[i].value) < 0)
            ok = false;
    if (ok)
        return object;
    json_decref(object);
    return NULL;
}

#define OBJECT(...)                                                                                \
    object_of((const struct field[]){__VA_ARGS__},                                                 \
              sizeof((const struct field[]){__VA_ARGS__}) / sizeof(struct field))

static json_t *number_if(bool is_known, double value)
{
    return is_known ? wt_json_number(value) : json_null();
}

/* User's texts may be no UTF-8. */
static json_t *text(const char *value)
{
    json_t *t = json_string(value);
    return t ? t : json_string("?");
}

static json_t *throttled(const struct wt_live_device *d)
{
    static const struct {
        uint64_t bit;
        const char *word;
    } words[] = {
        {WT_THROTTLE_POWER_CAP, "power limit"},   {WT_THROTTLE_THERMAL, "temperature"},
        {WT_THROTTLE_POWER_BRAKE, "power brake"}, {WT_THROTTLE_LOCKED_CLOCK, "locked clock"},
        {WT_THROTTLE_OTHER, "another reason"},
    };
    json_t *list = json_array();
    for (size_t i = 0; list && i < WT_COUNTOF(words); i++)
        if ((d->status.has & WT_HAS_THROTTLE) && (d->status.throttle & words[i].bit))
            json_array_append_new(list, json_string(words[i].word));
    return list;
}

static json_t *device(const void *data)
{
    const struct wt_live_device *d = data;
    const struct wt_status *s = &d->status;
    return OBJECT({"id", text(d->info->id)}, {"title", text(d->title)}, {"detail", text(d->detail)},
                  {"kind", json_string(wt_device_kind_name(d->info->kind))},
                  {"provenance", json_string(wt_provenance_name(d->provenance))},
                  {"counted", json_boolean(d->info->is_counted)},
                  {"part", json_boolean(d->info->is_part)}, {"energy", joules(&d->energy)},
                  {"today", joules(&d->today)}, {"power_w", wt_json_number(d->power_w)},
                  {"limit_w", number_if(s->has & WT_HAS_LIMIT, wt_w_from_mw(s->power_limit_mw))},
                  {"max_w", number_if(d->info->power_max_mw, wt_w_from_mw(d->info->power_max_mw))},
                  {"temp_c", number_if(s->has & WT_HAS_TEMP, s->temp_mc * 1e-3)},
                  {"clock_mhz", number_if(s->has & WT_HAS_CLOCK, s->clock_khz * 1e-3)},
                  {"util", number_if(s->has & WT_HAS_UTIL, s->util_ppm * 1e-6)},
                  {"throttled", throttled(d)}, {"gap_s", wt_json_number(d->gap_s)},
                  {"note", text(d->note)}, {"history_w", history(d)});
}

static json_t *lease(const void *data)
{
    const struct wt_live_lease *l = data;
    char value[48], effective[48];
    const char *knob = wt_knob_name(l->knob);
    wt_knob_value_text(value, sizeof(value), l->knob, l->value);
    wt_knob_value_text(effective, sizeof(effective), l->knob, l->effective);
    return OBJECT({"device", text(l->title)}, {"knob", json_string(knob ? knob : "?")},
                  {"value", text(value)}, {"effective", l->is_set ? text(effective) : json_null()},
                  {"is_covered", json_boolean(l->is_set && l->value != l->effective)},
                  {"pid", json_integer(l->pid)},
                  {"job", l->job ? json_integer(l->job) : json_null()}, {"user", text(l->user)},
                  {"program", text(l->program)}, {"left_s", wt_json_number(l->left_s)},
                  {"is_unrestored", json_boolean(l->is_unrestored)});
}

static json_t *job(const void *data)
{
    const struct wt_live_job *j = data;
    return OBJECT({"job", json_integer(j->job)}, {"user", text(j->user)},
                  {"account", text(j->account)}, {"partition", text(j->partition)},
                  {"name", text(j->name)}, {"gpus", json_integer((json_int_t)j->device_count)},
                  {"elapsed_s", wt_json_number(j->elapsed_s)}, {"cap_w", wt_json_number(j->cap_w)},
                  {"energy", joules(&j->energy)});
}

static json_t *problem(const void *data)
{
    const struct wt_live_problem *p = data;
    return OBJECT({"what", text(p->what)}, {"why", text(p->why)}, {"fix", text(p->fix)});
}

/* An array of what make says of each of them. NULL: no memory. */
static json_t *list_of(const void *items, size_t count, size_t size, json_t *(*make)(const void *))
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, make((const char *)items + i * size)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

#define LIST(list, count, make) list_of(list, count, sizeof(*(list)), make)

char *wt_live_json(const struct wt_live_state *s)
{
    double measured_s = s->cost.wall_s;
    json_t *doc =
        OBJECT({"version", json_string(wt_version())}, {"host", text(s->host)},
               {"time_s", wt_json_number(wt_s_from_ns(s->unix_ns))},
               {"start_s", wt_json_number(wt_s_from_ns(s->start_unix_ns))},
               {"today_since_s", wt_json_number(wt_s_from_ns(s->today_unix_ns))},
               {"unreal", text(s->unreal)}, {"emulation", text(s->emulation)},
               {"energy", joules(&s->energy)}, {"today", joules(&s->today)},
               {"weakest", text(s->weakest)}, {"power_w", wt_json_number(s->power_w)},
               {"devices", LIST(s->devices, s->device_count, device)},
               {"has_daemon", json_boolean(s->has_daemon)}, {"daemon_why", text(s->daemon_why)},
               {"is_daemon_partial", json_boolean(s->is_daemon_partial)},
               {"leases", LIST(s->leases, s->lease_count, lease)},
               {"leases_unlisted", json_integer((json_int_t)s->leases_unlisted)},
               {"has_jobs", json_boolean(s->has_jobs)},
               {"has_job_facts", json_boolean(s->accounts.has_facts)},
               {"jobs", LIST(s->jobs, s->job_count, job)},
               {"jobs_dropped", json_integer((json_int_t)s->jobs_dropped)},
               {"problems", LIST(s->problems, s->problem_count, problem)},
               {"sampler_cpu", number_if(measured_s > 0, s->cost.cpu_s / measured_s)});
    /* A page asks every other second: no white space. */
    char *out = doc ? json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(doc);
    return out;
}
