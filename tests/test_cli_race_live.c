/* `wattune race` of commands: who is stopped and goes on, by each way to tell losses and to pause;
 * what is stored and resumed; that nothing is left running. The trainings are a shell script whose
 * losses are known, and `wattune bench`. */
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
#include <time.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;
static char script[96], race[96], pids[96];

/* train.sh LOSS STEPS WAY [--resume]: in step i the loss is LOSS.8999 and falls by 0.0001 a step.
 * WAY says how it tells: stdout, a CSV's name, "nan" at step 4, "fail" there, "silent". What it has
 * done it keeps when it is told to end, and by "kept" in each step. */
static const char train[] =
    "#!/bin/sh\n"
    "echo $$ >> \"$PIDS\"\n"
    "i=0; kept=\"$PIDS.$1\"\n"
    "[ \"$4\" = --resume ] && [ -f \"$kept\" ] && i=$(cat \"$kept\")\n"
    "keep() { echo $i > \"$kept.new\" && mv \"$kept.new\" \"$kept\"; }\n"
    "trap 'keep; exit 143' TERM\n"
    "case $3 in *.csv) echo 'step,other,loss' > \"$3\";; esac\n"
    "echo \"gpus $CUDA_VISIBLE_DEVICES from $i\"\n"
    "while [ $i -lt $2 ]; do\n"
    "    i=$((i + 1)); loss=$1.$((9000 - i))\n"
    "    case $3 in\n"
    "    *.csv) echo \"$i,7,$loss\" >> \"$3\";;\n"
    "    silent) ;;\n"
    "    kept) keep; echo \"step $i loss=$loss\";;\n"
    "    epochs) echo \"step $(((i - 1) % 5 + 1)) loss=$loss\";;\n"
    "    nan) [ $1 = 1 ] && [ $i -ge 4 ] && loss=nan; echo \"step $i loss=$loss\";;\n"
    "    fail) [ $1 = 1 ] && [ $i -ge 4 ] && exit 3; echo \"step $i loss=$loss\";;\n"
    "    *) echo \"step $i loss=$loss\";;\n"
    "    esac\n"
    "    sleep 0.02\n"
    "done\n";

static int set_up(void **state)
{
    if (spawn_setup(state) < 0)
        return -1;
    spawn_file(script, sizeof(script), "train.sh", train);
    chmod(script, 0700);
    spawn_path(race, sizeof(race), "race");
    spawn_path(pids, sizeof(pids), "pids");
    return setenv("PIDS", pids, 1);
}
#define RACE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, spawn_teardown)

static double number(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *word(const json_t *doc, const char *key)
{
    const char *text = json_string_value(json_object_get(doc, key));
    return text ? text : "";
}

static const json_t *trial(const json_t *doc, const char *name)
{
    size_t i;
    json_t *t;
    json_array_foreach(json_object_get(doc, "trials"), i,
                       t) if (strcmp(word(t, "name"), name) == 0) return t;
    fail_msg("no trial %s", name);
    return NULL;
}

/* There, and no zombie that waits for whoever took it over. */
static bool is_alive(const char *pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    const char *state = n ? strrchr(text, ')') : NULL;
    return state && state[1] && state[2] != 'Z' && state[2] != 'X';
}

/* All that the script started has gone. */
static void nothing_is_left(void)
{
    char *text = spawn_read("pids");
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest)) != NULL;) {
        for (int i = 0; i < 500 && is_alive(line); i++)
            usleep(10000);
        if (is_alive(line))
            fail_msg("process %s is still there", line);
    }
    free(text);
}

static void start_race(struct spawned *s, const char *const *more)
{
    const char *argv[48] = {"wattune", "race", "--json", "--no-store", "--folder", race};
    for (size_t n = 6; *more; n++)
        argv[n] = *more++;
    spawn_start(s, home, argv);
}

/* With --json and these arguments, NULL at the end. */
static json_t *run_race(int code, const char *const *more)
{
    struct spawned s;
    start_race(&s, more);
    spawn_wait(&s);
    if (spawn_code(&s) != code)
        fail_msg("exit code %d: %s%s", spawn_code(&s), s.out, s.err);
    json_t *doc = spawn_json(&s);
    spawn_done(&s);
    nothing_is_left();
    return doc;
}
#define RACE(code, ...) run_race(code, (const char *const[]){__VA_ARGS__, NULL})
#define BY_STDOUT       "--progress", "step (\\d+)", "--loss-pattern", "loss=(\\S+)"

/* Rungs at 20, 40 and 80 % of 20 steps, half go on: of 4 trials 2, then 1. */
#define RUNGS "--steps", "20", "--first", "20", "--eta", "2"

