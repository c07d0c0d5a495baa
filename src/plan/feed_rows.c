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
        (to_s - from_s) % 60)
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
    rows->rows[rows->count++] =
        (struct wt_feed_row){from_s, to_s, value, is_forecast, false, rows->puts++};
    return 0;
}

void wt_feed_rows_done(struct wt_feed_rows *rows)
{
    free(rows->rows);
    *rows = (struct wt_feed_rows){0};
}

/* By time, the finest first. */
static int by_time(const void *a, const void *b)
{
    const struct wt_feed_row *x = a, *y = b;
    if (x->from_s != y->from_s)
        return x->from_s < y->from_s ? -1 : 1;
    return (x->to_s > y->to_s) - (x->to_s < y->to_s);
}

static int by_order(const void *a, const void *b)
{
    const struct wt_feed_row *x = a, *y = b;
    int time = by_time(a, b);
    return time ? time : x->order < y->order ? -1 : x->order > y->order;
}

/* Of rows for the very same time the last one put is left; a forecast never instead of another. */
static void drop_doubles(struct wt_feed_rows *rows)
{
    size_t kept = 0;
    for (size_t i = 0; i < rows->count; i++) {
        struct wt_feed_row *row = &rows->rows[i], *last = kept ? &rows->rows[kept - 1] : NULL;
        if (!last || by_time(last, row) != 0)
            rows->rows[kept++] = *row;
        else if (last->is_forecast || !row->is_forecast)
            *last = *row;
    }
    rows->count = kept;
}

/* Whether a finer row begins while this one holds. */
static bool is_coarse(const struct wt_feed_rows *rows, size_t i)
{
    const struct wt_feed_row *row = &rows->rows[i];
    size_t first = i;
    while (first && rows->rows[first - 1].from_s == row->from_s)
        first--;
    for (size_t k = first; k < rows->count && rows->rows[k].from_s < row->to_s; k++)
        if (rows->rows[k].to_s - rows->rows[k].from_s < row->to_s - row->from_s &&
            rows->rows[k].is_forecast == row->is_forecast)
            return true;
    return false;
}

int wt_feed_series(struct wt_signal **ret_signal, enum wt_signal_kind kind,
                   struct wt_feed_rows *rows, const char *name, struct wt_error *err)
{
    struct wt_signal *s;
    int64_t known_s = INT64_MIN, end_s = INT64_MIN;
    size_t known = 0;
    int rc = wt_signal_new(&s, kind, WT_SIGNAL_SERIES, name, err);
    if (rc < 0)
        return rc;
    if (rows->count)
        qsort(rows->rows, rows->count, sizeof(*rows->rows), by_order);
    drop_doubles(rows);
    rows->given = rows->estimated = 0;
    for (size_t i = 0; i < rows->count; i++)
        if (!rows->rows[i].is_forecast && rows->rows[i].to_s > known_s)
            known_s = rows->rows[i].to_s;
    for (size_t i = 0; rc == 0 && i < rows->count; i++) {
        struct wt_feed_row row = rows->rows[i];
        if (is_coarse(rows, i))
            continue;
        if (row.is_forecast && row.from_s < known_s)
            row.from_s = known_s;
        if (row.from_s < end_s)
            row.from_s = end_s;
        if (row.from_s >= row.to_s)
            continue;
        if (!isnan(row.value) && !wt_signal_is_in_range(kind, row.value)) {
            rc = wt_fail(err, WT_E_FORMAT, "holds a %s of %g, which cannot be",
                         wt_signal_kind_name(kind), row.value);
            break;
        }
        if (end_s != INT64_MIN && row.from_s > end_s)
            rc = wt_signal_append(s, end_s, NAN, err); /* nothing is told of that time */
        if (rc == 0)
            rc = wt_signal_append(s, row.from_s, row.value, err);
        if (row.is_forecast && row.from_s < s->service_s)
            s->service_s = row.from_s;
        end_s = row.to_s;
        known += isnan(row.value) ? 0 : 1;
        rows->given += !isnan(row.value) && !row.is_forecast;
        rows->estimated += !isnan(row.value) && !row.is_forecast && row.is_estimated;
    }
    if (rc == 0 && !known)
        rc = wt_fail(err, WT_E_FORMAT, "holds no value");
    if (rc < 0) {
        wt_signal_free(s);
        return rc;
    }
    s->end_s = end_s;
    *ret_signal = s;
    return 0;
}
