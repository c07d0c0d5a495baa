/* train: one model on the CPU backend, driven a step at a time by bench/peer-train.
 *
 *     build/bench/train MODEL BATCH SEQ THREADS fp32|bf16|int8 [--slow]
 *
 * MODEL: bert-base, gpt2, ... Reads a word a line and answers with a line: "step" does a training
 * step (forward, backward, AdamW with clipping) and says its nanoseconds and its loss, "encode" the
 * same for an encoder pass, "peak" says the GFLOP/s of a product of 1536 x 1536 x 1536 with the
 * same threads (of int8: in fp32), "flops" those of the last step's products, "memory" the peak of
 * the process in bytes. A model is made at the first "step" or "encode", so that memory is of what
 * was asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/base.h"
#include "workload/cpu.h"
#include "workload/model.h"
#include "workload/random.h"

#define SQUARE 1536

struct bench {
    struct wt_config config;
    struct wt_backend b, b_peak; /* b_peak: of int8 an fp32 one, else b again */
    struct wt_model *train, *encode;
    struct wt_model_options options;
    struct wt_input input;
    int32_t *tokens, *lengths, *chosen, *targets;
    float *square[3];
    struct wt_weight square_weight;
    double step_flops;
};

static void die(const struct wt_error *err)
{
    fprintf(stderr, "train: %s\n", err->text);
    exit(1);
}

static void *must(void *at)
{
    if (!at) {
        fprintf(stderr, "train: no memory\n");
        exit(1);
    }
    return at;
}

static void make_input(struct bench *s)
{
    size_t rows = (size_t)s->options.batch * s->options.seq;
    s->tokens = must(calloc(rows, sizeof(int32_t)));
    s->lengths = must(calloc(s->options.batch, sizeof(int32_t)));
    s->chosen = must(calloc(rows, sizeof(int32_t)));
    s->targets = must(calloc(rows, sizeof(int32_t)));
    struct wt_random random = {1, 0};
    for (size_t i = 0; i < rows; i++)
        s->tokens[i] = (int32_t)wt_random_below(&random, s->config.vocab);
    size_t masked = wt_masked_per_sequence(s->options.seq), count = 0;
    for (size_t b = 0; b < s->options.batch; b++) {
        s->lengths[b] = (int32_t)s->options.seq;
        for (size_t i = 0; i < masked; i++, count++) {
            s->chosen[count] = (int32_t)(b * s->options.seq + i * s->options.seq / masked);
            s->targets[count] = (int32_t)wt_random_below(&random, s->config.vocab);
        }
    }
    s->input = (struct wt_input){
        .tokens = s->tokens, .lengths = s->lengths, .count = s->options.batch, .rows = rows};
    if (s->options.task == WT_TASK_MLM) {
        s->input.chosen = s->chosen;
        s->input.targets = s->targets;
        s->input.chosen_count = count;
    }
}

static void step(struct bench *s)
{
    struct wt_error err;
    if (!s->train && wt_model_new(&s->train, &s->config, &s->options, &s->b, &err) < 0)
        die(&err);
    double flops = wt_cpu_product_flops(&s->b), loss = 0;
    static const struct wt_rate rate = {1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 1};
    int64_t from_ns = wt_clock_now_ns();
    wt_model_forward(s->train, &s->input, true, 0, 1);
    wt_model_backward(s->train);
    wt_model_optimize(s->train, &rate);
    if (wt_model_result(s->train, &loss, NULL, &err) < 0)
        die(&err);
    int64_t span_ns = wt_clock_now_ns() - from_ns;
    s->step_flops = wt_cpu_product_flops(&s->b) - flops;
    printf("%lld %.6f\n", (long long)span_ns, loss);
}

static void encode(struct bench *s)
{
    struct wt_error err;
    if (!s->encode) {
        struct wt_model_options o = s->options;
        o.task = WT_TASK_ENCODE;
        if (wt_model_new(&s->encode, &s->config, &o, &s->b, &err) < 0)
            die(&err);
    }
    struct wt_input input = s->input;
    input.chosen = input.targets = NULL;
    input.chosen_count = 0;
    int64_t from_ns = wt_clock_now_ns();
    if (wt_model_encode(s->encode, &input, NULL, &err) < 0 || wt_model_sync(s->encode, &err) < 0)
        die(&err);
    printf("%lld 0\n", (long long)(wt_clock_now_ns() - from_ns));
}

