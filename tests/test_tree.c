/* tree: recorded machines, what may be written, files that stay open, and gathering. */
#include "bed.h"
#include "knob/knob.h"
#include "wattune/gather.h"

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    *state = bed;
    if (!bed)
        return -1;
    bed_init(bed);
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    bed_done(bed);
    free(bed);
    return 0;
}

static int read_text(const struct bed *bed, const char *path, char *buf, struct wt_error *err)
{
    return wt_fs_read(bed->ctx, path, buf, 64, err);
}

static void a_manifest_says_whose_view_it_is_and_what_refused(void **state)
{
    struct bed *bed = *state;
    char text[64], **names;
    size_t count;
    bed_put(
        bed, "/machine.txt",
        "wattune-machine 1\n# a remark\ntitle: a machine\norigin: a test\nuid: 1000\n\n"
        "deny /sys/a\nerror EIO /sys/b\nerror ENODEV /sys/c\nreadonly /sys/ro\ndir /sys/empty\n");
    bed_put(bed, "/sys/a", "1\n");
    bed_put(bed, "/sys/b", "2\n");
    bed_put(bed, "/sys/c", "3\n");
    bed_put(bed, "/sys/d", "4\n");
    assert_int_equal(bed_renew(bed), 0);
    assert_true(wt_tree_is_recorded(bed->ctx));
    assert_string_equal(wt_tree_title(bed->ctx), "a machine");
    assert_int_equal(wt_fs_state(bed->ctx), WT_REPLAYED);
    assert_int_equal(read_text(bed, "/sys/a", text, &bed->err), WT_E_DENIED);
    assert_int_equal(read_text(bed, "/sys/b", text, &bed->err), WT_E_IO);
    assert_int_equal(read_text(bed, "/sys/c", text, &bed->err), WT_E_GONE);
    assert_int_equal(read_text(bed, "/sys/d", text, &bed->err), 0);
    assert_string_equal(text, "4");
    assert_int_equal(wt_fs_list(bed->ctx, "/sys/empty", &names, &count, &bed->err), 0);
    assert_int_equal(count, 0);
    wt_fs_list_free(names, count);
    /* An ordinary user may write nothing there. */
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/d", "5", &bed->err), WT_E_DENIED);
    assert_int_equal(read_text(bed, "/sys/d", text, &bed->err), 0);
    assert_string_equal(text, "4");
}

static void a_manifest_that_is_wrong_is_named_by_its_line(void **state)
{
    struct bed *bed = *state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"wattune-machine 2\n", ":1:"},
        {"", ":1:"},
        {"wattune-machine 1\ntitle: x\nsurprise /sys\n", ":3:"},
        {"wattune-machine 1\nuid: root\n", ":2:"},
        {"wattune-machine 1\n\nerror EFOO /sys/a\n", ":3:"},
        {"wattune-machine 1\ndeny sys/a\n", ":2:"},
        {"wattune-machine 1\nerror EIO\n", ":2:"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        bed_put(bed, "/machine.txt", rows[i].text);
        assert_int_equal(bed_renew(bed), WT_E_FORMAT);
        if (!strstr(bed->err.text, rows[i].want) || !strstr(bed->err.text, "machine.txt"))
            fail_msg("row %zu: \"%s\"", i, bed->err.text);
        assert_null(bed->ctx);
    }
}

static void a_root_without_a_manifest_is_alive(void **state)
{
    struct bed *bed = *state;
    char text[64];
    bed_put(bed, "/sys/d", "4\n");
    assert_int_equal(bed_renew(bed), 0);
    assert_int_equal(wt_fs_state(bed->ctx), WT_LIVE);
    assert_int_equal(wt_fs_may_write(bed->ctx, "/sys/d", NULL, &bed->err), 0);
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/d", "17", &bed->err), 0);
    assert_int_equal(read_text(bed, "/sys/d", text, &bed->err), 0);
    assert_string_equal(text, "17");
    /* What is not there is not made. */
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/e", "1", &bed->err), WT_E_NOTFOUND);
    assert_int_equal(read_text(bed, "/sys/e", text, &bed->err), WT_E_NOTFOUND);
    assert_int_equal(wt_tree_fault(bed->ctx, "/sys/d", EIO), 0);
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/d", "18", &bed->err), WT_E_IO);
    assert_int_equal(wt_tree_fault(bed->ctx, "/sys/d", 0), 0);
    assert_int_equal(read_text(bed, "/sys/d", text, &bed->err), 0);
    assert_string_equal(text, "17");
}

