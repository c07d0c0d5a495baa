/* The backends that the models are tested on: a line each. */
#ifndef WT_TEST_BACKENDS_H
#define WT_TEST_BACKENDS_H

#include "reference_backend.h"
#include "workload/cpu.h"

/* One thread, and more than pieces of small matrices share out evenly. */
static inline int cpu_alone(struct wt_backend *ret_backend, struct wt_error *err)
{
    return wt_cpu_new(ret_backend, WT_F32, 1, false, err);
}
static inline int cpu_shared(struct wt_backend *ret_backend, struct wt_error *err)
{
    return wt_cpu_new(ret_backend, WT_F32, 3, false, err);
}

static const struct {
    int (*make)(struct wt_backend *ret_backend, struct wt_error *err);
    double loss_tolerance, gradient_tolerance; /* relative, in fp32 */
} backends[] = {
    {wt_reference_new, 1e-6, 1e-5},
    {cpu_alone, 1e-6, 1e-5},
    {cpu_shared, 1e-6, 1e-5},
};

/* bf16, also where there are no instructions for it: slower, with the same rounding. */
static inline int cpu_bf16(struct wt_backend *ret_backend, struct wt_error *err)
{
    struct wt_cpu_options options = {.dtype = WT_BF16, .threads = 2, .is_slow_allowed = true};
    return wt_cpu_new_with(ret_backend, &options, err);
}

#endif
