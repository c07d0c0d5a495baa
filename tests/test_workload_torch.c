/* The models against PyTorch, from the same weights: data/torch/ says how its numbers were made.
 * Weights come through the loader of Hugging Face folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "base/base.h"
#include "workload/hub.h"
#include "workload/model.h"

static const char *const families[] = {"bert", "distilbert", "gpt2"};

struct rig {
    struct wt_backend backend;
    struct wt_model *model;
    struct wt_safetensors *expected;
    struct wt_config config;
    struct wt_parameters parameters; /* borrowed: the model's */
    int32_t tokens[256], lengths[16], chosen[256], targets[256];
    struct wt_input input;
};

/* A tensor of the expected file, whatever its shape. */
static float *expected(const struct rig *rig, const char *name, size_t *ret_count)
{
    const struct wt_tensor *t = wt_safetensors_find(rig->expected, name);
    if (!t) {
        print_error("no tensor %s\n", name);
        fail();
    }
    float *values = malloc((t->elements + 1) * sizeof(*values));
    assert_non_null(values);
    assert_int_equal(wt_safetensors_read(rig->expected, name, t->rank, t->shape, values, NULL), 0);
    if (ret_count)
        *ret_count = t->elements;
    return values;
}

static size_t integers(const struct rig *rig, const char *name, int32_t *to, size_t room)
{
    size_t count;
    float *values = expected(rig, name, &count);
    assert_true(count <= room);
    for (size_t i = 0; i < count; i++)
        to[i] = (int32_t)values[i];
    free(values);
    return count;
}

typedef int (*backend_fn)(struct wt_backend *ret_backend, struct wt_error *err);

