/* slots: the steps of one slot - read, write, move, write - and what each of them brings. */
#include <stdlib.h>
#include <string.h>

#include "daemon/slots.h"

#define RETRY_FIRST_NS (100 * WT_NS_PER_MS)
#define RETRY_LAST_NS  (30 * WT_NS_PER_S)
#define REREADS_MAX    16

/* ---- small things ---- */

void wt_slot_answer(const struct wt_slot *s, const struct wt_claim *c, enum wt_table_event event,
                    struct wt_table_answer *ret_answer)
{
    *ret_answer = (struct wt_table_answer){.event = event,
                                           .holder = c->holder,
                                           .device = s->device,
                                           .job = c->job,
                                           .knob = s->knob,
                                           .owner = c->owner,
                                           .value = c->asked,
                                           .found = s->found_raw,
                                           .effective = s->on_device,
                                           .enforced = s->enforced,
                                           .deadline_ns = c->deadline_ns,
                                           .is_set = c->state >= WT_CLAIM_HELD && !c->is_waiting};
    ret_answer->is_covered = s->is_on_device_known && s->on_device != c->value &&
                             wt_lease_stricter(s->knob, s->on_device, c->value) == s->on_device &&
                             (c->value <= 0 || c->value - s->on_device >= s->info.step);
}

static void tell(struct wt_table *t, struct wt_slot *s, struct wt_claim *c,
                 enum wt_table_event event, uint64_t waiter, int rc, const struct wt_error *why)
{
    struct wt_table_answer answer;
    wt_slot_answer(s, c, event, &answer);
    answer.rc = rc;
    if (why)
        answer.err = *why;
    t->ops.answer(t->ops.data, waiter, &answer);
}

/* Whoever waits for the claim to hold. */
static void tell_set(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, int rc,
                     const struct wt_error *why)
{
    uint64_t waiter = c->waiter_set;
    c->waiter_set = 0;
    c->is_waiting = false;
    if (waiter)
        tell(t, s, c, WT_TABLE_CLAIMED, waiter, rc, why);
}

/* Nobody asked for it, and nobody waits. */
static void tell_capped(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, int rc,
                        const struct wt_error *why)
{
    if (c->is_capping && (rc == 0 || rc != c->capping_rc))
        tell(t, s, c, WT_TABLE_CAPPED, 0, rc, why);
    else if (c->is_resuming)
        tell(t, s, c, WT_TABLE_RESUMED, 0, rc, why);
    c->capping_rc = c->is_capping ? rc : 0;
    c->is_capping = c->is_resuming = false;
}

/* What was wanted of a claim that goes on does not come about: of its holder, who may wait, or of a
 * new cap; then what he wants has come about before. */
static void tell_refused(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, int rc,
                         const struct wt_error *why)
{
    bool is_his = !c->is_capping;
    c->has_wanted = false;
    tell_capped(t, s, c, rc, why);
    tell_set(t, s, c, is_his ? rc : 0, is_his ? why : NULL);
}

static void tell_end(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, int rc,
                     const struct wt_error *why)
{
    uint64_t waiter = c->waiter_end;
    c->waiter_end = 0;
    tell(t, s, c, WT_TABLE_ENDED, waiter, rc, why);
}

static void remove_claim(struct wt_table *t, struct wt_slot *s, struct wt_claim *c)
{
    struct wt_claim **at = &s->claims;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    t->count--;
    free(c);
}

static bool is_live(const struct wt_claim *c)
{
    return c->state == WT_CLAIM_HELD && !c->is_dropped;
}

/* What a value comes to under the site's cap. */
static int64_t under_cap(const struct wt_table *t, const struct wt_slot *s, int64_t value)
{
    int64_t cap = t->ops.cap(t->ops.data, s->device, s->knob);
    return cap == INT64_MAX ? value : wt_lease_stricter(s->knob, value, cap);
}

