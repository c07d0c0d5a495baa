/* sensor over Cray's pm_counters: texts with a unit, and a set that is renewed while it is read. */
#include "bed.h"

static void put(const struct bed *bed, const char *file, const char *text)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/cray/pm_counters/%s", file);
    bed_put_line(bed, path, text);
}

static void put_node(const struct bed *bed)
{
    put(bed, "power", "906 W 1734094386462336 us");
    put(bed, "energy", "1360621494 J 1734094386462336 us");
    put(bed, "cpu_power", "83 W 1734094386462336 us");
    put(bed, "cpu_energy", "139431127 J 1734094386462336 us");
    put(bed, "memory_power", "75 W 1734094386462336 us");
    put(bed, "memory_energy", "104283391 J 1734094386462336 us");
    put(bed, "accel0_power", "263 W 1734094386462336 us");
    put(bed, "accel0_energy", "271696817 J 1734094386462336 us");
    put(bed, "freshness", "51027714");
    put(bed, "generation", "3");
    put(bed, "raw_scan_hz", "10");
    put(bed, "version", "3");
}

static void node_cpu_memory_and_accelerators_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        enum wt_device_kind kind;
        bool is_part, is_counted;
        uint64_t mw, j;
    } rows[] = {
        {"node-cray", WT_DEVICE_NODE, false, true, 906000, 1360621494},
        {"cpu-package-0", WT_DEVICE_CPU, false, false, 83000, 139431127},
        {"dram-package-0", WT_DEVICE_DRAM, false, false, 75000, 104283391},
        {"cray-accel0", WT_DEVICE_GPU, true, false, 263000, 271696817},
    };
    struct bed bed;
    bed_init(&bed);
    put_node(&bed);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), WT_COUNTOF(rows));
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_device_info *info = bed_device(&bed, rows[i].id);
        assert_int_equal(info->kind, rows[i].kind);
        assert_int_equal(info->is_part, rows[i].is_part);
        assert_int_equal(info->is_counted, rows[i].is_counted);
        assert_int_equal(info->traits.energy_period_ns, 100 * WT_NS_PER_MS);
        assert_int_equal(info->traits.energy_quantum_uj, 1000000);
        assert_int_equal(bed_mw(&bed, rows[i].id), rows[i].mw);
        assert_int_equal(bed_uj(&bed, rows[i].id), rows[i].j * 1000000);
    }
    bed_done(&bed);
}

/* Older controllers: a node and nothing else, and no time stamps. */
static void a_node_without_a_cpu_counter_counts_itself(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put(&bed, "power", "212 W");
    put(&bed, "energy", "98765 J");
    bed_open(&bed);
    assert_true(bed_device(&bed, "node-cray")->is_counted);
    assert_int_equal(bed_uj(&bed, "node-cray"), UINT64_C(98765000000));
    bed_done(&bed);
}

static void rapls_packages_count_before_crays(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_node(&bed);
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
    bed_open(&bed);
    assert_string_equal(bed_device(&bed, "cpu-package-0")->source, "rapl");
    assert_true(bed_device(&bed, "cpu-package-0-cray")->is_part);
    assert_false(bed_device(&bed, "dram-package-0")->is_part);
    /* Nothing but the node's own meter sees the accelerators here. */
    assert_true(bed_device(&bed, "node-cray")->is_counted);
    assert_false(bed_device(&bed, "cpu-package-0")->is_counted);
    bed_done(&bed);
}

static void processors_that_are_counted_apart_are_packages(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put(&bed, "cpu0_power", "83 W 1 us");
    put(&bed, "cpu0_energy", "10 J 1 us");
    put(&bed, "cpu1_power", "84 W 1 us");
    put(&bed, "cpu1_energy", "20 J 1 us");
    bed_open(&bed);
    assert_int_equal(bed_mw(&bed, "cpu-package-1"), 84000);
    assert_true(bed_device(&bed, "cpu-package-0")->is_counted);
    bed_done(&bed);
}

/* Turns the set's page while a file of it is being read. */
struct turner {
    const struct bed *bed;
    unsigned turns; /* still to come */
    unsigned freshness;
    unsigned reads;
};

