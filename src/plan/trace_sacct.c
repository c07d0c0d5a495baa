/* trace_sacct: what `sacct -P` prints: the names of the columns asked for in the first line, fields
 * between bars. A job's steps (12.batch, 12.0) are in its own line already, and left out.
 * Source: sacct(1) of Slurm 22.05. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plan/signal.h"
#include "plan/trace.h"

#define COLUMNS_MAX 256
#define SPAN_MAX    2000000000

enum column {
    JOBID,
    SUBMIT,
    ELIGIBLE,
    START,
    END,
    ELAPSED,
    ELAPSED_RAW,
    LIMIT,
    LIMIT_RAW,
    NNODES,
    ALLOC_TRES,
    REQ_TRES,
    PARTITION,
    QOS,
    USER,
    STATE,
    COLUMNS /* of those we read */
};

static const struct {
    const char *name;
    enum column column;
} known[] = {{"JobID", JOBID},
             {"JobIDRaw", JOBID},
             {"Submit", SUBMIT},
             {"Eligible", ELIGIBLE},
             {"Start", START},
             {"End", END},
             {"Elapsed", ELAPSED},
             {"ElapsedRaw", ELAPSED_RAW},
             {"Timelimit", LIMIT},
             {"TimelimitRaw", LIMIT_RAW},
             {"NNodes", NNODES},
             {"AllocNodes", NNODES},
             {"AllocTRES", ALLOC_TRES},
             {"ReqTRES", REQ_TRES},
             {"Partition", PARTITION},
             {"QOS", QOS},
             {"User", USER},
             {"State", STATE}};

struct columns {
    int at[COLUMNS]; /* -1: not there */
    int count;
    bool has_end_bar; /* sacct -p: a bar behind the last field */
};

/* The next field; NULL: none left. */
static char *next_field(char **io_line)
{
    char *field = *io_line, *bar;
    if (!field)
        return NULL;
    bar = strchr(field, '|');
    *io_line = bar ? bar + 1 : NULL;
    if (bar)
        *bar = '\0';
    return field;
}

static int lacks(struct wt_trace_reader *r, const char *what, struct wt_error *err)
{
    wt_trace_bad(r, err, "no column %s", what);
    wt_fix(err, "sacct -a -X -P -o JobID,Submit,Start,End,Elapsed,Timelimit,NNodes,AllocTRES,"
                "Partition,QOS,User,State");
    return WT_E_FORMAT;
}

static int read_header(struct wt_trace_reader *r, char *line, struct wt_error *err)
{
    struct columns *c = malloc(sizeof(*c));
    if (!c)
        return wt_fail(err, WT_E_NOMEM, "%s: no memory for its columns", r->trace->name);
    r->columns = c;
    *c = (struct columns){.count = 0};
    for (int i = 0; i < COLUMNS; i++)
        c->at[i] = -1;
    size_t n = strlen(line);
    c->has_end_bar = n && line[n - 1] == '|';
    if (c->has_end_bar)
        line[n - 1] = '\0';
    for (char *field; (field = next_field(&line)); c->count++) {
        if (c->count == COLUMNS_MAX)
            return wt_trace_bad(r, err, "more than %d columns", COLUMNS_MAX);
        for (size_t i = 0; i < WT_COUNTOF(known); i++)
            if (strcasecmp(known[i].name, field) == 0 && c->at[known[i].column] < 0)
                c->at[known[i].column] = c->count;
    }
    if (c->at[JOBID] < 0)
        return lacks(r, "JobID", err);
    if (c->at[SUBMIT] < 0)
        return lacks(r, "Submit", err);
    if (c->at[ELAPSED] < 0 && c->at[ELAPSED_RAW] < 0 && (c->at[START] < 0 || c->at[END] < 0))
        return lacks(r, "Elapsed", err);
    if (c->at[NNODES] < 0 && c->at[ALLOC_TRES] < 0)
        return lacks(r, "NNodes or AllocTRES", err);
    r->trace->is_dated = true;
    return 0;
}

/* ---- fields ---- */

