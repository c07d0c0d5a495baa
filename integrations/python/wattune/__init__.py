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

A window named "step" counts a step; `tokens=` (or `work=`, see `unit`) counts work. A body that
raises counts neither. Under a launcher such as torchrun the process with local rank 0 measures the
node; the windows of the others, and of processes forked from the one that measures, have no result.
"""

import functools
import inspect
import operator
import os
import threading
import time
import warnings

from ._library import MARK_BEGIN, MARK_END, MARK_STEP, MARK_WORK, Door, Error, Meter, lib

__all__ = ["Error", "Result", "Window", "close", "count", "measured", "unit", "value", "version", "window"]  # fmt: skip

unit = "tokens"
"""What `work=` counts, as the report names it. Set it before the first window."""

# What a launcher calls a process's number on its node; the first that is set counts.
_LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")

_MOST = 2**63 - 1  # of one window, as the door takes it

_lock = threading.Lock()
_recorder = None  # where the windows of this process go; found out at the first one
_generation = 0  # of processes: a window of the parent's is not the child's


class Result:
    """Energy of a window. Joules with a 95 % interval; all None when the energy is unknown.

    energy_j, low_j, high_j: of all devices; provenance: "counter", "sampled", "modeled",
    "emulated" or "unknown"; seconds; devices and gaps: as in the run JSON; work: as the window says.
    """

    def __init__(self, document, work):
        total = document["total"]
        self.energy_j, self.low_j, self.high_j = total["energy_j"], total["low_j"], total["high_j"]
        self.provenance = total["provenance"]
        self.devices = document["devices"]
        self.gaps = document["gaps"]
        self.seconds = document["wall_s"]
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


# ---- where windows go ----


class _Outside:
    """`wattune run` measures; we tell it when."""

    def __init__(self):
        self.door = Door()
        if self.door.trouble:
            warnings.warn(f"wattune: windows will not be heard: {self.door.trouble}", stacklevel=4)

    def begin(self, name):
        self.door.mark(MARK_BEGIN, name, 1)

    def end(self, _, name, work):
        self.count(work, 1 if name == b"step" else 0)  # while it is open: its phase has it
        self.door.mark(MARK_END, name, 1)

    def cancel(self, _, name):
        self.door.mark(MARK_END, name, 1)

    def result(self, _id, _wait_s):
        return None

    def count(self, work, steps):
        if work:
            self.door.mark(MARK_WORK, _cut(unit), int(work))
        if steps:
            self.door.mark(MARK_STEP, b"step", int(steps))

    def value(self, name, number):
        self.door.value(name, number)

    def in_child(self):
        self.door.close()  # the child opens one of its own


class _Inside:
    """This process measures."""

    def __init__(self):
        self.meter = Meter(gpus=os.environ.get("WATTUNE_GPUS"))

    def begin(self, name):
        return self.meter.begin(name)

    def end(self, number, _name, _work):
        self.meter.end(number)

    def cancel(self, number, _name):
        self.meter.cancel(number)

    def result(self, number, wait_s):
        return self.meter.result(number, wait_s)

    def count(self, work, steps):
        pass

    def value(self, name, number):
        pass

    def in_child(self):
        return _Nowhere()  # the parent measures the child too


class _Nowhere:
    """Another process measures."""

    def begin(self, name):
        pass

    def end(self, number, name, work):
        pass

    def cancel(self, number, name):
        pass

    def result(self, number, wait_s):
        pass

    def count(self, work, steps):
        pass

    def value(self, name, number):
        pass

    def in_child(self):
        return self


def _is_measuring_rank():
    ranks = [os.environ[name] for name in _LOCAL_RANKS if name in os.environ]
    return not ranks or ranks[0] == "0"


def _get():
    global _recorder
    with _lock:
        if _recorder is None:
            if os.environ.get("WATTUNE_DOOR"):
                _recorder = _Outside()
            elif _is_measuring_rank():
                _recorder = _Inside()
            else:
                _recorder = _Nowhere()
        return _recorder


def close():
    """Stops measuring in this process; the next window starts it again. Windows that are open, and
    those whose result was not asked for yet, keep theirs."""
    global _recorder
    with _lock:
        _recorder = None


def _after_fork():
    global _recorder, _generation, _lock
    _generation += 1
    _lock = threading.Lock()  # another thread may have held it
    if _recorder is not None:
        _recorder = _recorder.in_child()


os.register_at_fork(after_in_child=_after_fork)


# ---- windows ----


@functools.lru_cache(maxsize=1024)
def _cut(name):
    """As the door takes it: at most 31 bytes, not within a character."""
    return name.encode(errors="replace")[:31].decode(errors="ignore").encode()


def _counted(what, number):
    """The number as an int, if it is a count of something: of NumPy or PyTorch too, and 1e6."""
    if type(number) is int and 0 <= number <= _MOST or number is None:
        return number
    if hasattr(number, "__index__"):
        count = operator.index(number)
    elif hasattr(number, "__float__"):  # text has none
        real = float(number)
        count = int(real) if real.is_integer() else -1  # neither is what is infinite or no number
    else:
        raise TypeError(f"wattune: {what} is {number!r}: a number is wanted, not {type(number).__name__}")
    if not 0 <= count <= _MOST:
        raise ValueError(f"wattune: {what} is {number!r}: not a whole number from 0 to 2**63 - 1")
    return count


class Window:
    """One measured stretch of the program; made by window(). `with` is begin() and end()."""

    __slots__ = ("name", "_work", "seconds", "_recorder", "_id", "_generation", "_begin", "_result", "_is_ended")  # fmt: skip

    def __init__(self, name, work=None):
        self.seconds = self._recorder = self._id = self._begin = self._result = None
        self._generation, self._is_ended = _generation, False
        # Last, as a window that is refused is deleted too, and __del__ looks at the others.
        self.name, self._work = name, _counted("tokens or work", work)

    @property
    def work(self):
        """How much the body does, None without; may be set until the end."""
        return self._work

    @work.setter
    def work(self, number):
        self._work = _counted("tokens or work", number)

    def begin(self):
        if self._begin is not None or self._is_ended:
            raise Error(f"window {self.name!r} has begun already; each is used once")
        recorder = _recorder or _get()
        self._recorder, self._generation = recorder, _generation
        self._begin = time.perf_counter()
        self._id = recorder.begin(_cut(self.name))
        return self

    def end(self):
        """Ends it and counts its work."""
        if self._begin is None:
            raise Error(f"window {self.name!r} is not open")
        self.seconds = time.perf_counter() - self._begin
        self._begin, self._is_ended = None, True
        if self._generation == _generation:
            self._recorder.end(self._id, _cut(self.name), self._work)

    def cancel(self):
        """Ends it and counts nothing; there is no result."""
        if self._begin is None:
            return
        self.seconds = time.perf_counter() - self._begin
        self._begin = None
        if self._generation == _generation:
            self._recorder.cancel(self._id, _cut(self.name))
        self._recorder = None

    __enter__ = begin

    def __exit__(self, kind, *_):
        if kind is None:
            self.end()
        else:
            self.cancel()

    def wait(self, seconds=0.5):
        """The result, after waiting up to this long for the sensor's next tick. None in a process
        that does not measure, for a window in which an exception was raised, and for one that was
        begun before a fork."""
        if self._begin is not None:
            raise Error(f"window {self.name!r} is still open")
        if self._result is None and self._recorder is not None and self._generation == _generation:
            document = self._recorder.result(self._id, seconds)
            self._recorder = None
            if document is not None:
                self._result = Result(document, self.work)
        return self._result

    @property
    def result(self):
        """The same as wait()."""
        return self.wait()

    def __del__(self):
        # The meter need not keep what nobody will ask for.
        if self._id is not None and self._recorder is not None and self._generation == _generation:
            self._recorder.cancel(self._id, b"")


def window(name="step", *, tokens=None, work=None):
    """A context manager that measures its body. tokens or work: how much the body does; may be set
    as .work on the window while it is open. ValueError: it is below 0, not whole, or 2**63 or more;
    TypeError: it is no number."""
    if tokens is not None and work is not None:
        raise TypeError("window: tokens and work are the same thing; give one")
    if not isinstance(name, str):
        raise TypeError(f"window: the name is text, not {type(name).__name__}")
    return Window(name, tokens if tokens is not None else work)


def measured(name=None, *, tokens=None, work=None):
    """A decorator: each call of the function is a window, named as the function unless told."""

    _counted("tokens or work", tokens if tokens is not None else work)

    def wrap(function):
        title = name if isinstance(name, str) else function.__name__
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"measured: {title} is a generator; put a window where its work is done")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def inner(*args, **kwargs):
                with window(title, tokens=tokens, work=work):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def inner(*args, **kwargs):
                with window(title, tokens=tokens, work=work):
                    return function(*args, **kwargs)

        return inner

    return wrap(name) if callable(name) else wrap


def count(work=None, steps=0):
    """Counts work (tokens) and steps that no window counts. Errors as of window()."""
    (_recorder or _get()).count(_counted("tokens or work", work), _counted("steps", steps))


def value(name, number):
    """A number of the run to be plotted over time, such as the loss."""
    (_recorder or _get()).value(_cut(name), float(number))
