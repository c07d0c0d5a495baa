/* powercap: power limits of processor packages and of the memory behind them, through the kernel's
 * RAPL zones.
 *
 * Set is the limit of the constraint named "long_term" of the zone "package-N" (of a die its own)
 * or of the zone "dram" inside it. What is put back is that limit. The time window, the short-term
 * limit and "enabled" are left as they are: "enabled" turns clamping and the other limit on and off
 * with it and could not be put back, so a limit that is not enabled is described and not set.
 *
 * Range. The kernel publishes the highest limit (constraint_N_max_power_uw, the thermal design
 * power; 0 or nothing on some servers) but not the lowest, though the processor has one. A limit
 * far below what a package draws at rest throttles it until the machine hardly answers, and the
 * guardian that would put it back runs on it, too: so nothing is set below a tenth of the highest,
 * nor below 5 W of a package and 1 W of memory, unless it was found there. A limit of 0 W with no
 * highest says nothing, and then there is no such knob. Where the highest is not
 * published the short-term limit stands in, and else what is set now.
 *
 * Enforced. intel-rapl-mmio is a second set of limits of the same package, and the lower one holds.
 *
 * A firmware may lock the limits until the next start: the kernel then answers EACCES even to root
 * (Linux drivers/powercap/intel_rapl_common.c, "locked by BIOS"), or takes the write and reads back
 * the old value. Limits are kept in steps of the processor's power unit, an eighth of a watt on
 * most.
 *
 * AMD's processors have RAPL counters and no RAPL limits.
 *
 * Source: Documentation/power/powercap/powercap.rst. */
#include <stdio.h>
#include <string.h>

#include "knob/knob.h"
#include "sensor/machine.h"

#define POWERCAP         "/sys/class/powercap"
#define STEP_MW          125
#define CONSTRAINTS_MAX  8
#define REGISTER_MAX_MW  4095875 /* 15 bits of an eighth of a watt */
#define PACKAGE_FLOOR_MW 5000
#define DRAM_FLOOR_MW    1000

struct limit {
    char zone[48];
    unsigned constraint;
    int64_t now_mw;
    int64_t top_mw; /* the highest that is published; 0: none is */
    bool is_enabled;
};

/* ---- finding it ---- */

/* The name of the package's zone: "package-0", "package-0-die-1". */
static void package_name(const struct wt_device_info *info, char *buf, size_t size)
{
    const char *name = strstr(info->id, "package-");
    if (name)
        wt_text(buf, size, "%s", name);
    else
        wt_text(buf, size, "package-%u", info->index);
}

/* The first entry of the class that is PREFIX and a number, with that in its file "name". */
static bool find_zone(const struct wt_ctx *ctx, char *const *names, size_t count,
                      const char *prefix, const char *wanted, char *ret_zone, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        char path[128], name[64];
        size_t n = strlen(prefix);
        if (strncmp(names[i], prefix, n) != 0 || !names[i][n] ||
            strspn(names[i] + n, "0123456789") != strlen(names[i] + n) || strlen(names[i]) >= size)
            continue;
        wt_text(path, sizeof(path), POWERCAP "/%s/name", names[i]);
        if (wt_fs_read(ctx, path, name, sizeof(name), NULL) == 0 && strcmp(name, wanted) == 0) {
            wt_text(ret_zone, size, "%s", names[i]);
            return true;
        }
    }
    return false;
}

/* How many zones "dram" a control type has. */
static unsigned count_memories(const struct wt_ctx *ctx, char *const *names, size_t count,
                               const char *type)
{
    unsigned memories = 0;
    size_t n = strlen(type);
    for (size_t i = 0; i < count; i++) {
        char path[128], name[64];
        if (strncmp(names[i], type, n) != 0 || names[i][n] != ':')
            continue;
        wt_text(path, sizeof(path), POWERCAP "/%s/name", names[i]);
        memories +=
            wt_fs_read(ctx, path, name, sizeof(name), NULL) == 0 && strcmp(name, "dram") == 0;
    }
    return memories;
}

/* The zone of a device below a control type, "intel-rapl" or "intel-rapl-mmio". Modeled memory is
 * all there is, and has one only where there is one. */
