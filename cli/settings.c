/* settings: what --set and durations mean on the command line. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_VALUES 256

static int complain(struct wt_error *err, const char *text, const char *why)
{
    snprintf(err->text, sizeof(err->text), "setting \"%.100s\": %s", text, why);
    snprintf(err->fix, sizeof(err->fix),
             "power=150, governor=powersave; a sweep also takes power=100,150,200 and "
             "power=100:250:25");
    return err->code = WT_E_USAGE;
}

/* A decimal number that ends where the word ends; the point is a point in every locale, because the
 * program never sets LC_NUMERIC. */
static bool read_number(const char *text, size_t len, double *ret)
{
    char word[32];
    if (!len || len >= sizeof(word))
        return false;
    memcpy(word, text, len);
    word[len] = '\0';
    if (strspn(word, "0123456789.") != len)
        return false;
    char *end;
    *ret = strtod(word, &end);
    return !*end && isfinite(*ret);
}

/* "100:250:25", "1200:2400:200". NULL, or what is wrong with it. */
static const char *parse_range(const char *text, struct cli_setting *s)
{
    double part[3];
    size_t n = 0;
    for (const char *p = text; n < 3; n++) {
        size_t len = strcspn(p, ":");
        if (!read_number(p, len, &part[n]))
            break;
        p += len;
        if (*p == ':')
            p++;
        else if (n < 2 || *p)
            break;
    }
    if (n != 3)
        return "a range is LO:HI:STEP";
    if (part[2] <= 0 || part[1] < part[0])
        return "LO must not be above HI and STEP must be above 0";
    if ((part[1] - part[0]) / part[2] >= MAX_VALUES || part[1] > 1e9)
        return "more than 256 values";
    for (double v = part[0]; v <= part[1] + part[2] * 1e-9; v += part[2])
        s->values[s->count++] = wt_knob_from_user(v);
    return NULL;
}

static const char *parse_list(const char *text, struct cli_setting *s)
{
    for (const char *p = text;; p++) {
        char word[32];
        size_t len = strcspn(p, ",");
        if (s->count == MAX_VALUES)
            return "more than 256 values";
        snprintf(word, sizeof(word), "%.*s", (int)len, p);
        if (!len || len >= sizeof(word) ||
            wt_knob_value_parse(s->knob, word, &s->values[s->count]) < 0 ||
            s->values[s->count++] < 0)
            return wt_knob_is_named(s->knob) ? "" : "a value is a number such as 150 or 1380";
        p += len;
        if (!*p)
            return NULL;
    }
}

/* "schedutil is none of performance, powersave, ...". */
static void list_names(enum wt_knob knob, char *buf, size_t size)
{
    const char *name;
    snprintf(buf, size, "a value is one of ");
    for (int64_t v = 1; (name = wt_knob_value_name(knob, v)); v++) {
        size_t used = strlen(buf);
        snprintf(buf + used, size - used, "%s%s", v > 1 ? ", " : "", name);
    }
    size_t used = strlen(buf);
    if (knob == WT_KNOB_EPP)
        snprintf(buf + used, size - used, ", or a number from 0 to 255");
}

int cli_setting_parse(const char *text, struct cli_setting *ret_setting, struct wt_error *err)
{
    struct cli_setting s = {0};
    const char *eq = strchr(text, '=');
    char name[32], names[200] = "knobs are ";
    if (!eq || eq == text || (size_t)(eq - text) >= sizeof(name))
        return complain(err, text, "is not KNOB=VALUE");
    snprintf(name, sizeof(name), "%.*s", (int)(eq - text), text);
    if (wt_knob_from_name(name, &s.knob) < 0) {
        for (int k = 1; k < WT_KNOB_COUNT; k++) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof(names) - used, "%s%s", k > 1 ? ", " : "",
                     wt_knob_name((enum wt_knob)k));
        }
        return complain(err, text, names);
    }
    if (!(s.values = calloc(MAX_VALUES, sizeof(*s.values)))) {
        err->code = WT_E_NOMEM;
        return WT_E_NOMEM;
    }
    const char *why = strchr(eq, ':') && !wt_knob_is_named(s.knob) ? parse_range(eq + 1, &s)
                                                                   : parse_list(eq + 1, &s);
    if (why && !*why) {
        list_names(s.knob, names, sizeof(names));
        why = names;
    }
    if (why) {
        free(s.values);
        return complain(err, text, why);
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

int cli_knob(const struct cli_bed *bed, size_t i, enum wt_knob knob, struct wt_knob_info *ret_info,
             struct wt_error *why, struct wt_error *err)
{
    const struct wt_device_info *info = wt_devices_info(bed->devices, i);
    if (info->kind != wt_knob_kind(knob) || info->is_part)
        return WT_E_UNSUPPORTED;
    int rc = wt_devices_knob(bed->devices, i, knob, ret_info, err);
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

int cli_duration_parse(const char *text, int64_t *ret_ns, struct wt_error *err)
{
    size_t len = strspn(text, "0123456789.");
    double value, unit = 1.0;
    bool ok = read_number(text, len, &value);
    if (strcmp(text + len, "m") == 0 || strcmp(text + len, "min") == 0)
        unit = 60;
    else if (strcmp(text + len, "h") == 0)
        unit = 3600;
    else if (strcmp(text + len, "d") == 0)
        unit = 86400;
    else if (strcmp(text + len, "ms") == 0)
        unit = 1e-3;
    else if (text[len] && strcmp(text + len, "s") != 0)
        ok = false;
    if (!ok || value * unit > 1e9) {
        snprintf(err->text, sizeof(err->text), "\"%.60s\" is no duration", text);
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
        !read_number(eq + 1, strlen(eq + 1), &value) || value < 1 || value > 1e15 ||
        value != floor(value)) {
        snprintf(err->text, sizeof(err->text), "--work %.60s: is not UNIT=N with a whole N", text);
        snprintf(err->fix, sizeof(err->fix), "--work tokens=4096");
        return err->code = WT_E_USAGE;
    }
    snprintf(unit, size, "%.*s", (int)(eq - text), text);
    *ret_count = (uint64_t)value;
    return 0;
}