static void put_found(const struct wt_slot *s, struct wt_lease_record *r)
{
    r->found = s->found;
    r->is_capped = s->found != s->found_raw;
    r->uncapped = s->found_raw;
}

void wt_slot_cap_found(struct wt_table *t, struct wt_slot *s)
{
    int64_t before = s->found;
    s->found = under_cap(t, s, s->found_raw);
    if (before != s->found)
        s->found_before = before;
    for (struct wt_claim *c = s->claims; c; c = c->next)
        if (is_live(c) && c->record.found != s->found) {
            put_found(s, &c->record);
            c->needs_note = true;
        }
}

void wt_claim_end(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, uint64_t waiter)
{
    struct wt_error why;
    c->waiter_end = waiter;
    if (c->waiter_set) {
        wt_fail(&why, WT_E_STATE, "%s of %s: ended meanwhile", wt_knob_name(s->knob),
                t->devices[s->device].info.id);
        tell_set(t, s, c, WT_E_STATE, &why);
    }
    c->has_wanted = false;
    if (c->state == WT_CLAIM_HELD && !c->is_in_batch)
        c->state = WT_CLAIM_ENDING;
    else
        c->is_dropped = true; /* once its record is written, or, not yet begun, at the next step */
    s->is_dirty = true;
}

/* ---- reading ---- */

static void start_device(struct wt_table *t, struct wt_slot *s, enum wt_device_job_kind kind,
                         enum wt_slot_phase phase)
{
    struct wt_device_job *job = &s->device_job;
    job->kind = kind;
    job->device = s->device;
    job->knob = s->knob;
    s->phase = phase;
    t->ops.device(t->ops.data, job);
}

static void start_reading(struct wt_table *t, struct wt_slot *s)
{
    s->generation = t->ops.generation(t->ops.data);
    start_device(t, s, WT_JOB_READ, WT_SLOT_READING);
}

/* is_held: the asker holds it already. */
static int check_value(const struct wt_table *t, const struct wt_slot *s, int64_t value,
                       bool is_held, struct wt_error *err)
{
    const struct wt_knob_info *info = &s->info;
    const char *id = t->devices[s->device].info.id, *name = wt_knob_name(s->knob);
    char text[48], range[200];
    if (!info->is_settable) {
        int rc =
            wt_fail(err, info->is_lost ? WT_E_STATE : WT_E_DENIED, "%s of %s cannot be set: %s",
                    name, id, info->why_not[0] ? info->why_not : "not even by wattuned");
        if (info->fix[0])
            wt_fix(err, "%s", info->fix);
        return rc;
    }
    /* What was found was possible, even where no range has it any more. After a restart nobody has
     * asked a knob of names what it takes; the device will say. */
    if (wt_knob_takes(info, value) || (wt_knob_is_named(s->knob) && !info->values) ||
        (is_held && !info->values && value >= info->min && value <= s->found))
        return 0;
    return wt_fail(err, WT_E_RANGE, "%s=%s: %s takes %s", name,
                   wt_knob_value_typed(text, sizeof(text), s->knob, value), id,
                   wt_knob_range_text(range, sizeof(range), info));
}

/* All that are new and not in the journal: refused. */
static void refuse_new(struct wt_table *t, struct wt_slot *s, int rc, const struct wt_error *why)
{
    for (struct wt_claim *c = s->claims, *next; c; c = next) {
        next = c->next;
        if (c->state == WT_CLAIM_NEW) {
            tell_set(t, s, c, rc, why);
            remove_claim(t, s, c);
        } else if (c->has_wanted) {
            tell_refused(t, s, c, rc, why);
        }
    }
}

/* Both clocks of a device may hang on one switch (amdgpu's performance level): with one held, what
 * was found of it is what was found of the other. NULL: not so. */
