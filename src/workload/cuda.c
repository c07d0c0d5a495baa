/* The NVIDIA backend: products by cuBLASLt (cuda_products.c), everything else by the kernels of
 * cuda_kernels.cu.
 *
 * One stream, in order; a step never waits for the device. The kernels are compiled for the device
 * when the backend is made, and those whose registers hang on a size (norms, attention) when the
 * size is first met; products are tried out likewise (cuda_products.c). After that nothing is
 * allocated. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/cuda.h"
#include "workload/random.h"

#define PARTIAL_FLOATS ((size_t)4 << 20)   /* sums of slabs of rows, before they are folded */
#define LOGITS_BYTES   ((size_t)256 << 20) /* most of them at a time */
#define STAGE_BYTES    ((size_t)1 << 20)   /* of pinned memory in a stage */
#define BACK_WARPS     12          /* of a norm's backward block; as cuda_kernels.cu has it */
#define SHARED_PLAIN   (48 * 1024) /* bytes a kernel may have without being set up for it */
#define NORM_MOST      (SHARED_PLAIN / 8) /* columns: a backward block has two sums of each */
#define HEAD_MOST      256

/* A part compiled for a size. */
struct wt_cuda_compiled {
    struct wt_cuda_compiled *next;
    enum wt_cuda_part part;
    unsigned size, vector;  /* vector: of attention, the warps of a backward block */
    struct wt_error failed; /* why it cannot be had; code 0: it can */
    void *module;
    union {
        struct {
            void *rows, *back, *pass;
        } norm;
        struct {
            void *forward, *delta, *back_keys, *back_queries;
            void *back_all;              /* NULL: with these activations there is none */
            struct wt_error back_failed; /* as failed, of the backward pass alone */
            unsigned forward_bytes, back_bytes, back_all_bytes, queries_bytes;
            unsigned back_threads, keys; /* of a backward block */
        } attention;
    };
};

/* As the kernels have it. */
struct drop {
    uint64_t key;
    uint32_t below;
    float scale;
};

/* ---- what goes wrong ---- */

void wt_cuda_keep(struct wt_cuda *c, const struct wt_error *err)
{
    if (!c->failed.code)
        c->failed = *err;
}

static const char *driver_says(const struct wt_cuda *c, int result)
{
    const char *says = NULL;
    return c->api.error_string(result, &says) == 0 && says ? says : "an unknown error";
}

static int cuda_fail(const struct wt_cuda *c, int result, const char *what, struct wt_error *err)
{
    int code = result == WT_CU_OUT_OF_MEMORY ? WT_E_NOMEM
               : result == WT_CU_NO_DEVICE   ? WT_E_NOTFOUND
                                             : WT_E_IO;
    return wt_fail(err, code, "%s: CUDA says %s (%d)", what, driver_says(c, result), result);
}

bool wt_cuda_is_well(struct wt_cuda *c, int result, const char *what)
{
    if (result == 0)
        return true;
    struct wt_error err = {0};
    cuda_fail(c, result, what, &err);
    wt_cuda_keep(c, &err);
    return false;
}

/* ---- launching ---- */

void wt_cuda_launch3(struct wt_cuda *c, void *kernel, size_t x, size_t y, size_t z,
                     unsigned threads, size_t shared, void **arguments)
{
    if (x == 0 || y == 0 || z == 0)
        return;
    wt_cuda_is_well(c,
                    c->api.launch(kernel, (unsigned)x, (unsigned)y, (unsigned)z, threads, 1, 1,
                                  (unsigned)shared, c->stream, arguments, NULL),
                    "a kernel's launch");
}

static void launch(struct wt_cuda *c, void *kernel, size_t blocks, unsigned threads,
                   void **arguments)
{
    wt_cuda_launch3(c, kernel, blocks, 1, 1, threads, 0, arguments);
}

static struct drop drop_of(const struct wt_dropout *d)
{
    if (!d || d->p <= 0)
        return (struct drop){.scale = 1};
    return (struct drop){d->key, wt_dropout_below(d->p), (float)(1 / (1 - (double)d->p))};
}

