/* Model folders: the same model under whatever names and in whatever files, what does not fit said
 * clearly; and training that goes on from a checkpoint as if it had not stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "reference_backend.h"
#include "workload/checkpoint.h"
#include "workload/hub.h"

static const char *const families[] = {"bert", "distilbert", "gpt2"};
static const char *const prefixes[] = {"bert.", "distilbert.", "transformer."};

struct bed {
    char folder[256];
    struct wt_backend backend;
};

/* A file system that cannot exchange two folders, and renames that fail: in place of the system's,
 * for all that is linked into this test. */
static bool cannot_exchange;
static int renames_left = -1; /* of whole checkpoints; below 0: all succeed */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (cannot_exchange) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int rename(const char *from, const char *to)
{
    size_t length = strlen(from);
    bool is_fresh = length > 4 && strcmp(from + length - 4, ".new") == 0;
    if (is_fresh && renames_left == 0) {
        errno = EIO;
        return -1;
    }
    renames_left -= is_fresh && renames_left > 0;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static bool cannot_remove; /* trees */

int remove(const char *path)
{
    if (cannot_remove) {
        errno = EACCES;
        return -1;
    }
    return rmdir(path) == 0 || (errno == ENOTDIR && unlink(path) == 0) ? 0 : -1;
}

static int bed_open(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    assert_non_null(bed);
    snprintf(bed->folder, sizeof(bed->folder), "%s/wattune-hub-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(bed->folder));
    assert_int_equal(wt_reference_new(&bed->backend, NULL), 0);
    *state = bed;
    return 0;
}

static int bed_close(void **state)
{
    struct bed *bed = *state;
    wt_backend_free(&bed->backend);
    wt_fs_remove_tree(bed->folder, NULL);
    free(bed);
    return 0;
}

/* folder/name: of the bed */
static const char *path(const struct bed *bed, const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", bed->folder, name);
    return p;
}

static const char *data_folder(const char *family)
{
    static char folder[512];
    snprintf(folder, sizeof(folder), "%s/torch/%s", WT_TEST_DATA, family);
    return folder;
}

static void copy_file(const char *from_folder, const char *to_folder, const char *name)
{
    char from[600], to[600], *text;
    size_t size;
    snprintf(from, sizeof(from), "%s/%s", from_folder, name);
    snprintf(to, sizeof(to), "%s/%s", to_folder, name);
    assert_int_equal(wt_file_read(from, 1 << 24, &text, &size, NULL), 0);
    assert_int_equal(wt_file_replace(to, text, size, NULL), 0);
    free(text);
}

/* The parameters of a folder with a head. Owned: free both. */
static float *load(const char *folder, enum wt_head head, struct wt_parameters *ret_parameters,
                   char **ret_left_out)
{
    struct wt_hub *hub = NULL;
    struct wt_error err = {0};
    if (wt_hub_open(&hub, folder, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(hub);
    assert_int_equal(wt_parameters_init(ret_parameters, wt_hub_config(hub), head, 3, NULL), 0);
    float *values = calloc(ret_parameters->total, sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < ret_parameters->total; i++)
        values[i] = 99;
    int rc = wt_hub_load(hub, ret_parameters, values, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    if (ret_left_out)
        *ret_left_out = strdup(wt_hub_left_out(hub));
    wt_hub_close(hub);
    return values;
}

/* What loading a folder complains of; the code. */
static int complaint(const char *folder, struct wt_error *err)
{
    struct wt_hub *hub = NULL;
    struct wt_parameters parameters;
    memset(err, 0, sizeof(*err));
    int rc = wt_hub_open(&hub, folder, err);
    if (rc < 0)
        return rc;
    assert_int_equal(wt_parameters_init(&parameters, wt_hub_config(hub), WT_HEAD_LM, 0, NULL), 0);
    float *values = calloc(parameters.total, sizeof(*values));
    assert_non_null(values);
    rc = wt_hub_load(hub, &parameters, values, err);
    free(values);
    wt_parameters_done(&parameters);
    wt_hub_close(hub);
    return rc;
}

/* ---- another file of the same tensors ---- */

struct tensors {
    struct wt_tensor_source sources[96];
    char names[96][128];
    size_t count;
};

static void tensors_of(struct tensors *t, const char *folder)
{
    char file[600];
    struct wt_safetensors *f = NULL;
    snprintf(file, sizeof(file), "%s/model.safetensors", folder);
    assert_int_equal(wt_safetensors_open(&f, file, NULL), 0);
    memset(t, 0, sizeof(*t));
    for (; t->count < wt_safetensors_count(f); t->count++) {
        const struct wt_tensor *x = wt_safetensors_at(f, t->count);
        assert_true(t->count < 90);
        snprintf(t->names[t->count], sizeof(t->names[0]), "%s", x->name);
        float *values = malloc(x->elements * sizeof(*values));
        assert_non_null(values);
        assert_int_equal(wt_safetensors_read(f, x->name, x->rank, x->shape, values, NULL), 0);
        struct wt_tensor_source *s = &t->sources[t->count];
        *s = (struct wt_tensor_source){
            .name = t->names[t->count], .type = WT_TENSOR_F32, .rank = x->rank, .values = values};
        memcpy(s->shape, x->shape, sizeof(s->shape));
    }
    wt_safetensors_close(f);
}

static void tensors_done(struct tensors *t)
{
    for (size_t i = 0; i < t->count; i++)
        free((void *)(uintptr_t)t->sources[i].values);
}

static size_t index_of(const struct tensors *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->names[i], name) == 0)
            return i;
    fail();
    return 0;
}

static void drop_tensor(struct tensors *t, const char *name)
{
    size_t i = index_of(t, name);
    free((void *)(uintptr_t)t->sources[i].values);
    t->count--;
    for (; i < t->count; i++) {
        memcpy(t->names[i], t->names[i + 1], sizeof(t->names[0]));
        t->sources[i] = t->sources[i + 1];
        t->sources[i].name = t->names[i];
    }
}

static void add_tensor(struct tensors *t, const char *name, uint64_t size)
{
    snprintf(t->names[t->count], sizeof(t->names[0]), "%s", name);
    float *values = calloc(size, sizeof(*values));
    assert_non_null(values);
    t->sources[t->count] = (struct wt_tensor_source){.name = t->names[t->count],
                                                     .type = WT_TENSOR_F32,
                                                     .rank = 1,
                                                     .shape = {size},
                                                     .values = values};
    t->count++;
}

/* A folder of the bed with these tensors and the family's config.json. */
static const char *write_folder(const struct bed *bed, const char *name, const char *family,
                                const struct tensors *t)
{
    const char *folder = path(bed, name);
    char file[600];
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    copy_file(data_folder(family), folder, "config.json");
    snprintf(file, sizeof(file), "%s/model.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, t->sources, t->count, NULL), 0);
    return folder;
}

static void same_as_data(const char *folder, const char *family, enum wt_head head)
{
    struct wt_parameters a, b;
    char *left_out;
    float *want = load(data_folder(family), head, &a, NULL);
    float *got = load(folder, head, &b, &left_out);
    assert_string_equal(left_out, "");
    assert_int_equal(a.total, b.total);
    assert_memory_equal(got, want, a.total * sizeof(*got));
    free(left_out);
    free(want);
    free(got);
    wt_parameters_done(&a);
    wt_parameters_done(&b);
}

/* ---- tests ---- */

static void names_without_the_prefix_are_the_same_tensors(void **state)
{
    struct bed *bed = *state;
    for (size_t f = 0; f < WT_COUNTOF(families); f++) {
        struct tensors t;
        tensors_of(&t, data_folder(families[f]));
        size_t len = strlen(prefixes[f]);
        for (size_t i = 0; i < t.count; i++)
            if (strncmp(t.names[i], prefixes[f], len) == 0)
                memmove(t.names[i], t.names[i] + len, strlen(t.names[i] + len) + 1);
        const char *folder = write_folder(bed, families[f], families[f], &t);
        same_as_data(folder, families[f], WT_HEAD_LM);
        same_as_data(folder, families[f], WT_HEAD_CLASSIFY);
        tensors_done(&t);
    }
}

static void norms_of_old_files_are_called_gamma_and_beta(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    tensors_of(&t, data_folder("bert"));
    unsigned renamed = 0;
    for (size_t i = 0; i < t.count; i++) {
        char *end = strstr(t.names[i], "LayerNorm.weight");
        if (end)
            strcpy(end, "LayerNorm.gamma");
        else if ((end = strstr(t.names[i], "LayerNorm.bias")))
            strcpy(end, "LayerNorm.beta");
        renamed += end != NULL;
    }
    assert_int_equal(renamed, 2 * (1 + 2 * 2 + 1));
    same_as_data(write_folder(bed, "old", "bert", &t), "bert", WT_HEAD_LM);
    tensors_done(&t);
}

static void buffers_and_tied_decoders_are_passed_over(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    tensors_of(&t, data_folder("gpt2"));
    add_tensor(&t, "transformer.h.0.attn.bias", 16);
    add_tensor(&t, "transformer.h.1.attn.masked_bias", 1);
    add_tensor(&t, "lm_head.weight", 53);
    same_as_data(write_folder(bed, "gpt2", "gpt2", &t), "gpt2", WT_HEAD_LM);
    tensors_done(&t);
}

static void a_missing_head_keeps_its_values_and_is_listed(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    struct wt_parameters p;
    char *left_out;
    tensors_of(&t, data_folder("bert"));
    drop_tensor(&t, "classifier.weight");
    drop_tensor(&t, "classifier.bias");
    const char *folder = write_folder(bed, "bert", "bert", &t);
    struct wt_hub *hub = NULL;
    assert_int_equal(wt_hub_open(&hub, folder, NULL), 0);
    assert_int_equal(wt_hub_classes(hub), 0);
    wt_hub_close(hub);
    float *values = load(folder, WT_HEAD_CLASSIFY, &p, &left_out);
    assert_string_equal(left_out, "classifier.weight classifier.bias");
    for (size_t i = p.class_w; i < p.total; i++)
        assert_true(values[i] == 99);
    assert_true(values[p.pool_w] != 99);
    free(values);
    free(left_out);
    wt_parameters_done(&p);
    tensors_done(&t);
}

static void shards_are_one_model(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    tensors_of(&t, data_folder("distilbert"));
    const char *folder = path(bed, "shards");
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    copy_file(data_folder("distilbert"), folder, "config.json");
    size_t half = t.count / 2;
    char file[600], *index = NULL;
    size_t size;
    FILE *f = open_memstream(&index, &size);
    fprintf(f, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (size_t i = 0; i < t.count; i++)
        fprintf(f, "%s\"%s\":\"model-0000%d-of-00002.safetensors\"", i ? "," : "", t.names[i],
                i < half ? 1 : 2);
    fprintf(f, "}}");
    fclose(f);
    snprintf(file, sizeof(file), "%s/model-00001-of-00002.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, t.sources, half, NULL), 0);
    snprintf(file, sizeof(file), "%s/model-00002-of-00002.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, t.sources + half, t.count - half, NULL), 0);
    snprintf(file, sizeof(file), "%s/model.safetensors.index.json", folder);
    assert_int_equal(wt_file_replace(file, index, size, NULL), 0);
    same_as_data(folder, "distilbert", WT_HEAD_LM);

    struct wt_error err;
    static const struct {
        const char *text, *says;
        int want;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"../up.safetensors\"}}", "\"a\"", WT_E_FORMAT},
        {"{\"weight_map\":{\"a\":7}}", "\"a\"", WT_E_FORMAT},
        {"{\"weight_map\":[]}", "weight_map", WT_E_FORMAT},
        {"{", "index.json", WT_E_FORMAT},
        {"{\"weight_map\":{\"a\":\"model-00003-of-00002.safetensors\"}}", "model-00003",
         WT_E_NOTFOUND},
        {"{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}", "\"a\" is not in",
         WT_E_FORMAT},
    };
    for (size_t i = 0; i < WT_COUNTOF(bad); i++) {
        assert_int_equal(wt_file_replace(file, bad[i].text, strlen(bad[i].text), NULL), 0);
        assert_int_equal(complaint(folder, &err), bad[i].want);
        assert_non_null(strstr(err.text, bad[i].says));
    }
    free(index);
    tensors_done(&t);
}

/* The same tensors in two files, in the first of them other values. */
static const char *write_copies(const struct bed *bed, const char *family, struct tensors *t,
                                const char *index)
{
    const char *folder = path(bed, "copies");
    char file[600];
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    copy_file(data_folder(family), folder, "config.json");
    snprintf(file, sizeof(file), "%s/new.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, t->sources, t->count, NULL), 0);
    for (size_t i = 0; i < t->count; i++)
        *(float *)(uintptr_t)t->sources[i].values += 1;
    /* Opened first, since a tensor of its own comes first in the index. */
    add_tensor(t, "a.first", 1);
    snprintf(file, sizeof(file), "%s/old.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, t->sources, t->count, NULL), 0);
    snprintf(file, sizeof(file), "%s/model.safetensors.index.json", folder);
    assert_int_equal(wt_file_replace(file, index, strlen(index), NULL), 0);
    return folder;
}

static void an_old_copy_in_another_file_is_not_the_indexs_tensor(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    tensors_of(&t, data_folder("bert"));
    char *index = NULL;
    size_t size;
    FILE *f = open_memstream(&index, &size);
    fprintf(f, "{\"weight_map\":{\"a.first\":\"old.safetensors\"");
    for (size_t i = 0; i < t.count; i++)
        fprintf(f, ",\"%s\":\"new.safetensors\"", t.names[i]);
    fprintf(f, "}}");
    fclose(f);
    same_as_data(write_copies(bed, "bert", &t, index), "bert", WT_HEAD_LM);
    free(index);
    tensors_done(&t);
}

/* The index has them without the prefix, an old file with it. */
static void an_old_copy_under_another_name_is_not_the_indexs_tensor(void **state)
{
    struct bed *bed = *state;
    struct tensors t, old;
    tensors_of(&t, data_folder("bert"));
    tensors_of(&old, data_folder("bert"));
    char *index = NULL, file[600];
    size_t size, len = strlen(prefixes[0]);
    FILE *f = open_memstream(&index, &size);
    fprintf(f, "{\"weight_map\":{\"a.first\":\"old.safetensors\"");
    for (size_t i = 0; i < t.count; i++) {
        if (strncmp(t.names[i], prefixes[0], len) == 0)
            memmove(t.names[i], t.names[i] + len, strlen(t.names[i] + len) + 1);
        fprintf(f, ",\"%s\":\"new.safetensors\"", t.names[i]);
    }
    fprintf(f, "}}");
    fclose(f);
    const char *folder = write_copies(bed, "bert", &t, index);
    /* One tensor of the body that only the old file has under that name, and the index nowhere. */
    size_t word = index_of(&old, "bert.embeddings.word_embeddings.weight");
    *(float *)(uintptr_t)old.sources[word].values += 1;
    struct wt_tensor_source sources[2] = {old.sources[word], t.sources[index_of(&t, "a.first")]};
    snprintf(file, sizeof(file), "%s/old.safetensors", folder);
    assert_int_equal(wt_safetensors_write(file, sources, 2, NULL), 0);
    same_as_data(folder, "bert", WT_HEAD_LM);
    free(index);
    tensors_done(&t);
    tensors_done(&old);
}

static void of_two_copies_that_no_index_tells_apart_none_is_taken(void **state)
{
    struct bed *bed = *state;
    struct tensors t;
    struct wt_error err;
    tensors_of(&t, data_folder("bert"));
    char *index = NULL;
    size_t size;
    FILE *f = open_memstream(&index, &size);
    fprintf(f, "{\"weight_map\":{\"a.first\":\"old.safetensors\"");
    for (size_t i = 0; i < t.count; i++)
        if (!strstr(t.names[i], "word_embeddings"))
            fprintf(f, ",\"%s\":\"new.safetensors\"", t.names[i]);
    fprintf(f, "}}");
    fclose(f);
    assert_int_equal(complaint(write_copies(bed, "bert", &t, index), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "both have \"bert.embeddings.word_embeddings.weight\""));
    free(index);
    tensors_done(&t);
}

static void what_does_not_fit_is_said(void **state)
{
    struct bed *bed = *state;
    struct wt_error err;
    struct tensors t;

    assert_int_equal(complaint(path(bed, "nowhere"), &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "config.json"));

    const char *folder = path(bed, "empty");
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    copy_file(data_folder("bert"), folder, "config.json");
    assert_int_equal(complaint(folder, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "model.safetensors"));
    char file[600];
    snprintf(file, sizeof(file), "%s/pytorch_model.bin", folder);
    assert_int_equal(wt_file_replace(file, "x", 1, NULL), 0);
    assert_int_equal(complaint(folder, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "save_pretrained"));

    tensors_of(&t, data_folder("bert"));
    drop_tensor(&t, "bert.encoder.layer.1.output.dense.bias");
    assert_int_equal(complaint(write_folder(bed, "less", "bert", &t), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "bert.encoder.layer.1.output.dense.bias"));
    tensors_done(&t);

    tensors_of(&t, data_folder("bert"));
    t.sources[index_of(&t, "bert.embeddings.word_embeddings.weight")].shape[0]--;
    assert_int_equal(complaint(write_folder(bed, "short", "bert", &t), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "word_embeddings"));
    assert_non_null(strstr(err.text, "52"));
    assert_non_null(strstr(err.text, "53"));
    tensors_done(&t);

    tensors_of(&t, data_folder("gpt2"));
    add_tensor(&t, "transformer.h.2.ln_1.weight", 32);
    assert_int_equal(complaint(write_folder(bed, "more", "gpt2", &t), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "transformer.h.2.ln_1.weight"));
    assert_non_null(strstr(err.text, "2 layers"));
    tensors_done(&t);

    /* The weights of another family. */
    tensors_of(&t, data_folder("gpt2"));
    assert_int_equal(complaint(write_folder(bed, "other", "bert", &t), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "word_embeddings"));
    tensors_done(&t);

    /* Cut short. */
    char *text;
    size_t size;
    snprintf(file, sizeof(file), "%s/model.safetensors", path(bed, "more"));
    assert_int_equal(wt_file_read(file, 1 << 24, &text, &size, NULL), 0);
    assert_int_equal(wt_file_replace(file, text, size / 2, NULL), 0);
    free(text);
    assert_int_equal(complaint(path(bed, "more"), &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "model.safetensors"));
}

static void what_is_written_reads_as_it_was(void **state)
{
    struct bed *bed = *state;
    for (size_t f = 0; f < WT_COUNTOF(families); f++)
        for (int is_class = 0; is_class < 2; is_class++) {
            enum wt_head head = is_class ? WT_HEAD_CLASSIFY : WT_HEAD_LM;
            struct wt_parameters p;
            struct wt_hub *hub = NULL;
            float *values = load(data_folder(families[f]), head, &p, NULL);
            assert_int_equal(wt_hub_open(&hub, data_folder(families[f]), NULL), 0);
            const char *folder = path(bed, is_class ? "class" : "lm");
            assert_int_equal(
                wt_hub_save(folder, wt_hub_config(hub), &p, values, WT_TENSOR_F32, NULL, NULL), 0);
            same_as_data(folder, families[f], head);
            wt_hub_close(hub);
            assert_int_equal(wt_hub_open(&hub, folder, NULL), 0);
            assert_int_equal(wt_hub_classes(hub), is_class ? 3 : 0);
            wt_hub_close(hub);
            char *text, file[600];
            size_t size;
            snprintf(file, sizeof(file), "%s/config.json", folder);
            assert_int_equal(wt_file_read(file, 1 << 20, &text, &size, NULL), 0);
            assert_int_equal(strstr(text, "ForSequenceClassification") != NULL, is_class);
            assert_int_equal(strstr(text, "\"LABEL_2\"") != NULL, is_class);
            free(text);
            free(values);
            wt_parameters_done(&p);
        }
}

static void bf16_files_are_rounded_and_read(void **state)
{
    struct bed *bed = *state;
    struct wt_parameters p, q;
    struct wt_hub *hub = NULL;
    float *values = load(data_folder("gpt2"), WT_HEAD_LM, &p, NULL);
    assert_int_equal(wt_hub_open(&hub, data_folder("gpt2"), NULL), 0);
    assert_int_equal(
        wt_hub_save(path(bed, "half"), wt_hub_config(hub), &p, values, WT_TENSOR_BF16, NULL, NULL),
        0);
    wt_hub_close(hub);
    float *got = load(path(bed, "half"), WT_HEAD_LM, &q, NULL);
    for (size_t i = 0; i < p.total; i++)
        assert_true(got[i] == wt_float_from_bf16(wt_bf16_from_float(values[i])));
    free(values);
    free(got);
    wt_parameters_done(&p);
    wt_parameters_done(&q);
}

/* ---- checkpoints ---- */

static const struct wt_config small = {WT_FAMILY_GPT2, 1,    16,  2,   24,  29, 12, 0,
                                       WT_GELU_NEW,    1e-5, 0.2, 0.2, 0.2, 0,  0.2};

static struct wt_model *model_of(struct bed *bed, const struct wt_config *config, enum wt_task task)
{
    struct wt_model_options options = {
        .task = task, .batch = 2, .seq = 8, .classes = 3, .seed = 4, .has_dropout = true};
    struct wt_model *model = NULL;
    assert_int_equal(wt_model_new(&model, config, &options, &bed->backend, NULL), 0);
    return model;
}

static double train(struct wt_model *model, int32_t salt)
{
    int32_t tokens[16], lengths[2] = {8, 6};
    for (int32_t i = 0; i < 16; i++)
        tokens[i] = (i * 7 + salt * 5) % 29;
    struct wt_input input = {.tokens = tokens, .lengths = lengths, .count = 2, .rows = 16};
    struct wt_rate rate = {0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 1};
    double loss, norm;
    wt_model_forward(model, &input, true, 0, 1);
    wt_model_backward(model);
    wt_model_optimize(model, &rate);
    assert_int_equal(wt_model_result(model, &loss, &norm, NULL), 0);
    return loss;
}

static void training_goes_on_as_if_it_had_not_stopped(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    train(model, 0);
    assert_int_equal(wt_checkpoint_save(folder, model, "{\"line\": 1}", NULL, NULL, NULL, NULL), 0);
    train(model, 1);
    assert_int_equal(wt_checkpoint_save(folder, model, "{\"line\": 2}", NULL, NULL, NULL, NULL),
                     0); /* over it */
    double want = train(model, 2), then = train(model, 3);
    wt_model_free(model);

    model = model_of(bed, &small, WT_TASK_CLM);
    char *position = NULL;
    struct wt_error err = {0};
    if (wt_checkpoint_load(folder, model, &position, NULL, &err) < 0)
        print_error("%s\n", err.text);
    assert_non_null(position);
    assert_non_null(strstr(position, "\"line\": 2"));
    free(position);
    assert_true(train(model, 2) == want);
    assert_true(train(model, 3) == then);
    wt_model_free(model);

    /* Nothing else is left in the folder around it. */
    char **names;
    size_t count;
    struct wt_ctx ctx = {.sysroot = (char *)(uintptr_t) ""};
    assert_int_equal(wt_fs_list(&ctx, bed->folder, &names, &count, NULL), 0);
    assert_int_equal(count, 1);
    wt_fs_list_free(names, count);
}

static void what_stands_in_the_folder(struct bed *bed, struct wt_model *model, const char *want)
{
    char *position = NULL, **names;
    size_t count;
    struct wt_ctx ctx = {.sysroot = (char *)(uintptr_t) ""};
    assert_int_equal(wt_checkpoint_load(path(bed, "checkpoint"), model, &position, NULL, NULL), 0);
    assert_non_null(strstr(position, want));
    free(position);
    assert_int_equal(wt_fs_list(&ctx, bed->folder, &names, &count, NULL), 0);
    assert_int_equal(count, 1);
    wt_fs_list_free(names, count);
}

static void where_folders_cannot_be_exchanged_one_is_there_all_the_same(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    cannot_exchange = true;
    assert_int_equal(wt_checkpoint_save(folder, model, "{\"line\": 1}", NULL, NULL, NULL, NULL), 0);
    assert_int_equal(wt_checkpoint_save(folder, model, "{\"line\": 2}", NULL, NULL, NULL, NULL), 0);
    what_stands_in_the_folder(bed, model, "\"line\": 2");
    /* The old one made way and the new one cannot take its place: the old one comes back. */
    renames_left = 1; /* the attempt before any exchange fails by itself: the folder is not empty */
    assert_int_equal(wt_checkpoint_save(folder, model, "{\"line\": 3}", NULL, NULL, NULL, NULL),
                     WT_E_IO);
    renames_left = -1;
    what_stands_in_the_folder(bed, model, "\"line\": 2");
    cannot_exchange = false;
    wt_model_free(model);
}

/* It is saved; only disk space is lost, until the next one. */
static void an_old_checkpoint_that_stays_does_not_fail_the_new_one(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    for (int by_turns = 0; by_turns < 2; by_turns++) {
        struct wt_error note = {0};
        char *position = NULL;
        cannot_exchange = by_turns;
        assert_int_equal(
            wt_checkpoint_save(folder, model, "{\"line\": 1}", NULL, NULL, &note, NULL), 0);
        assert_int_equal(note.code, 0);
        cannot_remove = true;
        assert_int_equal(
            wt_checkpoint_save(folder, model, "{\"line\": 2}", NULL, NULL, &note, NULL), 0);
        cannot_remove = false;
        assert_int_equal(note.code, WT_E_DENIED);
        assert_non_null(strstr(note.text, by_turns ? ".old" : ".new"));
        assert_int_equal(wt_checkpoint_load(folder, model, &position, NULL, NULL), 0);
        assert_non_null(strstr(position, "\"line\": 2"));
        free(position);
        assert_int_equal(
            wt_checkpoint_save(folder, model, "{\"line\": 3}", NULL, NULL, &note, NULL), 0);
        assert_int_equal(note.code, 0);
        what_stands_in_the_folder(bed, model, "\"line\": 3");
    }
    cannot_exchange = false;
    wt_model_free(model);
}

static void what_a_killed_run_left_goes_with_the_next_checkpoint(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    pid_t dead = fork();
    if (dead == 0)
        _exit(0);
    assert_true(dead > 0);
    assert_int_equal(waitpid(dead, NULL, 0), dead);
    const struct {
        const char *before;
        pid_t pid; /* 0: none in the name */
        const char *behind, *file;
        bool stays_without, stays; /* where the folder is no checkpoint, and where it is one */
    } rows[] = {
        {"checkpoint.", dead, ".new", "model.safetensors.77-0", false, false},
        {"checkpoint.", dead, ".new", "wattune.json", true, false}, /* whole */
        {"checkpoint.", dead, ".old", "wattune.json", true, false},
        {"checkpoint.", dead, ".old", "config.json", false, false},
        {"checkpoint.", getpid(), ".new", "config.json", false, false}, /* its number came again */
        {"checkpoint.", getppid(), ".new", "config.json", true, true},
        {"checkpoint.", dead, ".new", "letter.txt", true, true},
        {"checkpoint.", dead, ".newer", "config.json", true, true},
        {"checkpoint.", 0, "best.new", "config.json", true, true},
        {"checkpoint.", 0, "99999999999999999999.new", "config.json", true, true},
        {"checkpoint-", dead, ".new", "config.json", true, true},
        {"other.", dead, ".new", "config.json", true, true},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        for (int is_there = 0; is_there < 2; is_there++) {
            char number[24] = "", left[600], file[700];
            if (rows[i].pid)
                snprintf(number, sizeof(number), "%ld", (long)rows[i].pid);
            wt_fs_remove_tree(folder, NULL);
            if (is_there)
                assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, NULL),
                                 0);
            snprintf(left, sizeof(left), "%s/%s%s%s", bed->folder, rows[i].before, number,
                     rows[i].behind);
            snprintf(file, sizeof(file), "%s/%s", left, rows[i].file);
            assert_int_equal(wt_fs_mkdirs(left, 0777, NULL), 0);
            assert_int_equal(wt_file_replace(file, "x", 1, NULL), 0);
            assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, NULL), 0);
            bool stays = is_there ? rows[i].stays : rows[i].stays_without;
            if ((access(left, F_OK) == 0) != stays)
                print_error("row %zu, %d: %s\n", i, is_there, left);
            assert_int_equal(access(left, F_OK) == 0, stays);
            wt_fs_remove_tree(left, NULL);
        }
    wt_model_free(model);
}

static void a_checkpoint_of_another_model_is_refused_and_changes_nothing(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    train(model, 0);
    assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, NULL), 0);
    wt_model_free(model);

    struct wt_config wider = small, bert = small;
    wider.ffn = 32;
    bert.family = WT_FAMILY_BERT;
    bert.types = 2;
    const struct {
        const struct wt_config *config;
        enum wt_task task;
        const char *says;
    } rows[] = {{&wider, WT_TASK_CLM, "n_inner is 24"},
                {&bert, WT_TASK_MLM, "is of a gpt2"},
                {&small, WT_TASK_CLASSIFY, "score.weight"}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        model = model_of(bed, rows[i].config, rows[i].task);
        size_t total = wt_model_parameters_of(model)->total;
        float *before = calloc(total, sizeof(*before)), *after = calloc(total, sizeof(*after));
        assert_true(before && after);
        assert_int_equal(wt_model_get(model, before, NULL), 0);
        char *position = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_checkpoint_load(folder, model, &position, NULL, &err), WT_E_FORMAT);
        assert_null(position);
        if (!strstr(err.text, rows[i].says))
            print_error("%s\n", err.text);
        assert_non_null(strstr(err.text, rows[i].says));
        assert_int_equal(wt_model_get(model, after, NULL), 0);
        assert_memory_equal(before, after, total * sizeof(*before));
        free(before);
        free(after);
        wt_model_free(model);
    }
}

static void a_damaged_checkpoint_is_refused(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "checkpoint");
    static const char *const files[] = {"config.json", "model.safetensors", "optimizer.safetensors",
                                        "wattune.json"};
    for (size_t i = 0; i < WT_COUNTOF(files); i++)
        for (int is_gone = 0; is_gone < 2; is_gone++) {
            assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, NULL), 0);
            char file[600], *text, *position = NULL;
            size_t size;
            snprintf(file, sizeof(file), "%s/%s", folder, files[i]);
            assert_int_equal(wt_file_read(file, 1 << 24, &text, &size, NULL), 0);
            if (is_gone)
                assert_int_equal(unlink(file), 0);
            else
                assert_int_equal(wt_file_replace(file, text, size / 2, NULL), 0);
            struct wt_error err = {0};
            assert_int_equal(wt_checkpoint_load(folder, model, &position, NULL, &err),
                             is_gone ? WT_E_NOTFOUND : WT_E_FORMAT);
            assert_non_null(strstr(err.text, files[i]));
            assert_null(position);
            free(text);
            if (is_gone) /* without its state it is no checkpoint any more */
                wt_fs_remove_tree(folder, NULL);
        }
    wt_model_free(model);
}

