/* settings: what --set and durations mean on the command line. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

#define MAX_VALUES 256

static int complain(struct wt_error *err, const char *text, const char *fix, const char *fmt, ...)
    WT_PRINTF(4, 5);
static int complain(struct wt_error *err, const char *text, const char *fix, const char *fmt, ...)
{
    char why[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    snprintf(err->text, sizeof(err->text), "setting \"%.100s\": %s", text, why);
    snprintf(err->fix, sizeof(err->fix), "%s", fix);
    return err->code = WT_E_USAGE;
}

/* What one types for a knob, as an example of its form. */
static const char *sample(enum wt_knob knob, bool is_range)
{
    switch (knob) {
    case WT_KNOB_POWER:
        return is_range ? "100:250:25" : "150";
    case WT_KNOB_CLOCK:
        return is_range ? "900:1380:120" : "1380";
    case WT_KNOB_MEMCLOCK:
        return is_range ? "800:1200:200" : "877";
    case WT_KNOB_CPU_POWER:
        return is_range ? "60:120:20" : "95";
    case WT_KNOB_CPU_FREQ:
        return is_range ? "1200:2400:400" : "2400";
    case WT_KNOB_DRAM_POWER:
        return is_range ? "10:30:5" : "20";
    case WT_KNOB_GOVERNOR:
        return "powersave";
    case WT_KNOB_EPP:
        return "balance_power";
    }
    return "";
}

/* A decimal number that ends where the word ends; the point is a point in every locale, because the
 * program never sets LC_NUMERIC. */
bool cli_number_parse(const char *text, size_t len, double *ret_value)
{
    char word[32];
    if (!len || len >= sizeof(word))
        return false;
    memcpy(word, text, len);
    word[len] = '\0';
    if (strspn(word, "0123456789.") != len)
        return false;
    char *end;
    double value = strtod(word, &end);
    if (*end || !isfinite(value))
        return false;
    *ret_value = value;
    return true;
}

/* "100:250:25", "1200:2400:200". NULL, or what is wrong with it. */
static const char *parse_range(const char *text, struct cli_setting *s)
{
    double part[3];
    size_t n = 0;
    for (const char *p = text; n < 3; n++) {
        size_t len = strcspn(p, ":");
        if (!cli_number_parse(p, len, &part[n]))
            break;
        p += len;
        if (*p == ':')
            p++;
        else if (n < 2 || *p)
            break;
    }
    if (n != 3)
        return "a range is LO:HI:STEP, three numbers without a unit";
    if (part[2] <= 0 || part[1] < part[0])
        return "LO must not be above HI and STEP must be above 0";
    if ((part[1] - part[0]) / part[2] >= MAX_VALUES || part[1] > 1e9)
        return "more than 256 values";
    for (double v = part[0]; v <= part[1] + part[2] * 1e-9; v += part[2])
        s->values[s->count++] = wt_knob_from_user(v);
    return NULL;
}

/* "performance, powersave, ..., userspace": those there are anywhere. Which of them this machine
 * has is known once its devices are open, and said then. */
static void list_names(enum wt_knob knob, char *buf, size_t size)
{
    const char *name;
    buf[0] = '\0';
    for (int64_t v = 1; (name = wt_knob_value_name(knob, v)); v++) {
        size_t used = strlen(buf);
        snprintf(buf + used, size - used, "%s%s", v > 1 ? ", " : "", name);
    }
}

