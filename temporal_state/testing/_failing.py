"""A store that fails on demand: to see what one's code does when the real one does."""

import asyncio
from collections.abc import Sequence
from copy import copy
from datetime import timedelta
from typing import TypeVar

from temporal_state.storage import Change, ConditionalDelete, Object, ObjectInfo, ObjectStore

T = TypeVar("T")


class FailingStore:
    """Passes calls on to another store, unless told to fail or to be slow.

    Example:
        store = FailingStore(MemoryStore())
        store.error = StoreError("the disk is gone")

    Attributes:
        error: What the next calls raise; ``None`` lets them pass.
        after: What calls raise once they have done their work: the reply is lost.
        delay: How long each call takes before it does anything.
        calls: How many calls there were.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.after: Exception | None = None
        self.delay = timedelta()
        self.calls = 0

    @property
    def url(self) -> str:
        """Where the other store's objects lie."""
        return self.inner.url

    async def open(self) -> None:
        """Open the other store; this never fails on demand."""
        await self.inner.open()

    async def close(self) -> None:
        """Close the other store; this never fails on demand."""
        await self.inner.close()

    async def get(self, key: str) -> Object | None:
        """See `ObjectStore.get`."""
        await self._before()
        return self._after(await self.inner.get(key))

    async def head(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.head`."""
        await self._before()
        return self._after(await self.inner.head(key))

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """See `ObjectStore.put`."""
        await self._before()
        return self._after(await self.inner.put(key, data, if_match=if_match, if_absent=if_absent))

    async def update(self, key: str, change: Change) -> None:
        """See `ObjectStore.update`."""
        await self._before()
        await self.inner.update(key, change)
        self._after(None)

    async def delete(self, key: str) -> bool:
        """See `ObjectStore.delete`."""
        await self._before()
        return self._after(await self.inner.delete(key))

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """See `ConditionalDelete.delete_if_match`."""
        await self._before()
        inner = self.inner
        removed = isinstance(inner, ConditionalDelete) and await inner.delete_if_match(key, etag)
        return self._after(removed)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """See `ObjectStore.list`."""
        await self._before()
        return self._after(await self.inner.list(prefix, after=after, limit=limit))

    async def _before(self) -> None:
        self.calls += 1
        if self.delay:
            await asyncio.sleep(self.delay.total_seconds())
        if self.error is not None:
            raise copy(self.error)

    def _after(self, result: T) -> T:
        if self.after is not None:
            raise copy(self.after)
        return result
