/* cpufreq: the maximum frequency, the governor and the energy-performance preference of a
 * processor, through the kernel's cpufreq policies.
 *
 * A policy is a group of cores with one setting; a package has many, and one value goes to each of
 * those whose cores lie in it. What one value cannot say, one value cannot put back: policies that
 * are found at different values are described and not set. (A set that ended halfway also leaves
 * them so; is_mixed tells a lease which two values are there, and it knows its own.)
 *
 * Maximum frequency: scaling_max_freq. Policies may differ in what they can: favoured cores and the
 * two kinds of cores of a hybrid processor. The value is clamped to each policy's own range, and
 * they agree when each holds a clamped one: 5.3 GHz for a policy that goes to 3.9 GHz is 3.9 GHz
 * there. The kernel lowers what it shows while something else (heat, firmware) asks for less; then
 * that was found, and that is put back.
 *
 * Governor: scaling_governor, of those in scaling_available_governors. A governor that Wattune has
 * no number for, and "userspace", whose speed is a setting of its own, could not be put back.
 *
 * Preference: energy_performance_preference, "epp" (Intel with HWP, AMD with amd-pstate). With the
 * governor "performance" both drivers hold it at "performance" in their active mode and answer
 * EBUSY to anything else. A number is shown by its name where it has one, and "default" by the name
 * of what the processor started with (wt_knob_reads_as).
 *
 * Sources: Documentation/admin-guide/pm/{cpufreq,intel_pstate,amd-pstate}.rst. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "knob/knob.h"
#include "sensor/machine.h"

#define POLICIES     "/sys/devices/system/cpu/cpufreq"
#define INTEL_KHZ    100000 /* Intel's cores run at multiples of it */
#define FREQ_MAX_KHZ 100000000

struct policy {
    char name[24];            /* "policy0" */
    int64_t min_khz, max_khz; /* of the hardware; of a frequency only */
    int64_t value;            /* as set */
};

struct policies {
    struct policy *list; /* owned */
    size_t count;
    bool is_mixed;
    int64_t value, mixed_with; /* of all: the one that they hold, or two of those */
};

static const char *file_of(enum wt_knob knob)
{
    return knob == WT_KNOB_CPU_FREQ   ? "scaling_max_freq"
           : knob == WT_KNOB_GOVERNOR ? "scaling_governor"
                                      : "energy_performance_preference";
}

static const char *path_of(const struct policy *p, const char *file, char *buf, size_t size)
{
    return wt_text(buf, size, POLICIES "/%s/%s", p->name, file);
}

/* ---- which policies, and what they hold ---- */

/* Whether another die of the package has settings of its own. AMD's dies are listed and are one
 * counter: the first of them stands for all, and its settings are the whole package's. */
static bool has_own_dies(const struct wt_knob_at *at)
{
    for (size_t i = 0; i < wt_devices_count(at->devices); i++) {
        const struct wt_device_info *other = wt_devices_info(at->devices, i);
        if (other->kind == WT_DEVICE_CPU && !other->is_part && other->index == at->info->index &&
            strstr(other->id, "-die-") && strcmp(other->id, at->info->id) != 0)
            return true;
    }
    return false;
}

/* Whether the policy's cores are the device's. A policy without a core (all offline) is nobody's.
 */
static bool is_of(const struct wt_knob_at *at, const char *name)
{
    char path[128], text[4096], *end;
    wt_text(path, sizeof(path), POLICIES "/%s/affected_cpus", name);
    if (wt_fs_read(at->ctx, path, text, sizeof(text), NULL) < 0)
        return false;
    unsigned long cpu = strtoul(text, &end, 10);
    if (end == text || cpu > 65535 ||
        wt_machine_package_of(at->ctx, (unsigned)cpu) != at->info->index)
        return false;
    const char *die = strstr(at->info->id, "-die-");
    return !die || !has_own_dies(at) ||
           wt_machine_die_of(at->ctx, (unsigned)cpu) == strtoul(die + strlen("-die-"), NULL, 10);
}

static int read_khz(const struct wt_ctx *ctx, const struct policy *p, const char *file,
                    int64_t *ret_khz, struct wt_error *err)
{
    char path[128];
    uint64_t khz;
    int rc = wt_fs_read_u64(ctx, path_of(p, file, path, sizeof(path)), &khz, err);
    if (rc == 0 && khz > FREQ_MAX_KHZ)
        rc = wt_fail(err, WT_E_FORMAT, "%s: %llu kHz is no frequency", path,
                     (unsigned long long)khz);
    if (rc == 0)
        *ret_khz = (int64_t)khz;
    return rc;
}

