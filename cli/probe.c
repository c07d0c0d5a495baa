/* wattune probe: what the sensors at hand are like, found by watching them under a load of our own.
 *
 * Each GPU has a load and a thread to drive it, all at the same time; afterwards the CPU's sensors
 * share one load of busy threads. Pulses and pauses have random lengths, so that they are in step
 * with no sensor; some are long, for running means. */
#include "probe_load.h"

#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS_DEFAULT 15.0
#define SECONDS_MIN     3.0
#define SECONDS_MAX     3600.0
#define TRIAL_S         0.5 /* a pulse that shows whether the power limit holds the device back */
#define FORGET_S        1.5 /* until no sensor shows a trial any more */
#define PART_MAX        64  /* sensors that one load is for */

static void print_help(void)
{
    fputs("usage: wattune probe [OPTION...]\n\n"
          "Finds what each sensor is like: how often it is refreshed, over how long it\n"
          "averages, how late it is, in what steps it counts, and whether counter and power\n"
          "agree. A load of its own switches each device on and off meanwhile; leave the\n"
          "machine idle otherwise. What is found is kept for the device, and later windows\n"
          "use it.\n\n"
          "  --gpu LIST      only these GPUs: indices or UUIDs\n"
          "  --seconds S     how long to watch, 3 to 3600 (default 15)\n"
          "  --no-load       run nothing: only what changes by itself is seen\n"
          "  --no-store      keep nothing\n"
          "  --json          one JSON document on stdout\n"
          "  --trace DIR     also keep what was seen, a file a device, to be analysed\n"
          "                  elsewhere\n"
          "  --emulate SPEC  probe emulated GPUs: PROFILE[:N]\n"
          "  --fault SPEC    a fault of the emulated GPUs (docs/emulator.md)\n"
          "  --sensor-command SPEC  a program that prints watts or joules is a sensor too:\n"
          "                  [KIND[/NAME]@]PERIOD:COMMAND, 2s:./read-pdu (repeatable; watts\n"
          "                  rather than kWh, which moves too seldom)\n"
          "  --sysroot DIR   read /proc and /sys below DIR\n"
          "  --help          this text\n\n"
          "Exit code: 0 done; 1 failure, or a sensor is faulty; 2 usage; 4 no sensor to\n"
          "probe.\n",
          stdout);
}

struct job;

struct prober {
    struct cli_bed bed;
    bool is_json, has_no_load, has_no_store;
    const char *trace; /* a folder, or NULL */
    double seconds;
    atomic_bool is_stopping;
    atomic_size_t running;
    struct job *jobs; /* owned */
    size_t job_count;
    struct wt_probe_result *results; /* owned; of the devices in their order */
    bool *has_result;                /* owned */
    size_t device_count, probed_count;
    atomic_bool is_failed;
};

/* One load and the devices it is for. */
struct job {
    struct prober *all;
    size_t devices[PART_MAX];
    size_t count;
    bool is_gpu;
    struct cli_load *load; /* NULL: none */
    char words[240];       /* what runs, or why nothing does */
    pthread_t thread;
    bool is_started;
};

/* ---- command line ---- */

static int parse(int argc, char **argv, struct prober *p)
{
    enum { SECONDS = 256, NO_LOAD, NO_STORE, JSON, TRACE, HELP };
    static const struct option options[] = {
        BED_OPTIONS,
        {"seconds", required_argument, NULL, SECONDS},
        {"no-load", no_argument, NULL, NO_LOAD},
        {"no-store", no_argument, NULL, NO_STORE},
        {"json", no_argument, NULL, JSON},
        {"trace", required_argument, NULL, TRACE},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int c, code;
    char *end;
    p->seconds = SECONDS_DEFAULT;
    while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1)
        switch (c) {
        case SECONDS:
            p->seconds = strtod(optarg, &end);
            if (end == optarg || *end || !(p->seconds >= SECONDS_MIN) || p->seconds > SECONDS_MAX)
                return cli_usage("probe", "--seconds %.40s: a number from %g to %g", optarg,
                                 SECONDS_MIN, SECONDS_MAX);
            break;
        case NO_LOAD:
            p->has_no_load = true;
            break;
        case NO_STORE:
            p->has_no_store = true;
            break;
        case JSON:
            p->is_json = true;
            break;
        case TRACE:
            p->trace = optarg;
            break;
        case HELP:
        case 'h':
            print_help();
            return CLI_OK;
        default:
            code = cli_bed_option_last("probe", c, optarg, &p->bed);
            if (code >= 0)
                return code;
        }
    if (optind < argc)
        return cli_usage("probe", "\"%s\": probe takes options only", argv[optind]);
    return cli_bed_check("probe", &p->bed);
}

