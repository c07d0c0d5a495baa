/* `wattune bench`: what it says to wrong usage and wrong text, what it leaves when it is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawn.h"

#define JONAH WT_TEST_DATA "/jonah.txt"
#define TRAIN "wattune", "bench", "train"

static char home[64];

static int setup(void **state)
{
    (void)state;
    spawn_home(home, sizeof(home));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    spawn_home_done(home);
    return 0;
}

static void help_goes_to_stdout(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "bench", "--help");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.out, "usage: wattune bench train"));
    assert_string_equal(s.err, "");
    spawn_done(&s);
}

static void wrong_usage_says_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *argv[12];
        const char *want;
    } rows[] = {
        {{"wattune", "bench", NULL}, "train MODEL"},
        {{"wattune", "bench", "sing", NULL}, "\"sing\" is not possible"},
        {{TRAIN, NULL}, "bert-tiny, bert-mini or bert-base"},
        {{TRAIN, "bert-huge", NULL}, "choose one of: bert-tiny, bert-mini, bert-base"},
        {{TRAIN, "bert-tiny", NULL}, "--data FILE is needed"},
        {{TRAIN, "bert-tiny", "x", NULL}, "nothing can follow but options"},
        {{TRAIN, "bert-tiny", "--frobnicate", NULL}, "frobnicate"},
        {{TRAIN, "bert-tiny", "--data", NULL}, "data"},
        {{TRAIN, "bert-tiny", "--steps", "0", NULL}, "--steps 0: takes a number of steps"},
        {{TRAIN, "bert-tiny", "--steps", "1e3", NULL}, "--steps 1e3"},
        {{TRAIN, "bert-tiny", "--seconds", "-1", NULL}, "--seconds -1"},
        {{TRAIN, "bert-tiny", "--seconds", "nan", NULL}, "--seconds nan"},
        {{TRAIN, "bert-tiny", "--batch", "0", NULL}, "--batch 0: takes 1 to 65536"},
        {{TRAIN, "bert-tiny", "--seq", "513", NULL}, "--seq 513: takes 3 to 512"},
        {{TRAIN, "bert-tiny", "--dtype", "fp8", NULL}, "--dtype fp8: takes fp32 or bf16"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--dtype", "bf16", NULL}, "fp32 only"},
        {{TRAIN, "bert-tiny", "--device", "tpu", NULL}, "--device tpu: takes cpu or emu"},
        {{TRAIN, "bert-tiny", "--gpu", "a", NULL}, "--gpu a"},
        {{TRAIN, "bert-tiny", "--threads", "0", NULL}, "--threads 0"},
        {{TRAIN, "bert-tiny", "--lr", "0", NULL}, "--lr 0: takes a learning rate from 1e-12 to 10"},
        {{TRAIN, "bert-tiny", "--dropout", "1", NULL}, "--dropout 1"},
        {{TRAIN, "bert-tiny", "--seed", "-3", NULL}, "--seed -3"},
        {{TRAIN, "bert-tiny", "--evaluate", "x", NULL}, "--evaluate x"},
        {{TRAIN, "bert-tiny", "--vocab-size", "9", NULL}, "--vocab-size 9"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--vocab-size", "40000", NULL}, "room for 30522"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--vocab", "v", NULL}, "there is no --data"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_start(&s, home, rows[i].argv);
        spawn_wait(&s);
        if (spawn_code(&s) != 2 || !strstr(s.err, rows[i].want))
            print_error("row %zu: %d, %s\n", i, spawn_code(&s), s.err);
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(strstr(s.err, rows[i].want));
        assert_string_equal(s.out, "");
        spawn_done(&s);
    }
}

static const char *write_file(const char *name, const char *text, size_t size)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", home, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void wrong_text_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *want;
    } rows[] = {
        {"", 0, "text.txt: the file is empty"},
        {"fine\nna\xefve\n", 11, "text.txt:2: byte 7 (0xef) is not UTF-8"},
        {" \n\n", 3, "text.txt: there are no words in it"},
    };
    struct spawned s;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *path = write_file("text.txt", rows[i].text, rows[i].size);
        spawn_run(&s, home, TRAIN, "bert-tiny", "--data", path);
        assert_int_equal(spawn_code(&s), 1);
        assert_non_null(strstr(s.err, rows[i].want));
        spawn_done(&s);
    }
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", "/no/such/text");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "/no/such/text: No such file"));
    spawn_done(&s);
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", "/");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "reading /: Is a directory"));
    spawn_done(&s);
    const char *path = write_file("vocab.txt", "[PAD]\n\n", 7);
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--vocab", path);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "vocab.txt:2: an empty line"));
    spawn_done(&s);
}

static json_t *trained(const char *seed)
{
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "4", "--batch", "2",
              "--seq", "16", "--threads", "1", "--vocab-size", "300", "--lr", "0.001", "--dropout",
              "0.1", "--seed", seed, "--evaluate", "1", "--device", "cpu", "--json", "--quiet");
    assert_int_equal(spawn_code(&s), 0);
    assert_string_equal(s.err, ""); /* --quiet */
    json_t *j = json_loads(s.out, 0, NULL);
    assert_non_null(j);
    spawn_done(&s);
    return j;
}

