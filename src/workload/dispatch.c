/* Which kernels this processor can run: asked once a call, never an illegal instruction. */
#include "workload/kernels.h"

extern const struct wt_kernels wt_kernels_baseline;
#ifdef WT_X86
extern const struct wt_kernels wt_kernels_avx2, wt_kernels_avx512;
#endif

const struct wt_kernels *wt_kernels_at(size_t i)
{
#ifdef WT_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && i-- == 0)
        return &wt_kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && i-- == 0)
        return &wt_kernels_avx2;
#endif
    return i == 0 ? &wt_kernels_baseline : (const struct wt_kernels *)0;
}

const struct wt_kernels *wt_kernels_best(void)
{
    return wt_kernels_at(0);
}
