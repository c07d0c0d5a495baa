/* catalogue: the built-in tables are whole and every number of theirs has a source; a user's own
 * rows beside them or in their place; what is wrong with a table, all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue/sheet.h"
#include "spawned.h"

static struct wt_catalogue *catalogue;

static void open_own(void)
{
    struct wt_error err = {0};
    if (wt_catalogue_open(&catalogue, spawn_folder, &err) < 0)
        fail_msg("%s", err.text);
}

static void put(const char *name, const char *text)
{
    char path[96];
    spawn_file(path, sizeof(path), name, text);
}

/* ---- the built-in tables ---- */

static void every_number_that_is_built_in_has_a_source(void **state)
{
    (void)state;
    static const char *const paths[] = {WT_DATA};
    struct wt_data_check check;
    struct wt_error err = {0};
    assert_int_equal(wt_data_check(&check, paths, 1, &err), 0);
    for (size_t i = 0; i < check.problem_count; i++)
        fail_msg("%s: %s: %s", check.problems[i].place, check.problems[i].column,
                 check.problems[i].text);
    assert_int_equal(check.errors + check.warnings, 0);
    size_t rows[WT_DATA_KINDS] = {0};
    for (size_t i = 0; i < check.file_count; i++)
        if (check.files[i].is_known)
            rows[check.files[i].kind] = check.files[i].rows;
    assert_int_equal(rows[WT_DATA_GPUS], 29);
    assert_int_equal(rows[WT_DATA_REGIONS], 253);
    assert_true(rows[WT_DATA_INSTANCES] > 100 && rows[WT_DATA_PUE] >= 5);
    assert_true(rows[WT_DATA_CPUS] > 4800);
    wt_data_check_done(&check);
}

static void the_gpus_that_are_promised_are_there(void **state)
{
    (void)state;
    static const char *const ids[] = {
        "k80",   "p100-pcie", "p100-sxm2", "v100-pcie",     "v100-sxm2",
        "t4",    "a10",       "a40",       "a100-sxm-40gb", "a100-sxm-80gb",
        "l4",    "l40s",      "h100-sxm",  "h100-pcie",     "h200-sxm",
        "gh200", "b200-sxm",  "mi250x",    "mi300x"};
    struct wt_gpu gpu;
    assert_int_equal(wt_catalogue_open(&catalogue, NULL, NULL), 0);
    for (size_t i = 0; i < WT_COUNTOF(ids); i++) {
        assert_int_equal(wt_gpu_find(catalogue, ids[i], &gpu, NULL), 0);
        assert_string_equal(gpu.id, ids[i]);
        assert_string_equal(gpu.origin, "");
    }
}

static void every_instance_has_gpus_of_the_catalogue(void **state)
{
    (void)state;
    static const char *const clouds[] = {"aws", "gcp", "azure", "lambda", "coreweave"};
    struct wt_instance instance;
    struct wt_gpu gpu;
    size_t of_cloud[WT_COUNTOF(clouds)] = {0}, count = 0;
    assert_int_equal(wt_catalogue_open(&catalogue, NULL, NULL), 0);
    for (; wt_instance_at(catalogue, count, &instance); count++) {
        assert_int_equal(wt_gpu_find(catalogue, instance.gpu, &gpu, NULL), 0);
        assert_string_equal(gpu.id, instance.gpu);
        assert_true(instance.gpus >= 1 && instance.gpus <= 16);
        assert_true(instance.vcpus >= 4 && instance.memory_gib >= 16);
        for (size_t i = 0; i < WT_COUNTOF(clouds); i++)
            of_cloud[i] += wt_instance_matches(&instance, clouds[i]);
    }
    size_t sum = 0;
    for (size_t i = 0; i < WT_COUNTOF(clouds); i++) {
        assert_true(of_cloud[i] >= 5);
        sum += of_cloud[i];
    }
    assert_int_equal(sum, count);
    assert_int_equal(wt_instance_find(catalogue, &instance, "AWS:p4d.24xlarge", NULL), 0);
    assert_string_equal(instance.gpu, "a100-sxm-40gb");
    assert_true(instance.gpus == 8 && instance.vcpus == 96 && instance.memory_gib == 1152);
    struct wt_error err = {0};
    assert_int_equal(wt_instance_find(catalogue, &instance, "p4d", &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "aws:p4d.24xlarge, aws:p4de.24xlarge"));
}

