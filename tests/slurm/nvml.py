#!/usr/bin/env python3
"""An NVML client that knows nothing of Wattune: reads the GPUs through whatever libnvidia-ml.so.1 the
loader finds.

usage: nvml.py                 the GPUs as JSON
       nvml.py --set WATTS     as root: the limit of each
       nvml.py --watch FILE    a line "TIME GPU WATTS" in FILE for each limit and each change of it
"""
import ctypes
import json
import sys
import time

BUFFER = 96
SM_CLOCK = 1


def devices(nvml):
    check(nvml.nvmlInit_v2())
    count = ctypes.c_uint()
    check(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    found = []
    for i in range(count.value):
        handle = ctypes.c_void_p()
        check(nvml.nvmlDeviceGetHandleByIndex_v2(i, ctypes.byref(handle)))
        found.append(handle)
    return found


def check(code):
    if code != 0:
        sys.exit(f"NVML: error {code}")


def limit_w(nvml, handle):
    value = ctypes.c_uint()
    check(nvml.nvmlDeviceGetPowerManagementLimit(handle, ctypes.byref(value)))
    return value.value / 1000


def energy_j(nvml, handle):
    value = ctypes.c_ulonglong()
    check(nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)))
    return value.value / 1000


def text(function, handle):
    buffer = ctypes.create_string_buffer(BUFFER)
    check(function(handle, buffer, BUFFER))
    return buffer.value.decode()


def clock_mhz(nvml, handle):
    """The highest there was just now; at rest a card is slower."""
    value = ctypes.c_uint()
    check(nvml.nvmlDeviceGetClockInfo(handle, SM_CLOCK, ctypes.byref(value)))
    return value.value


def watch(nvml, path):
    last = {}
    all_devices = devices(nvml)
    with open(path, "w", buffering=1, encoding="utf-8") as out:
        while True:
            for i, handle in enumerate(all_devices):
                watts = limit_w(nvml, handle)
                if last.get(i) != watts:
                    last[i] = watts
                    out.write(f"{time.time():.6f} {i} {watts:g}\n")
            time.sleep(0.01)


def main():
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    if sys.argv[1:2] == ["--watch"]:
        watch(nvml, sys.argv[2])
    if sys.argv[1:2] == ["--set"]:
        for handle in devices(nvml):
            check(nvml.nvmlDeviceSetPowerManagementLimit(handle, int(sys.argv[2]) * 1000))
        return
    print(json.dumps([{"uuid": text(nvml.nvmlDeviceGetUUID, h), "name": text(nvml.nvmlDeviceGetName, h),
                       "limit_w": limit_w(nvml, h), "clock_mhz": clock_mhz(nvml, h), "energy_j": energy_j(nvml, h)}
                      for h in devices(nvml)]))


if __name__ == "__main__":
    main()
