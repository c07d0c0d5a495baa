/* signal_notes: what is to be known of a signal that a result rests on - where it comes from, how
 * old it is, whose forecast it holds, and where it says nothing. */
#include <math.h>

#include "plan/signal.h"

bool wt_signal_meets_forecast(const struct wt_signal *s, int64_t until_s)
{
    return s->forecast.from_s < s->forecast.to_s && s->forecast.from_s < until_s;
}

int wt_signal_note_forecast(struct wt_plan_note **io_notes, size_t *io_count,
                            const struct wt_signal *s, const char *where, int64_t until_s,
                            struct wt_error *err)
{
    const struct wt_signal_forecast *f = &s->forecast;
    char from[32], error[120], over[112], share[24] = "";
    if (!wt_signal_meets_forecast(s, until_s))
        return 0;
    if (f->weeks)
        wt_text(over, sizeof(over),
                "week in the %u weeks before and what is left of the last hours' distance from it",
                f->weeks);
    else
        wt_text(over, sizeof(over), "day in the days before");
    if (!isnan(f->relative)) /* of a series of zeros there is none */
        wt_text(share, sizeof(share), " (%.0f %%)", 100 * f->relative);
    if (f->trials)
        wt_text(error, sizeof(error),
                "made so from %zu earlier moments it was off by %.3g%s on average", f->trials,
                f->mean_abs, share);
    else
        wt_text(error, sizeof(error), "how wrong that is cannot be told from so short a series");
    return wt_plan_note_add(
        io_notes, io_count, err,
        "%s%s is a forecast from %s on, the mean of the same hour of the %s: %s",
        wt_signal_kind_name(s->kind), where, wt_moment_text(from, sizeof(from), f->from_s), over,
        error);
}

/* Seconds of the window in which a signal is not known. */
static int64_t unknown_of(const struct wt_signal *s, const struct wt_segment *window)
{
    int64_t unknown_s = 0, until_s;
    size_t row = 0;
    for (int64_t t_s = window->start_s; t_s < window->end_s; t_s = until_s) {
        double value;
        enum wt_signal_state state = wt_signal_next(s, &row, t_s, &value, &until_s);
        if (until_s > window->end_s)
            until_s = window->end_s;
        unknown_s += state == WT_SIGNAL_UNKNOWN ? until_s - t_s : 0;
    }
    return unknown_s;
}

/* The longest time in the window that one row of a series stands for, where it is far longer than
 * others do: a hole in the file, more likely than an hour that lasted days. False: there is none.
 */
static bool find_hole(const struct wt_signal *s, const struct wt_segment *window,
                      struct wt_segment *ret_hole)
{
    int64_t end_s = wt_signal_info(s).end_s, longest_s = 0;
    size_t spans = 0;
    if (s->form != WT_SIGNAL_SERIES)
        return false;
    for (size_t i = 0; i + 1 < s->count && s->at_s[i + 1] <= end_s; i++, spans++)
        if (s->at_s[i + 1] - s->at_s[i] > longest_s && s->at_s[i + 1] > window->start_s &&
            s->at_s[i] < window->end_s && !isnan(s->values[i])) {
            longest_s = s->at_s[i + 1] - s->at_s[i];
            *ret_hole = (struct wt_segment){s->at_s[i], s->at_s[i + 1]};
        }
    return spans >= 10 && longest_s / 5 > (s->at_s[spans] - s->at_s[0]) / (int64_t)spans;
}

/* Where a live feed's values come from, how old they are, and whose forecast they hold. */
static int note_feed(struct wt_plan_note **io_notes, size_t *io_count, const struct wt_signal *s,
                     const char *where, struct wt_error *err)
{
    char at[32], from[32], forecast[120] = "";
    if (s->service_s != INT64_MAX)
        wt_text(forecast, sizeof(forecast),
                "; from %s on it is the service's own forecast, used before Wattune's",
                wt_moment_text(from, sizeof(from), s->service_s));
    int rc = wt_plan_note_add(io_notes, io_count, err, "%s%s is from %s, read at %s%s%s%s",
                              wt_signal_kind_name(s->kind), where, s->name,
                              wt_moment_text(at, sizeof(at), s->fetched_s), forecast,
                              *s->feed_word ? "; " : "", s->feed_word);
    if (rc == 0 && *s->feed_remark)
        rc = wt_plan_note_add(io_notes, io_count, err, "%s%s: %s", s->name,
                              s->is_stale ? " does not answer" : "", s->feed_remark);
    return rc;
}

int wt_signal_note(struct wt_plan_note **io_notes, size_t *io_count, const struct wt_signal *s,
                   const char *where, const struct wt_segment *window, const char *to,
                   struct wt_error *err)
{
    const char *kind = wt_signal_kind_name(s->kind);
    char from[48], until[48];
    struct wt_segment hole;
    int rc = 0;
    if (s->is_builtin)
        rc = wt_plan_note_add(io_notes, io_count, err,
                              "%s=%s is of another centre, monthly means of 2020 (data/README.md)",
                              kind, s->name);
    if (rc == 0 && s->fetched_s)
        rc = note_feed(io_notes, io_count, s, where, err);
    if (rc == 0 && find_hole(s, window, &hole))
        rc = wt_plan_note_add(io_notes, io_count, err,
                              "%s%s has no row between %s and %s: one value stands for all of it",
                              kind, where, wt_moment_text(from, sizeof(from), hole.start_s),
                              wt_moment_text(until, sizeof(until), hole.end_s));
    int64_t unknown_s = unknown_of(s, window);
    if (rc == 0 && unknown_s)
        rc = wt_plan_note_add(io_notes, io_count, err, "%s%s is not known for %s of the %s %s (%s)",
                              kind, where, wt_span_text(from, sizeof(from), unknown_s),
                              wt_span_text(until, sizeof(until), window->end_s - window->start_s),
                              to, s->name);
    return rc;
}
