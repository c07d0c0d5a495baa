/* jobs: what the files of `wattune jobs` share. */
#ifndef WT_CLI_JOBS_H
#define WT_CLI_JOBS_H

#include "cli.h"

/* Writes the energy of ended jobs into Slurm's accounting (AdminComment). is_forced: also over what
 * others wrote there; is_dry: only says what it would do. Returns the exit code. */
int cli_jobs_sacct(const struct wt_job_sum *sums, size_t count, bool is_forced, bool is_dry);

#endif
