"""The feed: small objects that name the runs which are about to change, for followers of all runs.

    {base}/feed/{writer}/{sequence}.json

Intent first: an entry that came after the objects would be missing when the process dies in
between. So a follower may read a run before it is as new as its entry says; it looks again.

A writer's entries are put one after the other and numbered without a gap, and after a failure the
writer takes a new name; so a listing that misses one shows it. The name begins with the minute at
which it was taken, and is given up soon: a follower asks only for the names of the last hour.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from temporal_state.documents import Engine, Layout, dumps, from_text, to_text
from temporal_state.errors import ConflictError, InvalidNameError, InvalidValueError
from temporal_state.runs._objects import AT_ONCE, PAGE, SCHEMA, Objects, decoding
from temporal_state.runs._refs import RunLayout, RunRef

log = logging.getLogger("temporal_state")

NAME_FOR = timedelta(minutes=15)
NAME_ENTRIES = 512
LATE = 30.0
SKEW = timedelta(minutes=60)
"""Clocks of writers and followers may differ by this much."""
LEAST_HORIZON = timedelta(days=1)
CHANGES_PER_ENTRY = 64
REMEMBERED = 20_000
_MINUTE = "%Y%m%dt%H%M"


@dataclass(frozen=True, slots=True)
class Change:
    """One run that is about to change.

    Attributes:
        ref: Which run.
        clock: With ``seen``, how new the record will be at least; ``None`` if that is not known.
        seen: See ``clock``.
    """

    ref: RunRef
    clock: int | None = None
    seen: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a change is named: whose entry, which of them, and where in it."""

    writer: str
    sequence: int
    position: int


@dataclass(slots=True)
class _Lane:
    """The writer of one event loop: one entry at a time, what comes meanwhile waits for the next.

    Attributes:
        entries: How many the present name has.
    """

    name: str = ""
    born: float = 0.0
    entries: int = 0
    waiting: list[tuple[Change, "asyncio.Future[Place]"]] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None

    def next_sequence(self) -> int:
        """Return the number of the next entry, under a new name if the present one is used up."""
        old = time.monotonic() - self.born > NAME_FOR.total_seconds()
        if not self.name or old or self.entries >= NAME_ENTRIES:
            self.name = f"{datetime.now(UTC):{_MINUTE}}-{secrets.token_hex(6)}"
            self.born, self.entries = time.monotonic(), 0
        self.entries += 1
        return self.entries


