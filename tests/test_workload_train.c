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
    struct wt_vocabulary *vocabulary;
    struct wt_corpus *corpus;
    struct wt_feed feed;
};

static size_t read_jonah(char *text, size_t size)
{
    FILE *f = fopen(WT_TEST_DATA "/jonah.txt", "r");
    assert_non_null(f);
    size_t n = fread(text, 1, size, f);
    fclose(f);
    return n;
}

static void bed_open(struct bed *bed, uint64_t seed, bool is_causal)
{
    static char text[65536];
    size_t size = read_jonah(text, sizeof(text));
    struct wt_corpus_options options = {SEQ, seed, is_causal};
    memset(bed, 0, sizeof(*bed));
    assert_int_equal(
        wt_vocabulary_train(&bed->vocabulary, is_causal, "jonah.txt", text, size, 400, NULL), 0);
    assert_int_equal(
        wt_corpus_new(&bed->corpus, bed->vocabulary, &options, "jonah.txt", text, size, NULL), 0);
    assert_int_equal(wt_feed_init(&bed->feed, BATCH, SEQ, NULL), 0);
}

static void bed_close(struct bed *bed)
{
    wt_feed_done(&bed->feed);
    wt_corpus_free(bed->corpus);
    wt_vocabulary_free(bed->vocabulary);
}

static void batches_are_masked_as_bert_does_it(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 1, false);
    const struct wt_tokenizer *tokenizer = wt_vocabulary_wordpiece(bed.vocabulary);
    const struct wt_specials *special = wt_tokenizer_specials(tokenizer);
    size_t masked = 0, hidden = 0, kept = 0;
    for (size_t n = 0; n < 200; n++) {
        size_t tokens = wt_corpus_next(bed.corpus, &bed.feed, BATCH), lengths = 0;
        assert_in_range(bed.feed.chosen_count, 1, BATCH * wt_masked_per_sequence(SEQ));
        for (size_t row = 0; row < BATCH; row++) {
            size_t length = (size_t)bed.feed.lengths[row];
            const int32_t *t = bed.feed.tokens + row * SEQ;
            assert_in_range(length, 3, SEQ);
            assert_int_equal(t[0], special->begin);
            assert_int_equal(t[length - 1], special->end);
            for (size_t i = length; i < SEQ; i++)
                assert_int_equal(t[i], special->pad);
            lengths += length;
        }
        assert_int_equal(tokens, lengths);
        bool is_seen[BATCH * SEQ] = {false};
        for (size_t i = 0; i < bed.feed.chosen_count; i++) {
            size_t at = (size_t)bed.feed.chosen[i];
            assert_true(at < BATCH * SEQ && !is_seen[at]);
            is_seen[at] = true;
            assert_false(wt_tokenizer_is_special(tokenizer, bed.feed.targets[i]));
            hidden += bed.feed.tokens[at] == special->mask;
            kept += bed.feed.tokens[at] == bed.feed.targets[i];
        }
        masked += bed.feed.chosen_count;
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
    bed_open(&bed, 1, false);
    size_t train = wt_corpus_sequences(bed.corpus), held_out = wt_corpus_held_out(bed.corpus);
    assert_true(train > 20);
    assert_int_equal(held_out, (train + held_out) / 20);

    /* A sequence is known by the sum of what stood in it. */
    int64_t *sums = calloc(2 * train, sizeof(*sums));
    assert_non_null(sums);
    for (size_t i = 0; i < 2 * train; i++) {
        wt_corpus_next(bed.corpus, &bed.feed, 1);
        for (size_t k = 0; k < bed.feed.chosen_count; k++)
            bed.feed.tokens[bed.feed.chosen[k]] = bed.feed.targets[k];
        for (size_t k = 0; k < SEQ; k++)
            sums[i] = sums[i] * 31 % 1000000007 + bed.feed.tokens[k];
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
        wt_corpus_evaluation(bed.corpus, i, &bed.feed, 1);
        for (size_t k = 0; k < bed.feed.chosen_count; k++)
            bed.feed.tokens[bed.feed.chosen[k]] = bed.feed.targets[k];
        int64_t sum = 0;
        for (size_t k = 0; k < SEQ; k++)
            sum = sum * 31 % 1000000007 + bed.feed.tokens[k];
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
    struct wt_vocabulary *vocabulary = NULL;
    struct wt_vocabulary_text file = {"v", vocab, strlen(vocab)};
    struct wt_corpus_options options = {SEQ, 1, false};
    assert_int_equal(wt_vocabulary_from_wordpiece(&vocabulary, &file, NULL, NULL), 0);
    static const struct {
        const char *text, *want;
    } rows[] = {{"", "there is no text"}, {"the whale", "has none of its words"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_corpus *corpus = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_corpus_new(&corpus, vocabulary, &options, "T", rows[i].text,
                                       strlen(rows[i].text), &err),
                         WT_E_FORMAT);
        assert_null(corpus);
        assert_non_null(strstr(err.text, rows[i].want));
    }
    /* One word is enough, and is all there is to predict. */
    struct wt_corpus *corpus = NULL;
    assert_int_equal(wt_corpus_new(&corpus, vocabulary, &options, "T", "x", 1, NULL), 0);
    assert_int_equal(wt_corpus_held_out(corpus), 0);
    wt_corpus_free(corpus);
    wt_vocabulary_free(vocabulary);
}

static void causal_rows_are_full_and_predict_what_comes_next(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 1, true);
    static char text[65536];
    size_t size = read_jonah(text, sizeof(text)), count = 0;
    int32_t *ids = NULL;
    assert_int_equal(wt_vocabulary_encode(bed.vocabulary, "T", text, size, &ids, &count, NULL), 0);
    assert_int_equal(wt_corpus_tokens(bed.corpus), count + 1);
    size_t full = 0, first = 0;
    for (size_t n = 0; n < 40; n++) {
        size_t tokens = wt_corpus_next(bed.corpus, &bed.feed, BATCH);
        assert_int_equal(tokens, wt_feed_tokens(&bed.feed));
        assert_int_equal(bed.feed.chosen_count, 0);
        for (size_t row = 0; row < BATCH; row++) {
            const int32_t *t = bed.feed.tokens + row * SEQ;
            full += bed.feed.lengths[row] == SEQ;
            if (t[0] != wt_vocabulary_marks(bed.vocabulary).end || t[1] != ids[0])
                continue;
            first++; /* the text's beginning, with nothing put around it */
            assert_memory_equal(t + 1, ids, (SEQ - 1) * sizeof(*t));
        }
    }
    assert_true(first >= 1);
    assert_true(full > 40 * BATCH * 9 / 10);
    free(ids);
    bed_close(&bed);
}

