/* feed_http: one GET by libcurl, which is opened when it is needed, so that no start of the command
 * loads it and a machine without it lacks live feeds alone.
 *
 * What goes out and comes in is bounded: https (but for this machine itself), five seconds to
 * connect, a time for all requests together, eight megabytes, three redirects, none of them to
 * another scheme, and none to another host with a key. Proxies are those of the environment
 * (https_proxy, no_proxy), certificates the system's. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/feed.h"

#define BODY_MAX      (8u << 20)
#define CONNECT_S     5L
#define REDIRECTS_MAX 3

#ifdef WT_HAVE_CURL

#include <curl/curl.h>

struct wt_http {
    CURL *curl;
    int64_t deadline_ns;
    typeof(curl_easy_init) *init;
    typeof(curl_easy_cleanup) *cleanup;
    typeof(curl_easy_reset) *reset;
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    typeof(curl_easy_perform) *perform;
    typeof(curl_easy_strerror) *strerror;
    typeof(curl_slist_append) *append;
    typeof(curl_slist_free_all) *free_all;
};

static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};
#define AT(member) offsetof(struct wt_http, member)
static const struct wt_library_symbol symbols[] = {
    {"curl_easy_init", AT(init)},          {"curl_easy_cleanup", AT(cleanup)},
    {"curl_easy_reset", AT(reset)},        {"curl_easy_setopt", AT(setopt)},
    {"curl_easy_getinfo", AT(getinfo)},    {"curl_easy_perform", AT(perform)},
    {"curl_easy_strerror", AT(strerror)},  {"curl_slist_append", AT(append)},
    {"curl_slist_free_all", AT(free_all)},
};
static const struct wt_library libcurl = {
    .what = "a live feed",
    .names = names,
    .fix = "install libcurl4 (Debian, Ubuntu) or libcurl, or give a file",
    .symbols = symbols,
    .count = WT_COUNTOF(symbols),
};

int wt_http_open(struct wt_http **ret_http, int64_t timeout_ms, struct wt_error *err)
{
    struct wt_http *http = calloc(1, sizeof(*http));
    if (!http)
        return wt_fail(err, WT_E_NOMEM, "no memory for a request");
    int rc = wt_library_open(&libcurl, http, err);
    if (rc == 0 && !(http->curl = http->init()))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a request");
    if (rc < 0) {
        free(http);
        return rc;
    }
    http->deadline_ns = wt_clock_now_ns() + timeout_ms * WT_NS_PER_MS;
    *ret_http = http;
    return 0;
}

void wt_http_close(struct wt_http *http)
{
    if (!http)
        return;
    http->cleanup(http->curl);
    free(http); /* the library stays: OpenSSL does not like to go */
}

struct taken {
    char *body;
    size_t size;
    bool is_large, is_no_memory;
};

static size_t take(char *data, size_t one, size_t size, void *to)
{
    struct taken *t = to;
    (void)one; /* 1 */
    if (size > BODY_MAX - t->size) {
        t->is_large = true;
        return 0;
    }
    char *body = realloc(t->body, t->size + size + 1);
    if (!body) {
        t->is_no_memory = true;
        return 0;
    }
    memcpy(body + t->size, data, size);
    t->body = body;
    t->size += size;
    body[t->size] = '\0';
    return size;
}

/* What is between "//" and the path. */
static size_t authority(const char *url, const char **ret_start)
{
    const char *slashes = strstr(url, "://");
    *ret_start = slashes ? slashes + 3 : url;
    return strcspn(*ret_start, "/?#");
}

static bool is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *host;
    size_t size = authority(url, &host);
    for (size_t i = 0; i < WT_COUNTOF(hosts); i++) {
        size_t n = strlen(hosts[i]);
        if (size >= n && strncasecmp(host, hosts[i], n) == 0 && (size == n || host[n] == ':') &&
            !memchr(host, '@', size))
            return true;
    }
    return false;
}

static bool is_allowed(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0 ||
           (strncasecmp(url, "http://", 7) == 0 && is_loopback(url));
}

