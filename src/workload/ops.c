/* What one masked-LM training step costs, kernel by kernel: FLOPs and bytes of memory traffic.
 *
 * Matrix products count 2 m n k FLOPs, and the bytes of their operands and result once (a device's
 * cache does the rest). Everything else counts the tensors it reads and writes; its FLOPs are a
 * few a value and never decide. Biases ride on the products. No dropout: it is off by default in
 * the code too. Every sequence is taken to be full, which is how the text is packed.
 *
 * fp32: everything is 4 bytes. bf16: activations and the weights' working copy are 2 bytes,
 * gradients of the weights, master weights and the optimizer's moments stay 4. */
#include <stdlib.h>

#include "base/base.h"
#include "workload/shape.h"

struct list {
    struct wt_emu_kernel *kernels; /* NULL: only count */
    size_t count;
    double act;                /* bytes of an activation */
    enum wt_emu_engine engine; /* of matrix products */
    const struct wt_dims *dims;
};

static void add(struct list *l, double flops, double bytes, enum wt_emu_engine engine)
{
    if (l->kernels)
        l->kernels[l->count] = (struct wt_emu_kernel){flops, bytes, engine};
    l->count++;
}

static void gemm(struct list *l, enum wt_site site, enum wt_pass pass)
{
    struct wt_gemm g = wt_gemm_at(l->dims, site, pass);
    double m = (double)g.m, n = (double)g.n, k = (double)g.k, count = (double)g.count;
    /* Both "weights" of attention are activations. */
    bool is_weight =
        pass == WT_PASS_GRAD_WEIGHT && site != WT_SITE_SCORE && site != WT_SITE_CONTEXT;
    double result = is_weight ? 4 : l->act;
    add(l, wt_gemm_flops(&g), count * ((m * k + k * n) * l->act + m * n * result), l->engine);
}

static void gemm_backward(struct list *l, enum wt_site site)
{
    gemm(l, site, WT_PASS_GRAD_INPUT);
    gemm(l, site, WT_PASS_GRAD_WEIGHT);
}

/* values: how many come out; tensors: how many such are read and written. */
static void elementwise(struct list *l, double values, double flops_each, double tensors)
{
    add(l, values * flops_each, values * tensors * l->act, WT_EMU_FP32);
}

static void forward(struct list *l)
{
    const struct wt_dims *d = l->dims;
    double th = (double)(d->tokens * d->hidden), tf = (double)(d->tokens * d->ffn);
    double scores = (double)(d->batch * d->heads * d->seq * d->seq);
    double mh = (double)(d->masked * d->hidden), mv = (double)(d->masked * d->vocab);

    elementwise(l, th, 2, 4); /* gather token, position, type; write the sum */
    elementwise(l, th, 8, 2); /* layer norm */
    for (size_t i = 0; i < d->layers; i++) {
        gemm(l, WT_SITE_QKV, WT_PASS_FORWARD);
        gemm(l, WT_SITE_SCORE, WT_PASS_FORWARD);
        elementwise(l, scores, 6, 2); /* scale, padding mask, softmax */
        gemm(l, WT_SITE_CONTEXT, WT_PASS_FORWARD);
        gemm(l, WT_SITE_OUT, WT_PASS_FORWARD);
        elementwise(l, th, 9, 4); /* residual, layer norm: two in, the sum and the norm out */
        gemm(l, WT_SITE_UP, WT_PASS_FORWARD);
        elementwise(l, tf, 20, 2); /* GELU with erf */
        gemm(l, WT_SITE_DOWN, WT_PASS_FORWARD);
        elementwise(l, th, 9, 4);
    }
    elementwise(l, mh, 0, 2); /* gather the masked rows */
    gemm(l, WT_SITE_HEAD, WT_PASS_FORWARD);
    elementwise(l, mh, 20, 2);
    elementwise(l, mh, 8, 2);
    gemm(l, WT_SITE_DECODE, WT_PASS_FORWARD);
    elementwise(l, mv, 4, 1); /* log-sum-exp of the logits */
}

