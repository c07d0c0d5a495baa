/* A hash table of byte strings, open addressing; and an array that grows. */
#include <stdlib.h>
#include <string.h>

#include "workload/table.h"

void wt_table_done(struct wt_table *t)
{
    free(t->bytes);
    free(t->entries);
    free(t->slots);
    memset(t, 0, sizeof(*t));
}

static uint64_t hash_bytes(const char *s, size_t length)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

/* The slot where a string is or would be. */
static size_t table_slot(const struct wt_table *t, const char *s, size_t length)
{
    size_t i = hash_bytes(s, length) & (t->slot_count - 1);
    while (t->slots[i]) {
        const struct wt_table_entry *e = &t->entries[t->slots[i] - 1];
        if (e->length == length && memcmp(t->bytes + e->at, s, length) == 0)
            break;
        i = (i + 1) & (t->slot_count - 1);
    }
    return i;
}

int32_t wt_table_find(const struct wt_table *t, const char *s, size_t length)
{
    return t->slot_count ? (int32_t)t->slots[table_slot(t, s, length)] - 1 : -1;
}

bool wt_grow(void *array, size_t *size, size_t want, size_t element)
{
    if (want <= *size)
        return true;
    size_t bigger = *size ? *size : 64;
    while (bigger < want)
        bigger *= 2;
    void *block;
    memcpy(&block, array, sizeof(block)); /* whatever it points to */
    void *moved = realloc(block, bigger * element);
    if (!moved)
        return false;
    memcpy(array, &moved, sizeof(moved));
    *size = bigger;
    return true;
}

int32_t wt_table_put(struct wt_table *t, const char *s, size_t length)
{
    if (2 * (t->count + 1) > t->slot_count) {
        size_t count = t->slot_count ? 2 * t->slot_count : 1024;
        uint32_t *slots = calloc(count, sizeof(*slots));
        if (!slots)
            return -1;
        free(t->slots);
        t->slots = slots;
        t->slot_count = count;
        for (size_t i = 0; i < t->count; i++)
            slots[table_slot(t, t->bytes + t->entries[i].at, t->entries[i].length)] =
                (uint32_t)i + 1;
    }
    size_t slot = table_slot(t, s, length);
    if (t->slots[slot])
        return (int32_t)t->slots[slot] - 1;
    if (t->count >= INT32_MAX - 1 ||
        !wt_grow(&t->entries, &t->size, t->count + 1, sizeof(*t->entries)) ||
        !wt_grow(&t->bytes, &t->bytes_size, t->bytes_used + length + 1, 1))
        return -1;
    t->entries[t->count] = (struct wt_table_entry){t->bytes_used, (uint32_t)length, 0};
    memcpy(t->bytes + t->bytes_used, s, length);
    t->bytes[t->bytes_used + length] = '\0';
    t->bytes_used += length + 1;
    t->slots[slot] = (uint32_t)++t->count;
    return (int32_t)t->count - 1;
}
