/* `wattune bench`: what it says to wrong usage and wrong text, what it leaves when it is done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawned.h"

#define JONAH    WT_TEST_DATA "/jonah.txt"
#define TRAIN    "wattune", "bench", "train"
#define INFER    "wattune", "bench", "infer"
#define GENERATE "wattune", "bench", "generate"
#define FINETUNE "wattune", "bench", "finetune"
/* No time is spent on the peak. */
#define PLAIN "--peak", "none"

static const char *const home = spawn_folder;

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
        {{"wattune", "bench", NULL}, "`train MODEL`"},
        {{"wattune", "bench", "sing", NULL}, "\"sing\" is not possible"},
        {{TRAIN, NULL}, "train: which model?"},
        {{TRAIN, "bert-huge", "--data", JONAH, NULL}, "choose one of: bert-tiny, bert-mini"},
        {{TRAIN, "bert-tiny", NULL}, "--data FILE is needed"},
        {{TRAIN, "bert-tiny", "x", NULL}, "nothing can follow but options"},
        {{TRAIN, "bert-tiny", "--frobnicate", NULL}, "frobnicate"},
        {{TRAIN, "bert-tiny", "--data", NULL}, "data"},
        {{TRAIN, "bert-tiny", "--steps", "0", NULL}, "--steps 0: takes a number of steps"},
        {{TRAIN, "bert-tiny", "--steps", "1e3", NULL}, "--steps 1e3"},
        {{TRAIN, "bert-tiny", "--seconds", "-1", NULL}, "--seconds -1"},
        {{TRAIN, "bert-tiny", "--seconds", "nan", NULL}, "--seconds nan"},
        {{TRAIN, "bert-tiny", "--batch", "0", NULL}, "--batch 0: takes 1 to 65535"},
        {{TRAIN, "bert-tiny", "--batch", "65536", NULL}, "--batch 65536: takes 1 to 65535"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--seq", "513", NULL},
         "--seq 513: bert-tiny takes 3 to 512"},
        {{TRAIN, "bert-tiny", "--dtype", "fp8", NULL},
         "--dtype fp8: takes fp32, bf16, tf32 or int8"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--dtype", "int8", NULL}, "cannot be trained"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--dtype", "tf32", NULL}, "a CPU has not"},
        {{TRAIN, "bert-tiny", "--device", "tpu", NULL}, "--device tpu: takes cpu, emu or cuda"},
        {{TRAIN, "bert-tiny", "--gpu", "a", NULL}, "--gpu a"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--gpu", "0", NULL}, "--gpu 0: a GPU is used with"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--phases", NULL}, "phases are told anyhow"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--phases", NULL}, "it is for --device cuda"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--seconds", "1", "--schedule", "cosine", NULL},
         "--schedule cosine: it ends at the last step"},
        {{TRAIN, "bert-tiny", "--threads", "0", NULL}, "--threads 0"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--pin", NULL},
         "--pin: threads compute on the CPU"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--repeatable", NULL},
         "--repeatable: it is about"},
        {{TRAIN, "bert-tiny", "--peak", "fast", NULL}, "--peak fast: takes FLOP/s"},
        {{TRAIN, "bert-tiny", "--lr", "0", NULL}, "--lr 0: takes a learning rate from 1e-12 to 10"},
        {{TRAIN, "bert-tiny", "--warmup", "-1", NULL}, "--warmup -1"},
        {{TRAIN, "bert-tiny", "--schedule", "step", NULL}, "takes linear, cosine or constant"},
        {{TRAIN, "bert-tiny", "--clip", "-1", NULL}, "--clip -1: takes a norm"},
        {{TRAIN, "bert-tiny", "--decay", "2", NULL}, "--decay 2"},
        {{TRAIN, "bert-tiny", "--accumulate", "0", NULL}, "--accumulate 0"},
        {{TRAIN, "bert-tiny", "--dropout", "1", NULL}, "--dropout 1"},
        {{TRAIN, "bert-tiny", "--seed", "-3", NULL}, "--seed -3"},
        {{TRAIN, "bert-tiny", "--evaluate", "x", NULL}, "--evaluate x"},
        {{TRAIN, "bert-tiny", "--evaluate-every", "0", NULL}, "--evaluate-every 0"},
        {{TRAIN, "bert-tiny", "--vocab-size", "9", NULL}, "--vocab-size 9"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--vocab-size", "40000", NULL}, "room for 30522"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--vocab", "v", NULL}, "there is no --data"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--synthetic", NULL}, "not both"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--resume", NULL}, "--checkpoint DIR says it"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--checkpoint-every", "5", NULL}, "where to?"},
        {{TRAIN, "bert-tiny", "--device", "emu", "--save", "d", NULL}, "nothing to keep"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--packed", NULL}, "--packed is not for train"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--greedy", NULL}, "--greedy is not for train"},
        {{"wattune", "bench", "finetune", "bert-tiny", NULL}, "--data TABLE is needed"},
        {{"wattune", "bench", "finetune", "bert-tiny", "--synthetic", NULL}, "have no classes"},
        {{FINETUNE, "bert-tiny", "--data", "t", "--evaluate-only", "--steps", "1", NULL},
         "--steps has no place beside it"},
        {{FINETUNE, "bert-tiny", "--data", "t", "--evaluate-only", "--lr", "1", NULL},
         "--lr has no place beside it"},
        {{FINETUNE, "bert-tiny", "--data", "t", "--evaluate-only", "--save", "d", NULL},
         "--save has no place beside it"},
        {{FINETUNE, "bert-tiny", "--data", "t", "--evaluate-only", "--evaluate", "2", NULL},
         "--evaluate has no place beside it"},
        {{TRAIN, "bert-tiny", "--data", JONAH, "--new-head", NULL}, "--new-head is not for train"},
        {{INFER, "bert-tiny", NULL}, "text to read"},
        {{INFER, "bert-tiny", "--data", JONAH, "--lr", "1", NULL}, "--lr is not for infer"},
        {{INFER, "gpt2", "--data", JONAH, "--packed", NULL}, "gpt2 is a gpt2"},
        {{GENERATE, "bert-tiny", "--synthetic", NULL}, "which does not write"},
        {{GENERATE, "gpt2", NULL}, "--prompt TEXT or --prompt-file FILE is needed"},
        {{GENERATE, "gpt2", "--prompt", "x", NULL}, "no vocabulary to cut the prompt with"},
        {{GENERATE, "gpt2", "--prompt", "", "--data", JONAH, NULL}, "an empty prompt"},
        {{GENERATE, "gpt2", "--prompt", "x", "--synthetic", NULL}, "is possible"},
        {{GENERATE, "gpt2", "--prompt", "x", "--data", JONAH, "--seq", "9", NULL}, "--seq 9: the"},
        {{GENERATE, "gpt2", "--synthetic", "--tokens", "1000", NULL}, "1024 positions for both"},
        {{GENERATE, "gpt2", "--synthetic", "--tokens", "0", NULL}, "--tokens 0"},
        {{GENERATE, "gpt2", "--synthetic", "--greedy", "--top-k", "4", NULL}, "nothing is sampled"},
        {{GENERATE, "gpt2", "--synthetic", "--temperature", "0", NULL}, "--temperature 0"},
        {{GENERATE, "gpt2", "--synthetic", "--top-p", "1.5", NULL}, "--top-p 1.5"},
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

