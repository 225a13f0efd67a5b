"""The worker process that the kill test kills.

Each activity appends to the file EFFECTS: ``<run> <n> does`` is the side effect, ``<run> <n> done``
is written last before it returns, so that a kill inside of it can be told apart, and ``<run> <n>
kept`` once the plugin has let go of its result. Each line ends with the time, which all processes
of the machine share.
"""

import asyncio
import os
import signal
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import ActivityInboundInterceptor, Interceptor, Worker

AT_ONCE = 5
FLUSH_INTERVAL = timedelta(milliseconds=200)

effects = -1
mended = True
breaks_at = 0


def append(n: int, what: str) -> None:
    run = activity.info().workflow_run_id
    os.write(effects, f"{run} {n} {what} {time.monotonic()}\n".encode())


@activity.defn
async def effect(n: int) -> int:
    if n == breaks_at and not mended:
        raise ApplicationError("the bug", non_retryable=True)
    append(n, "does")
    await asyncio.sleep(0.005)
    append(n, "done")
    return n


@workflow.defn(sandboxed=False)
class Effects:
    @workflow.run
    async def run(self, steps: int) -> int:
        done = 0
        for start in range(0, steps, AT_ONCE):
            some = range(start, start + AT_ONCE)
            done += len(await asyncio.gather(*map(self.one, some)))
        return done

    async def one(self, n: int) -> int:
        if n % AT_ONCE == AT_ONCE - 1:
            return await workflow.execute_local_activity(
                effect, n, start_to_close_timeout=timedelta(seconds=5)
            )
        return await workflow.execute_activity(
            effect,
            n,
            start_to_close_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
        )


class Slow(Interceptor):
    """The news of an activity's end takes its time: the moment at which `before_ack` counts."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                result = await super().execute_activity(input)
                append(input.args[0], "kept")
                await asyncio.sleep(0.02)
                return result

        return Inbound(next)


class SlowNews(SimplePlugin):
    def configure_worker(self, config):
        config["interceptors"] = [Slow(), *config["interceptors"]]
        return config


async def main(*arguments: str) -> None:
    from temporal_state import Recording, StatePlugin
    from temporal_state.temporal import _recorder

    _recorder.SHARE = 1  # a busy machine does not make it wait for longer than its interval
    target, queue, root, path, before_ack, breaks, is_mended = arguments
    global effects, mended, breaks_at  # noqa: PLW0603 one process is one worker
    effects = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    mended, breaks_at = is_mended == "mended", int(breaks)
    client = await Client.connect(target)
    recording = Recording(flush_interval=FLUSH_INTERVAL, before_ack=before_ack == "before_ack")
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Effects],
        activities=[effect],
        plugins=[StatePlugin(root, recording=recording), SlowNews("SlowNews")],
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        print("ready", flush=True)
        await stop.wait()
