/* feed: a signal from a live service - which services there are, what is asked of each, and what is
 * done when one does not answer.
 *
 * A key comes from the environment, goes into the request, and nowhere else: no message, no file
 * and no log has it. What a service measured and what it forecasts itself make one series;
 * Wattune's own forecast begins where that ends. The last good series is kept, and used, with its
 * age said, when the service is down; a key that is refused or a zone that is not there is an
 * error. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plan/feed.h"

#define FRESH_S         300 /* so long a service is not asked again */
#define MAX_AGE_S       WT_DAY_S
#define TIMEOUT_MS      15000
#define HISTORY_S       (13 * WT_DAY_S) /* the UK API gives 14 days at once */
#define RANGE_S         (10 * WT_DAY_S) /* and Electricity Maps 10 */
#define PRICE_HISTORY_S (28 * WT_DAY_S)

struct call {
    const struct feed *feed;
    struct wt_http *http;
    const char *base, *zone; /* base: without a slash at its end */
    const char *secrets[3];  /* keys, and the token */
    char token[4096];        /* that a login gave */
    int64_t now_s;
    struct wt_feed_rows rows;
    char word[160]; /* what a reader of the plan should know of the values */
};

struct feed {
    const char *name, *title;
    enum wt_signal_kind kind;
    const char *url, *url_variable;
    const char *key_variables[2];
    const char *zone_form; /* for people */
    bool (*is_zone)(const char *zone);
    int (*read)(struct call *c, struct wt_error *err);
};

/* ---- one request ---- */

/* Puts "the answer of TITLE " before what a parser said, which may have words of the answer in it:
 * printable, and none of an answer that has a key in it. a: NULL: none is quoted. */
static int name_answer(const struct call *c, const struct wt_http_answer *a, int rc,
                       struct wt_error *err)
{
    if (err) {
        struct wt_error said = *err;
        for (char *p = said.text; *p; p++)
            *p = *p >= 0x20 && *p < 0x7f ? *p : '?';
        if (a && wt_feed_has_secret(a->body, a->size, c->secrets, WT_COUNTOF(c->secrets)))
            wt_fail(err, rc,
                    "the answer of %s cannot be taken; it has a key in it, and is not shown",
                    c->feed->title);
        else
            wt_fail(err, rc, "the answer of %s %s", c->feed->title, said.text);
        if (*said.fix)
            wt_fix(err, "%s", said.fix);
    }
    return rc;
}

/* After a parser: frees an answer and names it where it was refused. */
static int close_answer(const struct call *c, struct wt_http_answer *a, int rc,
                        struct wt_error *err)
{
    if (rc < 0)
        name_answer(c, a, rc, err);
    explicit_bzero(a->body, a->size); /* a token, maybe */
    free(a->body);
    return rc;
}

static int judge_status(const struct call *c, const struct wt_http_answer *a, struct wt_error *err)
{
    char reason[160], said[180] = "", wait[64] = "";
    const char *title = c->feed->title, *key = c->feed->key_variables[0];
    if (a->status >= 200 && a->status < 300)
        return 0;
    wt_feed_reason(reason, sizeof(reason), a->body, a->size, c->secrets, WT_COUNTOF(c->secrets));
    if (*reason)
        wt_text(said, sizeof(said), ": \"%s\"", reason);
    switch (a->status) {
    case 401:
        wt_fail(err, WT_E_DENIED, "%s refuses %s (HTTP 401)%s", title,
                key ? "the key" : "to answer", said);
        if (key)
            wt_fix(err, "set %s%s%s to what the service gave you", key,
                   c->feed->key_variables[1] ? " and " : "",
                   c->feed->key_variables[1] ? c->feed->key_variables[1] : "");
        return WT_E_DENIED;
    case 403:
        wt_fail(err, WT_E_DENIED, "%s does not give this of %s%s (HTTP 403)%s", title,
                *c->zone ? c->zone : "the nation", key ? " to this key" : "", said);
        if (key)
            wt_fix(err, "ask the service which zones and signals your plan has");
        return WT_E_DENIED;
    case 400:
    case 404:
        wt_fail(err, WT_E_NOTFOUND, "%s does not know %s (HTTP %ld)%s", title,
                *c->zone ? c->zone : "this", a->status, said);
        wt_fix(err, "%s takes %s", c->feed->name, c->feed->zone_form);
        return WT_E_NOTFOUND;
    case 429:
        if (a->retry_after_s)
            wt_text(wait, sizeof(wait), "; it can be asked again in %ld s", a->retry_after_s);
        return wt_fail(err, WT_E_BUSY, "%s was asked too often (HTTP 429)%s%s", title, wait, said);
    default:
        if (a->status >= 500)
            return wt_fail(err, WT_E_IO, "%s does not work at present (HTTP %ld)%s", title,
                           a->status, said);
        return wt_fail(err, WT_E_FORMAT, "%s answers HTTP %ld%s", title, a->status, said);
    }
}