static void patterns_are_of_a_cloud_a_gpu_or_an_id(void **state)
{
    (void)state;
    const struct wt_instance a3 = {.id = "gcp:a3-highgpu-8g", .gpu = "h100-sxm"};
    static const struct {
        const char *patterns;
        bool want;
    } rows[] = {
        {"gcp", true},          {"GCP", true},         {"aws", false},  {"gcp:a3*", true},
        {"gcp:a2*", false},     {"h100-sxm", true},    {"h100*", true}, {"aws,gcp", true},
        {"aws,azure", false},   {"*", true},           {"", false},     {"gcp:a3-highgpu-8g", true},
        {"gcp:a3-high", false}, {"a3-highgpu", false}, {"*8g", true}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (wt_instance_matches(&a3, rows[i].patterns) != rows[i].want)
            fail_msg("\"%s\"", rows[i].patterns);
}

static void an_examples_pue_is_found_with_its_source(void **state)
{
    (void)state;
    struct wt_pue pue;
    struct wt_error err = {0};
    char words[400];
    assert_int_equal(wt_catalogue_open(&catalogue, NULL, NULL), 0);
    assert_int_equal(wt_pue_find(catalogue, &pue, "mllsc-2020-07", NULL), 0);
    assert_true(pue.pue == 1.49);
    assert_non_null(strstr(wt_pue_words(&pue, words, sizeof(words)), "2205.09646"));
    assert_non_null(strstr(words, ", 2020-07"));
    assert_int_equal(wt_pue_find(catalogue, &pue, "nowhere", &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "mllsc-2020-01"));
}

/* ---- a user's own ---- */

static void a_row_of_the_users_takes_the_place_of_a_built_in_one(void **state)
{
    (void)state;
    struct wt_gpu gpu, at;
    struct wt_region region;
    struct wt_error err = {0};
    char words[400];
    size_t count = 0, seen = 0;
    /* Columns in any order, few of them; a mark, CRLF, quotes and comments as editors leave them.
     */
    put("gpus.csv", "\xef\xbb\xbf# boards of ours\r\ntdp_w,id,tdp_source\r\n\r\n"
                    "320,\"A40\",a meter\r\n900,x1,assumed\r\n");
    put("regions.csv",
        "id,gco2_per_kwh,source,year\nhall-2,41.5,our supplier,2026-06\nhall-3,9,,\n");
    open_own();
    assert_int_equal(wt_gpu_find(catalogue, "a40", &gpu, NULL), 0);
    assert_true(gpu.tdp_w == 320 && isnan(gpu.memory_gb)); /* the row whole, and not its cells */
    assert_non_null(strstr(gpu.origin, "/gpus.csv:4"));
    assert_string_equal(gpu.name, "A40");
    assert_int_equal(wt_gpu_find(catalogue, "x1", &gpu, NULL), 0);
    assert_true(gpu.tdp_w == 900);
    for (; wt_gpu_at(catalogue, count, &at); count++)
        seen += strcasecmp(at.id, "a40") == 0;
    assert_int_equal(count, 30);
    assert_int_equal(seen, 1);
    assert_int_equal(wt_gpu_find(catalogue, "a41", &gpu, &err), WT_E_NOTFOUND);
    assert_int_equal(wt_region_find(catalogue, &region, "HALL-2", NULL), 0);
    assert_true(region.carbon_g == 41.5 && !region.is_catalogue);
    wt_region_words(&region, words, sizeof(words));
    assert_non_null(strstr(words, "hall-2, our supplier, 2026-06 ("));
    assert_non_null(strstr(words, "/regions.csv:2)"));
    assert_int_equal(wt_region_find(catalogue, &region, "hall-3", NULL), 0);
    assert_non_null(strstr(region.source, "names no source"));
    assert_int_equal(wt_region_find(catalogue, &region, "DEU", NULL), 0);
    assert_true(region.is_catalogue);
}

static void an_instance_may_have_a_gpu_of_the_users(void **state)
{
    (void)state;
    struct wt_instance instance;
    struct wt_error err = {0};
    put("instances.csv", "id,gpu,gpus\nlab:one,x1,4\n");
    assert_int_equal(wt_catalogue_open(&catalogue, spawn_folder, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "/instances.csv:2: gpu: no GPU has the id \"x1\""));
    assert_non_null(strstr(err.fix, "wattune data check"));
    put("gpus.csv", "id,tdp_w\nx1,900\n");
    open_own();
    assert_int_equal(wt_instance_find(catalogue, &instance, "lab:one", NULL), 0);
    assert_true(instance.gpus == 4 && isnan(instance.vcpus));
}

static void a_table_that_is_wrong_is_refused_by_file_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *want;
    } rows[] = {
        {"gpus.csv", "id,tdp_w\nx1,300 W\n", "/gpus.csv:2: tdp_w: \"300 W\" is no number"},
        {"gpus.csv", "id,tdp_w\n\nx1,-3\n", "/gpus.csv:3: tdp_w: -3 is not from 1 to 5000"},
        {"gpus.csv", "tdp_w\n3\n", "/gpus.csv:1: id: there is no such column"},
        {"gpus.csv", "id,tpd_w\nx1,3\n", "/gpus.csv:1: no column is called \"tpd_w\""},
        {"gpus.csv", "id;tdp_w\nx1;3\n", "/gpus.csv:1: the columns are parted by semicolons"},
        {"gpus.csv", "id,tdp_w\nx1,3\nX1,4\n", "/gpus.csv:3: id: \"X1\" is in line 2 already"},
        {"gpus.csv", "id,limit_min_w,limit_max_w\nx1,300,100\n",
         "/gpus.csv:2: limit_min_w: 300 is more than limit_max_w, which is 100"},
        {"gpus.csv", "id,idle_w,tdp_w\nx1,300,100\n", "idle_w: 300 is more than tdp_w"},
        {"gpus.csv", "id,tdp_w\nx1\n", "/gpus.csv:2: 1 cells, where the first line names 2"},
        {"gpus.csv", "id,tdp_w\nx1,3,5\n", "/gpus.csv:2: 3 cells, where the first line names 2"},
        {"gpus.csv", "id,name\nx1,\"a, b\"\n", "/gpus.csv:2: a cell holds a comma"},
        {"gpus.csv", "id,name\nx1,a \"b\"\n", "/gpus.csv:2: a cell holds a quote"},
        {"gpus.csv", "id,name\nx1,\"a\n", "/gpus.csv:2: a quote is opened and not closed"},
        {"gpus.csv", "id,name\nx 1,a\n", "/gpus.csv:2: id: \"x 1\" is no id"},
        {"gpus.csv", "id,name\nx:1,a\n", "/gpus.csv:2: id: \"x:1\" holds a colon"},
        {"gpus.csv", "id,name\nx1,\xff\xfe\n", "/gpus.csv:2: bytes that are no UTF-8"},
        {"gpus.csv", "id,id\nx1,x2\n", "/gpus.csv:1: id: two columns have this name"},
        {"gpus.csv", "id,name\n,a\n", "/gpus.csv:2: id: it is empty"},
        {"gpus.csv", "id,profile\nx1,a4000\n", "/gpus.csv:2: profile: the emulator has no profile"},
        {"gpus.csv", "", "/gpus.csv: it is empty"},
        {"regions.csv", "id,country\nx,Germany\n", "/regions.csv:2: country: "},
        {"regions.csv", "id,year\nx,June\n", "/regions.csv:2: year: \"June\" is no year or date"},
        {"pue.csv", "id,pue\nx,0.9\n", "/pue.csv:2: pue: 0.9 is not from 1 to 5"},
        {"instances.csv", "id,gpu,gpus\nx,a40,1.5\n", "/instances.csv:2: gpus: 1.5 is no whole"},
        {"instances.csv", "id,gpu\nx,\n", "/instances.csv:2: gpu: no GPU is named"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        char path[96];
        put(rows[i].name, rows[i].text);
        if (wt_catalogue_open(&catalogue, spawn_folder, &err) != WT_E_FORMAT ||
            !strstr(err.text, rows[i].want))
            fail_msg("%s: %s", rows[i].want, err.text);
        assert_true(err.fix[0]);
        remove(spawn_path(path, sizeof(path), rows[i].name));
    }
    struct wt_error err = {0};
    assert_int_equal(wt_catalogue_open(&catalogue, "/nowhere/at/all", &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
    catalogue = NULL;
}

/* ---- a check ---- */

static const struct wt_data_problem *find_problem(const struct wt_data_check *check,
                                                  const char *place, const char *column)
{
    for (size_t i = 0; i < check->problem_count; i++) {
        const char *slash = strrchr(check->problems[i].place, '/');
        if (slash && strcmp(slash + 1, place) == 0 &&
            strcmp(check->problems[i].column, column) == 0)
            return &check->problems[i];
    }
    fail_msg("nothing is said of %s, %s", place, column);
    return NULL;
}

static void a_check_tells_of_all_problems_and_not_of_the_first(void **state)
{
    (void)state;
    struct wt_data_check check;
    struct wt_error err = {0};
    put("gpus.csv", "id,tdp_w,tdp_source,remark\nx1,300 W,k,hello\nx2,250,,\nx3,0,k,\nx1,5,k,\n");
    put("instances.csv", "id,gpu,gpus\nlab:1,x2,2\nlab:2,x9,2\n");
    put("others.csv", "id,gco2_per_kwh,year\nx,-1,\ny,1,MMXX\n");
    put("what.csv", "a,b\n1,2\n");
    char path[4][96];
    const char *paths[4];
    static const char *const names[] = {"instances.csv", "gpus.csv", "others.csv", "what.csv"};
    for (size_t i = 0; i < 4; i++)
        paths[i] = spawn_path(path[i], sizeof(path[i]), names[i]);
    assert_int_equal(wt_data_check(&check, paths, 4, &err), 0);
    assert_int_equal(check.file_count, 4);
    assert_false(find_problem(&check, "gpus.csv:2", "tdp_w")->is_warning);
    assert_true(find_problem(&check, "gpus.csv:1", "")->is_warning); /* a column too many */
    const struct wt_data_problem *p = find_problem(&check, "gpus.csv:3", "tdp_w");
    assert_true(p->is_warning && strstr(p->text, "no source"));
    assert_non_null(strstr(p->fix, "assumed"));
    find_problem(&check, "gpus.csv:4", "tdp_w");
    find_problem(&check, "gpus.csv:5", "id");
    find_problem(&check, "instances.csv:3", "gpu"); /* and not line 2: x2 is in the other file */
    find_problem(&check, "others.csv:2", "gco2_per_kwh");
    find_problem(&check, "others.csv:3", "year");
    find_problem(&check, "what.csv", "");
    assert_int_equal(check.files[2].kind, WT_DATA_REGIONS); /* by its columns */
    assert_false(check.files[3].is_known);
    assert_int_equal(check.errors, 7);
    assert_int_equal(check.problem_count, check.errors + check.warnings);
    char *text = wt_data_check_to_json(&check);
    json_t *doc = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(doc, "problems")), check.problem_count);
    json_decref(doc);
    free(text);
    wt_data_check_done(&check);
    assert_int_equal(wt_data_check(&check, (const char *const[]){"/nowhere.csv"}, 1, &err),
                     WT_E_NOTFOUND);
}

