/* machine: what files say of the machine, and what they leave open. */
#include "bed.h"

#include "sensor/machine.h"

static void put_topology(const struct bed *bed, unsigned cpu, const char *package, const char *die)
{
    char path[128];
    wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/physical_package_id", cpu);
    bed_put(bed, path, package);
    wt_text(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/topology/die_id", cpu);
    bed_put(bed, path, die);
}

static void a_processor_is_told_by_its_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *vendor, *cpu;
        unsigned family, model;
        bool is_amd, is_intel;
    } rows[] = {
        {"processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
         "model name\t: Intel(R) Xeon(R) Gold 6152 CPU @ 2.10GHz\nflags\t\t: fpu\n\n"
         "processor\t: 1\nvendor_id\t: AuthenticAMD\n",
         "GenuineIntel", "Intel(R) Xeon(R) Gold 6152 CPU @ 2.10GHz", 6, 85, false, true},
        {"vendor_id : AuthenticAMD\ncpu family : 25\nmodel : 1\nmodel name : AMD EPYC 7763\n",
         "AuthenticAMD", "AMD EPYC 7763", 25, 1, true, false},
        {"vendor_id : HygonGenuine\ncpu family : 24\nmodel : 0\n", "HygonGenuine", "", 24, 0, true,
         false},
        {"processor\t: 0\nBogoMIPS\t: 2000.00\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
         "CPU part\t: 0xd4f\n",
         "0x41", "", 8, 0xd4f, false, false},
        {"", "", "", 0, 0, false, false},
        {"vendor_id\n:\nmodel\n", "", "", 0, 0, false, false},
        {"vendor_id : \ncpu family : six\nmodel : -\n", "", "", 0, 0, false, false},
        {"model name : of no maker", "", "of no maker", 0, 0, false, false},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_machine m;
        bed_init(&bed);
        bed_put(&bed, "/proc/cpuinfo", rows[i].text);
        wt_machine_look(bed.ctx, &m);
        assert_string_equal(m.vendor, rows[i].vendor);
        assert_string_equal(m.cpu, rows[i].cpu);
        assert_int_equal(m.family, rows[i].family);
        assert_int_equal(m.model, rows[i].model);
        assert_int_equal(m.is_amd, rows[i].is_amd);
        assert_int_equal(m.is_intel, rows[i].is_intel);
        bed_done(&bed);
    }
}

static void a_machine_without_files_is_one_of_one_processor(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_machine m;
    bed_init(&bed);
    wt_machine_look(bed.ctx, &m);
    assert_string_equal(m.vendor, "");
    assert_int_equal(m.cpus, 1);
    assert_int_equal(m.sockets, 1);
    assert_false(m.is_virtual);
    assert_string_equal(m.virtual_name, "");
    assert_string_equal(m.container, "");
    bed_done(&bed);
}

static void a_rented_machine_is_named_and_metal_is_metal(void **state)
{
    (void)state;
    static const struct {
        const char *cpu, *vendor, *product, *name; /* name NULL: no virtual machine */
    } rows[] = {
        {"flags : fpu hypervisor\n", "Amazon EC2\n", "m5.large\n", "an Amazon EC2 instance"},
        {"flags : fpu\n", "Amazon EC2\n", "m5.metal\n", NULL},
        {"CPU implementer : 0x41\n", "Amazon EC2\n", "m6g.large\n", "an Amazon EC2 instance"},
        {"CPU implementer : 0x41\n", "Amazon EC2\n", "m6g.metal\n", NULL},
        {"CPU implementer : 0x41\n", "Ampere\n", "Mt. Jade\n", NULL},
        {"flags : fpu hypervisor\n", "Google\n", "Google Compute Engine\n",
         "a Google Compute Engine VM"},
        {"flags : fpu\n", "Microsoft Corporation\n", "Surface Laptop 5\n", NULL},
        {"flags : fpu\n", "QEMU\n", "Standard PC\n", "a QEMU/KVM VM"},
        {"flags : fpu hypervisor\n", "Initech\n", "TPS\n", "a virtual machine (TPS)"},
        {"flags : fpu hypervisor\n", "", "", "a virtual machine"},
        {"model name : a hypervisor of a name\nflags : fpu\n", "", "", NULL},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_machine m;
        bed_init(&bed);
        bed_put(&bed, "/proc/cpuinfo", rows[i].cpu);
        bed_put(&bed, "/sys/class/dmi/id/sys_vendor", rows[i].vendor);
        bed_put(&bed, "/sys/class/dmi/id/product_name", rows[i].product);
        wt_machine_look(bed.ctx, &m);
        if (m.is_virtual != (rows[i].name != NULL))
            fail_msg("row %zu: \"%s\"", i, m.virtual_name);
        assert_string_equal(m.virtual_name, rows[i].name ? rows[i].name : "");
        bed_done(&bed);
    }
}

