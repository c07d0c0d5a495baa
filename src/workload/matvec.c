/* Products of few rows, and in 8-bit integers; compiled once for each instruction set with
 * WT_MATVEC naming the table and WT_SET_NAME its name.
 *
 * Floats: four rows of weights at a time against a few rows of x, lanes along `in`; so a row of
 * weights is read once from memory, and from the first cache for further rows of x. The four rows
 * are one of each quarter of the range: four long streams, which the processor's own prefetching
 * follows better than four neighbours and then the next four. Integers: lanes
 * are output columns, four values of k in each, as the instructions for them want it; sums need no
 * step across lanes, and few rows and many take the same way. */
#include <math.h>

#include "workload/matvec.h"
#include "workload/vector.h"

extern const struct wt_matvec_kernels WT_MATVEC;

enum {
    ROWS = 4,     /* of weights at a time */
    FEW = 16,     /* rows of x for which weights are read once */
    COLUMNS = 64, /* of y that are finished together */
    STRETCH = COLUMNS / ROWS,
    /* Bytes fetched ahead: for integers further is slower by a tenth (Zen 3, one row). */
    AHEAD = 1024,
    AHEAD_INTEGERS = 384,
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- what follows a product ---- */

WT_INLINE wt_vf exp_of(wt_vf x)
{
    return wt_exp2(wt_smaller(wt_all(87.0f), x) * 1.44269504f);
}

WT_INLINE wt_vf normal_cdf(wt_vf x)
{
    x = wt_larger(wt_all(-WT_CDF_END), wt_smaller(wt_all(WT_CDF_END), x));
    return WT_CDF_INSIDE(x, x * x);
}

WT_INLINE wt_vf tanh_of(wt_vf x)
{
    wt_vf large = 1.0f - 2.0f / (1.0f + exp_of(2 * x)), square = x * x;
    wt_vf small = wt_all(-17.0f / 315);
    small = small * square + 2.0f / 15;
    small = small * square - 1.0f / 3;
    small = x + x * square * small;
    return wt_choose(square < 0.0625f, small, large);
}

WT_INLINE wt_vf followed(wt_vf x, enum wt_nonlinearity f)
{
    switch (f) {
    case WT_GELU_ERF:
        return x * normal_cdf(x);
    case WT_GELU_TANH: /* 0.5 (1 + tanh u) = 1 / (1 + exp(-2 u)) */
        return x / (1.0f + exp_of(-1.595769122f * (x + 0.044715f * x * x * x)));
    case WT_TANH:
        return tanh_of(x);
    case WT_RELU: /* a NaN stays one */
        return wt_larger((wt_vf){0}, x);
    default:
        return x;
    }
}

/* The first n, zeros behind them. */
WT_INLINE wt_vf load_some(const float *at, size_t n)
{
    if (n == WT_LANES)
        return wt_load(at);
    float some[WT_LANES] = {0};
    memcpy(some, at, n * sizeof(float));
    return wt_load(some);
}

WT_INLINE void store_some(float *at, wt_vf v, size_t n)
{
    if (n == WT_LANES) {
        wt_store(at, v);
        return;
    }
    float some[WT_LANES];
    wt_store(some, v);
    memcpy(at, some, n * sizeof(float));
}

WT_INLINE void finish_as(void *restrict y, const float *restrict sums, const float *restrict bias,
                         size_t n, enum wt_nonlinearity f, bool is_bf16)
{
    for (size_t i = 0; i < n; i += WT_LANES) {
        size_t here = smaller(WT_LANES, n - i);
        wt_vf v = load_some(sums + i, here);
        if (bias)
            v += load_some(bias + i, here);
        v = followed(v, f);
        if (is_bf16) {
            uint16_t out[WT_LANES];
            wt_store_bf16(out, v);
            memcpy((uint16_t *)y + i, out, here * sizeof(*out));
        } else {
            store_some((float *)y + i, v, here);
        }
    }
}

/* A call for each nonlinearity F, with a loop of its own. */
#define CASE_OF(KIND, CALL)                                                                        \
    case KIND: {                                                                                   \
        const enum wt_nonlinearity F = KIND;                                                       \
        CALL;                                                                                      \
        break;                                                                                     \
    }
#define FOR_EACH_F(f, CALL)                                                                        \
    switch (f) {                                                                                   \
        CASE_OF(WT_IDENTITY, CALL)                                                                 \
        CASE_OF(WT_GELU_ERF, CALL)                                                                 \
        CASE_OF(WT_GELU_TANH, CALL)                                                                \
        CASE_OF(WT_TANH, CALL)                                                                     \
        CASE_OF(WT_RELU, CALL)                                                                     \
    }

/* y[0..n) = f(sums + bias) */
static void finish(void *restrict y, const float *restrict sums, const float *restrict bias,
                   size_t n, enum wt_nonlinearity f, bool is_bf16)
{
    FOR_EACH_F(f, finish_as(y, sums, bias, n, F, is_bf16))
}

/* ---- floats and bfloat16 ---- */

/* Rows of x at a time, as registers allow: 16 or 32 of them. */
enum {
    FLOATS_MOST = WT_LANES == 16  ? 5
                  : WT_LANES == 8 ? 3
                                  : 2,
#ifdef __AVX512BF16__
    HALVES_MOST = 5,
#else
    HALVES_MOST = WT_LANES == 16  ? 3
                  : WT_LANES == 8 ? 2
                                  : 1,
#endif
};

/* sums[j * COLUMNS + r * STRETCH] of ROWS rows of w, `rows` of x. */
WT_INLINE void floats(size_t rows, float *restrict sums, const void *const w_rows[ROWS],
                      const void *restrict x_rows, size_t in)
{
    const float *w[ROWS] = {w_rows[0], w_rows[1], w_rows[2], w_rows[3]};
    const float *restrict x = x_rows;
    wt_vf sum[ROWS][FLOATS_MOST];
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
            sum[r][j] = (wt_vf){0};
    size_t k = 0;
    for (; k + WT_LANES <= in; k += WT_LANES) {
        wt_vf a[FLOATS_MOST];
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
            a[j] = wt_load(x + j * in + k);
#pragma GCC unroll 8
        for (size_t r = 0; r < ROWS; r++) {
            wt_vf b = wt_load(w[r] + k);
            __builtin_prefetch((const char *)(w[r] + k) + AHEAD);
#pragma GCC unroll 8
            for (size_t j = 0; j < rows; j++)
                sum[r][j] += a[j] * b;
        }
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < rows; j++) {
        wt_f4 all = wt_sums(sum[0][j], sum[1][j], sum[2][j], sum[3][j]);
        for (size_t r = 0; r < ROWS; r++)
            sums[j * COLUMNS + r * STRETCH] = all[r];
    }
    for (; k < in; k++)
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
#pragma GCC unroll 8
            for (size_t r = 0; r < ROWS; r++)
                sums[j * COLUMNS + r * STRETCH] += x[j * in + k] * w[r][k];
}

WT_INLINE void halves(size_t rows, float *restrict sums, const void *const w_rows[ROWS],
                      const void *restrict x_rows, size_t in)
{
    const uint16_t *w[ROWS] = {w_rows[0], w_rows[1], w_rows[2], w_rows[3]};
    const uint16_t *restrict x = x_rows;
    wt_vf sum[ROWS][HALVES_MOST];
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
            sum[r][j] = (wt_vf){0};
    size_t k = 0;
    for (; k + 2 * WT_LANES <= in; k += 2 * WT_LANES) {
#ifdef __AVX512BF16__
        __m512bh a[HALVES_MOST];
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
            a[j] = (__m512bh)_mm512_loadu_si512(x + j * in + k);
#pragma GCC unroll 8
        for (size_t r = 0; r < ROWS; r++) {
            __m512bh b = (__m512bh)_mm512_loadu_si512(w[r] + k);
            __builtin_prefetch((const char *)(w[r] + k) + AHEAD);
#pragma GCC unroll 8
            for (size_t j = 0; j < rows; j++)
                sum[r][j] = (wt_vf)_mm512_dpbf16_ps((__m512)sum[r][j], b, a[j]);
        }
#else
        /* Of two neighbours in 32 bits one is widened by a shift, one by a mask. */
        wt_vf even[HALVES_MOST], odd[HALVES_MOST];
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++) {
            wt_vu a = *(const wt_vu_at *)(x + j * in + k);
            even[j] = (wt_vf)(a << 16);
            odd[j] = (wt_vf)(a & 0xffff0000u);
        }
#pragma GCC unroll 8
        for (size_t r = 0; r < ROWS; r++) {
            wt_vu b = *(const wt_vu_at *)(w[r] + k);
            __builtin_prefetch((const char *)(w[r] + k) + AHEAD);
#pragma GCC unroll 8
            for (size_t j = 0; j < rows; j++) {
                sum[r][j] += even[j] * (wt_vf)(b << 16);
                sum[r][j] += odd[j] * (wt_vf)(b & 0xffff0000u);
            }
        }
#endif
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < rows; j++) {
        wt_f4 all = wt_sums(sum[0][j], sum[1][j], sum[2][j], sum[3][j]);
        for (size_t r = 0; r < ROWS; r++)
            sums[j * COLUMNS + r * STRETCH] = all[r];
    }
    for (; k < in; k++)
#pragma GCC unroll 8
        for (size_t j = 0; j < rows; j++)
#pragma GCC unroll 8
            for (size_t r = 0; r < ROWS; r++)
                sums[j * COLUMNS + r * STRETCH] +=
                    wt_float_from_bf16(x[j * in + k]) * wt_float_from_bf16(w[r][k]);
}