static void check_decided(const json_t *doc)
{
    assert_string_equal(word(doc, "winner"), "loss=1");
    assert_string_equal(word(trial(doc, "loss=1"), "state"), "finished");
    assert_true(number(trial(doc, "loss=1"), "step") >= 20);
    assert_string_equal(word(trial(doc, "loss=2"), "state"), "stopped");
    assert_string_equal(word(trial(doc, "loss=3"), "state"), "stopped");
    assert_string_equal(word(trial(doc, "loss=4"), "state"), "stopped");
    assert_int_equal(number(trial(doc, "loss=2"), "rungs"), 2);
    assert_int_equal(number(trial(doc, "loss=3"), "rungs"), 1);
    assert_true(number(trial(doc, "loss=4"), "step") >= 4);
    assert_true(number(doc, "steps") < number(doc, "steps_full"));
    assert_int_equal(number(doc, "steps_full"), 80);
    assert_true(fabs(number(trial(doc, "loss=1"), "loss") - 1.898) < 1e-9); /* of step 20 */
    assert_true(number(trial(doc, "loss=2"), "loss") + 1e-4 * number(trial(doc, "loss=2"), "step") -
                    2.9 <
                1e-9);
}

static void hopeless_trials_are_stopped_and_the_best_comes_to_its_end(void **state)
{
    (void)state;
    json_t *doc = RACE(0, RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script, "{loss}", "20",
                       "stdout");
    check_decided(doc);
    assert_int_equal(number(trial(doc, "loss=1"), "processes"), 1);
    assert_true(number(trial(doc, "loss=1"), "run_s") > number(trial(doc, "loss=4"), "run_s"));
    assert_true(json_is_false(json_object_get(doc, "is_verified")));
    assert_true(json_is_null(json_object_get(doc, "best")));
    json_decref(doc);
    char *curve = spawn_read("race/loss=1.csv"), *text = spawn_read("race/race.json"),
         *log = spawn_read("race/loss=4.log");
    assert_non_null(strstr(curve, "\n20,1.898"));
    assert_non_null(strstr(text, "\"winner\""));
    assert_non_null(strstr(log, "step 4 loss=4.8996"));
    free(curve);
    free(text);
    free(log);
}

static void a_csv_that_grows_is_followed(void **state)
{
    (void)state;
    char old[96], file[96];
    spawn_file(old, sizeof(old), "loss=1.csv", "step,other,loss\n19,7,0.1\n20,7,0.1\n");
    spawn_path(file, sizeof(file), "{trial}.csv");
    json_t *doc = RACE(0, RUNGS, "--loss-file", file, "--param", "loss=4,2,1,3", "--", script,
                       "{loss}", "20", file);
    check_decided(doc);
    assert_true(number(trial(doc, "loss=1"), "loss") > 1.8); /* and not the older training's */
    json_decref(doc);
}

static void told_to_end_a_trial_goes_on_from_what_it_kept(void **state)
{
    (void)state;
    json_t *doc = RACE(0, RUNGS, BY_STDOUT, "--pause", "end", "--again=--resume", "--grace", "20s",
                       "--param", "loss=4,2,1,3", "--", script, "{loss}", "20", "stdout");
    check_decided(doc);
    assert_true(number(trial(doc, "loss=1"), "processes") >= 2);
    assert_int_equal(number(trial(doc, "loss=4"), "processes"), 1);
    char *log = spawn_read("race/loss=1.log");
    assert_non_null(strstr(log, "from 0\n"));
    assert_null(strstr(strstr(log, "from 0\n") + 1, "from 0\n"));
    assert_non_null(strstr(log, " from ")); /* a later one, from its checkpoint */
    free(log);
    json_decref(doc);
}

static void the_stopped_ones_can_be_run_on_to_know_the_risk(void **state)
{
    (void)state;
    json_t *doc = RACE(0, RUNGS, BY_STDOUT, "--to-the-end", "--tag", "risk", "--param",
                       "loss=4,2,1,3", "--", script, "{loss}", "20", "stdout");
    check_decided(doc);
    assert_true(json_is_true(json_object_get(doc, "is_verified")));
    assert_string_equal(word(doc, "best"), "loss=1");
    assert_true(number(doc, "regret") <= 0);
    assert_true(number(trial(doc, "loss=4"), "final_loss") > 4);
    json_decref(doc);
    struct spawned s; /* whole curves: they can be raced again */
    spawn_run(&s, home, "wattune", "race", "--replay", race, "--races", "5");
    if (spawn_code(&s) != 0 || !strstr(s.out, "loss=1 survives") ||
        !strstr(s.out, "as they were recorded:"))
        fail_msg("%s%s", s.out, s.err);
    spawn_done(&s);
}

/* The last line's value in the column of a curve with energies. */
static double last_in_curve(const char *name, int column)
{
    char *text = spawn_read(name), *line = strrchr(text, '\n');
    double values[4] = {NAN, NAN, NAN, NAN};
    assert_non_null(line);
    *line = '\0';
    line = strrchr(text, '\n');
    assert_non_null(line);
    assert_int_equal(
        sscanf(line, "%lf,%lf,%lf,%lf", &values[0], &values[1], &values[2], &values[3]), 4);
    free(text);
    return values[column];
}

