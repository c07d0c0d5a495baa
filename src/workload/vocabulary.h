/* The vocabulary of a Hugging Face model, from whichever of its files are there: tokenizer.json;
 * vocab.txt and tokenizer_config.json (WordPiece); vocab.json and merges.txt (byte-level BPE).
 *
 * Text is text: what looks like a special token ("[MASK]", "<|endoftext|>") is cut like any other.
 * A caller that wants one asks for its id.
 *
 * Internal to the workload. Threads: a vocabulary is constant once made; any thread. */
#ifndef WT_WORKLOAD_VOCABULARY_H
#define WT_WORKLOAD_VOCABULARY_H

#include "workload/bpe.h"
#include "workload/tokenizer.h"

#define WT_VOCABULARY_MAX_BYTES (64u << 20) /* of each file */
#define WT_VOCABULARY_MAX       4000000     /* entries; as vocab_size in config.h */

struct wt_vocabulary;

/* One file in memory. */
struct wt_vocabulary_text {
    const char *name; /* for messages */
    const char *text;
    size_t size;
};

/* Errors of all: WT_E_FORMAT (names file and line or entry), WT_E_UNSUPPORTED (a tokenizer that is
 * neither of the two, or does something with text that is not done here), WT_E_NOMEM. */
int wt_vocabulary_from_json(struct wt_vocabulary **ret_vocabulary,
                            const struct wt_vocabulary_text *tokenizer_json, struct wt_error *err);
int wt_vocabulary_from_bpe(struct wt_vocabulary **ret_vocabulary,
                           const struct wt_vocabulary_text *vocab_json,
                           const struct wt_vocabulary_text *merges_txt, struct wt_error *err);
/* tokenizer_config_json NULL: uncased. Its do_lower_case, strip_accents and
 * tokenize_chinese_chars are read. */
int wt_vocabulary_from_wordpiece(struct wt_vocabulary **ret_vocabulary,
                                 const struct wt_vocabulary_text *vocab_txt,
                                 const struct wt_vocabulary_text *tokenizer_config_json,
                                 struct wt_error *err);
/* From a model's folder. Errors: besides, WT_E_NOTFOUND (none of the files is there), those of the
 * system. */
int wt_vocabulary_open(struct wt_vocabulary **ret_vocabulary, const char *folder,
                       struct wt_error *err);
/* Made from text: WordPiece, uncased, or byte-level BPE. Errors: WT_E_USAGE (max_size below 64, or
 * 320), WT_E_FORMAT (no words; not UTF-8), WT_E_NOMEM. */
int wt_vocabulary_train(struct wt_vocabulary **ret_vocabulary, bool is_bpe, const char *name,
                        const char *text, size_t size, size_t max_size, struct wt_error *err);
/* The files of a vocabulary that was made, into a folder that is there: vocab.txt, or vocab.json
 * and merges.txt, and tokenizer_config.json. Errors: those of the system, WT_E_NOMEM. */
int wt_vocabulary_write(const struct wt_vocabulary *vocabulary, const char *folder,
                        struct wt_error *err);
/* Whether one of that kind is written into a file of this name. */
bool wt_vocabulary_writes(bool is_bpe, const char *file);
void wt_vocabulary_free(struct wt_vocabulary *vocabulary);

/* One of the two is NULL. Borrowed until free. */
const struct wt_tokenizer *wt_vocabulary_wordpiece(const struct wt_vocabulary *vocabulary);
const struct wt_bpe *wt_vocabulary_bpe(const struct wt_vocabulary *vocabulary);

size_t wt_vocabulary_size(const struct wt_vocabulary *vocabulary);
const char *wt_vocabulary_entry(const struct wt_vocabulary *vocabulary, size_t id);
int32_t wt_vocabulary_id(const struct wt_vocabulary *vocabulary, const char *entry);

/* What a model's input has around text and in its gaps; byte-level BPE has an end alone. */
struct wt_marks {
    int32_t pad, begin, end, mask; /* -1: there is none */
};
struct wt_marks wt_vocabulary_marks(const struct wt_vocabulary *vocabulary);

/* Text to ids and back. Text must be UTF-8: WT_E_FORMAT says line and byte. Byte-level BPE gives
 * back any text as it was; WordPiece its pieces. Owned: free(). */
int wt_vocabulary_encode(const struct wt_vocabulary *vocabulary, const char *name, const char *text,
                         size_t size, int32_t **ret_ids, size_t *ret_count, struct wt_error *err);
int wt_vocabulary_decode(const struct wt_vocabulary *vocabulary, const int32_t *ids, size_t count,
                         char **ret_text, size_t *ret_size, struct wt_error *err);

#endif
