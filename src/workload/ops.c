/* ops: what one pass of a model costs, as the models themselves run on the backend that counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/decoder.h"
#include "workload/model.h"

static const char *const kind_names[] = {"train", "encode", "prefill", "decode"};

const char *wt_work_kind_name(enum wt_work_kind kind)
{
    return kind_names[kind];
}

/* No name, no file and no folder: which names there are. */
static int not_found(const char *name, struct wt_error *err)
{
    struct wt_model_shape none;
    char names[240] = "";
    struct wt_error named = {0};
    wt_model_shape_named("", &none, &named); /* its fix lists them */
    for (size_t i = 0; wt_decoder_names()[i]; i++) {
        size_t used = strlen(names);
        wt_text(names + used, sizeof(names) - used, ", %s", wt_decoder_names()[i]);
    }
    int rc = wt_fail(err, WT_E_NOTFOUND,
                     "no model is called '%.100s', and there is no such config.json or folder with "
                     "one",
                     name);
    wt_fix(err, "%s%s", named.fix, names);
    return rc;
}

/* The folder's own name, where it has one, goes before the family's. */
static void take_folder_name(char *name, size_t size, const char *folder)
{
    size_t end = strlen(folder), from;
    while (end && folder[end - 1] == '/')
        end--;
    for (from = end; from && folder[from - 1] != '/';)
        from--;
    if (end > from && folder[from] != '.')
        wt_text(name, size, "%.*s", (int)(end - from), folder + from);
}

int wt_work_find(const char *name, struct wt_work *ret_work, struct wt_error *err)
{
    struct wt_config config;
    struct stat st;
    char path[4096];
    ret_work->is_decoder = false;
    if (wt_model_shape_named(name, &ret_work->model, err) == 0)
        return 0;
    if (wt_decoder_named(name, &ret_work->decoder)) {
        ret_work->is_decoder = true;
        return 0;
    }
    size_t len = strlen(name);
    if (len + sizeof("/config.json") > sizeof(path) || stat(name, &st) < 0)
        return not_found(name, err);
    bool is_folder = S_ISDIR(st.st_mode);
    wt_text(path, sizeof(path), "%s%s", name,
            !is_folder             ? ""
            : name[len - 1] == '/' ? "config.json"
                                   : "/config.json");
    if (is_folder && access(path, F_OK) < 0 && errno == ENOENT) {
        int rc = wt_fail(err, WT_E_NOTFOUND, "%s: there is no config.json in this folder", name);
        wt_fix(err, "a model's folder as Hugging Face has it, its config.json, or a name");
        return rc;
    }
    int rc = wt_decoder_read(&ret_work->decoder, path, err);
    if (rc != WT_E_UNSUPPORTED) {
        ret_work->is_decoder = rc == 0;
        if (rc == 0 && is_folder)
            take_folder_name(ret_work->decoder.name, sizeof(ret_work->decoder.name), name);
        return rc;
    }
    rc = wt_config_read(&config, path, err);
    if (rc < 0)
        return rc;
    ret_work->model = (struct wt_model_shape){.layers = config.layers,
                                              .hidden = config.hidden,
                                              .heads = config.heads,
                                              .ffn = config.ffn,
                                              .vocab = config.vocab,
                                              .positions = config.positions,
                                              .family = config.family};
    wt_text(ret_work->model.name, sizeof(ret_work->model.name), "%s",
            wt_family_name(config.family));
    if (is_folder)
        take_folder_name(ret_work->model.name, sizeof(ret_work->model.name), name);
    return 0;
}

uint64_t wt_work_parameters(const struct wt_work *work)
{
    return work->is_decoder ? wt_decoder_parameters(&work->decoder)
                            : wt_model_parameters(&work->model);
}

uint64_t wt_work_tokens(const struct wt_work *work)
{
    return work->kind == WT_WORK_DECODE ? work->batch : (uint64_t)work->batch * work->seq;
}

/* ---- passes ---- */

/* Room for one, whose tokens are all 0: what they are costs nothing. */
struct pass {
    struct wt_input input;
    int32_t *zeros, *lengths; /* owned */
};

static int pass_new(struct pass *pass, unsigned batch, unsigned seq, struct wt_error *err)
{
    size_t rows = (size_t)batch * seq;
    pass->zeros = calloc(rows, sizeof(*pass->zeros));
    pass->lengths = calloc(batch, sizeof(*pass->lengths));
    if (!pass->zeros || !pass->lengths)
        return wt_fail(err, WT_E_NOMEM, "no memory for a batch of %u x %u tokens", batch, seq);
    for (unsigned b = 0; b < batch; b++)
        pass->lengths[b] = (int32_t)seq;
    pass->input = (struct wt_input){
        .tokens = pass->zeros, .lengths = pass->lengths, .count = batch, .rows = rows};
    return 0;
}

static void pass_done(struct pass *pass)
{
    free(pass->zeros);
    free(pass->lengths);
}

static void count_step(struct wt_model *model, struct wt_backend *backend, bool is_causal,
                       struct pass *pass, size_t counts[3])
{
    struct wt_input input = pass->input;
    if (!is_causal) {
        input.chosen = input.targets = pass->zeros;
        input.chosen_count =
            input.count * wt_masked_per_sequence(input.rows / (input.count ? input.count : 1));
    }
    struct wt_rate rate = {.rate = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .epsilon = 1e-8f};
    size_t ends[3];
    wt_count_reset(backend);
    wt_model_forward(model, &input, true, 0, 1);
    wt_count_kernels(backend, &ends[0]);
    wt_model_backward(model);
    wt_count_kernels(backend, &ends[1]);
    wt_model_optimize(model, &rate);
    wt_count_kernels(backend, &ends[2]);
    for (size_t i = 0; i < 3; i++)
        counts[i] = ends[i] - (i ? ends[i - 1] : 0);
}

