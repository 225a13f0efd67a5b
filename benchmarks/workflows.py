"""Workflow throughput with the plugin at its defaults, against the same worker without it.

    python -m benchmarks workflows

The dev server runs without its throttle, which would hide any cost. A broken store may cost a
workflow no more than a healthy one does, so it has the same goal as a store that works.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks._bare import bare, saving
from benchmarks._spent import Spent
from benchmarks._table import ROUNDS, Goal, Row, in_turns, speed_ratios
from temporal_state import Recording, StateBackend, StateError, StatePlugin, StoreError
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore, dev_server

SOON = timedelta(seconds=30)
FEW_ROUNDS = 5  # where the figure is far from its goal, or is shown beside another
NEAR_ONE = Goal(0.97, bound=0.95)
WITHOUT = "the same worker without the plugin"
FAULTS: dict[str, StateError | timedelta] = {
    "raises on every call": StoreError("the disk is gone"),
    "hangs": timedelta(hours=1),
    "takes 1 s a call": timedelta(seconds=1),
}


@activity.defn
async def nothing(n: int) -> int:
    """Do as little as an activity can."""
    return n


@workflow.defn(sandboxed=False)  # the sandbox costs the same with and without us
class Sequential:
    """One activity after the other."""

    @workflow.run
    async def run(self, steps: int, local: bool) -> None:
        """Run ``steps`` activities."""
        for n in range(steps):
            if local:
                await workflow.execute_local_activity(nothing, n, start_to_close_timeout=SOON)
            else:
                await workflow.execute_activity(nothing, n, start_to_close_timeout=SOON)


@dataclass(frozen=True, slots=True)
class Case:
    """So many workflows at once, of so many steps."""

    name: str
    workflows: int
    steps: int
    local: bool = False

    def shortened(self) -> "Case":
        """Return a case that shows no more than that it works."""
        return Case(self.name, min(self.workflows, 5), 10, self.local)


ONE = Case("one sequential workflow of 200 activities", 1, 200)
MANY = Case("50 workflows at once, of 10 activities", 50, 10)
LOCAL = Case("local activities only, 1,000 in one workflow", 1, 1000, local=True)
HALF = Case("one sequential workflow of 100 activities", 1, 100)
LIMITS = {
    ONE: "a header alone costs nothing that shows here (see the limit below). What is left is to "
    "take in what passes (26 us in a loop of nothing else, some three times that between the SDK's "
    "own work), to look at it and merge it (37 us in such a loop), and to write it. Tried: all but "
    "the taking in on another thread (from 135 us to 30), a source that is asked instead of "
    "telling, half the header, no copy of what the workflow answers, no message and no patch for "
    "each value and attempt (the two loops from 95 to 63 us), fewer writes while much happens "
    "(recorder and store from 0.51 to 0.26 ms)",
    MANY: "both processors are busy, one of them with the server, so every write of a record is "
    "time that a workflow does not get; fewer writes are what helps (up to 3 s apart). Tried: one "
    "flush of the file system for all records of a write (store from 0.69 to 0.34 ms a step)",
    LOCAL: "3 % of a local activity would be a tenth of a millisecond for all that is said above "
    "of regular ones; the limit below is what any interceptor costs that writes one header",
}
ACKNOWLEDGED = (
    "each result is flushed twice (file and name) before Temporal learns of it, and two changes of "
    "threads come to that; a row below shows what that alone costs, without knowing whose result "
    "it is. A local activity first reads whether it has a result, since after a crash it begins "
    "with attempt 1 again. Refused: to read only what the same worker has not seen begin, which a "
    "worker that was stopped for longer than a workflow task would use to repeat another's step"
)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds, few = (1, 1) if short else (ROUNDS, FEW_ROUNDS)
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        client = server.client
        for case in (ONE, MANY, LOCAL):
            yield await Compared(case, short, rounds).row(
                client, StatePlugin, case.name, NEAR_ONE, LIMITS[case]
            )
        for case in (ONE, MANY, LOCAL):
            yield await Compared(case, short, rounds).row(
                client, bare, f"{case.name}, limit: a header of one byte for each", None
            )
        before_ack = Recording(before_ack=True)
        for case in (ONE, MANY, LOCAL):
            yield await Compared(case, short, few).row(
                client,
                lambda root: StatePlugin(root, recording=before_ack),
                f"{case.name}, before_ack",
                Goal(0.90),
                ACKNOWLEDGED,
            )
        for case in (ONE, MANY, LOCAL):
            yield await Compared(case, short, few).row(
                client, saving, f"{case.name}, limit: a raw durable put for each", None
            )
        for name, fault in FAULTS.items():
            yield await Compared(HALF, short, rounds).row(
                client,
                lambda _, fault=fault: broken(fault),
                f"{HALF.name}, on a store that {name}",
                NEAR_ONE,
            )
        yield await events(client, ONE.shortened() if short else ONE)


class Compared:
    """One case, with and without something, in so many rounds."""

    def __init__(self, case: Case, short: bool, rounds: int) -> None:
        self._case = case.shortened() if short else case
        self._rounds = rounds

    async def row(
        self,
        client: Client,
        plugin: Callable[[str], object],
        name: str,
        goal: Goal | None,
        limit: str = "",
    ) -> Row:
        """Measure it with a plugin, each time on a store of its own, and without."""
        spent, spent_without = Spent(), Spent()

        async def ours() -> float:
            with tempfile.TemporaryDirectory() as root:
                return await measure(client, [plugin(root)], self._case, spent)

        async def theirs() -> float:
            return await measure(client, [], self._case, spent_without)

        values, note = await speed_ratios(self._rounds, ours, theirs)
        profile = f"processor time of a step {spent} and {spent_without}"
        note = "; ".join(part for part in (note, profile, limit) if part)
        return Row(f"throughput, {name}", WITHOUT, goal, values, note=note)


def broken(fault: StateError | timedelta) -> StatePlugin:
    """Return a plugin on a store with a fault."""
    store = FailingStore(MemoryStore())
    if isinstance(fault, timedelta):
        store.delay = fault
    else:
        store.error = fault
    # The last flush is not what is measured, and on such a store it cannot succeed.
    recording = Recording(shutdown_timeout=timedelta(milliseconds=200))
    return StatePlugin(StateBackend.open(store), recording=recording)


async def measure(client: Client, plugins: list[Any], case: Case, spent: Spent) -> float:
    """Return the seconds from the first start to the last result."""
    queue = uuid.uuid4().hex
    async with worker(client, queue, plugins):
        started = time.perf_counter()
        with spent.counting(case.workflows * case.steps):
            await asyncio.gather(*(run(client, queue, case) for _ in range(case.workflows)))
        return time.perf_counter() - started


def worker(client: Client, queue: str, plugins: list[Any]) -> Worker:
    """Return a worker for the cases."""
    return Worker(
        client, task_queue=queue, workflows=[Sequential], activities=[nothing], plugins=plugins
    )


async def run(client: Client, queue: str, case: Case) -> str:
    """Run one workflow to its end, and return its id."""
    id = uuid.uuid4().hex
    arguments = [case.steps, case.local]
    await client.execute_workflow(Sequential.run, args=arguments, id=id, task_queue=queue)
    return id


async def events(client: Client, case: Case) -> Row:
    """Count the events of the histories."""

    async def length(plugins: list[Any]) -> float:
        queue = uuid.uuid4().hex
        async with worker(client, queue, plugins):
            id = await run(client, queue, case)
            return len((await client.get_workflow_handle(id).fetch_history()).events)

    ours, theirs = await in_turns(3, lambda: length([StatePlugin("memory://")]), lambda: length([]))
    added = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    note = f"{theirs[0]:.0f} events without the plugin"
    return Row(
        "history events added by automatic recording",
        WITHOUT,
        Goal(0, "less"),
        added,
        "events",
        note,
    )
