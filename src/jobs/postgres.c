/* postgres: a cluster's job store. libpq is opened when one is asked for, so that no other command
 * loads it; its header is needed to build (Debian: libpq-dev).
 *
 * Rows go as one JSON parameter of one statement: no SQL is made of what a row holds, a batch is
 * one round trip and one transaction. A row takes the place of one with the same key and a lower
 * seq. Every wait has a deadline of ours. The address is only ever named without its password. */
#include "jobs/postgres.h"

#ifdef WT_HAS_LIBPQ
#include <ctype.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION 1
#define CONNECT_NS     (10 * WT_NS_PER_S)
#define WRITE_NS       (20 * WT_NS_PER_S)
#define READ_NS        (60 * WT_NS_PER_S)
#define SLICE_MS       200          /* between looks at the flag that says stop */
#define LEFT_MOST      8            /* threads that a resolver keeps */
#define LOCK           "1467247202" /* of those who make the tables: "Wtjb" */

/* ---- the library ---- */

#define PQ(X)                                                                                      \
    X(PQclear)                                                                                     \
    X(PQcmdTuples)                                                                                 \
    X(PQconnectPoll)                                                                               \
    X(PQconnectStartParams)                                                                        \
    X(PQconninfoFree)                                                                              \
    X(PQconninfoParse)                                                                             \
    X(PQconsumeInput)                                                                              \
    X(PQerrorMessage)                                                                              \
    X(PQfinish)                                                                                    \
    X(PQflush)                                                                                     \
    X(PQfreemem)                                                                                   \
    X(PQgetisnull)                                                                                 \
    X(PQgetResult)                                                                                 \
    X(PQgetvalue)                                                                                  \
    X(PQisBusy)                                                                                    \
    X(PQntuples)                                                                                   \
    X(PQresultErrorField)                                                                          \
    X(PQresultErrorMessage)                                                                        \
    X(PQresultStatus)                                                                              \
    X(PQsendQueryParams)                                                                           \
    X(PQsetnonblocking)                                                                            \
    X(PQsetNoticeProcessor)                                                                        \
    X(PQsocket)                                                                                    \
    X(PQstatus)
#define MEMBER(name) __typeof__(name) *name;
static struct libpq {
    PQ(MEMBER)
} pq;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct wt_error missing; /* why the library cannot be used */

static void open_library(void)
{
#define SYMBOL(name) {#name, offsetof(struct libpq, name)},
    static const struct wt_library_symbol symbols[] = {PQ(SYMBOL)};
    const char *own = getenv("WATTUNE_LIBPQ");
    const char *const names[] = {own && *own ? own : "libpq.so.5", NULL};
    wt_library_open(&(struct wt_library){.what = "a store in PostgreSQL",
                                         .names = names,
                                         .fix = "install it: apt-get install libpq5",
                                         .symbols = symbols,
                                         .count = WT_COUNTOF(symbols)},
                    &pq, &missing);
}

/* ---- a connection ---- */

struct wt_pg {
    PGconn *conn;
    char *where; /* owned; with its password */
    char name[256];
    char secrets[2][256];    /* never said */
    const atomic_bool *stop; /* borrowed; NULL: nobody asks to stop */
};

