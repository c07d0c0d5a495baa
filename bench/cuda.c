/* cuda: the CUDA backend on a GPU at hand - is it right, and how fast.
 *
 *     build/bench/cuda check [fp32|tf32|bf16 [CASE]]
 *         every operation against plain loops
 *     build/bench/cuda ops DTYPE BATCH [SEQ]
 *         the time of each operation of a BERT-base step
 *     build/bench/cuda train DTYPE BATCH SECONDS [MODEL [SEQ]]
 *         whole training steps: tokens/s and, on a machine with one GPU, its joules
 *     build/bench/cuda grads MODEL BATCH SEQ
 *         a step's gradients in each dtype against those of fp32
 *
 * bench/peer-cuda trains the same with PyTorch. Tokens are random, masked positions 15 %. */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "tests/backend_contract.h"
#include "wattune/meter.h"
#include "workload/model.h"
#include "workload/random.h"

static void must(int rc, const struct wt_error *err)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "cuda: %s\n%s%s", err->text, err->fix, *err->fix ? "\n" : "");
    exit(rc == WT_E_NOTFOUND ? 77 : 1);
}

static enum wt_dtype dtype_of(const char *name)
{
    for (int i = WT_F32; i <= WT_TF32; i++)
        if (strcmp(name, wt_dtype_name((enum wt_dtype)i)) == 0)
            return (enum wt_dtype)i;
    fprintf(stderr, "cuda: no dtype is called '%s'\n", name);
    exit(2);
}

static struct wt_backend open_cuda(enum wt_dtype dtype)
{
    struct wt_backend b = {0};
    struct wt_error err = {0};
    int64_t begin_ns = wt_clock_now_ns();
    must(wt_cuda_new(&b, dtype, 0, &err), &err);
    fprintf(stderr, "%s, %s: made in %.2f s\n", wt_cuda_device_name(&b), wt_dtype_name(dtype),
            wt_s_from_ns(wt_clock_now_ns() - begin_ns));
    return b;
}

/* ---- check ---- */

static unsigned check(enum wt_dtype dtype, const char *only)
{
    struct wt_backend b = open_cuda(dtype);
    /* Of the narrow formats the largest errors are those of attention with scores over 100, whose
     * own rounding moves the weights. */
    double tolerance = dtype == WT_F32 ? 5e-5 : dtype == WT_TF32 ? 1e-2 : 2e-2;
    unsigned failures = wt_backend_contract(&b, tolerance, only);
    printf("%s: %u failures over %g\n", wt_dtype_name(dtype), failures, tolerance);
    wt_backend_free(&b);
    return failures;
}

/* ---- training ---- */

struct batch {
    int32_t *tokens, *lengths, *chosen, *targets;
    struct wt_input input;
};

static struct batch make_batch(const struct wt_config *config, unsigned batch, unsigned seq)
{
    struct batch b = {0};
    struct wt_random random = {7, 0};
    size_t rows = (size_t)batch * seq, each = wt_masked_per_sequence(seq), chosen = batch * each;
    b.tokens = calloc(rows, sizeof(int32_t));
    b.lengths = calloc(batch, sizeof(int32_t));
    b.chosen = calloc(chosen, sizeof(int32_t));
    b.targets = calloc(chosen, sizeof(int32_t));
    if (!b.tokens || !b.lengths || !b.chosen || !b.targets)
        exit(1);
    for (size_t i = 0; i < rows; i++)
        b.tokens[i] = (int32_t)wt_random_below(&random, config->vocab);
    for (size_t i = 0; i < batch; i++) {
        b.lengths[i] = (int32_t)seq;
        for (size_t k = 0; k < each; k++) {
            b.chosen[i * each + k] = (int32_t)(i * seq + k * seq / each);
            b.targets[i * each + k] = (int32_t)wt_random_below(&random, config->vocab);
        }
    }
    bool is_mlm = config->family != WT_FAMILY_GPT2;
    b.input = (struct wt_input){.tokens = b.tokens,
                                .lengths = b.lengths,
                                .count = batch,
                                .rows = rows,
                                .chosen = is_mlm ? b.chosen : NULL,
                                .targets = is_mlm ? b.targets : NULL,
                                .chosen_count = is_mlm ? chosen : 0};
    return b;
}

static void free_batch(struct batch *b)
{
    free(b->tokens);
    free(b->lengths);
    free(b->chosen);
    free(b->targets);
}

