/* wattune sweep: the paper's experiment on any command - the same work at several settings, in
 * random order and repeated, against the default one. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sweep.h"
#include "tap.h"

static void print_help(void)
{
    fputs(
        "usage: wattune sweep [OPTION...] [--] CMD [ARG...]\n\n"
        "Runs CMD at every setting in random order, compares time, energy and mean power with the\n"
        "default setting, and says which one to use. CMD should do the same work each time.\n\n"
        "  --set KNOB=V,...   settings to compare: power=100,150,200 or power=100:250:25 "
        "(repeatable:\n"
        "                     all combinations). KNOB is power, clock, memclock, cpu-power, "
        "cpu-freq,\n"
        "                     dram-power, or by name governor=performance,powersave and\n"
        "                     epp=performance,balance_power. power=auto: 40, 60, 80 and 100 % of "
        "the\n"
        "                     default limit, as the paper did. Default: power=auto\n"
        "  --repeats N        runs at each setting (default 3)\n"
        "  --precision PCT    repeat until every energy ratio that matters is known to PCT (1%);\n"
        "                     --repeats is then the least (default 2)\n"
        "  --repeats-max N    but no more than N (default 10)\n"
        "  --settle TIME      first run CMD at the default setting, for TIME at most, until "
        "temperature\n"
        "                     and clock drift no more; these runs do not count\n"
        "  --host-watts W     power of the rest of the node for each run, counted into the choice\n"
        "  --seed N           of the random order (default: from the clock; printed)\n"
        "  --progress RE      CMD's stdout says its step: RE's group 1, 'step (\\d+)'\n"
        "  --work UNIT=N      each step is worth N units: tokens=4096\n"
        "  --gpu LIST         only these GPUs: indices or UUIDs\n"
        "  --tag NAME         a word to find these runs by\n"
        "  --report FILE      where the HTML report goes (default wattune-report.html; - for "
        "none)\n"
        "  --csv FILE         the measured points as replay CSV (power_w,time_s,energy_j)\n"
        "  --json             one JSON document on stdout\n"
        "  --emulate SPEC     on emulated GPUs: PROFILE[:N] (`wattune emulate --list`)\n"
        "  --fault SPEC       a fault of the emulated GPUs (docs/emulator.md)\n"
        "  --measure-only     when settings may not be changed, or there are none, measure the "
        "present one\n"
        "                     alone\n"
        "  --show-output      let CMD write to the terminal (default: to a log, shown when it "
        "fails)\n"
        "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
        "                     [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable; watts\n"
        "                     rather than kWh, which moves too seldom)\n"
        "  --sysroot DIR      read /proc and /sys below DIR\n"
        "  --no-store         do not store the runs\n"
        "  --help             this text\n\n"
        "Every setting is put back at the end, also after Ctrl-C or kill -9. Exit code: 0, 1 "
        "failure\n"
        "(also when a run of CMD failed), 2 usage, 3 not permitted, 4 no such sensor or knob; 130 "
        "or 143\n"
        "when interrupted.\n",
        stdout);
}

static int parse(int argc, char **argv, struct sweep_options *o)
{
    enum {
        SET = 256,
        REPEATS,
        REPEATS_MAX,
        PRECISION,
        SETTLE,
        HOST_WATTS,
        SEED,
        GPU,
        PROGRESS,
        WORK,
        TAG,
        REPORT,
        CSV,
        JSON,
        EMULATE,
        FAULT,
        MEASURE_ONLY,
        SHOW_OUTPUT,
        SENSOR_COMMAND,
        SYSROOT,
        NO_STORE,
        HELP
    };
    static const struct option options[] = {
        {"set", required_argument, NULL, SET},
        {"repeats", required_argument, NULL, REPEATS},
        {"repeats-max", required_argument, NULL, REPEATS_MAX},
        {"precision", required_argument, NULL, PRECISION},
        {"settle", required_argument, NULL, SETTLE},
        {"host-watts", required_argument, NULL, HOST_WATTS},
        {"seed", required_argument, NULL, SEED},
        {"gpu", required_argument, NULL, GPU},
        {"progress", required_argument, NULL, PROGRESS},
        {"work", required_argument, NULL, WORK},
        {"tag", required_argument, NULL, TAG},
        {"report", required_argument, NULL, REPORT},
        {"csv", required_argument, NULL, CSV},
        {"json", no_argument, NULL, JSON},
        {"emulate", required_argument, NULL, EMULATE},
        {"fault", required_argument, NULL, FAULT},
        {"measure-only", no_argument, NULL, MEASURE_ONLY},
        {"show-output", no_argument, NULL, SHOW_OUTPUT},
        {"sensor-command", required_argument, NULL, SENSOR_COMMAND},
        {"sysroot", required_argument, NULL, SYSROOT},
        {"no-store", no_argument, NULL, NO_STORE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    struct wt_error err = {0};
    int c;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        char *end = NULL;
        switch (c) {
        case SET:
            if (strcmp(optarg, "power=auto") == 0) {
                o->is_auto = true;
                break;
            }
            if (o->set_count == MAX_SETS)
                return cli_usage("sweep", "--set: more than %d knobs", MAX_SETS);
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
            if (cli_duration_parse(optarg, &o->settle_ns, &err) < 0)
                return cli_fail("sweep", &err);
            break;
        case HOST_WATTS:
            o->host_w = strtod(optarg, &end);
            if (end == optarg || *end || !(o->host_w >= 0 && o->host_w < 1e6))
                return cli_usage("sweep", "--host-watts %s: watts, 0 or more", optarg);
            break;
        case SEED:
            errno = 0;
            o->seed = strtoull(optarg, &end, 10);
            if (end == optarg || *end || errno || *optarg == '-')
                return cli_usage("sweep", "--seed %s: a whole number", optarg);
            break;
        case GPU:
            o->bed.gpus = optarg;
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
        case EMULATE:
            o->bed.emulate = optarg;
            break;
        case FAULT:
            o->bed.faults = optarg;
            break;
        case MEASURE_ONLY:
            o->is_measure_only = true;
            break;
        case SHOW_OUTPUT:
            o->is_output_shown = true;
            break;
        case SENSOR_COMMAND:
            if (!cli_bed_add_sensor(&o->bed, optarg))
                return cli_usage("sweep", "--sensor-command: more than %d sensors",
                                 CLI_SENSORS_MAX);
            break;
        case SYSROOT:
            o->bed.sysroot = optarg;
            break;
        case NO_STORE:
            o->is_without_store = true;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            return cli_bad_option("sweep");
        }
    }
    if (o->bed.faults && !o->bed.emulate)
        return cli_usage("sweep", "--fault needs --emulate: real devices have their own");
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
    if (cli_tap_check(o->progress, NULL, &err) < 0)
        return cli_fail("sweep", &err);
    if (optind == argc)
        return cli_usage("sweep", "no command to run: wattune sweep --set power=auto -- CMD");
    if (!o->set_count)
        o->is_auto = true;
    return -1;
}

/* ---- the child's output ---- */

