/* What is dropped, by seeded random numbers (base/random.h).
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_RANDOM_H
#define WT_WORKLOAD_RANDOM_H

#include "base/random.h"

/* Value i of a dropout of probability p is dropped where this is below wt_dropout_below(p). Every
 * device has the same: multipliers and shifts of the well-known 32-bit finalisers, which would
 * repeat after 2^32 values of one key, so the high half of the index enters too. */
static inline uint32_t wt_dropout_bits(uint64_t key, uint64_t i)
{
    uint32_t h = (uint32_t)i ^ (uint32_t)key;
    h = (h ^ (h >> 16)) * 0x7feb352du;
    h += (uint32_t)(i >> 32) + (uint32_t)(key >> 32);
    h = (h ^ (h >> 15)) * 0x846ca68bu;
    return h ^ (h >> 16);
}
/* p 2^32, rounded up: some p that is small drops something. */
static inline uint32_t wt_dropout_below(float p)
{
    double below = (double)p * 0x1p32;
    if (below >= 0x1p32 - 1)
        return UINT32_MAX;
    uint32_t whole = (uint32_t)below;
    return whole + (whole < below);
}

#endif
