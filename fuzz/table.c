/* fuzz: text on its way to a model. The first byte: bit 0 a .csv, bit 1 byte-level BPE, bit 2 lines
 * in place of a table, bit 3 a masked model's corpus, bit 4 a causal one's. The vocabulary is made
 * from the text itself, so the making of both kinds is run as well. What is taken must fill batches
 * within their memory: lengths, positions and ids in range. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/corpus.h"
#include "workload/items.h"

enum { SEQ = 12, BATCH = 3 };

static void check(const struct wt_feed *feed, size_t entries)
{
    size_t rows = (size_t)BATCH * SEQ;
    if (feed->count == 0 || feed->count > BATCH || feed->rows > rows || feed->chosen_count > rows)
        abort();
    for (size_t i = 0; i < feed->count; i++) {
        size_t from = (size_t)feed->starts[i], length = (size_t)feed->lengths[i];
        if (length == 0 || length > SEQ || from + length > feed->rows)
            abort();
        for (size_t k = from; k < from + length; k++)
            if (feed->tokens[k] < 0 || (size_t)feed->tokens[k] >= entries)
                abort();
    }
    for (size_t i = 0; i < feed->chosen_count; i++)
        if (feed->chosen[i] < 0 || (size_t)feed->chosen[i] >= feed->rows)
            abort();
}

static void use_items(struct wt_items *items, size_t entries)
{
    struct wt_feed feed;
    if (wt_feed_init(&feed, BATCH, SEQ, NULL) < 0)
        return;
    for (unsigned n = 0; n < 4; n++) {
        feed.is_packed = n & 1;
        wt_items_next(items, &feed, BATCH);
        check(&feed, entries);
        for (size_t i = 0; items->labels && i < feed.count; i++)
            if (feed.targets[i] < 0 || (size_t)feed.targets[i] >= items->class_count)
                abort();
    }
    wt_feed_done(&feed);
}

static void use_corpus(struct wt_corpus *corpus, size_t entries)
{
    struct wt_feed feed;
    if (wt_feed_init(&feed, BATCH, SEQ, NULL) < 0)
        return;
    for (unsigned n = 0; n < 4; n++) {
        wt_corpus_next(corpus, &feed, BATCH);
        check(&feed, entries);
    }
    for (size_t i = 0; i < wt_corpus_held_out(corpus); i += BATCH) {
        wt_corpus_evaluation(corpus, i, &feed, BATCH);
        check(&feed, entries);
    }
    wt_feed_done(&feed);
}

/* Its texts are what it is made of, and its classes have numbers of a classifier or are refused. */
static int use_table(struct wt_items *items, const struct wt_vocabulary *v, const char *name,
                     const char *text, size_t length, struct wt_error *err)
{
    char *const names[] = {(char *)(uintptr_t) "a", (char *)(uintptr_t) "b",
                           (char *)(uintptr_t) "c"};
    char *texts = NULL;
    size_t size = 0;
    int rc = wt_items_table(items, v, name, text, length, SEQ, 1, err);
    int read = wt_items_texts(name, text, length, &texts, &size, NULL);
    if (rc == 0 && (read < 0 || size == 0 || size > length + 1))
        abort();
    free(texts);
    if (rc == 0 && wt_items_number(items, names, 3, "m", name, err) == 0)
        for (size_t i = 0; i < items->count; i++)
            if (items->labels[i] < 0 || items->labels[i] > 2)
                abort();
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 16)
        return 0;
    const char *text = (const char *)data + 1;
    size_t length = size - 1;
    bool is_bpe = data[0] & 2, is_causal = data[0] & 16;
    struct wt_vocabulary *v = NULL;
    struct wt_items items = {0};
    struct wt_corpus *corpus = NULL;
    struct wt_corpus_options options = {SEQ, 1, is_causal};
    struct wt_error err;
    int rc = wt_vocabulary_train(&v, is_bpe, "t", text, length, 340, &err);
    if (rc == 0 && data[0] & 24)
        rc = wt_corpus_new(&corpus, v, &options, "t", text, length, &err);
    else if (rc == 0 && data[0] & 4)
        rc = wt_items_lines(&items, v, "t", text, length, SEQ, &err);
    else if (rc == 0)
        rc = use_table(&items, v, data[0] & 1 ? "t.csv" : "t", text, length, &err);
    if (rc < 0 && !*err.text)
        abort();
    if (rc == 0 && corpus)
        use_corpus(corpus, wt_vocabulary_size(v));
    else if (rc == 0)
        use_items(&items, wt_vocabulary_size(v));
    wt_corpus_free(corpus);
    wt_items_done(&items);
    wt_vocabulary_free(v);
    return 0;
}
