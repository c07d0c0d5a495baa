/* trace: recorded jobs from a file of either form; what a line means is for trace_swf.c and
 * trace_sacct.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plan/signal.h"
#include "plan/trace.h"

#define LINE_MAX_ (1 << 20)
#define JOBS_MAX  500000000
#define NAMES_MAX 10000000

int wt_trace_bad(const struct wt_trace_reader *r, struct wt_error *err, const char *fmt, ...)
{
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return wt_fail(err, WT_E_FORMAT, "%s:%zu: %s", r->trace->name, r->number, text);
}

static size_t hash_of(const char *name)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return (size_t)(h ^ (h >> 32));
}

static int grow_index(struct wt_trace_index *index)
{
    size_t count = index->slot_count ? 2 * index->slot_count : 64;
    uint32_t *slots = calloc(count, sizeof(*slots));
    char **names = reallocarray(index->names->names, count / 2, sizeof(*names));
    if (names)
        index->names->names = names;
    if (!slots || !names) {
        free(slots);
        return WT_E_NOMEM;
    }
    for (size_t i = 0; i < index->names->count; i++) {
        size_t at = hash_of(names[i]) & (count - 1);
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(index->slots);
    index->slots = slots;
    index->slot_count = count;
    return 0;
}

int wt_trace_name(struct wt_trace_reader *r, struct wt_trace_index *index, const char *name,
                  uint32_t *ret_at, struct wt_error *err)
{
    struct wt_trace_names *names = index->names;
    if (2 * (names->count + 1) > index->slot_count && grow_index(index) < 0)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for its names", r->trace->name);
    size_t at = hash_of(name) & (index->slot_count - 1);
    while (index->slots[at] && strcmp(names->names[index->slots[at] - 1], name) != 0)
        at = (at + 1) & (index->slot_count - 1);
    if (!index->slots[at]) {
        if (names->count == NAMES_MAX)
            return wt_trace_bad(r, err, "more than %d names", NAMES_MAX);
        names->names[names->count] = strdup(name);
        if (!names->names[names->count])
            return wt_fail(err, WT_E_NOMEM, "%s: no memory for its names", r->trace->name);
        index->slots[at] = (uint32_t)++names->count;
    }
    *ret_at = index->slots[at] - 1;
    return 0;
}

int wt_trace_add(struct wt_trace_reader *r, struct wt_trace_job job, struct wt_error *err)
{
    struct wt_trace *t = r->trace;
    if (!job.run_s) {
        job.run_s = 1;
        t->counts.short_run++;
    }
    if (!job.asked_s)
        t->counts.unknown_asked++;
    else if (job.asked_s < job.run_s)
        t->counts.over_asked++;
    if (job.asked_s < job.run_s)
        job.asked_s = job.run_s;
    if (t->count == JOBS_MAX)
        return wt_trace_bad(r, err, "more than %d jobs", JOBS_MAX);
    if (t->count == r->room) {
        size_t room = r->room ? r->room + r->room / 2 : 256;
        struct wt_trace_job *jobs = reallocarray(t->jobs, room, sizeof(*jobs));
        if (!jobs)
            return wt_fail(err, WT_E_NOMEM, "%s: no memory for its jobs", t->name);
        t->jobs = jobs;
        r->room = room;
    }
    t->jobs[t->count++] = job;
    return 0;
}

/* What a line says of the form; false: nothing (blank). */
static int detect(struct wt_trace_reader *r, const char *line, struct wt_error *err)
{
    const char *text = line + strspn(line, " \t");
    if (*text == ';' || strchr("-0123456789", *text)) {
        if (!strchr(line, '|')) {
            r->trace->form = WT_TRACE_SWF;
            return 0;
        }
    } else if (strchr(line, '|') && strcasestr(line, "JobID")) {
        r->trace->form = WT_TRACE_SACCT;
        return 0;
    }
    bool is_bare = strchr(line, '|') != NULL;
    wt_trace_bad(r, err,
                 is_bare ? "fields between bars, but no column JobID: is the first line missing?"
                         : "is neither a Standard Workload Format nor what sacct -P prints");
    wt_fix(err, is_bare ? "sacct -P without --noheader"
                        : "give a .swf file, or: sacct -a -X -P -o JobID,Submit,Start,End,Elapsed,"
                          "Timelimit,NNodes,AllocTRES,Partition,QOS,User,State");
    return WT_E_FORMAT;
}

/* Without its end. -1: none is left; room characters: it is longer. */
static ssize_t read_line(FILE *in, char *line, size_t room)
{
    size_t n = 0;
    int c = EOF;
    while (n < room && (c = getc_unlocked(in)) != EOF && c != '\n')
        line[n++] = (char)c;
    return n || c != EOF ? (ssize_t)n : -1;
}

