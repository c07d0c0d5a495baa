/* total: which devices make up a node's total, so that each joule is counted once.
 *
 * - A part (a core domain, psys, a MIG instance) never counts: its whole does.
 * - Where the CPUs are measured, the node is the sum of what is measured: CPUs, memory, GPUs. A
 *   meter of the whole node then stands beside the sum; what it shows more is the rest of the node.
 * - Where they are not, but a meter sees the whole node, the meter counts alone.
 * - GPUs that a meter is known to see (a Cray's accelerators, the module of a Grace) and that are
 *   not measured by themselves would be in no sum: then this meter counts instead of what it
 *   contains. That of a node contains everything, that of a module the CPU and memory of its
 *   socket; of several modules each counts. GPUs that the user left out are not missed.
 * - A modeled CPU or memory counts only where nothing is measured. A modeled GPU always does: what
 *   is being run runs there, and a total without it would mislead more than one that is modeled. */
#include <string.h>

#include "sensor/sensor.h"

static bool is_measured(const struct wt_device_info *info)
{
    return !info->is_modeled && (info->can & (WT_CAN_ENERGY | WT_CAN_POWER));
}

static bool is_meter(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_NODE && !info->is_part && is_measured(info);
}

bool wt_total_is_module(const struct wt_device_info *info)
{
    return info->kind == WT_DEVICE_NODE && strncmp(info->id, "module-", strlen("module-")) == 0;
}

struct found {
    bool has_cpu, has_measured, has_module;
    size_t node;      /* the first meter of the whole node; SIZE_MAX: there is none */
    size_t node_gpus; /* the first that is known to see GPUs */
    size_t gpus, gpus_measured, accelerators;
};

static void look(struct wt_device_info *const *infos, size_t count, struct found *f)
{
    *f = (struct found){.node = SIZE_MAX, .node_gpus = SIZE_MAX};
    for (size_t i = 0; i < count; i++) {
        const struct wt_device_info *info = infos[i];
        bool is_gpu = info->kind == WT_DEVICE_GPU;
        f->gpus += is_gpu && !info->is_part;
        if (!is_measured(info))
            continue;
        if (is_meter(info) && wt_total_is_module(info)) {
            f->has_module = true;
        } else if (is_meter(info)) {
            if (f->node == SIZE_MAX)
                f->node = i;
            if (f->node_gpus == SIZE_MAX && info->has_gpu)
                f->node_gpus = i;
        } else if (!info->is_part) {
            f->has_measured = true;
            f->has_cpu |= info->kind == WT_DEVICE_CPU;
            f->gpus_measured += is_gpu;
        }
    }
    for (size_t i = 0; i < count && f->node_gpus != SIZE_MAX; i++)
        f->accelerators += infos[i]->kind == WT_DEVICE_GPU && infos[i]->is_part &&
                           is_measured(infos[i]) &&
                           strcmp(infos[i]->part_of, infos[f->node_gpus]->id) == 0;
}

/* Does a meter see GPUs that the sum of what is measured lacks? */
static bool lacks_gpus(const struct found *f, bool has_left_out)
{
    size_t wanted = f->gpus;
    if (f->node_gpus == SIZE_MAX && !f->has_module)
        return false;
    if (!has_left_out && wanted < f->accelerators)
        wanted = f->accelerators;
    if (!has_left_out && !wanted)
        wanted = 1;
    return f->gpus_measured < wanted;
}

/* Is there a module's meter of the socket that this processor or memory is of? */
static bool is_in_module(struct wt_device_info *const *infos, size_t count,
                         const struct wt_device_info *info)
{
    for (size_t i = 0; i < count; i++)
        if (is_meter(infos[i]) && wt_total_is_module(infos[i]) && infos[i]->index == info->index)
            return true;
    return false;
}

void wt_total_choose(struct wt_device_info *const *infos, size_t count, bool has_left_out)
{
    struct found f;
    look(infos, count, &f);
    bool lacks = lacks_gpus(&f, has_left_out);
    size_t alone = lacks ? f.node_gpus : !f.has_cpu ? f.node : SIZE_MAX;
    bool by_module = alone == SIZE_MAX && f.has_module && (lacks || !f.has_cpu);
    for (size_t i = 0; i < count; i++) {
        struct wt_device_info *info = infos[i];
        if (info->is_part)
            info->is_counted = false;
        else if (alone != SIZE_MAX)
            info->is_counted = i == alone;
        else if (info->kind == WT_DEVICE_NODE)
            info->is_counted = by_module && is_meter(info) && wt_total_is_module(info);
        else if (by_module)
            info->is_counted = info->kind != WT_DEVICE_GPU && is_measured(info) &&
                               !is_in_module(infos, count, info);
        else if (info->is_modeled)
            info->is_counted = info->kind == WT_DEVICE_GPU || !f.has_measured;
        else
            info->is_counted = true;
    }
}
