/* standin: the stand-in for NVIDIA's libnvidia-ml.so.1 - starting, ending, and what every call goes
 * through.
 *
 * The library finds its emulation by $WATTUNE_EMULATION; without one it says that the driver is not
 * loaded. NVML's interface has no handle for the library, so its state is the one global here. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "emulator/nvml/standin.h"

struct nvmlDevice_st {
    char place;
};

static struct {
    pthread_mutex_t lock;
    _Atomic unsigned references;
    struct wt_shared *shared;
    char dir[1024];
    struct nvmlDevice_st handles[WT_SHARED_DEVICES];
} nvml = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Tells Wattune's own reader that nothing read through this library is real. */
WT_API extern const int wattune_nvml_is_emulated;
WT_API const int wattune_nvml_is_emulated = 1;

/* NVML has no way to ask whether one may set; Wattune's own reader may ask here, so that looking
 * need not try. */
WT_API int wattune_nvml_is_privileged(void);
WT_API int wattune_nvml_is_privileged(void)
{
    pthread_mutex_lock(&nvml.lock);
    const struct call c = {.s = nvml.shared};
    int may_set = c.s && call_may_set(&c);
    pthread_mutex_unlock(&nvml.lock);
    return may_set;
}

__attribute__((destructor)) static void unload(void)
{
    wt_shared_close(nvml.shared);
    nvml.shared = NULL;
}

/* The mapping outlives nvmlShutdown: a call under way in another thread must not lose it. It is
 * renewed when the next nvmlInit finds another emulation. */
static nvmlReturn_t start(const char *name)
{
    nvmlReturn_t result = NVML_SUCCESS;
    const char *dir = getenv("WATTUNE_EMULATION");
    pthread_mutex_lock(&nvml.lock);
    if (atomic_load(&nvml.references) == 0) {
        if (nvml.shared && (!dir || strcmp(dir, nvml.dir) != 0 || access(dir, F_OK) < 0)) {
            wt_shared_close(nvml.shared);
            nvml.shared = NULL;
        }
        if (!nvml.shared && (!dir || wt_shared_open(&nvml.shared, dir, NULL) < 0))
            result = NVML_ERROR_DRIVER_NOT_LOADED;
        else
            wt_text(nvml.dir, sizeof(nvml.dir), "%s", dir);
    }
    if (result == NVML_SUCCESS)
        atomic_fetch_add(&nvml.references, 1);
    pthread_mutex_unlock(&nvml.lock);
    if (result != NVML_SUCCESS)
        return result;
    struct call c = {0};
    result = call_enter_system(&c, name, true);
    if (result != NVML_SUCCESS)
        atomic_fetch_sub(&nvml.references, 1);
    return result;
}

NVML_CALL(nvmlInit_v2, void)
{
    return start(__func__);
}

NVML_CALL(nvmlInit, void)
{
    return start(__func__);
}

NVML_CALL(nvmlInitWithFlags, unsigned flags)
{
    (void)flags; /* NO_GPUS and NO_ATTACH: what they leave out costs nothing here */
    return start(__func__);
}

NVML_CALL(nvmlShutdown, void)
{
    nvmlReturn_t result = NVML_SUCCESS;
    pthread_mutex_lock(&nvml.lock);
    if (atomic_load(&nvml.references) == 0)
        result = NVML_ERROR_UNINITIALIZED;
    else
        atomic_fetch_sub(&nvml.references, 1);
    pthread_mutex_unlock(&nvml.lock);
    return result;
}

WT_API const char *nvmlErrorString(nvmlReturn_t result);
WT_API const char *nvmlErrorString(nvmlReturn_t result)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {NVML_SUCCESS, "Success"},
        {NVML_ERROR_UNINITIALIZED, "Uninitialized"},
        {NVML_ERROR_INVALID_ARGUMENT, "Invalid Argument"},
        {NVML_ERROR_NOT_SUPPORTED, "Not Supported"},
        {NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"},
        {5, "Already Initialized"},
        {NVML_ERROR_NOT_FOUND, "Not Found"},
        {NVML_ERROR_INSUFFICIENT_SIZE, "Insufficient Size"},
        {8, "Insufficient External Power"},
        {NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"},
        {NVML_ERROR_TIMEOUT, "Timeout"},
        {11, "Interrupt Request Issue"},
        {12, "NVML Shared Library Not Found"},
        {13, "Function Not Found"},
        {14, "Corrupted infoROM"},
        {NVML_ERROR_GPU_IS_LOST, "GPU is lost"},
        {16, "GPU requires reset"},
        {17, "GPU control device blocked by the operating system"},
        {18, "Driver/library version mismatch"},
        {19, "In use by another client"},
        {NVML_ERROR_MEMORY, "Insufficient Memory"},
        {NVML_ERROR_NO_DATA, "No data"},
        {23, "Insufficient Resources"},
        {24, "Frequency not supported"},
        {NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "Argument version mismatch"},
        {26, "Deprecated"},
        {27, "Not Ready"},
        {28, "No GPUs found"},
        {29, "Invalid State"},
        {NVML_ERROR_UNKNOWN, "Unknown Error"},
    };
    for (size_t i = 0; i < WT_COUNTOF(texts); i++)
        if (texts[i].code == (int)result)
            return texts[i].text;
    return "Unknown Error code";
}

nvmlDevice_t handle_of(unsigned i)
{
    return &nvml.handles[i];
}

/* Clients pass anything; only an address that we have handed out is a device. */
int handle_index(const struct wt_shared *s, nvmlDevice_t device)
{
    for (unsigned i = 0; i < s->file->device_count; i++)
        if (device == &nvml.handles[i])
            return (int)i;
    return -1;
}

