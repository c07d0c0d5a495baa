/* vocabulary: the files of Hugging Face's tokenizers, held against what other tokenizers make of
 * 10,000 lines (tests/data/tokenizers/README.md); and files that do not fit, refused by line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/file.h"
#include "workload/random.h"
#include "workload/unicode.h"
#include "workload/vocabulary.h"

#define DATA WT_TEST_DATA "/tokenizers/"

/* ---- text that grows ---- */

struct buf {
    char *text;
    size_t size;
    FILE *file;
};

static FILE *begin(struct buf *b)
{
    b->file = open_memstream(&b->text, &b->size);
    assert_non_null(b->file);
    return b->file;
}

static struct wt_vocabulary_text end(struct buf *b, const char *name)
{
    assert_int_equal(fclose(b->file), 0);
    return (struct wt_vocabulary_text){name, b->text, b->size};
}

static struct wt_vocabulary_text read_data(const char *name)
{
    char path[512], *text = NULL;
    size_t size = 0;
    wt_text(path, sizeof(path), "%s%s", DATA, name);
    assert_int_equal(wt_file_read(path, 16 << 20, &text, &size, NULL), 0);
    return (struct wt_vocabulary_text){name, text, size};
}

static void put_json_string(FILE *f, const char *s, size_t length)
{
    fputc('"', f);
    for (size_t i = 0; i < length; i++)
        fprintf(f, s[i] == '"' || s[i] == '\\' ? "\\%c" : "%c", s[i]);
    fputc('"', f);
}

/* The byte alphabet: GPT-2's entries 0 to 255 in order, written as UTF-8. */
static void byte_entry(size_t id, char *buf)
{
    size_t n = 0;
    uint32_t other = 256;
    for (int round = 0; round < 2; round++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            bool is_printed = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            uint32_t code = is_printed ? byte : other;
            other += !is_printed && round == 1;
            if (is_printed == (round == 0) && n++ == id) {
                buf[wt_utf8_encode(code, buf)] = '\0';
                return;
            }
        }
    fail();
}

static void put_bytes(FILE *f)
{
    for (size_t i = 0; i < 256; i++) {
        char entry[8];
        byte_entry(i, entry);
        fputs(i ? "," : "", f);
        put_json_string(f, entry, strlen(entry));
        fprintf(f, ":%zu", i);
    }
}

/* GPT-2's vocab.json: bytes, merges, the end of a text. make-ids has held that against the file. */
static void put_gpt2(FILE *f, const struct wt_vocabulary_text *merges)
{
    struct wt_bpe_merge *list = NULL;
    size_t count = 0;
    assert_int_equal(wt_bpe_merges(&list, &count, merges->name, merges->text, merges->size, NULL),
                     0);
    fputc('{', f);
    put_bytes(f);
    for (size_t i = 0; i < count; i++) {
        char whole[600];
        memcpy(whole, list[i].left, list[i].left_length);
        memcpy(whole + list[i].left_length, list[i].right, list[i].right_length);
        fputc(',', f);
        put_json_string(f, whole, list[i].left_length + list[i].right_length);
        fprintf(f, ":%zu", 256 + i);
    }
    fprintf(f, ",\"<|endoftext|>\":%zu}", 256 + count);
    free(list);
}

static struct wt_vocabulary *gpt2(void)
{
    struct buf json;
    struct wt_vocabulary_text merges = read_data("merges.txt");
    put_gpt2(begin(&json), &merges);
    struct wt_vocabulary_text vocab = end(&json, "vocab.json");
    struct wt_vocabulary *v = NULL;
    struct wt_error err = {0};
    int rc = wt_vocabulary_from_bpe(&v, &vocab, &merges, &err);
    if (rc < 0)
        print_error("%s\n", err.text);
    assert_int_equal(rc, 0);
    free(json.text);
    free((char *)merges.text);
    return v;
}

static struct wt_vocabulary *wordpiece(const char *file, const char *config)
{
    struct wt_vocabulary_text text = read_data(file),
                              c = {"tokenizer_config.json", config, strlen(config)};
    struct wt_vocabulary *v = NULL;
    assert_int_equal(wt_vocabulary_from_wordpiece(&v, &text, *config ? &c : NULL, NULL), 0);
    free((char *)text.text);
    return v;
}

