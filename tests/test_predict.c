/* predict: the steady state against the model played through time, counts against closed forms, a
 * row of the catalogue as a device, calibration, and the sums of a job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "emulator/physics.h"
#include "predict/device.h"
#include "wattune/predict.h"
#include "workload/backend.h"
#include "workload/decoder.h"

static struct wt_work work_of(const char *name, enum wt_work_kind kind, enum wt_dtype dtype,
                              unsigned batch, unsigned seq)
{
    struct wt_work work = {.kind = kind, .dtype = dtype, .batch = batch, .seq = seq};
    struct wt_error err;
    if (wt_work_find(name, &work, &err) < 0)
        fail_msg("%s", err.text);
    return work;
}

static struct wt_work_ops ops_of(const struct wt_work *work)
{
    struct wt_work_ops ops;
    struct wt_error err;
    if (wt_work_ops(work, &ops, &err) < 0)
        fail_msg("%s", err.text);
    return ops;
}

static double flops_of(const struct wt_work *work)
{
    struct wt_work_ops ops = ops_of(work);
    double sum = 0;
    for (size_t i = 0; i < ops.count; i++)
        sum += ops.kernels[i].flops;
    wt_work_ops_done(&ops);
    return sum;
}

static struct wt_catalogue *catalogue; /* of the built-in tables, in every test */

static struct wt_gpu gpu_of(const char *name)
{
    struct wt_gpu gpu;
    struct wt_error err;
    if (wt_gpu_find(catalogue, name, &gpu, &err) < 0)
        fail_msg("%s", err.text);
    return gpu;
}

static void assert_near(double value, double want, double share, const char *what)
{
    if (!(fabs(value / want - 1) <= share))
        fail_msg("%s: %g, wanted %g", what, value, want);
}

/* ---- the steady state ---- */

static struct wt_model model;

/* Time and power of a pass, played: warmed up at the temperature that the steady state has. */
static void play(const struct wt_profile *p, const struct wt_work_ops *ops, double limit_w,
                 double temp_c, double *ret_pass_s, double *ret_power_w)
{
    uint64_t id = 0, passes = 0;
    int64_t from_ns = 0, done_ns;
    double from_j = 0;
    wt_model_init(&model, p, 0, 1);
    model.temp_c = temp_c;
    wt_model_set_contexts(&model, p, 1);
    assert_int_equal(wt_model_set_limit(&model, p, (uint64_t)(limit_w * 1e3), NULL), 0);
    while (!from_ns || model.t_ns - from_ns < 4 * WT_NS_PER_S) {
        if (!from_ns && model.t_ns > 2 * WT_NS_PER_S) {
            from_ns = model.t_ns;
            from_j = wt_model_energy_j(&model);
            passes = 0;
        }
        assert_int_equal(wt_model_submit(&model, p, ++id, ops->kernels, ops->count, 0, NULL), 0);
        while (wt_model_load_done(&model, id, &done_ns) == 0)
            wt_model_advance(&model, p, wt_model_next_ns(&model, p));
        passes++;
    }
    *ret_pass_s = (double)(model.t_ns - from_ns) * 1e-9 / (double)passes;
    *ret_power_w = (wt_model_energy_j(&model) - from_j) / ((double)(model.t_ns - from_ns) * 1e-9);
}

static void the_steady_state_is_what_the_model_comes_to(void **state)
{
    (void)state;
    static const struct {
        const char *profile, *model;
        double limit_w;
    } rows[] = {{"v100-pcie-32gb", "bert-base", 250},
                {"v100-pcie-32gb", "bert-base", 150},
                {"v100-pcie-32gb", "bert-base", 100},
                {"a40", "bert-base", 300},
                {"a40", "bert-base", 200},
                {"a40", "bert-base", 125},
                {"h100-sxm-80gb", "gpt2", 700},
                {"h100-sxm-80gb", "gpt2", 300}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        const struct wt_profile *p = wt_profile_find(rows[i].profile);
        struct wt_work work = work_of(rows[i].model, WT_WORK_TRAIN, WT_F32, 16, 128);
        struct wt_work_ops ops = ops_of(&work);
        const struct wt_steady_load load = {ops.kernels, ops.count, 0};
        struct wt_steady s;
        double pass_s, power_w;
        char what[80];
        assert_int_equal(wt_physics_steady(p, &load, rows[i].limit_w, 0, &s, NULL), 0);
        play(p, &ops, rows[i].limit_w, s.temp_c, &pass_s, &power_w);
        snprintf(what, sizeof(what), "%s at %.0f W", rows[i].profile, rows[i].limit_w);
        assert_near(s.pass_ns * 1e-9, pass_s, 0.02, what);
        assert_near(s.power_w, power_w, 0.02, what);
        assert_near(s.compute_share + s.memory_share + s.launch_share + s.gap_share, 1, 1e-9, what);
        wt_work_ops_done(&ops);
    }
}

static void limits_and_clocks_are_those_of_the_device(void **state)
{
    (void)state;
    const struct wt_profile *p = wt_profile_find("v100-pcie-32gb");
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_F32, 16, 128);
    struct wt_work_ops ops = ops_of(&work);
    const struct wt_steady_load load = {ops.kernels, ops.count, 0}, nothing = {0};
    struct wt_steady fast, slow;
    struct wt_error err = {0};
    assert_int_equal(wt_physics_steady(p, &load, 99, 0, &fast, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "100 to 250 W"));
    assert_int_equal(wt_physics_steady(p, &load, 0, 2000000, &fast, &err), WT_E_RANGE);
    assert_int_equal(wt_physics_steady(p, &nothing, 0, 0, &fast, &err), WT_E_USAGE);
    assert_int_equal(wt_physics_steady(p, &load, 0, 0, &fast, &err), 0);
    assert_int_equal(wt_physics_steady(p, &load, 0, 900000, &slow, &err), 0);
    assert_true(slow.pass_ns > 1.3 * fast.pass_ns && slow.power_w < 0.8 * fast.power_w);
    assert_false(slow.is_capped);
    /* A gap takes its time, at the power of a device that waits. */
    const struct wt_steady_load gappy = {ops.kernels, ops.count, fast.pass_ns};
    assert_int_equal(wt_physics_steady(p, &gappy, 0, 0, &slow, &err), 0);
    assert_near(slow.gap_share, 0.5, 0.01, "the gap's share");
    assert_true(slow.power_w < 0.65 * fast.power_w);
    wt_work_ops_done(&ops);
}

