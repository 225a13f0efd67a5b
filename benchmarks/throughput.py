"""Workflow throughput with the plugin at its defaults, against the same worker without it.

    python -m benchmarks.throughput [rounds]

Rounds alternate between the two, so that the machine's moods hit both; the ratio is taken round by
round. The dev server runs without its throttle, which would hide any cost.
"""

import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from temporal_state import StatePlugin
from temporal_state.testing import dev_server

STEPS = 200
SOON = timedelta(seconds=30)


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


CASES: dict[str, tuple[int, int, bool]] = {
    "1 workflow of 200 activities": (1, STEPS, False),
    "50 workflows of 10 activities": (50, 10, False),
    "1 workflow of 1,000 local activities": (1, 1000, True),
}


async def measure(client: Client, plugins: list[Any], case: tuple[int, int, bool]) -> float:
    """Return the seconds from the first start to the last result."""
    count, steps, local = case
    queue = uuid.uuid4().hex
    async with Worker(
        client, task_queue=queue, workflows=[Sequential], activities=[nothing], plugins=plugins
    ):
        started = time.perf_counter()
        await asyncio.gather(
            *(
                client.execute_workflow(
                    Sequential.run, args=[steps, local], id=uuid.uuid4().hex, task_queue=queue
                )
                for _ in range(count)
            )
        )
        return time.perf_counter() - started


async def main(rounds: int) -> None:
    """Print a line for each case."""
    async with await dev_server(fast=True, dev_server_log_level="error") as server:
        for name, case in CASES.items():
            ratios = []
            for number in range(rounds + 1):
                with tempfile.TemporaryDirectory() as root:
                    without = await measure(server.client, [], case)
                    with_us = await measure(server.client, [StatePlugin(root)], case)
                if number:  # the first round warms up
                    ratios.append(without / with_us)
            low, _, high = statistics.quantiles(ratios, n=4)
            print(
                f"{name:40} throughput with / without: median {statistics.median(ratios):.3f}, "
                f"quartiles {low:.3f} to {high:.3f}, {rounds} rounds",
                flush=True,
            )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
