/* fault: the grammar of faults. */
#include <limits.h>
#include <string.h>

#include "emulator/fault.h"

static const struct {
    const char *name;
    enum wt_fault_kind kind;
    unsigned calls; /* without a FUNCTION, calls with any of these bits */
} kinds[] = {
    {"denied", WT_FAULT_DENIED, WT_CALL_SET},
    {"lost", WT_FAULT_LOST, WT_CALL_DEVICE},
    {"hang", WT_FAULT_HANG, WT_CALL_DEVICE},
    {"unsupported", WT_FAULT_UNSUPPORTED, WT_CALL_DEVICE},
    {"unknown", WT_FAULT_UNKNOWN, WT_CALL_DEVICE},
    {"reset", WT_FAULT_RESET, WT_CALL_ENERGY},
    {"jump", WT_FAULT_JUMP, WT_CALL_ENERGY},
    {"frozen", WT_FAULT_FROZEN, WT_CALL_SENSOR},
    {"garbage", WT_FAULT_GARBAGE, WT_CALL_SENSOR},
    {"slow", WT_FAULT_SLOW, WT_CALL_ENERGY},
};

const char *wt_fault_kind_name(enum wt_fault_kind kind)
{
    for (size_t i = 0; i < WT_COUNTOF(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "no such fault";
}

/* "5s", "250ms", "1.5s", "2m": a time; false when it is none. */
static bool read_time(const char *text, int64_t *ret_ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"s", 1e9}, {"m", 60e9}};
    size_t digits = strspn(text, "0123456789.");
    char number[32];
    double value;
    if (digits == 0 || digits >= sizeof(number))
        return false;
    memcpy(number, text, digits);
    number[digits] = '\0';
    if (wt_text_to_double(number, &value) < 0)
        return false;
    for (size_t i = 0; i < WT_COUNTOF(units); i++)
        if (strcmp(text + digits, units[i].unit) == 0 && value * units[i].ns < 9e18) {
            *ret_ns = (int64_t)(value * units[i].ns);
            return true;
        }
    return false;
}

/* WHEN: "5s", "5s+2s", "#3", "#3+2". */
static int read_when(const char *fault, char *when, struct wt_fault *f, struct wt_error *err)
{
    char *span = strchr(when, '+');
    if (span)
        *span++ = '\0';
    if (when[0] == '#') {
        f->is_by_call = true;
        f->call_span = UINT64_MAX;
        if (wt_text_to_u64(when + 1, &f->at_call) < 0 || f->at_call == 0)
            return wt_fail(err, WT_E_USAGE, "fault %s: \"%s\" is no call number", fault, when);
        if (span && (wt_text_to_u64(span, &f->call_span) < 0 || f->call_span == 0))
            return wt_fail(err, WT_E_USAGE, "fault %s: \"+%s\" is no number of calls", fault, span);
        return 0;
    }
    if (!read_time(when, &f->at_ns))
        return wt_fail(err, WT_E_USAGE, "fault %s: \"@%s\" is neither a time nor a call number",
                       fault, when);
    if (span && !read_time(span, &f->span_ns))
        return wt_fail(err, WT_E_USAGE, "fault %s: \"+%s\" is no time", fault, span);
    return 0;
}

static int read_part(const char *fault, const char *part, struct wt_fault *f, struct wt_error *err)
{
    if (strncmp(part, "gpu=", 4) == 0) {
        uint64_t gpu;
        if (wt_text_to_u64(part + 4, &gpu) < 0 || gpu > 1023)
            return wt_fail(err, WT_E_USAGE, "fault %s: \"%s\" names no GPU", fault, part);
        f->gpu = (int32_t)gpu;
        return 0;
    }
    size_t len = strspn(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (strncmp(part, "nvml", 4) != 0 || (part[len] && strcmp(part + len, "*") != 0) ||
        strlen(part) >= sizeof(f->function))
        return wt_fail(err, WT_E_USAGE,
                       "fault %s: \"%s\" is neither gpu=N nor the name of an NVML function", fault,
                       part);
    wt_text(f->function, sizeof(f->function), "%s", part);
    return 0;
}

int wt_fault_parse(const char **text, struct wt_fault *ret_fault, struct wt_error *err)
{
    struct wt_fault f = {.gpu = -1, .span_ns = INT64_MAX};
    char whole[160], parts[160];
    size_t len = strcspn(*text, ",");
    int rc = 0;

    if (len >= sizeof(whole))
        return wt_fail(err, WT_E_USAGE, "fault %.40s...: too long", *text);
    wt_text(whole, sizeof(whole), "%.*s", (int)len, *text);
    wt_text(parts, sizeof(parts), "%s", whole);

    char *next = strchr(parts, ':');
    if (next)
        *next++ = '\0';
    char *when = strchr(parts, '@');
    if (when)
        *when++ = '\0';
    size_t k = 0;
    while (k < WT_COUNTOF(kinds) && strcmp(parts, kinds[k].name) != 0)
        k++;
    if (k == WT_COUNTOF(kinds)) {
        rc = wt_fail(err, WT_E_USAGE, "fault %s: there is no kind \"%s\"", whole, parts);
        goto out;
    }
    f.kind = kinds[k].kind;
    if (when && (rc = read_when(whole, when, &f, err)) < 0)
        goto out;
    while (next) {
        char *part = next;
        next = strchr(part, ':');
        if (next)
            *next++ = '\0';
        if ((rc = read_part(whole, part, &f, err)) < 0)
            goto out;
    }
    *text += len + ((*text)[len] == ',');
    *ret_fault = f;
    return 0;
out:
    wt_fix(err,
           "KIND[@TIME[+TIME]|@#CALL[+CALLS]][:gpu=N][:FUNCTION], KIND one of denied lost "
           "hang unsupported unknown reset jump frozen garbage slow, as in \"lost@5s:gpu=1\" or "
           "\"denied@#3+1:nvmlDeviceSetPowerManagementLimit\"");
    return rc;
}

bool wt_fault_is_about(const struct wt_fault *fault, const char *function, unsigned call, int gpu)
{
    if (fault->gpu >= 0 && fault->gpu != gpu)
        return false;
    size_t len = strlen(fault->function);
    if (len && fault->function[len - 1] == '*')
        return strncmp(fault->function, function, len - 1) == 0;
    if (len)
        return strcmp(fault->function, function) == 0;
    for (size_t i = 0; i < WT_COUNTOF(kinds); i++)
        if (kinds[i].kind == fault->kind)
            return (kinds[i].calls & call) != 0;
    return false;
}
