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

static bool is_known_to(const struct wt_cuda_api *by, int architecture)
{
    int count = 0, known[256] = {0};
    assert_int_equal(by->rtc_arch_count(&count), 0);
    assert_in_range(count, 1, 256);
    assert_int_equal(by->rtc_archs(known), 0);
    for (int i = 0; i < count; i++)
        if (known[i] == architecture)
            return true;
    return false;
}

static void compile(int architecture, enum wt_cuda_mode mode, enum wt_cuda_part part, unsigned size,
                    unsigned vector, const char *kernel)
{
    char *code = NULL;
    size_t bytes = 0;
    struct wt_error err = {0};
    int rc = wt_cuda_compile(&api, architecture, mode, part, size, vector, &code, &bytes, &err);
    if (rc < 0)
        print_error("sm_%d mode %d part %d size %u: %s\n", architecture, (int)mode, (int)part, size,
                    err.text);
    assert_int_equal(rc, 0);
    assert_non_null(memmem(code, bytes, kernel, strlen(kernel)));
    free(code);
}

/* Those with code of their own, and the newest; all of them take minutes, so that most wait for
 * WATTUNE_EVERY_ARCHITECTURE=1. tf32 and bf16: from 8.0 on. The warps of heads of 64 are as cuda.c
 * takes them: 2 where a device has 64 KB of shared memory. */
static void every_part_compiles_for_each_kind_of_architecture(void **state)
{
    (void)state;
    static const struct {
        int architecture;
        enum wt_cuda_mode from, to;
        unsigned warps; /* 0: as many as the mode has */
        bool is_always;
    } list[] = {
        {80, WT_CUDA_FP32, WT_CUDA_BF16, 0, true},  {90, WT_CUDA_BF16, WT_CUDA_BF16, 0, true},
        {70, WT_CUDA_FP32, WT_CUDA_FP32, 0, false}, {75, WT_CUDA_FP32, WT_CUDA_FP32, 2, false},
        {90, WT_CUDA_FP32, WT_CUDA_TF32, 0, false}, {120, WT_CUDA_BF16, WT_CUDA_BF16, 0, false},
    };
    bool is_every = getenv("WATTUNE_EVERY_ARCHITECTURE") != NULL;
    unsigned compiled = 0;
    for (size_t i = 0; i < WT_COUNTOF(list); i++) {
        int a = list[i].architecture;
        if (!list[i].is_always && !is_every)
            continue;
        if (!is_known_to(&api, a)) {
            print_message("sm_%d is not compiled for: this NVRTC does not know it\n", a);
            continue;
        }
        for (enum wt_cuda_mode mode = list[i].from; mode <= list[i].to; mode++) {
            unsigned warps = mode == WT_CUDA_BF16 ? 8 : 4;
            compile(a, mode, WT_CUDA_COMMON, 1, 1, "adamw_step");
            compile(a, mode, WT_CUDA_NORM, 768, mode == WT_CUDA_BF16 ? 8 : 4, "norm_back");
            compile(a, mode, WT_CUDA_ATTENTION, 64, list[i].warps ? list[i].warps : warps,
                    "attend_back_keys");
        }
        compiled++;
    }
    if (compiled == 0)
        fail_msg("this NVRTC knows none of the architectures");
}

static void odd_sizes_compile(void **state)
{
    (void)state;
    static const unsigned widths[] = {1, 5, 257};
    for (size_t i = 0; i < WT_COUNTOF(widths); i++)
        compile(80, (enum wt_cuda_mode)i, WT_CUDA_NORM, widths[i], 1, "norm_rows");
    compile(80, WT_CUDA_BF16, WT_CUDA_NORM, 1600, 8, "norm_rows");
    compile(80, WT_CUDA_BF16, WT_CUDA_ATTENTION, 1, 8, "attend");
    compile(80, WT_CUDA_TF32, WT_CUDA_ATTENTION, 24, 4, "attend");
    compile(80, WT_CUDA_BF16, WT_CUDA_ATTENTION, 128, 4, "attend");
}

static void a_device_newer_than_the_compiler_gets_ptx(void **state)
{
    (void)state;
    char *code = NULL;
    size_t bytes = 0;
    struct wt_error err = {0};
    assert_int_equal(
        wt_cuda_compile(&api, 999, WT_CUDA_FP32, WT_CUDA_NORM, 64, 4, &code, &bytes, &err), 0);
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
    assert_int_equal(
        wt_cuda_compile(&api, 80, WT_CUDA_FP32, WT_CUDA_NORM, 0, 4, &code, &bytes, &err),
        WT_E_INTERNAL);
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

/* CUDA 13 has no Volta, whose driver may still be of CUDA 13. */
static void for_a_volta_no_compiler_is_taken_that_dropped_it(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_cuda_api tools = {.driver = 13000};
    int rc = wt_cuda_api_open_tools(&tools, 70, &err);
    if (tools.rtc_archs) { /* NVRTC is there, whether or not the rest is */
        assert_true(is_known_to(&tools, 70));
    } else {
        assert_int_equal(rc, WT_E_NOTFOUND);
        assert_non_null(strstr(err.text, "of CUDA 12 or older, the last one for this GPU,"));
        assert_non_null(strstr(err.fix, "cu12"));
    }
    wt_cuda_api_close(&tools);
}

static void a_driver_older_than_all_libraries_is_named(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_cuda_api tools = {.driver = 10020};
    assert_int_equal(wt_cuda_api_open_tools(&tools, 70, &err), WT_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "10.2"));
    assert_non_null(strstr(err.fix, "driver"));
    wt_cuda_api_close(&tools);
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
        cmocka_unit_test(for_a_volta_no_compiler_is_taken_that_dropped_it),
        cmocka_unit_test(a_driver_older_than_all_libraries_is_named),
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