/* ---- counts ---- */

static void decoders_have_the_published_parameter_counts(void **state)
{
    (void)state;
    /* Of their model cards, by safetensors. */
    static const struct {
        const char *name;
        uint64_t want;
    } rows[] = {{"llama-3.2-1b", 1235814400},
                {"llama-3.1-8b", 8030261248},
                {"llama-3.1-70b", 70553706496},
                {"qwen3-8b", 8190735360},
                {"qwen3-32b", 32762123264}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_work work = work_of(rows[i].name, WT_WORK_DECODE, WT_BF16, 1, 1);
        assert_int_equal(wt_work_parameters(&work), rows[i].want);
        assert_string_equal(wt_decoder_names()[i], rows[i].name);
    }
    assert_null(wt_decoder_names()[WT_COUNTOF(rows)]);
}

/* Two FLOPs a weight and token, six in training, and attention's on top, which is small here. */
static void a_pass_costs_what_its_weights_and_tokens_say(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum wt_work_kind kind;
        unsigned batch, seq;
        double a_weight;
    } rows[] = {
        {"llama-3.1-8b", WT_WORK_DECODE, 32, 512, 2}, {"llama-3.1-8b", WT_WORK_PREFILL, 2, 512, 2},
        {"llama-3.1-8b", WT_WORK_TRAIN, 2, 512, 6},   {"qwen3-8b", WT_WORK_ENCODE, 1, 1024, 2},
        {"bert-base", WT_WORK_ENCODE, 8, 128, 2},     {"gpt2-xl", WT_WORK_DECODE, 8, 100, 2},
        {"gpt2-xl", WT_WORK_PREFILL, 8, 100, 2},      {"gpt2", WT_WORK_ENCODE, 8, 128, 2}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_work work =
            work_of(rows[i].name, rows[i].kind, WT_BF16, rows[i].batch, rows[i].seq);
        double weights = (double)wt_work_parameters(&work);
        double tokens = (double)wt_work_tokens(&work), want = rows[i].a_weight * tokens;
        double head = 0, table = 0;
        if (work.is_decoder) {
            table = (double)work.decoder.vocab * work.decoder.hidden;
            head = rows[i].kind == WT_WORK_PREFILL ? rows[i].batch / tokens : 1;
        } else {
            table = (double)work.model.vocab * work.model.hidden;
            bool is_encoder = work.model.family != WT_FAMILY_GPT2; /* the others judge each token */
            head = rows[i].kind == WT_WORK_ENCODE    ? (is_encoder ? 0 : 1)
                   : rows[i].kind == WT_WORK_PREFILL ? rows[i].batch / tokens
                                                     : 1;
        }
        double body = weights - (work.is_decoder && !work.decoder.is_tied ? 2 : 1) * table;
        want *= body + head * table;
        double flops = flops_of(&work);
        if (!(flops > 0.99 * want && flops < 1.12 * want))
            fail_msg("%s %s: %g FLOPs, of its weights %g", rows[i].name,
                     wt_work_kind_name(rows[i].kind), flops, want);
    }
}

static void a_decoders_cache_is_read_and_parts_share_the_work(void **state)
{
    (void)state;
    struct wt_work one = work_of("llama-3.1-8b", WT_WORK_DECODE, WT_BF16, 16, 100), four = one,
                   late = one;
    struct wt_work_ops a = ops_of(&one), b, c;
    double bytes[3] = {0};
    four.parts = 4;
    late.seq = 4100;
    b = ops_of(&four);
    c = ops_of(&late);
    for (size_t i = 0; i < a.count; i++) {
        bytes[0] += a.kernels[i].bytes;
        bytes[1] += b.kernels[i].bytes;
        bytes[2] += c.kernels[i].bytes;
    }
    assert_int_equal(a.count, b.count);
    /* Keys and values of 8 heads of 128, in 2 bytes, of 32 layers, of 16 sequences. */
    assert_near(bytes[2] - bytes[0], 2.0 * 8 * 128 * 2 * 32 * 16 * 4000, 1e-6, "the cache");
    assert_true(bytes[1] > 0.24 * bytes[0] && bytes[1] < 0.3 * bytes[0]);
    assert_true(a.exchanges == 0 && b.exchanges == 64);
    assert_near(b.exchange_bytes, 16.0 * 4096 * 2, 1e-9, "an all-reduce");
    assert_true((double)c.memory - (double)a.memory > 1e9 * 8);
    wt_work_ops_done(&a);
    wt_work_ops_done(&b);
    wt_work_ops_done(&c);
}

