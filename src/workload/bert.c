/* The training step. Sizes in comments: B sequences of L tokens, T = B L, width H = A heads of D,
 * feed-forward width F, vocabulary V, M masked positions. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "workload/bert.h"
#include "workload/kernels.h"
#include "workload/pool.h"
#include "workload/random.h"

/* OpenBLAS has it, other libraries with the same interface need not. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

#define ROWS_PIECE  16    /* rows a thread takes at a time */
#define VALUE_PIECE 65536 /* values, likewise */

/* What the backward pass needs of a layer. */
struct layer {
    float *qkv;           /* [T, 3H] */
    float *probs;         /* [B, A, L, L] */
    float *context;       /* [T, H] */
    float *sum1, *x1;     /* [T, H]: input and output of the first norm */
    float *mean1, *rstd1; /* [T] */
    float *up, *gelu;     /* [T, F] */
    float *sum2, *x2;     /* [T, H] */
    float *mean2, *rstd2;
};

/* Its own cache lines. */
struct thread {
    double flops;
    float *scores; /* [2, L, L] */
    char rest[48];
};

struct wt_bert {
    struct wt_model_shape shape;
    struct wt_dims dims;
    struct wt_layout layout;
    const struct wt_kernels *k;
    struct wt_pool *pool;
    unsigned thread_count;
    uint64_t seed;
    float dropout, dropout_now; /* as configured; as of the last forward pass */
    uint64_t steps;             /* optimizer's */
    uint64_t forwards;          /* each has dropout of its own */

    void *arena;
    size_t arena_bytes;
    float *p, *g, *first, *second;    /* [layout.total] each */
    struct layer *layers;             /* [layers] */
    float *sum0, *x0, *mean0, *rstd0; /* embeddings and their norm: [T, H], [T] */
    float *hx, *hu, *hg, *hn;         /* head: gathered, dense, GELU, norm: [M, H] */
    float *hmean, *hrstd;             /* [M] */
    float *logits;                    /* [M, V], then their gradient */
    float *lse, *losses;              /* [M] */
    float *dx, *dy, *dcontext;        /* [T, H] */
    float *dqkv;                      /* [T, 3H] */
    float *dup;                       /* [T, F] */
    double *norms;                    /* partial sums of the gradients' squares */
    struct thread *threads;
};

/* ---- memory ---- */

static void *take(struct wt_bert *b, size_t *at, size_t count, size_t size)
{
    size_t here = *at;
    *at += (count * size + 63) / 64 * 64;
    return b->arena ? (char *)b->arena + here : NULL;
}

static float *floats(struct wt_bert *b, size_t *at, size_t count)
{
    return take(b, at, count, sizeof(float));
}

/* Lays everything out; without an arena it only counts. */
static size_t plan(struct wt_bert *b)
{
    const struct wt_dims *d = &b->dims;
    size_t at = 0, th = d->tokens * d->hidden, tf = d->tokens * d->ffn, mh = d->masked * d->hidden;
    size_t threads = b->thread_count;
    b->p = floats(b, &at, b->layout.total);
    b->g = floats(b, &at, b->layout.total);
    b->first = floats(b, &at, b->layout.total);
    b->second = floats(b, &at, b->layout.total);
    b->sum0 = floats(b, &at, th);
    b->x0 = floats(b, &at, th);
    b->mean0 = floats(b, &at, d->tokens);
    b->rstd0 = floats(b, &at, d->tokens);
    b->layers = take(b, &at, d->layers, sizeof(*b->layers));
    for (size_t i = 0; i < d->layers; i++) {
        struct layer l;
        l.qkv = floats(b, &at, 3 * th);
        l.probs = floats(b, &at, d->batch * d->heads * d->seq * d->seq);
        l.context = floats(b, &at, th);
        l.sum1 = floats(b, &at, th);
        l.x1 = floats(b, &at, th);
        l.mean1 = floats(b, &at, d->tokens);
        l.rstd1 = floats(b, &at, d->tokens);
        l.up = floats(b, &at, tf);
        l.gelu = floats(b, &at, tf);
        l.sum2 = floats(b, &at, th);
        l.x2 = floats(b, &at, th);
        l.mean2 = floats(b, &at, d->tokens);
        l.rstd2 = floats(b, &at, d->tokens);
        if (b->layers)
            b->layers[i] = l;
    }
    b->hx = floats(b, &at, mh);
    b->hu = floats(b, &at, mh);
    b->hg = floats(b, &at, mh);
    b->hn = floats(b, &at, mh);
    b->hmean = floats(b, &at, d->masked);
    b->hrstd = floats(b, &at, d->masked);
    b->logits = floats(b, &at, d->masked * d->vocab);
    b->lse = floats(b, &at, d->masked);
    b->losses = floats(b, &at, d->masked);
    b->dx = floats(b, &at, th);
    b->dy = floats(b, &at, th);
    b->dcontext = floats(b, &at, th);
    b->dqkv = floats(b, &at, 3 * th);
    b->dup = floats(b, &at, tf);
    b->norms = take(b, &at, b->layout.total / VALUE_PIECE + 1, sizeof(double));
    b->threads = take(b, &at, threads, sizeof(*b->threads));
    for (size_t i = 0; i < threads; i++) {
        float *scores = floats(b, &at, 2 * d->seq * d->seq);
        if (b->threads)
            b->threads[i].scores = scores;
    }
    return at;
}

