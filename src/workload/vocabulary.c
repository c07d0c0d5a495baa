/* Hugging Face's vocabulary files: JSON here, the two ways of cutting in tokenizer.c and bpe.c. */
#include "workload/vocabulary.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"

struct wt_vocabulary {
    struct wt_tokenizer *wordpiece;
    struct wt_bpe *bpe;
};

/* Entries in the order of their ids, of a "vocab" object and maybe "added_tokens". */
struct list {
    const char **entries; /* borrowed from the JSON */
    bool *is_added;
    size_t count;
};

static void list_done(struct list *l)
{
    free(l->entries);
    free(l->is_added);
    memset(l, 0, sizeof(*l));
}

static int load(json_t **ret_object, const struct wt_vocabulary_text *file, struct wt_error *err)
{
    json_error_t where;
    json_t *object = json_loadb(file->text, file->size, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return wt_fail(err, WT_E_FORMAT, "%s:%d: %.200s", file->name, where.line, where.text);
    if (!json_is_object(object)) {
        json_decref(object);
        return wt_fail(err, WT_E_FORMAT, "%s: no JSON object", file->name);
    }
    *ret_object = object;
    return 0;
}

/* ---- entries and their ids ---- */

static int place(struct list *l, const char *name, const char *entry, const json_t *id,
                 bool is_added, struct wt_error *err)
{
    if (!json_is_integer(id))
        return wt_fail(err, WT_E_FORMAT, "%s: the id of \"%.100s\" is no whole number", name,
                       entry);
    json_int_t at = json_integer_value(id);
    if (at < 0 || (size_t)at >= l->count)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: the id of \"%.100s\" is %lld: %zu entries have 0 to %zu", name, entry,
                       (long long)at, l->count, l->count - 1);
    if (l->entries[at] && strcmp(l->entries[at], entry) != 0)
        return wt_fail(err, WT_E_FORMAT, "%s: \"%.100s\" and \"%.100s\" both have the id %lld",
                       name, l->entries[at], entry, (long long)at);
    l->entries[at] = entry;
    l->is_added[at] |= is_added;
    return 0;
}

/* Each id from 0 on must have an entry: as many ids as entries, and no two the same. Added tokens
 * may be entries of the vocabulary, too. */
static int collect(struct list *l, const char *name, json_t *vocab, json_t *added,
                   struct wt_error *err)
{
    if (!json_is_object(vocab))
        return wt_fail(err, WT_E_FORMAT, "%s: its vocab is no JSON object", name);
    size_t more = 0, i;
    json_t *token, *id;
    json_array_foreach(added, i, token)
    {
        const char *content = json_string_value(json_object_get(token, "content"));
        if (!content || !*content)
            return wt_fail(err, WT_E_FORMAT, "%s: added token %zu has no content", name, i);
        more += !json_object_get(vocab, content);
    }
    l->count = json_object_size(vocab) + more;
    if (l->count == 0 || l->count > WT_VOCABULARY_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s: %zu entries: 1 to %d", name, l->count,
                       WT_VOCABULARY_MAX);
    l->entries = calloc(l->count, sizeof(*l->entries));
    l->is_added = calloc(l->count, sizeof(*l->is_added));
    if (!l->entries || !l->is_added)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for %zu entries", name, l->count);
    const char *entry;
    int rc = 0;
    json_object_foreach(vocab, entry, id)
    {
        rc = place(l, name, entry, id, false, err);
        if (rc < 0)
            return rc;
    }
    json_array_foreach(added, i, token)
    {
        rc = place(l, name, json_string_value(json_object_get(token, "content")),
                   json_object_get(token, "id"), true, err);
        if (rc < 0)
            return rc;
    }
    for (i = 0; i < l->count; i++)
        if (!l->entries[i])
            return wt_fail(err, WT_E_FORMAT, "%s: no entry has the id %zu", name, i);
    return 0;
}

