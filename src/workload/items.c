/* Lines and tables of text as sequences. */
#include "workload/items.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"
#include "workload/digest.h"
#include "workload/random.h"
#include "workload/table.h"

#define HELD_OUT_EVERY 10
#define HELD_OUT_KEY                                                                               \
    UINT64_C(0x68656c64) /* not the run's seed: all runs are judged by the same rows */

struct building {
    struct wt_items *items;
    const struct wt_vocabulary *vocabulary;
    struct wt_marks marks;
    const char *name;
    unsigned seq;
    int32_t unknown; /* -1: the vocabulary has every byte */
    size_t id_count, id_room, start_room, label_room;
};

static struct building building_of(struct wt_items *items, const struct wt_vocabulary *vocabulary,
                                   const char *name, unsigned seq)
{
    return (struct building){
        .items = items,
        .vocabulary = vocabulary,
        .marks = wt_vocabulary_marks(vocabulary),
        .name = name,
        .seq = seq,
        .unknown = wt_vocabulary_wordpiece(vocabulary) ? wt_vocabulary_id(vocabulary, "[UNK]") : -1,
    };
}

static int no_memory(const char *name, struct wt_error *err)
{
    return wt_fail(err, WT_E_NOMEM, "%s: no memory for its sequences", name);
}

/* One or two texts as a sequence: of two, the longer one loses its end first. */
static int add(struct building *b, const char *const *texts, const size_t *sizes, size_t count,
               struct wt_error *err)
{
    struct wt_items *items = b->items;
    bool is_wordpiece = wt_vocabulary_wordpiece(b->vocabulary) != NULL;
    int32_t *ids[2] = {NULL, NULL};
    size_t lengths[2] = {0, 0};
    /* [CLS] a [SEP] (b [SEP]); a (end b) */
    size_t around = is_wordpiece ? 1 + count : count - 1, most = b->seq - around;
    int rc = 0;
    if (b->seq < around + count) {
        rc = wt_fail(err, WT_E_USAGE, "--seq %u leaves no room for %s", b->seq,
                     count == 2 ? "two texts" : "a text");
        wt_fix(err, "give %zu or more", around + count);
        return rc;
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = wt_vocabulary_encode(b->vocabulary, b->name, texts[i], sizes[i], &ids[i], &lengths[i],
                                  err);
    bool is_cut = false;
    while (lengths[0] + lengths[1] > most) {
        size_t *longer = lengths[1] > lengths[0] ? &lengths[1] : &lengths[0];
        size_t other = lengths[1] > lengths[0] ? lengths[0] : lengths[1];
        /* Down to the other's length at once, or as far as it must be. */
        size_t over = lengths[0] + lengths[1] - most, above = *longer - other;
        *longer -= above == 0 ? 1 : over < above ? over : above;
        is_cut = true;
    }
    size_t total = lengths[0] + lengths[1] + around;
    if (rc == 0 && lengths[0] + lengths[1] > 0) {
        if (!wt_grow(&items->ids, &b->id_room, b->id_count + total, sizeof(*items->ids)) ||
            !wt_grow(&items->starts, &b->start_room, items->count + 2, sizeof(*items->starts))) {
            rc = no_memory(b->name, err);
            goto out;
        }
        int32_t *at = items->ids + b->id_count;
        items->starts[items->count] = b->id_count;
        if (is_wordpiece)
            *at++ = b->marks.begin;
        for (size_t i = 0; i < count; i++) {
            memcpy(at, ids[i], lengths[i] * sizeof(*at));
            items->words += lengths[i];
            for (size_t k = 0; k < lengths[i]; k++)
                items->unknown += ids[i][k] == b->unknown;
            at += lengths[i];
            if (is_wordpiece || i + 1 < count)
                *at++ = b->marks.end >= 0 ? b->marks.end : 0;
        }
        b->id_count += total;
        items->starts[++items->count] = b->id_count;
        items->cut += is_cut;
    }
out:
    free(ids[0]);
    free(ids[1]);
    return rc;
}

/* One of each ten, drawn, for a table's classes may take turns; of fewer the last. */
static bool is_held_out(size_t i, size_t count)
{
    if (count < HELD_OUT_EVERY)
        return wt_order_is_held_out(i, count, HELD_OUT_EVERY);
    return i % HELD_OUT_EVERY == wt_random_at(HELD_OUT_KEY, i / HELD_OUT_EVERY) % HELD_OUT_EVERY;
}

/* Rows that are held out, and the rest. */
static int divide(struct wt_items *items, const char *name, bool is_table, struct wt_error *err)
{
    size_t n = items->count, train_count = 0;
    uint32_t *train = malloc((n + 1) * sizeof(*train));
    items->held_out = malloc((n + 1) * sizeof(*items->held_out));
    if (!train || !items->held_out || n > UINT32_MAX) {
        free(train);
        return n > UINT32_MAX ? wt_fail(err, WT_E_RANGE, "%s: more than 2^32 sequences", name)
                              : no_memory(name, err);
    }
    for (size_t i = 0; i < n; i++) {
        if (is_table && is_held_out(i, n))
            items->held_out[items->held_out_count++] = (uint32_t)i;
        else
            train[train_count++] = (uint32_t)i;
    }
    return wt_order_init(&items->order, train, train_count, is_table, items->seed, err);
}

int wt_items_lines(struct wt_items *ret, const struct wt_vocabulary *vocabulary, const char *name,
                   const char *text, size_t size, unsigned seq, struct wt_error *err)
{
    struct wt_items items = {0};
    struct building b = building_of(&items, vocabulary, name, seq);
    int rc = wt_utf8_check(name, text, size, err);
    for (size_t at = 0; at < size && rc == 0;) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        size_t length = end ? (size_t)(end - line) : size - at;
        at += length + 1;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (length > 0)
            rc = add(&b, &line, &length, 1, err);
    }
    if (rc == 0 && items.count == 0)
        rc = wt_fail(err, WT_E_FORMAT, "%s: there is no text", name);
    if (rc == 0)
        rc = divide(&items, name, false, err);
    if (rc < 0)
        wt_items_done(&items);
    else
        *ret = items;
    return rc;
}

