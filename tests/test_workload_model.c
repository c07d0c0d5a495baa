/* The models: gradients against differences of the loss, with and without dropout; that the same
 * text gives the same however it lies in a batch; and what a step costs.
 * Each test runs on each backend of backends.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "base/base.h"
#include "workload/model.h"
#include "workload/random.h"

#define BATCH   3
#define SEQ     10
#define CLASSES 3

static const struct wt_config configs[] = {
    [WT_FAMILY_BERT] = {WT_FAMILY_BERT, 2, 24, 3, 40, 57, 16, 2, WT_GELU, 1e-12, 0.2, 0.15, 0.2,
                        0.2, 0.2},
    [WT_FAMILY_DISTILBERT] = {WT_FAMILY_DISTILBERT, 2, 24, 3, 40, 57, 16, 0, WT_GELU, 1e-12, 0.2,
                              0.15, 0.2, 0.3, 0.2},
    [WT_FAMILY_GPT2] = {WT_FAMILY_GPT2, 2, 24, 3, 40, 57, 16, 0, WT_GELU_NEW, 1e-5, 0.2, 0.15, 0.1,
                        0, 0.2},
};

/* What each family is trained for. */
static const struct {
    enum wt_family family;
    enum wt_task task;
} trainings[] = {
    {WT_FAMILY_BERT, WT_TASK_MLM},      {WT_FAMILY_DISTILBERT, WT_TASK_MLM},
    {WT_FAMILY_GPT2, WT_TASK_CLM},      {WT_FAMILY_BERT, WT_TASK_CLASSIFY},
    {WT_FAMILY_GPT2, WT_TASK_CLASSIFY}, {WT_FAMILY_DISTILBERT, WT_TASK_CLASSIFY},
};

struct rig {
    struct wt_backend backend;
    struct wt_model *model;
    size_t total;
    float *p, *g; /* on the host */
    int32_t tokens[BATCH * SEQ], lengths[BATCH], chosen[8], targets[8];
    struct wt_input input;
};

static void rig_open(struct rig *r, size_t backend, enum wt_family family, enum wt_task task,
                     bool has_dropout)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(backends[backend].make(&r->backend, NULL), 0);
    struct wt_model_options options = {.task = task,
                                       .batch = BATCH,
                                       .seq = SEQ,
                                       .chosen = task == WT_TASK_MLM ? 8 : 0,
                                       .classes = task == WT_TASK_CLASSIFY ? CLASSES : 0,
                                       .seed = 5,
                                       .has_dropout = has_dropout};
    struct wt_error err = {0};
    if (wt_model_new(&r->model, &configs[family], &options, &r->backend, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(r->model);
    r->total = wt_model_parameters_of(r->model)->total;
    r->p = calloc(r->total, sizeof(*r->p));
    r->g = calloc(r->total, sizeof(*r->g));
    assert_non_null(r->p);
    assert_non_null(r->g);
    /* Biases and gains that are not 0 and 1. */
    assert_int_equal(wt_model_get(r->model, r->p, NULL), 0);
    for (size_t i = 0; i < r->total; i++)
        r->p[i] += 0.1f * (float)((double)(wt_random_at(3, i) >> 11) * 0x1p-52 - 1);
    assert_int_equal(wt_model_set(r->model, r->p, NULL), 0);

    struct wt_random random = {17, 0};
    for (size_t i = 0; i < BATCH * SEQ; i++)
        r->tokens[i] = (int32_t)wt_random_below(&random, configs[family].vocab);
    const int32_t lengths[BATCH] = {SEQ, 4, 7}, chosen[] = {1, 9, 10, 13, 21, 26};
    memcpy(r->lengths, lengths, sizeof(lengths));
    memcpy(r->chosen, chosen, sizeof(chosen));
    for (size_t i = 0; i < 8; i++)
        r->targets[i] = (int32_t)wt_random_below(
            &random, task == WT_TASK_CLASSIFY ? CLASSES : configs[family].vocab);
    r->input = (struct wt_input){
        .tokens = r->tokens, .lengths = r->lengths, .count = BATCH, .rows = BATCH * SEQ};
    if (task == WT_TASK_MLM) {
        r->input.chosen = r->chosen;
        r->input.chosen_count = 6;
    }
    if (task == WT_TASK_MLM || task == WT_TASK_CLASSIFY)
        r->input.targets = r->targets;
}

static void rig_close(struct rig *r)
{
    wt_model_free(r->model);
    wt_backend_free(&r->backend);
    free(r->p);
    free(r->g);
}

static double loss_of(struct rig *r, bool is_training)
{
    double loss;
    wt_model_forward(r->model, &r->input, is_training, 0, 1);
    assert_int_equal(wt_model_result(r->model, &loss, NULL, NULL), 0);
    return loss;
}

static void gradients(struct rig *r, float *g)
{
    wt_model_forward(r->model, &r->input, true, 0, 1);
    wt_model_backward(r->model);
    assert_int_equal(wt_model_get_gradients(r->model, g, NULL), 0);
}

static double off_by(const float *got, const float *want, size_t n)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    return off == 0 ? 0 : sqrt(off / size);
}

