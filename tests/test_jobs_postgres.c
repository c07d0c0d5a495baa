/* jobs in PostgreSQL: a real server, of our own, also killed. Skipped where none is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/postgres.h"
#include "jobs_chaos.h"

static struct pg_rig rig;

static struct wt_job_row a_row(unsigned job, int64_t seq, uint64_t uj)
{
    struct wt_job_row row = {.job = job,
                             .seq = seq,
                             .begin_ns = 5,
                             .provenance = WT_PROV_COUNTER,
                             .is_counted = true,
                             .index = -1,
                             .energy_uj = uj,
                             .high_uj = UINT64_MAX};
    wt_text(row.node, sizeof(row.node), "n1");
    wt_text(row.device, sizeof(row.device), "GPU-0");
    wt_text(row.user, sizeof(row.user), "O'Brien\"); DROP TABLE wattune_job; --");
    wt_text(row.name, sizeof(row.name), "\xe6\x97\xa5\xe6\x9c\xac \\u0041");
    return row;
}

static struct wt_job_store *open_store(const char *database, bool is_to_write)
{
    char uri[256];
    struct wt_job_store *store;
    struct wt_error err;
    if (wt_job_store_open(&store, pg_rig_uri(&rig, database, uri, sizeof(uri)), is_to_write, &err) <
        0)
        fail_msg("%s", err.text);
    return store;
}

static void rows_come_back_whole_and_once(void **state)
{
    (void)state;
    assert_true(pg_rig_sql(&rig, "postgres", "CREATE DATABASE once"));
    struct wt_job_store *store = open_store("once", true);
    struct wt_job_row in = a_row(1, 10, 77), later = a_row(1, 11, 99), *rows;
    size_t count;
    struct wt_error err;
    if (wt_job_store_write(store, &in, 1, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(wt_job_store_write(store, &later, 1, &err), 0);
    assert_int_equal(wt_job_store_write(store, &in, 1, &err), 0); /* late, and again */
    assert_int_equal(wt_job_store_write(store, &later, 1, &err), 0);
    assert_int_equal(wt_job_store_list(store, NULL, &rows, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].energy_uj, 99);
    assert_int_equal(rows[0].index, -1);
    assert_true(rows[0].high_uj == UINT64_MAX);
    assert_string_equal(rows[0].user, in.user);
    assert_string_equal(rows[0].name, in.name);
    free(rows);
    const struct wt_job_filter filter = {.user = in.user, .since_ns = 1, .until_ns = 100, .job = 1};
    assert_int_equal(wt_job_store_list(store, &filter, &rows, &count, &err), 0);
    free(rows);
    assert_int_equal(count, 0); /* it runs, and its last note was at 0 */
    const struct wt_job_filter by_user = {.user = in.user};
    assert_int_equal(wt_job_store_list(store, &by_user, &rows, &count, &err), 0);
    free(rows);
    assert_int_equal(count, 1);
    struct wt_job_row more[] = {a_row(2, 12, 1), a_row(3, 13, 1), a_row(3, 14, 1)};
    more[0].begin_ns = 9;
    more[1].begin_ns = 7;
    more[2].begin_ns = 7;
    wt_text(more[2].device, sizeof(more[2].device), "GPU-1");
    assert_int_equal(wt_job_store_write(store, more, WT_COUNTOF(more), &err), 0);
    const struct wt_job_filter latest = {.user = in.user, .latest = 2};
    assert_int_equal(wt_job_store_list(store, &latest, &rows, &count, &err), 0);
    assert_int_equal(count, 3);
    assert_int_equal(rows[0].job, 3);
    assert_int_equal(rows[2].job, 2);
    free(rows);
    wt_job_store_close(store);
    store = open_store("once", false);
    wt_job_store_close(store);
}

static atomic_bool is_stuck;
static atomic_int lookups;

/* libpq's too, as the test exports it. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **ret)
{
    __typeof__(getaddrinfo) *real;
    atomic_fetch_add(&lookups, 1);
    for (int i = 0; i < 6000 && atomic_load(&is_stuck); i++)
        usleep(10000);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo"); /* each time: two may be here at once */
    return node && strcmp(node, "stuck.invalid") == 0 ? EAI_AGAIN : real(node, service, hints, ret);
}

static void a_resolver_that_hangs_holds_nobody_up(void **state)
{
    (void)state;
    void *pg = NULL;
    struct wt_error err;
    atomic_bool stop;
    atomic_init(&stop, true); /* as while `wattune serve` ends */
    atomic_store(&lookups, 0);
    atomic_store(&is_stuck, true);
    int64_t t_ns = wt_clock_now_ns();
    assert_int_equal(wt_pg_open(&pg, "postgresql://stuck.invalid/jobs", true, &stop, &err),
                     WT_E_STATE);
    assert_true(wt_clock_now_ns() - t_ns < 30 * WT_NS_PER_S);
    while (!atomic_load(&lookups)) /* it does hang there */
        usleep(1000);
    atomic_store(&is_stuck, false);
    atomic_store(&stop, false);
    assert_int_equal(wt_pg_open(&pg, "postgresql://stuck.invalid/jobs", true, &stop, &err),
                     WT_E_IO);
    assert_non_null(strstr(err.text, "stuck.invalid"));
}

