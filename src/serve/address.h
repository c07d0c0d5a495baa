/* address: where to listen, and which names a request may call us by. Internal to the library. */
#ifndef WT_SERVE_ADDRESS_H
#define WT_SERVE_ADDRESS_H

#include <sys/socket.h>

#include "base/base.h"

struct wt_address {
    struct sockaddr_storage address;
    socklen_t length;
    int family;
    bool is_loopback; /* once it listens */
};

/* "127.0.0.1:9836", "[::1]:9836", "localhost:9836", ":9836" (every interface). Errors:
 * WT_E_USAGE. */
int wt_address_parse(const char *text, struct wt_address *ret_address, struct wt_error *err);
/* A listening socket, close-on-exec and non-blocking; the address gets the port it has. text is for
 * errors: WT_E_BUSY (in use), WT_E_USAGE (not of this machine), WT_E_DENIED, WT_E_IO. */
int wt_address_listen(const char *text, struct wt_address *io_address, struct wt_error *err);
/* "http://127.0.0.1:9836/". Returns buf. */
const char *wt_address_url(const struct wt_address *address, char *buf, size_t size);
/* May a request with this Host header (NULL: none) be answered? */
bool wt_address_is_ours(const struct wt_address *address, const char *host);

#endif
