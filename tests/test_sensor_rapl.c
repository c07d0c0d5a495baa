/* sensor over RAPL: wraps, failed reads, and what is counted, on trees like those of real machines.
 * Refusals are made by putting a directory where the file was: root may read anything else. */
#include "bed.h"
#include "sensor/rapl.h"

#define RANGE_UJ UINT64_C(262143328850) /* of a counter of 32 bits in steps of 61 uJ */

static void put_energy(const struct bed *bed, const char *zone, uint64_t uj)
{
    char path[128], text[32];
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/energy_uj", zone);
    wt_text(text, sizeof(text), "%llu\n", (unsigned long long)uj);
    bed_put(bed, path, text);
}

static void put_zone(const struct bed *bed, const char *zone, const char *name, uint64_t uj)
{
    char path[128], text[32];
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/name", zone);
    bed_put_line(bed, path, name);
    wt_text(path, sizeof(path), "/sys/class/powercap/%s/max_energy_range_uj", zone);
    wt_text(text, sizeof(text), "%llu\n", (unsigned long long)RANGE_UJ);
    bed_put(bed, path, text);
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

static uint64_t read_uj(struct bed *bed, size_t i)
{
    struct wt_reading r;
    assert_int_equal(wt_devices_read(bed->devices, i, WT_READ_ENERGY, &r, &bed->err), 0);
    assert_int_equal(r.energy.state, WT_LIVE);
    assert_int_equal(r.energy.t_ns, bed->now_ns);
    return r.energy.uj;
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
    bed_open(&bed);
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
    bed_open(&bed);
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
    bed_open(&bed);
    (void)read_uj(&bed, 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_reading r;
        bed.now_ns += WT_NS_PER_S;
        bed_put(&bed, "/sys/class/powercap/intel-rapl:0/energy_uj", rows[i].text);
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
    bed_open(&bed);
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
    bed_put(&bed, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "what?\n");
    bed_open(&bed);
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
    bed_open(&bed);
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
    bed_put(&bed, "/sys/class/powercap/intel-rapl/enabled", "1\n");
    bed_open(&bed);
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
        const struct wt_device_info *info = bed_device(&bed, rows[i].id);
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
        bed_put(&bed, "/proc/cpuinfo", text);
        put_zone(&bed, "intel-rapl:0", rows[i].first, 1);
        put_zone(&bed, "intel-rapl:1", rows[i].second, 2);
        bed_open(&bed);
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
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    assert_string_equal(wt_devices_info(bed.devices, 0)->id, "cpu-package-1");
    assert_string_equal(note(&bed, WT_FINDING_BROKEN)->device, "cpu-package-0");
    bed_done(&bed);

    /* A container that hides the files leaves the names. */
    bed_init(&bed);
    wt_text(path, sizeof(path), "%s/sys/class/powercap/intel-rapl:0", bed.root);
    assert_int_equal(wt_fs_mkdirs(path, 0755, NULL), 0);
    bed_open(&bed);
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
    bed_open(&bed);
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
        bed_put(&bed, "/proc/cpuinfo", text);
        if (rows[i].vendor) {
            bed_put(&bed, "/sys/class/dmi/id/sys_vendor", rows[i].vendor);
            bed_put(&bed, "/sys/class/dmi/id/product_name", rows[i].product);
        }
        bed_open(&bed);
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
    bed_open(&bed);
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

/* ---- the kernel's perf events, played ---- */

#define SCALE "2.3283064365386962890625e-10\n" /* 2^-32, as the kernel writes it */

/* Counts of (event, cpu), in 2^-32 J; a handle is 100 and the place in here. */
static struct played {
    int open_errno, read_errno;
    unsigned opened, closed;
    struct {
        uint64_t config, count;
        unsigned cpu;
    } events[32];
    size_t count;
} played;

static int play_open(void *data, uint32_t type, uint64_t config, unsigned cpu)
{
    struct played *p = data;
    if (p->open_errno)
        return -p->open_errno;
    assert_int_equal(type, 23);
    p->events[p->count].config = config;
    p->events[p->count].cpu = cpu;
    p->events[p->count].count = 0;
    p->opened++;
    return 100 + (int)p->count++;
}

static int play_read(void *data, int handle, uint64_t *ret_count)
{
    struct played *p = data;
    if (p->read_errno)
        return -p->read_errno;
    *ret_count = p->events[handle - 100].count;
    return 0;
}

static void play_close(void *data, int handle)
{
    struct played *p = data;
    assert_in_range(handle, 100, 100 + (int)p->count - 1);
    p->closed++;
}

static const struct wt_perf_ops player = {&played, play_open, play_read, play_close};

static void put_event(const struct bed *bed, const char *name, const char *event)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/bus/event_source/devices/power/events/%s", name);
    bed_put(bed, path, event);
    wt_text(path, sizeof(path), "/sys/bus/event_source/devices/power/events/%s.scale", name);
    bed_put(bed, path, SCALE);
    wt_text(path, sizeof(path), "/sys/bus/event_source/devices/power/events/%s.unit", name);
    bed_put(bed, path, "Joules\n");
}

static void put_cpu(const struct bed *bed, unsigned cpu, unsigned package, unsigned die)
{
    char path[128], text[16];
    wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
    wt_text(text, sizeof(text), "%u\n", package);
    bed_put(bed, path, text);
    wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/die_id", cpu);
    wt_text(text, sizeof(text), "%u\n", die);
    bed_put(bed, path, text);
}

static void put_cpuinfo(const struct bed *bed, const char *vendor, unsigned family, unsigned model)
{
    char text[160];
    wt_text(text, sizeof(text), "processor : 0\nvendor_id : %s\ncpu family : %u\nmodel : %u\n",
            vendor, family, model);
    bed_put(bed, "/proc/cpuinfo", text);
}

static void put_pmu(struct bed *bed, const char *mask)
{
    memset(&played, 0, sizeof(played));
    bed_put(bed, "/sys/bus/event_source/devices/power/type", "23\n");
    bed_put(bed, "/sys/bus/event_source/devices/power/cpumask", mask);
    put_event(bed, "energy-pkg", "event=0x02\n");
    bed->ctx->perf = &player;
}

/* The events of this number, in the order of opening. */
static void count_to(uint64_t config, unsigned cpu, uint64_t count)
{
    for (size_t i = 0; i < played.count; i++)
        if (played.events[i].config == config && played.events[i].cpu == cpu) {
            played.events[i].count = count;
            return;
        }
    fail_msg("event %llu of cpu %u was not opened", (unsigned long long)config, cpu);
}

static void perf_is_taken_first_and_counts_in_its_scale(void **state)
{
    (void)state;
    static const struct {
        uint64_t count, uj;
        const char *why;
    } rows[] = {
        {0, 0, "nothing yet"},
        {UINT64_C(1) << 32, 1000000, "a joule"},
        {4295, 1, "just over a microjoule"},
        {4294, 0, "just under one"},
        {(UINT64_C(1) << 52) + 4295, 1048576000001, "a low bit of a large count"},
        {UINT64_C(1) << 63, UINT64_C(2147483648000000), "2 GJ"},
        {UINT64_MAX, UINT64_C(4294967295999999), "all bits, rounded down"},
    };
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 7000000);
    put_pmu(&bed, "0\n");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 1);
    const struct wt_device_info *info = bed_device(&bed, "cpu-package-0");
    assert_string_equal(info->via, "perf");
    /* The wraps below are the kernel's, which wants to be asked in time. */
    assert_int_equal(info->traits.energy_range_uj, RANGE_UJ);
    assert_int_equal(info->traits.energy_quantum_uj, 62);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bed.now_ns += 100000 * WT_NS_PER_S;
        count_to(2, 0, rows[i].count);
        if (read_uj(&bed, 0) != rows[i].uj)
            fail_msg("%s: %llu", rows[i].why, (unsigned long long)read_uj(&bed, 0));
        bed.now_ns += 100000 * WT_NS_PER_S;
    }
    const struct wt_findings *notes = wt_devices_notes(bed.devices);
    for (size_t i = 0; i < notes->count; i++)
        assert_string_not_equal(notes->list[i].source, "rapl");
    bed_done(&bed);
    assert_int_equal(played.opened, 1);
    assert_int_equal(played.closed, 1);
}

