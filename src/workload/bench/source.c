/* A model by its name, its config.json or its folder. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/bench/bench.h"

/* Sizes: Devlin et al. 2018 (base, large), Turc et al. 2019 (tiny to medium), Sanh et al. 2019
 * (DistilBERT), Radford et al. 2019 (GPT-2). Vocabularies are those of the published models: one
 * with fewer entries leaves rows unused, so that the work of a step is the model's and not the
 * text's. */
static const struct {
    const char *name;
    enum wt_family family;
    unsigned layers, hidden, heads;
} named[] = {
    {"bert-tiny", WT_FAMILY_BERT, 2, 128, 2},
    {"bert-mini", WT_FAMILY_BERT, 4, 256, 4},
    {"bert-small", WT_FAMILY_BERT, 4, 512, 8},
    {"bert-medium", WT_FAMILY_BERT, 8, 512, 8},
    {"bert-base", WT_FAMILY_BERT, 12, 768, 12},
    {"bert-large", WT_FAMILY_BERT, 24, 1024, 16},
    {"distilbert-base", WT_FAMILY_DISTILBERT, 6, 768, 12},
    {"gpt2", WT_FAMILY_GPT2, 12, 768, 12},
    {"gpt2-medium", WT_FAMILY_GPT2, 24, 1024, 16},
    {"gpt2-large", WT_FAMILY_GPT2, 36, 1280, 20},
    {"gpt2-xl", WT_FAMILY_GPT2, 48, 1600, 25},
};

static struct wt_config config_of(enum wt_family family, unsigned layers, unsigned hidden,
                                  unsigned heads)
{
    bool is_gpt2 = family == WT_FAMILY_GPT2;
    return (struct wt_config){
        .family = family,
        .layers = layers,
        .hidden = hidden,
        .heads = heads,
        .ffn = 4 * hidden,
        .vocab = is_gpt2 ? 50257 : 30522,
        .positions = is_gpt2 ? 1024 : 512,
        .types = family == WT_FAMILY_BERT ? 2 : 0,
        .activation = is_gpt2 ? WT_GELU_NEW : WT_GELU,
        .norm_epsilon = is_gpt2 ? 1e-5 : 1e-12,
        .dropout_hidden = 0.1,
        .dropout_attention = 0.1,
        .dropout_embedding = 0.1,
        .initializer_range = 0.02,
    };
}

static bool is_there(const char *folder, const char *file)
{
    char path[4096];
    return access(wt_text(path, sizeof(path), "%s/%s", folder, file), F_OK) == 0;
}

static int find_folder(struct bench_source *s, const char *path, struct wt_error *err)
{
    char config[4096];
    if (strlen(path) >= sizeof(s->folder))
        return wt_fail(err, WT_E_USAGE, "%.100s...: a path of %zu bytes", path, strlen(path));
    int rc =
        wt_config_read(&s->config, wt_text(config, sizeof(config), "%s/config.json", path), err);
    if (rc < 0)
        return rc;
    wt_text(s->folder, sizeof(s->folder), "%s", path);
    for (size_t n = strlen(s->folder); n > 1 && s->folder[n - 1] == '/'; n--)
        s->folder[n - 1] = '\0';
    const char *slash = strrchr(s->folder, '/');
    wt_text(s->name, sizeof(s->name), "%.100s", slash && slash[1] ? slash + 1 : s->folder);
    s->has_weights = is_there(path, "model.safetensors");
    if (!s->has_weights && is_there(path, "pytorch_model.bin"))
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s: pytorch_model.bin is not read; model.safetensors is", path);
    if (!s->has_weights && is_there(path, "model.safetensors.index.json"))
        return wt_fail(err, WT_E_UNSUPPORTED,
                       "%s: weights in several files are not read; one model.safetensors is", path);
    s->has_vocabulary = is_there(path, "tokenizer.json") || is_there(path, "vocab.txt") ||
                        is_there(path, "vocab.json");
    return 0;
}

int bench_source_find(struct bench_source *ret, const char *model, struct wt_error *err)
{
    struct bench_source s = {.name = ""};
    struct stat st;
    int rc = 0;
    for (size_t i = 0; i < WT_COUNTOF(named); i++)
        if (strcmp(model, named[i].name) == 0) {
            s.config = config_of(named[i].family, named[i].layers, named[i].hidden, named[i].heads);
            wt_text(s.name, sizeof(s.name), "%s", model);
            *ret = s;
            return 0;
        }
    bool is_path = strchr(model, '/') || strchr(model, '.');
    if (stat(model, &st) == 0 && S_ISDIR(st.st_mode)) {
        rc = find_folder(&s, model, err);
    } else if (is_path) {
        rc = wt_config_read(&s.config, model, err);
        const char *slash = strrchr(model, '/');
        wt_text(s.name, sizeof(s.name), "%.100s", slash ? slash + 1 : model);
    } else {
        char names[240] = "";
        for (size_t i = 0; i < WT_COUNTOF(named); i++) {
            size_t length = strlen(names);
            wt_text(names + length, sizeof(names) - length, "%s%s", i ? ", " : "", named[i].name);
        }
        rc = wt_fail(err, WT_E_USAGE, "no model is called '%s', and no folder", model);
        wt_fix(err, "choose one of: %.200s", names);
    }
    if (rc == 0)
        *ret = s;
    return rc;
}