static int finish(struct wt_vocabulary **ret_vocabulary, struct wt_tokenizer *wordpiece,
                  struct wt_bpe *bpe, struct wt_error *err)
{
    struct wt_vocabulary *v = calloc(1, sizeof(*v));
    if (!v) {
        wt_tokenizer_free(wordpiece);
        wt_bpe_free(bpe);
        return wt_fail(err, WT_E_NOMEM, "no memory for a vocabulary");
    }
    v->wordpiece = wordpiece;
    v->bpe = bpe;
    *ret_vocabulary = v;
    return 0;
}

int wt_vocabulary_train(struct wt_vocabulary **ret_vocabulary, bool is_bpe, const char *name,
                        const char *text, size_t size, size_t max_size, struct wt_error *err)
{
    struct wt_tokenizer *wordpiece = NULL;
    struct wt_bpe *bpe = NULL;
    int rc = wt_utf8_check(name, text, size, err);
    if (rc == 0 && is_bpe) {
        rc = wt_bpe_train(&bpe, name, text, size, max_size, err);
    } else if (rc == 0) {
        rc = wt_tokenizer_train(&wordpiece, text, size, max_size, err);
        if (rc == WT_E_FORMAT)
            wt_fail(err, rc,
                    "%s: there are no words in it (WordPiece's have 100 characters at most)", name);
    }
    return rc == 0 ? finish(ret_vocabulary, wordpiece, bpe, err) : rc;
}

/* ---- tokenizer.json ---- */

/* A field that must be what is done here; text NULL: null or not there will do, too, as will "". */
static int expect(const char *name, const char *part, const json_t *object, const char *field,
                  const char *text, struct wt_error *err)
{
    const json_t *value = json_object_get(object, field);
    const char *has = json_string_value(value);
    bool is_missing = !value || json_is_null(value);
    if (text ? has && strcmp(has, text) == 0 : is_missing || (has && !*has))
        return 0;
    return wt_fail(err, WT_E_UNSUPPORTED, "%s: %s's %s is %s%.60s%s; %s%s%s is read", name, part,
                   field, has ? "\"" : "",
                   has          ? has
                   : is_missing ? "not there"
                                : "something else",
                   has ? "\"" : "", text ? "\"" : "", text ? text : "none", text ? "\"" : "");
}

/* A truth value; null and not there are `other`. */
static int take_truth(bool *ret, const char *name, const json_t *object, const char *field,
                      bool other, struct wt_error *err)
{
    const json_t *value = json_object_get(object, field);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return wt_fail(err, WT_E_FORMAT, "%s: %s is neither true nor false", name, field);
    *ret = json_is_boolean(value) ? json_is_true(value) : other;
    return 0;
}

static int wordpiece_from(struct wt_vocabulary **ret_vocabulary, const char *name,
                          const json_t *object, const json_t *model, const struct list *list,
                          struct wt_error *err)
{
    const json_t *normalizer = json_object_get(object, "normalizer"),
                 *longest = json_object_get(model, "max_input_chars_per_word");
    struct wt_wordpiece_rules rules;
    bool is_cleaned = true;
    int rc = expect(name, "normalizer", normalizer, "type", "BertNormalizer", err);
    if (rc == 0)
        rc = expect(name, "pre_tokenizer", json_object_get(object, "pre_tokenizer"), "type",
                    "BertPreTokenizer", err);
    if (rc == 0)
        rc = expect(name, "model", model, "unk_token", "[UNK]", err);
    if (rc == 0)
        rc = expect(name, "model", model, "continuing_subword_prefix", "##", err);
    if (rc == 0 && longest && json_integer_value(longest) != 100)
        rc = wt_fail(err, WT_E_UNSUPPORTED,
                     "%s: model's max_input_chars_per_word is something else than 100", name);
    if (rc == 0)
        rc = take_truth(&is_cleaned, name, normalizer, "clean_text", true, err);
    if (rc == 0 && !is_cleaned)
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: normalizer's clean_text is false", name);
    if (rc == 0)
        rc = take_truth(&rules.splits_ideographs, name, normalizer, "handle_chinese_chars", true,
                        err);
    if (rc == 0)
        rc = take_truth(&rules.is_lowered, name, normalizer, "lowercase", true, err);
    if (rc == 0)
        rc = take_truth(&rules.is_stripped, name, normalizer, "strip_accents", rules.is_lowered,
                        err);
    struct wt_tokenizer *t = NULL;
    if (rc == 0)
        rc = wt_tokenizer_make(&t, &rules, name, list->entries, list->count, err);
    return rc == 0 ? finish(ret_vocabulary, t, NULL, err) : rc;
}

