/* tokenizer: cleaning, splitting, pieces and made vocabularies; nothing in a text crashes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "workload/random.h"
#include "workload/tokenizer.h"
#include "workload/unicode.h"

static const char vocab[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
    "the\nun\n##aff\n##able\nun##\nwant\n##ed\n,\n.\n!\nnaive\ncafe\n##s\n"
    "\xe4\xb8\xad\n\xe5\x9b\xbd\n\xd0\xbc\xd0\xb8\xd1\x80\n"
    "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\na\n##a\n\xce\xb1\n##\xcf\x83\n;\n$\n";

static struct wt_tokenizer *tokenizer_of(const char *text)
{
    struct wt_tokenizer *t = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_tokenizer_parse(&t, "vocab.txt", text, strlen(text), &err), 0);
    return t;
}

/* The pieces of a text with a space between them. */
static void pieces(char *buf, size_t size, const struct wt_tokenizer *t, const char *text,
                   size_t length)
{
    int32_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(wt_tokenizer_encode(t, text, length, &ids, &count, NULL), 0);
    buf[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(buf);
        assert_true(ids[i] >= 0 && (size_t)ids[i] < wt_tokenizer_size(t));
        wt_text(buf + used, size - used, "%s%s", i ? " " : "",
                wt_tokenizer_entry(t, (size_t)ids[i]));
    }
    free(ids);
}

static void text_becomes_berts_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want, *why;
    } rows[] = {
        {"", "", "nothing"},
        {" \t\r\n ", "", "only white space"},
        {"the", "the", "a whole word"},
        {"THE The", "the the", "lower case"},
        {"unaffable", "un ##aff ##able", "longest pieces first"},
        {"unwanted", "[UNK]", "want is no inner piece"},
        {"wanted", "want ##ed", "beginning and inner piece"},
        {"the,the.", "the , the .", "punctuation stands alone"},
        {"the!!", "the ! !", "each of it"},
        {"$the", "$ the", "ASCII symbols count as punctuation"},
        {"Na\xc3\xafve caf\xc3\xa9s", "naive cafe ##s", "accents composed"},
        {"nai\xcc\x88ve", "naive", "and combining"},
        {"\xe4\xb8\xad\xe5\x9b\xbd", "\xe4\xb8\xad \xe5\x9b\xbd", "ideographs stand alone"},
        {"the\xe4\xb8\xadthe", "the \xe4\xb8\xad the", "between letters too"},
        {"\xd0\x9c\xd0\x98\xd0\xa0", "\xd0\xbc\xd0\xb8\xd1\x80", "Cyrillic capitals"},
        {"\xed\x95\x9c", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "Hangul is decomposed"},
        {"\xce\x91\xce\xa3", "\xce\xb1 ##\xcf\x83", "sigma without regard to its place"},
        {"the\xcd\xbe", "the ;", "the Greek question mark is a semicolon"},
        {"th\x01"
         "e",
         "the", "controls vanish"},
        {"th\xc2\xad"
         "e",
         "the", "so does a soft hyphen"},
        {"th\xe2\x80\x8b"
         "e",
         "the", "a zero-width space is none"},
        {"the\xc2\xa0the", "the the", "a no-break space is one"},
        {"the\xe3\x80\x80the", "the the", "an ideographic one, too"},
        {"th\xef\xbf\xbd"
         "e",
         "the", "the replacement character vanishes"},
        {"\xcc\x88", "", "an accent alone"},
        {"the \xf0\x9f\x98\x80", "the [UNK]", "four bytes, not in the vocabulary"},
        {"[MASK]", "[UNK] [UNK] [UNK]", "a special token cannot be typed"},
        {"un##", "un [UNK] [UNK]", "nor an inner piece's mark"},
    };
    struct wt_tokenizer *t = tokenizer_of(vocab);
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char got[256];
        pieces(got, sizeof(got), t, rows[i].text, strlen(rows[i].text));
        if (strcmp(got, rows[i].want) != 0)
            print_error("%s: \"%s\" instead of \"%s\"\n", rows[i].why, got, rows[i].want);
        assert_string_equal(got, rows[i].want);
    }
    char got[64];
    pieces(got, sizeof(got), t, "th\0e", 4);
    assert_string_equal(got, "the");
    wt_tokenizer_free(t);
}

