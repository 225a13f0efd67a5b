"""What a transaction of two documents costs, against two merges of the same documents.

    python -m benchmarks.transactions [url]

Both are measured side by side in turns, alone and with sixteen at once on documents of their own.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

from temporal_state import StateBackend

ROUNDS, COUNT = 5, 40


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


async def rate(
    work: Callable[[StateBackend, str], Awaitable[None]], backend: StateBackend, tasks: int
) -> float:
    """Return how often a second ``work`` is done by so many tasks."""

    async def loop(task: int) -> None:
        for _ in range(COUNT // tasks + 1):
            await work(backend, f"d{task}")

    started = time.perf_counter()
    await asyncio.gather(*(loop(task) for task in range(tasks)))
    return tasks * (COUNT // tasks + 1) / (time.perf_counter() - started)


async def main(url: str) -> None:
    """Print the rates and their ratios."""
    async with StateBackend.open(url) as backend:
        for tasks in (1, 16):
            rates = [
                [await rate(work, backend, tasks) for work in (merges, blind, reading)]
                for _ in range(ROUNDS)
            ]
            for name, column in zip(
                ("two merges", "transaction", "... that reads both"),
                zip(*rates, strict=True),
                strict=True,
            ):
                ratios = sorted(new / old[0] for new, old in zip(column, rates, strict=True))
                print(
                    f"{tasks:2} at once, {name:20} {sorted(column)[ROUNDS // 2]:6.0f}/s "
                    f"ratio {ratios[ROUNDS // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else folder))
