/* Writing and reading checkpoints. */
#include "workload/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/digest.h"
#include "workload/hub.h"

#define STATE_NAME      "wattune.json"
#define STATE_MAX_BYTES (1u << 20)
#define STATE_FORMAT    1

static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* ---- the moments: two tensors for each of the model's ---- */

struct moments {
    struct wt_tensor_source *sources; /* [2 count] */
    char (*names)[128];
    size_t count;
};

static int moments_init(struct moments *ret, const struct wt_parameters *p, const float *first,
                        const float *second, struct wt_error *err)
{
    struct moments m = {.count = 2 * p->tensor_count};
    m.sources = calloc(m.count, sizeof(*m.sources));
    m.names = calloc(m.count, sizeof(*m.names));
    if (!m.sources || !m.names) {
        free(m.sources);
        free(m.names);
        return wt_fail(err, WT_E_NOMEM, "no memory for a list of tensors");
    }
    for (size_t i = 0; i < m.count; i++) {
        const struct wt_parameter *t = &p->tensors[i / 2];
        wt_text(m.names[i], sizeof(m.names[i]), "%s.%s", i % 2 ? "second" : "first", t->name);
        /* As they lie: only this program reads them. */
        uint64_t size = t->rank == 2 ? t->shape[0] * t->shape[1] : t->shape[0];
        m.sources[i] = (struct wt_tensor_source){.name = m.names[i],
                                                 .type = WT_TENSOR_F32,
                                                 .rank = 1,
                                                 .shape = {size},
                                                 .values = (i % 2 ? second : first) + t->at};
    }
    *ret = m;
    return 0;
}

static void moments_done(struct moments *m)
{
    free(m->sources);
    free(m->names);
}

/* ---- saving ---- */

/* As text: a number of JSON has no 64 bits. */
static const char *digest_text(char *buf, size_t size, const float *values, size_t count)
{
    return wt_text(buf, size, "%016" PRIx64, wt_digest(WT_DIGEST_BEGIN, values, count));
}

/* weights: their digest. */
static int save_state(const char *path, uint64_t steps, const char *position, const char *weights,
                      struct wt_error *err)
{
    json_error_t where;
    json_t *data = json_loads(position, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(data)) {
        json_decref(data);
        return wt_fail(err, WT_E_USAGE, "the position in the text is no JSON object");
    }
    json_t *state = json_pack("{s:i, s:I, s:s, s:o}", "format", STATE_FORMAT, "steps",
                              (json_int_t)steps, "weights", weights, "position", data);
    char *text = state ? json_dumps(state, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(state);
    int rc = text ? wt_file_replace(path, text, strlen(text), err)
                  : wt_fail(err, WT_E_NOMEM, "%s: no memory", path);
    free(text);
    return rc;
}

/* All files of a checkpoint, into a folder of their own. */
static int save_all(const char *folder, struct wt_model *model, const char *position,
                    char *const *classes, struct wt_error *err)
{
    char weights[32] = "";
    const struct wt_parameters *p = wt_model_parameters_of(model);
    float *a = malloc(p->total * sizeof(*a)), *b = malloc(p->total * sizeof(*b));
    char *optimizer = join(folder, "optimizer.safetensors"), *state = join(folder, STATE_NAME);
    struct moments moments = {0};
    uint64_t steps = 0;
    int rc = 0;
    if (!a || !b || !optimizer || !state) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a checkpoint of %zu parameters", p->total);
        goto out;
    }
    rc = wt_model_get(model, a, err);
    if (rc == 0)
        rc = wt_hub_save(folder, wt_model_config_of(model), p, a, WT_TENSOR_F32, classes, err);
    if (rc == 0) {
        digest_text(weights, sizeof(weights), a, p->total);
        rc = wt_model_get_optimizer(model, a, b, &steps, err);
    }
    if (rc == 0)
        rc = moments_init(&moments, p, a, b, err);
    if (rc == 0)
        rc = wt_safetensors_write(optimizer, moments.sources, moments.count, err);
    if (rc == 0)
        rc = save_state(state, steps, position, weights, err);
out:
    moments_done(&moments);
    free(a);
    free(b);
    free(optimizer);
    free(state);
    return rc;
}

/* ---- whose it is ---- */

