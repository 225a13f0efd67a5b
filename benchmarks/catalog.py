"""How long questions to the catalog take, by the number of runs in it.

    python -m benchmarks.catalog 10000 100000 1000000 [--postgresql URL]

Generated runs of one year go straight into a catalog; then each question is asked of a backend as
a user asks it, with the look into the feed that every question begins with; and new runs are
recorded as a worker does it, each flush taken into the catalog. Printed is the median in
milliseconds, and how much slower the largest catalog is than the smallest.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks._generated import END, STEPS, build, new_runs
from benchmarks._table import Goal, Measure, clocked, in_turns, in_words, ratios
from benchmarks._table import Row as Figure
from temporal_state import StateBackend

LARGE = 1_000_000
REPEATS = 30
ROUNDS_OF_RUNS = 63
PAGE = 20
APART = "failed in a day"
"""Finds a hundred times as many among a million as among ten thousand, so its ratio says little."""

Question = Callable[[Any], Awaitable[Any]]


def questions(number: int) -> dict[str, Question]:
    """Return the questions: each filter alone, common pairs, deep pages, sums, rare pairs."""
    day, month = timedelta(days=1), timedelta(days=30)
    window = {"since": END - month, "until": END - month + day}
    ends = {"ended_since": END - month, "ended_until": END - month + day}
    wide = {"ended_since": END - 6 * month, "ended_until": END - month}
    # As many are found at every size: a page of 100 of about 140.
    alike = day * LARGE / max(number, 1)
    customer = {"to": {"customer": 4711}}

    def listed(**filters: Any) -> Question:
        return lambda runs: runs.list(limit=PAGE, **filters)

    return {
        "newest": listed(),
        "status": listed(status="failed"),
        "two statuses": listed(status=["failed", "running"]),
        "type": listed(workflow_type="Billing"),
        "workflow id": listed(workflow_id="order-7"),
        "parent": listed(parent="order-7"),
        "chain": listed(chain=f"run-{number // 2 - number // 2 % 3:08}"),
        "kind": listed(kind="workflow"),
        "start window": listed(**window),
        "end window": listed(**ends),
        "wide end window": listed(**wide),
        "metadata, half of all": listed(metadata={"env": "test"}),
        "metadata, nested": listed(metadata=customer),
        "type + status": listed(workflow_type="Billing", status="failed"),
        "status + start window": listed(status="failed", **window),
        "type + start window": listed(workflow_type="Sync", **window),
        "parent + status": listed(parent="order-7", status="completed"),
        "metadata + status": listed(metadata={"env": "prod"}, status="failed"),
        "offset 1000": listed(offset=1000),
        "deep page by cursor": listed(cursor=f"{_micros(END - 6 * month)}.0"),
        "deep, with status": listed(status="failed", cursor=f"{_micros(END - 6 * month)}.0"),
        "failed in a window": lambda runs: runs.failed(within=datetime.now(UTC) - END + alike),
        APART: lambda runs: runs.failed(within=datetime.now(UTC) - END + day),
        "background": lambda runs: runs.background("order-7", limit=PAGE),
        "stats": lambda runs: runs.stats(),
        "stats of a month": lambda runs: runs.stats(since=END - 2 * month, until=END - month),
        "step stats": lambda runs: runs.step_stats(),
        "rare: running + customer": listed(metadata=customer, status="running"),
        "rare: kind + end window": listed(kind="manual", **wide),
        "rare: nobody's type + env": listed(metadata={"env": "prod"}, workflow_type="None"),
    }


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


@asynccontextmanager
async def opened(urls: Sequence[str], catalog: str | None) -> AsyncIterator[list[StateBackend]]:
    """Open backends, one for each catalog."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(StateBackend.open(url, catalog=catalog)) for url in urls
        ]


async def measure(
    sizes: Sequence[int], backends: Sequence[StateBackend], repeats: int
) -> AsyncIterator[tuple[str, list[list[float]]]]:
    """Ask each question of all catalogs in turn; yield it, and its seconds, a list for each size.

    In turns, so that no catalog has the better moments.
    """
    asked = [questions(size) for size in sizes]
    for name in asked[0]:
        works = [
            clocked(lambda ask=ask[name], runs=backend.runs: ask(runs))
            for ask, backend in zip(asked, backends, strict=True)
        ]
        yield name, await in_turns(repeats, *works)


