/* cpu-fit: see cpu-fit.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu-fit.h"

#define PSEUDO 2.0 /* CPUs that a mean is drawn back by */

/* ---- files ---- */

enum { NAME, CORES, LOAD, FREQ, POWER, ENERGY, DURATION, COLUMNS };
static const char *const titles[COLUMNS] = {"cpu_name",   "cores_used",  "cpu_load", "cpu_freq",
                                            "rapl_power", "rapl_energy", "duration"};

static size_t split(char *line, char **cells, size_t most)
{
    size_t n = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *p = line; p && n < most; n++) {
        cells[n] = p;
        p = strchr(p, ',');
        if (p)
            *p++ = '\0';
    }
    return n;
}

static struct cpu_measured *cpu_named(struct cpu_measured *cpus, size_t *count, const char *name)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(cpus[i].name, name) == 0)
            return &cpus[i];
    if (*count == CPUS_MOST)
        return NULL;
    struct cpu_measured *cpu = &cpus[(*count)++];
    *cpu = (struct cpu_measured){0};
    wt_text(cpu->name, sizeof(cpu->name), "%s", name);
    return cpu;
}

int cpu_fit_load(const char *path, struct cpu_measured *cpus, size_t *count)
{
    char line[4096], *cells[64];
    int column[COLUMNS], rc = -1;
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        return -1;
    }
    size_t n = fgets(line, sizeof(line), f) ? split(line, cells, WT_COUNTOF(cells)) : 0;
    for (int k = 0; k < COLUMNS; k++) {
        column[k] = -1;
        for (size_t i = 0; i < n; i++)
            if (strcmp(cells[i], titles[k]) == 0)
                column[k] = (int)i;
        if (column[k] < 0) {
            fprintf(stderr, "%s: has no column %s\n", path, titles[k]);
            goto out;
        }
    }
    double freq_most = 0;
    struct cpu_measured *cpu = NULL;
    size_t first = 0;
    while (fgets(line, sizeof(line), f)) {
        double v[COLUMNS] = {0};
        size_t have = split(line, cells, WT_COUNTOF(cells));
        if (have < n)
            continue;
        for (int k = CORES; k < COLUMNS; k++)
            if (wt_text_to_double(cells[column[k]], &v[k]) < 0) {
                fprintf(stderr, "%s: \"%s\" is no number\n", path, cells[column[k]]);
                goto out;
            }
        struct cpu_measured *of = cpu_named(cpus, count, cells[column[NAME]]);
        if (!of || of->count == CPU_POINTS_MOST || (cpu && of != cpu)) {
            fprintf(stderr, "%s: too many rows, or more than one CPU\n", path);
            goto out;
        }
        if (!cpu)
            first = of->count;
        cpu = of;
        if (v[CORES] > cpu->threads)
            cpu->threads = (unsigned)v[CORES];
        freq_most = fmax(freq_most, v[FREQ]);
        cpu->points[cpu->count++] = (struct cpu_point){
            .load = v[LOAD] / 100,
            .freq = v[FREQ],
            .printed_w = v[POWER],
            .energy_w = v[DURATION] > 0 ? v[ENERGY] * 3.6e6 / v[DURATION] : NAN,
        };
    }
    for (size_t i = first; cpu && i < cpu->count; i++)
        cpu->points[i].freq = freq_most > 0 ? cpu->points[i].freq / freq_most : NAN;
    rc = 0;
out:
    fclose(f);
    return rc;
}

void cpu_fit_find(struct cpu_measured *cpus, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct wt_cpu_identity id = {.threads_seen = cpus[i].threads, .sockets = 1};
        wt_text(id.name, sizeof(id.name), "%s", cpus[i].name);
        wt_cpu_model_find(&id, &cpus[i].model);
        unsigned threads = cpus[i].model.threads;
        if (threads && cpus[i].threads > threads) {
            id.sockets = (cpus[i].threads + threads - 1) / threads;
            wt_cpu_model_find(&id, &cpus[i].model);
        }
    }
}

/* ---- fit ---- */

static double own_scale_log(const struct cpu_measured *cpu)
{
    struct wt_cpu_model model = cpu->model;
    model.scale = 1;
    double xy = 0, xx = 0;
    for (size_t i = 0; i < cpu->count; i++) {
        double x = wt_w_from_mw(wt_cpu_model_power(&model, cpu->points[i].load, NAN).mid_mw);
        xy += x * cpu->points[i].energy_w;
        xx += x * x;
    }
    return log(xy / xx);
}

static double drawn_mean(double towards, double sum, double n)
{
    return (PSEUDO * towards + sum) / (PSEUDO + n);
}

double cpu_fit_scale(const struct cpu_measured *cpus, size_t count, size_t left_out,
                     const char *family)
{
    double all = 0, n_all = 0, own = 0, n_own = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == left_out)
            continue;
        double s = own_scale_log(&cpus[i]);
        all += s;
        n_all++;
        if (strcmp(cpus[i].model.family, family) == 0) {
            own += s;
            n_own++;
        }
    }
    return exp(drawn_mean(drawn_mean(0, all, n_all), own, n_own));
}

/* ---- judgement ---- */

struct cpu_judgement cpu_fit_judge(const struct cpu_measured *cpu, double scale,
                                   enum cpu_column column, bool with_freq)
{
    struct wt_cpu_model model = cpu->model;
    model.scale = scale;
    struct cpu_judgement j = {0};
    double tdp_w = wt_w_from_mw(model.tdp_mw);
    for (size_t i = 0; i < cpu->count; i++) {
        const struct cpu_point *p = &cpu->points[i];
        double w = column == CPU_PRINTED ? p->printed_w : p->energy_w;
        struct wt_power_band b = wt_cpu_model_power(&model, p->load, with_freq ? p->freq : NAN);
        double low_w = wt_w_from_mw(b.low_mw), high_w = wt_w_from_mw(b.high_mw);
        j.count++;
        j.inside += w >= low_w && w <= high_w;
        j.mean_w += w;
        j.error_w += fabs(wt_w_from_mw(b.mid_mw) - w);
        j.rule_error_w += fabs(tdp_w * (0.1 + 0.9 * p->load * p->load * p->load) - w);
        j.width_w += high_w - low_w;
    }
    double n = (double)j.count;
    j.mean_w /= n;
    j.error_w /= n;
    j.rule_error_w /= n;
    j.width_w /= n;
    return j;
}