/* A name that Wattune has no number for is 0: nothing that could be set. */
static int read_value(const struct wt_ctx *ctx, enum wt_knob knob, struct policy *p,
                      struct wt_error *err)
{
    char path[128], text[64];
    if (knob == WT_KNOB_CPU_FREQ) {
        int rc = read_khz(ctx, p, "cpuinfo_min_freq", &p->min_khz, err);
        if (rc == 0)
            rc = read_khz(ctx, p, "cpuinfo_max_freq", &p->max_khz, err);
        return rc < 0 ? rc : read_khz(ctx, p, file_of(knob), &p->value, err);
    }
    int rc =
        wt_fs_read(ctx, path_of(p, file_of(knob), path, sizeof(path)), text, sizeof(text), err);
    if (rc == 0 && wt_knob_value_parse(knob, text, &p->value) < 0)
        p->value = 0;
    return rc;
}

static int64_t clamped(const struct policy *p, int64_t khz)
{
    if (khz < p->min_khz)
        return p->min_khz;
    return khz > p->max_khz ? p->max_khz : khz;
}

/* What a policy holds when all are set to the value. */
static int64_t share_of(const struct policy *p, enum wt_knob knob, int64_t value)
{
    return knob == WT_KNOB_CPU_FREQ ? clamped(p, value) : value;
}

static void compare(struct policies *all, enum wt_knob knob)
{
    all->value = all->list[0].value;
    for (size_t i = 1; knob == WT_KNOB_CPU_FREQ && i < all->count; i++)
        if (all->list[i].value > all->value)
            all->value = all->list[i].value;
    for (size_t i = 0; i < all->count && !all->is_mixed; i++) {
        all->is_mixed = all->list[i].value != share_of(&all->list[i], knob, all->value);
        all->mixed_with = all->list[i].value;
    }
}

static void policies_done(struct policies *all)
{
    free(all->list);
    all->list = NULL;
}

static int fail_none(const struct wt_knob_at *at, enum wt_knob knob, struct wt_error *err)
{
    return wt_fail(err, WT_E_UNSUPPORTED, "%s has no %s in " POLICIES, at->info->id, file_of(knob));
}

/* Errors: WT_E_UNSUPPORTED (there are none, or they lack the file). */
static int policies_read(const struct wt_knob_at *at, enum wt_knob knob,
                         struct policies *ret_policies, struct wt_error *err)
{
    struct policies all = {0};
    char **names = NULL;
    size_t count = 0;
    if (wt_fs_list(at->ctx, POLICIES, &names, &count, NULL) < 0)
        return fail_none(at, knob, err);
    int rc = 0;
    if (!(all.list = calloc(count + 1, sizeof(*all.list))))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for cpufreq policies");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct policy p = {0};
        unsigned number;
        int used = 0;
        if (sscanf(names[i], "policy%u%n", &number, &used) != 1 || names[i][used] ||
            strlen(names[i]) >= sizeof(p.name) || !is_of(at, names[i]))
            continue;
        wt_text(p.name, sizeof(p.name), "%s", names[i]);
        rc = read_value(at->ctx, knob, &p, err);
        all.list[all.count++] = p;
    }
    wt_fs_list_free(names, count);
    if (rc == WT_E_NOTFOUND || (rc == 0 && !all.count))
        rc = fail_none(at, knob, err);
    if (rc < 0) {
        policies_done(&all);
        return rc;
    }
    compare(&all, knob);
    *ret_policies = all;
    return 0;
}

/* ---- what there is to choose from ---- */

static void frequency_range(const struct wt_knob_at *at, const struct policies *all,
                            struct wt_knob_info *info)
{
    char path[128], text[4096];
    info->min = all->list[0].min_khz;
    info->max = all->list[0].max_khz;
    for (size_t i = 1; i < all->count; i++) {
        if (all->list[i].min_khz > info->min) /* where all of them still follow */
            info->min = all->list[i].min_khz;
        if (all->list[i].max_khz > info->max)
            info->max = all->list[i].max_khz;
    }
    info->def = info->max;
    /* A driver with a table says so; else the processor's own grain, where it is known. */
    path_of(&all->list[0], "scaling_driver", path, sizeof(path));
    bool is_intel =
        wt_fs_read(at->ctx, path, text, sizeof(text), NULL) == 0 && strncmp(text, "intel_", 6) == 0;
    info->step = is_intel ? INTEL_KHZ : 1000;
    path_of(&all->list[0], "scaling_available_frequencies", path, sizeof(path));
    if (wt_fs_read(at->ctx, path, text, sizeof(text), NULL) < 0)
        return;
    int64_t before = 0, gap = 0;
    for (char *rest = text, *word; (word = strsep(&rest, " "));) {
        uint64_t khz;
        if (wt_text_to_u64(word, &khz) < 0 || khz > FREQ_MAX_KHZ)
            continue;
        int64_t apart = llabs((int64_t)khz - before);
        if (before && apart && (!gap || apart < gap))
            gap = apart;
        before = (int64_t)khz;
    }
    if (gap)
        info->step = gap;
}