/* Tensor by tensor along a direction made of its gradient, each value weighted at random: central
 * differences of second order from two widths (Richardson). fp32 activations leave some 1e-7 of
 * the loss as noise, so that they are good to about 1e-3 of the slope; wider ones would meet
 * DistilBERT's ReLU more often. */
static void check_slopes(struct rig *r, double tolerance)
{
    const struct wt_parameters *o = wt_model_parameters_of(r->model);
    gradients(r, r->g);
    double square = 0;
    for (size_t i = 0; i < r->total; i++)
        square += pow((double)r->g[i], 2);
    float *moved = malloc(r->total * sizeof(*moved));
    assert_non_null(moved);
    unsigned checked = 0;
    for (size_t t = 0; t < o->tensor_count; t++) {
        size_t from = o->tensors[t].at;
        size_t to = t + 1 < o->tensor_count ? o->tensors[t + 1].at : o->total;
        double size = 0, want = 0;
        for (size_t i = from; i < to; i++) {
            double u = (double)(wt_random_at(t, i) >> 11) * 0x1p-53 + 0.1;
            moved[i] = r->g[i] * (float)u;
            size += pow((double)moved[i], 2);
            want += (double)moved[i] * (double)r->g[i];
        }
        size = sqrt(size);
        want /= size;
        if (!(size > 1e-4 * sqrt(square)))
            continue; /* keys' biases: 0 but for rounding */
        checked++;
        double slopes[2];
        for (int wide = 0; wide < 2; wide++) {
            double h = wide ? 0.004 : 0.002, ends[2];
            for (int side = 0; side < 2; side++) {
                float *p = malloc(r->total * sizeof(*p));
                assert_non_null(p);
                memcpy(p, r->p, r->total * sizeof(*p));
                for (size_t i = from; i < to; i++)
                    p[i] += (float)((side ? h : -h) * (double)moved[i] / size);
                assert_int_equal(wt_model_set(r->model, p, NULL), 0);
                ends[side] = loss_of(r, true);
                free(p);
            }
            slopes[wide] = (ends[1] - ends[0]) / (2 * h);
        }
        double slope = (4 * slopes[0] - slopes[1]) / 3;
        if (!(fabs(slope - want) < tolerance * (want + 0.01 * sqrt(square))))
            print_error("%s: slope %g, by the gradient %g\n", o->tensors[t].name, slope, want);
        assert_true(fabs(slope - want) < tolerance * (want + 0.01 * sqrt(square)));
    }
    assert_true(checked + 4 * o->layer_count >= o->tensor_count);
    assert_int_equal(wt_model_set(r->model, r->p, NULL), 0);
    free(moved);
}

#define EACH_BACKEND(b) for (size_t b = 0; b < WT_COUNTOF(backends); b++)

static void every_gradient_is_the_losss_slope(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, false);
        check_slopes(&r, 3e-3);
        rig_close(&r);
    }
}

static void with_dropout_it_is_that_of_what_was_kept(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, true);
        check_slopes(&r, 3e-3);
        rig_close(&r);
    }
}

