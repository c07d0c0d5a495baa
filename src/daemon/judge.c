/* judge: what a policy says of one wish. One rule has to allow the whole of it: who, device, knob,
 * value and time. The site's cap stands above every rule and above root. */
#include "base/base.h"
#include "daemon/rules.h"
#include "lease/lease.h"

#include <string.h>

static bool is_among(const struct wt_policy_devices *d, uint32_t device, const char *id)
{
    if (d->is_all || (device < WT_POLICY_INDEXES && (d->indexes >> device & 1)))
        return true;
    for (size_t i = 0; i < d->id_count; i++)
        if (strcmp(d->ids[i], id) == 0)
            return true;
    return false;
}

static bool is_in_group(const struct wt_policy_who *who, uint32_t gid)
{
    if (who->gid == gid)
        return true;
    for (size_t i = 0; i < who->group_count; i++)
        if (who->groups[i] == gid)
            return true;
    return false;
}

static bool has_bit(uint64_t bits, uint32_t device)
{
    return device < 64 && (bits >> device & 1);
}

/* Whether the rule speaks of this person, device and knob. */
static bool is_about(const struct wt_policy_rule *r, const struct wt_policy_who *who,
                     const struct wt_policy_ask *ask)
{
    bool is_him = false;
    switch (r->who) {
    case WT_POLICY_USER:
        is_him = r->is_known && who->uid == r->id;
        break;
    case WT_POLICY_GROUP:
        is_him = r->is_known && is_in_group(who, r->id);
        break;
    case WT_POLICY_SLURM:
        is_him = has_bit(who->job_devices, ask->device);
        break;
    case WT_POLICY_NODE_OWNER:
        is_him = has_bit(who->node_devices, ask->device);
        break;
    case WT_POLICY_EVERYONE:
        is_him = true;
        break;
    }
    return is_him && (r->knobs >> ask->knob & 1) && is_among(&r->devices, ask->device, ask->id);
}

static bool has_rule_for(const struct wt_policy *policy, enum wt_policy_whom who)
{
    for (size_t i = 0; i < policy->rule_count; i++)
        if (policy->rules[i].who == who)
            return true;
    return false;
}

bool wt_policy_has_slurm(const struct wt_policy *policy)
{
    return has_rule_for(policy, WT_POLICY_SLURM);
}

bool wt_policy_has_nodes(const struct wt_policy *policy)
{
    return has_rule_for(policy, WT_POLICY_NODE_OWNER);
}

int64_t wt_policy_cap(const struct wt_policy *policy, uint32_t device, const char *id,
                      enum wt_knob knob)
{
    int64_t cap = INT64_MAX;
    for (size_t i = 0; i < policy->cap_count; i++)
        if (policy->caps[i].knob == knob && is_among(&policy->caps[i].devices, device, id) &&
            policy->caps[i].value < cap)
            cap = policy->caps[i].value;
    return cap;
}

/* 0 of a clock is not locked: above every bound. */
static int64_t height_of(enum wt_knob knob, int64_t value)
{
    return wt_lease_stricter(knob, value, INT64_MAX);
}

static int fail_no_rule(const struct wt_policy *policy, const struct wt_policy_who *who,
                        const struct wt_policy_ask *ask, struct wt_error *err)
{
    int rc = wt_fail(err, WT_E_DENIED, "%s of %s: no rule of %s lets user %u set it",
                     wt_knob_name(ask->knob), ask->id, policy->name, who->uid);
    wt_fix(err, "ask the administrator for a rule (wattune-policy(5))");
    return rc;
}

static int fail_cap(const struct wt_policy *policy, const struct wt_policy_ask *ask, int64_t cap,
                    struct wt_error *err)
{
    char value[48], most[48];
    wt_knob_value_text(most, sizeof(most), ask->knob, cap);
    int rc = wt_fail(err, WT_E_RANGE, "%s of %s: %s is above the site's cap of %s (%s)",
                     wt_knob_name(ask->knob), ask->id,
                     wt_knob_value_text(value, sizeof(value), ask->knob, ask->value), most,
                     policy->name);
    wt_fix(err, "ask for %s or less", most);
    return rc;
}