static void the_64_bits_of_perf_wrap_too(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_pmu(&bed, "0\n");
    bed_open(&bed);
    count_to(2, 0, UINT64_MAX - (UINT64_C(1) << 32) + 1);
    uint64_t before = read_uj(&bed, 0);
    bed.now_ns += WT_NS_PER_S;
    count_to(2, 0, UINT64_C(1) << 32);
    assert_int_equal(read_uj(&bed, 0) - before, 2000000);
    bed_done(&bed);
}

static void each_socket_and_die_is_asked_on_a_processor_of_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *vendor, *mask;
        unsigned places[4][2]; /* package and die of cpu 0, 8, 16, 24 */
        const char *ids[4];
        const char *why;
    } rows[] = {
        {"GenuineIntel", "0,8", {{0, 0}, {1, 0}}, {"cpu-package-0", "cpu-package-1"}, "sockets"},
        {"GenuineIntel",
         "0,8,16,24",
         {{0, 0}, {0, 1}, {1, 0}, {1, 1}},
         {"cpu-package-0-die-0", "cpu-package-0-die-1", "cpu-package-1-die-0",
          "cpu-package-1-die-1"},
         "sockets of dies"},
        {"AuthenticAMD",
         "0,8,16,24",
         {{0, 0}, {0, 1}, {1, 0}, {1, 1}},
         {"cpu-package-0", "cpu-package-1"},
         "AMD counts by package, whatever the mask says"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        size_t want = 0;
        bed_init(&bed);
        put_cpuinfo(&bed, rows[i].vendor, 6, 85);
        for (unsigned k = 0; k < 4; k++)
            put_cpu(&bed, k * 8, rows[i].places[k][0], rows[i].places[k][1]);
        put_pmu(&bed, rows[i].mask);
        bed_open(&bed);
        for (; want < 4 && rows[i].ids[want]; want++) {
            assert_false(bed_device(&bed, rows[i].ids[want])->is_part);
            assert_true(bed_device(&bed, rows[i].ids[want])->is_counted);
        }
        if (wt_devices_count(bed.devices) != want)
            fail_msg("%s: %zu", rows[i].why, wt_devices_count(bed.devices));
        bed_done(&bed);
        assert_int_equal(played.opened, want);
        assert_int_equal(played.closed, want);
    }
}

