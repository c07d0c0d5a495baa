/* What the two sources of the NVIDIA backend share: its state, and products (cuda_products.c),
 * which the operations (cuda.c) are made of. How they are done is said in the sources.
 *
 * Functions that say nothing of what went wrong keep it for the next sync.
 *
 * Internal to the two, so that at() and parts_of(), which are everywhere in them, keep short names.
 * Threads: owner thread. */
#ifndef WT_WORKLOAD_CUDA_H
#define WT_WORKLOAD_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/backend.h"
#include "workload/cuda_api.h"

#define WT_CUDA_WORKSPACE_BYTES ((size_t)64 << 20) /* of cuBLASLt */
#define WT_CUDA_PLANS           1024               /* remembered products; a power of 2 */
#define WT_CUDA_STAGES          8                  /* pieces of pinned memory for uploads */

/* X(name) of each kernel that hangs on no size */
#define WT_CUDA_KERNELS(X)                                                                         \
    X(finish_linear_v)                                                                             \
    X(finish_linear_1)                                                                             \
    X(finish_linear_float)                                                                         \
    X(gelu_erf_v)                                                                                  \
    X(bend_back_v)                                                                                 \
    X(bend_back_1)                                                                                 \
    X(bend_back_gelu_erf_v)                                                                        \
    X(column_sums_v)                                                                               \
    X(fold)                                                                                        \
    X(embed_v)                                                                                     \
    X(embed_1)                                                                                     \
    X(embed_back_v)                                                                                \
    X(embed_back_1)                                                                                \
    X(loss_rows)                                                                                   \
    X(cross_entropy)                                                                               \
    X(move_rows_v)                                                                                 \
    X(move_rows_1)                                                                                 \
    X(cache_rows)                                                                                  \
    X(decode_token)                                                                                \
    X(narrow_all)                                                                                  \
    X(narrow_any)                                                                                  \
    X(square_sums)                                                                                 \
    X(finish_norm)                                                                                 \
    X(adamw_step)                                                                                  \
    X(plain_product)

struct wt_cuda_compiled;

/* A product as cuBLASLt has it: d [m, n] = op(a) op(b) + beta d, column by column. */
struct wt_cuda_product {
    uint64_t m, n, k;
    int64_t lda, ldb, ldd;
    int32_t turn_a, turn_b;
    int32_t is_float; /* d is float whatever activations are */
    int32_t is_adding;
    int32_t epilogue;
    int32_t bias_is_float;
    uint32_t alignment[5];  /* of a, b, c, d and the bias; set by wt_cuda_find_plan */
    uint32_t zero;          /* no padding: compared as bytes */
    wt_cu_at a, b, d, bias; /* behind what is compared */
};

struct wt_cuda_plan {
    struct wt_cuda_product of;
    bool is_used, is_possible;
    void *desc, *a, *b, *d;
    uint64_t algorithm[8];
    float ms;        /* as tried out */
    int is_separate; /* of bias gradients: 0 not known, 1 own sums are faster, -1 the fused ones */
};

/* Parameters and the working copy that has been made of them. */
struct wt_cuda_shadow {
    const float *from;
    const char *to;
    size_t n;
};

struct wt_cuda {
    struct wt_cuda_api api;
    int device;
    bool has_context;
    void *stream;
    char name[256];
    int architecture, processors, shared_most;
    enum wt_dtype dtype;
    enum wt_cuda_mode mode;
    size_t act;   /* bytes */
    size_t chunk; /* activations in 16 bytes */
    void *common;
#define WT_CUDA_KERNEL(name) void *name;
    struct {
        WT_CUDA_KERNELS(WT_CUDA_KERNEL)
    } k;
#undef WT_CUDA_KERNEL
    struct wt_cuda_compiled *parts;

    void *lt, *wish;
    struct wt_cuda_plan plans[WT_CUDA_PLANS];
    size_t plan_count;
    void *begin, *end; /* events for trying out */

    wt_cu_at workspace, partial, norm_partial, norm_scale, bias, logits, spans;
    size_t bias_room, logits_room, span_room; /* bytes */
    struct wt_span *known_spans;              /* what spans holds */
    size_t known_count;

    void *stage;
    void *staged[WT_CUDA_STAGES];
    unsigned stage_at;

    struct wt_cuda_shadow shadows[16];
    size_t shadow_count;

    struct wt_error failed; /* the first thing since the last sync; code 0: nothing has */
};

static inline wt_cu_at at(const void *p)
{
    return (wt_cu_at)(uintptr_t)p;
}

static inline size_t parts_of(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* ---- cuda.c ---- */

/* The first failure since the last sync stays. */
void wt_cuda_keep(struct wt_cuda *c, const struct wt_error *err);
/* Whether a call of the driver went well; else it is kept. */
bool wt_cuda_is_well(struct wt_cuda *c, int result, const char *what);
/* A kernel over x * y * z blocks; nothing where there are none. */
void wt_cuda_launch3(struct wt_cuda *c, void *kernel, size_t x, size_t y, size_t z,
                     unsigned threads, size_t shared, void **arguments);
/* Memory of the backend's own that grows with the sizes met. False: there is none. */
bool wt_cuda_has_room(struct wt_cuda *c, wt_cu_at *io_at, size_t *io_room, size_t want);
/* n floats to activations. */
void wt_cuda_narrow(struct wt_cuda *c, wt_cu_at to, const float *from, size_t n);

/* ---- cuda_products.c ---- */

/* cuBLASLt's handle. Errors: WT_E_IO. After one, wt_cuda_products_done() is still to be called. */
int wt_cuda_products_init(struct wt_cuda *c, struct wt_error *err);
void wt_cuda_products_done(struct wt_cuda *c);

/* x [m, in] w' -> y [m, out] of ld */
struct wt_cuda_product wt_cuda_forward_product(const void *x, const struct wt_weight *w, size_t m,
                                               wt_cu_at y, size_t ld, bool is_float);
/* dw [out, in] (+)= dz' x */
struct wt_cuda_product wt_cuda_weight_product(wt_cu_at dz, size_t ld, const void *x,
                                              const struct wt_weight *w, size_t m, float *dw,
                                              bool is_adding);
/* How it is computed: found out at the first call for it. Borrowed until the next. */
struct wt_cuda_plan *wt_cuda_find_plan(struct wt_cuda *c, struct wt_cuda_product *o);
/* False: the epilogue is not to be had for this, and nothing was done. */
bool wt_cuda_multiply(struct wt_cuda *c, struct wt_cuda_product *o);
/* Adds the bias within the product where it can. False: it is still to be added. */
bool wt_cuda_multiply_with_bias(struct wt_cuda *c, struct wt_cuda_product *o, const float *bias,
                                size_t n);
/* dx [m, in] (+)= dz [m, out, of ld] w */
void wt_cuda_multiply_dx(struct wt_cuda *c, wt_cu_at dz, size_t ld, const struct wt_weight *w,
                         size_t m, void *dx, bool is_adding);

#endif
