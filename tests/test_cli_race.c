/* `wattune race` on recorded curves: what it shows, what each option does, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawned.h"

static const char *const home = spawn_folder;
static const char curves[] = WT_TEST_DATA "/race";

static double number(const json_t *doc, const char *key)
{
    return json_number_value(json_object_get(doc, key));
}

static const char *word(const json_t *doc, const char *key)
{
    return json_string_value(json_object_get(doc, key));
}

/* Runs it with --json and these arguments, NULL at the end. */
static json_t *document(const char *const *more)
{
    const char *argv[32] = {"wattune", "race", "--json"};
    struct spawned s;
    for (size_t n = 3; *more; n++)
        argv[n] = *more++;
    spawn_start(&s, home, argv);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.err, "");
    json_t *doc = spawn_json(&s);
    spawn_done(&s);
    return doc;
}
#define DOCUMENT(...) document((const char *const[]){__VA_ARGS__, NULL})

/* Four trials in order, all measured; the best is slow to begin in d. */
static const char *folder(char *path, size_t size)
{
    char file[160];
    spawn_path(path, size, "curves");
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "%s/%c.csv", path, 'a' + i);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fputs("# made up\nstep,loss,other,energy_j\n", f);
        for (int step = 1; step <= 10; step++)
            fprintf(f, "%d,%g,%g,%d\n", step,
                    i == 3 ? (step < 9 ? 20 - step : 0.5) : 2 + i + 1.0 / step,
                    9.0 - i + 1.0 / step, step * (i + 1));
        fclose(f);
    }
    return path;
}

