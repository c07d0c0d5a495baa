/* guardian: starting the process that puts back when the owner no longer can, and ending it.
 *
 * It is a program of its own: a fork of the owner would inherit a vendor library in an unknown
 * state, its threads' locks and gigabytes of its memory. It is started before anything is set, in a
 * session of its own, so that nothing sent to the owner's process group or terminal reaches it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease/lease.h"

#define START_PATIENCE_MS 10000

extern char **environ;

static int spawn(const char *program, char **argv, int fd, struct wt_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);
    posix_spawn_file_actions_adddup2(&actions, fd, WT_GUARDIAN_FD);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid;
    int errnum = posix_spawn(&pid, program, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (errnum != 0)
        return wt_fail_errno(err, errnum, "%s", program);
    /* It forks once more at once, so that it is nobody's child to wait for. Somebody's SIGCHLD
     * handler may have got there first. */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

int wt_guardian_start(struct wt_guardian *ret_guardian, const struct wt_ctx *ctx,
                      const char *program, const char *dir, uint64_t lease,
                      const struct wt_owner *owner, int64_t deadline_ns, struct wt_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return wt_fail_errno(err, errno, "socketpair");
    /* dup2 onto itself would keep close-on-exec. */
    int end = fcntl(pair[1], F_DUPFD_CLOEXEC, WT_GUARDIAN_FD + 1);
    close(pair[1]);
    int rc = 0;
    char id[24], pid[16], ticks[24], deadline[24], library[4096];
    wt_text(id, sizeof(id), "%llx", (unsigned long long)lease);
    wt_text(pid, sizeof(pid), "%u", owner->pid);
    wt_text(ticks, sizeof(ticks), "%llu", (unsigned long long)owner->start_ticks);
    wt_text(deadline, sizeof(deadline), "%lld", (long long)deadline_ns);
    /* The guardian works in /. */
    const char *nvml = ctx && ctx->nvml_library ? ctx->nvml_library : "";
    if (!strchr(nvml, '/') || !realpath(nvml, library))
        wt_text(library, sizeof(library), "%s", nvml);
    char *sysroot = ctx && *ctx->sysroot ? realpath(ctx->sysroot, NULL) : strdup("");
    char *argv[] = {
        WT_GUARDIAN_PROGRAM, (char *)dir, id, pid, ticks, deadline, sysroot, library, NULL};
    if (end < 0 || !sysroot)
        rc = wt_fail_errno(err, errno, "starting the guardian");
    else
        rc = spawn(program, argv, end, err);
    free(sysroot);
    if (end >= 0)
        close(end);
    if (rc < 0)
        goto out;

    struct pollfd ready = {.fd = pair[0], .events = POLLIN};
    int64_t until_ns = wt_clock_now_ns() + START_PATIENCE_MS * WT_NS_PER_MS;
    int n;
    do {
        int64_t left_ms = (until_ns - wt_clock_now_ns()) / WT_NS_PER_MS;
        n = poll(&ready, 1, left_ms > 0 ? (int)left_ms : 0);
    } while (n < 0 && errno == EINTR);
    char said = 0;
    if (n <= 0)
        rc = wt_fail(err, WT_E_TIMEOUT, "%s: did not begin to watch within 10 s", program);
    else if (recv(pair[0], &said, 1, 0) != 1 || said != 'R')
        rc = wt_fail(err, WT_E_IO, "%s: ended instead of watching", program);
    if (rc < 0) {
        wt_fix(err, "nothing was set; run %s by hand to see why it fails", program);
        goto out;
    }
    ret_guardian->socket = pair[0];
    return 0;
out:
    close(pair[0]);
    return rc;
}

void wt_guardian_stop(struct wt_guardian *guardian, bool is_released)
{
    if (guardian->socket < 0)
        return;
    /* It may have been killed: then there is nothing to stop. */
    if (is_released)
        send(guardian->socket, "Q", 1, MSG_NOSIGNAL);
    close(guardian->socket);
    guardian->socket = -1;
}
