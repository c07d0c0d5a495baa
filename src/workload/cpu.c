/* The operations of backend.h on the CPU: matrix products from products.c, everything between two
 * of them from kernels.c, shared out over the threads of a pool. Linear layers are cpu_linear.c's.
 *
 * No result depends on the number of threads except by how a product is cut into pieces: sums over
 * rows are taken in fixed chunks, which are then added in order.
 *
 * bfloat16: kernels work on floats. A row is widened into a thread's scratch memory, computed, and
 * rounded once when it is put back, all of it in the first-level cache.
 *
 * An operation takes memory only for scratch, when it is larger than any before, and for a shape of
 * products that is new (products.c). */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "workload/cpu_state.h"

#define QUERIES_PIECE 128        /* rows of attention a thread takes at a time */
#define VALUES_PIECE  16384      /* values, likewise: in the second-level cache */
#define TOUCH_PIECE   (4 << 20)  /* bytes of new memory that a thread touches at a time */
#define MAPPED_BYTES  (1 << 20)  /* larger arrays are mapped, with huge pages */
#define LOGITS_BYTES  (48 << 20) /* of a chunk of the loss: what a large cache or two holds */
#define LOGITS_ROWS   64         /* fewer rows would read the vocabulary's weights too often */

/* ---- memory ---- */

/* Pages belong to whom touches them first: they are spread over the threads' memory, and no step
 * waits for the kernel to clear them. */
static void touch_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    for (size_t at = from; at < to; at += 4096)
        ((volatile char *)data)[at] = 0;
}

static void *map(struct cpu *c, size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_HUGEPAGE); /* a hint: fewer page faults */
    wt_pool_run(c->pool, bytes, TOUCH_PIECE, touch_piece, at);
    return at;
}

int wt_cpu_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    struct cpu *c = self;
    struct allocation a = {NULL, 0};
    if (c->allocation_count == c->allocation_size) {
        size_t size = c->allocation_size ? 2 * c->allocation_size : 64;
        struct allocation *grown = realloc(c->allocations, size * sizeof(*grown));
        if (!grown)
            goto failed;
        c->allocations = grown;
        c->allocation_size = size;
    }
    if (bytes >= MAPPED_BYTES) {
        a.bytes = bytes;
        a.at = map(c, bytes);
    } else {
        size_t rounded = (bytes + 63) / 64 * 64;
        a.at = aligned_alloc(64, rounded ? rounded : 64);
        if (a.at)
            memset(a.at, 0, rounded);
    }
    if (!a.at)
        goto failed;
    c->allocations[c->allocation_count++] = a;
    *ret_at = a.at;
    return 0;
failed:
    return wt_fail(err, WT_E_NOMEM, "no memory for %.1f MB", (double)bytes * 1e-6);
}

static void allocation_done(struct allocation *a)
{
    if (a->bytes)
        munmap(a->at, a->bytes);
    else
        free(a->at);
}

void wt_cpu_release(void *self, void *at)
{
    struct cpu *c = self;
    for (size_t i = 0; at && i < c->allocation_count; i++)
        if (c->allocations[i].at == at) {
            allocation_done(&c->allocations[i]);
            c->allocations[i] = c->allocations[--c->allocation_count];
            return;
        }
}

void *wt_cpu_room(struct cpu *c, struct room *r, size_t bytes)
{
    if (bytes <= r->bytes)
        return r->at;
    free(r->at);
    bytes = (bytes + 4095) / 4096 * 4096;
    *r = (struct room){aligned_alloc(4096, bytes), bytes};
    if (!r->at) {
        r->bytes = 0;
        wt_fail(&c->failed, WT_E_NOMEM, "no memory for %.1f MB of scratch", (double)bytes * 1e-6);
    }
    return r->at;
}

bool wt_cpu_rooms(struct cpu *c, size_t floats)
{
    for (unsigned i = 0; i < c->thread_count; i++)
        if (!wt_cpu_room(c, &c->scratch[i], floats * sizeof(float)))
            return false;
    return true;
}

static int cpu_sync(void *self, struct wt_error *err)
{
    struct cpu *c = self;
    struct wt_error failed = c->failed;
    c->failed = (struct wt_error){0};
    if (failed.code && err)
        *err = failed;
    return failed.code;
}

