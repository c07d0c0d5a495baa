/* hold: what a lease has set, and whether it is still in force. */
#ifndef WT_LEASE_HOLD_H
#define WT_LEASE_HOLD_H

#include "lease/lease.h"
#include "lease/remote.h"

struct wt_hold {
    size_t device;
    enum wt_knob knob;
    int64_t value;           /* that the device had right after it was set */
    int64_t end_ns, span_ns; /* CLOCK_BOOTTIME, and from the set on; 0: no end */
    bool is_own_end;         /* it is the lease's own hold_ns, not wattuned's policy */
    struct wt_lease_hold told;
};

struct wt_holds {
    struct wt_hold *list; /* owned */
    size_t count, room;
};

/* A knob was set just now, anew or again. Without memory it is not looked after. */
void wt_holds_set(struct wt_holds *holds, const struct wt_hold *hold);
/* NULL: it was not set. */
struct wt_hold *wt_holds_find(struct wt_holds *holds, size_t device, enum wt_knob knob);
/* Looks at the device and, where there is one, at what wattuned (may be NULL) has said. */
void wt_hold_look(struct wt_hold *hold, const struct wt_lease_ops *ops, struct wt_remote *remote);

#endif
