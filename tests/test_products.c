/* products: every library and every cut into pieces computes the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef WT_HAS_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif

#include "base/base.h"
#include "workload/products.h"
#include "workload/random.h"

/* Large enough to be timed, and multiples of nothing. */
#define M 203
#define N 415
#define K 311

static float a[M * K], b[N * K], before[M * N], c[M * N], bias[N];
static uint16_t a16[M * K], b16[N * K], c16[M * N];
static double want[M * N];
static struct wt_panels panels; /* b; without values where nothing multiplies them */

static float noise(uint64_t seed, size_t i)
{
    return (float)((double)(wt_random_at(seed, i) >> 11) * 0x1p-52 - 1);
}

/* Cut off, so that bfloat16 operands are the float ones exactly. */
static uint16_t cut(float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof(bits));
    bits &= 0xffff0000;
    memcpy(x, &bits, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

static float widened(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof(out));
    return out;
}

static void make_operands(enum wt_form form, bool is_adding, bool has_bias)
{
    for (size_t i = 0; i < M * K; i++) {
        a[i] = noise(1, i);
        a16[i] = cut(&a[i]);
    }
    for (size_t i = 0; i < N * K; i++) {
        b[i] = noise(2, i);
        b16[i] = cut(&b[i]);
    }
    for (size_t i = 0; i < M * N; i++) {
        before[i] = noise(3, i);
        cut(&before[i]);
    }
    for (size_t i = 0; i < N; i++)
        bias[i] = noise(4, i);
    if (wt_panels_any()) {
        static float values[(N + WT_PANEL) * K];
        panels = (struct wt_panels){values, N, K};
        wt_panels_any()->pack(&panels, b, 0, wt_panels_of(N));
    }
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = is_adding ? (double)before[i * N + j] : 0;
            sum += has_bias ? (double)bias[j] : 0;
            for (size_t k = 0; k < K; k++) {
                float x = form == WT_FORM_GRAD_WEIGHT ? a[k * M + i] : a[i * K + k];
                float y = form == WT_FORM_FORWARD ? b[j * K + k] : b[k * N + j];
                sum += (double)x * (double)y;
            }
            want[i * N + j] = sum;
        }
}

/* How often each row and column was handed on after it was computed. */
struct seen {
    unsigned char count[M * N];
};

static void see(void *data, size_t row, size_t rows, size_t column, size_t columns, unsigned thread)
{
    (void)thread;
    struct seen *s = data;
    for (size_t r = row; r < row + rows; r++)
        for (size_t k = column; k < column + columns; k++)
            s->count[r * N + k]++;
}

static void check_product(struct wt_products *p, enum wt_form form, bool is_bf16, bool is_c_bf16,
                          bool is_adding, bool has_bias, const struct wt_panels *packed)
{
    static struct seen seen;
    struct wt_product product = {.form = form,
                                 .is_bf16 = is_bf16,
                                 .is_c_bf16 = is_c_bf16,
                                 .m = M,
                                 .n = N,
                                 .k = K,
                                 .a = is_bf16 ? (void *)a16 : (void *)a,
                                 .b = is_bf16 ? (void *)b16 : (void *)b,
                                 .packed = packed,
                                 .c = is_c_bf16 ? (void *)c16 : (void *)c,
                                 .bias = has_bias ? bias : NULL,
                                 .is_adding = is_adding,
                                 .then = see,
                                 .then_data = &seen};
    memset(&seen, 0, sizeof(seen));
    for (size_t i = 0; i < M * N; i++) {
        c[i] = is_adding ? before[i] : NAN;
        float start = c[i];
        c16[i] = is_adding ? cut(&start) : 0x7fc0;
    }
    struct wt_error err = {0};
    assert_int_equal(wt_products_run(p, &product, &err), 0);
    double off = 0, size = 0;
    for (size_t i = 0; i < M * N; i++) {
        double got = (double)(is_c_bf16 ? widened(c16[i]) : c[i]);
        off += (got - want[i]) * (got - want[i]);
        size += want[i] * want[i];
        assert_int_equal(seen.count[i], 1);
    }
    double error = sqrt(off / size);
    if (!(error < (is_c_bf16 ? 4e-3 : 1e-6)))
        print_error("form %d, bf16 %d %d, adding %d, bias %d: off by %g\n", (int)form, is_bf16,
                    is_c_bf16, is_adding, has_bias, error);
    assert_true(error < (is_c_bf16 ? 4e-3 : 1e-6));
}

