/* fleet_sums: what schedules take - energy and what it costs, waiting, slowdown - and whom a policy
 * slows. Nodes without a job are counted over one span of time for all cases, from the first
 * submission to the end of the case that ends last: a policy that takes longer does not find its
 * nodes switched off. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/fleet.h"
#include "plan/signal.h"

#define SLOWDOWN_MIN_S 10  /* runs under it count as so long (Feitelson's bounded slowdown) */
#define SLOWED_SHARE   0.1 /* of the time from submission to end */
#define SLOWED_S       60
#define GROUP_JOBS     10 /* means of fewer jobs are chance */

/* ---- energy ---- */

/* One member's part, from start to end. */
static void add_member(const struct wt_fleet_work *w, const struct wt_fleet_case *c,
                       struct wt_fleet_schedule *s, const struct wt_fleet_member *m,
                       int64_t start_s, int64_t end_s)
{
    const struct wt_place *place = &w->r->place;
    bool is_bare = w->trace->jobs[m->job].gpus == 0 && !isnan(w->unit_bare_w);
    double unit_w = c->has_caps && m->cap >= 0 ? w->unit_capped_w[m->cap]
                    : is_bare                  ? w->unit_bare_w
                                               : w->unit_busy_w;
    double power_w = unit_w * m->width, span = (double)(end_s - start_s);
    s->unit_s += m->width * span;
    s->busy_j += power_w * span;
    if (c->has_caps && m->cap >= 0)
        s->capped_j[m->cap] += power_w * span;
    for (int k = 0; k < WT_RATES; k++) {
        bool is_asked = (k == WT_RATE_FACILITY && place->signals[WT_SIGNAL_PUE]) ||
                        (k == WT_RATE_CARBON && place->signals[WT_SIGNAL_CARBON]) ||
                        (k == WT_RATE_PRICE && place->signals[WT_SIGNAL_PRICE]) ||
                        (k == WT_RATE_FORECAST && w->rates.sum[k][w->rates.count] > 0);
        if (!is_asked)
            continue;
        double rate_s = wt_rates_between(&w->rates, (enum wt_rate)k, start_s, end_s);
        s->busy_sum[k] += m->width * rate_s;
        s->cost_j[k] += power_w * rate_s;
    }
}

/* Of energy_kwh, or where idle power is not known of the jobs'. */
static double costs(const struct wt_fleet_work *w, const struct wt_fleet_schedule *s,
                    enum wt_rate rate, enum wt_signal_kind kind)
{
    if (!w->r->place.signals[kind])
        return NAN;
    double j = s->cost_j[rate];
    if (!isnan(w->unit_idle_w))
        j +=
            w->unit_idle_w * ((double)w->units * wt_rates_between(&w->rates, rate, w->rates.at_s[0],
                                                                  w->rates.at_s[w->rates.count]) -
                              s->busy_sum[rate]);
    return j / 3.6e6;
}

/* What the curve's intervals make of the jobs' energy where each job starts when it does: host and
 * cards of a capped node take time and energy at the same ends of both. */
static void sum_interval(const struct wt_fleet_work *w, struct wt_fleet_case *c,
                         const struct wt_fleet_schedule *s)
{
    const struct wt_fleet_result *r = w->r;
    double cards_w = r->cluster.node_gpus * r->card_w, host_w = r->cluster.busy_w - cards_w;
    double low_j = s->busy_j, high_j = low_j;
    for (size_t i = 0; i < r->policy.cap_count; i++) {
        const struct wt_estimate *t = &r->caps[i].time_ratio, *e = &r->caps[i].energy_ratio;
        double all_w = host_w * t->value + cards_w * e->value;
        low_j += s->capped_j[i] * ((host_w * t->low + cards_w * e->low) / all_w - 1);
        high_j += s->capped_j[i] * ((host_w * t->high + cards_w * e->high) / all_w - 1);
    }
    c->jobs_low_kwh = c->has_caps ? low_j / 3.6e6 : NAN;
    c->jobs_high_kwh = c->has_caps ? high_j / 3.6e6 : NAN;
}

