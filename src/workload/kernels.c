/* The elementwise kernels; compiled once for each instruction set with WT_KERNELS naming the table
 * and WT_KERNELS_NAME its name. Written as plain loops that compilers turn into vector code:
 * reductions say so (`omp simd`), since the compiler may not reorder sums by itself, and no library
 * call stands inside a loop. */
#include <math.h>
#include <string.h>

#include "workload/kernels.h"
#include "workload/random.h"
#include "workload/vector.h"

extern const struct wt_kernels WT_KERNELS;

/* e^x for x <= 0 (softmax) and a little above, within 2 units in the last place.
 * x = n ln 2 + r; the polynomial is the Taylor series to r^7 with |r| <= ln(2)/2. */
static inline float exp_fast(float x)
{
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    /* Adding 1.5 2^23 rounds to an integer, which then stands in the low bits. */
    float shifted = x * 1.44269504f + 12582912.0f;
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (int32_t)((uint32_t)bits << 23) + 0x3f800000; /* 2^n */
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return p * scale;
}

/* Phi(x), the normal distribution function. */
static inline float normal_cdf(float x)
{
    x = x < -WT_CDF_END ? -WT_CDF_END : x > WT_CDF_END ? WT_CDF_END : x;
    return WT_CDF_INSIDE(x, x * x);
}

static void add(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void norm_row(float *restrict y, const float *restrict x, float *ret_mean, float *ret_rstd,
                     const float *restrict gain, const float *restrict bias, size_t n,
                     float epsilon)
{
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (size_t i = 0; i < n; i++)
        total += x[i];
    float mean = total / (float)n, square = 0;
#pragma omp simd reduction(+ : square)
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    float rstd = 1.0f / sqrtf(square / (float)n + epsilon);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * rstd * gain[i] + bias[i];
    *ret_mean = mean;
    *ret_rstd = rstd;
}

static void norm_backward_row(float *dx, const float *dy, const float *restrict x, float mean,
                              float rstd, const float *restrict gain, float *restrict dgain,
                              float *restrict dbias, size_t n)
{
    float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (size_t i = 0; i < n; i++) {
        float unit = (x[i] - mean) * rstd, v = dy[i] * gain[i];
        sum += v;
        dot += v * unit;
        dbias[i] += dy[i];
        dgain[i] += dy[i] * unit;
    }
    sum /= (float)n;
    dot /= (float)n;
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        dx[i] = rstd * (dy[i] * gain[i] - sum - (x[i] - mean) * rstd * dot);
}

static void gelu_backward(float *dx, const float *dy, const float *restrict x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        float v = x[i], e = exp_fast(-0.5f * v * v);
        dx[i] = dy[i] * (normal_cdf(v) + v * 0.398942280f * e);
    }
}

/* tanh, within 2e-7. */
static inline float tanh_fast(float x)
{
    float e = exp_fast(-2.0f * fabsf(x)), t = (1.0f - e) / (1.0f + e);
    /* Near 0 the difference loses digits; the series to x^7 has them. */
    float s = x * x, series = 1.0f + s * (-1.0f / 3 + s * (2.0f / 15 + s * (-17.0f / 315)));
    return s < 0.04f ? x * series : x < 0 ? -t : t;
}

#define GELU_A 0.797884561f /* sqrt(2/pi) */
#define GELU_B 0.044715f

static void activate(float *y, const float *x, size_t n, enum wt_nonlinearity f)
{
    switch (f) {
    case WT_IDENTITY:
        if (y != x)
            memcpy(y, x, n * sizeof(*y));
        break;
    case WT_GELU_ERF:
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * normal_cdf(x[i]);
        break;
    case WT_GELU_TANH:
        /* 0.5 (1 + tanh(u)) = 1 / (1 + e^(-2u)) */
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            float v = x[i], u = GELU_A * (v + GELU_B * v * v * v);
            y[i] = v / (1.0f + exp_fast(-2.0f * u));
        }
        break;
    case WT_TANH:
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            y[i] = tanh_fast(x[i]);
        break;
    case WT_RELU:
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] < 0 ? 0 : x[i]; /* a NaN stays one */
        break;
    }
}