/* Merges are "a b" or ["a", "b"]. */
static int take_merges(struct wt_bpe_merge **ret_merges, size_t *ret_count, const char *name,
                       const json_t *array, struct wt_error *err)
{
    if (!json_is_array(array))
        return wt_fail(err, WT_E_FORMAT, "%s: model's merges are no list", name);
    size_t count = json_array_size(array);
    struct wt_bpe_merge *merges = calloc(count + 1, sizeof(*merges));
    if (!merges)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for %zu merges", name, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *merge = json_array_get(array, i);
        const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL,
                   *left = json_string_value(json_array_get(merge, 0)),
                   *right = json_string_value(json_array_get(merge, 1));
        if (space && space > text && space[1] && !strchr(space + 1, ' ')) {
            merges[i] = (struct wt_bpe_merge){text, space + 1, (size_t)(space - text),
                                              strlen(space + 1), i};
        } else if (json_array_size(merge) == 2 && left && right) {
            merges[i] = (struct wt_bpe_merge){left, right, strlen(left), strlen(right), i};
        } else {
            free(merges);
            return wt_fail(err, WT_E_FORMAT, "%s: merge %zu: not two entries", name, i);
        }
    }
    *ret_merges = merges;
    *ret_count = count;
    return 0;
}

static int bpe_from(struct wt_vocabulary **ret_vocabulary, const char *name, const json_t *object,
                    const json_t *model, const struct list *list, struct wt_error *err)
{
    static const char *const plain[] = {"continuing_subword_prefix", "end_of_word_suffix",
                                        "dropout"};
    const json_t *before = json_object_get(object, "pre_tokenizer"),
                 *normalizer = json_object_get(object, "normalizer");
    struct wt_bpe_merge *merges = NULL;
    size_t merge_count = 0;
    bool has_prefix = false, is_split = true, has_fallback = false, is_whole = false;
    int rc = expect(name, "pre_tokenizer", before, "type", "ByteLevel", err);
    /* unk_token may be any: every byte has an entry. */
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(plain); i++)
        rc = expect(name, "model", model, plain[i], NULL, err);
    if (rc == 0 && normalizer && !json_is_null(normalizer))
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: a normalizer before BPE; none is read", name);
    if (rc == 0) /* not there: true, as in the library that writes these files */
        rc = take_truth(&has_prefix, name, before, "add_prefix_space", true, err);
    if (rc == 0 && has_prefix)
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: pre_tokenizer's add_prefix_space is true", name);
    if (rc == 0)
        rc = take_truth(&is_split, name, before, "use_regex", true, err);
    if (rc == 0 && !is_split)
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: pre_tokenizer's use_regex is false", name);
    if (rc == 0)
        rc = take_truth(&has_fallback, name, model, "byte_fallback", false, err);
    if (rc == 0)
        rc = take_truth(&is_whole, name, model, "ignore_merges", false, err);
    if (rc == 0 && (has_fallback || is_whole))
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s: model's %s is true", name,
                     has_fallback ? "byte_fallback" : "ignore_merges");
    if (rc == 0)
        rc = take_merges(&merges, &merge_count, name, json_object_get(model, "merges"), err);
    struct wt_bpe *b = NULL;
    if (rc == 0) {
        struct wt_bpe_source source = {name, list->entries, list->is_added, list->count,
                                       name, false,         merges,         merge_count};
        rc = wt_bpe_make(&b, &source, err);
    }
    free(merges);
    return rc == 0 ? finish(ret_vocabulary, NULL, b, err) : rc;
}

