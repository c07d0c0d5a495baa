/* Text as training batches: cut into sequences, shuffled, some of it held out.
 *
 * The tokens follow each other through the whole text. For a masked model they are cut every seq -
 * 2 of them, each sequence is [CLS] ... [SEP], and 15 % of the positions are masked anew each
 * epoch: of those 80 % become [MASK], 10 % a random token, 10 % stay. For a causal one they are cut
 * every seq, nothing is put around them, and each predicts the next (the text begins with the
 * vocabulary's <|endoftext|>, where it has one). Only the text's last sequence may be shorter, and
 * is padded. Every twentieth sequence is held out for evaluation (the last one when there are
 * fewer). Each epoch has a new order.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_CORPUS_H
#define WT_WORKLOAD_CORPUS_H

#include "workload/feed.h"
#include "workload/vocabulary.h"

struct wt_corpus;

struct wt_corpus_options {
    unsigned seq;
    uint64_t seed;
    bool is_causal;
};

/* name is the text's, for messages. Errors: WT_E_FORMAT (no text, none of it in the vocabulary, not
 * UTF-8), WT_E_USAGE (a vocabulary without [MASK] for a masked
 * model), WT_E_NOMEM. */
int wt_corpus_new(struct wt_corpus **ret_corpus, const struct wt_vocabulary *vocabulary,
                  const struct wt_corpus_options *options, const char *name, const char *text,
                  size_t size, struct wt_error *err);
/* Seeded random tokens of a model's vocabulary in place of text: full sequences, none held out.
 * Errors: WT_E_USAGE (fewer than 8 entries), WT_E_NOMEM. */
int wt_corpus_new_random(struct wt_corpus **ret_corpus, size_t vocabulary_size,
                         const struct wt_corpus_options *options, struct wt_error *err);
void wt_corpus_free(struct wt_corpus *corpus);
size_t wt_corpus_tokens(const struct wt_corpus *corpus);
double wt_corpus_unknown_share(const struct wt_corpus *corpus);
/* Of all tokens (digest.h): differs where the text does. */
uint64_t wt_corpus_digest(const struct wt_corpus *corpus);
size_t wt_corpus_sequences(const struct wt_corpus *corpus); /* trained on */
size_t wt_corpus_held_out(const struct wt_corpus *corpus);  /* 0: the text is too short */

/* Fills the next training batch: tokens, lengths, and for a masked model the chosen positions and
 * what stood there. Returns its tokens, padding not counted. */
size_t wt_corpus_next(struct wt_corpus *corpus, struct wt_feed *feed, unsigned sequences);
/* Fills a batch with held-out sequences from the first-th on, masked the same way each time; fewer
 * than `sequences` at the end. first < wt_corpus_held_out(). */
size_t wt_corpus_evaluation(const struct wt_corpus *corpus, size_t first, struct wt_feed *feed,
                            unsigned sequences);
/* Sequences handed out by wt_corpus_next(), over all epochs; and going where another corpus of the
 * same text was. */
uint64_t wt_corpus_place(const struct wt_corpus *corpus);
void wt_corpus_seek(struct wt_corpus *corpus, uint64_t place);

#endif
