/* Hugging Face folders: which file has a tensor, and under which of its names. */
#include "workload/hub.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"

#define INDEX_MAX_BYTES (16u << 20)
#define SHARDS_MOST     1000

/* How a family calls its tensors. */
static const struct {
    const char
        *prefix; /* of the body's tensors in models with a head; files of bare models lack it */
    const char *layers; /* behind the prefix */
    const char *class_weight;
} families[] = {
    [WT_FAMILY_BERT] = {"bert.", "encoder.layer.", "classifier.weight"},
    [WT_FAMILY_DISTILBERT] = {"distilbert.", "transformer.layer.", "classifier.weight"},
    [WT_FAMILY_GPT2] = {"transformer.", "h.", "score.weight"},
};

/* Ends of names of layers' buffers: values that follow from the configuration. */
static const char *const buffers[] = {"attn.bias", "attn.masked_bias"};

/* The same tensor under another name. */
static const struct {
    const char *end, *other;
} aliases[] = {
    {"LayerNorm.weight", "LayerNorm.gamma"},
    {"LayerNorm.bias", "LayerNorm.beta"},
    {"cls.predictions.bias", "cls.predictions.decoder.bias"},
};

struct shard {
    char *name; /* of the file */
    struct wt_safetensors *file;
    bool *is_used; /* by the last load */
};

struct wt_hub {
    char *folder;
    struct wt_config config;
    struct shard *shards;
    size_t shard_count;
    json_t *index; /* weight_map; NULL: one file */
    char *left_out;
    char **labels; /* [classes] */
    unsigned classes;
    const char *label_flaw; /* why they are none; NULL */
    char *problem;          /* that is another one than to choose a class; NULL */
    bool has_no_classifier; /* whatever the files have */
};

/* ---- text ---- */

static char *join(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static int append(char **list, const char *name, struct wt_error *err)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? " " : "", name) < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for a list of names");
    free(*list);
    *list = longer;
    return 0;
}

/* ---- opening ---- */

static int open_shard(struct wt_hub *hub, const char *name, struct wt_error *err)
{
    for (size_t i = 0; i < hub->shard_count; i++)
        if (strcmp(hub->shards[i].name, name) == 0)
            return 0;
    struct shard *more = realloc(hub->shards, (hub->shard_count + 1) * sizeof(*more));
    if (!more)
        return wt_fail(err, WT_E_NOMEM, "no memory for a list of files");
    hub->shards = more;
    struct shard *s = &hub->shards[hub->shard_count];
    *s = (struct shard){.name = strdup(name)};
    char *path = join(hub->folder, name);
    int rc = s->name && path ? wt_safetensors_open(&s->file, path, err)
                             : wt_fail(err, WT_E_NOMEM, "no memory for a name");
    free(path);
    hub->shard_count++; /* close() frees what there is of it */
    if (rc < 0)
        return rc;
    s->is_used = calloc(wt_safetensors_count(s->file) + 1, sizeof(*s->is_used));
    return s->is_used ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a list of tensors");
}

static int open_index(struct wt_hub *hub, const char *path, struct wt_error *err)
{
    char *text = NULL;
    size_t size;
    json_error_t where;
    int rc = wt_file_read(path, INDEX_MAX_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (!object)
        return wt_fail(err, WT_E_FORMAT, "%s:%d: %.200s", path, where.line, where.text);
    json_t *map = json_object_get(object, "weight_map");
    if (!json_is_object(map)) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: weight_map is not there or no object", path);
        goto out;
    }
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        /* Files of this folder only, whatever the index says. */
        if (!name || !*name || strchr(name, '/') || !wt_text_ends_in(name, ".safetensors")) {
            rc = wt_fail(err, WT_E_FORMAT,
                         "%s: \"%.100s\" is in no .safetensors file of the folder", path, tensor);
            goto out;
        }
        rc = open_shard(hub, name, err);
        if (rc < 0)
            goto out;
        if (hub->shard_count > SHARDS_MOST) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: names more than %d files", path, SHARDS_MOST);
            goto out;
        }
        const struct shard *s = NULL;
        for (size_t i = 0; i < hub->shard_count; i++)
            if (strcmp(hub->shards[i].name, name) == 0)
                s = &hub->shards[i];
        if (!s || !wt_safetensors_find(s->file, tensor)) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: \"%.100s\" is not in %s", path, tensor, name);
            goto out;
        }
    }
    hub->index = json_incref(map);
