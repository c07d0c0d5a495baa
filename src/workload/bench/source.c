/* A model by its name, its config.json or its folder. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"

static bool is_there(const char *folder, const char *file)
{
    char path[4096];
    return access(wt_text(path, sizeof(path), "%s/%s", folder, file), F_OK) == 0;
}

static int find_folder(struct bench_source *s, const char *path, struct wt_error *err)
{
    char config[4096];
    int rc = 0;
    if (strlen(path) >= sizeof(s->folder))
        return wt_fail(err, WT_E_USAGE, "%.100s...: a path of %zu bytes", path, strlen(path));
    wt_text(s->folder, sizeof(s->folder), "%s", path);
    for (size_t n = strlen(s->folder); n > 1 && s->folder[n - 1] == '/'; n--)
        s->folder[n - 1] = '\0';
    const char *slash = strrchr(s->folder, '/');
    wt_text(s->name, sizeof(s->name), "%.100s", slash && slash[1] ? slash + 1 : s->folder);
    if (is_there(path, "model.safetensors") || is_there(path, "model.safetensors.index.json")) {
        rc = wt_hub_open(&s->hub, path, err);
        if (rc == 0)
            s->config = *wt_hub_config(s->hub);
    } else {
        wt_text(config, sizeof(config), "%s/config.json", path);
        rc = wt_config_read(&s->config, config, err);
        if (rc == 0 && is_there(path, "pytorch_model.bin"))
            rc = wt_fail(err, WT_E_UNSUPPORTED,
                         "%s: pytorch_model.bin is not read; model.safetensors is", path);
    }
    s->has_vocabulary = is_there(path, "tokenizer.json") || is_there(path, "vocab.txt") ||
                        is_there(path, "vocab.json");
    return rc;
}

/* Many are called config.json: those by their folder. */
static void name_of_file(char *name, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/'), *from = slash ? slash + 1 : path;
    if (!slash || strcmp(from, "config.json") != 0) {
        wt_text(name, size, "%.100s", from);
        return;
    }
    for (from = slash; from > path && from[-1] != '/';)
        from--;
    bool says_nothing = from == slash || from[0] == '.';
    wt_text(name, size, "%.*s", says_nothing ? 100 : (int)(slash - from < 100 ? slash - from : 100),
            says_nothing ? slash + 1 : from);
}

int bench_source_find(struct bench_source *ret, const char *model, struct wt_error *err)
{
    struct bench_source s = {.name = ""};
    struct stat st;
    int rc = 0;
    bool is_path = strchr(model, '/') || strchr(model, '.'); /* no name has either */
    if (stat(model, &st) == 0 && S_ISDIR(st.st_mode)) {
        rc = find_folder(&s, model, err);
    } else if (is_path) {
        rc = wt_config_read(&s.config, model, err);
        name_of_file(s.name, sizeof(s.name), model);
    } else {
        rc = wt_config_named(&s.config, model, err);
        if (rc < 0 && err)
            err->code = rc = WT_E_USAGE;
        wt_text(s.name, sizeof(s.name), "%.100s", model);
    }
    if (rc == 0)
        *ret = s;
    return rc;
}

void bench_source_done(struct bench_source *s)
{
    wt_hub_close(s->hub);
    s->hub = NULL;
}
