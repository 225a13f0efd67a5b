"""Temporary files, in one directory for each open store, so that sweeping them is cheap and safe.

Temporary files beside their targets would have to be looked for in the whole tree after a crash,
and an age limit would have to guess whether their writer lives. Here the owner holds a lock on its
directory, which the kernel drops when the owner dies however it dies. So the cost of a sweep is the
number of dead owners, not of documents, and a living owner is never swept.
"""

import itertools
import os
import secrets
import sys
from contextlib import ExitStack, suppress

from temporal_state.storage._files import (
    FULL,
    PRIVATE,
    create,
    directory,
    open_directory,
    unflushed,
)

if sys.platform != "win32":
    import fcntl

_FOLDERS = (PRIVATE, "tmp")


class Session:
    """The temporary files of one open store.

    Attributes:
        folder: Descriptor of the directory that they are in.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._numbers = itertools.count()
        with directory(root, _FOLDERS, unflushed) as parent:
            self._name, self.folder = _claim(parent)

    @property
    def lost(self) -> bool:
        """Whether somebody has removed the directory."""
        return os.fstat(self.folder).st_nlink == 0

    def create(self, data: bytes) -> tuple[str, int]:
        """Write a new file; return its name and its descriptor, yet to be flushed."""
        name = str(next(self._numbers))
        try:
            return name, create(self.folder, name, data)
        except BaseException:
            self.discard(name)
            raise

    def probe(self) -> None:
        """Show that the file system still takes changes; raise its `OSError` if it does not."""
        try:
            name, file = self.create(b"")
        except OSError as error:
            if error.errno in FULL:  # it would, had it room
                return
            raise
        os.close(file)
        os.unlink(name, dir_fd=self.folder)

    def discard(self, name: str) -> None:
        """Remove a file; one that cannot be removed now is left to the sweep."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self.folder)

    def close(self) -> None:
        """Remove the directory and let go of it; what cannot be removed is left to the sweep."""
        with suppress(OSError), directory(self._root, _FOLDERS) as parent:
            _discard(parent, self._name, self.folder)
        with suppress(OSError):  # the lock goes with the descriptor, unless a fork has a copy
            fcntl.flock(self.folder, fcntl.LOCK_UN)
        os.close(self.folder)


def sweep(root: int) -> None:
    """Remove what dead owners left behind; what cannot be removed now can wait."""
    with suppress(OSError), directory(root, _FOLDERS) as parent:
        for name in os.listdir(parent):  # noqa: PTH208 - pathlib takes no descriptor
            with suppress(OSError):
                _sweep_one(parent, name)


def _sweep_one(parent: int, name: str) -> None:
    folder = open_directory(name, parent)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            _discard(parent, name, folder)
        finally:
            fcntl.flock(folder, fcntl.LOCK_UN)
    finally:
        os.close(folder)


def _discard(parent: int, name: str, folder: int) -> None:
    for file in os.listdir(folder):
        os.unlink(file, dir_fd=folder)
    os.rmdir(name, dir_fd=parent)


def _claim(parent: int) -> tuple[str, int]:
    while True:
        name = secrets.token_hex(16)
        os.mkdir(name, dir_fd=parent)
        with suppress(FileNotFoundError), ExitStack() as undo:
            folder = open_directory(name, parent)
            undo.callback(os.close, folder)
            if _lock_own(parent, name, folder):
                undo.pop_all()
                return name, folder


def _lock_own(parent: int, name: str, folder: int) -> bool:
    # Before the lock is ours, the directory looks like a dead owner's: a sweeper may have taken it.
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(folder))
