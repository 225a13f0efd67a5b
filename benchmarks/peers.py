"""The same work done by other stores of workflow state, on the same disk.

    python -m benchmarks peers

Theirs are Flujo's SQLite backend and LangGraph's SQLite checkpointer, each as its users open it.
Ours has flushed the file and its folder when a save returns; theirs is as durable as the settings
of SQLite that they leave or choose make it, which are told beside the figures. With a write-ahead
log and synchronous=2 (FULL) a save of theirs survives a power loss, too, by one flush of one file
that grows; a file for each document cannot be had for less than two flushes, its own and that of
its folder's entry.
"""

import asyncio
import importlib.util
import logging
import sqlite3
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from benchmarks._generated import build
from benchmarks._spent import compared
from benchmarks._table import ROUNDS, Goal, Missing, Row
from benchmarks.storage import DOCUMENT, FEW_ROUNDS, Raw
from temporal_state import StateBackend
from temporal_state.runs.catalog._reads import query_of_sums
from temporal_state.runs.catalog._rows import micros_of
from temporal_state.runs.catalog._select import FIRST, LAST, Filter, Part, select
from temporal_state.storage import in_thread

WRITERS = 64
RUNS = 10_000
PAGE = 20
NOW = datetime(2026, 11, 1, tzinfo=UTC)

ASKED = (
    "each question is two changes of threads, one to the feed, which tells whether the catalog is "
    "up to date, and one to the catalog: theirs is the database itself and need not ask. How far "
    "one alone would go a row below says. Tried: both threads at once, which takes a tenth to a "
    "fifth longer, since one interpreter serves both; one thread for both, which takes a fifth to "
    "a quarter less, but could neither give up a disk that does not answer nor see to it that the "
    "store stays open; an answer that is kept until the feed grows, which would measure the feed "
    "alone"
)

Save = Callable[[str, int], Awaitable[object]]
Load = Callable[[str], Awaitable[object]]


class Ours:
    """Documents of a backend."""

    def __init__(self, backend: StateBackend) -> None:
        self._documents = backend.documents

    async def save(self, id: str, n: int) -> None:
        """Replace the document."""
        await self._documents.replace(id, {**DOCUMENT, "n": n})

    async def load(self, id: str) -> object:
        """Read the document."""
        return await self._documents.get(id)


class Flujo:
    """The states of Flujo's SQLite backend."""

    name = "Flujo SQLiteBackend"

    def __init__(self, folder: str) -> None:
        from flujo.state.backends.sqlite import SQLiteBackend  # noqa: PLC0415 perhaps not there

        logging.getLogger("flujo").setLevel(logging.ERROR)
        self.backend: Any = SQLiteBackend(Path(folder) / "flujo.db")

    async def save(self, id: str, n: int) -> None:
        """Save the state of a run."""
        await self.backend.save_state(id, self.state({**DOCUMENT, "n": n}, "running", NOW))

    async def load(self, id: str) -> object:
        """Load the state of a run."""
        return await self.backend.load_state(id)

    def state(self, context: object, status: str, created: datetime) -> dict[str, Any]:
        """Return a state as Flujo's runner saves it."""
        return {
            "pipeline_id": "p",
            "pipeline_name": "p",
            "pipeline_version": "1",
            "current_step_index": 0,
            "pipeline_context": context,
            "last_step_output": None,
            "status": status,
            "created_at": created.replace(tzinfo=None),
            "updated_at": created.replace(tzinfo=None),
            "total_steps": 1,
            "execution_time_ms": 12,
        }

    async def settings(self) -> str:
        """Return how durable its saves are."""
        import aiosqlite  # noqa: PLC0415 it comes with Flujo

        await self.backend.load_state("none")
        async with aiosqlite.connect(self.backend.db_path) as connection:  # as each call does
            return await settings_of(connection)

    async def fill(self, number: int) -> None:
        """Save the states of so many runs, one of twenty failed."""
        for n in range(number):
            status = "failed" if n % 20 == 0 else "completed"
            state = self.state({"n": n}, status, NOW - timedelta(minutes=n))
            await self.backend.save_state(f"run-{n}", state)


