/* `wattune sweep`: what it would do, going on after an interruption, parameters of the command, and
 * what a setting is chosen for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawned.h"

#define V100 "--emulate=v100-pcie-32gb"

static const char *const home = spawn_folder;

static size_t lines_of(const char *name)
{
    char path[160];
    size_t lines = 0;
    snprintf(path, sizeof(path), "%s/%s", home, name);
    FILE *f = fopen(path, "r");
    for (int c; f && (c = fgetc(f)) != EOF;)
        lines += c == '\n';
    if (f)
        fclose(f);
    return lines;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool has_warning(const json_t *doc, const char *part)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(doc, "warnings"), i, one)
    {
        if (strstr(json_string_value(one), part))
            return true;
    }
    return false;
}

/* ---- a dry run ---- */

static void a_dry_run_runs_and_changes_nothing(void **state)
{
    (void)state;
    char store[160], script[160];
    struct stat st;
    struct spawned s;
    snprintf(store, sizeof(store), "%s/wattune", home);
    snprintf(script, sizeof(script), "echo ran >> %s/dry", home);
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=150,250", "--seed", "7",
              "--dry-run", "--report", "/no/such/folder/r.html", "--", "sh", "-c", script);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_int_equal(lines_of("dry"), 0);
    assert_int_equal(stat(store, &st), -1); /* not even a store was made */
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "150 W; 250 W (reference)"));
    assert_non_null(strstr(s.out, "3 at each setting, in random order (--seed 7)"));
    assert_non_null(strstr(s.out, "round 3"));
    assert_non_null(strstr(s.out, "not known, as no run of this command is stored: 6 times as long "
                                  "as CMD"));
    assert_non_null(strstr(s.out, "nothing was run or changed"));
    spawn_done(&s);
}

static void a_plan_that_cannot_be_printed_is_a_failure_that_is_said(void **state)
{
    (void)state;
    static const char *const forms[] = {"", "--json"};
    if (access("/dev/full", W_OK) != 0)
        skip();
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        struct spawned s;
        char line[160];
        snprintf(line, sizeof(line),
                 "\"$WATTUNE_COMMAND\" sweep --dry-run " V100
                 " --set power=150,250 %s -- true >/dev/full",
                 forms[i]);
        spawn_run(&s, home, "sh", "-c", line);
        assert_int_equal(spawn_code(&s), 1);
        if (!strstr(s.err, "wattune sweep: ") || !strstr(s.err, strerror(ENOSPC)))
            fail_msg("%s", s.err);
        spawn_done(&s);
    }
}

static void the_order_is_the_one_that_is_run_and_its_time_that_of_stored_runs(void **state)
{
    (void)state;
    struct spawned s;
    char order[2][256] = {"", ""};
    spawn_run(&s, home, "wattune", "sweep", V100, "--param", "n=0.2,0.3", "--seed", "5",
              "--repeats", "2", "--report", "-", "--", "sleep", "{n}");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    for (char *p = s.err; (p = strstr(p, "n=0."));) /* a line a run */
        strncat(order[0], p, 5), p += 5;
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "sweep", V100, "--param", "n=0.2,0.3", "--seed", "5",
              "--repeats", "2", "--report", "-", "--dry-run", "--json", "--", "sleep", "{n}");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s), *one;
    size_t i;
    json_array_foreach(json_object_get(doc, "order"), i, one)
        strncat(order[1], text_at(one, "label"), 5);
    assert_string_equal(order[0], order[1]);
    json_t *from = json_object_get(doc, "expected_from");
    assert_int_equal(json_integer_value(json_object_get(from, "runs")), 4);
    assert_true(json_number_value(json_object_get(doc, "expected_s")) > 1);
    json_decref(doc);
    spawn_done(&s);
}

/* ---- going on ---- */

/* Its 4th execution waits for ever, the others end at once; each leaves a line. */
static void waiting_script(char *buf, size_t size, const char *name, const char *on_signal)
{
    snprintf(buf, size,
             "trap \"%s\" INT; echo run >> %s/%s; sleep 0.1; test $(wc -l < %s/%s) -ne 4 || "
             "{ echo it waits; while :; do sleep 0.05; done; }",
             on_signal, home, name, home, name);
}