static struct wt_model *make_model(const char *name, unsigned batch, unsigned seq, bool has_dropout,
                                   struct wt_backend *b, struct wt_config *ret_config)
{
    struct wt_error err = {0};
    struct wt_model *m = NULL;
    must(wt_config_named(ret_config, name, &err), &err);
    struct wt_model_options options = {
        .task = ret_config->family == WT_FAMILY_GPT2 ? WT_TASK_CLM : WT_TASK_MLM,
        .batch = batch,
        .seq = seq,
        .seed = 1,
        .has_dropout = has_dropout,
    };
    must(wt_model_new(&m, ret_config, &options, b, &err), &err);
    return m;
}

static const struct wt_rate rate = {1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 1.0f};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* For ncu --profile-from-start off. */
static void profile(const char *call)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW), *found = dlsym(driver, call);
    int (*function)(void) = NULL;
    memcpy(&function, &found, sizeof(function));
    if (function)
        function();
}

/* The meter of this machine's GPU. meter NULL: there is nothing to measure with, which is said. */
struct energy {
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_meter *meter;
    uint64_t window;
};

static void end_meter(struct energy *e)
{
    wt_meter_free(e->meter);
    wt_devices_free(e->devices);
    wt_ctx_free(e->ctx);
    *e = (struct energy){0};
}

static size_t count_gpus(const struct wt_devices *devices)
{
    size_t count = 0;
    for (size_t i = 0; i < wt_devices_count(devices); i++) {
        const struct wt_device_info *info = wt_devices_info(devices, i);
        count += info->kind == WT_DEVICE_GPU && !info->is_part;
    }
    return count;
}

static void begin_energy(struct energy *e)
{
    const struct wt_devices_options gpus = {.is_gpu_only = true};
    struct wt_error err = {0};
    *e = (struct energy){0};
    int rc = wt_ctx_new(&e->ctx, NULL, &err);
    if (rc == 0)
        rc = wt_devices_open(&e->devices, e->ctx, &gpus, &err);
    if (rc == 0 && count_gpus(e->devices) != 1) /* which of them trains is not known here */
        rc = wt_fail(&err, WT_E_STATE,
                     "%zu GPUs, where one is to be measured: name it in "
                     "CUDA_VISIBLE_DEVICES",
                     count_gpus(e->devices));
    if (rc == 0)
        rc = wt_meter_new(&e->meter, e->ctx, e->devices, NULL, &err);
    if (rc == 0 && (rc = wt_meter_begin(e->meter, "train", &e->window)) < 0)
        wt_fail(&err, rc, "%s", wt_strerror(rc));
    if (rc == 0)
        return;
    printf("no energy: %s\n", err.text);
    end_meter(e);
}

static void say_energy(struct energy *e, size_t tokens)
{
    struct wt_window_result result;
    struct wt_error err = {0};
    int rc = wt_meter_end(e->meter, e->window);
    if (rc < 0)
        wt_fail(&err, rc, "%s", wt_strerror(rc));
    else
        rc = wt_meter_result(e->meter, e->window, WT_NS_PER_S, &result, &err);
    if (rc < 0) {
        printf("no energy: %s\n", err.text);
        return;
    }
    const struct wt_joules *j = &result.total;
    double n = (double)tokens, span_s = wt_s_from_ns(result.end_ns - result.begin_ns);
    if (j->provenance == WT_PROV_UNKNOWN)
        printf("no energy: it is unknown%s%s\n", result.device_count ? ": " : "",
               result.device_count ? result.devices[0].note : "");
    else
        printf("energy: %.1f J (%s) in %.2f s, mean %.0f W, %.4f mJ a token [%.4f, %.4f]\n",
               j->energy_j, wt_provenance_name(j->provenance), span_s, j->energy_j / span_s,
               1e3 * j->energy_j / n, 1e3 * j->low_j / n, 1e3 * j->high_j / n);
    wt_window_result_done(&result);
}

static void end_energy(struct energy *e, size_t tokens)
{
    if (!e->meter)
        return;
    say_energy(e, tokens);
    end_meter(e);
}

