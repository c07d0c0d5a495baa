/* wattune run: run a command as if Wattune were not there, and say what it took. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "ranks.h"
#include "tap.h"

#define MAX_SETS 8

static void print_help(void)
{
    fputs("usage: wattune run [OPTION...] [--] CMD [ARG...]\n\n"
          "Runs CMD with its terminal, input, signals and exit code untouched and prints\n"
          "the energy, mean power, time and energy per unit of work it took, each energy\n"
          "with its 95 % interval and where it comes from. The run is stored: see `wattune\n"
          "runs`.\n\n"
          "  --set KNOB=V    hold a setting while CMD runs and put it back (power=150,\n"
          "                  cpu-freq=2400, governor=powersave; repeatable; the knobs are\n"
          "                  in `wattune set --help`)\n"
          "  --gpu LIST      only these GPUs: indices or UUIDs (default:\n"
          "                  $CUDA_VISIBLE_DEVICES, else all)\n"
          "  --tag NAME      a word to find this run by\n"
          "  --json          one JSON document on stdout; CMD's own stdout then goes to\n"
          "                  stderr\n"
          "  --json=FILE     the document goes to FILE and CMD keeps its stdout\n"
          "  --progress RE   CMD's stdout says its step: RE's group 1, 'step (\\d+)'\n"
          "  --work UNIT=N   each step is worth N units: tokens=4096\n"
          "  --mark RE       a line of CMD's stdout begins a phase named by RE's group 1\n"
          "  --nvtx          CMD's NVTX ranges are its phases; a range named \"step\"\n"
          "                  counts a step\n"
          "  --nvtx-step NAME  this range counts a step instead\n"
          "  --emulate SPEC  on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
          "  --fault SPEC    a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --period TIME   polling period (default 100ms)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                  [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable)\n"
          "  --each-rank     of many ranks (srun, mpirun) each measures for itself; else\n"
          "                  the first of each node measures, and the others are CMD at\n"
          "                  once\n"
          "  --nodes-wait TIME  how long the first node waits for the others' records to\n"
          "                  print the sum (default 10s; 0s: not at all)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --no-store      do not store the run\n"
          "  --verbose       also what measuring cost, the cross-checks, phases and who\n"
          "                  used what\n"
          "  --quiet         no summary\n"
          "  --help          this text\n\n"
          "Exit code: CMD's own (128+n when it died by signal n); 127 no such command, 126\n"
          "not executable; before CMD starts 1 failure, 2 usage, 3 not permitted, 4 no such\n"
          "sensor or knob.\n",
          stdout);
}

struct run_options {
    struct cli_bed bed;
    struct cli_setting sets[MAX_SETS];
    size_t set_count;
    const char *tag, *json_path, *progress, *mark, *nvtx_step;
    char work_unit[32];
    uint64_t work_per_step;
    bool is_each_rank;
    int64_t nodes_wait_ns;
    bool is_json, is_nvtx, is_verbose, is_quiet, is_without_store;
    int64_t period_ns;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct run_options *o)
{
    enum {
        SET = 256,
        TAG,
        JSON,
        PERIOD,
        NO_STORE,
        PROGRESS,
        MARK,
        NVTX,
        NVTX_STEP,
        WORK,
        EACH_RANK,
        NODES_WAIT,
        VERBOSE,
        QUIET,
        HELP
    };
    static const struct option options[] = {
        BED_OPTIONS,
        {"set", required_argument, NULL, SET},
        {"progress", required_argument, NULL, PROGRESS},
        {"mark", required_argument, NULL, MARK},
        {"nvtx", no_argument, NULL, NVTX},
        {"nvtx-step", required_argument, NULL, NVTX_STEP},
        {"work", required_argument, NULL, WORK},
        {"tag", required_argument, NULL, TAG},
        {"json", optional_argument, NULL, JSON},
        {"period", required_argument, NULL, PERIOD},
        {"no-store", no_argument, NULL, NO_STORE},
        {"each-rank", no_argument, NULL, EACH_RANK},
        {"nodes-wait", required_argument, NULL, NODES_WAIT},
        {"verbose", no_argument, NULL, VERBOSE},
        {"quiet", no_argument, NULL, QUIET},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct wt_error err = {0};
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case SET:
            if (o->set_count == MAX_SETS)
                return cli_usage("run", "--set: more than %d settings", MAX_SETS);
            if (cli_setting_parse(optarg, &o->sets[o->set_count], &err) < 0)
                return cli_fail("run", &err);
            if (o->sets[o->set_count++].count != 1)
                return cli_usage("run",
                                 "--set %s: a run has one value a knob; `wattune sweep` takes "
                                 "several",
                                 optarg);
            for (size_t i = 0; i + 1 < o->set_count; i++)
                if (o->sets[i].knob == o->sets[o->set_count - 1].knob)
                    return cli_usage("run", "--set %s: this knob is given twice", optarg);
            break;
        case PROGRESS:
            o->progress = optarg;
            break;
        case MARK:
            o->mark = optarg;
            break;
        case NVTX_STEP:
            if (!*optarg)
                return cli_usage("run", "--nvtx-step: needs the name of a range");
            o->nvtx_step = optarg;
            o->is_nvtx = true;
            break;
        case NVTX:
            o->is_nvtx = true;
            break;
        case WORK:
            if (cli_work_parse(optarg, o->work_unit, sizeof(o->work_unit), &o->work_per_step,
                               &err) < 0)
                return cli_fail("run", &err);
            break;
        case TAG:
            if (!*optarg)
                return cli_usage("run", "--tag: an empty tag names nothing");
            o->tag = optarg;
            break;
        case JSON:
            o->is_json = true;
            o->json_path = optarg && strcmp(optarg, "-") == 0 ? NULL : optarg;
            break;
        case PERIOD:
            if (cli_duration_parse("--period", optarg, &o->period_ns, &err) < 0)
                return cli_fail("run", &err);
            if (o->period_ns < 1000000 || o->period_ns > INT64_C(60000000000))
                return cli_usage("run", "--period %s: between 1ms and 60s", optarg);
            break;
        case NO_STORE:
            o->is_without_store = true;
            break;
        case EACH_RANK:
            o->is_each_rank = true;
            break;
        case NODES_WAIT:
            if (cli_duration_parse("--nodes-wait", optarg, &o->nodes_wait_ns, &err) < 0)
                return cli_fail("run", &err);
            break;
        case VERBOSE:
            o->is_verbose = true;
            break;
        case QUIET:
            o->is_quiet = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_bed_option_last("run", c, optarg, &o->bed);
            if (code >= 0)
                return code;
        }
    }
    code = cli_bed_check("run", &o->bed);
    if (code >= 0)
        return code;
    if (cli_tap_check(o->progress, o->mark, &err) < 0)
        return cli_fail("run", &err);
    if (optind == argc)
        return cli_usage("run", "no command to run: wattune run -- CMD");
    return -1;
}

/* The document to stdout, or whole to a file. What cannot be written is said, and leaves CMD its
 * exit code. */