/* Weights: a bell of deviation 0.02, the sum of four 16-bit uniforms (variance 4/12 of their
 * range's square), so it ends at 3.5 deviations; BERT's is cut off at 2. */
static void init_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    struct wt_bert *b = data;
    for (size_t i = from; i < to; i++) {
        uint64_t r = wt_random_at(b->seed, i);
        int32_t sum = (int32_t)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
        b->p[i] = (float)(sum - 131070) * (0.02f * 1.73205081f / 65536.0f);
    }
}

/* The kernel hands out pages when they are first written; the first step shall not wait for it. */
static void touch_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    struct wt_bert *b = data;
    for (size_t at = from; at < to; at += 4096)
        ((volatile char *)b->arena)[at] = 0;
}

static void fill(float *x, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        x[i] = value;
}

static void init(struct wt_bert *b)
{
    const struct wt_layout *l = &b->layout;
    size_t h = b->dims.hidden;
    wt_pool_run(b->pool, l->total, VALUE_PIECE, init_piece, b);
    fill(b->p + l->norm_g, h, 1);
    fill(b->p + l->norm_b, h, 0);
    for (size_t i = 0; i < b->dims.layers; i++) {
        struct wt_layer_layout y = wt_layout_layer(l, &b->shape, i);
        fill(b->p + y.qkv_b, 3 * h, 0);
        fill(b->p + y.out_b, h, 0);
        fill(b->p + y.norm1_g, h, 1);
        fill(b->p + y.norm1_b, h, 0);
        fill(b->p + y.up_b, b->dims.ffn, 0);
        fill(b->p + y.down_b, h, 0);
        fill(b->p + y.norm2_g, h, 1);
        fill(b->p + y.norm2_b, h, 0);
    }
    fill(b->p + l->head_b, h, 0);
    fill(b->p + l->head_norm_g, h, 1);
    fill(b->p + l->head_norm_b, h, 0);
    fill(b->p + l->decode_b, b->dims.vocab, 0);
}

int wt_bert_new(struct wt_bert **ret_bert, const struct wt_model_shape *shape,
                const struct wt_bert_options *options, struct wt_error *err)
{
    struct wt_bert *b = calloc(1, sizeof(*b));
    if (!b)
        return wt_fail(err, WT_E_NOMEM, "no memory for a model");
    int rc = wt_dims_make(&b->dims, shape, options->batch, options->seq, err);
    if (rc < 0)
        goto out;
    b->shape = *shape;
    b->layout = wt_layout_make(shape);
    b->k = wt_kernels_best();
    b->seed = options->seed;
    b->dropout = options->dropout;
    b->thread_count = options->threads;
    rc = wt_pool_new(&b->pool, options->threads, err);
    if (rc < 0)
        goto out;
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);

    b->arena_bytes = plan(b);
    void *arena =
        mmap(NULL, b->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %s: a step of %u x %u tokens wants %.1f GB",
                     shape->name, options->batch, options->seq, (double)b->arena_bytes * 1e-9);
        wt_fix(err, "take a smaller --batch or --seq, or a smaller model");
        goto out;
    }
    madvise(arena, b->arena_bytes, MADV_HUGEPAGE); /* a hint: fewer page faults */
    b->arena = arena;
    wt_pool_run(b->pool, b->arena_bytes, 1 << 22, touch_piece, b);
    plan(b); /* writes into the arena: after it was touched */
    init(b);
    *ret_bert = b;
    b = NULL;
out:
    wt_bert_free(b);
    return rc;
}