struct copy {
    const struct cpu *c;
    char *to;
    const char *from; /* NULL: zeros */
};

static void copy_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct copy *y = data;
    if (y->from)
        memcpy(y->to + from, y->from + from, to - from);
    else
        memset(y->to + from, 0, to - from);
}

static void cpu_copy(void *self, void *to, const void *from, size_t bytes)
{
    struct cpu *c = self;
    struct copy y = {c, to, from};
    if (to != from && bytes > 0)
        wt_pool_run(c->pool, bytes, VALUES_PIECE * sizeof(float), copy_piece, &y);
}

static void cpu_fill_zero(void *self, void *at, size_t bytes)
{
    cpu_copy(self, at, NULL, bytes);
}

static int cpu_download(void *self, void *to_host, const void *from, size_t bytes,
                        struct wt_error *err)
{
    cpu_copy(self, to_host, from, bytes);
    return cpu_sync(self, err);
}

static void narrow_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct copy *y = data;
    y->c->k->narrow((uint16_t *)(void *)y->to + from, (const float *)(const void *)y->from + from,
                    to - from);
}

static void cpu_narrow(void *self, void *to, const float *from, size_t n)
{
    struct cpu *c = self;
    struct copy y = {c, to, (const char *)from};
    if (c->is_bf16)
        wt_pool_run(c->pool, n, VALUES_PIECE, narrow_piece, &y);
    else
        cpu_copy(self, to, from, n * sizeof(float));
}

/* ---- embeddings ---- */

struct embed {
    struct cpu *c;
    const struct wt_embed *e;
    const struct wt_embed_grad *g;
};

static void embed_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct embed *y = data;
    const struct wt_embed *e = y->e;
    const struct wt_kernels *k = y->c->k;
    size_t h = e->hidden;
    float *sum = scratch_of(y->c, thread);
    for (size_t t = from; t < to; t++) {
        memcpy(sum, e->token + (size_t)e->tokens[t] * h, h * sizeof(float));
        k->add(sum, e->position + (size_t)e->positions[t] * h, h);
        if (e->type)
            k->add(sum, e->type + (e->types ? (size_t)e->types[t] : 0) * h, h);
        drop(y->c, sum, t * h, h, &e->drop);
        store(y->c, e->out, t * h, sum, h);
    }
}

static void cpu_embed(void *self, const struct wt_embed *e)
{
    struct embed y = {self, e, NULL};
    if (wt_cpu_rooms(self, e->hidden))
        wt_pool_run(y.c->pool, e->rows, ROWS_PIECE, embed_piece, &y);
}

/* Columns from..to of all three tables' gradients: rows of them may meet, columns do not. */
static void embed_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct embed *y = data;
    const struct wt_embed *e = y->e;
    const struct wt_kernels *k = y->c->k;
    size_t h = e->hidden, count = to - from;
    float *d = scratch_of(y->c, thread);
    for (size_t t = 0; t < e->rows; t++) {
        load(y->c, d, y->g->dout, t * h + from, count);
        drop(y->c, d, t * h + from, count, &e->drop);
        k->add(y->g->dtoken + (size_t)e->tokens[t] * h + from, d, count);
        k->add(y->g->dposition + (size_t)e->positions[t] * h + from, d, count);
        if (y->g->dtype)
            k->add(y->g->dtype + (e->types ? (size_t)e->types[t] : 0) * h + from, d, count);
    }
}

static void cpu_embed_backward(void *self, const struct wt_embed *e, const struct wt_embed_grad *g)
{
    struct embed y = {self, e, g};
    if (wt_cpu_rooms(self, e->hidden))
        wt_pool_run(y.c->pool, e->hidden, columns_piece(y.c, e->hidden), embed_backward_piece, &y);
}

/* ---- norm ---- */

struct norm {
    struct cpu *c;
    const struct wt_norm *n;
    const struct wt_norm_grad *g;
    size_t chunk;
    float *partial; /* [chunks][2][n]: of dgain, dbias */
};

