/* kernels: every instruction set this processor has, against the formulas in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/kernels.h"
#include "workload/random.h"

#define ROWS 5
#define N    77 /* no multiple of a vector */

/* -spread..spread */
static void noise(float *x, size_t n, uint64_t seed, float spread)
{
    struct wt_random random = {seed, 0};
    for (size_t i = 0; i < n; i++)
        x[i] = spread * ((float)wt_random_below(&random, 20001) / 10000.0f - 1.0f);
}

/* The largest deviation is within 1e-5 of the largest value. */
static void assert_close(const char *kernels, const float *got, const double *want, size_t n)
{
    double largest = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        off = fmax(off, fabs((double)got[i] - want[i]));
        if (!(fabs((double)got[i]) < INFINITY))
            off = INFINITY;
    }
    if (!(off <= 1e-5 * largest))
        print_error("%s: off by %g of %g\n", kernels, off, largest);
    assert_true(off <= 1e-5 * largest);
}

static double phi(double x)
{
    return 0.5 * (1 + erf(x / sqrt(2.0)));
}

static void gelu_and_its_gradient_are_exact(void **state)
{
    (void)state;
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        /* From deep in the tails to around 0. */
        static const float spreads[] = {40, 6, 1, 1e-3f};
        for (size_t s = 0; s < WT_COUNTOF(spreads); s++) {
            float x[ROWS * N], y[ROWS * N], d[ROWS * N];
            double want[ROWS * N], dwant[ROWS * N];
            noise(x, ROWS * N, 1, spreads[s]);
            noise(d, ROWS * N, 3, 1);
            for (size_t i = 0; i < ROWS * N; i++) {
                double v = (double)x[i];
                want[i] = v * phi(v);
                dwant[i] = (double)d[i] * (phi(v) + v * exp(-v * v / 2) / sqrt(2 * acos(-1.0)));
            }
            k->activate(y, x, ROWS * N, WT_GELU_ERF);
            assert_close(k->name, y, want, ROWS * N);
            k->activate_backward(d, d, x, ROWS * N, WT_GELU_ERF);
            assert_close(k->name, d, dwant, ROWS * N);
        }
    }
}

static void cross_entropy_and_its_gradient_are_exact(void **state)
{
    (void)state;
    static const float spreads[] = {1, 60};
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        for (size_t s = 0; s < WT_COUNTOF(spreads); s++) {
            float x[N], lse;
            double want[N], sum = 0;
            noise(x, N, 9, spreads[s]);
            for (size_t i = 0; i < N; i++)
                sum += exp((double)x[i]);
            double loss = log(sum) - (double)x[13];
            for (size_t i = 0; i < N; i++)
                want[i] = 0.25 * (exp((double)x[i]) / sum - (i == 13));
            float got = k->cross_entropy(&lse, x, N, 13);
            assert_true(fabs((double)got - loss) < 1e-5 * fabs(loss));
            k->cross_entropy_backward(x, lse, 0.25f, N, 13);
            assert_close(k->name, x, want, N);
        }
    }
}

static void norm_and_its_gradients_are_exact(void **state)
{
    (void)state;
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        float x[ROWS * N], residual[ROWS * N], y[ROWS * N], d[ROWS * N], gain[N], bias[N],
            dgain[N] = {0}, dbias[N] = {0}, mean[ROWS], rstd[ROWS];
        double want[ROWS * N], dwant[ROWS * N], gwant[N] = {0}, bwant[N] = {0};
        noise(x, ROWS * N, 10, 3);
        noise(residual, ROWS * N, 11, 2);
        noise(gain, N, 12, 2);
        noise(bias, N, 13, 1);
        noise(d, ROWS * N, 14, 1);
        for (size_t r = 0; r < ROWS; r++) {
            double m = 0, v = 0, hat[N], g[N], sum = 0, dot = 0;
            for (size_t i = 0; i < N; i++)
                m += (double)(x[r * N + i] + residual[r * N + i]) / N;
            for (size_t i = 0; i < N; i++)
                v += pow((double)(x[r * N + i] + residual[r * N + i]) - m, 2) / N;
            for (size_t i = 0; i < N; i++) {
                hat[i] = ((double)(x[r * N + i] + residual[r * N + i]) - m) / sqrt(v);
                want[r * N + i] = hat[i] * (double)gain[i] + (double)bias[i];
                g[i] = (double)d[r * N + i] * (double)gain[i];
                gwant[i] += (double)d[r * N + i] * hat[i];
                bwant[i] += (double)d[r * N + i];
                sum += g[i] / N;
                dot += g[i] * hat[i] / N;
            }
            for (size_t i = 0; i < N; i++)
                dwant[r * N + i] = (g[i] - sum - hat[i] * dot) / sqrt(v);
        }
        k->add(x, residual, ROWS * N);
        for (size_t r = 0; r < ROWS; r++)
            k->norm_row(y + r * N, x + r * N, &mean[r], &rstd[r], gain, bias, N, 1e-12f);
        assert_close(k->name, y, want, ROWS * N);
        for (size_t r = 0; r < ROWS; r++)
            k->norm_backward_row(d + r * N, d + r * N, x + r * N, mean[r], rstd[r], gain, dgain,
                                 dbias, N);
        assert_close(k->name, dgain, gwant, N);
        assert_close(k->name, dbias, bwant, N);
        assert_close(k->name, d, dwant, ROWS * N);
    }
}

