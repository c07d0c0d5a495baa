/* knob over NVML: described without a write, set within its range, read back, put back. Runs on
 * tests/fake_nvml.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "fake_nvml.h"
#include "knob/knob.h"
#include "sensor/nvml.h"

struct bed {
    void *library;
    struct fake_nvml *fake;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_error err;
};

static void bed_init(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("CUDA_VISIBLE_DEVICES");
    setenv("WATTUNE_NVML_TIMEOUT", "10", 1);
    bed->library = dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(bed->library);
    struct fake_nvml *(*reset)(void);
    void *symbol = dlsym(bed->library, "fake_nvml_reset");
    memcpy(&reset, &symbol, sizeof(reset));
    bed->fake = reset();
    struct wt_ctx_options options = {.nvml_library = FAKE_NVML};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, &bed->err), 0);
}

static void open_devices(struct bed *bed)
{
    struct wt_devices_options options = {.is_gpu_only = true};
    assert_int_equal(wt_devices_open(&bed->devices, bed->ctx, &options, &bed->err), 0);
}

static void bed_done(struct bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    dlclose(bed->library);
}

/* Kepler to Pascal: application clocks and no locks. */
static void make_old(struct bed *bed)
{
    bed->fake->arch = WT_NVML_ARCH_PASCAL;
    bed->fake->major = 6;
    bed->fake->is_old = 1;
}

static void a_knob_is_described_without_a_write(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed);
    open_devices(&bed);
    bed.fake->limit_mw = 200000;
    assert_int_equal(wt_devices_knob(bed.devices, 0, WT_KNOB_POWER, &k, &bed.err), 0);
    assert_true(k.min == 100000 && k.max == 250000 && k.def == 250000 && k.current == 200000 &&
                k.enforced == 200000 && k.step == 1000 && !k.is_lockable);
    assert_int_equal(wt_devices_knob(bed.devices, 0, WT_KNOB_CLOCK, &k, &bed.err), 0);
    assert_true(k.min == 150000 && k.max == 1380000 && k.step == 7000 && k.current == 0 &&
                k.def == 0 && k.is_lockable);
    assert_int_equal(bed.fake->limit_mw, 200000);
    assert_int_equal(bed.fake->lock_max, 0);
    /* A V100 cannot lock its memory clock, but has application clocks. */
    assert_int_equal(wt_devices_knob(bed.devices, 0, WT_KNOB_MEMCLOCK, &k, &bed.err), 0);
    assert_true(k.min == 405000 && k.max == 877000 && k.current == 877000 && !k.is_lockable);
    bed_done(&bed);
}

static void what_a_device_does_not_have_is_unsupported(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    struct wt_knob_found found;
    bed_init(&bed);
    bed.fake->mig_gpu = 2;
    open_devices(&bed);
    static const enum wt_knob later[] = {WT_KNOB_CPU_POWER, WT_KNOB_CPU_FREQ, (enum wt_knob)99};
    for (size_t i = 0; i < WT_COUNTOF(later); i++) {
        assert_int_equal(wt_devices_knob(bed.devices, 0, later[i], &k, &bed.err), WT_E_UNSUPPORTED);
        assert_int_equal(wt_knob_snapshot(bed.devices, 0, later[i], &found, &bed.err),
                         WT_E_UNSUPPORTED);
        assert_int_equal(wt_knob_set(bed.devices, 0, later[i], 1, NULL, &bed.err),
                         WT_E_UNSUPPORTED);
    }
    /* An instance has no limit of its own; the message names the card that has. */
    assert_int_equal(wt_devices_knob(bed.devices, 2, WT_KNOB_POWER, &k, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_non_null(strstr(bed.err.fix, "GPU-a1000000-fake"));
    assert_int_equal(wt_devices_knob(bed.devices, 9, WT_KNOB_POWER, &k, &bed.err), WT_E_NOTFOUND);
    bed_done(&bed);
}

static void a_limit_is_set_read_back_and_put_back(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_found found, now;
    int64_t enforced = 0;
    bed_init(&bed);
    open_devices(&bed);
    bed.fake->limit_mw = 212345; /* what a site's administrator set: not the default */
    assert_int_equal(wt_knob_snapshot(bed.devices, 0, WT_KNOB_POWER, &found, &bed.err), 0);
    assert_true(found.value == 212345 && found.is_read);
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_POWER, 150000, &enforced, &bed.err), 0);
    assert_int_equal(enforced, 150000);
    assert_int_equal(wt_knob_snapshot(bed.devices, 0, WT_KNOB_POWER, &now, &bed.err), 0);
    assert_int_equal(now.value, 150000);
    assert_int_equal(wt_knob_restore(bed.devices, 0, WT_KNOB_POWER, &found, &bed.err), 0);
    assert_int_equal(bed.fake->limit_mw, 212345);
    bed_done(&bed);
}