static void norm_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct norm *y = data;
    const struct wt_norm *w = y->n;
    const struct cpu *c = y->c;
    size_t n = w->n;
    float *sum = scratch_of(c, thread), *other = sum + n;
    for (size_t r = from; r < to; r++) {
        load(c, sum, w->x, r * n, n);
        drop(c, sum, r * n, n, &w->drop_in);
        if (w->residual)
            c->k->add(sum, acts(c, other, w->residual, r * n, n), n);
        if (w->sum)
            store(c, w->sum, r * n, sum, n);
        if (!w->y)
            continue;
        float mean, rstd, *out = c->is_bf16 ? other : (float *)w->y + r * n;
        c->k->norm_row(out, sum, &mean, &rstd, w->gain, w->bias, n, w->epsilon);
        drop(c, out, r * n, n, &w->drop_out);
        store(c, w->y, r * n, out, n);
        if (w->mean)
            w->mean[r] = mean;
        if (w->rstd)
            w->rstd[r] = rstd;
    }
}

static void cpu_norm(void *self, const struct wt_norm *n)
{
    struct norm y = {.c = self, .n = n};
    if (wt_cpu_rooms(self, 2 * n->n))
        wt_pool_run(y.c->pool, n->rows, ROWS_PIECE, norm_piece, &y);
}

static void norm_backward_chunk(const struct norm *y, size_t chunk, float *scratch)
{
    const struct wt_norm *w = y->n;
    const struct wt_norm_grad *g = y->g;
    const struct cpu *c = y->c;
    size_t n = w->n, from = chunk * y->chunk;
    size_t to = w->rows - from < y->chunk ? w->rows : from + y->chunk;
    float *d = scratch, *other = scratch + n, *dgain = y->partial + chunk * 2 * n;
    float *dbias = dgain + n;
    memset(dgain, 0, 2 * n * sizeof(float));
    const void *normed = w->sum ? w->sum : w->x;
    for (size_t r = from; r < to; r++) {
        if (g->dy) {
            load(c, d, g->dy, r * n, n);
            drop(c, d, r * n, n, &w->drop_out);
            c->k->norm_backward_row(d, d, acts(c, other, normed, r * n, n), w->mean[r], w->rstd[r],
                                    w->gain, dgain, dbias, n);
            if (g->dother)
                c->k->add(d, acts(c, other, g->dother, r * n, n), n);
        } else {
            load(c, d, g->dother, r * n, n);
        }
        store(c, g->dsum, r * n, d, n);
        if (!g->dx)
            continue;
        drop(c, d, r * n, n, &w->drop_in);
        store(c, g->dx, r * n, d, n);
    }
}

static void norm_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct norm *y = data;
    for (size_t i = from; i < to; i++)
        norm_backward_chunk(y, i, scratch_of(y->c, thread));
}

static void cpu_norm_backward(void *self, const struct wt_norm *n, const struct wt_norm_grad *g)
{
    struct cpu *c = self;
    struct norm y = {.c = c, .n = n, .g = g, .chunk = chunk_of(n->rows)};
    size_t chunks = (n->rows + y.chunk - 1) / y.chunk;
    y.partial = wt_cpu_room(c, &c->partial, (chunks ? chunks : 1) * 2 * n->n * sizeof(float));
    if (!y.partial || !wt_cpu_rooms(c, 2 * n->n))
        return;
    wt_pool_run(c->pool, chunks, 1, norm_backward_piece, &y);
    if (!g->dy)
        return;
    add_partial(c, g->dgain, y.partial, 2 * n->n, chunks, n->n, g->is_adding);
    add_partial(c, g->dbias, y.partial + n->n, 2 * n->n, chunks, n->n, g->is_adding);
}

/* ---- attention: attend.c, a head of a sequence at a time ---- */

struct attention {
    struct cpu *c;
    const struct wt_attention *a;
    const struct wt_attention_grad *g;
    size_t blocks; /* of query rows, of the longest sequence */
};

static struct wt_attend head_at(const struct attention *y, size_t i)
{
    const struct wt_attention *a = y->a;
    const struct cpu *c = y->c;
    size_t b = i / a->heads, head = i % a->heads, width = a->heads * a->head;
    size_t start = (size_t)a->at.starts[b], at = start * 3 * width + head * a->head;
    return (struct wt_attend){
        .q = act_at(c, a->qkv, at),
        .k = act_at(c, a->qkv, at + width),
        .v = act_at(c, a->qkv, at + 2 * width),
        .stride = 3 * width,
        .context = act_at(c, a->context, start * width + head * a->head),
        .context_stride = width,
        .lse = a->lse ? a->lse + head * a->at.rows + start : NULL,
        .length = (size_t)a->at.lengths[b],
        .head = a->head,
        .is_causal = a->is_causal,
        .is_bf16 = c->is_bf16,
        .drop = a->drop,
        .drop_first = (uint64_t)i * a->at.longest * a->at.longest,
        .drop_stride = a->at.longest,
    };
}

