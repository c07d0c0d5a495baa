/* client: see client.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "lease/client.h"

#define DEFAULT_SOCKET    "/run/wattune/wattuned.sock"
#define EMULATED_SOCKET   "wattuned.sock"
#define CONNECT_NS        (5 * WT_NS_PER_S)
#define ANSWER_NS         (30 * WT_NS_PER_S)
#define COME_BACK_NS      (2 * WT_NS_PER_S)
#define COME_BACK_STEP_NS (20 * WT_NS_PER_MS)

struct wt_client {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    int fd; /* -1: to be connected anew */
    uint32_t tag, devices;
    uint64_t token;
    bool is_emulated, has_stopped;
    char (*ids)[96]; /* the daemon's list, once asked for; NULL: not yet */
};

bool wt_client_path(const struct wt_ctx *ctx, bool is_emulated, char *buf, size_t size)
{
    const char *named = getenv("WATTUNE_SOCKET"), *emulation = getenv("WATTUNE_EMULATION");
    if (named && *named) {
        wt_text(buf, size, "%s", named);
        return strcmp(named, "none") != 0;
    }
    if (is_emulated) {
        wt_text(buf, size, "%s/%s", emulation ? emulation : "", EMULATED_SOCKET);
        return emulation && *emulation;
    }
    wt_text(buf, size, "%s", DEFAULT_SOCKET);
    return !ctx || !*ctx->sysroot; /* another root has no daemon of its own */
}

static void disconnect(struct wt_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Waits until the socket can be read or written. */
static int wait_for(int fd, short events, int64_t until_ns)
{
    for (;;) {
        int64_t left_ms = (until_ns - wt_clock_now_ns()) / WT_NS_PER_MS;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left_ms > 0 ? (int)left_ms : 0);
        if (n > 0)
            return 0;
        if (n == 0)
            return WT_E_TIMEOUT;
        if (errno != EINTR)
            return WT_E_IO;
    }
}

/* Both directions report a broken connection as WT_E_GONE. */
static int transfer(struct wt_client *c, const struct wt_wire_message *request,
                    struct wt_wire_message *ret_answer, struct wt_error *err)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message out = *request;
    int64_t until_ns = wt_clock_now_ns() + ANSWER_NS;
    out.tag = ++c->tag;
    size_t size = wt_wire_encode(&out, buf);
    bool is_reset = false;
    while (send(c->fd, buf, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN && wait_for(c->fd, POLLOUT, until_ns) == 0)
            continue;
        break; /* hung up: its last word may say why */
    }
    for (;;) {
        int rc = wait_for(c->fd, POLLIN, until_ns);
        if (rc < 0)
            return wt_fail(err, WT_E_TIMEOUT, "%s: wattuned did not answer within 30 s", c->path);
        ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        /* Hung up on before it read what we sent; its last word lies behind that error. */
        if (n < 0 && errno == ECONNRESET && !is_reset) {
            is_reset = true;
            continue;
        }
        if (n <= 0)
            return WT_E_GONE;
        rc = wt_wire_decode(buf, (size_t)n, ret_answer, err);
        if (rc < 0)
            return rc;
        /* An error that is nobody's answer is why the daemon hangs up. */
        if (ret_answer->tag == out.tag)
            return 0;
        if (ret_answer->type == WT_WIRE_ERROR && !ret_answer->tag) {
            c->has_stopped = ret_answer->u.error.code == WT_E_STATE;
            return 0;
        }
    }
}

static int refusal(const struct wt_wire_message *answer, struct wt_error *err)
{
    if (answer->type != WT_WIRE_ERROR)
        return 0;
    int code = answer->u.error.code;
    if (code >= 0 || code < WT_E_INTERNAL)
        code = WT_E_FORMAT;
    wt_fail(err, code, "%s", answer->u.error.text);
    if (*answer->u.error.fix)
        wt_fix(err, "%s", answer->u.error.fix);
    return code;
}