/* "2-03:04:05", "03:04:05", "04:05", with a fraction or without. -1: it is none. */
static int64_t span_of(const char *text)
{
    int64_t parts[4] = {0}, days = 0;
    int count = 0;
    const char *at = text;
    for (;;) {
        int64_t value = 0;
        const char *begin = at;
        for (; *at >= '0' && *at <= '9' && at - begin < 9; at++)
            value = 10 * value + (*at - '0');
        if (at == begin || count == 3)
            return -1;
        if (*at == '-' && !count && !days && at == text + (at - begin)) {
            days = value;
            at++;
            continue;
        }
        parts[count++] = value;
        if (*at != ':')
            break;
        at++;
    }
    if (*at == '.')
        at += 1 + strspn(at + 1, "0123456789");
    if (*at || count < 2)
        return -1;
    int64_t hours = count == 3 ? parts[0] : 0, minutes = parts[count - 2], s = parts[count - 1];
    if (minutes > 59 || s > 59 || days > 100000 || hours > 1000000)
        return -1;
    return days * WT_DAY_S + hours * WT_HOUR_S + minutes * 60 + s;
}

/* A time that did not come is "Unknown" or "None": INT64_MIN. False: it is neither. */
static bool moment_of(const char *text, int64_t *ret_s)
{
    *ret_s = INT64_MIN;
    if (!*text || strcmp(text, "Unknown") == 0 || strcmp(text, "None") == 0)
        return true;
    return wt_moment_parse(text, ret_s) == 0 && *ret_s > INT64_C(-60000000000) &&
           *ret_s < INT64_C(250000000000);
}

/* "cpu=8,gres/gpu=4,gres/gpu:a100=4,node=2": the count of a name, -1 without. Kinds of a resource
 * are added where their sum is not there. False: a count that is none. */
static bool tres_of(const char *text, const char *name, int64_t *ret_count)
{
    size_t n = strlen(name);
    int64_t sum = -1;
    *ret_count = -1;
    for (; *text; text += *text == ',') {
        size_t length = strcspn(text, ",");
        const char *eq = memchr(text, '=', length);
        if (eq && strncmp(text, name, n) == 0 && (text[n] == '=' || text[n] == ':')) {
            char number[24];
            uint64_t value;
            size_t digits = length - (size_t)(eq + 1 - text);
            wt_text(number, sizeof(number), "%.*s", (int)(digits < 23 ? digits : 23), eq + 1);
            if (wt_text_to_u64(number, &value) < 0 || value > SPAN_MAX)
                return false;
            if (text[n] == '=') {
                *ret_count = (int64_t)value;
                return true;
            }
            sum = (sum < 0 ? 0 : sum) + (int64_t)value;
        }
        text += length;
    }
    *ret_count = sum > SPAN_MAX ? SPAN_MAX : sum;
    return true;
}

/* "12"; "2K" is 2048: sacct writes so what is whole (without --noconvert). */
static bool nodes_of(const char *text, int64_t *ret_count)
{
    static const char units[] = "KMG";
    size_t n = strspn(text, "0123456789");
    const char *unit = text[n] ? strchr(units, text[n]) : NULL;
    char number[24];
    uint64_t value;
    if (n >= sizeof(number) || (text[n] && (!unit || text[n + 1])) ||
        wt_text_to_u64(wt_text(number, sizeof(number), "%.*s", (int)n, text), &value) < 0 ||
        value > SPAN_MAX)
        return false;
    if (unit)
        value <<= 10 * (unit - units + 1);
    *ret_count = (int64_t)value;
    return value <= SPAN_MAX;
}

struct row {
    const char *fields[COLUMNS]; /* "": not there */
};

static int bad_field(struct wt_trace_reader *r, const char *name, const char *text,
                     const char *must, struct wt_error *err)
{
    return wt_trace_bad(r, err, "%s is \"%.40s\", and must be %s", name, text, must);
}