static const struct wt_slot *find_kin(const struct wt_table *t, const struct wt_slot *s)
{
    if (!s->is_blind || (s->knob != WT_KNOB_CLOCK && s->knob != WT_KNOB_MEMCLOCK))
        return NULL;
    enum wt_knob other = s->knob == WT_KNOB_CLOCK ? WT_KNOB_MEMCLOCK : WT_KNOB_CLOCK;
    const struct wt_slot *kin = &t->slots[s->device * WT_KNOB_COUNT + (size_t)other];
    return kin->has_found && kin->claims ? kin : NULL;
}

static void reading_done(struct wt_table *t, struct wt_slot *s, const struct wt_device_job *job)
{
    if (job->rc < 0) {
        refuse_new(t, s, job->rc, &job->err);
        return;
    }
    s->info = job->info;
    s->is_blind = job->is_blind;
    s->found_raw = s->on_device = job->info.current;
    s->enforced = job->info.enforced;
    s->has_found = s->is_on_device_known = true;
    const struct wt_slot *kin = s->info.is_lost ? find_kin(t, s) : NULL;
    if (kin) {
        s->found_raw = kin->found_raw;
        s->info.is_settable = true;
    }
    wt_slot_cap_found(t, s);
}

/* ---- writing ---- */

static void fill_intention(const struct wt_table *t, const struct wt_slot *s, struct wt_claim *c)
{
    struct wt_lease_record *r = &c->record;
    r->owner = c->owner;
    r->state = WT_LEASE_INTENDED;
    r->is_emulated = t->devices[s->device].info.is_emulated;
    r->is_blind = s->is_blind;
    r->is_claim = true;
    r->is_restoring = false;
    r->job = c->job;
    r->token = c->token;
    r->knob = s->knob;
    wt_text(r->device, sizeof(r->device), "%s", t->devices[s->device].info.id);
    put_found(s, r);
    r->previous = r->current = s->is_on_device_known ? s->on_device : s->found;
    r->asked = c->has_wanted ? c->wanted : c->asked;
    r->requested = under_cap(t, s, r->asked);
    r->is_limited = r->requested != r->asked;
    r->enforced = s->enforced;
    r->min = s->info.min;
    r->max = s->info.max;
    r->step = s->info.step;
    r->def = s->info.def;
    r->deadline_ns = c->deadline_ns;
}

/* A record of what a new cap brings is to tell what is on the device till then. */
static bool is_look_due(const struct wt_slot *s)
{
    return !s->is_on_device_known && !s->is_blind;
}

static bool is_intended(const struct wt_slot *s, const struct wt_claim *c)
{
    return c->state == WT_CLAIM_NEW ||
           (c->has_wanted && is_live(c) && !(c->is_capping && is_look_due(s)));
}

/* What there is to write: intentions, and notes about what has been done. */
static bool start_writing(struct wt_table *t, struct wt_slot *s)
{
    struct wt_journal_job *job = &s->journal_job;
    size_t room = 0;
    bool is_any_intention = false;
    for (struct wt_claim *c = s->claims; c; c = c->next) {
        room++;
        is_any_intention |= is_intended(s, c);
    }
    if (!is_any_intention && s->note_retry_ns > t->now_ns)
        return false;
    if (room > s->batch_room) {
        struct wt_claim **batch = realloc(s->batch, room * sizeof(struct wt_claim *));
        if (batch)
            s->batch = batch;
        struct wt_lease_record *records = realloc(job->records, room * sizeof(*records));
        if (records)
            job->records = records;
        if (!batch || !records)
            return false;
        s->batch_room = room;
    }
    job->count = 0;
    job->is_durable = false;
    job->is_first = true;
    for (struct wt_claim *c = s->claims; c; c = c->next) {
        job->is_first &= !is_live(c);
        bool is_intention = is_intended(s, c);
        if (!is_intention && !c->needs_note)
            continue;
        if (is_intention) {
            fill_intention(t, s, c);
            job->is_durable = true;
            if (c->state == WT_CLAIM_NEW)
                c->state = WT_CLAIM_INTENDING;
        }
        c->is_in_batch = true;
        c->is_batch_intention = is_intention;
        s->batch[job->count] = c;
        job->records[job->count++] = c->record;
    }
    job->is_first &= job->is_durable;
    job->generation = s->generation;
    if (job->count == 0)
        return false;
    s->phase = WT_SLOT_WRITING;
    t->ops.journal(t->ops.data, job);
    return true;
}

