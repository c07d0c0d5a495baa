/* client: the emulated device as a compute device - submitting work and waiting for it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator/shared.h"

/* Kernels in one load of the model: two fit, so that the device does not run dry in between. */
#define CHUNK (WT_MODEL_KERNELS / 4)
/* Clocks may rise while we sleep and the work be done before its time: look again this often. */
#define LOOK_NS (20 * WT_NS_PER_MS)

struct wt_emu {
    struct wt_shared *shared;
    unsigned device;
};

/* What $CUDA_VISIBLE_DEVICES makes of index gpu: the list ends at the first entry that is no
 * device, as in CUDA. -1: not visible. */
static int visible(const struct wt_shared *s, unsigned gpu)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    unsigned count = s->file->device_count;
    if (!list)
        return gpu < count ? (int)gpu : -1;
    for (unsigned k = 0;; k++) {
        list += strspn(list, " ");
        size_t len = strcspn(list, ", ");
        char entry[96];
        uint64_t index;
        int found = -1;
        wt_text(entry, sizeof(entry), "%.*s", (int)len, list);
        if (wt_text_to_u64(entry, &index) == 0) {
            if (index < count)
                found = (int)index;
        } else if (strncasecmp(entry, "GPU-", 4) == 0) {
            for (unsigned i = 0; i < count; i++)
                if (strncasecmp(s->file->devices[i].uuid, entry, len) == 0)
                    found = found == -1 ? (int)i : -2; /* -2: several begin so */
        }
        if (found < 0)
            return -1;
        if (k == gpu)
            return found;
        list += len;
        list += strspn(list, " ");
        if (*list++ != ',')
            return -1;
    }
}

int wt_emu_attach(struct wt_emu **ret_emu, unsigned gpu, struct wt_error *err)
{
    const char *dir = getenv("WATTUNE_EMULATION");
    int rc;
    if (!dir || !*dir) {
        rc = wt_fail(err, WT_E_NOTFOUND, "no emulated device here: WATTUNE_EMULATION is not set");
        wt_fix(err, "run this below `wattune emulate v100-pcie-32gb -- ...`");
        return rc;
    }
    struct wt_emu *emu = calloc(1, sizeof(*emu));
    if (!emu)
        return wt_fail(err, WT_E_NOMEM, "no memory for a device");
    rc = wt_shared_open(&emu->shared, dir, err);
    if (rc < 0)
        goto out;
    int device = visible(emu->shared, gpu);
    if (device < 0) {
        const char *list = getenv("CUDA_VISIBLE_DEVICES");
        rc = wt_fail(err, WT_E_USAGE, "no emulated GPU %u: there are %u%s%s", gpu,
                     emu->shared->file->device_count, list ? ", CUDA_VISIBLE_DEVICES=" : "",
                     list ? list : "");
        goto out;
    }
    emu->device = (unsigned)device;
    struct wt_shared_device *d = wt_shared_lock(emu->shared, emu->device);
    struct wt_shared_proc *self = wt_shared_self(emu->shared, emu->device);
    if (self)
        self->handles++;
    wt_shared_unlock(d);
    if (!self) {
        rc =
            wt_fail(err, WT_E_BUSY, "GPU %d: already used by %d programs", device, WT_SHARED_PROCS);
        goto out;
    }
    *ret_emu = emu;
    emu = NULL;
    rc = 0;
out:
    if (emu)
        wt_shared_close(emu->shared);
    free(emu);
    return rc;
}

void wt_emu_detach(struct wt_emu *emu)
{
    if (!emu)
        return;
    struct wt_shared_device *d = wt_shared_lock(emu->shared, emu->device);
    struct wt_shared_proc *self = wt_shared_self(emu->shared, emu->device);
    /* A child of a fork never attached: its row came with its first submission. */
    if (self && (self->handles == 0 || --self->handles == 0))
        wt_shared_leave(emu->shared, emu->device, self);
    wt_shared_unlock(d);
    wt_shared_close(emu->shared);
    free(emu);
}

double wt_emu_peak(const struct wt_emu *emu, enum wt_emu_engine engine)
{
    const struct wt_profile *p = emu->shared->profiles[emu->device];
    double peak = engine == WT_EMU_TENSOR ? p->tensor_flops_s
                  : engine == WT_EMU_TF32 ? p->tf32_flops_s
                                          : p->fp32_flops_s;
    return peak > 0 ? peak : NAN;
}

