/* Whether a text or weights are the ones they were: not against malice.
 *
 * Internal to the workload. Threads: any thread. */
#ifndef WT_WORKLOAD_DIGEST_H
#define WT_WORKLOAD_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WT_DIGEST_BEGIN UINT64_C(0xcbf29ce484222325)

/* FNV-1a, by words in place of bytes. words: [count] of 4 bytes each, of any type. */
static inline uint64_t wt_digest(uint64_t digest, const void *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, (const char *)words + i * sizeof(word), sizeof(word));
        digest = (digest ^ word) * UINT64_C(0x100000001b3);
    }
    return digest;
}

#endif