/* ---- the load's rhythm ---- */

static double draw(uint64_t *dice)
{
    *dice = *dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*dice >> 11) * 0x1p-53;
}

/* Most lie between 10 and 300 ms, some are as long as a running mean. */
static double draw_length_s(uint64_t *dice)
{
    double coin = draw(dice), x = draw(dice);
    return coin < 0.85 ? 0.01 * pow(30, x) : 0.3 + x;
}

static void rest(const struct job *j, double seconds)
{
    int64_t until_ns = cli_now_ns() + (int64_t)(seconds * 1e9), now_ns;
    while ((now_ns = cli_now_ns()) < until_ns && !atomic_load(&j->all->is_stopping)) {
        int64_t left_ns = until_ns - now_ns < 50000000 ? until_ns - now_ns : 50000000;
        struct timespec t = {0, (long)left_ns};
        nanosleep(&t, NULL);
    }
}

/* ---- a load that the power limit leaves alone ---- */

struct trial {
    struct cli_load *load;
    struct cli_pulse pulse;
    struct wt_error err;
    int rc;
};

static void *run_trial(void *data)
{
    struct trial *t = data;
    t->rc = cli_load_pulse(t->load, TRIAL_S, &t->pulse, &t->err);
    return NULL;
}

/* Below the limit power is a clean step; at it the device's own control blurs every edge. */
static bool is_capped(struct job *j)
{
    struct trial trial = {.load = j->load};
    struct wt_reading r;
    bool capped = false;
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_trial, &trial) != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        rest(j, TRIAL_S / 5);
        if (wt_devices_read(j->all->bed.devices, j->devices[0], WT_READ_STATUS, &r, NULL) == 0 &&
            (r.status.has & WT_HAS_THROTTLE))
            capped |= r.status.throttle & WT_THROTTLE_POWER_CAP;
    }
    pthread_join(thread, NULL);
    return capped;
}

static void choose_load(struct job *j)
{
    bool capped = true;
    for (int i = 0; i < 4 && (capped = is_capped(j)) && !atomic_load(&j->all->is_stopping); i++) {
        rest(j, TRIAL_S / 2);
        if (!cli_load_lighter(j->load))
            break;
    }
    snprintf(j->words, sizeof(j->words), "%s%s", cli_load_words(j->load),
             capped ? ", held back by the power limit" : "");
}

/* ---- one job ---- */

static void drive(struct job *j, struct wt_probe **probes)
{
    uint64_t dice = (uint64_t)cli_now_ns();
    int64_t end_ns = cli_now_ns() + (int64_t)(j->all->seconds * 1e9);
    struct wt_error err = {0};
    if (!j->load) {
        rest(j, j->all->seconds);
        return;
    }
    rest(j, 0.5);
    while (cli_now_ns() < end_ns && !atomic_load(&j->all->is_stopping)) {
        struct cli_pulse pulse;
        if (cli_load_pulse(j->load, draw_length_s(&dice), &pulse, &err) < 0) {
            cli_note("the load ended: %s", err.text);
            snprintf(j->words, sizeof(j->words), "%.100s, until %.100s", cli_load_words(j->load),
                     err.text);
            rest(j, (double)(end_ns - cli_now_ns()) * 1e-9);
            return;
        }
        for (size_t i = 0; i < j->count; i++)
            if (probes[i]) {
                wt_probe_edge(probes[i], pulse.on_lo_ns, pulse.on_hi_ns, true);
                wt_probe_edge(probes[i], pulse.off_lo_ns, pulse.off_hi_ns, false);
            }
        rest(j, draw_length_s(&dice));
    }
    rest(j, 0.3);
}

static void trace_path(const struct prober *p, size_t device, char *buf, size_t size)
{
    snprintf(buf, size, "%.4000s/device-%zu.trace", p->trace ? p->trace : "", device);
}

static void *run_job(void *data)
{
    struct job *j = data;
    struct prober *p = j->all;
    struct wt_probe *probes[PART_MAX] = {0};
    struct wt_error err = {0};
    if (j->load && j->is_gpu) {
        choose_load(j);
        rest(j, FORGET_S);
    }
    for (size_t i = 0; i < j->count; i++)
        if (wt_probe_start(&probes[i], p->bed.ctx, p->bed.devices, j->devices[i], &err) < 0) {
            cli_fail("probe", &err);
            p->is_failed = true;
        }
    drive(j, probes);
    for (size_t i = 0; i < j->count; i++) {
        if (!probes[i])
            continue;
        char path[4200];
        trace_path(p, j->devices[i], path, sizeof(path));
        struct wt_error trace_err = {0};
        if (wt_probe_finish(probes[i], j->words, j->load != NULL, p->trace ? path : NULL,
                            &p->results[j->devices[i]], &trace_err, &err) < 0) {
            cli_fail("probe", &err);
            p->is_failed = true;
        } else {
            p->has_result[j->devices[i]] = true;
        }
        if (trace_err.code < 0) { /* what was found is shown all the same */
            cli_fail("probe", &trace_err);
            p->is_failed = true;
        }
    }
    atomic_fetch_sub(&p->running, 1);
    return NULL;
}