#define FEW_ROWS(KIND, N)                                                                          \
    static __attribute__((noinline)) void KIND##_##N(                                              \
        float *restrict sums, const void *const w[ROWS], const void *restrict x, size_t in)        \
    {                                                                                              \
        KIND(N, sums, w, x, in);                                                                   \
    }
typedef void (*few_rows_fn)(float *restrict sums, const void *const w[ROWS], const void *restrict x,
                            size_t in);
FEW_ROWS(floats, 1)
FEW_ROWS(floats, 2)
FEW_ROWS(halves, 1)
#if WT_LANES > 4
FEW_ROWS(floats, 3)
FEW_ROWS(halves, 2)
#endif
#if WT_LANES > 8
FEW_ROWS(floats, 4)
FEW_ROWS(floats, 5)
FEW_ROWS(halves, 3)
#endif
#ifdef __AVX512BF16__
FEW_ROWS(halves, 4)
FEW_ROWS(halves, 5)
#endif
static const few_rows_fn floats_of[] = {
    floats_1, floats_2,
#if WT_LANES > 4
    floats_3,
#endif
#if WT_LANES > 8
    floats_4, floats_5,
#endif
};
static const few_rows_fn halves_of[] = {
    halves_1,
#if WT_LANES > 4
    halves_2,
#endif
#if WT_LANES > 8
    halves_3,
#endif
#ifdef __AVX512BF16__
    halves_4, halves_5,
#endif
};

