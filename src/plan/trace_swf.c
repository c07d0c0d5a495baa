/* trace_swf: the Standard Workload Format, version 2.2, of the Parallel Workloads Archive: a job a
 * line, 18 numbers between blanks, -1 for what is not known; comments begin with a semicolon, and
 * some of them describe the machine.
 * Source: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/trace.h"

#define FIELDS     18
#define TIME_MAX   1e11
#define SPAN_MAX   2e9
#define LABELS_MAX 1000 /* each job looks through them */

enum field {
    SUBMIT = 1,
    WAIT = 2,
    RUN = 3,
    PROCESSORS = 4,
    ASKED_PROCESSORS = 7,
    ASKED = 8,
    STATUS = 10,
    USER = 11,
    QUEUE = 14,
    PARTITION = 15,
    DEPENDS = 16
};

static const char *const field_names[FIELDS] = {"job number",
                                                "submit time",
                                                "wait time",
                                                "run time",
                                                "allocated processors",
                                                "CPU time",
                                                "used memory",
                                                "requested processors",
                                                "requested time",
                                                "requested memory",
                                                "status",
                                                "user",
                                                "group",
                                                "executable",
                                                "queue",
                                                "partition",
                                                "preceding job",
                                                "think time"};

struct wt_trace_label {
    char kind; /* 'p' partition, 'q' queue */
    int64_t number;
    char name[64];
};

/* ---- comments ---- */

/* "; Key: rest" NULL: it is another key. */
static const char *value_of(const char *comment, const char *key)
{
    size_t n = strlen(key);
    if (strncasecmp(comment, key, n) != 0)
        return NULL;
    comment += n;
    comment += strspn(comment, " \t");
    if (*comment != ':')
        return NULL;
    return comment + 1 + strspn(comment + 1, " \t");
}

/* A whole number that begins a text; -1: none does, or one too large to be meant. ret_end: where
 * its digits end, in any case. */
static int64_t leading(const char *text, const char **ret_end)
{
    size_t digits = strspn(text, "0123456789");
    *ret_end = text + digits;
    if (!digits || digits > 17)
        return -1;
    return (int64_t)strtoull(text, NULL, 10);
}

/* "3 batch" of Queue and Partition: the number's name. */
static int add_label(struct wt_trace_reader *r, char kind, const char *text, struct wt_error *err)
{
    const char *end;
    int64_t number = leading(text, &end);
    size_t blank = strspn(end, " \t");
    if (number < 0 || !blank || !end[blank])
        return 0;
    if (r->label_count == LABELS_MAX)
        return wt_trace_bad(r, err, "more than %d names of queues and partitions", LABELS_MAX);
    struct wt_trace_label *labels = reallocarray(r->labels, r->label_count + 1, sizeof(*labels));
    if (!labels)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for its names", r->trace->name);
    r->labels = labels;
    struct wt_trace_label *l = &labels[r->label_count++];
    *l = (struct wt_trace_label){.kind = kind, .number = number};
    end += blank;
    wt_text(l->name, sizeof(l->name), "%.*s", (int)strcspn(end, " \t(,;"), end);
    return 0;
}

static int read_comment(struct wt_trace_reader *r, const char *text, struct wt_error *err)
{
    const char *value, *end;
    text += strspn(text, "; \t");
    if ((value = value_of(text, "MaxNodes")) && leading(value, &end) > 0)
        r->trace->nodes = leading(value, &end);
    else if ((value = value_of(text, "MaxProcs")) && leading(value, &end) > 0)
        r->trace->processors = leading(value, &end);
    else if ((value = value_of(text, "UnixStartTime")) && leading(value, &end) > 0 &&
             leading(value, &end) < (int64_t)TIME_MAX)
        r->epoch_s = leading(value, &end);
    else if ((value = value_of(text, "Queue")))
        return add_label(r, 'q', value, err);
    else if ((value = value_of(text, "Partition")))
        return add_label(r, 'p', value, err);
    return 0;
}

/* ---- jobs ---- */

/* A decimal number up to a blank or the end. Most are whole and short, and there are 18 a line. */
static bool read_number(char **io_text, double *ret_value)
{
    char *at = *io_text;
    bool is_negative = *at == '-';
    at += is_negative || *at == '+';
    uint64_t whole = 0;
    char *begin = at;
    for (; *at >= '0' && *at <= '9' && at - begin < 18; at++)
        whole = 10 * whole + (uint64_t)(*at - '0');
    *ret_value = is_negative ? -(double)whole : (double)whole;
    if (at > begin && (!*at || *at == ' ' || *at == '\t')) {
        *io_text = at;
        return true;
    }
    size_t n = strcspn(*io_text, " \t"); /* with a fraction */
    char text[64];
    if (!n || n >= sizeof(text))
        return false;
    memcpy(text, *io_text, n);
    text[n] = '\0';
    if (wt_text_to_double(text, ret_value) < 0)
        return false;
    *io_text += n;
    return true;
}

