/* record: what run.c and store.c share, and later stages use of them. Internal to the library. */
#ifndef WT_RECORD_H
#define WT_RECORD_H

#include <locale.h>

#include "base/base.h"
#include "wattune/run.h"

/* The run's document as jansson value; is_full adds "trace" and "series". NULL: no memory. */
json_t *wt_run_json(const struct wt_run *run, bool is_full);
/* The inverse, for what the store wrote: everything but the trace and the series. Fields that are
 * missing or of another type keep the value of an empty run. Errors: WT_E_FORMAT, WT_E_NOMEM. */
int wt_run_from_json(struct wt_run *ret_run, const json_t *doc, struct wt_error *err);
/* A JSON string of any bytes: what is no UTF-8 (a cut character, a file name) becomes '?'. */
json_t *wt_json_text(const char *text);
/* Adds a profile or a recording to a list of them, "A, B", where it is not there; of a run that was
 * measured nothing. */
void wt_run_add_origin(const struct wt_run *run, char *io_list, size_t size);
/* Whether a device counts in both, by its id. */
bool wt_runs_share_device(const struct wt_run *a, const struct wt_run *b);
/* ISO 8601 UTC to the second. Returns buf. */
const char *wt_time_text(char *buf, size_t size, int64_t unix_ns);

/* The folder of a user's runs, below $XDG_DATA_HOME or ~/.local/share. Errors: WT_E_NOTFOUND. */
int wt_store_default_dir(char *buf, size_t size, struct wt_error *err);

/* Decimal points whatever the program's locale: numbers written between enter and leave. */
struct wt_plain {
    locale_t mine, old;
};
void wt_plain_enter(struct wt_plain *plain);
void wt_plain_leave(struct wt_plain *plain);

#endif
