/* Byte-level BPE: splitting, merging by a heap, and the checks of a vocabulary. */
#include "workload/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/table.h"
#include "workload/tokenizer.h"
#include "workload/unicode.h"

#define LETTERS_END 0x144 /* the byte alphabet's last character is the one before */

struct merge {
    uint32_t left, right; /* ids */
    uint32_t rank, into;
};

struct wt_bpe {
    struct wt_table entries; /* count: 1 of an added token */
    int32_t byte_ids[256];
    int16_t bytes[LETTERS_END]; /* of a character of the alphabet; -1: it is none */
    struct merge *merges;
    size_t merge_count;
    uint32_t *slots; /* of merges; 0: free, else the number plus 1 */
    size_t slot_count;
};

/* ---- the alphabet ---- */

bool wt_bpe_is_printed(unsigned byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

size_t wt_bpe_letter(unsigned byte, char *buf)
{
    uint32_t code = byte;
    if (!wt_bpe_is_printed(byte)) {
        code = 0x100;
        for (unsigned b = 0; b < byte; b++)
            code += !wt_bpe_is_printed(b);
    }
    return wt_utf8_encode(code, buf);
}

static void make_alphabet(struct wt_bpe *b)
{
    memset(b->bytes, -1, sizeof(b->bytes));
    uint32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++)
        b->bytes[wt_bpe_is_printed(byte) ? byte : next++] = (int16_t)byte;
}

/* The bytes an entry stands for, written to out (as long as the entry is enough); -1 when a
 * character of it is none of the alphabet. */
static int64_t bytes_of(const struct wt_bpe *b, const char *entry, size_t length, char *out)
{
    size_t count = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        size_t n = wt_utf8_decode(entry + at, length - at, &code);
        if (n == 0 || code >= LETTERS_END || b->bytes[code] < 0)
            return -1;
        out[count++] = (char)b->bytes[code];
        at += n;
    }
    return (int64_t)count;
}

/* ---- words ---- */

enum kind { KIND_LETTER, KIND_NUMBER, KIND_SPACE, KIND_OTHER, KIND_END };

static enum kind kind_at(const char *text, size_t size, size_t at, size_t *ret_length)
{
    uint32_t code;
    *ret_length = 0;
    if (at >= size)
        return KIND_END;
    size_t n = wt_utf8_decode(text + at, size - at, &code);
    *ret_length = n ? n : 1; /* checked before */
    if (n == 0)
        return KIND_OTHER;
    return wt_unicode_is_letter(code)   ? KIND_LETTER
           : wt_unicode_is_number(code) ? KIND_NUMBER
           : wt_unicode_is_space(code)  ? KIND_SPACE
                                        : KIND_OTHER;
}

size_t wt_bpe_word_end(const char *text, size_t size, size_t at)
{
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; text[at] == '\'' && i < WT_COUNTOF(endings); i++) {
        size_t length = strlen(endings[i]);
        if (size - at >= length && memcmp(text + at, endings[i], length) == 0)
            return at + length;
    }
    size_t n, end = at;
    enum kind kind = kind_at(text, size, at, &n);
    if (text[at] == ' ') { /* goes with what follows */
        size_t more;
        enum kind next = kind_at(text, size, at + 1, &more);
        if (next != KIND_SPACE && next != KIND_END) {
            kind = next;
            end = at + 1;
        }
    }
    size_t last = at; /* the beginning of the last character */
    while (kind_at(text, size, end, &n) == kind) {
        last = end;
        end += n;
    }
    /* White space before a word leaves its last character to that word. */
    return kind == KIND_SPACE && end < size && last > at ? last : end;
}

/* ---- merges ---- */

static size_t merge_slot(const struct wt_bpe *b, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (h >> 20) & (b->slot_count - 1);
    while (b->slots[i] &&
           (b->merges[b->slots[i] - 1].left != left || b->merges[b->slots[i] - 1].right != right))
        i = (i + 1) & (b->slot_count - 1);
    return i;
}

static const struct merge *find_merge(const struct wt_bpe *b, uint32_t left, uint32_t right)
{
    uint32_t number = b->slots[merge_slot(b, left, right)];
    return number ? &b->merges[number - 1] : NULL;
}

