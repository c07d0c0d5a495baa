/* total: which devices make up a node's total, so that each joule is counted once.
 *
 * - A part (a core domain, psys, a MIG instance) never counts: its whole does.
 * - Where the CPUs are measured, the node is the sum of what is measured: CPUs, memory, GPUs. A
 *   meter of the whole node then stands beside the sum; what it shows more is the rest of the node.
 * - Where they are not, but a meter sees the whole node, the meter counts alone. So it does where
 *   it is known to see GPUs that nothing else measures (a Cray's accelerators).
 * - A modeled CPU or memory counts only where nothing is measured. A modeled GPU always does: what
 *   is being run runs there, and a total without it would mislead more than one that is modeled. */
#include <string.h>

#include "sensor/sensor.h"

static bool can_measure(const struct wt_device_info *info)
{
    return (info->can & (WT_CAN_ENERGY | WT_CAN_POWER)) != 0;
}

/* Does the meter see GPUs, as parts of its own, that the sum would lack? */
static bool sees_more(struct wt_device_info *const *infos, size_t count,
                      const struct wt_device_info *meter)
{
    bool has_gpu_part = false, has_gpu = false;
    for (size_t i = 0; i < count; i++) {
        if (infos[i]->kind != WT_DEVICE_GPU || !can_measure(infos[i]))
            continue;
        has_gpu |= !infos[i]->is_part && !infos[i]->is_modeled;
        has_gpu_part |= infos[i]->is_part && strcmp(infos[i]->part_of, meter->id) == 0;
    }
    return has_gpu_part && !has_gpu;
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
    bool is_metered = meter < count && (!has_cpu || sees_more(infos, count, infos[meter]));
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
