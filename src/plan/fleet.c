/* fleet: a trace replayed with and without a policy. Who a rule holds for, what a cap does to a
 * job, when a shift releases it, how many jobs a rebound adds; then the scheduler (easy.c) says
 * when each runs, and fleet_sums.c what that takes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/easy.h"
#include "plan/fleet.h"
#include "plan/signal.h"

#define UNITS_MAX INT64_C(2000000000)

/* ---- the cluster ---- */

static int settle_nodes(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_cluster *c = &w->r->cluster;
    const struct wt_trace *t = w->trace;
    bool is_swf = t->form == WT_TRACE_SWF;
    if (c->node_processors && !is_swf) {
        wt_fail(err, WT_E_USAGE, "%s counts nodes and not processors", t->name);
        wt_fix(err, "leave out --node-processors");
        return WT_E_USAGE;
    }
    if (!c->node_processors && is_swf) {
        int64_t nodes = t->nodes ? t->nodes : c->nodes; /* the header's own two go together */
        c->node_processors =
            nodes && t->processors > nodes ? (t->processors + nodes - 1) / nodes : 1;
    }
    if (!c->nodes)
        c->nodes = t->nodes;
    if (!c->nodes && is_swf)
        c->nodes = (t->processors + c->node_processors - 1) / c->node_processors;
    if (c->nodes <= 0) {
        wt_fail(err, WT_E_USAGE, "%s does not tell how many nodes the cluster has", t->name);
        wt_fix(err, "--nodes N");
        return WT_E_USAGE;
    }
    int64_t units = !c->is_shared ? 1 : is_swf ? c->node_processors : (int64_t)c->node_gpus;
    if (!units) {
        wt_fail(err, WT_E_USAGE,
                "jobs share nodes by their GPUs, and how many a node has is not told");
        wt_fix(err, "--node-gpus N");
        return WT_E_USAGE;
    }
    if (c->nodes > UNITS_MAX / units)
        return wt_fail(err, WT_E_RANGE, "a cluster of %lld nodes", (long long)c->nodes);
    w->units = c->nodes * units;
    w->node_units = (double)units;
    return 0;
}

/* Power of a node with and without a job, and what the curve says of each cap. */
static int settle_power(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_cluster *c = &w->r->cluster;
    struct wt_fleet_result *r = w->r;
    r->reference_w = r->card_w = NAN;
    if (c->curve) {
        wt_fleet_curve_reference(c->curve, &r->reference_w, &r->card_w);
        wt_text(r->emulation, sizeof(r->emulation), "%s", wt_fleet_curve_emulation(c->curve));
    }
    double cards_w = c->node_gpus * r->card_w; /* NaN without a curve */
    if (isnan(c->busy_w))
        c->busy_w = c->host_w + cards_w;
    else if (c->busy_w < cards_w) {
        wt_fail(err, WT_E_USAGE,
                "a busy node of %g W is less than its %u cards draw by the curve, %g W", c->busy_w,
                c->node_gpus, cards_w);
        return WT_E_USAGE;
    }
    if (c->idle_w > c->busy_w)
        return wt_fail(err, WT_E_USAGE,
                       "a node without a job (%g W) draws more than with one (%g W)", c->idle_w,
                       c->busy_w);
    if (r->policy.cap_count && (!c->curve || !c->node_gpus)) {
        wt_fail(err, WT_E_USAGE, "what a cap does is told by a curve of the card, and %s",
                c->curve ? "how many cards a node has" : "none is given");
        wt_fix(err, "--curve FILE.csv --node-gpus N");
        return WT_E_USAGE;
    }
    w->unit_idle_w = c->idle_w / w->node_units;
    w->unit_busy_w = c->busy_w / w->node_units;
    /* Cards that no job has draw what they do on an idle node, at the least. */
    w->unit_bare_w = (c->idle_w > c->host_w ? c->idle_w : c->host_w) / w->node_units;
    for (size_t i = 0; i < r->policy.cap_count; i++) {
        struct wt_fleet_cap *cap = &r->caps[i];
        int rc = wt_fleet_curve_cap(c->curve, r->policy.caps[i].cap_w, cap, err);
        if (rc < 0)
            return rc;
        cap->node_w = c->busy_w - c->node_gpus * (r->card_w - cap->card_w);
        w->unit_capped_w[i] = cap->node_w / w->node_units;
        if (c->idle_w > cap->node_w)
            return wt_fail(err, WT_E_USAGE,
                           "a node without a job (%g W) draws more than with one capped at %g W "
                           "(%.4g W)",
                           c->idle_w, r->policy.caps[i].cap_w, cap->node_w);
    }
    return 0;
}