/* One word of a list is no value of the knob. */
static int complain_of_value(struct wt_error *err, const char *text, enum wt_knob knob,
                             const char *word)
{
    static const struct {
        const char *suffix;
        double factor; /* to W and MHz */
    } units[] = {{"w", 1},   {"watt", 1},  {"watts", 1},  {"kw", 1e3}, {"mw", 1e-3},
                 {"mhz", 1}, {"ghz", 1e3}, {"khz", 1e-3}, {"hz", 1e-6}};
    const char *name = wt_knob_name(knob);
    char fix[160], names[160], number[48];
    if (wt_knob_is_named(knob)) {
        bool is_number = strspn(word, "0123456789") == strlen(word);
        list_names(knob, names, sizeof(names));
        if (knob == WT_KNOB_EPP && is_number)
            return complain(err, text, "epp=128, or a name: epp=balance_power",
                            "%s is not from 0 to 255", word);
        snprintf(fix, sizeof(fix), "%s=%s; `wattune doctor` lists those of this machine", name,
                 sample(knob, false));
        return complain(err, text, fix, "\"%s\" is no %s; in general there are %s%s", word,
                        knob == WT_KNOB_EPP ? "preference" : "governor", names,
                        knob == WT_KNOB_EPP ? ", or a number from 0 to 255" : "");
    }
    size_t digits = strspn(word, "0123456789.");
    const char *suffix = word + digits + strspn(word + digits, " ");
    snprintf(fix, sizeof(fix), "%s=%s", name, sample(knob, false));
    double value;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (strcasecmp(suffix, units[i].suffix) == 0 && cli_number_parse(word, digits, &value)) {
            wt_knob_value_typed(number, sizeof(number), knob,
                                wt_knob_from_user(value * units[i].factor));
            snprintf(fix, sizeof(fix), "%s=%s", name, number);
        }
    return complain(err, text, fix, "\"%s\" is no number; %s is in %s, and the unit is not typed",
                    word, name, wt_knob_unit(knob));
}

static int parse_list(const char *text, const char *values, struct cli_setting *s,
                      struct wt_error *err)
{
    char fix[80];
    snprintf(fix, sizeof(fix), "%s=%s", wt_knob_name(s->knob), sample(s->knob, false));
    for (const char *p = values;; p++) {
        char word[32];
        size_t len = strcspn(p, ",");
        if (s->count == MAX_VALUES)
            return complain(err, text, fix, "more than 256 values");
        if (!len)
            return complain(err, text, fix, *values ? "an empty value" : "the value is missing");
        snprintf(word, sizeof(word), "%.*s", (int)len, p);
        if (len >= sizeof(word) || wt_knob_value_parse(s->knob, word, &s->values[s->count]) < 0 ||
            s->values[s->count++] < 0)
            return complain_of_value(err, text, s->knob, word);
        for (size_t i = 0; i + 1 < s->count; i++)
            if (s->values[i] == s->values[s->count - 1])
                return complain(err, text, fix, "%s is given twice", word);
        p += len;
        if (!*p)
            return 0;
    }
}

int cli_setting_parse(const char *text, struct cli_setting *ret_setting, struct wt_error *err)
{
    struct cli_setting s = {0};
    const char *eq = strchr(text, '=');
    char name[32], names[200] = "", fix[80];
    if (!eq || eq == text || (size_t)(eq - text) >= sizeof(name))
        return complain(err, text, "power=150, or governor=powersave", "is not KNOB=VALUE");
    snprintf(name, sizeof(name), "%.*s", (int)(eq - text), text);
    if (wt_knob_from_name(name, &s.knob) < 0) {
        for (int k = 1; k < WT_KNOB_COUNT; k++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%s", k > 1 ? ", " : "",
                     wt_knob_name((enum wt_knob)k));
        }
        return complain(err, text, "`wattune doctor` lists what can be set here",
                        "there is no knob \"%s\"; knobs are %s", name, names);
    }
    if (!(s.values = calloc(MAX_VALUES, sizeof(*s.values)))) {
        err->code = WT_E_NOMEM;
        return WT_E_NOMEM;
    }
    int rc = 0;
    if (strchr(eq, ':') && !wt_knob_is_named(s.knob)) {
        const char *why = parse_range(eq + 1, &s);
        snprintf(fix, sizeof(fix), "%s=%s", name, sample(s.knob, true));
        rc = why ? complain(err, text, fix, "%s", why) : 0;
    } else {
        rc = parse_list(text, eq + 1, &s, err);
    }
    if (rc < 0) {
        free(s.values);
        return rc;
    }
    *ret_setting = s;
    return 0;
}

void cli_setting_done(struct cli_setting *setting)
{
    free(setting->values);
    setting->values = NULL;
    setting->count = 0;
}

