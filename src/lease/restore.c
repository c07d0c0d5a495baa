/* restore: putting back what an entry of the journal says was found.
 *
 * The owner of a lease, its guardian, a later Wattune and the boot all come through here, and at
 * most one of them acts on an entry: whoever appends itself as the entry's owner under the lock.
 * The device is called outside of it. */
#include <stdlib.h>
#include <string.h>

#include "lease/lease.h"

static bool is_near(int64_t a, int64_t b, int64_t step)
{
    uint64_t gap = a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
    return gap < (uint64_t)(step > 1 ? step : 1);
}

bool wt_lease_is_ours(const struct wt_lease_record *r, int64_t current)
{
    if (r->is_blind)
        return true; /* nobody can know better */
    /* A device may round a request to its own step, and we may have died before reading back. */
    if (is_near(current, r->requested, r->step))
        return true;
    return current == r->current; /* of an intention: what was there before it */
}

int64_t wt_lease_find_device(const struct wt_lease_ops *ops, const struct wt_lease_record *r)
{
    size_t count = ops->count(ops->data);
    for (size_t i = 0; i < count; i++) {
        bool is_emulated = false;
        if (strcmp(ops->id(ops->data, i, &is_emulated), r->device) == 0 &&
            is_emulated == r->is_emulated)
            return (int64_t)i;
    }
    return -1;
}

int wt_restore_fail_gone(const struct wt_lease_record *r, struct wt_error *err)
{
    int rc =
        wt_fail(err, WT_E_GONE,
                "%s of %s: the device is not among those here; %g %s stays "
                "to be put back",
                wt_knob_name(r->knob), r->device, wt_knob_to_user(r->found), wt_knob_unit(r->knob));
    wt_fix(err, "`wattune restore` once the device is back");
    return rc;
}

/* The value on the device is neither ours nor the one found. */
int wt_restore_fail_changed(const struct wt_restorer *who, const struct wt_lease_record *r,
                            int64_t current, struct wt_error *err)
{
    const char *unit = wt_knob_unit(r->knob);
    if (memcmp(r->owner.boot, who->self.boot, sizeof(r->owner.boot)) != 0)
        return wt_fail(err, WT_E_CHANGED,
                       "%s of %s: %g %s since the machine was started anew (found %g, set to %g "
                       "before); left as it is",
                       wt_knob_name(r->knob), r->device, wt_knob_to_user(current), unit,
                       wt_knob_to_user(r->found), wt_knob_to_user(r->requested));
    int rc = wt_fail(err, WT_E_CHANGED,
                     "%s of %s: someone else made it %g %s (found %g, set to %g by Wattune); left "
                     "as it is",
                     wt_knob_name(r->knob), r->device, wt_knob_to_user(current), unit,
                     wt_knob_to_user(r->found), wt_knob_to_user(r->requested));
    wt_fix(err, "if it should be as found: wattune set %s=%g, or the vendor's tool",
           wt_knob_name(r->knob), wt_knob_to_user(r->found));
    return rc;
}

/* Not synced entry by entry: devices come first, and a closing that a power cut takes away is found
 * again, on a device that holds what was found. */
static int append(const struct wt_restorer *who, struct wt_lease_record *r, struct wt_error *err)
{
    int rc = wt_journal_lock(who->journal, err);
    if (rc < 0)
        return rc;
    rc = wt_journal_append(who->journal, r, false, err);
    wt_journal_unlock(who->journal);
    return rc;
}

/* The device's part: what is there, and back with what was found. *ret_state is the entry's end. */
static int put_back(const struct wt_restorer *who, struct wt_lease_record *r,
                    enum wt_lease_state *ret_state, struct wt_error *err)
{
    const struct wt_lease_ops *ops = &who->ops;
    int64_t device = wt_lease_find_device(ops, r);
    if (device < 0)
        return wt_restore_fail_gone(r, err);
    struct wt_knob_info info;
    bool is_blind = false;
    int rc = ops->read(ops->data, (size_t)device, r->knob, &info, &is_blind, err);
    if (rc < 0)
        return rc;
    *ret_state = WT_LEASE_RESTORED;
    if (!r->is_blind && info.current == r->found)
        return 0;
    if (!wt_lease_is_ours(r, info.current)) {
        *ret_state = WT_LEASE_ABANDONED;
        return wt_restore_fail_changed(who, r, info.current, err);
    }
    if (who->is_dry)
        return 0;
    rc = ops->restore(ops->data, (size_t)device, r->knob, r->found, err);
    if (rc < 0)
        return rc;
    rc = ops->read(ops->data, (size_t)device, r->knob, &info, &is_blind, err);
    if (rc < 0)
        return rc;
    if (!r->is_blind && !is_near(info.current, r->found, r->step))
        return wt_fail(err, WT_E_STATE, "%s of %s: put back to %g %s, but reads %g",
                       wt_knob_name(r->knob), r->device, wt_knob_to_user(r->found),
                       wt_knob_unit(r->knob), wt_knob_to_user(info.current));
    r->current = info.current;
    r->enforced = info.enforced;
    return 0;
}

