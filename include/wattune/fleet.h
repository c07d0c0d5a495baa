/* A cluster's recorded jobs against a policy: caps on cards, starts moved to better hours, or both.
 *
 * The trace is replayed twice and more by one scheduler, once as it was and once under the policy,
 * so that what differs is the policy's. Nothing is measured: every energy here is modeled, from a
 * trace, powers and a curve that somebody gave. A power that is not given is NaN and never 0. */
#ifndef WATTUNE_FLEET_H
#define WATTUNE_FLEET_H

#include "wattune/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the trace ---- */

enum wt_trace_form {
    WT_TRACE_SWF,  /* Standard Workload Format 2.2: 18 numbers a line, ";Key: value" before them */
    WT_TRACE_SACCT /* `sacct -P`: fields between bars, names of columns in the first line */
};

struct wt_trace_job {
    int64_t submit_s;          /* since 1970 where the trace is dated, else since its beginning */
    int32_t run_s;             /* 1 or more */
    int32_t asked_s;           /* time limit: run_s or more */
    int32_t wait_s;            /* as recorded; -1: not told */
    int32_t processors, nodes; /* 0: not told; one of them is */
    int32_t gpus;              /* -1: not told */
    uint32_t partition, queue, user; /* index of a name; of sacct the queue is the QOS */
};

struct wt_trace_names {
    char **names; /* owned; "" is of those that have none */
    size_t count;
};

/* What of a file is not replayed, or not as it stands. */
struct wt_trace_counts {
    size_t lines, steps;   /* steps of jobs (sacct) and partial executions (SWF): in their job */
    size_t never_ran;      /* canceled or failed before they began, or still waiting */
    size_t running;        /* did not end yet */
    size_t unknown_run;    /* left out: the time they took is not told */
    size_t unknown_size;   /* left out: how many nodes or processors is not told */
    size_t unknown_submit; /* left out */
    size_t unknown_asked;  /* kept: what they took is taken for their limit */
    size_t over_asked;     /* kept: ran beyond their limit, which is raised to that */
    size_t short_run;      /* kept: under a second, taken for one */
    size_t depending;      /* kept: wait for another job, which is not carried out */
};

struct wt_trace {
    enum wt_trace_form form;
    char name[256];
    bool is_dated;             /* submit_s is since 1970 */
    struct wt_trace_job *jobs; /* owned, by time of submission */
    size_t count;
    struct wt_trace_names partitions, queues, users;
    int64_t nodes, processors; /* of the cluster, by the header; 0: not told */
    struct wt_trace_counts counts;
};
/* Reads either form, told apart by what the first lines look like.
 * SWF: comments may tell MaxNodes, MaxProcs, UnixStartTime, Partition and Queue. sacct: JobID,
 * Submit (or Eligible), Elapsed or ElapsedRaw or Start and End, NNodes or AllocNodes or AllocTRES;
 * and where they are there Timelimit or TimelimitRaw, AllocTRES, ReqTRES, Partition, QOS, User,
 * State; times are taken for UTC. Errors: WT_E_NOTFOUND, WT_E_DENIED, WT_E_IO, WT_E_FORMAT (names
 * file and line), WT_E_NOMEM. */
WT_API int wt_trace_read(struct wt_trace *ret_trace, const char *path, struct wt_error *err);
WT_API void wt_trace_done(struct wt_trace *trace);
/* Moves all jobs so that the first is submitted at this time: another year's weather. */
WT_API void wt_trace_move(struct wt_trace *trace, int64_t start_s);

/* ---- the cluster ---- */

/* Time and power of one card under a limit, by recorded points (wt_replay_read: power_w, time_s,
 * energy_j). */
struct wt_fleet_curve;
/* Errors: those of wt_replay_read and wt_curve_new; WT_E_FORMAT: no column power_w alone. */
WT_API int wt_fleet_curve_read(struct wt_fleet_curve **ret_curve, const char *path,
                               struct wt_error *err);
WT_API void wt_fleet_curve_free(struct wt_fleet_curve *curve);

struct wt_fleet_cluster {
    int64_t nodes;           /* 0: by the trace's header */
    int64_t node_processors; /* of an SWF trace; 0: by its header, else 1 */
    bool is_shared;          /* jobs share nodes, by processor or GPU; else a job has whole nodes */
    unsigned node_gpus;      /* cards a node; 0: none, or not told */
    double idle_w;           /* of a node without a job; NaN: not known */
    double busy_w;           /* of a node with a job and no cap; NaN: from host_w and the curve */
    double host_w;           /* of a node with a job, all but its cards; NaN: from busy_w */
    const struct wt_fleet_curve *curve; /* borrowed; NULL: none */
};

/* ---- the policy ---- */

#define WT_FLEET_RULES 32

