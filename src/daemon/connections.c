/* connections: a fixed record for each, no buffers: a message is one packet, read when its turn
 * comes and answered before the next is read. Each connection has one turn in each round of the
 * loop, each user a number of connections and a rate, so that nobody's flood is another's wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/server.h"

#define ACCEPTS_A_ROUND 4 /* whoever storms the door delays those inside by no more */
#define FULL_NS         (100 * WT_NS_PER_MS)
/* After somebody was turned away: a storm at the door gets a tenth of our time at most. */
#define PACE_NS WT_NS_PER_MS

bool wt_server_is_trusted(const struct wt_server *s, uint32_t uid)
{
    return uid == 0 || uid == s->uid;
}

struct wt_connection *wt_connection_find(struct wt_server *s, uint64_t id)
{
    struct wt_connection *c = s->connections[id % WT_CONNECTIONS];
    return c && c->id == id ? c : NULL;
}

/* ---- users ---- */

static struct wt_user *find_user(struct wt_server *s, uint32_t uid)
{
    for (struct wt_user *u = s->users; u; u = u->next)
        if (u->uid == uid)
            return u;
    struct wt_user *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->uid = uid;
    u->tokens = 2.0 * wt_policy_limits(s->policy).rate;
    u->filled_ns = s->now_ns;
    u->next = s->users;
    s->users = u;
    return u;
}

/* Users without connections are kept for as long as it takes to have all their tokens again: who
 * hangs up and comes back has not rested. */
static void forget_users(struct wt_server *s)
{
    for (struct wt_user **at = &s->users; *at;) {
        struct wt_user *u = *at;
        if (u->connections == 0 && s->now_ns - u->filled_ns > 3 * WT_NS_PER_S) {
            *at = u->next;
            free(u);
        } else {
            at = &u->next;
        }
    }
}

/* Takes one token. Otherwise when there will be one. */
static bool may_ask(struct wt_server *s, struct wt_user *u, int64_t *ret_when_ns)
{
    double rate = wt_policy_limits(s->policy).rate;
    if (wt_server_is_trusted(s, u->uid))
        return true;
    u->tokens += rate * (double)(s->now_ns - u->filled_ns) * 1e-9;
    u->filled_ns = s->now_ns;
    if (u->tokens > 2 * rate)
        u->tokens = 2 * rate;
    if (u->tokens >= 1) {
        u->tokens -= 1;
        return true;
    }
    *ret_when_ns = s->now_ns + (int64_t)((1 - u->tokens) / rate * 1e9) + WT_NS_PER_MS;
    return false;
}

/* ---- sending ---- */

void wt_connection_send(struct wt_server *s, struct wt_connection *c, struct wt_wire_message *m)
{
    uint8_t buf[WT_WIRE_MAX];
    size_t size = wt_wire_encode(m, buf);
    if (send(c->fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)size)
        c->is_closing = s->is_sweep_due = true; /* gone, or does not read: its queue is full */
    if (m->tag == c->tag)
        c->is_pending = false;
}

void wt_connection_fail(struct wt_server *s, struct wt_connection *c, uint32_t tag,
                        const struct wt_error *why)
{
    struct wt_wire_message m = {.type = WT_WIRE_ERROR, .tag = tag};
    m.u.error.code = why->code;
    wt_text(m.u.error.text, sizeof(m.u.error.text), "%s", why->text);
    wt_text(m.u.error.fix, sizeof(m.u.error.fix), "%s", why->fix);
    wt_connection_send(s, c, &m);
}

/* ---- coming ---- */

/* The door stays shut for a moment; who knocks waits in the kernel's queue. */
static void stop_accepting(struct wt_server *s, int64_t span_ns)
{
    if (!s->full_until_ns)
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->socket, NULL);
    s->full_until_ns = s->now_ns + span_ns;
}

/* Somebody who is not let in is told why, if that can be done at once. */
static void turn_away(struct wt_server *s, int fd, const struct wt_error *why)
{
    struct wt_connection c = {.fd = fd};
    wt_connection_fail(s, &c, 0, why);
    close(fd);
    s->refused_connections++;
    stop_accepting(s, PACE_NS);
}

/* Whether one more of this user's may come in. A storm of connections costs him his requests. */
static int check_room(struct wt_server *s, struct wt_user *user, struct wt_error *err)
{
    bool is_trusted = wt_server_is_trusted(s, user->uid);
    uint32_t each = wt_policy_limits(s->policy).connections;
    int64_t when_ns;
    if (!is_trusted && user->connections >= each)
        return wt_fail(err, WT_E_BUSY,
                       "user %u has %u connections to wattuned already, and no "
                       "more are allowed",
                       user->uid, user->connections);
    if (s->connection_count >= WT_CONNECTIONS - (is_trusted ? 0 : WT_CONNECTIONS_ROOT))
        return wt_fail(err, WT_E_BUSY, "wattuned has %zu connections and takes no more",
                       s->connection_count);
    if (!may_ask(s, user, &when_ns))
        return wt_fail(err, WT_E_BUSY, "user %u asks wattuned too often", user->uid);
    return 0;
}

