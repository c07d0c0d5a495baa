/* Jobs: the energy of every job, step and idle hour of a node, in a store of one node or a cluster.
 *
 * Slurm tells of jobs by files (docs/decisions/0009). Accounts read them, split what the node's
 * devices draw among the jobs, and keep rows in a store: always an SQLite file of the node, and
 * from there a PostgreSQL that the nodes of a cluster share. docs/jobs.md has the rules.
 *
 * Energies here are whole microjoules, since accounts add up exactly. Times of rows are
 * CLOCK_REALTIME in ns. */
#ifndef WATTUNE_JOBS_H
#define WATTUNE_JOBS_H

#include "wattune/meter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what Slurm says of a job ---- */

#define WT_JOB_FACTS_MAX  4096 /* bytes of a file */
#define WT_JOB_FACTS_GPUS 128
#define WT_JOB_FACTS_DIR  "/run/wattune/slurm"

/* One file, JOB or JOB.STEP. Texts are valid UTF-8 without control characters; "": not told. */
struct wt_job_facts {
    uint32_t job;
    char step[24]; /* "0", "batch", "extern", "interactive"; "" in a job's file */
    uint32_t uid;
    char user[64], account[64], partition[64], name[256], cluster[64], node[64];
    char model[64];                   /* the language model, where somebody says it */
    unsigned gpus[WT_JOB_FACTS_GPUS]; /* as Slurm numbers them on the node */
    size_t gpu_count;
    char devices[WT_JOB_FACTS_GPUS][96]; /* their ids in that order */
    size_t device_count;                 /* as many as GPUs, or 0: not told */
    uint32_t nodes;                      /* of the job; 0: not told */
    uint64_t cap_mw, cap_set_mw;         /* 0: none */
    int64_t begin_ns, end_ns;            /* end_ns 0: it runs */
    uint32_t pid;                        /* of a step's slurmstepd; 0: not told */
    uint64_t pid_start;                  /* clock ticks since boot */
};
/* Reads len bytes; name is what the file is called in errors. Keys that are not known are passed
 * over; one that is known may be there once. Errors: WT_E_FORMAT (names the file and the key).
 * Threads: any thread. */
WT_API int wt_job_facts_parse(struct wt_job_facts *ret_facts, const char *text, size_t len,
                              const char *name, struct wt_error *err);

/* ---- rows ---- */

enum wt_job_state {
    WT_JOB_RUNNING,
    WT_JOB_ENDED,
    WT_JOB_LOST, /* its end was not seen: the node died, or nobody told of it */
};
/* "running", "ended", "lost"; never NULL. Threads: any thread. */
WT_API const char *wt_job_state_name(enum wt_job_state state);

/* Of one device of one node, what a job, a step or nobody drew. Its key is cluster, job, step,
 * node, begin_ns and device; of two with one key the higher seq is the later. */
struct wt_job_row {
    char cluster[64], node[64];
    uint32_t job;  /* 0: nobody's, that is idle and what is not of jobs (step "idle") */
    char step[24]; /* ""; of a step its name: it is inside its job's row, never added to it */
    int64_t begin_ns;
    char device[96]; /* id */
    int64_t seq;     /* the store's own: set when it is written */

    enum wt_device_kind kind;
    int index; /* within its kind; -1: not known */
    char device_name[96];
    bool is_counted; /* in sums, where each joule is to be once (wt_device_info.is_counted) */
    uint32_t uid;
    char user[64], account[64], partition[64], name[256], model[64];
    uint32_t nodes;
    uint64_t cap_mw, cap_set_mw;
    enum wt_job_state state;
    int64_t end_ns;                /* 0: it runs */
    int64_t updated_ns;            /* up to here energy_uj is told */
    enum wt_provenance provenance; /* WT_PROV_UNKNOWN: nothing was read, energy_uj means nothing */
    uint64_t energy_uj, low_uj, high_uj; /* high_uj UINT64_MAX: no upper bound is known */
    char rule[24];                       /* "exclusive", "split evenly", "by CPU time", "rest" */
    int64_t gap_ns; /* nobody measured it for so long; in high_uj with the most it can have been */
    char note[160];
};

/* ---- a store ---- */

struct wt_job_store;

#define WT_JOB_STORE_FILE "/var/lib/wattune/jobs.db"

