/* gauge: devices that are read from files, whatever the files belong to.
 *
 * Most sources of a node are the same thing: a file with a number and a unit. Such a source finds
 * its files, says of each what it means, and leaves reading, unwrapping and checking to this. What
 * is no file (perf, MSR, a BMC, a sum of files) comes in by a function of its own.
 *
 * The counter wraps at its range. The reader adds the range once for each fall, and only when the
 * energy this implies could have been drawn since the last good reading; any other fall is a reset
 * (suspend, a reloaded module) and is passed on as it is, for the window to see. A failed read
 * changes nothing.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_GAUGE_H
#define WT_SENSOR_GAUGE_H

#include <pthread.h>

#include "sensor/sensor.h"

/* A file's number times mul over div is what is wanted, in the unit of the field it is for. */
struct wt_gauge_file {
    char path[176];    /* absolute, below the sysroot; "": there is none */
    uint32_t mul, div; /* 0: 1 */
    /* The number may be followed by a blank and anything ("212 W 1697200 us" of Cray). */
    bool has_tail;
    int keep; /* the reader's own: it stays open */
};

#define WT_GAUGE_STATUS_MAX 8

/* What one count of a counter is, in uJ, times 2^shift: exact for every power of two of a joule,
 * and else to 1 in 10^15. */
struct wt_gauge_scale {
    uint64_t mul;
    unsigned shift;
};
/* Errors: WT_E_FORMAT (no scale of an energy counter: not positive, or out of all proportion). */
int wt_gauge_scale_from(double uj, struct wt_gauge_scale *ret_scale);
/* Rounded down; UINT64_MAX where it does not fit. Takes counts up to 2^64. */
uint64_t wt_gauge_scaled_uj(unsigned __int128 count, const struct wt_gauge_scale *scale);

struct wt_gauge;

/* The number of a gauge that is no file: uJ before unwrapping, or mW. */
typedef int (*wt_gauge_counter)(const struct wt_ctx *ctx, const struct wt_gauge *gauge,
                                uint64_t *ret_value, struct wt_error *err);

/* What is given to wt_gauges_add; the gauge keeps a copy. */
struct wt_gauge {
    struct wt_gauge_file energy; /* uJ, cumulative */
    wt_gauge_counter counter;    /* instead of energy; NULL: there is none */
    wt_gauge_counter wattage;    /* instead of power; NULL: there is none */
    void *counter_data;          /* for both; the source frees it */
    unsigned counter_index;      /* likewise */
    uint64_t range_uj;           /* the counter starts anew there; 0: unknown, no fall is a wrap */
    struct wt_gauge_file power;  /* mW; a number below 0 counts as 0 */
    struct wt_gauge_file times;  /* multiplies power (volt and ampere are two files) */
    uint64_t power_max_mw;       /* more is no reading; 0: 20 kW */
    struct wt_gauge_file freshness; /* moves with each renewal: a reading counts only when it is the
                                       same before and after, and tried again twice when not */
    struct {
        unsigned bit; /* one WT_HAS_* of temp, clock, memclock, util, mem (used; the total is a
                         file of its own), limit (0: there is none) */
        struct wt_gauge_file file; /* mC, kHz, kHz, ppm, bytes, mW */
    } status[WT_GAUGE_STATUS_MAX];
    struct wt_gauge_file mem_total; /* bytes, with WT_HAS_MEM */

    /* The reader's own: */
    pthread_mutex_t lock;
    bool has_last;
    uint64_t last_uj, added_uj; /* last raw reading; sum of the ranges added */
    int64_t last_ns;
};

/* A source made of gauges; ops->read is wt_gauges_read and ops->close wt_gauges_close, or calls
 * them. */
struct wt_gauges {
    struct wt_source source; /* first */
    const struct wt_ctx *ctx;
    struct wt_gauge **list; /* owned; as many as source.devices; each stays where it is */
    enum wt_state state;    /* of every reading */
    void (*free_data)(struct wt_gauges *gauges); /* frees what the source added; may be NULL */
    void *data;
};

/* Errors: WT_E_NOMEM. */
int wt_gauges_new(struct wt_gauges **ret_gauges, struct wt_ctx *ctx,
                  const struct wt_source_ops *ops, struct wt_error *err);
/* Adds a device, reads it once, and keeps it when that works: *ret_added (may be NULL). What does
 * not work goes to notes as what cannot be read there ("energy counter", "power"), with fix (may be
 * NULL) where permission is missing; a device of which one of two can be read stays, with info->can
 * as far as that, and so does a part that has a status and nothing else. info->can and source are
 * filled here, and energy_range_uj where it is 0: a counter that somebody else unwraps has a range
 * to be read within and none here. Errors: WT_E_NOMEM. */
int wt_gauges_add(struct wt_gauges *gauges, const struct wt_device_info *info,
                  const struct wt_gauge *gauge, const char *fix_denied, bool *ret_added,
                  struct wt_findings *notes);
int wt_gauges_read(struct wt_source *source, size_t k, unsigned what,
                   struct wt_reading *ret_reading, struct wt_error *err);
void wt_gauges_close(struct wt_source *source);

/* One file's number, scaled. Errors: as wt_fs_read_i64; WT_E_FORMAT (negative, or too large). */
int wt_gauge_file_read(const struct wt_ctx *ctx, struct wt_gauge_file *file, uint64_t *ret_value,
                       struct wt_error *err);

#endif