static void intention_done(struct wt_table *t, struct wt_slot *s, struct wt_claim *c,
                           const struct wt_journal_job *job)
{
    if (job->rc == 0) {
        c->value = c->record.requested;
        c->asked = c->record.asked;
        if (c->wanted == c->asked && c->record.deadline_ns == c->deadline_ns &&
            wt_owner_is_same(&c->record.owner, &c->owner))
            c->has_wanted = false;
        c->needs_note = false;
        c->state = c->is_dropped ? WT_CLAIM_ENDING : WT_CLAIM_HELD;
        c->is_dropped = false;
        c->is_waiting = c->state == WT_CLAIM_HELD;
        s->is_dirty = true;
    } else if (c->state == WT_CLAIM_INTENDING && job->rc == WT_E_CHANGED &&
               s->rereads < REREADS_MAX) {
        c->state = WT_CLAIM_NEW; /* what we read may have been another's value: look again */
    } else if (c->state == WT_CLAIM_INTENDING && job->rc == WT_E_STATE) {
        c->state = WT_CLAIM_NEW; /* once what a dead owner left is back */
    } else {
        c->record.requested = c->value;
        c->record.asked = c->asked;
        c->record.is_limited = c->value != c->asked;
        tell_refused(t, s, c, job->rc, &job->err);
        if (c->state == WT_CLAIM_INTENDING) {
            if (c->is_dropped)
                tell_end(t, s, c, 0, NULL);
            remove_claim(t, s, c);
        } else if (c->is_dropped) {
            c->is_dropped = false;
            c->state = WT_CLAIM_ENDING;
            s->is_dirty = true;
        }
    }
}

static void note_done(struct wt_table *t, struct wt_slot *s, struct wt_claim *c, int rc)
{
    if (c->is_dropped && c->state == WT_CLAIM_HELD) {
        c->is_dropped = false;
        c->state = WT_CLAIM_ENDING;
        s->is_dirty = true;
    }
    if (rc < 0)
        return;
    c->needs_note = false;
    if (c->state == WT_CLAIM_ENDED)
        remove_claim(t, s, c);
}

/* What the last of them leaves behind: nothing is known of the device any more. */
static void forget_if_free(struct wt_slot *s)
{
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        if (c->state != WT_CLAIM_NEW && c->state != WT_CLAIM_ENDED)
            return;
    s->has_found = s->is_on_device_known = s->is_dirty = false;
}

static void writing_done(struct wt_table *t, struct wt_slot *s, struct wt_journal_job *job)
{
    size_t count = job->count;
    bool is_recovering = job->is_first && job->rc == WT_E_STATE;
    for (size_t i = 0; i < count; i++) {
        struct wt_claim *c = s->batch[i];
        c->is_in_batch = false;
        if (job->rc == 0) {
            c->record.sequence = job->records[i].sequence;
            c->record.unix_ns = job->records[i].unix_ns;
        }
        if (c->is_batch_intention)
            intention_done(t, s, c, job);
        else
            note_done(t, s, c, job->rc);
    }
    bool is_reread = job->rc == WT_E_CHANGED && job->is_first && s->rereads < REREADS_MAX;
    s->rereads = is_reread ? s->rereads + 1 : 0;
    if (job->is_first && job->rc < 0)
        forget_if_free(s);
    if (job->rc < 0 && !is_reread && !is_recovering)
        s->note_retry_ns = t->now_ns + WT_NS_PER_S;
    if (is_recovering && s->claims)
        start_device(t, s, WT_JOB_RECOVER, WT_SLOT_RECOVERING);
}

