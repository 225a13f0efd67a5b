"""A store that raises, hangs, is full, read-only or damaged: clear errors, nothing wedged."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from temporal_state import (
    DamagedObjectError,
    Limits,
    Recording,
    StateBackend,
    StatePlugin,
    StateStore,
    StateType,
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

W = StateType.WORKFLOWS
SHORT = timedelta(milliseconds=300)
SOME_ATTEMPTS = timedelta(seconds=2.9)
"""The last is due after 1.4 seconds, one more would be after 3: a busy machine has time between."""
QUICK = Recording(shutdown_timeout=SHORT)


@activity.defn
async def saves(id: str) -> None:
    await StateStore.save_state("k", "new", id, W)


@workflow.defn
class Saves:
    @workflow.run
    async def run(self, id: str, where: str) -> str:
        try:
            if where == "activity":
                policy = RetryPolicy(maximum_attempts=1)
                await workflow.execute_activity(
                    saves, id, start_to_close_timeout=timedelta(seconds=9), retry_policy=policy
                )
            else:
                await StateStore.save_state("k", "new", id, W)
        except OSError as error:
            if where == "caught":
                return type(error).__name__
            raise
        return "saved"


@pytest.fixture
async def broken(dev):
    """A store that holds one document and will fail."""
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store) as backend:
        await backend.documents.merge("doc", {"k": "old"})
        yield store, backend


FAULTS = {
    "raises": (StoreError("the disk is gone"), StoreError),
    "full": (StoreFullError("no space left"), StoreFullError),
    "read-only": (StorePermissionError("read-only"), StorePermissionError),
    "hangs": (None, StoreTimeoutError),
}


@pytest.fixture(params=FAULTS)
async def fault(request, broken):
    """The store as it fails; only who waits for one that hangs has little time."""
    store, backend = broken
    store.error, expected = FAULTS[request.param]
    if store.error is not None:
        yield store, backend, expected
        return
    store.delay = timedelta(seconds=30)
    async with StateBackend.open(store, limits=Limits(operation_timeout=SHORT)) as impatient:
        yield store, impatient, expected


async def test_a_script_gets_a_clear_error_and_the_old_document_is_intact(broken, fault):
    store, backend, expected = fault
    with pytest.raises(expected) as error:
        await asyncio.wait_for(backend.documents.merge("doc", {"k": "new"}), 10)
    assert isinstance(error.value, OSError)
    with pytest.raises(expected):
        await asyncio.wait_for(backend.documents.get("doc"), 10)
    store.error, store.delay = None, timedelta()
    _, patient = broken
    assert await patient.documents.get("doc") == {"k": "old"}


@pytest.fixture
def failing_runner(on_dev, fault):
    _, backend, expected = fault
    plugin = StatePlugin(backend, recording=QUICK, operation_timeout=SOME_ATTEMPTS)
    on_dev.options = {"plugins": [plugin], "activities": [saves]}
    return on_dev, expected


async def test_a_workflow_gets_the_same_error_and_goes_on(failing_runner):
    runner, expected = failing_runner
    async with runner.worker(Saves):
        caught = await asyncio.wait_for(runner.run(Saves.run, "doc", "caught"), 20)
    assert caught == expected.__name__


async def test_a_workflow_that_does_not_catch_it_fails_and_is_not_wedged(failing_runner):
    runner, expected = failing_runner
    async with runner.worker(Saves):
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(runner.run(Saves.run, "doc", "workflow"), 20)
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == expected.__name__
    assert cause.non_retryable == (not expected.retryable)


async def test_an_activity_fails_with_it_by_its_stable_type(failing_runner):
    runner, expected = failing_runner
    async with runner.worker(Saves):
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(runner.run(Saves.run, "doc", "activity"), 20)
    assert isinstance(failure.value.cause, ActivityError)
    assert failure.value.cause.cause.type == expected.__name__


async def test_a_store_that_recovers_is_tried_again(on_dev, broken):
    store, backend = broken
    store.error = StoreError("for a moment")
    id = uuid.uuid4().hex
    async with on_dev.worker(
        Saves, plugins=[StatePlugin(backend, recording=QUICK)], activities=[saves]
    ):
        handle = await on_dev.start(Saves.run, id, "workflow")
        while store.calls < 4:
            await asyncio.sleep(0.01)
        store.error = None
        assert await asyncio.wait_for(handle.result(), 20) == "saved"
    assert await backend.documents.get(id) == {"k": "new"}


async def test_a_change_whose_reply_is_lost_is_made_once(on_dev, broken):
    store, backend = broken
    store.after = StoreError("the reply is lost")
    id = uuid.uuid4().hex
    async with on_dev.worker(
        Saves, plugins=[StatePlugin(backend, recording=QUICK)], activities=[saves]
    ):
        handle = await on_dev.start(Saves.run, id, "workflow")
        while store.calls < 4:
            await asyncio.sleep(0.01)
        store.after = None
        assert await asyncio.wait_for(handle.result(), 20) == "saved"
    assert (await backend.documents.read(id)).version == 1


async def test_a_damaged_document_fails_at_once_and_is_never_overwritten(on_dev, broken):
    store, backend = broken
    key = backend.layout.document("bad", W).key
    await store.put(key, b"{truncated")
    async with on_dev.worker(
        Saves, plugins=[StatePlugin(backend, recording=QUICK)], activities=[saves]
    ):
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(on_dev.run(Saves.run, "bad", "workflow"), 20)
    assert failure.value.cause.type == DamagedObjectError.__name__
    assert failure.value.cause.non_retryable
    assert (await store.get(key)).data == b"{truncated"


async def test_a_cancelled_caller_waits_for_its_change(broken):
    store, backend = broken
    store.delay = timedelta(milliseconds=100)
    before = store.calls
    task = asyncio.create_task(backend.documents.merge("doc", {"k": "new"}))
    while store.calls == before:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.delay = timedelta()
    assert await backend.documents.get("doc") == {"k": "new"}