static void sum_energy(struct wt_fleet_work *w, struct wt_fleet_case *c,
                       struct wt_fleet_schedule *s)
{
    for (size_t i = 0; i < s->count; i++) {
        uint32_t at = wt_fleet_member_of(w, s->order[i].job);
        int32_t run_s = wt_fleet_run_s(w, c, at);
        bool is_capped = c->has_caps && w->members[at].cap >= 0;
        c->capped += is_capped;
        c->over_limit += is_capped && run_s > w->trace->jobs[w->members[at].job].asked_s;
        add_member(w, c, s, &w->members[at], s->starts_s[i], s->starts_s[i] + run_s);
    }
    double all_s = (double)(w->rates.at_s[w->rates.count] - w->rates.at_s[0]);
    double own_s = (double)(c->end_s - c->start_s);
    c->jobs_kwh = s->busy_j / 3.6e6;
    sum_interval(w, c, s);
    c->idle_kwh = w->unit_idle_w * ((double)w->units * all_s - s->unit_s) / 3.6e6;
    c->energy_kwh = c->jobs_kwh + c->idle_kwh;
    c->facility_kwh = costs(w, s, WT_RATE_FACILITY, WT_SIGNAL_PUE);
    c->carbon_g = costs(w, s, WT_RATE_CARBON, WT_SIGNAL_CARBON);
    c->cost = costs(w, s, WT_RATE_PRICE, WT_SIGNAL_PRICE);
    c->forecast_share = s->busy_sum[WT_RATE_FORECAST] / s->unit_s;
    c->utilisation = s->unit_s / ((double)w->units * own_s);
    c->node_hours = s->unit_s / w->node_units / 3600;
}

/* ---- waiting ---- */

/* The value of a rank, with no more order than that needs: what is before it is not above it, what
 * is behind it not below. */
static double value_at(double *v, size_t count, size_t rank)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        double pivot = v[low + (high - low) / 2];
        size_t i = low, k = high;
        for (;; i++, k--) {
            while (v[i] < pivot)
                i++;
            while (v[k] > pivot)
                k--;
            if (i >= k)
                break;
            double swap = v[i];
            v[i] = v[k];
            v[k] = swap;
        }
        if (rank <= k)
            high = k;
        else
            low = k + 1;
    }
    return v[rank];
}

/* Reorders the values. Of ranks: the 95 % is the least value that 95 % do not exceed. */
static struct wt_fleet_spread spread_of(double *values, size_t count)
{
    struct wt_fleet_spread s = {NAN, NAN, NAN};
    double sum = 0;
    if (!count)
        return s;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    s.mean = sum / (double)count;
    s.median = value_at(values, count, (count - 1) / 2);
    s.median = (s.median + value_at(values, count, count / 2)) / 2;
    s.p95 = value_at(values, count, (95 * count + 99) / 100 - 1);
    return s;
}

static void sum_waits(const struct wt_fleet_work *w, struct wt_fleet_case *c,
                      const struct wt_fleet_schedule *s, double *values)
{
    double chosen_s = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct wt_fleet_member *m = &w->members[wt_fleet_member_of(w, s->order[i].job)];
        int64_t submit_s = w->trace->jobs[m->job].submit_s;
        values[i] = (double)(s->starts_s[i] - submit_s);
        chosen_s += (double)(s->order[i].at_s - submit_s);
    }
    c->chosen_s = chosen_s / (double)s->count;
    c->wait_s = spread_of(values, s->count);
    for (size_t i = 0; i < s->count; i++) {
        uint32_t at = wt_fleet_member_of(w, s->order[i].job);
        const struct wt_trace_job *job = &w->trace->jobs[w->members[at].job];
        double least = job->run_s < SLOWDOWN_MIN_S ? SLOWDOWN_MIN_S : job->run_s;
        double took = (double)(s->starts_s[i] - job->submit_s) + wt_fleet_run_s(w, c, at);
        values[i] = fmax(1, took / least);
    }
    c->slowdown = spread_of(values, s->count);
}

static void sum_recorded(struct wt_fleet_work *w, double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        int32_t wait_s = w->trace->jobs[w->members[i].job].wait_s;
        if (wait_s >= 0)
            values[count++] = wait_s;
    }
    struct wt_fleet_spread s = spread_of(values, count);
    w->r->recorded_wait_s[0] = s.median;
    w->r->recorded_wait_s[1] = s.mean;
}

/* ---- who is slowed ---- */

/* Those with enough jobs first, then by the time added to a job. */
static int by_added(const void *a, const void *b)
{
    const struct wt_fleet_group *x = a, *y = b;
    double p = x->turnaround_s[1] - x->turnaround_s[0], q = y->turnaround_s[1] - y->turnaround_s[0];
    int few = (x->jobs < GROUP_JOBS) - (y->jobs < GROUP_JOBS);
    return few                  ? few
           : p != q             ? (p < q) - (p > q)
           : x->name == y->name ? 0
                                : strcmp(x->name, y->name);
}

