#!/usr/bin/env python3
"""The SPANK plugin under a real Slurm: what a job's GPUs get, what a user is told, and every kind of
death. One bed for all: n1 and n2 with four V100, n2's site is strict; n3 with four A100 which its map
turns round; n4 for two jobs that take a minute.

usage: test_slurm.py [CLASS[.test]...]   under `meson test`, which sets what it needs

WATTUNE_SLURM_LIVES (200) and WATTUNE_SLURM_SEED (the time) are of the random lives; WATTUNE_SLURM_KEEP=1
leaves the folder with all logs.
"""
import contextlib
import glob
import os
import shutil
import signal
import socket
import sys
import threading
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402
import energies  # noqa: E402
import lives  # noqa: E402

FREE = "allow slurm on all set power\nallow slurm on all set clock\n"
STRICT = "site-cap power 200 W\nallow slurm on all set power from 120 W\n"
LOOK = ""  # what an NVML client sees where it runs
BED = None
OLD = {}  # the two jobs that take a minute


def setUpModule():
    global BED, LOOK
    BED = slurm.Bed([("v100-pcie-32gb:4", FREE), ("v100-pcie-32gb:4", STRICT),
                     ("a100-pcie-80gb:4", FREE), ("v100-pcie-16gb:4", FREE)])
    LOOK = f"{slurm.PYTHON} -S {BED.client}"
    BED.write(f"{BED.dir}/etc/auto", "# WATTS MODEL\n170 Tesla V100*\n")
    BED.start(prepare)


def tearDownModule():
    BED.stop()


def prepare():
    BED.nodes[1].set_limits(200)
    ids = [gpu["uuid"] for gpu in BED.nodes[2].look()]
    BED.write(f"{BED.dir}/etc/map-n3", "# Slurm's number, device\n" + "".join(
        f"{i} {gpu}\n" for i, gpu in enumerate(reversed(ids))))
    if not sys.argv[1:] or any(name.startswith("Lives") for name in sys.argv[1:]):
        start_old()


def start_old():
    """An allocation without a step, older than the grace that wattuned gives to a job without traces;
    and a job that Slurm ends, which it looks for every 30 s."""
    BED.run("salloc", "--no-shell", "-w", "n4", "--gres=gpu:1", "--power-cap=140", user=slurm.NOBODY)
    BED.await_limits(n4=[140, 250, 250, 250])
    OLD["began"] = time.monotonic()
    OLD["late"] = BED.sbatch("sleep 1000", "-w", "n4", "--gres=gpu:2", "--power-cap=130", "--time=1")
    BED.await_limits(n4=[140, 130, 130, 250])
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))  # --time counts minutes
    BED.run("scontrol", "update", f"jobid={OLD['late']}", f"EndTime={soon}")


def diagnose():
    return BED.tails()


@contextlib.contextmanager
def default_timeout():
    """The plugin waits for wattuned as it does by itself."""
    before = BED.read(BED.plugstack)
    BED.write(BED.plugstack, before.replace(f" timeout={slurm.PLUGIN_MS}", ""))
    try:
        yield
    finally:
        BED.write(BED.plugstack, before)


def ended(job, want="COMPLETED"):
    state = BED.await_end(job)
    assert state == want, f"job {job}: {state}\n{BED.output(job)}"
    return BED.output(job)


def srun(*words, check=True, **more):
    return BED.run("srun", "--quiet", *words, user=slurm.NOBODY, check=check, **more)


def running(script, *options, limits=None):
    """A job whose script has begun, which is after Slurm's RUNNING; and its node's limits are those."""
    job = BED.sbatch(f"echo begun; {script}", *options)
    slurm.await_(f"job {job} begun", lambda: BED.output(job).startswith("begun\n"))
    BED.await_state(job, "RUNNING")
    if limits:
        BED.await_limits(**limits)
    return job