void wt_bert_free(struct wt_bert *b)
{
    if (!b)
        return;
    wt_pool_free(b->pool);
    if (b->arena)
        munmap(b->arena, b->arena_bytes);
    free(b);
}

/* ---- matrix products ---- */

/* c[m, n] = alpha op(a) op(b) + beta c. The only way to BLAS, and where FLOPs are counted. */
static void sgemm(struct wt_bert *b, unsigned thread, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb,
                  size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx,
                  const float *y, size_t ldy, float beta, float *c, size_t ldc)
{
    /* The sizes fit in int: wt_dims_make bounds them. */
    cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, alpha, x, (int)ldx, y, (int)ldy,
                beta, c, (int)ldc);
    b->threads[thread].flops += 2.0 * (double)m * (double)n * (double)k;
}

struct product {
    struct wt_bert *b;
    enum wt_pass pass;
    struct wt_gemm dims; /* of this pass: m n k as in wt_gemm_at */
    const float *x, *y;
    float *c;
    float beta;
    bool is_by_row; /* pieces are rows of c, else columns */
};

static void product_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct product *p = data;
    size_t m = p->dims.m, n = p->dims.n, k = p->dims.k, count = to - from;
    switch (p->pass) {
    case WT_PASS_FORWARD: /* c[m, n] = x[m, k] weight[n, k]' */
        if (p->is_by_row)
            sgemm(p->b, thread, CblasNoTrans, CblasTrans, count, n, k, 1, p->x + from * k, k, p->y,
                  k, p->beta, p->c + from * n, n);
        else
            sgemm(p->b, thread, CblasNoTrans, CblasTrans, m, count, k, 1, p->x, k, p->y + from * k,
                  k, p->beta, p->c + from, n);
        break;
    case WT_PASS_GRAD_INPUT: /* dx[m, n] = dy[m, k] weight[k, n] */
        if (p->is_by_row)
            sgemm(p->b, thread, CblasNoTrans, CblasNoTrans, count, n, k, 1, p->x + from * k, k,
                  p->y, n, p->beta, p->c + from * n, n);
        else
            sgemm(p->b, thread, CblasNoTrans, CblasNoTrans, m, count, k, 1, p->x, k, p->y + from, n,
                  p->beta, p->c + from, n);
        break;
    case WT_PASS_GRAD_WEIGHT: /* dw[m, n] = dy[k, m]' x[k, n] */
        if (p->is_by_row)
            sgemm(p->b, thread, CblasTrans, CblasNoTrans, count, n, k, 1, p->x + from, m, p->y, n,
                  p->beta, p->c + from * n, n);
        else
            sgemm(p->b, thread, CblasTrans, CblasNoTrans, m, count, k, 1, p->x, m, p->y + from, n,
                  p->beta, p->c + from, n);
        break;
    }
}

/* One of the large products. masked: rows of the head's products in this batch. */
static void product(struct wt_bert *b, enum wt_site site, enum wt_pass pass, size_t masked,
                    const float *x, const float *y, float *c, float beta)
{
    struct product p = {b, pass, wt_gemm_at(&b->dims, site, pass), x, y, c, beta, false};
    if (site == WT_SITE_HEAD || site == WT_SITE_DECODE)
        *(pass == WT_PASS_GRAD_WEIGHT ? &p.dims.k : &p.dims.m) = masked;
    p.is_by_row = p.dims.m >= p.dims.n;
    size_t span = p.is_by_row ? p.dims.m : p.dims.n;
    /* Two pieces a thread, so that one that is held up leaves work to the others; pieces that are
     * too thin would pack the other operand more often than it pays. */
    size_t threads = b->thread_count, pieces = span / (2 * threads) >= 128 ? 2 * threads : threads;
    size_t piece = (span / pieces + 15) / 16 * 16;
    wt_pool_run(b->pool, span, piece ? piece : 16, product_piece, &p);
}

/* ---- pieces of rows, columns and values ---- */

struct rows {
    struct wt_bert *b;
    const struct wt_batch *batch;
    size_t rows, n;
    float *y, *x;
    const float *a, *gain, *bias;
    float *mean, *rstd, *dgain, *dbias;
    uint64_t key;
};

static void bias_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    r->b->k->add_bias(r->y + from * r->n, r->bias, to - from, r->n);
}

static void add_bias(struct wt_bert *b, float *y, const float *bias, size_t rows, size_t n)
{
    struct rows r = {.b = b, .y = y, .bias = bias, .n = n};
    wt_pool_run(b->pool, rows, ROWS_PIECE, bias_piece, &r);
}

