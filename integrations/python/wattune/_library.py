"""libwattune through ctypes: only what the door and the meter need.

Results cross as JSON, so that no C structure is described twice.
"""

import ctypes
import ctypes.util
import json
import os
import pathlib

MARK_WORK, MARK_STEP, MARK_BEGIN, MARK_END, MARK_VALUE = 1, 2, 3, 4, 5


class Error(RuntimeError):
    """A failure of the library: what happened, and what to do about it."""


class _Error(ctypes.Structure):  # struct wt_error
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 480), ("fix", ctypes.c_char * 240)]


class _DevicesOptions(ctypes.Structure):  # struct wt_devices_options
    _fields_ = [("gpus", ctypes.c_char_p), ("is_gpu_only", ctypes.c_bool)]


class _MeterOptions(ctypes.Structure):  # struct wt_meter_options
    _fields_ = [
        ("period_ns", ctypes.c_int64),
        ("confidence", ctypes.c_double),
        ("history_ns", ctypes.c_int64),
    ]


def _candidates():
    if os.environ.get("WATTUNE_LIBRARY"):
        yield os.environ["WATTUNE_LIBRARY"]
        return
    here = pathlib.Path(__file__).resolve()
    yield str(here.parents[3] / "build" / "libwattune.so.0")  # in the source tree
    yield "libwattune.so.0"  # installed


def _load():
    tried = []
    for name in _candidates():
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError as why:
            tried.append(str(why))
    raise Error("libwattune is not here: " + "; ".join(tried) + "; set WATTUNE_LIBRARY to its path")


_lib = None


def lib():
    """The library, loaded at first use."""
    global _lib
    if _lib is None:
        loaded = _load()
        p, pp, err = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_Error)
        u64, i64, text = ctypes.c_uint64, ctypes.c_int64, ctypes.c_char_p
        for name, arguments, result in [
            ("wt_door_open", [pp, err], ctypes.c_int),
            ("wt_door_close", [p], None),
            ("wt_door_mark", [p, ctypes.c_int, text, u64], None),
            ("wt_door_value", [p, text, ctypes.c_double], None),
            ("wt_ctx_new", [pp, p, err], ctypes.c_int),
            ("wt_ctx_free", [p], None),
            ("wt_devices_open", [pp, p, ctypes.POINTER(_DevicesOptions), err], ctypes.c_int),
            ("wt_devices_free", [p], None),
            ("wt_devices_count", [p], ctypes.c_size_t),
            ("wt_meter_new", [pp, p, p, ctypes.POINTER(_MeterOptions), err], ctypes.c_int),
            ("wt_meter_free", [p], None),
            ("wt_meter_begin", [p, text, ctypes.POINTER(u64)], ctypes.c_int),
            ("wt_meter_end", [p, u64], ctypes.c_int),
            ("wt_meter_cancel", [p, u64], ctypes.c_int),
            ("wt_meter_result_json", [p, p, u64, i64, pp, err], ctypes.c_int),
            ("wt_version", [], text),
        ]:
            function = getattr(loaded, name)
            function.argtypes, function.restype = arguments, result
        _lib = loaded
    return _lib


def check(code, err):
    """Raises Error when a call failed."""
    if code < 0:
        said, fix = err.text.decode(errors="replace"), err.fix.decode(errors="replace")
        raise Error(f"{said} ({fix})" if fix else said or f"error {code}")


def new_error():
    return _Error()


class Door:
    """Marks to the Wattune that runs this program; they go nowhere when there is none."""

    def __init__(self):
        self._handle = ctypes.c_void_p()
        err = new_error()
        check(lib().wt_door_open(ctypes.byref(self._handle), ctypes.byref(err)), err)
        self.mark = lib().wt_door_mark
        self.value = lib().wt_door_value
        self.handle = self._handle


class Meter:
    """A meter in this process."""

    def __init__(self, gpus=None, period_s=0.0):
        library, err = lib(), new_error()
        self._ctx, self._devices = ctypes.c_void_p(), ctypes.c_void_p()
        self._meter = ctypes.c_void_p()
        check(library.wt_ctx_new(ctypes.byref(self._ctx), None, ctypes.byref(err)), err)
        options = _DevicesOptions(gpus.encode() if gpus else None, False)
        check(
            library.wt_devices_open(
                ctypes.byref(self._devices), self._ctx, ctypes.byref(options), ctypes.byref(err)
            ),
            err,
        )
        how = _MeterOptions(int(period_s * 1e9), 0.0, 0)
        check(
            library.wt_meter_new(
                ctypes.byref(self._meter),
                self._ctx,
                self._devices,
                ctypes.byref(how),
                ctypes.byref(err),
            ),
            err,
        )

    def begin(self, name):
        window = ctypes.c_uint64()
        code = lib().wt_meter_begin(self._meter, name, ctypes.byref(window))
        if code < 0:
            raise Error(f"cannot begin a window: error {code}")
        return window.value

    def end(self, window):
        lib().wt_meter_end(self._meter, window)

    def cancel(self, window):
        lib().wt_meter_cancel(self._meter, window)

    def result(self, window, wait_s):
        library, err, text = lib(), new_error(), ctypes.c_void_p()
        check(
            library.wt_meter_result_json(
                self._meter,
                self._devices,
                window,
                int(wait_s * 1e9),
                ctypes.byref(text),
                ctypes.byref(err),
            ),
            err,
        )
        document = ctypes.cast(text, ctypes.c_char_p).value.decode()
        _free(text)
        return json.loads(document)

    def close(self):
        library = lib()
        library.wt_meter_free(self._meter)
        library.wt_devices_free(self._devices)
        library.wt_ctx_free(self._ctx)
        self._meter = self._devices = self._ctx = ctypes.c_void_p()


def _free(pointer):
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(pointer)