class Node(unittest.TestCase):
    """Each test leaves every node idle, with nothing held."""
    n1 = property(lambda self: BED.nodes[0])
    n2 = property(lambda self: BED.nodes[1])
    n3 = property(lambda self: BED.nodes[2])

    def tearDown(self):
        for node in BED.nodes[:3]:
            if node.daemon is None:
                node.start_daemon()
            if node.slurmd is None:
                node.start_slurmd()
        jobs = BED.run("squeue", "-h", "-o", "%A", "-w", "n[1-3]", check=False).stdout.split()
        if jobs:
            BED.run("scancel", *jobs, check=False)

        def is_quiet():
            states = BED.states()
            return all(states.get(f"n{i}") == "idle" for i in (1, 2, 3))
        slurm.await_("n1 to n3 idle again", is_quiet)
        BED.await_limits(n1=[250] * 4, n2=[200] * 4, n3=[300] * 4)
        for node in BED.nodes[:3]:
            slurm.await_(f"{node.name}: nothing held", lambda n=node: "nothing is held" in (n.status() or ""))


class Caps(Node):
    def test_a_cap_is_on_the_jobs_gpus_alone_and_goes_with_it(self):
        done = srun("-w", "n1", "--gres=gpu:2", "--power-cap=150", "sh", "-c",
                    f"{LOOK}; echo $WATTUNE_JOB_POWER_CAP")
        gpus, cap = done.stdout.splitlines()
        self.assertEqual([gpu["limit_w"] for gpu in slurm.json.loads(gpus)], [150, 150, 250, 250])
        self.assertEqual(cap, "150")
        self.assertEqual(done.stderr, "")

    def test_a_script_and_its_steps_see_it_and_a_clock_too(self):
        job = BED.sbatch(f"{LOOK}\nsrun -n1 --gres=gpu:1 {LOOK}", "-w", "n1", "--gres=gpu:2",
                         "--power-cap=160W", "--gpu-clock=1000")
        for line in ended(job).splitlines():
            gpus = slurm.json.loads(line)
            self.assertEqual([gpu["limit_w"] for gpu in gpus], [160, 160, 250, 250])
        facts = self.n1.fact(job)
        self.assertEqual((facts["cap_mw"], facts["cap_set_mw"], facts["clock_set_khz"]),
                         ("160000", "160000", facts["clock_khz"]))

    def test_two_jobs_share_a_node(self):
        first = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=110",
                        limits={"n1": [110, 250, 250, 250]})
        second = running("sleep 100", "-w", "n1", "--gres=gpu:2", "--power-cap=210",
                         limits={"n1": [110, 210, 210, 250]})
        third = running("sleep 100", "-w", "n1", "--gres=gpu:1")
        BED.run("scancel", str(first))
        BED.await_limits(n1=[250, 210, 210, 250])
        BED.run("scancel", str(second), str(third))

    def test_a_job_on_two_nodes_has_it_on_both(self):
        srun("-N2", "-w", "n[1-2]", "--gres=gpu:1", "--power-cap=180", "true")
        holder = running("sleep 100", "-w", "n1", "--gres=gpu:2")  # so that the numbers differ
        job = running("srun sleep 100", "-N2", "-w", "n[1-2]", "--gres=gpu:1", "--power-cap=180",
                      limits={"n1": [250, 250, 180, 250], "n2": [180, 200, 200, 200]})
        self.assertEqual((self.n1.fact(job)["gpus"], self.n2.fact(job)["gpus"]), ("2", "0"))
        self.assertEqual(self.n1.fact(job)["nodes"], "2")
        BED.run("scancel", str(job), str(holder))

    def test_the_map_says_which_gpu_is_which(self):
        job = running("sleep 100", "-w", "n3", "--gres=gpu:1", "--power-cap=200",
                      limits={"n3": [300, 300, 300, 200]})
        BED.run("scancel", str(job))

    def test_a_node_without_the_range_says_so_and_runs(self):
        done = srun("-N2", "-n2", "-w", "n[1,3]", "--gres=gpu:1", "--power-cap=120", *LOOK.split())
        seen = [[gpu["limit_w"] for gpu in slurm.json.loads(line)] for line in done.stdout.splitlines()]
        self.assertIn([120, 250, 250, 250], seen)
        self.assertIn([300] * 4, seen)
        self.assertIn("wattune: n3: GPU 0: 120 W is not set: NVIDIA A100 80GB PCIe takes 150 W to 300 W",
                      done.stderr)
        self.assertNotIn("n1:", done.stderr)

    def test_the_policy_is_above_it(self):
        done = srun("-w", "n2", "--gres=gpu:1", "--power-cap=240", "sh", "-c", LOOK)
        self.assertIn("wattune: n2: GPU 0: 240 W is above what this site allows; 200 W is set", done.stderr)
        self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], 200)
        done = srun("-w", "n2", "--gres=gpu:1", "--power-cap=110", "sh", "-c", LOOK)
        self.assertIn("n2: GPU 0: 110 W is not set: this site lets users go down to 120 W", done.stderr)
        done = srun("-w", "n2", "--gres=gpu:1", "--gpu-clock=900", "true")
        self.assertIn("900 MHz is not set: clock of GPU", done.stderr)
        self.assertIn("no rule of", done.stderr)

    def test_auto_is_what_the_site_noted_for_the_model(self):
        done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=auto", "sh", "-c", LOOK)
        self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], 170)
        done = srun("-w", "n3", "--gres=gpu:1", "--power-cap=auto", "sh", "-c",
                    f"{LOOK}; echo $WATTUNE_JOB_POWER_CAP")
        gpus, cap = done.stdout.splitlines()
        self.assertEqual((slurm.json.loads(gpus)[3]["limit_w"], cap), (300, "none"))
        self.assertIn('no setting is known yet for "NVIDIA A100 80GB PCIe"', done.stderr)
        self.assertIn("wattune tune", done.stderr)

    def test_auto_is_what_the_user_found_before_what_the_site_noted(self):
        data = f"{BED.dir}/out/data"
        os.makedirs(f"{data}/wattune")
        for line, want in (("130 Tesla V100-PCIE-32GB", 170),  # found on a real card: not for an emulated one
                           ("140 EMULATED Tesla V100-PCIE-32GB", 140)):
            BED.write(f"{data}/wattune/slurm-auto", line + "\n")
            shutil.chown(f"{data}/wattune/slurm-auto", slurm.NOBODY)
            done = BED.run("srun", "-w", "n1", "--gres=gpu:1", "--power-cap=auto", "sh", "-c", LOOK,
                           user=slurm.NOBODY, env={"XDG_DATA_HOME": data})
            self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], want, line)

    def test_the_papers_gpupower_is_another_name(self):
        plugstack, before = BED.plugstack, BED.read(BED.plugstack)
        for value, want in (("150", 150), ("no", 250), ("yes", 170)):
            done = srun("-w", "n1", "--gres=gpu:1", f"--gpupower={value}", "sh", "-c", LOOK)
            self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], want, value)
        try:  # with a site's default, that is "yes", and what holds where nothing was said
            BED.write(plugstack, before.rstrip("\n") + " default-cap=220 nonsense=1\n")
            for words, want in ((["--gpupower=yes"], 220), ([], 220), (["--power-cap=off"], 250),
                                (["--gpupower=no"], 250), (["--power-cap=130"], 130)):
                done = srun("-w", "n1", "--gres=gpu:1", *words, "sh", "-c", LOOK)
                self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], want, words)
        finally:
            BED.write(plugstack, before)
        self.assertIn('"nonsense=1" is none of run=DIR', BED.read("log/slurmd-n1.log"))

    def test_bad_input_is_refused_where_it_was_typed(self):
        for words, said in ((["--power-cap=much"], "give watts of one GPU"),
                            (["--power-cap=0"], "give watts of one GPU"),
                            (["--power-cap=-5"], "give watts of one GPU"),
                            (["--power-cap=150;reboot"], "give watts of one GPU"),
                            (["--gpupower=maybe"], '"yes" or "no"'),
                            (["--gpu-clock=fast"], "give a clock in MHz"),
                            (["--power-cap=150", "--gpupower=160"], "give one of them")):
            for command in (["srun", *words, "true"], ["sbatch", *words, "--wrap", "true"],
                            ["salloc", *words, "true"]):
                done = BED.run(*command, user=slurm.NOBODY, check=False)
                self.assertNotEqual(done.returncode, 0, command)
                self.assertIn(said, done.stderr, command)
        self.assertIn("--power-cap", BED.run("sbatch", "--help").stdout)

    def test_required_fails_the_job_and_drains_nothing(self):
        done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=400", "--power-cap-required", "echo", "ran",
                    check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("ran", done.stdout)
        self.assertIn("not run: --power-cap-required", done.stderr)
        job = BED.sbatch("echo ran", "-w", "n1", "--gres=gpu:1", "--power-cap=400", "--power-cap-required")
        said = ended(job, "FAILED")
        self.assertIn("takes 100 W to 250 W", said)
        self.assertNotIn("ran", said.split())
        job = BED.sbatch("echo ran", "-w", "n1", "--gres=gpu:1", "--power-cap=140", "--power-cap-required")
        self.assertEqual(ended(job), "ran\n")

    def test_a_limit_is_the_jobs_and_not_a_steps(self):
        job = BED.sbatch("srun -n1 --gres=gpu:1 true; srun -n1 --gres=gpu:1 --power-cap=120 true",
                         "-w", "n1", "--gres=gpu:1", "--power-cap=150")
        self.assertEqual(ended(job).count("a limit is the whole job's: give --power-cap=120 to sbatch"), 1)

    def test_without_gpus_there_is_nothing_to_cap(self):
        done = srun("-w", "n1", "--power-cap=150", "true")
        self.assertIn("the job has no GPU on this node", done.stderr)
        done = srun("-w", "n1", "--power-cap=150", "--power-cap-required", "echo", "ran", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("ran", done.stdout)
        self.assertIn("not run: --power-cap-required", done.stderr)
        self.assertEqual(srun("-w", "n1", "true").stderr, "")

    def test_where_the_policy_says_nothing_nothing_is_set(self):
        try:
            BED.write(self.n1.policy, "# nobody\n")
            self.n1.stop_daemon()
            self.n1.start_daemon()
            done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "sh", "-c", LOOK)
            self.assertIn("150 W is not set: power of GPU-", done.stderr)
            self.assertEqual(slurm.json.loads(done.stdout)[0]["limit_w"], 250)
        finally:
            BED.write(self.n1.policy, FREE)
            self.n1.stop_daemon()


