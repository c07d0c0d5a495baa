/* nvml: power limit, locked SM clock and locked memory clock of NVIDIA GPUs.
 *
 * Power: what is set (nvmlDeviceGetPowerManagementLimit) and what is obeyed
 * (nvmlDeviceGetEnforcedPowerLimit) may differ, for example by a limit set out of band.
 *
 * Clocks: from Volta (SM) and Ampere (memory) on a clock is locked; a lock cannot be read back (see
 * struct wt_knob_found). Both ends of the lock are the value asked for, which is what published
 * clock sweeps do: the card keeps that clock when idle, too. Older cards get application clocks,
 * which can be read back.
 *
 * Whether this process may set: NVML says so only when one tries, and trying is a write, which a
 * look must not do. The driver's own test is CAP_SYS_ADMIN in the first user namespace
 * (NV_IS_SUSER in its open kernel modules), so that is looked at; the emulator's stand-in is asked.
 * All calls here are made under a deadline. */
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "knob/knob.h"
#include "sensor/nvml.h"

#define CLOCKS_MAX 1024

/* How a device's clock is set. */
enum way { WAY_LOCK, WAY_APPLICATION };

/* What travels to the thread with the deadline and back. */
struct io {
    enum wt_knob knob;
    int64_t value, enforced;
    struct wt_knob_info info;
    struct wt_knob_found found;
};

/* ---- may we? ---- */

static bool has_sys_admin(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    return data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN);
}

/* In a user namespace of its own root is root over nothing that the driver asks about. */
static bool is_first_namespace(void)
{
    char map[128];
    unsigned inside, outside, count;
    return wt_fs_read(NULL, "/proc/self/uid_map", map, sizeof(map), NULL) < 0 ||
           (sscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
            outside == 0 && count == UINT32_MAX);
}

static void say_rights(const struct wt_nvml *nvml, struct wt_knob_info *info)
{
    info->is_settable = true;
    info->why_not[0] = info->fix[0] = '\0';
    if (nvml->api.is_privileged ? nvml->api.is_privileged()
                                : has_sys_admin() && is_first_namespace())
        return;
    info->is_settable = false;
    if (nvml->api.is_emulated) {
        wt_text(info->why_not, sizeof(info->why_not),
                "the emulated driver refuses it to this user, as a real one would");
        wt_text(info->fix, sizeof(info->fix),
                "run as root, in an emulation that is not marked unprivileged");
    } else if (geteuid() != 0) {
        wt_text(info->why_not, sizeof(info->why_not), "only root may change it");
        wt_text(info->fix, sizeof(info->fix), "run the command with sudo");
    } else if (!has_sys_admin()) {
        wt_text(info->why_not, sizeof(info->why_not),
                "root, but without the capability CAP_SYS_ADMIN that the driver asks for");
        wt_text(info->fix, sizeof(info->fix),
                "start the container with --cap-add SYS_ADMIN, or set it on the host");
    } else {
        wt_text(info->why_not, sizeof(info->why_not),
                "root of a user namespace only, which the driver does not count");
        wt_text(info->fix, sizeof(info->fix),
                "set it on the host as root, or use a container that is not rootless");
    }
}

/* The refusal of a setting, with what to do about it. */
static int refused(const struct wt_nvml *nvml, size_t k, const char *what, int nvml_rc,
                   struct wt_error *err)
{
    const char *id = nvml->source.devices[k].id;
    int code = wt_nvml_fail(err, nvml_rc, "%s: %s", id, what);
    if (code == WT_E_DENIED) {
        struct wt_knob_info info;
        say_rights(nvml, &info);
        wt_fix(err, "%s", *info.fix ? info.fix : "run the command with sudo, on the host itself");
    }
    return code;
}

/* ---- power ---- */