static int make_groups(const struct wt_trace_names *names, struct wt_fleet_group **ret_groups,
                       struct wt_error *err)
{
    *ret_groups = calloc(names->count, sizeof(**ret_groups));
    if (!*ret_groups)
        return wt_fail(err, WT_E_NOMEM, "no memory for a replay");
    for (size_t i = 0; i < names->count; i++)
        (*ret_groups)[i].name = names->names[i];
    return 0;
}

static void add_to(struct wt_fleet_group *g, const double waits_s[2], const double took_s[2],
                   bool is_slowed)
{
    g->jobs++;
    g->slowed += is_slowed;
    for (int k = 0; k < 2; k++) {
        g->wait_s[k] += waits_s[k];
        g->turnaround_s[k] += took_s[k];
    }
}

static size_t close_groups(struct wt_fleet_group *groups, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!groups[i].jobs)
            continue;
        struct wt_fleet_group *g = &groups[kept];
        *g = groups[i];
        kept++;
        for (int k = 0; k < 2; k++) {
            g->wait_s[k] /= (double)g->jobs;
            g->turnaround_s[k] /= (double)g->jobs;
        }
    }
    qsort(groups, kept, sizeof(*groups), by_added);
    return kept;
}

/* When each member starts in a case, in order of submission; of copies nothing. */
static void starts_of(const struct wt_fleet_work *w, const struct wt_fleet_schedule *s,
                      int64_t *starts_s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->order[i].job < w->count)
            starts_s[s->order[i].job] = s->starts_s[i];
}

static int find_slowed(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_result *r = w->r;
    size_t last = r->case_count - 1;
    bool is_queue = w->trace->partitions.count < 2 && w->trace->queues.count > 1;
    const struct wt_trace_names *names = is_queue ? &w->trace->queues : &w->trace->partitions;
    const struct wt_fleet_case *cases[2] = {&r->cases[0], &r->cases[last]};
    int64_t *starts_s[2] = {malloc(w->count * sizeof(int64_t)), malloc(w->count * sizeof(int64_t))};
    int rc = starts_s[0] && starts_s[1] ? make_groups(names, &r->classes, err)
                                        : wt_fail(err, WT_E_NOMEM, "no memory for a replay");
    if (rc == 0)
        rc = make_groups(&w->trace->users, &r->users, err);
    if (rc == 0) {
        starts_of(w, &w->schedules[0], starts_s[0]);
        starts_of(w, &w->schedules[last], starts_s[1]);
    }
    for (size_t i = 0; rc == 0 && i < w->count; i++) {
        const struct wt_trace_job *job = &w->trace->jobs[w->members[i].job];
        double waits_s[2], took_s[2];
        for (int k = 0; k < 2; k++) {
            waits_s[k] = (double)(starts_s[k][i] - job->submit_s);
            took_s[k] = waits_s[k] + wt_fleet_run_s(w, cases[k], (uint32_t)i);
        }
        double more_s = took_s[1] - took_s[0];
        bool is_slowed = more_s > SLOWED_S && more_s > SLOWED_SHARE * took_s[0];
        r->slowed += is_slowed;
        r->quickened += -more_s > SLOWED_S && -more_s > SLOWED_SHARE * took_s[0];
        add_to(&r->classes[is_queue ? job->queue : job->partition], waits_s, took_s, is_slowed);
        add_to(&r->users[job->user], waits_s, took_s, is_slowed);
    }
    if (rc == 0) {
        r->classes_of = is_queue ? WT_FLEET_QUEUE : WT_FLEET_PARTITION;
        r->class_count = close_groups(r->classes, names->count);
        r->user_count = close_groups(r->users, w->trace->users.count);
    }
    free(starts_s[0]);
    free(starts_s[1]);
    return rc;
}

int wt_fleet_sum_up(struct wt_fleet_work *w, struct wt_error *err)
{
    struct wt_fleet_result *r = w->r;
    double *values = malloc((w->count + w->copy_count) * sizeof(*values));
    if (!values)
        return wt_fail(err, WT_E_NOMEM, "no memory for a replay");
    for (size_t i = 0; i < r->case_count; i++) {
        sum_energy(w, &r->cases[i], &w->schedules[i]);
        sum_waits(w, &r->cases[i], &w->schedules[i], values);
    }
    sum_recorded(w, values);
    free(values);
    return find_slowed(w, err);
}
