"""Random lives of jobs, many at once, with a seed: jobs that end, fail, are cancelled, lose their
slurmstepd, run on two nodes, ask for nothing; while slurmd is restarted and wattuned killed and upgraded.
Meanwhile a watcher of each node samples every GPU. Held against Slurm's own word on who had which GPU:

- a limit that is not the node's own is there only on a GPU of the one job that asked for it, while it
  had it;
- a job that looked at its GPUs saw its limit there, or was told why not;
- afterwards nothing is left: no limit, no claim, no job, no node that is not idle, no fact without end.

run(..., around=..., checks=...): who measures energies too enters `around` for the time of the lives and
gives functions (lives, spans) -> problems.
"""

import collections
import contextlib
import itertools
import json
import os
import random
import re
import signal
import threading
import time
from concurrent import futures

import bed as slurm

SLACK_S = 2.0  # a prolog begins before, and an epilog's work ends after, Slurm's scripts say so
AT_ONCE = 12
KINDS = {"end": 30, "fail": 10, "cancel": 15, "stepd": 10, "srun": 10, "salloc": 8, "two": 7, "plain": 10}
RANGES = {"n1": (100, 250), "n2": (120, 200), "n3": (150, 300)}  # caps: from, and the node's own


class Life:
    """What was asked of one job, and what it said."""

    def __init__(self, number, kind, nodes, gpus, cap, work_s):
        self.number, self.kind, self.nodes, self.gpus = number, kind, nodes, gpus
        self.cap, self.work_s = cap, work_s  # cap None: nothing asked for
        self.job, self.said = None, ""

    def options(self):
        cap = [f"--power-cap={self.cap}"] if self.cap else []
        return ["-w", ",".join(self.nodes), "-N", str(len(self.nodes)), f"--gres=gpu:{self.gpus}", *cap]

    def __str__(self):
        return (f"life {self.number} ({self.kind}, job {self.job}, {self.gpus} of {','.join(self.nodes)}, "
                f"{self.cap} W)")


class Report:
    def __init__(self):
        self.problems, self.lines = [], []

    @property
    def text(self):
        return "\n".join(self.lines + self.problems)


def plan(count, seed):
    rng = random.Random(seed)
    caps = {name: itertools.cycle(range(*limits)) for name, limits in RANGES.items()}
    found = []
    for number in range(count):
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        nodes = ["n1", "n2"] if kind == "two" else [rng.choice(list(RANGES))]
        # Of both: n1 takes what n2 takes. Never twice at once on a node: seventy before it comes again.
        cap = None if kind == "plain" else next(caps[nodes[-1]])
        found.append(Life(number, kind, nodes, rng.choice((1, 1, 2)), cap, rng.uniform(0.05, 0.5)))
    return found


def script_of(life, bed):
    return (f'echo "GPUS $SLURM_JOB_GPUS"; {slurm.PYTHON} -S {bed.client}; sleep {life.work_s:.2f}'
            + ("; exit 3" if life.kind == "fail" else ""))


def live(life, bed):
    """One life, to its end as Slurm sees it."""
    if life.kind in ("srun", "salloc"):
        step = (f'echo "job $SLURM_JOB_ID"; echo "GPUS $SLURM_STEP_GPUS"; {slurm.PYTHON} -S {bed.client}; '
                f'sleep {life.work_s:.2f}')
        words = ["srun", *life.options(), "sh", "-c", step] if life.kind == "srun" else \
            ["salloc", *life.options(), "sleep", f"{life.work_s:.2f}"]
        done = bed.run(*words, user=slurm.NOBODY, check=False, timeout=120)
        life.said = done.stdout + done.stderr
        found = re.search(r"^job (\d+)$|Granted job allocation (\d+)", life.said, re.MULTILINE)
        life.job = int(found.group(1) or found.group(2)) if found else None
        if done.returncode != 0:
            raise AssertionError(f"{life}: exit code {done.returncode}: {life.said}")
        return
    if life.kind in ("cancel", "stepd"):
        life.job = bed.sbatch("exec sleep 1000", *life.options())
        bed.await_state(life.job, "RUNNING", patience_s=120)
        time.sleep(life.work_s)
        if life.kind == "stepd":
            for node in bed.nodes:
                if node.name in life.nodes:
                    for pid in node.stepds(life.job):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
        bed.run("scancel", str(life.job))
        if life.kind == "stepd":
            bed.kill_orphans(life.job)
        slurm.await_(f"{life}: its end", lambda: bed.state(life.job) in ("CANCELLED", "FAILED", "GONE"), 120)
        return
    life.job = bed.sbatch(script_of(life, bed), *life.options())
    state = bed.await_end(life.job, patience_s=120)
    life.said = bed.output(life.job)
    if state != ("FAILED" if life.kind == "fail" else "COMPLETED"):
        raise AssertionError(f"{life}: {state}: {life.said}")


def disturb(bed, nodes, seed, is_over, counts):
    """Ends a slurmd or a wattuned now and then, and starts it again."""
    rng = random.Random(f"{seed}:disturb")
    while not is_over.wait(rng.uniform(0.7, 2)):
        node, what = rng.choice(nodes), rng.choice(("slurmd", "wattuned", "upgrade"))
        counts[what] += 1
        if what == "slurmd":
            # Killed while it ends a job, Slurm takes a minute to see, and that job has no epilog: a test
            # of its own.
            node.stop_slurmd()
            time.sleep(rng.uniform(0, 0.3))
            node.start_slurmd()
        else:
            node.stop_daemon(signal.SIGKILL if what == "wattuned" else signal.SIGUSR2)
            time.sleep(rng.uniform(0, 0.3))
            node.start_daemon()


