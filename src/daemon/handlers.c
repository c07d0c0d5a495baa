/* handlers: what each message does. Rights stand in one table beside the handlers; a message that
 * is not in it is refused. */
#include <string.h>
#include <time.h>

#include "daemon/server.h"

#define VALUE_MAX (INT64_C(1) << 40)                   /* no setting is larger */
#define HOLD_MAX  (INT64_C(366) * 86400 * WT_NS_PER_S) /* nor longer */

#define WT_NO_HOLDER UINT64_MAX /* no connection's id */

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

static void refuse(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m,
                   const struct wt_error *why)
{
    wt_connection_fail(s, c, m->tag, why);
}

static void done(struct wt_server *s, struct wt_connection *c, uint32_t tag, uint32_t count)
{
    struct wt_wire_message m = {.type = WT_WIRE_DONE, .tag = tag, .u.done = {count}};
    wt_connection_send(s, c, &m);
}

/* ---- who asks ---- */

/* As whom a request is judged: for himself, or root for a job's user. */
static int find_who(struct wt_server *s, const struct wt_connection *c, uint32_t job,
                    struct wt_policy_who *ret_who, struct wt_error *err)
{
    const struct wt_peer *p = &c->peer;
    bool is_trusted = wt_server_is_trusted(s, p->uid);
    struct wt_policy_who who = {.uid = p->uid,
                                .gid = p->gid,
                                .groups = p->groups,
                                .group_count = p->group_count,
                                .is_trusted = is_trusted};
    const struct wt_allocation *a = wt_allocations_find(s->allocations, job);
    if (job && is_trusted) {
        if (a && !wt_server_is_trusted(s, a->uid))
            who =
                (struct wt_policy_who){.uid = a->uid, .gid = UINT32_MAX, .job_devices = a->devices};
    } else {
        bool is_asked = !is_trusted && p->owner.pid && (job || wt_policy_has_slurm(s->policy));
        uint32_t own = is_asked ? wt_job_of(s->ctx, p->owner.pid) : 0;
        if (job && own != job)
            return wt_fail(err, WT_E_DENIED, "process %u is not in Slurm job %u", p->owner.pid,
                           job);
        a = wt_allocations_find(s->allocations, own);
        if (job && a && a->uid != p->uid)
            return wt_fail(err, WT_E_DENIED, "Slurm job %u is user %u's", job, a->uid);
        if (a && a->uid == p->uid)
            who.job_devices = a->devices;
    }
    if (!is_trusted && wt_policy_has_nodes(s->policy))
        who.node_devices = wt_peer_node_devices(s->ctx, s->minors, s->device_count, who.uid);
    *ret_who = who;
    return 0;
}

/* ---- asking ---- */

static void on_hello(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err;
    if (m->u.hello.version_min > WT_WIRE_VERSION || m->u.hello.version_max < WT_WIRE_VERSION) {
        wt_fail(&err, WT_E_UNSUPPORTED, "wattuned speaks protocol version %u, you %u to %u",
                WT_WIRE_VERSION, m->u.hello.version_min, m->u.hello.version_max);
        refuse(s, c, m, &err);
        c->is_closing = true;
        return;
    }
    c->has_greeted = true;
    c->token = m->u.hello.token;
    if (c->token && c->peer.owner.pid)
        wt_table_adopt(s->table, &c->peer.owner, c->token, c->id);
    struct wt_wire_message ok = {.type = WT_WIRE_HELLO_OK, .tag = m->tag};
    ok.u.hello_ok.version = WT_WIRE_VERSION;
    ok.u.hello_ok.devices = (uint32_t)s->device_count;
    ok.u.hello_ok.pid = s->self.pid;
    ok.u.hello_ok.is_emulated = s->device_count && s->devices[0].is_emulated;
    wt_connection_send(s, c, &ok);
}

static void on_ping(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    done(s, c, m->tag, 0);
}

