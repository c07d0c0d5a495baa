/* The models by name: published shapes. */
#include <string.h>

#include "base/base.h"
#include "workload/config.h"
#include "workload/parameters.h"

/* Sizes: Devlin et al. 2018 (base, large), Turc et al. 2019 (tiny to medium), Sanh et al. 2019,
 * Radford et al. 2019. Vocabularies are those of bert-base-uncased and of GPT-2: a tokenizer with
 * fewer entries leaves rows unused, so that the work of a step is the model's and not the text's.
 */
static const struct wt_model_shape shapes[] = {
    {"bert-tiny", 2, 128, 2, 512, 30522, 512, WT_FAMILY_BERT},
    {"bert-mini", 4, 256, 4, 1024, 30522, 512, WT_FAMILY_BERT},
    {"bert-small", 4, 512, 8, 2048, 30522, 512, WT_FAMILY_BERT},
    {"bert-medium", 8, 512, 8, 2048, 30522, 512, WT_FAMILY_BERT},
    {"bert-base", 12, 768, 12, 3072, 30522, 512, WT_FAMILY_BERT},
    {"bert-large", 24, 1024, 16, 4096, 30522, 512, WT_FAMILY_BERT},
    {"distilbert-base", 6, 768, 12, 3072, 30522, 512, WT_FAMILY_DISTILBERT},
    {"gpt2", 12, 768, 12, 3072, 50257, 1024, WT_FAMILY_GPT2},
    {"gpt2-medium", 24, 1024, 16, 4096, 50257, 1024, WT_FAMILY_GPT2},
    {"gpt2-large", 36, 1280, 20, 5120, 50257, 1024, WT_FAMILY_GPT2},
    {"gpt2-xl", 48, 1600, 25, 6400, 50257, 1024, WT_FAMILY_GPT2},
};

int wt_model_shape_named(const char *name, struct wt_model_shape *ret_shape, struct wt_error *err)
{
    for (size_t i = 0; i < WT_COUNTOF(shapes); i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *ret_shape = shapes[i];
            return 0;
        }
    }
    char names[240] = "";
    for (size_t i = 0; i < WT_COUNTOF(shapes); i++) {
        size_t len = strlen(names);
        wt_text(names + len, sizeof(names) - len, "%s%s", i ? ", " : "", shapes[i].name);
    }
    int rc = wt_fail(err, WT_E_NOTFOUND, "no model is called '%s'", name);
    wt_fix(err, "choose one of: %.220s", names);
    return rc;
}

void wt_config_of_shape(struct wt_config *ret_config, const struct wt_model_shape *shape)
{
    bool is_gpt2 = shape->family == WT_FAMILY_GPT2;
    *ret_config = (struct wt_config){
        .family = shape->family,
        .layers = shape->layers,
        .hidden = shape->hidden,
        .heads = shape->heads,
        .ffn = shape->ffn,
        .vocab = shape->vocab,
        .positions = shape->positions,
        .types = shape->family == WT_FAMILY_BERT ? 2 : 0,
        .activation = is_gpt2 ? WT_GELU_NEW : WT_GELU,
        .norm_epsilon = is_gpt2 ? 1e-5 : 1e-12,
        .dropout_hidden = 0.1,
        .dropout_attention = 0.1,
        .dropout_embedding = 0.1,
        .dropout_classifier = is_gpt2                                 ? 0
                              : shape->family == WT_FAMILY_DISTILBERT ? 0.2
                                                                      : 0.1,
        .initializer_range = 0.02,
    };
}

int wt_config_named(struct wt_config *ret_config, const char *name, struct wt_error *err)
{
    struct wt_model_shape shape;
    int rc = wt_model_shape_named(name, &shape, err);
    if (rc == 0)
        wt_config_of_shape(ret_config, &shape);
    return rc;
}

uint64_t wt_model_parameters(const struct wt_model_shape *shape)
{
    struct wt_config config;
    struct wt_parameters parameters;
    wt_config_of_shape(&config, shape);
    if (wt_parameters_init(&parameters, &config, WT_HEAD_LM, 0, NULL) < 0)
        return 0;
    uint64_t total = parameters.total;
    wt_parameters_done(&parameters);
    return total;
}