/* ---- all of them ---- */

/* A recording shows one moment: a load on this machine would be seen by none of its sensors. */
static int refuse_recording(const struct prober *p, struct wt_error *err)
{
    for (size_t i = 0; i < wt_devices_count(p->bed.devices); i++) {
        const struct wt_device_info *info = wt_devices_info(p->bed.devices, i);
        struct wt_reading r = {0};
        unsigned what = (info->can & WT_CAN_ENERGY ? WT_READ_ENERGY : 0) |
                        (info->can & WT_CAN_POWER ? WT_READ_POWER : 0);
        if (!what || info->is_modeled || info->is_emulated)
            continue;
        wt_devices_read(p->bed.devices, i, what, &r, NULL);
        if (r.energy.state != WT_REPLAYED && r.power.state != WT_REPLAYED)
            continue;
        snprintf(err->text, sizeof(err->text),
                 "%.200s is a recording: its sensors show one moment and follow no load",
                 p->bed.sysroot ? p->bed.sysroot : "this");
        snprintf(err->fix, sizeof(err->fix), "run `wattune probe` on the machine itself");
        return err->code = WT_E_UNSUPPORTED;
    }
    return 0;
}

static int make_jobs(struct prober *p, struct wt_error *err)
{
    struct job *cpu = NULL;
    if (refuse_recording(p, err) < 0)
        return err->code;
    p->device_count = wt_devices_count(p->bed.devices);
    p->jobs = calloc(p->device_count + 1, sizeof(*p->jobs));
    p->results = calloc(p->device_count + 1, sizeof(*p->results));
    p->has_result = calloc(p->device_count + 1, sizeof(*p->has_result));
    if (!p->jobs || !p->results || !p->has_result) {
        snprintf(err->text, sizeof(err->text), "no memory");
        return err->code = WT_E_NOMEM;
    }
    for (size_t i = 0; i < p->device_count; i++) {
        const struct wt_device_info *info = wt_devices_info(p->bed.devices, i);
        bool is_gpu = info->kind == WT_DEVICE_GPU;
        if (!(info->can & (WT_CAN_ENERGY | WT_CAN_POWER)))
            continue;
        if (info->is_modeled) {
            cli_note("%s: there is no sensor to probe, its power is estimated", info->name);
            continue;
        }
        p->probed_count++;
        struct job *j = !is_gpu && cpu && cpu->count < PART_MAX ? cpu : &p->jobs[p->job_count++];
        j->all = p;
        j->is_gpu = is_gpu;
        j->devices[j->count++] = i;
        if (!is_gpu)
            cpu = j;
    }
    if (!p->job_count) {
        snprintf(err->text, sizeof(err->text), "there is no sensor of energy or power to probe");
        snprintf(err->fix, sizeof(err->fix),
                 "`wattune doctor` says why; to try it: wattune probe --emulate v100-pcie-32gb");
        return err->code = WT_E_NOTFOUND;
    }
    return 0;
}

/* Told now, and not after all has been watched. */
static int check_traces(const struct prober *p, struct wt_error *err)
{
    char path[4200];
    for (size_t i = 0; p->trace && i < p->job_count; i++)
        for (size_t k = 0; k < p->jobs[i].count; k++) {
            trace_path(p, p->jobs[i].devices[k], path, sizeof(path));
            if (cli_output_check("--trace", path, err) < 0) {
                snprintf(err->fix, sizeof(err->fix),
                         "--trace takes a folder that is there and can be written");
                return err->code;
            }
        }
    return 0;
}

static void prepare_load(struct job *j)
{
    struct wt_error err = {0};
    const struct wt_device_info *info = wt_devices_info(j->all->bed.devices, j->devices[0]);
    if (j->all->has_no_load)
        snprintf(j->words, sizeof(j->words), "none (--no-load)");
    else if (cli_load_open(&j->load, info, &err) < 0)
        snprintf(j->words, sizeof(j->words), "none: %.200s", err.text);
    else
        snprintf(j->words, sizeof(j->words), "%s", cli_load_words(j->load));
}

