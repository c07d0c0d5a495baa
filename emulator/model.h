/* The device model: one emulated NVIDIA GPU as physics, without input or output.
 *
 * Load in (FLOPs and bytes, kernel by kernel), clocks and power limit decide speed and power;
 * energy is the integral of that power; temperature follows. In front of the truth stands a sensor
 * with the artefacts of its generation. The stand-in NVML, the emulation's client, `predict` and
 * the tests all stand on this one model.
 *
 * Time is explicit: CLOCK_MONOTONIC in an emulation, any number in a test. The state holds no
 * pointers, so that it may live in memory that many processes map; whoever shares it holds a lock
 * around each call that takes a non-const state. The state changes at events of its own only (a
 * kernel ends, the controller ticks, the sensor publishes), never because somebody looked: power is
 * whole microwatts, time whole nanoseconds and energy their 128-bit product, so one long advance
 * and a million short ones end in the same bits.
 *
 * To read: wt_model_advance to now, then the const getters. Reading leaves the truth as it is.
 * docs/emulator-model.md has the equations and what was calibrated on what. */
#ifndef WT_EMULATOR_MODEL_H
#define WT_EMULATOR_MODEL_H

#include "wattune/emulate.h"

/* ---- profiles: one GPU type each, constant ---- */

/* What plain power.draw (nvmlDeviceGetPowerUsage) shows. */
enum wt_plain_power { WT_PLAIN_INSTANT, WT_PLAIN_AVERAGE };

/* What feeds the energy counter. NVIDIA does not say. */
enum wt_counter_kind {
    WT_COUNTER_NONE,    /* before Volta */
    WT_COUNTER_FULL,    /* the same shunt (gain, offset), but all of the time */
    WT_COUNTER_SAMPLED, /* the sum of the instant readings times their period */
};

struct wt_profile {
    const char *name;  /* "v100-pcie-32gb" */
    const char *title; /* "Tesla V100-PCIE-32GB, 250 W" */
    const char *board; /* as nvidia-smi shows it */

    /* facts NVML returns */
    const char *arch_name;
    unsigned nvml_arch, nvml_brand; /* NVML's numbers */
    unsigned cc_major, cc_minor;
    unsigned sm_count, core_count;
    uint32_t pci_device_id, pci_subsystem_id;
    unsigned pcie_gen, pcie_width, mem_bus_bits;
    uint64_t mem_bytes;
    bool has_volatile_ecc;

    /* clocks */
    uint32_t clock_idle_khz, clock_min_khz, clock_base_khz, clock_max_khz;
    uint32_t clock_step_khz;  /* NVML shows whole MHz, rounded down */
    uint32_t memclock_khz[6]; /* the first is the one of P0; 0 ends */
    uint32_t memclock_idle_khz;

    /* limits */
    uint32_t limit_min_mw, limit_max_mw, limit_default_mw;

    /* speed, at clock_max_khz */
    double fp32_flops_s, tensor_flops_s, mem_bytes_s; /* peaks; no tensor engine: 0 */
    double tf32_flops_s;                              /* of the tensor engine; none: 0 */
    double fp32_share, tensor_share, mem_share;       /* what a good kernel reaches of them */
    double launch_ns;    /* from one kernel's end to the next one's start */
    double overlap_lost; /* share of the shorter of compute and memory time that is not hidden */
    double mem_sm_share; /* how far memory time follows the SM clock, 0..1 */
    double mem_sm_knee;  /* below this relative clock bandwidth falls with the SM clock */

    /* power, W; relative clock f = clock / max, v = voltage / voltage at max:
     * base + leak v (1 + leak_per_k (T - leak_ref_c)) + v^2 f (tree + busy a_b + compute a_c)
     * + memory a_m. What is there without work, at full clock, is base + leak + tree. */
    double base_w, leak_w, leak_per_k, leak_ref_c;
    double tree_w, busy_w, fp32_w, tensor_w, memory_w;
    double idle_w;        /* no work, idle clocks, at leak_ref_c less idle_cooler_k */
    double v_min, f_knee; /* v = v_min up to f_knee, then a straight line to 1 */

    /* the cap controller */
    double cap_share_low,
        cap_share;      /* aims at these shares of the limit: at v_min, at full voltage */
    double cap_tau_ns;  /* its time constant */
    double floor_share; /* of the highest clock: it goes no lower, then it gates */
    double duty_min;    /* and gates no further than this */

    /* heat */
    double ambient_c, kelvin_per_w, heat_tau_s, slowdown_c, shutdown_c, max_op_c;
    int64_t idle_after_ns; /* without a context, down to idle clocks after this */

