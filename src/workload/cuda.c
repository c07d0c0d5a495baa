/* The NVIDIA backend: products by cuBLASLt, everything else by the kernels of cuda_kernels.cu.
 *
 * One stream, in order; a step never waits for the device. The kernels are compiled for the device
 * when the backend is made, and those whose registers hang on a size (norms, attention) when the
 * size is first met. How a product is best computed is asked of cuBLASLt and tried out once for
 * each shape, at its first use; after that nothing is allocated.
 *
 * Row by row, a matrix [m, n] is the [n, m] of cuBLASLt, which counts column by column. So y = x w'
 * is asked for as y' = w x', with the operands swapped. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/backend.h"
#include "workload/cuda_api.h"
#include "workload/random.h"

#define WORKSPACE_BYTES ((size_t)64 << 20)  /* of cuBLASLt */
#define PARTIAL_FLOATS  ((size_t)4 << 20)   /* sums of slabs of rows, before they are folded */
#define LOGITS_BYTES    ((size_t)256 << 20) /* most of them at a time */
#define STAGE_BYTES     ((size_t)1 << 20) /* of pinned memory; uploads go through STAGES of them */
#define STAGES          8
#define PLANS           1024 /* remembered products; a power of 2 */
#define BACK_WARPS      12   /* of a norm's backward block; as cuda_kernels.cu has it */
#define CANDIDATES      16   /* tried out for each */

enum { COMMON_PART = 1, NORM_PART, ATTENTION_PART };

#define COMMON_KERNELS(X)                                                                          \
    X(finish_linear_v)                                                                             \
    X(finish_linear_1)                                                                             \
    X(finish_linear_float)                                                                         \
    X(gelu_erf_v)                                                                                  \
    X(bend_back_v)                                                                                 \
    X(bend_back_1)                                                                                 \
    X(bend_back_gelu_erf_v)                                                                        \
    X(column_sums_v)                                                                               \
    X(fold)                                                                                        \
    X(embed_v)                                                                                     \
    X(embed_1)                                                                                     \
    X(embed_back_v)                                                                                \
    X(embed_back_1)                                                                                \
    X(loss_rows)                                                                                   \
    X(cross_entropy)                                                                               \
    X(move_rows_v)                                                                                 \
    X(move_rows_1)                                                                                 \
    X(cache_rows)                                                                                  \
    X(decode_token)                                                                                \
    X(narrow_all)                                                                                  \
    X(narrow_any)                                                                                  \
    X(square_sums)                                                                                 \
    X(finish_norm)                                                                                 \
    X(adamw_step)                                                                                  \
    X(plain_product)

/* A part compiled for a size. */
struct part {
    struct part *next;
    int part;
    unsigned size, vector;
    void *module; /* NULL: it could not be made, which has been said */
    union {
        struct {
            void *rows, *back, *pass;
        } norm;
        struct {
            void *forward, *delta, *back_keys, *back_all, *back_queries;
            unsigned forward_bytes, back_bytes, back_all_bytes, queries_bytes;
            unsigned back_threads, keys; /* of a backward block */
        } attention;
    };
};

/* A product as cuBLASLt has it: d [m, n] = op(a) op(b) + beta d, column by column. */
struct product {
    uint64_t m, n, k;
    int64_t lda, ldb, ldd;
    int32_t turn_a, turn_b;
    int32_t is_float; /* d is float whatever activations are */
    int32_t is_adding;
    int32_t epilogue;
    int32_t bias_is_float;
    uint32_t alignment[5];  /* of a, b, c, d and the bias; set by find_plan */
    uint32_t zero;          /* no padding: compared as bytes */
    wt_cu_at a, b, d, bias; /* behind what is compared */
};
#define PRODUCT_KEY offsetof(struct product, a)

struct plan {
    struct product of;
    bool is_used, is_possible;
    void *desc, *a, *b, *d;
    uint64_t algorithm[8];
    size_t workspace;
    float ms;        /* as tried out */
    int is_separate; /* of bias gradients: 0 not known, 1 own sums are faster, -1 the fused ones */
};

/* Parameters and the working copy that has been made of them. */
struct shadow {
    const float *from;
    const char *to;
    size_t n;
};

struct cuda {
    struct wt_cuda_api api;
    int device;
    bool has_context;
    void *stream;
    char name[256];
    int architecture, processors, shared_most;
    enum wt_dtype dtype;
    int mode;
    size_t act;   /* bytes */
    size_t chunk; /* activations in 16 bytes */
    void *common;
#define WT_KERNEL_MEMBER(name) void *name;
    struct {
        COMMON_KERNELS(WT_KERNEL_MEMBER)
    } k;
    struct part *parts;

    void *lt, *wish;
    struct plan plans[PLANS];
    size_t plan_count;
    void *begin, *end; /* events for trying out */

    wt_cu_at workspace, partial, norm_partial, norm_scale, bias, logits, spans;
    size_t bias_room, logits_room, span_room; /* bytes, bytes, spans */
    struct wt_span *known_spans;              /* what spans holds */
    size_t known_count;

    char *stage;
    void *staged[STAGES];
    unsigned stage_at;

    struct shadow shadows[16];
    size_t shadow_count;

    int code; /* the first thing that went wrong since the last sync */
    char text[480], fix[240];
};

/* As the kernels have it. */
struct drop {
    uint64_t key;
    uint32_t below;
    float scale;
};

static wt_cu_at at(const void *p)
{
    return (wt_cu_at)(uintptr_t)p;
}

/* ---- what goes wrong ---- */