static int read_lines(struct wt_trace_reader *r, FILE *in, char *line, struct wt_error *err)
{
    ssize_t length;
    bool is_told = false;
    int rc = 0;
    while (rc == 0 && (length = read_line(in, line, LINE_MAX_)) >= 0) {
        size_t n = (size_t)length;
        char *text = line;
        r->number++;
        if (n == LINE_MAX_) {
            rc = wt_trace_bad(r, err, "a line of %d characters or more", LINE_MAX_);
            break;
        }
        if (memchr(line, '\0', n)) {
            rc = wt_trace_bad(r, err, "holds a NUL byte: this is no text");
            break;
        }
        n -= n && line[n - 1] == '\r';
        line[n] = '\0';
        if (r->number == 1)
            text = wt_text_after_mark(text);
        if (!text[strspn(text, " \t\r")])
            continue;
        if (!is_told)
            rc = detect(r, text, err);
        is_told = true;
        if (rc == 0)
            rc = r->trace->form == WT_TRACE_SWF ? wt_trace_swf_line(r, text, err)
                                                : wt_trace_sacct_line(r, text, err);
    }
    if (rc == 0 && ferror(in))
        rc = wt_fail_errno(err, errno, "%s", r->trace->name);
    if (rc == 0 && !is_told) {
        rc = wt_fail(err, WT_E_FORMAT, "%s: it is empty", r->trace->name);
        wt_fix(err, "give a .swf file, or what sacct -P prints");
    }
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct wt_trace_order *x = a, *y = b;
    return x->at_s != y->at_s ? (x->at_s > y->at_s) - (x->at_s < y->at_s)
                              : (x->job > y->job) - (x->job < y->job);
}

void wt_trace_sort(struct wt_trace_order *order, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (order[i].at_s < order[i - 1].at_s) { /* most are in order already */
            qsort(order, count, sizeof(*order), by_time);
            return;
        }
}

/* By submission; in one second as in the file. */
static int sort_jobs(struct wt_trace *t, struct wt_error *err)
{
    struct wt_trace_order *order = calloc(t->count, sizeof(*order));
    struct wt_trace_job *jobs = calloc(t->count, sizeof(*jobs));
    bool is_enough = order && jobs;
    for (size_t i = 0; is_enough && i < t->count; i++)
        order[i] = (struct wt_trace_order){t->jobs[i].submit_s, (uint32_t)i};
    if (is_enough) {
        wt_trace_sort(order, t->count);
        for (size_t i = 0; i < t->count; i++)
            jobs[i] = t->jobs[order[i].job];
        free(t->jobs);
        t->jobs = jobs;
        jobs = NULL;
    }
    free(order);
    free(jobs);
    return is_enough ? 0 : wt_fail(err, WT_E_NOMEM, "%s: no memory for its jobs", t->name);
}

int wt_trace_parse(struct wt_trace *ret_trace, FILE *in, const char *name, struct wt_error *err)
{
    struct wt_trace t = {0};
    struct wt_trace_reader r = {.trace = &t, .epoch_s = INT64_MIN};
    r.partitions.names = &t.partitions;
    r.queues.names = &t.queues;
    r.users.names = &t.users;
    wt_text(t.name, sizeof(t.name), "%s", name);
    char *line = malloc(LINE_MAX_ + 1);
    int rc = line ? read_lines(&r, in, line, err)
                  : wt_fail(err, WT_E_NOMEM, "%s: no memory for a line", name);
    free(line);
    if (rc == 0 && t.form == WT_TRACE_SWF)
        wt_trace_swf_end(&r);
    if (rc == 0 && !t.count)
        rc = wt_fail(err, WT_E_FORMAT, "%s: no job in it ran to its end (%zu lines, %zu never ran)",
                     t.name, t.counts.lines, t.counts.never_ran);
    if (rc == 0)
        rc = sort_jobs(&t, err);
    free(r.partitions.slots);
    free(r.queues.slots);
    free(r.users.slots);
    free(r.columns);
    free(r.labels);
    if (rc < 0) {
        wt_trace_done(&t);
        return rc;
    }
    *ret_trace = t;
    return 0;
}

int wt_trace_read(struct wt_trace *ret_trace, const char *path, struct wt_error *err)
{
    FILE *in = fopen(path, "re");
    if (!in)
        return wt_fail_errno(err, errno, "%s", path);
    int rc = wt_trace_parse(ret_trace, in, path, err);
    fclose(in);
    return rc;
}

static void names_done(struct wt_trace_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
}

void wt_trace_done(struct wt_trace *trace)
{
    free(trace->jobs);
    names_done(&trace->partitions);
    names_done(&trace->queues);
    names_done(&trace->users);
    memset(trace, 0, sizeof(*trace));
}

void wt_trace_move(struct wt_trace *trace, int64_t start_s)
{
    int64_t by_s = trace->count ? start_s - trace->jobs[0].submit_s : 0;
    for (size_t i = 0; i < trace->count; i++)
        trace->jobs[i].submit_s += by_s;
    trace->is_dated = true;
}
