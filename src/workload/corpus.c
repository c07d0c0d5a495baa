/* Text as training batches. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/corpus.h"
#include "workload/digest.h"
#include "workload/order.h"
#include "workload/random.h"

#define HELD_OUT_EVERY 20

#define RANDOM_SEQUENCES 1024

struct wt_corpus {
    struct wt_corpus_options o;
    struct wt_marks marks;
    int32_t unknown;
    size_t vocabulary_size, lead; /* lead: what stands around the text of a sequence */
    int32_t *ids;
    size_t id_count;
    double unknown_share;
    struct wt_order order; /* of the numbers of sequences to train on */
    uint32_t *held_out;    /* the others */
    size_t held_out_count;
    size_t *candidates; /* scratch: positions of a sequence that may be masked */
};

static bool is_special(const struct wt_corpus *c, int32_t id)
{
    return id == c->marks.pad || id == c->marks.begin || id == c->marks.end ||
           id == c->marks.mask || id == c->unknown;
}

/* The sequences, by number, and which are held out. */
static int cut(struct wt_corpus *c, const char *name, bool has_held_out, struct wt_error *err)
{
    size_t span = c->o.seq - c->lead, count = (c->id_count + span - 1) / span;
    /* A last token alone predicts nothing. */
    if (c->o.is_causal && count > 1 && c->id_count % span == 1)
        count--;
    if (count > UINT32_MAX)
        return wt_fail(err, WT_E_RANGE, "%s: more than 2^32 sequences of %u tokens", name,
                       c->o.seq);
    uint32_t *train = malloc(count * sizeof(*train));
    c->held_out = malloc(count * sizeof(*c->held_out));
    c->candidates = malloc(c->o.seq * sizeof(*c->candidates));
    if (!train || !c->held_out || !c->candidates) {
        free(train);
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu sequences of %s", count, name);
    }
    size_t unknown = 0, known_train = 0, train_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_out = has_held_out && wt_order_is_held_out(i, count, HELD_OUT_EVERY);
        if (is_out)
            c->held_out[c->held_out_count++] = (uint32_t)i;
        else
            train[train_count++] = (uint32_t)i;
        for (size_t k = i * span; k < (i + 1) * span && k < c->id_count; k++) {
            unknown += c->ids[k] == c->unknown;
            known_train += !is_special(c, c->ids[k]) && !is_out;
        }
    }
    if (known_train == 0) {
        free(train);
        return wt_fail(err, WT_E_FORMAT, "%s: the vocabulary has none of its words", name);
    }
    c->unknown_share = (double)unknown / (double)c->id_count;
    return wt_order_init(&c->order, train, train_count, true, c->o.seed, err);
}

int wt_corpus_new(struct wt_corpus **ret_corpus, const struct wt_vocabulary *v,
                  const struct wt_corpus_options *o, const char *name, const char *text,
                  size_t size, struct wt_error *err)
{
    struct wt_corpus *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for the text %s", name);
    c->o = *o;
    c->marks = wt_vocabulary_marks(v);
    c->unknown = wt_vocabulary_wordpiece(v) ? wt_vocabulary_id(v, "[UNK]") : -1;
    c->vocabulary_size = wt_vocabulary_size(v);
    c->lead = o->is_causal ? 0 : 2;
    int rc = 0;
    if (!o->is_causal && (c->marks.mask < 0 || c->marks.begin < 0 || c->marks.end < 0))
        rc = wt_fail(err, WT_E_USAGE,
                     "a masked model needs a vocabulary with [CLS], [SEP] and [MASK]: WordPiece, "
                     "not byte-level BPE");
    if (rc == 0)
        rc = wt_vocabulary_encode(v, name, text, size, &c->ids, &c->id_count, err);
    if (rc == 0 && c->id_count == 0)
        rc = wt_fail(err, WT_E_FORMAT, "%s: there is no text", name);
    if (rc == 0 && o->is_causal && c->marks.end >= 0) {
        int32_t *ids = malloc((c->id_count + 1) * sizeof(*ids));
        if (ids) {
            ids[0] = c->marks.end;
            memcpy(ids + 1, c->ids, c->id_count * sizeof(*ids));
            free(c->ids);
            c->ids = ids;
            c->id_count++;
        } else {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for the text %s", name);
        }
    }
    if (rc == 0)
        rc = cut(c, name, true, err);
    if (rc == 0) {
        *ret_corpus = c;
        c = NULL;
    }
    wt_corpus_free(c);
    return rc;
}

int wt_corpus_new_random(struct wt_corpus **ret_corpus, size_t vocabulary_size,
                         const struct wt_corpus_options *o, struct wt_error *err)
{
    if (vocabulary_size < 8)
        return wt_fail(err, WT_E_USAGE, "a vocabulary of %zu entries: random tokens need 8 or more",
                       vocabulary_size);
    struct wt_corpus *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for random tokens");
    c->o = *o;
    c->marks = (struct wt_marks){0, 1, 2, 3};
    c->unknown = 4;
    c->vocabulary_size = vocabulary_size;
    c->lead = o->is_causal ? 0 : 2;
    c->id_count = RANDOM_SEQUENCES * (size_t)(o->seq - c->lead);
    c->ids = malloc(c->id_count * sizeof(*c->ids));
    int rc = c->ids ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for random tokens");
    struct wt_random random = {o->seed ^ 0x746f6b656e73, 0};
    for (size_t i = 0; rc == 0 && i < c->id_count; i++)
        c->ids[i] = 5 + (int32_t)wt_random_below(&random, vocabulary_size - 5);
    if (rc == 0)
        rc = cut(c, "random tokens", false, err);
    if (rc == 0) {
        *ret_corpus = c;
        c = NULL;
    }
    wt_corpus_free(c);
    return rc;
}

