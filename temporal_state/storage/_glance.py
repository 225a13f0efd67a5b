"""Reads a small file at once, in the event loop's own thread, if the system has it in memory.

To change threads takes ten times as long as such a read, and most of that is the loop's own time.
What a loop must never do is wait for a disk, and no time limit or guess can keep it from that. The
kernel can: it opens only what it need not look up, and reads only pages that are in memory. Nor is
the time of access noted, for which the journal may be waited for.

Whatever is not at hand, is no small regular file, or is not to be had this way, is left to a
thread, which has the last word, and whose errors are those that callers know.
"""

import errno
import os
import stat
import sys
import threading

from temporal_state.storage._openat2 import open_below

_TRUSTED = {"ext4", "xfs"}  # elsewhere a file system may wait all the same, or says that it would
_SMALL = 64 * 1024  # bytes, which are copied in some 10 us

if sys.platform == "linux":
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOATIME


class Glance:
    """Reads files below a root without waiting for anything.

    Args:
        root: Descriptor of the directory.
        kind: The type of its file system, as the system calls it.
    """

    def __init__(self, root: int, kind: str) -> None:
        self._root = root
        self._works = kind in _TRUSTED and hasattr(os, "RWF_NOWAIT")
        self._lock = threading.Lock()  # so that the root is not closed under a reader

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a file, or ``None``: a thread must look."""
        if not self._works or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._read(key) if self._works else None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                self._works = False
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """Read nothing any more; when this returns the root may be closed."""
        with self._lock:
            self._works = False

    def _read(self, key: str) -> bytes | None:
        file = open_below(self._root, key, _READ, cached=True)
        if file is None:
            return None
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _SMALL:
                return None
            data = bytearray(found.st_size + 1)
            if os.preadv(file, [data], 0, os.RWF_NOWAIT) != found.st_size:
                return None  # a part of it is on the disk, or it grows at this moment
        finally:
            os.close(file)
        return bytes(memoryview(data)[:-1])