static void sums_are_sums(void **state)
{
    (void)state;
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        float x[ROWS * N], y[ROWS * N], sums[N];
        double want[ROWS * N], columns[N], squares = 0;
        noise(x, ROWS * N, 20, 3);
        noise(y, ROWS * N, 21, 3);
        noise(sums, N, 22, 3);
        for (size_t i = 0; i < N; i++)
            columns[i] = (double)sums[i];
        for (size_t i = 0; i < ROWS * N; i++) {
            columns[i % N] += (double)x[i];
            squares += (double)x[i] * (double)x[i];
            want[i] = (double)x[i] + (double)y[i];
        }
        /* By columns, as threads share them out. */
        k->add_columns(sums, x, ROWS, N, 0, 16);
        k->add_columns(sums, x, ROWS, N, 16, N);
        assert_close(k->name, sums, columns, N);
        assert_true(fabs(k->sum_of_squares(x, ROWS * N) - squares) < 1e-12 * squares);
        k->add(y, x, ROWS * N);
        assert_close(k->name, y, want, ROWS * N);
    }
}

static void bfloat16_is_rounded_to_the_nearest_even(void **state)
{
    (void)state;
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {
        {0x3f800000, 0x3f80}, /* 1 */
        {0x3f808000, 0x3f80}, /* half way: to even */
        {0x3f818000, 0x3f82}, /* half way: to even, up */
        {0x3f808001, 0x3f81}, /* just over */
        {0xbf80ffff, 0xbf81}, /* negative */
        {0x7f7fffff, 0x7f80}, /* the largest float: infinity */
        {0xff800000, 0xff80}, /* -infinity */
        {0x00000001, 0x0000}, /* the smallest: 0 */
        {0x80000000, 0x8000}, /* -0 */
    };
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        for (size_t i = 0; i < WT_COUNTOF(cases); i++) {
            float from[N], back[N];
            uint16_t to[N];
            for (size_t j = 0; j < N; j++)
                memcpy(&from[j], &cases[i].from, sizeof(float));
            k->narrow(to, from, N);
            k->widen(back, to, N);
            for (size_t j = 0; j < N; j++) {
                uint32_t bits;
                memcpy(&bits, &back[j], sizeof(bits));
                assert_int_equal(to[j], cases[i].to);
                assert_int_equal(bits, (uint32_t)cases[i].to << 16);
            }
        }
        float nan = NAN, back;
        uint32_t signalling = 0x7f800001; /* whose high half alone would be infinity */
        uint16_t to;
        k->narrow(&to, &nan, 1);
        k->widen(&back, &to, 1);
        assert_true(isnan(back));
        memcpy(&nan, &signalling, sizeof(nan));
        k->narrow(&to, &nan, 1);
        k->widen(&back, &to, 1);
        assert_true(isnan(back));
    }
}

