/* finding: the lines of `wattune doctor` as they are collected. */
#include <stdlib.h>
#include <string.h>

#include "sensor/sensor.h"

enum wt_finding_kind wt_finding_kind_of(int code)
{
    switch (code) {
    case WT_OK:
        return WT_FINDING_OK;
    case WT_E_DENIED:
        return WT_FINDING_DENIED;
    case WT_E_NOTFOUND:
    case WT_E_UNSUPPORTED:
        return WT_FINDING_MISSING;
    default:
        return WT_FINDING_BROKEN;
    }
}

static struct wt_finding *grow(struct wt_findings *f)
{
    if (f->count == f->room) {
        size_t room = f->room ? f->room * 2 : 32;
        struct wt_finding *more = realloc(f->list, room * sizeof(*more));
        if (!more)
            return NULL;
        f->list = more;
        f->room = room;
    }
    struct wt_finding *one = &f->list[f->count++];
    memset(one, 0, sizeof(*one));
    return one;
}

/* Vendors' names, paths and cut texts may hold anything; JSON and terminals want UTF-8. */
static void make_printable(char *text)
{
    unsigned char *p = (unsigned char *)text;
    while (*p) {
        size_t more = *p >= 0xf0 && *p < 0xf5   ? 3
                      : *p >= 0xe0 && *p < 0xf0 ? 2
                                                : *p >= 0xc2 && *p < 0xe0;
        bool is_good = *p >= 0x20 && *p != 0x7f && (*p < 0x80 || more);
        for (size_t i = 1; is_good && i <= more; i++)
            is_good = (p[i] & 0xc0) == 0x80;
        /* Longer forms of shorter characters, and halves of pairs, are no UTF-8 either. */
        is_good = is_good && !(*p == 0xe0 && p[1] < 0xa0) && !(*p == 0xed && p[1] > 0x9f) &&
                  !(*p == 0xf0 && p[1] < 0x90) && !(*p == 0xf4 && p[1] > 0x8f);
        if (!is_good)
            *p = '?';
        p += is_good ? more + 1 : 1;
    }
}

int wt_findings_add(struct wt_findings *findings, enum wt_finding_kind kind, const char *source,
                    const char *device, const char *what, const char *fix, const char *fmt, ...)
{
    struct wt_finding *one = grow(findings);
    if (!one)
        return WT_E_NOMEM;
    one->kind = kind;
    wt_text(one->source, sizeof(one->source), "%s", source);
    wt_text(one->device, sizeof(one->device), "%s", device);
    wt_text(one->what, sizeof(one->what), "%s", what);
    wt_text(one->fix, sizeof(one->fix), "%s", fix ? fix : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(one->value, sizeof(one->value), fmt, args);
    va_end(args);
    make_printable(one->device);
    make_printable(one->what);
    make_printable(one->value);
    make_printable(one->fix);
    return 0;
}

int wt_findings_add_error(struct wt_findings *findings, const char *source, const char *device,
                          const char *what, const struct wt_error *err)
{
    return wt_findings_add(findings, wt_finding_kind_of(err->code), source, device, what, err->fix,
                           "%s", err->text);
}

void wt_findings_done(struct wt_findings *findings)
{
    free(findings->list);
    memset(findings, 0, sizeof(*findings));
}

void wt_findings_drop(struct wt_findings *findings, const char *source, const char *device)
{
    size_t kept = 0;
    for (size_t i = 0; i < findings->count; i++) {
        const struct wt_finding *f = &findings->list[i];
        if (strcmp(f->source, source) != 0 || strcmp(f->device, device) != 0)
            findings->list[kept++] = *f;
    }
    findings->count = kept;
}
