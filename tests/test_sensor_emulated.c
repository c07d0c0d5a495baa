/* sensor and knob on the emulator's stand-in: the contract of every source - probe, read, unplug,
 * deny, garble, reopen - and of every knob - set, verify, restore. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "knob/knob.h"
#include "wattune/emulate.h"

struct bed {
    struct wt_emulation *emulation;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_error err;
};

static void must(const struct bed *bed, int rc)
{
    if (rc < 0)
        fail_msg("%s", bed->err.text);
}

static void bed_init(struct bed *bed, const char *spec, const char *faults, bool is_unprivileged)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("CUDA_VISIBLE_DEVICES");
    struct wt_emulation_options options = {
        .faults = faults, .seed = 7, .is_unprivileged = is_unprivileged};
    must(bed, wt_emulation_start(&bed->emulation, spec, &options, &bed->err));
    must(bed, wt_emulation_setenv(bed->emulation, &bed->err));
    struct wt_ctx_options which = {.nvml_library = wt_emulation_library(bed->emulation)};
    must(bed, wt_ctx_new(&bed->ctx, &which, &bed->err));
    must(bed, wt_devices_open(&bed->devices, bed->ctx, NULL, &bed->err));
}

static void bed_done(struct bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    wt_emulation_free(bed->emulation);
}

/* The first sample of an emulated sensor takes a period to come. */
static void settle(struct bed *bed, size_t i)
{
    struct wt_reading r;
    for (int n = 0; n < 2000; n++) {
        if (wt_devices_read(bed->devices, i, WT_READ_POWER, &r, &bed->err) == 0)
            return;
        usleep(1000);
    }
    fail_msg("%s", bed->err.text);
}

static void every_profile_is_read_and_shuts_out_what_is_real(void **state)
{
    (void)state;
    for (const char *const *p = wt_emulation_profiles(); *p; p++) {
        struct bed bed;
        struct wt_reading r;
        bed_init(&bed, *p, NULL, false);
        assert_true(wt_devices_count(bed.devices) >= 1);
        for (size_t i = 0; i < wt_devices_count(bed.devices); i++) {
            const struct wt_device_info *info = wt_devices_info(bed.devices, i);
            assert_true(info->is_emulated);
            assert_string_equal(info->source, "nvml");
            assert_true(info->can & WT_CAN_POWER);
            settle(&bed, i);
            unsigned what = WT_READ_POWER | WT_READ_STATUS;
            what |= info->can & WT_CAN_ENERGY ? WT_READ_ENERGY : 0;
            must(&bed, wt_devices_read(bed.devices, i, what, &r, &bed.err));
            assert_int_equal(r.power.state, WT_EMULATED);
            assert_int_equal(r.energy.state, info->can & WT_CAN_ENERGY ? WT_EMULATED : WT_ABSENT);
            unsigned has = WT_HAS_TEMP | WT_HAS_CLOCK | WT_HAS_MEM | WT_HAS_LIMIT;
            assert_int_equal(r.status.has & has, has);
            assert_true(r.power.mw > 1000 && r.power.mw < r.status.power_limit_mw);
            assert_true(info->traits.power_period_ns > 0);
        }
        bed_done(&bed);
    }
}

static void a_lost_gpu_is_gone_alone(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, "v100-pcie-32gb:2", "lost:gpu=1:nvmlDeviceGetTotalEnergyConsumption", false);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    assert_int_equal(wt_devices_read(bed.devices, 1, WT_READ_ENERGY, &r, &bed.err), WT_E_GONE);
    assert_int_equal(r.energy.state, WT_ABSENT);
    must(&bed, wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err));
    bed_done(&bed);
}

static void what_is_denied_or_garbled_is_absent(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed, "v100-pcie-32gb", "denied:nvmlDeviceGetTotalEnergyConsumption", false);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_DENIED);
    assert_int_equal(r.energy.state, WT_ABSENT);
    bed_done(&bed);

    bed_init(&bed, "v100-pcie-32gb", "garbage:nvmlDeviceGetFieldValues", false);
    for (int i = 0; i < 50; i++)
        if (wt_devices_read(bed.devices, 0, WT_READ_POWER, &r, &bed.err) == 0)
            assert_true(r.power.mw <= 2500000);
        else
            assert_int_equal(r.power.state, WT_ABSENT);
    bed_done(&bed);
}

static void a_set_opens_again_and_beside_another(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_devices *second;
    struct wt_reading r;
    bed_init(&bed, "a40:2", NULL, false);
    must(&bed, wt_devices_open(&second, bed.ctx, NULL, &bed.err));
    wt_devices_free(bed.devices);
    bed.devices = NULL;
    must(&bed, wt_devices_read(second, 1, WT_READ_ENERGY, &r, &bed.err));
    wt_devices_free(second);
    must(&bed, wt_devices_open(&bed.devices, bed.ctx, NULL, &bed.err));
    must(&bed, wt_devices_read(bed.devices, 1, WT_READ_ENERGY, &r, &bed.err));
    bed_done(&bed);
}

static void every_knob_is_set_verified_and_restored(void **state)
{
    (void)state;
    for (const char *const *p = wt_emulation_profiles(); *p; p++) {
        struct bed bed;
        bed_init(&bed, *p, NULL, false);
        for (enum wt_knob knob = WT_KNOB_POWER; knob <= WT_KNOB_MEMCLOCK; knob++) {
            struct wt_knob_info k;
            struct wt_knob_found before, now;
            int64_t enforced;
            int rc = wt_devices_knob(bed.devices, 0, knob, &k, &bed.err);
            if (rc == WT_E_UNSUPPORTED)
                continue;
            must(&bed, rc);
            assert_true(k.is_settable);
            must(&bed, wt_knob_snapshot(bed.devices, 0, knob, &before, &bed.err));
            must(&bed, wt_knob_set(bed.devices, 0, knob, k.min, &enforced, &bed.err));
            assert_int_equal(enforced, k.min);
            must(&bed, wt_knob_snapshot(bed.devices, 0, knob, &now, &bed.err));
            assert_int_equal(now.value, before.is_read ? k.min : 0);
            assert_int_equal(
                wt_knob_set(bed.devices, 0, knob, k.max + 1000000, &enforced, &bed.err),
                WT_E_RANGE);
            must(&bed, wt_knob_restore(bed.devices, 0, knob, &before, &bed.err));
            must(&bed, wt_knob_snapshot(bed.devices, 0, knob, &now, &bed.err));
            assert_int_equal(now.value, before.value);
        }
        bed_done(&bed);
    }
}

static void an_ordinary_user_is_told_before_and_when_trying(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_knob_info k;
    bed_init(&bed, "v100-pcie-32gb", NULL, true);
    must(&bed, wt_devices_knob(bed.devices, 0, WT_KNOB_POWER, &k, &bed.err));
    assert_false(k.is_settable);
    assert_true(*k.why_not && *k.fix);
    assert_int_equal(wt_knob_set(bed.devices, 0, WT_KNOB_POWER, k.min, NULL, &bed.err),
                     WT_E_DENIED);
    assert_true(*bed.err.fix);
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_profile_is_read_and_shuts_out_what_is_real),
        cmocka_unit_test(a_lost_gpu_is_gone_alone),
        cmocka_unit_test(what_is_denied_or_garbled_is_absent),
        cmocka_unit_test(a_set_opens_again_and_beside_another),
        cmocka_unit_test(every_knob_is_set_verified_and_restored),
        cmocka_unit_test(an_ordinary_user_is_told_before_and_when_trying),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
