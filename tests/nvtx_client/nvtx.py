"""A stand-in for NVIDIA's Python package nvtx, which is not in Debian: annotate() only, through the
injection library of $NVTX_INJECTION64_PATH, spoken to as NVTX 3's header does."""

import contextlib
import ctypes
import os

_CORE, _SIZE, _PUSH_A, _POP = 1, 16, 9, 11
_functions = (ctypes.c_void_p * _SIZE)()
_places = (ctypes.c_void_p * _SIZE)(
    *(ctypes.addressof(_functions) + i * ctypes.sizeof(ctypes.c_void_p) for i in range(_SIZE))
)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_uint))  # fmt: skip
def _get_table(module, table, size):
    if module != _CORE:
        return 0
    table[0] = ctypes.addressof(_places)
    size[0] = _SIZE
    return 1


class _Callbacks(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("get_table", ctypes.c_void_p)]


_callbacks = _Callbacks(ctypes.sizeof(_Callbacks), ctypes.cast(_get_table, ctypes.c_void_p))


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)
def _get_export_table(number):
    return ctypes.addressof(_callbacks) if number == 1 else None


_push = _pop = None
_path = os.environ.get("NVTX_INJECTION64_PATH")
if _path:
    _library = ctypes.CDLL(_path)
    if _library.InitializeInjectionNvtx2(_get_export_table):
        _push = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)(_functions[_PUSH_A])
        _pop = ctypes.CFUNCTYPE(ctypes.c_int)(_functions[_POP])


@contextlib.contextmanager
def annotate(message):
    """A range around the body."""
    if _push:
        _push(message.encode())
    try:
        yield
    finally:
        if _pop:
            _pop()
