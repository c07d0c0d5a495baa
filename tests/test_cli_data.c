/* `wattune data`: rows with their sources, a user's own among them, and what is wrong with a table.
 */
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

#include "spawned.h"

static const char *const home = spawn_folder;

#define DATA(s, ...) spawn_run((s), home, "wattune", "data", __VA_ARGS__)

/* Lines are broken at the width of a window. */
static char *flat(const char *text)
{
    char *copy = strdup(text), *to = copy;
    for (const char *p = text; *p; p++) {
        char c = *p == '\n' ? ' ' : *p;
        if (c != ' ' || to == copy || to[-1] != ' ')
            *to++ = c;
    }
    *to = '\0';
    return copy;
}

static void a_list_has_the_source_of_each_number(void **state)
{
    (void)state;
    static const struct {
        const char *table, *pattern, *wants[4];
    } rows[] = {{"gpus", "a40", {"a40", "300 (D;S)", "a public table that cites", "DCGM"}},
                {"gpus", "k80", {"profile k80"}},
                {"regions", "gcp:europe-west*", {"gcp:europe-west4", "236 (cc-gcp)", "Google's"}},
                {"instances", "aws:p4d", {"aws:p4d.24xlarge", "8 (ka)", "1152 (ka)", "autoscaler"}},
                {"pue", "mllsc", {"mllsc-2020-07", "1.49", "2205.09646"}},
                {"cpus", "EPYC 7742", {"EPYC 7742", "225 (cc)", "CodeCarbon's"}}};
    struct spawned s;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        DATA(&s, "list", rows[i].table, rows[i].pattern);
        assert_int_equal(spawn_code(&s), 0);
        char *out = flat(s.out);
        for (size_t k = 0; k < 4 && rows[i].wants[k]; k++)
            if (!strstr(out, rows[i].wants[k]))
                fail_msg("no \"%s\" in\n%s", rows[i].wants[k], s.out);
        free(out);
        spawn_done(&s);
    }
    DATA(&s, "list", "gpus", "no-such-board");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "no-such-board"));
    spawn_done(&s);
}

static void a_list_is_a_document_too(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    spawn_file(path, sizeof(path), "gpus.csv", "id,tdp_w,tdp_source\na40,310,a meter\nx1,9,\n");
    DATA(&s, "list", "gpus", "--json", "--data", home);
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows"), *row;
    assert_string_equal(json_string_value(json_object_get(doc, "table")), "gpus");
    assert_int_equal(json_array_size(rows), 30);
    size_t i, replaced = 0;
    json_array_foreach(rows, i, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));
        const json_t *tdp = json_object_get(row, "tdp_w");
        assert_true(json_is_number(json_object_get(tdp, "value")));
        replaced += json_is_true(json_object_get(row, "is_replacing"));
        if (strcmp(id, "a40") == 0) {
            assert_true(json_number_value(json_object_get(tdp, "value")) == 310);
            assert_string_equal(json_string_value(json_object_get(tdp, "source")), "a meter");
            assert_string_equal(strrchr(json_string_value(json_object_get(row, "row")), '/'),
                                "/gpus.csv:2");
            assert_true(json_is_null(json_object_get(row, "mem_gb")));
        } else if (strcmp(id, "x1") != 0) {
            assert_string_equal(json_string_value(json_object_get(row, "row")), "built-in");
        }
    }
    assert_int_equal(replaced, 1);
    json_decref(doc);
    spawn_done(&s);
}

static void the_built_in_tables_pass(void **state)
{
    (void)state;
    struct spawned s;
    DATA(&s, "check", WT_DATA);
    if (spawn_code(&s) != 0)
        fail_msg("%s%s", s.out, s.err);
    assert_non_null(strstr(s.out, "0 errors, 0 warnings"));
    assert_non_null(strstr(s.out, "gpus.csv: 29 rows of gpus"));
    assert_non_null(strstr(s.out, "cpu-families.csv: not read"));
    spawn_done(&s);
    DATA(&s, "check", WT_DATA "/../data/cpus.csv", "--json");
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_integer_value(json_object_get(doc, "errors")), 0);
    json_decref(doc);
    spawn_done(&s);
}