static void norm_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    size_t at = from * r->n;
    r->b->k->norm(r->y + at, r->x + at, r->a ? r->a + at : NULL, r->mean + from, r->rstd + from,
                  r->gain, r->bias, to - from, r->n, 1e-12f);
}

static void norm(struct wt_bert *b, float *y, float *sum, const float *residual, float *mean,
                 float *rstd, size_t gain, size_t bias, size_t rows)
{
    struct rows r = {.b = b,
                     .y = y,
                     .x = sum,
                     .a = residual,
                     .mean = mean,
                     .rstd = rstd,
                     .gain = b->p + gain,
                     .bias = b->p + bias,
                     .n = b->dims.hidden};
    wt_pool_run(b->pool, rows, ROWS_PIECE, norm_piece, &r);
}

static void norm_parameters_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    r->b->k->norm_backward_parameters(r->dgain, r->dbias, r->y, r->a, r->mean, r->rstd, r->rows,
                                      r->n, from, to);
}

static void norm_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    size_t at = from * r->n;
    r->b->k->norm_backward(r->y + at, r->y + at, r->a + at, r->mean + from, r->rstd + from, r->gain,
                           to - from, r->n);
}

/* Columns are shared out in pieces of at least a cache line. */
static size_t columns_piece(const struct wt_bert *b, size_t n)
{
    size_t piece = n / b->thread_count;
    return piece < 64 ? 64 : (piece + 15) / 16 * 16;
}

/* d: gradient of the norm's output, becomes that of its input x. */
static void norm_backward(struct wt_bert *b, float *d, const float *x, float *mean, float *rstd,
                          size_t gain, size_t bias, size_t rows)
{
    struct rows r = {.b = b,
                     .y = d,
                     .a = x,
                     .mean = mean,
                     .rstd = rstd,
                     .gain = b->p + gain,
                     .dgain = b->g + gain,
                     .dbias = b->g + bias,
                     .rows = rows,
                     .n = b->dims.hidden};
    wt_pool_run(b->pool, r.n, columns_piece(b, r.n), norm_parameters_piece, &r);
    wt_pool_run(b->pool, rows, ROWS_PIECE, norm_backward_piece, &r);
}

static void gelu_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    r->b->k->gelu(r->y + from * r->n, r->x + from * r->n, r->bias, to - from, r->n);
}

static void gelu(struct wt_bert *b, float *y, float *x, const float *bias, size_t rows, size_t n)
{
    struct rows r = {.b = b, .y = y, .x = x, .bias = bias, .n = n};
    wt_pool_run(b->pool, rows, ROWS_PIECE, gelu_piece, &r);
}

static void gelu_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    size_t at = from * r->n;
    r->b->k->gelu_backward(r->y + at, r->y + at, r->a + at, (to - from) * r->n);
}

static void gelu_backward(struct wt_bert *b, float *d, const float *x, size_t rows, size_t n)
{
    struct rows r = {.b = b, .y = d, .a = x, .n = n};
    wt_pool_run(b->pool, rows, ROWS_PIECE, gelu_backward_piece, &r);
}

static void sums_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    r->b->k->column_sums(r->y, r->a, r->rows, r->n, from, to);
}

static void column_sums(struct wt_bert *b, float *sum, const float *x, size_t rows, size_t n)
{
    struct rows r = {.b = b, .y = sum, .a = x, .rows = rows, .n = n};
    wt_pool_run(b->pool, n, columns_piece(b, n), sums_piece, &r);
}

/* Which dropout: one for each place of each forward pass. */
enum place { PLACE_EMBEDDING, PLACE_PROBS, PLACE_OUT, PLACE_DOWN };

static uint64_t dropout_key(const struct wt_bert *b, size_t layer, enum place place)
{
    return wt_random_at(wt_random_at(b->seed ^ 0x64726f70, b->forwards), layer * 4 + place);
}

static void dropout_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    r->b->k->dropout(r->y + from * r->n, (to - from) * r->n, r->key, from * r->n,
                     r->b->dropout_now);
}

static void dropout(struct wt_bert *b, float *y, size_t layer, enum place place)
{
    if (b->dropout_now <= 0)
        return;
    struct rows r = {.b = b, .y = y, .n = b->dims.hidden, .key = dropout_key(b, layer, place)};
    wt_pool_run(b->pool, b->dims.tokens, ROWS_PIECE, dropout_piece, &r);
}