static void keep(struct cuda *c, const struct wt_error *err)
{
    if (c->code)
        return;
    c->code = err->code;
    wt_text(c->text, sizeof(c->text), "%s", err->text);
    wt_text(c->fix, sizeof(c->fix), "%s", err->fix);
}

static const char *driver_says(const struct cuda *c, int result)
{
    const char *says = NULL;
    return c->api.error_string(result, &says) == 0 && says ? says : "an unknown error";
}

/* Whether a call of the driver went well; else it is kept. */
static bool is_well(struct cuda *c, int result, const char *what)
{
    if (result == 0)
        return true;
    struct wt_error err = {0};
    wt_fail(&err, result == WT_CU_OUT_OF_MEMORY ? WT_E_NOMEM : WT_E_IO, "%s: CUDA says %s (%d)",
            what, driver_says(c, result), result);
    keep(c, &err);
    return false;
}

static int cuda_fail(const struct cuda *c, int result, const char *what, struct wt_error *err)
{
    int code = result == WT_CU_OUT_OF_MEMORY ? WT_E_NOMEM
               : result == WT_CU_NO_DEVICE   ? WT_E_NOTFOUND
                                             : WT_E_IO;
    return wt_fail(err, code, "%s: CUDA says %s (%d)", what, driver_says(c, result), result);
}

/* ---- launching ---- */

static void launch3(struct cuda *c, void *kernel, size_t x, size_t y, size_t z, unsigned threads,
                    size_t shared, void **arguments)
{
    if (x == 0 || y == 0 || z == 0 || !kernel)
        return;
    is_well(c,
            c->api.launch(kernel, (unsigned)x, (unsigned)y, (unsigned)z, threads, 1, 1,
                          (unsigned)shared, c->stream, arguments, NULL),
            "a kernel's launch");
}

static void launch(struct cuda *c, void *kernel, size_t blocks, unsigned threads, void **arguments)
{
    launch3(c, kernel, blocks, 1, 1, threads, 0, arguments);
}

static size_t parts_of(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

static struct drop drop_of(const struct wt_dropout *d)
{
    if (!d || d->p <= 0)
        return (struct drop){.scale = 1};
    return (struct drop){d->key, wt_dropout_below(d->p), (float)(1 / (1 - (double)d->p))};
}

/* Whether rows of n values can be moved in chunks: all pointers (NULL is none) and n fit. */
static bool is_chunked(const struct cuda *c, size_t n, const void *const *pointers, size_t count)
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

static bool find_kernel(struct cuda *c, void *module, const char *name, void **ret_kernel,
                        unsigned shared)
{
    return is_well(c, c->api.module_function(ret_kernel, module, name), name) &&
           (shared <= 48 * 1024 ||
            is_well(c, c->api.function_set(*ret_kernel, WT_CU_FUNCTION_SHARED, (int)shared), name));
}

static void *load(struct cuda *c, int part, unsigned size, unsigned vector)
{
    struct wt_error err = {0};
    char *code = NULL;
    size_t bytes = 0;
    void *module = NULL;
    if (wt_cuda_compile(&c->api, c->architecture, c->mode, part, size, vector, &code, &bytes,
                        &err) < 0)
        keep(c, &err);
    else if (!is_well(c, c->api.module_load(&module, code), "loading the kernels"))
        module = NULL;
    free(code);
    return module;
}

static void load_norm(struct cuda *c, struct part *p)
{
    if (!find_kernel(c, p->module, "norm_rows", &p->norm.rows, 0) ||
        !find_kernel(c, p->module, "norm_back", &p->norm.back, 0) ||
        !find_kernel(c, p->module, "norm_pass", &p->norm.pass, 0))
        p->norm.rows = p->norm.back = p->norm.pass = NULL;
}

static void load_attention(struct cuda *c, struct part *p)
{
    /* the sizes of cuda_kernels.cu's tiles */
    unsigned wide = (p->size + 15) / 16 * 16, stride = wide * (unsigned)c->act + 16;
    unsigned warps = (c->mode == 2 ? 8u : 4u) / (wide <= 64 ? 1u : 2u);
    p->attention.keys = warps * 16;
    p->attention.back_threads = warps * 32;
    p->attention.forward_bytes = (64 + 2 * 64) * stride;
    p->attention.back_bytes = 4 * p->attention.keys * stride + p->attention.keys * 8;
    p->attention.back_all_bytes = p->attention.back_bytes + p->attention.keys * 80;
    p->attention.queries_bytes = (2 * 64 + 2 * 32) * stride;
    unsigned most = p->attention.forward_bytes;
    if (p->attention.back_all_bytes > most)
        most = p->attention.back_all_bytes;
    if (most > (unsigned)c->shared_most) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_UNSUPPORTED,
                "attention heads of %u do not fit the %d bytes of shared memory of %s", p->size,
                c->shared_most, c->name);
        keep(c, &err);
        return;
    }
    if (!find_kernel(c, p->module, "attend", &p->attention.forward, p->attention.forward_bytes) ||
        !find_kernel(c, p->module, "attend_delta", &p->attention.delta, 0) ||
        !find_kernel(c, p->module, "attend_back_keys", &p->attention.back_keys,
                     p->attention.back_bytes) ||
        !find_kernel(c, p->module, "attend_back_queries", &p->attention.back_queries,
                     p->attention.queries_bytes) ||
        (c->mode == 2 && !find_kernel(c, p->module, "attend_back_all", &p->attention.back_all,
                                      p->attention.back_all_bytes)))
        p->attention.forward = p->attention.delta = p->attention.back_keys =
            p->attention.back_queries = p->attention.back_all = NULL;
}

