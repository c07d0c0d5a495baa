/* Text on its way into batches: vocabularies made from it and written, lines, tables with classes;
 * and the choice of a next token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/bench/bench.h"
#include "workload/random.h"

#define SEQ 12

static char *read_jonah(size_t *ret_size)
{
    char *text = NULL;
    assert_int_equal(wt_file_read(WT_TEST_DATA "/jonah.txt", 1 << 20, &text, ret_size, NULL), 0);
    return text;
}

static struct wt_vocabulary *made(bool is_bpe, const char *text, size_t most)
{
    struct wt_vocabulary *v = NULL;
    assert_int_equal(wt_vocabulary_train(&v, is_bpe, "T", text, strlen(text), most, NULL), 0);
    return v;
}

static char folder[] = "/tmp/wattune-text-XXXXXX";

static int folder_make(void **state)
{
    (void)state;
    strcpy(folder + sizeof(folder) - 7, "XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    static const char *const names[] = {"vocab.txt", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < WT_COUNTOF(names); i++) {
        char path[128];
        unlink(wt_text(path, sizeof(path), "%s/%s", folder, names[i]));
    }
    return rmdir(folder);
}

/* ---- vocabularies ---- */

static void bpe_is_made_of_the_bytes_and_the_most_frequent_neighbours(void **state)
{
    (void)state;
    struct wt_vocabulary *v = made(true, "abab abab abab abac", 320);
    const struct wt_bpe *bpe = wt_vocabulary_bpe(v);
    assert_non_null(bpe);
    assert_string_equal(wt_bpe_entry(bpe, 0), "!");
    assert_string_equal(wt_bpe_entry(bpe, 255), "\xc5\x83"); /* U+0143, the byte 0xad */
    assert_string_equal(wt_bpe_entry(bpe, 256), "ab");       /* comes seven times */
    size_t size = wt_vocabulary_size(v);
    assert_string_equal(wt_bpe_entry(bpe, size - 1), WT_BPE_END);
    assert_int_equal(wt_vocabulary_marks(v).end, size - 1);
    assert_true(wt_bpe_id(bpe, "\xc4\xa0"
                               "abab") > 256);    /* with the space before it, twice */
    assert_int_equal(wt_bpe_id(bpe, "abab"), -1); /* once */
    wt_vocabulary_free(v);
}

static void a_made_vocabulary_cuts_its_text_and_gives_it_back(void **state)
{
    (void)state;
    size_t size = 0, count = 0, back = 0;
    char *text = read_jonah(&size), *again = NULL;
    struct wt_vocabulary *v = NULL, *w = NULL;
    int32_t *ids = NULL;
    assert_int_equal(wt_vocabulary_train(&v, true, "T", text, size, 600, NULL), 0);
    assert_int_equal(wt_vocabulary_train(&w, true, "T", text, size, 600, NULL), 0);
    assert_int_equal(wt_vocabulary_size(v), 600);
    for (size_t i = 0; i < 600; i++) /* the same text, the same vocabulary */
        assert_string_equal(wt_vocabulary_entry(v, i), wt_vocabulary_entry(w, i));
    assert_int_equal(wt_vocabulary_encode(v, "T", text, size, &ids, &count, NULL), 0);
    assert_true(count < size / 2);
    assert_int_equal(wt_vocabulary_decode(v, ids, count, &again, &back, NULL), 0);
    assert_int_equal(back, size);
    assert_memory_equal(again, text, size);
    free(again);
    free(ids);
    free(text);
    wt_vocabulary_free(v);
    wt_vocabulary_free(w);
}

