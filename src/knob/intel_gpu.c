/* intel_gpu: the power limit of Intel's graphics cards, through the hwmon files of i915 and xe.
 *
 * power1_max is the sustained limit of the card, in microwatts, and power1_rated_max what the card
 * is built for; values from above 0 up to that are taken. 0 reads where the limit is off, and
 * writing 0 switches it off. So 0 is never written: a limit that was found off could not be put
 * back by anything else, and is described and not set. xe has the limit of the chip alone beside
 * it (power2_max), which is not that of the card; a card without power1_max has no such knob.
 *
 * The driver publishes no lowest: a tenth of the highest is the floor, for below it a card hardly
 * works, unless the limit was found there. What the hardware clamps reads back clamped, and is then
 * said not to have taken. The register's unit is an eighth of a watt.
 *
 * Clocks (gt_min_freq_mhz and its kin) are not set.
 *
 * Source: Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon and -xe-hwmon, i915_hwmon.c and
 * xe_hwmon.c of Linux. Tried on trees of files, not on a card. */
#include <stdlib.h>
#include <string.h>

#include "knob/knob.h"
#include "sensor/drm.h"

#define VENDOR_INTEL 0x8086u
#define STEP_MW      125

static int find_card(const struct wt_knob_at *at, struct wt_drm_card *ret_card,
                     struct wt_error *err)
{
    static const char *const hwmon_names[] = {"i915", "xe", NULL};
    struct wt_drm_card *cards = NULL;
    size_t count = 0, i = 0;
    int rc = wt_drm_find(at->ctx, VENDOR_INTEL, hwmon_names, "intel_gpu", &cards, &count, NULL);
    if (rc < 0)
        return wt_fail(err, rc, "no memory for the Intel GPUs");
    while (i < count && strcasecmp(cards[i].pci, at->info->address) != 0)
        i++;
    if (i < count)
        *ret_card = cards[i];
    else
        rc = wt_fail(err, WT_E_GONE, "%s: no card in /sys/class/drm has the PCI address \"%s\"",
                     at->info->id, at->info->address);
    free(cards);
    return rc;
}

static void limit_path(const struct wt_drm_card *card, const char *name, char *buf, size_t size)
{
    wt_text(buf, size, "%s/power1_%s", card->hwmon, name);
}

/* In mW, rounded up: what the card holds is a multiple of its unit, and what is written is rounded
 * to one. */
static int read_mw(const struct wt_knob_at *at, const struct wt_drm_card *card, const char *name,
                   int64_t *ret_mw, struct wt_error *err)
{
    char path[128];
    uint64_t uw;
    limit_path(card, name, path, sizeof(path));
    int rc = *card->hwmon ? wt_fs_read_u64(at->ctx, path, &uw, err) : WT_E_NOTFOUND;
    if (rc == WT_E_NOTFOUND)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s shows no power1_max of this card",
                       *card->driver ? card->driver : "its driver");
    if (rc == 0 && uw > WT_KNOB_MOST_UW)
        rc = wt_fail(err, WT_E_FORMAT, "%s: %llu uW is no power limit", path,
                     (unsigned long long)uw);
    if (rc == 0)
        *ret_mw = (int64_t)((uw + 999) / 1000);
    return rc;
}

static int describe(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_info *ret_info,
                    struct wt_error *err)
{
    struct wt_drm_card card;
    struct wt_knob_info info = {.knob = knob, .step = STEP_MW};
    char path[128];
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_mw(at, &card, "max", &info.current, err);
    if (rc < 0)
        return rc;
    if (read_mw(at, &card, "rated_max", &info.max, NULL) < 0)
        info.max = 0;
    if (!info.current && !info.max)
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "its power limit is off, and nothing says which would be sane");
    info.def = info.max ? info.max : info.current;
    if (info.max < info.current)
        info.max = info.current;
    info.min = info.max / 10;
    if (info.current && info.current < info.min)
        info.min = info.current;
    info.enforced = info.current;
    limit_path(&card, "max", path, sizeof(path));
    wt_knob_say_rights(at->ctx, path, &info);
    if (info.is_settable && !info.current) {
        info.is_settable = false;
        info.is_lost = true;
        wt_text(info.why_not, sizeof(info.why_not),
                "its limit is off, and only a 0 could switch it off again");
        wt_text(info.fix, sizeof(info.fix), "switch it on first: echo %lld | sudo tee %s",
                (long long)info.max * 1000, path);
    }
    *ret_info = info;
    return 0;
}

static int snapshot(const struct wt_knob_at *at, enum wt_knob knob, struct wt_knob_found *ret_found,
                    struct wt_error *err)
{
    struct wt_drm_card card;
    int64_t mw;
    (void)knob;
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_mw(at, &card, "max", &mw, err);
    if (rc == 0)
        *ret_found = (struct wt_knob_found){.value = mw, .is_read = true};
    return rc;
}

static int write_limit(const struct wt_knob_at *at, enum wt_knob knob, int64_t mw, int64_t *ret_now,
                       struct wt_error *err)
{
    struct wt_drm_card card;
    char path[128];
    int rc = find_card(at, &card, err);
    if (rc < 0)
        return rc;
    limit_path(&card, "max", path, sizeof(path));
    return wt_knob_write_power(at, knob, path, mw, STEP_MW, ret_now, err);
}

static int set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value, int64_t *ret_enforced,
               struct wt_error *err)
{
    struct wt_knob_info info;
    int rc = describe(at, knob, &info, err);
    if (rc < 0)
        return rc;
    if (value <= 0 || !wt_knob_takes(&info, value))
        return wt_knob_fail_power_range(at, &info, value, err);
    return write_limit(at, knob, value, ret_enforced, err);
}

static int restore(const struct wt_knob_at *at, enum wt_knob knob,
                   const struct wt_knob_found *found, struct wt_error *err)
{
    int64_t now;
    /* A record from a journal: whatever it holds, only a sane number goes to the driver, and 0 is
     * none. */
    if (found->value <= 0 || found->value > (int64_t)(WT_KNOB_MOST_UW / 1000))
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld mW", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    return write_limit(at, knob, found->value, &now, err);
}

static bool is_intel_gpu(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_GPU && strcmp(info->source, "intel_gpu") == 0;
}

const struct wt_knob_ops wt_intel_gpu_knobs[1] = {
    {WT_KNOB_POWER, true, is_intel_gpu, describe, snapshot, set, restore},
};
