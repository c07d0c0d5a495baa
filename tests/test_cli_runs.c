/* `wattune runs` and `wattune report`: what is stored can be listed, shown, compared and written as
 * a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runs.h"
#include "spawned.h"

static const char *const home = spawn_folder;

/* A sweep of three settings, then a run of its own with a tag. */
static int setup(void **state)
{
    static const struct runs_spec v100[] = {
        {.cap_w = 100, .wall_s = 52.6, .power_w = 99, .bound = 0.012},
        {.cap_w = 150, .wall_s = 43.4, .power_w = 149, .bound = 0.012},
        {.cap_w = 250, .wall_s = 40.0, .power_w = 200, .bound = 0.012},
    };
    char dir[80];
    struct wt_store *store = NULL;
    spawn_setup(state);
    wt_text(dir, sizeof(dir), "%s/wattune", home);
    if (wt_store_open(&store, dir, NULL) < 0)
        return -1;
    for (unsigned i = 0; i < 7; i++) {
        struct runs_spec spec = v100[i % 3];
        spec.repeat = i / 3;
        struct wt_run run = runs_make(&spec);
        run.start_unix_ns = INT64_C(1790000000000000000) + i * INT64_C(60000000000);
        run.is_reference = i % 3 == 2;
        if (i == 6) {
            wt_text(run.tag, sizeof(run.tag), "alone");
            run.group[0] = run.label[0] = '\0';
        }
        if (wt_store_begin(store, &run, NULL) < 0 || wt_store_end(store, &run, NULL) < 0)
            return -1;
        wt_run_done(&run);
    }
    wt_store_close(store);
    return 0;
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void runs_are_listed_with_a_limit(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "runs");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(lines(s.out), 8);
    assert_non_null(strstr(s.out, "emulated"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--limit", "2");
    assert_int_equal(lines(s.out), 3);
    assert_non_null(strstr(s.err, "--limit 0"));
    spawn_done(&s);
}

static void json_lists_what_the_options_choose(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value;
        size_t want;
    } rows[] = {
        {"--tag", "alone", 1},  {"--tag", "nobody", 0}, {"--sweep", "20260921-133200-000beef", 6},
        {"--limit", "0", 7},    {"--limit", "3", 3},    {"--sweep", "last", 6},
        {"--sweep", "2026", 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "runs", "--json", rows[i].option, rows[i].value);
        assert_int_equal(spawn_code(&s), 0);
        json_t *doc = spawn_json(&s);
        assert_int_equal(json_array_size(json_object_get(doc, "runs")), rows[i].want);
        json_decref(doc);
        spawn_done(&s);
    }
}

static void runs_are_forgotten_one_by_one_and_by_sweep(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *says;
        int want;
        size_t left;
    } rows[] = {
        {NULL, NULL, "which? A run's id, --tag NAME or --sweep ID", 2, 7},
        {"--limit", "1", "not with --limit", 2, 7},
        {"--tag", "nobody", "no stored run has this tag", 4, 7},
        {"2026", NULL, "several runs begin with", 2, 7},
        {"last", NULL, "forgotten: run 2026", 0, 6},
        {"--tag", "alone", "no stored run has this tag", 4, 6},
        {"--sweep", "last", "forgotten: 6 runs", 0, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "runs", "--forget", rows[i].a, rows[i].b);
        assert_int_equal(spawn_code(&s), rows[i].want);
        if (!strstr(rows[i].want ? s.err : s.out, rows[i].says))
            fail_msg("no \"%s\" in: %s%s", rows[i].says, s.out, s.err);
        spawn_done(&s);
        spawn_run(&s, home, "wattune", "runs", "--json");
        json_t *doc = spawn_json(&s);
        assert_int_equal(json_array_size(json_object_get(doc, "runs")), rows[i].left);
        json_decref(doc);
        spawn_done(&s);
    }
}

static void without_a_sweep_there_is_no_last_one(void **state)
{
    (void)state;
    char empty[64];
    struct spawned s;
    spawn_home(empty, sizeof(empty));
    spawn_run(&s, empty, "wattune", "runs", "--sweep", "last");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "--sweep last: no sweep is stored"));
    spawn_done(&s);
    spawn_home_done(empty);
}

static void one_run_is_shown_in_detail(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "runs", "last");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "EMULATED v100-pcie-32gb"));
    assert_non_null(strstr(s.out, "own cost"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "--json", "last");
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "trace")), 1);
    json_decref(doc);
    spawn_done(&s);
}

static void wrong_usage_and_unknown_runs_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *c;
        int want;
        const char *part;
    } rows[] = {
        {"runs", "no-such-run", NULL, 4, "no-such-run"},
        {"runs", "2026", NULL, 2, "several runs begin with"},
        {"runs", "--limit", "many", 2, "--limit many"},
        {"runs", "--nonsense", NULL, 2, "--help"},
        {"runs", "a", "b", 2, "\"b\" is too much"},
        {"report", "no-such-run", NULL, 4, "no-such-run"},
        {"report", "last", "no-such-run", 4, "no-such-run"},
        {"report", "last", "last", 2, "is there twice"},
        {"report", "last", "", 2, "empty id"},
        {"report", "last", "last,", 2, "\"last,\": ids with commas between are wanted"},
        {"report", "last", "20260921-133200-000beef", 2, "is a sweep: name runs of it"},
        {"report", "a,b", NULL, 2, "with which other is it to be compared"},
        {"report", "", NULL, 2, "empty id"},
        {"report", "--nonsense", NULL, 2, "--help"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", rows[i].a, rows[i].b, rows[i].c);
        assert_int_equal(spawn_code(&s), rows[i].want);
        if (!strstr(s.err, rows[i].part))
            fail_msg("no \"%s\" in: %s", rows[i].part, s.err);
        spawn_done(&s);
    }
}