static void attention_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct attention *y = data;
    const struct cpu *c = y->c;
    for (size_t i = from; i < to; i++) {
        struct wt_attend work = head_at(y, i / y->blocks);
        size_t row = i % y->blocks * QUERIES_PIECE, end = row + QUERIES_PIECE;
        if (row < work.length)
            c->attend->forward(&work, row, end < work.length ? end : work.length,
                               scratch_of(c, thread));
    }
}

static void attention_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct attention *y = data;
    const struct cpu *c = y->c;
    for (size_t i = from; i < to; i++) {
        struct wt_attend work = head_at(y, i);
        size_t width = work.context_stride, column = i % y->a->heads * work.head;
        size_t start = (size_t)y->a->at.starts[i / y->a->heads];
        size_t at = start * 3 * width + column;
        const struct wt_attend_grad grad = {
            .dcontext = act_at(c, y->g->dcontext, start * width + column),
            .dq = act_at(c, y->g->dqkv, at),
            .dk = act_at(c, y->g->dqkv, at + width),
            .dv = act_at(c, y->g->dqkv, at + 2 * width),
        };
        if (work.length > 0)
            c->attend->backward(&work, &grad, scratch_of(c, thread));
    }
}

/* One product of all heads, of pairs that see each other. What the backward pass computes a second
 * time is not counted again. */
static double attention_flops(const struct wt_attention *a)
{
    double pairs = 0;
    for (size_t b = 0; b < a->at.count; b++) {
        double length = (double)a->at.lengths[b];
        pairs += a->is_causal ? length * (length + 1) / 2 : length * length;
    }
    return 2 * pairs * (double)a->heads * (double)a->head;
}

/* Rows of no sequence are 0: everything is, where there are any. */
static void clear_gaps(struct cpu *c, const struct wt_sequences *at, void *array, size_t n)
{
    size_t rows = 0;
    for (size_t b = 0; b < at->count; b++)
        rows += (size_t)at->lengths[b];
    if (rows < at->rows)
        cpu_fill_zero(c, array, at->rows * n * (c->is_bf16 ? 2 : 4));
}

static void cpu_attention(void *self, const struct wt_attention *a)
{
    struct cpu *c = self;
    struct attention y = {c, a, NULL, (a->at.longest + QUERIES_PIECE - 1) / QUERIES_PIECE};
    if (!wt_cpu_rooms(c, wt_attend_forward_scratch(a->head) / sizeof(float) + 1))
        return;
    clear_gaps(c, &a->at, a->context, a->heads * a->head);
    wt_pool_run(c->pool, a->at.count * a->heads * y.blocks, 1, attention_piece, &y);
    wt_products_add_flops(c->products, 2 * attention_flops(a));
}

static void cpu_attention_backward(void *self, const struct wt_attention *a,
                                   const struct wt_attention_grad *g)
{
    struct cpu *c = self;
    struct attention y = {c, a, g, 1};
    if (!wt_cpu_rooms(c, wt_attend_backward_scratch(a->at.longest, a->head) / sizeof(float) + 1))
        return;
    clear_gaps(c, &a->at, g->dqkv, 3 * a->heads * a->head);
    wt_pool_run(c->pool, a->at.count * a->heads, 1, attention_backward_piece, &y);
    wt_products_add_flops(c->products, 4 * attention_flops(a));
}

/* ---- generation ---- */

struct cache {
    struct cpu *c;
    const struct wt_attention *a;
    void *keys, *values;
    size_t capacity;
};

static void cache_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct cache *y = data;
    const struct cpu *c = y->c;
    size_t W = y->a->heads * y->a->head, bytes = W * (c->is_bf16 ? 2 : 4);
    for (size_t i = from; i < to; i++) { /* row i / count of sequence i % count */
        size_t b = i % y->a->at.count, row = i / y->a->at.count;
        if (row >= (size_t)y->a->at.lengths[b])
            continue;
        size_t at = ((size_t)y->a->at.starts[b] + row) * 3 * W;
        size_t to_at = (b * y->capacity + row) * W;
        memcpy(act_at(c, y->keys, to_at), act_at(c, y->a->qkv, at + W), bytes);
        memcpy(act_at(c, y->values, to_at), act_at(c, y->a->qkv, at + 2 * W), bytes);
    }
}

