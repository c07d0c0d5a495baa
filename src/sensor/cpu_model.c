/* cpu_model: see cpu_model.h; docs/model.md says where each number comes from.
 *
 * The catalogues are kept as the text they are: a name is looked for once when a machine is opened,
 * and a pass over 5,000 rows takes a millisecond or two. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue/sheet.h"
#include "sensor/cpu_model.h"

/* What is not known of the TDP itself, as a factor either way (95 %). docs/model.md. */
#define SPREAD_TDP_ESTIMATED     1.3  /* a cloud's own part, TDP from the closest public one */
#define SPREAD_THREADS_ESTIMATED 1.25 /* the same for its threads */
#define SPREAD_VIRTUAL           1.25 /* neighbours, SMT siblings and turbo cannot be seen */

/* ---- rows of a table ---- */

/* Field n of a line of CSV without quotes, cut to its room. */
static const char *field(const char *line, unsigned n, char *buf, size_t size)
{
    while (n--) {
        line += strcspn(line, ",\n");
        if (*line == ',')
            line++;
    }
    wt_text(buf, size, "%.*s", (int)strcspn(line, ",\n"), line);
    return buf;
}

static double number(const char *line, unsigned n)
{
    char buf[32];
    double value = 0;
    return wt_text_to_double(field(line, n, buf, sizeof(buf)), &value) < 0 ? 0 : value;
}

/* The line after this one, NULL past the last; the first line of a table is its header. */
static const char *next_line(const char *line)
{
    line = strchr(line, '\n');
    return line && line[1] ? line + 1 : NULL;
}

/* ---- names ---- */

static bool is_noise(const char *word)
{
    static const char *const words[] = {"intel", "amd",    "cpu",    "processor", "core", "cores",
                                        "apu",   "gen",    "oem",    "only",      "dual", "quad",
                                        "six",   "eight",  "twelve", "sixteen",   "aws",  "nvidia",
                                        "tesla", "quadro", "ampere", "instinct",  "tm",   "r"};
    for (size_t i = 0; i < WT_COUNTOF(words); i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    /* "12th" of "12th Gen" */
    size_t n = strspn(word, "0123456789");
    return n > 0 && n <= 2 && strcmp(word + n, "th") == 0;
}

static bool is_word_char(int c)
{
    return isalnum(c) || c == '+' || c == '.';
}

/* What tells processors apart in a name, in small letters, words by single spaces: "Intel(R)
 * Xeon(R) CPU E5-2620 v3 @ 2.40GHz" is "xeon e5 2620 v3", "AMD EPYC 8024P 8-Core Processor" is
 * "epyc 8024p". */
static void key_from(const char *name, char *buf, size_t size)
{
    size_t used = 0, last = 0; /* last: where the word before begins */
    buf[0] = '\0';
    while (*name && *name != '@' && *name != ',') {
        if (!is_word_char((unsigned char)*name)) {
            name++;
            continue;
        }
        char word[32];
        size_t n = 0;
        for (; is_word_char((unsigned char)*name); name++)
            if (n + 1 < sizeof(word))
                word[n++] = (char)tolower((unsigned char)*name);
        word[n] = '\0';
        if (strcmp(word, "with") == 0 || (strcmp(word, "w") == 0 && *name == '/'))
            break;
        /* "8-Core": the number goes too. "Core 2" does not come this way. */
        bool is_count = strcmp(word, "core") == 0 && used > last &&
                        strspn(buf + last, "0123456789") == used - last && used - last <= 3 &&
                        last > 0;
        if (is_count) {
            used = last - 1;
            buf[used] = '\0';
            last = used;
        }
        if (is_noise(word) || used + n + 2 > size)
            continue;
        if (used)
            buf[used++] = ' ';
        last = used;
        memcpy(buf + used, word, n + 1);
        used += n;
    }
}

/* How well a catalogue's key fits a machine's: its length, 0 when it does not. What the machine
 * says beyond it is chatter ("0" of "E5-2670 0"), unless it is a version or the key is no model. */
static size_t fit(const char *key, const char *of)
{
    size_t n = strlen(key);
    if (n == 0 || strncmp(key, of, n) != 0)
        return 0;
    if (of[n] == '\0')
        return n;
    size_t digits = 0;
    for (const char *p = key; *p; p++)
        digits += isdigit((unsigned char)*p) != 0;
    bool is_version = of[n] == ' ' && of[n + 1] == 'v' && isdigit((unsigned char)of[n + 2]);
    return of[n] == ' ' && digits >= 2 && !is_version ? n : 0;
}

static const char *find_name(const char *table, const char *name)
{
    char want[96], key[96];
    key_from(name, want, sizeof(want));
    if (!*want)
        return NULL;
    const char *best = NULL;
    size_t best_fit = 0;
    for (const char *line = next_line(table); line; line = next_line(line)) {
        key_from(line, key, sizeof(key)); /* its first field: a name ends at a comma */
        size_t n = fit(key, want);
        if (n > best_fit) {
            best = line;
            best_fit = n;
        }
    }
    return best;
}

/* ---- who it is ---- */

/* The value of "key : value" at the first line that has it. */
static bool value_of(const char *text, const char *key, char *buf, size_t size)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = next_line(line)) {
        if (strncmp(line, key, n) != 0)
            continue;
        const char *p = line + n + strspn(line + n, " \t");
        if (*p != ':')
            continue;
        p += 1 + strspn(p + 1, " \t");
        wt_text(buf, size, "%.*s", (int)strcspn(p, "\n"), p);
        return true;
    }
    return false;
}