/* ---- who a rule holds for ---- */

static const struct wt_trace_names *names_of(const struct wt_trace *t, enum wt_fleet_of of)
{
    return of == WT_FLEET_QUEUE ? &t->queues : of == WT_FLEET_USER ? &t->users : &t->partitions;
}

/* The number of a rule's name; UINT32_MAX: of all. Tells which names there are. */
static int find_name(const struct wt_trace *t, const struct wt_fleet_rule *rule, uint32_t *ret_at,
                     struct wt_error *err)
{
    static const char *const words[] = {"", "partition", "queue", "user"};
    const struct wt_trace_names *names = names_of(t, rule->of);
    char text[160] = "";
    *ret_at = UINT32_MAX;
    if (rule->of == WT_FLEET_ALL)
        return 0;
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], rule->name) == 0) {
            *ret_at = (uint32_t)i;
            return 0;
        }
    for (size_t i = 0, n = 0; i < names->count && n < 100; i++, n = strlen(text))
        wt_text(text + n, sizeof(text) - n, "%s%.40s", n ? ", " : "",
                *names->names[i] ? names->names[i] : "(none)");
    wt_fail(err, WT_E_RANGE, "no job of %s is of the %s \"%s\"", t->name, words[rule->of],
            rule->name);
    wt_fix(err, "it has: %s%s", text, strlen(text) >= 100 ? ", ..." : "");
    return WT_E_RANGE;
}

static bool holds(const struct wt_fleet_rule *rule, uint32_t name, const struct wt_trace_job *job)
{
    return rule->of == WT_FLEET_ALL || name == (rule->of == WT_FLEET_QUEUE  ? job->queue
                                                : rule->of == WT_FLEET_USER ? job->user
                                                                            : job->partition);
}

/* Units that a job takes; 0: not told. */
static int64_t width_of(const struct wt_fleet_work *w, const struct wt_trace_job *job)
{
    const struct wt_fleet_cluster *c = &w->r->cluster;
    if (w->trace->form == WT_TRACE_SWF) {
        int64_t per = c->is_shared ? 1 : c->node_processors;
        return (job->processors + per - 1) / per;
    }
    if (!c->is_shared)
        return job->nodes;
    return job->gpus > 0 ? job->gpus : (int64_t)job->nodes * c->node_gpus;
}

static int make_members(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_result *r = w->r;
    const struct wt_fleet_policy *p = &r->policy;
    uint32_t caps[WT_FLEET_RULES], shifts[WT_FLEET_RULES];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < p->cap_count; i++)
        rc = find_name(w->trace, &p->caps[i], &caps[i], err);
    for (size_t i = 0; rc == 0 && i < p->shift_count; i++)
        rc = find_name(w->trace, &p->shifts[i], &shifts[i], err);
    if (rc < 0)
        return rc;
    w->members = malloc((w->trace->count + 1) * sizeof(*w->members));
    if (!w->members)
        return wt_fail(err, WT_E_NOMEM, "no memory for a replay");
    for (size_t j = 0; j < w->trace->count; j++) {
        const struct wt_trace_job *job = &w->trace->jobs[j];
        int64_t width = width_of(w, job);
        struct wt_fleet_member m = {(uint32_t)j, (int32_t)width, -1, -1};
        if (width > w->units) {
            r->too_large++;
            continue;
        }
        for (size_t i = 0; i < p->cap_count; i++)
            if (holds(&p->caps[i], caps[i], job))
                m.cap = (int8_t)i;
        for (size_t i = 0; i < p->shift_count; i++)
            if (holds(&p->shifts[i], shifts[i], job))
                m.shift = (int8_t)i;
        if (m.cap >= 0 && job->gpus == 0) {
            m.cap = -1;
            r->unbound++;
        }
        r->bare += job->gpus == 0 && !isnan(w->unit_bare_w);
        w->members[w->count++] = m;
    }
    r->jobs = w->count;
    if (!w->count)
        return wt_fail(err, WT_E_USAGE, "all %zu jobs need more than the %lld nodes there are",
                       r->too_large, (long long)r->cluster.nodes);
    return 0;
}