static void a_vocabulary_that_cannot_be_made_says_why(void **state)
{
    (void)state;
    static const struct {
        bool is_bpe;
        const char *text;
        size_t most;
        int code;
        const char *want;
    } rows[] = {
        {true, "a", 100, WT_E_USAGE, "at least 320"},
        {true, "", 400, WT_E_FORMAT, "there is no text"},
        {true, "x\n\xff", 400, WT_E_FORMAT, "T:2: byte 2 (0xff)"},
        {false, " \n", 400, WT_E_FORMAT, "T: there are no words in it"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_vocabulary *v = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_vocabulary_train(&v, rows[i].is_bpe, "T", rows[i].text,
                                             strlen(rows[i].text), rows[i].most, &err),
                         rows[i].code);
        assert_null(v);
        if (!strstr(err.text, rows[i].want))
            print_error("row %zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, rows[i].want));
    }
}

static void a_written_vocabulary_is_read_as_the_same(void **state)
{
    (void)state;
    size_t size = 0;
    char *text = read_jonah(&size);
    for (unsigned is_bpe = 0; is_bpe < 2; is_bpe++) {
        struct wt_vocabulary *v = made(is_bpe, text, 500), *w = NULL;
        int32_t *a = NULL, *b = NULL;
        size_t a_count = 0, b_count = 0;
        assert_int_equal(wt_vocabulary_write(v, folder, NULL), 0);
        if (is_bpe) { /* vocab.txt would go first */
            char path[128];
            unlink(wt_text(path, sizeof(path), "%s/vocab.txt", folder));
        }
        assert_int_equal(wt_vocabulary_open(&w, folder, NULL), 0);
        assert_int_equal(wt_vocabulary_size(w), wt_vocabulary_size(v));
        assert_int_equal(wt_vocabulary_encode(v, "T", text, size, &a, &a_count, NULL), 0);
        assert_int_equal(wt_vocabulary_encode(w, "T", text, size, &b, &b_count, NULL), 0);
        assert_int_equal(a_count, b_count);
        assert_memory_equal(a, b, a_count * sizeof(*a));
        free(a);
        free(b);
        wt_vocabulary_free(v);
        wt_vocabulary_free(w);
    }
    free(text);
}

/* Memory that is there for so many pieces more. */
static long pieces;

static void *scarce(size_t size)
{
    return pieces-- > 0 ? malloc(size) : NULL;
}

static void without_memory_no_half_vocabulary_is_left(void **state)
{
    (void)state;
    struct wt_vocabulary *v = made(true, "abab abab", 330);
    char path[128];
    unsigned failures = 0;
    json_set_alloc_funcs(scarce, free);
    for (long n = 0;; n++) {
        unlink(wt_text(path, sizeof(path), "%s/vocab.json", folder));
        pieces = n;
        int rc = wt_vocabulary_write(v, folder, NULL);
        pieces = LONG_MAX;
        json_t *j = json_load_file(path, 0, NULL);
        assert_true(j || access(path, F_OK) < 0);
        json_decref(j);
        if (rc == 0)
            break;
        assert_int_equal(rc, WT_E_NOMEM);
        failures++;
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(failures > 0);
    wt_vocabulary_free(v);
}

/* ---- lines and tables ---- */

static void an_order_is_each_epochs_own(void **state)
{
    (void)state;
    enum { N = 7 };
    struct wt_order a, b;
    for (unsigned side = 0; side < 2; side++) {
        uint32_t *list = malloc(N * sizeof(*list));
        assert_non_null(list);
        for (uint32_t i = 0; i < N; i++)
            list[i] = 10 + i;
        assert_int_equal(wt_order_init(side ? &b : &a, list, N, true, 5, NULL), 0);
    }
    enum { EPOCHS = 4 };
    uint32_t orders[EPOCHS][N];
    for (unsigned n = 0; n < EPOCHS * N; n++) {
        assert_int_equal(wt_order_place(&a), n);
        wt_order_seek(&b, n);
        uint32_t next = wt_order_next(&a);
        assert_int_equal(wt_order_next(&b), next);
        assert_in_range(next, 10, 10 + N - 1);
        orders[n / N][n % N] = next;
    }
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        unsigned seen = 0;
        for (unsigned i = 0; i < N; i++)
            seen |= 1u << (orders[epoch][i] - 10);
        assert_int_equal(seen, (1u << N) - 1); /* each once */
        for (unsigned other = 0; other < epoch; other++)
            assert_memory_not_equal(orders[epoch], orders[other], sizeof(orders[0]));
    }
    wt_order_seek(&b, UINT64_MAX / 2); /* at once */
    assert_in_range(wt_order_next(&b), 10, 10 + N - 1);
    wt_order_done(&a);
    wt_order_done(&b);
}

static void lines_are_sequences_padded_or_packed(void **state)
{
    (void)state;
    static const char text[] =
        "one two\n\nthree\r\none two three one two three one two three four\n";
    struct wt_vocabulary *v = made(false, text, 64);
    struct wt_items items;
    struct wt_feed feed;
    assert_int_equal(wt_items_lines(&items, v, "T", text, strlen(text), SEQ, NULL), 0);
    assert_int_equal(items.count, 3);
    assert_int_equal(items.starts[3] - items.starts[2], SEQ);
    assert_int_equal(items.cut, 1);
    assert_int_equal(wt_feed_init(&feed, 3, SEQ, NULL), 0);
    const struct wt_marks marks = wt_vocabulary_marks(v);
    for (unsigned is_packed = 0; is_packed < 2; is_packed++) {
        feed.is_packed = is_packed;
        wt_items_seek(&items, 0);
        size_t tokens = wt_items_next(&items, &feed, 3);
        assert_int_equal(feed.count, 3);
        assert_int_equal(tokens, items.starts[3]);
        assert_int_equal(feed.rows, is_packed ? tokens : 3 * SEQ);
        for (size_t i = 0; i < 3; i++) {
            const int32_t *t = feed.tokens + feed.starts[i];
            assert_int_equal(t[0], marks.begin);
            assert_int_equal(t[feed.lengths[i] - 1], marks.end);
            assert_memory_equal(t, items.ids + items.starts[i],
                                (size_t)feed.lengths[i] * sizeof(*t));
        }
    }
    /* Padded, a batch is as wide as its longest. */
    feed.is_packed = false;
    wt_items_seek(&items, 0);
    size_t tokens = wt_items_next(&items, &feed, 2);
    assert_int_equal(feed.rows, 2 * (items.starts[1] - items.starts[0]));
    assert_true(tokens < feed.rows);
    wt_feed_done(&feed);
    wt_items_done(&items);
    wt_vocabulary_free(v);
}

static void a_table_has_classes_by_name(void **state)
{
    (void)state;
    static const char tsv[] = "label\ttext\ngood\tone two\nbad\tthree\r\n\ngood\tone\ttwo two\n",
                      csv[] = "good,\"one, two\"\nbad,\"a \"\"b\"\"\n c\"\ngood,one,two\n";
    static const struct {
        const char *name, *text;
    } rows[] = {{"T.tsv", tsv}, {"T.csv", csv}};
    struct wt_vocabulary *v = made(true, tsv, 330);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_items items;
        assert_int_equal(wt_items_table(&items, v, rows[i].name, rows[i].text, strlen(rows[i].text),
                                        32, 1, NULL),
                         0);
        assert_int_equal(items.count, 3);
        assert_int_equal(items.class_count, 2);
        assert_string_equal(items.classes[0], "bad");
        assert_int_equal(items.labels[0], 1);
        assert_int_equal(items.labels[1], 0);
        assert_int_equal(items.order.count, 2);
        assert_int_equal(items.held_out[0], 2);
        char *text = NULL;
        size_t size = 0;
        assert_int_equal(wt_vocabulary_decode(v, items.ids + items.starts[1],
                                              items.starts[2] - items.starts[1], &text, &size,
                                              NULL),
                         0);
        assert_string_equal(text, i ? "a \"b\"\n c" : "three");
        free(text);
        wt_items_done(&items);
    }
    wt_vocabulary_free(v);
}

