/* signal: what a kWh is worth over time - series, tables by month and hour, constants - and their
 * files. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/signal.h"

#define COLUMNS_MAX 64
#define LINE_MAX_   4096
#define ROWS_MAX    20000000

/* From the year 1000 to 9999, so that sums of times never overflow. */
#define TIME_MIN_S INT64_C(-30610224000)
#define TIME_MAX_S INT64_C(253402300799)

static const struct {
    const char *name, *column;
    double min, max;
    const char *range;
} kinds[WT_SIGNAL_KINDS] = {
    [WT_SIGNAL_CARBON] = {"carbon", "gco2_per_kwh", 0, 1e5, "0 or more, in g a kWh"},
    [WT_SIGNAL_PUE] = {"pue", "pue", 1, 100, "1 or more"},
    [WT_SIGNAL_PRICE] = {"price", "price_per_kwh", -1e6, 1e6, "of a kWh, at most a million"},
};

const char *wt_signal_kind_name(enum wt_signal_kind kind)
{
    return (unsigned)kind < WT_SIGNAL_KINDS ? kinds[kind].name : NULL;
}

const char *wt_signal_kind_column(enum wt_signal_kind kind)
{
    return (unsigned)kind < WT_SIGNAL_KINDS ? kinds[kind].column : NULL;
}

int wt_signal_kind_from_name(const char *name, enum wt_signal_kind *ret_kind)
{
    for (int i = 0; i < WT_SIGNAL_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0) {
            *ret_kind = (enum wt_signal_kind)i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

bool wt_signal_is_in_range(enum wt_signal_kind kind, double value)
{
    return value >= kinds[kind].min && value <= kinds[kind].max;
}

/* ---- files ---- */

enum { COLUMN_NONE = -1, COLUMN_TIME = -2, COLUMN_MONTH = -3, COLUMN_HOUR = -4, COLUMN_VALUE = -5 };

struct layout {
    int columns[COLUMNS_MAX]; /* COLUMN_*, or 0 to 23: the value of that hour */
    size_t count;
    bool has_time, has_month, has_hour, has_value, has_hours;
};

/* A whole number below max; -1. */
static int whole(const char *text, unsigned max)
{
    uint64_t value;
    return wt_text_to_u64(text, &value) == 0 && value < max ? (int)value : -1;
}

static int bad_header(struct wt_error *err, enum wt_signal_kind kind, const char *name,
                      size_t number, const char *what)
{
    wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", name, number, what);
    wt_fix(err, "begin it with time,%s (a series) or month,hour,%s (a table)", kinds[kind].column,
           kinds[kind].column);
    return WT_E_FORMAT;
}

static int read_header(struct wt_signal *s, struct layout *l, char *line, const char *name,
                       size_t number, struct wt_error *err)
{
    bool is_seen[24] = {0};
    char text[160];
    for (char *field; (field = wt_text_field(&line));) {
        if (l->count == COLUMNS_MAX)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d columns", name, number,
                           COLUMNS_MAX);
        int *column = &l->columns[l->count++], hour = whole(field, 24);
        bool *has = NULL;
        *column = COLUMN_NONE;
        if (strcasecmp(field, "time") == 0) {
            *column = COLUMN_TIME;
            has = &l->has_time;
        } else if (strcasecmp(field, "month") == 0) {
            *column = COLUMN_MONTH;
            has = &l->has_month;
        } else if (strcasecmp(field, "hour") == 0) {
            *column = COLUMN_HOUR;
            has = &l->has_hour;
        } else if (strcasecmp(field, kinds[s->kind].column) == 0) {
            *column = COLUMN_VALUE;
            has = &l->has_value;
        } else if (hour >= 0) {
            *column = hour;
            has = &is_seen[hour];
            l->has_hours = true;
        }
        if (has && *has) {
            wt_text(text, sizeof(text), "the column %.40s is there twice", field);
            return bad_header(err, s->kind, name, number, text);
        }
        if (has)
            *has = true;
    }
    if (l->has_hours) {
        for (int i = 0; i < 24; i++)
            if (!is_seen[i]) {
                wt_text(text, sizeof(text), "columns of hours, but none of hour %d", i);
                return bad_header(err, s->kind, name, number, text);
            }
        if (!l->has_month || l->has_time || l->has_hour || l->has_value)
            return bad_header(err, s->kind, name, number, "columns of hours go with month alone");
    } else if (!l->has_value) {
        wt_text(text, sizeof(text), "no column %s", kinds[s->kind].column);
        return bad_header(err, s->kind, name, number, text);
    } else if (!l->has_time && !l->has_month && !l->has_hour) {
        return bad_header(err, s->kind, name, number, "no column time, month or hour");
    } else if (l->has_time && (l->has_month || l->has_hour)) {
        return bad_header(err, s->kind, name, number, "both time and month or hour");
    }
    s->form = l->has_time ? WT_SIGNAL_SERIES : WT_SIGNAL_TABLE;
    return 0;
}

/* Empty is not known. */
static int read_value(const struct wt_signal *s, const char *field, double *ret_value,
                      const char *name, size_t number, struct wt_error *err)
{
    *ret_value = NAN;
    if (!*field)
        return 0;
    if (wt_text_to_double(field, ret_value) < 0)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: %s is \"%.40s\", and must be a number", name,
                       number, kinds[s->kind].column, field);
    if (*ret_value < kinds[s->kind].min || *ret_value > kinds[s->kind].max)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: %s is %.40s, and must be %s", name, number,
                       kinds[s->kind].column, field, kinds[s->kind].range);
    return 0;
}

