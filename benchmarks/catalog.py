"""How long questions to the catalog take, by the number of runs in it.

    python -m benchmarks.catalog 10000 100000 1000000 [--postgresql URL]

Generated runs of one year go straight into a catalog; then each question is asked of a backend as
a user asks it, with the look into the feed that every question begins with. Printed is the median
in milliseconds, and how much slower the largest catalog is than the smallest.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from benchmarks._table import Goal, clocked, in_turns, ratios
from benchmarks._table import Row as Figure
from temporal_state import StateBackend
from temporal_state.documents import to_text
from temporal_state.runs._refs import RunLayout, RunRef
from temporal_state.runs.catalog._feed import minute
from temporal_state.runs.catalog._homes import home_of
from temporal_state.runs.catalog._rows import Row, row_of
from temporal_state.runs.catalog._standing import finish, move
from temporal_state.runs.catalog._writes import insert

END = datetime(2026, 11, 1, tzinfo=UTC)
YEAR = 365 * 24 * 3600
TYPES = ["Import", "Export", "Billing", "Report", "Sync"]
STATUSES = ["completed"] * 92 + ["failed"] * 5 + ["cancelled", "terminated", "running"]
REPEATS = 30
PAGE = 20

Question = Callable[[Any], Awaitable[Any]]


def records(number: int) -> Iterator[tuple[RunRef, dict[str, Any]]]:
    """Yield runs, a fifth of them children, with metadata."""
    draw = random.Random(7)  # noqa: S311 the same each time
    for n in range(number):
        started = END - timedelta(seconds=draw.random() * YEAR)
        status = draw.choice(STATUSES)
        ended = None if status == "running" else started + timedelta(seconds=draw.expovariate(0.01))
        ref = RunRef("default", f"order-{draw.randrange(number // 3 + 1)}", f"run-{n:08}", started)
        parent = {"namespace": "default", "workflow_id": f"order-{n % 997}", "run_id": "r"}
        yield (
            ref,
            {
                **_common(ref, draw.choice(TYPES), status, ended),
                "parent": parent if n % 5 == 0 else None,
                "chain": f"run-{n - n % 3:08}",
                "metadata": {"env": draw.choice(["prod", "test"]), "to": {"customer": n % 5000}},
            },
        )


def _common(ref: RunRef, type: str, status: str, ended: datetime | None) -> dict[str, Any]:
    failure = {"type": "ApplicationError", "message": "no"} if status == "failed" else None
    return {
        "kind": "workflow",
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "workflow_type": type,
        "task_queue": "queue",
        "status": status,
        "confirmed": ended is not None,
        "attempt": 1,
        "original": ref.run_id,
        "started": to_text(ref.started),
        "ended": None if ended is None else to_text(ended),
        "updated": to_text(ended or ref.started),
        "clock": 10,
        "step_count": 0,
        "counts": {},
        "open": [],
        "error": failure,
        "worker": "w",
        "lost": 0,
        "synced": 10,
    }


def generated(number: int, places: RunLayout) -> Iterator[Row]:
    """Yield the rows of the generated runs."""
    for ref, record in records(number):
        yield row_of(places.run(ref), record, [], 1200)


async def build(number: int, url: str, catalog: str | None) -> float:
    """Fill the catalog of a backend; return the seconds that it took."""
    backend = StateBackend.open(url, catalog=catalog)
    await backend.start()
    home = home_of(backend.store, backend.layout, catalog, 60)
    begun, link = time.perf_counter(), home.fresh()
    made = generated(number, RunLayout(backend.layout))
    while some := [*islice(made, 5000)]:
        insert(link, some)
    move(link, minute(datetime.now(UTC)))
    finish(link)
    home.release(home.publish(link))
    await backend.close()
    return time.perf_counter() - begun


def questions(number: int) -> dict[str, Question]:
    """Return the questions: each filter alone, common pairs, deep pages, sums, rare pairs."""
    day, month = timedelta(days=1), timedelta(days=30)
    window = {"since": END - month, "until": END - month + day}
    ends = {"ended_since": END - month, "ended_until": END - month + day}
    wide = {"ended_since": END - 6 * month, "ended_until": END - month}
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
        "failed in a day": lambda runs: runs.failed(within=datetime.now(UTC) - END + day),
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


async def measure(
    sizes: Sequence[int], urls: Sequence[str], catalog: str | None, repeats: int
) -> dict[str, list[list[float]]]:
    """Ask each question of all catalogs in turn; return seconds by question, a list for each size.

    In turns, so that no catalog has the better moments.
    """
    found = {}
    async with AsyncExitStack() as stack:
        backends = [
            await stack.enter_async_context(StateBackend.open(url, catalog=catalog)) for url in urls
        ]
        asked = [questions(size) for size in sizes]
        for name in asked[0]:
            works = [
                clocked(lambda ask=ask[name], runs=backend.runs: ask(runs))
                for ask, backend in zip(asked, backends, strict=True)
            ]
            found[name] = await in_turns(repeats, *works)
    return found


async def rows(*, short: bool) -> AsyncIterator[Figure]:
    """Yield the figures."""
    sizes, repeats = ([500, 2_000], 2) if short else ([10_000, 1_000_000], REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        urls = [f"{folder}/{size}" for size in sizes]
        for size, url in zip(sizes, urls, strict=True):
            await build(size, url, None)
        found = await measure(sizes, urls, None, repeats)
    for name, (small, large) in found.items():
        milliseconds = [1000 * seconds for seconds in large]
        where = f"{name}, {sizes[-1]:,} runs"
        yield Figure(where, "", Goal(5, "less"), milliseconds, "ms")
        yield Figure(where, f"{sizes[0]:,} runs", Goal(2, "less"), ratios(large, small))


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
        found = await measure(sizes, urls, options.postgresql, REPEATS)
    print(f"{'median ms':28}", *(f"{size:>10}" for size in sizes), f"{'ratio':>7}")
    for name, times in found.items():
        medians = [1000 * statistics.median(seconds) for seconds in times]
        ratio = medians[-1] / medians[0]
        print(f"{name:28}", *(f"{value:>10.2f}" for value in medians), f"{ratio:>7.2f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
