/* amdgpu: power limit and highest clocks of AMD GPUs, through the files of their kernel driver.
 *
 * The card is the /sys/class/drm/cardN with the PCI address of the device.
 *
 * Power limit: power1_cap below the card's hwmon, in whole watts (the driver divides by a million).
 * power1_cap_min is 0 from drivers that publish none; then a tenth of the highest is the floor, for
 * below it a card throttles to where it hardly works. A card without the file has no limit: an APU,
 * whose processor's limit holds, or a virtual function.
 *
 * Clocks. power_dpm_force_performance_level is "auto" after the driver's start. A clock is set by
 * making it "manual" and allowing the levels of pp_dpm_sclk (pp_dpm_mclk for memory) up to that
 * clock, so it is the highest clock and not a fixed one. The file lists the levels and the present
 * clock, not which are allowed. Therefore:
 *
 * - found is the performance level, as a number of 0 or less (WT_CLOCK_*): automatic, "low",
 *   "high", or a profile, which by itself says everything. That is what is put back, and with it
 *   all levels of both clocks are allowed again.
 * - "manual", somebody's own choice of levels, cannot be read and could not be put back: it is
 *   described and not set. A lease that made it so may go on from there, with both clocks.
 * - the clock that was set is not read back; that the card is in "manual" is.
 *
 * A level is named by its exact clock. Cards with fine-grained clocks list the lowest, the present
 * and the highest as if those were three levels, of which the middle one moves and cannot be
 * allowed. An old card in its middle level of three looks the same. So of three levels with the
 * middle one present, the middle one is not taken.
 *
 * Source: kernel-doc of drivers/gpu/drm/amd/pm/amdgpu_pm.c (Documentation/gpu/amdgpu). */
#include <stdio.h>
#include <string.h>

#include "knob/knob.h"

#define DRM        "/sys/class/drm"
#define LEVELS_MAX 32
#define STEP_MW    1000

struct card {
    char dir[64];   /* "/sys/class/drm/card0/device" */
    char hwmon[96]; /* "/sys/class/drm/card0/device/hwmon/hwmon3", or "" */
};

/* ---- finding it ---- */

static bool is_card(const struct wt_ctx *ctx, const char *name, const char *address)
{
    char path[128], text[2048], line[64];
    unsigned number;
    int used = 0;
    if (sscanf(name, "card%u%n", &number, &used) != 1 || name[used])
        return false; /* card0-DP-1 is a connector */
    wt_text(path, sizeof(path), DRM "/%.16s/device/uevent", name);
    wt_text(line, sizeof(line), "PCI_SLOT_NAME=%s", address);
    if (wt_fs_read(ctx, path, text, sizeof(text), NULL) < 0)
        return false;
    for (char *rest = text, *word; (word = strsep(&rest, "\n"));)
        if (strcasecmp(word, line) == 0)
            return true;
    return false;
}