/* GET base/path, its answer if it is one of success. path may hold a key: is_secret. */
static int ask(struct call *c, const char *path, struct wt_http_request request,
               struct wt_http_answer *ret_answer, struct wt_error *err)
{
    char url[1024];
    struct wt_http_answer answer = {0};
    wt_text(url, sizeof(url), "%s%s", c->base, path);
    request.url = url;
    int rc = wt_http_get(c->http, &request, &answer, err);
    if (rc == 0)
        rc = judge_status(c, &answer, err);
    if (request.is_secret)
        explicit_bzero(url, sizeof(url));
    if (rc < 0)
        free(answer.body);
    else
        *ret_answer = answer;
    return rc;
}

static const char *minute_text(char *buf, size_t size, int64_t t_s)
{
    wt_moment_text(buf, size, t_s);
    return strcpy(buf + 16, "Z"), buf; /* 2020-07-01T06:30Z */
}

/* ---- Electricity Maps ---- */

static int ask_maps(struct call *c, const char *path, struct wt_error *err)
{
    char header[300];
    struct wt_http_answer a;
    wt_text(header, sizeof(header), "auth-token: %s", c->secrets[0]);
    int rc = ask(c, path, (struct wt_http_request){.header = header}, &a, err);
    explicit_bzero(header, sizeof(header));
    if (rc < 0)
        return rc;
    rc = wt_feed_electricitymaps(&c->rows, a.body, a.size, c->zone, err);
    return close_answer(c, &a, rc, err);
}

/* The past ten days, and with a key that has not those the last one; then three days ahead. */
static int read_maps(struct call *c, struct wt_error *err)
{
    char path[256], from[32], to[32];
    wt_text(path, sizeof(path), "/v3/carbon-intensity/past-range?zone=%s&start=%s&end=%s", c->zone,
            wt_moment_text(from, sizeof(from), c->now_s - RANGE_S),
            wt_moment_text(to, sizeof(to), c->now_s));
    int rc = ask_maps(c, path, err);
    if (rc == WT_E_DENIED || rc == WT_E_NOTFOUND) {
        wt_text(path, sizeof(path), "/v3/carbon-intensity/history?zone=%s", c->zone);
        rc = ask_maps(c, path, err);
    }
    if (rc < 0)
        return rc;
    struct wt_error why = {0};
    wt_text(path, sizeof(path), "/v3/carbon-intensity/forecast?zone=%s&horizonHours=72", c->zone);
    rc = ask_maps(c, path, &why);
    if (rc == WT_E_NOTFOUND) { /* an API that does not know the last parameter */
        wt_text(path, sizeof(path), "/v3/carbon-intensity/forecast?zone=%s", c->zone);
        rc = ask_maps(c, path, &why);
    }
    if (rc == WT_E_DENIED || rc == WT_E_NOTFOUND)
        wt_text(c->word, sizeof(c->word), "the service gives this key no forecast");
    else if (rc < 0 && err)
        *err = why;
    return rc == WT_E_DENIED || rc == WT_E_NOTFOUND ? 0 : rc;
}

/* ---- UK Carbon Intensity ---- */

static int ask_uk(struct call *c, int64_t from_s, const char *to, struct wt_error *err)
{
    char path[200], from[32];
    struct wt_http_answer a;
    bool is_region = *c->zone != '\0';
    wt_text(path, sizeof(path), "%s/intensity/%s/%s%s%s", is_region ? "/regional" : "",
            minute_text(from, sizeof(from), from_s), to, is_region ? "/regionid/" : "", c->zone);
    int rc = ask(c, path, (struct wt_http_request){0}, &a, err);
    if (rc < 0)
        return rc;
    rc = wt_feed_ukcarbon(&c->rows, a.body, a.size, c->now_s, err);
    return close_answer(c, &a, rc, err);
}