/* ---- moving ---- */

static bool find_target(const struct wt_slot *s, int64_t *ret_target)
{
    bool has_live = false;
    *ret_target = s->found;
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        if (is_live(c)) {
            *ret_target = has_live ? wt_lease_stricter(s->knob, *ret_target, c->value) : c->value;
            has_live = true;
        }
    return has_live;
}

static bool has_state(const struct wt_slot *s, enum wt_claim_state state)
{
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        if (c->state == state)
            return true;
    return false;
}

static bool is_someone_waiting(const struct wt_slot *s)
{
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        if (c->is_waiting)
            return true;
    return false;
}

static int64_t *list_ours(const struct wt_slot *s, size_t *ret_count)
{
    size_t count = 5;
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        count += 3;
    int64_t *ours = calloc(count, sizeof(*ours));
    size_t n = 0;
    if (!ours)
        return NULL;
    ours[n++] = s->found;
    ours[n++] = s->found_raw;
    ours[n++] = s->found_before;
    if (s->is_on_device_known)
        ours[n++] = s->on_device;
    for (const struct wt_claim *c = s->claims; c; c = c->next) {
        if (c->state == WT_CLAIM_NEW || c->state == WT_CLAIM_INTENDING)
            continue;
        ours[n++] = c->value;
        ours[n++] = c->record.requested;
        ours[n++] = c->record.current;
    }
    *ret_count = n;
    return ours;
}

static void moved(struct wt_table *t, struct wt_slot *s)
{
    for (struct wt_claim *c = s->claims; c; c = c->next) {
        if (c->state == WT_CLAIM_HELD && (c->is_waiting || c->record.state == WT_LEASE_INTENDED)) {
            c->record.state = WT_LEASE_SET;
            c->record.current = s->on_device;
            c->record.enforced = s->enforced;
            c->needs_note = true;
            c->is_waiting = false;
            if (c->has_wanted)
                continue; /* asked anew meanwhile: told once that holds */
            tell_capped(t, s, c, 0, NULL);
            tell_set(t, s, c, 0, NULL);
        } else if (c->state == WT_CLAIM_ENDING && c->is_moving) {
            c->record.state = WT_LEASE_RESTORED;
            c->record.current = s->on_device;
            c->record.enforced = s->enforced;
            c->needs_note = true;
            c->state = WT_CLAIM_ENDED;
            tell_end(t, s, c, 0, NULL);
        }
        c->is_moving = false;
    }
    s->is_stuck = false;
    s->delay_ns = s->retry_ns = 0;
    forget_if_free(s);
}

/* Somebody else has it now. */
static void abandon(struct wt_table *t, struct wt_slot *s, const struct wt_device_job *job)
{
    for (struct wt_claim *c = s->claims; c; c = c->next) {
        if (c->state != WT_CLAIM_HELD && c->state != WT_CLAIM_ENDING)
            continue;
        bool is_ending = c->state == WT_CLAIM_ENDING;
        c->record.state = WT_LEASE_ABANDONED;
        c->record.current = job->info.current;
        c->needs_note = true;
        c->has_wanted = c->is_moving = false;
        c->state = WT_CLAIM_ENDED;
        if (c->waiter_set)
            tell_set(t, s, c, job->rc, &job->err);
        else if (is_ending)
            tell_end(t, s, c, job->rc, &job->err);
        else
            tell(t, s, c, WT_TABLE_ABANDONED, 0, job->rc, &job->err);
    }
    s->is_stuck = false;
    s->delay_ns = s->retry_ns = 0;
    forget_if_free(s);
}

/* The device did not do it. Those who asked for that value do not get it; if nobody did, it is
 * tried again until it is back. */
