/* fake_rocm: a librocm_smi64 whose counters a test turns. */
#ifndef FAKE_ROCM_H
#define FAKE_ROCM_H

#include <stdint.h>

#define FAKE_ROCM_MAX 8

struct fake_rocm {
    unsigned gpus;
    uint64_t bdf[FAKE_ROCM_MAX];
    uint64_t count[FAKE_ROCM_MAX]; /* goes up by step at each reading */
    uint64_t step[FAKE_ROCM_MAX];
    float resolution_uj;
    int init_rc, list_rc, energy_rc; /* what the calls answer; 0: success */
    unsigned inits, shut_downs;
};

#endif
