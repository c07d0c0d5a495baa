/* matvec: every instruction set this processor has, against plain loops in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/matvec.h"
#include "workload/random.h"
#include "workload/vector.h"

#define UNTOUCHED 12345.0f

/* Compiled for the tests: AVX-512's 16 lanes in the baseline's instructions. */
extern const struct wt_matvec_kernels wt_matvec_wide;

/* Every table that this processor can run, and the wide one. */
static const struct wt_matvec_kernels *set_at(size_t i)
{
    size_t count = 0;
    while (wt_matvec_at(count))
        count++;
    return i < count ? wt_matvec_at(i) : i == count ? &wt_matvec_wide : NULL;
}

struct shape {
    size_t m, in, out;
    enum wt_nonlinearity f;
    bool has_bias;
};
static const struct shape shapes[] = {
    {1, 768, 256, WT_IDENTITY, true},   {1, 64, 64, WT_GELU_TANH, true},
    {2, 77, 13, WT_GELU_ERF, true},     {3, 128, 3, WT_RELU, false},
    {4, 31, 70, WT_TANH, true},         {5, 33, 129, WT_IDENTITY, false},
    {7, 100, 65, WT_GELU_TANH, false},  {16, 96, 50, WT_GELU_ERF, true},
    {17, 40, 31, WT_IDENTITY, true},    {37, 130, 100, WT_TANH, false},
    {1, 1, 1, WT_IDENTITY, true},       {6, 3, 5, WT_RELU, true},
    {12, 256, 191, WT_GELU_TANH, true}, {9, 2, 64, WT_GELU_ERF, false},
};

/* Never aligned: one value past what malloc gives. */
static float *values(size_t n)
{
    float *at = test_malloc((n + 2) * sizeof(float));
    for (size_t i = 0; i < n + 2; i++)
        at[i] = UNTOUCHED;
    return at + 1;
}
static void values_free(float *at)
{
    test_free(at - 1);
}

/* Also returns what was stored, as doubles. */
static double *noise(void *to, size_t n, uint64_t seed, double spread, bool is_bf16)
{
    struct wt_random random = {seed, 0};
    double *in = test_malloc((n + 1) * sizeof(double));
    for (size_t i = 0; i < n; i++) {
        float x = (float)(spread * ((double)wt_random_below(&random, 200001) / 100000.0 - 1.0));
        if (is_bf16) {
            ((uint16_t *)to)[i] = wt_bf16_from(x);
            x = wt_float_from_bf16(((uint16_t *)to)[i]);
        } else {
            ((float *)to)[i] = x;
        }
        in[i] = (double)x;
    }
    return in;
}

static float value_of(const void *at, size_t i, bool is_bf16)
{
    if (!is_bf16)
        return ((const float *)at)[i];
    uint16_t half;
    memcpy(&half, (const char *)at + 2 * i, sizeof(half));
    return wt_float_from_bf16(half);
}

static double followed(double x, enum wt_nonlinearity f)
{
    switch (f) {
    case WT_GELU_ERF:
        return x * 0.5 * (1 + erf(x / sqrt(2.0)));
    case WT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case WT_TANH:
        return tanh(x);
    case WT_RELU:
        return x > 0 ? x : 0;
    default:
        return x;
    }
}

/* y = f(x w' + bias) of doubles [m, in], [out, in] */
static double *reference(const struct shape *s, const double *x, const double *w,
                         const double *bias)
{
    double *want = test_calloc(s->m * s->out, sizeof(double));
    for (size_t j = 0; j < s->m; j++)
        for (size_t o = 0; o < s->out; o++) {
            double sum = s->has_bias ? bias[o] : 0;
            for (size_t k = 0; k < s->in; k++)
                sum += x[j * s->in + k] * w[o * s->in + k];
            want[j * s->out + o] = followed(sum, s->f);
        }
    return want;
}

static void assert_close(const char *set, const char *what, const struct shape *s, const float *got,
                         bool is_bf16, const double *want, double tolerance)
{
    double largest = 1e-3, off = 0;
    for (size_t i = 0; i < s->m * s->out; i++) {
        double x = (double)value_of(got, i, is_bf16);
        largest = fmax(largest, fabs(want[i]));
        off = fmax(off, fabs(x - want[i]));
        if (!(fabs(x) < INFINITY))
            off = INFINITY;
    }
    if (!(off <= tolerance * largest))
        print_error("%s: %s, %zu x %zu x %zu, is off by %g of %g\n", set, what, s->m, s->in, s->out,
                    off, largest);
    assert_true(off <= tolerance * largest);
    if (!is_bf16) /* and nothing past the end was written */
        assert_true(((const float *)got)[s->m * s->out] == UNTOUCHED);
}

