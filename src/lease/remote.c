/* remote: see remote.h. And what wattuned lets this process set, for those that ask before. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lease/client.h"
#include "lease/remote.h"

struct wt_remote {
    struct wt_ctx *ctx;
    struct wt_lease_ops ops;
    struct wt_client *client;
    int64_t deadline_ns; /* CLOCK_BOOTTIME; 0: none */
    size_t held;         /* claims made since the last restore: 0 means nothing can be left */
};

static int64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * WT_NS_PER_S + ts.tv_nsec;
}

int wt_remote_open(struct wt_remote **ret_remote, struct wt_ctx *ctx,
                   const struct wt_lease_ops *ops, const char *socket, int64_t deadline_ns,
                   struct wt_error *err)
{
    struct wt_remote *r = calloc(1, sizeof(*r));
    if (!r)
        return wt_fail(err, WT_E_NOMEM, "no memory for a lease");
    r->ctx = ctx;
    r->ops = *ops;
    r->deadline_ns = deadline_ns;
    int rc = wt_client_open(&r->client, socket, err);
    bool is_emulated = false;
    for (size_t i = 0; rc == 0 && i < ops->count(ops->data); i++) {
        bool is_one = false;
        ops->id(ops->data, i, &is_one);
        is_emulated |= is_one;
    }
    if (rc == 0 && ops->count(ops->data) && is_emulated != wt_client_is_emulated(r->client)) {
        rc = wt_fail(err, WT_E_MIXED, "%s: that wattuned serves %s devices, and these are %s",
                     socket, wt_client_is_emulated(r->client) ? "emulated" : "real",
                     is_emulated ? "emulated" : "real");
        wt_fix(err, "unset WATTUNE_SOCKET");
    }
    if (rc < 0) {
        wt_remote_free(r);
        return rc;
    }
    *ret_remote = r;
    return 0;
}

void wt_remote_free(struct wt_remote *r)
{
    if (!r)
        return;
    wt_client_close(r->client);
    free(r);
}

int wt_remote_set(struct wt_remote *r, size_t device, enum wt_knob knob, int64_t value,
                  struct wt_remote_claim *ret_claim, struct wt_error *err)
{
    struct wt_wire_message m = {.type = WT_WIRE_CLAIM};
    bool is_emulated;
    const char *id = r->ops.id(r->ops.data, device, &is_emulated);
    m.u.claim.knob = (uint32_t)knob;
    m.u.claim.value = value;
    if (r->deadline_ns) {
        m.u.claim.hold_ns = r->deadline_ns - boot_now_ns();
        if (m.u.claim.hold_ns <= 0)
            return wt_fail(err, WT_E_STATE, "%s of %s: the time of this lease is over",
                           wt_knob_name(knob), id);
    }
    int rc = wt_client_find(r->client, id, &m.u.claim.device, err);
    if (rc == 0)
        rc = wt_client_ask(r->client, &m, &m, err);
    if (rc == 0 && m.type != WT_WIRE_CLAIM_OK)
        rc = wt_fail(err, WT_E_FORMAT, "wattuned answers a claim with %s", wt_wire_name(m.type));
    /* After no answer it may be held all the same. */
    r->held += rc == 0 || rc == WT_E_TIMEOUT || rc == WT_E_STATE || rc == WT_E_GONE;
    if (rc < 0)
        return rc;
    char stricter[48];
    if (m.u.claim_ok.is_covered)
        wt_log(r->ctx, WT_LOG_WARN, "lease",
               "%s of %s: somebody holds the stricter %s, which goes first", wt_knob_name(knob), id,
               wt_knob_value_text(stricter, sizeof(stricter), knob, m.u.claim_ok.effective));
    *ret_claim = (struct wt_remote_claim){.effective = m.u.claim_ok.effective,
                                          .enforced = m.u.claim_ok.enforced,
                                          .hold_ns = m.u.claim_ok.hold_ns};
    return 0;
}

bool wt_remote_has_stopped(struct wt_remote *r, int64_t wait_ns)
{
    if (!r)
        return false;
    if (!wt_client_has_stopped(r->client))
        wt_client_listen(r->client, wait_ns);
    return wt_client_has_stopped(r->client);
}

int wt_remote_restore(struct wt_remote *r, struct wt_error *err)
{
    struct wt_wire_message m = {.type = WT_WIRE_RESTORE};
    if (!r->held)
        return 0;
    /* Heard already, it is not waited for: a next one knows nothing of our claims. */
    int rc = wt_client_has_stopped(r->client) ? WT_E_GONE : wt_client_ask(r->client, &m, &m, err);
    if (rc < 0 && wt_client_has_stopped(r->client)) {
        wt_log(r->ctx, WT_LOG_WARN, "lease", "wattuned was stopped and has put everything back");
        rc = 0;
    }
    if (rc == 0 || rc == WT_E_CHANGED)
        r->held = 0;
    return rc;
}