static void perf_alone_shows_every_domain_and_psys_is_never_counted(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_cpu(&bed, 0, 0, 0);
    put_cpu(&bed, 8, 1, 0);
    put_pmu(&bed, "0,8\n");
    put_event(&bed, "energy-cores", "event=0x01\n");
    put_event(&bed, "energy-gpu", "event=0x04\n");
    put_event(&bed, "energy-ram", "event=0x03\n");
    put_event(&bed, "energy-psys", "event=0x05\n");
    bed_open(&bed);
    static const struct {
        const char *id, *part_of;
        uint64_t config;
        unsigned cpu;
        bool is_counted;
    } rows[] = {
        {"cpu-package-0", "", 2, 0, true},
        {"cpu-package-0-core", "cpu-package-0", 1, 0, false},
        {"cpu-package-0-uncore", "cpu-package-0", 4, 0, false},
        {"dram-package-0", "", 3, 0, true},
        {"cpu-package-1", "", 2, 8, true},
        {"cpu-package-1-core", "cpu-package-1", 1, 8, false},
        {"cpu-package-1-uncore", "cpu-package-1", 4, 8, false},
        {"dram-package-1", "", 3, 8, true},
        {"node-psys", "", 5, 0, false},
    };
    assert_int_equal(wt_devices_count(bed.devices), WT_COUNTOF(rows));
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_device_info *info = wt_devices_info(bed.devices, i);
        assert_string_equal(info->id, rows[i].id);
        assert_string_equal(info->part_of, rows[i].part_of);
        assert_int_equal(info->is_part, !rows[i].is_counted);
        assert_int_equal(info->is_counted, rows[i].is_counted);
        count_to(rows[i].config, rows[i].cpu, (i + 1) << 32);
        assert_int_equal(read_uj(&bed, i), (i + 1) * 1000000);
    }
    bed_done(&bed);
}