static int read_uk(struct call *c, struct wt_error *err)
{
    char to[32];
    int rc = ask_uk(c, c->now_s - HISTORY_S, minute_text(to, sizeof(to), c->now_s), err);
    if (rc == 0)
        rc = ask_uk(c, c->now_s, "fw48h", err);
    return rc;
}

/* ---- WattTime ---- */

static int ask_watttime(struct call *c, const char *path, bool is_forecast, struct wt_error *err)
{
    char header[4200];
    struct wt_http_answer a;
    wt_text(header, sizeof(header), "Authorization: Bearer %s", c->token);
    int rc = ask(c, path, (struct wt_http_request){.header = header}, &a, err);
    explicit_bzero(header, sizeof(header));
    if (rc < 0)
        return rc;
    rc = wt_feed_watttime(&c->rows, a.body, a.size, c->zone, is_forecast, err);
    return close_answer(c, &a, rc, err);
}

static int login(struct call *c, struct wt_error *err)
{
    struct wt_http_answer a;
    struct wt_http_request request = {.user = c->secrets[0], .password = c->secrets[1]};
    int rc = ask(c, "/login", request, &a, err);
    if (rc < 0)
        return rc;
    rc = wt_feed_watttime_token(c->token, sizeof(c->token), a.body, a.size, err);
    rc = close_answer(c, &a, rc, err);
    c->secrets[2] = c->token;
    return rc;
}

static int read_watttime(struct call *c, struct wt_error *err)
{
    char path[256], from[32], to[32];
    struct wt_error why = {0};
    int rc = login(c, err);
    if (rc < 0)
        return rc;
    wt_text(path, sizeof(path), "/v3/historical?region=%s&signal_type=co2_moer&start=%s&end=%s",
            c->zone, wt_moment_text(from, sizeof(from), c->now_s - HISTORY_S),
            wt_moment_text(to, sizeof(to), c->now_s));
    int past = ask_watttime(c, path, false, &why);
    rc = past == WT_E_DENIED ? 0 : past;
    if (rc == 0) {
        wt_text(path, sizeof(path), "/v3/forecast?region=%s&signal_type=co2_moer&horizon_hours=72",
                c->zone);
        rc = ask_watttime(c, path, true, &why);
    }
    bool has_no_forecast = past == 0 && rc == WT_E_DENIED;
    wt_text(c->word, sizeof(c->word), "it is the marginal rate, of what follows the load%s%s",
            past == WT_E_DENIED ? "; the service gives this key no history" : "",
            has_no_forecast ? "; the service gives this key no forecast" : "");
    if (rc < 0 && !has_no_forecast && err)
        *err = why;
    return has_no_forecast ? 0 : rc;
}

/* ---- ENTSO-E ---- */

static const char *stamp_text(char *buf, size_t size, int64_t t_s)
{
    char m[32];
    wt_moment_text(m, sizeof(m), t_s);
    return wt_text(buf, size, "%.4s%.2s%.2s%.2s%.2s", m, m + 5, m + 8, m + 11, m + 14);
}

static int read_entsoe(struct call *c, struct wt_error *err)
{
    char path[512], from[32], to[32], currency[4] = "";
    struct wt_http_answer a;
    int64_t day_s = wt_floor_div(c->now_s, WT_DAY_S) * WT_DAY_S;
    wt_text(path, sizeof(path),
            "/api?documentType=A44&in_Domain=%s&out_Domain=%s&periodStart=%s&periodEnd=%s"
            "&securityToken=%s",
            c->zone, c->zone, stamp_text(from, sizeof(from), day_s - PRICE_HISTORY_S),
            stamp_text(to, sizeof(to), day_s + 2 * WT_DAY_S), c->secrets[0]);
    int rc = ask(c, path, (struct wt_http_request){.is_secret = true}, &a, err);
    explicit_bzero(path, sizeof(path));
    if (rc < 0)
        return rc;
    rc = close_answer(c, &a, wt_feed_entsoe(&c->rows, a.body, a.size, currency, err), err);
    if (rc < 0)
        return rc;
    wt_text(c->word, sizeof(c->word), "day-ahead prices in %s a kWh, without fees and taxes",
            *currency ? currency : "no currency that it tells");
    return 0;
}

/* ---- which there are ---- */

static bool is_word(const char *zone, const char *letters, size_t min, size_t max)
{
    size_t n = strlen(zone);
    return n >= min && n <= max && strspn(zone, letters) == n;
}

#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool is_maps_zone(const char *zone)
{
    return is_word(zone, CAPITALS "-", 2, 24);
}

