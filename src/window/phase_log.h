/* phase_log: from marks and counter moves to the equations of phases.h, as a run goes.
 *
 * Marks become spans that never overlap (the innermost phase has the time). Counter moves are
 * placed: a counter ticks on a lattice, each move is known to lie between two reads, and the
 * lattice that goes through all of these is known far better than any one of them. Then each tick
 * becomes one row - its length, its energy, the seconds of each phase in it - and the spans are
 * forgotten, so that memory does not grow with the run. Many rows are solved in blocks, whose
 * energies add up.
 *
 * Pure: no clock, no lock, no meter. Internal to the library. */
#ifndef WT_WINDOW_PHASE_LOG_H
#define WT_WINDOW_PHASE_LOG_H

#include "wattune/phases.h"
#include "window/meter.h"
#include "window/phases.h"

struct wt_phase_log;

struct wt_phase_log_options {
    size_t rows; /* a block of equations; 0: 8192 */
};

/* infos are borrowed until free. Errors: WT_E_NOMEM. */
int wt_phase_log_new(struct wt_phase_log **ret_log, const struct wt_device_info *const *infos,
                     size_t count, const struct wt_phase_log_options *options,
                     struct wt_error *err);
void wt_phase_log_free(struct wt_phase_log *log);
void wt_phase_log_mark(struct wt_phase_log *log, const struct wt_mark *mark);
/* All marks before now_ns are in. */
void wt_phase_log_known(struct wt_phase_log *log, int64_t now_ns);
/* When the first phase began; INT64_MAX: none has. */
int64_t wt_phase_log_first_ns(const struct wt_phase_log *log);
/* Moves of a device's counter, in order. */
void wt_phase_log_tick(struct wt_phase_log *log, size_t device, const struct wt_meter_tick *tick);
/* The device was held at its power limit: its clock, and so the power of a phase, then depends on
 * what ran before it, which these equations do not know. Bounds are widened by what the benchmark
 * bench/phases shows it to do. */
void wt_phase_log_capped(struct wt_phase_log *log, size_t device);
/* As wt_phases_result. */
int wt_phase_log_result(struct wt_phase_log *log, struct wt_phases_result *ret_result,
                        struct wt_error *err);

int wt_phase_log_counts(const struct wt_phase_log *log, struct wt_phases_result *ret_result,
                        struct wt_error *err);

/* Places moves on lattices, as few as will do: ret_ns[i] for each tick, and ret_half_ns[i] how well
 * it is known. period_ns 0: there is no lattice. Times never run backwards. */
void wt_phase_log_place(const struct wt_meter_tick *ticks, size_t count, int64_t period_ns,
                        int64_t *ret_ns, int64_t *ret_half_ns);

#endif