/* Counts on by itself, as a real one does. */
static int play_moving(void *data, int handle, uint64_t *ret_count)
{
    struct played *p = data;
    *ret_count = p->events[handle - 100].count += (uint64_t)1 << 30;
    return 0;
}

/* Seen on a virtual machine with an NVIDIA H200: psys alone, and it never counted. */
static void a_counter_of_a_virtual_machine_that_stands_still_is_left_out(void **state)
{
    (void)state;
    for (int is_moving = 0; is_moving < 2; is_moving++)
        for (int is_virtual = 0; is_virtual < 2; is_virtual++) {
            struct bed bed;
            struct wt_perf_ops ops = player;
            bed_init(&bed);
            bed_put(&bed, "/proc/cpuinfo",
                    is_virtual ? "processor : 0\nvendor_id : GenuineIntel\nflags : fpu hypervisor\n"
                               : "processor : 0\nvendor_id : GenuineIntel\nflags : fpu\n");
            put_cpu(&bed, 0, 0, 0);
            put_pmu(&bed, "0\n");
            tree_remove(bed.root, "/sys/bus/event_source/devices/power/events/energy-pkg");
            put_event(&bed, "energy-psys", "event=0x05\n");
            if (is_moving)
                ops.read = play_moving;
            bed.ctx->perf = &ops;
            bed_open(&bed);
            bool is_there = false, is_said = false;
            for (size_t i = 0; i < wt_devices_count(bed.devices); i++)
                is_there |= strcmp(wt_devices_info(bed.devices, i)->id, "node-psys") == 0;
            const struct wt_findings *notes = wt_devices_notes(bed.devices);
            for (size_t i = 0; i < notes->count; i++)
                is_said |= strstr(notes->list[i].value, "stands still") != NULL;
            assert_int_equal(is_there, is_moving || !is_virtual);
            assert_int_equal(is_said, !is_there);
            bed_done(&bed);
            assert_int_equal(played.opened, played.closed);
        }
}

/* Graphics that idle draw less than a step in the five milliseconds that are looked at. */
static void a_part_that_idles_in_a_virtual_machine_is_not_left_out(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_put(&bed, "/proc/cpuinfo",
            "processor : 0\nvendor_id : GenuineIntel\nflags : fpu hypervisor\n");
    put_cpu(&bed, 0, 0, 0);
    put_pmu(&bed, "0\n");
    put_event(&bed, "energy-gpu", "event=0x04\n");
    bed.ctx->perf = &player;
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    (void)bed_index(&bed, "cpu-package-0-uncore");
    bed_done(&bed);
}

static void what_perf_refuses_is_read_from_powercap_without_a_word(void **state)
{
    (void)state;
    static const int errors[] = {EACCES, EPERM, ENOENT, ENODEV, EINVAL, ENOSYS, EMFILE};
    for (size_t i = 0; i < WT_COUNTOF(errors); i++) {
        struct bed bed;
        bed_init(&bed);
        put_cpu(&bed, 0, 0, 0);
        put_zone(&bed, "intel-rapl:0", "package-0", 7);
        put_zone(&bed, "intel-rapl:0:0", "dram", 8);
        put_pmu(&bed, "0\n");
        put_event(&bed, "energy-ram", "event=0x03\n");
        played.open_errno = errors[i];
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 2);
        assert_string_equal(bed_device(&bed, "cpu-package-0")->via, "powercap");
        assert_int_equal(read_uj(&bed, 0), 7);
        assert_int_equal(read_uj(&bed, 1), 8);
        const struct wt_findings *notes = wt_devices_notes(bed.devices);
        for (size_t k = 0; k < notes->count; k++)
            assert_string_not_equal(notes->list[k].source, "rapl");
        bed_done(&bed);
    }
}

