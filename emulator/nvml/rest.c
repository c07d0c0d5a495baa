/* rest: error counters, topology, events, and the functions an emulated device has nothing behind.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "emulator/nvml/standin.h"

/* ---- memory errors: none happen ---- */

NVML_CALL(nvmlDeviceGetTotalEccErrors, nvmlDevice_t device, int error, int counter,
          unsigned long long *count)
{
    ENTER(0, count != NULL && error >= 0 && error < 2 && counter >= 0 && counter < 2);
    *count = 0;
    return c.p->has_volatile_ecc ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

NVML_CALL(nvmlDeviceGetDetailedEccErrors, nvmlDevice_t device, int error, int counter,
          struct nvml_ecc_counts *counts)
{
    ENTER(0, counts != NULL && error >= 0 && error < 2 && counter >= 0 && counter < 2);
    *counts = (struct nvml_ecc_counts){0};
    return c.p->has_volatile_ecc ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

NVML_CALL(nvmlDeviceGetMemoryErrorCounter, nvmlDevice_t device, int error, int counter,
          int location, unsigned long long *count)
{
    ENTER(0, count != NULL && error >= 0 && error < 2 && counter >= 0 && counter < 2 &&
                 location >= 0 && location < 8);
    *count = 0;
    return c.p->has_volatile_ecc ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* Pages are retired before Ampere, rows remapped since. */
NVML_CALL(nvmlDeviceGetRetiredPages, nvmlDevice_t device, int cause, unsigned *count,
          unsigned long long *addresses)
{
    (void)addresses;
    ENTER(0, count != NULL && cause >= 0 && cause < 2);
    if (is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    *count = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetRetiredPages_v2, nvmlDevice_t device, int cause, unsigned *count,
          unsigned long long *addresses, unsigned long long *times)
{
    (void)addresses;
    (void)times;
    ENTER(0, count != NULL && cause >= 0 && cause < 2);
    if (is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    *count = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetRetiredPagesPendingStatus, nvmlDevice_t device, int *is_pending)
{
    ENTER(0, is_pending != NULL);
    if (is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    *is_pending = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetRemappedRows, nvmlDevice_t device, unsigned *corrected,
          unsigned *uncorrected, unsigned *is_pending, unsigned *has_failed)
{
    ENTER(0, corrected && uncorrected && is_pending && has_failed);
    if (!is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    *corrected = *uncorrected = *is_pending = *has_failed = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetRowRemapperHistogram, nvmlDevice_t device, struct nvml_rows *rows)
{
    ENTER(0, rows != NULL);
    if (!is_since(&c, NVML_ARCH_AMPERE))
        return NVML_ERROR_NOT_SUPPORTED;
    *rows = (struct nvml_rows){.max = 640};
    return NVML_SUCCESS;
}

/* ---- topology: all boards below one host bridge of one node ---- */

enum { TOPOLOGY_INTERNAL = 0, TOPOLOGY_HOSTBRIDGE = 30, TOPOLOGY_SYSTEM = 50 };

NVML_CALL(nvmlDeviceGetTopologyCommonAncestor, nvmlDevice_t device, nvmlDevice_t other, int *level)
{
    ENTER(0, level != NULL);
    int k = handle_index(c.s, other);
    if (k < 0 || (unsigned)k == c.i)
        return NVML_ERROR_INVALID_ARGUMENT;
    *level = TOPOLOGY_HOSTBRIDGE;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetTopologyNearestGpus, nvmlDevice_t device, int level, unsigned *count,
          nvmlDevice_t *devices)
{
    ENTER(0, count != NULL && level >= 0 && level <= TOPOLOGY_SYSTEM);
    unsigned room = *count, n = 0;
    for (unsigned k = 0; level == TOPOLOGY_HOSTBRIDGE && k < c.s->file->device_count; k++) {
        if (k == c.i)
            continue;
        if (devices && n < room)
            devices[n] = handle_of(k);
        n++;
    }
    *count = devices && n > room ? room : n;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlSystemGetTopologyGpuSet, unsigned cpu, unsigned *count, nvmlDevice_t *devices)
{
    ENTER_SYSTEM(count != NULL);
    (void)cpu;
    unsigned room = *count, n = c.s->file->device_count;
    for (unsigned k = 0; devices && k < n && k < room; k++)
        devices[k] = handle_of(k);
    *count = devices && n > room ? room : n;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetP2PStatus, nvmlDevice_t device, nvmlDevice_t other, int index, int *status)
{
    ENTER(0, status != NULL && index >= 0 && index < 6);
    if (handle_index(c.s, other) < 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    *status = 5; /* not supported: no links between emulated boards */
    return NVML_SUCCESS;
}

static nvmlReturn_t own_cpus(unsigned words, unsigned long *set)
{
    cpu_set_t cpus;
    memset(set, 0, words * sizeof(*set));
    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return NVML_ERROR_UNKNOWN;
    for (unsigned i = 0; i < words * 8 * sizeof(*set) && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &cpus))
            set[i / (8 * sizeof(*set))] |= 1ul << (i % (8 * sizeof(*set)));
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetCpuAffinity, nvmlDevice_t device, unsigned words, unsigned long *set)
{
    ENTER(0, set != NULL && words > 0);
    return own_cpus(words, set);
}

NVML_CALL(nvmlDeviceGetCpuAffinityWithinScope, nvmlDevice_t device, unsigned words,
          unsigned long *set, unsigned scope)
{
    ENTER(0, set != NULL && words > 0 && scope < 2);
    return own_cpus(words, set);
}

NVML_CALL(nvmlDeviceGetMemoryAffinity, nvmlDevice_t device, unsigned words, unsigned long *set,
          unsigned scope)
{
    ENTER(0, set != NULL && words > 0 && scope < 2);
    memset(set, 0, words * sizeof(*set));
    set[0] = 1;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlSystemGetHicVersion, unsigned *count, void *entries)
{
    (void)entries;
    ENTER_SYSTEM(count != NULL);
    *count = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlGetExcludedDeviceCount, unsigned *count)
{
    ENTER_SYSTEM(count != NULL);
    *count = 0;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlGetExcludedDeviceInfoByIndex, unsigned index, struct nvml_excluded *info)
{
    (void)index;
    ENTER_SYSTEM(info != NULL);
    return NVML_ERROR_INVALID_ARGUMENT;
}

NVML_CALL(nvmlUnitGetCount, unsigned *count)
{
    ENTER_SYSTEM(count != NULL);
    *count = 0; /* S-class systems of long ago */
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetNumFans, nvmlDevice_t device, unsigned *count)
{
    ENTER(0, count != NULL);
    *count = 0; /* boards for servers are cooled by the server */
    return NVML_SUCCESS;
}

/* ---- events: a lost device is the one thing that happens ---- */

#define EVENT_XID     0x8ULL
#define XID_OFF_BUS   79u
#define EVENTS_KNOWN  0x1fULL
#define EVENT_LOOK_NS (20 * WT_NS_PER_MS)

struct nvmlEventSet_st {
    unsigned long long types[WT_SHARED_DEVICES];
    bool is_told[WT_SHARED_DEVICES];
};

NVML_CALL(nvmlEventSetCreate, nvmlEventSet_t *set)
{
    ENTER_SYSTEM(set != NULL);
    nvmlEventSet_t made = calloc(1, sizeof(*made));
    if (!made)
        return NVML_ERROR_MEMORY;
    *set = made;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlEventSetFree, nvmlEventSet_t set)
{
    ENTER_SYSTEM(set != NULL);
    free(set);
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceGetSupportedEventTypes, nvmlDevice_t device, unsigned long long *types)
{
    ENTER(0, types != NULL);
    *types = EVENTS_KNOWN;
    return NVML_SUCCESS;
}

NVML_CALL(nvmlDeviceRegisterEvents, nvmlDevice_t device, unsigned long long types,
          nvmlEventSet_t set)
{
    ENTER(0, set != NULL && (types & ~EVENTS_KNOWN) == 0);
    set->types[c.i] |= types;
    return NVML_SUCCESS;
}

/* The device that was lost and not yet told of, or -1. */
static int fresh_loss(struct wt_shared *s, nvmlEventSet_t set)
{
    for (unsigned i = 0; i < s->file->device_count; i++)
        if ((set->types[i] & EVENT_XID) && !set->is_told[i] && wt_shared_is_lost(s, i))
            return (int)i;
    return -1;
}

static nvmlReturn_t wait_for_event(struct call *c, nvmlEventSet_t set, unsigned timeout_ms,
                                   struct nvml_event *event)
{
    int64_t until = wt_clock_now_ns() + timeout_ms * WT_NS_PER_MS;
    for (;;) {
        int lost = fresh_loss(c->s, set);
        if (lost >= 0) {
            set->is_told[lost] = true;
            *event = (struct nvml_event){.device = handle_of((unsigned)lost),
                                         .type = EVENT_XID,
                                         .data = XID_OFF_BUS,
                                         .gpu_instance = 0xffffffffu,
                                         .compute_instance = 0xffffffffu};
            return NVML_SUCCESS;
        }
        int64_t now = wt_clock_now_ns();
        if (now >= until)
            return NVML_ERROR_TIMEOUT;
        wt_clock_sleep_until_ns(until - now < EVENT_LOOK_NS ? until : now + EVENT_LOOK_NS);
    }
}

NVML_CALL(nvmlEventSetWait_v2, nvmlEventSet_t set, struct nvml_event *event, unsigned timeout_ms)
{
    ENTER_SYSTEM(set != NULL && event != NULL);
    return wait_for_event(&c, set, timeout_ms, event);
}

NVML_CALL(nvmlEventSetWait, nvmlEventSet_t set, struct nvml_event_v1 *event, unsigned timeout_ms)
{
    ENTER_SYSTEM(set != NULL && event != NULL);
    struct nvml_event full;
    nvmlReturn_t result = wait_for_event(&c, set, timeout_ms, &full);
    if (result == NVML_SUCCESS)
        *event =
            (struct nvml_event_v1){.device = full.device, .type = full.type, .data = full.data};
    return result;
}

/* ---- nothing behind it ---- */

/* What the boards, or the emulation, do not have. The first argument is the device; the others are
 * not looked at, and their types are therefore left to the client. */
#define NOT_HERE(name)                                                                             \
    NVML_CALL(name, nvmlDevice_t device, ...)                                                      \
    {                                                                                              \
        ENTER(0, true);                                                                            \
        return NVML_ERROR_NOT_SUPPORTED;                                                           \
    }

/* fans */
NOT_HERE(nvmlDeviceGetFanSpeed)
NOT_HERE(nvmlDeviceGetFanSpeed_v2)
NOT_HERE(nvmlDeviceGetFanSpeedRPM)
NOT_HERE(nvmlDeviceGetTargetFanSpeed)
NOT_HERE(nvmlDeviceGetMinMaxFanSpeed)
NOT_HERE(nvmlDeviceGetFanControlPolicy_v2)
NOT_HERE(nvmlDeviceSetFanControlPolicy)
NOT_HERE(nvmlDeviceSetFanSpeed_v2)
NOT_HERE(nvmlDeviceSetDefaultFanSpeed_v2)
NOT_HERE(nvmlDeviceGetCoolerInfo)
/* clocks of desktop boards */
NOT_HERE(nvmlDeviceGetAutoBoostedClocksEnabled)
NOT_HERE(nvmlDeviceSetAutoBoostedClocksEnabled)
NOT_HERE(nvmlDeviceSetDefaultAutoBoostedClocksEnabled)
NOT_HERE(nvmlDeviceGetGpcClkVfOffset)
NOT_HERE(nvmlDeviceGetMemClkVfOffset)
NOT_HERE(nvmlDeviceSetGpcClkVfOffset)
NOT_HERE(nvmlDeviceSetMemClkVfOffset)
NOT_HERE(nvmlDeviceGetGpcClkMinMaxVfOffset)
NOT_HERE(nvmlDeviceGetMemClkMinMaxVfOffset)
NOT_HERE(nvmlDeviceGetClockOffsets)
NOT_HERE(nvmlDeviceSetClockOffsets)
NOT_HERE(nvmlDeviceGetPerformanceModes)
NOT_HERE(nvmlDeviceGetCurrentClockFreqs)
NOT_HERE(nvmlDeviceGetDynamicPstatesInfo)
NOT_HERE(nvmlDeviceGetClkMonStatus)
NOT_HERE(nvmlDeviceSetTemperatureThreshold)
/* counters that the model does not keep */
NOT_HERE(nvmlDeviceGetViolationStatus)
NOT_HERE(nvmlDeviceGetEncoderCapacity)
NOT_HERE(nvmlDeviceGetSramEccErrorStatus)
NOT_HERE(nvmlDeviceGetInforomConfigurationChecksum)
NOT_HERE(nvmlDeviceValidateInforom)
NOT_HERE(nvmlDeviceGetLastBBXFlushTime)
NOT_HERE(nvmlDeviceGetBridgeChipInfo)
NOT_HERE(nvmlDeviceGetAttributes)
NOT_HERE(nvmlDeviceGetAttributes_v2)
/* modes that cannot be changed */
NOT_HERE(nvmlDeviceSetEccMode)
NOT_HERE(nvmlDeviceClearEccErrorCounts)
NOT_HERE(nvmlDeviceGetDriverModel)
NOT_HERE(nvmlDeviceGetDriverModel_v2)
NOT_HERE(nvmlDeviceSetDriverModel)
NOT_HERE(nvmlDeviceGetGpuOperationMode)
NOT_HERE(nvmlDeviceSetGpuOperationMode)
NOT_HERE(nvmlDeviceSetAPIRestriction)
NOT_HERE(nvmlDeviceSetVirtualizationMode)
NOT_HERE(nvmlDeviceSetCpuAffinity)
NOT_HERE(nvmlDeviceClearCpuAffinity)
NOT_HERE(nvmlDeviceGetNumaNodeId)
NOT_HERE(nvmlDeviceGetGspFirmwareVersion)
NOT_HERE(nvmlDeviceGetGspFirmwareMode)
NOT_HERE(nvmlDeviceGetCapabilities)
NOT_HERE(nvmlDeviceGetPlatformInfo)
NOT_HERE(nvmlDeviceGetC2cModeInfoV)
NOT_HERE(nvmlDeviceGetGpuFabricInfo)
NOT_HERE(nvmlDeviceGetGpuFabricInfoV)
NOT_HERE(nvmlDeviceWorkloadPowerProfileGetProfilesInfo)
NOT_HERE(nvmlDeviceWorkloadPowerProfileGetCurrentProfiles)
/* links between boards */
NOT_HERE(nvmlDeviceGetNvLinkState)
NOT_HERE(nvmlDeviceGetNvLinkVersion)
NOT_HERE(nvmlDeviceGetNvLinkCapability)
NOT_HERE(nvmlDeviceGetNvLinkRemotePciInfo)
NOT_HERE(nvmlDeviceGetNvLinkRemotePciInfo_v2)
NOT_HERE(nvmlDeviceGetNvLinkRemoteDeviceType)
NOT_HERE(nvmlDeviceGetNvLinkErrorCounter)
NOT_HERE(nvmlDeviceResetNvLinkErrorCounters)
NOT_HERE(nvmlDeviceGetNvLinkUtilizationControl)
NOT_HERE(nvmlDeviceSetNvLinkUtilizationControl)
NOT_HERE(nvmlDeviceGetNvLinkUtilizationCounter)
NOT_HERE(nvmlDeviceFreezeNvLinkUtilizationCounter)
NOT_HERE(nvmlDeviceResetNvLinkUtilizationCounter)
/* parts of a device and virtual ones */
NOT_HERE(nvmlDeviceSetMigMode)
NOT_HERE(nvmlDeviceGetGpuInstanceProfileInfo)
NOT_HERE(nvmlDeviceGetGpuInstanceProfileInfoV)
NOT_HERE(nvmlDeviceGetGpuInstances)
NOT_HERE(nvmlDeviceGetGpuInstanceById)
NOT_HERE(nvmlDeviceGetGpuInstanceRemainingCapacity)
NOT_HERE(nvmlDeviceGetGpuInstancePossiblePlacements)
NOT_HERE(nvmlDeviceGetGpuInstancePossiblePlacements_v2)
NOT_HERE(nvmlDeviceGetSupportedVgpus)
NOT_HERE(nvmlDeviceGetCreatableVgpus)
NOT_HERE(nvmlDeviceGetActiveVgpus)
NOT_HERE(nvmlDeviceGetHostVgpuMode)
NOT_HERE(nvmlDeviceGetVgpuUtilization)
NOT_HERE(nvmlDeviceGetVgpuProcessUtilization)
NOT_HERE(nvmlDeviceGetVgpuMetadata)
NOT_HERE(nvmlDeviceGetPgpuMetadataString)
NOT_HERE(nvmlDeviceGetVgpuCapabilities)
NOT_HERE(nvmlDeviceGetVgpuHeterogeneousMode)
NOT_HERE(nvmlDeviceGetVgpuInstancesUtilizationInfo)
NOT_HERE(nvmlDeviceGetVgpuProcessesUtilizationInfo)
NOT_HERE(nvmlDeviceGetVgpuSchedulerCapabilities)
NOT_HERE(nvmlDeviceGetVgpuSchedulerLog)
NOT_HERE(nvmlDeviceGetVgpuSchedulerState)
NOT_HERE(nvmlDeviceGetVgpuTypeCreatablePlacements)
NOT_HERE(nvmlDeviceGetVgpuTypeSupportedPlacements)
NOT_HERE(nvmlVgpuTypeGetMaxInstances)
NOT_HERE(nvmlDeviceGetConfComputeGpuAttestationReport)
NOT_HERE(nvmlDeviceGetConfComputeGpuCertificate)
NOT_HERE(nvmlDeviceGetConfComputeMemSizeInfo)
NOT_HERE(nvmlDeviceGetConfComputeProtectedMemoryUsage)
NOT_HERE(nvmlDeviceGetGridLicensableFeatures)
NOT_HERE(nvmlDeviceGetGridLicensableFeatures_v2)
NOT_HERE(nvmlDeviceGetGridLicensableFeatures_v3)
NOT_HERE(nvmlDeviceGetGridLicensableFeatures_v4)

/* Taking a board off its bus: the address in place of the device. */
#define NOT_REMOVED(name)                                                                          \
    NVML_CALL(name, const struct nvml_pci_v3 *pci, ...)                                            \
    {                                                                                              \
        ENTER_SYSTEM(pci != NULL);                                                                 \
        return NVML_ERROR_NOT_SUPPORTED;                                                           \
    }
NOT_REMOVED(nvmlDeviceModifyDrainState)
NOT_REMOVED(nvmlDeviceQueryDrainState)
NOT_REMOVED(nvmlDeviceRemoveGpu)
NOT_REMOVED(nvmlDeviceRemoveGpu_v2)
NOT_REMOVED(nvmlDeviceDiscoverGpus)

/* A whole device has no instance number. */
#define NO_INSTANCE_OF(name)                                                                       \
    NVML_CALL(name, nvmlDevice_t device, unsigned *id)                                             \
    {                                                                                              \
        ENTER(0, id != NULL);                                                                      \
        return is_mig_capable(c.p) ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED;       \
    }
NO_INSTANCE_OF(nvmlDeviceGetGpuInstanceId)
NO_INSTANCE_OF(nvmlDeviceGetComputeInstanceId)

NVML_CALL(nvmlDeviceGetMigDeviceHandleByIndex, nvmlDevice_t device, unsigned index,
          nvmlDevice_t *mig)
{
    ENTER(0, mig != NULL);
    (void)index;
    return is_mig_capable(c.p) ? NVML_ERROR_NOT_FOUND : NVML_ERROR_NOT_SUPPORTED;
}

NVML_CALL(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, nvmlDevice_t mig, nvmlDevice_t *device)
{
    ENTER_SYSTEM(device != NULL);
    (void)mig;
    return NVML_ERROR_INVALID_ARGUMENT; /* no handle is one of a MIG device */
}
