/* wish: see wish.h. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wish.h"

#define WATTS_MAX   100000 /* nobody's card */
#define CLOCK_MAX   20000  /* MHz */
#define TABLE_BYTES 65536

/* "150", "150W" */
static int parse_number(const char *text, const char *unit, uint64_t max, uint64_t *ret)
{
    char digits[16];
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len >= sizeof(digits) || (text[len] && strcasecmp(text + len, unit) != 0))
        return WT_E_USAGE;
    uint64_t value;
    if (wt_text_to_u64(wt_text(digits, sizeof(digits), "%.*s", (int)len, text), &value) < 0 ||
        value == 0 || value > max)
        return WT_E_USAGE;
    *ret = value;
    return 0;
}

static int set_watts(const char *option, const char *words, const char *text,
                     struct wt_slurm_wish *w, struct wt_error *err)
{
    uint64_t watts;
    if (parse_number(text, "W", WATTS_MAX, &watts) < 0)
        return wt_fail(err, WT_E_USAGE, "%s=%.40s: give watts of one GPU (such as 150)%s", option,
                       text, words);
    w->power = WT_SLURM_WATTS;
    w->cap_mw = (int64_t)watts * 1000;
    return 0;
}

int wt_slurm_parse_cap(const char *text, struct wt_slurm_wish *w, struct wt_error *err)
{
    text = text ? text : "";
    if (strcmp(text, "auto") == 0)
        w->power = WT_SLURM_AUTO;
    else if (strcmp(text, "off") == 0)
        w->power = WT_SLURM_OFF;
    else
        return set_watts("--power-cap", ", \"auto\" or \"off\"", text, w, err);
    return 0;
}

int wt_slurm_parse_gpupower(const char *text, struct wt_slurm_wish *w, struct wt_error *err)
{
    text = text ? text : "";
    if (strcmp(text, "yes") == 0)
        w->power = WT_SLURM_YES;
    else if (strcmp(text, "no") == 0)
        w->power = WT_SLURM_OFF;
    else
        return set_watts("--gpupower", ", \"yes\" or \"no\"", text, w, err);
    return 0;
}

int wt_slurm_parse_clock(const char *text, struct wt_slurm_wish *w, struct wt_error *err)
{
    uint64_t mhz;
    text = text ? text : "";
    if (parse_number(text, "MHz", CLOCK_MAX, &mhz) < 0)
        return wt_fail(err, WT_E_USAGE, "--gpu-clock=%.40s: give a clock in MHz (such as 1200)",
                       text);
    w->clock_khz = (int64_t)mhz * 1000;
    return 0;
}

/* ---- plugstack.conf ---- */

/* "%n" becomes the node's name, which is no path. */
static int expand(const char *text, const char *node, char *ret, size_t size)
{
    char buf[512];
    size_t at = 0;
    bool is_plain = node && *node && *node != '.' && !strchr(node, '/');
    for (const char *p = text; *p; p++) {
        const char *part = p;
        size_t len = 1;
        if (p[0] == '%' && p[1] == 'n') {
            if (!is_plain)
                return WT_E_NOTFOUND;
            part = node;
            len = strlen(node);
            p++;
        }
        if (at + len >= size || at + len >= sizeof(buf))
            return WT_E_RANGE;
        memcpy(buf + at, part, len);
        at += len;
    }
    buf[at] = '\0';
    wt_text(ret, size, "%s", buf); /* written on success */
    return 0;
}

