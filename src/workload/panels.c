/* Products of many rows with weights in panels; compiled for AVX2.
 *
 * Six rows of x by sixteen columns are summed in twelve registers. What those read is in the order
 * in which it is read: of x a stretch of a block of rows, copied so that six neighbours of one k
 * lie together, which stays in the second cache; of the weights a panel's stretch, which stays in
 * the first while the rows pass by. */
#include "workload/panels.h"

#include <stdbool.h>
#include <string.h>

#include "workload/vector.h"

extern const struct wt_panel_kernels WT_PANELS;

enum { ROWS = WT_PANEL_HEIGHT, PARTS = WT_PANEL / WT_LANES };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void pack(const struct wt_panels *p, const float *w, size_t from, size_t to)
{
    for (size_t panel = from; panel < to; panel++)
        for (size_t k = 0; k < p->in; k += WT_PANEL_STRETCH) {
            float *out = wt_panel_at(p, panel, k);
            size_t deep = smaller(WT_PANEL_STRETCH, p->in - k);
            for (size_t c = 0; c < WT_PANEL; c++) {
                size_t column = panel * WT_PANEL + c;
                for (size_t i = 0; i < deep; i++)
                    out[i * WT_PANEL + c] = column < p->out ? w[column * p->in + k + i] : 0;
            }
        }
}

/* to[i * rows + r] = x[r * in + i], i < deep */
static void pack_rows(float *restrict to, const float *restrict x, size_t in, size_t rows,
                      size_t deep)
{
    size_t i = 0;
    if (rows == ROWS)
        for (; i + 4 <= deep; i += 4) { /* rows 2 and 3 twice */
            wt_transpose4(to + i * ROWS, ROWS, x + i, in);
            wt_transpose4(to + i * ROWS + 2, ROWS, x + 2 * in + i, in);
        }
    for (; i < deep; i++)
        for (size_t r = 0; r < rows; r++)
            to[i * rows + r] = x[r * in + i];
}

/* y [rows, 16] = (is_first ? 0 : y) + x w + bias, of `deep` values of k. */
WT_INLINE void tile(size_t rows, const float *restrict x, const float *restrict w, size_t deep,
                    const float *restrict bias, bool is_first, float *restrict y, size_t stride)
{
    wt_vf sum[ROWS][PARTS];
#pragma GCC unroll 8
    for (size_t r = 0; r < rows; r++) {
        __builtin_prefetch(y + r * stride, 1);
#pragma GCC unroll 8
        for (size_t p = 0; p < PARTS; p++)
            sum[r][p] = (wt_vf){0};
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < deep; k++) {
        wt_vf b[PARTS];
#pragma GCC unroll 8
        for (size_t p = 0; p < PARTS; p++)
            b[p] = wt_load(w + k * WT_PANEL + p * WT_LANES);
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++) {
            wt_vf a = wt_all(x[k * rows + r]);
#pragma GCC unroll 8
            for (size_t p = 0; p < PARTS; p++)
                sum[r][p] += a * b[p];
        }
    }
#pragma GCC unroll 8
    for (size_t p = 0; p < PARTS; p++) {
        wt_vf more = bias ? wt_load(bias + p * WT_LANES) : (wt_vf){0};
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++) {
            float *at = y + r * stride + p * WT_LANES;
            wt_vf before = {0};
            if (!is_first)
                before = wt_load(at);
            wt_store(at, before + sum[r][p] + more);
        }
    }
}

#define TILE_OF(N)                                                                                 \
    static __attribute__((noinline)) void tile_##N(                                                \
        const float *restrict x, const float *restrict w, size_t deep, const float *restrict bias, \
        bool is_first, float *restrict y, size_t stride)                                           \
    {                                                                                              \
        tile(N, x, w, deep, bias, is_first, y, stride);                                            \
    }
typedef void (*tile_fn)(const float *restrict x, const float *restrict w, size_t deep,
                        const float *restrict bias, bool is_first, float *restrict y,
                        size_t stride);
TILE_OF(1)
TILE_OF(2)
TILE_OF(3)
TILE_OF(4)
TILE_OF(5)
TILE_OF(6)
static const tile_fn tile_of[ROWS] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

/* A panel that has fewer than 16 columns: by way of one that has all. */
static void narrow_tile(size_t rows, size_t columns, const float *x, const float *w, size_t deep,
                        const float *bias, bool is_first, float *y, size_t stride)
{
    float whole[ROWS * WT_PANEL] = {0}, all_bias[WT_PANEL] = {0};
    if (bias)
        memcpy(all_bias, bias, columns * sizeof(*bias));
    for (size_t r = 0; r < rows; r++)
        memcpy(whole + r * WT_PANEL, y + r * stride, columns * sizeof(*y));
    tile_of[rows - 1](x, w, deep, all_bias, is_first, whole, WT_PANEL);
    for (size_t r = 0; r < rows; r++)
        memcpy(y + r * stride, whole + r * WT_PANEL, columns * sizeof(*y));
}

/* The panel that is read after this one; NULL: none. */
static const float *next_panel(const struct wt_panels *w, size_t k, size_t deep, size_t panel,
                               size_t from, size_t to)
{
    if (panel + 1 < to)
        return wt_panel_at(w, panel + 1, k);
    return k + deep < w->in ? wt_panel_at(w, from, k + deep) : NULL;
}

static void product(const struct wt_panels *w, const float *x, const float *bias, float *y,
                    size_t m, size_t from, size_t to, float *scratch)
{
    size_t tiles = (m + ROWS - 1) / ROWS;
    for (size_t k = 0; k < w->in; k += WT_PANEL_STRETCH) {
        size_t deep = smaller(WT_PANEL_STRETCH, w->in - k), share = deep / tiles + 1;
        const float *last_bias = k + deep == w->in ? bias : NULL;
        for (size_t r = 0; r < m; r += ROWS)
            pack_rows(scratch + r * deep, x + r * w->in + k, w->in, smaller(ROWS, m - r), deep);
        for (size_t panel = from; panel < to; panel++) {
            size_t column = panel * WT_PANEL, columns = smaller(WT_PANEL, w->out - column);
            const float *at = wt_panel_at(w, panel, k);
            const float *next = next_panel(w, k, deep, panel, from, to);
            const float *panel_bias = last_bias ? last_bias + column : NULL;
            for (size_t r = 0, line = 0; r < m; r += ROWS) {
                size_t rows = smaller(ROWS, m - r), last = smaller(line + share, deep);
                float *out = y + r * w->out + column;
                for (; next && line < last; line++)
                    __builtin_prefetch(next + line * WT_PANEL);
                if (columns == WT_PANEL)
                    tile_of[rows - 1](scratch + r * deep, at, deep, panel_bias, k == 0, out,
                                      w->out);
                else
                    narrow_tile(rows, columns, scratch + r * deep, at, deep, panel_bias, k == 0,
                                out, w->out);
            }
        }
    }
}

const struct wt_panel_kernels WT_PANELS = {.name = WT_SET_NAME, .pack = pack, .product = product};
