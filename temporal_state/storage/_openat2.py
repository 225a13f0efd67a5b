"""Opens what lies deep below a directory in one system call, following no symbolic link on the way.

A walk segment by segment is as safe, but takes two calls for each, and each lets go of the
interpreter, so a thread that reads a small file spends most of its time getting it back. Only what
the kernel has opened counts: whatever else it says but that nothing is there, or if it is too old
or forbidden to be asked, the walk has the last word, and its errors are those that callers know.
"""

import ctypes
import errno
import os
import sys
from functools import cache

_NUMBER = 437  # on every architecture
_NO_SYMLINKS = 0x04
_ONE_FILE_SYSTEM = 0x01
_CACHED = 0x20  # since Linux 5.12; before, the kernel refuses the call
_AT_HAND = _NO_SYMLINKS | _ONE_FILE_SYSTEM | _CACHED


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_below(folder: int, path: str, flags: int, *, cached: bool = False) -> int | None:
    """Return a descriptor of what is at a path of real directories, or ``None``: walk there.

    Args:
        folder: Descriptor of the directory to start from.
        path: Names joined by ``/``, none of them empty, ``.`` or ``..``.
        flags: Those of ``open``, without a creation.
        cached: Only what the kernel need not look up on a disk, and not on another one.

    Raises:
        FileNotFoundError: One of the names is not there.
    """
    if sys.platform != "linux" or not path:
        return None
    how = _how(flags, _AT_HAND if cached else _NO_SYMLINKS)
    call = system_call(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_How), ctypes.c_size_t)
    found = int(call(_NUMBER, folder, os.fsencode(path), how, ctypes.sizeof(how)))
    if found >= 0:
        return found
    if ctypes.get_errno() == errno.ENOENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return None


@cache
def system_call(*types: type["ctypes._CDataType"]) -> "ctypes._NamedFuncPointer":
    """Return what makes a system call that Python has not; for an error it returns -1.

    Args:
        *types: Those of its arguments, which follow its number.
    """
    call = ctypes.CDLL(None, use_errno=True)["syscall"]
    call.restype = ctypes.c_long
    call.argtypes = (ctypes.c_long, *types)
    return call


@cache
def _how(flags: int, resolve: int) -> _How:
    return _How(flags, 0, resolve)
