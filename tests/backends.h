/* The backends that the models are tested on: a line each. */
#ifndef WT_TEST_BACKENDS_H
#define WT_TEST_BACKENDS_H

#include "reference_backend.h"

static inline int wt_cpu_in_fp32(struct wt_backend *ret_backend, struct wt_error *err)
{
    return wt_cpu_new(ret_backend, WT_F32, 2, false, err);
}

static const struct {
    int (*make)(struct wt_backend *ret_backend, struct wt_error *err);
    double loss_tolerance, gradient_tolerance; /* relative, in fp32 */
} backends[] = {
    {wt_reference_new, 1e-6, 1e-5},
    {wt_cpu_in_fp32, 1e-5, 1e-4},
};

#endif