/* Whether rows of n values can be moved in chunks: all pointers (NULL is none) and n fit. */
static bool is_chunked(const struct wt_cuda *c, size_t n, const void *const *pointers, size_t count)
{
    if (n % c->chunk != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (at(pointers[i]) % 16 != 0)
            return false;
    return true;
}
#define IS_CHUNKED(c, n, ...)                                                                      \
    is_chunked(c, n, (const void *const[]){__VA_ARGS__},                                           \
               sizeof((const void *const[]){__VA_ARGS__}) / sizeof(void *))

/* ---- kernels ---- */

static int find_kernel(struct wt_cuda *c, void *module, const char *name, void **ret_kernel,
                       unsigned shared, struct wt_error *err)
{
    int result = c->api.module_function(ret_kernel, module, name);
    if (result == 0 && shared > SHARED_PLAIN)
        result = c->api.function_set(*ret_kernel, WT_CU_FUNCTION_SHARED, (int)shared);
    return result == 0 ? 0 : cuda_fail(c, result, name, err);
}

static int load(struct wt_cuda *c, enum wt_cuda_part part, unsigned size, unsigned vector,
                void **ret_module, struct wt_error *err)
{
    char *code = NULL;
    size_t bytes = 0;
    int rc =
        wt_cuda_compile(&c->api, c->architecture, c->mode, part, size, vector, &code, &bytes, err);
    if (rc < 0)
        return rc;
    int result = c->api.module_load(ret_module, code);
    free(code);
    return result == 0 ? 0 : cuda_fail(c, result, "loading the kernels", err);
}

static int load_norm(struct wt_cuda *c, struct wt_cuda_compiled *p, struct wt_error *err)
{
    if (p->size > NORM_MOST)
        return wt_fail(err, WT_E_UNSUPPORTED, "norms of %u columns: %d is the most on CUDA",
                       p->size, NORM_MOST);
    int rc = load(c, p->part, p->size, p->vector, &p->module, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "norm_rows", &p->norm.rows, 0, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "norm_back", &p->norm.back, 0, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "norm_pass", &p->norm.pass, 0, err);
    return rc;
}

static int heads_fit(const struct wt_cuda *c, unsigned head, unsigned bytes, const char *what,
                     struct wt_error *err)
{
    if (bytes <= (unsigned)c->shared_most)
        return 0;
    return wt_fail(err, WT_E_UNSUPPORTED,
                   "%s with heads of %u takes %u bytes of shared memory: %s has %d", what, head,
                   bytes, c->name, c->shared_most);
}

/* Of a tile in shared memory, as cuda_kernels.cu has it. */
static unsigned stride_of(const struct wt_cuda *c, unsigned head)
{
    return (head + 15) / 16 * 16 * (unsigned)c->act + 16;
}

static unsigned back_bytes(unsigned warps, unsigned stride)
{
    return 4 * warps * 16 * stride + warps * 16 * 8;
}

/* As many warps in a backward block as its registers leave room for; fewer where a device has
 * little shared memory (64 KB before compute capability 8.0, 99 KB of most since). */
static unsigned back_warps(const struct wt_cuda *c, size_t head)
{
    if (head > HEAD_MOST)
        return 2; /* refused anyway */
    unsigned warps = (c->mode == WT_CUDA_BF16 ? 8u : 4u) / (head <= 64 ? 1u : 2u);
    unsigned stride = stride_of(c, (unsigned)head);
    while (warps > 2 && back_bytes(warps, stride) > (unsigned)c->shared_most)
        warps /= 2;
    return warps;
}

static int load_attention_back(struct wt_cuda *c, struct wt_cuda_compiled *p, unsigned stride,
                               struct wt_error *err)
{
    unsigned keys = p->attention.keys;
    p->attention.back_bytes = back_bytes(p->vector, stride);
    p->attention.back_all_bytes = p->attention.back_bytes + keys * 80;
    p->attention.queries_bytes = (2 * 64 + 2 * 32) * stride;
    unsigned most = p->attention.back_bytes > p->attention.queries_bytes
                        ? p->attention.back_bytes
                        : p->attention.queries_bytes;
    int rc = heads_fit(c, p->size, most, "attention's backward pass", err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "attend_delta", &p->attention.delta, 0, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "attend_back_keys", &p->attention.back_keys,
                         p->attention.back_bytes, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "attend_back_queries", &p->attention.back_queries,
                         p->attention.queries_bytes, err);
    if (rc == 0 && c->mode == WT_CUDA_BF16 &&
        p->attention.back_all_bytes <= (unsigned)c->shared_most)
        rc = find_kernel(c, p->module, "attend_back_all", &p->attention.back_all,
                         p->attention.back_all_bytes, err);
    return rc;
}

static int load_attention(struct wt_cuda *c, struct wt_cuda_compiled *p, struct wt_error *err)
{
    if (p->size > HEAD_MOST)
        return wt_fail(err, WT_E_UNSUPPORTED, "attention heads of %u: %d is the most", p->size,
                       HEAD_MOST);
    unsigned stride = stride_of(c, p->size);
    p->attention.keys = p->vector * 16;
    p->attention.back_threads = p->vector * 32;
    p->attention.forward_bytes = (64 + 2 * 64) * stride;
    int rc = heads_fit(c, p->size, p->attention.forward_bytes, "attention", err);
    if (rc == 0)
        rc = load(c, p->part, p->size, p->vector, &p->module, err);
    if (rc == 0)
        rc = find_kernel(c, p->module, "attend", &p->attention.forward, p->attention.forward_bytes,
                         err);
    if (rc == 0) /* a model that is not trained does without */
        load_attention_back(c, p, stride, &p->attention.back_failed);
    return rc;
}

/* A part for a size, made when it is first asked for. NULL: it cannot be had, which is kept. */
static struct wt_cuda_compiled *part_for(struct wt_cuda *c, enum wt_cuda_part part, size_t size,
                                         size_t vector)
{
    struct wt_cuda_compiled *p = c->parts;
    while (p && !(p->part == part && p->size == size && p->vector == vector))
        p = p->next;
    if (!p) {
        p = calloc(1, sizeof(*p));
        if (!p) {
            wt_cuda_keep(
                c, &(struct wt_error){.code = WT_E_NOMEM, .text = "no memory for CUDA kernels"});
            return NULL;
        }
        p->part = part;
        p->size = (unsigned)size;
        p->vector = (unsigned)vector;
        p->next = c->parts;
        c->parts = p;
        if (part == WT_CUDA_NORM)
            load_norm(c, p, &p->failed);
        else
            load_attention(c, p, &p->failed);
    }
    if (!p->failed.code)
        return p;
    wt_cuda_keep(c, &p->failed); /* each time: what is computed without it is worth nothing */
    return NULL;
}

/* ---- memory ---- */

static int cuda_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    struct wt_cuda *c = self;
    wt_cu_at got = 0;
    size_t want = bytes ? (bytes + 255) / 256 * 256 : 256;
    int result = c->api.mem_alloc(&got, want);
    if (result == WT_CU_OUT_OF_MEMORY) {
        size_t free_bytes = 0, total = 0;
        c->api.mem_info(&free_bytes, &total);
        return wt_fail(err, WT_E_NOMEM, "%s has no %.1f MB left: %.1f of %.1f MB are free", c->name,
                       (double)bytes / 1e6, (double)free_bytes / 1e6, (double)total / 1e6);
    }
    if (result != 0)
        return cuda_fail(c, result, "memory", err);
    result = c->api.fill(got, 0, want, c->stream);
    if (result != 0) {
        c->api.mem_free(got);
        return cuda_fail(c, result, "clearing memory", err);
    }
    *ret_at = (void *)(uintptr_t)got;
    return 0;
}

/* The working copies that a change of these bytes outdates are forgotten. */
static void forget(struct wt_cuda *c, const void *from, size_t bytes)
{
    wt_cu_at first = at(from), last = first + bytes;
    for (size_t i = 0; i < c->shadow_count;) {
        const struct wt_cuda_shadow *s = &c->shadows[i];
        bool is_hit = (at(s->from) < last && first < at(s->from + s->n)) ||
                      (at(s->to) < last && first < at(s->to + s->n * c->act));
        if (is_hit)
            c->shadows[i] = c->shadows[--c->shadow_count];
        else
            i++;
    }
}

