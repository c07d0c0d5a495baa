"""A real Slurm on this machine, for tests: munged, slurmctld and a slurmd for each node, in a folder of
its own, with emulated GPUs and a wattuned for each node. Needs root and Debian's Slurm; touches nothing
of the system's own Slurm.

Nodes are told apart by %n in paths: RUN/NODE is a link to the node's emulation, in which its wattuned
listens and its facts lie. A TaskProlog gives each task the emulation of the node it runs on, as
/dev/nvidiaN would be there by itself on a real one.
"""

import fnmatch
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
PATIENCE_S = int(os.environ.get("WATTUNE_SLURM_PATIENCE", "60"))  # until something counts as not done: never how fast it must be
PLUGIN_MS = 8000  # what the plugin waits for wattuned; its default is 2000
CHARACTER_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console")
PYTHON = "/usr/bin/python3"  # Debian's: any user may run it
VARIABLES = ("WATTUNE_EMULATION", "WATTUNE_EMULATION_SPEC", "WATTUNE_NVML", "LD_LIBRARY_PATH")


def why_not():
    """The reason why no bed can be made here; None: it can."""
    if os.geteuid() != 0:
        return "a Slurm of its own takes root"
    for program in ("slurmctld", "slurmd", "munged", "srun", "sbatch"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            return f"there is no {program} here: apt-get install slurmctld slurmd slurm-client munge " \
                   "slurm-wlm-basic-plugins"
    if not os.path.exists(PYTHON):
        return f"there is no {PYTHON}"
    for name in ("WATTUNE_COMMAND", "WATTUNED_COMMAND", "WATTUNE_SPANK"):
        if not os.path.exists(os.environ.get(name, "")):
            return f"${name} names no file: run by `meson test`, or set it"
    if os.environ.get("WATTUNE_SANITIZED"):
        return "a plugin with sanitizers cannot be loaded into a plain slurmd"
    return None


def end_on_sigterm(stop):
    """A test that is out of time ends what it started; unittest would catch an exception."""
    def leave(*_):
        print("out of time: SIGTERM", file=sys.stderr, flush=True)
        stop()
        os._exit(1)
    signal.signal(signal.SIGTERM, leave)


def await_(what, condition, patience_s=PATIENCE_S):
    until = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def free_ports(count, after=None):
    """The first of so many ports in a row that nobody has."""
    for base in range(after + 40 if after else 21000 + os.getpid() % 200 * 40, 60000, 40):
        sockets = []
        try:
            for port in range(base, base + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for s in sockets:
                s.close()
    raise AssertionError("no free ports")


class Node:
    """One node: its emulated GPUs, its wattuned, its slurmd."""

    def __init__(self, bed, name, spec, policy):
        self.bed, self.name, self.spec = bed, name, spec
        self.dir = os.path.join(bed.dir, name)
        self.run = os.path.join(bed.dir, "run", name)
        self.policy = os.path.join(self.dir, "policy")
        self.audit = os.path.join(self.dir, "audit")
        self.facts = os.path.join(self.run, "slurm")
        self.daemon = self.slurmd = self.host = self.watcher = self.serve = None
        self.boot, self.stores = None, 0
        os.makedirs(self.dir)
        bed.write(self.policy, policy)
        os.chmod(self.policy, 0o644)

    def start_host(self):
        path = os.path.join(self.dir, "made")
        # What becomes of the emulation is ours to say: `sleep` ends it.
        self.host = subprocess.Popen(
            [os.environ["WATTUNE_COMMAND"], "emulate", self.spec, "--", "sh", "-c",
             f"env >{path}.new; mv {path}.new {path}; exec sleep 100000"],
            stdout=self.bed.log(f"emulate-{self.name}"), stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, env=self.bed.environment(), start_new_session=True)
        await_(f"{self.name}: its emulation", lambda: os.path.exists(path))
        with open(path, encoding="utf-8") as f:
            made = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
        self.env = {name: made[name] for name in VARIABLES}
        self.emulation = self.env["WATTUNE_EMULATION"]
        os.chmod(self.emulation, 0o755)
        for name in ("devices", "loads"):
            os.chmod(os.path.join(self.emulation, name), 0o666)
        os.symlink(self.emulation, self.run)
        self.bed.write(os.path.join(self.bed.dir, "env", self.name),
                       "".join(f"export {k}={v}\n" for k, v in self.env.items()))

    def start_daemon(self, *, waits=True):
        words = [os.environ["WATTUNED_COMMAND"], "--policy", self.policy, "--audit", self.audit,
                 "--state-dir", os.path.join(self.dir, "state"), "--jobs", self.facts]
        if self.boot:  # of a machine that was started anew: another boot id
            words = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                     f"mount --bind {self.boot} /proc/sys/kernel/random/boot_id && exec \"$@\"", "sh",
                     *words]
        self.daemon = subprocess.Popen(words, env={**self.bed.environment(), **self.env},
                                       stdin=subprocess.DEVNULL, start_new_session=True,
                                       stdout=self.bed.log(f"wattuned-{self.name}"),
                                       stderr=subprocess.STDOUT)
        if waits:
            await_(f"{self.name}: its wattuned", lambda: self.status() is not None)

    def stop_daemon(self, signum=signal.SIGTERM):
        if self.daemon:
            self.daemon.send_signal(signal.SIGCONT)
            self.daemon.send_signal(signum)
            self.daemon.wait(timeout=PATIENCE_S)
            self.daemon = None

    def start_serve(self):
        """What measures the node and its jobs, into a new store; nobody asks it by HTTP here."""
        os.makedirs(self.facts, exist_ok=True)
        self.stores += 1
        self.store = os.path.join(self.dir, f"jobs-{self.stores}.db")
        self.serve = subprocess.Popen(
            [os.environ["WATTUNE_COMMAND"], "serve", "--listen", "127.0.0.1:0", "--node", self.name, "--jobs",
             self.facts, "--store", self.store],
            env={**self.bed.environment(), **self.env}, stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=self.bed.log(f"serve-{self.name}"), stderr=subprocess.STDOUT)
        await_(f"{self.name}: its store", lambda: os.path.exists(self.store))

    def stop_serve(self):
        if self.serve:
            self.serve.terminate()
            self.serve.wait(timeout=PATIENCE_S)
            self.serve = None

    def jobs(self, *options, is_new=False):
        """What `wattune jobs` tells of this node's store. None, of a new one: it is only being made."""
        done = subprocess.run([os.environ["WATTUNE_COMMAND"], "jobs", "--store", self.store, "--json", *options],
                              env=self.bed.environment(), text=True, capture_output=True, check=False)
        if done.returncode != 0 and not is_new:
            raise AssertionError(f"{self.name}: wattune jobs: exit code {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)["sums"] if done.returncode == 0 else None

    def status(self):
        """What wattuned holds, as it says; None: it does not answer."""
        try:
            done = subprocess.run([os.environ["WATTUNED_COMMAND"], "--status"], text=True,
                                  env={**self.bed.environment(), **self.env}, capture_output=True,
                                  timeout=PATIENCE_S / 4, check=False)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout if done.returncode == 0 else None

    def start_slurmd(self, *options):
        self.slurmd = subprocess.Popen([*self.bed.before_slurmd(self), "slurmd", "-D", "-N", self.name, *options],
                                       env=self.bed.environment(),
                                       stdin=subprocess.DEVNULL, start_new_session=True,
                                       stdout=self.bed.log(f"slurmd-{self.name}"),
                                       stderr=subprocess.STDOUT)

    def kill_slurmd(self):
        self.slurmd.kill()
        self.slurmd.wait()
        self.slurmd = None

    def stop_slurmd(self):
        """As a service manager does: it finishes what it is at."""
        self.slurmd.terminate()
        try:
            self.slurmd.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.slurmd.kill()
            self.slurmd.wait()
        self.slurmd = None

    def stepds(self, job):
        """Pids of the job's slurmstepd's on this node: each holds the node's log open."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    title = f.read().decode("utf-8", "replace")
                if not fnmatch.fnmatch(title, f"slurmstepd: [[]{job}.*"):
                    continue
                log = os.path.join(self.bed.dir, "log", f"slurmd-{self.name}.log")
                pid = int(path.split("/")[2])
                if log in (os.path.realpath(fd) for fd in glob.glob(f"/proc/{pid}/fd/*")) and is_alive(pid):
                    found.append(pid)
            except (OSError, ValueError):
                continue
        return found

    def limits(self):
        """Power limit of each GPU, W, as the watcher saw them a moment ago."""
        return self.watcher.now()

    def look(self):
        done = subprocess.run([PYTHON, "-S", self.bed.client], text=True, timeout=PATIENCE_S, check=True,
                              env={**self.bed.environment(), **self.env}, capture_output=True)
        return json.loads(done.stdout)

    def set_limits(self, watts):
        """As a site's boot script does."""
        subprocess.run([PYTHON, "-S", self.bed.client, "--set", str(watts)], check=True,
                       env={**self.bed.environment(), **self.env})

    def fact(self, name):
        """A file of facts as a dictionary, `note` a list; None: not there."""
        try:
            with open(os.path.join(self.facts, str(name)), encoding="utf-8") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return None
        facts = {"note": []}
        for line in lines:
            key, _, value = line.partition("=")
            if key == "note":
                facts["note"].append(value)
            else:
                assert key not in facts, f"{name}: {key} twice"
                facts[key] = value
        return facts


class Bed:
    """nodes: a list of (spec of emulated GPUs, policy); four GPUs each."""

    ACCOUNTING = "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none"

    def __init__(self, nodes, plugin="", plugstack=None, extra="", cpus=32, gpus=4):
        self.dir = tempfile.mkdtemp(prefix="wattune-slurm-")
        os.chmod(self.dir, 0o755)
        self.gpus, self.cpus, self.extra = gpus, cpus, extra
        for name in ("munge", "ctld", "log", "run", "etc", "env", "out"):
            os.makedirs(os.path.join(self.dir, name))
        os.chmod(os.path.join(self.dir, "munge"), 0o711)
        os.chmod(os.path.join(self.dir, "out"), 0o1777)
        self.client = shutil.copy(os.path.join(HERE, "nvml.py"), self.dir)
        self.munged = self.ctld = None
        self.logs = []
        self.port = free_ports(len(nodes) + 1)
        self.nodes = [Node(self, f"n{i + 1}", spec, policy) for i, (spec, policy) in enumerate(nodes)]
        spank = os.environ["WATTUNE_SPANK"]
        self.plugstack = os.path.join(self.dir, "etc", "plugstack.conf")
        # A machine that stands still for seconds is no fault of wattuned's.
        self.write(self.plugstack, plugstack if plugstack is not None else
                   f"optional {spank} run={self.dir}/run/%n map={self.dir}/etc/map-%n "
                   f"auto={self.dir}/etc/auto timeout={PLUGIN_MS} {plugin}\n")

    @staticmethod
    def write(path, text):
        """Whole or not at all: an epilog that read half a plugstack.conf would have no plugin, and leave
        its job's limits on the cards until the next job comes there."""
        with open(f"{path}.new", "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(f"{path}.new", 0o644)
        os.rename(f"{path}.new", path)

    def read(self, path):
        try:
            with open(os.path.join(self.dir, path), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log(self, name):
        self.logs.append(open(os.path.join(self.dir, "log", name), "a", encoding="utf-8"))
        return self.logs[-1]

    def environment(self):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("SLURM", "SBATCH", "SALLOC", "WATTUNE_", "CUDA")) and k not in VARIABLES}
        env["PATH"] += ":/usr/sbin:/sbin"
        env["SLURM_CONF"] = os.path.join(self.dir, "etc", "slurm.conf")
        return env

    def configure(self):
        d, port = self.dir, self.port
        host, count = socket.gethostname(), len(self.nodes)
        oracle = os.path.join(d, "etc", "oracle")
        self.write(oracle, "#!/bin/sh\n"
                   "# Slurm's own word on who has which GPUs, independent of the plugin.\n"
                   'echo "$(date +%s.%N) ${SLURM_SCRIPT_CONTEXT%_*} $SLURM_JOB_ID $SLURMD_NODENAME '
                   f'${{SLURM_JOB_GPUS:--}}" >>{d}/log/oracle\n')
        prolog = os.path.join(d, "etc", "task-prolog")
        self.write(prolog, f"#!/bin/sh\ncat {d}/env/$SLURMD_NODENAME\n")
        for script in (oracle, prolog):
            os.chmod(script, 0o755)
        self.write(os.path.join(d, "etc", "gres.conf"), "AutoDetect=off\n" + "".join(
            f"Name=gpu Type=x File=/dev/{name}\n" for name in CHARACTER_DEVICES[:self.gpus]))
        self.write(os.path.join(d, "etc", "slurm.conf"), f"""
ClusterName=bed
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={d}/munge/socket
CredType=cred/munge
MpiDefault=none
ReturnToService=2
StateSaveLocation={d}/ctld
SlurmdSpoolDir={d}/%n/spool
SlurmctldPidFile={d}/log/slurmctld.pid
SlurmdPidFile={d}/log/slurmd-%n.pid
SlurmctldLogFile={d}/log/slurmctld.log
SlurmdLogFile={d}/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
JobCompType=jobcomp/none
{self.ACCOUNTING}
GresTypes=gpu
PlugStackConfig={d}/etc/plugstack.conf
TaskProlog={prolog}
Prolog={oracle}
Epilog={oracle}
PrologFlags=Alloc
PrologEpilogTimeout=40
MessageTimeout=30
KillWait=2
MinJobAge=900
SlurmdParameters=config_overrides
{self.extra}
NodeName=n[1-{count}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{port + 1}-{port + count}] CPUs={self.cpus} RealMemory=16000 Gres=gpu:x:{self.gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=1
""")

    def before_slurmd(self, _node):
        """Words in front of a slurmd's command."""
        return []

    def before_slurmctld(self):
        """What has to run before slurmctld does."""

    def start(self, prepare=lambda: None):
        """And what a file's tests need besides. All of it, or nothing is left."""
        try:
            self._start()
            prepare()
        except AssertionError as why:
            tails = self.tails()
            self.stop()
            raise AssertionError(f"{why}\n{tails}") from why
        except BaseException:
            self.stop()
            raise

    def _start(self):
        munge = os.path.join(self.dir, "munge")
        with open(os.path.join(munge, "key"), "wb", opener=lambda p, f: os.open(p, f, 0o400)) as f:
            f.write(os.urandom(128))
        self.configure()
        self.munged = subprocess.Popen(
            ["munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket",
             f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
            env=self.environment(), stdin=subprocess.DEVNULL, stdout=self.log("munged"),
            stderr=subprocess.STDOUT, start_new_session=True)
        threads = [threading.Thread(target=n.start_host) for n in self.nodes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        await_("munge's socket", lambda: os.path.exists(f"{munge}/socket"))
        self.before_slurmctld()
        self.ctld = subprocess.Popen(["slurmctld", "-D"], env=self.environment(),
                                     stdin=subprocess.DEVNULL, stdout=self.log("slurmctld"),
                                     stderr=subprocess.STDOUT, start_new_session=True)
        for node in self.nodes:
            node.start_daemon(waits=False)
        await_("slurmctld", lambda: "UP" in self.run("scontrol", "ping", check=False).stdout)
        for node in self.nodes:
            node.start_slurmd()
        for node in self.nodes:
            node.watcher = Watcher(node)
            await_(f"{node.name}: its wattuned", lambda n=node: n.status() is not None)
        await_("all nodes idle", lambda: self.states() == {n.name: "idle" for n in self.nodes})

    def stop(self):
        """Ends what was started here, and it alone."""
        if self.ctld:
            self.run("scancel", "--user=root,nobody", check=False)
        for watcher in (node.watcher for node in self.nodes if node.watcher):
            watcher.stop()
        for node in self.nodes:
            for pid in node.stepds("[0-9]*"):
                os.kill(pid, signal.SIGKILL)
            if node.slurmd:
                node.kill_slurmd()
        for serve in (node.serve for node in self.nodes if node.serve):
            serve.kill()
            serve.wait()
        for process in (self.ctld, self.munged):
            if process:
                process.terminate()
                try:
                    process.wait(timeout=8)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for node in self.nodes:
            try:
                node.stop_daemon()
            except subprocess.TimeoutExpired:
                node.daemon.kill()
                node.daemon.wait()
            if node.host:
                os.killpg(node.host.pid, signal.SIGTERM)
                node.host.wait(timeout=PATIENCE_S)
        self.kill_orphans()
        for f in self.logs:
            f.close()
        if os.environ.get("WATTUNE_SLURM_KEEP"):
            print(f"kept: {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def kill_orphans(self, job=None):
        """What a killed slurmstepd left of a job, or of all; proctrack/linuxproc loses it. Of a job its user's
        processes alone: its epilog at work has the same variables, and a node whose epilog is killed is drained."""
        wanted = f"SLURM_CONF={self.dir}/etc/slurm.conf".encode()
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                if job is not None and os.stat(path).st_uid != NOBODY:
                    continue
                with open(path, "rb") as f:
                    words = f.read().split(b"\0")
                if wanted in words and any(w.startswith(b"SLURM_JOB_ID=") and
                                           (job is None or w == f"SLURM_JOB_ID={job}".encode())
                                           for w in words):
                    os.kill(int(path.split("/")[2]), signal.SIGKILL)
            except (OSError, ValueError):
                pass

    # ---- using it ----

    def run(self, *words, user=None, check=True, timeout=PATIENCE_S, env=None, **more):
        """A command of Slurm's, as this user."""
        who = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        try:
            done = subprocess.run(words, env={**self.environment(), **(env or {})}, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, check=False, timeout=timeout, errors="replace",
                                  cwd=os.path.join(self.dir, "out"), **who, **more)
        except subprocess.TimeoutExpired as late:
            said = b"".join(part or b"" for part in (late.stdout, late.stderr)).decode("utf-8", "replace")
            raise AssertionError(f"{' '.join(words)}: not done after {timeout} s; it said:\n{said}") from late
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sbatch(self, script, *options, user=NOBODY):
        """The job's number; its output is out/NUMBER."""
        done = self.run("sbatch", "--parsable", "-o", f"{self.dir}/out/%j", *options, "--wrap", script,
                        user=user)
        return int(done.stdout.strip())

    def output(self, job):
        return self.read(f"out/{job}")

    def job(self, job):
        """Slurm's word on a job, as a dictionary."""
        text = self.run("scontrol", "-o", "-d", "show", "job", str(job), check=False).stdout
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def state(self, job):
        return self.job(job).get("JobState", "GONE")

    def await_state(self, job, *states, patience_s=PATIENCE_S):
        last = []

        def look():
            last[:] = [self.state(job)]
            return last[0] in states
        try:
            await_(f"job {job}: {' or '.join(states)}", look, patience_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; it is {last[0]}; it said:\n{self.output(job)}") from late
        return last[0]

    def await_end(self, job, patience_s=PATIENCE_S):
        return self.await_state(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "GONE",
                                patience_s=patience_s)

    def states(self):
        text = self.run("sinfo", "-h", "-N", "-o", "%N %T", check=False).stdout
        return dict(line.split() for line in text.splitlines())

    def tails(self, count=4):
        """The last lines of each daemon's log, for who wants to know why a test failed."""
        found = []
        if self.ctld and self.ctld.poll() is None:
            found += self.run("sinfo", "-h", "-N", "-o", "%N: %T %E", check=False).stdout.splitlines()
        for path in sorted(glob.glob(os.path.join(self.dir, "log", "*"))):
            lines = self.read(path).splitlines()
            if lines and not path.endswith((".pid", "/oracle")) and not os.path.exists(path + ".log"):
                found += [f"{os.path.basename(path)}: {line[-240:]}" for line in lines[-count:]]
        return "\n".join(found)

    def await_idle(self, patience_s=PATIENCE_S):
        """No job is left, no node drained or down."""
        wanted = {n.name: "idle" for n in self.nodes}
        last = []

        def look():
            last[:] = [self.states(), self.run("squeue", "-h", check=False).stdout]
            return last[0] == wanted and not last[1].strip()
        try:
            await_("all nodes idle and no job left", look, patience_s)
        except AssertionError as late:
            reasons = self.run("sinfo", "-h", "-N", "-o", "%N %T %E", check=False).stdout
            raise AssertionError(f"{late}: {reasons}{last[1]}") from late

    def await_limits(self, patience_s=PATIENCE_S, **wanted):
        """await_limits(n1=[150, 250, 250, 250])"""
        for name, limits in wanted.items():
            node = self.nodes[int(name[1:]) - 1]
            last = []

            def look():
                last[:] = node.limits()
                return last == limits
            try:
                await_(f"{name}: limits of {limits} W", look, patience_s)
            except AssertionError as late:
                raise AssertionError(f"{late}; they are {last}; wattuned: {node.status()}") from late


class Watcher:
    """Samples every GPU of a node, a hundred times a second, from a process of its own."""

    def __init__(self, node):
        self.path = os.path.join(node.dir, "watched")
        self.gpus, self.at, self.last = node.bed.gpus, 0, {}
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [PYTHON, "-S", node.bed.client, "--watch", self.path],
            env={**node.bed.environment(), **node.env}, stdin=subprocess.DEVNULL)
        await_(f"{node.name}: its watcher", lambda: os.path.exists(self.path) and len(self.now()) == self.gpus)

    def _lines(self, offset):
        with open(self.path, encoding="utf-8") as f:
            f.seek(offset)
            text = f.read()
        return text[:text.rfind("\n") + 1]

    def now(self):
        with self.lock:
            text = self._lines(self.at)
            self.at += len(text)
            for line in text.splitlines():
                _, gpu, watts = line.split()
                self.last[int(gpu)] = float(watts)
            return [self.last[i] for i in sorted(self.last)]

    def mark(self):
        return os.path.getsize(self.path)

    def since(self, mark):
        """(time, gpu, watts) at each change since then."""
        words = [line.split() for line in self._lines(mark).splitlines()]
        return [(float(t), int(gpu), float(watts)) for t, gpu, watts in words]

    def stop(self):
        self.process.terminate()
        self.process.wait()
