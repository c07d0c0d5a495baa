#!/usr/bin/env python3
"""`wattune submit` under a real Slurm: jobs begin when they were planned, on both days of a change of
the clock too, and one of several pieces is stopped, requeued and done.

usage: test_submit.py [Case.test]   under `meson test`, which sets what it needs; stands on bed.py
"""
import datetime
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402

BED = None
WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
TRAINER = """#!/bin/bash
#SBATCH -n1
n=$(cat "$1/count" 2>/dev/null || echo 0)
echo "begins at $n, restart ${SLURM_RESTART_COUNT:-0}" >>"$1/said"
trap 'echo $n >"$1/count"; echo "keeps $n" >>"$1/said"; exit 0' USR1
while [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
echo "done $n" >>"$1/said"
"""


def setUpModule():
    global BED
    BED = slurm.Bed([("v100-pcie-32gb:4", "")])
    BED.start()


def tearDownModule():
    BED.stop()


def diagnose():
    return BED.tails()


def iso(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Submitted(unittest.TestCase):
    def script(self, text):
        path = os.path.join(BED.dir, "out", "train.sh")
        BED.write(path, text)
        return path

    def submit(self, *options, zone="UTC", sbatch=()):
        """The job's number."""
        done = BED.run(WATTUNE, "submit", "--power", "1kW", *options, "--", "--parsable", *sbatch,
                       env={"TZ": zone})
        return int(done.stdout.strip())

    def test_a_job_begins_when_it_was_planned_whatever_the_clock_shows(self):
        script = self.script("#!/bin/sh\ntrue\n")
        for zone in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"):
            # The clock of Berlin goes forward and back in 2037, and between; that of New York after.
            for start in ("2037-03-29T00:59:59", "2037-03-29T01:00:00", "2037-07-01T12:00:00",
                          "2037-10-25T00:30:00", "2037-10-25T01:30:00", "2037-10-25T02:30:00",
                          "2037-11-01T05:30:00", "2037-11-01T06:30:00"):
                job = self.submit("--signal", "carbon=3", "--duration", "1h", "--start", start + "Z",
                                  "--deadline", "1d", zone=zone, sbatch=(script,))
                done = BED.run("scontrol", "-o", "show", "job", str(job), env={"TZ": "UTC"})
                self.assertIn(f" StartTime={start} ", done.stdout, f"{zone}")
                BED.run("scancel", str(job))

    def test_a_job_of_two_pieces_is_requeued_and_done(self):
        out = os.path.join(BED.dir, "out")
        script = self.script(TRAINER)
        now = int(time.time())
        grid = os.path.join(out, "grid.csv")
        rows = [(now - 3600, 900), (now, 100), (now + 8, 900), (now + 80, 100), (now + 90, 900), (now + 99, 900)]
        BED.write(grid, "time,gco2_per_kwh\n" + "".join(f"{iso(t)},{v}\n" for t, v in rows))
        # The second piece is 80 s away: more than a minute, so that the job does not begin it early.
        job = self.submit("--signal", f"carbon={grid}", "--duration", "16s", "--deadline", "95s",
                          "--interruptible", "--checkpoint-lead", "3s", zone="Europe/Berlin",
                          sbatch=(script, out))
        slurm.await_("the first piece's end", lambda: "keeps" in BED.read("out/said"))
        BED.await_state(job, "PENDING")
        slurm.await_("a start for the second piece", lambda: abs(slurm_time(BED.job(job)["StartTime"]) - now - 80) <= 2)
        BED.await_state(job, "COMPLETED", patience_s=150)
        said = BED.read("out/said").splitlines()
        self.assertEqual(said[0], "begins at 0, restart 0")
        kept = int(said[1].split()[1])
        self.assertTrue(0 < kept < 100, said)
        self.assertEqual(said[2], f"begins at {kept}, restart 1")
        self.assertEqual(said[3:], ["done 100"])
        self.assertIn("#WATTUNE piece", BED.run("scontrol", "write", "batch_script", str(job), "-").stdout)

    def test_what_sbatch_says_is_passed_on(self):
        done = BED.run(WATTUNE, "submit", "--power", "1kW", "--signal", "carbon=3", "--duration", "1h",
                       "--deadline", "1d", "--", "--partition=none", self.script("#!/bin/sh\n"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("invalid partition specified", done.stderr)


def slurm_time(text):
    """Seconds since 1970 of Slurm's local time; 0: it knows none."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0


if __name__ == "__main__":
    reason = slurm.why_not()
    if reason:
        cases.skip(reason)
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