/* Starts these jobs and waits for their end. Returns the signal that asked us to stop, or 0. */
static int run_jobs(struct prober *p, bool is_gpu)
{
    int asked = 0;
    for (size_t i = 0; i < p->job_count; i++) {
        struct job *j = &p->jobs[i];
        if (j->is_gpu != is_gpu)
            continue;
        atomic_fetch_add(&p->running, 1);
        j->is_started = pthread_create(&j->thread, NULL, run_job, j) == 0;
        if (!j->is_started) {
            atomic_fetch_sub(&p->running, 1);
            p->is_failed = true;
        }
    }
    while (atomic_load(&p->running)) {
        int signal = cli_signal_wait(cli_now_ns() + 50000000);
        if (signal && !asked) {
            asked = signal;
            atomic_store(&p->is_stopping, true);
        }
    }
    for (size_t i = 0; i < p->job_count; i++)
        if (p->jobs[i].is_gpu == is_gpu && p->jobs[i].is_started)
            pthread_join(p->jobs[i].thread, NULL);
    return asked;
}

/* ---- what is printed ---- */

static void print_time(const char *what, const struct wt_probed *found, int64_t assumed_ns)
{
    char assumed[32] = "";
    if (assumed_ns > 0)
        snprintf(assumed, sizeof(assumed), "%.4g ms", (double)assumed_ns * 1e-6);
    if (found->is_known)
        printf("    %-9s %9.4g ms  %8.5g to %-8.5g  %s\n", what, found->value * 1e3,
               found->low * 1e3, found->high * 1e3, *assumed ? assumed : "not known");
    else
        printf("    %-9s could not be told: %s\n", what, found->why);
}

static void print_sensor(const struct wt_probe_sensor *s, const char *name, int64_t period_ns,
                         int64_t window_ns, int64_t delay_ns, bool is_counter)
{
    printf("  %-11s  found       95 %% interval         assumed before\n", name);
    print_time("period", &s->period_s, period_ns);
    if (s->shape == WT_PROBE_SHAPE_RISE)
        print_time("rise", &s->rise_s, 0);
    if (!is_counter || s->window_s.is_known)
        print_time("window", &s->window_s, window_ns);
    if (!is_counter)
        print_time("delay", &s->delay_s, delay_ns);
    if (is_counter && s->quantum.is_known)
        printf("    %-9s %9.4g mJ\n", "step", s->quantum.value * 1e3);
    if (s->faults)
        printf("    FAULTY: %s\n", s->fault);
}

static void print_seen(const struct wt_probe_sensor *s)
{
    if (!s->window_s.is_known || !s->period_s.is_known)
        return;
    if (s->shape == WT_PROBE_SHAPE_RISE)
        puts("    follows the load slowly, as a running mean twice as long as its rise would");
    else if (s->window_s.high < 0.95 * s->period_s.value)
        printf("    sees %.0f %% of the time\n", 100 * s->window_s.value / s->period_s.value);
    else if (s->window_s.value > 2 * s->period_s.value)
        printf("    a running mean of %.3g s\n", s->window_s.value);
    else
        puts("    sees all of the time");
}

/* Both ends of a window may be wrong by a period of what the sensor shows: 2 T / duration. */
static void print_meaning(const struct wt_probe_result *r)
{
    const struct wt_probe_sensor *energy = &r->sensors[WT_PROBE_ENERGY];
    const struct wt_probe_sensor *power = &r->sensors[WT_PROBE_POWER];
    double blind_s = 0;
    bool is_by_counter = energy->period_s.is_known && !energy->faults;
    if (is_by_counter)
        blind_s = energy->period_s.value;
    else if (power->period_s.is_known && !power->faults)
        blind_s = power->period_s.value + (power->window_s.is_known ? power->window_s.value : 0);
    if (blind_s <= 0)
        return;
    printf("  For windows  read off the %s; at worst 50 %% off at %.2g s, 5 %% at %.2g s, 1 %% at "
           "%.2g s\n",
           is_by_counter ? "counter" : "power reading", 4 * blind_s, 40 * blind_s, 200 * blind_s);
}

