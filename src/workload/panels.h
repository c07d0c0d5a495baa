/* Products of many rows with weights that stay as they are (inference), which are put in the order
 * that they are read in once. Only for AVX2: there the libraries leave more than a tenth of the
 * processor's multiplications unused, a part of it by putting the weights in order each time
 * (docs/decisions/0011-products-of-weights-that-stay.md). oneDNN is near the peak with AVX-512.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_PANELS_H
#define WT_WORKLOAD_PANELS_H

#include <stddef.h>

/* Panels of 16 output columns, in stretches of 384 values of k: of each stretch all panels one
 * after the other, and in a panel 16 columns of each k. Columns past the end are 0. */
#define WT_PANEL         16
#define WT_PANEL_STRETCH 384
#define WT_PANEL_HEIGHT  6   /* rows of x that are summed together */
#define WT_PANEL_ROWS    258 /* rows at a time: what the second cache holds of a stretch */
struct wt_panels {
    float *values; /* [wt_panels_floats()], aligned to 64; the caller's memory */
    size_t out, in;
};
static inline size_t wt_panels_of(size_t out)
{
    return (out + WT_PANEL - 1) / WT_PANEL;
}
static inline size_t wt_panels_floats(size_t out, size_t in)
{
    return wt_panels_of(out) * WT_PANEL * in;
}
/* The values k.. of a panel, k a multiple of WT_PANEL_STRETCH. */
static inline float *wt_panel_at(const struct wt_panels *w, size_t panel, size_t k)
{
    size_t deep = w->in - k < WT_PANEL_STRETCH ? w->in - k : WT_PANEL_STRETCH;
    return w->values + k * wt_panels_of(w->out) * WT_PANEL + panel * WT_PANEL * deep;
}

struct wt_panel_kernels {
    const char *name; /* "avx2" */
    /* Panels from..to of p from w [out, in]. */
    void (*pack)(const struct wt_panels *p, const float *w, size_t from, size_t to);
    /* The columns of panels from..to of y [m, out] = x [m, in] w' + bias; bias [out] or NULL. m: up
     * to WT_PANEL_ROWS. scratch: WT_PANEL_ROWS * WT_PANEL_STRETCH floats. Sums are taken in the
     * order of k, whatever the range. */
    void (*product)(const struct wt_panels *w, const float *x, const float *bias, float *y,
                    size_t m, size_t from, size_t to, float *scratch);
};

/* The table that is best on this processor; NULL: the libraries are. Borrowed for ever. */
const struct wt_panel_kernels *wt_panels_best(void);
/* One that this processor can run; NULL: none. For tests. */
const struct wt_panel_kernels *wt_panels_any(void);

#endif
