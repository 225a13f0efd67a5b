"""Where a process spends its processor time, by kind of thread: the profile beside a figure.

Read from the kernel before and after, so it costs nothing in between and nothing is instrumented.
"""

import statistics
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks._table import Measure, Work, clocked, in_turns, in_words, number, ratios

TASKS = Path("/proc/self/task")
KINDS = (
    ("MainThread", "event loop"),
    ("temporal_workflow", "workflows"),
    ("temporal_state-recorder", "recorder"),
    ("temporal_state-catalog", "catalog"),
    ("temporal-state", "store"),
)
OTHERS = "others"
LEAST = 0.005  # milliseconds that are worth a word


class Spent:
    """Processor time of one side of a comparison, summed over all its rounds."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._operations = 0

    @contextmanager
    def counting(self, operations: int) -> Iterator[None]:
        """Count what all threads that live at the end spend in a block of so many operations."""
        before = _by_thread()
        yield
        for thread, (kind, seconds) in _by_thread().items():
            self._seconds[kind] += seconds - before.get(thread, (kind, 0.0))[1]
        self._operations += operations

    def clocked(self, work: Work, operations: int) -> Measure:
        """Return what measures the seconds that ``work`` takes, counted."""
        measure = clocked(work)

        async def counted() -> float:
            with self.counting(operations):
                return await measure()

        return counted

    @property
    def each(self) -> float:
        """Milliseconds of one operation; 0 where the kernel does not tell."""
        return 1000 * self._seconds.total() / max(self._operations, 1)

    def __str__(self) -> str:
        each = [(k, 1000 * s / self._operations) for k, s in self._seconds.most_common()]
        parts = [f"{kind} {number(value)}" for kind, value in each if value >= LEAST]
        return f"{number(self.each)} ms ({', '.join(parts)})" if parts else "unknown here"


async def compared(
    rounds: int, ours: Work, theirs: Work, counts: tuple[int, int]
) -> tuple[list[float], str]:
    """Return how many times as fast as ``theirs`` ours is, each round, with a profile in words.

    Args:
        rounds: How many there are.
        ours: What is measured.
        theirs: What it is compared with.
        counts: How many operations each of the two is.
    """
    mine, other = Spent(), Spent()
    seconds = await in_turns(
        rounds, mine.clocked(ours, counts[0]), other.clocked(theirs, counts[1])
    )
    words = f"{in_words(*seconds)}; processor time of each {mine} and {other}"
    if mine.each:
        most = number(1000 * statistics.median(seconds[1]) / counts[1] / mine.each)
        words += f"; if ours waited for nothing, its processor time would allow {most}"
    return ratios(seconds[1], seconds[0]), words


def _by_thread() -> dict[int, tuple[str, float]]:
    """Return kind and seconds of each thread; nothing where the kernel does not tell."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = {}
    for task in TASKS.iterdir() if TASKS.is_dir() else ():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            found[int(task.name)] = (_kind(names.get(int(task.name), "")), nanoseconds / 1e9)
    return found


def _kind(name: str) -> str:
    return next((kind for prefix, kind in KINDS if name.startswith(prefix)), OTHERS)
