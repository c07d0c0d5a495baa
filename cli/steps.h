/* steps: how many steps a command's marks come to.
 *
 * Ranks of one job take each step together, and so do the doors of one program (a mark's name says
 * which): the furthest count is the job's. What comes when all of them are gone and is no other
 * rank, as the second training of a script, adds to it. */
#ifndef WATTUNE_CLI_STEPS_H
#define WATTUNE_CLI_STEPS_H

#include "wattune/wattune.h"

#define CLI_RANKS_MOST 64 /* programs, and doors, beyond are left out */

/* Zeroed memory is none yet. */
struct cli_steps {
    uint64_t count; /* of the job so far */
    struct {
        uint32_t pid;
        char name[32];
        uint64_t count;
    } ranks[CLI_RANKS_MOST];
    size_t rank_count;
    uint32_t alive[CLI_RANKS_MOST]; /* programs that have marked and are not gone */
    uint32_t seen[CLI_RANKS_MOST];  /* ranks that have marked, of those that count together */
    size_t alive_count, seen_count;
    uint64_t before; /* what the programs before these came to */
};

/* Any mark, in order of time; the count as it then is. */
uint64_t cli_steps_take(struct cli_steps *steps, const struct wt_mark *mark);

#endif