static void dropout_changes_with_the_step_and_the_part_and_is_off_without_training(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < 3; t++) {
        struct rig r, plain;
        rig_open(&r, b, trainings[t].family, trainings[t].task, true);
        rig_open(&plain, b, trainings[t].family, trainings[t].task, false);
        double without = loss_of(&plain, true), first = loss_of(&r, true);
        assert_true(loss_of(&r, false) == without);
        assert_true(fabs(first - without) > 1e-4);
        assert_true(loss_of(&r, true) == first);
        /* two parts: the mean of another pass and the first */
        wt_model_forward(r.model, &r.input, true, 0, 0.5f);
        wt_model_forward(r.model, &r.input, true, 1, 0.5f);
        double both;
        assert_int_equal(wt_model_result(r.model, &both, NULL, NULL), 0);
        assert_true(fabs(both - first) > 1e-4);
        struct wt_rate still = {0, 0.9f, 0.999f, 1e-8f, 0, 0};
        wt_model_forward(r.model, &r.input, true, 0, 1);
        wt_model_backward(r.model);
        wt_model_optimize(r.model, &still);
        assert_true(fabs(loss_of(&r, true) - first) > 1e-4);
        rig_close(&r);
        rig_close(&plain);
    }
}

/* Three micro-batches of one sequence each, weighted by their positions, are the batch. */
static void parts_of_a_batch_add_up_to_its_gradient(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, false);
        double loss = loss_of(&r, true), parts;
        gradients(&r, r.g);
        struct wt_input all = r.input;
        double positions[BATCH], sum = 0;
        size_t at = 0;
        for (size_t s = 0; s < BATCH; s++) {
            size_t chosen = 0;
            while (at + chosen < all.chosen_count && all.chosen[at + chosen] < (int)(s + 1) * SEQ)
                chosen++;
            positions[s] = trainings[t].task == WT_TASK_MLM   ? (double)chosen
                           : trainings[t].task == WT_TASK_CLM ? r.lengths[s] - 1
                                                              : 1;
            sum += positions[s];
            at += chosen;
        }
        at = 0;
        for (unsigned s = 0; s < BATCH; s++) {
            int32_t chosen[8];
            r.input = (struct wt_input){
                .tokens = r.tokens + s * SEQ, .lengths = r.lengths + s, .count = 1, .rows = SEQ};
            if (all.chosen) {
                r.input.chosen_count = (size_t)positions[s];
                for (size_t i = 0; i < r.input.chosen_count; i++)
                    chosen[i] = all.chosen[at + i] - (int32_t)(s * SEQ);
                r.input.chosen = chosen;
                r.input.targets = r.targets + at;
                at += r.input.chosen_count;
            } else if (all.targets) {
                r.input.targets = r.targets + s;
            }
            wt_model_forward(r.model, &r.input, true, s, (float)(positions[s] / sum));
            wt_model_backward(r.model);
        }
        assert_int_equal(wt_model_result(r.model, &parts, NULL, NULL), 0);
        assert_true(fabs(parts - loss) < backends[b].loss_tolerance * loss);
        float *g = calloc(r.total, sizeof(*g));
        assert_non_null(g);
        assert_int_equal(wt_model_get_gradients(r.model, g, NULL), 0);
        assert_true(off_by(g, r.g, r.total) < backends[b].gradient_tolerance);
        /* and a new step begins anew */
        r.input = all;
        gradients(&r, g);
        assert_true(off_by(g, r.g, r.total) < backends[b].gradient_tolerance);
        free(g);
        rig_close(&r);
    }
}

/* The same sequences one after the other, without the padding. */
static void packed_is_what_padded_is(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, false);
        double loss = loss_of(&r, true);
        gradients(&r, r.g);
        int32_t packed[BATCH * SEQ], starts[BATCH], chosen[8], at = 0, moved[BATCH * SEQ] = {0};
        for (int32_t s = 0; s < BATCH; s++) {
            starts[s] = at;
            for (int32_t i = 0; i < r.lengths[s]; i++, at++) {
                packed[at] = r.tokens[s * SEQ + i];
                moved[s * SEQ + i] = at;
            }
        }
        for (size_t i = 0; i < r.input.chosen_count; i++)
            chosen[i] = moved[r.chosen[i]];
        r.input.tokens = packed;
        r.input.starts = starts;
        r.input.rows = (size_t)at;
        if (r.input.chosen)
            r.input.chosen = chosen;
        assert_true(fabs(loss_of(&r, true) - loss) < backends[b].loss_tolerance * loss);
        float *g = calloc(r.total, sizeof(*g));
        assert_non_null(g);
        gradients(&r, g);
        assert_true(off_by(g, r.g, r.total) < backends[b].gradient_tolerance);
        free(g);
        rig_close(&r);
    }
}

