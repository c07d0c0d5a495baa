/* fleet: what the files of a replay share. Internal to the library. */
#ifndef WT_PLAN_FLEET_H
#define WT_PLAN_FLEET_H

#include "plan/trace.h"

/* ---- fleet_rates.c: what a second of power costs, summed over time ---- */

enum wt_rate {
    WT_RATE_FACILITY, /* PUE; 1 without one */
    WT_RATE_CARBON,   /* times g a kWh */
    WT_RATE_PRICE,    /* times price of a kWh */
    WT_RATE_FORECAST, /* 1 where a signal is forecast */
    WT_RATES
};

struct wt_rates {
    size_t count, room; /* of spans: [at_s[i], at_s[i + 1]) has rate[k][i] */
    int64_t *at_s;
    double *rate[WT_RATES]; /* NaN: not known */
    double *sum[WT_RATES];  /* of rate times seconds before; what is not known is 0 */
    int64_t *unknown_s[WT_RATES];
};
/* Of the signals of a place from start_s to end_s. Errors: WT_E_NOMEM, WT_E_RANGE (too many
 * changes). */
int wt_rates_make(struct wt_rates *ret_rates, const struct wt_place *place, int64_t start_s,
                  int64_t end_s, struct wt_error *err);
void wt_rates_done(struct wt_rates *rates);
/* Rate times seconds between two moments; NaN where part of it is not known or lies outside. */
double wt_rates_between(const struct wt_rates *rates, enum wt_rate which, int64_t from_s,
                        int64_t to_s);
/* The start from from_s to from_s + span_s at which run_s seconds cost least, exactly and of equals
 * the earliest; false: it is known at none. */
bool wt_rates_best(const struct wt_rates *rates, enum wt_rate which, int64_t from_s, int64_t span_s,
                   int64_t run_s, int64_t *ret_start_s);

/* ---- fleet_curve.c ---- */

/* Errors: WT_E_RANGE: below the lowest point or above the highest. */
int wt_fleet_curve_cap(const struct wt_fleet_curve *curve, double cap_w,
                       struct wt_fleet_cap *ret_cap, struct wt_error *err);
/* Its highest limit, and the power of a card there. */
void wt_fleet_curve_reference(const struct wt_fleet_curve *curve, double *ret_limit_w,
                              double *ret_card_w);

/* What a point is taken to differ by from another measurement of it; NaN: repeats tell it. */
double wt_fleet_curve_assumed_noise(const struct wt_fleet_curve *curve);
/* The emulated device that was measured; "": none was. */
const char *wt_fleet_curve_emulation(const struct wt_fleet_curve *curve);

/* ---- fleet.c and fleet_sums.c: a replay under way ---- */

/* A job as the cluster has it. */
struct wt_fleet_member {
    uint32_t job;      /* of the trace */
    int32_t width;     /* nodes, or where they are shared processors or GPUs */
    int8_t cap, shift; /* the rule that holds; -1: none */
};

struct wt_fleet_schedule {        /* of one case */
    struct wt_trace_order *order; /* owned: by release, the number of a member; from `count` of the
                                     members on copies that the rebound added */
    int64_t *starts_s;            /* owned, in that order */
    size_t count;
    double unit_s, busy_sum[WT_RATES], busy_j; /* width times seconds, times rates; joules */
    double cost_j[WT_RATES];                   /* joules times rates */
    double capped_j[WT_FLEET_RULES];           /* of busy_j, under each cap */
};

struct wt_fleet_work {
    const struct wt_trace *trace;
    struct wt_fleet_result *r;
    struct wt_fleet_member *members; /* owned, in order of submission */
    size_t count;
    uint32_t *copies; /* owned: members that the rebound runs again */
    size_t copy_count;
    int64_t units; /* of the cluster */
    double node_units, unit_idle_w, unit_busy_w, unit_capped_w[WT_FLEET_RULES];
    double unit_bare_w; /* with a job that has no GPU; NaN: not told apart */
    struct wt_rates rates;
    struct wt_fleet_schedule schedules[4]; /* of the cases */
};

/* The member that entry i of an order stands for. */
static inline uint32_t wt_fleet_member_of(const struct wt_fleet_work *w, uint32_t entry)
{
    return entry < w->count ? entry : w->copies[entry - w->count];
}
/* How long a member runs in a case, and may run by what it asked for. */
int32_t wt_fleet_run_s(const struct wt_fleet_work *w, const struct wt_fleet_case *c, uint32_t at);
int32_t wt_fleet_asked_s(const struct wt_fleet_work *w, const struct wt_fleet_case *c, uint32_t at);
/* Fills the sums of all cases from their schedules; the rates reach their ends. Errors:
 * WT_E_NOMEM. */
int wt_fleet_sum_up(struct wt_fleet_work *w, struct wt_error *err);

/* ---- fleet_notes.c ---- */

/* What the result rests on. Errors: WT_E_NOMEM. */
int wt_fleet_note_all(struct wt_fleet_result *r, struct wt_error *err);

#endif
