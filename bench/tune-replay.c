/* tune-replay: how near the search comes to the best of a full sweep, on measured curves.
 *
 *   build/bench/tune-replay power FILE... [--all]   bars 1, 2 and 4 on power limits
 *   build/bench/tune-replay clock FILE...           bar 3 on locked clocks
 *
 * FILEs are of Zeus's traces (bench/power-traces/README.md); --all takes every workload and not
 * BERT alone. The search gets a curve's rows as candidates and is told only those it asks for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wattune/wattune.h"

#include "emulator-trace.h"

#define ROWS 128
#define REPS (getenv("REPS") ? (size_t)atoi(getenv("REPS")) : 60)

struct curve {
    char name[96];
    size_t count;
    double setting[ROWS], time_s[ROWS], energy_j[ROWS];
};

struct outcome {
    double regret, saving_share, slowdown, cost;
    size_t probes, readings;
    bool is_tie_due, is_tie_said;
};

static unsigned long long rng = 1;

static double uniform(void)
{
    unsigned long long z = (rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static double gauss(void)
{
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

/* noise: relative, of each reading; NaN slowdown: none. is_told: the search is given the noise. */
static struct outcome judge(const struct curve *c, enum wt_axis form, double slowdown, double noise,
                            bool is_told, bool is_verbose)
{
    struct wt_search_options o = {.axis_count = 1, .noise = is_told ? noise : NAN};
    struct wt_candidate candidates[ROWS] = {0};
    struct wt_search *search;
    struct wt_search_result r;
    struct wt_error err = {0};
    size_t reference = 0, next, best = 0;
    double all_s = 0, probe_s = 0;
    wt_goal_init(&o.goal);
    o.goal.slowdown_max = slowdown;
    snprintf(o.axes[0].name, sizeof(o.axes[0].name), "%s",
             form == WT_AXIS_POWER ? "power" : "clock");
    snprintf(o.axes[0].unit, sizeof(o.axes[0].unit), "%s", form == WT_AXIS_POWER ? "W" : "MHz");
    o.axes[0].form = form;
    for (size_t i = 0; i < c->count; i++) {
        candidates[i].values[0] = c->setting[i];
        candidates[i].readings_max = 1;
        if (c->setting[i] > c->setting[reference])
            reference = i;
        all_s += c->time_s[i];
    }
    best = reference;
    for (size_t i = 0; i < c->count; i++)
        if (c->energy_j[i] < c->energy_j[best] &&
            (isnan(slowdown) || c->time_s[i] <= c->time_s[reference] * (1 + slowdown)))
            best = i;
    if (wt_search_new(&search, &o, candidates, c->count, reference, &err) < 0) {
        fprintf(stderr, "%s: %s\n", c->name, err.text);
        exit(1);
    }
    if (is_verbose)
        printf("%-44s", c->name);
    while (wt_search_next(search, &next, NULL)) {
        probe_s += c->time_s[next];
        if (is_verbose)
            printf(" %g", c->setting[next]);
        wt_search_tell(search, next, c->time_s[next] * (1 + noise * gauss()),
                       c->energy_j[next] * (1 + noise * gauss()), NULL);
    }
    if (wt_search_result(search, &r, &err) < 0) {
        fprintf(stderr, "%s: %s\n", c->name, err.text);
        exit(1);
    }
    size_t choice = r.points[r.choice].candidate;
    struct outcome out = {.regret = c->energy_j[choice] / c->energy_j[best] - 1,
                          .slowdown = c->time_s[choice] / c->time_s[reference] - 1,
                          .cost = probe_s / all_s,
                          .probes = r.point_count,
                          .readings = r.reading_count};
    double could = 1 - c->energy_j[best] / c->energy_j[reference];
    out.saving_share = could > 0 ? (1 - c->energy_j[choice] / c->energy_j[reference]) / could : 1;
    if (is_verbose)
        printf(" -> %g, best %g, regret %.2f %%, slower %.1f %%\n", c->setting[choice],
               c->setting[best], out.regret * 100, out.slowdown * 100);
    wt_search_result_done(&r);
    wt_search_free(search);
    return out;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void table(const char *what, const struct outcome *o, size_t n)
{
    double *regret = calloc(n, sizeof(double)), *share = calloc(n, sizeof(double));
    double cost = 0, slowest = -1, readings = 0;
    size_t within = 0, most = 0;
    if (!n || !regret || !share)
        exit(1);
    for (size_t i = 0; i < n; i++) {
        regret[i] = o[i].regret;
        share[i] = o[i].saving_share;
        cost += o[i].cost / (double)n;
        readings += (double)o[i].readings / (double)n;
        within += o[i].regret <= 0.01;
        slowest = fmax(slowest, o[i].slowdown);
        most = o[i].probes > most ? o[i].probes : most;
    }
    qsort(regret, n, sizeof(double), rising);
    qsort(share, n, sizeof(double), rising);
    printf("%-34s %5zu  %5.1f %%  %6.2f %%  %6.2f %%  %6.1f %%  %6.1f %%  %4.2f  %zu  %5.1f %%\n",
           what, n, 100.0 * (double)within / (double)n, regret[n / 2] * 100, regret[n - 1] * 100,
           share[n / 2] * 100, slowest * 100, readings, most, cost * 100);
    free(regret);
    free(share);
}

static void head(void)
{
    printf("%-34s %5s  %7s  %8s  %8s  %8s  %8s  %4s  %s  %7s\n", "", "cases", "<= 1 %", "median",
           "worst", "saving", "slowest", "mean", "most", "cost");
}

static size_t read_power(const char *path, bool is_all, struct curve *curves)
{
    static struct trace_group groups[TRACE_GROUPS];
    int n = trace_read(path, groups);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        const struct trace_group *g = &groups[i];
        if (g->limits < 6 || (!is_all && strncmp(g->network, "bert", 4) != 0))
            continue;
        struct curve *c = &curves[count++];
        c->count = g->limits;
        snprintf(c->name, sizeof(c->name), "%.40s %.24s %u", strrchr(path, '_') + 1, g->dataset,
                 g->batch);
        for (size_t k = 0; k < g->limits; k++) {
            c->setting[k] = g->limit_w[k];
            c->time_s[k] = g->time_s[k];
            c->energy_j[k] = g->time_s[k] * g->power_w[k];
        }
    }
    return count;
}

