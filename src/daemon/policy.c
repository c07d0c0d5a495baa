/* policy: reading one; see policy.h, and judge.c for what it means. The grammar is
 * wattune-policy(5)'s. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/rules.h"

#define WORDS_MAX 48

/* ---- parsing ---- */

struct parser {
    struct wt_policy *policy;
    const struct wt_policy_names *names;
    unsigned line;
    char words[WORDS_MAX][128];
    size_t count, at;
    struct wt_error *err;
};

static int expected(struct parser *p, const char *what)
{
    const char *found = p->at < p->count ? p->words[p->at] : NULL;
    int rc = found ? wt_fail(p->err, WT_E_USAGE, "%s:%u: expected %s, found \"%s\"",
                             p->policy->name, p->line, what, found)
                   : wt_fail(p->err, WT_E_USAGE, "%s:%u: expected %s, found the end of the line",
                             p->policy->name, p->line, what);
    wt_fix(p->err, "wattune-policy(5) has the grammar; `wattuned --check-policy FILE` tries one");
    return rc;
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->at < p->count && strcmp(p->words[p->at], word) == 0;
}

static bool accept(struct parser *p, const char *word)
{
    bool is = is_word(p, word);
    p->at += is;
    return is;
}

static int parse_count(struct parser *p, const char *what, uint32_t max, uint32_t *ret)
{
    uint64_t value;
    if (p->at == p->count || wt_text_to_u64(p->words[p->at], &value) < 0 || value == 0 ||
        value > max)
        return expected(p, what);
    *ret = (uint32_t)value;
    p->at++;
    return 0;
}

/* "user NAME", "uid N", "group NAME", "slurm", "owner-of-device-node", "everyone" */
static int parse_who(struct parser *p, struct wt_policy_rule *r)
{
    uint64_t id;
    if (accept(p, "everyone")) {
        r->who = WT_POLICY_EVERYONE;
        return 0;
    }
    if (accept(p, "slurm")) {
        r->who = WT_POLICY_SLURM;
        return 0;
    }
    if (accept(p, "owner-of-device-node")) {
        r->who = WT_POLICY_NODE_OWNER;
        return 0;
    }
    bool is_user = is_word(p, "user"), is_group = is_word(p, "group");
    bool is_uid = is_word(p, "uid"), is_gid = is_word(p, "gid");
    if (!is_user && !is_group && !is_uid && !is_gid)
        return expected(p, "user, uid, group, gid, slurm, owner-of-device-node or everyone");
    p->at++;
    r->who = is_user || is_uid ? WT_POLICY_USER : WT_POLICY_GROUP;
    if (p->at == p->count || strlen(p->words[p->at]) >= sizeof(r->name))
        return expected(p, "a name");
    const char *name = p->words[p->at];
    if (is_uid || is_gid) {
        /* 4294967295 is nobody: what the kernel says when it does not know. */
        if (wt_text_to_u64(name, &id) < 0 || id >= UINT32_MAX)
            return expected(p, "a number");
        r->id = (uint32_t)id;
        r->is_known = true;
    } else if (is_user) {
        r->is_known = p->names->user && p->names->user(p->names->data, name, &r->id);
    } else {
        r->is_known = p->names->group && p->names->group(p->names->data, name, &r->id);
    }
    wt_text(r->name, sizeof(r->name), "%s", name);
    p->at++;
    return 0;
}

static bool is_id(const char *text)
{
    return *text &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/") ==
               strlen(text);
}

