/* facts: see facts.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "wish.h"

#define END_ROOM   32    /* "end_ns=" and 20 digits */
#define MANY       4096  /* files */
#define OLD_S      86400 /* a measuring program that is away comes back before */
#define OLD_MANY_S 600

void wt_slurm_facts_add(struct wt_slurm_facts *f, const char *key, const char *fmt, ...)
{
    char raw[1024], value[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    if (n <= 0)
        return;
    wt_slurm_clean(value, sizeof(value), raw);
    size_t need = strlen(key) + strlen(value) + 2;
    if (f->len + need + END_ROOM > WT_SLURM_FACTS_MAX)
        return;
    wt_text(f->text + f->len, sizeof(f->text) - f->len, "%s=%s\n", key, value);
    f->len += need;
}

bool wt_slurm_facts_get(const struct wt_slurm_facts *f, const char *key, size_t i, char *buf,
                        size_t size)
{
    size_t len = strlen(key);
    for (const char *line = f->text; *line;) {
        size_t all = strcspn(line, "\n");
        if (all > len && line[len] == '=' && strncmp(line, key, len) == 0 && i-- == 0) {
            wt_text(buf, size, "%.*s", (int)(all - len - 1), line + len + 1);
            return true;
        }
        line += all + (line[all] == '\n');
    }
    return false;
}

/* The folder's handle; root's alone, so that nobody else's file is taken for a fact. */
static int open_folder(const char *dir, bool is_made, struct wt_error *err)
{
    struct stat st;
    if (is_made && mkdir(dir, 0755) < 0 && errno == ENOENT) {
        char above[320];
        wt_text(above, sizeof(above), "%s", dir);
        char *slash = strrchr(above, '/');
        if (slash && slash > above) {
            *slash = '\0';
            if (mkdir(above, 0755) == 0)
                chmod(above, 0755);
        }
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            return wt_fail_errno(err, errno, "%s", dir);
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s", dir);
    if (fstat(fd, &st) < 0 || (st.st_uid != 0 && st.st_uid != geteuid()) ||
        (st.st_mode & (S_IWGRP | S_IWOTH))) {
        close(fd);
        return wt_fail(err, WT_E_DENIED, "%s: others than root may write there", dir);
    }
    if (is_made && (st.st_mode & 0777) != 0755)
        fchmod(fd, 0755); /* whatever umask slurmd has */
    return fd;
}

static int write_whole(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

int wt_slurm_facts_write(const char *dir, const char *name, const struct wt_slurm_facts *f,
                         struct wt_error *err)
{
    char fresh[128];
    int folder = open_folder(dir, true, err), rc = 0;
    if (folder < 0)
        return folder;
    wt_text(fresh, sizeof(fresh), ".%.60s.%d", name, (int)getpid());
    unlinkat(folder, fresh, 0);
    int fd = openat(folder, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        rc = wt_fail_errno(err, errno, "%s/%s", dir, fresh);
    else if (fchmod(fd, 0644) < 0 || write_whole(fd, f->text, f->len) < 0 ||
             renameat(folder, fresh, folder, name) < 0) {
        rc = wt_fail_errno(err, errno, "%s/%s", dir, name);
        unlinkat(folder, fresh, 0);
    }
    if (fd >= 0)
        close(fd);
    close(folder);
    return rc;
}

static int read_at(int folder, const char *name, struct wt_slurm_facts *ret)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return wt_code_from_errno(errno);
    int rc = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? WT_E_FORMAT : 0;
    ret->len = 0;
    while (rc == 0) {
        ssize_t n = read(fd, ret->text + ret->len, sizeof(ret->text) - ret->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = WT_E_IO;
        if (n <= 0)
            break;
        ret->len += (size_t)n;
        if (ret->len > WT_SLURM_FACTS_MAX)
            rc = WT_E_FORMAT;
    }
    close(fd);
    ret->text[rc == 0 ? ret->len : 0] = '\0';
    return rc;
}

int wt_slurm_facts_read(const char *dir, const char *name, struct wt_slurm_facts *ret_facts,
                        struct wt_error *err)
{
    int folder = open_folder(dir, false, err);
    if (folder < 0)
        return folder;
    int rc = read_at(folder, name, ret_facts);
    close(folder);
    return rc < 0 ? wt_fail(err, rc, "%s/%s: %s", dir, name, wt_strerror(rc)) : 0;
}

int wt_slurm_facts_end(const char *dir, const char *name, int64_t end_ns, struct wt_error *err)
{
    struct wt_slurm_facts f;
    char before[32];
    int rc = wt_slurm_facts_read(dir, name, &f, err);
    if (rc < 0 || wt_slurm_facts_get(&f, "end_ns", 0, before, sizeof(before)))
        return rc;
    if (f.len + END_ROOM > WT_SLURM_FACTS_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s/%s: has no room for its end", dir, name);
    wt_text(f.text + f.len, sizeof(f.text) - f.len, "end_ns=%lld\n", (long long)end_ns);
    f.len += strlen(f.text + f.len);
    rc = wt_slurm_facts_write(dir, name, &f, err);
    if (rc < 0) { /* no room: a fact that is gone is better than a job that never ends */
        int folder = open_folder(dir, false, NULL);
        if (folder >= 0) {
            unlinkat(folder, name, 0);
            close(folder);
        }
    }
    return rc;
}

static bool read_running(int folder, const char *name, struct wt_slurm_running *ret)
{
    struct wt_slurm_facts f;
    char end[32];
    uint64_t job;
    if (wt_text_to_u64(name, &job) < 0 || job == 0 || job > UINT32_MAX ||
        read_at(folder, name, &f) < 0 || wt_slurm_facts_get(&f, "end_ns", 0, end, sizeof(end)))
        return false;
    ret->job = (uint32_t)job;
    return wt_slurm_facts_get(&f, "begin_ns", 0, ret->begin_ns, sizeof(ret->begin_ns)) &&
           wt_slurm_facts_get(&f, "node", 0, ret->node, sizeof(ret->node));
}

size_t wt_slurm_facts_running(const char *dir, struct wt_slurm_running *ret_jobs, size_t room)
{
    size_t count = 0;
    int folder = open_folder(dir, false, NULL);
    DIR *all = folder >= 0 ? fdopendir(folder) : NULL;
    if (!all && folder >= 0)
        close(folder);
    for (struct dirent *e; all && count < room && (e = readdir(all));)
        count += read_running(dirfd(all), e->d_name, &ret_jobs[count]);
    if (all)
        closedir(all);
    return count;
}

bool wt_slurm_facts_runs(const char *dir, const struct wt_slurm_running *job)
{
    struct wt_slurm_running now;
    char name[16];
    int folder = open_folder(dir, false, NULL);
    if (folder < 0)
        return false;
    bool is = read_running(folder, wt_text(name, sizeof(name), "%u", job->job), &now) &&
              strcmp(now.begin_ns, job->begin_ns) == 0;
    close(folder);
    return is;
}

void wt_slurm_facts_remove(const char *dir, const char *name)
{
    int folder = open_folder(dir, false, NULL);
    if (folder < 0)
        return;
    unlinkat(folder, name, 0);
    close(folder);
}

bool wt_slurm_facts_first(const char *dir, uint32_t job)
{
    char name[32];
    int folder = open_folder(dir, false, NULL);
    if (folder < 0)
        return true;
    wt_text(name, sizeof(name), ".%u.told", job);
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool is_first = fd >= 0 || errno != EEXIST;
    if (fd >= 0)
        close(fd);
    close(folder);
    return is_first;
}

/* Whether a file can go: of ours, and long over. */
static bool is_over(int folder, const char *name, time_t now, time_t age_s)
{
    struct wt_slurm_facts f;
    struct stat st;
    char value[32], whole[64];
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        now - st.st_mtime < age_s)
        return false;
    const char *number =
        name + (name[0] == '.'); /* ".7.told", or left by a write that was killed */
    if (number[0] < '0' || number[0] > '9')
        return false;
    const char *last = strrchr(number, '.');
    bool is_energy = last && strcmp(last, ".energy") == 0;
    if (last) { /* of a step, and the like: goes once its job has gone */
        wt_text(whole, sizeof(whole), "%.*s", (int)strcspn(number, "."), number);
        if (faccessat(folder, whole, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return true;
        if (name[0] == '.')
            return false;
        wt_text(whole, sizeof(whole), "%.*s", (int)(last - number), number);
        if (is_energy)
            return faccessat(folder, whole, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
    }
    return read_at(folder, name, &f) == 0 &&
           wt_slurm_facts_get(&f, "end_ns", 0, value, sizeof(value));
}

void wt_slurm_facts_prune(const char *dir, uint32_t ended_job)
{
    char name[32];
    int folder = open_folder(dir, false, NULL);
    if (folder < 0)
        return;
    wt_text(name, sizeof(name), ".%u.told", ended_job);
    unlinkat(folder, name, 0);
    DIR *all = fdopendir(folder);
    if (!all) {
        close(folder);
        return;
    }
    size_t count = 0;
    while (readdir(all))
        count++;
    rewinddir(all);
    time_t now = time(NULL), age_s = count > MANY ? OLD_MANY_S : OLD_S;
    for (struct dirent *e; (e = readdir(all));)
        if (is_over(dirfd(all), e->d_name, now, age_s))
            unlinkat(dirfd(all), e->d_name, 0);
    closedir(all);
}
