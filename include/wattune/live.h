/* Live: what a machine does now and has drawn since this began, for those who look on - `wattune
 * top`, the page and the metrics of `wattune serve`. It has a meter of its own, is moved on about
 * once a second, and hands out whole states. */
#ifndef WATTUNE_LIVE_H
#define WATTUNE_LIVE_H

#include "wattune/jobs.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_live;

#define WT_LIVE_HISTORY 120 /* powers of a device that are kept, one a second */

struct wt_live_options {
    int64_t period_ns; /* of the meter; 0: its default */
    /* The jobs of Slurm, whose accounts this moves on; NULL: none are kept. What it points to is
     * borrowed until wt_live_free: a store that cannot be opened is tried again. */
    const struct wt_accounts_options *accounts;
    size_t jobs_max;    /* no more are listed, the oldest first; the others are counted; 0: 64 */
    bool has_processes; /* those that use the GPUs, too */
};

struct wt_live_device {
    const struct wt_device_info *info; /* borrowed until the devices are freed */
    char title[120];                   /* "GPU 0", of no two devices the same */
    char detail[120];                  /* "Tesla V100-PCIE-32GB", or "" */
    /* The weakest that its energy has had since this began; while that is not known, what is known
     * of its sensor; WT_PROV_UNKNOWN: it has none. */
    enum wt_provenance provenance;
    struct wt_joules energy; /* since this began; never falls while it is known */
    struct wt_joules today;  /* since today_unix_ns */
    double power_w;          /* NaN: unknown */
    struct wt_status status; /* what was read within the last seconds; has 0: nothing */
    double throttle_s[6];    /* for each bit of WT_THROTTLE_*: so long it was seen */
    bool has_throttle;       /* such bits were read at all */
    double jobs_j, idle_j;   /* of its energy, by the accounts of jobs; NaN: there are none */
    double gap_s;            /* in which it was not measured */
    char note[160];          /* why its energy is unknown, or what widened it; "" */
    float history_w[WT_LIVE_HISTORY]; /* oldest first, the last one is now; NaN: unknown */
};

struct wt_live_lease {
    size_t device;  /* SIZE_MAX: none of these */
    char title[96]; /* of the device */
    enum wt_knob knob;
    int64_t value, effective; /* as asked; as it holds on the device, by all leases */
    uint32_t pid, uid, job;   /* job 0: a process's */
    char user[64];            /* the uid where it has no name */
    char program[16];
    double left_s; /* INFINITY: as long as its owner */
    bool is_set;   /* false: its value has not come to the device yet */
    bool is_unrestored;
};

struct wt_live_process {
    size_t device;
    uint32_t pid, job; /* job 0: of none */
    char user[64], program[32];
    uint64_t mem_bytes; /* 0: unknown */
    double busy;        /* share of the last second; NaN: unknown */
};

struct wt_live_job {
    uint32_t job;
    char user[64], account[64], partition[64], name[256];
    size_t device_count;
    double elapsed_s;
    struct wt_joules energy; /* so far, on this node; WT_PROV_UNKNOWN: nothing is known */
    double cap_w;            /* as the card took it; NaN: none */
};

/* What cannot be read, or done, and why. */
struct wt_live_problem {
    char what[160];
    char why[320];
    char fix[240]; /* "" */
};

struct wt_live_state {
    int64_t unix_ns, start_unix_ns; /* now; when this began */
    int64_t today_unix_ns;          /* midnight, local time, or when this began if that is later */
    char host[64];
    char unreal[16];    /* "emulated", "replayed", or "" */
    char emulation[64]; /* the emulated machine's name, or "" */
    struct wt_live_device *devices;
    size_t device_count;
    /* Of the devices that are counted; its provenance is its weakest part's, whose title weakest
     * is. */
    struct wt_joules energy, today;
    char weakest[120];
    double power_w; /* NaN: of one of them it is unknown */

    bool has_daemon;        /* wattuned answers */
    char daemon_why[200];   /* or why not */
    bool is_daemon_asked;   /* it is there, and its first answer is still waited for */
    bool is_daemon_silent;  /* it has not answered for 3 s; what it holds is not known */
    bool is_daemon_partial; /* it tells root all, others their own */
    struct wt_live_lease *leases;
    size_t lease_count, leases_unlisted;

    struct wt_live_process *processes;
    size_t process_count;

    bool has_jobs;                  /* accounts are kept now */
    struct wt_live_job *jobs;       /* the oldest first */
    size_t job_count, jobs_dropped; /* running beyond jobs_max */
    uint64_t jobs_dropped_total;    /* jobs that were ever not listed */
    struct wt_accounts_status accounts;

    struct wt_live_problem *problems;
    size_t problem_count;
    struct wt_meter_cost cost;
};

/* Looks over the devices, then samples them: they are borrowed until wt_live_free and belong to it
 * meanwhile. emulation: what the emulated machine is called, or NULL. Errors: WT_E_NOMEM, those of
 * wt_accounts_new, but for what is wrong with a store: that is a problem of the state. Threads:
 * owner thread. */
WT_API int wt_live_new(struct wt_live **ret_live, struct wt_ctx *ctx, struct wt_devices *devices,
                       const char *emulation, const struct wt_live_options *options,
                       struct wt_error *err);
WT_API void wt_live_free(struct wt_live *live);
/* About once a second. Never waits for a sensor or a daemon. Errors: WT_E_NOMEM. Threads: owner
 * thread. */
WT_API int wt_live_tick(struct wt_live *live, struct wt_error *err);
/* The state as of the last tick, copied. Errors: WT_E_NOMEM. Threads: any thread. */
WT_API int wt_live_state(struct wt_live *live, struct wt_live_state *ret_state,
                         struct wt_error *err);
WT_API void wt_live_state_done(struct wt_live_state *state);

/* The metrics of a state, in Prometheus' text format 0.0.4 or OpenMetrics 1.0 (docs/serve.md has
 * each). Owned: free(). NULL only without memory. Threads: any thread. */
WT_API char *wt_live_metrics(const struct wt_live_state *state, bool is_openmetrics);
/* The state as the page reads it (docs/serve.md). Owned: free(). NULL only without memory. */
WT_API char *wt_live_json(const struct wt_live_state *state);

#ifdef __cplusplus
}
#endif
#endif
