/* settle: is a device warm and steady, so that what it does from now on may be compared?
 *
 * A cold card draws less (leakage grows with temperature) and clocks higher than it will for the
 * rest of the day. Drift is the slope of a straight line through the readings times the time looked
 * at; it counts as none when it is within twice its standard error, or below what sensors resolve.
 */
#include <math.h>

#include "base/base.h"
#include "wattune/sweep.h"

#define LOOK_S      10.0
#define POINTS      10
#define TEMP_K      1.0
#define CLOCK_SHARE 0.005
#define DEVICES     64

enum what { TEMP, CLOCK };

static double value_of(const struct wt_run_point *p, enum what what)
{
    return what == TEMP ? p->temp_c : p->clock_mhz;
}

/* Drift of one device from from_s on, and its noise; NaN: too few readings. An idle moment (between
 * two runs) says nothing of the load. */
static double drift_of(const struct wt_run_point *points, size_t count, uint32_t device,
                       enum what what, double from_s, double *ret_noise, double *ret_mean)
{
    double n = 0, sum_t = 0, sum_v = 0, tt = 0, tv = 0, vv = 0, last_s = from_s;
    for (size_t i = 0; i < count; i++) {
        const struct wt_run_point *p = &points[i];
        double v = value_of(p, what);
        if (p->device != device || p->t_s < from_s || !isfinite(v) ||
            (p->throttle & WT_THROTTLE_IDLE))
            continue;
        n++;
        sum_t += p->t_s - from_s;
        sum_v += v;
        last_s = p->t_s;
    }
    if (n < POINTS)
        return NAN;
    double mean_t = sum_t / n, mean_v = sum_v / n;
    for (size_t i = 0; i < count; i++) {
        const struct wt_run_point *p = &points[i];
        double v = value_of(p, what);
        if (p->device != device || p->t_s < from_s || !isfinite(v) ||
            (p->throttle & WT_THROTTLE_IDLE))
            continue;
        double t = p->t_s - from_s - mean_t;
        tt += t * t;
        tv += t * (v - mean_v);
        vv += (v - mean_v) * (v - mean_v);
    }
    double slope = tt > 0 ? tv / tt : 0, left = fmax(0, vv - slope * tv);
    double span_s = last_s - from_s;
    *ret_noise = tt > 0 ? 2 * sqrt(left / (n - 2) / tt) * span_s : 0;
    *ret_mean = mean_v;
    return slope * span_s;
}

struct wt_settling wt_settling_of(const struct wt_run_point *points, size_t count)
{
    struct wt_settling s = {.temp_drift_k = NAN, .clock_drift = NAN};
    if (!count || points[count - 1].t_s - points[0].t_s < LOOK_S)
        return s;
    double span_s = points[count - 1].t_s - points[0].t_s;
    double from_s = points[count - 1].t_s - fmax(LOOK_S, span_s / 2);
    s.is_settled = true;
    for (uint32_t device = 0; device < DEVICES; device++) {
        double noise, mean;
        double temp_k = drift_of(points, count, device, TEMP, from_s, &noise, &mean);
        if (!isnan(temp_k)) {
            s.is_known = true;
            s.is_settled &= fabs(temp_k) <= fmax(TEMP_K, noise);
            if (isnan(s.temp_drift_k) || fabs(temp_k) > fabs(s.temp_drift_k))
                s.temp_drift_k = temp_k;
        }
        double clock = drift_of(points, count, device, CLOCK, from_s, &noise, &mean);
        if (!isnan(clock) && mean > 0) {
            s.is_known = true;
            s.is_settled &= fabs(clock) <= fmax(CLOCK_SHARE * mean, noise);
            if (isnan(s.clock_drift) || fabs(clock / mean) > fabs(s.clock_drift))
                s.clock_drift = clock / mean;
        }
    }
    s.is_settled &= s.is_known;
    return s;
}
