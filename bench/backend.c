/* backend: what each operation of a training step costs on the CPU backend, beside the largest
 * product in the same round.
 *
 *     build/bench/backend [--threads N] [--rounds N] [--dtype fp32|bf16] [--batch N] [--seq N]
 *                         [--gpt2] [--slow]
 *
 * BERT-base's shapes (GPT-2 124M's with --gpt2). A line is an operation: how often a step has it,
 * the median of its time over the rounds, GFLOP/s, and the median of its share of the product of
 * 1536 x 1536 x 1536 of the same round. The last lines add the operations up to a step. Arrays are
 * reused, so that the operations find more in the cache than those of a real step. --slow: bf16 by
 * way of float where the processor has no instructions for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "median.h"
#include "workload/cpu.h"
#include "workload/products.h"

#define ROUNDS_MOST 201
#define OPS_MOST    32
#define SQUARE      1536

static void *must(const void *at)
{
    if (!at) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return (void *)(uintptr_t)at;
}

/* Sizes of the step and its arrays; every operation has its own output. */
struct bed {
    struct wt_backend b;
    size_t batch, seq, T, H, F, V, M, heads;
    bool is_gpt2;
    void *x, *y, *sum, *qkv, *dqkv, *up, *gelu, *dup, *square[2], *hidden, *dhidden;
    float *weight, *bias, *dweight, *dbias, *mean, *rstd, *lse, *delta, *losses, *vocab, *dvocab;
    float *p, *g, *first, *second, *norm;
    void *working, *vocab_working, *square_weight;
    int32_t *starts, *lengths, *tokens, *positions, *targets;
    size_t parameters;
};

typedef void (*op_fn)(struct bed *bed);

