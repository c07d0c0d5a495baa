/* forecast: what a series is likely to be beyond its end, and how wrong that was before.
 *
 * The mean of the same hour of the week in the last four weeks (of the hour of the day, where there
 * is not a week). It knows nothing of the weather to come, so that its error is large where wind
 * and sun are; what it is worth is measured on the series itself: the same forecast from earlier
 * moments, as far ahead. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"

#define WEEKS      4
#define TRIALS_MAX 26
#define HOURS      168

/* Mean value of each hour of the week before end_s; of each hour of the day when weeks is 0. */
static void profile_of(const struct wt_signal *s, int64_t end_s, unsigned weeks, double *profile)
{
    double sum[HOURS] = {0}, span[HOURS] = {0};
    size_t period = weeks ? HOURS : 24, row = 0;
    int64_t length_s = weeks ? weeks * WT_WEEK_S : (end_s - s->at_s[0]) / WT_DAY_S * WT_DAY_S;
    for (int64_t t_s = end_s - length_s; t_s < end_s;) {
        double value;
        int64_t until_s, hour = wt_floor_div(t_s, WT_HOUR_S);
        enum wt_signal_state state = wt_signal_next(s, &row, t_s, &value, &until_s);
        if (until_s > (hour + 1) * WT_HOUR_S)
            until_s = (hour + 1) * WT_HOUR_S;
        if (until_s > end_s)
            until_s = end_s;
        if (state != WT_SIGNAL_UNKNOWN) {
            size_t at = (size_t)(hour - wt_floor_div(hour, (int64_t)period) * (int64_t)period);
            sum[at] += value * (double)(until_s - t_s);
            span[at] += (double)(until_s - t_s);
        }
        t_s = until_s;
    }
    for (size_t i = 0; i < HOURS; i++)
        profile[i] = span[i % period] > 0 ? sum[i % period] / span[i % period] : NAN;
}

static double forecast_at(const double *profile, int64_t t_s)
{
    int64_t hour = wt_floor_div(t_s, WT_HOUR_S);
    return profile[hour - wt_floor_div(hour, HOURS) * HOURS];
}

struct errors {
    double abs, bias, level, span;
};

/* What the forecast made at origin_s was off by, until to_s. */
static void try_at(const struct wt_signal *s, int64_t origin_s, int64_t to_s, unsigned weeks,
                   struct errors *io)
{
    double profile[HOURS];
    size_t row = 0;
    profile_of(s, origin_s, weeks, profile);
    for (int64_t t_s = origin_s; t_s < to_s;) {
        double value, forecast = forecast_at(profile, t_s);
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
    int64_t end_s = s->forecast_s < s->end_s ? s->forecast_s : s->end_s;
    int64_t history_s = end_s - s->at_s[0], ahead_s = until_s - end_s;
    if (ahead_s > history_s / 2 || history_s < WT_DAY_S) {
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
    for (int64_t origin_s = end_s - ahead_s;
         origin_s - need_s >= s->at_s[0] && f.trials < TRIALS_MAX; origin_s -= apart_s) {
        try_at(s, origin_s, origin_s + ahead_s, f.weeks, &e);
        f.trials++;
    }
    if (e.span > 0) {
        f.mean_abs = e.abs / e.span;
        f.bias = e.bias / e.span;
        f.relative = e.level > 0 ? e.abs / e.level : NAN;
    } else {
        f.trials = 0;
    }

    double profile[HOURS];
    profile_of(s, end_s, f.weeks, profile);
    /* Made anew, also where a shorter one was there. */
    size_t count = s->count;
    while (count && s->at_s[count - 1] >= end_s)
        count--;
    s->count = count;
    for (int64_t t_s = end_s; t_s < until_s; t_s = (wt_floor_div(t_s, WT_HOUR_S) + 1) * WT_HOUR_S) {
        int rc = wt_signal_append(s, t_s, forecast_at(profile, t_s), err);
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
        cut->forecast_s = s->forecast_s < end_s ? s->forecast_s : INT64_MAX;
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
