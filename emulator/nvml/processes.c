/* processes: who uses a device, how much of it, and what is remembered of them. */
#include <stdio.h>
#include <string.h>

#include "emulator/nvml/standin.h"

/* "No instance" in MIG's fields. */
#define NO_INSTANCE 0xffffffffu

static unsigned count_procs(const struct call *c)
{
    unsigned n = 0;
    for (size_t i = 0; i < WT_SHARED_PROCS; i++)
        n += c->d->state.procs[i].pid != 0;
    return n;
}

/* Checks the room and says how much is needed. True: write n rows. */
static bool has_room(struct call *c, unsigned *count, nvmlReturn_t *result)
{
    wt_shared_sweep(c->s, c->i);
    unsigned room = *count, n = count_procs(c);
    *count = n;
    *result = room < n ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
    return *result == NVML_SUCCESS;
}

static nvmlReturn_t list_v1(struct call *c, unsigned *count, struct nvml_process_v1 *rows)
{
    nvmlReturn_t result;
    if (!has_room(c, count, &result))
        return result;
    for (size_t i = 0, n = 0; i < WT_SHARED_PROCS; i++) {
        const struct wt_shared_proc *p = &c->d->state.procs[i];
        if (p->pid)
            rows[n++] = (struct nvml_process_v1){.pid = p->pid, .mem_bytes = p->mem_bytes};
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t list_v2(struct call *c, unsigned *count, struct nvml_process_v2 *rows)
{
    nvmlReturn_t result;
    if (!has_room(c, count, &result))
        return result;
    for (size_t i = 0, n = 0; i < WT_SHARED_PROCS; i++) {
        const struct wt_shared_proc *p = &c->d->state.procs[i];
        if (p->pid)
            rows[n++] = (struct nvml_process_v2){.pid = p->pid,
                                                 .mem_bytes = p->mem_bytes,
                                                 .gpu_instance = NO_INSTANCE,
                                                 .compute_instance = NO_INSTANCE};
    }
    return NVML_SUCCESS;
}

/* Programs on an emulated device compute: the graphics and MPS lists are empty. */
#define LIST(name, type, answer)                                                                   \
    NVML_CALL(name, nvmlDevice_t device, unsigned *count, struct type *rows)                       \
    {                                                                                              \
        ENTER(WT_CALL_SENSOR, count != NULL && (rows != NULL || *count == 0));                     \
        return answer;                                                                             \
    }
#define NOBODY ((void)rows, *count = 0, NVML_SUCCESS)

LIST(nvmlDeviceGetComputeRunningProcesses, nvml_process_v1, list_v1(&c, count, rows))
LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvml_process_v2, list_v2(&c, count, rows))
LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvml_process_v2, list_v2(&c, count, rows))
LIST(nvmlDeviceGetGraphicsRunningProcesses, nvml_process_v1, NOBODY)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvml_process_v2, NOBODY)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvml_process_v2, NOBODY)
LIST(nvmlDeviceGetMPSComputeRunningProcesses, nvml_process_v1, NOBODY)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvml_process_v2, NOBODY)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvml_process_v2, NOBODY)