static void products_are_exact(void **state)
{
    (void)state;
    static const struct {
        bool is_bf16, is_bf16_y;
        double tolerance;
    } kinds[] = {{false, false, 1e-5}, {true, false, 1e-5}, {true, true, 4e-3}};
    for (size_t s = 0; s < WT_COUNTOF(shapes); s++)
        for (size_t kind = 0; kind < WT_COUNTOF(kinds); kind++)
            for (size_t set = 0; set_at(set); set++) {
                const struct shape *shape = &shapes[s];
                const struct wt_matvec_kernels *k = set_at(set);
                bool is_bf16 = kinds[kind].is_bf16;
                float *x = values(shape->m * shape->in), *w = values(shape->out * shape->in);
                float *bias = values(shape->out), *y = values(shape->m * shape->out);
                double *x_in = noise(x, shape->m * shape->in, 1, 1, is_bf16);
                double *w_in = noise(w, shape->out * shape->in, 2, 0.5, is_bf16);
                double *bias_in = noise(bias, shape->out, 3, 1, false);
                double *want = reference(shape, x_in, w_in, bias_in);
                const struct wt_matvec v = {.x = x,
                                            .w = w,
                                            .bias = shape->has_bias ? bias : NULL,
                                            .y = y,
                                            .m = shape->m,
                                            .in = shape->in,
                                            .out = shape->out,
                                            .f = shape->f,
                                            .is_bf16 = is_bf16,
                                            .is_bf16_y = kinds[kind].is_bf16_y};
                /* In two pieces, as threads share them out. */
                size_t half = shape->out / 2;
                k->product(&v, half, shape->out);
                k->product(&v, 0, half);
                assert_close(k->name, is_bf16 ? "bf16" : "fp32", shape, y, kinds[kind].is_bf16_y,
                             want, kinds[kind].tolerance);
                values_free(x);
                values_free(w);
                values_free(bias);
                values_free(y);
                test_free(x_in);
                test_free(w_in);
                test_free(bias_in);
                test_free(want);
            }
}

static void nonlinearities_hold_from_zero_to_far_out(void **state)
{
    (void)state;
    enum { COUNT = 401 };
    for (int f = WT_IDENTITY; f <= WT_RELU; f++)
        for (size_t set = 0; set_at(set); set++) {
            const struct wt_matvec_kernels *k = set_at(set);
            float one = 1, *w = values(COUNT), *y = values(COUNT);
            static const float spreads[] = {1e-4f, 0.5f, 8, 300};
            for (size_t s = 0; s < WT_COUNTOF(spreads); s++) {
                for (size_t i = 0; i < COUNT; i++)
                    w[i] = spreads[s] * ((float)i / 200 - 1);
                const struct wt_matvec v = {.x = &one,
                                            .w = w,
                                            .y = y,
                                            .m = 1,
                                            .in = 1,
                                            .out = COUNT,
                                            .f = (enum wt_nonlinearity)f};
                k->product(&v, 0, COUNT);
                for (size_t i = 0; i < COUNT; i++) {
                    double want = followed((double)w[i], v.f);
                    double far = fabs((double)y[i] - want);
                    if (!(far <= 5e-7 * fmax(fabs((double)w[i]), 1e-4)))
                        print_error("%s: f %d of %g is %g, not %g\n", k->name, f, (double)w[i],
                                    (double)y[i], want);
                    assert_true(far <= 5e-7 * fmax(fabs((double)w[i]), 1e-4));
                }
            }
            values_free(w);
            values_free(y);
        }
}

