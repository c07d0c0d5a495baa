/* html: what the pages of a report share. Text from outside goes through put or tag. Internal to
 * the library. */
#ifndef WT_REPORT_HTML_H
#define WT_REPORT_HTML_H

#include <jansson.h>
#include <stdio.h>

#include "search/sweep.h"
#include "wattune/report.h"

/* ---- html.c ---- */

/* Text with the five characters that mean something in HTML taken out of it. */
void wt_html_put(FILE *out, const char *text);
/* A tag around escaped text. */
void wt_html_tag(FILE *out, const char *open, const char *text, const char *close);
const char *wt_html_watts(char *buf, size_t size, double w);
const char *wt_html_singular(const char *unit, char *buf, size_t size);
/* Four digits that count, and never an exponent where the digits fit. */
const char *wt_html_four(char *buf, size_t size, double value);
/* A value over its interval. */
void wt_html_estimate(FILE *out, const char *value, const char *interval);
void wt_html_joules(FILE *out, const struct wt_estimate *e, enum wt_provenance provenance);

void wt_html_begin(FILE *out, const char *title);
/* Takes data: what page.js draws. Errors: WT_E_NOMEM, also where data is NULL. */
int wt_html_end(FILE *out, json_t *data);
/* Of one run, or of the runs of a comparison: what they are not is said here, above all figures. */
void wt_html_header(FILE *out, const char *title, const char *command, const struct wt_run *run,
                    size_t count);
/* The devices of a run whose energy is estimated. */
const char *wt_html_modeled_names(const struct wt_run *run, char *buf, size_t size);
void wt_html_figure(FILE *out, const char *id, const char *title, const char *words, bool is_wide);
void wt_html_tile(FILE *out, const char *kind, const char *value, const char *words,
                  const char *detail);
/* used: a bit for each provenance. */
void wt_html_legend(FILE *out, unsigned used, bool has_repeats);
void wt_html_machine(FILE *out, const struct wt_run *run);

/* ---- html_trace.c ---- */

/* Devices of the trace, which a run that was cut short may not list. */
size_t wt_html_traced_devices(const struct wt_run *run);
/* Power and limit, W, over time, s; NULL: none, or no memory. */
json_t *wt_html_device_trace(const struct wt_run *run, size_t device, const char *label);
/* Whether its power, or a value that the program told, is more than one moment, which is no line.
 */
bool wt_html_has_trace(const struct wt_run *run);
bool wt_html_has_line(const struct wt_run *run, const char *name);
json_t *wt_html_sweep_traces(const struct wt_sweep *sweep);

/* ---- the pages ---- */

/* Errors: WT_E_NOMEM. */
int wt_html_sweep(FILE *out, const struct wt_sweep *sweep);
int wt_html_runs(FILE *out, const struct wt_run *runs, size_t count);

#endif