out:
    json_decref(object);
    return rc;
}

static bool is_there(const char *folder, const char *name)
{
    char *path = join(folder, name);
    bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

void wt_hub_close(struct wt_hub *hub)
{
    if (!hub)
        return;
    for (size_t i = 0; i < hub->shard_count; i++) {
        free(hub->shards[i].name);
        free(hub->shards[i].is_used);
        if (hub->shards[i].file)
            wt_safetensors_close(hub->shards[i].file);
    }
    free(hub->shards);
    json_decref(hub->index);
    wt_hub_drop_classifier(hub);
    free(hub->labels);
    free(hub->problem);
    free(hub->folder);
    free(hub->left_out);
    free(hub);
}

const struct wt_config *wt_hub_config(const struct wt_hub *hub)
{
    return &hub->config;
}

const char *wt_hub_left_out(const struct wt_hub *hub)
{
    return hub->left_out ? hub->left_out : "";
}

/* ---- finding ---- */

struct place {
    struct shard *shard;
    const struct wt_tensor *tensor;
    const struct shard *other; /* has one of this name, too; NULL: none, or the index decides */
};

/* The index's word for where a tensor is; NULL: it has none for it, or there is no index. */
static const char *indexed(const struct wt_hub *hub, const char *name)
{
    return hub->index ? json_string_value(json_object_get(hub->index, name)) : NULL;
}

/* By exactly this name. A copy in a file that the index does not name for it is an old one. */
static bool look(const struct wt_hub *hub, const char *name, bool by_index, struct place *ret_place)
{
    const char *file = indexed(hub, name);
    struct place place = {0};
    if (by_index != (file != NULL))
        return false;
    for (size_t i = 0; i < hub->shard_count; i++) {
        struct shard *s = &hub->shards[i];
        const struct wt_tensor *t =
            file && strcmp(s->name, file) != 0 ? NULL : wt_safetensors_find(s->file, name);
        if (t && place.tensor)
            place.other = s;
        else if (t)
            place = (struct place){s, t, NULL};
    }
    if (place.tensor)
        *ret_place = place;
    return place.tensor != NULL;
}

/* By this name or the one without the family's prefix. */
static bool look_both(const struct wt_hub *hub, const char *name, bool by_index,
                      struct place *ret_place)
{
    const char *prefix = families[hub->config.family].prefix;
    size_t len = strlen(prefix);
    return look(hub, name, by_index, ret_place) ||
           (strncmp(name, prefix, len) == 0 && look(hub, name + len, by_index, ret_place));
}

static bool look_all(const struct wt_hub *hub, const char *name, bool by_index,
                     struct place *ret_place)
{
    if (look_both(hub, name, by_index, ret_place))
        return true;
    for (size_t i = 0; i < WT_COUNTOF(aliases); i++) {
        if (!wt_text_ends_in(name, aliases[i].end))
            continue;
        char other[128];
        wt_text(other, sizeof(other), "%.*s%s", (int)(strlen(name) - strlen(aliases[i].end)), name,
                aliases[i].other);
        if (look_both(hub, other, by_index, ret_place))
            return true;
    }
    return false;
}

/* What the index has, under whatever name, goes before what only a file has. */
static bool find(const struct wt_hub *hub, const char *name, struct place *ret_place)
{
    return look_all(hub, name, true, ret_place) || look_all(hub, name, false, ret_place);
}

/* ---- the classifier ---- */

static unsigned count_classes(const struct wt_hub *hub)
{
    struct place place;
    if (!find(hub, families[hub->config.family].class_weight, &place) || place.tensor->rank != 2 ||
        place.tensor->shape[0] > 1u << 20)
        return 0;
    return (unsigned)place.tensor->shape[0];
}

/* Whether each class has a name that no other has. */
static bool is_naming(const json_t *names, unsigned classes)
{
    json_t *seen = json_object();
    bool is_whole = json_object_size(names) == classes;
    for (unsigned i = 0; is_whole && i < classes; i++) {
        char number[16];
        const char *name =
            json_string_value(json_object_get(names, wt_text(number, sizeof(number), "%u", i)));
        is_whole = name && !json_object_get(seen, name);
        if (is_whole)
            json_object_set_new(seen, name, json_true());
    }
    json_decref(seen);
    return is_whole;
}

static int read_labels(struct wt_hub *hub, const char *path, struct wt_error *err)
{
    char *text = NULL;
    size_t size;
    unsigned classes = count_classes(hub);
    if (classes == 0)
        return 0;
    int rc = wt_file_read(path, WT_CONFIG_MAX_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    json_t *config = json_loadb(text, size, 0, NULL);
    const json_t *names = json_object_get(config, "id2label");
    const char *problem = json_string_value(json_object_get(config, "problem_type"));
    free(text);
    if (names && !json_is_null(names) && !is_naming(names, classes))
        hub->label_flaw = "id2label does not name each class once";
    if (problem && strcmp(problem, "single_label_classification") != 0)
        hub->problem = strdup(problem);
    hub->labels = calloc(classes, sizeof(*hub->labels));
    for (unsigned i = 0; hub->labels && i < classes; i++) {
        char number[16];
        wt_text(number, sizeof(number), "%u", i);
        const char *name = json_string_value(json_object_get(names, number));
        if ((name ? asprintf(&hub->labels[i], "%s", name)
                  : asprintf(&hub->labels[i], "LABEL_%u", i)) < 0) {
            hub->labels[i] = NULL;
            break;
        }
        hub->classes++;
    }
    json_decref(config);
    return hub->classes == classes ? 0
                                   : wt_fail(err, WT_E_NOMEM, "%s: no memory for its labels", path);
}

unsigned wt_hub_classes(const struct wt_hub *hub)
{
    return hub->classes;
}

char *const *wt_hub_labels(const struct wt_hub *hub, struct wt_error *err)
{
    if (!hub->classes)
        return NULL;
    if (hub->label_flaw) {
        wt_fail(err, WT_E_FORMAT, "%s/config.json: %s of the %u that the classifier has",
                hub->folder, hub->label_flaw, hub->classes);
        wt_fix(err, "mend it; without id2label classes are called by their numbers");
        return NULL;
    }
    if (hub->problem) {
        wt_fail(
            err, WT_E_UNSUPPORTED,
            "%s/config.json: problem_type is \"%.40s\"; single_label_classification is computed",
            hub->folder, hub->problem);
        return NULL;
    }
    return hub->labels;
}

void wt_hub_drop_classifier(struct wt_hub *hub)
{
    for (unsigned i = 0; i < hub->classes; i++)
        free(hub->labels[i]);
    hub->classes = 0;
    hub->has_no_classifier = true;
}

/* ---- opening a folder ---- */

int wt_hub_open(struct wt_hub **ret_hub, const char *folder, struct wt_error *err)
{
    struct wt_hub *hub = calloc(1, sizeof(*hub));
    char *config = join(folder, "config.json");
    char *index = join(folder, "model.safetensors.index.json");
    int rc = 0;
    if (!hub || !config || !index || !(hub->folder = strdup(folder))) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a model's folder");
        goto out;
    }
    rc = wt_config_read(&hub->config, config, err);
    if (rc < 0)
        goto out;
    if (!is_there(folder, "model.safetensors") && is_there(folder, "model.safetensors.index.json"))
        rc = open_index(hub, index, err);
    else
        rc = open_shard(hub, "model.safetensors", err);
    if (rc == WT_E_NOTFOUND && is_there(folder, "pytorch_model.bin"))
        wt_fix(err, "pytorch_model.bin is not read: have transformers write the folder again with "
                    "save_pretrained(), which makes model.safetensors");
    if (rc == 0)
        rc = read_labels(hub, config, err);
    if (rc < 0)
        goto out;
    *ret_hub = hub;
    hub = NULL;
out:
    wt_hub_close(hub);
    free(config);
    free(index);
    return rc;
}

/* ---- loading ---- */

static void transpose(float *to, const float *from, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            to[c * rows + r] = from[r * columns + c];
}

static int load_one(struct wt_hub *hub, const struct wt_parameter *p, bool is_classifier,
                    float *values, struct wt_error *err)
{
    struct place place;
    if ((is_classifier && hub->has_no_classifier) || !find(hub, p->name, &place)) {
        if (p->is_optional)
            return append(&hub->left_out, p->name, err);
        return wt_fail(err, WT_E_FORMAT, "%s: has no tensor \"%s\"", hub->folder, p->name);
    }
    if (place.other)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: %s and %s both have \"%.100s\", and the index does not say whose it is",
                       hub->folder, place.shard->name, place.other->name, place.tensor->name);
    place.shard->is_used[place.tensor - wt_safetensors_at(place.shard->file, 0)] = true;
    if (!p->is_transposed)
        return wt_safetensors_read(place.shard->file, place.tensor->name, p->rank, p->shape,
                                   values + p->at, err);
    float *file = malloc(p->shape[0] * p->shape[1] * sizeof(*file));
    if (!file)
        return wt_fail(err, WT_E_NOMEM, "no memory for \"%s\"", p->name);
    int rc =
        wt_safetensors_read(place.shard->file, place.tensor->name, p->rank, p->shape, file, err);
    if (rc == 0)
        transpose(values + p->at, file, p->shape[0], p->shape[1]);
    free(file);
    return rc;
}

