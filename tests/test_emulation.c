/* The emulation: devices shared by processes that may die at any moment, the stand-in NVML to the
 * letter, faults on demand, and a truth that the sensors can be held against. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulator/host.h"
#include "emulator/nvml/abi.h"

/* NVML's functions are called by name here, each with its own arguments: one type for all. */
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#ifdef __clang__
#pragma clang diagnostic ignored "-Wunknown-warning-option"
#pragma clang diagnostic ignored "-Wdeprecated-non-prototype"
#endif

/* One emulation and the stand-in opened on it. */
struct bed {
    struct wt_emulation *emulation;
    void *standin;
    char dir[64];
};

static struct bed bed;

/* Any NVML function by its name. */
static nvmlReturn_t (*nvml(const char *name))()
{
    void *address = dlsym(bed.standin, name);
    if (!address)
        fail_msg("%s is missing: %s", name, dlerror());
    nvmlReturn_t (*function)() = NULL;
    memcpy(&function, &address, sizeof(address)); /* ISO C has no cast for it */
    return function;
}

/* After a test that failed half-way. */
static void bed_drop(void)
{
    if (bed.standin)
        dlclose(bed.standin);
    wt_emulation_free(bed.emulation);
    if (bed.dir[0])
        rmdir(bed.dir);
    bed = (struct bed){0};
}

static void bed_open(const char *spec, const struct wt_emulation_options *options)
{
    bed_drop();
    struct wt_error err = {0};
    struct wt_emulation_options o = options ? *options : (struct wt_emulation_options){.seed = 7};
    strcpy(bed.dir, "/tmp/wattune-test-XXXXXX");
    assert_non_null(mkdtemp(bed.dir));
    o.dir = bed.dir;
    if (wt_emulation_start(&bed.emulation, spec, &o, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(wt_emulation_setenv(bed.emulation, &err), 0);
    bed.standin = dlopen(wt_emulation_library(bed.emulation), RTLD_NOW | RTLD_LOCAL);
    if (!bed.standin)
        fail_msg("%s", dlerror());
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_SUCCESS);
}

static void bed_close(void)
{
    assert_int_equal(nvml("nvmlShutdown")(), NVML_SUCCESS);
    dlclose(bed.standin);
    wt_emulation_free(bed.emulation);
    assert_int_equal(rmdir(bed.dir), 0); /* the emulation has left nothing behind */
    unsetenv("WATTUNE_EMULATION");
    unsetenv("CUDA_VISIBLE_DEVICES");
    bed = (struct bed){0};
}

static nvmlDevice_t gpu(unsigned i)
{
    nvmlDevice_t device = NULL;
    assert_int_equal(nvml("nvmlDeviceGetHandleByIndex_v2")(i, &device), NVML_SUCCESS);
    return device;
}

static unsigned limit_of(unsigned i)
{
    unsigned mw = 0;
    assert_int_equal(nvml("nvmlDeviceGetEnforcedPowerLimit")(gpu(i), &mw), NVML_SUCCESS);
    return mw;
}

static unsigned long long energy_of(unsigned i)
{
    unsigned long long mj = 0;
    assert_int_equal(nvml("nvmlDeviceGetTotalEnergyConsumption")(gpu(i), &mj), NVML_SUCCESS);
    return mj;
}

static double truth_of(unsigned i)
{
    struct wt_shared *s = wt_emulation_shared(bed.emulation);
    struct wt_shared_device *d = wt_shared_lock(s, i);
    double energy_j = wt_model_energy_j(&d->model);
    wt_shared_unlock(d);
    return energy_j;
}

static void pause_ms(int ms)
{
    wt_clock_sleep_until_ns(wt_clock_now_ns() + ms * WT_NS_PER_MS);
}

/* About ms of full work on a V100: its peak is 14e12 FLOP/s. */
static void work(struct wt_emu *emu, const char *label, double ms)
{
    struct wt_error err = {0};
    struct wt_emu_kernel kernels[8];
    for (size_t i = 0; i < WT_COUNTOF(kernels); i++)
        kernels[i] = (struct wt_emu_kernel){.flops = ms * 1e-3 * 12e12 / 8, .bytes = 1e6};
    if (wt_emu_submit(emu, label, kernels, WT_COUNTOF(kernels), 0, &err) < 0)
        fail_msg("%s", err.text);
}

static struct wt_emu *attach(unsigned i)
{
    struct wt_emu *emu = NULL;
    struct wt_error err = {0};
    if (wt_emu_attach(&emu, i, &err) < 0)
        fail_msg("%s", err.text);
    return emu;
}

/* ---- the interface ---- */

static void layouts_are_those_of_nvml(void **state)
{
    (void)state;
    static const struct {
        size_t size, want;
        const char *why;
    } rows[] = {
        {sizeof(struct nvml_pci_v1), 32, "nvmlPciInfo_v1: 16 characters, 4 numbers"},
        {sizeof(struct nvml_pci_v2), 52, "nvmlPciInfo_v2: and 5 more"},
        {sizeof(struct nvml_pci_v3), 68, "nvmlPciInfo_t: 16 and 32 characters, 5 numbers"},
        {sizeof(struct nvml_pci_ext), 64, "nvmlPciInfoExt_v1_t"},
        {sizeof(struct nvml_memory), 24, "nvmlMemory_t: 3 of 8 bytes"},
        {sizeof(struct nvml_memory_v2), 40, "nvmlMemory_v2_t: padded version, 4 of 8 bytes"},
        {sizeof(struct nvml_utilization), 8, "nvmlUtilization_t"},
        {sizeof(struct nvml_process_v1), 16, "nvmlProcessInfo_v1_t"},
        {sizeof(struct nvml_process_v2), 24, "nvmlProcessInfo_v2_t, and _v3's"},
        {sizeof(struct nvml_process_detail), 32, "nvmlProcessDetail_v1_t"},
        {sizeof(struct nvml_process_util), 32, "nvmlProcessUtilizationSample_t"},
        {sizeof(struct nvml_process_util_info), 40, "nvmlProcessUtilizationInfo_v1_t"},
        {sizeof(struct nvml_process_utils), 24, "nvmlProcessesUtilizationInfo_v1_t"},
        {sizeof(struct nvml_sample), 16, "nvmlSample_t"},
        {sizeof(struct nvml_field), 40, "nvmlFieldValue_t"},
        {offsetof(struct nvml_field, value), 32, "nvmlFieldValue_t.value"},
        {sizeof(struct nvml_accounting), 56, "nvmlAccountingStats_t"},
        {sizeof(struct nvml_ecc_counts), 32, "nvmlEccErrorCounts_t"},
        {sizeof(struct nvml_event), 32, "nvmlEventData_t"},
        {sizeof(struct nvml_power_value), 12, "nvmlPowerValue_v2_t"},
        {sizeof(struct nvml_temperature), 12, "nvmlTemperature_v1_t"},
        {sizeof(struct nvml_thermal), 64, "nvmlGpuThermalSettings_t"},
        {NVML_VERSION_OF(struct nvml_memory_v2, 2), 0x02000028,
         "nvmlMemory_v2, as clients send it"},
        {NVML_VERSION_OF(struct nvml_temperature, 1), 0x0100000c, "nvmlTemperature_v1"},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (rows[i].size != rows[i].want)
            fail_msg("%zu, want %zu: %s", rows[i].size, rows[i].want, rows[i].why);
}

/* Calls fn for every NVML function that the stand-in exports. */
static unsigned for_each_export(void (*fn)(const char *name))
{
    char command[2200], line[256];
    unsigned count = 0;
    wt_text(command, sizeof(command), "nm -D --defined-only '%s'",
            wt_emulation_library(bed.emulation));
    FILE *f = popen(command, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        char name[128];
        if (sscanf(line, "%*s T %127s", name) != 1 || strncmp(name, "nvml", 4) != 0 ||
            strcmp(name, "nvmlErrorString") == 0)
            continue;
        fn(name);
        count++;
    }
    assert_int_equal(pclose(f), 0);
    return count;
}

static void call_uninitialised(const char *name)
{
    if (strncmp(name, "nvmlInit", 8) == 0)
        return;
    bool is_free = strcmp(name, "nvmlSystemGetNVMLVersion") == 0 ||
                   strncmp(name, "nvmlSystemGetCudaDriverVersion", 30) == 0;
    nvmlReturn_t got = nvml(name)(NULL, NULL, NULL, NULL, NULL, NULL);
    if (got != (is_free ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_UNINITIALIZED))
        fail_msg("%s before nvmlInit: %d", name, (int)got);
}

static void no_function_works_before_init(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(nvml("nvmlShutdown")(), NVML_SUCCESS);
    assert_true(for_each_export(call_uninitialised) > 200);
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_SUCCESS);
    bed_close();
}

static void call_with_nothing(const char *name)
{
    if (strncmp(name, "nvmlInit", 8) == 0 || strcmp(name, "nvmlShutdown") == 0)
        return;
    nvmlReturn_t got = nvml(name)(NULL, NULL, NULL, NULL, NULL, NULL);
    if (got != NVML_ERROR_INVALID_ARGUMENT)
        fail_msg("%s with null arguments: %d", name, (int)got);
}

static void call_with_a_device_only(const char *name)
{
    if (strncmp(name, "nvmlDevice", 10) != 0 || strncmp(name, "nvmlDeviceGetHandleBy", 21) == 0 ||
        strncmp(name, "nvmlDeviceGetCount", 18) == 0 || strstr(name, "Reset") ||
        strstr(name, "Set"))
        return;
    nvmlReturn_t got = nvml(name)(gpu(0), NULL, NULL, NULL, NULL, NULL);
    if (got != NVML_ERROR_INVALID_ARGUMENT && got != NVML_ERROR_NOT_SUPPORTED &&
        strcmp(name, "nvmlDeviceClearAccountingPids") != 0)
        fail_msg("%s without a place for its answer: %d", name, (int)got);
}

static void every_function_refuses_null_arguments(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    for_each_export(call_with_nothing);
    for_each_export(call_with_a_device_only);
    bed_close();
}

static void init_counts_references(void **state)
{
    (void)state;
    unsigned count = 0;
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlShutdown")(), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlDeviceGetCount_v2")(&count), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlShutdown")(), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlShutdown")(), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvml("nvmlDeviceGetCount_v2")(&count), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_SUCCESS);
    bed_close();
}