class Facts(Node):
    def test_they_tell_of_job_and_steps(self):
        job = BED.sbatch("srun -n1 --gres=gpu:1 true", "-w", "n1", "--gres=gpu:2", "--power-cap=150", "-J",
                         "bert", "-A", "ml")
        ended(job)
        slurm.await_("its end in the facts", lambda: "end_ns" in self.n1.fact(job))
        whole, batch, step = (self.n1.fact(f"{job}{part}") for part in ("", ".batch", ".0"))
        for facts, name in ((whole, None), (batch, "batch"), (step, "0")):
            self.assertEqual((facts["job"], facts["uid"], facts["user"], facts["partition"], facts["cluster"],
                              facts["node"], facts.get("step")),
                             (str(job), str(slurm.NOBODY), "nobody", "main", "bed", "n1", name))
            self.assertLess(abs(int(facts["begin_ns"]) / 1e9 - time.time()), 60)
            self.assertLess(int(facts["begin_ns"]), int(facts["end_ns"]))
        self.assertEqual((whole["gpus"], batch["gpus"], step["gpus"]), ("0,1", "0,1", "0"))
        self.assertEqual((batch["name"], step["name"]), ("bert", "bert"))
        self.assertEqual([facts.get("account") for facts in (whole, batch, step)], ["ml"] * 3)
        self.assertEqual(whole["devices"], ",".join(gpu["uuid"] for gpu in self.n1.look()[:2]))
        self.assertGreater(int(step["pid_start"]), 0)
        for path, mode in ((self.n1.facts, 0o755), (f"{self.n1.facts}/{job}", 0o644)):
            self.assertEqual((os.stat(path).st_mode & 0o7777, os.stat(path).st_uid), (mode, 0), path)
        self.assertFalse([name for name in os.listdir(self.n1.facts) if name.startswith(".")])

    def test_a_name_is_a_line_whatever_is_in_it(self):
        job = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=150", "-J",
                      "x\nend_ns=1\n\x1b[31m\u00fc\udcff" + "y" * 300, limits={"n1": [150, 250, 250, 250]})
        facts = slurm.await_("the step's facts", lambda: self.n1.fact(f"{job}.batch"))
        self.assertNotIn("end_ns", facts)
        self.assertTrue(facts["name"].startswith("x?end_ns=1??[31m\u00fc?yyy"), facts["name"])
        BED.run("scancel", str(job))

    def test_what_is_old_and_over_goes_by_itself(self):
        job = BED.sbatch("true", "-w", "n1", "--gres=gpu:1")
        ended(job)
        slurm.await_("its end in the facts", lambda: "end_ns" in self.n1.fact(job))
        for name in (str(job), f"{job}.batch"):
            os.utime(os.path.join(self.n1.facts, name), (1, 1))
        for name, text in (("900001", "job=900001\n"), ("900001.0", "job=900001\n"), (".900002.7", ""),
                           ("other", "")):
            BED.write(os.path.join(self.n1.facts, name), text)
            os.utime(os.path.join(self.n1.facts, name), (1, 1))
        for _ in range(2):  # a step's go once its job's have gone
            srun("-w", "n1", "true")
        slurm.await_("the old ones gone", lambda: not os.path.exists(f"{self.n1.facts}/{job}.batch"))
        left = set(os.listdir(self.n1.facts))
        self.assertLessEqual({"900001", "900001.0", "other"}, left)  # runs still; not ours
        self.assertFalse({str(job), ".900002.7"} & left)
        for name in ("900001", "900001.0", "other"):
            os.unlink(os.path.join(self.n1.facts, name))

    def test_the_energy_is_printed_as_the_measuring_program_wrote_it(self):
        is_over = threading.Event()

        def measure():
            while not is_over.is_set():
                BED.write(f"{self.n1.facts}/.serve", "")
                for path in glob.glob(f"{self.n1.facts}/[0-9]*.[0-9b]*"):
                    name = os.path.basename(path)
                    if name.endswith(".energy") or os.path.exists(path + ".energy"):
                        continue
                    facts = self.n1.fact(name)
                    if facts and "end_ns" in facts:
                        BED.write(path + ".new", f"{name}: 1.23 kJ\nGPU 0 \x1b[2J 1.2 kJ\n")
                        os.rename(path + ".new", path + ".energy")
                time.sleep(0.01)
        thread = threading.Thread(target=measure)
        thread.start()
        try:
            job = BED.sbatch("sleep 0.1", "-w", "n1", "--gres=gpu:1", "--energy-report")
            self.assertEqual(ended(job), f"{job}.batch: 1.23 kJ\nGPU 0 ?[2J 1.2 kJ\n")
            done = srun("-w", "n1", "--gres=gpu:1", "--energy-report", "true")
            self.assertRegex(done.stderr, r"^\d+\.0: 1\.23 kJ\nGPU 0 \?\[2J 1\.2 kJ\n$")
        finally:
            is_over.set()
            thread.join()
            os.unlink(f"{self.n1.facts}/.serve")
        done = srun("-w", "n1", "--gres=gpu:1", "--energy-report", "true")
        self.assertIn("no energy to report: nothing measures jobs on this node", done.stderr)


