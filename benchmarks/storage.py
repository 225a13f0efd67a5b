"""Documents and objects in local files, against raw loops that do the same without any promise.

python -m benchmarks storage
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks._spent import compared
from benchmarks._table import ROUNDS, Goal, Row
from temporal_state import StateBackend
from temporal_state.documents import DEFAULT_LIMITS, plain_object, to_text, utc_now

FEW_ROUNDS = 7  # of what only shows where a limit is
DOCUMENT = {f"field_{n:02}": "x" * 32 for n in range(22)}  # 1 KB of JSON with its envelope
WRITERS = 64


class Raw:
    """Files written as durably as ours, by one thread, and nothing else."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir()

    def put(self, name: str, data: bytes, flush: Callable[[int], None] = os.fsync) -> None:
        """Write a temporary file, flush it, rename it, flush the folder."""
        path = f"{self._folder}/{name}"
        file = os.open(f"{path}.tmp", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.write(file, data)
        flush(file)
        os.close(file)
        os.rename(f"{path}.tmp", path)  # noqa: PTH104 the raw loop
        folder = os.open(self._folder, os.O_RDONLY)
        flush(folder)
        os.close(folder)

    def get(self, name: str) -> Any:
        """Open and read a file, and parse it."""
        with open(f"{self._folder}/{name}", "rb") as file:  # noqa: PTH123 as above
            return orjson.loads(file.read())

    def save(self, name: str, change: dict[str, Any]) -> None:
        """Read, merge, write."""
        self.put(name, orjson.dumps({**self.get(name), **change}))


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared, in how many rounds, of how many operations."""

    backend: StateBackend
    raw: Raw
    rounds: int
    size: int


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    size = 64 if short else 256
    with tempfile.TemporaryDirectory() as folder:
        raw = Raw(f"{folder}/raw")
        async with StateBackend.open(f"{folder}/ours") as backend:
            sides = Sides(backend, raw, rounds, size)
            for row in (one_writer, many_writers, objects, one_document, get):
                yield await row(sides)
            limits = Sides(backend, raw, min(rounds, FEW_ROUNDS), size)
            for row in (in_a_thread, unflushed, shared, answered):
                yield await row(limits)


async def one_writer(of: Sides) -> Row:
    """Merge into one document, again and again."""
    of.raw.put("one", orjson.dumps(DOCUMENT))
    await of.backend.documents.replace("one", DOCUMENT)

    async def ours() -> None:
        for n in range(of.size):
            await of.backend.documents.merge("one", {"n": n})

    async def theirs() -> None:
        for n in range(of.size):
            of.raw.save("one", {"n": n})

    values, note = await compared(of.rounds, ours, theirs, (of.size, of.size))
    return Row(
        "durable save of a 1 KB document, one writer",
        "raw read, temp + fsync + rename + fsync dir, one thread",
        Goal(0.8),
        values,
        note=f"{of.size} saves: {note}; beyond the two flushes of both, ours takes two changes of "
        "threads, a lock between processes, and an envelope taken apart and put together. The two "
        "changes of threads alone take the raw loop to what a row below says, and an event loop "
        "must not wait for a disk itself. Tried: descriptors of folders and locks kept open, which "
        "would lock what somebody has removed; one flush instead of two, which not every file "
        "system promises to be enough",
    )


async def many_writers(of: Sides) -> Row:
    """Merge into a document for each writer."""
    for n in range(WRITERS):
        of.raw.put(f"many-{n}", orjson.dumps(DOCUMENT))
        await of.backend.documents.replace(f"many-{n}", DOCUMENT)

    async def ours() -> None:
        await _gathered(lambda w, n: of.backend.documents.merge(f"many-{w}", {"n": n}), 2 * of.size)

    async def theirs() -> None:
        for n in range(2 * of.size):
            of.raw.save(f"many-{n % WRITERS}", {"n": n})

    values, note = await compared(of.rounds, ours, theirs, (2 * of.size, 2 * of.size))
    return Row(
        "durable saves of different documents, 64 writers",
        "the same raw loop",
        Goal(1.8),
        values,
        note=f"{2 * of.size} saves: {note}; all that wait share one flush of the file system. What "
        "is left is the kernel's work of making one file and replacing another (below: without any "
        "flush), most of it to free the blocks of what was replaced: 150 of 230 us where this was "
        "looked into. Refused: to write into the file that was replaced, five times as fast, since "
        "who has just opened it would read another document. Tried: its removal on another thread, "
        "1.3 times as fast in a loop of nothing else, no faster here, for a third more processor "
        "time; a thread for each save, which halves it, since some twenty short system calls each "
        "fight for the interpreter; a flush of each file, by eight threads, 1.1 times; 64 objects "
        "to a commit instead of 32, or names given by two threads, which was no faster",
    )


async def objects(of: Sides) -> Row:
    """Put an object for each writer, whole; the raw loop does not read, either."""
    data = orjson.dumps(DOCUMENT)

    async def ours() -> None:
        await _gathered(lambda w, _: of.backend.store.put(f"puts/{w}.json", data), 2 * of.size)

    async def theirs() -> None:
        for n in range(2 * of.size):
            of.raw.put(f"put-{n % WRITERS}", data)

    values, note = await compared(of.rounds, ours, theirs, (2 * of.size, 2 * of.size))
    return Row(
        "object puts, 64 writers",
        "the raw loop without its read",
        Goal(2.5),
        values,
        note=f"{2 * of.size} puts: {note}; the same as for documents",
    )


async def one_document(of: Sides) -> Row:
    """Merge into one document by 64 tasks; the time of one change is compared."""
    await of.backend.documents.replace("shared", DOCUMENT)
    share = max(of.size // 8, 8)

    async def ours() -> None:
        await _gathered(
            lambda w, n: of.backend.documents.merge("shared", {f"k{w}": n}), WRITERS * share
        )

    async def theirs() -> None:
        for n in range(share):
            await of.backend.documents.merge("shared", {"k0": n})

    values, note = await compared(of.rounds, ours, theirs, (WRITERS * share, share))
    return Row(
        "merges into one document, 64 tasks, durable",
        "one at a time",
        Goal(30),
        [WRITERS * value for value in values],
        note=f"{WRITERS * share} and {share} merges: {note}; each change is checked, applied, and "
        "encoded for its own limit, token and answer, and has a time limit of its own. Rows below "
        "show tasks that share a write with none of that, and with the least of it that can be: "
        "that alone is more than the goal allows. Tried: a random revision without the system's "
        "help, a wake-up for each commit instead of one for each change, a cheaper wait, outcomes "
        "without a future of their own, times written by orjson: together they made it twice as "
        "fast",
    )


async def get(of: Sides) -> Row:
    """Read one document."""
    of.raw.put("read", orjson.dumps(DOCUMENT))
    await of.backend.documents.replace("read", DOCUMENT)

    async def ours() -> None:
        for _ in range(4 * of.size):
            await of.backend.documents.get("read")

    async def theirs() -> None:
        for _ in range(4 * of.size):
            await asyncio.to_thread(of.raw.get, "read")

    values, note = await compared(of.rounds, ours, theirs, (4 * of.size, 4 * of.size))
    return Row(
        "get of a 1 KB document",
        "raw open + read in a thread + orjson",
        Goal(0.7),
        values,
        note=f"{4 * of.size} reads: {note}; ours takes no thread where the kernel says that "
        "it need not wait for the disk",
    )


async def in_a_thread(of: Sides) -> Row:
    """Let the raw loop save as an event loop must, in another thread."""
    of.raw.put("hop", orjson.dumps(DOCUMENT))

    async def hopping() -> None:
        for n in range(of.size):
            await asyncio.to_thread(of.raw.save, "hop", {"n": n})

    async def plain() -> None:
        for n in range(of.size):
            of.raw.save("hop", {"n": n})

    values, note = await compared(of.rounds, hopping, plain, (of.size, of.size))
    figure = "limit: the raw loop itself, each save in a thread"
    return Row(figure, "the raw loop in the event loop's own thread", None, values, note=note)


async def unflushed(of: Sides) -> Row:
    """Let the raw loop put without its flushes."""
    data = orjson.dumps(DOCUMENT)

    async def lazy() -> None:
        for n in range(2 * of.size):
            of.raw.put(f"put-{n % WRITERS}", data, flush=_not_at_all)

    async def plain() -> None:
        for n in range(2 * of.size):
            of.raw.put(f"put-{n % WRITERS}", data)

    values, note = await compared(of.rounds, lazy, plain, (2 * of.size, 2 * of.size))
    figure = "limit: object puts of one thread, if flushes took no time"
    return Row(figure, "the raw loop without its read", None, values, note=note)


async def shared(of: Sides) -> Row:
    """Let 64 tasks share writes of the raw loop, with no check, limit, version or answer."""
    figure = "limit: 64 tasks that share writes of the raw loop, and nothing else"
    return await _shared(of, Bare(of.raw), figure)


async def answered(of: Sides) -> Row:
    """Let them, with what each change must have."""
    figure = "limit: 64 tasks that share them, each change checked, limited, versioned and answered"
    return await _shared(of, Answering(of.raw), figure)


async def _shared(of: Sides, bare: "Bare", figure: str) -> Row:
    of.raw.put("shared", orjson.dumps(DOCUMENT))
    share = max(of.size // 8, 8)

    async def ours() -> None:
        await _gathered(lambda w, n: bare.merge({f"k{w}": n}), WRITERS * share)

    async def theirs() -> None:
        for n in range(share):
            await bare.merge({"k0": n})

    values, note = await compared(of.rounds, ours, theirs, (WRITERS * share, share))
    return Row(figure, "one at a time", None, [WRITERS * value for value in values], note=note)


class Bare:
    """Merges those changes together that wait while a write is on its way."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[object]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def merge(self, change: dict[str, Any]) -> object:
        """Return when the change is durable."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            answers = await asyncio.to_thread(self.save, [change for change, _ in some])
            for (_, done), answer in zip(some, answers, strict=True):
                done.set_result(answer)
        self._writing = None

    def save(self, changes: Sequence[dict[str, Any]]) -> Sequence[object]:
        """Merge all into what is there, and write it."""
        merged = {key: value for change in changes for key, value in change.items()}
        self._raw.save("shared", merged)
        return [None] * len(changes)


class Answering(Bare):
    """Gives each change what ours has: a check, a time, its own size, a version and the state."""

    async def merge(self, change: dict[str, Any]) -> object:
        """Return the state after the change when that is durable."""
        checked = plain_object(change)
        async with asyncio.timeout(10):
            return await super().merge(checked)

    def save(self, changes: Sequence[dict[str, Any]]) -> Sequence[object]:
        """Make each change by itself, and write the last."""
        state, data, answers = self._raw.get("shared"), b"", []
        for change in changes:
            meta = {"version": len(answers), "updated": to_text(utc_now())}
            state = {**state, **change}
            assert len(orjson.dumps(state)) <= DEFAULT_LIMITS.document_bytes
            data = orjson.dumps({**state, "meta": meta})
            answers.append(state)
        self._raw.put("shared", data)
        return answers


def _not_at_all(_descriptor: int) -> None:
    """Stand for a flush."""


async def _gathered(work: Callable[[int, int], Awaitable[object]], count: int) -> None:
    async def writer(number: int) -> None:
        for n in range(count // WRITERS):
            await work(number, n)

    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