static void check_all(unsigned threads)
{
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    assert_int_equal(wt_pool_new(&pool, threads, &err), 0);
    assert_int_equal(wt_products_new(&p, pool, threads, &err), 0);
    for (int form = WT_FORM_FORWARD; form <= WT_FORM_GRAD_WEIGHT; form++)
        for (int with = 0; with < 3; with++) { /* nothing, adding, a bias */
            make_operands((enum wt_form)form, with == 1, with == 2);
            /* As often as there are candidates, and once more with the chosen one. */
            for (int round = 0; round < 18; round++)
                check_product(p, (enum wt_form)form, false, false, with == 1, with == 2, NULL);
            for (int round = 0; round < 3; round++) {
                check_product(p, (enum wt_form)form, true, false, with == 1, with == 2, NULL);
                check_product(p, (enum wt_form)form, true, true, with == 1, with == 2, NULL);
            }
            bool is_packed = form == WT_FORM_FORWARD && with != 1 && panels.values;
            for (int round = 0; is_packed && round < 24; round++)
                check_product(p, (enum wt_form)form, false, false, false, with == 2, &panels);
        }
    double each = 2.0 * M * N * K, of_panels = panels.values ? 48 : 0;
    assert_true(fabs(wt_products_flops(p) - (9 * 24 + of_panels) * each) < each / 2);
    wt_products_free(p);
    wt_pool_free(pool);
}

static void whichever_is_tried_the_product_is_the_same(void **state)
{
    (void)state;
    unsetenv("WATTUNE_PRODUCTS");
    check_all(1);
    check_all(3);
}

static void each_library_can_be_had_alone(void **state)
{
    (void)state;
    static const char *const names[] = {"openblas", "onednn", "onednn-matmul", "panels"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        setenv("WATTUNE_PRODUCTS", names[i], 1);
        check_all(2);
    }
    unsetenv("WATTUNE_PRODUCTS");
}

static void panels_can_be_had_alone(void **state)
{
    (void)state;
    if (!wt_panels_any()) {
        print_message("skipped: this processor has no AVX2\n");
        skip();
    }
    /* Their sums are not OpenBLAS's to the bit, and the same however they are cut. */
    static float of_openblas[M * N], first[M * N];
    make_operands(WT_FORM_FORWARD, false, true);
    setenv("WATTUNE_PRODUCTS", "panels", 1);
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct wt_error err = {0};
        struct wt_pool *pool = NULL;
        struct wt_products *p = NULL;
        assert_int_equal(wt_pool_new(&pool, threads, &err), 0);
        assert_int_equal(wt_products_new(&p, pool, threads, &err), 0);
        check_product(p, WT_FORM_FORWARD, false, false, false, true, NULL);
        memcpy(of_openblas, c, sizeof(c));
        check_product(p, WT_FORM_FORWARD, false, false, false, true, &panels);
        assert_memory_not_equal(of_openblas, c, sizeof(c));
        if (threads == 1)
            memcpy(first, c, sizeof(c));
        assert_memory_equal(first, c, sizeof(c));
        wt_products_free(p);
        wt_pool_free(pool);
    }
    unsetenv("WATTUNE_PRODUCTS");
}

