/* time: dates and moments in UTC, without the C library's time zone. */
#include <string.h>

#include "plan/signal.h"

int64_t wt_days_of(int64_t year, unsigned month, unsigned day)
{
    /* Years begin in March here, so that the leap day is a year's last. */
    int64_t y = year - (month <= 2);
    int64_t era = wt_floor_div(y, 400);
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void wt_date_of(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t z = days + 719468, era = wt_floor_div(z, 146097), d = z - era * 146097;
    int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    int64_t of_year = d - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    *ret_day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
    *ret_month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *ret_year = y + era * 400 + (*ret_month <= 2);
}

/* So many digits; -1: other characters. */
static int digits(const char **io_text, int count)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        char c = **io_text;
        if (c < '0' || c > '9')
            return -1;
        value = 10 * value + (c - '0');
        (*io_text)++;
    }
    return value;
}

static bool take(const char **io_text, char c)
{
    if (**io_text != c)
        return false;
    (*io_text)++;
    return true;
}

int wt_moment_parse(const char *text, int64_t *ret_s)
{
    static const unsigned days_in[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *p = text;
    int hour = 0, minute = 0, second = 0, offset_s = 0;
    int year = digits(&p, 4);
    if (year < 0 || !take(&p, '-'))
        return WT_E_FORMAT;
    int month = digits(&p, 2);
    if (month < 1 || month > 12 || !take(&p, '-'))
        return WT_E_FORMAT;
    int day = digits(&p, 2);
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || (unsigned)day > days_in[month - 1] + (month == 2 && is_leap))
        return WT_E_FORMAT;
    if (take(&p, 'T') || take(&p, ' ')) {
        hour = digits(&p, 2);
        if (hour < 0 || hour > 23 || !take(&p, ':'))
            return WT_E_FORMAT;
        minute = digits(&p, 2);
        if (minute < 0 || minute > 59)
            return WT_E_FORMAT;
        if (take(&p, ':')) {
            second = digits(&p, 2);
            if (second < 0 || second > 59)
                return WT_E_FORMAT;
            if (take(&p, '.')) { /* of a second: nothing here is so fine */
                if (!*p || !strchr("0123456789", *p))
                    return WT_E_FORMAT;
                p += strspn(p, "0123456789");
            }
        }
        bool is_west = *p == '-';
        if (take(&p, '+') || take(&p, '-')) {
            int hours = digits(&p, 2);
            take(&p, ':');
            int minutes = digits(&p, 2);
            if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
                return WT_E_FORMAT;
            offset_s = (hours * 3600 + minutes * 60) * (is_west ? -1 : 1);
        } else {
            take(&p, 'Z');
        }
    }
    if (*p)
        return WT_E_FORMAT;
    *ret_s = wt_days_of(year, (unsigned)month, (unsigned)day) * WT_DAY_S + hour * WT_HOUR_S +
             minute * 60 + second - offset_s;
    return 0;
}

const char *wt_span_text(char *buf, size_t size, int64_t span_s)
{
    if (span_s < 2 * WT_DAY_S)
        return wt_format_seconds(buf, size, (double)span_s);
    int64_t hours = (span_s + WT_HOUR_S / 2) / WT_HOUR_S;
    if (hours % 24)
        return wt_text(buf, size, "%lld d %lld h", (long long)(hours / 24),
                       (long long)(hours % 24));
    return wt_text(buf, size, "%lld d", (long long)(hours / 24));
}

const char *wt_moment_text(char *buf, size_t size, int64_t t_s)
{
    int64_t days = wt_floor_div(t_s, WT_DAY_S), of_day = t_s - days * WT_DAY_S, year;
    unsigned month, day;
    wt_date_of(days, &year, &month, &day);
    return wt_text(buf, size, "%04lld-%02u-%02uT%02d:%02d:%02dZ", (long long)year, month, day,
                   (int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60));
}
