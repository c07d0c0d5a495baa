/* abi: the binary interface of NVIDIA's NVML as its clients are compiled against it - codes,
 * numbers and layouts, declared by ourselves from NVIDIA's public API reference.
 *
 * Layouts are checked against the documented sizes by tests/test_emulation.c. */
#ifndef WT_EMULATOR_NVML_ABI_H
#define WT_EMULATOR_NVML_ABI_H

enum nvml_return {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
};
typedef enum nvml_return nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlEventSet_st *nvmlEventSet_t;

/* The version word of a versioned structure. */
#define NVML_VERSION_OF(type, v) ((unsigned)sizeof(type) | ((unsigned)(v) << 24))

enum { NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_CLOCK_VIDEO };
enum {
    NVML_CLOCK_ID_CURRENT,
    NVML_CLOCK_ID_APP_TARGET,
    NVML_CLOCK_ID_APP_DEFAULT,
    NVML_CLOCK_ID_BOOST_MAX,
};
enum {
    NVML_VALUE_DOUBLE,
    NVML_VALUE_UINT,
    NVML_VALUE_ULONG,
    NVML_VALUE_ULONGLONG,
    NVML_VALUE_LONGLONG,
    NVML_VALUE_INT,
    NVML_VALUE_USHORT,
};
enum {
    NVML_SAMPLES_POWER,
    NVML_SAMPLES_GPU_UTIL,
    NVML_SAMPLES_MEM_UTIL,
    NVML_SAMPLES_ENC_UTIL,
    NVML_SAMPLES_DEC_UTIL,
    NVML_SAMPLES_CLOCK,
    NVML_SAMPLES_MEMCLOCK,
    NVML_SAMPLES_MODULE_POWER,
    NVML_SAMPLES_COUNT = 10,
};
enum {
    NVML_ARCH_KEPLER = 2,
    NVML_ARCH_VOLTA = 5,
    NVML_ARCH_TURING = 6,
    NVML_ARCH_AMPERE = 7,
    NVML_ARCH_ADA = 8,
    NVML_ARCH_HOPPER = 9,
};
enum {
    NVML_FI_ECC_CURRENT = 1,
    NVML_FI_ECC_PENDING = 2,
    NVML_FI_ECC_FIRST_COUNT = 3,
    NVML_FI_ECC_LAST_COUNT = 28,
    NVML_FI_RETIRED_SBE = 29,
    NVML_FI_RETIRED_DBE = 30,
    NVML_FI_RETIRED_PENDING = 31,
    NVML_FI_TOTAL_ENERGY = 83,
    NVML_FI_PCIE_REPLAY = 94,
    NVML_FI_PCIE_ROLLOVER = 95,
    NVML_FI_REMAPPED_COR = 142,
    NVML_FI_REMAPPED_FAILURE = 145,
    NVML_FI_POWER_AVERAGE = 185,
    NVML_FI_POWER_INSTANT = 186,
    NVML_FI_POWER_MIN_LIMIT = 187,
    NVML_FI_POWER_MAX_LIMIT = 188,
    NVML_FI_POWER_DEFAULT_LIMIT = 189,
    NVML_FI_POWER_CURRENT_LIMIT = 190,
    NVML_FI_POWER_REQUESTED_LIMIT = 192,
};

struct nvml_pci_v1 {
    char bus_id[16];
    unsigned domain, bus, device, pci_device_id;
};
struct nvml_pci_v2 {
    char bus_id[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    unsigned reserved[4];
};
struct nvml_pci_v3 {
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};
struct nvml_pci_ext {
    unsigned version, domain, bus, device, pci_device_id, pci_subsystem_id, base_class, sub_class;
    char bus_id[32];
};
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};
struct nvml_bar1 {
    unsigned long long total, free, used;
};
struct nvml_utilization {
    unsigned gpu, memory;
};
struct nvml_process_v1 {
    unsigned pid;
    unsigned long long mem_bytes;
};
/* Of the functions ending in _v2 and _v3. */
struct nvml_process_v2 {
    unsigned pid;
    unsigned long long mem_bytes;
    unsigned gpu_instance, compute_instance;
};
struct nvml_process_detail {
    unsigned pid;
    unsigned long long mem_bytes;
    unsigned gpu_instance, compute_instance;
    unsigned long long protected_bytes;
};
struct nvml_process_detail_list {
    unsigned version, mode, count;
    struct nvml_process_detail *procs;
};
struct nvml_process_util {
    unsigned pid;
    unsigned long long t_us;
    unsigned sm, memory, encoder, decoder;
};
struct nvml_process_util_info {
    unsigned long long t_us;
    unsigned pid, sm, memory, encoder, decoder, jpeg, ofa;
};
struct nvml_process_utils {
    unsigned version, count;
    unsigned long long since_us;
    struct nvml_process_util_info *procs;
};
union nvml_value {
    double d;
    int i;
    unsigned u;
    unsigned long ul;
    unsigned long long ull;
    long long ll;
    unsigned short us;
};
struct nvml_sample {
    unsigned long long t_us;
    union nvml_value value;
};
struct nvml_field {
    unsigned field, scope;
    long long t_us, latency_us;
    unsigned type;
    nvmlReturn_t result;
    union nvml_value value;
};
struct nvml_accounting {
    unsigned gpu_util, mem_util;
    unsigned long long max_mem_bytes, time_ms, start_us;
    unsigned is_running, reserved[5];
};
struct nvml_ecc_counts {
    unsigned long long l1, l2, memory, registers;
};
struct nvml_event {
    nvmlDevice_t device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};
struct nvml_event_v1 {
    nvmlDevice_t device;
    unsigned long long type, data;
};
struct nvml_power_value {
    unsigned version, scope, mw;
};
struct nvml_temperature {
    unsigned version, sensor;
    int celsius;
};
struct nvml_margin {
    unsigned version;
    int kelvin;
};
struct nvml_thermal {
    unsigned count;
    struct {
        int controller, min_c, max_c, now_c, target;
    } sensor[3];
};
struct nvml_fbc {
    unsigned sessions, fps, latency;
};
struct nvml_rows {
    unsigned max, high, partial, low, none;
};
struct nvml_driver_branch {
    unsigned version;
    char branch[80];
};
struct nvml_excluded {
    struct nvml_pci_v3 pci;
    char uuid[80];
};

#endif
