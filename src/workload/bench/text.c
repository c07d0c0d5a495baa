/* The vocabulary and the text of a run. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/bench/bench.h"
#include "workload/unicode.h"

#define TEXT_MAX          (UINT64_C(2) << 30)
#define SYNTHETIC_BATCHES 64 /* of infer; then they come again */

/* The files of a tokenizer, as Hugging Face names them. */
static const char *const tokenizer_files[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt",     "added_tokens.json",
};

/* Without a mark before it. A text may be a pipe, too. */
static int read_text(const char *path, char **ret_text, size_t *ret_size, struct wt_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return wt_fail_errno(err, errno, "--data %s", path);
    struct stat st;
    size_t size = 65536, used = 0;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        size = (size_t)st.st_size + 1; /* the last read then finds the end */
    int rc = 0;
    char *text = size > TEXT_MAX + 1 ? NULL : malloc(size);
    while (rc == 0) {
        if (text && used == size && size <= TEXT_MAX) {
            size = 2 * size < TEXT_MAX + 1 ? 2 * size : TEXT_MAX + 1;
            char *more = realloc(text, size);
            if (!more)
                free(text);
            text = more;
        }
        if (size > TEXT_MAX + 1 || used > TEXT_MAX) {
            rc = wt_fail(err, WT_E_FORMAT, "%s: the text is longer than the %u GiB that are read",
                         path, (unsigned)(TEXT_MAX >> 30));
            goto out;
        }
        if (!text) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for the text %s", path);
            goto out;
        }
        ssize_t n = read(fd, text + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = wt_fail_errno(err, errno, "reading %s", path);
            goto out;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    size_t mark = wt_utf8_mark(text, used);
    used -= mark;
    if (mark > 0)
        memmove(text, text + mark, used);
    if (used == 0) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: the file is empty", path);
        goto out;
    }
    *ret_text = text;
    *ret_size = used;
    text = NULL;
out:
    free(text);
    close(fd);
    return rc;
}

/* A vocabulary of the other kind cuts text into entries that the model knows as something else. */
static int check_vocabulary(const struct bench *b, const char *name, struct wt_error *err)
{
    const struct wt_config *c = &b->source.config;
    bool is_gpt2 = c->family == WT_FAMILY_GPT2;
    if (is_gpt2 != (wt_vocabulary_bpe(b->vocabulary) != NULL))
        return wt_fail(err, WT_E_USAGE, "%s: %s is a %s, which needs a vocabulary of %s", name,
                       b->source.name, wt_family_name(c->family),
                       is_gpt2 ? "byte-level BPE, not WordPiece" : "WordPiece, not byte-level BPE");
    struct wt_marks marks = wt_vocabulary_marks(b->vocabulary);
    if (!is_gpt2 && (marks.begin < 0 || marks.end < 0))
        return wt_fail(err, WT_E_USAGE, "%s: %s needs a vocabulary with [CLS] and [SEP]", name,
                       b->source.name);
    if (wt_vocabulary_size(b->vocabulary) > c->vocab)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: a vocabulary of %zu entries, but %s%s has room for %u (vocab_size)",
                       name, wt_vocabulary_size(b->vocabulary),
                       b->source.folder[0] ? b->source.folder : b->source.name,
                       b->source.folder[0] ? "/config.json" : "", c->vocab);
    return 0;
}