static void without_an_emulation_the_driver_is_not_loaded(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    char dir[1024];
    wt_text(dir, sizeof(dir), "%s", wt_emulation_dir(bed.emulation));
    assert_int_equal(nvml("nvmlShutdown")(), NVML_SUCCESS);
    unsetenv("WATTUNE_EMULATION");
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_ERROR_DRIVER_NOT_LOADED);
    setenv("WATTUNE_EMULATION", dir, 1);
    assert_int_equal(nvml("nvmlInit_v2")(), NVML_SUCCESS);
    assert_non_null(dlsym(bed.standin, "wattune_nvml_is_emulated"));
    bed_close();
}

static void a_text_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char name[64];
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(nvml("nvmlDeviceGetName")(gpu(0), name, sizeof(name)), NVML_SUCCESS);
    assert_string_equal(name, "Tesla V100-PCIE-32GB");
    assert_int_equal(nvml("nvmlDeviceGetName")(gpu(0), name, 20), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(nvml("nvmlDeviceGetName")(gpu(0), name, 21), NVML_SUCCESS);
    bed_close();
}

static void a_device_is_found_by_each_of_its_names(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb:3", NULL);
    char uuid[96], serial[30];
    struct nvml_pci_v3 pci;
    nvmlDevice_t device = NULL;
    assert_int_equal(nvml("nvmlDeviceGetUUID")(gpu(2), uuid, 96), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlDeviceGetSerial")(gpu(2), serial, 30), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlDeviceGetPciInfo_v3")(gpu(2), &pci), NVML_SUCCESS);
    const struct {
        const char *function, *key;
        nvmlReturn_t want;
    } rows[] = {
        {"nvmlDeviceGetHandleByUUID", uuid, NVML_SUCCESS},
        {"nvmlDeviceGetHandleBySerial", serial, NVML_SUCCESS},
        {"nvmlDeviceGetHandleByPciBusId_v2", pci.bus_id, NVML_SUCCESS},
        {"nvmlDeviceGetHandleByPciBusId_v2", pci.bus_id_legacy, NVML_SUCCESS},
        {"nvmlDeviceGetHandleByUUID", "GPU-0", NVML_ERROR_NOT_FOUND},
        {"nvmlDeviceGetHandleByPciBusId_v2", "0000:F0:00.0", NVML_ERROR_NOT_FOUND},
        {"nvmlDeviceGetHandleByPciBusId_v2", "somewhere", NVML_ERROR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        device = NULL;
        assert_int_equal(nvml(rows[i].function)(rows[i].key, &device), rows[i].want);
        if (rows[i].want == NVML_SUCCESS)
            assert_ptr_equal(device, gpu(2));
    }
    assert_int_equal(nvml("nvmlDeviceGetHandleByIndex_v2")(3, &device),
                     NVML_ERROR_INVALID_ARGUMENT);
    bed_close();
}

