/* fs: reads below the context's root, and the few things done to directories of our own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

static bool is_attribute(const char *path)
{
    return strncmp(path, "/sys/", 5) == 0;
}

static const char *full_path(const struct wt_ctx *ctx, const char *path, char *buf, size_t size)
{
    return wt_text(buf, size, "%s%s", ctx ? ctx->sysroot : "", path);
}

/* Reads at most size bytes from the beginning; *ret_used how many. is_attribute: of sysfs, which
 * gives all there is at once, so that nobody needs to ask again. Returns 0 or an errno. */
static int read_fd(int fd, bool is_attribute, char *buf, size_t size, size_t *ret_used)
{
    size_t used = 0;
    int errnum = 0;
    while (used < size) {
        ssize_t n = pread(fd, buf + used, size - used, (off_t)used);
        if (n < 0 && errno == ESPIPE)
            n = read(fd, buf + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            errnum = errno;
        if (n <= 0)
            break;
        used += (size_t)n;
        if (is_attribute && used < size)
            break;
    }
    *ret_used = used;
    return errnum;
}

void wt_fs_drop(int *io_keep)
{
    if (*io_keep)
        close(*io_keep - 1);
    *io_keep = 0;
}

static int read_bytes(const char *full, bool is_attribute, int *io_keep, char *buf, size_t size,
                      size_t *ret_used)
{
    struct stat st;
    int fd = io_keep ? *io_keep - 1 : -1;
    /* A file that was removed, or replaced by another, has no name any more. */
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_nlink == 0)) {
        wt_fs_drop(io_keep);
        fd = -1;
    }
    if (fd < 0)
        fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno;
    int errnum = read_fd(fd, is_attribute, buf, size, ret_used);
    if (io_keep && !errnum) {
        *io_keep = fd + 1;
    } else {
        close(fd);
        if (io_keep)
            *io_keep = 0;
    }
    return errnum;
}

int wt_fs_read_kept(const struct wt_ctx *ctx, const char *path, int *io_keep, char *buf,
                    size_t size, struct wt_error *err)
{
    char full[4096];
    size_t used = 0;
    int rc = 0, errnum = wt_tree_errno(ctx, path);
    full_path(ctx, path, full, sizeof(full));
    if (!errnum)
        errnum = read_bytes(full, is_attribute(path), io_keep, buf, size, &used);
    if (errnum) {
        rc = wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path);
    } else if (used == size) {
        rc = wt_fail(err, WT_E_FORMAT, "%s%s: longer than the %zu bytes expected", wt_fs_root(ctx),
                     path, size - 1);
    } else {
        buf[used] = '\0';
        if (strlen(buf) != used)
            rc = wt_fail(err, WT_E_FORMAT, "%s%s: holds NUL bytes", wt_fs_root(ctx), path);
    }
    if (ctx && ctx->watch)
        ctx->watch(ctx->watch_data, path, false, rc, errnum, rc == 0 ? buf : NULL);
    while (rc == 0 && used && strchr(" \t\r\n", buf[used - 1]))
        buf[--used] = '\0';
    return rc;
}

int wt_fs_read(const struct wt_ctx *ctx, const char *path, char *buf, size_t size,
               struct wt_error *err)
{
    return wt_fs_read_kept(ctx, path, NULL, buf, size, err);
}

int wt_fs_read_start(const struct wt_ctx *ctx, const char *path, char *buf, size_t size)
{
    char full[4096];
    size_t used = 0;
    int errnum = wt_tree_errno(ctx, path);
    full_path(ctx, path, full, sizeof(full));
    if (!errnum)
        errnum = read_bytes(full, is_attribute(path), NULL, buf, size - 1, &used);
    buf[used] = '\0';
    int rc = wt_code_from_errno(errnum);
    if (ctx && ctx->watch)
        ctx->watch(ctx->watch_data, path, false, rc, errnum, rc == 0 ? buf : NULL);
    return rc;
}

static int fail_number(const struct wt_ctx *ctx, const char *path, const char *text,
                       struct wt_error *err)
{
    if (!*text)
        return wt_fail(err, WT_E_FORMAT, "%s%s: empty", wt_fs_root(ctx), path);
    return wt_fail(err, WT_E_FORMAT, "%s%s: \"%.40s\" is no number", wt_fs_root(ctx), path, text);
}

int wt_fs_read_u64(const struct wt_ctx *ctx, const char *path, uint64_t *ret_value,
                   struct wt_error *err)
{
    char text[64];
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    return wt_text_to_u64(text, ret_value) < 0 ? fail_number(ctx, path, text, err) : 0;
}

int wt_fs_read_i64(const struct wt_ctx *ctx, const char *path, int64_t *ret_value,
                   struct wt_error *err)
{
    char text[64];
    uint64_t size;
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    bool is_negative = text[0] == '-';
    if (wt_text_to_u64(text + is_negative, &size) < 0 || size > INT64_MAX)
        return fail_number(ctx, path, text, err);
    *ret_value = is_negative ? -(int64_t)size : (int64_t)size;
    return 0;
}