static void json_has_what_was_done(void **state)
{
    (void)state;
    json_t *j = trained("1");
    static const struct {
        const char *key;
        double want;
    } rows[] = {{"steps", 4},   {"tokens", 4 * 2 * 16}, {"batch", 2},           {"seq", 16},
                {"threads", 1}, {"vocabulary", 300},    {"parameters", 4416698}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        assert_true(json_number_value(json_object_get(j, rows[i].key)) == rows[i].want);
    assert_string_equal(json_string_value(json_object_get(j, "model")), "bert-tiny");
    assert_string_equal(json_string_value(json_object_get(j, "device")), "cpu");
    static const char *const positive[] = {"seconds",    "tokens_per_s", "flops_per_s",
                                           "loss_first", "loss_last",    "loss_held_out"};
    for (size_t i = 0; i < sizeof(positive) / sizeof(*positive); i++)
        assert_true(json_number_value(json_object_get(j, positive[i])) > 0);
    json_decref(j);
}

static void a_seed_gives_the_same_losses(void **state)
{
    (void)state;
    json_t *a = trained("1"), *b = trained("1"), *c = trained("2");
    double last = json_number_value(json_object_get(a, "loss_last"));
    assert_true(last == json_number_value(json_object_get(b, "loss_last")));
    assert_true(last != json_number_value(json_object_get(c, "loss_last")));
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void seconds_end_a_run(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--seconds", "0.05", "--batch", "1",
              "--seq", "8", "--evaluate", "0", "--json");
    assert_int_equal(spawn_code(&s), 0);
    json_t *j = json_loads(s.out, 0, NULL);
    assert_non_null(j);
    assert_true(json_number_value(json_object_get(j, "seconds")) >= 0.05);
    assert_true(json_is_null(json_object_get(j, "loss_held_out")));
    assert_non_null(strstr(s.err, "tokens/s"));
    json_decref(j);
    spawn_done(&s);
}

static void words_say_each_thing_once_and_in_plain_numbers(void **state)
{
    (void)state;
    struct spawned s;
    cpu_set_t set;
    char threads[16], note[64];
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    snprintf(threads, sizeof(threads), "%d", CPU_COUNT(&set) + 1);
    snprintf(note, sizeof(note), "--threads %s is more than the %d CPU", threads, CPU_COUNT(&set));
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "3", "--batch", "2",
              "--seq", "16", "--threads", threads, "--evaluate", "0");
    assert_int_equal(spawn_code(&s), 0);
    const char *last = strstr(s.err, "step 3/3");
    assert_non_null(last);
    assert_null(strstr(last + 1, "step 3/3"));
    assert_non_null(strstr(s.err, "tokens/s so far"));
    assert_non_null(strstr(s.err, "3 steps, 96 tokens in "));
    assert_null(strstr(s.err, "e+"));
    assert_non_null(strstr(s.err, note));
    spawn_done(&s);

    /* One step: its line stands once, and is the last one too. */
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "1", "--batch", "80",
              "--seq", "16", "--evaluate", "0");
    assert_int_equal(spawn_code(&s), 0);
    last = strstr(s.err, "step 1/1");
    assert_non_null(last);
    assert_null(strstr(last + 1, "step 1/1"));
    assert_non_null(strstr(s.err, "1 step, 1,273 tokens in "));
    assert_null(strstr(s.err, "is more than the "));
    spawn_done(&s);
}

