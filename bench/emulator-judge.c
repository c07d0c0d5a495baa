/* The emulated V100 and A40 against measured BERT training under power limits: relative time and
 * energy at each limit, by batch size and in the mean, and against the paper's 150 W point.
 *
 *     build/bench/emulator-judge bench/power-traces      (exit 1 when the V100 misses its bar)
 *
 * The workload is BERT-base in fp32 from wt_workload_train_ops, at sequence length 384 for SQuAD
 * and 128 for Sentiment140 (assumed: the traces do not give them). The device model has seen
 * neither these rows nor the paper's numbers; they are data here and nowhere below emulator/.
 *
 * Bar (V100, limits of 125 W and up, mean curves of both data sets): relative time and relative
 * energy off by at most 5 % at the median and 10 % at worst; at 150 W within 0.05 of the paper's
 * BERT training point. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator-trace.h"
#include "wattune/workload.h"

/* McDonald et al., "Great Power, Great Responsibility", Findings of NAACL 2022, section 4: BERT
 * trained with a 150 W limit takes 108.5 % of the time and 87.7 % of the energy. */
#define PAPER_LIMIT_W 150
#define PAPER_TIME    1.085
#define PAPER_ENERGY  0.877

struct curve {
    unsigned limits;
    double limit_w[TRACE_LIMITS], time[TRACE_LIMITS], energy[TRACE_LIMITS], power_w[TRACE_LIMITS];
};

static struct wt_model model;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Times and energies become relative to the highest limit. */
static void make_relative(struct curve *c)
{
    for (unsigned i = 0; i < c->limits; i++) {
        c->energy[i] /= c->energy[c->limits - 1];
        c->time[i] /= c->time[c->limits - 1];
    }
}

static struct curve measured_curve(const struct trace_group *g)
{
    struct curve c = {.limits = g->limits};
    for (unsigned i = 0; i < g->limits; i++) {
        c.limit_w[i] = g->limit_w[i];
        c.time[i] = g->time_s[i];
        c.power_w[i] = g->power_w[i];
        c.energy[i] = g->time_s[i] * g->power_w[i];
    }
    make_relative(&c);
    return c;
}

static struct curve emulated_curve(const struct wt_profile *p, const struct trace_group *g)
{
    struct curve c = {.limits = g->limits};
    struct wt_emu_kernel *kernels = NULL;
    size_t count;
    struct wt_model_shape shape;
    struct wt_error err;
    unsigned seq = strcmp(g->dataset, "squad") == 0 ? 384 : 128;

