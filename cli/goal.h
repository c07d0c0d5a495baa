/* goal: what a setting is chosen for, as options that several commands share. A command puts
 * GOAL_OPTIONS into its table and GOAL_HELP into its help, hands what getopt_long returns to
 * cli_goal_option_last(), and calls cli_goal_check() at the end. */
#ifndef WT_CLI_GOAL_H
#define WT_CLI_GOAL_H

#include "cli.h"

/* What getopt_long returns for them: beyond those of any command. */
enum {
    GOAL_OBJECTIVE = 0x400,
    GOAL_MAX_SLOWDOWN,
    GOAL_MAX_POWER,
    GOAL_HOST_WATTS,
    GOAL_ETA,
    GOAL_PRICE_KWH,
    GOAL_PRICE_HOUR,
    GOAL_CARBON_INTENSITY
};

/* clang-format off */
#define GOAL_OPTIONS                                                                               \
    {"objective", required_argument, NULL, GOAL_OBJECTIVE},                                        \
    {"max-slowdown", required_argument, NULL, GOAL_MAX_SLOWDOWN},                                  \
    {"max-power", required_argument, NULL, GOAL_MAX_POWER},                                        \
    {"host-watts", required_argument, NULL, GOAL_HOST_WATTS},                                      \
    {"eta", required_argument, NULL, GOAL_ETA},                                                    \
    {"price-kwh", required_argument, NULL, GOAL_PRICE_KWH},                                        \
    {"price-hour", required_argument, NULL, GOAL_PRICE_HOUR},                                      \
    {"carbon-intensity", required_argument, NULL, GOAL_CARBON_INTENSITY}

#define GOAL_HELP                                                                                  \
    "  --objective WHAT   what to make small: energy (the default), edp (energy times\n"           \
    "                     time), time, cost, carbon, or eta (energy and time weighed)\n"           \
    "  --max-slowdown PCT no setting that takes more than PCT longer than the default\n"           \
    "  --max-power W      no setting that draws more than W on average\n"                          \
    "  --host-watts W     power of the rest of the node, counted into the choice\n"                \
    "  --eta X            of eta: 0 (time alone) to 1 (energy alone), 0.5 by default\n"            \
    "  --price-kwh P      of cost: what a kWh costs\n"                                             \
    "  --price-hour P     of cost: what an hour of the machine costs, in the same\n"               \
    "                     currency\n"                                                              \
    "  --carbon-intensity G  of carbon: g CO2e a kWh\n"
/* clang-format on */

/* NaN: not given, until cli_goal_check(). */
void cli_goal_init(struct wt_goal *goal);
/* Takes one of these options or of the bed's, where no others are left. Returns -1, or an exit
 * code: a mistake, of which it has told. */
int cli_goal_option_last(const char *command, int c, const char *arg, struct wt_goal *goal,
                         struct cli_bed *bed);
/* Whether the options given make a goal, and the defaults of those that were not. has_params: not
 * only settings of devices are varied, so that the fastest is a question by itself.
 * Errors: WT_E_USAGE. */
int cli_goal_check(struct wt_goal *goal, bool has_params, struct wt_error *err);
/* Eta weighs time with the highest power there can be: the highest limits of all GPUs added up. Any
 * other objective does without. Errors: WT_E_UNSUPPORTED. */
int cli_goal_power(struct wt_goal *goal, const struct cli_bed *bed, struct wt_error *err);

#endif
