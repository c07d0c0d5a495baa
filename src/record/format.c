/* format: energies and times as people read them. */
#include <math.h>

#include "record/record.h"

struct scale {
    const char *unit;
    double factor;
};

static struct scale scale_of(double joules)
{
    static const struct scale scales[] = {
        {"GJ", 1e9}, {"MJ", 1e6}, {"kJ", 1e3}, {"J", 1}, {"mJ", 1e-3}};
    for (size_t i = 0; i < WT_COUNTOF(scales); i++)
        /* 999.6 J would round to 1000 J. */
        if (fabs(joules) >= 0.9995 * scales[i].factor)
            return scales[i];
    return joules == 0 ? (struct scale){"J", 1} : (struct scale){"uJ", 1e-6};
}

/* Decimals that leave three significant digits. */
static int decimals_of(double value)
{
    double size = fabs(value);
    return size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
}

const char *wt_format_joules(char *buf, size_t size, double joules)
{
    if (!isfinite(joules))
        return wt_text(buf, size, "unknown");
    struct wt_plain plain;
    wt_plain_enter(&plain);
    struct scale s = scale_of(joules);
    double value = joules / s.factor;
    wt_text(buf, size, "%.*f %s", decimals_of(value), value, s.unit);
    wt_plain_leave(&plain);
    return buf;
}

const char *wt_format_interval(char *buf, size_t size, const struct wt_joules *joules)
{
    if (joules->provenance == WT_PROV_UNKNOWN || !isfinite(joules->energy_j))
        return wt_text(buf, size, "unknown");
    struct wt_plain plain;
    wt_plain_enter(&plain);
    /* The largest decides the unit, so that 0.06 J [0.00, 1.99] is not told in thousands of mJ. */
    double size_j = fmax(fabs(joules->energy_j), fabs(joules->low_j));
    if (isfinite(joules->high_j))
        size_j = fmax(size_j, fabs(joules->high_j));
    struct scale s = scale_of(isfinite(size_j) ? size_j : joules->energy_j);
    double value = joules->energy_j / s.factor;
    double half = (joules->high_j - joules->low_j) / 2 / s.factor;
    int decimals = decimals_of(value);
    /* Two digits of the half width, within reason. */
    if (isfinite(half) && half > 0)
        decimals = (int)fmin(3, fmax(0, 1 - floor(log10(half))));
    if (isfinite(half))
        wt_text(buf, size, "%.*f %s [%.*f, %.*f]", decimals, value, s.unit, decimals,
                joules->low_j / s.factor, decimals, joules->high_j / s.factor);
    else
        wt_text(buf, size, "%.*f %s [no bound]", decimals, value, s.unit);
    wt_plain_leave(&plain);
    return buf;
}

const char *wt_format_seconds(char *buf, size_t size, double seconds)
{
    if (!isfinite(seconds))
        return wt_text(buf, size, "unknown");
    struct wt_plain plain;
    wt_plain_enter(&plain);
    long long whole = llround(seconds);
    if (seconds < 1)
        wt_text(buf, size, "%.3f s", seconds);
    else if (seconds < 99.95)
        wt_text(buf, size, "%.*f s", seconds < 9.995 ? 2 : 1, seconds);
    else if (whole < 3600)
        wt_text(buf, size, "%lld min %02lld s", whole / 60, whole % 60);
    else
        wt_text(buf, size, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
    wt_plain_leave(&plain);
    return buf;
}
