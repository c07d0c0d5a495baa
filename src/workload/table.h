/* A table of byte strings: numbers in order of arrival.
 *
 * Internal to the workload. Threads: owner thread to change it, any thread once it is constant. */
#ifndef WT_WORKLOAD_TABLE_H
#define WT_WORKLOAD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wt_table_entry {
    size_t at; /* in bytes */
    uint32_t length;
    uint64_t count; /* free for the user */
};
struct wt_table { /* all 0: empty */
    char *bytes;  /* entries follow each other, each with a NUL */
    size_t bytes_used, bytes_size;
    struct wt_table_entry *entries;
    size_t count, size;
    uint32_t *slots; /* 0: free, else the number plus 1 */
    size_t slot_count;
};

void wt_table_done(struct wt_table *table);
/* The string's number, -1 when it is not there. */
int32_t wt_table_find(const struct wt_table *table, const char *s, size_t length);
/* The string's number, a new one if need be; -1 without memory. */
int32_t wt_table_put(struct wt_table *table, const char *s, size_t length);

/* array: address of a pointer to *size elements, which become at least `want`. False without
 * memory, and nothing has changed. */
bool wt_grow(void *array, size_t *size, size_t want, size_t element);

#endif
