/* WordPiece: cleaning and splitting, cutting into pieces, and making a vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/merging.h"
#include "workload/tokenizer.h"
#include "workload/unicode.h"

#define WORD_MAX     WT_MERGING_WORD_MAX /* characters; a longer word is [UNK], as in BERT */
#define ALPHABET_MAX 1000                /* characters a made vocabulary keeps, the most frequent */
#define SIZE_MIN     64                  /* of a made vocabulary */

/* ---- words ---- */

const struct wt_wordpiece_rules wt_wordpiece_uncased = {true, true, true};

struct wt_tokenizer {
    struct wt_wordpiece_rules rules;
    struct wt_table entries;
    struct wt_specials specials;
};

static const char *const special_names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

/* Text, word by word, cleaned and folded. */
struct words {
    const struct wt_wordpiece_rules *rules;
    const char *text;
    size_t size, at;
    /* A character already folded that begins (or is) the next word. */
    uint32_t waiting[WT_FOLD_MAX];
    size_t waiting_count;
    char word[WORD_MAX * 4];
    size_t length, characters; /* of word; characters > WORD_MAX: too long, and word is cut */
};

static void words_add(struct words *w, uint32_t code)
{
    if (w->characters < WORD_MAX)
        w->length += wt_utf8_encode(code, w->word + w->length);
    w->characters++;
}

static enum wt_class class_of(const struct wt_wordpiece_rules *rules, uint32_t code)
{
    enum wt_class class = wt_unicode_class(code);
    return class == WT_CLASS_ALONE && !rules->splits_ideographs && wt_unicode_is_ideograph(code)
               ? WT_CLASS_LETTER
               : class;
}

static size_t fold(const struct wt_wordpiece_rules *rules, uint32_t code, uint32_t *out)
{
    if (rules->is_lowered)
        return rules->is_stripped ? wt_unicode_fold(code, out) : wt_unicode_lower(code, out);
    if (rules->is_stripped)
        return wt_unicode_strip(code, out);
    out[0] = code;
    return 1;
}

/* False at the end of the text. */
static bool words_next(struct words *w)
{
    w->length = w->characters = 0;
    for (;;) {
        while (w->waiting_count > 0) {
            uint32_t code = w->waiting[0];
            bool is_alone = class_of(w->rules, code) == WT_CLASS_ALONE;
            if (is_alone && w->characters > 0)
                return true;
            words_add(w, code);
            w->waiting_count--;
            memmove(w->waiting, w->waiting + 1, w->waiting_count * sizeof(*w->waiting));
            if (is_alone)
                return true;
        }
        if (w->at >= w->size)
            return w->characters > 0;
        uint32_t code;
        size_t n = wt_utf8_decode(w->text + w->at, w->size - w->at, &code);
        w->at += n ? n : 1; /* checked before; a stray byte is dropped */
        if (!n)
            continue;
        switch (class_of(w->rules, code)) {
        case WT_CLASS_DROP:
            break;
        case WT_CLASS_SPACE:
            if (w->characters > 0)
                return true;
            break;
        default:
            w->waiting_count = fold(w->rules, code, w->waiting);
        }
    }
}

int wt_utf8_check(const char *name, const char *text, size_t size, struct wt_error *err)
{
    size_t line = 1;
    for (size_t at = 0; at < size;) {
        uint32_t code;
        size_t n = wt_utf8_decode(text + at, size - at, &code);
        if (n == 0) {
            int rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: byte %zu (0x%02x) is not UTF-8", name, line,
                             at, (unsigned char)text[at]);
            wt_fix(err, "convert it, e.g. iconv -f ISO-8859-1 -t UTF-8 FILE");
            return rc;
        }
        line += code == '\n';
        at += n;
    }
    return 0;
}

/* ---- cutting a word into pieces ---- */

/* Appends the pieces of one word to ids (which has room for WORD_MAX more). */
static void cut(const struct wt_tokenizer *t, const struct words *w, int32_t *ids, size_t *count)
{
    char piece[2 + sizeof(w->word)] = "##";
    size_t first = *count;
    for (size_t from = 0; from < w->length && w->characters <= WORD_MAX;) {
        size_t to = w->length;
        int32_t id = -1;
        for (;;) {
            size_t prefix = from ? 2 : 0;
            memcpy(piece + 2, w->word + from, to - from);
            id = wt_table_find(&t->entries, piece + 2 - prefix, to - from + prefix);
            if (id >= 0)
                break;
            do /* one character less */
                to--;
            while (to > from && ((unsigned char)w->word[to] & 0xc0) == 0x80);
            if (to == from)
                break;
        }
        if (id < 0)
            goto unknown;
        ids[(*count)++] = id;
        from = to;
    }
    if (w->characters <= WORD_MAX)
        return;
unknown:
    *count = first;
    ids[(*count)++] = t->specials.unknown;
}