static unsigned number_of(const char *text, const char *key)
{
    char buf[32];
    return value_of(text, key, buf, sizeof(buf)) ? (unsigned)strtoul(buf, NULL, 0) : 0;
}

void wt_cpu_identity_from(const char *cpuinfo, struct wt_cpu_identity *ret_identity)
{
    struct wt_cpu_identity *id = ret_identity;
    *id = (struct wt_cpu_identity){0};
    (void)value_of(cpuinfo, "model name", id->name, sizeof(id->name));
    if (value_of(cpuinfo, "vendor_id", id->vendor, sizeof(id->vendor))) {
        id->family = number_of(cpuinfo, "cpu family");
        id->model = number_of(cpuinfo, "model");
    } else if (value_of(cpuinfo, "CPU implementer", id->vendor, sizeof(id->vendor))) {
        id->family = number_of(cpuinfo, "CPU architecture");
        id->model = number_of(cpuinfo, "CPU part");
    }
    char flags[4096];
    id->is_virtual =
        value_of(cpuinfo, "flags", flags, sizeof(flags)) && strstr(flags, "hypervisor") != NULL;
}

static const char *find_platform(const struct wt_cpu_identity *id)
{
    char vendor[16];
    for (const char *line = next_line(wt_asset_cpu_platforms); line; line = next_line(line))
        if (strcmp(field(line, 0, vendor, sizeof(vendor)), id->vendor) == 0 &&
            (unsigned)number(line, 1) == id->family && id->model >= (unsigned)number(line, 2) &&
            id->model <= (unsigned)number(line, 3))
            return line;
    return NULL;
}

/* ---- the model ---- */

enum {
    F_NAME,
    F_IDLE,
    F_FULL,
    F_CURVE,
    F_SCALE = 5,
    F_LOW_SHARE = 7,
    F_LOW_OFFSET,
    F_HIGH_SHARE,
    F_HIGH_OFFSET,
    F_CAP,
    F_FREQ_WEIGHT = 13,
    F_W_PER_THREAD = 15,
    F_THREAD_SPREAD,
};

static const char *family_row(const char *name)
{
    char cell[16];
    const char *last = NULL;
    for (const char *line = next_line(wt_asset_cpu_families); line; line = next_line(line)) {
        last = line; /* "unknown" */
        if (strcmp(field(line, F_NAME, cell, sizeof(cell)), name) == 0)
            break;
    }
    return last;
}

/* A guess at the family of a processor that no table has. */
static const char *family_guess(const struct wt_cpu_identity *id)
{
    if (strstr(id->name, "Xeon"))
        return "intel-server";
    if (strstr(id->name, "EPYC") || strstr(id->name, "Threadripper"))
        return "amd-server";
    if (strncmp(id->vendor, "0x", 2) == 0)
        return id->threads_seen > 16 || id->is_virtual ? "arm-server" : "embedded";
    if (strstr(id->name, "Ryzen"))
        return "amd-desktop";
    if (strstr(id->name, "Intel") && strstr(id->name, "Core"))
        return "intel-desktop";
    return "unknown";
}

/* Uncertainties of one product: their logarithms add as squares. */
static void widen(double *log2, double factor)
{
    *log2 += log(factor) * log(factor);
}