/* Rows of ones times twos. */
static void check_ones(struct wt_products *p, enum wt_form form, size_t m, size_t n, size_t k)
{
    struct wt_error err = {0};
    const struct wt_product product = {
        .form = form, .m = m, .n = n, .k = k, .a = a, .b = b, .c = c};
    assert_int_equal(wt_products_run(p, &product, &err), 0);
    for (size_t i = 0; i < m * n; i++)
        assert_true(c[i] == 2 * (float)k);
}

static void ever_new_shapes_do_not_fill_the_memory(void **state)
{
    (void)state;
    setenv("WATTUNE_PRODUCTS", "onednn-matmul", 1);
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    assert_int_equal(wt_pool_new(&pool, 1, &err), 0);
    assert_int_equal(wt_products_new(&p, pool, 1, &err), 0);
    for (size_t i = 0; i < M * K; i++)
        a[i] = 1;
    for (size_t i = 0; i < N * K; i++)
        b[i] = 2;
    /* More than are kept: of primitives, */
    for (size_t k = 1; k <= K; k++)
        for (size_t n = 1; n <= 4; n++)
            check_ones(p, WT_FORM_FORWARD, 1, n, k);
    /* and of choices, which shapes of the same rounded numbers share: than the table has slots. */
    size_t shapes = 0;
    for (int form = WT_FORM_FORWARD; form <= WT_FORM_GRAD_WEIGHT; form++)
        for (size_t m = 1; m <= 65; m += 64)
            for (size_t n = 64; n <= N * K / 64 && m * n <= M * N; n += 64)
                for (size_t k = 64; n * k <= N * K && m * k <= M * K; k += 64, shapes++)
                    check_ones(p, (enum wt_form)form, m, n, k);
    assert_true(shapes > 512);
    wt_products_free(p);
    wt_pool_free(pool);
    unsetenv("WATTUNE_PRODUCTS");
}

static void a_library_of_another_name_is_refused(void **state)
{
    (void)state;
    setenv("WATTUNE_PRODUCTS", "onednn-matmull", 1);
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    assert_int_equal(wt_pool_new(&pool, 1, &err), 0);
    assert_int_equal(wt_products_new(&p, pool, 1, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "onednn-matmull"));
    assert_null(p);
    wt_pool_free(pool);
    unsetenv("WATTUNE_PRODUCTS");
}

/* A choice is shared by shapes of the same rounded numbers: the larger one's, which is timed, is
 * not the smaller one's. */
static void a_small_product_is_the_same_before_and_after_a_large_one_was_timed(void **state)
{
    (void)state;
    unsetenv("WATTUNE_PRODUCTS");
    enum { SMALL_M = 193, SMALL_N = 390, SMALL_K = 260 }; /* 3.9e7 FLOPs; the large one 5.2e7 */
    static float first[SMALL_M * SMALL_N];
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    make_operands(WT_FORM_FORWARD, false, false);
    assert_int_equal(wt_pool_new(&pool, 2, &err), 0);
    assert_int_equal(wt_products_new(&p, pool, 2, &err), 0);
    struct wt_product small = {.form = WT_FORM_FORWARD, .m = SMALL_M, .n = SMALL_N, .k = SMALL_K};
    struct wt_product large = {.form = WT_FORM_FORWARD, .m = M, .n = N, .k = K};
    small.a = large.a = a;
    small.b = large.b = b;
    small.c = large.c = c;
    assert_int_equal(wt_products_run(p, &small, &err), 0);
    memcpy(first, c, sizeof(first));
    for (int round = 0; round < 25; round++) {
        assert_int_equal(wt_products_run(p, &large, &err), 0);
        assert_int_equal(wt_products_run(p, &small, &err), 0);
        assert_memory_equal(first, c, sizeof(first));
    }
    wt_products_free(p);
    wt_pool_free(pool);
}

#ifdef WT_HAS_DNNL
/* A primitive keeps OpenMP's number of threads of when it is made. */
static int primitives_made, threads_for_primitives;
static bool is_primitive_refused;