static void find_hwmon(const struct wt_ctx *ctx, struct card *card)
{
    char path[96], **names = NULL;
    size_t count = 0;
    wt_text(path, sizeof(path), "%s/hwmon", card->dir);
    if (wt_fs_list(ctx, path, &names, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count && !card->hwmon[0]; i++)
        if (strncmp(names[i], "hwmon", 5) == 0)
            wt_text(card->hwmon, sizeof(card->hwmon), "%.70s/%.20s", path, names[i]);
    wt_fs_list_free(names, count);
}

static int find_card(const struct wt_knob_at *at, struct card *ret_card, struct wt_error *err)
{
    char **names = NULL;
    size_t count = 0;
    struct card card = {0};
    int rc = wt_fs_list(at->ctx, DRM, &names, &count, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count && !card.dir[0]; i++)
        if (at->info->address[0] && is_card(at->ctx, names[i], at->info->address))
            wt_text(card.dir, sizeof(card.dir), DRM "/%.16s/device", names[i]);
    wt_fs_list_free(names, count);
    if (!card.dir[0])
        return wt_fail(err, WT_E_GONE, "%s: no card in " DRM " has the PCI address \"%s\"",
                       at->info->id, at->info->address);
    find_hwmon(at->ctx, &card);
    *ret_card = card;
    return 0;
}

/* ---- power ---- */

static int read_cap(const struct wt_knob_at *at, const struct card *card, const char *what,
                    int64_t *ret_mw, struct wt_error *err)
{
    char path[128];
    uint64_t uw;
    wt_text(path, sizeof(path), "%s/power1_cap%s", card->hwmon, what);
    int rc = card->hwmon[0] ? wt_fs_read_u64(at->ctx, path, &uw, err) : WT_E_NOTFOUND;
    if (rc == WT_E_NOTFOUND)
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s has no power limit (an APU shares its processor's, a virtual function "
                       "its host's)",
                       at->info->id);
    if (rc == 0 && uw > WT_KNOB_MOST_UW)
        rc = wt_fail(err, WT_E_FORMAT, "%s: %llu uW is no power limit", path,
                     (unsigned long long)uw);
    if (rc == 0)
        *ret_mw = (int64_t)(uw / 1000);
    return rc;
}

static int power_describe(const struct wt_knob_at *at, enum wt_knob knob,
                          struct wt_knob_info *ret_info, struct wt_error *err)
{
    struct card card;
    char path[128];
    struct wt_knob_info info = {.knob = knob, .step = STEP_MW};
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_cap(at, &card, "", &info.current, err);
    if (rc == 0)
        rc = read_cap(at, &card, "_max", &info.max, err);
    if (rc < 0)
        return rc;
    if (read_cap(at, &card, "_min", &info.min, NULL) < 0 || info.min == 0)
        info.min = info.max / 10;
    if (read_cap(at, &card, "_default", &info.def, NULL) < 0)
        info.def = info.max;
    if (info.min > info.max || info.max == 0)
        return wt_fail(err, WT_E_FORMAT, "%s: a power limit between %.10g and %.10g W",
                       at->info->id, wt_knob_to_user(info.min), wt_knob_to_user(info.max));
    info.enforced = info.current;
    wt_text(path, sizeof(path), "%s/power1_cap", card.hwmon);
    wt_knob_say_rights(at->ctx, path, &info);
    *ret_info = info;
    return 0;
}

static int power_snapshot(const struct wt_knob_at *at, enum wt_knob knob,
                          struct wt_knob_found *ret_found, struct wt_error *err)
{
    struct card card;
    int64_t mw;
    (void)knob;
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_cap(at, &card, "", &mw, err);
    if (rc == 0)
        *ret_found = (struct wt_knob_found){.value = mw, .is_read = true};
    return rc;
}

static int write_cap(const struct wt_knob_at *at, enum wt_knob knob, int64_t mw, int64_t *ret_now,
                     struct wt_error *err)
{
    struct card card;
    char path[128];
    int rc = find_card(at, &card, err);
    if (rc < 0)
        return rc;
    wt_text(path, sizeof(path), "%s/power1_cap", card.hwmon);
    return wt_knob_write_power(at, knob, path, mw, STEP_MW, ret_now, err);
}

static int power_set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value,
                     int64_t *ret_enforced, struct wt_error *err)
{
    struct wt_knob_info info;
    int rc = power_describe(at, knob, &info, err);
    if (rc < 0)
        return rc;
    if (!wt_knob_takes(&info, value))
        return wt_knob_fail_power_range(at, &info, value, err);
    return write_cap(at, knob, value, ret_enforced, err);
}

static int power_restore(const struct wt_knob_at *at, enum wt_knob knob,
                         const struct wt_knob_found *found, struct wt_error *err)
{
    int64_t now;
    /* A record from a journal: whatever it holds, only a sane number goes to the driver. */
    if (found->value < 0 || found->value > (int64_t)(WT_KNOB_MOST_UW / 1000))
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld mW", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    return write_cap(at, knob, found->value, &now, err);
}

/* ---- clocks ---- */

static const struct {
    const char *name;
    int64_t value;
} performance_levels[] = {
    {"auto", WT_CLOCK_FREE},
    {"low", WT_CLOCK_LOW},
    {"high", WT_CLOCK_HIGH},
    {"profile_standard", WT_CLOCK_STANDARD},
    {"profile_min_sclk", WT_CLOCK_MIN_SCLK},
    {"profile_min_mclk", WT_CLOCK_MIN_MCLK},
    {"profile_peak", WT_CLOCK_PEAK},
};

static int read_performance(const struct wt_knob_at *at, const struct card *card,
                            int64_t *ret_level, struct wt_error *err)
{
    char path[128], text[64];
    wt_text(path, sizeof(path), "%s/power_dpm_force_performance_level", card->dir);
    int rc = wt_fs_read(at->ctx, path, text, sizeof(text), err);
    if (rc == WT_E_NOTFOUND)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s has no performance levels", at->info->id);
    if (rc < 0)
        return rc;
    /* "manual", and what else there may be that one word does not say all of. */
    *ret_level = WT_CLOCK_MANUAL;
    for (size_t i = 0; i < WT_COUNTOF(performance_levels); i++)
        if (strcmp(text, performance_levels[i].name) == 0)
            *ret_level = performance_levels[i].value;
    return 0;
}