const char *cli_device_name(const struct wt_device_info *info, char *buf, size_t size)
{
    if (info->kind == WT_DEVICE_GPU && !info->is_part)
        snprintf(buf, size, "GPU %u (%s)", info->index, info->id);
    else
        snprintf(buf, size, "%s", info->id);
    return buf;
}

void cli_error_name(struct wt_error *err, const struct wt_device_info *info)
{
    char name[128], rest[sizeof(err->text)];
    char *at = info->id[0] ? strstr(err->text, info->id) : NULL;
    cli_device_name(info, name, sizeof(name));
    if (!at || (at >= err->text + 1 && at[-1] == '('))
        return;
    snprintf(rest, sizeof(rest), "%s", at + strlen(info->id));
    size_t used = (size_t)(at - err->text);
    snprintf(at, sizeof(err->text) - used, "%s%s", name, rest);
}

int cli_knob(const struct cli_bed *bed, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
             struct wt_error *why, struct wt_error *err)
{
    const struct wt_device_info *info = wt_devices_info(bed->devices, i);
    if (info->kind != wt_knob_kind(knob) || info->is_part)
        return WT_E_UNSUPPORTED;
    int rc = wt_lease_knob(bed->ctx, bed->devices, i, knob, ret_info, err);
    if (rc < 0)
        cli_error_name(err, info);
    if (rc == WT_E_UNSUPPORTED && !why->text[0])
        *why = *err;
    return rc;
}

int cli_no_knob(enum wt_knob knob, const struct wt_error *why, struct wt_error *err)
{
    snprintf(err->text, sizeof(err->text), "%s: no device here has this knob%s%.200s%s",
             wt_knob_name(knob), why->text[0] ? " (" : "", why->text, why->text[0] ? ")" : "");
    snprintf(err->fix, sizeof(err->fix), "%s",
             why->fix[0] ? why->fix : "`wattune doctor` lists what can be set");
    return err->code = WT_E_UNSUPPORTED;
}

int cli_duration_parse(const char *option, const char *text, int64_t *ret_ns, struct wt_error *err)
{
    size_t len = strspn(text, "0123456789.");
    double value, unit = 1.0;
    bool ok = cli_number_parse(text, len, &value);
    if (strcmp(text + len, "m") == 0 || strcmp(text + len, "min") == 0)
        unit = 60;
    else if (strcmp(text + len, "h") == 0)
        unit = 3600;
    else if (strcmp(text + len, "d") == 0)
        unit = 86400;
    else if (strcmp(text + len, "w") == 0)
        unit = 7 * 86400;
    else if (strcmp(text + len, "ms") == 0)
        unit = 1e-3;
    else if (text[len] && strcmp(text + len, "s") != 0)
        ok = false;
    if (ok && !text[len] && value > 0) {
        snprintf(err->text, sizeof(err->text), "%s%s%.60s: a time without a unit",
                 option ? option : "", option ? " " : "", text);
        snprintf(err->fix, sizeof(err->fix), "give one: %.60ss, %.60smin or %.60sh", text, text,
                 text);
        return err->code = WT_E_USAGE;
    }
    if (!ok || value * unit > 1e9) {
        snprintf(err->text, sizeof(err->text), "%s%s%.60s: is no duration", option ? option : "",
                 option ? " " : "", text);
        snprintf(err->fix, sizeof(err->fix), "100ms, 90s, 5m or 1.5h");
        return err->code = WT_E_USAGE;
    }
    *ret_ns = (int64_t)llround(value * unit * 1e9);
    return 0;
}

int cli_work_parse(const char *text, char *unit, size_t size, uint64_t *ret_count,
                   struct wt_error *err)
{
    const char *eq = strchr(text, '=');
    double value;
    if (!eq || eq == text || (size_t)(eq - text) >= size ||
        !cli_number_parse(eq + 1, strlen(eq + 1), &value) || value < 1 || value > 1e15 ||
        value != floor(value)) {
        snprintf(err->text, sizeof(err->text), "--work %.60s: is not UNIT=N with a whole N", text);
        snprintf(err->fix, sizeof(err->fix), "--work tokens=4096");
        return err->code = WT_E_USAGE;
    }
    snprintf(unit, size, "%.*s", (int)(eq - text), text);
    *ret_count = (uint64_t)value;
    return 0;
}