static void a_domain_that_perf_does_not_have_is_read_from_powercap(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 7);
    put_zone(&bed, "intel-rapl:0:0", "dram", 8);
    put_pmu(&bed, "0\n");
    bed_open(&bed);
    assert_string_equal(bed_device(&bed, "cpu-package-0")->via, "perf");
    assert_string_equal(bed_device(&bed, "dram-package-0")->via, "powercap");
    assert_int_equal(read_uj(&bed, bed_index(&bed, "dram-package-0")), 8);
    bed_done(&bed);
}

static void without_any_way_each_refusal_comes_once_with_its_fix(void **state)
{
    (void)state;
    static const struct {
        const char *container, *perf_fix, *msr_fix;
    } rows[] = {
        {NULL, "sysctl kernel.perf_event_paranoid=0", "as root"},
        {"/.dockerenv", "--cap-add PERFMON", "--cap-add SYS_RAWIO"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        put_cpuinfo(&bed, "GenuineIntel", 6, 85);
        put_cpu(&bed, 0, 0, 0);
        put_zone(&bed, "intel-rapl:0", "package-0", 7);
        put_zone(&bed, "intel-rapl:0:0", "dram", 8);
        put_pmu(&bed, "0\n");
        put_event(&bed, "energy-ram", "event=0x03\n");
        bed_put(&bed, "/proc/sys/kernel/perf_event_paranoid", "4\n");
        bed_put(&bed, "/dev/cpu/0/msr", "");
        if (rows[i].container)
            bed_put(&bed, rows[i].container, "");
        played.open_errno = EACCES;
        wt_tree_fault(bed.ctx, "/sys/class/powercap/intel-rapl:0/energy_uj", EACCES);
        wt_tree_fault(bed.ctx, "/sys/class/powercap/intel-rapl:0:0/energy_uj", EACCES);
        wt_tree_fault(bed.ctx, "/dev/cpu/0/msr", EPERM);
        bed_open(&bed);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        const struct wt_findings *notes = wt_devices_notes(bed.devices);
        unsigned files = 0, events = 0, registers = 0;
        for (size_t k = 0; k < notes->count; k++) {
            const struct wt_finding *f = &notes->list[k];
            if (strcmp(f->source, "rapl") != 0)
                continue;
            assert_int_equal(f->kind, WT_FINDING_DENIED);
            if (strcmp(f->what, "energy counter") == 0) {
                files++;
                assert_non_null(strstr(f->fix, "chmod a+r"));
            } else if (strcmp(f->what, "perf events") == 0) {
                events++;
                assert_non_null(strstr(f->fix, rows[i].perf_fix));
                assert_non_null(strstr(f->value, "paranoid is 4"));
            } else if (strcmp(f->what, "registers") == 0) {
                registers++;
                assert_non_null(strstr(f->fix, rows[i].msr_fix));
            }
        }
        assert_int_equal(files, 2);
        assert_int_equal(events, 1);
        assert_int_equal(registers, 1);
        bed_done(&bed);
    }
}

static void garbled_perf_files_leave_powercap(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
    } rows[] = {
        {"type", "many"},
        {"type", "99999999999"},
        {"cpumask", ""},
        {"cpumask", "0-"},
        {"cpumask", "zero"},
        {"events/energy-pkg", "event=two"},
        {"events/energy-pkg", "event=0x2,umask=1"},
        {"events/energy-pkg.unit", "Watts"},
        {"events/energy-pkg.scale", "much"},
        {"events/energy-pkg.scale", "0"},
        {"events/energy-pkg.scale", "-1e-9"},
        {"events/energy-pkg.scale", "1e300"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        for (int has_powercap = 0; has_powercap < 2; has_powercap++) {
            struct bed bed;
            char path[128];
            bed_init(&bed);
            if (has_powercap)
                put_zone(&bed, "intel-rapl:0", "package-0", 7);
            put_pmu(&bed, "0\n");
            wt_text(path, sizeof(path), "/sys/bus/event_source/devices/power/%s", rows[i].file);
            bed_put(&bed, path, rows[i].text);
            bed_open(&bed);
            if (wt_devices_count(bed.devices) != (size_t)has_powercap)
                fail_msg("%s \"%s\"", rows[i].file, rows[i].text);
            if (has_powercap)
                assert_string_equal(wt_devices_info(bed.devices, 0)->via, "powercap");
            else
                assert_non_null(strstr(note(&bed, WT_FINDING_BROKEN)->value, rows[i].file));
            bed_done(&bed);
        }
}

static void a_perf_event_that_fails_for_a_time_changes_nothing(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_reading r;
    bed_init(&bed);
    put_pmu(&bed, "0\n");
    bed_open(&bed);
    count_to(2, 0, UINT64_C(5) << 32);
    assert_int_equal(read_uj(&bed, 0), 5000000);
    bed.now_ns += WT_NS_PER_S;
    played.read_errno = EBADF;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_IO);
    assert_int_equal(r.energy.state, WT_ABSENT);
    played.read_errno = ENODEV;
    assert_int_equal(wt_devices_read(bed.devices, 0, WT_READ_ENERGY, &r, &bed.err), WT_E_GONE);
    played.read_errno = 0;
    count_to(2, 0, UINT64_C(6) << 32);
    assert_int_equal(read_uj(&bed, 0), 6000000);
    bed_done(&bed);
}

static void another_machines_perf_events_are_not_opened_here(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_pmu(&bed, "0\n");
    bed.ctx->perf = NULL;
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 0);
    bed_done(&bed);
}

