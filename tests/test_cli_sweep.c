/* `wattune sweep`: the table and its sentence, the settings put back, and what each option does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* A file's whole text, owned. */
static char *text_of(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return strdup("");
    char *text = calloc(1, 65536);
    size_t n = fread(text, 1, 65535, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static void the_table_report_csv_and_json_tell_the_same(void **state)
{
    (void)state;
    char report[96], csv[96];
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=150,250",
              "--repeats", "2", "--seed", "7", "--tag", "sw", "--host-watts", "120", "--report",
              spawn_path(report, sizeof(report), "r.html"), "--csv",
              spawn_path(csv, sizeof(csv), "r.csv"), "--json", "--", "wattune-is-not-this", NULL);
    assert_int_equal(spawn_code(&s), 127); /* a command that is not there ends it at once */
    spawn_done(&s);

    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=150,250",
              "--repeats", "2", "--seed", "7", "--tag", "sw", "--host-watts", "120", "--report",
              report, "--csv", csv, "--json", "--", "sleep", "0.3");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "EMULATED"));
    assert_non_null(strstr(s.err, "--seed 7"));
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 2);
    assert_true(json_is_true(json_object_get(doc, "emulated")) ||
                json_is_string(json_object_get(doc, "emulation")));
    assert_true(json_number_value(json_object_get(doc, "host_w")) > 119);
    json_decref(doc);
    spawn_done(&s);

    assert_true(is_file(report));
    char *html = text_of(report), *points = text_of(csv);
    assert_non_null(strstr(html, "mulated"));
    assert_non_null(strstr(points, "power_w,time_s,energy_j,energy_bound_j,sensor_offset_w,"));
    assert_non_null(strstr(points, "\n150,"));
    assert_non_null(strstr(points, "\n250,"));
    assert_non_null(strstr(points, "# "));
    free(html);
    free(points);

    spawn_run(&s, home, "wattune", "runs", "--tag", "sw", "--json");
    json_t *list = json_loads(s.out, 0, NULL);
    json_t *runs = json_is_array(list) ? list : json_object_get(list, "runs");
    size_t done = 0, i;
    json_t *run;
    json_array_foreach(runs, i, run) done += json_integer_value(json_object_get(run, "exit")) == 0;
    assert_int_equal(done, 4);
    json_decref(list);
    spawn_done(&s);
}

static void nothing_is_stored_or_written_when_that_is_asked(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb:2", "--gpu", "1", "--set",
              "power=200,250", "--repeats", "1", "--no-store", "--report", "-", "--tag", "none",
              "--", "sh", "-c", "echo hidden");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "hidden")); /* the command's words are kept back */
    assert_null(strstr(s.err, "hidden"));
    assert_null(strstr(s.err, "report:"));
    assert_non_null(strstr(s.out, "250 W"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--tag", "none");
    assert_null(strstr(s.out, "hidden"));
    spawn_done(&s);
}

/* The meter of a sweep goes on from run to run, and reads a limit about once a second only. */
static void a_run_has_no_limit_of_the_run_before(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=150,250",
              "--repeats", "2", "--report", "-", "--tag", "limits", "--", "sleep", "0.4");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--tag", "limits", "--json");
    json_t *list = json_loads(s.out, 0, NULL), *run;
    spawn_done(&s);
    size_t i, k;
    json_array_foreach(json_object_get(list, "runs"), i, run)
    {
        double limit = strtod(json_string_value(json_object_get(run, "label")), NULL);
        spawn_run(&s, home, "wattune", "runs", "--json",
                  json_string_value(json_object_get(run, "id")));
        json_t *doc = json_loads(s.out, 0, NULL), *value;
        json_t *trace = json_array_get(json_object_get(doc, "trace"), 0);
        size_t known = 0;
        json_array_foreach(json_object_get(trace, "limit_w"), k, value)
        {
            if (json_is_null(value))
                continue;
            known++;
            if (json_number_value(value) != limit)
                fail_msg("%g W in a run at %g W", json_number_value(value), limit);
        }
        assert_true(known > 0);
        json_decref(doc);
        spawn_done(&s);
    }
    assert_int_equal(i, 4);
    json_decref(list);
}

