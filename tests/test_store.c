/* store: what was written is there after any death of the writer, and whatever is wrong with the
 * file or its folder is a clear error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runs.h"

static char dir[64], file[80];

static int setup(void **state)
{
    (void)state;
    wt_text(dir, sizeof(dir), "/tmp/wattune-store-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    wt_text(file, sizeof(file), "%s/runs.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return wt_fs_remove_tree(dir, NULL);
}

static const struct runs_spec typical = {
    .cap_w = 150, .wall_s = 40, .power_w = 149, .bound = 0.012, .is_with_cpu = true};

static struct wt_store *open_store(void)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    if (wt_store_open(&store, dir, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

static void must(int rc, const struct wt_error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

/* A run as the command has it when it begins: nothing measured yet. */
static struct wt_run fresh(const char *tag)
{
    struct wt_run run = {0};
    wt_text(run.command, sizeof(run.command), "python train.py");
    wt_text(run.tag, sizeof(run.tag), "%s", tag);
    return run;
}

static void add_points(struct wt_run *run, int count)
{
    for (int i = 0; i < count; i++) {
        struct wt_run_point p = {.t_s = (double)(run->point_count + 1) * 0.1,
                                 .power_w = 200,
                                 .temp_c = NAN,
                                 .clock_mhz = NAN,
                                 .limit_w = 250};
        assert_int_equal(wt_run_add_point(run, &p), 0);
    }
}

/* Runs in a process of its own: exit code 0 is well, 77 not possible here. */
static int in_child(int (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status))
        fail_msg("the child died of signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void must_or_skip(int code, const char *why)
{
    if (code == 77) {
        print_message("skipped: %s\n", why);
        skip();
    }
    assert_int_equal(code, 0);
}

static void a_run_comes_back_as_it_was_stored(void **state)
{
    (void)state;
    struct wt_run run = runs_make(&typical), back;
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    must(wt_store_end(store, &run, &err), &err);
    wt_store_close(store);

    store = open_store();
    must(wt_store_load(store, run.id, &back, &err), &err);
    char *want = wt_run_to_json_full(&run), *got = wt_run_to_json_full(&back);
    assert_string_equal(got, want);
    assert_int_equal(back.state, WT_RUN_DONE);
    assert_int_equal(back.point_count, 101);
    assert_int_equal(back.start_unix_ns, run.start_unix_ns);
    free(want);
    free(got);
    wt_run_done(&back);
    wt_run_done(&run);
    wt_store_close(store);
}

static void an_unknown_number_comes_back_unknown(void **state)
{
    (void)state;
    struct wt_run run = fresh(""), back;
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    add_points(&run, 1);
    run.points[0].power_w = NAN;
    must(wt_store_end(store, &run, &err), &err);
    must(wt_store_load(store, "last", &back, &err), &err);
    assert_true(isnan(back.points[0].power_w));
    assert_int_equal(back.total.provenance, WT_PROV_UNKNOWN);
    wt_run_done(&back);
    wt_run_done(&run);
    wt_store_close(store);
}

static void updates_append_only_what_is_new(void **state)
{
    (void)state;
    struct wt_run run = fresh(""), back;
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    for (int i = 0; i < 5; i++) {
        add_points(&run, 7);
        struct wt_run_value v = {.t_s = i + 1, .name = "loss", .value = 10 - i};
        assert_int_equal(wt_run_add_value(&run, &v), 0);
        must(wt_store_update(store, &run, &err), &err);
    }
    must(wt_store_end(store, &run, &err), &err);
    must(wt_store_load(store, run.id, &back, &err), &err);
    assert_int_equal(back.point_count, 35);
    assert_int_equal(back.value_count, 5);
    assert_near(back.values[4].value, 6, 0);
    wt_run_done(&back);
    wt_run_done(&run);
    wt_store_close(store);
}

/* One that was the last so far, of two that take turns. */
static void a_last_value_that_was_written_is_replaced(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "rate"};
    struct wt_run run = fresh(""), back;
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    for (int i = 0; i < 9; i++) {
        for (int n = 0; n < 2; n++) {
            struct wt_run_value v = {.t_s = 100 + 1e-4 * i, .value = 10 * n + i};
            wt_text(v.name, sizeof(v.name), "%s", names[n]);
            assert_int_equal(wt_run_add_value(&run, &v), 0);
        }
        must(wt_store_update(store, &run, &err), &err);
        must(wt_store_load(store, run.id, &back, &err), &err); /* also of one that is killed now */
        assert_int_equal(back.value_count, i ? 4 : 2);
        for (int n = 0; n < 2; n++) {
            const struct wt_run_value *v = &back.values[back.value_count - 2 + (size_t)n];
            assert_string_equal(v->name, names[n]);
            assert_near(v->value, 10 * n + i, 0);
        }
        wt_run_done(&back);
    }
    wt_run_done(&run);
    wt_store_close(store);
}

