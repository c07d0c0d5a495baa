/* program: one run of a program that prints a reading, with a deadline.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_PROGRAM_H
#define WT_SENSOR_PROGRAM_H

#include "base/base.h"

struct wt_program_result {
    char out[16384]; /* the end of its stdout, as text */
    bool is_cut;     /* ... and not all of it */
    char error[160]; /* the last line of its stderr that is not empty, or "" */
    int code;        /* as a shell has it: 127 no such program, 128+n killed by signal n */
};

/* Runs a program (args end with NULL, looked for on the PATH) in a session of its own, with an
 * empty stdin and without our blocked signals, and waits for its end. When it takes longer, or
 * stop_fd (-1: none) can be read, it and what it has started are killed. WATTUNE_SENSOR=1 in its
 * environment tells it from what is measured. The exit code is had from the shell around it: a
 * process that reaps all of its children may take it from us.
 * Errors: WT_E_TIMEOUT, WT_E_STATE (stopped), WT_E_IO (cannot be started, or was killed by somebody
 * else), WT_E_NOMEM. Threads: any thread. */
int wt_program_run(const char *const *args, int stop_fd, int64_t timeout_ns,
                   struct wt_program_result *ret_result, struct wt_error *err);
/* CPU time of this process's children that have ended and were no such programs. */
uint64_t wt_program_others_cpu_ns(void);
/* True when the PATH has such a program. */
bool wt_program_is_there(const char *name);

#endif
