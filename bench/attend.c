/* attend: attention and products of few rows against what one core can do, measured beside them.
 *
 *     build/bench/attend [ROUNDS [SET]]
 *
 * Every round measures the core's multiply-add peak (registers only) and its read bandwidth (256
 * MB, combined by XOR) and then each kernel for 20 ms; a line is the median of the rounds and the
 * median of the shares of the same round's ceiling. SET: the instruction set of the kernels, e.g.
 * "avx2"; default the best. One thread. FLOPs count both products of the forward pass and all five
 * of the backward pass; under a causal mask half of them. Products of few rows read 128 MB of
 * weights, and their bytes are the weights'; "rows" is m. The product of many rows in integers is
 * against the float peak. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "median.h"
#include "workload/attend.h"
#include "workload/matvec.h"
#include "workload/random.h"

#define ROUNDS_MOST 101
#define SAMPLE_NS   (20 * WT_NS_PER_MS)

/* Of this thread: turns that others have on the processor do not count. */
static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * WT_NS_PER_S + t.tv_nsec;
}

/* ---- ceilings ---- */

/* Twelve chains of multiply-adds: more than latency times units of any core here. */
#define PEAK(NAME, TARGET, BYTES)                                                                  \
    TARGET static double NAME(size_t turns)                                                        \
    {                                                                                              \
        typedef float vec __attribute__((vector_size(BYTES)));                                     \
        vec a[12], x = {0}, y = {0};                                                               \
        x += 0.999f;                                                                               \
        y += 1e-3f;                                                                                \
        for (size_t i = 0; i < 12; i++)                                                            \
            a[i] = y * (float)i;                                                                   \
        for (size_t t = 0; t < turns; t++) {                                                       \
            _Pragma("GCC unroll 12") for (size_t i = 0; i < 12; i++) a[i] = a[i] * x + y;          \
            __asm__ volatile("");                                                                  \
        }                                                                                          \
        for (size_t i = 1; i < 12; i++)                                                            \
            a[0] += a[i];                                                                          \
        float sum = a[0][0] + a[0][1];                                                             \
        __asm__ volatile("" : : "m"(sum)); /* wanted */                                            \
        return (double)turns * 12 * (BYTES / 4) * 2;                                               \
    }
PEAK(peak_baseline, , 16)
#ifdef __x86_64__
PEAK(peak_avx2, __attribute__((target("avx2,fma"))), 32)
PEAK(peak_avx512, __attribute__((target("avx512f"))), 64)
#endif

static double (*peak_of(const char *set))(size_t)
{
#ifdef __x86_64__
    if (!strncmp(set, "avx512", 6))
        return peak_avx512;
    if (!strncmp(set, "avx", 3))
        return peak_avx2;
#endif
    (void)set;
    return peak_baseline;
}

/* Four long streams at once: what one alone does not reach. */
#define READ_BYTES ((size_t)256 << 20)
static double read_all(const char *memory)
{
    typedef uint64_t vec __attribute__((vector_size(16), aligned(8), may_alias));
    vec sum[8] = {{0}};
    const size_t quarter = READ_BYTES / 4;
    for (size_t i = 0; i < quarter; i += 64) {
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) {
            const char *at = memory + k * quarter + i;
            __builtin_prefetch(at + 1024);
#pragma GCC unroll 4
            for (size_t p = 0; p < 4; p++)
                sum[2 * k % 8 + p % 2] ^= ((const vec *)(const void *)at)[p];
        }
    }
    vec all = sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
    __asm__ volatile("" : : "m"(all)); /* wanted */
    return (double)READ_BYTES;
}

/* ---- what is measured ---- */