/* The whole table: each setting 3 times, and 7 executions in all, one of them cut short. */
static void check_whole(const struct spawned *s, const char *name)
{
    if (spawn_code(s) != 0)
        fail_msg("%s", s->err);
    assert_int_equal(lines_of(name), 7);
    json_t *doc = spawn_json(s), *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "rows"), i, row)
        assert_int_equal(json_integer_value(json_object_get(row, "repeats")), 3);
    assert_int_equal(json_array_size(json_object_get(doc, "rows")), 2);
    assert_int_equal(json_array_size(json_object_get(doc, "runs")), 7);
    assert_true(has_warning(doc, "is left out; it was run again"));
    json_decref(doc);
}

static void after_control_c_it_says_how_to_go_on_and_does(void **state)
{
    (void)state;
    /* Also where the command takes the signal for a good end: its run did not do its work. */
    static const struct {
        const char *name, *on_signal;
    } rows[] = {{"fails", "exit 130"}, {"succeeds", "exit 0"}};
    for (size_t i = 0; i < 2; i++) {
        char script[512], again[2048];
        struct spawned s;
        waiting_script(script, sizeof(script), rows[i].name, rows[i].on_signal);
        const char *const argv[] = {"wattune",
                                    "sweep",
                                    V100,
                                    "--set",
                                    "power=150,250",
                                    "--show-output",
                                    "--json",
                                    "--report",
                                    "-",
                                    "--",
                                    "sh",
                                    "-c",
                                    script,
                                    NULL};
        spawn_start_tty(&s, home, argv);
        assert_true(spawn_expect(&s, "it waits"));
        assert_int_equal(write(s.in_fd, "\003", 1), 1);
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), 130);
        const char *says = strstr(s.out, "go on with it: wattune sweep --resume sweep-");
        if (!says)
            fail_msg("%s", s.out);
        says += strlen("go on with it: wattune");
        snprintf(again, sizeof(again), "\"$WATTUNE_COMMAND\" %.*s", (int)strcspn(says, "\r\n"),
                 says);
        spawn_done(&s);
        spawn_run(&s, home, "sh", "-c", again);
        check_whole(&s, rows[i].name);
        assert_non_null(strstr(s.err, "3 of 6 runs are stored"));
        spawn_done(&s);
    }
}

static void after_kill_9_it_goes_on_too(void **state)
{
    (void)state;
    char script[512];
    struct spawned s;
    waiting_script(script, sizeof(script), "killed", "exit 130");
    const char *const argv[] = {"wattune",
                                "sweep",
                                V100,
                                "--set",
                                "power=150,250",
                                "--show-output",
                                "--seed",
                                "9",
                                "--report",
                                "-",
                                "--",
                                "sh",
                                "-c",
                                script,
                                NULL};
    spawn_start(&s, home, argv);
    assert_true(spawn_expect(&s, "it waits"));
    /* While it runs, no other may go on with it. */
    struct spawned other;
    spawn_run(&other, home, "wattune", "sweep", V100, "--set", "power=150,250", "--resume", "last",
              "--report", "-", "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&other), 1);
    assert_non_null(strstr(other.err, "it is still running"));
    spawn_done(&other);
    kill(-s.pid, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=150,250", "--resume", "last",
              "--dry-run", "--report", "-", "--", "sh", "-c", script);
    assert_non_null(strstr(s.out, "[150 W]")); /* in brackets what is stored */
    assert_non_null(strstr(s.out, "--seed 9"));
    assert_int_equal(lines_of("killed"), 4);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=150,250", "--resume", "last",
              "--json", "--report", "-", "--", "sh", "-c", script);
    check_whole(&s, "killed");
    assert_non_null(strstr(s.err, "--seed 9"));
    spawn_done(&s);
    /* All is stored: the table again, chosen for something else, and nothing is run. */
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=150,250", "--resume", "last",
              "--json", "--report", "-", "--objective", "edp", "--", "sh", "-c", script);
    check_whole(&s, "killed");
    assert_non_null(strstr(s.out, "\"objective\": \"edp\""));
    spawn_done(&s);
}