static void below_what_is_readonly_nothing_is_written(void **state)
{
    struct bed *bed = *state;
    bed_put(bed, "/machine.txt", "wattune-machine 1\nuid: 0\nreadonly /sys/ro\n");
    bed_put(bed, "/sys/ro/a", "1\n");
    bed_put(bed, "/sys/rows", "1\n"); /* begins alike, and is not below */
    assert_int_equal(bed_renew(bed), 0);
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/ro/a", "2", &bed->err), WT_E_DENIED);
    assert_int_equal(wt_fs_write(bed->ctx, "/sys/rows", "2", &bed->err), 0);
}

static void numbers_have_a_sign_where_they_may(void **state)
{
    struct bed *bed = *state;
    static const struct {
        const char *text;
        int want;
        int64_t value;
    } rows[] = {
        {"0\n", 0, 0},
        {"-17\n", 0, -17},
        {"9223372036854775807", 0, INT64_MAX},
        {"9223372036854775808", WT_E_FORMAT, 0},
        {"-", WT_E_FORMAT, 0},
        {"--1", WT_E_FORMAT, 0},
        {"", WT_E_FORMAT, 0},
        {"1.5", WT_E_FORMAT, 0},
    };
    assert_int_equal(bed_renew(bed), 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        int64_t value = 0;
        bed_put(bed, "/sys/n", rows[i].text);
        int rc = wt_fs_read_i64(bed->ctx, "/sys/n", &value, &bed->err);
        if (rc != rows[i].want || (rc == 0 && value != rows[i].value))
            fail_msg("\"%s\": %d, %lld", rows[i].text, rc, (long long)value);
    }
}

static void a_file_that_stays_open_follows_its_path(void **state)
{
    struct bed *bed = *state;
    char text[64], from[128], to[128];
    int keep = 0;
    bed_put(bed, "/sys/n", "1\n");
    bed_put(bed, "/sys/m", "7\n");
    assert_int_equal(bed_renew(bed), 0);
    for (int i = 1; i < 4; i++) {
        char want[8];
        bed_put(bed, "/sys/n", wt_text(want, sizeof(want), "%d", i));
        assert_int_equal(wt_fs_read_kept(bed->ctx, "/sys/n", &keep, text, 64, &bed->err), 0);
        assert_string_equal(text, want);
        assert_true(keep > 0);
    }
    assert_int_equal(wt_tree_fault(bed->ctx, "/sys/n", ENODEV), 0);
    assert_int_equal(wt_fs_read_kept(bed->ctx, "/sys/n", &keep, text, 64, &bed->err), WT_E_GONE);
    assert_int_equal(wt_tree_fault(bed->ctx, "/sys/n", 0), 0);
    /* Another file takes its place. */
    wt_text(from, sizeof(from), "%s/sys/m", bed->root);
    wt_text(to, sizeof(to), "%s/sys/n", bed->root);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(wt_fs_read_kept(bed->ctx, "/sys/n", &keep, text, 64, &bed->err), 0);
    assert_string_equal(text, "7");
    tree_remove(bed->root, "/sys/n");
    assert_int_equal(wt_fs_read_kept(bed->ctx, "/sys/n", &keep, text, 64, &bed->err),
                     WT_E_NOTFOUND);
    assert_int_equal(keep, 0);
    wt_fs_drop(&keep);
}