static int power_describe(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    struct wt_knob_info *info = &io->info;
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    const char *id = nvml->source.devices[k].id;
    unsigned min, max, now, value;
    int rc = wt_nvml_call(api, limit, handle, &now);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: power limit", id);
    rc = wt_nvml_call(api, limit_range, handle, &min, &max);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: range of the power limit", id);
    if (min > max || max == 0)
        return wt_fail(err, WT_E_FORMAT, "%s: a power limit between %u and %u mW", id, min, max);

    info->min = min;
    info->max = max;
    info->step = 1000;
    info->current = now;
    rc = wt_nvml_call(api, enforced_limit, handle, &value);
    info->enforced = rc == WT_NVML_SUCCESS ? value : now;
    rc = wt_nvml_call(api, default_limit, handle, &value);
    info->def = rc == WT_NVML_SUCCESS ? value : max;
    say_rights(nvml, info);
    if (!api->set_limit) {
        info->is_settable = false;
        wt_text(info->why_not, sizeof(info->why_not), "this driver's library cannot set it");
        info->fix[0] = '\0';
    }
    return 0;
}

static int power_snapshot(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    unsigned now;
    int rc = wt_nvml_call(&nvml->api, limit, nvml->gpus[k].handle, &now);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: power limit", nvml->source.devices[k].id);
    io->found = (struct wt_knob_found){.value = now, .is_read = true};
    return 0;
}

static int power_set(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    const char *id = nvml->source.devices[k].id;
    int64_t value = io->value;
    unsigned min, max, now;
    int rc = wt_nvml_call(api, limit_range, handle, &min, &max);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: range of the power limit", id);
    if (value < min || value > max)
        return wt_fail(err, WT_E_RANGE,
                       "%s: a power limit of %.10g W: the range is %.10g to %.10g W", id,
                       wt_knob_to_user(value), wt_knob_to_user(min), wt_knob_to_user(max));
    rc = wt_nvml_call(api, set_limit, handle, (unsigned)value);
    if (rc != WT_NVML_SUCCESS)
        return refused(nvml, k, "the power limit was not set", rc, err);
    rc = wt_nvml_call(api, limit, handle, &now);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: the power limit was set and cannot be read back", id);
    int64_t off = (int64_t)now - value;
    if (off > 1000 || off < -1000)
        return wt_fail(err, WT_E_STATE,
                       "%s: a power limit of %.10g W was accepted but reads %.10g W", id,
                       wt_knob_to_user(value), wt_knob_to_user(now));
    unsigned enforced;
    rc = wt_nvml_call(api, enforced_limit, handle, &enforced);
    io->enforced = rc == WT_NVML_SUCCESS ? enforced : now;
    return 0;
}

/* ---- clocks ---- */

static const char *clock_name(enum wt_knob knob)
{
    return knob == WT_KNOB_CLOCK ? "SM clock" : "memory clock";
}

/* Errors: WT_E_UNSUPPORTED. */
static int clock_way(const struct wt_nvml *nvml, size_t k, enum wt_knob knob, enum way *ret_way,
                     struct wt_error *err)
{
    const struct wt_nvml_api *api = &nvml->api;
    const struct wt_nvml_gpu *gpu = &nvml->gpus[k];
    bool can_lock =
        knob == WT_KNOB_CLOCK
            ? api->lock_clock && api->unlock_clock && gpu->arch >= WT_NVML_ARCH_VOLTA
            : api->lock_memory && api->unlock_memory && gpu->arch >= WT_NVML_ARCH_AMPERE;
    unsigned mhz;
    *ret_way = can_lock ? WAY_LOCK : WAY_APPLICATION;
    if (can_lock)
        return 0;
    int rc = wt_nvml_call(api, app_clock, gpu->handle, WT_NVML_CLOCK_SM, &mhz);
    if (rc == WT_NVML_SUCCESS)
        rc = wt_nvml_call(api, app_clock, gpu->handle, WT_NVML_CLOCK_MEM, &mhz);
    if (rc == WT_NVML_SUCCESS && !api->set_app_clocks)
        rc = WT_NVML_FUNCTION_NOT_FOUND;
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: its %s can neither be locked nor set",
                            nvml->source.devices[k].id, clock_name(knob));
    return 0;
}