/* A part for a size; its kernels are NULL where it could not be made. NULL: no memory. */
static struct part *part_for(struct cuda *c, int part, size_t size, size_t vector)
{
    for (struct part *p = c->parts; p; p = p->next)
        if (p->part == part && p->size == size && p->vector == vector)
            return p;
    struct part *p = calloc(1, sizeof(*p));
    if (!p) {
        keep(c, &(struct wt_error){.code = WT_E_NOMEM, .text = "no memory for CUDA kernels"});
        return NULL;
    }
    p->part = part;
    p->size = (unsigned)size;
    p->vector = (unsigned)vector;
    p->next = c->parts;
    c->parts = p;
    if (part == ATTENTION_PART && size > 256) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_UNSUPPORTED, "attention heads of %zu: 256 is the most", size);
        keep(c, &err);
        return p;
    }
    p->module = load(c, part, p->size, p->vector);
    if (p->module && part == NORM_PART)
        load_norm(c, p);
    else if (p->module)
        load_attention(c, p);
    return p;
}

/* ---- memory ---- */

static int cuda_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    struct cuda *c = self;
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
static void forget(struct cuda *c, const void *from, size_t bytes)
{
    wt_cu_at first = at(from), last = first + bytes;
    for (size_t i = 0; i < c->shadow_count;) {
        const struct shadow *s = &c->shadows[i];
        bool is_hit = (at(s->from) < last && first < at(s->from + s->n)) ||
                      (at(s->to) < last && first < at(s->to + s->n * c->act));
        if (is_hit)
            c->shadows[i] = c->shadows[--c->shadow_count];
        else
            i++;
    }
}

static void remember(struct cuda *c, const float *from, const void *to, size_t n)
{
    if (c->mode != 2 || n == 0)
        return;
    for (size_t i = 0; i < c->shadow_count; i++)
        if (c->shadows[i].from == from && c->shadows[i].to == to && c->shadows[i].n == n)
            return;
    forget(c, from, n * sizeof(float));
    forget(c, to, n * c->act);
    if (c->shadow_count == WT_COUNTOF(c->shadows))
        c->shadow_count = 0; /* they are found again, or made */
    c->shadows[c->shadow_count++] = (struct shadow){from, to, n};
}

static void cuda_release(void *self, void *p)
{
    struct cuda *c = self;
    if (!p)
        return;
    wt_cu_at base = 0;
    size_t bytes = 0;
    if (c->api.mem_range(&base, &bytes, at(p)) == 0)
        forget(c, (void *)(uintptr_t)base, bytes);
    /* cuMemFree waits for what uses it. */
    is_well(c, c->api.mem_free(at(p)), "releasing memory");
}

/* Through pinned memory: an upload from other memory would wait for the stream. */
static void send(struct cuda *c, wt_cu_at to, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t now = bytes - done < STAGE_BYTES ? bytes - done : STAGE_BYTES;
        unsigned s = c->stage_at++ % STAGES;
        char *stage = c->stage + s * STAGE_BYTES;
        if (!is_well(c, c->api.event_sync(c->staged[s]), "an upload"))
            return;
        memcpy(stage, (const char *)from + done, now);
        if (!is_well(c, c->api.to_device(to + done, stage, now, c->stream), "an upload"))
            return;
        is_well(c, c->api.event_record(c->staged[s], c->stream), "an upload");
        done += now;
    }
}

static void cuda_upload(void *self, void *to, const void *from_host, size_t bytes)
{
    struct cuda *c = self;
    forget(c, to, bytes);
    send(c, at(to), from_host, bytes);
}

static int cuda_sync(void *self, struct wt_error *err)
{
    struct cuda *c = self;
    is_well(c, c->api.stream_sync(c->stream), "the device");
    int code = c->code;
    if (code == 0)
        return 0;
    wt_fail(err, code, "%s", c->text);
    if (*c->fix)
        wt_fix(err, "%s", c->fix);
    c->code = 0;
    *c->fix = 0;
    return code;
}

static int cuda_download(void *self, void *to_host, const void *from, size_t bytes,
                         struct wt_error *err)
{
    struct cuda *c = self;
    is_well(c, c->api.to_host(to_host, at(from), bytes, c->stream), "a download");
    return cuda_sync(self, err);
}

static void cuda_fill_zero(void *self, void *p, size_t bytes)
{
    struct cuda *c = self;
    forget(c, p, bytes);
    if (bytes)
        is_well(c, c->api.fill(at(p), 0, bytes, c->stream), "clearing memory");
}

static void cuda_copy(void *self, void *to, const void *from, size_t bytes)
{
    struct cuda *c = self;
    forget(c, to, bytes);
    if (bytes)
        is_well(c, c->api.copy(at(to), at(from), bytes, c->stream), "a copy");
}

static void narrow(struct cuda *c, wt_cu_at to, const float *from, size_t n)
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
    struct cuda *c = self;
    narrow(c, at(to), from, n);
    remember(c, from, to, n);
}