static int say_hello(struct wt_client *c, struct wt_error *err)
{
    struct wt_wire_message m = {.type = WT_WIRE_HELLO,
                                .u.hello = {WT_WIRE_VERSION, WT_WIRE_VERSION, c->token}};
    int rc = transfer(c, &m, &m, err);
    if (rc == 0)
        rc = refusal(&m, err);
    if (rc == 0 && m.type != WT_WIRE_HELLO_OK)
        rc = wt_fail(err, WT_E_FORMAT, "%s: no wattuned answers there", c->path);
    if (rc < 0)
        return rc;
    if (m.u.hello_ok.devices > WT_WIRE_DEVICES)
        return wt_fail(err, WT_E_FORMAT, "%s: says it has %u devices", c->path,
                       m.u.hello_ok.devices);
    c->devices = m.u.hello_ok.devices;
    c->is_emulated = m.u.hello_ok.is_emulated;
    return 0;
}

static int list_devices(struct wt_client *c, char (**ret_ids)[96], struct wt_error *err)
{
    char(*ids)[96] = calloc(c->devices + 1, sizeof(*ids));
    if (!ids)
        return wt_fail(err, WT_E_NOMEM, "no memory for wattuned's devices");
    for (uint32_t i = 0; i < c->devices; i++) {
        struct wt_wire_message m = {.type = WT_WIRE_DEVICE, .u.device = {i}};
        int rc = transfer(c, &m, &m, err);
        if (rc == 0)
            rc = refusal(&m, err);
        if (rc == 0 && m.type != WT_WIRE_DEVICE_OK)
            rc = wt_fail(err, WT_E_FORMAT, "%s: no list of devices", c->path);
        if (rc < 0) {
            free(ids);
            return rc;
        }
        wt_text(ids[i], sizeof(ids[i]), "%s", m.u.device_ok.id);
    }
    *ret_ids = ids;
    return 0;
}

/* WT_E_GONE: nobody is there, now. */
static int dial(struct wt_client *c, struct wt_error *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, c->path, sizeof(to.sun_path));
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return wt_fail_errno(err, errno, "socket");
    int64_t until_ns = wt_clock_now_ns() + CONNECT_NS;
    while (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        if (errno == EINTR)
            continue;
        /* EAGAIN: its queue of those who wait to be let in is full. */
        if (errno == EAGAIN && wt_clock_now_ns() < until_ns) {
            wt_clock_sleep_until_ns(wt_clock_now_ns() + 5 * WT_NS_PER_MS);
            continue;
        }
        int errnum = errno;
        disconnect(c);
        if (errnum == ENOENT || errnum == ECONNREFUSED || errnum == ENOTSOCK)
            return WT_E_GONE;
        return wt_fail_errno(err, errnum, "%s", c->path);
    }
    uint32_t before = c->devices;
    int rc = say_hello(c, err);
    if (rc == 0 && c->ids) {
        /* A daemon started anew might number them otherwise, and a request names a number. */
        char(*ids)[96] = NULL;
        rc = list_devices(c, &ids, err);
        if (rc == 0 && (before != c->devices || memcmp(ids, c->ids, before * sizeof(*ids)) != 0))
            rc = wt_fail(err, WT_E_STATE, "%s: wattuned has other devices now", c->path);
        free(ids);
    }
    if (rc < 0)
        disconnect(c);
    else
        c->has_stopped = false; /* another serves now */
    return rc;
}

