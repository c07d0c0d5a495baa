/* Files read within a limit, and written through a temporary name, fsync and rename. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

int wt_file_read(const char *path, size_t max, char **ret_text, size_t *ret_size,
                 struct wt_error *err)
{
    char *text = NULL;
    struct stat st;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > max) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: %lld bytes are more than the %zu that are read", path,
                     (long long)st.st_size, max);
        goto out;
    }
    size_t size = (size_t)st.st_size, used = 0;
    text = malloc(size + 1);
    if (!text) {
        rc = wt_fail(err, WT_E_NOMEM, "%s: no memory for %zu bytes", path, size);
        goto out;
    }
    while (used < size) {
        ssize_t n = read(fd, text + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = wt_fail_errno(err, errno, "reading %s", path);
            goto out;
        }
        if (n == 0)
            break; /* cut short meanwhile: the reader of the text finds that */
        used += (size_t)n;
    }
    text[used] = '\0';
    *ret_text = text;
    *ret_size = used;
    text = NULL;
out:
    free(text);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* stdio keeps that a write failed and not why, so the draft's stream writes through these. */
static ssize_t stream_write(void *data, const char *text, size_t size)
{
    struct wt_file_draft *draft = data;
    size_t done = 0;
    while (!draft->failed && done < size) {
        ssize_t n = write(draft->fd, text + done, size - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            draft->failed = n < 0 ? errno : EIO;
    }
    return (ssize_t)done;
}

static int stream_close(void *data)
{
    struct wt_file_draft *draft = data;
    int fd = draft->fd;
    draft->fd = -1;
    if (close(fd) == 0)
        return 0;
    if (!draft->failed)
        draft->failed = errno;
    return -1;
}

static bool open_stream(struct wt_file_draft *draft, int fd)
{
    draft->fd = fd;
    draft->file = fopencookie(
        draft, "w", (cookie_io_functions_t){.write = stream_write, .close = stream_close});
    return draft->file != NULL;
}

/* The descriptor of ours that the path names, -1 if it names a file: what others wrote to that
 * descriptor stays, before and after. */
static int descriptor_of(const char *path)
{
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (!strcmp(path, "/dev/stdout"))
        return STDOUT_FILENO;
    if (!strcmp(path, "/dev/stderr"))
        return STDERR_FILENO;
    for (size_t i = 0; i < WT_COUNTOF(folders); i++) {
        size_t length = strlen(folders[i]);
        unsigned fd;
        char end;
        if (!strncmp(path, folders[i], length) && sscanf(path + length, "%9u%c", &fd, &end) == 1)
            return (int)fd;
    }
    return -1;
}

/* A terminal, a pipe, a device, an open file: it has no "whole or nothing", and no file may take
 * its place. */
static int begin_special(struct wt_file_draft *draft, struct wt_error *err)
{
    int ours = descriptor_of(draft->path);
    if (ours == STDOUT_FILENO)
        fflush(stdout);
    int fd = ours >= 0 ? fcntl(ours, F_DUPFD_CLOEXEC, 0) : open(draft->path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && open_stream(draft, fd))
        return 0;
    int rc = wt_fail_errno(err, errno, "writing %s", draft->path);
    if (fd >= 0)
        close(fd);
    return rc;
}

int wt_file_begin(struct wt_file_draft *draft, const char *path, struct wt_error *err)
{
    struct stat st;
    memset(draft, 0, sizeof(*draft));
    bool is_there = stat(path, &st) == 0;
    bool is_special = is_there && (!S_ISREG(st.st_mode) || descriptor_of(path) >= 0);
    char *real = is_there && !is_special ? realpath(path, NULL) : NULL; /* a link stays */
    const char *target = real ? real : path;
    size_t length = strlen(target);
    if (length < sizeof(draft->path))
        wt_text(draft->path, sizeof(draft->path), "%s", target);
    free(real);
    if (length >= sizeof(draft->path))
        return wt_fail(err, WT_E_RANGE, "%.100s...: a path of %zu bytes", path, length);
    if (is_special)
        return begin_special(draft, err);
    int fd = -1;
    for (unsigned i = 0; fd < 0 && i < 100; i++) { /* a name of our own, and the umask's mode */
        wt_text(draft->fresh, sizeof(draft->fresh), "%s.%ld-%u", draft->path, (long)getpid(), i);
        fd = open(draft->fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        return wt_fail_errno(err, errno, "writing %s", path);
    bool is_kept = !is_there || fchmod(fd, st.st_mode & 0777) == 0; /* the mode of the old one */
    if (!is_kept || !open_stream(draft, fd)) {
        int rc = wt_fail_errno(err, errno, "writing %s", path);
        close(fd);
        unlink(draft->fresh);
        return rc;
    }
    return 0;
}

/* The folder's own entry is on disk too, where the file system can say so. */
static void sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    wt_text(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    int fd = open(*folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int wt_file_commit(struct wt_file_draft *draft, struct wt_error *err)
{
    bool is_bad = fflush(draft->file) != 0 || ferror(draft->file);
    if (!is_bad && *draft->fresh && fsync(draft->fd) < 0)
        draft->failed = errno;
    is_bad |= fclose(draft->file) != 0;
    draft->file = NULL;
    int failed = draft->failed ? draft->failed : is_bad ? EIO : 0;
    if (!failed && *draft->fresh && rename(draft->fresh, draft->path) < 0)
        failed = errno;
    if (failed) {
        if (*draft->fresh)
            unlink(draft->fresh);
        return wt_fail_errno(err, failed, "writing %s", draft->path);
    }
    if (*draft->fresh)
        sync_folder(draft->path);
    return 0;
}

void wt_file_drop(struct wt_file_draft *draft)
{
    if (!draft->file)
        return;
    fclose(draft->file);
    draft->file = NULL;
    if (*draft->fresh)
        unlink(draft->fresh);
}

int wt_file_replace(const char *path, const char *text, size_t size, struct wt_error *err)
{
    struct wt_file_draft draft;
    int rc = wt_file_begin(&draft, path, err);
    if (rc < 0)
        return rc;
    fwrite(text, 1, size, draft.file); /* ferror() keeps a failure for the commit */
    return wt_file_commit(&draft, err);
}

int wt_file_write(const char *path, const char *text, struct wt_error *err)
{
    return wt_file_replace(path, text, strlen(text), err);
}

int wt_file_check(const char *path, struct wt_error *err)
{
    struct wt_file_draft draft;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { /* not opened: a reader would see an end */
        int failed = S_ISDIR(st.st_mode) ? EISDIR : access(path, W_OK) < 0 ? errno : 0;
        return failed ? wt_fail_errno(err, failed, "writing %s", path) : 0;
    }
    int rc = wt_file_begin(&draft, path, err);
    if (rc == 0)
        wt_file_drop(&draft);
    return rc;
}