static int check_device(const struct wt_server *s, uint32_t device, struct wt_error *err)
{
    if (device < s->device_count)
        return 0;
    return wt_fail(err, WT_E_NOTFOUND, "there is no device %u; wattuned has %zu", device,
                   s->device_count);
}

static int check_knob(const struct wt_server *s, uint32_t device, uint32_t knob,
                      struct wt_error *err)
{
    int rc = check_device(s, device, err);
    if (rc == 0 && (knob == 0 || knob >= WT_KNOB_COUNT || !wt_knob_name((enum wt_knob)knob)))
        rc = wt_fail(err, WT_E_UNSUPPORTED, "there is no knob %u", knob);
    if (rc == 0 && !(s->devices[device].knobs >> knob & 1))
        rc = wt_fail(err, WT_E_UNSUPPORTED, "%s has no knob \"%s\"", s->ids[device],
                     wt_knob_name((enum wt_knob)knob));
    return rc;
}

static void on_device(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err;
    uint32_t i = m->u.device.device;
    if (check_device(s, i, &err) < 0) {
        refuse(s, c, m, &err);
        return;
    }
    const struct wt_server_device *d = &s->devices[i];
    struct wt_wire_message ok = {.type = WT_WIRE_DEVICE_OK, .tag = m->tag};
    ok.u.device_ok.device = i;
    ok.u.device_ok.kind = (uint32_t)d->kind;
    ok.u.device_ok.flags = (d->is_emulated ? WT_WIRE_IS_EMULATED : 0u) |
                           (wt_table_is_hung(s->table, i) ? WT_WIRE_IS_HUNG : 0u);
    ok.u.device_ok.knobs = d->knobs;
    wt_text(ok.u.device_ok.id, sizeof(ok.u.device_ok.id), "%s", d->id);
    wt_text(ok.u.device_ok.name, sizeof(ok.u.device_ok.name), "%s", d->name);
    wt_connection_send(s, c, &ok);
}

static void on_knob(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err;
    struct wt_policy_who who;
    uint32_t device = m->u.knob.device, knob = m->u.knob.knob;
    int rc = check_knob(s, device, knob, &err);
    if (rc == 0)
        rc = find_who(s, c, m->u.knob.job, &who, &err);
    if (rc < 0) {
        refuse(s, c, m, &err);
        return;
    }
    const struct wt_knob_info *info = &s->devices[device].infos[knob];
    struct wt_wire_message ok = {.type = WT_WIRE_KNOB_OK, .tag = m->tag};
    struct wt_policy_bounds b;
    struct wt_policy_ask ask = {.device = device, .id = s->ids[device], .knob = (enum wt_knob)knob};
    int64_t cap = wt_policy_cap(s->policy, device, ask.id, ask.knob);
    ok.u.knob_ok.is_lockable = info->is_lockable;
    ok.u.knob_ok.min = info->min;
    ok.u.knob_ok.max = info->max;
    ok.u.knob_ok.cap = cap == INT64_MAX ? 0 : cap;
    if (!info->is_settable) {
        wt_text(ok.u.knob_ok.why_not, sizeof(ok.u.knob_ok.why_not), "not even by wattuned: %s",
                info->why_not);
    } else if (wt_policy_bounds(s->policy, &who, &ask, &b, &err) < 0) {
        wt_text(ok.u.knob_ok.why_not, sizeof(ok.u.knob_ok.why_not), "%.230s", err.text);
    } else {
        ok.u.knob_ok.is_allowed = 1;
        ok.u.knob_ok.floor = b.floor > info->min ? b.floor : info->min;
        ok.u.knob_ok.ceiling = b.ceiling < info->max ? b.ceiling : info->max;
        ok.u.knob_ok.hold_max_ns = b.hold_ns;
    }
    wt_connection_send(s, c, &ok);
}

