/* The CPU backend against the reference, operation by operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "backend_contract.h"
#include "base/base.h"
#include "workload/cpu.h"
#include "workload/products.h"

static unsigned failures_of(const struct wt_cpu_options *options, double tolerance,
                            const char *only)
{
    struct wt_backend b;
    struct wt_error err = {0};
    int rc = wt_cpu_new_with(&b, options, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    unsigned failures = wt_backend_contract(&b, tolerance, only);
    assert_true(wt_cpu_product_flops(&b) > 0);
    wt_backend_free(&b);
    return failures;
}

static const struct wt_matvec_kernels *matvec_named(const char *name)
{
    for (size_t i = 0; wt_matvec_at(i); i++)
        if (strcmp(wt_matvec_at(i)->name, name) == 0)
            return wt_matvec_at(i);
    return NULL;
}

static void every_kernel_table_keeps_the_contract_in_float(void **state)
{
    (void)state;
    for (size_t set = 0; wt_kernels_at(set); set++) {
        const struct wt_kernels *k = wt_kernels_at(set);
        struct wt_cpu_options o = {.dtype = WT_F32,
                                   .threads = 2,
                                   .kernels = k,
                                   .attend = wt_attend_at(set),
                                   .matvec = matvec_named(k->name)};
        print_message("kernels: %s\n", o.kernels->name);
        assert_int_equal(failures_of(&o, 1e-5, NULL), 0);
    }
}

static void any_number_of_threads_keeps_it_too(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_F32, .threads = 5};
    assert_int_equal(failures_of(&o, 1e-5, NULL), 0);
    o.threads = 1;
    o.is_pinned = true;
    assert_int_equal(failures_of(&o, 1e-5, "linear"), 0);
}

/* Also by way of float, on processors without instructions for it: users are refused there. */
static void bf16_keeps_it_within_its_rounding(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_BF16, .threads = 2, .is_slow_allowed = true};
    assert_int_equal(failures_of(&o, 2e-2, NULL), 0);
}

/* A weight is off by at most 1/254 of its row's largest, an activation likewise. */
static void int8_keeps_it_within_its_rounding(void **state)
{
    (void)state;
    for (size_t set = 0; wt_matvec_at(set); set++) {
        struct wt_cpu_options o = {
            .dtype = WT_INT8, .threads = 2, .is_slow_allowed = true, .matvec = wt_matvec_at(set)};
        print_message("products of integers: %s\n", o.matvec->name);
        assert_int_equal(failures_of(&o, 2e-2, "linear"), 0);
    }
}

static void what_the_processor_lacks_is_said(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    struct wt_error err = {0};
    const char *why = NULL;
    if (!wt_products_has_bf16(&why)) {
        assert_int_equal(wt_cpu_new(&b, WT_BF16, 1, false, &err), WT_E_UNSUPPORTED);
        assert_non_null(strstr(err.text, why));
        assert_true(err.fix[0] != '\0');
    }
    assert_int_equal(wt_cpu_new(&b, WT_TF32, 1, false, &err), WT_E_UNSUPPORTED);
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    unsigned too_many = (unsigned)CPU_COUNT(&cpus) + 1;
    assert_int_equal(wt_cpu_new(&b, WT_F32, too_many, true, &err), WT_E_USAGE);
}

static void integers_are_refused_for_rows_whose_sums_overflow(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    struct wt_error err = {0};
    struct wt_cpu_options o = {.dtype = WT_INT8, .threads = 1, .is_slow_allowed = true};
    assert_int_equal(wt_cpu_new_with(&b, &o, &err), 0);
    float *master = test_calloc(WT_INT8_MOST_IN + 1, sizeof(float));
    struct wt_weight w = {.master = master, .out = 1, .in = WT_INT8_MOST_IN};
    assert_int_equal(b.ops->prepare(b.self, &w, &err), 0);
    assert_non_null(w.prepared);
    b.ops->unprepare(b.self, &w);
    w.in++;
    assert_int_equal(b.ops->prepare(b.self, &w, &err), WT_E_UNSUPPORTED);
    assert_null(w.prepared);
    wt_backend_free(&b);
    test_free(master);
}

/* The norm is a float: squares that add up in a double may be too large for it. */
static void a_norm_that_is_infinite_as_a_float_changes_nothing(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    struct wt_error err = {0};
    assert_int_equal(wt_cpu_new(&b, WT_F32, 1, false, &err), 0);
    float p[2] = {1, 2}, first[2] = {3, 4}, second[2] = {5, 6}, norm = 0;
    const float g[2] = {3e38f, 3e38f};
    const struct wt_span span = {0, 2, true};
    const struct wt_adam a = {.p = p,
                              .first = first,
                              .second = second,
                              .g = g,
                              .spans = &span,
                              .span_count = 1,
                              .total = 2,
                              .rate = 0.1f,
                              .beta1 = 0.9f,
                              .beta2 = 0.999f,
                              .epsilon = 1e-8f,
                              .decay = 0.1f,
                              .correction1 = 0.1f,
                              .correction2 = 0.001f,
                              .clip = 1,
                              .norm = &norm};
    b.ops->adamw(b.self, &a);
    assert_int_equal(b.ops->sync(b.self, &err), 0);
    assert_true(norm > 3.4e38f);
    for (size_t i = 0; i < 2; i++) {
        assert_true(p[i] == (float)(1 + i));
        assert_true(first[i] == (float)(3 + i));
        assert_true(second[i] == (float)(5 + i));
    }
    wt_backend_free(&b);
}

/* How work is shared out is the same in every table and type: for ThreadSanitizer and valgrind,
 * under which all of it would take many minutes, of each operation a few sizes that several threads
 * take part in. */
static void threads_share_out_every_operation(void **state)
{
    (void)state;
    static const char *const few[] = {"embed rows 130", "rows 130 width 48", "m 130",
                                      "3 x 130",        "decode 4 x 33",     "loss m 70",
                                      "m 33 cl",        "20 of 128",         "adamw of 70001"};
    struct wt_cpu_options o = {.dtype = WT_F32, .threads = 3};
    struct wt_backend b;
    assert_int_equal(wt_cpu_new_with(&b, &o, NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(few); i++)
        assert_int_equal(wt_backend_contract(&b, 1e-5, few[i]), 0);
    wt_backend_free(&b);
}

/* few: the one case of suite unit. */
int main(int argc, char **argv)
{
    const struct CMUnitTest few[] = {cmocka_unit_test(threads_share_out_every_operation)};
    if (argc == 2 && strcmp(argv[1], "few") == 0)
        return cmocka_run_group_tests(few, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_table_keeps_the_contract_in_float),
        cmocka_unit_test(any_number_of_threads_keeps_it_too),
        cmocka_unit_test(bf16_keeps_it_within_its_rounding),
        cmocka_unit_test(int8_keeps_it_within_its_rounding),
        cmocka_unit_test(what_the_processor_lacks_is_said),
        cmocka_unit_test(integers_are_refused_for_rows_whose_sums_overflow),
        cmocka_unit_test(a_norm_that_is_infinite_as_a_float_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