static void what_cannot_be_counted_is_refused(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_work_ops ops;
    struct wt_work work = work_of("bert-base", WT_WORK_DECODE, WT_BF16, 8, 128);
    assert_int_equal(wt_work_ops(&work, &ops, &err), WT_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "makes no text"));
    work = work_of("bert-base", WT_WORK_TRAIN, WT_INT8, 8, 128);
    assert_int_equal(wt_work_ops(&work, &ops, &err), WT_E_UNSUPPORTED);
    work = work_of("bert-base", WT_WORK_TRAIN, WT_F32, 8, 4096);
    assert_true(wt_work_ops(&work, &ops, &err) < 0); /* 512 positions */
    work = work_of("llama-3.1-8b", WT_WORK_DECODE, WT_BF16, 8, 128);
    work.parts = 3;
    assert_int_equal(wt_work_ops(&work, &ops, &err), WT_E_USAGE);
    work.batch = 0;
    assert_int_equal(wt_work_ops(&work, &ops, &err), WT_E_USAGE);
    assert_int_equal(wt_work_find("bert-huge", &work, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "bert-base"));
    assert_non_null(strstr(err.fix, "llama-3.1-70b"));
    assert_non_null(strstr(err.text, "no such config.json or folder with one"));
    assert_int_equal(wt_work_find("/nowhere/config.json", &work, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "/nowhere/config.json"));
    assert_int_equal(wt_work_find("", &work, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_work_find("/proc", &work, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "/proc: there is no config.json in this folder"));
}

static void a_config_is_read_whole_or_refused(void **state)
{
    (void)state;
    static const char good[] =
        "{\"model_type\": \"llama\", \"num_hidden_layers\": 32, \"hidden_size\": 4096, "
        "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"intermediate_size\": 14336, "
        "\"vocab_size\": 128256, \"tie_word_embeddings\": false}";
    struct wt_decoder_shape shape;
    struct wt_error err = {0};
    assert_int_equal(wt_decoder_parse(&shape, "c", good, strlen(good), &err), 0);
    assert_int_equal(wt_decoder_parameters(&shape), 8030261248);
    static const struct {
        const char *text, *want;
        int code;
    } rows[] = {
        {"{", "c:1", WT_E_FORMAT},
        {"[]", "model_type", WT_E_UNSUPPORTED},
        {"{\"model_type\": \"mamba\"}", "mamba", WT_E_UNSUPPORTED},
        {"{\"model_type\": \"llama\"}", "num_hidden_layers", WT_E_FORMAT},
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": 0}", "is 0", WT_E_RANGE},
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": \"2\"}", "no integer", WT_E_FORMAT},
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": 2, \"hidden_size\": 64, "
         "\"num_attention_heads\": 4, \"num_key_value_heads\": 3, \"intermediate_size\": 8, "
         "\"vocab_size\": 9}",
         "do not fit", WT_E_RANGE},
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": 2, \"hidden_size\": 2, "
         "\"num_attention_heads\": 4, \"intermediate_size\": 8, \"vocab_size\": 9}",
         "head_dim", WT_E_FORMAT},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        int rc = wt_decoder_parse(&shape, "c", rows[i].text, strlen(rows[i].text), &err);
        if (rc != rows[i].code || !strstr(err.text, rows[i].want))
            fail_msg("%s: %d, %s", rows[i].text, rc, err.text);
    }
}

/* ---- devices ---- */

static void gpus_go_by_several_names(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"v100-pcie", "v100-pcie"},
                                          {"V100-PCIE-32GB", "v100-pcie"},
                                          {"Tesla V100-PCIE-16GB", "v100-pcie-16gb"},
                                          {"v100-pcie-32gb", "v100-pcie"},
                                          {"v100-sxm2-32gb", "v100-sxm2"},
                                          {"Tesla V100-SXM2-32GB", "v100-sxm2"},
                                          {"NVIDIA A40", "a40"},
                                          {"NVIDIA H100 80GB HBM3", "h100-sxm"},
                                          {"h100-sxm-80gb", "h100-sxm"},
                                          {"NVIDIA H200", "h200-sxm"},
                                          {"AMD Instinct MI300X", "mi300x"}};
    struct wt_gpu gpu;
    struct wt_error err = {0};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        assert_string_equal(gpu_of(rows[i][0]).id, rows[i][1]);
    assert_int_equal(wt_gpu_find(catalogue, "A4", &gpu, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_gpu_find(catalogue, "", &gpu, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "b200-sxm"));
    size_t count = 0;
    while (wt_gpu_at(catalogue, count, &gpu)) {
        struct wt_gpu same = gpu_of(gpu.id);
        assert_string_equal(same.name, gpu.name);
        assert_true(gpu.tdp_w > 0 && gpu.memory_gb > 0 && gpu.fp32_tflop_s > 0);
        assert_true(!*gpu.profile || wt_profile_find(gpu.profile));
        count++;
    }
    assert_int_equal(count, 29);
}

static void every_row_is_a_device_that_limits_slow_down(void **state)
{
    (void)state;
    struct wt_gpu gpu;
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 64, 128);
    for (size_t i = 0; wt_gpu_at(catalogue, i, &gpu); i++) {
        struct wt_prediction full, half;
        struct wt_error err = {0};
        struct wt_predict_options o = {.is_row_only = true};
        if (wt_predict(&full, &gpu, &work, &o, &err) < 0)
            fail_msg("%s: %s", gpu.id, err.text);
        assert_int_equal(full.basis, WT_PREDICT_ROW);
        assert_true(full.power_w.value > 0.3 * gpu.tdp_w && full.power_w.value <= gpu.tdp_w);
        assert_true(full.j_per_token.low < full.j_per_token.value);
        assert_true(full.j_per_token.high > full.j_per_token.value);
        o.limit_w = gpu.limit_min_w > 0 ? gpu.limit_min_w : gpu.tdp_w / 2;
        if (wt_predict(&half, &gpu, &work, &o, &err) < 0)
            fail_msg("%s: %s", gpu.id, err.text);
        assert_true(half.pass_s.value >= full.pass_s.value);
        assert_true(half.power_w.value <= full.power_w.value);
        /* At the lowest clock a board draws what it draws (the A40 106 W at 100). */
        assert_true(half.power_w.value < fmax(1.05 * o.limit_w, 0.25 * gpu.tdp_w));
    }
    gpu.memory_gb_s = NAN;
    struct wt_prediction none;
    struct wt_error err = {0};
    assert_int_equal(wt_predict(&none, &gpu, &work, NULL, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "memory bandwidth"));
}

