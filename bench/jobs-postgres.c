/* jobs-postgres: many nodes send the energy of jobs to one PostgreSQL at once, while it is killed
 * (-9, all its processes) and started again. Nothing may be lost, nothing doubled.
 *
 *   build/bench/jobs-postgres [NODES [JOBS [KILLS]]]      default 200 nodes, 20 jobs each, 5 kills
 *
 * Needs Debian's postgresql (the programs; no running server) and, as root, its user. The server
 * has Debian's settings: 100 connections, fsync. Exit code 1: a row is missing, doubled or another
 * than in its node's file; 77: no PostgreSQL here. */
#include <stdio.h>
#include <stdlib.h>

#include "jobs_chaos.h"

int main(int argc, char **argv)
{
    struct pg_rig rig;
    struct jobs_chaos chaos = {.nodes = argc > 1 ? (unsigned)atoi(argv[1]) : 200,
                               .jobs = argc > 2 ? (unsigned)atoi(argv[2]) : 20,
                               .kills = argc > 3 ? (unsigned)atoi(argv[3]) : 5,
                               .seed = 1};
    if (!pg_rig_open(&rig, true) || !pg_rig_sql(&rig, "postgres", "CREATE DATABASE bench")) {
        fprintf(stderr, "jobs-postgres: %s\n", rig.why);
        bool is_absent = !rig.bin[0] || !rig.user[0];
        pg_rig_close(&rig);
        return is_absent ? 77 : 1;
    }
    bool is_good = jobs_chaos_run(&chaos, &rig, "bench");
    printf("%u nodes, %u jobs each, server killed %u times (down %.1f s)\n"
           "%zu rows written %zu times, all there after %.1f s\n"
           "missing %zu, doubled %zu, wrong %zu; %.6f J in the files, %.6f J in the server\n",
           chaos.nodes, chaos.jobs, chaos.kills, chaos.down_s, chaos.rows, chaos.writes,
           chaos.send_s, chaos.missing, chaos.doubled, chaos.wrong, chaos.joules,
           chaos.joules_there);
    if (chaos.why[0])
        fprintf(stderr, "jobs-postgres: %s\n", chaos.why);
    pg_rig_close(&rig);
    return is_good ? 0 : 1;
}