struct quantised {
    struct wt_int8_weight w;
    struct wt_int8_rows x;
    float *w_in, *x_in;
};
static void quantise(struct quantised *q, const struct shape *s, const struct wt_matvec_kernels *k)
{
    size_t panels = wt_int8_panels(s->out), line = 4 * wt_int8_groups(s->in);
    q->w_in = values(s->out * s->in);
    q->x_in = values(s->m * s->in);
    test_free(noise(q->w_in, s->out * s->in, 11, 0.05, false));
    test_free(noise(q->x_in, s->m * s->in, 12, 3, false));
    q->w = (struct wt_int8_weight){
        .values = (int8_t *)test_malloc(wt_int8_weight_bytes(s->out, s->in) + 1) + 1,
        .scale = values(panels * WT_INT8_PANEL),
        .sum = test_malloc(panels * WT_INT8_PANEL * sizeof(int32_t)),
        .out = s->out,
        .in = s->in};
    q->x = (struct wt_int8_rows){.values = (uint8_t *)test_malloc(s->m * line + 1) + 1,
                                 .scale = values(s->m),
                                 .zero = test_malloc(s->m * sizeof(int32_t)),
                                 .in = s->in};
    k->quantise_weight(&q->w, q->w_in, panels / 2, panels);
    k->quantise_weight(&q->w, q->w_in, 0, panels / 2);
    k->quantise_rows(&q->x, q->x_in, s->m / 2, s->m);
    k->quantise_rows(&q->x, q->x_in, 0, s->m / 2);
}
static void quantised_free(struct quantised *q)
{
    values_free(q->w_in);
    values_free(q->x_in);
    test_free(q->w.values - 1);
    test_free(q->x.values - 1);
    values_free(q->w.scale);
    values_free(q->x.scale);
    test_free(q->x.zero);
    test_free(q->w.sum);
}
static int8_t weight_at(const struct wt_int8_weight *w, size_t o, size_t k)
{
    size_t group = o / WT_INT8_PANEL * wt_int8_groups(w->in) + k / 4;
    return w->values[(group * WT_INT8_PANEL + o % WT_INT8_PANEL) * 4 + k % 4];
}

/* The most that weights of one sign come to among those whose products are added in 16 bits. */
static int most_in_16_bits(const struct wt_int8_weight *w, size_t o, size_t narrow)
{
    int most = 0;
    for (size_t k = 0; narrow && k < 4 * wt_int8_groups(w->in); k += 4 * narrow)
        for (size_t of = 0; of < 4; of += 2) {
            int plus = 0, minus = 0;
            for (size_t i = k + of; i < k + 4 * narrow && i < 4 * wt_int8_groups(w->in); i += 4) {
                int one = weight_at(w, o, i), other = weight_at(w, o, i + 1);
                plus += (one > 0 ? one : 0) + (other > 0 ? other : 0);
                minus -= (one < 0 ? one : 0) + (other < 0 ? other : 0);
            }
            int here = plus > minus ? plus : minus;
            most = here > most ? here : most;
        }
    return most;
}

static void a_quantised_value_is_off_by_half_a_step_at_most(void **state)
{
    (void)state;
    for (size_t s = 0; s < WT_COUNTOF(shapes); s++)
        for (size_t set = 0; set_at(set); set++) {
            const struct shape *shape = &shapes[s];
            struct quantised q;
            quantise(&q, shape, set_at(set));
            size_t panels = wt_int8_panels(shape->out), groups = wt_int8_groups(shape->in);
            int narrow = (int)set_at(set)->narrow;
            for (size_t o = 0; o < panels * WT_INT8_PANEL; o++) {
                int32_t sum = 0;
                int largest = 0;
                for (size_t k = 0; k < 4 * groups; k++) {
                    int value = weight_at(&q.w, o, k);
                    sum += value;
                    largest = abs(value) > largest ? abs(value) : largest;
                    if (o >= shape->out || k >= shape->in) {
                        assert_int_equal(value, 0);
                        continue;
                    }
                    double step = (double)q.w.scale[o];
                    assert_true(fabs(value * step - (double)q.w_in[o * shape->in + k]) <=
                                0.5001 * step);
                }
                assert_int_equal(sum, q.w.sum[o]);
                int most = most_in_16_bits(&q.w, o, set_at(set)->narrow);
                assert_true(largest <= 127 && most <= 129);
                if (o < shape->out) /* no smaller than it must be, to half a step each */
                    assert_true(largest == 127 || (narrow && most >= 129 - 2 * narrow));
                else
                    assert_int_equal(largest, 0);
            }
            for (size_t j = 0; j < shape->m; j++)
                for (size_t k = 0; k < 4 * groups; k++) {
                    double step = (double)q.x.scale[j];
                    double value = q.x.values[j * 4 * groups + k] - q.x.zero[j];
                    if (k >= shape->in)
                        assert_true(value == 0);
                    else
                        assert_true(fabs(value * step - (double)q.x_in[j * shape->in + k]) <=
                                    0.5001 * step);
                }
            quantised_free(&q);
        }
}

