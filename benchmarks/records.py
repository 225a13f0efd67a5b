"""What one run of 10 steps costs its store: objects, and calls to each of them.

    python -m benchmarks records

The feed, by which catalogs follow what changes, has objects of its own and is counted apart.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from temporalio.client import Client

from benchmarks._table import Goal, Row
from benchmarks.workflows import Case, run, worker
from temporal_state import StateBackend, StatePlugin
from temporal_state.storage import Change, MemoryStore, Object, ObjectInfo
from temporal_state.testing import FailingStore, dev_server

CASE = Case("10 steps", 1, 10)


class CountingStore(FailingStore):
    """Counts the calls to each object, and which of them were written."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.calls_to: Counter[str] = Counter()
        self.written: set[str] = set()

    async def get(self, key: str) -> Object | None:
        """See base class."""
        self.calls_to[key] += 1
        return await super().get(key)

    async def head(self, key: str) -> ObjectInfo | None:
        """See base class."""
        self.calls_to[key] += 1
        return await super().head(key)

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """See base class."""
        self.calls_to[key] += 1
        self.written.add(key)
        return await super().put(key, data, if_match=if_match, if_absent=if_absent)

    async def update(self, key: str, change: Change) -> None:
        """See base class."""
        self.calls_to[key] += 1
        self.written.add(key)
        await super().update(key, change)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        found = [await counted(server.client) for _ in range(2 if short else 7)]
    objects, calls, feed = zip(*found, strict=True)
    yield Row("one run of 10 steps: objects written", "", Goal(2, "less"), objects, "objects")
    yield Row(
        "one run of 10 steps: store calls per flush and object",
        "",
        Goal(1, "less"),
        calls,
        "calls",
        "of the object that is called most; a flush with a checkpoint also reads one object that "
        "it does not write, the run's own document, which anyone may have changed since; the feed "
        f"had {max(feed):.0f} besides",
    )


async def counted(client: Client) -> Sequence[float]:
    """Return the objects, the most calls by flush to one of them, and the feed's calls of a run."""
    store, queue = CountingStore(), uuid.uuid4().hex
    backend = StateBackend.open(store)
    async with worker(client, queue, [StatePlugin(backend)]):
        await run(client, queue, CASE)
    by_key = store.calls_to
    feed = [key for key in by_key if "/feed/" in key]
    flushes = len(feed)  # each names what it is going to write, once
    others = store.calls - by_key.total()  # listings and removals, of no object that is known here
    most = max(count for key, count in by_key.items() if key not in feed)
    written = store.written.difference(feed)
    return len(written), (most + others) / flushes, sum(by_key[key] for key in feed)
