/* jobs_chaos: many nodes write jobs into their files and send them, while the central server is
 * killed and started again. Then every row of every file must be there once, as it is in the file.
 * For the test and for bench/jobs-postgres. */
#ifndef WT_TESTS_JOBS_CHAOS_H
#define WT_TESTS_JOBS_CHAOS_H

#include "pg_rig.h"

struct jobs_chaos {
    unsigned nodes, jobs, kills; /* jobs of each node; times that the server is killed */
    unsigned seed;
    /* What came of it: */
    size_t rows, writes, missing, doubled, wrong;
    double joules, joules_there;
    double send_s; /* from the begin until all was there */
    double down_s; /* of it the server was down */
    char why[512]; /* "": it ran to its end */
};

/* False: why says what went wrong, or rows are missing, doubled or wrong. */
bool jobs_chaos_run(struct jobs_chaos *chaos, struct pg_rig *rig, const char *database);

#endif