static void product(const struct wt_matvec *v, size_t from, size_t to)
{
    const few_rows_fn *fns = v->is_bf16 ? halves_of : floats_of;
    size_t bytes = v->is_bf16 ? 2 : 4, most = v->is_bf16 ? HALVES_MOST : FLOATS_MOST;
    size_t line = v->in * bytes, y_bytes = v->is_bf16_y ? 2 : 4;
    for (size_t first = 0; first < v->m; first += FEW) {
        size_t rows = smaller(FEW, v->m - first);
        size_t quarter = (to - from + ROWS - 1) / ROWS;
        for (size_t c = 0; c < quarter; c += STRETCH) {
            size_t columns = smaller(STRETCH, quarter - c);
            float sums[FEW * COLUMNS];
            for (size_t i = 0; i < columns; i++) {
                const void *w[ROWS]; /* past the end: the last again */
                for (size_t r = 0; r < ROWS; r++)
                    w[r] = (const char *)v->w + smaller(from + r * quarter + c + i, to - 1) * line;
                for (size_t j = 0, n; j < rows; j += n) {
                    n = smaller(most, rows - j);
                    fns[n - 1](sums + j * COLUMNS + i, w, (const char *)v->x + (first + j) * line,
                               v->in);
                }
            }
            for (size_t r = 0; r < ROWS && from + r * quarter + c < to; r++) {
                size_t column = from + r * quarter + c;
                for (size_t j = 0; j < rows; j++)
                    finish((char *)v->y + ((first + j) * v->out + column) * y_bytes,
                           sums + j * COLUMNS + r * STRETCH, v->bias ? v->bias + column : NULL,
                           smaller(columns, to - column), v->f, v->is_bf16_y);
            }
        }
    }
}

/* ---- integers ---- */

