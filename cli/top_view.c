/* top_view: see top_view.h. */
#include "top_view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#define WIDTH_LEAST 24u
#define WIDE        76u /* from here a device is one line */
#define PROCESSES   32  /* that are listed */

static const char *const sort_names[] = {[TOP_BY_INDEX] = "device",
                                         [TOP_BY_POWER] = "power",
                                         [TOP_BY_ENERGY] = "energy",
                                         [TOP_BY_TEMPERATURE] = "temperature"};

const char *top_sort_name(enum top_sort sort)
{
    return sort_names[sort];
}

bool top_sort_parse(const char *name, enum top_sort *ret_sort)
{
    for (int i = 0; i < TOP_SORTS; i++)
        if (strcmp(name, sort_names[i]) == 0) {
            *ret_sort = (enum top_sort)i;
            return true;
        }
    return false;
}

/* ---- lines ---- */

/* What a terminal may be sent is left of a text, cut to so many columns. Returns the columns. */
static size_t clean(const struct top_view *v, char *text, size_t most)
{
    mbstate_t state = {0};
    size_t columns = 0, left = strlen(text);
    char *to = text;
    for (const char *from = text; left > 0 && columns < most;) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, from, left, &state);
        int width = n == (size_t)-1 || n == (size_t)-2 || n == 0 ? -1 : wcwidth(wide);
        if (width < 0 || (!v->is_utf8 && (unsigned char)*from >= 0x80)) {
            n = 1;
            state = (mbstate_t){0};
            *to++ = '?';
            columns++;
        } else if (columns + (size_t)width > most) {
            break;
        } else {
            memmove(to, from, n);
            to += n;
            columns += (size_t)width;
        }
        from += n;
        left -= n;
    }
    *to = '\0';
    return columns;
}

static void add(struct top_view *v, enum top_look look, const char *fmt, ...) WT_PRINTF(3, 4);
static void add(struct top_view *v, enum top_look look, const char *fmt, ...)
{
    if (v->count == v->room) {
        size_t room = v->room ? 2 * v->room : 64;
        struct top_line *more = realloc(v->lines, room * sizeof(*more));
        if (!more) {
            v->is_out_of_memory = true;
            return;
        }
        v->lines = more;
        v->room = room;
    }
    struct top_line *line = &v->lines[v->count++];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line->text, sizeof(line->text), fmt, args);
    va_end(args);
    line->look = look;
    clean(v, line->text, v->width);
}

/* A cell of so many columns, left or right in it. Returns buf. */
static const char *cell(const struct top_view *v, char *buf, size_t size, const char *text,
                        unsigned columns, bool is_right)
{
    char kept[160];
    snprintf(kept, sizeof(kept), "%s", text);
    size_t n = clean(v, kept, columns);
    int pad = (int)(columns - (n < columns ? n : columns));
    if (is_right)
        snprintf(buf, size, "%*s%s", pad, "", kept);
    else
        snprintf(buf, size, "%s%*s", kept, pad, "");
    return buf;
}

/* ---- numbers ---- */

static const char *watts(char *buf, size_t size, double w)
{
    if (!isfinite(w))
        snprintf(buf, size, "?");
    else if (w >= 10000)
        snprintf(buf, size, "%.2f kW", w / 1000);
    else
        snprintf(buf, size, w < 10 ? "%.1f W" : "%.0f W", w);
    return buf;
}

static const char *limit_of(const struct wt_live_device *d, char *buf, size_t size)
{
    if (!(d->status.has & WT_HAS_LIMIT))
        return "";
    return watts(buf, size, (double)d->status.power_limit_mw * 1e-3);
}

static const char *temperature_of(const struct wt_live_device *d, char *buf, size_t size)
{
    if (!(d->status.has & WT_HAS_TEMP))
        return "";
    snprintf(buf, size, "%.0f C", d->status.temp_mc * 1e-3);
    return buf;
}

