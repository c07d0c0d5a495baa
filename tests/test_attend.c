/* attend: every instruction set this processor has, against plain loops in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/attend.h"
#include "workload/random.h"
#include "workload/vector.h"

/* A value that a kernel must not read into a result or write over. */
#define UNTOUCHED 12345.0f

/* Compiled for the tests: AVX-512's 16 lanes in the baseline's instructions. */
extern const struct wt_attend_kernels wt_attend_wide;

/* Every table that this processor can run, and the wide one. */
static const struct wt_attend_kernels *set_at(size_t i)
{
    size_t count = 0;
    while (wt_attend_at(count))
        count++;
    return i < count ? wt_attend_at(i) : i == count ? &wt_attend_wide : NULL;
}

struct shape {
    size_t length, head;
    bool is_causal;
    float p;
};
static const struct shape shapes[] = {
    {128, 64, false, 0}, {128, 64, true, 0},    {200, 64, true, 0.1f}, {130, 64, false, 0.1f},
    {1, 64, false, 0},   {1, 64, true, 0.5f},   {7, 32, true, 0},      {33, 32, false, 0.25f},
    {65, 128, true, 0},  {129, 128, false, 0},  {37, 80, true, 0.1f},  {61, 96, false, 0},
    {19, 1, false, 0},   {70, 3, true, 0.1f},   {90, 17, false, 0},    {63, 50, true, 0},
    {257, 64, false, 0}, {321, 64, true, 0.1f}, {64, 40, false, 0},    {100, 66, true, 0},
};

/* One head in the middle of others, one float past any alignment. */
struct bed {
    struct shape shape;
    bool is_bf16;
    size_t stride, context_stride, count;
    float *q, *k, *v, *context, *dcontext, *dq, *dk, *dv, *lse; /* as the kernel sees them */
    double *q_in, *k_in, *v_in, *dcontext_in;                   /* [length, head] */
    double *want, *dq_want, *dk_want, *dv_want, *lse_want;
    struct wt_attend work;
    struct wt_attend_grad grad;
    char *scratch;
};

static void *values(size_t n)
{
    float *at = test_malloc((n + 1) * sizeof(float));
    for (size_t i = 0; i <= n; i++)
        at[i] = UNTOUCHED;
    return at + 1;
}
static void values_free(void *at)
{
    test_free((float *)at - 1);
}

static double *noise(const struct bed *b, void *to, size_t stride, uint64_t seed, double spread)
{
    struct wt_random random = {seed, 0};
    size_t n = b->shape.length, d = b->shape.head;
    double *in = test_malloc(n * d * sizeof(double));
    for (size_t i = 0; i < n * d; i++) {
        float x = (float)(spread * ((double)wt_random_below(&random, 200001) / 100000.0 - 1.0));
        size_t at = i / d * stride + i % d;
        if (b->is_bf16) {
            ((uint16_t *)to)[at] = wt_bf16_from(x);
            x = wt_float_from_bf16(((uint16_t *)to)[at]);
        } else {
            ((float *)to)[at] = x;
        }
        in[i] = (double)x;
    }
    return in;
}

static bool is_dropped(const struct bed *b, size_t query, size_t key)
{
    const struct wt_attend *a = &b->work;
    return wt_dropout_bits(a->drop.key, a->drop_first + query * a->drop_stride + key) <
           (double)a->drop.p * 4294967296.0;
}

/* The formulas. delta is taken from the context as the kernel rounded it. */
static void reference(struct bed *b)
{
    size_t n = b->shape.length, d = b->shape.head;
    b->want = test_calloc(n * d, sizeof(double));
    b->dq_want = test_calloc(n * d, sizeof(double));
    b->dk_want = test_calloc(n * d, sizeof(double));
    b->dv_want = test_calloc(n * d, sizeof(double));
    b->lse_want = test_calloc(n, sizeof(double));
    double *w = test_calloc(n, sizeof(double)), *dw = test_calloc(n, sizeof(double));
    for (size_t q = 0; q < n; q++) {
        size_t seen = b->shape.is_causal ? q + 1 : n;
        double top = -INFINITY, sum = 0, delta = 0, keep = 1 / (1 - (double)b->shape.p);
        for (size_t k = 0; k < seen; k++) {
            w[k] = 0;
            for (size_t i = 0; i < d; i++)
                w[k] += b->q_in[q * d + i] * b->k_in[k * d + i];
            w[k] /= sqrt((double)d);
            top = fmax(top, w[k]);
        }
        for (size_t k = 0; k < seen; k++)
            sum += exp(w[k] - top);
        b->lse_want[q] = top + log(sum);
        for (size_t k = 0; k < seen; k++) {
            w[k] = exp(w[k] - b->lse_want[q]);
            dw[k] = 0;
            double scale = b->shape.p > 0 && is_dropped(b, q, k) ? 0 : b->shape.p > 0 ? keep : 1;
            for (size_t i = 0; i < d; i++) {
                b->want[q * d + i] += scale * w[k] * b->v_in[k * d + i];
                b->dv_want[k * d + i] += scale * w[k] * b->dcontext_in[q * d + i];
                dw[k] += scale * b->dcontext_in[q * d + i] * b->v_in[k * d + i];
            }
            delta += w[k] * dw[k];
        }
        for (size_t k = 0; k < seen; k++)
            for (size_t i = 0; i < d; i++) {
                double ds = w[k] * (dw[k] - delta) / sqrt((double)d);
                b->dq_want[q * d + i] += ds * b->k_in[k * d + i];
                b->dk_want[k * d + i] += ds * b->q_in[q * d + i];
            }
    }
    test_free(w);
    test_free(dw);
}

