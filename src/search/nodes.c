/* nodes: a sweep whose runs were made on several machines (`wattune sweep --slurm`).
 *
 * Two nodes of a model differ by some percent. Rounds in random order put each setting on each node
 * about as often, and what is left of the difference is in the spread of the repeats, hence in the
 * intervals; that their sensors' errors do not cancel is in them too (sweep.c). What can be looked
 * at besides is the ratio within each node that has runs at both settings: the geometric mean of
 * those ratios knows no difference of nodes. Where it lies outside of the interval, that is said.
 */
#include <math.h>
#include <string.h>

#include "search/sweep.h"

/* The mean of the goal's value over the usable runs with a label on a machine; 0: there is none. */
static double mean_on(const struct wt_sweep *sweep, const char *label, const char *host)
{
    const struct wt_goal goal = wt_sweep_goal(sweep);
    double sum = 0, count = 0, time, energy;
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (!wt_sweep_is_usable(run) || strcmp(run->label, label) != 0 ||
            strcmp(run->host, host) != 0)
            continue;
        wt_sweep_values(sweep, run, &time, &energy);
        sum += wt_goal_value(&goal, time, energy);
        count++;
    }
    return count > 0 ? sum / count : 0;
}

static bool is_first_of_host(const struct wt_sweep *sweep, size_t at)
{
    if (!wt_sweep_is_usable(&sweep->runs[at]))
        return false;
    for (size_t i = 0; i < at; i++)
        if (wt_sweep_is_usable(&sweep->runs[i]) &&
            strcmp(sweep->runs[i].host, sweep->runs[at].host) == 0)
            return false;
    return true;
}

/* "n1 (5 runs), n2 (4)"; how many. */
static size_t list_nodes(const struct wt_sweep *sweep, char *buf, size_t size)
{
    size_t nodes = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < sweep->run_count; i++) {
        size_t runs = 0, used = strlen(buf);
        if (!is_first_of_host(sweep, i))
            continue;
        for (size_t k = i; k < sweep->run_count; k++)
            runs += wt_sweep_is_usable(&sweep->runs[k]) &&
                    strcmp(sweep->runs[k].host, sweep->runs[i].host) == 0;
        wt_text(buf + used, size - used, "%s%s (%zu%s)", nodes ? ", " : "", sweep->runs[i].host,
                runs,
                nodes      ? ""
                : runs > 1 ? " runs"
                           : " run");
        nodes++;
    }
    return nodes;
}

/* A row against the reference, node by node. */
static int warn_of_row(struct wt_sweep *sweep, const struct wt_sweep_row *row,
                       const char *reference)
{
    double logs = 0, shared = 0;
    const char *label = sweep->runs[row->first_run].label;
    for (size_t i = 0; i < sweep->run_count; i++) {
        if (!is_first_of_host(sweep, i))
            continue;
        double here = mean_on(sweep, label, sweep->runs[i].host);
        double there = mean_on(sweep, reference, sweep->runs[i].host);
        if (here > 0 && there > 0) {
            logs += log(here / there);
            shared++;
        }
    }
    if (!(shared > 0))
        return wt_sweep_warn(sweep,
                             "%s: none of its runs was on a node with a run at the reference: the "
                             "nodes may differ, not the settings; more --repeats tell",
                             row->label);
    double within = exp(logs / shared);
    if (within >= row->value_ratio.low && within <= row->value_ratio.high)
        return 0;
    return wt_sweep_warn(sweep,
                         "%s: compared within nodes its %s is %.3f of the reference's, not %.3f: "
                         "the nodes differ; more --repeats even it out",
                         row->label, wt_objective_name(sweep->plan.goal.objective), within,
                         row->value_ratio.value);
}

int wt_sweep_warn_of_nodes(struct wt_sweep *sweep)
{
    char list[400];
    size_t nodes = list_nodes(sweep, list, sizeof(list));
    const char *reference = sweep->runs[sweep->rows[sweep->reference].first_run].label;
    if (nodes < 2)
        return 0;
    int rc = wt_sweep_warn(sweep, "the runs were made on %zu nodes: %s", nodes, list);
    for (size_t i = 0; i < sweep->row_count && rc == 0; i++)
        if (i != sweep->reference)
            rc = warn_of_row(sweep, &sweep->rows[i], reference);
    return rc;
}
