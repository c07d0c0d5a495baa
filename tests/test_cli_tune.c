/* `wattune tune`: on recorded points, on a job that runs, and what is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;

static const char v100[] = "# BERT on a V100\n"
                           "power_w,time_s,energy_j\n"
                           "100,206.7,20543\n125,157.8,19198\n150,128.1,18742\n175,111.9,19061\n"
                           "200,106.3,20315\n225,102.5,21774\n250,100,22800\n";

static double number(const json_t *doc, const char *object, const char *key)
{
    return json_number_value(json_object_get(json_object_get(doc, object), key));
}

/* ---- on recorded points ---- */

static void a_replay_shows_table_choice_and_break_even(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "v100.csv", v100);
    spawn_run(&s, home, "wattune", "tune", "--replay", path);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "REPLAYED"));
    assert_non_null(strstr(s.out, "use 150 W"));
    assert_non_null(strstr(s.out, "vanishes where the rest of"));
    spawn_done(&s);
}

static void a_replays_document_counts_what_it_read(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "v100.csv", v100);
    spawn_run(&s, home, "wattune", "tune", "--json", "--replay", path, "--probes", "3");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    json_t *probes = json_object_get(doc, "probes");
    assert_true(json_array_size(probes) <= 3);
    assert_true(json_number_value(json_object_get(json_array_get(probes, 0), "power_w")) == 250);
    assert_true(number(doc, "choice", "power_w") == 150);
    assert_true(fabs(number(doc, "choice", "energy_ratio") - 0.822) < 0.005);
    assert_true(fabs(number(doc, "choice", "time_ratio") - 1.281) < 0.005);
    assert_string_equal(json_string_value(json_object_get(doc, "provenance")), "replayed");
    json_decref(doc);
    spawn_done(&s);
}

static void goals_change_the_choice(void **state)
{
    (void)state;
    static const struct {
        const char *args[6];
        double low_w, high_w;
    } rows[] = {
        {{"--max-slowdown", "5"}, 225, 225},
        {{"--objective", "edp"}, 175, 200},
        {{"--host-watts", "400"}, 200, 250},
        {{"--objective", "time", "--max-power", "180"}, 175, 175},
        {{"--objective", "cost", "--price-kwh", "0.3", "--price-hour", "3"}, 225, 250},
        {{"--objective", "carbon", "--carbon-intensity", "350"}, 150, 150},
        {{"--objective", "eta", "--eta", "0.5"}, 175, 225},
        {{"--noise", "0.1"}, 150, 150},
    };
    char path[96];
    spawn_file(path, sizeof(path), "v100.csv", v100);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "wattune", "tune", "--json", "--replay", path, a[0], a[1], a[2], a[3],
                  a[4], a[5]);
        if (spawn_code(&s) != 0)
            fail_msg("%s: %s", a[0], s.err);
        json_t *doc = spawn_json(&s);
        double w = number(doc, "choice", "power_w");
        if (w < rows[i].low_w || w > rows[i].high_w)
            fail_msg("%s %s: %g W", a[0], a[1], w);
        json_decref(doc);
        spawn_done(&s);
    }
}

/* The reference alone lets a curve go many ways, some of which take for ever: that is no reason to
 * try nothing where 2 % less is there to be found. */
static void a_goal_of_small_gains_is_searched_too(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "emulated.csv",
               "power_w,time_s,energy_j\n"
               "250,3.278,734\n200,3.497,657\n150,3.872,555\n100,5.684,549\n");
    spawn_run(&s, home, "wattune", "tune", "--replay", path, "--objective", "eta", "--noise",
              "0.001");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "use 150 W: 2.0 % less weighed energy and time"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--replay", path, "--objective", "cost", "--price-kwh",
              "0.1", "--price-hour", "30");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "no other setting promises less cost"));
    spawn_done(&s);
}

