/* The layers over a backend's operations.
 *
 * Both kinds of layer are a chain of norms 0 .. 2 L with a sublayer between each two, attention
 * after the even ones, feed-forward after the odd ones:
 *
 *     sum[k] = drop(sublayer(y[k-1])) + residual,  y[k] = norm(sum[k])
 *
 * where the residual is y[k-1] in BERT and DistilBERT and sum[k-1] in GPT-2. sum[0] is the
 * embeddings; y[2 L] are the last layer's rows. Backward, what arrives at sum[k] goes into the
 * sublayer and to the residual.
 *
 * Training keeps for each layer queries, keys, values, context, both sums and norms, and the
 * feed-forward part before and after its nonlinearity: 8 T H + 2 T F; what attention weighs is
 * computed again. Inference keeps nothing and uses one set of buffers for all layers. Sizes in
 * comments as in backend.h; M: chosen rows. */
#include "workload/model_state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/random.h"

#define DROPOUT_SALT UINT64_C(0x64726f706f757421)

/* Where values are dropped. */
enum place { PLACE_EMBEDDING, PLACE_ATTENTION, PLACE_OUT, PLACE_DOWN, PLACE_CLASS };

/* ---- input ---- */

/* Our own mistakes only: tokens are the tokenizer's, lengths the corpus's. */
static void check_input(const struct wt_model *m, const struct wt_input *in)
{
    assert(in->count >= 1 && in->count <= m->options.batch);
    assert(in->rows >= in->count && in->rows <= m->rows_max);
    assert(in->starts || in->rows % in->count == 0);
    assert(!in->chosen || (in->chosen_count >= 1 && in->chosen_count <= m->chosen_max));
    for (size_t i = 0; i < in->rows; i++)
        assert(in->tokens[i] >= 0 && (uint32_t)in->tokens[i] < m->config.vocab);
    (void)m;
    (void)in;
}

/* Queues the input's way to the device. Returns how many positions have a loss. */
static size_t put_input(struct wt_model *m, const struct wt_input *in)
{
    check_input(m, in);
    struct ints *h = &m->host;
    size_t stride = in->rows / in->count, longest = 0, with_loss = 0;
    enum wt_task task = m->options.task;
    memcpy(h->tokens, in->tokens, in->rows * sizeof(*h->tokens));
    for (size_t i = 0; i < in->rows; i++)
        h->positions[i] = in->starts ? 0 : (int32_t)(i % stride);
    for (size_t i = 0; task == WT_TASK_CLM && i < in->rows; i++)
        h->targets[i] = -1;
    m->chosen_count = in->chosen ? in->chosen_count : 0;
    for (size_t b = 0; b < in->count; b++) {
        int32_t start = in->starts ? in->starts[b] : (int32_t)(b * stride);
        int32_t length = in->lengths[b];
        assert(length >= 1 && (uint32_t)length <= m->options.seq &&
               (size_t)start + (size_t)length <= in->rows);
        h->starts[b] = start;
        h->lengths[b] = length;
        longest = largest(longest, (size_t)length);
        for (int32_t t = 0; t < length; t++)
            h->positions[start + t] = t;
        for (int32_t t = 0; task == WT_TASK_CLM && t + 1 < length; t++, with_loss++)
            h->targets[start + t] = in->tokens[start + t + 1];
        if (task == WT_TASK_CLASSIFY || task == WT_TASK_GENERATE) {
            /* BERT's [CLS], and GPT-2's last token, which has seen all others */
            h->chosen[b] = m->is_pre ? start + length - 1 : start;
            m->chosen_count = in->count;
        }
    }
    if (in->chosen)
        memcpy(h->chosen, in->chosen, in->chosen_count * sizeof(*h->chosen));
    if (in->targets &&
        (task == WT_TASK_MLM || task == WT_TASK_CLASSIFY || task == WT_TASK_LIKELIHOOD)) {
        with_loss = m->chosen_count;
        memcpy(h->targets, in->targets, with_loss * sizeof(*h->targets));
    }
    m->rows = in->rows;
    m->count = in->count;
    m->seqs = (struct wt_sequences){m->in.starts, m->in.lengths, in->count, in->rows, longest};
    OP(m, upload, m->in.tokens, h->tokens, m->ints_bytes);
    return with_loss;
}

