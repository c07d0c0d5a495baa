/* Whether int8 says what fp32 says: trains a GPT-2 on a text, then has both judge the held-out
 * part, position by position.
 *
 *   build/bench/int8-agree TEXT [STEPS [LAYERS HIDDEN]]      (2000 steps, 4 layers of 256)
 *
 * Weights that were trained, not random ones: a random model's logits are all alike, and their
 * order is decided by less than a quantisation leaves. Exit code 1 when the likeliest token of
 * fewer than 99 % of the positions is the same. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/corpus.h"
#include "workload/model.h"

enum { BATCH = 16, SEQ = 128, JUDGED = 400, THREADS = 2 };

static const struct wt_rate adam = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f};

struct bench {
    struct wt_config config;
    struct wt_vocabulary *vocabulary;
    struct wt_corpus *corpus;
    struct wt_feed feed;
    char *text;
    float *values;
    unsigned steps;
};

static int prepare(struct bench *b, const char *path, struct wt_error *err)
{
    struct wt_corpus_options cut = {.seq = SEQ, .seed = 1, .is_causal = true};
    size_t size;
    int rc = wt_file_read(path, 64u << 20, &b->text, &size, err);
    if (rc == 0)
        rc = wt_vocabulary_train(&b->vocabulary, true, path, b->text, size, b->config.vocab, err);
    if (rc == 0)
        rc = wt_corpus_new(&b->corpus, b->vocabulary, &cut, path, b->text, size, err);
    return rc == 0 ? wt_feed_init(&b->feed, BATCH, SEQ, err) : rc;
}

/* Rises over the first tenth, then falls to 0. */
static float rate_at(const struct bench *b, unsigned step)
{
    unsigned rising = b->steps / 10;
    return step < rising ? adam.rate * (float)(step + 1) / (float)(rising + 1)
                         : adam.rate * (float)(b->steps - step) / (float)(b->steps - rising);
}

static int train(struct bench *b, struct wt_error *err)
{
    const struct wt_model_options options = {
        .task = WT_TASK_CLM, .batch = BATCH, .seq = SEQ, .seed = 1};
    struct wt_backend backend = {0};
    struct wt_model *model = NULL;
    double loss = NAN;
    int rc = wt_cpu_new(&backend, WT_F32, THREADS, false, err);
    if (rc == 0)
        rc = wt_model_new(&model, &b->config, &options, &backend, err);
    for (unsigned step = 0; rc == 0 && step < b->steps; step++) {
        struct wt_rate rate = adam;
        rate.rate = rate_at(b, step);
        wt_corpus_next(b->corpus, &b->feed, BATCH);
        struct wt_input input = wt_feed_input(&b->feed, false, false);
        wt_model_forward(model, &input, true, 0, 1);
        wt_model_backward(model);
        wt_model_optimize(model, &rate);
        rc = wt_model_result(model, &loss, NULL, err);
        if (rc == 0 && (step + 1) % (b->steps / 10) == 0)
            printf("step %5u  loss %.3f\n", step + 1, loss);
    }
    if (rc == 0) {
        b->values = calloc(wt_model_parameters_of(model)->total, sizeof(*b->values));
        rc = b->values ? wt_model_get(model, b->values, err)
                       : wt_fail(err, WT_E_NOMEM, "no memory for the weights");
    }
    wt_model_free(model);
    wt_backend_free(&backend);
    return rc;
}

struct judge {
    struct wt_backend backend;
    struct wt_model *model;
    float *logits; /* [SEQ, vocab] */
    double nats;   /* of the tokens that come next */
};

static int judge_new(struct judge *j, const struct bench *b, enum wt_dtype dtype,
                     struct wt_error *err)
{
    const struct wt_model_options options = {
        .task = WT_TASK_SCORE, .batch = 1, .seq = SEQ, .chosen = SEQ, .is_blank = true};
    int rc = wt_cpu_new(&j->backend, dtype, THREADS, false, err);
    if (rc == 0)
        rc = wt_model_new(&j->model, &b->config, &options, &j->backend, err);
    if (rc == 0)
        rc = wt_model_set(j->model, b->values, err);
    j->logits = calloc((size_t)SEQ * b->config.vocab, sizeof(*j->logits));
    return rc == 0 && !j->logits ? wt_fail(err, WT_E_NOMEM, "no memory for logits") : rc;
}

