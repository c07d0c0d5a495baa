"""libwattune through ctypes: only what the door and the meter need.

Results cross as JSON, so that no C structure of results is described twice. Calls that cannot block
hold the interpreter's lock (PyDLL): that is faster, and it is what keeps the threads of a process
apart in the one door they share.
"""

import ctypes
import json
import os
import pathlib
import sys
import sysconfig
import threading

MARK_WORK, MARK_STEP, MARK_BEGIN, MARK_END, MARK_VALUE = 1, 2, 3, 4, 5
_NAME = "libwattune.so.0"


class Error(RuntimeError):
    """A failure of the library: what happened, and what to do about it."""


class _Error(ctypes.Structure):  # struct wt_error
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 480), ("fix", ctypes.c_char * 240)]


class _DevicesOptions(ctypes.Structure):  # struct wt_devices_options
    _fields_ = [
        ("gpus", ctypes.c_char_p),
        ("is_gpu_only", ctypes.c_bool),
        ("commands", ctypes.c_void_p),
        ("command_count", ctypes.c_size_t),
        ("is_command_optional", ctypes.c_bool),
        ("on_wait", ctypes.c_void_p),
        ("wait_data", ctypes.c_void_p),
    ]


class _MeterOptions(ctypes.Structure):  # struct wt_meter_options
    _fields_ = [
        ("period_ns", ctypes.c_int64),
        ("confidence", ctypes.c_double),
        ("history_ns", ctypes.c_int64),
    ]


_p, _pp, _err = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_Error)
_u64, _i64, _int, _text = ctypes.c_uint64, ctypes.c_int64, ctypes.c_int, ctypes.c_char_p
_BLOCKING = [
    ("wt_door_open", [_pp, _err], _int),
    ("wt_door_close", [_p], None),
    ("wt_ctx_new", [_pp, _p, _err], _int),
    ("wt_ctx_free", [_p], None),
    ("wt_devices_open", [_pp, _p, ctypes.POINTER(_DevicesOptions), _err], _int),
    ("wt_devices_free", [_p], None),
    ("wt_meter_new", [_pp, _p, _p, ctypes.POINTER(_MeterOptions), _err], _int),
    ("wt_meter_free", [_p], None),
    ("wt_meter_result_json", [_p, _p, _u64, _i64, _pp, _err], _int),
    ("wt_strerror", [_int], _text),
    ("wt_version", [], _text),
]
_QUICK = [
    ("wt_door_mark", [_p, _int, _text, _u64], None),
    ("wt_door_value", [_p, _text, ctypes.c_double], None),
    ("wt_meter_begin", [_p, _text, ctypes.POINTER(_u64)], _int),
    ("wt_meter_end", [_p, _u64], _int),
    ("wt_meter_cancel", [_p, _u64], _int),
]


def _candidates():
    told = os.environ.get("WATTUNE_LIBRARY")
    if told:
        yield told
        return
    here = pathlib.Path(__file__).resolve()
    yield str(here.parents[3] / "build" / _NAME)  # in the source tree
    # Installed beside us: below the same lib folder, which the loader need not know.
    for folder in list(here.parents)[2:4]:
        yield str(folder / (sysconfig.get_config_var("MULTIARCH") or "") / _NAME)
        yield str(folder / _NAME)
    yield _NAME


def _load():
    tried = []
    for name in _candidates():
        if os.path.isabs(name) and not os.path.exists(name):
            tried.append(name)
            continue
        try:
            return ctypes.CDLL(name), ctypes.PyDLL(name)
        except OSError as why:
            tried.append(str(why))
    raise Error(
        f"wattune: {_NAME} is not here (looked at: {'; '.join(tried)}); install it, or set "
        "WATTUNE_LIBRARY to its path"
    )


_lib = _quick = None


