/* The training step against a plain reference in double precision: the loss directly, gradients by
 * central differences of the reference, which are exact to about 1e-9. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bert.h"
#include "workload/random.h"

/* ---- the reference: one loop a formula, nothing shared with the code under test but the layout
 * of the parameters ---- */

struct reference {
    struct wt_model_shape shape;
    struct wt_layout layout;
    size_t batch, seq;
    double *p;
};

static double *zeros(size_t n)
{
    double *x = calloc(n, sizeof(*x));
    assert_non_null(x);
    return x;
}

/* y[rows, out] = x[rows, in] w[out, in]' + b */
static void ref_linear(double *y, const double *x, const double *w, const double *b, size_t rows,
                       size_t in, size_t out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++) {
            double sum = b[o];
            for (size_t i = 0; i < in; i++)
                sum += x[r * in + i] * w[o * in + i];
            y[r * out + o] = sum;
        }
}

static void ref_norm(double *x, const double *gain, const double *bias, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < n; i++)
            mean += x[r * n + i] / (double)n;
        for (size_t i = 0; i < n; i++)
            square += (x[r * n + i] - mean) * (x[r * n + i] - mean) / (double)n;
        for (size_t i = 0; i < n; i++)
            x[r * n + i] = (x[r * n + i] - mean) / sqrt(square + 1e-12) * gain[i] + bias[i];
    }
}

static void ref_gelu(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= 0.5 * (1 + erf(x[i] / sqrt(2.0)));
}

static void ref_attention(double *context, const double *qkv, const struct reference *m,
                          const struct wt_batch *batch)
{
    size_t L = m->seq, H = m->shape.hidden, A = m->shape.heads, D = H / A;
    double *p = zeros(L);
    for (size_t s = 0; s < m->batch; s++)
        for (size_t a = 0; a < A; a++)
            for (size_t i = 0; i < L; i++) {
                const double *q = qkv + (s * L + i) * 3 * H + a * D;
                double sum = 0;
                for (size_t j = 0; j < batch->lengths[s]; j++) {
                    const double *k = qkv + (s * L + j) * 3 * H + H + a * D;
                    double score = 0;
                    for (size_t x = 0; x < D; x++)
                        score += q[x] * k[x];
                    p[j] = exp(score / sqrt((double)D));
                    sum += p[j];
                }
                for (size_t x = 0; x < D; x++) {
                    double out = 0;
                    for (size_t j = 0; j < batch->lengths[s]; j++)
                        out += p[j] / sum * qkv[(s * L + j) * 3 * H + 2 * H + a * D + x];
                    context[(s * L + i) * H + a * D + x] = out;
                }
            }
    free(p);
}

static double ref_loss(const struct reference *m, const struct wt_batch *batch)
{
    const struct wt_layout *o = &m->layout;
    const double *p = m->p;
    size_t T = m->batch * m->seq, H = m->shape.hidden, F = m->shape.ffn, V = m->shape.vocab;
    double *x = zeros(T * H), *qkv = zeros(T * 3 * H), *context = zeros(T * H), *y = zeros(T * H),
           *up = zeros(T * F);
    for (size_t t = 0; t < T; t++)
        for (size_t h = 0; h < H; h++)
            x[t * H + h] = p[o->token + (size_t)batch->tokens[t] * H + h] +
                           p[o->position + t % m->seq * H + h] + p[o->type + h];
    ref_norm(x, p + o->norm_g, p + o->norm_b, T, H);
    for (size_t i = 0; i < m->shape.layers; i++) {
        struct wt_layer_layout w = wt_layout_layer(o, &m->shape, i);
        ref_linear(qkv, x, p + w.qkv_w, p + w.qkv_b, T, H, 3 * H);
        ref_attention(context, qkv, m, batch);
        ref_linear(y, context, p + w.out_w, p + w.out_b, T, H, H);
        for (size_t t = 0; t < T * H; t++)
            x[t] += y[t];
        ref_norm(x, p + w.norm1_g, p + w.norm1_b, T, H);
        ref_linear(up, x, p + w.up_w, p + w.up_b, T, H, F);
        ref_gelu(up, T * F);
        ref_linear(y, up, p + w.down_w, p + w.down_b, T, F, H);
        for (size_t t = 0; t < T * H; t++)
            x[t] += y[t];
        ref_norm(x, p + w.norm2_g, p + w.norm2_b, T, H);
    }
    double loss = 0, *h = zeros(H), *logits = zeros(V);
    for (size_t i = 0; i < batch->masked_count; i++) {
        ref_linear(h, x + batch->masked[i] * H, p + o->head_w, p + o->head_b, 1, H, H);
        ref_gelu(h, H);
        ref_norm(h, p + o->head_norm_g, p + o->head_norm_b, 1, H);
        ref_linear(logits, h, p + o->token, p + o->decode_b, 1, H, V);
        double sum = 0;
        for (size_t v = 0; v < V; v++)
            sum += exp(logits[v]);
        loss += log(sum) - logits[batch->targets[i]];
    }
    free(x), free(qkv), free(context), free(y), free(up), free(h), free(logits);
    return loss / (double)batch->masked_count;
}