static bool is_same_host(const char *a, const char *b)
{
    const char *x, *y;
    size_t m = authority(a, &x), n = authority(b, &y);
    return m == n && strncasecmp(x, y, m) == 0 && (*a | 32) == (*b | 32) &&
           strcspn(a, ":") == strcspn(b, ":");
}

/* A URL for people: without what follows the "?", where a key may be. */
static const char *shown(char *buf, size_t size, const char *url)
{
    return wt_text(buf, size, "%.*s", (int)strcspn(url, "?"), url);
}

static int fail_curl(const struct wt_http *http, CURLcode code, const struct taken *taken,
                     const char *url, struct wt_error *err)
{
    char where[160];
    shown(where, sizeof(where), url);
    if (taken->is_no_memory || code == CURLE_OUT_OF_MEMORY)
        return wt_fail(err, WT_E_NOMEM, "no memory for the answer of %s", where);
    if (taken->is_large || code == CURLE_FILESIZE_EXCEEDED)
        return wt_fail(err, WT_E_FORMAT, "%s: answers with more than %u MB", where, BODY_MAX >> 20);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return wt_fail(err, WT_E_TIMEOUT, "%s: no answer in time", where);
    if (code == CURLE_PARTIAL_FILE || code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR)
        return wt_fail(err, WT_E_IO, "%s: the answer was cut off", where);
    return wt_fail(err, WT_E_IO, "%s: %s", where, http->strerror(code));
}