static void write_json(const struct wt_run *run, const char *path)
{
    struct wt_error err = {0};
    char *json = wt_run_to_json(run), *text = NULL;
    if (json && asprintf(&text, "%s\n", json) < 0)
        text = NULL;
    if (!text)
        cli_note("the JSON document could not be written: no memory");
    else if (path && wt_file_write(path, text, &err) < 0)
        cli_note("the JSON document could not be written: %s", err.text);
    else if (!path && (fputs(text, stdout) < 0 || fflush(stdout) != 0)) {
        cli_note("the JSON document could not be written: %s", strerror(errno));
        __fpurge(stdout); /* what is left of it would be tried again, and end us with a failure */
        clearerr(stdout);
    }
    free(text);
    free(json);
}

static unsigned count_others(void *data, struct wt_run *run)
{
    struct cli_ranks *ranks = data;
    unsigned running = cli_ranks_running(ranks);
    cli_ranks_tell(ranks, run);
    return running;
}

int cmd_run(int argc, char **argv)
{
    struct run_options o = {.nodes_wait_ns = INT64_C(10000000000)};
    struct cli_ranks ranks = {0};
    struct cli_measure m = {0};
    struct wt_lease *lease = NULL;
    struct wt_run run = {0};
    struct wt_error err = {0};
    bool is_measuring = false;

    int code = parse(argc, argv, &o);
    if (code >= 0)
        goto out;
    char **command = argv + optind;
    int rc = 0;
    if (!o.is_each_rank)
        cli_ranks_find(&ranks);
    if (ranks.is_many && o.bed.emulate) {
        code = cli_usage("run",
                         "--emulate is of one process; of many ranks emulate what starts "
                         "them: wattune emulate %s -- mpirun ... wattune run -- CMD",
                         o.bed.emulate);
        goto out;
    }
    if (ranks.is_many && o.is_nvtx)
        rc = cli_inject_nvtx(o.nvtx_step, &err);
    if (rc == 0 && ranks.is_many && !ranks.is_first_here) {
        code = cli_ranks_step_aside(&ranks, command);
        goto out;
    }
    if (rc == 0 && ranks.is_many) {
        cli_ranks_gather(&ranks);
        m.door = ranks.dir[0] ? ranks.dir : NULL;
        m.count_others = count_others;
        m.others_data = &ranks;
        if (!o.bed.gpus && ranks.gpus[0])
            o.bed.gpus = ranks.gpus;
        cli_ranks_tell(&ranks, &run);
    }
    if (rc == 0)
        rc = cli_signals_block(&err);
    if (rc == 0)
        rc = cli_bed_open(&o.bed, &err);
    if (rc == 0)
        rc = cli_output_check("--json", o.json_path, &err);
    if (rc == 0 && o.is_nvtx && !ranks.is_many)
        rc = cli_inject_nvtx(o.nvtx_step, &err);
    if (rc < 0) {
        code = cli_fail("run", &err);
        goto out;
    }
    snprintf(run.tag, sizeof(run.tag), "%s", o.tag ? o.tag : "");
    if (o.set_count) {
        rc = wt_lease_open(&lease, o.bed.ctx, o.bed.devices, NULL, &err);
        for (size_t i = 0; rc == 0 && i < o.set_count; i++)
            rc = cli_apply(&o.bed, lease, o.sets[i].knob, o.sets[i].values[0], &run, &err);
        if (rc < 0) {
            code = cli_fail("run", &err);
            goto out;
        }
    }
    is_measuring = true;
    rc = cli_measure_open(&m, &o.bed, o.is_without_store, o.period_ns, &err);
    if (rc < 0) {
        code = cli_fail("run", &err);
        goto out;
    }
    m.lease = lease;
    m.is_stdout_moved = o.is_json && !o.json_path;
    m.is_quiet = o.is_quiet;
    m.progress = o.progress;
    m.mark = o.mark;
    m.work_unit = o.work_per_step ? o.work_unit : NULL;
    m.work_per_step = o.work_per_step;

    rc = cli_measure_run(&m, command, &run, NULL, &err);
    if (rc < 0) {
        code = cli_fail("run", &err);
        if (run.exit_code)
            code = run.exit_code;
        goto out;
    }
    code = run.exit_code;
    if (m.others)
        cli_note("%u other rank%s of this node still ran: what it drew after this one's end is "
                 "not counted",
                 m.others, m.others > 1 ? "s" : "");
    if (!o.is_quiet) {
        struct wt_term term;
        wt_term_init(&term, stderr);
        wt_report_run(&term, &run, o.is_verbose);
    }
    if (o.is_json)
        write_json(&run, o.json_path);
    if (ranks.is_first_of_all && ranks.nodes != 1 && !o.is_quiet && o.nodes_wait_ns > 0)
        cli_ranks_sum(&ranks, m.store, &run, o.nodes_wait_ns);
out:
    if (is_measuring)
        cli_measure_close(&m);
    struct wt_error back = {0};
    if (wt_lease_close(lease, &back) < 0)
        cli_note("not everything was put back: %s", back.text);
    cli_bed_close(&o.bed);
    for (size_t i = 0; i < o.set_count; i++)
        cli_setting_done(&o.sets[i]);
    wt_run_done(&run);
    return code;
}
