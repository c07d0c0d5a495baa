/* sqlite: see sqlite.h. */
#include <errno.h>
#include <pthread.h>
#include <sys/vfs.h>

#include "record/sqlite.h"

void wt_shield_up(struct wt_shield *shield)
{
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    sigpending(&pending);
    shield->was_pending = sigismember(&pending, SIGXFSZ) == 1;
    pthread_sigmask(SIG_BLOCK, &set, &shield->old);
}

void wt_shield_down(const struct wt_shield *shield)
{
    if (!shield->was_pending && sigismember(&shield->old, SIGXFSZ) == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        const struct timespec none = {0};
        while (sigtimedwait(&set, NULL, &none) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &shield->old, NULL);
}

/* The errno behind an I/O error. SQLite keeps it with the file; its sqlite3_system_errno() may be
 * overwritten by what it did afterwards. */
static int errno_of(sqlite3 *db)
{
    static const int which[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    for (size_t i = 0; i < WT_COUNTOF(which); i++) {
        sqlite3_file *f = NULL;
        int errnum = 0;
        if (sqlite3_file_control(db, "main", which[i], &f) == SQLITE_OK && f && f->pMethods &&
            f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &errnum) == SQLITE_OK && errnum)
            return errnum;
    }
    return sqlite3_system_errno(db);
}

int wt_sqlite_code(sqlite3 *db)
{
    int errnum;
    switch (sqlite3_errcode(db)) {
    case SQLITE_NOMEM:
        return WT_E_NOMEM;
    case SQLITE_FULL:
        return WT_E_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return WT_E_BUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return WT_E_DENIED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return WT_E_FORMAT;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
        errnum = errno_of(db);
        if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
            return WT_E_FULL;
        if (errnum == EACCES || errnum == EPERM || errnum == EROFS)
            return WT_E_DENIED;
        return WT_E_IO;
    default:
        return WT_E_IO;
    }
}

int wt_sqlite_execute(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

int wt_sqlite_prepare(sqlite3 *db, sqlite3_stmt **ret_stmt, const char *sql)
{
    return sqlite3_prepare_v2(db, sql, -1, ret_stmt, NULL) == SQLITE_OK ? 0 : -1;
}

int wt_sqlite_query_int(sqlite3 *db, const char *sql, int *ret_value)
{
    sqlite3_stmt *stmt = NULL;
    int rc = wt_sqlite_prepare(db, &stmt, sql);
    if (rc == 0 && sqlite3_step(stmt) == SQLITE_ROW)
        *ret_value = sqlite3_column_int(stmt, 0);
    else
        rc = -1;
    sqlite3_finalize(stmt); /* repeats the step's error code, which wt_sqlite_code() reads */
    return rc;
}

int wt_sqlite_look(sqlite3 *db, struct wt_sqlite_found *ret_found)
{
    if (wt_sqlite_execute(db, "BEGIN") < 0 ||
        wt_sqlite_query_int(db, "PRAGMA user_version", &ret_found->version) < 0 ||
        wt_sqlite_query_int(db, "PRAGMA application_id", &ret_found->application) < 0 ||
        wt_sqlite_query_int(db, "SELECT count(*) FROM sqlite_master", &ret_found->tables) < 0)
        return -1;
    return wt_sqlite_execute(db, "COMMIT");
}

int wt_sqlite_migrate(sqlite3 *db, const char *const *migrations, int version, int application,
                      const char **ret_what)
{
    char sql[96];
    int at = 0;
    *ret_what = "lock it";
    if (wt_sqlite_execute(db, "BEGIN IMMEDIATE") < 0)
        return -1;
    /* Another program may have done it while this one waited for the lock. */
    *ret_what = "read its version";
    if (wt_sqlite_query_int(db, "PRAGMA user_version", &at) < 0)
        return -1;
    *ret_what = "make its tables";
    for (; at < version; at++)
        if (wt_sqlite_execute(db, migrations[at]) < 0)
            return -1;
    wt_text(sql, sizeof(sql), "PRAGMA user_version = %d; PRAGMA application_id = %d", version,
            application);
    return wt_sqlite_execute(db, sql) < 0 ? -1 : wt_sqlite_execute(db, "COMMIT");
}

void wt_sqlite_choose_journal(sqlite3 *db, const char *dir, const char *synchronous)
{
    char sql[64];
    wt_text(sql, sizeof(sql), "PRAGMA synchronous=%s", synchronous);
    wt_sqlite_execute(db, wt_sqlite_is_shared_folder(dir) ? "PRAGMA journal_mode=TRUNCATE"
                                                          : "PRAGMA journal_mode=WAL");
    wt_sqlite_execute(db, sql);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

bool wt_sqlite_is_shared_folder(const char *dir)
{
    static const unsigned long kinds[] = {
        0x6969 /* NFS */,        0x517b /* SMB */,        0xff534d42 /* CIFS */,
        0xfe534d42 /* SMB2 */,   0x0bd00bd0 /* Lustre */, 0x47504653 /* GPFS */,
        0x19830326 /* BeeGFS */, 0x00c36400 /* Ceph */,   0x5346414f /* AFS */,
        0x01021997 /* 9p */,     0x65735546 /* FUSE */,   0x7461636f /* OCFS2 */,
        0x01161970 /* GFS2 */,
    };
    struct statfs fs;
    if (statfs(dir, &fs) < 0)
        return false;
    for (size_t i = 0; i < WT_COUNTOF(kinds); i++)
        if ((unsigned long)fs.f_type == kinds[i])
            return true;
    return false;
}