class LangGraph:
    """The checkpoints of LangGraph's SQLite checkpointer."""

    name = "LangGraph AsyncSqliteSaver"

    def __init__(self, saver: Any) -> None:
        from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415 perhaps not there

        self._saver = saver
        self._empty = empty_checkpoint

    async def save(self, id: str, n: int) -> None:
        """Put a new checkpoint of a thread."""
        checkpoint = {**self._empty(), "channel_values": {**DOCUMENT, "n": n}}
        await self._saver.aput(self._config(id), checkpoint, {"step": n}, {})

    async def load(self, id: str) -> object:
        """Get the newest checkpoint."""
        return await self._saver.aget_tuple(self._config(id))

    async def settings(self) -> str:
        """Return how durable its saves are."""
        await self._saver.setup()
        return await settings_of(self._saver.conn)

    def _config(self, id: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": id, "checkpoint_ns": ""}}


class Plain:
    """The raw loop that ours is compared with elsewhere: what plain files cost in any case."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def save(self, id: str, n: int) -> None:
        """Write the document, in the thread of the event loop."""
        self._raw.put(id, orjson.dumps({**DOCUMENT, "n": n}))

    async def load(self, id: str) -> object:
        """Read the document."""
        return self._raw.get(id)


class Bare:
    """What no answer can do without: the feed listed, one query, headers parsed, in one thread."""

    def __init__(self, url: str) -> None:
        (database,) = Path(url).glob(".temporal_state/catalog/*.sqlite")
        self._connection = sqlite3.connect(database, check_same_thread=False)
        self._feed = Path(url, "feed")
        self._feed.mkdir()
        self._pool = ThreadPoolExecutor(1)

    async def list(self) -> object:
        """Return headers of runs as JSON."""
        wanted = Filter(namespace="default", statuses=("failed",))
        found = await in_thread(self._pool, self._rows, *select(wanted, Part(limit=PAGE)))
        return [orjson.loads(header) for _, _, header in found]

    async def stats(self) -> object:
        """Return sums, yet to be put together."""
        now = micros_of(datetime.now(UTC))
        return await in_thread(self._pool, self._rows, *query_of_sums("default", FIRST, LAST, now))

    def close(self) -> None:
        """Let go of the database and the thread."""
        self._pool.shutdown()
        self._connection.close()

    def _rows(self, sql: str, values: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        list(self._feed.iterdir())
        return self._connection.execute(sql, values).fetchall()


async def rows(*, short: bool) -> AsyncIterator[Row | Missing]:
    """Yield the figures."""
    warnings.simplefilter("ignore", DeprecationWarning)
    missing = [name for name in ("flujo", "langgraph") if importlib.util.find_spec(name) is None]
    if missing:
        yield Missing("peers", f"no {' and no '.join(missing)}; install the extra `bench`")
        return
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 perhaps not there

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        backend = await stack.enter_async_context(StateBackend.open(f"{folder}/ours"))
        saver = AsyncSqliteSaver.from_conn_string(f"{folder}/langgraph.db")
        peers = [Flujo(folder), LangGraph(await stack.enter_async_context(saver))]
        stack.push_async_callback(peers[0].backend.close)
        plain = Plain(Raw(f"{folder}/raw"))
        for peer in peers:
            for row in await documents(Ours(backend), peer, plain, short=short):
                yield row
        for row in await runs(folder, short=short):
            yield row


async def documents(
    ours: Ours, peer: Flujo | LangGraph, plain: Plain, *, short: bool
) -> Sequence[Row]:
    """Compare saves and loads of a 1 KB document."""
    rounds, size = (1, 32) if short else (ROUNDS, 256)
    settings = await peer.settings()
    works = [
        ("durable save, one writer", Goal(1.5), _saves(1, size), size),
        ("durable saves, 64 writers", Goal(3), _saves(WRITERS, 2 * size), 2 * size),
        ("load", Goal(5), _loads(size), size),
    ]
    found = []
    for name, goal, work, count in works:
        values, note = await compared(
            rounds, lambda w=work: w(ours), lambda w=work: w(peer), (count, count)
        )
        figure = f"{name}, times as fast as {peer.name}"
        found.append(Row(figure, peer.name, goal, values, note=f"{note}; theirs with {settings}"))
    work, few = _saves(1, size), min(rounds, FEW_ROUNDS)
    values, note = await compared(few, lambda: work(plain), lambda: work(peer), (size, size))
    figure = f"limit: the raw loop under Storage instead, times as fast as {peer.name}"
    found.append(Row(figure, peer.name, None, values, note=note))
    return found


async def settings_of(connection: Any) -> str:
    """Return how durable SQLite makes what is written through a connection."""
    found = []
    for name in ("journal_mode", "synchronous"):
        async with connection.execute(f"PRAGMA {name}") as cursor:
            found.append(f"{name}={(await cursor.fetchone())[0]}")
    return " and ".join(found)


def _saves(
    writers: int, count: int
) -> Callable[[Ours | Flujo | LangGraph | Plain], Awaitable[None]]:
    async def work(store: Ours | Flujo | LangGraph | Plain) -> None:
        async def writer(number: int) -> None:
            for n in range(count // writers):
                await store.save(f"{writers}-{number}", n)

        await asyncio.gather(*(writer(number) for number in range(writers)))

    return work


def _loads(count: int) -> Callable[[Ours | Flujo | LangGraph | Plain], Awaitable[None]]:
    async def work(store: Ours | Flujo | LangGraph | Plain) -> None:
        for _ in range(count):
            await store.load("1-0")

    return work


async def runs(folder: str, *, short: bool) -> Sequence[Row]:
    """Compare questions about many runs."""
    number, rounds, times = (20, 1, 1) if short else (RUNS, ROUNDS, 40)
    flujo, url = Flujo(f"{folder}"), f"{folder}/catalog"
    flujo.backend.db_path = Path(folder) / "runs.db"
    await flujo.fill(number)
    await build(number, url, None)

    def repeated(question: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            for _ in range(times):
                await question()

        return work

    listing = repeated(lambda: flujo.backend.list_workflows(status="failed", limit=PAGE))
    counting = repeated(flujo.backend.get_workflow_stats)
    async with StateBackend.open(url) as backend:
        asking = repeated(lambda: backend.runs.list(status="failed", limit=PAGE))
        listed = await compared(rounds, asking, listing, (times, times))
        counted = await compared(rounds, repeated(backend.runs.stats), counting, (times, times))
    few, bare = min(rounds, FEW_ROUNDS), Bare(url)
    bare_listed = await compared(few, repeated(bare.list), listing, (times, times))
    bare_counted = await compared(few, repeated(bare.stats), counting, (times, times))
    bare.close()
    await flujo.backend.close()
    found = []
    for name, goal, ours, limit in (
        (f"list of {PAGE}, filtered,", Goal(5), listed, bare_listed),
        ("statistics", Goal(20), counted, bare_counted),
    ):
        figure = f"{name} at {number:,} runs"
        found.append(Row(figure, flujo.name, goal, ours[0], note=f"{ours[1]}; {ASKED}"))
        figure = f"limit: {figure}, by one query in a thread that lists the feed, and nothing else"
        found.append(Row(figure, flujo.name, None, limit[0], note=limit[1]))
    return found
