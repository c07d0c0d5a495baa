/* Matrix products: which library, which pieces, and the pieces themselves. */
#include <assert.h>
#include <cblas.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#ifdef WT_HAS_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif

#include "base/base.h"
#include "workload/kernels.h"
#include "workload/products.h"

/* OpenBLAS has it, other libraries with the same interface need not. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

enum library {
    OPENBLAS,
    DNNL_SGEMM,     /* its BLAS-like call, for float */
    DNNL_PRIMITIVE, /* its matmul: bfloat16, and float where it has better code for it */
    PANELS,         /* panels.c: weights that are packed */
    LIBRARIES
};

#define GRIDS          6    /* cuts into pieces that are tried */
#define LIBRARY_TRIES  3    /* of each library: the first one also pays for code made at run time */
#define GRID_TRIES     2    /* of each further cut */
#define TUNED_FLOPS    5e7  /* products below are not timed */
#define CHOICES        512  /* slots of the table, twice as many as shapes are expected */
#define PRIMITIVES     1024 /* most that are kept */
#define ROW_ALIGNMENT  16
#define SHAPE_ROUNDING 64 /* shapes with the same rounded numbers of rows share a choice */

struct grid {
    unsigned rows, columns; /* pieces along each */
};

/* What is chosen for products of a shape. */
struct choice {
    uint64_t form_and_types; /* 0: a free slot */
    size_t m, n, k;          /* rounded */
    struct grid grids[GRIDS];
    enum library libraries[LIBRARIES];
    unsigned grid_count, library_count;
    unsigned tried;
    double best_ns[LIBRARIES][GRIDS]; /* 0: not tried; of the shape as it came, per FLOP */
    unsigned library, grid;           /* indices of the best so far */
};

/* One thread's; its own cache lines. */
struct worker {
    float *floats; /* bfloat16 operands in float, where nothing multiplies them; rows for panels */
    size_t float_count;
    char *scratch; /* of oneDNN's */
    size_t scratch_bytes;
    bool is_out_of_memory;
    char rest[88];
};

#ifdef WT_HAS_DNNL
struct primitive_key {
    enum wt_form form;
    bool is_bf16, is_c_bf16, has_bias, is_adding;
    size_t rows, columns, k, lda, ldb, ldc;
};
struct primitive {
    struct primitive_key key;
    uint64_t last_used;
    dnnl_primitive_t at;
    size_t scratch_bytes;
    dnnl_memory_t *memories; /* [threads][5]: a, b, bias, c, scratch */
};
#endif

struct wt_products {
    struct wt_pool *pool;
    unsigned threads;
    bool has_native_bf16;
    bool has_dnnl_float; /* its primitives are worth a try for float */
    int forced;          /* a library, -1: none */
    const struct wt_kernels *k;
    const struct wt_panel_kernels *panels; /* NULL: packed weights are not for here */
    struct choice *choices;                /* [CHOICES] */
    unsigned choice_count;
    struct worker *workers; /* [threads] */
    double flops;
#ifdef WT_HAS_DNNL
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* [threads] */
    struct primitive *primitives;
    size_t primitive_count;
    uint64_t uses;
#endif
};

/* ---- one thread each ---- */

/* Both libraries may be built on OpenMP, which would start threads of its own in each of ours.
 * Looked up at run time: whose OpenMP it is, is theirs to say. */
static void be_single_threaded(void)
{
    static _Thread_local bool is_done;
    if (is_done)
        return;
    is_done = true;
    void (*set)(int) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&set, &symbol, sizeof(set)); /* ISO C knows no conversion of the two */
    if (set)
        set(1);
}

/* ---- what there is ---- */

