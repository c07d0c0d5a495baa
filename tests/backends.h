/* The backends that the models are tested on: a line each. */
#ifndef WT_TEST_BACKENDS_H
#define WT_TEST_BACKENDS_H

#include "reference_backend.h"

static const struct {
    int (*make)(struct wt_backend *ret_backend, struct wt_error *err);
    double loss_tolerance, gradient_tolerance; /* relative, in fp32 */
} backends[] = {
    {wt_reference_new, 1e-6, 1e-5},
};

#endif