/* ---- a small model, both ways ---- */

#define SEQ   13
#define BATCH 3

static const struct wt_model_shape small = {"small", 2, 24, 3, 40, 57, 16, WT_FAMILY_BERT};

struct bed {
    struct wt_bert *bert;
    struct reference ref;
    struct wt_batch batch;
};

static void bed_open(struct bed *bed, unsigned threads, float dropout)
{
    memset(bed, 0, sizeof(*bed));
    struct wt_bert_options options = {BATCH, SEQ, threads, 5, dropout};
    struct wt_error err = {0};
    assert_int_equal(wt_bert_new(&bed->bert, &small, &options, &err), 0);

    /* Larger weights than the initial ones, and norms and biases that are not 1 and 0, so that
     * each term matters. */
    size_t total = wt_bert_layout(bed->bert)->total;
    float *p = wt_bert_parameters(bed->bert);
    struct wt_random random = {7, 0};
    for (size_t i = 0; i < total; i++)
        p[i] = (p[i] == 1 ? 1 : p[i] * 5) + (float)wt_random_below(&random, 1000) * 2e-4f - 0.1f;

    bed->ref = (struct reference){small, *wt_bert_layout(bed->bert), BATCH, SEQ, zeros(total)};
    for (size_t i = 0; i < total; i++)
        bed->ref.p[i] = (double)p[i];

    struct wt_batch *b = &bed->batch;
    b->tokens = calloc(BATCH * SEQ, sizeof(*b->tokens));
    b->lengths = calloc(BATCH, sizeof(*b->lengths));
    b->masked = calloc(wt_bert_dims(bed->bert)->masked, sizeof(*b->masked));
    b->targets = calloc(wt_bert_dims(bed->bert)->masked, sizeof(*b->targets));
    assert_true(b->tokens && b->lengths && b->masked && b->targets);
    static const unsigned lengths[BATCH] = {SEQ, 9, 4}; /* padding in two of them */
    memcpy(b->lengths, lengths, sizeof(lengths));
    for (size_t s = 0; s < BATCH; s++) {
        for (size_t i = 0; i < lengths[s]; i++)
            b->tokens[s * SEQ + i] = (int32_t)(1 + wt_random_below(&random, small.vocab - 1));
        b->masked[b->masked_count] = (uint32_t)(s * SEQ + 1 + s);
        b->targets[b->masked_count++] = (int32_t)wt_random_below(&random, small.vocab);
    }
    b->masked[b->masked_count] = 8;
    b->targets[b->masked_count++] = 3;
    assert_true(b->masked_count <= wt_bert_dims(bed->bert)->masked);
}

static void bed_close(struct bed *bed)
{
    wt_bert_free(bed->bert);
    free(bed->ref.p);
    free(bed->batch.tokens);
    free(bed->batch.lengths);
    free(bed->batch.masked);
    free(bed->batch.targets);
}

static void the_loss_is_the_references(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 2, 0);
    double want = ref_loss(&bed.ref, &bed.batch);
    double got = wt_bert_forward(bed.bert, &bed.batch, true);
    assert_true(fabs(got - want) < 1e-5 * want);
    bed_close(&bed);
}

