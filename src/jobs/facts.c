/* facts: reads the files by which Slurm tells of jobs (docs/decisions/0009). Strict, and bounded by
 * the size of a file: what is known must be right, what is not known is passed over. */
#include <string.h>

#include "base/base.h"
#include "jobs/jobs.h"

/* Length of the UTF-8 character that begins here, 0: none does. */
static size_t character(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char lo, hi, second_lo, second_hi;
        size_t len;
    } forms[] = {
        /* Unicode, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF. */
        {0x20, 0x7e, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < WT_COUNTOF(forms); i++) {
        if (*p < forms[i].lo || *p > forms[i].hi)
            continue;
        if (forms[i].len > left)
            return 0;
        if (forms[i].len > 1 && (p[1] < forms[i].second_lo || p[1] > forms[i].second_hi))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if (p[k] < 0x80 || p[k] > 0xbf)
                return 0;
        return forms[i].len;
    }
    return 0;
}

size_t wt_jobs_text_fits(const char *text, size_t len, size_t size, bool *ret_is_good)
{
    size_t at = 0, fits = 0;
    while (at < len) {
        size_t n = character((const unsigned char *)text + at, len - at);
        if (n == 0) {
            *ret_is_good = false;
            return fits;
        }
        at += n;
        if (at < size)
            fits = at;
    }
    *ret_is_good = true;
    return fits;
}

enum form { TEXT, STEP, U32, U64, TIME, GPUS, IDS };

/* clang-format off */
#define FIELD(key, form, is_required)                                                              \
    {#key, form, is_required, offsetof(struct wt_job_facts, key),                                  \
     sizeof(((struct wt_job_facts *)0)->key)}
/* clang-format on */
static const struct field {
    const char *key;
    enum form form;
    bool is_required;
    size_t at, size;
} fields[] = {
    FIELD(job, U32, true),      FIELD(step, STEP, false),      FIELD(uid, U32, false),
    FIELD(user, TEXT, false),   FIELD(account, TEXT, false),   FIELD(partition, TEXT, false),
    FIELD(name, TEXT, false),   FIELD(cluster, TEXT, false),   FIELD(node, TEXT, false),
    FIELD(model, TEXT, false),  FIELD(gpus, GPUS, false),      FIELD(nodes, U32, false),
    FIELD(cap_mw, U64, false),  FIELD(cap_set_mw, U64, false), FIELD(begin_ns, TIME, true),
    FIELD(end_ns, TIME, false), FIELD(pid, U32, false),        FIELD(pid_start, U64, false),
    FIELD(devices, IDS, false),
};

/* A whole decimal number of these characters. */
static int number(const char *text, size_t len, uint64_t max, uint64_t *ret_value)
{
    char buf[24];
    if (len == 0 || len >= sizeof(buf))
        return WT_E_FORMAT;
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (wt_text_to_u64(buf, ret_value) < 0 || *ret_value > max)
        return WT_E_FORMAT;
    return 0;
}

static int add_gpu(struct wt_job_facts *f, uint64_t gpu)
{
    for (size_t i = 0; i < f->gpu_count; i++)
        if (f->gpus[i] == gpu)
            return WT_E_FORMAT;
    if (f->gpu_count == WT_JOB_FACTS_GPUS)
        return WT_E_FORMAT;
    f->gpus[f->gpu_count++] = (unsigned)gpu;
    return 0;
}

/* "0,3" or "0-3,7", as Slurm writes lists. */
static int gpus(struct wt_job_facts *f, const char *text, size_t len)
{
    for (size_t at = 0; at <= len;) {
        size_t n = 0;
        while (at + n < len && text[at + n] != ',')
            n++;
        const char *dash = memchr(text + at, '-', n);
        size_t first = dash ? (size_t)(dash - text) - at : n;
        uint64_t lo, hi;
        if (number(text + at, first, 65535, &lo) < 0)
            return WT_E_FORMAT;
        hi = lo;
        if (dash && number(dash + 1, n - first - 1, 65535, &hi) < 0)
            return WT_E_FORMAT;
        if (hi < lo || hi - lo >= WT_JOB_FACTS_GPUS)
            return WT_E_FORMAT;
        for (uint64_t gpu = lo; gpu <= hi; gpu++)
            if (add_gpu(f, gpu) < 0)
                return WT_E_FORMAT;
        at += n + 1;
    }
    return 0;
}

/* "GPU-1f..,GPU-20..": of the same devices, in the same order. */
static int ids(struct wt_job_facts *f, const char *text, size_t len)
{
    for (size_t at = 0; at <= len;) {
        size_t n = 0;
        while (at + n < len && text[at + n] != ',')
            n++;
        if (n == 0 || n >= sizeof(f->devices[0]) || f->device_count == WT_JOB_FACTS_GPUS)
            return WT_E_FORMAT;
        char *id = f->devices[f->device_count];
        memcpy(id, text + at, n);
        id[n] = '\0';
        f->device_count++; /* one may come twice: two parts of a card */
        at += n + 1;
    }
    return 0;
}