/* The gradient dx before a sublayer's output's dropout: dx itself where there is none. */
static float *before_dropout(struct wt_bert *b, size_t layer, enum place place)
{
    if (b->dropout_now <= 0)
        return b->dx;
    memcpy(b->dy, b->dx, b->dims.tokens * b->dims.hidden * sizeof(float));
    dropout(b, b->dy, layer, place);
    return b->dy;
}

/* ---- attention: a head of a sequence at a time ---- */

struct attention {
    struct wt_bert *b;
    const struct wt_batch *batch;
    const struct layer *layer;
    uint64_t key;
};

static void attention_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct attention *a = data;
    struct wt_bert *b = a->b;
    const struct wt_dims *d = &b->dims;
    size_t L = d->seq, H = d->hidden, D = d->head;
    for (size_t i = from; i < to; i++) {
        size_t sequence = i / d->heads, head = i % d->heads;
        const float *q = a->layer->qkv + sequence * L * 3 * H + head * D; /* [L, D] in [L, 3H] */
        const float *k = q + H, *v = q + 2 * H;
        float *p = a->layer->probs + i * L * L; /* [L, L] */
        float *context = a->layer->context + sequence * L * H + head * D;
        sgemm(b, thread, CblasNoTrans, CblasTrans, L, L, D, 1.0f / sqrtf((float)D), q, 3 * H, k,
              3 * H, 0, p, L);
        b->k->softmax(p, L, L, a->batch->lengths[sequence]);
        const float *used = p;
        if (b->dropout_now > 0) {
            float *dropped = b->threads[thread].scores;
            memcpy(dropped, p, L * L * sizeof(float));
            b->k->dropout(dropped, L * L, a->key, i * L * L, b->dropout_now);
            used = dropped;
        }
        sgemm(b, thread, CblasNoTrans, CblasNoTrans, L, D, L, 1, used, L, v, 3 * H, 0, context, H);
    }
}

static void attention_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct attention *a = data;
    struct wt_bert *b = a->b;
    const struct wt_dims *d = &b->dims;
    size_t L = d->seq, H = d->hidden, D = d->head;
    for (size_t i = from; i < to; i++) {
        size_t sequence = i / d->heads, head = i % d->heads;
        const float *q = a->layer->qkv + sequence * L * 3 * H + head * D;
        const float *k = q + H, *v = q + 2 * H, *p = a->layer->probs + i * L * L;
        float *dq = b->dqkv + sequence * L * 3 * H + head * D, *dk = dq + H, *dv = dq + 2 * H;
        const float *dcontext = b->dcontext + sequence * L * H + head * D;
        float *dp = b->threads[thread].scores; /* [L, L] */
        const float *used = p;
        if (b->dropout_now > 0) {
            float *dropped = dp + L * L;
            memcpy(dropped, p, L * L * sizeof(float));
            b->k->dropout(dropped, L * L, a->key, i * L * L, b->dropout_now);
            used = dropped;
        }
        /* dp = dcontext v', dv = p' dcontext */
        sgemm(b, thread, CblasNoTrans, CblasTrans, L, L, D, 1, dcontext, H, v, 3 * H, 0, dp, L);
        sgemm(b, thread, CblasTrans, CblasNoTrans, L, D, L, 1, used, L, dcontext, H, 0, dv, 3 * H);
        if (b->dropout_now > 0)
            b->k->dropout(dp, L * L, a->key, i * L * L, b->dropout_now);
        b->k->softmax_backward(dp, p, 1.0f / sqrtf((float)D), L, L);
        /* dq = ds k, dk = ds' q */
        sgemm(b, thread, CblasNoTrans, CblasNoTrans, L, D, L, 1, dp, L, k, 3 * H, 0, dq, 3 * H);
        sgemm(b, thread, CblasTrans, CblasNoTrans, L, D, L, 1, dp, L, q, 3 * H, 0, dk, 3 * H);
    }
}

/* ---- embeddings and the loss ---- */

static void embed_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    struct wt_bert *b = r->b;
    size_t h = b->dims.hidden;
    for (size_t t = from; t < to; t++) {
        float *sum = b->sum0 + t * h;
        memcpy(sum, b->p + b->layout.token + (size_t)r->batch->tokens[t] * h, h * sizeof(float));
        b->k->add(sum, b->p + b->layout.position + t % b->dims.seq * h, h);
        b->k->add(sum, b->p + b->layout.type, h); /* one segment: type 0 */
    }
}