/* What nothing asked for: skipped, unless it is part of the body, which then is not the one that
 * the configuration says. */
static int account_for(struct wt_hub *hub, const struct shard *shard, const struct wt_tensor *t,
                       struct wt_error *err)
{
    const char *file = indexed(hub, t->name);
    if (file && strcmp(file, shard->name) != 0) /* an old copy */
        return 0;
    for (size_t i = 0; i < WT_COUNTOF(buffers); i++)
        if (wt_text_ends_in(t->name, buffers[i]))
            return 0;
    for (size_t i = 0; i < WT_COUNTOF(aliases); i++) /* both names of one */
        if (wt_text_ends_in(t->name, aliases[i].other))
            return 0;
    const char *prefix = families[hub->config.family].prefix, *name = t->name;
    if (strncmp(name, prefix, strlen(prefix)) == 0)
        name += strlen(prefix);
    const char *layers = families[hub->config.family].layers;
    if (strncmp(name, layers, strlen(layers)) == 0)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: has a tensor \"%.100s\", which config.json (%s of %u layers) does not "
                       "account for",
                       hub->folder, t->name, wt_family_name(hub->config.family),
                       hub->config.layers);
    return 0; /* a decoder tied to the token table, a head for another task, anything */
}

int wt_hub_load(struct wt_hub *hub, const struct wt_parameters *parameters, float *values,
                struct wt_error *err)
{
    int rc = 0;
    free(hub->left_out);
    hub->left_out = NULL;
    for (size_t s = 0; s < hub->shard_count; s++)
        memset(hub->shards[s].is_used, 0,
               wt_safetensors_count(hub->shards[s].file) * sizeof(*hub->shards[s].is_used));
    for (size_t i = 0; rc == 0 && i < parameters->tensor_count; i++)
        rc = load_one(hub, &parameters->tensors[i],
                      parameters->tensors[i].at == parameters->class_w ||
                          parameters->tensors[i].at == parameters->class_b,
                      values, err);
    for (size_t s = 0; s < hub->shard_count; s++)
        for (size_t i = 0; rc == 0 && i < wt_safetensors_count(hub->shards[s].file); i++)
            if (!hub->shards[s].is_used[i])
                rc = account_for(hub, &hub->shards[s], wt_safetensors_at(hub->shards[s].file, i),
                                 err);
    return rc;
}