/* ---- what others make of it ---- */

/* The next line of lines.txt, its escapes undone; NULL at the end. */
static char *next_line(const struct wt_vocabulary_text *lines, size_t *io_at, char *buf,
                       size_t *ret_size)
{
    size_t n = 0;
    if (*io_at >= lines->size)
        return NULL;
    for (; lines->text[*io_at] != '\n'; (*io_at)++) {
        char c = lines->text[*io_at];
        if (c == '\\') {
            c = lines->text[++*io_at];
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        buf[n++] = c;
    }
    ++*io_at;
    *ret_size = n;
    buf[n] = '\0';
    return buf;
}

static uint32_t hash_ids(const int32_t *ids, size_t count)
{
    uint32_t h = 0x811c9dc5;
    for (size_t i = 0; i < count; i++)
        for (unsigned s = 0; s < 32; s += 8)
            h = (h ^ ((uint32_t)ids[i] >> s & 255)) * 0x01000193;
    return h;
}

enum { WAYS = 6 };

static void make_ways(struct wt_vocabulary **ways)
{
    ways[0] = gpt2();
    ways[1] = wordpiece("vocab.txt", "");
    ways[2] = wordpiece("chars.txt", "{\"do_lower_case\":false}");
    ways[3] = wordpiece("chars.txt", "{\"do_lower_case\":true,\"strip_accents\":false}");
    ways[4] = wordpiece("chars.txt", "{\"do_lower_case\":false,\"strip_accents\":true}");
    ways[5] = wordpiece("chars.txt", "{\"strip_accents\":null}");
}

static void ten_thousand_lines_are_cut_as_others_cut_them(void **state)
{
    (void)state;
    struct wt_vocabulary *ways[WAYS];
    make_ways(ways);
    struct wt_vocabulary_text lines = read_data("lines.txt"), hashes = read_data("hashes.txt");
    char buf[4096], *line;
    const char *want = strchr(hashes.text, '\n');
    size_t at = 0, size = 0, number = 0, unlike = 0;
    while ((line = next_line(&lines, &at, buf, &size))) {
        number++;
        for (size_t w = 0; w < WAYS; w++) {
            int32_t *ids = NULL;
            size_t count = 0;
            char *past;
            uint32_t hash = (uint32_t)strtoul(want, &past, 16);
            assert_true(past > want);
            want = past;
            assert_int_equal(wt_vocabulary_encode(ways[w], "L", line, size, &ids, &count, NULL), 0);
            if (hash_ids(ids, count) != hash && unlike++ < 20)
                print_error("line %zu, way %zu: \"%s\" is cut otherwise\n", number, w, line);
            free(ids);
        }
    }
    assert_int_equal(number, 10000);
    assert_int_equal(unlike, 0);
    for (size_t w = 0; w < WAYS; w++)
        wt_vocabulary_free(ways[w]);
    free((char *)lines.text);
    free((char *)hashes.text);
}

/* The first 300 of them with all their ids. */
static void ids_are_those_that_others_give(void **state)
{
    (void)state;
    static const char *const names[WAYS] = {"bpe", "uncased", "cased", "lower", "strip", "both"};
    struct wt_vocabulary *ways[WAYS];
    make_ways(ways);
    struct wt_vocabulary_text lines = read_data("lines.txt"), file = read_data("ids.txt");
    char buf[4096], *line;
    const char *want = file.text;
    size_t at = 0, size = 0, number = 0;
    while (*want && (line = next_line(&lines, &at, buf, &size))) {
        number++;
        for (size_t w = 0; w < WAYS; w++) {
            char head[32];
            int32_t *ids = NULL;
            size_t count = 0;
            wt_text(head, sizeof(head), "%zu %s ", number, names[w]);
            assert_int_equal(strncmp(want, head, strlen(head)), 0);
            want += strlen(head);
            assert_int_equal(wt_vocabulary_encode(ways[w], "L", line, size, &ids, &count, NULL), 0);
            for (size_t i = 0; i < count; i++) {
                char *past;
                assert_int_equal(strtol(want, &past, 10), ids[i]);
                assert_true(past > want);
                want = past;
            }
            assert_int_equal(*want++, '\n');
            free(ids);
        }
    }
    assert_int_equal(number, 300);
    for (size_t w = 0; w < WAYS; w++)
        wt_vocabulary_free(ways[w]);
    free((char *)lines.text);
    free((char *)file.text);
}

/* ---- BPE ---- */

static void assert_round_trip(const struct wt_vocabulary *v, const char *text, size_t size)
{
    int32_t *ids = NULL;
    size_t count = 0, back_size = 0;
    char *back = NULL;
    assert_int_equal(wt_vocabulary_encode(v, "T", text, size, &ids, &count, NULL), 0);
    for (size_t i = 0; i < count; i++)
        assert_true(ids[i] >= 0 && (size_t)ids[i] < wt_vocabulary_size(v));
    assert_int_equal(wt_vocabulary_decode(v, ids, count, &back, &back_size, NULL), 0);
    assert_int_equal(back_size, size);
    if (size)
        assert_memory_equal(back, text, size);
    free(ids);
    free(back);
}

static void any_text_comes_back_from_bpe_as_it_was(void **state)
{
    (void)state;
    struct wt_vocabulary *v = gpt2();
    struct wt_vocabulary_text lines = read_data("lines.txt");
    assert_round_trip(v, lines.text, lines.size);
    assert_round_trip(v, "", 0);
    assert_round_trip(v, "a\0b\0", 4);
    struct wt_random random = {5, 0};
    for (size_t round = 0; round < 40; round++) {
        char text[4 * 500];
        size_t size = 0;
        for (size_t i = 0; i < 500; i++) {
            uint32_t code = (uint32_t)wt_random_below(&random, round % 4 ? 0x500 : 0x110000);
            if (code < 0xd800 || code > 0xdfff)
                size += wt_utf8_encode(code, text + size);
        }
        assert_round_trip(v, text, size);
    }
    free((char *)lines.text);
    wt_vocabulary_free(v);
}

static void a_word_ends_where_gpt2s_expression_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* words with | between them */
    } rows[] = {
        {"a", "a"},
        {"hello world", "hello| world"},
        {"it's I'll we've 'd", "it|'s| I|'ll| we|'ve| '|d"},
        {"'tis 'S", "'t|is| '|S"},
        {"a1b22", "a|1|b|22"},
        {"x  y", "x| | y"},
        {"x   y", "x|  | y"},
        {"x \n y", "x| \n| y"},
        {"x\n\ny", "x|\n|\n|y"},
        {"x\ny", "x|\n|y"},
        {"x  ", "x|  "},
        {" ", " "},
        {"  ", "  "},
        {"x\t1", "x|\t|1"},
        {"!? ...a", "!?| ...|a"},
        {"a\xc2\xa0"
         "b",
         "a|\xc2\xa0|b"}, /* a no-break space is white space but goes with nothing */
        {"\xd0\xbc\xd0\xb8\xd1\x80 \xc2\xbd\xe2\x85\xa7",
         "\xd0\xbc\xd0\xb8\xd1\x80| \xc2\xbd\xe2\x85\xa7"},
        {"e\xcc\x81", "e|\xcc\x81"}, /* a mark is no letter */
        {"\xf0\x9f\x98\x80\xf0\x9f\x98\x80 a", "\xf0\x9f\x98\x80\xf0\x9f\x98\x80| a"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char got[128] = "";
        size_t used = 0, size = strlen(rows[i].text);
        for (size_t at = 0, to; at < size; at = to) {
            to = wt_bpe_word_end(rows[i].text, size, at);
            assert_true(to > at && to <= size);
            used += (size_t)snprintf(got + used, sizeof(got) - used, "%s%.*s", at ? "|" : "",
                                     (int)(to - at), rows[i].text + at);
        }
        assert_string_equal(got, rows[i].want);
    }
}

