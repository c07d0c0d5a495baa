/* slots: the inside of the table, shared by table.c and slots.c. */
#ifndef WT_DAEMON_SLOTS_H
#define WT_DAEMON_SLOTS_H

#include "daemon/table.h"

enum wt_claim_state {
    WT_CLAIM_NEW,       /* allowed, not in the journal yet */
    WT_CLAIM_INTENDING, /* its record is being written */
    WT_CLAIM_HELD,      /* on disk; belongs to what is on the device */
    WT_CLAIM_ENDING,    /* the device has still to leave its value */
    WT_CLAIM_ENDED,     /* it has; that is still to be noted */
};

struct wt_claim {
    struct wt_claim *next;
    enum wt_claim_state state;
    uint64_t holder, token;
    uint32_t job;
    struct wt_owner owner;
    int64_t asked, value; /* value: asked, or the site's cap where that is stricter */
    int64_t wanted;       /* after a further request, not journalled yet */
    int64_t deadline_ns;
    uint64_t waiter_set, waiter_end;
    bool has_wanted;
    bool is_capping;  /* nobody asked: the cap is another one now */
    int capping_rc;   /* why that failed, said once */
    bool is_resuming; /* nobody waits: a daemon before this one began it */
    bool is_waiting;  /* on disk, and not answered: the device is to be moved first */
    bool is_dropped;  /* ended while its record was being written */
    bool is_moving;   /* ended before the move under way began */
    bool needs_note, is_in_batch, is_batch_intention;
    struct wt_lease_record record; /* as written last, or about to be */
};

enum wt_slot_phase {
    WT_SLOT_IDLE,
    WT_SLOT_READING,
    WT_SLOT_LOOKING,
    WT_SLOT_WRITING,
    WT_SLOT_MOVING,
    WT_SLOT_RECOVERING
};

struct wt_slot {
    uint32_t device;
    enum wt_knob knob;
    enum wt_slot_phase phase;
    struct wt_claim *claims; /* in order of coming */
    bool has_found, is_blind, is_on_device_known;
    bool is_dirty;            /* what belongs on the device may have changed */
    bool is_due;              /* a step is owed */
    int64_t found_raw, found; /* as read; and no less strict than the site's cap */
    int64_t found_before;     /* found under the cap before this one; it may be on the device */
    int64_t on_device, enforced, target;
    struct wt_knob_info info;
    unsigned rereads;
    /* It could not be put back: nobody gets it before it is. */
    bool is_stuck;
    struct wt_error why;
    int64_t retry_ns, delay_ns;
    int64_t note_retry_ns; /* the journal took no notes; they keep */
    bool is_recap_due;
    uint64_t generation;
    struct wt_device_job device_job;
    struct wt_journal_job journal_job;
    struct wt_claim **batch;
    size_t batch_room;
};

struct wt_table {
    struct wt_table_ops ops;
    struct {
        struct wt_table_device info;
        bool is_hung;
        struct wt_error why;
    } * devices;
    size_t device_count, count;
    struct wt_slot *slots;
    int64_t now_ns;
    bool is_stopping;
};

/* Does what is next for a slot, unless something is under way. */
void wt_slot_step(struct wt_table *t, struct wt_slot *s);
/* found from found_raw and the cap, also in the records of its claims. */
void wt_slot_cap_found(struct wt_table *t, struct wt_slot *s);
/* Its cap may be another one now, for what is held too. */
void wt_slot_recap(struct wt_table *t, struct wt_slot *s);
/* Begins the end of a claim; the next step goes on with it. */
void wt_claim_end(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, uint64_t waiter);
void wt_slot_answer(const struct wt_slot *s, const struct wt_claim *c, enum wt_table_event event,
                    struct wt_table_answer *ret_answer);

#endif
