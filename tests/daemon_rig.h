/* A real wattuned on emulated GPUs, and clients of it under any user's id, for its tests. */
#ifndef WT_TESTS_DAEMON_RIG_H
#define WT_TESTS_DAEMON_RIG_H

#include <sys/types.h>

#include "lease/client.h"
#include "lease/lease.h"
#include "wattune/emulate.h"

#define RIG_PATIENCE_S 20 /* until something counts as not done: never how fast it must be */

struct rig {
    char dir[128]; /* 0755, with the socket, the policy, the logs, and a sysroot */
    char socket[160], policy[160], audit[160], log[160], sysroot[160], state[512];
    const char *extra[8]; /* further options of the daemon, NULL-terminated */
    bool is_rooted;       /* runs with --sysroot */
    pid_t daemon;
    struct wt_emulation *emulation;
    struct wt_ctx *ctx;
    struct wt_devices *devices;
};

/* The emulation of these GPUs, and this process's own view of them. */
void rig_open(struct rig *r, const char *spec);
void rig_close(struct rig *r);
void rig_policy(const struct rig *r, const char *text);
/* Starts the daemon ($WATTUNED_COMMAND) and waits until it answers. */
void rig_start(struct rig *r);
/* Sends a signal and waits for its end; the status of waitpid. */
int rig_stop(struct rig *r, int signal);
/* Power limit as the device has it now, mW; and the waiting for one. */
int64_t rig_limit(const struct rig *r, size_t device);
bool rig_becomes(const struct rig *r, size_t device, int64_t want);
/* A whole file, owned by the caller; "" when it is not there. */
char *rig_read(const char *path);
bool rig_has(const char *path, const char *text);    /* now */
bool rig_awaits(const char *path, const char *text); /* within patience */
void rig_write(const char *path, const char *text);  /* with the folders it needs */
/* Open entries of the journal. */
size_t rig_open_entries(const struct rig *r, struct wt_journal_totals *ret_totals);

/* A client in a process of its own, of this user. */
struct rig_client {
    pid_t pid;
    int to, from;
};
struct rig_answer {
    int rc;
    struct wt_wire_message message;
    struct wt_error err;
};
struct rig_client rig_client(const struct rig *r, uint32_t uid);
struct rig_answer rig_ask(const struct rig_client *c, const struct wt_wire_message *m);
struct rig_answer rig_claim(const struct rig_client *c, uint32_t device, int64_t power_mw);
struct rig_answer rig_restore(const struct rig_client *c);
/* Begins a question and does not wait for its answer. */
void rig_ask_later(const struct rig_client *c, const struct wt_wire_message *m);
struct rig_answer rig_answer(const struct rig_client *c);
/* Leaves a child of the client that holds its socket on. */
void rig_fork_holder(const struct rig_client *c);
void rig_kill(struct rig_client *c, int signal);
/* Lets it end by itself: its connection ends, nothing is asked. */
void rig_end(struct rig_client *c);

#endif
