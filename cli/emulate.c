/* emulate: run a command on emulated GPUs, and write down the truth about them afterwards. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const char usage[] =
    "usage: wattune emulate PROFILE[:N][,PROFILE...] [OPTIONS] -- CMD [ARG...]\n"
    "       wattune emulate --list\n\n"
    "Runs CMD on emulated GPUs: every NVML client among it and its children sees\n"
    "them, and `wattune bench --device emu` computes on them. CMD has this terminal,\n"
    "and its exit code is passed on.\n\n"
    "  --truth FILE     write the exact joules of each GPU and of each load to FILE\n"
    "                   (JSON), also when CMD fails\n"
    "  --fault FAULT    make something go wrong; may be repeated (docs/emulator.md),\n"
    "                   as in lost@5s:gpu=1 or\n"
    "                   denied:nvmlDeviceSetPowerManagementLimit\n"
    "  --seed N         the same devices again: UUIDs, sensor phases and gains\n"
    "  --unprivileged   refuse settings, as for an ordinary user\n"
    "  --list           the profiles there are\n"
    "  --help           this text\n";

enum { OPT_TRUTH = 256, OPT_FAULT, OPT_SEED, OPT_UNPRIVILEGED, OPT_LIST, OPT_HELP };

static const struct option options[] = {
    {"truth", required_argument, NULL, OPT_TRUTH},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"unprivileged", no_argument, NULL, OPT_UNPRIVILEGED},
    {"list", no_argument, NULL, OPT_LIST},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct request {
    const char *spec, *truth;
    char faults[2048];
    struct wt_emulation_options options;
    bool is_list, is_help;
};

static int list_profiles(void)
{
    const char *const *names = wt_emulation_profiles();
    for (size_t i = 0; names[i]; i++)
        printf("%-20s %s\n", names[i], wt_emulation_profile_title(names[i]));
    return CLI_OK;
}

/* Options may stand before and after PROFILE, up to "--". Returns an exit code, -1 to go on. */
static int read_options(int argc, char **argv, struct request *r)
{
    for (;;) {
        int o = getopt_long(argc, argv, "+h", options, NULL);
        switch (o) {
        case -1:
            /* getopt stops at PROFILE too; "--" before optind ends the options. */
            if (optind >= argc || strcmp(argv[optind - 1], "--") == 0)
                return -1;
            if (r->spec)
                return cli_usage("emulate", "\"%s\": the command comes after --", argv[optind]);
            r->spec = argv[optind++];
            break;
        case OPT_TRUTH:
            r->truth = optarg;
            break;
        case OPT_FAULT: {
            size_t used = strlen(r->faults);
            int n = snprintf(r->faults + used, sizeof(r->faults) - used, "%s%s", used ? "," : "",
                             optarg);
            if (n < 0 || (size_t)n >= sizeof(r->faults) - used)
                return cli_usage("emulate", "--fault: too many faults");
            break;
        }
        case OPT_SEED: {
            char *end;
            r->options.seed = strtoull(optarg, &end, 10);
            if (*optarg < '0' || *optarg > '9' || *end || r->options.seed == 0)
                return cli_usage("emulate", "--seed %s: not a whole number from 1 up", optarg);
            break;
        }
        case OPT_UNPRIVILEGED:
            r->options.is_unprivileged = true;
            break;
        case OPT_LIST:
            r->is_list = true;
            break;
        case OPT_HELP:
        case 'h':
            r->is_help = true;
            break;
        default:
            return cli_bad_option("emulate");
        }
    }
}

int cmd_emulate(int argc, char **argv)
{
    struct request r = {0};
    struct wt_error err = {0};
    struct wt_emulation *emulation = NULL;
    struct cli_child child = {.signal_fd = -1, .output_fd = -1, .terminal_fd = -1};
    int code = read_options(argc, argv, &r);
    if (code >= 0)
        return code;
    if (r.is_help) {
        fputs(usage, stdout);
        return CLI_OK;
    }
    if (r.is_list)
        return list_profiles();
    if (!r.spec)
        return cli_usage("emulate", "no PROFILE; `wattune emulate --list` names them");
    if (optind >= argc)
        return cli_usage("emulate", "no command: wattune emulate %s -- CMD", r.spec);
    if (cli_output_check("--truth", r.truth, &err) < 0)
        return cli_fail("emulate", &err);

    r.options.faults = r.faults[0] ? r.faults : NULL;
    if (wt_emulation_start(&emulation, r.spec, &r.options, &err) < 0 ||
        wt_emulation_setenv(emulation, &err) < 0) {
        code = cli_fail("emulate", &err);
        goto out;
    }
    if (cli_child_start(&child, argv + optind, &err) < 0) {
        cli_fail("emulate", &err);
        code = err.code == WT_E_NOTFOUND ? 127 : 126;
        goto out;
    }
    cli_child_wait(&child, INT64_MAX);
    code = cli_child_exit_code(&child);
    if (r.truth && wt_emulation_truth(emulation, r.truth, &err) < 0) {
        int bad = cli_fail("emulate", &err);
        code = code ? code : bad;
    }
    cli_child_done(&child);
out:
    wt_emulation_free(emulation);
    return code;
}
