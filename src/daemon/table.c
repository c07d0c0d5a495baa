/* table: see table.h. This file has claims coming and going and what follows from it; slots.c has
 * the steps of one slot. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/slots.h"

int wt_table_new(struct wt_table **ret_table, const struct wt_table_ops *ops,
                 const struct wt_table_device *devices, size_t count, struct wt_error *err)
{
    struct wt_table *t = calloc(1, sizeof(*t));
    if (t) {
        t->slots = calloc(count * WT_KNOB_COUNT + 1, sizeof(*t->slots));
        t->devices = calloc(count + 1, sizeof(*t->devices));
    }
    if (!t || !t->slots || !t->devices) {
        wt_table_free(t);
        return wt_fail(err, WT_E_NOMEM, "no memory for the table of claims");
    }
    t->ops = *ops;
    t->device_count = count;
    for (size_t d = 0; d < count; d++) {
        t->devices[d].info = devices[d];
        for (size_t k = 0; k < WT_KNOB_COUNT; k++) {
            struct wt_slot *s = &t->slots[d * WT_KNOB_COUNT + k];
            s->device = (uint32_t)d;
            s->knob = (enum wt_knob)k;
        }
    }
    *ret_table = t;
    return 0;
}

void wt_table_free(struct wt_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->slots && i < t->device_count * WT_KNOB_COUNT; i++) {
        struct wt_slot *s = &t->slots[i];
        while (s->claims) {
            struct wt_claim *next = s->claims->next;
            free(s->claims);
            s->claims = next;
        }
        free(s->device_job.ours);
        free(s->journal_job.records);
        free(s->batch);
    }
    free(t->slots);
    free(t->devices);
    free(t);
}

static struct wt_slot *slot_of(struct wt_table *t, uint32_t device, enum wt_knob knob)
{
    return device < t->device_count && knob > 0 && knob < WT_KNOB_COUNT
               ? &t->slots[device * WT_KNOB_COUNT + (size_t)knob]
               : NULL;
}

static struct wt_claim *add_claim(struct wt_table *t, struct wt_slot *s)
{
    struct wt_claim *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    struct wt_claim **last = &s->claims;
    while (*last)
        last = &(*last)->next;
    *last = c;
    t->count++;
    return c;
}

static bool is_key(const struct wt_claim *c, const struct wt_table_key *key)
{
    return key->job ? c->job == key->job : c->holder == key->holder && !c->job;
}

/* The claim of this key that is not about to go. */
static struct wt_claim *find_claim(const struct wt_slot *s, const struct wt_table_key *key)
{
    for (struct wt_claim *c = s->claims; c; c = c->next)
        if (is_key(c, key) && c->state <= WT_CLAIM_HELD && !c->is_dropped)
            return c;
    return NULL;
}

static int random_lease(uint64_t *ret_lease, struct wt_error *err)
{
    do {
        if (getrandom(ret_lease, sizeof(*ret_lease), 0) != (ssize_t)sizeof(*ret_lease))
            return wt_fail_errno(err, errno, "getrandom");
    } while (*ret_lease == 0);
    return 0;
}

/* ---- after a start ---- */

static struct wt_slot *slot_of_record(struct wt_table *t, const struct wt_lease_record *r)
{
    for (size_t d = 0; d < t->device_count; d++)
        if (strcmp(t->devices[d].info.id, r->device) == 0 &&
            t->devices[d].info.is_emulated == r->is_emulated)
            return slot_of(t, (uint32_t)d, r->knob);
    return NULL;
}

int wt_table_load(struct wt_table *t, const struct wt_lease_record *records, size_t count,
                  bool (*is_alive)(void *data, const struct wt_lease_record *record), void *data,
                  size_t *ret_parked, struct wt_error *err)
{
    *ret_parked = 0;
    for (size_t i = 0; i < count; i++) {
        const struct wt_lease_record *r = &records[i];
        struct wt_slot *s = slot_of_record(t, r);
        if (!s) {
            ++*ret_parked;
            continue;
        }
        struct wt_claim *c = add_claim(t, s);
        if (!c)
            return wt_fail(err, WT_E_NOMEM, "no memory for the claims of the journal");
        c->owner = r->owner;
        c->token = r->token;
        c->job = r->job;
        c->value = r->requested;
        c->asked = r->is_limited ? r->asked : r->requested;
        c->deadline_ns = r->deadline_ns;
        c->record = *r;
        c->record.is_restoring = false; /* whoever was at it is dead */
        c->state =
            r->owner.pid && !r->is_restoring && is_alive(data, r) ? WT_CLAIM_HELD : WT_CLAIM_ENDING;
        c->is_resuming = c->state == WT_CLAIM_HELD && r->state == WT_LEASE_INTENDED;
        int64_t found = r->is_capped ? r->uncapped : r->found;
        s->found_raw = s->has_found ? wt_lease_stricter(s->knob, s->found_raw, found) : found;
        s->found = r->found;
        s->has_found = true;
        s->is_blind = r->is_blind;
        s->info.min = r->min;
        s->info.max = r->max;
        s->info.step = r->step;
        s->info.def = r->def;
        s->info.is_lockable = r->is_blind;
        s->info.is_settable = true;
        s->is_dirty = true;
    }
    for (size_t i = t->device_count * WT_KNOB_COUNT; i-- > 0;)
        if (t->slots[i].is_dirty)
            wt_slot_recap(t, &t->slots[i]);
    return 0;
}

