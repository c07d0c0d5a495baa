#!/usr/bin/env python3
"""What NVML says of card 0, as JSON: versions, limits, clocks, modes, and every field value that it
answers. Reads only. Left out: whatever names the board (UUID, serial number, place on the bus).
"""

import json
import os
import sys

import pynvml as n


def ask(name, *args):
    try:
        value = getattr(n, name)(*args)
    except n.NVMLError as error:
        return f"NVML: {error}"
    except Exception as error:  # whatever the binding makes of it, the rest is asked
        return f"binding: {error}"
    if isinstance(value, bytes):
        value = value.decode()
    if hasattr(value, "_fields_"):
        return {field[0]: str(getattr(value, field[0])) for field in value._fields_}
    return value


def fields(handle, scope=0):
    found = {}
    for first in range(1, 290):
        try:
            f = n.nvmlDeviceGetFieldValues(handle, [(first, scope)] if scope else [first])[0]
        except n.NVMLError as error:
            found[first] = f"NVML: {error}"
            continue
        if f.nvmlReturn != 0:
            continue
        kind = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
        value = getattr(f.value, kind[f.valueType], None) if f.valueType < len(kind) else None
        found[first] = {"value": value, "type": f.valueType, "timestamp_us": f.timestamp,
                        "latency_us": f.latencyUsec}  # fmt: skip
    return found


def samples(handle):
    """The driver's own ring of power samples, with the times it gives them."""
    try:
        kind, list_ = n.nvmlDeviceGetSamples(handle, n.NVML_TOTAL_POWER_SAMPLES, 0)
    except n.NVMLError as error:
        return f"NVML: {error}"
    return {"type": kind, "list": [(s.timeStamp, s.sampleValue.uiVal) for s in list_]}


def main():
    n.nvmlInit()
    h = n.nvmlDeviceGetHandleByIndex(0)
    out = {"uid": os.geteuid()}
    for name in ("nvmlSystemGetDriverVersion", "nvmlSystemGetNVMLVersion",
                 "nvmlSystemGetCudaDriverVersion"):  # fmt: skip
        out[name] = ask(name)
    for name in """nvmlDeviceGetName nvmlDeviceGetArchitecture nvmlDeviceGetCudaComputeCapability
            nvmlDeviceGetTotalEnergyConsumption nvmlDeviceGetPowerUsage nvmlDeviceGetPowerManagementMode
            nvmlDeviceGetPowerManagementLimit nvmlDeviceGetEnforcedPowerLimit
            nvmlDeviceGetPowerManagementDefaultLimit nvmlDeviceGetPowerManagementLimitConstraints
            nvmlDeviceGetPersistenceMode nvmlDeviceGetMigMode nvmlDeviceGetComputeMode
            nvmlDeviceGetPerformanceState nvmlDeviceGetCurrentClocksEventReasons
            nvmlDeviceGetSupportedClocksEventReasons nvmlDeviceGetUtilizationRates
            nvmlDeviceGetMemoryInfo nvmlDeviceGetBAR1MemoryInfo nvmlDeviceGetVirtualizationMode
            nvmlDeviceGetVbiosVersion nvmlDeviceGetMemoryBusWidth nvmlDeviceGetNumGpuCores
            nvmlDeviceGetMaxPcieLinkGeneration nvmlDeviceGetCurrPcieLinkWidth nvmlDeviceGetIrqNum
            nvmlDeviceGetPowerSource nvmlDeviceGetModuleId nvmlDeviceGetEccMode
            nvmlDeviceGetSupportedMemoryClocks nvmlDeviceGetAutoBoostedClocksEnabled
            nvmlDeviceGetClkMonStatus nvmlDeviceGetTargetFanSpeed""".split():
        out[name] = ask(name, h)
    for clock in (0, 1, 2, 3):
        for name in ("nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo",
                     "nvmlDeviceGetApplicationsClock", "nvmlDeviceGetDefaultApplicationsClock",
                     "nvmlDeviceGetMaxCustomerBoostClock"):  # fmt: skip
            out[f"{name}({clock})"] = ask(name, h, clock)
    out["nvmlDeviceGetTemperature"] = ask("nvmlDeviceGetTemperature", h, 0)
    for threshold in range(8):
        out[f"nvmlDeviceGetTemperatureThreshold({threshold})"] = ask(
            "nvmlDeviceGetTemperatureThreshold", h, threshold
        )
    memory = out["nvmlDeviceGetSupportedMemoryClocks"]
    if isinstance(memory, list):
        out["nvmlDeviceGetSupportedGraphicsClocks"] = {
            mhz: ask("nvmlDeviceGetSupportedGraphicsClocks", h, mhz) for mhz in memory
        }
    out["nvmlDeviceGetPcieThroughput"] = [ask("nvmlDeviceGetPcieThroughput", h, i) for i in (0, 1)]
    out["compute_processes"] = str(ask("nvmlDeviceGetComputeRunningProcesses", h))
    out["fields"] = fields(h)
    for scope in (1, 2):
        out[f"fields_of_scope_{scope}"] = fields(h, scope)
    out["samples"] = samples(h)
    json.dump(out, sys.stdout, indent=1, default=str)


if __name__ == "__main__":
    main()
