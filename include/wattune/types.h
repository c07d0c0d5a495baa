/* What travels along a joule's way: readings with a state, energies with provenance and bound. */
#ifndef WATTUNE_TYPES_H
#define WATTUNE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wattune/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* State of one reading. Zero is a value; "could not be read" is a state. */
enum wt_state {
    WT_ABSENT = 0, /* not there, or could not be read: the number beside it means nothing */
    WT_LIVE,
    WT_STALE,
    WT_MODELED,
    WT_EMULATED,
    WT_REPLAYED,
};

/* Where a result comes from, weakest first. A sum has the weakest provenance of its parts.
 * Emulated joules are never added to real ones (WT_E_MIXED). */
enum wt_provenance {
    WT_PROV_UNKNOWN = 0, /* could not be read; never shown as 0 */
    WT_PROV_EMULATED,    /* from the built-in device emulator */
    WT_PROV_REPLAYED,    /* from a recorded trace */
    WT_PROV_MODELED,     /* estimated without a sensor */
    WT_PROV_SAMPLED,     /* integral of power samples */
    WT_PROV_COUNTER,     /* difference of a hardware energy counter */
};

/* "counter", "sampled", ... as in the JSON. Never NULL. Threads: any thread. */
WT_API const char *wt_provenance_name(enum wt_provenance p);
/* The inverse; WT_PROV_UNKNOWN for a word that is none. */
WT_API enum wt_provenance wt_provenance_from_name(const char *name);

/* One reading of a cumulative energy counter. */
struct wt_energy {
    uint64_t uj;
    int64_t t_ns; /* wt_clock: CLOCK_MONOTONIC */
    enum wt_state state;
};

/* One reading of power. */
struct wt_power {
    uint64_t mw;
    int64_t t_ns;
    enum wt_state state;
};

/* A result: joules with a two-sided bound. low_j <= energy_j <= high_j unless unknown. */
struct wt_joules {
    double energy_j, low_j, high_j;
    enum wt_provenance provenance;
};

/* Sum with provenance of the weakest part; bounds add (the parts' errors may be the same error).
 * An unknown part makes the sum unknown. Adding emulated to real sets *ret to unknown and returns
 * WT_E_MIXED. Threads: any thread. */
WT_API int wt_joules_add(struct wt_joules *ret_sum, const struct wt_joules *a,
                         const struct wt_joules *b);

/* A mean with a two-sided 95 % interval. */
struct wt_estimate {
    double value, low, high;
};

enum wt_device_kind { WT_DEVICE_GPU, WT_DEVICE_CPU, WT_DEVICE_DRAM, WT_DEVICE_NODE };
WT_API const char *wt_device_kind_name(enum wt_device_kind kind);

/* Settings, by the names of --set. Across a privilege line only the id and an integer travel. The
 * numbers are in journals on disk and never change. */
enum wt_knob {
    WT_KNOB_POWER = 1,      /* "power": GPU power limit, mW */
    WT_KNOB_CLOCK = 2,      /* "clock": locked or highest GPU clock, kHz; 0: neither */
    WT_KNOB_MEMCLOCK = 3,   /* "memclock": the same of GPU memory, kHz */
    WT_KNOB_CPU_POWER = 4,  /* "cpu-power": package power limit, mW */
    WT_KNOB_CPU_FREQ = 5,   /* "cpu-freq": maximum core frequency, kHz */
    WT_KNOB_DRAM_POWER = 6, /* "dram-power": memory power limit, mW */
    WT_KNOB_GOVERNOR = 7,   /* "governor": enum wt_governor */
    WT_KNOB_EPP = 8,        /* "epp": enum wt_epp */
};
#define WT_KNOB_COUNT 9 /* one past the last id */

/* Values that are names, "performance" and so on. The numbers are in journals, too. */
enum wt_governor {
    WT_GOVERNOR_PERFORMANCE = 1,
    WT_GOVERNOR_POWERSAVE = 2,
    WT_GOVERNOR_SCHEDUTIL = 3,
    WT_GOVERNOR_ONDEMAND = 4,
    WT_GOVERNOR_CONSERVATIVE = 5,
    WT_GOVERNOR_USERSPACE = 6,
};
enum wt_epp {
    WT_EPP_PERFORMANCE = 1,
    WT_EPP_BALANCE_PERFORMANCE = 2,
    WT_EPP_DEFAULT = 3,
    WT_EPP_BALANCE_POWER = 4,
    WT_EPP_POWER = 5,
    WT_EPP_RAW = 1000, /* to 1255: the processor's own scale, 0 fastest to 255 thriftiest */
};

/* "power", ...; NULL for an id that is none. */
WT_API const char *wt_knob_name(enum wt_knob knob);
/* The unit a user types and reads: "W" or "MHz"; "" of a knob whose values are names. */
WT_API const char *wt_knob_unit(enum wt_knob knob);
/* The kind of device that has it. */
WT_API enum wt_device_kind wt_knob_kind(enum wt_knob knob);
/* Whether its values are names. */
WT_API bool wt_knob_is_named(enum wt_knob knob);
/* 0 or WT_E_NOTFOUND. */
WT_API int wt_knob_from_name(const char *name, enum wt_knob *ret_knob);
/* Typed units to the pipeline's integers and back: 150 W is 150000 mW, 1380 MHz is 1380000 kHz. Of
 * knobs with a unit only. */
WT_API double wt_knob_to_user(int64_t value);
WT_API int64_t wt_knob_from_user(double value);

/* A value in words: "150 W", "performance", "not locked". Returns buf. Threads: any thread. */
WT_API const char *wt_knob_value_text(char *buf, size_t size, enum wt_knob knob, int64_t value);
/* The same as it is typed: "150", "performance". Returns buf. */
WT_API const char *wt_knob_value_typed(char *buf, size_t size, enum wt_knob knob, int64_t value);
/* And back. Of a knob with a unit a decimal number in it; of names one of the names, and of "epp" a
 * whole number from 0 to 255 as well. Says nothing about what a device takes. Errors:
 * WT_E_FORMAT. */
WT_API int wt_knob_value_parse(enum wt_knob knob, const char *text, int64_t *ret_value);
/* The names that a knob knows, in the order of their numbers: name 1, 2, ...; NULL past the end and
 * of a knob without names. */
WT_API const char *wt_knob_value_name(enum wt_knob knob, int64_t value);

#ifdef __cplusplus
}
#endif
#endif
