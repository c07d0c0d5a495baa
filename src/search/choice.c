/* choice: which setting of a sweep serves its goal, and how certain that is. */
#include <math.h>
#include <string.h>

#include "record/record.h"
#include "search/sweep.h"

struct wt_goal wt_sweep_goal(const struct wt_sweep *sweep)
{
    struct wt_goal goal = sweep->plan.goal;
    goal.host_w = 0;
    return goal;
}

/* ---- the choice ---- */

/* Within the limits, as far as the means say. The reference is within any slow-down. */
static bool is_admissible(const struct wt_sweep *sweep, const struct wt_sweep_row *row)
{
    const struct wt_goal *goal = &sweep->plan.goal;
    double devices_w = row->power_w.value - (isnan(sweep->host_w) ? 0 : sweep->host_w);
    return (isnan(goal->slowdown_max) || row->time_ratio.value <= 1 + goal->slowdown_max) &&
           (isnan(goal->power_max_w) || devices_w <= goal->power_max_w);
}

static size_t best_of(const struct wt_sweep *sweep)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < sweep->row_count; i++)
        if (sweep->rows[i].is_admissible &&
            (best == SIZE_MAX ||
             sweep->rows[i].value_ratio.value < sweep->rows[best].value_ratio.value))
            best = i;
    return best;
}

static size_t least_power_of(const struct wt_sweep *sweep)
{
    size_t least = 0;
    for (size_t i = 0; i < sweep->row_count; i++)
        if (sweep->rows[i].power_w.value < sweep->rows[least].power_w.value)
            least = i;
    return least;
}

/* Of the settings that are lower for certain and cannot be told from the lowest, the fastest. A
 * setting that may be no better is no reason to change anything: then it is the reference, unless
 * that is not within the limits itself. */
static void choose(struct wt_sweep *sweep)
{
    size_t choice = SIZE_MAX;
    for (size_t i = 0; i < sweep->row_count; i++)
        sweep->rows[i].is_admissible = is_admissible(sweep, &sweep->rows[i]);
    size_t best = best_of(sweep);
    bool must_change = !sweep->rows[sweep->reference].is_admissible;
    for (size_t i = 0; best != SIZE_MAX && i < sweep->row_count; i++) {
        struct wt_sweep_row *row = &sweep->rows[i];
        row->is_overlapping_best =
            row->is_admissible && row->value_ratio.low <= sweep->rows[best].value_ratio.high;
        if (row->is_overlapping_best && (must_change || row->value_ratio.high < 1) &&
            (choice == SIZE_MAX || row->time_ratio.value < sweep->rows[choice].time_ratio.value))
            choice = i;
    }
    if (best == SIZE_MAX)
        choice = least_power_of(sweep);
    sweep->choice = choice == SIZE_MAX ? sweep->reference : choice;
    const struct wt_sweep_row *chosen = &sweep->rows[sweep->choice];
    sweep->is_saving_real =
        sweep->choice != sweep->reference && chosen->is_admissible && chosen->value_ratio.high < 1;
}

/* ---- limits ---- */

static int warn_of_ruled_out(struct wt_sweep *sweep)
{
    const struct wt_goal *goal = &sweep->plan.goal;
    const struct wt_sweep_row *choice = &sweep->rows[sweep->choice], *lower = NULL;
    double host_w = isnan(sweep->host_w) ? 0 : sweep->host_w;
    for (size_t i = 0; i < sweep->row_count; i++)
        if (!sweep->rows[i].is_admissible &&
            sweep->rows[i].value_ratio.value < (lower ? lower : choice)->value_ratio.value)
            lower = &sweep->rows[i];
    if (!lower)
        return 0;
    if (!isnan(goal->slowdown_max) && lower->time_ratio.value > 1 + goal->slowdown_max)
        return wt_sweep_warn(sweep,
                             "%s has the lowest %s, but takes %.1f %% more time: --max-slowdown "
                             "%.3g%% rules it out",
                             lower->label, wt_goal_words(goal), (lower->time_ratio.value - 1) * 100,
                             goal->slowdown_max * 100);
    return wt_sweep_warn(
        sweep, "%s has the lowest %s, but draws %.0f W: --max-power %.4g rules it out",
        lower->label, wt_goal_words(goal), lower->power_w.value - host_w, goal->power_max_w);
}

int wt_sweep_warn_of_limits(struct wt_sweep *sweep)
{
    const struct wt_goal *goal = &sweep->plan.goal;
    const struct wt_sweep_row *choice = &sweep->rows[sweep->choice];
    if (!choice->is_admissible)
        return wt_sweep_warn(sweep,
                             "no setting that was measured draws %.4g W or less%s: the one that "
                             "draws least is shown",
                             goal->power_max_w,
                             isnan(goal->slowdown_max) ? "" : " within the slow-down asked for");
    if (warn_of_ruled_out(sweep) < 0)
        return WT_E_NOMEM;
    if (!isnan(goal->slowdown_max) && choice->time_ratio.high > 1 + goal->slowdown_max)
        return wt_sweep_warn(sweep,
                             "%s takes %.1f to %.1f %% more time: that it keeps within "
                             "--max-slowdown %.3g%% is likely, not certain",
                             choice->label, (choice->time_ratio.low - 1) * 100,
                             (choice->time_ratio.high - 1) * 100, goal->slowdown_max * 100);
    return 0;
}

