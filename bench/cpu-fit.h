/* cpu-fit: measured processors, the fit of the power model's scale on them, and its judgement on
 * one that was left out. Shared by bench/cpu-model and its test. */
#ifndef WT_BENCH_CPU_FIT_H
#define WT_BENCH_CPU_FIT_H

#include "sensor/cpu_model.h"

#define CPU_POINTS_MOST 512
#define CPUS_MOST       64

/* One measurement. */
struct cpu_point {
    double load;      /* 0 to 1 */
    double freq;      /* mean clock as a share of the highest in the file */
    double printed_w; /* rapl_power as published, which lags a row behind */
    double energy_w;  /* rapl_energy over duration: the mean of this row's half minute */
};

struct cpu_measured {
    char name[96];
    unsigned threads; /* most that were busy */
    struct cpu_point points[CPU_POINTS_MOST];
    size_t count;
    struct wt_cpu_model model; /* as the library has it */
};

/* Adds the points of one file in CodeCarbon's columns to the CPUs they belong to.
 * 0, or -1 with a word on stderr. */
int cpu_fit_load(const char *path, struct cpu_measured *cpus, size_t *count);
/* Looks every one of them up in the library's catalogue. */
void cpu_fit_find(struct cpu_measured *cpus, size_t count);

/* The scale of a family out of all measured CPUs but one (SIZE_MAX: none left out). Each CPU's own
 * scale is a least squares fit on energy_w; a family's is their geometric mean, drawn towards that
 * of all CPUs, and that towards 1, as if two more CPUs had been measured there. */
double cpu_fit_scale(const struct cpu_measured *cpus, size_t count, size_t left_out,
                     const char *family);

/* How good it is on one CPU. Errors in W, means over the loads. */
struct cpu_judgement {
    size_t inside, count;
    double mean_w, error_w, rule_error_w; /* measured; ours; of TDP x (0.1 + 0.9 load^3) */
    double width_w;                       /* of the band */
};
enum cpu_column { CPU_PRINTED, CPU_ENERGY };
struct cpu_judgement cpu_fit_judge(const struct cpu_measured *cpu, double scale,
                                   enum cpu_column column, bool with_freq);

#endif