/* Begins a run, writes 20 points and signals `ready`; then waits for its death. */
static pid_t start_writer(void)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct wt_run run = fresh("doomed");
        struct wt_store *store = open_store();
        if (wt_store_begin(store, &run, NULL) < 0)
            _exit(1);
        add_points(&run, 20);
        run.wall_s = 2;
        if (wt_store_update(store, &run, NULL) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static enum wt_run_state state_of_last(struct wt_store *store)
{
    struct wt_run *runs;
    size_t count;
    struct wt_error err = {0};
    must(wt_store_list(store, NULL, NULL, 1, &runs, &count, &err), &err);
    assert_int_equal(count, 1);
    enum wt_run_state state = runs[0].state;
    wt_runs_free(runs, count);
    return state;
}

static void after_kill_9_the_record_is_there_and_incomplete(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_run back;
    struct wt_error err = {0};
    pid_t pid = start_writer();
    assert_int_equal(state_of_last(store), WT_RUN_RUNNING);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(state_of_last(store), WT_RUN_INCOMPLETE);
    must(wt_store_load(store, "last", &back, &err), &err);
    assert_int_equal(back.state, WT_RUN_INCOMPLETE);
    assert_int_equal(back.point_count, 20);
    assert_near(back.wall_s, 2, 0);
    assert_string_equal(back.tag, "doomed");
    wt_run_done(&back);
    wt_store_close(store);
}

static void execute(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(db);
}

static void a_writer_is_known_by_more_than_its_pid(void **state)
{
    (void)state;
    struct wt_run run = fresh("");
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    assert_int_equal(state_of_last(store), WT_RUN_RUNNING);
    execute("CREATE TABLE place AS SELECT writer_place AS p FROM run");
    static const struct {
        const char *sql;
        enum wt_run_state want;
    } rows[] = {
        /* the pid was given to another process */
        {"UPDATE run SET writer_start = writer_start + 1", WT_RUN_INCOMPLETE},
        /* another machine or container, which wrote just now */
        {"UPDATE run SET writer_place = 'elsewhere'", WT_RUN_RUNNING},
        /* another container of this machine */
        {"UPDATE run SET writer_place ="
         " (SELECT substr(p, 1, instr(p, ' ')) || 'pid:[1]' FROM place)",
         WT_RUN_RUNNING},
        /* this machine, before it was started anew */
        {"UPDATE run SET writer_place = 'another-boot pid:[1]'", WT_RUN_INCOMPLETE},
        /* another machine, which has been silent for an hour */
        {"UPDATE run SET writer_place = 'elsewhere'", WT_RUN_RUNNING},
        {"UPDATE run SET updated_ns = updated_ns - 3600000000000", WT_RUN_INCOMPLETE},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        execute(rows[i].sql);
        assert_int_equal(state_of_last(store), rows[i].want);
    }
    wt_run_done(&run);
    wt_store_close(store);
}

static void lists_are_newest_first_and_filtered(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_error err = {0};
    struct wt_run *runs;
    size_t count;
    for (int i = 0; i < 6; i++) {
        struct wt_run run = fresh(i % 2 ? "odd" : "even");
        run.start_unix_ns = INT64_C(1790000000000000000) + i;
        wt_text(run.group, sizeof(run.group), "%s", i < 3 ? "sweep-1" : "");
        run.repeat = (unsigned)i;
        must(wt_store_begin(store, &run, &err), &err);
        must(wt_store_end(store, &run, &err), &err);
        wt_run_done(&run);
    }
    static const struct {
        const char *tag, *group;
        size_t max, want;
        unsigned first;
    } rows[] = {
        {NULL, NULL, 0, 6, 5},       {NULL, NULL, 4, 4, 5},        {"odd", NULL, 0, 3, 5},
        {"odd", "sweep-1", 0, 1, 1}, {"even", "sweep-1", 0, 2, 2},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        must(wt_store_list(store, rows[i].tag, rows[i].group, rows[i].max, &runs, &count, &err),
             &err);
        assert_int_equal(count, rows[i].want);
        assert_int_equal(runs[0].repeat, rows[i].first);
        wt_runs_free(runs, count);
    }
    must(wt_store_list(store, "none", NULL, 0, &runs, &count, &err), &err);
    assert_int_equal(count, 0);
    wt_runs_free(runs, count);
    wt_store_close(store);
}

static void a_run_is_found_by_the_beginning_of_its_id(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_error err = {0};
    struct wt_run back;
    assert_int_equal(wt_store_load(store, "last", &back, &err), WT_E_NOTFOUND);
    static const char *const ids[] = {"aa", "aab", "ab1", "100%"};
    for (size_t i = 0; i < WT_COUNTOF(ids); i++) {
        struct wt_run run = fresh("");
        wt_text(run.id, sizeof(run.id), "%s", ids[i]);
        must(wt_store_begin(store, &run, &err), &err);
        wt_run_done(&run);
    }
    static const struct {
        const char *id;
        int rc;
        const char *want, *why;
    } rows[] = {
        {"ab", 0, "ab1", "a unique beginning"},
        {"aa", 0, "aa", "a whole id wins over a longer one"},
        {"a", WT_E_USAGE, "aab", "several: they are listed"},
        {"%", WT_E_NOTFOUND, "%", "no pattern"},
        {"100%", 0, "100%", "nor in the id"},
        {"zz", WT_E_NOTFOUND, "zz", "none"},
        {"last", 0, "100%", "the newest"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        int rc = wt_store_load(store, rows[i].id, &back, &err);
        if (rc != rows[i].rc)
            fail_msg("%s: %d, %s", rows[i].why, rc, err.text);
        if (rc == 0) {
            assert_string_equal(back.id, rows[i].want);
            wt_run_done(&back);
        } else {
            assert_non_null(strstr(err.text, rows[i].want));
        }
    }
    struct wt_run again = fresh("");
    wt_text(again.id, sizeof(again.id), "aab");
    assert_int_equal(wt_store_begin(store, &again, &err), WT_E_STATE);
    wt_store_close(store);
}

static int write_many(void)
{
    for (int i = 0; i < 10; i++) {
        struct wt_store *store = NULL;
        struct wt_run run = fresh("crowd");
        if (wt_store_open(&store, dir, NULL) < 0 || wt_store_begin(store, &run, NULL) < 0)
            return 1;
        add_points(&run, 50);
        if (wt_store_update(store, &run, NULL) < 0 || wt_store_end(store, &run, NULL) < 0)
            return 2;
        wt_run_done(&run);
        wt_store_close(store);
    }
    return 0;
}

static void several_wattunes_write_at_once(void **state)
{
    (void)state;
    pid_t pids[4];
    for (size_t i = 0; i < WT_COUNTOF(pids); i++)
        if ((pids[i] = fork()) == 0)
            _exit(write_many());
    for (size_t i = 0; i < WT_COUNTOF(pids); i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct wt_store *store = open_store();
    struct wt_run *runs;
    size_t count;
    struct wt_error err = {0};
    must(wt_store_list(store, "crowd", NULL, 0, &runs, &count, &err), &err);
    assert_int_equal(count, 40);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(runs[i].state, WT_RUN_DONE);
    wt_runs_free(runs, count);
    wt_store_close(store);
}

/* ---- what can be wrong ---- */

static void must_refuse(int want, const char *part)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_store_open(&store, dir, &err), want);
    assert_null(store);
    if (!strstr(err.text, part) || !strstr(err.text, file) || !err.fix[0])
        fail_msg("\"%s\", try \"%s\"", err.text, err.fix);
}

static void a_damaged_file_is_refused_and_left_alone(void **state)
{
    (void)state;
    static const char garbage[] = "this is no database, it is a shopping list: milk, bread, GPUs";
    char back[sizeof(garbage)] = "";
    int fd = open(file, O_CREAT | O_RDWR, 0600);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write(fd, garbage, sizeof(garbage)), sizeof(garbage));
    must_refuse(WT_E_FORMAT, "not a database");
    assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
    assert_memory_equal(back, garbage, sizeof(garbage));
    close(fd);
}

