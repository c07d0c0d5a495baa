/* The shapes of the models: their names, where parameters lie, and the sizes of matrix products. */
#include <string.h>

#include "base/base.h"
#include "workload/shape.h"

int wt_dims_make(struct wt_dims *ret_dims, const struct wt_model_shape *shape, unsigned batch,
                 unsigned seq, struct wt_error *err)
{
    if (!shape->layers || !shape->hidden || !shape->heads || !shape->ffn || !shape->vocab ||
        !shape->positions)
        return wt_fail(err, WT_E_USAGE, "model shape '%s' has a size of 0", shape->name);
    if (shape->hidden % shape->heads != 0)
        return wt_fail(err, WT_E_USAGE, "model shape '%s': %u heads do not divide a width of %u",
                       shape->name, shape->heads, shape->hidden);
    if (shape->layers > 1024 || shape->hidden > 65536 || shape->ffn > 1048576 ||
        shape->vocab > 4194304 || shape->positions > 1048576)
        return wt_fail(err, WT_E_USAGE, "model shape '%s' is larger than any this is made for",
                       shape->name);
    if (batch < 1 || batch > 65536)
        return wt_fail(err, WT_E_USAGE, "a batch of %u sequences: 1 to 65536 are possible", batch);
    if (seq < 3 || seq > shape->positions)
        return wt_fail(err, WT_E_USAGE, "a sequence of %u tokens: %s takes 3 to %u", seq,
                       shape->name, shape->positions);
    if ((uint64_t)batch * seq > 1u << 24)
        return wt_fail(err, WT_E_USAGE, "a batch of %u x %u tokens: at most %u are possible", batch,
                       seq, 1u << 24);
    *ret_dims = (struct wt_dims){
        .batch = batch,
        .seq = seq,
        .tokens = (size_t)batch * seq,
        .masked = batch * wt_masked_per_sequence(seq),
        .layers = shape->layers,
        .hidden = shape->hidden,
        .heads = shape->heads,
        .head = shape->hidden / shape->heads,
        .ffn = shape->ffn,
        .vocab = shape->vocab,
        .positions = shape->positions,
    };
    return 0;
}

struct wt_gemm wt_gemm_at(const struct wt_dims *d, enum wt_site site, enum wt_pass pass)
{
    struct wt_gemm g = {0};
    switch (site) {
    case WT_SITE_QKV:
        g = (struct wt_gemm){d->tokens, 3 * d->hidden, d->hidden, 1};
        break;
    case WT_SITE_SCORE:
        g = (struct wt_gemm){d->seq, d->seq, d->head, d->batch * d->heads};
        break;
    case WT_SITE_CONTEXT:
        g = (struct wt_gemm){d->seq, d->head, d->seq, d->batch * d->heads};
        break;
    case WT_SITE_OUT:
        g = (struct wt_gemm){d->tokens, d->hidden, d->hidden, 1};
        break;
    case WT_SITE_UP:
        g = (struct wt_gemm){d->tokens, d->ffn, d->hidden, 1};
        break;
    case WT_SITE_DOWN:
        g = (struct wt_gemm){d->tokens, d->hidden, d->ffn, 1};
        break;
    case WT_SITE_HEAD:
        g = (struct wt_gemm){d->masked, d->hidden, d->hidden, 1};
        break;
    case WT_SITE_DECODE:
        g = (struct wt_gemm){d->masked, d->vocab, d->hidden, 1};
        break;
    }
    /* y [m, n] = a [m, k] b [k, n]: towards a it is dy b' -> [m, k], towards b a' dy -> [k, n],
     * which is stored as [n, k] like the weight itself. */
    switch (pass) {
    case WT_PASS_FORWARD:
        return g;
    case WT_PASS_GRAD_INPUT:
        return (struct wt_gemm){g.m, g.k, g.n, g.count};
    case WT_PASS_GRAD_WEIGHT:
        return (struct wt_gemm){g.n, g.k, g.m, g.count};
    }
    return g;
}

double wt_gemm_flops(const struct wt_gemm *gemm)
{
    return 2.0 * (double)gemm->m * (double)gemm->n * (double)gemm->k * (double)gemm->count;
}

static size_t take(size_t *at, size_t count)
{
    size_t here = *at;
    *at += count;
    return here;
}

static struct wt_layer_layout layer_layout(const struct wt_model_shape *shape, size_t *at)
{
    size_t h = shape->hidden, f = shape->ffn;
    struct wt_layer_layout l;
    l.qkv_w = take(at, 3 * h * h);
    l.qkv_b = take(at, 3 * h);
    l.out_w = take(at, h * h);
    l.out_b = take(at, h);
    l.norm1_g = take(at, h);
    l.norm1_b = take(at, h);
    l.up_w = take(at, f * h);
    l.up_b = take(at, f);
    l.down_w = take(at, h * f);
    l.down_b = take(at, h);
    l.norm2_g = take(at, h);
    l.norm2_b = take(at, h);
    return l;
}

struct wt_layout wt_layout_make(const struct wt_model_shape *shape)
{
    size_t h = shape->hidden, at = 0;
    struct wt_layout l;
    l.token = take(&at, shape->vocab * h);
    l.position = take(&at, shape->positions * h);
    l.type = take(&at, WT_TOKEN_TYPES * h);
    l.norm_g = take(&at, h);
    l.norm_b = take(&at, h);
    l.layer = at;
    l.layer_stride = 0;
    layer_layout(shape, &l.layer_stride);
    at += shape->layers * l.layer_stride;
    l.head_w = take(&at, h * h);
    l.head_b = take(&at, h);
    l.head_norm_g = take(&at, h);
    l.head_norm_b = take(&at, h);
    l.decode_b = take(&at, shape->vocab);
    l.total = at;
    return l;
}

struct wt_layer_layout wt_layout_layer(const struct wt_layout *layout,
                                       const struct wt_model_shape *shape, size_t layer)
{
    size_t at = layout->layer + layer * layout->layer_stride;
    return layer_layout(shape, &at);
}
