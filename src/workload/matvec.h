/* Products of few rows with a weight matrix, which must be read from memory once and do little
 * else: generation. And products in 8-bit integers for any number of rows.
 *
 * One source (matvec.c) is compiled once for each instruction set, as kernels.c is. Each call
 * computes a range of output columns (rows of the weights) and may run beside calls for others; no
 * result depends on the ranges. Arrays need no alignment.
 *
 * Integers: a weight row o is round(w / scale[o]) in -127..127, off by at most scale[o] / 2, with
 * scale[o] = max|w| / 127. Where products are added in 16 bits before they are in 32 (.narrow), it
 * is no less than the sum of those of one sign among the weights whose products are / (129 -
 * narrow), which costs about a bit. So weights are for the table that quantised them. A row of
 * activations is round(x / scale) + zero, when it is known: 0 to 254 from the row's least value (or
 * 0) to its largest (or 0). The products of these integers are exact in every table, for rows of up
 * to WT_INT8_MOST_IN values.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_MATVEC_H
#define WT_WORKLOAD_MATVEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/backend.h"

/* y = f(x w' + bias). */
struct wt_matvec {
    const void *x;     /* [m, in], float or bfloat16 as w is */
    const void *w;     /* [out, in] */
    const float *bias; /* [out]; NULL: none */
    void *y;           /* [m, out] */
    size_t m, in, out;
    enum wt_nonlinearity f;
    bool is_bf16;   /* x and w are */
    bool is_bf16_y; /* y is */
};

/* Weights as integers, in panels of 16 output columns: panel p, k-group g, column c, 4 values of k
 * at ((p * groups + g) * 16 + c) * 4. Columns and values past the end are 0. */
#define WT_INT8_PANEL   16
#define WT_INT8_TOP     254                       /* of activations */
#define WT_INT8_MOST_IN (INT32_MAX / (254 * 127)) /* 66,571: sums fit 32 bits */
struct wt_int8_weight {
    int8_t *values; /* wt_int8_weight_bytes(); the caller's memory */
    float *scale;   /* [out rounded up to a panel] */
    int32_t *sum;   /* [as scale]: of a row's integers */
    size_t out, in; /* in: at most WT_INT8_MOST_IN */
};
static inline size_t wt_int8_groups(size_t in)
{
    return (in + 3) / 4;
}
static inline size_t wt_int8_panels(size_t out)
{
    return (out + WT_INT8_PANEL - 1) / WT_INT8_PANEL;
}
static inline size_t wt_int8_weight_bytes(size_t out, size_t in)
{
    return wt_int8_panels(out) * wt_int8_groups(in) * WT_INT8_PANEL * 4;
}

/* Rows of activations as integers, each 4 * wt_int8_groups(in) bytes; zero at the end. */
struct wt_int8_rows {
    uint8_t *values; /* [m, 4 groups]; the caller's memory */
    float *scale;    /* [m] */
    int32_t *zero;   /* [m]: the integer that is 0 */
    size_t in;
};

/* y = f((x w') scale_x scale_w + bias). */
struct wt_int8_product {
    const struct wt_int8_rows *x;
    const struct wt_int8_weight *w;
    const float *bias; /* [out]; NULL: none */
    float *y;          /* [m, out] */
    size_t m;
    enum wt_nonlinearity f;
};

struct wt_matvec_kernels {
    const char *name; /* "avx512_bf16", "avx512_vnni", "avx512", "avxvnni", "avx2", "baseline" */
    /* Products that are added in 16 bits: of the weights 2i and 2i + 1 of so many neighbouring
     * k-groups, from a multiple of it on; 0: none. */
    size_t narrow;
    /* Columns from..to of y. Made for m up to 16, right for any. */
    void (*product)(const struct wt_matvec *v, size_t from, size_t to);

    /* Panels from..to of q from w [out, in]. */
    void (*quantise_weight)(struct wt_int8_weight *q, const float *w, size_t from, size_t to);
    /* Rows from..to of q from x [m, in]. A row with a value that is not finite gets scale NaN, so
     * that what is computed from it is NaN too. */
    void (*quantise_rows)(struct wt_int8_rows *q, const float *x, size_t from, size_t to);
    /* Columns of the panels from..to of y, for any m. */
    void (*int8_product)(const struct wt_int8_product *p, size_t from, size_t to);
};

/* The best table for this processor. Borrowed for ever. Threads: any thread. */
const struct wt_matvec_kernels *wt_matvec_best(void);
/* The tables this processor can run, best first; NULL past the end. For tests. */
const struct wt_matvec_kernels *wt_matvec_at(size_t i);

#endif
