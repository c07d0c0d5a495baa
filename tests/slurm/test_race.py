#!/usr/bin/env python3
"""`wattune race` over a real Slurm: each stretch of a trial is a job of its own, by srun in the command;
those that are stopped leave no job, no cap and no held GPU, and who goes on does so from its checkpoint.

usage: test_race.py [Case.test]   under `meson test`, which sets what it needs; stands on bed.py
"""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402

BED = None
WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
TRAINER = """#!/bin/bash
kept="$1/$2.kept"
n=$([ "$3" = --resume ] && cat "$kept" 2>/dev/null || echo 0)
echo "job $SLURM_JOB_ID on $SLURMD_NODENAME from $n" >>"$1/$2.said"
trap 'echo $n >"$kept"; exit 138' USR1
while [ $n -lt 30 ]; do
    n=$((n + 1)); echo "step $n loss=$2.$((9000 - n))"; sleep 0.1
done
"""


def setUpModule():
    global BED
    BED = slurm.Bed([("v100-pcie-32gb:4", "")] * 2)
    BED.start()


def tearDownModule():
    BED.stop()


def diagnose():
    return BED.tails()


class Raced(unittest.TestCase):
    def test_each_stretch_is_a_job_and_the_best_comes_to_its_end(self):
        out = os.path.join(BED.dir, "out")
        script = os.path.join(out, "train.sh")
        BED.write(script, TRAINER)
        os.chmod(script, 0o755)
        done = BED.run(WATTUNE, "race", "--json", "--no-store", "--folder", os.path.join(out, "race"),
                       "--param", "loss=4,2,1,3", "--steps", "30", "--first", "20", "--eta", "2",
                       "--progress", r"step (\d+)", "--loss-pattern", r"loss=(\S+)",
                       "--at-once", "2", "--pause", "end", "--end-signal", "USR1", "--again=--resume", "--",
                       "srun", "-N1", "-n1", "--gres=gpu:1", script, out, "{loss}", timeout=180)
        race = json.loads(done.stdout)
        self.assertEqual(race["winner"], "loss=1")
        trials = {trial["name"]: trial for trial in race["trials"]}
        self.assertEqual({name: trial["state"] for name, trial in trials.items()},
                         {"loss=1": "finished", "loss=2": "stopped", "loss=3": "stopped", "loss=4": "stopped"})
        self.assertLess(race["steps"], race["steps_full"])
        said = BED.read("out/1.said").splitlines()
        self.assertEqual(len(said), trials["loss=1"]["processes"])
        self.assertGreater(len(said), 1)
        self.assertEqual(len({line.split()[1] for line in said}), len(said), "a job for each stretch")
        starts = [int(line.split()[-1]) for line in said]
        self.assertEqual(starts[0], 0)
        self.assertTrue(all(a < b for a, b in zip(starts, starts[1:])), said)
        BED.await_idle()
        self.assertEqual(BED.run("squeue", "-h").stdout, "")


if __name__ == "__main__":
    reason = slurm.why_not()
    if reason:
        cases.skip(reason)
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