/* ---- registers ---- */

static struct msrs {
    struct {
        unsigned cpu;
        uint32_t reg;
        uint64_t value;
    } list[32];
    size_t count;
    unsigned asked;
} msrs;

static int play_msr(void *data, unsigned cpu, uint32_t reg, uint64_t *ret_value)
{
    struct msrs *m = data;
    m->asked++;
    for (size_t i = 0; i < m->count; i++)
        if (m->list[i].cpu == cpu && m->list[i].reg == reg) {
            *ret_value = m->list[i].value;
            return 0;
        }
    return -EIO;
}

static const struct wt_msr_ops msr_player = {&msrs, play_msr};

static void set_msr(unsigned cpu, uint32_t reg, uint64_t value)
{
    for (size_t i = 0; i < msrs.count; i++)
        if (msrs.list[i].cpu == cpu && msrs.list[i].reg == reg) {
            msrs.list[i].value = value;
            return;
        }
    msrs.list[msrs.count].cpu = cpu;
    msrs.list[msrs.count].reg = reg;
    msrs.list[msrs.count++].value = value;
}

static void registers_are_read_at_their_number_where_nothing_else_is(void **state)
{
    (void)state;
    struct bed bed;
    char path[128];
    bed_init(&bed);
    put_cpuinfo(&bed, "GenuineIntel", 6, 85);
    put_cpu(&bed, 0, 0, 0);
    bed_put(&bed, "/sys/devices/system/cpu/online", "0\n");
    bed_put(&bed, "/dev/cpu/0/msr", "");
    static const struct {
        uint32_t reg;
        uint64_t value;
    } rows[] = {{0x606, 0xA0E03}, {0x611, 1u << 14}, {0x619, 1u << 16}, {0x639, 2u << 14}};
    wt_text(path, sizeof(path), "%s/dev/cpu/0/msr", bed.root);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        assert_int_equal(fseek(f, (long)rows[i].reg, SEEK_SET), 0);
        assert_int_equal(fwrite(&rows[i].value, sizeof(rows[i].value), 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    assert_string_equal(bed_device(&bed, "cpu-package-0")->via, "msr");
    assert_int_equal(read_uj(&bed, bed_index(&bed, "cpu-package-0")), 1000000);
    assert_int_equal(read_uj(&bed, bed_index(&bed, "cpu-package-0-core")), 2000000);
    /* Memory of this model has a unit of its own. */
    assert_int_equal(read_uj(&bed, bed_index(&bed, "dram-package-0")), 1000000);
    assert_int_equal(bed_device(&bed, "dram-package-0")->traits.energy_quantum_uj, 16);
    bed_done(&bed);
}

static void a_register_of_32_bits_wraps_once(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    memset(&msrs, 0, sizeof(msrs));
    bed.ctx->msr = &msr_player;
    put_cpuinfo(&bed, "GenuineIntel", 6, 0x8F);
    put_cpu(&bed, 0, 0, 0);
    put_cpu(&bed, 1, 1, 0);
    bed_put(&bed, "/sys/devices/system/cpu/online", "0-1\n");
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        set_msr(cpu, 0x606, 0xE00);
        set_msr(cpu, 0x611, UINT64_C(0xdead00000000) | (UINT32_MAX - 16383)); /* above: reserved */
    }
    set_msr(0, 0x64D, 300);
    set_msr(1, 0x64D, 300);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    assert_int_equal(bed_device(&bed, "cpu-package-1")->traits.energy_range_uj,
                     UINT64_C(262144000000));
    size_t i = bed_index(&bed, "cpu-package-1");
    uint64_t before = read_uj(&bed, i);
    bed.now_ns += WT_NS_PER_S;
    set_msr(1, 0x611, 16384);
    assert_int_equal(read_uj(&bed, i) - before, 2000000);
    assert_int_equal(read_uj(&bed, i) - before, 2000000);
    /* psys of this model counts joules, and is there once. */
    assert_int_equal(read_uj(&bed, bed_index(&bed, "node-psys")), 300000000);
    assert_int_equal(bed_device(&bed, "node-psys")->traits.energy_quantum_uj, 1000000);
    assert_false(bed_device(&bed, "node-psys")->is_counted);
    bed_done(&bed);
}

static void amd_has_registers_of_its_own_and_one_counter_a_package(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    memset(&msrs, 0, sizeof(msrs));
    bed.ctx->msr = &msr_player;
    put_cpuinfo(&bed, "AuthenticAMD", 0x19, 1);
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        put_cpu(&bed, cpu, cpu / 2, cpu % 2);
        set_msr(cpu, UINT32_C(0xC0010299), 0x1000); /* 2^-16 J */
        set_msr(cpu, UINT32_C(0xC001029A), 77);     /* a core's */
        set_msr(cpu, UINT32_C(0xC001029B), 1u << 16);
    }
    bed_put(&bed, "/sys/devices/system/cpu/online", "0-3\n");
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 2);
    assert_int_equal(read_uj(&bed, bed_index(&bed, "cpu-package-0")), 1000000);
    assert_int_equal(read_uj(&bed, bed_index(&bed, "cpu-package-1")), 1000000);
    bed_done(&bed);
}

