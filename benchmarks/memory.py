"""Resident memory of a worker process with many workflows in flight, with and without the plugin.

    python -m benchmarks memory

Each measurement is a process of its own; those that are compared run side by side, since memory
does not mind a busy machine. Steps are local activities, ten at a time, which are quick to make.
What the SDK keeps of each step is the same for regular ones: its arguments and its headers, for as
long as the run is in the cache. So a header of one byte is measured, too: nobody can tell an
activity anything for less.
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
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.worker import (
    Interceptor,
    StartLocalActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from benchmarks._table import Goal, Row, number
from temporal_state.testing import dev_server

IN_FLIGHT = 1000
STEPS = (10, 100)
AT_ONCE = 10
FEWER, FEWER_STEPS = 200, (10, 50)  # with a header of one byte: enough for what a step takes
UNDER_WAY = 20  # at once; the others wait to be started, or have made their steps
SETTLED = 6.0  # seconds: the last flush comes after three
TRIED = (
    "Tried, with 200 in flight and 50 steps: no header at all, 0.1 KB a step more than without the "
    "plugin; a header of one byte, 0.8 KB; ours, 1.05 KB, and 1.34 KB before it lost its encoding, "
    "its step key and half of its text. Local activities could be told within the process, but one "
    "that is still on its way when its workflow task fails would be told of another call, and its "
    "change be lost"
)
FIXED = (
    "tried for what a run takes whatever its steps: no empty deque; patches, pauses and budget if "
    "there is something for them; nothing kept that can be asked for again (what Python keeps of "
    "a run of five steps: from 10.1 to 6.9 KB, with 100 in flight; some 2 KB of it are caches that "
    "do not grow with the runs)"
)
SOON = timedelta(minutes=2)  # also for a workflow task, which a busy machine should not repeat


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
        for first in range(0, steps, AT_ONCE):
            some = range(first, min(first + AT_ONCE, steps))
            await asyncio.gather(
                *(
                    workflow.execute_local_activity(nothing, n, start_to_close_timeout=SOON)
                    for n in some
                )
            )
        await workflow.execute_activity("arrived", start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: False)


class OneByte(Interceptor):
    """Gives each local activity a header of one byte."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_local_activity(self, input: StartLocalActivityInput) -> Any:
        input.headers = {**input.headers, "one-byte": Payload(data=b"1")}
        return super().start_local_activity(input)


async def rows(*, short: bool) -> AsyncIterator[Row]:
    """Yield the figures."""
    in_flight, steps = (3, (1, 2)) if short else (IN_FLIGHT, STEPS)
    fewer, fewer_steps = (3, (1, 2)) if short else (FEWER, FEWER_STEPS)
    (few, many), (first, last) = steps, fewer_steps
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        target = server.client.service_client.config.target_host
        early, late = [await more(target, "with", in_flight, count) for count in steps]
        told = [await more(target, "header", fewer, count) for count in fewer_steps]
    header = (told[1] - told[0]) / (last - first)
    note = (
        f"the SDK's core keeps each call as it was made, headers and all, for as long as the run "
        f"is cached; one byte in a header takes {number(header)} B a step (next row), so nothing "
        f"that tells activities of their calls can do with less. {TRIED}"
    )
    yield Row(
        f"memory per workflow in flight, {in_flight:,} of them with {many} steps each",
        "without the plugin",
        Goal(10, "less"),
        [late / 1000],
        "KB more",
        f"{number((late - many * header) / 1000)} KB without the least that {many} headers take; "
        f"with {few} steps each it is {number(early / 1000)} KB more in all; {FIXED}",
    )
    yield Row(
        f"memory per further step, from {few} to {many}",
        "without the plugin",
        Goal(150, "less"),
        [(late - early) / (many - few)],
        "B more",
        note,
    )
    yield Row(
        f"memory per further step, from {first} to {last}, of a header of one byte",
        "without the header, both without the plugin",
        None,
        [header],
        "B more",
    )


async def more(target: str, which: str, in_flight: int, steps: int) -> float:
    """Return how many bytes more a workflow in flight takes than in a worker of nothing else."""
    ours, theirs = await asyncio.gather(
        *(resident(target, kind, in_flight, steps) for kind in (which, "without"))
    )
    return (ours - theirs) / in_flight


async def resident(target: str, which: str, in_flight: int, steps: int) -> int:
    """Return the bytes that a process with so many workflows in flight grew by."""
    arguments = ["-m", "benchmarks.memory", target, which, str(in_flight), str(steps)]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


async def child(target: str, which: str, in_flight: int, steps: int) -> None:
    """Bring workflows in flight, and print how much the process has grown."""
    client, queue = await Client.connect(target), uuid.uuid4().hex
    arrivals = asyncio.Semaphore(0)

    @activity.defn
    async def arrived() -> None:
        arrivals.release()

    async def start(n: int) -> None:
        await client.start_workflow(
            InFlight.run, steps, id=f"{queue}-{n}", task_queue=queue, task_timeout=SOON
        )

    with tempfile.TemporaryDirectory() as root:
        async with Worker(
            client,
            task_queue=queue,
            workflows=[InFlight],
            activities=[nothing, arrived],
            plugins=_plugins(which, root),
            interceptors=[OneByte()] if which == "header" else [],
            max_cached_workflows=2 * in_flight,
        ):
            await start(0)  # what everything needs once is not counted
            await arrivals.acquire()
            settled = SETTLED if in_flight >= FEWER else 0
            await asyncio.sleep(settled)
            before = memory()
            for n in range(in_flight):
                if n >= UNDER_WAY:
                    await arrivals.acquire()
                await start(n + 1)
            for _ in range(min(in_flight, UNDER_WAY)):
                await arrivals.acquire()
            await asyncio.sleep(settled)
            print(memory() - before, flush=True)
            os._exit(0)  # nothing of what comes now is measured


def _plugins(which: str, root: str) -> list[Any]:
    if which != "with":
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
