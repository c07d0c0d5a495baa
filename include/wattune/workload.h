/* The language-model workloads as counts: what one step of a model costs in operations and bytes.
 * The counts come from the same shapes that the workload's code computes with. */
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
 * the same pass), the backward and the optimizer phase. */
WT_API int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                                 enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                                 size_t *ret_count, size_t *phases, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