    /* the sensor */
    int64_t power_period_ns, power_window_ns, power_delay_ns;
    int64_t power_rise_ns; /* time constant of an exponential in place of the window; 0: none */
    int64_t average_ns;    /* the running mean's length; 0: there is none */
    int64_t average_delay_ns;
    enum wt_plain_power plain;
    bool has_instant;           /* field POWER_INSTANT answers */
    double gain_low, gain_high; /* a device draws its gain between */
    double offset_low_w, offset_high_w;
    enum wt_counter_kind counter;
    int64_t counter_period_ns;
    uint32_t counter_quantum_mj;
};

/* NULL when there is none. */
const struct wt_profile *wt_profile_find(const char *name);
/* The i-th, NULL past the end. */
const struct wt_profile *wt_profile_at(size_t i);
/* Names, NULL-terminated, borrowed for ever. */
const char *const *wt_profile_names(void);
/* Supported SM clocks, highest first, kHz as NVML shows them (whole MHz). 0 past the end. */
uint32_t wt_profile_clock_khz(const struct wt_profile *p, size_t i);
/* Rounded to a supported clock: the nearest one at or below, or the lowest. */
uint32_t wt_profile_clock_round_khz(const struct wt_profile *p, uint32_t khz);

/* ---- the state of one device ---- */

#define WT_MODEL_KERNELS 16384 /* kernels queued, all loads together; a power of two */
#define WT_MODEL_LOADS   64    /* loads queued; a power of two */
#define WT_MODEL_DONE    256   /* finished loads remembered; a power of two */
#define WT_MODEL_SAMPLES 128   /* published power samples remembered; a power of two */

/* fJ: whole microwatts times whole nanoseconds. */
typedef unsigned __int128 wt_fj;

/* Why the clock is below maximum; the bits are NVML's. */
enum {
    WT_MODEL_THROTTLE_IDLE = 0x1,
    WT_MODEL_THROTTLE_APP_CLOCK = 0x2,
    WT_MODEL_THROTTLE_POWER_CAP = 0x4,
    WT_MODEL_THROTTLE_HW_SLOWDOWN = 0x8,
    WT_MODEL_THROTTLE_THERMAL = 0x20,
};

struct wt_model_kernel {
    float compute_ns; /* at the highest clock */
    float memory_ns;  /* at the highest memory clock */
    uint8_t engine;
};

struct wt_model_load {
    uint64_t id;
    int64_t t_submit_ns, t_start_ns, t_done_ns; /* start: of its host gap */
    int64_t gap_ns;
    uint32_t first, count; /* kernels, in the ring */
    wt_fj energy_fj;       /* from start to done, the device's whole power */
};

struct wt_model_sample {
    int64_t t_ns;      /* the end of its window; seen power_delay_ns later */
    wt_fj energy_fj;   /* the truth at t_ns */
    uint64_t power_mw; /* as the sensor says it */
};

struct wt_model {
    int64_t t_ns, t_init_ns;
    uint64_t seed;

    /* the truth */
    wt_fj energy_fj;
    uint64_t power_uw;
    unsigned __int128 busy_ns, mem_busy_ppm_ns;

    /* settings */
    uint64_t limit_mw;
    uint32_t lock_min_khz, lock_max_khz, mem_lock_khz; /* 0: not locked */
    uint32_t contexts;

    /* what runs */
    bool is_running, is_gap; /* a load is at work; it is in its host gap */
    bool is_awake;           /* at working clocks */
    uint32_t kernel;         /* of the running load */
    int64_t t_kernel_ns;     /* this much of the kernel was left then: */
    double kernel_left;
    double kernel_span_ns; /* and all of it takes this at the present clock */
    uint32_t mem_busy_ppm;

    /* clocks and control */
    double drive_khz; /* the controller's wish: below the floor clock it is gating */
    double heat_khz;  /* what heat allows */
    uint32_t clock_khz, memclock_khz;
    double duty;
    int64_t ctl_t_ns;
    wt_fj ctl_energy_fj;
    uint64_t throttle;

    double temp_c;
    bool is_heat_settled;

    /* events to come; INT64_MAX: none */
    int64_t t_work_ns, t_ctl_ns, t_heat_ns, t_sleep_ns;
    int64_t t_open_ns, t_publish_ns, t_counter_ns, t_util_ns;

    /* the sensor */
    double gain, offset_w;
    wt_fj open_energy_fj; /* truth when the present window opened */
    double rise_w;
    uint64_t sample_count;
    struct wt_model_sample samples[WT_MODEL_SAMPLES];
    uint64_t counter_mj, counter_first_mj;
    unsigned __int128 counter_sum_fj; /* WT_COUNTER_SAMPLED */
    uint32_t util_ppm, mem_util_ppm;
    unsigned __int128 util_busy_ns, util_mem_ppm_ns;
    int64_t util_t_ns;

