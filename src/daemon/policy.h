/* policy: who may set what on which device, how far, and for how long.
 *
 * A text file, one rule a line (wattune-policy(5)); what no rule allows is refused. Parsing and
 * judging are pure: names become ids through functions that the caller lends, devices and people
 * are what the caller says they are. */
#ifndef WT_DAEMON_POLICY_H
#define WT_DAEMON_POLICY_H

#include "wattune/types.h"

struct wt_error;
struct wt_policy;

#define WT_POLICY_MAX_BYTES (1u << 20)

/* Names to ids; true when there is one. NULL members know none. */
struct wt_policy_names {
    bool (*user)(void *data, const char *name, uint32_t *ret_uid);
    bool (*group)(void *data, const char *name, uint32_t *ret_gid);
    void *data;
};

/* name is for messages. Errors: WT_E_USAGE (names file and line and what was expected there),
 * WT_E_NOMEM. */
int wt_policy_parse(struct wt_policy **ret_policy, const char *name, const char *text, size_t size,
                    const struct wt_policy_names *names, struct wt_error *err);
/* The same from a file, which must be regular and writable by nobody but its owner, root or this
 * process's user; names are the system's. No such file is the empty policy: root alone may set.
 * Errors: besides, WT_E_DENIED, WT_E_FORMAT (too long, or no file), WT_E_IO. */
int wt_policy_load(struct wt_policy **ret_policy, const char *path, struct wt_error *err);
void wt_policy_free(struct wt_policy *policy);
/* Whether there was a file. */
bool wt_policy_is_there(const struct wt_policy *policy);
size_t wt_policy_rules(const struct wt_policy *policy);
size_t wt_policy_caps(const struct wt_policy *policy);
/* The i-th device that a rule or cap names by its id and that is not among these, and its line;
 * NULL past the end. */
const char *wt_policy_no_device(const struct wt_policy *policy, size_t i, const char (*ids)[96],
                                size_t count, unsigned *ret_line);
/* The i-th user or group that a rule names and nobody has, and its line; NULL past the end. */
const char *wt_policy_unknown(const struct wt_policy *policy, size_t i, unsigned *ret_line);

/* For each user, root apart. */
struct wt_policy_limits {
    uint32_t connections, claims;
    uint32_t rate;        /* requests a second; twice as many at once */
    unsigned claims_line; /* of the policy; 0: by default */
};
struct wt_policy_limits wt_policy_limits(const struct wt_policy *policy);
/* That he holds as many claims as he may: WT_E_BUSY, with the line that says so. */
int wt_policy_fail_claims(const struct wt_policy *policy, uint32_t uid, struct wt_error *err);

/* Whether any rule speaks of Slurm's jobs, or of owners of device nodes: else neither need be
 * looked for. */
bool wt_policy_has_slurm(const struct wt_policy *policy);
bool wt_policy_has_nodes(const struct wt_policy *policy);

/* Who asks, as the kernel says. */
struct wt_policy_who {
    uint32_t uid, gid;
    const uint32_t *groups;
    size_t group_count;
    bool is_trusted;       /* root, or the daemon's own user: every rule allows him */
    uint64_t job_devices;  /* a bit for each device of the Slurm job he is in, or acts for */
    uint64_t node_devices; /* and for each whose device node is his */
};

struct wt_policy_ask {
    uint32_t device; /* index */
    const char *id;
    enum wt_knob knob;
    int64_t value;
    int64_t hold_ns; /* 0: as long as it may */
};

/* 0, and how long at most (0: no end). Errors, with the reason: WT_E_DENIED, WT_E_RANGE. */
int wt_policy_judge(const struct wt_policy *policy, const struct wt_policy_who *who,
                    const struct wt_policy_ask *ask, int64_t *ret_hold_ns, struct wt_error *err);
/* The widest that he may ask for there, whatever the value. Errors: WT_E_DENIED. */
struct wt_policy_bounds {
    int64_t floor, ceiling; /* INT64_MIN, INT64_MAX: none */
    int64_t hold_ns;        /* 0: no end */
};
int wt_policy_bounds(const struct wt_policy *policy, const struct wt_policy_who *who,
                     const struct wt_policy_ask *ask, struct wt_policy_bounds *ret_bounds,
                     struct wt_error *err);
/* The site's cap; INT64_MAX: none. */
int64_t wt_policy_cap(const struct wt_policy *policy, uint32_t device, const char *id,
                      enum wt_knob knob);

#endif