/* ---- forward ---- */

/* By step and part, not by a count of passes: training that goes on from a checkpoint drops what
 * it would have dropped. */
static struct wt_dropout drop(const struct wt_model *m, double p, size_t layer, enum place place)
{
    struct wt_dropout d = {0};
    if (!m->was_training || !m->options.has_dropout || p == 0)
        return d;
    d.p = (float)p;
    uint64_t pass = wt_random_at(m->options.seed ^ DROPOUT_SALT, m->steps);
    d.key = wt_random_at(pass, ((uint64_t)m->part << 32) + layer * 8 + place);
    return d;
}

static const float *bias_of(const struct wt_model *m, size_t at)
{
    return at == WT_NOWHERE ? NULL : m->p + at;
}

static struct wt_embed embedding(struct wt_model *m)
{
    return (struct wt_embed){
        .token = m->p + m->at.token,
        .position = m->p + m->at.position,
        .type = bias_of(m, m->at.type),
        .tokens = m->in.tokens,
        .positions = m->in.positions,
        .rows = m->rows,
        .hidden = m->config.hidden,
        .out = m->embedded,
        /* BERT and DistilBERT drop after their norm */
        .drop = drop(m, m->is_pre ? m->config.dropout_embedding : 0, 0, PLACE_EMBEDDING)};
}

/* DistilBERT drops nothing between attention and its norm. */
static double sublayer_dropout(const struct wt_model *m, size_t k)
{
    bool is_attention = k % 2 == 1;
    return is_attention && m->config.family == WT_FAMILY_DISTILBERT ? 0 : m->config.dropout_hidden;
}

/* Norm k of x, what sublayer k gave. */
static struct wt_norm norm_at(struct wt_model *m, size_t k, const void *x, const void *residual,
                              size_t rows)
{
    const struct norm *n = &m->norms[k];
    struct wt_norm op = {.x = x,
                         .residual = residual,
                         .y = n->y,
                         .mean = n->mean,
                         .rstd = n->rstd,
                         .gain = m->p + n->gain,
                         .bias = m->p + n->bias,
                         .rows = rows,
                         .n = m->config.hidden,
                         .epsilon = (float)m->config.norm_epsilon};
    if (k == 0) {
        if (!m->is_pre)
            op.drop_out = drop(m, m->config.dropout_embedding, 0, PLACE_EMBEDDING);
        return op; /* what is normed is x itself, and is kept there */
    }
    if (m->has_training)
        op.sum = n->sum;
    else if (m->is_pre && k < 2 * m->at.layer_count)
        op.sum = (void *)(uintptr_t)residual; /* the stream goes on where it was */
    op.drop_in = drop(m, sublayer_dropout(m, k), (k - 1) / 2, k % 2 == 1 ? PLACE_OUT : PLACE_DOWN);
    return op;
}

static const void *residual_at(const struct wt_model *m, size_t k)
{
    if (k == 0)
        return NULL;
    if (!m->is_pre)
        return m->norms[k - 1].y;
    return m->has_training ? m->norms[k - 1].sum : m->embedded;
}

static enum wt_nonlinearity nonlinearity(const struct wt_model *m)
{
    return m->config.activation == WT_GELU ? WT_GELU_ERF : WT_GELU_TANH;
}

static struct wt_linear linear_at(struct wt_model *m, const struct wt_weight *w, size_t bias,
                                  const void *x, size_t rows, void *y)
{
    return (struct wt_linear){.x = x, .w = w, .bias = bias_of(m, bias), .m = rows, .y = y};
}

