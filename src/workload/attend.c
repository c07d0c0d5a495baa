/* Attention of one head; compiled once for each instruction set with WT_ATTEND naming the table
 * and WT_SET_NAME its name.
 *
 * The lanes of a vector are queries: scores lie transposed, [key][query], and so do the context and
 * dq while they grow, [d][query]. So maxima, sums and rescaling of a row's softmax are plain vector
 * operations, and in every product one operand is read along its lanes and the other value by
 * value (broadcast) from rows as they lie in memory; only queries need a transposition, once.
 *
 * A tile is 64 keys by some panels of queries; a panel is two vectors wide. Rows are copied
 * together (their stride in qkv is a multiple of what caches map to one place) and widened from
 * bfloat16 on the way. Padding is zeros.
 *
 * Scores are in units of log2(e), so that weights are powers of two, without a multiplication. */
#include <math.h>

#include "workload/attend.h"
#include "workload/random.h"
#include "workload/vector.h"

extern const struct wt_attend_kernels WT_ATTEND;

enum {
    PANEL = 2 * WT_LANES, /* queries */
    BLOCK = 128,          /* queries that share a copy of a tile's keys and values */
    KEYS = 64,            /* of a tile */
    QUERIES = 64,         /* of a tile of the backward pass */
    /* Rows of a product held in registers: with two vectors each, what 32 or 16 registers hold. */
    BIG = WT_LANES == 16  ? 8
          : WT_LANES == 8 ? 6
                          : 4,
    SMALL = 4,
};
/* Instead of -infinity, which differences with itself make NaN. */
#define LOWEST -3e38f
#define LOG2_E 1.44269504f
#define LN_2   0.693147181f

#define NOINLINE static __attribute__((noinline))

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}
static size_t rounded_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* ---- products inside a tile ---- */

/* c[i][0..PANEL) = start + sum over k of a[i * row + k * step] b[k * ldb + 0..PANEL) */
enum start { START_ZERO, START_ADD, START_SCALED };
WT_INLINE void rows_times(size_t rows, const float *restrict a, size_t row, size_t step,
                          const float *restrict b, size_t ldb, float *restrict c, size_t ldc,
                          size_t depth, enum start start, const float *restrict scale)
{
    wt_vf sum[BIG][2];
#pragma GCC unroll 8
    for (size_t i = 0; i < rows; i++) {
        if (start == START_ZERO) {
            sum[i][0] = sum[i][1] = (wt_vf){0};
        } else {
            sum[i][0] = wt_load(c + i * ldc);
            sum[i][1] = wt_load(c + i * ldc + WT_LANES);
        }
        if (start == START_SCALED) {
            sum[i][0] *= wt_load(scale);
            sum[i][1] *= wt_load(scale + WT_LANES);
        }
    }
#pragma GCC unroll 2
    for (size_t k = 0; k < depth; k++) {
        wt_vf b0 = wt_load(b + k * ldb), b1 = wt_load(b + k * ldb + WT_LANES);
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; i++) {
            wt_vf x = wt_all(a[i * row + k * step]);
            sum[i][0] += x * b0;
            sum[i][1] += x * b1;
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < rows; i++) {
        wt_store(c + i * ldc, sum[i][0]);
        wt_store(c + i * ldc + WT_LANES, sum[i][1]);
    }
}

/* Each a function of its own: inside larger ones the compiler runs out of registers for addresses.
 * `line`: between rows of a, or between values of k where rows are next to each other. */
typedef void (*product_fn)(const float *restrict a, size_t line, const float *restrict b,
                           size_t ldb, float *restrict c, size_t ldc, size_t depth,
                           const float *restrict scale);
#define PRODUCT(NAME, ROWS, ROW, STEP, LDB, LDC, START)                                            \
    NOINLINE void NAME(const float *restrict a, size_t line, const float *restrict b, size_t ldb,  \
                       float *restrict c, size_t ldc, size_t depth, const float *restrict scale)   \
    {                                                                                              \
        (void)line, (void)ldb, (void)ldc, (void)scale;                                             \
        rows_times(ROWS, a, ROW, STEP, b, LDB, c, LDC, depth, START, scale);                       \
    }