static int watch(struct wt_server *s, int fd, uint64_t id, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = id};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void let_in(struct wt_server *s, int fd)
{
    struct wt_error err = {0};
    struct wt_connection *c = NULL;
    uint32_t uid;
    if (wt_peer_uid(fd, &uid, &err) < 0) {
        close(fd);
        return;
    }
    struct wt_user *user = find_user(s, uid);
    int rc = user ? check_room(s, user, &err) : WT_E_NOMEM;
    if (rc == 0 && !(c = calloc(1, sizeof(*c))))
        rc = WT_E_NOMEM;
    if (rc < 0) {
        if (rc == WT_E_NOMEM)
            wt_fail(&err, rc, "wattuned has no memory for a connection");
        turn_away(s, fd, &err);
        return;
    }
    if (wt_peer_of(fd, &s->self, &c->peer, &err) < 0) {
        close(fd); /* it has ended already */
        free(c);
        return;
    }
    size_t place = 0;
    while (s->connections[place])
        place++;
    c->id = ++s->serial * WT_CONNECTIONS + place;
    c->fd = fd;
    c->user = user;
    c->since_ns = s->now_ns;
    c->is_ready = true;
    user->connections++;
    s->connections[place] = c;
    s->connection_count++;
    s->top = place >= s->top ? place + 1 : s->top;
    /* Edge-triggered: while a request is under way nothing more is read, and nothing wakes us. */
    if (watch(s, fd, c->id, EPOLLIN | EPOLLRDHUP | EPOLLET) < 0 ||
        (c->peer.pidfd >= 0 && watch(s, c->peer.pidfd, c->id | UINT64_C(1) << 63, EPOLLIN) < 0))
        c->is_closing = true;
}

void wt_connections_accept(struct wt_server *s)
{
    for (int i = 0; i < ACCEPTS_A_ROUND && !s->full_until_ns; i++) {
        int fd = accept4(s->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            let_in(s, fd);
            continue;
        }
        /* No descriptors: others will be closed. Looking again at once would be a busy loop. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            stop_accepting(s, FULL_NS);
        }
        return;
    }
}

/* ---- serving ---- */

/* One message. False: there is none. */
static bool serve_one(struct wt_server *s, struct wt_connection *c)
{
    uint8_t buf[WT_WIRE_MAX];
    struct wt_wire_message m;
    struct wt_error err = {0};
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return errno == EINTR;
    if (n <= 0) { /* the end, or an empty message, which nobody sends */
        c->is_closing = true;
        return false;
    }
    if ((size_t)n > sizeof(buf)) /* was longer than any message */
        wt_fail(&err, WT_E_FORMAT, "a message of %zd bytes: %u is the most", n, WT_WIRE_MAX);
    else if (wt_wire_decode(buf, (size_t)n, &m, &err) == 0) {
        wt_handle(s, c, &m);
        return true;
    }
    wt_audit_write(s->audit,
                   &(struct wt_audit_line){
                       .event = "garbage", .who = &c->peer.owner, .rc = err.code, .why = err.text});
    wt_connection_fail(s, c, 0, &err);
    c->is_closing = true;
    return false;
}

/* One turn; when it wants the next one. */
static int64_t serve_turn(struct wt_server *s, struct wt_connection *c)
{
    if (c->is_pending || !c->is_ready)
        return INT64_MAX;
    if (c->waiting_ns > s->now_ns)
        return c->waiting_ns;
    /* A token is taken for what is there only. */
    uint8_t byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    if (n < 0 && errno == EAGAIN) {
        c->is_ready = false;
        return INT64_MAX;
    }
    c->waiting_ns = 0;
    if (n > 0 && !may_ask(s, c->user, &c->waiting_ns))
        return c->waiting_ns;
    serve_one(s, c);
    return c->is_pending ? INT64_MAX : 0;
}

void wt_connections_serve(struct wt_server *s)
{
    s->connections_next_ns = s->full_until_ns ? s->full_until_ns : INT64_MAX;
    for (size_t i = 0; i < s->top; i++) {
        struct wt_connection *c = s->connections[i];
        if (!c)
            continue;
        int64_t due_ns = c->is_closing ? 0 : serve_turn(s, c);
        if (!c->has_greeted && !c->is_closing) {
            int64_t hello_ns = c->since_ns + WT_HELLO_NS;
            c->is_closing = hello_ns <= s->now_ns;
            due_ns = hello_ns < due_ns ? hello_ns : due_ns;
        }
        s->is_sweep_due |= c->is_closing;
        s->connections_next_ns = due_ns < s->connections_next_ns ? due_ns : s->connections_next_ns;
    }
}

static void close_one(struct wt_server *s, struct wt_connection *c)
{
    struct wt_table_key key = {.holder = c->id};
    wt_table_release_all(s->table, &key, 0);
    close(c->fd); /* leaves epoll with it */
    wt_peer_done(&c->peer);
    c->user->connections--;
    c->user->filled_ns = s->now_ns > c->user->filled_ns ? c->user->filled_ns : s->now_ns;
    s->connections[c->id % WT_CONNECTIONS] = NULL;
    s->connection_count--;
    while (s->top && !s->connections[s->top - 1])
        s->top--;
    free(c);
}

void wt_connections_sweep(struct wt_server *s)
{
    if (s->full_until_ns && s->full_until_ns <= s->now_ns && !s->is_stopping) {
        s->full_until_ns = 0;
        watch(s, s->socket, 0, EPOLLIN);
    }
    if (!s->is_sweep_due)
        return;
    s->is_sweep_due = false;
    for (size_t i = 0; i < s->top; i++)
        if (s->connections[i] && s->connections[i]->is_closing)
            close_one(s, s->connections[i]);
    wt_table_step_due(s->table);
    forget_users(s);
}

int64_t wt_connections_next(const struct wt_server *s)
{
    return s->is_sweep_due ? 0 : s->connections_next_ns;
}

void wt_connections_done(struct wt_server *s)
{
    for (size_t i = 0; i < s->top; i++)
        if (s->connections[i]) {
            close(s->connections[i]->fd);
            wt_peer_done(&s->connections[i]->peer);
            free(s->connections[i]);
            s->connections[i] = NULL;
        }
    while (s->users) {
        struct wt_user *next = s->users->next;
        free(s->users);
        s->users = next;
    }
}