static int count_inference(struct wt_model *model, struct wt_backend *backend,
                           const struct wt_work *work, struct pass *pass, struct wt_error *err)
{
    int rc = wt_model_prepare(model, err);
    if (rc < 0)
        return rc;
    wt_count_reset(backend); /* made ready once, and used often */
    struct wt_input input = pass->input;
    if (work->kind == WT_WORK_ENCODE && work->model.family == WT_FAMILY_GPT2) {
        input.chosen = input.targets = pass->zeros;
        input.chosen_count = input.rows;
        return wt_model_likelihood(model, &input, NULL, err);
    }
    if (work->kind == WT_WORK_ENCODE)
        return wt_model_encode(model, &input, NULL, err);
    rc = wt_model_prefill(model, &input, NULL, err);
    if (rc < 0 || work->kind == WT_WORK_PREFILL)
        return rc;
    wt_count_reset(backend);
    return wt_model_decode(model, pass->zeros, NULL, err);
}

static enum wt_task task_of(const struct wt_work *work)
{
    bool is_causal = work->model.family == WT_FAMILY_GPT2;
    if (work->kind == WT_WORK_TRAIN)
        return is_causal ? WT_TASK_CLM : WT_TASK_MLM;
    if (work->kind == WT_WORK_ENCODE)
        return is_causal ? WT_TASK_LIKELIHOOD : WT_TASK_ENCODE;
    return WT_TASK_GENERATE;
}

/* A pass of a model that is computed here; counts may be NULL. */
static int count_model(const struct wt_work *work, struct wt_work_ops *ret_ops, size_t counts[3],
                       struct wt_error *err)
{
    struct wt_config config;
    struct wt_backend backend = {0};
    struct wt_model *model = NULL;
    struct pass pass = {0};
    size_t parts[3];
    wt_config_of_shape(&config, &work->model);
    struct wt_model_options options = {.task = task_of(work),
                                       .batch = work->batch,
                                       .seq = work->seq + (work->kind == WT_WORK_DECODE ? 1 : 0),
                                       .is_blank = true};
    if (options.task == WT_TASK_LIKELIHOOD)
        options.chosen = work->batch * work->seq;
    int rc = wt_count_new(&backend, work->dtype, err);
    if (rc == 0)
        rc = wt_model_new(&model, &config, &options, &backend, err);
    if (rc == 0)
        rc = pass_new(&pass, work->batch, work->seq, err);
    if (rc == 0 && work->kind == WT_WORK_TRAIN)
        count_step(model, &backend, options.task == WT_TASK_CLM, &pass, counts ? counts : parts);
    else if (rc == 0)
        rc = count_inference(model, &backend, work, &pass, err);
    if (rc == 0)
        rc = backend.ops->sync(backend.self, err);
    if (rc < 0)
        goto out;
    size_t count = 0;
    const struct wt_emu_kernel *list = wt_count_kernels(&backend, &count);
    *ret_ops = (struct wt_work_ops){.kernels = calloc(count, sizeof(*list)),
                                    .count = count,
                                    .memory = wt_count_memory(&backend)};
    if (!ret_ops->kernels)
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %zu kernels", count);
    else
        memcpy(ret_ops->kernels, list, count * sizeof(*list));
out:
    pass_done(&pass);
    wt_model_free(model);
    wt_backend_free(&backend);
    return rc;
}

int wt_work_ops(const struct wt_work *work, struct wt_work_ops *ret_ops, struct wt_error *err)
{
    *ret_ops = (struct wt_work_ops){0};
    if (!work->batch || !work->seq)
        return wt_fail(err, WT_E_USAGE, "a pass over %u x %u tokens", work->batch, work->seq);
    if (work->kind == WT_WORK_TRAIN && work->dtype == WT_INT8)
        return wt_fail(err, WT_E_UNSUPPORTED, "training is counted in fp32, tf32 and bf16 only");
    if (work->is_decoder)
        return wt_decoder_ops(work, ret_ops, err);
    if (work->parts > 1)
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s: only decoders are counted in parts on several devices",
                       work->model.name);
    if (work->model.family != WT_FAMILY_GPT2 &&
        (work->kind == WT_WORK_PREFILL || work->kind == WT_WORK_DECODE))
        return wt_fail(err, WT_E_UNSUPPORTED, "%s makes no text: it can train and encode",
                       work->model.name);
    return count_model(work, ret_ops, NULL, err);
}

void wt_work_ops_done(struct wt_work_ops *ops)
{
    free(ops->kernels);
    *ops = (struct wt_work_ops){0};
}

int wt_workload_train_ops(const struct wt_model_shape *shape, unsigned batch, unsigned seq,
                          enum wt_dtype dtype, struct wt_emu_kernel **ret_kernels,
                          size_t *ret_count, size_t *phases, struct wt_error *err)
{
    const struct wt_work work = {
        .kind = WT_WORK_TRAIN, .model = *shape, .dtype = dtype, .batch = batch, .seq = seq};
    struct wt_work_ops ops;
    if (dtype == WT_INT8)
        return wt_fail(err, WT_E_UNSUPPORTED, "training is counted in fp32, tf32 and bf16 only");
    int rc = count_model(&work, &ops, phases, err);
    if (rc < 0)
        return rc;
    *ret_kernels = ops.kernels;
    *ret_count = ops.count;
    return 0;
}
