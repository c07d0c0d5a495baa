/* Where a run may leave its model and its checkpoints: looked at before any work. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"

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

/* The path of a folder that is there or will be, without links and dots as far as it is there. */
static void resolve(char *buf, size_t size, const char *path)
{
    char head[4096], whole[PATH_MAX];
    wt_text(head, sizeof(head), "%.4000s", path);
    for (size_t n = strlen(head); n > 1 && head[n - 1] == '/'; n--)
        head[n - 1] = '\0';
    const char *rest = "";
    char tail[4096] = "";
    for (;;) {
        char *slash = strrchr(head, '/');
        if (realpath(*head ? head : "/", whole)) {
            wt_text(buf, size, "%s%s%s", strcmp(whole, "/") == 0 ? "" : whole, *rest ? "/" : "",
                    rest);
            return;
        }
        if (strcmp(head, ".") == 0) { /* not even that is there */
            wt_text(buf, size, "%s", path);
            return;
        }
        char longer[4096];
        wt_text(longer, sizeof(longer), "%.2000s%s%.2000s", slash ? slash + 1 : head,
                *rest ? "/" : "", rest);
        wt_text(tail, sizeof(tail), "%s", longer);
        rest = tail;
        if (slash)
            *slash = '\0';
        else
            wt_text(head, sizeof(head), ".");
    }
}

/* Whether a folder is the other one or below it. */
static bool is_within(const char *path, const char *folder)
{
    char a[PATH_MAX + 4200], b[PATH_MAX + 4200];
    resolve(a, sizeof(a), path);
    resolve(b, sizeof(b), folder);
    size_t size = strlen(b);
    return strncmp(a, b, size) == 0 && (a[size] == '\0' || a[size] == '/');
}

/* Of a model, as far as Wattune or transformers would read it. */
static bool is_of_a_model(const char *name)
{
    return wt_text_ends_in(name, ".safetensors") ||
           wt_text_ends_in(name, ".safetensors.index.json") ||
           strncmp(name, "pytorch_model", strlen("pytorch_model")) == 0 ||
           bench_is_of_a_tokenizer(name);
}

/* What would stay beside the model that is written is of another one. */
static int check_save(const struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    bool is_checkpoint;
    steps_there(o->save, &is_checkpoint);
    /* What lies in a checkpoint's folder goes with the next one. */
    if (is_checkpoint || (o->checkpoint && is_within(o->save, o->checkpoint))) {
        int rc = wt_fail(err, WT_E_USAGE, "--save %s: is a checkpoint's folder%s", o->save,
                         is_checkpoint ? "" : ", or in it");
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
