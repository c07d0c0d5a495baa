/* fuzz: the reader of policies, and the judge on what it read. A wish that is allowed must lie
 * within the bounds that are told, and under the cap. */
#include <stdlib.h>
#include <string.h>

#include "daemon/policy.h"
#include "fuzz.h"

#define NAME_MAX_HASH 4

static bool any_id(void *data, const char *name, uint32_t *ret_id)
{
    (void)data;
    *ret_id = (uint32_t)strlen(name) % NAME_MAX_HASH;
    return *name != 'x';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wt_policy_names names = {any_id, any_id, NULL};
    static const uint32_t groups[] = {2, 3};
    static const int64_t values[] = {0, 1, 100000, 150000, 999999999};
    struct wt_policy *policy = NULL;
    unsigned line;
    if (size > WT_POLICY_MAX_BYTES ||
        wt_policy_parse(&policy, "p", (const char *)data, size, &names, NULL) < 0)
        return 0;
    for (size_t i = 0; wt_policy_unknown(policy, i, &line); i++)
        if (line == 0)
            abort();
    for (uint32_t uid = 0; uid < 3; uid++)
        for (int k = 1; k < WT_KNOB_COUNT; k++)
            for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
                struct wt_policy_who who = {.uid = uid,
                                            .gid = 1,
                                            .groups = groups,
                                            .group_count = 2,
                                            .is_trusted = uid == 0,
                                            .job_devices = uid == 1,
                                            .node_devices = uid == 2};
                struct wt_policy_ask ask = {.id = "GPU-0",
                                            .knob = (enum wt_knob)k,
                                            .value = values[v],
                                            .hold_ns = (int64_t)(v * 1000000000u)};
                struct wt_policy_bounds b;
                int64_t hold_ns = -1;
                if (wt_policy_judge(policy, &who, &ask, &hold_ns, NULL) < 0)
                    continue;
                if (wt_policy_bounds(policy, &who, &ask, &b, NULL) < 0 || hold_ns < 0 ||
                    ask.value < b.floor || ask.value > b.ceiling ||
                    ask.value > wt_policy_cap(policy, 0, ask.id, ask.knob))
                    abort();
            }
    wt_policy_free(policy);
    return 0;
}
