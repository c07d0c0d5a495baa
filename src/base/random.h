/* Seeded random numbers: the same everywhere and on any number of threads.
 *
 * Internal to the library. */
#ifndef WT_BASE_RANDOM_H
#define WT_BASE_RANDOM_H

#include <stdint.h>

/* The i-th 64 random bits of a seed (SplitMix64's finaliser on a Weyl sequence). */
static inline uint64_t wt_random_at(uint64_t seed, uint64_t i)
{
    uint64_t x = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct wt_random {
    uint64_t seed, at;
};
static inline uint64_t wt_random_next(struct wt_random *r)
{
    return wt_random_at(r->seed, r->at++);
}
/* 0 <= result < n, n below 2^32. The multiplication's bias is below n / 2^64. */
static inline uint64_t wt_random_below(struct wt_random *r, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)wt_random_next(r) * n) >> 64);
}

#endif
