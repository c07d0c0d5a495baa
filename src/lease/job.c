/* job: which Slurm job a process belongs to, and whether a job still runs: from the facts that our
 * plugin in slurmd writes (docs/decisions/0009), and else from what slurmd leaves behind - a cgroup
 * for each job (v2: system.slice/[NODE_]slurmstepd.scope/job_N; v1:
 * CONTROLLER/slurm[_NODE]/uid_U/job_N), and a slurmstepd process for each step, named
 * "slurmstepd: [N.STEP]", which is all there is where cgroups are off. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "lease/journal.h"

#define CGROUPS   "/sys/fs/cgroup"
#define FACTS_MAX 4096

/* ---- by its facts ---- */

static bool is_roots_alone(int fd, mode_t type)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type &&
           (st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* A file of the folder as text; false: none that is to be believed. */
static bool read_facts(int folder, const char *name, char text[FACTS_MAX + 1])
{
    ssize_t n = -1;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (is_roots_alone(fd, S_IFREG))
        do
            n = read(fd, text, FACTS_MAX);
        while (n < 0 && errno == EINTR);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

enum wt_job_told wt_job_told(const struct wt_ctx *ctx, uint32_t job)
{
    const char *emulation = getenv("WATTUNE_EMULATION"), *root = ctx ? ctx->sysroot : "";
    char path[4352], name[24], text[FACTS_MAX + 1];
    enum wt_job_told told = WT_JOB_TOLD_NOT;
    if (ctx && ctx->jobs_dir)
        wt_text(path, sizeof(path), "%s", ctx->jobs_dir);
    else if (!*root && emulation && *emulation)
        wt_text(path, sizeof(path), "%s/slurm", emulation);
    else
        wt_text(path, sizeof(path), "%s" WT_LEASE_FACTS_DIR, root);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return WT_JOB_TOLD_NOT;
    if (is_roots_alone(folder, S_IFDIR)) {
        if (read_facts(folder, wt_text(name, sizeof(name), "%u", job), text))
            told = strstr(text, "\nend_ns=") ? WT_JOB_TOLD_ENDED : WT_JOB_TOLD_RUNS;
        /* What a measuring program has done with, and put aside. */
        else if (read_facts(folder, wt_text(name, sizeof(name), "%u.ended", job), text) &&
                 strstr(text, "\nend_ns="))
            told = WT_JOB_TOLD_ENDED;
    }
    close(folder);
    return told;
}

/* ---- by its traces ---- */

/* A folder that nobody but root, or whoever we are ourselves, can have made. */
static bool is_roots_folder(const struct wt_ctx *ctx, const char *path)
{
    char full[4352];
    struct stat st;
    wt_text(full, sizeof(full), "%s%s", ctx ? ctx->sysroot : "", path);
    return lstat(full, &st) == 0 && S_ISDIR(st.st_mode) &&
           (st.st_uid == 0 || st.st_uid == geteuid());
}

/* "job_42" to 42; 0: is none. */
static uint32_t job_number(const char *name, size_t len)
{
    char digits[16];
    uint64_t number;
    if (len < 5 || len - 4 >= sizeof(digits) || strncmp(name, "job_", 4) != 0)
        return 0;
    wt_text(digits, sizeof(digits), "%.*s", (int)(len - 4), name + 4);
    if (!isdigit((unsigned char)*digits) || wt_text_to_u64(digits, &number) < 0 ||
        number > UINT32_MAX)
        return 0;
    return (uint32_t)number;
}

/* One line of /proc/PID/cgroup, "HIERARCHY:CONTROLLERS:PATH". */
static uint32_t job_of_line(const struct wt_ctx *ctx, const char *line, size_t len)
{
    char text[3072], dir[4096];
    wt_text(text, sizeof(text), "%.*s", (int)len, line);
    char *controllers = strchr(text, ':'), *path;
    if (!controllers || !(path = strchr(controllers + 1, ':')))
        return 0;
    *controllers++ = '\0';
    *path++ = '\0';
    bool is_slurms = false;
    for (char *p = path; *p == '/';) {
        size_t part = strcspn(++p, "/");
        uint32_t job = is_slurms ? job_number(p, part) : 0;
        if (job) {
            p[part] = '\0';
            const char *const mounts[] = {controllers, "", "unified"};
            for (size_t i = 0; i < WT_COUNTOF(mounts); i++)
                if (is_roots_folder(ctx, wt_text(dir, sizeof(dir), "%s%s%s%s", CGROUPS,
                                                 *mounts[i] ? "/" : "", mounts[i], path)))
                    return job;
            return 0;
        }
        /* slurm, slurm_NODE, slurmstepd.scope, NODE_slurmstepd.scope */
        for (size_t i = 0; i + 5 <= part && !is_slurms; i++)
            is_slurms = strncmp(p + i, "slurm", 5) == 0;
        p += part;
    }
    return 0;
}

uint32_t wt_job_of(const struct wt_ctx *ctx, uint32_t pid)
{
    char path[64], text[8192];
    wt_text(path, sizeof(path), "/proc/%u/cgroup", pid);
    if (wt_fs_read_start(ctx, path, text, sizeof(text)) < 0)
        return 0;
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        uint32_t job = job_of_line(ctx, line, len);
        if (job)
            return job;
        line += len + (line[len] == '\n');
    }
    return 0;
}

/* DIR/job_N, or DIR/uid_U/job_N for some U. */
static bool has_job_below(const struct wt_ctx *ctx, const char *dir, uint32_t job)
{
    char path[4096], **names;
    size_t count;
    if (is_roots_folder(ctx, wt_text(path, sizeof(path), "%s/job_%u", dir, job)))
        return true;
    if (wt_fs_list(ctx, dir, &names, &count, NULL) < 0)
        return false;
    bool found = false;
    for (size_t i = 0; i < count && !found; i++)
        found = strncmp(names[i], "uid_", 4) == 0 &&
                is_roots_folder(ctx,
                                wt_text(path, sizeof(path), "%s/%.64s/job_%u", dir, names[i], job));
    wt_fs_list_free(names, count);
    return found;
}

static bool has_cgroup(const struct wt_ctx *ctx, uint32_t job)
{
    static const char *const places[] = {CGROUPS "/system.slice",
                                         CGROUPS "/unified/system.slice",
                                         CGROUPS,
                                         CGROUPS "/unified",
                                         CGROUPS "/freezer",
                                         CGROUPS "/memory",
                                         CGROUPS "/cpuset",
                                         CGROUPS "/devices",
                                         CGROUPS "/cpuacct",
                                         CGROUPS "/cpu,cpuacct"};
    bool found = false;
    for (size_t i = 0; i < WT_COUNTOF(places) && !found; i++) {
        char path[4096], **names;
        size_t count;
        if (wt_fs_list(ctx, places[i], &names, &count, NULL) < 0)
            continue;
        for (size_t k = 0; k < count && !found; k++)
            found = strstr(names[k], "slurm") &&
                    has_job_below(
                        ctx, wt_text(path, sizeof(path), "%s/%.255s", places[i], names[k]), job);
        wt_fs_list_free(names, count);
    }
    return found;
}

/* Whether a process is root's: by its real user, as anybody may run a set-uid program under any
 * name.
 */
static bool is_roots_process(const struct wt_ctx *ctx, const char *pid)
{
    char path[320], text[2048];
    wt_text(path, sizeof(path), "/proc/%.255s/status", pid);
    if (wt_fs_read_start(ctx, path, text, sizeof(text)) < 0)
        return false;
    const char *at = strstr(text, "\nUid:");
    return at && strtoul(at + 5, NULL, 10) == 0;
}

static bool has_stepd(const struct wt_ctx *ctx, uint32_t job)
{
    char **names, dot[48], bracket[48];
    size_t count;
    wt_text(dot, sizeof(dot), "slurmstepd: [%u.", job);
    wt_text(bracket, sizeof(bracket), "slurmstepd: [%u]", job);
    if (wt_fs_list(ctx, "/proc", &names, &count, NULL) < 0)
        return false;
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        char path[320], text[64];
        if (!isdigit((unsigned char)names[i][0]))
            continue;
        wt_text(path, sizeof(path), "/proc/%.255s/cmdline", names[i]);
        found = wt_fs_read_start(ctx, path, text, sizeof(text)) == 0 &&
                (strncmp(text, dot, strlen(dot)) == 0 ||
                 strncmp(text, bracket, strlen(bracket)) == 0) &&
                is_roots_process(ctx, names[i]);
    }
    wt_fs_list_free(names, count);
    return found;
}

bool wt_job_has_trace(const struct wt_ctx *ctx, uint32_t job)
{
    return has_cgroup(ctx, job) || has_stepd(ctx, job);
}

bool wt_job_is_alive(const struct wt_ctx *ctx, uint32_t job)
{
    enum wt_job_told told = wt_job_told(ctx, job);
    if (told != WT_JOB_TOLD_NOT)
        return told == WT_JOB_TOLD_RUNS;
    return wt_job_has_trace(ctx, job);
}