static void a_container_is_told_by_what_its_maker_leaves(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text, *name;
    } rows[] = {
        {"/.dockerenv", "", "docker"},
        {"/run/.containerenv", "engine=\"podman-4.3\"\n", "podman"},
        {"/run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"},
        {"/run/systemd/container", "", ""},
        {"/proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice\n", "kubernetes"},
        {"/proc/1/cgroup", "12:pids:/docker/0123456789\n", "docker"},
        {"/proc/1/cgroup", "0::/lxc.payload.box\n", "lxc"},
        {"/proc/1/cgroup", "0::/system.slice/containerd.service\n", "container"},
        {"/proc/1/cgroup", "0::/init.scope\n", ""},
        {"/proc/1/cgroup", "", ""},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed bed;
        struct wt_machine m;
        bed_init(&bed);
        bed_put(&bed, rows[i].path, rows[i].text);
        wt_machine_look(bed.ctx, &m);
        assert_string_equal(m.container, rows[i].name);
        bed_done(&bed);
    }
}

/* The processors of a list, as "0 1 2 ". */
struct heard {
    char text[128];
    int stop_at; /* -1: never */
};

static int hear(void *data, unsigned cpu)
{
    struct heard *h = data;
    size_t n = strlen(h->text);
    if ((int)cpu == h->stop_at)
        return WT_E_STATE;
    wt_text(h->text + n, sizeof(h->text) - n, "%u ", cpu);
    return 0;
}

static void a_list_of_processors_is_read_as_the_kernel_writes_it(void **state)
{
    (void)state;
    static const struct {
        const char *list, *heard;
        int rc;
    } rows[] = {
        {"0", "0 ", 0},
        {"0-3", "0 1 2 3 ", 0},
        {"0-3,8,10-11", "0 1 2 3 8 10 11 ", 0},
        {"0,18", "0 18 ", 0},
        {"", "", 0},
        {"7-7", "7 ", 0},
        {"zero", "", WT_E_FORMAT},
        {"0-", "", WT_E_FORMAT},
        {"3-1", "", WT_E_FORMAT},
        {"-1", "", WT_E_FORMAT},
        {"0--2", "", WT_E_FORMAT},
        {"+1", "", WT_E_FORMAT},
        {"0 1", "", WT_E_FORMAT},
        {"0,x", "0 ", WT_E_FORMAT},
        {"0-3;8", "", WT_E_FORMAT},
        {"0-999999999", "", WT_E_FORMAT},
        {"99999999999999999999", "", WT_E_FORMAT},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct heard h = {.stop_at = -1};
        int rc = wt_machine_cpu_list(rows[i].list, hear, &h);
        if (rc != rows[i].rc || strcmp(h.text, rows[i].heard) != 0)
            fail_msg("\"%s\": %d, %s", rows[i].list, rc, h.text);
        /* And the same from the file. */
        struct bed bed;
        struct heard f = {.stop_at = -1};
        bed_init(&bed);
        bed_put(&bed, "/sys/devices/system/cpu/online", rows[i].list);
        assert_int_equal(wt_machine_cpus(bed.ctx, hear, &f), rows[i].rc);
        assert_string_equal(f.text, rows[i].heard);
        bed_done(&bed);
    }
}

static void a_refusal_ends_the_list_and_no_list_is_processor_0(void **state)
{
    (void)state;
    struct heard h = {.stop_at = 2};
    assert_int_equal(wt_machine_cpu_list("0-5", hear, &h), WT_E_STATE);
    assert_string_equal(h.text, "0 1 ");
    struct bed bed;
    bed_init(&bed);
    h = (struct heard){.stop_at = -1};
    assert_int_equal(wt_machine_cpus(bed.ctx, hear, &h), WT_E_NOTFOUND);
    assert_string_equal(h.text, "0 ");
    bed_done(&bed);
}