static void wrong_text_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "text.txt: the file is empty"},
        {"fine\nna\xefve\n", "text.txt:2: byte 7 (0xef) is not UTF-8"},
        {" \n\n", "text.txt: there are no words in it"},
    };
    struct spawned s;
    char path[128];
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_file(path, sizeof(path), "text.txt", rows[i].text);
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
    char large[128];
    spawn_file(large, sizeof(large), "large.txt", "x");
    assert_int_equal(truncate(large, (INT64_C(2) << 30) + 1), 0); /* a hole */
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", large);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "large.txt: the text is longer than the 2 GiB that are read"));
    spawn_done(&s);
    spawn_file(path, sizeof(path), "vocab.txt", "[PAD]\n\n");
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--vocab", path);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "vocab.txt:2: an empty line"));
    spawn_done(&s);
}

/* Once, with its share, whatever is done with the text; a vocabulary that fits is no word worth. */
static void a_vocabulary_without_the_texts_words_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *work, *vocab, *want; /* NULL: nothing is said */
    } rows[] = {
        {"train", "the\nof\n", "bench: 67 % of the text is not in the vocabulary"},
        {"infer", "the\nof\n", "bench: 67 % of the text is not in the vocabulary"},
        {"finetune", "the\nof\n", "bench: 67 % of the text is not in the vocabulary"},
        {"train", "the\nof\nwhale\n", NULL},
        {"infer", "the\nof\nwhale\n", NULL},
        {"finetune", "the\nof\nwhale\n", NULL},
    };
    char vocab[96], text[96], table[96];
    static char lines[4096], rowed[4096];
    for (size_t i = 0; i < 60; i++) {
        strcat(lines, "the whale whale\n");
        strcat(rowed, i % 2 ? "yes\tthe whale whale\n" : "no\tthe whale whale\n");
    }
    spawn_file(text, sizeof(text), "text.txt", lines);
    spawn_file(table, sizeof(table), "table.tsv", rowed);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        char entries[128];
        snprintf(entries, sizeof(entries), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n%s", rows[i].vocab);
        spawn_file(vocab, sizeof(vocab), "vocab.txt", entries);
        spawn_run(&s, home, "wattune", "bench", rows[i].work, "bert-tiny", PLAIN, "--device", "cpu",
                  "--seq", "8", "--steps", "1", "--vocab", vocab, "--data",
                  strcmp(rows[i].work, "finetune") == 0 ? table : text);
        if (spawn_code(&s) != 0)
            fail_msg("%s", s.err);
        const char *said = strstr(s.err, "not in the vocabulary");
        if (rows[i].want ? !strstr(s.err, rows[i].want) || strstr(said + 1, "not in the vocabulary")
                         : said != NULL)
            fail_msg("%s: %s", rows[i].work, s.err);
        spawn_done(&s);
    }
}

static json_t *trained(const char *seed)
{
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "4", "--batch", "2",
              "--seq", "16", "--threads", "1", "--vocab-size", "300", "--lr", "0.001", "--dropout",
              "0.1", "--seed", seed, "--evaluate", "1", "--device", "cpu", "--json", "--quiet",
              "--repeatable", "--dtype", "fp32");
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
    assert_string_equal(json_string_value(json_object_get(j, "peak")), "measured");
    assert_true(json_number_value(json_object_get(j, "held_out_step")) == 4);
    static const char *const positive[] = {"seconds",    "tokens_per_s",    "flops_per_s",
                                           "loss_first", "loss_last",       "loss_held_out",
                                           "mfu",        "peak_flops_per_s"};
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
              "--seq", "8", "--evaluate", "0", "--json", PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    json_t *j = json_loads(s.out, 0, NULL);
    assert_non_null(j);
    assert_true(json_number_value(json_object_get(j, "seconds")) >= 0.05);
    assert_true(json_is_null(json_object_get(j, "loss_held_out")));
    assert_true(json_is_null(json_object_get(j, "held_out_step")));
    assert_true(json_is_null(json_object_get(j, "peak")));
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
              "--seq", "16", "--threads", threads, "--evaluate", "0", PLAIN);
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
              "--seq", "16", "--evaluate", "0", PLAIN);
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

/* Kernels that keep data at their stack pointer: a signal's frame must not be written there. */
static void a_signal_in_the_midst_of_products_leaves_the_heap_whole(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct spawned s;
        const char *const argv[] = {TRAIN,     "bert-tiny",  "--synthetic", "--batch",
                                    "2",       "--seq",      "16",          "--threads",
                                    "1",       "--peak",     "none",        "--steps",
                                    "1000000", "--evaluate", "0",           NULL};
        spawn_start_tty(&s, home, argv);
        assert_true(spawn_expect(&s, "step "));
        usleep(20000 * (useconds_t)i + 1000);
        assert_int_equal(kill(s.pid, SIGTERM), 0);
        spawn_wait(&s);
        assert_int_equal(spawn_code(&s), 143);
        spawn_done(&s);
    }
}

static void divergence_stops_with_advice(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--batch", "1", "--seq", "8", "--lr",
              "10", "--steps", "400", PLAIN);
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

/* ---- what a run leaves ---- */

static json_t *done(struct spawned *s)
{
    if (spawn_code(s) != 0)
        print_error("%d: %s\n", spawn_code(s), s->err);
    assert_int_equal(spawn_code(s), 0);
    json_t *j = json_loads(s->out, 0, NULL);
    assert_non_null(j);
    spawn_done(s);
    return j;
}

/* All bits of all weights, behind the header whose length comes first. */
static void break_weights(const char *folder)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    FILE *f = fopen(path, "r+");
    uint64_t header;
    assert_non_null(f);
    assert_int_equal(fread(&header, sizeof(header), 1, f), 1);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long end = ftell(f);
    assert_int_equal(fseek(f, (long)(sizeof(header) + header), SEEK_SET), 0);
    while (ftell(f) < end)
        assert_true(fputc(0xff, f) != EOF);
    assert_int_equal(fclose(f), 0);
}

/* Fails with 2, saying so. */
static void refused(struct spawned *s, const char *want)
{
    if (spawn_code(s) != 2 || !strstr(s->err, want))
        fail_msg("%d, %s", spawn_code(s), s->err);
    spawn_done(s);
}