static void activate_backward(float *dx, const float *dy, const float *restrict x, size_t n,
                              enum wt_nonlinearity f)
{
    switch (f) {
    case WT_IDENTITY:
        if (dx != dy)
            memcpy(dx, dy, n * sizeof(*dx));
        break;
    case WT_GELU_ERF:
        gelu_backward(dx, dy, x, n);
        break;
    case WT_GELU_TANH:
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            float v = x[i], u = GELU_A * (v + GELU_B * v * v * v);
            float s = 1.0f / (1.0f + exp_fast(-2.0f * u)), du = GELU_A * (1 + 3 * GELU_B * v * v);
            dx[i] = dy[i] * (s + v * 2.0f * s * (1.0f - s) * du);
        }
        break;
    case WT_TANH:
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            float t = tanh_fast(x[i]);
            dx[i] = dy[i] * (1.0f - t * t);
        }
        break;
    case WT_RELU:
#pragma omp simd
        for (size_t i = 0; i < n; i++)
            dx[i] = x[i] <= 0 ? 0 : dy[i];
        break;
    }
}

static float largest(const float *restrict x, size_t n)
{
    float top = x[0];
#pragma omp simd reduction(max : top)
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

static float cross_entropy(float *ret_lse, const float *restrict logits, size_t n, size_t target)
{
    float top = largest(logits, n), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += exp_fast(logits[i] - top);
    *ret_lse = top + logf(sum);
    return *ret_lse - logits[target];
}

static void cross_entropy_backward(float *restrict logits, float lse, float weight, size_t n,
                                   size_t target)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        logits[i] = weight * exp_fast(logits[i] - lse);
    logits[target] -= weight;
}

static void dropout(float *restrict y, size_t n, uint64_t key, uint64_t first, float p)
{
    uint32_t below = wt_dropout_below(p);
    float keep = 1.0f / (1.0f - p);
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = wt_dropout_bits(key, first + i) < below ? 0.0f : y[i] * keep;
}

static void add_columns(float *restrict sum, const float *restrict x, size_t rows, size_t n,
                        size_t from, size_t to)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = from; i < to; i++)
            sum[i] += x[r * n + i];
}

static void widen(float *restrict to, const uint16_t *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = wt_float_from_bf16(from[i]);
}

static void narrow(uint16_t *restrict to, const float *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = wt_bf16_from(from[i]);
}

static double sum_of_squares(const float *restrict x, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void adamw(float *restrict parameter, float *restrict first, float *restrict second,
                  const float *restrict gradient, size_t n, const struct wt_adamw *how)
{
    float b1 = how->beta1, b2 = how->beta2, scale = how->gradient_scale;
    float step = how->rate / how->correction1, root = 1.0f / sqrtf(how->correction2);
    float epsilon = how->epsilon, keep = 1.0f - how->rate * how->decay;
    for (size_t i = 0; i < n; i++) {
        float g = gradient[i] * scale;
        float m = b1 * first[i] + (1.0f - b1) * g;
        float v = b2 * second[i] + (1.0f - b2) * g * g;
        first[i] = m;
        second[i] = v;
        parameter[i] = parameter[i] * keep - step * m / (sqrtf(v) * root + epsilon);
    }
}

const struct wt_kernels WT_KERNELS = {
    .name = WT_KERNELS_NAME,
    .add = add,
    .norm_row = norm_row,
    .cross_entropy = cross_entropy,
    .cross_entropy_backward = cross_entropy_backward,
    .dropout = dropout,
    .norm_backward_row = norm_backward_row,
    .activate = activate,
    .activate_backward = activate_backward,
    .add_columns = add_columns,
    .widen = widen,
    .narrow = narrow,
    .sum_of_squares = sum_of_squares,
    .adamw = adamw,
};