/* What the store does not have no later report can be made of. */
static void a_report_that_fails_is_made_later_only_of_stored_runs(void **state)
{
    (void)state;
    for (int is_stored = 0; is_stored < 2; is_stored++) {
        char folder[100], path[120];
        struct spawned s;
        spawn_path(folder, sizeof(folder), "gone");
        snprintf(path, sizeof(path), "%s/r.html", folder);
        mkdir(folder, 0700);
        spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=250",
                  "--repeats", "1", "--report", path, is_stored ? "--tag=later" : "--no-store",
                  "--", "rm", "-rf", folder);
        assert_int_equal(spawn_code(&s), 1);
        assert_non_null(strstr(s.err, path));
        assert_int_equal(strstr(s.err, "makes it from the stored runs") != NULL, is_stored);
        spawn_done(&s);
    }
}

static void a_report_of_what_is_not_stored_has_its_day(void **state)
{
    (void)state;
    struct spawned s;
    char path[100];
    snprintf(path, sizeof(path), "%s/unstored.html", home);
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=200,250",
              "--repeats", "1", "--no-store", "--report", path, "--", "sleep", "0.1");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "grep", "-o", "<time datetime=\"[0-9]*\\|<dt>system</dt>", path);
    assert_non_null(strstr(s.out, "<dt>system</dt>"));
    assert_non_null(strstr(s.out, "datetime"));
    assert_null(strstr(s.out, "1970"));
    spawn_done(&s);
}

static void the_commands_words_are_shown_when_asked_or_when_it_fails(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=250",
              "--repeats", "1", "--no-store", "--report", "-", "--show-output", "--", "sh", "-c",
              "echo shown");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "shown"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=250",
              "--repeats", "3", "--no-store", "--report", "-", "--", "sh", "-c",
              "echo what went wrong; exit 3");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "exited with 3"));
    assert_non_null(strstr(s.err, "what went wrong"));
    assert_non_null(strstr(s.err, "giving up"));
    spawn_done(&s);
}

/* Whatever the order: settings at which the command always fails cost no other its table. */
static void a_setting_that_fails_by_itself_is_left_out_alone(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 4; seed++) {
        struct spawned s;
        char text[8];
        snprintf(text, sizeof(text), "%d", seed);
        spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param", "b=1,2",
                  "--param", "dtype=fp32,bf16", "--repeats", "3", "--seed", text, "--report", "-",
                  "--json", "--", "sh", "-c",
                  ": {b}; sleep 0.1; test {dtype} = fp32 || { echo no {dtype} here; exit 4; }");
        if (spawn_code(&s) != 0)
            fail_msg("exit %d: %s", spawn_code(&s), s.err);
        assert_non_null(strstr(s.err, "b=2, dtype=bf16 is left out"));
        assert_non_null(strstr(s.err, "exit code 4; what the command wrote is shown above"));
        assert_non_null(strstr(s.err, "no bf16 here"));
        assert_null(strstr(s.err, "giving up"));
        assert_non_null(strstr(s.err, "once the cause is mended, go on with it"));
        json_t *doc = json_loads(s.out, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(doc, "rows")), 2);
        assert_int_equal(json_array_size(json_object_get(doc, "failed")), 2);
        assert_int_equal(json_array_size(json_object_get(doc, "runs")), 6 + 4);
        json_decref(doc);
        spawn_done(&s);
    }
    /* --resume tries it again, and then it is whole. */
    struct spawned s;
    unlink("mended");
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param", "b=1,2",
              "--repeats", "1", "--report", "-", "--json", "--", "sh", "-c",
              "test {b} = 1 || test -e mended || exit 4");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "b=2 is left out: its last run failed"));
    spawn_done(&s);
    FILE *mended = fopen("mended", "w");
    assert_non_null(mended);
    fclose(mended);
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param", "b=1,2",
              "--repeats", "1", "--report", "-", "--json", "--resume", "last", "--", "sh", "-c",
              "test {b} = 1 || test -e mended || exit 4");
    unlink("mended");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(doc, "rows")), 2);
    assert_int_equal(json_array_size(json_object_get(doc, "failed")), 0);
    json_decref(doc);
    spawn_done(&s);
}