void wt_items_hold_out(struct wt_items *items)
{
    for (size_t i = 0; i < items->count; i++)
        items->held_out[i] = (uint32_t)i;
    items->held_out_count = items->count;
}

/* ---- tables ---- */

struct field {
    char *text; /* in a copy of the file; quotes are taken out in place */
    size_t size;
};

/* The fields of one row; at and line move behind it. */
static int row_fields(struct field *fields, size_t most, size_t *ret_count, char *text, size_t size,
                      size_t *at, size_t *line, char mark, const char *name, struct wt_error *err)
{
    size_t count = 0, from_line = *line;
    for (bool is_last = false; !is_last;) {
        size_t i = *at, to;
        struct field f = {text + i, 0};
        if (mark == ',' && i < size && text[i] == '"') {
            bool is_open = true;
            f.text = text + ++i;
            for (to = 0; i < size && is_open; i++) {
                bool is_quote = text[i] == '"';
                *line += text[i] == '\n';
                if (is_quote && i + 1 < size && text[i + 1] == '"')
                    f.text[to++] = text[i++];
                else if (is_quote)
                    is_open = false;
                else
                    f.text[to++] = text[i];
            }
            f.size = to;
            bool is_return = i < size && text[i] == '\r' && (i + 1 == size || text[i + 1] == '\n');
            if (is_open || (i < size && text[i] != ',' && text[i] != '\n' && !is_return))
                return wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", name, from_line,
                               is_open ? "a quote is not closed" : "text behind a closed quote");
            i += is_return;
        } else {
            while (i < size && text[i] != mark && text[i] != '\n')
                i++;
            f.size = (size_t)(text + i - f.text);
            if (f.size > 0 && f.text[f.size - 1] == '\r' && (i == size || text[i] == '\n'))
                f.size--;
        }
        is_last = i >= size || text[i] == '\n';
        *at = i + 1;
        if (count == most)
            return wt_fail(err, WT_E_FORMAT,
                           "%s:%zu: more than %zu fields; a row is a label and "
                           "one or two texts",
                           name, from_line, most);
        fields[count++] = f;
    }
    ++*line;
    *ret_count = count;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = 0, y = 0;
    wt_text_to_u64(*(char *const *)a, &x);
    wt_text_to_u64(*(char *const *)b, &y);
    return x != y ? (x > y) - (x < y) : by_name(a, b);
}

static bool are_numbers(char *const *names, size_t count)
{
    uint64_t number;
    size_t i = 0;
    while (i < count && wt_text_to_u64(names[i], &number) == 0)
        i++;
    return i == count;
}

