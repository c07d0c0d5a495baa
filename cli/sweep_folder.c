/* sweep_folder: files of a sweep by Slurm; sweep_folder.h has the list. */
#include "sweep_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int fail(struct wt_error *err, const char *path, int errnum)
{
    snprintf(err->text, sizeof(err->text), "%.300s: %s", path, strerror(errnum));
    snprintf(err->fix, sizeof(err->fix),
             "--slurm-folder names a folder that is yours, and that the nodes see too");
    err->code = errnum == ENOENT                       ? WT_E_NOTFOUND
                : errnum == EACCES || errnum == EPERM  ? WT_E_DENIED
                : errnum == ENOSPC || errnum == EDQUOT ? WT_E_FULL
                                                       : WT_E_IO;
    return err->code;
}

static int refuse(struct wt_error *err, const char *path)
{
    snprintf(err->text, sizeof(err->text),
             "%.300s: in the path of what its tasks write Slurm reads %%, \\ and a line's end as "
             "something else",
             path);
    snprintf(err->fix, sizeof(err->fix), "--slurm-folder names a folder without them");
    return err->code = WT_E_USAGE;
}

int cli_folder_parent(const char *given, const struct wt_store *store, char *buf, size_t size,
                      struct wt_error *err)
{
    char path[4096];
    const char *beside = store ? wt_store_path(store) : "";
    const char *slash = strrchr(beside, '/');
    if (given)
        snprintf(path, sizeof(path), "%s", given);
    else
        snprintf(path, sizeof(path), "%.*s/slurm", slash ? (int)(slash - beside) : 0, beside);
    if (!given && mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail(err, path, errno);
    char *whole = realpath(path, NULL); /* a job may begin in another folder */
    struct stat st;
    int rc = 0;
    if (!whole || stat(whole, &st) < 0)
        rc = fail(err, path, errno);
    else if (!S_ISDIR(st.st_mode))
        rc = fail(err, path, ENOTDIR);
    else if (access(whole, W_OK | X_OK) < 0)
        rc = fail(err, path, errno);
    else if (strlen(whole) >= size)
        rc = fail(err, path, ENAMETOOLONG);
    else if (strpbrk(whole, "%\\\n"))
        rc = refuse(err, whole);
    else
        snprintf(buf, size, "%s", whole);
    free(whole);
    return rc;
}

void cli_folder_newest(const char *parent, char *buf, size_t size)
{
    DIR *dir = opendir(parent);
    buf[0] = '\0';
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (strncmp(e->d_name, "sweep-", 6) == 0 && strcmp(e->d_name, buf) > 0 &&
            strlen(e->d_name) < size)
            snprintf(buf, size, "%s", e->d_name); /* they begin with the time */
    if (dir)
        closedir(dir);
}

int cli_folder_open(struct sweep_folder *folder, const char *parent, const char *group, bool is_new,
                    struct wt_error *err)
{
    char path[4096];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;
    folder->lock_fd = -1;
    snprintf(folder->path, sizeof(folder->path), "%.3500s/%.64s", parent, group);
    if (is_new && mkdir(folder->path, 0700) < 0)
        return fail(err, folder->path, errno);
    if (strchr(group, '/') || stat(folder->path, &st) < 0) {
        snprintf(err->text, sizeof(err->text), "%.300s: there is no such sweep by Slurm",
                 folder->path);
        snprintf(err->fix, sizeof(err->fix),
                 "--slurm-folder as it was begun with; one that was made here goes on without "
                 "--slurm");
        return err->code = WT_E_NOTFOUND;
    }
    snprintf(path, sizeof(path), "%s/lock", folder->path);
    folder->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (folder->lock_fd < 0)
        return fail(err, path, errno);
    if (fcntl(folder->lock_fd, F_SETLK, &lock) < 0) {
        int errnum = errno;
        cli_folder_close(folder);
        if (errnum != EACCES && errnum != EAGAIN)
            return fail(err, path, errnum);
        snprintf(err->text, sizeof(err->text), "%.64s: another wattune collects this sweep", group);
        snprintf(err->fix, sizeof(err->fix), "wait until it has ended, or end it: Ctrl-C there");
        return err->code = WT_E_BUSY;
    }
    return 0;
}

void cli_folder_close(struct sweep_folder *folder)
{
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);
    folder->lock_fd = -1;
}

static int write_file(const char *folder, const char *name, const char *text, struct wt_error *err)
{
    char path[4400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return wt_file_write(path, text, err);
}

int cli_folder_write(const struct sweep_folder *folder, const char *name, const char *text,
                     struct wt_error *err)
{
    return write_file(folder->path, name, text, err);
}

char *cli_folder_read(const struct sweep_folder *folder, const char *name)
{
    char path[4096], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof(path), "%s/%s", folder->path, name);
    FILE *in = fopen(path, "re");
    if (!in)
        return NULL;
    ssize_t n = getdelim(&text, &size, '\0', in);
    fclose(in);
    if (n < 0) {
        free(text);
        return NULL;
    }
    return text;
}

void cli_folder_try(const char *folder, const struct sweep_word *word, char *buf, size_t size)
{
    snprintf(buf, size, "%s/%u-%u-%u", folder, word->step, word->job, word->restart);
}

void cli_folder_read_word(const struct sweep_folder *folder, struct sweep_word *word)
{
    char path[4096];
    int code;
    cli_folder_try(folder->path, word, path, sizeof(path) - sizeof("/ended"));
    snprintf(path + strlen(path), sizeof("/ended"), "/ended");
    FILE *in = fopen(path, "re");
    word->code = SWEEP_WORD_NONE;
    if (in && fscanf(in, "%d %63s", &code, word->node) == 2)
        word->code = code;
    if (in)
        fclose(in);
}

struct sweep_word *cli_folder_words(const struct sweep_folder *folder, size_t *ret_count)
{
    struct sweep_word *words = NULL;
    size_t count = 0, room = 0;
    DIR *dir = opendir(folder->path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        struct sweep_word word = {.code = SWEEP_WORD_NONE};
        int end = 0;
        if (sscanf(e->d_name, "%u-%u-%u%n", &word.step, &word.job, &word.restart, &end) != 3 ||
            e->d_name[end])
            continue;
        if (count == room) {
            void *more = reallocarray(words, room = room ? 2 * room : 64, sizeof(*words));
            if (!more)
                break; /* the rest is seen the next time, or never */
            words = more;
        }
        words[count++] = word;
    }
    if (dir)
        closedir(dir);
    *ret_count = count;
    return words;
}

int cli_folder_tell(const char *folder, const struct sweep_word *word, struct wt_error *err)
{
    char path[4096], text[96];
    cli_folder_try(folder, word, path, sizeof(path));
    snprintf(text, sizeof(text), "%d %s\n", word->code, word->node);
    return write_file(path, "ended", text, err);
}

int64_t cli_folder_delay_ns(const struct sweep_folder *folder)
{
    struct statfs fs;
    static const unsigned long local[] = {0xef53 /* ext4 */, 0x58465342 /* XFS */,
                                          0x9123683e /* btrfs */, 0x01021994 /* tmpfs */,
                                          0x794c7630 /* overlayfs */};
    if (statfs(folder->path, &fs) == 0)
        for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
            if ((unsigned long)fs.f_type == local[i])
                return INT64_C(1000000000);
    return INT64_C(75000000000); /* NFS by default looks after 60 s at the latest */
}
