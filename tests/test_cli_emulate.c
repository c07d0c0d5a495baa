/* `wattune emulate`: the command sees the devices, keeps its exit code, and the truth is written
 * whatever becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;

static void the_list_names_each_profile_and_its_power(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "emulate", "--list");
    assert_int_equal(spawn_code(&s), 0);
    static const char *const want[] = {
        "v100-pcie-32gb", "a40", "a100-pcie-80gb", "h100-sxm-80gb", "t4", "k80", "250 W", "700 W"};
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
        assert_non_null(strstr(s.out, want[i]));
    spawn_done(&s);
}

static void the_exit_code_passes_and_nothing_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int want;
    } rows[] = {{"exit 0", 0}, {"exit 42", 42}, {"kill -9 $$", 137}, {"kill -TERM $$", 143}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        char dir[256] = "";
        char script[128];
        snprintf(script, sizeof(script), "echo $WATTUNE_EMULATION; %s", rows[i].script);
        spawn_run(&s, home, "wattune", "emulate", "k80", "--", "sh", "-c", script);
        assert_int_equal(spawn_code(&s), rows[i].want);
        assert_int_equal(sscanf(s.out, "%255s", dir), 1);
        assert_int_equal(access(dir, F_OK), -1);
        spawn_done(&s);
    }
}

static void a_command_that_is_not_there_is_127_and_named(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "emulate", "k80", "--", "no-such-command-at-all");
    assert_int_equal(spawn_code(&s), 127);
    assert_non_null(strstr(s.err, "no-such-command-at-all"));
    spawn_done(&s);
}

static void the_truth_is_written_whatever_becomes_of_the_command(void **state)
{
    (void)state;
    static const char *const scripts[] = {"exit 0", "exit 3", "kill -9 $$"};
    char path[128];
    snprintf(path, sizeof(path), "%s/truth.json", home);
    for (size_t i = 0; i < sizeof(scripts) / sizeof(*scripts); i++) {
        struct spawned s;
        unlink(path);
        spawn_run(&s, home, "wattune", "emulate", "v100-pcie-32gb:2", "--truth", path, "--", "sh",
                  "-c", scripts[i]);
        json_t *truth = json_load_file(path, 0, NULL);
        assert_non_null(truth);
        json_t *devices = json_object_get(truth, "devices");
        assert_int_equal(json_array_size(devices), 2);
        for (size_t k = 0; k < 2; k++)
            assert_true(json_real_value(json_object_get(json_array_get(devices, k), "energy_j")) >
                        0);
        json_decref(truth);
        spawn_done(&s);
    }
}

static void a_signal_to_us_reaches_the_command_and_the_truth_is_written(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    snprintf(path, sizeof(path), "%s/truth.json", home);
    const char *const argv[] = {"wattune",
                                "emulate",
                                "k80",
                                "--truth",
                                path,
                                "--",
                                "sh",
                                "-c",
                                "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep "
                                "0.05; done",
                                NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "ready"));
    kill(s.pid, SIGTERM);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 9);
    assert_non_null(strstr(s.out, "caught"));
    assert_int_equal(access(path, R_OK), 0);
    spawn_done(&s);
}

static void a_truth_that_cannot_be_written_is_said_before_the_command_runs(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "emulate", "k80", "--truth", "/no/such/folder/t.json", "--",
              "echo", "ran");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "/no/such/folder/t.json"));
    assert_null(strstr(s.out, "ran"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "emulate", "k80", "--truth", "-", "--", "echo", "ran");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--truth -: "));
    assert_string_equal(s.out, "");
    spawn_done(&s);
    /* And where nothing ran, nothing is left of the look. */
    char path[128];
    snprintf(path, sizeof(path), "%s/none.json", home);
    spawn_run(&s, home, "wattune", "emulate", "no-such-gpu", "--truth", path, "--", "true");
    assert_int_not_equal(spawn_code(&s), 0);
    assert_int_equal(access(path, F_OK), -1);
    spawn_done(&s);
}

static void the_same_seed_gives_the_same_devices(void **state)
{
    (void)state;
    char path[128], uuid[2][64];
    snprintf(path, sizeof(path), "%s/truth.json", home);
    for (int i = 0; i < 2; i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "emulate", "--seed", "5", "a40", "--truth", path, "--",
                  "true");
        assert_int_equal(spawn_code(&s), 0);
        json_t *truth = json_load_file(path, 0, NULL);
        assert_non_null(truth);
        snprintf(uuid[i], sizeof(uuid[i]), "%s",
                 json_string_value(json_object_get(
                     json_array_get(json_object_get(truth, "devices"), 0), "uuid")));
        json_decref(truth);
        spawn_done(&s);
    }
    assert_string_equal(uuid[0], uuid[1]);
}