static void a_word_of_two_megabytes_comes_back_too(void **state)
{
    (void)state;
    struct wt_vocabulary *v = gpt2();
    size_t size = 2000000; /* by pairs of all neighbours it would be hours */
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('a' + (i * i / 7) % 26);
    assert_round_trip(v, text, size);
    free(text);
    wt_vocabulary_free(v);
}

static void bytes_that_are_not_utf8_are_refused_with_their_place(void **state)
{
    (void)state;
    struct wt_vocabulary *ways[2] = {gpt2(), wordpiece("vocab.txt", "")};
    for (size_t i = 0; i < 2; i++) {
        struct wt_error err = {0};
        int32_t *ids = NULL;
        size_t count = 0;
        assert_int_equal(wt_vocabulary_encode(ways[i], "T", "ab\ncd\xff\n", 7, &ids, &count, &err),
                         WT_E_FORMAT);
        assert_null(ids);
        assert_non_null(strstr(err.text, "T:2: byte 5 (0xff) is not UTF-8"));
        char *text = NULL;
        size_t size;
        assert_int_equal(
            wt_vocabulary_decode(ways[i], (int32_t[]){5, 999999}, 2, &text, &size, &err),
            WT_E_RANGE);
        assert_non_null(strstr(err.text, "token 1 is 999999"));
        assert_int_equal(wt_vocabulary_decode(ways[i], (int32_t[]){-1}, 1, &text, &size, &err),
                         WT_E_RANGE);
        wt_vocabulary_free(ways[i]);
    }
}

