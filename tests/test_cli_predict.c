/* `wattune predict`: what it prints, its document, a calibration by a stored run, and what it says
 * to mistakes. */
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

#define PREDICT(s, ...) spawn_run((s), home, "wattune", "predict", __VA_ARGS__)

static double number_at(const json_t *doc, const char *key, const char *inner)
{
    const json_t *value = json_object_get(doc, key);
    value = inner ? json_object_get(value, inner) : value;
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void it_says_time_energy_limits_and_what_it_rests_on(void **state)
{
    (void)state;
    static const char *const wants[] = {"PREDICTED",
                                        "nothing was measured",
                                        "a pass of prefill",
                                        "a pass of decode",
                                        "1,000,000 tokens",
                                        "limited by memory",
                                        "the link between devices",
                                        "of the device's 80 GB",
                                        "4 x h100-sxm at 700 W each",
                                        "kWh [",
                                        "kg CO2e [",
                                        "cost",
                                        "profile h100-sxm-80gb"};
    struct spawned s;
    PREDICT(&s, "generate", "llama-3.1-70b", "--gpu", "h100-sxm:4", "--batch", "32", "--seq", "256",
            "--new", "512", "--tokens", "1M", "--pue", "1.2", "--carbon-intensity", "350",
            "--price-hour", "10");
    assert_int_equal(spawn_code(&s), 0);
    for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++)
        if (!strstr(s.out, wants[i]))
            fail_msg("no \"%s\" in\n%s", wants[i], s.out);
    assert_string_equal(s.err, "");
    spawn_done(&s);
    PREDICT(&s, "train", "llama-3.1-70b", "--gpu", "a100-sxm-80gb:2");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "IT DOES NOT FIT"));
    assert_non_null(strstr(s.out, "--calibrate"));
    assert_null(strstr(s.out, "CO2e"));
    spawn_done(&s);
}

static void a_limit_makes_it_slower_and_thriftier(void **state)
{
    (void)state;
    struct spawned s;
    double time[2], energy[2];
    static const char *const limits[] = {"power=250", "power=150"};
    for (int i = 0; i < 2; i++) {
        PREDICT(&s, "train", "bert-base", "--gpu", "v100-pcie", "--batch", "32", "--json", "--set",
                limits[i]);
        assert_int_equal(spawn_code(&s), 0);
        json_t *doc = spawn_json(&s);
        time[i] = number_at(doc, "wall_s", NULL);
        energy[i] = number_at(doc, "total", "energy_j");
        const json_t *total = json_object_get(doc, "total");
        assert_string_equal(json_string_value(json_object_get(total, "provenance")), "modeled");
        json_decref(doc);
        spawn_done(&s);
    }
    assert_true(time[1] > 1.1 * time[0] && time[1] < 1.4 * time[0]);
    assert_true(energy[1] < 0.9 * energy[0]);
    /* Without 16 bits of that kind: fp32, which is slower than bf16 elsewhere said so. */
    PREDICT(&s, "train", "bert-base", "--gpu", "v100-pcie", "--batch", "32", "--json", "--dtype",
            "bf16");
    json_t *doc = spawn_json(&s);
    assert_true(number_at(doc, "wall_s", NULL) < 0.5 * time[0]);
    json_decref(doc);
    spawn_done(&s);
}

static void the_rest_of_the_node_and_the_price_count(void **state)
{
    (void)state;
    struct spawned s;
    double cost[2];
    for (int i = 0; i < 2; i++) {
        PREDICT(&s, "train", "bert-base", "--gpu", "a40", "--tokens", "1G", "--json", "--price-kwh",
                "0.25", "--host-watts", i ? "300" : "0", "--gap", "1ms");
        assert_int_equal(spawn_code(&s), 0);
        json_t *doc = spawn_json(&s);
        const json_t *prediction = json_object_get(doc, "prediction");
        cost[i] = number_at(prediction, "cost", "value");
        if (i) {
            double more = 300 * number_at(doc, "wall_s", NULL) / 3.6e6 * 0.25;
            assert_true(fabs(cost[1] - cost[0] - more) < 1e-6 * more);
            const json_t *part = json_array_get(json_object_get(prediction, "parts"), 0);
            assert_true(number_at(part, "time_shares", "host") > 0.005);
        }
        json_decref(doc);
        spawn_done(&s);
    }
}