/* The names that all policies offer, as bits. */
static void names_offered(const struct wt_knob_at *at, enum wt_knob knob,
                          const struct policies *all, struct wt_knob_info *info)
{
    const char *file = knob == WT_KNOB_GOVERNOR ? "scaling_available_governors"
                                                : "energy_performance_available_preferences";
    info->values = ~UINT64_C(0);
    for (size_t i = 0; i < all->count; i++) {
        char path[128], text[512];
        uint64_t offered = 0;
        path_of(&all->list[i], file, path, sizeof(path));
        if (wt_fs_read(at->ctx, path, text, sizeof(text), NULL) < 0)
            text[0] = '\0';
        for (char *rest = text, *word; (word = strsep(&rest, " "));) {
            int64_t value;
            if (wt_knob_value_parse(knob, word, &value) == 0 && value < 64)
                offered |= UINT64_C(1) << value;
        }
        info->values &= offered;
    }
    /* What is set now exists, whatever the list says (there is none with HWP's oldest drivers). */
    if (!all->is_mixed && all->value > 0 && all->value < 64)
        info->values |= UINT64_C(1) << all->value;
    info->step = 1;
    for (int64_t v = 63; v > 0; v--)
        if (info->values >> v & 1) {
            info->max = info->max ? info->max : v;
            info->min = v;
        }
    if (knob == WT_KNOB_EPP)
        info->max = WT_EPP_RAW + 255;
    info->def = all->value;
}

/* ---- what stands in the way ---- */

/* The governor with which the driver holds the preference at "performance". */
static bool is_preference_held(const struct wt_knob_at *at, const struct policies *all)
{
    for (size_t i = 0; i < all->count; i++) {
        char path[128], driver[32], governor[32];
        path_of(&all->list[i], "scaling_driver", path, sizeof(path));
        if (wt_fs_read(at->ctx, path, driver, sizeof(driver), NULL) < 0)
            continue;
        path_of(&all->list[i], "scaling_governor", path, sizeof(path));
        if (wt_fs_read(at->ctx, path, governor, sizeof(governor), NULL) == 0 &&
            strcmp(governor, "performance") == 0 &&
            (strcmp(driver, "intel_pstate") == 0 || strcmp(driver, "amd-pstate-epp") == 0))
            return true;
    }
    return false;
}

#define HELD_WHY "the governor is \"performance\", with which the driver holds the preference there"
#define HELD_FIX "set the governor first: governor=powersave epp=..."

static void say_obstacles(const struct wt_knob_at *at, enum wt_knob knob,
                          const struct policies *all, struct wt_knob_info *info)
{
    char one[48], other[48];
    if (all->is_mixed) {
        info->is_lost = true;
        wt_text(info->why_not, sizeof(info->why_not),
                "its cores differ (%s and %s), and one value could not put that back",
                wt_knob_value_text(one, sizeof(one), knob, all->value),
                wt_knob_value_text(other, sizeof(other), knob, all->mixed_with));
        wt_text(info->fix, sizeof(info->fix),
                "make them alike first: write one value to " POLICIES "/policy*/%s", file_of(knob));
    } else if (knob == WT_KNOB_GOVERNOR &&
               (all->value == WT_GOVERNOR_USERSPACE || all->value == 0)) {
        info->is_lost = true;
        wt_text(info->why_not, sizeof(info->why_not), "%s could not be put back as it is",
                all->value ? "the governor \"userspace\" with its speed"
                           : "its governor is none that Wattune knows and");
        wt_text(info->fix, sizeof(info->fix), "choose another governor first");
    } else if (knob == WT_KNOB_EPP && all->value == 0) {
        info->is_lost = true;
        wt_text(info->why_not, sizeof(info->why_not),
                "its preference is none that Wattune knows and could not be put back");
        wt_text(info->fix, sizeof(info->fix), "choose another preference first");
    } else if (knob == WT_KNOB_EPP && is_preference_held(at, all)) {
        wt_text(info->why_not, sizeof(info->why_not), HELD_WHY);
        wt_text(info->fix, sizeof(info->fix), HELD_FIX);
    } else {
        return;
    }
    info->is_settable = false;
}