static void on_status(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err;
    bool is_trusted = wt_server_is_trusted(s, c->peer.uid);
    struct wt_wire_message ok = {.type = WT_WIRE_STATUS_OK, .tag = m->tag};
    struct wt_table_answer claim;
    uint32_t seen = 0;
    bool is_found = false, is_ending = false;
    size_t at = 0;
    /* Others' claims are none of his business. */
    for (size_t i = 0; wt_table_at(s->table, i, &claim, &is_ending); i++) {
        if (!is_trusted && claim.owner.uid != c->peer.uid)
            continue;
        if (seen++ == m->u.status.index) {
            at = i;
            is_found = true;
        }
    }
    if (!is_found) {
        wt_fail(&err, WT_E_NOTFOUND, "there are %u claims", seen);
        refuse(s, c, m, &err);
        return;
    }
    wt_table_at(s->table, at, &claim, &is_ending);
    ok.u.status_ok.count = seen;
    ok.u.status_ok.device = claim.device;
    ok.u.status_ok.knob = (uint32_t)claim.knob;
    ok.u.status_ok.job = claim.job;
    ok.u.status_ok.pid = claim.owner.pid;
    ok.u.status_ok.uid = claim.owner.uid;
    ok.u.status_ok.state = is_ending ? 1 : claim.is_set ? 0 : 2;
    ok.u.status_ok.value = claim.value;
    ok.u.status_ok.effective = claim.effective;
    ok.u.status_ok.found = claim.found;
    if (claim.deadline_ns) {
        int64_t left_ns = claim.deadline_ns - boot_now_ns();
        ok.u.status_ok.hold_left_ns = left_ns > 1 ? left_ns : 1;
    }
    wt_text(ok.u.status_ok.name, sizeof(ok.u.status_ok.name), "%s", claim.owner.name);
    wt_connection_send(s, c, &ok);
}

/* ---- claiming ---- */

static void expect_answers(struct wt_connection *c, const struct wt_wire_message *m, size_t count)
{
    c->is_pending = true;
    c->request = m->type;
    c->tag = m->tag;
    c->left = count;
    c->ended = 0;
    c->rc = 0;
}

static int judge_claim(struct wt_server *s, struct wt_connection *c,
                       const struct wt_wire_message *m, struct wt_table_request *ret_request,
                       struct wt_error *err)
{
    struct wt_policy_who who = {0};
    int64_t hold_ns = m->u.claim.hold_ns;
    uint32_t job = m->u.claim.job;
    int rc = check_knob(s, m->u.claim.device, m->u.claim.knob, err);
    if (rc == 0 &&
        (m->u.claim.value < 0 || m->u.claim.value > VALUE_MAX || hold_ns < 0 || hold_ns > HOLD_MAX))
        rc = wt_fail(err, WT_E_RANGE, "a value or a time out of all range");
    if (rc == 0 && s->is_stopping)
        rc = wt_fail(err, WT_E_STATE, "wattuned is being stopped");
    if (rc == 0)
        rc = find_who(s, c, job, &who, err);
    struct wt_policy_ask ask = {.device = m->u.claim.device,
                                .id = rc == 0 ? s->ids[m->u.claim.device] : "",
                                .knob = (enum wt_knob)m->u.claim.knob,
                                .value = m->u.claim.value,
                                .hold_ns = hold_ns};
    if (rc == 0)
        rc = wt_policy_judge(s->policy, &who, &ask, &hold_ns, err);
    if (rc == 0 && !who.is_trusted &&
        wt_table_count_of(s->table, who.uid) >= wt_policy_limits(s->policy).claims)
        rc = wt_policy_fail_claims(s->policy, who.uid, err);
    if (rc < 0)
        return rc;
    *ret_request = (struct wt_table_request){.key = {.holder = c->id, .job = job},
                                             .owner = c->peer.owner,
                                             .token = c->token,
                                             .device = ask.device,
                                             .knob = ask.knob,
                                             .value = ask.value,
                                             .deadline_ns = hold_ns ? boot_now_ns() + hold_ns : 0,
                                             .waiter = c->id};
    ret_request->owner.uid = who.uid;
    return 0;
}