int wt_vocabulary_from_json(struct wt_vocabulary **ret_vocabulary,
                            const struct wt_vocabulary_text *file, struct wt_error *err)
{
    json_t *object = NULL;
    struct list list = {0};
    int rc = load(&object, file, err);
    if (rc < 0)
        return rc;
    json_t *model = json_object_get(object, "model"), *type = json_object_get(model, "type");
    /* Files of 2020 name no type. */
    const char *kind = json_is_string(type)               ? json_string_value(type)
                       : json_object_get(model, "merges") ? "BPE"
                       : json_object_get(model, "max_input_chars_per_word") ? "WordPiece"
                                                                            : "";
    bool is_bpe = strcmp(kind, "BPE") == 0;
    if (!is_bpe && strcmp(kind, "WordPiece") != 0)
        rc = wt_fail(err, WT_E_UNSUPPORTED,
                     "%s: model's type is \"%.40s\"; WordPiece and byte-level BPE are read",
                     file->name, kind);
    if (rc == 0)
        rc = collect(&list, file->name, json_object_get(model, "vocab"),
                     json_object_get(object, "added_tokens"), err);
    if (rc == 0)
        rc = (is_bpe ? bpe_from : wordpiece_from)(ret_vocabulary, file->name, object, model, &list,
                                                  err);
    list_done(&list);
    json_decref(object);
    return rc;
}

/* ---- the older files ---- */

int wt_vocabulary_from_bpe(struct wt_vocabulary **ret_vocabulary,
                           const struct wt_vocabulary_text *vocab,
                           const struct wt_vocabulary_text *merges_txt, struct wt_error *err)
{
    json_t *object = NULL;
    struct list list = {0};
    struct wt_bpe_merge *merges = NULL;
    size_t merge_count = 0;
    struct wt_bpe *b = NULL;
    int rc = load(&object, vocab, err);
    if (rc < 0)
        return rc;
    rc = collect(&list, vocab->name, object, NULL, err);
    if (rc == 0)
        rc = wt_bpe_merges(&merges, &merge_count, merges_txt->name, merges_txt->text,
                           merges_txt->size, err);
    if (rc == 0) {
        struct wt_bpe_source source = {vocab->name,      list.entries, NULL,   list.count,
                                       merges_txt->name, true,         merges, merge_count};
        rc = wt_bpe_make(&b, &source, err);
    }
    if (rc == 0)
        rc = finish(ret_vocabulary, NULL, b, err);
    free(merges);
    list_done(&list);
    json_decref(object);
    return rc;
}

int wt_vocabulary_from_wordpiece(struct wt_vocabulary **ret_vocabulary,
                                 const struct wt_vocabulary_text *vocab,
                                 const struct wt_vocabulary_text *config, struct wt_error *err)
{
    struct wt_wordpiece_rules rules = wt_wordpiece_uncased;
    struct wt_tokenizer *t = NULL;
    json_t *object = NULL;
    int rc = 0;
    if (config) {
        rc = load(&object, config, err);
        if (rc == 0)
            rc = take_truth(&rules.is_lowered, config->name, object, "do_lower_case", true, err);
        if (rc == 0)
            rc = take_truth(&rules.is_stripped, config->name, object, "strip_accents",
                            rules.is_lowered, err);
        if (rc == 0)
            rc = take_truth(&rules.splits_ideographs, config->name, object,
                            "tokenize_chinese_chars", true, err);
    }
    if (rc == 0)
        rc = wt_tokenizer_parse_as(&t, &rules, vocab->name, vocab->text, vocab->size, err);
    if (rc == 0)
        rc = finish(ret_vocabulary, t, NULL, err);
    json_decref(object);
    return rc;
}

/* ---- a folder ---- */

/* 0: it is there. 1: it is not, and that is fine. */
static int read_in(struct wt_vocabulary_text *text, char **ret_text, char *path, size_t path_size,
                   const char *folder, const char *name, struct wt_error *err)
{
    wt_text(path, path_size, "%s/%s", folder, name);
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 1;
    text->name = path;
    int rc = wt_file_read(path, WT_VOCABULARY_MAX_BYTES, ret_text, &text->size, err);
    text->text = *ret_text;
    return rc;
}

