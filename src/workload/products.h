/* Matrix products of the CPU backend: OpenBLAS, oneDNN and, with weights that stay as they are,
 * panels.c on pieces of the result, which the pool's threads take. Each computes on one thread at a
 * time, so none has threads of its own that would fight the pool's for cores.
 *
 * Which library and which cut into pieces is the fastest is found out with the work itself: the
 * first products of a shape go to the candidates in turn and are timed; then the fastest stays.
 * Small products, where it would not pay, always take the same, and so do all where the environment
 * has WATTUNE_PRODUCTS=openblas, onednn (its sgemm), onednn-matmul (its primitives) or panels
 * (OpenBLAS where weights are not packed): then a result is the same to the bit in every run.
 * Without oneDNN its names mean OpenBLAS.
 *
 * Internal to the workload. Threads: owner thread. */
#ifndef WT_WORKLOAD_PRODUCTS_H
#define WT_WORKLOAD_PRODUCTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"
#include "workload/panels.h"
#include "workload/pool.h"

struct wt_products;

/* Of a linear layer: y = x w', dx = dz w, dw = dz' x. Matrices lie row by row without gaps. */
enum wt_form {
    WT_FORM_FORWARD,     /* c[m, n] = a[m, k] b[n, k]' */
    WT_FORM_GRAD_INPUT,  /* c[m, n] = a[m, k] b[k, n] */
    WT_FORM_GRAD_WEIGHT, /* c[m, n] = a[k, m]' b[k, n] */
};

/* After rows and columns of c are computed, by the thread that did and while they are in its
 * cache. */
typedef void (*wt_products_then)(void *data, size_t row, size_t rows, size_t column, size_t columns,
                                 unsigned thread);

struct wt_product {
    enum wt_form form;
    bool is_bf16;   /* a and b; else float */
    bool is_c_bf16; /* with is_bf16 only; else float */
    size_t m, n, k;
    const void *a, *b;
    const struct wt_panels
        *packed; /* b again; of WT_FORM_FORWARD in float, not adding. NULL: none */
    void *c;
    const float *bias; /* [n], added to each row before c is rounded; NULL: none. Not with adding */
    bool is_adding;    /* to c; else it is written over */
    wt_products_then then; /* NULL: nothing */
    void *then_data;
};

/* Whether bfloat16 is multiplied with instructions for it; else it is widened and multiplied in
 * float, right but slow. Why not: "this processor has no AVX512_BF16". */
bool wt_products_has_bf16(const char **ret_why_not);

/* pool: borrowed until free. Errors: WT_E_NOMEM, WT_E_USAGE (WATTUNE_PRODUCTS names no library). */
int wt_products_new(struct wt_products **ret_products, struct wt_pool *pool, unsigned threads,
                    struct wt_error *err);
void wt_products_free(struct wt_products *products);
/* What packs weights that stay for it; NULL: packed they would not be used. */
const struct wt_panel_kernels *wt_products_panels(const struct wt_products *products);
/* Errors: WT_E_NOMEM (for pieces of a new shape), WT_E_UNSUPPORTED (oneDNN, which has bf16, has no
 * product of this shape). */
int wt_products_run(struct wt_products *products, const struct wt_product *product,
                    struct wt_error *err);
/* FLOPs so far: 2 m n k of each product. */
double wt_products_flops(const struct wt_products *products);

/* Those of products computed elsewhere. */
void wt_products_add_flops(struct wt_products *products, double flops);

#endif
