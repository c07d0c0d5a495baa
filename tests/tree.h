/* tree: a folder that stands for a machine's / in a test, and a clock turned by hand. */
#ifndef TESTS_TREE_H
#define TESTS_TREE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/sensor.h"

struct tree {
    char root[32];
    int64_t now_ns;
    struct wt_clock clock;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    struct wt_error err;
};

static inline int64_t tree_now(void *data)
{
    return ((struct tree *)data)->now_ns;
}

static inline void tree_sleep(void *data, int64_t t_ns)
{
    ((struct tree *)data)->now_ns = t_ns;
}

static inline void tree_put(const struct tree *t, const char *path, const char *text)
{
    char full[512];
    wt_text(full, sizeof(full), "%s%s", t->root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(wt_fs_mkdirs(full, 0755, NULL), 0);
    full[strlen(full)] = '/';
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static inline void tree_init(struct tree *t)
{
    memset(t, 0, sizeof(*t));
    unsetenv("WATTUNE_NVML");
    unsetenv("WATTUNE_ROCM_SMI");
    wt_text(t->root, sizeof(t->root), "/tmp/wt-tree-XXXXXX");
    assert_non_null(mkdtemp(t->root));
    t->now_ns = 1000 * WT_NS_PER_S;
    t->clock = (struct wt_clock){tree_now, tree_sleep, t};
    struct wt_ctx_options options = {.sysroot = t->root, .clock = &t->clock};
    assert_int_equal(wt_ctx_new(&t->ctx, &options, &t->err), 0);
}

static inline void tree_open(struct tree *t)
{
    if (wt_devices_open(&t->devices, t->ctx, NULL, &t->err) != 0)
        fail_msg("%s", t->err.text);
}

static inline void tree_done(struct tree *t)
{
    wt_devices_free(t->devices);
    wt_ctx_free(t->ctx);
    assert_int_equal(wt_fs_remove_tree(t->root, &t->err), 0);
}

static inline size_t tree_index(const struct tree *t, const char *id)
{
    for (size_t i = 0; i < wt_devices_count(t->devices); i++)
        if (strcmp(wt_devices_info(t->devices, i)->id, id) == 0)
            return i;
    fail_msg("there is no device %s", id);
    return 0;
}

static inline const struct wt_device_info *tree_device(const struct tree *t, const char *id)
{
    return wt_devices_info(t->devices, tree_index(t, id));
}

/* The first line of this source about this; NULL: there is none. */
static inline const struct wt_finding *tree_note(const struct tree *t, const char *source,
                                                 const char *what)
{
    const struct wt_findings *notes = wt_devices_notes(t->devices);
    for (size_t i = 0; i < notes->count; i++)
        if (strcmp(notes->list[i].source, source) == 0 &&
            (!what || strcmp(notes->list[i].what, what) == 0))
            return &notes->list[i];
    return NULL;
}

#endif
