"""Loops over items, in activities, that go on where they were: `state.resumable`.

An item is done when the loop asks for the next one. How far the loop is, and a value of the user's
at that point, are saved while it goes on, so that another attempt, another worker, or a run that
resumes this one begins with the first item that was not done.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from temporal_state.errors import ConflictError, ContextError, InvalidValueError
from temporal_state.state._context import attempt_here, is_on_loop
from temporal_state.state._sources import AnySource, Check, Reader, length_of
from temporal_state.temporal import ActivityCall, Keeper

T = TypeVar("T")


class _Loop:
    """What the loops of async and of threaded activities have in common."""

    def __init__(
        self,
        call: ActivityCall,
        items: Any,
        *,
        every: int,
        interval: timedelta,
        name: str | None,
        initial: Any,
        check: Check,
    ) -> None:
        _check_options(every, interval, check)
        self._keeper = Keeper(
            call,
            name=name,
            every=every,
            interval=interval,
            length=length_of(items),
            initial=initial,
        )
        self._reader = Reader(items, check, self._keeper)
        self._entered = False

    @property
    def position(self) -> int:
        """How many items are done."""
        self._check_loaded()
        return self._keeper.reached[0]

    @property
    def value(self) -> Any:
        """A JSON value of your own, at most 64 KB, saved with the position.

        What is set while an item is worked on is saved when that item is done. Reading gives a
        copy, so set the value to change it.
        """
        self._check_loaded()
        return self._keeper.value

    @value.setter
    def value(self, value: Any) -> None:
        self._check_loaded()
        self._keeper.value = value

    def _check_loaded(self) -> None:
        if not self._keeper.loaded:
            raise ContextError(
                "where a loop goes on is known once it has begun; ask within it, or write "
                "'async with state.resumable(...) as items:' (in threaded activities 'with') to "
                "know it before"
            )

    def _enter(self) -> None:
        if self._entered:
            raise ConflictError(
                "this loop has begun already, and its items come only once; make another with "
                "state.resumable"
            )
        self._entered = True

    async def _load(self) -> None:
        if not self._keeper.loaded:
            self._reader.begin(await self._keeper.load())


class Items(_Loop, Generic[T]):
    """Items for ``async for``, from the first on that was not done; see `state.resumable`."""

    async def __aenter__(self) -> Self:
        await self._load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._keeper.settle()

    async def __aiter__(self) -> AsyncIterator[T]:
        self._enter()
        await self._load()
        source = await self._reader.open_async()
        keeper, reader = self._keeper, self._reader
        if isinstance(source, AsyncIterable):
            async for item in source:
                digest = reader.see(item) if reader.digests else None
                keeper.in_hand = True
                yield item
                reader.digest = digest
                if keeper.advance(digest):
                    await self._catch_up()
        else:
            for item in source:
                digest = reader.see(item) if reader.digests else None
                keeper.in_hand = True
                yield item
                reader.digest = digest
                if keeper.advance(digest):
                    await self._catch_up()
        if not keeper.reached[3]:
            keeper.end()
            await self._catch_up()
        keeper.tell()

    async def _catch_up(self) -> None:
        self._keeper.beat()
        while not await self._keeper.catch_up():
            self._keeper.beat()


class SyncItems(_Loop, Generic[T]):
    """Items for ``for`` in threaded activities; see `state.resumable`."""

    def __init__(
        self,
        call: ActivityCall,
        items: Any,
        *,
        wait: Callable[[Coroutine[Any, Any, Any]], Any],
        **options: Any,
    ) -> None:
        super().__init__(call, items, **options)
        self._wait = wait

    def __enter__(self) -> Self:
        self._wait(self._load())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wait(self._keeper.settle())

    def __iter__(self) -> Iterator[T]:
        self._enter()
        self._wait(self._load())
        keeper, reader = self._keeper, self._reader
        for item in reader.open():
            digest = reader.see(item) if reader.digests else None
            keeper.in_hand = True
            yield item
            reader.digest = digest
            if keeper.advance(digest):
                self._catch_up()
        if not keeper.reached[3]:
            keeper.end()
            self._catch_up()
        keeper.tell()

    def _catch_up(self) -> None:
        self._keeper.beat()
        while not self._wait(self._keeper.catch_up()):
            self._keeper.beat()


def resumable(
    items: AnySource[T],
    *,
    every: int = 100,
    interval: timedelta = timedelta(seconds=5),
    name: str | None = None,
    initial: Any = None,
    check: Check = "length",
) -> Items[T]:
    """Return items for a loop, in an async activity, that goes on where it was.

        items = state.resumable(rows, every=1000, initial={"sum": 0})
        async for row in items:
            items.value = {"sum": items.value["sum"] + row}

    An item is done when the loop asks for the next one. After a crash, a timeout, a retry on
    another worker, or in a run that resumes this one, the loop goes on with the first item that was
    not known to be done: each item comes at least once, and after a crash at most ``every`` come
    again. When the activity fails or is cancelled, what is done is saved first. A loop that had
    ended gives no items, and its last `Items.value`, until the activity has completed.

    Positions are saved while the loop goes on; it waits only before an item too many could have to
    be repeated. An activity with a heartbeat timeout sends heartbeats between items, with the
    position; if it is known how many items there are, `progress` is told, too.

    Args:
        items: A sequence, an iterable, an async iterable, or a function that takes a position and
            returns the items from there on. What has no index is read again up to the position.
        every: At most so many items are repeated after a crash.
        interval: The position is saved after this long, if less than that many items were done.
        name: The loop's name; by default how many unnamed ones came before it in the activity.
        initial: `Items.value` before the first item.
        check: What must be the same when a loop goes on: ``length`` is the number of items, or, of
            a source without one that is read again, that it has as many as were done; of a function
            nothing is checked. ``digest`` is the JSON of all items that were done, which are read
            again for it. ``None`` checks nothing.

    Raises:
        ContextError: Not called in an async activity of a worker with the plugin.
        ConflictError: Another loop of this activity has the name.
        ChangedItemsError: In the loop: the items are not those that it began with.
        StoreError: In the loop: the position could not be read, or not be saved in time.
    """
    call = attempt_here()
    if not is_on_loop(call):
        raise ContextError("this is for 'async for'; a threaded activity uses state.sync.resumable")
    return Items(
        call, items, every=every, interval=interval, name=name, initial=initial, check=check
    )


def _check_options(every: int, interval: timedelta, check: Check) -> None:
    if every < 1:
        raise InvalidValueError(f"every={every} is below 1; give how many items may be repeated")
    if interval <= timedelta():
        raise InvalidValueError(f"interval={interval} is not positive; give a timedelta above zero")
    if check is not None and check not in ("length", "digest"):
        raise InvalidValueError(f"check={check!r} is not 'length', 'digest' or None")