/* ---- precision ---- */

/* Two-sided 95 % quantile of Student's t. Source: any table of it; beyond 30 the tail of its
 * expansion in 1/freedom. */
double wt_student_t(size_t freedom)
{
    static const double table[] = {NAN,   12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                   2.306, 2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                                   2.120, 2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069,
                                   2.064, 2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
    return freedom < WT_COUNTOF(table) ? table[freedom] : 1.960 + 2.4 / (double)freedom;
}

/* May it be the one to choose? */
static bool matters(const struct wt_sweep *sweep, size_t i)
{
    double best = INFINITY;
    for (size_t k = 0; k < sweep->row_count; k++)
        if (sweep->rows[k].is_admissible)
            best = fmin(best, sweep->rows[k].value_ratio.high);
    return i != sweep->reference && sweep->rows[i].is_admissible &&
           sweep->rows[i].value_ratio.low <= fmax(best, 1);
}

static void find_precision(struct wt_sweep *sweep)
{
    sweep->precision = NAN;
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_estimate *e = &sweep->rows[i].value_ratio;
        double half = (e->high - e->low) / 2 / e->value;
        if (matters(sweep, i) && !(half <= sweep->precision))
            sweep->precision = half;
    }
}

#define REPEATS_MOST 1000

unsigned wt_repeats_for(double spread, double run_bound, double shared_bound, size_t settings,
                        double precision)
{
    for (unsigned n = 2; n <= REPEATS_MOST; n++) {
        double t = wt_student_t(settings * (n - 1));
        double one2 = (t * t * spread * spread + run_bound * run_bound) / n;
        if (sqrt(2 * one2 + shared_bound * shared_bound) <= precision)
            return n;
    }
    return 0;
}

unsigned wt_sweep_repeats_for(const struct wt_sweep *sweep, double precision)
{
    unsigned most = 2;
    if (isnan(sweep->value_spread))
        return 0;
    for (size_t i = 0; i < sweep->row_count; i++) {
        const struct wt_sweep_row *row = &sweep->rows[i];
        if (!matters(sweep, i))
            continue;
        unsigned n = wt_repeats_for(sweep->value_spread, row->run_bound, row->shared_bound,
                                    sweep->row_count, precision);
        if (!n)
            return 0;
        most = n > most ? n : most;
    }
    return most;
}

int wt_sweep_want(struct wt_sweep *sweep, double precision)
{
    unsigned had = UINT32_MAX, needed = wt_sweep_repeats_for(sweep, precision);
    struct wt_plain plain;
    for (size_t i = 0; i < sweep->row_count; i++)
        had = sweep->rows[i].repeats < had ? sweep->rows[i].repeats : had;
    if (isnan(sweep->precision))
        return 0; /* no setting competes with the reference */
    const char *what = wt_goal_words(&sweep->plan.goal);
    wt_plain_enter(&plain);
    int rc;
    if (sweep->precision <= precision)
        rc = wt_sweep_warn(sweep,
                           "the wanted precision of %.3g %% was reached after %u repeats: %s "
                           "ratios are known to %.2g %%",
                           precision * 100, had, what, sweep->precision * 100);
    else if (needed)
        rc = wt_sweep_warn(sweep,
                           "the wanted precision of %.3g %% was not reached in %u repeats: %s "
                           "ratios are known to %.2g %%, and about %u repeats would do",
                           precision * 100, had, what, sweep->precision * 100,
                           needed > had ? needed : had + 1);
    else
        rc = wt_sweep_warn(sweep,
                           "the wanted precision of %.3g %% was not reached in %u repeats: %s "
                           "ratios are known to %.2g %%, and repeats alone will not do; longer "
                           "runs may",
                           precision * 100, had, what, sweep->precision * 100);
    wt_plain_leave(&plain);
    return rc;
}

/* ---- the rest of the node ---- */

/* The rest of the node's power at which choice and reference have the same value. The value is
 * linear in it, as in the energy: of energy, E + P t = E0 + P t0. In units of a second of the
 * reference, so that runs of different length compare too. */
static void find_breakeven(struct wt_sweep *sweep)
{
    const struct wt_sweep_row *choice = &sweep->rows[sweep->choice];
    const struct wt_goal goal = wt_sweep_goal(sweep);
    double host_w = isnan(sweep->host_w) ? 0 : sweep->host_w;
    double energy0 = sweep->rows[sweep->reference].power_w.value; /* with host_w, as the ratio is */
    double time = choice->time_ratio.value, energy = choice->energy_ratio.value * energy0;
    double value0 = wt_goal_value(&goal, 1, energy0), value = wt_goal_value(&goal, time, energy);
    double a_watt0 = wt_goal_value(&goal, 1, energy0 + 1) - value0;
    double a_watt = wt_goal_value(&goal, time, energy + time) - value;
    sweep->breakeven_w = NAN;
    if (sweep->is_saving_real && choice->time_ratio.low > 1 && a_watt > a_watt0)
        sweep->breakeven_w = host_w + (value0 - value) / (a_watt - a_watt0);
}

void wt_sweep_choose(struct wt_sweep *sweep)
{
    choose(sweep);
    find_precision(sweep);
    find_breakeven(sweep);
}
