/* sqlite: what every store in an SQLite file needs. Internal to the library. */
#ifndef WT_RECORD_SQLITE_H
#define WT_RECORD_SQLITE_H

#include <signal.h>
#include <sqlite3.h>

#include "base/base.h"

/* A write beyond `ulimit -f` raises SIGXFSZ, whose default is to kill. While SQLite writes it is
 * held back, so that the write fails with EFBIG and is told like a full disk. */
struct wt_shield {
    sigset_t old;
    bool was_pending;
};
void wt_shield_up(struct wt_shield *shield);
void wt_shield_down(const struct wt_shield *shield);

/* What an SQLite error is in our table. */
int wt_sqlite_code(sqlite3 *db);
/* SQL without results. -1: failed, and wt_sqlite_code() says why. */
int wt_sqlite_execute(sqlite3 *db, const char *sql);
int wt_sqlite_prepare(sqlite3 *db, sqlite3_stmt **ret_stmt, const char *sql);
/* A pragma's or query's single integer. */
int wt_sqlite_query_int(sqlite3 *db, const char *sql, int *ret_value);

/* What a file holds, read in one transaction: another program may be making its tables. */
struct wt_sqlite_found {
    int version, application, tables;
};
/* After -1 the transaction is open: what failed is told, then it is undone. */
int wt_sqlite_look(sqlite3 *db, struct wt_sqlite_found *ret_found);
/* migrations[v] leads from version v to v + 1. Likewise; *ret_what is what failed, in words. */
int wt_sqlite_migrate(sqlite3 *db, const char *const *migrations, int version, int application,
                      const char **ret_what);
/* Write-ahead log where shared memory is, and how sure a commit is of its disk ("NORMAL", "FULL").
 * Log and index stay at a close: emptying the log costs two fsyncs, and those who may only read
 * need them. A second program that has it open refuses the mode: then the next opening sets it. */
void wt_sqlite_choose_journal(sqlite3 *db, const char *dir, const char *synchronous);
/* File systems that are shared between machines: WAL needs shared memory, which these lack.
 * Numbers from statfs(2) and the file systems' own headers. */
bool wt_sqlite_is_shared_folder(const char *dir);

#endif