bool wt_products_has_bf16(const char **ret_why_not)
{
    const char *why = NULL;
#if !defined(WT_HAS_DNNL)
    why = "it was built without oneDNN, which multiplies bf16";
#elif defined(WT_X86)
    /* oneDNN can emulate it where AVX-512 is all there is, slower than float. */
    __builtin_cpu_init();
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    if (!__builtin_cpu_supports("avx512bf16"))
        why = "this processor has no AVX512_BF16";
    else if ((isa & dnnl_cpu_isa_avx512_core_bf16) != dnnl_cpu_isa_avx512_core_bf16)
        why = "oneDNN is told not to use this processor's AVX512_BF16 (ONEDNN_MAX_CPU_ISA)";
#else
    why = "it is not known whether this processor multiplies bf16";
#endif
    if (why && ret_why_not)
        *ret_why_not = why;
    return !why;
}

/* The library that the environment names; -1: none. */
static int forced_library(int *ret_library, struct wt_error *err)
{
    const char *name = getenv("WATTUNE_PRODUCTS");
    *ret_library = -1;
    if (!name || !*name)
        return 0;
    if (strcmp(name, "openblas") == 0)
        *ret_library = OPENBLAS;
    else if (strcmp(name, "onednn") == 0)
        *ret_library = DNNL_SGEMM;
    else if (strcmp(name, "onednn-matmul") == 0)
        *ret_library = DNNL_PRIMITIVE;
    else if (strcmp(name, "panels") == 0)
        *ret_library = PANELS;
    else
        return wt_fail(err, WT_E_USAGE,
                       "WATTUNE_PRODUCTS is \"%s\", not openblas, onednn, onednn-matmul or panels",
                       name);
#ifndef WT_HAS_DNNL
    if (*ret_library != PANELS)
        *ret_library = OPENBLAS; /* there is no other, and no cut is tried either */
#endif
    return 0;
}

int wt_products_new(struct wt_products **ret_products, struct wt_pool *pool, unsigned threads,
                    struct wt_error *err)
{
    int forced, rc = forced_library(&forced, err);
    if (rc < 0)
        return rc;
    struct wt_products *p = calloc(1, sizeof(*p));
    rc = wt_fail(err, WT_E_NOMEM, "no memory for matrix products");
    if (!p)
        return rc;
    p->pool = pool;
    p->threads = threads;
    p->k = wt_kernels_best();
    p->panels = forced < 0 ? wt_panels_best() : forced == PANELS ? wt_panels_any() : NULL;
    p->forced = forced;
    p->choices = calloc(CHOICES, sizeof(*p->choices));
    p->workers = calloc(threads, sizeof(*p->workers));
    if (!p->choices || !p->workers)
        goto out;
    p->has_native_bf16 = wt_products_has_bf16(NULL);
#ifdef WT_HAS_DNNL
    p->has_dnnl_float = strcmp(p->k->name, "avx512") == 0;
    p->streams = calloc(threads, sizeof(*p->streams));
    p->primitives = calloc(PRIMITIVES, sizeof(*p->primitives));
    if (!p->streams || !p->primitives ||
        dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success)
        goto out;
    for (unsigned i = 0; i < threads; i++)
        if (dnnl_stream_create(&p->streams[i], p->engine, 0) != dnnl_success)
            goto out;
#endif
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
    if (err)
        *err = (struct wt_error){0};
    *ret_products = p;
    p = NULL;
    rc = 0;
out:
    wt_products_free(p);
    return rc;
}

#ifdef WT_HAS_DNNL
static void primitive_done(struct primitive *p, unsigned threads)
{
    if (p->memories)
        for (unsigned i = 0; i < 5 * threads; i++)
            if (p->memories[i])
                dnnl_memory_destroy(p->memories[i]);
    free(p->memories);
    if (p->at)
        dnnl_primitive_destroy(p->at);
    *p = (struct primitive){0};
}
#endif

void wt_products_free(struct wt_products *p)
{
    if (!p)
        return;
#ifdef WT_HAS_DNNL
    for (size_t i = 0; i < p->primitive_count; i++)
        primitive_done(&p->primitives[i], p->threads);
    free(p->primitives);
    for (unsigned i = 0; p->streams && i < p->threads; i++)
        if (p->streams[i])
            dnnl_stream_destroy(p->streams[i]);
    free(p->streams);
    if (p->engine)
        dnnl_engine_destroy(p->engine);
#endif
    for (unsigned i = 0; p->workers && i < p->threads; i++) {
        free(p->workers[i].floats);
        free(p->workers[i].scratch);
    }
    free(p->workers);
    free(p->choices);
    free(p);
}

