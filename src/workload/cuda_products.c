/* The NVIDIA backend's products, by cuBLASLt.
 *
 * How a product is best computed is asked of cuBLASLt and tried out once for each shape, at its
 * first use; after that nothing is allocated.
 *
 * Row by row, a matrix [m, n] is the [n, m] of cuBLASLt, which counts column by column. So y = x w'
 * is asked for as y' = w x', with the operands swapped. */
#include <string.h>

#include "base/base.h"
#include "workload/cuda.h"

#define CANDIDATES  16 /* tried out for each */
#define PRODUCT_KEY offsetof(struct wt_cuda_product, a)

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

static bool is_like(const struct wt_cuda_product *a, const struct wt_cuda_product *b)
{
    struct wt_cuda_product x = *a, y = *b;
    if (size_class(x.n) != size_class(y.n) || size_class(x.k) != size_class(y.k))
        return false;
    x.n = y.n;
    x.k = y.k;
    return memcmp(&x, &y, PRODUCT_KEY) == 0;
}

static void drop_plan(struct wt_cuda *c, struct wt_cuda_plan *p)
{
    if (p->desc)
        c->api.lt_desc_destroy(p->desc);
    void *layouts[] = {p->a, p->b, p->d};
    for (size_t i = 0; i < 3; i++)
        if (layouts[i])
            c->api.lt_layout_destroy(layouts[i]);
    memset(p, 0, sizeof(*p));
}

static void drop_plans(struct wt_cuda *c)
{
    for (size_t i = 0; i < WT_CUDA_PLANS; i++)
        if (c->plans[i].is_used)
            drop_plan(c, &c->plans[i]);
    c->plan_count = 0;
}

static bool describe(struct wt_cuda *c, struct wt_cuda_plan *p)
{
    const struct wt_cuda_product *o = &p->of;
    int type = c->mode == WT_CUDA_BF16 ? WT_LT_BF16 : WT_LT_FLOAT;
    int out = o->is_float ? WT_LT_FLOAT : type;
    int compute = c->mode == WT_CUDA_TF32 ? WT_LT_COMPUTE_TF32 : WT_LT_COMPUTE_F32;
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

static int compute(struct wt_cuda *c, const struct wt_cuda_plan *p, const struct wt_cuda_product *o,
                   wt_cu_at d, const uint64_t *algorithm)
{
    float one = 1, beta = o->is_adding ? 1 : 0;
    return c->api.lt_product(c->lt, p->desc, &one, o->a, p->a, o->b, p->b, &beta, d, p->d, d, p->d,
                             algorithm, c->workspace, WT_CUDA_WORKSPACE_BYTES, c->stream);
}

/* Median of three rounds of a few; not positive: it cannot be done. */
static float try_out(struct wt_cuda *c, const struct wt_cuda_plan *p,
                     const struct wt_cuda_product *o, wt_cu_at d, const uint64_t *algorithm)
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
        if (!wt_cuda_is_well(c, c->api.event_sync(c->end), "a product") ||
            !wt_cuda_is_well(c, c->api.event_elapsed(&times[round], c->begin, c->end), "a product"))
            return -1;
    }
    float a = times[0], b = times[1], m = times[2];
    float low = a < b ? a : b, high = a < b ? b : a;
    return (m < low ? low : m > high ? high : m) / 4;
}

/* Chooses for a plan: as a product of about this size has it, or by trying. */
static void choose(struct wt_cuda *c, struct wt_cuda_plan *p, const struct wt_cuda_product *o)
{
    struct wt_lt_choice choices[CANDIDATES];
    memset(choices, 0, sizeof(choices));
    for (size_t i = 0; i < WT_CUDA_PLANS; i++) {
        const struct wt_cuda_plan *q = &c->plans[i];
        if (q == p || !q->is_used || !q->is_possible || !is_like(&q->of, o))
            continue;
        if (c->api.lt_check(c->lt, p->desc, p->a, p->b, p->d, p->d, q->algorithm, &choices[0]) ==
                0 &&
            choices[0].workspace <= WT_CUDA_WORKSPACE_BYTES) {
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
        wt_cuda_is_well(c, c->api.mem_free(other), "releasing memory");
}

struct wt_cuda_plan *wt_cuda_find_plan(struct wt_cuda *c, struct wt_cuda_product *o)
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
    size_t i = hash % WT_CUDA_PLANS;
    for (; c->plans[i].is_used; i = (i + 1) % WT_CUDA_PLANS)
        if (memcmp(&c->plans[i].of, o, PRODUCT_KEY) == 0)
            return &c->plans[i];
    if (c->plan_count >= WT_CUDA_PLANS / 4 * 3) {
        drop_plans(c);
        i = hash % WT_CUDA_PLANS;
    }
    struct wt_cuda_plan *p = &c->plans[i];
    p->is_used = true;
    p->of = *o;
    c->plan_count++;
    if (describe(c, p))
        choose(c, p, o);
    return p;
}

/* For shapes that cuBLASLt has nothing for: odd sizes of few values. */
static void compute_plainly(struct wt_cuda *c, const struct wt_cuda_product *o)
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
    wt_cuda_launch3(c, c->k.plain_product, parts_of(n, 16), parts_of(m, 16), 1, 256, 0, arguments);
}

