/* shared: the one file that all processes of an emulation map, and the devices in it.
 *
 * Each device is a model behind a lock of its own; whoever wants something of a device locks it,
 * which takes the model to now, and unlocks it. Any process may be killed at any instruction: locks
 * are robust, and each change of a device is preceded by a copy of what it changes, so that the
 * next one who comes by finds the device as it was before the dead one touched it. The model is
 * deterministic, so redoing the lost advance gives the same result. */
#ifndef WT_EMULATOR_SHARED_H
#define WT_EMULATOR_SHARED_H

#include <pthread.h>
#include <stdatomic.h>

#include "emulator/fault.h"
#include "emulator/model.h"

#define WT_SHARED_DEVICES 64  /* of one emulation */
#define WT_SHARED_PROCS   64  /* programs on one device */
#define WT_SHARED_FAULTS  32  /* at one time */
#define WT_SHARED_UTILS   256 /* samples of process utilisation remembered */

/* Everything a sensor of a device shows at one moment. */
struct wt_view {
    int64_t t_ns;
    bool has_plain, has_instant, has_average, has_energy;
    uint64_t plain_mw, instant_mw, average_mw, energy_mj;
    struct wt_model_status status;
};

/* A program that holds a context on a device. pid and start time together are its identity. */
struct wt_shared_proc {
    uint32_t pid;     /* 0: a free place; written last */
    uint32_t handles; /* open ones */
    uint64_t start_ticks;
    int64_t t_attach_ns;
    uint64_t mem_bytes, mem_max_bytes;
    int64_t busy_ns, period_busy_ns; /* ever; in the present period */
};

/* A load in the model's queue. */
struct wt_shared_pending {
    uint64_t id;    /* 0: a free place; written last */
    uint64_t group; /* the first load of the same submission */
    uint32_t pid;
    char label[44];
};

struct wt_shared_util {
    int64_t t_ns;
    uint32_t pid, sm_percent, mem_percent;
};

/* What a sensor showed when a fault set in. */
struct wt_shared_mark {
    uint32_t generation; /* of the fault; 0: none; written last */
    struct wt_view view;
};

/* The changing part of a device besides the model. */
struct wt_shared_state {
    struct wt_shared_proc procs[WT_SHARED_PROCS];
    struct wt_shared_pending pending[WT_MODEL_LOADS];
    uint64_t next_load, done_seen;
    int64_t t_period_ns, t_procs_ns;
    uint64_t util_count;
    /* settings that change nothing in the model */
    uint32_t is_persistent, is_accounting, compute_mode;
    uint32_t app_clock_khz, app_memclock_khz; /* 0: default */
};

struct wt_shared_device {
    pthread_mutex_t lock;
    char profile[32];
    char uuid[48];
    char serial[24];
    uint64_t seed;
    wt_fj start_fj; /* the model's energy when the emulation began: the truth counts from there */
    struct wt_shared_state state;
    struct wt_shared_util utils[WT_SHARED_UTILS];
    struct wt_shared_mark marks[WT_SHARED_FAULTS];
    struct wt_model model;
    /* The copy made before a change. Valid while is_saved: a change is under way or was cut off. */
    _Atomic uint32_t is_saved;
    unsigned char saved[sizeof(struct wt_shared_state) + sizeof(struct wt_model) -
                        sizeof(((struct wt_model *)NULL)->samples) -
                        sizeof(((struct wt_model *)NULL)->done) -
                        sizeof(((struct wt_model *)NULL)->kernels)];
};

struct wt_shared_fault {
    _Atomic uint32_t generation;                   /* 0: a free place; written last */
    _Atomic uint64_t calls[WT_SHARED_DEVICES + 1]; /* matching calls a device; last: without one */
    int64_t t_planted_ns;
    struct wt_fault fault;
};

struct wt_shared_file {
    uint64_t magic;
    uint32_t version;
    uint32_t file_size; /* together with the version: same layout */
    uint32_t device_count, owner_pid;
    uint64_t seed;
    int64_t t_start_ns, unix_start_ns;
    uint32_t is_unprivileged;
    _Atomic uint32_t generation; /* of the last fault planted */
    char spec[256];
    struct wt_shared_fault faults[WT_SHARED_FAULTS];
    struct wt_shared_device devices[];
};

/* One finished load in the file "loads"; written whole, by whoever saw it finish. */
struct wt_shared_load {
    uint64_t id, group;
    uint32_t device, pid;
    int64_t t_start_ns, t_done_ns;
    wt_fj energy_fj;
    char label[48];
};

/* A process's view of the file. */
struct wt_shared {
    struct wt_shared_file *file;
    size_t size;
    int loads_fd;
    uint32_t owner_uid; /* whose the file is: the root of this emulation */
    const struct wt_profile *profiles[WT_SHARED_DEVICES];
};

/* Makes "devices" and "loads" in dir. profiles: count of them. Errors: WT_E_FULL, WT_E_IO. */
int wt_shared_create(struct wt_shared **ret_shared, const char *dir,
                     const struct wt_profile *const *profiles, unsigned count, const char *spec,
                     uint64_t seed, bool is_unprivileged, struct wt_error *err);
/* Errors: WT_E_NOTFOUND, WT_E_FORMAT (another version's). */
int wt_shared_open(struct wt_shared **ret_shared, const char *dir, struct wt_error *err);
void wt_shared_close(struct wt_shared *shared);

/* Locks device i and takes it to now. Never fails for a valid i. */
struct wt_shared_device *wt_shared_lock(struct wt_shared *shared, unsigned i);
/* Call before changing what wt_shared_lock returned. */
void wt_shared_change(struct wt_shared_device *device);
void wt_shared_unlock(struct wt_shared_device *device);

/* Under the lock: what the sensors show, without faults. */
void wt_shared_view(const struct wt_shared *shared, unsigned i, struct wt_view *ret_view);
/* Under the lock: the calling process's row, made when missing; NULL when the table is full.
 * Begins a change. */
struct wt_shared_proc *wt_shared_self(struct wt_shared *shared, unsigned i);
/* Under the lock: forgets processes that have died. */
void wt_shared_sweep(struct wt_shared *shared, unsigned i);
/* Under the lock: a free place for a load, or NULL. */
struct wt_shared_pending *wt_shared_pending_free(struct wt_shared_device *device);
/* What the driver keeps of a device's memory for itself. */
uint64_t wt_shared_reserved_bytes(const struct wt_profile *profile);
/* Under the lock, inside a change: takes process p off the device. */
void wt_shared_leave(struct wt_shared *shared, unsigned i, struct wt_shared_proc *proc);

/* Plants a fault. Errors: WT_E_FULL. */
int wt_shared_fault_add(struct wt_shared *shared, const struct wt_fault *fault,
                        struct wt_error *err);
void wt_shared_fault_clear(struct wt_shared *shared);
/* Counts a call against every fault it meets and returns, as bits of their places, those that are
 * in force for it. device -1: a call without one. */
uint32_t wt_shared_faults(struct wt_shared *shared, const char *function, unsigned call,
                          int device);
/* Whether the fault at a place is in force now by time, without counting a call. */
bool wt_shared_is_lost(struct wt_shared *shared, unsigned device);
/* Still the same fault, still in force by time (for one that waits it out). */
bool wt_shared_fault_lasts(struct wt_shared *shared, unsigned place, uint32_t generation);

/* CLOCK_MONOTONIC to microseconds since 1970, as NVML stamps its samples. */
uint64_t wt_shared_unix_us(const struct wt_shared *shared, int64_t t_ns);
int64_t wt_shared_from_unix_us(const struct wt_shared *shared, uint64_t us);

#endif
