/* `wattune run`: the command it runs must not notice it - terminal, input, signals, exit code - and
 * whatever goes wrong with measuring, the command still runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;

static void the_exit_code_passes(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int want;
    } rows[] = {
        {"exit 0", 0}, {"exit 1", 1}, {"exit 42", 42}, {"kill -9 $$", 137}, {"kill -TERM $$", 143}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "run", "--", "sh", "-c", rows[i].script);
        assert_int_equal(spawn_code(&s), rows[i].want);
        spawn_done(&s);
    }
}

static void a_command_that_is_not_there_is_127_and_named(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--", "no-such-command-at-all");
    assert_int_equal(spawn_code(&s), 127);
    assert_non_null(strstr(s.err, "no-such-command-at-all"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--", "/dev/null");
    assert_int_equal(spawn_code(&s), 126);
    spawn_done(&s);
}

static void stdin_and_stdout_pass_and_words_go_to_stderr(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {"wattune", "run", "--", "tr", "a-z", "A-Z", NULL};
    spawn_start(&s, home, argv);
    assert_int_equal(write(s.in_fd, "joule\n", 6), 6);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.out, "JOULE\n");
    assert_true(strlen(s.err) > 0);
    spawn_done(&s);
}

static void json_is_one_document_and_nothing_else_on_stdout(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--json", "--tag", "t1", "--", "sh", "-c",
              "echo words; exit 3");
    assert_int_equal(spawn_code(&s), 3);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    assert_int_equal(json_integer_value(json_object_get(doc, "exit")), 3);
    assert_true(json_is_number(json_object_get(doc, "wall_s")));
    assert_true(json_is_array(json_object_get(doc, "devices")));
    assert_true(json_is_object(json_object_get(doc, "total")));
    assert_string_equal(json_string_value(json_object_get(doc, "tag")), "t1");
    assert_non_null(strstr(s.err, "words"));
    json_decref(doc);
    spawn_done(&s);
}

static void a_document_named_as_stdout_is_goes_there(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "t4", "--no-store", "--json=-", "--", "echo",
              "words");
    assert_int_equal(spawn_code(&s), 0);
    json_decref(spawn_json(&s));
    assert_non_null(strstr(s.err, "words"));
    assert_int_equal(access("-", F_OK), -1);
    spawn_done(&s);
}

static void a_document_that_cannot_be_written_is_found_before_the_run(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--json=/no/such/folder/x.json", "--", "echo", "ran");
    assert_int_equal(spawn_code(&s), 1);
    assert_string_equal(s.out, "");
    assert_non_null(strstr(s.err, "/no/such/folder/x.json"));
    spawn_done(&s);
}

/* Found only when it is written: it is said, and the exit code is the command's all the same. */
static void a_document_that_a_full_disk_does_not_take_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        int code;
    } rows[] = {
        {"\"$WATTUNE_COMMAND\" run --quiet --json=/dev/full -- true", 0},
        {"\"$WATTUNE_COMMAND\" run --quiet --json=/dev/full -- sh -c 'exit 7'", 7},
        {"\"$WATTUNE_COMMAND\" run --quiet --json -- true >/dev/full", 0},
        {"\"$WATTUNE_COMMAND\" run --quiet --json -- sh -c 'exit 7' >/dev/full", 7},
    };
    if (access("/dev/full", W_OK) != 0)
        skip();
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "sh", "-c", rows[i].command);
        assert_int_equal(spawn_code(&s), rows[i].code);
        assert_non_null(strstr(s.err, "the JSON document could not be written: "));
        assert_non_null(strstr(s.err, "No space left on device"));
        assert_null(strstr(s.err, "writing to stdout"));
        spawn_done(&s);
    }
}

static void steps_that_are_never_seen_are_said(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--progress", "stop (\\d+)", "--work", "tokens=10", "--",
              "echo", "step 1");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "'stop (\\d+)' matched nothing"));
    spawn_done(&s);
}

static void options_of_the_command_are_its_own(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--quiet", "echo", "--json", "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.out, "--json --help\n");
    assert_string_equal(s.err, "");
    spawn_done(&s);
}