    /* queues: ever-growing numbers, masked into the rings */
    uint64_t load_head, load_tail, done_count;
    uint64_t kernel_head, kernel_tail;
    struct wt_model_load loads[WT_MODEL_LOADS];
    struct wt_model_load done[WT_MODEL_DONE];
    struct wt_model_kernel kernels[WT_MODEL_KERNELS];
};

/* A device at rest, cool, at its default limit, at t_ns. The seed draws gain, offset, the phases of
 * the sensor's clocks and where the counter stands. */
void wt_model_init(struct wt_model *m, const struct wt_profile *p, int64_t t_ns, uint64_t seed);

/* Takes the device to t_ns. A time already passed is left as it is. */
void wt_model_advance(struct wt_model *m, const struct wt_profile *p, int64_t t_ns);

/* Queues kernels to run in order after what is queued, after gap_ns of host time. load_id is the
 * caller's; unique. Advance to now first: the load arrives at m->t_ns. An engine that the device
 * lacks is served by FP32. Errors: WT_E_FULL (no room now; with more than WT_MODEL_KERNELS kernels
 * never: split it), WT_E_USAGE (count 0 and no gap, a negative or non-finite number). */
int wt_model_submit(struct wt_model *m, const struct wt_profile *p, uint64_t load_id,
                    const struct wt_emu_kernel *kernels, size_t count, int64_t gap_ns,
                    struct wt_error *err);

/* 1 done (writes when), 0 not yet, WT_E_NOTFOUND (never seen, or WT_MODEL_DONE loads ago). */
int wt_model_load_done(const struct wt_model *m, uint64_t load_id, int64_t *ret_t_ns);
/* A finished load, or NULL. Borrowed until the next advance. */
const struct wt_model_load *wt_model_load_find(const struct wt_model *m, uint64_t load_id);
/* When load_id will be done if clocks stay as they are; m->t_ns when it is done or unknown. */
int64_t wt_model_load_due_ns(const struct wt_model *m, const struct wt_profile *p,
                             uint64_t load_id);
/* The same for everything queued; INT64_MAX when nothing is. */
int64_t wt_model_next_ns(const struct wt_model *m, const struct wt_profile *p);

/* Settings; they act from the controller's next tick. The caller has advanced to now.
 * Errors: WT_E_RANGE, WT_E_UNSUPPORTED. */
int wt_model_set_limit(struct wt_model *m, const struct wt_profile *p, uint64_t limit_mw,
                       struct wt_error *err);
/* min and max of 0: unlock. Rounded to supported clocks. */
int wt_model_set_clock_lock(struct wt_model *m, const struct wt_profile *p, uint32_t min_khz,
                            uint32_t max_khz, struct wt_error *err);
int wt_model_set_memclock_lock(struct wt_model *m, const struct wt_profile *p, uint32_t khz,
                               struct wt_error *err);
/* How many programs hold a context: with one the device stays at working clocks without work. */
void wt_model_set_contexts(struct wt_model *m, const struct wt_profile *p, uint32_t count);

/* ---- readings; advance first ---- */

struct wt_model_status {
    uint32_t clock_khz, memclock_khz; /* 0.001 MHz; NVML cuts to MHz */
    uint32_t util_ppm, mem_util_ppm;  /* over the last whole utilisation period */
    int32_t temp_mc;
    unsigned pstate;   /* 0 or 8 */
    uint64_t throttle; /* WT_MODEL_THROTTLE_* */
    uint64_t limit_mw;
    uint32_t duty_ppm; /* below 1e6: gating under the floor clock */
};
void wt_model_status(const struct wt_model *m, const struct wt_profile *p,
                     struct wt_model_status *ret_status);

/* Sensor readings at t_ns >= m->t_ns as a client sees them: published, delayed, with gain.
 * False before the first sample, or where this device has no such reading. */
bool wt_model_power_instant(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                            uint64_t *ret_mw);
bool wt_model_power_average(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                            uint64_t *ret_mw);
bool wt_model_power_plain(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                          uint64_t *ret_mw);
/* Copies up to max of the visible samples that end after since_ns, oldest first; returns how many.
 */
size_t wt_model_power_samples(const struct wt_model *m, const struct wt_profile *p, int64_t t_ns,
                              int64_t since_ns, struct wt_model_sample *samples, size_t max);
/* mJ since the driver was loaded. False: no counter. */
bool wt_model_counter(const struct wt_model *m, const struct wt_profile *p, uint64_t *ret_mj);

/* The truth since init. */
double wt_model_energy_j(const struct wt_model *m);
uint64_t wt_model_energy_uj(const struct wt_model *m); /* exact, cut; 64 bits last 18 TJ */
uint64_t wt_model_power_true_uw(const struct wt_model *m);
double wt_j_from_fj(wt_fj fj);

#endif
