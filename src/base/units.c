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

static const struct {
    const char *name, *unit;
} knobs[WT_KNOB_COUNT] = {
    [WT_KNOB_POWER] = {"power", "W"},         [WT_KNOB_CLOCK] = {"clock", "MHz"},
    [WT_KNOB_MEMCLOCK] = {"memclock", "MHz"}, [WT_KNOB_CPU_POWER] = {"cpu-power", "W"},
    [WT_KNOB_CPU_FREQ] = {"cpu-freq", "MHz"},
};

const char *wt_knob_name(enum wt_knob knob)
{
    return (size_t)knob < WT_COUNTOF(knobs) ? knobs[knob].name : NULL;
}

const char *wt_knob_unit(enum wt_knob knob)
{
    return (size_t)knob < WT_COUNTOF(knobs) ? knobs[knob].unit : NULL;
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