/* Also of classes that take turns there are some of each; the same rows in each run. */
static void held_out_rows_are_drawn(void **state)
{
    (void)state;
    char text[8192];
    size_t used = 0, of[2] = {0}, all[2], trained[2];
    for (unsigned i = 0; i < 400; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\tx y\n", i % 2 ? "b" : "a");
    struct wt_vocabulary *v = made(true, "x y", 330);
    uint32_t before[40];
    for (unsigned seed = 1; seed < 3; seed++) {
        struct wt_items items;
        assert_int_equal(wt_items_table(&items, v, "T", text, used, 16, seed, NULL), 0);
        assert_int_equal(items.held_out_count, 40);
        for (size_t i = 0; i < 40; i++) {
            assert_int_equal(items.held_out[i] / 10, i);
            of[items.labels[items.held_out[i]]]++;
            if (seed > 1)
                assert_int_equal(items.held_out[i], before[i]);
            before[i] = items.held_out[i];
        }
        wt_items_count_classes(&items, all, trained);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(all[i], 200);
            assert_int_equal(trained[i], 200 - of[i] / seed);
            assert_in_range(of[i] / seed, 10, 30);
        }
        wt_items_done(&items);
    }
    wt_vocabulary_free(v);
}

static void numbers_are_sorted_as_such(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *want[3];
    } rows[] = {{"10\tx\n9\tx\n2\tx\n", {"2", "9", "10"}},
                {"10\tx\n9\tx\n2.\tx\n", {"10", "2.", "9"}}};
    struct wt_vocabulary *v = made(true, "x y", 330);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_items items;
        assert_int_equal(
            wt_items_table(&items, v, "T", rows[i].text, strlen(rows[i].text), 16, 1, NULL), 0);
        for (size_t k = 0; k < 3; k++)
            assert_string_equal(items.classes[k], rows[i].want[k]);
        wt_items_done(&items);
    }
    wt_vocabulary_free(v);
}

