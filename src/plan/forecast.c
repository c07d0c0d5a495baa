/* forecast: what a series is likely to be beyond its end, and how wrong that was before.
 *
 * The mean of the same hour of the week in the last four weeks (of the hour of the day, where there
 * is not a week), and what the last six hours were above it, which fades: by how much a day is
 * taken from those weeks too. It knows nothing of the weather to come, so that its error is large
 * where wind and sun are; what it is worth is measured on the series itself: the same forecast from
 * earlier moments, as far ahead. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define WEEKS      4
#define TRIALS_MAX 26
#define HOURS      168
#define RECENT     6

struct model {
    double profile[HOURS]; /* mean of each hour of the week */
    int64_t end_s;         /* of the history */
    double above;          /* how far above it the last hours were */
    double memory;         /* how much of that is left after a day */
};

/* Mean of a signal over an hour; NaN: not known. */
static double hour_of(const struct wt_signal *s, size_t *io_row, int64_t from_s, int64_t to_s)
{
    double sum = 0, span = 0;
    for (int64_t t_s = from_s; t_s < to_s;) {
        double value;
        int64_t until_s;
        enum wt_signal_state state = wt_signal_next(s, io_row, t_s, &value, &until_s);
        until_s = until_s < to_s ? until_s : to_s;
        if (state != WT_SIGNAL_UNKNOWN) {
            sum += value * (double)(until_s - t_s);
            span += (double)(until_s - t_s);
        }
        t_s = until_s;
    }
    return span > 0 ? sum / span : NAN;
}

static size_t slot_of(int64_t t_s, size_t period)
{
    int64_t hour = wt_floor_div(t_s, WT_HOUR_S);
    return (size_t)(hour - wt_floor_div(hour, (int64_t)period) * (int64_t)period);
}

/* From the weeks before end_s (the whole days there are, by hour of the day, when weeks is 0). */
static int make_model(struct model *ret_model, const struct wt_signal *s, int64_t end_s,
                      unsigned weeks, struct wt_error *err)
{
    struct model m = {.end_s = end_s};
    double sum[HOURS] = {0}, count[HOURS] = {0};
    size_t period = weeks ? HOURS : 24, row = 0;
    size_t hours = weeks ? weeks * HOURS : (size_t)((end_s - s->at_s[0]) / WT_DAY_S * 24);
    int64_t from_s = end_s - (int64_t)hours * WT_HOUR_S;
    double *values = calloc(hours, sizeof(*values));
    if (!values)
        return wt_fail(err, WT_E_NOMEM, "no memory for a forecast");
    for (size_t i = 0; i < hours; i++) {
        int64_t t_s = from_s + (int64_t)i * WT_HOUR_S;
        values[i] = hour_of(s, &row, t_s, t_s + WT_HOUR_S);
        if (!isnan(values[i])) {
            sum[slot_of(t_s, period)] += values[i];
            count[slot_of(t_s, period)]++;
        }
    }
    for (size_t i = 0; i < HOURS; i++)
        m.profile[i] = count[i % period] > 0 ? sum[i % period] / count[i % period] : NAN;
    /* How the distance from the mean goes on: over a day, and what it is now. */
    double both = 0, squares = 0, recent = 0, known = 0;
    for (size_t i = 0; i < hours; i++)
        values[i] -= m.profile[slot_of(from_s + (int64_t)i * WT_HOUR_S, HOURS)];
    for (size_t i = 24; i < hours; i++)
        if (!isnan(values[i]) && !isnan(values[i - 24])) {
            both += values[i] * values[i - 24];
            squares += values[i - 24] * values[i - 24];
        }
    for (size_t i = hours - RECENT; i < hours; i++)
        if (!isnan(values[i])) {
            recent += values[i];
            known++;
        }
    m.memory = weeks && squares > 0 ? fmin(fmax(both / squares, 0), 0.95) : 0;
    m.above = known > 0 ? recent / known : 0;
    free(values);
    *ret_model = m;
    return 0;
}

static double forecast_at(const struct model *m, enum wt_signal_kind kind, int64_t t_s)
{
    double least = kind == WT_SIGNAL_PUE ? 1 : kind == WT_SIGNAL_CARBON ? 0 : -INFINITY;
    double days = (double)(t_s - m->end_s) / (double)WT_DAY_S;
    double above = m->memory > 0 ? m->above * pow(m->memory, days) : 0;
    double value = m->profile[slot_of(t_s, HOURS)] + above;
    return value < least ? least : value;
}

struct errors {
    double abs, bias, level, span;
};

/* What the forecast made at origin_s was off by, until to_s. */
static int try_at(const struct wt_signal *s, int64_t origin_s, int64_t to_s, unsigned weeks,
                  struct errors *io, struct wt_error *err)
{
    struct model model;
    size_t row = 0;
    int rc = make_model(&model, s, origin_s, weeks, err);
    if (rc < 0)
        return rc;
    for (int64_t t_s = origin_s; t_s < to_s;) {
        double value, forecast = forecast_at(&model, s->kind, t_s);
        int64_t until_s, hour_end_s = (wt_floor_div(t_s, WT_HOUR_S) + 1) * WT_HOUR_S;
        enum wt_signal_state state = wt_signal_next(s, &row, t_s, &value, &until_s);
        until_s = until_s < hour_end_s ? until_s : hour_end_s;
        until_s = until_s < to_s ? until_s : to_s;
        if (state != WT_SIGNAL_UNKNOWN && !isnan(forecast)) {
            double span = (double)(until_s - t_s);
            io->abs += fabs(forecast - value) * span;
            io->bias += (forecast - value) * span;
            io->level += fabs(value) * span;
            io->span += span;
        }
        t_s = until_s;
    }
    return 0;
}

