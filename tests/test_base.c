/* base: units argue their range, numbers are whole strings, reads stay below the root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/file.h"
#include "trees.h"

static void energy_does_not_overflow_in_an_hour_of_a_node(void **state)
{
    (void)state;
    uint64_t hour_ns = UINT64_C(3600) * 1000000000u;
    assert_int_equal(wt_energy_uj_from(5600000, hour_ns), UINT64_C(20160000000000));
    assert_int_equal(wt_energy_uj_from(UINT64_MAX, UINT64_MAX), UINT64_MAX);
    assert_int_equal(wt_energy_uj_from(0, hour_ns), 0);
}

static void numbers_are_whole_strings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
        uint64_t want;
    } rows[] = {
        {"0", 0, 0},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", WT_E_RANGE, 0},
        {"", WT_E_FORMAT, 0},
        {"-1", WT_E_FORMAT, 0},
        {" 1", WT_E_FORMAT, 0},
        {"1 ", WT_E_FORMAT, 0},
        {"0x10", WT_E_FORMAT, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        uint64_t value = 0;
        assert_int_equal(wt_text_to_u64(rows[i].text, &value), rows[i].rc);
        if (rows[i].rc == 0)
            assert_int_equal(value, rows[i].want);
    }
    double d;
    assert_int_equal(wt_text_to_double("150.5", &d), 0);
    assert_true(d > 150.49 && d < 150.51);
    assert_int_equal(wt_text_to_double("inf", &d), WT_E_FORMAT);
    assert_int_equal(wt_text_to_double("1,5", &d), WT_E_FORMAT);
    assert_int_equal(wt_text_to_double("1e999", &d), WT_E_RANGE);
    assert_int_equal(wt_text_to_double("1-", &d), WT_E_FORMAT);
}

static void fields_of_a_line_come_without_blanks_and_quotes(void **state)
{
    (void)state;
    char line[] = "\xef\xbb\xbf a , \"b c\",,\" \r\n";
    static const char *const want[] = {"a", "b c", "", "\""};
    char *rest = wt_text_after_mark(line);
    assert_ptr_equal(wt_text_after_mark(rest), rest);
    for (size_t i = 0; i < WT_COUNTOF(want); i++)
        assert_string_equal(wt_text_field(&rest), want[i]);
    assert_null(wt_text_field(&rest));
}

/* stdio keeps that a write failed and not why; a limit stands in for a disk that is full. */
static void a_file_that_has_no_room_says_so(void **state)
{
    (void)state;
    static char text[100000];
    char dir[] = "/tmp/wattune-base-XXXXXX", path[64];
    struct wt_error err = {0};
    struct rlimit before, small;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a", dir);
    memset(text, 'x', sizeof(text));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = wt_file_replace(path, text, sizeof(text), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_true(rc < 0);
    assert_non_null(strstr(err.text, strerror(EFBIG)));
    assert_int_equal(rmdir(dir), 0); /* nothing is left of it */
}

static void a_file_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    char dir[] = "/tmp/wattune-base-XXXXXX", path[64], linked[64];
    struct wt_error err = {0};
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a", dir);
    assert_int_equal(wt_file_write(path, "one", &err), 0);
    assert_int_equal(wt_file_write(path, "three", &err), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(unlink(path), 0);
    /* What is no regular file stays what it is. */
    snprintf(linked, sizeof(linked), "%s/null", dir);
    assert_int_equal(symlink("/dev/null", linked), 0);
    assert_int_equal(wt_file_write(linked, "text", &err), 0);
    assert_int_equal(lstat(linked, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink(linked), 0);
    /* A draft likewise: a link to a file stays one, and the file its mode; a pipe stays a pipe. */
    assert_int_equal(wt_file_write(path, "one", &err), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink(path, linked), 0);
    assert_int_equal(wt_file_replace(linked, "three", 5, &err), 0);
    assert_int_equal(lstat(linked, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_size == 5 && (st.st_mode & 0777) == 0640);
    assert_int_equal(unlink(linked), 0);
    assert_int_equal(mkfifo(linked, 0600), 0);
    int reader = open(linked, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(wt_file_replace(linked, "three", 5, &err), 0);
    char said[8] = "";
    assert_int_equal(read(reader, said, sizeof(said)), 5);
    close(reader);
    assert_int_equal(lstat(linked, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(unlink(linked), 0);
    assert_int_equal(unlink(path), 0);
    /* An open file, by the name of its descriptor, is gone on with. */
    static const char *const names[] = {"/dev/fd", "/proc/self/fd"};
    int open_file = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(open_file, "a", 1), 1);
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        snprintf(linked, sizeof(linked), "%s/%d", names[i], open_file);
        assert_int_equal(wt_file_check(linked, &err), 0);
        assert_int_equal(wt_file_write(linked, "bc", &err), 0);
    }
    assert_int_equal(write(open_file, "d", 1), 1);
    assert_int_equal(pread(open_file, said, sizeof(said), 0), 6);
    assert_memory_equal(said, "abcbcd", 6);
    close(open_file);
    assert_int_equal(wt_file_write(linked, "bc", &err), WT_E_NOTFOUND);
    assert_int_equal(unlink(path), 0);
    /* That it could be written is found out without a trace: no pipe is opened, no file is left. */
    assert_int_equal(wt_file_check(path, &err), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(wt_file_check(path, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(wt_file_check(dir, &err), WT_E_IO);
    assert_int_equal(rmdir(dir), 0); /* and nothing is left beside */
    assert_int_equal(wt_file_check(path, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_file_write(path, "one", &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, path));
}

static void a_sum_has_its_weakest_provenance(void **state)
{
    (void)state;
    struct wt_joules a = {10, 9, 11, WT_PROV_COUNTER}, b = {5, 4, 7, WT_PROV_MODELED}, sum;
    assert_int_equal(wt_joules_add(&sum, &a, &b), 0);
    assert_int_equal(sum.provenance, WT_PROV_MODELED);
    assert_true(sum.low_j == 13 && sum.energy_j == 15 && sum.high_j == 18);

    b.provenance = WT_PROV_UNKNOWN;
    assert_int_equal(wt_joules_add(&sum, &a, &b), 0);
    assert_int_equal(sum.provenance, WT_PROV_UNKNOWN);
    assert_true(isnan(sum.energy_j));
}

static void emulated_and_real_do_not_add(void **state)
{
    (void)state;
    struct wt_joules a = {10, 9, 11, WT_PROV_COUNTER}, b = {5, 4, 7, WT_PROV_EMULATED}, sum;
    assert_int_equal(wt_joules_add(&sum, &a, &b), WT_E_MIXED);
    assert_int_equal(sum.provenance, WT_PROV_UNKNOWN);
}

static void reads_stay_below_the_root_and_name_the_file(void **state)
{
    (void)state;
    char root[64];
    tree_new(root, sizeof(root));
    tree_put(root, "/sys/class/energy_uj", "262143328850\n");

    struct wt_ctx *ctx;
    struct wt_ctx_options options = {.sysroot = root};
    struct wt_error err;
    uint64_t value;
    assert_int_equal(wt_ctx_new(&ctx, &options, &err), 0);
    assert_int_equal(wt_fs_read_u64(ctx, "/sys/class/energy_uj", &value, &err), 0);
    assert_int_equal(value, UINT64_C(262143328850));

    assert_int_equal(wt_fs_read_u64(ctx, "/sys/class/nothing", &value, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "/sys/class/nothing"));

    tree_put(root, "/sys/class/energy_uj", "12 34");
    assert_int_equal(wt_fs_read_u64(ctx, "/sys/class/energy_uj", &value, &err), WT_E_FORMAT);
    tree_put(root, "/sys/class/energy_uj", "");
    assert_int_equal(wt_fs_read_u64(ctx, "/sys/class/energy_uj", &value, &err), WT_E_FORMAT);
    wt_ctx_free(ctx);
    assert_int_equal(wt_fs_remove_tree(root, &err), 0);
    assert_int_equal(access(root, F_OK), -1);
}

static void a_process_is_known_by_its_start(void **state)
{
    (void)state;
    uint64_t ticks;
    assert_int_equal(wt_fs_process_start((uint32_t)getpid(), &ticks, NULL), 0);
    assert_true(ticks > 0);
    assert_int_equal(wt_fs_process_start(UINT32_MAX, &ticks, NULL), WT_E_NOTFOUND);
}

static void every_error_has_a_name_a_text_and_an_exit_code(void **state)
{
    (void)state;
#define CHECK(name, code, exit, text)                                                              \
    assert_string_equal(wt_error_name(code), #name);                                               \
    assert_string_equal(wt_strerror(code), text);                                                  \
    assert_int_equal(wt_exit_code(code), exit);
    WT_ERRORS(CHECK)
#undef CHECK
    assert_int_equal(wt_exit_code(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(energy_does_not_overflow_in_an_hour_of_a_node),
        cmocka_unit_test(numbers_are_whole_strings),
        cmocka_unit_test(fields_of_a_line_come_without_blanks_and_quotes),
        cmocka_unit_test(a_file_is_written_whole_or_not_at_all),
        cmocka_unit_test(a_file_that_has_no_room_says_so),
        cmocka_unit_test(a_sum_has_its_weakest_provenance),
        cmocka_unit_test(emulated_and_real_do_not_add),
        cmocka_unit_test(reads_stay_below_the_root_and_name_the_file),
        cmocka_unit_test(a_process_is_known_by_its_start),
        cmocka_unit_test(every_error_has_a_name_a_text_and_an_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