static int open_log(void)
{
    char path[] = "/tmp/wattune-log-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC | O_APPEND);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static void show_log_end(int fd, off_t from)
{
    char text[2049];
    off_t end = lseek(fd, 0, SEEK_END);
    if (end - from > (off_t)sizeof(text) - 1)
        from = end - (off_t)sizeof(text) + 1;
    ssize_t n = pread(fd, text, sizeof(text) - 1, from);
    if (n <= 0) {
        fputs("  it wrote nothing\n", stderr);
        return;
    }
    text[n] = '\0';
    fputs("  the end of what it wrote:\n", stderr);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        fprintf(stderr, "  | %s\n", line);
}

/* ---- results ---- */

/* What a replay reads: limits of power and clocks, whatever they are limits of. Names are for
 * people alone. */
static const char *csv_column(enum wt_knob knob)
{
    return wt_knob_is_named(knob)                 ? "setting"
           : strcmp(wt_knob_unit(knob), "W") == 0 ? "power_w"
                                                  : "clock_mhz";
}

static int write_csv(const char *path, const struct wt_sweep *sweep, enum wt_knob knob)
{
    char value[48];
    FILE *out = fopen(path, "we");
    if (!out) {
        cli_note("--csv %s: %s", path, strerror(errno));
        return -1;
    }
    fprintf(out, "# wattune %s, %s%s%s\n%s,time_s,energy_j\n", wt_version(), sweep->title,
            sweep->emulation[0] ? ", emulated " : "", sweep->emulation, csv_column(knob));
    for (size_t i = 0; i < sweep->run_count; i++) {
        const struct wt_run *run = &sweep->runs[i];
        if (run->setting_count && run->exit_code == 0 && run->total.provenance != WT_PROV_UNKNOWN)
            fprintf(out, "%s,%.6f,%.6f\n",
                    wt_knob_value_typed(value, sizeof(value), knob, run->settings[0].requested),
                    run->wall_s, run->total.energy_j);
    }
    if (fclose(out) != 0) {
        cli_note("--csv %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

static const char *report_path(const struct sweep_options *o)
{
    const char *path = o->report ? o->report : "wattune-report.html";
    return strcmp(path, "-") == 0 ? NULL : path;
}

/* Found out before hours of runs, not after. */
static int try_path(const char *option, const char *path, struct wt_error *err)
{
    FILE *out = path ? fopen(path, "ae") : NULL;
    if (path && !out) {
        snprintf(err->text, sizeof(err->text), "%s %.200s: %s", option, path, strerror(errno));
        snprintf(err->fix, sizeof(err->fix), "name another file with %s", option);
        return err->code = WT_E_IO;
    }
    if (out && ftell(out) == 0)
        remove(path); /* it was not there before */
    if (out)
        fclose(out);
    return 0;
}

static int show(const struct sweep_options *o, struct wt_run *runs, size_t count,
                const char *reference, enum wt_knob knob)
{
    struct wt_sweep sweep = {0};
    struct wt_error err = {0};
    int rc = wt_sweep_make(&sweep, runs, count, reference, &err);
    if (rc < 0)
        return cli_fail("sweep", &err);
    if (!isnan(o->precision))
        wt_sweep_want(&sweep, o->precision);
    struct wt_term term;
    wt_term_init(&term, o->is_json ? stderr : stdout);
    wt_report_sweep(&term, &sweep);
    int code = CLI_OK;
    const char *report = report_path(o);
    if (report) {
        rc = wt_report_html(report, &sweep, NULL, 0, &err);
        if (rc < 0) {
            cli_note("%s", err.text);
            cli_note("  try: `wattune report %s -o FILE` makes it from the stored runs",
                     sweep.group);
            code = CLI_FAILURE;
        } else {
            fprintf(stderr, "report: %s\n", report);
        }
    }
    if (o->csv && write_csv(o->csv, &sweep, knob) < 0)
        code = CLI_FAILURE;
    if (o->is_json) {
        char *text = wt_sweep_to_json(&sweep);
        if (!text || printf("%s\n", text) < 0 || fflush(stdout) != 0)
            code = CLI_FAILURE;
        free(text);
    }
    wt_sweep_done(&sweep);
    return code;
}

/* ---- the sweep ---- */

static int apply_point(const struct sweep_options *o, struct wt_lease *lease, struct cli_bed *bed,
                       const struct point *point, struct wt_run *run, struct wt_error *err)
{
    for (size_t s = 0; s < o->set_count; s++) {
        int rc = cli_apply(bed, lease, o->sets[s].knob, point->values[s], run, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void name_group(char *buf, size_t size)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(buf, size, "sweep-%Y%m%dT%H%M%S", &tm);
    snprintf(buf + n, size - n, "-%06x", (unsigned)(now.tv_nsec ^ getpid()) & 0xffffffu);
}

static bool has_reference(const struct wt_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (runs[i].is_reference && runs[i].exit_code == 0)
            return true;
    return false;
}

/* After a round: are the ratios known as well as was asked for? */
static bool is_precise_enough(const struct sweep_options *o, struct wt_run *runs, size_t count,
                              const char *reference, struct progress *progress)
{
    struct wt_sweep sweep = {0};
    struct wt_error err;
    if (isnan(o->precision) || wt_sweep_make(&sweep, runs, count, reference, &err) < 0)
        return false;
    bool is_enough = isnan(sweep.precision) || sweep.precision <= o->precision;
    unsigned needed = is_enough ? 0 : wt_sweep_repeats_for(&sweep, o->precision);
    if (!is_enough && !progress->is_tty) {
        fprintf(stderr, "  energy ratios known to %.2g %%", sweep.precision * 100);
        if (needed)
            fprintf(stderr, "; about %u repeats would do", needed);
        fputc('\n', stderr);
    }
    wt_sweep_done(&sweep);
    return is_enough;
}

/* Runs CMD at the reference setting until the devices have come to rest under it. */
static int settle(const struct sweep_options *o, struct wt_lease *lease, struct cli_measure *m,
                  const struct point *reference, char **command, int *asked, struct wt_error *err)
{
    struct wt_run all = {0};
    struct wt_settling s = {0};
    struct wt_store *store = m->store;
    int64_t begin_ns = cli_now_ns();
    unsigned count = 0;
    int rc = apply_point(o, lease, m->bed, reference, NULL, err);
    m->store = NULL; /* these do not count */
    while (rc == 0 && !s.is_settled && !*asked && cli_now_ns() - begin_ns < o->settle_ns) {
        struct wt_run run = {0};
        double from_s = (double)(cli_now_ns() - begin_ns) * 1e-9;
        rc = cli_measure_run(m, command, &run, asked, err);
        for (size_t i = 0; i < run.point_count; i++) {
            struct wt_run_point p = run.points[i];
            p.t_s += from_s;
            wt_run_add_point(&all, &p);
        }
        s = wt_settling_of(all.points, all.point_count);
        count++;
        bool is_failed = run.exit_code != 0;
        wt_run_done(&run);
        if (is_failed)
            break; /* the sweep itself will say so */
    }
    m->store = store;
    double spent_s = (double)(cli_now_ns() - begin_ns) * 1e-9;
    wt_run_done(&all);
    if (rc < 0)
        return rc;
    if (!s.is_known)
        cli_note("--settle: no temperature or clock was seen for long enough after %.0f s, %u runs",
                 spent_s, count);
    else
        cli_note("%s after %.0f s, %u runs%s: temperature drifts %+.1f K, clock %+.2f %%",
                 s.is_settled ? "settled" : "not yet settled", spent_s, count,
                 s.is_settled ? "" : " (the intervals hold what drift the repeats show)",
                 s.temp_drift_k, s.clock_drift * 100);
    return 0;
}

int cmd_sweep(int argc, char **argv)
{
    struct sweep_options o = {.host_w = NAN, .precision = NAN};
    struct cli_measure m = {.log_fd = -1};
    struct wt_lease *lease = NULL;
    struct wt_run *runs = NULL;
    size_t *order = NULL, run_count = 0, point_count = 0, reference = 0;
    struct point *points = calloc(MAX_POINTS, sizeof(*points));
    struct wt_error err = {0};
    bool is_measuring = false;
    int asked = 0, failed = 0;

    int code = points ? parse(argc, argv, &o) : CLI_FAILURE;
    if (code >= 0)
        goto out;
    char **command = argv + optind;

    int rc = cli_signals_block(&err);
    if (rc == 0)
        rc = cli_bed_open(&o.bed, &err);
    if (rc < 0) {
        code = cli_fail("sweep", &err);
        goto out;
    }
    rc = try_path("--report", report_path(&o), &err);
    if (rc == 0)
        rc = try_path("--csv", o.csv, &err);
    if (rc < 0) {
        code = cli_fail("sweep", &err);
        goto out;
    }
    code = cli_plan(&o, points, &point_count, &reference);
    if (code >= 0)
        goto out;
    if (o.set_count) {
        rc = wt_lease_open(&lease, o.bed.ctx, o.bed.devices, NULL, &err);
        if (rc < 0) {
            code = cli_fail("sweep", &err);
            goto out;
        }
    }
    is_measuring = true;
    rc = cli_measure_open(&m, &o.bed, o.is_without_store, 0, &err);
    if (rc < 0) {
        code = cli_fail("sweep", &err);
        goto out;
    }

    size_t total = point_count * o.repeats_max;
    runs = calloc(total, sizeof(*runs));
    order = calloc(total, sizeof(*order));
    m.log_fd = o.is_output_shown ? -1 : open_log();
    m.is_output_hidden = m.log_fd >= 0;
    m.is_stdout_moved = o.is_json;
    m.progress = o.progress;
    m.work_unit = o.work_per_step ? o.work_unit : NULL;
    m.work_per_step = o.work_per_step;
    if (!runs || !order) {
        err.code = WT_E_NOMEM;
        code = cli_fail("sweep", &err);
        goto out;
    }
    if (!o.seed)
        o.seed = (uint64_t)cli_now_ns();
    cli_plan_order(order, point_count, o.repeats_max, o.seed);

    struct progress progress = {
        .is_tty = isatty(STDERR_FILENO) && !o.is_output_shown, .total = total, .measure = &m};
    m.on_tick = cli_progress_draw;
    m.data = &progress;
    char group[40];
    name_group(group, sizeof(group));
    fprintf(stderr, "%s%s%s%zu setting%s, %u run%s each, random order (--seed %llu)\n",
            o.bed.emulation_name[0] ? "EMULATED " : "", o.bed.emulation_name,
            o.bed.emulation_name[0] ? ": no real device is measured or changed\n" : "", point_count,
            point_count > 1 ? "s" : "", o.repeats, o.repeats > 1 ? "s" : "",
            (unsigned long long)o.seed);

    if (o.settle_ns) {
        progress.label = "settling";
        rc = settle(&o, lease, &m, &points[reference], command, &asked, &err);
        if (rc < 0) {
            code = cli_fail("sweep", &err);
            goto out;
        }
    }
    for (size_t i = 0; i < total && !asked; i++) {
        if (i % point_count == 0 && i / point_count >= o.repeats &&
            is_precise_enough(&o, runs, run_count, points[reference].label, &progress))
            break;
        const struct point *point = &points[order[i]];
        struct wt_run *run = &runs[run_count];
        snprintf(run->group, sizeof(run->group), "%s", group);
        snprintf(run->label, sizeof(run->label), "%s", point->label);
        snprintf(run->tag, sizeof(run->tag), "%s", o.tag ? o.tag : "");
        run->repeat = (unsigned)(i / point_count);
        run->is_reference = order[i] == reference;
        run->host_w = isnan(o.host_w) ? 0 : o.host_w;
        progress.label = point->label;
        off_t log_from = m.log_fd >= 0 ? lseek(m.log_fd, 0, SEEK_END) : 0;
        rc = apply_point(&o, lease, &o.bed, point, run, &err);
        if (rc == 0)
            rc = cli_measure_run(&m, command, run, &asked, &err);
        if (rc < 0) {
            cli_progress_clear(&progress);
            code = cli_fail("sweep", &err);
            if (run->exit_code)
                code = run->exit_code;
            wt_run_done(run);
            goto out;
        }
        run_count++;
        cli_progress_done(&progress, run);
        if (run->exit_code != 0 && !asked) {
            cli_progress_clear(&progress);
            cli_note("%s: the command exited with %d", point->label, run->exit_code);
            if (m.log_fd >= 0)
                show_log_end(m.log_fd, log_from);
            if (++failed == 2) {
                cli_note("two runs failed: giving up");
                break;
            }
        }
    }
    cli_progress_clear(&progress);
    /* The card is given back before anything is shown: a slow terminal holds no cap. */
    if (lease && wt_lease_restore(lease, &err) < 0)
        cli_note("not everything was put back: %s", err.text);
    if (asked)
        cli_note("interrupted in run %zu of %zu; what the runs before it say is preliminary",
                 run_count, total);
    if (has_reference(runs, run_count))
        code = show(&o, runs, run_count, points[reference].label,
                    o.set_count ? o.sets[0].knob : WT_KNOB_POWER);
    else
        cli_note("no run at %s, which the others are compared with, ended well: there is no table",
                 points[reference].label);
    if (failed || !has_reference(runs, run_count))
        code = CLI_FAILURE;
    if (asked)
        code = 128 + asked;
out:
    if (is_measuring)
        cli_measure_close(&m);
    struct wt_error back = {0};
    if (wt_lease_close(lease, &back) < 0)
        cli_note("not everything was put back: %s", back.text);
    cli_bed_close(&o.bed);
    if (m.log_fd >= 0)
        close(m.log_fd);
    for (size_t i = 0; i < MAX_SETS; i++)
        cli_setting_done(&o.sets[i]);
    for (size_t i = 0; i < run_count; i++)
        wt_run_done(&runs[i]);
    free(runs);
    free(order);
    free(points);
    return code;
}