static void mistakes_on_the_command_line_are_usage_and_run_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *names;
    } rows[] = {
        {"--set", "power", "\"power\""},
        {"--set", "power=abc", "power=abc"},
        {"--set", "power=100,150", "sweep"},
        {"--set=power=150", "--set=power=160", "--set power=160: this knob is given twice"},
        {"--set", "volume=11", "volume"},
        {"--no-such-option", "x", "no-such-option"},
        {"--period", "soon", "soon"},
        {"--fault", "lost", "--emulate"},
        {"--sensor-command", "2s", "no colon"},
        {"--sensor-command", "2s:echo 100", "without a unit"},
        {"--sensor-command", "2s:no-such-meter", "`no-such-meter`: exit code 127"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "run", rows[i].option, rows[i].value, "--", "echo", "ran");
        assert_int_equal(spawn_code(&s), 2);
        assert_string_equal(s.out, "");
        assert_non_null(strstr(s.err, rows[i].names));
        spawn_done(&s);
    }
}

static void a_signal_sent_to_wattune_reaches_the_command(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        char script[160];
        snprintf(script, sizeof(script),
                 "trap 'echo got; exit 7' %d; echo ready; while :; do sleep 0.02; done",
                 signals[i]);
        struct spawned s;
        const char *const argv[] = {"wattune", "run", "--", "sh", "-c", script, NULL};
        spawn_start(&s, home, argv);
        assert_true(spawn_expect(&s, "ready"));
        kill(s.pid, signals[i]);
        spawn_wait(&s);
        assert_non_null(strstr(s.out, "got"));
        assert_int_equal(spawn_code(&s), 7);
        spawn_done(&s);
    }
}

/* Ctrl-Z, or a suspended machine: no read hung, and what was used meanwhile is known of counters.
 */
static void a_stop_of_wattune_is_no_read_that_hangs(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {"wattune", "run", "--", "sh", "-c", "echo ready; sleep 4", NULL};
    struct timespec before = {.tv_nsec = 700000000}, stopped = {.tv_sec = 2, .tv_nsec = 600000000};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "ready"));
    nanosleep(&before, NULL);
    kill(s.pid, SIGSTOP);
    nanosleep(&stopped, NULL);
    kill(s.pid, SIGCONT);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.err, "has not come back"));
    assert_null(strstr(s.err, "unknown"));
    spawn_done(&s);
}

/* By a process of our own group: the script that started us, or a Popen. */
static void a_signal_from_our_group_arrives_once(void **state)
{
    (void)state;
    static const struct {
        const char *command, *to;
    } rows[] = {{"", "$pid"}, {"", "0"}, {"setsid -w ", "0"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char script[800], ready[128];
        struct spawned s;
        snprintf(ready, sizeof(ready), "%s/ready-%zu", home, i);
        snprintf(
            script, sizeof(script),
            "\"$WATTUNE_COMMAND\" run --quiet -- %ssh -c 'n=0; i=0; trap \"n=\\$((n+1))\" USR1; "
            ": > %s; while [ $n -eq 0 ] && [ $i -lt 500 ]; do sleep 0.02; i=$((i+1)); done; "
            "sleep 0.3; echo count=$n' & pid=$!; trap : USR1; "
            "while [ ! -e %s ]; do sleep 0.02; done; kill -USR1 %s; wait $pid; wait $pid",
            rows[i].command, ready, ready, rows[i].to);
        const char *const argv[] = {"sh", "-c", script, NULL};
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (!strstr(s.out, "count=1"))
            fail_msg("%skill %s: %s%s", rows[i].command, rows[i].to, s.out, s.err);
        spawn_done(&s);
    }
}

static void control_c_on_the_terminal_arrives_once(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {"wattune",
                                "run",
                                "--",
                                "sh",
                                "-c",
                                "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n -eq 0 ]; do "
                                "sleep 0.05; done; sleep 0.3; "
                                "echo count=$n; exit 5",
                                NULL};
    spawn_start_tty(&s, home, argv);
    assert_true(spawn_expect(&s, "ready"));
    assert_int_equal(write(s.in_fd, "\003", 1), 1);
    spawn_wait(&s);
    assert_non_null(strstr(s.out, "count=1"));
    assert_int_equal(spawn_code(&s), 5);
    spawn_done(&s);
}

static void the_terminal_is_the_commands_own(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {
        "wattune", "run", "--", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size",
        NULL};
    spawn_start_tty(&s, home, argv);
    spawn_wait(&s);
    assert_non_null(strstr(s.out, "30 100"));
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
}

/* Its state letter in /proc, '?' when it has gone. */
static char process_state(pid_t pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return '?';
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    char *close_bracket = strrchr(text, ')');
    return close_bracket ? close_bracket[2] : '?';
}

/* Waits for a state without a deadline of its own: the test runner has one. */
static void wait_for_state(pid_t pid, bool is_stopped)
{
    while ((process_state(pid) == 'T') != is_stopped) {
        struct timespec wait = {.tv_nsec = 5000000};
        nanosleep(&wait, NULL);
    }
}

static void stop_and_continue_reach_both(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {"wattune", "run", "--",
                                "sh",      "-c",  "echo pid=$$; read line; echo line=$line; exit 6",
                                NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "\n"));
    pid_t child = (pid_t)atoi(strstr(s.out, "pid=") + 4);
    kill(s.pid, SIGTSTP);
    wait_for_state(s.pid, true);
    wait_for_state(child, true);
    kill(s.pid, SIGCONT);
    wait_for_state(s.pid, false);
    wait_for_state(child, false);
    assert_int_equal(write(s.in_fd, "on\n", 3), 3);
    spawn_wait(&s);
    assert_non_null(strstr(s.out, "line=on"));
    assert_int_equal(spawn_code(&s), 6);
    spawn_done(&s);
}