static void energy_is_told_trial_by_trial_and_stored_as_one_run(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--folder", race, "--emulate", "a100-pcie-80gb", "--gpu",
              "0", RUNGS, BY_STDOUT, "--tag", "grid", "--param", "loss=3,1,2", "--", script,
              "{loss}", "20", "stdout");
    if (spawn_code(&s) != 0)
        fail_msg("%s%s", s.out, s.err);
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "loss=1 wins"));
    assert_non_null(strstr(s.out, "saved"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "report", "last", "--json");
    json_t *run = spawn_json(&s), *phase;
    spawn_done(&s);
    assert_string_equal(word(run, "tag"), "grid");
    assert_non_null(strstr(word(run, "command"), "wattune race --folder"));
    char *text = spawn_read("race/race.json");
    json_t *doc = json_loads(text, 0, NULL);
    double sum = 0, total = number(json_object_get(run, "total"), "energy_j");
    size_t i;
    json_array_foreach(json_object_get(doc, "trials"), i, phase)
    {
        assert_true(number(phase, "energy_j") > 0);
        assert_true(number(phase, "low_j") <= number(phase, "energy_j"));
        sum += number(phase, "energy_j");
    }
    assert_true(sum <= total * 1.1 && sum > total / 3);
    assert_true(number(doc, "saving") > 0 && number(doc, "saving") < 1);
    assert_true(fabs(number(doc, "spent_j") - sum) < 1e-6 * sum);
    /* The last loss of each, however soon it came. */
    json_array_foreach(json_object_get(run, "values"), i, phase)
    {
        char name[64];
        snprintf(name, sizeof(name), "race/%s.csv", word(phase, "name"));
        assert_true(fabs(number(phase, "last") - last_in_curve(name, 1)) < 1e-9);
    }
    assert_int_equal(i, 3);
    double phases = 0;
    /* One energy with one interval, in the run's record and in the race's. */
    json_array_foreach(json_object_get(run, "phases"), i, phase)
    {
        static const char *const keys[] = {"energy_j", "low_j", "high_j"};
        if (strncmp(word(phase, "name"), "loss=", 5) != 0)
            continue; /* (rest) */
        phases++;
        for (size_t k = 0; k < 3; k++)
            assert_true(fabs(number(phase, keys[k]) -
                             number(trial(doc, word(phase, "name")), keys[k])) < 1e-9);
    }
    assert_true(phases == 3);
    free(text);
    json_decref(doc);
    json_decref(run);
    /* The page draws the trials' losses as one. */
    char page[128];
    spawn_run(&s, home, "wattune", "report", "last", "-o",
              spawn_path(page, sizeof(page), "race.html"));
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    text = spawn_read("race.html");
    assert_non_null(strstr(text, "id=\"value-0-0\""));
    assert_null(strstr(text, "id=\"value-0-1\""));
    assert_non_null(strstr(text, "Values of the phases"));
    free(text);
    char *curve = spawn_read("race/loss=1.csv");
    assert_non_null(strstr(curve, "step,loss,run_s,energy_j\n"));
    free(curve);
}

static void trials_with_long_names_have_phases_of_their_own(void **state)
{
    (void)state;
    json_t *doc, *phase;
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--folder", race, "--json", "--emulate",
              "a100-pcie-80gb", "--gpu", "0", RUNGS, BY_STDOUT, "--param",
              "what_is_the_same=in_all_of_them", "--param", "loss=2,1", "--", script, "{loss}",
              "20", "stdout", "{what_is_the_same}");
    assert_int_equal(spawn_code(&s), 0);
    doc = spawn_json(&s);
    spawn_done(&s);
    size_t i, found = 0;
    const json_t *run = json_object_get(doc, "run");
    json_array_foreach(json_object_get(run, "phases"), i, phase)
    {
        static const char *const names[][2] = {
            {"what_is_the_same=in_all_~1", "what_is_the_same=in_all_of_them,loss=2"},
            {"what_is_the_same=in_all_~2", "what_is_the_same=in_all_of_them,loss=1"}};
        for (size_t k = 0; k < 2; k++)
            if (strcmp(word(phase, "name"), names[k][0]) == 0) {
                found++;
                assert_true(fabs(number(phase, "energy_j") -
                                 number(trial(doc, names[k][1]), "energy_j")) < 1e-9);
            }
    }
    assert_int_equal(found, 2);
    assert_int_equal(json_array_size(json_object_get(run, "values")), 2);
    json_decref(doc);
}

