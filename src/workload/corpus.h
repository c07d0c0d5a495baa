/* Text as training batches: cut into sequences, shuffled, masked; some of it held out.
 *
 * The tokens follow each other through the whole text and are cut every seq - 2 of them; each
 * sequence is [CLS] ... [SEP], only the text's last one is padded. Every twentieth sequence is held
 * out for evaluation (the last one when there are fewer). Each epoch has a new order and new masks.
 * Of the masked positions (15 %) 80 % become [MASK], 10 % a random token, 10 % stay.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_CORPUS_H
#define WT_WORKLOAD_CORPUS_H

#include "workload/bert.h"
#include "workload/tokenizer.h"

struct wt_corpus;

/* tokenizer: borrowed until free. name is the text's, for messages.
 * Errors: WT_E_FORMAT (no text, or none of it in the vocabulary), WT_E_NOMEM. */
int wt_corpus_new(struct wt_corpus **ret_corpus, const struct wt_tokenizer *tokenizer,
                  const char *name, const char *text, size_t size, unsigned seq, uint64_t seed,
                  struct wt_error *err);
void wt_corpus_free(struct wt_corpus *corpus);
size_t wt_corpus_tokens(const struct wt_corpus *corpus);
double wt_corpus_unknown_share(const struct wt_corpus *corpus);
size_t wt_corpus_sequences(const struct wt_corpus *corpus); /* trained on */
size_t wt_corpus_held_out(const struct wt_corpus *corpus);  /* 0: the text is too short */

/* Fills the next training batch. Returns its tokens, padding not counted. */
size_t wt_corpus_next(struct wt_corpus *corpus, struct wt_batch *batch, unsigned sequences);
/* Fills a batch with held-out sequences from the first-th on, masked the same way each time; the
 * rest of the batch is padding. first < wt_corpus_held_out(). */
size_t wt_corpus_evaluation(const struct wt_corpus *corpus, size_t first, struct wt_batch *batch,
                            unsigned sequences);

/* Memory of a batch. Errors: WT_E_NOMEM. */
int wt_batch_init(struct wt_batch *batch, const struct wt_dims *dims, struct wt_error *err);
void wt_batch_done(struct wt_batch *batch);

#endif
