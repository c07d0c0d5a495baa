/* fake_nvml: see fake_nvml.h. A call that fails writes rubbish to its outputs first, as a vendor's
 * library may. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fake_nvml.h"
#include "sensor/nvml_api.h"

static struct fake_nvml fake;

WT_API struct fake_nvml *fake_nvml_reset(void)
{
    fake = (struct fake_nvml){
        .gpus = 2,
        .arch = WT_NVML_ARCH_VOLTA,
        .major = 7,
        .driver = "535.104.05",
        .energy_mj = FAKE_ENERGY_MJ,
        .power_mw = FAKE_POWER_MW,
        .limit_mw = FAKE_LIMIT_MAX_MW,
        .app_sm = FAKE_SM_MHZ,
        .app_mem = FAKE_MEM_MHZ,
    };
    return &fake;
}

/* A handle is the address of one of these; an instance of MIG is a device too. */
static struct device {
    unsigned index;
    int instance; /* -1: the whole card */
} devices[64], instances[2];

static int enter(const char *symbol)
{
    __atomic_add_fetch(&fake.calls, 1, __ATOMIC_RELAXED);
    if (fake.hang && strcmp(fake.hang, symbol) == 0)
        while (!__atomic_load_n(&fake.is_released, __ATOMIC_ACQUIRE))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (!fake.fail || strcmp(fake.fail, symbol) != 0)
        return WT_NVML_SUCCESS;
    if (fake.fail_for && --fake.fail_for == 0)
        fake.fail = NULL;
    return fake.fail_rc;
}

#define RUBBISH(out) memset((out), 0xaa, sizeof(*(out)))
#define ENTER(symbol, rubbish)                                                                     \
    int rc = enter(symbol);                                                                        \
    if (rc != WT_NVML_SUCCESS) {                                                                   \
        rubbish;                                                                                   \
        return rc;                                                                                 \
    }
#define DEVICE(handle, rubbish)                                                                    \
    const struct device *d = handle;                                                               \
    if (fake.lost_gpu && d->index + 1 == fake.lost_gpu) {                                          \
        rubbish;                                                                                   \
        return WT_NVML_GPU_IS_LOST;                                                                \
    }
#define CARD_ONLY                                                                                  \
    if (d->instance >= 0)                                                                          \
        return WT_NVML_NOT_SUPPORTED;

#define EXPORT(name, ...)                                                                          \
    WT_API int name(__VA_ARGS__);                                                                  \
    WT_API int name(__VA_ARGS__)

EXPORT(nvmlInit_v2, void)
{
    ENTER("nvmlInit_v2", (void)0)
    for (unsigned i = 0; i < WT_COUNTOF(devices); i++)
        devices[i] = (struct device){i, -1};
    for (int i = 0; i < 2; i++)
        instances[i] = (struct device){fake.mig_gpu - 1, i};
    return 0;
}

EXPORT(nvmlShutdown, void)
{
    ENTER("nvmlShutdown", (void)0)
    __atomic_add_fetch(&fake.shutdowns, 1, __ATOMIC_RELEASE);
    return 0;
}

EXPORT(nvmlSystemGetDriverVersion, char *text, unsigned size)
{
    ENTER("nvmlSystemGetDriverVersion", memset(text, 0xaa, size))
    snprintf(text, size, "%s", fake.driver);
    return 0;
}

EXPORT(nvmlDeviceGetCount_v2, unsigned *count)
{
    ENTER("nvmlDeviceGetCount_v2", RUBBISH(count))
    *count = fake.gpus;
    return 0;
}

EXPORT(nvmlDeviceGetHandleByIndex_v2, unsigned index, wt_nvml_device *handle)
{
    ENTER("nvmlDeviceGetHandleByIndex_v2", RUBBISH(handle))
    *handle = &devices[index];
    return 0;
}

EXPORT(nvmlDeviceGetName, wt_nvml_device handle, char *text, unsigned size)
{
    ENTER("nvmlDeviceGetName", memset(text, 0xaa, size))
    DEVICE(handle, memset(text, 0xaa, size))
    snprintf(text, size, d->instance < 0 ? "Fake V100" : "Fake MIG 1g.5gb");
    return 0;
}

EXPORT(nvmlDeviceGetUUID, wt_nvml_device handle, char *text, unsigned size)
{
    ENTER("nvmlDeviceGetUUID", memset(text, 0xaa, size))
    const struct device *d = handle;
    if (d->instance < 0)
        snprintf(text, size, "GPU-%02x000000-fake", d->index + 0xa0);
    else
        snprintf(text, size, "MIG-%02x00000%d-fake", d->index + 0xa0, d->instance);
    return 0;
}