/* ---- what a policy does to a job ---- */

static int32_t stretched(int32_t span_s, const struct wt_fleet_work *w,
                         const struct wt_fleet_case *c, const struct wt_fleet_member *m)
{
    if (!c->has_caps || m->cap < 0)
        return span_s;
    double s = round(span_s * w->r->caps[m->cap].time_ratio.value);
    return s < 1 ? 1 : s > INT32_MAX - 1 ? INT32_MAX - 1 : (int32_t)s;
}

int32_t wt_fleet_run_s(const struct wt_fleet_work *w, const struct wt_fleet_case *c, uint32_t at)
{
    return stretched(w->trace->jobs[w->members[at].job].run_s, w, c, &w->members[at]);
}

/* The limit grows with the cap, or the site would kill what it slows. */
int32_t wt_fleet_asked_s(const struct wt_fleet_work *w, const struct wt_fleet_case *c, uint32_t at)
{
    return stretched(w->trace->jobs[w->members[at].job].asked_s, w, c, &w->members[at]);
}

/* The rebound: for each cap the saved share s of a job's energy buys R s / (1 - s) of another job,
 * so that of the saving the share R is lost. The parts of jobs add up to whole ones, each a copy of
 * the job at which they do. */
static int add_copies(struct wt_fleet_work *w, struct wt_error *err)
{
    const struct wt_fleet_policy *p = &w->r->policy;
    double parts[WT_FLEET_RULES] = {0}, each[WT_FLEET_RULES];
    size_t room = 0;
    for (size_t i = 0; i < p->cap_count; i++) {
        const struct wt_fleet_cap *cap = &w->r->caps[i];
        /* Of the node where its power is known, else of the cards. */
        double left = isnan(cap->node_w)
                          ? cap->energy_ratio.value
                          : cap->time_ratio.value * cap->node_w / w->r->cluster.busy_w;
        each[i] = left < 1 ? p->rebound * (1 - left) / left : 0;
    }
    for (size_t i = 0; i < w->count; i++) {
        if (w->members[i].cap < 0)
            continue;
        size_t cap = (unsigned char)w->members[i].cap;
        for (parts[cap] += each[cap]; parts[cap] >= 1; parts[cap]--) {
            if (w->copy_count == room) {
                room = room ? 2 * room : 1024;
                uint32_t *copies = reallocarray(w->copies, room, sizeof(*copies));
                if (!copies)
                    return wt_fail(err, WT_E_NOMEM, "no memory for a replay");
                w->copies = copies;
            }
            w->copies[w->copy_count++] = (uint32_t)i;
        }
    }
    return 0;
}

/* When a member of a case may start. */
static int64_t release_of(const struct wt_fleet_work *w, struct wt_fleet_case *c, enum wt_rate rate,
                          uint32_t at)
{
    const struct wt_fleet_member *m = &w->members[at];
    int64_t submit_s = w->trace->jobs[m->job].submit_s, start_s;
    if (!c->has_shifts || m->shift < 0)
        return submit_s;
    if (!wt_rates_best(&w->rates, rate, submit_s, w->r->policy.shifts[m->shift].span_s,
                       wt_fleet_asked_s(w, c, at), &start_s)) {
        c->unplanned++;
        return submit_s;
    }
    c->shifted += start_s > submit_s;
    return start_s;
}

/* ---- one case ---- */

