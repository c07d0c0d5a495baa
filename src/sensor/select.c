/* select: which GPUs a list names. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sensor/sensor.h"

/* GPUs are few; a list of them for messages, as "0 (GPU-8f...), 1 (GPU-a3...)". */
static void list_gpus(const struct wt_device_info *gpus, size_t count, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < count && used + 40 < size; i++) {
        if (gpus[i].is_part)
            continue;
        wt_text(buf + used, size - used, "%s%u (%.12s)", used ? ", " : "", gpus[i].index,
                gpus[i].id);
        used += strlen(buf + used);
    }
    if (!used)
        wt_text(buf, size, "none");
}

static bool is_number(const char *word)
{
    return *word && strspn(word, "0123456789") == strlen(word);
}

/* The GPU a word names. Errors: WT_E_NOTFOUND, WT_E_USAGE (several begin so). */
static int find(const struct wt_device_info *gpus, size_t count, const char *word, size_t *ret_i)
{
    if (is_number(word)) {
        uint64_t index;
        if (wt_text_to_u64(word, &index) < 0)
            return WT_E_NOTFOUND;
        /* A part may have a number of its own (the second die of a card), or its whole's. */
        for (int is_part = 0; is_part < 2; is_part++)
            for (size_t i = 0; i < count; i++)
                if (gpus[i].is_part == is_part && gpus[i].index == index) {
                    *ret_i = i;
                    return 0;
                }
        return WT_E_NOTFOUND;
    }
    size_t matches = 0, len = strlen(word);
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(gpus[i].id, word) == 0) {
            *ret_i = i;
            return 0;
        }
        if (strncasecmp(gpus[i].id, word, len) == 0) {
            *ret_i = i;
            matches++;
        }
    }
    return matches == 1 ? 0 : matches ? WT_E_USAGE : WT_E_NOTFOUND;
}

/* Keeps a device with the GPU it is part of, or with the instances that are part of it. */
static void keep_family(const struct wt_device_info *gpus, size_t count, size_t i, bool *keep)
{
    keep[i] = true;
    for (size_t j = 0; j < count; j++)
        if ((gpus[i].is_part && strcmp(gpus[j].id, gpus[i].part_of) == 0) ||
            (gpus[j].is_part && strcmp(gpus[j].part_of, gpus[i].id) == 0))
            keep[j] = true;
}

int wt_gpu_select(const struct wt_device_info *gpus, size_t count, const char *list, bool is_env,
                  bool *keep, struct wt_error *err)
{
    for (size_t i = 0; i < count; i++)
        keep[i] = false;
    char there[200];
    list_gpus(gpus, count, there, sizeof(there));

    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        char word[128];
        wt_text(word, sizeof(word), "%.*s", (int)(len < sizeof(word) ? len : sizeof(word) - 1), p);
        char *first = word + strspn(word, " \t");
        for (size_t n = strlen(first); n && strchr(" \t", first[n - 1]); n--)
            first[n - 1] = '\0';
        p += len;

        size_t i;
        int rc = *first ? find(gpus, count, first, &i) : WT_E_USAGE;
        if (rc == 0) {
            keep_family(gpus, count, i, keep);
        } else if (is_env) {
            break;
        } else if (!*first) {
            rc = wt_fail(err, WT_E_USAGE, "GPU list \"%.100s\": an entry is empty", list);
            wt_fix(err, "give indices or UUIDs with commas between; GPUs here: %s", there);
            return rc;
        } else if (rc == WT_E_USAGE) {
            wt_fail(err, rc, "GPU \"%s\": several begin so", first);
            wt_fix(err, "give more of the UUID; GPUs here: %s", there);
            return rc;
        } else {
            wt_fail(err, rc, "GPU \"%s\": no such GPU", first);
            wt_fix(err, "GPUs here: %s", there);
            return rc;
        }
        if (!*p)
            break;
    }
    return 0;
}
