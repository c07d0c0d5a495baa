/* rapl: energy counters of Intel and AMD processors, through the kernel's powercap files.
 *
 * Which domains are counted in a sum: each package, and each DRAM domain (memory behind a package
 * is not inside its counter). Core and uncore are inside their package. psys is the platform and
 * contains the packages, but what else depends on the board; it is listed as a part, so that
 * nothing is counted twice, and the packages are what is summed. Dies of one Intel package have
 * counters of their own and are summed; AMD's repeat the counter of their package, and so do two
 * domains of one name: the first is summed.
 *
 * The counter wraps at max_energy_range_uj. The reader adds the range once for each fall, and only
 * when the energy this implies could have been drawn since the last good reading; any other fall is
 * a reset (suspend, a reloaded module) and is passed on as it is, for the window to see. A failed
 * read changes nothing. Poll at least every half range at full power: 262 kJ at 250 W are 17
 * minutes.
 *
 * Source: Documentation/power/powercap/powercap.rst. Root only since Linux 5.10 and its stable
 * backports (CVE-2020-8694). */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sensor/sensor.h"

#define POWERCAP "/sys/class/powercap"

/* More than any socket, memory or board of a node draws: a fall that needs more is no wrap. */
#define POWER_MAX_MW UINT64_C(10000000)

struct domain {
    char path[160];
    uint64_t range_uj; /* 0: unknown, then no fall is a wrap */
    pthread_mutex_t lock;
    bool has_last;
    uint64_t last_uj, added_uj; /* last raw reading; sum of the ranges added */
    int64_t last_ns;
};

struct rapl {
    struct wt_source source; /* first */
    struct domain *domains;  /* room for every entry of the directory; never moved */
    const struct wt_ctx *ctx;
};

static void rapl_close(struct wt_source *source)
{
    struct rapl *rapl = (struct rapl *)source;
    if (!rapl)
        return;
    for (size_t i = 0; i < rapl->source.count; i++)
        pthread_mutex_destroy(&rapl->domains[i].lock);
    free(rapl->domains);
    free(rapl->source.devices);
    free(rapl);
}

/* The beginning of /proc/cpuinfo: the first processor is enough, and the file of a large machine is
 * long. */
