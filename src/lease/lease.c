/* lease: a setting that is always put back. See wattune/lease.h.
 *
 * Setting one value, in order: read what is there; under the journal's lock, see that nobody alive
 * holds it, and write down what was found and what is wanted (fsync); set; read back; write that
 * down. Between any two of these steps the process may die and the journal tells the value that
 * belongs on the device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "lease/client.h"
#include "lease/hold.h"
#include "lease/lease.h"
#include "lease/remote.h"

/* A restorer's claim is over in milliseconds, unless its device hangs. */
#define CLAIM_PATIENCE_NS (3 * WT_NS_PER_S)

struct wt_lease {
    struct wt_restorer who;
    uint64_t id;
    int64_t deadline_ns;
    struct wt_guardian guardian;
    struct wt_holds holds;        /* what was set, to look after; nobody's to put back */
    struct wt_remote *remote;     /* wattuned does it for us; nothing below is used then */
    char *dir, *guardian_program; /* owned; the program NULL: none */
    const struct wt_journal_trace *trace;
    struct wt_lease_record *held; /* also in memory: a lost journal is no reason not to restore */
    size_t count, room;
};

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

static int random_id(uint64_t *ret_id, struct wt_error *err)
{
    do {
        if (getrandom(ret_id, sizeof(*ret_id), 0) != (ssize_t)sizeof(*ret_id))
            return wt_fail_errno(err, errno, "getrandom");
    } while (*ret_id == 0);
    return 0;
}

/* What dead owners left, put back before anything new is set. Failures are said, and stand in the
 * way only of a set of that very knob and device. */
static void say_recovered(void *data, const char *device_id, enum wt_knob knob, int64_t found,
                          int64_t written, int rc, const char *text)
{
    const struct wt_ctx *ctx = data;
    char back[48], from[48];
    if (rc == 0)
        wt_log(ctx, WT_LOG_WARN, "lease",
               "%s of %s: put back to %s from %s, left by a process that died", wt_knob_name(knob),
               device_id, wt_knob_value_text(back, sizeof(back), knob, found),
               wt_knob_value_text(from, sizeof(from), knob, written));
    else if (rc != WT_E_BUSY && rc != WT_E_GONE)
        wt_log(ctx, WT_LOG_WARN, "lease", "left by a process that died: %s", text);
}

static void lease_free(struct wt_lease *l)
{
    if (!l)
        return;
    wt_journal_close(l->who.journal);
    wt_remote_free(l->remote);
    free(l->dir);
    free(l->guardian_program);
    free(l->held);
    free(l->holds.list);
    free(l);
}

/* Opens the journal, puts back what it has of dead owners, and starts the guardian. */
static int start(struct wt_lease *l, struct wt_error *err)
{
    if (l->who.journal)
        return 0;
    int rc = wt_journal_open(&l->who.journal, l->who.ctx, l->dir, l->trace, err);
    if (rc < 0)
        return rc;
    size_t restored, left;
    struct wt_error why;
    rc =
        wt_restore_all(&l->who, 0, true, say_recovered, (void *)l->who.ctx, &restored, &left, &why);
    if (rc == WT_E_FORMAT || rc == WT_E_TIMEOUT || rc == WT_E_IO || rc == WT_E_NOMEM) {
        /* The journal's own errors; those of single entries have been said. */
        rc = wt_journal_lock(l->who.journal, err);
        if (rc < 0)
            goto out;
        wt_journal_unlock(l->who.journal);
    }
    rc = 0;
    if (l->guardian_program)
        rc = wt_guardian_start(&l->guardian, l->who.ctx, l->guardian_program,
                               wt_journal_dir(l->who.journal), l->id, &l->who.self, l->deadline_ns,
                               err);
out:
    if (rc < 0) {
        wt_journal_close(l->who.journal);
        l->who.journal = NULL;
    }
    return rc;
}

