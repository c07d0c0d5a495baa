/* row: a row's fields as columns, so that each kind of store writes and reads all of them by one
 * loop, and the words of the header. */
#include <stdlib.h>
#include <string.h>

#include "jobs/jobs.h"

#define TO_FORM(form) WT_COLUMN_##form
#define COLUMN(name, form)                                                                         \
    {#name, TO_FORM(form), offsetof(struct wt_job_row, name),                                      \
     sizeof(((struct wt_job_row *)0)->name)},
const struct wt_job_column wt_job_columns[WT_JOB_COLUMN_COUNT] = {WT_JOB_COLUMNS(COLUMN)};

const char *wt_job_state_name(enum wt_job_state state)
{
    switch (state) {
    case WT_JOB_RUNNING:
        return "running";
    case WT_JOB_ENDED:
        return "ended";
    case WT_JOB_LOST:
        return "lost";
    }
    return "lost";
}

static const char *const by_names[] = {
    [WT_JOB_BY_JOB] = "job",         [WT_JOB_BY_USER] = "user",
    [WT_JOB_BY_ACCOUNT] = "account", [WT_JOB_BY_PARTITION] = "partition",
    [WT_JOB_BY_MODEL] = "model",     [WT_JOB_BY_NODE] = "node",
    [WT_JOB_BY_NONE] = "none",
};

const char *wt_job_by_name(enum wt_job_by by)
{
    return (size_t)by < WT_COUNTOF(by_names) ? by_names[by] : "none";
}

int wt_job_by_from_name(const char *name, enum wt_job_by *ret_by)
{
    for (size_t i = 0; i < WT_COUNTOF(by_names); i++)
        if (strcmp(by_names[i], name) == 0) {
            *ret_by = (enum wt_job_by)i;
            return 0;
        }
    return WT_E_NOTFOUND;
}

bool wt_job_column_get(const struct wt_job_column *column, const struct wt_job_row *row,
                       int64_t *ret_value)
{
    const void *at = (const char *)row + column->at;
    switch (column->form) {
    case WT_COLUMN_U32:
        *ret_value = *(const uint32_t *)at;
        return true;
    case WT_COLUMN_I64:
        *ret_value = *(const int64_t *)at;
        return true;
    case WT_COLUMN_U64:
        if (*(const uint64_t *)at > INT64_MAX)
            return false;
        *ret_value = (int64_t) * (const uint64_t *)at;
        return true;
    case WT_COLUMN_INT:
        *ret_value = *(const int *)at;
        return true;
    case WT_COLUMN_BOOL:
        *ret_value = *(const bool *)at;
        return true;
    case WT_COLUMN_KIND:
        *ret_value = *(const enum wt_device_kind *)at;
        return true;
    case WT_COLUMN_STATE:
        *ret_value = *(const enum wt_job_state *)at;
        return true;
    case WT_COLUMN_PROV:
        *ret_value = *(const enum wt_provenance *)at;
        return true;
    case WT_COLUMN_TEXT:
        break;
    }
    return false;
}

int wt_job_column_set(const struct wt_job_column *column, struct wt_job_row *row, bool is_null,
                      int64_t value)
{
    void *at = (char *)row + column->at;
    if (column->form != WT_COLUMN_U64 && is_null)
        return WT_E_FORMAT;
    if (column->form != WT_COLUMN_I64 && column->form != WT_COLUMN_INT && value < 0)
        return WT_E_FORMAT;
    switch (column->form) {
    case WT_COLUMN_U32:
        *(uint32_t *)at = (uint32_t)value;
        return value > UINT32_MAX ? WT_E_FORMAT : 0;
    case WT_COLUMN_I64:
        *(int64_t *)at = value;
        return 0;
    case WT_COLUMN_U64:
        *(uint64_t *)at = is_null ? UINT64_MAX : (uint64_t)value;
        return 0;
    case WT_COLUMN_INT:
        *(int *)at = (int)value;
        return value < -1 || value > INT32_MAX ? WT_E_FORMAT : 0;
    case WT_COLUMN_BOOL:
        *(bool *)at = value != 0;
        return 0;
    case WT_COLUMN_KIND:
        *(enum wt_device_kind *)at = (enum wt_device_kind)value;
        return value > WT_DEVICE_NODE ? WT_E_FORMAT : 0;
    case WT_COLUMN_STATE:
        *(enum wt_job_state *)at = (enum wt_job_state)value;
        return value > WT_JOB_LOST ? WT_E_FORMAT : 0;
    case WT_COLUMN_PROV:
        *(enum wt_provenance *)at = (enum wt_provenance)value;
        return value > WT_PROV_COUNTER ? WT_E_FORMAT : 0;
    case WT_COLUMN_TEXT:
        break;
    }
    return WT_E_FORMAT;
}