enum kind { FORWARD, BACKWARD, DECODE, FEW_ROWS, FEW_INT8, MANY_INT8 };
struct line {
    const char *name;
    enum kind kind;
    size_t length, head, count; /* count: heads side by side; products: m, in, out */
    bool is_causal, is_bf16;
    float p;
    double rate[ROUNDS_MOST], share[ROUNDS_MOST];
};
static struct line lines[] = {
    {"forward 128 x 64", FORWARD, 128, 64, 12, .p = 0},
    {"forward 512 x 64", FORWARD, 512, 64, 12, .p = 0},
    {"forward 512 x 64 causal", FORWARD, 512, 64, 12, .is_causal = true},
    {"forward 128 x 64 dropout", FORWARD, 128, 64, 12, .p = 0.1f},
    {"forward 128 x 64 bf16", FORWARD, 128, 64, 12, .is_bf16 = true},
    {"forward 512 x 64 bf16", FORWARD, 512, 64, 12, .is_bf16 = true},
    {"forward 128 x 32", FORWARD, 128, 32, 12, .p = 0},
    {"forward 512 x 128", FORWARD, 512, 128, 12, .p = 0},
    {"backward 128 x 64", BACKWARD, 128, 64, 12, .p = 0},
    {"backward 512 x 64", BACKWARD, 512, 64, 12, .p = 0},
    {"backward 512 x 64 causal", BACKWARD, 512, 64, 12, .is_causal = true},
    {"backward 128 x 64 dropout", BACKWARD, 128, 64, 12, .p = 0.1f},
    {"backward 512 x 64 bf16", BACKWARD, 512, 64, 12, .is_bf16 = true},
    {"decode, 64 MB of cache", DECODE, 10922, 64, 12, .p = 0},
    {"decode, bf16", DECODE, 21845, 64, 12, .is_bf16 = true},
    {"1 row", FEW_ROWS, 1, 768, 43690, .p = 0},
    {"4 rows", FEW_ROWS, 4, 768, 43690, .p = 0},
    {"8 rows", FEW_ROWS, 8, 768, 43690, .p = 0},
    {"16 rows", FEW_ROWS, 16, 768, 43690, .p = 0},
    {"1 row of 3072", FEW_ROWS, 1, 3072, 10922, .p = 0},
    {"1 row bf16", FEW_ROWS, 1, 768, 87381, .is_bf16 = true},
    {"4 rows bf16", FEW_ROWS, 4, 768, 87381, .is_bf16 = true},
    {"8 rows bf16", FEW_ROWS, 8, 768, 87381, .is_bf16 = true},
    {"16 rows bf16", FEW_ROWS, 16, 768, 87381, .is_bf16 = true},
    {"1 row int8", FEW_INT8, 1, 768, 174762, .p = 0},
    {"4 rows int8", FEW_INT8, 4, 768, 174762, .p = 0},
    {"8 rows int8", FEW_INT8, 8, 768, 174762, .p = 0},
    {"16 rows int8", FEW_INT8, 16, 768, 174762, .p = 0},
    {"1024 x 768 x 768 int8", MANY_INT8, 1024, 768, 768, .p = 0},
    {"1024 x 768 x 3072 int8", MANY_INT8, 1024, 768, 3072, .p = 0},
    {"1024 x 3072 x 768 int8", MANY_INT8, 1024, 3072, 768, .p = 0},
};

static bool is_of_memory(const struct line *l)
{
    return l->kind == DECODE || l->kind == FEW_ROWS || l->kind == FEW_INT8;
}

struct memory {
    char *qkv, *context, *grad, *dcontext, *scratch, *weights;
    float *lse;
};

/* Weights that are all 63, with scales and sums of 0: the work is that of any others. The
 * quantisation of rows is part of the product. */
static double run_product(const struct line *l, const struct wt_matvec_kernels *k, struct memory *m)
{
    size_t rows = l->length, in = l->head, out = l->count;
    if (l->kind == FEW_ROWS) {
        const struct wt_matvec v = {.x = m->dcontext,
                                    .w = m->weights,
                                    .bias = m->lse,
                                    .y = m->context,
                                    .m = rows,
                                    .in = in,
                                    .out = out,
                                    .is_bf16 = l->is_bf16};
        k->product(&v, 0, out);
        return (double)(in * out * (l->is_bf16 ? 2 : 4));
    }
    struct wt_int8_weight w = {(int8_t *)m->weights, m->lse, (int32_t *)(void *)m->lse, out, in};
    float *scales = (float *)(void *)m->grad;
    struct wt_int8_rows x = {(uint8_t *)m->scratch, scales, (int32_t *)(void *)(scales + rows), in};
    const struct wt_int8_product p = {
        .x = &x, .w = &w, .bias = m->lse, .y = (float *)(void *)m->context, .m = rows};
    k->quantise_rows(&x, (const float *)(const void *)m->dcontext, 0, rows);
    k->int8_product(&p, 0, wt_int8_panels(out));
    return l->kind == MANY_INT8 ? 2.0 * (double)(rows * in * out) : (double)(in * out);
}