int wt_lease_open_on(struct wt_lease **ret_lease, struct wt_ctx *ctx,
                     const struct wt_lease_ops *ops, const char *dir, const char *guardian,
                     int64_t hold_ns, const struct wt_journal_trace *trace, struct wt_error *err)
{
    struct wt_lease *l = calloc(1, sizeof(*l));
    if (!l)
        return wt_fail(err, WT_E_NOMEM, "no memory for a lease");
    l->guardian.socket = -1;
    l->who.ctx = ctx;
    l->who.ops = *ops;
    if (hold_ns > 0)
        l->deadline_ns = boot_now_ns() + hold_ns;
    l->trace = trace;
    l->dir = strdup(dir);
    l->guardian_program = guardian ? strdup(guardian) : NULL;
    int rc = l->dir && (l->guardian_program || !guardian)
                 ? random_id(&l->id, err)
                 : wt_fail(err, WT_E_NOMEM, "no memory for a lease");
    if (rc == 0)
        rc = wt_owner_self(&l->who.self, err);
    /* Where no lease was ever taken there is nothing to put back, and a directory is made only when
     * there is something to journal. */
    if (rc == 0 && !(access(dir, F_OK) < 0 && errno == ENOENT))
        rc = start(l, err);
    if (rc < 0)
        goto out;
    *ret_lease = l;
    l = NULL;
out:
    lease_free(l);
    return rc;
}

/* A lease that wattuned keeps. Errors: WT_E_NOTFOUND (there is none). */
static int open_remote(struct wt_lease **ret_lease, struct wt_ctx *ctx,
                       const struct wt_lease_ops *ops, const struct wt_lease_options *options,
                       struct wt_error *err)
{
    char socket[4096];
    bool is_emulated = false;
    if (ops->count(ops->data))
        ops->id(ops->data, 0, &is_emulated);
    if (options->socket && strcmp(options->socket, "none") == 0)
        return WT_E_NOTFOUND;
    if (options->socket)
        wt_text(socket, sizeof(socket), "%s", options->socket);
    else if (!wt_client_path(ctx, is_emulated, socket, sizeof(socket)))
        return WT_E_NOTFOUND;
    struct wt_lease *l = calloc(1, sizeof(*l));
    if (!l)
        return wt_fail(err, WT_E_NOMEM, "no memory for a lease");
    l->guardian.socket = -1;
    l->who.ctx = ctx;
    l->who.ops = *ops;
    l->who.self.pid = (uint32_t)getpid();
    if (options->hold_ns > 0)
        l->deadline_ns = boot_now_ns() + options->hold_ns;
    int rc = wt_remote_open(&l->remote, ctx, ops, socket, l->deadline_ns, err);
    if (rc < 0) {
        lease_free(l);
        return rc;
    }
    *ret_lease = l;
    return 0;
}

int wt_lease_open(struct wt_lease **ret_lease, struct wt_ctx *ctx, struct wt_devices *devices,
                  const struct wt_lease_options *options, struct wt_error *err)
{
    static const struct wt_lease_options none;
    if (!options)
        options = &none;
    char dir[4096], guardian[4096];
    struct wt_lease_ops ops = wt_lease_ops_devices(devices);
    int rc = open_remote(ret_lease, ctx, &ops, options, err);
    if (rc != WT_E_NOTFOUND)
        return rc;
    rc = wt_lease_state_dir(ctx, devices, options->state_dir, dir, sizeof(dir), err);
    if (rc == 0 && !options->is_without_guardian)
        rc = wt_helper_path(WT_GUARDIAN_PROGRAM, guardian, sizeof(guardian), err);
    if (rc < 0)
        return rc;
    return wt_lease_open_on(ret_lease, ctx, &ops, dir,
                            options->is_without_guardian ? NULL : guardian, options->hold_ns, NULL,
                            err);
}

static struct wt_lease_record *find_held(struct wt_lease *l, const char *device, enum wt_knob knob)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->held[i].knob == knob && strcmp(l->held[i].device, device) == 0)
            return &l->held[i];
    return NULL;
}

