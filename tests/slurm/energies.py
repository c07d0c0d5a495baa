"""The energies of random lives, held against a reader that knows nothing of Wattune: `wattune serve` keeps the
accounts of each node while the lives go on, and an NVML client reads the energy counter of each GPU around it.
What jobs and nobody drew on a node has to add up to what the counters moved.

    around = Energies(nodes); lives.run(..., around=around, checks=[around.check])
"""
import os

import bed as slurm

BY_NODE, ALL = ("--by", "node"), ("--limit", "0")


def counters_j(node):
    return sum(gpu["energy_j"] for gpu in node.look())


def settle(node, *jobs):
    """These are in the node's store, and so is the end of each that Slurm has ended: what serve has taken in
    is no file of its own any more."""
    wanted = {str(job) for job in jobs}

    def is_settled():
        waiting = [name for name in os.listdir(node.facts) if name.isdigit() and "end_ns" in (node.fact(name) or {})]
        rows = node.jobs(*ALL)
        return not waiting and not any(row["running"] for row in rows) and wanted <= {row["key"] for row in rows}
    slurm.await_(f"{node.name}: the last of its jobs in the store", is_settled)


class Energies:
    def __init__(self, nodes):
        self.nodes, self.before, self.moved, self.lines = nodes, {}, {}, []

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *_):
        self.end()

    def begin(self):
        for node in self.nodes:
            before = counters_j(node)
            node.start_serve()
            # Its first row of what is nobody's: from then on all is in its accounts.
            slurm.await_(f"{node.name}: its first rows", lambda n=node: n.jobs(*BY_NODE, is_new=True))
            self.before[node.name] = (before, counters_j(node))

    def end(self, **jobs):
        """All that ran has ended, in the accounts too; n1=[7, 8]: these among it. From then on `moved` is
        node -> (least, most) that its counters moved."""
        for node in self.nodes:
            settle(node, *jobs.get(node.name, ()))
            after = counters_j(node)
            node.stop_serve()
            first, second = self.before[node.name]
            self.moved[node.name] = (after - second, counters_j(node) - first)

    def check(self, lives, spans):
        """The problems there are."""
        problems = []
        for node in self.nodes:
            sums = node.jobs(*BY_NODE)
            jobs = [row for row in sums if not row["is_idle"]]
            if len(sums) != 2 or len(jobs) != 1 or not all(row["emulated"] for row in sums):
                problems.append(f"{node.name}: not one row of jobs and one of nobody, emulated: {sums}")
                continue
            least, most = self.moved[node.name]
            told, low, high = (sum(row[key] for row in sums) for key in ("energy_j", "low_j", "high_j"))
            self.lines.append(f"{node.name}: jobs {jobs[0]['energy_j']:.1f} J + nobody {told - jobs[0]['energy_j']:.1f} J "
                              f"= {told:.1f} J [{low:.1f}, {high:.1f}]; the counters moved {least:.1f} to {most:.1f} J")
            if not (low <= most and high >= least and 0.97 * least <= told <= 1.03 * most):
                problems.append(self.lines[-1])
            rows = {int(row["key"]): row for row in node.jobs(*ALL)}
            ran = {job for job, name in spans if name == node.name}
            if set(rows) != ran:
                problems.append(f"{node.name}: jobs without rows {ran - set(rows)}, rows without jobs {set(rows) - ran}")
            for job in ran & set(rows):
                seconds = spans[job, node.name][2] - spans[job, node.name][1]
                gpus = len(spans[job, node.name][0])
                row = rows[job]
                devices = {device["id"] for device in row["devices"]}
                if len(devices) != gpus or not row["low_j"] <= row["energy_j"] <= row["high_j"] or \
                        not 0 < row["high_j"] <= gpus * 400 * (seconds + 3 + row["gap_s"]):
                    problems.append(f"{node.name}: job {job} of {gpus} GPUs for {seconds:.1f} s: {len(devices)} devices, "
                                    f"{row['energy_j']} J [{row['low_j']}, {row['high_j']}], gap {row['gap_s']} s: {row}")
        return problems
