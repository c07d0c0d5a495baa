/* identity: how many devices there are, which is which, and what never changes about one. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "emulator/nvml/standin.h"

/* The driver the stand-in says it is: one of the 550 branch, whose plain power reading is the 1 s
 * mean where the board has one. */
#define DRIVER      "550.163.01"
#define CUDA_DRIVER 12040

NVML_CALL(nvmlSystemGetDriverVersion, char *version, unsigned length)
{
    ENTER_SYSTEM(version != NULL);
    return give_text(version, length, DRIVER);
}

NVML_CALL(nvmlSystemGetNVMLVersion, char *version, unsigned length)
{
    /* Allowed before nvmlInit. */
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    return give_text(version, length, "12." DRIVER);
}

NVML_CALL(nvmlSystemGetCudaDriverVersion, int *version)
{
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = CUDA_DRIVER;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlSystemGetCudaDriverVersion_v2, int *version)
{
    return nvmlSystemGetCudaDriverVersion(version);
}

NVML_CALL(nvmlSystemGetDriverBranch, struct nvml_driver_branch *branch, unsigned length)
{
    ENTER_SYSTEM(branch != NULL);
    if (branch->version != NVML_VERSION_OF(*branch, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    return give_text(branch->branch, length < sizeof(branch->branch) ? length : 80, "r550_00");
}

/* ---- finding devices ---- */

NVML_CALL(nvmlDeviceGetCount_v2, unsigned *count)
{
    ENTER_SYSTEM(count != NULL);
    *count = c.s->file->device_count;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetCount, unsigned *count)
{
    ENTER_SYSTEM(count != NULL);
    *count = c.s->file->device_count;
    return NVML_SUCCESS;
}

/* A handle is given out only while the device answers. */
static nvmlReturn_t give_handle(const char *name, unsigned i, nvmlDevice_t *device)
{
    struct call c __attribute__((cleanup(call_leave))) = {0};
    nvmlReturn_t result = call_enter(&c, name, handle_of(i), 0, true);
    if (result == NVML_SUCCESS)
        *device = handle_of(i);
    return result;
}

static nvmlReturn_t by_index(const char *name, unsigned index, nvmlDevice_t *device)
{
    struct call c = {0};
    nvmlReturn_t result = call_enter_system(&c, name, device != NULL);
    if (result != NVML_SUCCESS)
        return result;
    if (index >= c.s->file->device_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    return give_handle(name, index, device);
}

NVML_CALL(nvmlDeviceGetHandleByIndex_v2, unsigned index, nvmlDevice_t *device)
{
    return by_index(__func__, index, device);
}

NVML_CALL(nvmlDeviceGetHandleByIndex, unsigned index, nvmlDevice_t *device)
{
    return by_index(__func__, index, device);
}

NVML_CALL(nvmlDeviceGetHandleByUUID, const char *uuid, nvmlDevice_t *device)
{
    ENTER_SYSTEM(uuid != NULL && device != NULL);
    for (unsigned i = 0; i < c.s->file->device_count; i++)
        if (strcasecmp(c.s->file->devices[i].uuid, uuid) == 0)
            return give_handle(__func__, i, device);
    return NVML_ERROR_NOT_FOUND;
}

NVML_CALL(nvmlDeviceGetHandleBySerial, const char *serial, nvmlDevice_t *device)
{
    ENTER_SYSTEM(serial != NULL && device != NULL);
    for (unsigned i = 0; i < c.s->file->device_count; i++)
        if (strcmp(c.s->file->devices[i].serial, serial) == 0)
            return give_handle(__func__, i, device);
    return NVML_ERROR_NOT_FOUND;
}

/* Two buses apart, so that 64 boards fit below bus 256. */
static unsigned bus_of(unsigned i)
{
    return 4 + 2 * i;
}

static nvmlReturn_t by_bus(const char *name, const char *id, nvmlDevice_t *device)
{
    struct call c = {0};
    nvmlReturn_t result = call_enter_system(&c, name, id != NULL && device != NULL);
    if (result != NVML_SUCCESS)
        return result;
    /* "domain:bus:device.function" with or without the domain and the function. */
    unsigned long numbers[4] = {0}, colons = 0;
    size_t n = 0;
    for (const char *p = id; *p && n < WT_COUNTOF(numbers); n++) {
        char *end;
        if (!isxdigit((unsigned char)*p))
            return NVML_ERROR_INVALID_ARGUMENT;
        numbers[n] = strtoul(p, &end, 16);
        colons += *end == ':';
        if (*end && *end != ':' && *end != '.')
            return NVML_ERROR_INVALID_ARGUMENT;
        p = end + (*end != '\0');
    }
    if (colons == 0 || colons > 2)
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned long domain = colons == 2 ? numbers[0] : 0;
    unsigned long bus = colons == 2 ? numbers[1] : numbers[0];
    unsigned long slot = colons == 2 ? numbers[2] : numbers[1];
    for (unsigned i = 0; i < c.s->file->device_count; i++)
        if (domain == 0 && slot == 0 && bus_of(i) == bus)
            return give_handle(name, i, device);
    return NVML_ERROR_NOT_FOUND;
}

NVML_CALL(nvmlDeviceGetHandleByPciBusId_v2, const char *id, nvmlDevice_t *device)
{
    return by_bus(__func__, id, device);
}

NVML_CALL(nvmlDeviceGetHandleByPciBusId, const char *id, nvmlDevice_t *device)
{
    return by_bus(__func__, id, device);
}

/* ---- names and numbers ---- */

NVML_CALL(nvmlDeviceGetName, nvmlDevice_t device, char *name, unsigned length)
{
    ENTER(0, name != NULL);
    return give_text(name, length, c.p->board);
}

NVML_CALL(nvmlDeviceGetUUID, nvmlDevice_t device, char *uuid, unsigned length)
{
    ENTER(0, uuid != NULL);
    return give_text(uuid, length, c.d->uuid);
}

NVML_CALL(nvmlDeviceGetSerial, nvmlDevice_t device, char *serial, unsigned length)
{
    ENTER(0, serial != NULL);
    return give_text(serial, length, c.d->serial);
}

NVML_CALL(nvmlDeviceGetVbiosVersion, nvmlDevice_t device, char *version, unsigned length)
{
    ENTER(0, version != NULL);
    return give_text(version, length, "88.00.00.00.00");
}

NVML_CALL(nvmlDeviceGetBoardPartNumber, nvmlDevice_t device, char *number, unsigned length)
{
    ENTER(0, number != NULL);
    return give_text(number, length, "900-00000-0000-000");
}

NVML_CALL(nvmlDeviceGetInforomVersion, nvmlDevice_t device, int object, char *version,
          unsigned length)
{
    ENTER(0, version != NULL && object >= 0 && object < 4);
    return object == 3 ? NVML_ERROR_NOT_SUPPORTED : give_text(version, length, "1.1");
}

NVML_CALL(nvmlDeviceGetInforomImageVersion, nvmlDevice_t device, char *version, unsigned length)
{
    ENTER(0, version != NULL);
    return give_text(version, length, "G500.0200.00.00");
}

/* Functions whose whole answer is one number. */
#define ANSWER(name, type, value)                                                                  \
    NVML_CALL(name, nvmlDevice_t device, type *answer)                                             \
    {                                                                                              \
        ENTER(0, answer != NULL);                                                                  \
        *answer = (type)(value);                                                                   \
        return NVML_SUCCESS;                                                                       \
    }

ANSWER(nvmlDeviceGetIndex, unsigned, c.i)
ANSWER(nvmlDeviceGetMinorNumber, unsigned, c.i)
ANSWER(nvmlDeviceGetBrand, int, c.p->nvml_brand)
ANSWER(nvmlDeviceGetArchitecture, unsigned, c.p->nvml_arch)
ANSWER(nvmlDeviceGetNumGpuCores, unsigned, c.p->core_count)
ANSWER(nvmlDeviceGetMemoryBusWidth, unsigned, c.p->mem_bus_bits)
ANSWER(nvmlDeviceGetBusType, unsigned, 2)       /* PCIe */
ANSWER(nvmlDeviceGetPowerSource, unsigned, 0)   /* mains */
ANSWER(nvmlDeviceGetVirtualizationMode, int, 0) /* none */
ANSWER(nvmlDeviceGetDisplayMode, int, 0)        /* nothing plugged in */
ANSWER(nvmlDeviceGetDisplayActive, int, 0)
ANSWER(nvmlDeviceGetIrqNum, unsigned, 64 + c.i)
ANSWER(nvmlDeviceGetModuleId, unsigned, c.i)
/* A K80 is two GPUs on one board. */
ANSWER(nvmlDeviceGetMultiGpuBoard, unsigned, c.p->nvml_arch == NVML_ARCH_KEPLER)
ANSWER(nvmlDeviceGetBoardId, unsigned,
       bus_of(c.p->nvml_arch == NVML_ARCH_KEPLER ? c.i / 2 * 2 : c.i) << 8)
ANSWER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, c.p->pcie_gen)
ANSWER(nvmlDeviceGetGpuMaxPcieLinkGeneration, unsigned, c.p->pcie_gen)
ANSWER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, c.p->pcie_width)
ANSWER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, c.p->pcie_gen)
ANSWER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, c.p->pcie_width)
ANSWER(nvmlDeviceGetPcieReplayCounter, unsigned, 0)
ANSWER(nvmlDeviceGetPcieSpeed, unsigned, 2500u << (c.p->pcie_gen - 1)) /* MT/s of a lane */
ANSWER(nvmlDeviceGetPcieLinkMaxSpeed, unsigned, c.p->pcie_gen)         /* NVML counts alike */
ANSWER(nvmlDeviceGetAdaptiveClockInfoStatus, unsigned, 0)
ANSWER(nvmlDeviceIsMigDeviceHandle, unsigned, 0)
ANSWER(nvmlDeviceGetMaxMigDeviceCount, unsigned, 0) /* 0 while MIG is off */

