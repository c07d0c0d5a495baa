/* drm: see drm.h. Source: Documentation/ABI/testing/sysfs-bus-pci, Documentation/hwmon/
 * sysfs-interface.rst. */
#include <stdlib.h>
#include <string.h>

#include "sensor/drm.h"

#define DRM "/sys/class/drm"

bool wt_drm_has(const struct wt_ctx *ctx, const char *dir, const char *name, char *buf, size_t size)
{
    char text[256];
    wt_text(buf, size, "%s/%s", dir, name);
    return wt_fs_read(ctx, buf, text, sizeof(text), NULL) == 0;
}

/* The value of "KEY=value", "" when there is none. */
static void value_of(const char *text, const char *key, char *buf, size_t size)
{
    size_t n = strlen(key);
    buf[0] = '\0';
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == '=') {
            wt_text(buf, size, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
            return;
        }
    }
}

static int read_hex(const struct wt_ctx *ctx, const char *dir, const char *name, unsigned *ret,
                    struct wt_error *err)
{
    char path[128], text[32];
    int used = 0;
    wt_text(path, sizeof(path), "%s/%s", dir, name);
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc == 0 && (sscanf(text, "0x%x%n", ret, &used) != 1 || text[used]))
        rc = wt_fail(err, WT_E_FORMAT, "%s%s: \"%.20s\" is no number of PCI", wt_fs_root(ctx), path,
                     text);
    return rc;
}

static int look_at_card(const struct wt_ctx *ctx, struct wt_drm_card *c, struct wt_error *err)
{
    char path[128], text[2048], id[24];
    unsigned domain, bus, device, function;
    wt_text(path, sizeof(path), "%s/uevent", c->dir);
    if (wt_fs_read(ctx, path, text, sizeof(text), NULL) < 0)
        text[0] = '\0';
    value_of(text, "DRIVER", c->driver, sizeof(c->driver));
    value_of(text, "PCI_SLOT_NAME", c->pci, sizeof(c->pci));
    value_of(text, "PCI_ID", id, sizeof(id));
    if (sscanf(c->pci, "%x:%x:%x.%x", &domain, &bus, &device, &function) == 4)
        c->bdf = (uint64_t)domain << 32 | (bus & 0xff) << 8 | (device & 0x1f) << 3 | (function & 7);
    else
        c->pci[0] = '\0';
    if (sscanf(id, "%x:%x", &c->vendor, &c->device) == 2)
        return 0;
    int rc = read_hex(ctx, c->dir, "vendor", &c->vendor, err);
    return rc < 0 ? rc : read_hex(ctx, c->dir, "device", &c->device, err);
}

static int find_hwmon(const struct wt_ctx *ctx, struct wt_drm_card *c, const char *const *names)
{
    char path[128], at[160];
    char **list = NULL;
    size_t count = 0;
    wt_text(path, sizeof(path), "%s/hwmon", c->dir);
    int rc = wt_fs_list(ctx, path, &list, &count, NULL);
    for (size_t i = 0; i < count && !*c->hwmon; i++) {
        char name[sizeof(c->hwmon_name)];
        wt_text(at, sizeof(at), "%s/%.32s/name", path, list[i]);
        if (wt_fs_read(ctx, at, name, sizeof(name), NULL) < 0)
            continue;
        for (size_t k = 0; names[k]; k++)
            if (strcmp(name, names[k]) == 0) {
                wt_text(c->hwmon, sizeof(c->hwmon), "%s/%.24s", path, list[i]);
                wt_text(c->hwmon_name, sizeof(c->hwmon_name), "%s", name);
            }
    }
    wt_fs_list_free(list, count);
    return rc == WT_E_NOMEM ? rc : 0;
}

static int by_bus(const void *a, const void *b)
{
    const struct wt_drm_card *x = a, *y = b;
    if (x->bdf != y->bdf)
        return x->bdf < y->bdf ? -1 : 1;
    return strverscmp(x->card, y->card);
}

int wt_drm_find(const struct wt_ctx *ctx, unsigned vendor, const char *const *hwmon_names,
                const char *source, struct wt_drm_card **ret_cards, size_t *ret_count,
                struct wt_findings *notes)
{
    char **names = NULL;
    size_t count = 0, found = 0;
    struct wt_error why;
    int rc = wt_fs_list(ctx, DRM, &names, &count, &why);
    if (rc < 0 && rc != WT_E_NOMEM) {
        *ret_cards = NULL;
        *ret_count = 0;
        return rc == WT_E_NOTFOUND || !notes
                   ? 0
                   : wt_findings_add_error(notes, source, "", "graphics cards", &why);
    }
    struct wt_drm_card *cards = calloc(count + 1, sizeof(*cards));
    rc = rc == 0 && cards ? 0 : WT_E_NOMEM;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        unsigned number;
        int used = 0;
        struct wt_drm_card *c = &cards[found];
        /* Beside the cards lie their connectors ("card0-DP-1"). */
        if (sscanf(names[i], "card%u%n", &number, &used) != 1 || names[i][used])
            continue;
        *c = (struct wt_drm_card){0};
        wt_text(c->card, sizeof(c->card), "%s", names[i]);
        wt_text(c->dir, sizeof(c->dir), DRM "/%s/device", c->card);
        int looked = look_at_card(ctx, c, &why);
        /* No PCI device, no card with a sensor. */
        if (looked < 0 && looked != WT_E_NOTFOUND && notes)
            rc = wt_findings_add_error(notes, source, "", c->card, &why);
        if (looked < 0 || c->vendor != vendor)
            continue;
        rc = find_hwmon(ctx, c, hwmon_names);
        found++;
    }
    wt_fs_list_free(names, count);
    if (rc < 0) {
        free(cards);
        return rc;
    }
    qsort(cards, found, sizeof(*cards), by_bus);
    *ret_cards = cards;
    *ret_count = found;
    return 0;
}
