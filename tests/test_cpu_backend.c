/* The CPU backend against the reference, operation by operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend_contract.h"
#include "base/base.h"
#include "workload/cpu.h"
#include "workload/products.h"

static unsigned failures_of(const struct wt_cpu_options *options, double tolerance)
{
    struct wt_backend b;
    struct wt_error err = {0};
    int rc = wt_cpu_new_with(&b, options, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    unsigned failures = wt_backend_contract(&b, tolerance, NULL);
    assert_true(wt_cpu_product_flops(&b) > 0);
    wt_backend_free(&b);
    return failures;
}

static void every_kernel_table_keeps_the_contract_in_float(void **state)
{
    (void)state;
    for (size_t set = 0; wt_kernels_at(set); set++) {
        struct wt_cpu_options o = {.dtype = WT_F32,
                                   .threads = 2,
                                   .kernels = wt_kernels_at(set),
                                   .attend = wt_attend_at(set)};
        print_message("kernels: %s\n", o.kernels->name);
        assert_int_equal(failures_of(&o, 1e-5), 0);
    }
}

static void one_thread_or_five_or_bound_ones_keep_it_too(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_F32, .threads = 1};
    assert_int_equal(failures_of(&o, 1e-5), 0);
    o.threads = 5;
    assert_int_equal(failures_of(&o, 1e-5), 0);
    o.threads = 1;
    o.is_pinned = true;
    assert_int_equal(failures_of(&o, 1e-5), 0);
}

/* Also by way of float, on processors without instructions for it: users are refused there. */
static void bf16_keeps_it_within_its_rounding(void **state)
{
    (void)state;
    struct wt_cpu_options o = {.dtype = WT_BF16, .threads = 2, .is_slow_allowed = true};
    assert_int_equal(failures_of(&o, 2e-2), 0);
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
    assert_int_equal(wt_cpu_new(&b, WT_F32, 100000, true, &err) < 0, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_table_keeps_the_contract_in_float),
        cmocka_unit_test(one_thread_or_five_or_bound_ones_keep_it_too),
        cmocka_unit_test(bf16_keeps_it_within_its_rounding),
        cmocka_unit_test(what_the_processor_lacks_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
