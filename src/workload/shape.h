/* The one description of a BERT-like model that everything is derived from: where each parameter
 * lies, and the sizes of each matrix product of a training step. The code that computes a step
 * (bert.c) and the code that counts one (ops.c) both ask here, so they cannot drift apart.
 *
 * Internal to the library. */
#ifndef WT_WORKLOAD_SHAPE_H
#define WT_WORKLOAD_SHAPE_H

#include "wattune/workload.h"

#define WT_TOKEN_TYPES 2 /* rows of the token type embedding, as BERT has them */

/* A step's sizes. */
struct wt_dims {
    size_t batch, seq;
    size_t tokens; /* batch * seq */
    size_t masked; /* positions of the batch with a loss; wt_masked_per_sequence() a sequence */
    size_t layers, hidden, heads, head, ffn, vocab, positions;
};

/* BERT predicts 15 % of the positions: rounded, at least one. */
size_t wt_masked_per_sequence(size_t seq);
/* Errors: WT_E_USAGE (a shape or size that cannot be: heads that do not divide hidden, a sequence
 * longer than the positions, ...). */
int wt_dims_make(struct wt_dims *ret_dims, const struct wt_model_shape *shape, unsigned batch,
                 unsigned seq, struct wt_error *err);

/* The matrix products of the forward step, each with its two in the backward one. */
enum wt_site {
    WT_SITE_QKV,     /* x [tokens, hidden]    -> queries, keys, values [tokens, 3 hidden] */
    WT_SITE_SCORE,   /* q [seq, head], k      -> [seq, seq], for each head of each sequence */
    WT_SITE_CONTEXT, /* p [seq, seq], v       -> [seq, head], likewise */
    WT_SITE_OUT,     /* context               -> [tokens, hidden] */
    WT_SITE_UP,      /* x                     -> [tokens, ffn] */
    WT_SITE_DOWN,    /* gelu                  -> [tokens, hidden] */
    WT_SITE_HEAD,    /* masked rows           -> [masked, hidden] */
    WT_SITE_DECODE,  /* masked rows           -> logits [masked, vocab]; weights are the tokens' */
};
enum wt_pass { WT_PASS_FORWARD, WT_PASS_GRAD_INPUT, WT_PASS_GRAD_WEIGHT };

/* count products [m, k] x [k, n] -> [m, n]. GRAD_INPUT is towards the first operand of the forward
 * product, GRAD_WEIGHT towards the second. */
struct wt_gemm {
    size_t m, n, k, count;
};
struct wt_gemm wt_gemm_at(const struct wt_dims *dims, enum wt_site site, enum wt_pass pass);
/* A multiplication and an addition for each of m n k, count times. */
double wt_gemm_flops(const struct wt_gemm *gemm);

/* Where the parameters lie in one array of floats. Weights are [out, in], as Hugging Face has
 * them. */
struct wt_layer_layout {
    size_t qkv_w, qkv_b;     /* [3 hidden, hidden], [3 hidden]: queries, keys, values */
    size_t out_w, out_b;     /* [hidden, hidden], [hidden] */
    size_t norm1_g, norm1_b; /* [hidden] each */
    size_t up_w, up_b;       /* [ffn, hidden], [ffn] */
    size_t down_w, down_b;   /* [hidden, ffn], [hidden] */
    size_t norm2_g, norm2_b;
};
struct wt_layout {
    size_t token;    /* [vocab, hidden], also the decoder of the head */
    size_t position; /* [positions, hidden] */
    size_t type;     /* [WT_TOKEN_TYPES, hidden] */
    size_t norm_g, norm_b;
    size_t layer; /* layers follow each other, layer_stride apart */
    size_t layer_stride;
    size_t head_w, head_b; /* [hidden, hidden], [hidden] */
    size_t head_norm_g, head_norm_b;
    size_t decode_b; /* [vocab], last: its length is no multiple of a vector */
    size_t total;
};
struct wt_layout wt_layout_make(const struct wt_model_shape *shape);
struct wt_layer_layout wt_layout_layer(const struct wt_layout *layout,
                                       const struct wt_model_shape *shape, size_t layer);

#endif
