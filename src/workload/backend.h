/* What a device computes for the models: the operations of training, of an encoder's pass and of
 * generation, as one table of functions.
 *
 * model_pass.c is written once against this table. cpu.c and cuda.c compute with it; count.c only
 * counts FLOPs and bytes, for the emulated device and for predictions, so that counts and code
 * cannot drift apart; the tests have one in double precision that the others are held against.
 *
 * Sizes: T rows (tokens) of a batch of B sequences, width H = A heads of D, feed-forward F,
 * vocabulary V. A matrix [m, n] lies row by row without gaps. "act" is an array of activations:
 * float where the backend's dtype is WT_F32 or WT_TF32, bfloat16 (WT_BF16) else; with WT_INT8
 * activations are float (2 bytes where they are only counted: is_narrow) and only prepared weights
 * are integers. Sums are taken in float or wider.
 * All arrays lie in the device's memory (alloc), integers too, unless a comment says "host".
 * Arrays do not overlap unless it is said that they may be the same.
 *
 * Operations are queued in order and may still be under way when a call returns; download and sync
 * wait. An operation does not allocate once it was done with the same sizes: at the first time it
 * may take scratch memory and what a library needs for a product's shape. What goes wrong in one,
 * that too, is kept and said by the next sync.
 *
 * Internal to the workload. Threads: a backend belongs to the thread that made it. */
#ifndef WT_WORKLOAD_BACKEND_H
#define WT_WORKLOAD_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/workload.h"

/* What follows a linear layer. */
enum wt_nonlinearity {
    WT_IDENTITY,
    WT_GELU_ERF,  /* x Phi(x) */
    WT_GELU_TANH, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), GPT-2's */
    WT_TANH,
    WT_RELU,
};

/* x[i] is 0 with probability p, and x[i] / (1-p) else, by (key, i) alone: wt_dropout_bits() in
 * random.h. So the backward pass finds the same again, and every device drops the same values. */
struct wt_dropout {
    float p; /* 0: nothing is dropped */
    uint64_t key;
};

/* A weight matrix as products take it. */
struct wt_weight {
    const float *master; /* [out, in]: the parameters */
    const void *values;  /* act [out, in]: the working copy; with float activations the master */
    void *prepared;      /* the backend's own form of it, by prepare(); NULL: none */
    size_t out, in;
    bool is_for_many_rows; /* whole texts at a time: worth a second copy in another order */
};

/* out[t] = token[tokens[t]] + position[positions[t]] + type[types[t]], then dropout. */
struct wt_embed {
    const float *token, *position, *type; /* [V, H], [P, H], [types, H]; type may be NULL */
    const int32_t *tokens, *positions;    /* [rows] */
    const int32_t *types;                 /* [rows]; NULL: all 0 */
    size_t rows, hidden;
    void *out; /* act [rows, H] */
    struct wt_dropout drop;
};
/* Adds to the tables' gradients. */
struct wt_embed_grad {
    const void *dout;                  /* act [rows, H] */
    float *dtoken, *dposition, *dtype; /* dtype NULL as type is */
};

/* sum = drop_in(x) + residual; y = drop_out((sum - mean) rstd gain + bias), row by row. */
struct wt_norm {
    const void *x;            /* act [rows, n] */
    const void *residual;     /* act [rows, n]; NULL: nothing is added */
    void *sum;                /* act [rows, n]: kept for the backward pass; may be x or residual.
                               * NULL: not kept (then nothing may be added or dropped before it is
                               * normed unless only y is wanted) */
    void *y;                  /* act [rows, n]; NULL: only the sum is wanted */
    float *mean, *rstd;       /* [rows]; NULL: not kept */
    const float *gain, *bias; /* [n] */
    size_t rows, n;
    float epsilon;
    struct wt_dropout drop_in, drop_out;
};
/* dsum = d(y)/d(sum) applied to drop_out(dy), plus dother. dgain, dbias as said by is_adding. */
struct wt_norm_grad {
    const void *dy;     /* act [rows, n]; NULL where y was: then dsum is dother */
    const void *dother; /* act [rows, n]: what arrives at sum by another way; NULL: nothing */
    void *dsum;         /* act [rows, n]: also the residual's gradient; may be dy or dother */
    void *dx;           /* act [rows, n]: drop_in(dsum); NULL: not wanted (no dropout). May be dy */
    float *dgain, *dbias;
    bool is_adding; /* to dgain and dbias; else they are written over */
};

