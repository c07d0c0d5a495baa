/* `wattune compare`: the table, offers from a file, who is best, the plot, and mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spawned.h"

static const char *const home = spawn_folder;

#define COMPARE(s, ...) spawn_run((s), home, "wattune", "compare", __VA_ARGS__)

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(json_object_get(row, key), "value"));
}

static bool is(const json_t *row, const char *key)
{
    return json_is_true(json_object_get(row, key));
}

static void the_whole_catalogue_is_compared_and_the_best_are_named(void **state)
{
    (void)state;
    struct spawned s;
    static const char *const keys[] = {"time_s", "energy_j", "carbon_g", "cost"},
                             *const best[] = {"is_fastest", "is_thriftiest", "is_cleanest",
                                              "is_cheapest"};
    COMPARE(&s, "train", "bert-base", "--batch", "64", "--seq", "128", "--tokens", "1G", "--pue",
            "1.2", "--carbon-intensity", "350", "--price-kwh", "0.3", "--host-watts", "200",
            "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows"), *row;
    assert_int_equal(json_array_size(rows), 25);
    assert_int_equal(json_integer_value(json_object_get(doc, "tokens")), 1000000000);
    assert_string_equal(json_string_value(json_object_get(doc, "provenance")), "modeled");
    double before = 0;
    size_t i, k;
    json_array_foreach(rows, i, row)
    { /* by energy */
        assert_true(number_of(row, "energy_j") >= before);
        before = number_of(row, "energy_j");
    }
    for (size_t m = 0; m < 4; m++) {
        size_t named = 0;
        json_array_foreach(rows, i, row)
        {
            const json_t *other;
            named += is(row, best[m]);
            json_array_foreach(rows, k, other) assert_true(
                !is(row, best[m]) || number_of(row, keys[m]) <= number_of(other, keys[m]));
        }
        assert_int_equal(named, 1);
    }
    /* Of the Pareto set none is beaten by any; and each other is. */
    json_array_foreach(rows, i, row)
    {
        bool is_beaten = false;
        const json_t *other;
        json_array_foreach(rows, k, other)
        {
            bool is_better = false, is_worse = false;
            for (size_t m = 0; m < 4; m++) {
                is_better |= number_of(other, keys[m]) < number_of(row, keys[m]);
                is_worse |= number_of(other, keys[m]) > number_of(row, keys[m]);
            }
            is_beaten |= is_better && !is_worse;
        }
        assert_int_equal(is(row, "is_pareto"), !is_beaten);
    }
    json_decref(doc);
    spawn_done(&s);
}

static void offers_bring_their_price_and_place(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    spawn_file(path, sizeof(path), "offers.csv",
               "# prices of today\nname,region,gpu,gpus,price_per_hour,gco2_per_kwh\n"
               "north,SE,h100-sxm,8,40,20\nsouth,PL,NVIDIA H100 80GB HBM3,8,30,700\n"
               "old,,v100-pcie,,15,\n");
    COMPARE(&s, "train", "bert-large", "--offers", path, "--tokens", "10G", "--sort", "cost",
            "--json", "--gap", "0s", "--dtype", "bf16", "--set", "power=250");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows");
    const json_t *south = json_array_get(rows, 0), *north = json_array_get(rows, 1);
    assert_string_equal(json_string_value(json_object_get(south, "name")), "south");
    assert_string_equal(json_string_value(json_object_get(north, "region")), "SE");
    assert_true(is(south, "is_cheapest") && is(north, "is_cleanest"));
    assert_true(fabs(number_of(north, "cost") / number_of(south, "cost") - 40.0 / 30) < 1e-9);
    assert_true(fabs(number_of(south, "carbon_g") / number_of(north, "carbon_g") - 35) < 1e-6);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 2), "carbon_g")));
    json_decref(doc);
    spawn_done(&s);
}

static void a_table_and_a_plot_are_for_people(void **state)
{
    (void)state;
    struct spawned s;
    char plot[96];
    spawn_path(plot, sizeof(plot), "p.svg");
    COMPARE(&s, "generate", "llama-3.1-70b", "--gpu", "h100-sxm:4,b200-sxm:2,a40,mi300x", "--new",
            "64", "--plot", plot);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "PREDICTED 512 tokens"));
    assert_non_null(strstr(s.out, "h100-sxm x 4"));
    assert_non_null(strstr(s.out, "does not fit")); /* the A40 */
    assert_non_null(strstr(s.out, "fastest"));
    char *svg = spawn_read("p.svg");
    assert_int_equal(strncmp(svg, "<svg ", 5), 0);
    assert_non_null(strstr(svg, "b200-sxm x 2</text>"));
    assert_null(strstr(svg, "a40"));
    assert_non_null(strstr(svg, "</svg>\n"));
    free(svg);
    spawn_done(&s);
    /* What cannot be done on one is said, and the rest is compared. */
    COMPARE(&s, "train", "bert-base", "--gpu", "a40,t4", "--set", "power=200");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "not predicted: t4: "));
    spawn_done(&s);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    static const struct {
        const char *text, *want;
    } files[] = {{"name,price_per_hour\na,1\n", "offers.csv:1: no column is called gpu"},
                 {"gpu\n", "no machine is in it"},
                 {"gpu,gpus\na40,0\n", "offers.csv:2: gpus \"0\""},
                 {"gpu,price_per_hour\n\na40,x\n", "offers.csv:3: price_per_hour \"x\""},
                 {"gpu,pue\na40,0.5\n", "offers.csv:2: pue \"0.5\""},
                 {"gpu\na41\n", "offers.csv:2: no GPU"}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        spawn_file(path, sizeof(path), "offers.csv", files[i].text);
        COMPARE(&s, "train", "bert-base", "--offers", path);
        if (spawn_code(&s) == 0 || !strstr(s.err, files[i].want))
            fail_msg("%s: %d, %s", files[i].want, spawn_code(&s), s.err);
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
    static const struct {
        const char *option, *value, *want;
        int code;
    } rows[] = {{"--sort", "name", "--sort name", 2},
                {"--gpu", "a41", "a41", 4},
                {"--gpu", "", "no GPU", 4},
                {"--offers", "/nowhere/o.csv", "/nowhere/o.csv", 4},
                {"--dtype", "int8", "training is counted", 2},
                {"--plot", "/nowhere/p.svg", "/nowhere/p.svg", 4}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        COMPARE(&s, "train", "bert-base", rows[i].option, rows[i].value);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("%s %s: %d, %s", rows[i].option, rows[i].value, spawn_code(&s), s.err);
        spawn_done(&s);
    }
    COMPARE(&s, "train", "bert-base", "--gpu", "a40", "--offers", path);
    assert_int_equal(spawn_code(&s), 2);
    spawn_done(&s);
    COMPARE(&s, "--help");
    assert_non_null(strstr(s.out, "usage: wattune compare"));
    spawn_done(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, spawn_setup, spawn_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_whole_catalogue_is_compared_and_the_best_are_named),
        TEST(offers_bring_their_price_and_place),
        TEST(a_table_and_a_plot_are_for_people),
        TEST(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