static double number(const json_t *j, const char *key)
{
    const json_t *value = json_object_get(j, key);
    if (!json_is_number(value))
        print_error("%s is no number\n", key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* A small GPT-2 as a config.json. */
static const char *small_gpt2(void)
{
    static const char text[] = "{\"model_type\": \"gpt2\", \"vocab_size\": 500, \"n_embd\": 64, "
                               "\"n_layer\": 2, \"n_head\": 2, \"n_positions\": 64}";
    static char path[128];
    return spawn_file(path, sizeof(path), "gpt2.json", text);
}

#define SMALL                                                                                      \
    "--data", JONAH, "--batch", "2", "--seq", "16", "--vocab-size", "400", "--schedule",           \
        "constant", "--warmup", "0", "--dropout", "0.1", "--repeatable", "--json", "--quiet",      \
        PLAIN

static void twenty_steps_are_ten_and_ten_after_a_resume(void **state)
{
    (void)state;
    char model[128], folder[128];
    snprintf(model, sizeof(model), "%s", small_gpt2());
    spawn_path(folder, sizeof(folder), "stand");
    const char *const models[] = {"bert-tiny", model};
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
        struct spawned s;
        spawn_run(&s, home, TRAIN, models[i], SMALL, "--steps", "20");
        json_t *whole = done(&s);
        spawn_run(&s, home, TRAIN, models[i], SMALL, "--steps", "10", "--checkpoint", folder);
        json_t *half = done(&s);
        spawn_run(&s, home, TRAIN, models[i], SMALL, "--steps", "20", "--checkpoint", folder,
                  "--checkpoint-every", "5", "--resume");
        json_t *rest = done(&s);
        assert_true(number(rest, "steps") == 10);
        assert_true(number(rest, "step_from") == 10);
        assert_true(number(half, "loss_last") != number(whole, "loss_last"));
        assert_true(number(rest, "loss_last") == number(whole, "loss_last"));
        assert_true(number(rest, "loss_held_out") == number(whole, "loss_held_out"));
        json_decref(whole);
        json_decref(half);
        json_decref(rest);

        /* It does not go on as another run. */
        spawn_run(&s, home, TRAIN, models[i], SMALL, "--seed", "2", "--steps", "30", "--checkpoint",
                  folder, "--resume");
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(strstr(s.err, "--seed was 1, and is 2 here"));
        spawn_done(&s);
        spawn_run(&s, home, TRAIN, models[i], SMALL, "--steps", "20", "--checkpoint", folder,
                  "--resume");
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(strstr(s.err, "20 steps are done"));
        spawn_done(&s);
        char command[300];
        snprintf(command, sizeof(command), "rm -r '%s'", folder);
        assert_int_equal(system(command), 0);
    }
}

static void a_saved_folder_is_a_model_that_is_read_again(void **state)
{
    (void)state;
    char model[128], folder[128], path[160];
    struct spawned s;
    snprintf(model, sizeof(model), "%s", small_gpt2());
    spawn_path(folder, sizeof(folder), "saved");
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "30", "--lr", "0.003", "--save", folder);
    json_t *j = done(&s);
    double held_out = number(j, "loss_held_out");
    json_decref(j);
    snprintf(path, sizeof(path), "%s/config.json", folder);
    j = json_load_file(path, 0, NULL);
    assert_true(number(j, "resid_pdrop") == 0.1); /* as it was given */
    json_decref(j);
    /* Vocabulary and weights come from the folder now. */
    spawn_run(&s, home, TRAIN, folder, "--data", JONAH, "--batch", "2", "--seq", "16", "--steps",
              "1", "--lr", "1e-12", "--evaluate", "4", "--json", PLAIN);
    assert_non_null(strstr(s.err, "parameters of its folder"));
    j = done(&s);
    assert_true(fabs(number(j, "loss_held_out") - held_out) < 1e-3);
    assert_true(number(j, "vocabulary") == 400);
    json_decref(j);
    spawn_run(&s, home, GENERATE, folder, "--prompt", "And the LORD", "--tokens", "6", "--greedy",
              PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_int_equal(strncmp(s.out, "And the LORD", 12), 0);
    assert_true(strlen(s.out) > 13);
    spawn_done(&s);

    /* Cut short, it is named. */
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    assert_int_equal(truncate(path, 5000), 0);
    spawn_run(&s, home, INFER, folder, "--data", JONAH, PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "saved/model.safetensors: "));
    spawn_done(&s);
}

static const char *table(void)
{
    char text[4096];
    size_t used = 0;
    for (unsigned i = 0; i < 40; i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%s\n",
                             i % 3 ? "fish\tthe great fish of the sea" : "ship\ta ship and a wind");
    static char path[128];
    return spawn_file(path, sizeof(path), "table.tsv", text);
}

static void a_checkpoint_is_replaced_only_by_its_own_run(void **state)
{
    (void)state;
    char folder[128];
    struct spawned s;
    spawn_path(folder, sizeof(folder), "ck");
    const char *model = small_gpt2();
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "3", "--checkpoint", folder);
    json_decref(done(&s));
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "9", "--checkpoint", folder);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "ck holds a checkpoint of 3 steps"));
    assert_non_null(strstr(s.err, "--resume goes on from it; give another folder"));
    spawn_done(&s);

    /* It says what is of the checkpoint, and what is of this run. */
    spawn_run(&s, home, TRAIN, model, "--data", JONAH, "--batch", "2", "--seq", "16",
              "--vocab-size", "400", "--dropout", "0.1", "--steps", "5", "--checkpoint", folder,
              "--resume", "--json", PLAIN);
    assert_non_null(strstr(s.err, "parameters of the checkpoint"));
    assert_non_null(strstr(s.err, ", resumed at step 3, "));
    assert_non_null(strstr(s.err, "; resumed at step 3, loss "));
    json_t *j = done(&s);
    assert_true(number(j, "loss_resumed") != number(j, "loss_first"));
    json_decref(j);
}

/* Text backwards, word for word the same: as many sequences of the same vocabulary. */
static void a_checkpoint_goes_on_with_its_own_text_only(void **state)
{
    (void)state;
    static const char *const texts[] = {"the whale of the sea and the ship in the storm ",
                                        "storm the in ship the and sea the of whale the "};
    struct spawned s;
    char folder[128], text[2][128], saved[128], command[400], words[4096];
    spawn_path(folder, sizeof(folder), "own");
    spawn_path(saved, sizeof(saved), "saved");
    for (unsigned i = 0; i < 2; i++) {
        words[0] = '\0';
        for (unsigned k = 0; k < 60; k++)
            strcat(words, texts[i]);
        spawn_file(text[i], sizeof(text[i]), i ? "back.txt" : "on.txt", words);
    }
#define OWN(file, steps)                                                                           \
    TRAIN, "bert-tiny", "--data", file, "--vocab-size", "64", "--batch", "2", "--seq", "16",       \
        "--steps", steps, "--quiet", PLAIN
    spawn_run(&s, home, OWN(text[0], "2"), "--checkpoint", folder);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    spawn_run(&s, home, OWN(text[1], "4"), "--checkpoint", folder, "--resume");
    refused(&s, "was trained on another text than");
    spawn_run(&s, home, OWN(text[0], "3"), "--checkpoint", folder, "--resume");
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);

    /* Nor with weights of another run, which nothing of ours puts there. */
    spawn_run(&s, home, OWN(text[0], "2"), "--save", folder);
    refused(&s, "is a checkpoint's folder");
    char within[160], again[160];
    snprintf(within, sizeof(within), "%s/new/model", saved);
    snprintf(again, sizeof(again), "%s/../saved//", saved);
    const char *const places[] = {saved, within, again};
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        spawn_run(&s, home, OWN(text[0], "2"), "--checkpoint", saved, "--save", places[i]);
        refused(&s, "is a checkpoint's folder, or in it");
    }
    spawn_run(&s, home, OWN(text[0], "2"), "--save", saved);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    snprintf(command, sizeof(command), "cp '%s/model.safetensors' '%s/'", saved, folder);
    assert_int_equal(system(command), 0);
    spawn_run(&s, home, OWN(text[0], "4"), "--checkpoint", folder, "--resume");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "are not those that the checkpoint was left with"));
    spawn_done(&s);
}

/* Nor over one that another run has left there since. */
static void another_runs_checkpoint_is_not_replaced(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128], saved[128], command[900];
    spawn_path(folder, sizeof(folder), "both");
    spawn_path(saved, sizeof(saved), "both-saved");
    const char *const argv[] = {
        TRAIN, "bert-tiny", "--synthetic", "--batch",      "1",    "--seq",
        "8",   "--seconds", "60",          "--checkpoint", folder, "--checkpoint-every",
        "20",  "--save",    saved,         PLAIN,          NULL};
    spawn_start_tty(&s, home, argv);
    assert_true(spawn_expect(&s, "step "));
    /* The same, as a file of its own; again and again until it is noticed. */
    snprintf(command, sizeof(command),
             "while kill -0 %d 2>/dev/null && ! grep -q '^State:.Z' /proc/%d/status; do "
             "cp '%s/wattune.json' '%s.copy' && mv '%s.copy' '%s/wattune.json'; sleep 0.05; done "
             "2>/dev/null",
             (int)s.pid, (int)s.pid, folder, folder, folder, folder);
    assert_int_equal(system(command), 0);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.out, "another run has left a checkpoint there meanwhile"));
    spawn_done(&s);
}