/* y = f(x w' + bias). */
struct wt_linear {
    const void *x; /* act [m, in] */
    const struct wt_weight *w;
    const float *bias; /* [out]; NULL: none */
    size_t m;
    enum wt_nonlinearity f;
    void *pre; /* act [m, out]: x w' + bias, kept for the backward pass; NULL: not kept */
    void *y;   /* act [m, out]; float where is_float */
    bool is_float;
};
/* dz = dy f'(pre); dx (+)= dz w; dw (+)= dz' x; dbias (+)= column sums of dz. */
struct wt_linear_grad {
    void *dy; /* act [m, out]; holds dz afterwards */
    void *dx; /* act [m, in]; NULL: not wanted. May be neither x nor dy */
    bool is_adding_dx;
    float *dw, *dbias; /* [out, in], [out]; dbias NULL: no bias */
    bool is_adding;    /* to dw and dbias */
};

/* Where the sequences of a batch lie: sequence b has rows starts[b] .. starts[b] + lengths[b] - 1.
 * Padded: starts[b] = b * seq. Packed: one after the other. Rows of no sequence become 0. */
struct wt_sequences {
    const int32_t *starts, *lengths; /* [count] */
    size_t count, rows, longest;     /* longest: an upper bound of lengths, on the host */
};

/* context = softmax(q k' / sqrt(D)) v, head by head; under is_causal only of what came before. */
struct wt_attention {
    const void *qkv; /* act [rows, 3 H]: queries, keys, values, each A heads of D */
    void *context;   /* act [rows, H] */
    float *lse;      /* [A, rows]: log-sum-exp of each row, for the backward pass; NULL: not kept */
    struct wt_sequences at;
    size_t heads, head;
    bool is_causal;
    struct wt_dropout drop; /* of the weights; index ((b A + a) longest + query) longest + key */
};
struct wt_attention_grad {
    const void *dcontext; /* act [rows, H] */
    void *dqkv;           /* act [rows, 3 H] */
    float *delta;         /* [A, rows]: scratch */
};

/* One new token of each sequence against what was before. Cache: act [B, capacity, H] each. */
struct wt_decode {
    const void *qkv;        /* act [B, 3 H] of the new tokens */
    void *keys, *values;    /* the new token's are put at lengths[b] - 1 first */
    const int32_t *lengths; /* [B]: tokens of each sequence, the new one counted */
    size_t count, capacity, longest, heads, head;
    void *context; /* act [B, H] */
};

/* Softmax cross-entropy over x w' + bias: the vocabulary's logits, never all of them in memory at
 * once. Forward and backward in one pass, since both need the logits. */
struct wt_loss {
    const void *x; /* act [m, H] */
    const struct wt_weight *w;
    const float *bias;      /* [V]; NULL: none */
    const int32_t *targets; /* [m]; -1: the row has no loss */
    size_t m;
    float *losses; /* [m]: in nats; 0 where there is none */
    /* Of sum(losses) * scale. dx NULL: only losses are wanted. */
    float scale;
    void *dx;          /* act [m, H] */
    float *dw, *dbias; /* [V, H], [V] */
    bool is_adding;    /* to dw and dbias */
};

/* A span of parameters under AdamW with one weight decay. */
struct wt_span {
    size_t from, to;
    bool is_decayed;
};
/* One step of AdamW over all of p. Nothing is changed when the gradients' norm is not finite. */
struct wt_adam {
    float *p, *first, *second; /* [total] */
    const float *g;
    void *working;               /* act [total]: the working copy, where it is not p; else NULL */
    const struct wt_span *spans; /* host; sorted, without gaps, from 0 to total */
    size_t span_count, total;
    float rate, beta1, beta2, epsilon, decay;
    float correction1, correction2; /* 1 - beta^step */
    float clip;                     /* largest norm of g; 0: not clipped */
    float *norm;                    /* [1]: of g before clipping */
};

struct wt_backend_ops {
    const char *name; /* "cpu", "cuda", "count", "reference" */

    /* ---- memory ---- */
    /* Zeroed. Errors: WT_E_NOMEM, which says how much was wanted. */
    int (*alloc)(void *self, void **ret_at, size_t bytes, struct wt_error *err);
    void (*release)(void *self, void *at);
    /* from_host may change when it returns. */
    void (*upload)(void *self, void *to, const void *from_host, size_t bytes);
    /* Waits until it is there. Errors: those of sync. */
    int (*download)(void *self, void *to_host, const void *from, size_t bytes,
                    struct wt_error *err);
    int (*sync)(void *self, struct wt_error *err);
    void (*fill_zero)(void *self, void *at, size_t bytes);
    /* to act [n] from float [n]: a working copy */
    void (*narrow)(void *self, void *to, const float *from, size_t n);
    /* For weights that stay as they are: packed, quantised. May do nothing. w->prepared is freed by
     * unprepare. Errors: WT_E_NOMEM, WT_E_UNSUPPORTED (integers of too wide a matrix). */
    int (*prepare)(void *self, struct wt_weight *w, struct wt_error *err);
    void (*unprepare)(void *self, struct wt_weight *w);

