/* tree: a sysroot that says of itself that it is a recorded machine.
 *
 * Its manifest, DIR/machine.txt, holds what plain files cannot: whose view it is, which files
 * refused to be read and how, and directories that were empty (format: machines/README.md). A
 * sysroot without one is a live view of this machine or another, and nothing here applies to it.
 * Tests plant faults through the same list. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define MANIFEST     "/machine.txt"
#define MANIFEST_TOP "wattune-machine 1"

struct rule {
    char *path; /* owned */
    int errnum; /* a read answers this; 0: none */
    bool is_readonly, is_dir;
};

struct wt_tree {
    pthread_mutex_t lock;
    struct rule *rules; /* owned */
    size_t count, room;
    unsigned uid;
    bool is_recorded;
    char title[160], *origin; /* origin is owned; NULL: it does not say */
};

static const struct {
    const char *name;
    int errnum;
} errors[] = {
    {"EACCES", EACCES}, {"EPERM", EPERM},   {"EIO", EIO},         {"ENODEV", ENODEV},
    {"ENXIO", ENXIO},   {"EBUSY", EBUSY},   {"ENODATA", ENODATA}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"EINVAL", EINVAL}, {"EAGAIN", EAGAIN},
};

const char *wt_tree_errno_name(int errnum)
{
    for (size_t i = 0; i < WT_COUNTOF(errors); i++)
        if (errors[i].errnum == errnum)
            return errors[i].name;
    return NULL;
}

/* With the lock held. */
static struct rule *rule_of(struct wt_tree *t, const char *path)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->rules[i].path, path) == 0)
            return &t->rules[i];
    if (t->count == t->room) {
        size_t room = t->room ? t->room * 2 : 16;
        struct rule *more = realloc(t->rules, room * sizeof(*more));
        if (!more)
            return NULL;
        t->rules = more;
        t->room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return NULL;
    t->rules[t->count] = (struct rule){.path = copy};
    return &t->rules[t->count++];
}

int wt_tree_fault(struct wt_ctx *ctx, const char *path, int errnum)
{
    struct wt_tree *t = ctx->tree;
    pthread_mutex_lock(&t->lock);
    struct rule *rule = rule_of(t, path);
    if (rule)
        rule->errnum = errnum;
    pthread_mutex_unlock(&t->lock);
    return rule ? 0 : WT_E_NOMEM;
}

static int fail_line(const struct wt_ctx *ctx, unsigned number, const char *line, const char *why,
                     struct wt_error *err)
{
    return wt_fail(err, WT_E_FORMAT, "%s" MANIFEST ":%u: \"%.60s\": %s", ctx->sysroot, number, line,
                   why);
}

/* One line of the manifest. */
static int parse_line(const struct wt_ctx *ctx, struct wt_tree *t, char *line, unsigned number,
                      struct wt_error *err)
{
    char *value = line + strcspn(line, " ");
    if (*value)
        *value++ = '\0';
    value += strspn(value, " ");
    if (strcmp(line, "title:") == 0) {
        wt_text(t->title, sizeof(t->title), "%s", value);
        return 0;
    }
    if (strcmp(line, "origin:") == 0) {
        free(t->origin);
        t->origin = strdup(value);
        return t->origin ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for %s" MANIFEST, ctx->sysroot);
    }
    if (strcmp(line, "uid:") == 0) {
        uint64_t uid;
        if (wt_text_to_u64(value, &uid) < 0 || uid > UINT32_MAX)
            return fail_line(ctx, number, value, "is no user id", err);
        t->uid = (unsigned)uid;
        return 0;
    }
    int errnum = 0;
    if (strcmp(line, "error") == 0) {
        char *path = value + strcspn(value, " ");
        if (*path)
            *path++ = '\0';
        for (size_t i = 0; i < WT_COUNTOF(errors) && !errnum; i++)
            if (strcmp(errors[i].name, value) == 0)
                errnum = errors[i].errnum;
        if (!errnum)
            return fail_line(ctx, number, value, "is no error that a file can answer here", err);
        value = path;
    } else if (strcmp(line, "deny") == 0) {
        errnum = EACCES;
    } else if (strcmp(line, "readonly") != 0 && strcmp(line, "dir") != 0) {
        return fail_line(ctx, number, line,
                         "is none of title: origin: uid: deny error readonly dir", err);
    }
    if (*value != '/')
        return fail_line(ctx, number, value, "needs an absolute path", err);
    struct rule *rule = rule_of(t, value);
    if (!rule)
        return wt_fail(err, WT_E_NOMEM, "no memory for %s" MANIFEST, ctx->sysroot);
    if (errnum)
        rule->errnum = errnum;
    rule->is_readonly |= strcmp(line, "readonly") == 0;
    rule->is_dir |= strcmp(line, "dir") == 0;
    return 0;
}

