/* nvml_api: libnvidia-ml.so.1 opened at run time, every symbol optional on its own.
 *
 * The declarations are ours, made from NVIDIA's public API reference; only what is called here is
 * declared. A call that the library lacks answers WT_NVML_FUNCTION_NOT_FOUND, as NVML itself
 * does. On any answer but WT_NVML_SUCCESS the outputs mean nothing and are not looked at.
 *
 * Internal to the library. */
#ifndef WT_SENSOR_NVML_API_H
#define WT_SENSOR_NVML_API_H

#include "base/base.h"

/* nvmlReturn_t, as far as we tell answers apart. */
enum {
    WT_NVML_SUCCESS = 0,
    WT_NVML_UNINITIALIZED = 1,
    WT_NVML_INVALID_ARGUMENT = 2,
    WT_NVML_NOT_SUPPORTED = 3,
    WT_NVML_NO_PERMISSION = 4,
    WT_NVML_NOT_FOUND = 6,
    WT_NVML_INSUFFICIENT_SIZE = 7,
    WT_NVML_DRIVER_NOT_LOADED = 9,
    WT_NVML_TIMEOUT = 10,
    WT_NVML_LIBRARY_NOT_FOUND = 12,
    WT_NVML_FUNCTION_NOT_FOUND = 13,
    WT_NVML_GPU_IS_LOST = 15,
    WT_NVML_RESET_REQUIRED = 16,
    WT_NVML_OPERATING_SYSTEM = 17,
    WT_NVML_VERSION_MISMATCH = 18,
    WT_NVML_IN_USE = 19,
    WT_NVML_MEMORY = 20,
    WT_NVML_NO_DATA = 21,
    WT_NVML_DEPRECATED = 26,
    WT_NVML_GPU_NOT_FOUND = 28,
    WT_NVML_UNKNOWN = 999,
};

/* nvmlDeviceArchitecture_t */
enum {
    WT_NVML_ARCH_UNKNOWN = 0, /* ours: NVML says 0xffffffff */
    WT_NVML_ARCH_KEPLER = 2,
    WT_NVML_ARCH_MAXWELL = 3,
    WT_NVML_ARCH_PASCAL = 4,
    WT_NVML_ARCH_VOLTA = 5,
    WT_NVML_ARCH_TURING = 6,
    WT_NVML_ARCH_AMPERE = 7,
    WT_NVML_ARCH_ADA = 8,
    WT_NVML_ARCH_HOPPER = 9,
    WT_NVML_ARCH_BLACKWELL = 10,
};

enum { WT_NVML_CLOCK_SM = 1, WT_NVML_CLOCK_MEM = 2 };
enum { WT_NVML_PCIE_TX = 0, WT_NVML_PCIE_RX = 1 }; /* in KB/s */

/* Field ids of nvmlDeviceGetFieldValues, and the type tags of its values. */
enum { WT_NVML_FIELD_POWER_AVERAGE = 185, WT_NVML_FIELD_POWER_INSTANT = 186 };
enum {
    WT_NVML_TYPE_DOUBLE = 0,
    WT_NVML_TYPE_UINT = 1,
    WT_NVML_TYPE_ULONG = 2,
    WT_NVML_TYPE_ULLONG = 3,
    WT_NVML_TYPE_SLLONG = 4,
    WT_NVML_TYPE_SINT = 5,
    WT_NVML_TYPE_USHORT = 6,
};
struct wt_nvml_field {
    unsigned field, scope;
    long long t_us, latency_us;
    int type;
    int rc; /* of this field; the value means something only on success */
    union {
        double d;
        int si;
        unsigned ui;
        unsigned long ul;
        unsigned long long ull;
        long long sll;
        unsigned short us;
    } value;
};

