/* Reading along on a program's stdout: it must not notice, and what it says is counted rightly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;

static json_t *run_and_load(const char *option, const char *pattern, const char *script)
{
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--quiet", "--json", "--work", "tokens=10", option,
              pattern, "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    spawn_done(&s);
    return doc;
}

static json_int_t number(json_t *doc, const char *part, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(doc, part), name));
}

static void steps_are_counted_as_the_program_tells_them(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        json_int_t want;
        const char *why;
    } rows[] = {
        {"for i in 1 2 3 4; do echo step $i; done", 4, "a line a step"},
        {"echo step 10; echo other; echo step 20/200 loss 1", 20, "a line every ten steps"},
        {"printf 'step 1\\rstep 2\\rstep 2\\rstep 3\\r\\n'", 3, "a bar that draws itself anew"},
        {"printf 'step 7'", 7, "a last line without an end"},
        {"for e in 1 2; do for i in 1 2 3; do echo step $i; done; done", 6, "two epochs"},
        {"for e in 1 2; do for i in 0 1 2; do echo step $i; done; done", 4, "counted from nought"},
        {"for i in 1 2 3 2 4 3 5 4; do echo step $i; done", 5, "two ranks, one a little behind"},
        {"echo step x; echo step -3; echo step 99999999999999999999999; echo step 2; "
         "echo step 18446744073709551615",
         2, "what is no number counts nothing"},
        {"echo step 1; echo step 2.5; echo step 3e3; echo step 4k; echo step 50%; echo step 1_000; "
         "echo step 1,5; echo step 1,0000",
         1, "nor what is no whole number"},
        {"echo step 999:; echo step 1,000; echo step 1,200,000, loss 3; echo step 1,200,001.",
         1200001, "thousands as Python's {:,} has them"},
        {"head -c 20000 /dev/zero | tr '\\0' x; echo; echo step 5", 5, "after a line too long"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        json_t *doc = run_and_load("--progress", "step (\\S+)", rows[i].script);
        if (number(doc, "work", "steps") != rows[i].want)
            print_error("%s: %s\n", rows[i].script, rows[i].why);
        assert_int_equal(number(doc, "work", "steps"), rows[i].want);
        assert_int_equal(number(doc, "work", "count"), 10 * rows[i].want);
        json_decref(doc);
    }
}

static void a_marked_line_ends_a_phase_and_begins_the_next(void **state)
{
    (void)state;
    json_t *doc = run_and_load("--mark", "begin (\\w+)",
                               "echo begin load; echo begin train; echo x; echo begin load;"
                               "echo begin a_name_that_is_longer_than_a_mark_can_hold");
    json_t *phases = json_object_get(doc, "phases"), *phase;
    static const struct {
        const char *name;
        json_int_t count;
    } want[] = {{"load", 2}, {"train", 1}, {"a_name_that_is_longer_than_a_ma", 1}};
    assert_int_equal(json_array_size(phases), 3);
    for (size_t i = 0; i < 3; i++) {
        phase = json_array_get(phases, i);
        assert_string_equal(json_string_value(json_object_get(phase, "name")), want[i].name);
        assert_int_equal(json_integer_value(json_object_get(phase, "count")), want[i].count);
    }
    json_decref(doc);
}

static void a_bad_pattern_is_named_and_nothing_is_run(void **state)
{
    (void)state;
    static const struct {
        const char *command, *option, *pattern, *says;
    } rows[] = {
        {"run", "--progress", "step (\\d+", "at character 9"},
        {"run", "--mark", "begin (?<", "--mark"},
        {"run", "--progress", "step \\d+", "no group"},
        {"run", "--mark", "begin", "no group"},
        {"run", "--work", "tokens", "tokens"},
        {"run", "--work", "tokens=0", "tokens=0"},
        {"sweep", "--progress", "step (\\d+", "at character 9"},
        {"sweep", "--work", "=3", "=3"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", rows[i].command, rows[i].option, rows[i].pattern, "--",
                  "echo", "ran");
        assert_int_equal(spawn_code(&s), 2);
        assert_string_equal(s.out, "");
        if (!strstr(s.err, rows[i].says))
            print_error("%s %s: %s", rows[i].option, rows[i].pattern, s.err);
        assert_non_null(strstr(s.err, rows[i].says));
        spawn_done(&s);
    }
}

static void bytes_pass_as_they_are(void **state)
{
    (void)state;
    char script[512];
    /* Every byte there is, a line of 1 MB, no end of line at the end. */
    snprintf(script, sizeof(script),
             "cd %s && { awk 'BEGIN { for (i = 0; i < 256; i++) printf \"%%c\", i }' | cat;"
             "head -c 1000000 /dev/zero | tr '\\0' y; echo; seq 20000; printf end; } >bytes &&"
             "\"$WATTUNE_COMMAND\" run --quiet --progress '(y)' -- cat bytes | cmp - bytes && echo "
             "same",
             home);
    struct spawned s;
    spawn_run(&s, home, "sh", "-c", script);
    assert_string_equal(s.out, "same\n");
    spawn_done(&s);
}

static void exit_codes_and_signals_pass_all_the_same(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--quiet", "--progress", "(x)", "--", "sh", "-c",
              "echo out; echo err >&2; kill -TERM $$");
    assert_int_equal(spawn_code(&s), 143);
    assert_string_equal(s.out, "out\n");
    assert_string_equal(s.err, "err\n");
    spawn_done(&s);
}

