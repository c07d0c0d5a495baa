#!/usr/bin/env python3
"""Energies of jobs under a real Slurm, held against two readers that know nothing of Wattune: NVML's
counters read by an NVML client, and Slurm's own accounting. For that, stock acct_gather_energy/pm_counters
reads what a Cray's node meter would show, /sys/cray/pm_counters, laid over /sys in each slurmd's own mount
namespace; the meter is fed by the NVML client with what the node's GPUs drew. Slurmdbd and MariaDB are of the
bed too.

What Slurm knows of a job ends a second before or after it: its daemon reads the meter once a second, and is
not always on time.

usage: test_energy.py [CLASS[.test]...]   under `meson test`, which sets what it needs
"""
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import cases  # noqa: E402  (lies one folder up)
import bed as slurm  # noqa: E402
import energies  # noqa: E402

WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
POLICY = "allow slurm on all set power\n"
PERIOD_S = 1.0  # of slurmd's readings, AcctGatherNodeFreq
CARD_MOST_W, CARD_REST_W = 250 * 1.1, 30  # what a V100 draws, and a little
BED = None


class AccountingBed(slurm.Bed):
    """One with slurmdbd and a MariaDB, and a node meter for Slurm's own energy accounting."""

    def __init__(self, nodes):
        super().__init__(nodes, extra="AcctGatherEnergyType=acct_gather_energy/pm_counters\n"
                                      f"AcctGatherNodeFreq={PERIOD_S:.0f}\n")
        self.ports = slurm.free_ports(2, after=self.port)
        self.ACCOUNTING = ("AccountingStorageType=accounting_storage/slurmdbd\n"
                           f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={self.ports}\n"
                           f"AccountingStoragePass={self.dir}/munge/socket\n"
                           "AccountingStoreFlags=job_comment\nJobAcctGatherType=jobacct_gather/linux\n"
                           "JobAcctGatherFrequency=task=1,energy=1\nAccountingStorageTRES=gres/gpu")
        self.database = self.dbd = None
        self.meters = {}

    def before_slurmctld(self):
        folder = os.path.join(self.dir, "db")
        os.makedirs(folder)
        os.chmod(folder, 0o700)
        shutil.chown(folder, "mysql")
        user = ["--no-defaults", "--user=mysql"]
        subprocess.run(["mariadb-install-db", *user, f"--datadir={folder}", "--skip-test-db",
                        "--auth-root-authentication-method=normal"], check=True, stdin=subprocess.DEVNULL,
                       stdout=self.log("mariadb-install"), stderr=subprocess.STDOUT)
        path = os.path.join(folder, "sock")
        self.database = subprocess.Popen(
            ["mariadbd", *user, f"--datadir={folder}", f"--socket={path}", f"--pid-file={folder}/pid",
             "--bind-address=127.0.0.1", f"--port={self.ports + 1}", "--innodb-buffer-pool-size=64M",
             "--innodb-flush-log-at-trx-commit=0"],
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=self.log("mariadbd"),
            stderr=subprocess.STDOUT, start_new_session=True)
        sql = ["mariadb", "--no-defaults", "-u", "root", "-S", path, "-e"]
        slurm.await_("MariaDB", lambda: self.run(*sql, "select 1", check=False).returncode == 0)
        self.run(*sql, "create database slurm_acct; create user slurm@'127.0.0.1' identified by 'pw'; "
                       "create user slurm@localhost identified by 'pw'; "
                       "grant all on slurm_acct.* to slurm@'127.0.0.1'; grant all on slurm_acct.* to slurm@localhost")
        conf = os.path.join(self.dir, "etc", "slurmdbd.conf")
        self.write(conf, f"""
AuthType=auth/munge
AuthInfo={self.dir}/munge/socket
DbdHost=localhost
DbdPort={self.ports}
SlurmUser=root
LogFile={self.dir}/log/slurmdbd.log
PidFile={self.dir}/log/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.ports + 1}
StorageUser=slurm
StoragePass=pw
StorageLoc=slurm_acct
""")
        os.chmod(conf, 0o600)
        self.dbd = subprocess.Popen(["slurmdbd", "-D"], env=self.environment(), stdin=subprocess.DEVNULL,
                                    stdout=self.log("slurmdbd"), stderr=subprocess.STDOUT, start_new_session=True)
        slurm.await_("slurmdbd", lambda: self.run("sacctmgr", "-n", "list", "cluster", check=False).returncode == 0)
        for words in (["cluster", "bed"], ["account", "paper"], ["user", "root", "account=paper"],
                      ["user", pwd.getpwuid(slurm.NOBODY).pw_name, "account=paper"]):
            self.run("sacctmgr", "-i", "add", *words)

    def before_slurmd(self, node):
        """A private view of /sys, in which the node has the meter. The overlay would hide the cgroups."""
        fake, aside = os.path.join(node.dir, "sys"), os.path.join(node.dir, "cgroup")
        os.makedirs(os.path.join(fake, "cray", "pm_counters"))
        os.makedirs(aside)
        self.meters[node.name] = subprocess.Popen(
            [slurm.PYTHON, "-S", self.client, "--meter", os.path.join(fake, "cray", "pm_counters")],
            env={**self.environment(), **node.env}, stdin=subprocess.DEVNULL)
        slurm.await_(f"{node.name}: its meter", lambda: glob.glob(f"{fake}/cray/pm_counters/energy"))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                f"mount --rbind /sys/fs/cgroup {aside}; mount -t overlay overlay -o lowerdir={fake}:/sys /sys; "
                f"mount --rbind {aside} /sys/fs/cgroup; exec \"$@\"", "sh"]

    def stop(self):
        super().stop()
        for process in (*self.meters.values(), self.dbd, self.database):
            if process:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()

    def consumed_j(self, job, step):
        """What Slurm says that a step took, J."""
        words = ["sacct", "-n", "-P", "-j", f"{job}.{step}", "-o", "State,ConsumedEnergyRaw"]

        def look():
            fields = self.run(*words).stdout.strip().split("|")
            return fields if len(fields) == 2 and fields[0] == "COMPLETED" and fields[1] else None
        return float(slurm.await_(f"step {job}.{step} in Slurm's accounting", look)[1])