static void lists_say_how_much_room_they_need(void **state)
{
    (void)state;
    unsigned count = 0, clocks[1024];
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(nvml("nvmlDeviceGetSupportedGraphicsClocks")(gpu(0), 877, &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_true(count > 100);
    unsigned want = count;
    assert_int_equal(nvml("nvmlDeviceGetSupportedGraphicsClocks")(gpu(0), 877, &count, clocks),
                     NVML_SUCCESS);
    assert_int_equal(count, want);
    assert_int_equal(clocks[0], 1380); /* highest first */
    for (unsigned i = 1; i < count; i++)
        assert_true(clocks[i] < clocks[i - 1]);
    assert_int_equal(nvml("nvmlDeviceGetSupportedGraphicsClocks")(gpu(0), 900, &count, clocks),
                     NVML_ERROR_NOT_FOUND);
    bed_close();
}

static void what_a_generation_lacks_is_not_supported(void **state)
{
    (void)state;
    enum { K80, V100, A40, A100 };
    bed_open("k80,v100-pcie-32gb,a40,a100-pcie-80gb", NULL);
    pause_ms(300);
    unsigned long long mj;
    unsigned mode, pending;
    static const struct {
        unsigned gpu, field;
        nvmlReturn_t want;
    } fields[] = {
        {K80, NVML_FI_TOTAL_ENERGY, NVML_ERROR_NOT_SUPPORTED},
        {V100, NVML_FI_TOTAL_ENERGY, NVML_SUCCESS},
        {K80, NVML_FI_POWER_AVERAGE, NVML_ERROR_NOT_SUPPORTED},
        {A40, NVML_FI_POWER_AVERAGE, NVML_SUCCESS},
        {A40, NVML_FI_POWER_INSTANT, NVML_SUCCESS},
        {V100, 60000, NVML_ERROR_NOT_SUPPORTED},
    };
    for (size_t i = 0; i < WT_COUNTOF(fields); i++) {
        struct nvml_field f = {.field = fields[i].field};
        assert_int_equal(nvml("nvmlDeviceGetFieldValues")(gpu(fields[i].gpu), 1, &f), NVML_SUCCESS);
        if (f.result != fields[i].want)
            fail_msg("GPU %u field %u: %d", fields[i].gpu, fields[i].field, (int)f.result);
    }
    assert_int_equal(nvml("nvmlDeviceGetTotalEnergyConsumption")(gpu(K80), &mj),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvml("nvmlDeviceSetGpuLockedClocks")(gpu(K80), 562, 562),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvml("nvmlDeviceGetMigMode")(gpu(V100), &mode, &pending),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(nvml("nvmlDeviceGetMigMode")(gpu(A100), &mode, &pending), NVML_SUCCESS);
    assert_int_equal(mode, 0);
    bed_close();
}

static void the_version_of_a_structure_is_checked(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    struct nvml_memory_v2 m = {.version = 1};
    assert_int_equal(nvml("nvmlDeviceGetMemoryInfo_v2")(gpu(0), &m),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    m.version = NVML_VERSION_OF(m, 2);
    assert_int_equal(nvml("nvmlDeviceGetMemoryInfo_v2")(gpu(0), &m), NVML_SUCCESS);
    assert_int_equal(m.total, m.reserved + m.used + m.free);
    bed_close();
}

/* ---- settings ---- */

static void a_limit_is_taken_within_its_range_and_refused_beyond(void **state)
{
    (void)state;
    static const struct {
        unsigned mw;
        nvmlReturn_t want;
    } rows[] = {
        {150000, NVML_SUCCESS},
        {99999, NVML_ERROR_INVALID_ARGUMENT},
        {100000, NVML_SUCCESS},
        {250000, NVML_SUCCESS},
        {250001, NVML_ERROR_INVALID_ARGUMENT},
        {0, NVML_ERROR_INVALID_ARGUMENT},
    };
    bed_open("v100-pcie-32gb:2", NULL);
    unsigned now = 250000;
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        assert_int_equal(nvml("nvmlDeviceSetPowerManagementLimit")(gpu(1), rows[i].mw),
                         rows[i].want);
        if (rows[i].want == NVML_SUCCESS)
            now = rows[i].mw;
        assert_int_equal(limit_of(1), now);
        assert_int_equal(limit_of(0), 250000); /* the other one is left alone */
    }
    bed_close();
}

static void an_ordinary_user_may_read_and_not_set(void **state)
{
    (void)state;
    const struct wt_emulation_options options = {.seed = 7, .is_unprivileged = true};
    bed_open("v100-pcie-32gb", &options);
    static const struct {
        const char *function;
        unsigned a, b;
    } rows[] = {
        {"nvmlDeviceSetPowerManagementLimit", 150000, 0},
        {"nvmlDeviceSetGpuLockedClocks", 1380, 1380},
        {"nvmlDeviceResetGpuLockedClocks", 0, 0},
        {"nvmlDeviceSetApplicationsClocks", 877, 1380},
        {"nvmlDeviceSetPersistenceMode", 1, 0},
        {"nvmlDeviceSetAccountingMode", 1, 0},
        {"nvmlDeviceSetComputeMode", 0, 0},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++)
        if (nvml(rows[i].function)(gpu(0), rows[i].a, rows[i].b) != NVML_ERROR_NO_PERMISSION)
            fail_msg("%s", rows[i].function);
    assert_int_equal(limit_of(0), 250000);
    bed_close();
}

static void a_clock_lock_holds_and_is_taken_back(void **state)
{
    (void)state;
    unsigned mhz = 0;
    unsigned long long reasons = 0;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    assert_int_equal(nvml("nvmlDeviceSetGpuLockedClocks")(gpu(0), 900, 900), NVML_SUCCESS);
    work(emu, "locked", 120);
    assert_int_equal(nvml("nvmlDeviceGetClockInfo")(gpu(0), NVML_CLOCK_SM, &mhz), NVML_SUCCESS);
    assert_in_range(mhz, 890, 900);
    assert_int_equal(nvml("nvmlDeviceSetGpuLockedClocks")(gpu(0), 1380, 900),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvml("nvmlDeviceSetGpuLockedClocks")(gpu(0), 0xffffff01u, 900),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvml("nvmlDeviceResetGpuLockedClocks")(gpu(0)), NVML_SUCCESS);
    work(emu, "free", 120);
    assert_int_equal(nvml("nvmlDeviceGetClockInfo")(gpu(0), NVML_CLOCK_SM, &mhz), NVML_SUCCESS);
    assert_true(mhz > 900);
    assert_int_equal(nvml("nvmlDeviceGetCurrentClocksThrottleReasons")(gpu(0), &reasons),
                     NVML_SUCCESS);
    assert_int_equal(reasons & WT_MODEL_THROTTLE_APP_CLOCK, 0);
    wt_emu_detach(emu);
    bed_close();
}

static void every_listed_clock_can_be_locked(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb,h100-sxm-80gb", NULL);
    struct wt_shared *s = wt_emulation_shared(bed.emulation);
    for (unsigned i = 0; i < 2; i++) {
        unsigned memory[8], clocks[1024], count = 8;
        assert_int_equal(nvml("nvmlDeviceGetSupportedMemoryClocks")(gpu(i), &count, memory),
                         NVML_SUCCESS);
        count = 1024;
        assert_int_equal(
            nvml("nvmlDeviceGetSupportedGraphicsClocks")(gpu(i), memory[0], &count, clocks),
            NVML_SUCCESS);
        for (unsigned k = 0; k < count; k++) {
            assert_int_equal(nvml("nvmlDeviceSetGpuLockedClocks")(gpu(i), clocks[k], clocks[k]),
                             NVML_SUCCESS);
            assert_int_equal(s->file->devices[i].model.lock_max_khz / 1000, clocks[k]);
        }
    }
    bed_close();
}

/* ---- many processes ---- */

/* Runs fn in a child and returns how it ended. */
static int in_child(void (*fn)(void))
{
    int status = -1;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void set_160_w(void)
{
    nvmlDevice_t device = NULL;
    nvml("nvmlDeviceGetHandleByIndex_v2")(0, &device);
    if (nvml("nvmlDeviceSetPowerManagementLimit")(device, 160000) != NVML_SUCCESS)
        _exit(1);
}

static void two_processes_see_one_device(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(in_child(set_160_w), 0);
    assert_int_equal(limit_of(0), 160000);
    bed_close();
}

static void die_with_the_lock(void)
{
    struct wt_shared *s;
    if (wt_shared_open(&s, getenv("WATTUNE_EMULATION"), NULL) < 0)
        _exit(1);
    struct wt_shared_device *d = wt_shared_lock(s, 0);
    wt_shared_change(d);
    /* Half a change: settings and energy destroyed, queues inconsistent. */
    d->model.limit_mw = 1;
    d->model.energy_fj = 0;
    d->model.load_tail = 99;
    memset(&d->state, 0xff, sizeof(d->state));
    kill(getpid(), SIGKILL);
}

static void die_with_the_lock_before_the_copy(void)
{
    struct wt_shared *s;
    if (wt_shared_open(&s, getenv("WATTUNE_EMULATION"), NULL) < 0)
        _exit(1);
    struct wt_shared_device *d = wt_shared_lock(s, 0);
    memset(d->saved, 0xff, sizeof(d->saved)); /* copying had only begun: not marked as whole */
    kill(getpid(), SIGKILL);
}

static void killing_a_holder_of_the_lock_harms_nobody(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    double before_j = truth_of(0);
    for (int i = 0; i < 20; i++) {
        int status = in_child(i % 2 ? die_with_the_lock : die_with_the_lock_before_the_copy);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        double after_j = truth_of(0);
        assert_true(after_j > before_j);
        assert_int_equal(limit_of(0), 250000);
        before_j = after_j;
    }
    work(emu, "still works", 20);
    wt_emu_detach(emu);
    bed_close();
}

static void read_for_ever(void)
{
    nvmlDevice_t device = NULL;
    unsigned mw;
    nvml("nvmlDeviceGetHandleByIndex_v2")(0, &device);
    for (;;)
        nvml("nvmlDeviceGetPowerUsage")(device, &mw);
}

static void clients_killed_at_any_moment_leave_the_device_whole(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    double before_j = truth_of(0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            read_for_ever();
        wt_clock_sleep_until_ns(wt_clock_now_ns() + 1000000 + i * 137000);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        double after_j = truth_of(0);
        assert_true(after_j >= before_j);
        before_j = after_j;
    }
    bed_close();
}

static void work_and_show_it(void)
{
    struct wt_emu *emu;
    if (wt_emu_attach(&emu, 0, NULL) < 0 || wt_emu_memory(emu, UINT64_C(3) << 30, NULL) < 0)
        _exit(1);
    struct wt_emu_kernel k = {.flops = 6e12, .bytes = 1e6};
    if (wt_emu_submit(emu, "child", &k, 1, 0, NULL) < 0)
        _exit(1);
    struct nvml_process_v2 procs[4];
    unsigned count = 4;
    nvmlDevice_t device = NULL;
    nvml("nvmlDeviceGetHandleByIndex_v2")(0, &device);
    if (nvml("nvmlDeviceGetComputeRunningProcesses_v3")(device, &count, procs) != NVML_SUCCESS ||
        count != 1 || procs[0].pid != (unsigned)getpid() || procs[0].mem_bytes != UINT64_C(3) << 30)
        _exit(2);
    struct nvml_process_util utils[64];
    count = 64;
    if (nvml("nvmlDeviceGetProcessUtilization")(device, utils, &count, 0ULL) != NVML_SUCCESS ||
        count != 1 || utils[0].pid != (unsigned)getpid() || utils[0].sm > 100)
        _exit(3);
    kill(getpid(), SIGKILL); /* no detach: it must be noticed */
}

static void a_process_is_listed_while_it_lives(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    int status = in_child(work_and_show_it);
    assert_true(WIFSIGNALED(status));
    unsigned count = 0;
    struct nvml_memory memory;
    assert_int_equal(nvml("nvmlDeviceGetComputeRunningProcesses_v3")(gpu(0), &count, NULL),
                     NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(nvml("nvmlDeviceGetMemoryInfo")(gpu(0), &memory), NVML_SUCCESS);
    assert_true(memory.used < UINT64_C(1) << 30);
    bed_close();
}

static void a_program_stays_until_its_last_handle_is_detached(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *first = attach(0), *second = attach(0);
    static const unsigned want[] = {1, 1, 0};
    for (size_t i = 0; i < WT_COUNTOF(want); i++) {
        struct nvml_process_v1 procs[4];
        unsigned count = 4;
        assert_int_equal(nvml("nvmlDeviceGetComputeRunningProcesses")(gpu(0), &count, procs),
                         NVML_SUCCESS);
        assert_int_equal(count, want[i]);
        wt_emu_detach(i == 0 ? first : i == 1 ? second : NULL);
    }
    bed_close();
}

static void more_memory_than_there_is_is_refused(void **state)
{
    (void)state;
    struct wt_error err = {0};
    bed_open("t4", NULL);
    struct wt_emu *emu = attach(0);
    assert_int_equal(wt_emu_memory(emu, UINT64_C(17) << 30, &err), WT_E_FULL);
    assert_non_null(strstr(err.text, "17408 MiB"));
    assert_int_equal(wt_emu_memory(emu, UINT64_C(10) << 30, &err), 0);
    wt_emu_detach(emu);
    bed_close();
}

static void a_program_sees_what_cuda_visible_devices_leaves(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb:3", NULL);
    struct wt_shared *s = wt_emulation_shared(bed.emulation);
    char by_uuid[128];
    wt_text(by_uuid, sizeof(by_uuid), "1,%.12s", s->file->devices[2].uuid);
    const struct {
        const char *list;
        unsigned gpu;
        int want; /* the device, or an error */
    } rows[] = {
        {NULL, 2, 2},           {NULL, 3, WT_E_USAGE},
        {"2,0", 0, 2},          {"2,0", 1, 0},
        {"2,0", 2, WT_E_USAGE}, {"", 0, WT_E_USAGE},
        {"-1", 0, WT_E_USAGE},  {"7,1", 1, WT_E_USAGE},
        {by_uuid, 1, 2},        {"GPU-", 0, WT_E_USAGE},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_emu *emu = NULL;
        struct wt_error err = {0};
        unsigned count = 0;
        if (rows[i].list)
            setenv("CUDA_VISIBLE_DEVICES", rows[i].list, 1);
        else
            unsetenv("CUDA_VISIBLE_DEVICES");
        int rc = wt_emu_attach(&emu, rows[i].gpu, &err);
        if (rc != (rows[i].want < 0 ? rows[i].want : 0))
            fail_msg("row %zu: %d %s", i, rc, err.text);
        if (rc < 0)
            continue;
        nvml("nvmlDeviceGetComputeRunningProcesses")(gpu((unsigned)rows[i].want), &count, NULL);
        assert_int_equal(count, 1);
        wt_emu_detach(emu);
    }
    bed_close();
}

/* ---- the truth ---- */

static json_t *read_truth(void)
{
    char path[1100];
    struct wt_error err = {0};
    wt_text(path, sizeof(path), "%s/truth.json", wt_emulation_dir(bed.emulation));
    if (wt_emulation_truth(bed.emulation, path, &err) < 0)
        fail_msg("%s", err.text);
    json_t *truth = json_load_file(path, 0, NULL);
    assert_non_null(truth);
    return truth;
}

static void the_truth_has_every_load_and_the_loads_lie_within_it(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb:2", NULL);
    struct wt_emu *emu = attach(1);
    work(emu, "first", 30);
    work(emu, "second", 60);
    wt_emu_detach(emu);
    json_t *truth = read_truth();
    json_t *devices = json_object_get(truth, "devices"), *loads = json_object_get(truth, "loads");
    assert_int_equal(json_array_size(devices), 2);
    assert_int_equal(json_array_size(loads), 2);
    double sum_j = 0, last_s = 0;
    static const char *const labels[] = {"first", "second"};
    for (size_t i = 0; i < 2; i++) {
        json_t *load = json_array_get(loads, i);
        double start_s = json_real_value(json_object_get(load, "start_s"));
        double end_s = json_real_value(json_object_get(load, "end_s"));
        double energy_j = json_real_value(json_object_get(load, "energy_j"));
        assert_string_equal(json_string_value(json_object_get(load, "label")), labels[i]);
        assert_int_equal(json_integer_value(json_object_get(load, "device")), 1);
        assert_true(start_s >= last_s && end_s > start_s);
        assert_true(energy_j / (end_s - start_s) > 30 && energy_j / (end_s - start_s) < 300);
        last_s = end_s;
        sum_j += energy_j;
    }
    double device_j = json_real_value(json_object_get(json_array_get(devices, 1), "energy_j"));
    double idle_j = json_real_value(json_object_get(json_array_get(devices, 0), "energy_j"));
    assert_true(sum_j < device_j && idle_j < device_j);
    json_decref(truth);
    bed_close();
}

static void a_submission_longer_than_the_queue_is_one_load(void **state)
{
    (void)state;
    enum { COUNT = 3 * WT_MODEL_KERNELS };
    struct wt_error err = {0};
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    struct wt_emu_kernel *kernels = calloc(COUNT, sizeof(*kernels));
    assert_non_null(kernels);
    for (size_t i = 0; i < COUNT; i++)
        kernels[i] = (struct wt_emu_kernel){.flops = 1e6, .bytes = 1e3};
    assert_int_equal(wt_emu_submit(emu, "long", kernels, COUNT, 0, &err), 0);
    free(kernels);
    json_t *truth = read_truth();
    assert_int_equal(json_array_size(json_object_get(truth, "loads")), 1);
    json_decref(truth);
    wt_emu_detach(emu);
    bed_close();
}

static void energy_equals_integrated_power(void **state)
{
    (void)state;
    static struct nvml_sample samples[128];
    unsigned count = 128, type;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    pause_ms(60);
    for (int i = 0; i < 5; i++) {
        work(emu, "burst", 120);
        pause_ms(60);
    }
    wt_emu_detach(emu);
    assert_int_equal(
        nvml("nvmlDeviceGetSamples")(gpu(0), NVML_SAMPLES_POWER, 0ULL, &type, &count, samples),
        NVML_SUCCESS);
    assert_int_equal(type, NVML_VALUE_UINT);
    assert_true(count > 30 && count < 120);

    /* The sensor of a V100 sees half of each 20 ms; over many edges at no fixed phase the half it
     * sees stands for the whole. Its gain is within 5 %, and edges leave some percent more. */
    double sampled_j = 0;
    for (unsigned i = 1; i < count; i++)
        sampled_j +=
            samples[i].value.u * 1e-3 * (double)(samples[i].t_us - samples[i - 1].t_us) * 1e-6;
    struct wt_shared *s = wt_emulation_shared(bed.emulation);
    struct wt_shared_device *d = wt_shared_lock(s, 0);
    struct wt_model_sample rows[WT_MODEL_SAMPLES];
    size_t n = wt_model_power_samples(&d->model, s->profiles[0], d->model.t_ns, INT64_MIN, rows,
                                      WT_MODEL_SAMPLES);
    wt_shared_unlock(d);
    wt_fj first_fj = 0, last_fj = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t t_us = wt_shared_unix_us(s, rows[i].t_ns);
        if (t_us == samples[0].t_us)
            first_fj = rows[i].energy_fj;
        if (t_us == samples[count - 1].t_us)
            last_fj = rows[i].energy_fj;
    }
    assert_true(first_fj > 0 && last_fj > first_fj);
    double true_j = wt_j_from_fj(last_fj - first_fj);
    assert_true(fabs(sampled_j / true_j - 1) < 0.12);

    /* A client that has seen everything is told so. */
    unsigned again = 128;
    assert_int_equal(nvml("nvmlDeviceGetSamples")(gpu(0), NVML_SAMPLES_POWER,
                                                  samples[count - 1].t_us + 10000000, &type, &again,
                                                  samples),
                     NVML_ERROR_NOT_FOUND);
    bed_close();
}

/* The counter through NVML and the truth of the same moment. */
static void read_both(unsigned long long *mj, double *true_j)
{
    double before_j;
    do {
        before_j = truth_of(0);
        *mj = energy_of(0);
        *true_j = truth_of(0);
    } while (*true_j - before_j > 1);
}

static void the_counter_follows_the_truth(void **state)
{
    (void)state;
    unsigned long long first_mj, last_mj;
    double first_j, last_j;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    read_both(&first_mj, &first_j);
    work(emu, "measured", 900);
    read_both(&last_mj, &last_j);
    double counted_j = (double)(last_mj - first_mj) * 1e-3, true_j = last_j - first_j;
    /* One 20 ms step at 250 W at either end, and 5 % of gain. */
    assert_true(true_j > 50);
    assert_true(fabs(counted_j - true_j) < 0.05 * true_j + 2 * 0.020 * 250 + 1);
    wt_emu_detach(emu);
    bed_close();
}

static void uuids_are_stable_by_seed_and_all_different(void **state)
{
    (void)state;
    char uuids[3][8][48];
    static const uint64_t seeds[3] = {11, 11, 12};
    for (int k = 0; k < 3; k++) {
        const struct wt_emulation_options options = {.seed = seeds[k]};
        bed_open("v100-pcie-32gb:8", &options);
        for (unsigned i = 0; i < 8; i++) {
            assert_int_equal(nvml("nvmlDeviceGetUUID")(gpu(i), uuids[k][i], 48), NVML_SUCCESS);
            assert_int_equal(strlen(uuids[k][i]), 40);
        }
        bed_close();
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_string_equal(uuids[0][i], uuids[1][i]);
        assert_string_not_equal(uuids[0][i], uuids[2][i]);
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(uuids[0][i], uuids[0][j]);
    }
}

static void forty_devices_are_forty(void **state)
{
    (void)state;
    unsigned count = 0;
    bed_open("v100-pcie-32gb:40", NULL);
    assert_int_equal(nvml("nvmlDeviceGetCount_v2")(&count), NVML_SUCCESS);
    assert_int_equal(count, 40);
    struct wt_emu *emu = attach(39);
    work(emu, "last", 20);
    wt_emu_detach(emu);
    assert_true(truth_of(39) > truth_of(31));
    assert_true(energy_of(39) > 0);
    bed_close();
}

/* ---- faults ---- */

static void each_fault_does_what_its_name_says(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *function;
        unsigned gpu, calls_before;
        nvmlReturn_t want;
    } rows[] = {
        {"lost", "nvmlDeviceGetPowerUsage", 0, 0, NVML_ERROR_GPU_IS_LOST},
        {"lost:gpu=1", "nvmlDeviceGetPowerUsage", 0, 0, NVML_SUCCESS},
        {"lost:gpu=0", "nvmlDeviceGetPowerUsage", 0, 0, NVML_ERROR_GPU_IS_LOST},
        {"lost@1m", "nvmlDeviceGetPowerUsage", 0, 0, NVML_SUCCESS},
        {"unknown", "nvmlDeviceGetTemperature", 0, 0, NVML_ERROR_UNKNOWN},
        {"unsupported:nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetTotalEnergyConsumption",
         0, 0, NVML_ERROR_NOT_SUPPORTED},
        {"unsupported:nvmlDeviceGetTotal*", "nvmlDeviceGetTotalEnergyConsumption", 0, 0,
         NVML_ERROR_NOT_SUPPORTED},
        {"unsupported:nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", 0, 0,
         NVML_SUCCESS},
        {"denied", "nvmlDeviceGetPowerUsage", 0, 0, NVML_SUCCESS},
        {"denied:nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerUsage", 0, 0,
         NVML_ERROR_NO_PERMISSION},
        {"unknown@#3:nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerUsage", 0, 1, NVML_SUCCESS},
        {"unknown@#3:nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerUsage", 0, 2, NVML_ERROR_UNKNOWN},
        {"unknown@#3+1:nvmlDeviceGetPowerUsage", "nvmlDeviceGetPowerUsage", 0, 3, NVML_SUCCESS},
    };
    bed_open("v100-pcie-32gb:2", NULL);
    pause_ms(60);
    nvmlDevice_t devices[2] = {gpu(0), gpu(1)};
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        unsigned long long value[4];
        unsigned small;
        bool is_heat = strcmp(rows[i].function, "nvmlDeviceGetTemperature") == 0;
        if (wt_emulation_fault_add(bed.emulation, rows[i].fault, &err) < 0)
            fail_msg("%s", err.text);
        nvmlReturn_t got = NVML_SUCCESS;
        for (unsigned k = 0; k <= rows[i].calls_before; k++)
            got = is_heat ? nvml(rows[i].function)(devices[rows[i].gpu], 0, &small)
                          : nvml(rows[i].function)(devices[rows[i].gpu], value);
        if (got != rows[i].want)
            fail_msg("%s: %s gave %d", rows[i].fault, rows[i].function, (int)got);
        wt_emulation_fault_clear(bed.emulation);
    }
    assert_int_equal(nvml("nvmlDeviceGetPowerUsage")(devices[0], &(unsigned){0}), NVML_SUCCESS);
    bed_close();
}

static void a_denied_setting_stays_as_it_was(void **state)
{
    (void)state;
    const struct wt_emulation_options options = {.seed = 7, .faults = "denied"};
    bed_open("v100-pcie-32gb", &options);
    assert_int_equal(nvml("nvmlDeviceSetPowerManagementLimit")(gpu(0), 150000),
                     NVML_ERROR_NO_PERMISSION);
    assert_int_equal(limit_of(0), 250000);
    bed_close();
}

static void a_reset_counter_begins_again_and_a_jump_leaps(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    pause_ms(60);
    unsigned long long before = energy_of(0);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "reset", NULL), 0);
    unsigned long long after = energy_of(0);
    assert_true(before > 60000 && after < 60000); /* a minute at 1 kW is 60 kJ */
    pause_ms(100);
    assert_true(energy_of(0) > after);
    wt_emulation_fault_clear(bed.emulation);
    assert_true(energy_of(0) >= before);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "jump", NULL), 0);
    assert_true(energy_of(0) - before >= UINT64_C(1) << 32);
    bed_close();
}

