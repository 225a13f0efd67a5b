"""File primitives that a hostile tree cannot lead astray, and that tell the truth about flushes.

Every path is walked from an open descriptor of the root, one segment at a time, and no step
follows a symbolic link. To resolve a path first and open it afterwards looks simpler, but a link
that is flipped in between escapes. Only regular files are read, so a FIFO cannot hang a reader.

A write is acknowledged after the file, then its name, were flushed. A failed flush is never tried
again: the kernel has dropped the pages by then, and a second call would report success.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

from temporal_state.errors import (
    DamagedObjectError,
    StateError,
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.storage._openat2 import open_below

if sys.platform != "win32":  # importable there, so that memory and object storage work
    import fcntl

    _DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    _CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

PRIVATE = ".temporal_state"  # holds locks and temporary files; no key can spell it

_PRUNE_RACES = 100  # each lost one means that another delete emptied the folder at that moment
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_KIND = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV}
_REMEDIES = {
    errno.EXDEV: "keep everything below the root on one file system",
    errno.EMFILE: "raise the limit of open files, or close what is not needed",
    errno.ENFILE: "raise the system's limit of open files",
    errno.EIO: "look for disk errors in the system's log; read the object before trying again",
}


Made: TypeAlias = Callable[[int], None]
"""Is told the parent of a directory that was made, while its descriptor is open."""


def open_directory(name: str, parent: int | None = None) -> int:
    """Return a descriptor of a directory; a symbolic link in its place is an error."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def descend(root: int, names: Sequence[str], made: Made | None = None) -> int:
    """Return a new descriptor of the directory that ``names`` lead to from ``root``.

    Args:
        root: Descriptor of the directory to start from.
        names: One after the other.
        made: Makes what is missing, and is told of each directory that is durable only when its
            parent is flushed. Without it what is missing is an error.
    """
    try:
        found = open_below(root, "/".join(names), _DIRECTORY)
    except FileNotFoundError:
        if made is None:
            require_root(root)
            raise
        found = None
    return _walk(root, names, made) if found is None else found


def _walk(root: int, names: Sequence[str], made: Made | None) -> int:
    here = os.dup(root)
    try:
        for name in names:
            below = open_directory(name, here) if made is None else _enter(here, name, made)
            here, above = below, here
            os.close(above)
    except BaseException as error:
        os.close(here)
        if isinstance(error, FileNotFoundError):
            require_root(root)
        raise
    return here


@contextmanager
def directory(root: int, names: Sequence[str], made: Made | None = None) -> Iterator[int]:
    """Hold the descriptor of `descend` for the length of a block."""
    descriptor = descend(root, names, made)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def unflushed(_parent: int) -> None:
    """Stand for ``made`` where the directories need not outlive a power loss."""


def _enter(parent: int, name: str, made: Made) -> int:
    # A directory that another writer made a moment ago needs no flush of ours: journals keep
    # order, so the flush of a file inside it takes the older entry of the directory along.
    try:
        return open_directory(name, parent)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
        made(parent)
        return open_directory(name, parent)


def read(root: int, key: str) -> bytes | None:
    """Return the bytes of a regular file, or ``None`` if there is no such name."""
    try:
        file = _open(root, key)
    except FileNotFoundError:
        require_root(root)
        return None
    try:
        return _read_all(file, _regular(os.fstat(file), key).st_size)
    finally:
        os.close(file)


def _open(root: int, key: str) -> int:
    file = open_below(root, key, _READ)
    if file is None:
        *folders, name = key.split("/")
        with directory(root, folders) as folder:
            file = os.open(name, _READ, dir_fd=folder)
    return file


def _read_all(file: int, size: int) -> bytes:
    data = os.read(file, size + 1)
    if len(data) == size:  # all of it, and one byte more was not there
        return data
    pieces = [data]
    while piece := os.read(file, size + 1):
        pieces.append(piece)
    return b"".join(pieces)


def status(root: int, key: str) -> os.stat_result | None:
    """Return what the file system knows of a regular file, or ``None`` if it is not there."""
    *folders, name = key.split("/")
    try:
        with directory(root, folders) as folder:
            return _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), key)
    except FileNotFoundError:
        require_root(root)
        return None


