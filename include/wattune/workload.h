/* The language-model workloads as counts: what one step of a model costs in operations and bytes.
 * The counts come from the same shapes that the workload's code computes with. */
#ifndef WATTUNE_WORKLOAD_H
#define WATTUNE_WORKLOAD_H

#include "wattune/emulate.h"

#ifdef __cplusplus
extern "C" {
#endif

enum wt_dtype { WT_F32, WT_BF16, WT_INT8, WT_TF32 };

/* Shape of a BERT-like encoder. */
struct wt_model_shape {
    char name[32];
    unsigned layers, hidden, heads, ffn, vocab, positions;
};
/* "bert-tiny", "bert-mini", "bert-base". Errors: WT_E_NOTFOUND, naming those there are. */
WT_API int wt_model_shape_named(const char *name, struct wt_model_shape *ret_shape,
                                struct wt_error *err);
WT_API uint64_t wt_model_parameters(const struct wt_model_shape *shape);

/* The kernels of one masked-LM training step (forward, backward, AdamW) over batch x seq tokens,
 * in order. Owned by the caller: free(). phases (may be NULL) receives 3 counts: kernels of the
 * forward, backward and optimizer phase. */
WT_API int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                                 enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                                 size_t *ret_count, size_t *phases, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