static void to_read_makes_no_tables(void **state)
{
    (void)state;
    char uri[256];
    struct wt_job_store *store;
    struct wt_error err;
    assert_true(pg_rig_sql(&rig, "postgres", "CREATE DATABASE empty"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            wt_job_store_open(&store, pg_rig_uri(&rig, "empty", uri, sizeof(uri)), false, &err),
            WT_E_NOTFOUND);
        assert_non_null(strstr(err.text, "no jobs are stored"));
    }
    assert_int_equal(
        wt_job_store_open(&store, pg_rig_uri(&rig, "nowhere", uri, sizeof(uri)), false, &err),
        WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "createdb"));
}

static void passwords_are_never_said(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        int want;
    } table[] = {
        {"postgresql://ada:s3cr%%3At%%2Fword@127.0.0.1:%u/jobs", 0},
        {"postgresql://ada:s3cr-wrong@127.0.0.1:%u/jobs", WT_E_DENIED},
        {"postgresql://ada:s3cr-wrong@127.0.0.1:1/jobs?x=%u", WT_E_USAGE},
        {"postgresql://ada:s3cr-wrong@127.0.0.1:%u00/jobs", WT_E_USAGE},
        {"postgresql://ada:s3cr-wrong@127.0.0.1:1/jobs?connect_timeout=%u", WT_E_IO},
        {"postgresql://ada:s3cr-%%zz@127.0.0.1:%u/jobs", WT_E_USAGE},
        {"postgresql://127.0.0.1:%u/jobs?user=ada&password=s3cr-wrong", WT_E_DENIED},
    };
    for (size_t i = 0; i < WT_COUNTOF(table); i++) {
        char uri[256], all[1200];
        struct wt_job_store *store = NULL;
        struct wt_error err = {0};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(uri, sizeof(uri), table[i].form, rig.port);
#pragma GCC diagnostic pop
        int rc = wt_job_store_open(&store, uri, true, &err);
        if (rc != table[i].want)
            fail_msg("%s: %d, %s", table[i].form, rc, err.text);
        snprintf(all, sizeof(all), "%s %s %s", err.text, err.fix,
                 rc == 0 ? wt_job_store_name(store) : "");
        assert_null(strstr(all, "s3cr"));
        if (rc == 0)
            assert_non_null(strstr(all, "postgresql://ada@127.0.0.1"));
        if (rc == 0)
            wt_job_store_close(store);
    }
}

/* A database that is not Unicode's takes names with question marks rather than never. */
static void names_that_a_database_cannot_hold_go_in_as_far_as_they_can(void **state)
{
    (void)state;
    assert_true(pg_rig_sql(
        &rig, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
    struct wt_job_store *store = open_store("latin", true);
    struct wt_job_row in = a_row(1, 10, 77), *rows;
    size_t count;
    struct wt_error err;
    int rc = wt_job_store_write(store, &in, 1, &err);
    if (rc < 0)
        fail_msg("%d: %s", rc, err.text);
    assert_int_equal(wt_job_store_list(store, NULL, &rows, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].name, "?????? \\u0041");
    free(rows);
    wt_job_store_close(store);
}

static void a_user_without_rights_is_told_which(void **state)
{
    (void)state;
    assert_true(pg_rig_sql(&rig, "postgres", "CREATE USER eve"));
    assert_true(pg_rig_sql(&rig, "postgres", "CREATE DATABASE closed"));
    assert_true(pg_rig_sql(&rig, "closed", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    char uri[256];
    struct wt_job_store *store;
    struct wt_error err;
    snprintf(uri, sizeof(uri), "postgresql://eve@/closed?host=%s&port=%u", rig.dir, rig.port);
    assert_int_equal(wt_job_store_open(&store, uri, true, &err), WT_E_DENIED);
    assert_non_null(strstr(err.fix, "wattune_job"));
}

static void nothing_is_lost_or_doubled_when_the_server_is_killed(void **state)
{
    (void)state;
    assert_true(pg_rig_sql(&rig, "postgres", "CREATE DATABASE chaos"));
    struct jobs_chaos chaos = {.nodes = 12, .jobs = 20, .kills = 3, .seed = 5};
    if (!jobs_chaos_run(&chaos, &rig, "chaos"))
        fail_msg("%s: of %zu rows %zu missing, %zu doubled, %zu wrong", chaos.why, chaos.rows,
                 chaos.missing, chaos.doubled, chaos.wrong);
    assert_int_equal(chaos.rows, 12 * 20 * 3);
    assert_true(chaos.joules == chaos.joules_there || (chaos.joules - chaos.joules_there < 1e-6 &&
                                                       chaos.joules_there - chaos.joules < 1e-6));
}

static int open_rig(void **state)
{
    (void)state;
    return rig.pid ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_whole_and_once),
        cmocka_unit_test(a_resolver_that_hangs_holds_nobody_up),
        cmocka_unit_test(to_read_makes_no_tables),
        cmocka_unit_test(passwords_are_never_said),
        cmocka_unit_test(names_that_a_database_cannot_hold_go_in_as_far_as_they_can),
        cmocka_unit_test(a_user_without_rights_is_told_which),
        cmocka_unit_test(nothing_is_lost_or_doubled_when_the_server_is_killed),
    };
    if (!pg_rig_open(&rig, false)) {
        printf("skipped: %s\n", rig.why);
        bool is_absent = !rig.bin[0] || !rig.user[0];
        pg_rig_close(&rig);
        return is_absent ? 77 : 1;
    }
    int failed = cmocka_run_group_tests(tests, open_rig, NULL);
    pg_rig_close(&rig);
    return failed;
}
