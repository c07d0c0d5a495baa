/* rapl_perf: RAPL's counters through perf events, which the kernel keeps in 64 bits.
 *
 * The "power" PMU counts in steps of its scale file (2^-32 J) from the moment an event is opened.
 * Its cpumask names one processor of each package, or of each die; AMD's counters are per package,
 * whatever the mask says (older kernels name every die in it, and each shows its package). The
 * kernel takes the wraps of the 32 bits below by a timer that is laid out for 200 W; every read
 * helps it, so one has to come at least each half range of the hardware's counter.
 *
 * Per-core events of AMD are another PMU, "power_core": a core's energy is inside its package and
 * nobody here asks for it.
 *
 * Source: arch/x86/events/rapl.c and drivers/powercap/intel_rapl_common.c of Linux,
 * perf_event_open(2). */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sensor/rapl.h"

#define PMU      "/sys/bus/event_source/devices/power"
#define PARANOID "/proc/sys/kernel/perf_event_paranoid"

struct wt_rapl_event {
    const struct wt_perf_ops *ops;
    int handle;
    struct wt_gauge_scale scale;
};

/* ---- the kernel of this machine ---- */

static int kernel_open(void *data, uint32_t type, uint64_t config, unsigned cpu)
{
    (void)data;
    struct perf_event_attr attr = {.type = type, .size = sizeof(attr), .config = config};
    long fd = syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
    return fd < 0 ? -errno : (int)fd;
}

static int kernel_read(void *data, int handle, uint64_t *ret_count)
{
    (void)data;
    ssize_t n = read(handle, ret_count, sizeof(*ret_count));
    return n == (ssize_t)sizeof(*ret_count) ? 0 : n < 0 ? -errno : -ENODATA;
}

static void kernel_close(void *data, int handle)
{
    (void)data;
    close(handle);
}

static const struct wt_perf_ops kernel = {NULL, kernel_open, kernel_read, kernel_close};

/* ---- finding ---- */

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

/* One event's number and scale. Errors: WT_E_NOTFOUND (the PMU has no such event), ... */
static int read_event(const struct wt_ctx *ctx, const char *name, struct wt_rapl_offer *ret_offer,
                      struct wt_error *err)
{
    char path[128], text[64];
    unsigned config;
    int used = 0;
    double joules;
    wt_text(path, sizeof(path), PMU "/events/%s", name);
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    if (sscanf(text, "event=%x%n", &config, &used) != 1 || text[used])
        return wt_fail(err, WT_E_FORMAT, "%s%s: \"%.40s\" is no event", wt_fs_root(ctx), path,
                       text);
    ret_offer->config = config;

    wt_text(path, sizeof(path), PMU "/events/%s.unit", name);
    rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc == 0 && strcmp(text, "Joules") != 0)
        rc = wt_fail(err, WT_E_FORMAT, "%s%s: \"%.40s\", not Joules", wt_fs_root(ctx), path, text);
    if (rc < 0)
        return rc == WT_E_NOTFOUND ? WT_E_FORMAT : rc;
    wt_text(path, sizeof(path), PMU "/events/%s.scale", name);
    rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc == WT_E_NOTFOUND ? WT_E_FORMAT : rc;
    if (wt_text_to_double(text, &joules) < 0 ||
        wt_gauge_scale_from(joules * 1e6, &ret_offer->scale) < 0)
        return wt_fail(err, WT_E_FORMAT, "%s%s: \"%.40s\" is no scale", wt_fs_root(ctx), path,
                       text);
    return 0;
}

int wt_rapl_perf_find(const struct wt_ctx *ctx, const struct wt_machine *machine,
                      struct wt_rapl_offers *offers, struct wt_error *err)
{
    static const char *const events[WT_RAPL_KIND_COUNT] = {
        [WT_RAPL_PACKAGE] = "energy-pkg", [WT_RAPL_CORE] = "energy-cores",
        [WT_RAPL_UNCORE] = "energy-gpu",  [WT_RAPL_DRAM] = "energy-ram",
        [WT_RAPL_PSYS] = "energy-psys",
    };
    uint64_t type;
    char mask[1024];
    struct look look = {.ctx = ctx, .is_amd = machine->is_amd};
    int rc = wt_fs_read_u64(ctx, PMU "/type", &type, err);
    if (rc == 0 && type > UINT32_MAX)
        rc = wt_fail(err, WT_E_FORMAT, "%s" PMU "/type: %llu is no type of a PMU", wt_fs_root(ctx),
                     (unsigned long long)type);
    if (rc == 0)
        rc = wt_fs_read(ctx, PMU "/cpumask", mask, sizeof(mask), err);
    if (rc == 0 && (wt_machine_cpu_list(mask, look_at_cpu, &look) < 0 || !look.places.count))
        rc = wt_fail(err, WT_E_FORMAT, "%s" PMU "/cpumask: \"%.40s\" is no list of processors",
                     wt_fs_root(ctx), mask);
    if (rc < 0)
        return rc;
    wt_rapl_places_end(&look.places);

