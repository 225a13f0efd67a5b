"""One flush for a batch of writes, by ``syncfs``, where it can be trusted.

A flush for each file and folder is what takes the time of a batch, though the file system puts them
all into one commit of its journal anyway. ``syncfs`` asks for that commit once. Three things speak
against it, and each is looked at, so that in doubt every file is flushed by itself:

- Only since Linux 5.8 it tells of writes that failed, and not on every file system.
- It flushes what others have written to that disk, too. So it is not used while much of that waits.
- Its error does not say whose write failed. The files are still open then and have not been asked,
  so their own flushes tell.
"""

import ctypes
import os
import re
import sys
from functools import cache
from pathlib import Path

_TRUSTED = {"ext4", "xfs"}
_TELLS_OF_ERRORS = (5, 8)
_MUCH = 8 * 1024  # KB; a slow disk writes that in a tenth of a second
_WAITING = re.compile(rb"^(?:Dirty|Writeback): +(\d+) kB$", re.MULTILINE)
_MEMORY = Path("/proc/meminfo")


class FileSystem:
    """What holds the root, as far as it can be flushed as a whole.

    Args:
        root: Descriptor of a directory there.
        kind: The type of the file system, as the system calls it.
    """

    def __init__(self, root: int, kind: str) -> None:
        self._root = root
        self._trusted = kind in _TRUSTED and _tells_of_errors()

    def flush(self) -> bool:
        """Flush all that was written there; return false if each file has to be flushed."""
        return self._trusted and _little_waits() and _syncfs()(self._root) == 0


def _tells_of_errors() -> bool:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform == "linux" else None
    return version is not None and (int(version[1]), int(version[2])) >= _TELLS_OF_ERRORS


def _little_waits() -> bool:
    try:
        waiting = _WAITING.findall(_MEMORY.read_bytes())
    except OSError:
        return False
    return len(waiting) == 2 and sum(map(int, waiting)) <= _MUCH  # noqa: PLR2004 the two lines


@cache
def _syncfs() -> "ctypes._NamedFuncPointer":
    return ctypes.CDLL(None).syncfs
