/* The backend that counts: what each operation costs in FLOPs and in bytes of memory traffic, as a
 * list of kernels for the emulated device and for predictions.
 *
 * Matrix products count 2 m n k FLOPs, and the bytes of their operands and result once (a device's
 * cache does the rest). Everything else counts the tensors it reads and writes; its FLOPs are a few
 * a value and never decide. Biases ride on the products, dropout on what is dropped. Every sequence
 * is taken to be as long as the longest: lengths lie in the device's memory, which here is none.
 *
 * Attention is counted as its products and a softmax over a matrix of scores in memory, as the GPUs
 * and programs that the emulator is calibrated with did it; a fused kernel moves fewer bytes.
 * Causal attention counts the pairs that see each other. What a backward pass computes a second
 * time is not counted again: these are the model's FLOPs.
 *
 * fp32, tf32: everything is 4 bytes. bf16: activations and the weights' working copy are 2 bytes,
 * gradients of the weights, master weights and the optimizer's moments stay 4. int8: as bf16, but
 * for the weights of products, which are 1 byte in memory and become 16 bits on their way into the
 * product. That is what any GPU can do; products of 8 bits, which some have units for and cpu.c
 * computes, are not counted: nothing here knows which boards have them, and how fast. */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/base.h"
#include "workload/count.h"
#include "workload/model.h"

void wt_count_add(struct count *c, double flops, double bytes, enum wt_emu_engine engine)
{
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 256;
        struct wt_emu_kernel *more = realloc(c->kernels, room * sizeof(*more));
        if (!more) {
            c->is_short = true;
            return;
        }
        c->kernels = more;
        c->room = room;
    }
    c->kernels[c->count++] = (struct wt_emu_kernel){flops, bytes, engine};
}

void wt_count_elementwise(struct count *c, double values, double flops_each, double tensors)
{
    wt_count_add(c, values * flops_each, values * tensors * c->act, WT_EMU_FP32);
}

void wt_count_product(struct count *c, double m, double n, double k, double result)
{
    wt_count_add(c, 2 * m * n * k, m * k * c->act + n * k * c->weight + m * n * result, c->engine);
}

void wt_count_product_input(struct count *c, double m, double n, double k)
{
    wt_count_add(c, 2 * m * n * k, m * n * c->act + n * k * c->weight + m * k * c->act, c->engine);
}

void wt_count_product_weight(struct count *c, double m, double n, double k)
{
    wt_count_add(c, 2 * m * n * k, m * n * c->act + m * k * c->act + n * k * 4, c->engine);
}

/* ---- memory ---- */

/* Addresses that nothing lies behind: they can be told apart and added to, and a touch is seen. */
static int count_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    struct count *c = self;
    struct block *block = calloc(1, sizeof(*block));
    if (!block)
        return wt_fail(err, WT_E_NOMEM, "no memory for a list of blocks");
    block->bytes = bytes ? bytes : 1;
    block->at =
        mmap(NULL, block->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block->at == MAP_FAILED) {
        free(block);
        return wt_fail(err, WT_E_NOMEM, "no addresses for %.1f GB", (double)bytes * 1e-9);
    }
    block->next = c->blocks;
    c->blocks = block;
    c->memory += bytes;
    *ret_at = block->at;
    return 0;
}

static void count_release(void *self, void *at)
{
    struct count *c = self;
    for (struct block **b = &c->blocks; *b; b = &(*b)->next)
        if ((*b)->at == at) {
            struct block *gone = *b;
            *b = gone->next;
            c->memory -= gone->bytes;
            munmap(gone->at, gone->bytes);
            free(gone);
            return;
        }
}

/* The way to the device is the host's, not the device's: no kernel. */
static void count_upload(void *self, void *to, const void *from, size_t bytes)
{
    (void)self;
    (void)to;
    (void)from;
    (void)bytes;
}

static int count_sync(void *self, struct wt_error *err)
{
    const struct count *c = self;
    return c->is_short ? wt_fail(err, WT_E_NOMEM, "no memory for %zu kernels", c->count) : 0;
}

/* Nothing was computed. */
static int count_download(void *self, void *to, const void *from, size_t bytes,
                          struct wt_error *err)
{
    (void)to;
    (void)from;
    (void)bytes;
    int rc = count_sync(self, err);
    return rc < 0 ? rc : wt_fail(err, WT_E_UNSUPPORTED, "what is only counted has no results");
}

static void count_fill_zero(void *self, void *at, size_t bytes)
{
    (void)at;
    wt_count_add(self, 0, (double)bytes, WT_EMU_FP32);
}