static void a_frozen_sensor_keeps_its_value_and_the_truth_goes_on(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    pause_ms(60);
    assert_int_equal(
        wt_emulation_fault_add(bed.emulation, "frozen:nvmlDeviceGetTotalEnergyConsumption", NULL),
        0);
    unsigned long long mj = energy_of(0);
    double true_j = truth_of(0);
    unsigned idle_mw, busy_mw;
    assert_int_equal(nvml("nvmlDeviceGetPowerUsage")(gpu(0), &idle_mw), NVML_SUCCESS);
    work(emu, "unseen", 100);
    assert_int_equal(nvml("nvmlDeviceGetPowerUsage")(gpu(0), &busy_mw), NVML_SUCCESS);
    assert_int_equal(energy_of(0), mj);
    assert_true(truth_of(0) > true_j + 3);
    assert_true(busy_mw > idle_mw); /* the fault names the counter only */
    wt_emu_detach(emu);
    bed_close();
}

static void garbage_is_out_of_any_range_sooner_or_later(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    pause_ms(60);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "garbage", NULL), 0);
    unsigned absurd = 0, mw;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(nvml("nvmlDeviceGetPowerUsage")(gpu(0), &mw), NVML_SUCCESS);
        absurd += mw > 1000000 || mw == 0;
    }
    assert_true(absurd >= 4);
    bed_close();
}

