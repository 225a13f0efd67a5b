"""Locks that processes of one machine share: 256 files that are never unlinked.

A lock file that is unlinked can be locked by one process while another makes a new one of the
same name, and then both hold "the" lock. So keys share a fixed set of files by their hash. Each
lock is taken on a descriptor of its own, because ``flock`` belongs to the open file: that also
keeps the threads of one process apart. It is given back explicitly, since a child forked in
between would hold a copy of the descriptor open.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b

from temporal_state.storage._files import PRIVATE, directory, unflushed

if sys.platform != "win32":
    import fcntl

    # Reading is enough for flock, so a group that may only read lock files can still lock.
    _LOCK = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def locked(root: int, keys: Iterable[str]) -> Iterator[None]:
    """Keep everyone else who locks one of ``keys`` below this root out for the length of a block.

    Locks are taken in sorted order, so two who want several never wait for each other.
    """
    names = {blake2b(key.encode(), digest_size=1).hexdigest() for key in keys}
    with ExitStack() as held:
        with directory(root, (PRIVATE, "locks"), unflushed) as folder:
            for name in sorted(names):
                held.enter_context(_hold(folder, name))
        yield


@contextmanager
def _hold(folder: int, name: str) -> Iterator[None]:
    lock = os.open(name, _LOCK, 0o666, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)