static void on_claim(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err = {0};
    struct wt_table_request request;
    int rc = judge_claim(s, c, m, &request, &err);
    if (rc == 0) {
        expect_answers(c, m, 1);
        rc = wt_table_claim(s->table, &request, &err);
        s->has_unwatched |= request.key.job != 0;
        if (rc == 0)
            return;
        c->is_pending = false;
    }
    const char *device = m->u.claim.device < s->device_count ? s->ids[m->u.claim.device] : NULL;
    enum wt_knob knob =
        m->u.claim.knob < WT_KNOB_COUNT ? (enum wt_knob)m->u.claim.knob : (enum wt_knob)0;
    wt_audit_write(s->audit, &(struct wt_audit_line){.event = "claim",
                                                     .who = &c->peer.owner,
                                                     .job = m->u.claim.job,
                                                     .device = device,
                                                     .knob = knob,
                                                     .requested = &m->u.claim.value,
                                                     .rc = rc,
                                                     .why = err.text});
    refuse(s, c, m, &err);
}

/* His own claims, or a job's when he may speak for it. */
static int find_key(struct wt_server *s, struct wt_connection *c, uint32_t job,
                    struct wt_table_key *ret_key, struct wt_error *err)
{
    struct wt_policy_who who;
    *ret_key = (struct wt_table_key){.holder = c->id, .job = job};
    return job ? find_who(s, c, job, &who, err) : 0;
}

/* Said once, where something was held. */
static int say_abandoned(struct wt_connection *c, struct wt_error *err)
{
    if (!c->is_abandoned)
        return 0;
    c->is_abandoned = false;
    *err = c->abandoned;
    return err->code;
}

static void on_release(struct wt_server *s, struct wt_connection *c,
                       const struct wt_wire_message *m)
{
    struct wt_error err = {0}, lost;
    struct wt_table_key key;
    int rc = check_knob(s, m->u.release.device, m->u.release.knob, &err);
    if (rc == 0)
        rc = find_key(s, c, m->u.release.job, &key, &err);
    if (rc == 0) {
        expect_answers(c, m, 1);
        rc = wt_table_release(s->table, &key, m->u.release.device, (enum wt_knob)m->u.release.knob,
                              c->id, &err);
        if (rc == 0)
            return;
        c->is_pending = false;
        if (rc == WT_E_NOTFOUND && say_abandoned(c, &lost) < 0)
            err = lost;
    }
    refuse(s, c, m, &err);
}

static void restore_all(struct wt_server *s, struct wt_connection *c,
                        const struct wt_wire_message *m, const struct wt_table_key *key)
{
    expect_answers(c, m, 0);
    c->left = wt_table_release_all(s->table, key, c->id);
    struct wt_error lost;
    if (say_abandoned(c, &lost) < 0) {
        c->rc = lost.code;
        c->err = lost;
    }
    if (c->left) {
        wt_table_step_due(s->table);
        return;
    }
    if (c->rc < 0)
        wt_connection_fail(s, c, m->tag, &c->err);
    else
        done(s, c, m->tag, 0);
}

static void on_restore(struct wt_server *s, struct wt_connection *c,
                       const struct wt_wire_message *m)
{
    struct wt_error err = {0};
    struct wt_table_key key;
    if (find_key(s, c, m->u.restore.job, &key, &err) < 0)
        refuse(s, c, m, &err);
    else
        restore_all(s, c, m, &key);
}

/* ---- Slurm ---- */

/* Slurm gives a device to one job: who had it before and has left no trace has lost its epilog (a
 * slurmd that was killed just then). Jobs that share a device have traces, or none has begun. */