/* What was trained to its end is kept where it can be. */
static void a_model_is_saved_where_its_checkpoint_cannot_be(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128], saved[128], file[160], command[1000];
    spawn_path(folder, sizeof(folder), "taken");
    spawn_path(saved, sizeof(saved), "kept");
    /* Once the places were looked at, and before the last step. */
    snprintf(command, sizeof(command),
             "\"$WATTUNE_COMMAND\" bench train bert-tiny --synthetic --batch 1 --seq 8 --seconds 1 "
             "--peak none --checkpoint '%s' --save '%s' & p=$!; "
             "until test -d '%s'; do sleep 0.01; done; mkdir '%s'; echo >'%s/other'; wait $p",
             folder, saved, saved, folder, folder);
    spawn_run(&s, home, "sh", "-c", command);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "is there and is no checkpoint"));
    spawn_done(&s);
    snprintf(file, sizeof(file), "%s/model.safetensors", saved);
    assert_int_equal(access(file, F_OK), 0);
}

static void what_a_signal_ends_is_not_saved(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128];
    spawn_path(folder, sizeof(folder), "not-saved");
    const char *const argv[] = {TRAIN,   "bert-tiny", "--synthetic", "--batch", "1",
                                "--seq", "8",         "--steps",     "1000000", "--save",
                                folder,  PLAIN,       NULL};
    spawn_start_tty(&s, home, argv);
    assert_true(spawn_expect(&s, "step "));
    assert_int_equal(kill(s.pid, SIGINT), 0);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 130);
    assert_non_null(strstr(s.out, "not saved in "));
    assert_int_not_equal(access(folder, F_OK), 0);
    spawn_done(&s);
}

static void a_model_is_not_saved_among_anothers_files(void **state)
{
    (void)state;
    struct spawned s;
    char bert[128], gpt2[128];
    spawn_path(bert, sizeof(bert), "bert");
    spawn_path(gpt2, sizeof(gpt2), "gpt2");
    spawn_run(&s, home, TRAIN, "bert-tiny", SMALL, "--steps", "1", "--save", bert);
    json_decref(done(&s));
    spawn_run(&s, home, TRAIN, small_gpt2(), SMALL, "--steps", "1", "--save", gpt2);
    json_decref(done(&s));
    spawn_run(&s, home, TRAIN, "bert-tiny", SMALL, "--steps", "1", "--save", gpt2);
    refused(&s, " would stay");
    spawn_run(&s, home, TRAIN, small_gpt2(), SMALL, "--steps", "1", "--save", bert);
    refused(&s, "holds another model, whose vocab.txt would stay");
    /* Over itself, and over what it was made from. */
    spawn_run(&s, home, TRAIN, "bert-tiny", SMALL, "--steps", "1", "--save", bert);
    json_decref(done(&s));
    spawn_run(&s, home, TRAIN, bert, "--data", JONAH, "--seq", "16", "--steps", "1", "--save", bert,
              "--json", PLAIN);
    json_decref(done(&s));
}

static void a_place_that_cannot_be_is_refused(void **state)
{
    (void)state;
    char folder[128], path[160];
    struct spawned s;
    spawn_path(folder, sizeof(folder), "ck");
    const char *model = small_gpt2();
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "3", "--checkpoint", folder);
    json_decref(done(&s));
    snprintf(path, sizeof(path), "%s/wattune.json", folder);
    json_t *j = json_load_file(path, 0, NULL), *position = json_object_get(j, "position");
    assert_true(number(position, "place") == 3 * 2);
    json_object_set_new(position, "place", json_integer(INT64_MAX));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "5", "--checkpoint", folder, "--resume");
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "of 3 steps, its place cannot be 9223372036854775807"));
    spawn_done(&s);
}

static void where_it_cannot_be_written_is_said_before_any_step(void **state)
{
    (void)state;
    char inside[160];
    struct spawned s;
    /* A file where a folder should be: refused to root as well. */
    char path[128];
    snprintf(inside, sizeof(inside), "%s/deeper", spawn_file(path, sizeof(path), "taken", "x"));
    static const char *const options[] = {"--save", "--checkpoint"};
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        char deep[200];
        snprintf(deep, sizeof(deep), "%s/d", inside);
        spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "1", options[i], deep,
                  PLAIN);
        assert_int_equal(spawn_code(&s), 1);
        assert_non_null(strstr(s.err, "taken"));
        assert_null(strstr(s.err, "training bert-tiny"));
        spawn_done(&s);
    }
    spawn_file(path, sizeof(path), "other", "x");
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "1", "--checkpoint", home,
              PLAIN);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "is there and is no checkpoint"));
    assert_null(strstr(s.err, "training bert-tiny"));
    spawn_done(&s);
    snprintf(inside, sizeof(inside), "%s/link", home);
    assert_int_equal(symlink("nothing", inside), 0);
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--steps", "1", "--checkpoint", inside,
              PLAIN);
    assert_int_equal(spawn_code(&s), 2);
    assert_null(strstr(s.err, "training bert-tiny"));
    spawn_done(&s);
}

static void a_run_that_cannot_be_kept_is_summed_up_all_the_same(void **state)
{
    (void)state;
    char folder[128], blocked[160], command[400];
    struct spawned s;
    spawn_path(folder, sizeof(folder), "kept");
    /* The folder can be written to, but a folder has the name of the weights. */
    snprintf(blocked, sizeof(blocked), "%s/model.safetensors/x", folder);
    snprintf(command, sizeof(command), "mkdir -p '%s'", blocked);
    assert_int_equal(system(command), 0);
    spawn_run(&s, home, TRAIN, small_gpt2(), "--data", JONAH, "--batch", "2", "--seq", "16",
              "--vocab-size", "400", "--steps", "2", "--save", folder, PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "2 steps, 64 tokens in "));
    assert_non_null(strstr(s.err, "model.safetensors"));
    spawn_done(&s);
}

static void a_failure_stands_on_a_line_of_its_own_and_leaves_no_folder(void **state)
{
    (void)state;
    char folder[128], command[600];
    struct spawned s;
    spawn_path(folder, sizeof(folder), "empty");
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", "/no/such/text", "--steps", "1", "--save",
              folder, PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_int_equal(access(folder, F_OK), -1);
    spawn_done(&s);
    /* A limit on files stands in for a disk that gets full under the progress line. */
    snprintf(command, sizeof(command),
             "trap '' XFSZ; ulimit -f 8; \"$WATTUNE_COMMAND\" bench train bert-tiny --synthetic "
             "--batch 1 --seq 16 --steps 3 --checkpoint '%s' --checkpoint-every 1",
             folder);
    const char *const argv[] = {"sh", "-c", command, NULL};
    spawn_start_tty(&s, home, argv);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.out, "\r\033[Kwattune bench: writing "));
    assert_non_null(strstr(s.out, strerror(EFBIG)));
    spawn_done(&s);
}