static struct wt_checkpoint_stamp stamp_of(const char *folder)
{
    struct wt_checkpoint_stamp stamp = {0};
    struct stat st;
    char *state = join(folder, STATE_NAME);
    if (state && stat(state, &st) == 0)
        stamp = (struct wt_checkpoint_stamp){st.st_dev, st.st_ino, st.st_mtim};
    free(state);
    return stamp;
}

/* What another run has left there is not this one's to replace. */
static int check_stamp(const char *folder, const struct wt_checkpoint_stamp *known,
                       struct wt_error *err)
{
    struct wt_checkpoint_stamp now = stamp_of(folder);
    if (!known || now.inode == 0 ||
        (now.device == known->device && now.inode == known->inode &&
         now.written.tv_sec == known->written.tv_sec &&
         now.written.tv_nsec == known->written.tv_nsec))
        return 0;
    int rc =
        wt_fail(err, WT_E_STATE, "%s: another run has left a checkpoint there meanwhile", folder);
    wt_fix(err, "give each run a folder of its own");
    return rc;
}

static void sync_parent(const char *path)
{
    char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash)
        *slash = '\0';
    int fd = open(!slash ? "." : *parent ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(parent);
}

/* ---- what a run that was killed has left ---- */

/* Whether all that is in it could be of a checkpoint, files half written included. */
static bool has_only_ours(const char *folder)
{
    static const char *const names[] = {"config.json", "model.safetensors", "optimizer.safetensors",
                                        STATE_NAME};
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    bool is_ours = dir != NULL;
    while (is_ours && (entry = readdir(dir))) {
        is_ours = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < WT_COUNTOF(names); i++)
            is_ours |= strncmp(entry->d_name, names[i], strlen(names[i])) == 0;
    }
    if (dir)
        closedir(dir);
    return is_ours;
}

/* ".PID.new" or ".PID.old" of a process that is no more, or of this one, which had its number. */
static bool is_of_the_dead(const char *end)
{
    char *behind = NULL;
    if (end[0] != '.' || end[1] < '1' || end[1] > '9')
        return false;
    errno = 0;
    long pid = strtol(end + 1, &behind, 10);
    if (errno || pid > INT_MAX || (strcmp(behind, ".new") != 0 && strcmp(behind, ".old") != 0))
        return false;
    return pid == getpid() || (kill((pid_t)pid, 0) < 0 && errno == ESRCH);
}

/* Where the folder itself is no checkpoint, one beside it that is whole may be all there is. */
static void remove_left(const char *folder, bool has_checkpoint)
{
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    size_t length = strlen(name);
    char *parent = slash ? strndup(folder, (size_t)(slash - folder) + 1) : strdup(".");
    DIR *dir = parent ? opendir(parent) : NULL;
    const struct dirent *entry;
    struct stat st;
    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, name, length) != 0 || !is_of_the_dead(entry->d_name + length))
            continue;
        char *path = join(parent, entry->d_name), *state = path ? join(path, STATE_NAME) : NULL;
        if (state && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && has_only_ours(path) &&
            (has_checkpoint || access(state, F_OK) < 0))
            wt_fs_remove_tree(path, NULL);
        free(path);
        free(state);
    }
    if (dir)
        closedir(dir);
    free(parent);
}

/* ---- one folder for another ---- */

/* Where a file system cannot exchange: for a moment there is only the old one, as old. */
static int replace_by_turns(const char *fresh, const char *folder, const char *old,
                            struct wt_error *err)
{
    if (rename(folder, old) < 0)
        return wt_fail_errno(err, errno, "writing %s", folder);
    if (rename(fresh, folder) == 0)
        return 0;
    int rc = wt_fail_errno(err, errno, "writing %s", folder);
    if (rename(old, folder) < 0)
        wt_fix(err, "the checkpoint from before is %s", old);
    return rc;
}

/* fresh takes folder's name. *ret_left: where the one from before then is; NULL: there was none. */
static int put_in_place(const char *fresh, const char *folder, const char *old,
                        const char **ret_left, struct wt_error *err)
{
    *ret_left = NULL;
    if (rename(fresh, folder) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return wt_fail_errno(err, errno, "writing %s", folder);
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, folder, RENAME_EXCHANGE) == 0) {
        *ret_left = fresh;
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return wt_fail_errno(err, errno, "writing %s", folder);
    int rc = replace_by_turns(fresh, folder, old, err);
    if (rc == 0)
        *ret_left = old;
    return rc;
}

