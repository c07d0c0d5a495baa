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

#include "spawned.h"
#include "trees.h"

#define EMULATE "--emulate", "v100-pcie-32gb:2"

static const char *const home = spawn_folder;

static int setup(void **state)
{
    spawn_setup(state);
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
    assert_non_null(strstr(s.err, "wattune: GPU 0 (GPU-")); /* as people know it, and by its id */
    assert_non_null(strstr(s.err, "wattune: GPU 1 (GPU-"));
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
    spawn_run(&s, home, "wattune", "set", EMULATE, "power=150", "--for", "0.05");
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
    assert_non_null(strstr(s.err, "power of GPU 0 (GPU-"));
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
        {{"set", "--for", "90x", "power=150"}, 2, "no duration", "no such unit"},
        {{"run", "--period", "1", "--", "true"}, 2, "--period 1: a time without a unit", "1min"},
        {{"set", "--fault", "x", "power=150"}, 2, "needs --emulate", "a fault of a real GPU"},
        {{"set", "--emulate", "v100-pcie-32gb", "power=1500", "--for", "1s"},
         2,
         "power=1500: GPU 0 (GPU-",
         "out of range"},
        {{"set", "--emulate", "v100-pcie-32gb:2", "power=1500", "--gpu", "1", "--for", "1s"},
         2,
         ") takes 100 to 250 W",
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
    if (access("/dev/full", W_OK) != 0)
        return;
    spawn_run(&s, home, "sh", "-c", "\"$WATTUNE_COMMAND\" restore --json >/dev/full");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "wattune restore: writing to stdout: "));
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
              "wattune restore --dry-run; echo dry $?; wattune restore; echo done $?; "
              "wattune restore --dry-run; echo after $?");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "dry 1\n"));
    assert_non_null(strstr(s.out, "done 0\n"));
    assert_non_null(strstr(s.out, "after 0\n")); /* what is held by the living is not left */
    assert_non_null(strstr(s.out, "GPU 0 (GPU-"));
    const char *look = strstr(s.out, "would go back to 250 W (was set to 150 W)");
    assert_non_null(look);
    const char *done = strstr(look, "power back to 250 W (was set to 150 W)");
    assert_non_null(done);
    assert_null(strstr(done + 1, "power back"));
    assert_non_null(strstr(done + 1, "clock of ")); /* the living one's */
    spawn_done(&s);
}

/* ---- on a tree of plain files ---- */

#define ZONE   "/sys/class/powercap/intel-rapl:0"
#define POLICY "/sys/devices/system/cpu/cpufreq/policy0"

static void holds(const char *root, const char *path, const char *want)
{
    char *text = tree_get(root, path);
    assert_non_null(text);
    text[strcspn(text, "\n")] = '\0';
    assert_string_equal(text, want);
    free(text);
}

