/* search: what the files of a sweep share with each other and the report. Internal to the library.
 */
#ifndef WT_SEARCH_SWEEP_H
#define WT_SEARCH_SWEEP_H

#include "search/search.h"
#include "wattune/sweep.h"

/* ---- sweep.c ---- */

/* Does it count in the table? */
bool wt_sweep_is_usable(const struct wt_run *run);
/* Time and energy of one run, the host's share in it: per unit of work where the runs did different
 * amounts, and times what its parameters need. */
void wt_sweep_values(const struct wt_sweep *sweep, const struct wt_run *run, double *ret_time,
                     double *ret_energy);
/* How far its energy may be off, relative, but for what all runs on its devices share. */
double wt_sweep_bound_of(const struct wt_sweep *sweep, const struct wt_run *run);
int wt_sweep_warn(struct wt_sweep *sweep, const char *fmt, ...) WT_PRINTF(2, 3);
/* A run's setting in words. */
const char *wt_sweep_label_words(const char *label);

/* ---- choice.c ---- */

/* Two-sided 95 % quantile of Student's t. */
double wt_student_t(size_t freedom);
/* The goal of a sweep, whose energies have the host's share in them. */
struct wt_goal wt_sweep_goal(const struct wt_sweep *sweep);
/* From the rows: which is chosen, how well the ratios are known, and at which power of the rest of
 * the node the choice gains nothing. */
void wt_sweep_choose(struct wt_sweep *sweep);
/* What the limits of the goal rule out. Errors: WT_E_NOMEM. */
int wt_sweep_warn_of_limits(struct wt_sweep *sweep);

/* ---- outliers.c ---- */

/* Fills outliers and those counts of the rows, and warns. Errors: WT_E_NOMEM. */
int wt_sweep_find_outliers(struct wt_sweep *sweep);
/* Whether the devices were still warming up in the first run. Errors: WT_E_NOMEM. */
int wt_sweep_warn_of_warmup(struct wt_sweep *sweep);

/* ---- nodes.c ---- */

/* Of runs on several machines: on which, and whether what is said of the settings is said of the
 * machines. Errors: WT_E_NOMEM. */
int wt_sweep_warn_of_nodes(struct wt_sweep *sweep);

/* ---- advice.c ---- */

/* Fills advice and apply from the rows, the choice and the break-even. */
void wt_sweep_advise(struct wt_sweep *sweep);

/* ---- sweep_json.c, sweep_plan.c ---- */

/* The sweep's document as a jansson value. NULL: no memory. */
json_t *wt_sweep_json(const struct wt_sweep *sweep);

#endif
