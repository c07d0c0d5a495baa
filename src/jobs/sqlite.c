/* sqlite: the node's job store, one SQLite file. It is also the spool of what goes to a central
 * store: seq says which version of a row it holds, sent_seq which one is committed there.
 *
 * WAL, so that whoever reads a list holds up nobody; synchronous=FULL, since the fact files are
 * removed once their rows are here. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/jobs.h"
#include "record/sqlite.h"

/* "Wtjb": tells our file from any other SQLite database. */
#define APPLICATION_ID 0x57746a62
#define BUSY_MS        3000

/* migrations[v] leads from version v to v + 1. Never change one that was released: add the next. */
static const char *const migrations[] = {
    "CREATE TABLE job(cluster TEXT NOT NULL, job INTEGER NOT NULL, step TEXT NOT NULL,"
    " node TEXT NOT NULL, begin_ns INTEGER NOT NULL, device TEXT NOT NULL, seq INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, \"index\" INTEGER NOT NULL, device_name TEXT NOT NULL,"
    " is_counted INTEGER NOT NULL, uid INTEGER NOT NULL, \"user\" TEXT NOT NULL,"
    " account TEXT NOT NULL, \"partition\" TEXT NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL,"
    " nodes INTEGER NOT NULL, cap_mw INTEGER, cap_set_mw INTEGER, state INTEGER NOT NULL,"
    " end_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, provenance INTEGER NOT NULL,"
    " energy_uj INTEGER, low_uj INTEGER, high_uj INTEGER, rule TEXT NOT NULL,"
    " gap_ns INTEGER NOT NULL, note TEXT NOT NULL, sent_seq INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY(cluster, job, step, node, begin_ns, device)) WITHOUT ROWID;"
    "CREATE INDEX job_begin ON job(begin_ns);"
    "CREATE INDEX job_open ON job(state) WHERE state = 0;"
    "CREATE INDEX job_unsent ON job(seq) WHERE seq > sent_seq;"
    "CREATE TABLE word(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
};
#define SCHEMA_VERSION ((int)WT_COUNTOF(migrations))

struct file {
    sqlite3 *db;
    char path[4096];
    bool is_readonly;
};

static int file_fail(const struct file *f, struct wt_error *err, const char *what)
{
    int code = wt_sqlite_code(f->db);
    wt_fail(err, code, "%.300s: cannot %s: %s", f->path, what,
            code == WT_E_FULL ? wt_strerror(code) : sqlite3_errmsg(f->db));
    if (code == WT_E_FULL)
        wt_fix(err, "free space there, or keep the job store elsewhere: --store FILE");
    else if (code == WT_E_DENIED)
        wt_fix(err, "make the file and its folder writable, or name another: --store FILE");
    else if (code == WT_E_FORMAT && sqlite3_errcode(f->db) == SQLITE_NOTADB)
        wt_fix(err,
               "it was left as it is; name a job store (--store FILE), or if this was one, its "
               "beginning is damaged: move it away");
    else if (code == WT_E_FORMAT)
        wt_fix(err, "it is damaged and was left as it is; move it away: mv '%.80s' '%.80s.damaged'",
               f->path, f->path);
    else if (code == WT_E_BUSY)
        wt_fix(err, "another program holds it; try again when that one has ended");
    return code;
}

static int undo(struct file *f, struct wt_error *err, const char *what)
{
    int rc = file_fail(f, err, what);
    wt_sqlite_execute(f->db, "ROLLBACK");
    return rc;
}

/* ---- opening ---- */

static int check_schema(struct file *f, struct wt_error *err)
{
    struct wt_sqlite_found found;
    const char *what;
    if (wt_sqlite_look(f->db, &found) < 0)
        return undo(f, err, "read it");
    if ((found.tables > 0 || f->is_readonly) && found.application != APPLICATION_ID) {
        wt_fail(err, WT_E_FORMAT,
                "%.300s: an SQLite file, but no job store of Wattune's; left as it is", f->path);
        wt_fix(err, "name another with --store FILE (runs are in another file: `wattune runs`)");
        return WT_E_FORMAT;
    }
    if (found.version > SCHEMA_VERSION) {
        wt_fail(err, WT_E_FORMAT,
                "%.300s: written by a newer Wattune (schema %d, this one knows up to %d)", f->path,
                found.version, SCHEMA_VERSION);
        wt_fix(err, "use that Wattune, or keep jobs elsewhere: --store FILE");
        return WT_E_FORMAT;
    }
    if (found.version == SCHEMA_VERSION)
        return 0;
    if (f->is_readonly)
        return wt_fail(err, WT_E_DENIED, "%.300s: of an older version, and may not be written",
                       f->path);
    return wt_sqlite_migrate(f->db, migrations, SCHEMA_VERSION, APPLICATION_ID, &what) < 0
               ? undo(f, err, what)
               : 0;
}