static void put_machine(char *root, size_t size)
{
    snprintf(root, size, "%s/machine", home);
    static const char *const files[][2] = {
        {ZONE "/name", "package-0"},
        {ZONE "/energy_uj", "1000"},
        {ZONE "/max_energy_range_uj", "262143328850"},
        {ZONE "/enabled", "1"},
        {ZONE "/constraint_0_name", "long_term"},
        {ZONE "/constraint_0_power_limit_uw", "200000000"},
        {ZONE "/constraint_0_max_power_uw", "200000000"},
        {POLICY "/affected_cpus", "0"},
        {POLICY "/cpuinfo_min_freq", "800000"},
        {POLICY "/cpuinfo_max_freq", "3600000"},
        {POLICY "/scaling_max_freq", "3600000"},
        {POLICY "/scaling_driver", "intel_pstate"},
        {POLICY "/scaling_governor", "powersave"},
        {POLICY "/scaling_available_governors", "performance powersave"},
        {POLICY "/energy_performance_preference", "balance_performance"},
        {POLICY "/energy_performance_available_preferences",
         "default performance balance_performance balance_power power"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
        tree_put_line(root, files[i][0], files[i][1]);
}

static void a_processor_s_settings_are_held_and_put_back(void **state)
{
    (void)state;
    struct spawned s;
    char root[300], script[700];
    put_machine(root, sizeof(root));
    snprintf(script, sizeof(script),
             "cd %s; cat ./" ZONE "/constraint_0_power_limit_uw; echo; cat ./" POLICY
             "/scaling_max_freq; echo; cat ./" POLICY "/energy_performance_preference",
             root);
    spawn_run(&s, home, "wattune", "set", "--sysroot", root, "cpu-power=100", "cpu-freq=2400",
              "epp=power", "governor=powersave", "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.out, "100000000\n2400000\npower");
    assert_non_null(strstr(s.err, "cpu-power found 200 W, requested 100 W, enforced 100 W"));
    assert_non_null(
        strstr(s.err, "epp found balance_performance, requested power, enforced power"));
    spawn_done(&s);
    holds(root, ZONE "/constraint_0_power_limit_uw", "200000000");
    holds(root, POLICY "/scaling_max_freq", "3600000");
    holds(root, POLICY "/energy_performance_preference", "balance_performance");
}

/* Someone else changes one of two: the other holds on, and it was not all held. */
static void one_setting_that_is_lost_is_told_and_the_other_holds(void **state)
{
    (void)state;
    struct spawned s;
    char root[300], script[2400];
    put_machine(root, sizeof(root));
    snprintf(
        script, sizeof(script),
        "other() { until grep -qx 100000000 %s" ZONE
        "/constraint_0_power_limit_uw; do sleep 0.05; done; "
        "echo 150000000 >%s" ZONE "/constraint_0_power_limit_uw; }; other & "
        "wattune set --sysroot %s cpu-power=100 cpu-freq=2400 --for 5s; echo set $?; "
        "echo 200000000 >%s" ZONE "/constraint_0_power_limit_uw; "
        "other & wattune set --sysroot %s cpu-power=100 cpu-freq=2400 -- sh -c 'sleep 2; exit 7'; "
        "echo command $?",
        root, root, root, root, root);
    spawn_run(&s, home, "sh", "-c", script);
    assert_string_equal(s.out, "set 1\ncommand 7\n");
    assert_non_null(strstr(s.err, "cpu-package-0: cpu-power is no longer in force: "));
    assert_non_null(strstr(s.err, "still in force: cpu-freq of cpu-package-0\n"));
    assert_non_null(strstr(s.err, "not held to the end: cpu-power of cpu-package-0\n"));
    spawn_done(&s);
    holds(root, ZONE "/constraint_0_power_limit_uw", "150000000");
    holds(root, POLICY "/scaling_max_freq", "3600000");
}

static void a_processor_s_settings_come_back_after_kill_9(void **state)
{
    (void)state;
    struct spawned s;
    char root[300], script[1400];
    put_machine(root, sizeof(root));
    /* The guardian of a tree works on the tree, too. */
    snprintf(script, sizeof(script),
             "wattune set --sysroot %s cpu-power=100 epp=power & p=$!; sleep 1; kill -9 $p; "
             "wait $p 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; "
             "grep -q 200000000 %s" ZONE "/constraint_0_power_limit_uw && break; done; "
             "wattune restore --sysroot %s",
             root, root, root);
    spawn_run(&s, home, "sh", "-c", script);
    assert_string_equal(s.out, "nothing to put back\n");
    spawn_done(&s);
    holds(root, ZONE "/constraint_0_power_limit_uw", "200000000");
    holds(root, POLICY "/energy_performance_preference", "balance_performance");

    /* With the guardian dead as well, it is the journal below the tree. */
    snprintf(script, sizeof(script),
             "wattune set --sysroot %s cpu-power=100 epp=power & p=$!; sleep 1; "
             "for d in /proc/[0-9]*; do "
             "tr '\\0' ' ' <$d/cmdline 2>/dev/null | grep -q \"^wattune-guardian .* $p \" && "
             "kill -9 ${d#/proc/}; done; "
             "kill -9 $p; wait $p 2>/dev/null; "
             "wattune restore --sysroot %s --dry-run; wattune restore --sysroot %s --json",
             root, root, root);
    spawn_run(&s, home, "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "cpu-power would go back to 200 W (was set to 100 W)"));
    assert_non_null(strstr(s.out, "epp would go back to balance_performance (was set to power)"));
    assert_non_null(strstr(s.out, "\"found\":\"balance_performance\",\"written\":\"power\""));
    assert_non_null(strstr(s.out, "\"restored\":2"));
    spawn_done(&s);
    holds(root, ZONE "/constraint_0_power_limit_uw", "200000000");
    holds(root, POLICY "/energy_performance_preference", "balance_performance");
}

static void a_processor_s_setting_is_refused_with_its_range(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        int want;
        const char *says;
    } rows[] = {
        {"cpu-power=201", 2, "cpu-package-0 takes 20 to 200 W"},
        {"cpu-freq=3601", 2, "cpu-package-0 takes 800 to 3600 MHz"},
        {"governor=schedutil", 2, "cpu-package-0 takes performance, powersave"},
        {"governor=fast", 2,
         "\"fast\" is no governor; in general there are performance, powersave"},
        {"governor=fast", 2, "`wattune doctor` lists those of this machine"},
        {"governor=2", 2, "\"2\" is no governor; in general there are performance"},
        {"epp=fast", 2, "or a number from 0 to 255"},
        {"epp=256", 2, "256 is not from 0 to 255"},
        {"cpu-power=150W", 2,
         "\"150W\" is no number; cpu-power is in W, and the unit is not typed"},
        {"cpu-power=150W", 2, "try: cpu-power=150\n"},
        {"cpu-freq=2.4GHz", 2, "try: cpu-freq=2400\n"},
        {"cpu-freq=fast", 2, "try: cpu-freq=2400\n"},
        {"cpu-power=100:200", 2, "try: cpu-power=60:120:20\n"},
        {"cpu-power=", 2, "the value is missing"},
        {"cpu-power=100,,120", 2, "an empty value"},
        {"cpu-power=100,120,100.0", 2, "100.0 is given twice"},
        {"dram-power=20", 4, "dram-power: no device here has this knob"},
        {"power=150", 4, "power: no device here has this knob"},
        {"speed=1", 2, "dram-power, governor, epp"},
    };
    char root[300];
    put_machine(root, sizeof(root));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "set", "--sysroot", root, rows[i].set, "--", "true");
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].says))
            fail_msg("%s: exit code %d, %s", rows[i].set, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    /* Nothing was set, so nothing is left behind. */
    char left[320];
    snprintf(left, sizeof(left), "%s/var", root);
    assert_int_equal(access(left, F_OK), -1);
    /* What stands in the way is said with what helps. */
    struct spawned s;
    tree_put_line(root, POLICY "/scaling_governor", "performance");
    spawn_run(&s, home, "wattune", "set", "--sysroot", root, "epp=power", "--", "true");
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "the governor is \"performance\""));
    assert_non_null(strstr(s.err, "governor=powersave epp=..."));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "set", "--sysroot", root, "governor=powersave", "epp=power",
              "--", "true");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    holds(root, POLICY "/scaling_governor", "performance");
    holds(root, POLICY "/energy_performance_preference", "balance_performance");
}

