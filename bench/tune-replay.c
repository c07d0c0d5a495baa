/* tune-replay: how near the search comes to the best of a full sweep, on measured curves.
 *
 *   build/bench/tune-replay                         the curves of bench/power-traces
 *   build/bench/tune-replay power FILE...           BERT at limits of power, Zeus's form
 *   build/bench/tune-replay clock FILE...           locked clocks, Perseus's form
 *      --all        every workload and not BERT alone
 *      --draws N    of noise for each curve at limits of power (60)
 *      --verbose    each curve: the settings measured, the choice, the best
 *
 * The search gets a curve's rows as candidates and is told only those it asks for, each once.
 * Columns: cases; share of them whose regret (energy at the choice over the best row) is 1 % or
 * less; regret at the median and worst; share of the saving of the best row, median; slow-down of
 * the slowest choice; settings measured, mean and most; their time as a share of the full sweep's.
 * Ends with 1 when something misses what docs/measured.md promises. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wattune/wattune.h"

#include "emulator-trace.h"

#define ROWS   128
#define CURVES 256
#define FILES  16

struct curve {
    char name[96];
    size_t count;
    double setting[ROWS], time_s[ROWS], energy_j[ROWS];
};

struct outcome {
    double regret, saving_share, slowdown, cost;
    size_t probes, readings;
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

/* noise: relative, of each reading; slowdown NaN: any. is_told: the search is given the noise, and
 * may read each candidate `readings` times. */
