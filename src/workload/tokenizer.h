/* WordPiece, as BERT does it: text is cleaned and, for an uncased vocabulary, lower-cased and
 * stripped of accents; split at white space, punctuation and CJK ideographs; each word is cut into
 * the longest pieces that the vocabulary has, those inside a word written with "##". A vocabulary
 * is read from a vocab.txt or made from the text itself.
 *
 * Internal to the workload. Threads: a tokenizer is constant once made; any thread. */
#ifndef WT_WORKLOAD_TOKENIZER_H
#define WT_WORKLOAD_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

struct wt_tokenizer;

/* 0, or the story of the first byte that is not UTF-8: name, line and byte offset. NUL is valid
 * UTF-8 and dropped by the cleaning. */
int wt_utf8_check(const char *name, const char *text, size_t size, struct wt_error *err);

/* Makes a vocabulary of at most max_size entries from UTF-8 text: special tokens, the characters,
 * then merges of the most frequent neighbours (byte-pair style). The same text gives the same
 * vocabulary. Errors: WT_E_FORMAT (no words in the text), WT_E_USAGE (max_size below 64),
 * WT_E_NOMEM. */
int wt_tokenizer_train(struct wt_tokenizer **ret_tokenizer, const char *text, size_t size,
                       size_t max_size, struct wt_error *err);
/* One entry a line, the line's number (from 0) its id. name is for messages. Errors: WT_E_FORMAT
 * (not UTF-8, an empty or repeated line, a NUL, a missing special token; names the line). */
int wt_tokenizer_parse(struct wt_tokenizer **ret_tokenizer, const char *name, const char *text,
                       size_t size, struct wt_error *err);
/* How text is made into words. */
struct wt_wordpiece_rules {
    bool is_lowered;        /* lower case */
    bool is_stripped;       /* of accents, decomposed */
    bool splits_ideographs; /* each CJK ideograph is a word */
};
/* BERT's for an uncased vocabulary: all three. wt_tokenizer_parse and _train have these. */
extern const struct wt_wordpiece_rules wt_wordpiece_uncased;
/* wt_tokenizer_parse by other rules. */
int wt_tokenizer_parse_as(struct wt_tokenizer **ret_tokenizer,
                          const struct wt_wordpiece_rules *rules, const char *name,
                          const char *text, size_t size, struct wt_error *err);
/* Of entries in the order of their ids, copied. Errors: as of a file, naming entries by number. */
int wt_tokenizer_make(struct wt_tokenizer **ret_tokenizer, const struct wt_wordpiece_rules *rules,
                      const char *name, const char *const *entries, size_t count,
                      struct wt_error *err);
void wt_tokenizer_free(struct wt_tokenizer *tokenizer);

const struct wt_wordpiece_rules *wt_tokenizer_rules(const struct wt_tokenizer *tokenizer);
size_t wt_tokenizer_size(const struct wt_tokenizer *tokenizer);
/* An entry's text, NULL past the end. Borrowed until free. */
const char *wt_tokenizer_entry(const struct wt_tokenizer *tokenizer, size_t id);
/* The id of an entry, -1 when there is none. */
int32_t wt_tokenizer_id(const struct wt_tokenizer *tokenizer, const char *entry);

/* Ids of the special tokens. */
struct wt_specials {
    int32_t pad, unknown, begin, end, mask; /* [PAD] [UNK] [CLS] [SEP] [MASK] */
};
const struct wt_specials *wt_tokenizer_specials(const struct wt_tokenizer *tokenizer);
/* Whether an id is one of the five: never masked, never drawn as a random token. */
bool wt_tokenizer_is_special(const struct wt_tokenizer *tokenizer, int32_t id);

/* UTF-8 text to ids, without [CLS] and [SEP]. *ret_ids is owned: free(). Errors: WT_E_NOMEM. */
int wt_tokenizer_encode(const struct wt_tokenizer *tokenizer, const char *text, size_t size,
                        int32_t **ret_ids, size_t *ret_count, struct wt_error *err);
/* Entries with a space between words, pieces joined: what the cleaning took is gone. *ret_text is
 * owned: free(); a NUL follows. Errors: WT_E_RANGE (an id that is none), WT_E_NOMEM. */
int wt_tokenizer_decode(const struct wt_tokenizer *tokenizer, const int32_t *ids, size_t count,
                        char **ret_text, size_t *ret_size, struct wt_error *err);

#endif
