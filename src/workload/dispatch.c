/* Which kernels this processor can run: asked once a call, never an illegal instruction. */
#include "workload/attend.h"
#include "workload/kernels.h"

extern const struct wt_kernels wt_kernels_baseline;
extern const struct wt_attend_kernels wt_attend_baseline;
#ifdef WT_X86
extern const struct wt_kernels wt_kernels_avx2, wt_kernels_avx512;
extern const struct wt_attend_kernels wt_attend_avx2, wt_attend_avx512;

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

const struct wt_kernels *wt_kernels_at(size_t i)
{
#ifdef WT_X86
    if (has_avx512() && i-- == 0)
        return &wt_kernels_avx512;
    if (has_avx2() && i-- == 0)
        return &wt_kernels_avx2;
#endif
    return i == 0 ? &wt_kernels_baseline : (const struct wt_kernels *)0;
}

const struct wt_kernels *wt_kernels_best(void)
{
    return wt_kernels_at(0);
}

const struct wt_attend_kernels *wt_attend_at(size_t i)
{
#ifdef WT_X86
    if (has_avx512() && i-- == 0)
        return &wt_attend_avx512;
    if (has_avx2() && i-- == 0)
        return &wt_attend_avx2;
#endif
    return i == 0 ? &wt_attend_baseline : (const struct wt_attend_kernels *)0;
}

const struct wt_attend_kernels *wt_attend_best(void)
{
    return wt_attend_at(0);
}

/* Of the widest set: panels of 32 queries, rows of as many values (attend.c). */
enum { PANEL = 32, BLOCK = 128, KEYS = 64, QUERIES = 64, ALIGN = 64 };
static size_t up(size_t n)
{
    return (n + PANEL - 1) / PANEL * PANEL;
}

size_t wt_attend_forward_scratch(size_t head)
{
    return ALIGN + sizeof(float) * (2 * KEYS * up(head) + KEYS * PANEL + PANEL * up(head) +
                                    2 * BLOCK * up(head));
}

size_t wt_attend_backward_scratch(size_t length, size_t head)
{
    return ALIGN + sizeof(float) * (5 * up(length) * up(head) + 2 * up(length) +
                                    4 * KEYS * up(head) + 2 * KEYS * QUERIES);
}

size_t wt_attend_decode_scratch(size_t count, size_t head)
{
    return ALIGN + sizeof(float) * (2 * count * head + count * KEYS + 2 * count);
}
