/* machine: see machine.h.
 *
 * Sources: proc(5), Documentation/ABI/testing/sysfs-devices-system-cpu; of ARM's numbers
 * arch/arm64/include/asm/cputype.h of Linux. An arm64 kernel without ACPI has no packages and shows
 * the clusters of the device tree's cpu-map in their place (parse_dt_topology in
 * drivers/base/arch_topology.c, until Linux 6.0 made them one package). */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sensor/cpu_model.h"
#include "sensor/machine.h"

#define CPU      "/sys/devices/system/cpu"
#define CPUS_MAX 65536u
#define BOARD    "/proc/device-tree/model"

/* The beginning of /proc/cpuinfo: the first processor is enough, and the file of a large machine is
 * long. */
static void first_cpu(const struct wt_ctx *ctx, char *buf, size_t size)
{
    char whole[WT_MACHINE_CPUINFO_SIZE];
    int rc = wt_fs_read_start(ctx, "/proc/cpuinfo", whole, sizeof(whole));
    char *end = rc == 0 ? strstr(whole, "\n\n") : NULL;
    if (end)
        end[1] = '\0';
    wt_text(buf, size, "%s", rc == 0 ? whole : "");
}

/* "0x41" and 0xd4f are "ARM Neoverse V2"; "" of what is not known. */
static void name_arm(const char *implementer, unsigned part, char *buf, size_t size)
{
    static const struct {
        const char *implementer;
        unsigned part;
        const char *name;
    } rows[] = {
        {"0x41", 0xd03, "ARM Cortex-A53"},     {"0x41", 0xd04, "ARM Cortex-A35"},
        {"0x41", 0xd05, "ARM Cortex-A55"},     {"0x41", 0xd07, "ARM Cortex-A57"},
        {"0x41", 0xd08, "ARM Cortex-A72"},     {"0x41", 0xd09, "ARM Cortex-A73"},
        {"0x41", 0xd0a, "ARM Cortex-A75"},     {"0x41", 0xd0b, "ARM Cortex-A76"},
        {"0x41", 0xd0c, "ARM Neoverse N1"},    {"0x41", 0xd0d, "ARM Cortex-A77"},
        {"0x41", 0xd0e, "ARM Cortex-A76AE"},   {"0x41", 0xd40, "ARM Neoverse V1"},
        {"0x41", 0xd41, "ARM Cortex-A78"},     {"0x41", 0xd42, "ARM Cortex-A78AE"},
        {"0x41", 0xd44, "ARM Cortex-X1"},      {"0x41", 0xd46, "ARM Cortex-A510"},
        {"0x41", 0xd47, "ARM Cortex-A710"},    {"0x41", 0xd49, "ARM Neoverse N2"},
        {"0x41", 0xd4f, "ARM Neoverse V2"},    {"0x41", 0xd84, "ARM Neoverse V3"},
        {"0x41", 0xd8e, "ARM Neoverse N3"},    {"0x43", 0x0af, "Cavium ThunderX2"},
        {"0x46", 0x001, "Fujitsu A64FX"},      {"0x48", 0xd01, "HiSilicon TSV110"},
        {"0x4e", 0x003, "NVIDIA Denver 2"},    {"0x4e", 0x004, "NVIDIA Carmel"},
        {"0x50", 0x000, "APM X-Gene"},         {"0x51", 0x001, "Qualcomm Oryon"},
        {"0x51", 0xc00, "Qualcomm Falkor"},    {"0xc0", 0xac3, "Ampere AmpereOne"},
        {"0xc0", 0xac4, "Ampere AmpereOne A"},
    };
    wt_text(buf, size, "%s", "");
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].part == part && strcmp(rows[i].implementer, implementer) == 0)
            wt_text(buf, size, "%s", rows[i].name);
}

static void read_board(const struct wt_ctx *ctx, char *buf, size_t size)
{
    if (wt_fs_read_start(ctx, BOARD, buf, size) < 0)
        buf[0] = '\0'; /* a device tree's string ends with a zero byte, and so does this */
    buf[strcspn(buf, "\n")] = '\0';
}

