/* cpu_model: what a processor, its memory or a GPU draws, where no sensor says so.
 *
 * Everything here is arithmetic on what is passed in and on the catalogue compiled into the library
 * (data/ *.csv); no file is read and no clock. The formula, where its numbers come from and how
 * good it is: docs/model.md. What comes out is an estimate with a band, and is shown as one.
 *
 * Internal to the library. Threads: any thread. */
#ifndef WT_SENSOR_CPU_MODEL_H
#define WT_SENSOR_CPU_MODEL_H

#include "base/base.h"
#include "wattune/device.h"

/* An estimate in mW. low <= mid <= high; the band is meant to hold at least nine of ten cases. */
struct wt_power_band {
    uint64_t low_mw, mid_mw, high_mw;
};

/* ---- processors ---- */

/* What a processor says of itself, and what of it this machine has. */
struct wt_cpu_identity {
    char name[96];          /* "model name" of /proc/cpuinfo as it stands there; "" on Arm */
    char vendor[16];        /* "GenuineIntel", "AuthenticAMD"; on Arm the implementer, "0x41" */
    unsigned family;        /* "cpu family"; on Arm the architecture */
    unsigned model;         /* "model"; on Arm the part */
    unsigned threads_seen;  /* hardware threads that this machine has */
    unsigned threads_total; /* hardware threads of one package; 0: as the catalogue says */
    unsigned sockets;       /* packages of this machine; 0 counts as 1. Of no account in a VM */
    bool is_virtual;        /* a VM has a share of a package: threads_seen of its threads */
};
/* Fills name, vendor, family, model and is_virtual (the "hypervisor" flag) from the text of
 * /proc/cpuinfo, of which the first processor is enough; the rest is left zero. */
void wt_cpu_identity_from(const char *cpuinfo, struct wt_cpu_identity *ret_identity);

enum wt_cpu_known {
    WT_CPU_BY_NAME,     /* the catalogue has this model */
    WT_CPU_BY_PLATFORM, /* the generation is known from family and model number, the model not */
    WT_CPU_BY_THREADS,  /* neither: so many watts a thread */
};

/* mid  = tdp x scale x (idle + (full - idle) x load^curve x (1 - freq_weight x (1 - freq)))
 * low  = mid x (1 - low_share) - low_mw, at least 0
 * high = mid x (1 + high_share) + high_mw, at most cap_mw */
struct wt_cpu_model {
    char name[96];    /* what it was taken for */
    char family[16];  /* row of data/cpu-families.csv */
    char source[240]; /* for people: where the watts come from */
    enum wt_cpu_known known;
    uint64_t tdp_mw;  /* of this machine's part: all packages, or a VM's share of one */
    unsigned threads; /* of one package; 0: unknown and not needed */
    double spread;    /* the TDP's own uncertainty, a factor either way; it is in the band */
    double idle, full, curve, scale, freq_weight;
    double low_share, high_share;
    uint64_t low_mw, high_mw, cap_mw;
};
/* Never fails: a processor nobody has heard of gets so many watts a thread and a wide band.
 * Takes a millisecond or two (the catalogue is searched as text). */
void wt_cpu_model_find(const struct wt_cpu_identity *identity, struct wt_cpu_model *ret_model);
/* Power of all of this machine's processors at a load of 0 to 1 (share of thread time that was not
 * idle). freq: mean clock as a share of the highest there is, above 0 to 1; NaN where unknown, as
 * in a VM. Anything outside these ranges is taken as the nearest in it, NaN load as 0. */
struct wt_power_band wt_cpu_model_power(const struct wt_cpu_model *model, double load, double freq);

/* The band as a sensor's traits: low = mid (1 - low_share) - low_mw, high = mid (1 + high_share) +
 * high_mw. */
void wt_model_traits(struct wt_sensor_traits *traits, double low_share, uint64_t low_mw,
                     double high_share, uint64_t high_mw);

/* ---- memory ---- */

/* DRAM of this size, from refreshing only to busy: how busy it is cannot be seen, so the band is
 * all that lies between. Per GB (1e9 bytes): server 0.284 W, from 0.05 (large DDR5 modules at rest)
 * to 0.6; others 0.15 W, from 0.02 (LPDDR at rest) to 0.5. Sources: docs/model.md. */
struct wt_power_band wt_dram_model_power(uint64_t mem_bytes, bool is_server);

/* ---- GPUs of which only the utilisation can be read ---- */

/* tdp_mw: the power limit if it can be read, else 0: then by name ("NVIDIA A100-SXM4-80GB") from
 * data/gpus.csv. util: share of the time in which a kernel ran, 0 to 1: it does not say how hard.
 * Errors: WT_E_NOTFOUND (no limit, and the catalogue does not have the name). */
int wt_gpu_model_power(const char *name, uint64_t tdp_mw, double util,
                       struct wt_power_band *ret_band, struct wt_error *err);

/* The band of wt_gpu_model_power as a sensor's traits, wide enough at every utilisation. Errors: as
 * there. */
int wt_gpu_model_traits(const char *name, uint64_t tdp_mw, struct wt_sensor_traits *io_traits,
                        struct wt_error *err);

#endif