static void cpu_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                      size_t capacity)
{
    struct cache y = {self, a, keys, values, capacity};
    wt_pool_run(y.c->pool, a->at.count * a->at.longest, ROWS_PIECE, cache_piece, &y);
}

struct decode {
    struct cpu *c;
    const struct wt_decode *d;
    size_t group; /* heads that a thread takes at a time */
};

static void decode_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct decode *y = data;
    const struct wt_decode *d = y->d;
    const struct cpu *c = y->c;
    size_t width = d->heads * d->head, groups = (d->heads + y->group - 1) / y->group;
    for (size_t i = from; i < to; i++) {
        size_t b = i / groups, first = i % groups * y->group, column = first * d->head;
        size_t count = d->heads - first < y->group ? d->heads - first : y->group;
        size_t cache = b * d->capacity * width + column, length = (size_t)d->lengths[b];
        size_t now = cache + (length - 1) * width, qkv = b * 3 * width + column;
        size_t bytes = count * d->head * (c->is_bf16 ? 2 : 4);
        memcpy(act_at(c, d->keys, now), act_at(c, d->qkv, qkv + width), bytes);
        memcpy(act_at(c, d->values, now), act_at(c, d->qkv, qkv + 2 * width), bytes);
        const struct wt_attend_decode work = {
            .q = act_at(c, d->qkv, qkv),
            .keys = act_at(c, d->keys, cache),
            .values = act_at(c, d->values, cache),
            .stride = width,
            .context = act_at(c, d->context, b * width + column),
            .length = length,
            .count = count,
            .head = d->head,
            .is_bf16 = c->is_bf16,
        };
        c->attend->decode(&work, scratch_of(c, thread));
    }
}

static void cpu_decode(void *self, const struct wt_decode *d)
{
    struct cpu *c = self;
    struct decode y = {c, d, d->heads};
    /* All heads of a sequence read its cache as it lies; fewer only where threads would idle. */
    size_t wanted = d->count > 0 ? (c->thread_count + d->count - 1) / d->count : 1;
    y.group = (d->heads + wanted - 1) / wanted;
    if (!wt_cpu_rooms(c, wt_attend_decode_scratch(d->heads, d->head) / sizeof(float) + 1))
        return;
    wt_pool_run(c->pool, d->count * ((d->heads + y.group - 1) / y.group), 1, decode_piece, &y);
    double pairs = 0;
    for (size_t b = 0; b < d->count; b++)
        pairs += (double)d->lengths[b];
    wt_products_add_flops(c->products, 4 * pairs * (double)d->heads * (double)d->head);
}

/* ---- the loss ---- */

struct loss {
    struct cpu *c;
    const float *bias;
    const int32_t *targets; /* of the chunk */
    size_t rows, n;
    float scale;
    float *losses;
    float *logits; /* [rows, n]; then their gradient */
    void *dlogits; /* act [rows, n]: may be logits; NULL: not wanted */
    float *dbias;
    bool is_kept; /* the logits: the gradient goes to dlogits alone */
};

static void loss_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct loss *y = data;
    const struct cpu *c = y->c;
    for (size_t r = from; r < to; r++) {
        float *logits = y->logits + r * y->n, lse;
        if (y->targets[r] < 0) {
            y->losses[r] = 0;
            memset(logits, 0, y->is_kept ? 0 : y->n * sizeof(float));
            if (y->dlogits && y->dlogits != (void *)y->logits)
                memset(act_at(c, y->dlogits, r * y->n), 0, y->n * (c->is_bf16 ? 2 : 4));
            continue;
        }
        size_t target = (size_t)y->targets[r];
        y->losses[r] = c->k->cross_entropy(&lse, logits, y->n, target);
        if (!y->dlogits)
            continue;
        if (y->is_kept) {
            float *copy = scratch_of(c, thread);
            memcpy(copy, logits, y->n * sizeof(float));
            logits = copy;
        }
        c->k->cross_entropy_backward(logits, lse, y->scale, y->n, target);
        if (y->dlogits != (void *)y->logits)
            store(c, y->dlogits, r * y->n, logits, y->n);
    }
}