static void what_differs_is_said_and_nothing_is_run(void **state)
{
    (void)state;
    struct spawned s;
    char script[160];
    snprintf(script, sizeof(script), "echo run >> %s/differs; sleep 0.1", home);
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb:2", "--gpu", "0", "--set",
              "power=150,250", "--repeats", "1", "--report", "-", "--", "sh", "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    static const struct {
        const char *emulate, *gpu, *set, *resume, *more, *command, *says;
        int want;
    } rows[] = {
        {"v100-pcie-32gb:2", "0", "power=150,200", "last", "--json", NULL, "power=150,250", 1},
        {"v100-pcie-32gb:2", "0", "power=150,250", "last", "--json", "true", "sh -c ", 1},
        {"v100-pcie-32gb:2", "1", "power=150,250", "last", "--json", NULL, "it measured", 1},
        {"v100-pcie-32gb:2", "0,1", "power=150,250", "last", "--json", NULL, "it did not measure",
         1},
        {"v100-pcie-32gb", "0", "power=150,250", "last", "--json", NULL, "v100-pcie-32gb:2, and",
         1},
        {"v100-pcie-32gb:2", "0", "power=150,250", "last", "--seed=3", NULL, "--seed", 1},
        {"v100-pcie-32gb:2", "0", "power=150,250", "sweep-none", "--json", NULL, "sweep-none", 4},
        {"v100-pcie-32gb:2", "0", "power=150,250", "last", "--no-store", NULL, "--no-store", 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_run(&s, home, "wattune", "sweep", "--emulate", rows[i].emulate, "--gpu", rows[i].gpu,
                  "--set", rows[i].set, "--repeats", "1", "--resume", rows[i].resume, rows[i].more,
                  "--report", "-", "--", "sh", "-c", rows[i].command ? rows[i].command : script);
        if (spawn_code(&s) != rows[i].want || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: exit %d: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    assert_int_equal(lines_of("differs"), 2);
    /* More repeats are no other sweep. */
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb:2", "--gpu", "0", "--set",
              "power=150,250", "--repeats", "2", "--resume", "last", "--report", "-", "--", "sh",
              "-c", script);
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(lines_of("differs"), 4);
    spawn_done(&s);
}

static void without_a_sweep_there_is_nothing_to_go_on_with(void **state)
{
    (void)state;
    char empty[64];
    struct spawned s;
    spawn_home(empty, sizeof(empty));
    spawn_run(&s, empty, "wattune", "sweep", V100, "--resume", "last", "--", "true");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "no sweep is stored"));
    spawn_done(&s);
    spawn_home_done(empty);
}

/* ---- parameters ---- */

/* The first line that is no remark. */
static void csv_head(const char *path, char *buf, size_t size)
{
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(path, "r");
    buf[0] = '\0';
    while (f && !buf[0] && getline(&line, &room, f) > 0)
        if (line[0] != '#')
            snprintf(buf, size, "%s", line);
    free(line);
    if (f)
        fclose(f);
}

static void parameters_are_filled_in_and_recorded(void **state)
{
    (void)state;
    char script[256], csv[160], head[160];
    struct spawned s;
    snprintf(csv, sizeof(csv), "%s/filled.csv", home);
    snprintf(script, sizeof(script),
             "echo {batch} {dtype} ${batch} {{batch}} >> %s/filled; sleep 0.1", home);
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=250", "--param", "batch=8:24:8",
              "--param", "dtype=fp32,bf16", "--repeats", "1", "--tag", "filled", "--csv", csv,
              "--report", "-", "--json", "--", "sh", "-c", script);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s);
    json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 6);
    assert_string_equal(text_at(json_array_get(rows, 1), "label"),
                        "power=250 W, batch=8, dtype=bf16");
    assert_string_equal(text_at(doc, "reference"), "power=250 W, batch=8, dtype=fp32");
    assert_non_null(strstr(text_at(doc, "command"), "{batch}"));
    json_decref(doc);
    spawn_done(&s);

    char path[160], line[64];
    snprintf(path, sizeof(path), "%s/filled", home);
    size_t found = 0, lines = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        lines++;
        found += strcmp(line, "16 bf16 {batch}\n") == 0; /* ${batch} was the shell's: empty */
    }
    if (f)
        fclose(f);
    assert_int_equal(lines, 6);
    assert_int_equal(found, 1);
    csv_head(csv, head, sizeof(head));
    assert_string_equal(head, "power_w,batch,dtype,time_s,energy_j,energy_bound_j,"
                              "sensor_offset_w,is_reference\n");

    spawn_run(&s, home, "wattune", "runs", "--tag", "filled", "--json");
    doc = spawn_json(&s);
    json_t *run = json_array_get(json_object_get(doc, "runs"), 0);
    json_t *params = json_object_get(run, "params");
    assert_int_equal(json_object_size(params), 2);
    char filled[64];
    snprintf(filled, sizeof(filled), "echo %s %s ", text_at(params, "batch"),
             text_at(params, "dtype"));
    assert_non_null(strstr(text_at(run, "command"), filled));
    assert_true(json_is_object(json_object_get(run, "plan")));
    json_decref(doc);
    spawn_done(&s);
}

