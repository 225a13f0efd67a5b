"""Objects as plain files below one root directory, for the processes of one machine.

The embedded default. Everything that blocks is in `_Opened`, and one call is one hop to its pool,
never one per system call: a hop costs more than most of them. Only a small file that is in memory
is read without one; see `Glance`. Each store has a pool of its own, so that a slow disk cannot hold
up what else the process does in the loop's default threads.

Writes go through `Combiner`: changes that wait together are one commit of `Writer`, so they share
flushes, and a key that everyone writes takes one thread, not all of them.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from aiofiles.os import wrap

from temporal_state.errors import ConfigurationError, StateError, StoreError
from temporal_state.storage import _files
from temporal_state.storage._arrivals import in_thread
from temporal_state.storage._combine import Combiner
from temporal_state.storage._etags import conditional, etag_of
from temporal_state.storage._glance import Glance
from temporal_state.storage._keys import check_key, check_prefix
from temporal_state.storage._listing import keys
from temporal_state.storage._locks import locked
from temporal_state.storage._mounts import file_system, is_network
from temporal_state.storage._protocol import Change, Object, ObjectInfo
from temporal_state.storage._session import sweep
from temporal_state.storage._syncfs import FileSystem
from temporal_state.storage._writer import Writer

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16
_COMMITS = 1  # two of one process would wait for each other's locks
_WIDTH = 32  # each object of a commit holds a descriptor or two, and some systems allow 256
_logger = logging.getLogger(__name__)


class LocalStore:
    """Objects as files below a directory.

    Args:
        root: The directory; made at open if it is not there.
        force: Take a network file system as root. Locks may not work there, and then updates
            are lost without an error.
    """

    def __init__(self, root: str | os.PathLike[str], *, force: bool = False) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - pathlib has no equivalent
        self._force = force
        self._opening = threading.Lock()
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    @property
    def root(self) -> Path:
        """The absolute root; once opened, without symbolic links."""
        return self._root

    @property
    def url(self) -> str:
        """The root as a file URL."""
        return self._root.as_uri()

    async def open(self) -> None:
        """Make the root if need be, and get ready. Idempotent.

        A root that is read-only can be opened and read; writes then raise.

        Raises:
            ConfigurationError: On Windows, on a network file system, or if the root is a file.
            StoreError: The root cannot be made or read.
        """
        if sys.platform == "win32":
            raise ConfigurationError(
                "local files need POSIX locks, which Windows lacks; use memory:// or object storage"
            )
        await wrap(self._open)()

    async def close(self) -> None:
        """Let calls in flight finish, then release threads and descriptors. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():  # else they are the parent's
            await wrap(opened.close)()

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        check_key(key)
        data = self._ready().glance.read(key)
        if data is None:
            return await self._hop(_Opened.get, key)
        await asyncio.sleep(0)  # who reads in a loop must let others run
        return Object(data, etag_of(data))

    async def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of the object, or ``None`` if there is none."""
        return await self._hop(_Opened.head, check_key(key))

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object, perhaps on a condition, and return its new ETag."""
        data = bytes(data)
        await self.update(key, conditional(key, data, if_match=if_match, if_absent=if_absent))
        return etag_of(data)

    def update(self, key: str, change: Change) -> Awaitable[None]:
        """Read, change and write one object as one step."""
        try:
            return self._submit(check_key(key), change)
        except StateError as error:
            return _raise(error)  # where it is awaited, as from a coroutine

    def _submit(self, key: str, change: Change) -> "asyncio.Future[None]":
        asyncio.get_running_loop()  # without one it is the caller's mistake
        opened = self._ready()
        try:
            return opened.combiner.submit(key, change)
        except RuntimeError as error:
            raise self._closed() from error

    async def delete(self, key: str) -> bool:
        """Remove the object, and folders that are empty then; return whether there was one."""
        return await self._hop(_Opened.delete, check_key(key))

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag now; return whether it had."""
        return await self._hop(_Opened.delete_if_match, check_key(key), etag)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix`` and are greater than ``after``, in order."""
        return await self._hop(_Opened.list, check_prefix(prefix), check_prefix(after), limit)

    async def _hop(
        self,
        function: Callable[Concatenate["_Opened", P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        opened = self._ready()
        try:
            return await in_thread(opened.pool, function, opened, *args, **kwargs)
        except RuntimeError as error:
            if self._opened is opened:
                raise
            raise self._closed() from error

    def _ready(self) -> "_Opened":
        opened = self._opened
        if opened is None:
            raise self._closed()
        if opened.pid != os.getpid():
            raise ConfigurationError(
                f"the store at {self._root} was opened in the parent of this process; locks are "
                "not kept across a fork: open a store of its own in each process"
            )
        return opened

    def _closed(self) -> StoreError:
        # Worth a retry, though it looks like the caller's mistake: a worker that is stopped in a
        # hurry closes its store under activities that still run, and another one takes them over.
        return StoreError(f"the store at {self._root} is closed; call open() before using it")

    def _open(self) -> None:
        with self._opening:
            if self._opened is not None and self._opened.pid == os.getpid():
                return
            with _files.reporting("open the root", str(self._root)):
                root = Path(os.path.realpath(self._root))
                kind = file_system(str(root))
                self._refuse_network(root, kind)
                self._opened = _Opened(_open_root(root), kind)
            self._root = root
        _logger.info("opened the store at %s", root)

    def _refuse_network(self, root: Path, kind: str) -> None:
        if is_network(kind) and not self._force:
            raise ConfigurationError(
                f"{root} is on a network file system ({kind}), where locks between machines cannot "
                "be trusted; use a local disk or object storage, or LocalStore(root, force=True) "
                "if only one machine ever uses it"
            )


class _Opened:
    """What lives from open to close, and the blocking half of each call."""

    def __init__(self, root: int, kind: str) -> None:
        self._root = root
        self._writer = Writer(root, FileSystem(root, kind))
        self.pid = os.getpid()
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="temporal-state-local")
        self.glance = Glance(root, kind, self.pool.submit)
        self.combiner = Combiner(self._writer.commit, self.pool, jobs=_COMMITS, width=_WIDTH)
        sweep(root)

    def get(self, key: str) -> Object | None:
        with _files.reporting("read", key):
            data = _files.read(self._root, key)
        return None if data is None else Object(data, etag_of(data))

    def head(self, key: str) -> ObjectInfo | None:
        with _files.reporting("look up", key):
            found = _files.status(self._root, key)
        if found is None:
            return None
        return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def delete(self, key: str) -> bool:
        with _files.reporting("delete", key), locked(self._root, [key]):
            return _files.remove(self._root, key)

    def delete_if_match(self, key: str, etag: str) -> bool:
        with _files.reporting("delete", key), locked(self._root, [key]):
            data = _files.read(self._root, key)
            return data is not None and etag_of(data) == etag and _files.remove(self._root, key)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        with _files.reporting("list", prefix):
            with closing(keys(self._root, prefix, after)) as found:
                page = [*islice(found, max(limit, 0))]
            _files.require_root(self._root)
        return page

    def close(self) -> None:
        self.pool.shutdown()  # waits for the calls in flight, so no descriptor goes from under one
        self.glance.close()
        self._writer.close()
        os.close(self._root)


async def _raise(error: StateError) -> None:
    raise error


def _open_root(root: Path) -> int:
    try:
        _make_durably(root)
        return _files.open_directory(str(root))
    except NotADirectoryError as error:
        raise ConfigurationError(
            f"{root} cannot be the root, a file is in the way; name a directory"
        ) from error


def _make_durably(root: Path) -> None:
    if root.is_dir():
        return
    _make_durably(root.parent)
    with suppress(FileExistsError):
        root.mkdir()
    parent = os.open(root.parent, os.O_RDONLY)
    try:
        _files.sync(parent)
    finally:
        os.close(parent)