int wt_slurm_parse_config(int count, char **args, const char *node,
                          struct wt_slurm_config *ret_config, struct wt_error *err)
{
    struct wt_slurm_config c = {.timeout_ns = 2 * WT_NS_PER_S};
    struct wt_error first = {0}, *why = &first;
    bool has_socket = false;
    wt_text(c.run, sizeof(c.run), "/run/wattune");
    wt_text(c.autos, sizeof(c.autos), "/etc/wattune/slurm-auto.conf");
    for (int i = 0; i < count; i++) {
        const char *value = strchr(args[i], '=');
        size_t len = value ? (size_t)(value - args[i]) : strlen(args[i]);
        uint64_t number;
        int rc = WT_E_USAGE;
        value = value ? value + 1 : "";
        if (len == 3 && strncmp(args[i], "run", len) == 0 && *value == '/')
            rc = expand(value, node, c.run, sizeof(c.run));
        else if (len == 6 && strncmp(args[i], "socket", len) == 0 && *value == '/') {
            rc = expand(value, node, c.socket, sizeof(c.socket));
            has_socket |= rc == 0;
        } else if (len == 3 && strncmp(args[i], "map", len) == 0 && *value == '/')
            rc = expand(value, node, c.map, sizeof(c.map));
        else if (len == 4 && strncmp(args[i], "auto", len) == 0 && *value == '/')
            rc = expand(value, node, c.autos, sizeof(c.autos));
        else if (len == 11 && strncmp(args[i], "default-cap", len) == 0) {
            rc = parse_number(value, "W", WATTS_MAX, &number);
            c.default_mw = rc == 0 ? (int64_t)number * 1000 : c.default_mw;
        } else if (len == 7 && strncmp(args[i], "timeout", len) == 0) {
            rc = parse_number(value, "ms", 20000, &number);
            c.timeout_ns = rc == 0 ? (int64_t)number * WT_NS_PER_MS : c.timeout_ns;
        }
        if (rc < 0 && why) {
            wt_fail(why, WT_E_USAGE,
                    "plugstack.conf: \"%.80s\" is none of run=DIR, socket=PATH, map=FILE, "
                    "auto=FILE (%%n: the node), default-cap=WATTS, timeout=MILLISECONDS (to 20000)",
                    args[i]);
            why = NULL;
        }
    }
    if (!has_socket)
        wt_text(c.socket, sizeof(c.socket), "%.230s/wattuned.sock", c.run);
    *ret_config = c;
    if (why)
        return 0;
    if (err)
        *err = first;
    return WT_E_USAGE;
}

/* ---- what Slurm says ---- */

int wt_slurm_parse_gpus(const char *text, uint32_t ret_gpus[WT_SLURM_GPUS], size_t *ret_count,
                        struct wt_error *err)
{
    *ret_count = 0;
    if (!text || !*text || strcmp(text, "NoDevFiles") == 0)
        return 0;
    size_t count = 0;
    for (const char *p = text;;) {
        char *end;
        errno = 0;
        unsigned long from = strtoul(p, &end, 10), to = from;
        bool is_number = *p >= '0' && *p <= '9';
        if (is_number && *end == '-') {
            p = end + 1;
            is_number = *p >= '0' && *p <= '9';
            to = strtoul(p, &end, 10);
        }
        if (!is_number || errno || to < from || to > 65535 || (*end && *end != ','))
            return wt_fail(err, WT_E_FORMAT, "SLURM_JOB_GPUS=%.60s: no list of numbers", text);
        for (unsigned long gpu = from; gpu <= to; gpu++) {
            if (count == WT_SLURM_GPUS)
                return wt_fail(err, WT_E_FORMAT, "SLURM_JOB_GPUS: more than %d GPUs",
                               WT_SLURM_GPUS);
            ret_gpus[count++] = (uint32_t)gpu;
        }
        if (!*end)
            break;
        p = end + 1;
    }
    *ret_count = count;
    return 0;
}

/* "[1-3,7]" to 4, at's end behind it; 0: cannot be read. */
static uint64_t count_bracket(const char **at)
{
    uint64_t count = 0;
    const char *p = *at + 1;
    for (;;) {
        char *end;
        if (*p < '0' || *p > '9')
            return 0;
        unsigned long from = strtoul(p, &end, 10), to = from;
        if (*end == '-' && end[1] >= '0' && end[1] <= '9')
            to = strtoul(end + 1, &end, 10);
        if (to < from || to - from > 1000000)
            return 0;
        count += to - from + 1;
        p = end + 1;
        if (*end == ']')
            break;
        if (*end != ',')
            return 0;
    }
    *at = p;
    return count;
}