static void an_emulation_inside_another_is_refused(void **state)
{
    (void)state;
    struct spawned s;
    const char *program = getenv("WATTUNE_COMMAND");
    assert_non_null(program);
    spawn_run(&s, home, "wattune", "emulate", "a40", "--", program, "emulate", "k80", "--", "echo",
              "ran");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "already inside an emulation of a40"));
    assert_null(strstr(s.out, "ran"));
    spawn_done(&s);
}

static void wrong_usage_is_said_and_the_command_not_run(void **state)
{
    (void)state;
    static const struct {
        const char *argv[8];
        int want;
        const char *named;
    } rows[] = {
        {{"v100", "--", "echo", "ran"}, 4, "\"v100\""},
        {{"a40:0", "--", "echo", "ran"}, 2, "\"0\""},
        {{"a40"}, 2, "no command"},
        {{"a40", "echo", "ran"}, 2, "after --"},
        {{"--", "echo", "ran"}, 2, "PROFILE"},
        {{"a40", "--seed", "x", "--", "echo", "ran"}, 2, "--seed x"},
        {{"a40", "--seed", "0", "--", "echo", "ran"}, 2, "--seed 0"},
        {{"a40", "--fault", "burnt", "--", "echo", "ran"}, 2, "burnt"},
        {{"a40", "--fault", "lost@1", "--", "echo", "ran"}, 2, "@1"},
        {{"a40", "--no-such-option", "--", "echo", "ran"}, 2, "no-such-option"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *argv[12] = {"wattune", "emulate"};
        for (size_t k = 0; rows[i].argv[k]; k++)
            argv[k + 2] = rows[i].argv[k];
        struct spawned s;
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].named) || strstr(s.out, "ran"))
            fail_msg("row %zu: %d %s%s", i, spawn_code(&s), s.out, s.err);
        spawn_done(&s);
    }
}

/* A sanitizer's run time must be in the program first, and Python is not built with it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

/* What a client in another language sees: Python's ctypes on the library by its common name. */
static const char client[] =
    "import ctypes\n"
    "n = ctypes.CDLL('libnvidia-ml.so.1')\n"
    "assert n.nvmlInit_v2() == 0\n"
    "h = ctypes.c_void_p()\n"
    "print('handle', n.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(h)))\n"
    "print('set', n.nvmlDeviceSetPowerManagementLimit(h, 150000))\n"
    "w = ctypes.c_uint()\n"
    "print('limit', n.nvmlDeviceGetEnforcedPowerLimit(h, ctypes.byref(w)), w.value)\n";

static void faults_and_rights_reach_any_client(void **state)
{
    (void)state;
    if (access("/usr/bin/python3", X_OK) < 0 || geteuid() != 0 || IS_SANITIZED)
        skip(); /* a client in another language, and one that may set */
    static const struct {
        const char *option, *value, *want;
    } rows[] = {
        {"--seed", "1", "handle 0\nset 0\nlimit 0 150000\n"},
        {"--unprivileged", NULL, "handle 0\nset 4\nlimit 0 250000\n"},
        {"--fault", "denied", "handle 0\nset 4\nlimit 0 250000\n"},
        {"--fault", "lost:nvmlDeviceGetEnforcedPowerLimit", "handle 0\nset 0\nlimit 15 0\n"},
        {"--fault", "unknown@#1:nvmlDeviceSetPowerManagementLimit",
         "handle 0\nset 999\nlimit 0 250000\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *argv[] = {"wattune",
                              "emulate",
                              "v100-pcie-32gb",
                              rows[i].option,
                              rows[i].value ? rows[i].value : "--seed=2",
                              "--",
                              "/usr/bin/python3",
                              "-c",
                              client,
                              NULL};
        struct spawned s;
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != 0 || strcmp(s.out, rows[i].want) != 0)
            fail_msg("%s %s: %s%s", rows[i].option, rows[i].value ? rows[i].value : "", s.out,
                     s.err);
        spawn_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_names_each_profile_and_its_power),
        cmocka_unit_test(the_exit_code_passes_and_nothing_is_left),
        cmocka_unit_test(a_command_that_is_not_there_is_127_and_named),
        cmocka_unit_test(the_truth_is_written_whatever_becomes_of_the_command),
        cmocka_unit_test(a_signal_to_us_reaches_the_command_and_the_truth_is_written),
        cmocka_unit_test(a_truth_that_cannot_be_written_is_said_before_the_command_runs),
        cmocka_unit_test(the_same_seed_gives_the_same_devices),
        cmocka_unit_test(an_emulation_inside_another_is_refused),
        cmocka_unit_test(wrong_usage_is_said_and_the_command_not_run),
        cmocka_unit_test(faults_and_rights_reach_any_client),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
