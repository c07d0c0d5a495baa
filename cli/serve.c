/* wattune serve: this machine's energy as metrics for Prometheus and as a page. And, on a node with
 * Slurm, the accounts of its jobs. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define TICK_NS  INT64_C(1000000000)
#define FIRST_NS INT64_C(300000000) /* until the first readings are there */

static void print_help(void)
{
    fputs("usage: wattune serve [OPTION...]\n\n"
          "Measures until it is ended, and answers over HTTP: / is a page of devices,\n"
          "settings that are held, jobs and energy today; /metrics is for Prometheus\n"
          "(docs/serve.md has each); /api/state.json is what the page reads; /health says\n"
          "ok. Anybody who reaches the address may read them, so the default is this\n"
          "machine alone.\n\n"
          "  --listen ADDR:PORT  where to listen (default " WT_SERVE_LISTEN "; port 0: any)\n"
          "  --period TIME       polling period of the sensors (default 100ms)\n"
          "  --gpu LIST          only these GPUs: indices or UUIDs\n"
          "  --jobs DIR          keep the energy of Slurm's jobs, told of by the files in\n"
          "                      DIR\n"
          "                      (default " WT_JOB_FACTS_DIR "; by root, on real devices)\n"
          "  --no-jobs           keep no accounts of jobs\n"
          "  --store FILE        where they are kept (default " WT_JOB_STORE_FILE ")\n"
          "  --push URL          and sent: postgresql://...\n"
          "  --node NAME         what this node is called there (default: the host's name)\n"
          "  --cluster NAME      and its cluster, until a job tells it\n"
          "  --hpc-job-mapping DIR  write the files that dcgm-exporter reads jobs from\n"
          "  --jobs-listed N     running jobs that have metrics of their own (default 64)\n"
          "  --emulate SPEC      serve emulated GPUs: PROFILE[:N]\n"
          "  --fault SPEC        a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                      [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable)\n"
          "  --sysroot DIR       read /proc and /sys below DIR\n"
          "  --help              this text\n\n"
          "Exit code: 0 when SIGTERM or Ctrl-C ended it, 1 failure, 2 usage, 3 not\n"
          "permitted, 4 no such GPU, or no libmicrohttpd.\n",
          stdout);
}

struct serve_options {
    struct cli_bed bed;
    struct wt_serve_options serve;
    struct wt_live_options live;
    struct wt_accounts_options accounts;
    bool is_without_jobs, has_jobs;
};

/* -1: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct serve_options *o)
{
    enum { LISTEN = 256, PERIOD, JOBS, NO_JOBS, STORE, PUSH, NODE, CLUSTER, MAPPING, LISTED, HELP };
    static const struct option options[] = {
        BED_OPTIONS,
        {"listen", required_argument, NULL, LISTEN},
        {"period", required_argument, NULL, PERIOD},
        {"jobs", required_argument, NULL, JOBS},
        {"no-jobs", no_argument, NULL, NO_JOBS},
        {"store", required_argument, NULL, STORE},
        {"push", required_argument, NULL, PUSH},
        {"node", required_argument, NULL, NODE},
        {"cluster", required_argument, NULL, CLUSTER},
        {"hpc-job-mapping", required_argument, NULL, MAPPING},
        {"jobs-listed", required_argument, NULL, LISTED},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct wt_error err = {0};
    double number;
    int c, code;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (c) {
        case LISTEN:
            o->serve.listen = optarg;
            break;
        case PERIOD:
            if (cli_duration_parse("--period", optarg, &o->live.period_ns, &err) < 0)
                return cli_fail("serve", &err);
            if (o->live.period_ns < 1000000 || o->live.period_ns > INT64_C(60000000000))
                return cli_usage("serve", "--period %s: between 1ms and 60s", optarg);
            break;
        case JOBS:
            o->accounts.facts_dir = optarg;
            o->has_jobs = true;
            break;
        case NO_JOBS:
            o->is_without_jobs = true;
            break;
        case STORE:
            o->accounts.store = optarg;
            o->has_jobs = true;
            break;
        case PUSH:
            o->accounts.central = optarg;
            o->has_jobs = true;
            break;
        case NODE:
            o->accounts.node = optarg;
            break;
        case CLUSTER:
            o->accounts.cluster = optarg;
            break;
        case MAPPING:
            o->accounts.mapping_dir = optarg;
            o->has_jobs = true;
            break;
        case LISTED:
            if (!cli_number_parse(optarg, strlen(optarg), &number) || number < 1 || number > 1024 ||
                number != (double)(size_t)number)
                return cli_usage("serve", "--jobs-listed %s: a number from 1 to 1024", optarg);
            o->live.jobs_max = (size_t)number;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_bed_option_last("serve", c, optarg, &o->bed);
            if (code >= 0)
                return code;
        }
    }
    if (optind < argc)
        return cli_usage("serve", "%s: takes no argument", argv[optind]);
    code = cli_bed_check("serve", &o->bed);
    if (code >= 0)
        return code;
    if (o->is_without_jobs && o->has_jobs)
        return cli_usage("serve", "--no-jobs goes with none of --jobs, --store, --push, "
                                  "--hpc-job-mapping");
    return -1;
}

/* Without being asked only where the accounts are of this machine, and may be written. */
static bool keeps_jobs(const struct serve_options *o)
{
    const struct wt_device_info *first = wt_devices_info(o->bed.devices, 0);
    bool is_real = !(first && first->is_emulated) && !o->bed.sysroot;
    return !o->is_without_jobs && (o->has_jobs || (is_real && geteuid() == 0));
}

/* Until a signal ends it. */
static int serve(struct wt_live *live, struct wt_serve *server, struct wt_error *err)
{
    int64_t next_ns = cli_now_ns();
    for (;;) {
        int rc = wt_live_tick(live, err);
        if (rc < 0)
            return rc;
        wt_serve_tick(server);
        next_ns += TICK_NS;
        if (next_ns < cli_now_ns())
            next_ns = cli_now_ns() + TICK_NS; /* the machine slept */
        if (cli_signal_wait(next_ns))
            return 0;
    }
}

int cmd_serve(int argc, char **argv)
{
    struct serve_options o = {0};
    struct wt_live *live = NULL;
    struct wt_serve *server = NULL;
    struct wt_error err = {0};
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;

    int rc = cli_signals_block(&err);
    if (rc == 0)
        rc = cli_bed_open(&o.bed, &err);
    if (rc == 0 && keeps_jobs(&o))
        o.live.accounts = &o.accounts;
    if (rc == 0)
        rc = wt_live_new(&live, o.bed.ctx, o.bed.devices, o.bed.emulation_name, &o.live, &err);
    if (rc == 0) /* before a tick writes rows and removes what told of jobs */
        rc = wt_serve_new(&server, live, &o.serve, &err);
    int asked = rc == 0 ? cli_signal_wait(cli_now_ns() + FIRST_NS) : 0;
    if (rc == 0 && !asked)
        rc = wt_live_tick(live, &err);
    if (rc == 0 && !asked) {
        cli_note("serving %s", wt_serve_url(server));
        rc = serve(live, server, &err);
    }
    code = rc < 0 ? cli_fail("serve", &err) : CLI_OK;
    wt_serve_free(server);
    wt_live_free(live);
    cli_bed_close(&o.bed);
    return code;
}