static void what_is_gathered_has_no_identity(void **state)
{
    struct bed *bed = *state;
    char dir[128];
    static const char id[] = "5f3e9c1ab2d4405f8a7c6e5d4c3b2a190f8e7d6c5b4a39281706f5e4d3c2b1a0";
    char cgroup[256];
    bed_put(bed, "/proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU\nSerial\t\t: "
            "00000000deadbeef\n\n");
    bed_put(bed, "/proc/1/cgroup",
            wt_text(cgroup, sizeof(cgroup), "0::/system.slice/docker-%s.scope\n", id));
    bed_put(bed, "/sys/class/dmi/id/sys_vendor", "Dell Inc.\n");
    bed_put(bed, "/sys/class/dmi/id/product_serial", "ABC1234\n");
    bed_put(bed, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    bed_put(bed, "/etc/hostname", "secret-host\n");
    wt_text(dir, sizeof(dir), "%s/out", bed->root);
    struct wt_gathered g;
    struct wt_gather_options options = {.sysroot = bed->root};
    assert_int_equal(wt_gather(dir, &options, &g, &bed->err), 0);
    char *cpuinfo = tree_get(dir, "/proc/cpuinfo"), *group = tree_get(dir, "/proc/1/cgroup");
    assert_non_null(cpuinfo);
    assert_null(strstr(cpuinfo, "deadbeef"));
    assert_non_null(strstr(cpuinfo, "Some CPU"));
    assert_non_null(group);
    assert_null(strstr(group, "5f3e9c1a"));
    assert_non_null(strstr(group, "docker-0000"));
    static const char *const absent[] = {"/sys/class/dmi/id/product_serial", "/etc/machine-id",
                                         "/etc/hostname"};
    for (size_t i = 0; i < WT_COUNTOF(absent); i++)
        assert_null(tree_get(dir, absent[i]));
    free(cpuinfo);
    free(group);
    /* Nothing that is there is written over. */
    assert_true(wt_gather(dir, &options, &g, &bed->err) < 0);
    assert_true(*bed->err.text);
}

/* Of a large machine's file the beginning is read: 8191 bytes end with a line, here, and not with a
 * processor. One that was read whole is kept so, ended how it may. */
static void a_processor_that_was_cut_off_is_left_out(void **state)
{
    struct bed *bed = *state;
    char dir[128], text[9000] = "";
    static const char one[] = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU\n";
    size_t used = 0;
    while (used + sizeof(one) < 8000)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\n", one);
    size_t whole = used;
    used += (size_t)snprintf(text + used, sizeof(text) - used, "processor\t: 1\n");
    while (used < 8190)
        text[used++] = '#';
    text[used++] = '\n';
    snprintf(text + used, sizeof(text) - used, "model name\t: Some CPU\n\n");
    struct wt_gathered g;
    struct wt_gather_options options = {.sysroot = bed->root};
    bed_put(bed, "/proc/cpuinfo", text);
    wt_text(dir, sizeof(dir), "%s/out-cut", bed->root);
    assert_int_equal(wt_gather(dir, &options, &g, &bed->err), 0);
    char *kept = tree_get(dir, "/proc/cpuinfo");
    assert_int_equal(strlen(kept), whole);
    free(kept);
    bed_put(bed, "/proc/cpuinfo", "processor\t: 0\n\nHardware\t: a board");
    wt_text(dir, sizeof(dir), "%s/out-whole", bed->root);
    assert_int_equal(wt_gather(dir, &options, &g, &bed->err), 0);
    kept = tree_get(dir, "/proc/cpuinfo");
    assert_non_null(strstr(kept, "a board"));
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_manifest_says_whose_view_it_is_and_what_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_manifest_that_is_wrong_is_named_by_its_line, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_root_without_a_manifest_is_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(below_what_is_readonly_nothing_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_have_a_sign_where_they_may, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_stays_open_follows_its_path, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_gathered_has_no_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(a_processor_that_was_cut_off_is_left_out, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
