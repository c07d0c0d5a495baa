/* WordPiece: cleaning and splitting, cutting into pieces, and making a vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/table.h"
#include "workload/tokenizer.h"
#include "workload/unicode.h"

#define WORD_MAX     100  /* characters; a longer word is [UNK], as in BERT */
#define ALPHABET_MAX 1000 /* characters a made vocabulary keeps, the most frequent */
#define SIZE_MIN     64   /* of a made vocabulary */

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

/* Two neighbouring symbols: how often, and in which words (with repeats, and some that have them no
 * longer). */
struct pair {
    uint32_t left, right;
    uint64_t count;
    uint32_t *words;
    size_t word_count, word_size;
    uint32_t stamp; /* the merge that last touched it */
};
/* What the pair counted when it was put on the heap; a smaller count is found out when it comes up.
 */
struct claim {
    uint64_t count;
    uint32_t pair;
};
struct trainer {
    struct wt_tokenizer *t;
    struct wt_table words;
    uint32_t **symbols; /* of each word; NULL: left out */
    uint32_t *symbol_counts;
    struct pair *pairs;
    size_t pair_count, pair_size;
    uint32_t *slots; /* of pairs, as in struct wt_table */
    size_t slot_count;
    struct claim *heap;
    size_t heap_count, heap_size;
    uint32_t *touched;
    size_t touched_count, touched_size;
    uint32_t stamp;
};

static void trainer_done(struct trainer *r)
{
    for (size_t i = 0; r->symbols && i < r->words.count; i++)
        free(r->symbols[i]);
    for (size_t i = 0; i < r->pair_count; i++)
        free(r->pairs[i].words);
    free(r->symbols);
    free(r->symbol_counts);
    free(r->pairs);
    free(r->slots);
    free(r->heap);
    free(r->touched);
    wt_table_done(&r->words);
}

