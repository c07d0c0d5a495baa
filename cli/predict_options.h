/* predict_options: the work that a prediction is of and where it runs, as options that `predict`
 * and `compare` share. */
#ifndef WT_CLI_PREDICT_OPTIONS_H
#define WT_CLI_PREDICT_OPTIONS_H

#include "cli.h"

struct cli_predict {
    const char *command; /* for messages */
    struct wt_work work;
    struct wt_predict_options o;
    struct wt_predict_site site;
    unsigned answer; /* generate: tokens of each; 0: not given */
    uint64_t tokens;
    bool has_dtype;
    const char *pue, *regions, *data; /* borrowed from argv; NULL: not given */
    struct wt_catalogue *catalogue;   /* after cli_predict_open() */
};
#define CLI_PREDICT_INIT(name)                                                                     \
    {                                                                                              \
        .command = (name), .work = {.batch = 8, .seq = 128, .dtype = WT_BF16}, .site = {           \
            NAN,                                                                                   \
            NAN,                                                                                   \
            NAN,                                                                                   \
            NAN,                                                                                   \
            NAN,                                                                                   \
            "",                                                                                    \
            ""                                                                                     \
        }                                                                                          \
    }

enum {
    PREDICT_BATCH = 0x700,
    PREDICT_SEQ,
    PREDICT_NEW,
    PREDICT_DTYPE,
    PREDICT_TOKENS,
    PREDICT_SET,
    PREDICT_GAP,
    PREDICT_HOST_WATTS,
    PREDICT_PUE,
    PREDICT_CARBON,
    PREDICT_REGION,
    PREDICT_PRICE_KWH,
    PREDICT_DATA
};
/* clang-format off */
#define PREDICT_OPTIONS                                                                            \
    {"batch", required_argument, NULL, PREDICT_BATCH},                                             \
    {"seq", required_argument, NULL, PREDICT_SEQ},                                                 \
    {"new", required_argument, NULL, PREDICT_NEW},                                                 \
    {"dtype", required_argument, NULL, PREDICT_DTYPE},                                             \
    {"tokens", required_argument, NULL, PREDICT_TOKENS},                                           \
    {"set", required_argument, NULL, PREDICT_SET},                                                 \
    {"gap", required_argument, NULL, PREDICT_GAP},                                                 \
    {"host-watts", required_argument, NULL, PREDICT_HOST_WATTS},                                   \
    {"pue", required_argument, NULL, PREDICT_PUE},                                                 \
    {"carbon-intensity", required_argument, NULL, PREDICT_CARBON},                                 \
    {"region", required_argument, NULL, PREDICT_REGION},                                           \
    {"price-kwh", required_argument, NULL, PREDICT_PRICE_KWH},                                     \
    {"data", required_argument, NULL, PREDICT_DATA}
/* clang-format on */
/* Their lines in --help. */
extern const char cli_predict_help[];

/* Takes an option. Returns an exit code, -1 when it was taken, CLI_OTHER when it is none. */
int cli_predict_option(int c, const char *arg, struct cli_predict *p);
/* What is done and the model, after the options. Returns an exit code, or -1. */
int cli_predict_work(struct cli_predict *p, int argc, char **argv);
/* Opens the catalogue, and looks up in it what the options name. Returns an exit code, or -1.
 * Either way cli_predict_close(). */
int cli_predict_open(struct cli_predict *p);
void cli_predict_close(struct cli_predict *p);
/* "h100-sxm:4". Returns an exit code, or -1. */
int cli_predict_gpu(const struct cli_predict *p, const char *text, struct wt_gpu *ret_gpu,
                    unsigned *ret_devices);
/* The work as it is done on this GPU: without --dtype by what it has. */
struct wt_work cli_predict_work_on(const struct cli_predict *p, const struct wt_gpu *gpu);
/* A number from low on. Returns an exit code, or -1. */
int cli_predict_number(const struct cli_predict *p, const char *option, const char *text,
                       double low, double *ret_value);

#endif
