/* ranks: one command started many times by srun or mpirun. On each node the first of them measures,
 * and the others are the command at once. */
#ifndef WT_CLI_RANKS_H
#define WT_CLI_RANKS_H

#include "cli.h"

struct cli_ranks {
    bool is_many;       /* there are several; all else is empty where not */
    bool is_first_here; /* on its node: it measures */
    bool is_first_of_all;
    char group[40];     /* of the job's records */
    char node_name[64]; /* "": the host's */
    unsigned node;      /* its number; 0 where it is not known */
    unsigned nodes;     /* 0: not known */
    unsigned here, all; /* ranks */
    unsigned covered;   /* of those here: whose energy is surely measured */
    char dir[120];      /* the folder that the ranks of a node share: doors, and who they are */
    char gpus[512];     /* of all ranks here; "": as each sees them */
};

/* What the environment says: of Open MPI's mpirun, MPICH's and Intel's (hydra), then of Slurm's
 * step; those of mpirun go before, as it may be started by srun itself. */
void cli_ranks_find(struct cli_ranks *ret_ranks);
/* Becomes the command, with the door of the rank that measures. Returns only where that failed,
 * with the exit code. */
int cli_ranks_step_aside(const struct cli_ranks *ranks, char **argv);
/* For the one that measures: waits for the word of the others here, half a second at most, and
 * finds whose GPUs there are. */
void cli_ranks_gather(struct cli_ranks *io_ranks);
/* How many of the others here are still running; they, and those that never said a word, are not
 * covered. Waits half a second at most for those that have not even begun, which only a very short
 * command outruns, and 0.2 s for those that end with us. */
unsigned cli_ranks_running(struct cli_ranks *io_ranks);
/* Writes group and place into a run. */
void cli_ranks_tell(const struct cli_ranks *ranks, struct wt_run *run);
/* On the first node, after its own run: waits for the records of the others, which come into the
 * same store where the home is shared, and prints the sum or why there is none. */
void cli_ranks_sum(const struct cli_ranks *ranks, struct wt_store *store, const struct wt_run *run,
                   int64_t wait_ns);

#endif
