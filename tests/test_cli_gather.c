/* `wattune gather`: an archive that plays back, or none at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "spawned.h"
#include "trees.h"

static const char *const home = spawn_folder;
static char tree[96], archive[96];

static int setup(void **state)
{
    spawn_setup(state);
    wt_text(tree, sizeof(tree), "%s/tree", home);
    wt_text(archive, sizeof(archive), "%s/out.tar.gz", home);
    tree_put(tree, "/proc/cpuinfo", "vendor_id\t: GenuineIntel\nmodel name\t: Some CPU\n\n");
    tree_put(tree, "/proc/stat", "cpu0 10 0 10 100 0 0 0 0 0 0\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/energy_uj", "123456789\n");
    tree_put(tree, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    return 0;
}

static void an_archive_plays_back_as_a_recording(void **state)
{
    (void)state;
    struct spawned s;
    char folder[96];
    spawn_run(&s, home, "wattune", "gather", "--sysroot", tree, "--output", archive, "--title",
              "a small machine");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "a small machine"));
    assert_non_null(strstr(s.out, "--sysroot"));
    spawn_done(&s);
    spawn_run(&s, home, "tar", "-xzf", archive, "-C", home);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    wt_text(folder, sizeof(folder), "%s/machine", home);
    char *said = tree_get(folder, "/doctor.txt"),
         *energy = tree_get(folder, "/sys/class/powercap/intel-rapl:0/energy_uj");
    assert_non_null(said);
    assert_non_null(strstr(said, "a small machine"));
    assert_non_null(strstr(said, "123.5 J"));
    assert_string_equal(energy, "123456789\n");
    free(said);
    free(energy);
}

static void what_is_there_is_left_alone(void **state)
{
    (void)state;
    struct spawned s;
    tree_put(home, "/out.tar.gz", "mine\n");
    spawn_run(&s, home, "wattune", "gather", "--sysroot", tree, "--output", archive);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "is there already"));
    assert_non_null(strstr(s.err, "--output"));
    spawn_done(&s);
    char *text = tree_get(home, "/out.tar.gz");
    assert_string_equal(text, "mine\n");
    free(text);
}

static void a_place_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    wt_text(path, sizeof(path), "%s/no/such/folder/out.tar.gz", home);
    spawn_run(&s, home, "wattune", "gather", "--sysroot", tree, "--output", path);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, path));
    assert_non_null(strstr(s.err, "name another file with --output"));
    assert_null(strstr(s.err, "tar:"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "gather", "--sysroot", tree, "--output", "-");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--output -: "));
    spawn_done(&s);
}

/* As on a disk that fills up: one line, and nothing of the archive. */
static void what_tar_says_is_told_in_one_line(void **state)
{
    (void)state;
    struct spawned s;
    char bin[96], tool[128];
    char *before = strdup(getenv("PATH")), *with;
    assert_non_null(before);
    wt_text(bin, sizeof(bin), "%s/bin", home);
    wt_text(tool, sizeof(tool), "%s/tar", bin);
    tree_put(bin, "/tar", "#!/bin/sh\necho 'tar: the disk is full' >&2\necho more >&2\nexit 2\n");
    assert_int_equal(chmod(tool, 0755), 0);
    assert_true(asprintf(&with, "%s:%s", bin, before) > 0);
    setenv("PATH", with, 1);
    spawn_run(&s, home, "wattune", "gather", "--sysroot", tree, "--output", archive);
    setenv("PATH", before, 1);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "out.tar.gz: tar could not write it: tar: the disk is full\n"));
    assert_null(strstr(s.err, "more"));
    assert_int_equal(access(archive, F_OK), -1);
    spawn_done(&s);
    free(before);
    free(with);
}

/* Vendors' tools: one answers, one never does, one never ends, one says more than anybody wants. */
static void a_tool_that_does_not_end_is_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        bool is_kept, is_endless;
    } rows[] = {
        {"#!/bin/sh\necho index, name\n", true, false},
        {"#!/bin/sh\nexec sleep 1000\n", false, true},
        {"#!/bin/sh\nexec yes\n", false, true},
        {"#!/bin/sh\nexec head -c 100000 /dev/zero\n", false, false},
        {"#!/bin/sh\necho no driver\nexit 9\n", false, false},
    };
    struct spawned s;
    char bin[96], tool[128];
    char *before = strdup(getenv("PATH")), *with;
    assert_non_null(before);
    wt_text(bin, sizeof(bin), "%s/bin", home);
    wt_text(tool, sizeof(tool), "%s/nvidia-smi", bin);
    assert_true(asprintf(&with, "%s:%s", bin, before) > 0);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        tree_put(bin, "/nvidia-smi", rows[i].script);
        assert_int_equal(chmod(tool, 0755), 0);
        setenv("PATH", with, 1);
        setenv("WATTUNE_NVML_TIMEOUT", rows[i].is_endless ? "0.2" : "60", 1);
        spawn_run(&s, home, "wattune", "gather", "--output", archive);
        setenv("PATH", before, 1);
        unsetenv("WATTUNE_NVML_TIMEOUT");
        if (spawn_code(&s) != 0)
            fail_msg("%s", s.err);
        spawn_done(&s);
        spawn_run(&s, home, "tar", "-tzf", archive);
        assert_non_null(strstr(s.out, "machine.txt"));
        assert_true(!strstr(s.out, "nvidia-smi") == !rows[i].is_kept);
        spawn_done(&s);
        assert_int_equal(unlink(archive), 0);
    }
    free(before);
    free(with);
}

static void wrong_usage_is_2_and_help_is_on_stdout(void **state)
{
    (void)state;
    static const struct {
        const char *arg;
        int want;
    } rows[] = {{"--no-such-option", 2}, {"stray", 2}, {"--help", 0}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "gather", rows[i].arg);
        assert_int_equal(spawn_code(&s), rows[i].want);
        assert_non_null(strstr(rows[i].want ? s.err : s.out, rows[i].want ? "--help" : "usage:"));
        spawn_done(&s);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, spawn_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_archive_plays_back_as_a_recording),    TEST(what_is_there_is_left_alone),
        TEST(a_place_that_cannot_be_written_is_named), TEST(what_tar_says_is_told_in_one_line),
        TEST(a_tool_that_does_not_end_is_left_out),    TEST(wrong_usage_is_2_and_help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