/* Takes secrets out of what others wrote, and lines. */
static void say(const struct wt_pg *pg, char *buf, size_t size, const char *text)
{
    wt_text(buf, size, "%s", text && *text ? text : "no reason given");
    for (size_t i = 0; i < WT_COUNTOF(pg->secrets); i++) {
        size_t len = strlen(pg->secrets[i]);
        for (char *at = buf; len && (at = strstr(at, pg->secrets[i])); at++) {
            memset(at, '*', len);
            at += len - 1;
        }
    }
    for (char *c = buf; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    size_t used = strlen(buf);
    while (used && buf[used - 1] == ' ')
        buf[--used] = '\0';
}

static int code_of_state(const char *state)
{
    static const struct {
        const char *begins;
        int code;
    } codes[] = {
        {"28", WT_E_DENIED},   {"42501", WT_E_DENIED},   {"25006", WT_E_DENIED},
        {"3D", WT_E_NOTFOUND}, {"42P01", WT_E_NOTFOUND}, {"53100", WT_E_FULL},
        {"53200", WT_E_NOMEM}, {"53300", WT_E_BUSY},     {"57P03", WT_E_BUSY},
        {"40", WT_E_BUSY},     {"55P03", WT_E_BUSY},     {"57014", WT_E_TIMEOUT},
        {"22", WT_E_FORMAT},   {"23", WT_E_FORMAT},
    };
    for (size_t i = 0; state && i < WT_COUNTOF(codes); i++)
        if (strncmp(state, codes[i].begins, strlen(codes[i].begins)) == 0)
            return codes[i].code;
    return WT_E_IO;
}

static int fail(const struct wt_pg *pg, struct wt_error *err, int code, const char *what,
                const char *why)
{
    char text[300];
    say(pg, text, sizeof(text), why);
    wt_fail(err, code, "%.120s: cannot %s: %s", pg->name, what, text);
    if (code == WT_E_DENIED)
        wt_fix(err,
               "a password may be in ~/.pgpass; the user needs CONNECT, and to write CREATE in "
               "the schema once, then SELECT, INSERT and UPDATE on wattune_job");
    else if (code == WT_E_USAGE)
        wt_fix(err, "postgresql://USER@HOST:PORT/DATABASE");
    else if (code == WT_E_NOTFOUND)
        wt_fix(err, "make what is missing there first: createdb NAME, createuser NAME");
    else if (code == WT_E_IO || code == WT_E_TIMEOUT)
        wt_fix(err, "see that the server runs and can be reached: psql '%.120s'", pg->name);
    return code;
}

/* Waits for the socket. Errors: WT_E_TIMEOUT, WT_E_STATE (asked to stop). */
static int wait_for(const struct wt_pg *pg, short events, int64_t until_ns)
{
    for (;;) {
        int64_t left_ms = (until_ns - wt_clock_now_ns()) / WT_NS_PER_MS;
        if (pg->stop && atomic_load(pg->stop))
            return WT_E_STATE;
        if (left_ms <= 0)
            return WT_E_TIMEOUT;
        struct pollfd fd = {.fd = pq.PQsocket(pg->conn), .events = events};
        if (fd.fd < 0)
            return WT_E_IO;
        if (poll(&fd, 1, (int)(left_ms < SLICE_MS ? left_ms : SLICE_MS)) > 0)
            return 0;
    }
}

static const char *told(int rc, const char *message)
{
    return rc == WT_E_TIMEOUT ? "no answer in time" : rc == WT_E_STATE ? "asked to stop" : message;
}

static void keep_quiet(void *data, const char *message)
{
    (void)data;
    (void)message;
}

static int parse(struct wt_pg *pg, const char *where, struct wt_error *err)
{
    char *why = NULL, host[96] = "", port[16] = "", user[64] = "", db[64] = "";
    PQconninfoOption *options = pq.PQconninfoParse(where, &why);
    if (!options) {
        pq.PQfreemem(why); /* it may hold a piece of the password */
        wt_fail(err, WT_E_USAGE,
                "no address that libpq understands: postgresql://... (not shown: it "
                "may hold a password)");
        wt_fix(err, "postgresql://USER@HOST:PORT/DATABASE; write special characters as %%XX");
        return WT_E_USAGE;
    }
    for (const PQconninfoOption *o = options; o->keyword; o++) {
        if (!o->val)
            continue;
        if (strcmp(o->keyword, "password") == 0)
            wt_text(pg->secrets[0], sizeof(pg->secrets[0]), "%s", o->val);
        else if (strcmp(o->keyword, "sslpassword") == 0)
            wt_text(pg->secrets[1], sizeof(pg->secrets[1]), "%s", o->val);
        else if (strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "hostaddr") == 0)
            wt_text(host, sizeof(host), "%s", o->val);
        else if (strcmp(o->keyword, "port") == 0)
            wt_text(port, sizeof(port), ":%s", o->val);
        else if (strcmp(o->keyword, "user") == 0)
            wt_text(user, sizeof(user), "%s@", o->val);
        else if (strcmp(o->keyword, "dbname") == 0)
            wt_text(db, sizeof(db), "/%s", o->val);
    }
    pq.PQconninfoFree(options);
    if (host[0] == '/') /* a socket's folder goes behind, as in what psql takes */
        wt_text(pg->name, sizeof(pg->name), "postgresql://%s%s%s?host=%s", user, port, db, host);
    else
        wt_text(pg->name, sizeof(pg->name), "postgresql://%s%s%s%s", user, host, port, db);
    return 0;
}