static void a_value_out_of_range_reaches_no_driver(void **state)
{
    (void)state;
    static const struct {
        enum wt_knob knob;
        int64_t value;
        const char *said;
    } rows[] = {
        {WT_KNOB_POWER, 99999, "100 to 250 W"},
        {WT_KNOB_POWER, 250001, "100 to 250 W"},
        {WT_KNOB_POWER, 0, "100 to 250 W"},
        {WT_KNOB_POWER, -1, "100 to 250 W"},
        {WT_KNOB_POWER, INT64_C(4294967296) + 150000, "100 to 250 W"},
        {WT_KNOB_CLOCK, 149000, "150 to 1380 MHz"},
        {WT_KNOB_CLOCK, 1381000, "150 to 1380 MHz"},
        {WT_KNOB_CLOCK, INT64_MIN, "150 to 1380 MHz"},
        {WT_KNOB_CLOCK, 1000500, "whole MHz"},
        {WT_KNOB_MEMCLOCK, 500000, "405 and 877 MHz"},
        {WT_KNOB_MEMCLOCK, 0, "405 to 877 MHz"},
    };
    struct bed bed;
    bed_init(&bed);
    open_devices(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        assert_int_equal(wt_knob_set(bed.devices, 0, rows[i].knob, rows[i].value, NULL, &bed.err),
                         WT_E_RANGE);
        if (!strstr(bed.err.text, rows[i].said) && !strstr(bed.err.fix, rows[i].said))
            fail_msg("\"%s\" does not say \"%s\"", bed.err.text, rows[i].said);
    }
    assert_int_equal(bed.fake->limit_mw, FAKE_LIMIT_MAX_MW);
    assert_int_equal(bed.fake->lock_max, 0);
    assert_int_equal(bed.fake->app_mem, FAKE_MEM_MHZ);

    /* A journal may be damaged: what is put back is a sane number or nothing. */
    struct wt_knob_found found = {.value = -5, .is_read = true};
    assert_int_equal(wt_knob_restore(bed.devices, 0, WT_KNOB_POWER, &found, &bed.err), WT_E_RANGE);
    bed_done(&bed);
}

static void a_setting_that_does_not_take_is_not_believed(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    open_devices(&bed);
    bed.fake->is_limit_ignored = 1;
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_POWER, 150000, NULL, &bed.err),
                     WT_E_STATE);
    assert_non_null(strstr(bed.err.text, "150 W was accepted but reads 250 W"));
    bed_done(&bed);
}

static void a_refusal_keeps_its_kind(void **state)
{
    (void)state;
    static const struct {
        const char *symbol;
        enum wt_knob knob;
        int64_t value;
    } calls[] = {
        {"nvmlDeviceSetPowerManagementLimit", WT_KNOB_POWER, 150000},
        {"nvmlDeviceSetGpuLockedClocks", WT_KNOB_CLOCK, 1000000},
        {"nvmlDeviceResetGpuLockedClocks", WT_KNOB_CLOCK, 0},
        {"nvmlDeviceSetApplicationsClocks", WT_KNOB_MEMCLOCK, 405000},
        {"nvmlDeviceGetPowerManagementLimitConstraints", WT_KNOB_POWER, 150000},
        {"nvmlDeviceGetPowerManagementLimit", WT_KNOB_POWER, 150000},
        {"nvmlDeviceGetSupportedMemoryClocks", WT_KNOB_CLOCK, 1000000},
        {"nvmlDeviceGetSupportedGraphicsClocks", WT_KNOB_CLOCK, 1000000},
    };
    static const struct {
        int nvml, want;
    } rows[] = {
        {WT_NVML_NO_PERMISSION, WT_E_DENIED},
        {WT_NVML_NOT_SUPPORTED, WT_E_UNSUPPORTED},
        {WT_NVML_GPU_IS_LOST, WT_E_GONE},
        {WT_NVML_UNKNOWN, WT_E_IO},
    };
    for (size_t c = 0; c < WT_COUNTOF(calls); c++)
        for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
            struct bed bed;
            bed_init(&bed);
            open_devices(&bed);
            bed.fake->fail = calls[c].symbol;
            bed.fake->fail_rc = rows[i].nvml;
            int rc = wt_knob_set(bed.devices, 0, calls[c].knob, calls[c].value, NULL, &bed.err);
            if (rc != rows[i].want)
                fail_msg("%s: %d, not %d", calls[c].symbol, rc, rows[i].want);
            assert_int_equal(bed.err.code, rc);
            if (rc == WT_E_DENIED && strstr(calls[c].symbol, "Set"))
                assert_true(bed.err.fix[0] != '\0');
            bed_done(&bed);
        }
}

