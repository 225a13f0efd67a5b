"""What a step costs that a resumed run takes over, beside an activity that does nothing.

    python -m benchmarks resume

Each round runs a workflow of so many empty activities without the plugin; then one with it that
fails after the last; then resumes that. The dev server runs without its throttle.
"""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from benchmarks._table import Row, in_words, ratios
from temporal_state import StateBackend, StatePlugin, resume, state
from temporal_state.testing import dev_server

SOON = timedelta(seconds=30)
WIDTH = 20
STEPS = 200
ROUNDS = 7


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


@dataclass(frozen=True)
class Times:
    """Seconds from the start to the end."""

    without: float
    recorded: float
    resumed: float


async def one(client: Client, steps: int, queue: str, plugins: list[Any], fails: bool) -> float:
    """Return how long a run took that does not resume another."""
    async with Worker(
        client, task_queue=queue, workflows=[Wide], activities=[nothing], plugins=plugins
    ):
        started = time.perf_counter()
        with contextlib.suppress(WorkflowFailureError):
            await client.execute_workflow(Wide.run, args=[steps, fails], id=queue, task_queue=queue)
        return time.perf_counter() - started


async def measure(client: Client, steps: int) -> Times:
    """Return the times of one round."""
    without = await one(client, steps, uuid.uuid4().hex, [], False)
    queue = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as root:
        async with StateBackend.open(root) as backend:
            recorded = await one(client, steps, queue, [StatePlugin(backend)], True)
            async with Worker(
                client,
                task_queue=queue,
                workflows=[Wide],
                activities=[nothing],
                plugins=[StatePlugin(backend)],
            ):
                started = time.perf_counter()
                await (await resume(client, backend, queue)).result()
                return Times(without, recorded, time.perf_counter() - started)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    steps, rounds = (20, 1) if short else (STEPS, ROUNDS)
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        await measure(server.client, 20)  # warms up
        times = [await measure(server.client, steps) for _ in range(rounds)]
    for name in ("recorded", "resumed"):
        ours, theirs = [getattr(t, name) for t in times], [t.without for t in times]
        note = in_words(ours, theirs)
        yield Row(
            f"{steps} steps, {name}", "without the plugin", None, ratios(ours, theirs), note=note
        )