static void wait_out(struct wt_shared *s, unsigned place)
{
    uint32_t generation = atomic_load(&s->file->faults[place].generation);
    while (wt_shared_fault_lasts(s, place, generation))
        wt_clock_sleep_until_ns(wt_clock_now_ns() + 20 * WT_NS_PER_MS);
}

/* As long as the energy counter of an H100 and an H200 takes at the median; it keeps a processor
 * busy there, too (docs/measured.md). */
static void spin(void)
{
    int64_t until_ns = wt_clock_now_ns() + 3 * WT_NS_PER_MS;
    while (wt_clock_now_ns() < until_ns)
        ;
}

/* What the faults in force make of a call, before it does anything. */
static nvmlReturn_t suffer(struct call *c)
{
    for (unsigned k = 0; k < WT_SHARED_FAULTS; k++) {
        if (!(c->faults >> k & 1))
            continue;
        switch (c->s->file->faults[k].fault.kind) {
        case WT_FAULT_HANG:
            wait_out(c->s, k);
            break;
        case WT_FAULT_DENIED:
            return NVML_ERROR_NO_PERMISSION;
        case WT_FAULT_LOST:
            return NVML_ERROR_GPU_IS_LOST;
        case WT_FAULT_UNSUPPORTED:
            return NVML_ERROR_NOT_SUPPORTED;
        case WT_FAULT_UNKNOWN:
            return NVML_ERROR_UNKNOWN;
        case WT_FAULT_SLOW:
            spin();
            break;
        case WT_FAULT_RESET:
        case WT_FAULT_JUMP:
        case WT_FAULT_FROZEN:
        case WT_FAULT_GARBAGE:
            break; /* they change what is read */
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t call_enter_system(struct call *c, const char *name, bool is_args_ok)
{
    if (atomic_load(&nvml.references) == 0)
        return NVML_ERROR_UNINITIALIZED;
    if (!is_args_ok)
        return NVML_ERROR_INVALID_ARGUMENT;
    c->s = nvml.shared;
    c->faults = wt_shared_faults(c->s, name, 0, -1);
    return c->faults ? suffer(c) : NVML_SUCCESS;
}

nvmlReturn_t call_enter(struct call *c, const char *name, nvmlDevice_t device, unsigned kind,
                        bool is_args_ok)
{
    if (atomic_load(&nvml.references) == 0)
        return NVML_ERROR_UNINITIALIZED;
    c->s = nvml.shared;
    int i = handle_index(c->s, device);
    if (i < 0 || !is_args_ok)
        return NVML_ERROR_INVALID_ARGUMENT;
    c->i = (unsigned)i;
    c->p = c->s->profiles[i];
    c->faults = wt_shared_faults(c->s, name, kind | WT_CALL_DEVICE, i);
    nvmlReturn_t result = c->faults ? suffer(c) : NVML_SUCCESS;
    if (result == NVML_SUCCESS)
        c->d = wt_shared_lock(c->s, c->i);
    return result;
}

void call_leave(struct call *c)
{
    if (c->d)
        wt_shared_unlock(c->d);
}

bool call_may_set(const struct call *c)
{
    /* Whoever started the emulation is its root. Nobody else can open its folder, unless it was
     * opened to them, to see how an ordinary user fares. */
    uint32_t uid = (uint32_t)geteuid();
    return !c->s->file->is_unprivileged && (uid == 0 || uid == c->s->owner_uid);
}

void call_look(struct call *c)
{
    struct wt_view now;
    uint64_t base_mj = 0, leap_mj = 0;
    wt_shared_view(c->s, c->i, &now);
    c->view = now;
    for (unsigned k = 0; c->faults >> k && k < WT_SHARED_FAULTS; k++) {
        enum wt_fault_kind kind = c->s->file->faults[k].fault.kind;
        if (!(c->faults >> k & 1) ||
            (kind != WT_FAULT_RESET && kind != WT_FAULT_JUMP && kind != WT_FAULT_FROZEN))
            continue;
        struct wt_shared_mark *mark = &c->d->marks[k];
        uint32_t generation = atomic_load(&c->s->file->faults[k].generation);
        if (mark->generation != generation) { /* by call: it sets in with this one */
            mark->view = now;
            mark->generation = generation;
        }
        if (kind == WT_FAULT_FROZEN)
            c->view = mark->view;
        else if (kind == WT_FAULT_JUMP)
            leap_mj += UINT64_C(1) << 32; /* as a high word counted up by mistake */
        else if (mark->view.energy_mj > base_mj)
            base_mj = mark->view.energy_mj;
    }
    c->view.energy_mj += leap_mj;
    c->view.energy_mj -= base_mj < c->view.energy_mj ? base_mj : c->view.energy_mj;
}

uint64_t call_garble(const struct call *c, uint64_t value, uint64_t max)
{
    for (unsigned k = 0; c->faults >> k && k < WT_SHARED_FAULTS; k++) {
        struct wt_shared_fault *slot = &c->s->file->faults[k];
        if (!(c->faults >> k & 1) || slot->fault.kind != WT_FAULT_GARBAGE)
            continue;
        uint64_t n = atomic_load(&slot->calls[c->i]);
        uint64_t noise = (c->d->seed + n) * UINT64_C(0x9e3779b97f4a7c15);
        switch (n % 3) {
        case 0:
            return max;
        case 1:
            return 0;
        default:
            return (noise ^ noise >> 29) & max;
        }
    }
    return value < max ? value : max;
}

nvmlReturn_t give_text(char *to, unsigned size, const char *text)
{
    if (strlen(text) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}