int wt_client_open(struct wt_client **ret_client, const char *path, struct wt_error *err)
{
    struct wt_client *c = calloc(1, sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "no memory for a connection");
    c->fd = -1;
    if (strlen(path) >= sizeof(c->path)) {
        free(c);
        return wt_fail(err, WT_E_RANGE, "%s: too long for a socket", path);
    }
    wt_text(c->path, sizeof(c->path), "%s", path);
    int rc = 0;
    if (getrandom(&c->token, sizeof(c->token), 0) != (ssize_t)sizeof(c->token))
        rc = wt_fail_errno(err, errno, "getrandom");
    if (rc == 0)
        rc = dial(c, err);
    if (rc == WT_E_GONE) {
        rc = wt_fail(err, WT_E_NOTFOUND, "%s: nobody listens there", path);
        wt_fix(err, "start wattuned: systemctl start wattuned");
    }
    if (rc < 0) {
        wt_client_close(c);
        return rc;
    }
    *ret_client = c;
    return 0;
}

void wt_client_close(struct wt_client *c)
{
    if (!c)
        return;
    disconnect(c);
    free(c->ids);
    free(c);
}

size_t wt_client_devices(const struct wt_client *c)
{
    return c->devices;
}

bool wt_client_has_stopped(const struct wt_client *c)
{
    return c->has_stopped;
}

void wt_client_listen(struct wt_client *c, int64_t wait_ns)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message m;
    if (c->fd < 0 || wait_for(c->fd, POLLIN, wt_clock_now_ns() + wait_ns) < 0)
        return;
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0 && errno == ECONNRESET) /* its last word lies behind that error */
        n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0 && (wt_wire_decode(buf, (size_t)n, &m, NULL) < 0 || m.type != WT_WIRE_ERROR || m.tag))
        return; /* an answer that came too late */
    if (n > 0)
        c->has_stopped = m.u.error.code == WT_E_STATE;
    disconnect(c);
}

bool wt_client_is_emulated(const struct wt_client *c)
{
    return c->is_emulated;
}

int wt_client_ask(struct wt_client *c, const struct wt_wire_message *request,
                  struct wt_wire_message *ret_answer, struct wt_error *err)
{
    /* Asking the same twice is harmless: a claim replaces itself, a release of what is gone says
     * so. */
    struct wt_wire_message question = *request;
    int64_t until_ns = wt_clock_now_ns() + COME_BACK_NS;
    for (;;) {
        int rc = c->fd >= 0 ? 0 : dial(c, err);
        if (rc == 0)
            rc = transfer(c, &question, ret_answer, err);
        if (rc == 0 && (ret_answer->tag || ret_answer->type != WT_WIRE_ERROR))
            return refusal(ret_answer, err);
        disconnect(c);
        if (rc == 0)
            return refusal(ret_answer, err);
        if (rc != WT_E_GONE)
            return rc;
        if (wt_clock_now_ns() > until_ns) {
            rc = wt_fail(err, WT_E_GONE, "%s: wattuned is no longer there", c->path);
            wt_fix(err, "systemctl start wattuned: it puts back what it had set");
            return rc;
        }
        wt_clock_sleep_until_ns(wt_clock_now_ns() + COME_BACK_STEP_NS);
    }
}

int wt_client_find(struct wt_client *c, const char *device_id, uint32_t *ret_index,
                   struct wt_error *err)
{
    int64_t until_ns = wt_clock_now_ns() + COME_BACK_NS;
    while (!c->ids) {
        struct wt_wire_message ping = {.type = WT_WIRE_PING};
        int rc = wt_client_ask(c, &ping, &ping, err); /* connects anew where that is needed */
        if (rc < 0)
            return rc;
        rc = list_devices(c, &c->ids, err);
        if (rc == WT_E_GONE && wt_clock_now_ns() < until_ns)
            disconnect(c); /* it went away in the middle of its list */
        else if (rc < 0)
            return rc == WT_E_GONE ? wt_fail(err, rc, "%s: wattuned hangs up", c->path) : rc;
    }
    for (uint32_t i = 0; i < c->devices; i++)
        if (strcmp(c->ids[i], device_id) == 0) {
            *ret_index = i;
            return 0;
        }
    return wt_fail(err, WT_E_NOTFOUND, "%s: wattuned does not know this device", device_id);
}
