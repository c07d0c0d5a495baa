/* store: every run in one SQLite file, written as the run goes.
 *
 * After a kill -9 the row is there; it is shown as incomplete once its writer is known to be dead.
 * WAL with synchronous=NORMAL: a commit is a write into the page cache, which outlives the process
 * and costs no fsync; a power cut may take the last moments, never the file. On network file
 * systems, where WAL's shared memory does not work, the rollback journal is used.
 *
 * A store that cannot be used is the caller's to live without: the measurement goes on. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record/record.h"
#include "record/sqlite.h"

#define FILE_NAME "runs.db"
/* "Wttn": tells our file from any other SQLite database. */
#define APPLICATION_ID 0x5774746e
#define BUSY_MS        2000
/* A writer that cannot be looked up (another machine, another container) is taken for dead when it
 * has not written for this long. */
#define SILENCE_NS (INT64_C(300) * WT_NS_PER_S)

struct wt_store {
    sqlite3 *db;
    char path[4096];
    char place[160]; /* boot and pid namespace: where a pid means something */
    bool is_readonly;
};

/* migrations[v] leads from version v to v + 1. Never change one that was released: add the next. */
static const char *const migrations[] = {
    "CREATE TABLE run(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, grp TEXT NOT NULL,"
    " tag TEXT NOT NULL, start_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,"
    " is_ended INTEGER NOT NULL, writer_pid INTEGER NOT NULL, writer_start INTEGER NOT NULL,"
    " writer_place TEXT NOT NULL, doc TEXT NOT NULL);"
    "CREATE INDEX run_start ON run(start_ns);"
    "CREATE INDEX run_grp ON run(grp) WHERE grp <> '';"
    "CREATE TABLE point(run INTEGER NOT NULL, seq INTEGER NOT NULL, t_s REAL, device INTEGER,"
    " power_w REAL, temp_c REAL, clock_mhz REAL, limit_w REAL, throttle INTEGER,"
    " PRIMARY KEY(run, seq)) WITHOUT ROWID;"
    "CREATE TABLE value(run INTEGER NOT NULL, seq INTEGER NOT NULL, t_s REAL, name TEXT,"
    " value REAL, PRIMARY KEY(run, seq)) WITHOUT ROWID;",
    /* What was best for some work on some machine. */
    "CREATE TABLE best(machine TEXT NOT NULL, work TEXT NOT NULL, goal TEXT NOT NULL,"
    " updated_ns INTEGER NOT NULL, run TEXT NOT NULL, setting TEXT NOT NULL,"
    " PRIMARY KEY(machine, work, goal)) WITHOUT ROWID;",
};
#define SCHEMA_VERSION ((int)WT_COUNTOF(migrations))

/* ---- errors ---- */

static int store_fail(const struct wt_store *store, struct wt_error *err, const char *what)
{
    int code = wt_sqlite_code(store->db);
    wt_fail(err, code, "%s: cannot %s: %s", store->path, what,
            code == WT_E_FULL ? wt_strerror(code) : sqlite3_errmsg(store->db));
    switch (code) {
    case WT_E_FULL:
        wt_fix(err, "free space there, or set XDG_DATA_HOME to a folder that has some");
        break;
    case WT_E_DENIED:
        wt_fix(err, "make the file and its folder writable, or set XDG_DATA_HOME");
        break;
    case WT_E_FORMAT:
        wt_fix(err, "it is damaged and was left as it is; move it away: mv '%.80s' '%.80s.damaged'",
               store->path, store->path);
        break;
    case WT_E_BUSY:
        wt_fix(err, "another program holds it; try again when that one has ended");
        break;
    default:
        break;
    }
    return code;
}

/* ---- statements ---- */

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
    sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

static const char *column_text(sqlite3_stmt *stmt, int at)
{
    const char *text = (const char *)sqlite3_column_text(stmt, at);
    return text ? text : "";
}

/* NaN is stored as NULL and comes back as NaN. */
static double column_number(sqlite3_stmt *stmt, int at)
{
    return sqlite3_column_type(stmt, at) == SQLITE_NULL ? NAN : sqlite3_column_double(stmt, at);
}

