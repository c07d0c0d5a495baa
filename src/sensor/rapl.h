/* rapl: the three ways to one set of counters, and what they share.
 *
 * perf events, powercap files and model-specific registers show the same registers of a processor.
 * rapl.c knows which domains there are and takes for each the first way that works; rapl_perf.c and
 * rapl_msr.c find what their way offers and read it. Powercap needs no file of its own: it is a
 * gauge.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_RAPL_H
#define WT_SENSOR_RAPL_H

#include "sensor/gauge.h"
#include "sensor/machine.h"

enum wt_rapl_kind {
    WT_RAPL_PACKAGE,
    WT_RAPL_CORE,
    WT_RAPL_UNCORE,
    WT_RAPL_DRAM,
    WT_RAPL_PSYS,
    WT_RAPL_KIND_COUNT
};

/* One counter that a way offers. */
struct wt_rapl_offer {
    enum wt_rapl_kind kind;
    unsigned package;
    int die;      /* -1: the package is not divided */
    unsigned cpu; /* the logical processor to ask */
    uint32_t type;
    uint64_t config; /* perf's event, or the register */
    struct wt_gauge_scale scale;
    uint64_t count_range; /* the counter starts anew there; 0: 2^64 */
};

#define WT_RAPL_OFFERS_MAX 512

struct wt_rapl_offers {
    struct wt_rapl_offer list[WT_RAPL_OFFERS_MAX];
    size_t count;
};

/* The logical processors to ask: the first of each package, or of each die where dies have counters
 * of their own (Intel). Dies are only told apart (die >= 0) where a package has several. */
struct wt_rapl_place {
    unsigned package, cpu;
    int die;
};
#define WT_RAPL_PLACES_MAX 128
struct wt_rapl_places {
    struct wt_rapl_place list[WT_RAPL_PLACES_MAX];
    size_t count;
};
void wt_rapl_places_add(struct wt_rapl_places *places, const struct wt_ctx *ctx, bool is_amd,
                        unsigned cpu);
void wt_rapl_places_end(struct wt_rapl_places *places);

/* The step of this counter in uJ where it is the model's and not the unit register's; else 0. */
double wt_rapl_fixed_step_uj(const struct wt_machine *machine, enum wt_rapl_kind kind);

/* ---- rapl_perf.c ---- */

/* The kernel's part in it. Each answers 0 (open: a handle) or -errno. */
struct wt_perf_ops {
    void *data;
    int (*open)(void *data, uint32_t type, uint64_t config, unsigned cpu);
    int (*read)(void *data, int handle, uint64_t *ret_count);
    void (*close)(void *data, int handle);
};

/* What the kernel's "power" events offer. Errors: WT_E_NOTFOUND (no such events, or another
 * machine's files), WT_E_DENIED, WT_E_FORMAT, WT_E_IO. */
int wt_rapl_perf_find(const struct wt_ctx *ctx, const struct wt_machine *machine,
                      struct wt_rapl_offers *offers, struct wt_error *err);
struct wt_rapl_event;
/* Opens one. Owned: wt_rapl_event_free. Errors: WT_E_DENIED (with what helps), WT_E_UNSUPPORTED,
 * WT_E_IO, WT_E_NOMEM. */
int wt_rapl_event_open(struct wt_rapl_event **ret_event, const struct wt_ctx *ctx,
                       const struct wt_machine *machine, const struct wt_rapl_offer *offer,
                       struct wt_error *err);
void wt_rapl_event_free(struct wt_rapl_event *event);
/* A wt_gauge_counter; counter_data is the event. */
int wt_rapl_event_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                     struct wt_error *err);

/* ---- rapl_msr.c ---- */

/* Reads a register on a logical processor: 0 or -errno. */
struct wt_msr_ops {
    void *data;
    int (*read)(void *data, unsigned cpu, uint32_t reg, uint64_t *ret_value);
};

/* What the registers offer: those that can be read and have counted something. Errors:
 * WT_E_NOTFOUND (no module), WT_E_DENIED (with what helps), WT_E_UNSUPPORTED (a processor whose
 * registers are not known here), WT_E_IO. */
int wt_rapl_msr_find(const struct wt_ctx *ctx, const struct wt_machine *machine,
                     struct wt_rapl_offers *offers, struct wt_error *err);
/* A wt_gauge_counter; counter_data is the offer, which stays where it is. */
int wt_rapl_msr_uj(const struct wt_ctx *ctx, const struct wt_gauge *gauge, uint64_t *ret_uj,
                   struct wt_error *err);

#endif