static int by_value(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

/* The SM clocks at one memory clock, in MHz and ascending; list has room for CLOCKS_MAX. */
static int sm_list(const struct wt_nvml *nvml, size_t k, unsigned mem, unsigned *list,
                   unsigned *ret_count, struct wt_error *err)
{
    unsigned count = CLOCKS_MAX;
    int rc = wt_nvml_call(&nvml->api, graphics_clocks, nvml->gpus[k].handle, mem, &count, list);
    if (rc == WT_NVML_SUCCESS && (count == 0 || count > CLOCKS_MAX))
        rc = WT_NVML_NO_DATA;
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: list of SM clocks", nvml->source.devices[k].id);
    qsort(list, count, sizeof(*list), by_value);
    *ret_count = count;
    return 0;
}

/* Application clocks are set in pairs, and not every pair exists. One half is changed alone, so
 * what can be had is what exists beside the other half: keeps those memory clocks. */
static int keep_pairs(const struct wt_nvml *nvml, size_t k, unsigned *list, unsigned *count,
                      struct wt_error *err)
{
    unsigned sm, with[CLOCKS_MAX], with_count, kept = 0;
    int rc = wt_nvml_call(&nvml->api, app_clock, nvml->gpus[k].handle, WT_NVML_CLOCK_SM, &sm);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: application clocks", nvml->source.devices[k].id);
    for (unsigned i = 0; i < *count; i++) {
        rc = sm_list(nvml, k, list[i], with, &with_count, err);
        if (rc < 0)
            return rc;
        if (bsearch(&sm, with, with_count, sizeof(*with), by_value))
            list[kept++] = list[i];
    }
    if (!kept)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s: no memory clock goes with an SM clock of %u MHz",
                       nvml->source.devices[k].id, sm);
    *count = kept;
    return 0;
}

/* The clocks there are, in MHz and ascending; list has room for CLOCKS_MAX. */
static int clock_list(const struct wt_nvml *nvml, size_t k, enum wt_knob knob, enum way way,
                      unsigned *list, unsigned *ret_count, struct wt_error *err)
{
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    unsigned count = CLOCKS_MAX, mem;
    int rc = wt_nvml_call(api, memory_clocks, handle, &count, list);
    if (rc == WT_NVML_SUCCESS && (count == 0 || count > CLOCKS_MAX))
        rc = WT_NVML_NO_DATA;
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: list of memory clocks", nvml->source.devices[k].id);
    qsort(list, count, sizeof(*list), by_value);
    *ret_count = count;
    if (knob == WT_KNOB_MEMCLOCK)
        return way == WAY_APPLICATION ? keep_pairs(nvml, k, list, ret_count, err) : 0;
    if (way == WAY_LOCK ||
        wt_nvml_call(api, app_clock, handle, WT_NVML_CLOCK_MEM, &mem) != WT_NVML_SUCCESS)
        mem = list[count - 1];
    return sm_list(nvml, k, mem, list, ret_count, err);
}

static int clock_type(enum wt_knob knob)
{
    return knob == WT_KNOB_CLOCK ? WT_NVML_CLOCK_SM : WT_NVML_CLOCK_MEM;
}

static int clock_describe(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    struct wt_knob_info *info = &io->info;
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    unsigned list[CLOCKS_MAX], count, mhz;
    enum way way;
    int rc = clock_way(nvml, k, io->knob, &way, err);
    if (rc == 0)
        rc = clock_list(nvml, k, io->knob, way, list, &count, err);
    if (rc < 0)
        return rc;
    info->min = list[0] * INT64_C(1000);
    info->max = list[count - 1] * INT64_C(1000);
    info->step = 0;
    for (unsigned i = 1; i < count; i++) {
        int64_t gap = (list[i] - list[i - 1]) * INT64_C(1000);
        if (gap && (!info->step || gap < info->step))
            info->step = gap;
    }
    if (!info->step)
        info->step = 1000;
    info->is_lockable = way == WAY_LOCK;
    if (way == WAY_APPLICATION) {
        rc = wt_nvml_call(api, app_clock, handle, clock_type(io->knob), &mhz);
        if (rc != WT_NVML_SUCCESS)
            return wt_nvml_fail(err, rc, "%s: application clock", nvml->source.devices[k].id);
        info->current = info->enforced = mhz * INT64_C(1000);
        rc = wt_nvml_call(api, default_app_clock, handle, clock_type(io->knob), &mhz);
        info->def = rc == WT_NVML_SUCCESS ? mhz * INT64_C(1000) : info->max;
    }
    say_rights(nvml, info);
    return 0;
}

