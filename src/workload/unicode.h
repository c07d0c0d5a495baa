/* The little of Unicode that BERT's text cleaning and GPT-2's splitting need.
 *
 * Internal to the workload. */
#ifndef WT_WORKLOAD_UNICODE_H
#define WT_WORKLOAD_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WT_FOLD_MAX 3

/* Decodes one code point. Returns its length in bytes, 0 where the bytes are not UTF-8 (overlong,
 * surrogate, above U+10FFFF, cut off). size >= 1. */
size_t wt_utf8_decode(const char *text, size_t size, uint32_t *ret_code);
/* Writes 1 to 4 bytes. */
size_t wt_utf8_encode(uint32_t code, char *buf);

enum wt_class {
    WT_CLASS_LETTER, /* and everything else that makes words */
    WT_CLASS_SPACE,
    WT_CLASS_ALONE, /* punctuation and CJK ideographs: a word each */
    WT_CLASS_DROP,  /* controls, unassigned, private use, U+FFFD */
};
enum wt_class wt_unicode_class(uint32_t code);
bool wt_unicode_is_ideograph(uint32_t code); /* of BERT's blocks; ALONE above */
/* Each writes up to WT_FOLD_MAX code points: lower case; decomposed and without accents, maybe
 * none; and the two after each other. */
size_t wt_unicode_lower(uint32_t code, uint32_t *out);
size_t wt_unicode_strip(uint32_t code, uint32_t *out);
size_t wt_unicode_fold(uint32_t code, uint32_t *out);

/* Categories L* and N*, and the property White_Space. */
bool wt_unicode_is_letter(uint32_t code);
bool wt_unicode_is_number(uint32_t code);
bool wt_unicode_is_space(uint32_t code);

#endif