static void setup(struct bed *b, struct shape shape, bool is_bf16, double spread)
{
    *b = (struct bed){.shape = shape, .is_bf16 = is_bf16};
    b->stride = 3 * shape.head + 5;
    b->context_stride = shape.head + 3;
    b->count = shape.length * b->stride;
    float **arrays[] = {&b->q,  &b->k,  &b->v,  &b->context, &b->dcontext,
                        &b->dq, &b->dk, &b->dv, &b->lse};
    for (size_t i = 0; i < WT_COUNTOF(arrays); i++)
        *arrays[i] = values(b->count);
    b->q_in = noise(b, b->q, b->stride, 1, spread);
    b->k_in = noise(b, b->k, b->stride, 2, spread);
    b->v_in = noise(b, b->v, b->stride, 3, 1);
    b->dcontext_in = noise(b, b->dcontext, b->context_stride, 4, 1);
    b->work = (struct wt_attend){
        .q = b->q,
        .k = b->k,
        .v = b->v,
        .stride = b->stride,
        .context = b->context,
        .context_stride = b->context_stride,
        .lse = b->lse,
        .length = shape.length,
        .head = shape.head,
        .is_causal = shape.is_causal,
        .is_bf16 = is_bf16,
        .drop = {shape.p, UINT64_C(0x123456789abcdef1)},
        /* Indices cross 2^32 within the head. */
        .drop_first = (UINT64_C(1) << 32) - shape.length * shape.length / 2,
        .drop_stride = shape.length + 3,
    };
    b->grad = (struct wt_attend_grad){b->dcontext, b->dq, b->dk, b->dv};
    size_t bytes = wt_attend_forward_scratch(shape.head);
    if (wt_attend_backward_scratch(shape.length, shape.head) > bytes)
        bytes = wt_attend_backward_scratch(shape.length, shape.head);
    b->scratch = test_malloc(bytes);
    memset(b->scratch, 0xff, bytes); /* NaNs */
    reference(b);
}

static void teardown(struct bed *b)
{
    float *arrays[] = {b->q, b->k, b->v, b->context, b->dcontext, b->dq, b->dk, b->dv, b->lse};
    for (size_t i = 0; i < WT_COUNTOF(arrays); i++)
        values_free(arrays[i]);
    double *doubles[] = {b->q_in,    b->k_in,    b->v_in,    b->dcontext_in, b->want,
                         b->dq_want, b->dk_want, b->dv_want, b->lse_want};
    for (size_t i = 0; i < WT_COUNTOF(doubles); i++)
        test_free(doubles[i]);
    test_free(b->scratch);
}

/* Within `tolerance` of the largest value; and nothing between rows was written. */
static void assert_close(const char *set, const char *what, const struct bed *b, const void *got,
                         size_t stride, const double *want, double tolerance)
{
    size_t d = b->shape.head;
    /* Of one key the gradients of q and k are 0, as differences of numbers around 1. */
    double largest = 0.1, off = 0;
    for (size_t i = 0; i < b->shape.length * d; i++) {
        size_t at = i / d * stride + i % d;
        float x =
            b->is_bf16 ? wt_float_from_bf16(((const uint16_t *)got)[at]) : ((const float *)got)[at];
        largest = fmax(largest, fabs(want[i]));
        off = fmax(off, fabs((double)x - want[i]));
        if (!(fabs((double)x) < INFINITY))
            off = INFINITY;
    }
    if (!(off <= tolerance * largest))
        print_error("%s: %s of length %zu, head %zu%s%s, p %g is off by %g of %g\n", set, what,
                    b->shape.length, d, b->shape.is_causal ? ", causal" : "",
                    b->is_bf16 ? ", bf16" : "", (double)b->shape.p, off, largest);
    assert_true(off <= tolerance * largest);
    float untouched = UNTOUCHED;
    uint16_t halves[2];
    memcpy(halves, &untouched, sizeof(halves));
    for (size_t r = 0; r + 1 < b->shape.length; r++)
        for (size_t i = d; i < stride; i++) {
            size_t at = r * stride + i;
            if (b->is_bf16)
                assert_memory_equal((const uint16_t *)got + at, &halves[at % 2], 2);
            else
                assert_true(((const float *)got)[at] == UNTOUCHED);
        }
}

