/* Weights from a model's folder and into one, and checkpoints.
 *
 * A checkpoint is one file, replaced at once or not at all: the parameters, AdamW's moments, and
 * the numbers of the run ("state": each of 64 bits as four floats of 16 bits, which floats hold
 * exactly). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/safetensors.h"

#define CHECKPOINT "checkpoint.safetensors"

static const char *path_in(char *buf, size_t size, const char *folder, const char *file)
{
    return wt_text(buf, size, "%.4000s/%s", folder, file);
}

static int make_folder(const char *folder, struct wt_error *err)
{
    if (strlen(folder) > 4000)
        return wt_fail(err, WT_E_USAGE, "%.100s...: a path of %zu bytes", folder, strlen(folder));
    if (mkdir(folder, 0777) < 0 && errno != EEXIST)
        return wt_fail_errno(err, errno, "%s", folder);
    return 0;
}

static int no_memory(const struct bench *b, struct wt_error *err)
{
    return wt_fail(err, WT_E_NOMEM, "no memory for the weights of %s", b->source.name);
}

/* ---- a folder's weights ---- */

/* [rows, columns] to [columns, rows]. */
static void transpose(float *to, const float *from, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++)
            to[k * rows + i] = from[i * columns + k];
}

/* What the file calls a tensor: files of a model without a head leave out the first word, and old
 * ones call a norm's vectors gamma and beta. NULL: it has none. */
static const struct wt_tensor *find(const struct wt_safetensors *file, const char *name)
{
    char other[128];
    const struct wt_tensor *t = wt_safetensors_find(file, name);
    const char *dot = strchr(name, '.');
    if (!t && dot)
        t = wt_safetensors_find(file, dot + 1);
    const char *norm = strstr(name, "LayerNorm.");
    if (!t && norm) {
        bool is_gain = strcmp(norm, "LayerNorm.weight") == 0;
        wt_text(other, sizeof(other), "%.*sLayerNorm.%s", (int)(norm - name), name,
                is_gain ? "gamma" : "beta");
        t = wt_safetensors_find(file, other);
        dot = strchr(other, '.');
        if (!t && dot)
            t = wt_safetensors_find(file, dot + 1);
    }
    return t;
}

static size_t elements_of(const struct wt_parameter *p)
{
    return (size_t)(p->shape[0] * (p->rank > 1 ? p->shape[1] : 1));
}

static int load_into(float *values, const struct wt_parameters *at,
                     const struct wt_safetensors *file, const char *path, struct wt_error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < at->tensor_count; i++)
        most = elements_of(&at->tensors[i]) > most ? elements_of(&at->tensors[i]) : most;
    float *scratch = malloc((most + 1) * sizeof(*scratch));
    int rc = scratch ? 0 : wt_fail(err, WT_E_NOMEM, "%s: no memory for a tensor", path);
    for (size_t i = 0; i < at->tensor_count && rc == 0; i++) {
        const struct wt_parameter *p = &at->tensors[i];
        const struct wt_tensor *t = find(file, p->name);
        if (!t && p->is_optional)
            continue;
        if (!t) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: there is no tensor %s", path, p->name);
            wt_fix(err, "config.json and model.safetensors must be of the same model");
            break;
        }
        float *to = values + p->at;
        rc = wt_safetensors_read(file, t->name, p->rank, p->shape, p->is_transposed ? scratch : to,
                                 err);
        if (rc == 0 && p->is_transposed)
            transpose(to, scratch, (size_t)p->shape[0], (size_t)p->shape[1]);
    }
    free(scratch);
    return rc;
}

int bench_load_weights(struct bench *b, struct wt_error *err)
{
    const struct wt_parameters *at = wt_model_parameters_of(b->model);
    char path[4200];
    struct wt_safetensors *file = NULL;
    float *values = malloc(at->total * sizeof(*values));
    int rc = values ? 0 : no_memory(b, err);
    path_in(path, sizeof(path), b->source.folder, "model.safetensors");
    if (rc == 0)
        rc = wt_safetensors_open(&file, path, err);
    if (rc == 0) /* what the file leaves out stays as it was made */
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = load_into(values, at, file, path, err);
    if (rc == 0)
        rc = wt_model_set(b->model, values, err);
    wt_safetensors_close(file);
    free(values);
    return rc;
}

