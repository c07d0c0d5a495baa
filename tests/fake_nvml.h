/* fake_nvml: a libnvidia-ml.so.1 for tests, in which every call can be made to fail, hang or be
 * missing. Not the emulator: it models nothing and answers constants, so that a test can tell a
 * value that was read from one that was not. */
#ifndef FAKE_NVML_H
#define FAKE_NVML_H

#include <stdint.h>

struct fake_nvml {
    unsigned gpus;
    unsigned mig_gpu;  /* one past the index of the GPU that has two MIG instances; 0: none */
    unsigned lost_gpu; /* one past the index of the GPU that is lost; 0: none */
    unsigned arch;     /* 0: as if unknown */
    int major, minor;
    const char *driver;
    const char *fail;  /* this symbol fails */
    int fail_rc;       /* with this answer, having written rubbish to its outputs */
    unsigned fail_for; /* so many times; 0: always */
    const char *hang;  /* this symbol does not return until is_released */
    int is_released;
    const char *field_type; /* "uint" or NULL; else "double", "short", "negative", "alien" */
    unsigned long long energy_mj;
    unsigned power_mw, limit_mw;
    unsigned lock_min, lock_max; /* MHz, 0: not locked */
    unsigned app_sm, app_mem;
    int is_limit_ignored; /* setting succeeds and does nothing */
    int is_old;           /* Kepler's clocks: no locks */
    int is_vgpu;          /* neither energy nor power */
    unsigned calls, shutdowns;
};

/* The one of this copy of the library, back to its start values. */
struct fake_nvml *fake_nvml_reset(void);

#define FAKE_ENERGY_MJ    123456u
#define FAKE_POWER_MW     42000u
#define FAKE_AVERAGE_MW   41000u
#define FAKE_LIMIT_MIN_MW 100000u
#define FAKE_LIMIT_MAX_MW 250000u
#define FAKE_TEMP_C       51u
#define FAKE_SM_MHZ       1380u
#define FAKE_MEM_MHZ      877u

#endif