static void pages_gone_bad_are_an_error_and_no_crash(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_store *store = open_store();
    for (int i = 0; i < 20; i++) {
        struct wt_run run = runs_make(&typical);
        run.id[0] = '\0';
        must(wt_store_begin(store, &run, &err), &err);
        must(wt_store_end(store, &run, &err), &err);
        wt_run_done(&run);
    }
    wt_store_close(store);
    execute("PRAGMA wal_checkpoint(TRUNCATE)");
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    int fd = open(file, O_RDWR);
    char noise[512];
    memset(noise, 0xa5, sizeof(noise));
    /* Every page but the first, which tells what the file is. */
    for (off_t at = 4096; at < st.st_size; at += 1024)
        assert_int_equal(pwrite(fd, noise, sizeof(noise), at), sizeof(noise));
    close(fd);
    store = NULL;
    int rc = wt_store_open(&store, dir, &err);
    struct wt_run *runs, run = fresh("");
    size_t count;
    if (rc == 0)
        rc = wt_store_list(store, NULL, NULL, 0, &runs, &count, &err);
    assert_int_equal(rc, WT_E_FORMAT);
    assert_non_null(strstr(err.fix, "mv "));
    if (store)
        assert_int_equal(wt_store_begin(store, &run, &err), WT_E_FORMAT);
    wt_store_close(store);
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    (void)state;
    wt_store_close(open_store());
    execute("PRAGMA user_version = 99");
    must_refuse(WT_E_FORMAT, "newer Wattune (schema 99");
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 99);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

