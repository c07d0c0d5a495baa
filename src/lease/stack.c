/* stack: several open claims on one knob of one device, and ending those whose clients are gone
 * when no daemon is there to do it.
 *
 * They share what was found. While others live, the strictest of theirs is what belongs on the
 * device; when none is left, what was found. All dead claims of one knob are taken together under
 * the lock, marked as being restored: two restorers that took one each would each leave the other's
 * value behind. */
#include <stdlib.h>
#include <string.h>

#include "lease/lease.h"

struct stack {
    struct wt_lease_record *mine, *others; /* to be ended, and those that stay */
    size_t mine_count, others_count;
};

bool wt_lease_is_stackable(enum wt_knob knob)
{
    return knob == WT_KNOB_POWER || knob == WT_KNOB_CLOCK || knob == WT_KNOB_MEMCLOCK ||
           knob == WT_KNOB_CPU_POWER || knob == WT_KNOB_CPU_FREQ;
}

int64_t wt_lease_stricter(enum wt_knob knob, int64_t a, int64_t b)
{
    bool is_lock = knob == WT_KNOB_CLOCK || knob == WT_KNOB_MEMCLOCK;
    if (is_lock && (a == 0 || b == 0)) /* not locked: the least strict of all */
        return a == 0 ? b : a;
    return a < b ? a : b;
}

static bool is_same_slot(const struct wt_lease_record *a, const struct wt_lease_record *b)
{
    return a->knob == b->knob && a->is_emulated == b->is_emulated && b->is_claim &&
           wt_lease_is_open(b) && strcmp(a->device, b->device) == 0;
}

static int fail_held(const struct wt_lease_record *r, struct wt_error *err)
{
    int rc =
        wt_fail(err, WT_E_BUSY, "%s of %s: held for process %u (%s)%s", wt_knob_name(r->knob),
                r->device, r->owner.pid, r->owner.name, r->is_restoring ? ", being put back" : "");
    wt_fix(err, "it is put back when process %u ends", r->owner.pid);
    return rc;
}

/* Sorts the claims of this slot into those to end and those that stay. Under lock.
 * Errors: WT_E_BUSY (none is ours to end), WT_E_NOTFOUND (none is open), WT_E_NOMEM. */
static int sort_out(const struct wt_restorer *who, const struct wt_lease_record *slot,
                    struct stack *s, struct wt_error *err)
{
    size_t count;
    const struct wt_lease_record *entries = wt_journal_entries(who->journal, &count);
    s->mine = calloc(count + 1, sizeof(*s->mine));
    s->others = calloc(count + 1, sizeof(*s->others));
    if (!s->mine || !s->others)
        return wt_fail(err, WT_E_NOMEM, "no memory to restore");
    for (size_t i = 0; i < count; i++) {
        const struct wt_lease_record *e = &entries[i];
        if (!is_same_slot(slot, e))
            continue;
        bool is_alive = wt_lease_life(who->ctx, e, &who->self) != WT_OWNER_DEAD;
        if (e->is_restoring && is_alive && !wt_owner_is_same(&e->owner, &who->self))
            return fail_held(e, err);
        if (is_alive && !e->is_restoring)
            s->others[s->others_count++] = *e;
        else
            s->mine[s->mine_count++] = *e;
    }
    if (s->mine_count)
        return 0;
    if (s->others_count)
        return fail_held(&s->others[0], err);
    return wt_fail(err, WT_E_NOTFOUND, "%s of %s: put back already", wt_knob_name(slot->knob),
                   slot->device);
}

static int take(const struct wt_restorer *who, const struct wt_lease_record *slot, struct stack *s,
                struct wt_error *err)
{
    int rc = wt_journal_lock(who->journal, err);
    if (rc < 0)
        return rc;
    if (wt_journal_has_daemon(who->journal)) {
        rc = wt_fail(err, WT_E_BUSY, "%s of %s: wattuned answers for it", wt_knob_name(slot->knob),
                     slot->device);
        wt_fix(err, "wattuned puts it back when its holder ends");
    } else {
        rc = sort_out(who, slot, s, err);
    }
    for (size_t i = 0; rc == 0 && i < s->mine_count && !who->is_dry; i++) {
        struct wt_lease_record mine = s->mine[i];
        struct wt_error why = {0};
        mine.owner = who->self;
        mine.is_restoring = true;
        if (wt_journal_append(who->journal, &mine, false, &why) < 0)
            /* A full disk is no reason to leave a device as it is. */
            wt_log(who->ctx, WT_LOG_WARN, "lease", "%s; restoring all the same", why.text);
    }
    wt_journal_unlock(who->journal);
    return rc;
}