static int clock_snapshot(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    enum way way;
    unsigned mhz;
    int rc = clock_way(nvml, k, io->knob, &way, err);
    if (rc < 0)
        return rc;
    if (way == WAY_LOCK) {
        io->found = (struct wt_knob_found){.value = 0, .is_read = false};
        return 0;
    }
    rc = wt_nvml_call(&nvml->api, app_clock, nvml->gpus[k].handle, clock_type(io->knob), &mhz);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: application clock", nvml->source.devices[k].id);
    io->found = (struct wt_knob_found){.value = mhz * INT64_C(1000), .is_read = true};
    return 0;
}

static int lock_set(struct wt_nvml *nvml, size_t k, enum wt_knob knob, unsigned mhz,
                    struct wt_error *err)
{
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    int rc;
    if (knob == WT_KNOB_CLOCK)
        rc = mhz ? wt_nvml_call(api, lock_clock, handle, mhz, mhz)
                 : wt_nvml_call(api, unlock_clock, handle);
    else
        rc = mhz ? wt_nvml_call(api, lock_memory, handle, mhz, mhz)
                 : wt_nvml_call(api, unlock_memory, handle);
    if (rc == WT_NVML_SUCCESS)
        return 0;
    char what[64];
    wt_text(what, sizeof(what), "the %s was not %s", clock_name(knob), mhz ? "locked" : "unlocked");
    return refused(nvml, k, what, rc, err);
}

/* Application clocks are a pair: the other half stays what it is. */
static int application_set(struct wt_nvml *nvml, size_t k, enum wt_knob knob, unsigned mhz,
                           struct wt_error *err)
{
    const struct wt_nvml_api *api = &nvml->api;
    wt_nvml_device handle = nvml->gpus[k].handle;
    const char *id = nvml->source.devices[k].id;
    unsigned mem, sm, now;
    int rc = wt_nvml_call(api, app_clock, handle, WT_NVML_CLOCK_MEM, &mem);
    if (rc == WT_NVML_SUCCESS)
        rc = wt_nvml_call(api, app_clock, handle, WT_NVML_CLOCK_SM, &sm);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: application clocks", id);
    if (knob == WT_KNOB_CLOCK)
        sm = mhz;
    else
        mem = mhz;
    rc = wt_nvml_call(api, set_app_clocks, handle, mem, sm);
    if (rc != WT_NVML_SUCCESS)
        return refused(nvml, k, "the application clocks were not set", rc, err);
    rc = wt_nvml_call(api, app_clock, handle, clock_type(knob), &now);
    if (rc != WT_NVML_SUCCESS)
        return wt_nvml_fail(err, rc, "%s: the %s was set and cannot be read back", id,
                            clock_name(knob));
    if (now != mhz)
        return wt_fail(err, WT_E_STATE, "%s: a %s of %u MHz was accepted but reads %u MHz", id,
                       clock_name(knob), mhz, now);
    return 0;
}