static void refused(struct wt_table *t, struct wt_slot *s, const struct wt_device_job *job)
{
    bool is_helped = false;
    s->is_on_device_known = false;
    for (struct wt_claim *c = s->claims; c; c = c->next)
        if (job->kind == WT_JOB_SET && c->state == WT_CLAIM_HELD && c->is_waiting &&
            c->value == job->value) {
            c->state = WT_CLAIM_ENDING;
            tell_capped(t, s, c, job->rc, &job->err);
            tell_set(t, s, c, job->rc, &job->err);
            is_helped = true;
        }
    s->is_dirty = true;
    if (is_helped)
        return;
    for (struct wt_claim *c = s->claims; c; c = c->next) {
        if (c->is_waiting)
            tell_set(t, s, c, job->rc, &job->err);
        if (c->state != WT_CLAIM_ENDING || !c->is_moving)
            continue;
        /* Its holder may live, but holds it no longer: should this daemon die, anyone may put it
         * back. */
        c->record.owner.pid = 0;
        c->needs_note = true;
        if (c->waiter_end || !s->is_stuck)
            tell_end(t, s, c, job->rc, &job->err);
    }
    refuse_new(t, s, job->rc, &job->err);
    s->is_stuck = true;
    s->why = job->err;
    s->why.code = job->rc;
    s->delay_ns = s->delay_ns ? 2 * s->delay_ns : RETRY_FIRST_NS;
    s->delay_ns = s->delay_ns > RETRY_LAST_NS ? RETRY_LAST_NS : s->delay_ns;
    s->retry_ns = t->now_ns + s->delay_ns;
    s->is_dirty = false; /* until then */
}

static bool give_ours(struct wt_slot *s)
{
    struct wt_device_job *job = &s->device_job;
    free(job->ours);
    job->ours = list_ours(s, &job->ours_count);
    job->step = s->info.step;
    return job->ours;
}

static void start_looking(struct wt_table *t, struct wt_slot *s)
{
    struct wt_error why;
    if (give_ours(s))
        start_device(t, s, WT_JOB_LOOK, WT_SLOT_LOOKING);
    else
        refuse_new(t, s, wt_fail(&why, WT_E_NOMEM, "no memory to look at a device"), &why);
}

static void looking_done(struct wt_table *t, struct wt_slot *s, const struct wt_device_job *job)
{
    if (job->rc == 0) {
        s->on_device = job->info.current;
        s->enforced = job->info.enforced;
        s->is_on_device_known = true;
    } else if (job->rc == WT_E_CHANGED) {
        abandon(t, s, job);
    } else {
        refuse_new(t, s, job->rc, &job->err);
        s->note_retry_ns = t->now_ns + WT_NS_PER_S;
    }
}

static void start_moving(struct wt_table *t, struct wt_slot *s)
{
    int64_t target;
    bool has_live = find_target(s, &target);
    s->is_dirty = false;
    if (!has_live && !has_state(s, WT_CLAIM_ENDING))
        return;
    for (struct wt_claim *c = s->claims; c; c = c->next)
        c->is_moving = c->state == WT_CLAIM_ENDING;
    if (has_live && !is_someone_waiting(s) && s->is_on_device_known && target == s->on_device) {
        moved(t, s); /* what ended was covered by a stricter one */
        return;
    }
    struct wt_device_job *job = &s->device_job;
    if (!give_ours(s)) {
        job->rc = wt_fail(&job->err, WT_E_NOMEM, "no memory to move a device");
        job->kind = has_live ? WT_JOB_SET : WT_JOB_RESTORE;
        job->value = target;
        refused(t, s, job);
        return;
    }
    job->value = target;
    start_device(t, s, has_live ? WT_JOB_SET : WT_JOB_RESTORE, WT_SLOT_MOVING);
}