EXPORT(nvmlDeviceGetArchitecture, wt_nvml_device handle, unsigned *arch)
{
    ENTER("nvmlDeviceGetArchitecture", RUBBISH(arch))
    DEVICE(handle, RUBBISH(arch))
    *arch = fake.arch ? fake.arch : 0xffffffffu;
    return 0;
}

EXPORT(nvmlDeviceGetCudaComputeCapability, wt_nvml_device handle, int *major, int *minor)
{
    ENTER("nvmlDeviceGetCudaComputeCapability", (RUBBISH(major), RUBBISH(minor)))
    DEVICE(handle, RUBBISH(major))
    *major = fake.major;
    *minor = fake.minor;
    return 0;
}

EXPORT(nvmlDeviceGetTotalEnergyConsumption, wt_nvml_device handle, unsigned long long *mj)
{
    ENTER("nvmlDeviceGetTotalEnergyConsumption", RUBBISH(mj))
    DEVICE(handle, RUBBISH(mj))
    CARD_ONLY
    if (fake.is_vgpu || (fake.arch && fake.arch < WT_NVML_ARCH_VOLTA))
        return WT_NVML_NOT_SUPPORTED;
    *mj = fake.energy_mj;
    return 0;
}

EXPORT(nvmlDeviceGetPowerUsage, wt_nvml_device handle, unsigned *mw)
{
    ENTER("nvmlDeviceGetPowerUsage", RUBBISH(mw))
    DEVICE(handle, RUBBISH(mw))
    CARD_ONLY
    if (fake.is_vgpu)
        return WT_NVML_NOT_SUPPORTED;
    *mw = fake.power_mw;
    return 0;
}

EXPORT(nvmlDeviceGetFieldValues, wt_nvml_device handle, int count, struct wt_nvml_field *fields)
{
    ENTER("nvmlDeviceGetFieldValues", RUBBISH(fields))
    DEVICE(handle, RUBBISH(fields))
    CARD_ONLY
    const char *type = fake.field_type ? fake.field_type : "uint";
    for (int i = 0; i < count; i++) {
        struct wt_nvml_field *f = &fields[i];
        unsigned mw = f->field == WT_NVML_FIELD_POWER_INSTANT ? fake.power_mw : FAKE_AVERAGE_MW;
        f->rc = WT_NVML_SUCCESS;
        if (fake.is_vgpu || strcmp(type, "none") == 0 ||
            (f->field != WT_NVML_FIELD_POWER_INSTANT && f->field != WT_NVML_FIELD_POWER_AVERAGE)) {
            memset(&f->value, 0xaa, sizeof(f->value));
            f->rc = WT_NVML_NOT_SUPPORTED;
        } else if (strcmp(type, "double") == 0) {
            f->type = WT_NVML_TYPE_DOUBLE;
            f->value.d = mw;
        } else if (strcmp(type, "ullong") == 0) {
            f->type = WT_NVML_TYPE_ULLONG;
            f->value.ull = mw;
        } else if (strcmp(type, "negative") == 0) {
            f->type = WT_NVML_TYPE_SINT;
            f->value.si = -5;
        } else if (strcmp(type, "alien") == 0) {
            f->type = 77;
            f->value.ull = mw;
        } else {
            f->type = WT_NVML_TYPE_UINT;
            f->value.ui = mw;
        }
    }
    return 0;
}

EXPORT(nvmlDeviceGetUtilizationRates, wt_nvml_device handle, struct wt_nvml_utilization *use)
{
    ENTER("nvmlDeviceGetUtilizationRates", RUBBISH(use))
    DEVICE(handle, RUBBISH(use))
    CARD_ONLY
    *use = (struct wt_nvml_utilization){.gpu = 98, .memory = 40};
    return 0;
}

EXPORT(nvmlDeviceGetMemoryInfo, wt_nvml_device handle, struct wt_nvml_memory *memory)
{
    ENTER("nvmlDeviceGetMemoryInfo", RUBBISH(memory))
    DEVICE(handle, RUBBISH(memory))
    *memory = (struct wt_nvml_memory){.total = 32000, .used = 2000, .free = 30000};
    return 0;
}

EXPORT(nvmlDeviceGetTemperature, wt_nvml_device handle, int sensor, unsigned *celsius)
{
    (void)sensor;
    ENTER("nvmlDeviceGetTemperature", RUBBISH(celsius))
    DEVICE(handle, RUBBISH(celsius))
    CARD_ONLY
    *celsius = FAKE_TEMP_C;
    return 0;
}

