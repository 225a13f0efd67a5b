"""A worker that is stopped in a hurry closes its store under activities that still run."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow

from temporal_state import StatePlugin, StateStore, StateType, StoreError

W = StateType.WORKFLOWS


class Stubborn:
    """An activity whose first attempt outlives its worker, and then saves."""

    def __init__(self) -> None:
        self.began, self.told, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.errors: list[BaseException] = []

    @activity.defn(name="saves")
    async def saves(self) -> int:
        attempt = activity.info().attempt
        self.began.set()
        while attempt == 1 and not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.told.set()
        try:
            await StateStore.save_state("attempt", attempt, "doc", W)
        except StoreError as error:
            self.errors.append(error)
            raise
        return attempt


@workflow.defn
class Patient:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "saves", start_to_close_timeout=timedelta(seconds=5), result_type=int
        )


async def test_an_activity_that_finds_the_store_closed_is_retried_on_another_worker(
    on_dev, tmp_path
):
    stubborn = Stubborn()

    def worker():
        plugins = [StatePlugin(tmp_path / "closing", recording=None)]
        return on_dev.worker(Patient, activities=[stubborn.saves], plugins=plugins)

    hurried = asyncio.create_task(worker().run())
    handle = await on_dev.start(Patient.run)
    await stubborn.began.wait()
    hurried.cancel()
    await stubborn.told.wait()
    hurried.cancel()  # a second time: it no longer waits for its activities
    with pytest.raises(asyncio.CancelledError):
        await hurried
    stubborn.may_end.set()
    async with worker():
        assert await handle.result() == 2
    assert [str(error) for error in stubborn.errors if "is closed" in str(error)]