int wt_tokenizer_encode(const struct wt_tokenizer *t, const char *text, size_t size,
                        int32_t **ret_ids, size_t *ret_count, struct wt_error *err)
{
    int32_t *ids = NULL;
    size_t count = 0, room = 0;
    struct words w = {.rules = &t->rules, .text = text, .size = size};
    do {
        if (!wt_grow(&ids, &room, count + WORD_MAX, sizeof(*ids))) {
            free(ids);
            return wt_fail(err, WT_E_NOMEM, "no memory for %zu tokens", count);
        }
        if (!words_next(&w))
            break;
        cut(t, &w, ids, &count);
    } while (true);
    *ret_ids = ids;
    *ret_count = count;
    return 0;
}

/* ---- making a vocabulary ---- */

struct character {
    uint32_t number; /* in the table of characters */
    uint64_t count;
};

static int by_count(const void *a, const void *b)
{
    const struct character *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Characters as symbols ("a", "##a"), in the words' order of first appearance. */
static int32_t put_symbol(struct wt_table *t, const char *word, size_t from, size_t to)
{
    char text[8] = "##";
    size_t prefix = from ? 2 : 0;
    memcpy(text + prefix, word + from, to - from);
    return wt_table_put(t, text, prefix + to - from);
}

static size_t character_end(const char *word, size_t length, size_t from)
{
    size_t to = from + 1;
    while (to < length && ((unsigned char)word[to] & 0xc0) == 0x80)
        to++;
    return to;
}

/* The most frequent characters become entries. */
static int take_alphabet(struct wt_merging *r, size_t max_size)
{
    struct wt_table seen = {0};
    struct character *order = NULL;
    int rc = WT_E_NOMEM;
    for (size_t i = 0; i < r->words.count; i++) {
        const struct wt_table_entry *e = &r->words.entries[i];
        const char *word = r->words.bytes + e->at;
        for (size_t from = 0, to; from < e->length; from = to) {
            to = character_end(word, e->length, from);
            int32_t id = put_symbol(&seen, word, from, to);
            if (id < 0)
                goto out;
            seen.entries[id].count += e->count;
        }
    }
    order = malloc((seen.count + 1) * sizeof(*order));
    if (!order)
        goto out;
    for (size_t i = 0; i < seen.count; i++)
        order[i] = (struct character){(uint32_t)i, seen.entries[i].count};
    qsort(order, seen.count, sizeof(*order), by_count);
    size_t most = max_size / 2 < ALPHABET_MAX ? max_size / 2 : ALPHABET_MAX;
    for (size_t i = 0; i < seen.count && i < most; i++) {
        const struct wt_table_entry *e = &seen.entries[order[i].number];
        if (wt_table_put(r->entries, seen.bytes + e->at, e->length) < 0)
            goto out;
    }
    rc = 0;
out:
    free(order);
    wt_table_done(&seen);
    return rc;
}

/* Each word as symbols. One with a character that is no entry is left out: it would be [UNK]. */
static int split_words(struct wt_merging *r)
{
    if (!wt_merging_begin(r))
        return WT_E_NOMEM;
    for (size_t i = 0; i < r->words.count; i++) {
        const struct wt_table_entry *e = &r->words.entries[i];
        const char *word = r->words.bytes + e->at;
        uint32_t symbols[WORD_MAX], n = 0;
        bool is_known = true;
        for (size_t from = 0, to; from < e->length && is_known; from = to) {
            char text[8] = "##";
            to = character_end(word, e->length, from);
            size_t prefix = from ? 2 : 0;
            memcpy(text + prefix, word + from, to - from);
            int32_t id = wt_table_find(r->entries, text, prefix + to - from);
            is_known = id >= 0;
            symbols[n++] = (uint32_t)id;
        }
        if (is_known && !wt_merging_word(r, i, symbols, n))
            return WT_E_NOMEM;
    }
    return 0;
}

static void find_specials(struct wt_tokenizer *t)
{
    int32_t *const ids[] = {&t->specials.pad, &t->specials.unknown, &t->specials.begin,
                            &t->specials.end, &t->specials.mask};
    for (size_t i = 0; i < WT_COUNTOF(ids); i++)
        *ids[i] = wt_tokenizer_id(t, special_names[i]);
}

int wt_tokenizer_train(struct wt_tokenizer **ret_tokenizer, const char *text, size_t size,
                       size_t max_size, struct wt_error *err)
{
    if (max_size < SIZE_MIN)
        return wt_fail(err, WT_E_USAGE, "a vocabulary of %zu entries: at least %d are needed",
                       max_size, SIZE_MIN);
    struct wt_tokenizer *t = calloc(1, sizeof(*t));
    if (!t)
        return wt_fail(err, WT_E_NOMEM, "no memory to make a vocabulary");
    struct wt_merging r = {.entries = &t->entries, .prefix = 2};
    int rc = 0;
    t->rules = wt_wordpiece_uncased;
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(special_names); i++)
        if (wt_table_put(&t->entries, special_names[i], strlen(special_names[i])) < 0)
            rc = WT_E_NOMEM;
    struct words w = {.rules = &wt_wordpiece_uncased, .text = text, .size = size};
    while (rc == 0 && words_next(&w)) {
        if (w.characters > WORD_MAX)
            continue;
        int32_t id = wt_table_put(&r.words, w.word, w.length);
        if (id < 0)
            rc = WT_E_NOMEM;
        else
            r.words.entries[id].count++;
    }
    if (rc == 0 && r.words.count == 0) {
        rc = wt_fail(err, WT_E_FORMAT, "the text has no words to make a vocabulary of");
        goto out;
    }
    if (rc == 0)
        rc = take_alphabet(&r, max_size);
    if (rc == 0)
        rc = split_words(&r);
    if (rc == 0 && !wt_merging_run(&r, max_size))
        rc = WT_E_NOMEM;
    if (rc < 0) {
        rc = wt_fail(err, rc, "no memory to make a vocabulary of %zu words", r.words.count);
        goto out;
    }
    find_specials(t);
    *ret_tokenizer = t;
    t = NULL;
out:
    wt_tokenizer_free(t);
    wt_merging_done(&r);
    return rc;
}

