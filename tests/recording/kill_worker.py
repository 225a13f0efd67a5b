"""The worker process that the kill test kills."""

import asyncio
import signal
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

STEPS = 300


@activity.defn
async def step(n: int) -> int:
    await asyncio.sleep(0.001)
    return n


@workflow.defn
class Long:
    @workflow.run
    async def run(self) -> int:
        done = 0
        for start in range(0, STEPS, 5):
            wave = (self.one(n) for n in range(start, start + 5))
            done += len(await asyncio.gather(*wave))
        return done

    async def one(self, n: int) -> int:
        if n % 5 == 4:
            return await workflow.execute_local_activity(
                step, n, start_to_close_timeout=timedelta(seconds=5)
            )
        return await workflow.execute_activity(step, n, start_to_close_timeout=timedelta(seconds=1))


async def main(target: str, queue: str, root: str) -> None:
    from temporal_state import Recording, StatePlugin

    client = await Client.connect(target)
    recording = Recording(flush_interval=timedelta(milliseconds=100))
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Long],
        activities=[step],
        plugins=[StatePlugin(root, recording=recording)],
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        print("ready", flush=True)
        await stop.wait()