void wt_cpu_model_find(const struct wt_cpu_identity *identity, struct wt_cpu_model *ret_model)
{
    struct wt_cpu_model *m = ret_model;
    *m = (struct wt_cpu_model){0};
    char cell[64], how[96] = "", family[16];
    unsigned sockets = identity->sockets ? identity->sockets : 1;
    unsigned seen = identity->threads_seen ? identity->threads_seen : 1;
    const char *row = find_name(wt_asset_cpus, identity->name), *platform = find_platform(identity);
    double tdp_w = 0, log2 = 0; /* of one package */
    unsigned threads = identity->threads_total;
    bool is_estimate = false;

    if (row) {
        m->known = WT_CPU_BY_NAME;
        field(row, 0, m->name, sizeof(m->name));
        field(row, 5, family, sizeof(family));
        tdp_w = number(row, 1);
        is_estimate = strcmp(field(row, 2, cell, sizeof(cell)), "e") == 0;
        if (is_estimate)
            widen(&log2, SPREAD_TDP_ESTIMATED);
        if (!threads && (threads = (unsigned)number(row, 3)) && identity->is_virtual &&
            strcmp(field(row, 4, cell, sizeof(cell)), "e") == 0)
            widen(&log2, SPREAD_THREADS_ESTIMATED);
    } else if (platform) {
        m->known = WT_CPU_BY_PLATFORM;
        field(platform, 4, m->name, sizeof(m->name));
        field(platform, 5, family, sizeof(family));
        widen(&log2, number(platform, 8));
    } else {
        m->known = WT_CPU_BY_THREADS;
        wt_text(family, sizeof(family), "%s", family_guess(identity));
        wt_text(m->name, sizeof(m->name), "%s", *identity->name ? identity->name : "unknown CPU");
    }
    const char *f = family_row(family);
    field(f, F_NAME, m->family, sizeof(m->family));

    double part_w; /* of this machine */
    if (row && !identity->is_virtual) {
        part_w = tdp_w * sockets;
        wt_text(how, sizeof(how), "TDP %g W%s x %u", tdp_w, is_estimate ? " (estimated)" : "",
                sockets);
    } else if (row && threads) {
        part_w = tdp_w * seen / threads;
        wt_text(how, sizeof(how), "TDP %g W%s x %u of %u threads", tdp_w,
                is_estimate ? " (estimated)" : "", seen, threads);
    } else if (platform) {
        /* The name may have no threads in the catalogue: its generation's watts a thread. */
        double each_w = number(platform, 6) / number(platform, 7);
        if (row)
            widen(&log2, number(platform, 8));
        part_w = each_w * seen;
        wt_text(how, sizeof(how), "%.2g W a thread x %u, by its generation", each_w, seen);
    } else {
        double each_w = number(f, F_W_PER_THREAD);
        widen(&log2, number(f, F_THREAD_SPREAD));
        part_w = each_w * seen;
        wt_text(how, sizeof(how), "%.2g W a thread x %u, by its class", each_w, seen);
    }
    if (identity->is_virtual)
        widen(&log2, SPREAD_VIRTUAL);

    m->threads = threads;
    m->tdp_mw = (uint64_t)llround(part_w * 1e3);
    m->spread = exp(sqrt(log2));
    m->idle = number(f, F_IDLE);
    m->full = number(f, F_FULL);
    m->curve = number(f, F_CURVE);
    m->scale = number(f, F_SCALE);
    m->freq_weight = number(f, F_FREQ_WEIGHT);
    m->low_share = 1 - (1 - number(f, F_LOW_SHARE)) / m->spread;
    m->high_share = (1 + number(f, F_HIGH_SHARE)) * m->spread - 1;
    m->low_mw = (uint64_t)llround(part_w * 1e3 * number(f, F_LOW_OFFSET) / m->spread);
    m->high_mw = (uint64_t)llround(part_w * 1e3 * number(f, F_HIGH_OFFSET) * m->spread);
    m->cap_mw = (uint64_t)llround(part_w * 1e3 * number(f, F_CAP) * m->spread);
    wt_text(m->source, sizeof(m->source), "%s: %s, as %s, %.2f to %.2f of it by load", m->name, how,
            m->family, m->idle * m->scale, m->full * m->scale);
}

static double clamp(double x, double low, double high)
{
    return x >= low ? (x <= high ? x : high) : low; /* NaN is low */
}

static struct wt_power_band band(double low_w, double mid_w, double high_w)
{
    low_w = clamp(low_w, 0, mid_w);
    high_w = high_w > mid_w ? high_w : mid_w;
    return (struct wt_power_band){(uint64_t)(low_w * 1e3), (uint64_t)llround(mid_w * 1e3),
                                  (uint64_t)ceil(high_w * 1e3)};
}

