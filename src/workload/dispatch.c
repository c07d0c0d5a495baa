/* Which kernels this processor can run: asked once a call, never an illegal instruction. */
#include "workload/attend.h"
#include "workload/kernels.h"
#include "workload/matvec.h"
#include "workload/panels.h"
#ifdef WT_X86
#include <cpuid.h>
#endif

extern const struct wt_kernels wt_kernels_baseline;
extern const struct wt_attend_kernels wt_attend_baseline;
extern const struct wt_matvec_kernels wt_matvec_baseline;
#ifdef WT_X86
extern const struct wt_kernels wt_kernels_avx2, wt_kernels_avx512;
extern const struct wt_attend_kernels wt_attend_avx2, wt_attend_avx512;
extern const struct wt_matvec_kernels wt_matvec_avx2, wt_matvec_avxvnni, wt_matvec_avx512,
    wt_matvec_avx512_vnni, wt_matvec_avx512_bf16;
extern const struct wt_panel_kernels wt_panels_avx2;

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool wt_has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
static int has_avx512_vnni(void)
{
    return wt_has_avx512() && __builtin_cpu_supports("avx512vnni");
}
static int has_avx512_bf16(void)
{
    return has_avx512_vnni() && __builtin_cpu_supports("avx512bf16");
}
/* Not every compiler knows this one's name; AVX2 says that the system keeps the registers. */
static int has_avxvnni(void)
{
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}
#else
bool wt_has_avx512(void)
{
    return false;
}
#endif

const struct wt_kernels *wt_kernels_at(size_t i)
{
#ifdef WT_X86
    if (wt_has_avx512() && i-- == 0)
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
    if (wt_has_avx512() && i-- == 0)
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

const struct wt_matvec_kernels *wt_matvec_at(size_t i)
{
#ifdef WT_X86
    if (has_avx512_bf16() && i-- == 0)
        return &wt_matvec_avx512_bf16;
    if (has_avx512_vnni() && i-- == 0)
        return &wt_matvec_avx512_vnni;
    if (wt_has_avx512() && i-- == 0)
        return &wt_matvec_avx512;
    if (has_avxvnni() && i-- == 0)
        return &wt_matvec_avxvnni;
    if (has_avx2() && i-- == 0)
        return &wt_matvec_avx2;
#endif
    return i == 0 ? &wt_matvec_baseline : (const struct wt_matvec_kernels *)0;
}

const struct wt_matvec_kernels *wt_matvec_best(void)
{
    return wt_matvec_at(0);
}

const struct wt_panel_kernels *wt_panels_any(void)
{
#ifdef WT_X86
    if (has_avx2())
        return &wt_panels_avx2;
#endif
    return (const struct wt_panel_kernels *)0;
}

const struct wt_panel_kernels *wt_panels_best(void)
{
#ifdef WT_X86
    if (wt_has_avx512()) /* oneDNN reaches 93 to 97 % of the peak there */
        return (const struct wt_panel_kernels *)0;
#endif
    return wt_panels_any();
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