static bool zone_of(const struct wt_knob_at *at, const char *type, char *ret_zone, size_t size)
{
    char **names = NULL, package[96], prefix[64], zone[48];
    size_t count = 0;
    if (wt_fs_list(at->ctx, POWERCAP, &names, &count, NULL) < 0)
        return false;
    if (at->info->kind == WT_DEVICE_DRAM && !strstr(at->info->id, "package-") &&
        count_memories(at->ctx, names, count, type) > 1) {
        wt_fs_list_free(names, count);
        return false;
    }
    package_name(at->info, package, sizeof(package));
    wt_text(prefix, sizeof(prefix), "%s:", type);
    bool is_there = find_zone(at->ctx, names, count, prefix, package, zone, sizeof(zone));
    if (is_there && at->info->kind == WT_DEVICE_DRAM) {
        wt_text(prefix, sizeof(prefix), "%s:", zone);
        is_there = find_zone(at->ctx, names, count, prefix, "dram", zone, sizeof(zone));
    }
    wt_fs_list_free(names, count);
    if (is_there)
        wt_text(ret_zone, size, "%s", zone);
    return is_there;
}

static void constraint_path(const struct limit *l, unsigned constraint, const char *what, char *buf,
                            size_t size)
{
    wt_text(buf, size, POWERCAP "/%s/constraint_%u_%s", l->zone, constraint, what);
}

/* The number of a zone's constraint with this name, or -1. */
static int find_constraint(const struct wt_ctx *ctx, const struct limit *l, const char *wanted)
{
    for (unsigned c = 0; c < CONSTRAINTS_MAX; c++) {
        char path[128], name[32];
        constraint_path(l, c, "name", path, sizeof(path));
        if (wt_fs_read(ctx, path, name, sizeof(name), NULL) == 0 && strcmp(name, wanted) == 0)
            return (int)c;
    }
    return -1;
}

/* One file of a constraint in mW, rounded up: a limit of the processor is a multiple of its unit,
 * which need not be whole milliwatts, and what is written is rounded down to one. */
static int read_mw(const struct wt_ctx *ctx, const struct limit *l, unsigned constraint,
                   const char *what, int64_t *ret_mw, struct wt_error *err)
{
    char path[128];
    uint64_t uw;
    constraint_path(l, constraint, what, path, sizeof(path));
    int rc = wt_fs_read_u64(ctx, path, &uw, err);
    if (rc < 0)
        return rc;
    if (uw > UINT64_C(1000000000000000))
        return wt_fail(err, WT_E_FORMAT, "%s: %llu uW is no power limit", path,
                       (unsigned long long)uw);
    *ret_mw = (int64_t)((uw + 999) / 1000);
    return 0;
}

static int64_t published(const struct wt_ctx *ctx, const struct limit *l, int constraint,
                         const char *what)
{
    int64_t mw;
    return constraint >= 0 && read_mw(ctx, l, (unsigned)constraint, what, &mw, NULL) == 0 ? mw : 0;
}

static bool is_enabled(const struct wt_ctx *ctx, const struct limit *l)
{
    char path[128];
    uint64_t flag;
    wt_text(path, sizeof(path), POWERCAP "/%s/enabled", l->zone);
    return wt_fs_read_u64(ctx, path, &flag, NULL) < 0 || flag != 0;
}

/* What slows it instead, of what there is on this machine. */
static void fix_other_knobs(const struct wt_knob_at *at, struct wt_error *err)
{
    char names[48] = "";
    for (size_t k = 0; k < WT_COUNTOF(wt_cpufreq_knobs); k++) {
        const struct wt_knob_ops *ops = &wt_cpufreq_knobs[k];
        struct wt_knob_info info;
        size_t used = strlen(names);
        if (ops->describe(at, ops->knob, &info, NULL) == 0)
            wt_text(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                    wt_knob_name(ops->knob));
    }
    if (*names)
        wt_fix(err, "limit its frequency instead: %s", names);
}