static void train(enum wt_dtype dtype, unsigned batch, double seconds, const char *name,
                  unsigned seq)
{
    enum { STEPS = 10, ROUNDS = 10000 };
    static double took[ROUNDS];
    struct wt_backend b = open_cuda(dtype);
    struct wt_config config;
    struct wt_error err = {0};
    struct wt_model *m = make_model(name, batch, seq, true, &b, &config);
    struct batch data = make_batch(&config, batch, seq);
    double loss = 0, norm = 0, first = 0;
    int64_t begin_ns = wt_clock_now_ns();
    for (int i = 0; i < 5; i++) { /* products are tried out in the first */
        wt_model_forward(m, &data.input, true, 0, 1);
        wt_model_backward(m);
        wt_model_optimize(m, &rate);
        must(wt_model_result(m, &loss, &norm, &err), &err);
        if (i == 0)
            first = loss;
    }
    if (getenv("WATTUNE_PROFILE")) { /* one step, for a profiler */
        profile("cuProfilerStart");
        wt_model_forward(m, &data.input, true, 0, 1);
        wt_model_backward(m);
        wt_model_optimize(m, &rate);
        must(wt_model_result(m, &loss, &norm, &err), &err);
        profile("cuProfilerStop");
    }
    double warm_s = wt_s_from_ns(wt_clock_now_ns() - begin_ns);
    struct energy energy;
    begin_energy(&energy);
    printf("phase train\n"); /* for wattune run --mark 'phase (\w+)' --progress 'step (\d+)' */
    fflush(stdout);
    size_t rounds = 0;
    int64_t end_ns = wt_clock_now_ns() + (int64_t)(seconds * 1e9), issued_ns = 0;
    do {
        int64_t from_ns = wt_clock_now_ns();
        for (int i = 0; i < STEPS; i++) {
            wt_model_forward(m, &data.input, true, 0, 1);
            wt_model_backward(m);
            wt_model_optimize(m, &rate);
        }
        issued_ns += wt_clock_now_ns() - from_ns;
        must(wt_model_result(m, &loss, &norm, &err), &err);
        took[rounds++] = wt_s_from_ns(wt_clock_now_ns() - from_ns) / STEPS;
        printf("step %zu\n", rounds * STEPS);
        fflush(stdout);
    } while (rounds < ROUNDS && wt_clock_now_ns() < end_ns);
    printf("phase done\n");
    end_energy(&energy, rounds * STEPS * batch * seq);
    qsort(took, rounds, sizeof(took[0]), compare);
    double median = took[rounds / 2];
    printf("wattune %-10s %s batch %3u x %u: %8.0f tokens/s, %.3f ms a step (%.3f to %.3f, issuing "
           "%.3f), loss %.4f then %.4f, norm %.3f, %zu steps, warm after %.1f s, %.0f MB\n",
           name, wt_dtype_name(dtype), batch, seq, batch * seq / median, 1e3 * median,
           1e3 * took[rounds / 10], 1e3 * took[rounds * 9 / 10],
           1e3 * wt_s_from_ns(issued_ns) / (double)(rounds * STEPS), first, loss, norm,
           rounds * STEPS, warm_s, (double)wt_model_memory(m) / 1e6);
    fflush(stdout);
    wt_model_free(m);
    free_batch(&data);
    wt_backend_free(&b);
}

static float *gradients(enum wt_dtype dtype, const char *name, unsigned batch, unsigned seq,
                        size_t *ret_total, double *ret_loss)
{
    struct wt_backend b = open_cuda(dtype);
    struct wt_config config;
    struct wt_error err = {0};
    struct wt_model *m = make_model(name, batch, seq, false, &b, &config);
    struct batch data = make_batch(&config, batch, seq);
    wt_model_forward(m, &data.input, true, 0, 1);
    wt_model_backward(m);
    must(wt_model_result(m, ret_loss, NULL, &err), &err);
    *ret_total = wt_model_parameters_of(m)->total;
    float *g = malloc(*ret_total * sizeof(*g));
    if (!g)
        exit(1);
    must(wt_model_get_gradients(m, g, &err), &err);
    wt_model_free(m);
    free_batch(&data);
    wt_backend_free(&b);
    return g;
}

