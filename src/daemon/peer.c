/* peer: see peer.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* since Linux 6.5 */
#endif

/* A handle of the process, so that a pid that is given again is not taken for it. */
static int open_pidfd(int socket, pid_t pid)
{
    int fd = -1;
    socklen_t size = sizeof(fd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0 && fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
    }
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

int wt_peer_uid(int socket, uint32_t *ret_uid, struct wt_error *err)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return wt_fail_errno(err, errno, "SO_PEERCRED");
    *ret_uid = (uint32_t)cred.uid;
    return 0;
}

int wt_peer_of(int socket, const struct wt_owner *self, struct wt_peer *ret_peer,
               struct wt_error *err)
{
    struct wt_peer p = {.pidfd = -1};
    struct ucred cred;
    socklen_t size = sizeof(cred);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return wt_fail_errno(err, errno, "SO_PEERCRED");
    p.uid = (uint32_t)cred.uid;
    p.gid = (uint32_t)cred.gid;
    size = sizeof(p.groups);
    /* More groups than there is room for (ERANGE) are none: denied is the safe side. */
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, p.groups, &size) == 0)
        p.group_count = size / sizeof(p.groups[0]);
    p.owner = *self;
    p.owner.pid = 0;
    wt_text(p.owner.name, sizeof(p.owner.name), "?");
    p.pidfd = open_pidfd(socket, cred.pid);
    if (cred.pid > 0) {
        int rc = wt_owner_of((uint32_t)cred.pid, self, &p.owner, err);
        if (rc < 0) {
            wt_peer_done(&p);
            return rc;
        }
    }
    p.owner.uid = p.uid;
    *ret_peer = p;
    return 0;
}

void wt_peer_done(struct wt_peer *p)
{
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->pidfd = -1;
}

/* ---- device nodes ---- */

/* "Device Minor: \t 3" of a file that says "GPU UUID: \t GPU-..." too. */
static const char *value_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    if (!at)
        return "";
    at += strlen(name);
    return at + strspn(at, ": \t");
}

void wt_peer_nodes(const struct wt_ctx *ctx, const char (*ids)[96], size_t count, int *ret_minors)
{
    char **names;
    size_t n;
    for (size_t i = 0; i < count; i++)
        ret_minors[i] = -1;
    if (wt_fs_list(ctx, "/proc/driver/nvidia/gpus", &names, &n, NULL) < 0)
        return;
    for (size_t k = 0; k < n; k++) {
        char path[400], text[4096];
        wt_text(path, sizeof(path), "/proc/driver/nvidia/gpus/%.255s/information", names[k]);
        if (wt_fs_read_start(ctx, path, text, sizeof(text)) < 0)
            continue;
        const char *uuid = value_of(text, "GPU UUID"), *minor = value_of(text, "Device Minor");
        size_t len = strcspn(uuid, " \t\r\n");
        if (*minor < '0' || *minor > '9')
            continue;
        for (size_t i = 0; i < count; i++)
            if (strlen(ids[i]) == len && strncmp(ids[i], uuid, len) == 0)
                ret_minors[i] = atoi(minor);
    }
    wt_fs_list_free(names, n);
}

uint64_t wt_peer_node_devices(const struct wt_ctx *ctx, const int *minors, size_t count,
                              uint32_t uid)
{
    uint64_t devices = 0;
    for (size_t i = 0; uid != 0 && i < count && i < 64; i++) {
        char path[4352];
        struct stat st;
        if (minors[i] < 0)
            continue;
        wt_text(path, sizeof(path), "%s/dev/nvidia%d", ctx ? ctx->sysroot : "", minors[i]);
        if (lstat(path, &st) == 0 && st.st_uid == uid)
            devices |= UINT64_C(1) << i;
    }
    return devices;
}

/* ---- allocations ---- */

static void add(struct wt_allocations *all, const struct wt_allocation *a)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].job == a->job) {
            all->list[i] = *a;
            return;
        }
    if (all->count < WT_ALLOCATIONS)
        all->list[all->count++] = *a;
}