static void a_page_is_written_for_a_run_and_a_sweep(void **state)
{
    (void)state;
    static const struct {
        const char *what, *option, *part;
    } rows[] = {
        {"last", "-o", "id=\"power-0\""},
        {"20260921-133200-000beef", "--output", "id=\"relative\""},
    };
    char path[100];
    wt_text(path, sizeof(path), "%s/page.html", home);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "report", rows[i].what, rows[i].option, path);
        assert_int_equal(spawn_code(&s), 0);
        assert_string_equal(s.out, "");
        assert_non_null(strstr(s.err, path));
        spawn_done(&s);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        char *text = NULL;
        size_t size = 0;
        assert_true(getdelim(&text, &size, '\0', file) > 100000);
        fclose(file);
        assert_non_null(strstr(text, rows[i].part));
        assert_non_null(strstr(text, "Emulated"));
        free(text);
    }
}

static void a_page_goes_to_stdout_by_its_usual_name(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "report", "last", "-o", "-");
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(strncmp(s.out, "<!doctype html>", 15), 0);
    assert_string_equal(s.err, "");
    assert_int_equal(access("-", F_OK), -1);
    spawn_done(&s);
    /* Where something else is on stdout already, it would be neither. */
    spawn_run(&s, home, "wattune", "report", "last", "--json", "-o", "-");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "-o -: stdout is for the JSON"));
    assert_string_equal(s.out, "");
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "report", "a", "b", "-o", "-");
    assert_int_equal(spawn_code(&s), 2);
    spawn_done(&s);
}

static void a_report_as_json_writes_no_file(void **state)
{
    (void)state;
    struct spawned s;
    struct stat st;
    spawn_run(&s, home, "wattune", "report", "--json", "20260921-133200-000beef");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "rows")), 3);
    assert_int_equal(json_array_size(json_object_get(doc, "runs")), 6);
    assert_string_equal(json_string_value(json_object_get(doc, "reference")), "250 W");
    json_decref(doc);
    assert_null(strstr(s.err, "report:"));
    assert_int_equal(stat("wattune-report.html", &st), -1);
    spawn_done(&s);
}

static void a_report_that_cannot_be_written_is_no_missing_run(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "report", "-o", "/nonexistent/x.html");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "/nonexistent/x.html"));
    spawn_done(&s);
}

static void more_than_two_sides_are_too_much(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "report", "a", "b", "c");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "\"c\" is too much"));
    spawn_done(&s);
}

/* Of the sweep: two runs at 100 W, and two at 250 W. */
static const char side_a[] = "20260921-133300-2500a1b,20260921-133301-2500a1b";
static const char side_b[] = "20260921-133300-1000a1b,20260921-133301-1000a1b";

static void two_groups_of_runs_are_compared(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "report", side_a, side_b);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "EMULATED v100-pcie-32gb"));
    assert_non_null(strstr(s.out, "B, 2 runs"));
    assert_non_null(strstr(s.out, "energy per token"));
    assert_non_null(strstr(s.out, "the difference is real"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "report", "--json", side_a, side_b);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *energy = json_object_get(doc, "energy_j");
    assert_string_equal(json_string_value(json_object_get(energy, "verdict")), "lower");
    assert_true(json_is_true(json_object_get(energy, "is_real")));
    json_t *b = json_object_get(doc, "b");
    assert_int_equal(json_array_size(json_object_get(b, "runs")), 2);
    json_decref(doc);
    spawn_done(&s);
}

static void a_comparison_is_a_page_too(void **state)
{
    (void)state;
    char path[100];
    wt_text(path, sizeof(path), "%s/pair.html", home);
    struct spawned s;
    spawn_run(&s, home, "wattune", "report", "-o", path, side_a, side_b);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, path));
    spawn_done(&s);
    char *text = spawn_read("pair.html");
    assert_non_null(strstr(text, "the difference is real"));
    assert_non_null(strstr(text, "20260921-133301-1000a1b"));
    assert_non_null(strstr(text, "Emulated"));
    free(text);
}

static void help_goes_to_stdout(void **state)
{
    (void)state;
    static const char *const commands[] = {"runs", "report"};
    for (size_t i = 0; i < WT_COUNTOF(commands); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", commands[i], "--help");
        assert_int_equal(spawn_code(&s), 0);
        assert_non_null(strstr(s.out, "--json"));
        assert_string_equal(s.err, "");
        spawn_done(&s);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, spawn_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(runs_are_listed_with_a_limit),
        TEST(json_lists_what_the_options_choose),
        TEST(runs_are_forgotten_one_by_one_and_by_sweep),
        TEST(without_a_sweep_there_is_no_last_one),
        TEST(one_run_is_shown_in_detail),
        TEST(wrong_usage_and_unknown_runs_are_told_apart),
        TEST(a_page_is_written_for_a_run_and_a_sweep),
        TEST(a_page_goes_to_stdout_by_its_usual_name),
        TEST(a_report_as_json_writes_no_file),
        TEST(more_than_two_sides_are_too_much),
        TEST(two_groups_of_runs_are_compared),
        TEST(a_comparison_is_a_page_too),
        TEST(help_goes_to_stdout),
        TEST(a_report_that_cannot_be_written_is_no_missing_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
