/* pattern: a regular expression (PCRE2's) whose group 1 is what a program says of itself in a line.
 * For tap.c and race_trial.c. */
#ifndef WT_CLI_PATTERN_H
#define WT_CLI_PATTERN_H

#include "cli.h"

struct cli_pattern;

/* option: what the user wrote it for, as in "--progress". Errors: WT_E_USAGE (one that does not
 * compile, with the place, or that has no group), WT_E_NOMEM. */
int cli_pattern_new(struct cli_pattern **ret_pattern, const char *option, const char *text,
                    struct wt_error *err);
/* Group 1 of the first match in a line, into buf; cut when it is too long. False: there is none, or
 * it backtracks too long. NULL never matches. Threads: one thread at a time. */
bool cli_pattern_find(const struct cli_pattern *pattern, const char *line, size_t length, char *buf,
                      size_t size);
void cli_pattern_free(struct cli_pattern *pattern);

#endif
