/* The bed of the tests of jobs: accounts over a meter that is made here, with its clock, its /proc,
 * its folder of facts and its store. Time is turned by hand, and what each device drew is known. */
#ifndef WT_TESTS_JOBS_BED_H
#define WT_TESTS_JOBS_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "jobs/accounts.h"

#define S       WT_NS_PER_S
#define UNIX0   (INT64_C(1790000000) * S)
#define MONO0   (INT64_C(5000) * S)
#define DEVICES 4 /* two GPUs, a processor, a node's meter */
#define WINDOWS 4096
#define STEP_NS (S / 10)
#define HISTORY 40000 /* samples of the truth, at STEP_NS */

struct bed {
    char dir[64], facts[96], store[96], map[96];
    struct wt_ctx *ctx;
    int64_t now_ns, skew_ns; /* monotonic; CLOCK_REALTIME was set by so much */
    struct wt_device_info infos[DEVICES];
    const struct wt_device_info *pointers[DEVICES];
    double power_w[DEVICES];
    double cum_j[DEVICES][HISTORY]; /* the truth up to each STEP_NS since MONO0 */
    bool is_dead[DEVICES];
    int64_t dead_ns[DEVICES], alive_ns[DEVICES]; /* windows over this span know nothing */
    double wobble; /* windows that go on are off by so much, J, either way */
    double band_j; /* and their bounds are so much further out */
    struct {
        int64_t begin_ns, end_ns;
        bool is_open, is_used;
    } windows[WINDOWS];
    uint64_t window_count;
    unsigned waits;
    unsigned fails;      /* so many windows cannot be begun */
    const char *devices; /* the ids that tell() writes beside gpus; NULL: none */
    const char *cluster; /* and the cluster */
    uint64_t busy_ticks;
    struct wt_accounts_meter meter;
    struct wt_accounts *accounts;
    unsigned seed;
};

/* With accounts that have begun; each device draws 100 W. Freed with all its files. */
struct bed *bed_new(void);
void bed_free(struct bed *bed);
/* The accounts begin, as at a start of the program. */
void start(struct bed *bed);
/* The program dies: nothing is noted any more. */
void crash(struct bed *bed);
/* Time goes on by whole steps, with this much busy CPU time (of all). */
void pass(struct bed *bed, int64_t span_ns, int64_t busy_ns);
/* A tick must not fail, and after it all has to add up. */
void tick(struct bed *bed);
void assert_conserved(struct bed *bed);
/* Some seconds, a tick each. */
void run_s(struct bed *bed, int seconds, int64_t busy_ns);

/* A job's file, or with a step a step's. end 0: it runs; gpus NULL: none. */
void tell(struct bed *bed, unsigned job, const char *step, const char *gpus, int64_t begin_ns,
          int64_t end_ns, unsigned pid);
/* A slurmstepd in /proc with so much CPU time, in ticks of 10 ms. */
void stepd(struct bed *bed, unsigned pid, unsigned ticks);
/* Whole or not at all. */
void write_file(const char *path, const char *text);
bool has_file(const char *dir, const char *name);
/* CLOCK_REALTIME at a moment of the bed's own clock. */
int64_t unix_of(const struct bed *bed, int64_t mono_ns);

/* Rows in the store, owned. */
struct wt_job_row *rows_of(const struct bed *bed, const struct wt_job_filter *filter,
                           size_t *ret_count);
/* The one row of a job's, with step "", or a step's on a device. */
struct wt_job_row stored(const struct bed *bed, unsigned job, const char *step, const char *device);
/* Those of nobody on a device, oldest first; how many there are, and max at most. */
size_t nobodys(const struct bed *bed, const char *device, struct wt_job_row *ret, size_t max);
void assert_uj(uint64_t uj, double j, const char *what);

#endif
