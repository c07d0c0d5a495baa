#!/usr/bin/env python3
"""Watts as licences under a real Slurm: what jobs take (job_submit.lua), what is set aside for a budget that
follows the hour (`wattune budget`); and `srun wattune run` with many ranks. One bed: two nodes with four V100.

usage: test_budget.py [Case.test]   under `meson test`, which sets what it needs
"""
import json
import os
import re
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
LUA = os.path.join(HERE, "..", "..", "integrations", "slurm", "job_submit.lua")
WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
TABLE = "licence watt\ngpu x 250 min=100 default=200\nhost 10\nnode gpus=4\n"
RESERVED = re.compile(r"ReservationName=(wattune-\S+) StartTime=(\S+) EndTime=(\S+)")
BED = None


def setUpModule():
    global BED
    BED = slurm.Bed([("v100-pcie-32gb:4", "")] * 2, extra="JobSubmitPlugins=lua\nLicenses=watt:1000\n")
    shutil.copy(LUA, os.path.join(BED.dir, "etc", "job_submit.lua"))
    table(TABLE)
    BED.start()


def tearDownModule():
    BED.stop()


def diagnose():
    return BED.tails()


def table(text):
    BED.write(os.path.join(BED.dir, "etc", "wattune-budget.conf"), text)


def submit(*options, script="sleep 100", check=True):
    """A job of an ordinary user: its number and what Slurm told the user."""
    done = BED.run("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", script, user=slurm.NOBODY,
                   check=check)
    return (int(done.stdout) if done.returncode == 0 else None), done.stderr


def watts(job):
    return BED.job(job)["Licenses"]


def budget(*options, check=True):
    return BED.run(WATTUNE, "budget", *options, check=check)


def carbon(*hours):
    """A series of whole hours from this one on."""
    path = os.path.join(BED.dir, "carbon.csv")
    now = int(time.time()) // 3600 * 3600
    BED.write(path, "time,gco2_per_kwh\n" + "".join(
        time.strftime("%Y-%m-%dT%H:%M:%SZ,", time.gmtime(now + 3600 * i)) + f"{value}\n"
        for i, value in enumerate(hours)))
    return f"--signal=carbon={path}"


def reservations():
    """Name: (licences, seconds until its end)."""
    text = BED.run("scontrol", "show", "reservation", "-o", env={"SLURM_TIME_FORMAT": "%s"}).stdout
    return {m[1]: (int(re.search(r"Licenses=watt:(\d+)", line)[1]), int(m[3]) - time.time())
            for line in text.splitlines() if (m := RESERVED.search(line))}