int bench_save(struct bench *b, struct wt_error *err)
{
    const struct wt_parameters *at = wt_model_parameters_of(b->model);
    const char *folder = b->o->save;
    char path[4200];
    float *values = malloc(at->total * sizeof(*values)),
          *turned = malloc(at->total * sizeof(*turned));
    struct wt_tensor_source *tensors = calloc(at->tensor_count, sizeof(*tensors));
    int rc = values && turned && tensors ? 0 : no_memory(b, err);
    if (rc == 0)
        rc = make_folder(folder, err);
    if (rc == 0)
        rc = wt_model_get(b->model, values, err);
    for (size_t i = 0; i < at->tensor_count && rc == 0; i++) {
        const struct wt_parameter *p = &at->tensors[i];
        tensors[i] = (struct wt_tensor_source){.name = p->name,
                                               .type = WT_TENSOR_F32,
                                               .rank = p->rank,
                                               .shape = {p->shape[0], p->shape[1]},
                                               .values = values + p->at};
        if (p->is_transposed) { /* [out, in] here */
            transpose(turned + p->at, values + p->at, (size_t)p->shape[1], (size_t)p->shape[0]);
            tensors[i].values = turned + p->at;
        }
    }
    if (rc == 0)
        rc = wt_safetensors_write(path_in(path, sizeof(path), folder, "model.safetensors"), tensors,
                                  at->tensor_count, err);
    if (rc == 0)
        rc = wt_config_write(&b->source.config, path_in(path, sizeof(path), folder, "config.json"),
                             err);
    if (rc == 0)
        rc = bench_save_vocabulary(b, folder, err);
    free(values);
    free(turned);
    free(tensors);
    return rc;
}

/* ---- checkpoints ---- */

enum state {
    STATE_VERSION,
    STATE_STEP,
    STATE_PLACE, /* in the text */
    STATE_ADAMW, /* steps of the optimizer */
    STATE_SEED,
    STATE_BATCH,
    STATE_SEQ,
    STATE_ACCUMULATE,
    STATE_SEQUENCES, /* of the text */
    STATE_LOSS_FIRST,
    STATE_LOSS_LAST,
    STATE_LOSS_SMOOTH,
    STATE_COUNT,
};

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static double of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t sequences_of(const struct bench *b)
{
    return b->corpus ? wt_corpus_sequences(b->corpus) : b->items.train_count;
}

int bench_checkpoint(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    size_t total = wt_model_parameters_of(b->model)->total;
    char path[4200];
    float *values = malloc(3 * total * sizeof(*values)), state[4 * STATE_COUNT];
    uint64_t adamw = 0;
    int rc = values ? make_folder(o->checkpoint, err) : no_memory(b, err);
    if (rc == 0)
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = wt_model_get_optimizer(b->model, values + total, values + 2 * total, &adamw, err);
    if (rc == 0) {
        const uint64_t numbers[STATE_COUNT] = {
            [STATE_VERSION] = 1,
            [STATE_STEP] = bench_step(b),
            [STATE_PLACE] = b->corpus ? wt_corpus_place(b->corpus) : wt_items_place(&b->items),
            [STATE_ADAMW] = adamw,
            [STATE_SEED] = o->seed,
            [STATE_BATCH] = o->batch,
            [STATE_SEQ] = o->seq,
            [STATE_ACCUMULATE] = o->accumulate,
            [STATE_SEQUENCES] = sequences_of(b),
            [STATE_LOSS_FIRST] = bits_of(b->loss_first),
            [STATE_LOSS_LAST] = bits_of(b->loss_last),
            [STATE_LOSS_SMOOTH] = bits_of(b->loss_smooth),
        };
        for (size_t i = 0; i < STATE_COUNT; i++)
            for (unsigned k = 0; k < 4; k++)
                state[4 * i + k] = (float)(numbers[i] >> (16 * k) & 0xffff);
        const struct wt_tensor_source tensors[] = {
            {"parameters", WT_TENSOR_F32, 1, {total}, values},
            {"adamw.first", WT_TENSOR_F32, 1, {total}, values + total},
            {"adamw.second", WT_TENSOR_F32, 1, {total}, values + 2 * total},
            {"state", WT_TENSOR_F32, 1, {WT_COUNTOF(state)}, state},
        };
        rc = wt_safetensors_write(path_in(path, sizeof(path), o->checkpoint, CHECKPOINT), tensors,
                                  WT_COUNTOF(tensors), err);
    }
    free(values);
    return rc;
}

