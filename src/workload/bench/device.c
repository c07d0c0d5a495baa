/* The device of a run: its backend, the peak of its products, and the ends of phases. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/random.h"

#define PEAK_S 0.25 /* of measuring */

static bool is_encoder(const struct bench *b)
{
    return b->source.config.family != WT_FAMILY_GPT2;
}

static enum wt_task task_of(const struct bench *b)
{
    switch (b->o->work) {
    case WORK_TRAIN:
        return is_encoder(b) ? WT_TASK_MLM : WT_TASK_CLM;
    case WORK_FINETUNE:
        return WT_TASK_CLASSIFY;
    case WORK_INFER:
        return is_encoder(b) ? WT_TASK_ENCODE : WT_TASK_LIKELIHOOD;
    case WORK_GENERATE:
        break;
    }
    return WT_TASK_GENERATE;
}

/* ---- phases ---- */

void bench_begin(struct bench *b, const char *phase)
{
    if (b->o->place != PLACE_CUDA || b->o->has_phases || b->o->work == WORK_GENERATE)
        wt_door_mark(b->door, WT_MARK_BEGIN, phase, 1);
}

static int submit(struct bench *b, const char *phase, struct wt_error *err)
{
    size_t count = 0;
    const struct wt_emu_kernel *kernels = wt_count_kernels(&b->backend, &count);
    int rc = count ? wt_emu_submit(b->emu, phase, kernels, count, 0, err) : 0;
    wt_count_reset(&b->backend);
    return rc;
}

int bench_end(struct bench *b, const char *phase, struct wt_error *err)
{
    bool is_told = b->o->place != PLACE_CUDA || b->o->has_phases || b->o->work == WORK_GENERATE;
    int rc = 0;
    if (b->emu)
        rc = submit(b, phase, err);
    else if (b->model && is_told)
        rc = wt_model_sync(b->model, err);
    if (is_told)
        wt_door_mark(b->door, WT_MARK_END, phase, 1);
    return rc;
}

int bench_sync(struct bench *b, struct wt_error *err)
{
    return b->model ? wt_model_sync(b->model, err) : 0;
}

/* ---- the peak ---- */

/* One product [m, k] x [k, n], again and again; the best of them. */
static int measure(struct wt_backend *be, size_t size, unsigned together, double *ret_flops_s,
                   struct wt_error *err)
{
    size_t count = size * size, act = wt_backend_act_bytes(be);
    struct wt_weight w = {.out = size, .in = size, .is_for_many_rows = true};
    float *host = malloc(count * sizeof(*host));
    void *master = NULL, *values = NULL, *x = NULL, *y = NULL;
    int rc = host ? 0 : wt_fail(err, WT_E_NOMEM, "no memory to measure the peak with");
    if (rc == 0)
        rc = be->ops->alloc(be->self, &master, count * sizeof(float), err);
    if (rc == 0)
        rc = be->ops->alloc(be->self, &x, count * act, err);
    if (rc == 0)
        rc = be->ops->alloc(be->self, &y, count * sizeof(float), err);
    if (rc == 0 && act < sizeof(float))
        rc = be->ops->alloc(be->self, &values, count * act, err);
    if (rc < 0)
        goto out;
    for (size_t i = 0; i < count; i++)
        host[i] = (float)(int32_t)(uint32_t)(wt_random_at(1, i) >> 32) * 0x1p-31f;
    be->ops->upload(be->self, master, host, count * sizeof(*host));
    if (values) {
        be->ops->narrow(be->self, values, master, count);
        be->ops->narrow(be->self, x, master, count);
    } else {
        be->ops->upload(be->self, x, host, count * sizeof(*host));
    }
    w.master = master;
    w.values = values ? values : master;
    rc = be->ops->prepare(be->self, &w, err);
    double best = INFINITY, spent = 0;
    for (unsigned i = 0; rc == 0 && (i < 3 || spent < PEAK_S); i++) {
        struct wt_linear product = {.x = x, .w = &w, .m = size, .f = WT_IDENTITY, .y = y};
        int64_t from_ns = wt_ctx_now_ns(NULL);
        for (unsigned k = 0; k < together; k++)
            be->ops->linear(be->self, &product);
        rc = be->ops->sync(be->self, err);
        double seconds = wt_s_from_ns(wt_ctx_now_ns(NULL) - from_ns) / together;
        spent += seconds * together;
        if (i > 0 && seconds < best) /* the first one finds its way */
            best = seconds;
    }
    if (rc == 0)
        *ret_flops_s = 2 * (double)size * (double)count / best;
out:
    be->ops->unprepare(be->self, &w);
    be->ops->release(be->self, master);
    be->ops->release(be->self, values);
    be->ops->release(be->self, x);
    be->ops->release(be->self, y);
    free(host);
    return rc;
}

