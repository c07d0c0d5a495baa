/* config: Hugging Face's three families in one form, and what cannot be is refused by its field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "workload/config.h"

/* With the fields that the published models' files have, read or not. */
static const char bert[] =
    "{\"architectures\":[\"BertForMaskedLM\"],\"attention_probs_dropout_prob\":0.1,"
    "\"gradient_checkpointing\":false,\"hidden_act\":\"gelu\",\"hidden_dropout_prob\":0.2,"
    "\"hidden_size\":768,\"initializer_range\":0.02,\"intermediate_size\":3072,"
    "\"layer_norm_eps\":1e-12,\"max_position_embeddings\":512,\"model_type\":\"bert\","
    "\"num_attention_heads\":12,\"num_hidden_layers\":12,\"pad_token_id\":0,"
    "\"position_embedding_type\":\"absolute\",\"type_vocab_size\":2,\"use_cache\":true,"
    "\"vocab_size\":30522}";
static const char distilbert[] =
    "{\"activation\":\"gelu\",\"attention_dropout\":0.1,\"dim\":768,\"dropout\":0.1,"
    "\"hidden_dim\":3072,\"initializer_range\":0.02,\"max_position_embeddings\":512,"
    "\"model_type\":\"distilbert\",\"n_heads\":12,\"n_layers\":6,\"pad_token_id\":0,"
    "\"qa_dropout\":0.1,\"seq_classif_dropout\":0.2,\"sinusoidal_pos_embds\":false,"
    "\"tie_weights_\":true,\"vocab_size\":30522}";
static const char gpt2[] =
    "{\"activation_function\":\"gelu_new\",\"architectures\":[\"GPT2LMHeadModel\"],"
    "\"attn_pdrop\":0.1,\"bos_token_id\":50256,\"embd_pdrop\":0.3,\"eos_token_id\":50256,"
    "\"initializer_range\":0.02,\"layer_norm_epsilon\":1e-05,\"model_type\":\"gpt2\","
    "\"n_ctx\":1024,\"n_embd\":1280,\"n_head\":20,\"n_layer\":36,\"n_positions\":1024,"
    "\"n_inner\":null,\"resid_pdrop\":0.2,\"vocab_size\":50257}";

static void assert_same(const struct wt_config *a, const struct wt_config *b)
{
    assert_int_equal(a->family, b->family);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->ffn, b->ffn);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->positions, b->positions);
    assert_int_equal(a->types, b->types);
    assert_int_equal(a->activation, b->activation);
    assert_true(a->norm_epsilon == b->norm_epsilon);
    assert_true(a->dropout_hidden == b->dropout_hidden);
    assert_true(a->dropout_attention == b->dropout_attention);
    assert_true(a->dropout_embedding == b->dropout_embedding);
    assert_true(a->dropout_classifier == b->dropout_classifier);
    assert_true(a->initializer_range == b->initializer_range);
}

static const struct {
    const char *text;
    struct wt_config want;
} models[] = {
    {bert,
     {WT_FAMILY_BERT, 12, 768, 12, 3072, 30522, 512, 2, WT_GELU, 1e-12, 0.2, 0.1, 0.2, 0.2, 0.02}},
    {distilbert,
     {WT_FAMILY_DISTILBERT, 6, 768, 12, 3072, 30522, 512, 0, WT_GELU, 1e-12, 0.1, 0.1, 0.1, 0.2,
      0.02}},
    {gpt2,
     {WT_FAMILY_GPT2, 36, 1280, 20, 5120, 50257, 1024, 0, WT_GELU_NEW, 1e-5, 0.2, 0.1, 0.3, 0,
      0.02}},
    /* What is left out is as the family has it. */
    {"{\"model_type\":\"bert\"}",
     {WT_FAMILY_BERT, 12, 768, 12, 3072, 30522, 512, 2, WT_GELU, 1e-12, 0.1, 0.1, 0.1, 0.1, 0.02}},
    {"{\"model_type\":\"distilbert\"}",
     {WT_FAMILY_DISTILBERT, 6, 768, 12, 3072, 30522, 512, 0, WT_GELU, 1e-12, 0.1, 0.1, 0.1, 0.2,
      0.02}},
    {"{\"model_type\":\"gpt2\"}",
     {WT_FAMILY_GPT2, 12, 768, 12, 3072, 50257, 1024, 0, WT_GELU_NEW, 1e-5, 0.1, 0.1, 0.1, 0,
      0.02}},
    {"{\"model_type\":\"gpt2\",\"n_inner\":100,\"activation_function\":\"gelu_pytorch_tanh\"}",
     {WT_FAMILY_GPT2, 12, 768, 12, 100, 50257, 1024, 0, WT_GELU_NEW, 1e-5, 0.1, 0.1, 0.1, 0, 0.02}},
    {"{\"model_type\":\"bert\",\"hidden_act\":\"gelu_new\",\"hidden_dropout_prob\":0}",
     {WT_FAMILY_BERT, 12, 768, 12, 3072, 30522, 512, 2, WT_GELU_NEW, 1e-12, 0, 0.1, 0, 0, 0.02}},
};