struct wt_nvml_utilization {
    unsigned gpu, memory; /* percent of time */
};
struct wt_nvml_memory {
    unsigned long long total, free, used;
};
struct wt_nvml_process_v1 {
    unsigned pid;
    unsigned long long mem_bytes; /* all ones: not available */
};
/* Of the calls named _v2 and _v3. */
struct wt_nvml_process {
    unsigned pid;
    unsigned long long mem_bytes;
    unsigned gpu_instance, compute_instance;
};
struct wt_nvml_process_use {
    unsigned pid;
    unsigned long long t_us;               /* since 1970 */
    unsigned sm, memory, encoder, decoder; /* percent */
};
struct wt_nvml_temperature {
    unsigned version; /* size | 1 << 24 */
    int sensor;       /* 0: the GPU itself */
    int celsius;
};

typedef void *wt_nvml_device;

/* X(member, newest symbol, older symbol of the same signature or NULL, parameters) */
#define WT_NVML_CALLS(X)                                                                           \
    X(init, "nvmlInit_v2", "nvmlInit", (void))                                                     \
    X(shutdown, "nvmlShutdown", NULL, (void))                                                      \
    X(driver_version, "nvmlSystemGetDriverVersion", NULL, (char *, unsigned))                      \
    X(nvml_version, "nvmlSystemGetNVMLVersion", NULL, (char *, unsigned))                          \
    X(count, "nvmlDeviceGetCount_v2", "nvmlDeviceGetCount", (unsigned *))                          \
    X(by_index, "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex",                     \
      (unsigned, wt_nvml_device *))                                                                \
    X(name, "nvmlDeviceGetName", NULL, (wt_nvml_device, char *, unsigned))                         \
    X(uuid, "nvmlDeviceGetUUID", NULL, (wt_nvml_device, char *, unsigned))                         \
    X(architecture, "nvmlDeviceGetArchitecture", NULL, (wt_nvml_device, unsigned *))               \
    X(compute_capability, "nvmlDeviceGetCudaComputeCapability", NULL,                              \
      (wt_nvml_device, int *, int *))                                                              \
    X(energy, "nvmlDeviceGetTotalEnergyConsumption", NULL, (wt_nvml_device, unsigned long long *)) \
    X(power, "nvmlDeviceGetPowerUsage", NULL, (wt_nvml_device, unsigned *))                        \
    X(fields, "nvmlDeviceGetFieldValues", NULL, (wt_nvml_device, int, struct wt_nvml_field *))     \
    X(utilization, "nvmlDeviceGetUtilizationRates", NULL,                                          \
      (wt_nvml_device, struct wt_nvml_utilization *))                                              \
    X(memory, "nvmlDeviceGetMemoryInfo", NULL, (wt_nvml_device, struct wt_nvml_memory *))          \
    X(temperature, "nvmlDeviceGetTemperature", NULL, (wt_nvml_device, int, unsigned *))            \
    X(temperature_v, "nvmlDeviceGetTemperatureV", NULL,                                            \
      (wt_nvml_device, struct wt_nvml_temperature *))                                              \
    X(clock, "nvmlDeviceGetClockInfo", NULL, (wt_nvml_device, int, unsigned *))                    \
    X(max_clock, "nvmlDeviceGetMaxClockInfo", NULL, (wt_nvml_device, int, unsigned *))             \
    X(reasons, "nvmlDeviceGetCurrentClocksEventReasons",                                           \
      "nvmlDeviceGetCurrentClocksThrottleReasons", (wt_nvml_device, unsigned long long *))         \
    X(pcie, "nvmlDeviceGetPcieThroughput", NULL, (wt_nvml_device, int, unsigned *))                \
    X(limit, "nvmlDeviceGetPowerManagementLimit", NULL, (wt_nvml_device, unsigned *))              \
    X(enforced_limit, "nvmlDeviceGetEnforcedPowerLimit", NULL, (wt_nvml_device, unsigned *))       \
    X(default_limit, "nvmlDeviceGetPowerManagementDefaultLimit", NULL,                             \
      (wt_nvml_device, unsigned *))                                                                \
    X(limit_range, "nvmlDeviceGetPowerManagementLimitConstraints", NULL,                           \
      (wt_nvml_device, unsigned *, unsigned *))                                                    \
    X(set_limit, "nvmlDeviceSetPowerManagementLimit", NULL, (wt_nvml_device, unsigned))            \
    X(memory_clocks, "nvmlDeviceGetSupportedMemoryClocks", NULL,                                   \
      (wt_nvml_device, unsigned *, unsigned *))                                                    \
    X(graphics_clocks, "nvmlDeviceGetSupportedGraphicsClocks", NULL,                               \
      (wt_nvml_device, unsigned, unsigned *, unsigned *))                                          \
    X(lock_clock, "nvmlDeviceSetGpuLockedClocks", NULL, (wt_nvml_device, unsigned, unsigned))      \
    X(unlock_clock, "nvmlDeviceResetGpuLockedClocks", NULL, (wt_nvml_device))                      \
    X(lock_memory, "nvmlDeviceSetMemoryLockedClocks", NULL, (wt_nvml_device, unsigned, unsigned))  \
    X(unlock_memory, "nvmlDeviceResetMemoryLockedClocks", NULL, (wt_nvml_device))                  \
    X(app_clock, "nvmlDeviceGetApplicationsClock", NULL, (wt_nvml_device, int, unsigned *))        \
    X(default_app_clock, "nvmlDeviceGetDefaultApplicationsClock", NULL,                            \
      (wt_nvml_device, int, unsigned *))                                                           \
    X(set_app_clocks, "nvmlDeviceSetApplicationsClocks", NULL,                                     \
      (wt_nvml_device, unsigned, unsigned))                                                        \
    X(compute_processes, "nvmlDeviceGetComputeRunningProcesses_v3",                                \
      "nvmlDeviceGetComputeRunningProcesses_v2",                                                   \
      (wt_nvml_device, unsigned *, struct wt_nvml_process *))                                      \
    X(compute_processes_v1, "nvmlDeviceGetComputeRunningProcesses", NULL,                          \
      (wt_nvml_device, unsigned *, struct wt_nvml_process_v1 *))                                   \
    X(graphics_processes, "nvmlDeviceGetGraphicsRunningProcesses_v3",                              \
      "nvmlDeviceGetGraphicsRunningProcesses_v2",                                                  \
      (wt_nvml_device, unsigned *, struct wt_nvml_process *))                                      \
    X(process_use, "nvmlDeviceGetProcessUtilization", NULL,                                        \
      (wt_nvml_device, struct wt_nvml_process_use *, unsigned *, unsigned long long))              \
    X(mig_mode, "nvmlDeviceGetMigMode", NULL, (wt_nvml_device, unsigned *, unsigned *))            \
    X(mig_max, "nvmlDeviceGetMaxMigDeviceCount", NULL, (wt_nvml_device, unsigned *))               \
    X(mig_by_index, "nvmlDeviceGetMigDeviceHandleByIndex", NULL,                                   \
      (wt_nvml_device, unsigned, wt_nvml_device *))