size_t wt_table_adopt(struct wt_table *t, const struct wt_owner *owner, uint64_t token,
                      uint64_t holder)
{
    size_t adopted = 0;
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++)
        for (struct wt_claim *c = t->slots[i].claims; c; c = c->next)
            if (!c->holder && !c->job && c->token == token && c->state == WT_CLAIM_HELD &&
                wt_owner_is_same(&c->owner, owner)) {
                c->holder = holder;
                adopted++;
            }
    return adopted;
}

size_t wt_table_bury(struct wt_table *t,
                     bool (*is_alive)(void *data, const struct wt_lease_record *record), void *data)
{
    size_t unwatched = 0;
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++) {
        struct wt_slot *s = &t->slots[i];
        bool is_changed = false;
        for (struct wt_claim *c = s->claims, *next; c; c = next) {
            next = c->next;
            if ((!c->job && c->holder) || c->state > WT_CLAIM_HELD || c->is_dropped)
                continue;
            unwatched++;
            if (c->state == WT_CLAIM_HELD && !is_alive(data, &c->record)) {
                wt_claim_end(t, s, c, 0);
                is_changed = true;
            }
        }
        if (is_changed)
            wt_slot_step(t, s);
    }
    return unwatched;
}

/* ---- claims ---- */

static int fail_taken(const struct wt_claim *c, const struct wt_slot *s, const char *id,
                      struct wt_error *err)
{
    int rc = wt_fail(err, WT_E_BUSY, "%s of %s: held for process %u (%s)", wt_knob_name(s->knob),
                     id, c->owner.pid, c->owner.name);
    wt_fix(err, "wait for process %u to end, or use another device", c->owner.pid);
    return rc;
}

int wt_table_claim(struct wt_table *t, const struct wt_table_request *r, struct wt_error *err)
{
    struct wt_slot *s = slot_of(t, r->device, r->knob);
    if (!s)
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %u with a knob %d", r->device,
                       (int)r->knob);
    const char *id = t->devices[r->device].info.id;
    if (t->devices[r->device].is_hung || s->is_stuck) {
        const struct wt_error *why = s->is_stuck ? &s->why : &t->devices[r->device].why;
        if (err)
            *err = *why;
        return why->code;
    }
    if (t->is_stopping)
        return wt_fail(err, WT_E_STATE, "wattuned is being stopped");
    struct wt_claim *c = find_claim(s, &r->key);
    if (c && (c->state != WT_CLAIM_HELD || c->waiter_set))
        return wt_fail(err, WT_E_BUSY, "%s of %s: the request before this one is still at work",
                       wt_knob_name(r->knob), id);
    if (!wt_lease_is_stackable(r->knob))
        for (struct wt_claim *o = s->claims; o; o = o->next)
            if (o != c && o->state <= WT_CLAIM_HELD && !o->is_dropped)
                return fail_taken(o, s, id, err);
    if (c) {
        c->wanted = r->value;
        c->has_wanted = true;
        c->is_capping = false;
    } else {
        if (t->count >= WT_TABLE_CLAIMS)
            return wt_fail(err, WT_E_FULL, "wattuned keeps %d claims and no more", WT_TABLE_CLAIMS);
        uint64_t lease;
        int rc = random_lease(&lease, err);
        if (rc < 0)
            return rc;
        c = add_claim(t, s);
        if (!c)
            return wt_fail(err, WT_E_NOMEM, "no memory for a claim");
        c->state = WT_CLAIM_NEW;
        c->record.lease = lease;
        c->asked = c->value = r->value;
        c->job = r->key.job;
        c->holder = r->key.holder;
        c->token = r->token;
    }
    c->owner = r->owner;
    c->deadline_ns = r->deadline_ns;
    c->waiter_set = r->waiter;
    wt_slot_step(t, s);
    return 0;
}

int wt_table_release(struct wt_table *t, const struct wt_table_key *key, uint32_t device,
                     enum wt_knob knob, uint64_t waiter, struct wt_error *err)
{
    struct wt_slot *s = slot_of(t, device, knob);
    struct wt_claim *c = s ? find_claim(s, key) : NULL;
    if (!c)
        return wt_fail(err, WT_E_NOTFOUND, "nothing of yours is held there");
    if (c->state != WT_CLAIM_HELD || c->waiter_set)
        return wt_fail(err, WT_E_BUSY, "the request before this one is still at work");
    wt_claim_end(t, s, c, waiter);
    wt_slot_step(t, s);
    return 0;
}

