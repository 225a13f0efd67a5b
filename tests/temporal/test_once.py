"""P4: a change is applied once, however often Temporal runs the code that makes it.

Each test counts versions: a document's version is the number of changes that were applied to it.
"""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from temporal_state import StateStore, StateType, state

SOON = timedelta(seconds=30)
W = StateType.WORKFLOWS


async def version(backend, id, type=W):
    document = await backend.documents.read(id, type)
    return 0 if document is None else document.version


@activity.defn
async def writes_then_fails(id: str) -> int:
    await StateStore.save_state("n", 1, id, W)
    await StateStore.save_state("n", 1, id, W)  # the same again is another change
    await StateStore.save_state_object(id, {"m": 2}, W)
    if activity.info().attempt < 4:
        raise ApplicationError("after the writes", next_retry_delay=timedelta(milliseconds=10))
    return activity.info().attempt


@workflow.defn
class Retries:
    @workflow.run
    async def run(self, id: str, local: bool) -> int:
        execute = workflow.execute_local_activity if local else workflow.execute_activity
        return await execute(writes_then_fails, id, start_to_close_timeout=SOON)


@pytest.mark.parametrize("local", [True, False])
async def test_a_retried_activity_that_had_written_does_not_write_again(runner, local):
    id = uuid.uuid4().hex
    async with runner.worker(Retries, activities=[writes_then_fails]):
        assert await runner.run(Retries.run, id, local) == 4
    assert await version(runner.backend, id) == 3


@activity.defn
async def writes(id: str) -> None:
    await StateStore.save_state("n", 1, id, W)


@workflow.defn
class SameTwice:
    @workflow.run
    async def run(self, id: str) -> None:
        for _ in range(2):
            await workflow.execute_activity(writes, id, start_to_close_timeout=SOON)
            await StateStore.save_state("n", 1, id, W)
        await asyncio.gather(*(StateStore.save_state("n", 1, id, W) for _ in range(5)))


async def test_the_same_change_made_twice_is_two_changes(runner):
    id = uuid.uuid4().hex
    async with runner.worker(SameTwice, activities=[writes]):
        await runner.run(SameTwice.run, id)
        assert await version(runner.backend, id) == 9
        await runner.run(SameTwice.run, id)
    assert await version(runner.backend, id) == 18


_fail_once: set[str] = set()


@workflow.defn(sandboxed=False)
class TaskFails:
    """Fails its first workflow task after local activities ran, while a signal waits."""

    def __init__(self) -> None:
        self.signalled = 0

    @workflow.run
    async def run(self, id: str) -> int:
        await StateStore.save_state("main", "same", id, W)
        await StateStore.save_state("main", "same", id, W)
        if id in _fail_once:
            await self.wait_for_signal_in_history(id)
            raise RuntimeError("a bug that fails the workflow task")
        await workflow.wait_condition(lambda: self.signalled == 1)
        return self.signalled

    async def wait_for_signal_in_history(self, id: str) -> None:
        await StateStore.save_state("ready", True, id, "ready")
        _fail_once.discard(id)

    @workflow.signal
    async def poke(self, id: str) -> None:
        await StateStore.save_state("main", "same", id, W)
        await StateStore.save_state("signal", 1, id, W)
        self.signalled += 1


async def test_a_failed_workflow_task_with_a_signal_in_between_loses_none_and_doubles_none(on_dev):
    # On the retry the signal's local activities come first and take over the ids of the others.
    id = uuid.uuid4().hex
    _fail_once.add(id)
    async with on_dev.worker(TaskFails):
        handle = await on_dev.start(TaskFails.run, id, task_timeout=timedelta(seconds=10))
        while not await on_dev.backend.documents.exists(id, "ready"):
            await asyncio.sleep(0.01)
        await handle.signal(TaskFails.poke, id)
        assert await handle.result() == 1
        events = (await handle.fetch_history()).events
    assert any(e.HasField("workflow_task_failed_event_attributes") for e in events)
    assert await on_dev.backend.documents.get(id) == {"main": "same", "signal": 1}
    assert await version(on_dev.backend, id) == 4


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, id: str) -> dict:
        await StateStore.save_state("a", 1, id, W)
        await workflow.execute_activity(writes, id, start_to_close_timeout=SOON)
        await state.update(own=1)
        await workflow.sleep(timedelta(milliseconds=1))
        await StateStore.save_state("a", 1, id, W)
        return await state.get()


async def test_after_a_reset_nothing_is_applied_twice(on_dev):
    id = uuid.uuid4().hex
    async with on_dev.worker(Steps, activities=[writes]):
        handle = await on_dev.start(Steps.run, id)
        await handle.result()
        assert await version(on_dev.backend, id) == 3
        response = await on_dev.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(
                    workflow_id=handle.id, run_id=handle.result_run_id
                ),
                reason="test",
                workflow_task_finish_event_id=4,
                request_id=uuid.uuid4().hex,
            )
        )
        again = on_dev.client.get_workflow_handle(handle.id, run_id=response.run_id)
        assert await again.result() == {"own": 1}
    assert await version(on_dev.backend, id) == 3
    ref = await on_dev.backend.own_documents.newest("default", handle.id)
    assert (await on_dev.backend.own_documents.one(ref).read()).version == 1


@activity.defn
async def reads_its_document() -> dict:
    return await state.get()


@workflow.defn
class FailsAndRetries:
    @workflow.run
    async def run(self, id: str) -> dict:
        await StateStore.save_state(f"attempt-{workflow.info().attempt}", 1, id, W)
        await state.update({f"attempt-{workflow.info().attempt}": 1})
        if workflow.info().attempt == 1:
            raise ApplicationError("the first attempt fails")
        return await workflow.execute_activity(reads_its_document, start_to_close_timeout=SOON)


async def test_a_retried_workflow_is_another_run_of_the_same_chain(on_dev):
    id = uuid.uuid4().hex
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
    async with on_dev.worker(FailsAndRetries, activities=[reads_its_document]):
        result = await on_dev.run(FailsAndRetries.run, id, retry_policy=policy)
    assert result == {"attempt-1": 1, "attempt-2": 1}
    assert await version(on_dev.backend, id) == 2


@activity.defn
async def standalone() -> int:
    await state.update(n=1)
    if activity.info().attempt < 3:
        raise ApplicationError("again", next_retry_delay=timedelta(milliseconds=10))
    return (await state.get())["n"]


async def test_a_standalone_activity_has_a_document_and_changes_it_once(on_dev):
    id = f"activity-{uuid.uuid4().hex}"
    async with on_dev.worker(Steps, activities=[writes, standalone]):
        result = await on_dev.client.execute_activity(
            standalone, id=id, task_queue=on_dev.task_queue, start_to_close_timeout=SOON
        )
    assert result == 1
    ref = await on_dev.backend.own_documents.newest("default", id)
    assert (await on_dev.backend.own_documents.one(ref).read()).version == 1
