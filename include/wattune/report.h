/* Show: the terminal's summaries and tables, and the one-file HTML report. */
#ifndef WATTUNE_REPORT_H
#define WATTUNE_REPORT_H

#include <stdio.h>

#include "wattune/fleet.h"
#include "wattune/jobs.h"
#include "wattune/pair.h"
#include "wattune/plan.h"
#include "wattune/predict.h"
#include "wattune/race.h"
#include "wattune/search.h"
#include "wattune/sweep.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_term {
    FILE *out;
    bool is_colour, is_utf8;
    unsigned width; /* columns; 0: 80 */
};
/* Fills from the stream: isatty, NO_COLOR, locale, window size. */
WT_API void wt_term_init(struct wt_term *term, FILE *out);

WT_API void wt_report_run(const struct wt_term *term, const struct wt_run *run, bool is_verbose);
WT_API void wt_report_sweep(const struct wt_term *term, const struct wt_sweep *sweep);
/* Points measured, ratios against the reference, the choice and what it rests on. */
WT_API void wt_report_search(const struct wt_term *term, const struct wt_search_result *result,
                             const struct wt_search_story *story);
/* Each place against starting now, a line of time, what the plan rests on. */
WT_API void wt_report_plan(const struct wt_term *term, const struct wt_plan_result *result);
/* A pass of each part and all of the work, what decides it, and what it rests on. */
WT_API void wt_report_predict(const struct wt_term *term, const struct wt_predict_job *job);
/* Rows of the catalogue (wt_catalogue_to_json) with the source of each number. Errors:
 * WT_E_NOMEM. */
WT_API int wt_report_catalogue(const struct wt_term *term, const struct wt_catalogue *catalogue,
                               enum wt_data kind, const char *pattern, size_t *ret_shown,
                               struct wt_error *err);
/* Each problem as "FILE:LINE: COLUMN: TEXT", and the sum. */
WT_API void wt_report_data_check(const struct wt_term *term, const struct wt_data_check *check);
/* Machines side by side, in the order given; which are best, and which no other beats. */
WT_API void wt_report_compare(const struct wt_term *term, const struct wt_compare_row *rows,
                              size_t count);
/* Time against energy, as an SVG; the whole file or nothing. Errors: WT_E_USAGE (nothing fits), as
 * of writing a file. */
WT_API int wt_report_compare_svg(const char *path, const struct wt_compare_row *rows, size_t count,
                                 struct wt_error *err);
/* Each node of a job of many ranks, and their sum or why there is none. */
WT_API void wt_report_sum(const struct wt_term *term, const struct wt_run_sum *sum,
                          const struct wt_run *runs);
/* B against A: figures, ratios, and whether the difference is real. */
WT_API void wt_report_pair(const struct wt_term *term, const struct wt_pair *pair);
/* A line each; what is not known, was not measured or was lost is said below. */
WT_API void wt_report_jobs(const struct wt_term *term, const struct wt_job_sum *sums, size_t count,
                           enum wt_job_by by);
/* A replay: cases against the baseline, who is slowed, what it rests on. */
WT_API void wt_report_fleet(const struct wt_term *term, const struct wt_fleet_result *result);
/* A replayed race: each trial, the saving, the risk. */
WT_API void wt_report_race(const struct wt_term *term, const struct wt_race_curves *curves,
                           const struct wt_race_options *options,
                           const struct wt_race_replayed *replayed,
                           const struct wt_race_risk *risk);
/* A race of commands: each trial, what it took, what stopping saved. */
WT_API void wt_report_raced(const struct wt_term *term, const struct wt_raced *raced);
WT_API void wt_report_runs(const struct wt_term *term, const struct wt_run *runs, size_t count);

/* Writes the whole file or nothing (temporary name, rename). Either sweep or runs[0..count) with a
 * NULL sweep. Errors: WT_E_IO, WT_E_DENIED, WT_E_FULL. */
WT_API int wt_report_html(const char *path, const struct wt_sweep *sweep, const struct wt_run *runs,
                          size_t count, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