/* What stands in the padding does not matter, nor how far it goes. */
static void padding_is_not_seen(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, false);
        r.lengths[0] = 8;
        r.chosen[1] = 7;
        double loss = loss_of(&r, true);
        for (size_t s = 0; s < BATCH; s++)
            for (size_t i = (size_t)r.lengths[s]; i < SEQ; i++)
                r.tokens[s * SEQ + i] = 0;
        assert_true(fabs(loss_of(&r, true) - loss) < backends[b].loss_tolerance * loss);
        for (size_t s = 0; s < BATCH; s++)
            memmove(r.tokens + s * 8, r.tokens + s * SEQ, 8 * sizeof(*r.tokens));
        for (size_t i = 0; i < r.input.chosen_count; i++)
            r.chosen[i] = r.chosen[i] / SEQ * 8 + r.chosen[i] % SEQ;
        r.input.rows = BATCH * 8;
        assert_true(fabs(loss_of(&r, true) - loss) < backends[b].loss_tolerance * loss);
        rig_close(&r);
    }
}

/* Reading a text token by token ends where reading it at once does. */
static void generation_gives_the_logits_of_the_whole_text(void **state)
{
    (void)state;
    enum { V = 57, PROMPT = 4 };
    EACH_BACKEND(b)
    {
        struct rig whole, r;
        rig_open(&whole, b, WT_FAMILY_GPT2, WT_TASK_SCORE, false);
        rig_open(&r, b, WT_FAMILY_GPT2, WT_TASK_GENERATE, false);
        float got[BATCH * V], want[BATCH * V];
        const int32_t prompts[BATCH] = {4, 1, 3};
        r.input.lengths = prompts;
        assert_int_equal(wt_model_prefill(r.model, &r.input, got, NULL), 0);
        for (int32_t step = 0; step <= SEQ - PROMPT; step++) {
            int32_t lengths[BATCH], last[BATCH], tokens[BATCH];
            for (int32_t s = 0; s < BATCH; s++) {
                lengths[s] = prompts[s] + step;
                last[s] = s * SEQ + lengths[s] - 1;
                tokens[s] = r.tokens[last[s]];
            }
            if (step > 0)
                assert_int_equal(wt_model_decode(r.model, tokens, got, NULL), 0);
            whole.input.lengths = lengths;
            whole.input.chosen = last;
            whole.input.chosen_count = BATCH;
            assert_int_equal(wt_model_score(whole.model, &whole.input, want, NULL), 0);
            assert_true(off_by(got, want, BATCH * V) < backends[b].gradient_tolerance);
        }
        const int32_t one[BATCH] = {1, 1, 1};
        assert_int_equal(wt_model_decode(r.model, one, got, NULL), WT_E_RANGE); /* full */
        /* and a second prompt starts anew */
        assert_int_equal(wt_model_prefill(r.model, &r.input, got, NULL), 0);
        whole.input.lengths = prompts;
        const int32_t last[BATCH] = {3, SEQ, 2 * SEQ + 2};
        whole.input.chosen = last;
        assert_int_equal(wt_model_score(whole.model, &whole.input, want, NULL), 0);
        assert_true(off_by(got, want, BATCH * V) < backends[b].gradient_tolerance);
        rig_close(&whole);
        rig_close(&r);
    }
}

/* Without the logits of all rows at once: as a softmax over them by hand. */
static void likelihood_is_that_of_the_logits(void **state)
{
    (void)state;
    enum { V = 57 };
    EACH_BACKEND(b)
    {
        struct rig scored, judged;
        rig_open(&scored, b, WT_FAMILY_GPT2, WT_TASK_SCORE, false);
        rig_open(&judged, b, WT_FAMILY_GPT2, WT_TASK_LIKELIHOOD, false);
        const int32_t chosen[] = {0, 2, SEQ}, targets[] = {5, 56, 0};
        scored.input.chosen = judged.input.chosen = chosen;
        scored.input.chosen_count = judged.input.chosen_count = 3;
        judged.input.targets = targets;
        float logits[3 * V];
        double got, want = 0;
        assert_int_equal(wt_model_score(scored.model, &scored.input, logits, NULL), 0);
        assert_int_equal(wt_model_likelihood(judged.model, &judged.input, &got, NULL), 0);
        for (size_t i = 0; i < 3; i++) {
            double sum = 0;
            for (size_t k = 0; k < V; k++)
                sum += exp((double)logits[i * V + k]);
            want += log(sum) - (double)logits[i * V + (size_t)targets[i]];
        }
        assert_true(fabs(got - want) < 1e-5 * want);
        rig_close(&scored);
        rig_close(&judged);
    }
}