/* Memory of the backend's own that grows with the sizes met. */
static bool has_room(struct cuda *c, wt_cu_at *io_at, size_t *io_room, size_t want)
{
    if (want <= *io_room)
        return true;
    if (*io_at)
        is_well(c, c->api.mem_free(*io_at), "releasing memory");
    *io_at = 0;
    *io_room = 0;
    if (!is_well(c, c->api.mem_alloc(io_at, want), "memory for an operation"))
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

/* ---- products ---- */

static uint32_t alignment_of(wt_cu_at p)
{
    uint32_t a = 256;
    while (a > 1 && p % a != 0)
        a /= 2;
    return a;
}

/* Sizes whose best algorithm is taken to be the same: within an eighth. */
static uint64_t size_class(uint64_t n)
{
    unsigned shift = 0;
    while (n >> shift >= 16)
        shift++;
    return (uint64_t)shift << 8 | n >> shift;
}

static bool is_like(const struct product *a, const struct product *b)
{
    struct product x = *a, y = *b;
    if (size_class(x.n) != size_class(y.n) || size_class(x.k) != size_class(y.k))
        return false;
    x.n = y.n;
    x.k = y.k;
    return memcmp(&x, &y, PRODUCT_KEY) == 0;
}

static void drop_plan(struct cuda *c, struct plan *p)
{
    if (p->desc)
        c->api.lt_desc_destroy(p->desc);
    void *layouts[] = {p->a, p->b, p->d};
    for (size_t i = 0; i < 3; i++)
        if (layouts[i])
            c->api.lt_layout_destroy(layouts[i]);
    memset(p, 0, sizeof(*p));
}

static void drop_plans(struct cuda *c)
{
    for (size_t i = 0; i < PLANS; i++)
        if (c->plans[i].is_used)
            drop_plan(c, &c->plans[i]);
    c->plan_count = 0;
}

static bool describe(struct cuda *c, struct plan *p)
{
    const struct product *o = &p->of;
    int type = c->mode == 2 ? WT_LT_BF16 : WT_LT_FLOAT, out = o->is_float ? WT_LT_FLOAT : type;
    int compute = c->mode == 1 ? WT_LT_COMPUTE_TF32 : WT_LT_COMPUTE_F32;
    int bias_type = o->bias_is_float ? WT_LT_FLOAT : type;
    const struct wt_cuda_api *api = &c->api;
    bool is_fine = api->lt_desc_create(&p->desc, compute, WT_LT_FLOAT) == 0 &&
                   api->lt_layout_create(&p->a, type, o->turn_a ? o->k : o->m,
                                         o->turn_a ? o->m : o->k, o->lda) == 0 &&
                   api->lt_layout_create(&p->b, type, o->turn_b ? o->n : o->k,
                                         o->turn_b ? o->k : o->n, o->ldb) == 0 &&
                   api->lt_layout_create(&p->d, out, o->m, o->n, o->ldd) == 0 &&
                   api->lt_desc_set(p->desc, WT_LT_DESC_TURN_A, &o->turn_a, 4) == 0 &&
                   api->lt_desc_set(p->desc, WT_LT_DESC_TURN_B, &o->turn_b, 4) == 0 &&
                   api->lt_desc_set(p->desc, WT_LT_DESC_EPILOGUE, &o->epilogue, 4) == 0;
    if (is_fine && o->epilogue != WT_LT_PLAIN)
        is_fine = api->lt_desc_set(p->desc, WT_LT_DESC_BIAS, &o->bias, 8) == 0 &&
                  api->lt_desc_set(p->desc, WT_LT_DESC_BIAS_TYPE, &bias_type, 4) == 0;
    for (int i = 0; is_fine && i < 4; i++)
        is_fine = api->lt_wish_set(c->wish, WT_LT_WISH_ALIGN_A + i, &o->alignment[i], 4) == 0;
    return is_fine;
}

static int compute(struct cuda *c, const struct plan *p, const struct product *o, wt_cu_at d,
                   const uint64_t *algorithm)
{
    float one = 1, beta = o->is_adding ? 1 : 0;
    return c->api.lt_product(c->lt, p->desc, &one, o->a, p->a, o->b, p->b, &beta, d, p->d, d, p->d,
                             algorithm, c->workspace, WORKSPACE_BYTES, c->stream);
}

/* Median of three rounds of a few; not positive: it cannot be done. */
static float try_out(struct cuda *c, const struct plan *p, const struct product *o, wt_cu_at d,
                     const uint64_t *algorithm)
{
    float times[3] = {0};
    if (compute(c, p, o, d, algorithm) != 0)
        return -1;
    for (int round = 0; round < 3; round++) {
        c->api.event_record(c->begin, c->stream);
        for (int i = 0; i < 4; i++)
            if (compute(c, p, o, d, algorithm) != 0)
                return -1;
        c->api.event_record(c->end, c->stream);
        if (!is_well(c, c->api.event_sync(c->end), "a product") ||
            !is_well(c, c->api.event_elapsed(&times[round], c->begin, c->end), "a product"))
            return -1;
    }
    float a = times[0], b = times[1], m = times[2];
    float low = a < b ? a : b, high = a < b ? b : a;
    return (m < low ? low : m > high ? high : m) / 4;
}

/* Chooses for a plan: as a product of about this size has it, or by trying. */
static void choose(struct cuda *c, struct plan *p, const struct product *o)
{
    struct wt_lt_choice choices[CANDIDATES];
    memset(choices, 0, sizeof(choices));
    for (size_t i = 0; i < PLANS; i++) {
        const struct plan *q = &c->plans[i];
        if (q == p || !q->is_used || !q->is_possible || !is_like(&q->of, o))
            continue;
        if (c->api.lt_check(c->lt, p->desc, p->a, p->b, p->d, p->d, q->algorithm, &choices[0]) ==
                0 &&
            choices[0].workspace <= WORKSPACE_BYTES) {
            memcpy(p->algorithm, q->algorithm, sizeof(p->algorithm));
            p->ms = q->ms;
            p->is_separate = q->is_separate;
            p->is_possible = true;
            return;
        }
    }
    int count = 0;
    if (c->api.lt_choose(c->lt, p->desc, p->a, p->b, p->d, p->d, c->wish, CANDIDATES, choices,
                         &count) != 0)
        return;
    /* What is added to must stay as it is: then it is tried out elsewhere, where there is room. */
    wt_cu_at d = o->d, other = 0;
    if (o->is_adding) {
        size_t bytes = (size_t)o->ldd * o->n * (o->is_float ? 4 : c->act);
        d = c->api.mem_alloc(&other, bytes) == 0 ? other : 0;
    }
    for (int i = 0; i < count; i++) {
        if (choices[i].status != 0)
            continue;
        float ms = d ? try_out(c, p, o, d, choices[i].algorithm) : (float)(i + 1);
        if (ms > 0 && (!p->is_possible || ms < p->ms)) {
            p->is_possible = true;
            p->ms = ms;
            memcpy(p->algorithm, choices[i].algorithm, sizeof(p->algorithm));
        }
    }
    if (other)
        is_well(c, c->api.mem_free(other), "releasing memory");
}

static struct plan *find_plan(struct cuda *c, struct product *o)
{
    wt_cu_at pointers[] = {o->a, o->b, o->d, o->d, o->bias};
    for (int i = 0; i < 5; i++)
        o->alignment[i] = alignment_of(pointers[i]);
    uint64_t hash = 0;
    for (size_t i = 0; i + 8 <= PRODUCT_KEY; i += 8) {
        uint64_t word;
        memcpy(&word, (const char *)o + i, 8);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    size_t i = hash % PLANS;
    for (; c->plans[i].is_used; i = (i + 1) % PLANS)
        if (memcmp(&c->plans[i].of, o, PRODUCT_KEY) == 0)
            return &c->plans[i];
    if (c->plan_count >= PLANS / 4 * 3) {
        drop_plans(c);
        i = hash % PLANS;
    }
    struct plan *p = &c->plans[i];
    p->is_used = true;
    p->of = *o;
    c->plan_count++;
    if (describe(c, p))
        choose(c, p, o);
    return p;
}

/* For shapes that cuBLASLt has nothing for: odd sizes of few values. */
static void compute_plainly(struct cuda *c, const struct product *o)
{
    /* our [n, m] row by row: rows are o's columns, and the operands swap */
    wt_cu_at a = o->b, b = o->a, d = o->d;
    /* o's b is [k, n]: (k, j) at k + j ldb, or turned at j + k ldb; its a is [m, k] likewise */
    uint64_t ldb = (uint64_t)o->ldb, lda = (uint64_t)o->lda;
    uint64_t a_row = o->turn_b ? 1 : ldb, a_column = o->turn_b ? ldb : 1;
    uint64_t b_row = o->turn_a ? 1 : lda, b_column = o->turn_a ? lda : 1;
    uint64_t ld = (uint64_t)o->ldd;
    int is_float = o->is_float, is_adding = o->is_adding;
    uint32_t m = (uint32_t)o->n, n = (uint32_t)o->m, k = (uint32_t)o->k;
    void *arguments[] = {&a,  &a_row,    &a_column, &b, &b_row, &b_column, &d,
                         &ld, &is_float, &m,        &n, &k,     &is_adding};
    launch3(c, c->k.plain_product, parts_of(n, 16), parts_of(m, 16), 1, 256, 0, arguments);
}

/* False: the epilogue is not to be had for this, and nothing was done. */
static bool multiply(struct cuda *c, struct product *o)
{
    if (o->m == 0 || o->n == 0)
        return true;
    struct plan *p = find_plan(c, o);
    if (!p->is_possible) {
        if (o->epilogue != WT_LT_PLAIN)
            return false;
        compute_plainly(c, o);
        return true;
    }
    if (o->epilogue != WT_LT_PLAIN)
        c->api.lt_desc_set(p->desc, WT_LT_DESC_BIAS, &o->bias, 8);
    int status = compute(c, p, o, o->d, p->algorithm);
    if (status != 0) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_IO, "a product of %llu x %llu x %llu: cuBLASLt says %d",
                (unsigned long long)o->m, (unsigned long long)o->n, (unsigned long long)o->k,
                status);
        keep(c, &err);
    }
    return true;
}

