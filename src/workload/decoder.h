/* Decoders of the LLaMA kind: their shapes, and what a pass costs. They are counted and not
 * computed.
 *
 * Internal to the workload. Threads: any thread. */
#ifndef WT_WORKLOAD_DECODER_H
#define WT_WORKLOAD_DECODER_H

#include "wattune/workload.h"

bool wt_decoder_named(const char *name, struct wt_decoder_shape *ret_shape);
/* A config.json of Hugging Face. Errors: WT_E_UNSUPPORTED (another kind of model), WT_E_FORMAT,
 * WT_E_RANGE, those of reading a file. */
int wt_decoder_read(struct wt_decoder_shape *ret_shape, const char *path, struct wt_error *err);
int wt_decoder_parse(struct wt_decoder_shape *ret_shape, const char *name, const char *text,
                     size_t size, struct wt_error *err);
/* As wt_work_ops(), of work->decoder. */
int wt_decoder_ops(const struct wt_work *work, struct wt_work_ops *ret_ops, struct wt_error *err);

#endif
