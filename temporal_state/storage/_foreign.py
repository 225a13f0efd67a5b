"""Reads a tree of files that somebody else made, without being led out of it.

Its names are not ours, so they are no keys, and the store cannot list them. They are walked as keys
are: from an open descriptor, one segment at a time, following no link, and reading regular files
only.
"""

import asyncio
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from temporal_state.errors import DamagedObjectError
from temporal_state.storage import _files
from temporal_state.storage._protocol import ObjectStore

_DEEPEST = 32

Names = Sequence[str]


def root_of(store: ObjectStore) -> Path | None:
    """Return the directory that a store keeps its objects in, transformed or not."""
    url = urlsplit(store.url)
    return Path(unquote(url.path)) if url.scheme == "file" else None


class ForeignTree:
    """The files of one name below a directory.

    Args:
        root: The directory; links on the way to it are followed, none below it is.
        file: The files' name.
    """

    def __init__(self, root: str | os.PathLike[str], file: str) -> None:
        self.root = Path(os.path.realpath(root))
        self._file = file

    async def folders(self, below: Names) -> Sequence[tuple[str, ...]]:
        """Return the folders below some folder that have such a file, or a link of its name.

        Also returned are links to folders: whoever reads one is told that it is no file.
        """
        return await asyncio.to_thread(self._folders, below)

    async def read(self, folder: Names, limit: int) -> bytes:
        """Return a folder's file.

        Raises:
            DamagedObjectError: It is no regular file, lies behind a link, or has more than
                ``limit`` bytes.
            StoreError: It cannot be read.
        """
        return await asyncio.to_thread(self._read, folder, limit)

    def _folders(self, below: Names) -> Sequence[tuple[str, ...]]:
        with _files.reporting("walk", str(self.root)):
            try:
                root = _files.open_directory(str(self.root))
            except FileNotFoundError:
                return []
            try:
                os.close(_files.descend(root, below))  # a link here is an error, not an empty tree
                with closing(_walk(root, tuple(below), self._file, _DEEPEST)) as found:
                    return sorted(found)
            except FileNotFoundError:
                return []
            finally:
                os.close(root)

    def _read(self, folder: Names, limit: int) -> bytes:
        name = "/".join([*folder, self._file])
        with _files.reporting("read", ascii(name)):
            root = _files.open_directory(str(self.root))
            try:
                found = _files.status(root, name)
                if found is not None and found.st_size > limit:
                    raise DamagedObjectError(
                        f"{name!a} has {found.st_size} bytes, the limit is {limit}; open the "
                        "backend with other limits"
                    )
                data = _files.read(root, name)
            finally:
                os.close(root)
        if data is None:
            raise DamagedObjectError(f"{name!a} is not there any more; list the tree again")
        return data


def _walk(root: int, path: tuple[str, ...], file: str, depth: int) -> Generator[tuple[str, ...]]:
    try:
        folder = _files.descend(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = os.listdir(folder)  # noqa: PTH208 - pathlib takes no descriptor
        modes = {name: _mode(folder, name) for name in names}
    finally:
        os.close(folder)
    if file in modes and not stat.S_ISDIR(modes[file]):
        yield path
    for name, mode in modes.items():
        if stat.S_ISLNK(mode) and name != file:
            yield (*path, name)
        elif stat.S_ISDIR(mode) and depth:
            yield from _walk(root, (*path, name), file, depth - 1)


def _mode(folder: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