static void a_report_and_a_statement_tell_of_the_trials(void **state)
{
    (void)state;
    struct spawned s;
    char page[128], text[64];
    spawn_run(&s, home, "wattune", "race", "--folder", race, RUNGS, BY_STDOUT, "--tag", "rx",
              "--param", "loss=4,2,1,3", "--", script, "{loss}", "20", "fail");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "statement", "--tag", "rx", "--json");
    json_t *doc = spawn_json(&s), *races = json_object_get(json_object_get(doc, "runs"), "races");
    spawn_done(&s);
    assert_true(number(races, "count") == 1 && number(races, "trials") == 4);
    assert_true(number(races, "failed") == 1 && number(races, "finished") >= 1);
    assert_true(number(races, "finished") + number(races, "stopped") == 3);
    snprintf(text, sizeof(text), "stopped early: %.0f; failed: 1", number(races, "stopped"));
    json_decref(doc);
    spawn_run(&s, home, "wattune", "statement", "--tag", "rx");
    assert_non_null(strstr(s.out, text));
    spawn_done(&s);
    /* A replay is told who failed. */
    char *curve = spawn_read("race/loss=1.csv");
    assert_int_equal(strncmp(curve, "# failed\n", 9), 0);
    free(curve);
    /* What the race knows of a trial, the run does; with modeled sensors, too. */
    char *told = spawn_read("race/race.json");
    doc = json_loads(told, 0, NULL);
    free(told);
    spawn_run(&s, home, "wattune", "report", "last", "--json");
    json_t *run = spawn_json(&s), *phase;
    spawn_done(&s);
    size_t i, known = 0;
    json_array_foreach(json_object_get(run, "phases"), i, phase)
    {
        if (strncmp(word(phase, "name"), "loss=", 5) != 0)
            continue;
        bool is_known = strcmp(word(trial(doc, word(phase, "name")), "provenance"), "unknown") != 0;
        assert_true(!is_known || strcmp(word(phase, "provenance"), "unknown") != 0);
        assert_true(!is_known || (number(phase, "energy_j") > 0 && number(phase, "mean_w") > 0));
        known++;
    }
    assert_int_equal(known, 4);
    const json_t *raced = json_object_get(run, "race");
    bool is_saving_known = json_is_number(json_object_get(doc, "saved_j"));
    assert_string_equal(word(raced, "winner"), "loss=2");
    assert_int_equal(json_is_number(json_object_get(raced, "saved_j")), is_saving_known);
    assert_string_equal(word(raced, "provenance"),
                        is_saving_known ? word(doc, "provenance") : "unknown");
    json_decref(run);
    json_decref(doc);
    spawn_run(&s, home, "wattune", "runs", "last");
    assert_non_null(strstr(s.out, "loss=2 wins, with"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "report", "last", "-o",
              spawn_path(page, sizeof(page), "race.html"));
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    told = spawn_read("race.html");
    assert_non_null(strstr(told, "loss=2 wins"));
    assert_int_equal(strstr(told, "estimated by energies that are") != NULL, is_saving_known);
    free(told);
}

static void two_at_once_have_a_gpu_each(void **state)
{
    (void)state;
    json_t *doc =
        RACE(0, "--emulate", "a100-pcie-80gb:2", "--at-once", "2", RUNGS, BY_STDOUT, "--rule",
             "asha", "--param", "loss=4,2,1,3", "--", script, "{loss}", "20", "stdout");
    assert_string_equal(word(doc, "winner"), "loss=1");
    char *one = spawn_read("race/loss=4.log"), *other = spawn_read("race/loss=2.log");
    assert_int_equal(strncmp(one, "gpus GPU-", 9), 0);
    assert_int_equal(strncmp(other, "gpus GPU-", 9), 0);
    assert_int_not_equal(strncmp(one, other, 40), 0);
    assert_true(number(trial(doc, "loss=4"), "energy_j") > 0);
    free(one);
    free(other);
    json_decref(doc);
}

static void a_loss_that_is_no_number_ends_a_trial(void **state)
{
    (void)state;
    json_t *doc =
        RACE(0, RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script, "{loss}", "20", "nan");
    assert_string_equal(word(trial(doc, "loss=1"), "state"), "diverged");
    assert_int_equal(number(trial(doc, "loss=1"), "step"), 4);
    assert_string_equal(word(doc, "winner"), "loss=2");
    json_decref(doc);
}

static void steps_that_begin_anew_are_the_next_epochs(void **state)
{
    (void)state;
    json_t *doc = RACE(0, RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script, "{loss}", "20",
                       "epochs");
    check_decided(doc);
    json_decref(doc);
}

static void a_trial_that_fails_does_not_win(void **state)
{
    (void)state;
    struct spawned s;
    start_race(&s, (const char *const[]){RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script,
                                         "{loss}", "20", "fail", NULL});
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "loss=1 failed with exit code 3"));
    json_t *doc = spawn_json(&s);
    assert_string_equal(word(doc, "winner"), "loss=2");
    assert_int_equal(number(trial(doc, "loss=1"), "exit"), 3);
    json_decref(doc);
    spawn_done(&s);
}

static void without_losses_it_says_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *way, *want;
    } rows[] = {{"silent", "had told no step and no loss"}, {"no-such-file", "failed before"}};
    for (size_t i = 0; i < 2; i++) {
        struct spawned s;
        char name[8];
        snprintf(name, sizeof(name), "r%zu", i);
        spawn_path(race, sizeof(race), name);
        start_race(&s, (const char *const[]){RUNGS, BY_STDOUT, "--param", "loss=4,2", "--", "sh",
                                             "-c", i ? "exit 9; {loss}" : "exec \"$0\" 3 2 silent",
                                             i ? "x" : script, "{loss}", NULL});
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), 1);
        if (!strstr(s.err, rows[i].want))
            fail_msg("%s", s.err);
        spawn_done(&s);
        nothing_is_left();
    }
}

static void wait_for(const char *name, const char *text)
{
    for (int i = 0; i < 3000; i++) {
        char *found = spawn_read(name);
        bool is_there = strstr(found, text) != NULL;
        free(found);
        if (is_there)
            return;
        usleep(10000);
    }
    fail_msg("%s never has %s", name, text);
}