static bool is_uk_zone(const char *zone)
{
    uint64_t region;
    return !*zone || (wt_text_to_u64(zone, &region) == 0 && region >= 1 && region <= 18);
}

static bool is_watttime_zone(const char *zone)
{
    return is_word(zone, CAPITALS "_-", 2, 40);
}

static bool is_entsoe_zone(const char *zone)
{
    return is_word(zone, CAPITALS "-", 16, 16);
}

static const struct feed feeds[] = {
    {"electricitymaps",
     "Electricity Maps",
     WT_SIGNAL_CARBON,
     "https://api.electricitymaps.com",
     "WATTUNE_ELECTRICITYMAPS_URL",
     {"ELECTRICITYMAPS_TOKEN"},
     "a zone: electricitymaps:DE",
     is_maps_zone,
     read_maps},
    {"ukcarbon",
     "UK Carbon Intensity",
     WT_SIGNAL_CARBON,
     "https://api.carbonintensity.org.uk",
     "WATTUNE_UKCARBON_URL",
     {NULL},
     "nothing, or a region of 1 to 18: ukcarbon, ukcarbon:13",
     is_uk_zone,
     read_uk},
    {"watttime",
     "WattTime",
     WT_SIGNAL_CARBON,
     "https://api.watttime.org",
     "WATTUNE_WATTTIME_URL",
     {"WATTTIME_USER", "WATTTIME_PASSWORD"},
     "a region: watttime:CAISO_NORTH",
     is_watttime_zone,
     read_watttime},
    {"entsoe",
     "ENTSO-E",
     WT_SIGNAL_PRICE,
     "https://web-api.tp.entsoe.eu",
     "WATTUNE_ENTSOE_URL",
     {"ENTSOE_TOKEN"},
     "a bidding zone of 16 letters: entsoe:10Y1001A1001A82H",
     is_entsoe_zone,
     read_entsoe},
};

static const struct feed *find(const char *source)
{
    size_t n = strcspn(source, ":");
    for (size_t i = 0; i < WT_COUNTOF(feeds); i++)
        if (strlen(feeds[i].name) == n && strncmp(feeds[i].name, source, n) == 0)
            return &feeds[i];
    return NULL;
}

bool wt_signal_is_feed(const char *source)
{
    return find(source) != NULL;
}

/* ---- keys, URL, zone ---- */

static int take_keys(struct call *c, struct wt_error *err)
{
    for (size_t i = 0; i < WT_COUNTOF(c->feed->key_variables); i++) {
        const char *variable = c->feed->key_variables[i];
        if (!variable)
            break;
        const char *key = getenv(variable);
        if (!key || !*key) {
            wt_fail(err, WT_E_DENIED, "%s takes a key, and %s is not set", c->feed->title,
                    variable);
            wt_fix(err,
                   "export %s=... (from the environment alone, so that no list of processes "
                   "shows it)",
                   variable);
            return WT_E_DENIED;
        }
        /* A key is a line of a request, ENTSO-E's a part of a URL. A password may have more. */
        bool is_password = i == 1, is_url = strcmp(c->feed->name, "entsoe") == 0;
        bool is_good = strlen(key) < 256;
        for (const char *p = key; *p; p++)
            is_good &= (*p & 0xff) > 0x1f && *p != 0x7f && (is_password || *p != ' ') &&
                       (!is_url || !strchr("&#?%+", *p));
        if (!is_good)
            return wt_fail(err, WT_E_USAGE, "%s holds what no key has", variable);
        c->secrets[i] = key;
    }
    return 0;
}

/* The service's URL, or the one that the environment has in its place. */
static int take_url(const struct feed *feed, char *buf, size_t size, struct wt_error *err)
{
    const char *own = getenv(feed->url_variable);
    wt_text(buf, size, "%s", own && *own ? own : feed->url);
    size_t n = strlen(buf);
    while (n && buf[n - 1] == '/')
        buf[--n] = '\0';
    if (n + 1 >= size || strpbrk(buf, "@?# \n"))
        return wt_fail(err, WT_E_USAGE, "%s is no plain URL: https://HOST/PATH, without a key",
                       feed->url_variable);
    return 0;
}