/* Once; returns FLOPs, or bytes of what is bound by memory. */
static double run_line(const struct line *l, const struct wt_attend_kernels *k,
                       const struct wt_matvec_kernels *products, struct memory *m)
{
    if (l->kind >= FEW_ROWS)
        return run_product(l, products, m);
    size_t bytes = l->is_bf16 ? 2 : 4, hidden = l->count * l->head;
    if (l->kind == DECODE) {
        const struct wt_attend_decode d = {
            .q = m->qkv,
            .keys = m->qkv,
            .values = m->qkv + l->length * hidden * bytes,
            .stride = hidden,
            .context = m->context,
            .length = l->length,
            .count = l->count,
            .head = l->head,
            .is_bf16 = l->is_bf16,
        };
        k->decode(&d, m->scratch);
        return 2.0 * (double)(l->length * hidden * bytes);
    }
    for (size_t h = 0; h < l->count; h++) {
        const struct wt_attend a = {
            .q = m->qkv + h * l->head * bytes,
            .k = m->qkv + (hidden + h * l->head) * bytes,
            .v = m->qkv + (2 * hidden + h * l->head) * bytes,
            .stride = 3 * hidden,
            .context = m->context + h * l->head * bytes,
            .context_stride = hidden,
            .lse = m->lse + h * l->length,
            .length = l->length,
            .head = l->head,
            .is_causal = l->is_causal,
            .is_bf16 = l->is_bf16,
            .drop = {l->p, 7},
            .drop_stride = l->length,
        };
        const struct wt_attend_grad g = {
            .dcontext = m->dcontext + h * l->head * bytes,
            .dq = m->grad + h * l->head * bytes,
            .dk = m->grad + (hidden + h * l->head) * bytes,
            .dv = m->grad + (2 * hidden + h * l->head) * bytes,
        };
        if (l->kind == FORWARD)
            k->forward(&a, 0, l->length, m->scratch);
        else
            k->backward(&a, &g, m->scratch);
    }
    double flops = (l->kind == FORWARD ? 4.0 : 10.0) * (double)(l->length * l->length * hidden);
    return l->is_causal ? flops / 2 : flops;
}

static void fill(struct memory *m, size_t values, bool is_bf16)
{
    for (size_t i = 0; i < values; i++) {
        /* 0.5 to 1 and its negative: both halves of the float are fair bfloat16. */
        uint32_t bits = (uint32_t)wt_random_at(3, i);
        uint16_t half = (uint16_t)(0x3f00u | (bits & 0x807f));
        float x = (float)(bits >> 8) / (float)(1 << 23) - 1;
        if (is_bf16)
            memcpy(m->qkv + 2 * i, &half, 2);
        else
            memcpy(m->qkv + 4 * i, &x, 4);
        if (i < values / 3)
            memcpy(m->dcontext + (is_bf16 ? 2 : 4) * i, m->qkv + (is_bf16 ? 2 : 4) * i,
                   is_bf16 ? 2 : 4);
    }
}

