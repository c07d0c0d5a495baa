/* sweep_options: the command line of `wattune sweep`. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"
#include "tap.h"

static void print_help(void)
{
    fputs("usage: wattune sweep [OPTION...] [--] CMD [ARG...]\n\n"
          "Runs CMD at every setting in random order, compares time, energy and mean power\n"
          "with the default setting, and says which one to use. CMD should do the same work\n"
          "each time, or tell how much it did.\n\n"
          "  --set KNOB=V,...   settings to compare: power=100,150,200 or power=100:250:25\n"
          "                     (repeatable: all combinations). KNOB is power, clock,\n"
          "                     memclock, cpu-power, cpu-freq, dram-power, or by name\n"
          "                     governor=performance,powersave and\n"
          "                     epp=performance,balance_power. power=auto: 40, 60, 80 and\n"
          "                     100 % of the default limit, as the paper did. Default:\n"
          "                     power=auto\n"
          "  --param NAME=V,... a parameter of CMD: {NAME} in its arguments is each value\n"
          "                     in turn, a word or a number (batch=8,16,32 or\n"
          "                     batch=8:32:8). Repeatable, with --set too: all\n"
          "                     combinations, of 4 altogether. The first value is the\n"
          "                     reference\n"
          "  --needs NAME=V:N,...  how much of CMD's work each value of a parameter needs,\n"
          "                     in any unit (batch=8:3,16:3.4 epochs to the same loss):\n"
          "                     times and energies are multiplied by it\n"
          "  --repeats N        runs at each setting (default 3)\n"
          "  --precision PCT    repeat until every ratio that matters is known to PCT (1%);\n"
          "                     --repeats is then the least (default 2)\n"
          "  --repeats-max N    but no more than N (default 10)\n"
          "  --settle TIME      first run CMD at the default setting, for TIME at most,\n"
          "                     until temperature and clock drift no more; these runs do\n"
          "                     not count\n" GOAL_HELP
          "  --seed N           of the random order, and of the boards that --emulate draws\n"
          "                     (default: from the clock; printed)\n"
          "  --dry-run          print the plan and how long it will take, and run nothing\n"
          "  --resume SWEEP     go on with a sweep that was interrupted, by its name or\n"
          "                     \"last\": give what it was begun with, and the runs that\n"
          "                     are stored are not made again\n"
          "  --progress RE      CMD's stdout says its step: RE's group 1, 'step (\\d+)'\n"
          "  --work UNIT=N      each step is worth N units: tokens=4096\n"
          "  --slurm            each run is a task of a job array on the nodes of a Slurm\n"
          "                     cluster; the records come back through a folder that both\n"
          "                     see, and a task that was lost is submitted again. After\n"
          "                     Ctrl-C the jobs go on: --resume collects them\n"
          "  --sbatch-option OPTION  with --slurm: an option for sbatch,\n"
          "                     --sbatch-option=--gres=gpu:1 (repeatable)\n"
          "  --slurm-folder DIR  with --slurm: that folder is made in DIR (default: beside\n"
          "                     the store)\n"
          "  --resubmit N       with --slurm: a task that was lost (its node failed, it was\n"
          "                     preempted) is begun again N times at most (default 2)\n"
          "  --slurm-task DIR   in the jobs of --slurm: make the run that Slurm's number of\n"
          "                     the task says\n"
          "  --gpu LIST         only these GPUs: indices or UUIDs\n"
          "  --tag NAME         a word to find these runs by\n"
          "  --report FILE      where the HTML report goes (default wattune-report.html; -\n"
          "                     for none)\n"
          "  --csv FILE         the measured points as CSV (power_w,time_s,energy_j)\n"
          "  --json             one JSON document on stdout\n"
          "  --emulate SPEC     on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
          "  --fault SPEC       a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --measure-only     when settings may not be changed, or there are none,\n"
          "                     measure the present one alone\n"
          "  --show-output      let CMD write to the terminal (default: to a log, shown\n"
          "                     when it fails)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                     [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable;\n"
          "                     watts rather than kWh, which moves too seldom)\n"
          "  --sysroot DIR      read /proc and /sys below DIR\n"
          "  --no-store         do not store the runs\n"
          "  --help             this text\n\n"
          "Every setting is put back at the end, also after Ctrl-C or kill -9. Exit code:\n"
          "0, 1 failure (also when a run of CMD failed), 2 usage, 3 not permitted, 4 no\n"
          "such sensor or knob; 130 or 143 when interrupted.\n",
          stdout);
}

int cli_sweep_parse(int argc, char **argv, struct sweep_options *o)
{
    enum {
        SET = 256,
        REPEATS,
        REPEATS_MAX,
        PRECISION,
        SETTLE,
        PARAM,
        NEEDS,
        DRY_RUN,
        RESUME,
        SEED,
        PROGRESS,
        WORK,
        TAG,
        REPORT,
        CSV,
        JSON,
        MEASURE_ONLY,
        SHOW_OUTPUT,
        NO_STORE,
        SLURM,
        SBATCH_OPTION,
        SLURM_FOLDER,
        RESUBMIT,
        SLURM_TASK,
        HELP
    };
    static const struct option options[] = {
        BED_OPTIONS,
        {"set", required_argument, NULL, SET},
        {"repeats", required_argument, NULL, REPEATS},
        {"repeats-max", required_argument, NULL, REPEATS_MAX},
        {"precision", required_argument, NULL, PRECISION},
        {"settle", required_argument, NULL, SETTLE},
        {"param", required_argument, NULL, PARAM},
        {"needs", required_argument, NULL, NEEDS},
        {"dry-run", no_argument, NULL, DRY_RUN},
        {"resume", required_argument, NULL, RESUME},
        {"seed", required_argument, NULL, SEED},
        {"progress", required_argument, NULL, PROGRESS},
        {"work", required_argument, NULL, WORK},
        {"tag", required_argument, NULL, TAG},
        {"report", required_argument, NULL, REPORT},
        {"csv", required_argument, NULL, CSV},
        {"json", no_argument, NULL, JSON},
        {"measure-only", no_argument, NULL, MEASURE_ONLY},
        {"show-output", no_argument, NULL, SHOW_OUTPUT},
        {"no-store", no_argument, NULL, NO_STORE},
        {"slurm", no_argument, NULL, SLURM},
        {"sbatch-option", required_argument, NULL, SBATCH_OPTION},
        {"slurm-folder", required_argument, NULL, SLURM_FOLDER},
        {"resubmit", required_argument, NULL, RESUBMIT},
        {"slurm-task", required_argument, NULL, SLURM_TASK},
        {"help", no_argument, NULL, HELP},
        GOAL_OPTIONS,
        {0},
    };
    const char *needs[MAX_AXES];
    size_t need_count = 0;
    struct wt_error err = {0};
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        char *end = NULL;
        switch (c) {
        case SET:
            if (strcmp(optarg, "power=auto") == 0) {
                o->is_auto = true;
                break;
            }
            if (o->set_count + o->param_count == MAX_AXES)
                return cli_usage("sweep", "--set and --param: more than %d altogether", MAX_AXES);
            if (cli_setting_parse(optarg, &o->sets[o->set_count], &err) < 0)
                return cli_fail("sweep", &err);
            for (size_t i = 0; i < o->set_count; i++)
                if (o->sets[i].knob == o->sets[o->set_count].knob)
                    return cli_usage("sweep", "--set %s: this knob is given twice", optarg);
            o->set_count++;
            break;
        case REPEATS:
        case REPEATS_MAX: {
            long n = strtol(optarg, &end, 10);
            if (end == optarg || *end || n < 1 || n > 1000)
                return cli_usage("sweep", "--repeats%s %s: a number from 1 to 1000",
                                 c == REPEATS ? "" : "-max", optarg);
            *(c == REPEATS ? &o->repeats : &o->repeats_max) = (unsigned)n;
            break;
        }
        case PRECISION:
            o->precision = strtod(optarg, &end) / 100;
            if (end == optarg || (*end && strcmp(end, "%") != 0) ||
                !(o->precision > 0 && o->precision < 1))
                return cli_usage("sweep", "--precision %s: a percentage above 0, such as 1%%",
                                 optarg);
            break;
        case SETTLE:
            if (cli_duration_parse("--settle", optarg, &o->settle_ns, &err) < 0)
                return cli_fail("sweep", &err);
            break;
        case PARAM:
            if (o->set_count + o->param_count == MAX_AXES)
                return cli_usage("sweep", "--set and --param: more than %d altogether", MAX_AXES);
            if (cli_param_parse(optarg, &o->params[o->param_count], &err) < 0)
                return cli_fail("sweep", &err);
            o->param_count++;
            for (size_t i = 0; i + 1 < o->param_count; i++)
                if (strcmp(o->params[i].name, o->params[o->param_count - 1].name) == 0)
                    return cli_usage("sweep", "--param %s: this parameter is given twice", optarg);
            break;
        case NEEDS: /* the parameter may come behind it */
            if (need_count == MAX_AXES)
                return cli_usage("sweep", "--needs: more than %d", MAX_AXES);
            needs[need_count++] = optarg;
            break;
        case DRY_RUN:
            o->is_dry_run = true;
            break;
        case RESUME:
            o->resume = optarg;
            o->resume_at = optind;
            break;
        case SEED:
            errno = 0;
            o->seed = strtoull(optarg, &end, 10);
            if (end == optarg || *end || errno || *optarg == '-' || !o->seed || o->seed > INT64_MAX)
                return cli_usage("sweep", "--seed %s: a whole number above 0 and below 2^63",
                                 optarg);
            o->has_seed = true;
            break;
        case PROGRESS:
            o->progress = optarg;
            break;
        case WORK:
            if (cli_work_parse(optarg, o->work_unit, sizeof(o->work_unit), &o->work_per_step,
                               &err) < 0)
                return cli_fail("sweep", &err);
            break;
        case TAG:
            o->tag = optarg;
            break;
        case REPORT:
            o->report = optarg;
            break;
        case CSV:
            o->csv = optarg;
            break;
        case JSON:
            o->is_json = true;
            break;
        case MEASURE_ONLY:
            o->is_measure_only = true;
            break;
        case SHOW_OUTPUT:
            o->is_output_shown = true;
            break;
        case NO_STORE:
            o->is_without_store = true;
            break;
        case SLURM:
            o->slurm.is_asked = true;
            break;
        case SBATCH_OPTION:
            code = cli_sweep_sbatch_option(o, optarg);
            if (code >= 0)
                return code;
            break;
        case SLURM_FOLDER:
            o->slurm.folder = optarg;
            break;
        case RESUBMIT: {
            long n = strtol(optarg, &end, 10);
            if (end == optarg || *end || n < 0 || n > 100)
                return cli_usage("sweep", "--resubmit %s: a number from 0 to 100", optarg);
            o->slurm.resubmit = (unsigned)n;
            o->slurm.has_resubmit = true;
            break;
        }
        case SLURM_TASK:
            o->slurm.task = optarg;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_goal_option_last("sweep", c, optarg, &o->goal, &o->bed);
            if (code >= 0)
                return code;
        }
    }
    code = cli_bed_check("sweep", &o->bed);
    if (code >= 0)
        return code;
    bool is_precise = !isnan(o->precision);
    if (o->repeats_max && !is_precise)
        return cli_usage("sweep", "--repeats-max goes with --precision");
    if (!o->repeats)
        o->repeats = is_precise ? 2 : 3;
    if (is_precise && o->repeats < 2)
        return cli_usage("sweep", "--repeats 1: a precision needs 2 at least");
    if (!o->repeats_max)
        o->repeats_max = is_precise && o->repeats < 10 ? 10 : o->repeats;
    if (o->repeats_max < o->repeats)
        return cli_usage("sweep", "--repeats-max %u: less than --repeats %u", o->repeats_max,
                         o->repeats);
    if (o->is_auto && o->set_count)
        return cli_usage("sweep", "--set power=auto stands alone");
    if (o->is_auto && o->param_count == MAX_AXES)
        return cli_usage("sweep", "--set and --param: more than %d altogether", MAX_AXES);
    if (o->resume && o->is_without_store)
        return cli_usage("sweep", "--resume needs the store, and --no-store does without");
    for (size_t i = 0; i < need_count; i++)
        if (cli_needs_parse(needs[i], o->params, o->param_count, &err) < 0)
            return cli_fail("sweep", &err);
    if (cli_goal_check(&o->goal, o->param_count > 0, &err) < 0 ||
        cli_tap_check(o->progress, NULL, &err) < 0)
        return cli_fail("sweep", &err);
    if (optind == argc)
        return cli_usage("sweep", "no command to run: wattune sweep --set power=auto -- CMD");
    if (cli_params_check(o->params, o->param_count, argv + optind, &err) < 0)
        return cli_fail("sweep", &err);
    if (!o->set_count && !o->param_count)
        o->is_auto = true;
    return cli_sweep_slurm_check(o);
}

void cli_sweep_options_done(struct sweep_options *o)
{
    for (size_t i = 0; i < MAX_AXES; i++) {
        cli_setting_done(&o->sets[i]);
        cli_param_done(&o->params[i]);
    }
}