int wt_vocabulary_open(struct wt_vocabulary **ret_vocabulary, const char *folder,
                       struct wt_error *err)
{
    char first_path[4096], second_path[4096], *first = NULL, *second = NULL;
    struct wt_vocabulary_text a = {0}, b = {0};
    if (strlen(folder) > sizeof(first_path) - 64)
        return wt_fail(err, WT_E_RANGE, "%.100s...: a path of %zu bytes", folder, strlen(folder));
    int rc = read_in(&a, &first, first_path, sizeof(first_path), folder, "tokenizer.json", err);
    if (rc <= 0) {
        if (rc == 0)
            rc = wt_vocabulary_from_json(ret_vocabulary, &a, err);
        goto out;
    }
    rc = read_in(&a, &first, first_path, sizeof(first_path), folder, "vocab.txt", err);
    if (rc <= 0) {
        int config = rc < 0 ? rc
                            : read_in(&b, &second, second_path, sizeof(second_path), folder,
                                      "tokenizer_config.json", err);
        rc = config < 0 ? config
                        : wt_vocabulary_from_wordpiece(ret_vocabulary, &a, config ? NULL : &b, err);
        goto out;
    }
    rc = read_in(&a, &first, first_path, sizeof(first_path), folder, "vocab.json", err);
    if (rc == 0)
        rc = read_in(&b, &second, second_path, sizeof(second_path), folder, "merges.txt", err);
    if (rc == 0)
        rc = wt_vocabulary_from_bpe(ret_vocabulary, &a, &b, err);
    if (rc > 0) {
        rc = wt_fail(err, WT_E_NOTFOUND,
                     "%s: there is neither tokenizer.json nor vocab.txt nor vocab.json with "
                     "merges.txt",
                     folder);
        wt_fix(err, "give the folder of a Hugging Face model");
    }
out:
    free(first);
    free(second);
    return rc;
}

void wt_vocabulary_free(struct wt_vocabulary *v)
{
    if (!v)
        return;
    wt_tokenizer_free(v->wordpiece);
    wt_bpe_free(v->bpe);
    free(v);
}

const struct wt_tokenizer *wt_vocabulary_wordpiece(const struct wt_vocabulary *v)
{
    return v->wordpiece;
}

const struct wt_bpe *wt_vocabulary_bpe(const struct wt_vocabulary *v)
{
    return v->bpe;
}

size_t wt_vocabulary_size(const struct wt_vocabulary *v)
{
    return v->bpe ? wt_bpe_size(v->bpe) : wt_tokenizer_size(v->wordpiece);
}

const char *wt_vocabulary_entry(const struct wt_vocabulary *v, size_t id)
{
    return v->bpe ? wt_bpe_entry(v->bpe, id) : wt_tokenizer_entry(v->wordpiece, id);
}

int32_t wt_vocabulary_id(const struct wt_vocabulary *v, const char *entry)
{
    return v->bpe ? wt_bpe_id(v->bpe, entry) : wt_tokenizer_id(v->wordpiece, entry);
}

struct wt_marks wt_vocabulary_marks(const struct wt_vocabulary *v)
{
    if (v->bpe) {
        int32_t end = wt_bpe_id(v->bpe, WT_BPE_END);
        return (struct wt_marks){end, end, end, -1};
    }
    const struct wt_specials *s = wt_tokenizer_specials(v->wordpiece);
    return (struct wt_marks){s->pad, s->begin, s->end, s->mask};
}

int wt_vocabulary_encode(const struct wt_vocabulary *v, const char *name, const char *text,
                         size_t size, int32_t **ret_ids, size_t *ret_count, struct wt_error *err)
{
    if (v->bpe)
        return wt_bpe_encode(v->bpe, name, text, size, ret_ids, ret_count, err);
    int rc = wt_utf8_check(name, text, size, err);
    return rc < 0 ? rc : wt_tokenizer_encode(v->wordpiece, text, size, ret_ids, ret_count, err);
}

int wt_vocabulary_decode(const struct wt_vocabulary *v, const int32_t *ids, size_t count,
                         char **ret_text, size_t *ret_size, struct wt_error *err)
{
    if (v->bpe)
        return wt_bpe_decode(v->bpe, ids, count, ret_text, ret_size, err);
    return wt_tokenizer_decode(v->wordpiece, ids, count, ret_text, ret_size, err);
}
