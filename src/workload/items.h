/* Text as single sequences of their own length: a line each, for inference, or a row of a table
 * with a class, for fine-tuning.
 *
 * A table has label<TAB>text or label<TAB>text<TAB>text in each line; a file whose name ends in
 * .csv has commas, and "quotes" around fields with commas, line ends or doubled quotes in them. A
 * first line whose label is the word "label" is a heading. Two texts are joined by the vocabulary's
 * mark between sequences.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_ITEMS_H
#define WT_WORKLOAD_ITEMS_H

#include "workload/feed.h"
#include "workload/order.h"
#include "workload/vocabulary.h"

#define WT_ITEMS_CLASSES_MAX 4096

struct wt_items {
    int32_t *ids;
    size_t *starts;  /* [count + 1] in ids */
    int32_t *labels; /* [count]; NULL: lines */
    size_t count;
    size_t cut;     /* items that were longer than seq and lost their end */
    size_t words;   /* tokens of the text, without marks */
    size_t unknown; /* of these, those that the vocabulary does not have */
    char **classes; /* names by number: sorted (numbers as such), or a model's own */
    size_t class_count;
    bool has_number_labels; /* its labels are numbers of a model's classes */
    struct wt_order order;  /* of the numbers of items to train on; lines: all, as they come */
    uint32_t *held_out;     /* the others */
    size_t held_out_count;
    uint64_t seed;
};

/* Every line that is not empty, cut at seq tokens. Errors: WT_E_FORMAT (no text; not UTF-8: line
 * and byte), WT_E_USAGE (seq has no room for a token of each text), WT_E_NOMEM. */
int wt_items_lines(struct wt_items *ret_items, const struct wt_vocabulary *vocabulary,
                   const char *name, const char *text, size_t size, unsigned seq,
                   struct wt_error *err);
/* A table. Of each ten rows one is held out, the same in each run; of fewer than ten the last.
 * Errors: besides, those that name the line (no label, no text, too many fields, an open quote). */
int wt_items_table(struct wt_items *ret_items, const struct wt_vocabulary *vocabulary,
                   const char *name, const char *text, size_t size, unsigned seq, uint64_t seed,
                   struct wt_error *err);
/* Gives a table's classes the numbers that a classifier has for them: names [count], by number. Of
 * labels none of which is among the names, whole numbers below count are taken as such. Errors:
 * WT_E_USAGE (a label that the classifier does not have; model and name are for messages),
 * WT_E_NOMEM. */
int wt_items_number(struct wt_items *items, char *const *names, size_t count, const char *model,
                    const char *name, struct wt_error *err);
/* The texts of a table, a line each, without its labels and heading: what a vocabulary is made
 * from. *ret_text is owned: free(). Errors: those of a row that name its line, WT_E_NOMEM. */
int wt_items_texts(const char *name, const char *text, size_t size, char **ret_text,
                   size_t *ret_size, struct wt_error *err);
/* All of a table is held out, none of it trained on. */
void wt_items_hold_out(struct wt_items *items);
/* Random tokens of lengths between seq / 4 and seq. Errors: WT_E_USAGE, WT_E_NOMEM. */
int wt_items_random(struct wt_items *ret_items, size_t vocabulary_size, size_t count, unsigned seq,
                    uint64_t seed, struct wt_error *err);
void wt_items_done(struct wt_items *items);

/* Fills a batch with the items of a list from `first` on, fewer at its end. Packed or padded as
 * feed->is_packed says. Returns the tokens. */
size_t wt_items_fill(const struct wt_items *items, const uint32_t *list, size_t list_count,
                     size_t first, struct wt_feed *feed, unsigned sequences);
/* Rows of each class, and those of them that are not held out: [class_count]. */
void wt_items_count_classes(const struct wt_items *items, size_t *ret_all, size_t *ret_trained);
/* Of all tokens, labels and their names (digest.h): differs where the table does. */
uint64_t wt_items_digest(const struct wt_items *items);
/* The next ones: lines as they come, rows of a table shuffled anew each epoch. */
size_t wt_items_next(struct wt_items *items, struct wt_feed *feed, unsigned sequences);
/* Items handed out by wt_items_next(), over all epochs; and going there. */
uint64_t wt_items_place(const struct wt_items *items);
void wt_items_seek(struct wt_items *items, uint64_t place);

#endif