/* Columns from..to of all three tables' gradients. The token rows hold the decoder's share. */
static void embed_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    struct wt_bert *b = r->b;
    size_t h = b->dims.hidden, count = to - from;
    float *type = b->g + b->layout.type + from;
    memset(type, 0, count * sizeof(float));
    for (size_t l = 0; l < b->dims.seq; l++)
        memset(b->g + b->layout.position + l * h + from, 0, count * sizeof(float));
    for (size_t t = 0; t < b->dims.tokens; t++) {
        const float *d = b->dx + t * h + from;
        b->k->add(b->g + b->layout.token + (size_t)r->batch->tokens[t] * h + from, d, count);
        b->k->add(b->g + b->layout.position + t % b->dims.seq * h + from, d, count);
        b->k->add(type, d, count);
    }
}

static void loss_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    struct wt_bert *b = r->b;
    size_t v = b->dims.vocab;
    for (size_t i = from; i < to; i++) {
        float *logits = b->logits + i * v;
        b->k->add(logits, b->p + b->layout.decode_b, v);
        b->losses[i] = b->k->cross_entropy(&b->lse[i], logits, v, (size_t)r->batch->targets[i]);
    }
}

static void loss_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct rows *r = data;
    struct wt_bert *b = r->b;
    size_t v = b->dims.vocab;
    for (size_t i = from; i < to; i++)
        b->k->cross_entropy_backward(b->logits + i * v, b->lse[i],
                                     1.0f / (float)r->batch->masked_count, v,
                                     (size_t)r->batch->targets[i]);
}

/* ---- the step ---- */

double wt_bert_forward(struct wt_bert *b, const struct wt_batch *batch, bool is_training)
{
    const struct wt_dims *d = &b->dims;
    const struct wt_layout *o = &b->layout;
    size_t T = d->tokens, H = d->hidden, F = d->ffn, M = batch->masked_count;
    b->dropout_now = is_training ? b->dropout : 0;
    b->forwards++;

    struct rows r = {.b = b, .batch = batch};
    wt_pool_run(b->pool, T, ROWS_PIECE, embed_piece, &r);
    norm(b, b->x0, b->sum0, NULL, b->mean0, b->rstd0, o->norm_g, o->norm_b, T);
    dropout(b, b->x0, 0, PLACE_EMBEDDING);

    float *x = b->x0;
    for (size_t i = 0; i < d->layers; i++) {
        struct layer *l = &b->layers[i];
        struct wt_layer_layout w = wt_layout_layer(o, &b->shape, i);
        product(b, WT_SITE_QKV, WT_PASS_FORWARD, 0, x, b->p + w.qkv_w, l->qkv, 0);
        add_bias(b, l->qkv, b->p + w.qkv_b, T, 3 * H);
        struct attention a = {b, batch, l, dropout_key(b, i, PLACE_PROBS)};
        wt_pool_run(b->pool, d->batch * d->heads, 1, attention_piece, &a);
        product(b, WT_SITE_OUT, WT_PASS_FORWARD, 0, l->context, b->p + w.out_w, l->sum1, 0);
        add_bias(b, l->sum1, b->p + w.out_b, T, H);
        dropout(b, l->sum1, i, PLACE_OUT);
        norm(b, l->x1, l->sum1, x, l->mean1, l->rstd1, w.norm1_g, w.norm1_b, T);
        product(b, WT_SITE_UP, WT_PASS_FORWARD, 0, l->x1, b->p + w.up_w, l->up, 0);
        gelu(b, l->gelu, l->up, b->p + w.up_b, T, F);
        product(b, WT_SITE_DOWN, WT_PASS_FORWARD, 0, l->gelu, b->p + w.down_w, l->sum2, 0);
        add_bias(b, l->sum2, b->p + w.down_b, T, H);
        dropout(b, l->sum2, i, PLACE_DOWN);
        norm(b, l->x2, l->sum2, l->x1, l->mean2, l->rstd2, w.norm2_g, w.norm2_b, T);
        x = l->x2;
    }

    for (size_t i = 0; i < M; i++)
        memcpy(b->hx + i * H, x + batch->masked[i] * H, H * sizeof(float));
    product(b, WT_SITE_HEAD, WT_PASS_FORWARD, M, b->hx, b->p + o->head_w, b->hu, 0);
    gelu(b, b->hg, b->hu, b->p + o->head_b, M, H);
    norm(b, b->hn, b->hg, NULL, b->hmean, b->hrstd, o->head_norm_g, o->head_norm_b, M);
    product(b, WT_SITE_DECODE, WT_PASS_FORWARD, M, b->hn, b->p + o->token, b->logits, 0);
    wt_pool_run(b->pool, M, 1, loss_piece, &r);

    double loss = 0;
    for (size_t i = 0; i < M; i++)
        loss += (double)b->losses[i];
    return loss / (double)M;
}