static int describe(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_info *ret_info,
                    struct wt_error *err)
{
    struct policies all;
    char path[128];
    int rc = policies_read(at, knob, &all, err);
    if (rc < 0)
        return rc;
    struct wt_knob_info *info = ret_info;
    *info = (struct wt_knob_info){.knob = knob, .current = all.value, .enforced = all.value};
    info->is_mixed = all.is_mixed;
    info->mixed_with = all.mixed_with;
    if (knob == WT_KNOB_CPU_FREQ)
        frequency_range(at, &all, info);
    else
        names_offered(at, knob, &all, info);
    wt_knob_say_rights(at->ctx, path_of(&all.list[0], file_of(knob), path, sizeof(path)), info);
    if (info->is_settable)
        say_obstacles(at, knob, &all, info);
    policies_done(&all);
    return 0;
}

static int snapshot(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_found *ret_found,
                    struct wt_error *err)
{
    struct policies all;
    int rc = policies_read(at, knob, &all, err);
    if (rc < 0)
        return rc;
    *ret_found = (struct wt_knob_found){.value = all.value, .is_read = true};
    policies_done(&all);
    return 0;
}

/* ---- changing it ---- */

static int write_policy(const struct wt_knob_at *at, enum wt_knob knob, const struct policy *p,
                        int64_t value, struct wt_error *err)
{
    char path[128], text[48];
    if (knob == WT_KNOB_CPU_FREQ)
        wt_text(text, sizeof(text), "%lld", (long long)clamped(p, value));
    else
        wt_knob_value_typed(text, sizeof(text), knob, value);
    path_of(p, file_of(knob), path, sizeof(path));
    int rc = wt_knob_write(at->ctx, path, text, err);
    if (rc == WT_E_BUSY && knob == WT_KNOB_EPP) {
        wt_fail(err, rc, "%s: %s was refused: " HELD_WHY, at->info->id, text);
        wt_fix(err, HELD_FIX);
    }
    return rc;
}

/* Writes each policy and reads all back. A policy that refuses does not stop the others when what
 * was found is put back, and does when something new is set. */
static int write_all(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t step,
                     bool is_restoring, int64_t *ret_enforced, struct wt_error *err)
{
    struct policies all;
    char want[48], is[48];
    int rc = policies_read(at, knob, &all, err), first = 0;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < all.count && (first == 0 || is_restoring); i++) {
        rc = write_policy(at, knob, &all.list[i], value, first == 0 ? err : NULL);
        if (first == 0)
            first = rc;
    }
    policies_done(&all);
    if (first < 0 || (rc = policies_read(at, knob, &all, err)) < 0)
        return first < 0 ? first : rc;
    for (size_t i = 0; i < all.count && first == 0; i++) {
        const struct policy *p = &all.list[i];
        int64_t share = share_of(p, knob, value);
        if (!wt_knob_reads_as(knob, share, p->value, step))
            first = wt_fail(err, WT_E_STATE, "%s: %s of %s did not take: %s was set, it reads %s",
                            at->info->id, wt_knob_name(knob), p->name,
                            wt_knob_value_text(want, sizeof(want), knob, share),
                            wt_knob_value_text(is, sizeof(is), knob, p->value));
    }
    if (first == 0 && ret_enforced)
        *ret_enforced = all.value;
    policies_done(&all);
    return first;
}

static int set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t *ret_enforced,
               struct wt_error *err)
{
    struct wt_knob_info info;
    char text[48], range[160];
    int rc = describe(at, knob, &info, err);
    if (rc < 0)
        return rc;
    if (!wt_knob_takes(&info, value))
        return wt_fail(err, WT_E_RANGE, "%s: %s=%s: it takes %s", at->info->id, wt_knob_name(knob),
                       wt_knob_value_typed(text, sizeof(text), knob, value),
                       wt_knob_range_text(range, sizeof(range), &info));
    return write_all(at, knob, value, info.step, false, ret_enforced, err);
}

static int restore(const struct wt_knob_at *at, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err)
{
    char text[48];
    int64_t parsed;
    /* A record from a journal: whatever it holds, only a sane value goes to the kernel. */
    wt_knob_value_typed(text, sizeof(text), knob, found->value);
    if (found->value <= 0 || found->value > FREQ_MAX_KHZ ||
        wt_knob_value_parse(knob, text, &parsed) < 0 || parsed != found->value)
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    return write_all(at, knob, found->value, 1, true, NULL, err);
}

static bool is_package(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_CPU;
}

const struct wt_knob_ops wt_cpufreq_knobs[3] = {
    {WT_KNOB_CPU_FREQ, true, is_package, describe, snapshot, set, restore},
    {WT_KNOB_GOVERNOR, true, is_package, describe, snapshot, set, restore},
    {WT_KNOB_EPP, true, is_package, describe, snapshot, set, restore},
};
