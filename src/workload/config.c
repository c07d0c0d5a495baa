/* config.json: a table of what each family calls its fields, read and written by the same rows. */
#include "workload/config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"

/* A size: its name in each family (NULL: it has none), its default there, and its limit. Defaults
 * are those of the configuration classes of transformers. */
struct size_field {
    const char *names[3];
    unsigned defaults[3];
    unsigned most;
    size_t at; /* in struct wt_config */
};
struct number_field {
    const char *names[3];
    double defaults[3];
    double most; /* from 0; the least is 0 */
    size_t at;
};

#define AT(field) offsetof(struct wt_config, field)

static const struct size_field sizes[] = {
    {{"vocab_size", "vocab_size", "vocab_size"}, {30522, 30522, 50257}, 4194304, AT(vocab)},
    {{"hidden_size", "dim", "n_embd"}, {768, 768, 768}, 65536, AT(hidden)},
    {{"num_hidden_layers", "n_layers", "n_layer"}, {12, 6, 12}, 1024, AT(layers)},
    {{"num_attention_heads", "n_heads", "n_head"}, {12, 12, 12}, 1024, AT(heads)},
    {{"intermediate_size", "hidden_dim", "n_inner"}, {3072, 3072, 0}, 1048576, AT(ffn)},
    {{"max_position_embeddings", "max_position_embeddings", "n_positions"},
     {512, 512, 1024},
     1048576,
     AT(positions)},
    {{"type_vocab_size", NULL, NULL}, {2, 0, 0}, 1024, AT(types)},
};

/* DistilBERT's norms have BERT's epsilon, which its configuration does not say. */
static const struct number_field numbers[] = {
    {{"layer_norm_eps", NULL, "layer_norm_epsilon"}, {1e-12, 1e-12, 1e-5}, 1, AT(norm_epsilon)},
    {{"hidden_dropout_prob", "dropout", "resid_pdrop"}, {0.1, 0.1, 0.1}, 1, AT(dropout_hidden)},
    {{"attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"},
     {0.1, 0.1, 0.1},
     1,
     AT(dropout_attention)},
    {{NULL, NULL, "embd_pdrop"}, {-1, -1, 0.1}, 1, AT(dropout_embedding)}, /* -1: as hidden */
    {{"classifier_dropout", "seq_classif_dropout", NULL}, {-1, 0.2, 0}, 1, AT(dropout_classifier)},
    {{"initializer_range", "initializer_range", "initializer_range"},
     {0.02, 0.02, 0.02},
     10,
     AT(initializer_range)},
};

static const struct {
    const char *model_type, *architecture, *activation_field;
    enum wt_activation activation;
} families[] = {
    {"bert", "BertForMaskedLM", "hidden_act", WT_GELU},
    {"distilbert", "DistilBertForMaskedLM", "activation", WT_GELU},
    {"gpt2", "GPT2LMHeadModel", "activation_function", WT_GELU_NEW},
};

/* The same function under several names. */
static const struct {
    const char *name;
    enum wt_activation activation;
} activations[] = {
    {"gelu", WT_GELU},
    {"gelu_new", WT_GELU_NEW},
    {"gelu_pytorch_tanh", WT_GELU_NEW},
};

/* Fields that change what is computed, and the one value of each that is computed here. A string,
 * or NULL: a truth value. */
static const struct {
    const char *name, *text;
    bool truth;
} variants[] = {
    {"position_embedding_type", "absolute", false},
    {"is_decoder", NULL, false},
    {"add_cross_attention", NULL, false},
    {"sinusoidal_pos_embds", NULL, false},
    {"scale_attn_weights", NULL, true},
    {"scale_attn_by_inverse_layer_idx", NULL, false},
    {"tie_word_embeddings", NULL, true},
};

const char *wt_family_name(enum wt_family family)
{
    return families[family].model_type;
}

/* ---- what fits ---- */