EXPORT(nvmlDeviceGetTemperatureV, wt_nvml_device handle, struct wt_nvml_temperature *t)
{
    ENTER("nvmlDeviceGetTemperatureV", RUBBISH(t))
    DEVICE(handle, RUBBISH(t))
    CARD_ONLY
    t->celsius = FAKE_TEMP_C;
    return 0;
}

EXPORT(nvmlDeviceGetClockInfo, wt_nvml_device handle, int type, unsigned *mhz)
{
    ENTER("nvmlDeviceGetClockInfo", RUBBISH(mhz))
    DEVICE(handle, RUBBISH(mhz))
    CARD_ONLY
    *mhz = type == WT_NVML_CLOCK_MEM ? FAKE_MEM_MHZ : FAKE_SM_MHZ;
    return 0;
}

EXPORT(nvmlDeviceGetCurrentClocksEventReasons, wt_nvml_device handle, unsigned long long *reasons)
{
    ENTER("nvmlDeviceGetCurrentClocksEventReasons", RUBBISH(reasons))
    DEVICE(handle, RUBBISH(reasons))
    CARD_ONLY
    *reasons = 0x4 | 0x40;
    return 0;
}

EXPORT(nvmlDeviceGetPcieThroughput, wt_nvml_device handle, int way, unsigned *kb_s)
{
    ENTER("nvmlDeviceGetPcieThroughput", RUBBISH(kb_s))
    DEVICE(handle, RUBBISH(kb_s))
    CARD_ONLY
    *kb_s = way == WT_NVML_PCIE_TX ? 7 : 9;
    return 0;
}

EXPORT(nvmlDeviceGetPowerManagementLimit, wt_nvml_device handle, unsigned *mw)
{
    ENTER("nvmlDeviceGetPowerManagementLimit", RUBBISH(mw))
    DEVICE(handle, RUBBISH(mw))
    CARD_ONLY
    *mw = fake.limit_mw;
    return 0;
}

EXPORT(nvmlDeviceGetEnforcedPowerLimit, wt_nvml_device handle, unsigned *mw)
{
    ENTER("nvmlDeviceGetEnforcedPowerLimit", RUBBISH(mw))
    DEVICE(handle, RUBBISH(mw))
    CARD_ONLY
    *mw = fake.limit_mw;
    return 0;
}

EXPORT(nvmlDeviceGetPowerManagementDefaultLimit, wt_nvml_device handle, unsigned *mw)
{
    ENTER("nvmlDeviceGetPowerManagementDefaultLimit", RUBBISH(mw))
    DEVICE(handle, RUBBISH(mw))
    CARD_ONLY
    *mw = FAKE_LIMIT_MAX_MW;
    return 0;
}

EXPORT(nvmlDeviceGetPowerManagementLimitConstraints, wt_nvml_device handle, unsigned *min,
       unsigned *max)
{
    ENTER("nvmlDeviceGetPowerManagementLimitConstraints", (RUBBISH(min), RUBBISH(max)))
    DEVICE(handle, RUBBISH(min))
    CARD_ONLY
    *min = FAKE_LIMIT_MIN_MW;
    *max = FAKE_LIMIT_MAX_MW;
    return 0;
}

EXPORT(nvmlDeviceSetPowerManagementLimit, wt_nvml_device handle, unsigned mw)
{
    ENTER("nvmlDeviceSetPowerManagementLimit", (void)0)
    DEVICE(handle, (void)0)
    if (mw < FAKE_LIMIT_MIN_MW || mw > FAKE_LIMIT_MAX_MW)
        return WT_NVML_INVALID_ARGUMENT;
    if (!fake.is_limit_ignored)
        fake.limit_mw = mw;
    return 0;
}