static void check_all(bool is_bf16, double spread, double tolerance)
{
    for (size_t s = 0; s < WT_COUNTOF(shapes); s++)
        for (size_t set = 0; set_at(set); set++) {
            const struct wt_attend_kernels *k = set_at(set);
            struct bed b;
            setup(&b, shapes[s], is_bf16, spread);
            k->forward(&b.work, 0, shapes[s].length, b.scratch);
            assert_close(k->name, "context", &b, b.context, b.context_stride, b.want, tolerance);
            for (size_t q = 0; q < shapes[s].length; q++)
                assert_true(fabs((double)b.lse[q] - b.lse_want[q]) <=
                            1e-5 * fmax(1, fabs(b.lse_want[q])));
            k->backward(&b.work, &b.grad, b.scratch);
            assert_close(k->name, "dq", &b, b.dq, b.stride, b.dq_want, tolerance);
            assert_close(k->name, "dk", &b, b.dk, b.stride, b.dk_want, tolerance);
            assert_close(k->name, "dv", &b, b.dv, b.stride, b.dv_want, tolerance);
            teardown(&b);
        }
}

static void forward_and_backward_are_exact(void **state)
{
    (void)state;
    check_all(false, 1, 1e-5);
}

/* As kernels.c has it: bits of 4 are below 1e-9 2^32 rounded up, bits of 5 are not. */
static void a_small_probability_drops_what_other_devices_drop(void **state)
{
    (void)state;
    for (size_t set = 0; set_at(set); set++)
        for (int is_dropped_one = 0; is_dropped_one < 2; is_dropped_one++) {
            struct bed b;
            setup(&b, (struct shape){1, 16, false, 1e-9f}, false, 1);
            b.work.drop.key = 77;
            b.work.drop_first = is_dropped_one ? 3407979488 : 454662582;
            set_at(set)->forward(&b.work, 0, 1, b.scratch);
            for (size_t i = 0; i < 16; i++) {
                assert_true(b.v[i] != 0);
                assert_true(b.context[i] == (is_dropped_one ? 0 : b.v[i]));
            }
            teardown(&b);
        }
}

/* bfloat16 has 8 bits: inputs are exact, results rounded once; delta comes from a rounded context.
 */
static void bfloat16_is_exact_but_for_the_rounding_of_results(void **state)
{
    (void)state;
    check_all(true, 1, 6e-3);
}

static void large_scores_neither_overflow_nor_lose_the_row(void **state)
{
    (void)state;
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_attend_kernels *k = set_at(set);
        struct bed b;
        setup(&b, (struct shape){150, 64, true, 0}, false, 30);
        k->forward(&b.work, 0, 150, b.scratch);
        /* Scores of hundreds have 1e-5 of them, not of 1, as their rounding. */
        assert_close(k->name, "context", &b, b.context, b.context_stride, b.want, 3e-4);
        for (size_t q = 0; q < 150; q++)
            assert_true(fabs((double)b.lse[q] - b.lse_want[q]) <= 1e-5 * fabs(b.lse_want[q]));
        teardown(&b);
    }
}

static void rows_may_be_shared_out(void **state)
{
    (void)state;
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_attend_kernels *k = set_at(set);
        struct bed whole, parts;
        setup(&whole, (struct shape){300, 64, true, 0.1f}, false, 1);
        setup(&parts, (struct shape){300, 64, true, 0.1f}, false, 1);
        k->forward(&whole.work, 0, 300, whole.scratch);
        k->forward(&parts.work, 128, 300, parts.scratch);
        k->forward(&parts.work, 0, 128, parts.scratch);
        assert_memory_equal(whole.context, parts.context, whole.count * sizeof(float));
        assert_memory_equal(whole.lse, parts.lse, 300 * sizeof(float));
        /* Rows from anywhere are right too. */
        k->forward(&parts.work, 5, 18, parts.scratch);
        assert_close(k->name, "context", &parts, parts.context, parts.context_stride, parts.want,
                     1e-5);
        teardown(&whole);
        teardown(&parts);
    }
}