int wt_config_check(const struct wt_config *c, const char *name, struct wt_error *err)
{
    for (size_t i = 0; i < WT_COUNTOF(sizes); i++) {
        unsigned value;
        memcpy(&value, (const char *)c + sizes[i].at, sizeof(value));
        const char *field = sizes[i].names[c->family];
        if (field && (value == 0 || value > sizes[i].most))
            return wt_fail(err, WT_E_RANGE, "%s: %s is %u: 1 to %u", name, field, value,
                           sizes[i].most);
        if (!field && value != 0)
            return wt_fail(err, WT_E_RANGE, "%s: a %s has no %s", name, wt_family_name(c->family),
                           sizes[i].names[WT_FAMILY_BERT]);
    }
    if (c->hidden % c->heads != 0) {
        return wt_fail(err, WT_E_RANGE, "%s: %s %u is no multiple of %s %u", name,
                       sizes[1].names[c->family], c->hidden, sizes[3].names[c->family], c->heads);
    }
    if (c->family != WT_FAMILY_GPT2 && c->dropout_embedding != c->dropout_hidden)
        return wt_fail(err, WT_E_RANGE,
                       "%s: a %s has one dropout for embeddings and sublayers, not %g and %g", name,
                       wt_family_name(c->family), c->dropout_embedding, c->dropout_hidden);
    for (size_t i = 0; i < WT_COUNTOF(numbers); i++) {
        double value;
        memcpy(&value, (const char *)c + numbers[i].at, sizeof(value));
        const char *field = numbers[i].names[c->family];
        const char *other = numbers[i].names[WT_FAMILY_GPT2];
        bool is_dropout = numbers[i].most == 1 && i > 0;
        if (!(value >= 0 && value <= numbers[i].most) || (is_dropout && value == 1))
            return wt_fail(err, WT_E_RANGE, "%s: %s is %g: 0 to %s%g", name,
                           field   ? field
                           : other ? other
                                   : numbers[i].names[WT_FAMILY_BERT],
                           value, is_dropout ? "below " : "", numbers[i].most);
    }
    return 0;
}

/* ---- reading ---- */

static int take_size(struct wt_config *c, const char *name, const json_t *object,
                     const struct size_field *field, struct wt_error *err)
{
    const char *key = field->names[c->family];
    const json_t *value = key ? json_object_get(object, key) : NULL;
    unsigned number = field->defaults[c->family];
    if (value && !json_is_null(value)) {
        if (!json_is_integer(value))
            return wt_fail(err, WT_E_FORMAT, "%s: %s is no whole number", name, key);
        json_int_t integer = json_integer_value(value);
        if (integer < 1 || integer > field->most)
            return wt_fail(err, WT_E_RANGE, "%s: %s is %lld: 1 to %u", name, key,
                           (long long)integer, field->most);
        number = (unsigned)integer;
    }
    memcpy((char *)c + field->at, &number, sizeof(number));
    return 0;
}

static int take_number(struct wt_config *c, const char *name, const json_t *object,
                       const struct number_field *field, struct wt_error *err)
{
    const char *key = field->names[c->family];
    const json_t *value = key ? json_object_get(object, key) : NULL;
    double number = field->defaults[c->family];
    if (value && !json_is_null(value)) {
        if (!json_is_number(value))
            return wt_fail(err, WT_E_FORMAT, "%s: %s is no number", name, key);
        number = json_number_value(value);
    }
    memcpy((char *)c + field->at, &number, sizeof(number));
    return 0;
}

static int take_family(struct wt_config *c, const char *name, const json_t *object,
                       struct wt_error *err)
{
    const json_t *type = json_object_get(object, "model_type");
    if (!json_is_string(type)) {
        int rc = wt_fail(err, WT_E_FORMAT, "%s: model_type is not there or no string", name);
        wt_fix(err, "give the config.json of a Hugging Face model");
        return rc;
    }
    for (size_t i = 0; i < WT_COUNTOF(families); i++)
        if (strcmp(json_string_value(type), families[i].model_type) == 0) {
            c->family = (enum wt_family)i;
            return 0;
        }
    return wt_fail(err, WT_E_UNSUPPORTED,
                   "%s: model_type is \"%.40s\"; bert, distilbert and gpt2 are known, and decoders "
                   "by name (wattune predict --list)",
                   name, json_string_value(type));
}

static int take_activation(struct wt_config *c, const char *name, const json_t *object,
                           struct wt_error *err)
{
    const char *key = families[c->family].activation_field;
    const json_t *value = json_object_get(object, key);
    c->activation = families[c->family].activation;
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return wt_fail(err, WT_E_FORMAT, "%s: %s is no string", name, key);
    for (size_t i = 0; i < WT_COUNTOF(activations); i++)
        if (strcmp(json_string_value(value), activations[i].name) == 0) {
            c->activation = activations[i].activation;
            return 0;
        }
    return wt_fail(err, WT_E_UNSUPPORTED, "%s: %s is \"%.40s\"; gelu and gelu_new are known", name,
                   key, json_string_value(value));
}