/* A line of the file: JOB UID ID[,ID...] */
static bool read_line(char *line, const char (*ids)[96], size_t count, struct wt_allocation *ret)
{
    char *save = NULL, *words[3];
    uint64_t job, uid;
    for (size_t i = 0; i < 3; i++)
        if (!(words[i] = strtok_r(i ? NULL : line, " ", &save)))
            return false;
    if (wt_text_to_u64(words[0], &job) < 0 || wt_text_to_u64(words[1], &uid) < 0 || job == 0 ||
        job > UINT32_MAX || uid > UINT32_MAX)
        return false;
    *ret = (struct wt_allocation){
        .job = (uint32_t)job, .uid = (uint32_t)uid, .begun_ns = wt_clock_now_ns()};
    for (char *id = strtok_r(words[2], ",", &save); id; id = strtok_r(NULL, ",", &save))
        for (size_t i = 0; i < count && i < 64; i++)
            if (strcmp(ids[i], id) == 0)
                ret->devices |= UINT64_C(1) << i;
    return true;
}

void wt_allocations_load(struct wt_allocations *all, const char *path, const char (*ids)[96],
                         size_t count)
{
    wt_text(all->path, sizeof(all->path), "%s", path);
    FILE *f = fopen(path, "re");
    struct stat st;
    if (!f)
        return;
    char *line = NULL;
    size_t room = 0;
    if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        st.st_size < 16 << 20)
        while (getline(&line, &room, f) > 0) {
            struct wt_allocation a;
            line[strcspn(line, "\n")] = '\0';
            if (read_line(line, ids, count, &a))
                add(all, &a);
        }
    free(line);
    fclose(f);
}

/* A new file in the place of the old. It need not outlive a power cut: neither do jobs. */
static int keep(const struct wt_allocations *all, const char (*ids)[96], size_t count,
                struct wt_error *err)
{
    char fresh[4400];
    if (!*all->path)
        return 0;
    wt_text(fresh, sizeof(fresh), "%s.new", all->path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) {
        if (fd >= 0)
            close(fd);
        return wt_fail_errno(err, errno, "%s", fresh);
    }
    for (size_t i = 0; i < all->count; i++) {
        const struct wt_allocation *a = &all->list[i];
        fprintf(f, "%u %u ", a->job, a->uid);
        bool is_any = false;
        for (size_t d = 0; d < count && d < 64; d++)
            if (a->devices >> d & 1) {
                fprintf(f, "%s%s", is_any ? "," : "", ids[d]);
                is_any = true;
            }
        fprintf(f, "%s\n", is_any ? "" : "-");
    }
    bool is_ok = ferror(f) == 0;
    is_ok &= fclose(f) == 0;
    if (!is_ok || rename(fresh, all->path) < 0)
        return wt_fail_errno(err, errno, "%s", all->path);
    return 0;
}

const struct wt_allocation *wt_allocations_find(const struct wt_allocations *all, uint32_t job)
{
    for (size_t i = 0; job && i < all->count; i++)
        if (all->list[i].job == job)
            return &all->list[i];
    return NULL;
}

int wt_allocations_set(struct wt_allocations *all, const struct wt_allocation *allocation,
                       const char (*ids)[96], size_t count, struct wt_error *err)
{
    if (all->count == WT_ALLOCATIONS && !wt_allocations_find(all, allocation->job))
        return wt_fail(err, WT_E_FULL, "wattuned knows %d Slurm jobs and no more", WT_ALLOCATIONS);
    add(all, allocation);
    return keep(all, ids, count, err);
}

bool wt_allocations_remove(struct wt_allocations *all, uint32_t job, const char (*ids)[96],
                           size_t count)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->list[i].job == job) {
            all->list[i] = all->list[--all->count];
            keep(all, ids, count, NULL);
            return true;
        }
    return false;
}
