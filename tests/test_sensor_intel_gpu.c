/* intel_gpu: cards of i915 and xe, played as trees of files. */
#include "bed.h"

#include <errno.h>

static void put_of(const struct bed *bed, unsigned card, const char *name, const char *text)
{
    char path[160];
    wt_text(path, sizeof(path), "/sys/class/drm/card%u/device/%s", card, name);
    bed_put(bed, path, text);
}

static void put_card(const struct bed *bed, unsigned card, const char *driver, unsigned bus)
{
    char text[256];
    wt_text(text, sizeof(text), "DRIVER=%s\nPCI_ID=8086:56A0\nPCI_SLOT_NAME=0000:%02x:00.0\n",
            driver, bus);
    put_of(bed, card, "uevent", text);
}

static void put_sensors(const struct bed *bed, unsigned card, const char *driver)
{
    char text[32];
    wt_text(text, sizeof(text), "%s\n", driver);
    put_of(bed, card, "hwmon/hwmon2/name", text);
    put_of(bed, card, "hwmon/hwmon2/energy1_input", "5000000\n");
    put_of(bed, card, "hwmon/hwmon2/power1_max", "190000000\n");
}

static void a_card_of_i915_has_its_energy(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_card(&bed, 1, "i915", 3);
    put_sensors(&bed, 1, "i915");
    /* A tile's own counter is inside the card's. */
    put_of(&bed, 1, "hwmon/hwmon3/name", "i915_gt0\n");
    put_of(&bed, 1, "hwmon/hwmon3/energy1_input", "4000000\n");
    bed_put(&bed, "/sys/class/drm/card1/gt_act_freq_mhz", "2050\n");
    /* Graphics inside the processor. */
    put_card(&bed, 0, "i915", 0);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    const struct wt_device_info *info = bed_device(&bed, "GPU-0000:03:00.0");
    assert_string_equal(info->source, "intel_gpu");
    assert_string_equal(info->via, "i915");
    assert_string_equal(info->name, "Intel Arc A770");
    assert_int_equal(info->can, WT_CAN_ENERGY | WT_CAN_STATUS);
    assert_true(info->is_counted);
    /* The driver adds up the register's wraps, where it is read within one. */
    assert_int_equal(info->traits.energy_range_uj, UINT64_C(262144000000));
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY | WT_READ_STATUS, &r, &bed.err),
                     0);
    assert_int_equal(r.energy.uj, 5000000);
    assert_int_equal(r.status.has, WT_HAS_LIMIT | WT_HAS_CLOCK);
    assert_int_equal(r.status.power_limit_mw, 190000);
    assert_int_equal(r.status.clock_khz, 2050000);
    assert_null(bed_note(&bed, "intel_gpu", NULL));
    bed_done(&bed);
}

static void the_drivers_64_bits_fall_only_when_it_is_loaded_anew(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_card(&bed, 0, "xe", 3);
    put_sensors(&bed, 0, "xe");
    put_of(&bed, 0, "hwmon/hwmon2/energy1_input", "262143999000\n");
    bed_open(&bed);
    bed.now_ns += 1000 * WT_NS_PER_S;
    put_of(&bed, 0, "hwmon/hwmon2/energy1_input", "1000\n");
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), 0);
    assert_int_equal(r.energy.uj, 1000); /* passed on, for the window to see */
    put_of(&bed, 0, "hwmon/hwmon2/energy1_input", "900000000000000\n");
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), 0);
    assert_int_equal(r.energy.uj, UINT64_C(900000000000000));
    bed_done(&bed);
}