PRODUCT(scores_big, BIG, line, 1, PANEL, ldc, START_ZERO)
PRODUCT(scores_small, SMALL, line, 1, PANEL, ldc, START_ZERO)
PRODUCT(values_big, BIG, 1, line, PANEL, PANEL, START_SCALED)
PRODUCT(values_small, SMALL, 1, line, PANEL, PANEL, START_SCALED)
PRODUCT(keys_big, BIG, 1, line, QUERIES, PANEL, START_ADD)
PRODUCT(keys_small, SMALL, 1, line, QUERIES, PANEL, START_ADD)
PRODUCT(queries_big, BIG, QUERIES, 1, ldb, ldc, START_ADD)
PRODUCT(queries_small, SMALL, QUERIES, 1, ldb, ldc, START_ADD)

/* Any number of rows that is a multiple of 4. */
WT_INLINE void times(product_fn big, product_fn small, size_t rows, const float *restrict a,
                     size_t row, size_t line, const float *restrict b, size_t ldb,
                     float *restrict c, size_t ldc, size_t depth, const float *restrict scale)
{
    size_t i = 0;
    for (; rows - i >= BIG && (rows - i == BIG || rows - i >= BIG + SMALL); i += BIG)
        big(a + i * row, line, b, ldb, c + i * ldc, ldc, depth, scale);
    for (; i < rows; i += SMALL)
        small(a + i * row, line, b, ldb, c + i * ldc, ldc, depth, scale);
}

/* scores[key][query] = rows of keys by a panel of transposed queries; also of values by dcontext */
static void scores_of(float *restrict scores, size_t ldc, const float *restrict rows, size_t width,
                      size_t count, const float *restrict panel, size_t depth)
{
    times(scores_big, scores_small, count, rows, width, width, panel, PANEL, scores, ldc, depth,
          NULL);
}
/* context[d][query] = scale context + sum over keys of values[key][d] weights[key][query] */
static void add_values(float *restrict context, size_t dims, const float *restrict values,
                       size_t width, const float *restrict weights, size_t keys,
                       const float *restrict scale)
{
    times(values_big, values_small, dims, values, 1, width, weights, PANEL, context, PANEL, keys,
          scale);
}
/* dq[d][query] += sum over keys of keys[key][d] dscores[key][query] */
static void add_keys(float *restrict dq, size_t dims, const float *restrict rows, size_t width,
                     const float *restrict dscores, size_t keys)
{
    times(keys_big, keys_small, dims, rows, 1, width, dscores, QUERIES, dq, PANEL, keys, NULL);
}
/* dkeys[key][d] += sum over queries of dscores[key][query] queries[query][d] */
static void add_queries(float *restrict dkeys, size_t width, size_t keys,
                        const float *restrict dscores, const float *restrict rows, size_t queries)
{
    for (size_t d = 0; d < width; d += PANEL)
        times(queries_big, queries_small, keys, dscores, QUERIES, QUERIES, rows + d, width,
              dkeys + d, width, queries, NULL);
}

/* ---- copies ---- */

/* to[rows, width] = from, the rest of `padded` rows and of each row zeros */
static void copy_rows(float *restrict to, size_t width, size_t padded, const void *restrict from,
                      size_t stride, size_t rows, size_t dims, bool is_bf16)
{
    for (size_t r = 0; r < rows; r++) {
        float *restrict out = to + r * width;
        size_t d = 0;
        if (is_bf16) {
            const uint16_t *restrict in = (const uint16_t *)from + r * stride;
            for (; d + WT_LANES <= dims; d += WT_LANES)
                wt_store(out + d, wt_load_bf16(in + d));
            for (; d < dims; d++)
                out[d] = wt_float_from_bf16(in[d]);
        } else {
            const float *restrict in = (const float *)from + r * stride;
            for (; d + WT_LANES <= dims; d += WT_LANES)
                wt_store(out + d, wt_load(in + d));
            for (; d < dims; d++)
                out[d] = in[d];
        }
        for (; d < width; d++)
            out[d] = 0;
    }
    memset(to + rows * width, 0, (padded - rows) * width * sizeof(float));
}

