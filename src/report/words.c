/* words: how the terminal and the HTML report call things alike. */
#include <string.h>

#include "base/base.h"
#include "report/words.h"

const char *wt_device_word(enum wt_device_kind kind)
{
    switch (kind) {
    case WT_DEVICE_GPU:
        return "GPU";
    case WT_DEVICE_CPU:
        return "CPU";
    case WT_DEVICE_DRAM:
        return "DRAM";
    default:
        return "node";
    }
}

const char *wt_device_title(const struct wt_run *run, size_t at, char *buf, size_t size)
{
    if (at >= run->device_count)
        return wt_text(buf, size, "device %zu", at);
    const struct wt_run_device *d = &run->devices[at];
    const char *name = d->name[0] ? d->name : d->id;
    size_t same = 0, number = 0;
    for (size_t i = 0; i < run->device_count; i++)
        if (strcmp(run->devices[i].name, d->name) == 0) {
            same++;
            number += i < at;
        }
    if (same < 2)
        return wt_text(buf, size, "%s", name);
    /* Runs stored before the index was kept, and parts, count among their like. */
    if (d->index < 0 || d->is_part)
        return wt_text(buf, size, "%s, number %zu", name, number);
    return wt_text(buf, size, "%s, %s %d", name, wt_device_word(d->kind), d->index);
}