static int take_zone(const struct feed *feed, enum wt_signal_kind kind, const char *source,
                     struct wt_error *err)
{
    const char *colon = strchr(source, ':');
    if (feed->kind != kind) {
        wt_fail(err, WT_E_USAGE, "%s has %s, and no %s", feed->name,
                wt_signal_kind_name(feed->kind), wt_signal_kind_name(kind));
        wt_fix(err, "--signal %s=%s, or ./%s for a file of that name",
               wt_signal_kind_name(feed->kind), source, source);
        return WT_E_USAGE;
    }
    if (!feed->is_zone(colon ? colon + 1 : "") || (colon && !colon[1])) {
        wt_fail(err, WT_E_USAGE, "%.60s: %s takes %s", source, feed->name, feed->zone_form);
        return WT_E_USAGE;
    }
    return 0;
}

/* ---- a series, new or kept ---- */

/* Of what stands for measured, how much is an estimate. */
static void tell_estimates(struct call *c)
{
    size_t n = strlen(c->word);
    char *end = c->word + n;
    if (c->rows.estimated && c->rows.estimated == c->rows.given)
        wt_text(end, sizeof(c->word) - n, "%sall its values that are no forecast are estimates",
                n ? "; " : "");
    else if (c->rows.estimated)
        wt_text(end, sizeof(c->word) - n, "%sof its %zu values that are no forecast %zu %s",
                n ? "; " : "", c->rows.given, c->rows.estimated,
                c->rows.estimated > 1 ? "are estimates" : "is an estimate");
}

static int read_feed(struct wt_signal **ret_signal, const struct feed *feed, const char *source,
                     const char *url, int64_t now_s, int64_t timeout_ms, struct wt_error *err)
{
    const char *colon = strchr(source, ':');
    struct call c = {.feed = feed, .base = url, .zone = colon ? colon + 1 : "", .now_s = now_s};
    struct wt_signal *s = NULL;
    int rc = take_keys(&c, err);
    if (rc == 0)
        rc = wt_http_open(&c.http, timeout_ms, err);
    if (rc == 0)
        rc = feed->read(&c, err);
    if (rc == 0) {
        rc = wt_feed_series(&s, feed->kind, &c.rows, source, err);
        if (rc < 0)
            name_answer(&c, NULL, rc, err);
        tell_estimates(&c);
    }
    explicit_bzero(c.token, sizeof(c.token));
    wt_http_close(c.http);
    wt_feed_rows_done(&c.rows);
    if (rc < 0)
        return rc;
    s->fetched_s = now_s;
    memcpy(s->feed_word, c.word, sizeof(c.word));
    *ret_signal = s;
    return 0;
}

/* Whether it is the service's trouble, which passes, and not a mistake of ours. */
static bool is_passing(int rc)
{
    return rc == WT_E_IO || rc == WT_E_TIMEOUT || rc == WT_E_BUSY || rc == WT_E_FORMAT ||
           rc == WT_E_GONE;
}

int wt_signal_fetch(struct wt_signal **ret_signal, enum wt_signal_kind kind, const char *source,
                    const struct wt_feed_options *options, struct wt_error *err)
{
    static const struct wt_feed_options none = {.max_age_s = -1};
    const struct feed *feed = find(source);
    struct wt_error why = {0}, unsaved = {0};
    struct wt_signal *kept = NULL;
    char folder[3800], url[400], age[48], most[48];
    options = options ? options : &none;
    if (!feed)
        return wt_fail(err, WT_E_NOTFOUND, "there is no feed called %.40s", source);
    int64_t now_s = options->now_s ? options->now_s : (int64_t)time(NULL);
    int64_t max_age_s = options->max_age_s < 0 ? MAX_AGE_S : options->max_age_s;
    int rc = take_zone(feed, kind, source, err);
    if (rc == 0)
        rc = take_url(feed, url, sizeof(url), err);
    if (rc < 0)
        return rc;
    bool has_folder = wt_feed_cache_folder(folder, sizeof(folder));
    if (has_folder && wt_feed_cache_read(&kept, kind, folder, source, url, NULL) == 0 &&
        kept->fetched_s > now_s) {
        wt_signal_free(kept); /* of a clock that has gone back since */
        kept = NULL;
    }
    int64_t age_s = kept ? now_s - kept->fetched_s : INT64_MAX;
    if (age_s < FRESH_S && age_s < max_age_s) {
        *ret_signal = kept;
        return 0;
    }
    rc = read_feed(ret_signal, feed, source, url, now_s,
                   options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS, &why);
    if (rc == 0) {
        wt_signal_free(kept);
        if (has_folder && wt_feed_cache_write(*ret_signal, folder, source, url, &unsaved) < 0)
            wt_text((*ret_signal)->feed_remark, sizeof((*ret_signal)->feed_remark),
                    "it could not be kept for when the service is down: %s", unsaved.text);
        return 0;
    }
    if (is_passing(rc) && kept && age_s <= max_age_s) {
        wt_text(kept->feed_remark, sizeof(kept->feed_remark),
                "what it said %s ago is used, as it cannot be read now: %s",
                wt_span_text(age, sizeof(age), age_s), why.text);
        kept->is_stale = true;
        *ret_signal = kept;
        return 0;
    }
    if (err)
        *err = why;
    if (is_passing(rc) && kept)
        wt_fix(err, "what it said %s ago is kept, and is older than --feed-max-age (%s)",
               wt_span_text(age, sizeof(age), age_s), wt_span_text(most, sizeof(most), max_age_s));
    wt_signal_free(kept);
    return rc;
}