static void interrupted_it_leaves_nothing_and_goes_on_where_it_was(void **state)
{
    (void)state;
    struct spawned s;
    const char *const argv[] = {RUNGS,  BY_STDOUT, "--param", "loss=4,2,1,3", "--",
                                script, "{loss}",  "20",      "stdout",       NULL};
    start_race(&s, argv);
    wait_for("race/loss=1.log", "step 2 ");
    kill(s.pid, SIGINT);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 130);
    assert_non_null(strstr(s.err, "--resume goes on"));
    json_t *doc = spawn_json(&s);
    assert_true(json_is_true(json_object_get(doc, "is_cut")));
    assert_true(json_is_null(json_object_get(doc, "winner")));
    json_decref(doc);
    spawn_done(&s);
    nothing_is_left();

    start_race(&s, argv); /* by mistake */
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--resume"));
    spawn_done(&s);

    doc = RACE(0, "--resume", RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script, "{loss}",
               "20", "stdout");
    check_decided(doc);
    assert_int_equal(number(trial(doc, "loss=4"), "processes"), 0); /* as was known */
    json_decref(doc);

    spawn_run(&s, home, "wattune", "race", "--resume", "--folder", race, RUNGS, BY_STDOUT,
              "--param", "loss=4,2,1", "--", script, "{loss}", "20", "stdout");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "other trials"));
    spawn_done(&s);
}

static void resumed_where_no_race_is_nothing_is_made(void **state)
{
    (void)state;
    struct spawned s;
    start_race(&s, (const char *const[]){"--resume", RUNGS, BY_STDOUT, "--param", "loss=2,1", "--",
                                         script, "{loss}", "20", "stdout", NULL});
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "no race is in"));
    spawn_done(&s);
    assert_int_not_equal(access(race, F_OK), 0);
}

/* Whatever second it is when it begins. */
static void a_folder_that_is_not_named_is_a_new_one(void **state)
{
    (void)state;
    char name[64], path[160];
    time_t now = time(NULL);
    struct tm tm;
    struct spawned s;
    for (int i = 0; i < 600; i++, now++) {
        strftime(name, sizeof(name), "wattune-race-%Y%m%d-%H%M%S", localtime_r(&now, &tm));
        spawn_path(path, sizeof(path), name);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    static const char *const argv[] = {"wattune", "race",    "--json",   "--no-store", RUNGS,
                                       BY_STDOUT, "--param", "loss=2,1", "--",         "./train.sh",
                                       "{loss}",  "20",      "stdout",   NULL};
    char there[4096];
    assert_non_null(getcwd(there, sizeof(there)));
    assert_int_equal(chdir(home), 0);
    spawn_start(&s, home, argv);
    assert_int_equal(chdir(there), 0);
    spawn_wait(&s);
    if (spawn_code(&s) != 0)
        fail_msg("%s%s", s.out, s.err);
    json_t *doc = spawn_json(&s);
    const char *folder = word(doc, "folder"), *end = strrchr(folder, '-');
    assert_true(end && strcmp(end, "-2") == 0);
    json_decref(doc);
    spawn_done(&s);
}

static int count_of(const char *name, const char *what)
{
    char *text = spawn_read(name);
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    free(text);
    return count;
}

/* Two whose energies are known. */
static const char *const by_joules[] = {
    "--emulate", "a100-pcie-80gb", "--steps", "60",   "--first", "20", "--eta",  "2", BY_STDOUT,
    "--param",   "loss=2,1",       "--",      script, "{loss}",  "60", "stdout", NULL};

/* One that is interrupted twice begins anew twice. */
static void steps_run_again_count_as_run_and_are_not_in_the_curve(void **state)
{
    (void)state;
    struct spawned s;
    const char *more[32] = {"--resume"};
    memcpy(more + 1, by_joules, sizeof(by_joules));
    start_race(&s, by_joules);
    wait_for("race/loss=1.log", "step 15 ");
    kill(s.pid, SIGINT);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 130);
    spawn_done(&s);
    double known = last_in_curve("race/loss=1.csv", 0),
           known_j = last_in_curve("race/loss=1.csv", 3);
    assert_true(known >= 15);

    start_race(&s, more);
    for (int i = 0; i < 3000 && count_of("race/loss=1.log", "step 5 ") < 2; i++)
        usleep(10000);
    kill(s.pid, SIGINT);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 130);
    spawn_done(&s);

    json_t *doc = run_race(0, more);
    const json_t *best = trial(doc, "loss=1"), *other = trial(doc, "loss=2");
    assert_string_equal(word(doc, "winner"), "loss=1");
    double lines = count_of("race/loss=1.log", "step "), again_j = number(best, "again_j");
    assert_true(lines >= 60 + known + 5);
    assert_true(number(best, "step") == 60 && number(best, "steps_again") == lines - 60);
    double again = lines - 60 + number(other, "steps_again");
    assert_true(number(doc, "steps_again") == again);
    assert_true(number(doc, "steps") == 60 + number(other, "step") + again);
    assert_true(number(doc, "steps_full") == 120);
    /* The curve goes on from where it was; what was spent has all. */
    char *curve = spawn_read("race/loss=1.csv"), want[64];
    double kept_j = NAN;
    snprintf(want, sizeof(want), "\n%.0f,", known);
    assert_non_null(strstr(curve, want));
    assert_int_equal(sscanf(strstr(curve, want) + strlen(want), "%*f,%*f,%lf", &kept_j), 1);
    free(curve);
    assert_true(fabs(kept_j - known_j) < 1e-6 * known_j);
    double last_j = last_in_curve("race/loss=1.csv", 3), spent_j = number(best, "energy_j");
    assert_true(again_j > 0);
    assert_true(last_j <= (spent_j - again_j) * (1 + 1e-6) && last_j >= (spent_j - again_j) * 0.5);
    /* Saved is against running both to their ends once. */
    double rest_j = number(doc, "saved_j") + again_j + number(other, "again_j");
    assert_true(json_is_number(json_object_get(doc, "saved_j")) && rest_j > 0);
    assert_true(fabs(number(doc, "spent_j") - spent_j - number(other, "energy_j")) <
                1e-6 * spent_j);
    json_decref(doc);
}

