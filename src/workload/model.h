/* BERT, DistilBERT and GPT-2: training, encoding and generation, written once for every backend.
 *
 * A model is its configuration (config.h) and what is done with it (the task). All memory is taken
 * when the model is made; a step allocates nothing. Parameters lie in one array in the order of
 * parameters.h, weights as [out, in].
 *
 * BERT and DistilBERT norm after each sublayer, GPT-2 before; both are sum = residual + sublayer,
 * y = norm(sum), so the layers are one piece of code.
 *
 * Internal to the workload. Threads: a model belongs to the thread that made it. */
#ifndef WT_WORKLOAD_MODEL_H
#define WT_WORKLOAD_MODEL_H

#include "workload/backend.h"
#include "workload/config.h"
#include "workload/parameters.h"

enum wt_task {
    WT_TASK_MLM,        /* train: predict the masked positions (BERT, DistilBERT) */
    WT_TASK_CLM,        /* train: predict each next token (GPT-2) */
    WT_TASK_CLASSIFY,   /* train: a class for each sequence */
    WT_TASK_ENCODE,     /* infer: the last layer's rows (BERT, DistilBERT) */
    WT_TASK_SCORE,      /* infer: logits of the chosen positions, all families */
    WT_TASK_LIKELIHOOD, /* infer: how likely what stands there is, without keeping logits */
    WT_TASK_GENERATE,   /* infer: the next tokens (GPT-2) */
};

#define WT_BATCH_MOST 65535u /* what a GPU's grid takes */

struct wt_model_options {
    enum wt_task task;
    unsigned batch, seq; /* most sequences, and most tokens of each; rows = batch * seq */
    unsigned chosen;     /* most positions with a loss or with logits; 0: what the task needs */
    unsigned classes;    /* WT_TASK_CLASSIFY */
    uint64_t seed;       /* of the initial weights and of dropout */
    bool has_dropout;    /* the configuration's; training only */
    bool is_blank;       /* weights stay 0: they are set next, or only counted with */
};

/* BERT predicts 15 % of the positions: rounded, at least one. */
size_t wt_masked_per_sequence(size_t seq);

/* The input of a step, on the host. Owned by the caller. */
struct wt_input {
    const int32_t *tokens;  /* [rows] */
    const int32_t *starts;  /* [count]; NULL: padded, starts[b] = b * (rows / count) */
    const int32_t *lengths; /* [count], 1 to seq */
    size_t count;           /* sequences, at most batch */
    size_t rows;            /* packed: all tokens; padded: count * seq, or less than seq where
                             * the longest sequence is shorter */
    /* MLM: the positions with a loss (rows, each once) and what stood there. LIKELIHOOD: those to
     * judge, and what is to be judged. SCORE: those whose logits are wanted. Others: NULL. */
    const int32_t *chosen;
    const int32_t *targets; /* MLM, LIKELIHOOD: [chosen_count]; CLASSIFY: [count] classes; CLM:
                             * NULL, they are the tokens one further */
    size_t chosen_count;
};

struct wt_rate {
    float rate, beta1, beta2, epsilon, decay;
    float clip; /* largest norm of the gradient; 0: not clipped */
};

struct wt_model;

/* Weights are random and seeded: a bell of the configuration's initializer_range (GPT-2: the
 * projections into the residual stream by 1/sqrt(2 layers) narrower); norms 1, biases 0.
 * backend: borrowed until free. Errors: WT_E_USAGE (sizes, a task that the family has not),
 * WT_E_NOMEM (says how much it wanted). */
int wt_model_new(struct wt_model **ret_model, const struct wt_config *config,
                 const struct wt_model_options *options, struct wt_backend *backend,
                 struct wt_error *err);
void wt_model_free(struct wt_model *model);

/* ---- training ---- */

/* Forward. Keeps what the backward pass needs; without is_training there is no dropout and no
 * gradient. part: gradients of part 0 are new, those of the others are added up, before one
 * optimize(); weight is a part's share of the loss (all parts' sum to 1). What is dropped follows
 * from the seed, the optimizer's steps and the part: the same pass again drops the same. */
void wt_model_forward(struct wt_model *model, const struct wt_input *input, bool is_training,
                      unsigned part, float weight);
/* Gradients of the last forward pass. */
void wt_model_backward(struct wt_model *model);
/* One AdamW step. */
void wt_model_optimize(struct wt_model *model, const struct wt_rate *rate);
/* Waits for what was asked for. ret_loss: mean over the positions of the forward passes since the
 * last one with part 0, that one counted; ret_norm: the gradients' norm of the optimize() after
 * it, before clipping (NULL: not wanted; 0: there was none). A norm that is not finite: nothing
 * was changed by that step. Errors: the backend's. */
int wt_model_result(struct wt_model *model, double *ret_loss, double *ret_norm,
                    struct wt_error *err);

/* ---- inference ---- */

/* After the weights are as they shall be: working copies, packing, quantisation. The tasks of
 * inference call it themselves when it is due. */
int wt_model_prepare(struct wt_model *model, struct wt_error *err);
/* ENCODE. ret_rows, host float [rows, H], may be NULL: then nothing is brought back (sync waits).
 */
int wt_model_encode(struct wt_model *model, const struct wt_input *input, float *ret_rows,
                    struct wt_error *err);
/* SCORE. ret_logits: host float [chosen_count, V]. */
int wt_model_score(struct wt_model *model, const struct wt_input *input, float *ret_logits,
                   struct wt_error *err);
/* LIKELIHOOD. ret_nats: the sum of -log p(target) over the chosen positions; NULL: nothing is
 * brought back (sync waits). */
int wt_model_likelihood(struct wt_model *model, const struct wt_input *input, double *ret_nats,
                        struct wt_error *err);
/* CLASSIFY. ret_logits: host float [count, classes]. */
int wt_model_classify(struct wt_model *model, const struct wt_input *input, float *ret_logits,
                      struct wt_error *err);
/* The same of the last forward pass, whose loss is wanted too. */
int wt_model_class_logits(struct wt_model *model, float *ret_logits, struct wt_error *err);
/* GENERATE: reads whole prompts into an empty cache; ret_logits host float [count, V] of each last
 * token. Prompt and what is generated are at most seq tokens together. */
int wt_model_prefill(struct wt_model *model, const struct wt_input *prompts, float *ret_logits,
                     struct wt_error *err);
/* One more token of each sequence: tokens, host [count]. */
int wt_model_decode(struct wt_model *model, const int32_t *tokens, float *ret_logits,
                    struct wt_error *err);
int wt_model_sync(struct wt_model *model, struct wt_error *err);

/* ---- what it is ---- */

const struct wt_parameters *wt_model_parameters_of(const struct wt_model *model);
const struct wt_config *wt_model_config_of(const struct wt_model *model);
/* Host float [total], in the order of parameters.h. Errors: the backend's. */
int wt_model_get(struct wt_model *model, float *values, struct wt_error *err);
int wt_model_set(struct wt_model *model, const float *values, struct wt_error *err);
int wt_model_get_gradients(struct wt_model *model, float *values, struct wt_error *err);
/* AdamW's moments and the count of its steps: for checkpoints. */
int wt_model_get_optimizer(struct wt_model *model, float *first, float *second, uint64_t *steps,
                           struct wt_error *err);
int wt_model_set_optimizer(struct wt_model *model, const float *first, const float *second,
                           uint64_t steps, struct wt_error *err);
/* Bytes of the device's memory that it takes. */
uint64_t wt_model_memory(const struct wt_model *model);

#endif