/* The least and the largest of x and 0; NaN where one is not finite. */
static void ends_of(const float *restrict x, size_t n, float *ret_low, float *ret_high)
{
    wt_vf lows = {0}, highs = {0}, bads = {0};
    size_t i = 0;
    for (; i + WT_LANES <= n; i += WT_LANES) {
        wt_vf v = wt_load(x + i);
        lows = wt_smaller(lows, v);
        highs = wt_larger(highs, v);
        bads += v * 0.0f;
    }
    float low = 0, high = 0, bad = wt_sums(bads, bads, bads, bads)[0];
    for (size_t lane = 0; lane < WT_LANES; lane++) {
        low = lows[lane] < low ? lows[lane] : low;
        high = highs[lane] > high ? highs[lane] : high;
    }
    for (; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        bad += x[i] * 0.0f;
    }
    *ret_low = low + bad;
    *ret_high = high + bad;
}
/* What values are multiplied with, given how far they reach and the steps for that; values all but
 * 0 become 0. */
static float inverse_of(float reach, float steps)
{
    return reach > 1e-30f ? steps / reach : 0;
}
static float scale_of(float reach, float steps)
{
    return reach > 1e-30f || isnan(reach) ? reach / steps : 0;
}
/* Nearest, ties to even: adding 1.5 2^23 rounds, and leaves the integer in the low bits. */
WT_INLINE int32_t nearest(float x)
{
    float shifted = x + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    return bits - 0x4b400000;
}

static void quantise_rows(struct wt_int8_rows *q, const float *x, size_t from, size_t to)
{
    size_t line = 4 * wt_int8_groups(q->in);
    for (size_t r = from; r < to; r++) {
        const float *restrict in = x + r * q->in;
        uint8_t *restrict out = q->values + r * line;
        float low, high, steps = WT_INT8_TOP;
        ends_of(in, q->in, &low, &high);
        float inverse = inverse_of(high - low, steps);
        if (inverse > 0 && nearest(high * inverse) + nearest(-low * inverse) > WT_INT8_TOP) {
            steps -= 0.25f; /* both ends lay half-way */
            inverse = inverse_of(high - low, steps);
        }
        int32_t zero = inverse > 0 ? nearest(-low * inverse) : 0;
        q->scale[r] = scale_of(high - low, steps);
        q->zero[r] = zero;
        size_t i = 0;
        for (; i + 4 * WT_LANES <= q->in; i += 4 * WT_LANES) {
            wt_vi v[4];
            for (size_t k = 0; k < 4; k++)
                v[k] = (wt_vi)(wt_load(in + i + k * WT_LANES) * inverse + 12582912.0f) -
                       (0x4b400000 - zero);
            wt_store_bytes(out + i, v);
        }
        for (; i < q->in; i++)
            out[i] = (uint8_t)(nearest(in[i] * inverse) + zero);
        memset(out + q->in, zero, line - q->in);
    }
}

/* Where no instruction adds products in 32 bits, those of two groups are added in 16 first: a fifth
 * faster than of one (Zen 3), and of three another twelfth, for coarser weights. Of one sign their
 * weights are 129 at most together, half a step of rounding each among it, and 129 * 254 fits. */
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
#define NARROW 2
enum { STEP = NARROW }; /* k-groups at a time */
#else
#define NARROW 0
enum { STEP = 1 };
#endif
/* 127 of a row's scales. */
static float top_of_weights(const float *w, size_t n)
{
    float low, high;
    ends_of(w, n, &low, &high);
    float top = high > -low ? high : -low;
    for (size_t i = 0; NARROW && i < n; i += 4 * STEP) {
        float plus[4] = {0}, minus[4] = {0};
        for (size_t k = i; k < smaller(n, i + 4 * STEP); k++) {
            plus[k % 4] += w[k] > 0 ? w[k] : 0;
            minus[k % 4] -= w[k] < 0 ? w[k] : 0;
        }
        for (size_t k = 0; k < 4; k += 2) {
            float up = plus[k] + plus[k + 1], down = minus[k] + minus[k + 1];
            float most = (up > down ? up : down) * (127.0f / (129 - NARROW));
            top = most > top ? most : top;
        }
    }
    return top;
}