static void types_run_on_their_own_engines(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("a100-pcie-80gb");
    double s[4];
    static const enum wt_dtype dtypes[] = {WT_F32, WT_TF32, WT_BF16, WT_INT8};
    for (size_t i = 0; i < 4; i++) {
        struct wt_work work = work_of("bert-large", WT_WORK_ENCODE, dtypes[i], 64, 128);
        struct wt_prediction r;
        assert_int_equal(wt_predict(&r, &gpu, &work, NULL, NULL), 0);
        s[i] = r.pass_s.value;
    }
    assert_true(s[0] > 1.8 * s[1] && s[1] > 1.3 * s[2] && s[2] > s[3]);
}

static void tf32_is_predicted_where_there_is_a_rate_of_it(void **state)
{
    (void)state;
    struct wt_gpu gpu;
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_TF32, 8, 128);
    size_t without = 0;
    for (size_t i = 0; wt_gpu_at(catalogue, i, &gpu); i++) {
        struct wt_prediction r;
        struct wt_error err = {0};
        const struct wt_profile *p = wt_profile_find(gpu.profile);
        bool has = gpu.tf32_tflop_s > 0;
        if (p && !(fabs(p->tf32_flops_s - (has ? gpu.tf32_tflop_s * 1e12 : 0)) < 1))
            fail_msg("%s: %g in its profile", gpu.id, p->tf32_flops_s);
        if (p)
            assert_int_equal(has, p->cc_major >= 8);
        int rc = wt_predict(&r, &gpu, &work, NULL, &err);
        if (rc != (has ? 0 : WT_E_UNSUPPORTED) || (!has && !strstr(err.text, "no TF32 rate")))
            fail_msg("%s: %d, %s", gpu.id, rc, err.text);
        without += !has;
    }
    assert_true(without >= 9); /* K80, P100s, V100s, T4 among them */
}

/* So a pass bound by compute takes as long in both, and none takes longer in int8. */
static void int8_is_of_weights_alone_on_every_board(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        enum wt_work_kind kind;
        double least; /* of bf16's time; weights are half of bf16's bytes */
    } rows[] = {{"bert-base", WT_WORK_ENCODE, 0.95},
                {"gpt2", WT_WORK_ENCODE, 0.9},
                {"llama-3.1-8b", WT_WORK_DECODE, 0.5}};
    struct wt_gpu gpu;
    for (size_t i = 0; wt_gpu_at(catalogue, i, &gpu); i++)
        for (size_t k = 0; k < WT_COUNTOF(rows); k++) {
            struct wt_work work = work_of(rows[k].model, rows[k].kind, WT_BF16, 32, 128);
            struct wt_prediction bf16, int8;
            assert_int_equal(wt_predict(&bf16, &gpu, &work, NULL, NULL), 0);
            work.dtype = WT_INT8;
            assert_int_equal(wt_predict(&int8, &gpu, &work, NULL, NULL), 0);
            double share = int8.pass_s.value / bf16.pass_s.value;
            if (share > 1 + 1e-9 || share < rows[k].least || int8.memory_gb >= bf16.memory_gb)
                fail_msg("%s, %s: %.3f of bf16's time, %.3f GB of %.3f", gpu.id, rows[k].model,
                         share, int8.memory_gb, bf16.memory_gb);
        }
}

static void int8_is_a_byte_less_than_bf16_for_each_weight_of_a_product(void **state)
{
    (void)state;
    struct wt_work work = work_of("llama-3.1-8b", WT_WORK_DECODE, WT_BF16, 1, 128);
    struct wt_work_ops a = ops_of(&work), b;
    double bytes[2] = {0};
    work.dtype = WT_INT8;
    b = ops_of(&work);
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++) {
        assert_int_equal(a.kernels[i].engine, b.kernels[i].engine);
        bytes[0] += a.kernels[i].bytes;
        bytes[1] += b.kernels[i].bytes;
    }
    double table = (double)work.decoder.vocab * work.decoder.hidden; /* is looked up */
    assert_near(bytes[0] - bytes[1], (double)wt_work_parameters(&work) - table, 1e-3, "bytes");
    wt_work_ops_done(&a);
    wt_work_ops_done(&b);
}

static void the_emulated_device_takes_what_is_predicted_in_each_type(void **state)
{
    (void)state;
    const struct wt_profile *p = wt_profile_find("a40");
    struct wt_gpu gpu = gpu_of("a40");
    static const enum wt_dtype dtypes[] = {WT_F32, WT_TF32, WT_BF16, WT_INT8};
    for (size_t i = 0; i < WT_COUNTOF(dtypes); i++) {
        struct wt_work work = work_of("bert-base", WT_WORK_ENCODE, dtypes[i], 32, 128);
        struct wt_work_ops ops = ops_of(&work);
        struct wt_prediction r;
        double pass_s, power_w;
        assert_int_equal(wt_predict(&r, &gpu, &work, NULL, NULL), 0);
        const struct wt_steady_load load = {ops.kernels, ops.count, 0};
        struct wt_steady s;
        assert_int_equal(wt_physics_steady(p, &load, 300, 0, &s, NULL), 0);
        play(p, &ops, 300, s.temp_c, &pass_s, &power_w);
        assert_near(r.pass_s.value, pass_s, 0.02, wt_dtype_name(dtypes[i]));
        assert_near(r.power_w.value, power_w, 0.02, wt_dtype_name(dtypes[i]));
        wt_work_ops_done(&ops);
    }
}

