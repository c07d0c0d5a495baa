/* sensor over power_supply: the battery sees the node while it discharges, and only then. */
#include "bed.h"

static void put(const struct bed *bed, const char *supply, const char *file, const char *text)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/class/power_supply/%s/%s", supply, file);
    bed_put_line(bed, path, text);
}

static void put_battery(const struct bed *bed, const char *name, const char *status, const char *uw)
{
    put(bed, name, "type", "Battery");
    put(bed, name, "status", status);
    put(bed, name, "power_now", uw);
}

static void put_charger(const struct bed *bed, const char *online)
{
    put(bed, "AC", "type", "Mains");
    put(bed, "AC", "online", online);
}

static void a_discharging_battery_is_the_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_charger(&bed, "0");
    put_battery(&bed, "BAT0", "Discharging", "7418000");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-battery"), 7418);
    assert_true(bed_device(&bed, "node-battery")->is_counted);
    assert_int_equal(bed_device(&bed, "node-battery")->kind, WT_DEVICE_NODE);
    bed_done(&bed);
}

/* 2 A times 11.7 V; drivers of some machines show what discharges below zero. */
static void current_and_voltage_do_as_well_whatever_the_sign(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put(&bed, "BAT1", "type", "Battery");
    put(&bed, "BAT1", "status", "Discharging");
    put(&bed, "BAT1", "current_now", "-2000000");
    put(&bed, "BAT1", "voltage_now", "11700000");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-battery"), 23400);
    bed_done(&bed);
}

static void on_mains_there_is_no_reading_and_it_is_said(void **state)
{
    (void)state;
    static const char *const status[] = {"Charging", "Full", "Not charging", "Unknown"};
    for (size_t i = 0; i < WT_COUNTOF(status); i++) {
        struct bed bed;
        bed_init(&bed);
        put_battery(&bed, "BAT0", status[i], "30000000");
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        assert_int_equal(bed_note(&bed, "battery", NULL)->kind, WT_FINDING_MISSING);
        assert_says(bed_note(&bed, "battery", NULL)->value, "on mains");
        assert_says(bed_note(&bed, "battery", NULL)->fix, "--sensor-command");
        bed_done(&bed);
    }
}

/* A battery that helps out a weak charger sees a part of the machine. */
static void a_battery_beside_a_charger_does_not_count(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_charger(&bed, "0");
    put_battery(&bed, "BAT0", "Discharging", "7418000");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-battery"), 7418);
    put_charger(&bed, "1");
    assert_int_equal(bed_read(&bed, "node-battery", WT_READ_POWER, &r), WT_E_STATE);
    assert_int_equal(r.power.state, WT_ABSENT);
    assert_says(bed.err.text, "on mains");
    put_charger(&bed, "0");
    assert_int_equal(bed_mw(&bed, "node-battery"), 7418);
    put_battery(&bed, "BAT0", "Charging", "30000000");
    assert_int_equal(bed_read(&bed, "node-battery", WT_READ_POWER, &r), WT_E_STATE);
    bed_done(&bed);
}

static void batteries_that_take_turns_are_one_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_battery(&bed, "BAT0", "Not charging", "0");
    put_battery(&bed, "BAT1", "Discharging", "9000000");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    assert_int_equal(bed_mw(&bed, "node-battery"), 9000);
    put_battery(&bed, "BAT0", "Discharging", "2500000");
    assert_int_equal(bed_mw(&bed, "node-battery"), 11500);
    bed_done(&bed);
}

static void a_mouse_is_not_the_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_battery(&bed, "hidpp_battery_0", "Discharging", "90000");
    put(&bed, "hidpp_battery_0", "scope", "Device");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_null(bed_note(&bed, "battery", NULL));
    bed_done(&bed);
}

static void zero_and_rubbish_are_no_readings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } rows[] = {
        {"0", WT_E_STATE},      {"", WT_E_FORMAT},
        {"a lot", WT_E_FORMAT}, {"99000000000000", WT_E_FORMAT},
        {"5000000", 0},
    };
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_battery(&bed, "BAT0", "Discharging", "7418000");
    bed_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put(&bed, "BAT0", "power_now", rows[i].text);
        assert_int_equal(bed_read(&bed, "node-battery", WT_READ_POWER, &r), rows[i].rc);
        assert_int_equal(r.power.state, rows[i].rc ? WT_ABSENT : WT_LIVE);
    }
    assert_int_equal(wt_tree_fault(bed.ctx, "/sys/class/power_supply/BAT0/status", EIO), 0);
    assert_int_equal(bed_read(&bed, "node-battery", WT_READ_POWER, &r), WT_E_IO);
    bed_done(&bed);
}

static void a_battery_without_a_power_is_said(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put(&bed, "BAT0", "type", "Battery");
    put(&bed, "BAT0", "status", "Discharging");
    put(&bed, "BAT0", "capacity", "71");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_says(bed_note(&bed, "battery", NULL)->value, "current_now");
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_discharging_battery_is_the_node),
        cmocka_unit_test(current_and_voltage_do_as_well_whatever_the_sign),
        cmocka_unit_test(on_mains_there_is_no_reading_and_it_is_said),
        cmocka_unit_test(a_battery_beside_a_charger_does_not_count),
        cmocka_unit_test(batteries_that_take_turns_are_one_node),
        cmocka_unit_test(a_mouse_is_not_the_node),
        cmocka_unit_test(zero_and_rubbish_are_no_readings),
        cmocka_unit_test(a_battery_without_a_power_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
