/* fuzz: the JSON of a model's folder, each input once as the index of a model's shards and once as
 * the state of a checkpoint, in folders that are sound otherwise. What is taken holds; what is
 * refused says which file, and leaves the model as it was. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "fuzz.h"
#include "workload/checkpoint.h"
#include "workload/hub.h"

static struct {
    char folder[256], shards[300], checkpoint[300];
    struct wt_backend backend;
    struct wt_model *model;
    float *before, *after; /* [total] of the model */
} bed;

static void must(bool it_is)
{
    if (!it_is)
        abort();
}

static void end(void)
{
    wt_fs_remove_tree(bed.folder, NULL);
}

static const char *in(const char *folder, const char *name)
{
    static char path[600];
    wt_text(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* The checkpoint's tensors, by turns in two files. */
static void write_shards(void)
{
    static const char *const names[] = {"a.safetensors", "b.safetensors"};
    struct wt_safetensors *file = NULL;
    must(wt_safetensors_open(&file, in(bed.checkpoint, "model.safetensors"), NULL) == 0);
    for (size_t shard = 0; shard < 2; shard++) {
        struct wt_tensor_source sources[64] = {0};
        size_t count = 0;
        const struct wt_tensor *t;
        for (size_t i = shard; (t = wt_safetensors_at(file, i)); i += 2) {
            must(count < WT_COUNTOF(sources));
            float *values = malloc(t->elements * sizeof(*values));
            must(values && !wt_safetensors_read(file, t->name, t->rank, t->shape, values, NULL));
            struct wt_tensor_source *s = &sources[count++];
            *s = (struct wt_tensor_source){
                .name = t->name, .type = WT_TENSOR_F32, .rank = t->rank, .values = values};
            memcpy(s->shape, t->shape, sizeof(s->shape));
        }
        must(wt_safetensors_write(in(bed.shards, names[shard]), sources, count, NULL) == 0);
        for (size_t i = 0; i < count; i++)
            free((void *)(uintptr_t)sources[i].values);
    }
    wt_safetensors_close(file);
}

static void begin(void)
{
    const char *at = getenv("TMPDIR");
    wt_text(bed.folder, sizeof(bed.folder), "%s/wattune-fuzz-XXXXXX", at ? at : "/tmp");
    must(mkdtemp(bed.folder) && atexit(end) == 0);
    wt_text(bed.shards, sizeof(bed.shards), "%s/shards", bed.folder);
    wt_text(bed.checkpoint, sizeof(bed.checkpoint), "%s/checkpoint", bed.folder);
    struct wt_config config;
    must(wt_config_named(&config, "gpt2", NULL) == 0);
    config.layers = 1;
    config.hidden = config.ffn = config.positions = 4;
    config.heads = 1;
    config.vocab = 5;
    const struct wt_model_options options = {.task = WT_TASK_CLM, .batch = 1, .seq = 4, .seed = 1};
    must(wt_cpu_new(&bed.backend, WT_F32, 1, false, NULL) == 0);
    must(wt_model_new(&bed.model, &config, &options, &bed.backend, NULL) == 0);
    size_t bytes = wt_model_parameters_of(bed.model)->total * sizeof(float);
    must((bed.before = malloc(bytes)) && (bed.after = malloc(bytes)));
    must(wt_checkpoint_save(bed.checkpoint, bed.model, "{}", NULL, NULL, NULL, NULL) == 0);
    must(wt_fs_mkdirs(bed.shards, 0777, NULL) == 0);
    must(wt_config_write(&config, in(bed.shards, "config.json"), NULL) == 0);
    write_shards();
    /* Other weights than those of the checkpoint, so that a load is seen. */
    must(wt_model_get(bed.model, bed.before, NULL) == 0);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        bed.before[i] += 1;
}

static void put(const char *path, const uint8_t *data, size_t size)
{
    FILE *out = fopen(path, "w");
    must(out && fwrite(data, 1, size, out) == size);
    must(fclose(out) == 0);
}

static void as_index(const uint8_t *data, size_t size)
{
    struct wt_hub *hub = NULL;
    struct wt_error err = {0};
    put(in(bed.shards, "model.safetensors.index.json"), data, size);
    if (wt_hub_open(&hub, bed.shards, &err) < 0) {
        must(strncmp(err.text, bed.shards, strlen(bed.shards)) == 0);
        return;
    }
    const struct wt_parameters *p = wt_model_parameters_of(bed.model);
    if (wt_hub_load(hub, p, bed.after, &err) < 0)
        must(err.text[0]);
    wt_hub_close(hub);
}

static void as_state(const uint8_t *data, size_t size)
{
    struct wt_error err = {0};
    char *position = NULL;
    size_t bytes = wt_model_parameters_of(bed.model)->total * sizeof(float);
    must(wt_model_set(bed.model, bed.before, NULL) == 0);
    put(in(bed.checkpoint, "wattune.json"), data, size);
    int rc = wt_checkpoint_load(bed.checkpoint, bed.model, &position, NULL, &err);
    must(wt_model_get(bed.model, bed.after, NULL) == 0);
    must((memcmp(bed.before, bed.after, bytes) == 0) == (rc < 0));
    if (rc < 0)
        must(strncmp(err.text, bed.checkpoint, strlen(bed.checkpoint)) == 0);
    else
        must(position && position[0] == '{');
    free(position);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!bed.model)
        begin();
    as_index(data, size);
    as_state(data, size);
    return 0;
}
