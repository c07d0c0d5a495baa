#!/usr/bin/env python3
"""Square-wave loads of matrix products on the card, and when each was on.

    load.py FILE [--scale X]

Writes a line a segment and a line an edge pair, in ns of CLOCK_MONOTONIC:

    segment NAME BEGIN
    pulse ON_LOW ON_HIGH OFF_LOW OFF_HIGH
    end NAME END

Each pulse's length is what CUDA's events say; where it lies is known to between the launch and the
end of the wait. "slide" is the segment that tells what a sensor sees: pulses of 25 ms every 101 ms
move by 1 ms against a sensor of 100 ms, so that in 10 s every part of its period has held the pulse.
A sensor that sees all of the time shows the same power throughout; one that sees 25 of 100 ms shows
everything and nothing in turn.
"""

import argparse
import sys
import time

import torch

SIZE = 4096


def now():
    return time.monotonic_ns()


class Card:
    def __init__(self):
        self.is_real = torch.cuda.is_available()
        kind = {"device": "cuda", "dtype": torch.bfloat16} if self.is_real else {}
        n = SIZE if self.is_real else 64
        self.a, self.b = torch.randn(n, n, **kind), torch.randn(n, n, **kind)
        self.c = torch.empty(n, n, **kind)
        if self.is_real:
            self.start = torch.cuda.Event(enable_timing=True)
            self.stop = torch.cuda.Event(enable_timing=True)
        for _ in range(5):
            self.run(200)
        begin = now()
        self.run(200)
        self.each_s = (now() - begin) * 1e-9 / 200

    def run(self, count):
        for _ in range(count):
            torch.mm(self.a, self.b, out=self.c)
        if self.is_real:
            torch.cuda.synchronize()

    def pulse(self, seconds):
        count = max(1, round(seconds / self.each_s))
        low = now()
        if self.is_real:
            self.start.record()
        for _ in range(count):
            torch.mm(self.a, self.b, out=self.c)
        if self.is_real:
            self.stop.record()
            torch.cuda.synchronize()
        high = now()
        length = int(self.start.elapsed_time(self.stop) * 1e6) if self.is_real else high - low
        if length > 0:
            self.each_s += 0.2 * (length * 1e-9 / count - self.each_s)
        return low, max(low, high - length), min(high, low + length), high


def wait_until(t):
    while True:
        left = t - now()
        if left <= 0:
            return
        if left > 2_000_000:
            time.sleep((left - 1_000_000) * 1e-9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--scale", type=float, default=1)
    args = parser.parse_args()
    torch.manual_seed(1)
    card = Card()
    # name, seconds, on, period (s); on 0: idle
    segments = [
        ("settle", 3, 0, 1),
        ("idle", 8, 0, 1),
        ("square-1s", 12, 1, 2),
        ("square-100ms", 8, 0.1, 0.2),
        ("square-25ms", 8, 0.025, 0.05),
        ("slide", 21, 0.025, 0.101),
        ("slide-50ms", 11, 0.050, 0.101),
        ("constant", 12, 0.25, 0.25),
        ("idle-after", 8, 0, 1),
    ]
    with open(args.file, "w") as out:
        for name, seconds, on, period in segments:
            seconds *= args.scale
            begin = now()
            print("segment", name, begin, file=out)
            k = 0
            while True:
                at = begin + int(k * period * 1e9)
                if at >= begin + seconds * 1e9:
                    break
                wait_until(at)
                if on:
                    print("pulse", *card.pulse(on), file=out)
                else:
                    time.sleep(min(period, seconds))
                k += 1
            print("end", name, now(), file=out)
    print(f"a product took {card.each_s * 1e6:.0f} us", file=sys.stderr)


if __name__ == "__main__":
    main()