static void text_and_document_tell_the_same(void **state)
{
    (void)state;
    char path[96], want[64];
    struct spawned s;
    folder(path, sizeof(path));
    spawn_run(&s, home, "wattune", "race", "--replay", path, "--first", "20", "--eta", "2");
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.err, "");
    json_t *doc = DOCUMENT("--replay", path, "--first", "20%", "--eta", "2");
    assert_string_equal(word(doc, "provenance"), "replayed");
    assert_string_equal(word(doc, "source"), path);
    assert_string_equal(word(doc, "rule"), "forecast");
    assert_string_equal(word(doc, "cost_unit"), "J");
    assert_string_equal(word(doc, "winner"), "a");
    assert_string_equal(word(doc, "best"), "d");
    assert_int_equal(json_array_size(json_object_get(doc, "rungs")), 4); /* 2, 4, 8, 10 */
    /* a to its end, b to 4, c and d to 2 of 10 steps, of 1, 2, 3 and 4 J. */
    assert_true(number(doc, "spent") == 10 + 8 + 6 + 8);
    assert_true(number(doc, "full") == 100);
    assert_true(fabs(number(doc, "saving") - 0.68) < 1e-9);
    assert_true(fabs(number(doc, "regret") - (2.1 / 0.5 - 1)) < 1e-9);
    double spent = 0;
    size_t i;
    json_t *trial;
    json_array_foreach(json_object_get(doc, "trials"), i, trial)
    {
        spent += number(trial, "cost");
        const char *is = word(trial, "state");
        assert_string_equal(is, strcmp(word(trial, "name"), "a") == 0 ? "finished" : "stopped");
        assert_true(number(trial, "cost") <= number(trial, "full_cost"));
    }
    assert_int_equal(i, 4);
    assert_true(spent == 32);
    /* All are in it: that is one race. */
    assert_true(json_is_null(json_object_get(doc, "risk")));
    assert_non_null(strstr(s.out, "All 4 curves are in it"));
    assert_non_null(strstr(s.out, "--draw N"));
    assert_null(strstr(s.out, "Risk"));
    snprintf(want, sizeof(want), "%.1f %% saved", 100 * number(doc, "saving"));
    assert_non_null(strstr(s.out, "REPLAYED"));
    assert_non_null(strstr(s.out, want));
    assert_non_null(strstr(s.out, "winner"));
    assert_non_null(strstr(s.out, "stopped, best"));
    assert_non_null(strstr(s.out, "The best would have been d"));
    assert_null(strstr(s.out, "each step costs the same"));
    spawn_done(&s);
    json_decref(doc);
    doc = DOCUMENT("--replay", path, "--first", "20%", "--eta", "2", "--draw", "4");
    assert_true(json_is_null(json_object_get(doc, "risk")));
    json_decref(doc);
    /* Of three some lack the best, and a wins those. */
    doc = DOCUMENT("--replay", path, "--first", "20%", "--eta", "2", "--draw", "3");
    const json_t *risk = json_object_get(doc, "risk");
    assert_true(number(risk, "races") == 500);
    assert_true(number(risk, "tolerance") == 0.01);
    assert_true(number(risk, "best_survived") > 0 && number(risk, "best_survived") < 1);
    assert_true(number(risk, "saving") > 0 && number(risk, "saving_min") < number(risk, "saving"));
    assert_true(number(risk, "regret_max") > 0);
    json_decref(doc);
    doc = DOCUMENT("--replay", path, "--rule", "asha", "--races", "7");
    assert_true(number(json_object_get(doc, "risk"), "races") == 7);
    json_decref(doc);
    /* By asha there are more, of the same curves; that is told from curves that are drawn. */
    setenv("COLUMNS", "800", 1);
    spawn_run(&s, home, "wattune", "race", "--replay", path, "--rule", "asha", "--races", "7");
    assert_non_null(
        strstr(s.out, "over 7 races of the same 4 curves, each in an order drawn anew"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "race", "--replay", path, "--rule", "asha", "--races", "7",
              "--draw", "3");
    assert_non_null(strstr(s.out, "over 7 races: "));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

/* As of a race that was killed: what was drawn last is not known, but its losses are. */
static void where_a_curve_lacks_its_energy_each_step_costs_the_same(void **state)
{
    (void)state;
    char path[96], file[160];
    struct spawned s;
    folder(path, sizeof(path));
    static const char *const names[] = {"c", "a"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(file, sizeof(file), "%s/%s.csv", path, names[i]);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fputs("# unfinished\nstep,loss,run_s\n1,3,0.5\n2,2,1\n", f);
        fclose(f);
        spawn_run(&s, home, "wattune", "race", "--replay", path);
        assert_int_equal(spawn_code(&s), 0);
        snprintf(file, sizeof(file), "%s.csv among them, lack energy_j", names[i]);
        assert_non_null(strstr(s.err, file));
        spawn_done(&s);
        spawn_run(&s, home, "wattune", "race", "--json", "--replay", path);
        json_t *doc = spawn_json(&s);
        assert_string_equal(json_string_value(json_object_get(doc, "cost_unit")), "steps");
        spawn_done(&s);
        json_decref(doc);
        snprintf(file, sizeof(file), "%s/%s.csv", path, names[i]);
        unlink(file);
    }
}

/* One that ended at its third step with the lowest loss of all did not win. */
static void a_training_that_failed_wins_no_replay(void **state)
{
    (void)state;
    char path[96], file[160];
    struct spawned s;
    spawn_path(path, sizeof(path), "failing");
    assert_int_equal(mkdir(path, 0700), 0);
    const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(file, sizeof(file), "%s/%s.csv", path, names[i]);
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        fprintf(f, "%sstep,loss\n", i == 1 ? "# failed\n" : "");
        for (int step = 1; step <= (i == 1 ? 3 : 20); step++)
            fprintf(f, "%d,%g\n", step, (i == 1 ? 0.1 : 2 + (double)i) + 1.0 / step);
        fclose(f);
    }
    spawn_run(&s, home, "wattune", "race", "--replay", path);
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "a survives"));
    assert_non_null(strstr(s.out, "failed"));
    spawn_done(&s);
}

static void without_energy_that_is_said(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--replay", curves, "--draw", "16", "--races", "3",
              "--seed", "4");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "each step"));
    assert_non_null(strstr(s.out, "over 3 races"));
    spawn_done(&s);
    json_t *doc = DOCUMENT("--replay", curves, "--draw", "16", "--races", "3", "--seed", "4");
    assert_string_equal(word(doc, "cost_unit"), "steps");
    assert_int_equal(json_array_size(json_object_get(doc, "trials")), 16);
    assert_true(number(doc, "full") == 16 * 120);
    json_t *again = DOCUMENT("--replay", curves, "--draw", "16", "--races", "3", "--seed", "4");
    assert_true(json_equal(doc, again));
    json_t *other = DOCUMENT("--replay", curves, "--draw", "16", "--races", "3", "--seed", "5");
    assert_false(json_equal(doc, other));
    json_decref(doc);
    json_decref(again);
    json_decref(other);
}

