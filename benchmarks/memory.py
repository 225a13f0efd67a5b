"""Resident memory of a worker process with many workflows in flight, with and without the plugin.

    python -m benchmarks memory

Each measurement is a process of its own. Steps are local activities, ten at a time, which are quick
to make; of regular ones a worker keeps no more.
"""

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks._table import Goal, Row
from temporal_state.testing import dev_server

IN_FLIGHT = 1000
STEPS = (10, 100)
ROUNDS = 2  # a thousand workflows are an average already
AT_ONCE = 10
SETTLED = 3.0  # seconds: some flushes; less when only a few are in flight
STARTS = 50  # at once


@activity.defn
async def nothing(n: int) -> int:
    """Do as little as an activity can."""
    return n


@workflow.defn(sandboxed=False)
class InFlight:
    """Makes some steps, and then waits."""

    @workflow.run
    async def run(self, steps: int) -> None:
        """Run ``steps`` local activities, say so, and wait for ever."""
        soon = timedelta(seconds=60)
        for first in range(0, steps, AT_ONCE):
            some = range(first, min(first + AT_ONCE, steps))
            await asyncio.gather(
                *(
                    workflow.execute_local_activity(nothing, n, start_to_close_timeout=soon)
                    for n in some
                )
            )
        await workflow.execute_activity("arrived", start_to_close_timeout=soon)
        await workflow.wait_condition(lambda: False)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    number, steps, rounds = (20, (2, 5), 1) if short else (IN_FLIGHT, STEPS, ROUNDS)
    few, many = steps
    more: dict[int, list[float]] = {few: [], many: []}
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        target = server.client.service_client.config.target_host
        for _ in range(rounds):
            for count in steps:
                ours, theirs = [
                    await resident(target, which, number, count) for which in ("with", "without")
                ]
                more[count].append((ours - theirs) / number)
    yield Row(
        f"memory per workflow in flight, {number:,} of them with {many} steps each",
        "without the plugin",
        Goal(10, "less"),
        [value / 1000 for value in more[many]],
        "KB more",
    )
    yield Row(
        f"memory per further step, from {few} to {many}",
        "without the plugin",
        Goal(150, "less"),
        [(late - early) / (many - few) for late, early in zip(more[many], more[few], strict=True)],
        "B more",
    )


async def resident(target: str, which: str, number: int, steps: int) -> int:
    """Return the bytes that a process with so many workflows in flight grew by."""
    arguments = ["-m", "benchmarks.memory", target, which, str(number), str(steps)]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


async def child(target: str, which: str, number: int, steps: int) -> None:
    """Bring workflows in flight, and print how much the process has grown."""
    client, queue = await Client.connect(target), uuid.uuid4().hex
    all_there, arrivals = asyncio.Event(), []

    @activity.defn
    async def arrived() -> None:
        arrivals.append(1)
        if len(arrivals) == number + 1:
            all_there.set()

    with tempfile.TemporaryDirectory() as root:
        async with Worker(
            client,
            task_queue=queue,
            workflows=[InFlight],
            activities=[nothing, arrived],
            plugins=_plugins(which, root),
            max_cached_workflows=2 * number,
        ):
            await client.start_workflow(InFlight.run, steps, id=f"{queue}-first", task_queue=queue)
            while not arrivals:  # noqa: ASYNC110 what everything needs once is not counted
                await asyncio.sleep(0.05)
            before = memory()
            starting = asyncio.Semaphore(STARTS)

            async def start(n: int) -> None:
                async with starting:
                    id = f"{queue}-{n}"
                    await client.start_workflow(InFlight.run, steps, id=id, task_queue=queue)

            await asyncio.gather(*(start(n) for n in range(number)))
            await all_there.wait()
            await asyncio.sleep(SETTLED if number == IN_FLIGHT else 0)
            print(memory() - before, flush=True)
            os._exit(0)  # nothing of what comes now is measured


def _plugins(which: str, root: str) -> list[object]:
    if which == "without":
        return []
    from temporal_state import StatePlugin  # noqa: PLC0415 nor is its import

    return [StatePlugin(root)]


def memory() -> int:
    """Return the bytes that this process has, after all that can be given back was."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    asyncio.run(child(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