static void a_vocabulary_must_be_the_models(void **state)
{
    (void)state;
    char gpt2[128], bert[128], model[128], path[200];
    struct spawned s;
    spawn_path(gpt2, sizeof(gpt2), "gpt2");
    spawn_path(bert, sizeof(bert), "bert");
    snprintf(model, sizeof(model), "%s", small_gpt2());
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "1", "--save", gpt2);
    json_decref(done(&s));
    spawn_run(&s, home, TRAIN, "bert-tiny", SMALL, "--steps", "1", "--save", bert);
    json_decref(done(&s));
    const char *const rows[][12] = {
        {TRAIN, model, "--data", JONAH, "--seq", "16", "--vocab", bert},
        {INFER, model, "--data", JONAH, "--seq", "16", "--vocab", bert},
        {GENERATE, gpt2, "--prompt", "And", "--vocab", bert},
        {TRAIN, "bert-tiny", "--data", JONAH, "--vocab", gpt2},
        {INFER, bert, "--data", JONAH, "--vocab", gpt2},
        {"wattune", "bench", "finetune", "bert-tiny", "--data", table(), "--vocab", gpt2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        spawn_start(&s, home, rows[i]);
        spawn_wait(&s);
        if (spawn_code(&s) != 2)
            print_error("row %zu: %d, %s\n", i, spawn_code(&s), s.err);
        assert_int_equal(spawn_code(&s), 2);
        assert_non_null(strstr(s.err, i < 3 ? "byte-level BPE, not WordPiece"
                                            : "WordPiece, not byte-level BPE"));
        spawn_done(&s);
    }

    /* Fewer entries than the weights know: a question, no refusal. */
    spawn_run(&s, home, INFER, bert, "--data", JONAH, "--vocab", bert, "--steps", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "is it the vocabulary they were trained with?"));
    spawn_done(&s);

    /* Weights without a vocabulary get none made up for them. */
    snprintf(path, sizeof(path), "%s/vocab.txt", bert);
    assert_int_equal(unlink(path), 0);
    spawn_run(&s, home, INFER, bert, "--data", JONAH, "--steps", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 2);
    assert_non_null(strstr(s.err, "has weights and no vocabulary"));
    assert_non_null(strstr(s.err, "--vocab"));
    spawn_done(&s);
}

static void pinned_threads_are_not_too_many_for_one_cpu(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, small_gpt2(), "--synthetic", "--steps", "1", "--seq", "16", "--pin",
              PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, ", pinned"));
    assert_null(strstr(s.err, "is more than the"));
    spawn_done(&s);
}

static void progress_is_cut_to_the_terminals_width(void **state)
{
    (void)state;
    struct spawned s;
    const char *model = small_gpt2();
    char command[600];
    snprintf(command, sizeof(command),
             "stty cols 24; exec '%s' bench train '%s' --data '%s' --batch 1 --seq 8 --vocab-size "
             "400 --steps 60 --peak none",
             getenv("WATTUNE_COMMAND"), model, JONAH);
    const char *const argv[] = {"sh", "-c", command, NULL};
    spawn_start_tty(&s, home, argv);
    spawn_wait(&s);
    assert_int_equal(spawn_code(&s), 0);
    const char *line = strstr(s.out, "\033[Kstep ");
    assert_non_null(line);
    assert_true(strcspn(line + 3, "\r\n") <= 23);
    spawn_done(&s);
}

static void fine_tuning_learns_classes(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128], path[160];
    spawn_path(folder, sizeof(folder), "classes");
    spawn_run(&s, home, "wattune", "bench", "finetune", "bert-tiny", "--data", table(), "--seq",
              "16", "--steps", "60", "--lr", "0.002", "--clip", "1", "--decay", "0", "--vocab-size",
              "90", "--accumulate", "2", "--batch", "4", "--evaluate-every", "30", "--save", folder,
              "--json", "--seed", "1", PLAIN);
    json_t *j = done(&s);
    assert_true(number(j, "accuracy_held_out") == 1);
    assert_true(number(j, "loss_held_out") < 0.3);
    assert_true(number(j, "evaluated") == 4 && number(j, "evaluated_of") == 4);
    assert_int_equal(json_array_size(json_object_get(j, "evaluations")), 2);
    json_decref(j);
    snprintf(path, sizeof(path), "%s/config.json", folder);
    j = json_load_file(path, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "id2label"), "1")),
                        "ship");
    json_decref(j);
}

static double accuracy(const char *folder, const char *rows)
{
    struct spawned s;
    spawn_run(&s, home, FINETUNE, folder, "--data", rows, "--seq", "16", "--evaluate-only",
              "--json", "--quiet", PLAIN);
    json_t *j = done(&s);
    double right = number(j, "accuracy"), steps = number(j, "steps");
    assert_true(json_is_null(json_object_get(j, "accuracy_held_out")));
    assert_true(number(j, "evaluated") == 48 && number(j, "evaluated_of") == 48);
    assert_true(steps == ceil(48.0 / 8)); /* all rows, none of them held out from the others */
    json_decref(j);
    return right;
}

/* 48 rows of two classes. */
static const char *rows_of(const char *file, const char *fish, const char *ship)
{
    static char path[8][128];
    static unsigned next;
    char text[2048];
    size_t used = 0;
    for (unsigned i = 0; i < 48; i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%s\t%s %u\n", i % 2 ? ship : fish,
                             i % 2 ? "a ship of the sea" : "the great fish", i % 3);
    return spawn_file(path[next++ % 8], sizeof(path[0]), file, text);
}

/* zero NULL: no names. */
static void name_classes(const char *folder, const char *zero, const char *one)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/config.json", folder);
    json_t *j = json_load_file(path, 0, NULL);
    json_object_del(j, "id2label");
    if (zero)
        json_object_set_new(j, "id2label", json_pack("{s:s, s:s}", "0", zero, "1", one));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
}

static void evaluation_fails(const char *folder, const char *rows, const char *want)
{
    struct spawned s;
    spawn_run(&s, home, FINETUNE, folder, "--data", rows, "--seq", "16", "--evaluate-only", PLAIN);
    if (spawn_code(&s) == 0 || !strstr(s.err, want))
        fail_msg("%d, %s", spawn_code(&s), s.err);
    spawn_done(&s);
}

