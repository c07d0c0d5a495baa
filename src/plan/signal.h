/* signal: what the files of plan/ share. Internal to the library. */
#ifndef WT_PLAN_SIGNAL_H
#define WT_PLAN_SIGNAL_H

#include "base/base.h"
#include "wattune/plan.h"

#define WT_HOUR_S INT64_C(3600)
#define WT_DAY_S  INT64_C(86400)
#define WT_WEEK_S (7 * WT_DAY_S)

struct wt_signal {
    enum wt_signal_kind kind;
    enum wt_signal_form form;
    char name[256];
    bool is_builtin; /* of data/ */
    double constant;
    double table[12][24]; /* NaN: not known */
    /* SERIES: rows held until the next, the last until end_s. From forecast_s on they are forecast;
     * INT64_MAX: none is. */
    int64_t *at_s;
    double *values; /* NaN: not known */
    size_t count, room;
    int64_t end_s, forecast_s;
    struct wt_signal_forecast forecast; /* how; of zeros while none is */
    /* Of a live feed: when it was read (0: no feed), from when on the values are the service's own
     * forecast (INT64_MAX: none is), and what is to be known of them. */
    int64_t fetched_s, service_s;
    bool is_stale;         /* the service did not answer this time */
    char feed_word[160];   /* of the values: marginal, in EUR */
    char feed_remark[640]; /* of this reading */
    /* Of a file that holds what a feed said: which, and by what URL; "": not told. */
    char source[80], url[400];
};

int wt_signal_new(struct wt_signal **ret_signal, enum wt_signal_kind kind, enum wt_signal_form form,
                  const char *name, struct wt_error *err);
bool wt_signal_is_in_range(enum wt_signal_kind kind, double value);

/* wt_signal_read of an open file; name is for messages. */
int wt_signal_parse(struct wt_signal **ret_signal, enum wt_signal_kind kind, FILE *in,
                    const char *name, struct wt_error *err);
int wt_signal_append(struct wt_signal *signal, int64_t t_s, double value, struct wt_error *err);
/* wt_signal_at that remembers the row, for moments that rise. */
enum wt_signal_state wt_signal_next(const struct wt_signal *signal, size_t *io_row, int64_t t_s,
                                    double *ret_value, int64_t *ret_until_s);

/* What a kWh of the job costs at a moment by an objective: the product of the signals it needs,
 * NaN: not known. *ret_until_s: until when. io_rows: as of wt_signal_next. */
double wt_place_rate(const struct wt_place *place, enum wt_objective objective,
                     size_t io_rows[WT_SIGNAL_KINDS], int64_t t_s, int64_t *ret_until_s);

/* "5 min 00 s", and "184 d" of what is longer than two days. Returns buf. */
const char *wt_span_text(char *buf, size_t size, int64_t span_s);

/* Days since 1970 of a date, and back: the proleptic Gregorian calendar. */
int64_t wt_days_of(int64_t year, unsigned month, unsigned day);
void wt_date_of(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);
static inline int64_t wt_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* ---- segments.c ---- */

/* n steps, of which step i costs cost[i] (INFINITY: cannot be run). Work takes `work` steps, and
 * each interruption `checkpoint` more; a segment has segment_min steps at least and more than
 * checkpoint. Finds the segments of least cost, in steps; *ret_count 0: none fit. *io_best is
 * infinite or a cost that is known to be reached; nothing is returned that is not below it.
 * Errors: WT_E_NOMEM, WT_E_RANGE (too many states). */
int wt_segments_find(const double *cost, size_t n, size_t work, size_t checkpoint,
                     size_t segment_min, double *io_best, struct wt_segment **ret_segments,
                     size_t *ret_count, struct wt_error *err);

/* Adds a note to a result, which is or has one: `notes` and `note_count`. Errors: WT_E_NOMEM. */
int wt_plan_note_add(struct wt_plan_note **io_notes, size_t *io_count, struct wt_error *err,
                     const char *fmt, ...) WT_PRINTF(4, 5);
#define WT_NOTE(r, err, ...) wt_plan_note_add(&(r)->notes, &(r)->note_count, err, __VA_ARGS__)

/* ---- forecast.c ---- */

/* How far a series can be made to reach by wt_signal_forecast. INT64_MAX of what is no series. */
int64_t wt_signal_reach(const struct wt_signal *signal);

/* ---- signal_notes.c ---- */

/* Notes of a signal in a window: where it is from, a hole, time that is not known. where: " of DE",
 * or ""; to: "to the deadline", what the window is. Errors: WT_E_NOMEM. */
int wt_signal_note(struct wt_plan_note **io_notes, size_t *io_count, const struct wt_signal *signal,
                   const char *where, const struct wt_segment *window, const char *to,
                   struct wt_error *err);
/* A note of the forecast that is met before until_s, if there is one. Errors: WT_E_NOMEM. */
int wt_signal_note_forecast(struct wt_plan_note **io_notes, size_t *io_count,
                            const struct wt_signal *signal, const char *where, int64_t until_s,
                            struct wt_error *err);
/* Whether wt_signal_forecast made it, now or before, for a time before until_s. */
bool wt_signal_meets_forecast(const struct wt_signal *signal, int64_t until_s);

/* ---- plan_json.c ---- */

/* Adds an object for each signal of a place to a jansson array. Below 0: no memory. */
struct json_t;
int wt_place_signals_json(struct json_t *all, const struct wt_place *place);

extern const char wt_asset_pue_paper[]; /* data/pue-paper.csv */

#endif