/* What was made small is beside what the devices took, as the sentence below the table has both. */
static void the_table_has_a_column_for_what_was_made_small(void **state)
{
    (void)state;
    static const struct {
        const char *args[4], *head, *ratio; /* of 150 W */
    } rows[] = {{{"--host-watts", "100"}, "with the rest", "0.962"},
                {{"--objective", "edp"}, "rel. EDP", "1.05"},
                {{"--objective", "carbon", "--carbon-intensity", "350"}, "rel. carbon", "0.82"},
                {{"--objective", "energy"}, NULL, NULL}};
    char path[96];
    spawn_file(path, sizeof(path), "v100.csv", v100);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *const *a = rows[i].args;
        spawn_run(&s, home, "env", "COLUMNS=160", getenv("WATTUNE_COMMAND"), "tune", "--replay",
                  path, a[0], a[1], a[2], a[3]);
        assert_int_equal(spawn_code(&s), 0);
        if (rows[i].head) {
            char *row = strstr(s.out, "150 W");
            assert_non_null(strstr(s.out, rows[i].head));
            assert_non_null(row);
            *strchr(row, '\n') = '\0';
            assert_non_null(strstr(row, rows[i].ratio));
        } else {
            assert_null(strstr(s.out, "with the rest"));
        }
        spawn_done(&s);
    }
}

static void a_clock_is_searched_like_a_limit(void **state)
{
    (void)state;
    char path[96];
    struct spawned s;
    spawn_file(path, sizeof(path), "clock.csv",
               "clock_mhz,time_s,energy_j\n"
               "1410,100,30000\n1290,104.4,26970\n1170,113.2,23400\n1080,121.7,21760\n"
               "1020,128.2,22020\n930,139.8,22260\n855,152,22450\n");
    spawn_run(&s, home, "wattune", "tune", "--json", "--replay", path);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    double mhz = number(doc, "choice", "clock_mhz");
    assert_true(mhz >= 930 && mhz <= 1170);
    json_decref(doc);
    spawn_done(&s);
}

static void mistakes_are_told_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *args[7];
        int code;
        const char *says;
    } rows[] = {
        {{"--replay", "/nowhere.csv"}, 1, "--replay /nowhere.csv: No such file"},
        {{"--replay", "BAD"}, 1, ":2: time_s is \"x\""},
        {{"--replay", "GOOD", "true"}, 2, "no command run"},
        {{"--replay", "GOOD", "--emulate", "a40"}, 2, "leave out"},
        {{"--replay", "GOOD", "--noise", "0"}, 2, "--noise 0"},
        {{"--noise", "1", "--", "true"}, 2, "goes with --replay"},
        {{"--probes", "1", "--", "true"}, 2, "--probes 1"},
        {{"--window", "1ms", "--", "true"}, 2, "200ms at least"},
        {{"--settle", "soon", "--", "true"}, 2, "no duration"},
        {{"--objective", "joy", "--", "true"}, 2, "--objective joy"},
        {{"--set", "governor=powersave", "--", "true"}, 2, "no order"},
        {{"--set", "power=100", "--set", "power=150", "--", "true"}, 2, "given twice"},
        {{"--fault", "lost@1s", "--", "true"}, 2, "--emulate"},
        {{"--progress", "(", "--", "true"}, 2, "--progress"},
        {{"--work", "tokens", "--", "true"}, 2, "--work"},
        {{"--emulate", "a40", "--set", "power=5", "--", "true"}, 2, "100 to 300 W"},
        {{"--emulate", "a40", "--", "not-a-command"}, 127, "not-a-command"},
        {{"--sysroot", "", "--", "true"}, 2, "--sysroot"},
        {{"--emulate", "a40", "--set", "power=150", "--", "true"}, 2, "nothing to choose from"},
        {{"--emulate", "a40", "--sensor-command", "1s:echo 5 W", "--", "true"}, 2, "real"},
        {{NULL}, 2, "no command to run"},
    };
    char good[96], bad[96];
    spawn_file(good, sizeof(good), "good.csv", v100);
    spawn_file(bad, sizeof(bad), "bad.csv", "power_w,time_s,energy_j\n100,x,3\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *a[7] = {0};
        for (int k = 0; k < 7 && rows[i].args[k]; k++)
            a[k] = strcmp(rows[i].args[k], "GOOD") == 0  ? good
                   : strcmp(rows[i].args[k], "BAD") == 0 ? bad
                                                         : rows[i].args[k];
        spawn_run(&s, home, "wattune", "tune", a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].says))
            fail_msg("row %zu: code %d, says: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

static void a_dry_run_shows_what_would_be_tried(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--dry-run", "--emulate", "v100-pcie-32gb", "--set",
              "power=100:250:50", "--", "sh", "-c", "echo it ran");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "it ran"));
    assert_non_null(strstr(s.out, "4 settings to choose from"));
    assert_non_null(strstr(s.out, "At most 4 of them are measured, power=250 among them"));
    assert_non_null(strstr(s.out, "power=150"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--dry-run", "--emulate", "v100-pcie-32gb", "--",
              "true");
    assert_non_null(strstr(s.out, "11 settings to choose from"));
    assert_non_null(strstr(s.out, "At most 6 of them are measured")); /* as the search does */
    spawn_done(&s);
}

