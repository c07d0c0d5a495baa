/* bed: the emulation, context and devices that a command line asks for. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"

int cli_sysroot_check(const char *sysroot, struct wt_error *err)
{
    if (!sysroot || *sysroot)
        return 0;
    snprintf(err->text, sizeof(err->text), "--sysroot: the name of a directory is missing");
    snprintf(err->fix, sizeof(err->fix), "--sysroot DIR, or leave it out for this machine");
    return err->code = WT_E_USAGE;
}

#define NAMED_NS INT64_C(1000000000) /* after which who is waited for is named */

struct waiting {
    const char *named;
    int asked;
};

/* Signals that end us are blocked by now, and nobody takes them before the command runs. */
static bool on_wait(void *data, const char *what, int64_t waited_ns)
{
    struct waiting *w = data;
    if (waited_ns >= NAMED_NS && w->named != what) {
        cli_note("waiting for `%.200s`", what);
        w->named = what;
    }
    w->asked = cli_signal_wait(cli_now_ns() + 1000000);
    return !w->asked;
}

/* Ends as if the signal had not been blocked. */
static void die_by(struct cli_bed *bed, int number)
{
    sigset_t one;
    cli_bed_close(bed);
    sigemptyset(&one);
    sigaddset(&one, number);
    signal(number, SIG_DFL);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    _exit(128 + number);
}

int cli_bed_open(struct cli_bed *bed, struct wt_error *err)
{
    int rc = cli_sysroot_check(bed->sysroot, err);
    if (rc < 0)
        return rc;
    const char *outer = getenv("WATTUNE_EMULATION");
    if (bed->emulate && outer && *outer) {
        snprintf(err->text, sizeof(err->text),
                 "--emulate %.60s: this already runs inside an emulation (%.200s)", bed->emulate,
                 outer);
        snprintf(err->fix, sizeof(err->fix), "leave --emulate out");
        return err->code = WT_E_USAGE;
    }
    if (bed->sensor_count && (bed->emulate || (outer && *outer))) {
        snprintf(
            err->text, sizeof(err->text),
            "--sensor-command: what it reads is real, and emulated and real energies are never "
            "in one set");
        snprintf(err->fix, sizeof(err->fix), "leave one of the two out");
        return err->code = WT_E_USAGE;
    }
    if (bed->emulate) {
        struct wt_emulation_options options = {.faults = bed->faults, .seed = bed->emulation_seed};
        rc = wt_emulation_start(&bed->emulation, bed->emulate, &options, err);
        if (rc < 0)
            return rc;
        rc = wt_emulation_setenv(bed->emulation, err);
        if (rc < 0)
            return rc;
    }
    const char *spec =
        bed->emulation ? wt_emulation_spec(bed->emulation) : getenv("WATTUNE_EMULATION_SPEC");
    if (spec)
        snprintf(bed->emulation_name, sizeof(bed->emulation_name), "%s", spec);

    struct wt_ctx_options options = {.log = cli_log, .sysroot = bed->sysroot};
    if (bed->emulation)
        options.nvml_library = wt_emulation_library(bed->emulation);
    rc = wt_ctx_new(&bed->ctx, &options, err);
    if (rc < 0)
        return rc;
    struct waiting waiting = {0};
    struct wt_devices_options which = {.gpus = bed->gpus,
                                       .commands = bed->sensors,
                                       .command_count = bed->sensor_count,
                                       .is_command_optional = bed->is_sensor_optional,
                                       .on_wait = on_wait,
                                       .wait_data = &waiting};
    rc = wt_devices_open(&bed->devices, bed->ctx, &which, err);
    if (rc < 0 && waiting.asked)
        die_by(bed, waiting.asked);
    return rc;
}

int cli_bed_option(const char *command, int c, const char *arg, struct cli_bed *bed)
{
    switch (c) {
    case BED_GPU:
        bed->gpus = arg;
        return -1;
    case BED_EMULATE:
        bed->emulate = arg;
        return -1;
    case BED_FAULT:
        bed->faults = arg;
        return -1;
    case BED_SENSOR_COMMAND:
        if (bed->sensor_count == CLI_SENSORS_MAX)
            return cli_usage(command, "--sensor-command: more than %d sensors", CLI_SENSORS_MAX);
        bed->sensors[bed->sensor_count++] = arg;
        return -1;
    case BED_SYSROOT:
        bed->sysroot = arg;
        return -1;
    default:
        return CLI_OTHER;
    }
}

int cli_bed_option_last(const char *command, int c, const char *arg, struct cli_bed *bed)
{
    int code = cli_bed_option(command, c, arg, bed);
    return code == CLI_OTHER ? cli_bad_option(command) : code;
}

int cli_bed_check(const char *command, const struct cli_bed *bed)
{
    if (!bed->faults || bed->emulate)
        return -1;
    return cli_usage(command, "--fault needs --emulate: real devices have their own");
}

void cli_bed_close(struct cli_bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    wt_emulation_free(bed->emulation);
    bed->devices = NULL;
    bed->ctx = NULL;
    bed->emulation = NULL;
}
