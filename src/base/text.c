/* text: strings in fixed buffers, and numbers out of strings that hold nothing else. */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

char *wt_text(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(buf, size, fmt, args) < 0 && size)
        buf[0] = '\0';
    va_end(args);
    return buf;
}

int wt_text_to_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (!*text)
        return WT_E_FORMAT;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return WT_E_FORMAT;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return WT_E_RANGE;
    }
    *ret_value = value;
    return 0;
}

int wt_text_to_double(const char *text, double *ret_value)
{
    /* strtod reads hexadecimal, "inf", and leading blanks, and obeys the locale; a user means none
     * of these. */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return WT_E_FORMAT;
    static locale_t c_locale;
    locale_t loc = __atomic_load_n(&c_locale, __ATOMIC_ACQUIRE);
    if (!loc) {
        loc = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        locale_t none = (locale_t)0;
        if (!loc)
            return WT_E_NOMEM;
        if (!__atomic_compare_exchange_n(&c_locale, &none, loc, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            freelocale(loc);
            loc = none;
        }
    }
    char *end;
    errno = 0;
    double value = strtod_l(text, &end, loc);
    if (*end)
        return WT_E_FORMAT;
    if (errno == ERANGE || !isfinite(value))
        return WT_E_RANGE;
    *ret_value = value;
    return 0;
}

char *wt_text_field(char **io_line)
{
    char *field = *io_line;
    if (!field)
        return NULL;
    char *comma = strchr(field, ',');
    *io_line = comma ? comma + 1 : NULL;
    if (comma)
        *comma = '\0';
    field += strspn(field, " \t\r\n");
    size_t n = strlen(field);
    while (n && strchr(" \t\r\n", field[n - 1]))
        field[--n] = '\0';
    if (n >= 2 && field[0] == '"' && field[n - 1] == '"') { /* as spreadsheets write words */
        field[n - 1] = '\0';
        field++;
    }
    return field;
}

bool wt_text_ends_in(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

size_t wt_utf8_mark(const char *text, size_t size)
{
    return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

char *wt_text_after_mark(char *line)
{
    return line + wt_utf8_mark(line, strlen(line));
}

const char *wt_text_flaw(const char *bytes, size_t size, bool is_begin)
{
    if (!size || !memchr(bytes, '\0', size))
        return NULL;
    bool is_wide = is_begin && size >= 2 &&
                   (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0 ||
                    !bytes[0] || !bytes[1]);
    return is_wide ? "it is UTF-16" : "it holds NUL bytes: it is no text";
}

size_t wt_text_line(char *buf, size_t size, FILE *in)
{
    size_t n = 0;
    for (int c = 0; n + 1 < size && c != '\n' && (c = getc(in)) != EOF;)
        buf[n++] = (char)c;
    buf[n] = '\0';
    return n;
}

size_t wt_utf8_length(const char *text, size_t size)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > size)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

int wt_texts_add(char ***io_texts, size_t *io_count, const char *fmt, va_list args)
{
    char **more = reallocarray(*io_texts, *io_count + 1, sizeof(*more));
    if (!more)
        return WT_E_NOMEM;
    *io_texts = more;
    if (vasprintf(&more[*io_count], fmt, args) < 0)
        return WT_E_NOMEM;
    ++*io_count;
    return 0;
}

const char *wt_grouped(char *buf, size_t size, uint64_t count)
{
    char digits[32];
    wt_text(digits, sizeof(digits), "%llu", (unsigned long long)count);
    size_t n = strlen(digits), used = 0;
    for (size_t i = 0; i < n && used + 2 < size; i++) {
        if (i && (n - i) % 3 == 0)
            buf[used++] = ',';
        buf[used++] = digits[i];
    }
    buf[used] = '\0';
    return buf;
}