const struct wt_panel_kernels *wt_products_panels(const struct wt_products *p)
{
    return p->panels;
}

double wt_products_flops(const struct wt_products *p)
{
    return p->flops;
}

void wt_products_add_flops(struct wt_products *p, double flops)
{
    p->flops += flops;
}

/* ---- on one thread ---- */

static void openblas(bool ta, bool tb, size_t m, size_t n, size_t k, const float *a, size_t lda,
                     const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    /* The sizes fit in int: configurations are bounded, and so is a batch. */
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                (int)m, (int)n, (int)k, 1, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

#ifdef WT_HAS_DNNL
static void dnnl(bool ta, bool tb, size_t m, size_t n, size_t k, const float *a, size_t lda,
                 const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, 1,
                   a, (dnnl_dim_t)lda, b, (dnnl_dim_t)ldb, beta, c,
                   (dnnl_dim_t)ldc) != dnnl_success)
        openblas(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc); /* it had no memory */
}
#endif

static void sgemm(enum library library, bool ta, bool tb, size_t m, size_t n, size_t k,
                  const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                  size_t ldc)
{
    be_single_threaded();
#ifdef WT_HAS_DNNL
    if (library != OPENBLAS) {
        dnnl(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc);
        return;
    }
#else
    (void)library;
#endif
    openblas(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

/* ---- a piece of a product ---- */

struct job {
    struct wt_products *p;
    const struct wt_product *of;
    enum library by;
    size_t piece_rows, piece_columns;
    struct grid grid;
#ifdef WT_HAS_DNNL
    struct primitive *primitives[2][2]; /* by whether it is the last piece of rows, of columns */
#endif
};

/* Where rows `row` and columns `column` of the result have their operands. */
struct operands {
    size_t a, b, c; /* first values */
    size_t lda, ldb, ldc;
};

static struct operands operands_at(const struct wt_product *of, size_t row, size_t column)
{
    size_t m = of->m, n = of->n, k = of->k;
    switch (of->form) {
    case WT_FORM_FORWARD:
        return (struct operands){row * k, column * k, row * n + column, k, k, n};
    case WT_FORM_GRAD_INPUT:
        return (struct operands){row * k, column, row * n + column, k, n, n};
    case WT_FORM_GRAD_WEIGHT:
        break;
    }
    return (struct operands){row, column, row * n + column, m, n, n};
}

static float *floats_of(struct worker *w, size_t count)
{
    if (count > w->float_count) {
        free(w->floats);
        w->float_count = 0;
        w->floats = malloc(count * sizeof(float));
        if (w->floats)
            w->float_count = count;
        else
            w->is_out_of_memory = true;
    }
    return w->floats;
}

/* Operands of bfloat16 multiplied in float: right everywhere, fast nowhere. */
static void widened_piece(const struct job *j, size_t row, size_t rows, size_t column,
                          size_t columns, unsigned thread)
{
    const struct wt_product *of = j->of;
    const struct wt_kernels *k = j->p->k;
    struct operands o = operands_at(of, row, column);
    bool ta = of->form == WT_FORM_GRAD_WEIGHT, tb = of->form == WT_FORM_FORWARD;
    size_t a_rows = ta ? of->k : rows, a_columns = ta ? rows : of->k;
    size_t b_rows = tb ? columns : of->k, b_columns = tb ? of->k : columns;
    float *a =
        floats_of(&j->p->workers[thread], a_rows * a_columns + b_rows * b_columns + rows * columns);
    if (!a)
        return;
    float *b = a + a_rows * a_columns, *c = b + b_rows * b_columns;
    for (size_t r = 0; r < a_rows; r++)
        k->widen(a + r * a_columns, (const uint16_t *)of->a + o.a + r * o.lda, a_columns);
    for (size_t r = 0; r < b_rows; r++)
        k->widen(b + r * b_columns, (const uint16_t *)of->b + o.b + r * o.ldb, b_columns);
    sgemm(j->by, ta, tb, rows, columns, of->k, a, a_columns, b, b_columns, 0, c, columns);
    for (size_t r = 0; r < rows; r++) {
        float *from = c + r * columns;
        size_t at = o.c + r * o.ldc;
        if (of->bias)
            k->add(from, of->bias + column, columns);
        if (of->is_adding && of->is_c_bf16) { /* a's place is free by now */
            k->widen(a, (const uint16_t *)of->c + at, columns);
            k->add(from, a, columns);
        } else if (of->is_adding) {
            k->add(from, (const float *)of->c + at, columns);
        }
        if (of->is_c_bf16)
            k->narrow((uint16_t *)of->c + at, from, columns);
        else
            memcpy((float *)of->c + at, from, columns * sizeof(float));
    }
}

static void float_piece(const struct job *j, size_t row, size_t rows, size_t column, size_t columns)
{
    const struct wt_product *of = j->of;
    struct operands o = operands_at(of, row, column);
    float *c = (float *)of->c + o.c;
    sgemm(j->by, of->form == WT_FORM_GRAD_WEIGHT, of->form == WT_FORM_FORWARD, rows, columns, of->k,
          (const float *)of->a + o.a, o.lda, (const float *)of->b + o.b, o.ldb,
          of->is_adding ? 1 : 0, c, o.ldc);
    if (of->bias)
        for (size_t r = 0; r < rows; r++)
            j->p->k->add(c + r * o.ldc, of->bias + column, columns);
}

_Static_assert(ROW_ALIGNMENT % WT_PANEL == 0, "pieces begin where panels do");

/* Block by block of rows, what follows while a block is in the cache. */
static void panels_piece(const struct job *j, size_t row, size_t rows, size_t column,
                         size_t columns, unsigned thread)
{
    const struct wt_product *of = j->of;
    float *scratch = floats_of(&j->p->workers[thread], WT_PANEL_ROWS * WT_PANEL_STRETCH);
    if (!scratch)
        return;
    size_t blocks = (rows + WT_PANEL_ROWS - 1) / WT_PANEL_ROWS, each = (rows + blocks - 1) / blocks;
    each = (each + WT_PANEL_HEIGHT - 1) / WT_PANEL_HEIGHT * WT_PANEL_HEIGHT;
    for (size_t at = row; at < row + rows; at += each) {
        size_t here = row + rows - at < each ? row + rows - at : each;
        j->p->panels->product(of->packed, (const float *)of->a + at * of->k, of->bias,
                              (float *)of->c + at * of->n, here, column / WT_PANEL,
                              wt_panels_of(column + columns), scratch);
        if (of->then)
            of->then(of->then_data, at, here, column, columns, thread);
    }
}

#ifdef WT_HAS_DNNL
/* Value i of an array of 2- or 4-byte values. */
static void *value_at(const void *array, size_t i, bool is_bf16)
{
    const char *at = (const char *)array + i * (is_bf16 ? 2 : 4);
    return (void *)(uintptr_t)at; /* const is the caller's affair */
}

static void primitive_piece(const struct job *j, const struct primitive *primitive, size_t row,
                            size_t column, unsigned thread)
{
    const struct wt_product *of = j->of;
    struct operands o = operands_at(of, row, column);
    be_single_threaded();
    dnnl_memory_t *m = primitive->memories + (size_t)5 * thread;
    void *at[5] = {value_at(of->a, o.a, of->is_bf16), value_at(of->b, o.b, of->is_bf16),
                   of->bias ? value_at(of->bias, column, false) : NULL,
                   value_at(of->c, o.c, of->is_c_bf16), j->p->workers[thread].scratch};
    static const int names[5] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST,
                                 DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[5];
    int count = 0;
    for (int i = 0; i < 5; i++) {
        if (!m[i])
            continue;
        dnnl_memory_set_data_handle(m[i], at[i]);
        args[count++] = (dnnl_exec_arg_t){names[i], m[i]};
    }
    if (dnnl_primitive_execute(primitive->at, j->p->streams[thread], count, args) != dnnl_success)
        j->p->workers[thread].is_out_of_memory = true;
}
#endif

static void piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct job *j = data;
    const struct wt_product *of = j->of;
    for (size_t i = from; i < to; i++) {
        size_t r = i / j->grid.columns, c = i % j->grid.columns;
        size_t row = r * j->piece_rows, column = c * j->piece_columns;
        size_t rows = of->m - row < j->piece_rows ? of->m - row : j->piece_rows;
        size_t columns = of->n - column < j->piece_columns ? of->n - column : j->piece_columns;
        if (j->by == PANELS) {
            panels_piece(j, row, rows, column, columns, thread);
            continue;
        }
#ifdef WT_HAS_DNNL
        if (j->by == DNNL_PRIMITIVE)
            primitive_piece(j, j->primitives[r + 1 == j->grid.rows][c + 1 == j->grid.columns], row,
                            column, thread);
        else
#endif
            if (of->is_bf16)
            widened_piece(j, row, rows, column, columns, thread);
        else
            float_piece(j, row, rows, column, columns);
        if (of->then)
            of->then(of->then_data, row, rows, column, columns, thread);
    }
}

/* ---- oneDNN's primitives ---- */

#ifdef WT_HAS_DNNL
static dnnl_memory_desc_t matrix(size_t rows, size_t columns, size_t row_stride,
                                 size_t column_stride, bool is_bf16)
{
    dnnl_memory_desc_t d;
    dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    dnnl_dims_t strides = {(dnnl_dim_t)row_stride, (dnnl_dim_t)column_stride};
    dnnl_memory_desc_init_by_strides(&d, 2, dims, is_bf16 ? dnnl_bf16 : dnnl_f32, strides);
    return d;
}

static bool primitive_make(struct wt_products *p, struct primitive *made)
{
    be_single_threaded(); /* it keeps the number of threads that there are when it is made */
    const struct primitive_key *key = &made->key;
    bool ta = key->form == WT_FORM_GRAD_WEIGHT, tb = key->form == WT_FORM_FORWARD;
    dnnl_memory_desc_t mds[4] = {
        matrix(key->rows, key->k, ta ? 1 : key->lda, ta ? key->lda : 1, key->is_bf16),
        matrix(key->k, key->columns, tb ? 1 : key->ldb, tb ? key->ldb : 1, key->is_bf16),
        matrix(1, key->columns, key->columns, 1, false),
        matrix(key->rows, key->columns, key->ldc, 1, key->is_c_bf16)};
    dnnl_matmul_desc_t d;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool is_made = false;
    if (dnnl_matmul_desc_init(&d, &mds[0], &mds[1], key->has_bias ? &mds[2] : NULL, &mds[3]) !=
            dnnl_success ||
        dnnl_primitive_attr_create(&attr) != dnnl_success ||
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) != dnnl_success)
        goto out;
    if (key->is_adding && (dnnl_post_ops_create(&ops) != dnnl_success ||
                           dnnl_post_ops_append_sum(ops, 1) != dnnl_success ||
                           dnnl_primitive_attr_set_post_ops(attr, ops) != dnnl_success))
        goto out;
    if (dnnl_primitive_desc_create(&pd, &d, attr, p->engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&made->at, pd) != dnnl_success)
        goto out;
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    made->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    made->memories = calloc((size_t)5 * p->threads, sizeof(dnnl_memory_t));
    if (!made->memories)
        goto out;
    for (unsigned t = 0; t < p->threads; t++) {
        dnnl_memory_t *m = made->memories + (size_t)5 * t;
        for (int i = 0; i < 4; i++)
            if ((i != 2 || key->has_bias) &&
                dnnl_memory_create(&m[i], &mds[i], p->engine, DNNL_MEMORY_NONE) != dnnl_success)
                goto out;
        if (made->scratch_bytes > 0 &&
            dnnl_memory_create(&m[4], scratch, p->engine, DNNL_MEMORY_NONE) != dnnl_success)
            goto out;
    }
    is_made = true;
out:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return is_made;
}

