/* sensor: which GPUs a list names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "sensor/sensor.h"

/* Two whole cards and one with two instances. */
static const struct wt_device_info gpus[] = {
    {.id = "GPU-8f3a1111-0000", .index = 0},
    {.id = "GPU-8f3b2222-0000", .index = 1},
    {.id = "GPU-c0003333-0000", .index = 2},
    {.id = "MIG-11112222-0000", .index = 0, .is_part = true, .part_of = "GPU-c0003333-0000"},
    {.id = "MIG-11113333-0000", .index = 1, .is_part = true, .part_of = "GPU-c0003333-0000"},
};

static void a_list_names_gpus(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool is_env;
        int rc;
        const char *want; /* k: kept */
        const char *why;
    } rows[] = {
        {"0", false, 0, "k....", "an index"},
        {"1,0", false, 0, "kk...", "order is the machine's"},
        {" 0 , 1 ", false, 0, "kk...", "blanks around entries"},
        {"GPU-8f3b2222-0000", false, 0, ".k...", "a UUID"},
        {"gpu-8F3B", false, 0, ".k...", "a unique beginning, in any case"},
        {"GPU-8f3", false, WT_E_USAGE, ".....", "two begin so"},
        {"2", false, 0, "..kkk", "a card brings its instances"},
        {"MIG-11112222-0000", false, 0, "..kk.", "an instance brings its card"},
        {"MIG-1111", false, WT_E_USAGE, ".....", "two instances begin so"},
        {"0,0", false, 0, "k....", "twice is once"},
        {"3", false, WT_E_NOTFOUND, ".....", "instances have no index"},
        {"99999999999999999999", false, WT_E_NOTFOUND, ".....", "no number of ours"},
        {"-1", false, WT_E_NOTFOUND, ".....", "no number at all"},
        {"", false, WT_E_USAGE, ".....", "an empty list is a slip"},
        {"0,,1", false, WT_E_USAGE, "k....", "an empty entry too"},
        {"0,1,", false, WT_E_USAGE, "kk...", "and at the end"},
        {"", true, 0, ".....", "CUDA: empty means none"},
        {"-1", true, 0, ".....", "CUDA: so does -1"},
        {"NoDevFiles", true, 0, ".....", "and what Slurm writes"},
        {"0,7,1", true, 0, "k....", "CUDA: what follows a wrong entry is not seen"},
        {"1,GPU-8f3a", true, 0, "kk...", "CUDA: indices and UUIDs mix"},
        {"MIG-11113333-0000", true, 0, "..k.k", "CUDA: an instance"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bool keep[WT_COUNTOF(gpus)];
        struct wt_error err;
        int rc = wt_gpu_select(gpus, WT_COUNTOF(gpus), rows[i].list, rows[i].is_env, keep, &err);
        if (rc != rows[i].rc)
            fail_msg("\"%s\" (%s): %d, not %d", rows[i].list, rows[i].why, rc, rows[i].rc);
        if (rc < 0) {
            assert_int_equal(err.code, rc);
            assert_non_null(strstr(err.fix, "0 (GPU-8f3a1111)"));
            continue;
        }
        for (size_t g = 0; g < WT_COUNTOF(gpus); g++)
            if (keep[g] != (rows[i].want[g] == 'k'))
                fail_msg("\"%s\" (%s): GPU %zu", rows[i].list, rows[i].why, g);
    }
}

static void a_long_entry_is_an_error_not_a_crash(void **state)
{
    (void)state;
    char list[1000];
    bool keep[WT_COUNTOF(gpus)];
    struct wt_error err;
    memset(list, 'G', sizeof(list) - 1);
    list[sizeof(list) - 1] = '\0';
    assert_int_equal(wt_gpu_select(gpus, WT_COUNTOF(gpus), list, false, keep, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_gpu_select(NULL, 0, "0", false, NULL, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_names_gpus),
        cmocka_unit_test(a_long_entry_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
