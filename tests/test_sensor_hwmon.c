/* sensor over hwmon: which chip is a node, which is a part, and which is somebody else's. */
#include "bed.h"

static void put_chip(const struct bed *bed, const char *entry, const char *name)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/class/hwmon/%s/name", entry);
    bed_put_line(bed, path, name);
}

static void put_attr(const struct bed *bed, const char *entry, const char *attr, const char *text)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/class/hwmon/%s/%s", entry, attr);
    bed_put_line(bed, path, text);
}

static void put_meter(const struct bed *bed, const char *entry, const char *info, const char *uw)
{
    put_chip(bed, entry, "power_meter");
    put_attr(bed, entry, "device/power1_oem_info", info);
    put_attr(bed, entry, "device/power1_average", uw);
    put_attr(bed, entry, "device/power1_average_interval", "1000");
    put_attr(bed, entry, "device/power1_is_battery", "0");
}

static void put_rail(const struct bed *bed, const char *entry, unsigned n, const char *label,
                     const char *mv, const char *ma)
{
    char attr[32];
    wt_text(attr, sizeof(attr), "in%u_label", n);
    put_attr(bed, entry, attr, label);
    wt_text(attr, sizeof(attr), "in%u_input", n);
    put_attr(bed, entry, attr, mv);
    wt_text(attr, sizeof(attr), "curr%u_input", n);
    put_attr(bed, entry, attr, ma);
    wt_text(attr, sizeof(attr), "shunt%u_resistor", n);
    put_attr(bed, entry, attr, "2000");
}

static void an_acpi_meter_is_the_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon0", "", "184000000");
    put_attr(&bed, "hwmon0", "device/power1_accuracy", "90.0%");
    bed_open(&bed);
    const struct wt_device_info *node = bed_device(&bed, "node-acpi");
    assert_int_equal(node->kind, WT_DEVICE_NODE);
    assert_true(node->is_counted);
    assert_int_equal(node->traits.power_period_ns, WT_NS_PER_S);
    assert_int_equal(node->traits.power_window_ns, WT_NS_PER_S);
    assert_int_equal(node->traits.gain_ppm, 100000);
    assert_int_equal(bed_mw(&bed, "node-acpi"), 184000);
    bed_done(&bed);
}

/* Newer kernels have its files at the chip. */
static void an_acpi_meter_is_found_at_the_chip_too(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon2", "power_meter");
    put_attr(&bed, "hwmon2", "power1_average", "95500000");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-acpi"), 95500);
    bed_done(&bed);
}

static void the_firmwares_mark_for_no_value_is_no_reading(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon1", "", "4294967295000");
    put_attr(&bed, "hwmon1", "device/power1_average_interval", "4294967295");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    const struct wt_finding *note = bed_note(&bed, "hwmon", NULL);
    assert_non_null(note);
    assert_int_equal(note->kind, WT_FINDING_BROKEN);
    assert_says(note->value, "is no reading of it");
    bed_done(&bed);
}

static void several_meters_that_say_nothing_are_no_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon1", "", "184000000");
    put_meter(&bed, "hwmon2", "", "91000000");
    put_meter(&bed, "hwmon3", "PSU 1", "95000000");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(wt_devices_info(bed.devices, i)->is_part);
        assert_false(wt_devices_info(bed.devices, i)->is_counted);
    }
    assert_says(bed_note(&bed, "hwmon", NULL)->value, "2 ACPI power meters");
    assert_says(bed_note(&bed, "hwmon", NULL)->fix, "--sensor-command");
    bed_done(&bed);
}

static void a_meter_on_a_battery_is_left_out(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon1", "", "184000000");
    put_attr(&bed, "hwmon1", "device/power1_is_battery", "1");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    bed_done(&bed);
}