static void a_slow_counter_is_late_and_right(void **state)
{
    (void)state;
    bed_open("h100-sxm-80gb", NULL);
    unsigned long long before_mj, mj;
    unsigned mw;
    assert_int_equal(nvml("nvmlDeviceGetTotalEnergyConsumption")(gpu(0), &before_mj), NVML_SUCCESS);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "slow", NULL), 0);
    int64_t begin_ns = wt_clock_now_ns();
    assert_int_equal(nvml("nvmlDeviceGetTotalEnergyConsumption")(gpu(0), &mj), NVML_SUCCESS);
    assert_true(wt_clock_now_ns() - begin_ns >= 3 * WT_NS_PER_MS); /* never sooner */
    assert_true(mj >= before_mj && mj < before_mj + 10000000);
    assert_int_equal(nvml("nvmlDeviceGetPowerUsage")(gpu(0), &mw), NVML_SUCCESS);
    bed_close();
}

static void hang_until_killed(void)
{
    nvmlDevice_t device = NULL;
    unsigned mw;
    nvml("nvmlDeviceGetHandleByIndex_v2")(0, &device);
    nvml("nvmlDeviceGetPowerUsage")(device, &mw);
}

static void a_hanging_call_holds_up_its_caller_only(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "hang:nvmlDeviceGetPowerUsage", NULL),
                     0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        hang_until_killed();
        _exit(0);
    }
    pause_ms(100);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it hangs */
    assert_int_equal(limit_of(0), 250000);            /* others do not */
    wt_emulation_fault_clear(bed.emulation);          /* and it ends with the fault */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    bed_close();
}