static void backward(struct list *l)
{
    const struct wt_dims *d = l->dims;
    double th = (double)(d->tokens * d->hidden), tf = (double)(d->tokens * d->ffn);
    double scores = (double)(d->batch * d->heads * d->seq * d->seq);
    double mh = (double)(d->masked * d->hidden), mv = (double)(d->masked * d->vocab);

    elementwise(l, mv, 4, 2); /* softmax minus one-hot */
    gemm_backward(l, WT_SITE_DECODE);
    elementwise(l, mv, 1, 1);  /* gradient of the decoder's bias */
    elementwise(l, mh, 12, 3); /* layer norm */
    elementwise(l, mh, 24, 3); /* GELU */
    gemm_backward(l, WT_SITE_HEAD);
    elementwise(l, mh, 1, 1); /* bias */
    elementwise(l, th, 0, 1); /* scatter: a zeroed gradient ... */
    elementwise(l, mh, 0, 2); /* ... and the masked rows */
    for (size_t i = 0; i < d->layers; i++) {
        elementwise(l, th, 12, 3); /* layer norm 2: the gradient, its input; out */
        gemm_backward(l, WT_SITE_DOWN);
        elementwise(l, th, 1, 1);  /* bias */
        elementwise(l, tf, 24, 3); /* GELU */
        gemm_backward(l, WT_SITE_UP);
        elementwise(l, tf, 1, 1);  /* bias */
        elementwise(l, th, 1, 3);  /* residual */
        elementwise(l, th, 12, 3); /* layer norm 1 */
        gemm_backward(l, WT_SITE_OUT);
        elementwise(l, th, 1, 1); /* bias */
        gemm_backward(l, WT_SITE_CONTEXT);
        elementwise(l, scores, 5, 3); /* softmax */
        gemm_backward(l, WT_SITE_SCORE);
        gemm_backward(l, WT_SITE_QKV);
        elementwise(l, 3 * th, 1, 1); /* bias */
        elementwise(l, th, 1, 3);     /* residual */
    }
    elementwise(l, th, 12, 3); /* layer norm of the embeddings */
    elementwise(l, th, 3, 7);  /* scatter: read once, add to token, position and type rows */
}

static void optimizer(struct list *l, const struct wt_model_shape *shape)
{
    double n = (double)wt_model_parameters(shape);
    /* The norm for clipping reads the gradients. AdamW reads parameters, gradients and two
     * moments and writes all but the gradients; with bf16 the working copy as well. */
    add(l, 2 * n, 4 * n, WT_EMU_FP32);
    add(l, 14 * n, (l->act < 4 ? 30 : 28) * n, WT_EMU_FP32);
}

static void step(struct list *l, const struct wt_model_shape *shape, size_t phases[3])
{
    l->count = 0;
    forward(l);
    phases[0] = l->count;
    backward(l);
    phases[1] = l->count - phases[0];
    optimizer(l, shape);
    phases[2] = l->count - phases[0] - phases[1];
}

int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                          enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                          size_t *ret_count, size_t *phases, struct wt_error *err)
{
    struct wt_dims dims;
    int rc = wt_dims_make(&dims, shape, batch, seq, err);
    if (rc < 0)
        return rc;
    if (dtype != WT_F32 && dtype != WT_BF16)
        return wt_fail(err, WT_E_UNSUPPORTED, "training is counted in fp32 and bf16 only");

    struct list l = {.act = dtype == WT_BF16 ? 2 : 4,
                     .engine = dtype == WT_BF16 ? WT_EMU_TENSOR : WT_EMU_FP32,
                     .dims = &dims};
    size_t counts[3];
    step(&l, shape, counts);
    l.kernels = calloc(l.count, sizeof(*l.kernels));
    if (!l.kernels)
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu kernels", l.count);
    step(&l, shape, counts);

    *ret_kernels = l.kernels;
    *ret_count = l.count;
    if (phases) {
        for (size_t i = 0; i < 3; i++)
            phases[i] = counts[i];
    }
    return 0;
}