/* The encoder's rows are those that the prediction head reads: the classifier on them by hand. */
static void encoding_gives_the_rows_that_heads_read(void **state)
{
    (void)state;
    enum { H = 24 };
    EACH_BACKEND(b)
    {
        struct rig r, heads;
        rig_open(&r, b, WT_FAMILY_BERT, WT_TASK_ENCODE, false);
        rig_open(&heads, b, WT_FAMILY_BERT, WT_TASK_CLASSIFY, false);
        const struct wt_parameters *o = wt_model_parameters_of(heads.model);
        size_t body = wt_model_parameters_of(r.model)->total;
        assert_true(body < heads.total && o->pool_w == body);
        assert_int_equal(wt_model_set(r.model, heads.p, NULL), 0); /* the body comes first */
        float rows[BATCH * SEQ * H], got[BATCH * CLASSES];
        assert_int_equal(wt_model_encode(r.model, &r.input, rows, NULL), 0);
        assert_int_equal(wt_model_classify(heads.model, &heads.input, got, NULL), 0);
        /* Those that a forward pass made on its way to the loss are the same. */
        float of_pass[BATCH * CLASSES];
        wt_model_forward(heads.model, &heads.input, false, 0, 1);
        assert_int_equal(wt_model_class_logits(heads.model, of_pass, NULL), 0);
        assert_memory_equal(of_pass, got, sizeof(got));
        for (size_t s = 0; s < BATCH; s++) {
            const float *x = rows + s * SEQ * H, *p = heads.p;
            double pooled[H];
            for (size_t i = 0; i < H; i++) {
                double sum = (double)p[o->pool_b + i];
                for (size_t k = 0; k < H; k++)
                    sum += (double)p[o->pool_w + i * H + k] * (double)x[k];
                pooled[i] = tanh(sum);
            }
            for (size_t c = 0; c < CLASSES; c++) {
                double sum = (double)p[o->class_b + c];
                for (size_t k = 0; k < H; k++)
                    sum += (double)p[o->class_w + c * H + k] * pooled[k];
                assert_true(fabs(sum - (double)got[s * CLASSES + c]) < 1e-5);
            }
        }
        rig_close(&r);
        rig_close(&heads);
    }
}

static void an_optimizer_step_is_adamws(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    {
        struct rig r;
        rig_open(&r, b, WT_FAMILY_BERT, WT_TASK_MLM, false);
        const struct wt_parameters *o = wt_model_parameters_of(r.model);
        double *m = calloc(r.total, sizeof(*m)), *v = calloc(r.total, sizeof(*v));
        float *got = calloc(r.total, sizeof(*got));
        assert_true(m && v && got);
        struct wt_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.5f};
        for (int step = 1; step <= 3; step++) {
            gradients(&r, r.g);
            double square = 0, loss, norm;
            for (size_t i = 0; i < r.total; i++)
                square += pow((double)r.g[i], 2);
            wt_model_optimize(r.model, &rate);
            assert_int_equal(wt_model_result(r.model, &loss, &norm, NULL), 0);
            assert_true(fabs(norm - sqrt(square)) < 1e-6 * norm);
            double scale = norm > 0.5 ? 0.5 / norm : 1;
            assert_int_equal(wt_model_get(r.model, got, NULL), 0);
            for (size_t t = 0; t < o->tensor_count; t++) {
                size_t to = t + 1 < o->tensor_count ? o->tensors[t + 1].at : o->total;
                for (size_t i = o->tensors[t].at; i < to; i++) {
                    double d = (double)r.g[i] * scale, p = (double)r.p[i];
                    m[i] = 0.9 * m[i] + 0.1 * d;
                    v[i] = 0.999 * v[i] + 0.001 * d * d;
                    double hat = m[i] / (1 - pow(0.9, step));
                    double root = sqrt(v[i] / (1 - pow(0.999, step)));
                    double decay = o->tensors[t].rank == 2 ? 0.1 * p : 0;
                    p -= 0.01 * (decay + hat / (root + 1e-8));
                    assert_true(fabs((double)got[i] - p) < 3e-6 + 1e-5 * fabs(p));
                    r.p[i] = got[i];
                }
            }
        }
        free(m);
        free(v);
        free(got);
        rig_close(&r);
    }
}

