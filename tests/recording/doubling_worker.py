"""A worker in a process of its own, for activities only."""

import asyncio
import signal

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from temporal_state import StatePlugin


@activity.defn
async def double(n: int) -> int:
    return 2 * n


async def main(address: str, queue: str, url: str, identity: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        await Client.connect(address),
        task_queue=queue,
        activities=[double],
        identity=identity,
        max_concurrent_activities=20,
        plugins=[StatePlugin(url, app="tests")],
    ):
        print("ready", flush=True)
        await stop.wait()