/* ---- a vocabulary from a file ---- */

/* The entry's number in the file is told as "NAME:7" or "NAME: entry 6". */
static int add_entry(struct wt_tokenizer *t, const char *name, const char *text, size_t length,
                     bool is_line, struct wt_error *err)
{
    char place[300];
    size_t before = t->entries.count;
    if (is_line)
        wt_text(place, sizeof(place), "%s:%zu", name, before + 1);
    else
        wt_text(place, sizeof(place), "%s: entry %zu", name, before);
    if (length == 0 || length > 1000)
        return wt_fail(err, WT_E_FORMAT, "%s: %s%s", place,
                       length ? "an entry of more than 1000 bytes" : "an empty ",
                       length    ? ""
                       : is_line ? "line"
                                 : "entry");
    if (memchr(text, '\0', length))
        return wt_fail(err, WT_E_FORMAT, "%s: holds a NUL byte", place);
    int32_t id = wt_table_put(&t->entries, text, length);
    if (id < 0)
        return wt_fail(err, WT_E_NOMEM, "no memory for the vocabulary %s", name);
    if (t->entries.count == before)
        return wt_fail(err, WT_E_FORMAT, "%s: \"%.*s\" is %s %d already", place,
                       (int)(length < 100 ? length : 100), text, is_line ? "on line" : "entry",
                       is_line ? id + 1 : id);
    return 0;
}

static int check_specials(struct wt_tokenizer *t, const char *name, bool is_line,
                          struct wt_error *err)
{
    for (size_t i = 0; i < WT_COUNTOF(special_names); i++)
        if (wt_tokenizer_id(t, special_names[i]) < 0) {
            int rc = wt_fail(err, WT_E_FORMAT, "%s: no %s is %s", name, is_line ? "line" : "entry",
                             special_names[i]);
            wt_fix(err, "give the vocabulary of a BERT (WordPiece) model");
            return rc;
        }
    find_specials(t);
    return 0;
}

int wt_tokenizer_parse(struct wt_tokenizer **ret_tokenizer, const char *name, const char *text,
                       size_t size, struct wt_error *err)
{
    return wt_tokenizer_parse_as(ret_tokenizer, &wt_wordpiece_uncased, name, text, size, err);
}