static void quantise_weight(struct wt_int8_weight *q, const float *w, size_t from, size_t to)
{
    size_t groups = wt_int8_groups(q->in);
    for (size_t c = from * WT_INT8_PANEL; c < to * WT_INT8_PANEL; c++) {
        int8_t *out =
            q->values + (c / WT_INT8_PANEL * groups * WT_INT8_PANEL + c % WT_INT8_PANEL) * 4;
        bool is_there = c < q->out;
        const float *in = is_there ? w + c * q->in : NULL;
        float top = is_there ? top_of_weights(in, q->in) : 0, inverse = inverse_of(top, 127);
        int32_t sum = 0;
        for (size_t g = 0; g < groups; g++)
            for (size_t i = 0; i < 4; i++) {
                size_t k = 4 * g + i;
                int8_t value = is_there && k < q->in ? (int8_t)nearest(in[k] * inverse) : 0;
                out[g * WT_INT8_PANEL * 4 + i] = value;
                sum += value;
            }
        q->scale[c] = scale_of(top, 127);
        q->sum[c] = sum;
    }
}

/* Four values of k of a row of x beside those of as many columns as lanes: each lane gains the sum
 * of its four products. The sum of a column's weights is taken off `zero` times at the end; what is
 * too large for 32 bits in between goes round and comes back. */
#if defined(__AVX512VNNI__)
enum { LANES = 16, ROWS_MOST = 6 };
typedef __m512i ints;
typedef __m512i four;
WT_INLINE four four_of(const uint8_t *x)
{
    int32_t all;
    memcpy(&all, x, sizeof(all));
    return _mm512_set1_epi32(all);
}
WT_INLINE ints plus_dot(ints sum, four x, ints w)
{
    return _mm512_dpbusd_epi32(sum, x, w);
}
WT_INLINE ints ints_at(const void *at)
{
    return _mm512_loadu_si512(at);
}
WT_INLINE void ints_to(void *at, ints v)
{
    _mm512_storeu_si512(at, v);
}
#elif defined(__AVX2__)
enum { LANES = 8 };
typedef __m256i ints;
typedef __m256i four;
WT_INLINE four four_of(const uint8_t *x)
{
    int32_t all;
    memcpy(&all, x, sizeof(all));
    return _mm256_set1_epi32(all);
}
WT_INLINE ints ints_at(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}
WT_INLINE void ints_to(void *at, ints v)
{
    _mm256_storeu_si256((__m256i *)at, v);
}
#ifdef __AVXVNNI__
enum { ROWS_MOST = 3 };
WT_INLINE ints plus_dot(ints sum, four x, ints w)
{
    return _mm256_dpbusd_avx_epi32(sum, x, w);
}
#else
enum { ROWS_MOST = 4 };
#endif
#else
enum { LANES = 4, ROWS_MOST = 2 };
typedef uint32_t ints __attribute__((vector_size(16))); /* unsigned goes round */
typedef struct {
    uint32_t x[4];
} four;
WT_INLINE four four_of(const uint8_t *x)
{
    return (four){{x[0], x[1], x[2], x[3]}};
}
WT_INLINE ints plus_dot(ints sum, four x, ints weights)
{
    wt_i4 w = (wt_i4)weights; /* each byte with its sign in 32 bits: up to the top and down again */
    sum += (ints)(w << 24 >> 24) * x.x[0];
    sum += (ints)(w << 16 >> 24) * x.x[1];
    sum += (ints)(w << 8 >> 24) * x.x[2];
    return sum + (ints)(w >> 24) * x.x[3];
}
WT_INLINE ints ints_at(const void *at)
{
    ints v;
    memcpy(&v, at, sizeof(v));
    return v;
}
WT_INLINE void ints_to(void *at, ints v)
{
    memcpy(at, &v, sizeof(v));
}
#endif
enum {
    PARTS = WT_INT8_PANEL / LANES,
    PANEL_BYTES = WT_INT8_PANEL * 4,
    PANELS_MOST = COLUMNS / WT_INT8_PANEL,
    STRIDE = PANELS_MOST * PARTS,
    TOGETHER = 4 * ROWS_MOST /* rows that are finished together */
};

/* The products of `groups` groups, the weights of each STRIDE after those before. */
WT_INLINE ints plus_dots(ints sum, const four *x, const ints *w, size_t groups)
{
#if NARROW
    ints pairs = _mm256_maddubs_epi16(x[0], w[0]); /* see top_of_weights() */
#pragma GCC unroll 8
    for (size_t i = 1; i < groups; i++)
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(x[i], w[i * STRIDE]));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#else
    (void)groups; /* one */
    return plus_dot(sum, *x, *w);