/* A class has the number that the folder's classifier gives it, whatever the order of the names. */
static void a_folders_classes_keep_their_numbers(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128], again[128], path[160];
    spawn_path(folder, sizeof(folder), "numbers");
    spawn_path(again, sizeof(again), "again");
    const char *rows = rows_of("rows.tsv", "zander", "ark");
    spawn_run(&s, home, FINETUNE, "bert-tiny", "--data", rows, "--seq", "16", "--steps", "40",
              "--lr", "0.002", "--vocab-size", "90", "--save", folder, "--json", PLAIN);
    json_decref(done(&s));
    assert_true(accuracy(folder, rows) == 1);
    /* The names turned round: all is wrong now. */
    name_classes(folder, "zander", "ark");
    assert_true(accuracy(folder, rows) == 0);
    /* And what is trained from there and saved has them so. */
    spawn_run(&s, home, FINETUNE, folder, "--data", rows, "--seq", "16", "--steps", "1", "--save",
              again, "--json", PLAIN);
    json_t *j = done(&s);
    assert_true(number(j, "loss_first") > 1); /* of a classifier that was sure of the other class */
    json_decref(j);
    snprintf(path, sizeof(path), "%s/config.json", again);
    j = json_load_file(path, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "id2label"), "0")),
                        "zander");
    json_decref(j);
    /* Labels that are numbers are the classifier's; without names there is nothing else. */
    assert_true(accuracy(folder, rows_of("numbers.tsv", "1", "0")) == 1);
    /* Without names there is nothing else; wrong ones are no reason to invent some. */
    name_classes(folder, "same", "same");
    evaluation_fails(folder, rows, "id2label does not name each class once of the 2");
    name_classes(folder, NULL, NULL);
    assert_true(accuracy(folder, rows_of("numbers.tsv", "1", "0")) == 1);
    assert_true(accuracy(folder, rows_of("names.tsv", "LABEL_1", "LABEL_0")) == 1);
    spawn_run(&s, home, FINETUNE, folder, "--data", rows, "--seq", "16", "--steps", "1", PLAIN);
    refused(&s, "none of the 2 classes of ");

    /* Other classes: only with another classifier. */
    name_classes(folder, "ark", "zander");
    const char *others = rows_of("others.tsv", "fish", "ark");
    spawn_run(&s, home, FINETUNE, folder, "--data", others, "--seq", "16", "--steps", "1", PLAIN);
    refused(&s, "the label \"fish\" is none of the 2 classes of ");
    spawn_run(&s, home, FINETUNE, folder, "--data", table(), "--seq", "16", "--steps", "1", PLAIN);
    refused(&s, "--new-head");
    spawn_run(&s, home, FINETUNE, folder, "--data", others, "--seq", "16", "--steps", "40", "--lr",
              "0.002", "--new-head", "--save", again, PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "and random: classifier.weight classifier.bias"));
    spawn_done(&s);
    assert_true(accuracy(again, others) == 1);
    /* Of one class there is nothing to learn, but something to judge. */
    const char *same = rows_of("same.tsv", "ark", "ark");
    assert_true(accuracy(again, same) == 0.5);
    spawn_run(&s, home, FINETUNE, "bert-tiny", "--data", same, "--seq", "16", PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "all rows have the label \"ark\""));
    spawn_done(&s);
    spawn_run(&s, home, FINETUNE, "bert-tiny", "--data", rows, "--evaluate-only", PLAIN);
    refused(&s, "bert-tiny has no classifier");

    snprintf(path, sizeof(path), "%s/config.json", again);
    j = json_load_file(path, 0, NULL);
    json_object_set_new(j, "problem_type", json_string("regression"));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
    evaluation_fails(again, others, "problem_type is \"regression\"");
    name_classes(folder, "ark", "zander");
    break_weights(folder);
    evaluation_fails(folder, rows, "evaluation broke down: a loss is not a number");
    spawn_run(&s, home, FINETUNE, folder, "--data", rows, "--seq", "16", "--steps", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "give no finite numbers")); /* and not the learning rate */
    spawn_done(&s);
}

/* The labels are no text. */
static void a_vocabulary_is_made_of_the_texts_alone(void **state)
{
    (void)state;
    struct spawned s;
    char folder[128], path[160];
    spawn_path(folder, sizeof(folder), "words");
    spawn_run(&s, home, FINETUNE, "bert-tiny", "--data", rows_of("rows.tsv", "zander", "quark"),
              "--seq", "16", "--steps", "1", "--vocab-size", "300", "--save", folder, "--json",
              PLAIN);
    json_decref(done(&s));
    snprintf(path, sizeof(path), "%s/vocab.txt", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[64];
    bool has_fish = false;
    while (fgets(line, sizeof(line), file)) {
        has_fish |= strcmp(line, "fish\n") == 0;
        assert_null(strpbrk(line, "zqk"));
    }
    fclose(file);
    assert_true(has_fish);
}

/* As Excel writes a table: with and without a heading. */
static void a_mark_before_a_text_is_no_part_of_it(void **state)
{
    (void)state;
    struct spawned s;
    char rows[128], text[1024], folder[128], path[160];
    for (unsigned has_heading = 0; has_heading < 2; has_heading++) {
        size_t used = (size_t)snprintf(text, sizeof(text), "\xef\xbb\xbf%s",
                                       has_heading ? "label,text\r\n" : "");
        for (unsigned i = 0; i < 20; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\r\n",
                                     i % 2 ? "1,a ship" : "0,the great fish");
        spawn_file(rows, sizeof(rows), "rows.csv", text);
        spawn_path(folder, sizeof(folder), has_heading ? "with" : "without");
        spawn_run(&s, home, "wattune", "bench", "finetune", "bert-tiny", "--data", rows, "--seq",
                  "8", "--steps", "1", "--batch", "2", "--evaluate", "0", "--save", folder,
                  "--json", PLAIN);
        json_decref(done(&s));
        snprintf(path, sizeof(path), "%s/config.json", folder);
        json_t *j = json_load_file(path, 0, NULL), *names = json_object_get(j, "id2label");
        assert_int_equal(json_object_size(names), 2);
        assert_string_equal(json_string_value(json_object_get(names, "0")), "0");
        json_decref(j);
    }

    /* A prompt's first token is not the mark's. */
    double tokens[2];
    for (unsigned has_mark = 0; has_mark < 2; has_mark++) {
        spawn_file(path, sizeof(path), "prompt.txt", has_mark ? "\xef\xbb\xbfthe" : "the");
        spawn_run(&s, home, GENERATE, small_gpt2(), "--data", JONAH, "--vocab-size", "400",
                  "--prompt-file", path, "--tokens", "1", "--json", PLAIN);
        json_t *j = done(&s);
        tokens[has_mark] = number(j, "prompt_tokens");
        json_decref(j);
    }
    assert_true(tokens[0] == tokens[1]);
}

static void a_made_vocabulary_is_no_larger_than_the_model(void **state)
{
    (void)state;
    struct spawned s;
    char rows[128], text[32768], line[400];
    size_t used = 0;
    FILE *jonah = fopen(JONAH, "r");
    assert_non_null(jonah);
    while (used + sizeof(line) + 2 < sizeof(text) && fgets(line, sizeof(line), jonah))
        if (strlen(line) > 1)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%c\t%s",
                                     used % 2 ? 'a' : 'b', line);
    fclose(jonah);
    spawn_file(rows, sizeof(rows), "jonah.tsv", text);
    spawn_run(&s, home, "wattune", "bench", "finetune", small_gpt2(), "--data", rows, "--seq", "16",
              "--steps", "1", "--batch", "2", "--evaluate", "1", "--json", PLAIN);
    json_t *j = done(&s);
    assert_true(number(j, "vocabulary") == 500);
    json_decref(j);
}

static void a_line_of_one_token_is_read_and_not_judged(void **state)
{
    (void)state;
    struct spawned s;
    char lines[128];
    spawn_file(lines, sizeof(lines), "lines.txt", "a\nb\n");
    static const char *const types[] = {"fp32", "int8"};
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        spawn_run(&s, home, INFER, small_gpt2(), "--data", lines, "--seq", "16", "--vocab-size",
                  "330", "--batch", "2", "--steps", "2", "--dtype", types[i], "--json", PLAIN);
        json_t *j = done(&s);
        assert_true(number(j, "tokens") == 4);
        assert_true(json_is_null(json_object_get(j, "loss")));
        json_decref(j);
    }
}