class Deaths(Node):
    def test_scancel(self):
        job = running("sleep 100", "-w", "n1", "--gres=gpu:2", "--power-cap=150",
                      limits={"n1": [150, 150, 250, 250]})
        BED.run("scancel", str(job))
        BED.await_limits(n1=[250] * 4)
        slurm.await_("its end in the facts", lambda: "end_ns" in self.n1.fact(job))

    def test_slurmstepd_killed(self):
        job = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=150",
                      limits={"n1": [150, 250, 250, 250]})
        for pid in slurm.await_("its slurmstepd", lambda: self.n1.stepds(job)):
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)  # the job runs, as Slurm sees it, and its task does: it keeps the cap
        self.assertEqual(self.n1.limits()[0], 150)
        BED.run("scancel", str(job))
        BED.await_limits(n1=[250] * 4)
        BED.kill_orphans(job)

    def test_slurmd_killed_and_started_again(self):
        go = f"{BED.dir}/out/go"
        job = running(f"while [ ! -e {go} ]; do sleep 0.1; done", "-w", "n1", "--gres=gpu:1", "--power-cap=150",
                      limits={"n1": [150, 250, 250, 250]})
        stays = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=160",
                        limits={"n1": [150, 160, 250, 250]})
        self.n1.kill_slurmd()
        BED.write(go, "")
        slurm.await_("its slurmstepd gone", lambda: not self.n1.stepds(job))
        self.assertEqual(self.n1.limits()[:2], [150, 160])  # no epilog could run
        self.n1.start_slurmd()
        BED.await_limits(n1=[250, 160, 250, 250])
        self.assertEqual(BED.state(stays), "RUNNING")
        BED.run("scancel", str(stays))

    def test_wattuned_killed_keeps_the_living_and_ends_the_dead(self):
        stays = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=150",
                        limits={"n1": [150, 250, 250, 250]})
        ends = running("sleep 100", "-w", "n1", "--gres=gpu:2", "--power-cap=160",
                       limits={"n1": [150, 160, 160, 250]})
        self.n1.stop_daemon(signal.SIGKILL)
        BED.run("scancel", str(ends))
        slurm.await_("its end in the facts", lambda: "end_ns" in self.n1.fact(ends))
        self.assertEqual(self.n1.limits(), [150, 160, 160, 250])
        self.n1.start_daemon()
        BED.await_limits(n1=[150, 250, 250, 250])
        self.n1.stop_daemon(signal.SIGUSR2)  # an upgrade
        self.assertEqual(self.n1.limits(), [150, 250, 250, 250])
        self.n1.start_daemon()
        self.assertIn(f"Slurm job {stays}", self.n1.status())
        BED.run("scancel", str(stays))
        BED.await_limits(n1=[250] * 4)

    def test_an_epilog_that_never_comes(self):
        """slurmd was killed just as it ended a job. Here: the epilog runs without the plugin."""
        plugstack, before = BED.plugstack, BED.read(BED.plugstack)
        first = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=150")
        second = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=160")
        stays = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=170",
                        limits={"n1": [150, 160, 170, 250]})
        try:
            BED.write(plugstack, "# nothing\n")
            BED.run("scancel", str(first), str(second))
            slurm.await_("both jobs over", lambda: len(BED.run(
                "squeue", "-h", "-w", "n1", check=False).stdout.splitlines()) == 1)
        finally:
            BED.write(plugstack, before)
        self.assertEqual(self.n1.limits(), [150, 160, 170, 250])  # nobody was told
        # The next who gets the card is not under the limit of the one before.
        done = srun("-w", "n1", "--gres=gpu:1", "sh", "-c", LOOK)
        self.assertEqual([gpu["limit_w"] for gpu in slurm.json.loads(done.stdout)], [250, 160, 170, 250])
        self.n1.stop_slurmd()
        self.n1.start_slurmd()  # asks the controller
        BED.await_limits(n1=[250, 250, 170, 250])
        for job in (first, second):
            slurm.await_("its end in the facts", lambda j=job: "end_ns" in self.n1.fact(j))
        self.assertNotIn("end_ns", self.n1.fact(stays))
        BED.run("scancel", str(stays))

    def test_power_loss(self):
        job = running("sleep 100", "-w", "n1", "--gres=gpu:1", "--power-cap=150", "--no-requeue",
                      limits={"n1": [150, 250, 250, 250]})
        for pid in self.n1.stepds(job):
            os.kill(pid, signal.SIGKILL)
        self.n1.kill_slurmd()
        self.n1.stop_daemon(signal.SIGKILL)
        BED.kill_orphans(job)
        slurm.await_("no facts", lambda: shutil.rmtree(self.n1.facts, ignore_errors=True)  # /run is in memory
                     or not os.path.exists(self.n1.facts))  # what is just being written comes again
        os.unlink(os.path.join(self.n1.emulation, "jobs"))
        # The journal is on disk; another boot. The emulated cards, unlike real ones, keep the cap.
        self.n1.boot = os.path.join(self.n1.dir, "boot_id")
        BED.write(self.n1.boot, f"{uuid.uuid4()}\n")
        self.n1.start_daemon()
        BED.await_limits(n1=[250] * 4)
        self.n1.start_slurmd("-b")
        BED.run("scancel", str(job))  # Slurm itself sees it after SlurmdTimeout, minutes later
        BED.await_end(job)