static void *take(struct bed *bed, size_t values, bool is_act)
{
    void *at = NULL;
    struct wt_error err;
    size_t bytes = values * (is_act ? wt_backend_act_bytes(&bed->b) : 4);
    if (bed->b.ops->alloc(bed->b.self, &at, bytes, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    if (is_act) { /* small values: no overflow, no denormal numbers */
        float *noise = must(malloc(values * sizeof(float)));
        for (size_t i = 0; i < values; i++)
            noise[i] = (float)(i * 2654435761u >> 16 & 0xffff) / 65536.0f - 0.5f;
        bed->b.ops->narrow(bed->b.self, at, noise, values);
        free(noise);
    }
    return at;
}

static void *take_noise(struct bed *bed, size_t values, float spread)
{
    float *at = take(bed, values, false);
    for (size_t i = 0; i < values; i++)
        at[i] = spread * ((float)(i * 2654435761u >> 16 & 0xffff) / 65536.0f - 0.5f);
    return at;
}

static void linear(struct bed *bed, const void *x, size_t m, const void *w, size_t out, size_t in,
                   enum wt_nonlinearity f, void *pre, void *y)
{
    struct wt_weight weight = {.master = bed->weight, .values = w, .out = out, .in = in};
    struct wt_linear l = {x, &weight, bed->bias, m, f, pre, y, false};
    bed->b.ops->linear(bed->b.self, &l);
}

static void linear_backward(struct bed *bed, const void *x, size_t m, size_t out, size_t in,
                            enum wt_nonlinearity f, void *pre, void *dy, void *dx)
{
    struct wt_weight weight = {.master = bed->weight, .values = bed->working, .out = out, .in = in};
    struct wt_linear l = {x, &weight, bed->bias, m, f, pre, NULL, false};
    struct wt_linear_grad g = {dy, dx, false, bed->dweight, bed->dbias, false};
    bed->b.ops->linear_backward(bed->b.self, &l, &g);
}

static enum wt_nonlinearity gelu_of(const struct bed *bed)
{
    return bed->is_gpt2 ? WT_GELU_TANH : WT_GELU_ERF;
}

static void op_square(struct bed *bed)
{
    struct wt_weight weight = {
        .master = bed->square_weight, .values = bed->square_weight, .out = SQUARE, .in = SQUARE};
    struct wt_linear l = {bed->square[0], &weight, NULL,           SQUARE,
                          WT_IDENTITY,    NULL,    bed->square[1], false};
    bed->b.ops->linear(bed->b.self, &l);
}
static void op_qkv(struct bed *b)
{
    linear(b, b->x, b->T, b->working, 3 * b->H, b->H, WT_IDENTITY, NULL, b->qkv);
}
static void op_out(struct bed *b)
{
    linear(b, b->x, b->T, b->working, b->H, b->H, WT_IDENTITY, NULL, b->y);
}
static void op_up(struct bed *b)
{
    linear(b, b->x, b->T, b->working, b->F, b->H, gelu_of(b), b->up, b->gelu);
}
static void op_down(struct bed *b)
{
    linear(b, b->gelu, b->T, b->working, b->H, b->F, WT_IDENTITY, NULL, b->y);
}
static void op_qkv_backward(struct bed *b)
{
    linear_backward(b, b->x, b->T, 3 * b->H, b->H, WT_IDENTITY, NULL, b->dqkv, b->y);
}
static void op_out_backward(struct bed *b)
{
    linear_backward(b, b->x, b->T, b->H, b->H, WT_IDENTITY, NULL, b->sum, b->y);
}
/* Its dy is written over with smaller and smaller values; the work is the same. */
static void op_up_backward(struct bed *b)
{
    linear_backward(b, b->x, b->T, b->F, b->H, gelu_of(b), b->up, b->dup, b->y);
}
static void op_down_backward(struct bed *b)
{
    linear_backward(b, b->gelu, b->T, b->H, b->F, WT_IDENTITY, NULL, b->sum, b->dup);
}
static void op_attention(struct bed *b)
{
    struct wt_attention a = {.qkv = b->qkv,
                             .context = b->y,
                             .lse = b->lse,
                             .heads = b->heads,
                             .head = b->H / b->heads,
                             .is_causal = b->is_gpt2};
    a.at = (struct wt_sequences){b->starts, b->lengths, b->batch, b->T, b->seq};
    b->b.ops->attention(b->b.self, &a);
}
static void op_attention_backward(struct bed *b)
{
    struct wt_attention a = {.qkv = b->qkv,
                             .context = b->y,
                             .lse = b->lse,
                             .heads = b->heads,
                             .head = b->H / b->heads,
                             .is_causal = b->is_gpt2};
    a.at = (struct wt_sequences){b->starts, b->lengths, b->batch, b->T, b->seq};
    struct wt_attention_grad g = {b->x, b->dqkv, b->delta};
    b->b.ops->attention_backward(b->b.self, &a, &g);
}
static struct wt_norm norm_of(struct bed *b)
{
    return (struct wt_norm){.x = b->x,
                            .residual = b->y,
                            .sum = b->sum,
                            .y = b->hidden,
                            .mean = b->mean,
                            .rstd = b->rstd,
                            .gain = b->bias,
                            .bias = b->bias,
                            .rows = b->T,
                            .n = b->H,
                            .epsilon = 1e-5f};
}
static void op_norm(struct bed *b)
{
    struct wt_norm n = norm_of(b);
    b->b.ops->norm(b->b.self, &n);
}
static void op_norm_backward(struct bed *b)
{
    struct wt_norm n = norm_of(b);
    struct wt_norm_grad g = {b->x, b->y, b->dhidden, NULL, b->dbias, b->dbias + b->H, false};
    b->b.ops->norm_backward(b->b.self, &n, &g);
}
static void op_embed(struct bed *b)
{
    struct wt_embed e = {b->vocab, b->vocab, NULL, b->tokens, b->positions,
                         NULL,     b->T,     b->H, b->y,      {0, 0}};
    b->b.ops->embed(b->b.self, &e);
}
static void op_embed_backward(struct bed *b)
{
    struct wt_embed e = {b->vocab, b->vocab, NULL, b->tokens, b->positions,
                         NULL,     b->T,     b->H, b->y,      {0, 0}};
    struct wt_embed_grad g = {b->x, b->dvocab, b->dweight, NULL};
    b->b.ops->embed_backward(b->b.self, &e, &g);
}
static void op_loss(struct bed *b)
{
    struct wt_weight weight = {
        .master = b->vocab, .values = b->vocab_working, .out = b->V, .in = b->H};
    struct wt_loss l = {
        b->x,       &weight,   NULL, b->targets, b->M, b->losses, 1.0f / (float)b->M,
        b->dhidden, b->dvocab, NULL, false};
    b->b.ops->loss(b->b.self, &l);
}
static void op_adamw(struct bed *b)
{
    struct wt_span all = {0, b->parameters, true};
    struct wt_adam a = {.p = b->p,
                        .first = b->first,
                        .second = b->second,
                        .g = b->g,
                        .working = b->b.dtype == WT_BF16 ? b->working : NULL,
                        .spans = &all,
                        .span_count = 1,
                        .total = b->parameters,
                        .rate = 1e-5f,
                        .beta1 = 0.9f,
                        .beta2 = 0.999f,
                        .epsilon = 1e-8f,
                        .decay = 0.01f,
                        .correction1 = 0.1f,
                        .correction2 = 0.001f,
                        .clip = 1,
                        .norm = b->norm};
    b->b.ops->adamw(b->b.self, &a);
}

struct op {
    const char *name;
    op_fn fn;
    double calls; /* a step; of AdamW, how much larger the whole model is */
    double ms[ROUNDS_MOST], share[ROUNDS_MOST], flops;
};

int main(int argc, char **argv)
{
    struct bed bed = {.batch = 8, .seq = 128, .H = 768, .F = 3072, .V = 30522, .heads = 12};
    struct wt_cpu_options o = {.dtype = WT_F32, .threads = 2};
    size_t rounds = 7;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--gpt2")) {
            bed.is_gpt2 = true;
            bed.V = 50257;
            continue;
        }
        if (!strcmp(argv[i], "--slow")) {
            o.is_slow_allowed = true;
            continue;
        }
        if (!strcmp(argv[i], "--threads"))
            o.threads = (unsigned)atoi(value);
        else if (!strcmp(argv[i], "--rounds"))
            rounds = (size_t)atoi(value);
        else if (!strcmp(argv[i], "--batch"))
            bed.batch = (size_t)atoi(value);
        else if (!strcmp(argv[i], "--seq"))
            bed.seq = (size_t)atoi(value);
        else if (!strcmp(argv[i], "--dtype") && !strcmp(value, "bf16"))
            o.dtype = WT_BF16;
        else if (strcmp(argv[i], "--dtype") || strcmp(value, "fp32")) {
            fprintf(stderr, "backend: unknown: %s %s\n", argv[i], value);
            return 2;
        }
        i++;
    }
    if (rounds < 1 || rounds > ROUNDS_MOST || o.threads < 1 || bed.batch < 1 || bed.seq < 1) {
        fprintf(stderr, "1 to %d rounds, at least 1 of the others\n", ROUNDS_MOST);
        return 2;
    }
    struct wt_error err = {0};
    if (wt_cpu_new_with(&bed.b, &o, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    bed.T = bed.batch * bed.seq;
    bed.M = bed.is_gpt2 ? bed.T : bed.T * 15 / 100;
    size_t T = bed.T, H = bed.H, F = bed.F;
    bed.parameters = 10u * 1000 * 1000;
    bed.x = take(&bed, T * H, true), bed.y = take(&bed, T * H, true);
    bed.sum = take(&bed, T * H, true), bed.hidden = take(&bed, T * H, true);
    bed.dhidden = take(&bed, T * H, true);
    bed.qkv = take(&bed, 3 * T * H, true), bed.dqkv = take(&bed, 3 * T * H, true);
    bed.up = take(&bed, T * F, true), bed.gelu = take(&bed, T * F, true);
    bed.dup = take(&bed, T * F, true);
    for (int i = 0; i < 2; i++)
        bed.square[i] = take(&bed, (size_t)SQUARE * SQUARE, true);
    bed.square_weight = take(&bed, (size_t)SQUARE * SQUARE, true);
    bed.working = take(&bed, bed.parameters, true);
    bed.weight = take_noise(&bed, F * H, 0.04f), bed.dweight = take_noise(&bed, F * H, 0.04f);
    bed.bias = take_noise(&bed, F, 1), bed.dbias = take_noise(&bed, F, 1);
    bed.mean = take_noise(&bed, T, 0), bed.rstd = take_noise(&bed, T, 1);
    bed.lse = take_noise(&bed, T * bed.heads, 1), bed.delta = take_noise(&bed, T * bed.heads, 1);
    bed.losses = take_noise(&bed, T, 0);
    bed.vocab = take_noise(&bed, bed.V * H, 0.04f), bed.dvocab = take_noise(&bed, bed.V * H, 0);
    bed.vocab_working = bed.vocab;
    if (o.dtype == WT_BF16) {
        bed.vocab_working = take(&bed, bed.V * H, true);
        bed.b.ops->narrow(bed.b.self, bed.vocab_working, bed.vocab, bed.V * H);
    }
    bed.p = take_noise(&bed, bed.parameters, 0.04f),
    bed.g = take_noise(&bed, bed.parameters, 1e-3f);
    bed.first = take_noise(&bed, bed.parameters, 0);
    bed.second = take_noise(&bed, bed.parameters, 0);
    bed.norm = take_noise(&bed, 1, 0);
    bed.starts = take(&bed, bed.batch, false), bed.lengths = take(&bed, bed.batch, false);
    bed.tokens = take(&bed, T, false), bed.positions = take(&bed, T, false);
    bed.targets = take(&bed, T, false);
    for (size_t b = 0; b < bed.batch; b++) {
        bed.starts[b] = (int32_t)(b * bed.seq);
        bed.lengths[b] = (int32_t)bed.seq;
    }
    for (size_t t = 0; t < T; t++) {
        bed.tokens[t] = bed.targets[t] = (int32_t)(t * 2654435761u % bed.V);
        bed.positions[t] = (int32_t)(t % bed.seq);
    }

    double all = (bed.is_gpt2 ? 124.4e6 : 110.1e6) / (double)bed.parameters;
    static struct op ops[OPS_MOST] = {
        {.name = "square product", .fn = op_square},
        {.name = "qkv", .fn = op_qkv, .calls = 12},
        {.name = "out", .fn = op_out, .calls = 12},
        {.name = "up + GELU", .fn = op_up, .calls = 12},
        {.name = "down", .fn = op_down, .calls = 12},
        {.name = "qkv backward", .fn = op_qkv_backward, .calls = 12},
        {.name = "out backward", .fn = op_out_backward, .calls = 12},
        {.name = "up + GELU backward", .fn = op_up_backward, .calls = 12},
        {.name = "down backward", .fn = op_down_backward, .calls = 12},
        {.name = "attention", .fn = op_attention, .calls = 12},
        {.name = "attention backward", .fn = op_attention_backward, .calls = 12},
        {.name = "norm", .fn = op_norm, .calls = 25},
        {.name = "norm backward", .fn = op_norm_backward, .calls = 25},
        {.name = "embed", .fn = op_embed, .calls = 1},
        {.name = "embed backward", .fn = op_embed_backward, .calls = 1},
        {.name = "loss and its gradient", .fn = op_loss, .calls = 1},
        {.name = "AdamW", .fn = op_adamw},
    };
    size_t count = 0;
    while (ops[count].name)
        count++;
    ops[count - 1].calls = all;

    for (size_t i = 0; i < count; i++) /* until products have chosen */
        for (int r = 0; r < (i == 0 ? 20 : 18); r++)
            ops[i].fn(&bed);
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < count; i++) {
            double before = wt_cpu_product_flops(&bed.b);
            int64_t from_ns = wt_clock_now_ns();
            ops[i].fn(&bed);
            ops[i].ms[r] = (double)(wt_clock_now_ns() - from_ns) * 1e-6;
            ops[i].flops = wt_cpu_product_flops(&bed.b) - before;
            ops[i].share[r] = ops[i].flops / ops[i].ms[r] / (ops[0].flops / ops[0].ms[r]);
        }

    printf("%-24s %6s %9s %9s %7s\n", "operation", "calls", "ms", "GFLOP/s", "share");
    double sum_ms = 0, product_flops = 0, peak = 0;
    for (size_t i = 0; i < count; i++) {
        double ms = wt_median(ops[i].ms, rounds);
        if (i == 0)
            peak = ops[i].flops / ms;
        sum_ms += ms * ops[i].calls;
        product_flops += ops[i].flops * ops[i].calls;
        printf("%-24s %6.4g %9.3f ", ops[i].name, ops[i].calls, ms);
        if (ops[i].flops > 0)
            printf("%9.1f %5.1f %%\n", ops[i].flops / ms * 1e-6,
                   100 * wt_median(ops[i].share, rounds));
        else
            printf("%9s\n", "-");
    }
    printf("a step of %zu tokens: %.1f ms, %.1f tokens/s; products %.1f GFLOP/s, %.1f %% of the "
           "square one's\n",
           T, sum_ms, (double)T / sum_ms * 1e3, product_flops / sum_ms * 1e-6,
           100 * product_flops / sum_ms / peak);
    int rc = bed.b.ops->sync(bed.b.self, &err);
    if (rc < 0)
        fprintf(stderr, "backend: the figures are void: %s\n", err.text);
    wt_backend_free(&bed.b);
    return rc < 0;
}