#endif
}

WT_INLINE void add_groups(size_t rows, size_t panels, ints (*sum)[STRIDE],
                          const uint8_t *restrict x, size_t line, const int8_t *const *at, size_t g,
                          size_t groups)
{
    ints b[STEP][STRIDE];
#pragma GCC unroll 8
    for (size_t i = 0; i < groups; i++) {
#pragma GCC unroll 16
        for (size_t p = 0; p < panels * PARTS; p++)
            b[i][p] = ints_at(at[p / PARTS] + (g + i) * PANEL_BYTES + p % PARTS * LANES * 4);
#pragma GCC unroll 8
        for (size_t p = 0; p < panels; p++)
            __builtin_prefetch(at[p] + (g + i) * PANEL_BYTES + AHEAD_INTEGERS);
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < rows; j++) {
        four here[STEP];
#pragma GCC unroll 8
        for (size_t i = 0; i < groups; i++)
            here[i] = four_of(x + j * line + (g + i) * 4);
#pragma GCC unroll 16
        for (size_t p = 0; p < panels * PARTS; p++)
            sum[j][p] = plus_dots(sum[j][p], here, &b[0][p], groups);
    }
}

/* sums[j * COLUMNS + p * WT_INT8_PANEL + c]: rows of x by panels of w. */
WT_INLINE void int8_block(size_t rows, size_t panels, int32_t *restrict sums,
                          const uint8_t *restrict x, size_t line, const int8_t *const *w,
                          size_t groups)
{
    ints sum[ROWS_MOST][STRIDE];
    const int8_t *at[PANELS_MOST];
#pragma GCC unroll 8
    for (size_t p = 0; p < panels; p++)
        at[p] = w[p];
#pragma GCC unroll 8
    for (size_t j = 0; j < rows; j++)
#pragma GCC unroll 16
        for (size_t p = 0; p < panels * PARTS; p++)
            sum[j][p] = ints_at((const int32_t[WT_INT8_PANEL]){0});
    size_t g = 0;
    for (; g + STEP <= groups; g += STEP)
        add_groups(rows, panels, sum, x, line, at, g, STEP);
    for (; STEP > 1 && g < groups; g++)
        add_groups(rows, panels, sum, x, line, at, g, 1);
#pragma GCC unroll 8
    for (size_t j = 0; j < rows; j++)
#pragma GCC unroll 16
        for (size_t p = 0; p < panels * PARTS; p++)
            ints_to(sums + j * COLUMNS + p * LANES, sum[j][p]);
}
typedef void (*int8_fn)(int32_t *restrict sums, const uint8_t *restrict x, size_t line,
                        const int8_t *const *w, size_t groups);
#define INT8_BLOCK(ROWS_HERE, PANELS_HERE)                                                         \
    static __attribute__((noinline)) void int8_##ROWS_HERE##_##PANELS_HERE(                        \
        int32_t *restrict sums, const uint8_t *restrict x, size_t line, const int8_t *const *w,    \
        size_t groups)                                                                             \
    {                                                                                              \
        int8_block(ROWS_HERE, PANELS_HERE, sums, x, line, w, groups);                              \
    }