static bool is_nan(float x)
{
    return x != x;
}

static void a_score_that_is_not_a_number_reaches_the_context(void **state)
{
    (void)state;
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_attend_kernels *k = set_at(set);
        struct bed b;
        setup(&b, (struct shape){100, 64, true, 0}, false, 1);
        b.q[50 * b.stride] = NAN;
        k->forward(&b.work, 0, 100, b.scratch);
        for (size_t i = 0; i < 64; i++) {
            assert_true(is_nan(b.context[50 * b.context_stride + i]));
            assert_false(is_nan(b.context[49 * b.context_stride + i]));
            assert_false(is_nan(b.context[51 * b.context_stride + i]));
        }
        teardown(&b);
    }
}

static void decoding_is_the_last_row_of_attention(void **state)
{
    (void)state;
    static const struct {
        size_t length, count, head;
    } cases[] = {{1, 3, 64}, {5, 2, 64},  {64, 12, 64}, {130, 3, 32}, {77, 2, 17}, {200, 1, 128},
                 {3, 2, 5},  {65, 2, 64}, {66, 2, 64},  {67, 2, 64},  {129, 1, 96}};
    for (size_t c = 0; c < WT_COUNTOF(cases); c++)
        for (size_t set = 0; set_at(set); set++)
            for (unsigned variant = 0; variant < 2; variant++) {
                bool is_bf16 = variant == 1;
                const struct wt_attend_kernels *k = set_at(set);
                size_t n = cases[c].length, d = cases[c].head, count = cases[c].count;
                size_t stride = count * d + 3;
                float *q = values(count * d), *keys = values(n * stride);
                float *vals = values(n * stride), *context = values(count * d);
                char *scratch = test_malloc(wt_attend_decode_scratch(count, d));
                memset(scratch, 0xff, wt_attend_decode_scratch(count, d));
                /* noise() fills [length, head] of a bed. */
                struct bed b = {.shape = {1, count * d, false, 0}, .is_bf16 = is_bf16};
                double *q_in = noise(&b, q, count * d, 5, 2);
                b.shape.length = n;
                double *k_in = noise(&b, keys, stride, 6, 2), *v_in = noise(&b, vals, stride, 7, 1);
                double *want = test_calloc(count * d, sizeof(double));
                double *w = test_calloc(n, sizeof(double));
                for (size_t h = 0; h < count; h++) {
                    double sum = 0;
                    for (size_t r = 0; r < n; r++) {
                        w[r] = 0;
                        for (size_t i = 0; i < d; i++)
                            w[r] += q_in[h * d + i] * k_in[r * count * d + h * d + i];
                        sum += w[r] = exp(w[r] / sqrt((double)d));
                    }
                    for (size_t r = 0; r < n; r++)
                        for (size_t i = 0; i < d; i++)
                            want[h * d + i] += w[r] / sum * v_in[r * count * d + h * d + i];
                }
                const struct wt_attend_decode decode = {q, keys,  vals, stride, context,
                                                        n, count, d,    is_bf16};
                k->decode(&decode, scratch);
                b.shape.length = 1;
                assert_close(k->name, "decoded context", &b, context, count * d, want,
                             is_bf16 ? 4e-3 : 1e-5);
                values_free(q);
                values_free(keys);
                values_free(vals);
                values_free(context);
                test_free(q_in);
                test_free(k_in);
                test_free(v_in);
                test_free(want);
                test_free(w);
                test_free(scratch);
            }
}

static void the_best_attention_is_the_first(void **state)
{
    (void)state;
    size_t count = 0;
    while (wt_attend_at(count))
        print_message("attention: %s\n", wt_attend_at(count++)->name);
    assert_ptr_equal(wt_attend_best(), wt_attend_at(0));
    assert_string_equal(wt_attend_at(count - 1)->name, "baseline");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_and_backward_are_exact),
        cmocka_unit_test(bfloat16_is_exact_but_for_the_rounding_of_results),
        cmocka_unit_test(large_scores_neither_overflow_nor_lose_the_row),
        cmocka_unit_test(rows_may_be_shared_out),
        cmocka_unit_test(a_small_probability_drops_what_other_devices_drop),
        cmocka_unit_test(a_score_that_is_not_a_number_reaches_the_context),
        cmocka_unit_test(decoding_is_the_last_row_of_attention),
        cmocka_unit_test(the_best_attention_is_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
