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
from temporal_state.storage import Change, MemoryStore
from temporal_state.testing import FailingStore, dev_server

CASE = Case("10 steps", 1, 10)


class CountingStore(FailingStore):
    """Counts the writes of each object."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.writes: Counter[str] = Counter()

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """See base class."""
        self.writes[key] += 1
        return await super().put(key, data, if_match=if_match, if_absent=if_absent)

    async def update(self, key: str, change: Change) -> None:
        """See base class."""
        self.writes[key] += 1
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
        f"all calls that are not for the feed; the feed had {max(feed):.0f} besides",
    )


async def counted(client: Client) -> Sequence[float]:
    """Return the objects, the calls by flush and object, and the feed's calls of one run."""
    store, queue = CountingStore(), uuid.uuid4().hex
    backend = StateBackend.open(store)
    async with worker(client, queue, [StatePlugin(backend)]):
        await run(client, queue, CASE)
    feed = {key: count for key, count in store.writes.items() if "/feed/" in key}
    written = {key: count for key, count in store.writes.items() if key not in feed}
    others = store.calls - store.writes.total()  # reads beside the writes
    flushes = max(written.values())
    return (
        len(written),
        (sum(written.values()) + others) / (flushes * len(written)),
        sum(feed.values()),
    )