static size_t read_clock(const char *path, struct curve *curves)
{
    FILE *in = fopen(path, "re");
    char line[256], what[32];
    size_t count = 0;
    int stage, mhz;
    double t, e;
    if (!in) {
        perror(path);
        exit(1);
    }
    while (fgets(line, sizeof(line), in)) {
        if (sscanf(line, "%d,%31[^,],%d,%lf,%lf", &stage, what, &mhz, &t, &e) != 5)
            continue;
        char name[96];
        snprintf(name, sizeof(name), "%.40s %d %s", strstr(path, "175b_") + 5, stage, what);
        struct curve *c = curves;
        while (c < curves + count && strcmp(c->name, name) != 0)
            c++;
        if (c == curves + count) {
            count++;
            memset(c, 0, sizeof(*c));
            snprintf(c->name, sizeof(c->name), "%s", name);
        }
        c->setting[c->count] = mhz;
        c->time_s[c->count] = t;
        c->energy_j[c->count++] = e;
    }
    fclose(in);
    return count;
}

int main(int argc, char **argv)
{
    static struct curve curves[TRACE_GROUPS];
    static struct outcome o[TRACE_GROUPS * 60];
    if (argc < 3 || (strcmp(argv[1], "power") != 0 && strcmp(argv[1], "clock") != 0)) {
        fprintf(stderr, "usage: tune-replay power|clock FILE... [--all] [--verbose]\n");
        return 2;
    }
    bool is_clock = strcmp(argv[1], "clock") == 0, is_all = false, is_verbose = false;
    enum wt_axis form = is_clock ? WT_AXIS_CLOCK : WT_AXIS_POWER;
    for (int i = 2; i < argc; i++) {
        is_all |= strcmp(argv[i], "--all") == 0;
        is_verbose |= strcmp(argv[i], "--verbose") == 0;
    }
    head();
    for (int i = 2; i < argc; i++) {
        const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
        char what[64];
        size_t n;
        if (argv[i][0] == '-')
            continue;
        n = is_clock ? read_clock(argv[i], curves) : read_power(argv[i], is_all, curves);
        for (size_t k = 0; k < n; k++)
            o[k] = judge(&curves[k], form, NAN, 0, false, is_verbose);
        snprintf(what, sizeof(what), "%.30s", name);
        table(what, o, n);
        for (size_t k = 0; k < n; k++)
            o[k] = judge(&curves[k], form, 0.05, 0, false, is_verbose);
        table("  at most 5 % slower", o, n);
        for (int told = 0; told < 2; told++) {
            for (size_t k = 0; k < n * REPS; k++)
                o[k] = judge(&curves[k / REPS], form, NAN, 0.01, told, false);
            table(told ? "  1 % noise, said so" : "  1 % noise", o, n * REPS);
        }
    }
    return 0;
}