static void pieces_are_joined_again(void **state)
{
    (void)state;
    struct wt_vocabulary *v = wordpiece("vocab.txt", "");
    int32_t *ids = NULL;
    size_t count = 0, size = 0;
    char *text = NULL;
    assert_int_equal(wt_vocabulary_id(v, "the"), 1996); /* as published */
    assert_int_equal(wt_vocabulary_id(v, "[MASK]"), 103);
    assert_string_equal(wt_vocabulary_entry(v, 1010), ",");
    assert_null(wt_vocabulary_bpe(v));
    assert_non_null(wt_vocabulary_wordpiece(v));
    const char in[] = "Unaffable tokenizers, Na\xc3\xafve #1";
    assert_int_equal(wt_vocabulary_encode(v, "T", in, strlen(in), &ids, &count, NULL), 0);
    assert_int_equal(wt_vocabulary_decode(v, ids, count, &text, &size, NULL), 0);
    assert_string_equal(text, "unaffable tokenizers , naive # 1");
    assert_int_equal(size, strlen(text));
    free(ids);
    free(text);
    wt_vocabulary_free(v);
}

/* ---- files that do not fit ---- */

/* A vocab.json of all bytes and some more, or exactly what is given when it begins with "{". */
static void put_vocab(FILE *f, const char *more)
{
    if (*more == '{' || !*more) {
        fputs(more, f);
        return;
    }
    fputc('{', f);
    put_bytes(f);
    fprintf(f, "%s}", more);
}

static void a_bpe_that_does_not_fit_is_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *merges;
        const char *want; /* NULL: it is fine */
    } rows[] = {
        {",\"ab\":256,\"abc\":257", "#version: 0.2\na b\nab c\n", NULL},
        {",\"ab\":256", "a b", NULL},
        {",\"ab\":256", "a b\r\n", NULL},
        {",\"ab\":256", "\xef\xbb\xbf#version: 0.2\na b\n", NULL},
        {" ", "", NULL},
        {",\"ab\":256", "#version: 0.2\na b\na c\n", "M:3: \"ac\" is no entry of V"},
        {",\"ab\":256", "a b\nabc d\n", "M:2: \"abc\" is no entry of V"},
        {",\"ab\":256", "a b\na b\n", "M:2: the same as the merge on line 1"},
        {",\"ab\":256", "ab\n", "M:1: not two entries"},
        {",\"ab\":256", "a  b\n", "M:1: not two entries"},
        {",\"ab\":256", "a b c\n", "M:1: not two entries"},
        {",\"ab\":256", " ab\n", "M:1: not two entries"},
        {",\"ab\":256", "ab \n", "M:1: not two entries"},
        {",\"ab\":256", "a b\n\n", "M:2: not two entries"},
        {",\"ab\":256", "a b\n\xff z\n", "M:2: byte 4 (0xff) is not UTF-8"},
        {",\"a\":256", "", "V:1: duplicate object key"},
        {"", "", "V:1:"},
        {"{", "", "V:1:"},
        {"{}", "", "V: 0 entries"},
        {"{\"a\":0}", "", "V: no entry is the byte 0x00"},
        {",\"ab\":257", "", "\"ab\" is 257: 257 entries have 0 to 256"},
        {",\"ab\":-1", "", "\"ab\" is -1"},
        {",\"ab\":99999999999", "", "\"ab\" is 99999999999"},
        {",\"ab\":7", "", "both have the id 7"},
        {",\"ab\":\"7\"", "", "\"ab\" is no whole number"},
        {",\"\":256", "", "V: entry 256 is empty"},
        {",\"a b\":256", "", "V: entry 256, \"a b\", is not written in the byte alphabet"},
        {",\"\xe4\xb8\xad\":256", "", "is not written in the byte alphabet"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct buf b;
        put_vocab(begin(&b), rows[i].vocab);
        struct wt_vocabulary_text vocab = end(&b, "V"),
                                  merges = {"M", rows[i].merges, strlen(rows[i].merges)};
        struct wt_vocabulary *v = NULL;
        struct wt_error err = {0};
        int rc = wt_vocabulary_from_bpe(&v, &vocab, &merges, &err);
        if ((rc == 0) != !rows[i].want || (rows[i].want && !strstr(err.text, rows[i].want)))
            print_error("row %zu: \"%s\" instead of \"%s\"\n", i, err.text, rows[i].want);
        assert_int_equal(rc, rows[i].want ? WT_E_FORMAT : 0);
        if (rows[i].want)
            assert_non_null(strstr(err.text, rows[i].want));
        assert_int_equal(v != NULL, rc == 0);
        wt_vocabulary_free(v);
        free(b.text);
    }
}

