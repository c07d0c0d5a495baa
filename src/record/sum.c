/* sum: what a job of many ranks took on all its nodes. Each node has a record of its own; together
 * they are a sum only when none is missing and all have ended. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "wattune/door.h"

static bool is_part(const struct wt_run *run, const char *command)
{
    return run->node.count && (!command || strcmp(run->command, command) == 0);
}

/* By index alone where the job says how many nodes it has: one that was requeued may have another
 * host at that place. Else by host too (mpirun numbers no nodes). */
static bool is_same_node(const struct wt_run *a, const struct wt_run *b)
{
    return a->node.index == b->node.index &&
           ((a->node.nodes && b->node.nodes) || strcmp(a->host, b->host) == 0);
}

/* The newest run of each node. */
static int choose(struct wt_run_sum *s, const struct wt_run *runs, size_t count,
                  const char *command)
{
    s->parts = calloc(count ? count : 1, sizeof(*s->parts));
    if (!s->parts)
        return WT_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        if (!is_part(&runs[i], command))
            continue;
        while (k < s->count && !is_same_node(&runs[s->parts[k]], &runs[i]))
            k++;
        if (k == s->count)
            s->parts[s->count++] = i;
        else if (runs[i].start_unix_ns > runs[s->parts[k]].start_unix_ns)
            s->parts[k] = i;
    }
    for (size_t i = 1; i < s->count; i++) /* few, and nearly in order */
        for (size_t k = i; k > 0; k--) {
            const struct wt_run *a = &runs[s->parts[k - 1]], *b = &runs[s->parts[k]];
            int order = strcmp(a->host, b->host);
            if (a->node.index != b->node.index)
                order = a->node.index > b->node.index ? 1 : -1;
            if (order <= 0)
                break;
            size_t keep = s->parts[k];
            s->parts[k] = s->parts[k - 1];
            s->parts[k - 1] = keep;
        }
    return 0;
}

static void say_missing(struct wt_run_sum *s, const struct wt_run *runs)
{
    size_t used = 0, open = 0;
    char hosts[120] = "";
    for (size_t i = 0; i < s->count; i++)
        if (runs[s->parts[i]].state != WT_RUN_DONE) {
            open++;
            int n = snprintf(hosts + used, sizeof(hosts) - used, "%s%s", used ? ", " : "",
                             runs[s->parts[i]].host);
            used = n > 0 && used + (size_t)n < sizeof(hosts) ? used + (size_t)n : used;
        }
    if (s->nodes && s->count > s->nodes)
        wt_text(s->why, sizeof(s->why), "%zu nodes told, and the job has %u", s->count, s->nodes);
    else if (s->nodes && s->count < s->nodes)
        wt_text(s->why, sizeof(s->why), "%zu of %u nodes told of nothing (%u ranks)%s%s",
                s->nodes - s->count, s->nodes, s->missed, open ? "; not ended: " : "", hosts);
    else if (open)
        wt_text(s->why, sizeof(s->why), "not ended: %s", hosts);
    else if (s->missed)
        wt_text(s->why, sizeof(s->why), "what the nodes measured covers %u of %u ranks",
                s->ranks - s->missed, s->ranks);
}

static void add_work(struct wt_run_sum *s, const struct wt_run *runs)
{
    const struct wt_run *first = &runs[s->parts[0]];
    uint64_t work = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct wt_run *run = &runs[s->parts[i]];
        if (!run->work.is_known || strcmp(run->work.unit, first->work.unit) != 0 ||
            strcmp(run->work.unit, "steps") == 0)
            return;
        work = wt_mark_sum(work, run->work.count);
    }
    s->work = work;
    wt_text(s->unit, sizeof(s->unit), "%s", first->work.unit);
}

int wt_run_sum_make(struct wt_run_sum *ret_sum, const struct wt_run *runs, size_t count,
                    const char *command, struct wt_error *err)
{
    struct wt_run_sum s = {.total = {NAN, NAN, NAN, WT_PROV_UNKNOWN}};
    struct wt_joules total = s.total;
    int64_t from = INT64_MAX, to = INT64_MIN;
    unsigned there = 0;
    if (choose(&s, runs, count, command) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a sum");
    if (!s.count) {
        wt_run_sum_done(&s);
        return wt_fail(err, WT_E_NOTFOUND, "no run of many ranks is among these");
    }
    for (size_t i = 0; i < s.count; i++) {
        const struct wt_run *run = &runs[s.parts[i]];
        int64_t end = run->start_unix_ns + (int64_t)(run->wall_s * 1e9);
        s.nodes = run->node.nodes > s.nodes ? run->node.nodes : s.nodes;
        s.ranks = run->node.ranks > s.ranks ? run->node.ranks : s.ranks;
        there += run->state == WT_RUN_DONE ? run->node.count : 0;
        from = run->start_unix_ns < from ? run->start_unix_ns : from;
        to = end > to ? end : to;
        int rc = 0;
        if (i == 0)
            total = run->total;
        else
            rc = wt_joules_add(&total, &total, &run->total);
        if (rc < 0) {
            wt_run_sum_done(&s);
            return wt_fail(err, rc, "some nodes are emulated and some are not: there is no sum");
        }
    }
    s.missed = s.ranks > there ? s.ranks - there : 0;
    s.wall_s = (double)(to - from) * 1e-9;
    say_missing(&s, runs);
    if (!s.why[0] && total.provenance == WT_PROV_UNKNOWN)
        wt_text(s.why, sizeof(s.why), "the energy of a node is not known");
    s.is_whole = !s.why[0];
    if (s.is_whole) {
        s.total = total;
        add_work(&s, runs);
    }
    *ret_sum = s;
    return 0;
}

void wt_run_sum_done(struct wt_run_sum *sum)
{
    free(sum->parts);
    *sum = (struct wt_run_sum){0};
}

static json_t *joules_json(const struct wt_joules *joules)
{
    json_t *o = json_object();
    if (o && wt_json_set_joules(o, joules) == 0)
        return o;
    json_decref(o);
    return NULL;
}

char *wt_run_sum_to_json(const struct wt_run_sum *sum, const struct wt_run *runs)
{
    json_t *parts = json_array();
    for (size_t i = 0; parts && i < sum->count; i++)
        json_array_append_new(parts, wt_run_json(&runs[sum->parts[i]], false));
    json_t *total = sum->is_whole ? joules_json(&sum->total) : json_null(), *work = json_null();
    if (sum->unit[0])
        work = json_pack("{s:s,s:I}", "unit", sum->unit, "count", (json_int_t)sum->work);
    json_t *doc = json_pack("{s:s,s:b,s:o,s:o,s:o,s:f,s:o,s:o,s:o}", "group",
                            runs[sum->parts[0]].group, "is_whole", sum->is_whole, "why_not",
                            sum->is_whole ? json_null() : wt_json_text(sum->why), "nodes",
                            json_integer((json_int_t)sum->count), "of_nodes",
                            sum->nodes ? json_integer(sum->nodes) : json_null(), "wall_s",
                            sum->wall_s, "total", total, "work", work, "runs", parts);
    return doc ? wt_json_dump(doc) : NULL;
}
