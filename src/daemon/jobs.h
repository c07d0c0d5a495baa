/* jobs: what the table has others do for it, and gets back done. One of each kind is under way for
 * a slot at most, so they live inside it. */
#ifndef WT_DAEMON_JOBS_H
#define WT_DAEMON_JOBS_H

#include "lease/lease.h"

enum wt_device_job_kind {
    WT_JOB_READ,    /* what is there */
    WT_JOB_LOOK,    /* what is there, which is to be ours */
    WT_JOB_SET,     /* a value a client asked for */
    WT_JOB_RESTORE, /* a value that was found */
    WT_JOB_RECOVER, /* put back what a dead owner outside the daemon left */
};

/* For a device's thread (worker.h). */
struct wt_device_job {
    struct wt_device_job *next; /* the queue's */
    enum wt_device_job_kind kind;
    uint32_t device;
    enum wt_knob knob;
    int64_t value;
    /* Any of these values on the device is ours; another is somebody else's: WT_E_CHANGED, and
     * nothing is set. Owned by the slot. */
    int64_t *ours;
    size_t ours_count;
    int64_t step;
    /* the answer */
    int rc;
    struct wt_error err;
    struct wt_knob_info info; /* as read last */
    bool is_blind;
};

/* For the scribe (scribe.h). */
struct wt_journal_job {
    struct wt_journal_job *next;
    struct wt_lease_record
        *records; /* appended in order; sequence and time come back. The slot's */
    size_t count;
    bool is_durable; /* answered once they are on disk */
    /* Before the first claim of a knob: nobody else may hold it, and nobody may have written about
     * it since that generation, when the device had not been read yet. */
    bool is_first;
    uint64_t generation;
    /* the answer: 0, the journal's errors, WT_E_BUSY (somebody alive outside the daemon holds it),
     * WT_E_STATE (somebody dead does), WT_E_CHANGED (written about since) */
    int rc;
    struct wt_error err;
};

#endif
