"""What a full store and a long run cost, against an empty store and a short run.

python -m benchmarks growth
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import orjson

from benchmarks._flushes import patch
from benchmarks._generated import build, records
from benchmarks._table import ROUNDS, Goal, Row, clocked, in_turns, in_words, ratios
from benchmarks.storage import DOCUMENT
from temporal_state import StateBackend
from temporal_state.runs import RunRef
from temporal_state.runs._refs import RunLayout

NOW = datetime(2026, 11, 1, tzinfo=UTC)
FULL = 100_000
LONG = 10_000
STEPS = 10  # of one flush
SAVES = 64
READS = 32
BEYOND = (
    "a run with more objects than the first look shows, two calls more than of another, eight "
    "for six: whether it has its own object, and what comes after it, which may be a newer run; "
    "and its first object holds 64 steps, not ten. Tried: a listing that looks at as few names "
    "as it can (from 1.70), a first look that shows all objects (no faster), to ask one after "
    "the other"
)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        yield await recording(folder, rounds, 500 if short else LONG)
        async for row in reading(folder, rounds, 500 if short else LONG):
            yield row
        number = 500 if short else FULL
        with ProcessPoolExecutor(1) as process:  # beside the other half of this machine's work
            filled = process.submit(fill, f"{folder}/full", number)
            await build(number, f"{folder}/full", None)
            await asyncio.wrap_future(filled)
        await build(0, f"{folder}/empty", None)
        yield await saving(folder, rounds, number)
        yield await opening(folder, rounds, number)


async def recording(folder: str, rounds: int, steps: int) -> Row:
    """Write what one flush of a worker brings, for a short run and a long one."""
    async with StateBackend.open(f"{folder}/runs") as backend:
        long, number = RunRef("default", "long", "long", NOW), count()
        for start in range(0, steps, 500):
            await backend.runs.write(patch(long, start, 500), "before")
        ends = count(steps, STEPS)

        async def at_end() -> None:
            await backend.runs.write(patch(long, next(ends), STEPS), f"w{next(number)}")

        async def at_start() -> None:
            ref = RunRef("default", f"short-{next(number)}", "short", NOW)
            await backend.runs.write(patch(ref, 0, STEPS), "w")

        late, early = await in_turns(8 * rounds, clocked(at_end), clocked(at_start))
    figure = f"recording at step {steps:,}"
    return Row(
        figure, "at step 10", Goal(1.5, "less"), ratios(late, early), note=in_words(late, early)
    )


async def reading(folder: str, rounds: int, steps: int) -> AsyncIterator[Row]:
    """Read a late step of a long run, and an early one of it and of a run of ten."""
    async with StateBackend.open(f"{folder}/read") as backend:
        for id, length in (("long", steps), ("short", STEPS)):
            ref = RunRef("default", id, id, NOW)
            for start in range(0, length, 500):
                await backend.runs.write(patch(ref, start, min(length, 500)), "w")

        async def read(id: str, number: int) -> None:
            for _ in range(READS):
                step = await backend.runs.get_step(id, number)
                assert step is not None
                assert step.attempt == 1

        late, early, short = await in_turns(
            rounds,
            clocked(lambda: read("long", steps)),
            clocked(lambda: read("long", STEPS)),
            clocked(lambda: read("short", STEPS)),
        )
    for figure, against, ours, theirs in (
        (f"reading step {steps:,}", f"step {STEPS} of the same run", late, early),
        (f"reading step {STEPS} of {steps:,}", f"step {STEPS} of {STEPS}", early, short),
    ):
        note = f"{READS} reads: {in_words(ours, theirs)}; of {BEYOND}"
        yield Row(figure, against, Goal(1.5, "less"), ratios(ours, theirs), note=note)


def fill(root: str, number: int) -> None:
    """Put documents and the records of runs into a store, unflushed, as that is not measured."""
    backend = StateBackend.open(root)
    places = RunLayout(backend.layout)
    for path, value in _objects(backend, places, number):
        file = Path(root, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(value)


def _objects(backend: StateBackend, places: RunLayout, number: int) -> Iterator[tuple[str, bytes]]:
    document = orjson.dumps(DOCUMENT)
    for n in range(number):
        yield backend.layout.document(f"document-{n}", "workflows").key, document
    for ref, record in records(number):
        yield places.run(ref), orjson.dumps({"schema": 1, **record})


async def saving(folder: str, rounds: int, number: int) -> Row:
    """Save new documents in a store that has many, and in an empty one."""
    async with AsyncExitStack() as stack:
        full, empty = [
            await stack.enter_async_context(StateBackend.open(f"{folder}/{name}"))
            for name in ("full", "empty")
        ]
        new = count()

        async def saves(backend: StateBackend) -> None:
            for _ in range(SAVES):
                await backend.documents.replace(f"new-{next(new)}", DOCUMENT)

        late, early = await in_turns(
            rounds, clocked(lambda: saves(full)), clocked(lambda: saves(empty))
        )
    return Row(
        f"saving the {number:,}th document",
        "the first ones",
        Goal(1.5, "less"),
        ratios(late, early),
        note=f"{SAVES} saves: {in_words(late, early)}",
    )


async def opening(folder: str, rounds: int, number: int) -> Row:
    """Open a store, read a document, list runs, and close it."""

    async def use(name: str) -> None:
        async with StateBackend.open(f"{folder}/{name}") as backend:
            await backend.documents.get("document-7")
            await backend.runs.list(limit=20)

    full, empty = await in_turns(
        rounds, clocked(lambda: use("full")), clocked(lambda: use("empty"))
    )
    more = [1000 * (mine - other) for mine, other in zip(full, empty, strict=True)]
    return Row(
        f"start-up: opening a store with {number:,} documents and runs, a get, a list, closing",
        "an empty store",
        Goal(50, "less"),
        more,
        "ms more",
        in_words(full, empty),
    )