static void replay_costs(const char *unit)
{
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--replay", race, "--json");
    json_t *doc = spawn_json(&s);
    assert_string_equal(word(doc, "cost_unit"), unit);
    json_decref(doc);
    spawn_done(&s);
}

/* What was known is not lost, and what was not is said. */
static void killed_and_resumed_it_has_the_energies_that_were_known(void **state)
{
    (void)state;
    struct spawned s;
    const char *more[32] = {"--resume"};
    memcpy(more + 1, by_joules, sizeof(by_joules));
    start_race(&s, by_joules);
    wait_for("race/loss=1.log", "step 2 "); /* the other has just been stopped at its rung */
    kill(s.pid, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);
    nothing_is_left();
    double known_j = last_in_curve("race/loss=2.csv", 3);
    assert_true(known_j > 0);

    json_t *doc = run_race(0, more);
    const json_t *best = trial(doc, "loss=1"), *other = trial(doc, "loss=2");
    assert_true(json_is_true(json_object_get(other, "is_whole")));
    assert_true(fabs(number(other, "energy_j") - known_j) < 0.1 * known_j);
    /* It had begun, and what it took then is nowhere. */
    assert_true(json_is_false(json_object_get(best, "is_whole")));
    assert_true(number(best, "energy_j") > 0 && number(best, "step") == 60);
    json_decref(doc);
    replay_costs("J");

    const char *text[40] = {"wattune", "race", "--no-store", "--folder", race};
    memcpy(text + 5, more, sizeof(more));
    setenv("COLUMNS", "400", 1);
    spawn_start(&s, home, text);
    spawn_wait(&s);
    unsetenv("COLUMNS");
    assert_int_equal(spawn_code(&s), 0);
    if (!strstr(s.out, "What loss=1 ran before Wattune was ended or killed"))
        fail_msg("%s", s.out);
    spawn_done(&s);
}

/* It kept its work when Wattune was killed: steps that nobody measured lie between. */
static json_t *kept_more_than_was_seen(bool is_all)
{
    struct spawned s;
    const char *const end[] = {"--pause", "end", "--again=--resume", "--to-the-end"};
    const char *argv[40] = {"--resume"};
    memcpy(argv + 1, end, sizeof(end));
    memcpy(argv + 5, by_joules, sizeof(by_joules));
    for (size_t i = 0; argv[i]; i++)
        if (strcmp(argv[i], "stdout") == 0)
            argv[i] = "kept";
    start_race(&s, argv + 1);
    wait_for("race/loss=2.log", "step 30 ");
    kill(s.pid, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);
    nothing_is_left();
    assert_true(last_in_curve("race/loss=2.csv", 0) < 20);
    if (is_all) {
        char path[96];
        spawn_file(path, sizeof(path), "pids.2", "60\n");
    }

    json_t *doc = run_race(0, argv);
    const json_t *other = trial(doc, "loss=2");
    assert_true(json_is_false(json_object_get(other, "is_whole")));
    assert_true(json_is_null(json_object_get(other, "full_j")));
    return doc;
}

static void steps_that_were_run_unseen_are_in_no_energy_of_a_curve(void **state)
{
    (void)state;
    json_t *doc = kept_more_than_was_seen(false);
    assert_true(number(trial(doc, "loss=2"), "final_loss") > 2);
    json_decref(doc);
    char *curve = spawn_read("race/loss=2.csv");
    assert_non_null(strstr(curve, "# ran on\n"));
    assert_non_null(strstr(curve, "step,loss,run_s\n"));
    assert_non_null(strstr(curve, "\n60,"));
    free(curve);
    replay_costs("steps");
}

/* Going on it ends without a word. */
static void steps_that_were_all_run_unseen_are_in_no_energy_either(void **state)
{
    (void)state;
    json_t *doc = kept_more_than_was_seen(true);
    assert_true(number(trial(doc, "loss=2"), "step") < 20);
    json_decref(doc);
}