    if (wt_model_shape_named("bert-base", &shape, &err) < 0 ||
        wt_workload_train_ops(&shape, g->batch, seq, WT_F32, &kernels, &count, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    for (unsigned i = 0; i < g->limits; i++) {
        struct trace_point point =
            trace_run(&model, p, g->limit_w[i], kernels, count, 0, 2000000000, 6000000000);
        c.limit_w[i] = g->limit_w[i];
        c.time[i] = point.time_s;
        c.power_w[i] = point.power_w;
        c.energy[i] = point.time_s * point.power_w;
    }
    free(kernels);
    make_relative(&c);
    return c;
}

static void print_row(const char *what, const char *unit, const double *values, unsigned n,
                      int decimals)
{
    printf("  %-22s", what);
    for (unsigned i = 0; i < n; i++)
        printf(" %7.*f", decimals, values[i]);
    printf("  %s\n", unit);
}

struct misses {
    double time[TRACE_LIMITS * 2], energy[TRACE_LIMITS * 2];
    unsigned count;
};

/* Mean of the curves that share a data set's name, held against each other. */
static void judge(const struct wt_profile *p, const struct trace_group *groups, int count,
                  const char *dataset, double from_w, struct misses *misses, double *ret_paper_time,
                  double *ret_paper_energy)
{
    struct curve mean_m = {0}, mean_e = {0};
    unsigned rows = 0;

    printf("\n%s, BERT-base on %s\n", dataset, p->board);
    for (int i = 0; i < count; i++) {
        const struct trace_group *g = &groups[i];
        if (!trace_is_judge(g) || strcmp(g->dataset, dataset) != 0)
            continue;
        struct curve m = measured_curve(g), e = emulated_curve(p, g);
        if (rows == 0)
            print_row("limit", "W", m.limit_w, m.limits, 0);
        else if (m.limits != mean_m.limits)
            continue; /* a row with limits of its own has no place in the mean */
        double time_pct[TRACE_LIMITS], energy_pct[TRACE_LIMITS];
        mean_m.limits = mean_e.limits = m.limits;
        for (unsigned k = 0; k < m.limits; k++) {
            mean_m.limit_w[k] = m.limit_w[k];
            mean_m.time[k] += m.time[k];
            mean_m.energy[k] += m.energy[k];
            mean_m.power_w[k] += m.power_w[k];
            mean_e.time[k] += e.time[k];
            mean_e.energy[k] += e.energy[k];
            mean_e.power_w[k] += e.power_w[k];
            time_pct[k] = 100 * (e.time[k] / m.time[k] - 1);
            energy_pct[k] = 100 * (e.energy[k] / m.energy[k] - 1);
        }
        char what[40];
        snprintf(what, sizeof(what), "batch %u: time off", g->batch);
        print_row(what, "%", time_pct, m.limits, 1);
        snprintf(what, sizeof(what), "batch %u: energy off", g->batch);
        print_row(what, "%", energy_pct, m.limits, 1);
        rows++;
    }
    if (rows == 0)
        return;
    for (unsigned k = 0; k < mean_m.limits; k++) {
        double n = rows;
        mean_m.time[k] /= n, mean_m.energy[k] /= n, mean_m.power_w[k] /= n;
        mean_e.time[k] /= n, mean_e.energy[k] /= n, mean_e.power_w[k] /= n;
    }
    unsigned n = mean_m.limits;
    print_row("mean: time measured", "", mean_m.time, n, 3);
    print_row("      emulated", "", mean_e.time, n, 3);
    print_row("mean: energy measured", "", mean_m.energy, n, 3);
    print_row("      emulated", "", mean_e.energy, n, 3);
    print_row("mean: power measured", "W", mean_m.power_w, n, 0);
    print_row("      emulated", "W", mean_e.power_w, n, 0);
    for (unsigned k = 0; k < n; k++) {
        if (mean_m.limit_w[k] == PAPER_LIMIT_W) {
            *ret_paper_time = mean_e.time[k];
            *ret_paper_energy = mean_e.energy[k];
        }
        if (mean_m.limit_w[k] < from_w)
            continue;
        misses->time[misses->count] = fabs(mean_e.time[k] / mean_m.time[k] - 1);
        misses->energy[misses->count++] = fabs(mean_e.energy[k] / mean_m.energy[k] - 1);
    }
}

/* Says how far off, returns whether within the bar. */
static bool verdict(const char *what, double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), by_value);
    double median = (values[(count - 1) / 2] + values[count / 2]) / 2;
    double worst = values[count - 1];
    printf("  %-16s median %4.1f %% (bar 5)   worst %4.1f %% (bar 10)\n", what, 100 * median,
           100 * worst);
    return median <= 0.05 && worst <= 0.10;
}

static bool judge_device(const char *dir, const char *file, const char *profile)
{
    static struct trace_group groups[TRACE_GROUPS];
    const struct wt_profile *p = wt_profile_find(profile);
    struct misses misses = {.count = 0};
    double paper_time[2] = {0}, paper_energy[2] = {0};
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int count = trace_read(path, groups);
    if (count < 0)
        exit(1);
    judge(p, groups, count, "squad", 125, &misses, &paper_time[0], &paper_energy[0]);
    judge(p, groups, count, "sentiment140", 125, &misses, &paper_time[1], &paper_energy[1]);

    printf("\n%s, limits of 125 W and up, both mean curves:\n", p->board);
    bool is_met = verdict("relative time", misses.time, misses.count);
    is_met &= verdict("relative energy", misses.energy, misses.count);
    if (strncmp(profile, "v100", 4) == 0)
        for (int i = 0; i < 2; i++) {
            double dt = paper_time[i] - PAPER_TIME, de = paper_energy[i] - PAPER_ENERGY;
            printf("  paper, %d W BERT training (%.3f, %.3f): emulated %s (%.3f, %.3f), off %+.3f "
                   "%+.3f (bar 0.05)\n",
                   PAPER_LIMIT_W, PAPER_TIME, PAPER_ENERGY, i == 0 ? "SQuAD" : "Sentiment140",
                   paper_time[i], paper_energy[i], dt, de);
            is_met &= fabs(dt) <= 0.05 && fabs(de) <= 0.05;
        }
    return is_met;
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "bench/power-traces";

    bool is_met = judge_device(dir, "summary_power_v100.csv", "v100-pcie-32gb");
    printf("  => %s\n", is_met ? "within the bar" : "OUTSIDE the bar");
    judge_device(dir, "summary_power_a40.csv", "a40");
    printf("  (the A40 has no bar)\n");
    return is_met ? 0 : 1;
}