bool wt_jobs_is_step(const char *text)
{
    static const char *const names[] = {"batch", "extern", "interactive"};
    uint64_t step;
    for (size_t i = 0; i < WT_COUNTOF(names); i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    return strlen(text) < 11 && wt_text_to_u64(text, &step) == 0 && step <= UINT32_MAX;
}

static int take(struct wt_job_facts *f, const struct field *field, const char *value, size_t len)
{
    char *to = (char *)f + field->at;
    uint64_t n;
    bool is_good;
    size_t fits;
    switch (field->form) {
    case TEXT:
    case STEP:
        fits = wt_jobs_text_fits(value, len, field->size, &is_good);
        if (!is_good || (field->form == STEP && fits != len))
            return WT_E_FORMAT;
        memcpy(to, value, fits);
        to[fits] = '\0';
        for (char *c = to; *c; c++) /* U+0080 to U+009F: some terminals obey them */
            if ((unsigned char)c[0] == 0xc2 && (unsigned char)c[1] <= 0x9f)
                c[0] = c[1] = '?';
        return field->form == STEP && !wt_jobs_is_step(to) ? WT_E_FORMAT : 0;
    case U32:
        if (number(value, len, UINT32_MAX, &n) < 0)
            return WT_E_FORMAT;
        *(uint32_t *)(void *)to = (uint32_t)n;
        return 0;
    case U64:
    case TIME:
        /* As many as a store's integers hold. */
        if (number(value, len, INT64_MAX, &n) < 0 || (field->form == TIME && n == 0))
            return WT_E_FORMAT;
        if (field->form == TIME)
            *(int64_t *)(void *)to = (int64_t)n;
        else
            *(uint64_t *)(void *)to = n;
        return 0;
    case GPUS:
        return gpus(f, value, len);
    case IDS:
        return ids(f, value, len);
    }
    return WT_E_FORMAT;
}

static const struct field *field_of(const char *key, size_t len, size_t *ret_at)
{
    for (size_t i = 0; i < WT_COUNTOF(fields); i++)
        if (strlen(fields[i].key) == len && memcmp(fields[i].key, key, len) == 0) {
            *ret_at = i;
            return &fields[i];
        }
    return NULL;
}

int wt_job_facts_parse(struct wt_job_facts *ret_facts, const char *text, size_t len,
                       const char *name, struct wt_error *err)
{
    struct wt_job_facts f = {0};
    bool seen[WT_COUNTOF(fields)] = {false};
    if (len > WT_JOB_FACTS_MAX)
        return wt_fail(err, WT_E_FORMAT, "%.200s: longer than %d bytes", name, WT_JOB_FACTS_MAX);
    size_t line = 0;
    for (size_t at = 0; at < len;) {
        const char *begin = text + at, *newline = memchr(begin, '\n', len - at);
        size_t n = newline ? (size_t)(newline - begin) : len - at, i = 0;
        const char *equals = memchr(begin, '=', n);
        bool is_good;
        line++;
        at += n + 1;
        wt_jobs_text_fits(begin, n, 1, &is_good);
        if (!is_good)
            return wt_fail(err, WT_E_FORMAT,
                           "%.200s: line %zu: not UTF-8, or with control characters", name, line);
        if (!equals || equals == begin)
            return wt_fail(err, WT_E_FORMAT, "%.200s: line %zu: not KEY=VALUE", name, line);
        const struct field *field = field_of(begin, (size_t)(equals - begin), &i);
        if (!field)
            continue;
        if (seen[i])
            return wt_fail(err, WT_E_FORMAT, "%.200s: line %zu: %s is there twice", name, line,
                           field->key);
        seen[i] = true;
        size_t value_len = n - (size_t)(equals - begin) - 1;
        if (take(&f, field, equals + 1, value_len) < 0)
            return wt_fail(err, WT_E_FORMAT, "%.200s: line %zu: %s=%.*s: no such value", name, line,
                           field->key, (int)(value_len < 60 ? value_len : 60), equals + 1);
    }
    for (size_t i = 0; i < WT_COUNTOF(fields); i++)
        if (fields[i].is_required && !seen[i])
            return wt_fail(err, WT_E_FORMAT, "%.200s: without %s", name, fields[i].key);
    if (f.job == 0)
        return wt_fail(err, WT_E_FORMAT, "%.200s: job=0: no such value", name);
    if (f.device_count && f.device_count != f.gpu_count)
        return wt_fail(err, WT_E_FORMAT, "%.200s: devices=: %zu ids of %zu gpus", name,
                       f.device_count, f.gpu_count);
    *ret_facts = f;
    return 0;
}