static void each_family_is_read_in_its_own_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < WT_COUNTOF(models); i++) {
        struct wt_config got;
        struct wt_error err = {0};
        int rc = wt_config_parse(&got, "C", models[i].text, strlen(models[i].text), &err);
        if (rc < 0)
            print_error("%s\n", err.text);
        assert_int_equal(rc, 0);
        assert_same(&got, &models[i].want);
    }
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    char folder[] = "/tmp/wt-config-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    wt_text(path, sizeof(path), "%s/config.json", folder);
    for (size_t i = 0; i < WT_COUNTOF(models); i++) {
        struct wt_config got;
        struct wt_error err = {0};
        assert_int_equal(wt_config_write(&models[i].want, path, &err), 0);
        assert_int_equal(wt_config_read(&got, path, &err), 0);
        assert_same(&got, &models[i].want);
    }
    assert_int_equal(unlink(path), 0);
    struct wt_config got;
    struct wt_error err = {0};
    assert_int_equal(wt_config_read(&got, path, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(rmdir(folder), 0); /* nothing else is left */
}

static void the_text_says_the_familys_fields(void **state)
{
    (void)state;
    static const char *const want[][4] = {
        {"\"model_type\": \"bert\"", "\"hidden_size\": 768", "\"hidden_act\": \"gelu\"",
         "\"type_vocab_size\": 2"},
        {"\"model_type\": \"distilbert\"", "\"dim\": 768", "\"activation\": \"gelu\"",
         "DistilBertForMaskedLM"},
        {"\"model_type\": \"gpt2\"", "\"n_inner\": 5120", "\"activation_function\": \"gelu_new\"",
         "\"embd_pdrop\": 0.3"},
    };
    for (size_t i = 0; i < WT_COUNTOF(want); i++) {
        char *text = NULL;
        assert_int_equal(wt_config_text(&models[i].want, &text, NULL), 0);
        for (size_t k = 0; k < 4; k++)
            assert_non_null(strstr(text, want[i][k]));
        free(text);
    }
}

static void what_cannot_be_is_refused_by_its_field(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
        const char *want;
    } rows[] = {
        {"", WT_E_FORMAT, "C:"},
        {"{\n\"model_type\":\n}", WT_E_FORMAT, "C:3: "},
        {"[]", WT_E_FORMAT, "no JSON object"},
        {"{}", WT_E_FORMAT, "model_type is not there"},
        {"{\"model_type\":3}", WT_E_FORMAT, "model_type is not there or no string"},
        {"{\"model_type\":\"llama\"}", WT_E_UNSUPPORTED, "model_type is \"llama\""},
        {"{\"model_type\":\"bert\",\"model_type\":\"gpt2\"}", WT_E_FORMAT, "duplicate"},
        {"{\"model_type\":\"bert\",\"hidden_size\":0}", WT_E_RANGE, "hidden_size is 0: 1 to"},
        {"{\"model_type\":\"bert\",\"hidden_size\":-4}", WT_E_RANGE, "hidden_size is -4"},
        {"{\"model_type\":\"bert\",\"hidden_size\":\"768\"}", WT_E_FORMAT,
         "hidden_size is no whole number"},
        {"{\"model_type\":\"bert\",\"hidden_size\":768.5}", WT_E_FORMAT,
         "hidden_size is no whole number"},
        {"{\"model_type\":\"bert\",\"hidden_size\":4294968064}", WT_E_RANGE,
         "hidden_size is 4294968064"},
        {"{\"model_type\":\"bert\",\"hidden_size\":770}", WT_E_RANGE,
         "hidden_size 770 is no multiple of num_attention_heads 12"},
        {"{\"model_type\":\"distilbert\",\"dim\":770}", WT_E_RANGE,
         "dim 770 is no multiple of n_heads 12"},
        {"{\"model_type\":\"gpt2\",\"n_head\":7}", WT_E_RANGE,
         "n_embd 768 is no multiple of n_head 7"},
        {"{\"model_type\":\"gpt2\",\"n_head\":1025}", WT_E_RANGE, "n_head is 1025"},
        {"{\"model_type\":\"gpt2\",\"n_inner\":0}", WT_E_RANGE, "n_inner is 0"},
        {"{\"model_type\":\"bert\",\"num_hidden_layers\":1025}", WT_E_RANGE, "num_hidden_layers"},
        {"{\"model_type\":\"bert\",\"vocab_size\":4194305}", WT_E_RANGE, "vocab_size"},
        {"{\"model_type\":\"bert\",\"type_vocab_size\":0}", WT_E_RANGE, "type_vocab_size"},
        {"{\"model_type\":\"gpt2\",\"n_positions\":0}", WT_E_RANGE, "n_positions"},
        {"{\"model_type\":\"bert\",\"hidden_dropout_prob\":1}", WT_E_RANGE,
         "hidden_dropout_prob is 1: 0 to below 1"},
        {"{\"model_type\":\"gpt2\",\"embd_pdrop\":-0.1}", WT_E_RANGE, "embd_pdrop"},
        {"{\"model_type\":\"gpt2\",\"layer_norm_epsilon\":2}", WT_E_RANGE, "layer_norm_epsilon"},
        {"{\"model_type\":\"gpt2\",\"attn_pdrop\":\"x\"}", WT_E_FORMAT, "attn_pdrop is no number"},
        {"{\"model_type\":\"bert\",\"hidden_act\":\"relu\"}", WT_E_UNSUPPORTED,
         "hidden_act is \"relu\""},
        {"{\"model_type\":\"bert\",\"hidden_act\":1}", WT_E_FORMAT, "hidden_act is no string"},
        {"{\"model_type\":\"bert\",\"position_embedding_type\":\"relative_key\"}", WT_E_UNSUPPORTED,
         "position_embedding_type is something else than absolute"},
        {"{\"model_type\":\"bert\",\"is_decoder\":true}", WT_E_UNSUPPORTED, "is_decoder"},
        {"{\"model_type\":\"gpt2\",\"scale_attn_weights\":false}", WT_E_UNSUPPORTED,
         "scale_attn_weights is something else than true"},
        {"{\"model_type\":\"distilbert\",\"sinusoidal_pos_embds\":true}", WT_E_UNSUPPORTED,
         "sinusoidal_pos_embds"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_config got = {.layers = 77};
        struct wt_error err = {0};
        int rc = wt_config_parse(&got, "C", rows[i].text, strlen(rows[i].text), &err);
        if (rc != rows[i].code || !strstr(err.text, rows[i].want))
            print_error("%s: \"%s\"\n", rows[i].text, err.text);
        assert_int_equal(rc, rows[i].code);
        assert_non_null(strstr(err.text, rows[i].want));
        assert_int_equal(strncmp(err.text, "C:", 2), 0);
        assert_int_equal(got.layers, 77); /* written only on success */
    }
}

static void what_cannot_be_is_not_written(void **state)
{
    (void)state;
    struct wt_config c = models[0].want;
    struct wt_error err = {0};
    c.heads = 7;
    assert_int_equal(wt_config_write(&c, "/nonexistent/config.json", &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "/nonexistent/config.json: hidden_size 768"));
    c = models[2].want;
    c.types = 2;
    assert_int_equal(wt_config_write(&c, "/nonexistent/config.json", &err), WT_E_RANGE);
    assert_non_null(strstr(err.text, "a gpt2 has no type_vocab_size"));
    c.types = 0;
    assert_int_equal(wt_config_write(&c, "/nonexistent/config.json", &err), WT_E_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_family_is_read_in_its_own_words),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(the_text_says_the_familys_fields),
        cmocka_unit_test(what_cannot_be_is_refused_by_its_field),
        cmocka_unit_test(what_cannot_be_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