static void of_graces_meters_grace_counts_and_holds_the_cores(void **state)
{
    (void)state;
    static const struct {
        const char *id, *part_of;
        enum wt_device_kind kind;
        uint64_t mw;
    } rows[] = {
        {"module-socket-0", "", WT_DEVICE_NODE, 402318},
        {"cpu-package-0", NULL, WT_DEVICE_CPU, 96204},
        {"cpu-package-0-cores", "cpu-package-0", WT_DEVICE_CPU, 47812},
        {"sysio-socket-0", "cpu-package-0", WT_DEVICE_CPU, 24077},
    };
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon1", "Module Power Socket 0", "402318000");
    put_meter(&bed, "hwmon2", "Grace Power Socket 0", "96204000");
    put_meter(&bed, "hwmon3", "CPU Power Socket 0", "47812000");
    put_meter(&bed, "hwmon4", "SysIO Power Socket 0", "24077000");
    bed_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_device_info *info = bed_device(&bed, rows[i].id);
        assert_int_equal(info->kind, rows[i].kind);
        assert_int_equal(info->is_part, rows[i].part_of != NULL);
        assert_string_equal(info->part_of, rows[i].part_of ? rows[i].part_of : "");
        assert_int_equal(info->is_counted, rows[i].part_of == NULL);
        assert_int_equal(bed_mw(&bed, rows[i].id), rows[i].mw);
    }
    bed_done(&bed);
}

static void graces_sockets_are_told_apart(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_meter(&bed, "hwmon1", "CPU Power Socket 0", "47812000");
    put_meter(&bed, "hwmon2", "CPU Power Socket 1", "51000000");
    put_meter(&bed, "hwmon3", "Module Power Socket 1", "400000000");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "cpu-package-0"), 47812);
    assert_int_equal(bed_mw(&bed, "cpu-package-1"), 51000);
    assert_true(bed_device(&bed, "module-socket-1")->is_part);
    bed_done(&bed);
}

/* 12.5 V times 2.004 A, to the milliwatt. */
static void a_jetson_with_an_input_rail_has_it_for_its_node(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon1", "ina3221");
    put_attr(&bed, "hwmon1", "update_interval", "86");
    put_rail(&bed, "hwmon1", 1, "VDD_IN", "12500", "2004");
    put_rail(&bed, "hwmon1", 2, "VDD_CPU_GPU_CV", "5000", "1000");
    put_rail(&bed, "hwmon1", 3, "VDD_SOC", "5000", "400");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    assert_int_equal(bed_mw(&bed, "node-module"), 25050);
    const struct wt_device_info *node = bed_device(&bed, "node-module");
    assert_true(node->is_counted);
    assert_int_equal(node->traits.power_period_ns, 86 * WT_NS_PER_MS);
    /* Half a step: 40 uV over 2 mOhm are 20 mA, times 12.5 V. */
    assert_int_equal(node->traits.offset_mw, 126);
    assert_true(bed_device(&bed, "rail-VDD_SOC")->is_part);
    assert_string_equal(bed_device(&bed, "rail-VDD_SOC")->part_of, "node-module");
    assert_int_equal(bed_device(&bed, "rail-VDD_CPU_GPU_CV")->kind, WT_DEVICE_GPU);
    bed_done(&bed);
}

static void an_agx_orin_is_the_sum_of_its_input_rails(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon2", "ina3221");
    put_attr(&bed, "hwmon2", "in1_enable", "0");
    put_rail(&bed, "hwmon2", 1, "NC", "0", "0");
    put_rail(&bed, "hwmon2", 2, "VDDQ_VDD2_1V8AO", "5064", "260");
    put_chip(&bed, "hwmon3", "ina3221");
    put_rail(&bed, "hwmon3", 1, "VDD_GPU_SOC", "20000", "200");
    put_rail(&bed, "hwmon3", 2, "VDD_CPU_CV", "20000", "100");
    put_rail(&bed, "hwmon3", 3, "VIN_SYS_5V0", "5000", "900");
    put_attr(&bed, "hwmon3", "in7_label", "sum of shunt voltages");
    put_attr(&bed, "hwmon3", "in7_input", "2440");
    put_attr(&bed, "hwmon3", "curr4_input", "1200");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 5);
    assert_int_equal(bed_mw(&bed, "node-module"), 4000 + 2000 + 4500);
    assert_true(bed_device(&bed, "node-module")->is_counted);
    assert_int_equal(bed_device(&bed, "rail-VDD_GPU_SOC")->kind, WT_DEVICE_GPU);
    assert_int_equal(bed_device(&bed, "rail-VDDQ_VDD2_1V8AO")->kind, WT_DEVICE_DRAM);
    assert_false(bed_device(&bed, "rail-VDD_GPU_SOC")->is_counted);
    /* One rail that cannot be read, and there is no sum. */
    assert_int_equal(wt_tree_fault(bed.ctx, "/sys/class/hwmon/hwmon3/curr2_input", EIO), 0);
    struct wt_reading r;
    assert_int_equal(bed_read(&bed, "node-module", WT_READ_POWER, &r), WT_E_IO);
    assert_int_equal(r.power.state, WT_ABSENT);
    bed_done(&bed);
}