static void write_rows(void *restrict to, size_t stride, const float *restrict from, size_t width,
                       size_t rows, size_t dims, float scale, bool is_bf16)
{
    for (size_t r = 0; r < rows; r++) {
        const float *restrict in = from + r * width;
        size_t d = 0;
        if (is_bf16) {
            uint16_t *restrict out = (uint16_t *)to + r * stride;
            for (; d + WT_LANES <= dims; d += WT_LANES)
                wt_store_bf16(out + d, wt_load(in + d) * scale);
            for (; d < dims; d++)
                out[d] = wt_bf16_from(in[d] * scale);
        } else {
            float *restrict out = (float *)to + r * stride;
            for (; d + WT_LANES <= dims; d += WT_LANES)
                wt_store(out + d, wt_load(in + d) * scale);
            for (; d < dims; d++)
                out[d] = in[d] * scale;
        }
    }
}

/* to[d][query] of a panel, scaled, from[query][d]; dims a multiple of 4 */
static void to_panel(float *restrict to, const float *restrict from, size_t width, size_t dims,
                     float scale)
{
    for (size_t d = 0; d < dims; d += 4) {
        for (size_t q = 0; q < PANEL; q += 4)
            wt_transpose4(to + d * PANEL + q, PANEL, from + q * width + d, width);
        for (size_t i = 0; i < 4 * PANEL; i += WT_LANES)
            wt_store(to + d * PANEL + i, wt_load(to + d * PANEL + i) * scale);
    }
}
static void from_panel(float *restrict to, size_t width, const float *restrict from, size_t dims)
{
    for (size_t q = 0; q < PANEL; q += 4)
        for (size_t d = 0; d < dims; d += 4)
            wt_transpose4(to + q * width + d, width, from + d * PANEL + q, PANEL);
}

/* ---- dropout ---- */

struct drops {
    bool is_on;
    uint32_t below, low_key, high_key;
    float keep;
};
static struct drops drops_of(const struct wt_dropout *drop)
{
    return (struct drops){
        .is_on = drop->p > 0,
        .below = wt_dropout_below(drop->p),
        .low_key = (uint32_t)drop->key,
        .high_key = (uint32_t)(drop->key >> 32),
        .keep = 1.0f / (1.0f - drop->p),
    };
}
/* The index of (query, key 0 of the tile) in each lane of a panel. */
static void drop_indices(uint32_t *restrict low, uint32_t *restrict high, const struct wt_attend *a,
                         size_t query, size_t key)
{
    for (size_t i = 0; i < PANEL; i++) {
        uint64_t at = a->drop_first + (query + i) * a->drop_stride + key;
        low[i] = (uint32_t)at;
        high[i] = (uint32_t)(at >> 32);
    }
}
/* wt_dropout_bits() of random.h, lane by lane: where a weight is kept. */
WT_INLINE wt_vi is_kept(const struct drops *drops, wt_vu low, wt_vu high, uint32_t key)
{
    wt_vu at = low + key;
    high -= (wt_vu)(at < low); /* carry: true is -1 */
    wt_vu h = at ^ drops->low_key;
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h += high + drops->high_key;
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    h ^= h >> 16;
    return (wt_vi)(h >= drops->below);
}

/* ---- forward ---- */

static wt_vi lane_numbers(void)
{
    wt_vi lanes = {0};
    for (int i = 0; i < WT_LANES; i++)
        lanes[i] = i;
    return lanes;
}

struct running {
    float top[PANEL], sum[PANEL], scale[PANEL]; /* of the queries of a panel */
};

/* Scores [keys][PANEL] to weights, relative to the largest score so far, which may grow: scale is
 * what earlier weights have to be multiplied by. `diagonal`: the last key that the panel's first
 * query sees, counted from the tile's first; only asked where is_diagonal. */
