"""Objects as rows of a PostgreSQL table, for any number of machines.

For those who run PostgreSQL beside Temporal already. Calls block in threads of the store's own, one
hop and mostly one round trip each; the driver is an extra, so it is imported when a store is made.
Updates of one process go through `Combiner`: those that wait together are one transaction, and many
writers of one object share one commit. Between processes the rows are locked.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from aiofiles.os import wrap

from temporal_state.errors import ConfigurationError, StoreError
from temporal_state.storage._combine import Combiner
from temporal_state.storage._keys import check_key, check_prefix
from temporal_state.storage._protocol import Change, Object, ObjectInfo

if TYPE_CHECKING:
    from temporal_state.storage._postgresql_address import Address
    from temporal_state.storage._postgresql_table import Table

T = TypeVar("T")

_WIDTH = 32  # rows that one transaction locks at most
_logger = logging.getLogger(__name__)


class PostgresStore:
    """Objects as rows of a table.

    The tables ``temporal_state_objects`` and ``temporal_state_commits`` are made at open if they
    are not there. Through a connection pooler use its session mode.

    Args:
        url: ``postgresql://user@host:port/database?schema=name``, with any parameter of libpq.
            Without ``schema`` the tables are where the user's search path finds them.
        connections: At most that many connections, made when needed.
        timeout: How long one call may take, reconnecting and all tries included.
        force: Take a server that runs with ``fsync = off``, which forgets when the power fails.

    Raises:
        ConfigurationError: The URL is none, or the driver is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 8,
        timeout: timedelta = timedelta(seconds=10),
        force: bool = False,
    ) -> None:
        if connections < 1 or timeout <= timedelta(0):
            raise ConfigurationError(
                f"{connections} connections and a timeout of {timeout} cannot work; both must be "
                "positive"
            )
        self._address = _parse(url)
        self._connections = connections
        self._timeout = timeout.total_seconds()
        self._force = force
        self._opening = threading.Lock()
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"PostgresStore({self.url!r})"

    @property
    def url(self) -> str:
        """The URL without passwords."""
        return self._address.url

    async def open(self) -> None:
        """Connect, and make the tables if need be. Idempotent.

        A user who may only read can open tables that are there; writes then raise.

        Raises:
            ConfigurationError: There is no such database, or the server cannot keep the contract.
            StorePermissionError: The server refuses this user, or the tables may not be made.
            StoreError: The server cannot be reached.
        """
        await wrap(self._open)()

    async def close(self) -> None:
        """Let calls in flight finish, then release threads and connections. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():  # else they are the parent's
            await wrap(opened.close)()

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        check_key(key)
        return await self._hop(lambda table: table.get(key))

    async def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of the object, or ``None`` if there is none."""
        check_key(key)
        return await self._hop(lambda table: table.head(key))

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object, perhaps on a condition, and return its new ETag."""
        check_key(key)
        data = bytes(data)
        return await self._hop(
            lambda table: table.put(key, data, if_match=if_match, if_absent=if_absent)
        )

    async def update(self, key: str, change: Change) -> None:
        """Read, change and write one object as one step."""
        check_key(key)
        opened = self._ready()
        try:
            future = opened.combiner.submit(key, change)
        except RuntimeError as error:
            raise self._closed() from error
        await future

    async def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one."""
        check_key(key)
        return await self._hop(lambda table: table.delete(key))

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag now; return whether it had."""
        check_key(key)
        return await self._hop(lambda table: table.delete_if_match(key, etag))

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix`` and are greater than ``after``, in order."""
        check_prefix(prefix)
        check_prefix(after)
        return await self._hop(lambda table: table.list(prefix, after, limit))

    async def _hop(self, call: "Callable[[Table], T]") -> T:
        opened = self._ready()
        try:
            return await wrap(call)(opened.table, executor=opened.pool)
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
                f"the store {self.url} was opened in the parent of this process; connections "
                "cannot be shared across a fork: open a store of its own in each process"
            )
        return opened

    def _closed(self) -> StoreError:
        return StoreError(f"the store {self.url} is closed; call open() before using it")

    def _open(self) -> None:
        with self._opening:
            if self._opened is not None and self._opened.pid == os.getpid():
                return
            opened = _Opened(self._address, self._connections, self._timeout, force=self._force)
            try:
                opened.table.prepare()
            except BaseException:
                opened.close()
                raise
            self._opened = opened
        _logger.info("opened the store %s", self.url)


class _Opened:
    """What lives from open to close."""

    def __init__(
        self, address: "Address", connections: int, timeout: float, *, force: bool
    ) -> None:
        from temporal_state.storage._postgresql_link import Link  # noqa: PLC0415 - an extra
        from temporal_state.storage._postgresql_sql import Statements  # noqa: PLC0415 - an extra
        from temporal_state.storage._postgresql_table import Table  # noqa: PLC0415 - an extra

        statements = Statements(address.schema)
        self._link = Link(address, statements.claim, timeout)
        self.table = Table(self._link, statements, address.schema, force=force)
        self.pid = os.getpid()
        self.pool = ThreadPoolExecutor(connections, thread_name_prefix="temporal-state-postgresql")
        jobs = max(connections // 2, 1)  # the other threads are for reading
        self.combiner = Combiner(self.table.commit, self.pool, jobs=jobs, width=_WIDTH)

    def close(self) -> None:
        self.pool.shutdown()  # waits for the calls in flight, so no connection is in use
        self._link.close()


def _parse(url: str) -> "Address":
    try:
        from temporal_state.storage._postgresql_address import parse  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "postgresql:// needs a driver that is not installed: "
            "pip install 'temporal-state[postgresql]'"
        ) from error
    return parse(url)