/* Before there is a connection there is no SQLSTATE, only words. */
static int code_of_words(const char *why)
{
    static const struct {
        const char *words;
        int code;
    } codes[] = {
        {"connection option", WT_E_USAGE},
        {"invalid port number", WT_E_USAGE},
        {"authentication failed", WT_E_DENIED},
        {"no password supplied", WT_E_DENIED},
        {"pg_hba.conf", WT_E_DENIED},
        {"does not exist", WT_E_NOTFOUND},
        {"starting up", WT_E_BUSY},
        {"shutting down", WT_E_BUSY},
        {"too many", WT_E_BUSY},
    };
    for (size_t i = 0; i < WT_COUNTOF(codes); i++)
        if (strstr(why, codes[i].words))
            return codes[i].code;
    return WT_E_IO;
}

/* libpq asks for the addresses of a name by calls that wait as long as the resolver does: a
 * connection is made on a thread of its own. Freed by who leaves last. */
struct attempt {
    struct wt_pg pg;     /* the thread's: where is a copy */
    atomic_bool is_over; /* nobody waits for it any more */
    pthread_mutex_t lock;
    pthread_cond_t done; /* and of what follows */
    bool is_done, is_left;
    int rc;
    struct wt_error err;
    atomic_uint refs;
};
static atomic_uint left_behind; /* attempts whose thread has not come back */

static void attempt_unref(struct attempt *a)
{
    if (atomic_fetch_sub(&a->refs, 1) > 1)
        return;
    if (a->pg.conn)
        pq.PQfinish(a->pg.conn);
    explicit_bzero(a->pg.secrets, sizeof(a->pg.secrets));
    if (a->pg.where)
        explicit_bzero(a->pg.where, strlen(a->pg.where));
    free(a->pg.where);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->done);
    free(a);
}

static int make_connection(struct wt_pg *pg, struct wt_error *err)
{
    static const char *const words[] = {"dbname", "client_encoding", "fallback_application_name",
                                        "tcp_user_timeout", NULL};
    const char *values[] = {pg->where, "UTF8", "wattune", "20000", NULL};
    int64_t until_ns = wt_clock_now_ns() + CONNECT_NS;
    pg->conn = pq.PQconnectStartParams(words, values, 1);
    if (!pg->conn)
        return wt_fail(err, WT_E_NOMEM, "no memory for a connection to %.120s", pg->name);
    pq.PQsetNoticeProcessor(pg->conn, keep_quiet, NULL);
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (pq.PQstatus(pg->conn) != CONNECTION_BAD && state != PGRES_POLLING_OK &&
           state != PGRES_POLLING_FAILED) {
        int rc = wait_for(pg, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ns);
        if (rc < 0)
            return fail(pg, err, rc, "connect", told(rc, pq.PQerrorMessage(pg->conn)));
        state = pq.PQconnectPoll(pg->conn);
    }
    if (pq.PQstatus(pg->conn) != CONNECTION_OK) {
        const char *why = pq.PQerrorMessage(pg->conn);
        return fail(pg, err, code_of_words(why), "connect", why);
    }
    return pq.PQsetnonblocking(pg->conn, 1) == 0
               ? 0
               : fail(pg, err, WT_E_IO, "connect", pq.PQerrorMessage(pg->conn));
}

static void *attempt_main(void *data)
{
    struct attempt *a = data;
    int rc = make_connection(&a->pg, &a->err);
    pthread_mutex_lock(&a->lock);
    a->rc = rc;
    a->is_done = true;
    if (a->is_left)
        atomic_fetch_sub(&left_behind, 1);
    pthread_cond_signal(&a->done);
    pthread_mutex_unlock(&a->lock);
    attempt_unref(a);
    return NULL;
}