/* ---- tokenizer.json ---- */

#define SPECIALS "\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4"
#define BERT_JSON(normalizer, pre, model, vocab)                                                   \
    "{\"version\":\"1.0\"," normalizer ",\"pre_tokenizer\":{\"type\":\"" pre                       \
    "\"},\"model\":{" model ",\"vocab\":{" vocab "}}}"
#define LOWER                                                                                      \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"strip_accents\":null,\"lowercase\":true}"
#define MODEL                                                                                      \
    "\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","         \
    "\"max_input_chars_per_word\":100"

static void a_tokenizer_json_of_wordpiece_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *json, *want; /* what "A\xc3\xa9 a" decodes to, or the complaint */
        int code;
    } rows[] = {
        {BERT_JSON(LOWER, "BertPreTokenizer", MODEL, SPECIALS ",\"a\":5,\"A\":6,\"##e\":7"), "ae a",
         0},
        {BERT_JSON("\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false}",
                   "BertPreTokenizer", MODEL, SPECIALS ",\"a\":5,\"A\":6,\"##\xc3\xa9\":7"),
         "A\xc3\xa9 a", 0},
        {BERT_JSON("\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false,"
                   "\"strip_accents\":true}",
                   "BertPreTokenizer", MODEL, SPECIALS ",\"a\":5,\"A\":6,\"##e\":7"),
         "Ae a", 0},
        {BERT_JSON(LOWER, "BertPreTokenizer",
                   "\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                   "\"max_input_chars_per_word\":100",
                   SPECIALS ",\"a\":5"),
         "[UNK] a", 0}, /* as of 2020: no type */
        {"", "J:1:", WT_E_FORMAT},
        {"[]", "J: no JSON object", WT_E_FORMAT},
        {"{}", "type is \"\"", WT_E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"Unigram\"}}", "type is \"Unigram\"", WT_E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "vocab is no JSON object", WT_E_FORMAT},
        {BERT_JSON(LOWER, "Whitespace", MODEL, SPECIALS),
         "pre_tokenizer's type is \"Whitespace\"; \"BertPreTokenizer\" is read", WT_E_UNSUPPORTED},
        {BERT_JSON("\"normalizer\":null", "BertPreTokenizer", MODEL, SPECIALS),
         "normalizer's type is not there", WT_E_UNSUPPORTED},
        {BERT_JSON("\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":false}",
                   "BertPreTokenizer", MODEL, SPECIALS),
         "clean_text is false", WT_E_UNSUPPORTED},
        {BERT_JSON("\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":1}",
                   "BertPreTokenizer", MODEL, SPECIALS),
         "lowercase is neither true nor false", WT_E_FORMAT},
        {BERT_JSON(LOWER, "BertPreTokenizer", "\"type\":\"WordPiece\",\"unk_token\":\"<unk>\"",
                   SPECIALS),
         "unk_token is \"<unk>\"", WT_E_UNSUPPORTED},
        {BERT_JSON(LOWER, "BertPreTokenizer", MODEL,
                   "\"[PAD]\":0,\"a\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4"),
         "J: no entry is [UNK]", WT_E_FORMAT},
        {BERT_JSON(LOWER, "BertPreTokenizer", MODEL, SPECIALS ",\"a\":5,\"b\":5"),
         "\"a\" and \"b\" both have the id 5", WT_E_FORMAT},
        {BERT_JSON(LOWER, "BertPreTokenizer", MODEL, SPECIALS ",\n\"a\":5,\n\"a\":6"),
         "J:3: duplicate object key", WT_E_FORMAT},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_vocabulary_text json = {"J", rows[i].json, strlen(rows[i].json)};
        struct wt_vocabulary *v = NULL;
        struct wt_error err = {0};
        int rc = wt_vocabulary_from_json(&v, &json, &err);
        if (rc != rows[i].code)
            print_error("row %zu: %d \"%s\"\n", i, rc, err.text);
        assert_int_equal(rc, rows[i].code);
        if (rc == 0) {
            int32_t *ids = NULL;
            size_t count = 0, size = 0;
            char *text = NULL;
            assert_int_equal(wt_vocabulary_encode(v, "T", "A\xc3\xa9 a", 5, &ids, &count, NULL), 0);
            assert_int_equal(wt_vocabulary_decode(v, ids, count, &text, &size, NULL), 0);
            assert_string_equal(text, rows[i].want);
            free(ids);
            free(text);
        } else {
            if (!strstr(err.text, rows[i].want))
                print_error("row %zu: \"%s\"\n", i, err.text);
            assert_non_null(strstr(err.text, rows[i].want));
        }
        wt_vocabulary_free(v);
    }
}

