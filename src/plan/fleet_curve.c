/* fleet_curve: time and power of a card under a limit, from recorded points of one load. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/fleet.h"
#include "plan/signal.h"

#define NOISE       0.002 /* of a point: what repeats of a training run differ by (docs/search.md) */
#define NOISE_LEAST 0.0001
#define REPEATS_MIN 3 /* rows more than limits, for the file's own repeats to tell it */

struct wt_fleet_curve {
    char name[256], emulation[64];
    double assumed_noise; /* NaN: the file's repeats tell it */
    struct wt_curve *curve;
    double low_w, high_w;
    struct wt_curve_value reference;
};

/* Relative standard deviation of a row by rows of the same limit, of time or of energy, whichever
 * is more. NaN: too few repeats. */
static int noise_of(const struct wt_replay *r, double *ret_noise, struct wt_error *err)
{
    struct mean {
        double time_s, energy_j;
    } *means = calloc(r->count, sizeof(*means));
    double time = 0, energy = 0;
    size_t more = r->row_count - r->count;
    if (!means)
        return wt_fail(err, WT_E_NOMEM, "no memory for a curve");
    for (size_t i = 0; i < r->row_count; i++) {
        const struct wt_replay_row *row = &r->rows[i];
        double rows = (double)r->candidates[row->candidate].readings_max;
        means[row->candidate].time_s += row->time_s / rows;
        means[row->candidate].energy_j += row->energy_j / rows;
    }
    for (size_t i = 0; i < r->row_count; i++) {
        const struct mean *mean = &means[r->rows[i].candidate];
        time += pow(r->rows[i].time_s / mean->time_s - 1, 2);
        energy += pow(r->rows[i].energy_j / mean->energy_j - 1, 2);
    }
    free(means);
    *ret_noise =
        more < REPEATS_MIN ? NAN : fmax(sqrt(fmax(time, energy) / (double)more), NOISE_LEAST);
    return 0;
}

int wt_fleet_curve_read(struct wt_fleet_curve **ret_curve, const char *path, struct wt_error *err)
{
    struct wt_replay replay;
    struct wt_curve_point *points = NULL;
    struct wt_fleet_curve *c = NULL;
    double noise = NAN;
    int rc = wt_replay_read(&replay, path, err);
    if (rc < 0)
        return rc;
    if (replay.axis_count != 1 || replay.axes[0].form != WT_AXIS_POWER) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: its settings are not limits of power alone", path);
        wt_fix(err, "the columns power_w, time_s and energy_j");
        goto out;
    }
    c = calloc(1, sizeof(*c));
    points = calloc(replay.row_count, sizeof(*points));
    if (!c || !points) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for the curve %s", path);
        goto out;
    }
    rc = noise_of(&replay, &noise, err);
    if (rc < 0)
        goto out;
    c->assumed_noise = isnan(noise) ? NOISE : NAN;
    noise = isnan(noise) ? NOISE : noise;
    wt_text(c->name, sizeof(c->name), "%s", path);
    memcpy(c->emulation, replay.emulation, sizeof(c->emulation));
    c->low_w = INFINITY;
    for (size_t i = 0; i < replay.row_count; i++) {
        const struct wt_replay_row *row = &replay.rows[i];
        double limit_w = replay.candidates[row->candidate].values[0];
        points[i] = (struct wt_curve_point){limit_w, row->time_s, row->energy_j, noise};
        c->low_w = fmin(c->low_w, limit_w);
        c->high_w = fmax(c->high_w, limit_w);
    }
    rc = wt_curve_new(&c->curve, WT_AXIS_POWER, points, replay.row_count, err);
    if (rc == 0)
        rc = wt_curve_at(c->curve, c->high_w, &c->reference);
    if (rc == 0) {
        *ret_curve = c;
        c = NULL;
    }
out:
    free(points);
    wt_fleet_curve_free(c);
    wt_replay_done(&replay);
    return rc;
}

void wt_fleet_curve_free(struct wt_fleet_curve *curve)
{
    if (!curve)
        return;
    wt_curve_free(curve->curve);
    free(curve);
}

static struct wt_estimate ratio(const struct wt_estimate *a, const struct wt_estimate *b)
{
    return (struct wt_estimate){a->value / b->value, a->low / b->high, a->high / b->low};
}

int wt_fleet_curve_cap(const struct wt_fleet_curve *curve, double cap_w,
                       struct wt_fleet_cap *ret_cap, struct wt_error *err)
{
    struct wt_curve_value v;
    if (wt_curve_at(curve->curve, cap_w, &v) < 0) {
        wt_fail(err, WT_E_RANGE, "a cap of %g W: %s holds points from %g to %g W", cap_w,
                curve->name, curve->low_w, curve->high_w);
        wt_fix(err, "a cap in between; nothing is told of what lies beyond the points");
        return WT_E_RANGE;
    }
    ret_cap->time_ratio = ratio(&v.time_s, &curve->reference.time_s);
    ret_cap->energy_ratio = ratio(&v.energy_j, &curve->reference.energy_j);
    ret_cap->card_w = v.energy_j.value / v.time_s.value;
    return 0;
}

void wt_fleet_curve_reference(const struct wt_fleet_curve *curve, double *ret_limit_w,
                              double *ret_card_w)
{
    *ret_limit_w = curve->high_w;
    *ret_card_w = curve->reference.energy_j.value / curve->reference.time_s.value;
}

double wt_fleet_curve_assumed_noise(const struct wt_fleet_curve *curve)
{
    return curve->assumed_noise;
}

const char *wt_fleet_curve_emulation(const struct wt_fleet_curve *curve)
{
    return curve->emulation;
}
