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

/* How work is shared out is the same in every table and type: ThreadSanitizer, under which this
 * takes ten times as long, looks at all operations of one and at the products of the others. */
#ifdef __SANITIZE_THREAD__
#define ALL_OR_FEW "linear"
#else
#define ALL_OR_FEW NULL
#endif

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
        assert_int_equal(failures_of(&o, 1e-5, set == 0 ? NULL : ALL_OR_FEW), 0);
    }
}

static void any_number_of_threads_keeps_it_too(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_F32, .threads = 5};
    assert_int_equal(failures_of(&o, 1e-5, ALL_OR_FEW), 0);
    o.threads = 1;
    o.is_pinned = true;
    assert_int_equal(failures_of(&o, 1e-5, "linear"), 0);
}

/* Also by way of float, on processors without instructions for it: users are refused there. */
static void bf16_keeps_it_within_its_rounding(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_BF16, .threads = 2, .is_slow_allowed = true};
    assert_int_equal(failures_of(&o, 2e-2, ALL_OR_FEW), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_table_keeps_the_contract_in_float),
        cmocka_unit_test(any_number_of_threads_keeps_it_too),
        cmocka_unit_test(bf16_keeps_it_within_its_rounding),
        cmocka_unit_test(int8_keeps_it_within_its_rounding),
        cmocka_unit_test(what_the_processor_lacks_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
