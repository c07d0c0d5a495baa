/* chaos: what the benches that kill owners of settings share: a machine of emulated GPUs, clients
 * and their guardians, and what has to be true once all is over. */
#ifndef WT_BENCH_CHAOS_H
#define WT_BENCH_CHAOS_H

#include <sys/types.h>

#include "lease/lease.h"
#include "wattune/emulate.h"

#define CHAOS_GPUS       8
#define CHAOS_LATE_NS    WT_NS_PER_S
#define CHAOS_GIVE_UP_NS (10 * WT_NS_PER_S)

/* splitmix64, from its state. */
extern uint64_t chaos_rng_state;
uint64_t chaos_rng(void);

/* "PROGRAM: ERR"; returns 1. */
int chaos_die(const struct wt_error *err);

/* ---- the machine ---- */

struct chaos_machine {
    struct wt_emulation *emulation;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
    char dir[4096]; /* its journal's */
};

/* Reads [CYCLES [SEED]] of a bench and seeds the numbers; false after saying what is wrong. */
bool chaos_read_args(int argc, char **argv, uint64_t *cycles, uint64_t *seed);
/* Eight emulated V100s, half of them with a site's cap of 200 W under a default of 250 W. What
 * clients leave behind becomes this process's child. After an error too: chaos_machine_done. */
int chaos_machine_start(struct chaos_machine *m, struct wt_error *err);
void chaos_machine_done(struct chaos_machine *m);

/* ---- a client: the bench's own program as "PROGRAM client SEED WHAT" ---- */

struct chaos_victim {
    pid_t pid, guardian;
    int in, out; /* it says one letter once it holds its lease, and ends when its stdin does */
    bool is_killed, is_guardian_killed;
};

bool chaos_start(struct chaos_victim *v, uint64_t what);
/* Waits for all of them to hold their leases; how many do not. */
size_t chaos_await(const struct chaos_victim *victims, size_t count);
void chaos_find_guardians(struct chaos_victim *victims, size_t count);
/* SIGKILL to a client, or to its guardian if it has one; then perhaps a moment. */
void chaos_kill(struct chaos_victim *v, bool is_guardian);
void chaos_pause(void);
/* In the client: one setting of a GPU, or now and then all back; chaos_is_told_to_end: stop. */
int chaos_set_something(struct wt_lease *lease, size_t gpu, int64_t clock_khz,
                        struct wt_error *err);
bool chaos_is_told_to_end(void);

/* ---- what came of it ---- */

struct chaos_outcome {
    uint64_t clients, clients_killed, guardians_killed, both_killed, recovered;
    uint64_t off, late, failed, open_entries, broken_journal;
    int64_t worst_ns;
};

/* Ends a client that lives, and counts it. Its exit status, 0 of one that was killed. */
int chaos_collect(struct chaos_victim *v, struct chaos_outcome *o);
/* What a boot does, until nothing is left to put back, and whether all is back. */
void chaos_restart(struct chaos_machine *m, int64_t start_ns, struct chaos_outcome *o);
bool chaos_is_bad(const struct chaos_outcome *o);

#endif