EXPORT(nvmlDeviceGetSupportedMemoryClocks, wt_nvml_device handle, unsigned *count, unsigned *list)
{
    ENTER("nvmlDeviceGetSupportedMemoryClocks", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    *count = 2;
    list[0] = FAKE_MEM_MHZ;
    list[1] = 405;
    return 0;
}

EXPORT(nvmlDeviceGetSupportedGraphicsClocks, wt_nvml_device handle, unsigned mem, unsigned *count,
       unsigned *list)
{
    ENTER("nvmlDeviceGetSupportedGraphicsClocks", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    if (mem != FAKE_MEM_MHZ && mem != 405)
        return WT_NVML_INVALID_ARGUMENT;
    /* From the highest down, with the uneven steps real cards have. */
    unsigned n = 0;
    for (unsigned mhz = FAKE_SM_MHZ; mhz >= 150; mhz -= n % 2 ? 7 : 8)
        list[n++] = mhz;
    *count = n;
    return 0;
}

EXPORT(nvmlDeviceSetGpuLockedClocks, wt_nvml_device handle, unsigned min, unsigned max)
{
    ENTER("nvmlDeviceSetGpuLockedClocks", (void)0)
    DEVICE(handle, (void)0)
    fake.lock_min = min;
    fake.lock_max = max;
    return fake.is_old ? WT_NVML_NOT_SUPPORTED : 0;
}

EXPORT(nvmlDeviceResetGpuLockedClocks, wt_nvml_device handle)
{
    ENTER("nvmlDeviceResetGpuLockedClocks", (void)0)
    DEVICE(handle, (void)0)
    fake.lock_min = fake.lock_max = 0;
    return 0;
}

EXPORT(nvmlDeviceGetApplicationsClock, wt_nvml_device handle, int type, unsigned *mhz)
{
    ENTER("nvmlDeviceGetApplicationsClock", RUBBISH(mhz))
    DEVICE(handle, RUBBISH(mhz))
    *mhz = type == WT_NVML_CLOCK_MEM ? fake.app_mem : fake.app_sm;
    return 0;
}

EXPORT(nvmlDeviceGetDefaultApplicationsClock, wt_nvml_device handle, int type, unsigned *mhz)
{
    ENTER("nvmlDeviceGetDefaultApplicationsClock", RUBBISH(mhz))
    DEVICE(handle, RUBBISH(mhz))
    *mhz = type == WT_NVML_CLOCK_MEM ? FAKE_MEM_MHZ : FAKE_SM_MHZ;
    return 0;
}

EXPORT(nvmlDeviceSetApplicationsClocks, wt_nvml_device handle, unsigned mem, unsigned sm)
{
    ENTER("nvmlDeviceSetApplicationsClocks", (void)0)
    DEVICE(handle, (void)0)
    fake.app_mem = mem;
    fake.app_sm = sm;
    return 0;
}

EXPORT(nvmlDeviceGetComputeRunningProcesses_v3, wt_nvml_device handle, unsigned *count,
       struct wt_nvml_process *list)
{
    ENTER("nvmlDeviceGetComputeRunningProcesses_v3", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    *count = 2;
    list[0] = (struct wt_nvml_process){.pid = 100, .mem_bytes = 5000};
    list[1] = (struct wt_nvml_process){.pid = 200, .mem_bytes = ~0ull};
    return 0;
}

EXPORT(nvmlDeviceGetGraphicsRunningProcesses_v3, wt_nvml_device handle, unsigned *count,
       struct wt_nvml_process *list)
{
    ENTER("nvmlDeviceGetGraphicsRunningProcesses_v3", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    *count = 2;
    list[0] = (struct wt_nvml_process){.pid = 100, .mem_bytes = 6000};
    list[1] = (struct wt_nvml_process){.pid = 300, .mem_bytes = 1};
    return 0;
}

/* Wants room for its whole ring, as driver 580 does, and has one sample in it. */
EXPORT(nvmlDeviceGetProcessUtilization, wt_nvml_device handle, struct wt_nvml_process_use *list,
       unsigned *count, unsigned long long since_us)
{
    ENTER("nvmlDeviceGetProcessUtilization", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    unsigned room = *count;
    *count = 2000;
    if (room < 2000)
        return WT_NVML_INSUFFICIENT_SIZE;
    *count = 1;
    list[0] = (struct wt_nvml_process_use){.pid = 200, .t_us = since_us + 1, .sm = 37};
    return 0;
}

EXPORT(nvmlDeviceGetMigMode, wt_nvml_device handle, unsigned *current, unsigned *pending)
{
    ENTER("nvmlDeviceGetMigMode", (RUBBISH(current), RUBBISH(pending)))
    DEVICE(handle, RUBBISH(current))
    *current = *pending = fake.mig_gpu && d->index + 1 == fake.mig_gpu;
    return 0;
}

EXPORT(nvmlDeviceGetMaxMigDeviceCount, wt_nvml_device handle, unsigned *count)
{
    ENTER("nvmlDeviceGetMaxMigDeviceCount", RUBBISH(count))
    DEVICE(handle, RUBBISH(count))
    *count = 7;
    return 0;
}

EXPORT(nvmlDeviceGetMigDeviceHandleByIndex, wt_nvml_device handle, unsigned index,
       wt_nvml_device *instance)
{
    ENTER("nvmlDeviceGetMigDeviceHandleByIndex", RUBBISH(instance))
    DEVICE(handle, RUBBISH(instance))
    /* Instances need not be numbered without holes. */
    if (index != 1 && index != 4)
        return WT_NVML_NOT_FOUND;
    *instance = &instances[index == 4];
    return 0;
}
