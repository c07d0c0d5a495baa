/* sensor over RAPL: wraps, failed reads, and what is counted, on trees like those of real machines.
 * Refusals are made by putting a directory where the file was: root may read anything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sensor/sensor.h"

#define RANGE_UJ UINT64_C(262143328850) /* of a counter of 32 bits in steps of 61 uJ */

/* A clock turned by hand: seconds pass between two reads without a test taking them. */
struct bed {
    char root[32];
    int64_t now_ns;
    struct wt_clock clock;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_error err;
};

static int64_t bed_now(void *data)
{
    return ((struct bed *)data)->now_ns;
}

static void bed_sleep(void *data, int64_t t_ns)
{
    ((struct bed *)data)->now_ns = t_ns;
}

static void put(const struct bed *bed, const char *path, const char *text)
{
    char full[512];
    wt_text(full, sizeof(full), "%s%s", bed->root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(full, 0755, NULL), 0);
    full[strlen(full)] = '/';
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void put_energy(const struct bed *bed, const char *zone, uint64_t uj)
{
    char path[128], text[32];
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/energy_uj", zone);
    wt_text(text, sizeof(text), "%llu\n", (unsigned long long)uj);
    put(bed, path, text);
}

static void put_zone(const struct bed *bed, const char *zone, const char *name, uint64_t uj)
{
    char path[128], text[32];
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/name", zone);
    wt_text(text, sizeof(text), "%s\n", name);
    put(bed, path, text);
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/max_energy_range_uj", zone);
    wt_text(text, sizeof(text), "%llu\n", (unsigned long long)RANGE_UJ);
    put(bed, path, text);
    put_energy(bed, zone, uj);
}

/* The file goes and a directory stands there: open works and read says EISDIR. */
static void break_energy(const struct bed *bed, const char *zone)
{
    char full[256];
    wt_text(full, sizeof(full), "%s/sys/class/powercap/%s/energy_uj", bed->root, zone);
    assert_int_equal(unlink(full), 0);
    assert_int_equal(mkdir(full, 0755), 0);
}

static void mend_energy(const struct bed *bed, const char *zone, uint64_t uj)
{
    char full[256];
    wt_text(full, sizeof(full), "%s/sys/class/powercap/%s/energy_uj", bed->root, zone);
    assert_int_equal(rmdir(full), 0);
    put_energy(bed, zone, uj);
}

static void bed_init(struct bed *bed)
{
    memset(bed, 0, sizeof(*bed));
    unsetenv("WATTUNE_NVML");
    wt_text(bed->root, sizeof(bed->root), "/tmp/wt-rapl-XXXXXX");
    assert_non_null(mkdtemp(bed->root));
    bed->now_ns = 1000 * WT_NS_PER_S;
    bed->clock = (struct wt_clock){bed_now, bed_sleep, bed};
    struct wt_ctx_options options = {.sysroot = bed->root, .clock = &bed->clock};
    assert_int_equal(wt_ctx_new(&bed->ctx, &options, &bed->err), 0);
}

static void open_devices(struct bed *bed)
{
    assert_int_equal(wt_devices_open(&bed->devices, bed->ctx, NULL, &bed->err), 0);
}

static void bed_done(struct bed *bed)
{
    wt_devices_free(bed->devices);
    wt_ctx_free(bed->ctx);
    assert_int_equal(wt_fs_remove_tree(bed->root, &bed->err), 0);
}

static uint64_t read_uj(struct bed *bed, size_t i)
{
    struct wt_reading r;
    assert_int_equal(wt_devices_read(bed->devices, i, WT_READ_ENERGY, &r, &bed->err), 0);
    assert_int_equal(r.energy.state, WT_LIVE);
    assert_int_equal(r.energy.t_ns, bed->now_ns);
    return r.energy.uj;
}

static const struct wt_device_info *device(const struct bed *bed, const char *id)
{
    for (size_t i = 0; i < wt_devices_count(bed->devices); i++)
        if (strcmp(wt_devices_info(bed->devices, i)->id, id) == 0)
            return wt_devices_info(bed->devices, i);
    fail_msg("there is no device %s", id);
    return NULL;
}

static const struct wt_finding *note(const struct bed *bed, enum wt_finding_kind kind)
{
    const struct wt_findings *notes = wt_devices_notes(bed->devices);
    for (size_t i = 0; i < notes->count; i++)
        if (notes->list[i].kind == kind && strcmp(notes->list[i].source, "rapl") == 0)
            return &notes->list[i];
    fail_msg("nothing of that kind was noted");
    return NULL;
}

static void wrap_is_added_once(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", RANGE_UJ - 500);
    open_devices(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    uint64_t before = read_uj(&bed, 0);
    bed.now_ns += WT_NS_PER_S;
    put_energy(&bed, "intel-rapl:0", 1500);
    assert_int_equal(read_uj(&bed, 0) - before, 2000);
    assert_int_equal(read_uj(&bed, 0) - before, 2000);
    bed.now_ns += WT_NS_PER_S;
    put_energy(&bed, "intel-rapl:0", 9500);
    assert_int_equal(read_uj(&bed, 0) - before, 10000);
    /* And a second one, after what takes 250 W a quarter of an hour. */
    bed.now_ns += 1000 * WT_NS_PER_S;
    put_energy(&bed, "intel-rapl:0", 500);
    assert_int_equal(read_uj(&bed, 0) - before, 1000 + RANGE_UJ);
    bed_done(&bed);
}

static void a_failed_read_is_not_a_wrap(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 7000000);
    open_devices(&bed);
    assert_int_equal(read_uj(&bed, 0), 7000000);
    bed.now_ns += WT_NS_PER_S;
    break_energy(&bed, "intel-rapl:0");
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_IO);
    assert_int_equal(r.energy.state, WT_ABSENT);
    assert_non_null(strstr(bed.err.text, "energy_uj"));
    mend_energy(&bed, "intel-rapl:0", 8000000);
    bed.now_ns += WT_NS_PER_S;
    assert_int_equal(read_uj(&bed, 0), 8000000);
    bed_done(&bed);
}