/* ---- what it lets one set ---- */

static int open_client(struct wt_ctx *ctx, struct wt_devices *devices, struct wt_client **ret)
{
    char path[4096];
    bool is_emulated = wt_devices_count(devices) && wt_devices_info(devices, 0)->is_emulated;
    return wt_client_path(ctx, is_emulated, path, sizeof(path)) ? wt_client_open(ret, path, NULL)
                                                                : WT_E_NOTFOUND;
}

/* False: it does not answer, or does not know the device. */
static bool ask(struct wt_client *client, const char *device_id, enum wt_knob knob,
                struct wt_wire_message *m)
{
    m->type = WT_WIRE_KNOB;
    m->u.knob.knob = (uint32_t)knob;
    return wt_client_find(client, device_id, &m->u.knob.device, NULL) == 0 &&
           wt_client_ask(client, m, m, NULL) == 0 && m->type == WT_WIRE_KNOB_OK;
}

int wt_lease_knob(struct wt_ctx *ctx, struct wt_devices *devices, size_t device, enum wt_knob knob,
                  struct wt_knob_info *ret_info, struct wt_error *err)
{
    struct wt_client *client = NULL;
    struct wt_wire_message m = {0};
    int rc = wt_devices_knob(devices, device, knob, ret_info, err);
    if (rc < 0 || open_client(ctx, devices, &client) < 0)
        return rc;
    if (ask(client, wt_devices_info(devices, device)->id, knob, &m)) {
        ret_info->is_settable = m.u.knob_ok.is_allowed;
        if (m.u.knob_ok.is_allowed) {
            ret_info->min = m.u.knob_ok.floor;
            ret_info->max = m.u.knob_ok.ceiling;
        } else {
            wt_text(ret_info->why_not, sizeof(ret_info->why_not), "%s", m.u.knob_ok.why_not);
            wt_text(ret_info->fix, sizeof(ret_info->fix),
                    "ask for a rule in wattuned's policy (wattune-policy(5))");
        }
    }
    wt_client_close(client);
    return 0;
}

/* The knob a line of a survey is about; 0: none. */
static enum wt_knob knob_of(struct wt_devices *devices, const struct wt_finding *f)
{
    static const struct {
        const char *what;
        enum wt_knob knob;
    } words[] = {
        {"power limit", WT_KNOB_POWER},      {"power limit", WT_KNOB_CPU_POWER},
        {"power limit", WT_KNOB_DRAM_POWER}, {"SM clock", WT_KNOB_CLOCK},
        {"GPU clock", WT_KNOB_CLOCK},        {"memory clock", WT_KNOB_MEMCLOCK},
        {"top frequency", WT_KNOB_CPU_FREQ}, {"governor", WT_KNOB_GOVERNOR},
        {"preference", WT_KNOB_EPP},
    };
    for (size_t d = 0; d < wt_devices_count(devices); d++) {
        const struct wt_device_info *info = wt_devices_info(devices, d);
        for (size_t i = 0; strcmp(info->id, f->device) == 0 && i < WT_COUNTOF(words); i++)
            if (strcmp(f->what, words[i].what) == 0 && wt_knob_kind(words[i].knob) == info->kind)
                return words[i].knob;
    }
    return (enum wt_knob)0;
}

static void ask_about(struct wt_client *client, struct wt_finding *f, enum wt_knob knob)
{
    struct wt_wire_message m = {0};
    char floor[48], ceiling[48];
    if (!ask(client, f->device, knob, &m))
        return;
    if (!m.u.knob_ok.is_allowed) {
        wt_text(f->value, sizeof(f->value), "%s", m.u.knob_ok.why_not);
        wt_text(f->fix, sizeof(f->fix), "ask for a rule in wattuned's policy (wattune-policy(5))");
        return;
    }
    f->kind = WT_FINDING_OK;
    f->fix[0] = '\0';
    if (wt_knob_is_named(knob))
        wt_text(f->value, sizeof(f->value), "settable by wattuned");
    else
        wt_text(f->value, sizeof(f->value), "%s to %s, settable by wattuned",
                wt_knob_value_typed(floor, sizeof(floor), knob, m.u.knob_ok.floor),
                wt_knob_value_text(ceiling, sizeof(ceiling), knob, m.u.knob_ok.ceiling));
}

void wt_lease_survey(struct wt_ctx *ctx, struct wt_devices *devices, struct wt_finding *findings,
                     size_t count)
{
    struct wt_client *client = NULL;
    if (open_client(ctx, devices, &client) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (strcmp(findings[i].source, "knob") == 0 && findings[i].kind == WT_FINDING_DENIED &&
            knob_of(devices, &findings[i]))
            ask_about(client, &findings[i], knob_of(devices, &findings[i]));
    wt_client_close(client);
}