static void end_former(struct wt_server *s, const struct wt_allocation *next)
{
    for (size_t i = 0; i < s->allocations->count; i++) {
        struct wt_allocation a = s->allocations->list[i];
        if (a.job == next->job || !(a.devices & next->devices) || wt_job_has_trace(s->ctx, a.job))
            continue;
        struct wt_table_key key = {.holder = WT_NO_HOLDER, .job = a.job};
        char why[64];
        wt_text(why, sizeof(why), "its devices are job %u's now", next->job);
        wt_audit_write(s->audit,
                       &(struct wt_audit_line){.event = "job-end", .job = a.job, .why = why});
        wt_allocations_remove(s->allocations, a.job, (const char(*)[96])s->ids, s->device_count);
        if (wt_table_release_all(s->table, &key, 0))
            wt_table_step_due(s->table);
        i--;
    }
}

static void on_job_begin(struct wt_server *s, struct wt_connection *c,
                         const struct wt_wire_message *m)
{
    struct wt_error err = {0};
    struct wt_allocation a = {.job = m->u.job_begin.job,
                              .uid = m->u.job_begin.uid,
                              .devices = m->u.job_begin.devices,
                              .begun_ns = s->now_ns};
    uint64_t known = s->device_count < 64 ? (UINT64_C(1) << s->device_count) - 1 : UINT64_MAX;
    int rc = 0;
    if (a.job == 0 || (a.devices & ~known))
        rc = wt_fail(&err, WT_E_RANGE, "job %u with devices that are not there", a.job);
    if (rc == 0) {
        end_former(s, &a);
        rc = wt_allocations_set(s->allocations, &a, (const char(*)[96])s->ids, s->device_count,
                                &err);
    }
    wt_audit_write(
        s->audit,
        &(struct wt_audit_line){
            .event = "job-begin", .who = &c->peer.owner, .job = a.job, .rc = rc, .why = err.text});
    if (rc < 0)
        refuse(s, c, m, &err);
    else
        done(s, c, m->tag, 0);
}

static void on_job_end(struct wt_server *s, struct wt_connection *c,
                       const struct wt_wire_message *m)
{
    struct wt_table_key key = {.holder = c->id, .job = m->u.job_end.job};
    struct wt_error err = {0};
    if (key.job == 0) {
        wt_fail(&err, WT_E_RANGE, "job 0 is none");
        refuse(s, c, m, &err);
        return;
    }
    wt_allocations_remove(s->allocations, key.job, (const char(*)[96])s->ids, s->device_count);
    wt_audit_write(s->audit, &(struct wt_audit_line){
                                 .event = "job-end", .who = &c->peer.owner, .job = key.job});
    restore_all(s, c, m, &key);
}

/* ---- who may send what ---- */

enum right {
    NOBODY = 0,
    ANYBODY, /* even before hello */
    GREETED,
    JUDGED, /* greeted; the policy decides inside */
    OWNER,  /* greeted; only his own claims can be named */
    ADMIN,  /* root, or our own user */
};

static const struct {
    enum right right;
    void (*fn)(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m);
} handlers[WT_WIRE_REQUESTS] = {
    [WT_WIRE_HELLO] = {ANYBODY, on_hello},       [WT_WIRE_DEVICE] = {GREETED, on_device},
    [WT_WIRE_KNOB] = {GREETED, on_knob},         [WT_WIRE_CLAIM] = {JUDGED, on_claim},
    [WT_WIRE_RELEASE] = {OWNER, on_release},     [WT_WIRE_RESTORE] = {OWNER, on_restore},
    [WT_WIRE_STATUS] = {GREETED, on_status},     [WT_WIRE_PING] = {GREETED, on_ping},
    [WT_WIRE_JOB_BEGIN] = {ADMIN, on_job_begin}, [WT_WIRE_JOB_END] = {ADMIN, on_job_end},
};

