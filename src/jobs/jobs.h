/* jobs: what the files of this stage share. Internal to the library. */
#ifndef WT_JOBS_H
#define WT_JOBS_H

#include "base/base.h"
#include "wattune/jobs.h"

/* ---- facts.c ---- */

/* How many of len bytes fit in a buffer of this size, whole characters and room for the end;
 * *ret_is_good: they are UTF-8 without control characters. */
size_t wt_jobs_text_fits(const char *text, size_t len, size_t size, bool *ret_is_good);
/* "0", "batch", ...: what a step may be called. */
bool wt_jobs_is_step(const char *text);

/* ---- cpu.c: CPU time of a job ---- */

/* Where the processes of a step are found. */
struct wt_step_cpu {
    uint32_t pid; /* its slurmstepd; 0: not known */
    uint64_t pid_start;
    char cgroup[512]; /* of the step; "": none, the process tree then */
};
/* Looks for slurmstepd and its cgroup. False: it is not there (any more). */
bool wt_step_cpu_find(const struct wt_ctx *ctx, struct wt_step_cpu *cpu, uint32_t job);
/* CPU time of the step so far. Errors: WT_E_GONE, WT_E_NOTFOUND, WT_E_FORMAT. */
int wt_step_cpu_ns(const struct wt_ctx *ctx, const struct wt_step_cpu *cpu, uint64_t *ret_ns,
                   struct wt_error *err);

/* ---- the stores ---- */

/* A store of some kind; what open made is its data. Lists are the caller's. */
struct wt_job_store_ops {
    int (*open)(void **ret_data, const char *where, bool is_to_write, struct wt_error *err);
    void (*close)(void *data);
    const char *(*name)(const void *data);
    int (*write)(void *data, struct wt_job_row *rows, size_t count, struct wt_error *err);
    int (*list)(void *data, const struct wt_job_filter *filter, struct wt_job_row **ret_rows,
                size_t *ret_count, struct wt_error *err);
};
extern const struct wt_job_store_ops wt_job_sqlite, wt_job_postgres;

bool wt_job_is_postgres(const char *where);

/* The columns of a row in the order of both stores' tables. X(name, form): the forms are TEXT (char
 * array), U32, I64, U64 (UINT64_MAX is NULL), INT, BOOL, KIND, STATE, PROV. */
#define WT_JOB_COLUMNS(X)                                                                          \
    X(cluster, TEXT)                                                                               \
    X(job, U32)                                                                                    \
    X(step, TEXT)                                                                                  \
    X(node, TEXT)                                                                                  \
    X(begin_ns, I64)                                                                               \
    X(device, TEXT)                                                                                \
    X(seq, I64)                                                                                    \
    X(kind, KIND)                                                                                  \
    X(index, INT)                                                                                  \
    X(device_name, TEXT)                                                                           \
    X(is_counted, BOOL)                                                                            \
    X(uid, U32)                                                                                    \
    X(user, TEXT)                                                                                  \
    X(account, TEXT)                                                                               \
    X(partition, TEXT)                                                                             \
    X(name, TEXT)                                                                                  \
    X(model, TEXT)                                                                                 \
    X(nodes, U32)                                                                                  \
    X(cap_mw, U64)                                                                                 \
    X(cap_set_mw, U64)                                                                             \
    X(state, STATE)                                                                                \
    X(end_ns, I64)                                                                                 \
    X(updated_ns, I64)                                                                             \
    X(provenance, PROV)                                                                            \
    X(energy_uj, U64)                                                                              \
    X(low_uj, U64)                                                                                 \
    X(high_uj, U64)                                                                                \
    X(rule, TEXT)                                                                                  \
    X(gap_ns, I64)                                                                                 \
    X(note, TEXT)

enum wt_job_form {
    WT_COLUMN_TEXT,
    WT_COLUMN_U32,
    WT_COLUMN_I64,
    WT_COLUMN_U64,
    WT_COLUMN_INT,
    WT_COLUMN_BOOL,
    WT_COLUMN_KIND,
    WT_COLUMN_STATE,
    WT_COLUMN_PROV,
};
struct wt_job_column {
    const char *name; /* as both tables have it: the field's name, but for words of SQL */
    enum wt_job_form form;
    size_t at, size; /* in struct wt_job_row */
};
#define WT_JOB_COLUMN_COUNT 30
#define WT_JOB_KEY_COUNT    6
extern const struct wt_job_column wt_job_columns[WT_JOB_COLUMN_COUNT];
/* A number as a table holds it; false: NULL. Of a column that is no text. */
bool wt_job_column_get(const struct wt_job_column *column, const struct wt_job_row *row,
                       int64_t *ret_value);
/* And back; what no row can hold is WT_E_FORMAT. */
int wt_job_column_set(const struct wt_job_column *column, struct wt_job_row *row, bool is_null,
                      int64_t value);
void wt_job_column_set_text(const struct wt_job_column *column, struct wt_job_row *row,
                            const char *text);
/* "cluster, job, ..." into buf, each with this before it ("EXCLUDED."). Returns buf. */
char *wt_job_column_list(char *buf, size_t size, const char *before, size_t from);
/* The WHERE of a list, with placeholders that mark (with the number of each) makes: "?1", "$1";
 * what they stand for is in values, NULL: a number in numbers. At most WT_JOB_WHERE_MAX. */
#define WT_JOB_WHERE_MAX 10
struct wt_job_where {
    char sql[1024];
    const char *texts[WT_JOB_WHERE_MAX];
    int64_t numbers[WT_JOB_WHERE_MAX];
    size_t count;
};
/* And the SELECT of that list, for a table of this name. Returns buf. */
#define WT_JOB_SELECT_MAX 4096
char *wt_job_select_make(char buf[WT_JOB_SELECT_MAX], const char *table, struct wt_job_where *where,
                         const struct wt_job_filter *filter, char mark);
/* Room for one more row, zeroed; NULL without memory. */
struct wt_job_row *wt_job_rows_add(struct wt_job_row **rows, size_t *count, size_t *room);

/* Of an SQLite store only, by its data: what the central one has not. */
int wt_job_sqlite_unsent(void *data, size_t max, struct wt_job_row **ret_rows, size_t *ret_count,
                         struct wt_error *err);
int wt_job_sqlite_count_unsent(void *data, size_t *ret_count, struct wt_error *err);
/* These rows are committed there, as they are in rows; what was written since stays unsent. */
int wt_job_sqlite_sent(void *data, const struct wt_job_row *rows, size_t count,
                       struct wt_error *err);
/* Rows that ended before this go; those unsent too, unless is_sent_only. */
int wt_job_sqlite_prune(void *data, int64_t before_ns, bool is_sent_only, struct wt_error *err);
/* A word of the store's own ("boot"); "" when there is none. */
int wt_job_sqlite_get(void *data, const char *key, char *buf, size_t size, struct wt_error *err);
int wt_job_sqlite_set(void *data, const char *key, const char *value, struct wt_error *err);

#endif
