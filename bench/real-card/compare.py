#!/usr/bin/env python3
"""What a card's counter, readings and samples said of the loads of load.py, side by side.

    bench/real-card/compare.py [FILE...]        default: the recordings beside this script

A recording has, in us since its begin: "segment NAME BEGIN END"; "on BEGIN END", a pulse of the load;
"e LOW HIGH MJ", a move of the energy counter between two times; "i T MW" and "a T MW", a new instant and
average reading; "s T MW", a sample of the driver's own ring (nvmlDeviceGetSamples).

In "slide" the load is on for 25 of every 101 ms and moves through the sensor's period of 100 ms. Printed
are means, and the spread (standard deviation) from one reading, tick or sample to the next: a counter
that sees all of the time shows hardly any there, one that adds up readings shows theirs.
"""

import pathlib
import statistics
import sys


def read(path):
    segments, current = [], None
    for line in open(path):
        word = line.split()
        if line.startswith("#"):
            print(line[2:].strip())
        elif word[0] == "segment":
            current = {"name": word[1], "begin": int(word[2]), "end": int(word[3]),
                       "on": [], "e": [], "i": [], "a": [], "s": []}  # fmt: skip
            segments.append(current)
        else:
            current[word[0]].append(tuple(map(int, word[1:])))
    return segments


def mean_w(readings, begin, end):
    """Each reading holds until the next."""
    total = spanned = 0
    for (t, mw), (later, _) in zip(readings, readings[1:] + [(end, 0)]):
        span = min(later, end) - max(t, begin)
        if span > 0:
            total += mw * 1e-3 * span
            spanned += span
    return total / spanned if spanned else float("nan")


def main():
    here = pathlib.Path(__file__).parent
    for path in sys.argv[1:] or sorted(here.glob("loads-*.txt")):
        segments = read(path)
        print(f"{'load':14} {'counter':>9} {'instant':>9} {'samples':>9}   spread of a tick, a reading, a sample")
        for s in segments:
            ticks = [((low + high) / 2, mj) for low, high, mj in s["e"] if low > s["begin"] + 300_000]
            begin, end = ticks[0][0], ticks[-1][0]
            counter = (ticks[-1][1] - ticks[0][1]) * 1e3 / (end - begin)
            # Ticks are 100 ms apart, which is known better than when each was seen.
            steps = [(b[1] - a[1]) * 1e-2 for a, b in zip(ticks, ticks[1:]) if b[0] - a[0] < 150_000]
            instant = [w * 1e-3 for t, w in s["i"] if begin < t < end]
            samples = [w * 1e-3 for t, w in s["s"] if begin < t < end]
            row = f"{s['name']:14} {counter:7.1f} W {mean_w(s['i'], begin, end):7.1f} W "
            row += f"{statistics.mean(samples):7.1f} W" if samples else f"{'':9}"
            row += f"   {statistics.pstdev(steps):7.1f} {statistics.pstdev(instant):7.1f}"
            row += f" {statistics.pstdev(samples):7.1f} W" if samples else " W"
            print(row)


if __name__ == "__main__":
    main()
