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
 * fp32: everything is 4 bytes. bf16: activations and the weights' working copy are 2 bytes,
 * gradients of the weights, master weights and the optimizer's moments stay 4. */
#include <stdlib.h>
#include <sys/mman.h>

#include "base/base.h"
#include "workload/model.h"

struct count {
    struct wt_emu_kernel *kernels;
    size_t count, room;
    bool is_short; /* no memory for the list */
    double act;    /* bytes of an activation */
    double weight; /* bytes of a weight in products */
    enum wt_emu_engine engine;
    uint64_t memory;
    struct block {
        void *at;
        size_t bytes;
        struct block *next;
    } * blocks;
};

static void add(struct count *c, double flops, double bytes, enum wt_emu_engine engine)
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

/* values: how many come out; tensors: how many such are read and written. */
static void elementwise(struct count *c, double values, double flops_each, double tensors)
{
    add(c, values * flops_each, values * tensors * c->act, WT_EMU_FP32);
}

/* y [m, n] = x [m, k] w [n, k]' */
static void product(struct count *c, double m, double n, double k, double result)
{
    add(c, 2 * m * n * k, m * k * c->act + n * k * c->weight + m * n * result, c->engine);
}

/* dx [m, k] = dy [m, n] w, and dw [n, k] = dy' x */
static void product_input(struct count *c, double m, double n, double k)
{
    add(c, 2 * m * n * k, m * n * c->act + n * k * c->weight + m * k * c->act, c->engine);
}

static void product_weight(struct count *c, double m, double n, double k)
{
    add(c, 2 * m * n * k, m * n * c->act + m * k * c->act + n * k * 4, c->engine);
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
    add(self, 0, (double)bytes, WT_EMU_FP32);
}

static void count_narrow(void *self, void *to, const float *from, size_t n)
{
    (void)to;
    (void)from;
    struct count *c = self;
    add(c, 0, (4 + c->act) * (double)n, WT_EMU_FP32);
}

static int count_prepare(void *self, struct wt_weight *w, struct wt_error *err)
{
    (void)self;
    (void)w;
    (void)err;
    return 0;
}

static void count_unprepare(void *self, struct wt_weight *w)
{
    (void)self;
    (void)w;
}

/* ---- operations ---- */

static void count_embed(void *self, const struct wt_embed *e)
{
    unsigned tables = e->type ? 3 : 2;
    elementwise(self, (double)e->rows * (double)e->hidden, tables - 1, tables + 1);
}

/* Read once; of each table rows are read, added to and written. */
static void count_embed_backward(void *self, const struct wt_embed *e,
                                 const struct wt_embed_grad *g)
{
    (void)g;
    unsigned tables = e->type ? 3 : 2;
    elementwise(self, (double)e->rows * (double)e->hidden, tables, 1 + 2 * tables);
}

static void count_norm(void *self, const struct wt_norm *n)
{
    double tensors = 1 + (n->residual ? 1 : 0) + (n->sum ? 1 : 0) + (n->y ? 1 : 0);
    double flops = (n->y ? 8 : 0) + (n->residual ? 1 : 0);
    elementwise(self, (double)n->rows * (double)n->n, flops, tensors);
}

static void count_norm_backward(void *self, const struct wt_norm *n, const struct wt_norm_grad *g)
{
    double tensors = (g->dy ? 2 : 0) + (g->dother ? 1 : 0) + 1 + (g->dx ? 1 : 0);
    double flops = (g->dy ? 12 : 0) + (g->dother ? 1 : 0);
    elementwise(self, (double)n->rows * (double)n->n, flops, tensors);
}

static void count_linear(void *self, const struct wt_linear *l)
{
    struct count *c = self;
    double m = (double)l->m, out = (double)l->w->out;
    product(c, m, out, (double)l->w->in, l->is_float ? 4 : c->act);
    if (l->f != WT_IDENTITY)
        elementwise(c, m * out, 20, 2);
}

static void count_linear_backward(void *self, const struct wt_linear *l,
                                  const struct wt_linear_grad *g)
{
    struct count *c = self;
    double m = (double)l->m, out = (double)l->w->out, in = (double)l->w->in;
    if (l->f != WT_IDENTITY)
        elementwise(c, m * out, 24, 3);
    if (g->dx)
        product_input(c, m, out, in);
    product_weight(c, m, out, in);
    if (g->dbias)
        elementwise(c, m * out, 1, 1);
    if (g->dx && g->is_adding_dx)
        elementwise(c, m * in, 1, 3);
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
    add(c, 2 * p->scores * p->head, (2 * p->rows * p->head + p->scores) * c->act, c->engine);
}

static void count_attention(void *self, const struct wt_attention *a)
{
    struct pairs p = pairs_of(a);
    attention_product(self, &p);
    elementwise(self, p.scores, 6, 2); /* scale, mask, softmax */
    attention_product(self, &p);
}

static void count_attention_backward(void *self, const struct wt_attention *a,
                                     const struct wt_attention_grad *g)
{
    (void)g;
    struct pairs p = pairs_of(a);
    attention_product(self, &p);
    attention_product(self, &p);
    elementwise(self, p.scores, 5, 3); /* softmax */
    attention_product(self, &p);
    attention_product(self, &p);
}

static void count_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                        size_t capacity)
{
    (void)keys;
    (void)values;
    (void)capacity;
    elementwise(self, (double)(a->at.count * a->at.longest * a->heads * a->head), 0, 4);
}