bool wt_cuda_multiply(struct wt_cuda *c, struct wt_cuda_product *o)
{
    if (o->m == 0 || o->n == 0)
        return true;
    struct wt_cuda_plan *p = wt_cuda_find_plan(c, o);
    if (!p->is_possible) {
        if (o->epilogue != WT_LT_PLAIN)
            return false;
        compute_plainly(c, o);
        return true;
    }
    int status =
        o->epilogue == WT_LT_PLAIN ? 0 : c->api.lt_desc_set(p->desc, WT_LT_DESC_BIAS, &o->bias, 8);
    if (status == 0)
        status = compute(c, p, o, o->d, p->algorithm);
    if (status != 0) {
        struct wt_error err = {0};
        wt_fail(&err, WT_E_IO, "a product of %llu x %llu x %llu: cuBLASLt says %d",
                (unsigned long long)o->m, (unsigned long long)o->n, (unsigned long long)o->k,
                status);
        wt_cuda_keep(c, &err);
    }
    return true;
}

struct wt_cuda_product wt_cuda_forward_product(const void *x, const struct wt_weight *w, size_t m,
                                               wt_cu_at y, size_t ld, bool is_float)
{
    return (struct wt_cuda_product){.m = w->out,
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

void wt_cuda_multiply_dx(struct wt_cuda *c, wt_cu_at dz, size_t ld, const struct wt_weight *w,
                         size_t m, void *dx, bool is_adding)
{
    struct wt_cuda_product o = {.m = w->in,
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
    wt_cuda_multiply(c, &o);
}

struct wt_cuda_product wt_cuda_weight_product(wt_cu_at dz, size_t ld, const void *x,
                                              const struct wt_weight *w, size_t m, float *dw,
                                              bool is_adding)
{
    return (struct wt_cuda_product){.m = w->in,
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
static wt_cu_at bias_of(struct wt_cuda *c, const float *bias, size_t n, bool is_float)
{
    if (c->mode != WT_CUDA_BF16 || is_float)
        return at(bias);
    for (size_t i = 0; i < c->shadow_count; i++) {
        const struct wt_cuda_shadow *s = &c->shadows[i];
        if (at(bias) >= at(s->from) && at(bias + n) <= at(s->from + s->n))
            return at(s->to) + (at(bias) - at(s->from)) / 2;
    }
    if (!wt_cuda_has_room(c, &c->bias, &c->bias_room, (n * 2 + 1023) / 1024 * 1024))
        return 0;
    wt_cuda_narrow(c, c->bias, bias, n);
    return c->bias;
}

bool wt_cuda_multiply_with_bias(struct wt_cuda *c, struct wt_cuda_product *o, const float *bias,
                                size_t n)
{
    if (bias) {
        o->bias = bias_of(c, bias, n, o->is_float);
        o->bias_is_float = c->mode != WT_CUDA_BF16 || o->is_float;
        o->epilogue = WT_LT_ADD_BIAS;
        if (o->bias && wt_cuda_multiply(c, o))
            return true;
        o->bias = 0;
        o->bias_is_float = 0;
        o->epilogue = WT_LT_PLAIN;
    }
    wt_cuda_multiply(c, o);
    return !bias;
}

int wt_cuda_products_init(struct wt_cuda *c, struct wt_error *err)
{
    size_t bytes = WT_CUDA_WORKSPACE_BYTES;
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

void wt_cuda_products_done(struct wt_cuda *c)
{
    drop_plans(c);
    if (c->wish)
        c->api.lt_wish_destroy(c->wish);
    if (c->lt)
        c->api.lt_destroy(c->lt);
}
