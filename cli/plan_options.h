/* plan_options: the options of a plan, shared by the commands that make one. */
#ifndef WT_CLI_PLAN_OPTIONS_H
#define WT_CLI_PLAN_OPTIONS_H

#include <getopt.h>

#include "cli.h"

#define CLI_PLACES_MAX  64
#define CLI_SIGNALS_MAX 128

struct cli_plan {
    const char *command; /* for messages */
    struct wt_job job;
    struct wt_plan_power power;
    struct wt_place places[CLI_PLACES_MAX];
    size_t place_count;
    struct wt_signal *signals[CLI_SIGNALS_MAX]; /* owned */
    size_t signal_count;
    struct { /* not asked yet */
        size_t place;
        enum wt_signal_kind kind;
        const char *source; /* borrowed from argv, as the next */
    } feeds[CLI_SIGNALS_MAX];
    size_t feed_count;
    const char *saves[CLI_SIGNALS_MAX]; /* of --save-signal */
    size_t save_count;
    struct wt_feed_options feed;
    const char *run, *prediction, *deadline;
    bool has_objective, has_start, has_checkpoint, has_segment_min;
};
#define CLI_PLAN_INIT(name)                                                                        \
    {                                                                                              \
        .command = (name),                                                                         \
        .power = {.low_w = NAN, .high_w = NAN, .time_low_s = NAN, .time_high_s = NAN}, .feed = {   \
            .max_age_s = -1                                                                        \
        }                                                                                          \
    }

enum {
    PLAN_SIGNAL = 0x600,
    PLAN_POWER,
    PLAN_DURATION,
    PLAN_RUN,
    PLAN_PREDICTION,
    PLAN_START,
    PLAN_DEADLINE,
    PLAN_INTERRUPTIBLE,
    PLAN_CHECKPOINT,
    PLAN_SEGMENT,
    PLAN_OBJECTIVE,
    PLAN_SAVE,
    PLAN_MAX_AGE,
    PLAN_TIMEOUT
};
/* clang-format off */
#define PLAN_OPTIONS                                                                               \
    {"signal", required_argument, NULL, PLAN_SIGNAL},                                              \
    {"power", required_argument, NULL, PLAN_POWER},                                                \
    {"duration", required_argument, NULL, PLAN_DURATION},                                          \
    {"run", required_argument, NULL, PLAN_RUN},                                                    \
    {"prediction", required_argument, NULL, PLAN_PREDICTION},                                      \
    {"start", required_argument, NULL, PLAN_START},                                                \
    {"deadline", required_argument, NULL, PLAN_DEADLINE},                                          \
    {"interruptible", no_argument, NULL, PLAN_INTERRUPTIBLE},                                      \
    {"checkpoint-cost", required_argument, NULL, PLAN_CHECKPOINT},                                 \
    {"min-segment", required_argument, NULL, PLAN_SEGMENT},                                        \
    {"objective", required_argument, NULL, PLAN_OBJECTIVE},                                        \
    {"save-signal", required_argument, NULL, PLAN_SAVE},                                           \
    {"feed-max-age", required_argument, NULL, PLAN_MAX_AGE},                                       \
    {"feed-timeout", required_argument, NULL, PLAN_TIMEOUT}
/* clang-format on */
/* Their lines in --help. */
extern const char cli_plan_help[];

/* Takes an option. Returns an exit code, -1 when it was taken, CLI_OTHER when it is none. */
int cli_plan_option(int c, const char *arg, struct cli_plan *o);
/* After the last option: whether they go together; reads the signals. An exit code, or -1. */
int cli_plan_check(struct cli_plan *o);
/* What of it concerns the signals: asks the feeds, and writes what --save-signal names. */
int cli_plan_read_feeds(struct cli_plan *o);
/* The plan. An exit code, or -1: *ret_result is owned. */
int cli_plan_make(struct cli_plan *o, struct wt_plan_result *ret_result);
void cli_plan_done(struct cli_plan *o);

/* The same words elsewhere; command is for messages. */
/* A power: "800W", "1.2kW", "2MW", "800". False: it is none. */
bool cli_plan_power(const char *text, bool may_be_none, double *ret_w);
/* A duration in whole seconds. Returns an exit code, or -1. */
int cli_plan_seconds(const char *command, const char *option, const char *text, bool may_be_none,
                     int64_t *ret_s);
/* Tells what is wrong with the file or feed of an option. Returns the exit code. */
int cli_plan_file_failed(const char *command, const char *option, const struct wt_error *err);
/* By the signals that there are. */
enum wt_objective cli_plan_objective_of(const struct wt_place *place);

/* plan_jobs.c: `wattune plan --jobs`, and its options in --help. */
int cmd_plan_jobs(int argc, char **argv);
void plan_jobs_help(void);

#endif
