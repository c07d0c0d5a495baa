/* Training on real text (tests/data/jonah.txt): batches are what they say, the loss falls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/corpus.h"

#define SEQ   32
#define BATCH 4

struct bed {
    struct wt_tokenizer *tokenizer;
    struct wt_corpus *corpus;
    struct wt_batch batch;
    struct wt_dims dims;
    struct wt_model_shape shape;
};

static void bed_open(struct bed *bed, uint64_t seed)
{
    static char text[65536];
    FILE *f = fopen(WT_TEST_DATA "/jonah.txt", "r");
    assert_non_null(f);
    size_t size = fread(text, 1, sizeof(text), f);
    fclose(f);
    memset(bed, 0, sizeof(*bed));
    assert_int_equal(wt_model_shape_named("bert-tiny", &bed->shape, NULL), 0);
    assert_int_equal(wt_dims_make(&bed->dims, &bed->shape, BATCH, SEQ, NULL), 0);
    assert_int_equal(wt_tokenizer_train(&bed->tokenizer, text, size, 400, NULL), 0);
    assert_int_equal(
        wt_corpus_new(&bed->corpus, bed->tokenizer, "jonah.txt", text, size, SEQ, seed, NULL), 0);
    assert_int_equal(wt_batch_init(&bed->batch, &bed->dims, NULL), 0);
}

static void bed_close(struct bed *bed)
{
    wt_batch_done(&bed->batch);
    wt_corpus_free(bed->corpus);
    wt_tokenizer_free(bed->tokenizer);
}

static void batches_are_masked_as_bert_does_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 1);
    const struct wt_specials *special = wt_tokenizer_specials(bed.tokenizer);
    size_t masked = 0, hidden = 0, kept = 0;
    for (size_t n = 0; n < 200; n++) {
        size_t tokens = wt_corpus_next(bed.corpus, &bed.batch, BATCH), lengths = 0;
        assert_in_range(bed.batch.masked_count, 1, bed.dims.masked);
        for (size_t row = 0; row < BATCH; row++) {
            size_t length = bed.batch.lengths[row];
            const int32_t *t = bed.batch.tokens + row * SEQ;
            assert_in_range(length, 3, SEQ);
            assert_int_equal(t[0], special->begin);
            assert_int_equal(t[length - 1], special->end);
            for (size_t i = length; i < SEQ; i++)
                assert_int_equal(t[i], special->pad);
            lengths += length;
        }
        assert_int_equal(tokens, lengths);
        bool is_seen[BATCH * SEQ] = {false};
        for (size_t i = 0; i < bed.batch.masked_count; i++) {
            size_t at = bed.batch.masked[i];
            assert_true(at < BATCH * SEQ && !is_seen[at]);
            is_seen[at] = true;
            assert_false(wt_tokenizer_is_special(bed.tokenizer, bed.batch.targets[i]));
            hidden += bed.batch.tokens[at] == special->mask;
            kept += bed.batch.tokens[at] == bed.batch.targets[i];
        }
        masked += bed.batch.masked_count;
    }
    /* 80 % and 10 %, five deviations of about 4000 draws. */
    assert_true(fabs((double)hidden / (double)masked - 0.8) < 0.035);
    assert_true(fabs((double)kept / (double)masked - 0.1) < 0.025);
    bed_close(&bed);
}

static void an_epoch_has_each_sequence_once_and_none_that_is_held_out(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 1);
    size_t train = wt_corpus_sequences(bed.corpus), held_out = wt_corpus_held_out(bed.corpus);
    assert_true(train > 20);
    assert_int_equal(held_out, (train + held_out) / 20);

    /* A sequence is known by the sum of what stood in it. */
    int64_t *sums = calloc(2 * train, sizeof(*sums));
    assert_non_null(sums);
    for (size_t i = 0; i < 2 * train; i++) {
        wt_corpus_next(bed.corpus, &bed.batch, 1);
        for (size_t k = 0; k < bed.batch.masked_count; k++)
            bed.batch.tokens[bed.batch.masked[k]] = bed.batch.targets[k];
        for (size_t k = 0; k < SEQ; k++)
            sums[i] = sums[i] * 31 % 1000000007 + bed.batch.tokens[k];
    }
    size_t moved = 0;
    for (size_t i = 0; i < train; i++) {
        size_t first = 0, second = 0;
        for (size_t k = 0; k < train; k++) {
            first += sums[k] == sums[i];
            second += sums[train + k] == sums[i];
        }
        assert_int_equal(first, 1);
        assert_int_equal(second, 1);
        moved += sums[train + i] != sums[i];
    }
    assert_true(moved > train / 2); /* in another order */
    for (size_t i = 0; i < held_out; i++) {
        wt_corpus_evaluation(bed.corpus, i, &bed.batch, 1);
        for (size_t k = 0; k < bed.batch.masked_count; k++)
            bed.batch.tokens[bed.batch.masked[k]] = bed.batch.targets[k];
        int64_t sum = 0;
        for (size_t k = 0; k < SEQ; k++)
            sum = sum * 31 % 1000000007 + bed.batch.tokens[k];
        for (size_t k = 0; k < train; k++)
            assert_true(sums[k] != sum);
    }
    free(sums);
    bed_close(&bed);
}

