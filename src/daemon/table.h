/* table: who holds what, and what therefore belongs on each device.
 *
 * A slot is one knob of one device. Claims on it share the value found before the first; the
 * strictest holds (the least watts, the lowest clock); one that ends uncovers the next; the last
 * puts back what was found, never above the site's cap. A knob without an order has one claim.
 *
 * The order of things, for each slot: read, journal the intention (on disk), move the device,
 * answer, note. A claim's record is closed only after the device has left its value, so that at any
 * moment what is on the device is told by some open record. The table calls no device and no disk:
 * others do, and bring back the job. Wants wt_table_tick before anything else of a turn. One
 * thread; no sockets, no clock but what it is told. */
#ifndef WT_DAEMON_TABLE_H
#define WT_DAEMON_TABLE_H

#include "daemon/jobs.h"

struct wt_table;

enum wt_table_event {
    WT_TABLE_CLAIMED,   /* rc 0: it holds; else it does not */
    WT_TABLE_ENDED,     /* rc 0: the device has what belongs there; else that is still to be done */
    WT_TABLE_ABANDONED, /* somebody else changed the device: left to them, the claim is gone */
    WT_TABLE_CAPPED,    /* the site's cap is another one: rc 0: the claim holds under it */
    WT_TABLE_RESUMED,   /* what a daemon before this one had begun; rc 0: it holds */
};

/* waiter: as given with the request; 0: nobody asked, it ended by itself. */
struct wt_table_answer {
    enum wt_table_event event;
    int rc;
    struct wt_error err;
    uint64_t holder;
    uint32_t device, job;
    enum wt_knob knob;
    struct wt_owner owner;
    int64_t value, found, effective, enforced; /* value: as asked, whatever the cap makes of it */
    int64_t deadline_ns;                       /* CLOCK_BOOTTIME; 0: none */
    bool is_covered;
    bool is_set; /* its value, or a stricter one, has come to the device */
};

struct wt_table_ops {
    void (*device)(void *data, struct wt_device_job *job);
    void (*journal)(void *data, struct wt_journal_job *job);
    /* Must not call the table. */
    void (*answer)(void *data, uint64_t waiter, const struct wt_table_answer *answer);
    uint64_t (*generation)(void *data); /* of the journal, before a device is read */
    int64_t (*cap)(void *data, uint32_t device, enum wt_knob knob); /* INT64_MAX: none */
    void *data;
};

struct wt_table_device {
    char id[96];
    bool is_emulated;
};

#define WT_TABLE_CLAIMS 8192 /* in all */

/* devices are copied. Errors: WT_E_NOMEM. */
int wt_table_new(struct wt_table **ret_table, const struct wt_table_ops *ops,
                 const struct wt_table_device *devices, size_t count, struct wt_error *err);
void wt_table_free(struct wt_table *table);

/* Claims of a journal, after a start: those whose life is over are ended at once. is_alive says of
 * each. Those of devices that are not here stay in the journal; *ret_parked counts them. */
int wt_table_load(struct wt_table *table, const struct wt_lease_record *records, size_t count,
                  bool (*is_alive)(void *data, const struct wt_lease_record *record), void *data,
                  size_t *ret_parked, struct wt_error *err);

/* What a claim is known by: its Slurm job, or else the connection that holds it. */
struct wt_table_key {
    uint64_t holder; /* never 0 */
    uint32_t job;
};
struct wt_table_request {
    struct wt_table_key key;
    struct wt_owner owner;
    uint64_t token;
    uint32_t device;
    enum wt_knob knob;
    int64_t value, deadline_ns;
    uint64_t waiter;
};
/* 0: answered later, by WT_TABLE_CLAIMED. Errors, not answered again: WT_E_BUSY, WT_E_TIMEOUT (the
 * device hangs), WT_E_FULL, WT_E_NOMEM, and what stands in the way of the slot. */
int wt_table_claim(struct wt_table *table, const struct wt_table_request *request,
                   struct wt_error *err);
/* 0: answered later, by WT_TABLE_ENDED. Errors: WT_E_NOTFOUND, WT_E_BUSY. */
int wt_table_release(struct wt_table *table, const struct wt_table_key *key, uint32_t device,
                     enum wt_knob knob, uint64_t waiter, struct wt_error *err);
/* All of the key's; how many answers will come, once wt_table_step_due is called. */
size_t wt_table_release_all(struct wt_table *table, const struct wt_table_key *key,
                            uint64_t waiter);
void wt_table_step_due(struct wt_table *table);
/* Everything, for a daemon that stops. */
void wt_table_stop(struct wt_table *table);
/* Claims of a former daemon's connection become this one's: same process, same lease. */
size_t wt_table_adopt(struct wt_table *table, const struct wt_owner *owner, uint64_t token,
                      uint64_t holder);
/* Ends claims whose life nobody watches over a connection - those of jobs and of clients that have
 * not come back since the start - when it is over. How many there were. */
size_t wt_table_bury(struct wt_table *table,
                     bool (*is_alive)(void *data, const struct wt_lease_record *record),
                     void *data);
/* Deadlines and tries again. Returns when it wants to be called next; INT64_MAX: need not be. */
int64_t wt_table_tick(struct wt_table *table, int64_t boot_now_ns, int64_t now_ns);
/* The policy has other caps now. */
void wt_table_recap(struct wt_table *table);

void wt_table_device_done(struct wt_table *table, struct wt_device_job *job);
void wt_table_journal_done(struct wt_table *table, struct wt_journal_job *job);
/* A device's thread does not come back from its driver: those who wait are told so. */
void wt_table_hung(struct wt_table *table, uint32_t device, const struct wt_error *why);
bool wt_table_is_hung(const struct wt_table *table, uint32_t device);

/* Nothing is held, under way, or still to be put back or noted. */
bool wt_table_is_empty(const struct wt_table *table);
/* Nothing is under way; what is left is stuck. */
bool wt_table_is_still(const struct wt_table *table);
size_t wt_table_count(const struct wt_table *table);
size_t wt_table_count_of(const struct wt_table *table, uint32_t uid);
/* The i-th claim, in no order; false past the end. *ret_is_ending: still to be put back. */
bool wt_table_at(const struct wt_table *table, size_t i, struct wt_table_answer *ret_claim,
                 bool *ret_is_ending);

#endif
