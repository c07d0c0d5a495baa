/* meter: what a window costs the program that opens it, and what sampling costs the machine.
 *
 *     build/bench/meter [SECONDS [SPEC [FAULT]]]        (default: 5 v100-pcie-32gb:8)
 *
 * Percentiles of begin and end together, over windows that overlap; then the CPU time of the
 * sampling threads on eight emulated GPUs at 10 Hz and at 100 Hz, with no window open, with one,
 * and with one a step of 50 ms. With a FAULT (slow) each is left alone for 5 s first. Run it on an
 * idle machine. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wattune/emulate.h"
#include "wattune/meter.h"

#define WINDOWS 200000

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void bench_windows(struct wt_meter *meter)
{
    static int64_t took_ns[WINDOWS];
    for (size_t i = 0; i < WINDOWS; i++) {
        uint64_t id = 0;
        int64_t begin_ns = wt_clock_now_ns();
        wt_meter_begin(meter, "step", &id);
        wt_meter_end(meter, id);
        took_ns[i] = wt_clock_now_ns() - begin_ns;
        wt_meter_cancel(meter, id);
    }
    qsort(took_ns, WINDOWS, sizeof(took_ns[0]), compare_times);
    printf("begin+end, %d windows: ", WINDOWS);
    static const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < WT_COUNTOF(shares); i++)
        printf(" %g %%: %lld ns", 100 * shares[i],
               (long long)took_ns[(size_t)(shares[i] * (WINDOWS - 1))]);
    printf("  most: %lld ns\n", (long long)took_ns[WINDOWS - 1]);
}

enum use { USE_NONE, USE_ONE, USE_STEPS };

static int bench_sampling(struct wt_ctx *ctx, struct wt_devices *devices, int64_t period_ns,
                          enum use use, int64_t span_ns, bool is_settled)
{
    static const char *const names[] = {"no window", "one window", "a window each 50 ms"};
    struct wt_meter *meter;
    struct wt_error err;
    const struct wt_meter_options options = {.period_ns = period_ns};
    if (wt_meter_new(&meter, ctx, devices, &options, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint64_t id;
    struct wt_window_result result;
    struct wt_meter_cost before, after;
    int64_t now_ns = wt_clock_now_ns(), end_ns = now_ns + span_ns;
    /* What a start costs, and learning that a counter is slow, is not what sampling does. */
    if (is_settled) {
        wt_clock_sleep_until_ns(now_ns + 5 * WT_NS_PER_S);
        now_ns = wt_clock_now_ns();
        end_ns = now_ns + span_ns;
    }
    wt_meter_cost(meter, &before);
    if (use == USE_ONE)
        wt_meter_begin(meter, "all", &id);
    for (; now_ns < end_ns; now_ns += 50 * WT_NS_PER_MS) {
        if (use == USE_STEPS)
            wt_meter_begin(meter, "step", &id);
        wt_clock_sleep_until_ns(now_ns + 50 * WT_NS_PER_MS);
        if (use == USE_STEPS && wt_meter_end(meter, id) == 0 &&
            wt_meter_result(meter, id, 0, &result, NULL) == 0)
            wt_window_result_done(&result);
    }
    wt_meter_cost(meter, &after);
    double wall_s = after.wall_s - before.wall_s;
    printf("%3.0f Hz, %zu devices, %-20s %6.3f %% of a core, %6.0f reads a second\n",
           1e9 / (double)period_ns, wt_devices_count(devices), names[use],
           100 * (after.cpu_s - before.cpu_s) / wall_s,
           (double)(after.reads - before.reads) / wall_s);
    wt_meter_free(meter);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t seconds = 5;
    if (argc > 4 || (argc >= 2 && (wt_text_to_u64(argv[1], &seconds) < 0 || !seconds))) {
        fprintf(stderr, "usage: meter [SECONDS [SPEC [FAULT]]]\n");
        return 2;
    }
    struct wt_emulation *emulation;
    struct wt_ctx *ctx = NULL;
    struct wt_devices *devices = NULL;
    struct wt_meter *meter = NULL;
    struct wt_error err;
    const struct wt_emulation_options emulated = {.faults = argc > 3 ? argv[3] : NULL};
    if (wt_emulation_start(&emulation, argc > 2 ? argv[2] : "v100-pcie-32gb:8", &emulated, &err) <
        0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct wt_ctx_options options = {.nvml_library = wt_emulation_library(emulation)};
    const struct wt_devices_options gpus = {.is_gpu_only = true};
    int rc = wt_emulation_setenv(emulation, &err);
    if (rc == 0)
        rc = wt_ctx_new(&ctx, &options, &err);
    if (rc == 0)
        rc = wt_devices_open(&devices, ctx, &gpus, &err);
    if (rc == 0)
        rc = wt_meter_new(&meter, ctx, devices, NULL, &err);
    if (rc == 0) {
        bench_windows(meter);
        wt_meter_free(meter);
        int64_t span_ns = (int64_t)seconds * WT_NS_PER_S;
        static const int64_t periods_ns[] = {100 * WT_NS_PER_MS, 10 * WT_NS_PER_MS};
        for (size_t i = 0; i < WT_COUNTOF(periods_ns) && rc == 0; i++)
            for (int use = USE_NONE; use <= USE_STEPS && rc == 0; use++)
                rc = bench_sampling(ctx, devices, periods_ns[i], (enum use)use, span_ns, argc > 3);
    } else {
        fprintf(stderr, "%s\n", err.text);
    }
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    wt_emulation_free(emulation);
    return rc != 0;
}