static int check_variants(const char *name, const json_t *object, struct wt_error *err)
{
    for (size_t i = 0; i < WT_COUNTOF(variants); i++) {
        const json_t *value = json_object_get(object, variants[i].name);
        if (!value || json_is_null(value))
            continue;
        bool is_fine =
            variants[i].text
                ? json_is_string(value) && strcmp(json_string_value(value), variants[i].text) == 0
                : json_is_boolean(value) && json_is_true(value) == variants[i].truth;
        if (!is_fine)
            return wt_fail(err, WT_E_UNSUPPORTED, "%s: %s is something else than %s", name,
                           variants[i].name,
                           variants[i].text    ? variants[i].text
                           : variants[i].truth ? "true"
                                               : "false");
    }
    return 0;
}

int wt_config_parse(struct wt_config *ret_config, const char *name, const char *text, size_t size,
                    struct wt_error *err)
{
    struct wt_config c = {0};
    json_error_t where;
    if (size > WT_CONFIG_MAX_BYTES)
        return wt_fail(err, WT_E_FORMAT, "%s: %zu bytes are too many for a config.json", name,
                       size);
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return wt_fail(err, WT_E_FORMAT, "%s:%d: %.200s", name, where.line, where.text);
    int rc = 0;
    if (!json_is_object(object)) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: no JSON object", name);
        goto out;
    }
    rc = take_family(&c, name, object, err);
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(sizes); i++)
        rc = take_size(&c, name, object, &sizes[i], err);
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(numbers); i++)
        rc = take_number(&c, name, object, &numbers[i], err);
    if (rc == 0)
        rc = take_activation(&c, name, object, err);
    if (rc == 0)
        rc = check_variants(name, object, err);
    if (rc < 0)
        goto out;
    if (c.ffn == 0) /* GPT-2 */
        c.ffn = 4 * c.hidden;
    if (c.family != WT_FAMILY_GPT2)
        c.dropout_embedding = c.dropout_hidden;
    if (c.dropout_classifier == -1)
        c.dropout_classifier = c.dropout_hidden;
    rc = wt_config_check(&c, name, err);
    if (rc == 0)
        *ret_config = c;
out:
    json_decref(object);
    return rc;
}

int wt_config_read(struct wt_config *ret_config, const char *path, struct wt_error *err)
{
    char *text;
    size_t size;
    int rc = wt_file_read(path, WT_CONFIG_MAX_BYTES, &text, &size, err);
    if (rc < 0)
        return rc;
    rc = wt_config_parse(ret_config, path, text, size, err);
    free(text);
    return rc;
}

/* ---- writing ---- */

static int make_text(const struct wt_config *c, const char *name, char **ret_text,
                     struct wt_error *err)
{
    int rc = wt_config_check(c, name, err);
    if (rc < 0)
        return rc;
    json_t *object = json_object();
    int failed = !object;
    failed |= json_object_set_new(object, "architectures",
                                  json_pack("[s]", families[c->family].architecture));
    failed |=
        json_object_set_new(object, "model_type", json_string(families[c->family].model_type));
    for (size_t i = 0; i < WT_COUNTOF(sizes); i++) {
        unsigned value;
        memcpy(&value, (const char *)c + sizes[i].at, sizeof(value));
        if (sizes[i].names[c->family])
            failed |= json_object_set_new(object, sizes[i].names[c->family], json_integer(value));
    }
    for (size_t i = 0; i < WT_COUNTOF(numbers); i++) {
        double value;
        memcpy(&value, (const char *)c + numbers[i].at, sizeof(value));
        if (numbers[i].names[c->family])
            failed |= json_object_set_new(object, numbers[i].names[c->family], json_real(value));
    }
    failed |= json_object_set_new(object, families[c->family].activation_field,
                                  json_string(c->activation == WT_GELU ? "gelu" : "gelu_new"));
    char *text = failed ? NULL : json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(object);
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for a configuration", name);
    *ret_text = text;
    return 0;
}

int wt_config_text(const struct wt_config *config, char **ret_text, struct wt_error *err)
{
    return make_text(config, "config.json", ret_text, err);
}

int wt_config_write(const struct wt_config *config, const char *path, struct wt_error *err)
{
    char *text;
    int rc = make_text(config, path, &text, err);
    if (rc < 0)
        return rc;
    rc = wt_file_replace(path, text, strlen(text), err);
    free(text);
    return rc;
}