/* x [m, in] w' -> y [m, out] of ld */
static struct product forward_product(const void *x, const struct wt_weight *w, size_t m,
                                      wt_cu_at y, size_t ld, bool is_float)
{
    return (struct product){.m = w->out,
                            .n = m,
                            .k = w->in,
                            .lda = (int64_t)w->in,
                            .ldb = (int64_t)w->in,
                            .ldd = (int64_t)ld,
                            .turn_a = 1,
                            .is_float = is_float,
                            .epilogue = WT_LT_PLAIN,
                            .a = at(w->values),
                            .b = at(x),
                            .d = y};
}

/* dx [m, in] (+)= dz [m, out, of ld] w */
static void multiply_dx(struct cuda *c, wt_cu_at dz, size_t ld, const struct wt_weight *w, size_t m,
                        void *dx, bool is_adding)
{
    struct product o = {.m = w->in,
                        .n = m,
                        .k = w->out,
                        .lda = (int64_t)w->in,
                        .ldb = (int64_t)ld,
                        .ldd = (int64_t)w->in,
                        .is_adding = is_adding,
                        .epilogue = WT_LT_PLAIN,
                        .a = at(w->values),
                        .b = dz,
                        .d = at(dx)};
    multiply(c, &o);
}

/* dw [out, in] (+)= dz' x */
static struct product weight_product(wt_cu_at dz, size_t ld, const void *x,
                                     const struct wt_weight *w, size_t m, float *dw, bool is_adding)
{
    return (struct product){.m = w->in,
                            .n = w->out,
                            .k = m,
                            .lda = (int64_t)w->in,
                            .ldb = (int64_t)ld,
                            .ldd = (int64_t)w->in,
                            .turn_b = 1,
                            .is_float = true,
                            .is_adding = is_adding,
                            .epilogue = WT_LT_PLAIN,
                            .a = at(x),
                            .b = dz,
                            .d = at(dw)};
}

