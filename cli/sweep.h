/* sweep: what the files of `wattune sweep` share - its options, its plan, its progress line. */
#ifndef WT_CLI_SWEEP_H
#define WT_CLI_SWEEP_H

#include "measure.h"

#define MAX_SETS   4
#define MAX_POINTS 256

struct sweep_options {
    struct cli_bed bed;
    struct cli_setting sets[MAX_SETS];
    size_t set_count;
    bool is_auto;
    const char *tag, *report, *csv, *progress;
    char work_unit[32];
    uint64_t work_per_step;
    double host_w;
    unsigned repeats, repeats_max; /* 0: not given */
    double precision;              /* NaN: not asked for */
    int64_t settle_ns;
    uint64_t seed;
    bool is_json, is_measure_only, is_output_shown, is_without_store;
};

/* One setting: a value for each knob. */
struct point {
    int64_t values[MAX_SETS];
    char label[64];
};

/* ---- sweep_plan.c ---- */

/* Fills the plan's points, or one point with the present setting when settings may not be changed
 * and that was allowed. Returns an exit code, or -1 to go on. */
int cli_plan(struct sweep_options *o, struct point *points, size_t *ret_count,
             size_t *ret_reference);
/* Every round holds each setting once, in an order of its own: drift (a warming card, a neighbour)
 * falls on all settings alike. order has points x repeats elements. */
void cli_plan_order(size_t *order, size_t points, unsigned repeats, uint64_t seed);

/* ---- sweep_progress.c ---- */

struct progress {
    bool is_tty;
    size_t done, total;
    const char *label;
    int64_t begun_ns;
    double spent_s; /* in finished runs */
    struct cli_measure *measure;
    size_t drawn_step;
};

/* For cli_measure.on_tick; data is the progress. Draws on a terminal, else nothing. */
void cli_progress_draw(void *data, const struct wt_run *run, double elapsed_s);
/* A run is over: a line of its own where there is no terminal. */
void cli_progress_done(struct progress *p, const struct wt_run *run);
/* Wipes the line, so that something else can be said. */
void cli_progress_clear(const struct progress *p);

#endif