static int run_case(struct wt_fleet_work *w, struct wt_fleet_case *c, struct wt_fleet_schedule *s,
                    struct wt_error *err)
{
    enum wt_objective objective = w->r->policy.objective;
    enum wt_rate rate = objective == WT_OBJECTIVE_CARBON ? WT_RATE_CARBON
                        : objective == WT_OBJECTIVE_COST ? WT_RATE_PRICE
                                                         : WT_RATE_FACILITY;
    s->count = w->count + (c->has_caps ? w->copy_count : 0);
    s->order = malloc(s->count * sizeof(*s->order));
    s->starts_s = malloc(s->count * sizeof(*s->starts_s));
    struct wt_easy_job *jobs = malloc(s->count * sizeof(*jobs));
    int rc = s->order && s->starts_s && jobs ? 0 : WT_E_NOMEM;
    if (rc < 0)
        wt_fail(err, rc, "no memory for a replay of %zu jobs", s->count);
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        s->order[i] = (struct wt_trace_order){
            release_of(w, c, rate, wt_fleet_member_of(w, (uint32_t)i)), (uint32_t)i};
    if (rc == 0)
        wt_trace_sort(s->order, s->count);
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        uint32_t at = wt_fleet_member_of(w, s->order[i].job);
        jobs[i] = (struct wt_easy_job){s->order[i].at_s, wt_fleet_run_s(w, c, at),
                                       wt_fleet_asked_s(w, c, at), w->members[at].width};
    }
    if (rc == 0)
        rc = wt_easy_run(jobs, s->count, w->units, s->starts_s, &c->queue_max, err);
    c->jobs = s->count;
    c->added = s->count - w->count;
    c->start_s = w->trace->jobs[w->members[0].job].submit_s;
    c->end_s = c->start_s;
    for (size_t i = 0; rc == 0 && i < s->count; i++)
        if (s->starts_s[i] + jobs[i].run_s > c->end_s)
            c->end_s = s->starts_s[i] + jobs[i].run_s;
    free(jobs);
    return rc;
}

/* Signals to until_s, or as far as they can be made to reach: one job that asks for a year must not
 * take the others' shifts away. */
static int make_rates(struct wt_fleet_work *w, int64_t until_s, struct wt_error *err)
{
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        struct wt_signal *signal = w->r->place.signals[k];
        struct wt_signal_forecast f;
        if (!signal)
            continue;
        int64_t reach_s = wt_signal_reach(signal);
        int rc = wt_signal_forecast(signal, until_s < reach_s ? until_s : reach_s, &f, NULL);
        if (rc < 0 && rc != WT_E_RANGE) /* too far: it is not known there, and said */
            return wt_fail(err, rc, "a forecast of %s",
                           wt_signal_kind_name((enum wt_signal_kind)k));
    }
    wt_rates_done(&w->rates);
    return wt_rates_make(&w->rates, &w->r->place, w->trace->jobs[w->members[0].job].submit_s,
                         until_s, err);
}

/* How far shifts look: to the end of what a job asked for, started as late as it may. */
static int64_t sight_of(const struct wt_fleet_work *w)
{
    int64_t sight_s = INT64_MIN;
    for (size_t i = 0; i < w->r->case_count; i++)
        for (uint32_t at = 0; w->r->cases[i].has_shifts && at < w->count; at++) {
            const struct wt_fleet_member *m = &w->members[at];
            if (m->shift < 0)
                continue;
            int64_t last_s = w->trace->jobs[m->job].submit_s + w->r->policy.shifts[m->shift].span_s;
            last_s += wt_fleet_asked_s(w, &w->r->cases[i], at);
            sight_s = last_s > sight_s ? last_s : sight_s;
        }
    return sight_s;
}