uint32_t wt_slurm_count_hosts(const char *list)
{
    uint64_t total = 0, here = 0;
    for (const char *p = list ? list : "";;) {
        if (!*p || *p == ',') {
            total += here;
            here = 0;
            if (!*p)
                break;
            p++;
        } else if (*p == '[') {
            uint64_t n = count_bracket(&p);
            if (n == 0 || n > 1000000 || here > 1000000)
                return 0;
            here = here ? here * n : n;
        } else {
            here = here ? here : 1;
            p++;
        }
    }
    return total <= UINT32_MAX ? (uint32_t)total : 0;
}

/* Bytes of the UTF-8 character at p; 0: none. */
static size_t character(const unsigned char *p)
{
    size_t len = *p < 0x80                 ? 1
                 : *p >= 0xc2 && *p < 0xe0 ? 2
                 : *p >= 0xe0 && *p < 0xf0 ? 3
                 : *p >= 0xf0 && *p < 0xf5 ? 4
                                           : 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
        (*p == 0xf4 && p[1] > 0x8f) || (*p == 0xc2 && p[1] < 0xa0))
        return 0; /* too long a form, half of a pair, beyond Unicode, a control character */
    return len;
}

char *wt_slurm_clean(char *buf, size_t size, const char *text)
{
    size_t at = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t len = character(p);
        bool is_good = len && *p >= 0x20 && *p != 0x7f;
        size_t room = is_good ? len : 1;
        if (at + room >= size)
            break;
        if (is_good)
            memcpy(buf + at, p, len);
        else
            buf[at] = '?';
        at += room;
        p += len ? len : 1;
    }
    buf[at] = '\0';
    return buf;
}

/* ---- tables ---- */

static int read_table(const char *path, char **ret_text, struct wt_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = 0;
    char *text = NULL;
    if (fstat(fd, &st) < 0)
        rc = wt_fail_errno(err, errno, "%s", path);
    else if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
             (st.st_mode & (S_IWGRP | S_IWOTH)))
        rc = wt_fail(err, WT_E_DENIED, "%s: must be yours or root's, and writable by nobody else",
                     path);
    else if (st.st_size > TABLE_BYTES)
        rc = wt_fail(err, WT_E_FORMAT, "%s: longer than %d bytes", path, TABLE_BYTES);
    else if (!(text = calloc(1, TABLE_BYTES + 1)))
        rc = wt_fail(err, WT_E_NOMEM, "no memory for %s", path);
    for (size_t at = 0; rc == 0 && at < TABLE_BYTES;) {
        ssize_t n = read(fd, text + at, TABLE_BYTES - at);
        if (n < 0 && errno != EINTR)
            rc = wt_fail_errno(err, errno, "%s", path);
        if (n == 0)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (rc == 0) {
        *ret_text = text;
        text = NULL;
    }
    free(text);
    return rc;
}

/* The next line as its first word and the rest; false past the end. */
static bool next_line(char **io_at, unsigned *io_number, char **ret_word, char **ret_rest)
{
    while (**io_at) {
        char *line = *io_at;
        size_t len = strcspn(line, "\n");
        *io_at = line + len + (line[len] == '\n');
        line[len] = '\0';
        ++*io_number;
        line += strspn(line, " \t\r");
        for (len = strlen(line); len && strchr(" \t\r", line[len - 1]);)
            line[--len] = '\0';
        if (!*line || *line == '#')
            continue;
        len = strcspn(line, " \t");
        *ret_word = line;
        *ret_rest = line + len;
        if (line[len]) {
            line[len] = '\0';
            *ret_rest = line + len + 1 + strspn(line + len + 1, " \t");
        }
        return true;
    }
    return false;
}