static void the_database_of_another_program_is_refused(void **state)
{
    (void)state;
    execute("CREATE TABLE bookmarks(url TEXT); INSERT INTO bookmarks VALUES('x')");
    must_refuse(WT_E_FORMAT, "not one of Wattune's");
}

static void a_record_of_nonsense_is_shown_as_damaged(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_run run = fresh(""), *runs;
    size_t count;
    struct wt_error err = {0};
    static const char *const docs[] = {"", "{", "[1]", "{\"devices\": 3, \"wall_s\": \"x\"}",
                                       "{\"devices\": [7], \"settings\": {\"power\": [null]}}"};
    must(wt_store_begin(store, &run, &err), &err);
    for (size_t i = 0; i < WT_COUNTOF(docs); i++) {
        char sql[200];
        wt_text(sql, sizeof(sql), "UPDATE run SET doc = '%s'", docs[i]);
        execute(sql);
        must(wt_store_list(store, NULL, NULL, 0, &runs, &count, &err), &err);
        assert_int_equal(count, 1);
        assert_string_equal(runs[0].id, run.id);
        assert_int_equal(runs[0].total.provenance, WT_PROV_UNKNOWN);
        wt_runs_free(runs, count);
    }
    wt_store_close(store);
}

/* The tests of permission mean nothing for root. */
static bool become_nobody(uid_t uid)
{
    return geteuid() != 0 || (setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
}

static int open_in_readonly_folder(void)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    if (!become_nobody(65534))
        return 77;
    int rc = wt_store_open(&store, dir, &err);
    return rc == WT_E_DENIED && strstr(err.text, dir) && err.fix[0] ? 0 : 1;
}

static void a_readonly_folder_without_a_store_is_denied(void **state)
{
    (void)state;
    assert_int_equal(chmod(dir, 0555), 0);
    must_or_skip(in_child(open_in_readonly_folder), "cannot become another user");
    assert_int_equal(chmod(dir, 0755), 0);
}

static int read_in_readonly_folder(void)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    struct wt_run *runs, run = fresh("");
    size_t count;
    if (!become_nobody(65534))
        return 77;
    if (wt_store_open(&store, dir, &err) < 0)
        return 1;
    if (wt_store_list(store, NULL, NULL, 0, &runs, &count, &err) < 0 || count != 1)
        return 2;
    wt_runs_free(runs, count);
    if (wt_store_begin(store, &run, &err) != WT_E_DENIED || !err.fix[0])
        return 3;
    wt_store_close(store);
    return 0;
}

static void a_readonly_store_can_still_be_read(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_run run = fresh("");
    struct wt_store *store = open_store();
    must(wt_store_begin(store, &run, &err), &err);
    must(wt_store_end(store, &run, &err), &err);
    wt_store_close(store);
    char other[100];
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < WT_COUNTOF(endings); i++) {
        wt_text(other, sizeof(other), "%s%s", file, endings[i]);
        if (chmod(other, 0444) < 0)
            assert_int_equal(errno, ENOENT);
    }
    assert_int_equal(chmod(dir, 0555), 0);
    must_or_skip(in_child(read_in_readonly_folder), "cannot become another user");
    assert_int_equal(chmod(dir, 0755), 0);
}