int wt_restore_entry(const struct wt_restorer *who, struct wt_lease_record *r, struct wt_error *err)
{
    enum wt_lease_state end = r->state;
    int rc = put_back(who, r, &end, err);
    if ((rc < 0 && rc != WT_E_CHANGED) || who->is_dry)
        return rc;
    r->state = end;
    struct wt_error why = {0};
    int code = append(who, r, &why);
    if (code < 0)
        /* The device is right; the journal will find that out when it is next looked at. */
        wt_log(who->ctx, WT_LOG_WARN, "lease", "%s of %s is back, but not so noted: %s",
               wt_knob_name(r->knob), r->device, why.text);
    return rc;
}

void wt_restore_done(const struct wt_restorer *who)
{
    struct wt_error why = {0};
    if (wt_journal_sync(who->journal, &why) < 0)
        wt_log(who->ctx, WT_LOG_WARN, "lease", "%s", why.text);
}

static const struct wt_lease_record *find_entry(const struct wt_journal *journal,
                                                const struct wt_lease_record *r)
{
    size_t count;
    const struct wt_lease_record *entries = wt_journal_entries(journal, &count);
    for (size_t i = 0; i < count; i++)
        if (entries[i].lease == r->lease && entries[i].knob == r->knob &&
            strcmp(entries[i].device, r->device) == 0)
            return &entries[i];
    return NULL;
}

/* Whether this restorer may act on the entry: WT_E_BUSY when somebody alive does. */
static int may_claim(const struct wt_restorer *who, const struct wt_lease_record *r,
                     struct wt_error *err)
{
    if (wt_owner_is_same(&r->owner, &who->self) ||
        (who->watched && wt_owner_is_same(&r->owner, who->watched)))
        return 0;
    switch (wt_owner_life(&r->owner, &who->self)) {
    case WT_OWNER_DEAD:
        return 0;
    case WT_OWNER_FOREIGN:
        return wt_fail(err, WT_E_BUSY, "%s of %s: a lease of another machine that shares %s",
                       wt_knob_name(r->knob), r->device, wt_journal_dir(who->journal));
    case WT_OWNER_ALIVE:
        break;
    }
    int rc = wt_fail(err, WT_E_BUSY, "%s of %s: held by process %u (%s)", wt_knob_name(r->knob),
                     r->device, r->owner.pid, r->owner.name);
    wt_fix(err, "it is put back when process %u ends", r->owner.pid);
    return rc;
}

int wt_restore_claim(const struct wt_restorer *who, struct wt_lease_record *r, struct wt_error *err)
{
    int rc = wt_journal_lock(who->journal, err);
    if (rc < 0)
        return rc;
    const struct wt_lease_record *now = find_entry(who->journal, r);
    if (!now || !wt_lease_is_open(now)) {
        rc = wt_fail(err, WT_E_NOTFOUND, "%s of %s: put back already", wt_knob_name(r->knob),
                     r->device);
        goto out;
    }
    *r = *now;
    rc = may_claim(who, r, err);
    if (rc < 0 || who->is_dry || wt_owner_is_same(&r->owner, &who->self))
        goto out;
    /* *r keeps the owner who set it: its boot tells wt_restore_fail_changed whether a restart lies
     * between. A claim need not outlive a power cut, so it is not synced. */
    struct wt_lease_record mine = *r;
    mine.owner = who->self;
    struct wt_error why = {0};
    if (wt_journal_append(who->journal, &mine, false, &why) < 0)
        /* A full disk is no reason to leave a device as it is. */
        wt_log(who->ctx, WT_LOG_WARN, "lease", "%s; restoring all the same", why.text);
out:
    wt_journal_unlock(who->journal);
    return rc;
}

