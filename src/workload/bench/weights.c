/* Weights from a model's folder and into one, and where a run stood, for checkpoints. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"
#include "workload/checkpoint.h"
#include "workload/digest.h"

/* ---- where to ---- */

/* Writing a file there is tried, since permissions alone do not say it: of root, of a file system
 * for reading only, of a full one. */
static int make_and_try(const char *option, const char *folder, const char *given,
                        struct wt_error *err)
{
    char path[4200];
    int rc = wt_fs_mkdirs(folder, 0777, err);
    if (rc < 0) {
        wt_fix(err, "%s %s: give a folder that can be made", option, given);
        return rc;
    }
    wt_text(path, sizeof(path), "%.4000s/.wattune-XXXXXX", folder);
    int fd = mkstemp(path);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s %s: writing into %s", option, given, folder);
    close(fd);
    unlink(path);
    return 0;
}

/* How many steps the checkpoint there has; negative: there is none that says it. */
static json_int_t steps_there(const char *folder, bool *ret_is_there)
{
    char path[4200];
    wt_text(path, sizeof(path), "%.4000s/wattune.json", folder);
    *ret_is_there = access(path, F_OK) == 0;
    json_t *state = *ret_is_there ? json_load_file(path, 0, NULL) : NULL;
    const json_t *step = json_object_get(json_object_get(state, "position"), "step");
    json_int_t steps = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(state);
    return steps;
}

static bool is_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    bool has_any = false;
    while (dir && (entry = readdir(dir)))
        has_any |= strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return dir && !has_any;
}

/* A checkpoint is a new folder beside the old one, which then takes its name. */
static int check_checkpoint(const struct bench_options *o, struct wt_error *err)
{
    bool is_there;
    struct stat st;
    const char *folder = o->checkpoint;
    json_int_t steps = steps_there(folder, &is_there);
    if (is_there && !o->is_resumed) {
        int rc = steps < 0
                     ? wt_fail(err, WT_E_USAGE, "%s holds a checkpoint of another run", folder)
                     : wt_fail(err, WT_E_USAGE,
                               "%s holds a checkpoint of %" JSON_INTEGER_FORMAT " step%s", folder,
                               steps, steps == 1 ? "" : "s");
        wt_fix(err, "--resume goes on from it; give another folder to start anew");
        return rc;
    }
    bool has_folder = lstat(folder, &st) == 0;
    if (has_folder && !is_there && (!S_ISDIR(st.st_mode) || !is_empty(folder))) {
        int rc = wt_fail(err, WT_E_USAGE, "--checkpoint %s: is there and is no checkpoint", folder);
        wt_fix(err, "give another folder");
        return rc;
    }
    if (o->is_resumed && !is_there) {
        int rc = wt_fail(err, WT_E_NOTFOUND, "--resume: there is no checkpoint in %s", folder);
        wt_fix(err, "without --resume a run begins, and leaves one there");
        return rc;
    }
    char parent[4096];
    if (strlen(folder) >= sizeof(parent) - 64)
        return wt_fail(err, WT_E_USAGE, "--checkpoint: a path of %zu bytes", strlen(folder));
    wt_text(parent, sizeof(parent), "%s", folder);
    for (size_t n = strlen(parent); n > 1 && parent[n - 1] == '/'; n--)
        parent[n - 1] = '\0';
    /* A folder cannot take the name of a link. */
    if (lstat(parent, &st) == 0 && S_ISLNK(st.st_mode))
        return wt_fail(err, WT_E_USAGE, "--checkpoint %s: is a link; give the folder itself",
                       folder);
    char *slash = strrchr(parent, '/');
    if (!slash)
        wt_text(parent, sizeof(parent), ".");
    else
        slash[slash == parent] = '\0';
    return make_and_try("--checkpoint", parent, folder, err);
}