static void loss_bias_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct loss *y = data;
    y->c->k->add_columns(y->dbias, y->logits, y->rows, y->n, from, to);
}

/* A chunk of rows after the other: logits, losses, their gradient in the logits' place, and its
 * products. */
static void cpu_loss(void *self, const struct wt_loss *l)
{
    struct cpu *c = self;
    size_t n = l->w->out, in = l->w->in, chunk = LOGITS_BYTES / (n * sizeof(float));
    chunk = chunk < LOGITS_ROWS ? LOGITS_ROWS : chunk / LOGITS_ROWS * LOGITS_ROWS;
    if (chunk > l->m)
        chunk = l->m;
    size_t bytes = chunk * n * sizeof(float);
    char *logits = wt_cpu_room(c, &c->logits, bytes + (c->is_bf16 ? bytes / 2 : 0));
    if (!logits && bytes > 0)
        return;
    struct loss y = {.c = c, .n = n, .scale = l->scale, .logits = (float *)(void *)logits};
    y.dlogits = !l->dx ? NULL : c->is_bf16 ? (void *)(logits + bytes) : (void *)logits;
    y.dbias = l->dbias;
    if (l->dx && l->dbias && !l->is_adding)
        cpu_fill_zero(c, l->dbias, n * sizeof(float));
    if (l->dx && l->m == 0 && !l->is_adding)
        cpu_fill_zero(c, l->dw, n * in * sizeof(float));

    struct wt_error err;
    for (size_t from = 0; from < l->m; from += chunk) {
        y.rows = l->m - from < chunk ? l->m - from : chunk;
        y.targets = l->targets + from;
        y.losses = l->losses + from;
        const void *x = act_at(c, l->x, from * in);
        struct wt_product p = {.form = WT_FORM_FORWARD,
                               .is_bf16 = c->is_bf16,
                               .m = y.rows,
                               .n = n,
                               .k = in,
                               .a = x,
                               .b = l->w->values,
                               .packed = wt_cpu_packed(c, l->w),
                               .c = y.logits,
                               .bias = l->bias};
        failed(c, wt_products_run(c->products, &p, &err), &err);
        wt_pool_run(c->pool, y.rows, 1, loss_piece, &y);
        if (!l->dx)
            continue;
        if (l->dbias)
            wt_pool_run(c->pool, n, columns_piece(c, n), loss_bias_piece, &y);
        p = (struct wt_product){.form = WT_FORM_GRAD_WEIGHT,
                                .is_bf16 = c->is_bf16,
                                .m = n,
                                .n = in,
                                .k = y.rows,
                                .a = y.dlogits,
                                .b = x,
                                .c = l->dw,
                                .is_adding = l->is_adding || from > 0};
        failed(c, wt_products_run(c->products, &p, &err), &err);
        p = (struct wt_product){.form = WT_FORM_GRAD_INPUT,
                                .is_bf16 = c->is_bf16,
                                .is_c_bf16 = c->is_bf16,
                                .m = y.rows,
                                .n = in,
                                .k = n,
                                .a = y.dlogits,
                                .b = l->w->values,
                                .c = act_at(c, l->dx, from * in)};
        failed(c, wt_products_run(c->products, &p, &err), &err);
    }
}

static void cpu_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                              size_t n, float scale, float *losses, void *dlogits)
{
    struct cpu *c = self;
    struct loss y = {.c = c,
                     .targets = targets,
                     .n = n,
                     .scale = scale,
                     .losses = losses,
                     .dlogits = dlogits,
                     .is_kept = true};
    y.logits = (float *)(uintptr_t)logits; /* kept: only read */
    if (wt_cpu_rooms(c, n))
        wt_pool_run(c->pool, m, ROWS_PIECE, loss_piece, &y);
}

/* ---- rows ---- */

struct rows {
    struct cpu *c;
    void *to;
    const void *from;
    const int32_t *rows;
    size_t n;
    const struct wt_dropout *drop;
    bool is_scatter;
};

