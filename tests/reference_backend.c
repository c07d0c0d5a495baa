/* The operations of backend.h, one loop a formula. */
#include "reference_backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/random.h"

struct reference {
    double product_flops;
};

static void count_product(void *self, double m, double n, double k)
{
    ((struct reference *)self)->product_flops += 2 * m * n * k;
}

/* ---- memory ---- */

static int ref_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    (void)self;
    /* No test wants more, and a sanitizer's calloc ends the program rather than to return NULL. */
    void *at = bytes > (size_t)1 << 36 ? NULL : calloc(bytes ? bytes : 1, 1);
    if (!at)
        return wt_fail(err, WT_E_NOMEM, "no memory for %zu bytes", bytes);
    *ret_at = at;
    return 0;
}

static void ref_release(void *self, void *at)
{
    (void)self;
    free(at);
}

static void ref_upload(void *self, void *to, const void *from, size_t bytes)
{
    (void)self;
    memcpy(to, from, bytes);
}

static int ref_download(void *self, void *to, const void *from, size_t bytes, struct wt_error *err)
{
    (void)self;
    (void)err;
    memcpy(to, from, bytes);
    return 0;
}

static int ref_sync(void *self, struct wt_error *err)
{
    (void)self;
    (void)err;
    return 0;
}

static void ref_fill_zero(void *self, void *at, size_t bytes)
{
    (void)self;
    memset(at, 0, bytes);
}

static void ref_narrow(void *self, void *to, const float *from, size_t n)
{
    (void)self;
    memcpy(to, from, n * sizeof(*from));
}

static int ref_prepare(void *self, struct wt_weight *w, struct wt_error *err)
{
    (void)self;
    (void)err;
    w->prepared = NULL;
    return 0;
}

static void ref_unprepare(void *self, struct wt_weight *w)
{
    (void)self;
    w->prepared = NULL;
}

/* ---- formulas ---- */

/* What value i of an array is multiplied by. */
static double keep(const struct wt_dropout *drop, uint64_t i)
{
    if (!drop || drop->p == 0)
        return 1;
    /* 1 - p in float: every backend multiplies by the same */
    double p = (double)drop->p;
    return wt_dropout_bits(drop->key, i) < wt_dropout_below(drop->p) ? 0 : 1 / (1 - p);
}

static double nonlinear(enum wt_nonlinearity f, double x)
{
    switch (f) {
    case WT_IDENTITY:
        return x;
    case WT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case WT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case WT_TANH:
        return tanh(x);
    case WT_RELU:
        return x > 0 ? x : 0;
    }
    return NAN;
}

static double slope(enum wt_nonlinearity f, double x)
{
    switch (f) {
    case WT_IDENTITY:
        return 1;
    case WT_GELU_ERF:
        return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case WT_GELU_TANH: {
        double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
    }
    case WT_TANH:
        return 1 - tanh(x) * tanh(x);
    case WT_RELU:
        return x > 0 ? 1 : 0;
    }
    return NAN;
}

static double *doubles(size_t n)
{
    double *x = calloc(n ? n : 1, sizeof(*x));
    if (!x)
        abort(); /* in a test */
    return x;
}

/* ---- operations ---- */

static void ref_embed(void *self, const struct wt_embed *e)
{
    (void)self;
    float *out = e->out;
    for (size_t t = 0; t < e->rows; t++)
        for (size_t i = 0; i < e->hidden; i++) {
            double x = (double)e->token[(size_t)e->tokens[t] * e->hidden + i] +
                       (double)e->position[(size_t)e->positions[t] * e->hidden + i];
            if (e->type)
                x += (double)e->type[(e->types ? (size_t)e->types[t] : 0) * e->hidden + i];
            out[t * e->hidden + i] = (float)(x * keep(&e->drop, t * e->hidden + i));
        }
}

