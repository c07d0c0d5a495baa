/* fleet_notes: what a replay rests on, and what of the trace is not in it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/fleet.h"
#include "plan/signal.h"

/* What is left out, and what is not as it stands in the file. */
static int note_trace(struct wt_fleet_result *r, struct wt_error *err)
{
    const struct wt_trace_counts *c = &r->trace->counts;
    const struct {
        size_t count;
        const char *one, *more;
    } rows[] = {
        {c->never_ran, "never ran, and is left out", "never ran, and are left out"},
        {c->running, "had not ended, and is left out", "had not ended, and are left out"},
        {c->unknown_run, "does not tell how long it ran, and is left out",
         "do not tell how long they ran, and are left out"},
        {c->unknown_size, "does not tell its size, and is left out",
         "do not tell their size, and are left out"},
        {c->unknown_submit, "does not tell when it was submitted, and is left out",
         "do not tell when they were submitted, and are left out"},
        {r->too_large, "needs more than there is, and is left out",
         "need more than there is, and are left out"},
        {c->unknown_asked, "does not tell the time it asked for: what it took stands for it",
         "do not tell the time they asked for: what they took stands for it"},
        {c->over_asked, "ran beyond the time it asked for, which is raised to that",
         "ran beyond the time they asked for, which is raised to that"},
        {c->short_run, "took under a second, and counts as one",
         "took under a second, and count as one"},
        {c->depending, "waits for another by the file: here it does not",
         "wait for others by the file: here they do not"},
        {r->unbound, "falls under a cap and has no GPU: it is not slowed",
         "fall under a cap and have no GPU: they are not slowed"},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(rows); i++)
        if (rows[i].count)
            rc = WT_NOTE(r, err, "%zu job%s %s", rows[i].count, rows[i].count > 1 ? "s" : "",
                         rows[i].count > 1 ? rows[i].more : rows[i].one);
    if (rc == 0 && r->trace->form == WT_TRACE_SACCT)
        rc = WT_NOTE(r, err, "the times that sacct prints are taken for UTC");
    return rc;
}

static int note_power(struct wt_fleet_result *r, struct wt_error *err)
{
    const struct wt_fleet_cluster *c = &r->cluster;
    int rc = 0;
    if (isnan(c->busy_w))
        rc = WT_NOTE(r, err,
                     "what a node with a job draws is not known, so no energy is: "
                     "--busy-power, or --host-watts with --curve and --node-gpus");
    else if (isnan(c->idle_w))
        rc = WT_NOTE(r, err,
                     "what a node without a job draws is not known (--idle-power): energy, "
                     "carbon and cost are of nodes with jobs alone");
    if (rc == 0 && !isnan(c->busy_w) && !r->place.signals[WT_SIGNAL_PUE])
        rc = WT_NOTE(r, err,
                     "no PUE is given: the nodes' own energy is counted, and not the "
                     "facility's");
    if (rc == 0 && c->curve && c->node_gpus && (!isnan(c->host_w) || r->policy.cap_count))
        rc = WT_NOTE(r, err, "all cards of a node with a job draw%s as the curve's load does%s%s",
                     r->policy.cap_count ? " and slow down" : "",
                     r->bare ? "; of one that has no GPU they draw no more than without it" : "",
                     r->policy.cap_count ? "; a job's time limit is raised with its cap" : "");
    double noise = c->curve ? wt_fleet_curve_assumed_noise(c->curve) : NAN;
    if (rc == 0 && !isnan(noise) && r->policy.cap_count)
        rc = WT_NOTE(r, err,
                     "points of the curve are taken to differ by %g %% if measured again: it has "
                     "too few repeats to tell",
                     100 * noise);
    return rc;
}

/* The signals from the first submission to the last end of any case. */
static int note_signals(struct wt_fleet_result *r, struct wt_error *err)
{
    struct wt_segment window = {r->cases[0].start_s, r->cases[0].end_s};
    int rc = 0;
    for (size_t i = 1; i < r->case_count; i++)
        if (r->cases[i].end_s > window.end_s)
            window.end_s = r->cases[i].end_s;
    for (int k = 0; rc == 0 && k < WT_SIGNAL_KINDS; k++) {
        const struct wt_signal *s = r->place.signals[k];
        if (!s)
            continue;
        rc = wt_signal_note_forecast(&r->notes, &r->note_count, s, "", window.end_s, err);
        if (rc == 0)
            rc = wt_signal_note(&r->notes, &r->note_count, s, "", &window, "of the replay", err);
    }
    return rc;
}

static int note_cases(struct wt_fleet_result *r, struct wt_error *err)
{
    const struct wt_fleet_case *base = &r->cases[0], *last = &r->cases[r->case_count - 1];
    bool is_unknown = (r->place.signals[WT_SIGNAL_PUE] && isnan(last->facility_kwh)) ||
                      (r->place.signals[WT_SIGNAL_CARBON] && isnan(last->carbon_g)) ||
                      (r->place.signals[WT_SIGNAL_PRICE] && isnan(last->cost));
    int rc = 0;
    if (is_unknown && !isnan(r->cluster.busy_w))
        rc = WT_NOTE(r, err,
                     "a signal does not reach over all of the replay: what rests on it is not "
                     "known");
    if (rc == 0 && last->unplanned)
        rc = WT_NOTE(
            r, err, "%zu jobs might have been shifted where the signal is not known: they were not",
            last->unplanned);
    if (rc == 0 && last->forecast_share > 0)
        rc = WT_NOTE(r, err, "%.2g %% of the nodes' time rests on a forecast of the signals",
                     100 * last->forecast_share);
    if (rc == 0 && last->over_limit)
        rc =
            WT_NOTE(r, err, "%zu capped jobs run beyond the time they asked for", last->over_limit);
    if (rc == 0 && last->has_shifts)
        rc = WT_NOTE(r, err,
                     "a shift knows the signal beforehand, and of a job the time it asked for");
    if (rc == 0 && r->policy.cap_count && r->policy.rebound <= 0)
        rc = WT_NOTE(r, err,
                     "users may run more jobs when a job takes less energy (Zhao et al. "
                     "2024): none are counted; --rebound does");
    if (rc == 0 && base->queue_max > 100 && base->utilisation > 0.97)
        rc = WT_NOTE(r, err,
                     "the cluster is full at %.1f %%: waits grow with the length of the trace",
                     100 * base->utilisation);
    return rc;
}

int wt_fleet_note_all(struct wt_fleet_result *r, struct wt_error *err)
{
    int rc = WT_NOTE(r, err,
                     "all of it is modeled: a recorded trace, replayed on alike nodes of "
                     "one pool, by powers that were given");
    if (rc == 0)
        rc = note_trace(r, err);
    if (rc == 0)
        rc = note_power(r, err);
    if (rc == 0)
        rc = note_signals(r, err);
    return rc < 0 ? rc : note_cases(r, err);
}