static unsigned grads(const char *name, unsigned batch, unsigned seq)
{
    static const enum wt_dtype others[] = {WT_TF32, WT_BF16};
    static const double most[] = {5e-3, 5e-2};
    size_t total = 0;
    double loss = 0, other_loss = 0;
    unsigned failures = 0;
    float *want = gradients(WT_F32, name, batch, seq, &total, &loss);
    printf("%s fp32: loss %.6f\n", name, loss);
    for (size_t k = 0; k < WT_COUNTOF(others); k++) {
        float *got = gradients(others[k], name, batch, seq, &total, &other_loss);
        double off = 0, size = 0;
        for (size_t i = 0; i < total; i++) {
            double d = (double)got[i] - (double)want[i];
            off += d * d;
            size += (double)want[i] * (double)want[i];
        }
        double error = sqrt(off / size);
        bool is_fine = error < most[k];
        failures += !is_fine;
        printf("%-6s %s: loss %.6f, gradient off by %.2e\n", is_fine ? "ok" : "not ok",
               wt_dtype_name(others[k]), other_loss, error);
        free(got);
    }
    free(want);
    return failures;
}

/* ---- single operations ---- */

struct bed {
    struct wt_backend b;
    size_t rows, h, f, v, heads, seq, count, chosen;
    void *act[6]; /* [rows, 3072] each */
    float *weights, *gradients, *first, *second;
    void *working;
    float *stats;
    int32_t *ints;
    struct wt_sequences at;
};

static void *room(struct bed *bed, size_t bytes)
{
    struct wt_error err = {0};
    void *p = NULL;
    must(bed->b.ops->alloc(bed->b.self, &p, bytes, &err), &err);
    return p;
}

static void random_act(struct bed *bed, void *to, size_t n, float scale)
{
    size_t act = wt_backend_act_bytes(&bed->b);
    char *host = malloc(n * act);
    if (!host)
        exit(1);
    for (size_t i = 0; i < n; i++) {
        float x = scale * (float)((double)(wt_random_at(5, i) >> 11) * 0x1p-52 - 1);
        uint32_t u;
        memcpy(&u, &x, 4);
        uint16_t half = (uint16_t)(u >> 16);
        memcpy(host + i * act, act == 2 ? (void *)&half : (void *)&x, act);
    }
    bed->b.ops->upload(bed->b.self, to, host, n * act);
    bed->b.ops->sync(bed->b.self, NULL);
    free(host);
}

enum op {
    OP_EMBED,
    OP_EMBED_BACK,
    OP_QKV,
    OP_QKV_BACK,
    OP_ATTENTION,
    OP_ATTENTION_BACK,
    OP_OUT,
    OP_OUT_BACK,
    OP_UP,
    OP_UP_BACK,
    OP_DOWN,
    OP_DOWN_BACK,
    OP_NORM,
    OP_NORM_BACK,
    OP_LOSS,
    OP_LOSS_ALONE,
    OP_LOSS_ROUND,
    OP_ADAMW,
    OPS
};
static const struct {
    const char *name;
    int times; /* in a step */
} op_list[] = {
    {"embed", 1},         {"embed_backward", 1},
    {"qkv", 12},          {"qkv backward", 12},
    {"attention", 12},    {"attention_backward", 12},
    {"out", 12},          {"out backward", 12},
    {"up + gelu", 12},    {"up backward", 12},
    {"down", 12},         {"down backward", 12},
    {"norm", 25},         {"norm_backward", 25},
    {"loss", 1},          {"loss, no gradient", 0},
    {"loss of 30528", 0}, {"adamw", 1},
};

static void linear(struct bed *bed, size_t in, size_t out, bool is_backward, bool has_gelu)
{
    const struct wt_backend_ops *o = bed->b.ops;
    bool is_same = bed->b.dtype != WT_BF16;
    struct wt_weight w = {.master = bed->weights,
                          .values = is_same ? (void *)bed->weights : bed->working,
                          .out = out,
                          .in = in};
    const float *bias = bed->weights + out * in;
    struct wt_linear l = {bed->act[0],
                          &w,
                          bias,
                          bed->rows,
                          has_gelu ? WT_GELU_ERF : WT_IDENTITY,
                          has_gelu ? bed->act[1] : NULL,
                          bed->act[2],
                          false};
    struct wt_linear_grad g = {
        bed->act[3], bed->act[4], false, bed->gradients, bed->gradients + out * in, false};
    if (is_backward)
        o->linear_backward(bed->b.self, &l, &g);
    else
        o->linear(bed->b.self, &l);
}