static void ref_embed_backward(void *self, const struct wt_embed *e, const struct wt_embed_grad *g)
{
    (void)self;
    const float *dout = g->dout;
    for (size_t t = 0; t < e->rows; t++)
        for (size_t i = 0; i < e->hidden; i++) {
            size_t at = t * e->hidden + i;
            float d = (float)((double)dout[at] * keep(&e->drop, at));
            g->dtoken[(size_t)e->tokens[t] * e->hidden + i] += d;
            g->dposition[(size_t)e->positions[t] * e->hidden + i] += d;
            if (g->dtype)
                g->dtype[(e->types ? (size_t)e->types[t] : 0) * e->hidden + i] += d;
        }
}

static void ref_norm(void *self, const struct wt_norm *n)
{
    (void)self;
    const float *x = n->x, *residual = n->residual;
    float *sum = n->sum, *y = n->y;
    double *row = doubles(n->n);
    for (size_t r = 0; r < n->rows; r++) {
        size_t at = r * n->n;
        double mean = 0, variance = 0;
        for (size_t i = 0; i < n->n; i++) {
            row[i] = (double)x[at + i] * keep(&n->drop_in, at + i);
            if (residual)
                row[i] += (double)residual[at + i];
            if (sum) /* what the backward pass finds is what is normed */
                row[i] = (double)(sum[at + i] = (float)row[i]);
            mean += row[i] / (double)n->n;
        }
        if (!y)
            continue;
        for (size_t i = 0; i < n->n; i++)
            variance += (row[i] - mean) * (row[i] - mean) / (double)n->n;
        double rstd = 1 / sqrt(variance + (double)n->epsilon);
        if (n->mean)
            n->mean[r] = (float)mean;
        if (n->rstd)
            n->rstd[r] = (float)rstd;
        for (size_t i = 0; i < n->n; i++)
            y[at + i] = (float)(((row[i] - mean) * rstd * (double)n->gain[i] + (double)n->bias[i]) *
                                keep(&n->drop_out, at + i));
    }
    free(row);
}

/* With h = (x - mean) rstd and d = dy gain: dx = rstd (d - mean(d) - h mean(d h)). */
static void ref_norm_backward(void *self, const struct wt_norm *n, const struct wt_norm_grad *g)
{
    (void)self;
    const float *x = n->sum ? n->sum : n->x, *dy = g->dy, *dother = g->dother;
    float *dsum = g->dsum, *dx = g->dx;
    double *dgain = doubles(n->n), *dbias = doubles(n->n), *h = doubles(n->n), *d = doubles(n->n);
    for (size_t r = 0; r < n->rows; r++) {
        size_t at = r * n->n;
        double mean_d = 0, mean_dh = 0, rstd = 0;
        if (dy) {
            rstd = (double)n->rstd[r];
            for (size_t i = 0; i < n->n; i++) {
                double di = (double)dy[at + i] * keep(&n->drop_out, at + i);
                h[i] = ((double)x[at + i] - (double)n->mean[r]) * rstd;
                dgain[i] += di * h[i];
                dbias[i] += di;
                d[i] = di * (double)n->gain[i];
                mean_d += d[i] / (double)n->n;
                mean_dh += d[i] * h[i] / (double)n->n;
            }
        }
        for (size_t i = 0; i < n->n; i++) {
            double out = dy ? rstd * (d[i] - mean_d - h[i] * mean_dh) : 0;
            if (dother)
                out += (double)dother[at + i];
            dsum[at + i] = (float)out;
            if (dx)
                dx[at + i] = (float)(out * keep(&n->drop_in, at + i));
        }
    }
    for (size_t i = 0; dy && i < n->n; i++) {
        g->dgain[i] = (float)((g->is_adding ? (double)g->dgain[i] : 0) + dgain[i]);
        g->dbias[i] = (float)((g->is_adding ? (double)g->dbias[i] : 0) + dbias[i]);
    }
    free(dgain);
    free(dbias);
    free(h);
    free(d);
}

