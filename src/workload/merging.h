/* The most frequent neighbours of a text's words, merged one after the other: what makes a
 * WordPiece vocabulary (tokenizer.c) and a byte-level BPE one (vocabulary_train.c).
 *
 * The caller counts words, gives each as symbols (entries of a table), and gets new entries. Ties
 * go to the pair whose symbols are older, so the same words give the same merges.
 *
 * Internal to the workload. Threads: owner thread. */
#ifndef WT_WORKLOAD_MERGING_H
#define WT_WORKLOAD_MERGING_H

#include "workload/table.h"

#define WT_MERGING_WORD_MAX 100 /* characters, and symbols of a word; longer ones are left out */

struct wt_merging_pair;
struct wt_merging_claim;
struct wt_merging_merge {
    uint32_t left, right, into; /* entries */
};

struct wt_merging {
    struct wt_table *entries; /* the caller's */
    size_t prefix; /* bytes that an entry loses when it is joined to another: 2 of "##til" */
    struct wt_table words;           /* filled by the caller, counted */
    struct wt_merging_merge *merges; /* in order */
    size_t merge_count, merge_size;

    /* merging.c's */
    uint32_t **symbols; /* of each word; NULL: left out */
    uint32_t *symbol_counts;
    struct wt_merging_pair *pairs;
    size_t pair_count, pair_size;
    uint32_t *slots; /* of pairs, as in struct wt_table */
    size_t slot_count;
    struct wt_merging_claim *heap;
    size_t heap_count, heap_size;
    uint32_t *touched;
    size_t touched_count, touched_size;
    uint32_t stamp;
};

/* The rest of *merging is 0. False without memory. */
bool wt_merging_begin(struct wt_merging *merging); /* when all words are there */
bool wt_merging_word(struct wt_merging *merging, size_t word, const uint32_t *symbols,
                     size_t count);
/* Until there are max_size entries, or no two neighbours come twice. */
bool wt_merging_run(struct wt_merging *merging, size_t max_size);
void wt_merging_done(struct wt_merging *merging);

#endif