static void dropout_is_decided_by_index_and_keeps_the_mean(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static float whole[COUNT], parts[COUNT], other[COUNT];
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        for (size_t i = 0; i < COUNT; i++)
            whole[i] = parts[i] = other[i] = 1;
        k->dropout(whole, COUNT, 77, 0, 0.1f);
        k->dropout(parts, 333, 77, 0, 0.1f);
        k->dropout(parts + 333, COUNT - 333, 77, 333, 0.1f);
        assert_memory_equal(whole, parts, sizeof(whole));
        k->dropout(other, COUNT, 78, 0, 0.1f);
        size_t dropped = 0, both = 0;
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(whole[i] == 0 || fabsf(whole[i] - 1 / 0.9f) < 1e-6f);
            dropped += whole[i] == 0;
            both += whole[i] == 0 && other[i] == 0;
        }
        /* 2000 and 200 with deviations of 42 and 14: five of them. */
        assert_in_range(dropped, 1788, 2212);
        assert_in_range(both, 130, 270);
    }
}

/* p 2^32 is rounded up on every device: 4.29 of 2^32 are 5, those whose bits are 0 to 4. */
static void a_small_probability_drops_what_other_devices_drop(void **state)
{
    (void)state;
    const uint64_t key = 77, last_dropped = 3407979488, first_kept = 454662582;
    assert_int_equal(wt_dropout_bits(key, last_dropped), 4);
    assert_int_equal(wt_dropout_bits(key, first_kept), 5);
    assert_int_equal(wt_dropout_below(1e-9f), 5);
    assert_int_equal(wt_dropout_below(0), 0);
    assert_int_equal(wt_dropout_below(0.5f), UINT32_C(1) << 31);
    assert_int_equal(wt_dropout_below(1), UINT32_MAX);
    for (size_t set = 0; wt_kernels_at(set); set++) {
        float dropped = 3, kept = 3;
        wt_kernels_at(set)->dropout(&dropped, 1, key, last_dropped, 1e-9f);
        wt_kernels_at(set)->dropout(&kept, 1, key, first_kept, 1e-9f);
        assert_true(dropped == 0);
        assert_true(kept == 3);
    }
}

/* Whatever its bits are. The gradient of what came to nothing is nothing. */
static void what_is_not_a_number_stays_visible(void **state)
{
    (void)state;
    static const uint32_t nans[] = {0x7fc00000, 0x7fffffff, 0xffffffff, 0xffc00000};
    for (size_t set = 0; wt_kernels_at(set); set++)
        for (size_t nan = 0; nan < WT_COUNTOF(nans); nan++)
            for (int f = WT_IDENTITY; f <= WT_RELU; f++) {
                const struct wt_kernels *k = wt_kernels_at(set);
                float x[N], y[N], d[N];
                noise(x, N, 30, 3);
                noise(d, N, 31, 3);
                memcpy(&x[41], &nans[nan], sizeof(x[41]));
                k->activate(y, x, N, (enum wt_nonlinearity)f);
                for (size_t i = 0; i < N; i++)
                    assert_int_equal(isnan(y[i]) != 0, i == 41);
                /* What comes from above, unless a negative input lets none of it through; and what
                 * went in, but where a slope of 1 lets through what comes. */
                d[17] = d[19] = NAN;
                x[17] = 1;
                x[19] = -1;
                k->activate_backward(d, d, x, N, (enum wt_nonlinearity)f);
                for (size_t i = 0; i < N; i++) {
                    bool is_nan = i == 17 || (i == 19 && f != WT_RELU) ||
                                  (i == 41 && f != WT_IDENTITY && f != WT_RELU);
                    assert_int_equal(isnan(d[i]) != 0, is_nan);
                }
            }
}

static void the_best_kernels_are_the_first(void **state)
{
    (void)state;
    size_t count = 0;
    while (wt_kernels_at(count))
        print_message("kernels: %s\n", wt_kernels_at(count++)->name);
    assert_ptr_equal(wt_kernels_best(), wt_kernels_at(0));
    assert_string_equal(wt_kernels_at(count - 1)->name, "baseline");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gelu_and_its_gradient_are_exact),
        cmocka_unit_test(cross_entropy_and_its_gradient_are_exact),
        cmocka_unit_test(norm_and_its_gradients_are_exact),
        cmocka_unit_test(sums_are_sums),
        cmocka_unit_test(bfloat16_is_rounded_to_the_nearest_even),
        cmocka_unit_test(dropout_is_decided_by_index_and_keeps_the_mean),
        cmocka_unit_test(a_small_probability_drops_what_other_devices_drop),
        cmocka_unit_test(what_is_not_a_number_stays_visible),
        cmocka_unit_test(the_best_kernels_are_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