static void remember(struct wt_cuda *c, const float *from, const void *to, size_t n)
{
    if (c->mode != WT_CUDA_BF16 || n == 0)
        return;
    for (size_t i = 0; i < c->shadow_count; i++)
        if (c->shadows[i].from == from && c->shadows[i].to == to && c->shadows[i].n == n)
            return;
    forget(c, from, n * sizeof(float));
    forget(c, to, n * c->act);
    if (c->shadow_count == WT_COUNTOF(c->shadows))
        c->shadow_count = 0; /* they are found again, or made */
    c->shadows[c->shadow_count++] = (struct wt_cuda_shadow){from, to, n};
}

static void cuda_release(void *self, void *p)
{
    struct wt_cuda *c = self;
    if (!p)
        return;
    wt_cu_at base = 0;
    size_t bytes = 0;
    if (c->api.mem_range(&base, &bytes, at(p)) == 0)
        forget(c, (void *)(uintptr_t)base, bytes);
    /* cuMemFree waits for what uses it. */
    wt_cuda_is_well(c, c->api.mem_free(at(p)), "releasing memory");
}

/* Through pinned memory: an upload from other memory would wait for the stream. */
static bool send(struct wt_cuda *c, wt_cu_at to, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t now = bytes - done < STAGE_BYTES ? bytes - done : STAGE_BYTES;
        unsigned s = c->stage_at++ % WT_CUDA_STAGES;
        char *stage = (char *)c->stage + s * STAGE_BYTES;
        if (!wt_cuda_is_well(c, c->api.event_sync(c->staged[s]), "an upload"))
            return false;
        memcpy(stage, (const char *)from + done, now);
        if (!wt_cuda_is_well(c, c->api.to_device(to + done, stage, now, c->stream), "an upload") ||
            !wt_cuda_is_well(c, c->api.event_record(c->staged[s], c->stream), "an upload"))
            return false;
        done += now;
    }
    return true;
}

static void cuda_upload(void *self, void *to, const void *from_host, size_t bytes)
{
    struct wt_cuda *c = self;
    forget(c, to, bytes);
    send(c, at(to), from_host, bytes);
}

static int cuda_sync(void *self, struct wt_error *err)
{
    struct wt_cuda *c = self;
    wt_cuda_is_well(c, c->api.stream_sync(c->stream), "the device");
    struct wt_error failed = c->failed;
    c->failed = (struct wt_error){0};
    if (failed.code && err)
        *err = failed;
    return failed.code;
}

static int cuda_download(void *self, void *to_host, const void *from, size_t bytes,
                         struct wt_error *err)
{
    struct wt_cuda *c = self;
    wt_cuda_is_well(c, c->api.to_host(to_host, at(from), bytes, c->stream), "a download");
    return cuda_sync(self, err);
}

static void cuda_fill_zero(void *self, void *p, size_t bytes)
{
    struct wt_cuda *c = self;
    forget(c, p, bytes);
    if (bytes)
        wt_cuda_is_well(c, c->api.fill(at(p), 0, bytes, c->stream), "clearing memory");
}

void wt_cuda_narrow(struct wt_cuda *c, wt_cu_at to, const float *from, size_t n)
{
    wt_cu_at source = at(from);
    uint64_t count = n;
    bool is_aligned = source % 16 == 0 && to % 16 == 0;
    void *arguments[] = {&to, &source, &count};
    launch(c, is_aligned ? c->k.narrow_all : c->k.narrow_any, parts_of(n, is_aligned ? 1024 : 256),
           256, arguments);
}

static void cuda_narrow(void *self, void *to, const float *from, size_t n)
{
    struct wt_cuda *c = self;
    wt_cuda_narrow(c, at(to), from, n);
    remember(c, from, to, n);
}

bool wt_cuda_has_room(struct wt_cuda *c, wt_cu_at *io_at, size_t *io_room, size_t want)
{
    if (want <= *io_room)
        return true;
    if (*io_at)
        wt_cuda_is_well(c, c->api.mem_free(*io_at), "releasing memory");
    *io_at = 0;
    *io_room = 0;
    if (!wt_cuda_is_well(c, c->api.mem_alloc(io_at, want), "memory for an operation"))
        return false;
    *io_room = want;
    return true;
}

static int cuda_prepare(void *self, struct wt_weight *w, struct wt_error *err)
{
    (void)self;
    (void)w;
    (void)err;
    return 0;
}

static void cuda_unprepare(void *self, struct wt_weight *w)
{
    (void)self;
    (void)w;
}

/* ---- linear layers ---- */

static void cuda_linear(void *self, const struct wt_linear *l)
{
    struct wt_cuda *c = self;
    size_t out = l->w->out;
    void *z = l->f != WT_IDENTITY && l->pre && !l->is_float ? l->pre : l->y;
    struct wt_cuda_product o = wt_cuda_forward_product(l->x, l->w, l->m, at(z), out, l->is_float);
    bool has_bias = wt_cuda_multiply_with_bias(c, &o, l->bias, out);
    bool has_pre = !l->pre || z == l->pre;
    if (l->f == WT_IDENTITY && has_bias && has_pre)
        return;

    wt_cu_at from = at(z), bias = has_bias ? 0 : at(l->bias), pre = at(l->pre), y = at(l->y);
    if (has_bias && has_pre)
        pre = 0; /* it is there */
    uint32_t n = (uint32_t)out;
    uint64_t total = (uint64_t)l->m * out;
    int f = (int)l->f;
    void *arguments[] = {&from, &bias, &pre, &y, &n, &total, &f};
    if (l->is_float) {
        launch(c, c->k.finish_linear_float, parts_of(total, 256), 256, arguments);
    } else if (!IS_CHUNKED(c, out, z, l->y, l->pre, has_bias ? NULL : l->bias)) {
        launch(c, c->k.finish_linear_1, parts_of(total, 256), 256, arguments);
    } else if (l->f == WT_GELU_ERF && !bias && !pre) {
        void *few[] = {&from, &y, &total};
        launch(c, c->k.gelu_erf_v, parts_of(total, 256 * c->chunk), 256, few);
    } else {
        launch(c, c->k.finish_linear_v, parts_of(total, 256 * c->chunk), 256, arguments);
    }
}