async def record_runs(
    sizes: Sequence[int], backends: Sequence[StateBackend], rounds: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Record new runs in all stores in turn; return the seconds of each, a list for each size.

    The second ones are those of them that it took to bring the catalog up to date.
    """
    shares: list[list[float]] = [[] for _ in sizes]

    def recording(backend: StateBackend, size: int, share: list[float]) -> Measure:
        flushes = new_runs(size)

        async def record() -> float:
            writing = following = 0.0
            for flush in next(flushes):
                begun = time.perf_counter()
                await backend.runs.write(flush, "worker")
                written = time.perf_counter()
                await backend.runs.catalog.ask(_nothing)
                writing += written - begun
                following += time.perf_counter() - written
            share.append(following)
            return writing + following

        return record

    works = [recording(*one) for one in zip(backends, sizes, shares, strict=True)]
    return await in_turns(rounds, *works), [share[-rounds:] for share in shares]


def _nothing(_: Any) -> None:
    """Ask the catalog for nothing but to be up to date."""


async def rows(*, short: bool) -> AsyncIterator[Figure]:
    """Yield the figures."""
    sizes, repeats = ([500, 1000, 2_000], 2) if short else ([10_000, 100_000, LARGE], REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"{folder}/{size}" for size in sizes]
        for size, url in zip(sizes, urls, strict=True):
            await build(size, url, None)
        async with opened(urls, None) as backends:
            async for name, times in measure(sizes, backends, repeats):
                for row in _compared(name, sizes, times):
                    yield row
            rounds = 2 if short else ROUNDS_OF_RUNS
            for row in _written(sizes, *await record_runs(sizes, backends, rounds)):
                yield row


def _compared(name: str, sizes: Sequence[int], times: list[list[float]]) -> Iterator[Figure]:
    for size, seconds in zip(sizes, times, strict=True):
        milliseconds = [1000 * each for each in seconds]
        yield Figure(f"{name}, {size:,} runs", "", Goal(5, "less"), milliseconds, "ms")
    where, against = f"{name}, {sizes[-1]:,} runs", f"{sizes[0]:,} runs"
    if name == APART:
        note = "the more runs there are the more have failed in a day; the window above is fair"
        yield Figure(where, against, None, ratios(times[-1], times[0]), note=note)
    else:
        yield Figure(where, against, Goal(2, "less"), ratios(times[-1], times[0]))


def _written(
    sizes: Sequence[int], times: list[list[float]], shares: list[list[float]]
) -> Iterator[Figure]:
    where, against = f"recording a run, {sizes[-1]:,} runs", f"{sizes[0]:,} runs"
    note = (
        f"start, {STEPS} steps and end, each written durably and taken into the catalog: "
        f"{in_words(times[-1], times[0])}"
    )
    yield Figure(where, against, Goal(2, "less"), ratios(times[-1], times[0]), note=note)
    figure = f"of this in the catalog, {sizes[-1]:,} runs"
    note = in_words(shares[-1], shares[0])
    yield Figure(figure, against, Goal(2, "less"), ratios(shares[-1], shares[0]), note=note)


async def main() -> None:
    """Build catalogs of several sizes, perhaps in PostgreSQL, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--postgresql", metavar="URL")
    options = parser.parse_args()
    sizes = options.sizes
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"{folder}/{size}" for size in sizes]
        for size, url in zip(sizes, urls, strict=True):
            seconds = await build(size, url, options.postgresql)
            print(f"{size} runs in {seconds:.1f} s", flush=True)
        print(f"{'median ms':28}", *(f"{size:>10}" for size in sizes), f"{'ratio':>7}")
        async with opened(urls, options.postgresql) as backends:
            async for name, times in measure(sizes, backends, REPEATS):
                _print(name, times)
            times, shares = await record_runs(sizes, backends, ROUNDS_OF_RUNS)
            _print("recording a run", times)
            _print("of this in the catalog", shares)


def _print(name: str, times: list[list[float]]) -> None:
    medians = [1000 * statistics.median(seconds) for seconds in times]
    ratio = medians[-1] / medians[0]
    print(f"{name:28}", *(f"{value:>10.2f}" for value in medians), f"{ratio:>7.2f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