/* ---- calibration ---- */

static void a_calibration_meets_its_run_and_narrows_the_bounds(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("h200-sxm");
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 64, 128);
    struct wt_prediction before, after;
    struct wt_predict_measured m = {.run_id = "r1"};
    struct wt_error err = {0};
    assert_int_equal(wt_predict(&before, &gpu, &work, NULL, &err), 0);
    m.pass_s = 1.4 * before.pass_s.value;
    m.power_w = 0.9 * before.power_w.value;
    struct wt_predict_options o = {.measured = &m};
    assert_int_equal(wt_predict(&after, &gpu, &work, &o, &err), 0);
    assert_near(after.pass_s.value, m.pass_s, 1e-3, "time");
    assert_near(after.power_w.value, m.power_w, 1e-3, "power");
    assert_int_equal(after.basis, WT_PREDICT_CALIBRATED);
    assert_string_equal(after.measured, "r1");
    assert_true(after.pass_s.high / after.pass_s.low <
                0.5 * before.pass_s.high / before.pass_s.low);
    /* Far below, where boards part, less is known. */
    struct wt_prediction low;
    o.limit_w = 250;
    assert_int_equal(wt_predict(&low, &gpu, &work, &o, &err), 0);
    assert_true(low.pass_s.high / low.pass_s.low > 1.5 * after.pass_s.high / after.pass_s.low);
    /* What cannot be the same work on that device. */
    m.pass_s = 1e4;
    assert_int_equal(wt_predict(&after, &gpu, &work, &o, &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "the same work"));
}

static int measure(struct wt_predict_measured *m, const struct wt_run *run,
                   const struct wt_gpu *gpu, const struct wt_work *work, unsigned devices,
                   struct wt_error *err)
{
    return wt_predict_measured_from(m, run, catalogue, gpu, work, devices, err);
}

static void assert_reaches(const struct wt_estimate *e, const struct wt_estimate *other)
{
    assert_true(e->low <= other->low && e->high >= other->high);
}

/* Of other work it says nothing, and of this work it does: the bounds hold both. */
static void a_doubted_run_leaves_the_bounds_as_wide_as_without_it(void **state)
{
    (void)state;
    static const char *const gpus[] = {"a40", "b200-sxm"}; /* by a profile, and by its row */
    for (size_t i = 0; i < WT_COUNTOF(gpus); i++) {
        struct wt_gpu gpu = gpu_of(gpus[i]);
        struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 8, 128);
        struct wt_prediction without, with;
        struct wt_predict_measured m = {.run_id = "r1", .doubt = "it is of another board"};
        const struct wt_predict_options o = {.measured = &m};
        assert_int_equal(wt_predict(&without, &gpu, &work, NULL, NULL), 0);
        m.pass_s = 3 * without.pass_s.value;
        m.power_w = 0.7 * without.power_w.value;
        assert_int_equal(wt_predict(&with, &gpu, &work, &o, NULL), 0);
        assert_near(with.pass_s.value, m.pass_s, 1e-3, "the run is met");
        assert_string_equal(with.doubt, m.doubt);
        assert_reaches(&with.pass_s, &without.pass_s);
        assert_reaches(&with.power_w, &without.power_w);
        assert_reaches(&with.energy_j, &without.energy_j);
        assert_reaches(&with.tokens_per_s, &without.tokens_per_s);
        assert_reaches(&with.j_per_token, &without.j_per_token);
        assert_true(with.pass_s.high > 2.39 * m.pass_s); /* bench/predict-judge, another batch */
    }
}

static void what_speaks_against_a_run_is_named(void **state)
{
    (void)state;
    static const char own[] = "/usr/bin/wattune bench train bert-base --batch 8";
    static const struct {
        const char *command, *board;
        uint64_t steps;
        double wall_s;
        const char *want; /* "": nothing */
    } rows[] = {
        {own, "NVIDIA A40", 100, 30, ""},
        {"python train.py", "NVIDIA A40", 100, 30, ""},
        {"'/a b/wattune' bench train bert-base", "NVIDIA A40", 100, 30, ""},
        {own, "Tesla V100-PCIE-32GB", 100, 30, "made on \"Tesla V100-PCIE-32GB\", which is no a40"},
        {own, "NVIDIA A400", 100, 30, "\"NVIDIA A400\", which is no a40"},
        {"wattune bench train bert-large", "NVIDIA A40", 100, 30, "does not name bert-base"},
        {"wattune bench infer bert-base", "NVIDIA A40", 100, 30, "its command says infer"},
        {"wattune bench finetune bert-base", "NVIDIA A40", 100, 30, "says finetune"},
        {"wattune bench train bert-base --dtype bf16", "NVIDIA A40", 100, 30,
         "it ran in bf16, and fp32 is asked for"},
        {"wattune bench train bert-base --seq=64 --batch 16", "NVIDIA A40", 100, 30,
         "sequences were of 64 tokens, and 128"},
        {own, "NVIDIA A40", 25, 30,
         "its steps had 4096 tokens, where a pass of this batch has 1024"},
        {"python train.py", "NVIDIA A40", 25, 30, "had 4096 tokens"},
        {"python train.py", "NVIDIA A40", 0, 30, "told of no steps"},
        {own, "NVIDIA A40", 100, 3, "it took 3.0 s"},
    };
    struct wt_gpu gpu = gpu_of("a40");
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_F32, 8, 128);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_run_device device = {.kind = WT_DEVICE_GPU, .mean_w = 150};
        struct wt_run run = {.wall_s = rows[i].wall_s, .devices = &device, .device_count = 1};
        struct wt_predict_measured m;
        run.work.is_known = true;
        run.work.count = 102400;
        run.work.steps = rows[i].steps;
        strcpy(run.work.unit, "tokens");
        strcpy(run.command, rows[i].command);
        strcpy(device.name, rows[i].board);
        assert_int_equal(measure(&m, &run, &gpu, &work, 1, NULL), 0);
        if (*rows[i].want ? !strstr(m.doubt, rows[i].want) || strstr(m.doubt, "; ") : *m.doubt)
            fail_msg("row %zu: \"%s\", wanted \"%s\"", i, m.doubt, rows[i].want);
    }
    /* Boards of one chip are several; how much memory they have is no matter. */
    struct wt_run_device device = {
        .kind = WT_DEVICE_GPU, .mean_w = 150, .name = "NVIDIA H100 PCIe"};
    struct wt_run run = {.wall_s = 30, .devices = &device, .device_count = 1, .command = "x"};
    struct wt_predict_measured m;
    run.work.is_known = true;
    run.work.count = 102400;
    run.work.steps = 100;
    strcpy(run.work.unit, "tokens");
    gpu = gpu_of("h100-sxm");
    assert_int_equal(measure(&m, &run, &gpu, &work, 1, NULL), 0);
    assert_non_null(strstr(m.doubt, "no h100-sxm"));
    strcpy(device.name, "Tesla V100-PCIE-16GB");
    gpu = gpu_of("v100-pcie");
    assert_int_equal(measure(&m, &run, &gpu, &work, 1, NULL), 0);
    assert_string_equal(m.doubt, "");
}