int wt_bpe_merges(struct wt_bpe_merge **ret_merges, size_t *ret_count, const char *name,
                  const char *text, size_t size, struct wt_error *err)
{
    struct wt_bpe_merge *merges = NULL;
    size_t count = 0, room = 0, line = 0;
    int rc = wt_utf8_check(name, text, size, err);
    if (rc == 0 && !wt_grow(&merges, &room, 1, sizeof(*merges)))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %s", name);
    for (size_t at = wt_utf8_mark(text, size); at < size && rc == 0;) {
        const char *from = text + at, *end = memchr(from, '\n', size - at);
        size_t length = end ? (size_t)(end - from) : size - at;
        at += length + 1;
        line++;
        if (length > 0 && from[length - 1] == '\r')
            length--;
        if (line == 1 && length >= 8 && memcmp(from, "#version", 8) == 0)
            continue;
        const char *space = memchr(from, ' ', length);
        size_t left = space ? (size_t)(space - from) : 0;
        if (left == 0 || left + 1 == length || memchr(space + 1, ' ', length - left - 1)) {
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: not two entries with a space between them",
                         name, line);
            wt_fix(err, "give the merges.txt of a GPT-2 (byte-level BPE) model");
        } else if (!wt_grow(&merges, &room, count + 1, sizeof(*merges))) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory for %s", name);
        } else {
            merges[count++] = (struct wt_bpe_merge){from, space + 1, left, length - left - 1, line};
        }
    }
    if (rc < 0) {
        free(merges);
        return rc;
    }
    *ret_merges = merges;
    *ret_count = count;
    return 0;
}

/* ---- making one ---- */

static int take_entries(struct wt_bpe *b, const struct wt_bpe_source *s, struct wt_error *err)
{
    for (size_t i = 0; i < 256; i++)
        b->byte_ids[i] = -1;
    for (size_t i = 0; i < s->count; i++) {
        const char *entry = s->entries[i];
        size_t length = strlen(entry);
        char bytes[1000];
        if (length == 0 || length > sizeof(bytes))
            return wt_fail(err, WT_E_FORMAT, "%s: entry %zu is %s", s->name, i,
                           length ? "longer than 1000 bytes" : "empty");
        int32_t id = wt_table_put(&b->entries, entry, length);
        if (id < 0)
            return wt_fail(err, WT_E_NOMEM, "no memory for the vocabulary %s", s->name);
        if ((size_t)id != i)
            return wt_fail(err, WT_E_FORMAT, "%s: entry %zu, \"%.100s\", is entry %d already",
                           s->name, i, entry, id);
        b->entries.entries[id].count = s->is_added && s->is_added[i];
        if (b->entries.entries[id].count)
            continue;
        int64_t count = bytes_of(b, entry, length, bytes);
        if (count < 0)
            return wt_fail(err, WT_E_FORMAT,
                           "%s: entry %zu, \"%.100s\", is not written in the byte alphabet",
                           s->name, i, entry);
        if (count == 1)
            b->byte_ids[(unsigned char)bytes[0]] = id;
    }
    for (unsigned i = 0; i < 256; i++)
        if (b->byte_ids[i] < 0) {
            int rc = wt_fail(err, WT_E_FORMAT, "%s: no entry is the byte 0x%02x", s->name, i);
            wt_fix(err, "give the vocabulary of a GPT-2 (byte-level BPE) model");
            return rc;
        }
    return 0;
}