static void do_op(struct bed *bed, enum op op)
{
    const struct wt_backend_ops *o = bed->b.ops;
    void *self = bed->b.self;
    struct wt_dropout d = {0.1f, 77}, no = {0};
    size_t h = bed->h;
    struct wt_embed e = {bed->weights,
                         bed->weights,
                         bed->weights,
                         bed->ints,
                         bed->ints + bed->rows,
                         NULL,
                         bed->rows,
                         h,
                         bed->act[0],
                         no};
    struct wt_embed_grad eg = {bed->act[0], bed->gradients, bed->gradients + bed->v * h,
                               bed->gradients + (bed->v + 512) * h};
    struct wt_norm n = {bed->act[0],
                        bed->act[1],
                        bed->act[2],
                        bed->act[3],
                        bed->stats,
                        bed->stats + bed->rows,
                        bed->weights,
                        bed->weights + h,
                        bed->rows,
                        h,
                        1e-12f,
                        d,
                        no};
    struct wt_norm_grad ng = {bed->act[3],        NULL, bed->act[4], bed->act[5], bed->gradients,
                              bed->gradients + h, false};
    struct wt_attention a = {bed->act[0], bed->act[1],    bed->stats, bed->at,
                             bed->heads,  h / bed->heads, false,      d};
    struct wt_attention_grad ag = {bed->act[2], bed->act[3], bed->stats + bed->rows * bed->heads};
    bool is_same = bed->b.dtype != WT_BF16;
    struct wt_weight token = {.master = bed->weights,
                              .values = is_same ? (void *)bed->weights : bed->working,
                              .out = bed->v,
                              .in = h};
    struct wt_loss l = {bed->act[0],
                        &token,
                        bed->weights + 30528 * h,
                        bed->ints,
                        bed->chosen,
                        bed->stats,
                        1.0f / (float)bed->chosen,
                        bed->act[1],
                        bed->gradients,
                        bed->gradients + 30528 * h,
                        false};
    size_t total = 109514298;
    struct wt_span spans[] = {{0, total / 2, true}, {total / 2, total, false}};
    struct wt_adam adam = {bed->weights,
                           bed->first,
                           bed->second,
                           bed->gradients,
                           is_same ? NULL : bed->working,
                           spans,
                           2,
                           total,
                           1e-9f,
                           0.9f,
                           0.999f,
                           1e-8f,
                           0.01f,
                           0.1f,
                           0.001f,
                           1,
                           bed->stats};
    switch (op) {
    case OP_EMBED:
        o->embed(self, &e);
        break;
    case OP_EMBED_BACK:
        o->embed_backward(self, &e, &eg);
        break;
    case OP_QKV:
        linear(bed, h, 3 * h, false, false);
        break;
    case OP_QKV_BACK:
        linear(bed, h, 3 * h, true, false);
        break;
    case OP_ATTENTION:
        o->attention(self, &a);
        break;
    case OP_ATTENTION_BACK:
        o->attention_backward(self, &a, &ag);
        break;
    case OP_OUT:
        linear(bed, h, h, false, false);
        break;
    case OP_OUT_BACK:
        linear(bed, h, h, true, false);
        break;
    case OP_UP:
        linear(bed, h, bed->f, false, true);
        break;
    case OP_UP_BACK:
        linear(bed, h, bed->f, true, true);
        break;
    case OP_DOWN:
        linear(bed, bed->f, h, false, false);
        break;
    case OP_DOWN_BACK:
        linear(bed, bed->f, h, true, false);
        break;
    case OP_NORM:
        o->norm(self, &n);
        break;
    case OP_NORM_BACK:
        o->norm_backward(self, &n, &ng);
        break;
    case OP_LOSS_ALONE:
        l.dx = NULL;
        o->loss(self, &l);
        break;
    case OP_LOSS_ROUND:
        token.out = 30528;
        o->loss(self, &l);
        break;
    case OP_LOSS:
        o->loss(self, &l);
        break;
    case OP_ADAMW:
        o->adamw(self, &adam);
        break;
    case OPS:
        break;
    }
}

