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
/* File systems that are shared between machines: WAL needs shared memory, which these lack.
 * Numbers from statfs(2) and the file systems' own headers. */
bool wt_sqlite_is_shared_folder(const char *dir);

#endif
