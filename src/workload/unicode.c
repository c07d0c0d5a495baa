/* UTF-8, and look-ups in the tables made by make-unicode. */
#include "workload/unicode.h"
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
    if (s[0] < 0x80) {
        *ret_code = s[0];
        return 1;
    }
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > size)
        return 0;
    uint32_t code = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if ((length == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) ||
        (length == 4 && (code < 0x10000 || code > 0x10ffff)))
        return 0;
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
static bool is_ideograph(uint32_t c)
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
    if (is_ideograph(code) || is_in(unicode_punctuation, WT_COUNTOF(unicode_punctuation), code))
        return WT_CLASS_ALONE;
    return WT_CLASS_LETTER;
}

size_t wt_unicode_fold(uint32_t code, uint32_t *out)
{
    if (code < 0x80) {
        out[0] = code >= 'A' && code <= 'Z' ? code + 32 : code;
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
    size_t low = 0, high = WT_COUNTOF(unicode_runs);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unicode_runs[middle].to < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < WT_COUNTOF(unicode_runs)) {
        const struct wt_fold_run *r = &unicode_runs[low];
        if (r->from <= code && (code - r->from) % r->step == 0) {
            out[0] = (uint32_t)((int64_t)code + r->delta);
            return 1;
        }
    }
    low = 0;
    high = WT_COUNTOF(unicode_lists);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unicode_lists[middle].from < code)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < WT_COUNTOF(unicode_lists) && unicode_lists[low].from == code) {
        size_t n = 0;
        while (n < WT_FOLD_MAX && unicode_lists[low].to[n]) {
            out[n] = unicode_lists[low].to[n];
            n++;
        }
        return n;
    }
    out[0] = code;
    return 1;
}