int wt_fs_may_write(const struct wt_ctx *ctx, const char *path, int *ret_errno,
                    struct wt_error *err)
{
    char full[4096];
    struct stat st;
    full_path(ctx, path, full, sizeof(full));
    int errnum = 0;
    if (wt_tree_is_readonly(ctx, path))
        errnum = EROFS;
    else if (faccessat(AT_FDCWD, full, W_OK, AT_EACCESS) < 0)
        errnum = errno;
    else if (wt_tree_is_recorded(ctx) && wt_tree_uid(ctx) != 0)
        errnum = EACCES;
    else if (stat(full, &st) == 0 && !(st.st_mode & 0222))
        errnum = EROFS; /* root passes access(2) here, and the kernel still takes no write */
    if (ret_errno)
        *ret_errno = errnum;
    return errnum ? wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path) : 0;
}

int wt_fs_write(const struct wt_ctx *ctx, const char *path, const char *text, struct wt_error *err)
{
    char full[4096];
    int rc = wt_fs_may_write(ctx, path, NULL, err);
    int errnum = rc < 0 ? 0 : wt_tree_errno(ctx, path);
    if (rc < 0)
        return rc;
    full_path(ctx, path, full, sizeof(full));
    if (errnum)
        return wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path);
    /* An attribute of the kernel takes one whole write; a file that stands in for one is replaced.
     */
    int fd = open(full, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s%s", wt_fs_root(ctx), path);
    ssize_t n = write(fd, text, strlen(text));
    errnum = n < 0 ? errno : 0;
    if (close(fd) < 0 && !errnum)
        errnum = errno;
    if (errnum == EINVAL || errnum == ERANGE || errnum == EOVERFLOW)
        return wt_fail(err, WT_E_RANGE, "%s%s: the kernel does not take \"%.40s\"", wt_fs_root(ctx),
                       path, text);
    if (!errnum && (size_t)n != strlen(text))
        errnum = EIO;
    return errnum ? wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path) : 0;
}

static int natural_order(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

static int list_dir(const char *full, char ***ret_names, size_t *ret_count)
{
    DIR *dir = opendir(full);
    if (!dir)
        return errno;
    char **names = NULL;
    size_t count = 0, room = 0;
    int errnum = 0;
    struct dirent *entry;
    while (!errnum && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == room) {
            room = room ? room * 2 : 16;
            char **more = realloc(names, room * sizeof(*names));
            if (!more) {
                errnum = ENOMEM;
                break;
            }
            names = more;
        }
        if ((names[count] = strdup(entry->d_name)))
            count++;
        else
            errnum = ENOMEM;
    }
    closedir(dir);
    if (errnum) {
        wt_fs_list_free(names, count);
        return errnum;
    }
    if (count)
        qsort(names, count, sizeof(*names), natural_order);
    *ret_names = names;
    *ret_count = count;
    return 0;
}

int wt_fs_list(const struct wt_ctx *ctx, const char *path, char ***ret_names, size_t *ret_count,
               struct wt_error *err)
{
    char full[4096], **names = NULL;
    size_t count = 0;
    int rc = 0, errnum = wt_tree_errno(ctx, path);
    full_path(ctx, path, full, sizeof(full));
    if (!errnum && !wt_tree_has_dir(ctx, path))
        errnum = list_dir(full, &names, &count);
    if (errnum == ENOMEM)
        rc = wt_fail(err, WT_E_NOMEM, "no memory to list %s%s", wt_fs_root(ctx), path);
    else if (errnum)
        rc = wt_fail_errno(err, errnum, "%s%s", wt_fs_root(ctx), path);
    if (ctx && ctx->watch)
        ctx->watch(ctx->watch_data, path, true, rc, errnum, NULL);
    if (rc < 0)
        return rc;
    *ret_names = names;
    *ret_count = count;
    return 0;
}

void wt_fs_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

int wt_fs_mkdirs(const char *path, unsigned mode, struct wt_error *err)
{
    char part[4096];
    if (strlen(path) >= sizeof(part))
        return wt_fail(err, WT_E_RANGE, "%.60s...: path too long", path);
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        wt_text(part, sizeof(part), "%.*s", (int)(p - path), path);
        if (mkdir(part, (mode_t)mode) < 0 && errno != EEXIST)
            return wt_fail_errno(err, errno, "%s", part);
    }
    struct stat st;
    if (stat(path, &st) < 0)
        return wt_fail_errno(err, errno, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return wt_fail(err, WT_E_IO, "%s: is there, but is no directory", path);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int wt_fs_remove_tree(const char *path, struct wt_error *err)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return wt_fail_errno(err, errno, "%s", path);
    return 0;
}

int wt_fs_process_start(uint32_t pid, uint64_t *ret_ticks, struct wt_error *err)
{
    char path[64], text[2048];
    wt_text(path, sizeof(path), "/proc/%u/stat", pid);
    int rc = wt_fs_read(NULL, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    /* Field 2 is the command in brackets and may hold anything, so count from the last bracket;
     * field 22 is the start time (proc(5)). */
    char *p = strrchr(text, ')');
    unsigned long long ticks;
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                     "%llu",
                     &ticks) != 1)
        return wt_fail(err, WT_E_FORMAT, "%s: not as proc(5) says", path);
    *ret_ticks = ticks;
    return 0;
}