static void a_sweep_fails_when_its_reference_or_all_of_it_does(void **state)
{
    (void)state;
    static const struct {
        const char *command, *says, *says_not;
        int runs_at_most;
    } rows[] = {
        {"exit 3; : {b}", "worked at none: giving up", "go on with it", 3},
        {"test {b} != 1", "failed twice at b=1", "b=1 is left out", 12},
        {"test {b} != 1", "a first value in --param", "its last run failed", 12},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (int seed = 1; seed <= 3; seed++) {
            struct spawned s;
            char text[8];
            snprintf(text, sizeof(text), "%d", seed);
            spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param",
                      "b=1,2,3,4,5,6", "--repeats", "2", "--seed", text, "--report", "-", "--",
                      "sh", "-c", rows[i].command);
            if (spawn_code(&s) != 1 || !strstr(s.err, rows[i].says) ||
                strstr(s.err, rows[i].says_not))
                fail_msg("exit %d: %s", spawn_code(&s), s.err);
            int runs = 0;
            for (const char *at = s.err; (at = strstr(at, "/12  ")); at++)
                runs++;
            assert_in_range(runs, 2, rows[i].runs_at_most);
            spawn_done(&s);
        }
}

/* What worked and then fails is in the table with what it has, and its other runs are missing. */
static void a_setting_that_stops_working_is_a_failure(void **state)
{
    (void)state;
    static const char *const stops[] = {"1", "2"}; /* the reference, and another */
    for (size_t i = 0; i < 2; i++) {
        struct spawned s;
        char command[120], want[60];
        unlink("worked");
        snprintf(command, sizeof(command),
                 "test {b} != %s || { test ! -e worked || exit 5; touch worked; }", stops[i]);
        snprintf(want, sizeof(want), "b=%s is not measured further: its last two runs failed",
                 stops[i]);
        spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param", "b=1,2",
                  "--repeats", "4", "--report", "-", "--json", "--", "sh", "-c", command);
        unlink("worked");
        if (spawn_code(&s) != 1 || !strstr(s.err, want))
            fail_msg("exit %d: %s", spawn_code(&s), s.err);
        json_t *doc = json_loads(s.out, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(doc, "rows")), 2);
        assert_int_equal(json_array_size(json_object_get(doc, "failed")), 0);
        assert_int_equal(json_array_size(json_object_get(doc, "runs")), 4 + 3);
        json_decref(doc);
        spawn_done(&s);
    }
}

/* A run that failed once is missing, and can be made. */
static void a_run_that_failed_once_is_made_by_going_on(void **state)
{
    (void)state;
    struct spawned s;
    unlink("once");
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--param", "b=1,2",
              "--repeats", "2", "--report", "-", "--", "sh", "-c",
              "test {b} = 1 || test -e once || { touch once; exit 1; }");
    unlink("once");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "wattune: go on with it: wattune sweep --resume"));
    assert_null(strstr(s.err, "left out:"));
    spawn_done(&s);
}

static void a_precision_that_is_wide_needs_two_repeats_and_a_fine_one_the_most(void **state)
{
    (void)state;
    static const struct {
        const char *precision, *says;
        size_t runs;
    } rows[] = {{"90%", "was reached after 2", 4}, {"0.0001", "not reached in 3", 6}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set",
                  "power=150,250", "--precision", rows[i].precision, "--repeats-max", "3",
                  "--no-store", "--report", "-", "--json", "--", getenv("WATTUNE_COMMAND"), "bench",
                  "train", "bert-tiny", "--device", "emu", "--steps", "300", "--quiet");
        assert_int_equal(spawn_code(&s), 0);
        json_t *doc = json_loads(s.out, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(doc, "runs")), rows[i].runs);
        assert_true(json_is_number(json_object_get(doc, "precision")));
        assert_non_null(strstr(s.out, rows[i].says));
        json_decref(doc);
        spawn_done(&s);
    }
}

static void runs_to_settle_do_not_count(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=250",
              "--repeats", "1", "--settle", "1s", "--tag", "settled", "--report", "-", "--json",
              "--", "sleep", "0.4");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "--settle")); /* too short to say */
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(doc, "runs")), 1);
    json_decref(doc);
    spawn_done(&s);
}

static void steps_from_stdout_are_the_work(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=250",
              "--repeats", "1", "--no-store", "--report", "-", "--progress", "step (\\d+)",
              "--work", "tokens=512", "--json", "--", "sh", "-c",
              "for i in 1 2 3 4; do echo step $i; done");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = json_loads(s.out, 0, NULL);
    assert_non_null(doc);
    assert_non_null(strstr(s.out, "tokens"));
    json_decref(doc);
    spawn_done(&s);
}