    /* ---- operations ---- */
    void (*embed)(void *self, const struct wt_embed *e);
    void (*embed_backward)(void *self, const struct wt_embed *e, const struct wt_embed_grad *g);
    void (*norm)(void *self, const struct wt_norm *n);
    void (*norm_backward)(void *self, const struct wt_norm *n, const struct wt_norm_grad *g);
    void (*linear)(void *self, const struct wt_linear *l);
    void (*linear_backward)(void *self, const struct wt_linear *l, const struct wt_linear_grad *g);
    void (*attention)(void *self, const struct wt_attention *a);
    void (*attention_backward)(void *self, const struct wt_attention *a,
                               const struct wt_attention_grad *g);
    /* Keys and values of whole sequences into a cache; act [B, capacity, H] each. */
    void (*cache)(void *self, const struct wt_attention *a, void *keys, void *values,
                  size_t capacity);
    void (*decode)(void *self, const struct wt_decode *d);
    void (*loss)(void *self, const struct wt_loss *l);
    /* logits float [m, n], n small (classes); dlogits act [m, n] of sum(losses) * scale, or NULL */
    void (*cross_entropy)(void *self, const float *logits, const int32_t *targets, size_t m,
                          size_t n, float scale, float *losses, void *dlogits);
    /* out[i] = drop(x[rows[i]]); act, width n. A row may come more than once. */
    void (*gather)(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                   size_t n, const struct wt_dropout *drop);
    /* dx[total, n] = 0, then dx[rows[i]] = drop(dout[i]); no row comes twice. */
    void (*scatter)(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                    size_t total, size_t n, const struct wt_dropout *drop);
    void (*adamw)(void *self, const struct wt_adam *a);

    void (*free)(void *self);
};

struct wt_backend {
    const struct wt_backend_ops *ops;
    void *self;
    enum wt_dtype dtype;
    bool is_narrow; /* of WT_INT8: activations are 2 bytes, as on a GPU; no values are there */
};

/* As --dtype takes it. */
static inline const char *wt_dtype_name(enum wt_dtype dtype)
{
    static const char *const names[] = {
        [WT_F32] = "fp32", [WT_BF16] = "bf16", [WT_INT8] = "int8", [WT_TF32] = "tf32"};
    return names[dtype];
}

static inline size_t wt_backend_act_bytes(const struct wt_backend *b)
{
    return b->dtype == WT_BF16 || b->is_narrow ? 2 : 4;
}

/* threads >= 1, bound to CPUs where is_pinned. Errors: WT_E_UNSUPPORTED (a dtype that this
 * processor cannot), WT_E_USAGE (fewer CPUs than threads to bind, WATTUNE_PRODUCTS names no
 * library), WT_E_DENIED (binding), WT_E_NOMEM, WT_E_BUSY. */
int wt_cpu_new(struct wt_backend *ret_backend, enum wt_dtype dtype, unsigned threads,
               bool is_pinned, struct wt_error *err);
/* Of that backend: FLOPs of all products so far, counted where they are computed. */
double wt_cpu_product_flops(const struct wt_backend *cpu);

/* device: the number as the driver counts (after CUDA_VISIBLE_DEVICES). Opens libcuda, NVRTC and
 * cuBLASLt at run time. Errors: WT_E_NOTFOUND (no driver, library or device: says which),
 * WT_E_UNSUPPORTED (WT_INT8; bf16 and tf32 before compute capability 8.0; a driver before CUDA 11,
 * a library that is too old), WT_E_NOMEM, WT_E_IO (the driver or a library refuses), WT_E_INTERNAL
 * (NVRTC does not compile the kernels). Heads and widths that do not fit the device are said by the
 * sync after their use: WT_E_UNSUPPORTED; the backward pass of attention takes more room than the
 * forward one. */
int wt_cuda_new(struct wt_backend *ret_backend, enum wt_dtype dtype, unsigned device,
                struct wt_error *err);
/* "NVIDIA H100 80GB HBM3"; borrowed until the backend is freed. */
const char *wt_cuda_device_name(const struct wt_backend *cuda);

/* Counts. Memory it hands out must not be touched. kernels() are those since the last reset(), in
 * order; borrowed until the next operation. */
int wt_count_new(struct wt_backend *ret_backend, enum wt_dtype dtype, struct wt_error *err);
const struct wt_emu_kernel *wt_count_kernels(const struct wt_backend *count, size_t *ret_count);
void wt_count_reset(struct wt_backend *count);
uint64_t wt_count_memory(const struct wt_backend *count); /* bytes handed out and not released */

static inline void wt_backend_free(struct wt_backend *backend) /* NULL ops: nothing */
{
    if (backend && backend->ops)
        backend->ops->free(backend->self);
    if (backend)
        backend->ops = NULL;
}

#endif
