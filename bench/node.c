/* What sampling a whole node costs: the recorded two-socket machine, read from its files, and eight
 * emulated H100, each set with a meter of its own, in one process.
 *
 *     build/bench/node [SECONDS [HZ [MACHINE]]]       (default: 20 10 intel-2s-psys; the bar: 0.3 %
 *                                                      of a core at 10 Hz)
 *
 * Printed: the CPU time of the sampling threads, and of the whole process, as shares of one core.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/base.h"
#include "wattune/emulate.h"
#include "wattune/meter.h"

static double process_cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)use.ru_utime.tv_sec + (double)use.ru_stime.tv_sec +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

struct set {
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_meter *meter;
    uint64_t window;
};

static int open_set(struct set *set, const struct wt_ctx_options *options, int64_t period_ns,
                    struct wt_error *err)
{
    const struct wt_meter_options sampling = {.period_ns = period_ns};
    int rc = wt_ctx_new(&set->ctx, options, err);
    if (rc == 0)
        rc = wt_devices_open(&set->devices, set->ctx, NULL, err);
    if (rc == 0)
        rc = wt_meter_new(&set->meter, set->ctx, set->devices, &sampling, err);
    if (rc == 0)
        rc = wt_meter_begin(set->meter, "node", &set->window);
    return rc;
}

static void close_set(struct set *set)
{
    wt_meter_free(set->meter);
    wt_devices_free(set->devices);
    wt_ctx_free(set->ctx);
}

static void print(const char *what, struct set *set)
{
    struct wt_meter_cost cost;
    wt_meter_cost(set->meter, &cost);
    printf("%-28s %3zu devices %7.1f reads/s  %.3f %% of a core\n", what,
           wt_devices_count(set->devices), (double)cost.reads / cost.wall_s,
           100 * cost.cpu_s / cost.wall_s);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 20, hz = argc > 2 ? atof(argv[2]) : 10;
    const char *name = argc > 3 ? argv[3] : "intel-2s-psys";
    struct set node = {0}, gpus = {0};
    struct wt_emulation *emulation = NULL;
    struct wt_error err = {0};
    char root[1024];
    if (!(seconds > 0 && hz > 0 && hz <= 1000)) {
        fputs("usage: node [SECONDS [HZ [MACHINE]]]\n", stderr);
        return 2;
    }
    wt_text(root, sizeof(root), "%s/%s", WT_MACHINES, name);
    int64_t period_ns = (int64_t)(1e9 / hz);
    int rc = open_set(&node, &(struct wt_ctx_options){.sysroot = root}, period_ns, &err);
    if (rc == 0)
        rc = wt_emulation_start(&emulation, "h100-sxm-80gb:8",
                                &(struct wt_emulation_options){.seed = 1}, &err);
    if (rc == 0)
        rc = wt_emulation_setenv(emulation, &err);
    if (rc == 0)
        rc = open_set(&gpus,
                      &(struct wt_ctx_options){.nvml_library = wt_emulation_library(emulation)},
                      period_ns, &err);
    if (rc < 0) {
        fprintf(stderr, "node: %s\n", err.text);
        return 1;
    }
    /* What is done once, at the start of a window, is not sampling. */
    wt_clock_sleep_until_ns(wt_clock_now_ns() + 2 * WT_NS_PER_S);
    double cpu_s = process_cpu_s();
    int64_t from_ns = wt_clock_now_ns();
    wt_clock_sleep_until_ns(from_ns + (int64_t)(seconds * 1e9));
    double wall_s = wt_s_from_ns(wt_clock_now_ns() - from_ns);
    cpu_s = process_cpu_s() - cpu_s;
    print(name, &node);
    print("h100-sxm-80gb:8, emulated", &gpus);
    printf("%-28s %3zu devices at %g Hz for %.0f s: %.3f %% of a core\n", "the whole process",
           wt_devices_count(node.devices) + wt_devices_count(gpus.devices), hz, wall_s,
           100 * cpu_s / wall_s);
    close_set(&gpus);
    close_set(&node);
    wt_emulation_free(emulation);
    return 0;
}