/* Leading, vowel and trailing parts put together again by Unicode's arithmetic. */
static void every_hangul_syllable_comes_apart(void **state)
{
    (void)state;
    for (uint32_t code = 0xac00; code <= 0xd7a3; code++) {
        uint32_t out[WT_FOLD_MAX] = {0, 0, 0x11a7};
        size_t n = wt_unicode_strip(code, out);
        assert_in_range(n, 2, 3);
        assert_int_equal(0xac00 + ((out[0] - 0x1100) * 21 + out[1] - 0x1161) * 28 + out[2] - 0x11a7,
                         code);
        assert_int_equal(n == 3, out[2] != 0x11a7);
    }
    uint32_t out[WT_FOLD_MAX];
    assert_int_equal(wt_unicode_strip(0xabff, out), 1);
    assert_int_equal(wt_unicode_strip(0xd7a4, out), 1);
}

static void unicode_has_25_white_spaces(void **state)
{
    (void)state;
    static const uint32_t want[] = {9,      10,     11,     12,     13,     0x20,   0x85,
                                    0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                    0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                    0x2029, 0x202f, 0x205f, 0x3000};
    size_t n = 0;
    for (uint32_t code = 0; code < 0x110000; code++)
        if (wt_unicode_is_space(code)) {
            assert_true(n < WT_COUNTOF(want));
            assert_int_equal(code, want[n++]);
            assert_false(wt_unicode_is_letter(code) || wt_unicode_is_number(code));
            if (code >= 0x20 && code != 0x85)
                assert_int_equal(wt_unicode_class(code), WT_CLASS_SPACE);
        }
    assert_int_equal(n, WT_COUNTOF(want));
}

/* As Unicode 14 counts them: Lu 1831, Ll 2227, Lt 31, Lm 334, Lo 127333 and Nd 660, Nl 236, No 895;
 * a letter is no number. */
static void unicode_has_as_many_letters_and_numbers_as_it_says(void **state)
{
    (void)state;
    size_t letters = 0, numbers = 0;
    for (uint32_t code = 0; code < 0x110000; code++) {
        letters += wt_unicode_is_letter(code);
        numbers += wt_unicode_is_number(code);
        assert_false(wt_unicode_is_letter(code) && wt_unicode_is_number(code));
    }
    assert_int_equal(letters, 1831 + 2227 + 31 + 334 + 127333);
    assert_int_equal(numbers, 660 + 236 + 895);
}

static void a_huge_word_is_one_unknown(void **state)
{
    (void)state;
    struct wt_tokenizer *t = tokenizer_of(vocab);
    static const struct {
        size_t letters;
        bool is_known;
    } rows[] = {{99, true}, {100, true}, {101, false}, {3000000, false}};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        char *text = malloc(rows[i].letters);
        assert_non_null(text);
        memset(text, 'a', rows[i].letters);
        int32_t *ids = NULL;
        size_t count = 0;
        assert_int_equal(wt_tokenizer_encode(t, text, rows[i].letters, &ids, &count, NULL), 0);
        assert_int_equal(count, rows[i].is_known ? rows[i].letters : 1);
        assert_int_equal(ids[0] == wt_tokenizer_specials(t)->unknown, !rows[i].is_known);
        free(ids);
        free(text);
    }
    wt_tokenizer_free(t);
}

