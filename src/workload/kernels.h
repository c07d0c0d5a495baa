/* The elementwise parts of a step: everything between two matrix products.
 *
 * One source (kernels.c) is compiled once for each instruction set, and the best table this
 * processor can run is chosen at run time. Each function works on the rows, columns or values it
 * is given and on nothing else, so that the caller may split them over threads; no result depends
 * on how they were split. Arrays do not overlap except where said, and need no alignment.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_KERNELS_H
#define WT_WORKLOAD_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/backend.h"

struct wt_adamw {
    float rate, beta1, beta2, epsilon;
    float decay;                    /* weight decay; 0 for biases and norms */
    float correction1, correction2; /* 1 - beta^step */
    float gradient_scale;           /* of clipping; 1: none */
};

struct wt_kernels {
    const char *name; /* "avx512", "avx2", "baseline" */

    /* y += x; n values */
    void (*add)(float *y, const float *x, size_t n);

    /* sum[columns from..to) += column sums of x[rows, n] */
    void (*add_columns)(float *sum, const float *x, size_t rows, size_t n, size_t from, size_t to);

    /* Between float and bfloat16 (rounded to nearest even). */
    void (*widen)(float *to, const uint16_t *from, size_t n);
    void (*narrow)(uint16_t *to, const float *from, size_t n);

    /* Of one row: y = norm(x) gain + bias. mean and rstd are for the backward pass. */
    void (*norm_row)(float *y, const float *x, float *ret_mean, float *ret_rstd, const float *gain,
                     const float *bias, size_t n, float epsilon);

    /* Of one row: dx, the gradient towards the norm's input x, and its share added to dgain and
     * dbias. dx may be dy. */
    void (*norm_backward_row)(float *dx, const float *dy, const float *x, float mean, float rstd,
                              const float *gain, float *dgain, float *dbias, size_t n);

    /* y = f(x), dx = dy f'(x); y may be x, dx may be dy. n values */
    void (*activate)(float *y, const float *x, size_t n, enum wt_nonlinearity f);
    void (*activate_backward)(float *dx, const float *dy, const float *x, size_t n,
                              enum wt_nonlinearity f);

    /* -log softmax(logits)[target]; keeps log-sum-exp for the backward pass */
    float (*cross_entropy)(float *ret_lse, const float *logits, size_t n, size_t target);
    /* logits in place: weight (softmax - one-hot) */
    void (*cross_entropy_backward)(float *logits, float lse, float weight, size_t n, size_t target);

    /* y[i] is 0 with probability p and y[i] / (1-p) else, decided by (key, first + i) alone: the
     * backward pass calls the same again. */
    void (*dropout)(float *y, size_t n, uint64_t key, uint64_t first, float p);

    double (*sum_of_squares)(const float *x, size_t n);
    void (*adamw)(float *parameter, float *first, float *second, const float *gradient, size_t n,
                  const struct wt_adamw *how);
};

/* Whether this processor has what the tables for AVX-512 are compiled for. Threads: any thread. */
bool wt_has_avx512(void);
/* The best table for this processor. Borrowed for ever. Threads: any thread. */
const struct wt_kernels *wt_kernels_best(void);
/* The tables this processor can run, best first; NULL past the end. For tests. */
const struct wt_kernels *wt_kernels_at(size_t i);

#endif