static int fail_none(const struct wt_knob_at *at, struct wt_error *err)
{
    struct wt_machine machine;
    wt_machine_look(at->ctx, &machine);
    if (machine.is_amd && at->info->kind == WT_DEVICE_CPU) {
        int rc =
            wt_fail(err, WT_E_UNSUPPORTED,
                    "%s: AMD's processors have no power limit that Linux can set", at->info->id);
        fix_other_knobs(at, err);
        return rc;
    }
    return wt_fail(err, WT_E_UNSUPPORTED, "%s has no power limit in " POWERCAP, at->info->id);
}

static int find_limit(const struct wt_knob_at *at, struct limit *ret_limit, struct wt_error *err)
{
    struct limit l = {0};
    if (!zone_of(at, "intel-rapl", l.zone, sizeof(l.zone)))
        return fail_none(at, err);
    int long_term = find_constraint(at->ctx, &l, "long_term");
    if (long_term < 0)
        return fail_none(at, err);
    l.constraint = (unsigned)long_term;
    int rc = read_mw(at->ctx, &l, l.constraint, "power_limit_uw", &l.now_mw, err);
    if (rc < 0)
        return rc;
    l.is_enabled = is_enabled(at->ctx, &l);
    l.top_mw = published(at->ctx, &l, long_term, "max_power_uw");
    if (!l.top_mw) {
        int short_term = find_constraint(at->ctx, &l, "short_term");
        l.top_mw = published(at->ctx, &l, short_term, "max_power_uw");
        int64_t set_mw = published(at->ctx, &l, short_term, "power_limit_uw");
        if (!l.top_mw && set_mw < REGISTER_MAX_MW) /* the most that can be set is no limit */
            l.top_mw = set_mw;
    }
    *ret_limit = l;
    return 0;
}

/* ---- what it is ---- */

static int64_t enforced_mw(const struct wt_knob_at *at, const struct limit *l)
{
    struct limit other = {0};
    if (at->info->kind != WT_DEVICE_CPU ||
        !zone_of(at, "intel-rapl-mmio", other.zone, sizeof(other.zone)) ||
        !is_enabled(at->ctx, &other))
        return l->now_mw;
    int64_t mw =
        published(at->ctx, &other, find_constraint(at->ctx, &other, "long_term"), "power_limit_uw");
    return mw > 0 && mw < l->now_mw ? mw : l->now_mw;
}

static void limit_path(const struct limit *l, char *buf, size_t size)
{
    constraint_path(l, l->constraint, "power_limit_uw", buf, size);
}

static int64_t lowest_mw(const struct wt_knob_at *at)
{
    return at->info->kind == WT_DEVICE_CPU ? PACKAGE_FLOOR_MW : DRAM_FLOOR_MW;
}

static int64_t floor_mw(const struct wt_knob_at *at, const struct limit *l, int64_t max_mw)
{
    int64_t floor = lowest_mw(at);
    if (max_mw / 10 > floor)
        floor = max_mw / 10;
    /* 0 is what stands where none was ever chosen. */
    return l->is_enabled && l->now_mw && l->now_mw < floor ? l->now_mw : floor;
}

static int describe(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_info *ret_info,
                    struct wt_error *err)
{
    struct limit l;
    char path[128];
    int rc = find_limit(at, &l, err);
    if (rc < 0)
        return rc;
    if (!l.top_mw && l.now_mw < lowest_mw(at) && !(l.is_enabled && l.now_mw))
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s: its power limit is written as %.10g W and no highest is published, so "
                       "that nothing says which would be sane",
                       at->info->id, wt_knob_to_user(l.now_mw));
    struct wt_knob_info *info = ret_info;
    *info = (struct wt_knob_info){.knob = knob, .step = STEP_MW, .current = l.now_mw};
    info->max = l.now_mw > l.top_mw ? l.now_mw : l.top_mw;
    info->min = floor_mw(at, &l, info->max);
    if (info->min > info->max)
        info->min = info->max;
    info->def = l.top_mw ? l.top_mw : l.now_mw;
    info->enforced = enforced_mw(at, &l);
    limit_path(&l, path, sizeof(path));
    wt_knob_say_rights(at->ctx, path, info);
    if (info->is_settable && !l.is_enabled) {
        info->is_settable = false;
        wt_text(info->why_not, sizeof(info->why_not),
                "a limit is written there but not enforced: " POWERCAP "/%s/enabled is 0", l.zone);
        char enable[96];
        wt_text(enable, sizeof(enable), "echo 1 | sudo tee " POWERCAP "/%s/enabled", l.zone);
        if (l.now_mw < info->min)
            wt_text(info->fix, sizeof(info->fix), "echo %lld | sudo tee %s && %s",
                    (long long)info->max * 1000, path, enable);
        else
            wt_text(info->fix, sizeof(info->fix), "%s: from then on the %.10g W hold", enable,
                    wt_knob_to_user(l.now_mw));
    }
    return 0;
}

