"""The energies of random lives, held against a reader that knows nothing of Wattune: `wattune serve` keeps the
accounts of each node while the lives go on, and an NVML client reads the energy counter of each GPU around it.
What jobs and nobody drew on a node has to add up to what the counters moved.

    around = Energies(nodes); lives.run(..., around=around, checks=[around.check])
"""

import bed as slurm

SETTLE_S = 20.0  # the last rows are in the store within this
BY_NODE, ALL = ("--by", "node"), ("--limit", "0")


def counters_j(node):
    return sum(gpu["energy_j"] for gpu in node.look())


class Energies:
    def __init__(self, nodes):
        self.nodes, self.moved, self.lines = nodes, {}, []

    def __enter__(self):
        for node in self.nodes:
            before = counters_j(node)
            node.start_serve()
            # Its first row of what is nobody's: from then on all is in its accounts.
            slurm.await_(f"{node.name}: its first rows", lambda n=node: n.jobs(*BY_NODE))
            self.moved[node.name] = [before, counters_j(node)]
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            slurm.await_(f"{node.name}: the last of its jobs in the store",
                        lambda n=node: not any(row["running"] for row in n.jobs(*ALL)), SETTLE_S)
            self.moved[node.name].append(counters_j(node))
            node.stop_serve()
            self.moved[node.name].append(counters_j(node))

    def check(self, lives, spans):
        """The problems there are."""
        problems = []
        for node in self.nodes:
            sums = node.jobs(*BY_NODE)
            jobs = [row for row in sums if not row["is_idle"]]
            if len(sums) != 2 or len(jobs) != 1 or not all(row["emulated"] for row in sums):
                problems.append(f"{node.name}: not one row of jobs and one of nobody, emulated: {sums}")
                continue
            least = self.moved[node.name][2] - self.moved[node.name][1]
            most = self.moved[node.name][3] - self.moved[node.name][0]
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
                        not 0 < row["high_j"] <= gpus * 400 * (seconds + 3):
                    problems.append(f"{node.name}: job {job} of {gpus} GPUs for {seconds:.1f} s: {row}")
        return problems