static void bytes_that_are_not_utf8_are_found_with_line_and_offset(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *want; /* NULL: it is UTF-8 */
        const char *why;
    } rows[] = {
        {"", 0, NULL, "empty"},
        {"a\0b", 3, NULL, "NUL is a character"},
        {"\xc3\xa9\n\xe2\x82\xac\n\xf0\x9f\x98\x80", 11, NULL, "two, three, four bytes"},
        {"ab\ncd\xff", 6, "T:2: byte 5 (0xff)", "a byte that is never there"},
        {"\xe9t\xe9", 3, "T:1: byte 0 (0xe9)", "Latin-1"},
        {"\xc0\x80", 2, "T:1: byte 0", "overlong, two bytes"},
        {"\xe0\x80\xaf", 3, "T:1: byte 0", "overlong, three"},
        {"\xf0\x80\x80\xaf", 4, "T:1: byte 0", "overlong, four"},
        {"\xed\xa0\x80", 3, "T:1: byte 0", "a surrogate"},
        {"\xf4\x90\x80\x80", 4, "T:1: byte 0", "above U+10FFFF"},
        {"a\x80", 2, "T:1: byte 1", "a continuation alone"},
        {"a\xe2\x82", 3, "T:1: byte 1", "cut off"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        int rc = wt_utf8_check("T", rows[i].text, rows[i].size, &err);
        if ((rc == 0) != (rows[i].want == NULL))
            print_error("%s\n", rows[i].why);
        assert_int_equal(rc, rows[i].want ? WT_E_FORMAT : 0);
        if (rows[i].want)
            assert_non_null(strstr(err.text, rows[i].want));
    }
}

static void a_bad_vocabulary_names_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "no line is [PAD]"},
        {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "no line is [MASK]"},
        {"[PAD]\n\nx\n", "V:2: an empty line"},
        {"[PAD]\nx\nx\n", "V:3: \"x\" is on line 2 already"},
        {"[PAD]\n\xff\n", "V:2: byte 6"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_tokenizer *t = NULL;
        struct wt_error err = {0};
        assert_int_equal(wt_tokenizer_parse(&t, "V", rows[i].text, strlen(rows[i].text), &err),
                         WT_E_FORMAT);
        assert_null(t);
        assert_non_null(strstr(err.text, rows[i].want));
    }
    struct wt_tokenizer *nul = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_tokenizer_parse(&nul, "V", "[PAD]\nx\0y\n", 10, &err), WT_E_FORMAT);
    assert_non_null(strstr(err.text, "V:2: holds a NUL byte"));
    struct wt_tokenizer *t = tokenizer_of("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nx");
    assert_int_equal(wt_tokenizer_size(t), 6);
    assert_int_equal(wt_tokenizer_id(t, "x"), 5);
    wt_tokenizer_free(t);
}

