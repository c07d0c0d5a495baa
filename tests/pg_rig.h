/* pg_rig: a PostgreSQL of our own, from Debian's packages: private folder, socket and port, started
 * and killed at will. As root it runs as user postgres. For tests and bench/jobs-postgres. */
#ifndef WT_TESTS_PG_RIG_H
#define WT_TESTS_PG_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct pg_rig {
    char dir[64], bin[256], user[32], why[256];
    unsigned port;
    bool is_safe; /* fsync as by default: slower */
    pid_t pid;    /* 0: down */
};

/* Makes a cluster of databases and starts it. Over the socket nobody is asked for a password, over
 * 127.0.0.1 user "ada" with password "s3cr:t/word" is. False: rig->why says why not (the packages
 * are not installed). */
bool pg_rig_open(struct pg_rig *rig, bool is_safe);
void pg_rig_close(struct pg_rig *rig);
/* kill -9 of the server and all its processes at once. */
void pg_rig_kill(struct pg_rig *rig);
/* Starts it again, and waits until it answers. False: it does not come up. */
bool pg_rig_start(struct pg_rig *rig);
/* Runs SQL by psql. False: it failed. */
bool pg_rig_sql(struct pg_rig *rig, const char *database, const char *sql);
/* "postgresql://..." over the socket. */
const char *pg_rig_uri(const struct pg_rig *rig, const char *database, char *buf, size_t size);

#endif