static struct wt_linear up_at(struct wt_model *m, size_t layer, size_t rows)
{
    struct layer *l = &m->layers[layer];
    struct wt_linear op =
        linear_at(m, &l->up, m->at.layers[layer].up_b, m->norms[2 * layer + 1].y, rows, l->active);
    op.f = nonlinearity(m);
    op.pre = l->pre;
    return op;
}

static struct wt_attention attention_at(struct wt_model *m, size_t layer)
{
    struct layer *l = &m->layers[layer];
    return (struct wt_attention){.qkv = l->qkv_rows,
                                 .context = l->context,
                                 .lse = l->lse,
                                 .at = m->seqs,
                                 .heads = m->config.heads,
                                 .head = m->config.hidden / m->config.heads,
                                 .is_causal = m->is_pre,
                                 .drop =
                                     drop(m, m->config.dropout_attention, layer, PLACE_ATTENTION)};
}

/* What comes after the context of a layer: rows of it. */
static void finish_layer(struct wt_model *m, size_t layer, const void *context,
                         const void *residual, size_t rows)
{
    struct layer *l = &m->layers[layer];
    const struct wt_layer_at *at = &m->at.layers[layer];
    struct wt_linear op = linear_at(m, &l->out, at->out_b, context, rows, m->out);
    OP(m, linear, &op);
    struct wt_norm norm = norm_at(m, 2 * layer + 1, m->out, residual, rows);
    OP(m, norm, &norm);
    op = up_at(m, layer, rows);
    OP(m, linear, &op);
    op = linear_at(m, &l->down, at->down_b, l->active, rows, m->out);
    OP(m, linear, &op);
    /* In GPT-2's inference the stream lies where this layer found it. */
    const void *next = m->is_pre && !m->has_training ? residual : residual_at(m, 2 * layer + 2);
    norm = norm_at(m, 2 * layer + 2, m->out, next, rows);
    OP(m, norm, &norm);
}

static void embed(struct wt_model *m)
{
    struct wt_embed e = embedding(m);
    OP(m, embed, &e);
    struct wt_norm norm = norm_at(m, 0, m->embedded, NULL, m->rows);
    OP(m, norm, &norm);
}

/* All layers. is_trimmed: of the last one only the chosen rows are computed, and they are the last
 * norm's rows then. */
static void forward_layers(struct wt_model *m, bool is_trimmed)
{
    size_t h = m->config.hidden;
    embed(m);
    for (size_t i = 0; i < m->at.layer_count; i++) {
        struct layer *l = &m->layers[i];
        struct wt_linear op =
            linear_at(m, &l->qkv, m->at.layers[i].qkv_b, m->norms[2 * i].y, m->rows, l->qkv_rows);
        OP(m, linear, &op);
        struct wt_attention a = attention_at(m, i);
        OP(m, attention, &a);
        if (l->keys)
            OP(m, cache, &a, l->keys, l->values, m->options.seq);
        const void *residual = residual_at(m, 2 * i + 1);
        if (is_trimmed && i + 1 == m->at.layer_count) {
            OP(m, gather, m->trim_context, l->context, m->in.chosen, m->chosen_count, h, NULL);
            OP(m, gather, m->trim_residual, residual, m->in.chosen, m->chosen_count, h, NULL);
            finish_layer(m, i, m->trim_context, m->trim_residual, m->chosen_count);
        } else {
            finish_layer(m, i, l->context, residual, m->rows);
        }
    }
}

static void *last_rows(const struct wt_model *m)
{
    return m->norms[2 * m->at.layer_count].y;
}

/* BERT's prediction head: dense, GELU, norm. */
static struct wt_linear head_linear(struct wt_model *m, const void *x)
{
    struct wt_linear op = linear_at(m, &m->head, m->at.head_b, x, m->chosen_count, m->head_active);
    op.f = nonlinearity(m);
    op.pre = m->head_pre;
    return op;
}