/* dy [m, n of ld] becomes dz, and out (NULL: not wanted) (+)= its column sums. */
static void bend_back(struct wt_cuda *c, void *dy, const void *pre, size_t m, size_t n, size_t ld,
                      enum wt_nonlinearity f, float *out, bool is_adding)
{
    if (m == 0)
        return;
    /* Columns up to ld may be read: what is there counts for nothing. */
    bool has_chunks = IS_CHUNKED(c, ld, dy, pre);
    size_t vector = has_chunks ? c->chunk : 1;
    size_t width = has_chunks ? parts_of(n, vector) * vector : n;
    size_t strips = parts_of(width, 32 * vector);
    size_t slabs = parts_of((size_t)c->processors * 4, strips);
    if (slabs > parts_of(m, 16))
        slabs = parts_of(m, 16);
    if (slabs > PARTIAL_FLOATS / width)
        slabs = PARTIAL_FLOATS / width;
    if (slabs == 0)
        slabs = 1;
    size_t rows = parts_of(m, slabs);
    slabs = parts_of(m, rows);

    wt_cu_at data = at(dy), before = at(pre), partial = out ? c->partial : 0, sums = at(out);
    uint32_t m32 = (uint32_t)m, n32 = (uint32_t)width, ld32 = (uint32_t)ld, slab = (uint32_t)rows;
    uint32_t columns = (uint32_t)n, parts = (uint32_t)slabs;
    int function = (int)f, adding = is_adding;
    void *arguments[] = {&data, &before, &partial, &m32, &n32, &ld32, &n32, &slab, &function};
    void *kernel = !has_chunks        ? c->k.bend_back_1
                   : f == WT_IDENTITY ? c->k.column_sums_v
                   : f == WT_GELU_ERF ? c->k.bend_back_gelu_erf_v
                                      : c->k.bend_back_v;
    wt_cuda_launch3(c, kernel, strips, slabs, 1, 256, 0, arguments);
    if (!out)
        return;
    wt_cu_at none = 0;
    void *folded[] = {&partial, &sums, &none, &parts, &columns, &n32, &adding};
    launch(c, c->k.fold, parts_of(n, 32), 512, folded);
}

/* Bias gradient within the product of the weight gradient, or by itself: whichever took less time
 * when both were first met. */
static void weight_and_bias(struct wt_cuda *c, struct wt_cuda_product *o, void *dz, size_t m,
                            size_t n, float *dbias)
{
    struct wt_cuda_product fused = *o;
    fused.epilogue = WT_LT_BIAS_GRADIENT_B;
    fused.bias = at(dbias);
    fused.bias_is_float = 1;
    struct wt_cuda_plan *p = wt_cuda_find_plan(c, &fused);
    if (p->is_possible && p->is_separate == 0) {
        float own = 0;
        float plain = wt_cuda_find_plan(c, o)->ms;
        bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
        c->api.event_record(c->begin, c->stream);
        for (int i = 0; i < 4; i++)
            bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
        c->api.event_record(c->end, c->stream);
        if (wt_cuda_is_well(c, c->api.event_sync(c->end), "a sum"))
            wt_cuda_is_well(c, c->api.event_elapsed(&own, c->begin, c->end), "a sum");
        p = wt_cuda_find_plan(c, &fused); /* may have been dropped by the other's */
        p->is_separate = p->ms < plain + own / 4 ? -1 : 1;
    }
    if (p->is_possible && p->is_separate < 0 && wt_cuda_multiply(c, &fused))
        return;
    bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
    wt_cuda_multiply(c, o);
}

static void cuda_linear_backward(void *self, const struct wt_linear *l,
                                 const struct wt_linear_grad *g)
{
    struct wt_cuda *c = self;
    size_t out = l->w->out;
    struct wt_cuda_product o =
        wt_cuda_weight_product(at(g->dy), out, l->x, l->w, l->m, g->dw, g->is_adding);
    if (l->f != WT_IDENTITY)
        bend_back(c, g->dy, l->pre, l->m, out, out, l->f, g->dbias, g->is_adding);
    if (l->f == WT_IDENTITY && g->dbias && !g->is_adding) {
        weight_and_bias(c, &o, g->dy, l->m, out, g->dbias);
    } else {
        if (l->f == WT_IDENTITY && g->dbias)
            bend_back(c, g->dy, NULL, l->m, out, out, WT_IDENTITY, g->dbias, g->is_adding);
        wt_cuda_multiply(c, &o);
    }
    if (g->dx)
        wt_cuda_multiply_dx(c, at(g->dy), out, l->w, l->m, g->dx, g->is_adding_dx);
}

/* ---- embeddings and norms ---- */

static void cuda_embed(void *self, const struct wt_embed *e)
{
    struct wt_cuda *c = self;
    wt_cu_at token = at(e->token), position = at(e->position), type = at(e->type);
    wt_cu_at tokens = at(e->tokens), positions = at(e->positions), types = at(e->types);
    wt_cu_at out = at(e->out);
    uint32_t rows = (uint32_t)e->rows, n = (uint32_t)e->hidden;
    struct drop d = drop_of(&e->drop);
    void *arguments[] = {&token, &position, &type, &tokens, &positions,
                         &types, &out,      &rows, &n,      &d};
    launch(c,
           IS_CHUNKED(c, e->hidden, e->token, e->position, e->type, e->out) ? c->k.embed_v
                                                                            : c->k.embed_1,
           parts_of(e->rows, 4), 128, arguments);
}

static void cuda_embed_backward(void *self, const struct wt_embed *e, const struct wt_embed_grad *g)
{
    struct wt_cuda *c = self;
    wt_cu_at dout = at(g->dout), dtoken = at(g->dtoken), dposition = at(g->dposition);
    wt_cu_at dtype = at(g->dtype);
    wt_cu_at tokens = at(e->tokens), positions = at(e->positions), types = at(e->types);
    uint32_t rows = (uint32_t)e->rows, n = (uint32_t)e->hidden;
    struct drop d = drop_of(&e->drop);
    void *arguments[] = {&dout,      &tokens, &positions, &types, &dtoken,
                         &dposition, &dtype,  &rows,      &n,     &d};
    launch(c,
           IS_CHUNKED(c, e->hidden, g->dout, g->dtoken, g->dposition, g->dtype) ? c->k.embed_back_v
                                                                                : c->k.embed_back_1,
           parts_of(e->rows, 32), 128, arguments);
}

