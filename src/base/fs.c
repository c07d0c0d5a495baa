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

int wt_fs_read(const struct wt_ctx *ctx, const char *path, char *buf, size_t size,
               struct wt_error *err)
{
    char full[4096];
    wt_text(full, sizeof(full), "%s%s", ctx ? ctx->sysroot : "", path);
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s", full);
    size_t used = 0;
    int rc = 0;
    while (used < size) {
        ssize_t n = read(fd, buf + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = wt_fail_errno(err, errno, "%s", full);
            break;
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    close(fd);
    if (rc < 0)
        return rc;
    if (used == size)
        return wt_fail(err, WT_E_FORMAT, "%s: longer than the %zu bytes expected", full, size - 1);
    buf[used] = '\0';
    if (strlen(buf) != used)
        return wt_fail(err, WT_E_FORMAT, "%s: holds NUL bytes", full);
    while (used && strchr(" \t\r\n", buf[used - 1]))
        buf[--used] = '\0';
    return 0;
}

int wt_fs_read_u64(const struct wt_ctx *ctx, const char *path, uint64_t *ret_value,
                   struct wt_error *err)
{
    char text[64];
    int rc = wt_fs_read(ctx, path, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    rc = wt_text_to_u64(text, ret_value);
    if (rc < 0)
        return wt_fail(err, WT_E_FORMAT, "%s%s: \"%.40s\" is no number", ctx ? ctx->sysroot : "",
                       path, text);
    return 0;
}

static int natural_order(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

int wt_fs_list(const struct wt_ctx *ctx, const char *path, char ***ret_names, size_t *ret_count,
               struct wt_error *err)
{
    char full[4096];
    wt_text(full, sizeof(full), "%s%s", ctx ? ctx->sysroot : "", path);
    DIR *dir = opendir(full);
    if (!dir)
        return wt_fail_errno(err, errno, "%s", full);
    char **names = NULL;
    size_t count = 0, room = 0;
    int rc = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (count == room) {
            room = room ? room * 2 : 16;
            char **more = realloc(names, room * sizeof(*names));
            if (!more) {
                rc = wt_fail(err, WT_E_NOMEM, "no memory to list %s", full);
                goto out;
            }
            names = more;
        }
        if (!(names[count] = strdup(entry->d_name))) {
            rc = wt_fail(err, WT_E_NOMEM, "no memory to list %s", full);
            goto out;
        }
        count++;
    }
    if (count)
        qsort(names, count, sizeof(*names), natural_order);
    *ret_names = names;
    *ret_count = count;
    names = NULL;
    count = 0;
out:
    wt_fs_list_free(names, count);
    closedir(dir);
    return rc;
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
