/* The CUDA kernels compile for every kind of device that they are for. NVRTC needs no GPU; where it
 * is not there, this is skipped (tests/cuda-clang compiles them with clang). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "workload/backend.h"
#include "workload/cuda_api.h"

static struct wt_cuda_api api;

static bool is_known(int architecture)
{
    int count = 0, known[256] = {0};
    assert_int_equal(api.rtc_arch_count(&count), 0);
    assert_in_range(count, 1, 256);
    assert_int_equal(api.rtc_archs(known), 0);
    for (int i = 0; i < count; i++)
        if (known[i] == architecture)
            return true;
    return false;
}

static void compile(int architecture, int mode, int part, unsigned size, unsigned vector,
                    const char *kernel)
{
    char *code = NULL;
    size_t bytes = 0;
    struct wt_error err = {0};
    int rc = wt_cuda_compile(&api, architecture, mode, part, size, vector, &code, &bytes, &err);
    if (rc < 0)
        print_error("sm_%d mode %d part %d size %u: %s\n", architecture, mode, part, size,
                    err.text);
    assert_int_equal(rc, 0);
    assert_non_null(memmem(code, bytes, kernel, strlen(kernel)));
    free(code);
}

/* The oldest, the first with bf16, and Hopper; WATTUNE_EVERY_ARCHITECTURE=1 takes the ones between
 * and after as well (minutes). */
static void every_part_compiles_for_each_kind_of_architecture(void **state)
{
    (void)state;
    static const int architectures[] = {70, 80, 90, 75, 86, 89, 100, 120};
    size_t count = getenv("WATTUNE_EVERY_ARCHITECTURE") ? WT_COUNTOF(architectures) : 3;
    for (size_t i = 0; i < count; i++) {
        int a = architectures[i];
        if (!is_known(a))
            continue;
        for (int mode = 0; mode < (a < 80 ? 1 : 3); mode++) { /* tf32 and bf16: from 8.0 on */
            compile(a, mode, 1, 1, 1, "adamw_step");
            compile(a, mode, 2, 768, mode == 2 ? 8 : 4, "norm_back");
            compile(a, mode, 3, 64, 1, "attend_back_keys");
        }
    }
}

static void odd_sizes_compile(void **state)
{
    (void)state;
    static const unsigned widths[] = {1, 5, 257, 1600}, heads[] = {1, 24, 80, 128, 256};
    for (int mode = 0; mode < 3; mode += 2) {
        for (size_t i = 0; i < WT_COUNTOF(widths); i++)
            compile(80, mode, 2, widths[i], 1, "norm_rows");
        for (size_t i = 0; i < WT_COUNTOF(heads); i++)
            compile(80, mode, 3, heads[i], 1, "attend");
    }
}

static void a_device_newer_than_the_compiler_gets_ptx(void **state)
{
    (void)state;
    char *code = NULL;
    size_t bytes = 0;
    struct wt_error err = {0};
    assert_int_equal(wt_cuda_compile(&api, 999, 0, 2, 64, 4, &code, &bytes, &err), 0);
    assert_non_null(memmem(code, bytes, ".version", 8));
    free(code);
}

static void what_the_compiler_says_is_told(void **state)
{
    (void)state;
    char *code = NULL;
    size_t bytes = 0;
    struct wt_error err = {0};
    /* norms of no columns */
    assert_int_equal(wt_cuda_compile(&api, 80, 0, 2, 0, 4, &code, &bytes, &err), WT_E_INTERNAL);
    assert_non_null(strstr(err.text, "error"));
    assert_null(code);
}

/* On a machine with a GPU this says nothing; there bench/cuda is run. */
static void without_a_driver_it_is_said_what_is_missing(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    struct wt_error err = {0};
    int rc = wt_cuda_new(&b, WT_F32, 0, &err);
    if (rc == 0) {
        wt_backend_free(&b);
        skip();
    }
    assert_true(rc == WT_E_NOTFOUND || rc == WT_E_UNSUPPORTED || rc == WT_E_IO);
    assert_true(strlen(err.text) > 0);
    if (strstr(err.text, "libcuda"))
        assert_non_null(strstr(err.fix, "driver"));
}

static void int8_is_refused(void **state)
{
    (void)state;
    struct wt_backend b = {0};
    struct wt_error err = {0};
    assert_int_equal(wt_cuda_new(&b, WT_INT8, 0, &err), WT_E_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest always[] = {
        cmocka_unit_test(without_a_driver_it_is_said_what_is_missing),
        cmocka_unit_test(int8_is_refused),
    };
    const struct CMUnitTest compiled[] = {
        cmocka_unit_test(every_part_compiles_for_each_kind_of_architecture),
        cmocka_unit_test(odd_sizes_compile),
        cmocka_unit_test(a_device_newer_than_the_compiler_gets_ptx),
        cmocka_unit_test(what_the_compiler_says_is_told),
    };
    int failed = cmocka_run_group_tests(always, NULL, NULL);
    struct wt_error err = {0};
    if (wt_cuda_api_open_compiler(&api, &err) < 0) {
        printf("skipped: %s\n", err.text);
        return failed ? failed : 77;
    }
    failed += cmocka_run_group_tests(compiled, NULL, NULL);
    wt_cuda_api_close(&api);
    return failed;
}