def _regular(found: os.stat_result, key: str) -> os.stat_result:
    if stat.S_ISREG(found.st_mode):
        return found
    kind = stat.filemode(found.st_mode)
    raise DamagedObjectError(
        f"{key!r} is no regular file ({kind}), so it is no object; move it out of the store"
    )


def create(folder: int, name: str, data: bytes) -> int:
    """Write a new file; return its open descriptor, yet to be flushed."""
    file = os.open(name, _CREATE, 0o666, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:  # a limit or a full disk may cut a write short before it is an error
            rest = rest[os.write(file, rest) :]
    except BaseException:
        os.close(file)
        raise
    return file


def place(root: int, key: str, source: int, temporary: str) -> Sequence[int]:
    """Rename a temporary file to its key, and make its folders if need be.

    Returns:
        Open descriptors of all directories to flush before the name is durable.
    """
    *folders, name = key.split("/")
    for _ in range(_PRUNE_RACES):
        touched: list[int] = []
        try:
            touched.append(descend(root, folders, lambda made: touched.append(os.dup(made))))  # noqa: B023 - called before the next round
            os.rename(temporary, name, src_dir_fd=source, dst_dir_fd=touched[-1])
        except BaseException as error:
            close(touched)
            if not isinstance(error, FileNotFoundError):
                raise
            require_root(root)
        else:
            return touched
    raise StoreError(
        f"cannot write {key!r}: its folder or temporary file vanishes whenever it is made; "
        "stop whatever removes files below the root"
    )


def remove(root: int, key: str) -> bool:
    """Remove a regular file for good, and folders that are empty then."""
    *folders, name = key.split("/")
    try:
        with directory(root, folders) as folder:
            _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), key)
            os.unlink(name, dir_fd=folder)
            sync(folder)
    except FileNotFoundError:
        require_root(root)
        return False
    _prune(root, folders)
    return True


def _prune(root: int, folders: Sequence[str]) -> None:
    # The object is gone already, so whatever ends the way up (as a rule ENOTEMPTY) is no failure.
    with suppress(OSError):
        for depth in range(len(folders) - 1, -1, -1):
            with directory(root, folders[:depth]) as parent:
                os.rmdir(folders[depth], dir_fd=parent)


def close(descriptors: Iterable[int]) -> None:
    """Close each of some descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Flush a file or a directory to the disk itself."""
    if sys.platform == "darwin":  # fsync leaves the data in the drive's cache there
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def require_root(root: int) -> None:
    """Tell "nothing there" from "everything gone".

    Raises:
        StoreError: The root directory itself was removed.
    """
    if os.fstat(root).st_nlink == 0:
        raise StoreError(
            "the root directory of the store was removed while the store was open; restore it and "
            "open the store again"
        )


@contextmanager
def reporting(action: str, key: str) -> Iterator[None]:
    """Turn the `OSError` of a block into an error of this package; see `store_error`."""
    try:
        yield
    except StateError:
        raise
    except OSError as error:
        raise store_error(error, action, key) from error


def store_error(error: OSError, action: str, key: str) -> StoreError:
    """Return the error of this package for one of the system.

    Args:
        error: What the system said.
        action: What was tried, as in "cannot ``action``".
        key: What it was tried with.
    """
    what = f"cannot {action} {key!r}: {error.strerror}"
    if error.errno in FULL:
        return StoreFullError(f"{what}; free space, or raise the quota or file size limit")
    if error.errno in _DENIED:
        return StorePermissionError(f"{what}; check owner, mode and mount options of the root")
    if error.errno == errno.ETIMEDOUT:
        return StoreTimeoutError(f"{what}; read the object before trying again")
    if error.errno in _WRONG_KIND:
        return DamagedObjectError(
            f"{what}; something else (a symbolic link, say) is in the place of a file or folder of "
            "the store: move it away"
        )
    remedy = _REMEDIES.get(error.errno or 0, "look into the system's log, then try again")
    return StoreError(f"{what}; {remedy}")
