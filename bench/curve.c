/* Trains bert-mini on a text and writes what it trained on, for bench/peer-curve: the initial
 * weights, each batch with its learning rate, the held-out batches, and the losses.
 *
 *   build/bench/curve TEXT FOLDER [STEPS]
 *
 * FOLDER/model is a Hugging Face folder; train.bin and held-out.bin are int32: the count of
 * batches, their most sequences and tokens of each, then for each batch the learning rate (a
 * float's bits), sequences, chosen positions, tokens, lengths, chosen, targets; curve.json has the
 * losses. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/corpus.h"
#include "workload/hub.h"
#include "workload/model.h"

enum { BATCH = 16, SEQ = 64, HELD_OUT_BATCHES = 16, EVERY = 20 };

static const struct wt_rate adam = {5e-4f, 0.9f, 0.999f, 1e-6f, 0.01f, 1.0f};

struct curve {
    struct wt_backend backend;
    struct wt_model *model;
    struct wt_vocabulary *vocabulary;
    struct wt_corpus *corpus;
    struct wt_feed feed;
    char *text;
    unsigned steps;
};

static void put(FILE *f, const int32_t *values, size_t count)
{
    if (fwrite(values, sizeof(*values), count, f) != count) {
        fprintf(stderr, "curve: the folder cannot be written\n");
        exit(1);
    }
}

static void put_header(FILE *f, int32_t batches)
{
    int32_t header[] = {batches, BATCH, SEQ};
    put(f, header, 3);
}

static void put_batch(FILE *f, const struct wt_feed *feed, float rate)
{
    int32_t head[3];
    memcpy(head, &rate, sizeof(rate));
    head[1] = (int32_t)feed->count;
    head[2] = (int32_t)feed->chosen_count;
    put(f, head, 3);
    put(f, feed->tokens, feed->count * SEQ);
    put(f, feed->lengths, feed->count);
    put(f, feed->chosen, feed->chosen_count);
    put(f, feed->targets, feed->chosen_count);
}

static FILE *create(const char *folder, const char *name)
{
    char path[4096];
    FILE *f = fopen(wt_text(path, sizeof(path), "%s/%s", folder, name), "wb");
    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

static size_t held_out_batches(const struct curve *c)
{
    size_t all = wt_corpus_held_out(c->corpus) / BATCH;
    return all < HELD_OUT_BATCHES ? all : HELD_OUT_BATCHES;
}

/* Also into f, unless it is NULL. */
static int evaluate(struct curve *c, FILE *f, double *ret_loss, struct wt_error *err)
{
    double sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < held_out_batches(c); i++) {
        wt_corpus_evaluation(c->corpus, i * BATCH, &c->feed, BATCH);
        if (f)
            put_batch(f, &c->feed, 0);
        struct wt_input input = wt_feed_input(&c->feed, true, true);
        double loss;
        wt_model_forward(c->model, &input, false, 0, 1);
        int rc = wt_model_result(c->model, &loss, NULL, err);
        if (rc < 0)
            return rc;
        sum += loss * (double)c->feed.chosen_count;
        count += c->feed.chosen_count;
    }
    *ret_loss = sum / (double)count;
    return 0;
}

/* Rises over the first tenth, then falls to 0. */
static float rate_at(const struct curve *c, unsigned step)
{
    unsigned rising = c->steps / 10;
    return step < rising ? adam.rate * (float)(step + 1) / (float)(rising + 1)
                         : adam.rate * (float)(c->steps - step) / (float)(c->steps - rising);
}