static void cuda_norm(void *self, const struct wt_norm *o)
{
    struct wt_cuda *c = self;
    bool has_chunks = IS_CHUNKED(c, o->n, o->x, o->residual, o->sum, o->y, o->gain, o->bias);
    struct wt_cuda_compiled *p = part_for(c, WT_CUDA_NORM, o->n, has_chunks ? c->chunk : 1);
    if (!p)
        return;
    wt_cu_at x = at(o->x), residual = at(o->residual), sum = at(o->sum), y = at(o->y);
    wt_cu_at mean = at(o->mean), rstd = at(o->rstd), gain = at(o->gain), bias = at(o->bias);
    uint32_t rows = (uint32_t)o->rows;
    float epsilon = o->epsilon;
    struct drop in = drop_of(&o->drop_in), out = drop_of(&o->drop_out);
    void *arguments[] = {&x,    &residual, &sum,  &y,       &mean, &rstd,
                         &gain, &bias,     &rows, &epsilon, &in,   &out};
    launch(c, p->norm.rows, parts_of(o->rows, 4), 128, arguments);
}

static void cuda_norm_backward(void *self, const struct wt_norm *o, const struct wt_norm_grad *g)
{
    struct wt_cuda *c = self;
    const void *normed = o->sum ? o->sum : o->x;
    bool has_chunks =
        IS_CHUNKED(c, o->n, normed, g->dy, g->dother, g->dsum, g->dx, g->dy ? o->gain : NULL);
    struct wt_cuda_compiled *p = part_for(c, WT_CUDA_NORM, o->n, has_chunks ? c->chunk : 1);
    if (!p)
        return;
    wt_cu_at dy = at(g->dy), dother = at(g->dother), sum = at(normed), mean = at(o->mean);
    wt_cu_at rstd = at(o->rstd), gain = at(o->gain), dsum = at(g->dsum), dx = at(g->dx);
    wt_cu_at partial = c->partial, dgain = at(g->dgain), dbias = at(g->dbias);
    uint32_t rows = (uint32_t)o->rows, n = (uint32_t)o->n, n2 = 2 * n;
    struct drop in = drop_of(&o->drop_in), out = drop_of(&o->drop_out);
    if (!g->dy) {
        void *arguments[] = {&dother, &dsum, &dx, &rows, &in};
        launch(c, p->norm.pass, parts_of(o->rows, 4), 128, arguments);
        return;
    }
    size_t blocks = (size_t)c->processors;
    if (blocks > parts_of(o->rows, BACK_WARPS))
        blocks = parts_of(o->rows, BACK_WARPS);
    if (blocks > PARTIAL_FLOATS / n2)
        blocks = PARTIAL_FLOATS / n2;
    void *arguments[] = {&dy,   &dother, &sum,     &mean, &rstd, &gain,
                         &dsum, &dx,     &partial, &rows, &in,   &out};
    launch(c, p->norm.back, blocks, BACK_WARPS * 32, arguments);
    uint32_t parts = (uint32_t)blocks;
    int adding = g->is_adding;
    void *folded[] = {&partial, &dgain, &dbias, &parts, &n, &n2, &adding};
    wt_cuda_launch3(c, c->k.fold, parts_of(o->n, 32), 2, 1, 512, 0, folded);
}

/* ---- attention ---- */

static void cuda_attention(void *self, const struct wt_attention *a)
{
    struct wt_cuda *c = self;
    struct wt_cuda_compiled *p = part_for(c, WT_CUDA_ATTENTION, a->head, back_warps(c, a->head));
    if (!p)
        return;
    wt_cu_at qkv = at(a->qkv), context = at(a->context), lse = at(a->lse);
    wt_cu_at starts = at(a->at.starts), lengths = at(a->at.lengths);
    uint32_t count = (uint32_t)a->at.count, rows = (uint32_t)a->at.rows;
    uint32_t longest = (uint32_t)a->at.longest, heads = (uint32_t)a->heads;
    float scale = (float)(1.4426950408889634 / sqrt((double)a->head));
    int causal = a->is_causal;
    struct drop d = drop_of(&a->drop);
    void *arguments[] = {&qkv,  &context, &lse,   &starts, &lengths, &count,
                         &rows, &longest, &heads, &scale,  &causal,  &d};
    wt_cuda_launch3(c, p->attention.forward, parts_of(a->at.longest, 64), a->heads, a->at.count,
                    128, p->attention.forward_bytes, arguments);
}

static void cuda_attention_backward(void *self, const struct wt_attention *a,
                                    const struct wt_attention_grad *g)
{
    struct wt_cuda *c = self;
    struct wt_cuda_compiled *p = part_for(c, WT_CUDA_ATTENTION, a->head, back_warps(c, a->head));
    if (!p)
        return;
    if (p->attention.back_failed.code) {
        wt_cuda_keep(c, &p->attention.back_failed);
        return;
    }
    wt_cu_at qkv = at(a->qkv), context = at(a->context), lse = at(a->lse), dqkv = at(g->dqkv);
    wt_cu_at dcontext = at(g->dcontext), delta = at(g->delta);
    wt_cu_at starts = at(a->at.starts), lengths = at(a->at.lengths);
    uint32_t count = (uint32_t)a->at.count, rows = (uint32_t)a->at.rows;
    uint32_t longest = (uint32_t)a->at.longest, heads = (uint32_t)a->heads;
    float scale = (float)(1 / sqrt((double)a->head));
    int causal = a->is_causal;
    struct drop d = drop_of(&a->drop);
    void *arguments[] = {&qkv,   &context, &dcontext, &lse,   &delta, &dqkv,   &starts, &lengths,
                         &count, &rows,    &longest,  &heads, &scale, &causal, &d};
    void *before[] = {&dcontext, &context, &delta, &rows, &heads};
    bool is_all = p->attention.back_all && a->at.longest <= p->attention.keys;
    if (!is_all)
        launch(c, p->attention.delta, parts_of(a->at.rows * a->heads * 8, 256), 256, before);
    wt_cuda_launch3(c, is_all ? p->attention.back_all : p->attention.back_keys,
                    parts_of(a->at.longest, p->attention.keys), a->heads, a->at.count,
                    p->attention.back_threads,
                    is_all ? p->attention.back_all_bytes : p->attention.back_bytes, arguments);
    if (!is_all)
        wt_cuda_launch3(c, p->attention.back_queries, parts_of(a->at.longest, 64), a->heads,
                        a->at.count, 128, p->attention.queries_bytes, arguments);
}