static struct attempt *attempt_start(const struct wt_pg *pg)
{
    struct attempt *a = calloc(1, sizeof(*a));
    pthread_t thread;
    if (!a)
        return NULL;
    a->pg = *pg;
    a->pg.stop = &a->is_over;
    a->pg.where = strdup(pg->where);
    atomic_init(&a->is_over, false);
    atomic_init(&a->refs, 2);
    pthread_mutex_init(&a->lock, NULL);
    wt_cond_init(&a->done);
    if (!a->pg.where || wt_thread_start(&thread, attempt_main, a) < 0) {
        atomic_store(&a->refs, 1);
        attempt_unref(a);
        return NULL;
    }
    pthread_detach(thread);
    return a;
}

static int connect_to(struct wt_pg *pg, struct wt_error *err)
{
    if (atomic_load(&left_behind) >= LEFT_MOST)
        return fail(pg, err, WT_E_TIMEOUT, "connect",
                    "the addresses of its host are still asked for");
    struct attempt *a = attempt_start(pg);
    if (!a)
        return wt_fail(err, WT_E_NOMEM, "no memory for a connection to %.120s", pg->name);
    int64_t until_ns = wt_clock_now_ns() + CONNECT_NS + WT_NS_PER_S; /* it says why it ended */
    int rc = 0;
    pthread_mutex_lock(&a->lock);
    while (!a->is_done && rc == 0) {
        int64_t t_ns = wt_clock_now_ns() + SLICE_MS * WT_NS_PER_MS;
        struct timespec ts = {.tv_sec = (time_t)(t_ns / WT_NS_PER_S),
                              .tv_nsec = (long)(t_ns % WT_NS_PER_S)};
        pthread_cond_timedwait(&a->done, &a->lock, &ts);
        if (pg->stop && atomic_load(pg->stop))
            rc = WT_E_STATE;
        else if (t_ns > until_ns)
            rc = WT_E_TIMEOUT;
    }
    if (a->is_done) {
        rc = a->rc;
        pg->conn = a->pg.conn;
        a->pg.conn = NULL;
        if (rc < 0 && err)
            *err = a->err;
    } else {
        a->is_left = true;
        atomic_fetch_add(&left_behind, 1);
        fail(pg, err, rc, "connect", told(rc, ""));
    }
    pthread_mutex_unlock(&a->lock);
    atomic_store(&a->is_over, true);
    attempt_unref(a);
    return rc;
}

/* Runs one statement and hands over its only result, which is good. */
static int query(struct wt_pg *pg, const char *sql, int count, const char *const *values,
                 int64_t span_ns, PGresult **ret_result, const char *what, struct wt_error *err)
{
    int64_t until_ns = wt_clock_now_ns() + span_ns;
    int rc = 0;
    if (!pq.PQsendQueryParams(pg->conn, sql, count, NULL, values, NULL, NULL, 0))
        return fail(pg, err, WT_E_IO, what, pq.PQerrorMessage(pg->conn));
    while (pq.PQflush(pg->conn) > 0) {
        if ((rc = wait_for(pg, POLLIN | POLLOUT, until_ns)) < 0)
            return fail(pg, err, rc, what, told(rc, pq.PQerrorMessage(pg->conn)));
        if (!pq.PQconsumeInput(pg->conn))
            break;
    }
    PGresult *good = NULL, *result;
    for (;;) {
        while (pq.PQisBusy(pg->conn)) {
            int waited = wait_for(pg, POLLIN, until_ns); /* rc keeps what went wrong before */
            if (waited < 0) {
                pq.PQclear(good);
                return fail(pg, err, waited, what, told(waited, pq.PQerrorMessage(pg->conn)));
            }
            if (!pq.PQconsumeInput(pg->conn)) {
                pq.PQclear(good);
                return fail(pg, err, WT_E_IO, what, pq.PQerrorMessage(pg->conn));
            }
        }
        result = pq.PQgetResult(pg->conn);
        if (!result)
            break;
        ExecStatusType status = pq.PQresultStatus(result);
        if ((status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) && rc == 0) {
            pq.PQclear(good);
            good = result;
            continue;
        }
        if (rc == 0)
            rc = fail(pg, err, code_of_state(pq.PQresultErrorField(result, PG_DIAG_SQLSTATE)), what,
                      pq.PQresultErrorMessage(result));
        pq.PQclear(result);
    }
    if (rc == 0 && !good)
        rc = fail(pg, err, WT_E_IO, what, pq.PQerrorMessage(pg->conn));
    if (rc < 0) {
        pq.PQclear(good);
        return rc;
    }
    if (ret_result)
        *ret_result = good;
    else
        pq.PQclear(good);
    return 0;
}