static void what_is_no_checkpoint_is_not_written_over(void **state)
{
    struct bed *bed = *state;
    struct wt_model *model = model_of(bed, &small, WT_TASK_CLM);
    const char *folder = path(bed, "mine");
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, NULL),
                     0); /* empty: taken */
    wt_fs_remove_tree(folder, NULL);
    assert_int_equal(wt_fs_mkdirs(folder, 0777, NULL), 0);
    char file[600];
    snprintf(file, sizeof(file), "%s/letter.txt", folder);
    assert_int_equal(wt_file_replace(file, "x", 1, NULL), 0);
    struct wt_error err = {0};
    assert_int_equal(wt_checkpoint_save(folder, model, "{}", NULL, NULL, NULL, &err), WT_E_USAGE);
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(wt_checkpoint_save(path(bed, "new"), model, "[1]", NULL, NULL, NULL, &err),
                     WT_E_USAGE);
    assert_true(access(path(bed, "new"), F_OK) < 0);
    wt_model_free(model);
}

#define IN_A_BED(test) cmocka_unit_test_setup_teardown(test, bed_open, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_BED(names_without_the_prefix_are_the_same_tensors),
        IN_A_BED(norms_of_old_files_are_called_gamma_and_beta),
        IN_A_BED(buffers_and_tied_decoders_are_passed_over),
        IN_A_BED(a_missing_head_keeps_its_values_and_is_listed),
        IN_A_BED(shards_are_one_model),
        IN_A_BED(an_old_copy_in_another_file_is_not_the_indexs_tensor),
        IN_A_BED(an_old_copy_under_another_name_is_not_the_indexs_tensor),
        IN_A_BED(of_two_copies_that_no_index_tells_apart_none_is_taken),
        IN_A_BED(what_does_not_fit_is_said),
        IN_A_BED(what_is_written_reads_as_it_was),
        IN_A_BED(bf16_files_are_rounded_and_read),
        IN_A_BED(training_goes_on_as_if_it_had_not_stopped),
        IN_A_BED(where_folders_cannot_be_exchanged_one_is_there_all_the_same),
        IN_A_BED(an_old_checkpoint_that_stays_does_not_fail_the_new_one),
        IN_A_BED(what_a_killed_run_left_goes_with_the_next_checkpoint),
        IN_A_BED(a_checkpoint_of_another_model_is_refused_and_changes_nothing),
        IN_A_BED(a_damaged_checkpoint_is_refused),
        IN_A_BED(what_is_no_checkpoint_is_not_written_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
