/* ops: the counts of a training step agree with the closed forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/model.h"

static void shapes_have_the_published_parameter_counts(void **state)
{
    (void)state;
    /* With their LM heads, a tied decoder counted once, no pooler: what Hugging Face reports of
     * bert-base-uncased, distilbert-base-uncased and GPT-2; the others are the same sum by hand. */
    static const struct {
        const char *name;
        uint64_t want;
    } rows[] = {
        {"bert-base", 109514298},  {"bert-mini", 11201594}, {"bert-tiny", 4416698},
        {"bert-large", 335174458}, {"gpt2", 124439808},     {"gpt2-medium", 354823168},
        {"gpt2-large", 774030080}, {"gpt2-xl", 1557611200}, {"distilbert-base", 66985530},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_model_shape shape;
        assert_int_equal(wt_model_shape_named(rows[i].name, &shape, NULL), 0);
        assert_int_equal(wt_model_parameters(&shape), rows[i].want);
    }
}

static void an_unknown_model_names_those_there_are(void **state)
{
    (void)state;
    struct wt_model_shape shape;
    struct wt_error err = {0};
    assert_int_equal(wt_model_shape_named("bert-huge", &shape, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "bert-huge"));
    assert_non_null(strstr(err.fix, "bert-base"));
    assert_non_null(strstr(err.fix, "bert-tiny"));
    assert_non_null(strstr(err.fix, "gpt2-xl"));
}

static void a_steps_flops_are_six_per_weight_and_token_plus_attention(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned batch, seq;
    } rows[] = {{"bert-base", 8, 128},
                {"bert-base", 32, 512},
                {"bert-mini", 8, 128},
                {"distilbert-base", 8, 128},
                {"gpt2", 4, 1024}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_model_shape s;
        assert_int_equal(wt_model_shape_named(rows[i].name, &s, NULL), 0);
        struct wt_emu_kernel *kernels = NULL;
        size_t count = 0, phases[3];
        assert_int_equal(wt_workload_train_ops(&s, rows[i].batch, rows[i].seq, WT_F32, &kernels,
                                               &count, phases, NULL),
                         0);
        assert_int_equal(phases[0] + phases[1] + phases[2], count);
        double total = 0;
        for (size_t k = 0; k < phases[0] + phases[1]; k++)
            total += kernels[k].flops;
        free(kernels);

        double h = s.hidden, tokens = (double)rows[i].batch * rows[i].seq;
        bool is_causal = s.family == WT_FAMILY_GPT2;
        double masked =
            is_causal ? tokens : (double)(rows[i].batch * wt_masked_per_sequence(rows[i].seq));
        double body = (double)s.layers * (4 * h * h + 2 * h * s.ffn);
        double head = (is_causal ? 0 : h * h) + h * s.vocab;
        /* both products, a token, of the keys that it sees */
        double keys = is_causal ? (rows[i].seq + 1) / 2.0 : rows[i].seq;
        double attention = (double)s.layers * 2 * keys * h;
        double want = 6 * (body * tokens + head * masked + attention * tokens);
        assert_true(total > want);        /* norms, GELU, softmax come on top */
        assert_true(total < want * 1.05); /* and are small */
    }
}

static void the_optimizer_moves_28_bytes_a_parameter_and_the_norm_4(void **state)
{
    (void)state;
    struct wt_model_shape s;
    assert_int_equal(wt_model_shape_named("bert-tiny", &s, NULL), 0);
    struct wt_emu_kernel *kernels = NULL;
    size_t count = 0, phases[3];
    assert_int_equal(wt_workload_train_ops(&s, 2, 64, WT_F32, &kernels, &count, phases, NULL), 0);
    double bytes = 0;
    for (size_t k = count - phases[2]; k < count; k++)
        bytes += kernels[k].bytes;
    free(kernels);
    assert_true(fabs(bytes - 32.0 * (double)wt_model_parameters(&s)) < 1);
}