/* A rule speaks of it, but does not go so far. */
static int fail_bounds(const struct wt_policy *policy, const struct wt_policy_rule *r,
                       const struct wt_policy_ask *ask, bool is_value, struct wt_error *err)
{
    const char *name = wt_knob_name(ask->knob);
    char from[64] = "", to[64] = "", value[48];
    if (!is_value)
        return wt_fail(err, WT_E_DENIED, "%s of %s: %s:%u allows it for %g s at most, not %g s",
                       name, ask->id, policy->name, r->line, wt_s_from_ns(r->longest_ns),
                       wt_s_from_ns(ask->hold_ns));
    if (r->floor != INT64_MIN)
        wt_text(from, sizeof(from), " from %s",
                wt_knob_value_text(value, sizeof(value), ask->knob, r->floor));
    if (r->ceiling != INT64_MAX)
        wt_text(to, sizeof(to), " to %s",
                wt_knob_value_text(value, sizeof(value), ask->knob, r->ceiling));
    return wt_fail(err, WT_E_RANGE, "%s of %s: %s:%u allows it%s%s, not %s", name, ask->id,
                   policy->name, r->line, from, to,
                   wt_knob_value_text(value, sizeof(value), ask->knob, ask->value));
}

int wt_policy_fail_claims(const struct wt_policy *policy, uint32_t uid, struct wt_error *err)
{
    char by[160] = "";
    if (policy->limits.claims_line)
        wt_text(by, sizeof(by), " by %s:%u", policy->name, policy->limits.claims_line);
    int rc = wt_fail(err, WT_E_BUSY, "user %u holds %u claims, and no more are allowed%s", uid,
                     policy->limits.claims, by);
    wt_fix(err, "release one (`wattuned --status` names them), or ask the administrator for a "
                "higher `limit claims`");
    return rc;
}

int wt_policy_judge(const struct wt_policy *policy, const struct wt_policy_who *who,
                    const struct wt_policy_ask *ask, int64_t *ret_hold_ns, struct wt_error *err)
{
    int64_t cap = wt_policy_cap(policy, ask->device, ask->id, ask->knob);
    int64_t height = height_of(ask->knob, ask->value);
    const struct wt_policy_rule *nearest = NULL, *best = NULL;
    bool is_value = true;
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct wt_policy_rule *r = &policy->rules[i];
        if (!is_about(r, who, ask))
            continue;
        bool is_within = ask->value >= r->floor && height <= r->ceiling;
        bool is_short = !r->longest_ns || ask->hold_ns <= r->longest_ns;
        if (!is_within || !is_short) {
            if (!nearest || is_within) {
                nearest = r;
                is_value = !is_within;
            }
            continue;
        }
        /* Of several that allow it, the one that allows it longest. */
        if (!best || (best->longest_ns && (!r->longest_ns || r->longest_ns > best->longest_ns)))
            best = r;
    }
    if (!best && !who->is_trusted)
        return nearest ? fail_bounds(policy, nearest, ask, is_value, err)
                       : fail_no_rule(policy, who, ask, err);
    if (height > cap)
        return fail_cap(policy, ask, cap, err);
    int64_t longest_ns = who->is_trusted ? 0 : best->longest_ns;
    *ret_hold_ns = ask->hold_ns ? ask->hold_ns : longest_ns;
    return 0;
}

int wt_policy_bounds(const struct wt_policy *policy, const struct wt_policy_who *who,
                     const struct wt_policy_ask *ask, struct wt_policy_bounds *ret_bounds,
                     struct wt_error *err)
{
    struct wt_policy_bounds b = {.floor = INT64_MAX, .ceiling = INT64_MIN};
    bool is_any = false, is_endless = false;
    if (who->is_trusted) {
        b = (struct wt_policy_bounds){.floor = INT64_MIN, .ceiling = INT64_MAX};
        is_any = is_endless = true;
    }
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct wt_policy_rule *r = &policy->rules[i];
        if (!is_about(r, who, ask))
            continue;
        is_any = true;
        is_endless |= r->longest_ns == 0;
        b.floor = r->floor < b.floor ? r->floor : b.floor;
        b.ceiling = r->ceiling > b.ceiling ? r->ceiling : b.ceiling;
        b.hold_ns = r->longest_ns > b.hold_ns ? r->longest_ns : b.hold_ns;
    }
    if (!is_any)
        return fail_no_rule(policy, who, ask, err);
    if (is_endless)
        b.hold_ns = 0;
    int64_t cap = wt_policy_cap(policy, ask->device, ask->id, ask->knob);
    b.ceiling = cap < b.ceiling ? cap : b.ceiling;
    *ret_bounds = b;
    return 0;
}