/* where: a path of an SQLite file, or postgresql://... (postgres://...); NULL: WT_JOB_STORE_FILE.
 * To write makes the file, its folder or the tables where they are missing; to read never does.
 * PostgreSQL's client library is opened only when it is asked for. Waits at most some 10 s for a
 * server. Errors never hold a password: WT_E_USAGE (no such form), WT_E_UNSUPPORTED (no libpq.so.5,
 * or built without it), WT_E_NOTFOUND (to read, and there is none), WT_E_DENIED, WT_E_TIMEOUT,
 * WT_E_IO, WT_E_BUSY, WT_E_FULL, WT_E_FORMAT (damaged, not ours, or of a newer version).
 * Threads: one thread at a time. */
WT_API int wt_job_store_open(struct wt_job_store **ret_store, const char *where, bool is_to_write,
                             struct wt_error *err);
WT_API void wt_job_store_close(struct wt_job_store *store);
/* What it is called to people: the path, or the address without password. Borrowed. */
WT_API const char *wt_job_store_name(const struct wt_job_store *store);
/* Writes rows, all or none. In an SQLite file each gets a seq above that which is there (its seq is
 * written back); in PostgreSQL a row takes the place of one with a lower seq and is else passed
 * over, so that writing twice changes nothing. Errors: as open. */
WT_API int wt_job_store_write(struct wt_job_store *store, struct wt_job_row *rows, size_t count,
                              struct wt_error *err);

/* NULL, 0: any. */
struct wt_job_filter {
    const char *user, *account, *partition, *model, *node, *cluster;
    uint32_t job;
    int64_t since_ns, until_ns; /* rows that were running at some time of this span */
    bool has_steps, has_idle;   /* steps' rows, and nobody's, too */
    bool is_open_only;          /* only what runs */
    /* Only rows of so many jobs that count, or with has_steps steps: those that began last. 0: all
     */
    size_t latest;
};
/* By begin, job, step, node, device. Owned: free(). Errors: as open, WT_E_NOMEM. */
WT_API int wt_job_store_list(struct wt_job_store *store, const struct wt_job_filter *filter,
                             struct wt_job_row **ret_rows, size_t *ret_count, struct wt_error *err);

/* ---- sums ---- */

enum wt_job_by {
    WT_JOB_BY_JOB, /* one a job, all its nodes */
    WT_JOB_BY_USER,
    WT_JOB_BY_ACCOUNT,
    WT_JOB_BY_PARTITION,
    WT_JOB_BY_MODEL,
    WT_JOB_BY_NODE,
    WT_JOB_BY_NONE, /* one of all */
};
/* "job", "user", ...; the inverse returns WT_E_NOTFOUND. Threads: any thread. */
WT_API const char *wt_job_by_name(enum wt_job_by by);
WT_API int wt_job_by_from_name(const char *name, enum wt_job_by *ret_by);

/* Rows that have the same key and are of the same world: what was emulated or replayed is never
 * added to what was measured. */
struct wt_job_sum {
    char key[96];
    const struct wt_job_row *first; /* borrowed from the rows: of a job what else is known of it */
    bool is_emulated, is_replayed;
    bool is_idle; /* nobody's: of WT_JOB_BY_NODE and _NONE, beside the jobs */
    size_t jobs, nodes;
    int64_t begin_ns, end_ns;
    double node_s;           /* time times nodes */
    struct wt_joules energy; /* of what is known; high_j INFINITY: some part has no upper bound */
    char weakest[96];        /* the device that its provenance is of */
    size_t unknown;          /* parts of which nothing is known, and which are not in energy */
    size_t running, lost;
    double gap_s; /* the longest time that a part of it was not measured */
};
/* Of the rows that count. steps: those of steps instead, by WT_JOB_BY_JOB, each a sum of its own.
 * Owned: free(). Errors: WT_E_NOMEM. Threads: any thread. */
WT_API int wt_job_sums(const struct wt_job_row *rows, size_t count, enum wt_job_by by, bool steps,
                       struct wt_job_sum **ret_sums, size_t *ret_count, struct wt_error *err);

/* {"by":..,"store":..,"sums":[..]}, by job with the rows of each (docs/json.md). Owned by the
 * caller: free(). NULL only without memory. Threads: any thread. */
WT_API char *wt_job_sums_to_json(const struct wt_job_sum *sums, size_t count,
                                 const struct wt_job_row *rows, size_t row_count, enum wt_job_by by,
                                 const char *store);

/* ---- a node's accounts ---- */

struct wt_accounts;

