"""`state.sync` in threaded activities: the same functions, the same tokens, the same document."""

import asyncio
import multiprocessing
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import SharedStateManager

from temporal_state import ContextError, StateStore, StateType, state

SOON = timedelta(seconds=20)
W = StateType.WORKFLOWS


class Order(BaseModel):
    total: int = 0


@activity.defn
def threaded(id: str) -> dict:
    state.sync.set("a", 1)
    state.sync.update(b=2)
    state.sync.save(Order(total=3))
    assert state.sync.load(Order) == Order(total=3)
    state.sync.call(StateStore.save_state("n", 1, id, W))
    state.sync.call(StateStore.save_state("n", 1, id, W))
    if activity.info().attempt < 3:
        raise ApplicationError("again", next_retry_delay=timedelta(milliseconds=10))
    return {"all": state.sync.get(), "a": state.sync.get("a"), "before": state.sync.previous()}


@activity.defn
def in_a_process() -> str:
    try:
        state.sync.get()
    except ContextError as error:
        return str(error)
    return "it worked"


@activity.defn
def saves_in_a_process() -> str:
    try:
        asyncio.run(StateStore.save_state("n", 1, "a", W))
    except RuntimeError as error:
        return str(error)
    return "it saved elsewhere"


@activity.defn
async def on_the_loop() -> str:
    try:
        state.sync.get()
    except ContextError as error:
        return str(error)
    return "it worked"


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, name: str, arguments: list) -> Any:
        return await workflow.execute_activity(name, args=arguments, start_to_close_timeout=SOON)


async def test_a_threaded_activity_uses_state_without_await(runner):
    id = uuid.uuid4().hex
    with ThreadPoolExecutor(4) as pool:
        async with runner.worker(Calls, activities=[threaded], activity_executor=pool):
            result = await runner.run(Calls.run, "threaded", [id])
    assert result == {"all": {"a": 1, "b": 2, "total": 3}, "a": 1, "before": {}}
    assert (await runner.backend.documents.read(id)).version == 2


async def test_an_activity_of_a_process_pool_is_told_what_to_do(on_dev):
    context = multiprocessing.get_context("spawn")
    activities = [in_a_process, saves_in_a_process]
    with context.Manager() as shared, ProcessPoolExecutor(1, mp_context=context) as pool:
        manager = SharedStateManager.create_from_multiprocessing(shared)
        async with on_dev.worker(
            Calls, activities=activities, activity_executor=pool, shared_state_manager=manager
        ):
            for each in activities:
                assert "process pool" in await on_dev.run(Calls.run, each.__name__, [])


async def test_an_async_activity_is_told_to_await(on_dev):
    async with on_dev.worker(Calls, activities=[on_the_loop]):
        assert "await" in await on_dev.run(Calls.run, "on_the_loop", [])


def test_a_script_is_told_so():
    with pytest.raises(ContextError, match="threaded activities"):
        state.sync.get()
