/* The linear layers of the CPU backend: what is kept of weights that stay, and the ways a
 * product goes: of few rows and of integers (matvec.c), of many (products.c), and backwards. */
#include "base/base.h"
#include "workload/cpu_state.h"

#define FEW_ROWS    8   /* up to here a product is bound by memory */
#define INT8_ROWS   128 /* of a block of an integer product */
#define INT8_PANELS 8   /* likewise: few, so that a single row has enough blocks */

/* ---- weights that stay: as integers, or in panels ---- */

struct quantise {
    const struct cpu *c;
    struct wt_int8_weight *to;
    const float *from;
};

static void quantise_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct quantise *y = data;
    y->c->matvec->quantise_weight(y->to, y->from, from, to);
}

/* What a backend keeps of a weight: its struct, and the values behind it from here on. */
#define KEPT_AT 64
_Static_assert(sizeof(struct wt_int8_weight) <= KEPT_AT && sizeof(struct wt_panels) <= KEPT_AT,
               "the values lie behind it");

static int quantise(struct cpu *c, struct wt_weight *w, struct wt_error *err)
{
    if (w->in > WT_INT8_MOST_IN)
        return wt_fail(
            err, WT_E_UNSUPPORTED,
            "int8 is not for rows of %zu values: sums of more than %d do not fit 32 bits", w->in,
            WT_INT8_MOST_IN);
    size_t bytes = wt_int8_weight_bytes(w->out, w->in);
    size_t outs = wt_int8_panels(w->out) * WT_INT8_PANEL;
    int rc = wt_cpu_alloc(c, &w->prepared, KEPT_AT + bytes + 8 * outs, err);
    if (rc < 0)
        return rc;
    struct wt_int8_weight *p = w->prepared;
    char *at = (char *)w->prepared + KEPT_AT;
    *p = (struct wt_int8_weight){.values = (int8_t *)at, .out = w->out, .in = w->in};
    p->scale = (float *)(void *)(at + bytes); /* bytes: a multiple of 64 */
    p->sum = (int32_t *)(void *)(p->scale + outs);
    struct quantise y = {c, p, w->master};
    wt_pool_run(c->pool, wt_int8_panels(w->out), 1, quantise_piece, &y);
    return 0;
}

struct pack {
    const struct wt_panel_kernels *panels;
    const struct wt_panels *to;
    const float *from;
};

static void pack_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct pack *y = data;
    y->panels->pack(y->to, y->from, from, to);
}

static int pack(struct cpu *c, struct wt_weight *w, struct wt_error *err)
{
    size_t bytes = wt_panels_floats(w->out, w->in) * sizeof(float);
    int rc = wt_cpu_alloc(c, &w->prepared, KEPT_AT + bytes, err);
    if (rc < 0)
        return rc;
    struct wt_panels *p = w->prepared;
    *p = (struct wt_panels){(float *)w->prepared + KEPT_AT / sizeof(float), w->out, w->in};
    struct pack y = {wt_products_panels(c->products), p, w->master};
    wt_pool_run(c->pool, wt_panels_of(w->out), 1, pack_piece, &y);
    return 0;
}

/* In panels only where many rows come: the weights are in memory twice then. The libraries' own
 * packed forms were no faster where it was measured (AVX2). */
int wt_cpu_prepare(void *self, struct wt_weight *w, struct wt_error *err)
{
    struct cpu *c = self;
    w->prepared = NULL;
    if (c->dtype == WT_INT8)
        return quantise(c, w, err);
    bool is_for_panels = c->dtype == WT_F32 && w->is_for_many_rows && w->in > 0;
    return is_for_panels && wt_products_panels(c->products) ? pack(c, w, err) : 0;
}

void wt_cpu_unprepare(void *self, struct wt_weight *w)
{
    wt_cpu_release(self, w->prepared);
    w->prepared = NULL;
}

const struct wt_panels *wt_cpu_packed(const struct cpu *c, const struct wt_weight *w)
{
    return c->dtype == WT_INT8 ? NULL : w->prepared;
}
/* ---- linear layers ---- */

struct linear {
    struct cpu *c;
    const struct wt_linear *l;
    const struct wt_linear_grad *g;
    size_t chunk;
    float *partial; /* [chunks][out]: of dbias */
};