void wt_bert_backward(struct wt_bert *b, const struct wt_batch *batch)
{
    const struct wt_dims *d = &b->dims;
    const struct wt_layout *o = &b->layout;
    size_t T = d->tokens, H = d->hidden, F = d->ffn, M = batch->masked_count;
    float *p = b->p, *g = b->g;

    /* The head; hx, hu and hg are read for the last time and hold gradients from there on. */
    struct rows r = {.b = b, .batch = batch};
    wt_pool_run(b->pool, M, 1, loss_backward_piece, &r);
    column_sums(b, g + o->decode_b, b->logits, M, d->vocab);
    product(b, WT_SITE_DECODE, WT_PASS_GRAD_WEIGHT, M, b->logits, b->hn, g + o->token, 0);
    float *dh = b->hn;
    product(b, WT_SITE_DECODE, WT_PASS_GRAD_INPUT, M, b->logits, p + o->token, dh, 0);
    norm_backward(b, dh, b->hg, b->hmean, b->hrstd, o->head_norm_g, o->head_norm_b, M);
    gelu_backward(b, dh, b->hu, M, H);
    column_sums(b, g + o->head_b, dh, M, H);
    product(b, WT_SITE_HEAD, WT_PASS_GRAD_WEIGHT, M, dh, b->hx, g + o->head_w, 0);
    product(b, WT_SITE_HEAD, WT_PASS_GRAD_INPUT, M, dh, p + o->head_w, b->hx, 0);
    memset(b->dx, 0, T * H * sizeof(float));
    for (size_t i = 0; i < M; i++)
        memcpy(b->dx + batch->masked[i] * H, b->hx + i * H, H * sizeof(float));

    for (size_t i = d->layers; i-- > 0;) {
        struct layer *l = &b->layers[i];
        struct wt_layer_layout w = wt_layout_layer(o, &b->shape, i);
        const float *x = i > 0 ? b->layers[i - 1].x2 : b->x0;

        norm_backward(b, b->dx, l->sum2, l->mean2, l->rstd2, w.norm2_g, w.norm2_b, T);
        float *dy = before_dropout(b, i, PLACE_DOWN);
        column_sums(b, g + w.down_b, dy, T, H);
        product(b, WT_SITE_DOWN, WT_PASS_GRAD_WEIGHT, 0, dy, l->gelu, g + w.down_w, 0);
        product(b, WT_SITE_DOWN, WT_PASS_GRAD_INPUT, 0, dy, p + w.down_w, b->dup, 0);
        gelu_backward(b, b->dup, l->up, T, F);
        column_sums(b, g + w.up_b, b->dup, T, F);
        product(b, WT_SITE_UP, WT_PASS_GRAD_WEIGHT, 0, b->dup, l->x1, g + w.up_w, 0);
        /* dx is the residual's share already: the product adds to it. */
        product(b, WT_SITE_UP, WT_PASS_GRAD_INPUT, 0, b->dup, p + w.up_w, b->dx, 1);

        norm_backward(b, b->dx, l->sum1, l->mean1, l->rstd1, w.norm1_g, w.norm1_b, T);
        dy = before_dropout(b, i, PLACE_OUT);
        column_sums(b, g + w.out_b, dy, T, H);
        product(b, WT_SITE_OUT, WT_PASS_GRAD_WEIGHT, 0, dy, l->context, g + w.out_w, 0);
        product(b, WT_SITE_OUT, WT_PASS_GRAD_INPUT, 0, dy, p + w.out_w, b->dcontext, 0);
        struct attention a = {b, batch, l, dropout_key(b, i, PLACE_PROBS)};
        wt_pool_run(b->pool, d->batch * d->heads, 1, attention_backward_piece, &a);
        column_sums(b, g + w.qkv_b, b->dqkv, T, 3 * H);
        product(b, WT_SITE_QKV, WT_PASS_GRAD_WEIGHT, 0, b->dqkv, x, g + w.qkv_w, 0);
        product(b, WT_SITE_QKV, WT_PASS_GRAD_INPUT, 0, b->dqkv, p + w.qkv_w, b->dx, 1);
    }
    dropout(b, b->dx, 0, PLACE_EMBEDDING);
    norm_backward(b, b->dx, b->sum0, b->mean0, b->rstd0, o->norm_g, o->norm_b, T);
    wt_pool_run(b->pool, H, columns_piece(b, H), embed_backward_piece, &r);
}