struct wt_nvml_api {
    void *handle; /* of dlopen */
    char path[512];
    bool is_emulated;           /* exports wattune_nvml_is_emulated: our emulator's stand-in */
    int (*is_privileged)(void); /* the stand-in alone: may this caller change settings? or NULL */
#define WT_NVML_MEMBER(member, symbol, older, parameters) int(*member) parameters;
    WT_NVML_CALLS(WT_NVML_MEMBER)
#undef WT_NVML_MEMBER
};

/* nvml(api, call, args...): the call, or WT_NVML_FUNCTION_NOT_FOUND. */
#define wt_nvml_call(api, member, ...)                                                             \
    ((api)->member ? (api)->member(__VA_ARGS__) : (int)WT_NVML_FUNCTION_NOT_FOUND)

/* Opens the library: name is a path or a soname. Errors: WT_E_NOTFOUND. */
int wt_nvml_api_open(struct wt_nvml_api *ret_api, const char *name, struct wt_error *err);
void wt_nvml_api_close(struct wt_nvml_api *api);

/* Our code for an answer, and its name ("GPU is lost"), never NULL. */
int wt_nvml_code(int nvml_rc);
const char *wt_nvml_name(int nvml_rc);
/* wt_fail for an answer: "WHAT: NVML says NAME (15)". */
int wt_nvml_fail(struct wt_error *err, int nvml_rc, const char *fmt, ...) WT_PRINTF(3, 4);

#endif