/* f on a piece of the product. */
static void linear_then(void *data, size_t row, size_t rows, size_t column, size_t columns,
                        unsigned thread)
{
    const struct linear *y = data;
    const struct wt_linear *l = y->l;
    const struct cpu *c = y->c;
    float *scratch = scratch_of(c, thread);
    bool is_float = l->is_float || !c->is_bf16;
    for (size_t r = row; r < row + rows; r++) {
        size_t at = r * l->w->out + column;
        const float *x;
        if (l->pre)
            x = acts(c, scratch, l->pre, at, columns);
        else if (is_float)
            x = (const float *)l->y + at;
        else
            x = acts(c, scratch, l->y, at, columns);
        if (is_float) {
            c->k->activate((float *)l->y + at, x, columns, l->f);
        } else {
            c->k->activate(scratch, x, columns, l->f);
            c->k->narrow((uint16_t *)l->y + at, scratch, columns);
        }
    }
}

struct few_rows {
    const struct cpu *c;
    struct wt_matvec v;
};

static void few_rows_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct few_rows *y = data;
    y->c->matvec->product(&y->v, from, to);
}

/* Generation: the weights are read from memory once and used for a few rows. */
static void linear_few_rows(struct cpu *c, const struct wt_linear *l)
{
    struct few_rows y = {c,
                         {.x = l->x,
                          .w = l->w->values,
                          .bias = l->bias,
                          .y = l->y,
                          .m = l->m,
                          .in = l->w->in,
                          .out = l->w->out,
                          .f = l->f,
                          .is_bf16 = c->is_bf16,
                          .is_bf16_y = c->is_bf16 && !l->is_float}};
    wt_pool_run(c->pool, l->w->out, columns_piece(c, l->w->out), few_rows_piece, &y);
    wt_products_add_flops(c->products, 2 * (double)l->m * (double)l->w->out * (double)l->w->in);
}

struct integers {
    const struct cpu *c;
    const struct wt_linear *l;
    const struct wt_int8_weight *w;
    struct wt_int8_rows x;
    size_t row_blocks;
};

static void integer_rows_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    struct integers *y = data;
    y->c->matvec->quantise_rows(&y->x, y->l->x, from, to);
}

/* Blocks of rows that stay in the second-level cache while the weights' panels pass by. */
static void integers_piece(void *data, size_t from, size_t to, unsigned thread)
{
    (void)thread;
    const struct integers *y = data;
    size_t panels = wt_int8_panels(y->w->out);
    for (size_t i = from; i < to; i++) {
        size_t row = i % y->row_blocks * INT8_ROWS, panel = i / y->row_blocks * INT8_PANELS;
        struct wt_int8_rows x = y->x;
        x.values += row * 4 * wt_int8_groups(x.in);
        x.scale += row;
        x.zero += row;
        struct wt_int8_product p = {.x = &x,
                                    .w = y->w,
                                    .bias = y->l->bias,
                                    .y = (float *)y->l->y + row * y->w->out,
                                    .m = y->l->m - row < INT8_ROWS ? y->l->m - row : INT8_ROWS,
                                    .f = y->l->f};
        y->c->matvec->int8_product(&p, panel,
                                   panels - panel < INT8_PANELS ? panels : panel + INT8_PANELS);
    }
}

static void linear_integers(struct cpu *c, const struct wt_linear *l)
{
    struct integers y = {.c = c, .l = l, .w = l->w->prepared, .x = {.in = l->w->in}};
    size_t bytes = (l->m * 4 * wt_int8_groups(l->w->in) + 63) / 64 * 64;
    char *at = wt_cpu_room(c, &c->logits, bytes + l->m * (sizeof(float) + sizeof(int32_t)));
    if (!at)
        return;
    y.x.values = (uint8_t *)at;
    y.x.scale = (float *)(void *)(at + bytes);
    y.x.zero = (int32_t *)(void *)(at + bytes + l->m * sizeof(float));
    y.row_blocks = (l->m + INT8_ROWS - 1) / INT8_ROWS;
    size_t panel_blocks = (wt_int8_panels(l->w->out) + INT8_PANELS - 1) / INT8_PANELS;
    wt_pool_run(c->pool, l->m, ROWS_PIECE, integer_rows_piece, &y);
    wt_pool_run(c->pool, y.row_blocks * panel_blocks, 1, integers_piece, &y);
    wt_products_add_flops(c->products, 2 * (double)l->m * (double)l->w->out * (double)l->w->in);
}