/* Nodes and GPUs of a job; 0 and -1: not told. */
static int read_size(struct wt_trace_reader *r, const struct row *row, struct wt_trace_job *job,
                     struct wt_error *err)
{
    const struct columns *c = r->columns;
    const char *tres = *row->fields[ALLOC_TRES] ? row->fields[ALLOC_TRES] : row->fields[REQ_TRES];
    int64_t nodes = -1, gpus, told;
    if (!tres_of(tres, "node", &nodes) || !tres_of(tres, "gres/gpu", &gpus))
        return bad_field(r, "AllocTRES", tres, "such as cpu=8,gres/gpu=4,node=2", err);
    if (*row->fields[NNODES]) {
        if (!nodes_of(row->fields[NNODES], &told))
            return bad_field(r, "NNodes", row->fields[NNODES], "a whole number", err);
        if (told || nodes < 0)
            nodes = told;
    }
    job->nodes = nodes > 0 ? (int32_t)nodes : 0;
    job->gpus = gpus >= 0 ? (int32_t)gpus : (c->at[ALLOC_TRES] >= 0 && *tres) ? 0 : -1;
    return 0;
}

/* How long it took; INT64_MIN: not told. */
static int read_run(struct wt_trace_reader *r, const struct row *row, int64_t start_s,
                    int64_t end_s, int64_t *ret_run_s, struct wt_error *err)
{
    uint64_t raw;
    *ret_run_s = INT64_MIN;
    if (*row->fields[ELAPSED_RAW]) {
        if (wt_text_to_u64(row->fields[ELAPSED_RAW], &raw) < 0 || raw > SPAN_MAX)
            return bad_field(r, "ElapsedRaw", row->fields[ELAPSED_RAW], "whole seconds", err);
        *ret_run_s = (int64_t)raw;
    } else if (*row->fields[ELAPSED]) {
        *ret_run_s = span_of(row->fields[ELAPSED]);
        if (*ret_run_s < 0 || *ret_run_s > SPAN_MAX)
            return bad_field(r, "Elapsed", row->fields[ELAPSED], "such as 1-02:03:04", err);
    } else if (start_s != INT64_MIN && end_s != INT64_MIN) {
        if (end_s < start_s || end_s - start_s > SPAN_MAX)
            return bad_field(r, "End", row->fields[END], "after Start", err);
        *ret_run_s = end_s - start_s;
    }
    return 0;
}

/* 0: none, or not told. */
static int read_limit(struct wt_trace_reader *r, const struct row *row, int64_t *ret_asked_s,
                      struct wt_error *err)
{
    static const char *const words[] = {"", "UNLIMITED", "Partition_Limit", "INVALID"};
    const char *raw = row->fields[LIMIT_RAW], *text = *raw ? raw : row->fields[LIMIT];
    uint64_t minutes;
    *ret_asked_s = 0;
    for (size_t i = 0; i < WT_COUNTOF(words); i++)
        if (strcasecmp(text, words[i]) == 0)
            return 0;
    if (*raw) {
        if (wt_text_to_u64(raw, &minutes) < 0)
            return bad_field(r, "TimelimitRaw", raw, "whole minutes", err);
        *ret_asked_s = minutes > SPAN_MAX / 60 ? SPAN_MAX : (int64_t)minutes * 60;
        return 0;
    }
    *ret_asked_s = span_of(text);
    if (*ret_asked_s < 0)
        return bad_field(r, "Timelimit", text, "such as 1-00:00:00", err);
    if (*ret_asked_s > SPAN_MAX)
        *ret_asked_s = SPAN_MAX;
    return 0;
}

static int read_row(struct wt_trace_reader *r, char *line, struct row *ret_row,
                    struct wt_error *err)
{
    const struct columns *c = r->columns;
    const char *fields[COLUMNS_MAX];
    int count = 0;
    size_t n = strlen(line);
    if (c->has_end_bar && n && line[n - 1] == '|')
        line[n - 1] = '\0';
    for (char *field; (field = next_field(&line)); count++) {
        if (count == c->count) {
            wt_trace_bad(r, err, "more than the %d fields of the first line", c->count);
            wt_fix(err, "a bar in a job's name does that: leave JobName and Comment out");
            return WT_E_FORMAT;
        }
        fields[count] = field;
    }
    if (count < c->count)
        return wt_trace_bad(r, err, "%d fields where the first line has %d", count, c->count);
    for (int i = 0; i < COLUMNS; i++)
        ret_row->fields[i] = c->at[i] < 0 ? "" : fields[c->at[i]];
    return 0;
}

