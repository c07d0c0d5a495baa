/* fuzz: text to be cut. The first byte has the rules of WordPiece; what is not UTF-8 must be
 * refused by all, and byte-level BPE must give back the rest as it was. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/unicode.h"
#include "workload/vocabulary.h"

static const char pieces[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\na\n##a\ne\n##e\n\xc3\xa9\n"
                             "##\xc3\xa9\n\xe4\xb8\xad\n##\xe4\xb8\xad\n.\n";

/* All bytes, and a few merges. */
static struct wt_bpe *make_bpe(void)
{
    static const char *const more[] = {"aa", "aaaa", "ab", "th", "the", "\xc4\xa0the", "ee"};
    static const struct wt_bpe_merge merges[] = {
        {"t", "h", 1, 1, 1}, {"th", "e", 2, 1, 2}, {"\xc4\xa0", "the", 2, 3, 3},
        {"a", "a", 1, 1, 4}, {"e", "e", 1, 1, 5},  {"aa", "aa", 2, 2, 6},
        {"a", "b", 1, 1, 7},
    };
    char letters[256][4] = {{0}};
    const char *entries[256 + 7];
    uint32_t other = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool is_printed = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        wt_utf8_encode(is_printed ? byte : other++, letters[byte]);
        entries[byte] = letters[byte];
    }
    memcpy(entries + 256, more, sizeof(more));
    struct wt_bpe_source source = {"v", entries, NULL, 263, "m", true, merges, 7};
    struct wt_bpe *bpe = NULL;
    return wt_bpe_make(&bpe, &source, NULL) < 0 ? NULL : bpe;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 20)
        return 0;
    struct wt_wordpiece_rules rules = {data[0] & 1, data[0] & 2, data[0] & 4};
    const char *text = (const char *)data + 1;
    static struct wt_bpe *bpe; /* made once: thousands of texts a second */
    struct wt_tokenizer *wordpiece = NULL;
    bpe = bpe ? bpe : make_bpe();
    int32_t *ids = NULL, *cut = NULL;
    size_t count = 0, back_size = 0;
    char *back = NULL;
    if (!bpe ||
        wt_tokenizer_parse_as(&wordpiece, &rules, "v", pieces, sizeof(pieces) - 1, NULL) < 0)
        abort();
    int is_text = wt_utf8_check("t", text, size - 1, NULL),
        rc = wt_bpe_encode(bpe, "t", text, size - 1, &ids, &count, NULL);
    if (rc != is_text)
        abort();
    if (rc == 0) {
        if (wt_bpe_decode(bpe, ids, count, &back, &back_size, NULL) < 0 || back_size != size - 1 ||
            memcmp(back, text, back_size) != 0)
            abort();
        free(back);
    }
    /* WordPiece drops what is not UTF-8; who calls it has checked. */
    if (wt_tokenizer_encode(wordpiece, text, size - 1, &cut, &count, NULL) < 0 ||
        wt_tokenizer_decode(wordpiece, cut, count, &back, &back_size, NULL) < 0)
        abort();
    free(back);
    free(cut);
    free(ids);
    wt_tokenizer_free(wordpiece);
    return 0;
}
