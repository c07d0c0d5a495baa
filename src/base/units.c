/* units: conversions named for their result, and the words for enums that users read. */
#include <math.h>
#include <string.h>

#include "base/base.h"

/* mW times ns is pJ, and 64 bits of pJ run out at 18.4 MJ: under an hour of an 8 x 700 W node.
 * The product is taken in 128 bits and only the result narrows. */
uint64_t wt_energy_uj_from(uint64_t power_mw, uint64_t span_ns)
{
    unsigned __int128 uj = (unsigned __int128)power_mw * span_ns / 1000000u;
    return uj > UINT64_MAX ? UINT64_MAX : (uint64_t)uj;
}

static const char *const provenance_names[] = {
    [WT_PROV_UNKNOWN] = "unknown", [WT_PROV_EMULATED] = "emulated", [WT_PROV_REPLAYED] = "replayed",
    [WT_PROV_MODELED] = "modeled", [WT_PROV_SAMPLED] = "sampled",   [WT_PROV_COUNTER] = "counter",
};

const char *wt_provenance_name(enum wt_provenance p)
{
    if ((size_t)p >= WT_COUNTOF(provenance_names))
        return provenance_names[WT_PROV_UNKNOWN];
    return provenance_names[p];
}

enum wt_provenance wt_provenance_from_name(const char *name)
{
    for (size_t i = 0; i < WT_COUNTOF(provenance_names); i++)
        if (strcmp(name, provenance_names[i]) == 0)
            return (enum wt_provenance)i;
    return WT_PROV_UNKNOWN;
}

int wt_joules_add(struct wt_joules *ret_sum, const struct wt_joules *a, const struct wt_joules *b)
{
    const struct wt_joules unknown = {NAN, NAN, NAN, WT_PROV_UNKNOWN};
    if (a->provenance == WT_PROV_UNKNOWN || b->provenance == WT_PROV_UNKNOWN) {
        *ret_sum = unknown;
        return 0;
    }
    if ((a->provenance == WT_PROV_EMULATED) != (b->provenance == WT_PROV_EMULATED)) {
        *ret_sum = unknown;
        return WT_E_MIXED;
    }
    *ret_sum = (struct wt_joules){
        .energy_j = a->energy_j + b->energy_j,
        .low_j = a->low_j + b->low_j,
        .high_j = a->high_j + b->high_j,
        .provenance = a->provenance < b->provenance ? a->provenance : b->provenance,
    };
    return 0;
}

const char *wt_device_kind_name(enum wt_device_kind kind)
{
    switch (kind) {
    case WT_DEVICE_GPU:
        return "gpu";
    case WT_DEVICE_CPU:
        return "cpu";
    case WT_DEVICE_DRAM:
        return "dram";
    case WT_DEVICE_NODE:
        return "node";
    }
    return "unknown";
}

static const char *const governors[] = {
    [WT_GOVERNOR_PERFORMANCE] = "performance",   [WT_GOVERNOR_POWERSAVE] = "powersave",
    [WT_GOVERNOR_SCHEDUTIL] = "schedutil",       [WT_GOVERNOR_ONDEMAND] = "ondemand",
    [WT_GOVERNOR_CONSERVATIVE] = "conservative", [WT_GOVERNOR_USERSPACE] = "userspace",
};

static const char *const preferences[] = {
    [WT_EPP_PERFORMANCE] = "performance",
    [WT_EPP_BALANCE_PERFORMANCE] = "balance_performance",
    [WT_EPP_DEFAULT] = "default",
    [WT_EPP_BALANCE_POWER] = "balance_power",
    [WT_EPP_POWER] = "power",
};

/* A clock of 0 and below: what a GPU may be found at instead of a clock that was chosen. The names
 * but for the first are amdgpu's performance levels. */
static const char *const levels[] = {
    [-WT_CLOCK_FREE] = "not locked",
    [-WT_CLOCK_LOW] = "low",
    [-WT_CLOCK_HIGH] = "high",
    [-WT_CLOCK_STANDARD] = "profile_standard",
    [-WT_CLOCK_MIN_SCLK] = "profile_min_sclk",
    [-WT_CLOCK_MIN_MCLK] = "profile_min_mclk",
    [-WT_CLOCK_PEAK] = "profile_peak",
    [-WT_CLOCK_MANUAL] = "manual",
};

static const struct {
    const char *name, *unit;
    enum wt_device_kind kind;
    const char *const *values; /* names, by value */
    size_t count;
    bool has_levels;
} knobs[WT_KNOB_COUNT] = {
    [WT_KNOB_POWER] = {"power", "W", WT_DEVICE_GPU, NULL, 0, false},
    [WT_KNOB_CLOCK] = {"clock", "MHz", WT_DEVICE_GPU, NULL, 0, true},
    [WT_KNOB_MEMCLOCK] = {"memclock", "MHz", WT_DEVICE_GPU, NULL, 0, true},
    [WT_KNOB_CPU_POWER] = {"cpu-power", "W", WT_DEVICE_CPU, NULL, 0, false},
    [WT_KNOB_CPU_FREQ] = {"cpu-freq", "MHz", WT_DEVICE_CPU, NULL, 0, false},
    [WT_KNOB_DRAM_POWER] = {"dram-power", "W", WT_DEVICE_DRAM, NULL, 0, false},
    [WT_KNOB_GOVERNOR] = {"governor", "", WT_DEVICE_CPU, governors, WT_COUNTOF(governors), false},
    [WT_KNOB_EPP] = {"epp", "", WT_DEVICE_CPU, preferences, WT_COUNTOF(preferences), false},
};