/* Ties go to the pair whose symbols are older: the order does not depend on the heap. */
static bool is_better(const struct trainer *r, const struct claim *a, const struct claim *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    const struct pair *p = &r->pairs[a->pair], *q = &r->pairs[b->pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool heap_push(struct trainer *r, uint32_t pair)
{
    if (!wt_grow(&r->heap, &r->heap_size, r->heap_count + 1, sizeof(*r->heap)))
        return false;
    struct claim claim = {r->pairs[pair].count, pair};
    size_t i = r->heap_count++;
    for (; i > 0 && is_better(r, &claim, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = claim;
    return true;
}

static struct claim heap_pop(struct trainer *r)
{
    struct claim top = r->heap[0], last = r->heap[--r->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= r->heap_count)
            break;
        if (child + 1 < r->heap_count && is_better(r, &r->heap[child + 1], &r->heap[child]))
            child++;
        if (!is_better(r, &r->heap[child], &last))
            break;
        r->heap[i] = r->heap[child];
        i = child;
    }
    r->heap[i] = last;
    return top;
}

static size_t pair_slot(const struct trainer *r, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (h >> 20) & (r->slot_count - 1);
    while (r->slots[i] &&
           (r->pairs[r->slots[i] - 1].left != left || r->pairs[r->slots[i] - 1].right != right))
        i = (i + 1) & (r->slot_count - 1);
    return i;
}

/* The pair's number, a new one if need be; -1 without memory. */
static int64_t pair_put(struct trainer *r, uint32_t left, uint32_t right)
{
    if (2 * (r->pair_count + 1) > r->slot_count) {
        size_t count = r->slot_count ? 2 * r->slot_count : 4096;
        uint32_t *slots = calloc(count, sizeof(*slots));
        if (!slots)
            return -1;
        free(r->slots);
        r->slots = slots;
        r->slot_count = count;
        for (size_t i = 0; i < r->pair_count; i++)
            slots[pair_slot(r, r->pairs[i].left, r->pairs[i].right)] = (uint32_t)i + 1;
    }
    size_t slot = pair_slot(r, left, right);
    if (r->slots[slot])
        return r->slots[slot] - 1;
    if (!wt_grow(&r->pairs, &r->pair_size, r->pair_count + 1, sizeof(*r->pairs)))
        return -1;
    r->pairs[r->pair_count] = (struct pair){.left = left, .right = right};
    r->slots[slot] = (uint32_t)++r->pair_count;
    return (int64_t)r->pair_count - 1;
}

/* Adds (or takes away) a word's pairs. It is entered into the lists of those with `fresh` in them,
 * or of all when fresh is UINT32_MAX: it is in the others' already. */
static bool count_word(struct trainer *r, uint32_t word, bool is_added, uint32_t fresh)
{
    const uint32_t *s = r->symbols[word];
    uint64_t times = r->words.entries[word].count;
    for (uint32_t i = 0; i + 1 < r->symbol_counts[word]; i++) {
        int64_t at = pair_put(r, s[i], s[i + 1]);
        if (at < 0)
            return false;
        struct pair *p = &r->pairs[at];
        if (!is_added) {
            p->count -= times;
            continue;
        }
        p->count += times;
        if (fresh != UINT32_MAX && s[i] != fresh && s[i + 1] != fresh)
            continue;
        if (!wt_grow(&p->words, &p->word_size, p->word_count + 1, sizeof(*p->words)))
            return false;
        p->words[p->word_count++] = word;
        if (p->stamp != r->stamp) {
            p->stamp = r->stamp;
            if (!wt_grow(&r->touched, &r->touched_size, r->touched_count + 1, sizeof(*r->touched)))
                return false;
            r->touched[r->touched_count++] = (uint32_t)at;
        }
    }
    return true;
}

static bool push_touched(struct trainer *r)
{
    for (size_t i = 0; i < r->touched_count; i++)
        if (r->pairs[r->touched[i]].count > 0 && !heap_push(r, r->touched[i]))
            return false;
    r->touched_count = 0;
    r->stamp++;
    return true;
}

/* The entry of two joined: "un" "##til" is "until". */
static int32_t joined(struct trainer *r, const struct pair *p)
{
    struct wt_table *t = &r->t->entries;
    char text[WORD_MAX * 4 + 8];
    const struct wt_table_entry *left = &t->entries[p->left], *right = &t->entries[p->right];
    size_t length = left->length + right->length - 2;
    memcpy(text, t->bytes + left->at, left->length);
    memcpy(text + left->length, t->bytes + right->at + 2, right->length - 2);
    return wt_table_put(t, text, length);
}

static bool merge(struct trainer *r, uint32_t pair)
{
    uint32_t left = r->pairs[pair].left, right = r->pairs[pair].right;
    int32_t id = joined(r, &r->pairs[pair]);
    if (id < 0)
        return false;
    /* The list is taken over: counting may move the pairs and lengthen their lists. */
    uint32_t *words = r->pairs[pair].words;
    size_t count = r->pairs[pair].word_count;
    r->pairs[pair].words = NULL;
    r->pairs[pair].word_count = r->pairs[pair].word_size = 0;
    bool is_fine = true;
    for (size_t i = 0; i < count && is_fine; i++) {
        uint32_t word = words[i], *s = r->symbols[word], n = r->symbol_counts[word], at = 0;
        while (at + 1 < n && (s[at] != left || s[at + 1] != right))
            at++;
        if (at + 1 >= n)
            continue; /* merged otherwise meanwhile */
        is_fine = count_word(r, word, false, 0);
        uint32_t kept = 0;
        for (at = 0; at < n; kept++) {
            bool is_here = at + 1 < n && s[at] == left && s[at + 1] == right;
            s[kept] = is_here ? (uint32_t)id : s[at];
            at += is_here ? 2 : 1;
        }
        r->symbol_counts[word] = kept;
        is_fine = is_fine && count_word(r, word, true, (uint32_t)id);
    }
    free(words);
    return is_fine && push_touched(r);
}

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
static int take_alphabet(struct trainer *r, size_t max_size)
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
        if (wt_table_put(&r->t->entries, seen.bytes + e->at, e->length) < 0)
            goto out;
    }
    rc = 0;
out:
    free(order);
    wt_table_done(&seen);
    return rc;
}

/* Each word as symbols. One with a character that is no entry is left out: it would be [UNK]. */
static int split_words(struct trainer *r)
{
    size_t count = r->words.count;
    r->symbols = calloc(count, sizeof(*r->symbols));
    r->symbol_counts = calloc(count, sizeof(*r->symbol_counts));
    if (!r->symbols || !r->symbol_counts)
        return WT_E_NOMEM;
    r->stamp = 1;
    for (size_t i = 0; i < count; i++) {
        const struct wt_table_entry *e = &r->words.entries[i];
        const char *word = r->words.bytes + e->at;
        uint32_t symbols[WORD_MAX], n = 0;
        bool is_known = true;
        for (size_t from = 0, to; from < e->length && is_known; from = to) {
            char text[8] = "##";
            to = character_end(word, e->length, from);
            size_t prefix = from ? 2 : 0;
            memcpy(text + prefix, word + from, to - from);
            int32_t id = wt_table_find(&r->t->entries, text, prefix + to - from);
            is_known = id >= 0;
            symbols[n++] = (uint32_t)id;
        }
        if (!is_known)
            continue;
        r->symbols[i] = malloc(n * sizeof(*symbols));
        if (!r->symbols[i])
            return WT_E_NOMEM;
        memcpy(r->symbols[i], symbols, n * sizeof(*symbols));
        r->symbol_counts[i] = n;
        if (!count_word(r, (uint32_t)i, true, UINT32_MAX))
            return WT_E_NOMEM;
    }
    return push_touched(r) ? 0 : WT_E_NOMEM;
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
    struct trainer r = {.t = calloc(1, sizeof(*r.t))};
    int rc = r.t ? 0 : WT_E_NOMEM;
    if (r.t)
        r.t->rules = wt_wordpiece_uncased;
    for (size_t i = 0; rc == 0 && i < WT_COUNTOF(special_names); i++)
        if (wt_table_put(&r.t->entries, special_names[i], strlen(special_names[i])) < 0)
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
    while (rc == 0 && r.heap_count > 0 && r.t->entries.count < max_size) {
        struct claim top = heap_pop(&r);
        uint64_t now = r.pairs[top.pair].count;
        if (now == top.count) {
            if (now < 2)
                break; /* nothing is left that comes twice */
            if (!merge(&r, top.pair))
                rc = WT_E_NOMEM;
        } else if (now > 0 && now < top.count && !heap_push(&r, top.pair)) {
            rc = WT_E_NOMEM;
        }
    }
    if (rc < 0) {
        rc = wt_fail(err, rc, "no memory to make a vocabulary of %zu words", r.words.count);
        goto out;
    }
    find_specials(r.t);
    *ret_tokenizer = r.t;
    r.t = NULL;
out:
    wt_tokenizer_free(r.t);
    trainer_done(&r);
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
    for (size_t at = 0; at < size && rc == 0;) {
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
