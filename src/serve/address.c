/* address: where to listen, and which names a request may call us by. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "serve/address.h"

#define BACKLOG 128

int wt_address_parse(const char *text, struct wt_address *ret, struct wt_error *err)
{
    char host[256], *colon;
    uint64_t port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    wt_text(host, sizeof(host), "%s", text);
    colon = strrchr(host, ':');
    if (strlen(text) >= sizeof(host) || !colon || wt_text_to_u64(colon + 1, &port) < 0 ||
        port > 65535)
        goto bad;
    *colon = '\0';
    char *name = host;
    size_t n = strlen(name);
    if (n > 2 && name[0] == '[' && name[n - 1] == ']') {
        name[n - 1] = '\0';
        name++;
    } else if (strchr(name, ':')) {
        goto bad; /* V6 without brackets: which colon is the port's? */
    }
    int rc = getaddrinfo(*name ? name : NULL, colon + 1, &hints, &found);
    if (rc != 0) {
        rc = wt_fail(err, WT_E_USAGE, "--listen %.200s: %s", text, gai_strerror(rc));
        wt_fix(err, "--listen ADDRESS:PORT of an interface of this machine, as 127.0.0.1:9836");
        return rc;
    }
    memcpy(&ret->address, found->ai_addr, found->ai_addrlen);
    ret->length = found->ai_addrlen;
    ret->family = found->ai_family;
    freeaddrinfo(found);
    return 0;
bad:
    wt_fail(err, WT_E_USAGE, "--listen %.200s: is no ADDRESS:PORT", text);
    wt_fix(err, "--listen 127.0.0.1:9836, 0.0.0.0:9836 or [::]:9836");
    return WT_E_USAGE;
}

static bool is_loopback(const struct wt_address *a)
{
    if (a->family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)&a->address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)&a->address;
    return a->family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
}

int wt_address_listen(const char *text, struct wt_address *a, struct wt_error *err)
{
    int one = 1;
    int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%.200s", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&a->address, a->length) < 0 || listen(fd, BACKLOG) < 0) {
        int errnum = errno;
        close(fd);
        if (errnum == EADDRINUSE) {
            wt_fail(err, WT_E_BUSY, "%.200s: the port is in use", text);
            wt_fix(err, "end who listens there (ss -ltnp), or --listen with another port");
            return WT_E_BUSY;
        }
        if (errnum == EADDRNOTAVAIL) {
            wt_fail(err, WT_E_USAGE, "%.200s: no interface of this machine has that address", text);
            return WT_E_USAGE;
        }
        return wt_fail_errno(err, errnum, "%.200s", text);
    }
    a->length = sizeof(a->address);
    getsockname(fd, (struct sockaddr *)&a->address, &a->length);
    a->is_loopback = is_loopback(a);
    return fd;
}

const char *wt_address_url(const struct wt_address *a, char *buf, size_t size)
{
    char host[128], port[16];
    if (getnameinfo((const struct sockaddr *)&a->address, a->length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return wt_text(buf, size, "http:");
    return wt_text(buf, size, a->family == AF_INET6 ? "http://[%s]:%s/" : "http://%s:%s/", host,
                   port);
}

/* A page of elsewhere may have its own name point here and so read what this answers (DNS
 * rebinding): on the loopback only names that nobody else can own are ours. */
bool wt_address_is_ours(const struct wt_address *a, const char *host)
{
    char name[128];
    struct in_addr v4;
    struct in6_addr v6;
    if (!a->is_loopback || !host)
        return true;
    size_t n = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
    if (n >= sizeof(name))
        return false;
    wt_text(name, sizeof(name), "%.*s", (int)n, host);
    if (name[0] == '[')
        return inet_pton(AF_INET6, name + 1, &v6) == 1;
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &v4) == 1;
}