static void cuda_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                       size_t capacity)
{
    struct wt_cuda *c = self;
    wt_cu_at qkv = at(a->qkv), starts = at(a->at.starts), lengths = at(a->at.lengths);
    wt_cu_at k = at(keys), v = at(values);
    uint32_t n = (uint32_t)(a->heads * a->head), room = (uint32_t)capacity;
    void *arguments[] = {&qkv, &starts, &lengths, &k, &v, &n, &room};
    wt_cuda_launch3(c, c->k.cache_rows, a->at.longest, a->at.count, 1, 128, 0, arguments);
}

static void cuda_decode(void *self, const struct wt_decode *o)
{
    struct wt_cuda *c = self;
    wt_cu_at qkv = at(o->qkv), keys = at(o->keys), values = at(o->values), context = at(o->context);
    wt_cu_at lengths = at(o->lengths);
    uint32_t capacity = (uint32_t)o->capacity, heads = (uint32_t)o->heads, head = (uint32_t)o->head;
    float scale = (float)(1 / sqrt((double)o->head));
    size_t shared = ((o->longest + 3) / 4 * 4 + o->head + 128) * sizeof(float);
    size_t all = shared + 16; /* decode_token has four floats more */
    if (all > (size_t)c->shared_most) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_UNSUPPORTED, "%zu tokens are too many to decode on %s", o->longest,
                c->name);
        wt_cuda_keep(c, &err);
        return;
    }
    if (all > SHARED_PLAIN)
        wt_cuda_is_well(c,
                        c->api.function_set(c->k.decode_token, WT_CU_FUNCTION_SHARED, (int)shared),
                        "decoding");
    void *arguments[] = {&qkv,   &keys, &values, &lengths, &capacity,
                         &heads, &head, &scale,  &context};
    wt_cuda_launch3(c, c->k.decode_token, o->heads, o->count, 1, 128, shared, arguments);
}

/* ---- losses ---- */

/* A vocabulary of no round number sends cuBLASLt to slower kernels: its odd end is a product of its
 * own. */
static size_t round_part(size_t vocabulary)
{
    return vocabulary % 8 == 0 || vocabulary < 4096 ? vocabulary : vocabulary / 64 * 64;
}

static void cuda_loss(void *self, const struct wt_loss *l)
{
    struct wt_cuda *c = self;
    size_t vocabulary = l->w->out, hidden = l->w->in;
    size_t ld = parts_of(vocabulary, 64) * 64;
    size_t most = LOGITS_BYTES / (ld * c->act) / 128 * 128;
    if (most == 0)
        most = 128;
    size_t rounds = parts_of(l->m, most);
    if (rounds == 0)
        return;
    size_t rows = parts_of(parts_of(l->m, rounds), 128) * 128;
    if (!wt_cuda_has_room(c, &c->logits, &c->logits_room, rows * ld * c->act))
        return;
    size_t main = round_part(vocabulary), ends[] = {0, main, vocabulary};
    for (size_t from = 0; from < l->m; from += rows) {
        size_t m = l->m - from < rows ? l->m - from : rows;
        bool is_adding = l->is_adding || from > 0;
        size_t bias_from = vocabulary, bias_to = 0; /* where it is still to be added */
        const char *x = (const char *)l->x + from * hidden * c->act;
        struct wt_weight parts[2];
        for (int p = 0; p < 2; p++) {
            size_t first = ends[p], n = ends[p + 1] - first;
            parts[p] =
                (struct wt_weight){.values = (const char *)l->w->values + first * hidden * c->act,
                                   .out = n,
                                   .in = hidden};
            struct wt_cuda_product o =
                wt_cuda_forward_product(x, &parts[p], m, c->logits + first * c->act, ld, false);
            bool is_in =
                n == 0 || wt_cuda_multiply_with_bias(c, &o, l->bias ? l->bias + first : NULL, n);
            if (is_in)
                continue;
            if (first < bias_from)
                bias_from = first;
            bias_to = ends[p + 1];
        }

        wt_cu_at logits = c->logits, bias = bias_from < bias_to ? at(l->bias) : 0;
        wt_cu_at targets = at(l->targets + from), losses = at(l->losses + from);
        uint32_t n = (uint32_t)vocabulary, ld32 = (uint32_t)ld;
        uint32_t first_biased = (uint32_t)bias_from, last_biased = (uint32_t)bias_to;
        float scale = l->scale;
        int is_training = l->dx != NULL;
        void *arguments[] = {&logits, &bias,         &targets,     &losses, &n,
                             &ld32,   &first_biased, &last_biased, &scale,  &is_training};
        launch(c, c->k.loss_rows, m, 512, arguments);
        if (!l->dx)
            continue;
        if (l->dbias)
            bend_back(c, (void *)(uintptr_t)logits, NULL, m, vocabulary, ld, WT_IDENTITY, l->dbias,
                      is_adding);
        for (int p = 0; p < 2; p++) {
            if (parts[p].out == 0)
                continue;
            wt_cu_at dz = logits + ends[p] * c->act;
            struct wt_cuda_product dw = wt_cuda_weight_product(dz, ld, x, &parts[p], m,
                                                               l->dw + ends[p] * hidden, is_adding);
            wt_cuda_multiply(c, &dw);
            wt_cuda_multiply_dx(c, dz, ld, &parts[p], m, (char *)l->dx + from * hidden * c->act,
                                p > 0);
        }
    }
}