WT_INLINE void weigh(float *restrict scores, size_t keys, struct running *restrict run,
                     bool is_diagonal, int diagonal, const struct drops *drops,
                     const uint32_t *restrict low, const uint32_t *restrict high)
{
    for (int v = 0; v < PANEL; v += WT_LANES) {
        wt_vi last = lane_numbers() + v + diagonal;
        wt_vf before = wt_load(run->top + v), top = before;
        for (size_t k = 0; k < keys; k++) {
            wt_vf s = wt_load(scores + k * PANEL + v);
            if (is_diagonal)
                s = wt_choose((int32_t)k <= last, s, wt_all(LOWEST));
            top = wt_larger(s, top);
        }
        wt_vf scale = wt_exp2(before - top), sum = wt_load(run->sum + v) * scale;
        wt_vu lows = {0}, highs = {0};
        if (drops) {
            memcpy(&lows, low + v, sizeof(lows));
            memcpy(&highs, high + v, sizeof(highs));
        }
        for (size_t k = 0; k < keys; k++) {
            wt_vf w = wt_exp2(wt_load(scores + k * PANEL + v) - top);
            if (is_diagonal)
                w = wt_choose((int32_t)k <= last, w, (wt_vf){0});
            sum += w;
            if (drops)
                w = wt_choose(is_kept(drops, lows, highs, (uint32_t)k), w * drops->keep,
                              (wt_vf){0});
            wt_store(scores + k * PANEL + v, w);
        }
        wt_store(run->top + v, top);
        wt_store(run->sum + v, sum);
        wt_store(run->scale + v, scale);
    }
}
NOINLINE void weigh_all(float *restrict scores, size_t keys, struct running *restrict run)
{
    weigh(scores, keys, run, false, 0, NULL, NULL, NULL);
}
NOINLINE void weigh_some(float *restrict scores, size_t keys, struct running *restrict run,
                         int diagonal)
{
    weigh(scores, keys, run, true, diagonal, NULL, NULL, NULL);
}
NOINLINE void weigh_dropped(float *restrict scores, size_t keys, struct running *restrict run,
                            bool is_diagonal, int diagonal, const struct drops *drops,
                            const uint32_t *restrict low, const uint32_t *restrict high)
{
    if (is_diagonal)
        weigh(scores, keys, run, true, diagonal, drops, low, high);
    else
        weigh(scores, keys, run, false, 0, drops, low, high);
}