static void killed_it_leaves_no_process_stopped_or_running(void **state)
{
    (void)state;
    struct spawned s;
    start_race(&s, (const char *const[]){RUNGS, BY_STDOUT, "--param", "loss=4,2,1,3", "--", script,
                                         "{loss}", "20", "stdout", NULL});
    wait_for("race/loss=1.log", "step 2 "); /* two are stopped, one runs */
    kill(s.pid, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);
    nothing_is_left();
}

/* A shell that waits for its training, and does not care for a hang-up. */
static void killed_it_leaves_nothing_that_a_trial_started(void **state)
{
    (void)state;
    char wrap[96], text[300];
    struct spawned s;
    snprintf(text, sizeof(text), "#!/bin/sh\ntrap '' HUP\n%s $1 400 stdout\necho done\n", script);
    spawn_file(wrap, sizeof(wrap), "wrap.sh", text);
    chmod(wrap, 0700);
    start_race(&s, (const char *const[]){"--steps", "400", "--first", "1", BY_STDOUT, "--param",
                                         "loss=4,2,1,3", "--", wrap, "{loss}", NULL});
    wait_for("race/loss=1.log", "step 2 ");
    kill(s.pid, SIGKILL);
    spawn_wait(&s);
    spawn_done(&s);
    nothing_is_left();
}

static void one_folder_holds_one_race_and_one_file_one_trials_losses(void **state)
{
    (void)state;
    struct spawned first, s;
    const char *const argv[] = {"--steps", "400",    BY_STDOUT, "--param", "loss=4,2", "--",
                                script,    "{loss}", "400",     "stdout",  NULL};
    start_race(&first, argv);
    wait_for("race/loss=2.log", "step 2 ");
    spawn_run(&s, home, "wattune", "race", "--resume", "--folder", race, "--steps", "400",
              BY_STDOUT, "--param", "loss=4,2", "--", script, "{loss}", "400", "stdout");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "a race is running in"));
    spawn_done(&s);
    kill(first.pid, SIGTERM);
    spawn_wait(&first);
    assert_int_equal(spawn_code(&first), 143);
    spawn_done(&first);
    nothing_is_left();
    spawn_run(&s, home, "wattune", "race", "--steps", "9", "--loss-file", "same.csv", "--param",
              "loss=4,2", "--", script, "{loss}", "9", "same.csv");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "put {trial} in"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "race", "--replay", race); /* cut curves say so */
    assert_non_null(strstr(s.err, "end where a race stopped them"));
    spawn_done(&s);
}

static void wattunes_own_trainings_are_raced_by_their_door(void **state)
{
    (void)state;
    json_t *doc =
        RACE(0, "--steps", "16", "--loss", "loss", "--first", "25", "--param", "lr=1e-5,3e-3",
             "--param", "seq=16,24", "--", getenv("WATTUNE_COMMAND"), "bench", "train", "bert-tiny",
             "--synthetic", "--steps", "16", "--batch", "2", "--seq", "{seq}", "--lr", "{lr}",
             "--warmup", "1", "--threads", "1", "--peak", "none", "--quiet", "--evaluate", "0");
    assert_non_null(strstr(word(doc, "winner"), "lr="));
    assert_true(number(trial(doc, word(doc, "winner")), "loss") > 0);
    const json_t *work = json_object_get(json_object_get(doc, "run"), "work");
    assert_string_equal(word(work, "unit"), "tokens");
    assert_true(number(work, "count") > 0);
    json_decref(doc);
}