static void ref_linear(void *self, const struct wt_linear *l)
{
    const float *x = l->x, *w = l->w->values;
    float *pre = l->pre, *y = l->y;
    size_t in = l->w->in, out = l->w->out;
    count_product(self, (double)l->m, (double)out, (double)in);
    for (size_t t = 0; t < l->m; t++)
        for (size_t o = 0; o < out; o++) {
            double sum = l->bias ? (double)l->bias[o] : 0;
            for (size_t i = 0; i < in; i++)
                sum += (double)x[t * in + i] * (double)w[o * in + i];
            if (pre)
                pre[t * out + o] = (float)sum;
            y[t * out + o] = (float)nonlinear(l->f, sum);
        }
}

/* dx (+)= dz w, dw (+)= dz' x, dbias (+)= column sums of dz. NULL: not wanted. */
static void products_backward(void *self, const float *dz, const float *x, const float *w, size_t m,
                              size_t in, size_t out, float *dx, bool is_adding_dx, float *dw,
                              float *dbias, bool is_adding)
{
    double *row = doubles(in);
    for (size_t t = 0; dx && t < m; t++) {
        for (size_t i = 0; i < in; i++)
            row[i] = is_adding_dx ? (double)dx[t * in + i] : 0;
        for (size_t o = 0; o < out; o++)
            for (size_t i = 0; i < in; i++)
                row[i] += (double)dz[t * out + o] * (double)w[o * in + i];
        for (size_t i = 0; i < in; i++)
            dx[t * in + i] = (float)row[i];
    }
    for (size_t o = 0; o < out; o++) {
        double bias = dbias && is_adding ? (double)dbias[o] : 0;
        for (size_t i = 0; i < in; i++)
            row[i] = is_adding ? (double)dw[o * in + i] : 0;
        for (size_t t = 0; t < m; t++) {
            bias += (double)dz[t * out + o];
            for (size_t i = 0; i < in; i++)
                row[i] += (double)dz[t * out + o] * (double)x[t * in + i];
        }
        for (size_t i = 0; i < in; i++)
            dw[o * in + i] = (float)row[i];
        if (dbias)
            dbias[o] = (float)bias;
    }
    free(row);
    count_product(self, (double)m, (double)out, (dx ? 2 : 1) * (double)in);
}

static void ref_linear_backward(void *self, const struct wt_linear *l,
                                const struct wt_linear_grad *g)
{
    const float *pre = l->pre;
    float *dy = g->dy;
    for (size_t i = 0; l->f != WT_IDENTITY && i < l->m * l->w->out; i++)
        dy[i] = (float)((double)dy[i] * slope(l->f, (double)pre[i]));
    products_backward(self, dy, l->x, l->w->values, l->m, l->w->in, l->w->out, g->dx,
                      g->is_adding_dx, g->dw, g->dbias, g->is_adding);
}

/* What one query of one head sees: keys 0 .. *ret_keys-1 of its sequence, weights p of them.
 * Returns the log-sum-exp. */
static double see(const struct wt_attention *a, size_t b, size_t head, size_t query, double *p,
                  size_t *ret_keys)
{
    const float *qkv = a->qkv;
    size_t h = a->heads * a->head, start = (size_t)a->at.starts[b];
    size_t keys = a->is_causal ? query + 1 : (size_t)a->at.lengths[b];
    const float *q = qkv + (start + query) * 3 * h + head * a->head;
    double largest = -INFINITY, sum = 0;
    for (size_t k = 0; k < keys; k++) {
        const float *key = qkv + (start + k) * 3 * h + h + head * a->head;
        p[k] = 0;
        for (size_t i = 0; i < a->head; i++)
            p[k] += (double)q[i] * (double)key[i];
        p[k] /= sqrt((double)a->head);
        largest = fmax(largest, p[k]);
    }
    for (size_t k = 0; k < keys; k++)
        sum += exp(p[k] - largest);
    for (size_t k = 0; k < keys; k++)
        p[k] = exp(p[k] - largest) / sum;
    *ret_keys = keys;
    return largest + log(sum);
}

