/* Attention of one head: forward and backward over whole sequences, and one new token against a
 * cache. Scores exist only tile by tile.
 *
 * One source (attend.c) is compiled once for each instruction set, as kernels.c is. The unit of
 * work is one head of one sequence (forward: some rows of it), so that the caller shares units out
 * over threads; no result depends on how. A thread brings its own scratch memory. All sums are in
 * float, also where activations are bfloat16. Arrays need no alignment; padding between rows is
 * neither read nor written.
 *
 * How the CPU backend's operations map onto it, for sequence b and head a, with H = heads * head:
 *
 *     const char *qkv = (const char *)at->qkv + (starts[b] * 3 * H + a * head) * act_bytes;
 *     struct wt_attend work = {
 *         .q = qkv, .k = qkv + H * act_bytes, .v = qkv + 2 * H * act_bytes, .stride = 3 * H,
 *         .context = (char *)at->context + (starts[b] * H + a * head) * act_bytes,
 *         .context_stride = H, .lse = at->lse + a * rows + starts[b],
 *         .length = lengths[b], .head = head, .is_causal = at->is_causal,
 *         .is_bf16 = dtype == WT_BF16, .drop = at->drop,
 *         .drop_first = (b * heads + a) * longest * longest, .drop_stride = longest };
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_ATTEND_H
#define WT_WORKLOAD_ATTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/backend.h"

struct wt_attend {
    const void *q, *k, *v; /* at the sequence's first row and this head; row r at r * stride */
    size_t stride;         /* values, not bytes, as all strides here */
    void *context;
    size_t context_stride;
    float *lse; /* [length]: natural log-sum-exp of each row's scaled scores; NULL: not kept */
    size_t length, head;
    bool is_causal, is_bf16;
    struct wt_dropout drop; /* of weight (query, key): index drop_first + query drop_stride + key */
    uint64_t drop_first, drop_stride;
};

/* What the backward pass has besides: q, k, v, context and lse as the forward pass left them. */
struct wt_attend_grad {
    const void *dcontext; /* strides as context */
    void *dq, *dk, *dv;   /* written over; strides as q, k, v */
};

/* One new token of one sequence: `count` heads from the first pointed to. */
struct wt_attend_decode {
    const void *q;             /* [count * head] */
    const void *keys, *values; /* row r at r * stride; the new token's row is there already */
    size_t stride;
    void *context; /* [count * head] */
    size_t length, count, head;
    bool is_bf16;
};

struct wt_attend_kernels {
    const char *name; /* "avx512", "avx2", "baseline" */
    /* Context (and lse) of the query rows from..to. Best called with multiples of 128 rows. */
    void (*forward)(const struct wt_attend *a, size_t from, size_t to, void *scratch);
    /* All rows of a sequence's head: every key's gradient has parts of every query. */
    void (*backward)(const struct wt_attend *a, const struct wt_attend_grad *g, void *scratch);
    /* Best called with all heads of a sequence: then the cache is read as it lies. */
    void (*decode)(const struct wt_attend_decode *d, void *scratch);
};

/* Bytes of scratch memory that any call needs, for any table. Its alignment does not matter. */
size_t wt_attend_forward_scratch(size_t head);
size_t wt_attend_backward_scratch(size_t length, size_t head);
size_t wt_attend_decode_scratch(size_t count, size_t head);

/* The best table for this processor. Borrowed for ever. Threads: any thread. */
const struct wt_attend_kernels *wt_attend_best(void);
/* The tables this processor can run, best first; NULL past the end. For tests. */
const struct wt_attend_kernels *wt_attend_at(size_t i);

#endif
