/* Vectors of floats as the compiler has them, as wide as the instruction set that a source is
 * compiled for; for sources compiled once for each set (attend.c, matvec.c).
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_VECTOR_H
#define WT_WORKLOAD_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifndef WT_LANES /* given: wider than the set has, to try the code of a set that is not here */
#if defined(__AVX512F__)
#define WT_LANES 16
#elif defined(__AVX2__)
#define WT_LANES 8
#else
#define WT_LANES 4
#endif
#endif

#define WT_INLINE static inline __attribute__((always_inline))

typedef float wt_vf __attribute__((vector_size(WT_LANES * 4)));
typedef int32_t wt_vi __attribute__((vector_size(WT_LANES * 4)));
typedef uint32_t wt_vu __attribute__((vector_size(WT_LANES * 4)));
typedef uint16_t wt_vh __attribute__((vector_size(WT_LANES * 2)));
typedef float wt_f4 __attribute__((vector_size(16)));
typedef int32_t wt_i4 __attribute__((vector_size(16)));
/* The same anywhere in memory. */
typedef float wt_vf_at __attribute__((vector_size(WT_LANES * 4), aligned(4), may_alias));
typedef uint32_t wt_vu_at __attribute__((vector_size(WT_LANES * 4), aligned(2), may_alias));
typedef uint16_t wt_vh_at __attribute__((vector_size(WT_LANES * 2), aligned(2), may_alias));
typedef float wt_f4_at __attribute__((vector_size(16), aligned(4), may_alias));

WT_INLINE wt_vf wt_load(const float *at)
{
    return *(const wt_vf_at *)at;
}
WT_INLINE void wt_store(float *at, wt_vf v)
{
    *(wt_vf_at *)at = v;
}
WT_INLINE wt_vf wt_all(float x)
{
    return x - (wt_vf){0};
}
WT_INLINE wt_vf wt_choose(wt_vi which, wt_vf yes, wt_vf no)
{
    return (wt_vf)(((wt_vi)yes & which) | ((wt_vi)no & ~which));
}
/* b where one of them is not a number */
WT_INLINE wt_vf wt_larger(wt_vf a, wt_vf b)
{
#if WT_LANES == 16 && defined(__AVX512F__)
    return (wt_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif WT_LANES == 8 && defined(__AVX2__)
    return (wt_vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return wt_choose(a > b, a, b);
#endif
}

/* Likewise. */
WT_INLINE wt_vf wt_smaller(wt_vf a, wt_vf b)
{
#if WT_LANES == 16 && defined(__AVX512F__)
    return (wt_vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif WT_LANES == 8 && defined(__AVX2__)
    return (wt_vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return wt_choose(a < b, a, b);
#endif
}

/* ---- bfloat16: the upper half of a float ---- */

WT_INLINE wt_vf wt_load_bf16(const uint16_t *at)
{
    /* The compiler makes four instructions of a conversion it could do in one. */
#if WT_LANES == 16 && defined(__AVX512F__)
    wt_vu wide = (wt_vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
#elif WT_LANES == 8 && defined(__AVX2__)
    wt_vu wide = (wt_vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at));
#else
    wt_vu wide = __builtin_convertvector(*(const wt_vh_at *)at, wt_vu);
#endif
    return (wt_vf)(wide << 16);
}
/* Rounded to nearest, ties to even; a NaN stays one. */
WT_INLINE void wt_store_bf16(uint16_t *at, wt_vf v)
{
    wt_vu bits = (wt_vu)v;
    wt_vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    wt_vu is_nan = (wt_vu)((bits & 0x7fffffff) > 0x7f800000);
    rounded = (rounded & ~is_nan) | (((bits >> 16) | 0x40) & is_nan);
#if WT_LANES == 16 && defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)at, _mm512_cvtepi32_epi16((__m512i)rounded));
#elif WT_LANES == 8 && defined(__AVX2__)
    __m256i packed = _mm256_packus_epi32((__m256i)rounded, (__m256i)rounded);
    packed = _mm256_permute4x64_epi64(packed, 0x08);
    _mm_storeu_si128((__m128i *)at, _mm256_castsi256_si128(packed));
#else
    *(wt_vh_at *)at = __builtin_convertvector(rounded, wt_vh);
#endif
}
WT_INLINE float wt_float_from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}
WT_INLINE uint16_t wt_bf16_from(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7fffffff) > 0x7f800000) /* a NaN */
        return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* The low bytes of four vectors, each 0..255, one after the other. */
WT_INLINE void wt_store_bytes(uint8_t *at, const wt_vi v[4])
{
#if WT_LANES == 16 && defined(__AVX512F__)
    for (size_t i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(at + 16 * i), _mm512_cvtepi32_epi8((__m512i)v[i]));
#elif WT_LANES == 8 && defined(__AVX2__)
    __m256i low = _mm256_packus_epi32((__m256i)v[0], (__m256i)v[1]);
    __m256i high = _mm256_packus_epi32((__m256i)v[2], (__m256i)v[3]);
    /* Each packing goes by halves of the register: fours of bytes are out of order. */
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)at,
                        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order));