static void moving_done(struct wt_table *t, struct wt_slot *s, const struct wt_device_job *job)
{
    if (job->rc == 0) {
        s->on_device = s->is_blind ? job->value : job->info.current;
        s->enforced = s->is_blind ? job->value : job->info.enforced;
        s->is_on_device_known = true;
        if (job->kind == WT_JOB_RESTORE && job->value != s->found)
            s->is_dirty = true; /* the cap is another one since: once more */
        else
            moved(t, s);
    } else if (job->rc == WT_E_CHANGED) {
        abandon(t, s, job);
    } else {
        refused(t, s, job);
    }
}

/* ---- the steps ---- */

static void want_under_cap(const struct wt_table *t, const struct wt_slot *s, struct wt_claim *c)
{
    if (!is_live(c) || c->has_wanted || under_cap(t, s, c->asked) == c->value)
        return;
    c->wanted = c->asked;
    c->has_wanted = c->is_capping = true;
}

static void drop_new(struct wt_table *t, struct wt_slot *s)
{
    for (struct wt_claim *c = s->claims, *next; c; c = next) {
        struct wt_error why;
        int rc = 0;
        next = c->next;
        if (c->state != WT_CLAIM_NEW && !(c->has_wanted && is_live(c)))
            continue;
        if (c->state == WT_CLAIM_NEW && c->is_dropped) {
            tell_end(t, s, c, 0, NULL);
            remove_claim(t, s, c);
            continue;
        }
        if (s->has_found)
            rc = check_value(t, s, under_cap(t, s, c->has_wanted ? c->wanted : c->asked),
                             c->has_wanted, &why);
        if (rc < 0) {
            bool was_his = !c->is_capping;
            tell_refused(t, s, c, rc, &why);
            if (c->state == WT_CLAIM_NEW)
                remove_claim(t, s, c);
            else if (was_his)
                want_under_cap(t, s, c); /* which waited for that */
        }
    }
}

/* What some claim has is no longer to be set, and what is to be instead is not on disk yet. */
static bool is_cap_due(const struct wt_table *t, const struct wt_slot *s)
{
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        if (is_live(c) && c->has_wanted && (c->is_capping || under_cap(t, s, c->value) != c->value))
            return true;
    return false;
}

/* Nobody waits for a driver that hangs: what ends meanwhile is put back when it returns. */
static void tell_hung(struct wt_table *t, struct wt_slot *s)
{
    const struct wt_error *why = &t->devices[s->device].why;
    for (struct wt_claim *c = s->claims; c; c = c->next)
        if (c->state == WT_CLAIM_ENDING && c->waiter_end)
            tell_end(t, s, c, why->code, why);
}

void wt_slot_step(struct wt_table *t, struct wt_slot *s)
{
    if (s->phase != WT_SLOT_IDLE) {
        if (t->devices[s->device].is_hung && s->phase != WT_SLOT_WRITING)
            tell_hung(t, s);
        return;
    }
    if (s->is_stuck && s->retry_ns && s->retry_ns > t->now_ns && !s->is_dirty) {
        start_writing(t, s); /* whose they are no longer */
        return;
    }
    drop_new(t, s);
    if (!s->claims) {
        s->has_found = s->is_on_device_known = s->is_dirty = false;
        return;
    }
    if (is_cap_due(t, s) && is_look_due(s))
        start_looking(t, s);
    if (s->phase != WT_SLOT_IDLE)
        return;
    /* Moving comes first, as new claims never cease to come on a busy device; but not to what a new
     * cap does not allow. */
    if (s->is_dirty && !is_cap_due(t, s))
        start_moving(t, s);
    if (s->phase != WT_SLOT_IDLE)
        return;
    bool is_any_new = false;
    for (const struct wt_claim *c = s->claims; c; c = c->next)
        is_any_new |= is_intended(s, c);
    if (is_any_new && !s->has_found) {
        start_reading(t, s);
    } else if (!start_writing(t, s) && is_any_new) {
        struct wt_error why;
        int rc = wt_fail(&why, WT_E_NOMEM, "no memory for a claim");
        refuse_new(t, s, rc, &why);
    }
}