static void print_result(const struct prober *p, size_t i)
{
    static const char *const plain[] = {
        [WT_PROBE_PLAIN_UNKNOWN] = "could not be told",
        [WT_PROBE_PLAIN_INSTANT] = "instant",
        [WT_PROBE_PLAIN_AVERAGE] = "a running mean of about 1 s",
    };
    const struct wt_probe_result *r = &p->results[i];
    const struct wt_device_info *info = wt_devices_info(p->bed.devices, i);
    const struct wt_sensor_traits *t = &r->traits_before;
    printf("%s  %s%s\n", r->name, r->id, r->is_emulated ? "  EMULATED" : "");
    printf("  Load         %s, %.1f s\n", r->load, r->seconds);
    if (r->sensors[WT_PROBE_POWER].is_there) {
        print_sensor(&r->sensors[WT_PROBE_POWER], "Power", t->power_period_ns, t->power_window_ns,
                     t->power_delay_ns, false);
        print_seen(&r->sensors[WT_PROBE_POWER]);
    }
    bool is_same = r->plain == WT_PROBE_PLAIN_INSTANT && !r->sensors[WT_PROBE_PLAIN].faults;
    if (r->sensors[WT_PROBE_PLAIN].is_there && !is_same)
        print_sensor(&r->sensors[WT_PROBE_PLAIN], "power.draw", 0, 0, 0, false);
    if (info->kind == WT_DEVICE_GPU && r->sensors[WT_PROBE_POWER].shape != WT_PROBE_SHAPE_RISE)
        printf("  power.draw   %s\n", plain[r->plain]);
    if (r->sensors[WT_PROBE_ENERGY].is_there) {
        print_sensor(&r->sensors[WT_PROBE_ENERGY], "Counter", t->energy_period_ns,
                     t->energy_window_ns, 0, true);
        print_seen(&r->sensors[WT_PROBE_ENERGY]);
    } else {
        puts("  Counter      there is none");
    }
    if (r->ratio.is_known)
        printf("  Counter by power  %.4f (%.4f to %.4f): %s\n", r->ratio.value, r->ratio.low,
               r->ratio.high, r->is_ratio_within ? "they agree" : "they DISAGREE");
    print_meaning(r);
}

static bool is_faulty(const struct wt_probe_result *r)
{
    return r->sensors[WT_PROBE_POWER].faults || r->sensors[WT_PROBE_PLAIN].faults ||
           r->sensors[WT_PROBE_ENERGY].faults;
}

static void keep(struct prober *p, const struct wt_probe_result *r)
{
    char path[4200];
    struct wt_error err = {0};
    if (p->has_no_store)
        return;
    if (wt_probe_store(p->bed.ctx, r, path, sizeof(path), &err) == 0) {
        if (p->bed.emulation)
            cli_note("%s: what was found goes with the emulation", r->name);
        else
            cli_note("kept in %s", path);
    } else if (err.code == WT_E_STATE) {
        cli_note("%s", err.text);
    } else {
        cli_fail("probe", &err);
        p->is_failed = true;
    }
}

static int report(struct prober *p)
{
    size_t count = 0;
    int code = CLI_OK;
    for (size_t i = 0; i < p->device_count; i++) {
        if (!p->has_result[i])
            continue;
        if (!p->is_json) {
            if (count)
                putchar('\n');
            print_result(p, i);
            fflush(stdout);
        }
        keep(p, &p->results[i]);
        if (is_faulty(&p->results[i]))
            code = CLI_FAILURE;
        p->results[count++] = p->results[i];
    }
    if (p->is_json && cli_print_json("probe", wt_probe_to_json(p->results, count)) != CLI_OK)
        p->is_failed = true;
    return p->is_failed ? CLI_FAILURE : code;
}

static int probe_all(struct prober *p)
{
    struct wt_error err = {0};
    if (cli_signals_block(&err) < 0 || cli_bed_open(&p->bed, &err) < 0 || make_jobs(p, &err) < 0 ||
        check_traces(p, &err) < 0)
        return cli_fail("probe", &err);
    size_t loaded = 0;
    for (size_t i = 0; i < p->job_count; i++) {
        prepare_load(&p->jobs[i]);
        loaded += p->jobs[i].load != NULL;
    }
    cli_note("watching %zu device%s for %.3g s%s", p->probed_count, p->probed_count == 1 ? "" : "s",
             p->seconds,
             loaded
                 ? " under a load of our own; other work would blur what is found"
                 : " without a load: windows and delays show only if the power changes by itself");
    int asked = run_jobs(p, true);
    if (!asked)
        asked = run_jobs(p, false);
    if (asked) {
        cli_note("stopped by signal %d: nothing was found", asked);
        return 128 + asked;
    }
    return report(p);
}

int cmd_probe(int argc, char **argv)
{
    struct prober p = {0};
    int code = parse(argc, argv, &p);
    if (code >= 0)
        return code;
    code = probe_all(&p);
    for (size_t i = 0; i < p.job_count; i++)
        cli_load_close(p.jobs[i].load);
    cli_bed_close(&p.bed);
    free(p.jobs);
    free(p.results);
    free(p.has_result);
    return code;
}