/* Both clocks of a device may hang on one switch (amdgpu's performance level): with one held, what
 * was found of it is what was found of the other. */
static const struct wt_lease_record *find_kin(struct wt_lease *l, const char *device,
                                              enum wt_knob knob, bool is_blind)
{
    if (!is_blind || (knob != WT_KNOB_CLOCK && knob != WT_KNOB_MEMCLOCK))
        return NULL;
    return find_held(l, device, knob == WT_KNOB_CLOCK ? WT_KNOB_MEMCLOCK : WT_KNOB_CLOCK);
}

static void forget(struct wt_lease *l, struct wt_lease_record *r)
{
    size_t i = (size_t)(r - l->held);
    memmove(r, r + 1, (l->count - i - 1) * sizeof(*r));
    l->count--;
}

/* own: what this lease holds of the knob already, or NULL. is_kin: what is on the device is this
 * lease's doing. */
static int check_request(const char *device, const struct wt_knob_info *info, int64_t value,
                         const struct wt_lease_record *own, bool is_kin, struct wt_error *err)
{
    const char *name = wt_knob_name(info->knob);
    char text[48], range[200];
    if (!info->is_settable && !(info->is_lost && is_kin)) {
        int rc =
            wt_fail(err, info->is_lost ? WT_E_STATE : WT_E_DENIED, "%s of %s cannot be set: %s",
                    name, device, info->why_not[0] ? info->why_not : "not permitted");
        if (info->fix[0])
            wt_fix(err, "%s", info->fix);
        return rc;
    }
    /* What was found was possible, even where no range has it any more. */
    if (wt_knob_takes(info, value) ||
        (own && !info->values && value >= info->min && value <= own->found))
        return 0;
    return wt_fail(err, WT_E_RANGE, "%s=%s: %s takes %s", name,
                   wt_knob_value_typed(text, sizeof(text), info->knob, value), device,
                   wt_knob_range_text(range, sizeof(range), info));
}

static int fail_busy(const struct wt_lease_record *r, struct wt_error *err)
{
    char set[48];
    int rc = wt_fail(err, WT_E_BUSY, "%s of %s: held by process %u (%s), which set it to %s",
                     wt_knob_name(r->knob), r->device, r->owner.pid, r->owner.name,
                     wt_knob_value_text(set, sizeof(set), r->knob, r->requested));
    wt_fix(err, "wait for process %u to end, or use another device", r->owner.pid);
    return rc;
}

/* Looks for an open entry of another lease on the same knob and device. 0: none. Under lock. */
static int find_rival(const struct wt_lease *l, const char *device, bool is_emulated,
                      enum wt_knob knob, struct wt_lease_record *ret_rival)
{
    size_t count;
    const struct wt_lease_record *entries = wt_journal_entries(l->who.journal, &count);
    for (size_t i = 0; i < count; i++) {
        const struct wt_lease_record *e = &entries[i];
        if (e->lease == l->id || e->knob != knob || e->is_emulated != is_emulated ||
            !wt_lease_is_open(e) || strcmp(e->device, device) != 0 ||
            wt_owner_life(&e->owner, &l->who.self) == WT_OWNER_FOREIGN)
            continue;
        *ret_rival = *e;
        return 1;
    }
    return 0;
}

/* Puts back what a dead rival left. 0: it is closed; WT_E_BUSY: somebody else is at it. */
static int end_rival(struct wt_lease *l, struct wt_lease_record *rival, struct wt_error *err)
{
    int rc;
    if (rival->is_claim) {
        size_t ended, left;
        rc = wt_restore_stack(&l->who, rival, NULL, NULL, &ended, &left, err);
    } else {
        rc = wt_restore_claim(&l->who, rival, err);
        if (rc == 0) {
            rc = wt_restore_entry(&l->who, rival, err);
            if (rc < 0 && rc != WT_E_CHANGED)
                wt_restore_disown(&l->who, rival);
        }
    }
    return rc == WT_E_CHANGED || rc == WT_E_NOTFOUND ? 0 : rc;
}

