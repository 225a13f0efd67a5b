"""Reads a small file at once, in the event loop's own thread, if the system has it in memory.

To change threads takes ten times as long as such a read, and most of that is the loop's own time.
What a loop must never do is wait for a disk, and no time limit or guess can keep it from that. The
kernel can tell: it opens only what it need not look up, and says which pages are in memory, so that
none is asked for that is not. Nor is the time of access noted, for which the journal may be waited
for; and descriptors are closed by a thread, since the last one of a file that was replaced frees
what it took on the disk.

Whatever is not at hand, is no small regular file, lies on another file system, or is not to be had
this way, is left to a thread, which has the last word, and whose errors are those that callers
know. What may hold up an open besides, such as a scanner of viruses, does so once in a while only:
after a read that took long, or many that got nothing, there is none for a time.
"""

import ctypes
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from temporal_state.storage._openat2 import open_below, system_call

_TRUSTED = {"ext4", "xfs"}  # elsewhere a file system may wait all the same, or says that it would
_SMALL = 32 * 1024  # bytes; copied and hashed for their ETag in less than a loop's part of a hop
_LONG = 0.25  # seconds; less may be the wait for the interpreter
_MISSES = 64
_REST = 60.0
_KEPT_OPEN = 32
_CACHESTAT = 451  # since Linux 6.5, on every architecture

if sys.platform == "linux":
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOATIME
    _PAGE = os.sysconf("SC_PAGE_SIZE")


class Glance:
    """Reads files below a root without waiting for anything.

    Args:
        root: Descriptor of the directory; of this a copy is kept.
        kind: The type of its file system, as the system calls it.
        call: Calls a function in a thread some time; raises ``RuntimeError`` if it cannot.
    """

    def __init__(self, root: int, kind: str, call: Callable[[Callable[[], None]], object]) -> None:
        works = kind in _TRUSTED and hasattr(os, "RWF_NOWAIT")
        self._root = _Root(os.dup(root)) if works else None
        self._call = call
        self._open: deque[int] = deque()
        self._misses = 0
        self._rests_until = 0.0

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a file, or ``None``: a thread must look."""
        root, begun = self._root, time.monotonic()
        if root is None or begun < self._rests_until:
            return None
        try:
            data = self._read(root, key)
        except OSError:
            data = None
        self._misses = 0 if data is not None else self._misses + 1
        end = time.monotonic()
        if self._misses >= _MISSES or end - begun > _LONG:
            self._misses, self._rests_until = 0, end + _REST
        return data

    def close(self) -> None:
        """Read nothing any more; who is reading has the root until it has ended."""
        self._root = None
        self._close_all()

    def _read(self, root: "_Root", key: str) -> bytes | None:
        file = open_below(root.descriptor, key, _READ, cached=True)
        if file is None:
            return None
        try:
            found = os.fstat(file)
            small = stat.S_ISREG(found.st_mode) and found.st_size <= _SMALL
            return _in_memory(file, found.st_size) if small else None
        finally:
            self._put_away(file)

    def _put_away(self, file: int) -> None:
        self._open.append(file)
        if self._root is None:  # closed meanwhile, and the threads are gone
            self._close_all()
        elif len(self._open) % _KEPT_OPEN == 0:
            with suppress(RuntimeError):  # it is being closed, and will see to them
                self._call(self._close_all)

    def _close_all(self) -> None:
        while self._open:
            try:
                file = self._open.popleft()
            except IndexError:  # another thread was faster
                return
            os.close(file)


class _Root:
    """A descriptor that is closed when nobody has it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Pages(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cached", "dirty", "written", "evicted", "recently_evicted")
    )


_WHOLE = _Range(0, 0)


def _in_memory(file: int, size: int) -> bytes | None:
    pages = _Pages()
    call = system_call(ctypes.c_int, ctypes.POINTER(_Range), ctypes.POINTER(_Pages), ctypes.c_uint)
    if call(_CACHESTAT, file, _WHOLE, pages, 0) != 0 or pages.cached * _PAGE < size:
        return None
    data = bytearray(size + 1)
    if os.preadv(file, [data], 0, os.RWF_NOWAIT) != size:
        return None  # it has changed at this moment
    return bytes(memoryview(data)[:-1])