static void a_classifiers_numbers_are_the_tables(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *names[3];
        int32_t want[3]; /* of the rows; below 0: refused */
    } rows[] = {
        {"a\tx\nb\ty\na\tz\n", {"b", "a", "c"}, {1, 0, 1}},
        {"0\tx\n2\ty\n0\tz\n", {"b", "a", "c"}, {0, 2, 0}},
        {"0\tx\n1\ty\n0\tz\n", {"1", "0", "c"}, {1, 0, 1}}, /* names go before numbers */
        {"a\tx\n1\ty\na\tz\n", {"b", "a", "c"}, {-1}},
        {"0\tx\n3\ty\n0\tz\n", {"b", "a", "c"}, {-1}},
        {"A\tx\nb\ty\nA\tz\n", {"b", "a", "c"}, {-1}},
    };
    struct wt_vocabulary *v = made(true, "x y z", 330);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_items items;
        struct wt_error err = {0};
        char *names[3];
        for (size_t k = 0; k < 3; k++)
            names[k] = (char *)(uintptr_t)rows[i].names[k];
        assert_int_equal(
            wt_items_table(&items, v, "T", rows[i].text, strlen(rows[i].text), 16, 1, NULL), 0);
        int rc = wt_items_number(&items, names, 3, "M", "T", &err);
        assert_int_equal(rc, rows[i].want[0] < 0 ? WT_E_USAGE : 0);
        assert_int_equal(items.class_count, rc == 0 ? 3 : 2);
        for (size_t k = 0; k < 3 && rc == 0; k++) {
            assert_int_equal(items.labels[k], rows[i].want[k]);
            assert_string_equal(items.classes[k], rows[i].names[k]);
        }
        if (rc < 0)
            assert_non_null(strstr(err.text, "none of the 3 classes of M (b, a, c)"));
        wt_items_done(&items);
    }
    wt_vocabulary_free(v);
}