static int take_merges(struct wt_bpe *b, const struct wt_bpe_source *s, struct wt_error *err)
{
    size_t slots = 64;
    while (slots < 2 * (s->merge_count + 1))
        slots *= 2;
    b->slots = calloc(slots, sizeof(*b->slots));
    b->slot_count = slots;
    b->merges = calloc(s->merge_count + 1, sizeof(*b->merges));
    if (!b->slots || !b->merges)
        return wt_fail(err, WT_E_NOMEM, "no memory for the merges %s", s->merges_name);
    for (size_t i = 0; i < s->merge_count; i++) {
        const struct wt_bpe_merge *m = &s->merges[i];
        char place[300], whole[1000];
        wt_text(place, sizeof(place), "%s%s%zu", s->merges_name, s->are_lines ? ":" : ": merge ",
                m->line);
        if (m->left_length + m->right_length > sizeof(whole))
            return wt_fail(err, WT_E_FORMAT, "%s: longer than 1000 bytes", place);
        memcpy(whole, m->left, m->left_length);
        memcpy(whole + m->left_length, m->right, m->right_length);
        const struct {
            const char *text;
            size_t length;
        } parts[3] = {{m->left, m->left_length},
                      {m->right, m->right_length},
                      {whole, m->left_length + m->right_length}};
        int32_t ids[3];
        for (size_t k = 0; k < 3; k++) {
            ids[k] = wt_table_find(&b->entries, parts[k].text, parts[k].length);
            if (ids[k] >= 0 && b->entries.entries[ids[k]].count)
                return wt_fail(err, WT_E_FORMAT, "%s: \"%.*s\" is an added token of %s", place,
                               (int)(parts[k].length < 100 ? parts[k].length : 100), parts[k].text,
                               s->name);
            if (ids[k] < 0) {
                int rc = wt_fail(err, WT_E_FORMAT, "%s: \"%.*s\" is no entry of %s", place,
                                 (int)(parts[k].length < 100 ? parts[k].length : 100),
                                 parts[k].text, s->name);
                wt_fix(err, "vocabulary and merges must be of the same model");
                return rc;
            }
        }
        size_t slot = merge_slot(b, (uint32_t)ids[0], (uint32_t)ids[1]);
        if (b->slots[slot])
            return wt_fail(err, WT_E_FORMAT, "%s: the same as the merge on %s %zu", place,
                           s->are_lines ? "line" : "place", s->merges[b->slots[slot] - 1].line);
        b->merges[i] =
            (struct merge){(uint32_t)ids[0], (uint32_t)ids[1], (uint32_t)i, (uint32_t)ids[2]};
        b->slots[slot] = (uint32_t)++b->merge_count;
    }
    return 0;
}

int wt_bpe_make(struct wt_bpe **ret_bpe, const struct wt_bpe_source *source, struct wt_error *err)
{
    struct wt_bpe *b = calloc(1, sizeof(*b));
    if (!b)
        return wt_fail(err, WT_E_NOMEM, "no memory for a vocabulary");
    make_alphabet(b);
    int rc = take_entries(b, source, err);
    if (rc == 0)
        rc = take_merges(b, source, err);
    if (rc == 0) {
        *ret_bpe = b;
        b = NULL;
    }
    wt_bpe_free(b);
    return rc;
}

void wt_bpe_free(struct wt_bpe *b)
{
    if (!b)
        return;
    wt_table_done(&b->entries);
    free(b->merges);
    free(b->slots);
    free(b);
}

size_t wt_bpe_size(const struct wt_bpe *b)
{
    return b->entries.count;
}

const char *wt_bpe_entry(const struct wt_bpe *b, size_t id)
{
    return id < b->entries.count ? b->entries.bytes + b->entries.entries[id].at : NULL;
}

bool wt_bpe_merge_at(const struct wt_bpe *b, size_t i, uint32_t *ret_left, uint32_t *ret_right)
{
    if (i >= b->merge_count)
        return false;
    *ret_left = b->merges[i].left;
    *ret_right = b->merges[i].right;
    return true;
}

int32_t wt_bpe_id(const struct wt_bpe *b, const char *entry)
{
    return wt_table_find(&b->entries, entry, strlen(entry));
}

/* ---- encoding ---- */

/* Two neighbours that may be merged. Out of date when another merge came first: found by looking
 * them up again. */
struct chance {
    uint32_t rank, at; /* of the left one */
};
struct symbol {
    uint32_t id; /* DEAD: merged into the one before */
    uint32_t before, after;
};
#define DEAD UINT32_MAX
#define NONE UINT32_MAX

/* A word's symbols, and the chances among them: the lowest rank first, then the leftmost. */
struct word {
    struct symbol *symbols;
    size_t room;
    struct chance *heap;
    size_t heap_count, heap_room;
};