/* Whether two paths are the same folder, there or not. */
static bool is_same(const char *a, const char *b)
{
    struct stat x, y;
    size_t a_size = strlen(a), b_size = strlen(b);
    while (a_size > 1 && a[a_size - 1] == '/')
        a_size--;
    while (b_size > 1 && b[b_size - 1] == '/')
        b_size--;
    return (a_size == b_size && memcmp(a, b, a_size) == 0) ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static bool ends_in(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* Of a model, as far as Wattune or transformers would read it. */
static bool is_of_a_model(const char *name)
{
    return ends_in(name, ".safetensors") || ends_in(name, ".safetensors.index.json") ||
           strncmp(name, "pytorch_model", strlen("pytorch_model")) == 0 ||
           bench_is_of_a_tokenizer(name);
}

/* What would stay beside the model that is written is of another one. */
static int check_save(const struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    bool is_checkpoint;
    steps_there(o->save, &is_checkpoint);
    if (is_checkpoint || (o->checkpoint && is_same(o->save, o->checkpoint))) {
        int rc = wt_fail(err, WT_E_USAGE, "--save %s: is a checkpoint's folder", o->save);
        wt_fix(err, "give a folder of its own");
        return rc;
    }
    DIR *dir = opendir(o->save);
    const struct dirent *entry;
    char other[256] = "";
    while (dir && !other[0] && (entry = readdir(dir)))
        if (is_of_a_model(entry->d_name) && strcmp(entry->d_name, "model.safetensors") != 0 &&
            !bench_saves_file(b, entry->d_name))
            wt_text(other, sizeof(other), "%s", entry->d_name);
    if (dir)
        closedir(dir);
    if (!other[0])
        return 0;
    int rc = wt_fail(err, WT_E_USAGE, "--save %s: holds another model, whose %.100s would stay",
                     o->save, other);
    wt_fix(err, "give a new folder");
    return rc;
}

int bench_check_places(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    int rc = o->checkpoint ? check_checkpoint(o, err) : 0;
    if (rc == 0 && o->save)
        rc = check_save(b, err);
    if (rc < 0 || !o->save)
        return rc;
    b->has_made_folder = access(o->save, F_OK) < 0;
    return make_and_try("--save", o->save, o->save, err);
}

/* ---- weights ---- */

static int values_of(const struct bench *b, float **ret_values, struct wt_error *err)
{
    size_t total = wt_model_parameters_of(b->model)->total;
    *ret_values = malloc(total * sizeof(**ret_values));
    return *ret_values
               ? 0
               : wt_fail(err, WT_E_NOMEM, "no memory for the weights of %s", b->source.name);
}

/* A head that is random in part judges nothing. */
static int check_whole(const struct bench *b, struct wt_error *err)
{
    const char *left_out = wt_hub_left_out(b->source.hub);
    if (!b->o->is_evaluated_only || !*left_out)
        return 0;
    return wt_fail(err, WT_E_FORMAT, "--evaluate-only: %s has no tensor %.200s", b->source.folder,
                   left_out);
}

int bench_load_weights(struct bench *b, struct wt_error *err)
{
    float *values = NULL;
    int rc = values_of(b, &values, err);
    if (rc == 0) /* what the folder leaves out stays as it was made */
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = wt_hub_load(b->source.hub, wt_model_parameters_of(b->model), values, err);
    if (rc == 0)
        rc = check_whole(b, err);
    if (rc == 0)
        rc = wt_model_set(b->model, values, err);
    free(values);
    return rc;
}

int bench_save(struct bench *b, struct wt_error *err)
{
    float *values = NULL;
    bench_begin(b, "save");
    int rc = values_of(b, &values, err);
    if (rc == 0)
        rc = wt_model_get(b->model, values, err);
    if (rc == 0)
        rc = wt_hub_save(b->o->save, &b->source.config, wt_model_parameters_of(b->model), values,
                         WT_TENSOR_F32, b->items.classes, err);
    if (rc == 0)
        rc = bench_save_vocabulary(b, b->o->save, err);
    free(values);
    int ended = bench_end(b, "save", rc < 0 ? NULL : err);
    return rc < 0 ? rc : ended;
}

/* ---- checkpoints ---- */

/* What must be the same for a run to go on as the one it was. */
static const struct {
    const char *key, *words;
} fixed[] = {
    {"seed", "--seed"},
    {"batch", "--batch"},
    {"seq", "--seq"},
    {"accumulate", "--accumulate"},
    {"sequences", "the number of sequences of the text"},
    {"vocabulary", "the size of the vocabulary"},
};

/* Text and labels, token for token. */
static const char *text_digest(char *buf, size_t size, const struct bench *b)
{
    uint64_t digest = b->corpus ? wt_corpus_digest(b->corpus) : wt_items_digest(&b->items);
    return wt_text(buf, size, "%016" PRIx64, digest);
}

static json_int_t fixed_value(const struct bench *b, size_t i)
{
    const struct bench_options *o = b->o;
    const json_int_t values[] = {
        (json_int_t)o->seed,
        o->batch,
        o->seq,
        o->accumulate,
        (json_int_t)(b->corpus ? wt_corpus_sequences(b->corpus) : b->items.order.count),
        b->vocabulary ? (json_int_t)wt_vocabulary_size(b->vocabulary) : 0,
    };
    return values[i];
}

/* Which checkpoint the folder holds; all 0: none. */
static struct bench_stamp stamp_of(const char *folder)
{
    char path[4200];
    struct stat st;
    wt_text(path, sizeof(path), "%.4000s/wattune.json", folder);
    if (stat(path, &st) < 0)
        return (struct bench_stamp){0};
    return (struct bench_stamp){st.st_dev, st.st_ino, st.st_mtim};
}

/* What another run has left there since is not ours to replace. */
static int check_stamp(const struct bench *b, struct wt_error *err)
{
    struct bench_stamp now = stamp_of(b->o->checkpoint);
    const struct bench_stamp *seen = &b->stamp;
    if (now.inode == 0 || (now.device == seen->device && now.inode == seen->inode &&
                           now.written.tv_sec == seen->written.tv_sec &&
                           now.written.tv_nsec == seen->written.tv_nsec))
        return 0;
    int rc = wt_fail(err, WT_E_STATE, "%s: another run has left a checkpoint there meanwhile",
                     b->o->checkpoint);
    wt_fix(err, "give each run a folder of its own");
    return rc;
}

int bench_checkpoint(struct bench *b, struct wt_error *err)
{
    char digest[32];
    int rc = check_stamp(b, err);
    if (rc < 0)
        return rc;
    json_t *j = json_pack(
        "{s:I, s:I, s:s, s:o, s:o, s:o}", "step", (json_int_t)bench_step(b), "place",
        (json_int_t)(b->corpus ? wt_corpus_place(b->corpus) : wt_items_place(&b->items)), "text",
        text_digest(digest, sizeof(digest), b), "loss_first", wt_json_number(b->loss_first),
        "loss_last", wt_json_number(b->loss_last), "loss_smooth", wt_json_number(b->loss_smooth));
    for (size_t i = 0; i < WT_COUNTOF(fixed); i++)
        json_object_set_new(j, fixed[i].key, json_integer(fixed_value(b, i)));
    char *position = j ? json_dumps(j, JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    if (!position)
        return wt_fail(err, WT_E_NOMEM, "no memory for a checkpoint");
    struct wt_error note;
    bench_begin(b, "checkpoint");
    rc = wt_checkpoint_save(b->o->checkpoint, b->model, position, b->items.classes, &note, err);
    free(position);
    b->stamp = stamp_of(b->o->checkpoint);
    int ended = bench_end(b, "checkpoint", rc < 0 ? NULL : err);
    rc = rc < 0 ? rc : ended;
    if (note.code < 0) {
        bench_clear_line(b);
        fprintf(stderr, "%s: the checkpoint from before could not be removed: %s\n", PROGRAM,
                note.text);
    }
    return rc;
}

static double number_of(const json_t *j, const char *key)
{
    const json_t *value = json_object_get(j, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int take_position(struct bench *b, const json_t *j, struct wt_error *err)
{
    const char *folder = b->o->checkpoint;
    json_int_t step = json_integer_value(json_object_get(j, "step")),
               place = json_integer_value(json_object_get(j, "place"));
    if (step < 0 || place < 0 || !json_is_integer(json_object_get(j, "step")) ||
        !json_is_integer(json_object_get(j, "place")))
        return wt_fail(err, WT_E_FORMAT, "%s: it does not say where the run stood", folder);
    for (size_t i = 0; i < WT_COUNTOF(fixed); i++) {
        json_int_t was = json_integer_value(json_object_get(j, fixed[i].key)),
                   is = fixed_value(b, i);
        if (was != is)
            return wt_fail(err, WT_E_USAGE,
                           "%s: %s was %" JSON_INTEGER_FORMAT ", and is %" JSON_INTEGER_FORMAT
                           " here",
                           folder, fixed[i].words, was, is);
    }
    /* Of checkpoints that say it. */
    char digest[32];
    const char *text = json_string_value(json_object_get(j, "text"));
    if (text && strcmp(text, text_digest(digest, sizeof(digest), b)) != 0) {
        int rc = wt_fail(err, WT_E_USAGE,
                         "%s: was trained on another text than %s: as many sequences, not the "
                         "same ones",
                         folder, b->o->data ? b->o->data : "this one");
        wt_fix(err, "give the text and the vocabulary it was begun with");
        return rc;
    }
    /* A masked model passes over batches in which it knows no word; others do not. */
    unsigned __int128 least = (unsigned __int128)step * b->o->batch * b->o->accumulate;
    bool passes_over = b->corpus && b->source.config.family != WT_FAMILY_GPT2;
    if ((uint64_t)place < least || ((uint64_t)place > least && !passes_over))
        return wt_fail(err, WT_E_FORMAT,
                       "%s: it is damaged: of %" JSON_INTEGER_FORMAT
                       " steps, its place cannot be %" JSON_INTEGER_FORMAT,
                       folder, step, place);
    if (b->o->steps && (uint64_t)step >= b->o->steps)
        return wt_fail(err, WT_E_USAGE,
                       "%s: %" JSON_INTEGER_FORMAT " steps are done, and --steps %" PRIu64
                       " counts those before as well",
                       folder, step, b->o->steps);
    b->step_from = (uint64_t)step;
    b->loss_first = number_of(j, "loss_first");
    b->loss_last = b->loss_resumed = number_of(j, "loss_last");
    b->loss_smooth = number_of(j, "loss_smooth");
    if (b->corpus)
        wt_corpus_seek(b->corpus, (uint64_t)place);
    else
        wt_items_seek(&b->items, (uint64_t)place);
    return 0;
}

int bench_resume(struct bench *b, struct wt_error *err)
{
    char *position = NULL;
    b->stamp = stamp_of(b->o->checkpoint);
    int rc = wt_checkpoint_load(b->o->checkpoint, b->model, &position, err);
    if (rc < 0)
        return rc;
    json_t *j = json_loads(position, JSON_REJECT_DUPLICATES, NULL);
    rc = take_position(b, j, err);
    json_decref(j);
    free(position);
    return rc;
}