static int write_performance(const struct wt_knob_at *at, const struct card *card, int64_t level,
                             struct wt_error *err)
{
    char path[128];
    const char *name = "manual";
    int64_t now = 0;
    for (size_t i = 0; i < WT_COUNTOF(performance_levels); i++)
        if (performance_levels[i].value == level)
            name = performance_levels[i].name;
    wt_text(path, sizeof(path), "%s/power_dpm_force_performance_level", card->dir);
    int rc = wt_knob_write(at->ctx, path, name, err);
    if (rc == 0)
        rc = read_performance(at, card, &now, err);
    if (rc == 0 && now != level)
        rc = wt_fail(err, WT_E_STATE, "%s: the performance level \"%s\" did not take", at->info->id,
                     name);
    return rc;
}

struct levels {
    int64_t khz[LEVELS_MAX];
    unsigned number[LEVELS_MAX]; /* as the file counts them */
    size_t count;
};

static void levels_path(const struct card *card, enum wt_knob knob, char *buf, size_t size)
{
    wt_text(buf, size, "%s/pp_dpm_%s", card->dir, knob == WT_KNOB_CLOCK ? "sclk" : "mclk");
}

/* "1: 800Mhz *": a level, and whether it is the present one. */
static bool parse_level(const char *line, unsigned *ret_number, int64_t *ret_khz,
                        bool *ret_is_present)
{
    unsigned number, mhz;
    int used = 0;
    if (sscanf(line, "%u: %u%n", &number, &mhz, &used) != 2 || number >= LEVELS_MAX ||
        mhz > 100000 || strncasecmp(line + used, "mhz", 3) != 0)
        return false; /* "S: 19Mhz *" is a sleeping card */
    *ret_number = number;
    *ret_khz = mhz * INT64_C(1000);
    *ret_is_present = strchr(line + used, '*') != NULL;
    return true;
}

static int read_levels(const struct wt_knob_at *at, const struct card *card, enum wt_knob knob,
                       struct levels *ret_levels, struct wt_error *err)
{
    char path[128], text[4096];
    struct levels l = {0};
    bool is_middle = false;
    levels_path(card, knob, path, sizeof(path));
    int rc = wt_fs_read(at->ctx, path, text, sizeof(text), err);
    if (rc == WT_E_NOTFOUND)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s has no %s levels", at->info->id,
                       wt_knob_name(knob));
    if (rc < 0)
        return rc;
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        bool is_present;
        if (l.count == LEVELS_MAX ||
            !parse_level(line, &l.number[l.count], &l.khz[l.count], &is_present))
            continue;
        is_middle |= is_present && l.count == 1;
        l.count++;
    }
    if (l.count == 3 && is_middle) { /* see the head of this file */
        l.khz[1] = l.khz[2];
        l.number[1] = l.number[2];
        l.count = 2;
    }
    for (size_t i = 1; i < l.count; i++)
        if (l.khz[i] < l.khz[i - 1])
            return wt_fail(err, WT_E_FORMAT, "%s: its clocks do not rise", path);
    if (!l.count)
        return wt_fail(err, WT_E_UNSUPPORTED, "%s lists no %s levels", at->info->id,
                       wt_knob_name(knob));
    *ret_levels = l;
    return 0;
}

static int clock_describe(const struct wt_knob_at *at, enum wt_knob knob,
                          struct wt_knob_info *ret_info, struct wt_error *err)
{
    struct card card;
    struct levels l;
    int64_t level;
    char path[128];
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_performance(at, &card, &level, err);
    if (rc == 0)
        rc = read_levels(at, &card, knob, &l, err);
    if (rc < 0)
        return rc;
    struct wt_knob_info info = {.knob = knob, .is_lockable = true};
    info.min = l.khz[0];
    info.max = l.khz[l.count - 1];
    info.current = info.enforced = level;
    for (size_t i = 1; i < l.count; i++) {
        int64_t gap = l.khz[i] - l.khz[i - 1];
        if (gap && (!info.step || gap < info.step))
            info.step = gap;
    }
    info.step = info.step ? info.step : 1000;
    levels_path(&card, knob, path, sizeof(path));
    wt_knob_say_rights(at->ctx, path, &info);
    if (info.is_settable && level == WT_CLOCK_MANUAL) {
        info.is_settable = false;
        info.is_lost = true;
        wt_text(info.why_not, sizeof(info.why_not),
                "somebody allowed some clock levels by hand, which cannot be read and so not be "
                "put back");
        wt_text(info.fix, sizeof(info.fix),
                "echo auto | sudo tee %s/power_dpm_force_performance_level", card.dir);
    }
    *ret_info = info;
    return 0;
}