static void a_mark_before_a_vocabulary_is_no_part_of_its_first_entry(void **state)
{
    (void)state;
    struct wt_tokenizer *t = tokenizer_of("\xef\xbb\xbfthe\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    assert_int_equal(wt_tokenizer_size(t), 6);
    assert_string_equal(wt_tokenizer_entry(t, 0), "the");
    wt_tokenizer_free(t);
}

static void a_made_vocabulary_merges_what_is_frequent(void **state)
{
    (void)state;
    const char text[] = "low low low low low lower lower newest newest newest newest newest newest "
                        "widest widest widest";
    struct wt_tokenizer *t = NULL;
    assert_int_equal(wt_tokenizer_train(&t, text, strlen(text), 64, NULL), 0);
    /* The classic example of byte pairs: es, est, lo, low come first. */
    static const char *const want[] = {"[PAD]", "[MASK]", "l", "##w", "##est", "low", "newest"};
    for (size_t i = 0; i < WT_COUNTOF(want); i++)
        assert_true(wt_tokenizer_id(t, want[i]) >= 0);
    char got[128];
    pieces(got, sizeof(got), t, "lowest newest low", 17);
    assert_string_equal(got, "low ##est newest low");
    wt_tokenizer_free(t);
}

static char *jonah(size_t *ret_size)
{
    FILE *f = fopen(WT_TEST_DATA "/jonah.txt", "r");
    assert_non_null(f);
    char *text = malloc(65536);
    assert_non_null(text);
    *ret_size = fread(text, 1, 65536, f);
    fclose(f);
    assert_in_range(*ret_size, 5000, 60000);
    return text;
}

static void a_made_vocabulary_is_the_same_each_time_and_knows_its_text(void **state)
{
    (void)state;
    size_t size = 0;
    char *text = jonah(&size);
    static const size_t limits[] = {64, 100, 300, 30000};
    for (size_t i = 0; i < WT_COUNTOF(limits); i++) {
        struct wt_tokenizer *a = NULL, *b = NULL;
        assert_int_equal(wt_tokenizer_train(&a, text, size, limits[i], NULL), 0);
        assert_int_equal(wt_tokenizer_train(&b, text, size, limits[i], NULL), 0);
        assert_true(wt_tokenizer_size(a) <= limits[i]);
        assert_int_equal(wt_tokenizer_size(a), wt_tokenizer_size(b));
        for (size_t k = 0; k < wt_tokenizer_size(a); k++)
            assert_string_equal(wt_tokenizer_entry(a, k), wt_tokenizer_entry(b, k));
        int32_t *ids = NULL;
        size_t count = 0, unknown = 0;
        assert_int_equal(wt_tokenizer_encode(a, text, size, &ids, &count, NULL), 0);
        for (size_t k = 0; k < count; k++)
            unknown += ids[k] == wt_tokenizer_specials(a)->unknown;
        free(ids);
        if (limits[i] >= 300)
            assert_int_equal(unknown, 0);
        wt_tokenizer_free(a);
        wt_tokenizer_free(b);
    }
    free(text);
}

static void a_text_without_words_makes_no_vocabulary(void **state)
{
    (void)state;
    struct wt_tokenizer *t = NULL;
    struct wt_error err = {0};
    assert_int_equal(wt_tokenizer_train(&t, " \n\x01", 3, 1000, &err), WT_E_FORMAT);
    assert_int_equal(wt_tokenizer_train(&t, "", 0, 1000, &err), WT_E_FORMAT);
    assert_int_equal(wt_tokenizer_train(&t, "a", 1, 10, &err), WT_E_USAGE);
    assert_null(t);
}

/* Random code points and random bytes: every id is in the vocabulary, nothing is read past the end
 * (ASan sees that). */
static void any_bytes_can_be_cut_and_learnt_from(void **state)
{
    (void)state;
    struct wt_random random = {3, 0};
    for (size_t round = 0; round < 60; round++) {
        size_t count = wt_random_below(&random, 3000), size = 0;
        char *text = malloc(4 * count + 1);
        assert_non_null(text);
        for (size_t i = 0; i < count; i++) {
            uint32_t code = (uint32_t)wt_random_below(&random, round % 3 ? 0x3000 : 0x110000);
            if (round % 5 == 0)
                text[size++] = (char)code;
            else if (code < 0xd800 || code > 0xdfff)
                size += wt_utf8_encode(code, text + size);
        }
        struct wt_tokenizer *t = NULL;
        if (wt_tokenizer_train(&t, text, size, 200 + count, NULL) == 0) {
            char *got = malloc(64 * (size + 1));
            assert_non_null(got);
            pieces(got, 64 * (size + 1), t, text, size < 500 ? size : 500);
            free(got);
        }
        wt_tokenizer_free(t);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_berts_pieces),
        cmocka_unit_test(every_hangul_syllable_comes_apart),
        cmocka_unit_test(unicode_has_25_white_spaces),
        cmocka_unit_test(unicode_has_as_many_letters_and_numbers_as_it_says),
        cmocka_unit_test(a_huge_word_is_one_unknown),
        cmocka_unit_test(bytes_that_are_not_utf8_are_found_with_line_and_offset),
        cmocka_unit_test(a_bad_vocabulary_names_its_line),
        cmocka_unit_test(a_mark_before_a_vocabulary_is_no_part_of_its_first_entry),
        cmocka_unit_test(a_made_vocabulary_merges_what_is_frequent),
        cmocka_unit_test(a_made_vocabulary_is_the_same_each_time_and_knows_its_text),
        cmocka_unit_test(a_text_without_words_makes_no_vocabulary),
        cmocka_unit_test(any_bytes_can_be_cut_and_learnt_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