void wt_corpus_free(struct wt_corpus *c)
{
    if (!c)
        return;
    free(c->ids);
    wt_order_done(&c->order);
    free(c->held_out);
    free(c->candidates);
    free(c);
}

size_t wt_corpus_tokens(const struct wt_corpus *c)
{
    return c->id_count;
}

double wt_corpus_unknown_share(const struct wt_corpus *c)
{
    return c->unknown_share;
}

uint64_t wt_corpus_digest(const struct wt_corpus *c)
{
    return wt_digest(WT_DIGEST_BEGIN, c->ids, c->id_count);
}

size_t wt_corpus_sequences(const struct wt_corpus *c)
{
    return c->order.count;
}

size_t wt_corpus_held_out(const struct wt_corpus *c)
{
    return c->held_out_count;
}

static int32_t random_token(const struct wt_corpus *c, struct wt_random *random)
{
    int32_t id;
    do /* there is one that is not, or wt_corpus_new had refused the text */
        id = (int32_t)wt_random_below(random, c->vocabulary_size);
    while (is_special(c, id));
    return id;
}

/* Chooses positions of a sequence that lies at `first` and masks them. */
static void mask(const struct wt_corpus *c, struct wt_feed *feed, size_t first, size_t length,
                 struct wt_random *random)
{
    int32_t *tokens = feed->tokens + first;
    size_t candidates = 0, want = wt_masked_per_sequence(length);
    for (size_t i = 1; i + 1 < length; i++)
        if (!is_special(c, tokens[i]))
            c->candidates[candidates++] = i;
    for (size_t k = 0; k < want && k < candidates; k++) {
        size_t pick = k + wt_random_below(random, candidates - k), at = c->candidates[pick];
        c->candidates[pick] = c->candidates[k];
        feed->chosen[feed->chosen_count] = (int32_t)(first + at);
        feed->targets[feed->chosen_count++] = tokens[at];
        uint64_t chance = wt_random_below(random, 10);
        if (chance < 8)
            tokens[at] = c->marks.mask;
        else if (chance == 8)
            tokens[at] = random_token(c, random);
    }
}

/* Appends one sequence to the batch. */
static void put(const struct wt_corpus *c, struct wt_feed *feed, size_t sequence,
                struct wt_random *random)
{
    size_t seq = c->o.seq, span = seq - c->lead, from = sequence * span;
    size_t n = c->id_count - from < span ? c->id_count - from : span, length = n + c->lead;
    size_t row = feed->count++, first = row * seq;
    int32_t *tokens = feed->tokens + first, *t = tokens;
    if (c->lead)
        *t++ = c->marks.begin;
    memcpy(t, c->ids + from, n * sizeof(*tokens));
    if (c->lead)
        t[n] = c->marks.end;
    for (size_t i = length; i < seq; i++)
        tokens[i] = c->marks.pad >= 0 ? c->marks.pad : 0;
    feed->starts[row] = (int32_t)first;
    feed->lengths[row] = (int32_t)length;
    feed->rows = feed->count * seq;
    if (!c->o.is_causal)
        mask(c, feed, first, length, random);
}

static void clear(struct wt_feed *feed)
{
    feed->count = feed->rows = feed->chosen_count = 0;
    feed->is_packed = false;
}

size_t wt_corpus_next(struct wt_corpus *c, struct wt_feed *feed, unsigned sequences)
{
    do {
        clear(feed);
        for (unsigned i = 0; i < sequences; i++) {
            size_t sequence = wt_order_next(&c->order);
            struct wt_random random = {wt_random_at(c->o.seed ^ 0x6d61736b, c->order.epoch),
                                       sequence << 20};
            put(c, feed, sequence, &random);
        }
    } while (!c->o.is_causal && feed->chosen_count == 0); /* a stretch of unknown words only */
    return wt_feed_tokens(feed);
}

size_t wt_corpus_evaluation(const struct wt_corpus *c, size_t first, struct wt_feed *feed,
                            unsigned sequences)
{
    clear(feed);
    for (size_t i = first; i < first + sequences && i < c->held_out_count; i++) {
        size_t sequence = c->held_out[i];
        struct wt_random random = {c->o.seed ^ 0x6576616c, sequence << 20};
        put(c, feed, sequence, &random);
    }
    return wt_feed_tokens(feed);
}

uint64_t wt_corpus_place(const struct wt_corpus *c)
{
    return wt_order_place(&c->order);
}

void wt_corpus_seek(struct wt_corpus *c, uint64_t place)
{
    wt_order_seek(&c->order, place);
}