static void problems_of_a_file_are_in_the_order_of_its_lines(void **state)
{
    (void)state;
    struct wt_data_check check;
    put("pue.csv", "id,pue\na,9\nb,1.1\na,8\nb,7\n");
    const char *folder = spawn_folder;
    assert_int_equal(wt_data_check(&check, &folder, 1, NULL), 0);
    unsigned long before = 0;
    for (size_t i = 0; i < check.problem_count; i++) {
        unsigned long line = strtoul(strrchr(check.problems[i].place, ':') + 1, NULL, 10);
        assert_true(line >= before);
        before = line;
    }
    assert_int_equal(before, 5);
    wt_data_check_done(&check);
}

static void a_thousand_problems_are_kept_and_all_are_counted(void **state)
{
    (void)state;
    struct wt_data_check check;
    char *text = calloc(1, 40000), path[96];
    strcpy(text, "id,pue\n");
    for (size_t i = 0, used = strlen(text); i < 1500; i++)
        used += (size_t)sprintf(text + used, "x%zu,0\n", i);
    const char *paths[] = {spawn_file(path, sizeof(path), "pue.csv", text)};
    free(text);
    assert_int_equal(wt_data_check(&check, paths, 1, NULL), 0);
    assert_int_equal(check.problem_count, 1000);
    assert_true(check.errors + check.warnings >= 1500);
    wt_data_check_done(&check);
}

static int teardown(void **state)
{
    wt_catalogue_close(catalogue);
    catalogue = NULL;
    return spawn_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, spawn_setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_number_that_is_built_in_has_a_source),
        TEST(the_gpus_that_are_promised_are_there),
        TEST(every_instance_has_gpus_of_the_catalogue),
        TEST(patterns_are_of_a_cloud_a_gpu_or_an_id),
        TEST(an_examples_pue_is_found_with_its_source),
        TEST(a_row_of_the_users_takes_the_place_of_a_built_in_one),
        TEST(an_instance_may_have_a_gpu_of_the_users),
        TEST(a_table_that_is_wrong_is_refused_by_file_line_and_column),
        TEST(a_check_tells_of_all_problems_and_not_of_the_first),
        TEST(problems_of_a_file_are_in_the_order_of_its_lines),
        TEST(a_thousand_problems_are_kept_and_all_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