static bool is_same_key(const struct primitive_key *a, const struct primitive_key *b)
{
    return a->form == b->form && a->is_bf16 == b->is_bf16 && a->is_c_bf16 == b->is_c_bf16 &&
           a->has_bias == b->has_bias && a->is_adding == b->is_adding && a->rows == b->rows &&
           a->columns == b->columns && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb &&
           a->ldc == b->ldc;
}

/* NULL: oneDNN has none, or no memory. The oldest makes room: batches with ever different numbers
 * of rows must not fill the memory. */
static struct primitive *primitive_for(struct wt_products *p, const struct primitive_key *key)
{
    for (size_t i = 0; i < p->primitive_count; i++)
        if (is_same_key(&p->primitives[i].key, key)) {
            p->primitives[i].last_used = ++p->uses;
            return &p->primitives[i];
        }
    struct primitive *slot = &p->primitives[0];
    if (p->primitive_count < PRIMITIVES) {
        slot = &p->primitives[p->primitive_count];
    } else {
        for (size_t i = 1; i < PRIMITIVES; i++)
            if (p->primitives[i].last_used < slot->last_used)
                slot = &p->primitives[i];
        primitive_done(slot, p->threads);
    }
    slot->key = *key;
    bool is_made = primitive_make(p, slot);
    for (unsigned t = 0; is_made && t < p->threads; t++) {
        struct worker *w = &p->workers[t];
        if (slot->scratch_bytes <= w->scratch_bytes)
            continue;
        size_t bytes = (slot->scratch_bytes + 63) / 64 * 64;
        char *scratch = aligned_alloc(64, bytes);
        if (!scratch) { /* the smaller one stays: primitives that are kept need it */
            is_made = false;
            break;
        }
        free(w->scratch);
        w->scratch = scratch;
        w->scratch_bytes = bytes;
    }
    if (!is_made) {
        primitive_done(slot, p->threads);
        return NULL; /* a slot that is free by its key: found by no one, reused as the oldest */
    }
    slot->last_used = ++p->uses;
    if (slot == &p->primitives[p->primitive_count])
        p->primitive_count++;
    return slot;
}