static int write_beyond_the_limit(void)
{
    struct wt_run run = fresh("");
    struct wt_error err = {0};
    struct wt_store *store = NULL;
    if (wt_store_open(&store, dir, &err) < 0 || wt_store_begin(store, &run, &err) < 0)
        return 1;
    struct rlimit limit = {128 * 1024, RLIM_INFINITY};
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return 77;
    add_points(&run, 4000);
    int rc = wt_store_update(store, &run, &err);
    if (rc != WT_E_FULL || !strstr(err.text, dir) || !err.fix[0])
        return 2;
    /* Space came back: nothing was lost meanwhile. */
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || wt_store_end(store, &run, &err) < 0)
        return 3;
    struct wt_run back;
    if (wt_store_load(store, run.id, &back, &err) < 0 || back.point_count != run.point_count)
        return 4;
    wt_run_done(&back);
    wt_run_done(&run);
    wt_store_close(store);
    return 0;
}

static void a_file_size_limit_is_a_full_disk_and_no_signal(void **state)
{
    (void)state;
    must_or_skip(in_child(write_beyond_the_limit), "cannot set a limit on file sizes");
}

static int write_on_a_full_disk(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("full", dir, "tmpfs", 0, "size=192k") < 0)
        return 77;
    struct wt_run run = fresh("");
    struct wt_error err = {0};
    struct wt_store *store = NULL;
    if (wt_store_open(&store, dir, &err) < 0 || wt_store_begin(store, &run, &err) < 0)
        return 1;
    add_points(&run, 4000);
    if (wt_store_update(store, &run, &err) != WT_E_FULL || !err.fix[0])
        return 2;
    wt_store_close(store);
    /* And when there is no room from the beginning on. */
    char filler[4096] = {0};
    char path[100];
    wt_text(path, sizeof(path), "%s/filler", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    while (write(fd, filler, sizeof(filler)) > 0)
        ;
    close(fd);
    unlink(file);
    wt_text(path, sizeof(path), "%s-wal", file);
    unlink(path);
    wt_text(path, sizeof(path), "%s/filler2", dir);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    while (write(fd, filler, sizeof(filler)) > 0)
        ;
    close(fd);
    store = NULL;
    int rc = wt_store_open(&store, dir, &err);
    wt_run_done(&run);
    return rc == WT_E_FULL && !store ? 0 : 3;
}

static void a_full_disk_is_an_error_and_no_crash(void **state)
{
    (void)state;
    must_or_skip(in_child(write_on_a_full_disk), "may not mount a file system here");
}

static int open_without_a_home(void)
{
    struct wt_store *store = NULL;
    struct wt_error err = {0};
    unsetenv("HOME");
    unsetenv("XDG_DATA_HOME");
    if (geteuid() != 0 || !become_nobody(54321)) /* a user that passwd does not know */
        return 77;
    return wt_store_open(&store, NULL, &err) == WT_E_NOTFOUND && strstr(err.text, "54321") ? 0 : 1;
}

static void without_any_home_the_error_says_so(void **state)
{
    (void)state;
    must_or_skip(in_child(open_without_a_home), "only root can become a user without a home");
}

static int open_by_environment(void)
{
    static const struct {
        const char *data, *want;
    } rows[] = {{"data", "/home/.local/share/wattune/runs.db"}, {"/x", "/data/wattune/runs.db"}};
    char home[80], data[80], want[160];
    wt_text(home, sizeof(home), "%s/home", dir);
    wt_text(data, sizeof(data), "%s/data", dir);
    setenv("HOME", home, 1);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_store *store = NULL;
        setenv("XDG_DATA_HOME", rows[i].data[0] == '/' ? data : rows[i].data, 1);
        if (wt_store_open(&store, NULL, NULL) < 0)
            return 1;
        wt_text(want, sizeof(want), "%s%s", dir, rows[i].want);
        if (strcmp(wt_store_path(store), want) != 0)
            return 2;
        wt_store_close(store);
    }
    return 0;
}

static void a_relative_xdg_data_home_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(in_child(open_by_environment), 0);
}