static void processes_that_outlive_the_command_are_named(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--", "sh", "-c",
              "sleep 1 >/dev/null 2>&1 </dev/null & "
              "while [ \"$(cat /proc/$!/comm)\" != sleep ]; do :; done; exit 0");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "outlived"));
    assert_non_null(strstr(s.err, "(sleep)"));
    spawn_done(&s);
}

/* Its last answer is still out when the command ends: it is no process of the command's, and nobody
 * waits for it. */
static void a_command_for_a_sensor_is_measured_and_is_none_of_the_runs(void **state)
{
    (void)state;
    struct spawned s;
    char spec[512], wait[256];
    snprintf(spec, sizeof(spec),
             "node/pdu@100ms:if [ -e %s/first ]; then : >%s/out; exec sleep 600; fi; "
             ": >%s/first; echo 100 W",
             home, home, home);
    snprintf(wait, sizeof(wait), "while [ ! -e %s/out ]; do sleep 0.01; done", home);
    spawn_run(&s, home, "wattune", "run", "--sysroot", home, "--sensor-command", spec, "--json",
              "--", "sh", "-c", wait);
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.err, "outlived"));
    json_error_t err;
    json_t *root = json_loads(s.out, 0, &err);
    const json_t *device = json_array_get(json_object_get(root, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "id")), "node-pdu");
    assert_string_equal(json_string_value(json_object_get(device, "source")), "command");
    assert_true(json_is_true(json_object_get(device, "is_counted")));
    json_decref(root);
    spawn_done(&s);
}

static void a_real_sensor_is_not_mixed_with_an_emulation(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--sensor-command", "2s:echo 100 W", "--emulate",
              "v100-pcie-32gb", "--", "echo", "ran");
    assert_int_equal(spawn_code(&s), 2);
    assert_string_equal(s.out, "");
    assert_non_null(strstr(s.err, "emulated and real"));
    spawn_done(&s);
}

static void a_home_that_cannot_be_written_costs_the_record_not_the_run(void **state)
{
    (void)state;
    struct spawned s;
    char path[128], own[64];
    spawn_home(own, sizeof(own));
    snprintf(path, sizeof(path), "%s/wattune", own);
    FILE *f = fopen(path, "w"); /* a file where the folder should be: fails for root too */
    assert_non_null(f);
    fclose(f);
    spawn_run(&s, own, "wattune", "run", "--", "sh", "-c", "echo ran; exit 9");
    assert_int_equal(spawn_code(&s), 9);
    assert_string_equal(s.out, "ran\n");
    assert_non_null(strstr(s.err, "not be stored"));
    spawn_done(&s);
    spawn_home_done(own);
}

static void a_killed_wattune_leaves_a_record_marked_incomplete(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {
        "wattune", "run", "--tag", "cut", "--", "sh", "-c", "echo pid=$$; exec sleep 60", NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "\n"));
    pid_t child = (pid_t)atoi(strstr(s.out, "pid=") + 4);
    kill(s.pid, SIGKILL);
    kill(child, SIGKILL);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 137);
    spawn_done(&s);

    spawn_run(&s, home, "wattune", "runs", "--tag", "cut");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "incomplete"));
    spawn_done(&s);
}

/* What the newest run with this tag is in `wattune runs --json`; the document is the caller's. */
static json_t *newest_run(const char *tag, json_t **ret_doc)
{
    struct spawned s;
    spawn_run(&s, home, "wattune", "runs", "--tag", tag, "--json");
    json_t *doc = json_loads(s.out, 0, NULL);
    spawn_done(&s);
    *ret_doc = doc;
    return json_array_get(json_is_array(doc) ? doc : json_object_get(doc, "runs"), 0);
}

