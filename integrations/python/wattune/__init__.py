"""Measure the energy of parts of a Python program.

    import wattune

    with wattune.window("step", tokens=4096):
        train_one_step()

Under `wattune run -- python train.py` a window is a pair of marks in shared memory and the command
outside does the measuring: one measurement a node, however many ranks there are. Alone, the program
measures itself:

    with wattune.window("epoch") as epoch:
        train()
    print(epoch.result.energy_j, epoch.result.low_j, epoch.result.high_j, epoch.result.provenance)

A window named "step" counts a step; `tokens=` (or `work=`, with wattune.unit) counts work. Under a
launcher such as torchrun the process with LOCAL_RANK 0 measures the node; the windows of the others
have no result and cost nothing.
"""

import contextlib
import functools
import os
import threading
import time

from ._library import (
    MARK_BEGIN,
    MARK_END,
    MARK_STEP,
    MARK_WORK,
    Door,
    Error,
    Meter,
    lib,
)

__all__ = ["Error", "Result", "Window", "close", "count", "measured", "value", "version", "window"]

unit = "tokens"
"""What `work=` counts, as the report names it."""

_local = threading.local()
_lock = threading.Lock()
_meter = None


class Result:
    """Energy of a window. Joules with a 95 % interval; all None when the energy is unknown.

    energy_j, low_j, high_j: of all devices; provenance: "counter", "sampled", "modeled",
    "emulated" or "unknown"; seconds; devices: the same for each device, as in the run JSON.
    """

    def __init__(self, document, seconds, work):
        total = document["total"]
        self.energy_j, self.low_j, self.high_j = total["energy_j"], total["low_j"], total["high_j"]
        self.provenance = total["provenance"]
        self.devices = document["devices"]
        self.gaps = document.get("gaps", [])
        self.seconds = seconds
        self.work = work

    @property
    def j_per_work(self):
        """Joules a unit of work, None without either."""
        return self.energy_j / self.work if self.energy_j is not None and self.work else None

    def __repr__(self):
        if self.energy_j is None:
            return f"<wattune.Result unknown energy, {self.seconds:.3f} s>"
        return (
            f"<wattune.Result {self.energy_j:.3f} J [{self.low_j:.3f}, {self.high_j:.3f}] "
            f"{self.provenance}, {self.seconds:.3f} s>"
        )


def version():
    """The library's version."""
    return lib().wt_version().decode()


def _is_under_run():
    return bool(os.environ.get("WATTUNE_DOOR"))


def _is_measuring_rank():
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _door():
    # A door belongs to one thread; a forked child needs one of its own.
    if getattr(_local, "pid", None) != os.getpid():
        _local.door, _local.pid = Door(), os.getpid()
    return _local.door


def _get_meter():
    global _meter
    with _lock:
        if _meter is None:
            _meter = Meter(gpus=os.environ.get("WATTUNE_GPUS"))
        return _meter


def close():
    """Stops measuring in this process; the next window starts it again."""
    global _meter
    with _lock:
        if _meter is not None:
            _meter.close()
            _meter = None


class Window:
    """One measured stretch of the program; made by window()."""

    __slots__ = ("name", "work", "seconds", "_bytes", "_door", "_id", "_meter", "_begin", "_result")

    def __init__(self, name, work):
        self.name, self.work = name, work
        self._bytes = name.encode()[:31]
        self._door = self._meter = self._id = self._result = None
        self.seconds = None

    def __enter__(self):
        self._begin = time.perf_counter()
        if _is_under_run():
            self._door = _door()
            self._door.mark(self._door.handle, MARK_BEGIN, self._bytes, 1)
        elif _is_measuring_rank():
            self._meter = _get_meter()
            self._id = self._meter.begin(self._bytes)
        return self

    def __exit__(self, kind, *_):
        self.seconds = time.perf_counter() - self._begin
        door = self._door
        if door is not None:
            door.mark(door.handle, MARK_END, self._bytes, 1)
            if kind is None:
                count(self.work, steps=1 if self.name == "step" else 0)
        elif self._meter is not None:
            if kind is None:
                self._meter.end(self._id)
            else:
                self._meter.cancel(self._id)
                self._meter = None
        return False

    def wait(self, seconds=0.5):
        """The result; waits up to this long for the sensor's next tick. None in a process that does
        not measure (under `wattune run`, or not the first rank)."""
        if self._result is None and self._meter is not None:
            self._result = Result(self._meter.result(self._id, seconds), self.seconds, self.work)
        return self._result

    @property
    def result(self):
        """The same as wait()."""
        return self.wait()


def window(name="step", *, tokens=None, work=None):
    """A context manager that measures its body. tokens or work: how much the body does."""
    if tokens is not None and work is not None:
        raise TypeError("window: tokens and work are the same thing; give one")
    return Window(name, tokens if tokens is not None else work)


def measured(name=None, *, tokens=None, work=None):
    """A decorator: each call of the function is a window of its name."""

    def wrap(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            with window(name or function.__name__, tokens=tokens, work=work):
                return function(*args, **kwargs)

        return inner

    if callable(name):
        function, name = name, None
        return wrap(function)
    return wrap


def count(work=None, steps=0):
    """Counts work (tokens) and steps that no window counts."""
    if not _is_under_run():
        return
    door = _door()
    if work:
        door.mark(door.handle, MARK_WORK, unit.encode()[:31], int(work))
    if steps:
        door.mark(door.handle, MARK_STEP, b"step", int(steps))


def value(name, number):
    """A number of the run to be plotted over time, such as the loss."""
    if _is_under_run():
        door = _door()
        door.value(door.handle, name.encode()[:31], float(number))


@contextlib.contextmanager
def paused():
    """A stretch of an enclosing step that is not its work (evaluation, a checkpoint): a phase."""
    with window("paused"):
        yield