static int check_policy(const struct wt_fleet_work *w, struct wt_error *err)
{
    const struct wt_fleet_policy *p = &w->r->policy;
    static const enum wt_signal_kind needs[] = {[WT_OBJECTIVE_ENERGY] = WT_SIGNAL_PUE,
                                                [WT_OBJECTIVE_CARBON] = WT_SIGNAL_CARBON,
                                                [WT_OBJECTIVE_COST] = WT_SIGNAL_PRICE};
    if (p->objective != WT_OBJECTIVE_ENERGY && p->objective != WT_OBJECTIVE_CARBON &&
        p->objective != WT_OBJECTIVE_COST)
        return wt_fail(err, WT_E_USAGE, "a shift is for energy, carbon or cost, not %s",
                       wt_objective_name(p->objective));
    enum wt_signal_kind kind = needs[p->objective];
    if (p->shift_count && !w->r->place.signals[kind]) {
        wt_fail(err, WT_E_USAGE, "nothing to shift by: there is no signal of %s",
                wt_signal_kind_name(kind));
        wt_fix(err, "--signal %s=FILE", wt_signal_kind_name(kind));
        return WT_E_USAGE;
    }
    if (!(p->rebound >= 0 && p->rebound <= 1))
        return wt_fail(err, WT_E_USAGE, "a rebound is from 0 to 100 %%");
    bool is_dated = w->trace->is_dated;
    for (int k = 0; k < WT_SIGNAL_KINDS; k++)
        if (!is_dated && w->r->place.signals[k] &&
            w->r->place.signals[k]->form != WT_SIGNAL_CONSTANT) {
            wt_fail(err, WT_E_USAGE, "%s does not tell its date, so %s has no time in it",
                    w->trace->name, w->r->place.signals[k]->name);
            wt_fix(err, "--start TIME says when its first job is submitted");
            return WT_E_USAGE;
        }
    return 0;
}

static int run_cases(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_result *r = w->r;
    bool has_caps = r->policy.cap_count > 0, has_shifts = r->policy.shift_count > 0;
    int64_t end_s = INT64_MIN;
    int rc = 0;
    r->case_count = 1;
    if (has_caps)
        r->cases[r->case_count++] = (struct wt_fleet_case){.has_caps = true};
    if (has_shifts)
        r->cases[r->case_count++] = (struct wt_fleet_case){.has_shifts = true};
    if (has_caps && has_shifts)
        r->cases[r->case_count++] = (struct wt_fleet_case){.has_caps = true, .has_shifts = true};
    for (size_t i = 0; rc == 0 && i < r->case_count; i++) {
        if (r->cases[i].has_shifts && !w->rates.count) {
            int64_t sight_s = sight_of(w);
            rc = make_rates(w, sight_s > end_s ? sight_s : end_s, err);
        }
        if (rc == 0)
            rc = run_case(w, &r->cases[i], &w->schedules[i], err);
        if (rc == 0 && r->cases[i].end_s > end_s)
            end_s = r->cases[i].end_s;
    }
    return rc < 0 ? rc : make_rates(w, end_s, err);
}

int wt_fleet_replay(struct wt_fleet_result *ret_result, const struct wt_trace *trace,
                    const struct wt_fleet_cluster *cluster, const struct wt_fleet_policy *policy,
                    const struct wt_place *place, struct wt_error *err)
{
    struct wt_fleet_result r = {
        .trace = trace, .cluster = *cluster, .policy = *policy, .place = *place};
    struct wt_fleet_work w = {.trace = trace, .r = &r};
    int rc = settle_nodes(&w, err);
    if (rc == 0)
        rc = settle_power(&w, err);
    if (rc == 0)
        rc = check_policy(&w, err);
    if (rc == 0)
        rc = make_members(&w, err);
    if (rc == 0 && policy->rebound > 0)
        rc = add_copies(&w, err);
    if (rc == 0)
        rc = run_cases(&w, err);
    if (rc == 0)
        rc = wt_fleet_sum_up(&w, err);
    if (rc == 0)
        rc = wt_fleet_note_all(&r, err);
    for (size_t i = 0; i < WT_COUNTOF(w.schedules); i++) {
        free(w.schedules[i].order);
        free(w.schedules[i].starts_s);
    }
    wt_rates_done(&w.rates);
    free(w.members);
    free(w.copies);
    if (rc < 0)
        wt_fleet_result_done(&r);
    else
        *ret_result = r;
    return rc;
}

void wt_fleet_result_done(struct wt_fleet_result *result)
{
    free(result->classes);
    free(result->users);
    free(result->notes);
    memset(result, 0, sizeof(*result));
}