/* A machine on which nothing can be set. */
static void parameters_alone_need_no_setting(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--sysroot", WT_MACHINES "/gce-vm", "--param",
              "seconds=0.2,0.4", "--repeats", "1", "--no-store", "--report", "-", "--", "sleep",
              "{seconds}");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "seconds"));
    assert_non_null(strstr(s.out, "0.4"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "emulate", "--unprivileged", "v100-pcie-32gb", "--", "sh", "-c",
              "\"$WATTUNE_COMMAND\" sweep --set power=150,250 --param n=0.1,0.2 --repeats 1 "
              "--no-store --report - --measure-only -- sleep {n}");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "measuring at the present setting alone"));
    assert_non_null(strstr(s.err, "n=0.2"));
    spawn_done(&s);
}

static void what_is_needed_to_the_target_is_counted(void **state)
{
    (void)state;
    struct spawned s;
    char csv[160], head[160];
    snprintf(csv, sizeof(csv), "%s/needs.csv", home);
    spawn_run(&s, home, "wattune", "sweep", V100, "--needs", "n=0.2:9,0.3:1", "--param",
              "n=0.2,0.3", "--repeats", "1", "--no-store", "--report", "-", "--csv", csv, "--",
              "sleep", "{n}");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "to target"));
    assert_non_null(strstr(s.out, "use n=0.3"));
    spawn_done(&s);
    csv_head(csv, head, sizeof(head));
    assert_string_equal(head,
                        "n,time_s,energy_j,energy_bound_j,sensor_offset_w,epochs,is_reference\n");
    /* What the sweep came to, not what the shorter run alone would. */
    spawn_run(&s, home, "wattune", "tune", "--replay", csv);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "use n 0.3"));
    spawn_done(&s);
    /* Words, too. */
    spawn_run(&s, home, "wattune", "sweep", V100, "--param", "how=slow,fast", "--repeats", "2",
              "--no-store", "--report", "-", "--csv", csv, "--", "sh", "-c",
              "case {how} in slow) sleep 0.6;; *) sleep 0.2;; esac");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--objective", "time", "--max-power", "400", "--replay",
              csv);
    if (spawn_code(&s) != 0 || !strstr(s.out, "use how fast") || !strstr(s.out, "how slow"))
        fail_msg("%s%s", s.out, s.err);
    spawn_done(&s);
}

/* ---- goals ---- */

static void the_goal_is_in_the_document_and_the_table(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=100,250", "--repeats", "2",
              "--no-store", "--report", "-", "--json", "--objective", "cost", "--price-kwh", "0.3",
              "--price-hour", "2", "--max-slowdown", "5%", "--max-power", "400", "--", "sleep",
              "0.3");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.err, "rel. cost"));
    json_t *doc = spawn_json(&s), *goal = json_object_get(doc, "goal");
    assert_string_equal(text_at(goal, "objective"), "cost");
    assert_true(json_number_value(json_object_get(goal, "price_kwh")) == 0.3);
    assert_true(json_number_value(json_object_get(goal, "max_slowdown")) == 0.05);
    assert_true(json_number_value(json_object_get(goal, "max_power_w")) == 400);
    json_t *row = json_array_get(json_object_get(doc, "rows"), 0);
    assert_true(json_is_object(json_object_get(row, "value_ratio")));
    json_decref(doc);
    spawn_done(&s);

    spawn_run(&s, home, "wattune", "sweep", "--emulate", "v100-pcie-32gb:2", "--set", "power=250",
              "--repeats", "1", "--no-store", "--report", "-", "--json", "--objective", "eta",
              "--eta", "0.3", "--", "sleep", "0.2");
    doc = spawn_json(&s);
    goal = json_object_get(doc, "goal");
    assert_true(json_number_value(json_object_get(goal, "eta")) == 0.3);
    assert_true(json_number_value(json_object_get(goal, "eta_power_w")) == 500); /* of both */
    json_decref(doc);
    spawn_done(&s);

    spawn_run(&s, home, "wattune", "sweep", V100, "--set", "power=250", "--repeats", "1",
              "--no-store", "--report", "-", "--json", "--objective", "carbon",
              "--carbon-intensity", "350", "--", "sleep", "0.2");
    assert_non_null(strstr(s.out, "\"carbon_g_per_kwh\": 350"));
    spawn_done(&s);
}

