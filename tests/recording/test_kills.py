"""A worker killed at random: in the end the record has every step once, with its outcome."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from temporal_state import StateBackend

SCRIPT = Path(__file__).with_name("kill_worker.py")
STEPS = 300


async def kill_until_done(children, handle, kills, seed, *arguments):
    """Kill the worker ``kills`` times, then let one finish; return how many were killed."""
    moments = random.Random(seed)
    done = asyncio.create_task(handle.result())
    killed = 0
    while True:
        worker = await children.ready_worker(SCRIPT, *arguments)
        if killed < kills:
            await asyncio.wait({done}, timeout=moments.uniform(0.02, 0.5))
        else:
            await asyncio.wait({done}, timeout=120)
        if done.done():
            worker.terminate()
            assert await asyncio.to_thread(worker.wait, 30) == 0
            return killed, await done
        assert killed < kills
        worker.kill()
        await asyncio.to_thread(worker.wait, 30)
        killed += 1


@pytest.mark.parametrize(
    "kills", [5, pytest.param(int(os.environ.get("KILLS", "50")), marks=pytest.mark.slow)]
)
async def test_every_step_is_recorded_once_with_its_outcome(dev, children, tmp_path, kills):
    queue = f"kills-{kills}"
    target = dev.client.service_client.config.target_host
    handle = await dev.client.start_workflow("Long", id=queue, task_queue=queue)
    killed, result = await kill_until_done(children, handle, kills, 7, target, queue, str(tmp_path))
    print(f"{killed} kills")
    assert result == STEPS
    assert killed >= min(kills, 5)  # of many, some may come after its end
    async with StateBackend.open(tmp_path) as backend:
        run = await backend.runs.get(queue)
        steps = await backend.runs.steps(queue)
    assert (run.status, run.confirmed) == ("completed", True)
    timers = [step for step in steps if step.kind == "timer"]
    steps = [step for step in steps if step.kind != "timer"]
    assert [step.status for step in steps] == ["completed"] * STEPS
    assert sorted(int(step.result.data) for step in steps) == list(range(STEPS))
    assert len({step.key for step in steps}) == STEPS
    assert run.steps == STEPS + len(timers)
