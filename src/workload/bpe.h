/* Byte-level byte-pair encoding, as GPT-2 does it: text is split into words with the space before
 * them, numbers, runs of other signs and white space; each is taken as bytes, and neighbours are
 * merged in the order of the merges until none is left. Any UTF-8 comes back as it was.
 *
 * An entry is written with one character a byte: those that print stand for themselves, the others
 * for U+0100 and up, in order.
 *
 * Internal to the workload. Threads: a vocabulary is constant once made; any thread. */
#ifndef WT_WORKLOAD_BPE_H
#define WT_WORKLOAD_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

#define WT_BPE_END "<|endoftext|>" /* GPT-2's end of a text */

struct wt_bpe;

struct wt_bpe_merge {
    const char *left, *right; /* as entries are written; need not end with NUL */
    size_t left_length, right_length;
    size_t line; /* for messages */
};

/* What a vocabulary is made of; copied. */
struct wt_bpe_source {
    const char *name;           /* of the vocabulary, for messages */
    const char *const *entries; /* in the order of their ids */
    const bool *is_added;       /* of each: a token that stands for its own text, not for bytes */
    size_t count;
    const char *merges_name;
    bool are_lines; /* messages say "NAME:7", else "NAME: merge 7" */
    const struct wt_bpe_merge *merges;
    size_t merge_count;
};

/* Errors: WT_E_FORMAT (an entry twice or not made of bytes, a byte without an entry, a merge of or
 * into what is no entry, a merge twice; names entry or line), WT_E_NOMEM. */
int wt_bpe_make(struct wt_bpe **ret_bpe, const struct wt_bpe_source *source, struct wt_error *err);
/* The lines of a merges.txt: two entries and a space between them; a first line "#version..." is
 * left out. *ret_merges is owned: free(), and points into text. Errors: WT_E_FORMAT, WT_E_NOMEM. */
int wt_bpe_merges(struct wt_bpe_merge **ret_merges, size_t *ret_count, const char *name,
                  const char *text, size_t size, struct wt_error *err);
/* Makes a vocabulary of at most max_size entries (320 or more) from text; WT_BPE_END is the last.
 * The same text gives the same vocabulary. Errors: WT_E_USAGE (max_size), WT_E_FORMAT (no text, or
 * not UTF-8: name, line and byte), WT_E_NOMEM. */
int wt_bpe_train(struct wt_bpe **ret_bpe, const char *name, const char *text, size_t size,
                 size_t max_size, struct wt_error *err);
void wt_bpe_free(struct wt_bpe *bpe);

size_t wt_bpe_size(const struct wt_bpe *bpe);
/* As it is written in the vocabulary; NULL past the end. Borrowed until free. */
const char *wt_bpe_entry(const struct wt_bpe *bpe, size_t id);
/* The two entries of merge i; false past the last. */
bool wt_bpe_merge_at(const struct wt_bpe *bpe, size_t i, uint32_t *ret_left, uint32_t *ret_right);
/* -1 when there is none. */
int32_t wt_bpe_id(const struct wt_bpe *bpe, const char *entry);

/* UTF-8 text to ids. What looks like an added token is text like any other. name is for messages.
 * *ret_ids is owned: free(). Errors: WT_E_FORMAT (not UTF-8: line and byte), WT_E_RANGE (more than
 * 2 GiB), WT_E_NOMEM. */
int wt_bpe_encode(const struct wt_bpe *bpe, const char *name, const char *text, size_t size,
                  int32_t **ret_ids, size_t *ret_count, struct wt_error *err);
/* Ids to bytes, which are UTF-8 when the ids are of whole characters. *ret_text is owned: free(); a
 * NUL follows. Errors: WT_E_RANGE (an id that is none), WT_E_NOMEM. */
int wt_bpe_decode(const struct wt_bpe *bpe, const int32_t *ids, size_t count, char **ret_text,
                  size_t *ret_size, struct wt_error *err);

/* The byte alphabet: whether a byte stands for itself, and the character of one (1 or 2 bytes,
 * without a NUL). */
bool wt_bpe_is_printed(unsigned byte);
size_t wt_bpe_letter(unsigned byte, char *buf);

/* The end of the word that begins at `at` of UTF-8 text: GPT-2's expression, by hand. */
size_t wt_bpe_word_end(const char *text, size_t size, size_t at);

#endif