int wt_signal_append(struct wt_signal *s, int64_t t_s, double value, struct wt_error *err)
{
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 256;
        int64_t *at_s = reallocarray(s->at_s, room, sizeof(*at_s));
        if (at_s)
            s->at_s = at_s;
        double *values = reallocarray(s->values, room, sizeof(*values));
        if (values)
            s->values = values;
        if (!at_s || !values)
            return wt_fail(err, WT_E_NOMEM, "%s: no memory for its rows", s->name);
        s->room = room;
    }
    s->at_s[s->count] = t_s;
    s->values[s->count++] = value;
    return 0;
}

/* Puts a value into the table for a month and an hour, -1: all. False: something is there. */
static bool put_table(struct wt_signal *s, bool is_set[12][24], int month, int hour, double value)
{
    for (int m = month < 0 ? 0 : month; m <= (month < 0 ? 11 : month); m++)
        for (int h = hour < 0 ? 0 : hour; h <= (hour < 0 ? 23 : hour); h++) {
            if (is_set[m][h])
                return false;
            is_set[m][h] = true;
            s->table[m][h] = value;
        }
    return true;
}

static int read_row(struct wt_signal *s, const struct layout *l, bool is_set[12][24], char *line,
                    const char *name, size_t number, struct wt_error *err)
{
    int64_t t_s = 0;
    int month = -1, hour = -1;
    double value = NAN, hours[24];
    size_t i = 0;
    for (char *field; (field = wt_text_field(&line)); i++) {
        if (i == l->count)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than the %zu columns of the header",
                           name, number, l->count);
        int column = l->columns[i], rc = 0;
        if (column == COLUMN_TIME) {
            if (wt_moment_parse(field, &t_s) < 0 || t_s < TIME_MIN_S || t_s > TIME_MAX_S) {
                wt_fail(err, WT_E_FORMAT, "%s:%zu: time is \"%.40s\"", name, number, field);
                wt_fix(err, "write times as 2020-07-01T06:00:00Z");
                return WT_E_FORMAT;
            }
            if (s->count && t_s <= s->at_s[s->count - 1])
                return wt_fail(err, WT_E_FORMAT,
                               "%s:%zu: time is %.40s, not after that of the row "
                               "before",
                               name, number, field);
        } else if (column == COLUMN_MONTH) {
            month = whole(field, 13) - 1;
            if (month < 0)
                return wt_fail(err, WT_E_FORMAT, "%s:%zu: month is \"%.40s\", and must be 1 to 12",
                               name, number, field);
        } else if (column == COLUMN_HOUR) {
            hour = whole(field, 24);
            if (hour < 0)
                return wt_fail(err, WT_E_FORMAT, "%s:%zu: hour is \"%.40s\", and must be 0 to 23",
                               name, number, field);
        } else if (column == COLUMN_VALUE) {
            rc = read_value(s, field, &value, name, number, err);
        } else if (column >= 0) {
            rc = read_value(s, field, &hours[column], name, number, err);
        }
        if (rc < 0)
            return rc;
    }
    if (i < l->count)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: %zu fields where the header has %zu", name,
                       number, i, l->count);
    if (s->form == WT_SIGNAL_SERIES) {
        if (s->count == ROWS_MAX)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: more than %d rows", name, number, ROWS_MAX);
        return wt_signal_append(s, t_s, value, err);
    }
    bool is_free = true;
    if (l->has_hours)
        for (int h = 0; h < 24; h++)
            is_free &= put_table(s, is_set, month, h, hours[h]);
    else
        is_free = put_table(s, is_set, month, hour, value);
    if (!is_free)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: the row for this month and hour is there already",
                       name, number);
    s->count++;
    return 0;
}

