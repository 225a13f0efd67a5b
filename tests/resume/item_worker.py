"""The worker process that the test kills.

Each item is appended to the log when it is handed out, by one system call, so that the log outlives
the process.
"""

import asyncio
import os
import signal
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from temporal_state import StatePlugin, state

PAUSE_EVERY = 50
PAUSE = 0.002


@activity.defn
async def walk(length: int, every: int, log: str) -> int:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async for n in (items := state.resumable(range(length), every=every, initial=0)):
        os.write(file, n.to_bytes(4, "big"))
        items.value += 1
        if n % PAUSE_EVERY == 0:
            await asyncio.sleep(PAUSE)
    return items.value


@workflow.defn
class Walk:
    @workflow.run
    async def run(self, length: int, every: int, log: str) -> int:
        return await workflow.execute_activity(
            walk,
            args=[length, every, log],
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10), backoff_coefficient=1
            ),
        )


async def main(target: str, queue: str, root: str) -> None:
    client = await Client.connect(target)
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Walk],
        activities=[walk],
        plugins=[StatePlugin(root)],
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        print("ready", flush=True)
        await stop.wait()