static void help_names_every_option(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune tune"));
    assert_non_null(strstr(s.out, "--max-slowdown PCT"));
    spawn_done(&s);
}

/* A limit above the one that is set is tried only when it is named. */
static void by_default_nothing_above_the_found_limit_is_tried(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--dry-run", "--emulate", "k80", "--", "true");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "compared with power=149:")); /* of 175 */
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--dry-run", "--emulate", "k80", "--set",
              "power=100,175", "--", "true");
    assert_non_null(strstr(s.out, "compared with power=175:"));
    spawn_done(&s);
}

static void a_knob_that_somebody_holds_is_told_before_the_command_runs(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "emulate", "v100-pcie-32gb", "--", getenv("WATTUNE_COMMAND"),
              "set", "power=200", "--", getenv("WATTUNE_COMMAND"), "tune", "--no-store", "--", "sh",
              "-c", "echo it ran");
    assert_int_equal(spawn_code(&s), 1);
    assert_null(strstr(s.out, "it ran"));
    assert_non_null(strstr(s.err, "wattune tune: "));
    spawn_done(&s);
}

/* ---- on a job that runs ---- */

static void it_finds_a_setting_while_the_job_runs_and_remembers_it(void **state)
{
    (void)state;
    struct spawned s;
    mode_t mask = umask(002); /* as many users have it */
    spawn_run(&s, home, "wattune", "tune", "--emulate", "v100-pcie-32gb", "--json", "--window",
              "300ms", "--settle", "100ms", "--tag", "tuned", "--set", "power=100,150,200,250",
              "--", getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--batch", "8",
              "--quiet", "--seconds", "12");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "trying power=250"));
    assert_non_null(strstr(s.err, "holding power="));
    json_t *doc = spawn_json(&s);
    double watts = number(doc, "choice", "power_w");
    assert_true(watts == 100 || watts == 150); /* a tie on this profile */
    assert_true(number(doc, "choice", "energy_ratio") < 0.95);
    assert_true(json_is_true(json_object_get(doc, "is_noise_known")));
    assert_string_equal(json_string_value(json_object_get(doc, "provenance")), "emulated");
    json_decref(doc);
    spawn_done(&s);
    /* For --power-cap=auto of Slurm, as of an emulated card. */
    char path[300], line[100] = "", want[100];
    snprintf(path, sizeof(path), "%s/wattune/slurm-auto", home);
    snprintf(want, sizeof(want), "%.0f EMULATED Tesla V100-PCIE-32GB\n", watts);
    struct stat st;
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644); /* the plugin believes none that others may write */
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    assert_non_null(fgets(line, sizeof(line), in));
    assert_string_equal(line, want);
    assert_null(fgets(line, sizeof(line), in));
    fclose(in);

    /* The same again begins with it, and --fresh does not. */
    spawn_run(&s, home, "wattune", "tune", "--emulate", "v100-pcie-32gb", "--window", "300ms",
              "--settle", "100ms", "--set", "power=100,150,200,250", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--batch", "8", "--quiet",
              "--seconds", "12");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "it is measured again"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "tune", "--fresh", "--emulate", "v100-pcie-32gb", "--set",
              "power=100,150,200,250", "--", getenv("WATTUNE_COMMAND"), "bench", "train",
              "bert-base", "--batch", "8", "--quiet", "--seconds", "1");
    assert_null(strstr(s.err, "it is measured again"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--tag", "tuned");
    assert_non_null(strstr(s.out, "tuned"));
    spawn_done(&s);
}

static void a_job_that_ends_too_soon_is_told_and_keeps_its_code(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--emulate", "v100-pcie-32gb", "--no-store", "--", "sh",
              "-c", "sleep 0.3; exit 7");
    assert_int_equal(spawn_code(&s), 7);
    assert_non_null(strstr(s.err, "nothing was found"));
    spawn_done(&s);
}

