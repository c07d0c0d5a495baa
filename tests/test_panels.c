/* panels: products with packed weights beside a plain one in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/panels.h"
#include "workload/random.h"

#define M_MOST    WT_PANEL_ROWS
#define OUT_MOST  49
#define IN_MOST   (3 * WT_PANEL_STRETCH + 1)
#define UNTOUCHED 1e30f

static float x[M_MOST * IN_MOST], w[OUT_MOST * IN_MOST], bias[OUT_MOST];
static float y[M_MOST * OUT_MOST], y_in_parts[M_MOST * OUT_MOST];
static float scratch[WT_PANEL_ROWS * WT_PANEL_STRETCH];

static float noise(uint64_t seed, size_t i)
{
    return (float)((double)(wt_random_at(seed, i) >> 11) * 0x1p-52 - 1);
}

static const struct wt_panel_kernels *kernels(void)
{
    const struct wt_panel_kernels *k = wt_panels_any();
    if (!k) {
        print_message("skipped: this processor has no AVX2\n");
        skip();
    }
    return k;
}

/* Exactly as large as they must be: what is touched behind them is found by the sanitizers. */
static struct wt_panels packed(const struct wt_panel_kernels *k, size_t out, size_t in)
{
    size_t bytes = wt_panels_floats(out, in) * sizeof(float);
    struct wt_panels p = {aligned_alloc(64, (bytes + 63) / 64 * 64), out, in};
    assert_non_null(p.values);
    k->pack(&p, w, 0, wt_panels_of(out));
    return p;
}

static void check(const struct wt_panel_kernels *k, size_t m, size_t out, size_t in, bool has_bias)
{
    struct wt_panels p = packed(k, out, in);
    for (size_t i = 0; i < M_MOST * OUT_MOST; i++)
        y[i] = y_in_parts[i] = UNTOUCHED;
    k->product(&p, x, has_bias ? bias : NULL, y, m, 0, wt_panels_of(out), scratch);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < out; c++) {
            double sum = has_bias ? (double)bias[c] : 0, size = fabs(sum);
            for (size_t i = 0; i < in; i++) {
                double term = (double)x[r * in + i] * (double)w[c * in + i];
                sum += term;
                size += fabs(term);
            }
            double off = fabs((double)y[r * out + c] - sum);
            if (!(off <= 1e-6 * size))
                print_error("%zu x %zu x %zu, row %zu, column %zu: off by %g of %g\n", m, out, in,
                            r, c, off, size);
            assert_true(off <= 1e-6 * size);
        }
    for (size_t i = m * out; i < M_MOST * OUT_MOST; i++)
        assert_true(y[i] == UNTOUCHED);
    /* Panel by panel, the last first, and row by row: the same to the bit. */
    for (size_t panel = wt_panels_of(out); panel-- > 0;)
        for (size_t r = 0; r < m; r++)
            k->product(&p, x + r * in, has_bias ? bias : NULL, y_in_parts + r * out, 1, panel,
                       panel + 1, scratch);
    assert_memory_equal(y, y_in_parts, sizeof(y));
    free(p.values);
}

static void a_product_of_any_shape_is_right(void **state)
{
    (void)state;
    const struct wt_panel_kernels *k = kernels();
    static const size_t rows[] = {1, 2, 5, 6, 7, 17, 28}, outs[] = {1, 15, 16, 17, 31, 49};
    static const size_t ins[] = {1,
                                 3,
                                 4,
                                 WT_PANEL_STRETCH - 1,
                                 WT_PANEL_STRETCH,
                                 WT_PANEL_STRETCH + 1,
                                 2 * WT_PANEL_STRETCH + 6,
                                 IN_MOST};
    for (size_t a = 0; a < WT_COUNTOF(rows); a++)
        for (size_t b = 0; b < WT_COUNTOF(outs); b++)
            for (size_t c = 0; c < WT_COUNTOF(ins); c++)
                check(k, rows[a], outs[b], ins[c], (a + b + c) % 2);
    check(k, WT_PANEL_ROWS, OUT_MOST, WT_PANEL_STRETCH + 5, true);
}

/* Training that diverged must not look sound. */
static void a_value_that_is_not_finite_stays_one(void **state)
{
    (void)state;
    const struct wt_panel_kernels *k = kernels();
    enum { OUT = 20, IN = 400, ROWS = 8 };
    struct wt_panels p = packed(k, OUT, IN);
    float kept = x[3 * IN + 399];
    x[3 * IN + 399] = NAN;
    k->product(&p, x, bias, y, ROWS, 0, wt_panels_of(OUT), scratch);
    x[3 * IN + 399] = kept;
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < OUT; c++)
            assert_int_equal(!isfinite(y[r * OUT + c]), r == 3);
    free(p.values);
}

static int make_operands(void **state)
{
    (void)state;
    for (size_t i = 0; i < WT_COUNTOF(x); i++)
        x[i] = noise(1, i);
    for (size_t i = 0; i < WT_COUNTOF(w); i++)
        w[i] = noise(2, i);
    for (size_t i = 0; i < WT_COUNTOF(bias); i++)
        bias[i] = noise(3, i);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_of_any_shape_is_right),
        cmocka_unit_test(a_value_that_is_not_finite_stays_one),
    };
    return cmocka_run_group_tests(tests, make_operands, NULL);
}
