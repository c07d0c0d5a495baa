/* jobs_json: sums of jobs as the document of docs/json.md. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "jobs/jobs.h"
#include "record/record.h"

static int put_time(json_t *o, const char *key, int64_t unix_ns)
{
    char text[40];
    return wt_json_put(
        o, key, unix_ns > 0 ? json_string(wt_time_text(text, sizeof(text), unix_ns)) : json_null());
}

static int put_text(json_t *o, const char *key, const char *text)
{
    return wt_json_put(o, key, text[0] ? wt_json_text(text) : json_null());
}

static struct wt_joules joules_of(const struct wt_job_row *row)
{
    return (struct wt_joules){
        .energy_j = wt_j_from_uj(row->energy_uj),
        .low_j = wt_j_from_uj(row->low_uj),
        .high_j = row->high_uj == UINT64_MAX ? INFINITY : wt_j_from_uj(row->high_uj),
        .provenance = row->provenance,
    };
}

static json_t *row_json(const struct wt_job_row *row)
{
    json_t *o = json_object();
    struct wt_joules energy = joules_of(row);
    if (!o || put_text(o, "node", row->node) < 0 || put_text(o, "id", row->device) < 0 ||
        put_text(o, "name", row->device_name) < 0 ||
        wt_json_put(o, "kind", json_string(wt_device_kind_name(row->kind))) < 0 ||
        wt_json_put(o, "index", row->index < 0 ? json_null() : json_integer(row->index)) < 0 ||
        wt_json_put(o, "is_counted", json_boolean(row->is_counted)) < 0 ||
        wt_json_set_joules(o, &energy) < 0 || put_text(o, "rule", row->rule) < 0 ||
        wt_json_put(o, "state", json_string(wt_job_state_name(row->state))) < 0 ||
        put_time(o, "begin", row->begin_ns) < 0 || put_time(o, "end", row->end_ns) < 0 ||
        put_time(o, "updated", row->updated_ns) < 0 ||
        wt_json_put(o, "gap_s", wt_json_number(wt_s_from_ns(row->gap_ns))) < 0 ||
        put_text(o, "note", row->note) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int put_rows(json_t *o, const struct wt_job_sum *sum, const struct wt_job_row *rows,
                    size_t count)
{
    const struct wt_job_row *first = sum->first;
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (rows[i].job == first->job && strcmp(rows[i].step, first->step) == 0 &&
            strcmp(rows[i].cluster, first->cluster) == 0 &&
            json_array_append_new(array, row_json(&rows[i])) < 0) {
            json_decref(array);
            array = NULL;
        }
    return wt_json_put(o, "devices", array);
}

static int put_job(json_t *o, const struct wt_job_row *row)
{
    int rc = 0;
    rc |= wt_json_put(o, "job", json_integer(row->job));
    rc |= put_text(o, "step", row->step);
    rc |= put_text(o, "cluster", row->cluster);
    rc |= put_text(o, "user", row->user);
    rc |= put_text(o, "account", row->account);
    rc |= put_text(o, "partition", row->partition);
    rc |= put_text(o, "name", row->name);
    rc |= put_text(o, "model", row->model);
    rc |= wt_json_put(o, "cap_w",
                      row->cap_mw ? wt_json_number(wt_w_from_mw(row->cap_mw)) : json_null());
    rc |=
        wt_json_put(o, "cap_set_w",
                    row->cap_set_mw ? wt_json_number(wt_w_from_mw(row->cap_set_mw)) : json_null());
    return rc;
}

static json_t *sum_json(const struct wt_job_sum *sum, const struct wt_job_row *rows, size_t count,
                        enum wt_job_by by)
{
    json_t *o = json_object();
    int rc = o ? 0 : WT_E_NOMEM;
    if (rc == 0)
        rc = wt_json_put(o, "key", wt_json_text(sum->key));
    if (rc == 0 && by == WT_JOB_BY_JOB)
        rc = put_job(o, sum->first);
    if (rc == 0) {
        rc |= wt_json_put(o, "is_idle", json_boolean(sum->is_idle));
        rc |= wt_json_put(o, "emulated", json_boolean(sum->is_emulated));
        rc |= wt_json_put(o, "replayed", json_boolean(sum->is_replayed));
        rc |= put_time(o, "begin", sum->begin_ns);
        rc |= put_time(o, "end", sum->running ? 0 : sum->end_ns);
        rc |= wt_json_put(o, "jobs", json_integer((json_int_t)sum->jobs));
        rc |= wt_json_put(o, "nodes", json_integer((json_int_t)sum->nodes));
        rc |= wt_json_put(o, "node_s", wt_json_number(sum->node_s));
        rc |= wt_json_set_joules(o, &sum->energy);
        rc |= put_text(o, "weakest", sum->weakest);
        rc |= wt_json_put(o, "unknown", json_integer((json_int_t)sum->unknown));
        rc |= wt_json_put(o, "running", json_integer((json_int_t)sum->running));
        rc |= wt_json_put(o, "lost", json_integer((json_int_t)sum->lost));
        rc |= wt_json_put(o, "gap_s", wt_json_number(sum->gap_s));
    }
    if (rc == 0 && by == WT_JOB_BY_JOB)
        rc = put_rows(o, sum, rows, count);
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}

char *wt_job_sums_to_json(const struct wt_job_sum *sums, size_t count,
                          const struct wt_job_row *rows, size_t row_count, enum wt_job_by by,
                          const char *store)
{
    json_t *o = json_object(), *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, sum_json(&sums[i], rows, row_count, by)) < 0) {
            json_decref(array);
            array = NULL;
        }
    if (!o || wt_json_put(o, "wattune", json_string(wt_version())) < 0 ||
        wt_json_put(o, "store", wt_json_text(store)) < 0 ||
        wt_json_put(o, "by", json_string(wt_job_by_name(by))) < 0) {
        json_decref(array);
        json_decref(o);
        return NULL;
    }
    if (wt_json_put(o, "sums", array) < 0) {
        json_decref(o);
        return NULL;
    }
    return wt_json_dump(o);
}