static bool take_primitives(struct job *j)
{
    const struct wt_product *of = j->of;
    struct operands o = operands_at(of, 0, 0);
    size_t last_rows = of->m - (j->grid.rows - 1) * j->piece_rows;
    size_t last_columns = of->n - (j->grid.columns - 1) * j->piece_columns;
    struct primitive_key key = {.form = of->form,
                                .is_bf16 = of->is_bf16,
                                .is_c_bf16 = of->is_c_bf16,
                                .has_bias = of->bias,
                                .is_adding = of->is_adding,
                                .k = of->k,
                                .lda = o.lda,
                                .ldb = o.ldb,
                                .ldc = o.ldc};
    for (int r = 0; r < 2; r++)
        for (int c = 0; c < 2; c++) {
            if ((r == 0 && j->grid.rows == 1) || (c == 0 && j->grid.columns == 1))
                continue;
            key.rows = r ? last_rows : j->piece_rows;
            key.columns = c ? last_columns : j->piece_columns;
            j->primitives[r][c] = primitive_for(j->p, &key);
            if (!j->primitives[r][c])
                return false;
        }
    return true;
}
#endif

/* ---- the choice ---- */

static size_t piece_of(size_t span, unsigned pieces)
{
    size_t piece = (span + pieces - 1) / pieces;
    return (piece + ROW_ALIGNMENT - 1) / ROW_ALIGNMENT * ROW_ALIGNMENT;
}

