/* goal: what a setting is chosen for, as typed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "goal.h"

void cli_goal_init(struct wt_goal *goal)
{
    wt_goal_init(goal);
    goal->host_w = goal->eta = goal->price_kwh = goal->price_hour = goal->carbon_g_kwh = NAN;
}

/* A number from low to high; `end` is what may stand behind it. */
static int read_number(const char *option, const char *arg, double low, double high,
                       const char *end, const char *what, double *ret, struct wt_error *err)
{
    char *rest;
    double value = strtod(arg, &rest);
    if (rest == arg || (*rest && strcmp(rest, end) != 0) || !(value >= low && value <= high))
        return cli_error(err, WT_E_USAGE, "", "--%s %.60s: %s", option, arg, what);
    *ret = value;
    return 0;
}

static int read_objective(const char *arg, struct wt_goal *goal, struct wt_error *err)
{
    char names[120] = "";
    if (wt_objective_from_name(arg, &goal->objective) == 0)
        return 0;
    for (int i = 0; wt_objective_name((enum wt_objective)i); i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
                 wt_objective_name((enum wt_objective)i));
    }
    return cli_error(err, WT_E_USAGE, "", "--objective %.60s: there is %s", arg, names);
}

/* 0; 1 when c is none of these. */
static int read_option(int c, const char *arg, struct wt_goal *goal, struct wt_error *err)
{
    int rc;
    switch (c) {
    case GOAL_OBJECTIVE:
        return read_objective(arg, goal, err);
    case GOAL_MAX_SLOWDOWN:
        rc = read_number("max-slowdown", arg, 0, 1e4, "%",
                         "a percentage of the default's time, 0 "
                         "or more",
                         &goal->slowdown_max, err);
        if (rc == 0)
            goal->slowdown_max /= 100;
        return rc;
    case GOAL_MAX_POWER:
        return read_number("max-power", arg, 1e-3, 1e9, "", "watts, above 0", &goal->power_max_w,
                           err);
    case GOAL_HOST_WATTS:
        return read_number("host-watts", arg, 0, 1e6, "", "watts, 0 or more", &goal->host_w, err);
    case GOAL_ETA:
        return read_number("eta", arg, 0, 1, "", "a number from 0 (time alone) to 1 (energy alone)",
                           &goal->eta, err);
    case GOAL_PRICE_KWH:
        return read_number("price-kwh", arg, 0, 1e9, "", "a price, 0 or more", &goal->price_kwh,
                           err);
    case GOAL_PRICE_HOUR:
        return read_number("price-hour", arg, 0, 1e9, "", "a price, 0 or more", &goal->price_hour,
                           err);
    case GOAL_CARBON_INTENSITY:
        return read_number("carbon-intensity", arg, 1e-6, 1e6, "", "g CO2e a kWh, above 0",
                           &goal->carbon_g_kwh, err);
    default:
        return 1;
    }
}

int cli_goal_option_last(const char *command, int c, const char *arg, struct wt_goal *goal,
                         struct cli_bed *bed)
{
    struct wt_error err = {0};
    int code = cli_bed_option(command, c, arg, bed);
    if (code != CLI_OTHER)
        return code;
    int rc = read_option(c, arg, goal, &err);
    return rc < 0 ? cli_fail(command, &err) : rc > 0 ? cli_bad_option(command) : -1;
}

static double or_else(double value, double other)
{
    return isnan(value) ? other : value;
}

int cli_goal_check(struct wt_goal *goal, bool has_params, struct wt_error *err)
{
    const struct {
        const char *option;
        enum wt_objective of;
        double given;
    } rows[] = {{"eta", WT_OBJECTIVE_ETA, goal->eta},
                {"price-kwh", WT_OBJECTIVE_COST, goal->price_kwh},
                {"price-hour", WT_OBJECTIVE_COST, goal->price_hour},
                {"carbon-intensity", WT_OBJECTIVE_CARBON, goal->carbon_g_kwh}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (!isnan(rows[i].given) && goal->objective != rows[i].of)
            return cli_error(err, WT_E_USAGE, "", "--%s goes with --objective %s", rows[i].option,
                             wt_objective_name(rows[i].of));
    goal->host_w = or_else(goal->host_w, 0);
    goal->eta = or_else(goal->eta, 0.5);
    goal->price_kwh = or_else(goal->price_kwh, 0);
    goal->price_hour = or_else(goal->price_hour, 0);
    if (goal->objective == WT_OBJECTIVE_COST && !(goal->price_kwh + goal->price_hour > 0))
        return cli_error(err, WT_E_USAGE,
                         "--price-kwh 0.30 for the electricity, --price-hour 2 for the machine, or "
                         "both",
                         "--objective cost: without a price nothing costs anything");
    if (goal->objective == WT_OBJECTIVE_CARBON && isnan(goal->carbon_g_kwh))
        return cli_error(err, WT_E_USAGE,
                         "--carbon-intensity 350: grams of CO2e a kWh, as the grid's operator "
                         "publishes it",
                         "--objective carbon: what a kWh emits is not known");
    if (goal->objective == WT_OBJECTIVE_TIME && !has_params && isnan(goal->power_max_w))
        return cli_error(err, WT_E_USAGE,
                         "--max-power W with it, or --objective energy --max-slowdown PCT",
                         "--objective time: without a limit of power the fastest setting is the "
                         "default one");
    goal->carbon_g_kwh = or_else(goal->carbon_g_kwh, 0);
    return 0;
}

int cli_goal_power(struct wt_goal *goal, const struct cli_bed *bed, struct wt_error *err)
{
    struct wt_error why = {0};
    double sum_w = 0;
    if (goal->objective != WT_OBJECTIVE_ETA)
        return 0;
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++) {
        struct wt_knob_info info;
        int rc = cli_knob(bed, i, WT_KNOB_POWER, &info, &why, err);
        if (rc == 0)
            sum_w += wt_knob_to_user(info.max);
        else if (rc != WT_E_UNSUPPORTED)
            return rc;
    }
    if (sum_w > 0) {
        goal->eta_power_w = sum_w;
        return 0;
    }
    snprintf(err->text, sizeof(err->text),
             "--objective eta: time is weighed with the highest power of the GPUs, and no device "
             "here says it%s%.200s%s",
             why.text[0] ? " (" : "", why.text, why.text[0] ? ")" : "");
    snprintf(err->fix, sizeof(err->fix), "--objective edp weighs time without it");
    return err->code = WT_E_UNSUPPORTED;
}