/* Each tensor: the largest deviation against the tensor's largest gradient. */
static void every_gradient_is_the_references(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 2, 0);
    wt_bert_forward(bed.bert, &bed.batch, true);
    wt_bert_backward(bed.bert, &bed.batch);
    const float *g = wt_bert_gradients(bed.bert);

    const struct wt_layout *o = &bed.ref.layout;
    size_t starts[64], count = 0;
    const size_t outer[] = {o->token,  o->position, o->type,        o->norm_g,      o->norm_b,
                            o->head_w, o->head_b,   o->head_norm_g, o->head_norm_b, o->decode_b};
    for (size_t i = 0; i < 5; i++)
        starts[count++] = outer[i];
    for (size_t i = 0; i < small.layers; i++) {
        struct wt_layer_layout w = wt_layout_layer(o, &small, i);
        const size_t inner[] = {w.qkv_w, w.qkv_b, w.out_w,  w.out_b,  w.norm1_g, w.norm1_b,
                                w.up_w,  w.up_b,  w.down_w, w.down_b, w.norm2_g, w.norm2_b};
        for (size_t k = 0; k < WT_COUNTOF(inner); k++)
            starts[count++] = inner[k];
    }
    for (size_t i = 5; i < WT_COUNTOF(outer); i++)
        starts[count++] = outer[i];
    starts[count] = o->total;

    struct wt_random random = {11, 0};
    for (size_t t = 0; t < count; t++) {
        size_t size = starts[t + 1] - starts[t];
        double largest = 0, worst = 0;
        for (size_t i = 0; i < size; i++)
            largest = fmax(largest, fabs((double)g[starts[t] + i]));
        assert_true(largest > 0); /* no tensor is left out */
        for (size_t n = 0; n < 40; n++) {
            size_t at = starts[t] + (size <= 40 ? n % size : wt_random_below(&random, size));
            double keep = bed.ref.p[at], h = 1e-5;
            bed.ref.p[at] = keep + h;
            double above = ref_loss(&bed.ref, &bed.batch);
            bed.ref.p[at] = keep - h;
            double below = ref_loss(&bed.ref, &bed.batch);
            bed.ref.p[at] = keep;
            worst = fmax(worst, fabs((double)g[at] - (above - below) / (2 * h)));
        }
        if (worst >= 1e-5 * largest)
            print_error("tensor %zu: off by %g of %g\n", t, worst, largest);
        assert_true(worst < 1e-5 * largest);
    }
    bed_close(&bed);
}

static void gradients_do_not_depend_on_threads_or_on_what_was_before(void **state)
{
    (void)state;
    struct bed one, three;
    bed_open(&one, 1, 0);
    bed_open(&three, 3, 0);
    wt_bert_forward(one.bert, &one.batch, true);
    wt_bert_backward(one.bert, &one.batch);
    for (int i = 0; i < 2; i++) {
        wt_bert_forward(three.bert, &three.batch, true);
        wt_bert_backward(three.bert, &three.batch);
    }
    const float *a = wt_bert_gradients(one.bert), *b = wt_bert_gradients(three.bert);
    double off = 0, largest = 0;
    for (size_t i = 0; i < one.ref.layout.total; i++) {
        off = fmax(off, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
    }
    assert_true(off < 1e-6 * largest);
    bed_close(&one);
    bed_close(&three);
}

/* With dropout the loss is a random one, but the same for the same forward pass: its gradient is
 * held against differences of the model itself, along the gradient, where fp32 is good to 1 %. */
static void dropout_drops_the_same_values_backward(void **state)
{
    (void)state;
    struct bed bed, moved;
    bed_open(&bed, 2, 0.3f);
    double loss = wt_bert_forward(bed.bert, &bed.batch, true);
    double plain = wt_bert_forward(bed.bert, &bed.batch, false);
    assert_true(fabs(plain - ref_loss(&bed.ref, &bed.batch)) < 1e-5 * plain);
    assert_true(fabs(loss - plain) > 1e-4);
    bed_close(&bed);

    bed_open(&bed, 2, 0.3f);
    assert_true(wt_bert_forward(bed.bert, &bed.batch, true) == loss);
    wt_bert_backward(bed.bert, &bed.batch);
    const float *g = wt_bert_gradients(bed.bert);
    size_t total = bed.ref.layout.total;
    double square = 0;
    for (size_t i = 0; i < total; i++)
        square += (double)g[i] * (double)g[i];
    double h = 0.01 / sqrt(square), ends[2];
    for (int side = 0; side < 2; side++) {
        bed_open(&moved, 2, 0.3f);
        float *p = wt_bert_parameters(moved.bert);
        for (size_t i = 0; i < total; i++)
            p[i] += (float)(side ? h : -h) * g[i];
        ends[side] = wt_bert_forward(moved.bert, &moved.batch, true);
        bed_close(&moved);
    }
    double slope = (ends[1] - ends[0]) / (2 * h);
    assert_true(fabs(slope - square) < 0.01 * square);
    bed_close(&bed);
}

static void an_optimizer_step_is_adamws(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 2, 0);
    const struct wt_layout *o = &bed.ref.layout;
    size_t total = o->total;
    double *m = zeros(total), *v = zeros(total), *p = bed.ref.p;
    struct wt_bert_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.5f};
    for (int step = 1; step <= 3; step++) {
        wt_bert_forward(bed.bert, &bed.batch, true);
        wt_bert_backward(bed.bert, &bed.batch);
        const float *g = wt_bert_gradients(bed.bert);
        double square = 0;
        for (size_t i = 0; i < total; i++)
            square += (double)g[i] * (double)g[i];
        double norm = wt_bert_optimize(bed.bert, &rate);
        assert_true(fabs(norm - sqrt(square)) < 1e-6 * norm);
        double scale = norm > 0.5 ? 0.5 / norm : 1;
        for (size_t i = 0; i < total; i++) {
            double d = (double)g[i] * scale;
            m[i] = 0.9 * m[i] + 0.1 * d;
            v[i] = 0.999 * v[i] + 0.001 * d * d;
            bool is_matrix = i < o->norm_g || (i >= o->head_w && i < o->head_b);
            for (size_t l = 0; l < small.layers; l++) {
                struct wt_layer_layout w = wt_layout_layer(o, &small, l);
                is_matrix |= (i >= w.qkv_w && i < w.qkv_b) || (i >= w.out_w && i < w.out_b) ||
                             (i >= w.up_w && i < w.up_b) || (i >= w.down_w && i < w.down_b);
            }
            double hat = m[i] / (1 - pow(0.9, step));
            double root = sqrt(v[i] / (1 - pow(0.999, step)));
            p[i] -= 0.01 * ((is_matrix ? 0.1 * p[i] : 0) + hat / (root + 1e-8));
        }
        const float *got = wt_bert_parameters(bed.bert);
        for (size_t i = 0; i < total; i++)
            assert_true(fabs((double)got[i] - p[i]) < 2e-6 + 1e-5 * fabs(p[i]));
        for (size_t i = 0; i < total; i++)
            p[i] = (double)got[i];
    }
    free(m);
    free(v);
    bed_close(&bed);
}

