/* card-trace: everything an NVIDIA card says of its energy, as fast as the driver answers, into a
 * file; and what each call costs. Reads only.
 *
 *     build/bench/card-trace SECONDS FILE [STEP_US [power|energy]]   until then, or SIGTERM
 *     build/bench/card-trace --cost [CALLS]             time of each call and of the processor, us
 *
 * Each poll asks for the counter, the field values 185 (average) and 186 (instant) in one call, and
 * the plain reading; a value is written once for as long as it stands, with the times (ns,
 * CLOCK_MONOTONIC) of the first and the last call that returned it and what the driver said when
 * the field was sampled:
 *
 *     STREAM FIRST_BEFORE FIRST_AFTER LAST_BEFORE LAST_AFTER VALUE DRIVER_T_US
 *
 * STREAM is energy (mJ), instant, average or plain (mW), sm (MHz), reasons (bits). The device is
 * number 0. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "sensor/nvml_api.h"

static struct wt_nvml_api api;
static wt_nvml_device gpu;
static volatile sig_atomic_t is_ending;

static void on_signal(int number)
{
    (void)number;
    is_ending = 1;
}

enum { ENERGY, INSTANT, AVERAGE, PLAIN, SM, REASONS, STREAMS };
static const char *const names[STREAMS] = {"energy", "instant", "average",
                                           "plain",  "sm",      "reasons"};

static struct stream {
    bool is_there;
    unsigned long long value;
    int64_t first_before, first_after, last_before, last_after;
    long long t_us;
    uint64_t reads, failures;
} streams[STREAMS];

static void put(FILE *out, int i)
{
    const struct stream *s = &streams[i];
    if (s->is_there)
        fprintf(out, "%s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %llu %lld\n", names[i],
                s->first_before, s->first_after, s->last_before, s->last_after, s->value, s->t_us);
}

static void note(FILE *out, int i, int rc, int64_t before, int64_t after, unsigned long long value,
                 long long t_us)
{
    struct stream *s = &streams[i];
    if (rc != WT_NVML_SUCCESS) {
        s->failures++;
        return;
    }
    s->reads++;
    if (!s->is_there || s->value != value) {
        put(out, i);
        *s = (struct stream){.is_there = true,
                             .value = value,
                             .first_before = before,
                             .first_after = after,
                             .t_us = t_us,
                             .reads = s->reads,
                             .failures = s->failures};
    }
    s->last_before = before;
    s->last_after = after;
}

static unsigned long long number_of(const struct wt_nvml_field *f)
{
    return f->type == WT_NVML_TYPE_UINT ? f->value.ui : f->value.ull;
}

static int record(double seconds, const char *path, long step_us, const char *only)
{
    FILE *out = fopen(path, "we");
    if (!out) {
        perror(path);
        return 1;
    }
    int64_t start = wt_clock_now_ns(), end = start + (int64_t)(seconds * 1e9), next = start;
    uint64_t polls = 0;
    while (!is_ending && wt_clock_now_ns() < end) {
        unsigned long long mj = 0;
        unsigned mw = 0;
        int64_t a = wt_clock_now_ns(), b = a;
        int rc;
        if (!only || strcmp(only, "energy") == 0) {
            rc = wt_nvml_call(&api, energy, gpu, &mj);
            b = wt_clock_now_ns();
            note(out, ENERGY, rc, a, b, mj, 0);
        }
        if (only && strcmp(only, "energy") == 0)
            goto rest;
        struct wt_nvml_field fields[2] = {{.field = WT_NVML_FIELD_POWER_INSTANT, .rc = 3},
                                          {.field = WT_NVML_FIELD_POWER_AVERAGE, .rc = 3}};
        a = wt_clock_now_ns();
        rc = wt_nvml_call(&api, fields, gpu, 2, fields);
        b = wt_clock_now_ns();
        for (int i = 0; i < 2; i++)
            note(out, INSTANT + i, rc ? rc : fields[i].rc, a, b, number_of(&fields[i]),
                 fields[i].t_us);
        a = wt_clock_now_ns();
        rc = wt_nvml_call(&api, power, gpu, &mw);
        b = wt_clock_now_ns();
        note(out, PLAIN, rc, a, b, mw, 0);
        if (polls++ % 16 == 0) {
            unsigned long long bits = 0;
            a = wt_clock_now_ns();
            rc = wt_nvml_call(&api, clock, gpu, WT_NVML_CLOCK_SM, &mw);
            b = wt_clock_now_ns();
            note(out, SM, rc, a, b, mw, 0);
            a = wt_clock_now_ns();
            rc = wt_nvml_call(&api, reasons, gpu, &bits);
            b = wt_clock_now_ns();
            note(out, REASONS, rc, a, b, bits, 0);
        }
    rest:
        next += step_us * 1000;
        if (next < b)
            next = b;
        struct timespec t = {next / WT_NS_PER_S, next % WT_NS_PER_S};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
    for (int i = 0; i < STREAMS; i++) {
        put(out, i);
        fprintf(out, "# %s %" PRIu64 " reads %" PRIu64 " failures\n", names[i], streams[i].reads,
                streams[i].failures);
    }
    return fclose(out) == EOF;
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int call(int which)
{
    unsigned u, v, n;
    unsigned long long ull;
    struct wt_nvml_utilization use;
    struct wt_nvml_memory memory;
    struct wt_nvml_process procs[64];
    struct wt_nvml_process_use uses[64];
    struct wt_nvml_field fields[2] = {{.field = WT_NVML_FIELD_POWER_INSTANT},
                                      {.field = WT_NVML_FIELD_POWER_AVERAGE}};
    switch (which) {
    case 0:
        return wt_nvml_call(&api, energy, gpu, &ull);
    case 1:
        return wt_nvml_call(&api, fields, gpu, 1, fields);
    case 2:
        return wt_nvml_call(&api, fields, gpu, 2, fields);
    case 3:
        return wt_nvml_call(&api, power, gpu, &u);
    case 4:
        return wt_nvml_call(&api, temperature, gpu, 0, &u);
    case 5:
        return wt_nvml_call(&api, clock, gpu, WT_NVML_CLOCK_SM, &u);
    case 6:
        return wt_nvml_call(&api, utilization, gpu, &use);
    case 7:
        return wt_nvml_call(&api, memory, gpu, &memory);
    case 8:
        return wt_nvml_call(&api, enforced_limit, gpu, &u);
    case 9:
        return wt_nvml_call(&api, reasons, gpu, &ull);
    case 10:
        n = 64;
        return wt_nvml_call(&api, compute_processes, gpu, &n, procs);
    case 11:
        n = 64;
        return wt_nvml_call(&api, process_use, gpu, uses, &n,
                            (unsigned long long)wt_clock_unix_ns() / 1000 - 1500000);
    case 12:
        return wt_nvml_call(&api, limit_range, gpu, &u, &v);
    default:
        return wt_nvml_call(&api, pcie, gpu, WT_NVML_PCIE_TX, &u);
    }
}

static int cost(int calls)
{
    static const char *const what[] = {
        "energy counter", "instant power",   "instant and average", "plain power",
        "temperature",    "SM clock",        "utilisation",         "memory",
        "enforced limit", "clock reasons",   "compute processes",   "process use",
        "limit range",    "PCIe throughput",
    };
    int64_t *took = calloc((size_t)calls, sizeof(*took));
    if (!took)
        return 1;
    for (int i = 0; i < (int)WT_COUNTOF(what); i++) {
        int n = i + 1 == (int)WT_COUNTOF(what) ? 20 : calls, rc = 0;
        int64_t cpu_ns = 0;
        for (int k = -3; k < n; k++) {
            if (k == 0)
                cpu_ns = wt_clock_thread_cpu_ns();
            int64_t begin = wt_clock_now_ns();
            rc = call(i);
            if (k >= 0)
                took[k] = wt_clock_now_ns() - begin;
        }
        cpu_ns = wt_clock_thread_cpu_ns() - cpu_ns;
        qsort(took, (size_t)n, sizeof(*took), compare_i64);
        printf(
            "%-20s %8.1f us at the median, %8.1f at 99 %%, %8.1f at worst, processor %8.1f  %s\n",
            what[i], (double)took[n / 2] * 1e-3, (double)took[n * 99 / 100] * 1e-3,
            (double)took[n - 1] * 1e-3, (double)cpu_ns * 1e-3 / n, wt_nvml_name(rc));
    }
    free(took);
    return 0;
}

int main(int argc, char **argv)
{
    struct wt_error err = {0};
    const char *library = getenv("WATTUNE_NVML");
    int64_t begin = wt_clock_now_ns();
    int rc;
    if (argc < 2 || (argc < 3 && strcmp(argv[1], "--cost") != 0)) {
        fputs("usage: card-trace SECONDS FILE [STEP_US [STREAM]] | card-trace --cost [CALLS]\n",
              stderr);
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    if (wt_nvml_api_open(&api, library ? library : "libnvidia-ml.so.1", &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 4;
    }
    if ((rc = wt_nvml_call(&api, init)) != 0 || (rc = wt_nvml_call(&api, by_index, 0, &gpu)) != 0) {
        fprintf(stderr, "NVML: %s\n", wt_nvml_name(rc));
        return 4;
    }
    if (strcmp(argv[1], "--cost") == 0) {
        printf("%-20s %8.1f us\n", "init", (double)(wt_clock_now_ns() - begin) * 1e-3);
        return cost(argc > 2 ? atoi(argv[2]) : 300);
    }
    rc = record(atof(argv[1]), argv[2], argc > 3 ? atol(argv[3]) : 1000, argc > 4 ? argv[4] : NULL);
    wt_nvml_call(&api, shutdown);
    return rc;
}
