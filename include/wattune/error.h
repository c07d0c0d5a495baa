/* Errors: one table feeds the codes, their texts, the docs and the exit codes of the command.
 *
 * A function that can fail in more than one way returns 0 or a negative code from here. What went
 * wrong in words (which file, which vendor code) and what to try go to an optional last argument.
 */
#ifndef WATTUNE_ERROR_H
#define WATTUNE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WT_API              __attribute__((visibility("default")))
#define WT_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))
#else
#define WT_API
#define WT_PRINTF(fmt, arg)
#endif

/* X(name, code, exit code of the command, text).
 * Unsupported, denied, gone and malformed are apart because a user does something different about
 * each: live with it, ask for a right, plug it back in, report it. */
#define WT_ERRORS(X)                                                                               \
    X(WT_E_NOMEM, -1, 1, "out of memory")                                                          \
    X(WT_E_USAGE, -2, 2, "wrong usage")                                                            \
    X(WT_E_DENIED, -3, 3, "not permitted")                                                         \
    X(WT_E_UNSUPPORTED, -4, 4, "not supported here")                                               \
    X(WT_E_GONE, -5, 1, "the device is gone")                                                      \
    X(WT_E_FORMAT, -6, 1, "malformed data")                                                        \
    X(WT_E_IO, -7, 1, "input/output error")                                                        \
    X(WT_E_TIMEOUT, -8, 1, "no answer in time")                                                    \
    X(WT_E_BUSY, -9, 1, "in use by someone else")                                                  \
    X(WT_E_RANGE, -10, 2, "value out of range")                                                    \
    X(WT_E_NOTFOUND, -11, 4, "no such thing")                                                      \
    X(WT_E_FULL, -12, 1, "no space left")                                                          \
    X(WT_E_STATE, -13, 1, "not possible in this state")                                            \
    X(WT_E_MIXED, -14, 1, "emulated and real devices cannot be mixed")                             \
    X(WT_E_CHANGED, -15, 1, "changed by someone else meanwhile")                                   \
    X(WT_E_INTERNAL, -16, 1, "internal error")

enum wt_error_code {
    WT_OK = 0,
#define WT_ERROR_ENUM(name, code, exit_code, text) name = code,
    WT_ERRORS(WT_ERROR_ENUM)
#undef WT_ERROR_ENUM
};

/* The story of one failure. Copied, never owns memory; may be reused. */
struct wt_error {
    int code;       /* WT_OK or one of the codes above */
    char text[480]; /* what happened, naming the file, line, flag or vendor code */
    char fix[240];  /* what to do about it; empty when there is nothing to do */
};

/* The table's text for a code, never NULL. Threads: any thread. */
WT_API const char *wt_strerror(int code);

/* The command's exit code for an error code; 0 for 0. Threads: any thread. */
WT_API int wt_exit_code(int code);

/* The name of a code ("WT_E_DENIED"), never NULL. Threads: any thread. */
WT_API const char *wt_error_name(int code);

#ifdef __cplusplus
}
#endif
#endif