static uint64_t drop_at(const struct wt_attention *a, size_t b, size_t head, size_t query,
                        size_t key)
{
    uint64_t longest = a->at.longest;
    return ((b * a->heads + head) * longest + query) * longest + key;
}

static void ref_attention(void *self, const struct wt_attention *a)
{
    const float *qkv = a->qkv;
    float *context = a->context;
    size_t h = a->heads * a->head;
    double *p = doubles(a->at.longest);
    memset(context, 0, a->at.rows * h * sizeof(*context));
    for (size_t b = 0; b < a->at.count; b++)
        for (size_t head = 0; head < a->heads; head++)
            for (size_t query = 0; query < (size_t)a->at.lengths[b]; query++) {
                size_t start = (size_t)a->at.starts[b], row = start + query, keys;
                double lse = see(a, b, head, query, p, &keys);
                if (a->lse)
                    a->lse[head * a->at.rows + row] = (float)lse;
                for (size_t i = 0; i < a->head; i++) {
                    double sum = 0;
                    for (size_t k = 0; k < keys; k++)
                        sum += p[k] * keep(&a->drop, drop_at(a, b, head, query, k)) *
                               (double)qkv[(start + k) * 3 * h + 2 * h + head * a->head + i];
                    context[row * h + head * a->head + i] = (float)sum;
                }
                count_product(self, 2, (double)keys, (double)a->head);
            }
    free(p);
}

/* dp = keep dcontext v'; ds = p (dp - sum(dp p)) / sqrt(D); dq = ds k, dk = ds' q,
 * dv = (keep p)' dcontext. */
static void ref_attention_backward(void *self, const struct wt_attention *a,
                                   const struct wt_attention_grad *g)
{
    const float *qkv = a->qkv, *dcontext = g->dcontext;
    float *dqkv = g->dqkv;
    size_t h = a->heads * a->head;
    double *p = doubles(a->at.longest), *dp = doubles(a->at.longest);
    double *d = doubles(a->at.rows * 3 * h);
    for (size_t b = 0; b < a->at.count; b++)
        for (size_t head = 0; head < a->heads; head++)
            for (size_t query = 0; query < (size_t)a->at.lengths[b]; query++) {
                size_t start = (size_t)a->at.starts[b], at = head * a->head, keys;
                see(a, b, head, query, p, &keys);
                const float *dc = dcontext + (start + query) * h + at;
                const float *q = qkv + (start + query) * 3 * h + at;
                double *dq = d + (start + query) * 3 * h + at, sum = 0;
                for (size_t k = 0; k < keys; k++) {
                    const float *v = qkv + (start + k) * 3 * h + 2 * h + at;
                    double *dv = d + (start + k) * 3 * h + 2 * h + at;
                    double kept = keep(&a->drop, drop_at(a, b, head, query, k));
                    dp[k] = 0;
                    for (size_t i = 0; i < a->head; i++) {
                        dp[k] += kept * (double)dc[i] * (double)v[i];
                        dv[i] += kept * p[k] * (double)dc[i];
                    }
                    sum += dp[k] * p[k];
                }
                for (size_t k = 0; k < keys; k++) {
                    const float *key = qkv + (start + k) * 3 * h + h + at;
                    double *dk = d + (start + k) * 3 * h + h + at;
                    double ds = p[k] * (dp[k] - sum) / sqrt((double)a->head);
                    for (size_t i = 0; i < a->head; i++) {
                        dq[i] += ds * (double)key[i];
                        dk[i] += ds * (double)q[i];
                    }
                }
                count_product(self, 4, (double)keys, (double)a->head);
            }
    for (size_t i = 0; i < a->at.rows * 3 * h; i++)
        dqkv[i] = (float)d[i];
    free(p);
    free(dp);
    free(d);
}