static void integer_products_are_those_of_the_integers(void **state)
{
    (void)state;
    for (size_t s = 0; s < WT_COUNTOF(shapes); s++)
        for (size_t set = 0; set_at(set); set++) {
            const struct shape *shape = &shapes[s];
            const struct wt_matvec_kernels *k = set_at(set);
            struct quantised q;
            quantise(&q, shape, k);
            float *bias = values(shape->out), *y = values(shape->m * shape->out);
            double *bias_in = noise(bias, shape->out, 3, 1, false);
            double *x = test_calloc(shape->m * shape->in, sizeof(double));
            double *w = test_calloc(shape->out * shape->in, sizeof(double));
            for (size_t i = 0; i < shape->m * shape->in; i++) {
                size_t j = i / shape->in;
                int value = q.x.values[j * 4 * wt_int8_groups(shape->in) + i % shape->in];
                x[i] = (double)q.x.scale[j] * (value - q.x.zero[j]);
            }
            for (size_t i = 0; i < shape->out * shape->in; i++)
                w[i] = (double)q.w.scale[i / shape->in] *
                       weight_at(&q.w, i / shape->in, i % shape->in);
            double *want = reference(shape, x, w, bias_in);
            const struct wt_int8_product product = {.x = &q.x,
                                                    .w = &q.w,
                                                    .bias = shape->has_bias ? bias : NULL,
                                                    .y = y,
                                                    .m = shape->m,
                                                    .f = shape->f};
            size_t panels = wt_int8_panels(shape->out);
            k->int8_product(&product, panels / 3, panels);
            k->int8_product(&product, 0, panels / 3);
            assert_close(k->name, "int8", shape, y, false, want, 1e-5);
            quantised_free(&q);
            values_free(bias);
            values_free(y);
            test_free(bias_in);
            test_free(x);
            test_free(w);
            test_free(want);
        }
}

/* The largest integers that a quantisation may leave, even k's of one sign and odd ones of the
 * other, beside the largest activations on either or on both. */
static void the_largest_integers_do_not_saturate(void **state)
{
    (void)state;
    enum { IN = 48, OUT = WT_INT8_PANEL, M = 3 };
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_matvec_kernels *k = set_at(set);
        int8_t w_values[OUT * IN];
        uint8_t x_values[M * IN];
        int32_t sum[OUT] = {0};
        float y[M * OUT], w_scale[OUT], x_scale[M] = {1, 1, 1};
        struct wt_int8_weight weight = {w_values, w_scale, sum, OUT, IN};
        int32_t x_zero[M] = {127, 0, 254};
        struct wt_int8_rows rows = {x_values, x_scale, x_zero, IN};
        for (size_t i = 0; i < M * IN; i++)
            x_values[i] = i / IN == 2 || i / IN == i % 2 ? 254 : 0;
        for (size_t o = 0; o < OUT; o++) {
            w_scale[o] = 1;
            for (size_t i = 0; i < IN; i++) {
                /* 129 in each set, as 127 and 2 or in even parts */
                size_t of = k->narrow ? (i / 4 + o) % k->narrow : 0;
                int value = of == 0 ? 127 : of == 1 ? 2 : 0;
                if (o % 3 == 2 && k->narrow > 1)
                    value = 129 / (int)k->narrow + (of < 129 % k->narrow);
                value = i % 2 == o % 2 ? value : -value;
                w_values[(i / 4 * WT_INT8_PANEL + o) * 4 + i % 4] = (int8_t)value;
                sum[o] += value;
            }
            assert_true(most_in_16_bits(&weight, o, k->narrow) <= 129);
            if (k->narrow > 1)
                assert_int_equal(most_in_16_bits(&weight, o, k->narrow), 129);
        }
        const struct wt_int8_product product = {.x = &rows, .w = &weight, .y = y, .m = M};
        k->int8_product(&product, 0, 1);
        for (size_t i = 0; i < M * OUT; i++) {
            int want = 0;
            for (size_t of = 0; of < IN; of++)
                want += (x_values[i / OUT * IN + of] - x_zero[i / OUT]) *
                        weight_at(&weight, i % OUT, of);
            assert_true(y[i] == (float)want);
        }
    }
}