static void a_corpus_goes_on_where_another_stood(void **state)
{
    (void)state;
    static const unsigned batches[] = {0, 1, 7, 50};
    for (size_t i = 0; i < WT_COUNTOF(batches); i++) {
        struct bed a, b;
        bed_open(&a, 3, false);
        bed_open(&b, 3, false);
        for (unsigned n = 0; n < batches[i]; n++)
            wt_corpus_next(a.corpus, &a.feed, BATCH);
        wt_corpus_seek(b.corpus, wt_corpus_place(a.corpus));
        for (unsigned n = 0; n < 5; n++) {
            wt_corpus_next(a.corpus, &a.feed, BATCH);
            wt_corpus_next(b.corpus, &b.feed, BATCH);
            assert_memory_equal(a.feed.tokens, b.feed.tokens, sizeof(*a.feed.tokens) * BATCH * SEQ);
            assert_int_equal(a.feed.chosen_count, b.feed.chosen_count);
        }
        bed_close(&a);
        bed_close(&b);
    }
}

static void random_tokens_are_full_sequences_of_the_models_vocabulary(void **state)
{
    (void)state;
    struct wt_corpus_options options = {SEQ, 1, true};
    struct wt_corpus *corpus = NULL;
    struct wt_feed feed;
    assert_int_equal(wt_corpus_new_random(&corpus, 4, &options, NULL), WT_E_USAGE);
    assert_int_equal(wt_corpus_new_random(&corpus, 100, &options, NULL), 0);
    assert_int_equal(wt_feed_init(&feed, BATCH, SEQ, NULL), 0);
    assert_int_equal(wt_corpus_held_out(corpus), 0);
    assert_int_equal(wt_corpus_next(corpus, &feed, BATCH), BATCH * SEQ);
    for (size_t i = 0; i < (size_t)BATCH * SEQ; i++)
        assert_in_range(feed.tokens[i], 5, 99);
    wt_feed_done(&feed);
    wt_corpus_free(corpus);
}

