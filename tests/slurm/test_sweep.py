#!/usr/bin/env python3
"""`wattune sweep --slurm` under a real Slurm: the runs of a plan as tasks on two nodes, each with its limit
really set; those that are lost are made again, and it ends in one report.

usage: test_sweep.py [Case.test]   under `meson test`, which sets what it needs; stands on bed.py
"""
import glob
import json
import os
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402

BED = None
WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
POLICY = "allow uid 65534 on all set power\n"  # without cgroups nobody can tell whose job a process is in


def setUpModule():
    global BED
    BED = slurm.Bed([("v100-pcie-32gb:4", POLICY)] * 2)
    os.makedirs(f"{BED.dir}/out/home", mode=0o700)
    os.chown(f"{BED.dir}/out/home", slurm.NOBODY, slurm.NOBODY)
    BED.start()


def tearDownModule():
    BED.stop()


def diagnose():
    return BED.tails()


class Sweep(unittest.TestCase):
    """An ordinary user's, whose home the nodes see."""

    def start(self, *options, sbatch=("--gres=gpu:4",)):
        # What an NVML client that knows nothing of Wattune sees meanwhile; and each stays until it may go.
        self.go = f"{BED.dir}/out/home/go"
        command = f"{slurm.PYTHON} -S {BED.client} >{BED.dir}/out/home/seen-$SLURM_ARRAY_JOB_ID-" \
                  f"$SLURM_ARRAY_TASK_ID-$SLURMD_NODENAME; sleep 1; while [ ! -e {self.go} ]; do sleep 0.2; done"
        self.said = f"{BED.dir}/out/home/said"
        with open(self.said, "a", encoding="utf-8") as err:
            sweep = subprocess.Popen(
                [WATTUNE, "sweep", "--slurm", *options, *(f"--sbatch-option={o}" for o in sbatch),
                 "--set", "power=100:250:75", "--repeats", "2", "--json", "--report", "r.html", "--", "sh", "-c",
                 command],
                env={**BED.environment(), "HOME": f"{BED.dir}/out/home"}, cwd=f"{BED.dir}/out/home", text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, user=slurm.NOBODY,
                group=slurm.NOBODY, extra_groups=[], start_new_session=True)
        self.addCleanup(self.end, sweep)
        return sweep

    def end(self, sweep):
        """One that a failed test left."""
        if sweep.poll() is None:
            sweep.kill()
            sweep.communicate()
            print(f"it said:\n{BED.read('out/home/said')}", file=sys.stderr)

    def says(self, text):
        slurm.await_(f'the sweep to say "{text}"; it said {BED.read("out/home/said")}',
                     lambda: text in BED.read("out/home/said"))

    @staticmethod
    def running():
        """{node: (job's own number, array, task)} of what measures now."""
        text = BED.run("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%N %A %F %K").stdout
        found = {}
        for line in text.splitlines():
            node, job, array, task = line.split()
            if any(os.path.getsize(path) for path in glob.glob(f"{BED.dir}/out/home/seen-{array}-{task}-{node}")):
                found[node] = (job, array, task)
        return found

    def on_both(self):
        """What running() found, where that is a task on each node."""
        found = self.running()
        return found if len(found) == 2 else None

    def test_a_sweep_on_two_nodes_with_tasks_that_are_lost(self):
        sweep = self.start()
        running = slurm.await_("a task on each node", self.on_both)
        lost, requeued = running["n2"], running["n1"]
        # One goes with its node, and Slurm may not begin it again; one is begun again by Slurm; and he
        # who waits is gone meanwhile.
        BED.run("scontrol", "update", f"JobId={lost[0]}", "Requeue=0")
        BED.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
        BED.run("scontrol", "requeue", f"{requeued[1]}_{requeued[2]}")
        self.says("was lost on n2 (NODE_FAIL): it is submitted again")
        sweep.send_signal(signal.SIGINT)
        sweep.communicate(timeout=slurm.PATIENCE_S)
        self.assertEqual(sweep.returncode, 130)
        self.says("the jobs go on")
        self.says("go on with it: wattune sweep --resume sweep-")
        BED.run("scontrol", "update", "NodeName=n2", "State=RESUME", check=False)  # if it is not back by itself
        # Slurm lets two minutes pass before it begins it again.
        task = f"{requeued[1]}_{requeued[2]}"
        BED.await_state(task, "PENDING")
        BED.run("scontrol", "update", f"JobId={task}", "StartTime=now")
        BED.write(self.go, "")
        sweep = self.start("--resume", "last")
        out, _ = sweep.communicate(timeout=3 * slurm.PATIENCE_S)
        self.assertEqual(sweep.returncode, 0, BED.read("out/home/said"))
        self.says("was lost, and Slurm has begun it again")
        report = json.loads(out)
        self.assertEqual([(row["label"], row["repeats"]) for row in report["rows"]],
                         [("100 W", 2), ("175 W", 2), ("250 W", 2)])
        self.assertEqual(report["reference"], "250 W")
        self.assertEqual(len(report["runs"]), 6)
        self.assertTrue(any("on 2 nodes: n" in warning for warning in report["warnings"]), report["warnings"])
        self.assertIn("Tesla V100", report["machine"])
        self.assertTrue(os.path.getsize(f"{BED.dir}/out/home/r.html") > 1000)
        self.check_limits(report["group"])
        BED.await_limits(n1=[250] * 4, n2=[250] * 4)

    def check_limits(self, group):
        """Each run that counts had its limit on all GPUs of its node, as the client saw it."""
        done = BED.run(WATTUNE, "runs", "--sweep", group, "--json", user=slurm.NOBODY,
                       env={"HOME": f"{BED.dir}/out/home"})
        wanted = sorted(run["label"] for run in json.loads(done.stdout)["runs"])
        seen = {}
        for path in glob.glob(f"{BED.dir}/out/home/seen-*"):
            _, array, task, _ = os.path.basename(path).split("-")
            with open(path, encoding="utf-8") as f:
                text = f.read()
            limits = {gpu["limit_w"] for gpu in json.loads(text)} if text else set()
            if limits:  # one that was lost before it looked saw none
                seen[(int(task), int(array))] = limits
        latest = {task: limits for (task, _), limits in sorted(seen.items())}
        self.assertEqual(sorted(f"{limits.pop():g} W" for limits in latest.values() if len(limits) == 1), wanted)


if __name__ == "__main__":
    reason = slurm.why_not()
    if reason:
        cases.skip(reason)
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
