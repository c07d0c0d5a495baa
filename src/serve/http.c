/* http: see wattune/serve.h. libmicrohttpd is opened when somebody serves, so that no other command
 * loads it; its thread answers from the state of the last tick, and waits for nothing.
 *
 * What a stranger can do is bounded: GET and HEAD of four paths, so many connections, so much
 * memory for each, a time for being silent, and one for all of a request and its answer. */
#include "wattune/serve.h"

#include "serve/http.h"

#ifndef WT_HAS_MICROHTTPD

int wt_serve_new(struct wt_serve **ret_serve, struct wt_live *live,
                 const struct wt_serve_options *options, struct wt_error *err)
{
    (void)ret_serve;
    (void)live;
    (void)options;
    wt_fail(err, WT_E_UNSUPPORTED, "this wattune was built without libmicrohttpd");
    wt_fix(err, "install libmicrohttpd-dev and build it again");
    return WT_E_UNSUPPORTED;
}

const char *wt_serve_url(const struct wt_serve *serve)
{
    (void)serve;
    return "";
}

void wt_serve_tick(struct wt_serve *serve)
{
    (void)serve;
}

void wt_serve_free(struct wt_serve *serve)
{
    (void)serve;
}

#else

#include <microhttpd.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/systemd.h"
#include "serve/address.h"

#define CONNECTIONS 256
#define IDLE_NS     (10 * WT_NS_PER_S)
#define REQUEST_NS  (30 * WT_NS_PER_S)
#define MEMORY      (16u << 10) /* of a connection: its request and the headers of the answer */

/* Who is connected, and since when without an answer. */
struct peer {
    struct peer *next, *previous;
    int fd;
    int64_t t_ns;
    bool is_cut;
};

struct wt_serve {
    struct wt_live *live;
    struct wt_address address;
    char url[160];
    int64_t request_ns;
    struct MHD_Daemon *daemon;
    int fd;               /* -1: the daemon's */
    pthread_mutex_t lock; /* of the peers */
    struct peer peers;    /* a ring's head */

    typeof(MHD_start_daemon) *start_daemon;
    typeof(MHD_stop_daemon) *stop_daemon;
    typeof(MHD_create_response_from_buffer) *create_response;
    typeof(MHD_destroy_response) *destroy_response;
    typeof(MHD_add_response_header) *add_header;
    typeof(MHD_queue_response) *queue_response;
    typeof(MHD_lookup_connection_value) *lookup;
    typeof(MHD_get_connection_info) *connection_info;
};

static const char *const names[] = {"libmicrohttpd.so.12", NULL};
#define AT(member)  offsetof(struct wt_serve, member)
static const struct wt_library_symbol symbols[] = {
    {"MHD_start_daemon", AT(start_daemon)},
    {"MHD_stop_daemon", AT(stop_daemon)},
    {"MHD_create_response_from_buffer", AT(create_response)},
    {"MHD_destroy_response", AT(destroy_response)},
    {"MHD_add_response_header", AT(add_header)},
    {"MHD_queue_response", AT(queue_response)},
    {"MHD_lookup_connection_value", AT(lookup)},
    {"MHD_get_connection_info", AT(connection_info)},
};
static const struct wt_library libmicrohttpd = {
    .what = "answering over HTTP",
    .names = names,
    .fix = "install libmicrohttpd12 (Debian: libmicrohttpd12, Ubuntu 24.04: libmicrohttpd12t64)",
    .symbols = symbols,
    .count = WT_COUNTOF(symbols),
};

/* ---- answers ---- */

struct answer {
    unsigned status;
    const char *type;
    char *body; /* owned */
    char policy[240];
    bool is_get_only; /* says what would be allowed */
};

static struct answer plain(unsigned status, const char *words)
{
    return (struct answer){
        .status = status, .type = "text/plain; charset=utf-8", .body = strdup(words)};
}