/* ---- what a service says of its refusal ---- */

static int hex_of(const char *text, size_t digits)
{
    int value = 0;
    for (size_t i = 0; i < digits; i++) {
        int c = text[i] | 32;
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return -1;
        value = 16 * value + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

/* One character that begins here as URLs, JSON or XML may write it; returns how long that is. */
static size_t unescape(const char *text, size_t left, char *ret)
{
    static const struct {
        const char *text;
        char is;
    } names[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    int value = -1;
    size_t n = 1;
    *ret = *text;
    if (*text == '%' && left >= 3) {
        value = hex_of(text + 1, 2);
        n = 3;
    } else if (*text == '\\' && left >= 6 && text[1] == 'u') {
        value = hex_of(text + 2, 4);
        n = 6;
    } else if (*text == '\\' && left >= 2) {
        value = (unsigned char)text[1];
        n = 2;
    } else if (*text == '&' && left >= 4 && text[1] == '#') {
        bool is_hex = (text[2] | 32) == 'x';
        int number = 0, digit;
        for (n = is_hex ? 3 : 2; n < left && n < 12 && (digit = hex_of(text + n, 1)) >= 0; n++)
            number = number < 0x10000 ? (is_hex ? 16 : 10) * number + digit : number;
        value = n < left && text[n++] == ';' ? number : -1;
    }
    for (size_t i = 0; *text == '&' && i < WT_COUNTOF(names); i++)
        if (left >= strlen(names[i].text) &&
            memcmp(text, names[i].text, strlen(names[i].text)) == 0) {
            value = (unsigned char)names[i].is;
            n = strlen(names[i].text);
        }
    if (value < 0)
        return 1;
    *ret = (char)value;
    return n;
}

bool wt_feed_has_secret(const char *text, size_t size, const char *const secrets[],
                        size_t secret_count)
{
    char *plain = malloc(size + 1);
    bool has = !plain;
    for (int pass = 0; !has && pass < 3; pass++) { /* escaped, and escaped twice */
        size_t n = 0;
        if (pass == 0)
            memcpy(plain, text, n = size);
        else
            for (size_t i = 0; i < size; n++)
                i += unescape(plain + i, size - i, &plain[n]);
        size = n;
        for (size_t i = 0; i < secret_count; i++)
            has |= secrets[i] && *secrets[i] && memmem(plain, size, secrets[i], strlen(secrets[i]));
    }
    if (plain)
        explicit_bzero(plain, size);
    free(plain);
    return has;
}

const char *wt_feed_reason(char *buf, size_t room, const char *text, size_t size,
                           const char *const secrets[], size_t secret_count)
{
    static const char *const starts[] = {
        "\"message\":", "\"error_description\":", "\"detail\":", "\"error\":", "<text>"};
    const char *from = NULL;
    buf[0] = '\0';
    if (wt_feed_has_secret(text, size, secrets, secret_count))
        return buf; /* it says the key: it says nothing */
    for (size_t i = 0; i < WT_COUNTOF(starts) && !from; i++) {
        from = memmem(text, size, starts[i], strlen(starts[i]));
        from = from ? from + strlen(starts[i]) : NULL;
        bool is_xml = starts[i][0] == '<';
        while (from && from < text + size && *from == ' ')
            from++;
        if (from && !is_xml && (from == text + size || *from++ != '"'))
            from = NULL; /* an object, or null */
    }
    if (!from)
        return buf;
    size_t n = 0;
    for (; from < text + size && n + 1 < room && !strchr("\"<\n", *from); from++)
        buf[n++] = *from >= 0x20 && *from < 0x7f ? *from : '?';
    buf[n] = '\0';
    return buf;
}