def spans_of(bed, offset):
    """(job, node) -> GPUs by NVML's index, begin, end: by Slurm's own prolog and epilog."""
    spans = {}
    with open(os.path.join(bed.dir, "log", "oracle"), encoding="utf-8") as f:
        f.seek(offset)
        for line in f:
            t, what, job, node, gpus = line.split()
            key = (int(job), node)
            numbers = [] if gpus == "-" else [int(n) for n in gpus.split(",")]
            if node == "n3":  # as its map says
                numbers = [bed.gpus - 1 - n for n in numbers]
            if what == "prolog":
                spans[key] = [set(numbers), float(t), float("inf")]
            elif key in spans:
                spans[key][2] = float(t)
    return spans


def check_watched(name, samples, lives, spans, problems):
    """Every limit that was seen is some job's own."""
    own = RANGES[name][1]
    asked = collections.defaultdict(list)
    for life in lives:
        if life.cap and life.job and (life.job, name) in spans:
            asked[life.cap].append(spans[life.job, name])
    seen = 0
    for t, gpu, watts in samples:
        if watts == own:
            continue
        seen += 1
        if not any(gpu in gpus and begin - SLACK_S <= t <= end + SLACK_S for gpus, begin, end in asked[watts]):
            problems.append(f"{name}: {watts:g} W on GPU {gpu} at {t:.3f}, which no job with that GPU asked for")
    return seen


def check_seen(life, counts, problems):
    """What the job itself saw, through NVML."""
    gpus = re.search(r"^GPUS ([\d,]+)$", life.said, re.MULTILINE)
    looked = re.search(r"^\[\{.*\}\]$", life.said, re.MULTILINE)
    if not gpus or not looked or not life.cap:
        return
    numbers = [int(n) for n in gpus.group(1).split(",")]
    if life.nodes[0] == "n3":
        numbers = [3 - n for n in numbers]
    limits = [gpu["limit_w"] for gpu in json.loads(looked.group(0))]
    if all(limits[n] == life.cap for n in numbers):
        counts["seen"] += 1
    elif "wattune: " in life.said:
        counts["told"] += 1
    else:
        problems.append(f"{life}: GPUs {numbers} are at {limits}, and it was told nothing: {life.said}")


def await_nothing_left(bed, nodes, problems):
    def is_quiet():
        states = bed.states()
        jobs = bed.run("squeue", "-h", "-w", ",".join(n.name for n in nodes), check=False).stdout
        return all(states.get(n.name) == "idle" for n in nodes) and not jobs.strip()
    try:
        slurm.await_("nodes idle and no job left", is_quiet, 90)
    except AssertionError:
        reasons = bed.run("sinfo", "-h", "-N", "-o", "%N %T %E;", check=False).stdout.split("\n")
        problems.append(f"stuck: {' '.join(reasons)} " + bed.run("squeue", "-h", check=False).stdout)
    for node in nodes:
        own = [RANGES[node.name][1]] * bed.gpus
        try:
            slurm.await_("limits", lambda n=node, o=own: n.limits() == o)
        except AssertionError:
            problems.append(f"{node.name}: left behind: {node.limits()}")
        try:
            slurm.await_("nothing held", lambda n=node: "nothing is held" in (n.status() or ""))
        except AssertionError:
            problems.append(f"{node.name}: left behind: {node.status()}")
        left = []

        def has_none_left(node=node, left=left):  # whoever measures may be writing just now
            left[:] = [name for name in os.listdir(node.facts) if (name.startswith(".") and name != ".serve")
                       or (name.isdigit() and "end_ns" not in (node.fact(name) or {"end_ns": 0}))]
            return not left
        try:
            slurm.await_("facts", has_none_left)
        except AssertionError:
            problems += [f"{node.name}: left behind: {name} of the facts" for name in left]


def run(bed, nodes, count, seed, *, around=None, checks=()):
    report, counts = Report(), collections.Counter()
    lives = plan(count, seed)
    oracle = os.path.join(bed.dir, "log", "oracle")
    offset = os.path.getsize(oracle) if os.path.exists(oracle) else 0
    marks = {node.name: node.watcher.mark() for node in nodes}
    is_over = threading.Event()
    disturber = threading.Thread(target=disturb, args=(bed, nodes, seed, is_over, counts))
    began = time.monotonic()
    with around or contextlib.nullcontext():
        disturber.start()
        with futures.ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = {pool.submit(live, life, bed): life for life in lives}
            for done in futures.as_completed(waiting):
                error = done.exception()
                if error:
                    report.problems.append(f"{waiting[done]}: {error}")
        is_over.set()
        disturber.join()
        await_nothing_left(bed, nodes, report.problems)
    spans = spans_of(bed, offset)
    changes = sum(check_watched(node.name, node.watcher.since(marks[node.name]), lives, spans, report.problems)
                  for node in nodes)
    for life in lives:
        check_seen(life, counts, report.problems)
    for check in checks:
        report.problems += check(lives, spans)
    kinds = collections.Counter(life.kind for life in lives)
    if counts["seen"] < count / 5 or changes < count / 2:
        report.problems.append(f"too little was seen: {counts}, {changes} changes of limits")
    report.lines = [
        f"{count} lives with seed {seed} in {time.monotonic() - began:.1f} s: "
        + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        f"{counts['seen']} saw their limit, {counts['told']} were told why not; {changes} changes of limits "
        f"watched; slurmd restarted {counts['slurmd']} times, wattuned killed {counts['wattuned']}, "
        f"upgraded {counts['upgrade']}",
        f"left behind or foreign: {len(report.problems)}"]
    return report