/* ---- saving ---- */

/* The configuration, with what says which head there is and what its classes are called. */
static int save_config(const char *path, const struct wt_config *config,
                       const struct wt_parameters *parameters, char *const *names,
                       struct wt_error *err)
{
    static const char *const classifiers[] = {[WT_FAMILY_BERT] = "BertForSequenceClassification",
                                              [WT_FAMILY_DISTILBERT] =
                                                  "DistilBertForSequenceClassification",
                                              [WT_FAMILY_GPT2] = "GPT2ForSequenceClassification"};
    if (parameters->class_w == WT_NOWHERE)
        return wt_config_write(config, path, err);
    char *text = NULL;
    int rc = wt_config_text(config, &text, err);
    if (rc < 0)
        return rc;
    json_t *object = json_loads(text, 0, NULL), *labels = json_object(), *ids = json_object();
    free(text);
    text = NULL;
    unsigned classes = wt_parameters_classes(parameters);
    int failed = !object || !labels || !ids;
    for (unsigned i = 0; !failed && i < classes; i++) {
        char number[16], label[32];
        wt_text(number, sizeof(number), "%u", i);
        const char *name = names ? names[i] : wt_text(label, sizeof(label), "LABEL_%u", i);
        failed |= json_object_set_new(labels, number, json_string(name));
        failed |= json_object_set_new(ids, name, json_integer(i));
    }
    if (!failed) {
        failed |= json_object_set_new(object, "architectures",
                                      json_pack("[s]", classifiers[config->family]));
        failed |= json_object_set(object, "id2label", labels);
        failed |= json_object_set(object, "label2id", ids);
        text = failed ? NULL : json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    }
    json_decref(object);
    json_decref(labels);
    json_decref(ids);
    rc = text ? wt_file_replace(path, text, strlen(text), err)
              : wt_fail(err, WT_E_NOMEM, "%s: no memory for a configuration", path);
    free(text);
    return rc;
}