int wt_signal_new(struct wt_signal **ret_signal, enum wt_signal_kind kind, enum wt_signal_form form,
                  const char *name, struct wt_error *err)
{
    struct wt_signal *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory for a signal");
    s->kind = kind;
    s->form = form;
    s->forecast_s = s->service_s = INT64_MAX;
    wt_text(s->name, sizeof(s->name), "%s", name);
    for (int m = 0; m < 12; m++)
        for (int h = 0; h < 24; h++)
            s->table[m][h] = NAN;
    *ret_signal = s;
    return 0;
}

/* Lines of # before the header that a saved series has (wt_signal_print); any other is for people.
 * A forecast that is no time must not pass for measured. */
static int read_remark(struct wt_signal *s, uint64_t *io_rows, char *text, const char *name,
                       size_t number, struct wt_error *err)
{
    const struct {
        const char *word;
        int64_t *to_s; /* or a text: */
        char *to;
        size_t size;
    } remarks[] = {{"# fetched: ", &s->fetched_s, NULL, 0},
                   {"# forecast: ", &s->service_s, NULL, 0},
                   {"# word: ", NULL, s->feed_word, sizeof(s->feed_word)},
                   {"# source: ", NULL, s->source, sizeof(s->source)},
                   {"# url: ", NULL, s->url, sizeof(s->url)}};
    text[strcspn(text, "\r\n")] = '\0';
    if (strncmp(text, "# rows: ", 8) == 0 && wt_text_to_u64(text + 8, io_rows) < 0)
        return wt_fail(err, WT_E_FORMAT, "%s:%zu: \"%.60s\" is no count", name, number, text);
    for (size_t i = 0; i < WT_COUNTOF(remarks); i++) {
        size_t n = strlen(remarks[i].word);
        if (strncmp(text, remarks[i].word, n) != 0)
            continue;
        if (remarks[i].to)
            wt_text(remarks[i].to, remarks[i].size, "%s", text + n);
        else if (wt_moment_parse(text + n, remarks[i].to_s) < 0)
            return wt_fail(err, WT_E_FORMAT, "%s:%zu: \"%.60s\" holds no time", name, number, text);
    }
    return 0;
}