#else
    for (size_t i = 0; i < 4 * WT_LANES; i++)
        at[i] = (uint8_t)v[i / WT_LANES][i % WT_LANES];
#endif
}

/* ---- across lanes ---- */

/* Sums of the lanes of four vectors. */
WT_INLINE wt_f4 wt_sums(wt_vf a, wt_vf b, wt_vf c, wt_vf d)
{
    wt_vf in[4] = {a, b, c, d};
    wt_f4 part[4];
    for (int i = 0; i < 4; i++) {
#if WT_LANES == 16
        typedef float f8 __attribute__((vector_size(32)));
        f8 half = __builtin_shufflevector(in[i], in[i], 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(in[i], in[i], 8, 9, 10, 11, 12, 13, 14, 15);
        part[i] = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
                  __builtin_shufflevector(half, half, 4, 5, 6, 7);
#elif WT_LANES == 8
        part[i] = __builtin_shufflevector(in[i], in[i], 0, 1, 2, 3) +
                  __builtin_shufflevector(in[i], in[i], 4, 5, 6, 7);
#else
        part[i] = in[i];
#endif
    }
    wt_f4 ab = __builtin_shufflevector(part[0], part[1], 0, 4, 1, 5) +
               __builtin_shufflevector(part[0], part[1], 2, 6, 3, 7);
    wt_f4 cd = __builtin_shufflevector(part[2], part[3], 0, 4, 1, 5) +
               __builtin_shufflevector(part[2], part[3], 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) +
           __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

/* to[c * to_stride + r] = from[r * from_stride + c], 4 by 4 */
WT_INLINE void wt_transpose4(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    wt_f4 a = *(const wt_f4_at *)from, b = *(const wt_f4_at *)(from + from_stride);
    wt_f4 c = *(const wt_f4_at *)(from + 2 * from_stride);
    wt_f4 d = *(const wt_f4_at *)(from + 3 * from_stride);
    wt_f4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    wt_f4 ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    wt_f4 cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    wt_f4 cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(wt_f4_at *)to = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *(wt_f4_at *)(to + to_stride) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *(wt_f4_at *)(to + 2 * to_stride) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
    *(wt_f4_at *)(to + 3 * to_stride) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

/* ---- functions ---- */

/* Phi(x), the normal distribution function, of floats and of vectors: half, and an odd rational
 * function fitted to the rest within 1e-8 for |x| <= WT_CDF_END, z = x * x. In floats |error| <
 * 2e-7; at the ends 0 and 1. */
#define WT_CDF_END 5.53f
#define WT_CDF_INSIDE(x, z)                                                                        \
    (0.5f +                                                                                        \
     (x) *                                                                                         \
         (((((2.2560714e-8f * (z) + 6.3513858e-6f) * (z) + 1.702677e-4f) * (z) + 4.6858103e-3f) *  \
               (z) +                                                                               \
           3.4004863e-2f) *                                                                        \
              (z) +                                                                                \
          0.39894223f) /                                                                           \
         (((((1.1919552e-6f * (z) + 7.405496e-5f) * (z) + 1.8926255e-3f) * (z) + 2.8730985e-2f) *  \
               (z) +                                                                               \
           0.2519034f) *                                                                           \
              (z) +                                                                                \
          1.0f))

/* 2^x for x up to 127, within 2 units in the last place; 2^-125 below -125; NaN of NaN. The
 * polynomial is fitted to 2^r for |r| <= 1/2 (relative error below 2e-8 before rounding). */
WT_INLINE wt_vf wt_exp2(wt_vf x)
{
    x = wt_larger(wt_all(-125.0f), x);
    /* Adding 1.5 2^23 rounds to an integer, which then stands in the low bits; 127 more is a
     * float's exponent of it. The power of two is a factor: a NaN stays one. */
    wt_vf shifted = x + 12583039.0f;
    wt_vf r = x - (shifted - 12583039.0f);
    wt_vf p = 0.000154531634f * r + 0.00133908633f;
    p = p * r + 0.00961808302f;
    p = p * r + 0.0555035695f;
    p = p * r + 0.240226507f;
    p = p * r + 0.693147182f;
    p = p * r + 1.0f;
    return p * (wt_vf)((wt_vu)shifted << 23);
}

#endif