void wt_slot_recap(struct wt_table *t, struct wt_slot *s)
{
    /* What is being written must not be changed meanwhile. */
    s->is_recap_due = s->phase == WT_SLOT_WRITING;
    if (s->is_recap_due)
        return;
    if (s->has_found)
        wt_slot_cap_found(t, s);
    for (struct wt_claim *c = s->claims; c; c = c->next)
        want_under_cap(t, s, c);
    wt_slot_step(t, s);
}

static struct wt_slot *slot_of_device_job(struct wt_device_job *job)
{
    return (struct wt_slot *)((char *)job - offsetof(struct wt_slot, device_job));
}

void wt_table_device_done(struct wt_table *t, struct wt_device_job *job)
{
    struct wt_slot *s = slot_of_device_job(job);
    enum wt_slot_phase phase = s->phase;
    bool was_hung = t->devices[s->device].is_hung;
    s->phase = WT_SLOT_IDLE;
    if (was_hung) {
        /* It came back. What the others of its slots wait for is in its queue already. */
        t->devices[s->device].is_hung = false;
        for (size_t k = 0; k < WT_KNOB_COUNT; k++)
            t->slots[s->device * WT_KNOB_COUNT + k].is_stuck = false;
    }
    if (phase == WT_SLOT_READING)
        reading_done(t, s, job);
    else if (phase == WT_SLOT_LOOKING)
        looking_done(t, s, job);
    else if (phase == WT_SLOT_MOVING)
        moving_done(t, s, job);
    else if (phase == WT_SLOT_RECOVERING && job->rc < 0)
        refuse_new(t, s, job->rc, &job->err);
    for (size_t k = WT_KNOB_COUNT; was_hung && k-- > 0;) /* new caps were not waited for */
        if (&t->slots[s->device * WT_KNOB_COUNT + k] != s)
            wt_slot_recap(t, &t->slots[s->device * WT_KNOB_COUNT + k]);
    if (was_hung)
        wt_slot_recap(t, s);
    else
        wt_slot_step(t, s);
}

void wt_table_journal_done(struct wt_table *t, struct wt_journal_job *job)
{
    struct wt_slot *s = (struct wt_slot *)((char *)job - offsetof(struct wt_slot, journal_job));
    s->phase = WT_SLOT_IDLE;
    writing_done(t, s, job);
    if (s->is_recap_due && s->phase == WT_SLOT_IDLE)
        wt_slot_recap(t, s);
    else
        wt_slot_step(t, s);
}

void wt_table_hung(struct wt_table *t, uint32_t device, const struct wt_error *why)
{
    t->devices[device].is_hung = true;
    t->devices[device].why = *why;
    for (size_t k = 0; k < WT_KNOB_COUNT; k++) {
        struct wt_slot *s = &t->slots[device * WT_KNOB_COUNT + k];
        if (s->phase == WT_SLOT_IDLE || s->phase == WT_SLOT_WRITING)
            continue;
        for (struct wt_claim *c = s->claims, *next; c; c = next) {
            next = c->next;
            if (c->state == WT_CLAIM_NEW) {
                tell_set(t, s, c, why->code, why);
                if (c->is_dropped)
                    tell_end(t, s, c, 0, NULL);
                remove_claim(t, s, c);
                continue;
            }
            c->has_wanted = false;
            /* The call may yet be carried out; then it is undone. */
            if (c->state == WT_CLAIM_HELD && c->is_waiting) {
                c->state = WT_CLAIM_ENDING;
                tell_capped(t, s, c, why->code, why);
                tell_set(t, s, c, why->code, why);
            } else if (c->waiter_set) {
                tell_set(t, s, c, why->code, why);
            }
        }
        tell_hung(t, s);
        s->is_dirty = true;
    }
}