static struct wt_norm head_norm(struct wt_model *m)
{
    return (struct wt_norm){.x = m->head_active,
                            .y = m->head_y,
                            .mean = m->head_mean,
                            .rstd = m->head_rstd,
                            .gain = m->p + m->at.head_norm_g,
                            .bias = m->p + m->at.head_norm_b,
                            .rows = m->chosen_count,
                            .n = m->config.hidden,
                            .epsilon = (float)m->config.norm_epsilon};
}

static const void *forward_head(struct wt_model *m, const void *x)
{
    if (!has_lm_head(m))
        return x;
    struct wt_linear op = head_linear(m, x);
    OP(m, linear, &op);
    struct wt_norm norm = head_norm(m);
    OP(m, norm, &norm);
    return m->head_y;
}

/* Adds the losses on the device to the sum. */
static int bring_losses(struct wt_model *m, struct wt_error *err)
{
    int rc = OP(m, download, m->host_losses, m->losses, m->loss_at * sizeof(float), err);
    for (size_t i = 0; rc == 0 && i < m->loss_at; i++)
        m->loss_sum += (double)m->host_losses[i];
    return rc;
}

/* Room for the losses of one more pass. Returns where they go. */
static float *next_losses(struct wt_model *m, size_t rows)
{
    if (m->loss_at + rows > m->loss_capacity) {
        if (bring_losses(m, NULL) < 0)
            m->loss_sum = NAN; /* rather no loss than a wrong one */
        m->loss_at = 0;
    }
    float *here = m->losses + m->loss_at;
    m->loss_at += rows;
    return here;
}

static void forward_loss(struct wt_model *m, const void *x, size_t rows, float scale, void *dx)
{
    struct wt_loss loss = {.x = x,
                           .w = &m->token,
                           .bias = bias_of(m, m->at.decode_b),
                           .targets = m->in.targets,
                           .m = rows,
                           .losses = next_losses(m, rows),
                           .scale = scale,
                           .dx = dx,
                           .is_adding = m->part > 0};
    if (dx) {
        loss.dw = m->g + m->at.token;
        loss.dbias = m->at.decode_b == WT_NOWHERE ? NULL : m->g + m->at.decode_b;
    }
    OP(m, loss, &loss);
}

static struct wt_linear pool_linear(struct wt_model *m)
{
    struct wt_linear op =
        linear_at(m, &m->pool, m->at.pool_b, m->head_x, m->chosen_count, m->head_active);
    op.f = m->config.family == WT_FAMILY_BERT ? WT_TANH : WT_RELU;
    op.pre = m->head_pre;
    return op;
}

static struct wt_linear class_linear(struct wt_model *m)
{
    const void *x = m->at.pool_w == WT_NOWHERE ? m->head_x : m->head_y;
    struct wt_linear op = {.x = x,
                           .w = &m->class,
                           .bias = bias_of(m, m->at.class_b),
                           .m = m->chosen_count,
                           .y = m->logits,
                           .is_float = true};
    return op;
}

static void forward_classes(struct wt_model *m)
{
    size_t h = m->config.hidden, count = m->chosen_count;
    OP(m, gather, m->head_x, last_rows(m), m->in.chosen, count, h, NULL);
    if (m->at.pool_w != WT_NOWHERE) {
        struct wt_linear op = pool_linear(m);
        OP(m, linear, &op);
        struct wt_dropout d = drop(m, m->config.dropout_classifier, 0, PLACE_CLASS);
        OP(m, gather, m->head_y, m->head_active, m->in.iota, count, h, &d);
    }
    struct wt_linear op = class_linear(m);
    OP(m, linear, &op);
}

/* Where the gradient of the last norm's rows is: norm_backward leaves GPT-2's sums apart. */
static void *last_gradient(const struct wt_model *m)
{
    return m->is_pre ? m->dy : m->ds;
}