static int snapshot(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_found *ret_found,
                    struct wt_error *err)
{
    struct limit l;
    (void)knob;
    int rc = find_limit(at, &l, err);
    if (rc == 0)
        *ret_found = (struct wt_knob_found){.value = l.now_mw, .is_read = true};
    return rc;
}

/* ---- changing it ---- */

static int fail_locked(const struct wt_knob_at *at, int64_t mw, const char *why,
                       struct wt_error *err)
{
    int rc = wt_fail(err, WT_E_STATE,
                     "%s: a power limit of %.10g W did not take: %s (locked by the firmware?)",
                     at->info->id, wt_knob_to_user(mw), why);
    wt_fix(err, "unlock package power limits in the firmware's setup; a lock holds until the next "
                "start");
    return rc;
}

static int write_limit(const struct wt_knob_at *at, enum wt_knob knob, int64_t mw, struct limit *l,
                       struct wt_error *err)
{
    char path[128], text[32];
    struct wt_error why = {0};
    limit_path(l, path, sizeof(path));
    wt_text(text, sizeof(text), "%lld", (long long)mw * 1000);
    int rc = wt_knob_write(at->ctx, path, text, &why);
    if (rc == WT_E_STATE || rc == WT_E_IO)
        return fail_locked(at, mw, why.text, err);
    if (rc < 0) {
        if (err)
            *err = why;
        return rc;
    }
    bool was_enabled = l->is_enabled;
    rc = find_limit(at, l, err);
    if (rc < 0)
        return rc;
    if (!wt_knob_reads_as(knob, mw, l->now_mw, STEP_MW)) {
        wt_text(text, sizeof(text), "it reads %.10g W", wt_knob_to_user(l->now_mw));
        return fail_locked(at, mw, text, err);
    }
    if (was_enabled && !l->is_enabled)
        return wt_fail(err, WT_E_STATE,
                       "%s: a power limit of %.10g W is set but no longer enforced", at->info->id,
                       wt_knob_to_user(mw));
    return 0;
}

static int set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t *ret_enforced,
               struct wt_error *err)
{
    struct wt_knob_info info;
    struct limit l;
    int rc = describe(at, knob, &info, err);
    if (rc == 0)
        rc = find_limit(at, &l, err);
    if (rc < 0)
        return rc;
    /* The highest that may be set is the lease's to know: it may be what was found before. */
    if (value < info.min || value > REGISTER_MAX_MW)
        return wt_knob_fail_power_range(at, &info, value, err);
    rc = write_limit(at, knob, value, &l, err);
    if (rc == 0)
        *ret_enforced = enforced_mw(at, &l);
    return rc;
}

/* Putting back is not asked whether it is in range: what was found was possible. */
static int restore(const struct wt_knob_at *at, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err)
{
    struct limit l;
    /* A record from a journal: whatever it holds, only a sane number goes to the kernel. */
    if (found->value < 0 || found->value > INT64_C(1000000000))
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld mW", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    int rc = find_limit(at, &l, err);
    return rc < 0 ? rc : write_limit(at, knob, found->value, &l, err);
}

static bool is_package(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_CPU;
}

static bool is_memory(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_DRAM;
}

const struct wt_knob_ops wt_powercap_knobs[2] = {
    {WT_KNOB_CPU_POWER, true, is_package, describe, snapshot, set, restore},
    {WT_KNOB_DRAM_POWER, true, is_memory, describe, snapshot, set, restore},
};