static void trials_come_from_a_file_and_are_shown_before(void **state)
{
    (void)state;
    char file[96];
    struct spawned s;
    spawn_file(file, sizeof(file), "trials.csv",
               "\xef\xbb\xbf# mine\nlr, batch\n1e-3,8\r\n\"1e-4\",16\n");
    spawn_run(&s, home, "wattune", "race", "--dry-run", "--trials", file, "--steps", "100",
              "--pause", "end", "--again", "--resume={trial}", "--", "train", "--lr={lr}", "-b",
              "{batch}");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "2 trials, to steps 13.3, 19.95"));
    assert_non_null(strstr(s.out, "lr=1e-4,batch=16\n    train --lr=1e-4 -b 16\n"));
    assert_non_null(strstr(s.out, "-b 16 --resume=lr=1e-4,batch=16\n"));
    spawn_done(&s);
    static const struct {
        const char *text, *want;
    } bad[] = {
        {"lr,2x\n1,2\n", ":1: the header names"},
        {"lr\n1,2\n", ":2: more values"},
        {"lr,b\n1\n", ":2: fewer values"},
        {"lr,b\n1,\n2,3\n", ":2: an empty value"},
        {"lr,b\n1,2\n", "a race of 1: it takes 2"},
        {"lr,b\n1,2\n1,2\n", "are the same command"},
        {"", "it takes 2"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        spawn_file(file, sizeof(file), "bad.csv", bad[i].text);
        spawn_run(&s, home, "wattune", "race", "--dry-run", "--trials", file, "--steps", "9", "--",
                  "x",
                  i == 1   ? "{lr}"
                  : i == 6 ? "y"
                           : "{lr}{b}");
        if (spawn_code(&s) != 2 || !strstr(s.err, bad[i].want))
            fail_msg("row %zu: %d: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
}

static void mistakes_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *argv[11];
        int code;
        const char *want;
    } rows[] = {
        {{"--param", "lr=1,2", "--steps", "9"}, 2, "no command"},
        {{"--steps", "9", "--", "x"}, 2, "nothing that differs"},
        {{"--param", "lr=1,2", "--", "x", "{lr}"}, 2, "--steps N is missing"},
        {{"--param", "lr=1,2", "--steps", "9", "--", "x"}, 2, "there is no {lr} in CMD"},
        {{"--param", "lr=1", "--steps", "9", "--", "x", "{lr}"}, 2, "a race of 1"},
        {{"--param", "trial=1,2", "--steps", "9"}, 2, "{trial} is the name"},
        {{"--param", "lr=1,2", "--param", "lr=3,4"}, 2, "given twice"},
        {{"--steps", "0"}, 2, "a number from 1"},
        {{"--pause", "nap"}, 2, "stop or end"},
        {{"--grace", "soon"}, 2, "soon"},
        {{"--end-signal", "KILL"}, 2, "TERM, USR1"},
        {{"--at-once", "0"}, 2, "a number from 1"},
        {{"--param", "lr=1,2", "--steps", "9", "--again", "y", "--", "x", "{lr}"},
         2,
         "--pause end"},
        {{"--param", "lr=1,2", "--steps", "9", "--progress", "(x)", "--", "x", "{lr}"},
         2,
         "the loss"},
        {{"--param", "lr=1,2", "--steps", "9", "--loss-pattern", "x", "--", "x", "{lr}"},
         2,
         "no group"},
        {{"--replay", "x", "--steps", "9"}, 2, "--steps: is of a race of commands"},
        {{"--param", "lr=1,2", "--steps", "9", "--draw", "3", "--", "x", "{lr}"},
         2,
         "is of --replay"},
        {{"--trials", "/no/such", "--steps", "9", "--", "x", "{lr}"}, 2, "/no/such"},
        {{"--sysroot", "", "--param", "lr=1,2", "--steps", "9", "--", "x", "{lr}"}, 2, "--sysroot"},
        {{"--sensor-command", "watts", "--param", "lr=1,2", "--steps", "9", "--", "x", "{lr}"},
         2,
         "watts"},
        {{"--fault", "x", "--param", "lr=1,2", "--steps", "9", "--", "x", "{lr}"}, 2, "--emulate"},
        {{"--param", "lr=1,2", "--steps", "9", "--no-store", "--", "/no/such", "{lr}"},
         127,
         "/no/such"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *argv[16] = {"wattune", "race", "--folder", race};
        char name[16];
        snprintf(name, sizeof(name), "race%zu", i);
        spawn_path(race, sizeof(race), name);
        memcpy(argv + 4, rows[i].argv, sizeof(rows[i].argv));
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("row %zu: %d: %s", i, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--param", "lr=1,2", "--steps", "9", "--resume", "--",
              "x", "{lr}");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "which race"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RACE_TEST(hopeless_trials_are_stopped_and_the_best_comes_to_its_end),
        RACE_TEST(a_csv_that_grows_is_followed),
        RACE_TEST(told_to_end_a_trial_goes_on_from_what_it_kept),
        RACE_TEST(the_stopped_ones_can_be_run_on_to_know_the_risk),
        RACE_TEST(energy_is_told_trial_by_trial_and_stored_as_one_run),
        RACE_TEST(trials_with_long_names_have_phases_of_their_own),
        RACE_TEST(a_report_and_a_statement_tell_of_the_trials),
        RACE_TEST(two_at_once_have_a_gpu_each),
        RACE_TEST(a_loss_that_is_no_number_ends_a_trial),
        RACE_TEST(steps_that_begin_anew_are_the_next_epochs),
        RACE_TEST(a_trial_that_fails_does_not_win),
        RACE_TEST(one_folder_holds_one_race_and_one_file_one_trials_losses),
        RACE_TEST(killed_it_leaves_nothing_that_a_trial_started),
        RACE_TEST(without_losses_it_says_what_is_missing),
        RACE_TEST(interrupted_it_leaves_nothing_and_goes_on_where_it_was),
        RACE_TEST(steps_run_again_count_as_run_and_are_not_in_the_curve),
        RACE_TEST(resumed_where_no_race_is_nothing_is_made),
        RACE_TEST(a_folder_that_is_not_named_is_a_new_one),
        RACE_TEST(killed_and_resumed_it_has_the_energies_that_were_known),
        RACE_TEST(steps_that_were_run_unseen_are_in_no_energy_of_a_curve),
        RACE_TEST(steps_that_were_all_run_unseen_are_in_no_energy_either),
        RACE_TEST(killed_it_leaves_no_process_stopped_or_running),
        RACE_TEST(wattunes_own_trainings_are_raced_by_their_door),
        RACE_TEST(trials_come_from_a_file_and_are_shown_before),
        RACE_TEST(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
