/* fleet_rates: what a second of a watt costs over the whole of a trace, as sums from its beginning,
 * so that a job is two look-ups and the best start in a span a walk over the changes in it. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/fleet.h"
#include "plan/signal.h"

#define SPANS_MAX 4000000 /* 450 years of hours; a year of eight seconds */

void wt_rates_done(struct wt_rates *r)
{
    free(r->at_s);
    for (int k = 0; k < WT_RATES; k++) {
        free(r->rate[k]);
        free(r->sum[k]);
        free(r->unknown_s[k]);
    }
    memset(r, 0, sizeof(*r));
}

static bool grow(struct wt_rates *r)
{
    size_t room = r->room ? 2 * r->room : 256;
    int64_t *at_s = reallocarray(r->at_s, room, sizeof(*at_s));
    bool is_enough = at_s != NULL;
    r->at_s = at_s ? at_s : r->at_s;
    for (int k = 0; k < WT_RATES; k++) {
        double *rate = reallocarray(r->rate[k], room, sizeof(*rate));
        r->rate[k] = rate ? rate : r->rate[k];
        double *sum = reallocarray(r->sum[k], room, sizeof(*sum));
        r->sum[k] = sum ? sum : r->sum[k];
        int64_t *unknown_s = reallocarray(r->unknown_s[k], room, sizeof(*unknown_s));
        r->unknown_s[k] = unknown_s ? unknown_s : r->unknown_s[k];
        is_enough &= rate && sum && unknown_s;
    }
    r->room = is_enough ? room : r->room;
    return is_enough;
}

/* Rates at a moment, and until when they hold. */
static void rates_at(const struct wt_place *place, size_t rows[], int64_t t_s,
                     double rates[WT_RATES], int64_t *io_until_s)
{
    double values[WT_SIGNAL_KINDS] = {NAN, NAN, NAN};
    bool is_forecast = false;
    for (int k = 0; k < WT_SIGNAL_KINDS; k++) {
        int64_t until_s;
        if (!place->signals[k])
            continue;
        is_forecast |= wt_signal_next(place->signals[k], &rows[k], t_s, &values[k], &until_s) ==
                       WT_SIGNAL_FORECAST;
        if (until_s < *io_until_s)
            *io_until_s = until_s;
    }
    double pue = place->signals[WT_SIGNAL_PUE] ? values[WT_SIGNAL_PUE] : 1;
    rates[WT_RATE_FACILITY] = values[WT_SIGNAL_PUE];
    rates[WT_RATE_CARBON] = pue * values[WT_SIGNAL_CARBON];
    rates[WT_RATE_PRICE] = pue * values[WT_SIGNAL_PRICE];
    rates[WT_RATE_FORECAST] = is_forecast;
}

int wt_rates_make(struct wt_rates *ret_rates, const struct wt_place *place, int64_t start_s,
                  int64_t end_s, struct wt_error *err)
{
    struct wt_rates r = {0};
    size_t rows[WT_SIGNAL_KINDS] = {0};
    for (int64_t t_s = start_s;; r.count++) {
        if (r.count + 2 > r.room && !grow(&r)) {
            wt_rates_done(&r);
            return wt_fail(err, WT_E_NOMEM, "no memory for the signals of a replay");
        }
        size_t i = r.count;
        if (i == SPANS_MAX) {
            wt_rates_done(&r);
            wt_fail(err, WT_E_RANGE,
                    "over the time of the trace the signals change more than %d times", SPANS_MAX);
            wt_fix(err, "series of hours, or a shorter trace");
            return WT_E_RANGE;
        }
        r.at_s[i] = t_s;
        for (int k = 0; !i && k < WT_RATES; k++) {
            r.sum[k][0] = 0;
            r.unknown_s[k][0] = 0;
        }
        if (t_s >= end_s)
            break;
        double rates[WT_RATES];
        int64_t until_s = end_s;
        rates_at(place, rows, t_s, rates, &until_s);
        for (int k = 0; k < WT_RATES; k++) {
            bool is_known = !isnan(rates[k]);
            r.rate[k][i] = rates[k];
            r.sum[k][i + 1] = r.sum[k][i] + (is_known ? rates[k] * (double)(until_s - t_s) : 0);
            r.unknown_s[k][i + 1] = r.unknown_s[k][i] + (is_known ? 0 : until_s - t_s);
        }
        t_s = until_s;
    }
    *ret_rates = r;
    return 0;
}

