/* rapl_msr: RAPL's counters straight from the processor's registers, where neither perf nor
 * powercap shows them.
 *
 * /dev/cpu/N/msr answers a read of 8 bytes at the register's number. The counters are 32 bits wide
 * and count in steps of 1/2^n J, n in bits 8 to 12 of the unit register; memory of servers from
 * Haswell to Ice Lake counts in 2^-16 J and psys of Sapphire and Emerald Rapids in joules, whatever
 * n is. A register that cannot be read, or is 0, is none of this model.
 *
 * Left out: AMD's core counters (0xC001029A), one per core and inside the package's; Atoms before
 * Goldmont, whose unit has another meaning; Xeons from Granite Rapids on, whose counters are no
 * registers any more.
 *
 * Source: Intel SDM volume 4; AMD PPR of family 17h (bugzilla.kernel.org 206537); which models,
 * drivers/powercap/intel_rapl_common.c and arch/x86/events/rapl.c of Linux. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sensor/rapl.h"

#define MSR_INTEL_UNIT UINT32_C(0x606)
#define MSR_AMD_UNIT   UINT32_C(0xC0010299)
#define MSR_AMD_PKG    UINT32_C(0xC001029B)
#define LOCKDOWN       "/sys/kernel/security/lockdown"

static bool is_one_of(unsigned model, const unsigned char *models, size_t count)
{
    return memchr(models, (int)model, count) != NULL;
}

double wt_rapl_fixed_step_uj(const struct wt_machine *m, enum wt_rapl_kind kind)
{
    static const unsigned char dram[] = {0x3F, 0x4F, 0x55, 0x57, 0x6A, 0x6C, 0x85};
    static const unsigned char psys[] = {0x8F, 0xCF};
    if (!m->is_intel || m->family != 6 || m->model > 0xFF)
        return 0;
    if (kind == WT_RAPL_DRAM && is_one_of(m->model, dram, sizeof(dram)))
        return 1e6 / 65536;
    return kind == WT_RAPL_PSYS && is_one_of(m->model, psys, sizeof(psys)) ? 1e6 : 0;
}

static bool is_known(const struct wt_machine *m)
{
    static const unsigned char others[] = {0x37, 0x4A, 0x4C, 0x4D, 0x5A,
                                           0x5D, 0x75, 0xAD, 0xAE, 0xAF};
    if (m->is_amd)
        return (m->family >= 0x17 && m->family <= 0x1A);
    return m->is_intel && m->family == 6 && m->model >= 0x2A &&
           (m->model > 0xFF || !is_one_of(m->model, others, sizeof(others)));
}

static void msr_path(unsigned cpu, char *buf, size_t size)
{
    wt_text(buf, size, "/dev/cpu/%u/msr", cpu);
}

/* 0 or -errno. Opened for each read: it is the last resort, and nothing is held. */
static int read_msr(const struct wt_ctx *ctx, unsigned cpu, uint32_t reg, uint64_t *ret_value)
{
    if (ctx->msr)
        return ctx->msr->read(ctx->msr->data, cpu, reg, ret_value);
    char path[64], full[4096];
    msr_path(cpu, path, sizeof(path));
    int errnum = wt_tree_errno(ctx, path);
    if (errnum)
        return -errnum;
    wt_text(full, sizeof(full), "%s%s", ctx->sysroot, path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = pread(fd, ret_value, sizeof(*ret_value), (off_t)reg);
    int rc = n == (ssize_t)sizeof(*ret_value) ? 0 : n < 0 ? -errno : -EIO;
    close(fd);
    return rc;
}

static int fail_msr(const struct wt_ctx *ctx, const struct wt_machine *machine, unsigned cpu,
                    int errnum, struct wt_error *err)
{
    char path[64], lockdown[96];
    msr_path(cpu, path, sizeof(path));
    int rc = wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path);
    if (errnum == ENOENT || errnum == ENXIO) {
        bool is_root = wt_tree_is_recorded(ctx) ? wt_tree_uid(ctx) == 0 : geteuid() == 0;
        wt_fix(err, "sudo modprobe msr%s",
               is_root ? "" : ", and then run as root: registers are root's alone (CAP_SYS_RAWIO)");
        rc = WT_E_NOTFOUND;
    } else if (rc == WT_E_DENIED && *machine->container) {
        wt_fix(err,
               "as root, give the container CAP_SYS_RAWIO and the devices (docker run "
               "--cap-add SYS_RAWIO --device %s), or measure on the host",
               path);
    } else if (rc == WT_E_DENIED &&
               wt_fs_read(ctx, LOCKDOWN, lockdown, sizeof(lockdown), NULL) == 0 &&
               (strstr(lockdown, "[integrity]") || strstr(lockdown, "[confidentiality]"))) {
        wt_fix(err, "run as root; where root is refused too it is kernel lockdown, which is on "
                    "(Secure Boot): use perf events");
    } else if (rc == WT_E_DENIED) {
        wt_fix(err, "run as root (CAP_SYS_RAWIO)");
    }
    if (err)
        err->code = rc;
    return rc;
}

