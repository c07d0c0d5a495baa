/* Text as training batches. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/corpus.h"
#include "workload/random.h"

#define HELD_OUT_EVERY 20

struct wt_corpus {
    const struct wt_tokenizer *tokenizer;
    unsigned seq;
    uint64_t seed;
    int32_t *ids;
    size_t id_count;
    double unknown_share;
    uint32_t *train, *held_out; /* numbers of sequences */
    size_t train_count, held_out_count;
    size_t at, epoch;   /* in train */
    size_t *candidates; /* scratch: positions of a sequence that may be masked */
};

static void shuffle(struct wt_corpus *c)
{
    struct wt_random random = {wt_random_at(c->seed, c->epoch), 0};
    for (size_t i = c->train_count; i > 1; i--) {
        size_t other = wt_random_below(&random, i);
        uint32_t keep = c->train[i - 1];
        c->train[i - 1] = c->train[other];
        c->train[other] = keep;
    }
}

int wt_corpus_new(struct wt_corpus **ret_corpus, const struct wt_tokenizer *tokenizer,
                  const char *name, const char *text, size_t size, unsigned seq, uint64_t seed,
                  struct wt_error *err)
{
    struct wt_corpus *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for the text %s", name);
    c->tokenizer = tokenizer;
    c->seq = seq;
    c->seed = seed;
    int rc = wt_tokenizer_encode(tokenizer, text, size, &c->ids, &c->id_count, err);
    if (rc < 0)
        goto out;
    if (c->id_count == 0) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: there is no text", name);
        goto out;
    }
    size_t span = seq - 2, count = (c->id_count + span - 1) / span;
    if (count > UINT32_MAX) {
        rc = wt_fail(err, WT_E_RANGE, "%s: more than 2^32 sequences of %u tokens", name, seq);
        goto out;
    }
    c->train = malloc(count * sizeof(*c->train));
    c->held_out = malloc(count * sizeof(*c->held_out));
    c->candidates = malloc(seq * sizeof(*c->candidates));
    if (!c->train || !c->held_out || !c->candidates) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %zu sequences of %s", count, name);
        goto out;
    }
    size_t known = 0, known_train = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_out = count >= HELD_OUT_EVERY ? i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
                                              : count > 1 && i == count - 1;
        if (is_out)
            c->held_out[c->held_out_count++] = (uint32_t)i;
        else
            c->train[c->train_count++] = (uint32_t)i;
        for (size_t k = i * span; k < (i + 1) * span && k < c->id_count; k++) {
            bool is_known = !wt_tokenizer_is_special(tokenizer, c->ids[k]);
            known += is_known;
            known_train += is_known && !is_out;
        }
    }
    if (known_train == 0) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: the vocabulary has none of its words", name);
        goto out;
    }
    c->unknown_share = 1 - (double)known / (double)c->id_count;
    shuffle(c);
    *ret_corpus = c;
    c = NULL;
out:
    wt_corpus_free(c);
    return rc;
}

void wt_corpus_free(struct wt_corpus *c)
{
    if (!c)
        return;
    free(c->ids);
    free(c->train);
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

size_t wt_corpus_sequences(const struct wt_corpus *c)
{
    return c->train_count;
}

size_t wt_corpus_held_out(const struct wt_corpus *c)
{
    return c->held_out_count;
}

static int32_t random_token(const struct wt_corpus *c, struct wt_random *random)
{
    int32_t id;
    do /* there is one that is not, or wt_corpus_new had refused the text */
        id = (int32_t)wt_random_below(random, wt_tokenizer_size(c->tokenizer));
    while (wt_tokenizer_is_special(c->tokenizer, id));
    return id;
}

/* Writes one sequence into row `row` of the batch and masks it. Returns its length. */
static size_t put(const struct wt_corpus *c, struct wt_batch *batch, size_t row, size_t sequence,
                  struct wt_random *random)
{
    const struct wt_specials *special = wt_tokenizer_specials(c->tokenizer);
    size_t span = c->seq - 2, from = sequence * span;
    size_t n = c->id_count - from < span ? c->id_count - from : span, length = n + 2;
    int32_t *tokens = batch->tokens + row * c->seq;
    tokens[0] = special->begin;
    memcpy(tokens + 1, c->ids + from, n * sizeof(*tokens));
    tokens[n + 1] = special->end;
    for (size_t i = length; i < c->seq; i++)
        tokens[i] = special->pad;
    batch->lengths[row] = (unsigned)length;

    size_t candidates = 0, want = wt_masked_per_sequence(length);
    for (size_t i = 1; i <= n; i++)
        if (!wt_tokenizer_is_special(c->tokenizer, tokens[i]))
            c->candidates[candidates++] = i;
    for (size_t k = 0; k < want && k < candidates; k++) {
        size_t pick = k + wt_random_below(random, candidates - k), at = c->candidates[pick];
        c->candidates[pick] = c->candidates[k];
        batch->masked[batch->masked_count] = (uint32_t)(row * c->seq + at);
        batch->targets[batch->masked_count++] = tokens[at];
        uint64_t chance = wt_random_below(random, 10);
        if (chance < 8)
            tokens[at] = special->mask;
        else if (chance == 8)
            tokens[at] = random_token(c, random);
    }
    return length;
}

size_t wt_corpus_next(struct wt_corpus *c, struct wt_batch *batch, unsigned sequences)
{
    size_t tokens = 0;
    do {
        tokens = 0;
        batch->masked_count = 0;
        for (size_t row = 0; row < sequences; row++) {
            if (c->at == c->train_count) {
                c->at = 0;
                c->epoch++;
                shuffle(c);
            }
            size_t sequence = c->train[c->at++];
            struct wt_random random = {wt_random_at(c->seed ^ 0x6d61736b, c->epoch),
                                       sequence << 20};
            tokens += put(c, batch, row, sequence, &random);
        }
    } while (batch->masked_count == 0); /* a stretch of unknown words only */
    return tokens;
}

size_t wt_corpus_evaluation(const struct wt_corpus *c, size_t first, struct wt_batch *batch,
                            unsigned sequences)
{
    size_t tokens = 0;
    batch->masked_count = 0;
    for (size_t row = 0; row < sequences; row++) {
        if (first + row < c->held_out_count) {
            size_t sequence = c->held_out[first + row];
            struct wt_random random = {c->seed ^ 0x6576616c, sequence << 20};
            tokens += put(c, batch, row, sequence, &random);
        } else {
            for (size_t i = 0; i < c->seq; i++)
                batch->tokens[row * c->seq + i] = wt_tokenizer_specials(c->tokenizer)->pad;
            batch->lengths[row] = 1;
        }
    }
    return tokens;
}

int wt_batch_init(struct wt_batch *batch, const struct wt_dims *dims, struct wt_error *err)
{
    *batch = (struct wt_batch){
        .tokens = calloc(dims->tokens, sizeof(*batch->tokens)),
        .lengths = calloc(dims->batch, sizeof(*batch->lengths)),
        .masked = calloc(dims->masked, sizeof(*batch->masked)),
        .targets = calloc(dims->masked, sizeof(*batch->targets)),
    };
    if (batch->tokens && batch->lengths && batch->masked && batch->targets)
        return 0;
    wt_batch_done(batch);
    return wt_fail(err, WT_E_NOMEM, "no memory for a batch of %zu tokens", dims->tokens);
}

void wt_batch_done(struct wt_batch *batch)
{
    free(batch->tokens);
    free(batch->lengths);
    free(batch->masked);
    free(batch->targets);
    memset(batch, 0, sizeof(*batch));
}
