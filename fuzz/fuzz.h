/* What a fuzzer calls, libFuzzer's and AFL++'s alike; replay.c calls it with the corpus. */
#ifndef WT_FUZZ_FUZZ_H
#define WT_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