static void a_killed_wattune_leaves_the_energy_so_far(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {"wattune",   "run",
                                "--tag",     "cut2",
                                "--emulate", "v100-pcie-32gb",
                                "--",        "sh",
                                "-c",        "echo pid=$$; exec sleep 60",
                                NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "\n"));
    pid_t child = (pid_t)atoi(strstr(s.out, "pid=") + 4);
    /* Until the store has it: the test runner has a deadline. */
    json_t *doc = NULL, *run = NULL;
    for (;;) {
        json_decref(doc);
        run = newest_run("cut2", &doc);
        /* The first record, after 0.1 s, may know no more than that it was above 0. */
        if (json_number_value(json_object_get(json_object_get(run, "total"), "low_j")) > 0)
            break;
        struct timespec wait = {.tv_nsec = 50000000};
        nanosleep(&wait, NULL);
    }
    json_decref(doc);
    kill(s.pid, SIGKILL);
    kill(child, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);

    run = newest_run("cut2", &doc);
    assert_string_equal(json_string_value(json_object_get(run, "state")), "incomplete");
    json_t *total = json_object_get(run, "total");
    double low = json_number_value(json_object_get(total, "low_j"));
    double mid = json_number_value(json_object_get(total, "energy_j"));
    double high = json_number_value(json_object_get(total, "high_j"));
    assert_true(low > 0 && low < mid && mid < high);
    assert_string_equal(json_string_value(json_object_get(total, "provenance")), "emulated");
    json_decref(doc);
}

/* The rows of a device's energy in microjoules, and who they are. */
static void assert_rows_add_up(const json_t *device, const char *rule)
{
    const json_t *a = json_object_get(device, "attribution");
    assert_string_equal(json_string_value(json_object_get(a, "rule")), rule);
    long long sum = llround(json_number_value(json_object_get(a, "idle_j")) * 1e6) +
                    llround(json_number_value(json_object_get(a, "residual_j")) * 1e6);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(a, "processes"), i, row) sum +=
        llround(json_number_value(json_object_get(row, "energy_j")) * 1e6);
    assert_int_equal(sum, llround(json_number_value(json_object_get(device, "energy_j")) * 1e6));
}

static void a_gpu_of_its_own_is_wholly_the_runs_and_the_idle_one_nobodys(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb:2", "--json", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-tiny", "--device", "emu",
              "--seconds", "1.5", "--quiet");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    json_t *devices = json_object_get(doc, "devices");
    assert_rows_add_up(json_array_get(devices, 0), "exclusive");
    json_t *job = json_array_get(
        json_object_get(json_object_get(json_array_get(devices, 0), "attribution"), "processes"),
        0);
    assert_true(json_is_true(json_object_get(job, "is_ours")));
    /* Idle throughout: also after the last look, which comes once a second. */
    const json_t *idle = json_array_get(devices, 1);
    assert_rows_add_up(idle, "by share");
    assert_true(
        json_number_value(json_object_get(json_object_get(idle, "attribution"), "residual_j")) <
        0.1 * json_number_value(json_object_get(idle, "energy_j")));
    assert_int_equal(json_array_size(json_object_get(
                         json_object_get(json_array_get(devices, 1), "attribution"), "processes")),
                     0);
    json_decref(doc);
    spawn_done(&s);
}

static void another_program_on_the_gpu_has_a_row_of_its_own(void **state)
{
    (void)state;
    struct spawned s;
    char script[600];
    const char *wattune = getenv("WATTUNE_COMMAND");
    snprintf(script, sizeof(script),
             "%s bench train bert-tiny --device emu --seconds 4 --quiet >/dev/null 2>&1 & "
             "sleep 0.5; %s run --json --no-store -- %s bench train bert-tiny --device emu "
             "--seconds 2 --quiet; wait",
             wattune, wattune, wattune);
    spawn_run(&s, home, "wattune", "emulate", "v100-pcie-32gb", "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    json_t *device = json_array_get(json_object_get(doc, "devices"), 0);
    assert_rows_add_up(device, "by share");
    json_t *rows = json_object_get(json_object_get(device, "attribution"), "processes"), *row;
    unsigned ours = 0, others = 0;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        bool has_energy = json_number_value(json_object_get(row, "energy_j")) > 0;
        ours += has_energy && json_is_true(json_object_get(row, "is_ours"));
        others += has_energy && json_is_false(json_object_get(row, "is_ours"));
    }
    assert_int_equal(ours, 1);
    assert_int_equal(others, 1);
    json_decref(doc);
    spawn_done(&s);
}