int wt_emu_memory(struct wt_emu *emu, uint64_t bytes, struct wt_error *err)
{
    const struct wt_profile *p = emu->shared->profiles[emu->device];
    int rc = 0;
    struct wt_shared_device *d = wt_shared_lock(emu->shared, emu->device);
    struct wt_shared_proc *self = wt_shared_self(emu->shared, emu->device);
    if (!self) {
        rc = wt_fail(err, WT_E_BUSY, "GPU %u: used by too many programs", emu->device);
        goto out;
    }
    uint64_t others = 0, room = p->mem_bytes - wt_shared_reserved_bytes(p);
    for (size_t i = 0; i < WT_SHARED_PROCS; i++)
        if (&d->state.procs[i] != self)
            others += d->state.procs[i].mem_bytes;
    if (others > room || bytes > room - others) {
        rc = wt_fail(err, WT_E_FULL, "GPU %u: %llu MiB asked for, %llu MiB free", emu->device,
                     (unsigned long long)(bytes >> 20),
                     (unsigned long long)((room - (others > room ? room : others)) >> 20));
        wt_fix(err, "use a smaller batch or a profile with more memory");
        goto out;
    }
    self->mem_bytes = bytes;
    if (bytes > self->mem_max_bytes)
        self->mem_max_bytes = bytes;
out:
    wt_shared_unlock(d);
    return rc;
}

static int lost(const struct wt_emu *emu, struct wt_error *err)
{
    return wt_fail(err, WT_E_GONE, "GPU %u (%s) was lost", emu->device,
                   emu->shared->file->devices[emu->device].uuid);
}

/* Sleeps until t_ns, but not past the next look. */
static void sleep_towards(int64_t t_ns)
{
    int64_t look = wt_clock_now_ns() + LOOK_NS;
    wt_clock_sleep_until_ns(t_ns < look ? t_ns : look);
}

/* One load of the model; waits for room. */
static int submit_chunk(struct wt_emu *emu, const char *label, const struct wt_emu_kernel *kernels,
                        size_t count, int64_t gap_ns, uint64_t *group, uint64_t *ret_id,
                        struct wt_error *err)
{
    const struct wt_profile *p = emu->shared->profiles[emu->device];
    for (;;) {
        if (wt_shared_is_lost(emu->shared, emu->device))
            return lost(emu, err);
        struct wt_shared_device *d = wt_shared_lock(emu->shared, emu->device);
        struct wt_shared_proc *self = wt_shared_self(emu->shared, emu->device);
        if (!self) {
            wt_shared_unlock(d);
            return wt_fail(err, WT_E_BUSY, "GPU %u: used by too many programs", emu->device);
        }
        struct wt_shared_pending *place = wt_shared_pending_free(d);
        uint64_t id = d->state.next_load;
        int rc = place ? wt_model_submit(&d->model, p, id, kernels, count, gap_ns, err) : WT_E_FULL;
        if (rc == 0) {
            d->state.next_load++;
            if (!*group)
                *group = id;
            place->group = *group;
            place->pid = self->pid;
            wt_text(place->label, sizeof(place->label), "%s", label ? label : "");
            place->id = id;
            *ret_id = id;
        }
        int64_t next = wt_model_next_ns(&d->model, p);
        wt_shared_unlock(d);
        if (rc != WT_E_FULL)
            return rc;
        sleep_towards(next);
    }
}

static int wait_for(struct wt_emu *emu, uint64_t id, struct wt_error *err)
{
    const struct wt_profile *p = emu->shared->profiles[emu->device];
    for (;;) {
        if (wt_shared_is_lost(emu->shared, emu->device))
            return lost(emu, err);
        int64_t done_ns;
        struct wt_shared_device *d = wt_shared_lock(emu->shared, emu->device);
        bool is_done = wt_model_load_done(&d->model, id, &done_ns) != 0;
        int64_t due_ns = wt_model_load_due_ns(&d->model, p, id);
        wt_shared_unlock(d);
        if (is_done)
            return 0;
        sleep_towards(due_ns);
    }
}

int wt_emu_submit(struct wt_emu *emu, const char *label, const struct wt_emu_kernel *kernels,
                  size_t count, int64_t host_gap_ns, struct wt_error *err)
{
    uint64_t group = 0, id = 0;
    do {
        size_t n = count < CHUNK ? count : CHUNK;
        int rc = submit_chunk(emu, label, kernels, n, host_gap_ns, &group, &id, err);
        if (rc < 0)
            return rc;
        kernels += n;
        count -= n;
        host_gap_ns = 0;
    } while (count);
    return wait_for(emu, id, err);
}
