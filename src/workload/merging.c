/* Counting pairs of neighbours, a heap of them, and the words each is in. */
#include "workload/merging.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* Two neighbouring symbols: how often, and in which words (with repeats, and some that have them no
 * longer). */
struct wt_merging_pair {
    uint32_t left, right;
    uint64_t count;
    uint32_t *words;
    size_t word_count, word_size;
    uint32_t stamp; /* the merge that last touched it */
};
/* What the pair counted when it was put on the heap; a smaller count is found out when it comes up.
 */
struct wt_merging_claim {
    uint64_t count;
    uint32_t pair;
};

void wt_merging_done(struct wt_merging *r)
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
    free(r->merges);
    wt_table_done(&r->words);
}

/* Ties go to the pair whose symbols are older: the order does not depend on the heap. */
static bool is_better(const struct wt_merging *r, const struct wt_merging_claim *a,
                      const struct wt_merging_claim *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    const struct wt_merging_pair *p = &r->pairs[a->pair], *q = &r->pairs[b->pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool heap_push(struct wt_merging *r, uint32_t pair)
{
    if (!wt_grow(&r->heap, &r->heap_size, r->heap_count + 1, sizeof(*r->heap)))
        return false;
    struct wt_merging_claim claim = {r->pairs[pair].count, pair};
    size_t i = r->heap_count++;
    for (; i > 0 && is_better(r, &claim, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = claim;
    return true;
}

static struct wt_merging_claim heap_pop(struct wt_merging *r)
{
    struct wt_merging_claim top = r->heap[0], last = r->heap[--r->heap_count];
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

static size_t pair_slot(const struct wt_merging *r, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (h >> 20) & (r->slot_count - 1);
    while (r->slots[i] &&
           (r->pairs[r->slots[i] - 1].left != left || r->pairs[r->slots[i] - 1].right != right))
        i = (i + 1) & (r->slot_count - 1);
    return i;
}

/* The pair's number, a new one if need be; -1 without memory. */
static int64_t pair_put(struct wt_merging *r, uint32_t left, uint32_t right)
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
    r->pairs[r->pair_count] = (struct wt_merging_pair){.left = left, .right = right};
    r->slots[slot] = (uint32_t)++r->pair_count;
    return (int64_t)r->pair_count - 1;
}

/* Adds (or takes away) a word's pairs. It is entered into the lists of those with `fresh` in them,
 * or of all when fresh is UINT32_MAX: it is in the others' already. */
static bool count_word(struct wt_merging *r, uint32_t word, bool is_added, uint32_t fresh)
{
    const uint32_t *s = r->symbols[word];
    uint64_t times = r->words.entries[word].count;
    for (uint32_t i = 0; i + 1 < r->symbol_counts[word]; i++) {
        int64_t at = pair_put(r, s[i], s[i + 1]);
        if (at < 0)
            return false;
        struct wt_merging_pair *p = &r->pairs[at];
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

static bool push_touched(struct wt_merging *r)
{
    for (size_t i = 0; i < r->touched_count; i++)
        if (r->pairs[r->touched[i]].count > 0 && !heap_push(r, r->touched[i]))
            return false;
    r->touched_count = 0;
    r->stamp++;
    return true;
}

/* The entry of two joined: "un" "##til" is "until". */
static int32_t joined(struct wt_merging *r, const struct wt_merging_pair *p)
{
    struct wt_table *t = r->entries;
    char text[WT_MERGING_WORD_MAX * 4 + 8];
    const struct wt_table_entry *left = &t->entries[p->left], *right = &t->entries[p->right];
    size_t length = left->length + right->length - r->prefix;
    memcpy(text, t->bytes + left->at, left->length);
    memcpy(text + left->length, t->bytes + right->at + r->prefix, right->length - r->prefix);
    return wt_table_put(t, text, length);
}

static bool merge(struct wt_merging *r, uint32_t pair)
{
    uint32_t left = r->pairs[pair].left, right = r->pairs[pair].right;
    int32_t id = joined(r, &r->pairs[pair]);
    if (id < 0 || !wt_grow(&r->merges, &r->merge_size, r->merge_count + 1, sizeof(*r->merges)))
        return false;
    r->merges[r->merge_count++] = (struct wt_merging_merge){left, right, (uint32_t)id};
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

bool wt_merging_begin(struct wt_merging *r)
{
    r->symbols = calloc(r->words.count + 1, sizeof(*r->symbols));
    r->symbol_counts = calloc(r->words.count + 1, sizeof(*r->symbol_counts));
    r->stamp = 1;
    return r->symbols && r->symbol_counts;
}

bool wt_merging_word(struct wt_merging *r, size_t word, const uint32_t *symbols, size_t count)
{
    r->symbols[word] = malloc(count * sizeof(*symbols) + 1);
    if (!r->symbols[word])
        return false;
    memcpy(r->symbols[word], symbols, count * sizeof(*symbols));
    r->symbol_counts[word] = (uint32_t)count;
    return count_word(r, (uint32_t)word, true, UINT32_MAX);
}

bool wt_merging_run(struct wt_merging *r, size_t max_size)
{
    if (!push_touched(r))
        return false;
    while (r->heap_count > 0 && r->entries->count < max_size) {
        struct wt_merging_claim top = heap_pop(r);
        uint64_t now = r->pairs[top.pair].count;
        if (now == top.count) {
            if (now < 2)
                break; /* nothing is left that comes twice */
            if (!merge(r, top.pair))
                return false;
        } else if (now > 0 && now < top.count && !heap_push(r, top.pair)) {
            return false;
        }
    }
    return true;
}