static void peak(struct bench *s)
{
    struct wt_error err;
    size_t values = (size_t)SQUARE * SQUARE;
    for (int i = 0; i < 3 && !s->square[i]; i++) {
        void *at;
        if (s->b_peak.ops->alloc(s->b_peak.self, &at, values * sizeof(float), &err) < 0)
            die(&err);
        s->square[i] = at;
        /* Values as they come: zeros let a processor draw less power and clock higher. */
        float *noise = must(malloc(values * sizeof(float)));
        struct wt_random random = {(uint64_t)i, 0};
        for (size_t v = 0; v < values; v++)
            noise[v] = (float)wt_random_below(&random, 65536) / 65536.0f - 0.5f;
        s->b_peak.ops->narrow(s->b_peak.self, at, noise, values);
        free(noise);
    }
    struct wt_weight *w = &s->square_weight;
    if (!w->master) {
        *w = (struct wt_weight){.master = s->square[0],
                                .values = s->square[0],
                                .out = SQUARE,
                                .in = SQUARE,
                                .is_for_many_rows = true};
        if (s->b_peak.ops->prepare(s->b_peak.self, w, &err) < 0)
            die(&err);
    }
    struct wt_linear l = {s->square[1], w, NULL, SQUARE, WT_IDENTITY, NULL, s->square[2], false};
    int64_t from_ns = wt_clock_now_ns();
    s->b_peak.ops->linear(s->b_peak.self, &l);
    double span_ns = (double)(wt_clock_now_ns() - from_ns);
    printf("%.1f\n", 2.0 * SQUARE * SQUARE * SQUARE / span_ns);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "train MODEL BATCH SEQ THREADS fp32|bf16|int8 [--slow]\n");
        return 2;
    }
    struct bench s = {0};
    struct wt_error err;
    bool is_int8 = strcmp(argv[5], "int8") == 0;
    struct wt_cpu_options o = {.dtype = is_int8                        ? WT_INT8
                                        : strcmp(argv[5], "bf16") == 0 ? WT_BF16
                                                                       : WT_F32,
                               .threads = (unsigned)atoi(argv[4]),
                               .is_slow_allowed = argc > 6};
    if (wt_config_named(&s.config, argv[1], &err) < 0 || wt_cpu_new_with(&s.b, &o, &err) < 0)
        die(&err);
    s.b_peak = s.b;
    o.dtype = WT_F32;
    if (is_int8 && wt_cpu_new_with(&s.b_peak, &o, &err) < 0)
        die(&err);
    s.options = (struct wt_model_options){.task = s.config.family == WT_FAMILY_GPT2 ? WT_TASK_CLM
                                                                                    : WT_TASK_MLM,
                                          .batch = (unsigned)atoi(argv[2]),
                                          .seq = (unsigned)atoi(argv[3]),
                                          .seed = 1};
    make_input(&s);
    char line[64];
    while (fgets(line, sizeof(line), stdin)) {
        struct rusage usage;
        if (!strcmp(line, "step\n"))
            step(&s);
        else if (!strcmp(line, "encode\n"))
            encode(&s);
        else if (!strcmp(line, "peak\n"))
            peak(&s);
        else if (!strcmp(line, "flops\n"))
            printf("%.6g\n", s.step_flops);
        else if (!strcmp(line, "memory\n") && getrusage(RUSAGE_SELF, &usage) == 0)
            printf("%ld\n", usage.ru_maxrss * 1024);
        else
            printf("?\n");
        fflush(stdout);
    }
    wt_model_free(s.train);
    wt_model_free(s.encode);
    if (is_int8)
        wt_backend_free(&s.b_peak);
    wt_backend_free(&s.b);
    free(s.tokens);
    free(s.lengths);
    free(s.chosen);
    free(s.targets);
    return 0;
}