static void inference_counts_real_tokens_padded_or_packed(void **state)
{
    (void)state;
    struct spawned s;
    double tokens[2];
    for (unsigned i = 0; i < 2; i++) {
        spawn_run(&s, home, INFER, "bert-tiny", "--data", JONAH, "--steps", "3",
                  i ? "--packed" : "--padded", "--json", PLAIN);
        json_t *j = done(&s);
        tokens[i] = number(j, "tokens");
        assert_true(i ? number(j, "padding_share") == 0 : number(j, "padding_share") > 0.1);
        assert_true(number(j, "latency_p50_s") > 0);
        assert_true(number(j, "latency_p50_s") <= number(j, "latency_p99_s"));
        assert_true(json_is_null(json_object_get(j, "mfu")));
        json_decref(j);
    }
    assert_true(tokens[0] == tokens[1]);

    /* A GPT-2 that knows nothing finds every entry as likely as any other. */
    spawn_run(&s, home, INFER, small_gpt2(), "--data", JONAH, "--vocab-size", "400", "--steps", "2",
              "--seq", "64", "--json", PLAIN);
    json_t *j = done(&s);
    assert_true(fabs(number(j, "loss") - log(500)) < 0.1);
    assert_true(fabs(log(number(j, "perplexity")) - number(j, "loss")) < 1e-9);
    json_decref(j);
}

static void of_how_much_of_the_text_a_loss_is_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *steps, *want;
        unsigned read;
    } rows[] = {{"1", " of the first 2 of 4 lines\n", 2},
                {"2", " of all 4 lines\n", 4},
                {"3", " of 4 lines, read 1.5 times\n", 6}};
    char text[128];
    spawn_file(text, sizeof(text), "lines.txt", "the sea\nthe whale\n\nthe ship\na storm\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, INFER, small_gpt2(), "--data", text, "--vocab-size", "330", "--seq",
                  "16", "--batch", "2", "--steps", rows[i].steps, "--json", PLAIN);
        assert_non_null(strstr(s.err, rows[i].want));
        json_t *j = done(&s);
        assert_true(number(j, "sequences") == 4);
        assert_true(number(j, "sequences_read") == rows[i].read);
        json_decref(j);
    }
    /* A text of few tokens has no unknown ones for that. */
    struct spawned s;
    spawn_file(text, sizeof(text), "short.txt", "the sea\n");
    spawn_run(&s, home, TRAIN, small_gpt2(), "--data", text, "--vocab-size", "330", "--seq", "16",
              "--steps", "2", "--evaluate-every", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_null(strstr(s.err, "not in the vocabulary"));
    spawn_done(&s);
    /* What is judged on the way is shown. */
    spawn_run(&s, home, TRAIN, "bert-tiny", "--data", JONAH, "--vocab-size", "330", "--seq", "16",
              "--batch", "2", "--steps", "2", "--evaluate-every", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "\nstep 1  held out "));
    assert_non_null(strstr(s.err, "\nstep 2  held out "));
    spawn_done(&s);
}

static void weights_that_are_no_numbers_say_nothing(void **state)
{
    (void)state;
    struct spawned s;
    char model[128], folder[128];
    snprintf(model, sizeof(model), "%s", small_gpt2());
    spawn_path(folder, sizeof(folder), "broken");
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "1", "--save", folder);
    json_decref(done(&s));
    break_weights(folder);
    spawn_run(&s, home, GENERATE, folder, "--prompt", "And", "--tokens", "3", PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_string_equal(s.out, "");
    assert_non_null(strstr(s.err, "in step 1 the logits of token 1 are not numbers"));
    assert_non_null(strstr(s.err, "broken give no finite numbers"));
    spawn_done(&s);
    spawn_run(&s, home, INFER, folder, "--data", JONAH, "--seq", "16", "--steps", "1", PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "reading broke down: in step 1 the loss is not a number"));
    assert_non_null(strstr(s.err, "broken give no finite numbers"));
    spawn_done(&s);

    /* An encoder's are looked at once. */
    char bert[] =
        "{\"model_type\": \"bert\", \"vocab_size\": 500, \"hidden_size\": 64, "
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 64}";
    spawn_file(model, sizeof(model), "bert.json", bert);
    spawn_path(folder, sizeof(folder), "bert-broken");
    spawn_run(&s, home, TRAIN, model, SMALL, "--steps", "1", "--save", folder);
    json_decref(done(&s));
    spawn_run(&s, home, INFER, folder, "--data", JONAH, "--seq", "16", "--steps", "2", PLAIN);
    assert_int_equal(spawn_code(&s), 0);
    spawn_done(&s);
    break_weights(folder);
    spawn_run(&s, home, INFER, folder, "--data", JONAH, "--seq", "16", "--steps", "2", PLAIN);
    assert_int_equal(spawn_code(&s), 1);
    assert_non_null(strstr(s.err, "in step 1 what comes out is not a number"));
    spawn_done(&s);
}

static void generation_has_prefill_and_decode_apart(void **state)
{
    (void)state;
    struct spawned s;
    char model[128];
    char prompt[128];
    spawn_file(prompt, sizeof(prompt), "prompt.txt", "the word of");
    snprintf(model, sizeof(model), "%s", small_gpt2());
    json_t *texts[2];
    for (unsigned i = 0; i < 2; i++) { /* the same seed, the same texts */
        spawn_run(&s, home, GENERATE, model, "--data", JONAH, "--vocab-size", "400",
                  "--prompt-file", prompt, "--tokens", "9", "--batch", "2", "--steps", "2",
                  "--temperature", "0.9", "--top-k", "50", "--top-p", "0.95", "--seed", "4",
                  "--repeatable", "--json", PLAIN);
        json_t *j = done(&s);
        double prompt_tokens = number(j, "prompt_tokens");
        assert_true(number(j, "prefill_tokens") == 2 * 2 * prompt_tokens);
        assert_true(number(j, "decode_tokens") <= 2 * 2 * 8);
        assert_true(number(j, "decode_tokens_per_s") > 0);
        assert_true(number(j, "first_token_p50_s") > 0);
        assert_true(number(j, "token_p50_s") <= number(j, "token_p95_s"));
        texts[i] = json_incref(json_object_get(j, "texts"));
        assert_int_equal(json_array_size(texts[i]), 2);
        json_decref(j);
    }
    assert_true(json_equal(texts[0], texts[1]));
    assert_false(json_equal(json_array_get(texts[0], 0), json_array_get(texts[0], 1)));
    json_decref(texts[0]);
    json_decref(texts[1]);
}

static void what_comes_after_the_end_of_a_text_is_no_token(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, GENERATE, small_gpt2(), "--data", JONAH, "--vocab-size", "320", "--prompt",
              "a", "--tokens", "40", "--batch", "128", "--peak", "1e9", "--json");
    json_t *j = done(&s);
    /* One of 320 is the end: of 128 sequences some are there before the others. */
    assert_true(number(j, "decode_tokens") < 128 * 39);
    assert_true(number(j, "decode_tokens") > 64 * 39);
    assert_string_equal(json_string_value(json_object_get(j, "peak")), "given");
    json_decref(j);
}

static void random_tokens_are_said_to_be_random(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, TRAIN, small_gpt2(), "--synthetic", "--steps", "2", "--seq", "16", "--json",
              "--schedule", "cosine", PLAIN);
    assert_non_null(strstr(s.err, "the tokens are random, not text"));
    json_t *j = done(&s);
    assert_true(json_is_true(json_object_get(j, "synthetic")));
    assert_true(json_is_null(json_object_get(j, "loss_held_out")));
    json_decref(j);
}