static void a_gradient_that_is_no_number_changes_nothing(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    {
        struct rig r;
        rig_open(&r, b, WT_FAMILY_BERT, WT_TASK_MLM, false);
        r.p[wt_model_parameters_of(r.model)->head_b] = NAN;
        assert_int_equal(wt_model_set(r.model, r.p, NULL), 0);
        struct wt_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 1};
        double loss, norm;
        gradients(&r, r.g);
        wt_model_optimize(r.model, &rate);
        assert_int_equal(wt_model_result(r.model, &loss, &norm, NULL), 0);
        bool is_finite = isfinite(norm) || isfinite(loss);
        assert_false(is_finite);
        float *after = calloc(r.total, sizeof(*after)), *other = calloc(r.total, sizeof(*other));
        uint64_t steps;
        assert_true(after && other);
        assert_int_equal(wt_model_get(r.model, after, NULL), 0);
        assert_memory_equal(after, r.p, r.total * sizeof(*after));
        assert_int_equal(wt_model_get_optimizer(r.model, after, other, &steps, NULL), 0);
        assert_int_equal(steps, 0);
        for (size_t i = 0; i < r.total; i++)
            assert_true(after[i] == 0 && other[i] == 0);
        free(after);
        free(other);
        rig_close(&r);
    }
}

/* As a bell of the configuration's width; the same for the same seed. */
static void initial_weights_are_seeded(void **state)
{
    (void)state;
    struct wt_backend backend = {0};
    assert_int_equal(wt_reference_new(&backend, NULL), 0);
    float *p[3];
    struct wt_config config = configs[WT_FAMILY_GPT2];
    config.vocab = 2000;
    struct wt_parameters o;
    assert_int_equal(wt_parameters_init(&o, &config, WT_HEAD_LM, 0, NULL), 0);
    for (uint64_t i = 0; i < 3; i++) {
        struct wt_model_options options = {
            .task = WT_TASK_CLM, .batch = 1, .seq = 2, .seed = i / 2};
        struct wt_model *model = NULL;
        assert_int_equal(wt_model_new(&model, &config, &options, &backend, NULL), 0);
        p[i] = calloc(o.total, sizeof(**p));
        assert_non_null(p[i]);
        assert_int_equal(wt_model_get(model, p[i], NULL), 0);
        wt_model_free(model);
    }
    assert_memory_equal(p[0], p[1], o.total * sizeof(**p));
    for (size_t t = 0; t < o.tensor_count; t++) {
        size_t from = o.tensors[t].at, to = t + 1 < o.tensor_count ? o.tensors[t + 1].at : o.total;
        double sum = 0, square = 0, n = (double)(to - from);
        for (size_t i = from; i < to; i++) {
            sum += (double)p[0][i];
            square += pow((double)p[0][i], 2);
        }
        double deviation = sqrt(square / n - pow(sum / n, 2));
        double want = o.tensors[t].rank == 1 ? 0
                      : o.tensors[t].init == WT_INIT_BELL_RESIDUAL
                          ? config.initializer_range / sqrt(4)
                          : config.initializer_range;
        assert_true(fabs(deviation - want) <= 0.1 * want);
        assert_true(fabs(sum / n - (o.tensors[t].init == WT_INIT_ONE ? 1 : 0)) <= 0.2 * want);
        if (o.tensors[t].rank == 2)
            assert_memory_not_equal(p[0] + from, p[2] + from, (to - from) * sizeof(**p));
    }
    for (size_t i = 0; i < 3; i++)
        free(p[i]);
    wt_parameters_done(&o);
    wt_backend_free(&backend);
}