void wt_model_forward(struct wt_model *m, const struct wt_input *input, bool is_training,
                      unsigned part, float weight)
{
    assert(m->has_training);
    m->was_training = is_training;
    m->part = part;
    if (part == 0) {
        m->loss_sum = 0;
        m->loss_count = m->loss_at = 0;
        m->has_optimized = false;
    }
    size_t with_loss = put_input(m, input);
    m->loss_count += with_loss;
    float scale = with_loss > 0 ? weight / (float)with_loss : 0;
    forward_layers(m, false);
    if (m->options.task == WT_TASK_CLM) {
        forward_loss(m, last_rows(m), m->rows, scale, is_training ? last_gradient(m) : NULL);
    } else if (m->options.task == WT_TASK_MLM) {
        OP(m, gather, m->head_x, last_rows(m), m->in.chosen, m->chosen_count, m->config.hidden,
           NULL);
        forward_loss(m, forward_head(m, m->head_x), m->chosen_count, scale,
                     is_training ? m->head_dy : NULL);
    } else {
        forward_classes(m);
        OP(m, cross_entropy, m->logits, m->in.targets, m->chosen_count, m->options.classes, scale,
           next_losses(m, m->chosen_count), is_training ? m->dlogits : NULL);
    }
}

/* ---- backward ---- */

static float *gradient_of(struct wt_model *m, size_t at)
{
    return at == WT_NOWHERE ? NULL : m->g + at;
}

static void linear_backward(struct wt_model *m, const struct wt_linear *op, size_t w, size_t bias,
                            void *dy, void *dx, bool is_adding_dx)
{
    struct wt_linear_grad g = {.dy = dy,
                               .dx = dx,
                               .is_adding_dx = is_adding_dx,
                               .dw = m->g + w,
                               .dbias = gradient_of(m, bias),
                               .is_adding = m->part > 0};
    OP(m, linear_backward, op, &g);
}

/* From the head to the gradient of the last norm's rows. */
static void backward_head(struct wt_model *m)
{
    size_t h = m->config.hidden, count = m->chosen_count;
    if (m->options.task == WT_TASK_CLM)
        return; /* it is there */
    if (m->options.task == WT_TASK_MLM) {
        struct wt_norm norm = head_norm(m);
        struct wt_norm_grad g = {.dy = m->head_dy,
                                 .dsum = m->head_dy,
                                 .dgain = m->g + m->at.head_norm_g,
                                 .dbias = m->g + m->at.head_norm_b,
                                 .is_adding = m->part > 0};
        OP(m, norm_backward, &norm, &g);
        struct wt_linear op = head_linear(m, m->head_x);
        /* head_y has done its work */
        linear_backward(m, &op, m->at.head_w, m->at.head_b, m->head_dy, m->head_y, false);
        OP(m, scatter, last_gradient(m), m->head_y, m->in.chosen, count, m->rows, h, NULL);
        return;
    }
    struct wt_linear op = class_linear(m);
    linear_backward(m, &op, m->at.class_w, m->at.class_b, m->dlogits, m->head_dy, false);
    void *dx = m->head_dy;
    if (m->at.pool_w != WT_NOWHERE) {
        struct wt_dropout d = drop(m, m->config.dropout_classifier, 0, PLACE_CLASS);
        OP(m, scatter, m->head_y, m->head_dy, m->in.iota, count, count, h, &d);
        op = pool_linear(m);
        linear_backward(m, &op, m->at.pool_w, m->at.pool_b, m->head_y, m->head_dy, false);
    }
    OP(m, scatter, last_gradient(m), dx, m->in.chosen, count, m->rows, h, NULL);
}

/* From the gradient of norm k's rows to that of its sum, in ds. Returns that of what sublayer k
 * gave. */
static void *backward_norm(struct wt_model *m, size_t k)
{
    struct wt_norm norm = norm_at(m, k, k == 0 ? m->embedded : NULL, NULL, m->rows);
    bool is_last = k == 2 * m->at.layer_count;
    struct wt_norm_grad g = {.dy = last_gradient(m),
                             .dother = m->is_pre && !is_last ? m->ds : NULL,
                             .dsum = m->ds,
                             .dx = norm.drop_in.p > 0 ? m->dy : NULL,
                             .dgain = m->g + m->norms[k].gain,
                             .dbias = m->g + m->norms[k].bias,
                             .is_adding = m->part > 0};
    OP(m, norm_backward, &norm, &g);
    return norm.drop_in.p > 0 ? m->dy : m->ds;
}

