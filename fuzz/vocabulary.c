/* fuzz: the readers of vocabularies. The first byte says which: 0 vocab.txt with a
 * tokenizer_config.json before it, 1 merges.txt and vocab.json, 2 tokenizer.json; two files are
 * parted by a NUL. With bit 2 the 256 bytes that a byte-level vocabulary must have go before its
 * own entries ("@" in the input), so that what lies behind that check is reached. What is taken
 * must cut a text into its own entries, and a byte-level one must give it back. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "workload/unicode.h"
#include "workload/vocabulary.h"

static const char sample[] =
    "The caf\xc3\xa9's 12 \xe4\xb8\xad\xe5\x9b\xbd, a  ab\nabc \xf0\x9f\x98\x80!";

static void put_bytes(FILE *f)
{
    uint32_t other = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool is_printed = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        char entry[8];
        entry[wt_utf8_encode(is_printed ? byte : other++, entry)] = '\0';
        fprintf(f, "%s\"%s%s\":%u", byte ? "," : "", byte == '"' || byte == '\\' ? "\\" : "", entry,
                byte);
    }
}

static void use(const struct wt_vocabulary *v)
{
    int32_t *ids = NULL;
    size_t count = 0, size = 0;
    char *text = NULL;
    if (wt_vocabulary_encode(v, "t", sample, sizeof(sample) - 1, &ids, &count, NULL) < 0 ||
        wt_vocabulary_decode(v, ids, count, &text, &size, NULL) < 0 ||
        (wt_vocabulary_bpe(v) && (size != sizeof(sample) - 1 || memcmp(text, sample, size) != 0)))
        abort();
    for (size_t i = 0; i < wt_vocabulary_size(v); i++)
        if (wt_vocabulary_id(v, wt_vocabulary_entry(v, i)) != (int32_t)i)
            abort();
    free(ids);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 20)
        return 0;
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    if (!f)
        return 0;
    for (size_t i = 1; i < size; i++)
        if (data[0] & 4 && data[i] == '@' && length < 1 << 20) {
            put_bytes(f);
            fflush(f); /* length */
        } else {
            fputc(data[i], f);
        }
    fclose(f);
    char *nul = memchr(text, '\0', length);
    struct wt_vocabulary_text first = {"a", text, nul ? (size_t)(nul - text) : length},
                              second = {"b", nul ? nul + 1 : text + length,
                                        nul ? length - first.size - 1 : 0};
    struct wt_vocabulary *v = NULL;
    struct wt_error err;
    int kind = data[0] & 3, rc;
    if (kind == 0)
        rc = wt_vocabulary_from_wordpiece(&v, &second, nul ? &first : NULL, &err);
    else if (kind == 1)
        rc = wt_vocabulary_from_bpe(&v, &second, &first, &err);
    else
        rc = wt_vocabulary_from_json(&v, &first, &err);
    if (rc == 0)
        use(v);
    else if (!*err.text)
        abort();
    wt_vocabulary_free(v);
    free(text);
    return 0;
}