static void cuda_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                               size_t n, float scale, float *losses, void *dlogits)
{
    struct wt_cuda *c = self;
    wt_cu_at x = at(logits), t = at(targets), out = at(losses), dx = at(dlogits);
    uint32_t m32 = (uint32_t)m, n32 = (uint32_t)n;
    void *arguments[] = {&x, &t, &out, &dx, &m32, &n32, &scale};
    launch(c, c->k.cross_entropy, parts_of(m, 4), 128, arguments);
}

/* ---- rows ---- */

static void move_rows(struct wt_cuda *c, void *out, const void *x, const int32_t *rows,
                      size_t count, size_t n, int is_scatter, const struct wt_dropout *drop)
{
    wt_cu_at to = at(out), from = at(x), list = at(rows);
    uint32_t count32 = (uint32_t)count, n32 = (uint32_t)n;
    struct drop d = drop_of(drop);
    void *arguments[] = {&to, &from, &list, &count32, &n32, &is_scatter, &d};
    launch(c, IS_CHUNKED(c, n, out, x) ? c->k.move_rows_v : c->k.move_rows_1, parts_of(count, 4),
           128, arguments);
}

static void cuda_gather(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                        size_t n, const struct wt_dropout *drop)
{
    move_rows(self, out, x, rows, count, n, 0, drop);
}

static void cuda_scatter(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                         size_t total, size_t n, const struct wt_dropout *drop)
{
    struct wt_cuda *c = self;
    cuda_fill_zero(self, dx, total * n * c->act);
    move_rows(c, dx, dout, rows, count, n, 1, drop);
}

/* ---- the optimizer ---- */

/* The spans on the device; sent when they are others than last time. */
static bool send_spans(struct wt_cuda *c, const struct wt_adam *a)
{
    size_t bytes = a->span_count * sizeof(*a->spans);
    bool is_same = a->span_count == c->known_count;
    for (size_t i = 0; is_same && i < a->span_count; i++)
        is_same = a->spans[i].to == c->known_spans[i].to &&
                  a->spans[i].is_decayed == c->known_spans[i].is_decayed;
    if (is_same)
        return true;
    c->known_count = 0;
    uint64_t(*sent)[2] = calloc(a->span_count + 1, sizeof(*sent));
    struct wt_span *known = realloc(c->known_spans, bytes + sizeof(*known));
    if (known)
        c->known_spans = known;
    bool is_fine = sent && known;
    if (!is_fine)
        wt_cuda_keep(c, &(struct wt_error){.code = WT_E_NOMEM, .text = "no memory for the spans"});
    is_fine =
        is_fine && wt_cuda_has_room(c, &c->spans, &c->span_room, a->span_count * sizeof(*sent));
    if (is_fine) {
        for (size_t i = 0; i < a->span_count; i++) {
            sent[i][0] = a->spans[i].to;
            sent[i][1] = a->spans[i].is_decayed;
        }
        is_fine = send(c, c->spans, sent, a->span_count * sizeof(*sent));
    }
    if (is_fine) {
        memcpy(c->known_spans, a->spans, bytes);
        c->known_count = a->span_count;
    }
    free(sent);
    return is_fine;
}

static void cuda_adamw(void *self, const struct wt_adam *a)
{
    struct wt_cuda *c = self;
    if (a->total == 0 || a->span_count == 0 || !send_spans(c, a))
        return;
    wt_cu_at p = at(a->p), first = at(a->first), second = at(a->second), g = at(a->g);
    wt_cu_at working = at(a->working), spans = c->spans, partial = c->norm_partial;
    wt_cu_at norm = at(a->norm), norm_scale = c->norm_scale;
    uint64_t total = a->total;
    uint32_t parts = (uint32_t)c->processors * 4, span_count = (uint32_t)a->span_count;
    float clip = a->clip, rate = a->rate, beta1 = a->beta1, beta2 = a->beta2;
    float epsilon = a->epsilon, decay = a->decay;
    float inverse1 = 1 / a->correction1, inverse2 = 1 / a->correction2;
    void *sums[] = {&g, &total, &partial};
    launch(c, c->k.square_sums, parts, 512, sums);
    void *finish[] = {&partial, &parts, &clip, &norm, &norm_scale};
    launch(c, c->k.finish_norm, 1, 32, finish);
    void *step[] = {&p,          &first,    &second,   &g,         &working, &spans,
                    &span_count, &total,    &rate,     &beta1,     &beta2,   &epsilon,
                    &decay,      &inverse1, &inverse2, &norm_scale};
    launch(c, c->k.adamw_step, parts_of(a->total, 2048), 256, step);
    if (a->working)
        remember(c, a->p, a->working, a->total);
}

/* ---- made and freed ---- */

static void cuda_free(void *self)
{
    struct wt_cuda *c = self;
    if (!c)
        return;
    if (c->stream)
        c->api.stream_sync(c->stream);
    wt_cuda_products_done(c);
    while (c->parts) {
        struct wt_cuda_compiled *p = c->parts;
        c->parts = p->next;
        if (p->module)
            c->api.module_unload(p->module);
        free(p);
    }
    if (c->common)
        c->api.module_unload(c->common);
    wt_cu_at own[] = {c->workspace, c->partial, c->norm_partial, c->norm_scale,
                      c->bias,      c->logits,  c->spans};
    for (size_t i = 0; i < WT_COUNTOF(own); i++)
        if (own[i])
            c->api.mem_free(own[i]);
    for (size_t i = 0; i < WT_CUDA_STAGES; i++)
        if (c->staged[i])
            c->api.event_destroy(c->staged[i]);
    if (c->stage)
        c->api.host_free(c->stage);
    if (c->begin)
        c->api.event_destroy(c->begin);
    if (c->end)
        c->api.event_destroy(c->end);
    if (c->stream)
        c->api.stream_destroy(c->stream);
    if (c->has_context) {
        c->api.context_set(NULL);
        c->api.context_release(c->device);
    }
    free(c->known_spans);
    wt_cuda_api_close(&c->api);
    free(c);
}