static bool is_ours(const struct stack *s, int64_t current)
{
    for (size_t i = 0; i < s->mine_count; i++)
        if (wt_lease_is_ours(&s->mine[i], current))
            return true;
    for (size_t i = 0; i < s->others_count; i++)
        if (wt_lease_is_ours(&s->others[i], current))
            return true;
    return false;
}

/* What belongs on the device once mine are gone. */
static int64_t target_of(const struct stack *s, enum wt_knob knob)
{
    const struct wt_lease_record *of = s->others_count ? s->others : s->mine;
    size_t count = s->others_count ? s->others_count : s->mine_count;
    int64_t target = s->others_count ? of[0].requested : of[0].found;
    for (size_t i = 1; i < count; i++)
        target = wt_lease_stricter(knob, target, s->others_count ? of[i].requested : of[i].found);
    return target;
}

static int move_device(const struct wt_restorer *who, const struct stack *s,
                       enum wt_lease_state *ret_end, int64_t *ret_current, struct wt_error *err)
{
    const struct wt_lease_ops *ops = &who->ops;
    const struct wt_lease_record *r = &s->mine[0];
    int64_t device = wt_lease_find_device(ops, r);
    if (device < 0)
        return wt_restore_fail_gone(r, err);
    struct wt_knob_info info;
    bool is_blind = false;
    int rc = ops->read(ops->data, (size_t)device, r->knob, &info, &is_blind, err);
    if (rc < 0)
        return rc;
    int64_t target = target_of(s, r->knob);
    *ret_end = WT_LEASE_RESTORED;
    *ret_current = info.current;
    if (!is_blind && info.current == target)
        return 0;
    if (!is_blind && !is_ours(s, info.current)) {
        *ret_end = WT_LEASE_ABANDONED;
        return wt_restore_fail_changed(who, r, info.current, err);
    }
    if (who->is_dry)
        return 0;
    rc = s->others_count ? ops->set(ops->data, (size_t)device, r->knob, target, err)
                         : ops->restore(ops->data, (size_t)device, r->knob, target, err);
    if (rc == 0)
        rc = ops->read(ops->data, (size_t)device, r->knob, &info, &is_blind, err);
    if (rc < 0)
        return rc;
    uint64_t gap = info.current > target ? (uint64_t)info.current - (uint64_t)target
                                         : (uint64_t)target - (uint64_t)info.current;
    if (!is_blind && gap >= (uint64_t)(r->step > 1 ? r->step : 1))
        return wt_fail(err, WT_E_STATE, "%s of %s: put back to %g %s, but reads %g",
                       wt_knob_name(r->knob), r->device, wt_knob_to_user(target),
                       wt_knob_unit(r->knob), wt_knob_to_user(info.current));
    *ret_current = is_blind ? target : info.current;
    return 0;
}

/* rc of the device: their end, or nobody's. */
static void note_end(const struct wt_restorer *who, struct stack *s, int rc,
                     enum wt_lease_state end, int64_t current)
{
    struct wt_error why = {0};
    int code = wt_journal_lock(who->journal, &why);
    for (size_t i = 0; i < s->mine_count && code == 0; i++) {
        struct wt_lease_record *r = &s->mine[i];
        r->owner = who->self;
        r->is_restoring = false;
        if (rc == 0 || rc == WT_E_CHANGED) {
            r->state = end;
            r->current = current;
        } else {
            r->owner.pid = 0;
        }
        code = wt_journal_append(who->journal, r, false, &why);
    }
    if (code < 0)
        wt_log(who->ctx, WT_LOG_WARN, "lease", "%s", why.text);
    wt_journal_unlock(who->journal);
}

int wt_restore_stack(const struct wt_restorer *who, const struct wt_lease_record *slot,
                     wt_recover_fn fn, void *data, size_t *ret_ended, size_t *ret_left,
                     struct wt_error *err)
{
    struct stack s = {0};
    struct wt_error why = {0};
    enum wt_lease_state end = WT_LEASE_RESTORED;
    int64_t current = 0;
    *ret_ended = *ret_left = 0;
    int rc = take(who, slot, &s, &why);
    if (rc < 0) {
        if (rc != WT_E_NOTFOUND && fn)
            fn(data, slot->device, slot->knob, slot->found, slot->requested, rc, why.text);
    } else {
        rc = move_device(who, &s, &end, &current, &why);
        if (!who->is_dry)
            note_end(who, &s, rc, end, current);
        for (size_t i = 0; i < s.mine_count && fn; i++)
            fn(data, s.mine[i].device, s.mine[i].knob, s.mine[i].found, s.mine[i].requested, rc,
               why.text);
        *ret_ended = rc == 0 ? s.mine_count : 0;
        *ret_left = rc < 0 && rc != WT_E_CHANGED ? s.mine_count : 0;
    }
    if (rc < 0 && err)
        *err = why;
    free(s.mine);
    free(s.others);
    return rc;
}
