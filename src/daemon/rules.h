/* rules: a policy as it lies in memory, shared by its reader (policy.c) and its judge (judge.c). */
#ifndef WT_DAEMON_RULES_H
#define WT_DAEMON_RULES_H

#include "daemon/policy.h"

#define WT_POLICY_IDS     16 /* of one rule */
#define WT_POLICY_INDEXES 64

enum wt_policy_whom {
    WT_POLICY_USER,
    WT_POLICY_GROUP,
    WT_POLICY_SLURM,
    WT_POLICY_NODE_OWNER,
    WT_POLICY_EVERYONE
};

struct wt_policy_devices {
    bool is_all;
    uint64_t indexes;
    char ids[WT_POLICY_IDS][96];
    size_t id_count;
};

struct wt_policy_rule {
    unsigned line;
    enum wt_policy_whom who;
    char name[64]; /* of WT_POLICY_USER and WT_POLICY_GROUP */
    uint32_t id;
    bool is_known;
    struct wt_policy_devices devices;
    uint32_t knobs; /* a bit for each id */
    int64_t floor, ceiling, longest_ns;
};

struct wt_policy_cap {
    unsigned line;
    struct wt_policy_devices devices;
    enum wt_knob knob;
    int64_t value;
};

struct wt_policy {
    char name[128]; /* the file's, for reasons */
    bool is_there;  /* the file is */
    struct wt_policy_rule *rules;
    struct wt_policy_cap *caps;
    size_t rule_count, cap_count;
    struct wt_policy_limits limits;
};

#endif
