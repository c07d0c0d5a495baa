/* What tests and benches may ask of the CPU backend besides backend.h.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_CPU_H
#define WT_WORKLOAD_CPU_H

#include "workload/attend.h"
#include "workload/backend.h"
#include "workload/kernels.h"
#include "workload/matvec.h"

struct wt_cpu_options {
    enum wt_dtype dtype;
    unsigned threads;
    bool is_pinned;
    bool is_slow_allowed;             /* bf16 by way of float where there are no instructions */
    const struct wt_kernels *kernels; /* NULL: the best; so below */
    const struct wt_attend_kernels *attend;
    const struct wt_matvec_kernels *matvec;
};
/* Errors: those of wt_cpu_new. */
int wt_cpu_new_with(struct wt_backend *ret_backend, const struct wt_cpu_options *options,
                    struct wt_error *err);

#endif
