"""Where the items of a resumable loop come from, and how to begin in the midst of them.

What is done already is skipped: by index where there is one, by asking a source that can start
anywhere, else by reading. Reading is also how it is noticed that the source has changed.
"""

import asyncio
import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
    Sized,
)
from itertools import islice
from typing import Any, Literal, TypeAlias, TypeVar

from temporal_state.documents import dumps, plain
from temporal_state.errors import ChangedItemsError, InvalidValueError
from temporal_state.runs import Position, digest
from temporal_state.temporal import Keeper

T = TypeVar("T")
Check: TypeAlias = Literal["length", "digest"] | None
Readable: TypeAlias = Iterable[T] | AsyncIterable[T]
SyncSource: TypeAlias = Iterable[T] | Callable[[int], Iterable[T]]
AnySource: TypeAlias = Readable[T] | Callable[[int], Readable[T] | Awaitable[Readable[T]]]

CHUNK = 1000


def length_of(items: Any) -> int | None:
    """Return how many items there are, if the source knows.

    Raises:
        InvalidValueError: It has no order that another process would find again.
    """
    if isinstance(items, set | frozenset):
        raise InvalidValueError(
            f"items is a {type(items).__name__}, whose order is another one in each process, so no "
            "position in it can be found again; give sorted(items)"
        )
    return len(items) if isinstance(items, Sized) else None


class Reader:
    """Reads past what is done, and checks that the source is still the same.

    Attributes:
        digests: Whether the digest of the items is what is checked.
        digest: Of the items that were read, if it is.
    """

    def __init__(self, items: Any, check: Check, keeper: Keeper) -> None:
        self._items = items
        self._check = check
        self._keeper = keeper
        self._position = Position()
        self._starts_anywhere = not isinstance(items, Iterable | AsyncIterable)
        self.digests = check == "digest"
        self.digest: str | None = "" if self.digests else None
        if self._starts_anywhere and not callable(items):
            raise InvalidValueError(
                f"items is of type {type(items).__name__}; give a sequence, an iterable, or a "
                "function that returns the items from a position on"
            )

    def begin(self, position: Position) -> None:
        """Learn where to begin.

        Raises:
            ChangedItemsError: There are not as many items as there were.
        """
        self._position = position
        then, now = position.length, self._keeper.length
        if self._check == "length" and None not in (then, now) and then != now:
            raise _changed(f"there were {then} items, and now {now}")

    def see(self, item: Any) -> str | None:
        """Return the digest of all items up to this one, if it is what is checked."""
        if self.digest is None:
            return None
        return digest(self.digest, dumps(plain(item, "item")))

    @property
    def start(self) -> int:
        """Where a function is asked to start."""
        return 0 if self.digests else self._position.done

    def from_sequence(self) -> Iterator[Any] | None:
        """Return the items that are not done, if they have an index and need not be read."""
        items = self._items
        if isinstance(items, Sequence) and not self.digests:
            return map(items.__getitem__, range(self._position.done, len(items)))
        return None

    def needs_no_items(self) -> bool:
        """Return whether all are done, and none need be read to check that."""
        return self._position.complete and not self.digests

    def open(self) -> Iterable[Any]:
        """Return the items that are not done."""
        if self.needs_no_items():
            return ()
        if (rest := self.from_sequence()) is not None:
            return rest
        source = self._items(self.start) if self._starts_anywhere else self._items
        iterator = iter(_must_be_iterable(source))
        for count in self._chunks():
            self._skip(iterator, count)
        return self._rest(iterator)

    async def open_async(self) -> Readable[Any]:
        """Return the items that are not done."""
        if self.needs_no_items():
            return ()
        if (rest := self.from_sequence()) is not None:
            return rest
        source = self._items(self.start) if self._starts_anywhere else self._items
        if inspect.isawaitable(source):
            source = await source
        if not isinstance(source, AsyncIterable):
            iterator = iter(_must_be_iterable(source))
            for count in self._chunks():
                self._skip(iterator, count)
                await asyncio.sleep(0)  # others want the event loop, too
            return self._rest(iterator)
        asynchronous = aiter(source)
        for count in self._chunks():
            await self._skip_async(asynchronous, count)
        self._check_digest()
        return () if self._position.complete else asynchronous

    def _chunks(self) -> Iterator[int]:
        left = self._position.done - self.start if self._starts_anywhere else self._position.done
        while left > 0:
            yield min(left, CHUNK)
            left -= CHUNK
            self._keeper.beat()

    def _skip(self, iterator: Iterator[Any], count: int) -> None:
        read = 0
        for item in islice(iterator, count):
            self.digest = self.see(item)
            read += 1
        self._check_read(read, count)

    async def _skip_async(self, iterator: AsyncIterator[Any], count: int) -> None:
        read = 0
        while read < count:
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                break
            self.digest = self.see(item)
            read += 1
        self._check_read(read, count)

    def _check_read(self, read: int, count: int) -> None:
        if read < count and self._check is not None:
            raise _changed(f"{self._position.done} items were done, and now there are fewer")

    def _rest(self, iterator: Iterator[Any]) -> Iterable[Any]:
        self._check_digest()
        return () if self._position.complete else iterator

    def _check_digest(self) -> None:
        known = self._position.digest
        if self.digest is not None and known is not None and self.digest != known:
            raise _changed(f"the first {self._position.done} of them have another digest")


def _must_be_iterable(source: Any) -> Iterable[Any]:
    if isinstance(source, Iterable):
        return source
    raise InvalidValueError(
        f"items gave a {type(source).__name__}, which a loop without async cannot read; give an "
        "iterable, or use state.resumable in an async activity"
    )


def _changed(how: str) -> ChangedItemsError:
    return ChangedItemsError(
        f"the items of a loop that goes on have changed: {how}; give it the items that it began "
        "with, or start the activity anew, or give check=None if positions hold all the same"
    )