int wt_signal_parse(struct wt_signal **ret_signal, enum wt_signal_kind kind, FILE *in,
                    const char *name, struct wt_error *err)
{
    struct wt_signal *s;
    struct layout layout = {0};
    bool is_set[12][24] = {{0}};
    char line[LINE_MAX_];
    uint64_t rows = UINT64_MAX; /* not told */
    bool is_whole = true;       /* the last line ends */
    int rc = wt_signal_new(&s, kind, WT_SIGNAL_SERIES, name, err);
    if (rc < 0)
        return rc;
    for (size_t number = 1; rc == 0 && fgets(line, sizeof(line), in); number++) {
        char *text = number == 1 ? wt_text_after_mark(line) : line;
        size_t blank = strspn(text, " \t\r\n");
        is_whole = strchr(line, '\n') != NULL;
        if (!is_whole && !feof(in))
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: a line of more than %d characters", name,
                         number, LINE_MAX_ - 2);
        else if (text[blank] == '#' && !layout.count)
            rc = read_remark(s, &rows, text + blank, name, number, err);
        else if (!text[blank] || text[blank] == '#')
            continue;
        else if (!layout.count)
            rc = read_header(s, &layout, text, name, number, err);
        else
            rc = read_row(s, &layout, is_set, text, name, number, err);
    }
    if (rc == 0 && ferror(in))
        rc = wt_fail_errno(err, errno, "%s", name);
    if (rc == 0 && rows != UINT64_MAX && (rows != s->count || !is_whole))
        rc = wt_fail(err, WT_E_FORMAT, "%s: holds %zu whole rows, and says that it has %llu", name,
                     s->count - (s->count && !is_whole), (unsigned long long)rows);
    if (rc == 0 && !s->count) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: %s", name,
                     layout.count ? "a header and no rows" : "it is empty");
        wt_fix(err, "begin it with time,%s", kinds[kind].column);
    }
    if (rc == 0 && s->form == WT_SIGNAL_SERIES) {
        if (s->count < 2) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: one row only: until when it holds is not told",
                         name);
            wt_fix(err, "give a number in place of a file for what does not change: %s=%g",
                   kinds[kind].name, isnan(s->values[0]) ? 1.0 : s->values[0]);
        } else {
            s->end_s = 2 * s->at_s[s->count - 1] - s->at_s[s->count - 2];
        }
    } else if (rc == 0) { /* a table is nobody's forecast */
        s->fetched_s = 0;
        s->service_s = INT64_MAX;
    }
    if (rc < 0) {
        wt_signal_free(s);
        return rc;
    }
    *ret_signal = s;
    return 0;
}

int wt_signal_read(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *path,
                   struct wt_error *err)
{
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = wt_signal_parse(ret_signal, kind, in, path, err);
    fclose(in);
    return rc;
}

int wt_signal_constant(struct wt_signal **ret_signal, enum wt_signal_kind kind, double value,
                       struct wt_error *err)
{
    char name[32];
    if (!(value >= kinds[kind].min && value <= kinds[kind].max))
        return wt_fail(err, WT_E_RANGE, "%s is %g, and must be %s", kinds[kind].name, value,
                       kinds[kind].range);
    wt_text(name, sizeof(name), "%g", value);
    int rc = wt_signal_new(ret_signal, kind, WT_SIGNAL_CONSTANT, name, err);
    if (rc == 0)
        (*ret_signal)->constant = value;
    return rc;
}

int wt_signal_builtin(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *name,
                      struct wt_error *err)
{
    if (kind != WT_SIGNAL_PUE || strcmp(name, "paper") != 0)
        return wt_fail(err, WT_E_NOTFOUND, "there is no built-in %s called \"%.40s\"",
                       kinds[kind].name, name);
    FILE *in = fmemopen((void *)(uintptr_t)wt_asset_pue_paper, strlen(wt_asset_pue_paper), "r");
    if (!in)
        return wt_fail_errno(err, errno, "the built-in table %s", name);
    int rc = wt_signal_parse(ret_signal, kind, in, name, err);
    if (rc == 0)
        (*ret_signal)->is_builtin = true;
    fclose(in);
    return rc;
}