static bool is_knob(enum wt_knob knob)
{
    return (int)knob > 0 && (size_t)knob < WT_COUNTOF(knobs);
}

const char *wt_knob_name(enum wt_knob knob)
{
    return is_knob(knob) ? knobs[knob].name : NULL;
}

const char *wt_knob_unit(enum wt_knob knob)
{
    return is_knob(knob) ? knobs[knob].unit : NULL;
}

enum wt_device_kind wt_knob_kind(enum wt_knob knob)
{
    return is_knob(knob) ? knobs[knob].kind : WT_DEVICE_NODE;
}

bool wt_knob_is_named(enum wt_knob knob)
{
    return is_knob(knob) && knobs[knob].values;
}

int wt_knob_from_name(const char *name, enum wt_knob *ret_knob)
{
    for (size_t i = 1; i < WT_COUNTOF(knobs); i++)
        if (strcmp(name, knobs[i].name) == 0) {
            *ret_knob = (enum wt_knob)i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

double wt_knob_to_user(int64_t value)
{
    return (double)value / 1000.0;
}

int64_t wt_knob_from_user(double value)
{
    return (int64_t)llround(value * 1000.0);
}

const char *wt_knob_value_name(enum wt_knob knob, int64_t value)
{
    return wt_knob_is_named(knob) && value > 0 && (uint64_t)value < knobs[knob].count
               ? knobs[knob].values[value]
               : NULL;
}

/* What is no number with a unit; NULL when it is one. */
static const char *word_of(enum wt_knob knob, int64_t value, char *buf, size_t size)
{
    if (is_knob(knob) && knobs[knob].has_levels && value <= 0 &&
        value > -(int64_t)WT_COUNTOF(levels))
        return levels[-value];
    if (!wt_knob_is_named(knob))
        return NULL;
    const char *name = wt_knob_value_name(knob, value);
    if (name)
        return name;
    if (knob == WT_KNOB_EPP && value >= WT_EPP_RAW && value <= WT_EPP_RAW + 255)
        return wt_text(buf, size, "%d", (int)(value - WT_EPP_RAW));
    return "unknown";
}

const char *wt_knob_value_text(char *buf, size_t size, enum wt_knob knob, int64_t value)
{
    char number[16];
    const char *word = word_of(knob, value, number, sizeof(number));
    if (word)
        return wt_text(buf, size, "%s", word);
    return wt_text(buf, size, "%.10g %s", wt_knob_to_user(value),
                   is_knob(knob) ? knobs[knob].unit : "");
}

const char *wt_knob_value_typed(char *buf, size_t size, enum wt_knob knob, int64_t value)
{
    char number[16];
    const char *word = value ? word_of(knob, value, number, sizeof(number)) : NULL;
    if (word)
        return wt_text(buf, size, "%s", word);
    return wt_text(buf, size, "%.10g", wt_knob_to_user(value));
}

int wt_knob_value_parse(enum wt_knob knob, const char *text, int64_t *ret_value)
{
    double number;
    uint64_t raw;
    if (!is_knob(knob))
        return WT_E_FORMAT;
    for (size_t i = 1; i < knobs[knob].count; i++)
        if (strcmp(text, knobs[knob].values[i]) == 0) {
            *ret_value = (int64_t)i;
            return 0;
        }
    for (size_t i = 0; knobs[knob].has_levels && i < WT_COUNTOF(levels); i++)
        if (strcmp(text, levels[i]) == 0) {
            *ret_value = -(int64_t)i;
            return 0;
        }
    if (knob == WT_KNOB_EPP && wt_text_to_u64(text, &raw) == 0 && raw <= 255) {
        *ret_value = WT_EPP_RAW + (int64_t)raw;
        return 0;
    }
    if (wt_knob_is_named(knob) || strspn(text, "0123456789.") != strlen(text) ||
        wt_text_to_double(text, &number) < 0 || !(number < 1e12))
        return WT_E_FORMAT;
    *ret_value = wt_knob_from_user(number);
    return 0;
}

/* Linux shows a raw preference by its name where it has one, and "default" by the name of what that
 * was. Which number a name stands for differs by model, but for both ends of the scale. */
static bool may_show_as(int64_t set, int64_t read)
{
    if (set == WT_EPP_DEFAULT)
        return true;
    if (set < WT_EPP_RAW)
        return false;
    int64_t raw = set - WT_EPP_RAW;
    if (read == WT_EPP_PERFORMANCE)
        return raw == 0;
    if (read == WT_EPP_POWER)
        return raw == 255;
    return (read == WT_EPP_BALANCE_PERFORMANCE || read == WT_EPP_BALANCE_POWER) && raw > 0 &&
           raw < 255;
}

bool wt_knob_reads_as(enum wt_knob knob, int64_t set, int64_t read, int64_t step)
{
    uint64_t gap = set > read ? (uint64_t)set - (uint64_t)read : (uint64_t)read - (uint64_t)set;
    if (gap < (uint64_t)(step > 1 ? step : 1))
        return true;
    return knob == WT_KNOB_EPP && may_show_as(set, read);
}