/* Numbers of classes become those of their sorted names. */
static int name_classes(struct wt_items *items, struct wt_table *seen, const char *name,
                        struct wt_error *err)
{
    items->classes = calloc(seen->count, sizeof(*items->classes));
    int32_t *numbers = calloc(seen->count, sizeof(*numbers));
    int rc = items->classes && numbers ? 0 : no_memory(name, err);
    for (size_t i = 0; i < seen->count && rc == 0; i++) {
        items->classes[i] = strdup(seen->bytes + seen->entries[i].at);
        items->class_count += items->classes[i] != NULL;
        if (!items->classes[i])
            rc = no_memory(name, err);
    }
    if (rc == 0) {
        qsort(items->classes, items->class_count, sizeof(*items->classes),
              are_numbers(items->classes, items->class_count) ? by_number : by_name);
        for (size_t i = 0; i < items->class_count; i++)
            numbers[wt_table_find(seen, items->classes[i], strlen(items->classes[i]))] = (int32_t)i;
        for (size_t i = 0; i < items->count; i++)
            items->labels[i] = numbers[items->labels[i]];
    }
    free(numbers);
    return rc;
}

static int add_row(struct building *b, struct wt_table *seen, const struct field *fields,
                   size_t count, size_t line, struct wt_error *err)
{
    struct wt_items *items = b->items;
    const char *texts[2] = {fields[1].text, fields[2].text};
    size_t sizes[2] = {fields[1].size, fields[2].size}, before = items->count;
    int32_t label = wt_table_put(seen, fields[0].text, fields[0].size);
    if (label < 0 || !wt_grow(&items->labels, &b->label_room, before + 1, sizeof(*items->labels)))
        return no_memory(b->name, err);
    if (seen->count > WT_ITEMS_CLASSES_MAX)
        return wt_fail(err, WT_E_FORMAT,
                       "%s:%zu: more than %d different labels; the first field "
                       "of a row is its label",
                       b->name, line, WT_ITEMS_CLASSES_MAX);
    items->labels[before] = label;
    int rc = add(b, texts, sizes, count - 1, err);
    if (rc == 0 && items->count == before)
        rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: a label and no text behind it", b->name, line);
    return rc;
}

/* A table's rows, one after the other. */
struct reading {
    const char *name;
    char *copy;
    size_t size, at, line; /* line: of the next row */
    char mark;
    struct field fields[3]; /* of the row that was read */
    size_t count, row_line;
};

static int begin_reading(struct reading *r, const char *name, const char *text, size_t size,
                         struct wt_error *err)
{
    size_t length = strlen(name);
    bool is_csv = length > 4 && strcasecmp(name + length - 4, ".csv") == 0;
    *r = (struct reading){.name = name,
                          .copy = malloc(size + 1),
                          .size = size,
                          .line = 1,
                          .mark = is_csv ? ',' : '\t'};
    if (!r->copy)
        return no_memory(name, err);
    memcpy(r->copy, text, size);
    return wt_utf8_check(name, text, size, err);
}

/* The next row that is neither empty nor the heading: 1; at the end 0. */
static int next_row(struct reading *r, struct wt_error *err)
{
    while (r->at < r->size) {
        memset(r->fields, 0, sizeof(r->fields));
        r->row_line = r->line;
        int rc = row_fields(r->fields, WT_COUNTOF(r->fields), &r->count, r->copy, r->size, &r->at,
                            &r->line, r->mark, r->name, err);
        if (rc < 0)
            return rc;
        const struct field *label = &r->fields[0];
        bool is_empty = r->count == 1 && label->size == 0;
        bool is_heading =
            r->row_line == 1 && label->size == 5 && memcmp(label->text, "label", 5) == 0;
        if (is_empty || is_heading)
            continue;
        if (label->size == 0 || r->count < 2 || memchr(label->text, '\0', label->size)) {
            rc = wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", r->name, r->row_line,
                         r->count < 2 ? "a label and no text behind it" : "a row without a label");
            if (r->count < 2)
                wt_fix(err, r->mark == ','
                                ? "label,text in each line"
                                : "label, tab, text in each line; a table with commas is "
                                  "called .csv");
            return rc;
        }
        return 1;
    }
    return 0;
}

