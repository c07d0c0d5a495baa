/* server: the daemon's one loop, and what its files share. server.c (the loop), connections.c (who
 * is connected, how many and how fast), handlers.c (what each message does, and who may send it).
 */
#ifndef WT_DAEMON_SERVER_H
#define WT_DAEMON_SERVER_H

#include "daemon/audit.h"
#include "daemon/peer.h"
#include "daemon/policy.h"
#include "daemon/scribe.h"
#include "daemon/table.h"
#include "daemon/worker.h"
#include "lease/protocol.h"

/* ---- the interface ---- */

struct wt_server;

struct wt_server_device {
    char id[96], name[96];
    enum wt_device_kind kind;
    bool is_emulated;
    uint64_t knobs;                           /* a bit for each id */
    struct wt_knob_info infos[WT_KNOB_COUNT]; /* of those, as found at the start */
};

struct wt_server_options {
    struct wt_ctx *ctx;
    const struct wt_server_device *devices; /* copied; 64 at most */
    size_t device_count;
    struct wt_worker_source source;
    const char *state_dir;      /* the journal's */
    const char *run_dir;        /* what is forgotten at boot; NULL: nothing is kept */
    const char *policy;         /* file */
    const char *audit;          /* file; NULL: standard error */
    int64_t device_patience_ns; /* a driver that takes longer hangs */
};

/* Takes the journal's daemon lock, keeps the claims of the living, and begins to put back those of
 * the dead. Block SIGTERM, SIGINT, SIGHUP and SIGUSR2 before, in all threads. Errors: those of
 * wt_scribe_new and wt_policy_load, WT_E_NOMEM, WT_E_IO. */
int wt_server_new(struct wt_server **ret_server, const struct wt_server_options *options,
                  struct wt_error *err);
/* Lets clients in by this listening socket, which stays the caller's. Errors: WT_E_IO. */
int wt_server_listen(struct wt_server *server, int socket, struct wt_error *err);
/* Serves until SIGTERM or SIGINT (all is put back), or SIGUSR2 (claims stay, for the daemon that
 * comes next). 0, or WT_E_STATE when something could not be put back. */
int wt_server_run(struct wt_server *server, struct wt_error *err);
void wt_server_free(struct wt_server *server);

/* ---- inside ---- */

#define WT_CONNECTIONS      4096
#define WT_CONNECTIONS_ROOT 64 /* of these, kept for root */
#define WT_HELLO_NS         (5 * WT_NS_PER_S)

/* One for each uid that is connected. */
struct wt_user {
    struct wt_user *next;
    uint32_t uid;
    uint32_t connections;
    double tokens; /* requests he may make now */
    int64_t filled_ns;
};

struct wt_connection {
    uint64_t id; /* serial << 16 | place: never given twice */
    int fd;
    struct wt_peer peer;
    struct wt_user *user;
    uint64_t token;
    int64_t since_ns;
    bool has_greeted, is_closing;
    bool is_ready;      /* there may be something to read */
    int64_t waiting_ns; /* asks too fast: not read before */
    /* The one request under way. */
    bool is_pending;
    enum wt_wire_type request;
    uint32_t tag;
    size_t left; /* answers to come */
    uint32_t ended;
    int rc;
    struct wt_error err;
    /* What it held is somebody else's now; said at its next release. */
    bool is_abandoned;
    struct wt_error abandoned;
};

struct wt_server {
    struct wt_ctx *ctx;
    struct wt_owner self;
    uint32_t uid; /* ours: trusted as root is */
    struct wt_table *table;
    struct wt_workers *workers;
    struct wt_scribe *scribe;
    struct wt_policy *policy;
    struct wt_audit *audit;
    struct wt_allocations *allocations;
    struct wt_server_device *devices;
    char (*ids)[96];
    int *minors;
    size_t device_count;
    int epoll, socket, signals, reload_fd;
    char policy_path[4096];
    int64_t device_patience_ns, now_ns, full_until_ns, connections_next_ns;
    bool is_sweep_due; /* some connection is to be closed */
    struct wt_connection *connections[WT_CONNECTIONS];
    size_t connection_count, top; /* top: one past the last place in use */
    uint64_t serial;
    struct wt_user *users;
    bool is_stopping, is_leaving;
    uint64_t refused_connections;
    void *reload; /* a policy being read */
    bool is_reload_due;
    bool has_unwatched; /* claims whose life has to be looked after: of jobs, of a former daemon */
};

bool wt_server_is_trusted(const struct wt_server *s, uint32_t uid);

/* connections.c */
void wt_connections_accept(struct wt_server *s);
struct wt_connection *wt_connection_find(struct wt_server *s, uint64_t id);
/* Sends one message; a peer that does not read is hung up on. */
void wt_connection_send(struct wt_server *s, struct wt_connection *c, struct wt_wire_message *m);
void wt_connection_fail(struct wt_server *s, struct wt_connection *c, uint32_t tag,
                        const struct wt_error *why);
/* Reads at most one message from each that has one, and handles it. */
void wt_connections_serve(struct wt_server *s);
/* Closes those marked, with their claims. */
void wt_connections_sweep(struct wt_server *s);
/* When something of theirs is due; INT64_MAX: never. */
int64_t wt_connections_next(const struct wt_server *s);
void wt_connections_done(struct wt_server *s);

/* handlers.c */
void wt_handle(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m);
/* The table's answers. */
void wt_handle_answer(void *data, uint64_t waiter, const struct wt_table_answer *answer);

#endif