static void work_on_a_lost_device_ends_with_gone(void **state)
{
    (void)state;
    struct wt_error err = {0};
    bed_open("v100-pcie-32gb", NULL);
    struct wt_emu *emu = attach(0);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "lost@50ms", NULL), 0);
    struct wt_emu_kernel k = {.flops = 120e12};
    assert_int_equal(wt_emu_submit(emu, "lost", &k, 1, 0, &err), WT_E_GONE);
    nvmlEventSet_t set = NULL;
    struct nvml_event event = {0};
    wt_emulation_fault_clear(bed.emulation);
    assert_int_equal(nvml("nvmlEventSetCreate")(&set), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlDeviceRegisterEvents")(gpu(0), 8ULL, set), NVML_SUCCESS);
    assert_int_equal(nvml("nvmlEventSetWait_v2")(set, &event, 1), NVML_ERROR_TIMEOUT);
    assert_int_equal(wt_emulation_fault_add(bed.emulation, "lost", NULL), 0);
    assert_int_equal(nvml("nvmlEventSetWait_v2")(set, &event, 1), NVML_SUCCESS);
    assert_int_equal(event.data, 79); /* Xid 79: fallen off the bus */
    assert_int_equal(nvml("nvmlEventSetFree")(set), NVML_SUCCESS);
    wt_emu_detach(emu);
    bed_close();
}

