/* outliers: runs of a sweep that are far from the others at their setting, and whether the devices
 * were still warming up when it began. Nothing is dropped for it: it is said.
 *
 * How far is far. The spread of a run is taken to be the same share everywhere, so that few repeats
 * a setting are enough: it is the median of the distances between any two runs of one setting, over
 * all settings, by 0.954, which it is of the standard deviation of a normal distribution. Up to a
 * quarter of the runs may be off without pulling it along. A run is an outlier when it is further
 * than 5 such deviations from the median of its setting, by 2 % at least, and by more than a short
 * run is off by itself: 20 ms, or the bound of its energy (below that it does not matter, and
 * repeats that agree to the last digit would make one of anything). With 5, one in 40 sweeps of
 * normally distributed runs has a false one, and a run that is 10 deviations off is found in 9 of
 * 10 sweeps of 4 settings with 3 repeats; with less than about 4 pairs of runs nothing can be told.
 * Of two runs it cannot be told which is off: then it is both. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search/sweep.h"

#define FAR        5.0
#define FAR_SHARE  0.02
#define FAR_S      0.02
#define PAIR_SHARE 0.9539 /* sqrt(2) times the upper quartile of a normal distribution */
#define COOLER_K   5.0
#define PAUSE_S    120.0

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts. */
static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double value_of(const struct wt_sweep *sweep, size_t run, bool is_time)
{
    double time, energy;
    wt_sweep_values(sweep, &sweep->runs[run], &time, &energy);
    return is_time ? time : energy;
}

static bool is_alike(const struct wt_sweep *sweep, size_t a, size_t b)
{
    return wt_sweep_is_usable(&sweep->runs[a]) && wt_sweep_is_usable(&sweep->runs[b]) &&
           strcmp(sweep->runs[a].label, sweep->runs[b].label) == 0;
}

/* The relative standard deviation of one run, robustly; NaN when nothing was repeated. */
static int find_spread(const struct wt_sweep *sweep, bool is_time, double *ret_spread)
{
    double *distances = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; i < sweep->run_count; i++)
        for (size_t k = 0; k < i; k++) {
            if (!is_alike(sweep, i, k))
                continue;
            if (count == room) {
                room = room ? 2 * room : 64;
                double *more = reallocarray(distances, room, sizeof(*distances));
                if (!more) {
                    free(distances);
                    return WT_E_NOMEM;
                }
                distances = more;
            }
            distances[count++] =
                fabs(log(value_of(sweep, i, is_time) / value_of(sweep, k, is_time)));
        }
    *ret_spread = count ? median_of(distances, count) / PAIR_SHARE : (double)NAN;
    free(distances);
    return 0;
}

static struct wt_sweep_row *row_of(const struct wt_sweep *sweep, size_t run)
{
    for (size_t i = 0; i < sweep->row_count; i++)
        if (strcmp(sweep->runs[sweep->rows[i].first_run].label, sweep->runs[run].label) == 0)
            return &sweep->rows[i];
    return NULL;
}

static bool is_listed(const struct wt_sweep *sweep, size_t run)
{
    for (size_t i = 0; i < sweep->outlier_count; i++)
        if (sweep->outliers[i].run == run)
            return true;
    return false;
}

static bool is_worth_saying(const struct wt_sweep *sweep, size_t run, bool is_time, double off)
{
    double least =
        is_time ? FAR_S / sweep->runs[run].wall_s : wt_sweep_bound_of(sweep, &sweep->runs[run]);
    return off >= FAR_SHARE && off > least;
}

/* The outliers among the runs of one setting, which `first` is the first of. */
static int find_in_setting(struct wt_sweep *sweep, size_t first, bool is_time, double spread,
                           double *room)
{
    size_t count = 0;
    for (size_t i = first; i < sweep->run_count; i++)
        if (is_alike(sweep, i, first))
            room[count++] = value_of(sweep, i, is_time);
    if (count < 2)
        return 0;
    double median = median_of(room, count);
    for (size_t i = first; i < sweep->run_count; i++) {
        if (!is_alike(sweep, i, first))
            continue;
        double value = value_of(sweep, i, is_time);
        /* Each of two is half of what they are apart from their median. */
        double score = fabs(log(value / median)) / spread * (count == 2 ? M_SQRT2 : 1);
        if (!(score > FAR) || !is_worth_saying(sweep, i, is_time, fabs(value / median - 1)))
            continue;
        struct wt_sweep_outlier *more =
            reallocarray(sweep->outliers, sweep->outlier_count + 1, sizeof(*more));
        if (!more)
            return WT_E_NOMEM;
        sweep->outliers = more;
        struct wt_sweep_row *row = row_of(sweep, i);
        if (row && !is_listed(sweep, i))
            row->outlier_count++;
        sweep->outliers[sweep->outlier_count++] = (struct wt_sweep_outlier){.run = i,
                                                                            .is_time = is_time,
                                                                            .is_pair = count == 2,
                                                                            .value = value,
                                                                            .median = median,
                                                                            .score = score};
    }
    return 0;
}