static int threads_of_openmp(void)
{
    int (*get)(void) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    memcpy(&get, &symbol, sizeof(get)); /* ISO C knows no conversion of the two */
    return get ? get() : 1;
}

/* The linker puts it before oneDNN's (--wrap). */
dnnl_status_t __real_dnnl_primitive_create(dnnl_primitive_t *made, const_dnnl_primitive_desc_t of);
dnnl_status_t __wrap_dnnl_primitive_create(dnnl_primitive_t *made, const_dnnl_primitive_desc_t of);
dnnl_status_t __wrap_dnnl_primitive_create(dnnl_primitive_t *made, const_dnnl_primitive_desc_t of)
{
    if (is_primitive_refused)
        return dnnl_out_of_memory;
    primitives_made++;
    threads_for_primitives = threads_of_openmp();
    return __real_dnnl_primitive_create(made, of);
}

/* On a thread that made no product before, as a program's first one. */
static void *first_product(void *ret_rc)
{
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    const struct wt_product product = {
        .form = WT_FORM_FORWARD, .m = M, .n = N, .k = K, .a = a, .b = b, .c = c};
    int rc = wt_pool_new(&pool, 1, &err);
    if (rc == 0)
        rc = wt_products_new(&p, pool, 1, &err);
    if (rc == 0)
        rc = wt_products_run(p, &product, &err);
    wt_products_free(p);
    wt_pool_free(pool);
    *(int *)ret_rc = rc;
    return NULL;
}
#endif

static void a_primitive_is_made_for_one_thread(void **state)
{
    (void)state;
#ifdef WT_HAS_DNNL
    setenv("WATTUNE_PRODUCTS", "onednn-matmul", 1);
    pthread_t thread;
    int rc = 0;
    primitives_made = 0;
    assert_int_equal(pthread_create(&thread, NULL, first_product, &rc), 0);
    pthread_join(thread, NULL);
    unsetenv("WATTUNE_PRODUCTS");
    assert_int_equal(rc, 0);
    assert_int_equal(primitives_made, 1);
    assert_int_equal(threads_for_primitives, 1);
#else
    print_message("skipped: built without oneDNN\n");
    skip();
#endif
}

/* For want of a primitive, or without instructions for it of the room to widen it: 1 PiB. */
static void a_product_that_is_refused_is_not_counted(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: the sanitizers end a program that asks for so much\n");
    skip();
#else
    struct wt_error err = {0};
    struct wt_pool *pool = NULL;
    struct wt_products *p = NULL;
    const struct wt_product product = {.form = WT_FORM_FORWARD,
                                       .is_bf16 = true,
                                       .m = 8,
                                       .n = 8,
                                       .k = (size_t)1 << 44,
                                       .a = a16,
                                       .b = b16,
                                       .c = c};
    int want_rc = WT_E_NOMEM;
    assert_int_equal(wt_pool_new(&pool, 1, &err), 0);
    assert_int_equal(wt_products_new(&p, pool, 1, &err), 0);
#ifdef WT_HAS_DNNL
    if (wt_products_has_bf16(NULL))
        want_rc = WT_E_UNSUPPORTED;
    is_primitive_refused = true;
#endif
    assert_int_equal(wt_products_run(p, &product, &err), want_rc);
#ifdef WT_HAS_DNNL
    is_primitive_refused = false;
#endif
    assert_true(wt_products_flops(p) == 0);
    wt_products_free(p);
    wt_pool_free(pool);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whichever_is_tried_the_product_is_the_same),
        cmocka_unit_test(each_library_can_be_had_alone),
        cmocka_unit_test(panels_can_be_had_alone),
        cmocka_unit_test(ever_new_shapes_do_not_fill_the_memory),
        cmocka_unit_test(a_primitive_is_made_for_one_thread),
        cmocka_unit_test(a_product_that_is_refused_is_not_counted),
        cmocka_unit_test(a_library_of_another_name_is_refused),
        cmocka_unit_test(a_small_product_is_the_same_before_and_after_a_large_one_was_timed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
