/* A BERT-like encoder with its masked-LM head on the CPU: forward, backward, AdamW.
 *
 * Post-norm layers, GELU by erf, decoder tied to the token embeddings, as published. fp32. All
 * memory is taken when the model is made; a step allocates nothing. Matrix products are OpenBLAS's,
 * called with one thread each on slices that the pool shares out: so it does not matter which
 * threading OpenBLAS was built with, and its threads and ours do not fight for the cores.
 *
 * Internal to the workload. A model belongs to the thread that made it. */
#ifndef WT_WORKLOAD_BERT_H
#define WT_WORKLOAD_BERT_H

#include "workload/shape.h"

struct wt_bert;

struct wt_bert_options {
    unsigned batch, seq; /* of every step */
    unsigned threads;    /* at least 1 */
    uint64_t seed;       /* of the initial weights and of dropout */
    float dropout;       /* of embeddings, attention and each sublayer's output; 0: none */
};

/* The input of a step. Owned by the caller. */
struct wt_batch {
    int32_t *tokens;   /* [batch * seq], padded at the end of each sequence */
    unsigned *lengths; /* [batch], 1 to seq */
    /* The positions with a loss, each index into tokens once, and what stood there. At least one,
     * at most wt_dims.masked. */
    uint32_t *masked;
    int32_t *targets;
    size_t masked_count;
};

struct wt_bert_rate {
    float rate, beta1, beta2, epsilon, decay;
    float clip; /* largest norm of the gradient; 0: not clipped */
};

/* Weights are random and seeded: a bell of deviation 0.02, as BERT's; norms 1, biases 0.
 * Errors: WT_E_USAGE (sizes), WT_E_NOMEM (says how much it wanted). */
int wt_bert_new(struct wt_bert **ret_bert, const struct wt_model_shape *shape,
                const struct wt_bert_options *options, struct wt_error *err);
void wt_bert_free(struct wt_bert *bert);

/* Mean loss of the masked positions, in nats. Keeps what the backward pass needs. Without
 * is_training there is no dropout. */
double wt_bert_forward(struct wt_bert *bert, const struct wt_batch *batch, bool is_training);
/* Gradients of that loss, written over the last ones. batch is that of the forward pass. */
void wt_bert_backward(struct wt_bert *bert, const struct wt_batch *batch);
/* One AdamW step. Returns the gradients' norm before clipping; nothing is changed when that is not
 * finite. */
double wt_bert_optimize(struct wt_bert *bert, const struct wt_bert_rate *rate);

const struct wt_dims *wt_bert_dims(const struct wt_bert *bert);
const struct wt_layout *wt_bert_layout(const struct wt_bert *bert);
float *wt_bert_parameters(struct wt_bert *bert);
const float *wt_bert_gradients(const struct wt_bert *bert);
/* What a model takes, all told, without making one. Errors: WT_E_USAGE. */
int wt_bert_memory(const struct wt_model_shape *shape, const struct wt_bert_options *options,
                   uint64_t *ret_bytes, struct wt_error *err);
/* FLOPs of all matrix products so far, counted where they are called. */
double wt_bert_product_flops(const struct wt_bert *bert);

#endif