static void a_power_supplys_total_is_the_node_and_its_rails_are_parts(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon4", "corsairpsu");
    put_attr(&bed, "hwmon4", "power1_input", "174000000");
    put_attr(&bed, "hwmon4", "power1_label", "power total");
    put_attr(&bed, "hwmon4", "power2_input", "134000000");
    put_attr(&bed, "hwmon4", "power2_label", "power +12v");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "node-corsairpsu"), 174000);
    assert_true(bed_device(&bed, "node-corsairpsu")->is_counted);
    assert_int_equal(bed_mw(&bed, "corsairpsu-power-+12v"), 134000);
    assert_true(bed_device(&bed, "corsairpsu-power-+12v")->is_part);
    bed_done(&bed);
}

/* The same registers by two ways are the same joules. */
static void amd_energy_counts_only_where_rapl_does_not(void **state)
{
    (void)state;
    for (int with_rapl = 0; with_rapl < 2; with_rapl++) {
        struct bed bed;
        bed_init(&bed);
        if (with_rapl) {
            bed_put(&bed, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
            bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
        }
        put_chip(&bed, "hwmon1", "amd_energy");
        put_attr(&bed, "hwmon1", "energy1_label", "Ecore000");
        put_attr(&bed, "hwmon1", "energy1_input", "77");
        put_attr(&bed, "hwmon1", "energy65_label", "Esocket0");
        put_attr(&bed, "hwmon1", "energy65_input", "5000000");
        bed_open(&bed);
        const char *id = with_rapl ? "cpu-package-0-hwmon" : "cpu-package-0";
        assert_int_equal(wt_devices_count(bed.devices), 1 + with_rapl);
        assert_int_equal(bed_uj(&bed, id), 5000000);
        assert_int_equal(bed_device(&bed, id)->is_counted, !with_rapl);
        assert_string_equal(bed_device(&bed, id)->part_of, with_rapl ? "cpu-package-0" : "");
        assert_true(bed_device(&bed, "cpu-package-0")->is_counted);
        bed_done(&bed);
    }
}

static void an_unknown_chip_is_a_part(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon1", "ltc2947");
    put_attr(&bed, "hwmon1", "power1_input", "3500000");
    put_attr(&bed, "hwmon1", "energy1_input", "123456789");
    put_attr(&bed, "hwmon1", "energy2_input", "9");
    put_chip(&bed, "hwmon2", "lm25066");
    put_attr(&bed, "hwmon2", "power1_input", "210000000");
    put_attr(&bed, "hwmon2", "power1_average", "200000000");
    put_attr(&bed, "hwmon2", "power1_label", "pin");
    put_attr(&bed, "hwmon2", "power2_input", "1");
    put_attr(&bed, "hwmon2", "power2_enable", "0");
    put_chip(&bed, "hwmon3", "lm25066");
    put_attr(&bed, "hwmon3", "power1_input", "5000000");
    put_attr(&bed, "hwmon3", "power1_cap", "7");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 4);
    assert_int_equal(bed_mw(&bed, "ltc2947-power1"), 3500);
    assert_int_equal(bed_uj(&bed, "ltc2947-power1"), 123456789);
    assert_int_equal(bed_uj(&bed, "ltc2947-energy2"), 9);
    assert_int_equal(bed_mw(&bed, "lm25066-pin"), 200000);
    assert_int_equal(bed_mw(&bed, "lm25066-2-power1"), 5000);
    for (size_t i = 0; i < 4; i++)
        assert_true(wt_devices_info(bed.devices, i)->is_part);
    bed_done(&bed);
}

