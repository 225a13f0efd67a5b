"""What a transaction of two documents costs, against two merges of the same documents.

    python -m benchmarks transactions

Alone, and with sixteen at once on documents of their own; once blind, once after reading both.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

from benchmarks._table import ROUNDS, Measure, Row, clocked, in_turns, in_words, ratios
from temporal_state import StateBackend

COUNT = 40

Change = Callable[[StateBackend, str], Awaitable[None]]


async def merges(backend: StateBackend, name: str) -> None:
    """Change two documents, each for itself."""
    await backend.documents.merge(f"{name}-a", {"n": 1})
    await backend.documents.merge(f"{name}-b", {"n": 1})


async def blind(backend: StateBackend, name: str) -> None:
    """Change two documents together."""
    async with backend.transaction() as tx:
        await tx.merge(f"{name}-a", {"n": 1})
        await tx.merge(f"{name}-b", {"n": 1})


async def reading(backend: StateBackend, name: str) -> None:
    """Read two documents, and change them together."""
    async with backend.transaction() as tx:
        for id in (f"{name}-a", f"{name}-b"):
            await tx.merge(id, {"n": len(await tx.get(id))})


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        async with StateBackend.open(folder) as backend:
            for tasks in (1, 16):
                works = [repeated(change, backend, tasks) for change in (merges, blind, reading)]
                alone, *together = await in_turns(rounds, *works)
                for name, times in zip(("blind", "that reads both"), together, strict=True):
                    figure = f"transaction of two documents {name}, {tasks} at once"
                    note = in_words(times, alone)
                    yield Row(figure, "two merges", None, ratios(alone, times), note=note)


def repeated(change: Change, backend: StateBackend, tasks: int) -> Measure:
    """Return what measures many changes by so many tasks."""

    async def loop(task: int) -> None:
        for _ in range(COUNT // tasks + 1):
            await change(backend, f"d{task}")

    async def work() -> None:
        await asyncio.gather(*(loop(task) for task in range(tasks)))

    return clocked(work)
