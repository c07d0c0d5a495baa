/* The operations of backend.h in plain loops: what every other backend is held against.
 *
 * Obvious rather than fast: each formula is one loop, sums and functions are in double and only
 * what backend.h says is stored becomes float. dtype is WT_F32; memory is the host's. */
#ifndef WT_TEST_REFERENCE_BACKEND_H
#define WT_TEST_REFERENCE_BACKEND_H

#include "workload/backend.h"

int wt_reference_new(struct wt_backend *ret_backend, struct wt_error *err);
/* FLOPs of all products so far, those of attention only for pairs that see each other. What its
 * backward pass computes a second time (the weights) is not counted again. */
double wt_reference_product_flops(const struct wt_backend *reference);

#endif