int wt_checkpoint_save(const char *folder, struct wt_model *model, const char *position,
                       char *const *classes, struct wt_checkpoint_stamp *io_stamp,
                       struct wt_error *ret_note, struct wt_error *err)
{
    char *fresh = NULL, *old = NULL, *state = join(folder, STATE_NAME), *whole = strdup(folder);
    const char *left = NULL;
    struct stat st;
    int rc = 0;
    if (ret_note)
        *ret_note = (struct wt_error){0};
    if (!state || !whole) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a name");
        goto out;
    }
    for (size_t len = strlen(whole); len > 1 && whole[len - 1] == '/'; len--)
        whole[len - 1] = '\0';
    bool has_checkpoint = access(state, F_OK) == 0;
    /* What somebody else keeps there is not ours to replace; an empty folder is. */
    if (lstat(whole, &st) == 0 && !has_checkpoint && rmdir(whole) < 0) {
        rc = wt_fail(err, WT_E_USAGE, "%s: is there and is no checkpoint", folder);
        wt_fix(err, "choose another folder");
        goto out;
    }
    if (asprintf(&fresh, "%s.%ld.new", whole, (long)getpid()) < 0)
        fresh = NULL;
    if (asprintf(&old, "%s.%ld.old", whole, (long)getpid()) < 0)
        old = NULL;
    if (!fresh || !old) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a name");
        goto out;
    }
    rc = check_stamp(whole, io_stamp, err);
    if (rc < 0)
        goto out;
    remove_left(whole, has_checkpoint);
    rc = save_all(fresh, model, position, classes, err);
    struct wt_checkpoint_stamp stamp = stamp_of(fresh); /* which it keeps under its new name */
    if (rc == 0)                                        /* writing took its time */
        rc = check_stamp(whole, io_stamp, err);
    if (rc == 0)
        rc = put_in_place(fresh, whole, old, &left, err);
    if (rc == 0 && io_stamp)
        *io_stamp = stamp;
    if (rc == 0)
        sync_parent(whole);
    else if (lstat(fresh, &st) == 0)
        wt_fs_remove_tree(fresh, NULL);
    if (left)
        wt_fs_remove_tree(left, ret_note);
out:
    free(fresh);
    free(old);
    free(state);
    free(whole);
    return rc;
}

/* ---- loading ---- */

/* Names the first field in which two configurations differ. */
static int compare_configs(const char *folder, const struct wt_config *has,
                           const struct wt_config *want, struct wt_error *err)
{
    char *a = NULL, *b = NULL;
    int rc = wt_config_text(has, &a, err);
    if (rc == 0)
        rc = wt_config_text(want, &b, err);
    json_t *x = rc == 0 ? json_loads(a, 0, NULL) : NULL, *y = x ? json_loads(b, 0, NULL) : NULL;
    if (rc == 0 && (!x || !y))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a configuration");
    if (rc == 0 && has->family != want->family)
        rc = wt_fail(err, WT_E_FORMAT, "%s: is of a %s, this model is a %s", folder,
                     wt_family_name(has->family), wt_family_name(want->family));
    const char *key;
    json_t *value;
    if (rc == 0) {
        json_object_foreach(x, key, value)
        {
            if (json_equal(value, json_object_get(y, key)))
                continue;
            char *is = json_dumps(value, JSON_ENCODE_ANY);
            char *should = json_dumps(json_object_get(y, key), JSON_ENCODE_ANY);
            rc = wt_fail(err, WT_E_FORMAT, "%s: %s is %.40s, that of this model is %.40s", folder,
                         key, is ? is : "?", should ? should : "?");
            free(is);
            free(should);
            break;
        }
    }
    json_decref(x);
    json_decref(y);
    free(a);
    free(b);
    return rc;
}

