/* error: the table's texts and exit codes, and how a failure's story is told. */
#include <errno.h>
#include <string.h>

#include "base/base.h"

const char *wt_strerror(int code)
{
    switch (code) {
    case WT_OK:
        return "success";
#define WT_ERROR_TEXT(name, value, exit_code, text)                                                \
    case name:                                                                                     \
        return text;
        WT_ERRORS(WT_ERROR_TEXT)
#undef WT_ERROR_TEXT
    default:
        return "unknown error";
    }
}

const char *wt_error_name(int code)
{
    switch (code) {
    case WT_OK:
        return "WT_OK";
#define WT_ERROR_NAME(name, value, exit_code, text)                                                \
    case name:                                                                                     \
        return #name;
        WT_ERRORS(WT_ERROR_NAME)
#undef WT_ERROR_NAME
    default:
        return "WT_E_?";
    }
}

int wt_exit_code(int code)
{
    switch (code) {
    case WT_OK:
        return 0;
#define WT_ERROR_EXIT(name, value, exit_code, text)                                                \
    case name:                                                                                     \
        return exit_code;
        WT_ERRORS(WT_ERROR_EXIT)
#undef WT_ERROR_EXIT
    default:
        return 1;
    }
}

int wt_fail(struct wt_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    err->code = code;
    err->fix[0] = '\0';
    return code;
}

void wt_fix(struct wt_error *err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->fix, sizeof(err->fix), fmt, args);
    va_end(args);
}

int wt_code_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return WT_OK;
    case ENOMEM:
        return WT_E_NOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
        return WT_E_DENIED;
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
        return WT_E_NOTFOUND;
    case ENODEV:
    case ENXIO:
        return WT_E_GONE;
    case ENOSPC:
    case EDQUOT:
        return WT_E_FULL;
    case EBUSY:
    case EAGAIN:
        return WT_E_BUSY;
    case ETIMEDOUT:
        return WT_E_TIMEOUT;
    case EOPNOTSUPP:
    case ENOSYS:
        return WT_E_UNSUPPORTED;
    case EINVAL:
    case ERANGE:
        return WT_E_RANGE;
    default:
        return WT_E_IO;
    }
}

int wt_fail_errno(struct wt_error *err, int errnum, const char *fmt, ...)
{
    int code = wt_code_from_errno(errnum);
    if (!err)
        return code;
    char what[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    char reason[80];
    return wt_fail(err, code, "%s: %s", what, strerror_r(errnum, reason, sizeof(reason)));
}