static void rows_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct rows *y = data;
    const struct cpu *c = y->c;
    float *row = scratch_of(c, thread);
    for (size_t i = from; i < to; i++) {
        size_t at = (size_t)y->rows[i] * y->n, dense = i * y->n;
        size_t to_at = y->is_scatter ? at : dense, from_at = y->is_scatter ? dense : at;
        if (!y->drop || y->drop->p <= 0) {
            memcpy(act_at(c, y->to, to_at), act_at(c, y->from, from_at),
                   y->n * (c->is_bf16 ? 2 : 4));
            continue;
        }
        load(c, row, y->from, from_at, y->n);
        drop(c, row, dense, y->n, y->drop);
        store(c, y->to, to_at, row, y->n);
    }
}

static void cpu_gather(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                       size_t n, const struct wt_dropout *drop)
{
    struct rows y = {self, out, x, rows, n, drop, false};
    if (wt_cpu_rooms(y.c, n))
        wt_pool_run(y.c->pool, count, ROWS_PIECE, rows_piece, &y);
}

static void cpu_scatter(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                        size_t total, size_t n, const struct wt_dropout *drop)
{
    struct rows y = {self, dx, dout, rows, n, drop, true};
    cpu_fill_zero(self, dx, total * n * (y.c->is_bf16 ? 2 : 4));
    if (wt_cpu_rooms(y.c, n))
        wt_pool_run(y.c->pool, count, ROWS_PIECE, rows_piece, &y);
}

/* ---- AdamW ---- */

struct update {
    struct cpu *c;
    const struct wt_adam *a;
    struct wt_adamw how; /* decay apart */
    double *squares;     /* [blocks] */
};

static void squares_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct update *u = data;
    for (size_t i = from; i < to; i++) {
        size_t at = i * VALUES_PIECE, left = u->a->total - at;
        u->squares[i] =
            u->c->k->sum_of_squares(u->a->g + at, left < VALUES_PIECE ? left : VALUES_PIECE);
    }
}

/* The span that value `at` is in. */
static const struct wt_span *span_of(const struct wt_adam *a, size_t at)
{
    size_t low = 0, high = a->span_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (a->spans[middle].from <= at)
            low = middle;
        else
            high = middle;
    }
    return &a->spans[low];
}

static void update_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct update *u = data;
    const struct wt_adam *a = u->a;
    struct wt_adamw how = u->how;
    for (size_t at = from; at < to;) {
        const struct wt_span *span = span_of(a, at);
        size_t end = span->to < to ? span->to : to;
        how.decay = span->is_decayed ? a->decay : 0;
        u->c->k->adamw(a->p + at, a->first + at, a->second + at, a->g + at, end - at, &how);
        at = end;
    }
    if (a->working && u->c->is_bf16)
        u->c->k->narrow((uint16_t *)a->working + from, a->p + from, to - from);
    else if (a->working && a->working != (void *)a->p)
        memcpy((float *)a->working + from, a->p + from, (to - from) * sizeof(float));
}

static void cpu_adamw(void *self, const struct wt_adam *a)
{
    struct cpu *c = self;
    size_t blocks = (a->total + VALUES_PIECE - 1) / VALUES_PIECE;
    struct update u = {.c = c, .a = a};
    u.squares = wt_cpu_room(c, &c->partial, (blocks ? blocks : 1) * sizeof(double));
    if (!u.squares)
        return;
    wt_pool_run(c->pool, blocks, 4, squares_piece, &u);
    double sum = 0;
    for (size_t i = 0; i < blocks; i++)
        sum += u.squares[i];
    double norm = sqrt(sum);
    *a->norm = (float)norm;
    if (!isfinite(*a->norm)) /* a float: infinite before the double is */
        return;
    u.how = (struct wt_adamw){
        .rate = a->rate,
        .beta1 = a->beta1,
        .beta2 = a->beta2,
        .epsilon = a->epsilon,
        .correction1 = a->correction1,
        .correction2 = a->correction2,
        .gradient_scale =
            a->clip > 0 && norm > (double)a->clip ? (float)((double)a->clip / norm) : 1.0f,
    };
    wt_pool_run(c->pool, a->total, VALUES_PIECE, update_piece, &u);
}

/* ---- the table ---- */

static void cpu_free(void *self)
{
    struct cpu *c = self;
    if (!c)
        return;
    for (size_t i = 0; i < c->allocation_count; i++)
        allocation_done(&c->allocations[i]);
    free(c->allocations);
    for (unsigned i = 0; c->scratch && i < c->thread_count; i++)
        free(c->scratch[i].at);
    free(c->scratch);
    free(c->logits.at);
    free(c->partial.at);
    wt_products_free(c->products);
    wt_pool_free(c->pool);
    free(c);
}