struct update {
    struct wt_bert *b;
    size_t first, count;
    struct wt_adamw how;
};

static void squares_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    struct wt_bert *b = data;
    for (size_t i = from; i < to; i++) {
        size_t at = i * VALUE_PIECE, left = b->layout.total - at;
        b->norms[i] = b->k->sum_of_squares(b->g + at, left < VALUE_PIECE ? left : VALUE_PIECE);
    }
}

static void update_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct update *u = data;
    size_t at = u->first + from;
    u->b->k->adamw(u->b->p + at, u->b->first + at, u->b->second + at, u->b->g + at, to - from,
                   &u->how);
}

/* Parameters from..to: matrices decay, biases and norms do not. */
static void update(struct wt_bert *b, struct update *u, size_t from, size_t to, float decay)
{
    u->first = from;
    u->how.decay = decay;
    wt_pool_run(b->pool, to - from, VALUE_PIECE, update_piece, u);
}

double wt_bert_optimize(struct wt_bert *b, const struct wt_bert_rate *rate)
{
    const struct wt_layout *o = &b->layout;
    size_t blocks = (o->total + VALUE_PIECE - 1) / VALUE_PIECE;
    wt_pool_run(b->pool, blocks, 1, squares_piece, b);
    double sum = 0;
    for (size_t i = 0; i < blocks; i++)
        sum += b->norms[i];
    double total = sqrt(sum);
    if (!isfinite(total))
        return total;

    b->steps++;
    struct update u = {.b = b};
    u.how = (struct wt_adamw){
        .rate = rate->rate,
        .beta1 = rate->beta1,
        .beta2 = rate->beta2,
        .epsilon = rate->epsilon,
        .correction1 = (float)(1 - pow((double)rate->beta1, (double)b->steps)),
        .correction2 = (float)(1 - pow((double)rate->beta2, (double)b->steps)),
        .gradient_scale =
            rate->clip > 0 && total > (double)rate->clip ? rate->clip / (float)total : 1.0f,
    };
    update(b, &u, o->token, o->norm_g, rate->decay);
    update(b, &u, o->norm_g, o->layer, 0);
    for (size_t i = 0; i < b->dims.layers; i++) {
        struct wt_layer_layout w = wt_layout_layer(o, &b->shape, i);
        update(b, &u, w.qkv_w, w.qkv_b, rate->decay);
        update(b, &u, w.qkv_b, w.out_w, 0);
        update(b, &u, w.out_w, w.out_b, rate->decay);
        update(b, &u, w.out_b, w.up_w, 0);
        update(b, &u, w.up_w, w.up_b, rate->decay);
        update(b, &u, w.up_b, w.down_w, 0);
        update(b, &u, w.down_w, w.down_b, rate->decay);
        update(b, &u, w.down_b, w.norm2_b + b->dims.hidden, 0);
    }
    update(b, &u, o->head_w, o->head_b, rate->decay);
    update(b, &u, o->head_b, o->total, 0);
    return total;
}

const struct wt_dims *wt_bert_dims(const struct wt_bert *b)
{
    return &b->dims;
}

const struct wt_layout *wt_bert_layout(const struct wt_bert *b)
{
    return &b->layout;
}

float *wt_bert_parameters(struct wt_bert *b)
{
    return b->p;
}

const float *wt_bert_gradients(const struct wt_bert *b)
{
    return b->g;
}

int wt_bert_memory(const struct wt_model_shape *shape, const struct wt_bert_options *options,
                   uint64_t *ret_bytes, struct wt_error *err)
{
    struct wt_bert b = {.shape = *shape, .thread_count = options->threads};
    int rc = wt_dims_make(&b.dims, shape, options->batch, options->seq, err);
    if (rc < 0)
        return rc;
    b.layout = wt_layout_make(shape);
    *ret_bytes = plan(&b);
    return 0;
}

double wt_bert_product_flops(const struct wt_bert *b)
{
    double flops = 0;
    for (unsigned i = 0; i < b->thread_count; i++)
        flops += b->threads[i].flops;
    return flops;
}