int wt_tokenizer_parse_as(struct wt_tokenizer **ret_tokenizer,
                          const struct wt_wordpiece_rules *rules, const char *name,
                          const char *text, size_t size, struct wt_error *err)
{
    int rc = wt_utf8_check(name, text, size, err);
    if (rc < 0)
        return rc;
    struct wt_tokenizer *t = calloc(1, sizeof(*t));
    if (!t)
        return wt_fail(err, WT_E_NOMEM, "no memory for a vocabulary");
    t->rules = *rules;
    for (size_t at = wt_utf8_mark(text, size); at < size && rc == 0;) {
        const char *from = text + at, *end = memchr(from, '\n', size - at);
        size_t length = end ? (size_t)(end - from) : size - at;
        at += length + 1;
        if (length > 0 && from[length - 1] == '\r')
            length--;
        rc = add_entry(t, name, from, length, true, err);
    }
    if (rc == 0)
        rc = check_specials(t, name, true, err);
    if (rc == 0) {
        *ret_tokenizer = t;
        t = NULL;
    }
    wt_tokenizer_free(t);
    return rc;
}

int wt_tokenizer_make(struct wt_tokenizer **ret_tokenizer, const struct wt_wordpiece_rules *rules,
                      const char *name, const char *const *entries, size_t count,
                      struct wt_error *err)
{
    struct wt_tokenizer *t = calloc(1, sizeof(*t));
    if (!t)
        return wt_fail(err, WT_E_NOMEM, "no memory for a vocabulary");
    t->rules = *rules;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_entry(t, name, entries[i], strlen(entries[i]), false, err);
    if (rc == 0)
        rc = check_specials(t, name, false, err);
    if (rc == 0) {
        *ret_tokenizer = t;
        t = NULL;
    }
    wt_tokenizer_free(t);
    return rc;
}

int wt_tokenizer_decode(const struct wt_tokenizer *t, const int32_t *ids, size_t count,
                        char **ret_text, size_t *ret_size, struct wt_error *err)
{
    char *text = NULL;
    size_t used = 0, room = 0;
    for (size_t i = 0; i <= count; i++) {
        bool is_end = i == count;
        if (!is_end && (ids[i] < 0 || (size_t)ids[i] >= t->entries.count)) {
            free(text);
            return wt_fail(err, WT_E_RANGE, "token %zu is %d, and the vocabulary ends at %zu", i,
                           ids[i], t->entries.count - 1);
        }
        const struct wt_table_entry *e = is_end ? NULL : &t->entries.entries[ids[i]];
        const char *piece = is_end ? "" : t->entries.bytes + e->at;
        size_t length = is_end ? 0 : e->length;
        if (!wt_grow(&text, &room, used + length + 2, 1)) {
            free(text);
            return wt_fail(err, WT_E_NOMEM, "no memory for the text of %zu tokens", count);
        }
        if (length > 2 && piece[0] == '#' && piece[1] == '#') {
            piece += 2;
            length -= 2;
        } else if (i > 0 && !is_end) {
            text[used++] = ' ';
        }
        memcpy(text + used, piece, length);
        used += length;
    }
    text[used] = '\0';
    *ret_text = text;
    *ret_size = used;
    return 0;
}

void wt_tokenizer_free(struct wt_tokenizer *t)
{
    if (!t)
        return;
    wt_table_done(&t->entries);
    free(t);
}

const struct wt_wordpiece_rules *wt_tokenizer_rules(const struct wt_tokenizer *t)
{
    return &t->rules;
}

size_t wt_tokenizer_size(const struct wt_tokenizer *t)
{
    return t->entries.count;
}

const char *wt_tokenizer_entry(const struct wt_tokenizer *t, size_t id)
{
    return id < t->entries.count ? t->entries.bytes + t->entries.entries[id].at : NULL;
}

int32_t wt_tokenizer_id(const struct wt_tokenizer *t, const char *entry)
{
    return wt_table_find(&t->entries, entry, strlen(entry));
}

const struct wt_specials *wt_tokenizer_specials(const struct wt_tokenizer *t)
{
    return &t->specials;
}

bool wt_tokenizer_is_special(const struct wt_tokenizer *t, int32_t id)
{
    return id == t->specials.pad || id == t->specials.unknown || id == t->specials.begin ||
           id == t->specials.end || id == t->specials.mask;
}