struct wt_power_band wt_cpu_model_power(const struct wt_cpu_model *model, double load, double freq)
{
    load = clamp(load, 0, 1);
    double slow = isnan(freq) ? 0 : 1 - clamp(freq, 0, 1);
    double rise = pow(load, model->curve) * (1 - model->freq_weight * slow);
    double tdp_w = wt_w_from_mw(model->tdp_mw);
    double mid_w = tdp_w * model->scale * (model->idle + (model->full - model->idle) * rise);
    double low_w = mid_w * (1 - model->low_share) - wt_w_from_mw(model->low_mw);
    double high_w = mid_w * (1 + model->high_share) + wt_w_from_mw(model->high_mw);
    return band(low_w, mid_w, fmin(high_w, wt_w_from_mw(model->cap_mw)));
}

struct wt_power_band wt_dram_model_power(uint64_t mem_bytes, bool is_server)
{
    double gb = (double)mem_bytes * 1e-9;
    return is_server ? band(0.05 * gb, 0.284 * gb, 0.6 * gb) : band(0.02 * gb, 0.15 * gb, 0.5 * gb);
}

int wt_gpu_model_power(const char *name, uint64_t tdp_mw, double util,
                       struct wt_power_band *ret_band, struct wt_error *err)
{
    const char *row = name ? find_name(wt_asset_gpus, name) : NULL;
    double tdp_w = tdp_mw ? wt_w_from_mw(tdp_mw) : row ? number(row, 1) : 0;
    if (!(tdp_w > 0))
        return wt_fail(err, WT_E_NOTFOUND, "no power limit can be read and \"%s\" is in no table",
                       name ? name : "");
    double idle_w = row ? number(row, 3) : 0;
    if (!(idle_w > 0))
        idle_w = 0.12 * tdp_w;
    /* With a program on it and no kernel running it draws far more than bare idle (an H100 110 W
     * against 35). A kernel may run all the time and draw 15 % of the limit, or all of it. */
    util = clamp(util, 0, 1);
    double loaded_w = fmax(3 * idle_w, 0.3 * tdp_w);
    double low_w = 0.5 * idle_w + (fmax(0.15 * tdp_w, 0.5 * idle_w) - 0.5 * idle_w) * util;
    double mid_w = idle_w + (fmax(0.75 * tdp_w, idle_w) - idle_w) * util;
    double high_w = loaded_w + (fmax(1.05 * tdp_w, loaded_w) - loaded_w) * util;
    *ret_band = band(low_w, mid_w, high_w);
    return 0;
}

/* Each edge of the band and its middle are straight lines over the utilisation, so that an edge is
 * a share of the middle and a constant that hold at both ends. */
int wt_gpu_model_traits(const char *name, uint64_t tdp_mw, struct wt_sensor_traits *io_traits,
                        struct wt_error *err)
{
    struct wt_power_band idle, full;
    int rc = wt_gpu_model_power(name, tdp_mw, 0, &idle, err);
    if (rc == 0)
        rc = wt_gpu_model_power(name, tdp_mw, 1, &full, err);
    if (rc < 0)
        return rc;
    double rise = fmax(1, (double)full.mid_mw - (double)idle.mid_mw);
    double low = 1 - ((double)full.low_mw - (double)idle.low_mw) / rise;
    double high = fmax(0, ((double)full.high_mw - (double)idle.high_mw) / rise - 1);
    double low_mw = (double)idle.mid_mw * (1 - low) - (double)idle.low_mw;
    double high_mw = fmax((double)idle.high_mw - (double)idle.mid_mw * (1 + high),
                          (double)full.high_mw - (double)full.mid_mw * (1 + high));
    wt_model_traits(io_traits, clamp(low, 0, 1), (uint64_t)fmax(0, ceil(low_mw)), high,
                    (uint64_t)fmax(0, ceil(high_mw)));
    return 0;
}

void wt_model_traits(struct wt_sensor_traits *t, double low_share, uint64_t low_mw,
                     double high_share, uint64_t high_mw)
{
    t->model_low_ppm = (uint32_t)llround(1e6 * fmin(1, low_share));
    t->model_high_ppm = (uint32_t)llround(1e6 * fmin(4000, high_share));
    t->model_low_mw = low_mw > UINT32_MAX ? UINT32_MAX : (uint32_t)low_mw;
    t->model_high_mw = high_mw > UINT32_MAX ? UINT32_MAX : (uint32_t)high_mw;
    /* For whoever knows sensors only: the wider side. */
    t->gain_ppm = t->model_low_ppm > t->model_high_ppm ? t->model_low_ppm : t->model_high_ppm;
    t->offset_mw = t->model_low_mw > t->model_high_mw ? t->model_low_mw : t->model_high_mw;
}