/* Waits for, restores after, or complains about whoever else holds this knob. 0: nobody does;
 * *ret_generation is the journal's next sequence number as of then. */
static int clear_rivals(struct wt_lease *l, const char *device, bool is_emulated, enum wt_knob knob,
                        uint64_t *ret_generation, struct wt_error *err)
{
    int64_t start_ns = wt_clock_now_ns();
    for (;;) {
        struct wt_lease_record rival;
        int rc = wt_journal_lock(l->who.journal, err);
        if (rc < 0)
            return rc;
        int found = find_rival(l, device, is_emulated, knob, &rival);
        *ret_generation = wt_journal_totals(l->who.journal).next_sequence;
        wt_journal_unlock(l->who.journal);
        if (!found)
            return 0;

        bool is_late = wt_clock_now_ns() - start_ns > CLAIM_PATIENCE_NS;
        bool is_dead = wt_lease_life(l->who.ctx, &rival, &l->who.self) == WT_OWNER_DEAD;
        if (is_dead && !is_late) {
            /* Nothing is set anew before the old value is back. */
            rc = end_rival(l, &rival, err);
            if (rc < 0 && rc != WT_E_BUSY)
                return rc;
            if (rc == 0)
                continue;
        }
        /* A guardian is at work, and soon done; an owner may stay for hours. comm(5) cuts a
         * program's name to 15 bytes. */
        if (is_late || (!is_dead && strncmp(rival.owner.name, WT_GUARDIAN_PROGRAM,
                                            sizeof(rival.owner.name) - 1) != 0))
            return fail_busy(&rival, err);
        wt_clock_sleep_until_ns(wt_clock_now_ns() + 5 * WT_NS_PER_MS);
    }
}

/* Whether another lease wrote about this knob since that generation. Under lock. */
static bool has_moved_on(const struct wt_lease *l, const char *device, enum wt_knob knob,
                         uint64_t generation)
{
    size_t count;
    const struct wt_lease_record *entries = wt_journal_entries(l->who.journal, &count);
    for (size_t i = 0; i < count; i++)
        if (entries[i].lease != l->id && entries[i].knob == knob &&
            entries[i].sequence >= generation && strcmp(entries[i].device, device) == 0)
            return true;
    return false;
}

/* A knob this lease holds already: is it still ours, on the device and in the journal? */
static int check_still_ours(struct wt_lease *l, struct wt_lease_record *own,
                            const struct wt_knob_info *info, struct wt_error *err)
{
    char text[48], set[48];
    if (!wt_lease_is_ours(own, info) && (info->is_mixed || info->current != own->found)) {
        int rc = wt_fail(err, WT_E_CHANGED,
                         "%s of %s: someone else made it %s after Wattune set %s; left to them",
                         wt_knob_name(own->knob), own->device,
                         wt_knob_value_text(text, sizeof(text), own->knob, info->current),
                         wt_knob_value_text(set, sizeof(set), own->knob, own->requested));
        struct wt_lease_record end = *own;
        end.state = WT_LEASE_ABANDONED;
        struct wt_error why;
        int code = wt_journal_lock(l->who.journal, &why);
        if (code == 0) {
            code = wt_journal_append(l->who.journal, &end, true, &why);
            wt_journal_unlock(l->who.journal);
        }
        if (code < 0)
            wt_log(l->who.ctx, WT_LOG_WARN, "lease", "%s", why.text);
        forget(l, own);
        return rc;
    }
    struct wt_lease_record now = *own;
    int rc = wt_restore_claim(&l->who, &now, err);
    if (rc == WT_E_NOTFOUND || rc == WT_E_BUSY) {
        rc = wt_fail(err, WT_E_STATE, "%s of %s: this lease has ended, its guardian put back %s",
                     wt_knob_name(own->knob), own->device,
                     wt_knob_value_text(text, sizeof(text), own->knob, own->found));
        forget(l, own);
    }
    return rc;
}