class Budget(unittest.TestCase):
    def tearDown(self):
        BED.run("scancel", "--user=nobody", check=False)
        budget("--remove")
        table(TABLE)
        self.assertEqual(reservations(), {})
        BED.await_idle()

    def test_a_job_takes_the_watts_of_its_gpus_by_the_cap_it_asks_for(self):
        for options, want in ((["--gres=gpu:2", "--power-cap=150"], 310), (["--gpus=2"], 410),
                              (["--gres=gpu:x:1", "--gpupower=120"], 130), (["--gres=gpu:1", "--power-cap=off"], 260),
                              (["--gres=gpu:1", "--power-cap=99"], 260),  # below min it is not set: as without
                              (["-N2", "--gres=gpu:1", "--power-cap=100"], 220),
                              (["--gpus-per-task=1", "-n3", "--power-cap=100"], 310), (["--gpus=5", "--power-cap=100"], 520),
                              (["-n1"], 10), (["-N1", "--exclusive"], 810),
                              (["--exclusive", "--gres=gpu:1", "--power-cap=100"], 410),
                              (["-N1", "--exclusive=user", "--gres=gpu:1"], 210)):
            job, said = submit("-H", *options)
            self.assertEqual(watts(job), f"watt:{want}", options)
            self.assertIn(f"wattune: {want} W of the power budget", said)

    def test_what_a_user_types_or_changes_does_not_take_the_job_out(self):
        job, _ = submit("-H", "--gres=gpu:1", "--power-cap=150", "-L", "watt:1")
        self.assertEqual(watts(job), "watt:160")
        for change in ("licenses=watt:1", "licenses="):
            BED.run("scontrol", "update", f"jobid={job}", change, user=slurm.NOBODY, check=False)
            self.assertEqual(watts(job), "watt:160", change)
        BED.run("scontrol", "update", f"jobid={job}", "gres=gpu:2", user=slurm.NOBODY)
        self.assertEqual(watts(job), "watt:310")
        BED.run("scontrol", "update", f"jobid={job}", "licenses=watt:7")  # an administrator may
        self.assertEqual(watts(job), "watt:7")
        done = BED.run("scontrol", "update", f"jobid={job}", "oversubscribe=no", user=slurm.NOBODY, check=False)
        self.assertIn("denied", done.stderr)  # Slurm's own word: whole nodes are asked for when it is submitted

    def test_a_job_that_runs_or_was_requeued_stays_in_the_budget(self):
        job, _ = submit("--gres=gpu:1", "--power-cap=150")
        BED.await_state(job, "RUNNING")
        for change in ("licenses=watt:1", "licenses="):
            done = BED.run("scontrol", "update", f"jobid={job}", change, user=slurm.NOBODY, check=False)
            self.assertNotEqual(done.returncode, 0, change)
            self.assertEqual(watts(job), "watt:160", change)
        BED.run("scontrol", "update", f"jobid={job}", "jobname=other", user=slurm.NOBODY)
        BED.run("scontrol", "requeuehold", str(job), user=slurm.NOBODY)
        BED.await_state(job, "PENDING")
        for change in ("licenses=watt:1", "licenses="):
            BED.run("scontrol", "update", f"jobid={job}", change, user=slurm.NOBODY, check=False)
            self.assertEqual(watts(job), "watt:160", change)
        BED.run("scontrol", "release", str(job), user=slurm.NOBODY)
        self.assertEqual(watts(job), "watt:160")

    def test_a_partition_of_whole_nodes_takes_all_gpus(self):
        table(TABLE + "partition main exclusive\n")
        job, _ = submit("-H", "-N1", "--gres=gpu:1", "--power-cap=150")
        self.assertEqual(watts(job), "watt:610")

    def test_a_job_of_whole_nodes_stays_one_when_it_is_changed(self):
        job, _ = submit("-H", "-N1", "--exclusive", "--gres=gpu:1", "--power-cap=150")
        self.assertEqual(watts(job), "watt:610")
        for change in ("numnodes=1", "licenses=watt:1"):
            BED.run("scontrol", "update", f"jobid={job}", change, user=slurm.NOBODY, check=False)
            self.assertEqual(watts(job), "watt:610", change)
        BED.run("scontrol", "update", f"jobid={job}", "gres=gpu:2", user=slurm.NOBODY)
        self.assertEqual(watts(job), "watt:610")

    def test_long_words_of_a_user_do_not_hold_up_the_controller(self):
        begun = time.monotonic()
        submit("-H", "--gres=" + ",".join(["gpu:1"] * 3000), "-p", ",".join(["main"] * 3000), check=False)
        submit("-H", "-L", ",".join(["watt:1"] * 3000), "-p", ",".join(f"p{i}" for i in range(3000)), check=False)
        self.assertLess(time.monotonic() - begun, 30)  # where each is read for each of the others: minutes

    def test_more_than_there_is_is_refused_and_said(self):
        job, said = submit("--gpus=8", check=False)
        self.assertIsNone(job)
        self.assertIn("1620 W of the power budget", said)

    def test_a_broken_table_or_none_still_takes_jobs(self):
        submit("-H", "--gres=gpu:1")
        table("gpu x much\n")
        job, _ = submit("-H", "--gres=gpu:1")
        self.assertEqual(watts(job), "watt:210")  # as it was before
        self.assertIn('line 1: "much" is no whole number', BED.read("log/slurmctld.log"))
        table("gpu x 250\n")
        submit("-H", "--gres=gpu:1")
        self.assertIn("line 1: min=W is missing", BED.read("log/slurmctld.log"))
        os.unlink(f"{BED.dir}/etc/wattune-budget.conf")
        job, said = submit("-H", "--gres=gpu:1")
        self.assertEqual((watts(job), said), ("(null)", ""))
        table("\0\xff[[" * 1000)
        submit("-H", "--gres=gpu:1")
        table(TABLE + "partition main off\n")
        job, said = submit("-H", "--gres=gpu:1")
        self.assertEqual((watts(job), said), ("(null)", ""))

    def test_the_budget_follows_the_hour_and_jobs_with_it(self):
        rule = ["--level=40%:carbon>400", "--horizon=2h"]
        said = budget(carbon(500, 500, 500), *rule).stdout
        self.assertIn("created wattune-watt-600: 600 W set aside", said)
        self.assertEqual(reservations()["wattune-watt-600"][0], 600)
        self.assertIn("nothing to change", budget(carbon(500, 500, 500), *rule).stdout)
        small, _ = submit("--gres=gpu:1", "--power-cap=150", "-t", "30")
        BED.await_state(small, "RUNNING")
        large, _ = submit("--gres=gpu:2", "--power-cap=150", "-t", "30")
        slurm.await_("the large job waits for licences", lambda: BED.job(large).get("Reason") == "Licenses")
        self.assertEqual(BED.state(large), "PENDING")
        self.assertIn("deleted wattune-watt-600", budget(carbon(300, 300, 300), *rule).stdout)
        BED.await_state(large, "RUNNING")
        note = budget(carbon(500, 500, 500), *rule).stderr
        self.assertIn("jobs that run have 470 W, 70 W more than the budget", note)
        self.assertEqual(BED.state(large), "RUNNING")

    def test_levels_that_follow_each_other_do_not_add_up(self):
        rule = ["--level=60%:carbon>400", "--level=50%:carbon>500", "--horizon=5h"]
        budget(carbon(450, 550, 300, 450, 550, 300), *rule)
        there = reservations()
        self.assertEqual({name: watts for name, (watts, _) in there.items()},
                         {"wattune-watt-400": 400, "wattune-watt-500": 100})
        # Through all of it, and within the lowest level: Slurm would add up 400 + 500 + 400 + 500.
        job, _ = submit("--gres=gpu:2", "--power-cap=200", "-t", "300")
        BED.await_state(job, "RUNNING")
        over, _ = submit("--gres=gpu:1", "--power-cap=100", "-t", "300")  # 410 + 110 > 500
        slurm.await_("one over the lowest level waits", lambda: BED.job(over).get("Reason") == "Licenses")

    def test_all_that_is_set_aside_ends_by_itself(self):
        budget(carbon(900, 300, 900, 700, 600, 500), "--follow=carbon=300", "--floor=20%", "--horizon=3h")
        there = reservations()
        self.assertGreater(len(there), 3)
        self.assertTrue(all(0 < end <= 3 * 3600 + 900 for _, end in there.values()), there)
        self.assertEqual(sum(watts for watts, _ in there.values()), 700)  # 300/900, down to 30 %

    def test_what_is_not_ours_is_left_and_a_dry_run_changes_nothing(self):
        BED.run("scontrol", "create", "reservation", "reservationname=wattune-watt-x", "starttime=now",
                "endtime=now+60minutes", "licenses=watt:5", "flags=license_only", "users=root")
        try:
            rule = [carbon(500, 500), "--level=40%:carbon>400", "--horizon=1h", "--total=900W"]
            dry = budget(*rule, "--dry-run").stdout
            self.assertRegex(dry, r"scontrol create reservation reservationname=wattune-watt-640 starttime=now .*"
                                  r"licenses=watt:540 flags=license_only users=root")
            self.assertEqual(list(reservations()), ["wattune-watt-x"])
            document = json.loads(budget(*rule, "--json", "--reservation-user=root").stdout)
            self.assertEqual([s["watts"] for s in document["steps"]], [360] * len(document["steps"]))
            self.assertTrue(all(c["is_done"] for c in document["commands"]))
            self.assertEqual(sum(w for w, _ in reservations().values()), 640 + 5)
            budget("--remove")
            self.assertEqual(list(reservations()), ["wattune-watt-x"])
        finally:
            BED.run("scontrol", "delete", "reservation=wattune-watt-x")

    def test_a_licence_that_is_not_there_is_named(self):
        done = budget("--licence=volt", "--signal=carbon=1", "--level=50%:carbon>0", check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn("add Licenses=volt:WATTS to slurm.conf", done.stderr)


class Ranks(unittest.TestCase):
    """As root: the records go to one folder, as on a shared home."""

    def setUp(self):
        self.store = os.path.join(BED.dir, "out", f"store-{self.id()}")

    def srun(self, *words, check=True):
        return BED.run("srun", "--quiet", "-K0", *words, env={"XDG_DATA_HOME": self.store}, check=check)

    def wattune(self, *words, check=True):
        return BED.run(WATTUNE, *words, env={"XDG_DATA_HOME": self.store}, check=check)

    def runs(self):
        return json.loads(self.wattune("runs", "--json").stdout)["runs"]

    def test_each_node_is_measured_once_and_the_first_prints_the_sum(self):
        done = self.srun("-N2", "-n4", "--gres=gpu:2", WATTUNE, "run", "--", "sh", "-c",
                         "echo $SLURM_PROCID; sleep 1")
        self.assertEqual(sorted(done.stdout.split()), ["0", "1", "2", "3"])
        runs = self.runs()
        self.assertEqual(sorted(run["host"] for run in runs), ["n1", "n2"])
        group = runs[0]["group"]
        self.assertRegex(group, r"^slurm-\d+\.0$")
        self.assertEqual(sorted((run["node"]["index"], run["node"]["ranks"]) for run in runs), [(0, 3), (1, 1)])
        self.assertEqual([len(run["devices"]) >= 2 for run in runs], [True, True])
        self.assertIn(f"{group}, 2 of 2 nodes", done.stderr)
        self.assertEqual(done.stderr.count("  sum "), 1)
        whole = json.loads(self.wattune("runs", "--sum", group, "--json").stdout)
        for key in ("energy_j", "low_j", "high_j"):
            self.assertAlmostEqual(whole["total"][key], sum(run["total"][key] for run in runs), 3)
        self.assertGreater(whole["total"]["energy_j"], 50)

    def test_a_node_that_is_missing_makes_no_sum(self):
        done = self.srun("-N2", "-n2", "sh", "-c", "unset x; [ $SLURM_NODEID = 0 ] || n=--no-store; "
                         f"exec {WATTUNE} run --nodes-wait 2s $n -- sleep 0.3")
        self.assertIn("1 of 2 nodes told of nothing", done.stderr)
        group = self.runs()[0]["group"]
        done = self.wattune("runs", "--sum", group, "--json", check=False)
        self.assertEqual(done.returncode, 1)
        document = json.loads(done.stdout)
        self.assertEqual((document["is_whole"], document["total"]), (False, None))

    def test_gpus_that_each_rank_has_alone_are_all_measured(self):
        BED.await_idle()  # the GPUs of a job that is ending are not given yet
        self.srun("-w", "n1", "-n2", "--gpus-per-task=1", WATTUNE, "run", "--", "sleep", "0.5")
        run, = self.runs()
        self.assertEqual(sorted(d["id"] for d in run["devices"] if d["kind"] == "gpu"),
                         sorted(gpu["uuid"] for gpu in BED.nodes[0].look()[:2]))

    def test_exit_codes_and_signals_are_the_commands_own(self):
        for rank in (0, 1):
            done = self.srun("-N1", "-n2", WATTUNE, "run", "--quiet", "--", "sh", "-c",
                             f"[ $SLURM_PROCID != {rank} ] || exit 7", check=False)
            self.assertEqual(done.returncode, 7)
            done = self.srun("-N1", "-n2", WATTUNE, "run", "--quiet", "--", "sh", "-c",
                             f"[ $SLURM_PROCID != {rank} ] || kill -TERM $$", check=False)
            self.assertEqual(done.returncode, 143)

    def test_a_script_of_a_job_is_no_rank(self):
        job = BED.sbatch(f"XDG_DATA_HOME={self.store} {WATTUNE} run -- sleep 0.1", "-N2", "-n4", user=0)
        BED.await_end(job)
        run, = self.runs()
        self.assertEqual((run["group"], run["node"]), (None, None))


if __name__ == "__main__":
    reason = slurm.why_not()
    if reason:
        cases.skip(reason)
    if not any(os.path.exists(f"{d}/job_submit_lua.so") for d in
               ("/usr/lib/x86_64-linux-gnu/slurm-wlm", "/usr/lib/aarch64-linux-gnu/slurm-wlm", "/usr/lib64/slurm")):
        cases.skip("there is no job_submit_lua.so: apt-get install slurm-wlm-basic-plugins")
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
