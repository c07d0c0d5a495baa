/* The context everything hangs off: where to log, which clock, which root to read below.
 * No hidden globals: ten contexts may live in one process. */
#ifndef WATTUNE_CTX_H
#define WATTUNE_CTX_H

#include "wattune/types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_ctx;

enum wt_log_level { WT_LOG_ERROR, WT_LOG_WARN, WT_LOG_INFO, WT_LOG_DEBUG };

/* area is a short word ("nvml", "lease"); text has no newline. Called from any thread. */
typedef void (*wt_log_fn)(void *data, enum wt_log_level level, const char *area, const char *text);

/* The time source. Tests turn one by hand. */
struct wt_clock {
    int64_t (*now_ns)(void *data);                    /* monotonic */
    void (*sleep_until_ns)(void *data, int64_t t_ns); /* may return early */
    void *data;
};

struct wt_ctx_options {
    wt_log_fn log; /* NULL: silent */
    void *log_data;
    const char *sysroot;          /* read /proc and /sys below here; NULL: "/". Copied. */
    const char *nvml_library;     /* NULL: $WATTUNE_NVML, else libnvidia-ml.so.1. Copied. */
    const struct wt_clock *clock; /* NULL: CLOCK_MONOTONIC. Borrowed until wt_ctx_free. */
};

/* options may be NULL. Errors: WT_E_NOMEM, WT_E_NOTFOUND (sysroot). */
WT_API int wt_ctx_new(struct wt_ctx **ret_ctx, const struct wt_ctx_options *options,
                      struct wt_error *err);
WT_API void wt_ctx_free(struct wt_ctx *ctx);

/* What the machine below the sysroot says it is, when that is a recorded one (machines/README.md);
 * NULL: it is live. May be "". Borrowed until wt_ctx_free. Threads: any thread. */
WT_API const char *wt_ctx_recording(const struct wt_ctx *ctx);

/* Monotonic now by the context's clock (ctx may be NULL: the system's). Threads: any thread. */
WT_API int64_t wt_ctx_now_ns(const struct wt_ctx *ctx);

/* Version of the library, "0.1.0". */
WT_API const char *wt_version(void);

/* Where Wattune's own helper files lie (the stand-in NVML, wattune-bench): path of NAME in the
 * build tree beside the running program, or installed. Written to buf.
 * Errors: WT_E_NOTFOUND, naming the places looked at. */
WT_API int wt_helper_path(const char *name, char *buf, size_t size, struct wt_error *err);

/* Writes a text as a file: whole or not at all, on disk when it returns. What is there and is no
 * regular file (/dev/stdout, a pipe) is written to as it is. Errors: WT_E_NOTFOUND (the folder),
 * WT_E_DENIED, WT_E_FULL, WT_E_IO, WT_E_RANGE (a path too long). Threads: any thread. */
WT_API int wt_file_write(const char *path, const char *text, struct wt_error *err);
/* Whether it could be written now, for those who write hours later; changes nothing that is there.
 * Errors and threads: as wt_file_write. */
WT_API int wt_file_check(const char *path, struct wt_error *err);

#ifdef __cplusplus
}
#endif
#endif