static void registers_are_left_alone_where_files_are_enough(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    memset(&msrs, 0, sizeof(msrs));
    bed.ctx->msr = &msr_player;
    put_cpuinfo(&bed, "GenuineIntel", 6, 85);
    put_zone(&bed, "intel-rapl:0", "package-0", 7);
    bed_open(&bed);
    assert_int_equal(msrs.asked, 0);
    bed_done(&bed);
    /* And where a processor's are not known. */
    static const struct {
        const char *vendor;
        unsigned family, model;
    } rows[] = {{"GenuineIntel", 6, 0x37},
                {"GenuineIntel", 6, 0xAD},
                {"AuthenticAMD", 0x15, 2},
                {"GenuineIntel", 15, 6},
                {"CentaurHauls", 7, 0x5B}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bed_init(&bed);
        bed.ctx->msr = &msr_player;
        put_cpuinfo(&bed, rows[i].vendor, rows[i].family, rows[i].model);
        bed_open(&bed);
        assert_int_equal(msrs.asked, 0);
        assert_int_equal(wt_devices_count(bed.devices), 0);
        bed_done(&bed);
    }
}

static void a_module_that_is_not_loaded_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *fix;
    } rows[] = {
        {"wattune-machine 1\nuid: 0\n", "sudo modprobe msr"},
        {"wattune-machine 1\nuid: 1000\n",
         "sudo modprobe msr, and then run as root: registers are root's alone (CAP_SYS_RAWIO)"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        bed_init(&bed);
        bed_put(&bed, "/machine.txt", rows[i].manifest);
        wt_tree_close(bed.ctx);
        assert_int_equal(wt_tree_open(bed.ctx, NULL), 0);
        put_cpuinfo(&bed, "GenuineIntel", 6, 85);
        put_zone(&bed, "intel-rapl:0", "package-0", 7);
        wt_tree_fault(bed.ctx, "/sys/class/powercap/intel-rapl:0/energy_uj", EACCES);
        bed_open(&bed);
        assert_string_equal(note(&bed, WT_FINDING_MISSING)->fix, rows[i].fix);
        assert_non_null(strstr(note(&bed, WT_FINDING_DENIED)->fix, "chmod"));
        bed_done(&bed);
    }
}