int bench_measure_peak(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    if (o->peak_flops_s != 0) { /* given, or not wanted */
        b->peak_flops_s = o->peak_flops_s;
        b->peak = isnan(o->peak_flops_s) ? NULL : "given";
        return 0;
    }
    if (o->place == PLACE_EMU) {
        b->peak = "profile";
        b->peak_flops_s = wt_emu_peak(b->emu, o->dtype == WT_F32    ? WT_EMU_FP32
                                              : o->dtype == WT_TF32 ? WT_EMU_TF32
                                                                    : WT_EMU_TENSOR);
        return 0;
    }
    bool is_card = o->place == PLACE_CUDA;
    b->peak = "measured";
    return measure(&b->backend, is_card ? 8192 : 1024, is_card ? 4 : 1, &b->peak_flops_s, err);
}

/* ---- opening ---- */

static int open_backend(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    int rc = 0;
    switch (o->place) {
    case PLACE_CPU:
        return wt_cpu_new(&b->backend, o->dtype, o->threads, o->is_pinned, err);
    case PLACE_CUDA:
        rc = wt_cuda_new(&b->backend, o->dtype, o->gpu, err);
        if (rc < 0 && getenv("WATTUNE_EMULATION"))
            wt_fix(err, "an emulated GPU computes nothing: --device emu has its time and energy");
        return rc;
    case PLACE_EMU:
        break;
    }
    rc = wt_emu_attach(&b->emu, o->gpu, err);
    if (rc == 0 && o->dtype == WT_TF32 && isnan(wt_emu_peak(b->emu, WT_EMU_TF32))) {
        rc = wt_fail(err, WT_E_UNSUPPORTED,
                     "emulated GPU %u has no TF32: tf32 is from compute capability 8.0 on", o->gpu);
        wt_fix(err, "take --dtype fp32");
    }
    return rc == 0 ? wt_count_new(&b->backend, o->dtype, err) : rc;
}

int bench_open_device(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    struct wt_config *c = &b->source.config;
    struct wt_model_options model = {.task = task_of(b),
                                     .batch = o->batch,
                                     .seq = b->feed.seq,
                                     .chosen =
                                         task_of(b) == WT_TASK_LIKELIHOOD ? o->batch * o->seq : 0,
                                     .classes = b->classes,
                                     .seed = o->seed,
                                     .has_dropout = o->dropout != 0,
                                     .is_blank = o->place == PLACE_EMU};
    if (o->dropout > 0)
        c->dropout_hidden = c->dropout_attention = c->dropout_embedding = c->dropout_classifier =
            o->dropout;
    int rc = open_backend(b, err);
    if (rc == 0)
        rc = bench_measure_peak(b, err);
    if (rc == 0)
        rc = wt_model_new(&b->model, c, &model, &b->backend, err);
    if (rc == 0 && b->emu) /* what it takes is memory too */
        rc = wt_model_prepare(b->model, err);
    if (rc == 0 && b->emu)
        rc = wt_emu_memory(b->emu, wt_count_memory(&b->backend), err);
    if (rc == 0 && b->emu)
        wt_count_reset(&b->backend); /* making a model is no work of the run */
    return rc;
}

const char *bench_device_name(const struct bench *b)
{
    return b->o->place == PLACE_CUDA ? wt_cuda_device_name(&b->backend)
                                     : bench_place_name(b->o->place);
}

void bench_close_device(struct bench *b)
{
    wt_model_free(b->model);
    wt_backend_free(&b->backend);
    wt_emu_detach(b->emu);
}