static bool has_state(const struct row *row, const char *word)
{
    return strncmp(row->fields[STATE], word, strlen(word)) == 0;
}

/* The counter of what is left out, NULL: the job is replayed. */
static size_t *left_out_of(struct wt_trace_counts *counts, const struct row *row, int64_t run_s,
                           int64_t start_s, int64_t submit_s, const struct wt_trace_job *job)
{
    bool has_start = *row->fields[START] && start_s == INT64_MIN;
    if (has_state(row, "RUNNING") || has_state(row, "SUSPENDED"))
        return &counts->running;
    if (has_state(row, "PENDING") || has_start || (run_s == 0 && has_state(row, "CANCELLED")))
        return &counts->never_ran;
    return run_s == INT64_MIN      ? &counts->unknown_run
           : submit_s == INT64_MIN ? &counts->unknown_submit
           : !job->nodes           ? &counts->unknown_size
                                   : NULL;
}

static int read_job(struct wt_trace_reader *r, const struct row *row, struct wt_error *err)
{
    struct wt_trace_job job = {.wait_s = -1};
    int64_t submit_s = 0, eligible_s = 0, start_s = 0, end_s = 0, run_s, asked_s = 0;
    static const struct {
        enum column column;
        const char *name;
    } times[] = {{SUBMIT, "Submit"}, {ELIGIBLE, "Eligible"}, {START, "Start"}, {END, "End"}};
    int64_t *const values[] = {&submit_s, &eligible_s, &start_s, &end_s};
    for (size_t i = 0; i < WT_COUNTOF(times); i++)
        if (!moment_of(row->fields[times[i].column], values[i]))
            return bad_field(r, times[i].name, row->fields[times[i].column],
                             "a time such as 2024-01-15T10:00:00, or Unknown", err);
    int rc = read_run(r, row, start_s, end_s, &run_s, err);
    if (rc == 0)
        rc = read_limit(r, row, &asked_s, err);
    if (rc == 0)
        rc = read_size(r, row, &job, err);
    if (rc < 0)
        return rc;
    r->trace->counts.lines++;
    if (eligible_s > submit_s)
        submit_s = eligible_s;
    size_t *left_out = left_out_of(&r->trace->counts, row, run_s, start_s, submit_s, &job);
    if (left_out) {
        ++*left_out;
        return 0;
    }
    job.submit_s = submit_s;
    job.run_s = (int32_t)run_s;
    job.asked_s = (int32_t)asked_s;
    if (start_s != INT64_MIN && start_s >= submit_s && start_s - submit_s <= SPAN_MAX)
        job.wait_s = (int32_t)(start_s - submit_s);
    rc = wt_trace_name(r, &r->partitions, row->fields[PARTITION], &job.partition, err);
    if (rc == 0)
        rc = wt_trace_name(r, &r->queues, row->fields[QOS], &job.queue, err);
    if (rc == 0)
        rc = wt_trace_name(r, &r->users, row->fields[USER], &job.user, err);
    return rc < 0 ? rc : wt_trace_add(r, job, err);
}

int wt_trace_sacct_line(struct wt_trace_reader *r, char *line, struct wt_error *err)
{
    struct row row;
    if (!r->columns)
        return read_header(r, line, err);
    int rc = read_row(r, line, &row, err);
    if (rc < 0)
        return rc;
    if (strchr(row.fields[JOBID], '.')) {
        r->trace->counts.steps++;
        return 0;
    }
    if (!row.fields[JOBID][0] || !strchr("0123456789", row.fields[JOBID][0]))
        return bad_field(r, "JobID", row.fields[JOBID], "a number such as 1234 or 1234_5", err);
    return read_job(r, &row, err);
}