/* "all", or indexes and whole ids with commas */
static int parse_devices(struct parser *p, struct wt_policy_devices *d)
{
    static const char what[] = "all, or indexes (0 to 63) and whole ids of devices with commas";
    if (accept(p, "all")) {
        d->is_all = true;
        return 0;
    }
    if (p->at == p->count)
        return expected(p, what);
    char list[128], *save = NULL;
    wt_text(list, sizeof(list), "%s", p->words[p->at]);
    size_t len = strlen(list);
    if (list[0] == ',' || list[len - 1] == ',' || strstr(list, ",,"))
        return expected(p, what);
    for (char *part = strtok_r(list, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        uint64_t index;
        if (wt_text_to_u64(part, &index) == 0) {
            if (index >= WT_POLICY_INDEXES)
                return expected(p, what);
            d->indexes |= UINT64_C(1) << index;
        } else if (!is_id(part) || strlen(part) >= sizeof(d->ids[0]) ||
                   d->id_count == WT_POLICY_IDS) {
            return expected(p, what);
        } else {
            wt_text(d->ids[d->id_count++], sizeof(d->ids[0]), "%s", part);
        }
    }
    p->at++;
    return 0;
}

static int parse_knobs(struct parser *p, uint32_t *ret_knobs)
{
    static const char what[] = "all, or names of knobs (power, clock, ...) with commas";
    if (accept(p, "all")) {
        *ret_knobs = UINT32_MAX;
        return 0;
    }
    char list[128], *save = NULL;
    wt_text(list, sizeof(list), "%s", p->at < p->count ? p->words[p->at] : "");
    if (!*list)
        return expected(p, what);
    for (char *part = strtok_r(list, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        enum wt_knob knob;
        if (wt_knob_from_name(part, &knob) < 0)
            return expected(p, what);
        *ret_knobs |= 1u << knob;
    }
    p->at++;
    return 0;
}

/* "W" or "MHz" of all these knobs; NULL: they differ, or have none. */
static const char *unit_of(uint32_t knobs)
{
    const char *unit = NULL;
    for (int k = 1; k < WT_KNOB_COUNT; k++) {
        const char *its = wt_knob_unit((enum wt_knob)k);
        if (!(knobs >> k & 1) || !its)
            continue;
        if (!*its) /* names have no order */
            return NULL;
        if (unit && strcmp(unit, its) != 0)
            return NULL;
        unit = its;
    }
    return unit;
}

/* "power", of several knobs "these knobs". */
static const char *name_of(uint32_t knobs)
{
    for (int k = 1; k < WT_KNOB_COUNT; k++)
        if (knobs == 1u << k)
            return wt_knob_name((enum wt_knob)k);
    return "these knobs";
}

/* A word that is a unit, but not one of theirs. */
static int wrong_unit(struct parser *p, uint32_t knobs, const char *word)
{
    const char *name = name_of(knobs);
    int rc = wt_fail(p->err, WT_E_USAGE, "%s:%u: %s take%s %s, found \"%s\"", p->policy->name,
                     p->line, name, strchr(name, ' ') ? "" : "s", unit_of(knobs), word);
    wt_fix(p->err, "wattune-policy(5) has the grammar; `wattuned --check-policy FILE` tries one");
    return rc;
}

/* "150 W", "150W", "0.2 kW", "1380 MHz", "1.38 GHz", or "150" in the knob's unit, as one or two
 * words. */
static int parse_value(struct parser *p, uint32_t knobs, int64_t *ret_value)
{
    static const struct {
        const char *name, *base;
        double factor;
    } units[] = {{"W", "W", 1},     {"mW", "W", 1e-3},    {"kW", "W", 1e3},
                 {"MHz", "MHz", 1}, {"kHz", "MHz", 1e-3}, {"GHz", "MHz", 1e3}};
    char what[80], number[32];
    const char *unit = unit_of(knobs);
    if (!unit)
        return expected(
            p, "no value: these knobs have no unit, or different ones; give them rules apart");
    wt_text(what, sizeof(what), "a value in %s", unit);
    const char *text = p->at < p->count ? p->words[p->at] : "";
    size_t len = strspn(text, "0123456789.");
    double value, factor = 1;
    if (len == 0 || len >= sizeof(number))
        return expected(p, what);
    wt_text(number, sizeof(number), "%.*s", (int)len, text);
    if (wt_text_to_double(number, &value) < 0 || !(value >= 0 && value <= 1e9))
        return expected(p, what);
    const char *suffix = text + len;
    bool is_apart = !*suffix && p->at + 1 < p->count;
    if (is_apart)
        suffix = p->words[p->at + 1];
    bool is_unit = false, is_known = false;
    for (size_t i = 0; i < WT_COUNTOF(units) && !is_unit; i++) {
        is_known |= strcasecmp(suffix, units[i].name) == 0;
        is_unit = strcmp(suffix, units[i].name) == 0 && strcmp(unit, units[i].base) == 0;
        factor = is_unit ? units[i].factor : 1;
    }
    if (!is_unit && is_known)
        return wrong_unit(p, knobs, suffix);
    if (!is_unit && !is_apart && *suffix)
        return expected(p, what);
    *ret_value = wt_knob_from_user(value * factor);
    p->at += is_unit && is_apart ? 2 : 1;
    return 0;
}

static int parse_time(struct parser *p, int64_t *ret_ns)
{
    static const struct {
        const char *name;
        double s;
    } units[] = {{"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    static const char what[] = "a time such as 90s, 30 min, 12 h or 7 d";
    char number[32];
    const char *text = p->at < p->count ? p->words[p->at] : "";
    size_t len = strspn(text, "0123456789.");
    double value;
    if (len == 0 || len >= sizeof(number))
        return expected(p, what);
    wt_text(number, sizeof(number), "%.*s", (int)len, text);
    if (wt_text_to_double(number, &value) < 0)
        return expected(p, what);
    const char *suffix = text + len;
    bool is_apart = !*suffix && p->at + 1 < p->count;
    if (is_apart)
        suffix = p->words[p->at + 1];
    for (size_t i = 0; i < WT_COUNTOF(units); i++)
        if (strcmp(suffix, units[i].name) == 0) {
            value *= units[i].s;
            if (!(value >= 1 && value <= 86400.0 * 366))
                return expected(p, what);
            *ret_ns = (int64_t)(value * 1e9);
            p->at += is_apart ? 2 : 1;
            return 0;
        }
    return expected(p, what);
}

static int add_rule(struct wt_policy *policy, const struct wt_policy_rule *rule,
                    struct wt_error *err)
{
    struct wt_policy_rule *more = realloc(policy->rules, (policy->rule_count + 1) * sizeof(*more));
    if (!more)
        return wt_fail(err, WT_E_NOMEM, "no memory for a policy");
    policy->rules = more;
    policy->rules[policy->rule_count++] = *rule;
    return 0;
}

/* allow WHO on DEVICES set KNOBS [from VALUE] [to VALUE] [for TIME] */
static int parse_allow(struct parser *p)
{
    struct wt_policy_rule r = {.line = p->line, .floor = INT64_MIN, .ceiling = INT64_MAX};
    int rc = parse_who(p, &r);
    if (rc == 0 && !accept(p, "on"))
        rc = expected(p, "on");
    if (rc == 0)
        rc = parse_devices(p, &r.devices);
    if (rc == 0 && !accept(p, "set"))
        rc = expected(p, "set");
    if (rc == 0)
        rc = parse_knobs(p, &r.knobs);
    if (rc == 0 && accept(p, "from"))
        rc = parse_value(p, r.knobs, &r.floor);
    if (rc == 0 && accept(p, "to"))
        rc = parse_value(p, r.knobs, &r.ceiling);
    if (rc == 0 && r.floor > r.ceiling)
        rc = wt_fail(p->err, WT_E_USAGE, "%s:%u: from %g to %g allows nothing", p->policy->name,
                     p->line, wt_knob_to_user(r.floor), wt_knob_to_user(r.ceiling));
    if (rc == 0 && accept(p, "for"))
        rc = parse_time(p, &r.longest_ns);
    if (rc == 0 && p->at < p->count)
        rc = expected(p, "from, to, for or the end of the line");
    return rc < 0 ? rc : add_rule(p->policy, &r, p->err);
}

/* site-cap KNOB VALUE [on DEVICES] */
static int parse_cap(struct parser *p)
{
    struct wt_policy_cap c = {.line = p->line, .devices.is_all = true};
    if (p->at == p->count || wt_knob_from_name(p->words[p->at], &c.knob) < 0)
        return expected(p, "the name of a knob");
    p->at++;
    int rc = parse_value(p, 1u << c.knob, &c.value);
    if (rc == 0 && c.value <= 0)
        rc = wt_fail(p->err, WT_E_USAGE, "%s:%u: a cap of 0 allows nothing", p->policy->name,
                     p->line);
    if (rc == 0 && accept(p, "on")) {
        c.devices.is_all = false;
        rc = parse_devices(p, &c.devices);
    }
    if (rc == 0 && p->at < p->count)
        rc = expected(p, "on or the end of the line");
    if (rc < 0)
        return rc;
    struct wt_policy_cap *more =
        realloc(p->policy->caps, (p->policy->cap_count + 1) * sizeof(*more));
    if (!more)
        return wt_fail(p->err, WT_E_NOMEM, "no memory for a policy");
    p->policy->caps = more;
    p->policy->caps[p->policy->cap_count++] = c;
    return 0;
}

/* limit connections|claims|rate N */
static int parse_limit(struct parser *p)
{
    struct wt_policy_limits *l = &p->policy->limits;
    int rc;
    if (accept(p, "connections")) {
        rc = parse_count(p, "a number from 1 to 4096", 4096, &l->connections);
    } else if (accept(p, "claims")) {
        rc = parse_count(p, "a number from 1 to 4096", 4096, &l->claims);
        l->claims_line = p->line;
    } else if (accept(p, "rate")) {
        rc = parse_count(p, "a number from 1 to 100000", 100000, &l->rate);
    } else {
        rc = expected(p, "connections, claims or rate");
    }
    if (rc == 0 && p->at < p->count)
        rc = expected(p, "the end of the line");
    return rc;
}

/* Cuts a line into words; a word that begins with # ends it. */
static int cut(struct parser *p, const char *line, size_t len)
{
    p->count = p->at = 0;
    for (size_t i = 0; i < len;) {
        size_t start = i;
        while (i < len && line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            i++;
        if (i == start) {
            i++;
            continue;
        }
        if (line[start] == '#')
            return 0;
        if (p->count == WORDS_MAX || i - start >= sizeof(p->words[0]) ||
            memchr(line + start, 0, i - start))
            return wt_fail(p->err, WT_E_USAGE,
                           "%s:%u: more than %d words, or one of more than %zu bytes, or a NUL",
                           p->policy->name, p->line, WORDS_MAX, sizeof(p->words[0]) - 1);
        memcpy(p->words[p->count], line + start, i - start);
        p->words[p->count++][i - start] = '\0';
    }
    return 0;
}

static int parse_line(struct parser *p, const char *line, size_t len)
{
    p->line++;
    int rc = cut(p, line, len);
    if (rc < 0 || p->count == 0)
        return rc;
    if (accept(p, "allow"))
        return parse_allow(p);
    if (accept(p, "site-cap"))
        return parse_cap(p);
    if (accept(p, "limit"))
        return parse_limit(p);
    return expected(p, "allow, site-cap or limit");
}

int wt_policy_parse(struct wt_policy **ret_policy, const char *name, const char *text, size_t size,
                    const struct wt_policy_names *names, struct wt_error *err)
{
    static const struct wt_policy_names nobody;
    struct wt_policy *policy = calloc(1, sizeof(*policy));
    struct parser *p = calloc(1, sizeof(*p));
    int rc = 0;
    if (!policy || !p) {
        rc = wt_fail(err, WT_E_NOMEM, "no memory for a policy");
        goto out;
    }
    wt_text(policy->name, sizeof(policy->name), "%s", name);
    policy->limits = (struct wt_policy_limits){.connections = 64, .claims = 128, .rate = 200};
    p->policy = policy;
    p->names = names ? names : &nobody;
    p->err = err;
    for (size_t at = 0; at < size && rc == 0;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t len = end ? (size_t)(end - text) - at : size - at;
        rc = parse_line(p, text + at, len);
        at += len + 1;
    }
    if (rc < 0)
        goto out;
    *ret_policy = policy;
    policy = NULL;
out:
    free(p);
    wt_policy_free(policy);
    return rc;
}

void wt_policy_free(struct wt_policy *policy)
{
    if (!policy)
        return;
    free(policy->rules);
    free(policy->caps);
    free(policy);
}

/* ---- the file ---- */

static bool user_id(void *data, const char *name, uint32_t *ret_uid)
{
    (void)data;
    char buf[4096];
    struct passwd entry, *found = NULL;
    if (getpwnam_r(name, &entry, buf, sizeof(buf), &found) != 0 || !found)
        return false;
    *ret_uid = (uint32_t)found->pw_uid;
    return true;
}

static bool group_id(void *data, const char *name, uint32_t *ret_gid)
{
    (void)data;
    char *buf = malloc(WT_POLICY_MAX_BYTES); /* its members come along */
    struct group entry, *found = NULL;
    bool is_found = buf && getgrnam_r(name, &entry, buf, WT_POLICY_MAX_BYTES, &found) == 0 && found;
    if (is_found)
        *ret_gid = (uint32_t)found->gr_gid;
    free(buf);
    return is_found;
}

static int read_file(int fd, const char *path, char **ret_text, size_t *ret_size,
                     struct wt_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return wt_fail_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return wt_fail(err, WT_E_FORMAT, "%s: not a regular file, so no policy", path);
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH))) {
        int rc =
            wt_fail(err, WT_E_DENIED, "%s: others than root may write it, so not trusted", path);
        wt_fix(err, "chown root:root %s && chmod 644 %s", path, path);
        return rc;
    }
    if (st.st_size > WT_POLICY_MAX_BYTES)
        return wt_fail(err, WT_E_FORMAT, "%s: more than 1 MB", path);
    char *text = malloc((size_t)st.st_size + 1);
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "no memory for a policy");
    size_t used = 0;
    while (used < (size_t)st.st_size) {
        ssize_t n = read(fd, text + used, (size_t)st.st_size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(text);
            return wt_fail_errno(err, errno, "%s", path);
        }
        if (n == 0)
            break;
        used += (size_t)n;
    }
    *ret_text = text;
    *ret_size = used;
    return 0;
}

int wt_policy_load(struct wt_policy **ret_policy, const char *path, struct wt_error *err)
{
    static const struct wt_policy_names names = {user_id, group_id, NULL};
    char *text = NULL;
    size_t size = 0;
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT)
        return wt_fail_errno(err, errno, "%s", path);
    if (fd >= 0) {
        rc = read_file(fd, path, &text, &size, err);
        close(fd);
    }
    if (rc == 0)
        rc = wt_policy_parse(ret_policy, path, text ? text : "", size, &names, err);
    if (rc == 0)
        (*ret_policy)->is_there = fd >= 0;
    free(text);
    return rc;
}