static int clock_set(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    const char *id = nvml->source.devices[k].id;
    unsigned list[CLOCKS_MAX], count;
    enum way way;
    int rc = clock_way(nvml, k, io->knob, &way, err);
    if (rc < 0)
        return rc;
    io->enforced = io->value;
    if (io->value == 0 && way == WAY_LOCK)
        return lock_set(nvml, k, io->knob, 0, err);
    rc = clock_list(nvml, k, io->knob, way, list, &count, err);
    if (rc < 0)
        return rc;
    int64_t min = list[0] * INT64_C(1000), max = list[count - 1] * INT64_C(1000);
    if (io->value < min || io->value > max)
        return wt_fail(err, WT_E_RANGE, "%s: a %s of %.10g MHz: the range is %.10g to %.10g MHz",
                       id, clock_name(io->knob), wt_knob_to_user(io->value), wt_knob_to_user(min),
                       wt_knob_to_user(max));
    /* The driver counts in whole MHz. */
    if (io->value % 1000)
        return wt_fail(err, WT_E_RANGE, "%s: a %s of %.10g MHz: whole MHz only", id,
                       clock_name(io->knob), wt_knob_to_user(io->value));
    unsigned mhz = (unsigned)(io->value / 1000);
    if (way == WAY_LOCK)
        return lock_set(nvml, k, io->knob, mhz, err);
    unsigned above = 0;
    while (list[above] < mhz)
        above++;
    if (list[above] != mhz) {
        rc =
            wt_fail(err, WT_E_RANGE, "%s: there is no %s of %u MHz", id, clock_name(io->knob), mhz);
        wt_fix(err, "the nearest are %u and %u MHz", list[above - 1], list[above]);
        return rc;
    }
    return application_set(nvml, k, io->knob, mhz, err);
}

/* Putting back is not asked whether it is in range: what was found was possible. */
static int clock_restore(struct wt_nvml *nvml, size_t k, void *data, struct wt_error *err)
{
    struct io *io = data;
    enum way way;
    int rc = clock_way(nvml, k, io->knob, &way, err);
    if (rc < 0)
        return rc;
    unsigned mhz = (unsigned)(io->found.value / 1000);
    return way == WAY_LOCK ? lock_set(nvml, k, io->knob, mhz, err)
                           : application_set(nvml, k, io->knob, mhz, err);
}

/* ---- the table's side: each under the deadline ---- */

static int guarded(const struct wt_knob_at *at, struct io *io,
                   int (*fn)(struct wt_nvml *nvml, size_t k, void *io, struct wt_error *err),
                   struct wt_error *err)
{
    size_t k;
    struct wt_nvml *nvml = wt_nvml_of(at->devices, at->i, &k);
    if (!nvml)
        return wt_fail(err, WT_E_UNSUPPORTED, "device %zu is no NVIDIA GPU", at->i);
    return wt_nvml_guarded(nvml, k, io, sizeof(*io), fn, err);
}

static bool has(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_GPU && strcmp(info->source, "nvml") == 0;
}

static int describe(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_info *ret_info,
                    struct wt_error *err)
{
    struct io io = {.knob = knob, .info = {.knob = knob}};
    int rc = guarded(at, &io, knob == WT_KNOB_POWER ? power_describe : clock_describe, err);
    if (rc == 0)
        *ret_info = io.info;
    return rc;
}

static int snapshot(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_found *ret_found,
                    struct wt_error *err)
{
    struct io io = {.knob = knob};
    int rc = guarded(at, &io, knob == WT_KNOB_POWER ? power_snapshot : clock_snapshot, err);
    if (rc == 0)
        *ret_found = io.found;
    return rc;
}

static int set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t *ret_enforced,
               struct wt_error *err)
{
    struct io io = {.knob = knob, .value = value};
    int rc = guarded(at, &io, knob == WT_KNOB_POWER ? power_set : clock_set, err);
    if (rc == 0)
        *ret_enforced = io.enforced;
    return rc;
}

static int restore(const struct wt_knob_at *at, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err)
{
    struct io io = {.knob = knob, .value = found->value, .found = *found};
    /* A record from a journal: whatever it holds, only a sane number goes to the driver. */
    if (found->value < 0 || found->value > UINT32_MAX)
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    return guarded(at, &io, knob == WT_KNOB_POWER ? power_set : clock_restore, err);
}

const struct wt_knob_ops wt_nvml_knobs[3] = {
    {WT_KNOB_POWER, false, has, describe, snapshot, set, restore},
    {WT_KNOB_CLOCK, false, has, describe, snapshot, set, restore},
    {WT_KNOB_MEMCLOCK, false, has, describe, snapshot, set, restore},
};