static void gpus_and_batteries_are_left_to_others(void **state)
{
    (void)state;
    static const char *const names[] = {"amdgpu", "radeon", "i915", "xe", "nouveau"};
    struct bed bed;
    bed_init(&bed);
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        char entry[16];
        wt_text(entry, sizeof(entry), "hwmon%zu", i);
        put_chip(&bed, entry, names[i]);
        put_attr(&bed, entry, "power1_average", "1000000");
        put_attr(&bed, entry, "energy1_input", "1000000");
    }
    put_chip(&bed, "hwmon9", "BAT0");
    put_attr(&bed, "hwmon9", "device/type", "Battery");
    put_attr(&bed, "hwmon9", "power1_input", "1000000");
    bed_open(&bed);
    assert_null(bed_note(&bed, "hwmon", NULL));
    for (size_t i = 0; i < wt_devices_count(bed.devices); i++)
        assert_string_not_equal(wt_devices_info(bed.devices, i)->source, "hwmon");
    bed_done(&bed);
}

static void what_cannot_be_read_is_said_and_is_no_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } rows[] = {{"", WT_E_FORMAT}, {"12 W", WT_E_FORMAT}, {"184000000", 0}};
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_meter(&bed, "hwmon0", "", "184000000");
    bed_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put_attr(&bed, "hwmon0", "device/power1_average", rows[i].text);
        assert_int_equal(bed_read(&bed, "node-acpi", WT_READ_POWER, &r), rows[i].rc);
        assert_int_equal(r.power.state, rows[i].rc ? WT_ABSENT : WT_LIVE);
    }
    assert_int_equal(
        wt_tree_fault(bed.ctx, "/sys/class/hwmon/hwmon0/device/power1_average", EACCES), 0);
    assert_int_equal(bed_read(&bed, "node-acpi", WT_READ_POWER, &r), WT_E_DENIED);
    wt_devices_free(bed.devices);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_int_equal(bed_note(&bed, "hwmon", NULL)->kind, WT_FINDING_DENIED);
    assert_string_equal(bed_note(&bed, "hwmon", NULL)->fix, "run as root");
    bed_done(&bed);
}

static void no_chip_is_no_remark(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_chip(&bed, "hwmon0", "coretemp");
    put_attr(&bed, "hwmon0", "temp1_input", "44000");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_null(bed_note(&bed, "hwmon", NULL));
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_acpi_meter_is_the_node),
        cmocka_unit_test(an_acpi_meter_is_found_at_the_chip_too),
        cmocka_unit_test(the_firmwares_mark_for_no_value_is_no_reading),
        cmocka_unit_test(several_meters_that_say_nothing_are_no_node),
        cmocka_unit_test(a_meter_on_a_battery_is_left_out),
        cmocka_unit_test(of_graces_meters_grace_counts_and_holds_the_cores),
        cmocka_unit_test(graces_sockets_are_told_apart),
        cmocka_unit_test(a_jetson_with_an_input_rail_has_it_for_its_node),
        cmocka_unit_test(an_agx_orin_is_the_sum_of_its_input_rails),
        cmocka_unit_test(a_power_supplys_total_is_the_node_and_its_rails_are_parts),
        cmocka_unit_test(amd_energy_counts_only_where_rapl_does_not),
        cmocka_unit_test(an_unknown_chip_is_a_part),
        cmocka_unit_test(gpus_and_batteries_are_left_to_others),
        cmocka_unit_test(what_cannot_be_read_is_said_and_is_no_number),
        cmocka_unit_test(no_chip_is_no_remark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