static void sockets_and_dies_are_counted_from_the_topology(void **state)
{
    (void)state;
    struct bed bed;
    struct wt_machine m;
    bed_init(&bed);
    bed_put(&bed, "/sys/devices/system/cpu/online", "0-1,4-5\n");
    put_topology(&bed, 0, "0\n", "0\n");
    put_topology(&bed, 1, "0\n", "1\n");
    put_topology(&bed, 4, "1\n", "0\n");
    put_topology(&bed, 5, "1\n", "1\n");
    wt_machine_look(bed.ctx, &m);
    assert_int_equal(m.cpus, 4);
    assert_int_equal(m.sockets, 2);
    assert_int_equal(wt_machine_package_of(bed.ctx, 5), 1);
    assert_int_equal(wt_machine_die_of(bed.ctx, 5), 1);
    /* A platform that does not say writes -1, and a processor may be away. */
    put_topology(&bed, 5, "-1\n", "what\n");
    assert_int_equal(wt_machine_package_of(bed.ctx, 5), 0);
    assert_int_equal(wt_machine_die_of(bed.ctx, 5), 0);
    assert_int_equal(wt_machine_package_of(bed.ctx, 99), 0);
    bed_done(&bed);
}

static void clusters_of_a_board_are_no_sockets(void **state)
{
    (void)state;
    static const struct {
        const char *cpuinfo, *model; /* NULL: no device tree */
        unsigned sockets, package;
        const char *why;
    } rows[] = {
        {"CPU implementer : 0x41\nCPU part : 0xd42\n", "NVIDIA Jetson AGX Orin\n", 1, 0, "a board"},
        {"CPU implementer : 0x41\nCPU part : 0xd0c\n", NULL, 2, 36, "a server with ACPI"},
        {"cpu : POWER9\n", "8335-GTH\n", 2, 36, "a device tree of IBM's"},
        {"flags : fpu hypervisor\n", NULL, 1, 36, "a VM, where packages mean nothing"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed t;
        struct wt_machine m;
        bed_init(&t);
        bed_put(&t, "/proc/cpuinfo", rows[i].cpuinfo);
        if (rows[i].model)
            bed_put(&t, "/proc/device-tree/model", rows[i].model);
        bed_put(&t, "/sys/devices/system/cpu/online", "0-1\n");
        put_topology(&t, 0, "0\n", "0\n");
        put_topology(&t, 1, "36\n", "0\n");
        wt_machine_look(t.ctx, &m);
        if (m.sockets != rows[i].sockets || wt_machine_package_of(t.ctx, 1) != rows[i].package)
            fail_msg("%s: %u sockets", rows[i].why, m.sockets);
        bed_done(&t);
    }
}

static void a_processor_has_the_name_people_call_it(void **state)
{
    (void)state;
    static const struct {
        const char *cpuinfo, *model, *name, *board;
    } rows[] = {
        {"CPU implementer : 0x41\nCPU architecture: 8\nCPU part : 0xd4f\n", NULL, "ARM Neoverse V2",
         ""},
        {"model name : ARMv8 Processor rev 1 (v8l)\nCPU implementer : 0x41\nCPU part : 0xd42\n",
         "NVIDIA Jetson AGX Orin Developer Kit\n", "ARM Cortex-A78AE",
         "NVIDIA Jetson AGX Orin Developer Kit"},
        {"model name : ARMv8 Processor rev 1 (v8l)\nCPU implementer : 0x99\nCPU part : 0x1\n", NULL,
         "ARMv8 Processor rev 1 (v8l)", ""},
        {"CPU implementer : 0x99\nCPU part : 0x1\n", NULL, "", ""},
        {"model name : AWS Graviton3\nCPU implementer : 0x41\nCPU part : 0xd40\n", NULL,
         "AWS Graviton3", ""},
        {"vendor_id : AuthenticAMD\nmodel name : AMD EPYC 7763\n", "8335-GTH\n", "AMD EPYC 7763",
         ""},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bed t;
        struct wt_machine m;
        bed_init(&t);
        bed_put(&t, "/proc/cpuinfo", rows[i].cpuinfo);
        if (rows[i].model)
            bed_put(&t, "/proc/device-tree/model", rows[i].model);
        wt_machine_look(t.ctx, &m);
        assert_string_equal(m.name, rows[i].name);
        assert_string_equal(m.board, rows[i].board);
        bed_done(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_processor_is_told_by_its_text),
        cmocka_unit_test(a_machine_without_files_is_one_of_one_processor),
        cmocka_unit_test(a_rented_machine_is_named_and_metal_is_metal),
        cmocka_unit_test(a_container_is_told_by_what_its_maker_leaves),
        cmocka_unit_test(a_list_of_processors_is_read_as_the_kernel_writes_it),
        cmocka_unit_test(a_refusal_ends_the_list_and_no_list_is_processor_0),
        cmocka_unit_test(sockets_and_dies_are_counted_from_the_topology),
        cmocka_unit_test(clusters_of_a_board_are_no_sockets),
        cmocka_unit_test(a_processor_has_the_name_people_call_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