static void rig_open(struct rig *rig, backend_fn make, const char *family, enum wt_task task)
{
    memset(rig, 0, sizeof(*rig));
    char path[512];
    snprintf(path, sizeof(path), "%s/torch/%s/expected-%s.safetensors", WT_TEST_DATA, family,
             task == WT_TASK_CLASSIFY ? "classify" : "lm");
    struct wt_error err = {0};
    if (wt_safetensors_open(&rig->expected, path, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(rig->expected);
    size_t rows = integers(rig, "tokens", rig->tokens, 256);
    size_t count = integers(rig, "lengths", rig->lengths, 16);
    rig->input = (struct wt_input){
        .tokens = rig->tokens, .lengths = rig->lengths, .count = count, .rows = rows};
    if (wt_safetensors_find(rig->expected, "targets")) {
        integers(rig, "targets", rig->targets, 256);
        rig->input.targets = rig->targets;
    }
    if (task == WT_TASK_MLM || task == WT_TASK_SCORE) {
        rig->input.chosen_count = integers(rig, "chosen", rig->chosen, 256);
        rig->input.chosen = rig->chosen;
    }

    struct wt_hub *hub = NULL;
    snprintf(path, sizeof(path), "%s/torch/%s", WT_TEST_DATA, family);
    assert_int_equal(wt_hub_open(&hub, path, NULL), 0);
    rig->config = *wt_hub_config(hub);
    assert_int_equal(wt_hub_classes(hub), 3);
    struct wt_model_options options = {.task = task,
                                       .batch = (unsigned)count,
                                       .seq = (unsigned)(rows / count),
                                       .chosen = (unsigned)rig->input.chosen_count,
                                       .classes = 3,
                                       .is_blank = true};
    assert_int_equal(make(&rig->backend, NULL), 0);
    assert_int_equal(wt_model_new(&rig->model, &rig->config, &options, &rig->backend, NULL), 0);
    rig->parameters = *wt_model_parameters_of(rig->model);
    float *values = calloc(rig->parameters.total, sizeof(*values));
    assert_non_null(values);
    if (wt_hub_load(hub, &rig->parameters, values, &err) < 0)
        print_error("%s\n", err.text);
    assert_string_equal(wt_hub_left_out(hub), "");
    assert_int_equal(wt_model_set(rig->model, values, NULL), 0);
    free(values);
    wt_hub_close(hub);
}

static void rig_close(struct rig *rig)
{
    wt_model_free(rig->model);
    wt_backend_free(&rig->backend);
    wt_safetensors_close(rig->expected);
}

/* norm(got - want) / norm(want), or against floor where that is larger */
static double off_by(const float *got, const float *want, size_t n, double floor)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    return sqrt(off) / fmax(sqrt(size), floor);
}

/* All gradients by the names of the file, at 1e-4 or better. The gradient of keys' biases is 0 but
 * for rounding (softmax does not see what is added to all scores of a row), so a tensor's error is
 * held against no less than a thousandth of the norm of all gradients (bf16: a hundredth). */
static void check_gradients(struct rig *rig, const char *family, double norm, double tolerance)
{
    const struct wt_parameters *p = &rig->parameters;
    float *got = calloc(p->total, sizeof(*got));
    assert_non_null(got);
    assert_int_equal(wt_model_get_gradients(rig->model, got, NULL), 0);
    double worst = 0, floor = tolerance > 1e-3 ? 1e-2 : 1e-3;
    for (size_t i = 0; i < p->tensor_count; i++) {
        const struct wt_parameter *t = &p->tensors[i];
        char name[128];
        snprintf(name, sizeof(name), "grad.%s", t->name);
        size_t count;
        float *want = expected(rig, name, &count);
        if (t->is_transposed) { /* [in, out] there */
            float *turned = malloc(count * sizeof(*turned));
            assert_non_null(turned);
            for (size_t r = 0; r < t->shape[0]; r++)
                for (size_t c = 0; c < t->shape[1]; c++)
                    turned[c * t->shape[0] + r] = want[r * t->shape[1] + c];
            free(want);
            want = turned;
        }
        double off = off_by(got + t->at, want, count, floor * norm);
        double size = 0;
        for (size_t k = 0; k < count; k++)
            size += pow((double)want[k], 2);
        bool is_key_bias = strstr(t->name, "key.bias") || strstr(t->name, "k_lin.bias");
        assert_true(is_key_bias || sqrt(size) > 1e-3 * norm); /* all others stand for themselves */
        worst = fmax(worst, off);
        if (!(off < tolerance))
            print_error("%s: %s is off by %g\n", family, t->name, off);
        assert_true(off < tolerance);
        free(want);
    }
    print_message("%s on %s: gradients off by at most %.1e\n", family, rig->backend.ops->name,
                  worst);
    free(got);
}

/* slack: how much further off than fp32's bar */
static void one_training_step(const char *family, enum wt_task task, backend_fn make, double slack)
{
    struct rig rig;
    rig_open(&rig, make, family, task);
    size_t steps;
    float *losses = expected(&rig, "losses", &steps), *norms = expected(&rig, "norms", NULL);
    struct wt_rate rate = {3e-3f, 0.9f, 0.98f, 1e-6f, 0.1f, 0.5f};
    for (size_t step = 0; step < steps; step++) {
        wt_model_forward(rig.model, &rig.input, true, 0, 1);
        wt_model_backward(rig.model);
        if (step == 0)
            check_gradients(&rig, family, (double)norms[0], 1e-4 * slack);
        wt_model_optimize(rig.model, &rate);
        double loss, norm;
        assert_int_equal(wt_model_result(rig.model, &loss, &norm, NULL), 0);
        print_message("%s step %zu: loss %.7f, PyTorch %.7f; norm %.6f, %.6f\n", family, step, loss,
                      (double)losses[step], norm, (double)norms[step]);
        /* The bar for the first step; AdamW then multiplies what differs. */
        double tolerance = (step == 0 ? 1e-5 : 1e-4) * slack;
        assert_true(fabs(loss - (double)losses[step]) < tolerance * loss);
        assert_true(fabs(norm - (double)norms[step]) < 10 * tolerance * norm);
    }
    free(losses);
    free(norms);
    rig_close(&rig);
}

static void language_model_training_is_pytorchs(void **state)
{
    (void)state;
    for (size_t b = 0; b < WT_COUNTOF(backends); b++)
        for (size_t f = 0; f < WT_COUNTOF(families); f++)
            one_training_step(families[f],
                              strcmp(families[f], "gpt2") == 0 ? WT_TASK_CLM : WT_TASK_MLM,
                              backends[b].make, 1);
}

/* bf16 keeps 8 bits of each activation: gradients some percent off, losses some thousandths. */
static void training_in_bf16_is_near_pytorchs_fp32(void **state)
{
    (void)state;
    one_training_step("bert", WT_TASK_MLM, cpu_bf16, 500);
    one_training_step("gpt2", WT_TASK_CLM, cpu_bf16, 500);
    one_training_step("distilbert", WT_TASK_CLASSIFY, cpu_bf16, 500);
}

static void classifier_training_is_pytorchs(void **state)
{
    (void)state;
    for (size_t b = 0; b < WT_COUNTOF(backends); b++)
        for (size_t f = 0; f < WT_COUNTOF(families); f++)
            one_training_step(families[f], WT_TASK_CLASSIFY, backends[b].make, 1);
}

static void logits_are_pytorchs(void **state)
{
    (void)state;
    for (size_t b = 0; b < WT_COUNTOF(backends); b++)
        for (size_t f = 0; f < WT_COUNTOF(families); f++)
            for (int is_class = 0; is_class < 2; is_class++) {
                struct rig rig;
                rig_open(&rig, backends[b].make, families[f],
                         is_class ? WT_TASK_CLASSIFY : WT_TASK_SCORE);
                size_t count;
                float *want = expected(&rig, "logits", &count);
                float *got = calloc(count, sizeof(*got));
                assert_non_null(got);
                assert_int_equal(is_class ? wt_model_classify(rig.model, &rig.input, got, NULL)
                                          : wt_model_score(rig.model, &rig.input, got, NULL),
                                 0);
                double off = off_by(got, want, count, 0);
                print_message("%s %s: logits off by %.1e\n", families[f],
                              is_class ? "classes" : "vocabulary", off);
                assert_true(off < 1e-5);
                for (size_t i = 0; i < count; i++)
                    assert_true(fabs((double)got[i] - (double)want[i]) < 1e-4);
                free(got);
                free(want);
                rig_close(&rig);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_pytorchs),
        cmocka_unit_test(language_model_training_is_pytorchs),
        cmocka_unit_test(classifier_training_is_pytorchs),
        cmocka_unit_test(training_in_bf16_is_near_pytorchs_fp32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