static struct answer without_memory(void)
{
    return plain(MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
}

/* The page is one file: its style and script are in it, and a nonce that nobody can guess is what
 * makes them, and nothing else, run. */
static struct answer page(void)
{
    struct answer a = {.status = MHD_HTTP_OK, .type = "text/html; charset=utf-8"};
    unsigned char random[16];
    char nonce[2 * sizeof(random) + 1];
    size_t size;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return plain(MHD_HTTP_SERVICE_UNAVAILABLE, "the system has no random numbers\n");
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(nonce + 2 * i, 3, "%02x", random[i]);
    FILE *out = open_memstream(&a.body, &size);
    if (out) {
        fprintf(out,
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                "<title>Wattune</title>\n<link rel=\"icon\" href=\"data:,\">\n"
                "<style nonce=\"%s\">\n%s</style>\n</head>\n%s"
                "<script nonce=\"%s\">\n%s</script>\n</body>\n</html>\n",
                nonce, wt_asset_live_style, wt_asset_live_body, nonce, wt_asset_live_script);
        if (fclose(out) != 0) {
            free(a.body);
            a.body = NULL;
        }
    }
    wt_text(a.policy, sizeof(a.policy),
            "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            nonce, nonce);
    return a.body ? a : without_memory();
}

static struct answer state_answer(struct wt_live *live, bool is_metrics, bool is_openmetrics)
{
    struct wt_live_state state;
    struct answer a = {.status = MHD_HTTP_OK};
    if (wt_live_state(live, &state, NULL) < 0)
        return without_memory();
    a.body = is_metrics ? wt_live_metrics(&state, is_openmetrics) : wt_live_json(&state);
    a.type = !is_metrics      ? "application/json"
             : is_openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                              : "text/plain; version=0.0.4; charset=utf-8";
    wt_live_state_done(&state);
    return a.body ? a : without_memory();
}

static struct answer answer_to(struct wt_serve *s, struct MHD_Connection *c, const char *path,
                               const char *method)
{
    const char *host = s->lookup(c, MHD_HEADER_KIND, "Host");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        struct answer a = plain(MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
        a.is_get_only = true;
        return a;
    }
    if (!wt_address_is_ours(&s->address, host))
        return plain(MHD_HTTP_MISDIRECTED_REQUEST,
                     "this listens on the loopback, and is called localhost or by its address\n");
    if (strcmp(path, "/metrics") == 0)
        return state_answer(s->live, true,
                            wt_http_wants_openmetrics(s->lookup(c, MHD_HEADER_KIND, "Accept")));
    if (strcmp(path, "/api/state.json") == 0)
        return state_answer(s->live, false, false);
    if (strcmp(path, "/health") == 0)
        return plain(MHD_HTTP_OK, "ok\n");
    if (strcmp(path, "/") == 0)
        return page();
    return plain(MHD_HTTP_NOT_FOUND, "there are /, /metrics, /api/state.json and /health\n");
}

static enum MHD_Result on_request(void *data, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **request)
{
    static const char *const headers[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cache-Control", "no-store"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
    };
    struct wt_serve *s = data;
    static char is_known;
    (void)version;
    (void)upload;
    (void)upload_size;
    /* Answered at the first call, when only the headers are there, the connection would end. That
     * is right for a body nobody wants. */
    if (!*request && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)) {
        *request = &is_known;
        return MHD_YES;
    }
    struct answer a = answer_to(s, c, path, method);
    if (!a.body)
        return MHD_NO; /* not even for a word: the connection ends */
    struct MHD_Response *r = s->create_response(strlen(a.body), a.body, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(a.body);
        return MHD_NO;
    }
    s->add_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a.type);
    s->add_header(r, "Content-Security-Policy",
                  a.policy[0] ? a.policy : "default-src 'none'; frame-ancestors 'none'");
    for (size_t i = 0; i < WT_COUNTOF(headers); i++)
        s->add_header(r, headers[i][0], headers[i][1]);
    if (a.is_get_only)
        s->add_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result ok = s->queue_response(c, a.status, r);
    s->destroy_response(r);
    return ok;
}

/* ---- who is connected ---- */

static void on_connection(void *data, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct wt_serve *s = data;
    struct peer *p = *context;
    pthread_mutex_lock(&s->lock);
    if (what == MHD_CONNECTION_NOTIFY_CLOSED && p) {
        p->next->previous = p->previous;
        p->previous->next = p->next;
        free(p);
        *context = NULL;
    } else if (what == MHD_CONNECTION_NOTIFY_STARTED && (p = calloc(1, sizeof(*p)))) {
        const union MHD_ConnectionInfo *info =
            s->connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        p->fd = info ? info->connect_fd : -1;
        p->t_ns = wt_clock_now_ns();
        p->next = s->peers.next;
        p->previous = &s->peers;
        p->next->previous = s->peers.next = p;
        *context = p;
    }
    pthread_mutex_unlock(&s->lock);
}