static void look_at_cpu(const char *info, struct wt_machine *m)
{
    struct wt_cpu_identity id;
    wt_cpu_identity_from(info, &id);
    wt_text(m->vendor, sizeof(m->vendor), "%s", id.vendor);
    wt_text(m->cpu, sizeof(m->cpu), "%s", id.name);
    m->family = id.family;
    m->model = id.model;
    m->is_virtual = id.is_virtual;
    m->is_amd = strcmp(m->vendor, "AuthenticAMD") == 0 || strcmp(m->vendor, "HygonGenuine") == 0;
    m->is_intel = strcmp(m->vendor, "GenuineIntel") == 0;
    m->is_arm = strncmp(m->vendor, "0x", 2) == 0;
    /* "ARMv8 Processor rev 1 (v8l)" is what every one of them is called. */
    bool is_said = *m->cpu && !(m->is_arm && strncmp(m->cpu, "ARMv", 4) == 0);
    if (m->is_arm && !is_said)
        name_arm(m->vendor, m->model, m->name, sizeof(m->name));
    if (!*m->name)
        wt_text(m->name, sizeof(m->name), "%s", m->cpu);
}

/* Clouds rent bare machines too, and makers of VMs sell laptops: the processor's own word decides
 * whether this is virtual (on ARM there is none, and a vendor of nothing but VMs decides), the
 * firmware's vendor only says whose. */
static void look_at_vm(const struct wt_ctx *ctx, struct wt_machine *m)
{
    static const struct {
        const char *vendor, *name;
        bool is_always_vm;
    } rows[] = {
        {"Amazon EC2", "an Amazon EC2 instance", false},
        {"Google", "a Google Compute Engine VM", false},
        {"Microsoft Corporation", "an Azure or Hyper-V VM", false},
        {"Alibaba Cloud", "an Alibaba Cloud VM", false},
        {"Tencent Cloud", "a Tencent Cloud VM", false},
        {"OracleCloud", "an Oracle Cloud VM", false},
        {"DigitalOcean", "a DigitalOcean droplet", true},
        {"Hetzner", "a Hetzner cloud VM", false},
        {"OpenStack", "an OpenStack VM", true},
        {"QEMU", "a QEMU/KVM VM", true},
        {"KVM", "a KVM VM", true},
        {"VMware", "a VMware VM", true},
        {"innotek GmbH", "a VirtualBox VM", true},
        {"Xen", "a Xen VM", true},
    };
    char vendor[128] = "", product[128] = "";
    (void)wt_fs_read(ctx, "/sys/class/dmi/id/sys_vendor", vendor, sizeof(vendor), NULL);
    (void)wt_fs_read(ctx, "/sys/class/dmi/id/product_name", product, sizeof(product), NULL);
    size_t row = 0;
    while (row < WT_COUNTOF(rows) &&
           strncmp(vendor, rows[row].vendor, strlen(rows[row].vendor)) != 0)
        row++;
    bool is_known = row < WT_COUNTOF(rows);
    /* EC2 calls its bare machines "m5.metal"; a VM on ARM has no flag. */
    bool is_arm_vm = m->is_arm && is_known && !strstr(product, "metal");
    m->is_virtual |= is_arm_vm || (is_known && rows[row].is_always_vm);
    if (!m->is_virtual)
        return;
    if (is_known)
        wt_text(m->virtual_name, sizeof(m->virtual_name), "%s", rows[row].name);
    else
        wt_text(m->virtual_name, sizeof(m->virtual_name), "a virtual machine%s%.40s%s",
                *product ? " (" : "", product, *product ? ")" : "");
}