/* The span that holds t_s. */
static size_t span_of(const struct wt_rates *r, int64_t t_s)
{
    size_t low = 0, high = r->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->at_s[middle] <= t_s)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* The sum before t_s, which span i holds or ends at, and how much of it is not known. */
static double before(const struct wt_rates *r, enum wt_rate which, size_t i, int64_t t_s,
                     int64_t *ret_unknown_s)
{
    double rate = r->rate[which][i];
    bool is_known = !isnan(rate);
    *ret_unknown_s = r->unknown_s[which][i] + (is_known ? 0 : t_s - r->at_s[i]);
    return r->sum[which][i] + (is_known ? rate * (double)(t_s - r->at_s[i]) : 0);
}

double wt_rates_between(const struct wt_rates *r, enum wt_rate which, int64_t from_s, int64_t to_s)
{
    if (!r->count || from_s < r->at_s[0] || to_s > r->at_s[r->count])
        return NAN;
    size_t i = span_of(r, from_s), k = i;
    if (to_s > r->at_s[i + 1])
        k = to_s <= r->at_s[i + 2 <= r->count ? i + 2 : i + 1] ? i + 1 : span_of(r, to_s);
    if (k == i) /* by its rate: the difference of two sums has lost digits */
        return r->rate[which][i] * (double)(to_s - from_s);
    int64_t unknown_s[2];
    double sum = -before(r, which, i, from_s, &unknown_s[0]);
    sum += before(r, which, k, to_s, &unknown_s[1]);
    return unknown_s[0] == unknown_s[1] ? sum : NAN;
}

/* A cost is the difference of two sums, and off by their rounding: what differs by less is equal.
 */
static bool is_less(double a, double b, double sum)
{
    return isinf(b) ? a < b : a < b - fmax(1e-12 * fabs(b), 4 * DBL_EPSILON * fabs(sum));
}

/* The least cost lies where the start or the end is a change, or at the ends of the span. */
bool wt_rates_best(const struct wt_rates *r, enum wt_rate which, int64_t from_s, int64_t span_s,
                   int64_t run_s, int64_t *ret_start_s)
{
    double best = INFINITY;
    int64_t best_s = 0, last_s = from_s + span_s;
    if (!r->count || from_s < r->at_s[0] || last_s + run_s > r->at_s[r->count])
        return false;
    size_t first = span_of(r, from_s), first_end = span_of(r, from_s + run_s);
    for (int side = 0; side < 2; side++) {
        size_t from = first, to = first_end, next = side ? first_end : first;
        int64_t start_s = from_s;
        for (bool is_last = false; !is_last;) {
            int64_t unknown_s[2];
            while (from + 1 < r->count && r->at_s[from + 1] <= start_s)
                from++;
            while (to + 1 < r->count && r->at_s[to + 1] <= start_s + run_s)
                to++;
            double cost = -before(r, which, from, start_s, &unknown_s[0]);
            double sum = before(r, which, to, start_s + run_s, &unknown_s[1]);
            cost += sum;
            if (unknown_s[0] == unknown_s[1] &&
                (is_less(cost, best, sum) || (start_s < best_s && !is_less(best, cost, sum)))) {
                best = cost;
                best_s = start_s;
            }
            is_last = start_s == last_s;
            next++;
            start_s = next <= r->count ? r->at_s[next] - (side ? run_s : 0) : last_s;
            if (start_s > last_s)
                start_s = last_s;
        }
    }
    *ret_start_s = best_s;
    return !isinf(best);
}