static void ref_cache(void *self, const struct wt_attention *a, void *keys, void *values,
                      size_t capacity)
{
    (void)self;
    size_t h = a->heads * a->head;
    for (size_t b = 0; b < a->at.count; b++)
        for (size_t t = 0; t < (size_t)a->at.lengths[b]; t++) {
            const float *row = (const float *)a->qkv + ((size_t)a->at.starts[b] + t) * 3 * h;
            memcpy((float *)keys + (b * capacity + t) * h, row + h, h * sizeof(*row));
            memcpy((float *)values + (b * capacity + t) * h, row + 2 * h, h * sizeof(*row));
        }
}

static void ref_decode(void *self, const struct wt_decode *d)
{
    const float *qkv = d->qkv;
    float *context = d->context;
    size_t h = d->heads * d->head;
    double *p = doubles(d->capacity);
    for (size_t b = 0; b < d->count; b++) {
        float *keys = (float *)d->keys + b * d->capacity * h;
        float *values = (float *)d->values + b * d->capacity * h;
        size_t length = (size_t)d->lengths[b];
        memcpy(keys + (length - 1) * h, qkv + b * 3 * h + h, h * sizeof(*keys));
        memcpy(values + (length - 1) * h, qkv + b * 3 * h + 2 * h, h * sizeof(*values));
        for (size_t at = 0; at < h; at += d->head) {
            double largest = -INFINITY, sum = 0;
            for (size_t k = 0; k < length; k++) {
                p[k] = 0;
                for (size_t i = at; i < at + d->head; i++)
                    p[k] += (double)qkv[b * 3 * h + i] * (double)keys[k * h + i];
                p[k] /= sqrt((double)d->head);
                largest = fmax(largest, p[k]);
            }
            for (size_t k = 0; k < length; k++)
                sum += exp(p[k] - largest);
            for (size_t i = at; i < at + d->head; i++) {
                double out = 0;
                for (size_t k = 0; k < length; k++)
                    out += exp(p[k] - largest) / sum * (double)values[k * h + i];
                context[b * h + i] = (float)out;
            }
        }
        count_product(self, 2, (double)length, (double)h);
    }
    free(p);
}

/* The loss of one row of logits; leaves their gradient there. */
static double row_loss(double *logits, size_t n, int32_t target, double scale)
{
    double largest = -INFINITY, sum = 0;
    if (target < 0) {
        memset(logits, 0, n * sizeof(*logits));
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, logits[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - largest);
    double loss = largest + log(sum) - logits[target];
    for (size_t i = 0; i < n; i++)
        logits[i] = scale * (exp(logits[i] - largest) / sum - (i == (size_t)target ? 1 : 0));
    return loss;
}

static void ref_loss(void *self, const struct wt_loss *l)
{
    const float *x = l->x, *w = l->w->values;
    size_t h = l->w->in, v = l->w->out;
    double *row = doubles(v);
    float *dz = calloc(l->m * v + 1, sizeof(*dz));
    if (!dz)
        abort();
    count_product(self, (double)l->m, (double)v, (double)h);
    for (size_t t = 0; t < l->m; t++) {
        for (size_t o = 0; o < v; o++) {
            row[o] = l->bias ? (double)l->bias[o] : 0;
            for (size_t i = 0; i < h; i++)
                row[o] += (double)x[t * h + i] * (double)w[o * h + i];
        }
        l->losses[t] = (float)row_loss(row, v, l->targets[t], (double)l->scale);
        for (size_t o = 0; o < v; o++)
            dz[t * v + o] = (float)row[o];
    }
    if (l->dx)
        products_backward(self, dz, x, w, l->m, h, v, l->dx, false, l->dw, l->dbias, l->is_adding);
    free(row);
    free(dz);
}

static void ref_cross_entropy(void *self, const float *logits, const int32_t *targets, size_t m,
                              size_t n, float scale, float *losses, void *dlogits)
{
    (void)self;
    double *row = doubles(n);
    for (size_t t = 0; t < m; t++) {
        for (size_t i = 0; i < n; i++)
            row[i] = (double)logits[t * n + i];
        losses[t] = (float)row_loss(row, n, targets[t], (double)scale);
        for (size_t i = 0; dlogits && i < n; i++)
            ((float *)dlogits)[t * n + i] = (float)row[i];
    }
    free(row);
}

static void ref_gather(void *self, void *out, const void *x, const int32_t *rows, size_t count,
                       size_t n, const struct wt_dropout *drop)
{
    (void)self;
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < n; i++)
            ((float *)out)[t * n + i] =
                (float)((double)((const float *)x)[(size_t)rows[t] * n + i] *
                        keep(drop, t * n + i));
}