struct look {
    const struct wt_ctx *ctx;
    bool is_amd;
    struct wt_rapl_places places;
};

static int look_at_cpu(void *data, unsigned cpu)
{
    struct look *look = data;
    wt_rapl_places_add(&look->places, look->ctx, look->is_amd, cpu);
    return 0;
}

/* What one package or die has. */
static int look_at_place(const struct wt_ctx *ctx, const struct wt_machine *machine,
                         const struct wt_rapl_place *place, bool is_first,
                         struct wt_rapl_offers *offers, struct wt_error *err)
{
    static const uint32_t intel[WT_RAPL_KIND_COUNT] = {
        [WT_RAPL_PACKAGE] = 0x611, [WT_RAPL_CORE] = 0x639, [WT_RAPL_UNCORE] = 0x641,
        [WT_RAPL_DRAM] = 0x619,    [WT_RAPL_PSYS] = 0x64D,
    };
    uint64_t unit, value;
    int rc = read_msr(ctx, place->cpu, machine->is_amd ? MSR_AMD_UNIT : MSR_INTEL_UNIT, &unit);
    if (rc < 0)
        return fail_msr(ctx, machine, place->cpu, -rc, err);
    double step_uj = 1e6 / (double)(1u << (unit >> 8 & 31));
    for (unsigned kind = 0; kind < WT_RAPL_KIND_COUNT; kind++) {
        uint32_t reg = machine->is_amd ? (kind == WT_RAPL_PACKAGE ? MSR_AMD_PKG : 0) : intel[kind];
        double fixed_uj = wt_rapl_fixed_step_uj(machine, kind);
        struct wt_rapl_offer offer = {.kind = kind,
                                      .package = place->package,
                                      .die = place->die,
                                      .cpu = place->cpu,
                                      .config = reg,
                                      .count_range = UINT64_C(1) << 32};
        if (!reg || (kind == WT_RAPL_PSYS && !is_first) ||
            read_msr(ctx, place->cpu, reg, &value) < 0 || !(value & UINT32_MAX) ||
            wt_gauge_scale_from(fixed_uj > 0 ? fixed_uj : step_uj, &offer.scale) < 0 ||
            offers->count == WT_RAPL_OFFERS_MAX)
            continue;
        offers->list[offers->count++] = offer;
    }
    return 0;
}

int wt_rapl_msr_find(const struct wt_ctx *ctx, const struct wt_machine *machine,
                     struct wt_rapl_offers *offers, struct wt_error *err)
{
    struct look look = {.ctx = ctx, .is_amd = machine->is_amd};
    if (!is_known(machine))
        return wt_fail(err, WT_E_UNSUPPORTED, "%s: its registers are not known here",
                       *machine->cpu ? machine->cpu : "this processor");
    (void)wt_machine_cpus(ctx, look_at_cpu, &look);
    wt_rapl_places_end(&look.places);
    int rc = 0;
    for (size_t i = 0; i < look.places.count && rc == 0; i++)
        rc = look_at_place(ctx, machine, &look.places.list[i], i == 0, offers, err);
    return rc;
}

int wt_rapl_msr_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                   struct wt_error *err)
{
    const struct wt_rapl_offer *offer = gauge->counter_data;
    uint64_t value;
    int rc = read_msr(ctx, offer->cpu, (uint32_t)offer->config, &value);
    if (rc < 0)
        return wt_fail_errno(err, -rc, "/dev/cpu/%u/msr, register 0x%llx", offer->cpu,
                             (unsigned long long)offer->config);
    *ret_uj = wt_gauge_scaled_uj(value & UINT32_MAX, &offer->scale);
    return 0;
}