/* An answer has gone out: the time for the next request begins. */
static void on_completed(void *data, struct MHD_Connection *c, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct wt_serve *s = data;
    const union MHD_ConnectionInfo *info =
        s->connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    (void)request;
    (void)code;
    pthread_mutex_lock(&s->lock);
    struct peer *p = info ? info->socket_context : NULL;
    if (p)
        p->t_ns = wt_clock_now_ns();
    pthread_mutex_unlock(&s->lock);
}

void wt_serve_tick(struct wt_serve *s)
{
    int64_t now_ns = wt_clock_now_ns();
    pthread_mutex_lock(&s->lock);
    for (struct peer *p = s->peers.next; p != &s->peers; p = p->next)
        if (!p->is_cut && p->fd >= 0 && now_ns - p->t_ns > s->request_ns) {
            shutdown(p->fd, SHUT_RDWR); /* closed by its own thread, which sees an end */
            p->is_cut = true;
        }
    pthread_mutex_unlock(&s->lock);
    if (wt_systemd_watchdog_ns())
        wt_systemd_tell("WATCHDOG=1");
}

/* ---- making ---- */

static int listen_at(struct wt_serve *s, const char *listen, struct wt_error *err)
{
    int rc = wt_address_parse(listen, &s->address, err);
    if (rc < 0)
        return rc;
    s->fd = wt_address_listen(listen, &s->address, err);
    if (s->fd < 0)
        return s->fd;
    wt_address_url(&s->address, s->url, sizeof(s->url));
    return 0;
}

/* It says little, and to nobody. */
static void log_nothing(void *data, const char *fmt, va_list args)
{
    (void)data;
    (void)fmt;
    (void)args;
}

static int start(struct wt_serve *s, const struct wt_serve_options *o, struct wt_error *err)
{
    unsigned most = o->connections_max ? o->connections_max : CONNECTIONS;
    int64_t idle_ns = o->idle_ns ? o->idle_ns : IDLE_NS;
    unsigned idle_s = (unsigned)((idle_ns + WT_NS_PER_S - 1) / WT_NS_PER_S);
    s->daemon = s->start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
        s, MHD_OPTION_EXTERNAL_LOGGER, log_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, s->fd,
        MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_END);
    if (!s->daemon)
        return wt_fail(err, WT_E_IO, "%s: cannot serve", names[0]);
    s->fd = -1;
    return 0;
}

int wt_serve_new(struct wt_serve **ret_serve, struct wt_live *live,
                 const struct wt_serve_options *options, struct wt_error *err)
{
    static const struct wt_serve_options defaults;
    const struct wt_serve_options *o = options ? options : &defaults;
    struct wt_serve *s = calloc(1, sizeof(*s));
    if (!s)
        return wt_fail(err, WT_E_NOMEM, "no memory to serve");
    pthread_mutex_init(&s->lock, NULL);
    s->peers.next = s->peers.previous = &s->peers;
    s->live = live;
    s->fd = -1;
    s->request_ns = o->request_ns ? o->request_ns : REQUEST_NS;
    int rc = wt_library_open(&libmicrohttpd, s, err);
    if (rc == 0)
        rc = listen_at(s, o->listen ? o->listen : WT_SERVE_LISTEN, err);
    if (rc == 0)
        rc = start(s, o, err);
    if (rc < 0) {
        wt_serve_free(s);
        return rc;
    }
    wt_systemd_tell("READY=1\nSTATUS=%s", s->url);
    *ret_serve = s;
    return 0;
}

const char *wt_serve_url(const struct wt_serve *s)
{
    return s->url;
}

void wt_serve_free(struct wt_serve *s)
{
    if (!s)
        return;
    if (s->daemon) {
        wt_systemd_tell("STOPPING=1");
        s->stop_daemon(s->daemon);
    }
    if (s->fd >= 0)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

#endif
