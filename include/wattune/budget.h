/* A power budget that follows signals: how many watts a site may use in each step of the hours to
 * come, and what must be set aside of a count of watts that a scheduler gives out. */
#ifndef WATTUNE_BUDGET_H
#define WATTUNE_BUDGET_H

#include "wattune/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WT_BUDGET_RULES 16

/* While the signal is above (or below) the limit, no more than share of the total. */
struct wt_budget_rule {
    enum wt_signal_kind kind;
    bool is_above;
    double limit;
    double share; /* 0 to 1 */
};
/* "60%", "500W", "12kW", "1.5MW" as a share of total_w, which it must not pass. Errors: WT_E_USAGE.
 */
WT_API int wt_budget_level_parse(double *ret_share, const char *text, double total_w,
                                 struct wt_error *err);
/* A level, a colon and when it holds: "60%:carbon>400", "12kW:price<0.1". Errors: WT_E_USAGE. */
WT_API int wt_budget_rule_parse(struct wt_budget_rule *ret_rule, const char *text, double total_w,
                                struct wt_error *err);

struct wt_budget {
    uint64_t licensed_w; /* what the scheduler has to give out */
    uint64_t total_w;    /* the budget at its highest; licensed_w or less */
    struct wt_budget_rule rules[WT_BUDGET_RULES];
    size_t rule_count;
    /* total x limit / value where the signal is above limit, down to the next 5 %: what is emitted
     * (or paid) an hour stays at what the total takes at limit. */
    bool is_following;
    enum wt_signal_kind followed;
    double follow_limit;
    double floor_share;   /* of --follow: never less */
    double unknown_share; /* where a signal that counts is not known */
    int64_t now_s, until_s, step_s;
};

struct wt_budget_step {
    int64_t start_s, end_s;
    uint64_t watts;                /* the least that holds anywhere in the step */
    double value[WT_SIGNAL_KINDS]; /* where that is; NaN: not known, or no such signal */
    bool is_unknown;               /* a signal that counts is not known somewhere in it */
    bool is_forecast;
};

/* Watts set aside, from the first moment to the last: those between below_w and up_to_w. */
struct wt_budget_layer {
    uint64_t below_w, up_to_w;
    int64_t start_s, end_s;
};

struct wt_budget_plan {
    struct wt_budget_step *steps; /* owned; of whole step_s of the clock, the first from now on */
    size_t step_count;
    /* Slurm 22.05 adds up all reservations that a job would meet in its time, also those that
     * follow each other. So the watts to be set aside are cut into layers at fixed heights, and of
     * each layer only the first stretch of time is given: what is set aside now is exact, and no
     * sum over any time is more than the most that is set aside at a moment of it. */
    struct wt_budget_layer *layers; /* owned; from below up, those that begin before until_s */
    size_t layer_count;
    struct wt_plan_note *notes; /* owned */
    size_t note_count;
};
/* Signals that end before until_s are made longer by wt_signal_forecast, and stay so.
 * Errors: WT_E_USAGE (a rule's signal is not among the place's; total above licensed), WT_E_RANGE
 * (more than 1,000 steps), WT_E_NOMEM. Threads: owner thread. */
WT_API int wt_budget_make(struct wt_budget_plan *ret_plan, const struct wt_budget *budget,
                          const struct wt_place *place, struct wt_error *err);
WT_API void wt_budget_plan_done(struct wt_budget_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