/* Ends those that match; how many will be answered. */
static size_t end_matching(struct wt_table *t, const struct wt_table_key *key, uint64_t waiter)
{
    size_t ended = 0;
    for (size_t i = t->device_count * WT_KNOB_COUNT; i-- > 0;) {
        struct wt_slot *s = &t->slots[i];
        bool is_changed = false;
        for (struct wt_claim *c = s->claims, *next; c; c = next) {
            next = c->next;
            if ((key && !is_key(c, key)) || c->state > WT_CLAIM_HELD || c->is_dropped)
                continue;
            ended++;
            is_changed = true;
            wt_claim_end(t, s, c, waiter);
        }
        /* Answers come from the step; the caller wants the count first. */
        s->is_due |= is_changed;
    }
    return ended;
}

size_t wt_table_release_all(struct wt_table *t, const struct wt_table_key *key, uint64_t waiter)
{
    return end_matching(t, key, waiter);
}

/* The last knob of a device first: a governor brings a preference with it, which must be back
 * before the governor can be told. */
void wt_table_step_due(struct wt_table *t)
{
    for (size_t i = t->device_count * WT_KNOB_COUNT; i-- > 0;)
        if (t->slots[i].is_due) {
            t->slots[i].is_due = false;
            wt_slot_step(t, &t->slots[i]);
        }
}

void wt_table_stop(struct wt_table *t)
{
    t->is_stopping = true;
    end_matching(t, NULL, 0);
    wt_table_step_due(t);
}

int64_t wt_table_tick(struct wt_table *t, int64_t boot_now_ns, int64_t now_ns)
{
    int64_t next_ns = INT64_MAX;
    t->now_ns = now_ns;
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++) {
        struct wt_slot *s = &t->slots[i];
        bool is_due = false, is_recap_due = false;
        for (struct wt_claim *c = s->claims, *after; c; c = after) {
            after = c->next;
            if (!c->deadline_ns || c->state != WT_CLAIM_HELD || c->is_dropped)
                continue;
            int64_t left_ns = c->deadline_ns - boot_now_ns;
            if (left_ns <= 0) {
                wt_claim_end(t, s, c, 0);
                is_due = true;
            } else if (now_ns + left_ns < next_ns) {
                next_ns = now_ns + left_ns;
            }
        }
        if (s->retry_ns && s->retry_ns <= now_ns) {
            s->retry_ns = 0;
            s->is_dirty = true;
            is_recap_due = true; /* what was refused may have been a new cap's */
        }
        if (s->note_retry_ns && s->note_retry_ns <= now_ns) {
            s->note_retry_ns = 0;
            is_recap_due = true; /* a new cap's records may be among those that were not taken */
        }
        if (is_recap_due)
            wt_slot_recap(t, s);
        else if (is_due)
            wt_slot_step(t, s);
        if (s->retry_ns && s->retry_ns < next_ns)
            next_ns = s->retry_ns;
        if (s->note_retry_ns && s->note_retry_ns < next_ns)
            next_ns = s->note_retry_ns;
    }
    return next_ns;
}

void wt_table_recap(struct wt_table *t)
{
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++)
        wt_slot_recap(t, &t->slots[i]);
}

/* ---- looking ---- */

bool wt_table_is_hung(const struct wt_table *t, uint32_t device)
{
    return t->devices[device].is_hung;
}

bool wt_table_is_empty(const struct wt_table *t)
{
    return t->count == 0;
}

bool wt_table_is_still(const struct wt_table *t)
{
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++)
        if (t->slots[i].phase != WT_SLOT_IDLE && !t->devices[t->slots[i].device].is_hung)
            return false;
    return true;
}

size_t wt_table_count(const struct wt_table *t)
{
    return t->count;
}

size_t wt_table_count_of(const struct wt_table *t, uint32_t uid)
{
    size_t count = 0;
    for (size_t i = 0; i < t->device_count * WT_KNOB_COUNT; i++)
        for (const struct wt_claim *c = t->slots[i].claims; c; c = c->next)
            count += c->owner.uid == uid;
    return count;
}

bool wt_table_at(const struct wt_table *t, size_t i, struct wt_table_answer *ret_claim,
                 bool *ret_is_ending)
{
    for (size_t k = 0; k < t->device_count * WT_KNOB_COUNT; k++)
        for (const struct wt_claim *c = t->slots[k].claims; c; c = c->next) {
            if (i--)
                continue;
            wt_slot_answer(&t->slots[k], c, WT_TABLE_CLAIMED, ret_claim);
            *ret_is_ending = c->state > WT_CLAIM_HELD || c->is_dropped;
            return true;
        }
    return false;
}