static void each_rule_and_its_options_count(void **state)
{
    (void)state;
    static const char *const rules[] = {"forecast", "tse", "tse-e", "tse-ema", "lcga", "asha"};
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        json_t *doc = DOCUMENT("--replay", curves, "--races", "1", "--rule", rules[i]);
        assert_string_equal(word(doc, "rule"), rules[i]);
        assert_true(number(doc, "saving") > 0.5);
        json_decref(doc);
    }
    /* What an option changes is the order of the trials: their scores. */
    static const char *const changed[][3] = {
        {"tse", "--epoch", "8"},        {"tse-e", "--epochs", "3"},
        {"tse-ema", "--decay", "0.5"},  {"lcga", "--burn-in", "1"},
        {"lcga", "--epoch-cut", "5"},   {"forecast", "--eta", "3"},
        {"forecast", "--first", "30%"}, {"asha", "--loss", "train_loss"}};
    for (size_t i = 0; i < sizeof(changed) / sizeof(*changed); i++) {
        json_t *plain = DOCUMENT("--replay", curves, "--races", "1", "--rule", changed[i][0]);
        json_t *doc = DOCUMENT("--replay", curves, "--races", "1", "--rule", changed[i][0],
                               changed[i][1], changed[i][2]);
        if (json_equal(json_object_get(plain, "trials"), json_object_get(doc, "trials")))
            fail_msg("%s changed nothing", changed[i][1]);
        json_decref(plain);
        json_decref(doc);
    }
    json_t *doc =
        DOCUMENT("--replay", curves, "--races", "40", "--draw", "16", "--tolerance", "100");
    assert_true(number(json_object_get(doc, "risk"), "near_survived") == 1);
    json_decref(doc);
}

static void what_is_wrong_is_refused_with_its_reason(void **state)
{
    (void)state;
    char empty[96], one[96], file[160];
    static const struct {
        const char *args[5];
        int code;
        const char *said;
    } cases[] = {
        {{NULL}, 2, "--replay DIR"},
        {{"--replay", curves, "train.py"}, 2, "no command run"},
        {{"--replay", curves, "--rule", "best"}, 2, "forecast, tse, tse-e"},
        {{"--replay", curves, "--eta", "1"}, 2, "a number from 1.1 to 1000"},
        {{"--replay", curves, "--first", "0"}, 2, "--first 0: a number from 0.1 to 100"},
        {{"--replay", curves, "--epochs", "1.5"}, 2, "a whole number"},
        {{"--replay", curves, "--races", "10%"}, 2, "a number from 1 to"},
        {{"--replay", curves, "--decay", "nan"}, 2, "a number from 0.001 to 1"},
        {{"--replay", curves, "--draw", "1"}, 2, "a number from 2 to 1000"},
        {{"--replay", curves, "--draw", "101"}, 2, "a race of 101 of 100 curves"},
        {{"--replay", curves, "--epoch", "0.00001"}, 2, "more than a million"},
        {{"--replay", curves, "--loss", "step"}, 2, "a column of losses"},
        {{"--replay", curves, "--loss", "accuracy"}, 1, "the header lacks accuracy"},
        {{"--replay", "/nonexistent/curves"}, 1, "/nonexistent/curves: No such file"},
        {{"--no-such-option"}, 2, "--help"},
    };
    struct spawned s;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *argv[8] = {"wattune", "race"};
        memcpy(argv + 2, cases[i].args, sizeof(cases[i].args));
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != cases[i].code || !strstr(s.err, cases[i].said))
            fail_msg("wanted %d, %s; got %d, %s", cases[i].code, cases[i].said, spawn_code(&s),
                     s.err);
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
    spawn_path(empty, sizeof(empty), "empty");
    spawn_path(one, sizeof(one), "one");
    assert_int_equal(mkdir(empty, 0700), 0);
    assert_int_equal(mkdir(one, 0700), 0);
    snprintf(file, sizeof(file), "%s/a.csv", one);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs("step,loss\n1,2\n", f);
    fclose(f);
    spawn_run(&s, home, "wattune", "race", "--replay", empty);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "no .csv file in it"));
    assert_non_null(strstr(s.err, "with a header step,loss"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "race", "--replay", one);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "one curve"));
    spawn_done(&s);
}

static void help_is_on_stdout(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "race", "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune race"));
    assert_string_equal(s.err, "");
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(text_and_document_tell_the_same),
        SPAWN_TEST(where_a_curve_lacks_its_energy_each_step_costs_the_same),
        SPAWN_TEST(a_training_that_failed_wins_no_replay),
        SPAWN_TEST(without_energy_that_is_said),
        SPAWN_TEST(each_rule_and_its_options_count),
        SPAWN_TEST(what_is_wrong_is_refused_with_its_reason),
        SPAWN_TEST(help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