/* How much a cut makes the threads read: each piece of the result reads its operands. */
static double grid_cost(const struct choice *c, struct grid g)
{
    return (double)g.columns * (double)c->m + (double)g.rows * (double)c->n;
}

static void add_grid(struct choice *c, struct grid g)
{
    for (unsigned i = 0; i < c->grid_count; i++)
        if (c->grids[i].rows == g.rows && c->grids[i].columns == g.columns)
            return;
    if (c->grid_count < GRIDS)
        c->grids[c->grid_count++] = g;
}

/* The cut into `pieces` that reads least, or into rows or columns alone. */
static struct grid best_grid(const struct choice *c, unsigned pieces)
{
    struct grid best = {1, pieces};
    for (unsigned rows = 1; rows <= pieces; rows++) {
        struct grid g = {rows, pieces / rows};
        if (pieces % rows == 0 && grid_cost(c, g) < grid_cost(c, best))
            best = g;
    }
    return best;
}

/* Two pieces a thread cost more reading, but one that is held up leaves work to the others. */
static void list_grids(struct choice *c, unsigned threads, bool is_packed)
{
    if (threads == 1) {
        add_grid(c, (struct grid){1, 1});
        return;
    }
    if (is_packed) { /* as many rows as panels.c takes at a time, all columns */
        unsigned blocks = (unsigned)((c->m + WT_PANEL_ROWS - 1) / WT_PANEL_ROWS);
        add_grid(c, (struct grid){(blocks + threads - 1) / threads * threads, 1});
    }
    struct grid one = best_grid(c, threads), two = best_grid(c, 2 * threads);
    bool is_thin = c->m * c->n < (size_t)threads * 2 * 128 * 128;
    add_grid(c, is_thin ? one : two);
    add_grid(c, is_thin ? two : one);
    add_grid(c, best_grid(c, 4 * threads));
    add_grid(c, c->m > c->n ? (struct grid){threads, 1} : (struct grid){1, threads});
    add_grid(c, c->m > c->n ? (struct grid){1, threads} : (struct grid){threads, 1});
}