bool wt_policy_is_there(const struct wt_policy *policy)
{
    return policy->is_there;
}

size_t wt_policy_rules(const struct wt_policy *policy)
{
    return policy->rule_count;
}

size_t wt_policy_caps(const struct wt_policy *policy)
{
    return policy->cap_count;
}

static const char *id_not_among(const struct wt_policy_devices *d, const char (*ids)[96],
                                size_t count, size_t *io_skip)
{
    for (size_t k = 0; k < d->id_count; k++) {
        bool is_there = false;
        for (size_t i = 0; i < count; i++)
            is_there |= strcmp(d->ids[k], ids[i]) == 0;
        if (!is_there && !(*io_skip)--)
            return d->ids[k];
    }
    return NULL;
}

const char *wt_policy_no_device(const struct wt_policy *policy, size_t i, const char (*ids)[96],
                                size_t count, unsigned *ret_line)
{
    const char *id = NULL;
    for (size_t k = 0; !id && k < policy->rule_count; k++) {
        id = id_not_among(&policy->rules[k].devices, ids, count, &i);
        *ret_line = policy->rules[k].line;
    }
    for (size_t k = 0; !id && k < policy->cap_count; k++) {
        id = id_not_among(&policy->caps[k].devices, ids, count, &i);
        *ret_line = policy->caps[k].line;
    }
    return id;
}

const char *wt_policy_unknown(const struct wt_policy *policy, size_t i, unsigned *ret_line)
{
    for (size_t k = 0; k < policy->rule_count; k++) {
        const struct wt_policy_rule *r = &policy->rules[k];
        if ((r->who != WT_POLICY_USER && r->who != WT_POLICY_GROUP) || r->is_known || i--)
            continue;
        *ret_line = r->line;
        return r->name;
    }
    return NULL;
}

struct wt_policy_limits wt_policy_limits(const struct wt_policy *policy)
{
    return policy->limits;
}
