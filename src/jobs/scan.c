/* scan: the facts folder, looked at every second. A file that has not changed (inode and time: they
 * are written beside and renamed) is not read again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/accounts.h"

#define TEXT_S     300 /* what is left for users and wattuned stays for so long */
#define MISSED     2   /* ticks without slurmstepd, until its step has ended */
#define FILES_MOST 20000
#define ALIVE      ".serve"
#define ENDED      ".ended"

const char *wt_accounts_id_of(const struct job *job, unsigned gpu)
{
    for (size_t i = 0; i < job->facts.device_count; i++)
        if (job->facts.gpus[i] == gpu)
            return job->facts.devices[i];
    return NULL;
}

bool wt_accounts_holds(const struct wt_accounts *a, const struct job *job, const struct step *step,
                       size_t device)
{
    const struct wt_device_info *info = a->devices[device].info;
    const unsigned *gpus = step ? step->gpus : job->facts.gpus;
    size_t count = step ? step->gpu_count : job->facts.gpu_count;
    /* Each vendor counts from 0. Slurm's numbers are NVIDIA's, where there are such. */
    bool is_numbered = !a->has_nvml || strcmp(info->source, "nvml") == 0;
    for (size_t i = 0; info->kind == WT_DEVICE_GPU && i < count; i++) {
        const char *id = wt_accounts_id_of(job, gpus[i]);
        if (id ? strcmp(id, info->id) == 0 : is_numbered && info->index == gpus[i])
            return true;
    }
    return false;
}

/* ---- lists ---- */

void wt_accounts_step_free(struct step *step)
{
    if (!step)
        return;
    free(step->places);
    free(step);
}

void wt_accounts_job_free(struct job *job)
{
    if (!job)
        return;
    while (job->steps) {
        struct step *next = job->steps->next;
        wt_accounts_step_free(job->steps);
        job->steps = next;
    }
    free(job->places);
    free(job);
}

struct job *wt_accounts_job_new(struct wt_accounts *a)
{
    struct job *job = calloc(1, sizeof(*job));
    if (job && !(job->places = calloc(a->count + 1, sizeof(*job->places)))) {
        free(job);
        return NULL;
    }
    return job;
}

/* The latest of its number, which may have ended and wait for the store. */
static struct job *find_job(struct wt_accounts *a, uint32_t number)
{
    for (struct job *job = a->jobs; job; job = job->next)
        if (job->facts.job == number)
            return job;
    return NULL;
}

static struct step *find_step(struct job *job, const char *name)
{
    for (struct step *step = job->steps; step; step = step->next)
        if (strcmp(step->name, name) == 0)
            return step;
    return NULL;
}

/* ---- files ---- */

/* JOB or JOB.STEP; others in the folder are not ours to read. */
static bool split_name(const char *name, uint32_t *ret_job, char *step, size_t size)
{
    char number[16];
    uint64_t job;
    size_t digits = strcspn(name, ".");
    if (digits == 0 || digits >= sizeof(number))
        return false;
    wt_text(number, sizeof(number), "%.*s", (int)digits, name);
    if (wt_text_to_u64(number, &job) < 0 || job == 0 || job > UINT32_MAX || number[0] == '0')
        return false;
    wt_text(step, size, "%s", name[digits] ? name + digits + 1 : "");
    *ret_job = (uint32_t)job;
    return name[digits] ? wt_jobs_is_step(step) : true;
}

static int read_facts(struct wt_accounts *a, int folder, const char *name,
                      struct wt_job_facts *ret_facts, struct wt_error *err)
{
    char text[WT_JOB_FACTS_MAX + 1], path[640];
    wt_text(path, sizeof(path), "%s/%.100s", a->facts_dir, name);
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) /* gone since it was listed: nothing to say */
        return errno == ENOENT ? WT_E_GONE : wt_fail_errno(err, errno, "%s", path);
    size_t len = 0;
    int rc = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, sizeof(text) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = wt_fail_errno(err, errno, "%s", path);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (len == sizeof(text))
            break; /* too long, as the parser will say */
    }
    close(fd);
    return rc < 0 ? rc : wt_job_facts_parse(ret_facts, text, len, path, err);
}

static int64_t mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * WT_NS_PER_S + st->st_mtim.tv_nsec;
}

/* Begun anew meanwhile: it is another job's. */
static bool is_anothers(const struct wt_accounts *a, const char *name, uint64_t ino,
                        int64_t mtime_ns)
{
    char path[640];
    struct stat st;
    wt_text(path, sizeof(path), "%s/%.100s", a->facts_dir, name);
    return lstat(path, &st) == 0 && (ino != st.st_ino || mtime_ns != mtime_of(&st));
}

