/* Making a byte-level BPE vocabulary from text: the 256 bytes in GPT-2's order, merges of the most
 * frequent neighbours within its words, and <|endoftext|>. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bpe.h"
#include "workload/merging.h"
#include "workload/tokenizer.h"

#define SIZE_MIN 320 /* the bytes, the end of a text, and some merges */

static int count_words(struct wt_merging *m, const char *text, size_t size)
{
    for (size_t at = 0, end; at < size; at = end) {
        char word[2 * WT_MERGING_WORD_MAX];
        size_t length = 0;
        end = wt_bpe_word_end(text, size, at);
        if (end - at > WT_MERGING_WORD_MAX)
            continue; /* a rule of dashes, say: cut by the merges of shorter ones */
        for (size_t i = at; i < end; i++)
            length += wt_bpe_letter((unsigned char)text[i], word + length);
        int32_t id = wt_table_put(&m->words, word, length);
        if (id < 0)
            return WT_E_NOMEM;
        m->words.entries[id].count++;
    }
    return 0;
}

/* Each character of a word is a byte's entry. */
static int split_words(struct wt_merging *m)
{
    if (!wt_merging_begin(m))
        return WT_E_NOMEM;
    for (size_t i = 0; i < m->words.count; i++) {
        const struct wt_table_entry *e = &m->words.entries[i];
        const char *word = m->words.bytes + e->at;
        uint32_t symbols[WT_MERGING_WORD_MAX];
        size_t n = 0;
        for (size_t from = 0, to; from < e->length; from = to) {
            to = from + ((unsigned char)word[from] < 0x80 ? 1 : 2); /* the alphabet has no longer */
            symbols[n++] = (uint32_t)wt_table_find(m->entries, word + from, to - from);
        }
        if (!wt_merging_word(m, i, symbols, n))
            return WT_E_NOMEM;
    }
    return 0;
}

/* What was merged, as wt_bpe_make takes it. */
static int make(struct wt_bpe **ret_bpe, struct wt_table *entries, const struct wt_merging *m,
                struct wt_error *err)
{
    int32_t end = wt_table_put(entries, WT_BPE_END, strlen(WT_BPE_END));
    const char **names = calloc(entries->count + 1, sizeof(*names));
    bool *is_added = calloc(entries->count + 1, sizeof(*is_added));
    struct wt_bpe_merge *merges = calloc(m->merge_count + 1, sizeof(*merges));
    int rc = WT_E_NOMEM;
    if (end < 0 || !names || !is_added || !merges)
        goto out;
    for (size_t i = 0; i < entries->count; i++)
        names[i] = entries->bytes + entries->entries[i].at;
    is_added[end] = true;
    for (size_t i = 0; i < m->merge_count; i++) {
        const struct wt_merging_merge *merge = &m->merges[i];
        merges[i] = (struct wt_bpe_merge){names[merge->left], names[merge->right],
                                          entries->entries[merge->left].length,
                                          entries->entries[merge->right].length, i + 1};
    }
    struct wt_bpe_source source = {"the made vocabulary", names, is_added, entries->count,
                                   "its merges",          false, merges,   m->merge_count};
    rc = wt_bpe_make(ret_bpe, &source, err);
out:
    free(names);
    free(is_added);
    free(merges);
    return rc;
}

int wt_bpe_train(struct wt_bpe **ret_bpe, const char *name, const char *text, size_t size,
                 size_t max_size, struct wt_error *err)
{
    struct wt_table entries = {0};
    struct wt_merging m = {.entries = &entries};
    if (max_size < SIZE_MIN)
        return wt_fail(err, WT_E_USAGE,
                       "a byte-level vocabulary of %zu entries: at least %d are "
                       "needed",
                       max_size, SIZE_MIN);
    int rc = wt_utf8_check(name, text, size, err);
    if (rc < 0)
        return rc;
    if (size == 0)
        return wt_fail(err, WT_E_FORMAT, "%s: there is no text", name);
    for (unsigned pass = 0; pass < 2; pass++) /* those that stand for themselves first */
        for (unsigned byte = 0; byte < 256 && rc == 0; byte++) {
            char letter[4];
            size_t length = wt_bpe_letter(byte, letter);
            bool is_itself = wt_bpe_is_printed(byte);
            if (is_itself == (pass == 0) && wt_table_put(&entries, letter, length) < 0)
                rc = WT_E_NOMEM;
        }
    if (rc == 0)
        rc = count_words(&m, text, size);
    if (rc == 0)
        rc = split_words(&m);
    if (rc == 0 && !wt_merging_run(&m, max_size - 1))
        rc = WT_E_NOMEM;
    if (rc == 0)
        rc = make(ret_bpe, &entries, &m, err);
    if (rc == WT_E_NOMEM)
        wt_fail(err, rc, "no memory to make a vocabulary of %s", name);
    wt_merging_done(&m);
    wt_table_done(&entries);
    return rc;
}