/* A run goes on only as what it was. */
static int check_state(const struct bench *b, const char *path, const uint64_t *numbers,
                       struct wt_error *err)
{
    const struct bench_options *o = b->o;
    const struct {
        const char *name;
        uint64_t was, is;
    } rows[] = {
        {"version of the checkpoint", numbers[STATE_VERSION], 1},
        {"--seed", numbers[STATE_SEED], o->seed},
        {"--batch", numbers[STATE_BATCH], o->batch},
        {"--seq", numbers[STATE_SEQ], o->seq},
        {"--accumulate", numbers[STATE_ACCUMULATE], o->accumulate},
        {"number of sequences in the text", numbers[STATE_SEQUENCES], sequences_of(b)},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].was != rows[i].is)
            return wt_fail(err, WT_E_USAGE, "%s: its %s is %" PRIu64 ", and here it is %" PRIu64,
                           path, rows[i].name, rows[i].was, rows[i].is);
    if (o->steps && numbers[STATE_STEP] >= o->steps)
        return wt_fail(err, WT_E_USAGE,
                       "%s: %" PRIu64 " steps are done, and --steps %" PRIu64
                       " counts those before as well",
                       path, numbers[STATE_STEP], o->steps);
    return 0;
}

int bench_resume(struct bench *b, struct wt_error *err)
{
    size_t total = wt_model_parameters_of(b->model)->total;
    char path[4200];
    struct wt_safetensors *file = NULL;
    const uint64_t shape[1] = {total}, state_shape[1] = {4 * STATE_COUNT};
    float *values = malloc(3 * total * sizeof(*values)), state[4 * STATE_COUNT];
    uint64_t numbers[STATE_COUNT] = {0};
    int rc = values ? 0 : no_memory(b, err);
    path_in(path, sizeof(path), b->o->checkpoint, CHECKPOINT);
    if (rc == 0)
        rc = wt_safetensors_open(&file, path, err);
    if (rc == 0)
        rc = wt_safetensors_read(file, "state", 1, state_shape, state, err);
    if (rc == 0)
        rc = wt_safetensors_read(file, "parameters", 1, shape, values, err);
    if (rc == 0)
        rc = wt_safetensors_read(file, "adamw.first", 1, shape, values + total, err);
    if (rc == 0)
        rc = wt_safetensors_read(file, "adamw.second", 1, shape, values + 2 * total, err);
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(state); i++) {
        if (!(state[i] >= 0 && state[i] <= 0xffff))
            rc = wt_fail(err, WT_E_FORMAT, "%s: its state is damaged", path);
        else
            numbers[i / 4] |= (uint64_t)state[i] << (16 * (i % 4));
    }
    if (rc == 0)
        rc = check_state(b, path, numbers, err);
    if (rc == 0)
        rc = wt_model_set(b->model, values, err);
    if (rc == 0)
        rc = wt_model_set_optimizer(b->model, values + total, values + 2 * total,
                                    numbers[STATE_ADAMW], err);
    if (rc == 0) {
        b->step_from = numbers[STATE_STEP];
        b->loss_first = of_bits(numbers[STATE_LOSS_FIRST]);
        b->loss_last = of_bits(numbers[STATE_LOSS_LAST]);
        b->loss_smooth = of_bits(numbers[STATE_LOSS_SMOOTH]);
        if (b->corpus)
            wt_corpus_seek(b->corpus, numbers[STATE_PLACE]);
        else
            wt_items_seek(&b->items, numbers[STATE_PLACE]);
    }
    wt_safetensors_close(file);
    free(values);
    return rc;
}