int wt_items_texts(const char *name, const char *text, size_t size, char **ret_text,
                   size_t *ret_size, struct wt_error *err)
{
    struct reading r;
    size_t used = 0;
    char *texts = malloc(size + 2); /* no longer than the table, but for the last line's end */
    int rc = begin_reading(&r, name, text, size, err);
    if (rc == 0 && !texts)
        rc = no_memory(name, err);
    while (rc == 0 && (rc = next_row(&r, err)) > 0) {
        for (size_t i = 1; i < r.count; i++) {
            memcpy(texts + used, r.fields[i].text, r.fields[i].size);
            used += r.fields[i].size;
            texts[used++] = '\n';
        }
        rc = 0;
    }
    free(r.copy);
    if (rc < 0) {
        free(texts);
        return rc;
    }
    *ret_text = texts;
    *ret_size = used;
    return 0;
}

int wt_items_table(struct wt_items *ret, const struct wt_vocabulary *vocabulary, const char *name,
                   const char *text, size_t size, unsigned seq, uint64_t seed, struct wt_error *err)
{
    struct wt_items items = {.seed = seed};
    struct building b = building_of(&items, vocabulary, name, seq);
    struct wt_table seen = {0};
    struct reading r;
    int rc = begin_reading(&r, name, text, size, err);
    while (rc == 0 && (rc = next_row(&r, err)) > 0)
        rc = add_row(&b, &seen, r.fields, r.count, r.row_line, err);
    if (rc == 0 && items.count == 0)
        rc = wt_fail(err, WT_E_FORMAT, "%s: there are no rows", name);
    if (rc == 0)
        rc = name_classes(&items, &seen, name, err);
    if (rc == 0)
        rc = divide(&items, name, true, err);
    free(r.copy);
    wt_table_done(&seen);
    if (rc < 0) {
        wt_items_done(&items);
        return rc;
    }
    *ret = items;
    return 0;
}

/* ---- classes as a classifier numbers them ---- */

static size_t place_of(const char *label, char *const *names, size_t count)
{
    size_t i = 0;
    while (i < count && strcmp(names[i], label) != 0)
        i++;
    return i;
}

static int unknown_label(const struct wt_items *items, size_t class, char *const *names,
                         size_t count, const char *model, const char *name, struct wt_error *err)
{
    char list[160] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);
        if (used > 100) {
            wt_text(list + used, sizeof(list) - used, ", ...");
            break;
        }
        wt_text(list + used, sizeof(list) - used, "%s%.40s", i ? ", " : "", names[i]);
    }
    return wt_fail(err, WT_E_USAGE, "%s: the label \"%.60s\" is none of the %zu classes of %s (%s)",
                   name, items->classes[class], count, model, list);
}

int wt_items_number(struct wt_items *items, char *const *names, size_t count, const char *model,
                    const char *name, struct wt_error *err)
{
    int32_t *numbers = calloc(items->class_count + 1, sizeof(*numbers));
    char **copies = calloc(count + 1, sizeof(*copies));
    size_t known = 0, before_count = items->class_count;
    int rc = numbers && copies ? 0 : no_memory(name, err);
    for (size_t i = 0; i < items->class_count; i++)
        known += place_of(items->classes[i], names, count) < count;
    for (size_t i = 0; rc == 0 && i < items->class_count; i++) {
        uint64_t number = place_of(items->classes[i], names, count);
        if (known == 0 && wt_text_to_u64(items->classes[i], &number) < 0)
            number = count;
        if (number >= count)
            rc = unknown_label(items, i, names, count, model, name, err);
        numbers[i] = (int32_t)number;
    }
    items->has_number_labels = rc == 0 && known == 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!(copies[i] = strdup(names[i])))
            rc = no_memory(name, err);
    if (rc == 0) {
        for (size_t i = 0; i < items->count; i++)
            items->labels[i] = numbers[items->labels[i]];
        char **before = items->classes;
        items->classes = copies;
        items->class_count = count;
        copies = before;
        count = before_count;
    }
    for (size_t i = 0; copies && i < count; i++)
        free(copies[i]);
    free(copies);
    free(numbers);
    return rc;
}

