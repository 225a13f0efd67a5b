"""Objects in a bucket of S3, Google Cloud Storage or Azure, for the processes of many machines.

Every change is a conditional write of its own (`_cas`). Changes of one key that wait together in a
process become one commit (`Combiner`), since a round trip to a bucket is long and its rate of
commits to one object is low; only processes ever compete. Keys have commits side by side.

The client's calls block, in a pool of the store's own.
"""

import asyncio
import logging
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from temporal_state.errors import ConfigurationError, StoreError
from temporal_state.storage._keys import check_key, check_prefix
from temporal_state.storage._location import Location
from temporal_state.storage._protocol import Change, Object, ObjectInfo

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

    from temporal_state.storage._connection import Connection

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_used_by: int | None = None  # the process in which the client was first used


class ObjectStorage:
    """Objects in a bucket or container, below a prefix.

    Opening it writes a few small objects, to see that conditional writes are honoured, and removes
    them. The tests run on S3 (SeaweedFS) and Azure (Azurite); Google Cloud Storage goes through the
    same client and the same code, but no test has run on it.

    Two processes that change one object at the same time each try again until they come through.
    The bytes of an object should differ each time they change, as documents do: where ETags are
    made of the content, bytes that return to what they were look as if nobody had touched them.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. After
            ``?``, S3 takes ``endpoint``, ``region``, ``virtual_hosted_style_request`` and
            ``skip_signature``, Azure ``endpoint`` and ``account_name``. Credentials and everything
            else come from the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``).
        client: A store made with `obstore`, bucket and prefix included, instead of what the
            environment says; ``url`` is its name then. Turn its retries off
            (``retry_config={"max_retries": 0, ...}``) and keep its ``timeout`` below ours.
        timeout: How long one call may go on trying.

    Raises:
        ConfigurationError: The URL is none of those, or `obstore` is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        client: "Client | None" = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._location = Location.parse(url)
        self._client = client
        self._timeout = timeout
        self._opening = threading.Lock()
        self._opened: Connection | None = None
        _connection()  # a missing client should be known here, not when the worker starts

    def __repr__(self) -> str:
        return f"ObjectStorage({self.url!r})"

    @property
    def url(self) -> str:
        """The URL, without anything secret."""
        return str(self._location)

    async def open(self) -> None:
        """Connect, and try out what the server must be able to do. Idempotent.

        Raises:
            ConfigurationError: There is no such bucket, the server ignores conditions, or this
                process was forked from one that used object storage.
            StorePermissionError: The credentials do not allow it.
            StoreTimeoutError: The server does not answer.
        """
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Let calls in flight finish, then release the threads. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():  # else they are the parent's
            await asyncio.to_thread(opened.close)

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        check_key(key)
        return await self._hop(lambda opened: opened.get(key))

    async def head(self, key: str) -> ObjectInfo | None:
        """Return size and time of the object, or ``None`` if there is none."""
        check_key(key)
        return await self._hop(lambda opened: opened.head(key))

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object, perhaps on a condition, and return its new ETag."""
        check_key(key)
        data = bytes(data)
        if if_match is None and not if_absent:
            return await self._hop(lambda opened: opened.put(key, data))
        opened = self._ready()
        change, receipt = opened.committer.putting(
            key, data, if_match=if_match, if_absent=if_absent
        )
        await self._submit(opened, key, change)
        # Changed again within the same commit, our bytes never had an ETag; so none will match.
        return receipt.etag or f"replaced-{secrets.token_hex(8)}"

    async def update(self, key: str, change: Change) -> None:
        """Read, change and write one object as one step."""
        await self._submit(self._ready(), check_key(key), change)

    async def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one just before."""
        check_key(key)
        return await self._hop(lambda opened: opened.delete(key))

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix`` and are greater than ``after``, in order.

        Reads no more than the page where the server lists in order and can start anywhere, as S3
        does; else everything in the folder that the prefix names.
        """
        check_prefix(prefix)
        check_prefix(after)
        return await self._hop(lambda opened: opened.list(prefix, after, max(limit, 0)))

    async def _submit(self, opened: "Connection", key: str, change: Change) -> None:
        try:
            future = opened.combiner.submit(key, change)
        except RuntimeError as error:
            raise self._closed() from error
        await future

    async def _hop(self, call: "Callable[[Connection], T]") -> T:
        opened = self._ready()
        try:
            future = opened.pool.submit(call, opened)
        except RuntimeError as error:
            raise self._closed() from error
        return await asyncio.wrap_future(future)

    def _ready(self) -> "Connection":
        opened = self._opened
        if opened is None:
            raise self._closed()
        if opened.pid != os.getpid():
            raise self._forked()
        return opened

    def _closed(self) -> StoreError:
        return StoreError(f"the store at {self.url} is closed; call open() before using it")

    def _open(self) -> None:
        with self._opening:
            if self._opened is not None and self._opened.pid == os.getpid():
                return
            self._claim_process()
            self._opened = _connection().Connection(self._location, self._client, self._timeout)
        _logger.info("opened the store at %s", self.url)

    def _claim_process(self) -> None:
        global _used_by  # noqa: PLW0603 - the client has one runtime per process, and so have we
        if _used_by not in {None, os.getpid()}:
            raise self._forked()
        _used_by = os.getpid()

    def _forked(self) -> ConfigurationError:
        return ConfigurationError(
            f"cannot use {self.url}: this process was forked from one that used object storage, "
            "whose threads are not kept across a fork, so that every call would hang; start "
            "processes with the 'spawn' or 'forkserver' method and open a store in each"
        )


def _connection() -> ModuleType:
    try:
        from temporal_state.storage import _connection  # noqa: PLC0415 - an extra, see the error
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise ConfigurationError(
            "object storage needs the package obstore; pip install 'temporal-state[object-storage]'"
        ) from error
    return _connection