static void count_narrow(void *self, void *to, const float *from, size_t n)
{
    (void)to;
    (void)from;
    struct count *c = self;
    wt_count_add(c, 0, (4 + c->act) * (double)n, WT_EMU_FP32);
}

/* Integers of its own, where they are wanted; the floats stay. */
static int count_prepare(void *self, struct wt_weight *w, struct wt_error *err)
{
    const struct count *c = self;
    return c->weight < 2 ? count_alloc(self, &w->prepared, w->out * w->in, err) : 0;
}

static void count_unprepare(void *self, struct wt_weight *w)
{
    if (w->prepared)
        count_release(self, w->prepared);
    w->prepared = NULL;
}

/* ---- operations ---- */

static void count_embed(void *self, const struct wt_embed *e)
{
    unsigned tables = e->type ? 3 : 2;
    wt_count_elementwise(self, (double)e->rows * (double)e->hidden, tables - 1, tables + 1);
}

/* Read once; of each table rows are read, added to and written. */
static void count_embed_backward(void *self, const struct wt_embed *e,
                                 const struct wt_embed_grad *g)
{
    (void)g;
    unsigned tables = e->type ? 3 : 2;
    wt_count_elementwise(self, (double)e->rows * (double)e->hidden, tables, 1 + 2 * tables);
}

static void count_norm(void *self, const struct wt_norm *n)
{
    double tensors = 1 + (n->residual ? 1 : 0) + (n->sum ? 1 : 0) + (n->y ? 1 : 0);
    double flops = (n->y ? 8 : 0) + (n->residual ? 1 : 0);
    wt_count_elementwise(self, (double)n->rows * (double)n->n, flops, tensors);
}

static void count_norm_backward(void *self, const struct wt_norm *n, const struct wt_norm_grad *g)
{
    double tensors = (g->dy ? 2 : 0) + (g->dother ? 1 : 0) + 1 + (g->dx ? 1 : 0);
    double flops = (g->dy ? 12 : 0) + (g->dother ? 1 : 0);
    wt_count_elementwise(self, (double)n->rows * (double)n->n, flops, tensors);
}

static void count_linear(void *self, const struct wt_linear *l)
{
    struct count *c = self;
    double m = (double)l->m, out = (double)l->w->out;
    wt_count_product(c, m, out, (double)l->w->in, l->is_float ? 4 : c->act);
    if (l->f != WT_IDENTITY)
        wt_count_elementwise(c, m * out, 20, 2);
}

static void count_linear_backward(void *self, const struct wt_linear *l,
                                  const struct wt_linear_grad *g)
{
    struct count *c = self;
    double m = (double)l->m, out = (double)l->w->out, in = (double)l->w->in;
    if (l->f != WT_IDENTITY)
        wt_count_elementwise(c, m * out, 24, 3);
    if (g->dx)
        wt_count_product_input(c, m, out, in);
    wt_count_product_weight(c, m, out, in);
    if (g->dbias)
        wt_count_elementwise(c, m * out, 1, 1);
    if (g->dx && g->is_adding_dx)
        wt_count_elementwise(c, m * in, 1, 3);
}

struct pairs {
    double scores; /* query and key that see each other, in all heads */
    double rows;   /* queries or keys, in all heads */
    double head;
};

static struct pairs pairs_of(const struct wt_attention *a)
{
    double longest = (double)a->at.longest, all = (double)(a->at.count * a->heads);
    double seen = a->is_causal ? longest * (longest + 1) / 2 : longest * longest;
    return (struct pairs){all * seen, all * longest, (double)a->head};
}

/* A product of attention: all three operands are activations. */
static void attention_product(struct count *c, const struct pairs *p)
{
    wt_count_add(c, 2 * p->scores * p->head, (2 * p->rows * p->head + p->scores) * c->act,
                 c->engine);
}

static void count_attention(void *self, const struct wt_attention *a)
{
    struct pairs p = pairs_of(a);
    attention_product(self, &p);
    wt_count_elementwise(self, p.scores, 6, 2); /* scale, mask, softmax */
    attention_product(self, &p);
}

static void count_attention_backward(void *self, const struct wt_attention *a,
                                     const struct wt_attention_grad *g)
{
    (void)g;
    struct pairs p = pairs_of(a);
    attention_product(self, &p);
    attention_product(self, &p);
    wt_count_elementwise(self, p.scores, 5, 3); /* softmax */
    attention_product(self, &p);
    attention_product(self, &p);
}

static void count_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                        size_t capacity)
{
    (void)keys;
    (void)values;
    (void)capacity;
    wt_count_elementwise(self, (double)(a->at.count * a->at.longest * a->heads * a->head), 0, 4);
}