void wt_accounts_forget(struct wt_accounts *a, const char *name, uint64_t ino, int64_t mtime_ns)
{
    char path[640], aside[660];
    struct wt_error err;
    struct stat st;
    wt_text(path, sizeof(path), "%s/%.100s", a->facts_dir, name);
    if (is_anothers(a, name, ino, mtime_ns))
        return;
    /* A job's stays under another name: wattuned, which may have been away when the epilog called,
     * takes from it that what the job holds is nobody's. */
    wt_text(aside, sizeof(aside), "%s" ENDED, path);
    bool is_step = strchr(name, '.') != NULL;
    int rc = is_step ? unlink(path) : rename(path, aside);
    if (rc == 0 && !is_step)
        utimensat(AT_FDCWD, aside, NULL, AT_SYMLINK_NOFOLLOW); /* its five minutes begin */
    if (rc == 0 || errno == ENOENT || errno == ENOTDIR)
        return;
    wt_fail_errno(&err, errno, "%s: cannot be removed", path);
    wt_accounts_trouble(a, err.code, &err);
    if (lstat(path, &st) < 0)
        return;
    size_t at = a->done_count++ % WT_COUNTOF(a->done);
    wt_text(a->done[at].name, sizeof(a->done[at].name), "%s", name);
    a->done[at].ino = st.st_ino;
    a->done[at].mtime_ns = mtime_of(&st);
}

/* One that could not be removed must not begin its job again. */
static bool is_done(const struct wt_accounts *a, const char *name, const struct stat *st)
{
    for (size_t i = 0; i < a->done_count && i < WT_COUNTOF(a->done); i++)
        if (strcmp(a->done[i].name, name) == 0 && a->done[i].ino == st->st_ino &&
            a->done[i].mtime_ns == mtime_of(st))
            return true;
    return false;
}