class Faults(Node):
    def test_no_daemon(self):
        self.n1.stop_daemon()
        done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "sh", "-c", "echo ran $WATTUNE_JOB_POWER_CAP")
        self.assertEqual(done.stdout, "ran none\n")
        self.assertIn("wattune: n1: no cap: no wattuned runs on this node", done.stderr)
        self.assertEqual(srun("-w", "n1", "--gres=gpu:1", "echo", "ran").stderr, "")  # nobody asked
        done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "--power-cap-required", "echo", "ran",
                    check=False)
        self.assertEqual((done.stdout, done.returncode != 0), ("", True))

    def test_a_daemon_that_hangs(self):
        self.n1.daemon.send_signal(signal.SIGSTOP)
        try:
            with default_timeout():
                began = time.monotonic()
                done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "echo", "ran")
                took_s = time.monotonic() - began
        finally:
            self.n1.daemon.send_signal(signal.SIGCONT)
        self.assertEqual(done.stdout, "ran\n")
        self.assertIn("did not answer within 2 s", done.stderr)
        self.assertGreater(took_s, 1.9)  # and less than srun() waits

    def test_a_daemon_that_talks_nonsense(self):
        self.n1.stop_daemon()
        path = os.path.join(self.n1.emulation, "wattuned.sock")
        for kind, words in ((socket.SOCK_SEQPACKET, [b"what?" * 30]),
                            (socket.SOCK_SEQPACKET, [b"", b"WTTD"]),
                            (socket.SOCK_SEQPACKET, [b"WTTD" + bytes([1, 0, 133, 0, 16, 0, 0, 0, n, 0, 0, 0])
                                                     for n in range(2, 250)]),  # answers to others
                            (socket.SOCK_STREAM, [b"HTTP/1.1 400 Bad Request\r\n\r\n"])):
            with nonsense(path, kind, words), default_timeout():
                done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "echo", "ran")
                self.assertEqual(done.stdout, "ran\n")
                self.assertIn("wattune: n1: no cap: ", done.stderr)

    def test_the_prologs_work_killed(self):
        for words, state, said in (([], "COMPLETED", "ran\n"),
                                   (["--power-cap-required"], "FAILED", "wattune: n1: not run: ")):
            self.n1.daemon.send_signal(signal.SIGSTOP)  # so that there is time to
            try:
                job = BED.sbatch("echo ran", "-w", "n1", "--gres=gpu:1", "--power-cap=150", *words)
                for pid in slurm.await_("its prolog at work", workers):
                    os.kill(pid, signal.SIGKILL)
            finally:
                self.n1.daemon.send_signal(signal.SIGCONT)
            self.assertIn(said, ended(job, state))
        self.assertIn("the prolog's work did not come to an end", BED.read("log/slurmd-n1.log"))

    def test_slurms_own_prolog_killed_drains_the_node_and_leaves_no_cap(self):
        self.n1.daemon.send_signal(signal.SIGSTOP)
        try:
            job = BED.sbatch("echo ran", "-w", "n1", "--gres=gpu:1", "--power-cap=150")
            working = slurm.await_("its prolog at work", workers)
            for pid in {parent(pid) for pid in working}:
                os.kill(pid, signal.SIGKILL)
            for pid in working:
                slurm.await_("its work ended with it", lambda p=pid: not slurm.is_alive(p))
        finally:
            self.n1.daemon.send_signal(signal.SIGCONT)
        slurm.await_("Slurm to drain the node", lambda: "drain" in BED.states()["n1"])
        BED.run("scancel", str(job))
        BED.await_limits(n1=[250] * 4)
        slurm.await_("no job left there", lambda: BED.states()["n1"] == "drained")
        BED.run("scontrol", "update", "nodename=n1", "state=resume")

    def test_the_plugin_is_not_there(self):
        plugstack, before = BED.plugstack, BED.read(BED.plugstack)
        try:
            BED.write(plugstack, "optional /nowhere/wattune.so\n")
            self.assertEqual(srun("-w", "n1", "--gres=gpu:1", "echo", "ran").stdout, "ran\n")
            slurm.await_("n1 idle", lambda: BED.states()["n1"] == "idle")
            self.n1.kill_slurmd()
            self.n1.start_slurmd()
            self.assertEqual(srun("-w", "n1", "--gres=gpu:1", "echo", "ran").stdout, "ran\n")
            job = running("sleep 100", "-w", "n2", "--gres=gpu:1")
            BED.write(plugstack, before)  # an epilog without its prolog
            BED.run("scancel", str(job))
        finally:
            BED.write(plugstack, before)
            self.n1.kill_slurmd()
            self.n1.start_slurmd()  # it asks once whether any plugin has a prolog

    def test_a_folder_that_cannot_be_written(self):
        shutil.rmtree(self.n1.facts)
        BED.write(self.n1.facts, "a file\n")
        try:
            done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "echo", "ran")
            self.assertEqual(done.stdout, "ran\n")
            done = srun("-w", "n1", "--gres=gpu:1", "--power-cap=150", "--power-cap-required", "echo", "ran",
                        check=False)
            self.assertEqual((done.stdout, done.returncode != 0), ("", True))
            self.assertIn("this node's prolog left no word on it", done.stderr)
        finally:
            os.unlink(self.n1.facts)