/* A bias as the product takes it: where a working copy of the parameters has it, or one made now.
 * 0: no memory. */
static wt_cu_at bias_of(struct cuda *c, const float *bias, size_t n, bool is_float)
{
    if (c->mode != 2 || is_float)
        return at(bias);
    for (size_t i = 0; i < c->shadow_count; i++) {
        const struct shadow *s = &c->shadows[i];
        if (at(bias) >= at(s->from) && at(bias + n) <= at(s->from + s->n))
            return at(s->to) + (at(bias) - at(s->from)) / 2;
    }
    if (!has_room(c, &c->bias, &c->bias_room, (n * 2 + 1023) / 1024 * 1024))
        return 0;
    narrow(c, c->bias, bias, n);
    return c->bias;
}

/* Adds the bias within the product where it can. False: it is still to be added. */
static bool multiply_with_bias(struct cuda *c, struct product *o, const float *bias, size_t n)
{
    if (bias) {
        o->bias = bias_of(c, bias, n, o->is_float);
        o->bias_is_float = c->mode != 2 || o->is_float;
        o->epilogue = WT_LT_ADD_BIAS;
        if (o->bias && multiply(c, o))
            return true;
        o->bias = 0;
        o->bias_is_float = 0;
        o->epilogue = WT_LT_PLAIN;
    }
    multiply(c, o);
    return !bias;
}

/* ---- linear layers ---- */

static void cuda_linear(void *self, const struct wt_linear *l)
{
    struct cuda *c = self;
    size_t out = l->w->out;
    void *z = l->f != WT_IDENTITY && l->pre && !l->is_float ? l->pre : l->y;
    struct product o = forward_product(l->x, l->w, l->m, at(z), out, l->is_float);
    bool has_bias = multiply_with_bias(c, &o, l->bias, out);
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
static void bend_back(struct cuda *c, void *dy, const void *pre, size_t m, size_t n, size_t ld,
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
    launch3(c, kernel, strips, slabs, 1, 256, 0, arguments);
    if (!out)
        return;
    wt_cu_at none = 0;
    void *folded[] = {&partial, &sums, &none, &parts, &columns, &n32, &adding};
    launch(c, c->k.fold, parts_of(n, 32), 512, folded);
}

/* Bias gradient within the product of the weight gradient, or by itself: whichever took less time
 * when both were first met. */
static void weight_and_bias(struct cuda *c, struct product *o, void *dz, size_t m, size_t n,
                            float *dbias)
{
    struct product fused = *o;
    fused.epilogue = WT_LT_BIAS_GRADIENT_B;
    fused.bias = at(dbias);
    fused.bias_is_float = 1;
    struct plan *p = find_plan(c, &fused);
    if (p->is_possible && p->is_separate == 0) {
        float own = 0;
        float plain = find_plan(c, o)->ms;
        bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
        c->api.event_record(c->begin, c->stream);
        for (int i = 0; i < 4; i++)
            bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
        c->api.event_record(c->end, c->stream);
        if (is_well(c, c->api.event_sync(c->end), "a sum"))
            is_well(c, c->api.event_elapsed(&own, c->begin, c->end), "a sum");
        p = find_plan(c, &fused); /* may have been dropped by the other's */
        p->is_separate = p->ms < plain + own / 4 ? -1 : 1;
    }
    if (p->is_possible && p->is_separate < 0 && multiply(c, &fused))
        return;
    bend_back(c, dz, NULL, m, n, n, WT_IDENTITY, dbias, false);
    multiply(c, o);
}

static void cuda_linear_backward(void *self, const struct wt_linear *l,
                                 const struct wt_linear_grad *g)
{
    struct cuda *c = self;
    size_t out = l->w->out;
    struct product o = weight_product(at(g->dy), out, l->x, l->w, l->m, g->dw, g->is_adding);
    if (l->f != WT_IDENTITY)
        bend_back(c, g->dy, l->pre, l->m, out, out, l->f, g->dbias, g->is_adding);
    if (l->f == WT_IDENTITY && g->dbias && !g->is_adding) {
        weight_and_bias(c, &o, g->dy, l->m, out, g->dbias);
    } else {
        if (l->f == WT_IDENTITY && g->dbias)
            bend_back(c, g->dy, NULL, l->m, out, out, WT_IDENTITY, g->dbias, g->is_adding);
        multiply(c, &o);
    }
    if (g->dx)
        multiply_dx(c, at(g->dy), out, l->w, l->m, g->dx, g->is_adding_dx);
}

/* ---- embeddings and norms ---- */

static void cuda_embed(void *self, const struct wt_embed *e)
{
    struct cuda *c = self;
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
    struct cuda *c = self;
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
    struct cuda *c = self;
    bool has_chunks = IS_CHUNKED(c, o->n, o->x, o->residual, o->sum, o->y, o->gain, o->bias);
    struct part *p = part_for(c, NORM_PART, o->n, has_chunks ? c->chunk : 1);
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
    struct cuda *c = self;
    const void *normed = o->sum ? o->sum : o->x;
    bool has_chunks =
        IS_CHUNKED(c, o->n, normed, g->dy, g->dother, g->dsum, g->dx, g->dy ? o->gain : NULL);
    struct part *p = part_for(c, NORM_PART, o->n, has_chunks ? c->chunk : 1);
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
    launch3(c, c->k.fold, parts_of(o->n, 32), 2, 1, 512, 0, folded);
}

/* ---- attention ---- */

static void cuda_attention(void *self, const struct wt_attention *a)
{
    struct cuda *c = self;
    struct part *p = part_for(c, ATTENTION_PART, a->head, 1);
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
    launch3(c, p->attention.forward, parts_of(a->at.longest, 64), a->heads, a->at.count, 128,
            p->attention.forward_bytes, arguments);
}

static void cuda_attention_backward(void *self, const struct wt_attention *a,
                                    const struct wt_attention_grad *g)
{
    struct cuda *c = self;
    struct part *p = part_for(c, ATTENTION_PART, a->head, 1);
    if (!p)
        return;
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
    launch3(c, is_all ? p->attention.back_all : p->attention.back_keys,
            parts_of(a->at.longest, p->attention.keys), a->heads, a->at.count,
            p->attention.back_threads,
            is_all ? p->attention.back_all_bytes : p->attention.back_bytes, arguments);
    if (!is_all)
        launch3(c, p->attention.back_queries, parts_of(a->at.longest, 64), a->heads, a->at.count,
                128, p->attention.queries_bytes, arguments);
}

static void cuda_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                       size_t capacity)
{
    struct cuda *c = self;
    wt_cu_at qkv = at(a->qkv), starts = at(a->at.starts), lengths = at(a->at.lengths);
    wt_cu_at k = at(keys), v = at(values);
    uint32_t n = (uint32_t)(a->heads * a->head), room = (uint32_t)capacity;
    void *arguments[] = {&qkv, &starts, &lengths, &k, &v, &n, &room};
    launch3(c, c->k.cache_rows, a->at.longest, a->at.count, 1, 128, 0, arguments);
}