static void a_run_gives_its_rate_power_and_limit(void **state)
{
    (void)state;
    struct wt_run run = {.id = "20261126-1", .wall_s = 10, .is_emulated = true};
    struct wt_run_device devices[2] = {{.kind = WT_DEVICE_GPU, .mean_w = 150},
                                       {.kind = WT_DEVICE_CPU, .mean_w = 80}};
    struct wt_run_setting setting = {.knob = WT_KNOB_POWER, .enforced = 150000};
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_F32, 8, 128);
    struct wt_gpu gpu = gpu_of("v100-pcie");
    struct wt_predict_measured m;
    struct wt_error err = {0};
    run.devices = devices;
    run.device_count = 2;
    run.settings = &setting;
    run.setting_count = 1;
    assert_int_equal(measure(&m, &run, &gpu, &work, 1, &err), WT_E_USAGE);
    assert_non_null(strstr(err.text, "counted no tokens"));
    run.work.is_known = true;
    run.work.count = 10240;
    strcpy(run.work.unit, "tokens");
    assert_int_equal(measure(&m, &run, &gpu, &work, 2, &err), WT_E_USAGE);
    assert_int_equal(measure(&m, &run, &gpu, &work, 1, &err), 0);
    assert_near(m.pass_s, 1, 1e-12, "a pass of 1024 of 10240 tokens in 10 s");
    assert_near(m.power_w, 150, 1e-12, "the GPU's");
    assert_near(m.limit_w, 150, 1e-12, "the limit");
    assert_string_equal(m.emulation, "unknown");
}

/* ---- a job ---- */

static void a_job_is_the_sum_of_its_passes(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("h100-sxm");
    struct wt_work work = work_of("llama-3.1-8b", WT_WORK_PREFILL, WT_BF16, 16, 256);
    const struct wt_predict_site site = {100, 1.2, 400, 0.3, 2, "a meter", "a grid"};
    struct wt_predict_job job;
    struct wt_error err = {0};
    assert_int_equal(wt_predict_job(&job, &gpu, &work, 512, 1000000, NULL, &site, &err), 0);
    assert_int_equal(job.part_count, 2);
    assert_int_equal(job.tokens, 1000000);
    double batches = 1e6 / (16 * 512);
    assert_near(job.parts[0].passes, batches, 1e-9, "prompts");
    assert_near(job.parts[1].passes, batches * 511, 1e-9, "tokens after the first");
    assert_int_equal(job.parts[1].each.work.seq, 256 + 256);
    double j = job.parts[0].passes * job.parts[0].each.energy_j.value +
               job.parts[1].passes * job.parts[1].each.energy_j.value;
    double s = job.parts[0].passes * job.parts[0].each.pass_s.value +
               job.parts[1].passes * job.parts[1].each.pass_s.value;
    assert_near(job.energy_j.value, j, 1e-9, "energy");
    assert_near(job.time_s.value, s, 1e-9, "time");
    assert_near(job.power_w.value, j / s, 1e-9, "power");
    assert_near(job.j_per_token.value, j / 1e6, 1e-9, "a token");
    double kwh = (j + 100 * s) * 1.2 / 3.6e6;
    assert_near(job.facility_kwh.value, kwh, 1e-9, "facility");
    assert_near(job.carbon_g.value, 400 * kwh, 1e-9, "carbon");
    assert_near(job.cost.value, 0.3 * kwh + 2 * s / 3600, 1e-9, "cost");
    assert_true(job.cost.low < job.cost.value && job.cost.value < job.cost.high);
    /* The same job elsewhere, without predicting it again. */
    const struct wt_predict_site there = {0, 1.5, 20, NAN, NAN, "", ""};
    wt_predict_job_place(&job, &there);
    assert_near(job.carbon_g.value, 20 * j * 1.5 / 3.6e6, 1e-9, "carbon there");
    assert_true(isnan(job.cost.value) && job.time_s.value > 0);
    assert_string_equal(job.site.carbon_source, "");
    /* Without a site nothing of it is made up. */
    assert_int_equal(wt_predict_job(&job, &gpu, &work, 512, 0, NULL, NULL, &err), 0);
    assert_true(isnan(job.carbon_g.value) && isnan(job.cost.value) &&
                isnan(job.facility_kwh.value));
    assert_int_equal(job.tokens, 16 * 512);
}

