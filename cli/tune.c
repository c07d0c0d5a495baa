/* wattune tune: which setting is best, found from few measurements while the command runs, or on
 * recorded points. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "goal.h"
#include "tap.h"
#include "tune.h"

static void print_help(void)
{
    fputs("usage: wattune tune [OPTION...] [--] CMD [ARG...]\n"
          "       wattune tune [OPTION...] --replay FILE.csv\n\n"
          "Runs CMD and finds, without restarting it, the setting that takes the least\n"
          "energy for the same work: a few are tried for some seconds each, the best is\n"
          "held and watched. What was found is put back when CMD ends. CMD tells of its\n"
          "work by a door, NVTX or --progress; when it does not, the cycles of the GPU's\n"
          "clock stand in, and the result says so.\n\n"
          "  --set KNOB=V,...   settings to choose from: power=100:250:10,\n"
          "                     clock=900:1380:60 (repeatable: all combinations). Default:\n"
          "                     power, from the device's lowest to the one that is set\n" GOAL_HELP
          "                     (--host-watts by default: what is measured of it while\n"
          "                     CMD runs)\n"
          "  --probes N         different settings to measure at most, the highest one that\n"
          "                     all are compared with among them (default 6; 4 of up to\n"
          "                     nine limits of power)\n"
          "  --window TIME      length of one measurement at the highest setting (default\n"
          "                     4s)\n"
          "  --settle TIME      between a setting and its measurement (default 1s)\n"
          "  --per-gpu          then each GPU its own setting, one after the other\n"
          "  --fresh            do not begin with what was best for this command before\n"
          "  --progress RE      CMD's stdout says its step: RE's group 1, 'step (\\d+)'\n"
          "  --work UNIT=N      each step is worth N units: tokens=4096\n"
          "  --nvtx             CMD's NVTX range named \"step\" counts a step\n"
          "  --gpu LIST         only these GPUs: indices or UUIDs\n"
          "  --tag NAME         a word to find this run by\n"
          "  --json             one JSON document on stdout; CMD's own stdout goes to\n"
          "                     stderr\n"
          "  --dry-run          show what would be tried; run and change nothing\n"
          "  --replay FILE      search recorded points: a CSV with power_w (clock_mhz, a\n"
          "                     parameter), time_s, energy_j, and what else the man page\n"
          "                     names; `wattune sweep --csv` writes one\n"
          "  --noise PCT        of a replay: the spread of one reading\n"
          "  --emulate SPEC     on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
          "  --fault SPEC       a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                     [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable)\n"
          "  --sysroot DIR      read /proc and /sys below DIR\n"
          "  --no-store         do not store the run, nor what was best\n"
          "  --help             this text\n\n"
          "Exit code: CMD's own once it has run (128+n when it died by signal n; 1 for 0\n"
          "when nothing was found); 127 no such command, 126 not executable; before 1\n"
          "failure, 2 usage, 3 not permitted, 4 no such sensor or knob.\n",
          stdout);
}

static int parse(int argc, char **argv, struct tune_options *o)
{
    enum {
        SET = 256,
        PROBES,
        WINDOW,
        SETTLE,
        PER_GPU,
        FRESH,
        PROGRESS,
        WORK,
        NVTX,
        TAG,
        JSON,
        DRY_RUN,
        REPLAY,
        NOISE,
        NO_STORE,
        HELP
    };
    static const struct option options[] = {
        BED_OPTIONS,
        GOAL_OPTIONS,
        {"set", required_argument, NULL, SET},
        {"probes", required_argument, NULL, PROBES},
        {"window", required_argument, NULL, WINDOW},
        {"settle", required_argument, NULL, SETTLE},
        {"per-gpu", no_argument, NULL, PER_GPU},
        {"fresh", no_argument, NULL, FRESH},
        {"progress", required_argument, NULL, PROGRESS},
        {"work", required_argument, NULL, WORK},
        {"nvtx", no_argument, NULL, NVTX},
        {"tag", required_argument, NULL, TAG},
        {"json", no_argument, NULL, JSON},
        {"dry-run", no_argument, NULL, DRY_RUN},
        {"replay", required_argument, NULL, REPLAY},
        {"noise", required_argument, NULL, NOISE},
        {"no-store", no_argument, NULL, NO_STORE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct wt_error err = {0};
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        char *end = NULL;
        switch (c) {
        case SET:
            if (o->set_count == TUNE_KNOBS)
                return cli_usage("tune", "--set: more than %d knobs", TUNE_KNOBS);
            if (cli_setting_parse(optarg, &o->sets[o->set_count], &err) < 0)
                return cli_fail("tune", &err);
            for (size_t i = 0; i < o->set_count; i++)
                if (o->sets[i].knob == o->sets[o->set_count].knob) {
                    cli_setting_done(&o->sets[o->set_count]);
                    return cli_usage("tune", "--set %s: this knob is given twice", optarg);
                }
            if (wt_knob_is_named(o->sets[o->set_count++].knob))
                return cli_usage("tune",
                                 "--set %s: names have no order to search along; `wattune sweep` "
                                 "compares them",
                                 optarg);
            break;
        case PROBES: {
            long n = strtol(optarg, &end, 10);
            if (end == optarg || *end || n < 2 || n > 60)
                return cli_usage("tune", "--probes %s: a number from 2 to 60", optarg);
            o->probes = (size_t)n;
            break;
        }
        case WINDOW:
        case SETTLE:
            if (cli_duration_parse(c == WINDOW ? "--window" : "--settle", optarg,
                                   c == WINDOW ? &o->window_ns : &o->settle_ns, &err) < 0)
                return cli_fail("tune", &err);
            if (c == WINDOW && o->window_ns < 200000000)
                return cli_usage("tune", "--window %s: 200ms at least, for the sensors to see it",
                                 optarg);
            break;
        case PER_GPU:
            o->is_per_gpu = true;
            break;
        case FRESH:
            o->is_fresh = true;
            break;
        case PROGRESS:
            o->progress = optarg;
            break;
        case WORK:
            if (cli_work_parse(optarg, o->work_unit, sizeof(o->work_unit), &o->work_per_step,
                               &err) < 0)
                return cli_fail("tune", &err);
            break;
        case NVTX:
            o->is_nvtx = true;
            break;
        case TAG:
            o->tag = optarg;
            break;
        case JSON:
            o->is_json = true;
            break;
        case DRY_RUN:
            o->is_dry_run = true;
            break;
        case REPLAY:
            o->replay = optarg;
            break;
        case NOISE:
            o->noise = strtod(optarg, &end) / 100;
            if (end == optarg || (*end && strcmp(end, "%") != 0) ||
                !(o->noise > 0 && o->noise < 0.5))
                return cli_usage("tune", "--noise %s: a percentage above 0, such as 1%%", optarg);
            break;
        case NO_STORE:
            o->is_without_store = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_goal_option_last("tune", c, optarg, &o->goal, &o->bed);
            if (code >= 0)
                return code;
        }
    }
    code = cli_bed_check("tune", &o->bed);
    if (code >= 0)
        return code;
    o->has_host_w = !isnan(o->goal.host_w);
    if (cli_goal_check(&o->goal, false, &err) < 0 || cli_tap_check(o->progress, NULL, &err) < 0)
        return cli_fail("tune", &err);
    if (o->replay) {
        if (optind < argc)
            return cli_usage("tune", "--replay: a file is searched and no command run: %s",
                             argv[optind]);
        if (o->bed.emulate || o->set_count || o->is_per_gpu || o->is_dry_run)
            return cli_usage("tune", "--replay: settings and devices are those of the file; leave "
                                     "out --set, --emulate, --per-gpu and --dry-run");
        return -1;
    }
    if (!isnan(o->noise))
        return cli_usage("tune", "--noise goes with --replay: a running command's is measured");
    if (optind == argc)
        return cli_usage("tune", "no command to run: wattune tune -- CMD, or --replay FILE.csv");
    return -1;
}

int cli_tune_show(const struct tune_options *o, const struct wt_search_result *result,
                  const struct wt_search_story *story)
{
    struct wt_term term;
    wt_term_init(&term, o->is_json || !o->replay ? stderr : stdout);
    wt_report_search(&term, result, story);
    if (!o->is_json)
        return CLI_OK;
    return cli_print_json("tune", wt_search_to_json(result, story));
}

static int replay(struct tune_options *o)
{
    struct wt_replay r = {0};
    struct wt_search_result result;
    struct wt_error err = {0};
    char emulation[sizeof(r.emulation)];
    struct wt_search_options options = {
        .goal = o->goal, .probes_max = o->probes, .repeats_max = 8, .noise = o->noise};
    int rc = wt_replay_read(&r, o->replay, &err);
    if (rc < 0) { /* a file that is not there is no missing sensor */
        struct wt_error said = err;
        snprintf(said.text, sizeof(said.text), "--replay %.*s", (int)sizeof(said.text) - 10,
                 err.text);
        cli_fail("tune", &said);
        return CLI_FAILURE;
    }
    /* Zeus's P: the highest limit there is. */
    options.goal.eta_power_w = r.candidates[r.reference].values[0];
    if (o->goal.objective == WT_OBJECTIVE_ETA && r.axes[0].form != WT_AXIS_POWER) {
        wt_replay_done(&r);
        return cli_usage("tune", "--objective eta: %s has no power_w first, whose highest it needs",
                         o->replay);
    }
    rc = wt_replay_search(&r, &options, &result, &err);
    memcpy(emulation, r.emulation, sizeof(emulation));
    if (rc < 0) {
        wt_replay_done(&r);
        return cli_fail("tune", &err);
    }
    const struct wt_search_story story = {.provenance = WT_PROV_REPLAYED,
                                          .source = o->replay,
                                          .emulation = emulation,
                                          .searched_s = NAN,
                                          .extra_j = NAN,
                                          .remarks = (const char *const *)r.notes,
                                          .remark_count = r.note_count};
    int code = cli_tune_show(o, &result, &story);
    wt_replay_done(&r);
    wt_search_result_done(&result);
    return code;
}

int cmd_tune(int argc, char **argv)
{
    struct tune_options o = {.noise = NAN};
    cli_goal_init(&o.goal);
    int code = parse(argc, argv, &o);
    if (code < 0)
        code = o.replay ? replay(&o) : cli_tune_live(&o, argv + optind);
    for (size_t i = 0; i < o.set_count; i++)
        cli_setting_done(&o.sets[i]);
    return code;
}