static void phases_of_a_training_have_energies_that_add_up(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--json", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--device", "emu",
              "--seconds", "3", "--quiet");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL), *phase;
    double sum_j = 0, total_j = json_number_value(json_object_get(
                          json_array_get(json_object_get(doc, "devices"), 0), "energy_j"));
    size_t i, with_energy = 0;
    json_array_foreach(json_object_get(doc, "phases"), i, phase)
    {
        json_t *energy = json_object_get(phase, "energy_j"),
               *joint = json_object_get(json_object_get(phase, "joint"), "energy_j");
        assert_true(json_is_number(energy) || json_is_null(energy));
        assert_false(json_is_number(energy) && json_is_number(joint));
        with_energy += json_is_number(energy) || json_is_number(joint);
        sum_j += json_number_value(energy);
    }
    assert_true(with_energy >= 3);
    assert_true(sum_j < 1.1 * total_j);
    json_decref(doc);
    spawn_done(&s);
}

/* A script that trains twice: the first has ended when the second begins, and both count. */
static void programs_in_turn_add_up(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--json", "--no-store",
              "--", "sh", "-c",
              "for n in 5 7; do \"$WATTUNE_COMMAND\" bench train bert-base --device emu --steps $n "
              "--batch 2 --quiet; done");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL), *work = json_object_get(doc, "work"), *phase;
    assert_int_equal(json_integer_value(json_object_get(work, "steps")), 12);
    assert_int_equal(json_integer_value(json_object_get(work, "count")), 12 * 2 * 128);
    size_t i;
    json_array_foreach(json_object_get(doc, "phases"), i, phase)
    {
        const char *name = json_string_value(json_object_get(phase, "name"));
        if (strcmp(name, "forward") != 0)
            continue;
        assert_int_equal(json_integer_value(json_object_get(phase, "count")), 12);
        assert_true(fabs(json_number_value(json_object_get(phase, "wall_s")) -
                         json_number_value(json_object_get(phase, "own_s"))) < 1e-6);
    }
    json_decref(doc);
    spawn_done(&s);
}

static void two_at_once_store_both(void **state)
{
    (void)state;
    struct spawned a, b, list;
    const char *const argv[] = {"wattune", "run", "--tag", "twin", "--", "sleep", "0.3", NULL};
    spawn_start(&a, home, argv);
    spawn_start(&b, home, argv);
    spawn_wait(&a);
    spawn_wait(&b);
    assert_int_equal(spawn_code(&a), 0);
    assert_int_equal(spawn_code(&b), 0);
    spawn_done(&a);
    spawn_done(&b);
    spawn_run(&list, home, "wattune", "runs", "--tag", "twin", "--json");
    json_t *doc = json_loads(list.out, 0, NULL);
    assert_int_equal(json_array_size(json_is_array(doc) ? doc : json_object_get(doc, "runs")), 2);
    json_decref(doc);
    spawn_done(&list);
}

static void an_emulated_run_says_so_everywhere(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--json", "--", "sleep",
              "0.3");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    json_t *device = json_array_get(json_object_get(doc, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "provenance")), "emulated");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(doc, "total"), "provenance")),
        "emulated");
    double low = json_number_value(json_object_get(device, "low_j"));
    double mid = json_number_value(json_object_get(device, "energy_j"));
    double high = json_number_value(json_object_get(device, "high_j"));
    assert_true(low >= 0 && low < mid && mid < high);
    json_decref(doc);
    assert_true(strstr(s.err, "mulated") || strstr(s.err, "MULATED"));
    spawn_done(&s);
}

static void a_setting_is_held_for_the_command_and_put_back(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(
        &s, home, "wattune", "emulate", "v100-pcie-32gb", "--", "sh", "-c",
        "cd; \"$WATTUNE_COMMAND\" run --set power=150 --json=run.json -- "
        "\"$WATTUNE_COMMAND\" doctor --json > during.json; "
        "\"$WATTUNE_COMMAND\" doctor --json > after.json; cat run.json; rm -f run.json; "
        "grep -c '150 W' during.json; grep -c '150 W' after.json; rm -f during.json after.json");
    json_error_t where;
    json_t *doc = json_loads(s.out, JSON_DISABLE_EOF_CHECK, &where);
    assert_non_null(doc);
    json_t *settings = json_object_get(doc, "settings");
    assert_true(json_is_object(settings) || json_is_array(settings));
    assert_non_null(strstr(s.out + where.position, "\n1\n0\n"));
    json_decref(doc);
    spawn_done(&s);
}