static void an_answer_has_to_end_within_the_models_positions(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("t4");
    struct wt_work work = work_of("gpt2", WT_WORK_PREFILL, WT_F32, 8, 128);
    struct wt_predict_job job;
    struct wt_error err = {0};
    assert_int_equal(wt_predict_job(&job, &gpu, &work, 1024 - 128, 0, NULL, NULL, &err), 0);
    assert_int_equal(wt_predict_job(&job, &gpu, &work, 1025 - 128, 0, NULL, NULL, &err),
                     WT_E_USAGE);
    assert_non_null(strstr(err.text, "--seq 128 and --new 897: gpt2 has 1024 positions"));
}

static void copies_do_more_and_parts_do_it_sooner(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("a100-sxm-80gb");
    struct wt_work bert = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 32, 128);
    struct wt_work llama = work_of("llama-3.1-8b", WT_WORK_DECODE, WT_BF16, 32, 128);
    struct wt_prediction one, four;
    const struct wt_predict_options o = {.devices = 4};
    assert_int_equal(wt_predict(&one, &gpu, &bert, NULL, NULL), 0);
    assert_int_equal(wt_predict(&four, &gpu, &bert, &o, NULL), 0);
    assert_near(four.tokens_per_s.value, 4 * one.tokens_per_s.value, 1e-9, "copies");
    assert_near(four.power_w.value, 4 * one.power_w.value, 1e-9, "their power");
    assert_int_equal(wt_predict(&one, &gpu, &llama, NULL, NULL), 0);
    assert_int_equal(wt_predict(&four, &gpu, &llama, &o, NULL), 0);
    assert_true(four.pass_s.value < 0.5 * one.pass_s.value && four.link_share > 0.05);
    assert_true(four.memory_gb < 0.3 * one.memory_gb);
    assert_true(one.fits);
    struct wt_work large = work_of("llama-3.1-70b", WT_WORK_DECODE, WT_BF16, 1, 128);
    assert_int_equal(wt_predict(&one, &gpu, &large, NULL, NULL), 0);
    assert_false(one.fits);
}

static void the_document_has_a_runs_shape_and_says_modeled(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("h100-sxm");
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 32, 128);
    struct wt_predict_job job;
    const struct wt_predict_options o = {.devices = 2, .limit_w = 400};
    assert_int_equal(wt_predict_job(&job, &gpu, &work, 0, 1000000, &o, NULL, NULL), 0);
    char *text = wt_predict_job_to_json(&job);
    json_t *doc = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(doc);
    const json_t *devices = json_object_get(doc, "devices"), *total = json_object_get(doc, "total");
    double sum = 0;
    assert_int_equal(json_array_size(devices), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *d = json_array_get(devices, i);
        assert_string_equal(json_string_value(json_object_get(d, "provenance")), "modeled");
        sum += json_number_value(json_object_get(d, "energy_j"));
    }
    assert_near(sum, json_number_value(json_object_get(total, "energy_j")), 1e-9, "the total");
    assert_true(json_is_null(json_object_get(doc, "start")));
    assert_near(json_number_value(json_object_get(doc, "wall_s")), job.time_s.value, 1e-9, "time");
    const json_t *prediction = json_object_get(doc, "prediction");
    assert_string_equal(json_string_value(json_object_get(prediction, "basis")), "profile");
    assert_true(json_is_null(json_object_get(prediction, "carbon_g")));
    assert_near(json_number_value(json_object_get(prediction, "limit_w")), 400, 1e-9, "limit");
    json_decref(doc);
}

static void a_document_is_read_back_with_the_rest_of_the_node(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("a100-sxm-80gb");
    struct wt_work work = work_of("llama-3.1-70b", WT_WORK_TRAIN, WT_BF16, 8, 2048);
    struct wt_predict_options o = {.devices = 8};
    struct wt_predict_job job;
    struct wt_predicted p;
    struct wt_error err = {0};
    for (int i = 0; i < 2; i++) {
        struct wt_predict_site site = {.host_w = i ? 2500 : NAN,
                                       .pue = NAN,
                                       .carbon_g_per_kwh = NAN,
                                       .price_per_kwh = NAN,
                                       .price_per_hour = NAN};
        assert_int_equal(wt_predict_job(&job, &gpu, &work, 0, 10000000, &o, &site, &err), 0);
        char *text = wt_predict_job_to_json(&job);
        assert_non_null(text);
        if (wt_predicted_parse(&p, "doc", text, strlen(text), &err) < 0)
            fail_msg("%s", err.text);
        free(text);
        assert_near(p.time_s.value, job.time_s.value, 1e-9, "time");
        assert_near(p.time_s.high, job.time_s.high, 1e-9, "longest time");
        double host_w = i ? 2500 : 0;
        assert_true(fabs(p.host_w - host_w) < 1e-9);
        assert_near(p.power_w.value, job.power_w.value + host_w, 1e-9, "power");
        assert_near(p.power_w.low, job.power_w.low + host_w, 1e-9, "lowest power");
        assert_string_equal(p.what, "llama-3.1-70b on 8 x a100-sxm-80gb");
        assert_string_equal(p.emulation, "");
        assert_false(p.is_doubted);
        assert_false(p.fits); /* training takes more than 640 GB */
    }
}