static void judge_free(struct judge *j)
{
    wt_model_free(j->model);
    wt_backend_free(&j->backend);
    free(j->logits);
}

static size_t likeliest(const float *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static double nats_of(const float *logits, size_t count, size_t token)
{
    double sum = 0, most = (double)logits[likeliest(logits, count)];
    for (size_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - most);
    return log(sum) + most - (double)logits[token];
}

static int compare(struct bench *b, struct wt_error *err)
{
    struct judge judges[2] = {0};
    size_t vocab = b->config.vocab, positions = 0, same = 0, judged = 0;
    int32_t chosen[SEQ];
    int rc = judge_new(&judges[0], b, WT_F32, err);
    if (rc == 0)
        rc = judge_new(&judges[1], b, WT_INT8, err);
    for (int32_t i = 0; i < SEQ; i++)
        chosen[i] = i;
    for (size_t s = 0; rc == 0 && s < wt_corpus_held_out(b->corpus) && s < JUDGED; s++) {
        wt_corpus_evaluation(b->corpus, s, &b->feed, 1);
        struct wt_input input = wt_feed_input(&b->feed, false, false);
        input.chosen = chosen;
        input.chosen_count = (size_t)input.lengths[0];
        for (size_t k = 0; rc == 0 && k < 2; k++)
            rc = wt_model_score(judges[k].model, &input, judges[k].logits, err);
        for (size_t i = 0; rc == 0 && i < input.chosen_count; i++, positions++) {
            const float *one = judges[0].logits + i * vocab, *other = judges[1].logits + i * vocab;
            same += likeliest(one, vocab) == likeliest(other, vocab);
            if (i + 1 == input.chosen_count)
                continue;
            judges[0].nats += nats_of(one, vocab, (size_t)input.tokens[i + 1]);
            judges[1].nats += nats_of(other, vocab, (size_t)input.tokens[i + 1]);
            judged++;
        }
    }
    double share = (double)same / (double)positions;
    if (rc == 0)
        printf(
            "%zu held-out positions: the likeliest token is the same in %.2f %%; loss fp32 %.4f, "
            "int8 %.4f\n",
            positions, 100 * share, judges[0].nats / (double)judged,
            judges[1].nats / (double)judged);
    judge_free(&judges[0]);
    judge_free(&judges[1]);
    return rc == 0 && !(share >= 0.99) ? 1 : rc;
}

int main(int argc, char **argv)
{
    struct bench b = {.steps = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2000};
    struct wt_error err = {0};
    if (argc < 2 || b.steps < 10) {
        fprintf(stderr, "usage: int8-agree TEXT [STEPS [LAYERS HIDDEN]]\n");
        return 2;
    }
    int rc = wt_config_named(&b.config, "gpt2", &err);
    b.config.layers = argc > 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 4;
    b.config.hidden = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 256;
    b.config.heads = b.config.hidden / 64;
    b.config.ffn = 4 * b.config.hidden;
    b.config.vocab = 8000;
    b.config.positions = SEQ;
    if (rc == 0)
        rc = wt_config_check(&b.config, "the model", &err);
    if (rc == 0)
        rc = prepare(&b, argv[1], &err);
    if (rc == 0)
        rc = train(&b, &err);
    if (rc == 0)
        rc = compare(&b, &err);
    if (rc < 0)
        fprintf(stderr, "int8-agree: %s\n", err.text);
    wt_feed_done(&b.feed);
    wt_corpus_free(b.corpus);
    wt_vocabulary_free(b.vocabulary);
    free(b.values);
    free(b.text);
    return rc != 0;
}
