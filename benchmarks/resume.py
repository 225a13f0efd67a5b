"""What a step costs that a resumed run takes over, beside an activity that does nothing.

    python -m benchmarks resume

Each round runs a workflow of empty activities without the plugin, of which 2,500 are enough; then
one with it that fails after its last step; then resumes that. The dev server runs without its
throttle, and lets a run of 10,000 steps have the 60,000 events that it needs. And: what an item of
a loop costs that can go on where it was.
"""

import asyncio
import contextlib
import gc
import tempfile
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from benchmarks._table import Goal, Row, in_words, number, ratios
from temporal_state import StateBackend, StatePlugin, resume, state
from temporal_state.runs import Source, Takeover
from temporal_state.testing import dev_server

SOON = timedelta(minutes=5)
WIDTH = 100
STEPS = 200
ROUNDS = 5
LONG = 10_000
ENOUGH = 2_500  # steps without the plugin, to know what one of them takes
ITEMS = 100_000
LIMITS = ("limit.historyCount.error=1000000", "limit.historyCount.warn=1000000")


@activity.defn
async def nothing(n: int) -> int:
    """Do as little as an activity can."""
    return n


@workflow.defn(sandboxed=False)
class Wide:
    """Some activities at once, until all are done."""

    @workflow.run
    async def run(self, steps: int, fails: bool) -> None:
        """Run ``steps`` activities, and fail the first time."""
        for start in range(0, steps, WIDTH):
            await asyncio.gather(
                *(
                    workflow.execute_activity(nothing, n, start_to_close_timeout=SOON)
                    for n in range(start, min(start + WIDTH, steps))
                )
            )
        if fails and state.resumed_from() is None:
            raise ApplicationError("to be resumed", non_retryable=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step took, seconds of the run and of its process's CPU."""

    wall: float
    cpu: float

    @classmethod
    @contextlib.contextmanager
    def of(cls, steps: int, found: list["Cost"]) -> Iterator[None]:
        """Add what a block takes that runs so many steps."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        found.append(cls((time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps))


@dataclass(frozen=True, slots=True)
class Round:
    """What a run costs without the plugin, one that is recorded, and one that takes that over."""

    without: Cost
    recorded: Cost
    resumed: Cost


def worker(client: Client, queue: str, plugins: list[Any]) -> Worker:
    """Return a worker for the runs."""
    return Worker(client, task_queue=queue, workflows=[Wide], activities=[nothing], plugins=plugins)


async def measure(client: Client, steps: int, backend: StateBackend, id: str) -> Round:
    """Return the costs of one round; the recorded run has the id."""
    costs: list[Cost] = []
    fewer = min(steps, ENOUGH)
    async with worker(client, id, []):
        with Cost.of(fewer, costs):
            await client.execute_workflow(
                Wide.run, args=[fewer, False], id=uuid.uuid4().hex, task_queue=id
            )
    async with worker(client, id, [StatePlugin(backend)]):
        with Cost.of(steps, costs), contextlib.suppress(WorkflowFailureError):
            await client.execute_workflow(Wide.run, args=[steps, True], id=id, task_queue=id)
    async with worker(client, id, [StatePlugin(backend)]):
        with Cost.of(steps, costs):
            await (await resume(client, backend, id)).result()
    return Round(*costs)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    options = [part for limit in LIMITS for part in ("--dynamic-config-value", limit)]
    async with (
        await dev_server(fast=True, dev_server_extra_args=options) as server,
        _backend() as backend,
    ):
        client = server.client
        await measure(client, 20, backend, uuid.uuid4().hex)  # warms up
        for steps, rounds in ((20, 1),) if short else ((STEPS, ROUNDS), (LONG, 1)):
            ids = [uuid.uuid4().hex for _ in range(rounds)]
            found = [await measure(client, steps, backend, id) for id in ids]
            for row in compared(steps, found):
                yield row
        run = (await backend.runs.of_workflow(ids[0]))[-1]
        source = Source(run.namespace, run.workflow_id, run.run_id)
        async for row in loading(backend, source, steps, 1 if short else ROUNDS):
            yield row
        for row in await loops(client, backend, 1000 if short else ITEMS, 1 if short else ROUNDS):
            yield row


@contextlib.asynccontextmanager
async def _backend() -> AsyncIterator[StateBackend]:
    with tempfile.TemporaryDirectory() as root:
        async with StateBackend.open(root) as backend:
            yield backend


def compared(steps: int, rounds: Sequence[Round]) -> Iterator[Row]:
    """Yield what the rounds say: in time, and in CPU, which a busy machine does not change."""
    for kind in ("recorded", "taken over"):
        runs = [one.recorded if kind == "recorded" else one.resumed for one in rounds]
        for what in ("wall", "cpu"):
            ours = [getattr(cost, what) for cost in runs]
            theirs = [getattr(one.without, what) for one in rounds]
            yield Row(
                f"a step of {steps:,}, {kind}{', CPU' if what == 'cpu' else ''}",
                "an empty activity without the plugin",
                None,
                ratios(ours, theirs),
                note=in_words(ours, theirs),
            )


async def loading(
    backend: StateBackend, source: Source, steps: int, rounds: int
) -> AsyncIterator[Row]:
    """Yield what the first activity of a resumed run waits for, and what is then kept."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        await Takeover(backend.runs).recorded(source)
        times.append(time.process_time() - started)
    figure = f"reading what {steps:,} steps have recorded"
    yield Row(f"{figure}, CPU", "", Goal(1, "less"), times, "s")
    gc.collect()
    tracemalloc.start()
    found = await Takeover(backend.runs).recorded(source)
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = "" if found is None else f"; it says {number(found.size / 1e6)} MB of itself"
    yield Row(
        f"{figure}, memory held",
        "",
        Goal(20, "less"),
        [held / 1e6],
        "MB",
        f"{number(peak / 1e6)} MB on the way{said}",
    )


@activity.defn
async def async_loop(items: int) -> float:
    """Return the seconds of CPU that a loop takes which does nothing."""
    started = time.thread_time()
    async for _ in state.resumable(range(items), every=2 * items + 2):
        pass
    return time.thread_time() - started


@activity.defn
def threaded_loop(items: int) -> float:
    """Return the same of a threaded activity."""
    started = time.thread_time()
    for _ in state.sync.resumable(range(items), every=2 * items + 2):
        pass
    return time.thread_time() - started


@workflow.defn(sandboxed=False)
class Loops:
    """One activity with a loop."""

    @workflow.run
    async def run(self, name: str, items: int) -> float:
        """Return what it returns."""
        seconds: float = await workflow.execute_activity(
            name, items, start_to_close_timeout=SOON, result_type=float
        )
        return seconds


async def loops(client: Client, backend: StateBackend, items: int, rounds: int) -> Sequence[Row]:
    """Return what an item costs of a loop whose position is saved, in CPU of its thread."""
    queue, found = uuid.uuid4().hex, []
    functions: Sequence[Callable[[int], Any]] = (async_loop, threaded_loop)
    with ThreadPoolExecutor(2) as pool:
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Loops],
            activities=functions,
            activity_executor=pool,
            plugins=[StatePlugin(backend)],
        ):
            for function in functions:
                name = function.__name__
                times = [
                    await client.execute_workflow(
                        Loops.run, args=[name, items], id=uuid.uuid4().hex, task_queue=queue
                    )
                    for _ in range(rounds)
                ]
                each = [1e6 * seconds / items for seconds in times]
                figure = f"state.resumable, an item of {items:,}, {name.partition('_')[0]}, CPU"
                found.append(Row(figure, "", Goal(2, "less"), each, "µs"))
    return found