static void ones_are_ones_of_all_four_signs(void **state)
{
    (void)state;
    enum { IN = 64, OUT = 64 };
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_matvec_kernels *k = set_at(set);
        float w[OUT * IN], x[2 * IN], y[2 * OUT], w_scale[OUT], x_scale[2];
        int8_t w_values[OUT * IN];
        uint8_t x_values[2 * IN];
        int32_t sum[OUT];
        for (size_t i = 0; i < OUT * IN; i++)
            w[i] = i / IN % 2 ? -1 : 1;
        for (size_t i = 0; i < 2 * IN; i++)
            x[i] = i / IN ? -1 : 1;
        struct wt_int8_weight weight = {w_values, w_scale, sum, OUT, IN};
        int32_t x_zero[2];
        struct wt_int8_rows rows = {x_values, x_scale, x_zero, IN};
        k->quantise_weight(&weight, w, 0, wt_int8_panels(OUT));
        k->quantise_rows(&rows, x, 0, 2);
        const struct wt_int8_product product = {.x = &rows, .w = &weight, .y = y, .m = 2};
        k->int8_product(&product, 0, wt_int8_panels(OUT));
        for (size_t i = 0; i < 2 * OUT; i++) {
            float one = (float)abs(w_values[0]) * w_scale[0]; /* to half a step */
            assert_true(fabsf(one - 1) <= w_scale[0] / 2);
            assert_true(fabsf(y[i] - (float)IN * one * (i % OUT % 2 == i / OUT ? 1 : -1)) < 1e-4f);
        }
    }
}

static void what_is_not_finite_stays_visible_and_zeros_are_zeros(void **state)
{
    (void)state;
    enum { IN = 40, OUT = 20 };
    static const float bads[] = {NAN, INFINITY, -INFINITY};
    for (size_t set = 0; set_at(set); set++)
        for (size_t bad = 0; bad < WT_COUNTOF(bads); bad++) {
            const struct wt_matvec_kernels *k = set_at(set);
            float w[OUT * IN], x[3 * IN], y[3 * OUT], w_scale[2 * WT_INT8_PANEL], x_scale[3];
            int8_t w_values[2 * WT_INT8_PANEL * IN];
            uint8_t x_values[3 * IN];
            int32_t sum[2 * WT_INT8_PANEL];
            for (size_t i = 0; i < OUT * IN; i++)
                w[i] = i / IN == 7 || i % 4 ? 0 : 1; /* an output without weights */
            for (size_t i = 0; i < 3 * IN; i++)
                x[i] = i / IN == 2 ? 0 : 0.5f;
            x[IN + 3] = bads[bad];
            struct wt_int8_weight weight = {w_values, w_scale, sum, OUT, IN};
            int32_t x_zero[3];
            struct wt_int8_rows rows = {x_values, x_scale, x_zero, IN};
            k->quantise_weight(&weight, w, 0, 2);
            k->quantise_rows(&rows, x, 0, 3);
            const struct wt_int8_product product = {.x = &rows, .w = &weight, .y = y, .m = 3};
            k->int8_product(&product, 0, 2);
            for (size_t i = 0; i < OUT; i++) {
                assert_true(fabsf(y[i] - (i == 7 ? 0 : w_scale[i] * 5 * (float)w_values[0])) <
                            1e-4f);
                assert_true(y[OUT + i] != y[OUT + i]);
                assert_true(y[2 * OUT + i] == 0);
            }
        }
}

/* Whatever its bits are: those of a NaN may be all that carries it through a function. */
static void every_kind_of_nan_passes_every_function(void **state)
{
    (void)state;
    enum { COUNT = 37 };
    static const uint32_t nans[] = {0x7fc00000, 0x7fffffff, 0xffffffff, 0xffc00000};
    for (size_t set = 0; set_at(set); set++)
        for (size_t nan = 0; nan < WT_COUNTOF(nans); nan++)
            for (int f = WT_IDENTITY; f <= WT_RELU; f++) {
                float one = 1, w[COUNT], y[COUNT];
                for (size_t i = 0; i < COUNT; i++)
                    w[i] = 0.5f;
                memcpy(&w[20], &nans[nan], sizeof(w[20]));
                const struct wt_matvec v = {.x = &one,
                                            .w = w,
                                            .y = y,
                                            .m = 1,
                                            .in = 1,
                                            .out = COUNT,
                                            .f = (enum wt_nonlinearity)f};
                set_at(set)->product(&v, 0, COUNT);
                for (size_t i = 0; i < COUNT; i++)
                    assert_int_equal(isnan(y[i]) != 0, i == 20);
            }
}