static void a_stored_run_calibrates_it(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--device", "emu",
              "--batch", "32", "--seq", "128", "--steps", "12");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "runs", "last", "--json");
    json_t *run = spawn_json(&s);
    double rate = number_at(run, "work", "count") / number_at(run, "wall_s", NULL);
    json_decref(run);
    spawn_done(&s);
    PREDICT(&s, "train", "bert-base", "--gpu", "v100-pcie", "--batch", "32", "--seq", "128",
            "--calibrate", "last", "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *prediction = json_object_get(doc, "prediction");
    assert_string_equal(json_string_value(json_object_get(prediction, "basis")), "calibrated");
    assert_string_equal(json_string_value(json_object_get(prediction, "calibrated_on_emulated")),
                        "v100-pcie-32gb");
    assert_true(fabs(number_at(prediction, "tokens_per_s", "value") / rate - 1) < 0.01);
    json_decref(doc);
    spawn_done(&s);
    PREDICT(&s, "train", "bert-base", "--gpu", "v100-pcie", "--batch", "32", "--calibrate", "last");
    assert_non_null(strstr(s.out, "EMULATED"));
    assert_non_null(strstr(s.out, "on Tesla V100-PCIE-32GB"));
    assert_non_null(strstr(s.out, "doubtful  it took")); /* and nothing else */
    spawn_done(&s);
    PREDICT(&s, "generate", "gpt2", "--gpu", "v100-pcie", "--calibrate", "last");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "two kinds of passes"));
    spawn_done(&s);
}

/* Whoever reads the numbers reads the doubt, and the bounds are not those of a good calibration. */
static void a_run_of_something_else_is_doubted_where_the_numbers_are(void **state)
{
    (void)state;
    static const struct {
        const char *model, *gpu, *batch, *want;
    } rows[] = {
        {"bert-base", "a40", "32", "which is no a40"},
        {"bert-large", "v100-pcie", "32", "does not name bert-large"},
        {"bert-base", "v100-pcie", "8", "had 4096 tokens, where a pass of this batch has 1024"}};
    struct spawned s;
    spawn_run(&s, home, "wattune", "run", "--emulate", "v100-pcie-32gb", "--",
              getenv("WATTUNE_COMMAND"), "bench", "train", "bert-base", "--device", "emu",
              "--batch", "32", "--seq", "128", "--steps", "4");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    setenv("COLUMNS", "800", 1); /* what is looked for is not broken */
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        PREDICT(&s, "train", rows[i].model, "--gpu", rows[i].gpu, "--batch", rows[i].batch,
                "--dtype", "fp32", "--calibrate", "last");
        assert_int_equal(spawn_code(&s), 0);
        const char *line = strstr(s.out, "  doubtful  ");
        if (!line || !strstr(line, rows[i].want) || !strstr(line, "20 s are wanted"))
            fail_msg("no \"%s\" in\n%s", rows[i].want, s.out);
        spawn_done(&s);
        PREDICT(&s, "train", rows[i].model, "--gpu", rows[i].gpu, "--batch", rows[i].batch,
                "--dtype", "fp32", "--calibrate", "last", "--json");
        assert_non_null(strstr(s.err, rows[i].want));
        json_t *doc = spawn_json(&s);
        const json_t *prediction = json_object_get(doc, "prediction");
        const json_t *time = json_object_get(prediction, "time_s");
        assert_non_null(strstr(json_string_value(json_object_get(prediction, "calibration_doubt")),
                               rows[i].want));
        assert_true(number_at(time, "high", NULL) > 2.3 * number_at(time, "value", NULL));
        json_decref(doc);
        spawn_done(&s);
    }
    unsetenv("COLUMNS");
}

