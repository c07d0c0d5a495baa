/* The language-model workloads as counts: what one pass of a model costs in operations and bytes.
 * For the models that the workload computes itself the counts come from its very code. */
#ifndef WATTUNE_WORKLOAD_H
#define WATTUNE_WORKLOAD_H

#include "wattune/emulate.h"

#ifdef __cplusplus
extern "C" {
#endif

enum wt_dtype { WT_F32, WT_BF16, WT_INT8, WT_TF32 };

/* Names are the model_type of Hugging Face's configurations. */
enum wt_family { WT_FAMILY_BERT, WT_FAMILY_DISTILBERT, WT_FAMILY_GPT2 };

struct wt_model_shape {
    char name[32];
    unsigned layers, hidden, heads, ffn, vocab, positions;
    enum wt_family family;
};
/* "bert-tiny", -mini, -small, -medium, -base, -large, "distilbert-base", "gpt2", -medium, -large,
 * -xl. Errors: WT_E_NOTFOUND, naming those there are. */
WT_API int wt_model_shape_named(const char *name, struct wt_model_shape *ret_shape,
                                struct wt_error *err);
/* With the head of its language-model training; a tied table counts once. 0: no memory. */
WT_API uint64_t wt_model_parameters(const struct wt_model_shape *shape);

/* The kernels of one training step (forward, backward, AdamW) over batch x seq tokens, in order:
 * masked-LM, of GPT-2 causal-LM. Owned by the caller: free(). phases (may be NULL) receives 3
 * counts: kernels of the forward phase (with all of the vocabulary's, which takes its gradient in
 * the same pass), the backward and the optimizer phase. seq: 3 (GPT-2: 2) to the shape's positions.
 * Errors: WT_E_USAGE (batch or seq out of range, together too many tokens, a shape that cannot be),
 * WT_E_UNSUPPORTED (WT_INT8), WT_E_NOMEM. */
WT_API int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                                 enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                                 size_t *ret_count, size_t *phases, struct wt_error *err);

/* ---- any work, for predictions ---- */

/* A decoder of the LLaMA kind: RMS norms, rotary positions, grouped keys, a gated MLP. It is
 * counted here and not computed. */
struct wt_decoder_shape {
    char name[48];
    unsigned layers, hidden, heads, kv_heads;
    unsigned head; /* width of one, of queries as of keys; heads x head need not be hidden */
    unsigned ffn, vocab;
    bool is_tied;       /* the vocabulary's table is the output's, too */
    bool has_head_norm; /* queries and keys are normed (Qwen3) */
};
/* Matrices and norms; biases, which a few of them have (Qwen2's of queries, keys and values), are
 * not counted. */
WT_API uint64_t wt_decoder_parameters(const struct wt_decoder_shape *shape);

enum wt_work_kind {
    WT_WORK_TRAIN,   /* a step: forward, backward, AdamW */
    WT_WORK_ENCODE,  /* every position's row, or of decoders its logits */
    WT_WORK_PREFILL, /* prompts into the cache, and the first token of each */
    WT_WORK_DECODE   /* one more token of each */
};
/* "train", "encode", ... */
WT_API const char *wt_work_kind_name(enum wt_work_kind kind);

struct wt_work {
    enum wt_work_kind kind;
    bool is_decoder;
    struct wt_model_shape model;     /* where it is none: the counts are those of the code */
    struct wt_decoder_shape decoder; /* where it is one */
    enum wt_dtype dtype;
    unsigned batch; /* sequences */
    unsigned seq;   /* tokens of each; DECODE: how many it has before */
    unsigned parts; /* of the model's tensors, on a device each; 0: 1 */
};
/* Fills model or decoder from a name ("bert-base", "llama-3.1-8b"), or from a config.json of these
 * families or a folder that has one. Errors: WT_E_NOTFOUND (naming those there are), those of
 * reading a file, WT_E_FORMAT, WT_E_RANGE, WT_E_UNSUPPORTED. */
WT_API int wt_work_find(const char *name, struct wt_work *ret_work, struct wt_error *err);
/* Names of decoders, NULL-terminated, borrowed for ever. */
WT_API const char *const *wt_decoder_names(void);
WT_API uint64_t wt_work_parameters(const struct wt_work *work);
/* Tokens that a pass reads or makes: batch x seq, of DECODE batch. */
WT_API uint64_t wt_work_tokens(const struct wt_work *work);

struct wt_work_ops {
    struct wt_emu_kernel *kernels; /* owned; of one device, in order */
    size_t count;
    double exchanges;      /* of a pass between the devices: all-reduces, */
    double exchange_bytes; /* of so many bytes each */
    uint64_t memory;       /* bytes that the device must have room for */
};
/* One pass. Errors: WT_E_USAGE (0 sequences, parts that do not divide the heads, more tokens than
 * the model has positions), WT_E_UNSUPPORTED, WT_E_NOMEM. */
WT_API int wt_work_ops(const struct wt_work *work, struct wt_work_ops *ret_ops,
                       struct wt_error *err);
WT_API void wt_work_ops_done(struct wt_work_ops *ops);

#ifdef __cplusplus
}
#endif
#endif
