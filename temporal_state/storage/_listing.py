"""The keys below a root in order, read from as few directories as the question allows.

Sorting the whole tree would make each page cost as much as all of them. A walk in the order of the
keys stops after a page, and leaves out every folder that lies before the start or beside the
prefix. A folder sorts as its name and ``/``, since that is what its keys have at this place.
"""

import errno
import os
from collections.abc import Generator, Iterator, Sequence

from temporal_state.storage._files import descend
from temporal_state.storage._keys import is_key

# A folder that goes away meanwhile, or that was never one (a file or a symbolic link).
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def keys(root: int, prefix: str, after: str) -> Generator[str]:
    """Yield the keys that start with ``prefix`` and are greater than ``after``, in order.

    Close it to release its descriptors early.
    """
    *folders, _ = prefix.split("/")
    path = "".join(f"{name}/" for name in folders)
    return _walk(_enter(root, folders), path, prefix, after)


def _walk(folder: int | None, path: str, prefix: str, after: str) -> Generator[str]:
    if folder is None:
        return
    try:
        for key in sorted(_entries(folder, path, prefix, after)):
            if not is_key(key.removesuffix("/")):  # looked at last: a page needs few of many
                continue
            if key.endswith("/"):
                below = _enter(folder, [key[len(path) : -1]])
                yield from _walk(below, key, prefix, after)
            else:
                yield key
    finally:
        os.close(folder)


def _enter(folder: int, names: Sequence[str]) -> int | None:
    try:
        return descend(folder, names)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def _entries(folder: int, path: str, prefix: str, after: str) -> Iterator[str]:
    wanted = prefix[len(path) :]  # what is left of the prefix at this place: a part of a name
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not name.startswith(wanted):
                continue
            key = path + name
            if entry.is_dir(follow_symlinks=False):
                if f"{key}/" > after or after.startswith(f"{key}/"):
                    yield f"{key}/"
            elif key > after and entry.is_file(follow_symlinks=False):
                yield key
