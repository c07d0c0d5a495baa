/* probe: what `wattune probe` finds of each emulated sensor, held against the profile it came from.
 *
 *     build/bench/probe [RECORDINGS [SECONDS [SEED]]]
 *
 * For each profile RECORDINGS recordings (20) of SECONDS (15) in virtual time, polled each
 * millisecond with the lateness of an ordinary machine, under the command's own kind of load.
 * Printed are the true value, the median found, the worst error in percent, and the share of
 * recordings whose 95 % interval holds the truth. The analysis is given the recording and nothing
 * of the profile. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "tests/probe_sim.h"

#define MAX 1000

static double found[MAX], errors[MAX];

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct tally {
    const char *name;
    double truth;
    size_t count, unknown, inside;
    double value[MAX];
};

static void tally(struct tally *t, const struct wt_probed *p)
{
    if (!p->is_known) {
        t->unknown++;
        return;
    }
    t->inside += t->truth >= p->low && t->truth <= p->high;
    t->value[t->count++] = p->value;
}

static void print_tally(const char *profile, const char *sensor, struct tally *t, size_t all)
{
    if (!t->count) {
        printf("%-15s %-8s %-7s %9.4g %9s\n", profile, sensor, t->name, t->truth * 1e3, "not told");
        return;
    }
    memcpy(found, t->value, t->count * sizeof(*found));
    for (size_t i = 0; i < t->count; i++)
        errors[i] = fabs(t->value[i] / t->truth - 1);
    qsort(found, t->count, sizeof(*found), compare_doubles);
    qsort(errors, t->count, sizeof(*errors), compare_doubles);
    printf("%-15s %-8s %-7s %9.4g %9.4g %8.2f%% %8.2f%% %7.0f%%", profile, sensor, t->name,
           t->truth * 1e3, found[t->count / 2] * 1e3, 100 * errors[t->count / 2],
           100 * errors[t->count - 1], 100.0 * (double)t->inside / (double)all);
    printf(t->unknown ? "  %zu not told\n" : "\n", t->unknown);
}

static struct tally tallies[12];

static void bench(const struct wt_profile *p, size_t count, double seconds, uint64_t seed)
{
    bool has_two = p->has_instant;
    double rise = (double)p->power_rise_ns * 1e-9;
    double power_window = rise > 0 ? 2 * rise : (double)p->power_window_ns * 1e-9;
    double plain_window =
        p->plain == WT_PLAIN_AVERAGE ? (double)p->average_ns * 1e-9 : power_window;
    double plain_delay =
        (double)(p->plain == WT_PLAIN_AVERAGE ? p->average_delay_ns : p->power_delay_ns) * 1e-9;
    memset(tallies, 0, sizeof(tallies));
    const double truths[] = {(double)p->power_period_ns * 1e-9,
                             power_window,
                             (double)p->power_delay_ns * 1e-9,
                             (double)p->power_period_ns * 1e-9,
                             plain_window,
                             plain_delay,
                             (double)p->counter_period_ns * 1e-9,
                             p->counter_quantum_mj * 1e-3};
    static const char *const names[] = {"period", "window", "delay",  "period",
                                        "window", "delay",  "period", "step"};
    size_t agree = 0, faulty = 0;
    for (size_t i = 0; i < WT_COUNTOF(truths); i++)
        tallies[i] = (struct tally){.name = names[i], .truth = truths[i]};
    for (size_t n = 0; n < count; n++) {
        struct probe_sim sim = {
            .profile = p, .seconds = seconds, .seed = seed + n, .jitter_ms = 0.3, .edge_ms = 0.1};
        struct wt_probe_trace trace;
        struct wt_device_info info;
        struct wt_probe_result r;
        probe_sim_run(&sim, &trace);
        probe_sim_info(&sim, &info);
        if (wt_probe_analyse(&trace, &info, &r, NULL) < 0)
            exit(1);
        for (size_t k = 0; k < 2; k++) {
            const struct wt_probe_sensor *s = &r.sensors[k ? WT_PROBE_PLAIN : WT_PROBE_POWER];
            tally(&tallies[3 * k], &s->period_s);
            tally(&tallies[3 * k + 1], &s->window_s);
            tally(&tallies[3 * k + 2], &s->delay_s);
        }
        tally(&tallies[6], &r.sensors[WT_PROBE_ENERGY].period_s);
        tally(&tallies[7], &r.sensors[WT_PROBE_ENERGY].quantum);
        agree += r.ratio.is_known && r.is_ratio_within && r.ratio.low <= 1 && r.ratio.high >= 1;
        for (size_t k = 0; k < WT_PROBE_STREAMS; k++)
            faulty += r.sensors[k].faults != 0;
        wt_probe_trace_done(&trace);
    }
    for (size_t i = 0; i < WT_COUNTOF(truths); i++) {
        if ((i >= 3 && i < 6 && !has_two) || (i >= 6 && p->counter == WT_COUNTER_NONE))
            continue;
        print_tally(p->name, i < 3 ? "power" : i < 6 ? "plain" : "counter", &tallies[i], count);
    }
    if (p->counter != WT_COUNTER_NONE)
        printf("%-15s counter and power agree: %zu of %zu\n", p->name, agree, count);
    if (faulty)
        printf("%-15s sound sensors called faulty: %zu\n", p->name, faulty);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint64_t count = 20, seed = 1;
    double seconds = 15;
    if ((argc > 1 && (wt_text_to_u64(argv[1], &count) < 0 || !count || count > MAX)) ||
        (argc > 2 && (wt_text_to_double(argv[2], &seconds) < 0 || !(seconds >= 1))) ||
        (argc > 3 && wt_text_to_u64(argv[3], &seed) < 0) || argc > 4) {
        fprintf(stderr, "usage: probe [RECORDINGS [SECONDS [SEED]]]\n");
        return 2;
    }
    printf("%-15s %-8s %-7s %9s %9s %9s %9s %8s\n", "profile", "sensor", "ms or J", "true", "found",
           "median", "worst", "inside");
    for (size_t i = 0; wt_profile_at(i); i++)
        bench(wt_profile_at(i), count, seconds, seed);
    return 0;
}