static void gpus_are_chosen_and_verbose_says_what_it_cost(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb:3", "--gpu", "0,2",
              "--verbose", "--no-store", "--tag", "unstored", "--json", "--", "sleep", "0.2");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(doc, "devices")), 2);
    json_decref(doc);
    assert_non_null(strstr(s.err, "own cost"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--tag", "unstored");
    assert_null(strstr(s.out, "sleep"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--gpu", "5", "--", "echo",
              "ran");
    assert_int_equal(spawn_code(&s), 4);
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

static void another_root_is_read_and_one_that_is_not_there_is_named(void **state)
{
    (void)state;
    char zone[160], path[256];
    struct spawned s;
    snprintf(zone, sizeof(zone), "%s/sys/class/powercap/intel-rapl:0", home);
    for (char *p = zone + strlen(home) + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            mkdir(zone, 0755);
            *p = '/';
        }
    assert_int_equal(mkdir(zone, 0755), 0);
    static const struct {
        const char *name, *text;
    } files[] = {{"name", "package-0\n"},
                 {"energy_uj", "1000000\n"},
                 {"max_energy_range_uj", "262143328850\n"}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        snprintf(path, sizeof(path), "%s/%s", zone, files[i].name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(files[i].text, f);
        fclose(f);
    }
    setenv("WATTUNE_NVML", "/no/such/library.so", 1);
    spawn_run(&s, home, "wattune", "run", "--sysroot", home, "--json", "--", "true");
    unsetenv("WATTUNE_NVML");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "rapl"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--sysroot", "/no/such/root", "--", "echo", "ran");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "/no/such/root"));
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

static void without_a_sensor_energy_is_modeled_with_its_band(void **state)
{
    (void)state;
    struct spawned s;
    char tree[128], path[160];
    json_error_t err;
    /* A machine with this one's /proc, which moves, and nothing that measures. */
    snprintf(tree, sizeof(tree), "%s/vm", home);
    snprintf(path, sizeof(path), "%s/proc", tree);
    assert_int_equal(mkdir(tree, 0755), 0);
    assert_int_equal(symlink("/proc", path), 0);
    spawn_run(&s, home, "wattune", "run", "--sysroot", tree, "--json", "--", "sleep", "0.5");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, &err);
    assert_non_null(doc);
    const json_t *devices = json_object_get(doc, "devices"), *total = json_object_get(doc, "total");
    size_t i;
    const json_t *d;
    assert_true(json_array_size(devices) >= 2);
    json_array_foreach(devices, i, d)
    {
        assert_string_equal(json_string_value(json_object_get(d, "provenance")), "modeled");
        double low = json_number_value(json_object_get(d, "low_j"));
        double high = json_number_value(json_object_get(d, "high_j"));
        double mid = json_number_value(json_object_get(d, "energy_j"));
        assert_true(low < mid && mid < high);
    }
    assert_string_equal(json_string_value(json_object_get(total, "provenance")), "modeled");
    assert_true(json_number_value(json_object_get(total, "low_j")) <
                json_number_value(json_object_get(total, "high_j")));
    json_decref(doc);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "run", "--sysroot", tree, "--", "sleep", "0.3");
    assert_non_null(strstr(s.err, "modeled"));
    assert_null(strstr(s.err, "sampled"));
    spawn_done(&s);
}

static size_t columns_of(const char *line)
{
    size_t n = 0;
    for (; *line; line++)
        n += ((unsigned char)*line & 0xc0) != 0x80;
    return n;
}

static void every_recorded_machine_fits_60_columns_and_says_where_from(void **state)
{
    (void)state;
    DIR *dir = opendir(WT_MACHINES);
    assert_non_null(dir);
    setenv("COLUMNS", "60", 1);
    size_t count = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char root[512], manifest[600];
        struct spawned s;
        snprintf(root, sizeof(root), "%s/%.200s", WT_MACHINES, e->d_name);
        snprintf(manifest, sizeof(manifest), "%s/machine.txt", root);
        if (e->d_name[0] == '.' || access(manifest, R_OK) < 0)
            continue;
        count++;
        spawn_run(&s, home, "wattune", "run", "--no-store", "--verbose", "--sysroot", root,
                  "--sensor-command", "node/rack-pdu@1s:echo 200 W", "--", "true");
        assert_int_equal(spawn_code(&s), 0);
        assert_non_null(strstr(s.err, "REPLAYED"));
        assert_non_null(strstr(s.err, "rack-pdu"));
        assert_null(strstr(s.err, "1970"));
        assert_null(strstr(s.err, "nobody shown"));
        if (strstr(s.err, "gap  ") && strstr(strstr(s.err, "gap  "), "stands still"))
            fail_msg("%s: a gap of what is recorded: %s", e->d_name, s.err);
        bool is_table = true;
        for (char *save, *line = strtok_r(s.err, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save)) {
            if (columns_of(line) > 60)
                fail_msg("%s: %zu columns: %s", e->d_name, columns_of(line), line);
            is_table &= strncmp(line, "  time ", 7) != 0;
            if (is_table && strchr(line, '[') && !strstr(line, "replayed") &&
                !strstr(line, "modeled") && !strstr(line, "sampled"))
                fail_msg("%s: no provenance: %s", e->d_name, line);
        }
        spawn_done(&s);
    }
    unsetenv("COLUMNS");
    closedir(dir);
    assert_true(count >= 15);
}

static void a_run_without_a_store_has_its_time_and_machine(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--no-store", "--verbose",
              "--json", "--", "true");
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    assert_true(json_integer_value(json_object_get(doc, "start_unix_ns")) > 1000000000);
    assert_non_null(strstr(json_string_value(json_object_get(doc, "system")), "processors"));
    json_decref(doc);
    assert_non_null(strstr(s.err, "processors"));
    assert_null(strstr(s.err, "1970"));
    assert_non_null(strstr(s.err, ", not stored"));
    spawn_done(&s);
}

static void a_second_die_has_neither_gap_nor_note(void **state)
{
    (void)state;
    struct spawned s;
    char *part;
    spawn_run(&s, home, "wattune", "run", "--no-store", "--sysroot", WT_MACHINES "/mi250x",
              "--json", "--", "true");
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    const json_t *die = json_array_get(json_object_get(doc, "devices"), 1), *gap;
    assert_string_equal(json_string_value(json_object_get(die, "part_of")),
                        json_string_value(json_object_get(
                            json_array_get(json_object_get(doc, "devices"), 0), "id")));
    assert_true(json_is_false(json_object_get(die, "has_sensor")));
    assert_true(json_is_null(json_object_get(die, "note")));
    assert_true(json_is_true(json_object_get(doc, "replayed")));
    size_t i;
    json_array_foreach(json_object_get(doc, "gaps"), i, gap)
    {
        assert_string_not_equal(json_string_value(json_object_get(gap, "device")),
                                json_string_value(json_object_get(die, "id")));
    }
    json_decref(doc);
    part = strstr(s.err, "of it: GPU 1");
    assert_non_null(part);
    assert_null(strstr(part + sizeof("of it: GPU"), "GPU 1"));
    spawn_done(&s);
}

/* The shortest run on a machine without a sensor has an energy too, with the band that goes with
 * it. */
static void a_short_run_is_modeled_too(void **state)
{
    (void)state;
    static const char *const seconds[] = {"0", "0.05"};
    char tree[128], path[160];
    snprintf(tree, sizeof(tree), "%s/short", home);
    snprintf(path, sizeof(path), "%s/proc", tree);
    assert_int_equal(mkdir(tree, 0755), 0);
    assert_int_equal(symlink("/proc", path), 0);
    for (size_t i = 0; i < 2; i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "run", "--sysroot", tree, "--no-store", "--json", "--",
                  "sleep", seconds[i]);
        json_t *doc = json_loads(s.out, 0, NULL);
        const json_t *total = json_object_get(doc, "total");
        if (strcmp(json_string_value(json_object_get(total, "provenance")), "modeled") != 0)
            fail_msg("sleep %s: %s", seconds[i], s.out);
        double low = json_number_value(json_object_get(total, "low_j"));
        double high = json_number_value(json_object_get(total, "high_j"));
        double mid = json_number_value(json_object_get(total, "energy_j"));
        assert_true(low < mid && mid < high);
        json_decref(doc);
        spawn_done(&s);
    }
}

