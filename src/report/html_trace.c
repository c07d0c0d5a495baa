/* html_trace: what the plots of a report draw - power over time in bins, and which lines there are.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record/record.h"
#include "report/html.h"
#include "report/words.h"

/* More points than this a line are not seen on a screen. */
enum { PLOT_POINTS = 500 };

/* Means over equal spans of time, so that a long trace keeps its shape. */
struct bins {
    double sum[PLOT_POINTS], limit[PLOT_POINTS];
    size_t count[PLOT_POINTS];
    double span_s;
};

static void bins_add(struct bins *bins, double t_s, double power_w, double limit_w)
{
    double at = bins->span_s > 0 ? t_s / bins->span_s * PLOT_POINTS : 0;
    size_t i = at < 0 ? 0 : at >= PLOT_POINTS ? PLOT_POINTS - 1 : (size_t)at;
    bins->sum[i] += power_w;
    bins->limit[i] = limit_w;
    bins->count[i]++;
}

static json_t *bins_json(const struct bins *bins, const char *label)
{
    json_t *t = json_array(), *power = json_array(), *limit = json_array();
    int rc = 0;
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        if (!bins->count[i])
            continue;
        double at = ((double)i + 0.5) * bins->span_s / PLOT_POINTS;
        rc |= json_array_append_new(t, wt_json_number(at));
        rc |= json_array_append_new(power, wt_json_number(bins->sum[i] / (double)bins->count[i]));
        rc |= json_array_append_new(limit, wt_json_number(bins->limit[i]));
    }
    if (rc != 0) {
        json_decref(t);
        json_decref(power);
        json_decref(limit);
        return NULL;
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "label", wt_json_text(label), "t_s", t, "power_w",
                     power, "limit_w", limit);
}

static double span_of(const struct wt_run *run)
{
    double span = isfinite(run->wall_s) ? run->wall_s : 0;
    return run->point_count ? fmax(span, run->points[run->point_count - 1].t_s) : span;
}

/* Devices that the trace speaks of: a run that was cut short has points, but no list of them. */
size_t wt_html_traced_devices(const struct wt_run *run)
{
    size_t count = run->device_count;
    for (size_t i = 0; i < run->point_count; i++)
        count = run->points[i].device >= count ? run->points[i].device + 1 : count;
    return count;
}

/* Does this device's power add to the run's sum? */
static bool is_summed(const struct wt_run *run, const struct wt_run_point *p)
{
    return !isnan(p->power_w) &&
           !(p->device < run->device_count && !run->devices[p->device].is_counted);
}

/* One device's power. */
json_t *wt_html_device_trace(const struct wt_run *run, size_t device, const char *label)
{
    struct bins *bins = calloc(1, sizeof(*bins));
    if (!bins)
        return NULL;
    bins->span_s = span_of(run);
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (p->device == device && !isnan(p->power_w))
            bins_add(bins, p->t_s, p->power_w, p->limit_w);
    }
    json_t *result = bins_json(bins, label);
    free(bins);
    return result;
}

/* The power of all devices that are not part of another. They are read in turns: with each reading
 * the sum has a new value, from the moment on when each has been read once. */
static json_t *sum_trace_json(const struct wt_run *run, const char *label)
{
    size_t count = wt_html_traced_devices(run), missing = 0;
    struct bins *bins = calloc(1, sizeof(*bins));
    double *now = calloc(count + 1, sizeof(*now));
    json_t *result = NULL;
    if (!bins || !now)
        goto out;
    bins->span_s = span_of(run);
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (is_summed(run, p) && !isnan(now[p->device])) {
            now[p->device] = NAN;
            missing++;
        }
    }
    for (size_t i = 0; i < run->point_count; i++) {
        const struct wt_run_point *p = &run->points[i];
        if (!is_summed(run, p))
            continue;
        missing -= isnan(now[p->device]) ? 1 : 0;
        now[p->device] = p->power_w;
        double sum = 0;
        for (size_t d = 0; d < count; d++)
            sum += now[d];
        if (!missing)
            bins_add(bins, p->t_s, sum, NAN);
    }
    result = bins_json(bins, label);
out:
    free(bins);
    free(now);
    return result;
}

/* One moment is no line: whether this one is after the first, which it is itself where none was. */
static bool is_later(double *io_first_s, double t_s)
{
    *io_first_s = isnan(*io_first_s) ? t_s : *io_first_s;
    return t_s > *io_first_s;
}

bool wt_html_has_trace(const struct wt_run *run)
{
    double first_s = NAN;
    for (size_t i = 0; i < run->point_count; i++)
        if (!isnan(run->points[i].power_w) && is_later(&first_s, run->points[i].t_s))
            return true;
    return false;
}

/* Whether a value that the program told has a line. */
bool wt_html_has_line(const struct wt_run *run, const char *name)
{
    double first_s = NAN;
    for (size_t i = 0; i < run->value_count; i++)
        if (strcmp(run->values[i].name, name) == 0 && is_later(&first_s, run->values[i].t_s))
            return true;
    return false;
}

/* The first run of each row. */
json_t *wt_html_sweep_traces(const struct wt_sweep *sweep)
{
    json_t *array = json_array();
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        const struct wt_run *run = &sweep->runs[row->first_run];
        if (wt_html_has_trace(run) &&
            json_array_append_new(array, sum_trace_json(run, row->label)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