static void a_container_is_recognised(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    bed_put(&bed, "/.dockerenv", "");
    bed_open(&bed);
    const struct wt_finding *f = note(&bed, WT_FINDING_MISSING);
    assert_non_null(strstr(f->value, "docker"));
    assert_non_null(strstr(f->fix, "mount"));
    bed_done(&bed);
}

static void two_zones_of_one_name_have_two_ids(void **state)
{
    (void)state;
    struct bed bed;
    bed_init(&bed);
    put_zone(&bed, "intel-rapl:0", "package-0", 1);
    put_zone(&bed, "intel-rapl:1", "psys", 2);
    put_zone(&bed, "intel-rapl:2", "psys", 3);
    bed_open(&bed);
    assert_int_equal(wt_devices_count(bed.devices), 3);
    assert_false(bed_device(&bed, "node-psys")->is_counted);
    assert_string_equal(bed_device(&bed, "node-psys-again-1")->part_of, "node-psys");
    bed_done(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perf_is_taken_first_and_counts_in_its_scale),
        cmocka_unit_test(the_64_bits_of_perf_wrap_too),
        cmocka_unit_test(each_socket_and_die_is_asked_on_a_processor_of_its_own),
        cmocka_unit_test(perf_alone_shows_every_domain_and_psys_is_never_counted),
        cmocka_unit_test(a_counter_of_a_virtual_machine_that_stands_still_is_left_out),
        cmocka_unit_test(a_part_that_idles_in_a_virtual_machine_is_not_left_out),
        cmocka_unit_test(what_perf_refuses_is_read_from_powercap_without_a_word),
        cmocka_unit_test(a_domain_that_perf_does_not_have_is_read_from_powercap),
        cmocka_unit_test(without_any_way_each_refusal_comes_once_with_its_fix),
        cmocka_unit_test(garbled_perf_files_leave_powercap),
        cmocka_unit_test(a_perf_event_that_fails_for_a_time_changes_nothing),
        cmocka_unit_test(another_machines_perf_events_are_not_opened_here),
        cmocka_unit_test(registers_are_read_at_their_number_where_nothing_else_is),
        cmocka_unit_test(a_register_of_32_bits_wraps_once),
        cmocka_unit_test(amd_has_registers_of_its_own_and_one_counter_a_package),
        cmocka_unit_test(registers_are_left_alone_where_files_are_enough),
        cmocka_unit_test(a_module_that_is_not_loaded_is_named),
        cmocka_unit_test(a_container_is_recognised),
        cmocka_unit_test(two_zones_of_one_name_have_two_ids),
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