/* What a sensor computes is not drawn by the command it measures. */
static void a_busy_sensor_is_not_charged_to_the_command(void **state)
{
    (void)state;
    char tree[128], path[160];
    struct spawned s;
    snprintf(tree, sizeof(tree), "%s/busy", home);
    snprintf(path, sizeof(path), "%s/proc", tree);
    assert_int_equal(mkdir(tree, 0755), 0);
    assert_int_equal(symlink("/proc", path), 0);
    spawn_run(&s, home, "wattune", "run", "--sysroot", tree, "--no-store", "--json",
              "--sensor-command",
              "gpu@100ms:i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo 43 W", "--",
              "sleep", "1.5");
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    size_t i, k;
    const json_t *d, *share;
    bool is_seen = false;
    json_array_foreach(json_object_get(doc, "devices"), i, d)
    {
        if (strcmp(json_string_value(json_object_get(d, "kind")), "cpu") != 0)
            continue;
        double whole_j = json_number_value(json_object_get(d, "energy_j")), ours_j = 0;
        const json_t *a = json_object_get(d, "attribution");
        json_array_foreach(json_object_get(a, "shares"), k,
                           share) if (json_is_true(json_object_get(share, "is_ours"))) ours_j +=
            json_number_value(json_object_get(share, "energy_j"));
        is_seen = true;
        if (ours_j > 0.05 * whole_j)
            fail_msg("%f of %f J for sleeping", ours_j, whole_j);
    }
    assert_true(is_seen);
    json_decref(doc);
    spawn_done(&s);
}

