/* Serve: a live view of this machine over HTTP - metrics, a page, its state as JSON. */
#ifndef WATTUNE_SERVE_H
#define WATTUNE_SERVE_H

#include "wattune/live.h"

#ifdef __cplusplus
extern "C" {
#endif

struct wt_serve;

#define WT_SERVE_LISTEN "127.0.0.1:9836"

struct wt_serve_options {
    const char *listen;       /* ADDRESS:PORT, [V6]:PORT; NULL: WT_SERVE_LISTEN; port 0: any */
    unsigned connections_max; /* 0: 256 */
    int64_t idle_ns;          /* a connection that is silent for so long is closed; 0: 10 s */
    int64_t request_ns;       /* and one that took so long for its request and answer; 0: 30 s */
};

/* Listens, and answers from the state of live's last tick (live is borrowed until wt_serve_free) in
 * a thread of its own; tells systemd that it is ready. libmicrohttpd is opened now. Errors:
 * WT_E_USAGE (listen is no address), WT_E_BUSY (the port is in use), WT_E_DENIED, WT_E_UNSUPPORTED
 * (libmicrohttpd is not there, or this was built without it), WT_E_IO, WT_E_NOMEM. Threads: owner
 * thread. */
WT_API int wt_serve_new(struct wt_serve **ret_serve, struct wt_live *live,
                        const struct wt_serve_options *options, struct wt_error *err);
/* Where: "http://127.0.0.1:9836/". Borrowed. */
WT_API const char *wt_serve_url(const struct wt_serve *serve);
/* About once a second, after wt_live_tick: closes what takes too long, and tells systemd's watchdog
 * that this still runs. Threads: owner thread. */
WT_API void wt_serve_tick(struct wt_serve *serve);
/* Stops listening, ends what is under way, frees. */
WT_API void wt_serve_free(struct wt_serve *serve);

#ifdef __cplusplus
}
#endif
#endif