static void a_tables_texts_are_without_its_labels(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *want; /* NULL: refused */
    } rows[] = {
        {"T", "label\ttext\ngood\tone two\n\nbad\tthree\tfour\r\nbad\tend",
         "one two\nthree\nfour\nend\n"},
        {"T.csv", "good,\"a, \"\"b\"\"\nc\"\nbad,x\n", "a, \"b\"\nc\nx\n"},
        {"T", "label", ""},
        {"T", "a\tb\tc\td\n", NULL},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char *text = NULL;
        size_t size = 0;
        int rc =
            wt_items_texts(rows[i].name, rows[i].text, strlen(rows[i].text), &text, &size, NULL);
        assert_int_equal(rc, rows[i].want ? 0 : WT_E_FORMAT);
        if (rc == 0) {
            assert_int_equal(size, strlen(rows[i].want));
            assert_memory_equal(text, rows[i].want, size);
        }
        free(text);
    }
}

/* Each differs from the first in one thing. */
static void a_digest_is_of_words_places_and_labels(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a\tx y\nb\tz\n", "a\ty x\nb\tz\n", "a\tx\nb\ty z\n",
        "b\tx y\na\tz\n", "a\tx y\nb\tz\n", "a\tx y\nc\tz\n",
    };
    uint64_t digests[WT_COUNTOF(texts)];
    struct wt_vocabulary *v = made(false, "x y z", 64);
    for (size_t i = 0; i < WT_COUNTOF(texts); i++) {
        struct wt_items items;
        assert_int_equal(wt_items_table(&items, v, "T", texts[i], strlen(texts[i]), 16, 1, NULL),
                         0);
        digests[i] = wt_items_digest(&items);
        wt_items_done(&items);
    }
    for (size_t i = 1; i < WT_COUNTOF(texts); i++)
        assert_int_equal(digests[i] == digests[0], i == 4);
    wt_vocabulary_free(v);
}

static void a_wrong_table_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *want;
    } rows[] = {
        {"T", "", "T: there are no rows"},
        {"T", "a\tx\nb\n", "T:2: a label and no text"},
        {"T", "a\tx\nb\t\n", "T:2: a label and no text"},
        {"T", "a\tx\n\tz\n", "T:2: a row without a label"},
        {"T", "a\tx\ty\tz\n", "T:1: more than 3 fields"},
        {"T", "a\tx\nb\t\xc0\n", "T:2: byte 6 (0xc0)"},
        {"T.csv", "a,x\nb,\"y\n", "T.csv:2: a quote is not closed"},
        {"T.csv", "a,\"x\"z\nb,y\n", "T.csv:1: text behind a closed quote"},
        {"T.csv", "\"a\"\rx,y\nb,y\n", "T.csv:1: text behind a closed quote"},
    };
    struct wt_vocabulary *v = made(true, "abc", 330);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_items items;
        struct wt_error err = {0};
        assert_int_equal(wt_items_table(&items, v, rows[i].name, rows[i].text, strlen(rows[i].text),
                                        16, 1, &err),
                         WT_E_FORMAT);
        if (!strstr(err.text, rows[i].want))
            print_error("row %zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, rows[i].want));
    }
    wt_vocabulary_free(v);
}

/* It is not the table's fault. */
static void a_sequence_without_room_for_two_texts_is_refused(void **state)
{
    (void)state;
    static const char text[] = "a\tx\nb\ty\tz\n", one[] = "a\tx\nb\ty\n";
    static const struct {
        const char *text;
        unsigned seq;
        bool is_bpe;
        int want;
    } rows[] = {
        {text, 3, false, WT_E_USAGE}, {text, 4, false, WT_E_USAGE}, {text, 5, false, 0},
        {one, 3, false, 0},           {text, 3, true, 0},           {text, 2, true, WT_E_USAGE},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_vocabulary *v = made(rows[i].is_bpe, "a b c x y z", rows[i].is_bpe ? 330 : 64);
        struct wt_items items;
        struct wt_error err = {0};
        assert_int_equal(wt_items_table(&items, v, "T", rows[i].text, strlen(rows[i].text),
                                        rows[i].seq, 1, &err),
                         rows[i].want);
        if (rows[i].want)
            assert_non_null(strstr(err.text, "leaves no room for two texts"));
        else
            wt_items_done(&items);
        wt_vocabulary_free(v);
    }
}

