/* A vocabulary that was made here, in the files that Hugging Face's tokenizers read. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/vocabulary.h"

static int begin(struct wt_file_draft *draft, const char *folder, const char *name,
                 struct wt_error *err)
{
    char path[4096];
    if (strlen(folder) > sizeof(path) - 64)
        return wt_fail(err, WT_E_RANGE, "%.100s...: a path of %zu bytes", folder, strlen(folder));
    return wt_file_begin(draft, wt_text(path, sizeof(path), "%s/%s", folder, name), err);
}

static int write_json(const char *folder, const char *name, json_t *object, struct wt_error *err)
{
    struct wt_file_draft draft;
    int rc = object ? begin(&draft, folder, name, err)
                    : wt_fail(err, WT_E_NOMEM, "no memory for %s/%s", folder, name);
    if (rc == 0) {
        /* The stream keeps its errors for the commit; without memory there is none. */
        if (json_dumpf(object, draft.file, JSON_INDENT(1)) < 0 && !ferror(draft.file))
            rc = wt_fail(err, WT_E_NOMEM, "no memory for %s/%s", folder, name);
        fputc('\n', draft.file);
        if (rc == 0)
            rc = wt_file_commit(&draft, err);
        wt_file_drop(&draft);
    }
    json_decref(object);
    return rc;
}

static int write_wordpiece(const struct wt_tokenizer *t, const char *folder, struct wt_error *err)
{
    const struct wt_wordpiece_rules *rules = wt_tokenizer_rules(t);
    struct wt_file_draft draft;
    int rc = begin(&draft, folder, "vocab.txt", err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < wt_tokenizer_size(t); i++)
        fprintf(draft.file, "%s\n", wt_tokenizer_entry(t, i));
    rc = wt_file_commit(&draft, err);
    wt_file_drop(&draft);
    if (rc < 0)
        return rc;
    return write_json(folder, "tokenizer_config.json",
                      json_pack("{s:s, s:b, s:b, s:b}", "tokenizer_class", "BertTokenizer",
                                "do_lower_case", rules->is_lowered, "strip_accents",
                                rules->is_stripped, "tokenize_chinese_chars",
                                rules->splits_ideographs),
                      err);
}

static int write_bpe(const struct wt_bpe *b, const char *folder, struct wt_error *err)
{
    struct wt_file_draft draft;
    json_t *vocab = json_object();
    for (size_t i = 0; vocab && i < wt_bpe_size(b); i++)
        if (json_object_set_new(vocab, wt_bpe_entry(b, i), json_integer((json_int_t)i)) < 0) {
            json_decref(vocab);
            vocab = NULL;
        }
    int rc = write_json(folder, "vocab.json", vocab, err);
    if (rc == 0)
        rc = write_json(folder, "tokenizer_config.json",
                        json_pack("{s:s, s:s, s:s, s:s, s:b}", "tokenizer_class", "GPT2Tokenizer",
                                  "bos_token", WT_BPE_END, "eos_token", WT_BPE_END, "unk_token",
                                  WT_BPE_END, "add_prefix_space", false),
                        err);
    if (rc == 0)
        rc = begin(&draft, folder, "merges.txt", err);
    if (rc < 0)
        return rc;
    uint32_t left, right;
    fputs("#version: 0.2\n", draft.file);
    for (size_t i = 0; wt_bpe_merge_at(b, i, &left, &right); i++)
        fprintf(draft.file, "%s %s\n", wt_bpe_entry(b, left), wt_bpe_entry(b, right));
    rc = wt_file_commit(&draft, err);
    wt_file_drop(&draft);
    return rc;
}

bool wt_vocabulary_writes(bool is_bpe, const char *file)
{
    return strcmp(file, "tokenizer_config.json") == 0 ||
           (is_bpe ? strcmp(file, "vocab.json") == 0 || strcmp(file, "merges.txt") == 0
                   : strcmp(file, "vocab.txt") == 0);
}

int wt_vocabulary_write(const struct wt_vocabulary *v, const char *folder, struct wt_error *err)
{
    const struct wt_bpe *bpe = wt_vocabulary_bpe(v);
    return bpe ? write_bpe(bpe, folder, err)
               : write_wordpiece(wt_vocabulary_wordpiece(v), folder, err);
}
