/* Where each parameter of a model lies in one array of floats, and what Hugging Face calls it.
 *
 * Weights are [out, in]. Queries, keys and values are one matrix here; BERT's three tensors are its
 * rows one after the other, so every tensor of a file is a contiguous span. GPT-2's files have
 * [in, out]: is_transposed.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_PARAMETERS_H
#define WT_WORKLOAD_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/backend.h"
#include "workload/config.h"

enum wt_init { WT_INIT_BELL, WT_INIT_BELL_RESIDUAL, WT_INIT_ZERO, WT_INIT_ONE };

/* A tensor of a file. */
struct wt_parameter {
    char name[96]; /* "bert.encoder.layer.0.attention.self.query.weight" */
    size_t at;     /* first float in the array */
    unsigned rank;
    uint64_t shape[2]; /* as the file has it */
    bool is_transposed;
    bool is_decayed;  /* by AdamW: matrices and embeddings are, biases and norms are not */
    bool is_optional; /* files may leave it out (a head, or what is tied to another) */
    enum wt_init init;
};

struct wt_layer_at {
    size_t qkv_w, qkv_b;     /* [3 H, H], [3 H] */
    size_t out_w, out_b;     /* [H, H], [H] */
    size_t norm1_g, norm1_b; /* BERT: after attention; GPT-2: before it */
    size_t up_w, up_b;       /* [F, H], [F] */
    size_t down_w, down_b;   /* [H, F], [H] */
    size_t norm2_g, norm2_b; /* BERT: after the feed-forward part; GPT-2: before it */
};

#define WT_NOWHERE SIZE_MAX /* the model has no such parameter */

enum wt_head { WT_HEAD_NONE, WT_HEAD_LM, WT_HEAD_CLASSIFY };

struct wt_parameters {
    size_t token, position, type;
    size_t norm_g, norm_b; /* BERT: of the embeddings; GPT-2: the last one (ln_f) */
    struct wt_layer_at *layers;
    size_t layer_count;
    /* WT_HEAD_LM; GPT-2's is the token table alone */
    size_t head_w, head_b, head_norm_g, head_norm_b, decode_b;
    /* WT_HEAD_CLASSIFY: BERT's pooler, DistilBERT's pre_classifier; [H, H], [H] */
    size_t pool_w, pool_b;
    size_t class_w, class_b; /* [classes, H], [classes]; GPT-2 has no class_b */
    size_t total;

    struct wt_parameter *tensors;
    size_t tensor_count;
    struct wt_span *spans; /* sorted, of the whole array, for AdamW */
    size_t span_count;
};

/* Errors: WT_E_USAGE (classes of 0 or 1 with WT_HEAD_CLASSIFY), WT_E_NOMEM. */
int wt_parameters_init(struct wt_parameters *ret, const struct wt_config *config, enum wt_head head,
                       unsigned classes, struct wt_error *err);
/* Of WT_HEAD_CLASSIFY; 0: it has another head. */
unsigned wt_parameters_classes(const struct wt_parameters *parameters);
void wt_parameters_done(struct wt_parameters *parameters);

#endif