class Feed:
    """Names the runs that change, and reads what others have named."""

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._engine = engine
        self._prefix = f"{layout.base}/feed/"
        self._objects = Objects(engine)
        self._places = RunLayout(layout)
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lane] = WeakKeyDictionary()
        self._written: OrderedDict[Place, None] = OrderedDict()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def announced(self, changes: Iterable[Change]) -> AsyncIterator[None]:
        """Name changes durably before the block, which then makes them.

        A block that took so long that followers may have stopped to wait is announced once more.

        Raises:
            InvalidNameError: No run can have such a name; followers would stumble over it.
            StoreError: They could not be named; the block was not entered.
        """
        changes = list(changes)
        for change in changes:
            self._places.run(change.ref)
        began = time.monotonic()
        places = await self._announce(changes)
        yield
        if time.monotonic() - began > LATE:
            places += await self._announce(changes)
        with self._lock:
            self._written.update(dict.fromkeys(places))
            while len(self._written) > REMEMBERED:
                self._written.popitem(last=False)

    def is_written(self, place: Place) -> bool:
        """Return whether this process named the change there, and has made it."""
        return place in self._written

    async def _announce(self, changes: Sequence[Change]) -> list[Place]:
        loop = asyncio.get_running_loop()
        with self._lock:
            lane = self._lanes.setdefault(loop, _Lane())
        futures = [loop.create_future() for _ in changes]
        lane.waiting += zip(changes, futures, strict=True)
        if lane.task is None:
            lane.task = loop.create_task(self._write(lane))
        return list(await asyncio.gather(*futures))

    async def _write(self, lane: _Lane) -> None:
        try:
            while lane.waiting:
                batch = lane.waiting[:CHANGES_PER_ENTRY]
                del lane.waiting[:CHANGES_PER_ENTRY]
                await self._write_one(lane, batch)
        finally:
            lane.task = None
            for _, future in lane.waiting:
                future.cancel()
            lane.waiting.clear()

    async def _write_one(
        self, lane: _Lane, batch: list[tuple[Change, "asyncio.Future[Place]"]]
    ) -> None:
        sequence = lane.next_sequence()
        name, futures = lane.name, [future for _, future in batch]
        try:
            await self._put(self.key(name, sequence), [change for change, _ in batch])
        except Exception as error:  # noqa: BLE001 it belongs to those who wait
            lane.name = ""  # whether the entry is there is unknown, and there must be no gap
            _fail(futures, error)
        except BaseException:
            lane.name = ""
            for future in futures:
                future.cancel()
            raise
        else:
            for position, future in enumerate(futures):
                if not future.done():
                    future.set_result(Place(name, sequence, position))

    async def _put(self, key: str, changes: list[Change]) -> None:
        data = dumps({"schema": SCHEMA, "changes": [to_json(change) for change in changes]})
        try:
            await self._engine.in_time(
                self._engine.store.put(key, data, if_absent=True), f"writing {key}"
            )
        except ConflictError:
            return  # nobody else has this name: a reply was lost and the call repeated below us

    def key(self, writer: str, sequence: int) -> str:
        """Return the key of an entry."""
        return f"{self._prefix}{writer}/{sequence:06}.json"

    async def writers(self, after: str) -> list[str]:
        """Return the names that were taken at or after a minute, see `minute`."""
        found: list[str] = []
        start = f"{self._prefix}{after}"
        while name := await self._next(start):
            found.append(name)
            start = f"{self._prefix}{name}/~"
        return found

    async def has_nothing_after(self, after: str, taken: Mapping[str, int]) -> bool:
        """Return whether no entry is there but those that were taken in.

        What one listing can return is listed anew. Of more, each look is for the first key behind
        a writer's last one that was taken in, which should be the next writer's first.

        Args:
            after: Only writers whose names were taken at or after this minute.
            taken: The last entry of each of those that was taken in.
        """
        start, known = f"{self._prefix}{after}", sorted(taken, key=lambda name: f"{name}/")
        if sum(taken.values()) < PAGE:
            expected = [self.key(name, n + 1) for name in known for n in range(taken[name])]
            keys = await self._objects.page(self._prefix, start, len(expected) + 1)
            return [key for key in keys if self._writer(key)] == expected
        if await self._next(start) != known[0]:
            return False
        for first in range(0, len(known), AT_ONCE):
            starts = [self.key(name, taken[name]) for name in known[first : first + AT_ONCE]]
            found = await asyncio.gather(*map(self._next, starts))
            if found != [*known, ""][first + 1 : first + 1 + AT_ONCE]:
                return False
        return True

    async def _next(self, start: str) -> str:
        """Return whose entry is the first behind a key, empty if there is none."""
        keys = await self._objects.page(self._prefix, start, 1)
        return self._writer(keys[0]) if keys else ""

    def _writer(self, key: str) -> str:
        name = key.removeprefix(self._prefix).partition("/")[0]
        return name if name[:1].isdigit() else ""

    async def sequences(self, writer: str, after: int) -> list[int]:
        """Return the numbers of a writer's entries after one, up to the first gap."""
        prefix = f"{self._prefix}{writer}/"
        keys = await self._objects.keys(prefix, self.key(writer, after) if after else "")
        numbers = [int(key.removeprefix(prefix).removesuffix(".json")) for key in keys]
        expected = range(after + 1, after + 1 + len(numbers))
        return [n for n, wanted in zip(numbers, expected, strict=True) if n == wanted]

    async def read(self, writer: str, sequence: int) -> list[Change]:
        """Return what an entry names; nothing if it is gone."""
        key = self.key(writer, sequence)
        entry = await self._objects.read(key)
        with decoding(f"the entry {key} of the feed"):
            return [from_json(change) for change in entry.get("changes", [])]

    def names_a_run(self, change: Change) -> bool:
        """Return whether there can be such a run; another writer may not have looked."""
        try:
            self._places.run(change.ref)
        except InvalidNameError as error:
            log.warning("the feed names %s, which is no run: %s", change.ref, error)
            return False
        return True

    async def fold(self, older_than: timedelta) -> int:
        """Drop entries of writers that began before a horizon; return how many.

        Raises:
            InvalidValueError: The horizon is so near that followers could miss an entry.
        """
        if older_than < LEAST_HORIZON:
            raise InvalidValueError(
                f"older_than={older_than} is less than {LEAST_HORIZON}, which followers may need"
            )
        floor = minute(datetime.now(UTC) - older_than)
        # First the floor: who finds entries gone must be able to know that they were there.
        await self._objects.update(
            f"{self._prefix}floor.json",
            lambda stored: {"floor": max(floor, str(stored.get("floor", "")))},
        )
        count, end = 0, f"{self._prefix}{floor}"
        while keys := await self._objects.page(self._prefix, "", 1000):
            old = [key for key in keys if key < end]
            count += await self._objects.delete(old)
            if len(old) < len(keys):
                break
        return count

    async def floor(self) -> str:
        """Return the minute before which entries may have been dropped."""
        return str((await self._objects.read(f"{self._prefix}floor.json")).get("floor", ""))


def minute(time: datetime) -> str:
    """Return a time as names of writers begin."""
    return f"{time.astimezone(UTC):{_MINUTE}}"


def _fail(futures: list["asyncio.Future[Place]"], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # of several that wait together one may be asked


def to_json(change: Change) -> list[Any]:
    """Return a change as entries have it."""
    ref = change.ref
    return [
        ref.namespace,
        ref.workflow_id,
        ref.run_id,
        to_text(ref.started),
        change.clock,
        change.seen,
    ]


def from_json(value: list[Any]) -> Change:
    """Return the change that `to_json` wrote."""
    namespace, workflow_id, run_id, started, clock, seen = value
    return Change(RunRef(namespace, workflow_id, run_id, from_text(started)), clock, seen)