static void any_bytes_may_be_a_table(void **state)
{
    (void)state;
    struct wt_vocabulary *v = made(true, "abc", 330);
    struct wt_random random = {7, 0};
    size_t fine = 0;
    for (unsigned n = 0; n < 3000; n++) {
        static const char *const parts[] = {"a", "b", ",", "\"", "\t", "\n", "\r", " ", "\xc3\xa9"};
        char text[128] = "";
        size_t size = 0;
        for (size_t left = wt_random_below(&random, 60); left > 0; left--) {
            const char *part = parts[wt_random_below(&random, WT_COUNTOF(parts))];
            size += strlen(wt_text(text + size, sizeof(text) - size, "%s", part));
        }
        struct wt_items items;
        if (wt_items_table(&items, v, n & 1 ? "T" : "T.csv", text, size, 8, 1, NULL) == 0) {
            assert_in_range(items.starts[items.count], items.count, 8 * items.count);
            wt_items_done(&items);
            fine++;
        }
    }
    assert_true(fine > 0);
    wt_vocabulary_free(v);
}

/* ---- the next token ---- */

static void a_token_is_drawn_as_often_as_its_share(void **state)
{
    (void)state;
    static const float logits[] = {0, 1, -INFINITY, 2, 1};
    enum { N = WT_COUNTOF(logits), DRAWS = 40000 };
    static const struct {
        float temperature, top_p;
        unsigned top_k;
        double share[N];
    } rows[] = {
        {1, 1, 0, {0.0723, 0.1966, 0, 0.5344, 0.1966}},
        {0.5f, 1, 0, {0.0142, 0.1049, 0, 0.7754, 0.1049}}, /* as of doubled logits */
        {1, 1, 2, {0, 0.2689, 0, 0.7311, 0}},              /* ties go to the first */
        {1, 0.5f, 0, {0, 0, 0, 1, 0}},
        {1, 0.7f, 0, {0, 0.2689, 0, 0.7311, 0}},
        {1, 0.9f, 0, {0, 0.2119, 0, 0.5761, 0.2119}},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct bench_options o = {
            .temperature = rows[i].temperature, .top_p = rows[i].top_p, .top_k = rows[i].top_k};
        struct bench_sampler sampler;
        struct wt_random random = {1, 0};
        size_t counts[N] = {0};
        assert_int_equal(bench_sampler_init(&sampler, &o, N, NULL), 0);
        for (size_t n = 0; n < DRAWS; n++)
            counts[bench_sample(&sampler, logits, N, &random)]++;
        for (size_t k = 0; k < N; k++) {
            double share = rows[i].share[k];
            /* five deviations */
            assert_true(fabs((double)counts[k] / DRAWS - share) <=
                        5 * sqrt(share * (1 - share) / DRAWS) + 1e-4);
        }
        bench_sampler_done(&sampler);
    }
}