NVML_CALL(nvmlDeviceGetPcieThroughput, nvmlDevice_t device, int counter, unsigned *kb_s)
{
    ENTER(WT_CALL_SENSOR, kb_s != NULL && counter >= 0 && counter < 2);
    /* Copies over the bus are no part of the device model: the load's data is on the board. */
    *kb_s = call_garble_u32(&c, 0);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetCudaComputeCapability, nvmlDevice_t device, int *major, int *minor)
{
    ENTER(0, major != NULL && minor != NULL);
    *major = (int)c.p->cc_major;
    *minor = (int)c.p->cc_minor;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceOnSameBoard, nvmlDevice_t device, nvmlDevice_t other, int *answer)
{
    ENTER(0, answer != NULL);
    int k = handle_index(c.s, other);
    if (k < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    *answer = (unsigned)k == c.i ||
              (c.p->nvml_arch == NVML_ARCH_KEPLER &&
               c.s->profiles[k]->nvml_arch == NVML_ARCH_KEPLER && (unsigned)k / 2 == c.i / 2);
    return NVML_SUCCESS;
}

/* ---- PCI ---- */

static void fill_pci(const struct call *c, struct nvml_pci_v3 *pci)
{
    *pci = (struct nvml_pci_v3){
        .bus = bus_of(c->i),
        .pci_device_id = c->p->pci_device_id,
        .pci_subsystem_id = c->p->pci_subsystem_id,
    };
    wt_text(pci->bus_id_legacy, sizeof(pci->bus_id_legacy), "0000:%02X:00.0", pci->bus);
    wt_text(pci->bus_id, sizeof(pci->bus_id), "00000000:%02X:00.0", pci->bus);
}

NVML_CALL(nvmlDeviceGetPciInfo_v3, nvmlDevice_t device, struct nvml_pci_v3 *pci)
{
    ENTER(0, pci != NULL);
    fill_pci(&c, pci);
    return NVML_SUCCESS;
}

/* The older layouts begin alike. */
NVML_CALL(nvmlDeviceGetPciInfo_v2, nvmlDevice_t device, struct nvml_pci_v2 *pci)
{
    ENTER(0, pci != NULL);
    struct nvml_pci_v3 full;
    fill_pci(&c, &full);
    *pci = (struct nvml_pci_v2){0};
    memcpy(pci, &full, offsetof(struct nvml_pci_v2, reserved));
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPciInfo, nvmlDevice_t device, struct nvml_pci_v1 *pci)
{
    ENTER(0, pci != NULL);
    struct nvml_pci_v3 full;
    fill_pci(&c, &full);
    memcpy(pci, &full, sizeof(*pci));
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetPciInfoExt, nvmlDevice_t device, struct nvml_pci_ext *pci)
{
    ENTER(0, pci != NULL);
    if (pci->version != NVML_VERSION_OF(*pci, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    struct nvml_pci_v3 full;
    fill_pci(&c, &full);
    pci->domain = full.domain;
    pci->bus = full.bus;
    pci->device = full.device;
    pci->pci_device_id = full.pci_device_id;
    pci->pci_subsystem_id = full.pci_subsystem_id;
    pci->base_class = 3; /* display */
    pci->sub_class = 2;  /* 3D */
    memcpy(pci->bus_id, full.bus_id, sizeof(pci->bus_id));
    return NVML_SUCCESS;
}
