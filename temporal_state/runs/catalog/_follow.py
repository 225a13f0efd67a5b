"""Keeps a catalog as new as the objects: reads what the feed names, or, for a new one, all.

An entry of the feed comes before its objects. A run that is not yet as new as its entry says is
looked at again, for a minute; after that its writer has died, or has failed and named it anew.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from temporal_state.documents import Engine
from temporal_state.errors import DamagedObjectError
from temporal_state.runs._hand import is_recorded, view
from temporal_state.runs._merge import Json, state_of
from temporal_state.runs._objects import BROKEN, PAGE, Objects, load
from temporal_state.runs._records import CLOSED, Step
from temporal_state.runs._refs import RUN_FILE, STEPS_PER_OBJECT, RunLayout, RunRef
from temporal_state.runs._step_reader import steps_of
from temporal_state.runs._values import sizes_apart
from temporal_state.runs.catalog._feed import SKEW, Change, Feed, Place, minute
from temporal_state.runs.catalog._link import CatalogMissingError, Link
from temporal_state.runs.catalog._rows import row_of, tie_of
from temporal_state.runs.catalog._seal import Seal
from temporal_state.runs.catalog._standing import Standing, finish, latest_since, move
from temporal_state.runs.catalog._writes import Batch, Seen, Waiting, versions, write

log = logging.getLogger("temporal_state")

T = TypeVar("T")

AT_ONCE = 16
ENTRIES_AT_ONCE = 64
RUNS_AT_ONCE = 256
LOOK_FOR = 60.0
MOVE_AFTER = timedelta(minutes=5)
"""The start of what is listed moves in such steps, so that few refreshes write anything."""
ABSENT = timedelta(hours=12)
"""A follower that was away for less need not ask what was dropped from the feed."""


class Call(Protocol):
    """Executes something on the catalog's thread."""

    def __call__(self, question: Callable[[Link], T]) -> Awaitable[T]:
        """Return what ``question`` returns for the connection."""
        ...


class _Part(NamedTuple):
    """An object beside a run's own one, and its bytes."""

    value: Json
    size: int


@dataclass(frozen=True, slots=True)
class _Look:
    """One run to look at, and the changes that it may have by now."""

    ref: RunRef
    changes: list[Waiting] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Follower:
    """Brings what is in the objects into one catalog."""

    engine: Engine
    places: RunLayout
    feed: Feed
    seal: Seal
    call: Call

    @property
    def _objects(self) -> Objects:
        return Objects(self.engine)

    async def follow(self, known: Standing) -> bool:
        """Take in all that the feed has named by now; return whether there was nothing to do.

        Args:
            known: How far the catalog has come.

        Raises:
            CatalogMissingError: The catalog is older than the feed.
        """
        since, now = known.since, datetime.now(UTC)
        if since < minute(now - ABSENT) and since < await self.feed.floor():
            raise CatalogMissingError("the catalog has not followed for longer than the feed goes")
        await self._look_again(known.waiting)
        found = False
        async for entries in self._new(known):
            found = True
            for first in range(0, len(entries), ENTRIES_AT_ONCE):
                await self._take(entries[first : first + ENTRIES_AT_ONCE])
        late = _is_late(since, now)
        if late:
            moved = latest_since(now)
            await self.call(lambda link: move(link, moved))
        return not (known.waiting or found or late)

    async def has_nothing_after(self, known: Standing) -> bool:
        """Return whether nothing was named since a catalog that waited for nothing was followed."""
        now = datetime.now(UTC)
        if _is_late(known.since, now) or known.since > latest_since(now):
            return False
        return await self.feed.has_nothing_after(known.since, known.cursors)

    async def _new(self, known: Standing) -> AsyncGenerator[Sequence[tuple[str, int]], None]:
        """Yield the entries that are new, those of some writers at once."""
        writers = await self.feed.writers(known.since)
        for start in range(0, len(writers), AT_ONCE):
            some = writers[start : start + AT_ONCE]
            after = [known.cursors.get(writer, 0) for writer in some]
            new = await asyncio.gather(*map(self.feed.sequences, some, after))
            entries = [(w, n) for w, numbers in zip(some, new, strict=True) for n in numbers]
            if entries:
                yield entries

    async def walk(self, progress: Callable[[int], None] | None) -> None:
        """Take in all runs there are, into a catalog that has none yet."""
        begun = latest_since(datetime.now(UTC))
        await self.call(lambda link: move(link, begun))
        count, after = 0, ""
        prefix = f"{self.places.layout.base}/runs/"
        while keys := await self._objects.page(prefix, after, PAGE):
            after = keys[-1]
            runs = [key for key in keys if _is_run(key, prefix)]
            for start in range(0, len(runs), RUNS_AT_ONCE):
                some = runs[start : start + RUNS_AT_ONCE]
                read = await self._gather(self._read(key) for key in some)
                await self.call(partial(write, batch=Batch([seen for seen, _ in read])))
            count += len(runs)
            if progress is not None:
                progress(count)
            if len(keys) < PAGE:
                break
        await self.call(finish)

    async def _look_again(self, waiting: Sequence[Waiting]) -> None:
        now = time.time()
        due = [one for one in waiting if _is_due(one, now) or self.feed.is_written(one.place)]
        await self._see(_by_run(due), {})

    async def _take(self, entries: Sequence[tuple[str, int]]) -> None:
        now = time.time()
        read = await self._gather(self.feed.read(*entry) for entry in entries)
        named = [
            Waiting(Place(*entry, position), change, now)
            for entry, changes in zip(entries, read, strict=True)
            for position, change in enumerate(changes)
            if self.feed.names_a_run(change)
        ]
        cursors: dict[str, int] = {}
        for writer, number in entries:
            cursors[writer] = max(number, cursors.get(writer, 0))
        looks = _by_run(named)
        for start in range(0, max(len(looks), 1), RUNS_AT_ONCE):  # if none: that they were read
            last = start + RUNS_AT_ONCE >= len(looks)
            await self._see(looks[start : start + RUNS_AT_ONCE], cursors if last else {})

    async def _see(self, looks: Sequence[_Look], cursors: dict[str, int]) -> None:
        """Read runs and write what they are now, again if somebody else did meanwhile."""
        if not looks and not cursors:
            return
        by_key = {self.places.run(look.ref): look for look in looks}
        keys = list(by_key)
        batch = Batch(cursors=cursors)
        while True:
            places = [(by_key[key].ref, tie_of(key)) for key in keys]
            known = await self.call(partial(versions, places=places))
            before = {one.place for k in keys for one in by_key[k].changes if self._made(one)}
            read = await self._gather(self._read(key, by_key[key].ref) for key in keys)
            batch.seen = [replace(r[0], version=v) for r, v in zip(read, known, strict=True)]
            for key, (_, record) in zip(keys, read, strict=True):
                _sort(by_key[key].changes, record, before, batch)
            stale = await self.call(partial(write, batch=batch))
            if not stale:
                return
            keys = [seen.key for seen in stale]

    def _made(self, one: Waiting) -> bool:
        return self.feed.is_written(one.place)

    async def _read(self, key: str, ref: RunRef | None = None) -> tuple[Seen, Json]:
        """Return a run as it is now, and its record; ``ref`` is needed if it may be gone."""
        found = await self.engine.in_time(self.engine.store.get(key), f"reading {key}")
        seen = Seen(key, ref, tie_of(key))
        if found is None:
            return seen, {}
        record: Json = {}
        try:
            record = load(key, found.data)
            parts = await self._parts(key, record)
            size = len(found.data) + _size_beside(record, parts)
            row = await self.seal.close(row_of(key, record, _steps_told(record, parts), size))
        except (*BROKEN, DamagedObjectError) as error:
            log.error("the run at %s is missing in lists, since it cannot be read: %r", key, error)  # noqa: TRY400 the stack is ours, the object is theirs
            return replace(seen, unreadable=repr(error)), {}
        return replace(seen, row=row), record

    async def _parts(self, key: str, record: Json) -> Sequence[_Part]:
        """Return what has further steps of a run that is closed; while it runs they change."""
        many = record.get("step_count", STEPS_PER_OBJECT) > STEPS_PER_OBJECT - 1 or "hand" in record
        if not (many and _is_closed(record)):
            return []
        keys = await self._objects.keys(f"{key.removesuffix(RUN_FILE)}steps/")
        return await self._gather(self._part(key) for key in keys)

    async def _part(self, key: str) -> _Part:
        found = await self.engine.in_time(self.engine.store.get(key), f"reading {key}")
        return _Part({}, 0) if found is None else _Part(load(key, found.data), len(found.data))

    async def _gather(self, work: Iterable[Awaitable[T]]) -> list[T]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(item: Awaitable[T]) -> T:
            async with limit:
                return await item

        return list(await asyncio.gather(*map(one, work)))