/* ---- tables ---- */

static const char *type_of(enum wt_job_form form)
{
    return form == WT_COLUMN_TEXT ? "text" : form == WT_COLUMN_BOOL ? "smallint" : "bigint";
}

/* "cluster" text, "job" bigint, ... */
static void add_columns(char *sql, size_t size, const char *after)
{
    for (size_t i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        size_t used = strlen(sql);
        wt_text(sql + used, size - used, "%s\"%s\" %s%s", i ? ", " : "", column->name,
                type_of(column->form), column->form == WT_COLUMN_U64 ? "" : after);
    }
}

static int make_tables(struct wt_pg *pg, struct wt_error *err)
{
    char table[4096] = "CREATE TABLE IF NOT EXISTS wattune_job(";
    add_columns(table, sizeof(table), " NOT NULL");
    strcat(table, ", PRIMARY KEY(cluster, job, step, node, begin_ns, device))");
    const char *const statements[] = {
        "BEGIN",
        /* The nodes of a cluster come all at once. */
        "SELECT pg_advisory_xact_lock(" LOCK ")",
        table,
        "CREATE INDEX IF NOT EXISTS wattune_job_begin ON wattune_job(begin_ns)",
        "CREATE INDEX IF NOT EXISTS wattune_job_user ON wattune_job(\"user\", begin_ns)",
        "CREATE INDEX IF NOT EXISTS wattune_job_account ON wattune_job(account, begin_ns)",
        "CREATE TABLE IF NOT EXISTS wattune_schema(version integer NOT NULL)",
        "INSERT INTO wattune_schema SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM wattune_schema)",
        "COMMIT",
    };
    for (size_t i = 0; i < WT_COUNTOF(statements); i++) {
        int rc = query(pg, statements[i], 0, NULL, WRITE_NS, NULL, "make its tables", err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_tables(struct wt_pg *pg, bool is_to_write, struct wt_error *err)
{
    PGresult *r = NULL;
    int rc = query(pg,
                   "SELECT to_regclass('wattune_job') IS NOT NULL"
                   " AND to_regclass('wattune_schema') IS NOT NULL",
                   0, NULL, WRITE_NS, &r, "look for its tables", err);
    if (rc < 0)
        return rc;
    bool is_there = strcmp(pq.PQgetvalue(r, 0, 0), "t") == 0;
    pq.PQclear(r);
    if (!is_there && !is_to_write) {
        wt_fail(err, WT_E_NOTFOUND, "%.120s: no jobs are stored there", pg->name);
        wt_fix(err, "the first node that sends makes the tables: wattune serve --push ...");
        return WT_E_NOTFOUND;
    }
    if (!is_there && (rc = make_tables(pg, err)) < 0)
        return rc;
    rc = query(pg, "SELECT max(version) FROM wattune_schema", 0, NULL, WRITE_NS, &r,
               "read its version", err);
    if (rc < 0)
        return rc;
    int version = atoi(pq.PQgetvalue(r, 0, 0));
    pq.PQclear(r);
    if (version > SCHEMA_VERSION) {
        wt_fail(err, WT_E_FORMAT, "%.120s: of a newer Wattune (schema %d, this one knows up to %d)",
                pg->name, version, SCHEMA_VERSION);
        wt_fix(err, "use that Wattune");
        return WT_E_FORMAT;
    }
    return 0;
}

/* A commit that was answered must outlive the server, even where the site has chosen otherwise for
 * what it can do without. */
static int be_durable(struct wt_pg *pg, struct wt_error *err)
{
    return query(pg,
                 "SELECT set_config('synchronous_commit', 'on', false)"
                 " WHERE current_setting('synchronous_commit') = 'off'",
                 0, NULL, WRITE_NS, NULL, "set it up", err);
}

static void postgres_close(void *data)
{
    struct wt_pg *pg = data;
    if (!pg)
        return;
    if (pg->conn)
        pq.PQfinish(pg->conn);
    if (pg->where)
        explicit_bzero(pg->where, strlen(pg->where));
    free(pg->where);
    explicit_bzero(pg->secrets, sizeof(pg->secrets));
    free(pg);
}

int wt_pg_check(const char *where, char *name, size_t size, struct wt_error *err)
{
    pthread_once(&once, open_library);
    if (missing.code) {
        if (err)
            *err = missing;
        return missing.code;
    }
    struct wt_pg pg = {.name = ""};
    int rc = parse(&pg, where, err);
    if (rc == 0 && name)
        wt_text(name, size, "%s", pg.name);
    explicit_bzero(pg.secrets, sizeof(pg.secrets));
    return rc;
}

int wt_pg_open(void **ret_data, const char *where, bool is_to_write, const atomic_bool *stop,
               struct wt_error *err)
{
    int rc = wt_pg_check(where, NULL, 0, err);
    if (rc < 0)
        return rc;
    struct wt_pg *pg = calloc(1, sizeof(*pg));
    if (!pg || !(pg->where = strdup(where))) {
        free(pg);
        return wt_fail(err, WT_E_NOMEM, "no memory for the job store");
    }
    pg->stop = stop;
    if ((rc = parse(pg, where, err)) == 0 && (rc = connect_to(pg, err)) == 0 &&
        (rc = check_tables(pg, is_to_write, err)) == 0 && is_to_write)
        rc = be_durable(pg, err);
    if (rc < 0) {
        postgres_close(pg);
        return rc;
    }
    *ret_data = pg;
    return 0;
}

static int postgres_open(void **ret_data, const char *where, bool is_to_write, struct wt_error *err)
{
    return wt_pg_open(ret_data, where, is_to_write, NULL, err);
}

static const char *postgres_name(const void *data)
{
    return ((const struct wt_pg *)data)->name;
}

/* ---- writing ---- */

static json_t *json_of(const struct wt_job_row *row, bool is_plain)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        int64_t value;
        json_t *field;
        if (column->form == WT_COLUMN_TEXT) {
            char text[512];
            wt_text(text, sizeof(text), "%s", (const char *)row + column->at);
            for (char *c = text; is_plain && *c; c++)
                if ((unsigned char)*c > 0x7e)
                    *c = '?';
            field = json_string(text);
        } else {
            field = wt_job_column_get(column, row, &value) ? json_integer(value) : json_null();
        }
        if (wt_json_put(object, column->name, field) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static char *json_text(const struct wt_job_row *rows, size_t count, bool is_plain)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_of(&rows[i], is_plain)) < 0) {
            json_decref(array);
            return NULL;
        }
    char *text = array ? json_dumps(array, JSON_COMPACT) : NULL;
    json_decref(array);
    return text;
}

static int write_once(struct wt_pg *pg, const struct wt_job_row *rows, size_t count, bool is_plain,
                      struct wt_error *err)
{
    char names[1024], sql[8192];
    wt_job_column_list(names, sizeof(names), "", 0);
    wt_text(sql, sizeof(sql),
            "INSERT INTO wattune_job AS t(%s) SELECT %s FROM jsonb_to_recordset($1::jsonb) AS r(",
            names, names);
    add_columns(sql, sizeof(sql), "");
    strcat(sql, ") ON CONFLICT(cluster, job, step, node, begin_ns, device) DO UPDATE SET ");
    for (size_t i = WT_JOB_KEY_COUNT; i < WT_JOB_COLUMN_COUNT; i++) {
        size_t used = strlen(sql);
        wt_text(sql + used, sizeof(sql) - used, "%s\"%s\" = EXCLUDED.\"%s\"",
                i > WT_JOB_KEY_COUNT ? ", " : "", wt_job_columns[i].name, wt_job_columns[i].name);
    }
    strcat(sql, " WHERE t.seq < EXCLUDED.seq");
    char *text = json_text(rows, count, is_plain);
    if (!text)
        return wt_fail(err, WT_E_NOMEM, "no memory to send jobs");
    /* One statement outside a block is one transaction, committed before its answer comes. */
    const char *values[] = {text};
    int rc = query(pg, sql, 1, values, WRITE_NS, NULL, "write jobs", err);
    free(text);
    return rc;
}

static int postgres_write(void *data, struct wt_job_row *rows, size_t count, struct wt_error *err)
{
    int rc = write_once(data, rows, count, false, err);
    /* A database in another encoding than Unicode may not hold every name: better with question
     * marks than never. */
    if (rc == WT_E_FORMAT)
        rc = write_once(data, rows, count, true, err);
    return rc;
}

/* ---- reading ---- */

static int take_row(const PGresult *r, int n, struct wt_job_row *row)
{
    for (int i = 0; i < WT_JOB_COLUMN_COUNT; i++) {
        const struct wt_job_column *column = &wt_job_columns[i];
        const char *text = pq.PQgetvalue(r, n, i);
        bool is_null = pq.PQgetisnull(r, n, i) == 1;
        if (column->form == WT_COLUMN_TEXT)
            wt_job_column_set_text(column, row, text);
        else if (wt_job_column_set(column, row, is_null, strtoll(text, NULL, 10)) < 0)
            return -1;
    }
    return 0;
}

static int postgres_list(void *data, const struct wt_job_filter *filter,
                         struct wt_job_row **ret_rows, size_t *ret_count, struct wt_error *err)
{
    struct wt_pg *pg = data;
    struct wt_job_where where;
    char sql[WT_JOB_SELECT_MAX], numbers[WT_JOB_WHERE_MAX][24];
    const char *values[WT_JOB_WHERE_MAX];
    wt_job_select_make(sql, "wattune_job", &where, filter, '$');
    for (size_t i = 0; i < where.count; i++)
        values[i] = where.texts[i] ? where.texts[i]
                                   : wt_text(numbers[i], sizeof(numbers[i]), "%lld",
                                             (long long)where.numbers[i]);
    PGresult *r = NULL;
    int rc = query(pg, sql, (int)where.count, values, READ_NS, &r, "read jobs", err);
    if (rc < 0)
        return rc;
    struct wt_job_row *rows = NULL, *row;
    size_t count = 0, room = 0;
    for (int i = 0; rc == 0 && i < pq.PQntuples(r); i++)
        if (!(row = wt_job_rows_add(&rows, &count, &room)))
            rc = wt_fail(err, WT_E_NOMEM, "no memory to list the jobs");
        else if (take_row(r, i, row) < 0)
            rc = wt_fail(err, WT_E_FORMAT, "%.120s: a row of job %u holds what no row can hold",
                         pg->name, row->job);
    pq.PQclear(r);
    if (rc < 0) {
        free(rows);
        return rc;
    }
    *ret_rows = rows;
    *ret_count = count;
    return 0;
}

#else

static int unsupported(struct wt_error *err)
{
    wt_fail(err, WT_E_UNSUPPORTED, "this Wattune was built without PostgreSQL");
    wt_fix(err, "build it where libpq-dev is installed: apt-get install libpq-dev");
    return WT_E_UNSUPPORTED;
}

int wt_pg_check(const char *where, char *name, size_t size, struct wt_error *err)
{
    (void)where;
    (void)name;
    (void)size;
    return unsupported(err);
}

int wt_pg_open(void **ret_data, const char *where, bool is_to_write, const atomic_bool *stop,
               struct wt_error *err)
{
    (void)ret_data;
    (void)where;
    (void)is_to_write;
    (void)stop;
    return unsupported(err);
}

static int postgres_open(void **ret_data, const char *where, bool is_to_write, struct wt_error *err)
{
    return wt_pg_open(ret_data, where, is_to_write, NULL, err);
}

static void postgres_close(void *data)
{
    (void)data;
}

static const char *postgres_name(const void *data)
{
    (void)data;
    return "";
}

static int postgres_write(void *data, struct wt_job_row *rows, size_t count, struct wt_error *err)
{
    (void)data;
    (void)rows;
    (void)count;
    return unsupported(err);
}

static int postgres_list(void *data, const struct wt_job_filter *filter,
                         struct wt_job_row **ret_rows, size_t *ret_count, struct wt_error *err)
{
    (void)data;
    (void)filter;
    (void)ret_rows;
    (void)ret_count;
    return unsupported(err);
}

#endif

const struct wt_job_store_ops wt_job_postgres = {
    .open = postgres_open,
    .close = postgres_close,
    .name = postgres_name,
    .write = postgres_write,
    .list = postgres_list,
};