int wt_restore_device(const struct wt_restorer *who, const char *device, enum wt_knob knob,
                      struct wt_error *err)
{
    int rc = wt_journal_lock(who->journal, err);
    if (rc < 0)
        return rc;
    size_t count, n = 0;
    const struct wt_lease_record *entries = wt_journal_entries(who->journal, &count);
    struct wt_lease_record *open = calloc(count + 1, sizeof(*open));
    for (size_t i = 0; open && i < count; i++)
        if (wt_lease_is_open(&entries[i]) && !entries[i].is_claim && entries[i].knob == knob &&
            strcmp(entries[i].device, device) == 0)
            open[n++] = entries[i];
    wt_journal_unlock(who->journal);
    if (!open)
        return wt_fail(err, WT_E_NOMEM, "no memory to restore");
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = wt_restore_claim(who, &open[i], err);
        if (rc == 0) {
            rc = wt_restore_entry(who, &open[i], err);
            if (rc < 0 && rc != WT_E_CHANGED)
                wt_restore_disown(who, &open[i]);
        }
        if (rc == WT_E_CHANGED || rc == WT_E_NOTFOUND)
            rc = 0;
    }
    free(open);
    return rc;
}

void wt_restore_disown(const struct wt_restorer *who, struct wt_lease_record *r)
{
    struct wt_lease_record nobody = *r;
    nobody.owner.pid = 0;
    struct wt_error why = {0};
    if (append(who, &nobody, &why) < 0)
        wt_log(who->ctx, WT_LOG_WARN, "lease", "%s", why.text);
}

/* All claims on one knob of one device are ended together. */
static bool is_first_of_slot(const struct wt_lease_record *open, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (open[k].is_claim && open[k].knob == open[i].knob &&
            strcmp(open[k].device, open[i].device) == 0)
            return false;
    return true;
}

static void note_first(int code, const struct wt_error *why, int *first, struct wt_error *err)
{
    if (code == 0 || code == WT_E_BUSY || code == WT_E_NOTFOUND || *first)
        return;
    *first = code;
    if (err)
        *err = *why;
}

int wt_restore_all(const struct wt_restorer *who, uint64_t lease, bool is_disowning,
                   wt_recover_fn fn, void *data, size_t *ret_restored, size_t *ret_left,
                   struct wt_error *err)
{
    size_t restored = 0, left = 0, count;
    int rc = wt_journal_lock(who->journal, err);
    if (rc < 0)
        return rc;
    const struct wt_lease_record *entries = wt_journal_entries(who->journal, &count);
    struct wt_lease_record *open = calloc(count ? count : 1, sizeof(*open));
    size_t n = 0;
    if (open)
        for (size_t i = 0; i < count; i++)
            if (wt_lease_is_open(&entries[i]) && (!lease || entries[i].lease == lease))
                open[n++] = entries[i];
    wt_journal_unlock(who->journal);
    if (!open)
        return wt_fail(err, WT_E_NOMEM, "no memory to restore");

    for (size_t i = 0; i < n; i++) {
        struct wt_lease_record *r = &open[i];
        struct wt_error why = {0};
        if (r->is_claim) {
            if (who->is_daemon || !is_first_of_slot(open, i))
                continue; /* a daemon has a table for them */
            size_t ended, stuck;
            int code = wt_restore_stack(who, r, fn, data, &ended, &stuck, &why);
            restored += ended;
            left += stuck;
            note_first(code, &why, &rc, err);
            continue;
        }
        int code = wt_restore_claim(who, r, &why);
        if (code == WT_E_NOTFOUND)
            continue;
        if (code == 0) {
            code = wt_restore_entry(who, r, &why);
            if (code < 0 && code != WT_E_CHANGED) {
                left++;
                if (is_disowning && !who->is_dry)
                    wt_restore_disown(who, r);
            }
        }
        restored += code == 0;
        if (fn)
            fn(data, r->device, r->knob, r->found, r->requested, code, why.text);
        note_first(code, &why, &rc, err);
    }
    if (n && !who->is_dry)
        wt_restore_done(who);
    free(open);
    *ret_restored = restored;
    *ret_left = left;
    return rc;
}