/* Neither may a file that is half there be taken for a small number. */
static void noise_is_not_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        const char *why;
    } rows[] = {
        {"", WT_E_FORMAT, "truncated to nothing"},
        {"\n", WT_E_FORMAT, "a line of nothing"},
        {"70000x0\n", WT_E_FORMAT, "a letter"},
        {"-7\n", WT_E_FORMAT, "negative"},
        {"7000000 7000000\n", WT_E_FORMAT, "two numbers"},
        {"99999999999999999999999\n", WT_E_FORMAT, "does not fit"},
        {"7000001", 0, "without a line's end it is one"},
    };
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 7000000);
    open_devices(&bed);
    (void)read_uj(&bed, 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_reading r;
        bed.now_ns += WT_NS_PER_S;
        put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", rows[i].text);
        int rc = wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err);
        if (rc != rows[i].rc)
            fail_msg("%s: %d", rows[i].why, rc);
        assert_int_equal(r.energy.state, rc ? WT_ABSENT : WT_LIVE);
    }
    put_energy(&bed, "intel-rapl:0", 7000002);
    assert_int_equal(read_uj(&bed, 0), 7000002);
    bed_done(&bed);
}

/* A fall that no processor could have drawn in the time is passed on, for the window to see. */
static void a_reset_is_not_a_wrap(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", RANGE_UJ / 2);
    open_devices(&bed);
    assert_int_equal(read_uj(&bed, 0), RANGE_UJ / 2);
    bed.now_ns += WT_NS_PER_S / 10;
    put_energy(&bed, "intel-rapl:0", 12345);
    assert_int_equal(read_uj(&bed, 0), 12345);
    /* Nor is a step back by the noise that firmware adds against eavesdroppers. */
    bed.now_ns += WT_NS_PER_S / 10;
    put_energy(&bed, "intel-rapl:0", 12300);
    assert_int_equal(read_uj(&bed, 0), 12300);
    bed_done(&bed);

    /* Without a range no fall is a wrap. */
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 1000);
    put(&bed, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "what?\n");
    open_devices(&bed);
    (void)read_uj(&bed, 0);
    bed.now_ns += 3600 * WT_NS_PER_S;
    put_energy(&bed, "intel-rapl:0", 10);
    assert_int_equal(read_uj(&bed, 0), 10);
    bed_done(&bed);
}