static double losses(double ret_loss[30], const char *name, uint64_t seed)
{
    struct bed bed;
    struct wt_config config;
    struct wt_backend cpu;
    struct wt_model *model = NULL;
    assert_int_equal(wt_config_named(&config, name, NULL), 0);
    bool is_causal = config.family == WT_FAMILY_GPT2;
    config.layers = config.heads = 2; /* a small one of each family */
    config.hidden = 128;
    config.ffn = 512;
    bed_open(&bed, seed, is_causal);
    assert_int_equal(setenv("WATTUNE_PRODUCTS", "openblas", 1), 0); /* the same sums each time */
    assert_int_equal(wt_cpu_new(&cpu, WT_F32, 2, false, NULL), 0);
    struct wt_model_options options = {.task = is_causal ? WT_TASK_CLM : WT_TASK_MLM,
                                       .batch = BATCH,
                                       .seq = SEQ,
                                       .seed = seed,
                                       .has_dropout = true};
    assert_int_equal(wt_model_new(&model, &config, &options, &cpu, NULL), 0);
    for (size_t i = 0; i < 30; i++) {
        double norm = 0;
        struct wt_rate rate = {1e-3f, 0.9f, 0.999f, 1e-6f, 0.01f, 1};
        wt_corpus_next(bed.corpus, &bed.feed, BATCH);
        struct wt_input input = wt_feed_input(&bed.feed, !is_causal, !is_causal);
        wt_model_forward(model, &input, true, 0, 1);
        wt_model_backward(model);
        wt_model_optimize(model, &rate);
        assert_int_equal(wt_model_result(model, &ret_loss[i], &norm, NULL), 0);
        assert_true(norm > 0);
    }
    double held_out = 0;
    wt_corpus_evaluation(bed.corpus, 0, &bed.feed, BATCH);
    struct wt_input input = wt_feed_input(&bed.feed, !is_causal, !is_causal);
    wt_model_forward(model, &input, false, 0, 1);
    assert_int_equal(wt_model_result(model, &held_out, NULL, NULL), 0);
    wt_model_free(model);
    wt_backend_free(&cpu);
    bed_close(&bed);
    return held_out;
}

static void the_loss_falls_on_real_text(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double entries;
    } rows[] = {{"bert-tiny", 30522}, {"gpt2", 50257}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        double loss[30], start = 0, finish = 0;
        double held_out = losses(loss, rows[i].name, 1);
        for (size_t k = 0; k < 3; k++) {
            start += loss[k] / 3;
            finish += loss[29 - k] / 3;
        }
        assert_true(fabs(loss[0] - log(rows[i].entries)) < 0.5); /* knows nothing at first */
        assert_true(finish < start - 2);
        assert_true(held_out < start - 2);
    }
}

static void a_seed_is_a_run(void **state)
{
    (void)state;
    double a[30], b[30], c[30];
    losses(a, "bert-tiny", 5);
    losses(b, "bert-tiny", 5);
    losses(c, "bert-tiny", 6);
    assert_memory_equal(a, b, sizeof(a));
    assert_true(fabs(a[29] - c[29]) > 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_masked_as_bert_does_it),
        cmocka_unit_test(an_epoch_has_each_sequence_once_and_none_that_is_held_out),
        cmocka_unit_test(a_text_the_vocabulary_does_not_know_is_refused),
        cmocka_unit_test(causal_rows_are_full_and_predict_what_comes_next),
        cmocka_unit_test(a_corpus_goes_on_where_another_stood),
        cmocka_unit_test(random_tokens_are_full_sequences_of_the_models_vocabulary),
        cmocka_unit_test(the_loss_falls_on_real_text),
        cmocka_unit_test(a_seed_is_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