enum wt_fleet_of { WT_FLEET_ALL, WT_FLEET_PARTITION, WT_FLEET_QUEUE, WT_FLEET_USER };
/* Of several rules that hold for a job the last one does. */
struct wt_fleet_rule {
    enum wt_fleet_of of;
    char name[64];
    double cap_w;   /* of a cap: limit of each card */
    int64_t span_s; /* of a shift: starts so much later at most */
};

struct wt_fleet_policy {
    struct wt_fleet_rule caps[WT_FLEET_RULES], shifts[WT_FLEET_RULES];
    size_t cap_count, shift_count;
    enum wt_objective objective; /* of shifts: ENERGY (of the facility), CARBON or COST */
    double
        rebound; /* share of the energy that capped jobs save which more such jobs take: 0 to 1 */
};

/* ---- the result ---- */

struct wt_fleet_spread {
    double median, mean, p95; /* NaN: of no job */
};

/* One replay. */
struct wt_fleet_case {
    bool has_caps, has_shifts;           /* neither: the baseline */
    size_t jobs, capped, shifted, added; /* added: by the rebound */
    size_t over_limit;                   /* capped jobs that run beyond the time asked for */
    size_t unplanned; /* might be shifted, but no signal is known there: started at once */
    double jobs_kwh;  /* NaN: power of a busy node is not known */
    double jobs_low_kwh,
        jobs_high_kwh; /* by the curve's 95 %, the schedule as it is; NaN: no caps */
    double idle_kwh;   /* of nodes without a job; NaN: not known */
    double energy_kwh; /* of both, or where idle power is not known NaN */
    double facility_kwh, carbon_g, cost; /* of energy_kwh, or where that is not known of jobs_kwh;
                                            carbon and cost with PUE where one is given; NaN */
    double forecast_share; /* of the time of nodes with a job, with a signal that is forecast */
    struct wt_fleet_spread wait_s;   /* from submission to start */
    struct wt_fleet_spread slowdown; /* bounded: of wait and run over the uncapped run, 10 s at
                                        least; never under 1 */
    double chosen_s;                 /* of the mean wait, what the shifts chose */
    int64_t start_s, end_s;          /* first submission, last end */
    double utilisation;              /* of the nodes' time from start_s to end_s */
    double node_hours;
    size_t queue_max;
};

struct wt_fleet_group {
    const char *name; /* borrowed from the trace */
    size_t jobs, slowed;
    double wait_s[2], turnaround_s[2]; /* mean, baseline and policy */
};

struct wt_fleet_cap {                            /* what the curve says of a cap */
    struct wt_estimate time_ratio, energy_ratio; /* of the card, against reference_w */
    double card_w, node_w;                       /* node_w: NaN where it is not known */
};

struct wt_fleet_result {
    const struct wt_trace *trace;    /* borrowed */
    struct wt_fleet_cluster cluster; /* as it was settled */
    struct wt_fleet_policy policy;
    struct wt_place place;
    double reference_w, card_w; /* of the curve: its highest limit and the power there; NaN */
    char emulation[64];         /* of the curve's points: profile; "": none is known */
    struct wt_fleet_cap caps[WT_FLEET_RULES];
    size_t jobs, too_large;    /* replayed; left out because they need more than there is */
    size_t unbound;            /* in a capped class, without a GPU: not slowed */
    size_t bare;               /* without a GPU, on nodes that draw host_w, or idle_w if higher */
    double recorded_wait_s[2]; /* median and mean of the trace's own waits; NaN */
    struct wt_fleet_case cases[4]; /* the baseline, caps or shifts alone where both are asked for,
                                      last the policy */
    size_t case_count;
    size_t slowed, quickened;    /* jobs whose time from submission to end differs by more than a
                                    tenth, and a minute */
    enum wt_fleet_of classes_of; /* PARTITION, or QUEUE where all are of one partition */
    struct wt_fleet_group *classes, *users; /* owned; by mean time added, most first, those of
                                               fewer than ten jobs behind the others */
    size_t class_count, user_count;
    struct wt_plan_note *notes; /* owned */
    size_t note_count;
};

/* Replays a trace on a cluster, with and without the policy: first come, first served, with EASY
 * backfilling by the time asked for. A shift chooses the start with the least of the objective for
 * the time a job asked for, within its span; from then on the job queues. Signals that end too soon
 * are made longer by wt_signal_forecast. Errors: WT_E_USAGE, WT_E_RANGE (a cap beyond the curve, a
 * name that no job has), WT_E_NOMEM. Threads: any thread, but not beside another use of the
 * place's signals. */
WT_API int wt_fleet_replay(struct wt_fleet_result *ret_result, const struct wt_trace *trace,
                           const struct wt_fleet_cluster *cluster,
                           const struct wt_fleet_policy *policy, const struct wt_place *place,
                           struct wt_error *err);
WT_API void wt_fleet_result_done(struct wt_fleet_result *result);
/* The stable document (docs/json.md, "A fleet"), owned by the caller: free(). NULL: no memory. */
WT_API char *wt_fleet_to_json(const struct wt_fleet_result *result);

#ifdef __cplusplus
}
#endif
#endif
