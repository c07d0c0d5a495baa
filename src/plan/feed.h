/* feed: signals from live services - what the files feed_*.c share. Internal to the library.
 *
 * feed.c asks a service and keeps its answer; feed_http.c carries; a file a format turns bytes into
 * rows and knows neither network nor clock; feed_rows.c makes a signal of rows; feed_cache.c keeps
 * the last good one. */
#ifndef WT_PLAN_FEED_H
#define WT_PLAN_FEED_H

#include "plan/signal.h"

/* ---- feed_rows.c ---- */

#define WT_FEED_ROWS_MAX 20000 /* two weeks of 5 minutes are 4,032 */

struct wt_feed_row {
    int64_t from_s, to_s, span_s;
    double value; /* NaN: the service does not know it */
    bool is_forecast;
    bool is_estimated; /* given as what was, but nobody measured it */
    size_t order;      /* in which it was put */
};
struct wt_feed_rows {
    struct wt_feed_row *rows; /* owned, in any order */
    size_t count, room, puts;
    size_t given,
        estimated; /* wt_feed_series: its values that are no forecast; of those estimates */
};
/* The row is the last one, until the next is put. Errors: WT_E_FORMAT (no time, no span, or more
 * rows than a feed has), WT_E_NOMEM. */
int wt_feed_put(struct wt_feed_rows *rows, int64_t from_s, int64_t to_s, double value,
                bool is_forecast, struct wt_error *err);
void wt_feed_rows_done(struct wt_feed_rows *rows);
/* A series of rows: at each moment the finest that holds, and of equals the last put; a forecast
 * only after the last row that is none; what no row covers is not known. Errors: WT_E_FORMAT (no
 * value at all, or one out of range), WT_E_NOMEM. */
int wt_feed_series(struct wt_signal **ret_signal, enum wt_signal_kind kind,
                   struct wt_feed_rows *rows, const char *name, struct wt_error *err);

/* ---- the formats: any bytes give rows or an error; text need not end ---- */

/* https://portal.electricitymaps.com/developer-hub/api/reference: carbon-intensity/history,
 * past-range and forecast. An answer for another zone is refused: the service falls back to that of
 * the caller's address. Errors: WT_E_FORMAT, WT_E_NOMEM. */
int wt_feed_electricitymaps(struct wt_feed_rows *rows, const char *text, size_t size,
                            const char *zone, struct wt_error *err);
/* https://carbon-intensity.github.io/api-definitions/: intensity/{from}/... and
 * regional/intensity/{from}/.../regionid/{id}. Values after the last measured one are a forecast;
 * of a region, for which none is measured, those from now_s on. Errors: as above. */
int wt_feed_ukcarbon(struct wt_feed_rows *rows, const char *text, size_t size, int64_t now_s,
                     struct wt_error *err);
/* https://docs.watttime.org: v3/historical and v3/forecast, in g a kWh. Errors: as above. */
int wt_feed_watttime(struct wt_feed_rows *rows, const char *text, size_t size, const char *region,
                     bool is_forecast, struct wt_error *err);
/* The token of /login. Errors: WT_E_FORMAT. */
int wt_feed_watttime_token(char *buf, size_t room, const char *text, size_t size,
                           struct wt_error *err);
/* Publication_MarketDocument of ENTSO-E's transparency platform with day-ahead prices (A44), per
 * kWh. Takes the auction of the coupled market (sequence 1) and no other. currency holds 4 bytes.
 * Errors: WT_E_FORMAT, WT_E_NOTFOUND (it says that it has none), WT_E_UNSUPPORTED (no libexpat),
 * WT_E_NOMEM. */
int wt_feed_entsoe(struct wt_feed_rows *rows, const char *text, size_t size, char currency[4],
                   struct wt_error *err);
/* Whether a text has one of the secrets in it (NULL: none), also as URLs, JSON or XML write it. */
bool wt_feed_has_secret(const char *text, size_t size, const char *const secrets[],
                        size_t secret_count);
/* What a service says of its refusal, into buf: short and printable; "" where it says nothing, or
 * has a secret anywhere in its answer. */
const char *wt_feed_reason(char *buf, size_t room, const char *text, size_t size,
                           const char *const secrets[], size_t secret_count);

/* ---- feed_http.c ---- */

struct wt_http;
struct wt_http_request {
    const char *url;
    const char *header;          /* "auth-token: ..."; NULL: none */
    const char *user, *password; /* of Basic; NULL: none */
    bool is_secret;              /* the URL has a key in it */
};
struct wt_http_answer {
    long status;
    long retry_after_s; /* 0: not told */
    char *body;         /* owned; ends with NUL; free() */
    size_t size;
};
/* Opens libcurl. All requests together have timeout_ms. Errors: WT_E_UNSUPPORTED (it is not here),
 * WT_E_NOMEM. */
int wt_http_open(struct wt_http **ret_http, int64_t timeout_ms, struct wt_error *err);
void wt_http_close(struct wt_http *http);
/* One GET. https alone, but for this machine; at most three redirects, and none to another host
 * with a secret. Errors: WT_E_USAGE (the URL), WT_E_TIMEOUT, WT_E_IO, WT_E_FORMAT (too large, a
 * redirect that is not followed), WT_E_NOMEM. Any status of the service is no error. */
int wt_http_get(struct wt_http *http, const struct wt_http_request *request,
                struct wt_http_answer *ret_answer, struct wt_error *err);

/* ---- feed_cache.c ---- */

/* The folder of kept series; false: there is no home to keep them in. */
bool wt_feed_cache_folder(char *buf, size_t size);
/* The series kept of a source at a URL. Errors: WT_E_NOTFOUND (none, or one that cannot be read),
 * WT_E_NOMEM. */
int wt_feed_cache_read(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *folder,
                       const char *source, const char *url, struct wt_error *err);
/* Keeps one, whole or not at all. Errors: WT_E_DENIED, WT_E_FULL, WT_E_IO. */
int wt_feed_cache_write(const struct wt_signal *signal, const char *folder, const char *source,
                        const char *url, struct wt_error *err);

/* A file of the form that wt_signal_read reads, with lines of # for what else is known, which it
 * reads too; without Wattune's own forecast. url may be NULL. */
int wt_signal_print(const struct wt_signal *signal, FILE *out, const char *url);

#endif
