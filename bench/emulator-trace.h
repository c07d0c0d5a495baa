/* The measured curves of bench/power-traces, grouped by workload, and one point of the model to
 * hold against them. */
#ifndef WT_BENCH_EMULATOR_TRACE_H
#define WT_BENCH_EMULATOR_TRACE_H

#include <stdbool.h>

#include "emulator/model.h"

#define TRACE_LIMITS 12
#define TRACE_GROUPS 96

/* One workload at each limit, lowest limit first. */
struct trace_group {
    char dataset[32], network[32], optimizer[16];
    unsigned batch;
    unsigned limits;
    double limit_w[TRACE_LIMITS], time_s[TRACE_LIMITS], power_w[TRACE_LIMITS];
};

/* Reads a file of summary_power_*.csv's form. Says what is wrong on stderr. Returns how many
 * groups, or -1. */
int trace_read(const char *path, struct trace_group groups[TRACE_GROUPS]);
/* BERT rows: what the model is judged by, and calibration must not see. */
bool trace_is_judge(const struct trace_group *g);

struct trace_point {
    double time_s, power_w; /* a step, and the mean over it */
};
/* Repeats the load until warm, then for at least span_ns. */
struct trace_point trace_run(struct wt_model *m, const struct wt_profile *p, double limit_w,
                             const struct wt_emu_kernel *kernels, size_t count, int64_t gap_ns,
                             int64_t warm_ns, int64_t span_ns);

#endif