/* NVML cannot say whether a clock is locked, and that is said, not papered over. */
static void a_clock_lock_is_cleared_because_it_cannot_be_read(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_found found;
    int64_t enforced;
    bed_init(&bed);
    open_devices(&bed);
    assert_int_equal(wt_knob_snapshot(bed.devices, 0, WT_KNOB_CLOCK, &found, &bed.err), 0);
    assert_true(found.value == 0 && !found.is_read);
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_CLOCK, 1000000, &enforced, &bed.err), 0);
    assert_int_equal(enforced, 1000000);
    assert_true(bed.fake->lock_min == 1000 && bed.fake->lock_max == 1000);
    assert_int_equal(wt_knob_restore(bed.devices, 0, WT_KNOB_CLOCK, &found, &bed.err), 0);
    assert_int_equal(bed.fake->lock_max, 0);
    /* A journal that knows of an earlier lock of ours puts that back. */
    found.value = 900000;
    assert_int_equal(wt_knob_restore(bed.devices, 0, WT_KNOB_CLOCK, &found, &bed.err), 0);
    assert_int_equal(bed.fake->lock_max, 900);
    bed_done(&bed);
}

static void an_old_card_gets_application_clocks(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    struct wt_knob_found found;
    bed_init(&bed);
    make_old(&bed);
    open_devices(&bed);
    assert_int_equal(wt_devices_knob(bed.devices, 0, WT_KNOB_CLOCK, &k, &bed.err), 0);
    assert_true(!k.is_lockable && k.current == 1380000 && k.def == 1380000);
    assert_int_equal(wt_knob_snapshot(bed.devices, 0, WT_KNOB_CLOCK, &found, &bed.err), 0);
    assert_true(found.value == 1380000 && found.is_read);
    /* Only clocks of the list exist; the neighbours are named. */
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_CLOCK, 1001000, NULL, &bed.err),
                     WT_E_RANGE);
    assert_non_null(strstr(bed.err.fix, "the nearest are 998 and 1005 MHz"));
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_CLOCK, 1005000, NULL, &bed.err), 0);
    assert_true(bed.fake->app_sm == 1005 && bed.fake->app_mem == FAKE_MEM_MHZ);
    assert_int_equal(bed.fake->lock_max, 0);
    assert_int_equal(wt_knob_restore(bed.devices, 0, WT_KNOB_CLOCK, &found, &bed.err), 0);
    assert_int_equal(bed.fake->app_sm, 1380);
    bed_done(&bed);
}

static void a_hung_driver_is_left_behind(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    size_t at;
    bed_init(&bed);
    open_devices(&bed);
    wt_nvml_of(bed.devices, 0, &at)->timeout_ns = 20 * WT_NS_PER_MS;
    bed.fake->hang = "nvmlDeviceSetPowerManagementLimit";
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_POWER, 150000, NULL, &bed.err),
                     WT_E_TIMEOUT);
    assert_int_equal(wt_devices_knob(bed.devices, 1, WT_KNOB_POWER, &k, &bed.err), WT_E_TIMEOUT);
    wt_devices_free(bed.devices);
    bed.devices = NULL;
    __atomic_store_n(&bed.fake->is_released, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 10000 && !__atomic_load_n(&bed.fake->shutdowns, __ATOMIC_ACQUIRE); i++)
        wt_clock_sleep_until_ns(wt_clock_now_ns() + WT_NS_PER_MS);
    assert_int_equal(__atomic_load_n(&bed.fake->shutdowns, __ATOMIC_ACQUIRE), 1);
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_knob_is_described_without_a_write),
        cmocka_unit_test(what_a_device_does_not_have_is_unsupported),
        cmocka_unit_test(a_limit_is_set_read_back_and_put_back),
        cmocka_unit_test(a_value_out_of_range_reaches_no_driver),
        cmocka_unit_test(a_setting_that_does_not_take_is_not_believed),
        cmocka_unit_test(a_refusal_keeps_its_kind),
        cmocka_unit_test(a_clock_lock_is_cleared_because_it_cannot_be_read),
        cmocka_unit_test(an_old_card_gets_application_clocks),
        cmocka_unit_test(a_hung_driver_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