/* ---- words ---- */

static void a_bad_word_is_refused_and_named(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *faults;
        int want;
        const char *named;
    } rows[] = {
        {"v100", NULL, WT_E_NOTFOUND, "\"v100\""},
        {"", NULL, WT_E_NOTFOUND, "\"\""},
        {"v100-pcie-32gb:0", NULL, WT_E_USAGE, "\"0\""},
        {"v100-pcie-32gb:x", NULL, WT_E_USAGE, "\"x\""},
        {"v100-pcie-32gb:65", NULL, WT_E_USAGE, "\"65\""},
        {"v100-pcie-32gb:40,a40:40", NULL, WT_E_USAGE, "more than 64"},
        {"a40,", NULL, WT_E_NOTFOUND, "\"\""},
        {"a40", "burnt", WT_E_USAGE, "\"burnt\""},
        {"a40", "lost@soon", WT_E_USAGE, "\"@soon\""},
        {"a40", "lost@#0", WT_E_USAGE, "\"#0\""},
        {"a40", "lost@5s+x", WT_E_USAGE, "\"+x\""},
        {"a40", "lost@#5+0", WT_E_USAGE, "\"+0\""},
        {"a40", "lost:gpu=one", WT_E_USAGE, "\"gpu=one\""},
        {"a40", "lost:gpu=1", WT_E_USAGE, "gpu=1"},
        {"a40", "hang:cudaMalloc", WT_E_USAGE, "\"cudaMalloc\""},
        {"a40", "hang:nvmlDeviceGetPower", WT_E_USAGE, "nvmlDeviceGetPower"},
        {"a40", "lost@5s,frozen@1", WT_E_USAGE, "\"@1\""},
    };
    for (size_t i = 0; i < WT_COUNTOF(rows); i++) {
        struct wt_error err = {0};
        struct wt_emulation *e = NULL;
        const struct wt_emulation_options options = {.faults = rows[i].faults};
        int rc = wt_emulation_start(&e, rows[i].spec, &options, &err);
        if (rc != rows[i].want || e || !strstr(err.text, rows[i].named) || !err.fix[0])
            fail_msg("%s %s: %d %s", rows[i].spec, rows[i].faults ? rows[i].faults : "", rc,
                     err.text);
    }
}

