/* registry: the table of knobs. */
#include <string.h>

#include "knob/knob.h"

static const struct wt_knob_ops *const rows[] = {
    &wt_nvml_knobs[0],     &wt_nvml_knobs[1],    &wt_nvml_knobs[2],      &wt_amdgpu_knobs[0],
    &wt_amdgpu_knobs[1],   &wt_amdgpu_knobs[2],  &wt_intel_gpu_knobs[0], &wt_powercap_knobs[0],
    &wt_powercap_knobs[1], &wt_cpufreq_knobs[0], &wt_cpufreq_knobs[1],   &wt_cpufreq_knobs[2],
};

static int find(struct wt_devices *devices, size_t i, enum wt_knob knob, struct wt_knob_at *ret_at,
                const struct wt_knob_ops **ret_ops, struct wt_error *err)
{
    const char *name = wt_knob_name(knob);
    const struct wt_device_info *info = wt_devices_info(devices, i);
    if (!info)
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", i);
    if (!name)
        return wt_fail(err, WT_E_UNSUPPORTED, "there is no knob %d", (int)knob);
    if (info->is_part) {
        int rc = wt_fail(err, WT_E_UNSUPPORTED, "%s is a part of %s, and %s holds for all of it",
                         info->id, info->part_of, name);
        wt_fix(err, "set it on %s", info->part_of);
        return rc;
    }
    *ret_at = (struct wt_knob_at){devices, i, wt_devices_ctx(devices), info};
    for (size_t r = 0; r < WT_COUNTOF(rows); r++)
        if (rows[r]->knob == knob && rows[r]->has(info) &&
            !(rows[r]->is_files && info->is_emulated && !*ret_at->ctx->sysroot)) {
            *ret_ops = rows[r];
            return 0;
        }
    return wt_fail(err, WT_E_UNSUPPORTED, "%s has no knob \"%s\"", info->id, name);
}

bool wt_knob_is_known(struct wt_devices *devices, size_t i, enum wt_knob knob)
{
    const struct wt_knob_ops *ops;
    struct wt_knob_at at;
    return find(devices, i, knob, &at, &ops, NULL) == 0;
}

int wt_devices_knob(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    struct wt_knob_info *ret_info, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    struct wt_knob_at at;
    struct wt_knob_info info = {.knob = knob};
    int rc = find(devices, i, knob, &at, &ops, err);
    if (rc == 0)
        rc = ops->describe(&at, knob, &info, err);
    if (rc == 0)
        *ret_info = info;
    return rc;
}

int wt_knob_snapshot(struct wt_devices *devices, size_t i, enum wt_knob knob,
                     struct wt_knob_found *ret_found, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    struct wt_knob_at at;
    int rc = find(devices, i, knob, &at, &ops, err);
    return rc < 0 ? rc : ops->snapshot(&at, knob, ret_found, err);
}

int wt_knob_set(struct wt_devices *devices, size_t i, enum wt_knob knob, int64_t value,
                int64_t *ret_enforced, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    struct wt_knob_at at;
    int64_t enforced;
    int rc = find(devices, i, knob, &at, &ops, err);
    if (rc == 0)
        rc = ops->set(&at, knob, value, &enforced, err);
    if (rc == 0 && ret_enforced)
        *ret_enforced = enforced;
    return rc;
}

int wt_knob_restore(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    const struct wt_knob_found *found, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    struct wt_knob_at at;
    int rc = find(devices, i, knob, &at, &ops, err);
    return rc < 0 ? rc : ops->restore(&at, knob, found, err);
}

bool wt_knob_takes(const struct wt_knob_info *info, int64_t value)
{
    if (info->is_lockable && value == 0)
        return true; /* unlocked */
    if (info->values && value < WT_EPP_RAW)
        return value > 0 && value < 64 && (info->values >> value & 1);
    if (info->values)
        return value <= info->max;
    return value >= info->min && value <= info->max;
}

const char *wt_knob_range_text(char *buf, size_t size, const struct wt_knob_info *info)
{
    char value[48];
    wt_text(buf, size, "%s", "");
    if (!info->values) {
        const char *unit = wt_knob_unit(info->knob);
        if (info->min == info->max)
            return wt_text(buf, size, "nothing but %.10g %s", wt_knob_to_user(info->min), unit);
        return wt_text(buf, size, "%.10g to %.10g %s", wt_knob_to_user(info->min),
                       wt_knob_to_user(info->max), unit);
    }
    for (int64_t v = 1; v < 64; v++)
        if (info->values >> v & 1) {
            size_t used = strlen(buf);
            wt_text(buf + used, size - used, "%s%s", used ? ", " : "",
                    wt_knob_value_text(value, sizeof(value), info->knob, v));
        }
    size_t used = strlen(buf);
    if (info->max >= WT_EPP_RAW)
        wt_text(buf + used, size - used, "%s0 to 255", used ? " or " : "");
    return buf;
}
