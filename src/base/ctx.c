/* ctx: the context, its log, and where helper files lie. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

static int64_t system_now(void *data)
{
    (void)data;
    return wt_clock_now_ns();
}

static void system_sleep(void *data, int64_t t_ns)
{
    (void)data;
    wt_clock_sleep_until_ns(t_ns);
}

int wt_ctx_new(struct wt_ctx **ret_ctx, const struct wt_ctx_options *options, struct wt_error *err)
{
    static const struct wt_ctx_options none;
    if (!options)
        options = &none;
    int rc = 0;
    struct wt_ctx *ctx = calloc(1, sizeof(*ctx));
    if (!ctx)
        return wt_fail(err, WT_E_NOMEM, "no memory for a context");

    ctx->log = options->log;
    ctx->log_data = options->log_data;
    ctx->clock = options->clock
                     ? *options->clock
                     : (struct wt_clock){.now_ns = system_now, .sleep_until_ns = system_sleep};
    ctx->debug_areas = getenv("WT_DEBUG");

    const char *root = options->sysroot ? options->sysroot : "";
    struct stat st;
    if (*root && stat(root, &st) < 0) {
        rc = errno == ENOENT ? wt_fail(err, WT_E_NOTFOUND, "sysroot %s: no such directory", root)
                             : wt_fail_errno(err, errno, "sysroot %s", root);
        goto out;
    }
    if (*root && !S_ISDIR(st.st_mode)) {
        rc = wt_fail(err, WT_E_NOTFOUND, "sysroot %s is no directory", root);
        goto out;
    }
    ctx->sysroot = strdup(root);
    if (!ctx->sysroot) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a context");
        goto out;
    }
    for (size_t n = strlen(ctx->sysroot); n && ctx->sysroot[n - 1] == '/'; n--)
        ctx->sysroot[n - 1] = '\0';

    const char *nvml = options->nvml_library ? options->nvml_library : getenv("WATTUNE_NVML");
    if (nvml && *nvml && !(ctx->nvml_library = strdup(nvml))) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a context");
        goto out;
    }
    rc = wt_tree_open(ctx, err);
    if (rc < 0)
        goto out;
    *ret_ctx = ctx;
    ctx = NULL;
out:
    wt_ctx_free(ctx);
    return rc;
}

void wt_ctx_free(struct wt_ctx *ctx)
{
    if (!ctx)
        return;
    wt_tree_close(ctx);
    free(ctx->sysroot);
    free(ctx->nvml_library);
    free(ctx);
}

int64_t wt_ctx_now_ns(const struct wt_ctx *ctx)
{
    return ctx ? ctx->clock.now_ns(ctx->clock.data) : wt_clock_now_ns();
}

const char *wt_ctx_recording(const struct wt_ctx *ctx)
{
    return wt_tree_is_recorded(ctx) ? wt_tree_title(ctx) : NULL;
}

const char *wt_version(void)
{
    return WATTUNE_VERSION;
}

/* $WT_DEBUG is a comma list of areas, or "all". */
static bool is_debugged(const char *areas, const char *area)
{
    if (!areas)
        return false;
    if (strcmp(areas, "all") == 0)
        return true;
    size_t len = strlen(area);
    for (const char *p = areas; (p = strstr(p, area)); p += len)
        if ((p == areas || p[-1] == ',') && (p[len] == '\0' || p[len] == ','))
            return true;
    return false;
}

void wt_log(const struct wt_ctx *ctx, enum wt_log_level level, const char *area, const char *fmt,
            ...)
{
    if (!ctx || !ctx->log || (level == WT_LOG_DEBUG && !is_debugged(ctx->debug_areas, area)))
        return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    ctx->log(ctx->log_data, level, area, text);
}

int wt_helper_path(const char *name, char *buf, size_t size, struct wt_error *err)
{
    /* Beside the program in the build tree, or in the private library folder of an installation.
     * Tests and benches live one folder below the build's root. */
    char exe[2048];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    const char *const below[] = {"",
                                 "/emulator",
                                 "/integrations/nvtx",
                                 "/..",
                                 "/../emulator",
                                 "/../integrations/nvtx",
                                 "/../lib/wattune"};
    const char *own = getenv("WATTUNE_LIBDIR");
    if (own && *own && access(wt_text(buf, size, "%s/%s", own, name), R_OK) == 0)
        return 0;
    for (size_t i = 0; i < WT_COUNTOF(below); i++)
        if (access(wt_text(buf, size, "%s%s/%s", exe, below[i], name), R_OK) == 0)
            return 0;
    if (access(wt_text(buf, size, "%s/%s", WATTUNE_LIBDIR, name), R_OK) == 0)
        return 0;
    int rc =
        wt_fail(err, WT_E_NOTFOUND, "%s: not beside %s and not in %s", name, exe, WATTUNE_LIBDIR);
    wt_fix(err, "run `make` or `make install`, or set WATTUNE_LIBDIR to where %s is", name);
    return rc;
}