static void settings_that_may_not_be_changed_are_said_with_the_permission(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(
        &s, home, "wattune", "emulate", "--unprivileged", "v100-pcie-32gb", "--", "sh", "-c",
        "\"$WATTUNE_COMMAND\" sweep --set power=auto --repeats 1 --no-store --report - -- true");
    assert_int_equal(spawn_code(&s), 3);
    assert_non_null(strstr(s.err, "power cannot be set"));
    assert_non_null(strstr(s.err, "--measure-only"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "emulate", "--unprivileged", "v100-pcie-32gb", "--", "sh", "-c",
              "\"$WATTUNE_COMMAND\" sweep --set power=auto --repeats 1 --no-store --report - "
              "--measure-only -- sleep 0.3");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "power cannot be set"));
    assert_non_null(strstr(s.out, "as is"));
    spawn_done(&s);
}

/* Without a knob there is nothing to compare, and something to measure all the same. */
static void without_a_knob_the_machine_is_measured_as_it_is(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--sysroot", WT_MACHINES "/gce-vm", "--measure-only",
              "--repeats", "1", "--no-store", "--report", "-", "--", "sleep", "0.3");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "as is"));
    spawn_done(&s);
    /* Where nothing is known of the energy, why: there are no stored runs to look at. */
    spawn_run(&s, home, "wattune", "sweep", "--sysroot", home, "--sensor-command",
              "node/once@100ms:test -e once || { touch once; echo 5 W; exit; }; echo it is off >&2;"
              " exit 1",
              "--measure-only", "--repeats", "1", "--no-store", "--report", "-", "--", "sleep",
              "0.5");
    assert_int_not_equal(spawn_code(&s), 0);
    if (!strstr(s.err, "it is off") || strstr(s.err, "wattune runs"))
        fail_msg("%s", s.err);
    unlink("once");
    spawn_done(&s);
}

static void mistakes_are_usage_and_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *names;
        int want;
    } rows[] = {
        {"--set", "power=50", "100 to 250 W", 2},
        {"--set", "power=100:50:10", "LO", 2},
        {"--set", "power=1:250:0.1", "256", 2},
        {"--repeats", "0", "--repeats 0", 2},
        {"--repeats", "two", "--repeats two", 2},
        {"--precision", "none", "--precision none", 2},
        {"--precision", "0", "--precision 0", 2},
        {"--repeats-max", "4", "--precision", 2},
        {"--settle", "soon", "soon", 2},
        {"--host-watts", "-1", "--host-watts", 2},
        {"--seed", "x", "--seed x", 2},
        {"--gpu", "7", "7", 4},
        {"--work", "tokens", "--work tokens", 2},
        {"--progress", "step", "--progress", 2},
        {"--emulate", "no-such-card", "v100-pcie-32gb", 4},
        {"--sysroot", "/no/such/dir", "/no/such/dir", 4},
        {"--sensor-command", "2s:echo 1 W", "emulated and real", 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        bool is_emulation = strcmp(rows[i].option, "--emulate") == 0;
        spawn_run(&s, home, "wattune", "sweep", "--no-store", "--report", "-", rows[i].option,
                  rows[i].value, is_emulation ? "--no-store" : "--emulate=v100-pcie-32gb", "--",
                  "echo", "ran");
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].names))
            fail_msg("%s %s: exit %d, said: %s", rows[i].option, rows[i].value, spawn_code(&s),
                     s.err);
        assert_null(strstr(s.out, "ran"));
        spawn_done(&s);
    }
}

static void no_device_is_said_with_the_way_out(void **state)
{
    (void)state;
    char root[96];
    struct spawned s;
    mkdir(spawn_path(root, sizeof(root), "empty-root"), 0755);
    setenv("WATTUNE_NVML", "/no/such/library.so", 1);
    spawn_run(&s, home, "wattune", "sweep", "--sysroot", root, "--", "true");
    unsetenv("WATTUNE_NVML");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "--emulate"));
    spawn_done(&s);
}