static void a_gradient_that_is_no_number_changes_nothing(void **state)
{
    (void)state;
    struct bed bed;
    bed_open(&bed, 1, 0);
    float *p = wt_bert_parameters(bed.bert);
    p[bed.ref.layout.head_b] = NAN;
    assert_true(isnan(wt_bert_forward(bed.bert, &bed.batch, true)));
    wt_bert_backward(bed.bert, &bed.batch);
    float before = p[0];
    struct wt_bert_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 1};
    bool is_finite = isfinite(wt_bert_optimize(bed.bert, &rate));
    assert_false(is_finite);
    assert_true(p[0] == before);
    bed_close(&bed);
}

/* The counts that an emulated device is fed with are those of the code that computes. */
static void the_products_called_are_the_products_counted(void **state)
{
    (void)state;
    struct wt_bert *bert = NULL;
    struct wt_bert_options options = {BATCH, SEQ, 2, 1, 0};
    assert_int_equal(wt_bert_new(&bert, &small, &options, NULL), 0);
    const struct wt_dims *d = wt_bert_dims(bert);
    int32_t tokens[BATCH * SEQ] = {0}, targets[BATCH * SEQ] = {0};
    unsigned lengths[BATCH] = {SEQ, SEQ, SEQ};
    uint32_t masked[BATCH * SEQ];
    for (uint32_t i = 0; i < d->masked; i++)
        masked[i] = i;
    struct wt_batch batch = {tokens, lengths, masked, targets, d->masked};
    wt_bert_forward(bert, &batch, true);
    double forward = wt_bert_product_flops(bert);
    wt_bert_backward(bert, &batch);
    double both = wt_bert_product_flops(bert);
    wt_bert_free(bert);

    /* In bf16 the products are told from the rest by their engine. */
    struct wt_emu_kernel *kernels = NULL;
    size_t count = 0, phases[3];
    assert_int_equal(
        wt_workload_train_ops(&small, BATCH, SEQ, WT_BF16, &kernels, &count, phases, NULL), 0);
    double sum = 0, sum_forward = 0;
    for (size_t i = 0; i < count; i++) {
        if (kernels[i].engine == WT_EMU_TENSOR)
            sum += kernels[i].flops;
        if (i + 1 == phases[0])
            sum_forward = sum;
    }
    free(kernels);
    assert_true(forward < sum_forward); /* the loss's gradient is in that phase now */
    assert_true(both == sum);
}

static void a_model_too_large_for_the_memory_says_what_it_wanted(void **state)
{
    (void)state;
    struct wt_model_shape huge = {"huge",  1024,    65536,   64,
                                  1048576, 4194304, 1048576, WT_FAMILY_BERT};
    struct wt_bert_options options = {16, 1048576, 1, 1, 0};
    struct wt_bert *bert = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_bert_new(&bert, &huge, &options, &err), WT_E_NOMEM);
    assert_null(bert);
    assert_non_null(strstr(err.text, "huge"));
    assert_non_null(strstr(err.fix, "--batch"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_the_references),
        cmocka_unit_test(every_gradient_is_the_references),
        cmocka_unit_test(gradients_do_not_depend_on_threads_or_on_what_was_before),
        cmocka_unit_test(dropout_drops_the_same_values_backward),
        cmocka_unit_test(an_optimizer_step_is_adamws),
        cmocka_unit_test(a_gradient_that_is_no_number_changes_nothing),
        cmocka_unit_test(the_products_called_are_the_products_counted),
        cmocka_unit_test(a_model_too_large_for_the_memory_says_what_it_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
