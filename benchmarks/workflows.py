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

from benchmarks._table import ROUNDS, Goal, Measure, Row, in_turns, speed_ratios
from temporal_state import Recording, StateBackend, StateError, StatePlugin, StoreError
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore, dev_server

SOON = timedelta(seconds=30)
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


CASES = (
    Case("one sequential workflow of 200 activities", 1, 200),
    Case("50 workflows at once, of 10 activities", 50, 10),
    Case("local activities only, 1,000 in one workflow", 1, 1000, local=True),
)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    rounds = 1 if short else ROUNDS
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        client = server.client
        cases = [case.shortened() for case in CASES] if short else CASES
        for case in cases:
            yield await with_plugin(
                client, case, StatePlugin, rounds=rounds, name=case.name, goal=NEAR_ONE
            )
        before_ack = Recording(before_ack=True)
        for case in cases:
            yield await with_plugin(
                client,
                case,
                lambda root: StatePlugin(root, recording=before_ack),
                rounds=rounds,
                name=f"{case.name}, before_ack",
                goal=Goal(0.90),
            )
        for name, fault in FAULTS.items():
            yield await with_plugin(
                client,
                cases[0],
                lambda _, fault=fault: broken(fault),
                rounds=rounds,
                name=f"{cases[0].name}, on a store that {name}",
                goal=NEAR_ONE,
            )
        yield await events(client, cases[0])


async def with_plugin(
    client: Client,
    case: Case,
    plugin: Callable[[str], StatePlugin],
    *,
    rounds: int,
    name: str,
    goal: Goal,
) -> Row:
    """Measure a case with a plugin, each time on a store of its own, and without."""

    async def ours() -> float:
        with tempfile.TemporaryDirectory() as root:
            return await measure(client, [plugin(root)], case)

    values, note = await speed_ratios(rounds, ours, without(client, case))
    return Row(f"throughput, {name}", WITHOUT, goal, values, note=note)


def without(client: Client, case: Case) -> Measure:
    """Return what measures a case without the plugin."""
    return lambda: measure(client, [], case)


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


async def measure(client: Client, plugins: list[Any], case: Case) -> float:
    """Return the seconds from the first start to the last result."""
    queue = uuid.uuid4().hex
    async with worker(client, queue, plugins):
        started = time.perf_counter()
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