/* Journals what is about to happen; *ret_record is a copy of what is held. */
static int intend(struct wt_lease *l, size_t device, enum wt_knob knob, int64_t value,
                  struct wt_lease_record *ret_record, struct wt_error *err)
{
    const struct wt_lease_ops *ops = &l->who.ops;
    bool is_emulated = false;
    const char *id = ops->id(ops->data, device, &is_emulated);
    if (l->count == l->room) {
        size_t room = l->room ? l->room * 2 : 16;
        struct wt_lease_record *more = realloc(l->held, room * sizeof(*more));
        if (!more)
            return wt_fail(err, WT_E_NOMEM, "no memory for a lease");
        l->held = more;
        l->room = room;
    }
    for (;;) {
        uint64_t generation;
        int rc = clear_rivals(l, id, is_emulated, knob, &generation, err);
        if (rc < 0)
            return rc;
        struct wt_knob_info info = {0};
        bool is_blind = false;
        rc = ops->read(ops->data, device, knob, &info, &is_blind, err);
        struct wt_lease_record *own = find_held(l, id, knob);
        const struct wt_lease_record *kin = own ? own : find_kin(l, id, knob, is_blind);
        if (rc == 0)
            rc = check_request(id, &info, value, own, kin, err);
        if (rc < 0)
            return rc;
        struct wt_lease_record r = {.lease = l->id,
                                    .owner = l->who.self,
                                    .is_emulated = is_emulated,
                                    .is_blind = is_blind,
                                    .knob = knob,
                                    .found = info.is_lost && kin ? kin->found : info.current};
        if (own) {
            rc = check_still_ours(l, own, &info, err);
            if (rc < 0)
                return rc;
            r.found = own->found;
        }
        wt_text(r.device, sizeof(r.device), "%s", id);
        r.state = WT_LEASE_INTENDED;
        r.previous = r.current = own && is_blind ? own->requested : info.current;
        r.requested = value;
        r.enforced = info.enforced;
        r.min = info.min;
        r.max = info.max;
        r.step = info.step;
        r.def = info.def;
        r.deadline_ns = l->deadline_ns;

        rc = wt_journal_lock(l->who.journal, err);
        if (rc < 0)
            return rc;
        bool is_late = has_moved_on(l, id, knob, generation);
        if (!is_late)
            rc = wt_journal_append(l->who.journal, &r, true, err);
        wt_journal_unlock(l->who.journal);
        if (is_late)
            continue; /* what we read may be another's value: look again */
        if (rc < 0)
            return rc;
        if (own)
            *own = r;
        else
            l->held[l->count++] = r;
        *ret_record = r;
        return 0;
    }
}

static void note(struct wt_lease *l, struct wt_lease_record *r, bool is_durable)
{
    struct wt_error why;
    int rc = wt_journal_lock(l->who.journal, &why);
    if (rc == 0) {
        rc = wt_journal_append(l->who.journal, r, is_durable, &why);
        wt_journal_unlock(l->who.journal);
    }
    if (rc < 0) /* the intention is on disk, and that is what a restore needs */
        wt_log(l->who.ctx, WT_LOG_WARN, "lease", "%s", why.text);
}

/* The device said no. When nothing moved, the entry goes back to what it was before. */
static void take_back(struct wt_lease *l, size_t device, struct wt_lease_record *r, int refusal)
{
    struct wt_knob_info info;
    bool is_blind = false;
    if (r->is_blind) {
        if (refusal != WT_E_DENIED && refusal != WT_E_RANGE && refusal != WT_E_UNSUPPORTED)
            return; /* it may have moved: clearing a lock that is not there does no harm */
    } else if (refusal == WT_E_TIMEOUT ||
               l->who.ops.read(l->who.ops.data, device, r->knob, &info, &is_blind, NULL) < 0 ||
               info.is_mixed || info.current != r->previous) {
        return; /* it moved, or a driver that hangs may yet move it */
    }
    r->current = r->requested = r->previous;
    r->state = r->previous == r->found ? WT_LEASE_RESTORED : WT_LEASE_SET;
    note(l, r, true);
    struct wt_lease_record *own = find_held(l, r->device, r->knob);
    if (r->state == WT_LEASE_RESTORED)
        forget(l, own);
    else
        *own = *r;
}

