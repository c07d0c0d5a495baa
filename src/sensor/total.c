/* total: which devices make up a node's total, so that each joule is counted once.
 *
 * - A part (a core domain, psys, a MIG instance) never counts: its whole does.
 * - Where the CPUs are measured, the node is the sum of what is measured: CPUs, memory, GPUs. A
 *   meter of the whole node then stands beside the sum; what it shows more is the rest of the node.
 * - Where they are not, but a meter sees the whole node, the meter counts alone.
 * - A modeled CPU or memory counts only where nothing is measured. A modeled GPU always does: what
 *   is being run runs there, and a total without it would mislead more than one that is modeled. */
#include "sensor/sensor.h"

static bool can_measure(const struct wt_device_info *info)
{
    return (info->can & (WT_CAN_ENERGY | WT_CAN_POWER)) != 0;
}

void wt_total_choose(struct wt_device_info *const *infos, size_t count)
{
    bool has_cpu = false, has_measured = false;
    size_t meter = count;
    for (size_t i = 0; i < count; i++) {
        const struct wt_device_info *info = infos[i];
        if (info->is_part || info->is_modeled || !can_measure(info))
            continue;
        has_cpu |= info->kind == WT_DEVICE_CPU;
        has_measured |= info->kind != WT_DEVICE_NODE;
        if (info->kind == WT_DEVICE_NODE && meter == count)
            meter = i;
    }
    bool is_metered = meter < count && !has_cpu;
    for (size_t i = 0; i < count; i++) {
        struct wt_device_info *info = infos[i];
        if (info->is_part)
            info->is_counted = false;
        else if (is_metered)
            info->is_counted = i == meter;
        else if (info->is_modeled)
            info->is_counted = info->kind == WT_DEVICE_GPU || !has_measured;
        else
            info->is_counted = info->kind != WT_DEVICE_NODE;
    }
}