/* Undo must not hide the error that led to it. */
static int undo(struct wt_store *store, struct wt_error *err, const char *what)
{
    int rc = store_fail(store, err, what);
    wt_sqlite_execute(store->db, "ROLLBACK");
    return rc;
}

/* ---- opening ---- */

int wt_store_default_dir(char *buf, size_t size, struct wt_error *err)
{
    const char *data = getenv("XDG_DATA_HOME");
    if (data && data[0] == '/') { /* a relative path is to be ignored, says the XDG standard */
        wt_text(buf, size, "%s/wattune", data);
        return 0;
    }
    const char *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char text[4096];
    if ((!home || home[0] != '/') &&
        getpwuid_r(getuid(), &entry, text, sizeof(text), &found) == 0 && found)
        home = found->pw_dir;
    if (!home || home[0] != '/') {
        wt_fail(err, WT_E_NOTFOUND,
                "no home directory to keep runs in: HOME is not set and user "
                "%u has no entry in passwd",
                (unsigned)getuid());
        wt_fix(err, "set XDG_DATA_HOME to a folder of yours");
        return WT_E_NOTFOUND;
    }
    wt_text(buf, size, "%s/.local/share/wattune", home);
    return 0;
}

static void describe_place(char *buf, size_t size)
{
    char boot[64] = "", ns[64] = "";
    if (wt_fs_read(NULL, "/proc/sys/kernel/random/boot_id", boot, sizeof(boot), NULL) < 0)
        boot[0] = '\0';
    ssize_t n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);
    ns[n > 0 ? n : 0] = '\0';
    wt_text(buf, size, "%s %s", boot, ns);
}

static int check_schema(struct wt_store *store, struct wt_error *err)
{
    struct wt_sqlite_found found;
    const char *what;
    if (wt_sqlite_look(store->db, &found) < 0)
        return undo(store, err, "read it");
    if (found.version > SCHEMA_VERSION && found.application == APPLICATION_ID) {
        wt_fail(err, WT_E_FORMAT,
                "%s: written by a newer Wattune (schema %d, this one knows up to %d)", store->path,
                found.version, SCHEMA_VERSION);
        wt_fix(err, "use that Wattune, or set XDG_DATA_HOME to keep runs elsewhere");
        return WT_E_FORMAT;
    }
    if (found.tables > 0 && found.application != APPLICATION_ID) {
        wt_fail(err, WT_E_FORMAT, "%s: an SQLite file, but not one of Wattune's; left as it is",
                store->path);
        wt_fix(err, "move it away, or set XDG_DATA_HOME to keep runs elsewhere");
        return WT_E_FORMAT;
    }
    if (found.version == SCHEMA_VERSION)
        return 0;
    if (store->is_readonly)
        return wt_fail(err, WT_E_DENIED, "%s: of an older version, and may not be written",
                       store->path);
    return wt_sqlite_migrate(store->db, migrations, SCHEMA_VERSION, APPLICATION_ID, &what) < 0
               ? undo(store, err, what)
               : 0;
}

static int open_file(struct wt_store *store, const char *dir, struct wt_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (access(dir, W_OK) < 0) {
        int errnum = errno;
        if (access(store->path, R_OK) < 0) {
            int denied = wt_fail_errno(err, errnum, "%s: cannot make %s there", dir, FILE_NAME);
            wt_fix(err, "make the folder writable, or set XDG_DATA_HOME to one that is");
            return denied;
        }
        flags = SQLITE_OPEN_READONLY; /* the runs there can still be shown */
    }
    int rc = sqlite3_open_v2(store->path, &store->db, flags, NULL);
    if (!store->db)
        return wt_fail(err, WT_E_NOMEM, "no memory for the run store");
    if (rc != SQLITE_OK)
        return store_fail(store, err, "open it");
    store->is_readonly = sqlite3_db_readonly(store->db, "main") == 1;
    sqlite3_busy_timeout(store->db, BUSY_MS);
    if (!store->is_readonly)
        wt_sqlite_choose_journal(store->db, dir, "NORMAL");
    return check_schema(store, err);
}