static void add_library(struct choice *c, enum library library)
{
    c->libraries[c->library_count++] = library;
}

/* Small products take the first. */
static void list_libraries(const struct wt_products *p, struct choice *c,
                           const struct wt_product *of)
{
#ifdef WT_HAS_DNNL
    if (of->is_bf16 && p->has_native_bf16) {
        add_library(c, DNNL_PRIMITIVE);
        return;
    }
#endif
    bool has_panels = p->panels && of->packed;
    if (p->forced >= 0) {
        bool is_there = p->forced != PANELS || has_panels;
        add_library(c, is_there ? (enum library)p->forced : OPENBLAS);
        return;
    }
    if (has_panels)
        add_library(c, PANELS);
#ifdef WT_HAS_DNNL
    add_library(c, DNNL_SGEMM);
    if (of->is_bf16)
        return;
    if (p->has_dnnl_float)
        add_library(c, DNNL_PRIMITIVE);
#endif
    add_library(c, OPENBLAS);
}

static size_t rounded(size_t n)
{
    return (n + SHAPE_ROUNDING - 1) / SHAPE_ROUNDING * SHAPE_ROUNDING;
}

/* The choice for a shape. When the table is full a shape shares another's: right, maybe slower. */
static struct choice *choice_for(struct wt_products *p, const struct wt_product *of)
{
    struct choice key = {.form_and_types = 1 + (uint64_t)of->form * 8 + (of->packed ? 4 : 0) +
                                           of->is_bf16 * 2U + of->is_c_bf16,
                         .m = rounded(of->m),
                         .n = rounded(of->n),
                         .k = rounded(of->k)};
    uint64_t hash = key.form_and_types;
    const size_t parts[3] = {key.m, key.n, key.k};
    for (int i = 0; i < 3; i++)
        hash = (hash ^ parts[i]) * UINT64_C(0x9e3779b97f4a7c15);
    const size_t first = (hash >> 32) % CHOICES;
    for (size_t at = first;; at = (at + 1) % CHOICES) {
        struct choice *c = &p->choices[at];
        bool is_same_kind = c->form_and_types == key.form_and_types;
        if (is_same_kind && c->m == key.m && c->n == key.n && c->k == key.k)
            return c;
        if (c->form_and_types)
            continue;
        if (p->choice_count == CHOICES / 2) { /* forget them all: measured anew, none is wrong */
            memset(p->choices, 0, CHOICES * sizeof(*p->choices));
            p->choice_count = 0;
            c = &p->choices[first]; /* where it is looked for */
        }
        *c = key;
        p->choice_count++;
        list_grids(c, p->threads, p->panels && of->packed);
        list_libraries(p, c, of);
        return c;
    }
}