/* From --vocab, the model's folder, or the text itself; none where there is no text. */
static int open_vocabulary(struct bench *b, const char *text, size_t size, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    bool is_bpe = b->source.config.family == WT_FAMILY_GPT2;
    const char *name = o->vocab ? o->vocab : b->source.folder;
    struct stat st;
    int rc = 0;
    if (o->vocab && access(o->vocab, R_OK) < 0)
        return wt_fail_errno(err, errno, "--vocab %s", o->vocab);
    const char *slash = o->vocab ? strrchr(o->vocab, '/') : NULL;
    const char *called = slash ? slash + 1 : o->vocab;
    if (called && (strcmp(called, "vocab.json") == 0 || strcmp(called, "merges.txt") == 0)) {
        rc =
            wt_fail(err, WT_E_USAGE, "--vocab %s: vocab.json and merges.txt go together", o->vocab);
        wt_fix(err, "give their folder");
        return rc;
    }
    if (o->vocab && stat(o->vocab, &st) == 0 && !S_ISDIR(st.st_mode)) {
        char *vocab = NULL;
        struct wt_vocabulary_text file = {o->vocab, NULL, 0};
        rc = wt_file_read(o->vocab, WT_VOCABULARY_MAX_BYTES, &vocab, &file.size, err);
        file.text = vocab;
        size_t n = strlen(o->vocab);
        bool is_json = n > 5 && strcmp(o->vocab + n - 5, ".json") == 0;
        if (rc == 0)
            rc = is_json ? wt_vocabulary_from_json(&b->vocabulary, &file, err)
                         : wt_vocabulary_from_wordpiece(&b->vocabulary, &file, NULL, err);
        free(vocab);
    } else if (o->vocab || b->source.has_vocabulary) {
        rc = wt_vocabulary_open(&b->vocabulary, name, err);
    } else if (b->source.hub && o->place != PLACE_EMU) {
        rc = wt_fail(err, WT_E_USAGE,
                     "%s has weights and no vocabulary: of one made from the text the weights know "
                     "nothing",
                     b->source.folder);
        wt_fix(err, "give the one they were trained with: --vocab FILE|DIR");
    } else if (text) {
        size_t most =
            o->vocab_size < b->source.config.vocab ? o->vocab_size : b->source.config.vocab;
        name = o->data;
        char *texts = NULL;
        if (o->work == WORK_FINETUNE)
            rc = wt_items_texts(o->data, text, size, &texts, &size, err);
        if (rc == 0 && size == 0)
            rc = wt_fail(err, WT_E_FORMAT, "%s: there are no rows", o->data);
        if (rc == 0)
            rc = wt_vocabulary_train(&b->vocabulary, is_bpe, o->data, texts ? texts : text, size,
                                     most, err);
        free(texts);
    } else {
        rc =
            wt_fail(err, WT_E_USAGE, "%s has no vocabulary to cut the prompt with", b->source.name);
        wt_fix(err, "give a model's folder that has one, --vocab DIR, or --data FILE to make one "
                    "from");
    }
    return rc < 0 ? rc : check_vocabulary(b, name, err);
}

/* The classes of a table as the folder's classifier numbers them. */
static int number_classes(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    struct wt_hub *hub = b->source.hub;
    if (hub && o->has_new_head)
        wt_hub_drop_classifier(hub);
    unsigned classes = hub ? wt_hub_classes(hub) : 0;
    if (o->is_evaluated_only && classes == 0)
        return wt_fail(err, WT_E_USAGE, "--evaluate-only: %s has no classifier; finetune makes one",
                       b->source.folder[0] ? b->source.folder : b->source.name);
    if (classes == 0 && b->items.class_count < 2)
        return wt_fail(err, WT_E_FORMAT,
                       "%s: all rows have the label \"%.60s\"; a classifier needs two or more",
                       o->data, b->items.classes[0]);
    if (classes == 0)
        return 0;
    char *const *labels = wt_hub_labels(hub, err);
    if (!labels)
        return err->code;
    int rc = wt_items_number(&b->items, labels, classes, b->source.folder, o->data, err);
    if (rc == WT_E_USAGE)
        wt_fix(err, o->is_evaluated_only
                        ? "give a table of these classes"
                        : "give a table of these classes, or begin another classifier: --new-head");
    return rc;
}