/* The first set: what the device refuses anyway leaves no directory behind. */
static int begin(struct wt_lease *l, size_t device, enum wt_knob knob, int64_t value,
                 struct wt_error *err)
{
    const struct wt_lease_ops *ops = &l->who.ops;
    struct wt_knob_info info = {0};
    bool is_emulated = false, is_blind = false;
    const char *id = ops->id(ops->data, device, &is_emulated);
    int rc = ops->read(ops->data, device, knob, &info, &is_blind, err);
    if (rc == 0)
        rc = check_request(id, &info, value, NULL, false, err);
    return rc < 0 ? rc : start(l, err);
}

static int set_by_daemon(struct wt_lease *l, size_t device, enum wt_knob knob, int64_t value,
                         int64_t *ret_enforced, struct wt_error *err)
{
    struct wt_remote_claim claim;
    int rc = wt_remote_set(l->remote, device, knob, value, &claim, err);
    if (rc < 0)
        return rc;
    wt_holds_set(&l->holds,
                 &(struct wt_hold){.device = device,
                                   .knob = knob,
                                   .value = claim.effective,
                                   .end_ns = claim.hold_ns ? boot_now_ns() + claim.hold_ns : 0,
                                   .span_ns = claim.hold_ns,
                                   .is_own_end = l->deadline_ns != 0});
    if (ret_enforced)
        *ret_enforced = claim.enforced;
    return 0;
}

int wt_lease_set(struct wt_lease *l, size_t device, enum wt_knob knob, int64_t value,
                 int64_t *ret_enforced, struct wt_error *err)
{
    const struct wt_lease_ops *ops = &l->who.ops;
    if (device >= ops->count(ops->data))
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", device);
    if (l->remote)
        return set_by_daemon(l, device, knob, value, ret_enforced, err);
    struct wt_lease_record r;
    int rc = l->who.journal ? 0 : begin(l, device, knob, value, err);
    if (rc == 0)
        rc = intend(l, device, knob, value, &r, err);
    if (rc < 0)
        return rc;

    rc = ops->set(ops->data, device, knob, value, err);
    if (rc < 0) {
        take_back(l, device, &r, rc);
        return rc;
    }
    struct wt_knob_info info;
    bool is_blind = false;
    rc = ops->read(ops->data, device, knob, &info, &is_blind, err);
    if (rc < 0)
        return rc; /* held as intended: a restore will find either value */
    r.state = WT_LEASE_SET;
    if (is_blind)
        info.current = info.enforced = value;
    r.current = info.current;
    r.enforced = info.enforced;
    /* Where the device took just what was asked, the intention says as much and its fsync is
     * enough. */
    note(l, &r, r.current != r.requested);
    *find_held(l, r.device, knob) = r;

    char want[48], is[48];
    int64_t worst = info.is_mixed && wt_knob_reads_as(knob, value, info.current, info.step)
                        ? info.mixed_with
                        : info.current;
    if (!wt_knob_reads_as(knob, value, worst, info.step))
        return wt_fail(err, WT_E_STATE, "%s of %s: set to %s, but it reads %s", wt_knob_name(knob),
                       r.device, wt_knob_value_text(want, sizeof(want), knob, value),
                       wt_knob_value_text(is, sizeof(is), knob, worst));
    wt_holds_set(&l->holds,
                 &(struct wt_hold){.device = device,
                                   .knob = knob,
                                   .value = info.current,
                                   .end_ns = l->deadline_ns,
                                   .span_ns = l->deadline_ns ? l->deadline_ns - boot_now_ns() : 0,
                                   .is_own_end = l->deadline_ns != 0});
    if (ret_enforced)
        *ret_enforced = info.enforced;
    return 0;
}

