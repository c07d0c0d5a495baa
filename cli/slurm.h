/* slurm: what the commands that speak to Slurm share (budget, jobs, segment, submit, sweep):
 * times and signals as Slurm's commands take them, and those commands. */
#ifndef WT_CLI_SLURM_H
#define WT_CLI_SLURM_H

#include "cli.h"

/* The lines that `wattune submit` puts on top of a script and `wattune segment` reads. */
#define CLI_SLURM_MARK "#WATTUNE "

/* A moment for --begin or StartTime=: local time, as Slurm reads it. In the hour of autumn that the
 * clock shows twice that is ambiguous, and so is now+SECONDS, which Slurm counts by the clock
 * (22.05: an hour off); then seconds since 1970, which its parse_time.c takes as utsN. Returns buf.
 */
const char *cli_slurm_time(char *buf, size_t size, int64_t t_s);
/* Runs a command of Slurm's by its arguments, signals blocked as they are here, and waits. Its exit
 * code, 128+n of a signal. ret_text: all that it wrote, owned, at most 4 MiB; NULL: it writes where
 * we do. Errors: WT_E_NOTFOUND, WT_E_IO, WT_E_NOMEM. */
int cli_slurm_run(char *const argv[], char **ret_text, struct wt_error *err);
/* The same of a command that only asks, and may be killed: when a signal is pending that would end
 * us (137 then, as of SIGKILL), and when it has said nothing more for 120 s (WT_E_TIMEOUT). */
int cli_slurm_ask(char *const argv[], char **ret_text, struct wt_error *err);
/* "USR1", "USR2", "TERM", "INT" or "HUP", which a script can be told by; 0: none of these. */
int cli_slurm_signal(const char *name);

#endif
