/* journal: which setting was found where, kept on disk until it is back.
 *
 * One append-only file a state directory, of 512-byte slots: a header, then records. A record is
 * complete in itself (everything a restore needs) and carries a checksum; the last record of an
 * entry - lease, device, knob - says how the entry stands. What is not a whole, valid record is
 * passed over, so that every prefix of the writes, torn ones too, leaves a journal that restores.
 *
 * The file is made, and made shorter, by writing a new one beside it: fsync, rename, fsync of the
 * directory. Whoever reads or writes holds the lock file; no call to a device is made under it, so
 * a driver that hangs cannot keep another Wattune from its own devices.
 *
 * It knows nothing of devices or guardians. Format: docs/leases.md. */
#ifndef WT_LEASE_JOURNAL_H
#define WT_LEASE_JOURNAL_H

#include "wattune/types.h"

struct wt_ctx;
struct wt_error;

#define WT_JOURNAL_SLOT    512u
#define WT_JOURNAL_VERSION 2u
#define WT_JOURNAL_FILE    "leases.journal"
#define WT_JOURNAL_LOCK    "leases.lock"
#define WT_JOURNAL_DAEMON  "wattuned.lock" /* held by the living daemon of this directory */

enum wt_lease_state {
    WT_LEASE_INTENDED = 1,  /* about to be set; the device holds found, previous or requested */
    WT_LEASE_SET = 2,       /* set and read back */
    WT_LEASE_RESTORED = 3,  /* back at what was found: the entry is closed */
    WT_LEASE_ABANDONED = 4, /* someone else changed it; left as it is: the entry is closed */
};

/* Who answers for an entry. Another process takes an entry over by appending it with itself as the
 * owner. pid 0: nobody, anyone may restore. */
struct wt_owner {
    uint32_t pid, uid;
    uint64_t start_ticks; /* with the pid the identity of a process within one boot */
    uint64_t pid_space;   /* inode of its pid namespace: elsewhere its pid means nothing */
    uint64_t machine;     /* hash of the machine id: a state directory may lie on a shared disk */
    uint8_t boot[16];     /* boot id */
    char name[16];        /* as in /proc/PID/comm */
};

struct wt_lease_record {
    uint64_t sequence;
    uint64_t lease; /* random, never 0 */
    struct wt_owner owner;
    enum wt_lease_state state;
    bool is_emulated;
    bool is_blind; /* the device cannot tell this setting (locked clocks): found is assumed */
    /* Written by wattuned for a client. Several open claims may stand on one knob of one device:
     * they share the value found, the strictest holds, and only the last end puts back. */
    bool is_claim;
    bool is_restoring; /* of a claim: its present owner is putting it back, and nothing else */
    uint32_t job;      /* of a claim: the Slurm job it lives as long as; 0: as its owner */
    uint64_t token;    /* of a claim: which of its client's leases it is, by the client's word */
    enum wt_knob knob;
    char device[96]; /* UUID or id */
    int64_t found;   /* what a restore puts back */
    bool is_capped;  /* of a claim: found is a site's cap, and uncapped what was there */
    int64_t uncapped;
    int64_t previous; /* what the device held before this request: found, or an earlier request */
    int64_t requested;
    bool is_limited; /* of a claim: requested is a site's cap, and asked what its holder wants */
    int64_t asked;
    int64_t current;  /* as last read: of an intention, before setting; else after it */
    int64_t enforced; /* as the device says it obeys */
    int64_t min, max, step, def;
    int64_t deadline_ns; /* CLOCK_BOOTTIME; 0: none */
    int64_t unix_ns;     /* when the record was written */
};

/* What is written, in the order it is: lets a test cut the power between any two of them. */
enum wt_journal_op {
    WT_JOURNAL_CREATE,    /* a new file beside the journal */
    WT_JOURNAL_WRITE_NEW, /* bytes into that */
    WT_JOURNAL_SYNC_NEW,
    WT_JOURNAL_RENAME, /* it becomes the journal */
    WT_JOURNAL_SYNC_DIR,
    WT_JOURNAL_WRITE, /* bytes into the journal */
    WT_JOURNAL_SYNC,
    WT_JOURNAL_TRUNCATE, /* to offset */
};
struct wt_journal_trace {
    void (*op)(void *data, enum wt_journal_op op, uint64_t offset, const void *bytes, size_t size);
    void *data;
};

struct wt_journal;

/* Makes the directory (0700) when it is not there; creates no journal yet. trace may be NULL;
 * borrowed. Errors: WT_E_IO, WT_E_DENIED, WT_E_FULL, WT_E_NOTFOUND. */
int wt_journal_open(struct wt_journal **ret_journal, const struct wt_ctx *ctx, const char *dir,
                    const struct wt_journal_trace *trace, struct wt_error *err);
void wt_journal_close(struct wt_journal *journal);
/* The directory as an absolute path. Borrowed. */
const char *wt_journal_dir(const struct wt_journal *journal);