static void an_unplugged_domain_is_gone_alone(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    char path[256];
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 5);
    put_zone(&bed, "intel-rapl:1", "package-1", 6);
    open_devices(&bed);
    wt_text(path, sizeof(path), "%s/sys/class/powercap/intel-rapl:0", bed.root);
    assert_int_equal(wt_fs_remove_tree(path, NULL), 0);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_GONE);
    assert_int_equal(bed.err.code, WT_E_GONE);
    assert_int_equal(read_uj(&bed, 1), 6);
    put_zone(&bed, "intel-rapl:0", "package-0", 7);
    assert_int_equal(read_uj(&bed, 0), 7);
    bed_done(&bed);
}

static void nothing_is_counted_twice(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 1);
    put_zone(&bed, "intel-rapl:0:0", "core", 1);
    put_zone(&bed, "intel-rapl:0:1", "uncore", 1);
    put_zone(&bed, "intel-rapl:0:2", "dram", 1);
    put_zone(&bed, "intel-rapl:1", "package-1", 1);
    put_zone(&bed, "intel-rapl:1:0", "dram", 1);
    put_zone(&bed, "intel-rapl:2", "psys", 1);
    put_zone(&bed, "intel-rapl-mmio:0", "package-0", 1);
    put(&bed, "/sys/class/powercap/intel-rapl/enabled", "1\n");
    open_devices(&bed);
    static const struct {
        const char *id;
        enum wt_device_kind kind;
        bool is_part;
        const char *part_of;
    } rows[] = {
        {"cpu-package-0", WT_DEVICE_CPU, false, ""},
        {"cpu-package-0-core", WT_DEVICE_CPU, true, "cpu-package-0"},
        {"cpu-package-0-uncore", WT_DEVICE_CPU, true, "cpu-package-0"},
        {"dram-package-0", WT_DEVICE_DRAM, false, ""},
        {"cpu-package-1", WT_DEVICE_CPU, false, ""},
        {"dram-package-1", WT_DEVICE_DRAM, false, ""},
        {"node-psys", WT_DEVICE_NODE, true, ""},
    };
    assert_int_equal(wt_devices_count(bed.devices), WT_COUNTOF(rows));
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_device_info *info = device(&bed, rows[i].id);
        assert_int_equal(info->kind, rows[i].kind);
        assert_int_equal(info->is_part, rows[i].is_part);
        assert_string_equal(info->part_of, rows[i].part_of);
        assert_int_equal(info->can, WT_CAN_ENERGY);
    }
    bed_done(&bed);
}