/* ret_weights: of 32 bytes; "": a state from before they were told. */
static int load_state(const char *path, uint64_t *ret_steps, char *ret_weights, char **ret_position,
                      struct wt_error *err)
{
    char *text = NULL;
    size_t size;
    json_error_t where;
    int rc = wt_file_read(path, STATE_MAX_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    json_t *state = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (!state)
        return wt_fail(err, WT_E_FORMAT, "%s:%d: %.200s", path, where.line, where.text);
    const json_t *format = json_object_get(state, "format"),
                 *steps = json_object_get(state, "steps");
    const json_t *position = json_object_get(state, "position");
    if (!json_is_integer(format) || !json_is_integer(steps) || json_integer_value(steps) < 0 ||
        !json_is_object(position)) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: no state of a training", path);
    } else if (json_integer_value(format) != STATE_FORMAT) {
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: format %lld; %d is read", path,
                     (long long)json_integer_value(format), STATE_FORMAT);
    } else if (!(*ret_position = json_dumps(position, JSON_REAL_PRECISION(17)))) {
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory", path);
    } else {
        const char *weights = json_string_value(json_object_get(state, "weights"));
        *ret_steps = (uint64_t)json_integer_value(steps);
        wt_text(ret_weights, 32, "%.31s", weights ? weights : "");
    }
    json_decref(state);
    return rc;
}

int wt_checkpoint_load(const char *folder, struct wt_model *model, char **ret_position,
                       struct wt_checkpoint_stamp *ret_stamp, struct wt_error *err)
{
    struct wt_checkpoint_stamp stamp = stamp_of(folder); /* before any of it is read */
    const struct wt_parameters *p = wt_model_parameters_of(model);
    struct wt_hub *hub = NULL;
    struct wt_safetensors *file = NULL;
    struct moments moments = {0};
    char *optimizer = join(folder, "optimizer.safetensors"), *path = join(folder, STATE_NAME);
    char *position = NULL;
    float *values = malloc(p->total * sizeof(*values)), *first = malloc(p->total * sizeof(*first));
    float *second = malloc(p->total * sizeof(*second));
    uint64_t steps = 0;
    char weights[32] = "", digest[32];
    int rc = 0;
    if (!values || !first || !second || !optimizer || !path) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a checkpoint of %zu parameters", p->total);
        goto out;
    }
    rc = load_state(path, &steps, weights, &position, err);
    if (rc == 0)
        rc = wt_hub_open(&hub, folder, err);
    if (rc == 0)
        rc = compare_configs(folder, wt_hub_config(hub), wt_model_config_of(model), err);
    unsigned classes = wt_parameters_classes(p);
    if (rc == 0 && classes && wt_hub_classes(hub) && wt_hub_classes(hub) != classes)
        rc = wt_fail(err, WT_E_FORMAT, "%s: is of a classifier of %u classes, this one has %u",
                     folder, wt_hub_classes(hub), classes);
    if (rc == 0)
        rc = wt_hub_load(hub, p, values, err);
    if (rc == 0 && *wt_hub_left_out(hub))
        rc = wt_fail(err, WT_E_FORMAT, "%s: is of a model for another task: has no %.200s", folder,
                     wt_hub_left_out(hub));
    if (rc == 0 && weights[0] &&
        strcmp(weights, digest_text(digest, sizeof(digest), values, p->total)) != 0)
        rc = wt_fail(err, WT_E_FORMAT,
                     "%s: the weights in model.safetensors are not those that the checkpoint was "
                     "left with",
                     folder);
    if (rc == 0)
        rc = wt_safetensors_open(&file, optimizer, err);
    if (rc == 0)
        rc = moments_init(&moments, p, first, second, err);
    for (size_t i = 0; rc == 0 && i < moments.count; i++)
        rc = wt_safetensors_read(file, moments.sources[i].name, 1, moments.sources[i].shape,
                                 (i % 2 ? second : first) + p->tensors[i / 2].at, err);
    if (rc == 0)
        rc = wt_model_set(model, values, err);
    if (rc == 0)
        rc = wt_model_set_optimizer(model, first, second, steps, err);
    if (rc == 0) {
        *ret_position = position;
        position = NULL;
        if (ret_stamp)
            *ret_stamp = stamp;
    }
out:
    if (file)
        wt_safetensors_close(file);
    wt_hub_close(hub);
    moments_done(&moments);
    free(values);
    free(first);
    free(second);
    free(position);
    free(optimizer);
    free(path);
    return rc;
}