int wt_store_open(struct wt_store **ret_store, const char *dir, struct wt_error *err)
{
    char folder[4000];
    int rc = 0;
    if (dir)
        wt_text(folder, sizeof(folder), "%s", dir);
    else if ((rc = wt_store_default_dir(folder, sizeof(folder), err)) < 0)
        return rc;
    struct stat st;
    if (stat(folder, &st) < 0 && (rc = wt_fs_mkdirs(folder, 0700, err)) < 0) {
        wt_fix(err, "make the folder, or set XDG_DATA_HOME to one that may be written");
        return rc;
    }
    struct wt_store *store = calloc(1, sizeof(*store));
    if (!store)
        return wt_fail(err, WT_E_NOMEM, "no memory for the run store");
    wt_text(store->path, sizeof(store->path), "%s/" FILE_NAME, folder);
    describe_place(store->place, sizeof(store->place));
    struct wt_shield shield;
    wt_shield_up(&shield);
    rc = open_file(store, folder, err);
    wt_shield_down(&shield);
    if (rc < 0) {
        wt_store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

bool wt_store_exists(const char *dir)
{
    char folder[4000], path[4096];
    if (dir)
        wt_text(folder, sizeof(folder), "%s", dir);
    else if (wt_store_default_dir(folder, sizeof(folder), NULL) < 0)
        return false;
    wt_text(path, sizeof(path), "%s/" FILE_NAME, folder);
    return access(path, F_OK) == 0;
}

void wt_store_close(struct wt_store *store)
{
    if (!store)
        return;
    struct wt_shield shield;
    wt_shield_up(&shield);
    sqlite3_close(store->db);
    wt_shield_down(&shield);
    free(store);
}

const char *wt_store_path(const struct wt_store *store)
{
    return store->path;
}

/* ---- writing ---- */

/* The document of the run as stored; owned by the caller. */
static char *doc_text(const struct wt_run *run)
{
    json_t *doc = wt_run_json(run, false);
    if (!doc)
        return NULL;
    char *text = json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(doc);
    return text;
}

static int write_refused(const struct wt_store *store, struct wt_error *err)
{
    wt_fail(err, WT_E_DENIED, "%s: may not be written", store->path);
    wt_fix(err, "make the file and its folder writable, or set XDG_DATA_HOME");
    return WT_E_DENIED;
}

static int insert(struct wt_store *store, struct wt_run *run, const char *doc, struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t ticks = 0;
    wt_fs_process_start((uint32_t)getpid(), &ticks, NULL);
    if (wt_sqlite_prepare(
            store->db, &stmt,
            "INSERT INTO run(id, grp, tag, start_ns, updated_ns, is_ended, writer_pid,"
            " writer_start, writer_place, doc) VALUES(?, ?, ?, ?, ?, 0, ?, ?, ?, ?)") < 0)
        return store_fail(store, err, "write the run");
    bind_text(stmt, 1, run->id);
    bind_text(stmt, 2, run->group);
    bind_text(stmt, 3, run->tag);
    sqlite3_bind_int64(stmt, 4, run->start_unix_ns);
    sqlite3_bind_int64(stmt, 5, wt_clock_unix_ns());
    sqlite3_bind_int64(stmt, 6, getpid());
    sqlite3_bind_int64(stmt, 7, (sqlite3_int64)ticks);
    bind_text(stmt, 8, store->place);
    bind_text(stmt, 9, doc);
    int step = sqlite3_step(stmt);
    int rc = 0;
    if (step == SQLITE_DONE)
        run->stored.row = sqlite3_last_insert_rowid(store->db);
    else if (sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_UNIQUE)
        rc = wt_fail(err, WT_E_STATE, "%s: there is a run %s already", store->path, run->id);
    else
        rc = store_fail(store, err, "write the run");
    sqlite3_finalize(stmt);
    return rc;
}

int wt_store_begin(struct wt_store *store, struct wt_run *run, struct wt_error *err)
{
    bool is_id_ours = !run->id[0];
    run->state = WT_RUN_RUNNING;
    wt_run_stamp(run);
    if (store->is_readonly)
        return write_refused(store, err);
    run->stored.points = run->stored.values = 0;
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc;
    for (int tries = 0;; tries++) {
        char *doc = doc_text(run);
        rc = doc ? insert(store, run, doc, err)
                 : wt_fail(err, WT_E_NOMEM, "no memory to store the run");
        free(doc);
        if (rc != WT_E_STATE || !is_id_ours || tries == 8)
            break;
        run->id[0] = '\0'; /* two runs in one millisecond drew the same number */
        wt_run_stamp(run);
    }
    wt_shield_down(&shield);
    return rc;
}

static int write_points(struct wt_store *store, const struct wt_run *run)
{
    sqlite3_stmt *stmt = NULL;
    if (run->stored.points == run->point_count)
        return 0;
    if (wt_sqlite_prepare(store->db, &stmt, "INSERT INTO point VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)") <
        0)
        return -1;
    int rc = 0;
    for (size_t i = run->stored.points; i < run->point_count && rc == 0; i++) {
        const struct wt_run_point *p = &run->points[i];
        sqlite3_bind_int64(stmt, 1, run->stored.row);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)i);
        sqlite3_bind_double(stmt, 3, p->t_s);
        sqlite3_bind_int64(stmt, 4, p->device);
        sqlite3_bind_double(stmt, 5, p->power_w);
        sqlite3_bind_double(stmt, 6, p->temp_c);
        sqlite3_bind_double(stmt, 7, p->clock_mhz);
        sqlite3_bind_double(stmt, 8, p->limit_w);
        sqlite3_bind_int64(stmt, 9, (sqlite3_int64)p->throttle);
        if (sqlite3_step(stmt) != SQLITE_DONE)
            rc = -1;
        else
            sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int write_values(struct wt_store *store, const struct wt_run *run)
{
    sqlite3_stmt *stmt = NULL;
    if (run->stored.values == run->value_count)
        return 0;
    if (wt_sqlite_prepare(store->db, &stmt, "INSERT OR REPLACE INTO value VALUES(?, ?, ?, ?, ?)") <
        0)
        return -1;
    int rc = 0;
    for (size_t i = run->stored.values; i < run->value_count && rc == 0; i++) {
        const struct wt_run_value *v = &run->values[i];
        sqlite3_bind_int64(stmt, 1, run->stored.row);
        sqlite3_bind_int64(stmt, 2, (sqlite3_int64)i);
        sqlite3_bind_double(stmt, 3, v->t_s);
        bind_text(stmt, 4, v->name);
        sqlite3_bind_double(stmt, 5, v->value);
        if (sqlite3_step(stmt) != SQLITE_DONE)
            rc = -1;
        else
            sqlite3_reset(stmt);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int write_head(struct wt_store *store, const struct wt_run *run, const char *doc)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_prepare(store->db, &stmt,
                          "UPDATE run SET tag = ?, updated_ns = ?, is_ended = ?, doc = ? WHERE n = "
                          "? AND id = ?") < 0)
        return -1;
    bind_text(stmt, 1, run->tag);
    sqlite3_bind_int64(stmt, 2, wt_clock_unix_ns());
    sqlite3_bind_int(stmt, 3, run->state == WT_RUN_DONE);
    bind_text(stmt, 4, doc);
    sqlite3_bind_int64(stmt, 5, run->stored.row);
    bind_text(stmt, 6, run->id); /* where it was forgotten, its number may be another's */
    int rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;
    sqlite3_finalize(stmt);
    return rc;
}

static int write_all(struct wt_store *store, struct wt_run *run, const char *doc,
                     struct wt_error *err)
{
    if (wt_sqlite_execute(store->db, "BEGIN IMMEDIATE") < 0)
        return store_fail(store, err, "lock it");
    if (write_head(store, run, doc) < 0)
        return undo(store, err, "write the run");
    if (sqlite3_changes(store->db) != 1) {
        wt_sqlite_execute(store->db, "ROLLBACK");
        return wt_fail(err, WT_E_CHANGED, "%s: the record of run %s was removed meanwhile",
                       store->path, run->id);
    }
    if (write_points(store, run) < 0 || write_values(store, run) < 0 ||
        wt_sqlite_execute(store->db, "COMMIT") < 0)
        return undo(store, err, "write the run");
    run->stored.points = run->point_count;
    run->stored.values = run->value_count;
    return 0;
}

int wt_store_update(struct wt_store *store, struct wt_run *run, struct wt_error *err)
{
    if (store->is_readonly)
        return write_refused(store, err);
    if (!run->stored.row)
        return wt_fail(err, WT_E_STATE, "%s: run %s was not begun here", store->path, run->id);
    char *doc = doc_text(run);
    if (!doc)
        return wt_fail(err, WT_E_NOMEM, "no memory to store the run");
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc = write_all(store, run, doc, err);
    wt_shield_down(&shield);
    free(doc);
    return rc;
}

int wt_store_end(struct wt_store *store, struct wt_run *run, struct wt_error *err)
{
    run->state = WT_RUN_DONE;
    return wt_store_update(store, run, err);
}

/* ---- reading ---- */

/* Written by this very machine before it was started anew: its name is the same, the boot is not.
 */
static bool is_before_reboot(const struct wt_store *store, const char *place, const char *host)
{
    char here[64] = "";
    size_t boot = strcspn(place, " ");
    if (gethostname(here, sizeof(here) - 1) < 0 || !here[0] || strcmp(here, "localhost") == 0)
        return false;
    return boot > 0 && place[boot] == ' ' && strcmp(host, here) == 0 && store->place[0] != ' ' &&
           strncmp(place, store->place, boot + 1) != 0;
}

/* Is the writer of an unfinished row still at work? */
static bool is_writer_alive(const struct wt_store *store, sqlite3_int64 pid, sqlite3_int64 start,
                            const char *place, const char *host, sqlite3_int64 updated_ns)
{
    if (is_before_reboot(store, place, host))
        return false;
    if (strcmp(place, store->place) == 0) {
        uint64_t ticks;
        return wt_fs_process_start((uint32_t)pid, &ticks, NULL) == 0 && ticks == (uint64_t)start;
    }
    return wt_clock_unix_ns() - updated_ns < SILENCE_NS;
}

#define HEAD_COLUMNS                                                                               \
    "n, id, is_ended, writer_pid, writer_start, writer_place, updated_ns, start_ns, grp, tag, doc"

/* A row whose document cannot be read is shown as a run of which only this is known. */
static int head_from_row(struct wt_store *store, sqlite3_stmt *stmt, struct wt_run *ret_run,
                         struct wt_error *err)
{
    json_t *doc = json_loads(column_text(stmt, 10), 0, NULL);
    struct wt_run run = {0};
    int rc = doc ? wt_run_from_json(&run, doc, err) : WT_E_FORMAT;
    json_decref(doc);
    if (rc == WT_E_NOMEM)
        return rc;
    if (rc < 0)
        wt_text(run.command, sizeof(run.command), "(its record is damaged)");
    wt_text(run.id, sizeof(run.id), "%s", column_text(stmt, 1));
    wt_text(run.group, sizeof(run.group), "%s", column_text(stmt, 8));
    wt_text(run.tag, sizeof(run.tag), "%s", column_text(stmt, 9));
    run.start_unix_ns = sqlite3_column_int64(stmt, 7);
    if (rc == 0 && sqlite3_column_int(stmt, 2))
        run.state = WT_RUN_DONE;
    else if (rc == 0 &&
             is_writer_alive(store, sqlite3_column_int64(stmt, 3), sqlite3_column_int64(stmt, 4),
                             column_text(stmt, 5), run.host, sqlite3_column_int64(stmt, 6)))
        run.state = WT_RUN_RUNNING;
    else
        run.state = WT_RUN_INCOMPLETE;
    run.stored.row = 0; /* read, not begun: not ours to write on */
    *ret_run = run;
    return 0;
}

int wt_store_list(struct wt_store *store, const char *tag, const char *group, size_t max,
                  struct wt_run **ret_runs, size_t *ret_count, struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    struct wt_run *runs = NULL;
    size_t count = 0, room = 0;
    int rc = 0;
    if (wt_sqlite_prepare(store->db, &stmt,
                          "SELECT " HEAD_COLUMNS " FROM run WHERE (?1 IS NULL OR tag = ?1)"
                          " AND (?2 IS NULL OR grp = ?2) ORDER BY start_ns DESC, n DESC LIMIT ?3") <
        0)
        return store_fail(store, err, "read it");
    if (tag)
        bind_text(stmt, 1, tag);
    if (group)
        bind_text(stmt, 2, group);
    sqlite3_bind_int64(stmt, 3, max && max < INT64_MAX ? (sqlite3_int64)max : -1);
    int step;
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (count == room) {
            room = room ? room * 2 : 16;
            struct wt_run *more = reallocarray(runs, room, sizeof(*runs));
            if (!more) {
                rc = wt_fail(err, WT_E_NOMEM, "no memory to list the runs");
                goto out;
            }
            runs = more;
        }
        rc = head_from_row(store, stmt, &runs[count], err);
        if (rc < 0)
            goto out;
        count++;
    }
    if (step != SQLITE_DONE) {
        rc = store_fail(store, err, "read it");
        goto out;
    }
    *ret_runs = runs;
    *ret_count = count;
    runs = NULL;
    count = 0;
out:
    sqlite3_finalize(stmt);
    wt_runs_free(runs, count);
    return rc;
}

/* The row an id, a unique beginning of one, or "last" means. */
static int find_row(struct wt_store *store, const char *id, sqlite3_int64 *ret_row,
                    struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    bool is_last = strcmp(id, "last") == 0;
    int rc = 0;
    if (wt_sqlite_prepare(store->db, &stmt,
                          is_last ? "SELECT n, id FROM run ORDER BY start_ns DESC, n DESC LIMIT 1"
                                  : "SELECT n, id FROM run WHERE substr(id, 1, length(?1)) = ?1"
                                    " ORDER BY id = ?1 DESC, id DESC LIMIT 6") < 0)
        return store_fail(store, err, "read it");
    if (!is_last)
        bind_text(stmt, 1, id);
    char names[300] = "";
    size_t count = 0;
    bool is_exact = false;
    int step;
    while (!is_exact && (step = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *name = column_text(stmt, 1);
        is_exact = strcmp(name, id) == 0;
        if (count == 0)
            *ret_row = sqlite3_column_int64(stmt, 0);
        size_t used = strlen(names);
        wt_text(names + used, sizeof(names) - used, "%s%s", count ? ", " : "",
                count < 5 ? name : "...");
        count++;
    }
    if (!is_exact && step != SQLITE_DONE) {
        rc = store_fail(store, err, "read it");
    } else if (count == 0) {
        rc = is_last ? wt_fail(err, WT_E_NOTFOUND, "%s: no run is stored yet", store->path)
                     : wt_fail(err, WT_E_NOTFOUND, "%s: no run whose id begins with \"%.60s\"",
                               store->path, id);
        wt_fix(err, "%s", is_last ? "make one: `wattune run -- CMD`" : "`wattune runs` lists them");
    } else if (count > 1 && !is_exact) {
        rc = wt_fail(err, WT_E_USAGE, "several runs begin with \"%.60s\": %s", id, names);
        wt_fix(err, "give more of the id");
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int load_points(struct wt_store *store, sqlite3_int64 row, struct wt_run *run,
                       struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_prepare(
            store->db, &stmt,
            "SELECT t_s, device, power_w, temp_c, clock_mhz, limit_w, throttle FROM point"
            " WHERE run = ? ORDER BY seq") < 0)
        return store_fail(store, err, "read it");
    sqlite3_bind_int64(stmt, 1, row);
    int rc = 0, step;
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW && rc == 0) {
        struct wt_run_point p = {
            .t_s = column_number(stmt, 0),
            .device = (uint32_t)sqlite3_column_int64(stmt, 1),
            .power_w = column_number(stmt, 2),
            .temp_c = column_number(stmt, 3),
            .clock_mhz = column_number(stmt, 4),
            .limit_w = column_number(stmt, 5),
            .throttle = (uint64_t)sqlite3_column_int64(stmt, 6),
        };
        rc = wt_run_add_point(run, &p);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = store_fail(store, err, "read it");
    else if (rc < 0)
        wt_fail(err, rc, "no memory for the points of a run");
    sqlite3_finalize(stmt);
    return rc;
}

static int load_values(struct wt_store *store, sqlite3_int64 row, struct wt_run *run,
                       struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_prepare(store->db, &stmt,
                          "SELECT t_s, name, value FROM value WHERE run = ? ORDER BY seq") < 0)
        return store_fail(store, err, "read it");
    sqlite3_bind_int64(stmt, 1, row);
    int rc = 0, step;
    while ((step = sqlite3_step(stmt)) == SQLITE_ROW && rc == 0) {
        struct wt_run_value v = {.t_s = column_number(stmt, 0), .value = column_number(stmt, 2)};
        wt_text(v.name, sizeof(v.name), "%s", column_text(stmt, 1));
        rc = wt_run_add_value(run, &v);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = store_fail(store, err, "read it");
    else if (rc < 0)
        wt_fail(err, rc, "no memory for the values of a run");
    sqlite3_finalize(stmt);
    return rc;
}

int wt_store_load(struct wt_store *store, const char *id, struct wt_run *ret_run,
                  struct wt_error *err)
{
    sqlite3_int64 row = 0;
    int rc = find_row(store, id, &row, err);
    if (rc < 0)
        return rc;
    sqlite3_stmt *stmt = NULL;
    struct wt_run run = {0};
    if (wt_sqlite_prepare(store->db, &stmt, "SELECT " HEAD_COLUMNS " FROM run WHERE n = ?") < 0)
        return store_fail(store, err, "read it");
    sqlite3_bind_int64(stmt, 1, row);
    int step = sqlite3_step(stmt);
    if (step == SQLITE_ROW)
        rc = head_from_row(store, stmt, &run, err);
    else
        rc = step == SQLITE_DONE
                 ? wt_fail(err, WT_E_NOTFOUND, "%s: run %s is gone", store->path, id)
                 : store_fail(store, err, "read it");
    sqlite3_finalize(stmt);
    if (rc < 0)
        return rc;
    if ((rc = load_points(store, row, &run, err)) < 0 ||
        (rc = load_values(store, row, &run, err)) < 0) {
        wt_run_done(&run);
        return rc;
    }
    *ret_run = run;
    return 0;
}

/* ---- forgetting ---- */

/* The row of a run that nobody writes any more. */
static int find_ended(struct wt_store *store, const char *id, sqlite3_int64 *ret_row,
                      struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    struct wt_run run = {0};
    if (wt_sqlite_prepare(store->db, &stmt, "SELECT " HEAD_COLUMNS " FROM run WHERE id = ?") < 0)
        return store_fail(store, err, "read it");
    bind_text(stmt, 1, id);
    int rc = 0, step = sqlite3_step(stmt);
    if (step == SQLITE_ROW)
        rc = head_from_row(store, stmt, &run, err);
    else
        rc = step == SQLITE_DONE
                 ? wt_fail(err, WT_E_NOTFOUND, "%s: there is no run %.60s", store->path, id)
                 : store_fail(store, err, "read it");
    if (rc == 0 && run.state == WT_RUN_RUNNING) {
        rc = wt_fail(err, WT_E_BUSY, "run %s is running; nothing was forgotten", id);
        wt_fix(err, "wait until it has ended, or end it");
    }
    *ret_row = rc == 0 ? sqlite3_column_int64(stmt, 0) : 0;
    wt_run_done(&run);
    sqlite3_finalize(stmt);
    return rc;
}

static int delete_row(struct wt_store *store, sqlite3_int64 row)
{
    static const char *const deletions[] = {"DELETE FROM point WHERE run = ?",
                                            "DELETE FROM value WHERE run = ?",
                                            "DELETE FROM run WHERE n = ?"};
    for (size_t i = 0; i < WT_COUNTOF(deletions); i++) {
        sqlite3_stmt *stmt = NULL;
        if (wt_sqlite_prepare(store->db, &stmt, deletions[i]) < 0)
            return -1;
        sqlite3_bind_int64(stmt, 1, row);
        int step = sqlite3_step(stmt);
        sqlite3_finalize(stmt);
        if (step != SQLITE_DONE)
            return -1;
    }
    return 0;
}

static int forget_all(struct wt_store *store, const struct wt_run *runs, size_t count,
                      struct wt_error *err)
{
    if (wt_sqlite_execute(store->db, "BEGIN IMMEDIATE") < 0)
        return store_fail(store, err, "lock it");
    for (size_t i = 0; i < count; i++) {
        sqlite3_int64 row;
        int rc = find_ended(store, runs[i].id, &row, err);
        if (rc < 0) {
            wt_sqlite_execute(store->db, "ROLLBACK");
            return rc;
        }
        if (delete_row(store, row) < 0)
            return undo(store, err, "remove the run");
    }
    return wt_sqlite_execute(store->db, "COMMIT") < 0 ? undo(store, err, "remove the runs") : 0;
}

int wt_store_forget(struct wt_store *store, const struct wt_run *runs, size_t count,
                    struct wt_error *err)
{
    if (store->is_readonly)
        return write_refused(store, err);
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc = forget_all(store, runs, count, err);
    wt_shield_down(&shield);
    return rc;
}

/* ---- what was best ---- */

int wt_store_remember(struct wt_store *store, const struct wt_best *best, struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (store->is_readonly)
        return write_refused(store, err);
    struct wt_shield shield;
    wt_shield_up(&shield);
    int rc = wt_sqlite_prepare(
        store->db, &stmt,
        "INSERT OR REPLACE INTO best(machine, work, goal, updated_ns, run, setting)"
        " VALUES(?, ?, ?, ?, ?, ?)");
    if (rc == 0) {
        sqlite3_bind_text(stmt, 1, best->machine, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 2, best->work, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 3, best->goal, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 4, wt_clock_unix_ns());
        sqlite3_bind_text(stmt, 5, best->run_id, -1, SQLITE_STATIC);
        sqlite3_bind_text(stmt, 6, best->setting, -1, SQLITE_STATIC);
        rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : -1;
    }
    if (rc < 0)
        rc = store_fail(store, err, "remember what was best");
    sqlite3_finalize(stmt);
    wt_shield_down(&shield);
    return rc;
}

int wt_store_recall(struct wt_store *store, struct wt_best *io_best, struct wt_error *err)
{
    sqlite3_stmt *stmt = NULL;
    if (wt_sqlite_prepare(store->db, &stmt,
                          "SELECT run, setting, updated_ns FROM best WHERE machine = ? AND work = ?"
                          " AND goal = ?") < 0)
        return store_fail(store, err, "read what was best");
    sqlite3_bind_text(stmt, 1, io_best->machine, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, io_best->work, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, io_best->goal, -1, SQLITE_STATIC);
    int rc = 0, step = sqlite3_step(stmt);
    if (step == SQLITE_ROW) {
        wt_text(io_best->run_id, sizeof(io_best->run_id), "%s",
                (const char *)sqlite3_column_text(stmt, 0));
        wt_text(io_best->setting, sizeof(io_best->setting), "%s",
                (const char *)sqlite3_column_text(stmt, 1));
        io_best->unix_ns = sqlite3_column_int64(stmt, 2);
    } else {
        rc = step == SQLITE_DONE ? wt_fail(err, WT_E_NOTFOUND, "nothing is remembered of this work")
                                 : store_fail(store, err, "read what was best");
    }
    sqlite3_finalize(stmt);
    return rc;
}