/* Power against the limit, or against the most that it can draw. */
static const char *bar(const struct top_view *v, const struct wt_live_device *d, unsigned columns,
                       char *buf, size_t size)
{
    double most_w = d->status.has & WT_HAS_LIMIT ? (double)d->status.power_limit_mw * 1e-3
                                                 : (double)d->info->power_max_mw * 1e-3;
    size_t n = 0;
    buf[0] = '\0';
    if (!isfinite(d->power_w) || !(most_w > 0) || columns < 3)
        return buf;
    unsigned inner = columns - 2;
    unsigned full = (unsigned)lround(fmin(1, d->power_w / most_w) * inner);
    const char *block = v->is_utf8 ? "\u2588" : "#";
    n += (size_t)snprintf(buf, size, "[");
    for (unsigned i = 0; i < inner && n + 4 < size; i++)
        n += (size_t)snprintf(buf + n, size - n, "%s",
                              i < full     ? block
                              : v->is_utf8 ? "\u00b7"
                                           : ".");
    snprintf(buf + n, size - n, "]");
    return buf;
}

static const char *provenance_of(const struct wt_joules *j)
{
    return j->provenance == WT_PROV_UNKNOWN ? "" : wt_provenance_name(j->provenance);
}

/* Why it is held back, in few letters; "". */
static const char *held_back(const struct wt_live_device *d)
{
    uint64_t t = d->status.has & WT_HAS_THROTTLE ? d->status.throttle : 0;
    return t & WT_THROTTLE_THERMAL        ? "hot"
           : t & WT_THROTTLE_POWER_BRAKE  ? "brake"
           : t & WT_THROTTLE_POWER_CAP    ? "at limit"
           : t & WT_THROTTLE_LOCKED_CLOCK ? "locked"
                                          : "";
}

/* ---- parts ---- */

static int64_t key_of(const struct wt_live_device *d, enum top_sort sort)
{
    double value = sort == TOP_BY_POWER          ? d->power_w
                   : sort == TOP_BY_ENERGY       ? d->energy.energy_j
                   : d->status.has & WT_HAS_TEMP ? d->status.temp_mc * 1e-3
                                                 : NAN;
    return isfinite(value) ? (int64_t)(value * 1000) : -1;
}

/* Indices of the devices, in the order that was asked for. Owned. NULL: no memory. */
static size_t *order(const struct top_view *v, const struct wt_live_state *s)
{
    size_t *at = calloc(s->device_count + 1, sizeof(*at));
    for (size_t i = 0; at && i < s->device_count; i++) {
        size_t k = i;
        for (; k > 0 && v->sort != TOP_BY_INDEX &&
               key_of(&s->devices[at[k - 1]], v->sort) < key_of(&s->devices[i], v->sort);
             k--)
            at[k] = at[k - 1];
        at[k] = i;
    }
    return at;
}

static unsigned title_columns(const struct top_view *v, const struct wt_live_state *s)
{
    unsigned most = 6;
    for (size_t i = 0; i < s->device_count; i++) {
        unsigned n = (unsigned)strlen(s->devices[i].title);
        most = n > most ? n : most;
    }
    unsigned limit = v->width >= 100 ? 28 : v->width >= WIDE ? 16 : v->width / 3;
    return most < limit ? most : limit;
}

static void add_wide(struct top_view *v, const struct wt_live_device *d, unsigned title,
                     unsigned bars, unsigned energy)
{
    char a[256], b[64], c[256], e[64], f[64], g[256], text[256];
    add(v, TOP_PLAIN, "%s %s %s %s %s  %s %s%s%s", cell(v, a, sizeof(a), d->title, title, false),
        cell(v, b, sizeof(b), watts(text, sizeof(text), d->power_w), 7, true),
        cell(v, c, sizeof(c), bar(v, d, bars, text, sizeof(text)), bars, false),
        cell(v, e, sizeof(e), limit_of(d, text, sizeof(text)), 7, true),
        cell(v, f, sizeof(f), temperature_of(d, text, sizeof(text)), 5, true),
        cell(v, g, sizeof(g), wt_format_interval(text, sizeof(text), &d->energy), energy, false),
        provenance_of(&d->energy), held_back(d)[0] ? "  " : "", held_back(d));
}