int wt_slurm_map_find(const char *path, uint32_t gpu, char *ret_id, size_t size,
                      struct wt_error *err)
{
    char *text, *word, *rest;
    unsigned number = 0;
    int rc = read_table(path, &text, err);
    if (rc < 0)
        return rc;
    rc = WT_E_NOTFOUND;
    for (char *at = text; rc < 0 && next_line(&at, &number, &word, &rest);) {
        uint64_t n;
        if (wt_text_to_u64(word, &n) == 0 && n == gpu && *rest) {
            wt_text(ret_id, size, "%s", rest);
            rc = 0;
        }
    }
    free(text);
    return rc < 0 ? wt_fail(err, rc, "%s: has no line for GPU %u", path, gpu) : 0;
}

int wt_slurm_auto_find(const char *path, const char *model, int64_t *ret_cap_mw,
                       struct wt_error *err)
{
    char *text, *word, *rest;
    unsigned number = 0;
    uint64_t watts;
    int rc = read_table(path, &text, err);
    if (rc < 0)
        return rc;
    rc = WT_E_NOTFOUND;
    for (char *at = text; rc == WT_E_NOTFOUND && next_line(&at, &number, &word, &rest);) {
        if (parse_number(word, "W", WATTS_MAX, &watts) < 0 || !*rest) {
            rc = wt_fail(err, WT_E_FORMAT,
                         "%s:%u: a line is \"WATTS MODEL\", such as \"150 *V100*\"", path, number);
        } else if (fnmatch(rest, model, 0) == 0) {
            *ret_cap_mw = (int64_t)watts * 1000;
            rc = 0;
        }
    }
    free(text);
    return rc == WT_E_NOTFOUND ? wt_fail(err, rc, "%s: has no line for %s", path, model) : rc;
}

int wt_slurm_auto_own(char *buf, size_t size, struct wt_error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    char path[1100], *text, *word, *rest;
    unsigned number = 0;
    size_t used = 0;
    uint64_t watts;
    buf[0] = '\0';
    if (data && *data == '/')
        wt_text(path, sizeof(path), "%.1000s/wattune/slurm-auto", data);
    else if (home && *home == '/')
        wt_text(path, sizeof(path), "%.1000s/.local/share/wattune/slurm-auto", home);
    else
        return wt_fail(err, WT_E_NOTFOUND, "no home directory");
    int rc = read_table(path, &text, err);
    if (rc < 0)
        return rc;
    for (char *at = text; next_line(&at, &number, &word, &rest);) {
        if (parse_number(word, "W", WATTS_MAX, &watts) < 0 || !*rest || strchr(rest, ';') ||
            used + strlen(word) + strlen(rest) + 3 > size)
            continue;
        wt_text(buf + used, size - used, "%s%s %s", used ? ";" : "", word, rest);
        used += strlen(buf + used);
    }
    free(text);
    return used ? 0 : wt_fail(err, WT_E_NOTFOUND, "%s: is empty", path);
}

int wt_slurm_auto_pick(const char *list, const char *model, int64_t *ret_cap_mw)
{
    char word[24];
    uint64_t watts;
    for (size_t len; *list; list += len + (list[len] == ';')) {
        len = strcspn(list, ";");
        size_t n = strcspn(list, " ;");
        if (n >= len || n >= sizeof(word) || strlen(model) != len - n - 1 ||
            memcmp(list + n + 1, model, len - n - 1) != 0)
            continue;
        if (parse_number(wt_text(word, sizeof(word), "%.*s", (int)n, list), "W", WATTS_MAX,
                         &watts) < 0)
            continue;
        *ret_cap_mw = (int64_t)watts * 1000;
        return 0;
    }
    return WT_E_NOTFOUND;
}