static bool is_sooner(struct chance a, struct chance b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

/* The heap has room: a word of n bytes has at most n - 1 chances at first, and each of its at most
 * n - 1 merges takes one away and adds two. */
static void push(const struct wt_bpe *b, struct word *w, uint32_t at)
{
    uint32_t after = w->symbols[at].after;
    if (after == NONE)
        return;
    const struct merge *m = find_merge(b, w->symbols[at].id, w->symbols[after].id);
    if (!m)
        return;
    struct chance chance = {m->rank, at};
    size_t i = w->heap_count++;
    for (; i > 0 && is_sooner(chance, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = chance;
}

static struct chance pop(struct word *w)
{
    struct chance top = w->heap[0], last = w->heap[--w->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_count)
            break;
        if (child + 1 < w->heap_count && is_sooner(w->heap[child + 1], w->heap[child]))
            child++;
        if (!is_sooner(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static bool merge_word(const struct wt_bpe *b, struct word *w, const char *bytes, size_t n)
{
    if (!wt_grow(&w->symbols, &w->room, n, sizeof(*w->symbols)) ||
        !wt_grow(&w->heap, &w->heap_room, 3 * n, sizeof(*w->heap)))
        return false;
    for (size_t i = 0; i < n; i++)
        w->symbols[i] =
            (struct symbol){(uint32_t)b->byte_ids[(unsigned char)bytes[i]],
                            i > 0 ? (uint32_t)i - 1 : NONE, i + 1 < n ? (uint32_t)i + 1 : NONE};
    w->heap_count = 0;
    for (size_t i = 0; i + 1 < n; i++)
        push(b, w, (uint32_t)i);
    while (w->heap_count > 0) {
        struct chance chance = pop(w);
        struct symbol *s = &w->symbols[chance.at];
        if (s->id == DEAD || s->after == NONE)
            continue;
        struct symbol *t = &w->symbols[s->after];
        const struct merge *m = find_merge(b, s->id, t->id);
        if (!m || m->rank != chance.rank)
            continue;
        s->id = m->into;
        s->after = t->after;
        t->id = DEAD;
        if (s->after != NONE)
            w->symbols[s->after].before = chance.at;
        if (s->before != NONE)
            push(b, w, s->before);
        push(b, w, chance.at);
    }
    return true;
}

int wt_bpe_encode(const struct wt_bpe *b, const char *name, const char *text, size_t size,
                  int32_t **ret_ids, size_t *ret_count, struct wt_error *err)
{
    if (size > INT32_MAX)
        return wt_fail(err, WT_E_RANGE, "%s: %zu bytes are more than the 2 GiB that are cut", name,
                       size);
    int rc = wt_utf8_check(name, text, size, err);
    if (rc < 0)
        return rc;
    struct word w = {0};
    int32_t *ids = NULL;
    size_t count = 0, room = 0;
    bool is_fine = wt_grow(&ids, &room, 1, sizeof(*ids));
    for (size_t at = 0, end; at < size && is_fine; at = end) {
        end = wt_bpe_word_end(text, size, at);
        is_fine = merge_word(b, &w, text + at, end - at) &&
                  wt_grow(&ids, &room, count + end - at, sizeof(*ids));
        for (uint32_t i = 0; is_fine && i != NONE; i = w.symbols[i].after)
            ids[count++] = (int32_t)w.symbols[i].id;
    }
    free(w.symbols);
    free(w.heap);
    if (!is_fine) {
        free(ids);
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for its tokens", name);
    }
    *ret_ids = ids;
    *ret_count = count;
    return 0;
}

int wt_bpe_decode(const struct wt_bpe *b, const int32_t *ids, size_t count, char **ret_text,
                  size_t *ret_size, struct wt_error *err)
{
    char *text = NULL;
    size_t used = 0, room = 0;
    bool is_fine = wt_grow(&text, &room, 1, 1);
    for (size_t i = 0; i < count && is_fine; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= b->entries.count) {
            free(text);
            return wt_fail(err, WT_E_RANGE, "token %zu is %d, and the vocabulary ends at %zu", i,
                           ids[i], b->entries.count - 1);
        }
        const struct wt_table_entry *e = &b->entries.entries[ids[i]];
        const char *entry = b->entries.bytes + e->at;
        is_fine = wt_grow(&text, &room, used + e->length + 1, 1);
        if (!is_fine)
            break;
        if (e->count) {
            memcpy(text + used, entry, e->length);
            used += e->length;
        } else {
            used += (size_t)bytes_of(b, entry, e->length, text + used);
        }
    }
    if (!is_fine) {
        free(text);
        return wt_fail(err, WT_E_NOMEM, "no memory for the text of %zu tokens", count);
    }
    text[used] = '\0';
    *ret_text = text;
    *ret_size = used;
    return 0;
}