void wt_signal_free(struct wt_signal *signal)
{
    if (!signal)
        return;
    free(signal->at_s);
    free(signal->values);
    free(signal);
}

/* ---- what it is when ---- */

struct wt_signal_info wt_signal_info(const struct wt_signal *s)
{
    struct wt_signal_info info = {.kind = s->kind,
                                  .form = s->form,
                                  .name = s->name,
                                  .begin_s = INT64_MIN,
                                  .end_s = INT64_MAX,
                                  .fetched_s = s->fetched_s,
                                  .service_s = s->service_s,
                                  .is_stale = s->is_stale};
    if (s->form == WT_SIGNAL_SERIES) {
        info.begin_s = s->at_s[0];
        info.end_s = s->forecast_s < s->end_s ? s->forecast_s : s->end_s;
    }
    return info;
}

/* The row that holds at t_s, which is not before the first one. */
static size_t row_of(const struct wt_signal *s, int64_t t_s)
{
    size_t low = 0, high = s->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->at_s[middle] <= t_s)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static double table_at(const struct wt_signal *s, int64_t t_s, int64_t *ret_until_s)
{
    int64_t days = wt_floor_div(t_s, WT_DAY_S), of_day = t_s - days * WT_DAY_S, year;
    unsigned month, day;
    wt_date_of(days, &year, &month, &day);
    const double *row = s->table[month - 1];
    int hour = (int)(of_day / WT_HOUR_S);
    bool is_flat = true; /* the whole day */
    for (int h = 1; h < 24; h++)
        is_flat &= row[h] == row[0] || (isnan(row[h]) && isnan(row[0]));
    if (!is_flat)
        *ret_until_s = days * WT_DAY_S + (hour + 1) * WT_HOUR_S;
    else if (month == 12)
        *ret_until_s = wt_days_of(year + 1, 1, 1) * WT_DAY_S;
    else
        *ret_until_s = wt_days_of(year, month + 1, 1) * WT_DAY_S;
    return row[hour];
}

enum wt_signal_state wt_signal_next(const struct wt_signal *s, size_t *io_row, int64_t t_s,
                                    double *ret_value, int64_t *ret_until_s)
{
    double value = NAN;
    int64_t until_s = INT64_MAX;
    bool is_forecast = false;
    if (s->form == WT_SIGNAL_CONSTANT) {
        value = s->constant;
    } else if (s->form == WT_SIGNAL_TABLE) {
        value = table_at(s, t_s, &until_s);
    } else if (t_s < s->at_s[0]) {
        until_s = s->at_s[0];
    } else if (t_s < s->end_s) {
        size_t i = *io_row;
        if (i >= s->count || s->at_s[i] > t_s)
            i = row_of(s, t_s);
        while (i + 1 < s->count && s->at_s[i + 1] <= t_s)
            i++;
        *io_row = i;
        value = s->values[i];
        until_s = i + 1 < s->count ? s->at_s[i + 1] : s->end_s;
        is_forecast = s->at_s[i] >= s->forecast_s || s->at_s[i] >= s->service_s;
    }
    *ret_value = value;
    *ret_until_s = until_s;
    return isnan(value) ? WT_SIGNAL_UNKNOWN : is_forecast ? WT_SIGNAL_FORECAST : WT_SIGNAL_GIVEN;
}

enum wt_signal_state wt_signal_at(const struct wt_signal *s, int64_t t_s, double *ret_value,
                                  int64_t *ret_until_s)
{
    size_t row = s->form == WT_SIGNAL_SERIES && t_s >= s->at_s[0] ? row_of(s, t_s) : 0;
    int64_t until_s;
    return wt_signal_next(s, &row, t_s, ret_value, ret_until_s ? ret_until_s : &until_s);
}