static void control_c_ends_it_with_every_setting_put_back(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {
        "wattune",
        "emulate",
        "v100-pcie-32gb",
        "--",
        "sh",
        "-c",
        "trap : INT; \"$WATTUNE_COMMAND\" sweep --set power=150,200 --repeats 5 --no-store "
        "--report - "
        "--show-output -- sh -c 'trap \"exit 130\" INT; echo begun; while :; do sleep 0.05; done'; "
        "echo code=$?; \"$WATTUNE_COMMAND\" doctor | grep 'power limit'",
        NULL};
    spawn_start_tty(&s, home, argv);
    assert_true(spawn_expect(&s, "begun"));
    assert_int_equal(write(s.in_fd, "\003", 1), 1);
    spawn_wait(&s);
    assert_non_null(strstr(s.out, "code=130"));
    assert_non_null(strstr(s.out, "interrupted in run 1 of 10"));
    assert_non_null(strstr(s.out, "250 W, 100 to 250 W"));
    spawn_done(&s);
}

static void files_that_cannot_be_written_are_found_before_the_runs(void **state)
{
    (void)state;
    static const char *const options[] = {"--report", "--csv"};
    for (size_t i = 0; i < 2; i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--no-store",
                  "--report", "-", options[i], "/no/such/folder/x", "--show-output", "--", "echo",
                  "ran");
        assert_int_equal(spawn_code(&s), 1);
        assert_non_null(strstr(s.err, "/no/such/folder/x"));
        assert_null(strstr(s.out, "ran"));
        spawn_done(&s);
    }
}

static void what_is_no_file_and_what_is_a_link_stays_that(void **state)
{
    (void)state;
    struct spawned s;
    struct stat st;
    char page[96], link_to_page[96], node[96];
    spawn_file(page, sizeof(page), "empty.html", "");
    spawn_path(link_to_page, sizeof(link_to_page), "link.html");
    assert_int_equal(symlink("empty.html", link_to_page), 0);
    assert_int_equal(symlink("/dev/null", spawn_path(node, sizeof(node), "null.csv")), 0);
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb", "--set", "power=150",
              "--repeats", "1", "--no-store", "--report", link_to_page, "--csv", node, "--",
              "true");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(lstat(link_to_page, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(page, &st), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_size > 1000);
    assert_int_equal(lstat(node, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(node, &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    spawn_done(&s);
}

static void a_reader_that_goes_does_not_end_it(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "sh", "-c",
              "\"$WATTUNE_COMMAND\" sweep --emulate v100-pcie-32gb --set power=150,250 --repeats 1 "
              "--no-store --report - -- sleep 0.2 2>&1 | head -n 1; ls \"$XDG_RUNTIME_DIR\"");
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_null(strstr(s.out, "wattune-emulation-")); /* it tidied up after itself */
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_report_csv_and_json_tell_the_same),
        cmocka_unit_test(nothing_is_stored_or_written_when_that_is_asked),
        cmocka_unit_test(a_report_of_what_is_not_stored_has_its_day),
        cmocka_unit_test(a_run_has_no_limit_of_the_run_before),
        cmocka_unit_test(a_report_that_fails_is_made_later_only_of_stored_runs),
        cmocka_unit_test(the_commands_words_are_shown_when_asked_or_when_it_fails),
        cmocka_unit_test(a_setting_that_fails_by_itself_is_left_out_alone),
        cmocka_unit_test(a_sweep_fails_when_its_reference_or_all_of_it_does),
        cmocka_unit_test(a_setting_that_stops_working_is_a_failure),
        cmocka_unit_test(a_run_that_failed_once_is_made_by_going_on),
        cmocka_unit_test(a_precision_that_is_wide_needs_two_repeats_and_a_fine_one_the_most),
        cmocka_unit_test(runs_to_settle_do_not_count),
        cmocka_unit_test(steps_from_stdout_are_the_work),
        cmocka_unit_test(settings_that_may_not_be_changed_are_said_with_the_permission),
        cmocka_unit_test(mistakes_are_usage_and_change_nothing),
        cmocka_unit_test(no_device_is_said_with_the_way_out),
        cmocka_unit_test(files_that_cannot_be_written_are_found_before_the_runs),
        cmocka_unit_test(what_is_no_file_and_what_is_a_link_stays_that),
        cmocka_unit_test(a_reader_that_goes_does_not_end_it),
        cmocka_unit_test(control_c_ends_it_with_every_setting_put_back),
        cmocka_unit_test(without_a_knob_the_machine_is_measured_as_it_is),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