static void add_narrow(struct top_view *v, const struct wt_live_device *d, unsigned title)
{
    char a[256], b[64], e[64], f[64], text[256];
    add(v, TOP_PLAIN, "%s %s %s %s", cell(v, a, sizeof(a), d->title, title, false),
        cell(v, b, sizeof(b), watts(text, sizeof(text), d->power_w), 7, true),
        cell(v, e, sizeof(e), limit_of(d, text, sizeof(text)), 7, true),
        cell(v, f, sizeof(f), temperature_of(d, text, sizeof(text)), 5, true));
    add(v, TOP_PLAIN, "  %s %s", wt_format_interval(text, sizeof(text), &d->energy),
        provenance_of(&d->energy));
}

static void add_devices(struct top_view *v, const struct wt_live_state *s)
{
    char a[256], c[64], g[256];
    unsigned title = title_columns(v, s), energy = v->width >= 96 ? 30 : 24, bars = 0;
    /* title, power 7, limit 7, temperature 5, energy, provenance 8, blanks. */
    unsigned taken = title + 7 + 7 + 5 + energy + 8 + 7;
    bars = v->width > taken + 4 ? v->width - taken : 0;
    bars = bars > 24 ? 24 : bars;
    size_t *at = order(v, s);
    if (!at) {
        v->is_out_of_memory = true;
        return;
    }
    if (v->width >= WIDE)
        add(v, TOP_REVERSE, "%s %7s %s %7s %5s  %s", cell(v, a, sizeof(a), "device", title, false),
            "power", cell(v, c, sizeof(c), "", bars, false), "limit", "temp",
            cell(v, g, sizeof(g), "energy since start", v->width, false));
    else
        add(v, TOP_REVERSE, "%s %7s %7s %5s%*s", cell(v, a, sizeof(a), "device", title, false),
            "power", "limit", "temp", (int)v->width, "");
    for (size_t i = 0; i < s->device_count; i++)
        if (v->width >= WIDE)
            add_wide(v, &s->devices[at[i]], title, bars, energy);
        else
            add_narrow(v, &s->devices[at[i]], title);
    if (!s->device_count)
        add(v, TOP_PLAIN, "nothing here can be read; `wattune doctor` says why");
    free(at);
}

static void add_head(struct top_view *v, const struct wt_live_state *s)
{
    char watt[32], energy[96], span[48], when[16];
    time_t t = (time_t)(s->unix_ns / 1000000000);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(when, sizeof(when), "%H:%M:%S", &tm);
    add(v, TOP_BOLD, "wattune top  %s  %s", when, s->host);
    if (s->unreal[0])
        add(v, TOP_BOLD, "%s%s%s: no real device is measured",
            strcmp(s->unreal, "emulated") == 0 ? "EMULATED" : "REPLAYED",
            s->emulation[0] ? " " : "", s->emulation);
    watts(watt, sizeof(watt), s->power_w);
    wt_format_interval(energy, sizeof(energy), &s->energy);
    wt_format_seconds(span, sizeof(span), (double)(s->unix_ns - s->start_unix_ns) * 1e-9);
    if (v->width >= WIDE) {
        add(v, TOP_PLAIN, "total  %s, %s %s in %s", watt, energy, provenance_of(&s->energy), span);
    } else {
        add(v, TOP_PLAIN, "total  %s in %s", watt, span);
        add(v, TOP_PLAIN, "  %s %s", energy, provenance_of(&s->energy));
    }
}

static void add_leases(struct top_view *v, const struct wt_live_state *s)
{
    if (s->is_daemon_silent) {
        add(v, TOP_PLAIN, "%s", "");
        add(v, TOP_BOLD, "%s", s->daemon_why);
    }
    if (!s->has_daemon && !s->lease_count)
        return;
    add(v, TOP_PLAIN, "%s", "");
    add(v, TOP_BOLD, "settings held by wattuned: %zu%s", s->lease_count + s->leases_unlisted,
        s->is_daemon_partial ? " of this user" : "");
    for (size_t i = 0; i < s->lease_count; i++) {
        const struct wt_live_lease *l = &s->leases[i];
        char value[48], effective[64] = "", job[32] = "", left[64] = "", text[48];
        const char *knob = wt_knob_name(l->knob);
        wt_knob_value_text(value, sizeof(value), l->knob, l->value);
        if (!l->is_set)
            snprintf(effective, sizeof(effective), " (not set yet)");
        else if (l->effective != l->value)
            snprintf(effective, sizeof(effective), " (%s holds)",
                     wt_knob_value_text(text, sizeof(text), l->knob, l->effective));
        if (l->job)
            snprintf(job, sizeof(job), ", job %u", l->job);
        if (isfinite(l->left_s))
            snprintf(left, sizeof(left), ", for %s",
                     wt_format_seconds(text, sizeof(text), l->left_s));
        add(v, TOP_PLAIN, "%s  %s %s%s  %s, %s %u%s%s%s", l->title[0] ? l->title : "?",
            knob ? knob : "?", value, effective, l->user, l->program, l->pid, job, left,
            l->is_unrestored ? ", STILL TO BE PUT BACK" : "");
    }
}