static void ref_scatter(void *self, void *dx, const void *dout, const int32_t *rows, size_t count,
                        size_t total, size_t n, const struct wt_dropout *drop)
{
    (void)self;
    memset(dx, 0, total * n * sizeof(float));
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < n; i++)
            ((float *)dx)[(size_t)rows[t] * n + i] =
                (float)((double)((const float *)dout)[t * n + i] * keep(drop, t * n + i));
}

static void ref_adamw(void *self, const struct wt_adam *a)
{
    (void)self;
    double square = 0;
    for (size_t i = 0; i < a->total; i++)
        square += (double)a->g[i] * (double)a->g[i];
    double norm = sqrt(square);
    a->norm[0] = (float)norm;
    if (!isfinite(norm))
        return;
    double scale = a->clip > 0 && norm > (double)a->clip ? (double)a->clip / norm : 1;
    double beta1 = (double)a->beta1, beta2 = (double)a->beta2, rate = (double)a->rate;
    for (size_t s = 0; s < a->span_count; s++)
        for (size_t i = a->spans[s].from; i < a->spans[s].to; i++) {
            double g = (double)a->g[i] * scale, p = (double)a->p[i];
            double m = beta1 * (double)a->first[i] + (1 - beta1) * g;
            double v = beta2 * (double)a->second[i] + (1 - beta2) * g * g;
            double step = m / (double)a->correction1 /
                          (sqrt(v / (double)a->correction2) + (double)a->epsilon);
            a->first[i] = (float)m;
            a->second[i] = (float)v;
            a->p[i] =
                (float)(p - rate * (step + (a->spans[s].is_decayed ? (double)a->decay * p : 0)));
        }
    if (a->working)
        memcpy(a->working, a->p, a->total * sizeof(*a->p));
}

static const struct wt_backend_ops ops = {
    .name = "reference",
    .alloc = ref_alloc,
    .release = ref_release,
    .upload = ref_upload,
    .download = ref_download,
    .sync = ref_sync,
    .fill_zero = ref_fill_zero,
    .narrow = ref_narrow,
    .prepare = ref_prepare,
    .unprepare = ref_unprepare,
    .embed = ref_embed,
    .embed_backward = ref_embed_backward,
    .norm = ref_norm,
    .norm_backward = ref_norm_backward,
    .linear = ref_linear,
    .linear_backward = ref_linear_backward,
    .attention = ref_attention,
    .attention_backward = ref_attention_backward,
    .cache = ref_cache,
    .decode = ref_decode,
    .loss = ref_loss,
    .cross_entropy = ref_cross_entropy,
    .gather = ref_gather,
    .scatter = ref_scatter,
    .adamw = ref_adamw,
    .free = free,
};

int wt_reference_new(struct wt_backend *ret_backend, struct wt_error *err)
{
    struct reference *r = calloc(1, sizeof(*r));
    if (!r)
        return wt_fail(err, WT_E_NOMEM, "no memory for a backend");
    ret_backend->ops = &ops;
    ret_backend->self = r;
    ret_backend->dtype = WT_F32;
    ret_backend->is_narrow = false;
    return 0;
}

double wt_reference_product_flops(const struct wt_backend *reference)
{
    return ((const struct reference *)reference->self)->product_flops;
}
