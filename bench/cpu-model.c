/* cpu-model: how good the power model is on processors it was not fitted on.
 *
 *     build/bench/cpu-model [-v] [FILE.csv]...       (default: bench/cpu-load/ *.csv)
 *
 * Each processor is left out in turn, the families' scales are fitted on the others, and the model
 * is held against its measured power: how many loads lie inside the band, the mean absolute error,
 * and beside it that of the rule TDP x (0.1 + 0.9 load^3). It is the library's own code.
 *
 * Two columns of the files are judged: "printed" is rapl_power as published, "energy" is
 * rapl_energy over duration. The first lags one row behind the second in all three files (its first
 * row is near 0 W, and each row is the power of the load before), so the second is what is fitted
 * on. The last lines say what the scales are when nothing is left out; data/cpu-families.csv holds
 * those.
 *
 * Exit code 1 when a processor has less than 90 % of its loads inside, or an error not below the
 * rule's, in either column, or when the table does not hold what is fitted. -v: every point. */
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu-fit.h"

static struct cpu_measured cpus[CPUS_MOST];

static void print_points(const struct cpu_measured *cpu, double scale)
{
    struct wt_cpu_model model = cpu->model;
    model.scale = scale;
    printf("    load   printed    energy       low       mid      high  W\n");
    for (size_t i = 0; i < cpu->count; i++) {
        const struct cpu_point *p = &cpu->points[i];
        struct wt_power_band b = wt_cpu_model_power(&model, p->load, NAN);
        printf("   %5.3f %9.1f %9.1f %9.1f %9.1f %9.1f\n", p->load, p->printed_w, p->energy_w,
               wt_w_from_mw(b.low_mw), wt_w_from_mw(b.mid_mw), wt_w_from_mw(b.high_mw));
    }
}

static bool judge(const struct cpu_measured *cpu, double scale, enum cpu_column column,
                  bool with_freq, const char *what)
{
    struct cpu_judgement j = cpu_fit_judge(cpu, scale, column, with_freq);
    bool is_good = (double)j.inside >= 0.9 * (double)j.count && j.error_w < j.rule_error_w;
    printf("  %-19s %3zu of %-3zu %5.1f %%  %6.1f W %5.1f %%  %6.1f W %5.1f %%  %6.1f W%s\n", what,
           j.inside, j.count, 100.0 * (double)j.inside / (double)j.count, j.error_w,
           100 * j.error_w / j.mean_w, j.rule_error_w, 100 * j.rule_error_w / j.mean_w, j.width_w,
           is_good ? "" : "  MISSED");
    return is_good;
}

int main(int argc, char **argv)
{
    bool is_verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    size_t count = 0;
    glob_t files = {0};
    int rc = 0;
    if (argc > 1 + is_verbose)
        for (int i = 1 + is_verbose; i < argc && rc == 0; i++)
            rc = cpu_fit_load(argv[i], cpus, &count);
    else if (glob(WT_BENCH_CPU_LOAD "/*.csv", 0, NULL, &files) == 0)
        for (size_t i = 0; i < files.gl_pathc && rc == 0; i++)
            rc = cpu_fit_load(files.gl_pathv[i], cpus, &count);
    globfree(&files);
    if (rc < 0 || !count) {
        fputs("usage: cpu-model [-v] [FILE.csv]...\n", stderr);
        return 2;
    }
    cpu_fit_find(cpus, count);

    bool is_good = true;
    printf("%-22sinside the band      mean error           of the rule         band's width\n", "");
    for (size_t i = 0; i < count; i++) {
        const struct cpu_measured *cpu = &cpus[i];
        double scale = cpu_fit_scale(cpus, count, i, cpu->model.family);
        printf("%s\n  %s; scale %.3f without it\n", cpu->name, cpu->model.source, scale);
        is_good &= judge(cpu, scale, CPU_PRINTED, false, "printed");
        is_good &= judge(cpu, scale, CPU_ENERGY, false, "energy");
        (void)judge(cpu, scale, CPU_PRINTED, true, "printed, with clock");
        (void)judge(cpu, scale, CPU_ENERGY, true, "energy, with clock");
        if (is_verbose)
            print_points(cpu, scale);
    }
    puts("fitted on all of them:");
    static const char *const families[] = {"intel-server", "amd-server", "arm-server"};
    for (size_t i = 0; i < WT_COUNTOF(families); i++) {
        double scale = cpu_fit_scale(cpus, count, SIZE_MAX, families[i]), held = NAN;
        for (size_t k = 0; k < count; k++)
            if (strcmp(cpus[k].model.family, families[i]) == 0)
                held = cpus[k].model.scale;
        bool is_same = isnan(held) || argc > 1 + is_verbose || fabs(held - scale) < 0.0006;
        printf("  %-14s scale %.3f%s\n", families[i], scale,
               is_same ? "" : "  NOT what data/cpu-families.csv holds");
        is_good &= is_same;
    }
    return is_good ? 0 : 1;
}
