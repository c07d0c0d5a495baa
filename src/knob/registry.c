/* registry: the table of knobs. */

#include "knob/knob.h"

static const struct wt_knob_ops *const rows[] = {
    &wt_nvml_knobs[0],
    &wt_nvml_knobs[1],
    &wt_nvml_knobs[2],
};

static int find(struct wt_devices *devices, size_t i, enum wt_knob knob,
                const struct wt_knob_ops **ret_ops, struct wt_error *err)
{
    const char *name = wt_knob_name(knob);
    struct wt_source *source;
    size_t k;
    if (!wt_devices_locate(devices, i, &source, &k))
        return wt_fail(err, WT_E_NOTFOUND, "there is no device %zu", i);
    const struct wt_device_info *info = &source->devices[k];
    if (!name)
        return wt_fail(err, WT_E_UNSUPPORTED, "there is no knob %d", (int)knob);
    if (info->is_part) {
        int rc = wt_fail(err, WT_E_UNSUPPORTED, "%s is a part of %s, and %s holds for all of it",
                         info->id, info->part_of, name);
        wt_fix(err, "set it on %s", info->part_of);
        return rc;
    }
    for (size_t r = 0; r < WT_COUNTOF(rows); r++)
        if (rows[r]->knob == knob &&
            (rows[r]->source ? rows[r]->source == source->ops : rows[r]->kind == info->kind)) {
            *ret_ops = rows[r];
            return 0;
        }
    return wt_fail(err, WT_E_UNSUPPORTED, "%s has no knob \"%s\"", info->id, name);
}

int wt_devices_knob(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    struct wt_knob_info *ret_info, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    int rc = find(devices, i, knob, &ops, err);
    return rc < 0 ? rc : ops->describe(devices, i, knob, ret_info, err);
}

int wt_knob_snapshot(struct wt_devices *devices, size_t i, enum wt_knob knob,
                     struct wt_knob_found *ret_found, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    int rc = find(devices, i, knob, &ops, err);
    return rc < 0 ? rc : ops->snapshot(devices, i, knob, ret_found, err);
}

int wt_knob_set(struct wt_devices *devices, size_t i, enum wt_knob knob, int64_t value,
                int64_t *ret_enforced, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    int64_t enforced;
    int rc = find(devices, i, knob, &ops, err);
    if (rc == 0)
        rc = ops->set(devices, i, knob, value, &enforced, err);
    if (rc == 0 && ret_enforced)
        *ret_enforced = enforced;
    return rc;
}

int wt_knob_restore(struct wt_devices *devices, size_t i, enum wt_knob knob,
                    const struct wt_knob_found *found, struct wt_error *err)
{
    const struct wt_knob_ops *ops;
    int rc = find(devices, i, knob, &ops, err);
    return rc < 0 ? rc : ops->restore(devices, i, knob, found, err);
}
