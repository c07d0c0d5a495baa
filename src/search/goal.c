/* goal: what a setting is chosen for. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "wattune/search.h"

#define J_PER_KWH 3.6e6

static const char *const names[] = {
    [WT_OBJECTIVE_ENERGY] = "energy", [WT_OBJECTIVE_EDP] = "edp",
    [WT_OBJECTIVE_TIME] = "time",     [WT_OBJECTIVE_COST] = "cost",
    [WT_OBJECTIVE_CARBON] = "carbon", [WT_OBJECTIVE_ETA] = "eta",
};

const char *wt_objective_name(enum wt_objective objective)
{
    return (size_t)objective < WT_COUNTOF(names) ? names[objective] : NULL;
}

int wt_objective_from_name(const char *name, enum wt_objective *ret_objective)
{
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        if (strcmp(names[i], name) == 0) {
            *ret_objective = (enum wt_objective)i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

void wt_goal_init(struct wt_goal *goal)
{
    *goal = (struct wt_goal){.slowdown_max = NAN, .power_max_w = NAN, .eta = 0.5};
}

double wt_goal_value(const struct wt_goal *goal, double time_s, double energy_j)
{
    double all_j = energy_j + goal->host_w * time_s;
    switch (goal->objective) {
    case WT_OBJECTIVE_ENERGY:
        return all_j;
    case WT_OBJECTIVE_EDP:
        return all_j * time_s;
    case WT_OBJECTIVE_TIME:
        return time_s;
    case WT_OBJECTIVE_COST:
        return all_j / J_PER_KWH * goal->price_kwh + time_s / 3600 * goal->price_hour;
    case WT_OBJECTIVE_CARBON:
        return all_j / J_PER_KWH * goal->carbon_g_kwh;
    case WT_OBJECTIVE_ETA:
        return goal->eta * all_j + (1 - goal->eta) * goal->eta_power_w * time_s;
    }
    return NAN;
}
