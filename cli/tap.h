/* tap: reading along on a program's stdout, for programs that cannot be changed.
 *
 * --progress REGEX  its group 1 is the step the program has reached: "step (\d+)"
 * --mark REGEX      its group 1 is the name of the phase that begins with this line
 * Regular expressions are PCRE2's. The program keeps a terminal where it had one: the tap is then a
 * pseudo-terminal of the same size. */
#ifndef WT_CLI_TAP_H
#define WT_CLI_TAP_H

#include "cli.h"

struct cli_tap;

/* Are these patterns (either may be NULL) fit for a tap? Errors: WT_E_USAGE (one that does not
 * compile, with the place, or that has no group). */
int cli_tap_check(const char *progress, const char *mark, struct wt_error *err);

/* What the child writes goes on to out_fd. Either pattern may be NULL. Errors: those of
 * cli_tap_check, WT_E_IO. Threads: starts one; call after cli_signals_block. */
int cli_tap_open(struct cli_tap **ret_tap, int out_fd, const char *progress, const char *mark,
                 struct wt_error *err);
/* The end that the child writes to: its stdout. Closed by cli_tap_started. */
int cli_tap_child_fd(const struct cli_tap *tap);
/* The pseudo-terminal it writes to, for its size; -1 when it is a pipe. */
int cli_tap_terminal_fd(const struct cli_tap *tap);
/* The child has its end: ours is closed. */
void cli_tap_started(struct cli_tap *tap);
/* The child has ended: takes what is still there (a survivor may hold the other end for ever). */
void cli_tap_finish(struct cli_tap *tap);
/* Hands over the marks since the last call. */
void cli_tap_drain(struct cli_tap *tap, void (*fn)(void *data, const struct wt_mark *mark),
                   void *data);
void cli_tap_close(struct cli_tap *tap);

#endif