static void a_tokenizer_json_of_bpe_is_read(void **state)
{
    (void)state;
    static const char level[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";
    static const struct {
        const char *before, *model, *more, *added, *want;
        int code;
    } rows[] = {
        {level, "\"type\":\"BPE\",\"merges\":[\"a b\",[\"ab\",\"c\"]]", ",\"ab\":256,\"abc\":257",
         "{\"id\":258,\"content\":\"<|a \xc3\xa9|>\",\"special\":true}", NULL, 0},
        {level, "\"merges\":[\"a b\"],\"unk_token\":\"<|endoftext|>\",\"end_of_word_suffix\":\"\"",
         ",\"ab\":256,\"abc\":257,\"<|x|>\":258", "{\"id\":258,\"content\":\"<|x|>\"}", NULL, 0},
        {level, "\"type\":\"BPE\",\"merges\":[\"a b\",\"ab d\"]", ",\"ab\":256", "",
         "J: merge 1: \"abd\" is no entry", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[\"a b\",\"x x\",\"a b\"]", ",\"ab\":256,\"xx\":257",
         "", "J: merge 2: the same as the merge on place 0", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[[\"a\"]]", "", "", "merge 0: not two entries",
         WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":{}", "", "", "merges are no list", WT_E_FORMAT},
        {level, "\"type\":\"BPE\"", "", "", "merges are no list", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[\"a b\"]", "", "{\"id\":256,\"content\":\"ab\"}",
         "\"ab\" is an added token", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[]", "", "{\"id\":256}",
         "added token 0 has no content", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[]", "", "{\"id\":300,\"content\":\"x y\"}",
         "\"x y\" is 300", WT_E_FORMAT},
        {level, "\"type\":\"BPE\",\"merges\":[],\"end_of_word_suffix\":\"</w>\"", "", "",
         "end_of_word_suffix is \"</w>\"; none is read", WT_E_UNSUPPORTED},
        {level, "\"type\":\"BPE\",\"merges\":[],\"byte_fallback\":true", "", "",
         "byte_fallback is true", WT_E_UNSUPPORTED},
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "\"type\":\"BPE\",\"merges\":[]", "",
         "", "add_prefix_space is true", WT_E_UNSUPPORTED},
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}",
         "\"type\":\"BPE\",\"merges\":[]", "", "", "use_regex is false", WT_E_UNSUPPORTED},
        {"{\"type\":\"Sequence\"}", "\"type\":\"BPE\",\"merges\":[]", "", "",
         "type is \"Sequence\"; \"ByteLevel\" is read", WT_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct buf b;
        begin(&b);
        fprintf(b.file,
                "{\"normalizer\":null,\"added_tokens\":[%s],\"pre_tokenizer\":%s,\"model\":{%s,"
                "\"vocab\":{",
                rows[i].added, rows[i].before, rows[i].model);
        put_bytes(b.file);
        fprintf(b.file, "%s}}}", rows[i].more);
        struct wt_vocabulary_text json = end(&b, "J");
        struct wt_vocabulary *v = NULL;
        struct wt_error err = {0};
        int rc = wt_vocabulary_from_json(&v, &json, &err);
        if (rc != rows[i].code || (rc < 0 && !strstr(err.text, rows[i].want)))
            print_error("row %zu: %d \"%s\"\n", i, rc, err.text);
        assert_int_equal(rc, rows[i].code);
        if (rc < 0) {
            assert_non_null(strstr(err.text, rows[i].want));
        } else {
            int32_t *ids = NULL;
            size_t count = 0, size = 0;
            char *text = NULL;
            assert_int_equal(wt_vocabulary_encode(v, "T", "ab", 2, &ids, &count, NULL), 0);
            assert_int_equal(count, 1);
            assert_int_equal(ids[0], 256);
            free(ids);
            /* An added token is not made from text, and stands for its own. */
            assert_int_equal(wt_vocabulary_decode(v, (int32_t[]){258, 256}, 2, &text, &size, NULL),
                             0);
            assert_string_equal(text, i == 0 ? "<|a \xc3\xa9|>ab" : "<|x|>ab");
            assert_round_trip(v, text, size);
            free(text);
        }
        wt_vocabulary_free(v);
        free(b.text);
    }
}

/* ---- folders ---- */

static void put_file(const char *folder, const char *name, const struct wt_vocabulary_text *text)
{
    char path[128];
    wt_text(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(wt_file_replace(path, text->text, text->size, NULL), 0);
}

static void a_models_folder_is_opened_by_what_lies_in_it(void **state)
{
    (void)state;
    char folder[] = "/tmp/wt-vocabulary-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct wt_vocabulary *v = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.text, folder));

    struct wt_vocabulary_text merges = read_data("merges.txt"), pieces = read_data("vocab.txt");
    struct buf b;
    put_gpt2(begin(&b), &merges);
    struct wt_vocabulary_text vocab = end(&b, "vocab.json");
    put_file(folder, "vocab.json", &vocab);
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), WT_E_NOTFOUND); /* half of it */
    put_file(folder, "merges.txt", &merges);
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), 0);
    assert_int_equal(wt_vocabulary_size(v), 50257);
    assert_int_equal(wt_vocabulary_id(v, "<|endoftext|>"), 50256);
    wt_vocabulary_free(v);

    put_file(folder, "vocab.txt", &pieces);
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), 0);
    assert_int_equal(wt_vocabulary_size(v), 30522);
    wt_vocabulary_free(v);
    const char wrong[] = "{\"do_lower_case\":\"no\"}";
    put_file(folder, "tokenizer_config.json",
             &(struct wt_vocabulary_text){"", wrong, strlen(wrong)});
    v = NULL;
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "/tokenizer_config.json: do_lower_case is neither"));
    put_file(folder, "tokenizer.json", &(struct wt_vocabulary_text){"", "{\n\n", 3});
    assert_int_equal(wt_vocabulary_open(&v, folder, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "/tokenizer.json:3:"));
    assert_null(v);
    free(b.text);
    free((char *)merges.text);
    free((char *)pieces.text);
    assert_int_equal(wt_fs_remove_tree(folder, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_lines_are_cut_as_others_cut_them),
        cmocka_unit_test(ids_are_those_that_others_give),
        cmocka_unit_test(any_text_comes_back_from_bpe_as_it_was),
        cmocka_unit_test(a_word_ends_where_gpt2s_expression_ends_it),
        cmocka_unit_test(a_word_of_two_megabytes_comes_back_too),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused_with_their_place),
        cmocka_unit_test(pieces_are_joined_again),
        cmocka_unit_test(a_bpe_that_does_not_fit_is_refused_by_line),
        cmocka_unit_test(a_tokenizer_json_of_wordpiece_is_read),
        cmocka_unit_test(a_tokenizer_json_of_bpe_is_read),
        cmocka_unit_test(a_models_folder_is_opened_by_what_lies_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