static void mistakes_are_usage(void **state)
{
    (void)state;
    static const struct {
        const char *options[4], *names;
    } rows[] = {
        {{"--param", "batch"}, "NAME=VALUE"},
        {{"--param", "batch="}, "empty value"},
        {{"--param", "batch=8,,16"}, "empty value"},
        {{"--param", "batch=8,8"}, "given twice"},
        {{"--param", "batch=8", "--param", "batch=9"}, "given twice"},
        {{"--param", "batch=16:8:2"}, "LO must not be above HI"},
        {{"--param", "batch=1:1000:1"}, "256"},
        {{"--param", "power=1,2"}, "setting of devices"},
        {{"--param", "seq=128,256"}, "CMD has {batch}, and no --param says what it is"},
        {{"--param", "batch=8", "--param", "seq=128"}, "there is no {seq} in CMD"},
        {{"--needs", "batch=8:3"}, "there is no --param batch"},
        {{"--param", "batch=8,16", "--needs", "batch=8:3"}, "how much batch=16 needs is missing"},
        {{"--param", "batch=8,16", "--needs", "batch=8:3,32:4"}, "32 is no value"},
        {{"--param", "batch=8,16", "--needs", "batch=8:3,16:0"}, "not V:N"},
        {{"--param", "batch=8,16", "--needs", "batch=8:3,16"}, "not V:N"},
        {{"--objective", "speed"}, "energy, edp, time, cost, carbon, eta"},
        {{"--objective", "cost"}, "--price-kwh"},
        {{"--objective", "carbon"}, "--carbon-intensity"},
        {{"--objective", "time"}, "--max-power"},
        {{"--price-kwh", "0.3"}, "--objective cost"},
        {{"--price-hour", "2"}, "--objective cost"},
        {{"--carbon-intensity", "350"}, "--objective carbon"},
        {{"--eta", "0.5"}, "--objective eta"},
        {{"--objective", "eta", "--eta", "2"}, "--eta 2"},
        {{"--max-slowdown", "-5"}, "--max-slowdown -5"},
        {{"--max-power", "0"}, "--max-power 0"},
        {{"--seed", "0"}, "--seed 0"},
        {{"--resume", "last", "--no-store"}, "--resume needs the store"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *argv[16] = {"wattune", "sweep", V100, "--report", "-"};
        size_t count = 5;
        for (size_t k = 0; k < 4 && rows[i].options[k]; k++)
            argv[count++] = rows[i].options[k];
        argv[count++] = "--";
        argv[count++] = "echo";
        argv[count++] = "ran {batch}";
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != 2 || !strstr(s.err, rows[i].names))
            fail_msg("%s %s: exit %d, said: %s", rows[i].options[0], rows[i].options[1],
                     spawn_code(&s), s.err);
        assert_null(strstr(s.out, "ran"));
        spawn_done(&s);
    }
    /* More than there is room for. */
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", V100, "--param", "a=1", "--param", "b=1", "--param",
              "c=1", "--param", "d=1", "--set", "power=250", "--", "echo", "{a}{b}{c}{d}");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "more than 4 altogether"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "sweep", V100, "--param",
              "name=a-word-that-is-much-longer-than-anybody-would-type-by-hand-in", "--", "echo",
              "{name}");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "longer than 63 bytes"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dry_run_runs_and_changes_nothing),
        cmocka_unit_test(a_plan_that_cannot_be_printed_is_a_failure_that_is_said),
        cmocka_unit_test(the_order_is_the_one_that_is_run_and_its_time_that_of_stored_runs),
        cmocka_unit_test(after_control_c_it_says_how_to_go_on_and_does),
        cmocka_unit_test(after_kill_9_it_goes_on_too),
        cmocka_unit_test(what_differs_is_said_and_nothing_is_run),
        cmocka_unit_test(without_a_sweep_there_is_nothing_to_go_on_with),
        cmocka_unit_test(parameters_are_filled_in_and_recorded),
        cmocka_unit_test(parameters_alone_need_no_setting),
        cmocka_unit_test(what_is_needed_to_the_target_is_counted),
        cmocka_unit_test(the_goal_is_in_the_document_and_the_table),
        cmocka_unit_test(mistakes_are_usage),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