/* As many panels at once as registers allow: they are as many streams from memory. */
#if defined(__AVX512VNNI__)
INT8_BLOCK(1, 4)
INT8_BLOCK(2, 4)
INT8_BLOCK(3, 4)
INT8_BLOCK(4, 4)
INT8_BLOCK(5, 4)
INT8_BLOCK(6, 4)
static const int8_fn four_panels[] = {int8_1_4, int8_2_4, int8_3_4, int8_4_4, int8_5_4, int8_6_4};
static const int8_fn *blocks_for(size_t m, size_t *ret_panels)
{
    (void)m;
    *ret_panels = 4;
    return four_panels;
}
#elif defined(__AVXVNNI__)
INT8_BLOCK(1, 4)
INT8_BLOCK(1, 2)
INT8_BLOCK(2, 2)
INT8_BLOCK(3, 2)
static const int8_fn four_panels[] = {int8_1_4}, two_panels[] = {int8_1_2, int8_2_2, int8_3_2};
static const int8_fn *blocks_for(size_t m, size_t *ret_panels)
{
    *ret_panels = m == 1 ? 4 : 2;
    return m == 1 ? four_panels : two_panels;
}
#elif defined(__AVX2__)
INT8_BLOCK(1, 4)
INT8_BLOCK(1, 2)
INT8_BLOCK(2, 2)
INT8_BLOCK(1, 1)
INT8_BLOCK(2, 1)
INT8_BLOCK(3, 1)
INT8_BLOCK(4, 1)
static const int8_fn four_panels[] = {int8_1_4}, two_panels[] = {int8_1_2, int8_2_2};
static const int8_fn one_panel[] = {int8_1_1, int8_2_1, int8_3_1, int8_4_1};
static const int8_fn *blocks_for(size_t m, size_t *ret_panels)
{
    *ret_panels = m == 1 ? 4 : m == 2 ? 2 : 1;
    return m == 1 ? four_panels : m == 2 ? two_panels : one_panel;
}
#else
INT8_BLOCK(1, 1)
INT8_BLOCK(2, 1)
static const int8_fn one_panel[] = {int8_1_1, int8_2_1};
static const int8_fn *blocks_for(size_t m, size_t *ret_panels)
{
    (void)m;
    *ret_panels = 1;
    return one_panel;
}
#endif

/* y[row .. row + rows) of a panel from the sums of its integers. */
WT_INLINE void finish_integers_as(const struct wt_int8_product *p, const int32_t *restrict sums,
                                  size_t row, size_t rows, size_t column, enum wt_nonlinearity f)
{
    const struct wt_int8_weight *w = p->w;
    for (size_t c = 0; c < WT_INT8_PANEL && column < w->out; c += WT_LANES, column += WT_LANES) {
        size_t here = smaller(WT_LANES, w->out - column);
        wt_vu all = *(const wt_vu_at *)(w->sum + column);
        wt_vf scale = wt_load(w->scale + column), bias = {0};
        if (p->bias)
            bias = load_some(p->bias + column, here);
        for (size_t j = 0; j < rows; j++) {
            wt_vu moved = all * (uint32_t)p->x->zero[row + j];
            wt_vi sum = (wt_vi)(*(const wt_vu_at *)(sums + j * COLUMNS + c) - moved);
            wt_vf v = __builtin_convertvector(sum, wt_vf) * (scale * p->x->scale[row + j]);
            store_some(p->y + (row + j) * w->out + column, followed(v + bias, f), here);
        }
    }
}
static void finish_integers(const struct wt_int8_product *p, const int32_t *restrict sums,
                            size_t row, size_t rows, size_t column)
{
    FOR_EACH_F(p->f, finish_integers_as(p, sums, row, rows, column, F))
}

static void int8_product(const struct wt_int8_product *p, size_t from, size_t to)
{
    const struct wt_int8_weight *w = p->w;
    size_t groups = wt_int8_groups(w->in), line = 4 * groups, panels;
    const int8_fn *fns = blocks_for(p->m, &panels);
    /* As product() has it: one panel of each part of the range. */
    size_t part = (to - from + panels - 1) / panels;
    for (size_t i = 0; i < part; i++) {
        const int8_t *at[PANELS_MOST]; /* past the end: the last again */
        for (size_t k = 0; k < panels; k++)
            at[k] = w->values + smaller(from + k * part + i, to - 1) * groups * PANEL_BYTES;
        for (size_t row = 0, rows; row < p->m; row += rows) {
            int32_t sums[TOGETHER * COLUMNS];
            rows = smaller(TOGETHER, p->m - row);
            for (size_t j = 0, n; j < rows; j += n) {
                n = smaller(ROWS_MOST, rows - j);
                fns[n - 1](sums + j * COLUMNS, p->x->values + (row + j) * line, line, at, groups);
            }
            for (size_t k = 0; k < panels && from + k * part + i < to; k++)
                finish_integers(p, sums + k * WT_INT8_PANEL, row, rows,
                                (from + k * part + i) * WT_INT8_PANEL);
        }
    }
}

const struct wt_matvec_kernels WT_MATVEC = {
    .name = WT_SET_NAME,
    .narrow = NARROW,
    .product = product,
    .quantise_weight = quantise_weight,
    .quantise_rows = quantise_rows,
    .int8_product = int8_product,
};
