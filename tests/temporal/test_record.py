"""The record of a run that writes itself: steps, progress, ends, on a real server."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow

from temporal_state import state

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