struct wt_accounts_options {
    const char *facts_dir; /* NULL: WT_JOB_FACTS_DIR; need not be there. All are copied. */
    const char *store;     /* the node's SQLite file; NULL: WT_JOB_STORE_FILE */
    const char *central;   /* postgresql://... that rows are sent to; NULL: none */
    const char *node;      /* NULL: the host's name up to the first dot; a job's facts go before */
    const char *cluster;   /* of what is nobody's, until a job tells it; NULL: "" */
    const char *mapping_dir; /* files for dcgm-exporter's --hpc-job-mapping-dir; NULL: none */
    int64_t note_ns;         /* running rows are written this often; 0: 30 s */
    int keep_days;           /* rows that ended longer ago go (and were sent); 0: 400 */
};
/* Opens the store, takes up what runs in it, and starts a thread that sends when there is a central
 * store (one that is not reached is no error here: rows wait). ctx, devices and meter are borrowed
 * until wt_accounts_free, and options may be NULL. Errors: as wt_job_store_open, WT_E_USAGE,
 * WT_E_STATE (another program keeps its accounts in this store).
 * Threads: owner thread. */
WT_API int wt_accounts_new(struct wt_accounts **ret_accounts, struct wt_ctx *ctx,
                           struct wt_devices *devices, struct wt_meter *meter,
                           const struct wt_accounts_options *options, struct wt_error *err);
/* Notes what runs (it goes on at the next start, with a gap), closes nobody's rows, stops the
 * thread and frees. */
WT_API void wt_accounts_free(struct wt_accounts *accounts);
/* About once a second: reads the facts, splits what was drawn since the last call, writes what is
 * due. Never waits for a central store, and for sensors only where something has begun or ended:
 * once, a quarter of a second at most. What goes wrong with a file or the store is in the status
 * and in the log, and tried again; the error returned is the first of them, and the accounts go on.
 * Errors: WT_E_NOMEM, WT_E_FORMAT, as the store. Threads: owner thread. */
WT_API int wt_accounts_tick(struct wt_accounts *accounts, struct wt_error *err);
/* Rows of what runs as of the last tick: of each job, of its steps where they are wanted, and of
 * nobody, one for each device. Of a running row energy_uj never falls. Owned: free(). Errors:
 * WT_E_NOMEM. Threads: any thread. */
WT_API int wt_accounts_list(struct wt_accounts *accounts, bool has_steps,
                            struct wt_job_row **ret_rows, size_t *ret_count, struct wt_error *err);

/* A device since the accounts began: device_uj == idle_uj + jobs_uj, always. */
struct wt_account_device {
    char id[96];
    enum wt_device_kind kind;
    int index;
    bool is_counted;
    uint64_t device_uj;
    uint64_t idle_uj; /* nobody's */
    uint64_t jobs_uj; /* of jobs that run and that have ended */
};
/* Owned: free(). Errors: WT_E_NOMEM. Threads: any thread. */
WT_API int wt_accounts_devices(struct wt_accounts *accounts, struct wt_account_device **ret_devices,
                               size_t *ret_count, struct wt_error *err);

struct wt_accounts_status {
    char store[256], central[256]; /* as people may read them; "" */
    size_t jobs, steps;            /* running */
    uint64_t ended;                /* jobs whose rows were closed since the accounts began */
    bool has_facts;                /* the folder is there */
    size_t unsent;                 /* rows that the central store does not have yet */
    int64_t sent_ns;               /* when something was last sent; 0: never */
    char problem[200];             /* with files or the node's store; "" */
    char central_problem[200];     /* with the central store; "" */
};
/* Threads: any thread. */
WT_API void wt_accounts_status(struct wt_accounts *accounts, struct wt_accounts_status *ret_status);

/* ---- sending, by itself ---- */

/* Sends what an SQLite file holds and the central store has not, over and over: one transaction a
 * batch, marked as sent only after it is committed there; waits longer after each failure, up to
 * half a minute. Accounts have one of their own. Errors: as wt_job_store_open of the file,
 * WT_E_USAGE (central is no postgresql://...). Threads: owner thread. */
struct wt_job_sender;
WT_API int wt_job_sender_new(struct wt_job_sender **ret_sender, const char *store,
                             const char *central, struct wt_error *err);
/* Stops after the batch in hand. */
WT_API void wt_job_sender_free(struct wt_job_sender *sender);
/* There is something new: look now. Threads: any thread. */
WT_API void wt_job_sender_wake(struct wt_job_sender *sender);
/* Fills unsent, sent_ns, central and central_problem. Threads: any thread. */
WT_API void wt_job_sender_status(struct wt_job_sender *sender,
                                 struct wt_accounts_status *ret_status);

#ifdef __cplusplus
}
#endif
#endif