static void a_run_that_was_not_begun_cannot_be_written(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_run run = fresh(""), back;
    struct wt_error err = {0};
    assert_int_equal(wt_store_update(store, &run, &err), WT_E_STATE);
    must(wt_store_begin(store, &run, &err), &err);
    must(wt_store_load(store, "last", &back, &err), &err);
    assert_int_equal(wt_store_end(store, &back, &err), WT_E_STATE);
    execute("DELETE FROM run");
    assert_int_equal(wt_store_update(store, &run, &err), WT_E_CHANGED);
    wt_run_done(&back);
    wt_run_done(&run);
    wt_store_close(store);
}

static int64_t rows_of(const char *table)
{
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    char sql[60];
    wt_text(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static void a_forgotten_run_is_gone_with_its_trace(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_run runs[3];
    struct wt_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        struct wt_run_value loss = {.t_s = 1, .name = "loss", .value = 3};
        runs[i] = fresh("");
        must(wt_store_begin(store, &runs[i], &err), &err);
        add_points(&runs[i], 5);
        assert_int_equal(wt_run_add_value(&runs[i], &loss), 0);
        must(i < 2 ? wt_store_end(store, &runs[i], &err) : wt_store_update(store, &runs[i], &err),
             &err);
    }
    /* The third is running: none of them goes. */
    assert_int_equal(wt_store_forget(store, runs, 3, &err), WT_E_BUSY);
    assert_non_null(strstr(err.text, runs[2].id));
    assert_int_equal(rows_of("run"), 3);
    assert_int_equal(rows_of("point"), 15);
    must(wt_store_forget(store, runs, 2, &err), &err);
    assert_int_equal(rows_of("run"), 1);
    assert_int_equal(rows_of("point"), 5);
    assert_int_equal(rows_of("value"), 1);
    assert_int_equal(wt_store_forget(store, runs, 1, &err), WT_E_NOTFOUND);
    for (size_t i = 0; i < 3; i++)
        wt_run_done(&runs[i]);
    wt_store_close(store);
}

/* One that was silent for so long that it was taken for dead, and wakes when its number is
 * another's. */
static void a_forgotten_run_does_not_write_on_the_next(void **state)
{
    (void)state;
    struct wt_store *store = open_store();
    struct wt_run silent = fresh("silent"), next = fresh("next"), back;
    struct wt_error err = {0};
    must(wt_store_begin(store, &silent, &err), &err);
    execute("UPDATE run SET writer_start = writer_start + 1");
    must(wt_store_forget(store, &silent, 1, &err), &err);
    must(wt_store_begin(store, &next, &err), &err);
    assert_int_equal(next.stored.row, silent.stored.row);
    assert_int_equal(wt_store_end(store, &silent, &err), WT_E_CHANGED);
    must(wt_store_load(store, "last", &back, &err), &err);
    assert_string_equal(back.tag, "next");
    assert_int_equal(back.state, WT_RUN_RUNNING);
    wt_run_done(&back);
    wt_run_done(&next);
    wt_run_done(&silent);
    wt_store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_comes_back_as_it_was_stored),
        TEST(an_unknown_number_comes_back_unknown),
        TEST(updates_append_only_what_is_new),
        TEST(a_last_value_that_was_written_is_replaced),
        TEST(after_kill_9_the_record_is_there_and_incomplete),
        TEST(a_writer_is_known_by_more_than_its_pid),
        TEST(lists_are_newest_first_and_filtered),
        TEST(a_run_is_found_by_the_beginning_of_its_id),
        TEST(several_wattunes_write_at_once),
        TEST(a_damaged_file_is_refused_and_left_alone),
        TEST(pages_gone_bad_are_an_error_and_no_crash),
        TEST(a_newer_schema_is_refused_and_left_alone),
        TEST(the_database_of_another_program_is_refused),
        TEST(a_record_of_nonsense_is_shown_as_damaged),
        TEST(a_readonly_folder_without_a_store_is_denied),
        TEST(a_readonly_store_can_still_be_read),
        TEST(a_file_size_limit_is_a_full_disk_and_no_signal),
        TEST(a_full_disk_is_an_error_and_no_crash),
        TEST(without_any_home_the_error_says_so),
        TEST(a_relative_xdg_data_home_is_ignored),
        TEST(a_run_that_was_not_begun_cannot_be_written),
        TEST(a_forgotten_run_is_gone_with_its_trace),
        TEST(a_forgotten_run_does_not_write_on_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
