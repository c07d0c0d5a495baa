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
    assert_int_equal(json_array_size(rows), 29);
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

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static void instances_of_a_cloud_are_offers(void **state)
{
    (void)state;
    struct spawned s;
    size_t i, all;
    json_t *doc, *row;
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    COMPARE(&s, "train", "bert-base", "--tokens", "1G", "--instances", "--json");
    doc = spawn_json(&s);
    all = json_array_size(json_object_get(doc, "rows"));
    assert_true(all > 100);
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "--instances", "train", "bert-base", "--json"); /* no pattern, but what is done */
    doc = spawn_json(&s);
    assert_int_equal(json_array_size(json_object_get(doc, "rows")), all);
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--instances", "aws:p*,gcp:a3-highgpu-8g", "--json");
    assert_int_equal(spawn_code(&s), 0);
    doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 12);
    json_array_foreach(rows, i, row)
    {
        const char *instance = text_of(row, "instance");
        assert_true(strncmp(instance, "aws:p", 5) == 0 || strncmp(instance, "gcp:a3", 6) == 0);
        assert_true(json_number_value(json_object_get(row, "vcpus")) >= 8);
        assert_string_equal(text_of(row, "gpu_row"), "built-in");
        if (strcmp(instance, "aws:p4d.24xlarge") == 0) {
            assert_string_equal(text_of(row, "gpu"), "a100-sxm-40gb");
            assert_int_equal(json_integer_value(json_object_get(row, "gpus")), 8);
            assert_true(json_number_value(json_object_get(row, "memory_gib")) == 1152);
        }
    }
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--instances=aws:p4d*");
    assert_non_null(strstr(s.out, "aws:p4d.24xlarge, 8 x a100-sxm-40gb"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void each_offer_is_seen_in_each_region(void **state)
{
    (void)state;
    struct spawned s;
    json_t *doc, *row;
    size_t i;
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    COMPARE(&s, "train", "bert-base", "--tokens", "1G", "--gpu", "a40,h100-sxm", "--region",
            "DEU,SWE,gcp:europe-west4", "--sort", "carbon", "--json");
    assert_int_equal(spawn_code(&s), 0);
    doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 6);
    json_array_foreach(rows, i, row)
    {
        double g = json_number_value(json_object_get(row, "carbon_g_per_kwh"));
        bool is_german = strcmp(text_of(row, "region"), "DEU") == 0;
        assert_int_equal(is_german, g == 380.95);
        assert_true(!is_german || strstr(text_of(row, "carbon_source"), "Our World in Data, 2023"));
        assert_true(
            fabs(number_of(row, "carbon_g") / (number_of(row, "energy_j") / 3.6e6 * g) - 1) < 1e-9);
    }
    assert_string_equal(text_of(json_array_get(rows, 0), "region"), "SWE");
    json_decref(doc);
    spawn_done(&s);
    /* Of another cloud: left out, and said. */
    COMPARE(&s, "train", "bert-base", "--instances", "aws:p4d.*,gcp:a2-highgpu-8g", "--region",
            "gcp:europe-west4,FRA");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "1 row left out"));
    assert_non_null(strstr(s.out, "carbon 236 g a kWh: gcp:europe-west4 (Eemshaven Netherlands)"));
    assert_non_null(strstr(s.out, "no year named"));
    spawn_done(&s);
    unsetenv("COLUMNS"); /* nor in a narrow window are two rows alike */
    COMPARE(&s, "train", "bert-base", "--instances", "azure:*H100*", "--region", "DEU,FRA");
    assert_non_null(strstr(s.out, "azure:Standard_ND96isr_H100_v5   DEU"));
    assert_non_null(strstr(s.out, "azure:Standard_ND96isr_H100_v5   FRA"));
    setenv("COLUMNS", "400", 1);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--instances", "aws", "--region", "gcp:europe-west4");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "in a region of another cloud"));
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--region", "DEU", "--carbon-intensity", "3");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--region and --carbon-intensity: one of them"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void an_offer_may_be_an_instance_in_a_region(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    spawn_file(path, sizeof(path), "offers.csv",
               "instance,gpu,price_per_hour,region,gco2_per_kwh,pue\n"
               "aws:p4d.24xlarge,,30,DEU,,1.2\nazure:standard_nd96isr_h100_v5,,90,DEU,100,\n"
               ",a40,2,our site,,\n,t4,1,,,\n");
    COMPARE(&s, "train", "bert-large", "--offers", path, "--tokens", "1G", "--region", "FRA",
            "--pue", "mllsc-2020-07", "--sort", "carbon", "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *doc = spawn_json(&s);
    const json_t *rows = json_object_get(doc, "rows"), *row;
    size_t i, seen = 0;
    assert_int_equal(json_array_size(rows), 4);
    json_array_foreach(rows, i, row)
    {
        const char *instance = text_of(row, "instance"), *gpu = text_of(row, "gpu");
        double g = json_number_value(json_object_get(row, "carbon_g_per_kwh"));
        double pue = json_number_value(json_object_get(row, "pue"));
        if (strcmp(instance, "aws:p4d.24xlarge") == 0) {
            assert_true(g == 380.95 && pue == 1.2);
            assert_string_equal(text_of(row, "pue_source"), "offers.csv:2");
            seen |= 1;
        } else if (*instance) {
            assert_true(g == 100 && pue == 1.49);
            assert_non_null(strstr(text_of(row, "carbon_source"), "offers.csv:3"));
            assert_non_null(strstr(text_of(row, "pue_source"), "McDonald"));
            seen |= 2;
        } else if (strcmp(gpu, "a40") == 0) { /* a region that nobody knows has no figure */
            assert_true(json_is_null(json_object_get(row, "carbon_g_per_kwh")));
            assert_string_equal(text_of(row, "region"), "our site");
            seen |= 4;
        } else {
            assert_string_equal(text_of(row, "region"), "FRA");
            seen |= 8;
        }
    }
    assert_int_equal(seen, 15);
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-large", "--offers", path);
    assert_non_null(strstr(s.out, "carbon of our site: not known"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void rows_of_ones_own_are_compared_and_named(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    spawn_file(path, sizeof(path), "gpus.csv",
               "id,tdp_w,clock_max_mhz,mem_gb_s,fp32_tflop_s,bf16_tflop_s,mem_gb\n"
               "lab-board,500,2000,2000,50,400,64\n");
    spawn_file(path, sizeof(path), "instances.csv", "id,gpu,gpus\nlab:node,lab-board,4\n");
    spawn_file(path, sizeof(path), "regions.csv", "id,gco2_per_kwh,source\nlab:hall,12,a meter\n");
    COMPARE(&s, "train", "bert-base", "--data", home, "--instances", "lab", "--region", "lab:hall");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "lab:node, 4 x lab-board"));
    assert_non_null(strstr(s.out, "lab-board is a row of your own: "));
    assert_non_null(strstr(s.out, "/gpus.csv:2"));
    assert_non_null(strstr(s.out, "carbon 12 g a kWh: lab:hall, a meter"));
    spawn_done(&s);
    spawn_file(path, sizeof(path), "gpus.csv", "id,tdp_w\nlab-board,five\n");
    COMPARE(&s, "train", "bert-base", "--data", home);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "/gpus.csv:2: tdp_w: \"five\" is no number"));
    spawn_done(&s);
    unsetenv("COLUMNS");
}