static void printed_steps_are_work_enough(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--emulate", "v100-pcie-32gb", "--gpu", "0", "--window",
              "200ms", "--settle", "100ms", "--progress", "step (\\d+)", "--work", "tokens=8",
              "--json", "--no-store", "--", "sh", "-c",
              "for i in $(seq 1 120); do echo step $i; sleep 0.05; done");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    assert_non_null(strstr(json_string_value(json_object_get(doc, "work_unit")), "steps"));
    assert_true(json_array_size(json_object_get(doc, "probes")) >= 4); /* two settings or more */
    json_decref(doc);
    spawn_done(&s);
}

static void nvtx_ranges_are_listened_for(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--nvtx", "--emulate", "v100-pcie-32gb", "--no-store",
              "--", "sh", "-c", "echo \"$NVTX_INJECTION64_PATH\"");
    assert_non_null(strstr(s.out, "libwattune-nvtx.so"));
    spawn_done(&s);
}

static void two_gpus_may_have_a_setting_each(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "tune", "--per-gpu", "--emulate", "v100-pcie-32gb:2", "--window",
              "300ms", "--settle", "100ms", "--set", "power=150,250", "--no-store", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--batch", "8", "--quiet",
              "--seconds", "7");
    assert_int_equal(spawn_code(&s), 0);
    size_t said = 0;
    for (const char *p = s.err; (p = strstr(p, "is held at power=")); p++)
        said++;
    assert_int_equal(said, 2);
    spawn_done(&s);
}

/* Killed in any probe: the guardian puts back what was found. */
static void a_killed_tune_leaves_the_old_setting(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct spawned s;
        char script[800];
        snprintf(script, sizeof(script),
                 "w=\"$WATTUNE_COMMAND\"\n"
                 "\"$w\" tune --window 300ms --settle 100ms --set power=100,150,200 --no-store"
                 " -- \"$w\" bench train bert-base --batch 8 --quiet --seconds %d & pid=$!\n"
                 "until \"$w\" doctor --json | grep -q '\"200 W, 100'; do sleep 0.05; done\n"
                 "sleep %g\nkill -9 $pid\n"
                 "for i in $(seq 100); do\n"
                 "  \"$w\" doctor --json | grep -q '\"250 W, 100' && echo back && break\n"
                 "  sleep 0.05\ndone",
                 4, 0.2 + 0.8 * i);
        spawn_run(&s, home, "wattune", "emulate", "v100-pcie-32gb", "--", "sh", "-c", script);
        if (!strstr(s.out, "back"))
            fail_msg("%d: %s %s", i, s.out, s.err);
        spawn_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_shows_table_choice_and_break_even),
        cmocka_unit_test(a_replays_document_counts_what_it_read),
        cmocka_unit_test(goals_change_the_choice),
        cmocka_unit_test(a_goal_of_small_gains_is_searched_too),
        cmocka_unit_test(the_table_has_a_column_for_what_was_made_small),
        cmocka_unit_test(a_clock_is_searched_like_a_limit),
        cmocka_unit_test(mistakes_are_told_with_what_to_do),
        cmocka_unit_test(a_dry_run_shows_what_would_be_tried),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(by_default_nothing_above_the_found_limit_is_tried),
        cmocka_unit_test(a_knob_that_somebody_holds_is_told_before_the_command_runs),
        cmocka_unit_test(it_finds_a_setting_while_the_job_runs_and_remembers_it),
        cmocka_unit_test(a_job_that_ends_too_soon_is_told_and_keeps_its_code),
        cmocka_unit_test(printed_steps_are_work_enough),
        cmocka_unit_test(nvtx_ranges_are_listened_for),
        cmocka_unit_test(two_gpus_may_have_a_setting_each),
        cmocka_unit_test(a_killed_tune_leaves_the_old_setting),
    };
    return cmocka_run_group_tests(tests, spawn_setup, spawn_teardown);
}