static void add_processes(struct top_view *v, const struct wt_live_state *s)
{
    char memory[32], busy[16], a[256], b[256];
    if (!s->process_count)
        return;
    bool is_wide = v->width >= WIDE;
    add(v, TOP_PLAIN, "%s", "");
    add(v, TOP_REVERSE, is_wide ? "%7s  %-12s %-8s %9s %5s  %s%*s" : "%7s  %.0s%-8s %.0s%5s  %s%*s",
        "pid", "user", "device", "memory", "busy", "program", (int)v->width, "");
    for (size_t i = 0; i < s->process_count && i < PROCESSES; i++) {
        const struct wt_live_process *p = &s->processes[i];
        const char *title = p->device < s->device_count ? s->devices[p->device].title : "?";
        char job[32] = "";
        memory[0] = '\0';
        snprintf(busy, sizeof(busy), "?");
        if (p->mem_bytes)
            snprintf(memory, sizeof(memory), "%.0f MiB", (double)p->mem_bytes / 1048576);
        if (isfinite(p->busy))
            snprintf(busy, sizeof(busy), "%.0f %%", p->busy * 100);
        if (p->job)
            snprintf(job, sizeof(job), "  job %u", p->job);
        cell(v, b, sizeof(b), title, 8, false);
        if (is_wide)
            add(v, TOP_PLAIN, "%7u  %s %s %9s %5s  %s%s", p->pid,
                cell(v, a, sizeof(a), p->user[0] ? p->user : "?", 12, false), b, memory, busy,
                p->program[0] ? p->program : "?", job);
        else
            add(v, TOP_PLAIN, "%7u  %s %5s  %s", p->pid, b, busy, p->program[0] ? p->program : "?");
    }
    if (s->process_count > PROCESSES)
        add(v, TOP_PLAIN, "and %zu more", s->process_count - PROCESSES);
}

static void add_problems(struct top_view *v, const struct wt_live_state *s)
{
    if (!s->problem_count)
        return;
    add(v, TOP_PLAIN, "%s", "");
    add(v, TOP_BOLD, "%s", "cannot be read");
    for (size_t i = 0; i < s->problem_count; i++)
        add(v, TOP_PLAIN, "%s: %s", s->problems[i].what, s->problems[i].why);
}

bool top_view_draw(struct top_view *v, const struct wt_live_state *s)
{
    v->count = 0;
    v->is_out_of_memory = false;
    if (v->width < WIDTH_LEAST)
        v->width = WIDTH_LEAST;
    add_head(v, s);
    add(v, TOP_PLAIN, "%s", "");
    add_devices(v, s);
    add_leases(v, s);
    add_processes(v, s);
    add_problems(v, s);
    return !v->is_out_of_memory;
}

bool top_view_help(struct top_view *v)
{
    static const char *const lines[] = {
        "q       end",
        "h, ?    this text, and back",
        "s       sort by the next column",
        "d p e t sort by device, power, energy, temperature",
        "up down scroll; also j and k, page up and page down",
        "Ctrl-L  draw all of it anew",
        "",
        "The bar is power against the limit. Energy is",
        "since the start of top, with its 95 % interval",
        "and where it comes from; ? is unknown.",
    };
    v->count = 0;
    v->is_out_of_memory = false;
    add(v, TOP_BOLD, "wattune top: keys (sorted by %s)", top_sort_name(v->sort));
    add(v, TOP_PLAIN, "%s", "");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        add(v, TOP_PLAIN, "%s", lines[i]);
    return !v->is_out_of_memory;
}

void top_view_done(struct top_view *v)
{
    free(v->lines);
    v->lines = NULL;
    v->count = v->room = 0;
}