/* A sublayer's gradient towards its input goes to dy (GPT-2), or on top of ds, where the
 * residual's is already. */
static void backward_layer(struct wt_model *m, size_t i)
{
    struct layer *l = &m->layers[i];
    const struct wt_layer_at *at = &m->at.layers[i];
    void *to = last_gradient(m);
    bool is_adding = !m->is_pre;

    void *d = backward_norm(m, 2 * i + 2);
    struct wt_linear op = linear_at(m, &l->down, at->down_b, l->active, m->rows, NULL);
    linear_backward(m, &op, at->down_w, at->down_b, d, m->wide, false);
    op = up_at(m, i, m->rows);
    linear_backward(m, &op, at->up_w, at->up_b, m->wide, to, is_adding);

    d = backward_norm(m, 2 * i + 1);
    op = linear_at(m, &l->out, at->out_b, l->context, m->rows, NULL);
    linear_backward(m, &op, at->out_w, at->out_b, d, m->out, false);
    struct wt_attention a = attention_at(m, i);
    struct wt_attention_grad g = {.dcontext = m->out, .dqkv = m->wide, .delta = m->delta};
    OP(m, attention_backward, &a, &g);
    op = linear_at(m, &l->qkv, at->qkv_b, m->norms[2 * i].y, m->rows, NULL);
    linear_backward(m, &op, at->qkv_w, at->qkv_b, m->wide, to, is_adding);
}

void wt_model_backward(struct wt_model *m)
{
    assert(m->was_training);
    size_t h = m->config.hidden;
    backward_head(m);
    for (size_t i = m->at.layer_count; i-- > 0;)
        backward_layer(m, i);
    backward_norm(m, 0);

    if (m->part == 0) {
        if (m->options.task == WT_TASK_CLASSIFY) /* else the loss has begun it */
            OP(m, fill_zero, m->g + m->at.token, (size_t)m->config.vocab * h * sizeof(float));
        OP(m, fill_zero, m->g + m->at.position, (size_t)m->config.positions * h * sizeof(float));
        if (m->at.type != WT_NOWHERE)
            OP(m, fill_zero, m->g + m->at.type, (size_t)m->config.types * h * sizeof(float));
    }
    struct wt_embed e = embedding(m);
    struct wt_embed_grad g = {.dout = m->ds,
                              .dtoken = m->g + m->at.token,
                              .dposition = m->g + m->at.position,
                              .dtype = gradient_of(m, m->at.type)};
    OP(m, embed_backward, &e, &g);
}

void wt_model_optimize(struct wt_model *m, const struct wt_rate *rate)
{
    assert(m->has_training);
    m->steps++;
    struct wt_adam a = {
        .p = m->p,
        .first = m->first,
        .second = m->second,
        .g = m->g,
        .working = m->working,
        .spans = m->at.spans,
        .span_count = m->at.span_count,
        .total = m->at.total,
        .rate = rate->rate,
        .beta1 = rate->beta1,
        .beta2 = rate->beta2,
        .epsilon = rate->epsilon,
        .decay = rate->decay,
        .correction1 = (float)(1 - pow((double)rate->beta1, (double)m->steps)),
        .correction2 = (float)(1 - pow((double)rate->beta2, (double)m->steps)),
        .clip = rate->clip,
        .norm = m->norm,
    };
    OP(m, adamw, &a);
    m->has_optimized = true;
    m->has_counted_back = false;
}