static void powers_of_two_hold_to_the_ends(void **state)
{
    (void)state;
    static const uint32_t nans[] = {0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001};
    for (size_t nan = 0; nan < WT_COUNTOF(nans); nan++) {
        float x;
        memcpy(&x, &nans[nan], sizeof(x));
        float y = wt_exp2(wt_all(x))[0];
        assert_true(isnan(y));
    }
    for (double x = -125; x <= 127; x += 0.0078125) {
        float y = wt_exp2(wt_all((float)x))[0];
        assert_true(fabs((double)y / exp2(x) - 1) <= 0x1p-22);
    }
    assert_true(wt_exp2(wt_all(127))[0] == 0x1p127f);
    assert_true(wt_exp2(wt_all(-125))[0] == 0x1p-125f);
    assert_true(wt_exp2(wt_all(-INFINITY))[0] == 0x1p-125f);
}

/* As many of the largest integers as 32 bits have room for, of all four signs. */
static void the_widest_rows_do_not_overflow(void **state)
{
    (void)state;
    enum { IN = WT_INT8_MOST_IN, OUT = WT_INT8_PANEL };
    float *w = test_malloc(sizeof(float) * OUT * IN), *x = test_malloc(sizeof(float) * 2 * IN);
    for (size_t i = 0; i < (size_t)OUT * IN; i++)
        w[i] = i / IN % 2 ? -1 : 1;
    for (size_t i = 0; i < (size_t)2 * IN; i++)
        x[i] = i / IN ? -1 : 1;
    float y[2 * OUT], w_scale[OUT], x_scale[2];
    int32_t sum[OUT];
    struct wt_int8_weight weight = {test_malloc(wt_int8_weight_bytes(OUT, IN)), w_scale, sum, OUT,
                                    IN};
    int32_t x_zero[2];
    struct wt_int8_rows rows = {test_malloc(2 * 4 * wt_int8_groups(IN)), x_scale, x_zero, IN};
    for (size_t set = 0; set_at(set); set++) {
        const struct wt_matvec_kernels *k = set_at(set);
        k->quantise_weight(&weight, w, 0, 1);
        k->quantise_rows(&rows, x, 0, 2);
        const struct wt_int8_product product = {.x = &rows, .w = &weight, .y = y, .m = 2};
        k->int8_product(&product, 0, 1);
        float one = (float)abs(weight.values[0]) * w_scale[0];
        for (size_t i = 0; i < 2 * OUT; i++)
            assert_true(fabsf(y[i] - (float)IN * one * (i % OUT % 2 == i / OUT ? 1 : -1)) < 0.1f);
    }
    test_free(weight.values);
    test_free(rows.values);
    test_free(w);
    test_free(x);
}

static void the_best_products_are_the_first(void **state)
{
    (void)state;
    size_t count = 0;
    while (wt_matvec_at(count))
        print_message("products: %s\n", wt_matvec_at(count++)->name);
    assert_ptr_equal(wt_matvec_best(), wt_matvec_at(0));
    assert_string_equal(wt_matvec_at(count - 1)->name, "baseline");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_exact),
        cmocka_unit_test(nonlinearities_hold_from_zero_to_far_out),
        cmocka_unit_test(a_quantised_value_is_off_by_half_a_step_at_most),
        cmocka_unit_test(integer_products_are_those_of_the_integers),
        cmocka_unit_test(the_largest_integers_do_not_saturate),
        cmocka_unit_test(ones_are_ones_of_all_four_signs),
        cmocka_unit_test(what_is_not_finite_stays_visible_and_zeros_are_zeros),
        cmocka_unit_test(every_kind_of_nan_passes_every_function),
        cmocka_unit_test(powers_of_two_hold_to_the_ends),
        cmocka_unit_test(the_widest_rows_do_not_overflow),
        cmocka_unit_test(the_best_products_are_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
