/* wattune-guardian: watches the owner of one lease; when that dies, puts back what it had set.
 *
 * usage (by the library only): wattune-guardian DIR LEASE PID START DEADLINE SYSROOT NVML
 * on descriptor 3 a socket: says 'R' once it watches; 'Q' from the owner means all is back; its end
 * without that means the owner is gone, or has become another program. It opens the devices only
 * when there is something to do, so an idle guardian costs no driver handle and no CPU time. What
 * it did is told to syslog: its owner, who would have said it, is dead. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "lease/lease.h"

/* How long after each failed try the next one is; then `wattune restore` has it. */
static const int retry_ms[] = {50, 100, 200, 500, 1000, 2000, 5000, 10000, 10000, 15000, 15000};
/* The owner of a lease with a deadline ends it itself; give it this much more. */
#define DEADLINE_GRACE_NS (WT_NS_PER_S / 2)
#define POLL_MS           100 /* without pidfd_open (before Linux 5.3) */

struct order {
    const char *dir, *sysroot, *library;
    uint64_t lease, start_ticks;
    uint32_t pid;
    int64_t deadline_ns; /* CLOCK_BOOTTIME; 0: none */
};

static bool read_order(int argc, char **argv, struct order *o)
{
    if (argc != 8)
        return false;
    uint64_t pid, deadline;
    char *end;
    o->dir = argv[1];
    o->lease = strtoull(argv[2], &end, 16);
    if (*end || o->lease == 0 || wt_text_to_u64(argv[3], &pid) < 0 || pid > INT32_MAX ||
        wt_text_to_u64(argv[4], &o->start_ticks) < 0 || wt_text_to_u64(argv[5], &deadline) < 0 ||
        deadline > INT64_MAX)
        return false;
    o->pid = (uint32_t)pid;
    o->deadline_ns = (int64_t)deadline;
    o->sysroot = *argv[6] ? argv[6] : NULL;
    o->library = *argv[7] ? argv[7] : NULL;
    return true;
}

static void leave_the_owner(void)
{
    /* A second fork: no longer a session leader, and a child of init (or of a subreaper, which
     * asked for orphans) rather than of the owner. */
    pid_t pid = fork();
    if (pid != 0)
        _exit(pid < 0);
    prctl(PR_SET_NAME, WT_GUARDIAN_PROGRAM);
    static const int deaf_to[] = {SIGHUP,  SIGINT,  SIGTERM, SIGQUIT, SIGPIPE, SIGALRM,
                                  SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < WT_COUNTOF(deaf_to); i++)
        signal(deaf_to[i], SIG_IGN);
    if (syscall(SYS_close_range, WT_GUARDIAN_FD + 1, ~0u, 0) < 0)
        for (int fd = WT_GUARDIAN_FD + 1; fd < 1024; fd++)
            close(fd);
    if (chdir("/") < 0)
        _exit(1);
    umask(077);
}

static bool is_owner_alive(const struct order *o)
{
    uint64_t ticks;
    return wt_fs_process_start(o->pid, &ticks, NULL) == 0 && ticks == o->start_ticks;
}

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

/* True when the owner has put everything back; false when that is now ours to do. */
static bool watch(const struct order *o)
{
    int owner_fd = (int)syscall(SYS_pidfd_open, (pid_t)o->pid, 0);
    if (send(WT_GUARDIAN_FD, "R", 1, MSG_NOSIGNAL) != 1)
        return false;
    struct pollfd fds[] = {{.fd = WT_GUARDIAN_FD, .events = POLLIN},
                           {.fd = owner_fd, .events = POLLIN}};
    /* The pid may have been another's by the time it was opened. */
    while (is_owner_alive(o)) {
        int wait_ms = owner_fd < 0 ? POLL_MS : -1;
        if (o->deadline_ns) {
            int64_t left_ns = o->deadline_ns + DEADLINE_GRACE_NS - boot_now_ns();
            if (left_ns <= 0)
                return false;
            int64_t left_ms = left_ns / WT_NS_PER_MS + 1;
            if (wait_ms < 0 || left_ms < wait_ms)
                wait_ms = left_ms < 3600000 ? (int)left_ms : 3600000;
        }
        int n = poll(fds, 2, wait_ms);
        if (n < 0 && errno != EINTR)
            return false;
        if (n <= 0)
            continue;
        if (fds[0].revents)
            break;
        if (fds[1].revents)
            break;
    }
    /* The last word may have been said just before the end. */
    char said = 0;
    return recv(WT_GUARDIAN_FD, &said, 1, MSG_DONTWAIT) == 1 && said == 'Q';
}

static void say(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                int64_t written, int rc, const char *text)
{
    const struct order *o = data;
    char back[48], from[48];
    if (rc == 0)
        syslog(LOG_NOTICE, "%s of %s: put back to %s from %s; process %u left it",
               wt_knob_name(knob), device_id, wt_knob_value_text(back, sizeof(back), knob, found),
               wt_knob_value_text(from, sizeof(from), knob, written), o->pid);
    else if (rc != WT_E_BUSY)
        syslog(LOG_WARNING, "%s", text);
}

/* One try. 0: nothing of the lease is left to put back, by us. */
static int restore(const struct order *o, bool is_last)
{
    /* An emulation that has ended took its devices and their journal with it. */
    if (access(o->dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    struct wt_ctx *ctx = NULL;
    struct wt_devices *devices = NULL;
    struct wt_error err = {0};
    size_t restored, left = 1;
    struct wt_restorer who = {0};
    struct wt_ctx_options options = {.sysroot = o->sysroot, .nvml_library = o->library};
    int rc = wt_ctx_new(&ctx, &options, &err);
    if (rc == 0)
        rc = wt_owner_self(&who.self, &err);
    struct wt_owner watched = who.self;
    watched.pid = o->pid;
    watched.start_ticks = o->start_ticks;
    who.watched = &watched;
    who.ctx = ctx;
    if (rc == 0)
        rc = wt_journal_open(&who.journal, ctx, o->dir, NULL, &err);
    if (rc == 0)
        rc = wt_devices_open(&devices, ctx, NULL, &err);
    if (rc < 0) {
        syslog(LOG_WARNING, "%s", err.text);
    } else {
        who.ops = wt_lease_ops_devices(devices);
        rc = wt_restore_all(&who, o->lease, is_last, say, (void *)o, &restored, &left, &err);
        if (rc == WT_E_CHANGED && left == 0)
            rc = 0;
    }
    wt_journal_close(who.journal);
    wt_devices_free(devices);
    wt_ctx_free(ctx);
    return rc < 0 || left ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct order o = {0};
    if (!read_order(argc, argv, &o)) {
        fputs("wattune-guardian: started by Wattune, not by hand\n", stderr);
        return 2;
    }
    leave_the_owner();
    if (watch(&o))
        return 0;
    close(WT_GUARDIAN_FD);
    /* The owner's choice of devices is not ours: all that it set must be found. */
    unsetenv("CUDA_VISIBLE_DEVICES");
    openlog(WT_GUARDIAN_PROGRAM, LOG_PID, LOG_USER);
    for (size_t i = 0; i < WT_COUNTOF(retry_ms); i++) {
        if (restore(&o, false) == 0)
            return 0;
        poll(NULL, 0, retry_ms[i]);
    }
    return restore(&o, true) < 0;
}