static void cuda_decode(void *self, const struct wt_decode *o)
{
    struct cuda *c = self;
    wt_cu_at qkv = at(o->qkv), keys = at(o->keys), values = at(o->values), context = at(o->context);
    wt_cu_at lengths = at(o->lengths);
    uint32_t capacity = (uint32_t)o->capacity, heads = (uint32_t)o->heads, head = (uint32_t)o->head;
    float scale = (float)(1 / sqrt((double)o->head));
    size_t shared = ((o->longest + 3) / 4 * 4 + o->head + 128) * sizeof(float);
    if (shared > (size_t)c->shared_most) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_UNSUPPORTED, "%zu tokens are too many to decode on %s", o->longest,
                c->name);
        keep(c, &err);
        return;
    }
    if (shared > 48 * 1024)
        is_well(c, c->api.function_set(c->k.decode_token, WT_CU_FUNCTION_SHARED, (int)shared),
                "decoding");
    void *arguments[] = {&qkv,   &keys, &values, &lengths, &capacity,
                         &heads, &head, &scale,  &context};
    launch3(c, c->k.decode_token, o->heads, o->count, 1, 128, shared, arguments);
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
    struct cuda *c = self;
    size_t vocabulary = l->w->out, hidden = l->w->in;
    size_t ld = parts_of(vocabulary, 64) * 64;
    size_t most = LOGITS_BYTES / (ld * c->act) / 128 * 128;
    if (most == 0)
        most = 128;
    size_t rounds = parts_of(l->m, most);
    if (rounds == 0)
        return;
    size_t rows = parts_of(parts_of(l->m, rounds), 128) * 128;
    if (!has_room(c, &c->logits, &c->logits_room, rows * ld * c->act))
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
            struct product o =
                forward_product(x, &parts[p], m, c->logits + first * c->act, ld, false);
            bool is_in = n == 0 || multiply_with_bias(c, &o, l->bias ? l->bias + first : NULL, n);
            bias_from = p == 0 && !is_in                        ? 0
                        : p == 1 && !is_in && bias_from > first ? first
                                                                : bias_from;
            bias_to = is_in ? bias_to : ends[p + 1];
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
            struct product dw =
                weight_product(dz, ld, x, &parts[p], m, l->dw + ends[p] * hidden, is_adding);
            multiply(c, &dw);
            multiply_dx(c, dz, ld, &parts[p], m, (char *)l->dx + from * hidden * c->act, p > 0);
        }
    }
}

static void cuda_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                               size_t n, float scale, float *losses, void *dlogits)
{
    struct cuda *c = self;
    wt_cu_at x = at(logits), t = at(targets), out = at(losses), dx = at(dlogits);
    uint32_t m32 = (uint32_t)m, n32 = (uint32_t)n;
    void *arguments[] = {&x, &t, &out, &dx, &m32, &n32, &scale};
    launch(c, c->k.cross_entropy, parts_of(m, 4), 128, arguments);
}

/* ---- rows ---- */

static void move_rows(struct cuda *c, void *out, const void *x, const int32_t *rows, size_t count,
                      size_t n, int is_scatter, const struct wt_dropout *drop)
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
    struct cuda *c = self;
    cuda_fill_zero(self, dx, total * n * c->act);
    move_rows(c, dx, dout, rows, count, n, 1, drop);
}

/* ---- the optimizer ---- */