/* Cuts a text after its first word. */
static const char *first_word(char *text)
{
    text[strcspn(text, " \t")] = '\0';
    return text;
}

static int read_fields(struct wt_trace_reader *r, char *line, double fields[FIELDS],
                       struct wt_error *err)
{
    size_t count = 0;
    for (line += strspn(line, " \t"); *line; line += strspn(line, " \t"), count++) {
        if (count == FIELDS)
            return wt_trace_bad(r, err, "more than %d fields", FIELDS);
        char *field = line;
        if (!read_number(&line, &fields[count]))
            return wt_trace_bad(r, err, "field %zu (%s) is \"%.40s\", and must be a number",
                                count + 1, field_names[count], first_word(field));
    }
    if (count < FIELDS) {
        wt_trace_bad(r, err, "%zu fields, and a job has %d", count, FIELDS);
        wt_fix(err, "a line of the Standard Workload Format holds 18 numbers, -1 where one is not "
                    "known");
        return WT_E_FORMAT;
    }
    static const struct {
        enum field field;
        double max;
        bool is_whole;
    } rows[] = {{SUBMIT, TIME_MAX, false},    {WAIT, TIME_MAX, false},
                {RUN, SPAN_MAX, false},       {ASKED, SPAN_MAX, false},
                {PROCESSORS, SPAN_MAX, true}, {ASKED_PROCESSORS, SPAN_MAX, true},
                {STATUS, SPAN_MAX, true},     {USER, SPAN_MAX, true},
                {QUEUE, SPAN_MAX, true},      {PARTITION, SPAN_MAX, true}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        double value = fields[rows[i].field];
        if (!(value >= -1 && value <= rows[i].max) || (value < 0 && value > -1) ||
            (rows[i].is_whole && value != (double)(int64_t)value))
            return wt_trace_bad(r, err, "field %d (%s) is %g, and must be %s of 0 to %g, or -1",
                                (int)rows[i].field + 1, field_names[rows[i].field], value,
                                rows[i].is_whole ? "a whole number" : "a number", rows[i].max);
    }
    return 0;
}

/* What a queue's or partition's number is called. */
static const char *label_of(const struct wt_trace_reader *r, char kind, double number, char *buf,
                            size_t size)
{
    if (number < 0)
        return "";
    for (size_t i = 0; i < r->label_count; i++)
        if (r->labels[i].kind == kind && r->labels[i].number == (int64_t)number)
            return r->labels[i].name;
    return wt_text(buf, size, "%lld", (long long)number);
}

static int32_t seconds(double value)
{
    return value < 0 ? -1 : value > SPAN_MAX ? (int32_t)SPAN_MAX : (int32_t)(value + 0.5);
}

int wt_trace_swf_line(struct wt_trace_reader *r, char *line, struct wt_error *err)
{
    double f[FIELDS];
    char text[32];
    struct wt_trace_counts *counts = &r->trace->counts;
    if (line[strspn(line, " \t")] == ';')
        return read_comment(r, line, err);
    int rc = read_fields(r, line, f, err);
    if (rc < 0)
        return rc;
    counts->lines++;
    int status = (int)f[STATUS];
    double processors = f[PROCESSORS] > 0 ? f[PROCESSORS] : f[ASKED_PROCESSORS];
    size_t *left_out = status >= 2 && status <= 4     ? &counts->steps
                       : status == 5 && !(f[RUN] > 0) ? &counts->never_ran
                       : f[RUN] < 0                   ? &counts->unknown_run
                       : f[SUBMIT] < 0                ? &counts->unknown_submit
                       : !(processors > 0)            ? &counts->unknown_size
                                                      : NULL;
    if (left_out) {
        ++*left_out;
        return 0;
    }
    struct wt_trace_job job = {.submit_s = (int64_t)(f[SUBMIT] + 0.5),
                               .run_s = seconds(f[RUN]),
                               .asked_s = f[ASKED] > 0 ? seconds(f[ASKED]) : 0,
                               .wait_s = seconds(f[WAIT]),
                               .processors = (int32_t)processors,
                               .gpus = -1};
    counts->depending += f[DEPENDS] > 0;
    rc = wt_trace_name(r, &r->partitions, label_of(r, 'p', f[PARTITION], text, sizeof(text)),
                       &job.partition, err);
    if (rc == 0)
        rc = wt_trace_name(r, &r->queues, label_of(r, 'q', f[QUEUE], text, sizeof(text)),
                           &job.queue, err);
    if (rc == 0)
        rc = wt_trace_name(r, &r->users, label_of(r, 'u', f[USER], text, sizeof(text)), &job.user,
                           err);
    return rc < 0 ? rc : wt_trace_add(r, job, err);
}

void wt_trace_swf_end(struct wt_trace_reader *r)
{
    r->trace->is_dated = r->epoch_s != INT64_MIN;
    for (size_t i = 0; r->trace->is_dated && i < r->trace->count; i++)
        r->trace->jobs[i].submit_s += r->epoch_s;
}