static void of_logits_that_are_no_numbers_none_is_chosen(void **state)
{
    (void)state;
    static const float rows[][3] = {{NAN, NAN, NAN},
                                    {NAN, 1, 2},
                                    {2, 1, NAN},
                                    {1, INFINITY, 2},
                                    {-INFINITY, -INFINITY, -INFINITY}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        for (int is_greedy = 0; is_greedy < 2; is_greedy++) {
            struct bench_options o = {.is_greedy = is_greedy, .temperature = 1, .top_p = 1};
            struct bench_sampler sampler;
            struct wt_random random = {1, 0};
            assert_int_equal(bench_sampler_init(&sampler, &o, 3, NULL), 0);
            assert_true(bench_sample(&sampler, rows[i], 3, &random) < 0);
            bench_sampler_done(&sampler);
        }
}

static void the_greedy_take_the_likeliest(void **state)
{
    (void)state;
    static const float logits[] = {-3, 5, 4, 5};
    struct bench_options o = {.is_greedy = true, .temperature = 1, .top_p = 1};
    struct bench_sampler sampler;
    struct wt_random random = {1, 0};
    assert_int_equal(bench_sampler_init(&sampler, &o, WT_COUNTOF(logits), NULL), 0);
    assert_int_equal(bench_sample(&sampler, logits, WT_COUNTOF(logits), &random), 1);
    bench_sampler_done(&sampler);
}

/* ---- FLOPs ---- */

/* The formula that a share of the peak is told by, against the products that are counted where they
 * are called. */
static void the_flops_of_a_pass_are_those_of_its_products(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum wt_task task;
    } rows[] = {{"bert-tiny", WT_TASK_MLM},     {"distilbert-base", WT_TASK_MLM},
                {"gpt2", WT_TASK_CLM},          {"bert-tiny", WT_TASK_ENCODE},
                {"gpt2", WT_TASK_LIKELIHOOD},   {"gpt2", WT_TASK_GENERATE},
                {"bert-mini", WT_TASK_CLASSIFY}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_config config;
        struct wt_backend counting;
        struct wt_model *model = NULL;
        struct wt_feed feed;
        assert_int_equal(wt_config_named(&config, rows[i].name, NULL), 0);
        struct wt_model_options options = {
            .task = rows[i].task, .batch = 4, .seq = 64, .classes = 3, .is_blank = true};
        bool is_judged = rows[i].task == WT_TASK_LIKELIHOOD,
             goes_on = rows[i].task == WT_TASK_GENERATE;
        if (is_judged)
            options.chosen = 40;
        if (goes_on)
            options.seq = 65;
        assert_int_equal(wt_count_new(&counting, WT_F32, NULL), 0);
        assert_int_equal(wt_model_new(&model, &config, &options, &counting, NULL), 0);
        assert_int_equal(wt_feed_init(&feed, 4, 64, NULL), 0);
        feed.count = 4;
        feed.rows = 4 * 64;
        for (size_t k = 0; k < 4; k++)
            feed.lengths[k] = 64;
        bool is_mlm = rows[i].task == WT_TASK_MLM, is_class = rows[i].task == WT_TASK_CLASSIFY;
        feed.chosen_count = is_mlm || is_judged ? 40 : 0;
        for (size_t k = 0; k < feed.chosen_count; k++)
            feed.chosen[k] = (int32_t)k;
        struct wt_input input =
            wt_feed_input(&feed, is_mlm || is_judged, is_mlm || is_judged || is_class);
        wt_count_reset(&counting);
        if (rows[i].task == WT_TASK_ENCODE)
            assert_int_equal(wt_model_encode(model, &input, NULL, NULL), 0);
        else if (is_judged)
            assert_int_equal(wt_model_likelihood(model, &input, NULL, NULL), 0);
        else if (goes_on)
            assert_int_equal(wt_model_prefill(model, &input, NULL, NULL), 0);
        else
            wt_model_forward(model, &input, false, 0, 1);
        size_t count = 0;
        const struct wt_emu_kernel *kernels = wt_count_kernels(&counting, &count);
        double counted = 0;
        for (size_t k = 0; k < count; k++)
            counted += kernels[k].flops;
        size_t positions = is_mlm ? 40 : rows[i].task == WT_TASK_CLM ? 4 * 63 : 0;
        double formula = is_judged || goes_on
                             ? bench_trimmed_flops(&config, &feed, is_judged ? 40 : 4)
                             : bench_forward_flops(&config, &feed, positions, is_class ? 3 : 0);
        /* Norms, GELU and softmax come on top, and are small. */
        if (counted < formula * 0.97 || counted > formula * 1.08)
            print_error("%s: %g counted, %g by formula\n", rows[i].name, counted, formula);
        assert_true(counted >= formula * 0.97 && counted <= formula * 1.08);
        if (goes_on) {
            wt_count_reset(&counting);
            assert_int_equal(wt_model_decode(model, feed.tokens, NULL, NULL), 0);
            kernels = wt_count_kernels(&counting, &count);
            for (counted = 0; count > 0; count--)
                counted += kernels[count - 1].flops;
            formula = bench_decode_flops(&config, 4, 65);
            assert_true(counted >= formula * 0.97 && counted <= formula * 1.08);
        }
        wt_feed_done(&feed);
        wt_model_free(model);
        wt_backend_free(&counting);
    }
}