static int make_folder(const char *path, char *dir, size_t size, struct wt_error *err)
{
    wt_text(dir, size, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        wt_text(dir, size, ".");
    else
        slash[slash == dir] = '\0';
    struct stat st;
    if (stat(dir, &st) == 0)
        return 0;
    int rc = wt_fs_mkdirs(dir, 0755, err);
    if (rc < 0)
        wt_fix(err, "make the folder, or keep the job store elsewhere: --store FILE");
    return rc;
}

/* Made before SQLite does, whose log and index take its mode: names of others' jobs are not for
 * everybody, and whom else they are for its group says. One that is there stays as it is. */
static void make_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0)
        return;       /* there, or SQLite will say why not */
    fchmod(fd, 0640); /* whatever umask there is */
    close(fd);
}

static int open_file(struct file *f, bool is_to_write, struct wt_error *err)
{
    char dir[4096];
    struct stat st;
    int rc;
    if (stat(f->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        rc = wt_fail(err, WT_E_USAGE, "%.300s: a folder, and no file of jobs", f->path);
        wt_fix(err, "name the file in it: --store FILE");
        return rc;
    }
    if (is_to_write) {
        if ((rc = make_folder(f->path, dir, sizeof(dir), err)) < 0)
            return rc;
        make_private(f->path);
    } else if (access(f->path, R_OK) < 0) {
        rc = wt_fail_errno(err, errno, "no job store to read: %.300s", f->path);
        wt_fix(err, "%s",
               rc == WT_E_DENIED
                   ? "ask its owner for the right to read it"
                   : "`wattune serve` makes one on a node; name another with --store");
        return rc;
    }
    int flags = is_to_write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    if (sqlite3_open_v2(f->path, &f->db, flags, NULL) != SQLITE_OK)
        return f->db ? file_fail(f, err, "open it")
                     : wt_fail(err, WT_E_NOMEM, "no memory for the job store");
    f->is_readonly = sqlite3_db_readonly(f->db, "main") == 1;
    if (f->is_readonly && is_to_write) {
        wt_fail(err, WT_E_DENIED, "%.300s: may not be written", f->path);
        wt_fix(err, "make the file and its folder writable, or name another: --store FILE");
        return WT_E_DENIED;
    }
    sqlite3_busy_timeout(f->db, BUSY_MS);
    if (is_to_write)
        wt_sqlite_choose_journal(f->db, dir, "FULL");
    return check_schema(f, err);
}

static void sqlite_close(void *data)
{
    struct file *f = data;
    struct wt_shield shield;
    if (!f)
        return;
    wt_shield_up(&shield);
    sqlite3_close(f->db);
    wt_shield_down(&shield);
    free(f);
}

static int sqlite_open(void **ret_data, const char *where, bool is_to_write, struct wt_error *err)
{
    struct file *f = calloc(1, sizeof(*f));
    struct wt_shield shield;
    if (!f)
        return wt_fail(err, WT_E_NOMEM, "no memory for the job store");
    wt_text(f->path, sizeof(f->path), "%s", where);
    wt_shield_up(&shield);
    int rc = open_file(f, is_to_write, err);
    wt_shield_down(&shield);
    if (rc < 0) {
        sqlite_close(f);
        return rc;
    }
    *ret_data = f;
    return 0;
}

static const char *sqlite_name(const void *data)
{
    return ((const struct file *)data)->path;
}

/* ---- writing ---- */

static void bind_row(sqlite3_stmt *stmt, const struct wt_job_row *row)
{
    for (int i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        int64_t value;
        if (column->form == WT_COLUMN_TEXT)
            sqlite3_bind_text(stmt, i + 1, (const char *)row + column->at, -1, SQLITE_STATIC);
        else if (wt_job_column_get(column, row, &value))
            sqlite3_bind_int64(stmt, i + 1, value);
        else
            sqlite3_bind_null(stmt, i + 1);
    }
}

/* INSERT with all columns, in place of what has the same key, with a seq above it. */
static int prepare_write(struct file *f, sqlite3_stmt **ret_stmt)
{
    char names[1024], marks[256] = "", sql[4096];
    for (size_t i = 0; i < WT_JOB_COLUMN_COUNT; i++)
        strcat(marks, i ? ", ?" : "?");
    wt_job_column_list(names, sizeof(names), "", 0);
    wt_text(sql, sizeof(sql),
            "INSERT INTO job(%s) VALUES(%s)"
            " ON CONFLICT(cluster, job, step, node, begin_ns, device) DO UPDATE SET"
            " seq = max(excluded.seq, job.seq + 1)",
            names, marks);
    for (size_t i = WT_JOB_KEY_COUNT + 1; i < WT_JOB_COLUMN_COUNT; i++) {
        size_t used = strlen(sql);
        wt_text(sql + used, sizeof(sql) - used, ", \"%s\" = excluded.\"%s\"",
                wt_job_columns[i].name, wt_job_columns[i].name);
    }
    strcat(sql, " RETURNING seq");
    return wt_sqlite_prepare(f->db, ret_stmt, sql);
}

static int write_rows(struct file *f, struct wt_job_row *rows, size_t count, struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_execute(f->db, "BEGIN IMMEDIATE") < 0)
        return file_fail(f, err, "lock it");
    int64_t now_ns = wt_clock_unix_ns();
    if (prepare_write(f, &stmt) < 0)
        return undo(f, err, "write jobs");
    for (size_t i = 0; i < count; i++) {
        rows[i].seq = now_ns;
        bind_row(stmt, &rows[i]);
        if (sqlite3_step(stmt) != SQLITE_ROW) {
            sqlite3_finalize(stmt);
            return undo(f, err, "write jobs");
        }
        rows[i].seq = sqlite3_column_int64(stmt, 0);
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return wt_sqlite_execute(f->db, "COMMIT") < 0 ? undo(f, err, "write jobs") : 0;
}

static int sqlite_write(void *data, struct wt_job_row *rows, size_t count, struct wt_error *err)
{
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc = write_rows(data, rows, count, err);
    wt_shield_down(&shield);
    return rc;
}

/* ---- reading ---- */

static int take_row(sqlite3_stmt *stmt, struct wt_job_row *row)
{
    for (int i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        const char *text;
        if (column->form == WT_COLUMN_TEXT) {
            text = (const char *)sqlite3_column_text(stmt, i);
            wt_job_column_set_text(column, row, text ? text : "");
        } else if (wt_job_column_set(column, row, sqlite3_column_type(stmt, i) == SQLITE_NULL,
                                     sqlite3_column_int64(stmt, i)) < 0) {
            return -1;
        }
    }
    return 0;
}

static int take_rows(struct file *f, sqlite3_stmt *stmt, struct wt_job_row **ret_rows,
                     size_t *ret_count, struct wt_error *err)
{
    struct wt_job_row *rows = NULL, *row;
    size_t count = 0, room = 0;
    int step, rc = 0;
    while (rc == 0 && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (!(row = wt_job_rows_add(&rows, &count, &room)))
            rc = wt_fail(err, WT_E_NOMEM, "no memory to list the jobs");
        else if (take_row(stmt, row) < 0)
            rc = wt_fail(err, WT_E_FORMAT, "%.300s: a row of job %u holds what no row can hold",
                         f->path, row->job);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = file_fail(f, err, "read it");
    if (rc < 0) {
        free(rows);
        return rc;
    }
    *ret_rows = rows;
    *ret_count = count;
    return 0;
}

static int sqlite_list(void *data, const struct wt_job_filter *filter, struct wt_job_row **ret_rows,
                       size_t *ret_count, struct wt_error *err)
{
    struct file *f = data;
    struct wt_job_where where;
    sqlite3_stmt *stmt = NULL;
    char sql[WT_JOB_SELECT_MAX];
    if (wt_sqlite_prepare(f->db, &stmt, wt_job_select_make(sql, "job", &where, filter, '?')) < 0)
        return file_fail(f, err, "read it");
    for (size_t i = 0; i < where.count; i++)
        if (where.texts[i])
            sqlite3_bind_text(stmt, (int)i + 1, where.texts[i], -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(stmt, (int)i + 1, where.numbers[i]);
    int rc = take_rows(f, stmt, ret_rows, ret_count, err);
    sqlite3_finalize(stmt);
    return rc;
}

const struct wt_job_store_ops wt_job_sqlite = {
    .open = sqlite_open,
    .close = sqlite_close,
    .name = sqlite_name,
    .write = sqlite_write,
    .list = sqlite_list,
};

/* ---- the spool ---- */

int wt_job_sqlite_unsent(void *data, size_t max, struct wt_job_row **ret_rows, size_t *ret_count,
                         struct wt_error *err)
{
    struct file *f = data;
    sqlite3_stmt *stmt = NULL;
    char names[1024], sql[2048];
    wt_text(sql, sizeof(sql), "SELECT %s FROM job WHERE seq > sent_seq ORDER BY seq LIMIT %zu",
            wt_job_column_list(names, sizeof(names), "", 0), max);
    if (wt_sqlite_prepare(f->db, &stmt, sql) < 0)
        return file_fail(f, err, "read it");
    int rc = take_rows(f, stmt, ret_rows, ret_count, err);
    sqlite3_finalize(stmt);
    return rc;
}

int wt_job_sqlite_count_unsent(void *data, size_t *ret_count, struct wt_error *err)
{
    struct file *f = data;
    int count;
    if (wt_sqlite_query_int(f->db, "SELECT count(*) FROM job WHERE seq > sent_seq", &count) < 0)
        return file_fail(f, err, "read it");
    *ret_count = (size_t)count;
    return 0;
}

static int mark_sent(struct file *f, const struct wt_job_row *rows, size_t count,
                     struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_execute(f->db, "BEGIN IMMEDIATE") < 0)
        return file_fail(f, err, "lock it");
    if (wt_sqlite_prepare(
            f->db, &stmt,
            "UPDATE job SET sent_seq = max(sent_seq, ?7) WHERE cluster = ?1 AND job = ?2"
            " AND step = ?3 AND node = ?4 AND begin_ns = ?5 AND device = ?6") < 0)
        return undo(f, err, "mark what was sent");
    for (size_t i = 0; i < count; i++) {
        const struct wt_job_row *row = &rows[i];
        sqlite3_bind_text(stmt, 1, row->cluster, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 2, row->job);
        sqlite3_bind_text(stmt, 3, row->step, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 4, row->node, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 5, row->begin_ns);
        sqlite3_bind_text(stmt, 6, row->device, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 7, row->seq);
        if (sqlite3_step(stmt) != SQLITE_DONE) {
            sqlite3_finalize(stmt);
            return undo(f, err, "mark what was sent");
        }
        sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return wt_sqlite_execute(f->db, "COMMIT") < 0 ? undo(f, err, "mark what was sent") : 0;
}

int wt_job_sqlite_sent(void *data, const struct wt_job_row *rows, size_t count,
                       struct wt_error *err)
{
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc = mark_sent(data, rows, count, err);
    wt_shield_down(&shield);
    return rc;
}

int wt_job_sqlite_prune(void *data, int64_t before_ns, bool is_sent_only, struct wt_error *err)
{
    struct file *f = data;
    struct wt_shield shield;
    sqlite3_stmt *stmt = NULL;
    wt_shield_up(&shield);
    int rc = wt_sqlite_prepare(f->db, &stmt,
                               "DELETE FROM job WHERE state <> 0 AND end_ns < ?1"
                               " AND (seq = sent_seq OR NOT ?2)");
    if (rc == 0) {
        sqlite3_bind_int64(stmt, 1, before_ns);
        sqlite3_bind_int(stmt, 2, is_sent_only);
        rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;
    }
    if (rc < 0)
        rc = file_fail(f, err, "remove old rows");
    sqlite3_finalize(stmt);
    wt_shield_down(&shield);
    return rc;
}

int wt_job_sqlite_get(void *data, const char *key, char *buf, size_t size, struct wt_error *err)
{
    struct file *f = data;
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_prepare(f->db, &stmt, "SELECT value FROM word WHERE key = ?") < 0)
        return file_fail(f, err, "read it");
    sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
    int step = sqlite3_step(stmt), rc = 0;
    const char *text = step == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = file_fail(f, err, "read it");
    else
        wt_text(buf, size, "%s", text ? text : "");
    sqlite3_finalize(stmt);
    return rc;
}

int wt_job_sqlite_set(void *data, const char *key, const char *value, struct wt_error *err)
{
    struct file *f = data;
    struct wt_shield shield;
    sqlite3_stmt *stmt = NULL;
    wt_shield_up(&shield);
    int rc =
        wt_sqlite_prepare(f->db, &stmt, "INSERT OR REPLACE INTO word(key, value) VALUES(?, ?)");
    if (rc == 0) {
        sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, value, -1, SQLITE_STATIC);
        rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;
    }
    if (rc < 0)
        rc = file_fail(f, err, "write to it");
    sqlite3_finalize(stmt);
    wt_shield_down(&shield);
    return rc;
}
