#!/usr/bin/env python3
"""An NVML client that knows nothing of Wattune: reads the GPUs through whatever libnvidia-ml.so.1 the
loader finds.

usage: nvml.py                 the GPUs as JSON
       nvml.py --set WATTS     as root: the limit of each
       nvml.py --watch FILE    a line "TIME GPU WATTS" in FILE for each limit and each change of it
       nvml.py --meter FOLDER  what they draw as a Cray's node meter shows it: FOLDER/energy and power
"""
import ctypes
import json
import os
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


def show(path, value, unit):
    """In place and in one write: a file that is replaced does not show in an overlay that is mounted."""
    with open(path, "r+" if os.path.exists(path) else "w", encoding="utf-8") as out:
        out.write(f"{value:12.0f} {unit} {time.time() * 1e6:.0f} us\n")


def meter(nvml, folder):
    all_devices = devices(nvml)
    last_s, last_j = time.monotonic(), None
    while True:
        now_s, now_j = time.monotonic(), sum(energy_j(nvml, h) for h in all_devices)
        watts = (now_j - last_j) / (now_s - last_s) if last_j is not None else 0
        show(f"{folder}/power", watts, "W")
        show(f"{folder}/energy", now_j, "J")
        last_s, last_j = now_s, now_j
        time.sleep(0.1)


def main():
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    if sys.argv[1:2] == ["--watch"]:
        watch(nvml, sys.argv[2])
    if sys.argv[1:2] == ["--meter"]:
        meter(nvml, sys.argv[2])
    if sys.argv[1:2] == ["--set"]:
        for handle in devices(nvml):
            check(nvml.nvmlDeviceSetPowerManagementLimit(handle, int(sys.argv[2]) * 1000))
        return
    print(json.dumps([{"uuid": text(nvml.nvmlDeviceGetUUID, h), "name": text(nvml.nvmlDeviceGetName, h),
                       "limit_w": limit_w(nvml, h), "clock_mhz": clock_mhz(nvml, h), "energy_j": energy_j(nvml, h)}
                      for h in devices(nvml)]))


if __name__ == "__main__":
    main()