static void every_work_runs_on_the_emulated_device(void **state)
{
    (void)state;
    const char *wattune = getenv("WATTUNE_COMMAND");
    static const char *const rows[][2] = {{"train", "gpt2"},
                                          {"train", "distilbert-base"},
                                          {"infer", "bert-large"},
                                          {"infer", "gpt2"},
                                          {"generate", "gpt2-medium"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "emulate", "a100-pcie-80gb", "--", wattune, "bench",
                  rows[i][0], rows[i][1], "--steps", "1", "--dtype", "bf16", "--json");
        json_t *j = done(&s);
        assert_true(number(j, "mfu") > 0 && number(j, "mfu") <= 1);
        assert_true(number(j, "peak_flops_per_s") > 1e14);
        assert_string_equal(json_string_value(json_object_get(j, "peak")), "profile");
        json_decref(j);
    }
}

static void a_type_has_its_own_peak_on_the_emulated_device_or_is_refused(void **state)
{
    (void)state;
    const char *wattune = getenv("WATTUNE_COMMAND");
    static const struct {
        const char *gpu, *work, *dtype;
        double peak; /* 0: refused */
    } rows[] = {{"h100-sxm-80gb", "infer", "fp32", 67e12},
                {"h100-sxm-80gb", "infer", "tf32", 495e12},
                {"h100-sxm-80gb", "infer", "bf16", 989e12},
                {"h100-sxm-80gb", "infer", "int8", 989e12},
                {"a40", "train", "tf32", 74.8e12},
                {"v100-pcie-32gb", "train", "tf32", 0},
                {"t4", "infer", "tf32", 0},
                {"k80", "infer", "tf32", 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct spawned s;
        spawn_run(&s, home, "wattune", "emulate", rows[i].gpu, "--", wattune, "bench", rows[i].work,
                  "bert-tiny", "--steps", "1", "--dtype", rows[i].dtype, "--json");
        if (rows[i].peak > 0) {
            json_t *j = done(&s);
            assert_true(fabs(number(j, "peak_flops_per_s") / rows[i].peak - 1) < 1e-9);
            json_decref(j);
            continue;
        }
        assert_int_equal(spawn_code(&s), 4);
        assert_string_equal(s.out, "");
        assert_non_null(strstr(s.err, "has no TF32"));
        assert_non_null(strstr(s.err, "take --dtype fp32"));
        spawn_done(&s);
    }
}

static void a_sweep_takes_batch_and_type_as_parameters(void **state)
{
    (void)state;
    struct spawned s;
    spawn_run(&s, home, "wattune", "sweep", "--emulate", "a100-pcie-80gb", "--param", "batch=4,8",
              "--param", "dtype=fp32,bf16", "--repeats", "2", "--report", "-", "--no-store",
              "--json", "--", getenv("WATTUNE_COMMAND"), "bench", "train", "bert-tiny", "--steps",
              "20", "--batch", "{batch}", "--dtype", "{dtype}", "--quiet");
    json_t *j = done(&s), *rows = json_object_get(j, "rows");
    assert_int_equal(json_array_size(rows), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(rows, i);
        assert_true(number(json_object_get(row, "work_per_s"), "value") > 0);
        assert_true(number(json_object_get(row, "j_per_work"), "value") > 0);
        assert_true(number(json_object_get(row, "told"), "MFU") > 0);
    }
    json_decref(j);
}

static void no_gpu_is_said_and_nothing_is_shown_for_it(void **state)
{
    (void)state;
    struct spawned s;
    setenv("CUDA_VISIBLE_DEVICES", "", 1); /* also where there is one */
    spawn_run(&s, home, TRAIN, "bert-tiny", "--device", "cuda", "--synthetic", "--steps", "1",
              "--phases");
    unsetenv("CUDA_VISIBLE_DEVICES");
    assert_int_equal(spawn_code(&s), 4);
    assert_string_equal(s.out, "");
    assert_null(strstr(s.err, "tokens/s"));
    spawn_done(&s);

    /* Inside an emulation there is something else to try. */
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    spawn_run(&s, home, "wattune", "emulate", "t4", "--", getenv("WATTUNE_COMMAND"), "bench",
              "train", "bert-tiny", "--device", "cuda", "--synthetic", "--steps", "1");
    unsetenv("CUDA_VISIBLE_DEVICES");
    assert_int_not_equal(spawn_code(&s), 0);
    assert_non_null(strstr(s.err, "--device emu"));
    spawn_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPAWN_TEST(help_goes_to_stdout),
        SPAWN_TEST(wrong_usage_says_what_is_allowed),
        SPAWN_TEST(wrong_text_is_named_with_its_place),
        SPAWN_TEST(a_vocabulary_without_the_texts_words_is_said),
        SPAWN_TEST(json_has_what_was_done),
        SPAWN_TEST(seconds_end_a_run),
        SPAWN_TEST(words_say_each_thing_once_and_in_plain_numbers),
        SPAWN_TEST(a_signal_ends_with_the_summary_and_its_exit_code),
        SPAWN_TEST(a_signal_in_the_midst_of_products_leaves_the_heap_whole),
        SPAWN_TEST(divergence_stops_with_advice),
        SPAWN_TEST(the_emulated_device_needs_an_emulation),
        SPAWN_TEST(on_the_emulated_device_steps_take_time_and_no_loss_is_shown),
        SPAWN_TEST(a_saved_folder_is_a_model_that_is_read_again),
        SPAWN_TEST(a_checkpoint_is_replaced_only_by_its_own_run),
        SPAWN_TEST(a_checkpoint_goes_on_with_its_own_text_only),
        SPAWN_TEST(another_runs_checkpoint_is_not_replaced),
        SPAWN_TEST(a_model_is_saved_where_its_checkpoint_cannot_be),
        SPAWN_TEST(what_a_signal_ends_is_not_saved),
        SPAWN_TEST(a_model_is_not_saved_among_anothers_files),
        SPAWN_TEST(a_place_that_cannot_be_is_refused),
        SPAWN_TEST(where_it_cannot_be_written_is_said_before_any_step),
        SPAWN_TEST(a_run_that_cannot_be_kept_is_summed_up_all_the_same),
        SPAWN_TEST(a_failure_stands_on_a_line_of_its_own_and_leaves_no_folder),
        SPAWN_TEST(pinned_threads_are_not_too_many_for_one_cpu),
        SPAWN_TEST(progress_is_cut_to_the_terminals_width),
        SPAWN_TEST(a_mark_before_a_text_is_no_part_of_it),
        SPAWN_TEST(a_made_vocabulary_is_no_larger_than_the_model),
        SPAWN_TEST(a_line_of_one_token_is_read_and_not_judged),
        SPAWN_TEST(inference_counts_real_tokens_padded_or_packed),
        SPAWN_TEST(of_how_much_of_the_text_a_loss_is_is_said),
        SPAWN_TEST(weights_that_are_no_numbers_say_nothing),
        SPAWN_TEST(generation_has_prefill_and_decode_apart),
        SPAWN_TEST(what_comes_after_the_end_of_a_text_is_no_token),
        SPAWN_TEST(random_tokens_are_said_to_be_random),
        SPAWN_TEST(every_work_runs_on_the_emulated_device),
        SPAWN_TEST(a_type_has_its_own_peak_on_the_emulated_device_or_is_refused),
        SPAWN_TEST(a_sweep_takes_batch_and_type_as_parameters),
        SPAWN_TEST(no_gpu_is_said_and_nothing_is_shown_for_it),
        SPAWN_TEST(a_seed_gives_the_same_losses),
        SPAWN_TEST(twenty_steps_are_ten_and_ten_after_a_resume),
        SPAWN_TEST(a_vocabulary_must_be_the_models),
        SPAWN_TEST(fine_tuning_learns_classes),
        SPAWN_TEST(a_folders_classes_keep_their_numbers),
        SPAWN_TEST(a_vocabulary_is_made_of_the_texts_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
