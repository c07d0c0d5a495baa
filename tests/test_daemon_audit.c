/* The audit log: every line is whole, what a full disk did not take is counted, and a file that was
 * moved away is made anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/audit.h"

#define PATIENCE_NS (20 * WT_NS_PER_S)

static char dir[] = "/tmp/wattune-audit-XXXXXX", path[200], moved[200];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(strcpy(dir, "/tmp/wattune-audit-XXXXXX")))
        return -1;
    wt_text(path, sizeof(path), "%s/audit", dir);
    wt_text(moved, sizeof(moved), "%s/audit.1", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return wt_fs_remove_tree(dir, NULL);
}

static struct wt_audit *opened(void)
{
    struct wt_audit *audit;
    struct wt_error err = {0};
    if (wt_audit_new(&audit, path, &err) < 0)
        fail_msg("%s", err.text);
    return audit;
}

static void say(struct wt_audit *audit, int64_t watts)
{
    int64_t mw = watts * 1000;
    wt_audit_write(
        audit, &(struct wt_audit_line){.event = "claim", .knob = WT_KNOB_POWER, .requested = &mw});
}

struct told {
    size_t lines, claims, lost;
};

/* Every line of it is a document of its own. */
static struct told read_all(const char *from)
{
    struct told told = {0};
    char line[2000];
    FILE *in = fopen(from, "re");
    while (in && fgets(line, sizeof(line), in)) {
        json_t *object = json_loads(line, 0, NULL);
        if (!object)
            fail_msg("%s: line %zu is none: %s", from, told.lines + 1, line);
        const char *event = json_string_value(json_object_get(object, "event"));
        told.lines++;
        told.claims += strcmp(event, "claim") == 0;
        if (strcmp(event, "lost") == 0)
            told.lost += (size_t)json_integer_value(json_object_get(object, "lines"));
        json_decref(object);
    }
    if (in)
        fclose(in);
    return told;
}

static struct told await(const char *from, size_t claims)
{
    struct told told = {0};
    for (int64_t end_ns = wt_clock_now_ns() + PATIENCE_NS; wt_clock_now_ns() < end_ns;) {
        told = read_all(from);
        if (told.claims + told.lost >= claims)
            break;
        poll(NULL, 0, 20);
    }
    return told;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void what_a_full_file_did_not_take_is_counted(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    struct wt_audit *audit = opened();
    for (int i = 0; i < 3; i++)
        say(audit, 100 + i);
    assert_int_equal(await(path, 3).claims, 3);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    struct timespec before = st.st_mtim;
    limit_files((rlim_t)st.st_size + 20); /* the next stops in its middle */
    say(audit, 200);
    say(audit, 201);
    for (int64_t end_ns = wt_clock_now_ns() + PATIENCE_NS;
         st.st_mtim.tv_sec == before.tv_sec && st.st_mtim.tv_nsec == before.tv_nsec &&
         wt_clock_now_ns() < end_ns;
         poll(NULL, 0, 5))
        assert_int_equal(stat(path, &st), 0);
    poll(NULL, 0, 50); /* what was begun is taken back */
    assert_int_equal(read_all(path).lines, 3);
    limit_files(RLIM_INFINITY);
    say(audit, 300);
    struct told told = await(path, 6);
    assert_true(told.lost >= 1 && told.lost <= 2);
    assert_int_equal(told.claims + told.lost, 6);
    wt_audit_free(audit);
}

static void a_file_that_was_moved_away_is_made_anew(void **state)
{
    (void)state;
    struct wt_audit *audit = opened();
    say(audit, 100);
    assert_int_equal(await(path, 1).claims, 1);
    assert_int_equal(rename(path, moved), 0);
    say(audit, 101); /* before the signal: where it was */
    assert_int_equal(await(moved, 2).claims, 2);
    wt_audit_reopen(audit);
    for (int64_t end_ns = wt_clock_now_ns() + PATIENCE_NS;
         access(path, F_OK) < 0 && wt_clock_now_ns() < end_ns;)
        poll(NULL, 0, 5);
    say(audit, 102);
    assert_int_equal(await(path, 1).claims, 1);
    assert_int_equal(read_all(moved).claims, 2);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    /* Where it cannot be, the old one goes on. */
    assert_int_equal(unlink(moved), 0);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    wt_audit_reopen(audit);
    say(audit, 103);
    assert_int_equal(await(moved, 2).claims, 2);
    wt_audit_free(audit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_full_file_did_not_take_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_was_moved_away_is_made_anew, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