int wt_model_result(struct wt_model *m, double *ret_loss, double *ret_norm, struct wt_error *err)
{
    assert(m->has_training);
    float norm = 0;
    int rc = bring_losses(m, err);
    if (rc == 0 && m->has_optimized)
        rc = OP(m, download, &norm, m->norm, sizeof(norm), err);
    if (rc < 0)
        return rc;
    m->loss_at = 0; /* they are in the sum */
    if (m->has_optimized && !isfinite(norm) && !m->has_counted_back) {
        m->steps--; /* there was no step */
        m->has_counted_back = true;
    }
    *ret_loss = m->loss_count > 0 ? m->loss_sum / (double)m->loss_count : 0;
    if (ret_norm)
        *ret_norm = (double)norm;
    return 0;
}

/* ---- inference ---- */

int wt_model_sync(struct wt_model *m, struct wt_error *err)
{
    return OP(m, sync, err);
}

/* act [n] to host floats. */
static int bring_rows(struct wt_model *m, float *to, const void *from, size_t n,
                      struct wt_error *err)
{
    int rc = OP(m, download, to, from, n * wt_backend_act_bytes(m->b), err);
    if (rc < 0 || m->b->dtype != WT_BF16)
        return rc;
    /* In place, from the end: each value is read before something is written over it. */
    for (size_t i = n; i-- > 0;) {
        uint16_t half;
        memcpy(&half, (char *)to + 2 * i, sizeof(half));
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&to[i], &bits, sizeof(bits));
    }
    return 0;
}

static int start_inference(struct wt_model *m, const struct wt_input *input, struct wt_error *err)
{
    int rc = wt_model_prepare(m, err);
    if (rc < 0)
        return rc;
    m->was_training = false;
    put_input(m, input);
    return 0;
}

int wt_model_encode(struct wt_model *m, const struct wt_input *input, float *ret_rows,
                    struct wt_error *err)
{
    assert(m->options.task == WT_TASK_ENCODE);
    int rc = start_inference(m, input, err);
    if (rc < 0)
        return rc;
    forward_layers(m, false);
    return ret_rows ? bring_rows(m, ret_rows, last_rows(m), m->rows * m->config.hidden, err) : 0;
}

/* Logits of the last norm's first rows. */
static int bring_logits(struct wt_model *m, size_t rows, float *ret_logits, struct wt_error *err)
{
    m->chosen_count = rows;
    struct wt_linear op =
        linear_at(m, &m->token, m->at.decode_b, forward_head(m, last_rows(m)), rows, m->logits);
    op.is_float = true;
    OP(m, linear, &op);
    if (!ret_logits)
        return 0;
    return OP(m, download, ret_logits, m->logits, rows * m->config.vocab * sizeof(float), err);
}

int wt_model_score(struct wt_model *m, const struct wt_input *input, float *ret_logits,
                   struct wt_error *err)
{
    assert(m->options.task == WT_TASK_SCORE && input->chosen);
    int rc = start_inference(m, input, err);
    if (rc < 0)
        return rc;
    forward_layers(m, true);
    return bring_logits(m, m->chosen_count, ret_logits, err);
}

/* The vocabulary's product in 8 bits is a linear layer's, so there logits are made, some rows at a
 * time. */
static void judge_rows(struct wt_model *m, const char *x)
{
    size_t h = m->config.hidden * wt_backend_act_bytes(m->b), vocab = m->config.vocab;
    for (size_t from = 0; from < m->chosen_count; from += m->logit_rows) {
        size_t left = m->chosen_count - from, rows = left < m->logit_rows ? left : m->logit_rows;
        struct wt_linear op =
            linear_at(m, &m->token, m->at.decode_b, x + from * h, rows, m->logits);
        op.is_float = true;
        OP(m, linear, &op);
        OP(m, cross_entropy, m->logits, m->in.targets + from, rows, vocab, 1, m->losses + from,
           NULL);
    }
}

