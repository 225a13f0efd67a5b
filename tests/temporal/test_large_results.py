"""Whatever workflow code reads, no workflow task grows past what Temporal can carry.

Seen: local activity results of together 4 MB in one workflow task, and the server terminates the
workflow.
"""

import asyncio
import uuid

import pytest
from temporalio import workflow
from temporalio.worker import Replayer

from temporal_state import StatePlugin, StateStore, StateType, state

W = StateType.WORKFLOWS


@workflow.defn
class Reads:
    @workflow.run
    async def run(self, prefix: str, count: int, size: int, at_once: bool, letter: str) -> int:
        async def one(n: int) -> int:
            value = {"x": letter * size}
            saved = await StateStore.save_state_object(f"{prefix}-{n}", value, W)
            assert saved == value
            return len((await StateStore.get_state(f"{prefix}-{n}", W))["x"])

        if at_once:
            return sum(await asyncio.gather(*map(one, range(count))))
        return sum([await one(n) for n in range(count)])


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("count", "size", "letter"),
    [(6, 850_000, "y"), (80, 60_000, "y"), (300, 1000, "y"), (6, 420_000, "é"), (40, 16_000, "😀")],
)
async def test_large_results_reach_the_workflow(on_dev, count, size, letter, at_once):
    prefix = uuid.uuid4().hex
    async with on_dev.worker(Reads):
        handle = await on_dev.start(Reads.run, prefix, count, size, at_once, letter)
        assert await asyncio.wait_for(handle.result(), 100) == count * size
    replayer = Replayer(workflows=[Reads], plugins=[StatePlugin("memory://")])
    replayed = await replayer.replay_workflow(await handle.fetch_history())
    assert replayed.replay_failure is None


@workflow.defn
class CancelledInThePause:
    @workflow.run
    async def run(self) -> list:
        task = asyncio.create_task(self.fill())
        await workflow.wait_condition(lambda: self.writes >= 30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await state.update(after=1)
        return sorted((await state.get()).keys())[:1]

    def __init__(self) -> None:
        self.writes = 0

    async def fill(self) -> None:
        while True:
            await state.update(x="y" * 60_000)
            self.writes += 1


async def test_a_cancelled_reader_does_not_block_the_others(on_dev):
    async with on_dev.worker(CancelledInThePause):
        assert await asyncio.wait_for(on_dev.run(CancelledInThePause.run), 30) == ["after"]
