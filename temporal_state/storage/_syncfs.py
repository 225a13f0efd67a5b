"""One flush for a batch of writes, by ``syncfs``, where it can be trusted.

A flush for each file and folder is what takes the time of a batch, though the file system puts them
all into one commit of its journal anyway. ``syncfs`` asks for that commit once. Four things speak
against it, and each is seen to; in doubt every file is flushed by itself.

- Only since Linux 5.8 it tells of data that could not be written, and not on every file system.
- It flushes what others have written to that disk, too. So it is not used while much of that waits.
- Its error does not say whose data it was. The files are still open then and have not been asked,
  so their own flushes tell.
- Many kernels say nothing of a journal that has ended, and then not even the flush of a folder
  does. But a journal that has ended takes no change any more. So names count as durable only if
  the file system still takes one after their flush.
"""

import ctypes
import os
import re
import sys
from pathlib import Path

_TRUSTED = {"ext4", "xfs"}
_TELLS_OF_ERRORS = (5, 8)
_MUCH = 8 * 1024  # KB, which a disk of 80 MB/s writes in a tenth of a second
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
        trusted = kind in _TRUSTED and _tells_of_errors()
        self._syncfs = (
            getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if trusted else None
        )

    @property
    def can_flush(self) -> bool:
        """Whether it can be flushed as a whole now."""
        return self._syncfs is not None and _little_waits()

    def flush(self) -> None:
        """Flush all that was written there.

        Raises:
            OSError: Something could not be written, by whomever it was.
        """
        assert self._syncfs is not None
        if self._syncfs(self._root) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def _tells_of_errors() -> bool:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform == "linux" else None
    return version is not None and (int(version[1]), int(version[2])) >= _TELLS_OF_ERRORS


def _little_waits() -> bool:
    try:
        waiting = _WAITING.findall(_MEMORY.read_bytes())
    except OSError:
        return False
    return len(waiting) == 2 and sum(map(int, waiting)) <= _MUCH  # noqa: PLR2004 the two lines