static void turn(void *data, const char *path, bool is_dir, int rc, int errnum, const char *text)
{
    (void)is_dir;
    (void)rc;
    (void)errnum;
    (void)text;
    struct turner *t = data;
    if (strcmp(path, "/sys/cray/pm_counters/power") != 0)
        return;
    t->reads++;
    if (!t->turns)
        return;
    char fresh[32];
    t->turns--;
    wt_text(fresh, sizeof(fresh), "%u", ++t->freshness);
    put(t->bed, "freshness", fresh);
}

static void a_set_renewed_meanwhile_is_read_again(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_node(&bed);
    bed_open(&bed);
    struct turner t = {.bed = &bed, .turns = 2, .freshness = 60000000};
    bed.ctx->watch = turn;
    bed.ctx->watch_data = &t;
    assert_int_equal(bed_read(&bed, "node-cray", WT_READ_ENERGY | WT_READ_POWER, &r), 0);
    assert_int_equal(t.reads, 3);
    assert_int_equal(r.power.mw, 906000);
    /* One that is renewed each time is no reading at all. */
    t.turns = 100;
    assert_int_equal(bed_read(&bed, "node-cray", WT_READ_ENERGY | WT_READ_POWER, &r), WT_E_BUSY);
    assert_int_equal(r.power.state, WT_ABSENT);
    assert_int_equal(r.energy.state, WT_ABSENT);
    bed.ctx->watch = NULL;
    bed_done(&bed);
}

/* A controller that starts anew counts from 0: that is passed on, and is no wrap. A power cap that
 * changes moves the generation and nothing else. */
static void a_restart_is_passed_on(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_node(&bed);
    bed_open(&bed);
    (void)bed_uj(&bed, "node-cray");
    bed.now_ns += WT_NS_PER_S;
    put(&bed, "generation", "4");
    put(&bed, "energy", "1360622400 J 2 us");
    assert_int_equal(bed_uj(&bed, "node-cray"), UINT64_C(1360622400000000));
    bed.now_ns += WT_NS_PER_S;
    put(&bed, "energy", "17 J 3 us");
    assert_int_equal(bed_uj(&bed, "node-cray"), 17000000);
    bed_done(&bed);
}

static void rubbish_is_no_number_and_what_is_denied_is_said(void **state)
{
    (void)state;
    static const char *const rows[] = {"", "W 212", "n/a", "212W"};
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_node(&bed);
    bed_open(&bed);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        put(&bed, "power", rows[i]);
        assert_int_equal(bed_read(&bed, "node-cray", WT_READ_POWER, &r), WT_E_FORMAT);
        assert_int_equal(r.power.state, WT_ABSENT);
    }
    wt_devices_free(bed.devices);
    put(&bed, "power", "906 W 1 us");
    assert_int_equal(wt_tree_fault(bed.ctx, "/sys/cray/pm_counters/energy", EACCES), 0);
    bed_open(&bed);
    assert_int_equal(bed_device(&bed, "node-cray")->can, WT_CAN_POWER);
    assert_int_equal(bed_note(&bed, "cray", NULL)->kind, WT_FINDING_DENIED);
    assert_string_equal(bed_note(&bed, "cray", NULL)->what, "energy counter");
    bed_done(&bed);
}

static void a_machine_that_is_no_cray_is_not_told_so(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_open(&bed);
    assert_null(bed_note(&bed, "cray", NULL));
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_cpu_memory_and_accelerators_are_told_apart),
        cmocka_unit_test(a_node_without_a_cpu_counter_counts_itself),
        cmocka_unit_test(rapls_packages_count_before_crays),
        cmocka_unit_test(processors_that_are_counted_apart_are_packages),
        cmocka_unit_test(a_set_renewed_meanwhile_is_read_again),
        cmocka_unit_test(a_restart_is_passed_on),
        cmocka_unit_test(rubbish_is_no_number_and_what_is_denied_is_said),
        cmocka_unit_test(a_machine_that_is_no_cray_is_not_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