static void a_doubt_is_read_back(void **state)
{
    (void)state;
    struct wt_gpu gpu = gpu_of("a40");
    struct wt_work work = work_of("bert-base", WT_WORK_TRAIN, WT_BF16, 8, 128);
    struct wt_predict_measured m = {.run_id = "r1", .pass_s = 0.05, .power_w = 200};
    const struct wt_predict_options o = {.measured = &m};
    struct wt_predict_job job;
    struct wt_predicted p;
    for (int is_doubted = 0; is_doubted < 2; is_doubted++) {
        strcpy(m.doubt, is_doubted ? "it took 3 s" : "");
        assert_int_equal(wt_predict_job(&job, &gpu, &work, 0, 0, &o, NULL, NULL), 0);
        char *text = wt_predict_job_to_json(&job);
        assert_int_equal(wt_predicted_parse(&p, "doc", text, strlen(text), NULL), 0);
        assert_int_equal(p.is_doubted, is_doubted);
        free(text);
    }
}

static void another_document_is_refused_by_what_it_is(void **state)
{
    (void)state;
#define OF(time, power)                                                                            \
    "{\"prediction\": {\"model\": \"m\", \"gpu\": \"g\", \"time_s\": " time                        \
    ", \"power_w\": " power "}}"
#define GOOD "{\"value\": 3, \"low\": 2, \"high\": 4}"
    static const struct {
        const char *text, *says, *fix;
    } rows[] = {
        {"", "is empty", "stderr"},
        {"wattune predict: no", "doc:1: is no JSON", "predict"},
        {"{\"prediction\":", "is no JSON", "predict"},
        {"[]", "no prediction in it", "predict"},
        {"{\"prediction\": 3}", "no prediction in it", "predict"},
        {"{\"tokens\": 1024, \"rows\": []}", "comparison of several devices", "--gpu GPU"},
        {"{\"id\": \"20261126-1\", \"devices\": []}", "run that was measured", "--run 20261126-1"},
        {OF(GOOD, "null"), "has no power_w", ""},
        {OF("null", GOOD), "has no time_s", ""},
        {OF("3", GOOD), "time_s of its prediction", ""},
        {OF("{\"value\": 3}", GOOD), "time_s of its prediction", ""},
        {OF(GOOD, "{\"value\": 5, \"low\": 2, \"high\": 4}"), "power_w of its prediction", ""},
        {OF(GOOD, "{\"value\": 0, \"low\": 0, \"high\": 0}"), "power_w of its prediction", ""},
        {OF("{\"value\": 3, \"low\": 2, \"high\": 1e300}", GOOD), "time_s of its prediction", ""},
        {OF("{\"value\": \"3\", \"low\": 2, \"high\": 4}", GOOD), "time_s of its prediction", ""},
    };
    struct wt_predicted p;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        int rc = wt_predicted_parse(&p, "doc", rows[i].text, strlen(rows[i].text), &err);
        if (rc != WT_E_FORMAT || !strstr(err.text, rows[i].says) || !strstr(err.fix, rows[i].fix))
            fail_msg("%s: %d, %s, %s", rows[i].text, rc, err.text, err.fix);
    }
    struct wt_error err = {0};
    assert_int_equal(wt_predicted_parse(&p, "doc", OF(GOOD, GOOD), strlen(OF(GOOD, GOOD)), &err),
                     0);
    assert_int_equal(wt_predicted_read(&p, "/nowhere/doc.json", &err), WT_E_NOTFOUND);
    assert_int_equal(wt_predicted_read(&p, "/", &err), WT_E_IO); /* a folder */
    assert_non_null(strstr(err.text, "reading /"));
}

static int setup(void **state)
{
    (void)state;
    return wt_catalogue_open(&catalogue, NULL, NULL);
}

static int teardown(void **state)
{
    (void)state;
    wt_catalogue_close(catalogue);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_steady_state_is_what_the_model_comes_to),
        cmocka_unit_test(limits_and_clocks_are_those_of_the_device),
        cmocka_unit_test(decoders_have_the_published_parameter_counts),
        cmocka_unit_test(a_pass_costs_what_its_weights_and_tokens_say),
        cmocka_unit_test(a_decoders_cache_is_read_and_parts_share_the_work),
        cmocka_unit_test(what_cannot_be_counted_is_refused),
        cmocka_unit_test(a_config_is_read_whole_or_refused),
        cmocka_unit_test(gpus_go_by_several_names),
        cmocka_unit_test(every_row_is_a_device_that_limits_slow_down),
        cmocka_unit_test(types_run_on_their_own_engines),
        cmocka_unit_test(tf32_is_predicted_where_there_is_a_rate_of_it),
        cmocka_unit_test(int8_is_of_weights_alone_on_every_board),
        cmocka_unit_test(int8_is_a_byte_less_than_bf16_for_each_weight_of_a_product),
        cmocka_unit_test(the_emulated_device_takes_what_is_predicted_in_each_type),
        cmocka_unit_test(a_calibration_meets_its_run_and_narrows_the_bounds),
        cmocka_unit_test(a_doubted_run_leaves_the_bounds_as_wide_as_without_it),
        cmocka_unit_test(what_speaks_against_a_run_is_named),
        cmocka_unit_test(a_run_gives_its_rate_power_and_limit),
        cmocka_unit_test(a_job_is_the_sum_of_its_passes),
        cmocka_unit_test(an_answer_has_to_end_within_the_models_positions),
        cmocka_unit_test(copies_do_more_and_parts_do_it_sooner),
        cmocka_unit_test(the_document_has_a_runs_shape_and_says_modeled),
        cmocka_unit_test(a_document_is_read_back_with_the_rest_of_the_node),
        cmocka_unit_test(a_doubt_is_read_back),
        cmocka_unit_test(another_document_is_refused_by_what_it_is),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