int wt_lease_look(struct wt_lease *l, size_t device, enum wt_knob knob,
                  struct wt_lease_hold *ret_hold, struct wt_error *err)
{
    const struct wt_lease_ops *ops = &l->who.ops;
    struct wt_hold *hold = wt_holds_find(&l->holds, device, knob);
    if (!hold)
        return wt_fail(err, WT_E_NOTFOUND, "%s of device %zu was not set by this lease",
                       wt_knob_name(knob), device);
    wt_hold_look(hold, ops, l->remote);
    *ret_hold = hold->told;
    return 0;
}

int wt_lease_restore(struct wt_lease *l, struct wt_error *err)
{
    l->holds.count = 0;
    if (l->remote)
        return wt_remote_restore(l->remote, err);
    int first = 0;
    bool is_noted = l->count > 0;
    /* The last first: one setting may have brought another with it, and must be back before that
     * one can be told. */
    for (size_t i = l->count; i-- > 0;) {
        struct wt_lease_record *r = &l->held[i];
        struct wt_error why = {0};
        struct wt_lease_record now = *r;
        int rc = wt_restore_claim(&l->who, &now, &why);
        if (rc == WT_E_NOTFOUND || rc == WT_E_BUSY) {
            forget(l, r); /* its guardian, past the deadline, has seen to it */
            continue;
        }
        if (rc == 0)
            *r = now;
        else
            wt_log(l->who.ctx, WT_LOG_WARN, "lease", "%s; restoring from memory", why.text);
        rc = wt_restore_entry(&l->who, r, &why);
        if (rc < 0 && first == 0) {
            first = rc;
            if (err)
                *err = why;
        } else if (rc < 0) {
            wt_log(l->who.ctx, WT_LOG_WARN, "lease", "%s", why.text);
        }
        if (rc == 0 || rc == WT_E_CHANGED)
            forget(l, r);
    }
    if (is_noted)
        wt_restore_done(&l->who);
    return first;
}

int wt_lease_close(struct wt_lease *l, struct wt_error *err)
{
    if (!l)
        return 0;
    int rc = 0;
    if (l->who.self.pid == (uint32_t)getpid()) {
        rc = wt_lease_restore(l, err);
        /* What a device refused is the guardian's now, or anyone's. */
        for (size_t i = 0; i < l->count; i++)
            wt_restore_disown(&l->who, &l->held[i]);
        wt_guardian_stop(&l->guardian, l->count == 0);
    } else if (l->guardian.socket >= 0) {
        close(l->guardian.socket); /* a fork of the owner: not ours to restore */
    }
    lease_free(l);
    return rc;
}

int wt_lease_recover(struct wt_ctx *ctx, struct wt_devices *devices,
                     const struct wt_lease_options *options, wt_recover_fn fn, void *data,
                     size_t *ret_restored, struct wt_error *err)
{
    static const struct wt_lease_options none;
    if (!options)
        options = &none;
    char dir[4096];
    struct wt_restorer who = {
        .ctx = ctx, .ops = wt_lease_ops_devices(devices), .is_dry = options->is_dry_run};
    int rc = wt_lease_state_dir(ctx, devices, options->state_dir, dir, sizeof(dir), err);
    if (ret_restored)
        *ret_restored = 0;
    if (rc == 0 && access(dir, F_OK) < 0 && errno == ENOENT)
        return 0; /* no lease was ever taken here */
    if (rc == 0)
        rc = wt_owner_self(&who.self, err);
    if (rc == 0)
        rc = wt_journal_open(&who.journal, ctx, dir, NULL, err);
    if (rc < 0)
        return rc;
    size_t restored = 0, left = 0;
    rc = wt_restore_all(&who, 0, true, fn, data, &restored, &left, err);
    wt_journal_close(who.journal);
    if (ret_restored)
        *ret_restored = restored;
    return rc;
}