/* ---- what training decides by numbers ---- */

/* A device that takes its time for what is queued at once. */
static void a_queue_ends_with_the_runs_time(void **state)
{
    (void)state;
    enum { QUEUEING_NS = 200000, FIRST_MS = 900 };
    static const int64_t step_ms[] = {1, 20, 300};
    for (size_t i = 0; i < WT_COUNTOF(step_ms); i++) {
        const int64_t end_ns = 5 * WT_NS_PER_S, step_ns = step_ms[i] * WT_NS_PER_MS;
        struct bench_pace pace = {0};
        int64_t now_ns = 0, done_ns = 0;
        unsigned steps = 0, waits = 0;
        while (now_ns < end_ns) {
            now_ns += QUEUEING_NS;
            int64_t from_ns = done_ns > now_ns ? done_ns : now_ns;
            done_ns = from_ns + (steps++ == 0 ? FIRST_MS * WT_NS_PER_MS : step_ns);
            if (!bench_pace_is_due(&pace, now_ns, end_ns))
                continue;
            now_ns = done_ns;
            bench_pace_waited(&pace, now_ns);
            waits++;
        }
        assert_int_equal(pace.queued, 0);
        assert_true(done_ns <= end_ns + step_ns + 10 * WT_NS_PER_MS);
        /* No more often than it must. */
        assert_true(waits < 150);
    }
}

static void a_loss_that_was_small_may_double(void **state)
{
    (void)state;
    static const struct {
        double first, smooth, choices;
        bool want;
    } rows[] = {
        {10.3, 20.5, 30522, false}, {10.3, 20.7, 30522, true}, {0.02, 0.9, 2, false},
        {0.02, 1.4, 2, true},       {3.1, 6.5, 50257, false},  {3.1, 22, 50257, true},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        assert_int_equal(bench_is_diverging(rows[i].first, rows[i].smooth, rows[i].choices),
                         rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_is_made_of_the_bytes_and_the_most_frequent_neighbours),
        cmocka_unit_test(a_made_vocabulary_cuts_its_text_and_gives_it_back),
        cmocka_unit_test(a_vocabulary_that_cannot_be_made_says_why),
        cmocka_unit_test_setup_teardown(a_written_vocabulary_is_read_as_the_same, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(without_memory_no_half_vocabulary_is_left, folder_make,
                                        folder_remove),
        cmocka_unit_test(an_order_is_each_epochs_own),
        cmocka_unit_test(lines_are_sequences_padded_or_packed),
        cmocka_unit_test(a_table_has_classes_by_name),
        cmocka_unit_test(held_out_rows_are_drawn),
        cmocka_unit_test(numbers_are_sorted_as_such),
        cmocka_unit_test(a_classifiers_numbers_are_the_tables),
        cmocka_unit_test(a_tables_texts_are_without_its_labels),
        cmocka_unit_test(a_digest_is_of_words_places_and_labels),
        cmocka_unit_test(a_wrong_table_is_named_with_its_line),
        cmocka_unit_test(a_sequence_without_room_for_two_texts_is_refused),
        cmocka_unit_test(any_bytes_may_be_a_table),
        cmocka_unit_test(a_token_is_drawn_as_often_as_its_share),
        cmocka_unit_test(of_logits_that_are_no_numbers_none_is_chosen),
        cmocka_unit_test(the_greedy_take_the_likeliest),
        cmocka_unit_test(the_flops_of_a_pass_are_those_of_its_products),
        cmocka_unit_test(a_queue_ends_with_the_runs_time),
        cmocka_unit_test(a_loss_that_was_small_may_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