/* Which candidate is due. False: all were tried. */
static bool next_try(const struct choice *c, unsigned *ret_library, unsigned *ret_grid)
{
    unsigned t = c->tried, of_libraries = c->library_count * LIBRARY_TRIES;
    if (t < of_libraries) {
        *ret_library = t % c->library_count;
        *ret_grid = 0;
        return true;
    }
    t -= of_libraries;
    if (t >= (c->grid_count - 1) * GRID_TRIES)
        return false;
    *ret_library = c->library;
    *ret_grid = 1 + t % (c->grid_count - 1);
    return true;
}

static void note_try(struct choice *c, unsigned library, unsigned grid, double ns_per_flop)
{
    double *best = &c->best_ns[library][grid];
    if (*best <= 0 || ns_per_flop < *best)
        *best = ns_per_flop;
    c->tried++;
    /* A library is chosen only when all had their turns: as often as the others. */
    if (c->tried % c->library_count == 0 || c->tried > c->library_count * LIBRARY_TRIES)
        for (unsigned l = 0; l < c->library_count; l++)
            for (unsigned g = 0; g < c->grid_count; g++)
                if (c->best_ns[l][g] > 0 && c->best_ns[l][g] < c->best_ns[c->library][c->grid]) {
                    c->library = l;
                    c->grid = g;
                }
}

int wt_products_run(struct wt_products *p, const struct wt_product *of, struct wt_error *err)
{
    assert(!of->packed || !(of->is_bf16 || of->is_adding));
    if (of->m == 0 || of->n == 0)
        return 0;
    struct choice *c = choice_for(p, of);
    double flops = 2.0 * (double)of->m * (double)of->n * (double)of->k;
    /* A small one may share a choice with larger ones; it takes the same way before and after. */
    bool is_tuned = flops >= TUNED_FLOPS;
    unsigned library = is_tuned ? c->library : 0, grid = is_tuned ? c->grid : 0;
    /* Whoever names a library gets the same sums each time, so nothing is tried. */
    bool is_try = is_tuned && p->forced < 0 && next_try(c, &library, &grid);

    struct job j = {.p = p, .of = of, .by = c->libraries[library]};
    j.piece_rows = piece_of(of->m, c->grids[grid].rows);
    j.piece_columns = piece_of(of->n, c->grids[grid].columns);
    j.grid = (struct grid){(unsigned)((of->m + j.piece_rows - 1) / j.piece_rows),
                           (unsigned)((of->n + j.piece_columns - 1) / j.piece_columns)};
#ifdef WT_HAS_DNNL
    /* Without values to sum up there is no primitive, and nothing to multiply. */
    if (j.by == DNNL_PRIMITIVE && (of->k == 0 || !take_primitives(&j))) {
        /* By way of float it would be slow, and pass for bfloat16's speed. */
        if (of->is_bf16 && p->has_native_bf16 && of->k > 0)
            return wt_fail(err, WT_E_UNSUPPORTED,
                           "oneDNN has no bf16 product of %zu x %zu x %zu, or no memory for it",
                           of->m, of->n, of->k);
        j.by = DNNL_SGEMM;
    }
#endif
    int64_t from_ns = is_try ? wt_clock_now_ns() : 0;
    wt_pool_run(p->pool, (size_t)j.grid.rows * j.grid.columns, 1, piece, &j);
    if (is_try)
        note_try(c, library, grid, (double)(wt_clock_now_ns() - from_ns) / flops);

    for (unsigned t = 0; t < p->threads; t++)
        if (p->workers[t].is_out_of_memory) {
            p->workers[t].is_out_of_memory = false;
            return wt_fail(err, WT_E_NOMEM, "no memory for a product of %zu x %zu x %zu", of->m,
                           of->n, of->k);
        }
    p->flops += flops;
    return 0;
}