/* ---- what a step costs ---- */

/* The counting backend sees full sequences; the others multiply them. */
static void the_products_counted_are_those_multiplied(void **state)
{
    (void)state;
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        double flops[3];
        for (int which = 0; which < 3; which++) {
            struct wt_backend b = {0};
            assert_int_equal(which == 0   ? wt_reference_new(&b, NULL)
                             : which == 1 ? wt_count_new(&b, WT_BF16, NULL)
                                          : cpu_shared(&b, NULL),
                             0);
            struct wt_model_options options = {.task = trainings[t].task,
                                               .batch = BATCH,
                                               .seq = SEQ,
                                               .chosen = 8,
                                               .classes = CLASSES};
            struct wt_model *model = NULL;
            assert_int_equal(
                wt_model_new(&model, &configs[trainings[t].family], &options, &b, NULL), 0);
            const int32_t tokens[BATCH * SEQ] = {0}, lengths[BATCH] = {SEQ, SEQ, SEQ};
            const int32_t chosen[8] = {0, 1, 2, 3, 4, 5, 6, 7}, targets[8] = {0};
            bool is_mlm = trainings[t].task == WT_TASK_MLM;
            struct wt_input input = {.tokens = tokens,
                                     .lengths = lengths,
                                     .count = BATCH,
                                     .rows = BATCH * SEQ,
                                     .chosen = is_mlm ? chosen : NULL,
                                     .targets = targets,
                                     .chosen_count = is_mlm ? 8 : 0};
            wt_model_forward(model, &input, true, 0, 1);
            wt_model_backward(model);
            double loss;
            flops[which] = 0;
            if (which == 1) { /* products are told from the rest by their engine */
                size_t count;
                const struct wt_emu_kernel *k = wt_count_kernels(&b, &count);
                for (size_t i = 0; i < count; i++)
                    flops[1] += k[i].engine == WT_EMU_TENSOR ? k[i].flops : 0;
                assert_int_equal(wt_count_memory(&b), wt_model_memory(model));
            } else {
                assert_int_equal(wt_model_result(model, &loss, NULL, NULL), 0); /* all is done */
                flops[which] =
                    which == 0 ? wt_reference_product_flops(&b) : wt_cpu_product_flops(&b);
            }
            wt_model_free(model);
            wt_backend_free(&b);
        }
        assert_true(flops[0] > 0);
        assert_true(flops[0] == flops[1]);
        assert_true(flops[2] == flops[1]);
    }
}

/* A table whose memory functions end the test. */
static int no_alloc(void *self, void **ret_at, size_t bytes, struct wt_error *err)
{
    (void)self;
    (void)ret_at;
    (void)bytes;
    (void)err;
    fail();
    return WT_E_NOMEM;
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    for (size_t t = 0; t < WT_COUNTOF(trainings); t++) {
        struct rig r;
        rig_open(&r, b, trainings[t].family, trainings[t].task, true);
        struct wt_backend_ops ops = *r.backend.ops;
        const struct wt_backend_ops *own = r.backend.ops;
        ops.alloc = no_alloc;
        r.backend.ops = &ops;
        struct wt_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 1};
        for (int i = 0; i < 2; i++) {
            gradients(&r, r.g);
            wt_model_optimize(r.model, &rate);
            loss_of(&r, false);
        }
        r.backend.ops = own;
        rig_close(&r);
    }
}

/* More passes than there is room for their losses. */
static void losses_of_many_parts_are_all_in_the_mean(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    {
        struct rig r;
        rig_open(&r, b, WT_FAMILY_GPT2, WT_TASK_CLM, false);
        double one = loss_of(&r, false), all;
        unsigned parts = 65536 / (BATCH * SEQ) + 10;
        for (unsigned i = 0; i < parts; i++)
            wt_model_forward(r.model, &r.input, false, i, 1);
        assert_int_equal(wt_model_result(r.model, &all, NULL, NULL), 0);
        assert_true(fabs(all - one) < 1e-6 * one);
        rig_close(&r);
    }
}

/* ---- what cannot be ---- */

