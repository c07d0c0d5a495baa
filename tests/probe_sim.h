/* A recording of a device model in virtual time: what the probe would see, in milliseconds. Shared
 * by the tests and the bench, which hold what is found against the profile. */
#ifndef WT_TESTS_PROBE_SIM_H
#define WT_TESTS_PROBE_SIM_H

#include "emulator/model.h"
#include "wattune/probe.h"

struct probe_sim {
    const struct wt_profile *profile;
    double seconds;
    uint64_t seed;
    bool is_idle;        /* no load runs */
    double poll_ms;      /* 0: 1 */
    double jitter_ms;    /* a poll comes this much late, at most; now and then ten times as late */
    double edge_ms;      /* edges of the load are known to this, either side */
    bool has_no_instant; /* the power reading is the plain one */
    /* Faults, by the seconds from which they hold; 0: none. */
    double frozen_power_s, frozen_energy_s, reset_s, jump_s, failing_s;
};

/* Fills the trace: wt_probe_trace_done. */
void probe_sim_run(const struct probe_sim *sim, struct wt_probe_trace *ret_trace);
/* The device as its source would describe it, with traits that know nothing. */
void probe_sim_info(const struct probe_sim *sim, struct wt_device_info *ret_info);

#endif