def setUpModule():
    global BED
    BED = AccountingBed([("v100-pcie-32gb:4", POLICY), ("v100-pcie-32gb:4", POLICY)])
    BED.start()


def tearDownModule():
    BED.stop()


def diagnose():
    return BED.tails()


def srun(node, gpus, seconds, batch=0):
    """A job of one step that loads its first GPU, with a batch, or rests. Its number."""
    load = f"{WATTUNE} bench train bert-base --synthetic --device emu --batch {batch} --seconds {seconds}" if batch \
        else f"sleep {seconds}"
    done = BED.run("srun", "-w", node, f"--gres=gpu:{gpus}", "sh", "-c", f"{load} >/dev/null && echo $SLURM_JOB_ID",
                   user=slurm.NOBODY, timeout=120)
    return int(done.stdout.strip())


def at_once(*calls):
    """What each gave, run beside each other."""
    found = [None] * len(calls)

    def run(i, call):
        found[i] = srun(*call)
    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(found), f"a job failed: {found}"
    return found


def rows_of(node, *options):
    return {row["key"]: row for row in node.jobs(*options)}


class Accounts(unittest.TestCase):
    def setUp(self):
        self.around = energies.Energies(BED.nodes)
        self.around.begin()

    def tearDown(self):
        for node in BED.nodes:
            node.stop_serve()

    def holds(self, node):
        """What jobs and nobody drew is what the node's counters moved."""
        sums = node.jobs(*energies.BY_NODE)
        self.assertTrue(all(row["emulated"] for row in sums), sums)
        told, low, high = (sum(row[key] for row in sums) for key in ("energy_j", "low_j", "high_j"))
        least, most = self.around.moved[node.name]
        what = (f"{node.name}: jobs and nobody {told:.1f} J [{low:.1f}, {high:.1f}]; NVML's counters moved "
                f"{least:.1f} to {most:.1f} J")
        print("#", what)
        self.assertTrue(low <= most and high >= least, what)
        self.assertTrue(0.97 * least <= told <= 1.03 * most, what)

    def test_whole_nodes_are_as_slurm_says(self):
        jobs = at_once(("n1", 4, 8, 256), ("n2", 4, 8, 0))
        self.around.end(n1=jobs[:1], n2=jobs[1:])
        for job, node in zip(jobs, BED.nodes):
            theirs = BED.consumed_j(job, 0)
            ours = rows_of(node, "--steps")[f"{job}.0"]
            slack_j = 3 * PERIOD_S * (CARD_MOST_W + 3 * CARD_REST_W if node.name == "n1" else 4 * CARD_REST_W)
            what = (f"{node.name}: the job's step: {ours['energy_j']:.1f} J [{ours['low_j']:.1f}, "
                    f"{ours['high_j']:.1f}]; Slurm's pm_counters: {theirs:.0f} J")
            print("#", what)
            self.assertTrue(ours["low_j"] - slack_j <= theirs <= ours["high_j"] + slack_j, what)
            self.holds(node)

    def test_shared_nodes_add_up_where_slurms_do_not(self):
        jobs = at_once(("n1", 2, 8, 256), ("n1", 2, 8, 0))
        self.around.end(n1=jobs)
        node, moved_j = BED.nodes[0], self.around.moved["n1"][1]
        rows = rows_of(node)
        ours = [rows[str(job)]["energy_j"] for job in jobs]
        theirs = [BED.consumed_j(job, 0) for job in jobs]
        print("#", f"a job with a load and one at rest on one node: {ours[0]:.0f} + {ours[1]:.0f} J; Slurm's "
                   f"pm_counters: {theirs[0]:.0f} + {theirs[1]:.0f} J; the node's counters moved "
                   f"{moved_j:.0f} J")
        self.holds(node)
        self.assertLessEqual(sum(ours), 1.03 * moved_j)
        self.assertGreater(sum(theirs), 1.3 * sum(ours))  # each the whole node
        self.assertGreater(ours[0], 2 * ours[1])

    def test_it_goes_into_slurms_accounting(self):
        job, = at_once(("n1", 1, 2, 0))
        self.around.end(n1=[job])
        BED.consumed_j(job, 0)  # its record is in slurmdbd
        node = BED.nodes[0]
        words = [WATTUNE, "jobs", "--store", node.store, "--sacct"]
        self.assertEqual(self.comment(job), "")
        done = BED.run(*words, "--dry-run")
        self.assertIn(str(job), done.stdout + done.stderr)
        self.assertEqual(self.comment(job), "")
        BED.run(*words)
        want = rows_of(node)[str(job)]
        self.assertEqual(self.comment(job).split(" high_j")[0],
                         f"wattune: energy_j={want['energy_j']:.1f} low_j={want['low_j']:.1f}")
        # What another wrote stays, unless it is forced.
        BED.run("sacctmgr", "-i", "modify", "job", "where", f"jobid={job}", "set", "admincomment=by hand")
        BED.run(*words)
        self.assertEqual(self.comment(job), "by hand")
        BED.run(*words, "--force")
        self.assertTrue(self.comment(job).startswith("wattune: energy_j="))

    def comment(self, job):
        return BED.run("sacct", "-X", "-n", "-P", "-j", str(job), "-o", "AdminComment").stdout.strip()


def why_not():
    missing = next((name for name in ("slurmdbd", "mariadbd", "mariadb-install-db", "unshare")
                    if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")), None)
    return slurm.why_not() or (missing and f"there is no {missing} here: apt-get install slurmdbd mariadb-server")


if __name__ == "__main__":
    reason = why_not()
    if reason:
        cases.skip(reason)
    slurm.end_on_sigterm(lambda: BED and BED.stop())
    sys.exit(cases.main())