static int find(struct wt_sweep *sweep, bool is_time, double *room)
{
    double spread;
    if (find_spread(sweep, is_time, &spread) < 0)
        return WT_E_NOMEM;
    for (size_t i = 0; i < sweep->run_count && !isnan(spread); i++) {
        bool is_first = wt_sweep_is_usable(&sweep->runs[i]);
        for (size_t k = 0; k < i; k++)
            is_first &= !is_alike(sweep, i, k);
        if (is_first && find_in_setting(sweep, i, is_time, spread, room) < 0)
            return WT_E_NOMEM;
    }
    return 0;
}

/* ---- words ---- */

static const struct wt_sweep_outlier *outlier_of(const struct wt_sweep *sweep, size_t run,
                                                 bool is_time)
{
    for (size_t i = 0; i < sweep->outlier_count; i++)
        if (sweep->outliers[i].run == run && sweep->outliers[i].is_time == is_time)
            return &sweep->outliers[i];
    return NULL;
}

/* "12.3 % longer", "4.0 % less energy"; "" for NULL. */
static void how_far(const struct wt_sweep_outlier *o, char *buf, size_t size)
{
    buf[0] = '\0';
    if (!o)
        return;
    double more = (o->value / o->median - 1) * 100;
    wt_text(buf, size, "%.1f %% %s", fabs(more),
            o->is_time ? more > 0 ? "longer" : "shorter"
            : more > 0 ? "more energy"
                       : "less energy");
}

/* Of two runs, told once: at the first. */
static int warn_of_pair(struct wt_sweep *sweep, size_t at, const struct wt_sweep_outlier *time,
                        const struct wt_sweep_outlier *energy)
{
    char time_words[48] = "", energy_words[48] = "";
    for (size_t i = 0; i < at; i++)
        if (is_alike(sweep, i, at))
            return 0;
    if (time)
        wt_text(time_words, sizeof(time_words), "%.1f %% in time",
                fabs(time->value / time->median - 1) * 200);
    if (energy)
        wt_text(energy_words, sizeof(energy_words), "%.1f %% in energy",
                fabs(energy->value / energy->median - 1) * 200);
    return wt_sweep_warn(sweep,
                         "%s: one of its two runs is an outlier, and which cannot be told: they "
                         "are %s%s%s apart. Both count all the same; more --repeats tell",
                         wt_sweep_label_words(sweep->runs[at].label), time_words,
                         time && energy ? " and " : "", energy_words);
}

/* One line a run, whatever of it is off. */
static int warn_of(struct wt_sweep *sweep, size_t at)
{
    const struct wt_run *run = &sweep->runs[at];
    const struct wt_sweep_outlier *time = outlier_of(sweep, at, true);
    const struct wt_sweep_outlier *energy = outlier_of(sweep, at, false);
    char time_words[48], energy_words[48], look[80] = "";
    if ((time ? time : energy)->is_pair)
        return warn_of_pair(sweep, at, time, energy);
    how_far(time, time_words, sizeof(time_words));
    how_far(energy, energy_words, sizeof(energy_words));
    if (!run->is_unstored)
        wt_text(look, sizeof(look), "; wattune report %s shows it", run->id);
    return wt_sweep_warn(sweep,
                         "%s, run %u is an outlier: %s%s%s than the median there. It counts all "
                         "the same%s; more --repeats make it matter less",
                         wt_sweep_label_words(run->label), run->repeat + 1, time_words,
                         time && energy ? " and " : "", energy_words, look);
}

