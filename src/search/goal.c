/* goal: what a setting is chosen for. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "search/search.h"

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

const char *wt_goal_words(const struct wt_goal *goal)
{
    switch (goal->objective) {
    case WT_OBJECTIVE_ENERGY:
        return "energy";
    case WT_OBJECTIVE_EDP:
        return "energy-delay product";
    case WT_OBJECTIVE_TIME:
        return "time";
    case WT_OBJECTIVE_COST:
        return "cost";
    case WT_OBJECTIVE_CARBON:
        return "carbon";
    case WT_OBJECTIVE_ETA:
        return "weighed energy and time";
    }
    return "";
}

json_t *wt_goal_json(const struct wt_goal *goal)
{
    bool is_cost = goal->objective == WT_OBJECTIVE_COST;
    bool is_eta = goal->objective == WT_OBJECTIVE_ETA;
    bool is_carbon = goal->objective == WT_OBJECTIVE_CARBON;
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "objective",
                     wt_objective_name(goal->objective), "max_slowdown",
                     wt_json_number(goal->slowdown_max), "max_power_w",
                     wt_json_number(goal->power_max_w), "host_w",
                     wt_json_number(goal->host_w > 0 ? goal->host_w : (double)NAN), "price_kwh",
                     is_cost ? wt_json_number(goal->price_kwh) : json_null(), "price_hour",
                     is_cost ? wt_json_number(goal->price_hour) : json_null(), "carbon_g_per_kwh",
                     is_carbon ? wt_json_number(goal->carbon_g_kwh) : json_null(), "eta",
                     is_eta ? wt_json_number(goal->eta) : json_null(), "eta_power_w",
                     is_eta ? wt_json_number(goal->eta_power_w) : json_null());
}