static const struct wt_backend_ops ops = {
    .name = "cuda",
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .fill_zero = cuda_fill_zero,
    .narrow = cuda_narrow,
    .prepare = cuda_prepare,
    .unprepare = cuda_unprepare,
    .embed = cuda_embed,
    .embed_backward = cuda_embed_backward,
    .norm = cuda_norm,
    .norm_backward = cuda_norm_backward,
    .linear = cuda_linear,
    .linear_backward = cuda_linear_backward,
    .attention = cuda_attention,
    .attention_backward = cuda_attention_backward,
    .cache = cuda_cache,
    .decode = cuda_decode,
    .loss = cuda_loss,
    .cross_entropy = cuda_cross_entropy,
    .gather = cuda_gather,
    .scatter = cuda_scatter,
    .adamw = cuda_adamw,
    .free = cuda_free,
};

static int open_device(struct wt_cuda *c, unsigned device, struct wt_error *err)
{
    int count = 0, result = c->api.init(0);
    if (result == 0)
        result = c->api.device_count(&count);
    if (result == WT_CU_NO_DEVICE || (result == 0 && count == 0)) {
        int rc = wt_fail(err, WT_E_NOTFOUND, "the NVIDIA driver finds no GPU");
        wt_fix(err, "nvidia-smi says what there is; CUDA_VISIBLE_DEVICES may hide it");
        return rc;
    }
    if (result != 0)
        return cuda_fail(c, result, "the NVIDIA driver", err);
    if (device >= (unsigned)count)
        return wt_fail(err, WT_E_NOTFOUND, "there is no CUDA device %u: %d from 0 on", device,
                       count);
    int major = 0, minor = 0;
    result = c->api.device_get(&c->device, (int)device);
    if (result == 0)
        result = c->api.device_name(c->name, (int)sizeof(c->name), c->device);
    if (result == 0)
        result = c->api.device_attribute(&major, WT_CU_MAJOR, c->device);
    if (result == 0)
        result = c->api.device_attribute(&minor, WT_CU_MINOR, c->device);
    if (result == 0)
        result = c->api.device_attribute(&c->processors, WT_CU_MULTIPROCESSORS, c->device);
    if (result == 0)
        result = c->api.device_attribute(&c->shared_most, WT_CU_SHARED_MOST, c->device);
    if (result != 0)
        return cuda_fail(c, result, "the CUDA device", err);
    c->architecture = major * 10 + minor;
    if (c->dtype != WT_F32 && major < 8) {
        int rc = wt_fail(err, WT_E_UNSUPPORTED,
                         "%s has compute capability %d.%d: %s is computed from 8.0 on", c->name,
                         major, minor, wt_dtype_name(c->dtype));
        wt_fix(err, "take --dtype fp32");
        return rc;
    }
    /* Waiting for the device shall not cost a processor's energy. Of no effect where the context
     * is in use already. */
    c->api.context_flags(c->device, WT_CU_BLOCKING_SYNC);
    void *context = NULL;
    result = c->api.context_retain(&context, c->device);
    if (result != 0)
        return cuda_fail(c, result, "a context on the CUDA device", err);
    c->has_context = true;
    result = c->api.context_set(context);
    return result == 0 ? 0 : cuda_fail(c, result, "a context on the CUDA device", err);
}

static int make_room(struct wt_cuda *c, struct wt_error *err)
{
    int result = c->api.stream_create(&c->stream, WT_CU_NON_BLOCKING);
    for (size_t i = 0; result == 0 && i < WT_CUDA_STAGES; i++)
        result =
            c->api.event_create(&c->staged[i], WT_CU_EVENT_NO_TIMING | WT_CU_EVENT_BLOCKING_SYNC);
    if (result == 0)
        result = c->api.event_create(&c->begin, 0);
    if (result == 0)
        result = c->api.event_create(&c->end, 0);
    if (result == 0)
        result = c->api.host_alloc(&c->stage, WT_CUDA_STAGES * STAGE_BYTES, 0);
    if (result == 0)
        result = c->api.mem_alloc(&c->workspace, WT_CUDA_WORKSPACE_BYTES);
    if (result == 0)
        result = c->api.mem_alloc(&c->partial, PARTIAL_FLOATS * sizeof(float));
    if (result == 0)
        result = c->api.mem_alloc(&c->norm_partial, (size_t)c->processors * 4 * sizeof(double));
    if (result == 0)
        result = c->api.mem_alloc(&c->norm_scale, 256);
    return result == 0 ? 0 : cuda_fail(c, result, "memory of the CUDA device", err);
}

static int load_common(struct wt_cuda *c, struct wt_error *err)
{
    int rc = load(c, WT_CUDA_COMMON, 1, 1, &c->common, err);
#define WT_KERNEL_FIND(name)                                                                       \
    if (rc == 0)                                                                                   \
        rc = find_kernel(c, c->common, #name, &c->k.name, 0, err);
    WT_CUDA_KERNELS(WT_KERNEL_FIND)
    return rc;
}

int wt_cuda_new(struct wt_backend *ret_backend, enum wt_dtype dtype, unsigned device,
                struct wt_error *err)
{
    if (dtype == WT_INT8)
        return wt_fail(err, WT_E_UNSUPPORTED, "int8 is computed on the CPU only");
    struct wt_cuda *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a CUDA device");
    c->dtype = dtype;
    c->mode = dtype == WT_BF16 ? WT_CUDA_BF16 : dtype == WT_TF32 ? WT_CUDA_TF32 : WT_CUDA_FP32;
    c->act = dtype == WT_BF16 ? 2 : 4;
    c->chunk = 16 / c->act;
    int rc = wt_cuda_api_open(&c->api, err);
    if (rc < 0) {
        free(c);
        return rc;
    }
    rc = open_device(c, device, err);
    if (rc == 0)
        rc = wt_cuda_api_open_tools(&c->api, c->architecture, err);
    if (rc == 0)
        rc = make_room(c, err);
    if (rc == 0)
        rc = load_common(c, err);
    if (rc == 0)
        rc = wt_cuda_products_init(c, err);
    if (rc < 0) {
        cuda_free(c);
        return rc;
    }
    *ret_backend = (struct wt_backend){.ops = &ops, .self = c, .dtype = dtype};
    return 0;
}

const char *wt_cuda_device_name(const struct wt_backend *cuda)
{
    const struct wt_cuda *c = cuda->self;
    return c->name;
}