static size_t width_of(size_t head, size_t panel)
{
    return rounded_up(head, panel);
}
static float *aligned(void *scratch)
{
    return (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
}

/* Queries from..from + count - 1, at most BLOCK. */
static void forward_block(const struct wt_attend *a, size_t from, size_t count, float *restrict at)
{
    size_t width = width_of(a->head, PANEL), dims = rounded_up(a->head, 4);
    size_t bytes = a->is_bf16 ? 2 : 4, panels = (count + PANEL - 1) / PANEL;
    float *restrict keys = at, *restrict values = keys + KEYS * width;
    float *restrict weights = values + KEYS * width, *restrict rows = weights + KEYS * PANEL;
    float *restrict queries = rows + PANEL * width, *restrict context = queries + BLOCK * width;
    struct running run[BLOCK / PANEL];
    struct drops drops = drops_of(&a->drop);

    for (size_t p = 0; p < panels; p++) {
        size_t first = p * PANEL;
        copy_rows(rows, width, PANEL, (const char *)a->q + (from + first) * a->stride * bytes,
                  a->stride, smaller(PANEL, count - first), a->head, a->is_bf16);
        to_panel(queries + first * dims, rows, width, dims, LOG2_E / sqrtf((float)a->head));
        for (size_t i = 0; i < PANEL; i++) {
            run[p].top[i] = LOWEST;
            run[p].sum[i] = 0;
        }
    }
    memset(context, 0, panels * PANEL * dims * sizeof(float));

    size_t end = a->is_causal ? smaller(a->length, from + count) : a->length;
    for (size_t key = 0; key < end; key += KEYS) {
        size_t n = smaller(KEYS, end - key);
        copy_rows(keys, width, rounded_up(n, 4), (const char *)a->k + key * a->stride * bytes,
                  a->stride, n, a->head, a->is_bf16);
        copy_rows(values, width, rounded_up(n, 4), (const char *)a->v + key * a->stride * bytes,
                  a->stride, n, a->head, a->is_bf16);
        for (size_t p = 0; p < panels; p++) {
            size_t query = from + p * PANEL, seen = n;
            bool is_diagonal = false;
            if (a->is_causal) {
                if (key >= query + PANEL)
                    continue;
                seen = smaller(n, query + PANEL - key);
                is_diagonal = key + seen > query + 1;
            }
            int diagonal = (int)((ptrdiff_t)query - (ptrdiff_t)key);
            scores_of(weights, PANEL, keys, width, rounded_up(seen, 4), queries + p * PANEL * dims,
                      a->head);
            if (drops.is_on) {
                uint32_t low[PANEL], high[PANEL];
                drop_indices(low, high, a, query, key);
                weigh_dropped(weights, seen, &run[p], is_diagonal, diagonal, &drops, low, high);
            } else if (is_diagonal) {
                weigh_some(weights, seen, &run[p], diagonal);
            } else {
                weigh_all(weights, seen, &run[p]);
            }
            add_values(context + p * PANEL * dims, dims, values, width, weights, seen,
                       run[p].scale);
        }
    }

    for (size_t p = 0; p < panels; p++) {
        size_t first = p * PANEL, n = smaller(PANEL, count - first);
        float *restrict panel = context + first * dims;
        for (size_t v = 0; v < PANEL; v += WT_LANES) {
            wt_vf inverse = 1.0f / wt_load(run[p].sum + v);
            for (size_t d = 0; d < dims; d++)
                wt_store(panel + d * PANEL + v, wt_load(panel + d * PANEL + v) * inverse);
        }
        from_panel(rows, width, panel, dims);
        write_rows((char *)a->context + (from + first) * a->context_stride * bytes,
                   a->context_stride, rows, width, n, a->head, 1, a->is_bf16);
        if (a->lse)
            for (size_t i = 0; i < n; i++)
                a->lse[from + first + i] = run[p].top[i] * LN_2 + logf(run[p].sum[i]);
    }
}

static void forward(const struct wt_attend *a, size_t from, size_t to, void *scratch)
{
    for (size_t q = from; q < to; q += BLOCK)
        forward_block(a, q, smaller(BLOCK, to - q), aligned(scratch));
}

/* ---- backward ---- */

/* weights [keys][QUERIES] come as scores, dscores as d(context) v': to the weights (dropped, as dv
 * takes them) and the scores' gradient. lse in units of log2(e). */
WT_INLINE void weigh_back(float *restrict weights, float *restrict dscores, size_t keys,
                          const float *restrict lse, const float *restrict delta, bool is_diagonal,
                          int diagonal, const struct drops *drops, const uint32_t *restrict low,
                          const uint32_t *restrict high)
{
    for (int v = 0; v < PANEL; v += WT_LANES) {
        wt_vi last = lane_numbers() + v + diagonal;
        wt_vf top = wt_load(lse + v), less = wt_load(delta + v);
        wt_vu lows = {0}, highs = {0};
        if (drops) {
            memcpy(&lows, low + v, sizeof(lows));
            memcpy(&highs, high + v, sizeof(highs));
        }
        for (size_t k = 0; k < keys; k++) {
            wt_vf w = wt_exp2(wt_load(weights + k * QUERIES + v) - top), kept = w;
            if (is_diagonal)
                w = kept = wt_choose((int32_t)k <= last, w, (wt_vf){0});
            wt_vf d = wt_load(dscores + k * QUERIES + v);
            if (drops) {
                wt_vi is = is_kept(drops, lows, highs, (uint32_t)k);
                kept = wt_choose(is, w * drops->keep, (wt_vf){0});
                d = wt_choose(is, d * drops->keep, (wt_vf){0});
            }
            wt_store(weights + k * QUERIES + v, kept);
            wt_store(dscores + k * QUERIES + v, w * (d - less));
        }
    }
}
NOINLINE void weigh_back_all(float *restrict weights, float *restrict dscores, size_t keys,
                             const float *restrict lse, const float *restrict delta)
{
    weigh_back(weights, dscores, keys, lse, delta, false, 0, NULL, NULL, NULL);
}
NOINLINE void weigh_back_some(float *restrict weights, float *restrict dscores, size_t keys,
                              const float *restrict lse, const float *restrict delta, int diagonal)
{
    weigh_back(weights, dscores, keys, lse, delta, true, diagonal, NULL, NULL, NULL);
}
NOINLINE void weigh_back_dropped(float *restrict weights, float *restrict dscores, size_t keys,
                                 const float *restrict lse, const float *restrict delta,
                                 bool is_diagonal, int diagonal, const struct drops *drops,
                                 const uint32_t *restrict low, const uint32_t *restrict high)
{
    if (is_diagonal)
        weigh_back(weights, dscores, keys, lse, delta, true, diagonal, drops, low, high);
    else
        weigh_back(weights, dscores, keys, lse, delta, false, 0, drops, low, high);
}

static void backward(const struct wt_attend *a, const struct wt_attend_grad *g, void *scratch)
{
    size_t width = width_of(a->head, PANEL), dims = rounded_up(a->head, 4), length = a->length;
    size_t bytes = a->is_bf16 ? 2 : 4, padded = rounded_up(length, PANEL);
    /* Of all queries: as rows (for dk, dv) and transposed (for scores and dq). */
    float *restrict q_rows = aligned(scratch), *restrict d_rows = q_rows + padded * width;
    float *restrict q_panels = d_rows + padded * width, *restrict d_panels =
                                                            q_panels + padded * dims;
    float *restrict dq = d_panels + padded * dims, *restrict lse = dq + padded * dims;
    float *restrict delta = lse + padded;
    /* Of a tile. */
    float *restrict keys = delta + padded, *restrict values = keys + KEYS * width;
    float *restrict dkeys = values + KEYS * width, *restrict dvalues = dkeys + KEYS * width;
    float *restrict weights = dvalues + KEYS * width, *restrict dscores = weights + KEYS * QUERIES;
    struct drops drops = drops_of(&a->drop);
    float root = 1 / sqrtf((float)a->head);

    copy_rows(q_rows, width, padded, a->context, a->context_stride, length, a->head, a->is_bf16);
    copy_rows(d_rows, width, padded, g->dcontext, a->context_stride, length, a->head, a->is_bf16);
    for (size_t r = 0; r < padded; r++) {
        wt_vf sum = {0};
        for (size_t d = 0; d < width; d += WT_LANES)
            sum += wt_load(q_rows + r * width + d) * wt_load(d_rows + r * width + d);
        delta[r] = wt_sums(sum, sum, sum, sum)[0];
        lse[r] = r < length ? a->lse[r] * LOG2_E : 0;
    }
    copy_rows(q_rows, width, padded, a->q, a->stride, length, a->head, a->is_bf16);
    for (size_t q = 0; q < padded; q += PANEL) {
        to_panel(q_panels + q * dims, q_rows + q * width, width, dims, root * LOG2_E);
        to_panel(d_panels + q * dims, d_rows + q * width, width, dims, 1);
    }
    memset(dq, 0, padded * dims * sizeof(float));

    for (size_t key = 0; key < length; key += KEYS) {
        size_t n = smaller(KEYS, length - key), n4 = rounded_up(n, 4);
        copy_rows(keys, width, n4, (const char *)a->k + key * a->stride * bytes, a->stride, n,
                  a->head, a->is_bf16);
        copy_rows(values, width, n4, (const char *)a->v + key * a->stride * bytes, a->stride, n,
                  a->head, a->is_bf16);
        memset(dkeys, 0, 2 * KEYS * width * sizeof(float));
        /* Queries before the tile's first key do not see it (KEYS is a multiple of PANEL). */
        for (size_t tile = a->is_causal ? key : 0; tile < padded; tile += QUERIES) {
            size_t queries = smaller(QUERIES, padded - tile);
            for (size_t p = 0; p < queries; p += PANEL) {
                size_t query = tile + p, seen = n;
                bool is_diagonal = false;
                if (a->is_causal) {
                    seen = smaller(n, query + PANEL - key);
                    is_diagonal = key + seen > query + 1;
                }
                int diagonal = (int)((ptrdiff_t)query - (ptrdiff_t)key);
                float *restrict w = weights + p, *restrict d = dscores + p;
                scores_of(w, QUERIES, keys, width, rounded_up(seen, 4), q_panels + query * dims,
                          a->head);
                scores_of(d, QUERIES, values, width, rounded_up(seen, 4), d_panels + query * dims,
                          a->head);
                if (drops.is_on) {
                    uint32_t low[PANEL], high[PANEL];
                    drop_indices(low, high, a, query, key);
                    weigh_back_dropped(w, d, seen, lse + query, delta + query, is_diagonal,
                                       diagonal, &drops, low, high);
                } else if (is_diagonal) {
                    weigh_back_some(w, d, seen, lse + query, delta + query, diagonal);
                } else {
                    weigh_back_all(w, d, seen, lse + query, delta + query);
                }
                for (size_t k = seen; k < n4; k++)
                    for (size_t i = 0; i < PANEL; i++)
                        w[k * QUERIES + i] = d[k * QUERIES + i] = 0;
                add_keys(dq + query * dims, dims, keys, width, d, seen);
            }
            add_queries(dvalues, width, n4, weights, d_rows + tile * width, queries);
            add_queries(dkeys, width, n4, dscores, q_rows + tile * width, queries);
        }
        write_rows((char *)g->dk + key * a->stride * bytes, a->stride, dkeys, width, n, a->head,
                   root, a->is_bf16);
        write_rows((char *)g->dv + key * a->stride * bytes, a->stride, dvalues, width, n, a->head,
                   1, a->is_bf16);
    }

    for (size_t q = 0; q < length; q += PANEL) {
        from_panel(q_rows, width, dq + q * dims, dims);
        write_rows((char *)g->dq + q * a->stride * bytes, a->stride, q_rows, width,
                   smaller(PANEL, length - q), a->head, root, a->is_bf16);
    }
}

/* ---- one token ---- */

/* Four rows at a time, one of each quarter of the sequence: of all heads together these are four
 * long streams from memory, which the processor's own prefetching follows best. Score 4 i + r of a
 * tile is that of row i of quarter r. */
static inline float value_at(const void *at, size_t i, bool is_bf16)
{
    return is_bf16 ? wt_float_from_bf16(((const uint16_t *)at)[i]) : ((const float *)at)[i];
}
WT_INLINE wt_vf vector_at(const void *at, size_t i, bool is_bf16)
{
    return is_bf16 ? wt_load_bf16((const uint16_t *)at + i) : wt_load((const float *)at + i);
}

enum { AHEAD = 1024 }; /* bytes */
WT_INLINE void fetch_four(const void *const rows[4], size_t at, size_t head, size_t bytes)
{
    for (size_t i = 0; i < head * bytes; i += 64)
        for (size_t r = 0; r < 4; r++)
            __builtin_prefetch((const char *)rows[r] + at * bytes + i + AHEAD);
}
/* scores[0..3] of rows 0..3 */
WT_INLINE void score_four(float *restrict scores, const float *restrict q,
                          const void *const rows[4], size_t at, size_t head, bool is_bf16,
                          bool has_rest)
{
    wt_vf sum[4] = {{0}, {0}, {0}, {0}};
    size_t d = 0;
    for (; d + WT_LANES <= head; d += WT_LANES)
        for (int r = 0; r < 4; r++)
            sum[r] += wt_load(q + d) * vector_at(rows[r], at + d, is_bf16);
    wt_f4 sums = wt_sums(sum[0], sum[1], sum[2], sum[3]);
    for (; has_rest && d < head; d++)
        for (int r = 0; r < 4; r++)
            sums[r] += q[d] * value_at(rows[r], at + d, is_bf16);
    memcpy(scores, &sums, sizeof(sums));
}
/* context += weights of rows 0..3 */
WT_INLINE void add_four(float *restrict context, const float *restrict weights,
                        const void *const rows[4], size_t at, size_t head, bool is_bf16,
                        bool has_rest)
{
    size_t d = 0;
    for (; d + WT_LANES <= head; d += WT_LANES) {
        wt_vf sum = wt_load(context + d);
        for (int r = 0; r < 4; r++)
            sum += weights[r] * vector_at(rows[r], at + d, is_bf16);
        wt_store(context + d, sum);
    }
    for (; has_rest && d < head; d++)
        for (int r = 0; r < 4; r++)
            context[d] += weights[r] * value_at(rows[r], at + d, is_bf16);
}

static const void *row_of(const void *rows, const struct wt_attend_decode *d, size_t row,
                          size_t bytes)
{
    return (const char *)rows + smaller(row, d->length - 1) * d->stride * bytes;
}

WT_INLINE void decode_as(const struct wt_attend_decode *d, float *restrict scratch, bool is_bf16,
                         bool has_rest)
{
    size_t count = d->count, head = d->head, all = count * head, bytes = is_bf16 ? 2 : 4;
    float *restrict q = scratch, *restrict context = q + all, *restrict scores = context + all;
    float *restrict top = scores + count * KEYS, *restrict sum = top + count;
    float root = LOG2_E / sqrtf((float)head);
    for (size_t i = 0; i < all; i++) {
        q[i] = value_at(d->q, i, is_bf16) * root;
        context[i] = 0;
    }
    for (size_t h = 0; h < count; h++) {
        top[h] = LOWEST;
        sum[h] = 0;
    }
    size_t quarter = (d->length + 3) / 4;
    for (size_t first = 0; first < quarter; first += KEYS / 4) {
        size_t n = 4 * smaller(KEYS / 4, quarter - first);
        for (size_t k = 0; k < n; k += 4) {
            const void *rows[4]; /* past the end: the last again, with weight 0 below */
            for (size_t r = 0; r < 4; r++)
                rows[r] = row_of(d->keys, d, r * quarter + first + k / 4, bytes);
            for (size_t h = 0; h < count; h++) {
                fetch_four(rows, h * head, head, bytes);
                score_four(scores + h * KEYS + k, q + h * head, rows, h * head, head, is_bf16,
                           has_rest);
            }
        }
        for (size_t h = 0; h < count; h++) {
            float *restrict s = scores + h * KEYS, before = top[h];
            /* Quarters are rounded up, by three rows in all at most. */
            for (size_t k = 0; first + KEYS / 4 + 3 >= quarter && k < KEYS; k++)
                if (k >= n || k % 4 * quarter + first + k / 4 >= d->length)
                    s[k] = LOWEST;
            wt_vf tops = wt_all(before), sums = {0};
            for (size_t k = 0; k < KEYS; k += WT_LANES)
                tops = wt_larger(wt_load(s + k), tops);
            for (int i = 0; i < WT_LANES; i++)
                top[h] = tops[i] > top[h] ? tops[i] : top[h];
            for (size_t k = 0; k < KEYS; k += WT_LANES) {
                wt_vf w = wt_exp2(wt_load(s + k) - top[h]);
                w = wt_choose(wt_load(s + k) == LOWEST, (wt_vf){0}, w);
                sums += w;
                wt_store(s + k, w);
            }
            float scale = wt_exp2(wt_all(before - top[h]))[0];
            sum[h] = sum[h] * scale + wt_sums(sums, sums, sums, sums)[0];
            for (size_t i = 0; i < head; i++)
                context[h * head + i] *= scale;
        }
        for (size_t k = 0; k < n; k += 4) {
            const void *rows[4];
            for (size_t r = 0; r < 4; r++)
                rows[r] = row_of(d->values, d, r * quarter + first + k / 4, bytes);
            for (size_t h = 0; h < count; h++) {
                fetch_four(rows, h * head, head, bytes);
                add_four(context + h * head, scores + h * KEYS + k, rows, h * head, head, is_bf16,
                         has_rest);
            }
        }
    }
    for (size_t h = 0; h < count; h++)
        write_rows((char *)d->context + h * head * bytes, head, context + h * head, head, 1, head,
                   1 / sum[h], is_bf16);
}

static void decode(const struct wt_attend_decode *d, void *scratch)
{
    bool has_rest = d->head % WT_LANES != 0; /* where not, less stands between a row and the next */
    if (d->is_bf16 && has_rest)
        decode_as(d, aligned(scratch), true, true);
    else if (d->is_bf16)
        decode_as(d, aligned(scratch), true, false);
    else if (has_rest)
        decode_as(d, aligned(scratch), false, true);
    else
        decode_as(d, aligned(scratch), false, false);
}

const struct wt_attend_kernels WT_ATTEND = {
    .name = WT_SET_NAME,
    .forward = forward,
    .backward = backward,
    .decode = decode,
};