static struct outcome judge(const struct curve *c, enum wt_axis form, double slowdown, double noise,
                            bool is_told, size_t readings, bool is_verbose)
{
    struct wt_search_options o = {
        .axis_count = 1, .noise = is_told ? noise : NAN, .repeats_max = readings - 1};
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
        candidates[i].readings_max = readings;
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

struct summary {
    double within, median, worst, saving, slowest, probes, cost; /* shares, but for probes */
    size_t most;
};

static struct summary table(const char *what, const struct outcome *o, size_t n)
{
    struct summary s = {.slowest = -1};
    double *regret = calloc(n, sizeof(double)), *share = calloc(n, sizeof(double));
    if (!n || !regret || !share) {
        fprintf(stderr, "%s: no curve\n", what);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        regret[i] = o[i].regret;
        share[i] = o[i].saving_share;
        s.cost += o[i].cost / (double)n;
        s.probes += (double)o[i].probes / (double)n;
        s.within += (o[i].regret <= 0.01) / (double)n;
        s.slowest = fmax(s.slowest, o[i].slowdown);
        s.most = o[i].probes > s.most ? o[i].probes : s.most;
    }
    qsort(regret, n, sizeof(double), rising);
    qsort(share, n, sizeof(double), rising);
    s.median = regret[n / 2];
    s.worst = regret[n - 1];
    s.saving = share[n / 2];
    printf("%-34s %5zu  %5.1f %%  %6.2f %%  %6.2f %%  %6.1f %%  %6.1f %%  %4.2f  %4zu  %5.1f %%\n",
           what, n, s.within * 100, s.median * 100, s.worst * 100, s.saving * 100, s.slowest * 100,
           s.probes, s.most, s.cost * 100);
    free(regret);
    free(share);
    return s;
}

static void head(void)
{
    printf("%-34s %5s  %7s  %8s  %8s  %8s  %8s  %4s  %4s  %7s\n", "", "cases", "<= 1 %", "median",
           "worst", "saving", "slowest", "mean", "most", "cost");
}

static FILE *open_or_die(const char *path)
{
    FILE *in = fopen(path, "re");
    if (!in) {
        perror(path);
        exit(1);
    }
    return in;
}

static const char *base_name(const char *path)
{
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

static size_t read_power(const char *path, bool is_all, struct curve *curves, size_t count)
{
    static struct trace_group groups[TRACE_GROUPS];
    int n = trace_read(path, groups);
    if (n < 0)
        exit(1);
    for (int i = 0; i < n && count < CURVES; i++) {
        const struct trace_group *g = &groups[i];
        if (g->limits < 6 || (!is_all && strncmp(g->network, "bert", 4) != 0))
            continue;
        struct curve *c = &curves[count++];
        c->count = g->limits;
        snprintf(c->name, sizeof(c->name), "%.30s %.24s %u", base_name(path), g->dataset, g->batch);
        for (size_t k = 0; k < g->limits; k++) {
            c->setting[k] = g->limit_w[k];
            c->time_s[k] = g->time_s[k];
            c->energy_j[k] = g->time_s[k] * g->power_w[k];
        }
    }
    return count;
}

static size_t read_clock(const char *path, struct curve *curves, size_t count)
{
    FILE *in = open_or_die(path);
    char line[256], what[32];
    int stage, mhz;
    double t, e;
    while (fgets(line, sizeof(line), in)) {
        if (sscanf(line, "%d,%31[^,],%d,%lf,%lf", &stage, what, &mhz, &t, &e) != 5)
            continue;
        char name[96];
        snprintf(name, sizeof(name), "%.36s %d %.24s", base_name(path), stage, what);
        struct curve *c = curves;
        while (c < curves + count && strcmp(c->name, name) != 0)
            c++;
        if (c == curves + count) {
            if (++count > CURVES)
                break;
            memset(c, 0, sizeof(*c));
            snprintf(c->name, sizeof(c->name), "%s", name);
        }
        if (c->count == ROWS)
            continue;
        c->setting[c->count] = mhz;
        c->time_s[c->count] = t;
        c->energy_j[c->count++] = e;
    }
    fclose(in);
    return count;
}

struct options {
    bool is_all, is_verbose;
    size_t draws;
};

/* All rows of one set of curves. Returns whether they keep what is promised: of limits of power
 * with BERT alone. */
static bool show(const char *title, enum wt_axis form, const struct curve *curves, size_t n,
                 size_t draws, const struct options *options)
{
    struct outcome *o = calloc(n * draws + n, sizeof(*o));
    if (!o)
        exit(1);
    for (size_t k = 0; k < n; k++)
        o[k] = judge(&curves[k], form, NAN, 0, false, 1, options->is_verbose);
    struct summary plain = table(title, o, n);
    for (size_t k = 0; k < n; k++)
        o[k] = judge(&curves[k], form, 0.05, 0, false, 1, options->is_verbose);
    struct summary slow = table("  at most 5 % slower", o, n);
    static const struct {
        const char *title;
        bool is_told;
        size_t readings;
    } rows[] = {{"  1 % noise", false, 1},
                {"  1 % noise, told of it", true, 1},
                {"  1 % noise, told, 6 readings", true, 6}};
    struct summary noisy[3] = {0};
    for (size_t i = 0; draws && i < 3; i++) {
        rng = 1;
        for (size_t k = 0; k < n * draws; k++)
            o[k] = judge(&curves[k / draws], form, NAN, 0.01, rows[i].is_told, rows[i].readings,
                         false);
        noisy[i] = table(rows[i].title, o, n * draws);
    }
    free(o);
    if (form == WT_AXIS_CLOCK)
        return plain.median <= 0.025 && plain.most <= 6;
    return options->is_all ||
           (plain.within >= 0.9 && plain.worst <= 0.04 && plain.most <= 4 && plain.cost < 0.5 &&
            slow.slowest <= 0.05 && slow.saving >= 0.95 && (!draws || noisy[0].within >= 0.85));
}

static bool show_files(bool is_clock, char **files, size_t count, const struct options *options)
{
    static struct curve curves[CURVES];
    enum wt_axis form = is_clock ? WT_AXIS_CLOCK : WT_AXIS_POWER;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t first = n;
        n = is_clock ? read_clock(files[i], curves, n)
                     : read_power(files[i], options->is_all, curves, n);
        show(base_name(files[i]), form, &curves[first], n - first, 0, options);
    }
    return show(is_clock ? "all clocks" : "all limits", form, curves, n,
                is_clock ? 0 : options->draws, options);
}

int main(int argc, char **argv)
{
    struct options options = {.draws = 60};
    char *files[FILES] = {0};
    size_t count = 0;
    const char *kind = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            options.is_all = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            options.is_verbose = true;
        else if (strcmp(argv[i], "--draws") == 0 && i + 1 < argc)
            options.draws = strtoul(argv[++i], NULL, 10);
        else if (!kind && argv[i][0] != '-')
            kind = argv[i];
        else if (argv[i][0] != '-' && count < FILES)
            files[count++] = argv[i];
        else
            kind = "?";
    }
    head();
    if (!kind) {
        char *power[] = {WT_TRACES "/summary_power_v100.csv", WT_TRACES "/summary_power_a40.csv"};
        char *clock[] = {WT_TRACES "/clock_gpt3-175b_a100sxm_bf16.csv",
                         WT_TRACES "/clock_gpt3-175b_a40_bf16.csv"};
        bool is_good = show_files(false, power, 2, &options);
        return !(show_files(true, clock, 2, &options) && is_good);
    }
    bool is_clock = strcmp(kind, "clock") == 0;
    if (!count || (!is_clock && strcmp(kind, "power") != 0)) {
        fprintf(stderr,
                "usage: tune-replay [power|clock FILE...] [--all] [--draws N] [--verbose]\n");
        return 2;
    }
    return !show_files(is_clock, files, count, &options);
}