static void time_ops(enum wt_dtype dtype, unsigned batch, unsigned seq)
{
    struct bed bed = {.b = open_cuda(dtype), .h = 768, .f = 3072, .v = 30522, .heads = 12};
    bed.rows = (size_t)batch * seq;
    bed.chosen = batch * wt_masked_per_sequence(seq);
    size_t act = wt_backend_act_bytes(&bed.b), total = 109514298 + 1024;
    for (size_t i = 0; i < 6; i++) {
        bed.act[i] = room(&bed, bed.rows * bed.f * act);
        random_act(&bed, bed.act[i], bed.rows * bed.f, 1);
    }
    bed.weights = room(&bed, total * 4);
    bed.gradients = room(&bed, total * 4);
    bed.first = room(&bed, total * 4);
    bed.second = room(&bed, total * 4);
    bed.working = room(&bed, total * 2);
    bed.stats = room(&bed, 2 * bed.rows * bed.heads * 4 + 1024);
    bed.ints = room(&bed, (2 * bed.rows + 2 * batch) * 4);
    int32_t *ints = calloc(2 * bed.rows + 2 * batch, sizeof(*ints));
    float *weights = calloc(total, sizeof(*weights));
    if (!ints || !weights)
        exit(1);
    for (size_t i = 0; i < bed.rows; i++) {
        ints[i] = (int32_t)(wt_random_at(3, i) % bed.v);
        ints[bed.rows + i] = (int32_t)(i % seq);
    }
    for (size_t i = 0; i < batch; i++) {
        ints[2 * bed.rows + i] = (int32_t)(i * seq);
        ints[2 * bed.rows + batch + i] = (int32_t)seq;
    }
    for (size_t i = 0; i < total; i++)
        weights[i] = 0.02f * (float)((double)(wt_random_at(5, i) >> 11) * 0x1p-52 - 1);
    bed.b.ops->upload(bed.b.self, bed.ints, ints, (2 * bed.rows + 2 * batch) * 4);
    bed.b.ops->upload(bed.b.self, bed.weights, weights, total * 4);
    if (dtype == WT_BF16)
        bed.b.ops->narrow(bed.b.self, bed.working, bed.weights, total);
    bed.at = (struct wt_sequences){bed.ints + 2 * bed.rows, bed.ints + 2 * bed.rows + batch, batch,
                                   bed.rows, seq};
    double sum = 0;
    struct wt_error err = {0};
    for (enum op op = 0; op < OPS; op++) {
        enum { ROUNDS = 5 };
        double took[ROUNDS];
        for (int i = 0; i < 2; i++)
            do_op(&bed, op);
        must(bed.b.ops->sync(bed.b.self, &err), &err);
        for (int r = 0; r < ROUNDS; r++) {
            int64_t from_ns = wt_clock_now_ns();
            for (int i = 0; i < 20; i++)
                do_op(&bed, op);
            must(bed.b.ops->sync(bed.b.self, &err), &err);
            took[r] = wt_s_from_ns(wt_clock_now_ns() - from_ns) / 20;
        }
        qsort(took, ROUNDS, sizeof(took[0]), compare);
        double ms = 1e3 * took[ROUNDS / 2];
        sum += ms * op_list[op].times;
        printf("%-20s %8.4f ms x %2d = %7.3f\n", op_list[op].name, ms, op_list[op].times,
               ms * op_list[op].times);
    }
    printf("%s batch %u x %u: %.3f ms together, %.0f tokens/s\n", wt_dtype_name(dtype), batch, seq,
           sum, 1e3 * (double)bed.rows / sum);
    fflush(stdout);
    free(ints);
    free(weights);
    wt_backend_free(&bed.b);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned failures = 0;
    if (strcmp(what, "check") == 0 && argc > 2) {
        failures = check(dtype_of(argv[2]), argc > 3 ? argv[3] : NULL);
    } else if (strcmp(what, "check") == 0) {
        failures = check(WT_F32, NULL) + check(WT_TF32, NULL) + check(WT_BF16, NULL);
    } else if (strcmp(what, "ops") == 0 && argc > 3) {
        time_ops(dtype_of(argv[2]), (unsigned)atoi(argv[3]),
                 argc > 4 ? (unsigned)atoi(argv[4]) : 128);
    } else if (strcmp(what, "train") == 0 && argc > 4) {
        train(dtype_of(argv[2]), (unsigned)atoi(argv[3]), atof(argv[4]),
              argc > 5 ? argv[5] : "bert-base", argc > 6 ? (unsigned)atoi(argv[6]) : 128);
    } else if (strcmp(what, "grads") == 0 && argc > 4) {
        failures = grads(argv[2], (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]));
    } else {
        fprintf(stderr, "usage: cuda check|ops|train|grads ...: see bench/cuda.c\n");
        return 2;
    }
    return failures > 0;
}
