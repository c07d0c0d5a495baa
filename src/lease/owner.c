/* owner: who answers for an entry of the journal, and whether that one still lives.
 *
 * A pid alone is not an identity: it comes back after a while, after a boot at once, and means
 * something else in another pid namespace or on another machine. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "lease/journal.h"

static uint64_t hash_text(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t machine_hash(void)
{
    char text[80];
    if (wt_fs_read(NULL, "/etc/machine-id", text, sizeof(text), NULL) == 0 && *text)
        return hash_text(text);
    struct utsname name;
    return uname(&name) == 0 ? hash_text(name.nodename) : 0;
}

static bool read_boot(uint8_t boot[16])
{
    char text[64];
    if (wt_fs_read(NULL, "/proc/sys/kernel/random/boot_id", text, sizeof(text), NULL) < 0)
        return false;
    size_t n = 0;
    for (const char *p = text; *p && n < 16;) {
        unsigned byte;
        if (*p == '-') {
            p++;
            continue;
        }
        if (sscanf(p, "%2x", &byte) != 1)
            return false;
        boot[n++] = (uint8_t)byte;
        p += 2;
    }
    return n == 16;
}

static void read_name(uint32_t pid, char name[16])
{
    char path[64];
    wt_text(path, sizeof(path), "/proc/%u/comm", pid);
    if (wt_fs_read(NULL, path, name, 16, NULL) < 0)
        wt_text(name, 16, "?");
}

int wt_owner_self(struct wt_owner *ret_owner, struct wt_error *err)
{
    struct wt_owner o = {.pid = (uint32_t)getpid(), .uid = (uint32_t)getuid()};
    int rc = wt_fs_process_start(o.pid, &o.start_ticks, err);
    if (rc < 0)
        return rc;
    if (!read_boot(o.boot))
        return wt_fail(err, WT_E_IO, "/proc/sys/kernel/random/boot_id cannot be read");
    o.machine = machine_hash();
    struct stat st;
    if (stat("/proc/self/ns/pid", &st) == 0)
        o.pid_space = (uint64_t)st.st_ino;
    read_name(o.pid, o.name);
    *ret_owner = o;
    return 0;
}

int wt_owner_of(uint32_t pid, const struct wt_owner *self, struct wt_owner *ret_owner,
                struct wt_error *err)
{
    /* Its pid is one of our namespace, whichever it lives in itself. */
    struct wt_owner o = *self;
    o.pid = pid;
    int rc = wt_fs_process_start(pid, &o.start_ticks, err);
    if (rc < 0)
        return wt_fail(err, WT_E_NOTFOUND, "process %u cannot be seen from here", pid);
    read_name(pid, o.name);
    *ret_owner = o;
    return 0;
}

bool wt_owner_is_same(const struct wt_owner *a, const struct wt_owner *b)
{
    return a->pid == b->pid && a->start_ticks == b->start_ticks && a->machine == b->machine &&
           a->pid_space == b->pid_space && memcmp(a->boot, b->boot, sizeof(a->boot)) == 0;
}

enum wt_owner_life wt_owner_life(const struct wt_owner *owner, const struct wt_owner *self)
{
    if (owner->machine != self->machine)
        return WT_OWNER_FOREIGN;
    if (owner->pid == 0 || memcmp(owner->boot, self->boot, sizeof(self->boot)) != 0)
        return WT_OWNER_DEAD;
    if (owner->pid_space != self->pid_space)
        return WT_OWNER_ALIVE; /* cannot be seen from here: taking its setting away is worse */

    uint64_t ticks;
    if (wt_fs_process_start(owner->pid, &ticks, NULL) < 0)
        /* /proc may hide the processes of others (hidepid). */
        return kill((pid_t)owner->pid, 0) < 0 && errno == EPERM ? WT_OWNER_ALIVE : WT_OWNER_DEAD;
    if (ticks != owner->start_ticks)
        return WT_OWNER_DEAD;

    /* Killed and not yet waited for is dead. */
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)owner->pid, 0);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        bool is_dead = poll(&p, 1, 0) == 1;
        close(fd);
        return is_dead ? WT_OWNER_DEAD : WT_OWNER_ALIVE;
    }
    if (errno == ESRCH)
        return WT_OWNER_DEAD;
    char path[64], text[2048];
    wt_text(path, sizeof(path), "/proc/%u/stat", owner->pid);
    if (wt_fs_read(NULL, path, text, sizeof(text), NULL) < 0)
        return WT_OWNER_DEAD;
    const char *state = strrchr(text, ')');
    return state && (state[2] == 'Z' || state[2] == 'X') ? WT_OWNER_DEAD : WT_OWNER_ALIVE;
}

enum wt_owner_life wt_lease_life(const struct wt_ctx *ctx, const struct wt_lease_record *r,
                                 const struct wt_owner *self)
{
    if (!r->is_claim || r->job == 0 || r->is_restoring || r->owner.pid == 0 ||
        r->owner.machine != self->machine ||
        memcmp(r->owner.boot, self->boot, sizeof(self->boot)) != 0)
        return wt_owner_life(&r->owner, self);
    if (wt_job_told(ctx, r->job) == WT_JOB_TOLD_ENDED)
        return WT_OWNER_DEAD; /* however young the claim is */
    int64_t age_ns = wt_clock_unix_ns() - r->unix_ns;
    bool is_young = age_ns >= 0 && age_ns < WT_JOB_GRACE_NS;
    return is_young || wt_job_is_alive(ctx, r->job) ? WT_OWNER_ALIVE : WT_OWNER_DEAD;
}