static void the_example_of_offers_is_one(void **state)
{
    (void)state;
    struct spawned s;
    setenv("COLUMNS", "400", 1); /* what is looked for is not broken */
    COMPARE(&s, "train", "bert-large", "--offers", WT_OFFERS, "--tokens", "10G", "--sort", "cost");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    assert_non_null(strstr(s.out, "8 A100 in Germany, 8 x a100-sxm-40gb"));
    assert_non_null(strstr(s.out, "gcp:us-west1"));
    spawn_done(&s);
    unsetenv("COLUMNS");
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
    assert_non_null(strstr(svg, ">time of the job</text>"));
    assert_non_null(strstr(svg, ">energy of the job</text>"));
    assert_non_null(strstr(svg, "</svg>\n"));
    free(svg);
    spawn_done(&s);
    /* What cannot be done on one is said, and the rest is compared. */
    COMPARE(&s, "train", "bert-base", "--gpu", "a40,t4", "--set", "power=200");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "not predicted: t4: "));
    spawn_done(&s);
    COMPARE(&s, "generate", "llama-3.1-8b", "--gpu", "h100-sxm:3,h100-sxm");
    assert_non_null(strstr(s.out, "not predicted: h100-sxm x 3: "));
    assert_non_null(strstr(s.out, "none beats these"));
    spawn_done(&s);
    COMPARE(&s, "train", "gpt2-xl", "--gpu", "k80", "--batch", "100");
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.out, "none beats these"));
    assert_non_null(strstr(s.out, "none has room for it"));
    spawn_done(&s);
}