void wt_cpu_linear(void *self, const struct wt_linear *l)
{
    struct cpu *c = self;
    if (c->dtype == WT_INT8 && l->w->prepared && !l->pre && l->m > 0) {
        linear_integers(c, l);
        return;
    }
    if (l->m <= FEW_ROWS && !l->pre) {
        linear_few_rows(c, l);
        return;
    }
    struct linear y = {.c = c, .l = l};
    bool has_then = l->pre || l->f != WT_IDENTITY;
    struct wt_product p = {
        .form = WT_FORM_FORWARD,
        .is_bf16 = c->is_bf16,
        .is_c_bf16 = c->is_bf16 && (l->pre || !l->is_float),
        .m = l->m,
        .n = l->w->out,
        .k = l->w->in,
        .a = l->x,
        .b = l->w->values,
        .packed = wt_cpu_packed(c, l->w),
        .c = l->pre ? l->pre : l->y,
        .bias = l->bias,
        .then = has_then ? linear_then : NULL,
        .then_data = &y,
    };
    struct wt_error err;
    if (!has_then || wt_cpu_rooms(c, l->w->out))
        failed(c, wt_products_run(c->products, &p, &err), &err);
}

/* dz and its column sums. */
static void linear_backward_chunk(const struct linear *y, size_t chunk, float *scratch)
{
    const struct wt_linear *l = y->l;
    const struct cpu *c = y->c;
    size_t n = l->w->out, from = chunk * y->chunk;
    size_t to = l->m - from < y->chunk ? l->m : from + y->chunk;
    float *sum = y->partial ? y->partial + chunk * n : NULL;
    if (sum)
        memset(sum, 0, n * sizeof(float));
    for (size_t r = from; r < to; r++) {
        size_t at = r * n;
        const float *dz;
        if (l->f == WT_IDENTITY) {
            dz = acts(c, scratch, y->g->dy, at, n);
        } else {
            const float *dy = acts(c, scratch, y->g->dy, at, n);
            float *out = c->is_bf16 ? scratch : (float *)y->g->dy + at;
            c->k->activate_backward(out, dy, acts(c, scratch + n, l->pre, at, n), n, l->f);
            store(c, y->g->dy, at, out, n);
            dz = out;
        }
        if (sum)
            c->k->add(sum, dz, n);
    }
}

static void linear_backward_piece(void *data, size_t from, size_t to, unsigned thread)
{
    const struct linear *y = data;
    for (size_t i = from; i < to; i++)
        linear_backward_chunk(y, i, scratch_of(y->c, thread));
}

void wt_cpu_linear_backward(void *self, const struct wt_linear *l, const struct wt_linear_grad *g)
{
    struct cpu *c = self;
    size_t n = l->w->out;
    struct linear y = {.c = c, .l = l, .g = g, .chunk = chunk_of(l->m)};
    size_t chunks = (l->m + y.chunk - 1) / y.chunk;
    if (!wt_cpu_rooms(c, 2 * n))
        return;
    if (g->dbias) {
        y.partial = wt_cpu_room(c, &c->partial, (chunks ? chunks : 1) * n * sizeof(float));
        if (!y.partial)
            return;
    }
    if (l->f != WT_IDENTITY || g->dbias)
        wt_pool_run(c->pool, chunks, 1, linear_backward_piece, &y);
    if (g->dbias)
        add_partial(c, g->dbias, y.partial, n, chunks, n, g->is_adding);

    struct wt_error err;
    struct wt_product p = {.form = WT_FORM_GRAD_WEIGHT,
                           .is_bf16 = c->is_bf16,
                           .m = n,
                           .n = l->w->in,
                           .k = l->m,
                           .a = g->dy,
                           .b = l->x,
                           .c = g->dw,
                           .is_adding = g->is_adding};
    failed(c, wt_products_run(c->products, &p, &err), &err);
    if (!g->dx)
        return;
    p = (struct wt_product){.form = WT_FORM_GRAD_INPUT,
                            .is_bf16 = c->is_bf16,
                            .is_c_bf16 = c->is_bf16,
                            .m = l->m,
                            .n = l->w->in,
                            .k = n,
                            .a = g->dy,
                            .b = l->w->values,
                            .c = g->dx,
                            .is_adding = g->is_adding_dx};
    failed(c, wt_products_run(c->products, &p, &err), &err);
}
