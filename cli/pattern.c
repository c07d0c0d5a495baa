/* pattern: see pattern.h. */
#include "pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A pattern that backtracks without end gives up on its line: the program waits for us. */
#define MATCH_STEPS 200000

struct cli_pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

int cli_pattern_new(struct cli_pattern **ret_pattern, const char *option, const char *text,
                    struct wt_error *err)
{
    int number;
    PCRE2_SIZE at;
    uint32_t groups = 0;
    struct cli_pattern *p = calloc(1, sizeof(*p));
    if (!p)
        return err->code = WT_E_NOMEM;
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &number, &at, NULL);
    if (!p->code) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(number, why, sizeof(why));
        cli_pattern_free(p);
        return cli_error(err, WT_E_USAGE, "", "%s '%.200s': at character %zu: %s", option, text, at,
                         (const char *)why);
    }
    pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    p->match = pcre2_match_data_create(2, NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (p->limits)
        pcre2_set_match_limit(p->limits, MATCH_STEPS);
    if (!groups || !p->match || !p->limits) {
        cli_pattern_free(p);
        return groups ? (err->code = WT_E_NOMEM)
                      : cli_error(err, WT_E_USAGE, "the part that is wanted, as in 'step (\\d+)'",
                                  "%s '%.200s': has no group in brackets", option, text);
    }
    *ret_pattern = p;
    return 0;
}

bool cli_pattern_find(const struct cli_pattern *pattern, const char *line, size_t length, char *buf,
                      size_t size)
{
    if (!pattern || pcre2_match(pattern->code, (PCRE2_SPTR)line, length, 0, 0, pattern->match,
                                pattern->limits) < 2)
        return false;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(pattern->match);
    if (ends[2] == PCRE2_UNSET || ends[3] <= ends[2])
        return false;
    size_t used = ends[3] - ends[2];
    if (used > size - 1)
        used = size - 1;
    memcpy(buf, line + ends[2], used);
    buf[used] = '\0';
    return true;
}

void cli_pattern_free(struct cli_pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_match_context_free(pattern->limits);
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    free(pattern);
}
