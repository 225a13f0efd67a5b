"""The record of a run that writes itself: steps, progress, ends, on a real server."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow

from temporal_state import Recording, StatePlugin, state

SOON = timedelta(seconds=30)


@activity.defn
async def double(n: int) -> int:
    return 2 * n


@workflow.defn
class Simple:
    @workflow.run
    async def run(self, n: int) -> int:
        state.progress(0, n, "starting")
        total = 0
        for i in range(n):
            total += await workflow.execute_activity(double, i, start_to_close_timeout=SOON)
            state.progress(i + 1, n)
        await workflow.execute_local_activity(double, 1, start_to_close_timeout=SOON)
        await asyncio.sleep(0.001)
        return total


async def test_a_run_is_recorded_without_a_line_of_its_own(on_dev):
    id = uuid.uuid4().hex
    async with on_dev.worker(Simple, activities=[double]):
        assert await on_dev.run(Simple.run, 12, id=id) == 132
    runs = on_dev.backend.runs
    run = await runs.get(id)
    assert run.status == "completed"
    assert run.confirmed
    assert [r.workflow_id for r in await runs.list(status="completed")] == [id]
    assert await runs.list(status="failed") == []
    with pytest.raises(ValueError, match="timed_out"):
        await runs.list(status="finished")


@pytest.mark.parametrize(("interval", "made"), [(timedelta(0), True), (timedelta(hours=1), False)])
async def test_a_checkpoint_is_also_made_after_a_time(on_dev, interval, made):
    recording = Recording(checkpoint_every=1000, checkpoint_interval=interval)
    plugin = StatePlugin(on_dev.backend, recording=recording)
    id = uuid.uuid4().hex
    async with on_dev.worker(Simple, activities=[double], plugins=[plugin]):
        await on_dev.run(Simple.run, 3, id=id)
    assert bool(await on_dev.backend.runs.history(id)) == made