NVML_CALL(nvmlDeviceGetRunningProcessDetailList, nvmlDevice_t device,
          struct nvml_process_detail_list *list)
{
    ENTER(WT_CALL_SENSOR, list != NULL && (list->procs != NULL || list->count == 0));
    if (list->version != NVML_VERSION_OF(*list, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!is_since(&c, NVML_ARCH_HOPPER))
        return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t result;
    if (list->mode != 0) { /* 0: compute, 1: graphics, 2: MPS */
        list->count = 0;
        return list->mode > 2 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
    }
    if (!has_room(&c, &list->count, &result))
        return result;
    for (size_t i = 0, n = 0; i < WT_SHARED_PROCS; i++) {
        const struct wt_shared_proc *p = &c.d->state.procs[i];
        if (p->pid)
            list->procs[n++] = (struct nvml_process_detail){.pid = p->pid,
                                                            .mem_bytes = p->mem_bytes,
                                                            .gpu_instance = NO_INSTANCE,
                                                            .compute_instance = NO_INSTANCE};
    }
    return NVML_SUCCESS;
}

NVML_CALL(nvmlSystemGetProcessName, unsigned pid, char *name, unsigned length)
{
    ENTER_SYSTEM(name != NULL && length > 0);
    char path[64], line[4096];
    wt_text(path, sizeof(path), "/proc/%u/cmdline", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return NVML_ERROR_NOT_FOUND;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0'; /* the first argument ends in NUL: the program's name */
    wt_text(name, length, "%s", line);
    return NVML_SUCCESS;
}

/* ---- utilisation by process ---- */

/* The newest sample of each process after since_us. Rows in `rows`, oldest ring entries first. */
static unsigned newest_utils(const struct call *c, uint64_t since_us,
                             struct wt_shared_util rows[WT_SHARED_PROCS])
{
    uint64_t end = c->d->state.util_count;
    uint64_t begin = end > WT_SHARED_UTILS ? end - WT_SHARED_UTILS : 0;
    unsigned n = 0;
    for (uint64_t k = begin; k < end; k++) {
        const struct wt_shared_util *u = &c->d->utils[k % WT_SHARED_UTILS];
        if (wt_shared_unix_us(c->s, u->t_ns) <= since_us)
            continue;
        unsigned i = 0;
        while (i < n && rows[i].pid != u->pid)
            i++;
        if (i == n && n < WT_SHARED_PROCS)
            n++;
        if (i < n)
            rows[i] = *u;
    }
    return n;
}

NVML_CALL(nvmlDeviceGetProcessUtilization, nvmlDevice_t device, struct nvml_process_util *utils,
          unsigned *count, unsigned long long since_us)
{
    ENTER(WT_CALL_SENSOR, count != NULL);
    if (c.p->nvml_arch <= NVML_ARCH_KEPLER)
        return NVML_ERROR_NOT_SUPPORTED;
    if (!utils) {
        /* The driver answers with the size of its buffer. */
        *count = WT_SHARED_PROCS;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    struct wt_shared_util rows[WT_SHARED_PROCS];
    unsigned room = *count, n = newest_utils(&c, since_us, rows);
    *count = n;
    if (n == 0)
        return NVML_ERROR_NOT_FOUND;
    if (n > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        utils[i] = (struct nvml_process_util){.pid = rows[i].pid,
                                              .t_us = wt_shared_unix_us(c.s, rows[i].t_ns),
                                              .sm = rows[i].sm_percent,
                                              .memory = rows[i].mem_percent};
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetProcessesUtilizationInfo, nvmlDevice_t device,
          struct nvml_process_utils *utils)
{
    ENTER(WT_CALL_SENSOR, utils != NULL);
    if (utils->version != NVML_VERSION_OF(*utils, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (c.p->nvml_arch <= NVML_ARCH_KEPLER)
        return NVML_ERROR_NOT_SUPPORTED;
    struct wt_shared_util rows[WT_SHARED_PROCS];
    unsigned room = utils->count, n = newest_utils(&c, utils->since_us, rows);
    utils->count = n;
    if (n == 0)
        return NVML_ERROR_NOT_FOUND;
    if (n > room || !utils->procs)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        utils->procs[i] = (struct nvml_process_util_info){
            .t_us = wt_shared_unix_us(c.s, rows[i].t_ns),
            .pid = rows[i].pid,
            .sm = rows[i].sm_percent,
            .memory = rows[i].mem_percent,
        };
    return NVML_SUCCESS;
}

/* ---- accounting: of the living; the dead leave no row ---- */

NVML_CALL(nvmlDeviceGetAccountingStats, nvmlDevice_t device, unsigned pid,
          struct nvml_accounting *stats)
{
    ENTER(WT_CALL_SENSOR, stats != NULL);
    if (!c.d->state.is_accounting)
        return NVML_ERROR_NOT_SUPPORTED;
    wt_shared_sweep(c.s, c.i);
    for (size_t i = 0; i < WT_SHARED_PROCS; i++) {
        const struct wt_shared_proc *p = &c.d->state.procs[i];
        if (p->pid != pid || pid == 0)
            continue;
        int64_t span = c.d->model.t_ns - p->t_attach_ns;
        *stats = (struct nvml_accounting){
            .gpu_util = span > 0 ? (unsigned)(p->busy_ns * 100 / span) : 0,
            .max_mem_bytes = p->mem_max_bytes,
            .start_us = wt_shared_unix_us(c.s, p->t_attach_ns),
            .is_running = 1,
        };
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

NVML_CALL(nvmlDeviceGetAccountingPids, nvmlDevice_t device, unsigned *count, unsigned *pids)
{
    ENTER(WT_CALL_SENSOR, count != NULL && (pids != NULL || *count == 0));
    if (!c.d->state.is_accounting)
        return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t result;
    if (!has_room(&c, count, &result))
        return result;
    for (size_t i = 0, n = 0; i < WT_SHARED_PROCS; i++)
        if (c.d->state.procs[i].pid)
            pids[n++] = c.d->state.procs[i].pid;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetAccountingBufferSize, nvmlDevice_t device, unsigned *size)
{
    ENTER(0, size != NULL);
    *size = WT_SHARED_PROCS;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceClearAccountingPids, nvmlDevice_t device)
{
    ENTER(WT_CALL_SET, true);
    return call_may_set(&c) ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}