static void control_c_ends_the_wait_for_a_sensor_that_hangs(void **state)
{
    (void)state;
    static const char *const argv[] = {"wattune",  "run", "--sensor-command", "2s:sleep 1000", "--",
                                       "echo ran", NULL};
    struct spawned s;
    spawn_start(&s, home, argv);
    char text[256] = "";
    size_t used = 0;
    ssize_t n;
    while (!strstr(text, "waiting for") && used + 1 < sizeof(text) &&
           (n = read(s.err_fd, text + used, sizeof(text) - 1 - used)) > 0)
        text[used += (size_t)n] = '\0';
    assert_non_null(strstr(text, "sleep 1000"));
    assert_int_equal(kill(s.pid, SIGINT), 0);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 130);
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_sensor_energy_is_modeled_with_its_band),
        cmocka_unit_test(every_recorded_machine_fits_60_columns_and_says_where_from),
        cmocka_unit_test(a_run_without_a_store_has_its_time_and_machine),
        cmocka_unit_test(a_second_die_has_neither_gap_nor_note),
        cmocka_unit_test(the_exit_code_passes),
        cmocka_unit_test(a_command_that_is_not_there_is_127_and_named),
        cmocka_unit_test(stdin_and_stdout_pass_and_words_go_to_stderr),
        cmocka_unit_test(json_is_one_document_and_nothing_else_on_stdout),
        cmocka_unit_test(a_document_named_as_stdout_is_goes_there),
        cmocka_unit_test(a_document_that_cannot_be_written_is_found_before_the_run),
        cmocka_unit_test(a_document_that_a_full_disk_does_not_take_is_said),
        cmocka_unit_test(steps_that_are_never_seen_are_said),
        cmocka_unit_test(options_of_the_command_are_its_own),
        cmocka_unit_test(mistakes_on_the_command_line_are_usage_and_run_nothing),
        cmocka_unit_test(a_signal_sent_to_wattune_reaches_the_command),
        cmocka_unit_test(a_signal_from_our_group_arrives_once),
        cmocka_unit_test(a_stop_of_wattune_is_no_read_that_hangs),
        cmocka_unit_test(control_c_on_the_terminal_arrives_once),
        cmocka_unit_test(the_terminal_is_the_commands_own),
        cmocka_unit_test(stop_and_continue_reach_both),
        cmocka_unit_test(processes_that_outlive_the_command_are_named),
        cmocka_unit_test(a_command_for_a_sensor_is_measured_and_is_none_of_the_runs),
        cmocka_unit_test(a_real_sensor_is_not_mixed_with_an_emulation),
        cmocka_unit_test(a_home_that_cannot_be_written_costs_the_record_not_the_run),
        cmocka_unit_test(a_killed_wattune_leaves_a_record_marked_incomplete),
        cmocka_unit_test(a_killed_wattune_leaves_the_energy_so_far),
        cmocka_unit_test(a_gpu_of_its_own_is_wholly_the_runs_and_the_idle_one_nobodys),
        cmocka_unit_test(another_program_on_the_gpu_has_a_row_of_its_own),
        cmocka_unit_test(phases_of_a_training_have_energies_that_add_up),
        cmocka_unit_test(programs_in_turn_add_up),
        cmocka_unit_test(two_at_once_store_both),
        cmocka_unit_test(an_emulated_run_says_so_everywhere),
        cmocka_unit_test(a_setting_is_held_for_the_command_and_put_back),
        cmocka_unit_test(gpus_are_chosen_and_verbose_says_what_it_cost),
        cmocka_unit_test(another_root_is_read_and_one_that_is_not_there_is_named),
        cmocka_unit_test(a_short_run_is_modeled_too),
        cmocka_unit_test(a_busy_sensor_is_not_charged_to_the_command),
        cmocka_unit_test(control_c_ends_the_wait_for_a_sensor_that_hangs),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