/* Takes the lock and reads the journal anew. Locks exclude processes and other journals of the same
 * process alike. Errors: WT_E_TIMEOUT (someone holds it for 10 s), WT_E_FORMAT (written by a newer
 * Wattune, or no journal at all: left untouched), WT_E_IO, WT_E_DENIED. */
int wt_journal_lock(struct wt_journal *journal, struct wt_error *err);
void wt_journal_unlock(struct wt_journal *journal);

/* The entries in order of their first record, each as its last record says. Borrowed until the next
 * call on this journal. Under lock. */
const struct wt_lease_record *wt_journal_entries(const struct wt_journal *journal,
                                                 size_t *ret_count);
static inline bool wt_lease_is_open(const struct wt_lease_record *r)
{
    return r->state == WT_LEASE_INTENDED || r->state == WT_LEASE_SET;
}

/* Counts over the journal's life: entries ever opened and closed, the next sequence number, and
 * the damaged records in the present file. opened == closed + those open now, always. Under lock.
 */
struct wt_journal_totals {
    uint64_t opened, closed, next_sequence;
    size_t damaged, doubled;
};
struct wt_journal_totals wt_journal_totals(const struct wt_journal *journal);

/* Appends a record; fills its sequence and unix_ns. is_durable: returns once it is on disk, and all
 * that was appended before it. Under lock. Errors: WT_E_FULL, WT_E_IO; then nothing was appended.
 */
int wt_journal_append(struct wt_journal *journal, struct wt_lease_record *record, bool is_durable,
                      struct wt_error *err);

/* Brings what was appended without is_durable to the disk: under lock, and the same not under it.
 */
int wt_journal_flush(struct wt_journal *journal, struct wt_error *err);
int wt_journal_sync(struct wt_journal *journal, struct wt_error *err);

/* Whether a daemon other than this process answers for the claims of this directory. */
bool wt_journal_has_daemon(const struct wt_journal *journal);

/* A journal's bytes read as the file would be, without a file: what parsers are tested with. The
 * result has entries and totals and can do nothing else. Errors: WT_E_FORMAT, WT_E_NOMEM. */
int wt_journal_parse(struct wt_journal **ret_journal, const void *bytes, size_t size,
                     struct wt_error *err);

/* ---- owner.c ---- */

/* This process, now. */
int wt_owner_self(struct wt_owner *ret_owner, struct wt_error *err);
bool wt_owner_is_same(const struct wt_owner *a, const struct wt_owner *b);
enum wt_owner_life {
    WT_OWNER_DEAD,
    WT_OWNER_ALIVE,
    WT_OWNER_FOREIGN, /* of another machine: not ours to judge */
};
/* self: wt_owner_self() of the asking process. */
enum wt_owner_life wt_owner_life(const struct wt_owner *owner, const struct wt_owner *self);
/* Another process, by its pid as seen from here, as its own wt_owner_self() would tell it; self
 * lends machine and boot. uid is not looked up. Errors: WT_E_NOTFOUND (it is gone, or cannot be
 * seen). */
int wt_owner_of(uint32_t pid, const struct wt_owner *self, struct wt_owner *ret_owner,
                struct wt_error *err);
/* Whose life an entry follows: its owner's, or its Slurm job's. ctx: whose root the job's traces
 * are looked for below; may be NULL. */
enum wt_owner_life wt_lease_life(const struct wt_ctx *ctx, const struct wt_lease_record *record,
                                 const struct wt_owner *self);

/* A job is told of before its cgroup is there: so long it lives without a trace. */
#define WT_JOB_GRACE_NS (60 * WT_NS_PER_S)

/* ---- job.c: Slurm jobs, by what our plugin tells of them and the traces they leave ---- */

/* The job whose cgroup, made by root, a process is in; 0: none. A user can make a folder of that
 * name where a subtree is his own, so its owner is looked at. */
uint32_t wt_job_of(const struct wt_ctx *ctx, uint32_t pid);
/* What the facts of a job say, which the plugin in slurmd writes and only root can have written: an
 * allocation without a step (salloc) leaves no other trace, and an epilog that met no daemon leaves
 * its word there. They lie where the context says; of an emulation in its folder. */
#define WT_LEASE_FACTS_DIR "/run/wattune/slurm" /* WT_JOB_FACTS_DIR, of wattune/jobs.h */
enum wt_job_told { WT_JOB_TOLD_NOT, WT_JOB_TOLD_RUNS, WT_JOB_TOLD_ENDED };
enum wt_job_told wt_job_told(const struct wt_ctx *ctx, uint32_t job);
/* Whether there is a cgroup of that job, or a slurmstepd that works for it. */
bool wt_job_has_trace(const struct wt_ctx *ctx, uint32_t job);
/* As told; untold, by its traces. */
bool wt_job_is_alive(const struct wt_ctx *ctx, uint32_t job);

#endif