static void count_decode(void *self, const struct wt_decode *d)
{
    struct count *c = self;
    double h = (double)(d->heads * d->head), rows = (double)d->count;
    double cached = rows * (double)d->longest * h;
    wt_count_add(c, 4 * cached, (2 * cached + 6 * rows * h) * c->act, c->engine);
}

static void count_loss(void *self, const struct wt_loss *l)
{
    struct count *c = self;
    double m = (double)l->m, v = (double)l->w->out, h = (double)l->w->in;
    wt_count_product(c, m, v, h, c->act);
    wt_count_elementwise(c, m * v, 4, 1); /* log-sum-exp of the logits */
    if (!l->dx)
        return;
    wt_count_elementwise(c, m * v, 4, 2); /* softmax minus one-hot */
    wt_count_product_input(c, m, v, h);
    wt_count_product_weight(c, m, v, h);
    if (l->dbias)
        wt_count_elementwise(c, m * v, 1, 1);
}

static void count_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                                size_t n, float scale, float *losses, void *dlogits)
{
    (void)logits;
    (void)targets;
    (void)scale;
    (void)losses;
    wt_count_elementwise(self, (double)m * (double)n, 8, dlogits ? 2 : 1);
}

static void count_gather(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                         size_t n, const struct wt_dropout *drop)
{
    (void)out;
    (void)x;
    (void)rows;
    (void)drop;
    wt_count_elementwise(self, (double)count * (double)n, 0, 2);
}

static void count_scatter(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                          size_t total, size_t n, const struct wt_dropout *drop)
{
    (void)dx;
    (void)dout;
    (void)rows;
    (void)drop;
    wt_count_elementwise(self, (double)total * (double)n, 0, 1);
    wt_count_elementwise(self, (double)count * (double)n, 0, 2);
}

/* The norm for clipping reads the gradients. AdamW reads parameters, gradients and two moments and
 * writes all but the gradients; with bf16 the working copy as well. */
void wt_count_optimizer(struct count *c, double n, bool has_copy)
{
    wt_count_add(c, 2 * n, 4 * n, WT_EMU_FP32);
    wt_count_add(c, 14 * n, (has_copy ? 30 : 28) * n, WT_EMU_FP32);
}

static void count_adamw(void *self, const struct wt_adam *a)
{
    wt_count_optimizer(self, (double)a->total, a->working != NULL);
}

static void count_free(void *self)
{
    struct count *c = self;
    while (c->blocks)
        count_release(c, c->blocks->at);
    free(c->kernels);
    free(c);
}

static const struct wt_backend_ops ops = {
    .name = "count",
    .alloc = count_alloc,
    .release = count_release,
    .upload = count_upload,
    .download = count_download,
    .sync = count_sync,
    .fill_zero = count_fill_zero,
    .narrow = count_narrow,
    .prepare = count_prepare,
    .unprepare = count_unprepare,
    .embed = count_embed,
    .embed_backward = count_embed_backward,
    .norm = count_norm,
    .norm_backward = count_norm_backward,
    .linear = count_linear,
    .linear_backward = count_linear_backward,
    .attention = count_attention,
    .attention_backward = count_attention_backward,
    .cache = count_cache,
    .decode = count_decode,
    .loss = count_loss,
    .cross_entropy = count_cross_entropy,
    .gather = count_gather,
    .scatter = count_scatter,
    .adamw = count_adamw,
    .free = count_free,
};

void wt_count_dtype(struct count *c, enum wt_dtype dtype)
{
    c->act = dtype == WT_BF16 || dtype == WT_INT8 ? 2 : 4;
    c->weight = dtype == WT_INT8 ? 1 : c->act;
    c->engine = dtype == WT_F32 ? WT_EMU_FP32 : dtype == WT_TF32 ? WT_EMU_TF32 : WT_EMU_TENSOR;
}

int wt_count_new(struct wt_backend *ret_backend, enum wt_dtype dtype, struct wt_error *err)
{
    struct count *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a backend");
    wt_count_dtype(c, dtype);
    ret_backend->ops = &ops;
    ret_backend->self = c;
    ret_backend->dtype = dtype;
    ret_backend->is_narrow = dtype == WT_INT8;
    return 0;
}

const struct wt_emu_kernel *wt_count_kernels(const struct wt_backend *count, size_t *ret_count)
{
    const struct count *c = count->self;
    *ret_count = c->count;
    return c->kernels;
}

void wt_count_reset(struct wt_backend *count)
{
    ((struct count *)count->self)->count = 0;
}

uint64_t wt_count_memory(const struct wt_backend *count)
{
    return ((const struct count *)count->self)->memory;
}
