/* wattune set and wattune restore, as a user has them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "spawn.h"

#define EMULATE "--emulate", "v100-pcie-32gb:2"

static char home[256];

static int setup(void **state)
{
    (void)state;
    spawn_home(home, sizeof(home));
    /* Commands inside commands find the built one, too. */
    const char *command = getenv("WATTUNE_COMMAND"), *path = getenv("PATH");
    char text[8192];
    if (command && strrchr(command, '/')) {
        snprintf(text, sizeof(text), "%.*s:%s", (int)(strrchr(command, '/') - command), command,
                 path ? path : "/usr/bin:/bin");
        setenv("PATH", text, 1);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    spawn_home_done(home);
    return 0;
}

static void a_setting_is_held_while_the_command_runs(void **state)
{
    (void)state;
    struct spawned s;
    /* The command inside asks what a look at the journal would restore: both GPUs, held. */
    spawn_run(&s, home, "wattune", "set", EMULATE, "power=150", "--", "sh", "-c",
              "wattune restore --dry-run --json; exit 7");
    assert_int_equal(spawn_code(&s), 7);
    const char *first = strstr(s.out, "\"found\":250,\"written\":150,\"outcome\":\"held\"");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "\"outcome\":\"held\""));
    assert_non_null(strstr(s.err, "found 250 W, requested 150 W, enforced 150 W"));
    assert_non_null(strstr(s.err, "(emulated)"));
    spawn_done(&s);
}

static void only_the_gpus_asked_for_are_set(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "set", EMULATE, "--gpu", "1", "power=150", "--", "wattune",
              "restore", "--dry-run", "--json");
    assert_int_equal(spawn_code(&s), 0);
    const char *first = strstr(s.out, "\"outcome\"");
    assert_non_null(first);
    assert_null(strstr(first + 1, "\"outcome\""));
    spawn_done(&s);
}

static void without_a_command_it_holds_for_a_time_or_until_a_signal(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "set", EMULATE, "power=150", "--for", "50ms");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "held for 0.05 s"));
    spawn_done(&s);

    /* In one emulation: set, be told to end, and find nothing left. */
    spawn_run(&s, home, "wattune", "set", EMULATE, "power=150", "--", "sh", "-c",
              "wattune set --gpu 0 clock=900 & p=$!; sleep 1; kill -TERM $p; wait $p; echo $?; "
              "wattune restore --dry-run");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(strncmp(s.out, "0\n", 2), 0);
    assert_null(strstr(s.out, "clock"));
    assert_non_null(strstr(s.out, "power"));
    spawn_done(&s);
}

static void a_knob_that_is_held_is_refused_naming_the_holder(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "set", EMULATE, "--gpu", "0", "power=150", "--", "sh", "-c",
              "wattune set --gpu 0 power=120 --for 1s; echo $?; wattune set --gpu 1 power=120 "
              "--for 10ms; echo $?");
    assert_string_equal(s.out, "1\n0\n");
    assert_non_null(strstr(s.err, "held by process"));
    spawn_done(&s);
}

static void a_mistake_is_said_with_its_exit_code(void **state)
{
    (void)state;
    static const struct {
        const char *args[8];
        int want;
        const char *says, *why;
    } rows[] = {
        {{"set"}, 2, "nothing to set", "no setting"},
        {{"set", "power"}, 2, "not KNOB=VALUE", "no value"},
        {{"set", "power=100,150"}, 2, "one value", "a list"},
        {{"set", "power=150", "power=120"}, 2, "given twice", "a knob twice"},
        {{"set", "power=150", "--"}, 2, "no command", "nothing after --"},
        {{"set", "--for", "1s", "power=150", "--", "true"}, 2, "--for and a command", "both"},
        {{"set", "--for", "0s", "power=150"}, 2, "above 0", "no time"},
        {{"set", "--fault", "x", "power=150"}, 2, "needs --emulate", "a fault of a real GPU"},
        {{"set", "--emulate", "v100-pcie-32gb", "power=1500", "--for", "1s"},
         2,
         "100 to 250 W",
         "out of range"},
        {{"set", "--emulate", "v100-pcie-32gb", "power=150", "--", "/no/such/command"},
         127,
         "/no/such/command",
         "no such command"},
        {{"restore", "all"}, 2, "takes no arguments", "an argument"},
        {{"restore", "--bogus"}, 2, "--help", "no such option"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *argv[12] = {"wattune"};
        for (size_t k = 0; k < 8 && rows[i].args[k]; k++)
            argv[k + 1] = rows[i].args[k];
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].says))
            fail_msg("%s: exit code %d, %s", rows[i].why, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

static void restore_with_nothing_to_do_says_so_and_makes_nothing(void **state)
{
    (void)state;
    char dir[300];
    snprintf(dir, sizeof(dir), "%s/none", home);
    struct spawned s;
    spawn_run(&s, home, "wattune", "restore", "--state-dir", dir, "--sysroot", "/");
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.out, "nothing to put back\n");
    assert_int_not_equal(access(dir, F_OK), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "restore", "--state-dir", dir, "--json");
    assert_string_equal(s.out, "{\"records\":[],\"restored\":0,\"dry_run\":false}\n");
    spawn_done(&s);
}

static void what_killed_processes_left_is_put_back(void **state)
{
    (void)state;
    struct spawned s;
    /* The owner and its guardian die; a look says what is to be done, then it is done, once. */
    spawn_run(&s, home, "wattune", "set", EMULATE, "--gpu", "1", "clock=900", "--", "sh", "-c",
              "wattune set --gpu 0 power=150 & p=$!; sleep 1; "
              "for d in /proc/[0-9]*; do "
              "tr '\\0' ' ' <$d/cmdline 2>/dev/null | grep -q \"^wattune-guardian .* $p \" && "
              "kill -9 ${d#/proc/}; done; "
              "kill -9 $p; wait $p 2>/dev/null; "
              "wattune restore --dry-run; wattune restore; wattune restore");
    assert_int_equal(spawn_code(&s), 0);
    const char *look = strstr(s.out, "would go back to 250 W (was set to 150)");
    assert_non_null(look);
    const char *done = strstr(look, "power back to 250 W (was set to 150)");
    assert_non_null(done);
    assert_null(strstr(done + 1, "power back"));
    assert_non_null(strstr(done + 1, "clock of ")); /* the living one's */
    spawn_done(&s);
}

static void help_is_on_stdout(void **state)
{
    (void)state;
    static const char *const commands[] = {"set", "restore"};
    for (size_t i = 0; i < 2; i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", commands[i], "--help");
        assert_int_equal(spawn_code(&s), 0);
        assert_non_null(strstr(s.out, "Exit code:"));
        assert_string_equal(s.err, "");
        spawn_done(&s);
    }
}

int main(void)
{
#define CLI_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLI_TEST(a_setting_is_held_while_the_command_runs),
        CLI_TEST(only_the_gpus_asked_for_are_set),
        CLI_TEST(without_a_command_it_holds_for_a_time_or_until_a_signal),
        CLI_TEST(a_knob_that_is_held_is_refused_naming_the_holder),
        CLI_TEST(a_mistake_is_said_with_its_exit_code),
        CLI_TEST(restore_with_nothing_to_do_says_so_and_makes_nothing),
        CLI_TEST(what_killed_processes_left_is_put_back),
        CLI_TEST(help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