static void start_inside(void)
{
    struct wt_error err = {0};
    struct wt_emulation *e = NULL;
    int rc = wt_emulation_start(&e, "a40", NULL, &err);
    _exit(rc == WT_E_STATE && !e && strstr(err.text, "v100-pcie-32gb") ? 0 : 1);
}

static void an_emulation_inside_another_is_refused(void **state)
{
    (void)state;
    bed_open("v100-pcie-32gb", NULL);
    assert_int_equal(in_child(start_inside), 0);
    bed_close();
}

static void without_an_emulation_attaching_says_how_to_start_one(void **state)
{
    (void)state;
    struct wt_error err = {0};
    struct wt_emu *emu = NULL;
    unsetenv("WATTUNE_EMULATION");
    assert_int_equal(wt_emu_attach(&emu, 0, &err), WT_E_NOTFOUND);
    assert_non_null(strstr(err.fix, "wattune emulate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_those_of_nvml),
        cmocka_unit_test(no_function_works_before_init),
        cmocka_unit_test(every_function_refuses_null_arguments),
        cmocka_unit_test(init_counts_references),
        cmocka_unit_test(without_an_emulation_the_driver_is_not_loaded),
        cmocka_unit_test(a_text_that_does_not_fit_is_refused),
        cmocka_unit_test(a_device_is_found_by_each_of_its_names),
        cmocka_unit_test(lists_say_how_much_room_they_need),
        cmocka_unit_test(what_a_generation_lacks_is_not_supported),
        cmocka_unit_test(the_version_of_a_structure_is_checked),
        cmocka_unit_test(a_limit_is_taken_within_its_range_and_refused_beyond),
        cmocka_unit_test(an_ordinary_user_may_read_and_not_set),
        cmocka_unit_test(a_clock_lock_holds_and_is_taken_back),
        cmocka_unit_test(every_listed_clock_can_be_locked),
        cmocka_unit_test(two_processes_see_one_device),
        cmocka_unit_test(a_program_stays_until_its_last_handle_is_detached),
        cmocka_unit_test(killing_a_holder_of_the_lock_harms_nobody),
        cmocka_unit_test(clients_killed_at_any_moment_leave_the_device_whole),
        cmocka_unit_test(a_process_is_listed_while_it_lives),
        cmocka_unit_test(more_memory_than_there_is_is_refused),
        cmocka_unit_test(a_program_sees_what_cuda_visible_devices_leaves),
        cmocka_unit_test(the_truth_has_every_load_and_the_loads_lie_within_it),
        cmocka_unit_test(a_submission_longer_than_the_queue_is_one_load),
        cmocka_unit_test(energy_equals_integrated_power),
        cmocka_unit_test(the_counter_follows_the_truth),
        cmocka_unit_test(uuids_are_stable_by_seed_and_all_different),
        cmocka_unit_test(forty_devices_are_forty),
        cmocka_unit_test(each_fault_does_what_its_name_says),
        cmocka_unit_test(a_denied_setting_stays_as_it_was),
        cmocka_unit_test(a_reset_counter_begins_again_and_a_jump_leaps),
        cmocka_unit_test(a_frozen_sensor_keeps_its_value_and_the_truth_goes_on),
        cmocka_unit_test(garbage_is_out_of_any_range_sooner_or_later),
        cmocka_unit_test(a_slow_counter_is_late_and_right),
        cmocka_unit_test(a_hanging_call_holds_up_its_caller_only),
        cmocka_unit_test(work_on_a_lost_device_ends_with_gone),
        cmocka_unit_test(a_bad_word_is_refused_and_named),
        cmocka_unit_test(an_emulation_inside_another_is_refused),
        cmocka_unit_test(without_an_emulation_attaching_says_how_to_start_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