int bench_open_text(struct bench *b, struct wt_error *err)
{
    const struct bench_options *o = b->o;
    struct wt_corpus_options corpus = {o->seq, o->seed, b->source.config.family == WT_FAMILY_GPT2};
    size_t vocab = b->source.config.vocab, size = 0;
    bool is_random = !o->data && o->work != WORK_GENERATE;
    char *text = NULL;
    int rc = 0;
    if (is_random && o->place == PLACE_EMU && o->work == WORK_TRAIN)
        return 0; /* nothing is read there, and full sequences are counted */
    if (is_random && o->work == WORK_TRAIN)
        return wt_corpus_new_random(&b->corpus, vocab, &corpus, err);
    if (is_random)
        return wt_items_random(&b->items, vocab, (size_t)o->batch * SYNTHETIC_BATCHES, o->seq,
                               o->seed, err);
    if (o->work == WORK_GENERATE && !o->prompt && !o->prompt_file)
        return 0;
    if (o->data)
        rc = read_text(o->data, &text, &size, err);
    if (rc == 0 && text)
        rc = wt_utf8_check(o->data, text, size, err);
    if (rc == 0)
        rc = open_vocabulary(b, text, size, err);
    if (rc == 0 && o->work == WORK_TRAIN)
        rc = wt_corpus_new(&b->corpus, b->vocabulary, &corpus, o->data, text, size, err);
    else if (rc == 0 && o->work == WORK_FINETUNE)
        rc = wt_items_table(&b->items, b->vocabulary, o->data, text, size, o->seq, o->seed, err);
    else if (rc == 0 && o->work == WORK_INFER)
        rc = wt_items_lines(&b->items, b->vocabulary, o->data, text, size, o->seq, err);
    free(text);
    if (rc == 0 && o->work == WORK_FINETUNE)
        rc = number_classes(b, err);
    if (rc == 0 && o->is_evaluated_only)
        wt_items_hold_out(&b->items);
    return rc;
}

static int copy_file(const char *from, const char *to, struct wt_error *err)
{
    char *text = NULL;
    size_t size = 0;
    int rc = wt_file_read(from, WT_VOCABULARY_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = wt_file_replace(to, text, size, err);
    free(text);
    return rc;
}

/* The folder with the vocabulary's own files; NULL: it is made from the text, or one file. */
static const char *vocabulary_folder(const struct bench *b)
{
    struct stat st;
    const char *folder = b->o->vocab                ? b->o->vocab
                         : b->source.has_vocabulary ? b->source.folder
                                                    : NULL;
    return folder && stat(folder, &st) == 0 && S_ISDIR(st.st_mode) ? folder : NULL;
}

bool bench_is_of_a_tokenizer(const char *file)
{
    bool is_one = false;
    for (size_t i = 0; i < WT_COUNTOF(tokenizer_files); i++)
        is_one |= strcmp(file, tokenizer_files[i]) == 0;
    return is_one;
}

bool bench_saves_file(const struct bench *b, const char *file)
{
    const char *source = vocabulary_folder(b);
    char path[4200];
    if (!b->o->data || !bench_is_of_a_tokenizer(file))
        return false;
    if (source)
        return access(wt_text(path, sizeof(path), "%s/%s", source, file), F_OK) == 0;
    return wt_vocabulary_writes(b->source.config.family == WT_FAMILY_GPT2, file);
}

/* The model's own files as they are, or those of a vocabulary that was made. */
int bench_save_vocabulary(const struct bench *b, const char *folder, struct wt_error *err)
{
    const char *source = vocabulary_folder(b);
    int rc = 0;
    if (!b->vocabulary)
        return 0;
    if (!source)
        return wt_vocabulary_write(b->vocabulary, folder, err);
    for (size_t i = 0; i < WT_COUNTOF(tokenizer_files) && rc == 0; i++) {
        char from[4200], to[4200];
        wt_text(from, sizeof(from), "%s/%s", source, tokenizer_files[i]);
        wt_text(to, sizeof(to), "%s/%s", folder, tokenizer_files[i]);
        if (access(from, F_OK) == 0)
            rc = copy_file(from, to, err);
    }
    return rc;
}