def lib():
    """The library, loaded at first use."""
    global _lib, _quick
    if _lib is None:
        loaded, quick = _load()
        try:
            for library, table in (loaded, _BLOCKING), (quick, _QUICK):
                for name, arguments, result in table:
                    function = getattr(library, name)
                    function.argtypes, function.restype = arguments, result
        except AttributeError as why:
            raise Error(
                f"wattune: the library is of another version ({why}); set WATTUNE_LIBRARY to the "
                "path of the one that belongs to this package"
            ) from None
        _lib, _quick = loaded, quick
    return _lib


def _told(err, code):
    said = err.text.decode(errors="replace") or lib().wt_strerror(code).decode()
    fix = err.fix.decode(errors="replace")
    return f"{said} ({fix})" if fix else said


def _check(code, err):
    if code < 0:
        raise Error(f"wattune: {_told(err, code)}")


class Door:
    """Marks to the Wattune that runs this program. One for all threads of a process."""

    def __init__(self):
        library, err, handle = lib(), _Error(), ctypes.c_void_p()
        code = library.wt_door_open(ctypes.byref(handle), ctypes.byref(err))
        self.trouble = _told(err, code) if code < 0 else None
        self._handle = handle  # NULL after trouble: the library ignores the marks
        self._mark, self._value = _quick.wt_door_mark, _quick.wt_door_value
        # Without the interpreter's lock, threads are kept apart by one of ours.
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            self._mark, self._value = _one_at_a_time(self._mark, self._value)

    def mark(self, kind, name, number):
        self._mark(self._handle, kind, name, number)

    def value(self, name, number):
        self._value(self._handle, name, number)

    def close(self):
        handle, self._handle = self._handle, ctypes.c_void_p()
        lib().wt_door_close(handle)


def _one_at_a_time(*functions):
    lock = threading.RLock()

    def wrap(function):
        def inner(*args):
            with lock:
                return function(*args)

        return inner

    return [wrap(function) for function in functions]


class Meter:
    """A meter in this process. Freed with its last window: each holds on to it."""

    def __init__(self, gpus=None, period_s=0.0):
        library, err = lib(), _Error()
        self._pid = os.getpid()
        self._ctx, self._devices, self._meter = (ctypes.c_void_p() for _ in range(3))
        options = _DevicesOptions(gpus.encode() if gpus else None, False)
        how = _MeterOptions(int(period_s * 1e9), 0.0, 0)
        by, story = ctypes.byref, ctypes.byref(err)
        _check(library.wt_ctx_new(by(self._ctx), None, story), err)
        _check(library.wt_devices_open(by(self._devices), self._ctx, by(options), story), err)
        _check(library.wt_meter_new(by(self._meter), self._ctx, self._devices, by(how), story), err)

    def begin(self, name):
        window = ctypes.c_uint64()
        code = _quick.wt_meter_begin(self._meter, name, ctypes.byref(window))
        if code < 0:
            raise Error(f"wattune: cannot begin a window: {lib().wt_strerror(code).decode()}")
        return window.value

    def end(self, window):
        _quick.wt_meter_end(self._meter, window)

    def cancel(self, window):
        _quick.wt_meter_cancel(self._meter, window)

    def result(self, window, wait_s):
        err, text = _Error(), ctypes.c_void_p()
        _check(
            lib().wt_meter_result_json(
                self._meter,
                self._devices,
                window,
                int(wait_s * 1e9),
                ctypes.byref(text),
                ctypes.byref(err),
            ),
            err,
        )
        try:
            return json.loads(ctypes.string_at(text))
        finally:
            _free(text)

    def __del__(self):
        # A forked child has the parent's handles and none of its threads. When the interpreter
        # ends, so does the process: nothing needs to be freed.
        if sys.is_finalizing() or os.getpid() != self._pid:
            return
        _lib.wt_meter_free(self._meter)
        _lib.wt_devices_free(self._devices)
        _lib.wt_ctx_free(self._ctx)


_free = ctypes.CDLL(None).free
_free.argtypes, _free.restype = [ctypes.c_void_p], None