/* Sets what bounds a request. The older names of the last two are kept for Ubuntu 22.04. */
static CURLcode set_bounds(const struct wt_http *http, const char *url, long left_ms)
{
    CURL *c = http->curl;
    CURLcode code = http->setopt(c, CURLOPT_NOSIGNAL, 1L);
    code = code ? code : http->setopt(c, CURLOPT_URL, url);
    code = code ? code : http->setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    code = code ? code : http->setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    code = code ? code : http->setopt(c, CURLOPT_TIMEOUT_MS, left_ms);
    code = code ? code : http->setopt(c, CURLOPT_MAXFILESIZE, (long)BODY_MAX);
    code = code ? code : http->setopt(c, CURLOPT_ACCEPT_ENCODING, "");
    code = code ? code : http->setopt(c, CURLOPT_USERAGENT, "wattune/" WATTUNE_VERSION);
    if (is_loopback(url))
        code = code ? code : http->setopt(c, CURLOPT_PROXY, "");
#if LIBCURL_VERSION_NUM >= 0x075500
    return code ? code : http->setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return code ? code
                : http->setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static int get_once(struct wt_http *http, const struct wt_http_request *request, const char *url,
                    struct wt_http_answer *ret_answer, char **ret_redirect, struct wt_error *err)
{
    struct taken taken = {0};
    struct wt_http_answer answer = {0};
    struct curl_slist *headers = NULL;
    int64_t left_ms = (http->deadline_ns - wt_clock_now_ns()) / WT_NS_PER_MS;
    char where[160];
    if (left_ms <= 0)
        return wt_fail(err, WT_E_TIMEOUT, "%s: no answer in time",
                       shown(where, sizeof(where), url));
    http->reset(http->curl);
    CURLcode code = set_bounds(http, url, (long)left_ms);
    code = code ? code : http->setopt(http->curl, CURLOPT_WRITEFUNCTION, take);
    code = code ? code : http->setopt(http->curl, CURLOPT_WRITEDATA, &taken);
    if (request->header) {
        headers = http->append(NULL, request->header);
        code = code      ? code
               : headers ? http->setopt(http->curl, CURLOPT_HTTPHEADER, headers)
                         : CURLE_OUT_OF_MEMORY;
    }
    if (request->user) {
        code = code ? code : http->setopt(http->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        code = code ? code : http->setopt(http->curl, CURLOPT_USERNAME, request->user);
        code = code ? code : http->setopt(http->curl, CURLOPT_PASSWORD, request->password);
    }
    code = code ? code : http->perform(http->curl);
    int rc = code ? fail_curl(http, code, &taken, url, err) : 0;
    if (rc == 0) {
        char *redirect = NULL;
        http->getinfo(http->curl, CURLINFO_RESPONSE_CODE, &answer.status);
        http->getinfo(http->curl, CURLINFO_REDIRECT_URL, &redirect);
        curl_off_t wait_s = 0;
        http->getinfo(http->curl, CURLINFO_RETRY_AFTER, &wait_s);
        answer.retry_after_s = wait_s > 0 && wait_s < 1000000 ? (long)wait_s : 0;
        answer.body = taken.body ? taken.body : strdup("");
        answer.size = taken.size;
        taken.body = NULL;
        *ret_redirect = redirect && answer.status / 100 == 3 ? strdup(redirect) : NULL;
        if (!answer.body || (redirect && answer.status / 100 == 3 && !*ret_redirect))
            rc = wt_fail(err, WT_E_NOMEM, "no memory for an answer");
    }
    if (headers)
        http->free_all(headers);
    if (rc < 0)
        free(answer.body);
    else
        *ret_answer = answer;
    free(taken.body);
    return rc;
}

/* Whether the way on may be gone. Errors: WT_E_FORMAT. */
static int check_redirect(const struct wt_http_request *request, const char *from, const char *to,
                          int count, struct wt_error *err)
{
    char a[160], b[160];
    shown(a, sizeof(a), from);
    shown(b, sizeof(b), to);
    if (!is_allowed(to) || (strncasecmp(from, "https", 5) == 0 && strncasecmp(to, "https", 5) != 0))
        return wt_fail(err, WT_E_FORMAT, "%s: redirects to %s, which is not followed", a, b);
    if ((request->header || request->user || request->is_secret) && !is_same_host(from, to))
        return wt_fail(err, WT_E_FORMAT, "%s: redirects to %s, another host: no key is sent there",
                       a, b);
    if (count == REDIRECTS_MAX)
        return wt_fail(err, WT_E_FORMAT, "%s: redirects more than %d times", a, REDIRECTS_MAX);
    return 0;
}

int wt_http_get(struct wt_http *http, const struct wt_http_request *request,
                struct wt_http_answer *ret_answer, struct wt_error *err)
{
    char where[160];
    char *url = strdup(request->url);
    int rc = url ? 0 : wt_fail(err, WT_E_NOMEM, "no memory for a request");
    if (rc == 0 && !is_allowed(url)) {
        rc = wt_fail(err, WT_E_USAGE, "%s: is no https URL", shown(where, sizeof(where), url));
        wt_fix(err, "http is for this machine alone (127.0.0.1, localhost, [::1])");
    }
    for (int count = 0; rc == 0; count++) {
        char *next = NULL;
        rc = get_once(http, request, url, ret_answer, &next, err);
        if (rc < 0 || !next)
            break;
        rc = check_redirect(request, url, next, count, err);
        free(ret_answer->body);
        *ret_answer = (struct wt_http_answer){0};
        if (request->is_secret)
            explicit_bzero(url, strlen(url));
        free(url);
        url = next;
    }
    if (url && request->is_secret)
        explicit_bzero(url, strlen(url));
    free(url);
    return rc;
}

#else

int wt_http_open(struct wt_http **ret_http, int64_t timeout_ms, struct wt_error *err)
{
    (void)ret_http, (void)timeout_ms;
    wt_fail(err, WT_E_UNSUPPORTED, "this Wattune was built without libcurl, which a feed takes");
    wt_fix(err, "install libcurl4-openssl-dev and build it again, or give a file");
    return WT_E_UNSUPPORTED;
}

void wt_http_close(struct wt_http *http)
{
    (void)http;
}

int wt_http_get(struct wt_http *http, const struct wt_http_request *request,
                struct wt_http_answer *ret_answer, struct wt_error *err)
{
    (void)http, (void)request, (void)ret_answer;
    return wt_fail(err, WT_E_UNSUPPORTED, "this Wattune was built without libcurl");
}

#endif