static int train(struct curve *c, const char *folder, struct wt_error *err)
{
    FILE *batches = create(folder, "train.bin"), *held_out = create(folder, "held-out.bin");
    FILE *json = create(folder, "curve.json");
    double *curve = calloc(c->steps / EVERY + 2, sizeof(*curve));
    double *losses = calloc(c->steps, sizeof(*losses));
    size_t points = 0;
    int rc = 0;
    put_header(batches, (int32_t)c->steps);
    put_header(held_out, (int32_t)held_out_batches(c));
    for (unsigned step = 0; step < c->steps && rc == 0; step++) {
        if (step % EVERY == 0)
            rc = evaluate(c, step == 0 ? held_out : NULL, &curve[points++], err);
        if (rc < 0)
            break;
        wt_corpus_next(c->corpus, &c->feed, BATCH);
        struct wt_rate rate = adam;
        rate.rate = rate_at(c, step);
        put_batch(batches, &c->feed, rate.rate);
        struct wt_input input = wt_feed_input(&c->feed, true, true);
        wt_model_forward(c->model, &input, true, 0, 1);
        wt_model_backward(c->model);
        wt_model_optimize(c->model, &rate);
        rc = wt_model_result(c->model, &losses[step], NULL, err);
    }
    if (rc == 0)
        rc = evaluate(c, NULL, &curve[points++], err);
    fprintf(json, "{\"every\": %d, \"decay\": %g, \"epsilon\": %g, \"clip\": %g, \"losses\": [",
            EVERY, (double)adam.decay, (double)adam.epsilon, (double)adam.clip);
    for (unsigned i = 0; i < c->steps; i++)
        fprintf(json, "%s%.9g", i ? ", " : "", losses[i]);
    fputs("], \"held_out\": [", json);
    for (size_t i = 0; i < points; i++)
        fprintf(json, "%s%.9g", i ? ", " : "", curve[i]);
    fputs("]}\n", json);
    free(curve);
    free(losses);
    if (fclose(batches) | fclose(held_out) | fclose(json)) {
        perror(folder);
        exit(1);
    }
    return rc;
}

static int start(struct curve *c, const char *path, const char *folder, struct wt_error *err)
{
    struct wt_config config;
    struct wt_model_options options = {.task = WT_TASK_MLM, .batch = BATCH, .seq = SEQ, .seed = 1};
    struct wt_corpus_options cut = {.seq = SEQ, .seed = 1};
    size_t size;
    char model[4096];
    int rc = wt_config_named(&config, "bert-mini", err);
    if (rc == 0)
        rc = wt_file_read(path, 64u << 20, &c->text, &size, err);
    if (rc == 0)
        rc = wt_vocabulary_train(&c->vocabulary, false, path, c->text, size, 8000, err);
    if (rc == 0)
        rc = wt_corpus_new(&c->corpus, c->vocabulary, &cut, path, c->text, size, err);
    if (rc == 0)
        rc = wt_feed_init(&c->feed, BATCH, SEQ, err);
    if (rc == 0)
        rc = wt_cpu_new(&c->backend, WT_F32, 2, false, err);
    if (rc == 0)
        rc = wt_model_new(&c->model, &config, &options, &c->backend, err);
    if (rc < 0)
        return rc;
    const struct wt_parameters *at = wt_model_parameters_of(c->model);
    float *values = malloc(at->total * sizeof(*values));
    if (!values)
        return wt_fail(err, WT_E_NOMEM, "no memory for the weights");
    rc = wt_model_get(c->model, values, err);
    if (rc == 0)
        rc = wt_hub_save(wt_text(model, sizeof(model), "%s/model", folder), &config, at, values,
                         WT_TENSOR_F32, NULL, err);
    free(values);
    return rc;
}

int main(int argc, char **argv)
{
    struct curve c = {.steps = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 200};
    struct wt_error err = {0};
    if (argc < 3 || c.steps < 10) {
        fprintf(stderr, "usage: curve TEXT FOLDER [STEPS]\n");
        return 2;
    }
    int rc = start(&c, argv[1], argv[2], &err);
    if (rc == 0)
        rc = train(&c, argv[2], &err);
    if (rc < 0)
        fprintf(stderr, "curve: %s\n", err.text);
    wt_model_free(c.model);
    wt_backend_free(&c.backend);
    wt_feed_done(&c.feed);
    wt_corpus_free(c.corpus);
    wt_vocabulary_free(c.vocabulary);
    free(c.text);
    return rc < 0;
}