static void a_sweep_compares_names(void **state)
{
    (void)state;
    struct spawned s;
    char root[300], script[600];
    put_machine(root, sizeof(root));
    /* A load that counts its own energy: less of it with "powersave". */
    snprintf(script, sizeof(script),
             "cd %s; e=$(cat ./" ZONE "/energy_uj); a=1000000; i=0; "
             "grep -q performance ./" POLICY "/scaling_governor && a=2000000; "
             "while [ $i -lt 60 ]; do e=$((e + a)); echo $e >./" ZONE "/energy_uj; i=$((i + 1)); "
             "sleep 0.01; done",
             root);
    spawn_run(&s, home, "wattune", "sweep", "--sysroot", root, "--set",
              "governor=performance,powersave", "--repeats", "2", "--report", "-", "--json", "--",
              "sh", "-c", script);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "\"knob\": \"governor\""));
    assert_non_null(strstr(s.out, "\"unit\": null"));
    assert_non_null(strstr(s.out, "\"reference\": \"powersave\""));
    const char *first = strstr(s.out, "\"label\": \"performance\"");
    assert_non_null(first);
    assert_non_null(strstr(first, "\"label\": \"powersave\"")); /* in the order of the names */
    /* No name became its number; a measured one has more digits, and may hold these. */
    assert_null(strstr(s.out, ": 0.002,"));
    assert_null(strstr(s.out, ": 0.002\n"));
    assert_null(strstr(s.out, "[0.002"));
    spawn_done(&s);
    holds(root, POLICY "/scaling_governor", "powersave");
    spawn_run(&s, home, "wattune", "run", "--sysroot", root, "--set", "governor=performance",
              "--json", "--no-store", "--", "true");
    assert_non_null(strstr(s.out, "\"found\": \"powersave\""));
    assert_non_null(strstr(s.out, "\"requested\": \"performance\""));
    assert_non_null(strstr(s.err, "governor performance on "));
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
#define CLI_TEST(name) cmocka_unit_test_setup_teardown(name, setup, spawn_teardown)
    const struct CMUnitTest tests[] = {
        CLI_TEST(a_setting_is_held_while_the_command_runs),
        CLI_TEST(only_the_gpus_asked_for_are_set),
        CLI_TEST(without_a_command_it_holds_for_a_time_or_until_a_signal),
        CLI_TEST(a_knob_that_is_held_is_refused_naming_the_holder),
        CLI_TEST(a_mistake_is_said_with_its_exit_code),
        CLI_TEST(restore_with_nothing_to_do_says_so_and_makes_nothing),
        CLI_TEST(what_killed_processes_left_is_put_back),
        CLI_TEST(a_processor_s_settings_are_held_and_put_back),
        CLI_TEST(one_setting_that_is_lost_is_told_and_the_other_holds),
        CLI_TEST(a_processor_s_settings_come_back_after_kill_9),
        CLI_TEST(a_processor_s_setting_is_refused_with_its_range),
        CLI_TEST(a_sweep_compares_names),
        CLI_TEST(help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