void wt_handle(struct wt_server *s, struct wt_connection *c, const struct wt_wire_message *m)
{
    struct wt_error err;
    enum right right = m->type < WT_WIRE_REQUESTS ? handlers[m->type].right : NOBODY;
    if (right == NOBODY) {
        wt_fail(&err, WT_E_UNSUPPORTED, "\"%s\" is no request", wt_wire_name(m->type));
    } else if (right == ANYBODY ? c->has_greeted : !c->has_greeted) {
        wt_fail(&err, WT_E_STATE, "\"%s\" %s", wt_wire_name(m->type),
                right == ANYBODY ? "was said before" : "before \"hello\"");
    } else if (right == ADMIN && !wt_server_is_trusted(s, c->peer.uid)) {
        wt_fail(&err, WT_E_DENIED, "\"%s\" is for root", wt_wire_name(m->type));
        wt_audit_write(s->audit, &(struct wt_audit_line){.event = wt_wire_name(m->type),
                                                         .who = &c->peer.owner,
                                                         .rc = WT_E_DENIED,
                                                         .why = err.text});
        refuse(s, c, m, &err);
        return;
    } else {
        handlers[m->type].fn(s, c, m);
        return;
    }
    refuse(s, c, m, &err);
    c->is_closing = true;
}

/* ---- answers of the table ---- */

static void audit_answer(struct wt_server *s, uint64_t waiter, const struct wt_table_answer *a)
{
    static const char *const names[] = {[WT_TABLE_CLAIMED] = "claim",
                                        [WT_TABLE_ENDED] = "release",
                                        [WT_TABLE_ABANDONED] = "abandon",
                                        [WT_TABLE_CAPPED] = "cap",
                                        [WT_TABLE_RESUMED] = "resume"};
    bool is_own = !waiter && a->event == WT_TABLE_ENDED; /* by a death, a deadline, a restart */
    wt_audit_write(s->audit, &(struct wt_audit_line){.event = is_own ? "end" : names[a->event],
                                                     .who = &a->owner,
                                                     .job = a->job,
                                                     .device = s->ids[a->device],
                                                     .knob = a->knob,
                                                     .found = &a->found,
                                                     .requested = &a->value,
                                                     .enforced = &a->enforced,
                                                     .rc = a->rc,
                                                     .why = a->err.text});
}

static void send_claimed(struct wt_server *s, struct wt_connection *c,
                         const struct wt_table_answer *a)
{
    struct wt_wire_message ok = {.type = WT_WIRE_CLAIM_OK, .tag = c->tag};
    ok.u.claim_ok.found = a->found;
    ok.u.claim_ok.effective = a->effective;
    ok.u.claim_ok.enforced = a->enforced;
    ok.u.claim_ok.is_covered = a->is_covered;
    if (a->deadline_ns) {
        int64_t left_ns = a->deadline_ns - boot_now_ns();
        ok.u.claim_ok.hold_ns = left_ns > 1 ? left_ns : 1;
    }
    wt_connection_send(s, c, &ok);
}

void wt_handle_answer(void *data, uint64_t waiter, const struct wt_table_answer *a)
{
    struct wt_server *s = data;
    struct wt_connection *c = waiter ? wt_connection_find(s, waiter) : NULL;
    audit_answer(s, waiter, a);
    if (a->event == WT_TABLE_ABANDONED) {
        struct wt_connection *holder = a->holder ? wt_connection_find(s, a->holder) : NULL;
        if (holder && !holder->is_abandoned) {
            holder->is_abandoned = true;
            holder->abandoned = a->err;
        }
        return;
    }
    if (!waiter && a->rc < 0)
        wt_log(s->ctx, WT_LOG_WARN, "daemon", "%s", a->err.text);
    if (!c || !c->is_pending || !c->left)
        return; /* hung up meanwhile */
    if (a->rc < 0 && c->rc == 0) {
        c->rc = a->rc;
        c->err = a->err;
        c->err.code = a->rc;
    }
    c->ended += a->rc == 0;
    if (--c->left)
        return;
    if (c->rc < 0)
        wt_connection_fail(s, c, c->tag, &c->err);
    else if (c->request == WT_WIRE_CLAIM)
        send_claimed(s, c, a);
    else
        done(s, c, c->tag, c->ended);
}