void wt_job_column_set_text(const struct wt_job_column *column, struct wt_job_row *row,
                            const char *text)
{
    bool is_good;
    char *at = (char *)row + column->at;
    size_t len = strlen(text), fits = wt_jobs_text_fits(text, len, column->size, &is_good);
    memcpy(at, text, fits);
    at[fits] = '\0';
}

char *wt_job_column_list(char *buf, size_t size, const char *before, size_t from)
{
    size_t used = 0;
    buf[0] = '\0';
    for (size_t i = from; i < WT_JOB_COLUMN_COUNT && used < size; i++) {
        /* Quoted: user and index are words of SQL. */
        wt_text(buf + used, size - used, "%s%s\"%s\"", i > from ? ", " : "", before,
                wt_job_columns[i].name);
        used += strlen(buf + used);
    }
    return buf;
}

static void add_where(struct wt_job_where *where, char mark, const char *condition,
                      const char *text, int64_t number)
{
    size_t used = strlen(where->sql);
    where->texts[where->count] = text;
    where->numbers[where->count++] = number;
    wt_text(where->sql + used, sizeof(where->sql) - used, "%s%s%c%zu", used ? " AND " : "",
            condition, mark, where->count);
}

static void add_plain(struct wt_job_where *where, const char *condition)
{
    size_t used = strlen(where->sql);
    wt_text(where->sql + used, sizeof(where->sql) - used, "%s%s", used ? " AND " : "", condition);
}

static void make_where(struct wt_job_where *where, const struct wt_job_filter *f, char mark)
{
    *where = (struct wt_job_where){0};
    const struct {
        const char *condition, *value;
    } texts[] = {
        {"\"user\" = ", f->user},           {"\"account\" = ", f->account},
        {"\"partition\" = ", f->partition}, {"\"model\" = ", f->model},
        {"\"node\" = ", f->node},           {"\"cluster\" = ", f->cluster},
    };
    for (size_t i = 0; i < WT_COUNTOF(texts); i++)
        if (texts[i].value)
            add_where(where, mark, texts[i].condition, texts[i].value, 0);
    if (f->job)
        add_where(where, mark, "\"job\" = ", NULL, f->job);
    if (f->until_ns)
        add_where(where, mark, "\"begin_ns\" < ", NULL, f->until_ns);
    if (f->since_ns) /* what runs was there up to its last note at least */
        add_where(where, mark,
                  "(CASE WHEN \"end_ns\" > 0 THEN \"end_ns\" ELSE \"updated_ns\" END) >= ", NULL,
                  f->since_ns);
    if (!f->has_idle)
        add_plain(where, "\"job\" > 0");
    if (!f->has_steps)
        add_plain(where, "(\"step\" = '' OR \"job\" = 0)");
    if (f->is_open_only)
        add_plain(where, "\"state\" = 0");
    if (!where->sql[0])
        add_plain(where, "1 = 1");
}

char *wt_job_select_make(char buf[WT_JOB_SELECT_MAX], const char *table, struct wt_job_where *where,
                         const struct wt_job_filter *filter, char mark)
{
    static const struct wt_job_filter any;
    const struct wt_job_filter *f = filter ? filter : &any;
    char names[1024], latest[2048] = "";
    make_where(where, f, mark);
    /* The same conditions within: a parameter may stand more than once. */
    if (f->latest)
        wt_text(latest, sizeof(latest),
                " AND (cluster, job%s) IN (SELECT cluster, job%s FROM %s WHERE %s"
                " AND is_counted = 1 AND step %s '' GROUP BY cluster, job%s"
                " ORDER BY min(begin_ns) DESC, job DESC LIMIT %zu)",
                f->has_steps ? ", step" : "", f->has_steps ? ", step" : "", table, where->sql,
                f->has_steps ? "<>" : "=", f->has_steps ? ", step" : "", f->latest);
    return wt_text(buf, WT_JOB_SELECT_MAX,
                   "SELECT %s FROM %s WHERE %s%s ORDER BY begin_ns, job, step, node, device",
                   wt_job_column_list(names, sizeof(names), "", 0), table, where->sql, latest);
}

struct wt_job_row *wt_job_rows_add(struct wt_job_row **rows, size_t *count, size_t *room)
{
    if (*count == *room) {
        size_t more_room = *room ? *room * 2 : 16;
        struct wt_job_row *more = reallocarray(*rows, more_room, sizeof(*more));
        if (!more)
            return NULL;
        *rows = more;
        *room = more_room;
    }
    struct wt_job_row *row = &(*rows)[(*count)++];
    memset(row, 0, sizeof(*row));
    return row;
}