static const struct wt_backend_ops cpu_ops = {
    .name = "cpu",
    .alloc = wt_cpu_alloc,
    .release = wt_cpu_release,
    .upload = cpu_copy,
    .download = cpu_download,
    .sync = cpu_sync,
    .fill_zero = cpu_fill_zero,
    .narrow = cpu_narrow,
    .prepare = wt_cpu_prepare,
    .unprepare = wt_cpu_unprepare,
    .embed = cpu_embed,
    .embed_backward = cpu_embed_backward,
    .norm = cpu_norm,
    .norm_backward = cpu_norm_backward,
    .linear = wt_cpu_linear,
    .linear_backward = wt_cpu_linear_backward,
    .attention = cpu_attention,
    .attention_backward = cpu_attention_backward,
    .cache = cpu_cache,
    .decode = cpu_decode,
    .loss = cpu_loss,
    .cross_entropy = cpu_cross_entropy,
    .gather = cpu_gather,
    .scatter = cpu_scatter,
    .adamw = cpu_adamw,
    .free = cpu_free,
};

static int check_dtype(const struct wt_cpu_options *o, struct wt_error *err)
{
    const char *why = "";
    switch (o->dtype) {
    case WT_F32:
        return 0;
    case WT_BF16:
        if (o->is_slow_allowed || wt_products_has_bf16(&why))
            return 0;
        wt_fail(err, WT_E_UNSUPPORTED, "bf16 is not for this CPU: %s", why);
        wt_fix(err, "take --dtype fp32");
        return WT_E_UNSUPPORTED;
    case WT_INT8:
        if (o->is_slow_allowed || strcmp(wt_matvec_best()->name, "baseline") != 0)
            return 0;
        wt_fail(err, WT_E_UNSUPPORTED, "int8 is not for this CPU: it has no AVX2");
        wt_fix(err, "take --dtype fp32");
        return WT_E_UNSUPPORTED;
    case WT_TF32:
        break;
    }
    wt_fail(err, WT_E_UNSUPPORTED, "tf32 is a GPU's: no CPU multiplies it");
    wt_fix(err, "take --dtype fp32");
    return WT_E_UNSUPPORTED;
}

int wt_cpu_new_with(struct wt_backend *ret_backend, const struct wt_cpu_options *o,
                    struct wt_error *err)
{
    int rc = check_dtype(o, err);
    if (rc == 0 && o->is_pinned)
        rc = wt_pool_can_pin(o->threads, err);
    if (rc < 0)
        return rc;
    struct cpu *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a CPU backend");
    c->dtype = o->dtype;
    c->is_bf16 = o->dtype == WT_BF16;
    c->k = o->kernels ? o->kernels : wt_kernels_best();
    c->matvec = o->matvec ? o->matvec : wt_matvec_best();
    c->attend = o->attend ? o->attend : wt_attend_best();
    c->thread_count = o->threads ? o->threads : 1;
    c->scratch = calloc(c->thread_count, sizeof(*c->scratch));
    if (!c->scratch) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %u threads", c->thread_count);
        goto out;
    }
    rc = wt_pool_new(&c->pool, c->thread_count, err);
    if (rc == 0 && o->is_pinned)
        rc = wt_pool_pin(c->pool, err);
    if (rc == 0)
        rc = wt_products_new(&c->products, c->pool, c->thread_count, err);
    if (rc < 0)
        goto out;
    *ret_backend = (struct wt_backend){.ops = &cpu_ops, .self = c, .dtype = o->dtype};
    c = NULL;
out:
    cpu_free(c);
    return rc;
}

int wt_cpu_new(struct wt_backend *ret_backend, enum wt_dtype dtype, unsigned threads,
               bool is_pinned, struct wt_error *err)
{
    struct wt_cpu_options o = {.dtype = dtype, .threads = threads, .is_pinned = is_pinned};
    return wt_cpu_new_with(ret_backend, &o, err);
}

double wt_cpu_product_flops(const struct wt_backend *cpu)
{
    const struct cpu *c = cpu->self;
    return wt_products_flops(c->products);
}
