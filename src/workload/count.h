/* Counting: a list of kernels that grows, and what operations cost. count.c has the rules.
 *
 * Internal to the workload. Threads: a list belongs to the thread that made it. */
#ifndef WT_WORKLOAD_COUNT_H
#define WT_WORKLOAD_COUNT_H

#include <stddef.h>

#include "workload/backend.h"

struct count {
    struct wt_emu_kernel *kernels;
    size_t count, room;
    bool is_short; /* no memory for the list */
    double act;    /* bytes of an activation */
    double weight; /* bytes of a weight in products */
    enum wt_emu_engine engine;
    uint64_t memory;
    struct block {
        void *at;
        size_t bytes;
        struct block *next;
    } * blocks;
};

/* Bytes and engine of a dtype's numbers. */
void wt_count_dtype(struct count *c, enum wt_dtype dtype);
void wt_count_add(struct count *c, double flops, double bytes, enum wt_emu_engine engine);
/* values: how many come out; tensors: how many such are read and written. */
void wt_count_elementwise(struct count *c, double values, double flops_each, double tensors);
/* y [m, n] = x [m, k] w [n, k]'; result: bytes of one of y. */
void wt_count_product(struct count *c, double m, double n, double k, double result);
/* dx [m, k] = dy [m, n] w, and dw [n, k] = dy' x */
void wt_count_product_input(struct count *c, double m, double n, double k);
void wt_count_product_weight(struct count *c, double m, double n, double k);
/* AdamW over n parameters, with the norm before it; with a working copy of the weights or without.
 */
void wt_count_optimizer(struct count *c, double n, bool has_copy);

#endif