static void a_process_that_keeps_stdout_open_does_not_hold_us(void **state)
{
    (void)state;
    struct spawned s;
    char command[64];
    spawn_run(&s, home, "wattune", "run", "--quiet", "--progress", "step (\\d+)", "--", "sh", "-c",
              "sleep 100 2>/dev/null & echo $!");
    assert_int_equal(spawn_code(&s), 0);
    int survivor = atoi(s.out);
    assert_true(survivor > 1);
    assert_int_equal(kill(survivor, 0), 0);               /* it was not waited for */
    snprintf(command, sizeof(command), "%d (", survivor); /* of sh, or of sleep already */
    assert_non_null(strstr(s.err, command));
    kill(survivor, SIGKILL);
    spawn_done(&s);
}

static void a_program_ends_when_nobody_reads_its_output(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(
        &s, home, "sh", "-c",
        "{ \"$WATTUNE_COMMAND\" run --quiet --progress '(z)' -- yes; echo $? >&2; } | head -n "
        "1");
    assert_string_equal(s.out, "y\n");
    assert_string_equal(s.err, "141\n"); /* SIGPIPE, as without us */
    spawn_done(&s);
}

static void a_full_disk_loses_output_and_no_steps(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "sh", "-c",
              "\"$WATTUNE_COMMAND\" run --progress 'step (\\d+)' -- sh -c "
              "'echo step 1; sleep 0.1; echo step 2; exit 5' > /dev/full");
    assert_int_equal(spawn_code(&s), 5);
    char *said = strstr(s.err, "stdout cannot be written (No space left on device)");
    assert_non_null(said);
    assert_null(strstr(said + 1, "stdout cannot be written"));
    assert_non_null(strstr(s.err, "2 steps"));
    spawn_done(&s);
}

static void a_pattern_that_never_ends_does_not_stop_the_program(void **state)
{
    (void)state;
    json_t *doc = run_and_load("--progress", "^(?:(?:a|b|ab)+)+(\\d+)$",
                               "awk 'BEGIN { for (i = 0; i < 4000; i++) printf \"ab\"; print \"c\" "
                               "}'; echo ab3");
    assert_int_equal(number(doc, "work", "steps"), 3);
    json_decref(doc);
}

static void the_program_keeps_a_terminal_of_the_right_size(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {
        "wattune",
        "run",
        "--progress",
        "step (\\d+)",
        "--work",
        "rows=1",
        "--",
        "sh",
        "-c",
        "test -t 0 && test -t 1 && test -t 2 && stty size <&1 && printf 'step 3\\n'; exit 5",
        NULL};
    spawn_start_tty(&s, home, argv);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 5);
    /* One carriage return a line: the real terminal's, and none of ours. */
    assert_non_null(strstr(s.out, "30 100\r\nstep 3\r\n"));
    assert_non_null(strstr(s.out, "3 rows in 3 steps"));
    spawn_done(&s);
}

static void the_size_follows_the_terminal(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {
        "wattune",
        "run",
        "--quiet",
        "--progress",
        "step (\\d+)",
        "--",
        "sh",
        "-c",
        "trap 'stty size <&1; exit 0' WINCH; echo ready; while :; do sleep 0.02; done",
        NULL};
    spawn_start_tty(&s, home, argv);
    assert_true(spawn_expect(&s, "ready"));
    const struct winsize size = {.ws_row = 41, .ws_col = 123};
    assert_int_equal(ioctl(s.in_fd, TIOCSWINSZ, &size), 0);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "41 123"));
    spawn_done(&s);
}

static void a_sweep_counts_work_by_steps(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--json", "--report", "-", "--emulate",
              "v100-pcie-32gb", "--set", "power=150,250", "--repeats", "1", "--progress",
              "step (\\d+)", "--work", "tokens=10", "--", "sh", "-c", "echo step 3; sleep 0.2");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    assert_string_equal(json_string_value(json_object_get(doc, "work_unit")), "tokens");
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--json");
    doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    json_t *runs = json_object_get(doc, "runs");
    assert_int_equal(number(json_array_get(runs, 0), "work", "count"), 30);
    assert_int_equal(number(json_array_get(runs, 1), "work", "count"), 30);
    json_decref(doc);
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_counted_as_the_program_tells_them),
        cmocka_unit_test(a_marked_line_ends_a_phase_and_begins_the_next),
        cmocka_unit_test(a_bad_pattern_is_named_and_nothing_is_run),
        cmocka_unit_test(bytes_pass_as_they_are),
        cmocka_unit_test(exit_codes_and_signals_pass_all_the_same),
        cmocka_unit_test(a_process_that_keeps_stdout_open_does_not_hold_us),
        cmocka_unit_test(a_program_ends_when_nobody_reads_its_output),
        cmocka_unit_test(a_full_disk_loses_output_and_no_steps),
        cmocka_unit_test(a_pattern_that_never_ends_does_not_stop_the_program),
        cmocka_unit_test(the_program_keeps_a_terminal_of_the_right_size),
        cmocka_unit_test(the_size_follows_the_terminal),
        cmocka_unit_test(a_sweep_counts_work_by_steps),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
