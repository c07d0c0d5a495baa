/* talk: see talk.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "talk.h"

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

static int fail_late(const struct wt_slurm_talk *t, struct wt_error *err)
{
    return wt_fail(err, WT_E_TIMEOUT, "wattuned (%s) did not answer within %.3g s", t->path,
                   (double)t->timeout_ns / 1e9);
}

static int fail_stranger(const struct wt_slurm_talk *t, struct wt_error *err)
{
    return wt_fail(err, WT_E_FORMAT, "what answers at %s is no wattuned of this version", t->path);
}

/* 0: ready; WT_E_TIMEOUT. */
static int wait_for(const struct wt_slurm_talk *t, short events)
{
    for (;;) {
        int64_t left_ns = t->until_ns - now_ns();
        struct pollfd p = {.fd = t->fd, .events = events};
        if (left_ns <= 0)
            return WT_E_TIMEOUT;
        int n = poll(&p, 1, (int)(left_ns / WT_NS_PER_MS) + 1);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return WT_E_IO;
    }
}

static int transfer(struct wt_slurm_talk *t, struct wt_wire_message *io, struct wt_error *err)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message answer;
    io->tag = ++t->tag;
    size_t size = wt_wire_encode(io, buf);
    while (send(t->fd, buf, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            break; /* hung up: its last word may say why */
        if (wait_for(t, POLLOUT) < 0)
            return fail_late(t, err);
    }
    for (bool is_reset = false;;) {
        if (wait_for(t, POLLIN) < 0)
            return fail_late(t, err);
        ssize_t n = recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0 && errno == ECONNRESET && !is_reset) {
            is_reset = true; /* what it said before lies behind that error */
            continue;
        }
        if (n <= 0)
            return wt_fail(err, WT_E_GONE, "wattuned (%s) hung up", t->path);
        if (wt_wire_decode(buf, (size_t)n, &answer, NULL) < 0)
            return fail_stranger(t, err);
        /* An error without a tag is why it hangs up; anything else is nobody's answer. */
        if (answer.tag == t->tag || (answer.type == WT_WIRE_ERROR && answer.tag == 0))
            break;
    }
    *io = answer;
    return 0;
}

int wt_slurm_ask(struct wt_slurm_talk *t, struct wt_wire_message *io, enum wt_wire_type want,
                 struct wt_error *err)
{
    int rc = transfer(t, io, err);
    t->is_broken |= rc < 0;
    if (rc < 0)
        return rc;
    if (io->type == WT_WIRE_ERROR) {
        int code = io->u.error.code;
        t->is_broken |= io->tag == 0;
        return wt_fail(err, code < 0 && code >= WT_E_INTERNAL ? code : WT_E_FORMAT, "%s",
                       io->u.error.text);
    }
    t->is_broken |= io->type != want;
    return io->type == want ? 0 : fail_stranger(t, err);
}

int wt_slurm_dial(struct wt_slurm_talk *ret_talk, const char *path, int64_t timeout_ns,
                  struct wt_error *err)
{
    struct wt_slurm_talk *t = ret_talk;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    *t = (struct wt_slurm_talk){
        .fd = -1, .timeout_ns = timeout_ns, .until_ns = now_ns() + timeout_ns};
    if (strlen(path) >= sizeof(to.sun_path))
        return wt_fail(err, WT_E_RANGE, "%.200s: too long for a socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    wt_text(t->path, sizeof(t->path), "%s", path);
    t->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (t->fd < 0)
        return wt_fail_errno(err, errno, "socket");
    while (connect(t->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN && now_ns() < t->until_ns) { /* too many wait to be let in */
            struct timespec moment = {.tv_nsec = 5 * WT_NS_PER_MS};
            nanosleep(&moment, NULL);
            continue;
        }
        if (errno == EAGAIN)
            return fail_late(t, err);
        if (errno == ENOENT || errno == ECONNREFUSED)
            return wt_fail(err, WT_E_NOTFOUND,
                           "no wattuned runs on this node (%s); its administrator can start it: "
                           "systemctl enable --now wattuned",
                           path);
        return errno == EPROTOTYPE || errno == ENOTSOCK ? fail_stranger(t, err)
                                                        : wt_fail_errno(err, errno, "%s", path);
    }
    uint64_t token = 0; /* its claims are jobs', known by their number */
    struct wt_wire_message m = {.type = WT_WIRE_HELLO,
                                .u.hello = {WT_WIRE_VERSION, WT_WIRE_VERSION, token}};
    int rc = wt_slurm_ask(t, &m, WT_WIRE_HELLO_OK, err);
    if (rc < 0)
        return rc;
    if (m.u.hello_ok.devices > WT_WIRE_DEVICES)
        return fail_stranger(t, err);
    t->devices = m.u.hello_ok.devices;
    t->is_emulated = m.u.hello_ok.is_emulated;
    return 0;
}

void wt_slurm_hang_up(struct wt_slurm_talk *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}
