/* UTF-8, and look-ups in the tables made by make-unicode. */
#include "workload/unicode.h"

#include <string.h>

#include "base/base.h"

struct wt_range {
    uint32_t from, to;
};
/* from..to every step-th: itself plus delta */
struct wt_fold_run {
    uint32_t from, to, step;
    int32_t delta;
};
struct wt_fold_list {
    uint32_t from;
    uint32_t to[WT_FOLD_MAX];
};
#include "workload/unicode_tables.h"

_Static_assert(UNICODE_FOLD_MAX == WT_FOLD_MAX, "the header and the tables disagree");

size_t wt_utf8_decode(const char *text, size_t size, uint32_t *ret_code)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = wt_utf8_length(text, size);
    uint32_t code = length > 1 ? s[0] & (0x7fu >> length) : s[0];
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (s[i] & 0x3fu);
    if (length)
        *ret_code = code;
    return length;
}

size_t wt_utf8_encode(uint32_t code, char *buf)
{
    unsigned char *s = (unsigned char *)buf;
    if (code < 0x80) {
        s[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        s[0] = (unsigned char)(0xc0 | code >> 6);
        s[1] = (unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        s[0] = (unsigned char)(0xe0 | code >> 12);
        s[1] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        s[2] = (unsigned char)(0x80 | (code & 0x3f));
        return 3;
    }
    s[0] = (unsigned char)(0xf0 | code >> 18);
    s[1] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
    s[2] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
    s[3] = (unsigned char)(0x80 | (code & 0x3f));
    return 4;
}

static bool is_in(const struct wt_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].to < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].from <= code;
}

/* BERT's list of ideograph blocks. */
bool wt_unicode_is_ideograph(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

enum wt_class wt_unicode_class(uint32_t code)
{
    if (code == 0xfffd || is_in(unicode_other, WT_COUNTOF(unicode_other), code))
        return WT_CLASS_DROP;
    if (is_in(unicode_space, WT_COUNTOF(unicode_space), code))
        return WT_CLASS_SPACE;
    if (wt_unicode_is_ideograph(code) ||
        is_in(unicode_punctuation, WT_COUNTOF(unicode_punctuation), code))
        return WT_CLASS_ALONE;
    return WT_CLASS_LETTER;
}

bool wt_unicode_is_letter(uint32_t code)
{
    if (code < 0x80)
        return (code | 32) >= 'a' && (code | 32) <= 'z';
    return is_in(unicode_letters, WT_COUNTOF(unicode_letters), code);
}

bool wt_unicode_is_number(uint32_t code)
{
    if (code < 0x80)
        return code >= '0' && code <= '9';
    return is_in(unicode_numbers, WT_COUNTOF(unicode_numbers), code);
}

bool wt_unicode_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

struct map {
    const struct wt_fold_run *runs;
    size_t run_count;
    const struct wt_fold_list *lists;
    size_t list_count;
};

static size_t look_up(const struct map *map, uint32_t code, uint32_t *out)
{
    size_t low = 0, high = map->run_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (map->runs[middle].to < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < map->run_count) {
        const struct wt_fold_run *r = &map->runs[low];
        if (r->from <= code && (code - r->from) % r->step == 0) {
            out[0] = (uint32_t)((int64_t)code + r->delta);
            return 1;
        }
    }
    low = 0;
    high = map->list_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (map->lists[middle].from < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < map->list_count && map->lists[low].from == code) {
        size_t n = 0;
        while (n < WT_FOLD_MAX && map->lists[low].to[n]) {
            out[n] = map->lists[low].to[n];
            n++;
        }
        return n;
    }
    out[0] = code;
    return 1;
}

size_t wt_unicode_lower(uint32_t code, uint32_t *out)
{
    static const struct map map = {unicode_lower_runs, WT_COUNTOF(unicode_lower_runs),
                                   unicode_lower_lists, WT_COUNTOF(unicode_lower_lists)};
    if (code < 0x80) {
        out[0] = code >= 'A' && code <= 'Z' ? code + 32 : code;
        return 1;
    }
    return look_up(&map, code, out);
}

size_t wt_unicode_strip(uint32_t code, uint32_t *out)
{
    static const struct map map = {unicode_strip_runs, WT_COUNTOF(unicode_strip_runs),
                                   unicode_strip_lists, WT_COUNTOF(unicode_strip_lists)};
    if (code < 0x80) {
        out[0] = code;
        return 1;
    }
    if (code >= 0xac00 && code <= 0xd7a3) { /* Unicode 3.12: leading, vowel, trailing */
        uint32_t s = code - 0xac00, trailing = s % 28;
        out[0] = 0x1100 + s / 588;
        out[1] = 0x1161 + s % 588 / 28;
        if (trailing)
            out[2] = 0x11a7 + trailing;
        return trailing ? 3 : 2;
    }
    if (is_in(unicode_marks, WT_COUNTOF(unicode_marks), code))
        return 0;
    return look_up(&map, code, out);
}

size_t wt_unicode_fold(uint32_t code, uint32_t *out)
{
    uint32_t lower[WT_FOLD_MAX], part[WT_FOLD_MAX];
    size_t count = wt_unicode_lower(code, lower), n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t more = wt_unicode_strip(lower[i], part);
        for (size_t k = 0; k < more && n < WT_FOLD_MAX; k++)
            out[n++] = part[k];
    }
    return n;
}