static void dies_are_summed_where_they_have_counters_of_their_own(void **state)
{
    (void)state;
    static const struct {
        const char *vendor, *first, *second;
        bool is_part;
        const char *why;
    } rows[] = {
        {"GenuineIntel", "package-0-die-0", "package-0-die-1", false, "dies of one package"},
        {"AuthenticAMD", "package-0-die-0", "package-0-die-1", true, "AMD's repeat the package"},
        {"AuthenticAMD", "package-0", "package-1", false, "two packages are two"},
        {"GenuineIntel", "package-0", "package-0", true, "one name is one counter"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        char text[128];
        bed_init(&bed);
        wt_text(text, sizeof(text), "processor : 0\nvendor_id : %s\n", rows[i].vendor);
        put(&bed, "/proc/cpuinfo", text);
        put_zone(&bed, "intel-rapl:0", rows[i].first, 1);
        put_zone(&bed, "intel-rapl:1", rows[i].second, 2);
        open_devices(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 2);
        const struct wt_device_info *a = wt_devices_info(bed.devices, 0);
        const struct wt_device_info *b = wt_devices_info(bed.devices, 1);
        assert_false(a->is_part);
        if (b->is_part != rows[i].is_part)
            fail_msg("%s", rows[i].why);
        assert_string_equal(b->part_of, rows[i].is_part ? a->id : "");
        assert_string_not_equal(a->id, b->id);
        bed_done(&bed);
    }
}

static void what_cannot_be_read_is_named_with_the_reason(void **state)
{
    (void)state;
    struct bed bed;
    char path[256];
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 1);
    break_energy(&bed, "intel-rapl:0");
    put_zone(&bed, "intel-rapl:1", "package-1", 1);
    open_devices(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    assert_string_equal(wt_devices_info(bed.devices, 0)->id, "cpu-package-1");
    assert_string_equal(note(&bed, WT_FINDING_BROKEN)->device, "cpu-package-0");
    bed_done(&bed);

    /* A container that hides the files leaves the names. */
    bed_init(&bed);
    wt_text(path, sizeof(path), "%s/sys/class/powercap/intel-rapl:0", bed.root);
    assert_int_equal(wt_fs_mkdirs(path, 0755, NULL), 0);
    open_devices(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    assert_non_null(strstr(note(&bed, WT_FINDING_MISSING)->fix, "container"));
    bed_done(&bed);
}

static void only_root_is_said_with_the_command_that_helps(void **state)
{
    (void)state;
    struct bed bed;
    char path[256];
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 1);
    wt_text(path, sizeof(path), "%s/sys/class/powercap/intel-rapl:0/energy_uj", bed.root);
    assert_int_equal(chmod(path, 0), 0);
    /* Root may read every file, so root is left for a moment. */
    bool is_root = geteuid() == 0;
    assert_int_equal(chmod(bed.root, 0755), 0);
    if (is_root && seteuid(65534) < 0) {
        bed_done(&bed);
        skip();
    }
    open_devices(&bed);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    const struct wt_finding *f = note(&bed, WT_FINDING_DENIED);
    assert_non_null(strstr(f->fix, "chmod a+r"));
    assert_non_null(strstr(f->fix, "CVE-2020-8694"));
    bed_done(&bed);
}

static void a_virtual_machine_is_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *flags, *vendor, *product, *said;
    } rows[] = {
        {"fpu hypervisor", "Amazon EC2", "m5.large", "Amazon EC2"},
        {"fpu hypervisor", "Google", "Google Compute Engine", "Google"},
        {"fpu hypervisor", "Microsoft Corporation", "Virtual Machine", "Azure"},
        {"fpu hypervisor", "Initech", "TPS", "TPS"},
        {"fpu", "QEMU", "Standard PC", "QEMU"},
        {"fpu hypervisor", NULL, NULL, "virtual machine"},
        /* Rented metal and a laptop are machines, whoever's name is on them. */
        {"fpu", "Amazon EC2", "c5.metal", "has no RAPL domain"},
        {"fpu", "Microsoft Corporation", "Surface Laptop", "has no RAPL domain"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        char text[128];
        bed_init(&bed);
        wt_text(text, sizeof(text), "processor : 0\nflags : %s\n", rows[i].flags);
        put(&bed, "/proc/cpuinfo", text);
        if (rows[i].vendor) {
            put(&bed, "/sys/class/dmi/id/sys_vendor", rows[i].vendor);
            put(&bed, "/sys/class/dmi/id/product_name", rows[i].product);
        }
        open_devices(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        const struct wt_finding *f = note(&bed, WT_FINDING_MISSING);
        if (!strstr(f->value, rows[i].said))
            fail_msg("\"%s\" does not say \"%s\"", f->value, rows[i].said);
        bed_done(&bed);
    }
}

static void only_energy_can_be_read(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 42);
    open_devices(&bed);
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY | WT_READ_POWER, &r, &bed.err),
                     WT_E_UNSUPPORTED);
    assert_true(r.energy.state == WT_LIVE && r.energy.uj == 42);
    assert_int_equal(r.power.state, WT_ABSENT);
    struct wt_device_process procs[1];
    size_t count;
    assert_int_equal(wt_devices_processes(bed.devices, 0, procs, 1, &count, &bed.err),
                     WT_E_UNSUPPORTED);
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrap_is_added_once),
        cmocka_unit_test(a_failed_read_is_not_a_wrap),
        cmocka_unit_test(noise_is_not_a_number),
        cmocka_unit_test(a_reset_is_not_a_wrap),
        cmocka_unit_test(an_unplugged_domain_is_gone_alone),
        cmocka_unit_test(nothing_is_counted_twice),
        cmocka_unit_test(dies_are_summed_where_they_have_counters_of_their_own),
        cmocka_unit_test(what_cannot_be_read_is_named_with_the_reason),
        cmocka_unit_test(only_root_is_said_with_the_command_that_helps),
        cmocka_unit_test(a_virtual_machine_is_recognised),
        cmocka_unit_test(only_energy_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