int wt_sweep_find_outliers(struct wt_sweep *sweep)
{
    double *room = calloc(sweep->run_count, sizeof(*room));
    int rc = room ? find(sweep, true, room) : WT_E_NOMEM;
    if (rc == 0)
        rc = find(sweep, false, room);
    free(room);
    for (size_t i = 0; i < sweep->run_count && rc == 0; i++)
        if (is_listed(sweep, i))
            rc = warn_of(sweep, i);
    return rc;
}

/* ---- warming up ---- */

/* Mean temperature of the hottest device over the second half of a run; NaN: not readable. */
static double warmth_of(const struct wt_run *run)
{
    double hottest = NAN;
    for (uint32_t d = 0; d < run->device_count; d++) {
        double sum = 0, n = 0;
        for (size_t i = 0; i < run->point_count; i++) {
            const struct wt_run_point *p = &run->points[i];
            if (p->device != d || p->t_s < run->wall_s / 2 || !isfinite(p->temp_c) ||
                (p->throttle & WT_THROTTLE_IDLE))
                continue;
            sum += p->temp_c;
            n++;
        }
        if (n > 0 && !(sum / n <= hottest))
            hottest = sum / n;
    }
    return hottest;
}

/* How much cooler a run was than every later one at its setting, in K; NaN: nothing to compare. */
static double cooler_by(const struct wt_sweep *sweep, size_t at)
{
    double least = NAN, mine = warmth_of(&sweep->runs[at]);
    for (size_t i = at + 1; i < sweep->run_count; i++) {
        double difference = is_alike(sweep, at, i) ? warmth_of(&sweep->runs[i]) - mine : NAN;
        if (!isnan(difference) && !(difference >= least))
            least = difference;
    }
    return least;
}

/* A drift that the later runs at the same setting do not show is one of the beginning. */
static bool is_drift_of_beginning(const struct wt_sweep *sweep, size_t at,
                                  struct wt_settling *ret_settling)
{
    *ret_settling = wt_settling_of(sweep->runs[at].points, sweep->runs[at].point_count);
    if (!ret_settling->is_known || ret_settling->is_settled)
        return false;
    bool is_any = false;
    for (size_t i = at + 1; i < sweep->run_count; i++) {
        struct wt_settling s = wt_settling_of(sweep->runs[i].points, sweep->runs[i].point_count);
        if (!is_alike(sweep, at, i) || !s.is_known)
            continue;
        if (!s.is_settled)
            return false;
        is_any = true;
    }
    return is_any;
}

/* The first run, or the first after a pause in which the devices cooled down. */
static bool is_beginning(const struct wt_sweep *sweep, size_t at)
{
    if (!at)
        return true;
    const struct wt_run *before = &sweep->runs[at - 1], *run = &sweep->runs[at];
    double pause_s = (double)(run->start_unix_ns - before->start_unix_ns) * 1e-9 - before->wall_s;
    return pause_s > PAUSE_S;
}

int wt_sweep_warn_of_warmup(struct wt_sweep *sweep)
{
    const char *advice = sweep->plan.settle_s > 0 ? "a longer --settle warms the devices up first"
                                                  : "--settle 2m warms the devices up first";
    int rc = 0;
    for (size_t i = 0; i < sweep->run_count && rc == 0; i++) {
        const struct wt_run *run = &sweep->runs[i];
        struct wt_settling s;
        if (!is_beginning(sweep, i) || !wt_sweep_is_usable(run))
            continue;
        char which[120];
        wt_text(which, sizeof(which), "the first run%s (%s, run %u)", i ? " after a pause" : "",
                wt_sweep_label_words(run->label), run->repeat + 1);
        double cooler_k = cooler_by(sweep, i);
        if (is_drift_of_beginning(sweep, i, &s))
            rc = wt_sweep_warn(sweep,
                               "in %s the devices were still warming up (temperature %+.1f K, "
                               "clock %+.2f %% over its second half), and in the later runs at "
                               "its setting they were not: %s",
                               which, isnan(s.temp_drift_k) ? 0 : s.temp_drift_k,
                               isnan(s.clock_drift) ? 0 : s.clock_drift * 100, advice);
        else if (cooler_k > COOLER_K)
            rc = wt_sweep_warn(sweep,
                               "in %s the devices were %.0f K cooler than in any later run at its "
                               "setting: %s",
                               which, cooler_k, advice);
        else if (is_listed(sweep, i))
            rc = wt_sweep_warn(sweep, "%s is an outlier: it may be the warm-up; %s", which, advice);
    }
    return rc;
}
