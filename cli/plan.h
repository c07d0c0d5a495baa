/* plan: what the two forms of `wattune plan` share - one job, and the jobs of a trace. */
#ifndef WT_CLI_PLAN_H
#define WT_CLI_PLAN_H

#include "cli.h"

/* A power: "800W", "1.2kW", "2MW", "800". False: it is none. */
bool plan_power_parse(const char *text, double *ret_w);
/* A duration in whole seconds. Returns an exit code, or -1. */
int plan_seconds_parse(const char *option, const char *text, bool may_be_none, int64_t *ret_s);
/* WHAT of --signal KIND=WHAT: a number, a built-in table, a file. Returns an exit code, or -1. */
int plan_signal_open(enum wt_signal_kind kind, const char *what, struct wt_signal **ret_signal);
/* What --objective says; likewise. */
int plan_objective_parse(const char *text, enum wt_objective *ret_objective);
/* By the signals that there are. */
enum wt_objective plan_objective_of(const struct wt_place *place);

/* plan_jobs.c: `wattune plan --jobs`, and its options in --help. */
int cmd_plan_jobs(int argc, char **argv);
void plan_jobs_help(void);

#endif