class Lives(Node):
    def test_random_lives_leave_nothing_and_touch_no_foreign_gpu(self):
        count = int(os.environ.get("WATTUNE_SLURM_LIVES", "200"))
        seed = int(os.environ.get("WATTUNE_SLURM_SEED", str(int(time.time()))))
        around = energies.Energies(BED.nodes[:3])
        report = lives.run(BED, BED.nodes[:3], count, seed, around=around, checks=[around.check])
        print("\n".join([report.text, *around.lines]), file=sys.stderr, flush=True)
        self.assertFalse(report.problems, report.text)

    def test_two_that_take_a_minute(self):
        """Begun with the bed; last, by its name."""
        time.sleep(max(0, OLD["began"] + 63 - time.monotonic()))
        self.assertEqual(BED.nodes[3].limits()[0], 140)  # held without a step and without a cgroup
        self.assertEqual(BED.await_end(OLD["late"], patience_s=90), "TIMEOUT")
        BED.await_limits(n4=[140, 250, 250, 250])
        BED.run("scancel", "-w", "n4")
        BED.await_limits(n4=[250] * 4)


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return int(f.read().rpartition(")")[2].split()[1])


def workers():
    """Children of "slurmstepd spank prolog" that do our work, of this bed."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            pid = int(path.split("/")[2])
            with open(path, "rb") as f:
                if b"slurmstepd\0spank\0prolog" not in f.read():
                    continue
            with open(f"/proc/{pid}/environ", "rb") as f:
                if BED.dir.encode() not in f.read():
                    continue
            with open(f"/proc/{parent(pid)}/cmdline", "rb") as f:
                if b"spank\0prolog" in f.read():
                    found.append(pid)
        except (OSError, ValueError):
            pass
    return found


class nonsense:
    """Somebody else on wattuned's socket, who says these words to whoever comes."""

    def __init__(self, path, kind, words):
        self.path, self.words = path, words
        if os.path.exists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(path)
        self.socket.listen(8)
        self.thread = threading.Thread(target=self.talk)

    def talk(self):
        held = []
        while True:
            try:
                client, _ = self.socket.accept()
                held.append(client)
                for word in self.words:
                    client.send(word)
            except ConnectionError:
                continue
            except OSError:
                return

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()
        os.unlink(self.path)


if __name__ == "__main__":
    reason = slurm.why_not()
    if reason:
        cases.skip(reason)
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