int wt_items_random(struct wt_items *ret, size_t vocabulary_size, size_t count, unsigned seq,
                    uint64_t seed, struct wt_error *err)
{
    struct wt_items items = {.seed = seed, .count = count};
    struct wt_random random = {seed ^ 0x6974656d73, 0};
    size_t used = 0;
    if (vocabulary_size < 8)
        return wt_fail(err, WT_E_USAGE, "a vocabulary of %zu entries: random tokens need 8 or more",
                       vocabulary_size);
    items.starts = calloc(count + 1, sizeof(*items.starts));
    items.ids = calloc(count, seq * sizeof(*items.ids));
    int rc = items.starts && items.ids ? divide(&items, "random tokens", false, err)
                                       : no_memory("random tokens", err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        size_t least = seq / 4 ? seq / 4 : 1, n = least + wt_random_below(&random, seq - least + 1);
        for (size_t k = 0; k < n; k++)
            items.ids[used++] = 5 + (int32_t)wt_random_below(&random, vocabulary_size - 5);
        items.starts[i + 1] = used;
    }
    if (rc < 0)
        wt_items_done(&items);
    else
        *ret = items;
    return rc;
}

void wt_items_done(struct wt_items *items)
{
    for (size_t i = 0; i < items->class_count; i++)
        free(items->classes[i]);
    free(items->classes);
    free(items->ids);
    free(items->starts);
    free(items->labels);
    wt_order_done(&items->order);
    free(items->held_out);
    memset(items, 0, sizeof(*items));
}

/* ---- batches ---- */

static size_t length_of(const struct wt_items *items, size_t item)
{
    return items->starts[item + 1] - items->starts[item];
}

/* width: of a padded sequence */
static void put(const struct wt_items *items, size_t item, struct wt_feed *feed, size_t width)
{
    size_t from = items->starts[item], length = length_of(items, item);
    size_t row = feed->count++, first = feed->is_packed ? feed->rows : row * width;
    memcpy(feed->tokens + first, items->ids + from, length * sizeof(*feed->tokens));
    for (size_t i = length; !feed->is_packed && i < width; i++)
        feed->tokens[first + i] = 0;
    feed->starts[row] = (int32_t)first;
    feed->lengths[row] = (int32_t)length;
    feed->rows = first + (feed->is_packed ? length : width);
    if (items->labels)
        feed->targets[row] = items->labels[item];
}

static size_t fill(const struct wt_items *items, const uint32_t *numbers, size_t count,
                   struct wt_feed *feed)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++)
        width = length_of(items, numbers[i]) > width ? length_of(items, numbers[i]) : width;
    feed->count = feed->rows = feed->chosen_count = 0;
    for (size_t i = 0; i < count; i++)
        put(items, numbers[i], feed, width);
    return wt_feed_tokens(feed);
}

size_t wt_items_fill(const struct wt_items *items, const uint32_t *list, size_t list_count,
                     size_t first, struct wt_feed *feed, unsigned sequences)
{
    size_t left = first < list_count ? list_count - first : 0;
    return fill(items, list + first, left < sequences ? left : sequences, feed);
}

size_t wt_items_next(struct wt_items *items, struct wt_feed *feed, unsigned sequences)
{
    uint32_t *numbers = (uint32_t *)feed->chosen; /* room for them, which is not used here */
    for (unsigned i = 0; i < sequences; i++)
        numbers[i] = wt_order_next(&items->order);
    return fill(items, numbers, sequences, feed);
}

uint64_t wt_items_digest(const struct wt_items *items)
{
    uint64_t digest = wt_digest(WT_DIGEST_BEGIN, items->ids, items->starts[items->count]);
    digest = wt_digest(digest, items->starts,
                       (items->count + 1) * (sizeof(*items->starts) / sizeof(uint32_t)));
    if (items->labels)
        digest = wt_digest(digest, items->labels, items->count);
    for (size_t i = 0; i < items->class_count; i++)
        for (const char *c = items->classes[i]; c == items->classes[i] || c[-1]; c++) {
            uint32_t word = (unsigned char)*c;
            digest = wt_digest(digest, &word, 1);
        }
    return digest;
}

void wt_items_count_classes(const struct wt_items *items, size_t *ret_all, size_t *ret_trained)
{
    memset(ret_all, 0, items->class_count * sizeof(*ret_all));
    memset(ret_trained, 0, items->class_count * sizeof(*ret_trained));
    for (size_t i = 0; i < items->count; i++)
        ret_all[items->labels[i]]++;
    for (size_t i = 0; i < items->order.count; i++)
        ret_trained[items->labels[items->order.list[i]]]++;
}

uint64_t wt_items_place(const struct wt_items *items)
{
    return wt_order_place(&items->order);
}

void wt_items_seek(struct wt_items *items, uint64_t place)
{
    wt_order_seek(&items->order, place);
}