    for (unsigned kind = 0; kind < WT_RAPL_KIND_COUNT; kind++) {
        struct wt_rapl_offer offer = {.kind = kind, .type = (uint32_t)type};
        struct wt_error why;
        int failed = read_event(ctx, events[kind], &offer, &why);
        if (failed == WT_E_NOTFOUND)
            continue;
        if (failed < 0) {
            if (rc == 0 && err)
                *err = why;
            rc = rc < 0 ? rc : failed;
            continue;
        }
        /* psys is of the board: one of it, whatever processor is asked. */
        size_t places = kind == WT_RAPL_PSYS ? 1 : look.places.count;
        for (size_t i = 0; i < places && offers->count < WT_RAPL_OFFERS_MAX; i++) {
            offer.package = look.places.list[i].package;
            offer.die = look.places.list[i].die;
            offer.cpu = look.places.list[i].cpu;
            offers->list[offers->count++] = offer;
        }
    }
    return rc;
}

/* ---- reading ---- */

static int fail_open(const struct wt_ctx *ctx, const struct wt_machine *machine, int errnum,
                     struct wt_error *err)
{
    if (errnum != EACCES && errnum != EPERM) {
        int rc = wt_fail_errno(err, errnum, "perf_event_open");
        /* It knows the event and not this use of it, or is no such system call at all. */
        if (errnum == ENOENT || errnum == EINVAL || errnum == ENODEV)
            rc = WT_E_UNSUPPORTED;
        if (err)
            err->code = rc;
        return rc;
    }
    char level[32];
    bool is_known = wt_fs_read(ctx, PARANOID, level, sizeof(level), NULL) == 0;
    wt_fail(err, WT_E_DENIED, "perf_event_open: %s%s%s", strerror(errnum),
            is_known ? "; kernel.perf_event_paranoid is " : "", is_known ? level : "");
    if (*machine->container)
        wt_fix(err, "give the container CAP_PERFMON (docker run --cap-add PERFMON)");
    else
        wt_fix(err, "sudo sysctl kernel.perf_event_paranoid=0 until the next boot, or for good: "
                    "sudo setcap cap_perfmon+ep \"$(command -v wattune)\"");
    return WT_E_DENIED;
}

int wt_rapl_event_open(struct wt_rapl_event **ret_event, const struct wt_ctx *ctx,
                       const struct wt_machine *machine, const struct wt_rapl_offer *offer,
                       struct wt_error *err)
{
    struct wt_rapl_event *event = calloc(1, sizeof(*event));
    if (!event)
        return wt_fail(err, WT_E_NOMEM, "no memory for a perf event");
    event->ops = ctx->perf ? ctx->perf : &kernel;
    event->scale = offer->scale;
    event->handle = event->ops->open(event->ops->data, offer->type, offer->config, offer->cpu);
    if (event->handle < 0) {
        int rc = fail_open(ctx, machine, -event->handle, err);
        free(event);
        return rc;
    }
    *ret_event = event;
    return 0;
}

void wt_rapl_event_free(struct wt_rapl_event *event)
{
    if (!event)
        return;
    event->ops->close(event->ops->data, event->handle);
    free(event);
}

int wt_rapl_event_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                     struct wt_error *err)
{
    (void)ctx;
    const struct wt_rapl_event *event = gauge->counter_data;
    uint64_t count;
    int rc = event->ops->read(event->ops->data, event->handle, &count);
    if (rc < 0)
        return wt_fail_errno(err, -rc, "perf event");
    *ret_uj = wt_gauge_scaled_uj(count, &event->scale);
    return 0;
}