int wt_hub_save(const char *folder, const struct wt_config *config,
                const struct wt_parameters *parameters, const float *values,
                enum wt_tensor_type type, char *const *classes, struct wt_error *err)
{
    size_t count = parameters->tensor_count;
    struct wt_tensor_source *sources = calloc(count, sizeof(*sources));
    float **turned = calloc(count, sizeof(*turned));
    char *config_path = join(folder, "config.json"), *path = join(folder, "model.safetensors");
    int rc = 0;
    if (!sources || !turned || !config_path || !path) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for writing a model");
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        const struct wt_parameter *p = &parameters->tensors[i];
        sources[i] = (struct wt_tensor_source){.name = p->name,
                                               .type = type,
                                               .rank = p->rank,
                                               .shape = {p->shape[0], p->shape[1]},
                                               .values = values + p->at};
        if (!p->is_transposed)
            continue;
        turned[i] = malloc(p->shape[0] * p->shape[1] * sizeof(**turned));
        if (!turned[i]) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for \"%s\"", p->name);
            goto out;
        }
        transpose(turned[i], values + p->at, p->shape[1], p->shape[0]);
        sources[i].values = turned[i];
    }
    rc = wt_fs_mkdirs(folder, 0777, err);
    if (rc == 0)
        rc = wt_safetensors_write(path, sources, count, err);
    if (rc == 0)
        rc = save_config(config_path, config, parameters, classes, err);
out:
    for (size_t i = 0; turned && i < count; i++)
        free(turned[i]);
    free(turned);
    free(sources);
    free(config_path);
    free(path);
    return rc;
}