static void the_chip_of_an_xe_card_is_a_part_of_it(void **state)
{
    (void)state;
    static const struct {
        bool has_card, has_chip;
        size_t count;
    } rows[] = {{true, true, 2}, {true, false, 1}, {false, true, 1}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_reading r;
        bed_init(&bed);
        put_card(&bed, 0, "xe", 3);
        put_of(&bed, 0, "hwmon/hwmon2/name", "xe\n");
        if (rows[i].has_card)
            put_of(&bed, 0, "hwmon/hwmon2/energy1_input", "7000000\n");
        if (rows[i].has_chip) {
            put_of(&bed, 0, "hwmon/hwmon2/energy2_input", "6000000\n");
            put_of(&bed, 0, "hwmon/hwmon2/power2_max", "150000000\n");
            put_of(&bed, 0, "hwmon/hwmon2/temp2_input", "55000\n");
        }
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), rows[i].count);
        size_t k = bed_index(&bed, "GPU-0000:03:00.0");
        assert_true(wt_devices_info(bed.devices, k)->is_counted);
        assert_int_equal(wt_devices_read(bed.devices, k, WT_READ_ENERGY, &r, &bed.err), 0);
        assert_int_equal(r.energy.uj, rows[i].has_card ? 7000000 : 6000000);
        if (rows[i].count == 2) {
            const struct wt_device_info *chip = bed_device(&bed, "GPU-0000:03:00.0-chip");
            assert_false(chip->is_counted);
            assert_string_equal(chip->part_of, "GPU-0000:03:00.0");
            k = bed_index(&bed, chip->id);
            assert_int_equal(
                wt_devices_read(bed.devices, k, WT_READ_ENERGY | WT_READ_STATUS, &r, &bed.err), 0);
            assert_int_equal(r.energy.uj, 6000000);
            assert_int_equal(r.status.power_limit_mw, 150000);
            assert_int_equal(r.status.temp_mc, 55000);
        }
        bed_done(&bed);
    }
}

static void a_limit_that_is_off_is_no_limit_of_0_W(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_card(&bed, 0, "i915", 3);
    put_sensors(&bed, 0, "i915");
    put_of(&bed, 0, "hwmon/hwmon2/power1_max", "0\n");
    bed_open(&bed);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_STATUS, &r, &bed.err), 0);
    assert_int_equal(r.status.has & WT_HAS_LIMIT, 0);
    bed_done(&bed);
}

static void what_is_missing_denied_or_garbled_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int errnum;
        enum wt_finding_kind kind;
        const char *fix;
    } rows[] = {
        {"", 0, WT_FINDING_BROKEN, ""},
        {"-5\n", 0, WT_FINDING_BROKEN, ""},
        {"99999999999999999999\n", 0, WT_FINDING_BROKEN, ""},
        {"5\n", EACCES, WT_FINDING_DENIED, "sudo chmod a+r"},
        {"5\n", EIO, WT_FINDING_BROKEN, ""},
    };
    struct bed bed;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bed_init(&bed);
        put_card(&bed, 0, "i915", 3);
        put_of(&bed, 0, "hwmon/hwmon2/name", "i915\n");
        put_of(&bed, 0, "hwmon/hwmon2/energy1_input", rows[i].text);
        wt_tree_fault(bed.ctx, "/sys/class/drm/card0/device/hwmon/hwmon2/energy1_input",
                      rows[i].errnum);
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        const struct wt_finding *f = bed_note(&bed, "intel_gpu", "energy counter");
        if (!f || f->kind != rows[i].kind || !strstr(f->fix, rows[i].fix))
            fail_msg("row %zu: \"%s\" \"%s\"", i, f ? f->value : "(none)", f ? f->fix : "");
        bed_done(&bed);
    }
    /* Sensors, and no counter among them (an older kernel). */
    bed_init(&bed);
    put_card(&bed, 0, "xe", 3);
    put_of(&bed, 0, "hwmon/hwmon2/name", "xe\n");
    bed_open(&bed);
    assert_non_null(strstr(bed_note(&bed, "intel_gpu", "energy counter")->fix, "6.8"));
    bed_done(&bed);
    /* A card that was given to a virtual machine. */
    bed_init(&bed);
    put_card(&bed, 0, "vfio-pci", 3);
    bed_open(&bed);
    assert_non_null(strstr(bed_note(&bed, "intel_gpu", "energy counter")->value, "vfio-pci"));
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_card_of_i915_has_its_energy),
        cmocka_unit_test(the_drivers_64_bits_fall_only_when_it_is_loaded_anew),
        cmocka_unit_test(the_chip_of_an_xe_card_is_a_part_of_it),
        cmocka_unit_test(a_limit_that_is_off_is_no_limit_of_0_W),
        cmocka_unit_test(what_is_missing_denied_or_garbled_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