static int load(struct wt_ctx *ctx, struct wt_tree *t, struct wt_error *err)
{
    char text[16384], *rest = text, *line;
    int rc = wt_fs_read(ctx, MANIFEST, text, sizeof(text), err);
    if (rc == WT_E_NOTFOUND)
        return 0;
    if (rc < 0)
        return rc;
    line = strsep(&rest, "\n");
    if (strcmp(line, MANIFEST_TOP) != 0)
        return fail_line(ctx, 1, line, "the first line must be \"" MANIFEST_TOP "\"", err);
    t->is_recorded = true;
    for (unsigned number = 2; rc == 0 && (line = strsep(&rest, "\n")); number++)
        if (*line && *line != '#')
            rc = parse_line(ctx, t, line, number, err);
    return rc;
}

int wt_tree_open(struct wt_ctx *ctx, struct wt_error *err)
{
    struct wt_tree *t = calloc(1, sizeof(*t));
    if (!t)
        return wt_fail(err, WT_E_NOMEM, "no memory for a context");
    pthread_mutex_init(&t->lock, NULL);
    int rc = *ctx->sysroot ? load(ctx, t, err) : 0;
    ctx->tree = t;
    return rc;
}

void wt_tree_close(struct wt_ctx *ctx)
{
    struct wt_tree *t = ctx->tree;
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->rules[i].path);
    free(t->rules);
    free(t->origin);
    pthread_mutex_destroy(&t->lock);
    free(t);
    ctx->tree = NULL;
}

bool wt_tree_is_recorded(const struct wt_ctx *ctx)
{
    return ctx && ctx->tree && ctx->tree->is_recorded;
}

const char *wt_tree_title(const struct wt_ctx *ctx)
{
    return wt_tree_is_recorded(ctx) ? ctx->tree->title : "";
}

const char *wt_tree_origin(const struct wt_ctx *ctx)
{
    return wt_tree_is_recorded(ctx) && ctx->tree->origin ? ctx->tree->origin : "";
}

unsigned wt_tree_uid(const struct wt_ctx *ctx)
{
    return ctx->tree->uid;
}

int wt_tree_errno(const struct wt_ctx *ctx, const char *path)
{
    struct wt_tree *t = ctx ? ctx->tree : NULL;
    int errnum = 0;
    if (!t || !t->count)
        return 0;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->count && !errnum; i++)
        if (strcmp(t->rules[i].path, path) == 0)
            errnum = t->rules[i].errnum;
    pthread_mutex_unlock(&t->lock);
    return errnum;
}

bool wt_tree_is_readonly(const struct wt_ctx *ctx, const char *path)
{
    struct wt_tree *t = ctx ? ctx->tree : NULL;
    bool is_readonly = false;
    if (!t)
        return false;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->count && !is_readonly; i++) {
        const struct rule *r = &t->rules[i];
        size_t n = strlen(r->path);
        is_readonly =
            r->is_readonly && strncmp(path, r->path, n) == 0 && (path[n] == '\0' || path[n] == '/');
    }
    pthread_mutex_unlock(&t->lock);
    return is_readonly;
}

/* Is this an empty directory that only the manifest knows? */
bool wt_tree_has_dir(const struct wt_ctx *ctx, const char *path)
{
    struct wt_tree *t = ctx ? ctx->tree : NULL;
    bool is_dir = false;
    if (!t)
        return false;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->count && !is_dir; i++)
        is_dir = t->rules[i].is_dir && strcmp(t->rules[i].path, path) == 0;
    pthread_mutex_unlock(&t->lock);
    return is_dir;
}