/* The spans on the device; sent when they are others than last time. */
static bool send_spans(struct cuda *c, const struct wt_adam *a)
{
    size_t bytes = a->span_count * sizeof(*a->spans);
    bool is_same = a->span_count == c->known_count;
    for (size_t i = 0; is_same && i < a->span_count; i++)
        is_same = a->spans[i].to == c->known_spans[i].to &&
                  a->spans[i].is_decayed == c->known_spans[i].is_decayed;
    if (is_same)
        return true;
    size_t room = c->span_room;
    uint64_t(*sent)[2] = calloc(a->span_count + 1, sizeof(*sent));
    struct wt_span *known = realloc(c->known_spans, bytes + sizeof(*known));
    if (known)
        c->known_spans = known;
    bool is_fine = sent && known;
    if (!is_fine)
        keep(c, &(struct wt_error){.code = WT_E_NOMEM, .text = "no memory for the spans"});
    is_fine = is_fine && has_room(c, &c->spans, &room, a->span_count * sizeof(*sent));
    c->span_room = room;
    if (is_fine) {
        for (size_t i = 0; i < a->span_count; i++) {
            sent[i][0] = a->spans[i].to;
            sent[i][1] = a->spans[i].is_decayed;
        }
        memcpy(c->known_spans, a->spans, bytes);
        c->known_count = a->span_count;
        send(c, c->spans, sent, a->span_count * sizeof(*sent));
    }
    free(sent);
    return is_fine;
}

static void cuda_adamw(void *self, const struct wt_adam *a)
{
    struct cuda *c = self;
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
    struct cuda *c = self;
    if (!c)
        return;
    if (c->stream)
        c->api.stream_sync(c->stream);
    drop_plans(c);
    if (c->wish)
        c->api.lt_wish_destroy(c->wish);
    if (c->lt)
        c->api.lt_destroy(c->lt);
    while (c->parts) {
        struct part *p = c->parts;
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
    for (size_t i = 0; i < STAGES; i++)
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
    if (c->has_context)
        c->api.context_release(c->device);
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
    .copy = cuda_copy,
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

static int open_device(struct cuda *c, unsigned device, struct wt_error *err)
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
    if (c->dtype != WT_F32 && major < 8)
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s has compute capability %d.%d: %s is computed from 8.0 on; fp32 works",
                       c->name, major, minor, c->dtype == WT_BF16 ? "bf16" : "tf32");
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

static int make_room(struct cuda *c, struct wt_error *err)
{
    int result = c->api.stream_create(&c->stream, WT_CU_NON_BLOCKING);
    for (size_t i = 0; result == 0 && i < STAGES; i++)
        result = c->api.event_create(&c->staged[i], WT_CU_EVENT_NO_TIMING | 1 /* waiting sleeps */);
    if (result == 0)
        result = c->api.event_create(&c->begin, 0);
    if (result == 0)
        result = c->api.event_create(&c->end, 0);
    if (result == 0)
        result = c->api.host_alloc((void **)&c->stage, STAGES * STAGE_BYTES, 0);
    if (result == 0)
        result = c->api.mem_alloc(&c->workspace, WORKSPACE_BYTES);
    if (result == 0)
        result = c->api.mem_alloc(&c->partial, PARTIAL_FLOATS * sizeof(float));
    if (result == 0)
        result = c->api.mem_alloc(&c->norm_partial, (size_t)c->processors * 4 * sizeof(double));
    if (result == 0)
        result = c->api.mem_alloc(&c->norm_scale, 256);
    return result == 0 ? 0 : cuda_fail(c, result, "memory of the CUDA device", err);
}

static int load_common(struct cuda *c, struct wt_error *err)
{
    char *code = NULL;
    size_t bytes = 0;
    int rc =
        wt_cuda_compile(&c->api, c->architecture, c->mode, COMMON_PART, 1, 1, &code, &bytes, err);
    if (rc < 0)
        return rc;
    int result = c->api.module_load(&c->common, code);
    free(code);
    if (result != 0)
        return cuda_fail(c, result, "loading the kernels", err);
#define WT_KERNEL_FIND(name)                                                                       \
    if (result == 0)                                                                               \
        result = c->api.module_function(&c->k.name, c->common, #name);
    COMMON_KERNELS(WT_KERNEL_FIND)
    return result == 0 ? 0 : cuda_fail(c, result, "the kernels", err);
}

static int open_products(struct cuda *c, struct wt_error *err)
{
    size_t bytes = WORKSPACE_BYTES;
    uint32_t reduction = WT_LT_REDUCE_WIDE;
    int status = c->api.lt_create(&c->lt);
    if (status == 0)
        status = c->api.lt_wish_create(&c->wish);
    if (status == 0)
        status = c->api.lt_wish_set(c->wish, WT_LT_WISH_WORKSPACE, &bytes, sizeof(bytes));
    if (status == 0)
        status = c->api.lt_wish_set(c->wish, WT_LT_WISH_REDUCTION, &reduction, sizeof(reduction));
    return status == 0 ? 0
                       : wt_fail(err, WT_E_IO, "cuBLASLt cannot be started: it says %d", status);
}

int wt_cuda_new(struct wt_backend *ret_backend, enum wt_dtype dtype, unsigned device,
                struct wt_error *err)
{
    if (dtype == WT_INT8)
        return wt_fail(err, WT_E_UNSUPPORTED, "int8 is computed on the CPU only");
    struct cuda *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a CUDA device");
    c->dtype = dtype;
    c->mode = dtype == WT_BF16 ? 2 : dtype == WT_TF32 ? 1 : 0;
    c->act = dtype == WT_BF16 ? 2 : 4;
    c->chunk = 16 / c->act;
    int rc = wt_cuda_api_open(&c->api, err);
    if (rc < 0) {
        free(c);
        return rc;
    }
    rc = open_device(c, device, err);
    if (rc == 0)
        rc = make_room(c, err);
    if (rc == 0)
        rc = load_common(c, err);
    if (rc == 0)
        rc = open_products(c, err);
    if (rc < 0) {
        cuda_free(c);
        return rc;
    }
    *ret_backend = (struct wt_backend){&ops, c, dtype};
    return 0;
}

const char *wt_cuda_device_name(const struct wt_backend *cuda)
{
    const struct cuda *c = cuda->self;
    return c->name;
}