static void a_full_disk_is_no_success(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "sh", "-c",
              "\"$WATTUNE_COMMAND\" --help >/dev/full; echo $?; "
              "\"$WATTUNE_COMMAND\" --version >/dev/full; echo $?");
    assert_string_equal(s.out, "1\n1\n");
    assert_non_null(strstr(s.err, "wattune: writing to stdout: "));
    spawn_done(&s);
    spawn_run(&s, home, "sh", "-c", "\"$WATTUNE_COMMAND\" predict --list >/dev/full");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "writing to stdout: "));
    spawn_done(&s);
}

static void the_list_names_models_and_gpus(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "predict", "--list");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "bert-base"));
    assert_non_null(strstr(s.out, "qwen3-32b"));
    assert_non_null(strstr(s.out, "mi300x"));
    assert_non_null(strstr(s.out, " 250 100-250"));
    for (const char *line = s.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_true(end - line <= 80 && (end == line || end[-1] != ' '));
    spawn_done(&s);
}

static void a_region_gives_the_carbon_and_an_example_the_pue(void **state)
{
    (void)state;
    struct spawned s;
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    PREDICT(&s, "train", "bert-base", "--gpu", "a40", "--tokens", "1G", "--region",
            "gcp:europe-west4", "--pue", "mllsc-2020-07", "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *p = json_object_get(doc, "prediction");
    assert_true(number_at(p, "carbon_g_per_kwh", NULL) == 236 && number_at(p, "pue", NULL) == 1.49);
    double kwh = number_at(doc, "total", "energy_j") / 3.6e6 * 1.49;
    assert_true(fabs(number_at(p, "carbon_g", "value") / (236 * kwh) - 1) < 1e-9);
    assert_non_null(strstr(json_string_value(json_object_get(p, "carbon_source")), "Eemshaven"));
    assert_non_null(strstr(json_string_value(json_object_get(p, "pue_source")), "McDonald"));
    json_decref(doc);
    spawn_done(&s);
    PREDICT(&s, "train", "bert-base", "--gpu", "a40", "--region", "DEU");
    assert_non_null(strstr(s.out, "380.95 g CO2e: DEU (Germany), CodeCarbon's"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void a_board_of_ones_own_is_predicted_and_named(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    spawn_file(path, sizeof(path), "gpus.csv",
               "id,tdp_w,clock_max_mhz,mem_gb_s,fp32_tflop_s,profile\n"
               "lab-board,500,2000,2000,50,\na40,300,1740,696,37.4,a40\n");
    PREDICT(&s, "train", "bert-base", "--gpu", "lab-board", "--data", home);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "PREDICTED lab-board"));
    assert_non_null(strstr(s.out, "/gpus.csv:2"));
    spawn_done(&s);
    PREDICT(&s, "train", "bert-base", "--gpu", "a40", "--data", home);
    assert_non_null(strstr(s.out, "a40 is a row of your own: "));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "predict", "--list", "--data", home);
    assert_non_null(strstr(s.out, "lab-board"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void a_table_without_room_leaves_intervals_out_and_cuts_none(void **state)
{
    (void)state;
    struct spawned s;
    PREDICT(&s, "train", "bert-base", "--gpu", "a40:8", "--tokens", "1000G");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "\u2026"));
    assert_null(strstr(s.out, "~"));
    assert_non_null(strstr(s.out, " d ")); /* and days are days */
    for (const char *line = s.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_true(end == line || end[-1] != ' ');
    spawn_done(&s);
}

/* As `wattune bench` takes them. */
static void a_models_folder_does_as_its_config_does(void **state)
{
    (void)state;
    static const struct {
        const char *config, *kind;
    } rows[] = {
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": 2, \"hidden_size\": 64, "
         "\"num_attention_heads\": 4, \"intermediate_size\": 128, \"vocab_size\": 1000}",
         "generate"},
        {"{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"hidden_size\": 128, "
         "\"num_attention_heads\": 2, \"intermediate_size\": 512, \"vocab_size\": 1000}",
         "infer"},
    };
    char folder[96], slashed[112], config[128];
    spawn_path(folder, sizeof(folder), "Tiny-1M");
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(slashed, sizeof(slashed), "%s//", folder);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_file(config, sizeof(config), "Tiny-1M/config.json", rows[i].config);
        const char *const models[] = {config, folder, slashed};
        double time_s[3];
        for (size_t k = 0; k < 3; k++) {
            struct spawned s;
            PREDICT(&s, rows[i].kind, models[k], "--gpu", "a40", "--json");
            if (spawn_code(&s) != 0)
                fail_msg("%s", s.err);
            json_t *doc = spawn_json(&s);
            const json_t *model = json_object_get(json_object_get(doc, "prediction"), "model");
            assert_string_equal(json_string_value(model), k ? "Tiny-1M" : i ? "bert" : "llama");
            time_s[k] = number_at(doc, "wall_s", NULL);
            json_decref(doc);
            spawn_done(&s);
        }
        assert_true(time_s[0] > 0 && time_s[0] == time_s[1] && time_s[0] == time_s[2]);
    }
    struct spawned s;
    spawn_run(&s, home, "wattune", "compare", "infer", folder, "--gpu", "a40,v100-pcie");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    assert_int_equal(unlink(config), 0);
    PREDICT(&s, "infer", folder, "--gpu", "a40");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "Tiny-1M: there is no config.json in this folder"));
    spawn_done(&s);
    rmdir(folder);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *words[8], *want;
        int code;
    } rows[] = {
        {{"train", "bert-base"}, "--gpu is wanted", 2},
        {{"train", "bert-huge", "--gpu", "a40"},
         "'bert-huge', and there is no such config.json",
         4},
        {{"train", "bert-base", "--gpu", "a41"}, "a41", 4},
        {{"bake", "bert-base", "--gpu", "a40"}, "\"bake\" is not train", 2},
        {{"train", "--gpu", "a40"}, "a model are wanted", 2},
        {{"train", "bert-base", "--gpu", "a40:0"}, "--gpu 0", 2},
        {{"train", "bert-base", "--gpu", "a40", "--batch", "0"}, "--batch 0", 2},
        {{"train", "bert-base", "--gpu", "a40", "--tokens", "3Q"}, "--tokens 3Q", 2},
        {{"train", "bert-base", "--gpu", "a40", "--tokens", "1.5"}, "--tokens 1.5: a whole", 2},
        {{"train", "bert-base", "--gpu", "a40", "--tokens", "1.0005k"}, "--tokens 1.0005k: a", 2},
        {{"train", "bert-base", "--gpu", "a40", "--batch", "8.5"}, "--batch 8.5: a whole", 2},
        {{"train", "bert-base", "--gpu", "a40", "--seq", "128.0"}, "--seq 128.0: a whole", 2},
        {{"train", "bert-base", "--gpu", "a40:1.5"}, "--gpu 1.5: a whole", 2},
        {{"generate", "gpt2", "--gpu", "a40", "--new", "2.5"}, "--new 2.5: a whole", 2},
        {{"train", "bert-base", "--gpu", "a40", "--batch", "1000000"},
         "--batch 1000000: 1 to 65535 sequences",
         2},
        {{"train", "bert-base", "--gpu", "a40", "--batch", "65535", "--seq", "512"},
         "--batch 65535 of --seq 512: at most",
         2},
        {{"train", "bert-base", "--gpu", "a40", "--seq", "513"}, "--seq 513: this bert takes", 2},
        {{"generate", "gpt2", "--gpu", "a40", "--new", "1000"},
         "--seq 128 and --new 1000: gpt2",
         2},
        {{"train", "llama-3.1-8b", "--gpu", "a40:3"}, "over 3 devices (--gpu GPU:N)", 2},
        {{"train", "bert-base", "--gpu", "a40", "--dtype", "fp8"}, "--dtype fp8", 2},
        {{"train", "bert-base", "--gpu", "a40", "--dtype", "int8"}, "training is counted", 2},
        {{"train", "bert-base", "--gpu", "t4", "--dtype", "tf32"},
         "Tesla T4: no TF32 rate of it is known; take fp32",
         2},
        {{"train", "bert-base", "--gpu", "a40", "--set", "power=20"}, "100 to 300 W", 2},
        {{"train", "bert-base", "--gpu", "a40", "--set", "power=100,200"}, "one value", 2},
        {{"train", "bert-base", "--gpu", "a40", "--set", "power=200", "--set", "power=250"},
         "--set power=250: this knob is given twice",
         2},
        {{"train", "bert-base", "--gpu", "a40", "--gpu", "v100-pcie-32gb"}, "of one GPU", 2},
        {{"train", "bert-base", "--gpu", "a40", "--set", "cpu-power=20"}, "power and clock", 2},
        {{"train", "bert-base", "--gpu", "a40", "--pue", "0.9"}, "--pue 0.9", 2},
        {{"train", "bert-base", "--gpu", "a40", "--pue", "x"}, "no PUE of the catalogue", 4},
        {{"train", "bert-base", "--gpu", "a40", "--region", "x"}, "\"x\" is no region", 4},
        {{"train", "bert-base", "--gpu", "a40", "--region", "CAF"}, "no carbon factor of it", 2},
        {{"train", "bert-base", "--gpu", "a40", "--region", "DEU", "--carbon-intensity=3"},
         "--region and --carbon-intensity: one of them",
         2},
        {{"train", "bert-base", "--gpu", "a40", "--data", "/nowhere"}, "/nowhere", 4},
        {{"train", "bert-base", "--gpu", "a40", "--new", "3"}, "--new goes with generate", 2},
        {{"train", "bert-base", "--gpu", "a40", "--gap", "x"}, "--gap x", 2},
        {{"generate", "bert-base", "--gpu", "a40"}, "makes no text", 2},
        {{"train", "bert-base", "--gpu", "a40", "--calibrate", "nothing"}, "nothing", 4},
        {{"train", "/nowhere/config.json", "--gpu", "a40"}, "/nowhere/config.json", 4},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *argv[12] = {"wattune", "predict"};
        for (size_t k = 0; k < 8 && rows[i].words[k]; k++)
            argv[2 + k] = rows[i].words[k];
        spawn_start(&s, home, argv);
        spawn_wait(&s);
        if (spawn_code(&s) != rows[i].code || !strstr(s.err, rows[i].want))
            fail_msg("%s: %d, %s", rows[i].want, spawn_code(&s), s.err);
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
}

static void help_is_on_stdout(void **state)
{
    (void)state;
    struct spawned s;
    PREDICT(&s, "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune predict"));
    spawn_done(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, spawn_setup, spawn_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_says_time_energy_limits_and_what_it_rests_on),
        TEST(a_limit_makes_it_slower_and_thriftier),
        TEST(the_rest_of_the_node_and_the_price_count),
        TEST(a_stored_run_calibrates_it),
        TEST(a_run_of_something_else_is_doubted_where_the_numbers_are),
        TEST(a_full_disk_is_no_success),
        TEST(the_list_names_models_and_gpus),
        TEST(a_region_gives_the_carbon_and_an_example_the_pue),
        TEST(a_board_of_ones_own_is_predicted_and_named),
        TEST(a_table_without_room_leaves_intervals_out_and_cuts_none),
        TEST(a_models_folder_does_as_its_config_does),
        TEST(mistakes_are_named),
        TEST(help_is_on_stdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
