/* feed_rows: what services answered, put into one series. */
#include <math.h>
#include <stdlib.h>

#include "plan/feed.h"

#define SPAN_MAX_S (7 * WT_DAY_S)

int wt_feed_put(struct wt_feed_rows *rows, int64_t from_s, int64_t to_s, double value,
                bool is_forecast, struct wt_error *err)
{
    char text[32];
    if (from_s < 0 || from_s > 32503680000 || to_s <= from_s || to_s - from_s > SPAN_MAX_S ||
        from_s % 60 || to_s % 60)
        return wt_fail(
            err, WT_E_FORMAT, "holds a value at %s that has no span of minutes to a week",
            from_s < 0 || from_s > 32503680000 ? "no time of ours"
                                               : wt_moment_text(text, sizeof(text), from_s));
    if (rows->count == WT_FEED_ROWS_MAX)
        return wt_fail(err, WT_E_FORMAT, "holds more than %d values", WT_FEED_ROWS_MAX);
    if (rows->count == rows->room) {
        size_t room = rows->room ? 2 * rows->room : 256;
        struct wt_feed_row *more = reallocarray(rows->rows, room, sizeof(*more));
        if (!more)
            return wt_fail(err, WT_E_NOMEM, "no memory for the values of a feed");
        rows->rows = more;
        rows->room = room;
    }
    rows->rows[rows->count++] = (struct wt_feed_row){.from_s = from_s,
                                                     .to_s = to_s,
                                                     .span_s = to_s - from_s,
                                                     .value = value,
                                                     .is_forecast = is_forecast,
                                                     .order = rows->puts++};
    return 0;
}

void wt_feed_rows_done(struct wt_feed_rows *rows)
{
    free(rows->rows);
    *rows = (struct wt_feed_rows){0};
}

static int by_start(const void *a, const void *b)
{
    const struct wt_feed_row *x = a, *y = b;
    return (x->from_s > y->from_s) - (x->from_s < y->from_s);
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Whether a row goes before another where both hold: the finer one, of equals the last put. */
static bool goes_before(const struct wt_feed_row *a, const struct wt_feed_row *b)
{
    return a->span_s != b->span_s ? a->span_s < b->span_s : a->order > b->order;
}

/* The rows that may hold at a moment, as a heap: the first goes before all others. */
struct heap {
    const struct wt_feed_row **rows; /* owned */
    size_t count;
};

static void push(struct heap *h, const struct wt_feed_row *row)
{
    size_t i = h->count++;
    for (; i && goes_before(row, h->rows[(i - 1) / 2]); i = (i - 1) / 2)
        h->rows[i] = h->rows[(i - 1) / 2];
    h->rows[i] = row;
}

static void pop(struct heap *h)
{
    const struct wt_feed_row *last = h->rows[--h->count];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < h->count; i = k) {
        if (k + 1 < h->count && goes_before(h->rows[k + 1], h->rows[k]))
            k++;
        if (!goes_before(h->rows[k], last))
            break;
        h->rows[i] = h->rows[k];
    }
    h->rows[i] = last;
}

/* A forecast begins where the last row that is none ends; the others go. Returns by start. */
static void cut_forecasts(struct wt_feed_rows *rows)
{
    int64_t known_s = INT64_MIN;
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++)
        if (!rows->rows[i].is_forecast && rows->rows[i].to_s > known_s)
            known_s = rows->rows[i].to_s;
    for (size_t i = 0; i < rows->count; i++) {
        struct wt_feed_row row = rows->rows[i];
        if (row.is_forecast && row.from_s < known_s)
            row.from_s = known_s;
        if (row.from_s < row.to_s)
            rows->rows[kept++] = row;
    }
    rows->count = kept;
    if (kept)
        qsort(rows->rows, kept, sizeof(*rows->rows), by_start);
}

/* A row that holds from a moment on. */
static int add(struct wt_signal *s, struct wt_feed_rows *rows, const struct wt_feed_row *row,
               int64_t from_s, struct wt_error *err)
{
    bool is_known = !isnan(row->value);
    if (is_known && !wt_signal_is_in_range(s->kind, row->value))
        return wt_fail(err, WT_E_FORMAT, "holds a %s of %g, which cannot be",
                       wt_signal_kind_name(s->kind), row->value);
    if (row->is_forecast && from_s < s->service_s)
        s->service_s = from_s;
    rows->given += is_known && !row->is_forecast;
    rows->estimated += is_known && !row->is_forecast && row->is_estimated;
    return wt_signal_append(s, from_s, row->value, err);
}

/* At each moment where a row begins or ends the one that holds from there. */
static int add_rows(struct wt_signal *s, struct wt_feed_rows *rows, struct heap *h,
                    const int64_t *changes_s, size_t change_count, struct wt_error *err)
{
    const struct wt_feed_row *last = NULL;
    size_t next = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < change_count; i++) {
        int64_t t_s = changes_s[i];
        while (next < rows->count && rows->rows[next].from_s == t_s)
            push(h, &rows->rows[next++]);
        while (h->count && h->rows[0]->to_s <= t_s)
            pop(h);
        const struct wt_feed_row *row = h->count ? h->rows[0] : NULL;
        if (row && row != last)
            rc = add(s, rows, row, t_s, err);
        else if (!row && last && i + 1 < change_count)
            rc = wt_signal_append(s, t_s, NAN, err); /* nothing is told of that time */
        s->end_s = t_s;
        last = row;
    }
    return rc;
}

int wt_feed_series(struct wt_signal **ret_signal, enum wt_signal_kind kind,
                   struct wt_feed_rows *rows, const char *name, struct wt_error *err)
{
    struct wt_signal *s;
    int rc = wt_signal_new(&s, kind, WT_SIGNAL_SERIES, name, err);
    if (rc < 0)
        return rc;
    cut_forecasts(rows);
    rows->given = rows->estimated = 0;
    struct heap h = {calloc(rows->count + 1, sizeof(*h.rows)), 0};
    int64_t *changes_s = calloc(2 * rows->count + 1, sizeof(*changes_s));
    size_t count = 0, known = 0;
    if (!h.rows || !changes_s)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the values of a feed");
    for (size_t i = 0; rc == 0 && i < rows->count; i++) {
        changes_s[count++] = rows->rows[i].from_s;
        changes_s[count++] = rows->rows[i].to_s;
    }
    if (rc == 0 && count) {
        size_t kept = 1;
        qsort(changes_s, count, sizeof(*changes_s), by_value);
        for (size_t i = 1; i < count; i++)
            if (changes_s[i] != changes_s[kept - 1])
                changes_s[kept++] = changes_s[i];
        rc = add_rows(s, rows, &h, changes_s, kept, err);
    }
    free(h.rows);
    free(changes_s);
    for (size_t i = 0; i < s->count; i++)
        known += isnan(s->values[i]) ? 0 : 1;
    if (rc == 0 && !known)
        rc = wt_fail(err, WT_E_FORMAT, "holds no value");
    if (rc < 0) {
        wt_signal_free(s);
        return rc;
    }
    *ret_signal = s;
    return 0;
}
