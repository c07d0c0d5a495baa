/* What the files of the CPU backend share: its memory, and how its operations read and write
 * activations and add up over rows. cpu.c makes it and has most operations, cpu_linear.c those with
 * weights. Internal to those two. */
#ifndef WT_WORKLOAD_CPU_STATE_H
#define WT_WORKLOAD_CPU_STATE_H

#include <stdint.h>
#include <string.h>

#include "workload/cpu.h"
#include "workload/pool.h"
#include "workload/products.h"

#define ROWS_PIECE 16 /* rows a thread takes at a time */
#define CHUNKS     64 /* most partial sums over rows */

struct room {
    void *at;
    size_t bytes;
};

struct allocation {
    void *at;
    size_t bytes; /* 0: from the heap */
};

struct cpu {
    enum wt_dtype dtype;
    bool is_bf16;
    unsigned thread_count;
    const struct wt_kernels *k;
    const struct wt_attend_kernels *attend;
    const struct wt_matvec_kernels *matvec;
    struct wt_pool *pool;
    struct wt_products *products;
    struct room *scratch; /* of each thread */
    struct allocation *allocations;
    size_t allocation_count, allocation_size;
    struct room logits, partial;
    struct wt_error failed; /* code 0: nothing has */
};

/* A backend's alloc and release. */
int wt_cpu_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err);
void wt_cpu_release(void *self, void *at);

/* Scratch of at least so many bytes; what was in it is lost. NULL without memory: said by sync. */
void *wt_cpu_room(struct cpu *c, struct room *r, size_t bytes);
/* So many floats for each thread; false without memory. */
bool wt_cpu_rooms(struct cpu *c, size_t floats);

static inline float *scratch_of(const struct cpu *c, unsigned thread)
{
    return c->scratch[thread].at;
}

/* The first failure of an operation, which sync will say. */
static inline void failed(struct cpu *c, int rc, const struct wt_error *err)
{
    if (rc < 0 && !c->failed.code)
        c->failed = *err;
}

/* ---- cpu_linear.c: a backend's operations with weights ---- */

int wt_cpu_prepare(void *self, struct wt_weight *w, struct wt_error *err);
void wt_cpu_unprepare(void *self, struct wt_weight *w);
/* A weight's panels, or NULL: not packed. */
const struct wt_panels *wt_cpu_packed(const struct cpu *c, const struct wt_weight *w);
void wt_cpu_linear(void *self, const struct wt_linear *l);
void wt_cpu_linear_backward(void *self, const struct wt_linear *l, const struct wt_linear_grad *g);

/* ---- activations ---- */

static inline void *act_at(const struct cpu *c, const void *array, size_t i)
{
    uintptr_t at = (uintptr_t)array + i * (c->is_bf16 ? 2 : 4);
    return (void *)at; /* const is the caller's affair */
}

/* n values from the i-th on, as floats: where they are, or widened into `into`. */
static inline const float *acts(const struct cpu *c, float *into, const void *array, size_t i,
                                size_t n)
{
    if (!c->is_bf16)
        return (const float *)array + i;
    c->k->widen(into, (const uint16_t *)array + i, n);
    return into;
}

/* Likewise, but always a copy. */
static inline void load(const struct cpu *c, float *into, const void *array, size_t i, size_t n)
{
    if (c->is_bf16)
        c->k->widen(into, (const uint16_t *)array + i, n);
    else
        memcpy(into, (const float *)array + i, n * sizeof(float));
}

static inline void store(const struct cpu *c, void *array, size_t i, const float *from, size_t n)
{
    float *to = (float *)array + i;
    if (c->is_bf16)
        c->k->narrow((uint16_t *)array + i, from, n);
    else if (to != from)
        memcpy(to, from, n * sizeof(float));
}

static inline void drop(const struct cpu *c, float *x, size_t i, size_t n,
                        const struct wt_dropout *d)
{
    if (d->p > 0)
        c->k->dropout(x, n, d->key, i, d->p);
}

/* ---- sums over rows ---- */

/* Chunks depend on the rows alone, so that sums do not depend on threads. */
static inline size_t chunk_of(size_t rows)
{
    size_t chunk = (rows + CHUNKS - 1) / CHUNKS;
    return chunk < ROWS_PIECE ? ROWS_PIECE : chunk;
}

/* to[n] (+)= the partial sums of all chunks. */
static inline void add_partial(const struct cpu *c, float *to, const float *partial, size_t stride,
                               size_t chunks, size_t n, bool is_adding)
{
    if (!is_adding)
        memset(to, 0, n * sizeof(float));
    for (size_t i = 0; i < chunks; i++)
        c->k->add(to, partial + i * stride, n);
}

/* Columns are shared out in pieces of at least a cache line. */
static inline size_t columns_piece(const struct cpu *c, size_t n)
{
    size_t piece = n / c->thread_count;
    return piece < 32 ? 32 : (piece + 15) / 16 * 16;
}
#endif