static void bf16_has_the_same_flops_on_the_tensor_engine_and_fewer_bytes(void **state)
{
    (void)state;
    struct wt_model_shape s;
    assert_int_equal(wt_model_shape_named("bert-mini", &s, NULL), 0);
    struct wt_emu_kernel *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;
    assert_int_equal(wt_workload_train_ops(&s, 4, 128, WT_F32, &a, &na, NULL, NULL), 0);
    assert_int_equal(wt_workload_train_ops(&s, 4, 128, WT_BF16, &b, &nb, NULL, NULL), 0);
    assert_int_equal(na, nb);
    size_t tensor = 0;
    double bytes_a = 0, bytes_b = 0;
    for (size_t k = 0; k < na; k++) {
        assert_int_equal(a[k].engine, WT_EMU_FP32);
        assert_true(a[k].flops == b[k].flops);
        tensor += b[k].engine == WT_EMU_TENSOR;
        bytes_a += a[k].bytes;
        bytes_b += b[k].bytes;
    }
    assert_int_equal(tensor, 3 * (6 * s.layers + 2)); /* every product, thrice */
    assert_true(bytes_b < bytes_a);
    free(a);
    free(b);
}

static void tf32_has_the_bytes_of_fp32_and_products_on_an_engine_of_its_own(void **state)
{
    (void)state;
    struct wt_model_shape s;
    assert_int_equal(wt_model_shape_named("bert-mini", &s, NULL), 0);
    struct wt_emu_kernel *a = NULL, *b = NULL;
    size_t na = 0, nb = 0, products = 0;
    assert_int_equal(wt_workload_train_ops(&s, 4, 128, WT_F32, &a, &na, NULL, NULL), 0);
    assert_int_equal(wt_workload_train_ops(&s, 4, 128, WT_TF32, &b, &nb, NULL, NULL), 0);
    assert_int_equal(na, nb);
    for (size_t k = 0; k < na; k++) {
        assert_true(a[k].flops == b[k].flops && a[k].bytes == b[k].bytes);
        assert_int_not_equal(b[k].engine, WT_EMU_TENSOR);
        products += b[k].engine == WT_EMU_TF32;
    }
    assert_int_equal(products, 3 * (6 * s.layers + 2));
    free(a);
    free(b);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct wt_model_shape s;
    assert_int_equal(wt_model_shape_named("bert-tiny", &s, NULL), 0);
    struct wt_model_shape odd = s;
    odd.heads = 3;
    struct wt_model_shape empty = s;
    empty.layers = 0;
    const struct {
        const struct wt_model_shape *shape;
        unsigned batch, seq;
        enum wt_dtype dtype;
        int want;
    } rows[] = {
        {&s, 0, 128, WT_F32, WT_E_USAGE},        {&s, 8, 2, WT_F32, WT_E_USAGE},
        {&s, 8, 513, WT_F32, WT_E_USAGE},        {&s, 100000, 128, WT_F32, WT_E_USAGE},
        {&odd, 8, 128, WT_F32, WT_E_USAGE},      {&empty, 8, 128, WT_F32, WT_E_USAGE},
        {&s, 8, 128, WT_INT8, WT_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_emu_kernel *kernels = NULL;
        size_t count = 0;
        assert_int_equal(wt_workload_train_ops(rows[i].shape, rows[i].batch, rows[i].seq,
                                               rows[i].dtype, &kernels, &count, NULL, NULL),
                         rows[i].want);
        assert_null(kernels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_have_the_published_parameter_counts),
        cmocka_unit_test(an_unknown_model_names_those_there_are),
        cmocka_unit_test(a_steps_flops_are_six_per_weight_and_token_plus_attention),
        cmocka_unit_test(the_optimizer_moves_28_bytes_a_parameter_and_the_norm_4),
        cmocka_unit_test(bf16_has_the_same_flops_on_the_tensor_engine_and_fewer_bytes),
        cmocka_unit_test(tf32_has_the_bytes_of_fp32_and_products_on_an_engine_of_its_own),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
