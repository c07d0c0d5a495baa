#!/usr/bin/env python3
"""The driver's own ring of power samples, all of them, until SIGTERM: a line "MONOTONIC_NS MW" each,
at the time that the driver gives; and at the end what it says of who used the card.

    samples.py FILE
"""

import signal
import sys
import time

import pynvml as n

is_ending = False


def end(*_):
    global is_ending
    is_ending = True


def main():
    signal.signal(signal.SIGTERM, end)
    n.nvmlInit()
    h = n.nvmlDeviceGetHandleByIndex(0)
    seen, users = 0, "none asked"
    with open(sys.argv[1], "w") as out:
        while not is_ending:
            offset = time.time_ns() - time.monotonic_ns()
            begin = time.perf_counter()
            try:
                _, samples = n.nvmlDeviceGetSamples(h, n.NVML_TOTAL_POWER_SAMPLES, seen)
            except n.NVMLError:
                samples = []
            took = time.perf_counter() - begin
            for s in samples:
                print(s.timeStamp * 1000 - offset, s.sampleValue.uiVal, file=out)
                seen = max(seen, s.timeStamp)
            print(f"# {len(samples)} samples in {took * 1e6:.0f} us", file=out)
            try:
                users = [(u.smUtil, u.memUtil) for u in
                         n.nvmlDeviceGetProcessUtilization(h, int(time.time() * 1e6) - 1_500_000)]  # fmt: skip
            except n.NVMLError as error:
                users = str(error)
            print("# users", users, file=out)
            time.sleep(1)


if __name__ == "__main__":
    main()