static void a_signal_ends_with_the_summary_and_its_exit_code(void **state)
{
    (void)state;
    static const struct {
        int number, want;
    } rows[] = {{SIGINT, 130}, {SIGTERM, 143}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        const char *const argv[] = {TRAIN,   "bert-tiny", "--data",  JONAH,     "--batch", "1",
                                    "--seq", "8",         "--steps", "1000000", NULL};
        spawn_start_tty(&s, home, argv);
        assert_true(spawn_expect(&s, "step "));
        assert_int_equal(kill(s.pid, rows[i].number), 0);
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), rows[i].want);
        assert_non_null(strstr(s.out, "ended by a signal"));
        spawn_done(&s);
    }
}

static void divergence_stops_with_advice(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--batch", "1", "--seq", "8", "--lr",
              "10", "--steps", "400");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "training "));
    assert_non_null(strstr(s.err, "try --lr"));
    spawn_done(&s);
}

static void the_emulated_device_needs_an_emulation(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--device", "emu", "--steps", "1");
    assert_int_equal(spawn_code(&s), 4);
    assert_non_null(strstr(s.err, "wattune emulate"));
    spawn_done(&s);
}

static void on_the_emulated_device_steps_take_time_and_no_loss_is_shown(void **state)
{
    (void)state;
    const char *wattune = getenv("WATTUNE_COMMAND");
    assert_non_null(wattune);
    struct spawned s;
    /* Inside an emulation the emulated device is the default; bf16 is possible there. */
    spawn_run(&s, home, "wattune", "emulate", "a100-pcie-80gb", "--", wattune, "bench", "train",
              "bert-tiny", "--gpu", "0", "--dtype", "bf16", "--steps", "3", "--data", JONAH,
              "--json");
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "no arithmetic is done"));
    assert_null(strstr(s.err, "loss "));
    json_t *j = json_loads(s.out, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "device")), "emu");
    assert_true(json_is_null(json_object_get(j, "loss_last")));
    assert_true(json_number_value(json_object_get(j, "seconds")) > 0);
    json_decref(j);
    spawn_done(&s);

    /* More than the device's memory holds. */
    spawn_run(&s, home, "wattune", "emulate", "t4", "--", wattune, "bench", "train", "bert-base",
              "--batch", "512", "--steps", "1");
    assert_int_equal(spawn_code(&s), 1);
    assert_string_equal(s.out, "");
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(help_goes_to_stdout, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_usage_says_what_is_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_text_is_named_with_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(json_has_what_was_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_seed_gives_the_same_losses, setup, teardown),
        cmocka_unit_test_setup_teardown(seconds_end_a_run, setup, teardown),
        cmocka_unit_test_setup_teardown(words_say_each_thing_once_and_in_plain_numbers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_signal_ends_with_the_summary_and_its_exit_code, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(divergence_stops_with_advice, setup, teardown),
        cmocka_unit_test_setup_teardown(the_emulated_device_needs_an_emulation, setup, teardown),
        cmocka_unit_test_setup_teardown(on_the_emulated_device_steps_take_time_and_no_loss_is_shown,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