def _is_late(since: str, now: datetime) -> bool:
    return since < minute(now - SKEW - MOVE_AFTER)


def _by_run(changes: Iterable[Waiting]) -> list[_Look]:
    looks: dict[RunRef, _Look] = {}
    for one in changes:
        looks.setdefault(one.change.ref, _Look(one.change.ref)).changes.append(one)
    return list(looks.values())


def _is_due(one: Waiting, now: float) -> bool:
    return not now < one.again <= now + LOOK_FOR  # one that is due later is of a clock set back


def _sort(changes: Iterable[Waiting], record: Json, made: set[Place], batch: Batch) -> None:
    """Sort changes into those that are there and those to look for again."""
    now = time.time()
    for one in changes:
        batch.waiting = [other for other in batch.waiting if other.place != one.place]
        age = now - one.since
        if one.place in made or age > LOOK_FOR or _has(record, one.change):
            batch.done.append(one.place)
        else:
            # One that says how new the record will be is soon found; others are asked less often.
            again = now if one.change.clock is not None else now + age / 2
            batch.waiting.append(replace(one, again=again))


def _has(record: Json, change: Change) -> bool:
    if change.clock is None:
        return False
    reached: tuple[Any, Any] = (record.get("clock", -1), record.get("seen", ""))
    return reached >= (change.clock, change.seen or "")


def _is_closed(record: Json) -> bool:
    status = record["status"] if is_recorded(record) else record["hand"].get("end")
    return status in CLOSED if isinstance(status, str) else bool(status)


def _steps_told(record: Json, parts: Sequence[_Part]) -> Sequence[Step]:
    if not _is_closed(record):
        return []
    return steps_of([record, *(part.value for part in parts)])


def _size_beside(record: Json, parts: Sequence[_Part]) -> int:
    """Return the bytes of the steps, large values and states that a record has beside it."""
    checkpoints: Sequence[Json] = view(record).get("checkpoints", [])
    states: dict[str | None, int] = {state_of(one): one.get("bytes", 0) for one in checkpoints}
    values = sizes_apart([record, *(part.value for part in parts)])
    return sum(part.size for part in parts) + sum(states.values()) + sum(values.values())


def _is_run(key: str, prefix: str) -> bool:
    parts = key.removeprefix(prefix).split("/")
    return len(parts) == 5 and parts[4] == RUN_FILE and parts[1][:1].isdigit()  # noqa: PLR2004