/* In 80 columns stars stand for the words that would not fit. */
static void a_table_of_long_names_fits_a_narrow_window(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    spawn_file(path, sizeof(path), "offers.csv",
               "name,gpu,gpus,price_per_hour,region,gco2_per_kwh\n"
               "azure:Standard_NC80adis_H100_v5,h100-sxm,2,9,DEU,380\n"
               "a40 in the cellar,a40,1,30,DEU,400\nunfit,k80,1,1,DEU,500\n");
    COMPARE(&s, "train", "gpt2-xl", "--batch", "12", "--tokens", "100G", "--offers", path);
    assert_int_equal(spawn_code(&s), 0);
    for (const char *line = s.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        if (end - line > 80 + 2) /* the mark is three bytes */
            fail_msg("%.*s", (int)(end - line), line);
    assert_non_null(strstr(s.out, "* the best of its column"));
    assert_non_null(strstr(s.out, "- does not fit"));
    assert_null(strstr(s.out, "fastest"));
    spawn_done(&s);
    /* Of one machine in two places the places stay, on a line of their own where they must. */
    COMPARE(&s, "train", "bert-base", "--tokens", "1G", "--instances", "gcp:a4*", "--price-kwh",
            "0.3", "--region", "gcp:europe-west4,gcp:northamerica-northeast1");
    assert_int_equal(spawn_code(&s), 0);
    for (const char *line = s.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        if (end - line > 80 + 2)
            fail_msg("%.*s", (int)(end - line), line);
    assert_non_null(strstr(s.out, " gcp:a4-highgpu-8g, gcp:northamerica-northeast1\n  "));
    spawn_done(&s);
    setenv("COLUMNS", "200", 1);
    COMPARE(&s, "train", "gpt2-xl", "--batch", "12", "--tokens", "100G", "--offers", path);
    unsetenv("COLUMNS");
    assert_non_null(strstr(s.out, "fastest, thriftiest, cleanest, cheapest"));
    assert_null(strstr(s.out, "* the best"));
    spawn_done(&s);
}

/* Of equal boards none is faster: the dear one is beaten by its price, and as fast. */
static void equals_are_named_together(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    size_t i;
    json_t *row;
    spawn_file(path, sizeof(path), "offers.csv",
               "name,gpu,price_per_hour\ndear,h100-sxm,9\ncheap,h100-sxm,3\nalso,h100-sxm,3\n"
               "slow,a40,1\n");
    COMPARE(&s, "train", "bert-base", "--offers", path, "--json");
    json_t *doc = spawn_json(&s);
    json_array_foreach(json_object_get(doc, "rows"), i, row)
    {
        const char *name = text_of(row, "name");
        assert_int_equal(is(row, "is_fastest"), strcmp(name, "slow") != 0);
        bool is_best = strcmp(name, "cheap") == 0 || strcmp(name, "also") == 0;
        assert_int_equal(is(row, "is_pareto"), is_best);
        assert_true(strcmp(name, "dear") != 0 || !is(row, "is_cheapest"));
        assert_string_equal(text_of(row, "dtype"), "bf16");
    }
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--gpu", "h100-sxm,a40,v100-pcie,k80");
    assert_non_null(strstr(s.out, "products in bf16; in fp32 on "));
    spawn_done(&s);
}

/* A row that does not say how much memory its board has promises nothing. */
static void what_may_not_fit_is_no_winner(void **state)
{
    (void)state;
    struct spawned s;
    char path[96];
    spawn_file(path, sizeof(path), "gpus.csv",
               "id,name,tdp_w,tdp_source,clock_max_mhz,clock_source,mem_gb_s,mem_gb_s_source,"
               "fp32_tflop_s,bf16_tflop_s,tflop_s_source\n"
               "tiny,Tiny,20,a meter,1500,a meter,9000,a meter,900,2000,a meter\n");
    COMPARE(&s, "train", "bert-base", "--gpu", "tiny,a40", "--data", home, "--json");
    if (spawn_code(&s) != 0)
        fail_msg("%s", s.err);
    json_t *doc = spawn_json(&s), *row;
    size_t i;
    json_array_foreach(json_object_get(doc, "rows"), i, row)
    {
        bool is_known = strcmp(text_of(row, "name"), "a40") == 0;
        assert_int_equal(is(row, "is_pareto"), is_known);
        assert_int_equal(is(row, "is_fastest"), is_known);
        assert_int_equal(json_is_null(json_object_get(row, "fits")), !is_known);
    }
    json_decref(doc);
    spawn_done(&s);
    COMPARE(&s, "train", "bert-base", "--gpu", "tiny,a40", "--data", home);
    assert_non_null(strstr(s.out, "memory not known"));
    spawn_done(&s);
    spawn_run(&s, home, "wattune", "predict", "train", "bert-base", "--gpu", "tiny", "--data",
              home);
    assert_non_null(strstr(s.out, "what the device has is not known"));
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
                 {"gpu,gpus\na40,2.5\n", "offers.csv:2: gpus \"2.5\" is no whole number"},
                 {"gpu,price_per_hour\n\na40,x\n", "offers.csv:3: price_per_hour \"x\""},
                 {"gpu,pue\na40,0.5\n", "offers.csv:2: pue \"0.5\""},
                 {"gpu\na41\n", "offers.csv:2: no GPU"},
                 {"name,gpu\nmine,\n", "offers.csv:2: neither a gpu nor an instance"},
                 {"gpu,price\na40,2\n", "offers.csv:1: a column \"price\" is read by nothing"},
                 {"name,gpu,price_per_hour,price_per_hour\nx,a40,2,99\n",
                  "offers.csv:1: the column price_per_hour is there twice"},
                 {"gpu,price_per_hour\na40,2,99\n",
                  "offers.csv:2: 3 cells, where the first line names 2 columns"},
                 {"instance\naws:p9\n", "offers.csv:2: \"aws:p9\" is no instance"},
                 {"instance,gpu\naws:p4d.24xlarge,a40\n", "instance and gpu: one of them"},
                 {"instance,gpus\naws:p4d.24xlarge,2\n", "instance and gpus: one of them"}};
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
                {"--tokens", "1.5", "--tokens 1.5: a whole number", 2},
                {"--batch", "1000000", "--batch 1000000: 1 to 65535", 2},
                {"--gpu", "a40:1.5", "--gpu 1.5: a whole number", 2},
                {"--plot", "/nowhere/p.svg", "/nowhere/p.svg", 4},
                {"--plot", "-", "--plot -: ", 2},
                {"--instances", "nobody", "no instance of the catalogue is like \"nobody\"", 4},
                {"--region", "nowhere", "\"nowhere\" is no region", 4},
                {"--region", "CAF", "of CAF the catalogue has no carbon factor", 2},
                {"--pue", "nowhere", "no PUE of the catalogue", 4},
                {"--pue", "0.9", "--pue 0.9", 2},
                {"--data", "/nowhere", "/nowhere", 4}};
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
static void what_is_known_of_none_sorts_nothing(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "compare", "train", "bert-base", "--gpu", "a40,h100-sxm",
              "--sort", "cost");
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "--price-kwh"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_whole_catalogue_is_compared_and_the_best_are_named),
        TEST(offers_bring_their_price_and_place),
        TEST(instances_of_a_cloud_are_offers),
        TEST(each_offer_is_seen_in_each_region),
        TEST(an_offer_may_be_an_instance_in_a_region),
        TEST(rows_of_ones_own_are_compared_and_named),
        TEST(the_example_of_offers_is_one),
        TEST(a_table_and_a_plot_are_for_people),
        TEST(what_is_known_of_none_sorts_nothing),
        TEST(a_table_of_long_names_fits_a_narrow_window),
        TEST(equals_are_named_together),
        TEST(what_may_not_fit_is_no_winner),
        TEST(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