static void what_a_family_has_not_is_refused(void **state)
{
    (void)state;
    struct wt_backend b = {0}, eight = {0};
    assert_int_equal(wt_count_new(&b, WT_F32, NULL), 0);
    assert_int_equal(wt_count_new(&eight, WT_INT8, NULL), 0);
    static const struct {
        enum wt_family family;
        struct wt_model_options options;
        int want;
        bool is_int8;
        const char *says;
    } rows[] = {
        {WT_FAMILY_GPT2, {WT_TASK_MLM, 1, 8, 0, 0, 0, false, false}, WT_E_USAGE, false, "masked"},
        {WT_FAMILY_GPT2, {WT_TASK_ENCODE, 1, 8, 0, 0, 0, false, false}, WT_E_USAGE, false, "encod"},
        {WT_FAMILY_BERT, {WT_TASK_CLM, 1, 8, 0, 0, 0, false, false}, WT_E_USAGE, false, "causal"},
        {WT_FAMILY_BERT,
         {WT_TASK_GENERATE, 1, 8, 0, 0, 0, false, false},
         WT_E_USAGE,
         false,
         "generation"},
        {WT_FAMILY_BERT,
         {WT_TASK_CLASSIFY, 1, 8, 0, 1, 0, false, false},
         WT_E_USAGE,
         false,
         "classes"},
        {WT_FAMILY_BERT, {WT_TASK_MLM, 0, 8, 0, 0, 0, false, false}, WT_E_USAGE, false, "batch"},
        {WT_FAMILY_BERT, {WT_TASK_MLM, 1, 17, 0, 0, 0, false, false}, WT_E_USAGE, false, "3 to 16"},
        {WT_FAMILY_BERT, {WT_TASK_MLM, 1, 8, 9, 0, 0, false, false}, WT_E_USAGE, false, "chosen"},
        {WT_FAMILY_BERT,
         {WT_TASK_MLM, 1, 8, 0, 0, 0, false, false},
         WT_E_UNSUPPORTED,
         true,
         "int8"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_model *model = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_model_new(&model, &configs[rows[i].family], &rows[i].options,
                                      rows[i].is_int8 ? &eight : &b, &err),
                         rows[i].want);
        assert_null(model);
        assert_non_null(strstr(err.text, rows[i].says));
    }
    wt_backend_free(&b);
    wt_backend_free(&eight);
}

static void a_model_too_large_for_the_memory_says_what_it_wanted(void **state)
{
    (void)state;
    EACH_BACKEND(b)
    {
        struct wt_config huge = {WT_FAMILY_BERT, 1024,  65536, 64,  1048576, 4194304, 1048576, 2,
                                 WT_GELU,        1e-12, 0.1,   0.1, 0.1,     0.1,     0.02};
        struct wt_model_options options = {.task = WT_TASK_MLM, .batch = 16, .seq = 1048576};
        struct wt_backend backend = {0};
        assert_int_equal(backends[b].make(&backend, NULL), 0);
        struct wt_model *model = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_model_new(&model, &huge, &options, &backend, &err), WT_E_NOMEM);
        assert_null(model);
        assert_non_null(strstr(err.text, "16 x 1048576"));
        assert_non_null(strstr(err.text, "GB"));
        assert_non_null(strstr(err.fix, "--batch"));
        wt_backend_free(&backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_is_the_losss_slope),
        cmocka_unit_test(with_dropout_it_is_that_of_what_was_kept),
        cmocka_unit_test(dropout_changes_with_the_step_and_the_part_and_is_off_without_training),
        cmocka_unit_test(parts_of_a_batch_add_up_to_its_gradient),
        cmocka_unit_test(packed_is_what_padded_is),
        cmocka_unit_test(padding_is_not_seen),
        cmocka_unit_test(generation_gives_the_logits_of_the_whole_text),
        cmocka_unit_test(likelihood_is_that_of_the_logits),
        cmocka_unit_test(encoding_gives_the_rows_that_heads_read),
        cmocka_unit_test(an_optimizer_step_is_adamws),
        cmocka_unit_test(a_gradient_that_is_no_number_changes_nothing),
        cmocka_unit_test(initial_weights_are_seeded),
        cmocka_unit_test(the_products_counted_are_those_multiplied),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(losses_of_many_parts_are_all_in_the_mean),
        cmocka_unit_test(what_a_family_has_not_is_refused),
        cmocka_unit_test(a_model_too_large_for_the_memory_says_what_it_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