int wt_accounts_write(const char *fresh, const char *path, const char *text, struct wt_error *err)
{
    size_t len = strlen(text), done = 0;
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644), rc = 0;
    while (fd >= 0 && done < len) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (fd < 0 || done < len || fchmod(fd, 0644) < 0 || rename(fresh, path) < 0) {
        rc = wt_fail_errno(err, errno, "%s", path);
        if (fd >= 0)
            unlink(fresh);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

void wt_accounts_leave_text(struct wt_accounts *a, const char *name, uint64_t ino, int64_t mtime_ns,
                            const char *text)
{
    char path[640], fresh[640];
    struct wt_error err;
    if (is_anothers(a, name, ino, mtime_ns))
        return;
    wt_text(path, sizeof(path), "%s/%.90s.energy", a->facts_dir, name);
    wt_text(fresh, sizeof(fresh), "%s/.%.90s.energy", a->facts_dir, name);
    wt_accounts_trouble(a, wt_accounts_write(fresh, path, text, &err), &err);
}

/* ---- what a file says ---- */

static void end_step(struct step *step, int64_t end_ns)
{
    step->end_ns = end_ns > step->begin_ns ? end_ns : step->begin_ns;
    step->is_ended = true;
}

static void end_job(struct job *job, int64_t end_ns, const char *note)
{
    job->end_ns = end_ns > job->facts.begin_ns ? end_ns : job->facts.begin_ns;
    job->is_ended = true;
    if (note && !job->note[0])
        wt_text(job->note, sizeof(job->note), "%s", note);
    for (struct step *step = job->steps; step; step = step->next)
        if (!step->is_ended)
            end_step(step, job->end_ns);
}

/* What a file says now, but for what is of the begin: the key of its rows, and whose the GPUs are.
 * Slurm's prolog writes it twice, and only then knows which devices those are. */
static void take_facts(const struct wt_accounts *a, struct job *job, const struct wt_job_facts *f)
{
    struct wt_job_facts old = job->facts;
    bool is_first = !old.job;
    bool is_same = old.gpu_count == f->gpu_count &&
                   memcmp(old.gpus, f->gpus, f->gpu_count * sizeof(f->gpus[0])) == 0;
    job->facts = *f;
    if (is_first) {
        if (!f->cluster[0])
            memcpy(job->facts.cluster, a->cluster, sizeof(job->facts.cluster));
        if (!f->node[0])
            memcpy(job->facts.node, a->node, sizeof(job->facts.node));
        return;
    }
    memcpy(job->facts.cluster, old.cluster, sizeof(old.cluster));
    memcpy(job->facts.node, old.node, sizeof(old.node));
    if (!old.device_count && f->device_count && is_same) {
        job->is_moved = !job->is_new;
        return;
    }
    memcpy(job->facts.gpus, old.gpus, sizeof(old.gpus));
    memcpy(job->facts.devices, old.devices, sizeof(old.devices));
    job->facts.gpu_count = old.gpu_count;
    job->facts.device_count = old.device_count;
}

static int take_job(struct wt_accounts *a, const struct wt_job_facts *f, const struct stat *st)
{
    struct job *job = find_job(a, f->job);
    if (job && job->facts.begin_ns != f->begin_ns) { /* the same number begun anew (requeued) */
        if (!job->is_ended)
            end_job(job, f->begin_ns, "its end was not told: another with its number began");
        job = NULL;
    }
    if (!job) {
        job = wt_accounts_job_new(a);
        if (!job)
            return WT_E_NOMEM;
        job->is_new = true;
        job->next = a->jobs;
        a->jobs = job;
    }
    if (f->cluster[0])
        memcpy(a->cluster, f->cluster, sizeof(a->cluster));
    if (f->node[0])
        memcpy(a->node, f->node, sizeof(a->node));
    if (!job->is_ended)
        take_facts(a, job, f);
    job->ino = st->st_ino;
    job->mtime_ns = mtime_of(st);
    job->is_seen = true;
    job->told_end_ns = f->end_ns; /* once its steps have been read, too */
    return 0;
}

static int take_step(struct wt_accounts *a, struct job *job, const struct wt_job_facts *f,
                     const struct stat *st)
{
    struct step *step = find_step(job, f->step);
    if (step && step->begin_ns != f->begin_ns) {
        if (!step->is_ended)
            end_step(step, f->begin_ns);
        step = NULL;
    }
    if (!step) {
        step = calloc(1, sizeof(*step));
        if (step)
            step->places = calloc(a->count + 1, sizeof(*step->places));
        if (!step || !step->places) {
            wt_accounts_step_free(step);
            return WT_E_NOMEM;
        }
        step->is_new = true;
        memcpy(step->name, f->step, sizeof(step->name));
        step->begin_ns = f->begin_ns;
        step->cpu.pid = f->pid;
        step->cpu.pid_start = f->pid_start;
        memcpy(step->gpus, f->gpus, sizeof(step->gpus));
        step->gpu_count = f->gpu_count;
        step->next = job->steps;
        job->steps = step;
    }
    step->ino = st->st_ino;
    step->mtime_ns = mtime_of(st);
    step->is_seen = true;
    if (f->end_ns && !step->is_ended)
        end_step(step, f->end_ns);
    return 0;
}

static bool is_same(const struct stat *st, uint64_t ino, int64_t mtime_ns)
{
    return ino == st->st_ino && mtime_ns == mtime_of(st);
}

static int look_at(struct wt_accounts *a, int folder, const char *name, struct wt_error *err)
{
    struct wt_job_facts f;
    struct stat st;
    uint32_t number;
    char label[24];
    if (!split_name(name, &number, label, sizeof(label)) ||
        fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        is_done(a, name, &st))
        return 0;
    struct job *job = find_job(a, number);
    struct step *step = job && label[0] ? find_step(job, label) : NULL;
    if (!label[0] && job && is_same(&st, job->ino, job->mtime_ns)) {
        job->is_seen = true;
        return 0;
    }
    if (step && is_same(&st, step->ino, step->mtime_ns)) {
        step->is_seen = true;
        return 0;
    }
    int rc = read_facts(a, folder, name, &f, err);
    if (rc == 0 && (f.job != number || strcmp(f.step, label) != 0))
        rc = wt_fail(err, WT_E_FORMAT, "%s/%s: job=%u step=%s: of another than its name says",
                     a->facts_dir, name, f.job, f.step);
    if (rc < 0) {
        /* What was known of it before stays. */
        if (step)
            step->is_seen = true;
        else if (job && !label[0])
            job->is_seen = true;
        return rc;
    }
    if (!label[0])
        return take_job(a, &f, &st);
    if (!job || job->is_ended) { /* its job has gone: so does what is left of it */
        if (f.end_ns && !job)
            wt_accounts_forget(a, name, st.st_ino, mtime_of(&st));
        return 0;
    }
    return take_step(a, job, &f, &st);
}

/* ---- the folder ---- */

static int open_folder(struct wt_accounts *a, struct wt_error *err)
{
    struct stat st;
    int fd = open(a->facts_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? WT_E_NOTFOUND : wt_fail_errno(err, errno, "%s", a->facts_dir);
    if (fstat(fd, &st) < 0 || (st.st_uid != 0 && st.st_uid != geteuid()) ||
        (st.st_mode & (S_IWGRP | S_IWOTH))) {
        close(fd);
        wt_fail(err, WT_E_DENIED, "%s: others than root may write there, so it is not believed",
                a->facts_dir);
        wt_fix(err, "chown root %s; chmod 755 %s", a->facts_dir, a->facts_dir);
        return WT_E_DENIED;
    }
    return fd;
}

static int compare_names(const void *one, const void *other)
{
    /* A job's file before those of its steps. */
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* Tells the plugin that somebody measures, and when he last looked: it waits for an energy only
 * then. Where that cannot be written it does not wait. */
static void show_alive(int folder)
{
    int fd = openat(folder, ALIVE, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    futimens(fd, NULL);
    fchmod(fd, 0644); /* whatever umask there is */
    close(fd);
}

void wt_accounts_hide(const struct wt_accounts *a)
{
    char path[640];
    wt_text(path, sizeof(path), "%s/" ALIVE, a->facts_dir);
    unlink(path);
}

static int list_names(int folder, char ***ret_names, size_t *ret_count)
{
    char **names = NULL;
    size_t count = 0, room = 0;
    int fd = dup(folder);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return WT_E_IO;
    }
    rewinddir(dir);
    int64_t now_s = wt_clock_unix_ns() / WT_NS_PER_S;
    bool is_cut = false; /* whoever is not listed would seem to have ended */
    for (struct dirent *e; !is_cut && (errno = 0, e = readdir(dir));) {
        struct stat st;
        const char *dot = strrchr(e->d_name, '.');
        if (dot && (strcmp(dot, ".energy") == 0 || strcmp(dot, ENDED) == 0)) {
            if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                now_s - st.st_mtim.tv_sec > TEXT_S)
                unlinkat(folder, e->d_name, 0);
            continue;
        }
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        if (count == room) {
            size_t more_room = room ? room * 2 : 64;
            char **more = reallocarray(names, more_room, sizeof(*more));
            is_cut = !more || count == FILES_MOST;
            if (is_cut) {
                names = more ? more : names;
                break;
            }
            names = more;
            room = more_room;
        }
        is_cut = !(names[count] = strdup(e->d_name));
        count += !is_cut;
    }
    is_cut |= errno != 0;
    closedir(dir);
    if (is_cut) {
        while (count)
            free(names[--count]);
        free(names);
        return WT_E_IO;
    }
    if (count)
        qsort(names, count, sizeof(*names), compare_names);
    *ret_names = names;
    *ret_count = count;
    return 0;
}

static void end_told(struct wt_accounts *a)
{
    for (struct job *job = a->jobs; job; job = job->next)
        if (job->told_end_ns && !job->is_ended)
            end_job(job, job->told_end_ns, NULL);
}

/* Jobs and steps whose files have gone, and steps whose slurmstepd has. */
static void end_unseen(struct wt_accounts *a, int64_t now_ns)
{
    for (struct job *job = a->jobs; job; job = job->next) {
        if (!job->is_ended && !job->is_seen)
            end_job(job, now_ns, "its end was not told: its file went");
        for (struct step *step = job->steps; step; step = step->next) {
            if (step->is_ended)
                continue;
            bool is_there = wt_step_cpu_find(a->ctx, &step->cpu, job->facts.job);
            step->missed = is_there || !step->cpu.pid ? 0 : step->missed + 1;
            if (!step->is_seen || step->missed >= MISSED)
                end_step(step, now_ns);
        }
    }
}

int wt_accounts_scan(struct wt_accounts *a, struct wt_error *err)
{
    int64_t now_ns = a->meter.unix_ns(a->meter.data);
    char **names = NULL;
    size_t count = 0;
    int rc = 0, folder = open_folder(a, err);
    a->has_facts = folder >= 0;
    for (struct job *job = a->jobs; job; job = job->next) {
        job->is_seen = false;
        for (struct step *step = job->steps; step; step = step->next)
            step->is_seen = false;
    }
    if (folder < 0 && folder != WT_E_NOTFOUND)
        /* It is there and cannot be read now: what runs goes on. */
        return wt_accounts_trouble(a, folder, err), 0;
    if (folder >= 0) {
        show_alive(folder);
        if (list_names(folder, &names, &count) < 0) {
            close(folder);
            return wt_accounts_trouble(a, wt_fail_errno(err, errno, "%s", a->facts_dir), err), 0;
        }
        for (size_t i = 0; i < count && rc != WT_E_NOMEM; i++) {
            struct wt_error why = {0};
            rc = look_at(a, folder, names[i], &why);
            if (rc < 0 && rc != WT_E_GONE && rc != WT_E_NOMEM)
                wt_accounts_trouble(a, rc, &why);
        }
        close(folder);
    }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    if (rc == WT_E_NOMEM)
        return wt_fail(err, WT_E_NOMEM, "no memory for the jobs of the node");
    end_told(a);
    end_unseen(a, now_ns);
    return 0;
}