int64_t wt_signal_reach(const struct wt_signal *s)
{
    if (s->form != WT_SIGNAL_SERIES)
        return INT64_MAX;
    int64_t end_s = wt_signal_info(s).end_s, history_s = end_s - s->at_s[0];
    return history_s < WT_DAY_S ? end_s : end_s + history_s / 2;
}

int wt_signal_forecast(struct wt_signal *s, int64_t until_s,
                       struct wt_signal_forecast *ret_forecast, struct wt_error *err)
{
    char from[32], to[32];
    struct wt_signal_forecast f = {.mean_abs = NAN, .relative = NAN, .bias = NAN};
    if (s->form != WT_SIGNAL_SERIES || until_s <= s->end_s) {
        memset(ret_forecast, 0, sizeof(*ret_forecast));
        return 0;
    }
    int64_t end_s = wt_signal_info(s).end_s;
    int64_t history_s = end_s - s->at_s[0], ahead_s = until_s - end_s;
    if (until_s > wt_signal_reach(s)) {
        wt_fail(err, WT_E_RANGE, "%s ends at %s, too far from %s for a forecast from itself",
                s->name, wt_moment_text(from, sizeof(from), end_s),
                wt_moment_text(to, sizeof(to), until_s));
        wt_fix(err, "give a series that reaches farther (half of its length ahead at most), or an "
                    "earlier --deadline");
        return WT_E_RANGE;
    }
    int64_t past_weeks = history_s / WT_WEEK_S;
    f.weeks = past_weeks < WEEKS ? (unsigned)past_weeks : WEEKS;
    f.from_s = end_s;
    f.to_s = until_s;

    int64_t need_s = f.weeks ? f.weeks * WT_WEEK_S : WT_DAY_S;
    int64_t apart_s = f.weeks ? WT_WEEK_S : WT_DAY_S;
    struct errors e = {0};
    /* What a feed forecasts itself is no truth that a forecast can be held against. */
    int64_t told_s = s->service_s < end_s ? s->service_s : end_s;
    for (int64_t origin_s = told_s - ahead_s;
         origin_s - need_s >= s->at_s[0] && f.trials < TRIALS_MAX; origin_s -= apart_s) {
        int rc = try_at(s, origin_s, origin_s + ahead_s, f.weeks, &e, err);
        if (rc < 0)
            return rc;
        f.trials++;
    }
    if (e.span > 0) {
        f.mean_abs = e.abs / e.span;
        f.bias = e.bias / e.span;
        f.relative = e.level > 0 ? e.abs / e.level : NAN;
    } else {
        f.trials = 0;
    }

    struct model model;
    int rc = make_model(&model, s, end_s, f.weeks, err);
    if (rc < 0)
        return rc;
    f.memory = model.memory;
    /* Made anew, also where a shorter one was there. */
    size_t count = s->count;
    while (count && s->at_s[count - 1] >= end_s)
        count--;
    s->count = count;
    s->forecast = f;
    for (int64_t t_s = end_s; t_s < until_s; t_s = (wt_floor_div(t_s, WT_HOUR_S) + 1) * WT_HOUR_S) {
        rc = wt_signal_append(s, t_s, forecast_at(&model, s->kind, t_s), err);
        if (rc < 0)
            return rc;
        s->forecast_s = end_s;
        s->end_s = (wt_floor_div(t_s, WT_HOUR_S) + 1) * WT_HOUR_S;
    }
    *ret_forecast = f;
    return 0;
}

int wt_signal_cut(struct wt_signal **ret_signal, const struct wt_signal *s, int64_t end_s,
                  struct wt_error *err)
{
    if (s->form != WT_SIGNAL_SERIES || end_s <= s->at_s[0] || end_s > s->end_s)
        return wt_fail(err, WT_E_RANGE, "%s: cannot be cut there", s->name);
    struct wt_signal *cut = calloc(1, sizeof(*cut));
    int rc = cut ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a signal");
    if (rc == 0) {
        *cut = *s;
        cut->at_s = NULL;
        cut->values = NULL;
        cut->count = cut->room = 0;
        cut->end_s = end_s;
        if (s->forecast_s < end_s) {
            cut->forecast.to_s = end_s;
        } else {
            cut->forecast_s = INT64_MAX;
            memset(&cut->forecast, 0, sizeof(cut->forecast));
        }
    }
    for (size_t i = 0; rc == 0 && i < s->count && s->at_s[i] < end_s; i++)
        rc = wt_signal_append(cut, s->at_s[i], s->values[i], err);
    if (rc < 0) {
        wt_signal_free(cut);
        return rc;
    }
    *ret_signal = cut;
    return 0;
}