static void a_text_the_vocabulary_does_not_know_is_refused(void **state)
{
    (void)state;
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nx\n";
    struct wt_tokenizer *tokenizer = NULL;
    assert_int_equal(wt_tokenizer_parse(&tokenizer, "v", vocab, strlen(vocab), NULL), 0);
    static const struct {
        const char *text, *want;
    } rows[] = {{"", "there is no text"}, {"the whale", "has none of its words"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_corpus *corpus = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_corpus_new(&corpus, tokenizer, "T", rows[i].text, strlen(rows[i].text),
                                       SEQ, 1, &err),
                         WT_E_FORMAT);
        assert_null(corpus);
        assert_non_null(strstr(err.text, rows[i].want));
    }
    /* One word is enough, and is all there is to predict. */
    struct wt_corpus *corpus = NULL;
    assert_int_equal(wt_corpus_new(&corpus, tokenizer, "T", "x", 1, SEQ, 1, NULL), 0);
    assert_int_equal(wt_corpus_held_out(corpus), 0);
    wt_corpus_free(corpus);
    wt_tokenizer_free(tokenizer);
}

static double losses(double ret_loss[30], unsigned threads, uint64_t seed)
{
    struct bed bed;
    bed_open(&bed, seed);
    struct wt_bert *bert = NULL;
    struct wt_bert_options options = {BATCH, SEQ, threads, seed, 0.1f};
    assert_int_equal(wt_bert_new(&bert, &bed.shape, &options, NULL), 0);
    for (size_t i = 0; i < 30; i++) {
        wt_corpus_next(bed.corpus, &bed.batch, BATCH);
        ret_loss[i] = wt_bert_forward(bert, &bed.batch, true);
        wt_bert_backward(bert, &bed.batch);
        struct wt_bert_rate rate = {1e-3f, 0.9f, 0.999f, 1e-6f, 0.01f, 1};
        assert_true(wt_bert_optimize(bert, &rate) > 0);
    }
    wt_corpus_evaluation(bed.corpus, 0, &bed.batch, BATCH);
    double held_out = wt_bert_forward(bert, &bed.batch, false);
    wt_bert_free(bert);
    bed_close(&bed);
    return held_out;
}

static void the_loss_falls_on_real_text(void **state)
{
    (void)state;
    double loss[30], start = 0, finish = 0;
    double held_out = losses(loss, 2, 1);
    for (size_t i = 0; i < 3; i++) {
        start += loss[i] / 3;
        finish += loss[29 - i] / 3;
    }
    assert_true(fabs(loss[0] - log(30522)) < 0.5); /* knows nothing at first */
    assert_true(finish < start - 2);
    assert_true(held_out < start - 2);
}

static void a_seed_is_a_run(void **state)
{
    (void)state;
    double a[30], b[30], c[30];
    losses(a, 1, 5);
    losses(b, 1, 5);
    losses(c, 1, 6);
    assert_memory_equal(a, b, sizeof(a));
    assert_true(fabs(a[29] - c[29]) > 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_masked_as_bert_does_it),
        cmocka_unit_test(an_epoch_has_each_sequence_once_and_none_that_is_held_out),
        cmocka_unit_test(a_text_the_vocabulary_does_not_know_is_refused),
        cmocka_unit_test(the_loss_falls_on_real_text),
        cmocka_unit_test(a_seed_is_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