static int clock_snapshot(const struct wt_knob_at *at, enum wt_knob knob,
                          struct wt_knob_found *ret_found, struct wt_error *err)
{
    struct card card;
    int64_t level;
    (void)knob;
    int rc = find_card(at, &card, err);
    if (rc == 0)
        rc = read_performance(at, &card, &level, err);
    if (rc == 0)
        *ret_found = (struct wt_knob_found){.value = level, .is_read = false};
    return rc;
}

static int fail_no_level(const struct wt_knob_at *at, enum wt_knob knob, const struct levels *l,
                         int64_t value, struct wt_error *err)
{
    char list[200] = "";
    int rc = wt_fail(err, WT_E_RANGE, "%s: there is no %s of %.10g MHz", at->info->id,
                     wt_knob_name(knob), wt_knob_to_user(value));
    for (size_t i = 0; i < l->count; i++) {
        size_t used = strlen(list);
        wt_text(list + used, sizeof(list) - used, "%s%.10g", used ? ", " : "",
                wt_knob_to_user(l->khz[i]));
    }
    wt_fix(err, "its levels are %s MHz", list);
    return rc;
}

static int clock_set(const struct wt_knob_at *at, enum wt_knob knob, int64_t value,
                     int64_t *ret_enforced, struct wt_error *err)
{
    struct card card;
    struct levels l;
    char path[128], allowed[128] = "";
    int rc = find_card(at, &card, err);
    if (rc < 0)
        return rc;
    *ret_enforced = value;
    if (value == 0)
        return write_performance(at, &card, WT_CLOCK_FREE, err);
    rc = read_levels(at, &card, knob, &l, err);
    if (rc < 0)
        return rc;
    bool is_level = false;
    for (size_t i = 0; i < l.count && l.khz[i] <= value; i++) {
        size_t used = strlen(allowed);
        wt_text(allowed + used, sizeof(allowed) - used, "%s%u", used ? " " : "", l.number[i]);
        is_level |= l.khz[i] == value;
    }
    if (!is_level)
        return fail_no_level(at, knob, &l, value, err);
    /* The levels first would be refused: they count in "manual" only. */
    int64_t before = WT_CLOCK_MANUAL;
    rc = read_performance(at, &card, &before, err);
    if (rc == 0)
        rc = write_performance(at, &card, WT_CLOCK_MANUAL, err);
    if (rc < 0)
        return rc;
    levels_path(&card, knob, path, sizeof(path));
    rc = wt_knob_write(at->ctx, path, allowed, err);
    /* A refusal must leave nothing behind: the caller takes it for one. */
    struct wt_error why;
    if (rc < 0 && before != WT_CLOCK_MANUAL && write_performance(at, &card, before, &why) < 0)
        return wt_fail(err, WT_E_STATE, "%s: its levels were refused, and %s", at->info->id,
                       why.text);
    return rc;
}

static int clock_restore(const struct wt_knob_at *at, enum wt_knob knob,
                         const struct wt_knob_found *found, struct wt_error *err)
{
    struct card card;
    if (found->value > WT_CLOCK_FREE || found->value <= WT_CLOCK_MANUAL)
        return wt_fail(err, WT_E_RANGE, "%s: %s cannot have been %lld", at->info->id,
                       wt_knob_name(knob), (long long)found->value);
    int rc = find_card(at, &card, err);
    return rc < 0 ? rc : write_performance(at, &card, found->value, err);
}

static bool has(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_GPU && strcmp(info->source, "amdgpu") == 0;
}

const struct wt_knob_ops wt_amdgpu_knobs[3] = {
    {WT_KNOB_POWER, true, has, power_describe, power_snapshot, power_set, power_restore},
    {WT_KNOB_CLOCK, true, has, clock_describe, clock_snapshot, clock_set, clock_restore},
    {WT_KNOB_MEMCLOCK, true, has, clock_describe, clock_snapshot, clock_set, clock_restore},
};