int wt_model_likelihood(struct wt_model *m, const struct wt_input *input, double *ret_nats,
                        struct wt_error *err)
{
    assert(m->options.task == WT_TASK_LIKELIHOOD && input->chosen && input->targets);
    int rc = start_inference(m, input, err);
    if (rc < 0)
        return rc;
    forward_layers(m, true);
    const void *x = forward_head(m, last_rows(m));
    if (m->logits) {
        judge_rows(m, x);
    } else {
        struct wt_loss loss = {.x = x,
                               .w = &m->token,
                               .bias = bias_of(m, m->at.decode_b),
                               .targets = m->in.targets,
                               .m = m->chosen_count,
                               .losses = m->losses,
                               .scale = 1};
        OP(m, loss, &loss);
    }
    if (!ret_nats)
        return 0;
    rc = OP(m, download, m->host_losses, m->losses, m->chosen_count * sizeof(float), err);
    double nats = 0;
    for (size_t i = 0; rc == 0 && i < m->chosen_count; i++)
        nats += (double)m->host_losses[i];
    if (rc == 0)
        *ret_nats = nats;
    return rc;
}

int wt_model_class_logits(struct wt_model *m, float *ret_logits, struct wt_error *err)
{
    assert(m->options.task == WT_TASK_CLASSIFY && m->chosen_count > 0);
    return OP(m, download, ret_logits, m->logits,
              m->chosen_count * m->options.classes * sizeof(float), err);
}

int wt_model_classify(struct wt_model *m, const struct wt_input *input, float *ret_logits,
                      struct wt_error *err)
{
    assert(m->options.task == WT_TASK_CLASSIFY);
    m->was_training = false;
    put_input(m, input);
    forward_layers(m, false);
    forward_classes(m);
    return wt_model_class_logits(m, ret_logits, err);
}

int wt_model_prefill(struct wt_model *m, const struct wt_input *prompts, float *ret_logits,
                     struct wt_error *err)
{
    assert(m->options.task == WT_TASK_GENERATE);
    int rc = start_inference(m, prompts, err);
    if (rc < 0)
        return rc;
    forward_layers(m, true);
    m->generating = prompts->count;
    m->generated_longest = m->seqs.longest;
    for (size_t b = 0; b < m->generating; b++)
        m->host_next[2 * m->options.batch + b] = prompts->lengths[b];
    return bring_logits(m, m->generating, ret_logits, err);
}

int wt_model_decode(struct wt_model *m, const int32_t *tokens, float *ret_logits,
                    struct wt_error *err)
{
    assert(m->options.task == WT_TASK_GENERATE && m->generating > 0);
    size_t batch = m->options.batch, count = m->generating;
    if (m->generated_longest >= m->options.seq)
        return wt_fail(err, WT_E_RANGE, "a sequence of %u tokens is full", m->options.seq);
    m->generated_longest++;
    int32_t *lengths = m->host_next + 2 * batch;
    for (size_t b = 0; b < count; b++) {
        assert(tokens[b] >= 0 && (uint32_t)tokens[b] < m->config.vocab);
        m->host_next[b] = tokens[b];
        m->host_next[batch + b] = lengths[b]++;
    }
    OP(m, upload, m->next, m->host_next, 3 * batch * sizeof(*m->next));

    m->rows = count;
    struct wt_embed e = embedding(m);
    e.tokens = m->next;
    e.positions = m->next + batch;
    OP(m, embed, &e);
    struct wt_norm norm = norm_at(m, 0, m->embedded, NULL, count);
    OP(m, norm, &norm);
    for (size_t i = 0; i < m->at.layer_count; i++) {
        struct layer *l = &m->layers[i];
        struct wt_linear op =
            linear_at(m, &l->qkv, m->at.layers[i].qkv_b, m->norms[2 * i].y, count, l->qkv_rows);
        OP(m, linear, &op);
        struct wt_decode d = {.qkv = l->qkv_rows,
                              .keys = l->keys,
                              .values = l->values,
                              .lengths = m->next + 2 * batch,
                              .count = count,
                              .capacity = m->options.seq,
                              .longest = m->generated_longest,
                              .heads = m->config.heads,
                              .head = m->config.hidden / m->config.heads,
                              .context = l->context};
        OP(m, decode, &d);
        finish_layer(m, i, l->context, residual_at(m, 2 * i + 1), count);
    }
    return bring_logits(m, count, ret_logits, err);
}