/* Marks that container tools leave. */
static void look_at_container(const struct wt_ctx *ctx, struct wt_machine *m)
{
    char text[8192];
    if (wt_fs_read(ctx, "/.dockerenv", text, sizeof(text), NULL) == 0)
        wt_text(m->container, sizeof(m->container), "docker");
    else if (wt_fs_read(ctx, "/run/.containerenv", text, sizeof(text), NULL) == 0)
        wt_text(m->container, sizeof(m->container), "podman");
    else if (wt_fs_read(ctx, "/run/systemd/container", text, sizeof(text), NULL) == 0 && *text)
        wt_text(m->container, sizeof(m->container), "%.20s", text);
    else if (wt_fs_read(ctx, "/proc/1/cgroup", text, sizeof(text), NULL) == 0)
        wt_text(m->container, sizeof(m->container), "%s",
                strstr(text, "kubepods")     ? "kubernetes"
                : strstr(text, "/docker")    ? "docker"
                : strstr(text, "/lxc")       ? "lxc"
                : strstr(text, "containerd") ? "container"
                                             : "");
}

int wt_machine_cpu_list(const char *text, int (*fn)(void *data, unsigned cpu), void *data)
{
    for (const char *p = text; *p;) {
        char *end;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (end == p || strchr("+- ", *p))
            return WT_E_FORMAT;
        p = end;
        if (*p == '-') {
            to = strtoul(p + 1, &end, 10);
            if (end == p + 1 || strchr("+- ", p[1]))
                return WT_E_FORMAT;
            p = end;
        }
        if (to < from || to >= CPUS_MAX || (*p && *p != ','))
            return WT_E_FORMAT;
        for (unsigned long cpu = from; cpu <= to; cpu++) {
            int rc = fn(data, (unsigned)cpu);
            if (rc < 0)
                return rc;
        }
        p += *p == ',';
    }
    return 0;
}

int wt_machine_cpus(const struct wt_ctx *ctx, int (*fn)(void *data, unsigned cpu), void *data)
{
    char text[4096];
    int rc = wt_fs_read(ctx, CPU "/online", text, sizeof(text), NULL);
    if (rc == 0)
        return wt_machine_cpu_list(text, fn, data);
    int called = fn(data, 0);
    return called < 0 ? called : rc;
}

static unsigned topology(const struct wt_ctx *ctx, unsigned cpu, const char *what)
{
    char path[128];
    int64_t value; /* -1: the platform does not say */
    wt_text(path, sizeof(path), CPU "/cpu%u/topology/%s", cpu, what);
    return wt_fs_read_i64(ctx, path, &value, NULL) < 0 || value < 0 ? 0 : (unsigned)value;
}

/* An ARM machine that is described by a device tree. (So are IBM's, which have packages.) */
static bool is_board(const struct wt_ctx *ctx)
{
    char text[8192];
    struct wt_machine m = {0};
    read_board(ctx, text, sizeof(text));
    if (!*text)
        return false;
    first_cpu(ctx, text, sizeof(text));
    look_at_cpu(text, &m);
    return m.is_arm;
}

unsigned wt_machine_package_of(const struct wt_ctx *ctx, unsigned cpu)
{
    unsigned package = topology(ctx, cpu, "physical_package_id");
    return package && is_board(ctx) ? 0 : package;
}

unsigned wt_machine_die_of(const struct wt_ctx *ctx, unsigned cpu)
{
    return topology(ctx, cpu, "die_id");
}

struct count {
    const struct wt_ctx *ctx;
    unsigned cpus;
    uint64_t packages; /* as bits */
};

static int count_cpu(void *data, unsigned cpu)
{
    struct count *c = data;
    unsigned package = topology(c->ctx, cpu, "physical_package_id");
    c->cpus++;
    if (package < 64)
        c->packages |= UINT64_C(1) << package;
    return 0;
}

void wt_machine_look(const struct wt_ctx *ctx, struct wt_machine *ret_machine)
{
    struct wt_machine *m = ret_machine;
    struct count count = {.ctx = ctx};
    char info[8192];
    memset(m, 0, sizeof(*m));
    first_cpu(ctx, info, sizeof(info));
    look_at_cpu(info, m);
    if (m->is_arm)
        read_board(ctx, m->board, sizeof(m->board));
    look_at_vm(ctx, m);
    look_at_container(ctx, m);
    (void)wt_machine_cpus(ctx, count_cpu, &count);
    m->cpus = count.cpus ? count.cpus : 1;
    unsigned packages = (unsigned)__builtin_popcountll(count.packages);
    m->sockets = packages && !*m->board && !m->is_virtual ? packages : 1;
}