static void sample(struct line *l, const struct wt_attend_kernels *k,
                   const struct wt_matvec_kernels *products, struct memory *m, size_t round,
                   double peak, double bandwidth)
{
    if (l->kind < FEW_ROWS)
        fill(m, l->length * l->head * l->count * (l->kind == DECODE ? 2 : 3), l->is_bf16);
    else
        fill(m, 3 * l->length * l->head, l->is_bf16);
    if (l->kind == BACKWARD) { /* needs context and lse */
        struct line first = *l;
        first.kind = FORWARD;
        run_line(&first, k, products, m);
    }
    run_line(l, k, products, m);
    double done = 0;
    int64_t begin_ns = now_ns(), end_ns = begin_ns;
    for (; end_ns < begin_ns + SAMPLE_NS; end_ns = now_ns())
        done += run_line(l, k, products, m);
    l->rate[round] = done / (double)(end_ns - begin_ns);
    l->share[round] = l->rate[round] / (is_of_memory(l) ? bandwidth : peak);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 11;
    if (rounds < 1 || rounds > ROUNDS_MOST || argc > 3) {
        fprintf(stderr, "attend: usage: attend [ROUNDS [SET]], ROUNDS 1 to %d\n", ROUNDS_MOST);
        return 2;
    }
    const struct wt_attend_kernels *k = NULL;
    for (size_t i = 0; wt_attend_at(i) && !k; i++)
        if (argc < 3 || !strcmp(wt_attend_at(i)->name, argv[2]))
            k = wt_attend_at(i);
    const struct wt_matvec_kernels *products = NULL;
    for (size_t i = 0; wt_matvec_at(i) && !products; i++)
        if (argc < 3 || !strcmp(wt_matvec_at(i)->name, argv[2]))
            products = wt_matvec_at(i);
    if (!k && products) /* a set that only products have */
        k = wt_attend_best();
    if (!k || !products) {
        fprintf(stderr, "attend: this processor cannot run %s\n", argv[2]);
        return 1;
    }

    size_t largest = (size_t)68 << 20; /* as the largest line's arrays */
    struct memory m = {.qkv = malloc(largest),
                       .context = malloc(largest),
                       .grad = malloc(largest),
                       .dcontext = malloc(largest),
                       .scratch = malloc(largest),
                       .lse = malloc(largest)};
    char *memory = malloc(READ_BYTES);
    if (!m.qkv || !m.context || !m.grad || !m.dcontext || !m.scratch || !m.lse || !memory) {
        fprintf(stderr, "attend: no memory\n");
        return 1;
    }
    /* As floats, bfloat16 and integers fair numbers: 0.747 and the like. */
    for (size_t i = 0; i < READ_BYTES / 2; i++)
        memcpy(memory + 2 * i, &(uint16_t){0x3f3f}, 2);
    memset(m.lse, 0, largest);
    m.weights = memory;

    double (*peak_fn)(size_t) = peak_of(k->name);
    static double peaks[ROUNDS_MOST], bandwidths[ROUNDS_MOST];
    for (size_t round = 0; round < (size_t)rounds; round++) {
        int64_t begin_ns = now_ns();
        double done = peak_fn(4000000);
        peaks[round] = done / (double)(now_ns() - begin_ns);
        begin_ns = now_ns();
        done = read_all(memory);
        bandwidths[round] = done / (double)(now_ns() - begin_ns);
        for (size_t i = 0; i < WT_COUNTOF(lines); i++)
            sample(&lines[i], k, products, &m, round, peaks[round], bandwidths[round]);
    }

    printf("%s, products %s, one thread, medians of %ld rounds\n", k->name, products->name, rounds);
    for (size_t i = 0; i < WT_COUNTOF(lines); i++)
        printf("%-28s %7.1f %s  %3.0f %% of the %s\n", lines[i].name,
               wt_median(lines[i].rate, (size_t)rounds),
               is_of_memory(&lines[i]) ? "GB/s   " : "GFLOP/s",
               100 * wt_median(lines[i].share, (size_t)rounds),
               is_of_memory(&lines[i]) ? "read bandwidth" : "peak");
    printf("%-28s %7.1f GFLOP/s\n", "multiply-add peak", wt_median(peaks, (size_t)rounds));
    printf("%-28s %7.1f GB/s\n", "read bandwidth", wt_median(bandwidths, (size_t)rounds));
    char *arrays[] = {m.qkv, m.context, m.grad, m.dcontext, m.scratch, memory};
    for (size_t i = 0; i < WT_COUNTOF(arrays); i++)
        free(arrays[i]);
    free(m.lse);
    return 0;
}