static void all_that_is_wrong_is_told_with_file_line_and_column(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    spawn_file(path, sizeof(path), "gpus.csv",
               "id,tdp_w,tdp_source,idel_w\nx1,much,k,\nx1,300,,\n");
    DATA(&s, "check", path);
    assert_int_equal(spawn_code(&s), 1);
    static const char *const wants[] = {"gpus.csv:1: no column is called \"idel_w\"",
                                        "call it idle_w",
                                        "gpus.csv:2: tdp_w: \"much\" is no number",
                                        "gpus.csv:3: id: \"x1\" is in line 2 already",
                                        "gpus.csv:3: warning: tdp_w: \"300\" has no source",
                                        "3 errors, 1 warning"};
    for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++)
        if (!strstr(s.out, wants[i]))
            fail_msg("no \"%s\" in\n%s", wants[i], s.out);
    spawn_done(&s);
    DATA(&s, "check", "--data", home, "--json");
    assert_int_equal(spawn_code(&s), 1);
    json_t *doc = spawn_json(&s);
    assert_int_equal(json_integer_value(json_object_get(doc, "errors")), 3);
    const json_t *first = json_array_get(json_object_get(doc, "problems"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "level")), "error");
    json_decref(doc);
    spawn_done(&s);
    /* What cannot be read at all is named once, as is a file of a folder. */
    DATA(&s, "check", "/dev/null");
    assert_int_equal(spawn_code(&s), 1);
    assert_int_equal(strncmp(s.out, "/dev/null: not a regular file", 29), 0);
    spawn_done(&s);
    char folder[160];
    snprintf(folder, sizeof(folder), "%s//", home);
    DATA(&s, "check", folder);
    assert_null(strstr(s.out, "//"));
    spawn_done(&s);
    spawn_file(path, sizeof(path), "pue.csv", "id,pue,source\nhall,0.9,a meter\n");
    DATA(&s, "check", path);
    assert_non_null(strstr(s.out, "over that of its computers"));
    spawn_done(&s);
    /* A name that nobody reads. */
    spawn_file(path, sizeof(path), "gpu.csv", "id,tdp_w\nx1,300\n");
    DATA(&s, "check", home);
    assert_non_null(strstr(s.out, "gpu.csv: warning: a file of this name is not read"));
    spawn_done(&s);
    char empty[4200];
    snprintf(empty, sizeof(empty), "%s/empty", home);
    assert_int_equal(mkdir(empty, 0700), 0);
    DATA(&s, "check", empty);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.out, "/empty: no table is in this folder"));
    assert_non_null(strstr(s.out, "gpus.csv, regions.csv"));
    spawn_done(&s);
    /* Warnings alone are no failure. */
    spawn_file(path, sizeof(path), "gpus.csv", "id,tdp_w\nx1,300\n");
    DATA(&s, "check", path);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "0 errors, 1 warning"));
    spawn_done(&s);
}

static void the_folder_of_ones_own_is_the_usual_one(void **state)
{
    (void)state;
    struct spawned s;
    char path[128];
    DATA(&s, "check");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "/wattune/data is not there"));
    char folder[400];
    const char *end = strstr(s.err, " is not there"), *begin = strstr(s.err, "own: ") + 5;
    snprintf(folder, sizeof(folder), "%.*s", (int)(end - begin), begin);
    spawn_done(&s);
    assert_int_equal(strncmp(folder, home, strlen(home)), 0);
    for (char *slash = folder + strlen(home) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(folder, 0700);
        *slash = '/';
    }
    mkdir(folder, 0700);
    snprintf(path, sizeof(path), "%.110s/regions.csv", folder + strlen(home) + 1);
    char whole[300];
    spawn_file(whole, sizeof(whole), path, "id,gco2_per_kwh,source\nhall-2,41.5,our supplier\n");
    DATA(&s, "check");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "regions.csv: 1 row of regions"));
    spawn_done(&s);
    DATA(&s, "list", "regions", "hall");
    assert_non_null(strstr(s.out, "41.5 (our supplier)"));
    assert_non_null(strstr(s.out, "regions.csv:2"));
    spawn_done(&s);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[4], *want;
        int code;
    } rows[] = {{{NULL}, "list or check is wanted", 2},
                {{"lists"}, "list or check is wanted", 2},
                {{"list"}, "which table is wanted", 2},
                {{"list", "boards"}, "\"boards\" is not gpus", 2},
                {{"list", "gpus", "a", "b"}, "which table is wanted", 2},
                {{"check", "/nowhere/gpus.csv"}, "/nowhere/gpus.csv", 4},
                {{"list", "gpus", "--data", "/nowhere"}, "/nowhere", 4},
                {{"check", "--data", "/nowhere", "x.csv"}, "one of them", 2}};
    struct spawned s;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *argv[8] = {"wattune", "data"};
        for (size_t k = 0; k < 4 && rows[i].words[k]; k++)
            argv[2 + k] = rows[i].words[k];
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("%s: %d, %s", rows[i].want, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    DATA(&s, "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune data"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(a_list_has_the_source_of_each_number),
        SPAWN_TEST(a_list_is_a_document_too),
        SPAWN_TEST(the_built_in_tables_pass),
        SPAWN_TEST(all_that_is_wrong_is_told_with_file_line_and_column),
        SPAWN_TEST(the_folder_of_ones_own_is_the_usual_one),
        SPAWN_TEST(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
