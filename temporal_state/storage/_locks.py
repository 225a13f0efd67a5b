"""Locks that processes of one machine share: 256 files that are never unlinked.

A lock file that is unlinked can be locked by one process while another makes a new one of the
same name, and then both hold "the" lock. So keys share a fixed set of files by their hash. Each
lock is taken on a descriptor of its own, because ``flock`` belongs to the open file: that also
keeps the threads of one process apart. It is given back explicitly, since a child forked in
between would hold a copy of the descriptor open.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from temporal_state.storage._files import PRIVATE, directory

if sys.platform != "win32":
    import fcntl

    # Reading is enough for flock, so a group that may only read lock files can still lock.
    _LOCK = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def locked(root: int, key: str) -> Iterator[None]:
    """Keep everyone else who locks ``key`` below this root out for the length of a block."""
    name = blake2b(key.encode(), digest_size=1).hexdigest()
    with directory(root, (PRIVATE, "locks"), make=True) as folder:
        lock = os.open(name, _LOCK, 0o666, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)