static void count_decode(void *self, const struct wt_decode *d)
{
    struct count *c = self;
    double h = (double)(d->heads * d->head), rows = (double)d->count;
    double cached = rows * (double)d->longest * h;
    add(c, 4 * cached, (2 * cached + 6 * rows * h) * c->act, c->engine);
}

static void count_loss(void *self, const struct wt_loss *l)
{
    struct count *c = self;
    double m = (double)l->m, v = (double)l->w->out, h = (double)l->w->in;
    product(c, m, v, h, c->act);
    elementwise(c, m * v, 4, 1); /* log-sum-exp of the logits */
    if (!l->dx)
        return;
    elementwise(c, m * v, 4, 2); /* softmax minus one-hot */
    product_input(c, m, v, h);
    product_weight(c, m, v, h);
    if (l->dbias)
        elementwise(c, m * v, 1, 1);
}

static void count_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                                size_t n, float scale, float *losses, void *dlogits)
{
    (void)logits;
    (void)targets;
    (void)scale;
    (void)losses;
    elementwise(self, (double)m * (double)n, 8, dlogits ? 2 : 1);
}

static void count_gather(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                         size_t n, const struct wt_dropout *drop)
{
    (void)out;
    (void)x;
    (void)rows;
    (void)drop;
    elementwise(self, (double)count * (double)n, 0, 2);
}

static void count_scatter(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                          size_t total, size_t n, const struct wt_dropout *drop)
{
    (void)dx;
    (void)dout;
    (void)rows;
    (void)drop;
    elementwise(self, (double)total * (double)n, 0, 1);
    elementwise(self, (double)count * (double)n, 0, 2);
}

/* The norm for clipping reads the gradients. AdamW reads parameters, gradients and two moments and
 * writes all but the gradients; with bf16 the working copy as well. */
static void count_adamw(void *self, const struct wt_adam *a)
{
    double n = (double)a->total;
    add(self, 2 * n, 4 * n, WT_EMU_FP32);
    add(self, 14 * n, (a->working ? 30 : 28) * n, WT_EMU_FP32);
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

int wt_count_new(struct wt_backend *ret_backend, enum wt_dtype dtype, struct wt_error *err)
{
    struct count *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a backend");
    c->act = dtype == WT_BF16 ? 2 : 4;
    c->weight = dtype == WT_INT8 ? 1 : c->act;
    c->engine = dtype == WT_F32 ? WT_EMU_FP32 : WT_EMU_TENSOR;
    ret_backend->ops = &ops;
    ret_backend->self = c;
    ret_backend->dtype = dtype;
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

/* ---- a training step ---- */

static int count_step(struct wt_model *model, struct wt_backend *backend, bool is_causal,
                      unsigned batch, unsigned seq, size_t counts[3], struct wt_error *err)
{
    size_t rows = (size_t)batch * seq, chosen = is_causal ? 0 : batch * wt_masked_per_sequence(seq);
    int32_t *zeros = calloc(rows, sizeof(*zeros)), *lengths = calloc(batch, sizeof(*lengths));
    int rc = 0;
    if (!zeros || !lengths) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a batch of %u x %u tokens", batch, seq);
        goto out;
    }
    for (unsigned b = 0; b < batch; b++)
        lengths[b] = (int32_t)seq;
    struct wt_input input = {.tokens = zeros,
                             .lengths = lengths,
                             .count = batch,
                             .rows = rows,
                             .chosen = is_causal ? NULL : zeros,
                             .targets = is_causal ? NULL : zeros,
                             .chosen_count = chosen};
    struct wt_rate rate = {.rate = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f};
    size_t ends[3];
    wt_count_reset(backend);
    wt_model_forward(model, &input, true, 0, 1);
    wt_count_kernels(backend, &ends[0]);
    wt_model_backward(model);
    wt_count_kernels(backend, &ends[1]);
    wt_model_optimize(model, &rate);
    wt_count_kernels(backend, &ends[2]);
    for (size_t i = 0; i < 3; i++)
        counts[i] = ends[i] - (i ? ends[i - 1] : 0);
    rc = backend->ops->sync(backend->self, err);
out:
    free(zeros);
    free(lengths);
    return rc;
}

int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                          enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                          size_t *ret_count, size_t *phases, struct wt_error *err)
{
    if (dtype == WT_INT8)
        return wt_fail(err, WT_E_UNSUPPORTED, "training is counted in fp32, tf32 and bf16 only");
    bool is_causal = shape->family == WT_FAMILY_GPT2;
    struct wt_config config;
    wt_config_of_shape(&config, shape);
    struct wt_model_options options = {.task = is_causal ? WT_TASK_CLM : WT_TASK_MLM,
                                       .batch = batch,
                                       .seq = seq,
                                       .is_blank = true};
    struct wt_backend backend = {0};
    struct wt_model *model = NULL;
    struct wt_emu_kernel *kernels = NULL;
    size_t counts[3];
    int rc = wt_count_new(&backend, dtype, err);
    if (rc == 0)
        rc = wt_model_new(&model, &config, &options, &backend, err);
    if (rc == 0)
        rc = count_step(model, &backend, is_causal, batch, seq, counts, err);
    if (rc < 0)
        goto out;
    size_t count = 0;
    const struct wt_emu_kernel *list = wt_count_kernels(&backend, &count);
    kernels = calloc(count, sizeof(*kernels));
    if (!kernels) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %zu kernels", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        kernels[i] = list[i];
    *ret_kernels = kernels;
    *ret_count = count;
    for (size_t i = 0; phases && i < 3; i++)
        phases[i] = counts[i];
out:
    wt_model_free(model);
    wt_backend_free(&backend);
    return rc;
}