static void cpuinfo(const struct wt_ctx *ctx, char *buf, size_t size)
{
    char path[4096];
    wt_text(path, sizeof(path), "%s/proc/cpuinfo", ctx->sysroot);
    buf[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    size_t used = 0;
    ssize_t n;
    while (used < size - 1 && (n = read(fd, buf + used, size - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    buf[used] = '\0';
}

/* Names the virtual machine this is, "" when it is none. */
static void virtual_machine(const struct wt_ctx *ctx, const char *cpu, char *buf, size_t size)
{
    static const struct {
        const char *vendor, *name;
    } rows[] = {
        {"Amazon EC2", "an Amazon EC2 instance"},
        {"Google", "a Google Compute Engine VM"},
        {"Microsoft Corporation", "an Azure or Hyper-V VM"},
        {"Alibaba Cloud", "an Alibaba Cloud VM"},
        {"Tencent Cloud", "a Tencent Cloud VM"},
        {"DigitalOcean", "a DigitalOcean droplet"},
        {"Hetzner", "a Hetzner cloud VM"},
        {"OpenStack", "an OpenStack VM"},
        {"QEMU", "a QEMU/KVM VM"},
        {"KVM", "a KVM VM"},
        {"VMware", "a VMware VM"},
        {"innotek GmbH", "a VirtualBox VM"},
        {"Xen", "a Xen VM"},
    };
    char vendor[128] = "", product[128] = "";
    buf[0] = '\0';
    (void)wt_fs_read(ctx, "/sys/class/dmi/id/sys_vendor", vendor, sizeof(vendor), NULL);
    (void)wt_fs_read(ctx, "/sys/class/dmi/id/product_name", product, sizeof(product), NULL);
    /* Clouds rent bare machines too, and vendors of VMs sell laptops: the processor's own word
     * decides, the vendor's name only says whose. */
    const char *flags = strstr(cpu, "hypervisor");
    bool is_virtual = flags != NULL || strcmp(vendor, "QEMU") == 0;
    if (!is_virtual)
        return;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (strncmp(vendor, rows[i].vendor, strlen(rows[i].vendor)) == 0) {
            wt_text(buf, size, "%s", rows[i].name);
            return;
        }
    wt_text(buf, size, "a virtual machine%s%.40s%s", *product ? " (" : "", product,
            *product ? ")" : "");
}

/* What a domain is, out of its name and its place: "intel-rapl:0:1" lies below "intel-rapl:0". */
static void describe(const char *name, const char *package, const char *entry,
                     struct wt_device_info *info)
{
    unsigned number = 0;
    wt_text(info->source, sizeof(info->source), "rapl");
    info->can = WT_CAN_ENERGY;
    /* The file's resolution is 1 uJ, the register's 15 to 61; the gain is assumed. */
    info->traits = (struct wt_sensor_traits){
        .energy_period_ns = WT_NS_PER_MS, .energy_quantum_uj = 61, .gain_ppm = 50000};
    if (sscanf(name, "package-%u", &number) == 1) {
        info->kind = WT_DEVICE_CPU;
        info->index = number;
        wt_text(info->id, sizeof(info->id), "cpu-%s", name);
        wt_text(info->name, sizeof(info->name), "CPU package %u%s", number,
                strstr(name, "-die-") ? strstr(name, "-die-") : "");
    } else if (strcmp(name, "psys") == 0) {
        info->kind = WT_DEVICE_NODE;
        info->is_part = true;
        wt_text(info->id, sizeof(info->id), "node-psys");
        wt_text(info->name, sizeof(info->name), "platform (psys)");
    } else if (strcmp(name, "dram") == 0) {
        info->kind = WT_DEVICE_DRAM;
        (void)sscanf(package, "cpu-package-%u", &info->index);
        wt_text(info->id, sizeof(info->id), "dram%s", *package ? package + strlen("cpu") : "");
        wt_text(info->name, sizeof(info->name), "memory of %s", *package ? package : entry);
    } else {
        info->kind = WT_DEVICE_CPU;
        info->is_part = true;
        wt_text(info->part_of, sizeof(info->part_of), "%s", package);
        (void)sscanf(package, "cpu-package-%u", &info->index);
        wt_text(info->id, sizeof(info->id), "%.60s-%.30s", *package ? package : "cpu", name);
        wt_text(info->name, sizeof(info->name), "%.30s of %.50s", name, *package ? package : entry);
    }
}

/* A second domain that says it is the same thing, or a die that repeats its package. */
static void mark_repeat(struct rapl *rapl, bool is_amd, struct wt_device_info *info)
{
    if (info->is_part)
        return;
    unsigned same = 0;
    for (size_t i = 0; i < rapl->source.count; i++) {
        const struct wt_device_info *other = &rapl->source.devices[i];
        if (other->is_part && strcmp(other->part_of, info->id) != 0)
            continue;
        bool is_same_id = strcmp(other->id, info->id) == 0;
        bool is_same_package = is_amd && info->kind == WT_DEVICE_CPU &&
                               other->kind == WT_DEVICE_CPU && other->index == info->index;
        if (is_same_id || is_same_package || strcmp(other->part_of, info->id) == 0) {
            if (!same++)
                wt_text(info->part_of, sizeof(info->part_of), "%s",
                        *other->part_of ? other->part_of : other->id);
            info->is_part = true;
        }
    }
    if (!info->is_part)
        return;
    char id[96];
    wt_text(id, sizeof(id), "%s", info->id);
    if (strcmp(id, info->part_of) == 0)
        wt_text(info->id, sizeof(info->id), "%.80s-again-%u", id, same);
    wt_text(id, sizeof(id), "%s", info->name);
    wt_text(info->name, sizeof(info->name), "%.60s (the same counter)", id);
}

static int add_domain(struct rapl *rapl, const char *entry, const char *name, const char *package,
                      bool is_amd, struct wt_device_info **ret_info)
{
    size_t count = rapl->source.count;
    struct wt_device_info *infos = realloc(rapl->source.devices, (count + 1) * sizeof(*infos));
    if (!infos)
        return WT_E_NOMEM;
    rapl->source.devices = infos;
    struct domain *d = &rapl->domains[count];
    memset(d, 0, sizeof(*d));
    wt_text(d->path, sizeof(d->path), POWERCAP "/%s/energy_uj", entry);
    char path[160];
    wt_text(path, sizeof(path), POWERCAP "/%s/max_energy_range_uj", entry);
    if (wt_fs_read_u64(rapl->ctx, path, &d->range_uj, NULL) < 0)
        d->range_uj = 0;
    struct wt_device_info *info = &infos[count];
    memset(info, 0, sizeof(*info));
    describe(name, package, entry, info);
    info->traits.energy_range_uj = d->range_uj;
    mark_repeat(rapl, is_amd, info);
    rapl->source.count++;
    *ret_info = info;
    return 0;
}

static void note_denied(struct wt_error *err)
{
    if (err->code == WT_E_DENIED)
        wt_fix(err, "root only since CVE-2020-8694: run as root, or until the next boot sudo chmod "
                    "a+r " POWERCAP "/intel-rapl:*/energy_uj");
}

static int rapl_read(struct wt_source *source, size_t k, unsigned what,
                     struct wt_reading *ret_reading, struct wt_error *err);

/* One entry of the class directory. package: the id of the package it lies in, or "". */
static int look_at(struct rapl *rapl, const char *entry, const char *package, bool is_amd,
                   char *ret_id, size_t id_size, struct wt_findings *notes)
{
    char path[160], name[64];
    struct wt_error why = {0};
    ret_id[0] = '\0';
    wt_text(path, sizeof(path), POWERCAP "/%s/name", entry);
    int rc = wt_fs_read(rapl->ctx, path, name, sizeof(name), &why);
    if (rc == 0 && !*name)
        rc = wt_fail(&why, WT_E_FORMAT, "%s: empty", path);
    if (rc < 0) {
        if (rc == WT_E_NOTFOUND)
            wt_fix(&why, "containers hide it: mount the host's /sys/class/powercap and "
                         "/sys/devices/virtual/powercap, or measure on the host");
        return wt_findings_add_error(notes, "rapl", "", entry, &why);
    }
    struct wt_device_info *info;
    if ((rc = add_domain(rapl, entry, name, package, is_amd, &info)) < 0)
        return rc;
    size_t k = rapl->source.count - 1;
    pthread_mutex_init(&rapl->domains[k].lock, NULL);
    wt_text(ret_id, id_size, "%s", info->id);
    struct wt_reading reading = {0};
    rc = rapl_read(&rapl->source, k, WT_READ_ENERGY, &reading, &why);
    if (rc == 0)
        return 0;
    /* Not readable now: named with the reason, and left out of the set. */
    note_denied(&why);
    rc = wt_findings_add_error(notes, "rapl", info->id, "energy counter", &why);
    pthread_mutex_destroy(&rapl->domains[k].lock);
    rapl->source.count--;
    return rc;
}

static int note_none(const struct wt_ctx *ctx, const char *cpu, bool is_hidden,
                     struct wt_findings *notes)
{
    char vm[96];
    virtual_machine(ctx, cpu, vm, sizeof(vm));
    if (*vm)
        return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", "CPU energy", "",
                               "this is %s, and it has no CPU sensor", vm);
    if (is_hidden)
        return 0;
    return wt_findings_add(notes, WT_FINDING_MISSING, "rapl", "", "CPU energy",
                           "sudo modprobe intel_rapl_msr (AMD too, from Linux 5.11)",
                           "%s" POWERCAP " has no RAPL domain", ctx->sysroot);
}

static int rapl_open(struct wt_source **ret_source, struct wt_ctx *ctx,
                     const struct wt_devices_options *options, struct wt_findings *notes,
                     struct wt_error *err)
{
    (void)options;
    struct rapl *rapl = calloc(1, sizeof(*rapl));
    if (!rapl)
        return wt_fail(err, WT_E_NOMEM, "no memory for RAPL");
    rapl->source.ops = &wt_rapl_ops;
    rapl->ctx = ctx;

    char cpu[8192];
    cpuinfo(ctx, cpu, sizeof(cpu));
    bool is_amd = strstr(cpu, "AuthenticAMD") != NULL;
    char **names = NULL;
    size_t count = 0, seen = 0;
    int rc = wt_fs_list(ctx, POWERCAP, &names, &count, err);
    if (rc == WT_E_NOMEM)
        goto out;
    rc = 0;
    if (count && !(rapl->domains = calloc(count, sizeof(*rapl->domains))))
        rc = WT_E_NOMEM;
    /* Packages first, then what lies inside them; the list is in natural order. The same package by
     * way of "intel-rapl-mmio" is the same energy again, and stays out. */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        unsigned zone;
        int used = 0;
        if (sscanf(names[i], "intel-rapl:%u%n", &zone, &used) != 1 || names[i][used])
            continue;
        char package[96], inside[96];
        seen++;
        rc = look_at(rapl, names[i], "", is_amd, package, sizeof(package), notes);
        char prefix[32];
        wt_text(prefix, sizeof(prefix), "intel-rapl:%u:", zone);
        for (size_t j = 0; rc == 0 && j < count; j++)
            if (strncmp(names[j], prefix, strlen(prefix)) == 0)
                rc = look_at(rapl, names[j], package, is_amd, inside, sizeof(inside), notes);
    }
    wt_fs_list_free(names, count);
    if (rc == 0 && !rapl->source.count)
        rc = note_none(ctx, cpu, seen > 0, notes);
    if (rc < 0) {
        rc = wt_fail(err, rc, "no memory for RAPL");
        goto out;
    }
    *ret_source = &rapl->source;
    rapl = NULL;
out:
    rapl_close(rapl ? &rapl->source : NULL);
    return rc;
}

static int rapl_read(struct wt_source *source, size_t k, unsigned what,
                     struct wt_reading *ret_reading, struct wt_error *err)
{
    struct rapl *rapl = (struct rapl *)source;
    struct domain *d = &rapl->domains[k];
    if (what & ~(unsigned)WT_READ_ENERGY)
        wt_fail(err, WT_E_UNSUPPORTED, "%s has an energy counter and nothing else",
                source->devices[k].id);
    int rc = what & ~(unsigned)WT_READ_ENERGY ? WT_E_UNSUPPORTED : 0;
    if (!(what & WT_READ_ENERGY))
        return rc;

    uint64_t raw_uj;
    pthread_mutex_lock(&d->lock);
    ret_reading->t_before_ns = wt_ctx_now_ns(rapl->ctx);
    int failed = wt_fs_read_u64(rapl->ctx, d->path, &raw_uj, rc < 0 ? NULL : err);
    int64_t now_ns = ret_reading->t_after_ns = wt_ctx_now_ns(rapl->ctx);
    if (failed == 0) {
        if (d->has_last && raw_uj < d->last_uj) {
            uint64_t most_uj = wt_energy_uj_from(POWER_MAX_MW, (uint64_t)(now_ns - d->last_ns));
            if (d->range_uj >= d->last_uj && d->range_uj - d->last_uj + raw_uj <= most_uj)
                d->added_uj += d->range_uj;
            else
                d->added_uj = 0;
        }
        d->has_last = true;
        d->last_uj = raw_uj;
        d->last_ns = now_ns;
        ret_reading->energy = (struct wt_energy){
            .uj = d->added_uj + raw_uj,
            .t_ns = ret_reading->t_before_ns + (now_ns - ret_reading->t_before_ns) / 2,
            .state = WT_LIVE,
        };
    }
    pthread_mutex_unlock(&d->lock);
    /* The file was there when the set was opened. */
    if (failed == WT_E_NOTFOUND) {
        failed = WT_E_GONE;
        if (err && rc == 0)
            err->code = failed;
    }
    return rc < 0 ? rc : failed;
}

const struct wt_source_ops wt_rapl_ops = {
    .name = "rapl",
    .open = rapl_open,
    .read = rapl_read,
    .close = rapl_close,
};
